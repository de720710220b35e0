/*
 * faults - what goes wrong on order: rules that tests post to /_local/faults. README.md has the table of them. In memory only.
 */
#ifndef STORESCP_LOCAL_AWS_FAULTS_H
#define STORESCP_LOCAL_AWS_FAULTS_H

#include "common/runtime/err.h"

#include <jansson.h>
#include <stdbool.h>

/* Everything that the rules which fit ask for; all zero: nothing. */
struct fault_effect {
    int delay_ms, hang_ms;
    bool reset, reset_after;
    unsigned status; /* 0: no error is ordered */
    char code[64], message[200];
    bool wrong_etag, wrong_checksum, has_skew, expired_token, late_error, other_encryption; /* late: status 200, then the error */
    bool cut_answer, strange_answer;
    int clock_skew_s, slow_ms, page; /* page: most entries of a list; 0: as the service has it */
    int strange_kib; /* at least so long is the strange answer */
    bool job_failed, partial, server_error, customer_error, drop_result, skip_file, strange_line; /* of ImportJob, ImportFile, StoreInstance */
    int failure_reason; /* of StoreInstance; 0: none */
};

struct faults;
struct faults *faults_new(void); /* NULL: no memory */
void faults_free(struct faults *f);
/* Adds rules: one object or a list. ERR_ARGUMENT names what is wrong; then none is added. Thread safe, as all below. */
int faults_add(struct faults *f, json_t *rules, struct err *e);
void faults_clear(struct faults *f);
/* New reference: the list, each rule with "seen", how often it took effect. */
json_t *faults_show(struct faults *f);
/* Counts down every rule that fits and gathers their effects. key may be "". */
void faults_match(struct faults *f, const char *operation, const char *key, struct fault_effect *out);

#endif
