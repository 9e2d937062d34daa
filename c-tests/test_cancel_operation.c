/* weir_handle_cancel_operation(): of what is pending on a handle, that which was begun with one pointer. */
#include "net.h"

#include <signal.h>
#include <sys/wait.h>

/* The number ended. */
static size_t end(void *handle, void *user)
{
    size_t count = 77;
    CHECK_OK(weir_handle_cancel_operation(handle, user, &count));
    return count;
}

static void value_done(int status, int value, void *user)
{
    (void)value;
    done(status, user);
}

TEST(a_read_ends_and_the_write_goes_on)
{
    for (int f = 0; f < 2; f++)
        for (int reads = 0; reads < 2; reads++) {
            weir_context *context = new_context();
            size_t filled;
            struct pair pair = blocked_pair(context, f ? AF_UNIX : AF_INET, WRITE, &filled);
            struct operation read, write;
            START(begin(READ, pair.stream, &read));
            START(begin(WRITE, pair.stream, &write));
            struct counter *ended = reads ? &read.counter : &write.counter, *left = reads ? &write.counter : &read.counter;
            CHECK_EQ(end(pair.stream, ended), 1);
            CHECK_EQ(end(pair.stream, ended), 0);
            settle(context);
            CHECK_DONE(*ended, WEIR_ECANCELED, 0);
            CHECK_EQ(atomic_load(&left->calls), 0);
            if (reads) {
                drain(pair.peer, filled);
                CHECK_OK(weir_context_run(context, NULL));
                CHECK_DONE(write.counter, 0, 8);
            } else {
                send_all(pair.peer, "abcdefgh", 8);
                CHECK_OK(weir_context_run(context, NULL));
                CHECK_DONE(read.counter, 0, 8);
            }
            close_pair(&pair);
            CHECK_OK(weir_context_destroy(context));
        }
}

TEST(both_directions_with_one_pointer)
{
    weir_context *context = new_context();
    size_t filled;
    struct pair pair = blocked_pair(context, AF_UNIX, WRITE, &filled);
    struct counter both = {0};
    char byte;
    CHECK_OK(weir_stream_read_some(pair.stream, &byte, 1, io_done, &both));
    CHECK_OK(weir_stream_write(pair.stream, "x", 1, io_done, &both));
    CHECK_EQ(end(pair.stream, &byte), 0);
    CHECK_EQ(end(pair.stream, &both), 2);
    CHECK_OK(weir_context_run(context, NULL));
    CHECK_EQ(both.calls, 2);
    close_pair(&pair);
    CHECK_OK(weir_context_destroy(context));
}

/* One in the middle, one that has begun, and the last one, which frees the direction. */
TEST(queued_writes)
{
    weir_context *context = new_context();
    static char large[1 << 20];
    struct counter ends[4] = {{0}};
    size_t queued;
    struct pair pair = new_small_pair(context, AF_UNIX);
    CHECK_OK(weir_stream_send(pair.stream, large, sizeof large, io_done, &ends[0])); /* a part has gone */
    CHECK_OK(weir_stream_send(pair.stream, "ab", 2, io_done, &ends[1]));
    CHECK_OK(weir_stream_send(pair.stream, "cd", 2, io_done, &ends[2]));
    CHECK_EQ(end(pair.stream, &ends[1]), 1);
    CHECK_OK(weir_stream_queued(pair.stream, &queued));
    CHECK(queued > 2 && queued < sizeof large + 2);
    CHECK_EQ(end(pair.stream, &ends[0]), 1);
    CHECK_OK(weir_stream_queued(pair.stream, &queued));
    CHECK_EQ(queued, 2);
    settle(context);
    CHECK_DONE(ends[1], WEIR_ECANCELED, 0);
    CHECK_EQ(ends[0].calls, 1);
    CHECK_CODE(ends[0].status, WEIR_ECANCELED);
    size_t moved = ends[0].bytes;
    CHECK(moved > 0 && moved < sizeof large);
    CHECK_EQ(end(pair.stream, &ends[2]), 1);
    CHECK_OK(weir_stream_write(pair.stream, "ef", 2, io_done, &ends[3])); /* the direction is free */
    drain(pair.peer, moved);
    CHECK_OK(weir_context_run(context, NULL));
    CHECK_DONE(ends[2], WEIR_ECANCELED, 0);
    CHECK_DONE(ends[3], 0, 2);
    char got[2];
    receive_all(pair.peer, got, 2);
    CHECK_EQ(memcmp(got, "ef", 2), 0);
    close_pair(&pair);
    CHECK_OK(weir_context_destroy(context));
}

TEST(one_of_several_waits_of_a_timer)
{
    for (int measured = 0; measured < 2; measured++) {
        uint32_t flags = WEIR_CONTEXT_MANUAL_CLOCK | (measured ? WEIR_CONTEXT_MEASURE : 0);
        weir_context *context = new_context_with(flags, 1);
        weir_timer *timer = new_timer(context);
        struct counter waits[3] = {{0}}, ticks = {0};
        CHECK_OK(weir_timer_expires_after(timer, 1000));
        for (int i = 0; i < 3; i++)
            CHECK_OK(weir_timer_wait(timer, done, &waits[i]));
        CHECK_EQ(end(timer, &waits[1]), 1);
        CHECK_EQ(end(timer, &ticks), 0);
        settle(context);
        CHECK_EQ(waits[1].calls, 1);
        CHECK_CODE(waits[1].status, WEIR_ECANCELED);
        CHECK_EQ(waits[0].calls + waits[2].calls, 0);
        CHECK_OK(weir_context_advance(context, 2000));
        CHECK_OK(weir_context_run(context, NULL));
        CHECK_CODE(waits[0].status, 0);
        CHECK_EQ(waits[2].calls, 1);
        CHECK_OK(weir_timer_start(timer, 1000, 1000, done, &ticks));
        CHECK_EQ(end(timer, &waits[0]), 0);
        CHECK_EQ(end(timer, &ticks), 1);
        CHECK_OK(weir_context_restart(context));
        CHECK_OK(weir_context_run(context, NULL));
        CHECK_EQ(ticks.calls, 1);
        CHECK_CODE(ticks.status, WEIR_ECANCELED);
        CHECK_OK(weir_timer_close(timer));
        CHECK_OK(weir_context_destroy(context));
    }
}

TEST(one_of_several_waits_for_signals)
{
    weir_context *context = new_context();
    weir_signals *set;
    struct counter waits[3] = {{0}};
    CHECK_OK(weir_signals_create(context, &set));
    CHECK_OK(weir_signals_add(set, SIGUSR1, 0));
    for (int i = 0; i < 3; i++)
        CHECK_OK(weir_signals_wait(set, value_done, &waits[i]));
    CHECK_EQ(end(set, &waits[1]), 1);
    size_t pending;
    CHECK_OK(weir_handle_pending(set, &pending));
    CHECK_EQ(pending, 2);
    CHECK_EQ(raise(SIGUSR1), 0);
    while (waits[0].calls == 0)
        CHECK_OK(weir_context_run_one(context, NULL));
    CHECK_CODE(waits[0].status, 0);
    CHECK_OK(weir_signals_close(set));
    CHECK_OK(weir_context_run(context, NULL));
    CHECK_CODE(waits[1].status, WEIR_ECANCELED);
    CHECK_CODE(waits[2].status, WEIR_ECANCELED);
    CHECK_EQ(waits[1].calls + waits[2].calls, 2);
    CHECK_OK(weir_context_destroy(context));
}

static void looked_up(int status, weir_addresses *addresses, void *user)
{
    weir_addresses_free(addresses);
    done(status, user);
}

/* A lookup may be quicker than its cancel; the other one is not touched. */
TEST(one_of_several_lookups)
{
    weir_context *context = new_context();
    weir_resolver *resolver;
    CHECK_OK(weir_resolver_create(context, &resolver));
    for (int i = 0; i < 20; i++) {
        struct counter first = {0}, second = {0};
        CHECK_OK(weir_resolver_resolve(resolver, "localhost", "80", NULL, looked_up, &first));
        CHECK_OK(weir_resolver_resolve(resolver, "localhost", "81", NULL, looked_up, &second));
        size_t ended = end(resolver, &first);
        CHECK(ended <= 1);
        CHECK_OK(weir_context_run(context, NULL));
        CHECK_OK(weir_context_restart(context));
        CHECK_EQ(first.calls, 1);
        CHECK_EQ(first.status == WEIR_ECANCELED, ended == 1);
        CHECK_EQ(second.calls, 1);
        CHECK(second.status != WEIR_ECANCELED);
    }
    CHECK_OK(weir_resolver_close(resolver));
    CHECK_OK(weir_context_destroy(context));
}

static int sleep_a_little(void *user)
{
    (void)user;
    sleep_ms(1);
    return 0;
}

/* Handles that have one operation: its pointer ends it, another one does not. */
TEST(handles_with_one_operation)
{
    weir_context *context = new_context();
    struct counter wanted = {0}, other = {0};
    int ends[2];
    plain_pair(AF_UNIX, ends);

    weir_watch *watch;
    CHECK_OK(weir_watch_create(context, ends[0], &watch));
    CHECK_OK(weir_watch_start(watch, WEIR_WATCH_READ, 0, WEIR_FOREVER, value_done, &wanted));
    CHECK_EQ(end(watch, &other), 0);
    CHECK_EQ(end(watch, &wanted), 1);
    CHECK_OK(weir_context_run(context, NULL));
    CHECK_OK(weir_context_restart(context));
    CHECK_EQ(wanted.calls, 1);

    weir_hook *hook;
    CHECK_OK(weir_hook_create(context, WEIR_HOOK_CHECK, &hook));
    CHECK_OK(weir_hook_start(hook, done, &wanted));
    CHECK_EQ(end(hook, &other), 0);
    CHECK_EQ(end(hook, &wanted), 1);
    CHECK_OK(weir_context_run(context, NULL));
    CHECK_OK(weir_context_restart(context));
    CHECK_EQ(wanted.calls, 2);

    pid_t child = fork();
    CHECK(child >= 0);
    if (child == 0)
        pause();
    weir_process *process;
    CHECK_OK(weir_process_create(context, child, &process));
    CHECK_OK(weir_process_wait(process, value_done, &wanted));
    CHECK_EQ(end(process, &other), 0);
    CHECK_EQ(end(process, &wanted), 1);
    CHECK_OK(weir_context_run(context, NULL));
    CHECK_OK(weir_context_restart(context));
    CHECK_EQ(wanted.calls, 3);
    CHECK_EQ(kill(child, SIGKILL), 0);
    CHECK_EQ(waitpid(child, NULL, 0), child);

    /* One that runs can't be ended; it completes either way. */
    weir_job *job;
    CHECK_OK(weir_job_start(context, sleep_a_little, NULL, &job, value_done, &wanted));
    CHECK_EQ(end(job, &other), 0);
    CHECK(end(job, &wanted) <= 1);
    CHECK_OK(weir_context_run(context, NULL));
    CHECK_EQ(wanted.calls, 4);
    CHECK_EQ(other.calls, 0);

    CHECK_OK(weir_job_close(job));
    CHECK_OK(weir_process_close(process));
    CHECK_OK(weir_hook_close(hook));
    CHECK_OK(weir_watch_close(watch));
    close(ends[0]);
    close(ends[1]);
    CHECK_OK(weir_context_destroy(context));
}

static weir_stream *of_callback;
static char callback_byte;

static void end_in_its_callback(int status, size_t bytes, void *user)
{
    count_io(status, bytes, user);
    CHECK_EQ(end(of_callback, user), 0); /* it is not pending any more */
    if (status == 0) {
        CHECK_OK(weir_stream_read_some(of_callback, &callback_byte, 1, end_in_its_callback, user));
        CHECK_EQ(end(of_callback, user), 1); /* the next one is */
    }
}

TEST(in_its_own_callback)
{
    weir_context *context = new_context();
    struct pair pair = new_pair(context, AF_UNIX);
    struct counter reads = {0};
    of_callback = pair.stream;
    CHECK_OK(weir_stream_read_some(pair.stream, &callback_byte, 1, end_in_its_callback, &reads));
    send_all(pair.peer, "x", 1);
    CHECK_OK(weir_context_run(context, NULL));
    CHECK_EQ(reads.calls, 2);
    CHECK_CODE(reads.status, WEIR_ECANCELED);
    close_pair(&pair);
    CHECK_OK(weir_context_destroy(context));
}

static void *run_it(void *context)
{
    CHECK_OK(weir_context_run(context, NULL));
    return NULL;
}

/* From other threads, while the operations complete: each completes once, with what the cancel's count says. */
TEST(races_with_completions)
{
    weir_context *context = new_context_with(0, 2);
    struct pair pair = new_pair(context, AF_UNIX);
    CHECK_OK(weir_context_work_begin(context));
    pthread_t runner = start_thread(run_it, context);
    for (size_t i = 0; i < many(2000); i++) {
        struct counter read = {0};
        char byte, rest;
        CHECK_OK(weir_stream_read_some(pair.stream, &byte, 1, count_io, &read));
        send_all(pair.peer, "x", 1);
        size_t ended = end(pair.stream, &read);
        while (atomic_load(&read.calls) == 0)
            sched_yield();
        if (atomic_load(&read.status) == 0)
            CHECK_EQ(atomic_load(&read.bytes), 1);
        else
            CHECK_EQ(ended, 1);
        while (atomic_load(&read.status) != 0) { /* the byte is still there */
            size_t bytes;
            CHECK_OK(weir_stream_try_read(pair.stream, &rest, 1, &bytes));
            if (bytes == 1)
                break;
        }
        CHECK_EQ(atomic_load(&read.calls), 1);
    }
    CHECK_OK(weir_context_work_end(context));
    join_thread(runner);
    close_pair(&pair);
    CHECK_OK(weir_context_destroy(context));
}

TEST(dead_handles_and_contexts)
{
    weir_context *context = new_context();
    weir_timer *timer = new_timer(context);
    CHECK_CODE(weir_handle_cancel_operation(NULL, NULL, NULL), WEIR_EBADF);
    CHECK_CODE(weir_handle_cancel_operation(context, NULL, NULL), WEIR_EBADF);
    CHECK_OK(weir_handle_cancel_operation(timer, NULL, NULL));
    CHECK_OK(weir_timer_close(timer));
    CHECK_CODE(weir_handle_cancel_operation(timer, NULL, NULL), WEIR_EBADF);
    CHECK_OK(weir_context_destroy(context));
}

TEST_MAIN()
