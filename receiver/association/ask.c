/* ask - the association process's side of admission.h. */
#include "common/dicom/adapter.h"
#include "receiver/door/admission.h"

#include <errno.h>
#include <sys/socket.h>

void admission_ask(int channel, const struct packet *job, struct scp_decision *decision)
{
    struct packet p = *job;
    ssize_t n;
    p.kind = PACKET_ADMIT;
    do {
        n = send(channel, &p, sizeof p, MSG_NOSIGNAL);
    } while (n == -1 && errno == EINTR);
    if (n == (ssize_t)sizeof p) {
        do {
            n = recv(channel, &p, sizeof p, 0);
        } while (n == -1 && errno == EINTR);
    }
    if (n != (ssize_t)sizeof p || p.kind != PACKET_VERDICT) {
        *decision = (struct scp_decision){2, 3, 1, 0, 0}; /* the recorder is gone: temporary congestion, the sender comes again */
    } else if (p.admission.result != 0) {
        *decision = (struct scp_decision){p.admission.result, p.admission.source, p.admission.reason, 0, 0};
    }
}
