/*
 * replay - runs every file of the named directories through a fuzz target, without libFuzzer: so the corpus, in which each crash that
 * was found stays, is a test with any compiler. Prints how many files there were; none is a failure.
 */
#include <dirent.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t count);

enum { FILE_MAX = 1 << 20 };

/* Each in memory of exactly its size, so that AddressSanitizer sees one byte too many. */
static int run_file(const char *path)
{
    static unsigned char buffer[FILE_MAX];
    FILE *f = fopen(path, "rb");
    if (!f) {
        perror(path);
        return -1;
    }
    size_t count = fread(buffer, 1, sizeof buffer, f);
    (void)fclose(f);
    uint8_t *exact = malloc(count ? count : 1);
    if (!exact) {
        return -1;
    }
    for (size_t i = 0; i < count; i++) {
        exact[i] = buffer[i];
    }
    (void)fprintf(stderr, "%s\n", path); /* the last line names what broke it */
    (void)LLVMFuzzerTestOneInput(exact, count);
    free(exact);
    return 0;
}

int main(int argc, char **argv)
{
    int files = 0;
    for (int i = 1; i < argc; i++) {
        DIR *directory = opendir(argv[i]);
        const struct dirent *entry;
        while (directory && (entry = readdir(directory))) {
            char path[1000];
            if (entry->d_name[0] == '.') {
                continue;
            }
            (void)snprintf(path, sizeof path, "%s/%s", argv[i], entry->d_name);
            if (run_file(path) != 0) {
                return 1;
            }
            files++;
        }
        if (directory) {
            (void)closedir(directory);
        }
    }
    (void)printf("%d files\n", files);
    return files > 0 ? 0 : 1;
}
