/* Datagram sockets for the tests. */
#ifndef DGRAM_H
#define DGRAM_H

#include "net.h"

static inline weir_datagram *new_datagram(weir_context *context)
{
    weir_datagram *datagram = NULL;
    CHECK_OK(weir_datagram_create(context, &datagram));
    CHECK(datagram != NULL);
    return datagram;
}

/* Bound to loopback, or to an abstract name; `where` is its address. */
static inline weir_datagram *bound(weir_context *context, int family, const char *name, struct where *where)
{
    weir_datagram *datagram = new_datagram(context);
    struct where any = family == AF_UNIX ? unix_place(name) : loopback(family, 0);
    CHECK_OK(weir_datagram_bind(datagram, AT(&any)));
    memset(where, 0, sizeof *where);
    CHECK_OK(weir_datagram_local_address(datagram, &where->address, &where->length));
    return datagram;
}

/* Two of the context that are connected to each other. */
static inline void connected_datagrams(weir_context *context, int family, weir_datagram *ends[2])
{
    struct where at[2];
    if (family == AF_UNIX) {
        CHECK_OK(weir_datagram_pair(context, &ends[0], &ends[1]));
        return;
    }
    ends[0] = bound(context, family, NULL, &at[0]);
    ends[1] = bound(context, family, NULL, &at[1]);
    CHECK_OK(weir_datagram_connect(ends[0], AT(&at[1])));
    CHECK_OK(weir_datagram_connect(ends[1], AT(&at[0])));
}

static inline int fd_of(weir_datagram *datagram)
{
    int fd = -1;
    CHECK_OK(weir_datagram_fd(datagram, &fd));
    return fd;
}

/* Sends by hand, so that what is tested is the receiving. */
static inline void send_plain(weir_datagram *from, const void *data, size_t length)
{
    CHECK_EQ(send(fd_of(from), data, length, MSG_NOSIGNAL), (long long)length);
}

/* ---- one operation of any kind, so that a case can go through all of them */

enum dgram_kind { RECEIVE, RECEIVE_FROM, RECEIVE_BATCH, WAIT_RECEIVE, DGRAM_READS, SEND = DGRAM_READS, SEND_BATCH, WAIT_SEND, DGRAM_KINDS };

struct dgram_operation {
    struct counter counter;
    struct where from;
    weir_datagram_message messages[2];
    char data[2][8];
};

static inline void zero_operation(struct dgram_operation *operation, bool receive)
{
    memset(operation, 0, sizeof *operation);
    for (int i = 0; i < 2; i++) {
        memcpy(operation->data[i], receive ? UNTOUCHED : "12345678", 8);
        operation->messages[i].data = operation->data[i];
        operation->messages[i].length = 8;
        operation->messages[i].status = 1;
    }
}

/* Eight bytes a message. */
static inline int begin_dgram(enum dgram_kind kind, weir_datagram *datagram, struct dgram_operation *operation)
{
    struct counter *counter = &operation->counter;
    zero_operation(operation, kind < DGRAM_READS);
    switch (kind) {
    case RECEIVE:
        return weir_datagram_receive(datagram, operation->data[0], 8, io_done, counter);
    case RECEIVE_FROM:
        return weir_datagram_receive_from(datagram, operation->data[0], 8, &operation->from.address,
                                          &operation->from.length, io_done, counter);
    case RECEIVE_BATCH:
        return weir_datagram_receive_batch(datagram, operation->messages, 2, io_done, counter);
    case WAIT_RECEIVE:
        return weir_datagram_wait(datagram, WEIR_WAIT_READ, done, counter);
    case SEND:
        return weir_datagram_send(datagram, operation->data[0], 8, io_done, counter);
    case SEND_BATCH:
        return weir_datagram_send_batch(datagram, operation->messages, 2, io_done, counter);
    default:
        return weir_datagram_wait(datagram, WEIR_WAIT_WRITE, done, counter);
    }
}

/* What `bytes` of the callback is when one message of eight bytes came, or the operation's own have gone. */
static inline size_t amount(enum dgram_kind kind)
{
    static const size_t amounts[DGRAM_KINDS] = {8, 8, 1, 0, 8, 2, 0};
    return amounts[kind];
}

/* An AF_UNIX pair, the second a plain fd; with its queue full if the operation sends. */
static inline weir_datagram *blocked_datagram(weir_context *context, enum dgram_kind kind, int *peer)
{
    int ends[2];
    CHECK_EQ(socketpair(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0, ends), 0);
    weir_datagram *datagram = new_datagram(context);
    CHECK_OK(weir_datagram_adopt(datagram, ends[0]));
    *peer = ends[1];
    if (kind >= DGRAM_READS) {
        size_t count = 1;
        while (count > 0)
            CHECK_OK(weir_datagram_try_send(datagram, "full", 4, &count));
    }
    return datagram;
}

static inline void unblock_datagram(int peer, enum dgram_kind kind)
{
    char buffer[64];
    if (kind < DGRAM_READS)
        CHECK_EQ(send(peer, "abcdefgh", 8, 0), 8);
    else
        while (recv(peer, buffer, sizeof buffer, MSG_DONTWAIT) >= 0) {
        }
}

#endif
