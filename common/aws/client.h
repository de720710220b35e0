/*
 * client - requests to AWS: one set of credentials, one clock correction, kept-alive connections, several transfers at once.
 *
 * Everything runs in the thread of the caller: aws_client_run() moves all transfers on and calls their done() functions; the
 * blocking calls of s3.h and medical_imaging.h run it inside until their own request has ended (transfers that were begun before
 * go on meanwhile). A done() may begin other transfers, but call nothing that blocks. Create after exec; not thread safe.
 *
 * One call here is up to aws_max_attempts attempts within about three seconds, each with a time limit (retry.h); a time limit that has passed ends the call.
 * A stale kept-alive connection and a clock that is off are tried once more at once. When to try again after that is the stage's decision, by the class
 * of the error (err.h).
 * Rules: FACTS of AWS Signature Version 4; service errors by code first, then by status. No redirect is ever followed.
 * An error text names service, operation, status, code, the service's sentence (escaped) and its request id; never a secret.
 */
#ifndef STORESCP_AWS_CLIENT_H
#define STORESCP_AWS_CLIENT_H

#include "common/runtime/config.h"
#include "common/runtime/err.h"

#include <stddef.h>
#include <stdint.h>

struct aws_client;

/* Reads region, endpoints, credentials, CA bundle, max_pool_connections and time limits from the settings (borrowed: must
 * outlive the client). ERR_CONFIG names the setting that is missing or wrong; nothing goes over the network yet. That there are no
 * credentials (yet) is no error here: the first request says ERR_AWS_CREDENTIALS, and it heals when they come. */
/* What opening a client would stop over, with the setting, its line and what to do: half a key pair, a ca_bundle that cannot be read. ERR_CONFIG. */
int aws_client_check(const struct config *config, struct err *e);
int aws_client_open(struct aws_client **out, const struct config *config, struct err *e);
/* The same beside another client: they share connections and waiting. other NULL: as aws_client_open(). */
int aws_client_open_beside(struct aws_client **out, const struct config *config, struct aws_client *other, struct err *e);
/* Ends what is under way without calling done(). NULL is fine. */
void aws_client_close(struct aws_client **c);

/* Moves transfers on until at least one ended, an extra fd is readable, or wait_ms passed. Returns how many are under way. */
int aws_client_run(struct aws_client *c, int wait_ms, const int *extra_fds, size_t extra_count);
/* Waits for traffic of this client and of those opened beside it, an extra fd, or wait_ms; moves nothing on: aws_client_run(c, 0, ...) of each does. */
void aws_client_wait(struct aws_client *c, int wait_ms, const int *extra_fds, size_t extra_count);
/* Of this client's settings. */
const char *aws_client_region(const struct aws_client *c);
/* Transfers under way. */
int aws_client_busy(const struct aws_client *c);
/* Server clock minus ours as last seen, ms. */
int64_t aws_client_clock_offset_ms(const struct aws_client *c);

#endif
