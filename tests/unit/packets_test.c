/*
 * packets: what recorder and association process say to each other. Guards a bug: a hostile peer that has taken over its association process could
 * send texts without an end, and the recorder read on behind them.
 */
#include "receiver/protocol.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include <cmocka.h>

static void texts_end(void **state)
{
    int pair[2];
    int fd = 0;
    struct packet sent;
    struct packet got;
    (void)state;
    assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, pair), 0);
    memset(&sent, 'A', sizeof sent);
    assert_true(packet_send(pair[0], &sent, -1));
    assert_int_equal(packet_receive(pair[1], &got, 0, &fd), sizeof got);
    assert_int_equal(fd, -1);
    assert_int_equal(strnlen(got.comment, sizeof got.comment), sizeof got.comment - 1);
    assert_int_equal(strnlen(got.association, sizeof got.association), sizeof got.association - 1);
    assert_int_equal(strnlen(got.peer, sizeof got.peer), sizeof got.peer - 1);
    assert_int_equal(strnlen(got.meta.id, sizeof got.meta.id), sizeof got.meta.id - 1);
    assert_int_equal(strnlen(got.meta.sop_instance_uid, sizeof got.meta.sop_instance_uid), sizeof got.meta.sop_instance_uid - 1);
    assert_int_equal(strnlen(got.meta.calling_ae, sizeof got.meta.calling_ae), sizeof got.meta.calling_ae - 1);
    assert_int_equal(strnlen(got.outcome, sizeof got.outcome), sizeof got.outcome - 1);
    assert_int_equal(strnlen(got.user_name, sizeof got.user_name), sizeof got.user_name - 1);
    assert_int_equal(strnlen(got.refusal_text, sizeof got.refusal_text), sizeof got.refusal_text - 1);
    assert_int_equal(strnlen(got.tls, sizeof got.tls), sizeof got.tls - 1);
    assert_int_equal(strnlen(got.transaction_uid, sizeof got.transaction_uid), sizeof got.transaction_uid - 1);
    assert_true(send(pair[0], "short", 5, 0) == 5); /* no packet of ours: its size tells, and nothing is touched */
    assert_int_equal(packet_receive(pair[1], &got, 0, &fd), 5);
    (void)close(pair[0]);
    assert_int_equal(packet_receive(pair[1], &got, 0, &fd), 0);
    (void)close(pair[1]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(texts_end)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
