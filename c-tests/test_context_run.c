/* The run functions: what they run, what they return, when they end. */
#include "check.h"

#include <sched.h>

#include <fcntl.h>
#include <sys/socket.h>

typedef int (*run_function)(weir_context *context, size_t *count);

static int run_long(weir_context *context, size_t *count)
{
    return weir_context_run_for(context, 30 * CHECK_SECOND, count);
}

static int run_until_later(weir_context *context, size_t *count)
{
    int64_t now = 0;
    CHECK_OK(weir_context_now(context, &now));
    return weir_context_run_until(context, now + 30 * CHECK_SECOND, count);
}

static int wait_one_long(weir_context *context, size_t *count)
{
    return weir_context_wait_one(context, 30 * CHECK_SECOND, count);
}

static const struct {
    const char *name;
    run_function run;
    bool only_one;
} functions[] = {
    {"run", weir_context_run, false},
    {"run_for", run_long, false},
    {"run_until", run_until_later, false},
    {"poll", weir_context_poll, false},
    {"run_one", weir_context_run_one, true},
    {"wait_one", wait_one_long, true},
    {"poll_one", weir_context_poll_one, true},
};
enum { FUNCTIONS = sizeof functions / sizeof functions[0] };

static void post_counted(weir_context *context, struct counter *counter)
{
    CHECK_OK(weir_context_post(context, count_call, counter));
}

static void stop_context(int status, void *user)
{
    CHECK_EQ(status, 0);
    CHECK_OK(weir_context_stop(user));
}

/* A stream whose peer `*other` is a plain non-blocking socket. */
static weir_stream *stream_beside(weir_context *context, int *other)
{
    int pair[2];
    CHECK_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair), 0);
    weir_stream *stream = new_stream(context);
    CHECK_OK(weir_stream_adopt(stream, pair[0]));
    *other = pair[1];
    return stream;
}

/* ---- counts and the stopped state */

TEST(every_run_function_counts_and_stops_when_out_of_work)
{
    for (int i = 0; i < FUNCTIONS; i++) {
        weir_context *context = new_context();
        struct counter counter = {0};
        size_t count = 77;
        CHECK_EQ(weir_context_stopped(context), 0);
        for (int posts = 0; posts < 3; posts++)
            post_counted(context, &counter);
        CHECK_OK(functions[i].run(context, &count));
        CHECK_EQ(count, functions[i].only_one ? 1 : 3);
        CHECK_EQ(counter.calls, functions[i].only_one ? 1 : 3);
        CHECK_EQ(counter.status, 0);
        if (functions[i].only_one) {
            CHECK_EQ(weir_context_stopped(context), 0);
            CHECK_OK(functions[i].run(context, &count));
            CHECK_EQ(count, 1);
            CHECK_OK(functions[i].run(context, &count));
            CHECK_EQ(count, 1);
            CHECK_EQ(counter.calls, 3);
        }
        CHECK_EQ(weir_context_stopped(context), 1);
        CHECK_OK(weir_context_destroy(context));
    }
}

TEST(every_run_function_returns_0_without_work)
{
    for (int i = 0; i < FUNCTIONS; i++) {
        weir_context *context = new_context();
        size_t count = 77;
        CHECK_OK(functions[i].run(context, &count));
        CHECK_EQ(count, 0);
        CHECK_EQ(weir_context_stopped(context), 1);
        CHECK_OK(weir_context_destroy(context));
    }
}

TEST(every_run_function_returns_0_while_stopped_and_works_after_restart)
{
    for (int i = 0; i < FUNCTIONS; i++) {
        weir_context *context = new_context();
        struct counter counter = {0};
        size_t count = 77;
        CHECK_OK(weir_context_stop(context));
        CHECK_EQ(weir_context_stopped(context), 1);
        post_counted(context, &counter);
        CHECK_OK(functions[i].run(context, &count));
        CHECK_EQ(count, 0);
        CHECK_EQ(counter.calls, 0);
        CHECK_OK(weir_context_restart(context));
        CHECK_EQ(weir_context_stopped(context), 0);
        CHECK_OK(functions[i].run(context, &count));
        CHECK_EQ(count, 1);
        CHECK_EQ(counter.calls, 1);
        CHECK_OK(weir_context_destroy(context));
    }
}

TEST(count_may_be_null)
{
    weir_context *context = new_context();
    struct counter counter = {0};
    for (int i = 0; i < FUNCTIONS; i++) {
        post_counted(context, &counter);
        CHECK_OK(functions[i].run(context, NULL));
        CHECK_OK(weir_context_restart(context));
        CHECK_EQ(counter.calls, i + 1);
    }
    CHECK_OK(weir_context_destroy(context));
}

TEST(count_of_run_covers_timers_and_streams)
{
    weir_context *context = new_context();
    struct counter counter = {0};
    int other;
    char byte;
    size_t count = 0;
    weir_stream *stream = stream_beside(context, &other);
    weir_timer *timer = new_timer(context);
    CHECK_OK(weir_timer_expires_after(timer, 2 * CHECK_MS));
    CHECK_OK(weir_timer_wait(timer, count_call, &counter));
    CHECK_OK(weir_timer_wait(timer, count_call, &counter));
    CHECK_OK(weir_stream_read_some(stream, &byte, 1, count_io, &counter));
    CHECK_EQ(write(other, "x", 1), 1);
    post_counted(context, &counter);
    CHECK_OK(weir_context_run(context, &count));
    CHECK_EQ(count, 4);
    CHECK_EQ(counter.calls, 4);
    CHECK_OK(weir_context_destroy(context));
    close(other);
}

/* Completions that are ready at once do not ride along with the one that is asked for. */
static weir_stream *ready_stream;
static struct counter ready_counter;

static void start_ready_reads(int status, void *user)
{
    (void)user;
    CHECK_EQ(status, 0);
    CHECK_OK(weir_stream_write_some(ready_stream, "abc", 3, count_io, &ready_counter));
    CHECK_EQ(ready_counter.calls, 0);
}

TEST(run_one_runs_one_even_when_more_is_ready_inline)
{
    for (int i = 0; i < FUNCTIONS; i++) {
        if (!functions[i].only_one)
            continue;
        weir_context *context = new_context();
        int other;
        size_t count = 0;
        ready_stream = stream_beside(context, &other);
        ready_counter.calls = 0;
        CHECK_OK(weir_context_post(context, start_ready_reads, NULL));
        CHECK_OK(functions[i].run(context, &count));
        CHECK_EQ(count, 1);
        CHECK_EQ(ready_counter.calls, 0);
        CHECK_OK(functions[i].run(context, &count));
        CHECK_EQ(count, 1);
        CHECK_EQ(ready_counter.calls, 1);
        CHECK_OK(weir_context_destroy(context));
        close(other);
    }
}

/* ---- deadlines */

TEST(run_for_returns_at_its_deadline_and_not_before)
{
    weir_context *context = new_context();
    CHECK_OK(weir_context_work_begin(context));
    size_t count = 77;
    for (int i = 0; i < 3; i++) {
        int64_t begin = now_ns();
        CHECK_OK(weir_context_run_for(context, 20 * CHECK_MS, &count));
        CHECK(now_ns() - begin >= 20 * CHECK_MS);
        CHECK_EQ(count, 0);
        CHECK_EQ(weir_context_stopped(context), 0);

        begin = now_ns();
        int64_t now;
        CHECK_OK(weir_context_now(context, &now));
        CHECK_OK(weir_context_run_until(context, now + 20 * CHECK_MS, &count));
        CHECK(now_ns() - begin >= 20 * CHECK_MS);
        CHECK_EQ(count, 0);

        begin = now_ns();
        CHECK_OK(weir_context_wait_one(context, 20 * CHECK_MS, &count));
        CHECK(now_ns() - begin >= 20 * CHECK_MS);
        CHECK_EQ(count, 0);
    }
    CHECK_EQ(weir_context_stopped(context), 0);
    CHECK_OK(weir_context_destroy(context));
}

TEST(a_limit_of_0_or_in_the_past_does_not_block_and_loses_nothing)
{
    weir_context *context = new_context();
    struct counter counter = {0};
    int64_t now;
    size_t one = 0, total = 0;
    CHECK_OK(weir_context_work_begin(context));
    /* Nothing is ready: these would hang (the alarm ends the case) if they blocked. */
    CHECK_OK(weir_context_run_for(context, 0, &one));
    CHECK_EQ(one, 0);
    CHECK_OK(weir_context_wait_one(context, 0, &one));
    CHECK_EQ(one, 0);
    CHECK_OK(weir_context_run_until(context, 0, &one));
    CHECK_EQ(one, 0);
    CHECK_OK(weir_context_now(context, &now));
    CHECK_OK(weir_context_run_until(context, now - 1, &one));
    CHECK_EQ(one, 0);
    CHECK_EQ(weir_context_stopped(context), 0);
    for (int i = 0; i < 10; i++)
        post_counted(context, &counter);
    CHECK_OK(weir_context_run_for(context, 0, &one));
    total += one;
    CHECK_OK(weir_context_wait_one(context, 0, &one));
    CHECK(one <= 1);
    total += one;
    CHECK_EQ(counter.calls, total);
    CHECK_OK(weir_context_poll(context, &one));
    CHECK_EQ(total + one, 10);
    CHECK_EQ(counter.calls, 10);
    CHECK_OK(weir_context_destroy(context));
}

TEST(forever_is_no_limit)
{
    weir_context *context = new_context();
    struct counter counter = {0};
    size_t count = 0;
    weir_timer *timer = new_timer(context);
    for (int i = 0; i < 3; i++) {
        CHECK_OK(weir_timer_expires_after(timer, 5 * CHECK_MS));
        CHECK_OK(weir_timer_wait(timer, count_call, &counter));
        CHECK_OK(i == 0   ? weir_context_run_for(context, WEIR_FOREVER, &count)
                 : i == 1 ? weir_context_run_until(context, WEIR_FOREVER, &count)
                          : weir_context_wait_one(context, WEIR_FOREVER, &count));
        CHECK_EQ(count, 1);
        CHECK_EQ(counter.calls, i + 1);
        CHECK_EQ(weir_context_stopped(context), 1);
        CHECK_OK(weir_context_restart(context));
    }
    CHECK_OK(weir_context_destroy(context));
}

TEST(run_for_ends_early_when_out_of_work)
{
    weir_context *context = new_context();
    struct counter counter = {0};
    int64_t begin = now_ns();
    post_counted(context, &counter);
    CHECK_OK(weir_context_run_for(context, 3600 * CHECK_SECOND, NULL));
    CHECK(now_ns() - begin < 1800 * CHECK_SECOND);
    CHECK_EQ(counter.calls, 1);
    CHECK_OK(weir_context_destroy(context));
}

/* A callback that always posts itself must not hold run_for beyond its limit. */
static weir_context *endless_context;

static void post_again(int status, void *user)
{
    struct counter *counter = user;
    counter->calls++;
    if (status == 0)
        CHECK_OK(weir_context_post(endless_context, post_again, user));
}

TEST(run_for_ends_although_a_callback_posts_without_end)
{
    endless_context = new_context();
    struct counter counter = {0};
    size_t count = 0;
    int64_t begin = now_ns();
    CHECK_OK(weir_context_post(endless_context, post_again, &counter));
    CHECK_OK(weir_context_run_for(endless_context, 10 * CHECK_MS, &count));
    CHECK(now_ns() - begin >= 10 * CHECK_MS);
    CHECK(count > 0);
    CHECK_EQ(counter.calls, count);
    CHECK_EQ(weir_context_stopped(endless_context), 0);
    /* poll ends as well: what a callback posts is not always "ready" once more. */
    CHECK_OK(weir_context_poll(endless_context, &count));
    CHECK(count > 0);
    int calls = counter.calls;
    CHECK_OK(weir_context_destroy(endless_context));
    CHECK_EQ(counter.calls, calls + 1);
}

/* ---- H03: poll and poll_one ask the kernel, however idle the context is */

TEST(h03_poll_asks_the_kernel_for_a_readable_stream)
{
    for (int i = 0; i < 2; i++) {
        weir_context *context = new_context();
        struct counter counter = {0};
        char byte = 0;
        int other;
        size_t count = 77;
        weir_stream *stream = stream_beside(context, &other);
        for (int round = 0; round < 5; round++) {
            CHECK_OK(weir_stream_read_some(stream, &byte, 1, count_io, &counter));
            CHECK_OK((i ? weir_context_poll_one : weir_context_poll)(context, &count));
            CHECK_EQ(count, 0);
            CHECK_EQ(write(other, "a", 1), 1);
            CHECK_OK((i ? weir_context_poll_one : weir_context_poll)(context, &count));
            CHECK_EQ(count, 1);
            CHECK_EQ(counter.calls, round + 1);
            CHECK_EQ(byte, 'a');
            CHECK_OK(weir_context_restart(context));
        }
        CHECK_OK(weir_context_destroy(context));
        close(other);
    }
}

TEST(h03_poll_asks_the_kernel_for_an_expired_timer)
{
    for (int i = 0; i < 2; i++) {
        weir_context *context = new_context();
        struct counter counter = {0};
        size_t count = 77;
        weir_timer *timer = new_timer(context);
        for (int round = 0; round < 5; round++) {
            CHECK_OK(weir_timer_expires_after(timer, 5 * CHECK_MS));
            CHECK_OK(weir_timer_wait(timer, count_call, &counter));
            sleep_ms(6);
            CHECK_OK((i ? weir_context_poll_one : weir_context_poll)(context, &count));
            CHECK_EQ(count, 1);
            CHECK_EQ(counter.calls, round + 1);
            CHECK_OK(weir_context_restart(context));
        }
        CHECK_OK(weir_context_destroy(context));
    }
}

TEST(h03_poll_one_serves_a_timer_of_the_manual_clock)
{
    weir_context *context = new_context_with(WEIR_CONTEXT_MANUAL_CLOCK, 0);
    struct counter counter = {0};
    size_t count = 77;
    weir_timer *timer = new_timer(context);
    CHECK_OK(weir_timer_expires_after(timer, 5));
    CHECK_OK(weir_timer_wait(timer, count_call, &counter));
    CHECK_OK(weir_context_poll_one(context, &count));
    CHECK_EQ(count, 0);
    CHECK_OK(weir_context_advance(context, 5));
    CHECK_OK(weir_context_poll_one(context, &count));
    CHECK_EQ(count, 1);
    CHECK_EQ(counter.calls, 1);
    CHECK_OK(weir_context_destroy(context));
}

/* All that is due, also where it is more than one turn takes. */
TEST(h03_poll_serves_more_due_timers_and_streams_than_one_turn_takes)
{
    enum { EACH = 50 };
    static const uint32_t batches[] = {1, 7, 0};
    for (int batch = 0; batch < 3; batch++) {
        weir_context_options options = {0};
        weir_context *context = NULL;
        struct counter counter = {0};
        int others[EACH];
        char bytes[EACH];
        size_t count = 0;
        options.struct_size = sizeof options;
        options.max_events = batches[batch];
        CHECK_OK(weir_context_create(&options, &context));
        for (int i = 0; i < EACH; i++) {
            weir_stream *stream = stream_beside(context, &others[i]);
            CHECK_OK(weir_stream_read_some(stream, &bytes[i], 1, count_io, &counter));
        }
        CHECK_OK(weir_context_poll(context, &count));
        CHECK_EQ(count, 0);
        for (int i = 0; i < EACH; i++) {
            CHECK_EQ(write(others[i], "a", 1), 1);
            for (int k = 0; k < 4; k++)
                CHECK_OK(weir_timer_wait(new_timer(context), count_call, &counter));
        }
        CHECK_OK(weir_context_poll(context, &count));
        CHECK_EQ(count, 5 * EACH);
        CHECK_OK(weir_context_destroy(context));
        for (int i = 0; i < EACH; i++)
            close(others[i]);
    }
}

/* poll serves I/O although a post is queued before it. */
TEST(h03_poll_serves_a_post_and_a_readable_stream_together)
{
    weir_context *context = new_context();
    struct counter posts = {0}, reads = {0};
    char byte;
    int other;
    size_t count = 0;
    weir_stream *stream = stream_beside(context, &other);
    CHECK_OK(weir_stream_read_some(stream, &byte, 1, count_io, &reads));
    CHECK_EQ(write(other, "a", 1), 1);
    post_counted(context, &posts);
    CHECK_OK(weir_context_poll(context, &count));
    CHECK_EQ(count, 2);
    CHECK_EQ(posts.calls, 1);
    CHECK_EQ(reads.calls, 1);
    CHECK_OK(weir_context_destroy(context));
    close(other);
}

/* ---- H04, H05: timed runs beside run */

static void *run_thread(void *user)
{
    CHECK_OK(weir_context_run(user, NULL));
    return NULL;
}

static void *run_for_thread(void *user)
{
    int64_t begin = now_ns();
    CHECK_OK(weir_context_run_for(user, 30 * CHECK_MS, NULL));
    CHECK(now_ns() - begin >= 30 * CHECK_MS);
    return NULL;
}

/* Whoever of the two is the reactor: the alarm ends the case when the limit is ignored. */
TEST(h04_run_for_honours_its_limit_beside_a_thread_in_run)
{
    weir_context *context = new_context();
    CHECK_OK(weir_context_work_begin(context));
    pthread_t runner = start_thread(run_thread, context);
    for (int i = 0; i < 10; i++) {
        sleep_ms(5); /* time for the other one to take the role */
        int64_t begin = now_ns();
        size_t count = 77;
        CHECK_OK(weir_context_run_for(context, 10 * CHECK_MS, &count));
        CHECK(now_ns() - begin >= 10 * CHECK_MS);
        CHECK_EQ(count, 0);
        begin = now_ns();
        CHECK_OK(weir_context_wait_one(context, 10 * CHECK_MS, &count));
        CHECK(now_ns() - begin >= 10 * CHECK_MS);
        CHECK_EQ(count, 0);
    }
    CHECK_OK(weir_context_stop(context));
    join_thread(runner);
    CHECK_OK(weir_context_destroy(context));
}

TEST(h04_four_timed_runs_beside_each_other_all_return)
{
    weir_context *context = new_context();
    CHECK_OK(weir_context_work_begin(context));
    pthread_t threads[4];
    for (int round = 0; round < 5; round++) {
        for (int i = 0; i < 4; i++)
            threads[i] = start_thread(run_for_thread, context);
        for (int i = 0; i < 4; i++)
            join_thread(threads[i]);
    }
    CHECK_EQ(weir_context_stopped(context), 0);
    CHECK_OK(weir_context_destroy(context));
}

/* A thread that leaves run_for was the reactor; the one that stays in run must take over, or no timer fires. */
TEST(h05_run_for_hands_the_reactor_over_to_run)
{
    for (int round = 0; round < (int)many(40); round++) {
        weir_context *context = new_context();
        struct counter counter = {0};
        weir_timer *before = new_timer(context), *after = new_timer(context);
        CHECK_OK(weir_context_work_begin(context));
        CHECK_OK(weir_timer_expires_after(before, 35 * CHECK_MS));
        CHECK_OK(weir_timer_wait(before, count_call, &counter));
        pthread_t timed = start_thread(run_for_thread, context);
        if (round % 2)
            sleep_ms(1);
        pthread_t runner = start_thread(run_thread, context);
        join_thread(timed);
        WAIT_FOR(counter.calls == 1);
        CHECK_OK(weir_timer_expires_after(after, CHECK_MS));
        CHECK_OK(weir_timer_wait(after, count_call, &counter));
        WAIT_FOR(counter.calls == 2);
        post_counted(context, &counter);
        WAIT_FOR(counter.calls == 3);
        CHECK_OK(weir_context_stop(context));
        join_thread(runner);
        CHECK_OK(weir_context_destroy(context));
    }
}

/* The same with run_one: it leaves after one callback, and the sleeper beside it must take over. */
static void *run_one_thread(void *user)
{
    size_t count = 0;
    CHECK_OK(weir_context_run_one(user, &count));
    CHECK_EQ(count, 1);
    return NULL;
}

TEST(h05_run_one_hands_the_reactor_over_to_run)
{
    for (int round = 0; round < (int)many(200); round++) {
        weir_context *context = new_context();
        struct counter counter = {0};
        weir_timer *timer = new_timer(context);
        CHECK_OK(weir_context_work_begin(context));
        pthread_t one = start_thread(run_one_thread, context);
        pthread_t other = start_thread(run_one_thread, context);
        post_counted(context, &counter);
        CHECK_OK(weir_timer_expires_after(timer, CHECK_MS));
        CHECK_OK(weir_timer_wait(timer, count_call, &counter));
        join_thread(one);
        join_thread(other);
        CHECK_EQ(counter.calls, 2);
        CHECK_OK(weir_context_destroy(context));
    }
}

/* ---- H07: nested runs */

struct nest {
    weir_context *context;
    run_function run;
    struct counter inner;
    size_t inner_count;
    bool outer_done;
};

static void nest_outer(int status, void *user)
{
    struct nest *nest = user;
    CHECK_EQ(status, 0);
    CHECK_EQ(weir_context_running_in_this_thread(nest->context), 1);
    CHECK_OK(weir_context_post(nest->context, count_call, &nest->inner));
    CHECK_OK(nest->run(nest->context, &nest->inner_count));
    CHECK_EQ(nest->inner.calls, 1);
    CHECK_EQ(nest->inner_count, 1);
    CHECK_EQ(weir_context_running_in_this_thread(nest->context), 1);
    nest->outer_done = true;
}

TEST(h07_a_nested_run_sees_what_the_outer_callback_posted)
{
    for (int i = 0; i < FUNCTIONS; i++) {
        struct nest nest = {.context = new_context(), .run = functions[i].run};
        CHECK_OK(weir_context_post(nest.context, nest_outer, &nest));
        CHECK_OK(weir_context_run(nest.context, NULL));
        CHECK(nest.outer_done);
        CHECK_EQ(nest.inner.calls, 1);
        CHECK_EQ(weir_context_stopped(nest.context), 1);
        CHECK_OK(weir_context_destroy(nest.context));
    }
}

/* The work of what the outer callback posted is counted before another thread can run it: else the count passes 0
 * and the context stops with work left. */
static atomic_int nested_left, nested_noops;
static atomic_bool nested_over;

static void count_noop(int status, void *user)
{
    (void)user;
    CHECK_EQ(status, 0);
    atomic_fetch_add(&nested_noops, 1);
}

static void nest_beside_others(int status, void *user)
{
    CHECK_EQ(status, 0);
    for (int i = 0; i < 20; i++)
        CHECK_OK(weir_context_post(user, count_noop, NULL));
    CHECK_OK(weir_context_poll_one(user, NULL));
    CHECK_EQ(weir_context_stopped(user), 0);
    if (atomic_fetch_sub(&nested_left, 1) > 0)
        CHECK_OK(weir_context_post(user, nest_beside_others, user));
    else
        atomic_store(&nested_over, true);
}

static void *run_until_over(void *user)
{
    CHECK_OK(weir_context_run(user, NULL));
    CHECK(atomic_load(&nested_over));
    return NULL;
}

TEST(h07_a_nested_run_beside_other_threads_keeps_the_work_count)
{
    weir_context *context = new_context();
    pthread_t threads[4];
    int rounds = (int)many(100000);
    atomic_store(&nested_left, rounds);
    CHECK_OK(weir_context_work_begin(context));
    CHECK_OK(weir_context_post(context, nest_beside_others, context));
    for (int i = 0; i < 4; i++)
        threads[i] = start_thread(run_until_over, context);
    while (!atomic_load(&nested_over))
        sleep_ms(1);
    CHECK_OK(weir_context_work_end(context));
    for (int i = 0; i < 4; i++)
        join_thread(threads[i]);
    CHECK_EQ(atomic_load(&nested_noops), (rounds + 1) * 20);
    CHECK_OK(weir_context_destroy(context));
}

/* With work held open the nested run must be able to sleep and to be woken, and the outer one to go on. */
static void nest_timer(int status, void *user)
{
    struct nest *nest = user;
    CHECK_EQ(status, 0);
    weir_timer *timer = new_timer(nest->context);
    CHECK_OK(weir_timer_expires_after(timer, 2 * CHECK_MS));
    CHECK_OK(weir_timer_wait(timer, count_call, &nest->inner));
    CHECK_OK(weir_context_run_one(nest->context, &nest->inner_count));
    CHECK_EQ(nest->inner_count, 1);
    CHECK_EQ(nest->inner.calls, 1);
    CHECK_OK(weir_timer_close(timer));
    nest->outer_done = true;
    CHECK_OK(weir_context_work_end(nest->context));
}

TEST(h07_a_nested_run_one_waits_for_a_timer)
{
    struct nest nest = {.context = new_context()};
    CHECK_OK(weir_context_work_begin(nest.context));
    CHECK_OK(weir_context_post(nest.context, nest_timer, &nest));
    CHECK_OK(weir_context_run(nest.context, NULL));
    CHECK(nest.outer_done);
    CHECK_OK(weir_context_destroy(nest.context));
}

/* What completed inline in the outer frame is seen too, and is run once. */
static weir_stream *nest_stream;

static void nest_inline(int status, void *user)
{
    struct nest *nest = user;
    CHECK_EQ(status, 0);
    CHECK_OK(weir_stream_write_some(nest_stream, "x", 1, count_io, &nest->inner));
    CHECK_EQ(nest->inner.calls, 0);
    CHECK_OK(nest->run(nest->context, &nest->inner_count));
    CHECK_EQ(nest->inner.calls, 1);
    CHECK_EQ(nest->inner_count, 1);
    nest->outer_done = true;
}

TEST(h07_a_nested_run_sees_inline_completions)
{
    for (int i = 0; i < FUNCTIONS; i++) {
        struct nest nest = {.context = new_context(), .run = functions[i].run};
        int other;
        nest_stream = stream_beside(nest.context, &other);
        CHECK_OK(weir_context_post(nest.context, nest_inline, &nest));
        CHECK_OK(weir_context_run(nest.context, NULL));
        CHECK(nest.outer_done);
        CHECK_EQ(nest.inner.calls, 1);
        CHECK_OK(weir_context_destroy(nest.context));
        close(other);
    }
}

/* Two contexts on one thread, each nested in the other. */
static weir_context *first, *second;
static struct counter on_first, on_second;

static void third_level(int status, void *user)
{
    count_call(status, user);
    if (status == WEIR_ECANCELED)
        return; /* the one that destroy delivers, when `second` is gone */
    CHECK_EQ(weir_context_running_in_this_thread(first), 1);
    CHECK_EQ(weir_context_running_in_this_thread(second), 1);
}

static void second_level(int status, void *user)
{
    size_t count = 0;
    CHECK_EQ(status, 0);
    (void)user;
    CHECK_EQ(weir_context_running_in_this_thread(first), 1);
    CHECK_EQ(weir_context_running_in_this_thread(second), 1);
    CHECK_OK(weir_context_post(first, third_level, &on_first));
    CHECK_OK(weir_context_post(second, third_level, &on_second));
    CHECK_OK(weir_context_run_one(first, &count));
    CHECK_EQ(count, 1);
    CHECK_EQ(on_first.calls, 1);
    CHECK_EQ(on_second.calls, 0);
}

static void first_level(int status, void *user)
{
    size_t count = 0;
    CHECK_EQ(status, 0);
    (void)user;
    CHECK_EQ(weir_context_running_in_this_thread(first), 1);
    CHECK_EQ(weir_context_running_in_this_thread(second), 0);
    CHECK_OK(weir_context_post(second, second_level, NULL));
    CHECK_OK(weir_context_post(first, third_level, &on_first));
    CHECK_OK(weir_context_run(second, &count));
    CHECK_EQ(count, 2);
    CHECK_EQ(on_second.calls, 1);
    CHECK_EQ(weir_context_running_in_this_thread(second), 0);
}

static void inside_both_is_first_only(int status, void *user)
{
    (void)user;
    CHECK_EQ(status, 0);
    CHECK_EQ(weir_context_running_in_this_thread(first), 1);
    CHECK_EQ(weir_context_running_in_this_thread(second), 0);
}

TEST(h07_two_contexts_nest_on_one_thread)
{
    first = new_context();
    second = new_context();
    /* third_level runs in `first` nested in `second` only, so the one posted by first_level comes second. */
    CHECK_OK(weir_context_post(first, inside_both_is_first_only, NULL));
    CHECK_OK(weir_context_run(first, NULL));
    CHECK_OK(weir_context_restart(first));
    CHECK_OK(weir_context_post(first, first_level, NULL));
    size_t count = 0;
    CHECK_OK(weir_context_run_one(first, &count));
    CHECK_EQ(count, 1);
    CHECK_EQ(on_first.calls, 1);
    CHECK_OK(weir_context_poll(second, &count));
    CHECK_EQ(count, 0);
    CHECK_EQ(weir_context_running_in_this_thread(first), 0);
    CHECK_OK(weir_context_destroy(second));
    CHECK_OK(weir_context_destroy(first));
    /* One was left in `first`: destroy delivered it. */
    CHECK_EQ(on_first.calls, 2);
    CHECK_EQ(on_second.calls, 1);
}

/* ---- H08: nothing private is lost when a thread leaves */

static struct counter left_over;

static void post_three_inside(int status, void *user)
{
    CHECK_EQ(status, 0);
    for (int i = 0; i < 3; i++)
        CHECK_OK(weir_context_post(user, count_call, &left_over));
}

static void post_three_and_stop(int status, void *user)
{
    post_three_inside(status, user);
    CHECK_OK(weir_context_stop(user));
}

static void *run_one_elsewhere(void *user)
{
    size_t count = 0;
    CHECK_OK(weir_context_run_one(user, &count));
    CHECK_EQ(count, 1);
    return NULL;
}

TEST(h08_what_a_callback_posted_is_there_for_other_threads_after_run_one)
{
    weir_context *context = new_context();
    size_t count = 0;
    CHECK_OK(weir_context_post(context, post_three_inside, context));
    CHECK_OK(weir_context_run_one(context, &count));
    CHECK_EQ(count, 1);
    CHECK_EQ(left_over.calls, 0);
    join_thread(start_thread(run_one_elsewhere, context));
    CHECK_EQ(left_over.calls, 1);
    /* The work count is right too: run neither ends early nor hangs. */
    CHECK_OK(weir_context_run(context, &count));
    CHECK_EQ(count, 2);
    CHECK_EQ(left_over.calls, 3);
    CHECK_EQ(weir_context_stopped(context), 1);
    CHECK_OK(weir_context_destroy(context));
}

TEST(h08_what_a_callback_posted_survives_a_stop)
{
    weir_context *context = new_context();
    size_t count = 0;
    CHECK_OK(weir_context_post(context, post_three_and_stop, context));
    CHECK_OK(weir_context_run(context, &count));
    CHECK_EQ(count, 1);
    CHECK_EQ(left_over.calls, 0);
    CHECK_OK(weir_context_restart(context));
    join_thread(start_thread(run_one_elsewhere, context));
    CHECK_OK(weir_context_run(context, &count));
    CHECK_EQ(count, 2);
    CHECK_EQ(left_over.calls, 3);
    CHECK_OK(weir_context_destroy(context));
}

/* A timer started inside is private work as well; it must hold another thread's run open. */
static void start_timer_inside(int status, void *user)
{
    CHECK_EQ(status, 0);
    weir_context *context = user;
    weir_timer *timer = new_timer(context);
    CHECK_OK(weir_timer_expires_after(timer, 5 * CHECK_MS));
    CHECK_OK(weir_timer_wait(timer, count_call, &left_over));
}

TEST(h08_work_begun_by_a_callback_counts_after_its_thread_left)
{
    weir_context *context = new_context();
    size_t count = 0;
    CHECK_OK(weir_context_post(context, start_timer_inside, context));
    CHECK_OK(weir_context_run_one(context, &count));
    CHECK_EQ(weir_context_stopped(context), 0);
    join_thread(start_thread(run_thread, context));
    CHECK_EQ(left_over.calls, 1);
    CHECK_EQ(weir_context_stopped(context), 1);
    CHECK_OK(weir_context_destroy(context));
}

/* ---- H13: the hint tunes speed only */

enum { HINT_POSTERS = 3, HINT_POSTS = 20000 };
static struct counter hinted;

static void *post_many(void *user)
{
    for (size_t i = 0; i < many(HINT_POSTS); i++)
        CHECK_OK(weir_context_post(user, count_call, &hinted));
    return NULL;
}

static void hint_with_threads(uint32_t hint, int runners)
{
    weir_context *context = new_context_with(0, hint);
    pthread_t run[4], post[HINT_POSTERS];
    int expected = (int)many(HINT_POSTS) * HINT_POSTERS;
    CHECK_OK(weir_context_work_begin(context));
    for (int i = 0; i < runners; i++)
        run[i] = start_thread(run_thread, context);
    for (int i = 0; i < HINT_POSTERS; i++)
        post[i] = start_thread(post_many, context);
    for (int i = 0; i < HINT_POSTERS; i++)
        join_thread(post[i]);
    CHECK_OK(weir_context_work_end(context));
    for (int i = 0; i < runners; i++)
        join_thread(run[i]);
    CHECK_EQ(hinted.calls, expected);
    CHECK_EQ(weir_context_stopped(context), 1);
    CHECK_OK(weir_context_destroy(context));
}

TEST(h13_hint_1_with_posts_from_three_threads)
{
    hint_with_threads(1, 1);
}

TEST(h13_hint_1_with_two_threads_in_run)
{
    hint_with_threads(1, 2);
}

/* The first thread is alone inside and busy, so that the queue is as good as its own, when the second comes. */
enum { HINT_CHAINS = 8, HINT_LINKS = 20000 };
static weir_context *hint_context;

static void next_link(int status, void *user)
{
    count_call(status, &hinted);
    intptr_t left = (intptr_t)user;
    if (left > 1)
        CHECK_OK(weir_context_post(hint_context, next_link, (void *)(left - 1)));
}

TEST(h13_hint_1_with_a_thread_that_comes_later)
{
    int links = (int)many(HINT_LINKS);
    for (int round = 0; round < 5; round++) {
        hint_context = new_context_with(0, 1);
        atomic_store(&hinted.calls, 0);
        for (int i = 0; i < HINT_CHAINS; i++)
            CHECK_OK(weir_context_post(hint_context, next_link, (void *)(intptr_t)links));
        pthread_t first = start_thread(run_thread, hint_context);
        while (atomic_load(&hinted.calls) < links / 4)
            sched_yield();
        pthread_t second = start_thread(run_thread, hint_context);
        join_thread(first);
        join_thread(second);
        CHECK_EQ(atomic_load(&hinted.calls), HINT_CHAINS * links);
        CHECK_OK(weir_context_destroy(hint_context));
    }
}

/* Many posts lie in a block, of which a lone thread takes one after another. In the midst of it the others must be where
   another thread, a nested run or the next run finds them: each once, and in order. */
enum { IN_BLOCKS = 200, MIDST = 50 };
static struct {
    weir_context *context;
    void (*midst)(void);
    atomic_int runs[IN_BLOCKS];
    atomic_int ended;
    int last; /* ran before; -1 where several threads run */
} blocks;

static void in_block(int status, void *user)
{
    intptr_t number = (intptr_t)user;
    CHECK_EQ(status, 0);
    atomic_fetch_add(&blocks.runs[number], 1);
    if (blocks.last >= 0) {
        CHECK_EQ(number, blocks.last);
        blocks.last++;
    }
    if (number == MIDST)
        blocks.midst();
    atomic_fetch_add(&blocks.ended, 1);
}

static void run_blocks(void (*midst)(void), int in_order)
{
    blocks.context = new_context_with(0, 1);
    blocks.midst = midst;
    blocks.last = in_order ? 0 : -1;
    atomic_store(&blocks.ended, 0);
    for (int i = 0; i < IN_BLOCKS; i++) {
        atomic_store(&blocks.runs[i], 0);
        CHECK_OK(weir_context_post(blocks.context, in_block, (void *)(intptr_t)i));
    }
    CHECK_OK(weir_context_run(blocks.context, NULL));
}

static void end_blocks(void)
{
    CHECK_EQ(atomic_load(&blocks.ended), IN_BLOCKS);
    for (int i = 0; i < IN_BLOCKS; i++)
        CHECK_EQ(atomic_load(&blocks.runs[i]), 1);
    CHECK_OK(weir_context_destroy(blocks.context));
}

static pthread_t late_thread;

static void let_another_run(void)
{
    late_thread = start_thread(run_thread, blocks.context);
    while (atomic_load(&blocks.ended) < IN_BLOCKS - 1)
        sched_yield();
}

TEST(h13_calls_ahead_are_left_to_a_thread_that_comes_later)
{
    run_blocks(let_another_run, 0);
    join_thread(late_thread);
    end_blocks();
}

static void poll_the_rest(void)
{
    size_t count;
    CHECK_OK(weir_context_poll(blocks.context, &count));
    CHECK_EQ(count, IN_BLOCKS - MIDST - 1);
}

TEST(h07_calls_ahead_are_run_by_a_nested_run)
{
    run_blocks(poll_the_rest, 1);
    end_blocks();
}

static void stop_blocks(void)
{
    CHECK_OK(weir_context_stop(blocks.context));
}

TEST(calls_ahead_stay_queued_at_a_stop)
{
    run_blocks(stop_blocks, 1);
    CHECK_EQ(atomic_load(&blocks.ended), MIDST + 1);
    CHECK_OK(weir_context_restart(blocks.context));
    CHECK_OK(weir_context_run(blocks.context, NULL));
    end_blocks();
}

TEST(h13_hint_1000_with_one_thread_in_run)
{
    hint_with_threads(1000, 1);
}

/* ---- running_in_this_thread */

static void *ask_elsewhere(void *user)
{
    CHECK_EQ(weir_context_running_in_this_thread(user), 0);
    return NULL;
}

static void ask_inside(int status, void *user)
{
    CHECK_EQ(status, 0);
    CHECK_EQ(weir_context_running_in_this_thread(user), 1);
    join_thread(start_thread(ask_elsewhere, user));
    CHECK_OK(weir_context_stop(user));
    CHECK_EQ(weir_context_running_in_this_thread(user), 1);
}

TEST(running_in_this_thread_is_true_inside_run_only)
{
    weir_context *context = new_context();
    CHECK_EQ(weir_context_running_in_this_thread(context), 0);
    CHECK_OK(weir_context_post(context, ask_inside, context));
    CHECK_OK(weir_context_run(context, NULL));
    CHECK_EQ(weir_context_running_in_this_thread(context), 0);
    CHECK_OK(weir_context_destroy(context));
}

/* ---- work */

static void *end_work_later(void *user)
{
    sleep_ms(10);
    CHECK_OK(weir_context_work_end(user));
    return NULL;
}

TEST(work_holds_run_open_until_it_ends_on_another_thread)
{
    weir_context *context = new_context();
    size_t count = 77;
    CHECK_OK(weir_context_work_begin(context));
    CHECK_OK(weir_context_work_begin(context));
    pthread_t first_end = start_thread(end_work_later, context);
    pthread_t second_end = start_thread(end_work_later, context);
    int64_t begin = now_ns();
    CHECK_OK(weir_context_run(context, &count));
    CHECK(now_ns() > begin);
    CHECK_EQ(count, 0);
    CHECK_EQ(weir_context_stopped(context), 1);
    join_thread(first_end);
    join_thread(second_end);
    CHECK_CODE(weir_context_work_end(context), WEIR_EINVAL);
    CHECK_OK(weir_context_destroy(context));
}

TEST(work_end_without_a_begin_is_an_error_even_with_operations_pending)
{
    weir_context *context = new_context();
    struct counter counter = {0};
    CHECK_CODE(weir_context_work_end(context), WEIR_EINVAL);
    post_counted(context, &counter);
    CHECK_CODE(weir_context_work_end(context), WEIR_EINVAL);
    CHECK_OK(weir_context_work_begin(context));
    CHECK_OK(weir_context_work_end(context));
    CHECK_CODE(weir_context_work_end(context), WEIR_EINVAL);
    CHECK_OK(weir_context_run(context, NULL));
    CHECK_EQ(counter.calls, 1);
    CHECK_OK(weir_context_destroy(context));
}

TEST(work_held_open_lets_poll_be_called_again_without_restart)
{
    weir_context *context = new_context();
    struct counter counter = {0};
    size_t count = 77;
    CHECK_OK(weir_context_work_begin(context));
    for (int i = 0; i < 3; i++) {
        CHECK_OK(weir_context_poll(context, &count));
        CHECK_EQ(count, 0);
        post_counted(context, &counter);
        CHECK_OK(weir_context_poll(context, &count));
        CHECK_EQ(count, 1);
        CHECK_EQ(weir_context_stopped(context), 0);
    }
    CHECK_OK(weir_context_destroy(context));
}

static void end_work_inside(int status, void *user)
{
    CHECK_EQ(status, 0);
    CHECK_OK(weir_context_work_end(user));
}

/* The last work ends inside a callback while three other threads sleep: all of them return. */
TEST(run_returns_on_every_thread_when_the_last_work_ends)
{
    for (size_t round = 0; round < many(200); round++) {
        weir_context *context = new_context();
        pthread_t threads[4];
        CHECK_OK(weir_context_work_begin(context));
        for (int i = 0; i < 4; i++)
            threads[i] = start_thread(run_thread, context);
        if (round % 2)
            CHECK_OK(weir_context_post(context, end_work_inside, context));
        else
            CHECK_OK(weir_context_work_end(context));
        for (int i = 0; i < 4; i++)
            join_thread(threads[i]);
        CHECK_EQ(weir_context_stopped(context), 1);
        CHECK_OK(weir_context_destroy(context));
    }
}

/* ---- the clock */

TEST(now_is_the_monotonic_clock)
{
    weir_context *context = new_context();
    int64_t before = now_ns(), now = 0;
    CHECK_OK(weir_context_now(context, &now));
    CHECK(now >= before && now <= now_ns());
    CHECK_CODE(weir_context_advance(context, 1), WEIR_EINVAL);
    CHECK_OK(weir_context_destroy(context));
}

/* ---- options */

TEST(options_tune_speed_and_not_meaning)
{
    static const weir_context_options table[] = {
        {.struct_size = sizeof(weir_context_options)},
        {.struct_size = sizeof(weir_context_options),
         .thread_hint = 1,
         .max_events = 1,
         .inline_budget_initial = 1,
         .inline_budget_max = 1,
         .inline_budget_unassisted = 1},
        {.struct_size = sizeof(weir_context_options),
         .thread_hint = 2,
         .max_events = 4096,
         .inline_budget_initial = 65535,
         .inline_budget_max = 65535,
         .inline_budget_unassisted = 65535,
         .timer_slack_ns = 1000000000},
        {.struct_size = sizeof(weir_context_options),
         .flags = WEIR_CONTEXT_NO_INLINE},
        {.struct_size = sizeof(weir_context_options),
         .flags = WEIR_CONTEXT_NO_INLINE,
         .thread_hint = 4,
         .max_events = 7,
         .inline_budget_initial = 3,
         .inline_budget_max = 5,
         .inline_budget_unassisted = 2,
         .timer_slack_ns = 1000},
    };
    for (size_t i = 0; i < sizeof table / sizeof table[0]; i++) {
        weir_context *context = NULL;
        struct counter counter = {0};
        char byte;
        int other;
        size_t count = 0;
        CHECK_OK(weir_context_create(&table[i], &context));
        weir_stream *stream = stream_beside(context, &other);
        weir_timer *timer = new_timer(context);
        for (int n = 0; n < 100; n++)
            post_counted(context, &counter);
        CHECK_OK(weir_timer_expires_after(timer, CHECK_MS));
        CHECK_OK(weir_timer_wait(timer, count_call, &counter));
        CHECK_OK(weir_stream_read_some(stream, &byte, 1, count_io, &counter));
        CHECK_OK(weir_stream_write_some(stream, "x", 1, count_io, &counter));
        CHECK_EQ(write(other, "y", 1), 1);
        CHECK_OK(weir_context_run(context, &count));
        CHECK_EQ(count, 103);
        CHECK_EQ(counter.calls, 103);
        CHECK_OK(weir_context_destroy(context));
        close(other);
    }
}

/* ---- stop inside a callback of each run function */

TEST(stop_from_a_callback_ends_every_run_function)
{
    for (int i = 0; i < FUNCTIONS; i++) {
        weir_context *context = new_context();
        struct counter counter = {0};
        size_t count = 77;
        CHECK_OK(weir_context_post(context, stop_context, context));
        post_counted(context, &counter);
        CHECK_OK(functions[i].run(context, &count));
        CHECK_EQ(count, 1);
        CHECK_EQ(counter.calls, 0);
        CHECK_EQ(weir_context_stopped(context), 1);
        CHECK_OK(weir_context_restart(context));
        CHECK_OK(functions[i].run(context, &count));
        CHECK_EQ(count, 1);
        CHECK_EQ(counter.calls, 1);
        CHECK_OK(weir_context_destroy(context));
    }
}

/* H07: a callback in a nested run waits as one of several; the thread that ends the last work must get it back,
 * whoever goes to sleep meanwhile. And no thread that enters run beside it may take the context for out of work. */
struct nested_round {
    weir_context *context;
    int left;
};

static void count_down(int status, void *user)
{
    (void)status;
    (void)user;
}

static void run_nested(int status, void *user)
{
    struct nested_round *round = user;
    CHECK_EQ(status, 0);
    for (int i = 0; i < 3; i++)
        CHECK_OK(weir_context_post(round->context, count_down, NULL));
    CHECK_OK(weir_context_run(round->context, NULL));
    CHECK_EQ(weir_context_stopped(round->context), 0);
    if (--round->left > 0)
        CHECK_OK(weir_context_post(round->context, run_nested, round));
}

TEST(h07_a_nested_run_among_four_threads_returns_each_time)
{
    pthread_t threads[4];
    struct nested_round round = {new_context(), (int)many(2000)};
    CHECK_OK(weir_context_post(round.context, run_nested, &round));
    for (int i = 0; i < 4; i++)
        threads[i] = start_thread(run_thread, round.context);
    for (int i = 0; i < 4; i++)
        join_thread(threads[i]);
    CHECK_EQ(round.left, 0);
    CHECK_OK(weir_context_destroy(round.context));
}

TEST_MAIN()
