/* post, dispatch and defer: order, threads, fairness. */
#include "check.h"

#include <sys/socket.h>

static void *run_thread(void *user)
{
    CHECK_OK(weir_context_run(user, NULL));
    return NULL;
}

/* ---- where a post may come from */

struct relay {
    weir_context *context, *other;
    struct counter counter;
};

static void post_to_own(int status, void *user)
{
    struct relay *relay = user;
    CHECK_EQ(status, 0);
    CHECK_OK(weir_context_post(relay->context, count_call, &relay->counter));
    CHECK_EQ(relay->counter.calls, 0); /* never inside the function that started it */
}

static void post_to_other(int status, void *user)
{
    struct relay *relay = user;
    CHECK_EQ(status, 0);
    CHECK_OK(weir_context_post(relay->other, count_call, &relay->counter));
    CHECK_EQ(relay->counter.calls, 0);
}

static void *post_from_thread(void *user)
{
    struct relay *relay = user;
    CHECK_OK(weir_context_post(relay->context, count_call, &relay->counter));
    return NULL;
}

TEST(post_from_outside_runs_in_run_only)
{
    struct relay relay = {.context = new_context()};
    CHECK_OK(weir_context_post(relay.context, count_call, &relay.counter));
    CHECK_EQ(relay.counter.calls, 0);
    CHECK_OK(weir_context_run(relay.context, NULL));
    CHECK_EQ(relay.counter.calls, 1);
    CHECK_EQ(relay.counter.status, 0);
    CHECK_OK(weir_context_destroy(relay.context));
}

TEST(post_from_inside_runs_after_the_callback)
{
    struct relay relay = {.context = new_context()};
    CHECK_OK(weir_context_post(relay.context, post_to_own, &relay));
    CHECK_OK(weir_context_run(relay.context, NULL));
    CHECK_EQ(relay.counter.calls, 1);
    CHECK_OK(weir_context_destroy(relay.context));
}

TEST(post_from_a_callback_of_another_context_runs_in_its_own)
{
    struct relay relay = {.context = new_context(), .other = new_context()};
    CHECK_OK(weir_context_post(relay.context, post_to_other, &relay));
    CHECK_OK(weir_context_run(relay.context, NULL));
    CHECK_EQ(relay.counter.calls, 0);
    CHECK_OK(weir_context_run(relay.other, NULL));
    CHECK_EQ(relay.counter.calls, 1);
    CHECK_OK(weir_context_destroy(relay.context));
    CHECK_OK(weir_context_destroy(relay.other));
}

TEST(post_from_a_callback_of_another_context_wakes_a_sleeping_one)
{
    struct relay relay = {.context = new_context(), .other = new_context()};
    CHECK_OK(weir_context_work_begin(relay.other));
    pthread_t runner = start_thread(run_thread, relay.other);
    for (int i = 0; i < 100; i++) {
        relay.counter.calls = 0;
        CHECK_OK(weir_context_restart(relay.context));
        CHECK_OK(weir_context_post(relay.context, post_to_own, &relay));
        CHECK_OK(weir_context_run(relay.context, NULL));
        CHECK_EQ(relay.counter.calls, 1);
        CHECK_OK(weir_context_post(relay.other, count_call, &relay.counter));
        WAIT_FOR(relay.counter.calls == 2);
    }
    CHECK_OK(weir_context_work_end(relay.other));
    join_thread(runner);
    CHECK_OK(weir_context_destroy(relay.context));
    CHECK_OK(weir_context_destroy(relay.other));
}

TEST(post_from_another_thread_wakes_a_sleeping_run)
{
    struct relay relay = {.context = new_context()};
    CHECK_OK(weir_context_work_begin(relay.context));
    pthread_t runner = start_thread(run_thread, relay.context);
    for (int i = 0; i < 20; i++) {
        join_thread(start_thread(post_from_thread, &relay));
        WAIT_FOR(relay.counter.calls == i + 1);
    }
    CHECK_OK(weir_context_work_end(relay.context));
    join_thread(runner);
    CHECK_OK(weir_context_destroy(relay.context));
}

/* H02: one post at a time against a thread that goes to sleep after each; a lost wake-up hangs the case. */
static atomic_int wakeups;

static void note_wakeup(int status, void *user)
{
    (void)user;
    CHECK_EQ(status, 0);
    atomic_fetch_add(&wakeups, 1);
}

static void wake_up_often(int runners)
{
    weir_context *context = new_context();
    pthread_t threads[4];
    CHECK_OK(weir_context_work_begin(context));
    for (int i = 0; i < runners; i++)
        threads[i] = start_thread(run_thread, context);
    int rounds = (int)many(30000);
    for (int i = 0; i < rounds; i++) {
        CHECK_OK(weir_context_post(context, note_wakeup, NULL));
        if (i % 1000 == 999)
            sleep_ms(1); /* let it get to sleep fully, too */
        while (atomic_load(&wakeups) <= i)
            sched_yield();
    }
    CHECK_OK(weir_context_work_end(context));
    for (int i = 0; i < runners; i++)
        join_thread(threads[i]);
    CHECK_OK(weir_context_destroy(context));
}

TEST(h02_no_wake_up_is_lost_with_one_thread)
{
    wake_up_often(1);
}

TEST(h02_no_wake_up_is_lost_with_three_threads)
{
    wake_up_often(3);
}

/* ---- order */

enum { ORDERED = 20000 };
static int next_expected;

static void expect_order(int status, void *user)
{
    CHECK_EQ(status, 0);
    CHECK_EQ((intptr_t)user, next_expected);
    next_expected++;
}

static void post_in_order(int status, void *user)
{
    CHECK_EQ(status, 0);
    for (intptr_t i = 0; i < ORDERED; i++)
        CHECK_OK(weir_context_post(user, expect_order, (void *)i));
}

static void *post_in_order_from_thread(void *user)
{
    post_in_order(0, user);
    return NULL;
}

TEST(posts_from_outside_run_in_order)
{
    weir_context *context = new_context();
    post_in_order(0, context);
    CHECK_OK(weir_context_run(context, NULL));
    CHECK_EQ(next_expected, ORDERED);
    CHECK_OK(weir_context_destroy(context));
}

TEST(posts_from_inside_run_in_order)
{
    weir_context *context = new_context();
    CHECK_OK(weir_context_post(context, post_in_order, context));
    CHECK_OK(weir_context_run(context, NULL));
    CHECK_EQ(next_expected, ORDERED);
    CHECK_OK(weir_context_destroy(context));
}

TEST(posts_from_another_thread_run_in_order_while_the_context_runs)
{
    weir_context *context = new_context();
    CHECK_OK(weir_context_work_begin(context));
    pthread_t runner = start_thread(run_thread, context);
    join_thread(start_thread(post_in_order_from_thread, context));
    CHECK_OK(weir_context_work_end(context));
    join_thread(runner);
    CHECK_EQ(next_expected, ORDERED);
    CHECK_OK(weir_context_destroy(context));
}

/* A post of another thread comes behind those that it knows of, and before those that a callback makes which knows of it. */
static struct {
    weir_context *context, *other;
    atomic_int asked, posted;
    int calls;
} known;

static void expect_call(int status, void *user)
{
    CHECK_EQ(status, 0);
    CHECK_EQ((intptr_t)user, known.calls);
    known.calls++;
}

static void *post_when_asked(void *user)
{
    (void)user;
    while (atomic_load(&known.asked) == 0)
        sched_yield();
    CHECK_OK(weir_context_post(known.context, expect_call, (void *)1));
    atomic_store(&known.posted, 1);
    return NULL;
}

static void post_around_the_other(int status, void *user)
{
    (void)user;
    CHECK_EQ(status, 0);
    CHECK_OK(weir_context_post(known.context, expect_call, (void *)0));
    atomic_store(&known.asked, 1);
    while (atomic_load(&known.posted) == 0)
        sched_yield();
    CHECK_OK(weir_context_post(known.context, expect_call, (void *)2));
    CHECK_OK(weir_context_post(known.context, expect_call, (void *)3));
}

static void nothing(int status, void *user)
{
    (void)user;
    CHECK_EQ(status, 0);
}

/* Begun by a posted function, alone and as one of many, and by an op. */
static void a_post_that_is_known(int before, int after, bool by_op)
{
    weir_context *context = known.context = new_context();
    weir_timer *timer = new_timer(context);
    pthread_t poster = start_thread(post_when_asked, NULL);
    for (int i = 0; i < before; i++)
        CHECK_OK(weir_context_post(context, nothing, NULL));
    if (by_op)
        CHECK_OK(weir_timer_wait(timer, post_around_the_other, NULL));
    else
        CHECK_OK(weir_context_post(context, post_around_the_other, NULL));
    for (int i = 0; i < after; i++)
        CHECK_OK(weir_context_post(context, nothing, NULL));
    CHECK_OK(weir_context_run(context, NULL));
    join_thread(poster);
    CHECK_EQ(known.calls, 4);
    CHECK_OK(weir_context_destroy(context));
    memset(&known, 0, sizeof known);
}

TEST(a_post_comes_behind_those_that_it_knows_of)
{
    for (int many = 0; many < 2; many++) {
        a_post_that_is_known(0, 0, many);
        a_post_that_is_known(0, 100, many);
        a_post_that_is_known(100, 0, many);
        a_post_that_is_known(100, 100, many);
    }
}

static void post_from_the_other_context(int status, void *user)
{
    (void)user;
    CHECK_EQ(status, 0);
    CHECK_OK(weir_context_post(known.context, expect_call, (void *)1));
}

static void post_before_and_after_a_nested_run(int status, void *user)
{
    (void)user;
    CHECK_EQ(status, 0);
    CHECK_OK(weir_context_post(known.context, expect_call, (void *)0));
    CHECK_OK(weir_context_post(known.other, post_from_the_other_context, NULL));
    CHECK_OK(weir_context_run(known.other, NULL));
    CHECK_OK(weir_context_post(known.context, expect_call, (void *)2));
}

TEST(posts_of_a_thread_keep_their_order_through_a_nested_run)
{
    known.context = new_context();
    known.other = new_context();
    CHECK_OK(weir_context_post(known.context, post_before_and_after_a_nested_run, NULL));
    CHECK_OK(weir_context_run(known.context, NULL));
    CHECK_EQ(known.calls, 3);
    CHECK_OK(weir_context_destroy(known.context));
    CHECK_OK(weir_context_destroy(known.other));
}

/* ---- N queued callbacks run on N threads at once */

enum { PARALLEL = 4 };
static pthread_barrier_t all_inside;
static atomic_int parallel_done;
static weir_context *parallel_context;

static void meet_the_others(int status, void *user)
{
    (void)user;
    CHECK_EQ(status, 0);
    pthread_barrier_wait(&all_inside); /* hangs unless all of them run at the same time */
    atomic_fetch_add(&parallel_done, 1);
}

static void post_meetings(int status, void *user)
{
    (void)user;
    CHECK_EQ(status, 0);
    for (int i = 0; i < PARALLEL; i++)
        CHECK_OK(weir_context_post(parallel_context, meet_the_others, NULL));
}

static void defer_meetings(int status, void *user)
{
    (void)user;
    CHECK_EQ(status, 0);
    for (int i = 0; i < PARALLEL; i++)
        CHECK_OK(weir_context_defer(parallel_context, meet_the_others, NULL));
}

static void start_due_timers(int status, void *user)
{
    (void)user;
    CHECK_EQ(status, 0);
    weir_timer *timer = new_timer(parallel_context);
    for (int i = 0; i < PARALLEL; i++)
        CHECK_OK(weir_timer_wait(timer, meet_the_others, NULL));
}

enum how { FROM_OUTSIDE, FROM_INSIDE, DEFERRED, BY_TIMER };

static void run_in_parallel(enum how how)
{
    pthread_t threads[PARALLEL];
    parallel_context = new_context();
    CHECK_OK(weir_context_work_begin(parallel_context));
    CHECK_EQ(pthread_barrier_init(&all_inside, NULL, PARALLEL), 0);
    for (int i = 0; i < PARALLEL; i++)
        threads[i] = start_thread(run_thread, parallel_context);
    int rounds = (int)many(500);
    for (int round = 0; round < rounds; round++) {
        switch (how) {
        case FROM_OUTSIDE: post_meetings(0, NULL); break;
        case FROM_INSIDE: CHECK_OK(weir_context_post(parallel_context, post_meetings, NULL)); break;
        case DEFERRED: CHECK_OK(weir_context_post(parallel_context, defer_meetings, NULL)); break;
        case BY_TIMER: CHECK_OK(weir_context_post(parallel_context, start_due_timers, NULL)); break;
        }
        if (round % 50 == 0)
            sleep_ms(1);
        int want = (round + 1) * PARALLEL;
        int64_t deadline = now_ns() + 50 * CHECK_SECOND;
        while (atomic_load(&parallel_done) < want) {
            CHECK(now_ns() < deadline);
            sched_yield();
        }
    }
    CHECK_OK(weir_context_stop(parallel_context));
    for (int i = 0; i < PARALLEL; i++)
        join_thread(threads[i]);
    CHECK_OK(weir_context_destroy(parallel_context));
    CHECK_EQ(atomic_load(&parallel_done), rounds * PARALLEL);
}

TEST(four_posts_from_outside_run_on_four_threads_at_once)
{
    run_in_parallel(FROM_OUTSIDE);
}

TEST(four_posts_from_inside_run_on_four_threads_at_once)
{
    run_in_parallel(FROM_INSIDE);
}

TEST(four_deferred_callbacks_run_on_four_threads_at_once)
{
    run_in_parallel(DEFERRED);
}

TEST(four_timer_waits_run_on_four_threads_at_once)
{
    run_in_parallel(BY_TIMER);
}

/* A callback that blocks must not hold up what is queued behind it, nor timers, when another thread is there. */
static void wait_for_release(int status, void *user)
{
    CHECK_EQ(status, 0);
    struct counter *counter = user;
    WAIT_FOR(counter->calls == 2);
}

TEST(a_blocked_callback_does_not_hold_up_posts_and_timers_of_other_threads)
{
    for (int round = 0; round < 20; round++) {
        struct counter counter = {0};
        pthread_t threads[2];
        weir_context *context = new_context();
        weir_timer *timer = new_timer(context);
        CHECK_OK(weir_context_post(context, wait_for_release, &counter));
        CHECK_OK(weir_context_post(context, count_call, &counter));
        CHECK_OK(weir_timer_expires_after(timer, CHECK_MS));
        CHECK_OK(weir_timer_wait(timer, count_call, &counter));
        for (int i = 0; i < 2; i++)
            threads[i] = start_thread(run_thread, context);
        for (int i = 0; i < 2; i++)
            join_thread(threads[i]);
        CHECK_EQ(counter.calls, 2);
        CHECK_OK(weir_context_destroy(context));
    }
}

/* ---- posts from many threads into many running threads: each runs exactly once */

enum { CROWD = 3, CROWD_POSTS = 20000 };
static atomic_uchar seen[CROWD * CROWD_POSTS];
static weir_context *crowd_context;

static void mark_seen(int status, void *user)
{
    CHECK_EQ(status, 0);
    CHECK_EQ(atomic_fetch_add(&seen[(uintptr_t)user], 1), 0);
}

static void mark_and_post(int status, void *user)
{
    uintptr_t index = (uintptr_t)user;
    mark_seen(status, user);
    if (index + 1 < CROWD * CROWD_POSTS && (index + 1) % 2 == 1)
        CHECK_OK(weir_context_post(crowd_context, mark_seen, (void *)(index + 1)));
}

static void *post_evens(void *user)
{
    uintptr_t base = (uintptr_t)user * CROWD_POSTS;
    for (uintptr_t i = 0; i < many(CROWD_POSTS); i += 2)
        CHECK_OK(weir_context_post(crowd_context, mark_and_post, (void *)(base + i)));
    return NULL;
}

TEST(each_of_many_posts_runs_exactly_once)
{
    pthread_t run[CROWD], post[CROWD];
    crowd_context = new_context();
    CHECK_OK(weir_context_work_begin(crowd_context));
    for (int i = 0; i < CROWD; i++)
        run[i] = start_thread(run_thread, crowd_context);
    for (intptr_t i = 0; i < CROWD; i++)
        post[i] = start_thread(post_evens, (void *)i);
    for (int i = 0; i < CROWD; i++)
        join_thread(post[i]);
    CHECK_OK(weir_context_work_end(crowd_context));
    for (int i = 0; i < CROWD; i++)
        join_thread(run[i]);
    for (size_t thread = 0; thread < CROWD; thread++)
        for (size_t i = 0; i < many(CROWD_POSTS); i++)
            CHECK_EQ(atomic_load(&seen[thread * CROWD_POSTS + i]), 1);
    CHECK_OK(weir_context_destroy(crowd_context));
}

/* ---- dispatch */

struct log {
    weir_context *context, *other;
    char text[64];
    size_t used;
    int status;
};

static void append(struct log *log, char letter)
{
    CHECK(log->used + 1 < sizeof log->text);
    log->text[log->used++] = letter;
    log->text[log->used] = 0;
}

#define LETTER(name, letter)                                                                                           \
    static void name(int status, void *user)                                                                           \
    {                                                                                                                  \
        struct log *log = user;                                                                                        \
        log->status = status;                                                                                          \
        append(log, letter);                                                                                           \
    }
LETTER(add_b, 'b')
LETTER(add_c, 'c')
LETTER(add_d, 'd')
LETTER(add_e, 'e')

static void dispatch_inside(int status, void *user)
{
    struct log *log = user;
    CHECK_EQ(status, 0);
    append(log, '(');
    CHECK_OK(weir_context_post(log->context, add_c, log));
    CHECK_OK(weir_context_dispatch(log->context, add_b, log));
    append(log, ')');
    /* Of another context it is not inside: posted. */
    CHECK_OK(weir_context_dispatch(log->other, add_d, log));
    append(log, '!');
}

TEST(dispatch_runs_at_once_inside_run_and_is_posted_elsewhere)
{
    struct log log = {.context = new_context(), .other = new_context()};
    CHECK_OK(weir_context_dispatch(log.context, add_e, &log));
    CHECK_EQ(log.used, 0);
    CHECK_OK(weir_context_post(log.context, dispatch_inside, &log));
    CHECK_OK(weir_context_run(log.context, NULL));
    CHECK(strcmp(log.text, "e(b)!c") == 0);
    CHECK_OK(weir_context_run(log.other, NULL));
    CHECK(strcmp(log.text, "e(b)!cd") == 0);
    CHECK_EQ(log.status, 0);
    CHECK_OK(weir_context_destroy(log.context));
    CHECK_OK(weir_context_destroy(log.other));
}

/* Inside the outer of two nested contexts still counts as inside. */
static void dispatch_to_outer(int status, void *user)
{
    struct log *log = user;
    CHECK_EQ(status, 0);
    append(log, '[');
    CHECK_OK(weir_context_dispatch(log->context, add_b, log));
    append(log, ']');
}

static void run_other_inside(int status, void *user)
{
    struct log *log = user;
    CHECK_EQ(status, 0);
    CHECK_OK(weir_context_post(log->other, dispatch_to_outer, log));
    CHECK_OK(weir_context_run(log->other, NULL));
}

TEST(dispatch_runs_at_once_for_the_outer_of_nested_contexts)
{
    struct log log = {.context = new_context(), .other = new_context()};
    CHECK_OK(weir_context_post(log.context, run_other_inside, &log));
    CHECK_OK(weir_context_run(log.context, NULL));
    CHECK(strcmp(log.text, "[b]") == 0);
    CHECK_OK(weir_context_destroy(log.context));
    CHECK_OK(weir_context_destroy(log.other));
}

/* ---- defer */

static void defer_between_posts(int status, void *user)
{
    struct log *log = user;
    CHECK_EQ(status, 0);
    append(log, 'a');
    CHECK_OK(weir_context_post(log->context, add_b, log));
    CHECK_OK(weir_context_defer(log->context, add_d, log));
    CHECK_OK(weir_context_post(log->context, add_c, log));
    CHECK_OK(weir_context_defer(log->context, add_e, log));
    CHECK_EQ(log->used, 1);
}

TEST(deferred_callbacks_run_after_what_is_queued_in_order)
{
    struct log log = {.context = new_context()};
    CHECK_OK(weir_context_post(log.context, defer_between_posts, &log));
    size_t count = 0;
    CHECK_OK(weir_context_run(log.context, &count));
    CHECK_EQ(count, 5);
    CHECK(strcmp(log.text, "abcde") == 0);
    CHECK_EQ(log.status, 0);
    CHECK_OK(weir_context_destroy(log.context));
}

TEST(defer_from_outside_runs_after_the_posts_before_it)
{
    struct log log = {.context = new_context()};
    CHECK_OK(weir_context_post(log.context, add_b, &log));
    CHECK_OK(weir_context_defer(log.context, add_c, &log));
    CHECK_OK(weir_context_run(log.context, NULL));
    CHECK(strcmp(log.text, "bc") == 0);
    CHECK_OK(weir_context_destroy(log.context));
}

TEST(defer_from_another_thread_wakes_a_sleeping_run)
{
    weir_context *context = new_context();
    struct counter counter = {0};
    CHECK_OK(weir_context_work_begin(context));
    pthread_t runner = start_thread(run_thread, context);
    for (int i = 0; i < 200; i++) {
        CHECK_OK(weir_context_defer(context, count_call, &counter));
        WAIT_FOR(counter.calls == i + 1);
    }
    CHECK_OK(weir_context_work_end(context));
    join_thread(runner);
    CHECK_OK(weir_context_destroy(context));
}

/* With one thread in the kernel and another asleep beside it: whoever is woken must be able to run it. */
TEST(defer_from_another_thread_wakes_one_of_three_sleeping_threads)
{
    weir_context *context = new_context();
    struct counter counter = {0};
    pthread_t runners[3];
    CHECK_OK(weir_context_work_begin(context));
    for (int i = 0; i < 3; i++)
        runners[i] = start_thread(run_thread, context);
    for (int i = 0; i < 200; i++) {
        CHECK_OK(weir_context_defer(context, count_call, &counter));
        WAIT_FOR(counter.calls == i + 1);
    }
    CHECK_OK(weir_context_work_end(context));
    for (int i = 0; i < 3; i++)
        join_thread(runners[i]);
    CHECK_OK(weir_context_destroy(context));
}

/* Before blocking: a timer an hour away must not keep the deferred callback waiting. */
static void defer_beside_a_far_timer(int status, void *user)
{
    struct log *log = user;
    CHECK_EQ(status, 0);
    CHECK_OK(weir_context_defer(log->context, add_d, log));
}

TEST(deferred_callbacks_run_before_the_reactor_blocks)
{
    struct log log = {.context = new_context()};
    struct counter counter = {0};
    weir_timer *timer = new_timer(log.context);
    CHECK_OK(weir_timer_expires_after(timer, 3600 * CHECK_SECOND));
    CHECK_OK(weir_timer_wait(timer, count_call, &counter));
    CHECK_OK(weir_context_post(log.context, defer_beside_a_far_timer, &log));
    size_t count = 0;
    for (int i = 0; i < 2; i++) {
        CHECK_OK(weir_context_run_one(log.context, &count));
        CHECK_EQ(count, 1);
    }
    CHECK(strcmp(log.text, "d") == 0);
    CHECK_EQ(counter.calls, 0);
    CHECK_OK(weir_context_destroy(log.context));
}

/* ---- fairness: what queues itself again and again does not starve the rest */

struct hog {
    weir_context *context;
    bool defers;
    bool over;
    size_t turns;
    size_t timer_at, read_at, post_at;
    char byte;
};

static void hog(int status, void *user)
{
    struct hog *state = user;
    CHECK_EQ(status, 0);
    state->turns++;
    state->over = state->timer_at > 0 && state->read_at > 0 && state->post_at > 0;
    if (!state->over)
        CHECK_OK((state->defers ? weir_context_defer : weir_context_post)(state->context, hog, state));
}

static void hogged_timer(int status, void *user)
{
    struct hog *state = user;
    CHECK_EQ(status, 0);
    state->timer_at = state->turns + 1;
}

static void hogged_post(int status, void *user)
{
    struct hog *state = user;
    CHECK_EQ(status, 0);
    state->post_at = state->turns + 1;
}

static void hogged_read(int status, size_t bytes, void *user)
{
    struct hog *state = user;
    CHECK_EQ(status, 0);
    CHECK_EQ(bytes, 1);
    CHECK_EQ(state->byte, 'z');
    state->read_at = state->turns + 1;
}

/* The case ends only when timer, read and post came through; the alarm catches the rest. */
static void starve(bool defers, uint32_t threads)
{
    struct hog state = {.context = new_context_with(0, threads), .defers = defers};
    int pair[2];
    CHECK_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair), 0);
    weir_stream *stream = new_stream(state.context);
    weir_timer *timer = new_timer(state.context);
    CHECK_OK(weir_stream_adopt(stream, pair[0]));
    CHECK_OK(weir_context_post(state.context, hog, &state));
    CHECK_OK(weir_timer_expires_after(timer, 5 * CHECK_MS));
    CHECK_OK(weir_timer_wait(timer, hogged_timer, &state));
    CHECK_OK(weir_stream_read_some(stream, &state.byte, 1, hogged_read, &state));
    size_t count = 0;
    CHECK_OK(weir_context_run_for(state.context, CHECK_MS, &count));
    CHECK_EQ(state.read_at, 0);
    CHECK_EQ(write(pair[1], "z", 1), 1);
    CHECK_OK(weir_context_post(state.context, hogged_post, &state));
    CHECK_OK(weir_context_run(state.context, &count));
    CHECK(state.over);
    CHECK_OK(weir_context_destroy(state.context));
    close(pair[1]);
}

TEST(h44_a_callback_that_posts_itself_does_not_starve_timers_and_streams)
{
    starve(false, 0);
}

TEST(h44_a_callback_that_defers_itself_does_not_starve_timers_and_streams)
{
    starve(true, 0);
}

TEST(h44_a_callback_that_posts_itself_does_not_starve_others_with_hint_1)
{
    starve(false, 1);
}

/* With a full queue that never empties, ready data gets its turn after what was queued before it, and soon. */
enum { FULL = 1000 };
static size_t calls_so_far, written_at, read_at_call;
static weir_context *full_context;
static int full_writer;

static void keep_full(int status, void *user)
{
    (void)user;
    CHECK_EQ(status, 0);
    calls_so_far++;
    if (calls_so_far == 5 * FULL) {
        CHECK_EQ(write(full_writer, "a", 1), 1);
        written_at = calls_so_far;
    }
    if (read_at_call == 0)
        CHECK_OK(weir_context_post(full_context, keep_full, NULL));
}

static void note_read(int status, size_t bytes, void *user)
{
    (void)user;
    CHECK_EQ(status, 0);
    CHECK_EQ(bytes, 1);
    read_at_call = calls_so_far;
}

TEST(h34_ready_data_is_served_between_queued_callbacks)
{
    int pair[2];
    char byte;
    full_context = new_context();
    CHECK_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair), 0);
    full_writer = pair[1];
    weir_stream *stream = new_stream(full_context);
    CHECK_OK(weir_stream_adopt(stream, pair[0]));
    CHECK_OK(weir_stream_read_some(stream, &byte, 1, note_read, NULL));
    for (int i = 0; i < FULL; i++)
        CHECK_OK(weir_context_post(full_context, keep_full, NULL));
    CHECK_OK(weir_context_run(full_context, NULL));
    CHECK(written_at > 0);
    CHECK(read_at_call - written_at <= 4 * FULL);
    CHECK_OK(weir_context_destroy(full_context));
    close(full_writer);
}

/* ---- chains do not recurse */

enum { CHAIN = 1000000 };
struct chain {
    weir_context *context;
    weir_stream *stream;
    weir_timer *timer;
    size_t left;
    char byte;
};

static void chain_post(int status, void *user)
{
    struct chain *chain = user;
    CHECK_EQ(status, 0);
    if (--chain->left > 0)
        CHECK_OK(weir_context_post(chain->context, chain_post, chain));
}

static void chain_defer(int status, void *user)
{
    struct chain *chain = user;
    CHECK_EQ(status, 0);
    if (--chain->left > 0)
        CHECK_OK(weir_context_defer(chain->context, chain_defer, chain));
}

static void chain_timer(int status, void *user)
{
    struct chain *chain = user;
    CHECK_EQ(status, 0);
    if (--chain->left > 0)
        CHECK_OK(weir_timer_wait(chain->timer, chain_timer, chain));
}

static void chain_read(int status, size_t bytes, void *user)
{
    struct chain *chain = user;
    CHECK_EQ(status, 0);
    CHECK_EQ(bytes, 0);
    if (--chain->left > 0)
        CHECK_OK(weir_stream_read_some(chain->stream, &chain->byte, 0, chain_read, chain));
}

static void chain_read_back(int status, size_t bytes, void *user);

static void chain_write(int status, size_t bytes, void *user)
{
    struct chain *chain = user;
    CHECK_EQ(status, 0);
    CHECK_EQ(bytes, 1);
    if (--chain->left > 0)
        CHECK_OK(weir_stream_read_some(chain->stream, &chain->byte, 1, chain_read_back, chain));
}

static weir_stream *chain_peer;

static void chain_read_back(int status, size_t bytes, void *user)
{
    struct chain *chain = user;
    CHECK_EQ(status, 0);
    CHECK_EQ(bytes, 1);
    weir_stream *from = chain->stream;
    chain->stream = chain_peer; /* the byte goes to and fro */
    chain_peer = from;
    if (--chain->left > 0) {
        weir_stream *writer = chain_peer;
        CHECK_OK(weir_stream_write_some(writer, &chain->byte, 1, chain_write, chain));
    }
}

static void *run_chain(void *user)
{
    struct chain *chain = user;
    CHECK_OK(weir_context_run(chain->context, NULL));
    CHECK_EQ(chain->left, 0);
    return NULL;
}

TEST(a_chain_of_a_million_posts_does_not_recurse)
{
    struct chain chain = {.context = new_context(), .left = many(CHAIN)};
    CHECK_OK(weir_context_post(chain.context, chain_post, &chain));
    on_small_stack(run_chain, &chain);
    CHECK_OK(weir_context_destroy(chain.context));
}

TEST(a_chain_of_deferred_callbacks_does_not_recurse)
{
    struct chain chain = {.context = new_context(), .left = many(CHAIN / 10)};
    CHECK_OK(weir_context_defer(chain.context, chain_defer, &chain));
    on_small_stack(run_chain, &chain);
    CHECK_OK(weir_context_destroy(chain.context));
}

TEST(a_chain_of_a_million_due_timer_waits_does_not_recurse)
{
    struct chain chain = {.context = new_context(), .left = many(CHAIN)};
    chain.timer = new_timer(chain.context);
    CHECK_OK(weir_timer_wait(chain.timer, chain_timer, &chain));
    on_small_stack(run_chain, &chain);
    CHECK_OK(weir_context_destroy(chain.context));
}

static void run_read_chain(weir_context *context, bool empty)
{
    struct chain chain = {.context = context, .left = many(CHAIN)};
    int pair[2];
    CHECK_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair), 0);
    chain.stream = new_stream(context);
    chain_peer = new_stream(context);
    CHECK_OK(weir_stream_adopt(chain.stream, pair[0]));
    CHECK_OK(weir_stream_adopt(chain_peer, pair[1]));
    if (empty)
        CHECK_OK(weir_stream_read_some(chain.stream, &chain.byte, 0, chain_read, &chain));
    else
        CHECK_OK(weir_stream_write_some(chain_peer, "x", 1, chain_write, &chain));
    on_small_stack(run_chain, &chain);
    CHECK_OK(weir_context_destroy(context));
}

TEST(a_chain_of_a_million_inline_completions_does_not_recurse)
{
    run_read_chain(new_context(), true);
}

TEST(a_chain_of_a_million_reads_and_writes_does_not_recurse)
{
    run_read_chain(new_context(), false);
}

TEST(a_chain_of_a_million_completions_without_inline_does_not_recurse)
{
    run_read_chain(new_context_with(WEIR_CONTEXT_NO_INLINE, 0), true);
}

/* ---- many at once: more than one block of calls */

enum { MANY = 1000 };
static struct crowd {
    weir_context *context;
    int ran, cancelled;
} crowd;

static void run_many(int status, void *user)
{
    CHECK_EQ((int)(intptr_t)user, crowd.ran + crowd.cancelled);
    if (status == WEIR_ECANCELED) {
        crowd.cancelled++;
        return;
    }
    CHECK_EQ(status, 0);
    if (++crowd.ran == MANY / 2)
        CHECK_OK(weir_context_stop(crowd.context));
}

static void post_many(int status, void *user)
{
    (void)user;
    CHECK_EQ(status, 0);
    for (int i = 0; i < MANY; i++)
        CHECK_OK(weir_context_post(crowd.context, run_many, (void *)(intptr_t)i));
}

static void stop_amid_many(bool inside)
{
    CHECK_OK(weir_context_create(NULL, &crowd.context));
    if (inside)
        CHECK_OK(weir_context_post(crowd.context, post_many, NULL));
    else
        post_many(0, NULL);
    CHECK_OK(weir_context_run(crowd.context, NULL));
    CHECK_EQ(crowd.ran, MANY / 2);
    CHECK_OK(weir_context_destroy(crowd.context));
    CHECK_EQ(crowd.ran, MANY / 2);
    CHECK_EQ(crowd.cancelled, MANY / 2);
}

TEST(a_stop_amid_many_posts_from_outside_loses_none)
{
    stop_amid_many(false);
}

TEST(a_stop_amid_many_posts_from_inside_loses_none)
{
    stop_amid_many(true);
}

/* The eventfd is never read: an edge that was taken must leave nothing behind. */
TEST(h46_an_eventfd_that_was_written_does_not_keep_the_reactor_awake)
{
    weir_context *context = new_context();
    weir_stats before = {.struct_size = sizeof before}, after = before;
    struct counter counter = {0};
    int fd = -1;
    CHECK_OK(weir_context_work_begin(context));
    CHECK_OK(weir_context_fd(context, &fd)); /* so that there is somebody to wake */
    CHECK_OK(weir_context_post(context, count_call, &counter));
    CHECK_OK(weir_context_run_for(context, 10 * CHECK_MS, NULL));
    CHECK_EQ(counter.calls, 1);
    CHECK_OK(weir_context_stats(context, &before));
    CHECK_EQ(before.interrupts, 1);
    CHECK_OK(weir_context_run_for(context, 50 * CHECK_MS, NULL));
    CHECK_OK(weir_context_stats(context, &after));
    CHECK(after.turns - before.turns <= 5);
    CHECK_OK(weir_context_destroy(context));
}

TEST_MAIN()
