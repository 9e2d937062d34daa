/* Datagrams: what is sent and received, and what is told of it. */
#include "dgram.h"

#include <ifaddrs.h>
#include <net/if.h>

static const int families[] = {AF_INET, AF_INET6, AF_UNIX};

#define EACH_FAMILY(family)                                                                                            \
    for (int index_ = 0, family; index_ < 3 && (family = families[index_], true); index_++)                            \
        if (family != AF_INET6 || have_ipv6())

TEST(datagrams_go_across_with_their_sender)
{
    EACH_FAMILY(family) {
        weir_context *context = new_context();
        struct where at[2], from;
        weir_datagram *one = bound(context, family, "one", &at[0]), *two = bound(context, family, "two", &at[1]);
        struct counter sent = {0}, got = {0};
        char data[16] = {0};
        memset(&from, 0, sizeof from);
        START(weir_datagram_receive_from(two, data, sizeof data, &from.address, &from.length, io_done, &got));
        START(weir_datagram_send_to(one, "hello", 5, AT(&at[1]), io_done, &sent));
        RUN_UNTIL(context, sent.calls == 1 && got.calls == 1);
        CHECK_DONE(sent, 0, 5);
        CHECK_DONE(got, 0, 5);
        CHECK(memcmp(data, "hello", 6) == 0);
        CHECK(same_place(&from, AT(&at[0])));
        CHECK_OK(weir_context_destroy(context));
    }
}

TEST(connected_datagrams_need_no_address)
{
    EACH_FAMILY(family) {
        weir_context *context = new_context();
        weir_datagram *ends[2];
        connected_datagrams(context, family, ends);
        struct counter sent = {0}, got = {0};
        char data[8];
        START(weir_datagram_send(ends[0], "abc", 3, io_done, &sent));
        START(weir_datagram_receive(ends[1], data, sizeof data, io_done, &got));
        RUN_UNTIL(context, sent.calls == 1 && got.calls == 1);
        CHECK_DONE(sent, 0, 3);
        CHECK_DONE(got, 0, 3);
        CHECK_OK(weir_context_destroy(context));
    }
}

TEST(h28_a_datagram_without_bytes_is_data)
{
    EACH_FAMILY(family) {
        weir_context *context = new_context();
        weir_datagram *ends[2];
        connected_datagrams(context, family, ends);
        for (int parked = 0; parked < 2; parked++) {
            struct counter sent = {0}, got = {0}, next = {0};
            char data[8];
            if (parked)
                START(weir_datagram_receive(ends[1], data, sizeof data, io_done, &got));
            START(weir_datagram_send(ends[0], NULL, 0, io_done, &sent));
            RUN_CALLS(context, sent, 1);
            CHECK_DONE(sent, 0, 0);
            if (!parked)
                START(weir_datagram_receive(ends[1], data, sizeof data, io_done, &got));
            RUN_CALLS(context, got, 1);
            CHECK_DONE(got, 0, 0);
            /* It is no end: the next one comes. */
            START(weir_datagram_receive(ends[1], data, sizeof data, io_done, &next));
            settle(context);
            CHECK_EQ(next.calls, 0);
            send_plain(ends[0], "x", 1);
            RUN_CALLS(context, next, 1);
            CHECK_DONE(next, 0, 1);
        }
        size_t count = 9, bytes = 9;
        send_plain(ends[0], "", 0);
        await_events(fd_of(ends[1]), POLLIN);
        CHECK_OK(weir_datagram_try_receive(ends[1], NULL, 0, &count, &bytes));
        CHECK_EQ(count, 1);
        CHECK_EQ(bytes, 0);
        CHECK_OK(weir_datagram_try_receive(ends[1], NULL, 0, &count, &bytes));
        CHECK_EQ(count, 0);
        CHECK_OK(weir_context_destroy(context));
    }
}

TEST(h28_a_datagram_that_is_cut_is_told)
{
    EACH_FAMILY(family) {
        weir_context *context = new_context();
        weir_datagram *ends[2];
        connected_datagrams(context, family, ends);
        static const struct {
            size_t sent, room;
        } cases[] = {{8, 8}, {9, 8}, {8, 0}, {1, 0}, {0, 0}, {7, 8}, {1000, 3}};
        for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
            char data[1000] = {0}, room[8];
            size_t stored = cases[i].sent < cases[i].room ? cases[i].sent : cases[i].room, count, bytes;
            int status = cases[i].sent > cases[i].room ? -EMSGSIZE : 0;
            struct counter got = {0}, from = {0};
            struct where where;
            send_plain(ends[0], data, cases[i].sent);
            START(weir_datagram_receive(ends[1], cases[i].room ? room : NULL, cases[i].room, io_done, &got));
            RUN_CALLS(context, got, 1);
            CHECK_DONE(got, status, stored);
            START(weir_datagram_receive_from(ends[1], room, cases[i].room, &where.address, &where.length, io_done,
                                             &from));
            send_plain(ends[0], data, cases[i].sent);
            RUN_CALLS(context, from, 1);
            CHECK_DONE(from, status, stored);
            send_plain(ends[0], data, cases[i].sent);
            await_events(fd_of(ends[1]), POLLIN);
            CHECK_CODE(weir_datagram_try_receive(ends[1], room, cases[i].room, &count, &bytes), status);
            CHECK_EQ(count, 1);
            CHECK_EQ(bytes, stored);
        }
        CHECK_OK(weir_context_destroy(context));
    }
}

TEST(a_short_datagram_says_nothing_of_the_next)
{
    EACH_FAMILY(family) {
        weir_context *context = new_context();
        weir_datagram *ends[2];
        connected_datagrams(context, family, ends);
        struct counter got = {0};
        char data[64];
        /* Registered, with its edge spent on the first one. */
        START(weir_datagram_receive(ends[1], data, sizeof data, io_done, &got));
        settle(context);
        for (int i = 0; i < 20; i++)
            send_plain(ends[0], "x", 1);
        for (int i = 1; i <= 20; i++) {
            RUN_CALLS(context, got, i);
            CHECK_EQ(got.status, 0);
            if (i < 20)
                START(weir_datagram_receive(ends[1], data, sizeof data, io_done, &got));
        }
        CHECK_EQ(got.bytes, 20);
        CHECK_OK(weir_context_destroy(context));
    }
}

TEST(huge_lengths_are_refused_or_told)
{
    weir_context *context = new_context();
    struct where at;
    weir_datagram *one = bound(context, AF_INET, NULL, &at);
    struct counter sent = {0}, batch = {0};
    static char large[70000];
    START(weir_datagram_send_to(one, large, sizeof large, AT(&at), io_done, &sent));
    RUN_CALLS(context, sent, 1);
    CHECK_DONE(sent, -EMSGSIZE, 0);
    size_t count = 7;
    CHECK_CODE(weir_datagram_try_send_to(one, large, sizeof large, AT(&at), &count), -EMSGSIZE);
    CHECK_EQ(count, 7);
    /* Without a peer. */
    memset(&sent, 0, sizeof sent);
    START(weir_datagram_send(one, large, 1, io_done, &sent));
    RUN_CALLS(context, sent, 1);
    CHECK_DONE(sent, -EDESTADDRREQ, 0);
    START(weir_datagram_receive_batch(one, NULL, 0, io_done, &batch));
    RUN_CALLS(context, batch, 1);
    CHECK_DONE(batch, 0, 0);
    CHECK_OK(weir_context_destroy(context));
}

TEST(an_icmp_error_is_the_status_of_the_next_operation)
{
    EACH_FAMILY(family) {
        if (family == AF_UNIX)
            continue;
        weir_context *context = new_context();
        struct where gone, own;
        /* A port that was free a moment ago. */
        weir_datagram *holder = bound(context, family, NULL, &gone), *one = bound(context, family, NULL, &own);
        CHECK_OK(weir_datagram_close(holder));
        CHECK_OK(weir_datagram_connect(one, AT(&gone)));
        struct counter got = {0}, sent = {0}, again = {0};
        char data[8];
        START(weir_datagram_receive(one, data, sizeof data, io_done, &got));
        settle(context);
        CHECK_EQ(got.calls, 0);
        START(weir_datagram_send(one, "x", 1, io_done, &sent));
        RUN_UNTIL(context, sent.calls == 1 && got.calls == 1);
        CHECK_DONE(sent, 0, 1);
        CHECK_DONE(got, -ECONNREFUSED, 0);
        /* Told once; the socket works on. */
        START(weir_datagram_receive(one, data, sizeof data, io_done, &again));
        settle(context);
        CHECK_EQ(again.calls, 0);
        CHECK_OK(weir_datagram_disconnect(one));
        struct where address = own;
        CHECK_OK(weir_datagram_local_address(one, &address.address, &address.length));
        CHECK_OK(weir_context_destroy(context));
        CHECK_DONE(again, WEIR_ECANCELED, 0);
    }
}

TEST(peers_come_change_and_go)
{
    weir_context *context = new_context();
    struct where at[3], found;
    weir_datagram *one = bound(context, AF_INET, NULL, &at[0]), *two = bound(context, AF_INET, NULL, &at[1]),
                  *three = bound(context, AF_INET, NULL, &at[2]), *none = new_datagram(context);
    memset(&found, 0, sizeof found);
    CHECK_CODE(weir_datagram_remote_address(one, &found.address, &found.length), WEIR_ENOTCONN);
    for (int i = 1; i < 3; i++) {
        CHECK_OK(weir_datagram_connect(one, AT(&at[i])));
        CHECK_OK(weir_datagram_remote_address(one, &found.address, &found.length));
        CHECK(same_place(&found, AT(&at[i])));
    }
    /* What others send is no longer received. */
    size_t count = 0, bytes;
    char data[8];
    CHECK_OK(weir_datagram_try_send_to(two, "no", 2, AT(&at[0]), &count));
    CHECK_EQ(count, 1);
    CHECK_OK(weir_datagram_try_send_to(three, "yes", 3, AT(&at[0]), &count));
    await_events(fd_of(one), POLLIN);
    CHECK_OK(weir_datagram_try_receive_from(one, data, sizeof data, &found.address, &found.length, &count, &bytes));
    CHECK_EQ(bytes, 3);
    CHECK(same_place(&found, AT(&at[2])));
    CHECK_OK(weir_datagram_disconnect(one));
    CHECK_OK(weir_datagram_disconnect(one));
    CHECK_CODE(weir_datagram_remote_address(one, &found.address, &found.length), WEIR_ENOTCONN);
    CHECK_CODE(weir_datagram_disconnect(none), WEIR_ENOTCONN);
    /* connect opens a socket. */
    CHECK_OK(weir_datagram_connect(none, AT(&at[2])));
    CHECK_OK(weir_datagram_try_send(none, "x", 1, &count));
    CHECK_EQ(count, 1);
    CHECK_OK(weir_context_destroy(context));
}

/* ---- batches */

#define BATCH 100

TEST(batches_move_many_messages)
{
    EACH_FAMILY(family) {
        weir_context *context = new_context();
        struct where at[2];
        weir_datagram *one = bound(context, family, "one", &at[0]), *two = bound(context, family, "two", &at[1]);
        int room = 1 << 20;
        CHECK_OK(weir_datagram_set(two, WEIR_OPT_RECEIVE_BUFFER, room));
        static struct sockaddr_storage from[BATCH];
        static weir_datagram_message out[BATCH], in[BATCH];
        static char sent_data[BATCH][8], got_data[BATCH][8];
        struct counter sent = {0}, got = {0};
        memset(out, 0, sizeof out);
        memset(in, 0, sizeof in);
        for (int i = 0; i < BATCH; i++) {
            out[i].data = sent_data[i];
            out[i].length = (size_t)snprintf(sent_data[i], 8, "%d", i);
            out[i].address = &at[1].address;
            out[i].address_length = at[1].length;
            in[i].data = got_data[i];
            in[i].length = i % 10 == 5 ? 1 : 8; /* some too small */
            in[i].address = i % 2 ? &from[i] : NULL;
        }
        START(weir_datagram_send_batch(one, out, BATCH, io_done, &sent));
        size_t total = 0;
        for (int calls = 1; total < BATCH; calls++) {
            /* AF_UNIX has no more than a few in its queue: the sender waits for the receiver. */
            START(weir_datagram_receive_batch(two, in + total, BATCH - total, io_done, &got));
            RUN_CALLS(context, got, calls);
            CHECK_EQ(got.status, 0);
            CHECK(got.bytes > total);
            total = got.bytes;
        }
        RUN_CALLS(context, sent, 1);
        CHECK_DONE(sent, 0, BATCH);
        for (int i = 0; i < BATCH; i++) {
            size_t length = out[i].length;
            CHECK_EQ(out[i].bytes, length);
            CHECK_EQ(out[i].status, 0);
            bool cut = length > in[i].length;
            CHECK_CODE(in[i].status, cut ? -EMSGSIZE : 0);
            CHECK_EQ(in[i].bytes, cut ? in[i].length : length);
            CHECK(memcmp(got_data[i], sent_data[i], in[i].bytes) == 0);
            CHECK_EQ(in[i].address_length, in[i].address ? at[0].length : 0);
            CHECK(!in[i].address || memcmp(in[i].address, &at[0].address, at[0].length) == 0);
            CHECK_EQ(in[i].segment_size, 0);
        }
        CHECK_OK(weir_context_destroy(context));
    }
}

static struct {
    weir_context *context;
    struct counter sent;
    int rounds;
} sending;

static void run_between(int status, void *user)
{
    if (status == WEIR_ECANCELED || sending.sent.calls > 0)
        return;
    sending.rounds++;
    CHECK_OK(weir_context_post(sending.context, run_between, user));
}

TEST(h34_a_large_batch_lets_others_run_in_between)
{
    enum { LARGE = 8 * 1024 };
    static weir_datagram_message out[LARGE];
    static char byte = 'x';
    sending.context = new_context();
    struct where at[2];
    weir_datagram *one = bound(sending.context, AF_INET, "one", &at[0]);
    /* UDP: the receiver takes what it has room for, and the sender never waits. */
    bound(sending.context, AF_INET, "two", &at[1]);
    for (int i = 0; i < LARGE; i++) {
        out[i].data = &byte;
        out[i].length = 1;
        out[i].address = &at[1].address;
        out[i].address_length = at[1].length;
    }
    START(weir_datagram_send_batch(one, out, LARGE, io_done, &sending.sent));
    CHECK_OK(weir_context_post(sending.context, run_between, NULL));
    RUN_CALLS(sending.context, sending.sent, 1);
    CHECK_DONE(sending.sent, 0, LARGE);
    /* The share of a turn is 1024, and the first is taken when the batch begins. */
    CHECK(sending.rounds >= 6);
    CHECK_OK(weir_context_destroy(sending.context));
}

TEST(a_batch_ends_at_the_first_that_fails_and_counts_the_others)
{
    weir_context *context = new_context();
    struct where at;
    weir_datagram *one = bound(context, AF_INET, NULL, &at);
    static char large[70000];
    static const int bad[] = {0, 1, 31, 32, 33, 39};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        weir_datagram_message messages[40];
        struct counter sent = {0};
        memset(messages, 0, sizeof messages);
        for (int k = 0; k < 40; k++) {
            messages[k].data = large;
            messages[k].length = k == bad[i] ? sizeof large : 1;
            messages[k].address = &at.address;
            messages[k].address_length = sizeof at.address; /* longer than needed, as a whole storage is */
            messages[k].status = 77;
        }
        START(weir_datagram_send_batch(one, messages, 40, io_done, &sent));
        RUN_CALLS(context, sent, 1);
        CHECK_DONE(sent, -EMSGSIZE, bad[i]);
        for (int k = 0; k < 40; k++)
            CHECK_CODE(messages[k].status, k < bad[i] ? 0 : k == bad[i] ? -EMSGSIZE : 77);
        size_t count = 1, bytes;
        for (int k = 0; k < bad[i]; k++) {
            CHECK_OK(weir_datagram_try_receive(one, large, 8, &count, &bytes));
            CHECK_EQ(count, 1);
        }
        CHECK_OK(weir_datagram_try_receive(one, large, 8, &count, &bytes));
        CHECK_EQ(count, 0);
    }
    CHECK_OK(weir_context_destroy(context));
}

TEST(a_batch_that_is_cancelled_half_way_counts_what_has_gone)
{
    weir_context *context = new_context();
    weir_datagram *ends[2];
    static weir_datagram_message messages[2000];
    struct counter sent = {0};
    CHECK_OK(weir_datagram_pair(context, &ends[0], &ends[1]));
    memset(messages, 0, sizeof messages);
    for (int i = 0; i < 2000; i++) {
        messages[i].data = &messages[i].bytes;
        messages[i].length = 4;
    }
    START(weir_datagram_send_batch(ends[0], messages, 2000, io_done, &sent));
    settle(context);
    CHECK_EQ(sent.calls, 0);
    CHECK_OK(weir_datagram_cancel(ends[0], NULL));
    RUN_CALLS(context, sent, 1);
    CHECK_EQ(sent.status, WEIR_ECANCELED);
    size_t total = 0, count = 1, bytes;
    char data[8];
    for (;; total++) {
        CHECK_OK(weir_datagram_try_receive(ends[1], data, 8, &count, &bytes));
        if (count == 0)
            break;
    }
    CHECK(total > 0 && total < 2000);
    CHECK_EQ(sent.bytes, total);
    CHECK_OK(weir_context_destroy(context));
}

/* ---- GSO and GRO */

TEST(segments_are_cut_and_put_together)
{
    uint32_t features = 0;
    CHECK_OK(weir_datagram_features(&features));
    CHECK(features <= (WEIR_DATAGRAM_GSO | WEIR_DATAGRAM_GRO));
    if (!(features & WEIR_DATAGRAM_GSO))
        CHECK_SKIP("the kernel has no UDP_SEGMENT");
    weir_context *context = new_context();
    struct where at[2];
    weir_datagram *one = bound(context, AF_INET, NULL, &at[0]), *two = bound(context, AF_INET, NULL, &at[1]);
    static char data[1050], room[4096];
    weir_datagram_message out, in;
    for (int gro = 0; gro < 2; gro++) {
        if (gro && !(features & WEIR_DATAGRAM_GRO))
            break;
        CHECK_OK(weir_datagram_set(two, WEIR_OPT_GRO, gro));
        struct counter sent = {0};
        memset(&out, 0, sizeof out);
        out.data = data;
        out.length = sizeof data;
        out.address = &at[1].address;
        out.address_length = at[1].length;
        out.segment_size = 100;
        START(weir_datagram_send_batch(one, &out, 1, io_done, &sent));
        RUN_CALLS(context, sent, 1);
        CHECK_DONE(sent, 0, 1);
        CHECK_EQ(out.bytes, sizeof data);
        for (size_t total = 0, messages = 0; total < sizeof data; messages++) {
            struct counter got = {0};
            memset(&in, 0, sizeof in);
            in.data = room;
            in.length = sizeof room;
            START(weir_datagram_receive_batch(two, &in, 1, io_done, &got));
            RUN_CALLS(context, got, 1);
            CHECK_DONE(got, 0, 1);
            CHECK_EQ(in.status, 0);
            if (!gro)
                CHECK_EQ(in.bytes, messages < 10 ? 100 : 50);
            if (in.bytes > 100)
                CHECK_EQ(in.segment_size, 100);
            total += in.bytes;
            CHECK(total <= sizeof data);
        }
    }
    /* As an option of the socket. */
    int value = 0;
    size_t count, bytes;
    CHECK_OK(weir_datagram_set(two, WEIR_OPT_GRO, 0));
    CHECK_OK(weir_datagram_set(one, WEIR_OPT_SEGMENT_SIZE, 500));
    CHECK_OK(weir_datagram_get(one, WEIR_OPT_SEGMENT_SIZE, &value));
    CHECK_EQ(value, 500);
    CHECK_OK(weir_datagram_try_send_to(one, data, 1000, AT(&at[1]), &count));
    for (int i = 0; i < 2; i++) {
        await_events(fd_of(two), POLLIN);
        CHECK_OK(weir_datagram_try_receive(two, room, sizeof room, &count, &bytes));
        CHECK_EQ(bytes, 500);
    }
    /* A socket that can't cut says so, rather than sending it whole. */
    weir_datagram *ends[2];
    struct counter counter = {0};
    CHECK_OK(weir_datagram_pair(context, &ends[0], &ends[1]));
    out.address = NULL;
    START_CODE(weir_datagram_send_batch(ends[0], &out, 1, io_done, &counter), -EOPNOTSUPP);
    settle(context);
    CHECK_EQ(counter.calls, 0);
    CHECK_OK(weir_context_destroy(context));
}

/* ---- multicast */

static struct where group_of(int family, uint16_t port)
{
    struct where where = loopback(family, port);
    if (family == AF_INET6)
        CHECK_EQ(inet_pton(AF_INET6, "ff01::7:7", &((struct sockaddr_in6 *)&where.address)->sin6_addr), 1);
    else
        CHECK_EQ(inet_pton(AF_INET, "239.255.7.7", &((struct sockaddr_in *)&where.address)->sin_addr), 1);
    return where;
}

TEST(multicast_reaches_members_only)
{
    EACH_FAMILY(family) {
        if (family == AF_UNIX)
            continue;
        weir_context *context = new_context();
        weir_datagram *member = new_datagram(context), *sender = new_datagram(context);
        unsigned lo = if_nametoindex("lo");
        CHECK(lo > 0);
        struct where any = loopback(family, 0), group, at, found;
        if (family == AF_INET6)
            ((struct sockaddr_in6 *)&any.address)->sin6_addr = in6addr_any;
        else
            ((struct sockaddr_in *)&any.address)->sin_addr.s_addr = htonl(INADDR_ANY);
        memset(&at, 0, sizeof at);
        CHECK_OK(weir_datagram_bind(member, AT(&any)));
        CHECK_OK(weir_datagram_local_address(member, &at.address, &at.length));
        group = group_of(family, port_of(&at));
        CHECK_OK(weir_datagram_join(member, AT(&group), lo));
        CHECK_CODE(weir_datagram_join(member, AT(&group), lo), -EADDRINUSE);
        CHECK_OK(weir_datagram_open(sender, family));
        int value = -1;
        CHECK_OK(weir_datagram_set(sender, WEIR_OPT_MULTICAST_INTERFACE, (int)lo));
        int code = weir_datagram_get(sender, WEIR_OPT_MULTICAST_INTERFACE, &value);
        CHECK(code == 0 ? value == (int)lo : code == -EOPNOTSUPP && family == AF_INET);
        CHECK_OK(weir_datagram_set(sender, WEIR_OPT_MULTICAST_LOOP, 1));
        CHECK_OK(weir_datagram_get(sender, WEIR_OPT_MULTICAST_LOOP, &value));
        CHECK_EQ(value, 1);
        CHECK_OK(weir_datagram_set(sender, WEIR_OPT_MULTICAST_HOPS, 3));
        CHECK_OK(weir_datagram_get(sender, WEIR_OPT_MULTICAST_HOPS, &value));
        CHECK_EQ(value, 3);
        struct counter got = {0}, sent = {0}, none = {0};
        char data[8];
        START(weir_datagram_receive_from(member, data, 8, &found.address, &found.length, io_done, &got));
        START(weir_datagram_send_to(sender, "all", 3, AT(&group), io_done, &sent));
        RUN_CALLS(context, sent, 1);
        if (family == AF_INET6 && sent.status == -ENETUNREACH) {
            /* Machines without a route for IPv6 multicast on their loopback. */
            CHECK_OK(weir_context_destroy(context));
            continue;
        }
        CHECK_DONE(sent, 0, 3);
        RUN_CALLS(context, got, 1);
        CHECK_DONE(got, 0, 3);
        CHECK_OK(weir_datagram_leave(member, AT(&group), lo));
        CHECK_CODE(weir_datagram_leave(member, AT(&group), lo), -EADDRNOTAVAIL);
        /* No longer a member: what comes next is what was sent to the socket itself. */
        size_t count = 0;
        struct where direct = loopback(family, port_of(&at));
        CHECK_OK(weir_datagram_try_send_to(sender, "all", 3, AT(&group), &count));
        CHECK_OK(weir_datagram_try_send_to(sender, "me", 2, AT(&direct), &count));
        START(weir_datagram_receive(member, data, 8, io_done, &none));
        RUN_CALLS(context, none, 1);
        CHECK_DONE(none, 0, 2);
        CHECK_OK(weir_context_destroy(context));
    }
}

TEST(broadcast_is_an_option)
{
    weir_context *context = new_context();
    weir_datagram *one = new_datagram(context);
    int value = -1;
    CHECK_OK(weir_datagram_open(one, AF_INET));
    CHECK_OK(weir_datagram_get(one, WEIR_OPT_BROADCAST, &value));
    CHECK_EQ(value, 0);
    struct where all = loopback(AF_INET, 9);
    ((struct sockaddr_in *)&all.address)->sin_addr.s_addr = htonl(INADDR_BROADCAST);
    CHECK_CODE(weir_datagram_connect(one, AT(&all)), -EACCES);
    CHECK_OK(weir_datagram_set(one, WEIR_OPT_BROADCAST, 1));
    CHECK_OK(weir_datagram_get(one, WEIR_OPT_BROADCAST, &value));
    CHECK_EQ(value, 1);
    CHECK_OK(weir_context_destroy(context));
}

TEST(h62_the_scope_of_a_sender_is_kept)
{
    struct ifaddrs *all = NULL, *one;
    CHECK_EQ(getifaddrs(&all), 0);
    struct where where = {0}, found = {0};
    for (one = all; one && where.length == 0; one = one->ifa_next) {
        if (!one->ifa_addr || one->ifa_addr->sa_family != AF_INET6)
            continue;
        struct sockaddr_in6 inet6;
        memcpy(&inet6, one->ifa_addr, sizeof inet6);
        if (IN6_IS_ADDR_LINKLOCAL(&inet6.sin6_addr) && inet6.sin6_scope_id != 0 && (one->ifa_flags & IFF_UP)) {
            memcpy(&where.address, &inet6, sizeof inet6);
            where.length = sizeof inet6;
        }
    }
    freeifaddrs(all);
    if (where.length == 0)
        CHECK_SKIP("no link-local address here");
    weir_context *context = new_context();
    weir_datagram *self = new_datagram(context);
    int code = weir_datagram_bind(self, AT(&where));
    if (code == -EADDRNOTAVAIL)
        CHECK_SKIP("the link-local address is not ready");
    CHECK_OK(code);
    CHECK_OK(weir_datagram_local_address(self, &where.address, &where.length));
    struct counter got = {0}, sent = {0};
    char data[8];
    START(weir_datagram_receive_from(self, data, 8, &found.address, &found.length, io_done, &got));
    START(weir_datagram_send_to(self, "x", 1, AT(&where), io_done, &sent));
    RUN_UNTIL(context, sent.calls == 1 && got.calls == 1);
    CHECK_DONE(got, 0, 1);
    CHECK(((struct sockaddr_in6 *)&found.address)->sin6_scope_id != 0);
    CHECK(same_place(&found, AT(&where)));
    CHECK_OK(weir_context_destroy(context));
}

TEST_MAIN()
