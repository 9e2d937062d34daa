/* stop and restart: from callbacks, from other threads, with work left over. */
#include "check.h"

#include <sys/socket.h>

static void *run_thread(void *user)
{
    CHECK_OK(weir_context_run(user, NULL));
    return NULL;
}

static void stop_inside(int status, void *user)
{
    CHECK_EQ(status, 0);
    CHECK_OK(weir_context_stop(user));
    CHECK_EQ(weir_context_stopped(user), 1);
}

TEST(stop_before_run_makes_it_return_at_once)
{
    weir_context *context = new_context();
    size_t count = 77;
    CHECK_OK(weir_context_work_begin(context));
    CHECK_OK(weir_context_stop(context));
    CHECK_OK(weir_context_stop(context));
    for (int i = 0; i < 3; i++) {
        CHECK_OK(weir_context_run(context, &count));
        CHECK_EQ(count, 0);
        CHECK_EQ(weir_context_stopped(context), 1);
    }
    CHECK_OK(weir_context_destroy(context));
}

TEST(stop_with_posts_left_keeps_them_in_order_for_after_restart)
{
    weir_context *context = new_context();
    struct counter counter = {0};
    size_t count = 0;
    for (int i = 0; i < 5; i++) {
        CHECK_OK(weir_context_post(context, stop_inside, context));
        CHECK_OK(weir_context_post(context, count_call, &counter));
    }
    for (int i = 0; i < 5; i++) {
        CHECK_OK(weir_context_run(context, &count));
        CHECK_EQ(count, i == 0 ? 1 : 2); /* what was left over, then the next stop */
        CHECK_EQ(counter.calls, i);
        CHECK_EQ(weir_context_stopped(context), 1);
        CHECK_OK(weir_context_restart(context));
    }
    CHECK_OK(weir_context_run(context, &count));
    CHECK_EQ(count, 1);
    CHECK_EQ(counter.calls, 5);
    CHECK_OK(weir_context_destroy(context));
}

TEST(stop_keeps_due_timers_and_reads_for_after_restart)
{
    weir_context *context = new_context_with(WEIR_CONTEXT_MANUAL_CLOCK, 0);
    struct counter timers = {0}, reads = {0};
    int pair[2];
    char byte;
    size_t count = 0;
    CHECK_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair), 0);
    weir_stream *stream = new_stream(context);
    weir_timer *timer = new_timer(context);
    CHECK_OK(weir_stream_adopt(stream, pair[0]));
    CHECK_OK(weir_timer_expires_after(timer, 10));
    CHECK_OK(weir_timer_wait(timer, stop_inside, context));
    for (int i = 0; i < 3; i++)
        CHECK_OK(weir_timer_wait(timer, count_call, &timers));
    CHECK_OK(weir_stream_read_some(stream, &byte, 1, count_io, &reads));
    CHECK_OK(weir_context_poll(context, &count));
    CHECK_EQ(count, 0);
    CHECK_EQ(write(pair[1], "a", 1), 1);
    CHECK_OK(weir_context_advance(context, 10));
    CHECK_OK(weir_context_run(context, &count));
    CHECK(count >= 1 && count <= 2); /* the stop, and the read if it came first */
    CHECK_EQ(timers.calls, 0);
    CHECK_EQ(weir_context_stopped(context), 1);
    CHECK_OK(weir_context_restart(context));
    CHECK_OK(weir_context_run(context, &count));
    CHECK_EQ(timers.calls, 3);
    CHECK_EQ(timers.status, 0);
    CHECK_EQ(reads.calls, 1);
    CHECK_EQ(reads.status, 0);
    CHECK_OK(weir_context_destroy(context));
    close(pair[1]);
}

TEST(stop_from_another_thread_wakes_every_thread_in_run)
{
    for (size_t round = 0; round < many(300); round++) {
        weir_context *context = new_context();
        pthread_t threads[4];
        CHECK_OK(weir_context_work_begin(context));
        for (int i = 0; i < 4; i++)
            threads[i] = start_thread(run_thread, context);
        if (round % 10 == 0)
            sleep_ms(2); /* all of them asleep */
        CHECK_OK(weir_context_stop(context));
        for (int i = 0; i < 4; i++)
            join_thread(threads[i]);
        CHECK_EQ(weir_context_stopped(context), 1);
        CHECK_OK(weir_context_destroy(context));
    }
}

/* stop, restart and run again in a loop against a poster: nothing posted is lost or run twice. */
enum { POSTS = 100000 };
static struct counter posted;
static atomic_bool all_posted;

static void *post_all(void *user)
{
    for (size_t i = 0; i < many(POSTS); i++)
        CHECK_OK(weir_context_post(user, count_call, &posted));
    atomic_store(&all_posted, true);
    return NULL;
}

static void *stop_all_the_time(void *user)
{
    while (!atomic_load(&all_posted)) {
        CHECK_OK(weir_context_stop(user));
        sched_yield();
    }
    CHECK_OK(weir_context_stop(user)); /* the last: whatever restarts after it sees that all is posted */
    return NULL;
}

TEST(stop_and_restart_in_a_loop_lose_no_post)
{
    weir_context *context = new_context();
    CHECK_OK(weir_context_work_begin(context));
    pthread_t poster = start_thread(post_all, context);
    pthread_t stopper = start_thread(stop_all_the_time, context);
    while (!atomic_load(&all_posted)) {
        CHECK_OK(weir_context_run(context, NULL));
        CHECK_OK(weir_context_restart(context));
    }
    join_thread(poster);
    join_thread(stopper);
    CHECK_OK(weir_context_work_end(context));
    CHECK_OK(weir_context_restart(context));
    CHECK_OK(weir_context_run(context, NULL));
    CHECK_EQ(posted.calls, many(POSTS));
    CHECK_OK(weir_context_destroy(context));
}

/* A stop in a nested run ends the outer one as well. */
static struct counter never_run;

static void nested_stop(int status, void *user)
{
    size_t count = 77;
    CHECK_EQ(status, 0);
    CHECK_OK(weir_context_post(user, stop_inside, user));
    CHECK_OK(weir_context_post(user, count_call, &never_run));
    CHECK_OK(weir_context_run(user, &count));
    CHECK_EQ(count, 1);
}

TEST(stop_in_a_nested_run_ends_the_outer_run)
{
    weir_context *context = new_context();
    size_t count = 77;
    CHECK_OK(weir_context_post(context, nested_stop, context));
    CHECK_OK(weir_context_run(context, &count));
    CHECK_EQ(never_run.calls, 0);
    CHECK_EQ(weir_context_stopped(context), 1);
    CHECK_OK(weir_context_restart(context));
    CHECK_OK(weir_context_run(context, &count));
    CHECK_EQ(count, 1);
    CHECK_EQ(never_run.calls, 1);
    CHECK_OK(weir_context_destroy(context));
}

/* Operations may be begun, cancelled and closed while the context is stopped; what they end completes later. */
TEST(operations_on_a_stopped_context_complete_after_restart)
{
    weir_context *context = new_context_with(WEIR_CONTEXT_MANUAL_CLOCK, 0);
    struct counter waited = {0}, cancelled = {0}, dispatched = {0}, deferred = {0};
    size_t count = 0;
    CHECK_OK(weir_context_stop(context));
    weir_timer *timer = new_timer(context), *other = new_timer(context);
    CHECK_OK(weir_timer_expires_after(timer, 1));
    CHECK_OK(weir_timer_wait(timer, count_call, &waited));
    CHECK_OK(weir_timer_expires_after(other, 1));
    CHECK_OK(weir_timer_wait(other, count_call, &cancelled));
    CHECK_OK(weir_timer_cancel(other, &count));
    CHECK_EQ(count, 1);
    CHECK_OK(weir_context_dispatch(context, count_call, &dispatched));
    CHECK_OK(weir_context_defer(context, count_call, &deferred));
    CHECK_OK(weir_context_advance(context, 1));
    CHECK_OK(weir_context_run(context, &count));
    CHECK_EQ(count, 0);
    CHECK_OK(weir_context_restart(context));
    CHECK_OK(weir_context_run(context, &count));
    CHECK_EQ(count, 4);
    CHECK_EQ(waited.status, 0);
    CHECK_EQ(waited.calls, 1);
    CHECK_EQ(cancelled.status, WEIR_ECANCELED);
    CHECK_EQ(cancelled.calls, 1);
    CHECK_EQ(dispatched.calls, 1);
    CHECK_EQ(deferred.calls, 1);
    CHECK_OK(weir_context_destroy(context));
}

TEST_MAIN()
