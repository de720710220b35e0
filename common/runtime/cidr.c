/* cidr - see cidr.h. */
#include "common/runtime/cidr.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

enum { WORD_SIZE = 64 };

static const unsigned char mapped[12] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};

struct network {
    struct cidr_address address;
    int bits; /* of 128 */
};

bool cidr_read(const char *text, struct cidr_address *out)
{
    struct cidr_address found;
    if (inet_pton(AF_INET6, text, found.bytes) != 1) {
        memcpy(found.bytes, mapped, sizeof mapped);
        if (inet_pton(AF_INET, text, found.bytes + 12) != 1) {
            return false;
        }
    }
    *out = found;
    return true;
}

bool cidr_from_socket(const struct sockaddr *from, struct cidr_address *out)
{
    if (from->sa_family == AF_INET6) {
        struct sockaddr_in6 six;
        memcpy(&six, from, sizeof six);
        memcpy(out->bytes, &six.sin6_addr, 16);
        return true;
    }
    if (from->sa_family == AF_INET) {
        struct sockaddr_in four;
        memcpy(&four, from, sizeof four);
        memcpy(out->bytes, mapped, sizeof mapped);
        memcpy(out->bytes + 12, &four.sin_addr, 4);
        return true;
    }
    return false;
}

const char *cidr_text(const struct cidr_address *address, char out[CIDR_TEXT_SIZE])
{
    bool is_four = memcmp(address->bytes, mapped, sizeof mapped) == 0;
    if (!inet_ntop(is_four ? AF_INET : AF_INET6, address->bytes + (is_four ? 12 : 0), out, CIDR_TEXT_SIZE)) {
        (void)snprintf(out, CIDR_TEXT_SIZE, "unknown");
    }
    return out;
}

bool cidr_same(const struct cidr_address *a, const struct cidr_address *b)
{
    return memcmp(a->bytes, b->bytes, sizeof a->bytes) == 0;
}

/* The first `bits` bits are equal. */
static bool begins_like(const struct cidr_address *a, const struct cidr_address *b, int bits)
{
    size_t whole = (size_t)bits / 8;
    if (memcmp(a->bytes, b->bytes, whole) != 0) {
        return false;
    }
    unsigned mask = 0xff00u >> (bits % 8) & 0xff;
    return bits % 8 == 0 || ((a->bytes[whole] ^ b->bytes[whole]) & mask) == 0;
}

/* One word of a list; NULL or what is wrong with it. */
static const char *read_network(char *word, struct network *out)
{
    char *slash = strchr(word, '/');
    int bits = 0;
    int most = 128;
    if (slash) {
        *slash = '\0';
        const char *digits = slash + 1;
        size_t length = strlen(digits);
        if (length == 0 || length > 3 || strspn(digits, "0123456789") != length) {
            return "behind the / stands no number of bits";
        }
        for (const char *p = digits; *p; p++) {
            bits = bits * 10 + (*p - '0');
        }
    }
    bool is_four = !strchr(word, ':');
    if (!cidr_read(word, &out->address)) {
        return "is no IP address (names are not looked up)";
    }
    most = is_four ? 32 : 128;
    if (bits > most) {
        return is_four ? "has a mask of more than 32 bits" : "has a mask of more than 128 bits";
    }
    out->bits = slash ? bits + (is_four ? 96 : 0) : 128;
    struct cidr_address base = {{0}};
    for (int i = 0; i < 16; i++) {
        int left = out->bits - i * 8;
        unsigned mask = left >= 8 ? 0xff : left <= 0 ? 0 : 0xff00u >> left & 0xff;
        base.bytes[i] = (unsigned char)(out->address.bytes[i] & mask);
    }
    return cidr_same(&base, &out->address) ? NULL : "has bits behind its mask: write the first address of the network";
}

/* The next word of a list; false at its end. too_long: it did not fit. */
static bool next_word(const char **list, char word[WORD_SIZE], bool *too_long)
{
    const char *p = *list + strspn(*list, ", \t");
    size_t length = strcspn(p, ", \t");
    *list = p + length;
    *too_long = length >= WORD_SIZE;
    (void)snprintf(word, WORD_SIZE, "%.*s", (int)(*too_long ? WORD_SIZE - 1 : length), p);
    return length > 0;
}

int cidr_check(const char *list, struct err *e)
{
    char word[WORD_SIZE];
    bool too_long = false;
    while (next_word(&list, word, &too_long)) {
        struct network n;
        char kept[WORD_SIZE];
        memcpy(kept, word, sizeof kept);
        const char *wrong = too_long ? "is too long for a network" : read_network(word, &n);
        if (wrong) {
            return err_set(e, ERR_CONFIG, 0, "\"%s\" %s; write networks like 10.1.0.0/16, 192.168.7.9 or 2001:db8::/32", kept, wrong);
        }
    }
    return 0;
}

bool cidr_holds(const char *list, const struct cidr_address *address)
{
    char word[WORD_SIZE];
    bool too_long = false;
    while (next_word(&list, word, &too_long)) {
        struct network n;
        if (!too_long && !read_network(word, &n) && begins_like(&n.address, address, n.bits)) {
            return true;
        }
    }
    return false;
}
