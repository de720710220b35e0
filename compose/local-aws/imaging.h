/*
 * imaging - what the calls of medical-imaging share. imaging.c has jobs and data stores, imaging_sets.c image sets, dicomweb.c DICOMweb.
 */
#ifndef STORESCP_LOCAL_AWS_IMAGING_H
#define STORESCP_LOCAL_AWS_IMAGING_H

#include "compose/local-aws/request.h"

/* Rate and data store; refuses. */
bool imaging_may(struct request *r);
/* 1 to 50; refuses and gives 0 when it is none. */
int imaging_max_results(struct request *r);

void imaging_search(struct request *r);
void imaging_get_set(struct request *r);

/* dicomweb.c: the body of a store request is in r->upload. */
void dicomweb_store(struct request *r);
void dicomweb_search_instances(struct request *r);

#endif
