/*
 * stow - storing instances at a DICOMweb server: HealthImaging's StoreDICOM, or anybody's. One instance in each request, streamed from its file.
 *
 * POST {dicomweb_url}/studies as multipart/related of one application/dicom part; the length is known beforehand, memory does not grow with the file. Who we
 * are is said by dicomweb_auth; a token is read from its file for every request. Stored is only what the answer names as stored.
 * Rules: PS3.18 section 10.5, RFC 2387; HealthImaging developer guide "Storing instances with STOW-RS". Answers: stow_answer.h.
 *
 * HealthImaging does not recognise an instance that it has: a repeat makes another version. So who does not know how an earlier request ended
 * asks first (look_first): a query for the instance, and no request when it is there.
 */
#ifndef STORESCP_AWS_STOW_H
#define STORESCP_AWS_STOW_H

#include "common/aws/client.h"
#include "common/aws/dicomweb/stow_answer.h"

#include <stdbool.h>

struct stow_put {
    const char *sop_instance_uid, *study_uid, *series_uid; /* copied */
    int fd; /* the whole Part 10 file from offset 0 by pread; stays open and the caller's until done() */
    int64_t bytes;
    bool look_first;
};
struct stow_result {
    int rc;         /* 0: the server has confirmed the instance, or has it (was_there) */
    struct err why; /* rc != 0 */
    bool was_there; /* look_first found it: nothing was sent */
    long status;    /* HTTP; 0: no answer */
    struct stow_verdict verdict;
    char sha256[65]; /* of the file, if dicomweb_payload = sha256 made it known; else "" */
    char request_id[64];
    int64_t hash_ms, transfer_ms;
    int64_t first_failed_ms; /* monotonic: when the first attempt of the request that ended it had failed; 0: it had only one */
};
typedef void (*stow_done)(void *ctx, const struct stow_result *result);

/* Begins a transfer; done() is called exactly once from a later aws_client_run(), unless this returns an error. The client's settings say where to. */
int stow_put_begin(struct aws_client *c, const struct stow_put *put, stow_done done, void *ctx, struct err *e);

/* Blocking: does the server know the instance? Negative: nobody knows. */
int stow_find(struct aws_client *c, const struct stow_put *put, bool *found, struct err *e);

/* Settings of destination_kind = dicomweb that cannot work, in words; 0 for other kinds. Looks at files, not at the network. */
int stow_check_settings(const struct config *config, struct err *e);
/* HealthImaging makes a second version of what comes twice: look first when an earlier end is not known. */
bool stow_counts_repeats(const struct config *config);

#endif
