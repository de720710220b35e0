/*
 * cidr - addresses and lists of networks: "10.1.0.0/16, 192.168.7.9, 2001:db8::/32, ::1", separated by commas or blanks.
 *
 * An address is always held as IPv6; IPv4 ones are mapped (::ffff:a.b.c.d, RFC 4291 section 2.5.5.2), so a dual-stack socket and an
 * IPv4 rule meet. A network without a mask is one address. Bits behind the mask must be zero (10.1.2.3/8 is an error, it could mean
 * two things). ::/0 is everybody, 0.0.0.0/0 every IPv4 address. Names are not looked up. Pure, no state.
 */
#ifndef STORESCP_RUNTIME_CIDR_H
#define STORESCP_RUNTIME_CIDR_H

#include "common/runtime/err.h"

#include <stdbool.h>
#include <stddef.h>

struct sockaddr;

enum { CIDR_TEXT_SIZE = 46 };

struct cidr_address {
    unsigned char bytes[16]; /* network order */
};

/* ERR_CONFIG with a sentence that names the wrong word. An empty list is legal. */
int cidr_check(const char *list, struct err *e);
/* Is the address in one of the networks? Words that cidr_check() would refuse hold nobody. An empty list holds nobody. */
bool cidr_holds(const char *list, const struct cidr_address *address);

/* "10.1.2.3", "::1", "::ffff:10.1.2.3"; false when it is none. */
bool cidr_read(const char *text, struct cidr_address *out);
/* From AF_INET or AF_INET6; false for another family. */
bool cidr_from_socket(const struct sockaddr *from, struct cidr_address *out);
/* As people write it: mapped addresses as IPv4. Returns out. */
const char *cidr_text(const struct cidr_address *address, char out[CIDR_TEXT_SIZE]);
bool cidr_same(const struct cidr_address *a, const struct cidr_address *b);

#endif
