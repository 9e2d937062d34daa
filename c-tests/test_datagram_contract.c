/* Datagrams and the contract: busy, cancel, close, stop, destruction, records, strands, fds. */
#include "dgram.h"

#define EACH_KIND(kind) for (enum dgram_kind kind = 0; kind < DGRAM_KINDS; kind++)

/* As `begin_dgram`, without setting the operation to zero. */
static int begin_another(enum dgram_kind kind, weir_datagram *datagram)
{
    static struct dgram_operation another;
    return begin_dgram(kind, datagram, &another);
}

TEST(h26_a_second_operation_of_a_direction_is_busy)
{
    EACH_KIND(first) {
        EACH_KIND(second) {
            weir_context *context = new_context();
            struct dgram_operation operation;
            int peer;
            size_t count, bytes;
            char data[8];
            weir_datagram *datagram = blocked_datagram(context, first, &peer);
            START(begin_dgram(first, datagram, &operation));
            bool same = (first < DGRAM_READS) == (second < DGRAM_READS);
            if (same) {
                START_CODE(begin_another(second, datagram), WEIR_EBUSY);
                if (first < DGRAM_READS)
                    CHECK_CODE(weir_datagram_try_receive(datagram, data, 8, &count, &bytes), WEIR_EBUSY);
                else
                    CHECK_CODE(weir_datagram_try_send(datagram, data, 8, &count), WEIR_EBUSY);
            }
            unblock_datagram(peer, first);
            RUN_CALLS(context, operation.counter, 1);
            CHECK_DONE(operation.counter, 0, amount(first));
            CHECK_OK(weir_context_destroy(context));
            close(peer);
        }
    }
}

TEST(h24_cancel_ends_what_is_pending_and_loses_nothing)
{
    EACH_KIND(kind) {
        weir_context *context = new_context();
        struct dgram_operation operation, next;
        int peer;
        size_t count = 9;
        weir_datagram *datagram = blocked_datagram(context, kind, &peer);
        /* Nothing pending. */
        CHECK_OK(weir_datagram_cancel(datagram, &count));
        CHECK_EQ(count, 0);
        START(begin_dgram(kind, datagram, &operation));
        settle(context);
        CHECK_EQ(operation.counter.calls, 0);
        CHECK_OK(weir_datagram_cancel(datagram, &count));
        CHECK_EQ(count, 1);
        CHECK_EQ(operation.counter.calls, 0);
        CHECK_OK(weir_datagram_cancel(datagram, &count));
        CHECK_EQ(count, 0);
        /* From now on the buffer is the caller's: what comes is not in it. */
        unblock_datagram(peer, kind);
        RUN_CALLS(context, operation.counter, 1);
        CHECK_DONE(operation.counter, WEIR_ECANCELED, 0);
        if (kind < DGRAM_READS) {
            CHECK(memcmp(operation.data[0], UNTOUCHED, 8) == 0);
            CHECK_EQ(operation.from.length, 0);
            CHECK_EQ(operation.messages[0].status, 1);
        }
        /* The next one is not affected (H25), and gets what came. */
        START(begin_dgram(kind, datagram, &next));
        RUN_CALLS(context, next.counter, 1);
        CHECK_DONE(next.counter, 0, amount(kind));
        if (kind < WAIT_RECEIVE)
            CHECK(memcmp(next.data[0], "abcdefgh", 8) == 0);
        /* Complete already: cancel changes nothing. */
        if (kind < DGRAM_READS)
            unblock_datagram(peer, kind);
        START(begin_dgram(kind, datagram, &next));
        CHECK_OK(weir_datagram_cancel(datagram, &count));
        CHECK_EQ(count, 0);
        RUN_CALLS(context, next.counter, 1);
        CHECK_DONE(next.counter, 0, amount(kind));
        CHECK_OK(weir_context_destroy(context));
        close(peer);
    }
}

/* So that an operation completes at once: the library must not have it that there is no room any more. */
static void make_ready(weir_datagram *datagram, int peer, enum dgram_kind kind)
{
    size_t count = 1;
    unblock_datagram(peer, kind);
    if (kind >= DGRAM_READS)
        CHECK_OK(weir_datagram_try_send(datagram, "room", 4, &count));
    CHECK_EQ(count, 1);
}

TEST(close_ends_it_and_what_is_complete_stays_so)
{
    EACH_KIND(kind) {
        for (int complete = 0; complete < 2; complete++) {
            weir_context *context = new_context();
            struct dgram_operation operation;
            int peer, fds = count_fds();
            weir_datagram *datagram = blocked_datagram(context, kind, &peer);
            if (complete)
                make_ready(datagram, peer, kind);
            START(begin_dgram(kind, datagram, &operation));
            CHECK_OK(weir_datagram_close(datagram));
            CHECK_EQ(count_fds(), fds + 1); /* the peer */
            CHECK_CODE(weir_datagram_close(datagram), WEIR_EBADF);
            CHECK_CODE(begin_another(kind, datagram), WEIR_EBADF);
            CHECK_EQ(operation.counter.calls, 0);
            RUN_CALLS(context, operation.counter, 1);
            CHECK_DONE(operation.counter, complete ? 0 : WEIR_ECANCELED, complete ? amount(kind) : 0);
            settle(context);
            CHECK_EQ(operation.counter.calls, 1);
            CHECK_OK(weir_context_destroy(context));
            close(peer);
        }
    }
}

struct closing {
    struct counter counter;
    weir_datagram *datagram;
};

static void close_it(int status, size_t bytes, void *user)
{
    struct closing *closing = user;
    CHECK_OK(weir_datagram_close(closing->datagram));
    io_done(status, bytes, &closing->counter);
}

TEST(close_from_its_own_callback)
{
    weir_context *context = new_context();
    int peer;
    struct dgram_operation other;
    struct closing closing = {.datagram = blocked_datagram(context, RECEIVE, &peer)};
    char data[8];
    while (send(fd_of(closing.datagram), "full", 4, MSG_DONTWAIT) > 0) {
    }
    START(begin_dgram(SEND, closing.datagram, &other));
    START(weir_datagram_receive(closing.datagram, data, 8, close_it, &closing));
    unblock_datagram(peer, RECEIVE);
    RUN_UNTIL(context, closing.counter.calls == 1 && other.counter.calls == 1);
    CHECK_DONE(closing.counter, 0, 8);
    CHECK_DONE(other.counter, WEIR_ECANCELED, 0);
    CHECK_OK(weir_context_destroy(context));
    close(peer);
}

static void *run_thread(void *user)
{
    weir_context *context = user;
    CHECK_OK(weir_context_run(context, NULL));
    return NULL;
}

TEST(close_from_another_thread_completes_once)
{
    for (size_t round = 0; round < many(300); round++) {
        weir_context *context = new_context();
        weir_datagram *ends[2];
        struct counter got = {0}, sent = {0};
        char data[8];
        CHECK_OK(weir_datagram_pair(context, &ends[0], &ends[1]));
        START(weir_datagram_receive(ends[1], data, 8, io_done, &got));
        CHECK_OK(weir_context_work_begin(context)); /* run must not end between the receive and the send */
        pthread_t thread = start_thread(run_thread, context);
        START(weir_datagram_send(ends[0], "12345678", 8, io_done, &sent));
        if (round % 3 == 0)
            sleep_ms(1);
        CHECK_OK(weir_datagram_close(ends[1]));
        CHECK_OK(weir_datagram_close(ends[0]));
        CHECK_OK(weir_context_work_end(context));
        join_thread(thread);
        CHECK_EQ(got.calls, 1);
        CHECK_EQ(sent.calls, 1);
        CHECK(got.status == 0 ? got.bytes == 8 : got.status == WEIR_ECANCELED && got.bytes == 0);
        CHECK_OK(weir_context_destroy(context));
    }
}

TEST(stop_keeps_it_and_destruction_ends_it_once)
{
    EACH_KIND(kind) {
        for (int complete = 0; complete < 2; complete++) {
            weir_context *context = new_context();
            struct dgram_operation operation;
            int peer;
            weir_datagram *datagram = blocked_datagram(context, kind, &peer);
            if (complete)
                make_ready(datagram, peer, kind);
            START(begin_dgram(kind, datagram, &operation));
            CHECK_OK(weir_context_stop(context));
            CHECK_OK(weir_context_run(context, NULL));
            CHECK_EQ(operation.counter.calls, 0);
            CHECK_OK(weir_context_destroy(context));
            CHECK_DONE(operation.counter, complete ? 0 : WEIR_ECANCELED, complete ? amount(kind) : 0);
            CHECK_CODE(weir_datagram_close(datagram), WEIR_EBADF);
            close(peer);
        }
    }
}

TEST(a_null_callback_gives_a_record)
{
    weir_context *context = new_context();
    weir_datagram *ends[2];
    connected_datagrams(context, AF_INET, ends);
    struct where from = {0};
    char data[8];
    int user = 0;
    CHECK_OK(weir_datagram_receive_from(ends[1], data, 8, &from.address, &from.length, NULL, &user));
    CHECK_OK(weir_datagram_send(ends[0], "123456789", 9, NULL, NULL));
    bool received = false, sent = false;
    while (!received || !sent) {
        weir_record record;
        size_t count = 0;
        CHECK_OK(weir_context_reap(context, &record, 1, 30 * CHECK_SECOND, &count));
        CHECK_EQ(count, 1);
        if (record.kind == WEIR_OP_RECEIVE) {
            CHECK(record.user == &user && !received);
            CHECK_CODE(record.status, -EMSGSIZE);
            CHECK_EQ(record.value, 8);
            CHECK(from.length > 0);
            received = true;
        } else {
            CHECK_EQ(record.kind, WEIR_OP_SEND);
            CHECK(!sent && record.status == 0);
            CHECK_EQ(record.value, 9);
            sent = true;
        }
    }
    CHECK_OK(weir_context_destroy(context));
}

static void in_strand(int status, size_t bytes, void *user)
{
    struct closing *closing = user;
    weir_strand *strand = (weir_strand *)(void *)closing->datagram;
    CHECK_EQ(weir_strand_running_in_this_thread(strand), 1);
    io_done(status, bytes, &closing->counter);
}

TEST(it_may_be_bound_to_a_strand_and_named)
{
    weir_context *context = new_context();
    weir_datagram *ends[2];
    weir_strand *strand;
    char data[8], name[16];
    size_t pending = 9;
    CHECK_OK(weir_strand_create(context, &strand));
    connected_datagrams(context, AF_UNIX, ends);
    struct closing closing = {.datagram = (weir_datagram *)(void *)strand};
    CHECK_OK(weir_handle_set_strand(ends[1], strand));
    START(weir_datagram_receive(ends[1], data, 8, in_strand, &closing));
    CHECK_CODE(weir_handle_set_strand(ends[1], NULL), WEIR_EBUSY);
    CHECK_OK(weir_handle_pending(ends[1], &pending));
    CHECK_EQ(pending, 1);
    send_plain(ends[0], "1234", 4);
    RUN_CALLS(context, closing.counter, 1);
    CHECK_DONE(closing.counter, 0, 4);
    CHECK_OK(weir_handle_set_name(ends[1], "udp"));
    CHECK_OK(weir_handle_name(ends[1], name, sizeof name));
    CHECK(strcmp(name, "udp") == 0);
    CHECK_OK(weir_handle_close(ends[1]));
    CHECK_CODE(weir_datagram_close(ends[1]), WEIR_EBADF);
    CHECK_OK(weir_context_destroy(context));
}

TEST(adopt_and_release_keep_the_socket)
{
    weir_context *context = new_context();
    weir_datagram *one = new_datagram(context);
    int fd = socket(AF_INET, SOCK_DGRAM, 0), listener, released = -1, found = -1;
    struct where where;
    struct counter got = {0};
    char data[8];
    CHECK(fd >= 0);
    listener = plain_listener(AF_INET, 1, &where);
    CHECK_CODE(weir_datagram_adopt(one, listener), -EPROTOTYPE);
    CHECK_CODE(weir_datagram_adopt(one, STDIN_FILENO), -ENOTSOCK);
    CHECK_OK(weir_datagram_adopt(one, fd));
    CHECK_CODE(weir_datagram_adopt(one, fd), WEIR_EBUSY);
    CHECK_CODE(weir_datagram_open(one, AF_INET), WEIR_EBUSY);
    CHECK(fcntl(fd, F_GETFL) & O_NONBLOCK);
    CHECK_EQ(fcntl(fd, F_GETFD), FD_CLOEXEC);
    START(weir_datagram_receive(one, data, 8, io_done, &got));
    CHECK_OK(weir_datagram_release(one, &released));
    CHECK_EQ(released, fd);
    RUN_CALLS(context, got, 1);
    CHECK_DONE(got, WEIR_ECANCELED, 0);
    CHECK_CODE(weir_datagram_fd(one, &found), WEIR_ENOTCONN);
    CHECK_OK(weir_datagram_adopt(one, fd));
    /* A stream of the library is none. */
    weir_stream *stream = new_stream(context);
    CHECK_OK(weir_datagram_release(one, &released));
    CHECK_CODE(weir_stream_adopt(stream, fd), -EPROTOTYPE);
    close(fd);
    close(listener);
    CHECK_OK(weir_context_destroy(context));
}

TEST(h32_every_fd_is_close_on_exec_and_none_left_is_told)
{
    weir_context *context = new_context();
    weir_datagram *ends[2] = {NULL, NULL}, *one = new_datagram(context);
    weir_stream *streams[2] = {NULL, NULL};
    struct where where = loopback(AF_INET, 0);
    uint32_t features = 77;
    set_fd_limit(no_more_fds());
    CHECK_CODE(weir_datagram_open(one, AF_INET), -EMFILE);
    CHECK_CODE(weir_datagram_bind(one, AT(&where)), -EMFILE);
    CHECK_CODE(weir_datagram_connect(one, AT(&where)), -EMFILE);
    CHECK_CODE(weir_datagram_pair(context, &ends[0], &ends[1]), -EMFILE);
    CHECK_CODE(weir_stream_pair(context, &streams[0], &streams[1]), -EMFILE);
    CHECK_CODE(weir_datagram_features(&features), -EMFILE);
    CHECK(!ends[0] && !ends[1] && !streams[0] && features == 77);
    /* Room for one of the two. */
    set_fd_limit(256);
    set_fd_limit(no_more_fds() + 1);
    int before = count_fds();
    CHECK_CODE(weir_datagram_pair(context, &ends[0], &ends[1]), -EMFILE);
    CHECK_EQ(count_fds(), before);
    set_fd_limit(256);
    CHECK_OK(weir_datagram_pair(context, &ends[0], &ends[1]));
    CHECK_OK(weir_datagram_bind(one, AT(&where)));
    weir_datagram *all[] = {ends[0], ends[1], one};
    for (int i = 0; i < 3; i++) {
        CHECK_EQ(fcntl(fd_of(all[i]), F_GETFD), FD_CLOEXEC);
        CHECK(fcntl(fd_of(all[i]), F_GETFL) & O_NONBLOCK);
    }
    CHECK_OK(weir_context_destroy(context));
}

TEST(h31_a_gone_peer_is_an_error_and_no_signal)
{
    signal(SIGPIPE, SIG_DFL);
    weir_context *context = new_context();
    weir_datagram *ends[2];
    struct counter sent = {0}, batch = {0};
    weir_datagram_message message = {.data = &sent, .length = 1};
    size_t count;
    CHECK_OK(weir_datagram_pair(context, &ends[0], &ends[1]));
    CHECK_OK(weir_datagram_close(ends[1]));
    START(weir_datagram_send(ends[0], "x", 1, io_done, &sent));
    RUN_CALLS(context, sent, 1);
    CHECK(sent.status == -ECONNREFUSED || sent.status == WEIR_ENOTCONN || sent.status == -ECONNRESET);
    CHECK(weir_datagram_try_send(ends[0], "x", 1, &count) < 0);
    START(weir_datagram_send_batch(ends[0], &message, 1, io_done, &batch));
    RUN_CALLS(context, batch, 1);
    CHECK(batch.status < 0 && batch.bytes == 0 && message.status == batch.status);
    /* Ended for writing. */
    int fd = fd_of(ends[0]);
    CHECK_EQ(shutdown(fd, SHUT_WR), 0);
    START(weir_datagram_send_fds(ends[0], "x", 1, &fd, 1, io_done, &batch));
    RUN_CALLS(context, batch, 2);
    CHECK(batch.status < 0);
    CHECK_OK(weir_context_destroy(context));
}

/* The number of datagrams that fill the queue of `where`. By a socket of its own: one whose own messages are taken
 * out of a queue is told. */
static size_t fill_queue(weir_context *context, const struct where *where)
{
    weir_datagram *filler = new_datagram(context);
    size_t count = 1, queued = 0;
    CHECK_OK(weir_datagram_open(filler, AF_UNIX));
    for (; count > 0; queued += count)
        CHECK_OK(weir_datagram_try_send_to(filler, "x", 1, AT(where), &count));
    CHECK(queued > 0);
    return queued;
}

static void empty_queue(weir_datagram *datagram, size_t queued)
{
    size_t count, bytes;
    char data[8];
    for (size_t i = 0; i < queued; i++) {
        CHECK_OK(weir_datagram_try_receive(datagram, data, 8, &count, &bytes));
        CHECK_EQ(count, 1);
    }
}

enum sending { CONNECTED, UNCONNECTED, UNCONNECTED_BATCH };

TEST(a_full_receiver_is_waited_for_without_spinning)
{
    for (enum sending how = CONNECTED; how <= UNCONNECTED_BATCH; how++) {
        weir_context *context = new_context();
        struct where at[2];
        weir_datagram *one = bound(context, AF_UNIX, "one", &at[0]), *two = bound(context, AF_UNIX, "two", &at[1]);
        size_t count = 0, queued = fill_queue(context, &at[1]);
        struct counter sent = {0}, ended = {0};
        char data[8];
        weir_datagram_message message = {
            .data = data, .length = 1, .address = &at[1].address, .address_length = at[1].length};
        /* Registered for writability, which it keeps. */
        CHECK_OK(weir_datagram_connect(one, AT(&at[1])));
        START(weir_datagram_send(one, "y", 1, io_done, &ended));
        if (how != CONNECTED) {
            settle(context);
            CHECK_OK(weir_datagram_cancel(one, &count));
            CHECK_EQ(count, 1);
            RUN_CALLS(context, ended, 1);
            CHECK_DONE(ended, WEIR_ECANCELED, 0);
            CHECK_OK(weir_datagram_disconnect(one));
        }
        if (how == UNCONNECTED)
            START(weir_datagram_send_to(one, "y", 1, AT(&at[1]), io_done, &sent));
        if (how == UNCONNECTED_BATCH)
            START(weir_datagram_send_batch(one, &message, 1, io_done, &sent));
        struct counter *waiting = how == CONNECTED ? &ended : &sent;
        if (weir_context_stopped(context) == 1)
            CHECK_OK(weir_context_restart(context));
        uint64_t turns = turns_of(context);
        CHECK_OK(weir_context_run_for(context, 300 * CHECK_MS, NULL));
        CHECK(turns_of(context) - turns <= 400); /* one try in 5 ms is enough */
        CHECK_EQ(waiting->calls, 0);
        empty_queue(two, queued);
        RUN_CALLS(context, *waiting, 1);
        CHECK_EQ(waiting->status, 0);
        CHECK_EQ(waiting->bytes, 1);
        empty_queue(two, 1);
        if (how != UNCONNECTED) {
            CHECK_OK(weir_context_destroy(context));
            continue;
        }
        /* Cancelled, closed and destroyed while it waits to try again. */
        memset(&ended, 0, sizeof ended);
        fill_queue(context, &at[1]);
        START(weir_datagram_send_to(one, "y", 1, AT(&at[1]), io_done, &ended));
        CHECK_OK(weir_datagram_cancel(one, &count));
        CHECK_EQ(count, 1);
        RUN_CALLS(context, ended, 1);
        CHECK_DONE(ended, WEIR_ECANCELED, 0);
        START(weir_datagram_send_to(one, "y", 1, AT(&at[1]), io_done, &ended));
        CHECK_OK(weir_datagram_close(one));
        RUN_CALLS(context, ended, 2);
        one = new_datagram(context);
        CHECK_OK(weir_datagram_open(one, AF_UNIX));
        settle(context);
        START(weir_datagram_send_to(one, "y", 1, AT(&at[1]), io_done, &ended));
        CHECK_OK(weir_context_destroy(context));
        CHECK_EQ(ended.calls, 3);
        CHECK_EQ(ended.status, WEIR_ECANCELED);
    }
}

/* ---- many threads */

#define ROUNDS 2000

struct busy {
    weir_datagram *datagram;
    atomic_size_t got, sent;
    atomic_bool ending;
    char data[8];
};

static void receive_more(int status, size_t bytes, void *user)
{
    struct busy *busy = user;
    if (status == WEIR_ECANCELED)
        return;
    CHECK_OK(status);
    CHECK_EQ(bytes, 4);
    if (++busy->got < many(ROUNDS))
        CHECK_OK(weir_datagram_receive(busy->datagram, busy->data, 8, receive_more, busy));
}

static void send_more(int status, size_t bytes, void *user)
{
    struct busy *busy = user;
    CHECK_OK(status);
    CHECK_EQ(bytes, 4);
    if (++busy->sent < many(ROUNDS))
        CHECK_OK(weir_datagram_send(busy->datagram, "1234", 4, send_more, busy));
}

TEST(four_threads_lose_nothing)
{
    weir_context *context = new_context();
    weir_datagram *ends[2];
    static struct busy busy[2];
    CHECK_OK(weir_datagram_pair(context, &ends[0], &ends[1]));
    for (int i = 0; i < 2; i++) {
        busy[i].datagram = ends[i];
        CHECK_OK(weir_datagram_receive(ends[i], busy[i].data, 8, receive_more, &busy[i]));
        CHECK_OK(weir_datagram_send(ends[i], "1234", 4, send_more, &busy[i]));
    }
    pthread_t threads[4];
    for (int i = 0; i < 4; i++)
        threads[i] = start_thread(run_thread, context);
    for (int i = 0; i < 4; i++)
        join_thread(threads[i]);
    for (int i = 0; i < 2; i++) {
        CHECK_EQ(busy[i].got, many(ROUNDS));
        CHECK_EQ(busy[i].sent, many(ROUNDS));
    }
    CHECK_OK(weir_context_destroy(context));
}

/* By a manual clock. */
static void pass(weir_context *context, int64_t time)
{
    CHECK_OK(weir_context_advance(context, time));
    for (int turns = 0; turns < 3; turns++)
        CHECK_OK(weir_context_poll(context, NULL));
    if (weir_context_stopped(context) == 1)
        CHECK_OK(weir_context_restart(context));
}

/* Sends that were cancelled while they waited to try again leave nothing behind that tries for later ones too. */
TEST(cancelled_sends_do_not_make_the_next_try_more_often)
{
    enum { CANCELLED = 20 };
    weir_context *context = new_context_with(WEIR_CONTEXT_MANUAL_CLOCK | WEIR_CONTEXT_MEASURE, 0);
    struct where at[2];
    weir_datagram *one = bound(context, AF_UNIX, "one", &at[0]), *two = bound(context, AF_UNIX, "two", &at[1]);
    size_t count = 0, queued = fill_queue(context, &at[1]);
    struct counter sent = {0};
    for (int i = 0; i < CANCELLED; i++) {
        START(weir_datagram_send_to(one, "y", 1, AT(&at[1]), io_done, &sent));
        CHECK_OK(weir_datagram_cancel(one, &count));
        CHECK_EQ(count, 1);
        CHECK_OK(weir_context_poll(context, NULL));
        CHECK_EQ(sent.calls, i + 1);
        CHECK_OK(weir_context_restart(context));
        pass(context, CHECK_MS / 5);
    }
    START(weir_datagram_send_to(one, "y", 1, AT(&at[1]), io_done, &sent));
    weir_stats before = {.struct_size = sizeof before}, after = before;
    CHECK_OK(weir_context_stats(context, &before));
    for (int i = 0; i < 100; i++)
        pass(context, CHECK_MS / 5);
    CHECK_OK(weir_context_stats(context, &after));
    CHECK(after.writes > before.writes);
    CHECK(after.writes - before.writes <= 5); /* in 20 ms */
    CHECK_EQ(sent.calls, CANCELLED);
    empty_queue(two, queued);
    pass(context, 5 * CHECK_MS);
    CHECK_EQ(sent.calls, CANCELLED + 1);
    CHECK_OK(atomic_load(&sent.status));
    CHECK_OK(weir_context_destroy(context));
}

TEST_MAIN()
