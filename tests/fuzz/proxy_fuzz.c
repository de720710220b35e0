/* proxy_fuzz - libFuzzer over the PROXY header reader: whatever comes, it says what it needs, never more than its limit, and the same for
 * the bytes given one after the other. Then the same bytes as a list of networks. */
#include "common/runtime/cidr.h"
#include "receiver/door/proxy.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct proxy_header whole;
    enum proxy_found at_once = proxy_read(data, size, &whole);
    if ((at_once == PROXY_MORE && (whole.bytes <= size || whole.bytes > PROXY_BYTES_MAX)) ||
        (at_once == PROXY_WHOLE && (whole.bytes > size || whole.bytes > PROXY_BYTES_MAX || whole.version == 0)) ||
        (at_once == PROXY_BROKEN && !whole.wrong)) {
        abort();
    }
    for (size_t n = 1; n <= size && n <= PROXY_BYTES_MAX; n++) {
        struct proxy_header part;
        enum proxy_found found = proxy_read(data, n, &part);
        if (found == PROXY_MORE) {
            continue;
        }
        if (found != at_once || (found == PROXY_WHOLE && part.bytes != whole.bytes)) {
            abort();
        }
        break;
    }
    char list[4096];
    size_t length = size < sizeof list ? size : sizeof list - 1;
    memcpy(list, data, length);
    list[length] = '\0';
    struct err e = {0};
    struct cidr_address nobody = {{0x20, 1}};
    (void)cidr_check(list, &e);
    (void)cidr_holds(list, &nobody);
    return 0;
}
