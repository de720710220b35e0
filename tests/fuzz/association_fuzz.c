/*
 * association_fuzz - an association from its first byte: the input is what a peer sends over its connection; then it sends no more.
 * scp_serve_fd answers on a socket pair, DCMTK reads the request. Beside the sanitizers it demands the order of the callbacks
 * (serving.h), that the socket is closed, that no file descriptor stays, and that what is answered is a run of whole PDUs of known types.
 */
#include "tests/fuzz/serving.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/socket.h>
#include <unistd.h>

/* DCMTK 3.6.7 does not free all of an association request that it cannot parse; the association process ends after association_reuse
 * associations and takes that with it. What we allocate is still watched. */
const char *__lsan_default_suppressions(void);

const char *__lsan_default_suppressions(void)
{
    return "leak:libdcmnet";
}

enum { ANSWERS_MAX = 1 << 20 };

/* The lowest free number tells whether one was lost. */
static int next_descriptor(void)
{
    int fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
    (void)close(fd);
    return fd;
}

/* The items of an A-ASSOCIATE-AC, or those within its user information, fill their room exactly, and the window comes once at the most. */
static void check_items(const unsigned char *p, size_t count, bool is_user)
{
    int windows = 0;
    while (count > 0) {
        size_t length = count < 4 ? count : 4 + ((size_t)p[2] << 8 | p[3]);
        if (length < 4 || length > count) {
            abort();
        }
        windows += p[0] == 0x53;
        if ((is_user && p[0] < 0x51) || (!is_user && p[0] != 0x10 && p[0] != 0x21 && p[0] != 0x50) || windows > 1) {
            abort();
        }
        if (p[0] == 0x50) {
            check_items(p + 4, length - 4, true);
        }
        p += length;
        count -= length;
    }
}

static void check_answers(int fd)
{
    static unsigned char answers[ANSWERS_MAX];
    size_t count = 0;
    ssize_t n;
    while ((n = recv(fd, answers + count, sizeof answers - count, MSG_DONTWAIT)) > 0) {
        count += (size_t)n;
    }
    if (n != 0 && (n > 0 || errno == EAGAIN)) { /* a reset is fine: some of what was sent was not read */
        abort(); /* not closed, or more than anybody should say */
    }
    for (size_t at = 0; at < count;) {
        if (count - at < 6 || answers[at] < 2 || answers[at] > 7 || answers[at] == 5) {
            abort();
        }
        size_t length = (size_t)answers[at + 2] << 24 | (size_t)answers[at + 3] << 16 | (size_t)answers[at + 4] << 8 | answers[at + 5];
        if (length > count - at - 6) {
            abort();
        }
        if (answers[at] == 2 && length < 68) {
            abort();
        }
        if (answers[at] == 2) {
            check_items(answers + at + 6 + 68, length - 68, false);
        }
        at += 6 + length;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t count);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t count)
{
    const struct scp_config config = {.maximum_pdu_bytes = 16384, .acse_timeout_s = 2, .dimse_timeout_s = 2, .network_timeout_s = 2};
    struct serving s = {.sent = count, .refuse_every = 3};
    char outcome[160] = "";
    int pair[2];
    int room = ANSWERS_MAX;
    int first = next_descriptor();
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) != 0) {
        abort();
    }
    (void)setsockopt(pair[0], SOL_SOCKET, SO_SNDBUF, &room, sizeof room);
    (void)setsockopt(pair[1], SOL_SOCKET, SO_SNDBUF, &room, sizeof room);
    for (size_t at = 0; at < count;) {
        ssize_t n = send(pair[0], data + at, count - at, MSG_DONTWAIT | MSG_NOSIGNAL);
        if (n <= 0) {
            break; /* more than the buffer holds: the rest never comes */
        }
        at += (size_t)n;
    }
    (void)shutdown(pair[0], SHUT_WR);
    (void)scp_serve_fd(pair[1], &config, &serving_ops, &s, outcome, sizeof outcome, NULL);
    free(s.event);
    serving_text(outcome, sizeof outcome);
    if (s.storing || !outcome[0]) {
        abort();
    }
    check_answers(pair[0]);
    (void)close(pair[0]);
    if (next_descriptor() != first) {
        abort();
    }
    return 0;
}
