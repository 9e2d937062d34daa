/* Time limits of a stream's operations. The clock is manual in most cases, so that nothing depends on the machine. */
#include "net.h"

#define LIMIT (5 * CHECK_SECOND)

static weir_context *manual_context(void)
{
    return new_context_with(WEIR_CONTEXT_MANUAL_CLOCK, 0);
}

static void advance(weir_context *context, int64_t by)
{
    CHECK_OK(weir_context_advance(context, by));
    settle(context);
}

TEST(an_operation_of_any_kind_times_out_and_the_next_one_works)
{
    static const int families[] = {AF_INET, AF_UNIX};
    weir_context *context = manual_context();
    for (int f = 0; f < 2; f++) {
        for (enum kind kind = 0; kind < KINDS; kind++) {
            /* TCP may take a few bytes more when it is asked once more at the end. */
            if (families[f] == AF_INET && !is_read(kind))
                continue;
            size_t filled;
            struct pair pair = blocked_pair(context, families[f], kind, &filled);
            struct operation first, second;
            CHECK_OK(weir_stream_set_timeout(pair.stream, WEIR_WAIT_READ | WEIR_WAIT_WRITE, LIMIT));
            START(begin(kind, pair.stream, &first));
            settle(context);
            advance(context, LIMIT - 1);
            CHECK_EQ(first.counter.calls, 0);
            advance(context, 1);
            RUN_CALLS(context, first.counter, 1);
            CHECK_DONE(first.counter, WEIR_ETIMEDOUT, 0);
            /* Nothing lingers: the next one has its whole time, and completes. */
            START(begin(kind, pair.stream, &second));
            advance(context, LIMIT - 1);
            CHECK_EQ(second.counter.calls, 0);
            unblock(&pair, kind, filled);
            RUN_CALLS(context, second.counter, 1);
            CHECK_DONE(second.counter, 0, bytes_of(kind));
            CHECK_EQ(first.counter.calls, 1);
            close_pair(&pair);
        }
    }
    CHECK_OK(weir_context_destroy(context));
}

/* H24: what moved is counted, and each byte gives the whole time again. */
TEST(h24_a_timeout_tells_the_bytes_that_moved)
{
    weir_context *context = manual_context();
    struct pair pair = new_pair(context, AF_INET);
    struct operation reading;
    CHECK_OK(weir_stream_set_timeout(pair.stream, WEIR_WAIT_READ, LIMIT));
    START(begin(READ, pair.stream, &reading));
    for (int i = 0; i < 5; i++) {
        advance(context, LIMIT - 1);
        CHECK_EQ(reading.counter.calls, 0);
        send_all(pair.peer, "x", 1);
        await_events(pair.fd, POLLIN);
        settle(context);
    }
    advance(context, LIMIT);
    RUN_CALLS(context, reading.counter, 1);
    CHECK_DONE(reading.counter, WEIR_ETIMEDOUT, 5);
    close_pair(&pair);
    CHECK_OK(weir_context_destroy(context));
}

TEST(h24_a_write_that_times_out_tells_the_bytes_that_moved)
{
    weir_context *context = manual_context();
    struct pair pair = new_small_pair(context, AF_UNIX);
    static char block[1 << 22];
    struct counter counter = {0};
    CHECK_OK(weir_stream_set_timeout(pair.stream, WEIR_WAIT_WRITE, LIMIT));
    START(weir_stream_write(pair.stream, block, sizeof block, io_done, &counter));
    settle(context);
    advance(context, LIMIT);
    RUN_CALLS(context, counter, 1);
    CHECK_CODE(counter.status, WEIR_ETIMEDOUT);
    CHECK(counter.bytes > 0 && counter.bytes < sizeof block);
    CHECK_OK(weir_stream_close(pair.stream));
    CHECK_EQ(receive_to_end(pair.peer), counter.bytes);
    close(pair.peer);
    CHECK_OK(weir_context_destroy(context));
}

/* H24: the data is there when the time is over, though nobody has looked. */
TEST(h24_what_is_ready_wins_over_the_timeout)
{
    weir_context *context = manual_context();
    for (int i = 0; i < 50; i++) {
        struct pair pair = new_pair(context, AF_INET);
        struct operation reading;
        CHECK_OK(weir_stream_set_timeout(pair.stream, WEIR_WAIT_READ, LIMIT));
        START(begin(READ, pair.stream, &reading));
        settle(context);
        send_all(pair.peer, "12345678", 8);
        await_events(pair.fd, POLLIN);
        CHECK_OK(weir_context_advance(context, LIMIT));
        RUN_CALLS(context, reading.counter, 1);
        CHECK_DONE(reading.counter, 0, 8);
        close_pair(&pair);
    }
    CHECK_OK(weir_context_destroy(context));
}

static int late_peer;

static void send_late(int status, void *user)
{
    CHECK_OK(status);
    send_all(late_peer, "12345678", 8);
    count_call(status, user);
}

/* H24: the data comes after the turn of the reactor that has found the time to be over. */
TEST(h24_what_comes_in_the_last_moment_wins_over_the_timeout)
{
    weir_context *context = manual_context();
    struct pair pair = new_pair(context, AF_UNIX);
    weir_timer *timer = new_timer(context);
    struct operation reading;
    struct counter counter = {0};
    late_peer = pair.peer;
    CHECK_OK(weir_stream_set_timeout(pair.stream, WEIR_WAIT_READ, LIMIT));
    START(begin(READ, pair.stream, &reading));
    CHECK_OK(weir_timer_expires_after(timer, LIMIT - 1)); /* due just before */
    START(weir_timer_wait(timer, send_late, &counter));
    settle(context);
    CHECK_OK(weir_context_advance(context, LIMIT));
    RUN_CALLS(context, reading.counter, 1);
    CHECK_DONE(reading.counter, 0, 8);
    close_pair(&pair);
    CHECK_OK(weir_context_destroy(context));
}

TEST(a_limit_may_change_while_an_operation_is_pending)
{
    weir_context *context = manual_context();
    struct pair pair = new_pair(context, AF_INET);
    struct operation reading;
    START(begin(READ, pair.stream, &reading));
    advance(context, LIMIT);
    CHECK_OK(weir_stream_set_timeout(pair.stream, WEIR_WAIT_READ, 2 * LIMIT)); /* measured from here */
    advance(context, LIMIT);
    CHECK_OK(weir_stream_set_timeout(pair.stream, WEIR_WAIT_READ, LIMIT)); /* earlier than before */
    advance(context, LIMIT / 2);
    CHECK_OK(weir_stream_set_timeout(pair.stream, WEIR_WAIT_READ, WEIR_FOREVER));
    advance(context, 1000 * LIMIT);
    CHECK_EQ(reading.counter.calls, 0);
    CHECK_OK(weir_stream_set_timeout(pair.stream, WEIR_WAIT_READ, 1));
    advance(context, 1);
    RUN_CALLS(context, reading.counter, 1);
    CHECK_DONE(reading.counter, WEIR_ETIMEDOUT, 0);
    /* 0: only what is there. */
    CHECK_OK(weir_stream_set_timeout(pair.stream, WEIR_WAIT_READ, 0));
    START(begin(READ, pair.stream, &reading));
    RUN_CALLS(context, reading.counter, 1);
    CHECK_DONE(reading.counter, WEIR_ETIMEDOUT, 0);
    send_all(pair.peer, "12345678", 8);
    await_events(pair.fd, POLLIN);
    settle(context);
    START(begin(READ, pair.stream, &reading));
    RUN_CALLS(context, reading.counter, 1);
    CHECK_DONE(reading.counter, 0, 8);
    close_pair(&pair);
    CHECK_OK(weir_context_destroy(context));
}

TEST(the_directions_have_limits_of_their_own)
{
    weir_context *context = manual_context();
    size_t filled;
    struct pair pair = blocked_pair(context, AF_UNIX, WRITE, &filled);
    struct operation reading, writing;
    CHECK_OK(weir_stream_set_timeout(pair.stream, WEIR_WAIT_READ, 3 * LIMIT));
    CHECK_OK(weir_stream_set_timeout(pair.stream, WEIR_WAIT_WRITE, LIMIT));
    START(begin(READ, pair.stream, &reading));
    START(begin(WRITE, pair.stream, &writing));
    advance(context, LIMIT);
    RUN_CALLS(context, writing.counter, 1);
    CHECK_DONE(writing.counter, WEIR_ETIMEDOUT, 0);
    advance(context, 2 * LIMIT - 1);
    CHECK_EQ(reading.counter.calls, 0);
    advance(context, 1);
    RUN_CALLS(context, reading.counter, 1);
    CHECK_DONE(reading.counter, WEIR_ETIMEDOUT, 0);
    close_pair(&pair);
    CHECK_OK(weir_context_destroy(context));
}

TEST(a_timeout_is_told_from_a_cancel_and_neither_comes_twice)
{
    weir_context *context = manual_context();
    struct pair pair = new_pair(context, AF_INET);
    struct operation reading;
    size_t count = 9;
    CHECK_OK(weir_stream_set_timeout(pair.stream, WEIR_WAIT_READ, LIMIT));
    START(begin(READ, pair.stream, &reading));
    CHECK_OK(weir_stream_cancel(pair.stream, &count));
    CHECK_EQ(count, 1);
    advance(context, LIMIT);
    CHECK_DONE(reading.counter, WEIR_ECANCELED, 0);
    START(begin(READ, pair.stream, &reading));
    settle(context);
    CHECK_OK(weir_context_advance(context, LIMIT));
    CHECK_OK(weir_context_poll(context, NULL));
    CHECK_OK(weir_stream_cancel(pair.stream, &count));
    RUN_CALLS(context, reading.counter, 1);
    settle(context);
    CHECK_DONE(reading.counter, WEIR_ETIMEDOUT, 0);
    CHECK_EQ(count, 0);
    close_pair(&pair);
    CHECK_OK(weir_context_destroy(context));
}

/* A limit by itself is no work, and keeps nothing alive. */
TEST(a_limit_does_not_keep_run_going)
{
    weir_context *context = new_context();
    struct pair pair = new_pair(context, AF_INET);
    struct operation reading;
    CHECK_OK(weir_stream_set_timeout(pair.stream, WEIR_WAIT_READ, 1000 * CHECK_SECOND));
    CHECK_OK(weir_context_run(context, NULL));
    CHECK_OK(weir_context_restart(context));
    START(begin(READ, pair.stream, &reading));
    settle(context);
    send_all(pair.peer, "12345678", 8);
    CHECK_OK(weir_context_run(context, NULL)); /* returns though the timer is armed */
    CHECK_DONE(reading.counter, 0, 8);
    close_pair(&pair);
    CHECK_OK(weir_context_destroy(context));
}

TEST(close_and_destroy_end_the_limit_with_the_stream)
{
    for (int armed = 0; armed < 2; armed++) {
        for (int closing = 0; closing < 3; closing++) {
            weir_context *context = manual_context();
            struct pair pair = new_pair(context, AF_INET);
            struct operation reading = {0};
            CHECK_OK(weir_stream_set_timeout(pair.stream, WEIR_WAIT_READ, LIMIT));
            if (armed) {
                START(begin(READ, pair.stream, &reading));
                settle(context);
                if (closing == 2) /* with the expiry on its way */
                    CHECK_OK(weir_context_advance(context, LIMIT));
            }
            if (closing == 1) {
                CHECK_OK(weir_stream_close(pair.stream));
                settle(context);
                advance(context, LIMIT);
            }
            CHECK_OK(weir_context_destroy(context));
            if (armed)
                CHECK_DONE(reading.counter, WEIR_ECANCELED, 0);
            close(pair.peer);
        }
    }
}

static weir_stream *closed_here;

static void close_in_callback(int status, size_t bytes, void *user)
{
    CHECK_OK(weir_stream_close(closed_here));
    io_done(status, bytes, user);
}

TEST(a_stream_may_be_closed_in_the_callback_of_its_timeout)
{
    weir_context *context = manual_context();
    struct pair pair = new_pair(context, AF_INET);
    struct counter counter = {0};
    char byte;
    closed_here = pair.stream;
    CHECK_OK(weir_stream_set_timeout(pair.stream, WEIR_WAIT_READ | WEIR_WAIT_WRITE, LIMIT));
    START(weir_stream_read(pair.stream, &byte, 1, close_in_callback, &counter));
    settle(context);
    advance(context, LIMIT);
    RUN_CALLS(context, counter, 1);
    CHECK_DONE(counter, WEIR_ETIMEDOUT, 0);
    CHECK_CODE(weir_stream_close(pair.stream), WEIR_EBADF);
    close(pair.peer);
    CHECK_OK(weir_context_destroy(context));
}

TEST(a_connect_times_out_and_its_socket_is_closed)
{
    weir_context *context = manual_context();
    struct where where;
    int listener = plain_listener(AF_INET, 0, &where), waiting[64], used = 0;
    /* Until the listener's queue is full and the kernel leaves further ones without an answer. */
    for (; used < 64; used++) {
        waiting[used] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        CHECK(waiting[used] >= 0);
        connect(waiting[used], AT(&where));
        struct pollfd asked = {waiting[used], POLLOUT, 0};
        if (poll(&asked, 1, 100) == 0)
            break;
    }
    CHECK(used < 64);
    weir_stream *stream = new_stream(context);
    struct counter counter = {0};
    int fd;
    CHECK_OK(weir_stream_set_timeout(stream, WEIR_WAIT_WRITE, LIMIT));
    START(weir_stream_connect(stream, AT(&where), done, &counter));
    settle(context);
    CHECK_EQ(counter.calls, 0);
    advance(context, LIMIT);
    RUN_CALLS(context, counter, 1);
    CHECK_DONE(counter, WEIR_ETIMEDOUT, 0);
    CHECK_CODE(weir_stream_fd(stream, &fd), WEIR_ENOTCONN);
    for (int i = 0; i <= used; i++)
        close(waiting[i]);
    close(listener);
    CHECK_OK(weir_context_destroy(context));
}

TEST(a_timeout_as_a_record_and_in_a_strand)
{
    weir_context *context = manual_context();
    struct pair pair = new_pair(context, AF_INET);
    weir_strand *strand;
    weir_record record;
    size_t count = 0;
    char byte;
    CHECK_OK(weir_strand_create(context, &strand));
    CHECK_OK(weir_handle_set_strand(pair.stream, strand));
    CHECK_OK(weir_stream_set_timeout(pair.stream, WEIR_WAIT_READ, LIMIT));
    START(weir_stream_read(pair.stream, &byte, 1, NULL, &byte));
    CHECK_OK(weir_context_reap(context, &record, 1, 0, &count));
    CHECK_EQ(count, 0);
    CHECK_OK(weir_context_advance(context, LIMIT));
    CHECK_OK(weir_context_reap(context, &record, 1, 30 * CHECK_SECOND, &count));
    CHECK_EQ(count, 1);
    CHECK(record.user == &byte);
    CHECK_EQ(record.kind, WEIR_OP_READ);
    CHECK_CODE(record.status, WEIR_ETIMEDOUT);
    close_pair(&pair);
    CHECK_OK(weir_context_destroy(context));
}

/* With the real clock: never early. */
/* A time limit that is over does not touch the direction in which nothing is pending, not even at the end of time: what
 * was complete there completed once more. */
TEST(at_the_end_of_time_only_what_is_pending_times_out)
{
    weir_context *context = manual_context();
    struct pair pair = new_pair(context, AF_UNIX);
    struct operation writing, reading;
    CHECK_OK(weir_stream_set_timeout(pair.stream, WEIR_WAIT_READ | WEIR_WAIT_WRITE, LIMIT));
    START(begin(WRITE, pair.stream, &writing));
    RUN_CALLS(context, writing.counter, 1);
    START(begin(READ, pair.stream, &reading));
    settle(context);
    advance(context, INT64_MAX);
    RUN_CALLS(context, reading.counter, 1);
    CHECK_DONE(reading.counter, WEIR_ETIMEDOUT, 0);
    CHECK_EQ(writing.counter.calls, 1);
    close_pair(&pair);
    CHECK_OK(weir_context_destroy(context));
}

TEST(the_real_clock_is_kept)
{
    weir_context *context = new_context();
    struct pair pair = new_pair(context, AF_INET);
    struct operation reading;
    CHECK_OK(weir_stream_set_timeout(pair.stream, WEIR_WAIT_READ, 30 * CHECK_MS));
    int64_t before = now_ns();
    START(begin(READ, pair.stream, &reading));
    CHECK_OK(weir_context_run(context, NULL));
    CHECK(now_ns() - before >= 30 * CHECK_MS);
    CHECK_DONE(reading.counter, WEIR_ETIMEDOUT, 0);
    close_pair(&pair);
    CHECK_OK(weir_context_destroy(context));
}

/* Streams time out while others read, in two threads; each operation completes once. */
enum { PAIRS = 16 };

struct busy {
    struct pair pair;
    atomic_int calls, timeouts;
    atomic_bool stop;
    char byte;
};

static void read_on(int status, size_t bytes, void *user)
{
    struct busy *busy = user;
    CHECK(status == 0 ? bytes == 1 : status == WEIR_ETIMEDOUT && bytes == 0);
    atomic_fetch_add(&busy->calls, 1);
    if (status != 0)
        atomic_fetch_add(&busy->timeouts, 1);
    if (!atomic_load(&busy->stop))
        CHECK_OK(weir_stream_read(busy->pair.stream, &busy->byte, 1, read_on, busy));
}

static void *run_body(void *user)
{
    CHECK_OK(weir_context_run(user, NULL));
    return NULL;
}

TEST(timeouts_and_data_race_in_two_threads)
{
    static struct busy all[PAIRS];
    weir_context *context = new_context_with(0, 2);
    for (int i = 0; i < PAIRS; i++) {
        all[i].pair = new_pair(context, AF_UNIX);
        CHECK_OK(weir_stream_set_timeout(all[i].pair.stream, WEIR_WAIT_READ, (i % 4 + 1) * 200000));
        CHECK_OK(weir_stream_read(all[i].pair.stream, &all[i].byte, 1, read_on, &all[i]));
    }
    pthread_t threads[2] = {start_thread(run_body, context), start_thread(run_body, context)};
    for (size_t round = 0; round < many(2000); round++) {
        send_all(all[round % PAIRS].pair.peer, "x", 1);
        if (round % 16 == 0)
            sleep_ms(1);
    }
    for (int i = 0; i < PAIRS; i++) {
        WAIT_FOR(atomic_load(&all[i].timeouts) > 0);
        atomic_store(&all[i].stop, true);
    }
    for (int i = 0; i < 2; i++)
        join_thread(threads[i]);
    for (int i = 0; i < PAIRS; i++)
        close_pair(&all[i].pair);
    CHECK_OK(weir_context_destroy(context));
}

TEST(a_closed_stream_with_a_timeout_keeps_no_run_going)
{
    weir_context *context = new_context();
    struct pair pair = new_pair(context, AF_UNIX);
    struct counter counter = {0};
    char byte;
    CHECK_OK(weir_stream_set_timeout(pair.stream, WEIR_WAIT_READ, 1000 * CHECK_SECOND));
    START(weir_stream_read(pair.stream, &byte, 1, io_done, &counter));
    send_all(pair.peer, "x", 1);
    CHECK_OK(weir_context_run(context, NULL));
    CHECK_DONE(counter, 0, 1);
    close_pair(&pair);
    CHECK_OK(weir_context_restart(context));
    CHECK_OK(weir_context_run(context, NULL));
    CHECK_OK(weir_context_destroy(context));
}

TEST_MAIN()
