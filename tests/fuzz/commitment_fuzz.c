/*
 * commitment_fuzz - libFuzzer on what storage commitment reads of others: the action information of a request, and the answer to an association
 * request of ours. The first byte chooses: 0 and 1 action information, implicit and explicit; else an A-ASSOCIATE-AC. Beside the sanitizers it demands:
 * references that are sound, a report of them that reads back as the same list, a reason for each refusal, texts that end.
 */
#include "common/dicom/commitment.h"
#include "common/dicom/requestor.h"

#include <stdlib.h>
#include <string.h>

static void demand(bool truth)
{
    if (!truth) {
        abort();
    }
}

static void read_action(const uint8_t *bytes, size_t count, bool explicit_vr)
{
    struct commitment_list list;
    struct commitment_list back;
    struct err e = {0};
    size_t written = 0;
    uint16_t type = 0;
    uint16_t status = commitment_read(bytes, count, explicit_vr, &list, &e);
    if (status != 0) {
        demand((status == COMMITMENT_INVALID_ARGUMENT || status == COMMITMENT_RESOURCE_LIMITATION) && e.text[0] && !list.references);
        return;
    }
    demand(commitment_references_are_sound(list.references, list.references_bytes, list.count));
    uint16_t *reasons = calloc(list.count, sizeof *reasons);
    demand(reasons != NULL);
    unsigned char *report = commitment_write(list.transaction_uid, list.references, reasons, list.count, explicit_vr, &written, &type);
    demand(report && type == COMMITMENT_COMPLETE && commitment_read(report, written, explicit_vr, &back, &e) == 0);
    demand(back.count == list.count && back.references_bytes == list.references_bytes && strcmp(back.transaction_uid, list.transaction_uid) == 0 &&
           memcmp(back.references, list.references, list.references_bytes) == 0);
    commitment_list_clear(&back);
    free(report);
    for (size_t i = 0; i < list.count; i++) {
        reasons[i] = i % 2 ? 0 : 0x112;
    }
    report = commitment_write(list.transaction_uid, list.references, reasons, list.count, explicit_vr, &written, &type);
    demand(report && type == COMMITMENT_FAILED);
    if (list.count > 1) {
        demand(commitment_read(report, written, explicit_vr, &back, &e) == 0 && back.count == list.count / 2);
        commitment_list_clear(&back);
    }
    free(report);
    free(reasons);
    commitment_list_clear(&list);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t count);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t count)
{
    static struct message_link link;
    if (count == 0) {
        return 0;
    }
    unsigned char *exact = malloc(count);
    demand(exact != NULL);
    memcpy(exact, data + 1, count - 1);
    if (data[0] < 2) {
        read_action(exact, count - 1, data[0] == 1);
    } else {
        struct err e = {0};
        memset(&link, 0, sizeof link);
        int rc = requestor_read_acceptance(exact, count - 1, &link, COMMITMENT_CLASS, &e);
        demand(rc == 0 ? link.contexts[1].accepted : rc == ERR_PROTOCOL && e.text[0]);
        demand(strnlen(link.contexts[1].transfer_syntax, 65) < 65);
    }
    free(exact);
    return 0;
}
