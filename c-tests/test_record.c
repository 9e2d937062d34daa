/* Completion records: operations begun with a NULL callback, and weir_context_reap(). */
#include "net.h"

static weir_record records[64];

static size_t reap(weir_context *context, size_t capacity, int64_t timeout)
{
    size_t count = 0;
    memset(records, 0xA5, sizeof records);
    CHECK_OK(weir_context_reap(context, records, capacity, timeout, &count));
    CHECK(count <= capacity);
    return count;
}

static void check_record(const weir_record *record, uint32_t kind, int status, uint64_t value, void *user)
{
    CHECK_EQ(record->kind, kind);
    CHECK_CODE(record->status, status);
    CHECK_EQ(record->value, value);
    CHECK(record->user == user);
}

TEST(a_post_gives_a_record)
{
    weir_context *context = new_context();
    int a, b;
    CHECK_OK(weir_context_post(context, NULL, &a));
    CHECK_OK(weir_context_post(context, NULL, &b));
    CHECK_EQ(reap(context, 64, WEIR_FOREVER), 2);
    check_record(&records[0], WEIR_OP_POST, 0, 0, &a);
    check_record(&records[1], WEIR_OP_POST, 0, 0, &b);
    CHECK_EQ(reap(context, 64, WEIR_FOREVER), 0); /* out of work */
    CHECK_EQ(weir_context_stopped(context), 1);
    CHECK_OK(weir_context_destroy(context));
}

TEST(what_finds_no_room_comes_with_the_next_reap)
{
    weir_context *context = new_context();
    for (uintptr_t i = 1; i <= 100; i++)
        CHECK_OK(weir_context_post(context, NULL, (void *)i));
    uintptr_t next = 1;
    while (next <= 100) {
        size_t count = reap(context, 7, WEIR_FOREVER);
        CHECK(count > 0);
        for (size_t i = 0; i < count; i++)
            check_record(&records[i], WEIR_OP_POST, 0, 0, (void *)next++);
    }
    CHECK_EQ(reap(context, 7, 0), 0);
    CHECK_OK(weir_context_destroy(context));
}

TEST(what_run_meets_is_held_for_a_reap)
{
    weir_context *context = new_context();
    struct counter call = {0};
    for (uintptr_t i = 1; i <= 10; i++)
        CHECK_OK(weir_context_post(context, NULL, (void *)i));
    CHECK_OK(weir_context_post(context, done, &call));
    /* Runs the callback, keeps the records, and comes back. */
    CHECK_OK(weir_context_run(context, NULL));
    CHECK_EQ(atomic_load(&call.calls), 1);
    CHECK_EQ(weir_context_stopped(context), 0);
    CHECK_OK(weir_context_poll(context, NULL));
    CHECK_EQ(reap(context, 3, 0), 3);
    CHECK_OK(weir_context_run(context, NULL));
    CHECK_EQ(reap(context, 64, 0), 7);
    for (uintptr_t i = 0; i < 7; i++)
        check_record(&records[i], WEIR_OP_POST, 0, 0, (void *)(i + 4));
    CHECK_EQ(reap(context, 64, 0), 0);
    CHECK_EQ(weir_context_stopped(context), 1);
    CHECK_OK(weir_context_destroy(context));
}

TEST(timers_give_records)
{
    weir_context *context = new_context_with(WEIR_CONTEXT_MANUAL_CLOCK, 0);
    weir_timer *timer = new_timer(context), *ticker = new_timer(context);
    int a, b, c;
    CHECK_OK(weir_timer_expires_after(timer, 10));
    CHECK_OK(weir_timer_wait(timer, NULL, &a));
    CHECK_OK(weir_timer_wait(timer, NULL, &b));
    CHECK_OK(weir_timer_start(ticker, 5, 5, NULL, &c));
    CHECK_EQ(reap(context, 8, 0), 0);
    CHECK_OK(weir_context_advance(context, 5));
    CHECK_EQ(reap(context, 8, 0), 1);
    check_record(&records[0], WEIR_OP_TIMER, 0, 0, &c);
    CHECK_OK(weir_context_advance(context, 5));
    CHECK_EQ(reap(context, 8, 0), 3);
    CHECK_OK(weir_timer_expires_after(timer, 10));
    CHECK_OK(weir_timer_wait(timer, NULL, &a));
    CHECK_OK(weir_timer_cancel(timer, NULL));
    CHECK_OK(weir_timer_close(ticker));
    CHECK_EQ(reap(context, 8, 0), 2);
    check_record(&records[0], WEIR_OP_TIMER, WEIR_ECANCELED, 0, &a);
    check_record(&records[1], WEIR_OP_TIMER, WEIR_ECANCELED, 0, &c);
    CHECK_OK(weir_context_destroy(context));
}

/* A tick that is held does not tick again, and is one record; the next comes when it is reaped. */
TEST(a_periodic_timer_that_is_not_reaped_is_one_record)
{
    weir_context *context = new_context_with(WEIR_CONTEXT_MANUAL_CLOCK, 0);
    weir_timer *ticker = new_timer(context);
    CHECK_OK(weir_timer_start(ticker, 5, 5, NULL, NULL));
    for (int i = 0; i < 10; i++) {
        CHECK_OK(weir_context_advance(context, 5));
        CHECK_OK(weir_context_poll(context, NULL));
    }
    CHECK_EQ(reap(context, 8, 0), 2); /* the one held, and those since folded into one */
    CHECK_EQ(reap(context, 8, 0), 0);
    CHECK_OK(weir_context_advance(context, 5));
    CHECK_OK(weir_context_poll(context, NULL));
    CHECK_OK(weir_timer_stop(ticker, NULL));
    CHECK_EQ(reap(context, 8, 0), 2); /* the tick, then the end */
    check_record(&records[0], WEIR_OP_TIMER, 0, 0, NULL);
    check_record(&records[1], WEIR_OP_TIMER, WEIR_ECANCELED, 0, NULL);
    CHECK_OK(weir_context_destroy(context));
}

TEST(streams_give_records)
{
    weir_context *context = new_context();
    int ends[2];
    plain_pair(AF_INET, ends);
    weir_stream *stream = adopted(context, ends[0]);
    char in[16], out[16] = "0123456789";
    CHECK_OK(weir_stream_read_some(stream, in, sizeof in, NULL, in));
    CHECK_OK(weir_stream_write(stream, out, 10, NULL, out));
    CHECK_EQ(reap(context, 8, WEIR_FOREVER), 1);
    check_record(&records[0], WEIR_OP_WRITE, 0, 10, out);
    CHECK_EQ(write(ends[1], "abc", 3), 3);
    CHECK_EQ(reap(context, 8, WEIR_FOREVER), 1);
    check_record(&records[0], WEIR_OP_READ, 0, 3, in);
    CHECK(memcmp(in, "abc", 3) == 0);
    CHECK_OK(weir_stream_wait(stream, WEIR_WAIT_WRITE, NULL, &stream));
    CHECK_EQ(reap(context, 8, WEIR_FOREVER), 1);
    check_record(&records[0], WEIR_OP_WAIT, 0, 0, &stream);
    CHECK_OK(weir_stream_read(stream, in, 8, NULL, in));
    CHECK_EQ(write(ends[1], "xyz", 3), 3);
    CHECK_EQ(reap(context, 8, 100 * CHECK_MS), 0);
    CHECK_OK(weir_stream_cancel(stream, NULL));
    CHECK_CODE(weir_stream_read(stream, in, 8, NULL, in), WEIR_EBUSY); /* until it is reaped */
    CHECK_EQ(reap(context, 8, WEIR_FOREVER), 1);
    check_record(&records[0], WEIR_OP_READ, WEIR_ECANCELED, 3, in);
    CHECK_EQ(shutdown(ends[1], SHUT_WR), 0);
    CHECK_OK(weir_stream_read(stream, in, 8, NULL, in));
    CHECK_EQ(reap(context, 8, WEIR_FOREVER), 1);
    check_record(&records[0], WEIR_OP_READ, WEIR_EOF, 0, in);
    close(ends[1]);
    CHECK_OK(weir_context_destroy(context));
}

/* Connections that find no room wait in the kernel's queue; a cancel while they do loses none. */
TEST(accepted_connections_wait_for_room)
{
    weir_context *context = new_context();
    struct where where;
    weir_acceptor *acceptor = new_listener(context, AF_INET, 16, &where);
    int fds[6], me;
    CHECK_OK(weir_acceptor_accept_each(acceptor, NULL, &me));
    for (int i = 0; i < 6; i++) {
        fds[i] = socket(AF_INET, SOCK_STREAM, 0);
        CHECK_EQ(connect(fds[i], AT(&where)), 0);
    }
    size_t taken = 0;
    while (taken < 5) {
        CHECK_EQ(reap(context, 1, WEIR_FOREVER), 1);
        CHECK_EQ(records[0].kind, WEIR_OP_ACCEPT);
        CHECK_CODE(records[0].status, 0);
        CHECK_OK(weir_stream_close((weir_stream *)(uintptr_t)records[0].value));
        taken++;
    }
    for (int i = 0; i < 3; i++)
        CHECK_OK(weir_context_run_for(context, 0, NULL)); /* meets it, and holds it back */
    size_t ended = 0;
    CHECK_OK(weir_acceptor_cancel(acceptor, &ended));
    CHECK_EQ(ended, 1);
    CHECK_EQ(reap(context, 8, WEIR_FOREVER), 1);
    check_record(&records[0], WEIR_OP_ACCEPT, WEIR_ECANCELED, 0, &me);
    CHECK_OK(weir_acceptor_accept(acceptor, NULL, &me)); /* the sixth is still there */
    CHECK_EQ(reap(context, 8, WEIR_FOREVER), 1);
    CHECK_CODE(records[0].status, 0);
    CHECK(records[0].value != 0);
    CHECK_OK(weir_context_destroy(context));
    for (int i = 0; i < 6; i++)
        close(fds[i]);
}

TEST(a_connect_gives_a_record)
{
    weir_context *context = new_context();
    struct where where;
    new_listener(context, AF_INET, 4, &where);
    weir_stream *stream = new_stream(context);
    CHECK_OK(weir_stream_connect(stream, AT(&where), NULL, stream));
    CHECK_EQ(reap(context, 8, WEIR_FOREVER), 1);
    check_record(&records[0], WEIR_OP_CONNECT, 0, 0, stream);
    CHECK_OK(weir_context_destroy(context));
}

/* Held things are closed, cancelled and destroyed. */
TEST(handles_with_held_records_may_be_closed)
{
    weir_context *context = new_context();
    int ends[2];
    plain_pair(AF_UNIX, ends);
    weir_stream *stream = adopted(context, ends[0]);
    weir_timer *timer = new_timer(context);
    char byte = 'x';
    CHECK_OK(weir_stream_write(stream, &byte, 1, NULL, &byte));
    CHECK_OK(weir_timer_wait(timer, NULL, timer));
    CHECK_OK(weir_context_run(context, NULL));
    size_t ended = 7;
    CHECK_OK(weir_stream_cancel(stream, &ended));
    CHECK_EQ(ended, 0); /* it happened */
    CHECK_OK(weir_stream_close(stream));
    CHECK_OK(weir_timer_close(timer));
    CHECK_EQ(reap(context, 8, 0), 2);
    check_record(&records[0], WEIR_OP_WRITE, 0, 1, &byte);
    check_record(&records[1], WEIR_OP_TIMER, 0, 0, timer);
    CHECK_OK(weir_context_post(context, NULL, NULL));
    weir_acceptor *acceptor;
    struct where where;
    acceptor = new_listener(context, AF_INET, 4, &where);
    CHECK_OK(weir_acceptor_accept_each(acceptor, NULL, NULL));
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    CHECK_EQ(connect(fd, AT(&where)), 0);
    CHECK_OK(weir_context_restart(context));
    CHECK_OK(weir_context_poll(context, NULL));
    CHECK_OK(weir_context_destroy(context)); /* with records held */
    close(fd);
    close(ends[1]);
}

/* ---- several threads */

static weir_context *shared;
static atomic_size_t reaped;

static void *reaper(void *argument)
{
    weir_record mine[5];
    (void)argument;
    for (;;) {
        size_t count = 0;
        CHECK_OK(weir_context_reap(shared, mine, 5, WEIR_FOREVER, &count));
        for (size_t i = 0; i < count; i++)
            CHECK_EQ(mine[i].kind, WEIR_OP_POST);
        reaped += count;
        if (count == 0 && weir_context_stopped(shared) == 1)
            return NULL;
    }
}

static void *runner(void *argument)
{
    (void)argument;
    while (weir_context_stopped(shared) == 0)
        CHECK_OK(weir_context_run(shared, NULL));
    return NULL;
}

/* Threads that run and threads that reap beside each other: what the first meet wakes the second. */
TEST(no_record_is_lost_between_threads_that_run_and_that_reap)
{
    enum { POSTS = 20000 };
    shared = new_context();
    pthread_t threads[4];
    CHECK_OK(weir_context_work_begin(shared));
    for (int i = 0; i < 4; i++)
        CHECK_EQ(pthread_create(&threads[i], NULL, i < 2 ? reaper : runner, NULL), 0);
    for (int i = 0; i < POSTS; i++) {
        CHECK_OK(weir_context_post(shared, NULL, NULL));
        if (i % 1000 == 0)
            sleep_ms(1); /* so that they fall asleep */
    }
    int64_t deadline = now_ns() + 40 * CHECK_SECOND;
    while (atomic_load(&reaped) < POSTS) {
        CHECK(now_ns() < deadline);
        sleep_ms(1);
    }
    CHECK_OK(weir_context_work_end(shared));
    for (int i = 0; i < 4; i++)
        CHECK_EQ(pthread_join(threads[i], NULL), 0);
    CHECK_EQ(atomic_load(&reaped), POSTS);
    CHECK_OK(weir_context_destroy(shared));
}

static void reap_inside(int status, void *user)
{
    (void)status;
    weir_context *context = (weir_context *)user;
    CHECK_OK(weir_context_post(context, NULL, &records));
    CHECK_EQ(reap(context, 8, WEIR_FOREVER), 1);
    check_record(&records[0], WEIR_OP_POST, 0, 0, &records);
    CHECK_EQ(reap(context, 8, WEIR_FOREVER), 0);
}

TEST(reap_from_a_callback)
{
    weir_context *context = new_context();
    CHECK_OK(weir_context_post(context, reap_inside, context));
    size_t count = 0;
    CHECK_OK(weir_context_run(context, &count));
    CHECK_EQ(count, 1);
    CHECK_OK(weir_context_destroy(context));
}

/* Callbacks run while records are waited for. */
TEST(reap_runs_callbacks)
{
    weir_context *context = new_context();
    struct counter call = {0};
    weir_timer *timer = new_timer(context);
    CHECK_OK(weir_context_post(context, done, &call));
    CHECK_OK(weir_timer_expires_after(timer, 20 * CHECK_MS));
    CHECK_OK(weir_timer_wait(timer, NULL, NULL));
    CHECK_EQ(reap(context, 8, WEIR_FOREVER), 1);
    CHECK_EQ(atomic_load(&call.calls), 1);
    CHECK_OK(weir_context_destroy(context));
}

/* One operation that always has a record, and room for one at a time: the rest of the program goes on all the same. */
TEST(records_without_end_starve_no_callback)
{
    weir_context *context = new_context();
    weir_timer *timer = new_timer(context);
    struct counter timed = {0}, posted = {0}, read = {0};
    int ends[2], quiet[2];
    char bytes[4096] = {0}, byte;
    plain_pair(AF_UNIX, ends);
    plain_pair(AF_UNIX, quiet);
    weir_stream *busy = adopted(context, ends[0]), *other = adopted(context, quiet[0]);
    CHECK_EQ(write(ends[1], bytes, sizeof bytes), sizeof bytes);
    CHECK_OK(weir_stream_read_each(busy, NULL, NULL));
    for (int i = 0; i < 100; i++) {
        weir_record record;
        size_t count = 0;
        if (i == 5) {
            CHECK_OK(weir_context_post(context, count_call, &posted));
            CHECK_OK(weir_timer_expires_after(timer, 0));
            CHECK_OK(weir_timer_wait(timer, count_call, &timed));
            CHECK_OK(weir_stream_read_some(other, &byte, 1, count_io, &read));
            CHECK_EQ(write(quiet[1], "x", 1), 1);
        }
        CHECK_OK(weir_context_reap(context, &record, 1, 10 * CHECK_SECOND, &count));
        CHECK_EQ(count, 1);
        CHECK_OK(weir_context_pool_release(context, record.extra));
        CHECK_EQ(write(ends[1], bytes, (size_t)record.value), (ssize_t)record.value);
    }
    CHECK_EQ(posted.calls, 1);
    CHECK_EQ(timed.calls, 1);
    CHECK_EQ(read.calls, 1);
    CHECK_OK(weir_context_destroy(context));
    close(ends[1]);
    close(quiet[1]);
}

TEST_MAIN()
