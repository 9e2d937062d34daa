/* Scenarios: datagrams. */
#include "scenarios.h"

static weir_datagram *a_datagram(struct sockaddr_storage *where, socklen_t *length)
{
    weir_datagram *datagram = NULL;
    memset(where, 0, sizeof *where);
    struct sockaddr_in *inet = (struct sockaddr_in *)where;
    inet->sin_family = AF_INET;
    inet->sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    *length = sizeof *inet;
    TRY(weir_datagram_create(context, &datagram));
    model_keep(datagram);
    TRY(weir_datagram_bind(datagram, (struct sockaddr *)where, *length));
    TRY(weir_datagram_local_address(datagram, where, length));
    return datagram;
}

void udp(void)
{
    static char in[64];
    static struct sockaddr_storage from;
    static socklen_t from_length;
    struct sockaddr_storage where[2];
    socklen_t length;
    weir_datagram *ends[2] = {a_datagram(&where[0], &length), a_datagram(&where[1], &length)};
    struct op *receive =
        START(weir_datagram_receive_from(ends[1], in, sizeof in, &from, &from_length, on_io, it));
    START(weir_datagram_send_to(ends[0], "datagram", 8, (struct sockaddr *)&where[1], length, on_io, it));
    SERVE_ALL();
    EXPECT(receive->bytes == 8);
    if (!ENDED(receive))
        TRY(weir_datagram_cancel(ends[1], NULL));
    TRY(weir_datagram_connect(ends[0], (struct sockaddr *)&where[1], length));
    START(weir_datagram_wait(ends[1], WEIR_WAIT_READ, on_status, it));
    START(weir_datagram_send(ends[0], "again", 5, on_io, it));
    SERVE_ALL();
    size_t count = 0, bytes = 0;
    TRY(weir_datagram_try_receive(ends[1], in, sizeof in, &count, &bytes));
    TRY(weir_datagram_try_send(ends[0], "tried", 5, &count));
    TRY(weir_datagram_disconnect(ends[0]));
    uint32_t features;
    TRY(weir_datagram_features(&features));
}

void batches(void)
{
    static char in[4][32];
    static struct sockaddr_storage from[4];
    static weir_datagram_message to_send[4], to_receive[4];
    struct sockaddr_storage where[2];
    socklen_t length;
    weir_datagram *ends[2] = {a_datagram(&where[0], &length), a_datagram(&where[1], &length)};
    for (int i = 0; i < 4; i++) {
        to_send[i] = (weir_datagram_message){"0123", 4, &where[1], 0, length, 0, 0, 0};
        to_receive[i] = (weir_datagram_message){in[i], sizeof in[i], &from[i], 0, 0, 0, 0, 0};
    }
    struct op *send = START(weir_datagram_send_batch(ends[0], to_send, 4, on_io, it));
    SERVE_ALL();
    EXPECT(send->bytes == 4);
    struct op *receive = START(weir_datagram_receive_batch(ends[1], to_receive, 4, on_io, it));
    SERVE_ALL();
    EXPECT(receive->bytes >= 1);
    if (!ENDED(receive))
        TRY(weir_datagram_cancel(ends[1], NULL));
    struct op *each = START_EACH(weir_datagram_receive_each(ends[1], it));
    START(weir_datagram_send_to(ends[0], "pooled", 6, (struct sockaddr *)&where[1], length, on_io, it));
    for (model_begin_serving(); !TICKED(each, 1) && model_turn();)
        model_reap();
    TRY(weir_datagram_cancel(ends[1], NULL));
    for (model_begin_serving(); !ENDED(each) && model_turn();)
        model_reap();
}

void local_datagrams(void)
{
    static char in[32];
    static int fds[4];
    static size_t fd_count = 4;
    weir_datagram *ends[2] = {NULL, NULL};
    TRY(weir_datagram_pair(context, &ends[0], &ends[1]));
    model_keep(ends[0]);
    model_keep(ends[1]);
    int own = 2;
    struct op *receive = START(weir_datagram_receive_fds(ends[1], in, sizeof in, fds, &fd_count, on_io, it));
    START(weir_datagram_send_fds(ends[0], "fd", 2, &own, 1, on_io, it));
    SERVE_ALL();
    EXPECT(fd_count == 1);
    if (ENDED(receive) && receive->code == 0 && receive->status == 0)
        for (size_t i = 0; i < fd_count; i++)
            close(fds[i]);
    START(weir_datagram_receive(ends[0], in, sizeof in, on_io, it));
    START(weir_datagram_send(ends[1], "back", 4, on_io, it));
    SERVE_ALL();
}

void multicast(void)
{
    struct sockaddr_storage where;
    socklen_t length;
    weir_datagram *datagram = a_datagram(&where, &length);
    struct sockaddr_in group = {.sin_family = AF_INET};
    group.sin_addr.s_addr = htonl(0xefff0001);
    TRY(weir_datagram_join(datagram, (struct sockaddr *)&group, sizeof group, 1));
    TRY(weir_datagram_set(datagram, WEIR_OPT_MULTICAST_LOOP, 1));
    TRY(weir_datagram_set(datagram, WEIR_OPT_MULTICAST_INTERFACE, 1));
    TRY(weir_datagram_leave(datagram, (struct sockaddr *)&group, sizeof group, 1));
    int fd = -1;
    if (TRY(weir_datagram_release(datagram, &fd)) == 0)
        if (TRY(weir_datagram_adopt(datagram, fd)) != 0)
            close(fd);
}
