/*
 * show - `quarantine show ID`: why an instance is set aside, what the other one of its UID has, what persons decided about it, where its
 * bytes are. With --header the elements of its file, read by the bounded scanner and without the pixels: patient data, for the terminal of whoever
 * asks, never for a log. Read only.
 */
#include "common/dicom/scan.h"
#include "common/runtime/rule_list.h"
#include "common/runtime/runtime.h"
#include "common/spool/spool.h"
#include "control/control.h"
#include "control/table.h"

#include <inttypes.h>
#include <unistd.h>

enum { HEADER_LINES = 2000, ROWS_MAX = 1000 };

/* What makes an instance; where two of one UID differ, a person wants to see both. */
static const struct {
    const char *column, *title;
} facts[] = {
    {"study_uid", "Study Instance UID"}, {"series_uid", "Series Instance UID"}, {"sop_class_uid", "SOP Class UID"}, {"transfer_syntax_uid", "transfer syntax"},
    {"patient_id", "Patient ID"}, {"accession_number", "Accession Number"}, {"study_date", "Study Date"}, {"modality", "modality"},
    {"data_bytes", "bytes of the data set"}, {"data_crc32c", "CRC32C of the data set"}, {"calling_ae", "sender"}, {"destination", "destination"},
    {"received_ms", "received"},
};

struct found { /* all that is known about it */
    struct table one, twin, findings, acceptances, corrections, changes, history;
};

static int load(struct state *s, const char *id, struct found *f, struct err *e)
{
    int rc = table_load(&f->one, s, "instance", id, 1, e);
    const char *twin = table_get(&f->one, 0, "twin");
    rc = rc ? rc : twin ? table_load(&f->twin, s, "instance", twin, 1, e) : 0;
    rc = rc ? rc : table_load(&f->findings, s, "findings", id, ROWS_MAX, e);
    rc = rc ? rc : table_load(&f->changes, s, "changes", id, ROWS_MAX, e);
    rc = rc ? rc : table_load(&f->acceptances, s, "acceptances", id, ROWS_MAX, e);
    rc = rc ? rc : table_load(&f->corrections, s, "fixes_of", id, ROWS_MAX, e);
    return rc ? rc : table_load(&f->history, s, "history", id, ROWS_MAX, e);
}

static void clear(struct found *f)
{
    table_clear(&f->one);
    table_clear(&f->twin);
    table_clear(&f->findings);
    table_clear(&f->changes);
    table_clear(&f->acceptances);
    table_clear(&f->corrections);
    table_clear(&f->history);
}

/* Where its file is, "" if nowhere; original: as it came, before it was changed. */
static void find_file(const char *home, const char *id, bool original, char path[PATH_SIZE])
{
    static const char *const rooms[] = {"quarantine", "obj", "dropped"};
    path[0] = '\0';
    for (size_t i = 0; i < (original ? 1 : sizeof rooms / sizeof rooms[0]); i++) {
        (void)snprintf(path, PATH_SIZE, "%s/spool/%s/%s.dcm", home, original ? "original" : rooms[i], id);
        if (access(path, F_OK) == 0) {
            return;
        }
        path[0] = '\0';
    }
}

/* ---- the header ------------------------------------------------------------------------------------------------------------------- */

struct header {
    const struct request *q;
    json_t *all; /* NULL: lines are printed */
    long long left;
    bool big_endian;
};

static uint64_t number_at(const unsigned char *p, size_t count, bool big_endian)
{
    uint64_t n = 0;
    for (size_t i = 0; i < count; i++) {
        n = n << 8 | p[big_endian ? i : count - 1 - i];
    }
    return n;
}

/* A value for people: numbers of binary VRs, text as it is, the first bytes of anything else. */
static void value_text(const struct header *h, const struct dicom_element *el, char *out, size_t size)
{
    static const char *const widths[] = {"US", "SS", "UL", "SL", "UV", "SV"};
    size_t used = 0;
    bool is_text = true;
    size_t count = el->value_count;
    while (count > 0 && (el->value[count - 1] == '\0' || el->value[count - 1] == ' ')) {
        count--;
    }
    for (size_t i = 0; i < count; i++) {
        is_text = is_text && (el->value[i] >= 0x20 || strchr("\t\n\f\r\033", el->value[i])) && el->value[i] != 0;
    }
    out[0] = '\0';
    for (size_t w = 0; w < sizeof widths / sizeof widths[0]; w++) {
        size_t width = w < 2 ? 2 : w < 4 ? 4 : 8;
        if (strcmp(el->vr, widths[w]) != 0) {
            continue;
        }
        for (size_t i = 0; i + width <= el->value_count && used + 24 < size; i += width) {
            uint64_t n = number_at(el->value + i, width, h->big_endian && el->group != 2);
            int64_t negative = width == 2 ? (int16_t)n : width == 4 ? (int32_t)n : (int64_t)n;
            used += (size_t)(w % 2 ? snprintf(out + used, size - used, "%s%" PRId64, i ? "\\" : "", negative)
                                   : snprintf(out + used, size - used, "%s%" PRIu64, i ? "\\" : "", n));
        }
        return;
    }
    if (is_text && strcmp(el->vr, "OB") != 0 && strcmp(el->vr, "OW") != 0) {
        char raw[DICOM_SHOWN_MAX + 1];
        memcpy(raw, el->value, count);
        raw[count] = '\0';
        (void)text_printable(raw, out, size);
    } else {
        for (size_t i = 0; i < count && i < 16; i++) {
            used += (size_t)snprintf(out + used, size - used, "%02x ", el->value[i]);
        }
    }
}

static int show_element(void *ctx, const struct dicom_element *el)
{
    struct header *h = ctx;
    char value[4 * DICOM_SHOWN_MAX + 8];
    if (h->left-- == 0) {
        return 1;
    }
    value_text(h, el, value, sizeof value);
    if (el->group == 2 && el->number == 0x10) {
        h->big_endian = dicom_ts_kind_of(value) == DICOM_TS_BIG_ENDIAN;
    }
    if (h->all) {
        char tag[12];
        (void)snprintf(tag, sizeof tag, "%04X,%04X", el->group, el->number);
        (void)json_array_append_new(h->all, json_pack("{s:i, s:s, s:s, s:I, s:s?}", "depth", el->depth, "tag", tag, "vr", el->vr, "length", (json_int_t)el->length,
                                                      "value", el->value_count ? value : NULL));
        return 0;
    }
    if (el->group == 0xfffe) {
        (void)printf("%*sitem\n", 2 * el->depth + 2, "");
        return 0;
    }
    (void)printf("%*s(%04X,%04X) %-2s ", 2 * el->depth, "", el->group, el->number, el->vr[0] ? el->vr : "--");
    if (el->length < 0 || strcmp(el->vr, "SQ") == 0) {
        (void)printf("%s\n", el->group == 0x7fe0 ? "pixel data, not shown" : "sequence");
    } else if (el->group == 0x7fe0 && el->value_count == 0) {
        (void)printf("%lld bytes, not shown\n", (long long)el->length);
    } else {
        (void)printf("%s%s\n", value, el->length > (int64_t)el->value_count ? " .." : "");
    }
    return 0;
}

/* Prints (or collects in all) the elements up to the pixel data; what the reader stops at is part of the answer. */
static int show_header(const struct request *q, const char *id, json_t *all)
{
    struct err e = {0};
    struct header h = {.q = q, .all = all, .left = q->limit ? q->limit : HEADER_LINES};
    int fd = spool_open(q->home, id, &e);
    int rc = fd < 0 ? fd : dicom_scan_elements(fd, show_element, &h, &e);
    if (fd >= 0) {
        (void)close(fd);
    }
    if (rc != 0 && h.left < 0) {
        return all ? EXIT_FINE : printf("(cut here; --limit N shows more)\n") > 0 ? EXIT_FINE : EXIT_PROBLEM;
    }
    if (rc != 0) {
        (void)complain("the header ends here: %s", e.text);
    }
    return rc == 0 || err_class_of(rc) == ERR_CLASS_REFUSE ? EXIT_FINE : EXIT_PROBLEM;
}

/* Every rule that it breaks, with the remedy. */
static void say_findings(const struct found *f)
{
    char clean[400];
    char line[900];
    for (size_t i = 0; i < f->findings.rows; i++) {
        const char *name = table_get(&f->findings, i, "rule");
        const struct rule *rule = name ? rule_named(name) : NULL;
        size_t used = (size_t)snprintf(line, sizeof line, "Rule %s", text_printable(name, clean, sizeof clean));
        used += (size_t)snprintf(line + used, sizeof line - used, " (%s", text_printable(table_get(&f->findings, i, "severity"), clean, sizeof clean));
        const char *tag = table_get(&f->findings, i, "tag");
        used += (size_t)snprintf(line + used, sizeof line - used, "%s%s)", tag && tag[0] ? ", " : "", tag ? tag : "");
        used += (size_t)snprintf(line + used, sizeof line - used, ": %s", text_printable(table_get(&f->findings, i, "text"), clean, sizeof clean));
        if (rule && !strstr(clean, rule->remedy)) {
            (void)snprintf(line + used, sizeof line - used, ". To do: %s", rule->remedy);
        }
        table_print_sentence(line, 0, stdout);
    }
}

/* ---- the story ---------------------------------------------------------------------------------------------------------------------- */

static void say(const char *title, const char *value)
{
    char clean[700];
    char line[800];
    if (value && value[0]) {
        (void)snprintf(line, sizeof line, "%s: %s", title, text_printable(value, clean, sizeof clean));
        table_print_sentence(line, 0, stdout);
    }
}

static void say_twin(const struct found *f)
{
    char one[300];
    char other[300];
    const char *state = table_get(&f->twin, 0, "state");
    const char *id = table_get(&f->twin, 0, "id");
    if (!id) {
        return;
    }
    (void)printf("The other one of its UID: %s is %s. Where they differ (this one, the other):\n", id, text_printable(state, one, sizeof one));
    for (size_t i = 0; i < sizeof facts / sizeof facts[0]; i++) {
        const char *a = table_get(&f->one, 0, facts[i].column);
        const char *b = table_get(&f->twin, 0, facts[i].column);
        if (strcmp(a ? a : "", b ? b : "") != 0) {
            bool is_time = strcmp(facts[i].column, "received_ms") == 0;
            (void)printf("  %-22s  %s  |  ", facts[i].title, is_time ? text_time(strtoll(a ? a : "0", NULL, 10), one, sizeof one) : text_printable(a, one, sizeof one));
            (void)printf("%s\n", is_time ? text_time(strtoll(b ? b : "0", NULL, 10), other, sizeof other) : text_printable(b, other, sizeof other));
        }
    }
}

static void say_decisions(const struct found *f)
{
    char clean[300];
    char reason[300];
    char when[80];
    for (size_t i = 0; i < f->acceptances.rows; i++) {
        const char *why = table_get(&f->acceptances, i, "reason");
        (void)printf("Accepted: %s", text_printable(table_get(&f->acceptances, i, "rule"), clean, sizeof clean));
        (void)printf(" by %s", text_printable(table_get(&f->acceptances, i, "who"), clean, sizeof clean));
        (void)printf(", %s%s%s\n", text_time(table_number(&f->acceptances, i, "at_ms"), when, sizeof when), why ? ": " : "",
                     why ? text_printable(why, reason, sizeof reason) : "");
    }
    for (size_t i = 0; i < f->corrections.rows; i++) {
        (void)printf("Corrected by order %lld", table_number(&f->corrections, i, "id"));
        (void)printf(" of %s", text_printable(table_get(&f->corrections, i, "who"), clean, sizeof clean));
        (void)printf(", %s: %s\n", text_time(table_number(&f->corrections, i, "applied_ms"), when, sizeof when),
                     text_printable(table_get(&f->corrections, i, "reason"), reason, sizeof reason));
        say("  what", table_get(&f->corrections, i, "actions"));
    }
    if (f->changes.rows > 0) {
        (void)puts("Changed elements:");
        table_print(&f->changes, NULL, NULL, NULL, stdout);
    }
}

static void say_all(const struct request *q, const struct found *f)
{
    char text[300];
    char line[800];
    char path[PATH_SIZE];
    const char *id = q->args[1];
    const char *code = table_get(&f->one, 0, "error_code");
    const char *remedy = table_get(&f->one, 0, "remedy");
    (void)printf("Instance %s is %s%s", id, table_number(&f->one, 0, "dropped_ms") > 0 ? "dropped; it was " : "",
                 text_printable(table_get(&f->one, 0, "state"), text, sizeof text));
    (void)printf(" since %s.\n", text_time(table_number(&f->one, 0, "changed_ms"), text, sizeof text));
    if (code && code[0]) {
        (void)snprintf(line, sizeof line, "Because: %s (%s)", err_sentence(err_code_of(code)), text_printable(code, text, sizeof text));
        table_print_sentence(line, 0, stdout);
        say("In detail", table_get(&f->one, 0, "error_text"));
        if (remedy && remedy[0]) {
            table_print_sentence(remedy_for(remedy, id, line, sizeof line), 0, stdout);
        }
    }
    say("Note", table_get(&f->one, 0, "warning"));
    say("Sender", table_get(&f->one, 0, "calling_ae"));
    say("Study", table_get(&f->one, 0, "study_uid"));
    say_findings(f);
    say_twin(f);
    say_decisions(f);
    find_file(q->home, id, false, path);
    say("File", path[0] ? path : "gone");
    find_file(q->home, id, true, path);
    say("As it came", path);
    static const char *const spare[] = {NULL};
    (void)puts("History:");
    table_print(&f->history, NULL, spare, NULL, stdout);
}

static int say_json(const struct request *q, const struct found *f)
{
    char path[PATH_SIZE];
    char original[PATH_SIZE];
    json_t *header = q->header ? json_array() : NULL;
    find_file(q->home, q->args[1], false, path);
    find_file(q->home, q->args[1], true, original);
    int code = header ? show_header(q, q->args[1], header) : EXIT_FINE;
    json_t *answer = json_pack("{s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:s?, s:s?, s:o?}", "instance", table_json_row(&f->one, 0), "twin",
                               f->twin.rows ? table_json_row(&f->twin, 0) : json_null(), "acceptances", table_json(&f->acceptances), "corrections",
                               table_json(&f->corrections), "findings", table_json(&f->findings), "changes", table_json(&f->changes), "history", table_json(&f->history), "file", path[0] ? path : NULL, "original",
                               original[0] ? original : NULL, "header", header);
    bool is_written = answer && json_dumpf(answer, stdout, JSON_INDENT(2)) == 0;
    (void)putchar('\n');
    json_decref(answer);
    return is_written ? code : complain("cannot write the answer");
}

int quarantine_show(struct request *q)
{
    struct err e = {0};
    struct state *state = NULL;
    struct found f = {0};
    int code = EXIT_FINE;
    int rc = open_for_reading(&state, q->home, &e);
    rc = rc ? rc : load(state, q->args[1], &f, &e);
    if (rc != 0) {
        code = complain("%s", e.text);
    } else if (f.one.rows == 0) {
        code = complain("there is no instance %s", q->args[1]);
    } else if (q->json) {
        code = say_json(q, &f);
    } else {
        say_all(q, &f);
        if (q->header) {
            (void)puts("Header:");
            code = show_header(q, q->args[1], NULL);
        }
    }
    clear(&f);
    state_close(&state);
    return code;
}
