/* Posted functions that several threads share: a thread takes many at a time, and that must hold up none of them. */
#include "check.h"

#include <sys/wait.h>

/* More than are queued one by one before they come many to a block, and as many as fill several. */
enum { FEW = 8, ROOM = 62, SEVERAL = FEW + 4 * ROOM };

static weir_context *context;
static atomic_int calls, waiting, flag;

static void *run_thread(void *user)
{
    (void)user;
    CHECK_OK(weir_context_run(context, NULL));
    return NULL;
}

static void count_one(int status, void *user)
{
    (void)user;
    CHECK_EQ(status, 0);
    calls++;
}

static void post_many(weir_callback callback, int count)
{
    for (int i = 0; i < count; i++)
        CHECK_OK(weir_context_post(context, callback, NULL));
}

static void run_with(int count)
{
    pthread_t threads[8];
    for (int i = 0; i < count; i++)
        threads[i] = start_thread(run_thread, NULL);
    for (int i = 0; i < count; i++)
        join_thread(threads[i]);
}

/* ---- none waits for another */

static pthread_barrier_t all_inside;

static void meet(int status, void *user)
{
    (void)user;
    CHECK_EQ(status, 0);
    pthread_barrier_wait(&all_inside); /* hangs unless all of them run at the same time */
    calls++;
}

/* From inside, where nobody can take some before the block is begun. */
static void post_block(int status, void *user)
{
    CHECK_EQ(status, 0);
    post_many(count_one, FEW + (int)(intptr_t)user);
    post_many(meet, 4);
}

TEST(four_of_a_block_run_on_four_threads_at_once)
{
    pthread_t threads[4];
    int rounds = (int)many(300), want = 0;
    CHECK_EQ(pthread_barrier_init(&all_inside, NULL, 4), 0);
    context = new_context_with(0, 4);
    CHECK_OK(weir_context_work_begin(context));
    for (int i = 0; i < 4; i++)
        threads[i] = start_thread(run_thread, NULL);
    for (int round = 0; round < rounds; round++) {
        if (round % 20 == 0)
            sleep_ms(1); /* all of them are asleep, most likely */
        int before = round % (ROOM - 4);
        CHECK_OK(weir_context_post(context, post_block, (void *)(intptr_t)before));
        want += FEW + before + 4;
        int64_t deadline = now_ns() + 30 * CHECK_SECOND;
        while (calls < want) {
            CHECK(now_ns() < deadline);
            sched_yield();
        }
    }
    CHECK_OK(weir_context_stop(context));
    for (int i = 0; i < 4; i++)
        join_thread(threads[i]);
    CHECK_EQ(calls, want);
    CHECK_OK(weir_context_destroy(context));
}

/* Waits until all but itself have been called. */
static void wait_for_all(int status, void *user)
{
    (void)user;
    CHECK_EQ(status, 0);
    WAIT_FOR(calls == SEVERAL);
    calls++;
    flag = 1;
}

/* Keeps the queue from ever being empty. */
static void post_itself(int status, void *user)
{
    (void)user;
    CHECK_EQ(status, 0);
    if (!flag)
        CHECK_OK(weir_context_post(context, post_itself, NULL));
}

/* H44: with a second thread that never runs out of work. */
TEST(h44_what_waits_behind_a_call_that_blocks_is_called_by_a_busy_thread)
{
    for (int hint = 0; hint <= 2; hint++) {
        calls = flag = 0;
        context = new_context_with(0, (uint32_t)hint);
        post_many(post_itself, 2);
        post_many(count_one, SEVERAL / 2);
        post_many(wait_for_all, 1);
        post_many(count_one, SEVERAL / 2);
        run_with(2);
        CHECK_EQ(calls, SEVERAL + 1);
        CHECK_OK(weir_context_destroy(context));
    }
}

static void wait_for_flag(int status, void *user)
{
    (void)user;
    CHECK_EQ(status, 0);
    waiting++;
    WAIT_FOR(flag);
    calls++;
}

/* A thread that takes what is posted here and waits in the first that has others behind it. */
static pthread_t start_stuck_thread(weir_callback behind, int count)
{
    calls = waiting = flag = 0;
    context = new_context_with(0, 2);
    post_many(count_one, FEW);
    post_many(wait_for_flag, 1);
    post_many(behind, count);
    pthread_t thread = start_thread(run_thread, NULL);
    WAIT_FOR(waiting == 1);
    CHECK_EQ(calls, FEW);
    return thread;
}

TEST(h03_a_poll_calls_what_waits_behind_a_call_that_blocks)
{
    for (int how = 0; how < 4; how++) {
        size_t count = 0, sum = 0;
        pthread_t thread = start_stuck_thread(count_one, 20);
        for (int i = 0; i < (how < 2 ? 20 : 1); i++) {
            switch (how) {
            case 0: CHECK_OK(weir_context_poll_one(context, &count)); break;
            case 1: CHECK_OK(weir_context_run_one(context, &count)); break;
            case 2: CHECK_OK(weir_context_poll(context, &count)); break;
            case 3: CHECK_OK(weir_context_run_for(context, CHECK_MS, &count)); break;
            }
            sum += count;
        }
        CHECK_EQ(sum, 20);
        CHECK_EQ(calls, FEW + 20);
        flag = 1;
        join_thread(thread);
        CHECK_EQ(calls, FEW + 21);
        CHECK_OK(weir_context_destroy(context));
    }
}

/* ---- each once, in whatever mixture */

enum { POSTERS = 2, RUNNERS = 4 };
static atomic_uchar *seen;
static int each;

static void see(int status, void *user)
{
    CHECK_EQ(status, 0);
    CHECK_EQ(atomic_fetch_add(&seen[(uintptr_t)user], 1), 0);
    calls++;
    if ((uintptr_t)user % 1001 == 0)
        sched_yield();
}

static void *post_numbers(void *user)
{
    for (int i = 0; i < each; i++)
        CHECK_OK(weir_context_post(context, see, (void *)((uintptr_t)user * (uintptr_t)each + (uintptr_t)i)));
    return NULL;
}

/* Runs for a moment at a time, so that threads come and go. */
static void *run_now_and_then(void *user)
{
    int how = (int)(intptr_t)user;
    while (calls < POSTERS * each) {
        switch (how++ % 3) {
        case 0: CHECK_OK(weir_context_poll(context, NULL)); break;
        case 1: CHECK_OK(weir_context_run_for(context, CHECK_MS, NULL)); break;
        case 2: CHECK_OK(weir_context_run_one(context, NULL)); break;
        }
    }
    CHECK_OK(weir_context_stop(context));
    return NULL;
}

TEST(h02_each_is_called_once_however_threads_come_and_go)
{
    pthread_t posters[POSTERS], runners[RUNNERS], guests[2];
    each = (int)many(200000);
    seen = calloc(POSTERS, (size_t)each);
    CHECK(seen != NULL);
    calls = 0;
    context = new_context_with(0, 2);
    CHECK_OK(weir_context_work_begin(context));
    for (int i = 0; i < RUNNERS; i++)
        runners[i] = start_thread(run_thread, NULL);
    for (int i = 0; i < POSTERS; i++)
        posters[i] = start_thread(post_numbers, (void *)(intptr_t)i);
    /* One that polls, one that waits; the last look of both may wait for a post that never comes. */
    for (int i = 0; i < 2; i++)
        guests[i] = start_thread(run_now_and_then, (void *)(intptr_t)i);
    for (int i = 0; i < POSTERS; i++)
        join_thread(posters[i]);
    WAIT_FOR(calls == POSTERS * each);
    CHECK_OK(weir_context_stop(context));
    for (int i = 0; i < 2; i++)
        join_thread(guests[i]);
    for (int i = 0; i < RUNNERS; i++)
        join_thread(runners[i]);
    CHECK_OK(weir_context_destroy(context));
    free(seen);
}

/* ---- one thread: in order, whatever happens in the middle */

static int next_number, stop_at, nest_at, fork_at;
static pid_t child;

static void in_order(int status, void *user)
{
    int number = (int)(intptr_t)user;
    CHECK_EQ(status, 0);
    CHECK_EQ(number, next_number++);
    if (number == stop_at)
        CHECK_OK(weir_context_stop(context));
    if (number == nest_at)
        CHECK_OK(weir_context_poll(context, NULL));
    if (number == fork_at) {
        child = fork();
        CHECK(child >= 0);
        if (child == 0)
            CHECK_OK(weir_context_notify_fork(context, WEIR_FORK_CHILD));
    }
}

static void post_in_order(void)
{
    next_number = 0;
    stop_at = nest_at = fork_at = -1;
    for (int i = 0; i < SEVERAL; i++)
        CHECK_OK(weir_context_post(context, in_order, (void *)(intptr_t)i));
}

TEST(stop_in_the_middle_leaves_the_rest_in_order)
{
    context = new_context_with(0, 2);
    post_in_order();
    for (stop_at = 0; stop_at < SEVERAL; stop_at += 7) {
        CHECK_OK(weir_context_run(context, NULL));
        CHECK_EQ(next_number, stop_at + 1);
        CHECK_OK(weir_context_restart(context));
    }
    CHECK_OK(weir_context_run(context, NULL));
    CHECK_EQ(next_number, SEVERAL);
    CHECK_OK(weir_context_destroy(context));
}

TEST(h07_a_nested_run_in_the_middle_goes_on_with_the_next)
{
    for (int at = 0; at < SEVERAL; at += 31) {
        context = new_context_with(0, 2);
        post_in_order();
        nest_at = at;
        CHECK_OK(weir_context_run(context, NULL));
        CHECK_EQ(next_number, SEVERAL);
        CHECK_OK(weir_context_destroy(context));
    }
}

static void expect_cancel(int status, void *user)
{
    CHECK_EQ((int)(intptr_t)user, next_number++);
    if (next_number <= stop_at + 1) {
        CHECK_EQ(status, 0);
        if (next_number == stop_at + 1)
            CHECK_OK(weir_context_stop(context));
    } else {
        CHECK_EQ(status, WEIR_ECANCELED);
    }
}

TEST(destroy_in_the_middle_cancels_the_rest_in_order)
{
    context = new_context_with(0, 2);
    next_number = 0;
    stop_at = FEW + ROOM / 2;
    for (int i = 0; i < SEVERAL; i++)
        CHECK_OK(weir_context_post(context, expect_cancel, (void *)(intptr_t)i));
    CHECK_OK(weir_context_run(context, NULL));
    CHECK_EQ(next_number, stop_at + 1);
    CHECK_OK(weir_context_destroy(context));
    CHECK_EQ(next_number, SEVERAL);
}

/* ---- H70: the child of a fork, in which the other threads are gone with what they had taken */

static void check_child(void)
{
    int status = 0;
    CHECK_EQ(waitpid(child, &status, 0), child);
    CHECK_EQ(status, 0);
}

TEST(h70_a_child_forked_in_the_middle_goes_on_with_the_next)
{
    context = new_context_with(0, 2);
    post_in_order();
    fork_at = FEW + ROOM + 5;
    CHECK_OK(weir_context_run(context, NULL));
    CHECK_EQ(next_number, SEVERAL);
    CHECK_OK(weir_context_destroy(context));
    if (child == 0)
        _exit(0);
    check_child();
}

TEST(h70_a_child_calls_what_waits_behind_a_call_of_a_thread_that_is_gone)
{
    pthread_t thread = start_stuck_thread(count_one, 20);
    child = fork();
    CHECK(child >= 0);
    if (child == 0) {
        CHECK_OK(weir_context_notify_fork(context, WEIR_FORK_CHILD)); /* without a prepare, which would have said EBUSY */
        CHECK_OK(weir_context_poll(context, NULL));
        CHECK_EQ(calls, FEW + 20);
        CHECK_OK(weir_context_destroy(context));
        _exit(0);
    }
    check_child();
    flag = 1;
    join_thread(thread);
    CHECK_EQ(calls, FEW + 21);
    CHECK_OK(weir_context_destroy(context));
}

static void count_cancelled_in_child(int status, void *user)
{
    (void)user;
    CHECK_EQ(status, child == 0 ? WEIR_ECANCELED : 0);
    calls++;
}

TEST(h70_destroy_in_a_child_cancels_what_a_thread_that_is_gone_had_taken)
{
    for (int told = 0; told < 2; told++) {
        child = 1;
        pthread_t thread = start_stuck_thread(count_cancelled_in_child, 20);
        child = fork();
        CHECK(child >= 0);
        if (child == 0) {
            if (told)
                CHECK_OK(weir_context_notify_fork(context, WEIR_FORK_CHILD));
            CHECK_OK(weir_context_destroy(context));
            CHECK_EQ(calls, FEW + 20);
            _exit(0);
        }
        check_child();
        flag = 1;
        join_thread(thread);
        CHECK_EQ(calls, FEW + 21);
        CHECK_OK(weir_context_destroy(context));
    }
}

TEST_MAIN()
