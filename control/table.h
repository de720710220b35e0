/*
 * table - rows of a report in memory, shown as an aligned table, as "name: value" lines, or as JSON.
 *
 * Values come from peers: whatever is not printable UTF-8 is shown as \xNN, so no terminal obeys a data set. Columns ending in _ms
 * are times (local, with their age), those ending in bytes are sizes. Bounded: TABLE_ROWS_MAX rows, later ones are counted only.
 */
#ifndef STORESCP_CONTROL_TABLE_H
#define STORESCP_CONTROL_TABLE_H

#include "common/runtime/err.h"
#include "common/state/state.h"

#include <jansson.h>
#include <stdio.h>

enum { TABLE_ROWS_MAX = 100000, TABLE_COLUMNS_MAX = 80, TABLE_WIDTH = 120 };

struct table {
    int columns;
    char *names[TABLE_COLUMNS_MAX];
    char **cells; /* rows * columns; NULL: null */
    size_t rows, room, left_out;
};

/* The rows of a report of common/state. t must be zeroed or cleared; clear it in any case. */
int table_load(struct table *t, struct state *s, const char *report, const char *arg, long long limit, struct err *e);
void table_clear(struct table *t);
/* The value, or NULL if there is no such row or column, or the value is null. */
const char *table_get(const struct table *t, size_t row, const char *column);
long long table_number(const struct table *t, size_t row, const char *column); /* 0 if there is none */

/* Aligned, as wide as the terminal, TABLE_WIDTH if out is none; columns that are empty or 0 in every row are left out, and those named
 * in hidden. When it is too wide, those named in spare go, the first of them first (a line below names them), then the widest are cut; the
 * first column never is, it is there to be copied. Both lists end in NULL and may be NULL. detail, if given, is called after each row and
 * writes whole lines below it: what must not be cut. */
typedef void table_detail_fn(const struct table *t, size_t row, FILE *out);
void table_print(const struct table *t, const char *const *hidden, const char *const *spare, table_detail_fn *detail, FILE *out);
/* A sentence, broken between words where the line ends; each line begins with indent blanks, those after the first with two more. */
void table_print_sentence(const char *text, size_t indent, FILE *out);
/* One row, one line for each value that is there. */
void table_print_row(const struct table *t, size_t row, FILE *out);
json_t *table_json_row(const struct table *t, size_t row);
json_t *table_json(const struct table *t); /* an array of objects; NULL: out of memory */
/* Who is told and what waits, for `status --json`. events.c. */
json_t *events_json(struct state *s);
/* How many instances are described otherwise than the first of their study. NULL: not known. conflicts.c. */
json_t *conflicts_json(struct state *s);
/* Studies of which something is missing, how much that is, and how many studies still arrive; warns of what their senders say they sent. NULL: not known. */
json_t *completeness_json(struct state *s, void (*warn)(void *ctx, const char *sentence), void *ctx);

/* Pure helpers. Each fills buffer and returns it. */
const char *text_printable(const char *text, char *buffer, size_t size); /* "-" for NULL */
const char *text_time(int64_t ms, char *buffer, size_t size);            /* "2026-01-02T03:04:05+01:00 (5 min ago)" */
const char *text_bytes(long long bytes, char *buffer, size_t size);      /* "1.5 GB" */
const char *text_age(int64_t ms, char *buffer, size_t size);             /* "5 min" */

#endif
