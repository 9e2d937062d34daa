/* Periodic timers: ticks, missed periods, the one final callback. */
#include "check.h"

static weir_context *manual(void)
{
    return new_context_with(WEIR_CONTEXT_MANUAL_CLOCK, 0);
}

static size_t step(weir_context *context, int64_t by)
{
    size_t count = 0;
    CHECK_OK(weir_context_advance(context, by));
    CHECK_OK(weir_context_restart(context));
    CHECK_OK(weir_context_poll(context, &count));
    return count;
}

static int64_t expiry_of(weir_timer *timer)
{
    int64_t at = -1;
    CHECK_OK(weir_timer_expiry(timer, &at));
    return at;
}

TEST(a_periodic_timer_ticks_each_period)
{
    weir_context *context = manual();
    struct counter counter = {0};
    weir_timer *timer = new_timer(context);
    CHECK_OK(weir_context_advance(context, 100));
    CHECK_OK(weir_timer_start(timer, 10, 5, count_call, &counter));
    CHECK_EQ(expiry_of(timer), 110);
    CHECK_EQ(step(context, 9), 0);
    CHECK_EQ(step(context, 1), 1);
    CHECK_EQ(expiry_of(timer), 115);
    for (int i = 2; i < 50; i++) {
        CHECK_EQ(step(context, 4), 0);
        CHECK_EQ(step(context, 1), 1);
        CHECK_EQ(counter.calls, i);
        CHECK_EQ(counter.status, 0);
    }
    CHECK_OK(weir_context_destroy(context));
}

TEST(a_first_delay_of_0_ticks_at_once)
{
    weir_context *context = manual();
    struct counter counter = {0};
    weir_timer *timer = new_timer(context);
    CHECK_OK(weir_timer_start(timer, 0, 5, count_call, &counter));
    CHECK_EQ(counter.calls, 0);
    CHECK_EQ(step(context, 0), 1);
    CHECK_EQ(step(context, 4), 0);
    CHECK_EQ(step(context, 1), 1);
    CHECK_OK(weir_context_destroy(context));
}

TEST(missed_periods_fold_into_one_tick_and_the_grid_stays)
{
    weir_context *context = manual();
    struct counter counter = {0};
    weir_timer *timer = new_timer(context);
    CHECK_OK(weir_timer_start(timer, 10, 5, count_call, &counter));
    CHECK_EQ(step(context, 10), 1); /* at 10 */
    CHECK_EQ(step(context, 28), 1); /* at 38: 15, 20, 25, 30 and 35 in one */
    CHECK_EQ(counter.calls, 2);
    CHECK_EQ(expiry_of(timer), 40);
    CHECK_EQ(step(context, 1), 0);
    CHECK_EQ(step(context, 1), 1);
    CHECK_EQ(step(context, 1000000000), 1);
    CHECK_EQ(counter.calls, 4);
    CHECK_EQ(expiry_of(timer), 1000000045);
    CHECK_OK(weir_context_destroy(context));
}

TEST(a_period_of_1_ns_and_one_of_a_century)
{
    weir_context *context = manual();
    struct counter fast = {0}, slow = {0};
    weir_timer *one = new_timer(context), *two = new_timer(context);
    CHECK_OK(weir_timer_start(one, 1, 1, count_call, &fast));
    CHECK_OK(weir_timer_start(two, INT64_MAX, INT64_MAX, count_call, &slow));
    CHECK_EQ(expiry_of(two), WEIR_FOREVER);
    CHECK_EQ(step(context, 1), 1);
    CHECK_EQ(step(context, 1), 1);
    CHECK_EQ(step(context, 1000000), 1);
    CHECK_EQ(step(context, INT64_MAX - 2000000), 1);
    CHECK_EQ(slow.calls, 0);
    CHECK_OK(weir_timer_stop(two, NULL));
    CHECK_EQ(step(context, 0), 1);
    CHECK_EQ(slow.calls, 1);
    CHECK_EQ(slow.status, WEIR_ECANCELED);
    CHECK_OK(weir_context_destroy(context));
}

/* The next tick would lie beyond the far end: the operation stays, and can be ended. */
TEST(h42_a_period_that_leads_beyond_the_far_end_never_ticks_again)
{
    weir_context *context = manual();
    struct counter counter = {0};
    size_t count = 0;
    weir_timer *timer = new_timer(context);
    CHECK_OK(weir_timer_start(timer, 10, INT64_MAX - 5, count_call, &counter));
    CHECK_EQ(step(context, 10), 1);
    CHECK_EQ(expiry_of(timer), WEIR_FOREVER);
    CHECK_EQ(step(context, 1000), 0);
    CHECK_OK(weir_timer_stop(timer, &count));
    CHECK_EQ(count, 1);
    CHECK_EQ(step(context, 0), 1);
    CHECK_EQ(counter.status, WEIR_ECANCELED);
    CHECK_OK(weir_context_destroy(context));
}

TEST(start_checks_its_arguments)
{
    weir_context *context = manual();
    struct counter counter = {0};
    weir_timer *timer = new_timer(context);
    CHECK_CODE(weir_timer_start(timer, -1, 1, count_call, &counter), WEIR_EINVAL);
    CHECK_CODE(weir_timer_start(timer, 0, 0, count_call, &counter), WEIR_EINVAL);
    CHECK_CODE(weir_timer_start(timer, 0, -1, count_call, &counter), WEIR_EINVAL);
    CHECK_CODE(weir_timer_start(timer, INT64_MIN, INT64_MIN, count_call, &counter), WEIR_EINVAL);
    CHECK_EQ(step(context, 10), 0);
    CHECK_OK(weir_timer_start(timer, 0, 1, count_call, &counter));
    CHECK_CODE(weir_timer_start(timer, 0, 1, count_call, &counter), WEIR_EBUSY);
    CHECK_OK(weir_context_destroy(context));
    CHECK_EQ(counter.calls, 1);
}

TEST(stop_gives_one_final_callback)
{
    weir_context *context = manual();
    struct counter counter = {0};
    size_t count = 77;
    weir_timer *timer = new_timer(context);
    CHECK_OK(weir_timer_stop(timer, &count));
    CHECK_EQ(count, 0);
    CHECK_OK(weir_timer_start(timer, 10, 10, count_call, &counter));
    CHECK_EQ(step(context, 10), 1);
    CHECK_OK(weir_timer_stop(timer, &count));
    CHECK_EQ(count, 1);
    CHECK_OK(weir_timer_stop(timer, &count));
    CHECK_EQ(count, 0);
    CHECK_EQ(counter.calls, 1);
    CHECK_EQ(step(context, 0), 1);
    CHECK_EQ(counter.calls, 2);
    CHECK_EQ(counter.status, WEIR_ECANCELED);
    CHECK_EQ(step(context, 1000), 0);
    CHECK_EQ(counter.calls, 2);
    CHECK_OK(weir_context_destroy(context));
    CHECK_EQ(counter.calls, 2);
}

TEST(a_stopped_periodic_timer_can_be_started_again)
{
    weir_context *context = manual();
    weir_timer *timer = new_timer(context);
    for (int i = 0; i < 20; i++) {
        struct counter counter = {0};
        CHECK_OK(weir_timer_start(timer, 10, 10, count_call, &counter));
        CHECK_EQ(step(context, 10), 1);
        CHECK_EQ(counter.status, 0);
        CHECK_OK(weir_timer_stop(timer, NULL));
        CHECK_EQ(step(context, 0), 1);
        CHECK_EQ(counter.status, WEIR_ECANCELED);
    }
    CHECK_OK(weir_context_destroy(context));
}

/* Before any tick, and cancel and close in place of stop. */
TEST(cancel_ends_the_periodic_operation_and_counts_it)
{
    weir_context *context = manual();
    struct counter ticks = {0}, waits = {0};
    size_t count = 77;
    weir_timer *timer = new_timer(context);
    CHECK_OK(weir_timer_start(timer, 10, 10, count_call, &ticks));
    CHECK_OK(weir_timer_wait(timer, count_call, &waits));
    CHECK_OK(weir_timer_wait(timer, count_call, &waits));
    CHECK_OK(weir_timer_cancel(timer, &count));
    CHECK_EQ(count, 3);
    CHECK_EQ(step(context, 0), 3);
    CHECK_EQ(ticks.calls, 1);
    CHECK_EQ(ticks.status, WEIR_ECANCELED);
    CHECK_EQ(waits.calls, 2);
    CHECK_EQ(waits.status, WEIR_ECANCELED);
    CHECK_EQ(step(context, 100), 0);
    CHECK_OK(weir_context_destroy(context));
}

TEST(cancel_one_and_stop_keep_to_their_own)
{
    weir_context *context = manual();
    struct counter ticks = {0}, waits = {0};
    size_t count = 77;
    weir_timer *timer = new_timer(context);
    CHECK_OK(weir_timer_start(timer, 10, 10, count_call, &ticks));
    CHECK_OK(weir_timer_cancel_one(timer, &count));
    CHECK_EQ(count, 0); /* the oldest wait, not the periodic operation */
    CHECK_OK(weir_timer_wait(timer, count_call, &waits));
    CHECK_OK(weir_timer_stop(timer, &count));
    CHECK_EQ(count, 1);
    CHECK_EQ(step(context, 0), 1);
    CHECK_EQ(ticks.status, WEIR_ECANCELED);
    CHECK_EQ(waits.calls, 0);
    CHECK_EQ(step(context, 10), 1);
    CHECK_EQ(waits.calls, 1);
    CHECK_EQ(waits.status, 0);
    CHECK_OK(weir_context_destroy(context));
}

TEST(waits_beside_the_ticks_complete_at_the_next_one)
{
    weir_context *context = manual();
    struct counter ticks = {0}, waits = {0};
    weir_timer *timer = new_timer(context);
    CHECK_OK(weir_timer_start(timer, 10, 10, count_call, &ticks));
    for (int i = 1; i <= 5; i++) {
        CHECK_OK(weir_timer_wait(timer, count_call, &waits));
        CHECK_EQ(step(context, 9), 0);
        CHECK_EQ(step(context, 1), 2);
        CHECK_EQ(ticks.calls, i);
        CHECK_EQ(waits.calls, i);
        CHECK_EQ(waits.status, 0);
    }
    CHECK_OK(weir_context_destroy(context));
}

TEST(close_gives_one_final_callback)
{
    weir_context *context = manual();
    struct counter counter = {0};
    weir_timer *timer = new_timer(context);
    CHECK_OK(weir_timer_start(timer, 10, 10, count_call, &counter));
    CHECK_EQ(step(context, 10), 1);
    CHECK_OK(weir_timer_close(timer));
    CHECK_CODE(weir_timer_stop(timer, NULL), WEIR_EBADF);
    CHECK_EQ(step(context, 100), 1);
    CHECK_EQ(counter.calls, 2);
    CHECK_EQ(counter.status, WEIR_ECANCELED);
    CHECK_EQ(step(context, 100), 0);
    CHECK_OK(weir_context_destroy(context));
    CHECK_EQ(counter.calls, 2);
}

TEST(destroy_gives_one_final_callback)
{
    weir_context *context = manual();
    struct counter counter = {0};
    weir_timer *timer = new_timer(context);
    CHECK_OK(weir_timer_start(timer, 10, 10, count_call, &counter));
    CHECK_EQ(step(context, 10), 1);
    CHECK_OK(weir_context_destroy(context));
    CHECK_EQ(counter.calls, 2);
    CHECK_EQ(counter.status, WEIR_ECANCELED);
}

/* Moving the expiry moves the next tick; from there the period counts. */
TEST(moving_the_expiry_moves_the_ticks)
{
    weir_context *context = manual();
    struct counter counter = {0};
    weir_timer *timer = new_timer(context);
    CHECK_OK(weir_timer_start(timer, 10, 10, count_call, &counter));
    CHECK_OK(weir_timer_expires_after(timer, 100));
    CHECK_EQ(step(context, 99), 0);
    CHECK_EQ(step(context, 1), 1);
    CHECK_EQ(step(context, 9), 0);
    CHECK_EQ(step(context, 1), 1);
    CHECK_OK(weir_timer_expires_after(timer, 2));
    CHECK_EQ(step(context, 2), 1);
    CHECK_EQ(step(context, 10), 1);
    CHECK_EQ(counter.calls, 4);
    CHECK_OK(weir_context_destroy(context));
}

/* ---- inside its own callback */

static weir_timer *own;
static struct counter own_calls;

static void stop_itself(int status, void *user)
{
    (void)user;
    count_call(status, &own_calls);
    size_t count = 77;
    if (status == 0) {
        CHECK_OK(weir_timer_stop(own, &count));
        CHECK_EQ(count, 1);
        CHECK_OK(weir_timer_stop(own, &count));
        CHECK_EQ(count, 0);
    } else {
        CHECK_EQ(status, WEIR_ECANCELED);
    }
}

TEST(stop_in_its_own_callback)
{
    weir_context *context = manual();
    own = new_timer(context);
    CHECK_OK(weir_timer_start(own, 10, 1, stop_itself, NULL));
    CHECK_EQ(step(context, 10), 2); /* the tick, and the end */
    CHECK_EQ(own_calls.calls, 2);
    CHECK_EQ(own_calls.status, WEIR_ECANCELED);
    CHECK_EQ(step(context, 100), 0);
    CHECK_OK(weir_context_destroy(context));
    CHECK_EQ(own_calls.calls, 2);
}

static void cancel_itself(int status, void *user)
{
    (void)user;
    count_call(status, &own_calls);
    size_t count = 77;
    CHECK_OK(weir_timer_cancel(own, &count));
    CHECK_EQ(count, status == 0);
}

TEST(cancel_in_its_own_callback)
{
    weir_context *context = manual();
    own = new_timer(context);
    CHECK_OK(weir_timer_start(own, 10, 1, cancel_itself, NULL));
    CHECK_EQ(step(context, 10), 2);
    CHECK_EQ(own_calls.status, WEIR_ECANCELED);
    CHECK_EQ(step(context, 100), 0);
    CHECK_EQ(own_calls.calls, 2);
    CHECK_OK(weir_context_destroy(context));
}

static void close_itself(int status, void *user)
{
    (void)user;
    count_call(status, &own_calls);
    CHECK_CODE(weir_timer_close(own), status == 0 ? 0 : WEIR_EBADF);
}

TEST(close_in_its_own_callback)
{
    weir_context *context = manual();
    for (int i = 1; i <= 50; i++) {
        own = new_timer(context);
        CHECK_OK(weir_timer_start(own, 10, 1, close_itself, NULL));
        CHECK_EQ(step(context, 10), 2);
        CHECK_EQ(own_calls.calls, 2 * i);
        CHECK_EQ(own_calls.status, WEIR_ECANCELED);
        CHECK_EQ(step(context, 100), 0);
    }
    CHECK_OK(weir_context_destroy(context));
}

/* From the final callback on the timer is free for the next start. */
static int restarts;

static void start_again(int status, void *user)
{
    (void)user;
    if (status == 0) {
        CHECK_OK(weir_timer_stop(own, NULL));
        return;
    }
    CHECK_EQ(status, WEIR_ECANCELED);
    if (++restarts < 10)
        CHECK_OK(weir_timer_start(own, 10, 10, start_again, NULL));
}

TEST(start_in_the_final_callback)
{
    weir_context *context = manual();
    own = new_timer(context);
    CHECK_OK(weir_timer_start(own, 10, 10, start_again, NULL));
    for (int i = 1; i <= 10; i++) {
        CHECK_EQ(step(context, 9), 0);
        CHECK_EQ(step(context, 1), 2);
        CHECK_EQ(restarts, i);
    }
    CHECK_EQ(step(context, 1000), 0);
    CHECK_OK(weir_context_destroy(context));
}

/* A callback that takes longer than the period: the periods that went by meanwhile fold into one tick. */
static weir_context *slow_context;

static void slow_tick(int status, void *user)
{
    (void)user;
    count_call(status, &own_calls);
    if (status == 0 && own_calls.calls == 1)
        CHECK_OK(weir_context_advance(slow_context, 57));
}

TEST(a_callback_slower_than_its_period_is_ticked_once_more)
{
    slow_context = manual();
    own = new_timer(slow_context);
    CHECK_OK(weir_timer_start(own, 10, 10, slow_tick, NULL));
    size_t calls = step(slow_context, 10); /* at 10; then once for 20 to 60, in this poll or the next */
    CHECK_EQ(calls + step(slow_context, 0), 2);
    CHECK_EQ(own_calls.calls, 2);
    CHECK_EQ(expiry_of(own), 70);
    CHECK_OK(weir_context_destroy(slow_context));
}

/* ---- on the real clock, with several threads: callbacks of one operation never overlap; the end comes last, once */

static atomic_int inside, ticks, ends;

static void tick_alone(int status, void *user)
{
    (void)user;
    CHECK_EQ(atomic_fetch_add(&inside, 1), 0);
    CHECK_EQ(atomic_load(&ends), 0);
    if (status == 0)
        atomic_fetch_add(&ticks, 1);
    else
        atomic_fetch_add(&ends, 1);
    sched_yield();
    atomic_fetch_sub(&inside, 1);
}

static void *run_it(void *user)
{
    CHECK_OK(weir_context_run(user, NULL));
    return NULL;
}

static void tick_on_threads(int threads, bool by_close)
{
    for (size_t round = 0; round < many(20); round++) {
        weir_context *context = new_context();
        weir_timer *timer = new_timer(context);
        pthread_t run[4];
        atomic_store(&ends, 0);
        atomic_store(&ticks, 0);
        CHECK_OK(weir_timer_start(timer, 0, 1000, tick_alone, NULL));
        for (int i = 0; i < threads; i++)
            run[i] = start_thread(run_it, context);
        WAIT_FOR(atomic_load(&ticks) > 10);
        CHECK_OK(by_close ? weir_timer_close(timer) : weir_timer_stop(timer, NULL));
        for (int i = 0; i < threads; i++)
            join_thread(run[i]); /* run ends: nothing else is pending */
        CHECK_EQ(atomic_load(&ends), 1);
        CHECK_OK(weir_context_destroy(context));
        CHECK_EQ(atomic_load(&ends), 1);
    }
}

TEST(ticks_on_one_thread_stopped_by_another)
{
    tick_on_threads(1, false);
}

TEST(ticks_on_three_threads_never_overlap)
{
    tick_on_threads(3, false);
}

TEST(ticks_on_three_threads_and_a_close)
{
    tick_on_threads(3, true);
}

/* start and stop raced by two threads: as many final callbacks as successful starts. */
static weir_timer *raced;
static atomic_int started, finished;

static void count_end(int status, void *user)
{
    (void)user;
    if (status != 0)
        atomic_fetch_add(&finished, 1);
}

static void *start_and_stop(void *user)
{
    (void)user;
    for (size_t i = 0; i < many(20000); i++) {
        int error = weir_timer_start(raced, (int64_t)(i % 3) * 1000, 500, count_end, NULL);
        if (error == 0)
            atomic_fetch_add(&started, 1);
        else
            CHECK_EQ(error, WEIR_EBUSY);
        if (i % 5)
            CHECK_OK(weir_timer_stop(raced, NULL));
    }
    return NULL;
}

TEST(start_and_stop_on_two_threads_end_each_start_once)
{
    weir_context *context = new_context();
    pthread_t run[2], race[2];
    CHECK_OK(weir_context_work_begin(context));
    raced = new_timer(context);
    for (int i = 0; i < 2; i++)
        run[i] = start_thread(run_it, context);
    for (int i = 0; i < 2; i++)
        race[i] = start_thread(start_and_stop, NULL);
    for (int i = 0; i < 2; i++)
        join_thread(race[i]);
    CHECK_OK(weir_timer_stop(raced, NULL));
    CHECK_OK(weir_context_work_end(context));
    for (int i = 0; i < 2; i++)
        join_thread(run[i]);
    CHECK(atomic_load(&started) > 0);
    CHECK_EQ(atomic_load(&finished), atomic_load(&started));
    CHECK_OK(weir_context_destroy(context));
}

TEST_MAIN()
