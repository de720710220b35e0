/* report - see report.h. */
#include "receiver/association/report.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/socket.h>

void report_refusal(int channel, const struct packet *job, const char *event, const char *format, ...)
{
    struct packet p = *job;
    va_list args;
    p.kind = PACKET_REFUSED;
    (void)snprintf(p.refusal_event, sizeof p.refusal_event, "%s", event);
    va_start(args, format);
    (void)vsnprintf(p.refusal_text, sizeof p.refusal_text, format, args);
    va_end(args);
    ssize_t sent;
    do {
        sent = send(channel, &p, sizeof p, MSG_NOSIGNAL);
    } while (sent == -1 && errno == EINTR);
}
