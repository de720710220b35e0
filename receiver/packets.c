/* packets - sending and taking packets with a descriptor; see protocol.h. */
#include "receiver/protocol.h"

#include "common/runtime/runtime.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

bool packet_send(int channel, const struct packet *p, int fd)
{
    char control[CMSG_SPACE(sizeof(int))];
    struct packet copy = *p;
    struct iovec part = {&copy, sizeof copy};
    struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1};
    if (fd != -1) {
        memset(control, 0, sizeof control);
        message.msg_control = control;
        message.msg_controllen = sizeof control;
        struct cmsghdr *c = CMSG_FIRSTHDR(&message);
        c->cmsg_level = SOL_SOCKET;
        c->cmsg_type = SCM_RIGHTS;
        c->cmsg_len = CMSG_LEN(sizeof(int));
        memcpy(CMSG_DATA(c), &fd, sizeof fd);
    }
    ssize_t n;
    do {
        n = sendmsg(channel, &message, MSG_NOSIGNAL);
    } while (n == -1 && errno == EINTR);
    return n == (ssize_t)sizeof *p;
}

/* The other half may be in a hostile peer's hands: its texts end where they must. */
static void end_texts(struct packet *p)
{
    const struct {
        char *text;
        size_t size;
    } all[] = {{p->comment, sizeof p->comment},
               {p->association, sizeof p->association},
               {p->peer, sizeof p->peer},
               {p->meta.id, sizeof p->meta.id},
               {p->meta.sop_class_uid, sizeof p->meta.sop_class_uid},
               {p->meta.sop_instance_uid, sizeof p->meta.sop_instance_uid},
               {p->meta.transfer_syntax_uid, sizeof p->meta.transfer_syntax_uid},
               {p->meta.calling_ae, sizeof p->meta.calling_ae},
               {p->meta.called_ae, sizeof p->meta.called_ae},
               {p->outcome, sizeof p->outcome},
               {p->calling, sizeof p->calling},
               {p->called, sizeof p->called},
               {p->user_name, sizeof p->user_name},
               {p->refusal_event, sizeof p->refusal_event},
               {p->refusal_text, sizeof p->refusal_text},
               {p->tls, sizeof p->tls},
               {p->transaction_uid, sizeof p->transaction_uid}};
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) {
        all[i].text[all[i].size - 1] = '\0';
    }
}

ssize_t packet_receive(int channel, struct packet *p, int flags, int *fd)
{
    char control[CMSG_SPACE(sizeof(int))];
    struct iovec part = {p, sizeof *p};
    struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof control};
    *fd = -1;
    ssize_t n;
    do {
        n = recvmsg(channel, &message, flags | MSG_CMSG_CLOEXEC);
    } while (n == -1 && errno == EINTR && !(flags & MSG_DONTWAIT));
    if (n == (ssize_t)sizeof *p) {
        end_texts(p);
    }
    struct cmsghdr *c = n > 0 ? CMSG_FIRSTHDR(&message) : NULL;
    if (c && c->cmsg_level == SOL_SOCKET && c->cmsg_type == SCM_RIGHTS) {
        memcpy(fd, CMSG_DATA(c), sizeof *fd);
    }
    return n;
}

int memory_file_new(const void *first, size_t first_bytes, const void *second, size_t second_bytes)
{
    int fd = memfd_create("storescp", MFD_CLOEXEC);
    struct err e;
    if (fd != -1 && (write_all(fd, first, first_bytes, &e) != 0 || write_all(fd, second, second_bytes, &e) != 0)) {
        (void)close(fd);
        return -1;
    }
    return fd;
}

void *memory_file_read(int fd, size_t bytes)
{
    char *out = malloc(bytes + 1);
    size_t done = 0;
    while (out && done < bytes) {
        ssize_t n = pread(fd, out + done, bytes - done, (off_t)done);
        if (n <= 0 && !(n == -1 && errno == EINTR)) {
            free(out);
            return NULL;
        }
        done += n > 0 ? (size_t)n : 0;
    }
    return out;
}
