/* report - what an association process refuses is told to the recorder, which logs it once for each peer and reason (refusals.h). */
#ifndef STORESCP_RECEIVER_REPORT_H
#define STORESCP_RECEIVER_REPORT_H

#include "receiver/protocol.h"

/* event and logfmt pairs as for log_write(), without anything that differs from one attempt to the next; peer and association are of the job.
 * When the recorder is not there any more, the association ends soon and nothing is lost but a line. */
void report_refusal(int channel, const struct packet *job, const char *event, const char *format, ...) __attribute__((format(printf, 4, 5)));

#endif
