/* told - see told.h. */
#include "receiver/told.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#ifndef F_SEAL_FUTURE_WRITE
#define F_SEAL_FUTURE_WRITE 0x0010
#endif

enum { DESCRIPTOR_MIN = 10 }; /* above those that an association process finds its own at */

int told_make(struct told **out, int *fd, struct err *e)
{
    int first = memfd_create("storescp-told", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    int high = first == -1 ? -1 : fcntl(first, F_DUPFD_CLOEXEC, DESCRIPTOR_MIN);
    if (first != -1) {
        (void)close(first);
    }
    if (high == -1 || ftruncate(high, sizeof(struct told)) == -1) {
        return err_set(e, ERR_MEMORY, errno, "no memory to share with association processes");
    }
    void *page = mmap(NULL, sizeof(struct told), PROT_READ | PROT_WRITE, MAP_SHARED, high, 0);
    if (page == MAP_FAILED) {
        return err_set(e, ERR_MEMORY, errno, "no memory to share with association processes");
    }
    /* Nobody else can write into it, whatever a hostile peer made of an association process. Kernels before 5.1 know only the others. */
    if (fcntl(high, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_FUTURE_WRITE | F_SEAL_SEAL) == -1) {
        (void)fcntl(high, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL);
    }
    *out = page;
    *fd = high;
    return 0;
}

const struct told *told_open(int fd)
{
    void *page = mmap(NULL, sizeof(struct told), PROT_READ, MAP_SHARED, fd, 0);
    return page == MAP_FAILED ? NULL : page;
}
