/*
 * log - one line of logfmt per event on standard error: `2026-01-02T03:04:05.678Z info uploader[123] uploaded instance=... bytes=...`
 *
 * One log line per attempt that tells the whole story. Identifiers and UIDs are written; patient names, patient ids,
 * birth dates, accession numbers and other text of a data set are never passed to these functions (promise 4).
 * Values are escaped: a peer cannot forge a line. A warning or error ends in what to do about it.
 * Each line is one write(2), so lines of several processes on one descriptor do not mix. Thread safe.
 */
#ifndef STORESCP_RUNTIME_LOG_H
#define STORESCP_RUNTIME_LOG_H

#include <stdbool.h>

enum log_level { LOG_LEVEL_DEBUG, LOG_LEVEL_INFO, LOG_LEVEL_WARNING, LOG_LEVEL_ERROR };

/* Sets the program name in each line and the lowest level that is written. name is copied. */
void log_init(const char *name, enum log_level lowest);
/* "debug", "info", "warning", "error" (any case; "warn" too) -> level; false if the word is none of them. */
bool log_level_parse(const char *word, enum log_level *out);
bool log_enabled(enum log_level level);

/*
 * event: a short fixed word or two, snake_case ("import_job_started").
 * format: logfmt pairs, "instance=%s bytes=%lld". Put values that come from outside through log_text() first.
 */
void log_write(enum log_level level, const char *event, const char *format, ...) __attribute__((format(printf, 3, 4)));

#define log_debug(...) log_write(LOG_LEVEL_DEBUG, __VA_ARGS__)
#define log_info(...) log_write(LOG_LEVEL_INFO, __VA_ARGS__)
#define log_warning(...) log_write(LOG_LEVEL_WARNING, __VA_ARGS__)
#define log_error(...) log_write(LOG_LEVEL_ERROR, __VA_ARGS__)

/* Quotes text for a logfmt value: control characters and quotes escaped, cut at 200 characters.
 * buffer must hold 3 * 200 + 8 bytes or the text is cut earlier; returns buffer. */
const char *log_text(const char *text, char *buffer, unsigned long size);

#endif
