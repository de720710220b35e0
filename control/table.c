/* table - see table.h. */
#include "control/table.h"

#include "common/runtime/runtime.h"

#include <stdbool.h>
#include <sys/ioctl.h>
#include <unistd.h>

enum { CELL_SIZE = 1600, CELL_WIDTH_MAX = 64, CELL_WIDTH_MIN = 6, WIDTH_MIN = 80 };

/* ---- words ----------------------------------------------------------------------------------------------------------------- */

/* Length of one printable UTF-8 character at p, 0 if it is none (control characters, broken sequences, direction marks). */
static size_t printable_length(const unsigned char *p)
{
    if (p[0] < 0x80) {
        return p[0] >= 0x20 && p[0] != 0x7f;
    }
    size_t n = p[0] >= 0xf0 && p[0] <= 0xf4 ? 4 : p[0] >= 0xe0 && p[0] < 0xf0 ? 3 : p[0] >= 0xc2 && p[0] < 0xe0 ? 2 : 0;
    uint32_t code = n == 4 ? p[0] & 7u : n == 3 ? p[0] & 15u : p[0] & 31u;
    for (size_t i = 1; i < n; i++) {
        if ((p[i] & 0xc0) != 0x80) { /* the end of the text is none either */
            return 0;
        }
        code = code << 6 | (p[i] & 0x3fu);
    }
    bool is_bad = code < 0xa0 || (n == 3 && (code < 0x800 || (code >= 0xd800 && code <= 0xdfff))) ||
                  (n == 4 && (code < 0x10000 || code > 0x10ffff)) || (code >= 0x200b && code <= 0x200f) ||
                  (code >= 0x2028 && code <= 0x202e) || (code >= 0x2066 && code <= 0x2069);
    return is_bad ? 0 : n;
}

const char *text_printable(const char *text, char *buffer, size_t size)
{
    size_t used = 0;
    for (const unsigned char *p = (const unsigned char *)(text ? text : "-"); *p && used + 5 < size;) {
        size_t n = printable_length(p);
        if (n > 0) {
            memcpy(buffer + used, p, n);
            used += n;
            p += n;
        } else {
            used += (size_t)snprintf(buffer + used, size - used, "\\x%02x", *p);
            p++;
        }
    }
    buffer[used] = '\0';
    return buffer;
}

const char *text_age(int64_t ms, char *buffer, size_t size)
{
    static const struct {
        int64_t ms;
        const char *unit;
    } units[] = {{86400000, "d"}, {3600000, "h"}, {60000, "min"}, {0, "s"}};
    size_t i = 0;
    ms = ms < 0 ? 0 : ms;
    while (ms < 2 * units[i].ms) {
        i++;
    }
    (void)snprintf(buffer, size, "%lld %s", (long long)(ms / (units[i].ms ? units[i].ms : 1000)), units[i].unit);
    return buffer;
}

const char *text_time(int64_t ms, char *buffer, size_t size)
{
    time_t seconds = (time_t)(ms / 1000);
    struct tm local;
    char day[40] = "";
    char zone[8] = "";
    char age[32];
    int64_t past = clock_wall_ms() - ms;
    if (!localtime_r(&seconds, &local) || strftime(day, sizeof day, "%Y-%m-%dT%H:%M:%S", &local) == 0 ||
        strftime(zone, sizeof zone, "%z", &local) != 5) {
        (void)snprintf(buffer, size, "%lld ms", (long long)ms);
        return buffer;
    }
    (void)snprintf(buffer, size, "%s%.3s:%s (%s%s%s)", day, zone, zone + 3, past < 0 ? "in " : "",
                   text_age(past < 0 ? -past : past, age, sizeof age), past < 0 ? "" : " ago");
    return buffer;
}

const char *text_bytes(long long bytes, char *buffer, size_t size)
{
    static const char *const units[] = {"B", "kB", "MB", "GB", "TB", "PB"};
    double n = (double)bytes;
    size_t i = 0;
    while (n >= 999.5 && i + 1 < sizeof units / sizeof units[0]) {
        n /= 1000;
        i++;
    }
    (void)snprintf(buffer, size, i == 0 || n >= 99.5 ? "%.0f %s" : "%.1f %s", n, units[i]);
    return buffer;
}

static bool ends_in(const char *text, const char *end)
{
    size_t n = strlen(text);
    size_t m = strlen(end);
    return n >= m && strcmp(text + n - m, end) == 0;
}

/* A cell as people read it. */
static const char *cell_text(const char *column, const char *value, char *buffer, size_t size)
{
    if (value && ends_in(column, "_ms") && strspn(value, "0123456789") == strlen(value)) {
        long long ms = strtoll(value, NULL, 10);
        return ms > 0 ? text_time(ms, buffer, size) : text_printable(NULL, buffer, size);
    }
    if (value && ends_in(column, "bytes")) {
        return text_bytes(strtoll(value, NULL, 10), buffer, size);
    }
    return text_printable(value && value[0] ? value : NULL, buffer, size);
}

static size_t width_of(const char *text)
{
    size_t n = 0;
    for (; *text; text++) {
        n += ((unsigned char)*text & 0xc0) != 0x80;
    }
    return n;
}

/* Cuts after `width` characters. */
static void cut(char *text, size_t width)
{
    if (width_of(text) <= width) {
        return;
    }
    size_t n = 0;
    size_t at = 0;
    while (n < width - 2) {
        at++;
        while (((unsigned char)text[at] & 0xc0) == 0x80) {
            at++;
        }
        n++;
    }
    memcpy(text + at, "..", 3);
}

/* ---- rows ------------------------------------------------------------------------------------------------------------------- */

static int add(void *ctx, int columns, const char *const *names, const char *const *values)
{
    struct table *t = ctx;
    if (columns < 1 || columns > TABLE_COLUMNS_MAX || (t->columns != 0 && columns != t->columns)) {
        return ERR_ARGUMENT;
    }
    for (; t->columns < columns; t->columns++) {
        t->names[t->columns] = strdup(names[t->columns]);
        if (!t->names[t->columns]) {
            return ERR_MEMORY;
        }
    }
    if (t->rows == TABLE_ROWS_MAX) {
        t->left_out++;
        return 0;
    }
    if (t->rows == t->room) {
        size_t room = t->room ? t->room * 2 : 16;
        char **cells = realloc(t->cells, room * (size_t)columns * sizeof *cells);
        if (!cells) {
            return ERR_MEMORY;
        }
        t->cells = cells;
        t->room = room;
    }
    char **row = t->cells + t->rows * (size_t)columns;
    for (int i = 0; i < columns; i++) {
        row[i] = values[i] ? strdup(values[i]) : NULL;
        if (values[i] && !row[i]) {
            while (i > 0) {
                free(row[--i]);
            }
            return ERR_MEMORY;
        }
    }
    t->rows++;
    return 0;
}

int table_load(struct table *t, struct state *s, const char *report, const char *arg, long long limit, struct err *e)
{
    return state_report(s, report, arg, limit, add, t, e);
}

void table_clear(struct table *t)
{
    for (size_t i = 0; i < t->rows * (size_t)t->columns; i++) {
        free(t->cells[i]);
    }
    for (int i = 0; i < t->columns; i++) {
        free(t->names[i]);
    }
    free(t->cells);
    memset(t, 0, sizeof *t);
}

const char *table_get(const struct table *t, size_t row, const char *column)
{
    for (int i = 0; row < t->rows && i < t->columns; i++) {
        if (strcmp(t->names[i], column) == 0) {
            return t->cells[row * (size_t)t->columns + (size_t)i];
        }
    }
    return NULL;
}

long long table_number(const struct table *t, size_t row, const char *column)
{
    const char *value = table_get(t, row, column);
    return value ? strtoll(value, NULL, 10) : 0;
}

/* ---- showing ------------------------------------------------------------------------------------------------------------------ */

static bool is_hidden(const char *const *hidden, const char *name)
{
    for (; hidden && *hidden; hidden++) {
        if (strcmp(*hidden, name) == 0) {
            return true;
        }
    }
    return false;
}

/* A cell of a table: as cell_text(), but a time without its age. */
static const char *table_cell(const char *column, const char *value, char *buffer, size_t size)
{
    (void)cell_text(column, value, buffer, size);
    char *age = ends_in(column, "_ms") ? strstr(buffer, " (") : NULL;
    if (age) {
        *age = '\0';
    }
    return buffer;
}

/* What each column wants; 0: it is not shown. */
static void measure(const struct table *t, const char *const *hidden, size_t widths[TABLE_COLUMNS_MAX])
{
    char cell[CELL_SIZE];
    for (int c = 0; c < t->columns; c++) {
        bool says_something = false;
        widths[c] = 0;
        for (size_t r = 0; r < t->rows && !is_hidden(hidden, t->names[c]); r++) {
            const char *value = t->cells[r * (size_t)t->columns + (size_t)c];
            says_something = says_something || (value && value[0] && strcmp(value, "0") != 0);
            if (value && value[0]) {
                (void)table_cell(t->names[c], value, cell, sizeof cell);
                cut(cell, CELL_WIDTH_MAX);
                widths[c] = width_of(cell) > widths[c] ? width_of(cell) : widths[c];
            }
        }
        if (!says_something) {
            widths[c] = 0;
        } else if (strlen(t->names[c]) > widths[c]) {
            widths[c] = strlen(t->names[c]);
        }
    }
}

static size_t total(const struct table *t, const size_t widths[TABLE_COLUMNS_MAX])
{
    size_t sum = 0;
    for (int c = 0; c < t->columns; c++) {
        sum += widths[c] ? widths[c] + 2 : 0;
    }
    return sum > 2 ? sum - 2 : 0;
}

/* How wide a line may be: the terminal decides, if there is one. */
static size_t room_of(FILE *out)
{
    struct winsize size = {0};
    int fd = fileno(out);
    if (fd < 0 || !isatty(fd) || ioctl(fd, TIOCGWINSZ, &size) == -1 || size.ws_col == 0) {
        return TABLE_WIDTH;
    }
    return size.ws_col < WIDTH_MIN ? WIDTH_MIN : size.ws_col;
}

void table_print_sentence(const char *text, size_t indent, FILE *out)
{
    size_t room = room_of(out);
    size_t at = 0; /* 0: nothing stands in this line yet */
    bool is_first = true;
    char word[CELL_SIZE];
    while (*(text += strspn(text, " "))) {
        (void)snprintf(word, sizeof word, "%.*s", (int)strcspn(text, " "), text);
        text += strcspn(text, " ");
        if (at > 0 && at + 1 + width_of(word) > room) {
            (void)fputc('\n', out);
            at = 0;
        }
        size_t blanks = at > 0 ? 1 : indent + (is_first ? 0 : 2);
        (void)fprintf(out, "%*s%s", (int)blanks, "", word);
        at += blanks + width_of(word);
        is_first = false;
    }
    (void)fputc('\n', out);
}

/* Makes the whole fit the room. Appends the names of columns that had to go to left_out. */
static void fit(const struct table *t, const char *const *spare, size_t room, size_t widths[TABLE_COLUMNS_MAX], char *left_out, size_t size)
{
    for (; spare && *spare && total(t, widths) > room; spare++) {
        for (int c = 0; c < t->columns; c++) {
            if (widths[c] > 0 && strcmp(t->names[c], *spare) == 0) {
                size_t used = strlen(left_out);
                (void)snprintf(left_out + used, size - used, "%s%s", used ? ", " : "", *spare);
                widths[c] = 0;
            }
        }
    }
    int first = 0;
    while (first < t->columns && widths[first] == 0) {
        first++;
    }
    while (total(t, widths) > room) {
        int widest = -1;
        for (int c = first + 1; c < t->columns; c++) {
            widest = widths[c] > CELL_WIDTH_MIN && (widest < 0 || widths[c] > widths[widest]) ? c : widest;
        }
        if (widest < 0) {
            return;
        }
        widths[widest]--;
    }
}

void table_print(const struct table *t, const char *const *hidden, const char *const *spare, table_detail_fn *detail, FILE *out)
{
    size_t widths[TABLE_COLUMNS_MAX] = {0};
    char cell[CELL_SIZE];
    char left_out[300] = "";
    measure(t, hidden, widths);
    fit(t, spare, room_of(out), widths, left_out, sizeof left_out);
    for (size_t line = 0; t->rows > 0 && line <= t->rows; line++) {
        size_t pending = 0; /* blanks are written before the next cell: none at the end of a line */
        for (int c = 0; c < t->columns; c++) {
            if (widths[c] == 0) {
                continue;
            }
            if (line == 0) {
                (void)text_printable(t->names[c], cell, sizeof cell);
            } else {
                (void)table_cell(t->names[c], t->cells[(line - 1) * (size_t)t->columns + (size_t)c], cell, sizeof cell);
            }
            cut(cell, widths[c]);
            (void)fprintf(out, "%*s%s", (int)pending, "", cell);
            pending = widths[c] - width_of(cell) + 2;
        }
        (void)fputc('\n', out);
        if (detail && line > 0) {
            detail(t, line - 1, out);
        }
    }
    if (t->left_out) {
        (void)fprintf(out, "(%zu more)\n", t->left_out);
    }
    if (left_out[0]) {
        (void)fprintf(out, "(too wide for: %s; --json has all)\n", left_out);
    }
}

void table_print_row(const struct table *t, size_t row, FILE *out)
{
    int widest = 0;
    char cell[CELL_SIZE];
    for (int c = 0; c < t->columns; c++) {
        widest = (int)strlen(t->names[c]) > widest ? (int)strlen(t->names[c]) : widest;
    }
    for (int c = 0; c < t->columns && row < t->rows; c++) {
        const char *value = t->cells[row * (size_t)t->columns + (size_t)c];
        if (value && value[0]) {
            (void)fprintf(out, "  %-*s  %s\n", widest, t->names[c], cell_text(t->names[c], value, cell, sizeof cell));
        }
    }
}

static bool column_is_number(const char *name)
{
    static const char *const exact[] = {"count", "pid", "attempts", "token", "held", "image_set_version", "is_primary", "instances",
                                        "under_way", "imported", "duplicate", "quarantined", "failed", "dropped", "not_primary", "import_attempts",
                                        "instance_count", "in_work", "retrying", "stored", "refused", "accept_other_content",
                                        "oldest_seconds", "seconds_in_state", "submittedAt", "endedAt", "conflicts", "missing", "expected", "named",
                                        "first_instances", "instance_number"};
    for (size_t i = 0; i < sizeof exact / sizeof exact[0]; i++) {
        if (strcmp(exact[i], name) == 0) {
            return true;
        }
    }
    return ends_in(name, "_ms") || ends_in(name, "bytes") || ends_in(name, "_crc32c");
}

json_t *table_json_row(const struct table *t, size_t row)
{
    json_t *object = json_object();
    char clean[CELL_SIZE];
    for (int c = 0; object && row < t->rows && c < t->columns; c++) {
        const char *value = t->cells[row * (size_t)t->columns + (size_t)c];
        json_t *one;
        if (!value) {
            one = json_null();
        } else if (column_is_number(t->names[c])) {
            one = json_integer(strtoll(value, NULL, 10));
        } else {
            one = json_string(value);
            one = one ? one : json_string(text_printable(value, clean, sizeof clean)); /* it was no UTF-8 */
        }
        (void)json_object_set_new(object, t->names[c], one);
    }
    return object;
}

json_t *table_json(const struct table *t)
{
    json_t *all = json_array();
    for (size_t r = 0; all && r < t->rows; r++) {
        (void)json_array_append_new(all, table_json_row(t, r));
    }
    return all;
}
