/*
 * http - libmicrohttpd's side: one thread for each connection, requests in, answers out. See request.h for the life of a request.
 */
#ifndef STORESCP_LOCAL_AWS_HTTP_H
#define STORESCP_LOCAL_AWS_HTTP_H

#include "compose/local-aws/standin.h"

struct http;
/* Listens on the options' address and port; answers from here on. ERR_CONFIG: the address is none, or is taken. */
int http_start(struct http **out, struct standin *app, struct err *e);
/* Ends every connection; app->stopping must be set before. */
void http_stop(struct http *h);

#endif
