/* ini_file - see ini_file.h. */
#include "common/runtime/ini_file.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { LINE_MAX_BYTES = 32768, SECTION_MAX = 256, FILE_BUFFER = 8192 };

/* Cuts white space at both ends, in place. */
static char *trimmed(char *text)
{
    while (isspace((unsigned char)*text)) {
        text++;
    }
    size_t n = strlen(text);
    while (n > 0 && isspace((unsigned char)text[n - 1])) {
        text[--n] = '\0';
    }
    return text;
}

static void cut_comment(char *value)
{
    for (char *p = value; *p; p++) {
        if ((*p == '#' || *p == ';') && p > value && isspace((unsigned char)p[-1])) {
            *p = '\0';
            return;
        }
    }
}

/* One line without its end. 1: a setting, *out is filled; 0: nothing to tell; -1: cannot be read. section is changed by "[...]". */
static int read_line(char *line, char *section, struct ini_line *out)
{
    out->nested = line[0] == ' ' || line[0] == '\t';
    char *text = trimmed(line);
    if (text[0] == '\0' || text[0] == '#' || text[0] == ';') {
        return 0;
    }
    if (text[0] == '[') {
        char *end = strchr(text, ']');
        if (!end) {
            return -1;
        }
        *end = '\0';
        return snprintf(section, SECTION_MAX, "%s", trimmed(text + 1)) >= SECTION_MAX ? -1 : 0;
    }
    char *mark = strpbrk(text, "=:");
    if (!mark || mark == text) {
        return -1;
    }
    *mark = '\0';
    cut_comment(mark + 1);
    out->section = section;
    out->name = trimmed(text);
    out->value = trimmed(mark + 1);
    return out->name[0] == '\0' ? -1 : 1;
}

/* fgets() into line; does what was read hold a zero byte? The rest of line is filled with line ends, so that the first one tells where it ended. */
static bool read_bytes(char *line, FILE *file, bool *has_zero)
{
    memset(line, '\n', LINE_MAX_BYTES);
    if (!fgets(line, LINE_MAX_BYTES, file)) {
        return false;
    }
    const char *end = memchr(line, '\n', LINE_MAX_BYTES);
    bool is_whole = end && end < line + LINE_MAX_BYTES - 1 && end[1] == '\0'; /* else the zero that fgets() sets stands before the filling */
    size_t got = is_whole ? (size_t)(end - line) + 1 : end ? (size_t)(end - line) - 1 : LINE_MAX_BYTES - 1;
    *has_zero = strlen(line) != got;
    return true;
}

int ini_file_read(const char *path, int (*each)(void *ctx, const struct ini_line *line), void *ctx, int *bad_line, struct err *e)
{
    char section[SECTION_MAX] = "";
    int bad = 0;
    int section_number = 0;
    bool too_long = false;
    bool has_zero = false;
    int rc = 0;
    FILE *file = fopen(path, "re");
    if (!file) {
        return err_set(e, errno == ENOENT || errno == ENOTDIR ? ERR_NOT_FOUND : ERR_IO, errno, "%s", path);
    }
    char *line = malloc(LINE_MAX_BYTES + FILE_BUFFER); /* the stream's buffer, too: both may hold a secret, and are wiped */
    if (!line || setvbuf(file, line + LINE_MAX_BYTES, _IOFBF, FILE_BUFFER) != 0) {
        free(line);
        (void)fclose(file);
        return err_set(e, ERR_MEMORY, 0, "%s cannot be read", path);
    }
    for (int number = 1; rc == 0 && read_bytes(line, file, &has_zero); number++) {
        struct ini_line out = {.number = number, .section_number = section_number};
        size_t length = strlen(line);
        if (has_zero) { /* a disk that was full or died leaves such files; half a line is no setting */
            bad = bad ? bad : number;
            continue;
        }
        bool whole = length > 0 && line[length - 1] == '\n';
        if (!whole && length == LINE_MAX_BYTES - 1) {
            int c;
            while ((c = fgetc(file)) != EOF && c != '\n') {
            }
            too_long = too_long || bad == 0;
            bad = bad ? bad : number;
            continue;
        }
        char *text = number == 1 && strncmp(line, "\xef\xbb\xbf", 3) == 0 ? line + 3 : line;
        int found = read_line(text, section, &out);
        if (found < 0) {
            bad = bad ? bad : number;
        } else if (found > 0) {
            rc = each(ctx, &out);
        } else if (text[strspn(text, " \t")] == '[') {
            section_number = number;
        }
    }
    if (rc == 0 && ferror(file)) {
        rc = err_set(e, ERR_IO, errno, "%s", path);
    }
    (void)fclose(file);
    explicit_bzero(line, LINE_MAX_BYTES + FILE_BUFFER);
    free(line);
    if (bad_line) {
        *bad_line = bad;
    }
    if (rc == 0 && bad) {
        rc = too_long ? err_set(e, ERR_PROTOCOL, 0, "line %d is longer than %d characters", bad, LINE_MAX_BYTES - 2)
                      : err_set(e, ERR_PROTOCOL, 0, "line %d is not of the form name = value", bad);
    }
    return rc;
}
