/*
 * edit_fuzz - libFuzzer on the element editor, behind the scanner as in the product. Beside the sanitizers it demands: what the scanner has passed is edited or
 * refused with a sentence; what comes out can be read by the scanner again; a plan that names nothing changes no byte. The first byte chooses a transfer syntax
 * that is put in front (0: the input is the whole file). A few words of a dictionary stand here, so that DCMTK need not be linked.
 */
#include "common/dicom/dictionary.h"
#include "common/dicom/edit.h"
#include "common/dicom/scan.h"
#include "tests/unit/stored_file.h"

int dictionary_is_there(void)
{
    return 1;
}

int dictionary_vr(unsigned group, unsigned element, char vr[3])
{
    static const struct {
        unsigned tag;
        char vr[3];
    } words[] = {{0x00080005, "CS"}, {0x00080018, "UI"}, {0x00080050, "SH"}, {0x00080080, "LO"}, {0x00081115, "SQ"}, {0x00081155, "UI"}, {0x00100010, "PN"},
                 {0x00100020, "LO"}, {0x00120062, "CS"}, {0x00120063, "LO"}, {0x00120064, "SQ"}, {0x00280010, "US"}, {0x00280303, "CS"}, {0x00400275, "SQ"}};
    for (size_t i = 0; i < sizeof words / sizeof words[0]; i++) {
        if (words[i].tag == (group << 16 | element)) {
            memcpy(vr, words[i].vr, 3);
            return 1;
        }
    }
    memcpy(vr, "UN", 3);
    return 0;
}

int dictionary_find(const char *keyword, unsigned *group, unsigned *element)
{
    (void)keyword;
    (void)group;
    (void)element;
    return 0;
}

static int collect(void *ctx, const void *bytes, size_t count, struct err *e)
{
    (void)e;
    bytes_add(ctx, bytes, count);
    return 0;
}

static void try_plan(const struct bytes *b, const char *rules, bool deidentify, const struct dicom_scan *before)
{
    static const unsigned char key[EDIT_KEY_BYTES];
    struct edit_plan *plan = NULL;
    struct edited d;
    struct dicom_scan after;
    struct bytes out = {0};
    struct err e = {0};
    if (edit_plan_new(&plan, &e) != 0 || edit_plan_add(plan, rules, "fuzz", &e) != 0 || (deidentify && edit_plan_deidentify(plan, &e) != 0)) {
        abort();
    }
    edit_plan_key(plan, key);
    int fd = bytes_fd(b);
    int rc = edit_apply(fd, plan, &d, &e);
    if (rc != 0 && (err_class_of(rc) != ERR_CLASS_REFUSE || strlen(e.text) < 10)) {
        abort();
    }
    if (rc == 0) {
        bytes_add(&out, b->at, (size_t)before->data_offset);
        if (edit_write(&d, fd, collect, &out, &e) != 0 || dicom_scan_memory(out.at, out.count, &after, &e) != 0) {
            abort();
        }
        bool is_deflated = dicom_ts_kind_of(before->transfer_syntax_uid) == DICOM_TS_DEFLATED;
        if (d.change_total == 0 && !is_deflated && (out.count != b->count || memcmp(out.at, b->at, out.count) != 0)) {
            abort();
        }
        if ((before->pixels.tag != 0) != (after.pixels.tag != 0)) {
            abort();
        }
    }
    (void)close(fd);
    edit_clear(&d);
    edit_plan_free(&plan);
    bytes_clear(&out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t count);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t count)
{
    static const char *const syntaxes[] = {"", "1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.2", "1.2.840.10008.1.2.1.99", "1.2.840.10008.1.2.4.50"};
    struct bytes b = {0};
    struct dicom_scan scan;
    if (count == 0) {
        return 0;
    }
    size_t which = data[0] % (sizeof syntaxes / sizeof syntaxes[0]);
    if (which > 0) {
        bytes_head(&b, "1.2", "1.2.3", syntaxes[which]);
    }
    bytes_add(&b, data + 1, count - 1);
    if (dicom_scan_memory(b.at, b.count, &scan, NULL) == 0) {
        try_plan(&b, "keep any/0008,0080 | remove 0011,[NOBODY OF THAT NAME]10", false, &scan);
        try_plan(&b, "set 0008,0080=x | set 0040,0275/0008,0050=1 | remove any/0010,0010 | hash any/0010,0020 | hash any/0008,1155 | empty 0029,[A]01", false, &scan);
        try_plan(&b, "", true, &scan);
    }
    bytes_clear(&b);
    return 0;
}
