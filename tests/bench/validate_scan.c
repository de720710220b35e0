/*
 * validate_scan FILE COUNT - reads and judges one file COUNT times, as the validator does for each, on one core.
 *
 * Prints judged files a second of wall clock and of CPU, the bytes that were read for each (of /proc/self/io), and the largest resident memory in kB.
 */
#include "validator/rules.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static double seconds_of(clockid_t clock)
{
    struct timespec now;
    (void)clock_gettime(clock, &now);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

/* The number behind that word in a file of /proc; getrusage() would tell the memory of who started us. */
static long long number_in(const char *path, const char *word)
{
    char line[200];
    long long number = 0;
    FILE *f = fopen(path, "r");
    while (f && fgets(line, sizeof line, f)) {
        if (strncmp(line, word, strlen(word)) == 0) {
            number = strtoll(line + strlen(word), NULL, 10);
            break;
        }
    }
    if (f) {
        (void)fclose(f);
    }
    return number;
}

int main(int argc, char **argv)
{
    static struct rules_verdict verdict;
    struct rule_severities severities;
    long count = argc == 3 ? strtol(argv[2], NULL, 10) : 0;
    if (count < 1 || count > 1000000) {
        (void)fprintf(stderr, "usage: validate_scan FILE COUNT (at most 1,000,000)\n");
        return 2;
    }
    rule_severities_preset(&severities);
    double wall = seconds_of(CLOCK_MONOTONIC);
    double cpu = seconds_of(CLOCK_PROCESS_CPUTIME_ID);
    long long before = number_in("/proc/self/io", "rchar:");
    for (long i = 0; i < count; i++) {
        struct dicom_scan scan;
        struct err e = {0};
        int fd = open(argv[1], O_RDONLY | O_CLOEXEC);
        int rc = fd == -1 ? ERR_IO : dicom_scan_fd(fd, &scan, &e);
        if (fd != -1) {
            (void)close(fd);
        }
        if (rc == ERR_IO || rc == ERR_MEMORY) {
            (void)fprintf(stderr, "%s cannot be read: %s\n", argv[1], e.text);
            return 1;
        }
        rules_judge(&scan, rc, e.text, &severities, &verdict);
    }
    wall = seconds_of(CLOCK_MONOTONIC) - wall;
    cpu = seconds_of(CLOCK_PROCESS_CPUTIME_ID) - cpu;
    (void)printf("%.0f %.0f %lld %lld %s %zu\n", (double)count / wall, (double)count / cpu, (number_in("/proc/self/io", "rchar:") - before) / count, number_in("/proc/self/status", "VmHWM:"),
                 verdict.code ? err_name(verdict.code) : "-", verdict.count);
    return 0;
}
