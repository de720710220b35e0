/* patience - see patience.h. */
#include "common/dicom/patience.h"

#include <errno.h>
#include <signal.h>
#include <stdbool.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>

/* A signal handler has no other way to learn it. -1: nobody is waited for. */
static volatile sig_atomic_t waited_for = -1;

static void on_time(int number)
{
    const int kept = errno;
    (void)number;
    if (waited_for != -1) {
        (void)shutdown(waited_for, SHUT_RD);
    }
    errno = kept;
}

static void set_timer(int seconds)
{
    static timer_t timer;
    static bool is_made;
    const struct itimerspec when = {.it_value = {.tv_sec = seconds}};
    if (!is_made) {
        struct sigevent told;
        struct sigaction action;
        memset(&told, 0, sizeof told);
        memset(&action, 0, sizeof action);
        action.sa_handler = on_time;
        action.sa_flags = SA_RESTART;
        told.sigev_notify = SIGEV_SIGNAL;
        told.sigev_signo = SIGRTMIN;
        is_made = sigaction(SIGRTMIN, &action, NULL) == 0 && timer_create(CLOCK_MONOTONIC, &told, &timer) == 0;
    }
    if (is_made) {
        (void)timer_settime(timer, 0, &when, NULL);
    }
}

void patience_begin(int fd, int seconds)
{
    waited_for = fd;
    set_timer(seconds);
}

void patience_end(void)
{
    set_timer(0);
    waited_for = -1;
}
