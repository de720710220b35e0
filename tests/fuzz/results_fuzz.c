/*
 * results_fuzz - libFuzzer on the reader of result files: manifest, lines in slices of any size, keys, folders. Beside the sanitizers it demands
 * texts that end, are printable UTF-8, a legal instance id, evidence for every import, and the same lines whatever the slices are.
 */
#include "common/runtime/runtime.h"
#include "importer/results.h"

#include <stdlib.h>
#include <string.h>

#define BATCH "01m8ab1fpxbqeza7dq3cy3kwzj"

static void demand(bool truth)
{
    if (!truth) {
        abort();
    }
}

static void check_text(const char *text, size_t size)
{
    size_t n = strnlen(text, size);
    demand(n < size);
    for (size_t i = 0; i < n; i++) {
        demand((unsigned char)text[i] >= 0x20 && text[i] != 0x7f);
    }
}

struct seen {
    int lines, ok;
    size_t bytes;
};

static void take(const char *line, size_t size, enum results_file file, const struct results_manifest *m, struct seen *s)
{
    struct state_result r;
    s->lines++;
    s->bytes += size;
    if (results_line_parse(line, size, file, m, BATCH, &r) != RESULTS_LINE_OK) {
        return;
    }
    s->ok++;
    demand(id_is_legal(r.id));
    check_text(r.image_set_id, sizeof r.image_set_id);
    check_text(r.warning, sizeof r.warning);
    check_text(r.why.text, sizeof r.why.text);
    demand(r.kind != RESULT_IMPORTED || (r.image_set_id[0] && r.is_primary >= -1 && r.is_primary <= 1 && r.image_set_version >= 0));
    demand(r.kind == RESULT_IMPORTED || (file == RESULTS_FAILURE && r.why.code != 0 && r.why.text[0]));
}

/* The whole text in slices; a line longer than a slice ends the comparison (the importer passes such a line over). */
static struct seen slices(const char *text, size_t size, size_t slice, enum results_file file, const struct results_manifest *m)
{
    struct seen s = {0};
    for (size_t at = 0; at < size;) {
        size_t n = size - at < slice ? size - at : slice;
        char *exact = malloc(n);
        demand(exact != NULL);
        memcpy(exact, text + at, n);
        size_t used = 0;
        size_t length = 0;
        const char *line = NULL;
        while (results_line_next(exact, n, at + n == size, &used, &line, &length)) {
            take(line, length, file, m, &s);
        }
        free(exact);
        if (used == 0) {
            s.lines = -1;
            return s;
        }
        at += used;
    }
    return s;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t count);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t count)
{
    static const enum results_file files[] = {RESULTS_SUCCESS, RESULTS_WARNING, RESULTS_FAILURE};
    if (count < 2) {
        return 0;
    }
    enum results_file file = files[data[0] % 3];
    size_t slice = (size_t)data[1] * 8 + 8;
    const char *text = (const char *)data + 2;
    size_t size = count - 2;
    struct results_manifest m;
    struct results_manifest none = {0};
    if (results_manifest_parse(text, size, &m, NULL) == 0) {
        demand(m.present && m.scanned >= 0 && m.imported >= 0 && m.customer_errors >= 0 && m.server_errors >= 0);
        (void)results_manifest_adds_up(&m);
        for (size_t i = 0; i < m.image_set_count; i++) {
            check_text(m.image_sets[i].id, sizeof m.image_sets[i].id);
        }
    }
    results_manifest_clear(&m);
    struct seen whole = slices(text, size, size ? size : 1, file, &none);
    struct seen cut = slices(text, size, slice, file, &none);
    demand(cut.lines == -1 || (cut.lines == whole.lines && cut.ok == whole.ok && cut.bytes == whole.bytes));
    char *name = malloc(size + 1);
    char id[STATE_ID_SIZE];
    char folder[300];
    demand(name != NULL);
    memcpy(name, text, size);
    name[size] = '\0';
    (void)results_file_of(name);
    demand(!results_instance_of(name, BATCH, id) || id_is_legal(id));
    demand(results_folder(name, "ds", "job", folder, sizeof folder) != 0 || folder[strlen(folder) - 1] == '/');
    free(name);
    return 0;
}
