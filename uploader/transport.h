/*
 * transport - how instances leave for one kind of destination: one table for each. The transfer itself, retries, pauses and commits are upload.c's, the same
 * for all.
 */
#ifndef STORESCP_UPLOADER_TRANSPORT_H
#define STORESCP_UPLOADER_TRANSPORT_H

#include "uploader/upload.h"

struct transport {
    const char *service; /* for sentences: "S3", "the DICOMweb server" */
    const char *event;   /* of the log line of a good end */
    /* Begins the transfer of an item whose file is open and has its length; upload_item_ended() follows, unless this fails. */
    int (*begin)(struct upload *u, struct item *item, struct err *e);
    /* Before an instance fails for good: an earlier transfer may have arrived although its answer was lost. 1: it has, item->result is filled; 0: it has
     * not; negative with *why: nobody knows. */
    int (*look)(struct upload *u, struct item *item, struct err *why);
    /* The class of trouble may depend on how often it was tried: *why as it counts, its code is returned. NULL: it does not. */
    int (*judge)(const struct upload *u, const struct item *item, struct err *why);
    /* Fills what is kept as evidence; claim is there already. */
    void (*evidence)(const struct upload *u, const struct item *item, struct state_uploaded *out);
    /* NULL: nothing special. */
    const char *(*remedy)(int code);
    bool has_leftovers; /* multipart uploads that nobody will go on with are looked for */
};

extern const struct transport transport_s3, transport_dicomweb;

/* The transfer has ended; result.rc of the item says how. */
void upload_item_ended(struct item *item);

#endif
