/*
 * scan_fuzz - libFuzzer on the scanner and the rules. Beside the sanitizers it demands: a code of the contract, texts that end and are
 * printable, the same verdict twice. The first byte chooses a transfer syntax that is put in front (0: the input is the whole file).
 */
#include "common/dicom/scan.h"
#include "tests/unit/stored_file.h"
#include "validator/rules.h"

static void check_text(const char *text, size_t size)
{
    size_t n = strnlen(text, size);
    if (n == size) {
        abort();
    }
    for (size_t i = 0; i < n; i++) {
        if ((unsigned char)text[i] < 0x20 || text[i] == 0x7f) {
            abort();
        }
    }
}

static void check_pixels(const struct dicom_pixels *p)
{
    check_text(p->photometric, sizeof p->photometric);
    if (p->bytes < 0 || p->fragments < 0 || p->empty_fragments > p->fragments || p->rows < DICOM_VALUE_ODD || p->frames < DICOM_VALUE_ODD ||
        (p->tag == 0 && (p->bytes != 0 || p->fragments != 0))) {
        abort();
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t count);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t count)
{
    static const char *const syntaxes[] = {"",
                                           "1.2.840.10008.1.2",
                                           "1.2.840.10008.1.2.1",
                                           "1.2.840.10008.1.2.2",
                                           "1.2.840.10008.1.2.1.99",
                                           "1.2.840.10008.1.2.4.50"};
    struct bytes b = {0};
    struct dicom_scan one;
    struct dicom_scan two;
    struct err e = {0};
    static struct rules_verdict v;
    static struct rules_verdict again;
    struct rule_severities severities;
    if (count == 0) {
        return 0;
    }
    size_t which = data[0] % (sizeof syntaxes / sizeof syntaxes[0]);
    if (which > 0) {
        bytes_head(&b, "1.2", "1.2.3", syntaxes[which]);
    }
    bytes_add(&b, data + 1, count - 1);
    unsigned char *exact = malloc(b.count ? b.count : 1);
    if (!exact) {
        abort();
    }
    if (b.count > 0) {
        memcpy(exact, b.at, b.count);
    }
    int rc = dicom_scan_memory(exact, b.count, &one, &e);
    if (rc != 0 && rc != ERR_DICOM_UNREADABLE && rc != ERR_DICOM_TRUNCATED && rc != ERR_DICOM_LIMIT && rc != ERR_DICOM_SYNTAX) {
        abort();
    }
    check_text(e.text, sizeof e.text);
    if (dicom_scan_memory(exact, b.count, &two, NULL) != rc || memcmp(&one, &two, sizeof one) != 0) {
        abort();
    }
    check_text(one.transfer_syntax_uid, sizeof one.transfer_syntax_uid);
    check_text(one.sop_class_uid, sizeof one.sop_class_uid);
    check_text(one.sop_instance_uid, sizeof one.sop_instance_uid);
    check_text(one.study_uid, sizeof one.study_uid);
    check_text(one.series_uid, sizeof one.series_uid);
    check_text(one.patient_id, sizeof one.patient_id);
    check_text(one.accession_number, sizeof one.accession_number);
    check_text(one.modality, sizeof one.modality);
    check_text(one.study_date, sizeof one.study_date);
    check_pixels(&one.pixels);
    rule_severities_preset(&severities);
    rules_judge(&one, rc, e.text, &severities, &v);
    rules_judge(&two, rc, e.text, &severities, &again);
    if (v.code != again.code || v.count != again.count || v.count > RULE_COUNT || (rc != 0 && v.code != rc) || (v.code != 0) != (v.because != NULL)) {
        abort();
    }
    for (size_t i = 0; i < v.count; i++) {
        check_text(v.findings[i].text, sizeof v.findings[i].text);
        if (v.findings[i].severity == RULE_OFF || strlen(v.findings[i].text) < 8) {
            abort();
        }
    }
    if (v.code == 0 && (!dicom_uid_is_legal(one.sop_instance_uid) || !dicom_uid_is_legal(one.study_uid))) {
        abort();
    }
    free(exact);
    bytes_clear(&b);
    return 0;
}
