/* patience - see patience.h. */
#include "common/dicom/patience.h"

#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>

/* A signal handler has no other way to learn it. -1: nobody is waited for. */
static volatile sig_atomic_t waited_for = -1;

static void on_alarm(int number)
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
    const struct itimerval timer = {.it_value = {.tv_sec = seconds}};
    (void)setitimer(ITIMER_REAL, &timer, NULL);
}

void patience_begin(int fd, int seconds)
{
    struct sigaction action;
    memset(&action, 0, sizeof action);
    action.sa_handler = on_alarm;
    action.sa_flags = SA_RESTART;
    (void)sigaction(SIGALRM, &action, NULL);
    waited_for = fd;
    set_timer(seconds);
}

void patience_end(void)
{
    set_timer(0);
    waited_for = -1;
}
