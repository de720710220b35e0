/*
 * stow_fuzz - libFuzzer on the answers of DICOMweb servers: store responses in JSON and XML, lists of instances. Beside the sanitizers it demands that a
 * verdict names our instance only when the body holds its UID, that reasons are 16 bit numbers, and that a URL that is kept is one.
 * The first byte chooses the reader.
 */
#include "common/aws/dicomweb/stow_answer.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

static const char uid[] = "1.2.3";

static void demand(bool truth)
{
    if (!truth) {
        abort();
    }
}

static void store_answer(const char *body, size_t bytes)
{
    struct stow_verdict v = {.kind = STOW_NOT_NAMED, .reason = -7};
    struct err e = {0};
    int rc = stow_answer_read(body, bytes, uid, &v, &e);
    demand(rc == 0 || rc == ERR_PROTOCOL);
    demand(rc == 0 || v.reason == -7); /* untouched on an error */
    if (rc != 0) {
        return;
    }
    demand(v.reason >= -1 && v.reason <= 65535 && v.warning >= 0 && v.warning <= 65535);
    demand(err_class_of(stow_reason_code(v.reason)) != ERR_CLASS_NONE && stow_reason_words(v.warning) != NULL);
    demand(strnlen(v.retrieve_url, sizeof v.retrieve_url) < sizeof v.retrieve_url);
    demand(!v.retrieve_url[0] || (v.kind == STOW_STORED && strncmp(v.retrieve_url, "http", 4) == 0 && !strpbrk(v.retrieve_url, " \"\r\n")));
    demand(v.kind == STOW_STORED || v.kind == STOW_FAILED || v.kind == STOW_NOT_NAMED);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t count);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t count)
{
    bool found = false;
    struct err e = {0};
    if (count == 0) {
        return 0;
    }
    char *exact = malloc(count); /* one byte less than the input, and a NUL behind as http.h promises */
    demand(exact != NULL);
    memcpy(exact, data + 1, count - 1);
    exact[count - 1] = '\0';
    if (data[0] % 3 < 2) {
        store_answer(exact, count - 1);
    } else {
        int rc = stow_query_read(exact, count - 1, uid, &found, &e);
        demand(rc == ERR_PROTOCOL ? !found : rc == 0);
    }
    free(exact);
    return 0;
}
