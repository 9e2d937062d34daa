/* Writes that are queued. */
#include "net.h"

static const int families[] = {AF_INET, AF_UNIX};

/* The order in which completions come. */
struct order {
    int next;
};

struct entry {
    struct order *order;
    int number, status;
    atomic_int calls;
    size_t bytes;
};

static void entry_done(int status, size_t bytes, void *user)
{
    struct entry *entry = user;
    CHECK(!net_starting);
    CHECK_EQ(entry->order->next, entry->number);
    entry->order->next++;
    entry->status = status;
    entry->bytes = bytes;
    entry->calls++;
}

struct drainer {
    int peer;
    size_t total;
    uint32_t sum;
};

static void *drain_body(void *user)
{
    struct drainer *drainer = user;
    unsigned char block[16384];
    for (ssize_t got; (got = recv(drainer->peer, block, sizeof block, 0)) != 0;) {
        CHECK(got > 0);
        for (ssize_t i = 0; i < got; i++)
            drainer->sum = drainer->sum * 31 + block[i];
        drainer->total += (size_t)got;
    }
    return NULL;
}

TEST(queued_writes_arrive_whole_and_complete_in_order)
{
    enum { ENTRIES = 500 };
    static struct entry entries[ENTRIES];
    static unsigned char data[70000];
    for (size_t i = 0; i < sizeof data; i++)
        data[i] = (unsigned char)(i * 13 + i / 256);
    weir_context *context = new_context();
    for (int f = 0; f < 2; f++) {
        struct pair pair = new_pair(context, families[f]);
        struct order order = {0};
        uint32_t sum = 0;
        size_t total = 0, queued = 77;
        for (int i = 0; i < ENTRIES; i++) {
            /* Empty, small and large ones. */
            size_t length = i % 7 == 3 ? 0 : i % 11 == 5 ? 70000 : (size_t)i * 3 % 100 + 1;
            memset(&entries[i], 0, sizeof entries[i]);
            entries[i].order = &order;
            entries[i].number = i;
            START(weir_stream_send(pair.stream, data, length, entry_done, &entries[i]));
            CHECK_EQ(entries[i].calls, 0);
            for (size_t at = 0; at < length; at++)
                sum = sum * 31 + data[at];
            total += length;
        }
        struct drainer drainer = {pair.peer, 0, 0};
        pthread_t thread = start_thread(drain_body, &drainer);
        RUN_UNTIL(context, order.next == ENTRIES);
        for (int i = 0; i < ENTRIES; i++) {
            CHECK_EQ(entries[i].calls, 1);
            CHECK_OK(entries[i].status);
        }
        CHECK_OK(weir_stream_queued(pair.stream, &queued));
        CHECK_EQ(queued, 0);
        CHECK_OK(weir_stream_close(pair.stream));
        join_thread(thread);
        CHECK_EQ(drainer.total, total);
        CHECK_EQ(drainer.sum, sum);
        close(pair.peer);
    }
    CHECK_OK(weir_context_destroy(context));
}

/* What is written completes, though the queue is not empty. */
TEST(a_queued_write_completes_before_those_behind_it)
{
    weir_context *context = new_context();
    size_t filled;
    struct pair pair = blocked_pair(context, AF_UNIX, WRITE, &filled);
    static char data[8 << 20];
    struct counter first = {0}, second = {0};
    START(weir_stream_send(pair.stream, data, 10, io_done, &first));
    START(weir_stream_send(pair.stream, data, sizeof data, io_done, &second));
    settle(context);
    CHECK_EQ(first.calls + second.calls, 0);
    drain(pair.peer, filled);
    RUN_CALLS(context, first, 1);
    CHECK_DONE(first, 0, 10);
    settle(context);
    CHECK_EQ(second.calls, 0);
    close_pair(&pair);
    RUN_CALLS(context, second, 1);
    CHECK_CODE(second.status, WEIR_ECANCELED);
    CHECK_OK(weir_context_destroy(context));
}

/* Sends from the callback of a send, until the number is reached. */
struct chain {
    weir_stream *stream;
    int left;
    char byte;
};

static void send_next(int status, size_t bytes, void *user)
{
    struct chain *chain = user;
    CHECK_OK(status);
    CHECK_EQ(bytes, 1);
    if (--chain->left > 0)
        CHECK_OK(weir_stream_send(chain->stream, &chain->byte, 1, send_next, chain));
}

TEST(a_callback_may_queue_the_next_write)
{
    weir_context *context = new_context();
    struct pair pair = new_pair(context, AF_INET);
    struct chain chain = {pair.stream, 1000, 'x'};
    START(weir_stream_send(pair.stream, &chain.byte, 1, send_next, &chain));
    CHECK_OK(weir_context_run(context, NULL));
    CHECK_EQ(chain.left, 0);
    CHECK_OK(weir_stream_close(pair.stream));
    CHECK_EQ(receive_to_end(pair.peer), 1000);
    close(pair.peer);
    CHECK_OK(weir_context_destroy(context));
}

/* H26: the queue and a plain write do not mix. */
TEST(h26_the_queue_shares_the_direction_with_plain_writes)
{
    weir_context *context = new_context();
    size_t filled;
    struct pair pair = blocked_pair(context, AF_UNIX, WRITE, &filled);
    struct operation writing;
    struct counter sent = {0}, read = {0};
    char byte;
    size_t pending = 0, queued = 0;
    START(weir_stream_send(pair.stream, "abc", 3, io_done, &sent));
    START(weir_stream_send(pair.stream, "de", 2, io_done, &sent));
    CHECK_OK(weir_stream_queued(pair.stream, &queued));
    CHECK_EQ(queued, 5);
    CHECK_OK(weir_handle_pending(pair.stream, &pending));
    CHECK_EQ(pending, 2);
    for (enum kind kind = WRITE_SOME; kind <= WAIT_WRITE; kind++)
        START_CODE(begin(kind, pair.stream, &writing), WEIR_EBUSY);
    START(weir_stream_read(pair.stream, &byte, 1, io_done, &read)); /* the other direction is free */
    unblock(&pair, WRITE, filled);
    RUN_CALLS(context, sent, 2);
    CHECK_EQ(sent.bytes, 5);
    drain(pair.peer, 5);
    filled = fill(pair.stream);
    START(begin(WRITE, pair.stream, &writing));
    START_CODE(weir_stream_send(pair.stream, "x", 1, io_done, &sent), WEIR_EBUSY);
    unblock(&pair, WRITE, filled);
    RUN_CALLS(context, writing.counter, 1);
    START(weir_stream_send(pair.stream, "x", 1, io_done, &sent));
    RUN_CALLS(context, sent, 3);
    close_pair(&pair);
    RUN_CALLS(context, read, 1);
    CHECK_OK(weir_context_destroy(context));
}

/* H24: each entry that is left completes once with what moved of it, however it ends. */
TEST(h24_every_queued_write_ends_once_with_what_moved)
{
    enum { ENTRIES = 40, LENGTH = 1 << 20 };
    static struct entry entries[ENTRIES];
    static char data[LENGTH];
    for (int f = 0; f < 2; f++) {
        for (int how = 0; how < 5; how++) {
            weir_context *context = new_context_with(WEIR_CONTEXT_MANUAL_CLOCK, 0);
            struct pair pair = new_small_pair(context, families[f]);
            struct order order = {0};
            size_t count = 0, moved = 0;
            CHECK_OK(weir_stream_set_timeout(pair.stream, WEIR_WAIT_WRITE, CHECK_SECOND));
            memset(entries, 0, sizeof entries);
            for (int i = 0; i < ENTRIES; i++) {
                entries[i].order = &order;
                entries[i].number = i;
                START(weir_stream_send(pair.stream, data, i == 0 ? 10 : LENGTH, entry_done, &entries[i]));
            }
            settle(context);
            CHECK(order.next >= 1 && order.next < ENTRIES);
            int first = order.next, want = WEIR_ECANCELED;
            if (how == 0) {
                CHECK_OK(weir_stream_cancel(pair.stream, &count));
                CHECK_EQ(count, ENTRIES - first);
            } else if (how == 1) {
                CHECK_OK(weir_stream_close(pair.stream));
            } else if (how == 2) {
                CHECK_OK(weir_context_destroy(context));
            } else if (how == 3) {
                CHECK_OK(weir_context_advance(context, CHECK_SECOND));
                want = WEIR_ETIMEDOUT;
            } else {
                reset_and_close(pair.peer);
                want = families[f] == AF_UNIX ? -EPIPE : -ECONNRESET;
            }
            if (how != 2)
                RUN_UNTIL(context, order.next == ENTRIES);
            CHECK_EQ(order.next, ENTRIES);
            for (int i = 0; i < ENTRIES; i++) {
                CHECK_EQ(entries[i].calls, 1);
                if (i >= first + (how == 3)) /* (one more may have been written meanwhile) */
                    CHECK_CODE(entries[i].status, want);
                moved += entries[i].bytes;
            }
            CHECK(moved >= 10);
            if (how == 0) {
                /* The queue is as new. */
                struct entry again = {.order = &order, .number = ENTRIES};
                drain(pair.peer, moved);
                START(weir_stream_send(pair.stream, data, 5, entry_done, &again));
                RUN_UNTIL(context, order.next == ENTRIES + 1);
                CHECK_OK(again.status);
                moved = 5;
            }
            if (how != 1 && how != 2)
                CHECK_OK(weir_stream_close(pair.stream));
            if (how != 4) {
                CHECK_EQ(receive_to_end(pair.peer), moved);
                close(pair.peer);
            }
            if (how != 2)
                CHECK_OK(weir_context_destroy(context));
        }
    }
}

/* H34: a large queue does not keep a posted function waiting until it is written. */
static atomic_int posts_while_writing;
static weir_context *posting_context;
static struct counter writing;

static void post_again(int status, void *user)
{
    (void)user;
    if (status != 0 || atomic_load(&writing.calls) == 16)
        return;
    atomic_fetch_add(&posts_while_writing, 1);
    CHECK_OK(weir_context_post(posting_context, post_again, NULL));
}

TEST(h34_a_large_queue_lets_others_run_in_between)
{
    enum { LENGTH = 1 << 20 };
    static char data[LENGTH];
    weir_context *context = posting_context = new_context();
    size_t filled;
    struct pair pair = blocked_pair(context, AF_UNIX, WRITE, &filled);
    for (int i = 0; i < 16; i++)
        START(weir_stream_send(pair.stream, data, LENGTH, io_done, &writing));
    settle(context);
    CHECK_EQ(writing.calls, 0);
    /* Room for all of it at once, where that is allowed. */
    int room = 64 * LENGTH;
    setsockopt(pair.fd, SOL_SOCKET, SO_SNDBUFFORCE, &room, sizeof room);
    struct drainer drainer = {pair.peer, 0, 0};
    drain(pair.peer, filled);
    CHECK_OK(weir_context_post(context, post_again, NULL));
    pthread_t thread = start_thread(drain_body, &drainer);
    RUN_CALLS(context, writing, 16);
    CHECK_EQ(writing.bytes, 16 * (size_t)LENGTH);
    CHECK(atomic_load(&posts_while_writing) >= 4);
    CHECK_OK(weir_stream_close(pair.stream));
    join_thread(thread);
    CHECK_EQ(drainer.total, 16 * (size_t)LENGTH);
    close(pair.peer);
    CHECK_OK(weir_context_destroy(context));
}

static weir_stream *closed_here;

static void close_in_callback(int status, size_t bytes, void *user)
{
    int code = weir_stream_close(closed_here);
    CHECK(code == 0 || code == WEIR_EBADF);
    io_done(status, bytes, user);
}

TEST(a_stream_may_be_closed_in_the_callback_of_a_queued_write)
{
    weir_context *context = new_context();
    struct pair pair = new_small_pair(context, AF_UNIX);
    static char data[1 << 20];
    struct counter counter = {0};
    closed_here = pair.stream;
    START(weir_stream_send(pair.stream, data, 1, close_in_callback, &counter));
    for (int i = 0; i < 9; i++)
        START(weir_stream_send(pair.stream, data, sizeof data, close_in_callback, &counter));
    RUN_CALLS(context, counter, 10);
    settle(context);
    CHECK_EQ(counter.calls, 10);
    CHECK_EQ(receive_to_end(pair.peer), counter.bytes);
    close(pair.peer);
    CHECK_OK(weir_context_destroy(context));
}

/* What a mark tells. */
struct told {
    int calls, status[8];
    size_t bytes[8];
};

static void mark_done(int status, size_t bytes, void *user)
{
    struct told *told = user;
    CHECK(!net_starting);
    CHECK(told->calls < 8);
    told->status[told->calls] = status;
    told->bytes[told->calls++] = bytes;
}

TEST(the_mark_tells_of_each_rise_and_fall_once)
{
    weir_context *context = new_context();
    size_t filled;
    struct pair pair = blocked_pair(context, AF_UNIX, WRITE, &filled);
    struct told told = {0}, other = {0};
    struct counter sent = {0};
    static char data[1000];
    START(weir_stream_set_high_water(pair.stream, 2500, 1000, mark_done, &told));
    CHECK_OK(weir_context_run(context, NULL)); /* it is no work */
    for (int i = 0; i < 2; i++)
        START(weir_stream_send(pair.stream, data, 1000, io_done, &sent));
    settle(context);
    CHECK_EQ(told.calls, 0);
    for (int i = 0; i < 3; i++)
        START(weir_stream_send(pair.stream, data, 1000, io_done, &sent));
    RUN_UNTIL(context, told.calls == 1);
    CHECK_OK(told.status[0]);
    CHECK_EQ(told.bytes[0], 3000);
    settle(context);
    CHECK_EQ(told.calls, 1);
    drain(pair.peer, filled);
    RUN_CALLS(context, sent, 5);
    RUN_UNTIL(context, told.calls == 2);
    CHECK_OK(told.status[1]);
    CHECK(told.bytes[1] <= 1000);
    drain(pair.peer, 5000);
    /* Again, and a cancel makes it fall. */
    filled = fill(pair.stream);
    for (int i = 0; i < 3; i++)
        START(weir_stream_send(pair.stream, data, 1000, io_done, &sent));
    RUN_UNTIL(context, told.calls == 3);
    CHECK(told.bytes[2] > 2500);
    CHECK_OK(weir_stream_cancel(pair.stream, NULL));
    RUN_UNTIL(context, told.calls == 4);
    CHECK_OK(told.status[3]);
    CHECK_EQ(told.bytes[3], 0);
    RUN_CALLS(context, sent, 8);
    /* Another mark ends this one; close ends the other. */
    START(weir_stream_set_high_water(pair.stream, 1, 0, mark_done, &other));
    RUN_UNTIL(context, told.calls == 5);
    CHECK_CODE(told.status[4], WEIR_ECANCELED);
    START(weir_stream_send(pair.stream, data, 1000, io_done, &sent));
    RUN_UNTIL(context, other.calls == 1);
    CHECK_OK(weir_stream_close(pair.stream));
    RUN_UNTIL(context, other.calls == 3 && sent.calls == 9);
    settle(context);
    CHECK_EQ(other.calls, 3);
    CHECK_OK(other.status[1]); /* the close has emptied the queue */
    CHECK_EQ(other.bytes[1], 0);
    CHECK_CODE(other.status[2], WEIR_ECANCELED);
    CHECK_EQ(told.calls, 5);
    close(pair.peer);
    CHECK_OK(weir_context_destroy(context));
}

TEST(a_mark_is_taken_away_and_ends_with_the_context)
{
    weir_context *context = new_context();
    struct pair pair = new_pair(context, AF_INET), second = new_pair(context, AF_INET);
    struct told told = {0}, last = {0};
    START(weir_stream_set_high_water(pair.stream, 0, 0, mark_done, &told)); /* there was none */
    START(weir_stream_set_high_water(pair.stream, 10, 10, mark_done, &told));
    START(weir_stream_set_high_water(pair.stream, 0, 0, NULL, NULL));
    START(weir_stream_set_high_water(second.stream, 10, 10, mark_done, &last));
    RUN_UNTIL(context, told.calls == 1);
    CHECK_CODE(told.status[0], WEIR_ECANCELED);
    CHECK_OK(weir_context_destroy(context));
    CHECK_EQ(told.calls, 1);
    CHECK_EQ(last.calls, 1);
    CHECK_CODE(last.status[0], WEIR_ECANCELED);
    close(pair.peer);
    close(second.peer);
}

TEST(queued_writes_as_records_and_in_a_strand)
{
    weir_context *context = new_context();
    struct pair pair = new_pair(context, AF_INET);
    weir_strand *strand;
    weir_record records[4];
    char users[3];
    size_t count = 0, all = 0;
    CHECK_OK(weir_strand_create(context, &strand));
    CHECK_OK(weir_handle_set_strand(pair.stream, strand));
    for (int i = 0; i < 3; i++)
        START(weir_stream_send(pair.stream, "abc", 3, NULL, &users[i]));
    while (all < 3) {
        CHECK_OK(weir_context_reap(context, records, 1, 30 * CHECK_SECOND, &count));
        CHECK_EQ(count, 1);
        CHECK(records[0].user == &users[all]);
        CHECK_EQ(records[0].kind, WEIR_OP_WRITE);
        CHECK_OK(records[0].status);
        CHECK_EQ(records[0].value, 3);
        all++;
    }
    close_pair(&pair);
    CHECK_OK(weir_context_destroy(context));
}

/* Two threads queue on one stream while two run: each completes once, and every byte arrives. */
struct sender {
    weir_stream *stream;
    struct counter counter;
    size_t sends;
};

static void *send_body(void *user)
{
    struct sender *sender = user;
    static const char data[64];
    for (size_t i = 0; i < sender->sends; i++)
        CHECK_OK(weir_stream_send(sender->stream, data, i % 64 + 1, count_io, &sender->counter));
    return NULL;
}

static void *run_body(void *user)
{
    CHECK_OK(weir_context_run(user, NULL));
    return NULL;
}

TEST(two_threads_queue_on_one_stream)
{
    weir_context *context = new_context_with(0, 2);
    struct pair pair = new_small_pair(context, AF_UNIX);
    struct sender senders[2];
    memset(senders, 0, sizeof senders);
    CHECK_OK(weir_context_work_begin(context));
    struct drainer drainer = {pair.peer, 0, 0};
    pthread_t draining = start_thread(drain_body, &drainer);
    pthread_t runners[2] = {start_thread(run_body, context), start_thread(run_body, context)}, threads[2];
    for (int i = 0; i < 2; i++) {
        senders[i].stream = pair.stream;
        senders[i].sends = many(20000);
        threads[i] = start_thread(send_body, &senders[i]);
    }
    for (int i = 0; i < 2; i++)
        join_thread(threads[i]);
    CHECK_OK(weir_context_work_end(context));
    for (int i = 0; i < 2; i++)
        join_thread(runners[i]);
    CHECK_OK(weir_stream_close(pair.stream));
    join_thread(draining);
    for (int i = 0; i < 2; i++) {
        CHECK_EQ(senders[i].counter.calls, (long long)senders[i].sends);
        CHECK_OK(senders[i].counter.status);
    }
    CHECK_EQ(drainer.total, senders[0].counter.bytes + senders[1].counter.bytes);
    close(pair.peer);
    CHECK_OK(weir_context_destroy(context));
}

TEST_MAIN()
