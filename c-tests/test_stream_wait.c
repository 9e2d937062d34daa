/* Waiting for readiness. H27: level-checked; it neither hangs with data in the buffer nor fires without. */
#include "net.h"

static const int families[] = {AF_INET, AF_UNIX};

TEST(h27_data_in_the_buffer_completes_a_wait_each_time)
{
    weir_context *context = new_context();
    for (int f = 0; f < 2; f++) {
        struct pair pair = new_pair(context, families[f]);
        char data[8];
        size_t bytes = 0;
        send_all(pair.peer, "abcdef", 6);
        await_events(pair.fd, POLLIN);
        for (int i = 0; i < 6; i++) {
            struct counter counter = {0};
            START(weir_stream_wait(pair.stream, WEIR_WAIT_READ, done, &counter));
            CHECK_EQ(counter.calls, 0);
            RUN_CALLS(context, counter, 1);
            settle(context);
            CHECK_DONE(counter, 0, 0);
            if (i == 2)
                CHECK_OK(weir_stream_try_read(pair.stream, data, 1, &bytes));
            if (i == 4) /* also behind the library's back */
                receive_all(pair.fd, data, 1);
        }
        close_pair(&pair);
    }
    CHECK_OK(weir_context_destroy(context));
}

TEST(h27_an_empty_socket_does_not_complete_a_wait)
{
    weir_context *context = new_context();
    for (int f = 0; f < 2; f++) {
        struct pair pair = new_pair(context, families[f]);
        for (int i = 0; i < 10; i++) {
            struct counter counter = {0}, again = {0};
            char data[8];
            START(weir_stream_wait(pair.stream, WEIR_WAIT_READ, done, &counter));
            CHECK_OK(weir_context_poll(context, NULL));
            CHECK_EQ(counter.calls, 0);
            send_all(pair.peer, "abc", 3);
            RUN_CALLS(context, counter, 1);
            CHECK_DONE(counter, 0, 0);
            /* The user reads without telling the library; the edge is spent, the readiness too. */
            receive_all(pair.fd, data, 3);
            START(weir_stream_wait(pair.stream, WEIR_WAIT_READ, done, &again));
            settle(context);
            CHECK_EQ(again.calls, 0);
            CHECK_OK(weir_stream_cancel(pair.stream, NULL));
            RUN_CALLS(context, again, 1);
            CHECK_DONE(again, WEIR_ECANCELED, 0);
        }
        close_pair(&pair);
    }
    CHECK_OK(weir_context_destroy(context));
}

/* The data comes and is taken between the edge and the callback's turn: the wait goes on. */
TEST(h27_readiness_that_is_gone_again_does_not_complete_a_wait)
{
    weir_context *context = new_context();
    for (int f = 0; f < 2; f++) {
        struct pair pair = new_pair(context, families[f]);
        struct counter counter = {0};
        char data[8];
        START(weir_stream_wait(pair.stream, WEIR_WAIT_READ, done, &counter));
        for (int i = 0; i < 20; i++) {
            send_all(pair.peer, "abc", 3);
            await_events(pair.fd, POLLIN);
            receive_all(pair.fd, data, 3);
            CHECK_OK(weir_context_poll(context, NULL));
            CHECK_EQ(counter.calls, 0);
        }
        send_all(pair.peer, "abc", 3);
        RUN_CALLS(context, counter, 1);
        CHECK_DONE(counter, 0, 0);
        close_pair(&pair);
    }
    CHECK_OK(weir_context_destroy(context));
}

/* After a short read the library believes the socket drained; data that came since counts. */
TEST(h27_wait_after_a_short_read_sees_new_data)
{
    weir_context *context = new_context();
    for (int f = 0; f < 2; f++) {
        for (int turn_between = 0; turn_between < 2; turn_between++) {
            struct pair pair = new_pair(context, families[f]);
            struct operation operation;
            struct counter waited = {0};
            send_all(pair.peer, "abc", 3);
            START(begin(READ_SOME, pair.stream, &operation));
            RUN_CALLS(context, operation.counter, 1);
            CHECK_DONE(operation.counter, 0, 3);
            send_all(pair.peer, "def", 3);
            await_events(pair.fd, POLLIN);
            if (turn_between)
                settle(context);
            START(weir_stream_wait(pair.stream, WEIR_WAIT_READ, done, &waited));
            RUN_CALLS(context, waited, 1);
            CHECK_DONE(waited, 0, 0);
            START(begin(READ_SOME, pair.stream, &operation));
            RUN_CALLS(context, operation.counter, 1);
            CHECK_DONE(operation.counter, 0, 3);
            close_pair(&pair);
        }
    }
    CHECK_OK(weir_context_destroy(context));
}

TEST(h27_wait_for_writability_is_level_checked)
{
    weir_context *context = new_context();
    for (int f = 0; f < 2; f++) {
        struct pair pair = new_small_pair(context, families[f]);
        for (int i = 0; i < 3; i++) {
            struct counter free_room = {0}, full = {0};
            START(weir_stream_wait(pair.stream, WEIR_WAIT_WRITE, done, &free_room));
            RUN_CALLS(context, free_room, 1);
            CHECK_DONE(free_room, 0, 0);
            size_t filled = fill(pair.stream);
            START(weir_stream_wait(pair.stream, WEIR_WAIT_WRITE, done, &full));
            settle(context);
            CHECK_EQ(full.calls, 0);
            drain(pair.peer, filled);
            RUN_CALLS(context, full, 1);
            CHECK_DONE(full, 0, 0);
        }
        close_pair(&pair);
    }
    CHECK_OK(weir_context_destroy(context));
}

TEST(waits_of_both_directions_are_pending_at_once)
{
    weir_context *context = new_context();
    for (int f = 0; f < 2; f++) {
        struct pair pair = new_small_pair(context, families[f]);
        struct counter readable = {0}, writable = {0};
        size_t filled = fill(pair.stream);
        START(weir_stream_wait(pair.stream, WEIR_WAIT_READ, done, &readable));
        START(weir_stream_wait(pair.stream, WEIR_WAIT_WRITE, done, &writable));
        settle(context);
        CHECK_EQ(readable.calls + writable.calls, 0);
        drain(pair.peer, filled);
        RUN_CALLS(context, writable, 1);
        settle(context);
        CHECK_EQ(readable.calls, 0);
        send_all(pair.peer, "x", 1);
        RUN_CALLS(context, readable, 1);
        CHECK_DONE(readable, 0, 0);
        CHECK_DONE(writable, 0, 0);
        close_pair(&pair);
    }
    CHECK_OK(weir_context_destroy(context));
}

/* The end and an error are readable too, before and after the wait begins. */
TEST(h22_the_end_or_an_error_completes_a_wait)
{
    weir_context *context = new_context();
    for (int f = 0; f < 2; f++) {
        for (int way = 0; way < 4; way++) {
            bool before = way % 2 == 0, reset = way >= 2;
            struct pair pair = new_pair(context, families[f]);
            struct counter counter = {0};
            if (!before) {
                START(weir_stream_wait(pair.stream, WEIR_WAIT_READ, done, &counter));
                settle(context);
                CHECK_EQ(counter.calls, 0);
            }
            if (reset)
                reset_and_close(pair.peer);
            else
                CHECK_EQ(shutdown(pair.peer, SHUT_WR), 0);
            if (before) {
                await_events(pair.fd, POLLIN);
                START(weir_stream_wait(pair.stream, WEIR_WAIT_READ, done, &counter));
            }
            RUN_CALLS(context, counter, 1);
            settle(context);
            CHECK_DONE(counter, 0, 0);
            /* The wait has left the error to the read. */
            char byte;
            size_t bytes = 77;
            bool error = reset && families[f] == AF_INET;
            CHECK_CODE(weir_stream_try_read(pair.stream, &byte, 1, &bytes), error ? -ECONNRESET : WEIR_EOF);
            CHECK_OK(weir_stream_close(pair.stream));
            if (!reset)
                close(pair.peer);
        }
    }
    CHECK_OK(weir_context_destroy(context));
}

/* A read after a wait, and a wait after a read, whatever the edges were. */
TEST(waits_and_reads_alternate)
{
    weir_context *context = new_context();
    for (int f = 0; f < 2; f++) {
        struct pair pair = new_pair(context, families[f]);
        for (int i = 0; i < 200; i++) {
            struct counter waited = {0};
            struct operation operation;
            bool early = i % 2 == 0, all = i % 3 == 0;
            if (early) {
                send_all(pair.peer, "abcdefgh", 8);
                await_events(pair.fd, POLLIN);
            }
            START(weir_stream_wait(pair.stream, WEIR_WAIT_READ, done, &waited));
            if (!early)
                send_all(pair.peer, "abcdefgh", 8);
            RUN_CALLS(context, waited, 1);
            await_events(pair.fd, POLLIN);
            char rest[4];
            if (!all)
                receive_all(pair.fd, rest, 4);
            START(begin(READ_SOME, pair.stream, &operation));
            RUN_CALLS(context, operation.counter, 1);
            CHECK_DONE(operation.counter, 0, all ? 8 : 4);
        }
        close_pair(&pair);
    }
    CHECK_OK(weir_context_destroy(context));
}

TEST_MAIN()
