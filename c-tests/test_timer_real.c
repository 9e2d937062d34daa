/* Timers on the real clock: never early, wake-ups from other threads, fairness, system calls. */
#include "deny.h"

#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/timerfd.h>

/* Stands before the C library's: counts how often the timerfd is programmed. */
static atomic_int timerfd_calls;

int timerfd_settime(int fd, int flags, const struct itimerspec *value, struct itimerspec *old)
{
    atomic_fetch_add(&timerfd_calls, 1);
    return (int)syscall(SYS_timerfd_settime, fd, flags, value, old);
}

static void *run_it(void *user)
{
    CHECK_OK(weir_context_run(user, NULL));
    return NULL;
}

/* ---- never early */

enum { EARLY = 2000 };
static struct punctual {
    weir_timer *timer;
    int64_t at;
    int rounds;
} punctual[EARLY];

static void check_punctual(int status, void *user)
{
    struct punctual *entry = user;
    CHECK_EQ(status, 0);
    CHECK(now_ns() >= entry->at);
    if (--entry->rounds > 0) {
        CHECK_OK(weir_timer_expires_after(entry->timer, entry->rounds * 37001));
        CHECK_OK(weir_timer_expiry(entry->timer, &entry->at));
        CHECK_OK(weir_timer_wait(entry->timer, check_punctual, entry));
    }
}

static void never_early(int64_t slack, int threads)
{
    weir_context_options options = {0};
    weir_context *context = NULL;
    pthread_t run[3];
    options.struct_size = sizeof options;
    options.timer_slack_ns = slack;
    CHECK_OK(weir_context_create(&options, &context));
    for (int i = 0; i < EARLY; i++) {
        punctual[i].timer = new_timer(context);
        punctual[i].rounds = 10;
        CHECK_OK(weir_timer_expires_after(punctual[i].timer, (int64_t)i * 15013));
        CHECK_OK(weir_timer_expiry(punctual[i].timer, &punctual[i].at));
        CHECK_OK(weir_timer_wait(punctual[i].timer, check_punctual, &punctual[i]));
    }
    for (int i = 0; i < threads; i++)
        run[i] = start_thread(run_it, context);
    for (int i = 0; i < threads; i++)
        join_thread(run[i]);
    for (int i = 0; i < EARLY; i++)
        CHECK_EQ(punctual[i].rounds, 0);
    CHECK_OK(weir_context_destroy(context));
}

TEST(timers_are_never_early)
{
    never_early(0, 1);
}

TEST(timers_are_never_early_on_three_threads)
{
    never_early(0, 3);
}

TEST(timers_are_never_early_with_slack)
{
    never_early(2 * CHECK_MS, 1);
}

TEST(expires_at_takes_the_time_of_now)
{
    weir_context *context = new_context();
    struct counter counter = {0};
    int64_t now = 0;
    weir_timer *timer = new_timer(context);
    CHECK_OK(weir_context_now(context, &now));
    CHECK_OK(weir_timer_expires_at(timer, now + 3 * CHECK_MS));
    CHECK_OK(weir_timer_wait(timer, count_call, &counter));
    CHECK_OK(weir_context_run(context, NULL));
    CHECK(now_ns() >= now + 3 * CHECK_MS);
    CHECK_EQ(counter.calls, 1);
    CHECK_OK(weir_context_restart(context));
    CHECK_OK(weir_timer_expires_at(timer, 1)); /* long past */
    CHECK_OK(weir_timer_wait(timer, count_call, &counter));
    CHECK_OK(weir_context_run(context, NULL));
    CHECK_EQ(counter.calls, 2);
    CHECK_OK(weir_context_destroy(context));
}

/* H42: an overflow would fire at once. */
/* ---- the time of the turn */

static int64_t turn_now(weir_context *context)
{
    int64_t now = -1;
    CHECK_OK(weir_context_turn_now(context, &now));
    return now;
}

static void stays_a_while(int status, void *user)
{
    weir_context *context = user;
    CHECK_EQ(status, 0);
    int64_t before = turn_now(context);
    CHECK(before <= now_ns());
    sleep_ms(3);
    CHECK_EQ(turn_now(context), before);
}

TEST(the_time_of_the_turn_stands_still_until_the_next)
{
    weir_context *context = new_context();
    int64_t began = now_ns();
    int64_t first = turn_now(context);
    CHECK(first >= began && first <= now_ns());
    sleep_ms(3);
    CHECK_EQ(turn_now(context), first);
    for (int i = 0; i < 5; i++) {
        began = now_ns();
        CHECK_OK(weir_context_restart(context));
        CHECK_OK(weir_context_post(context, stays_a_while, context));
        CHECK_OK(weir_context_run(context, NULL));
        CHECK_OK(weir_context_restart(context));
        CHECK_OK(weir_context_poll(context, NULL));
        int64_t next = turn_now(context);
        CHECK(next >= began && next <= now_ns());
    }
    /* A slept turn makes it new: what was asked for before it is not what its callbacks are told. */
    weir_timer *timer = new_timer(context);
    struct counter counter = {0};
    CHECK_OK(weir_context_restart(context));
    CHECK_OK(weir_timer_expires_at(timer, turn_now(context) + 5000000));
    int64_t at = 0;
    CHECK_OK(weir_timer_expiry(timer, &at));
    CHECK_OK(weir_timer_wait(timer, count_call, &counter));
    CHECK_OK(weir_context_run(context, NULL));
    CHECK_EQ(counter.calls, 1);
    CHECK(turn_now(context) >= at);
    CHECK_OK(weir_context_destroy(context));
}

static void *run_it_while_it_has_work(void *user)
{
    CHECK_OK(weir_context_run(user, NULL));
    return NULL;
}

TEST(while_the_context_sleeps_the_time_of_the_turn_goes_on)
{
    weir_context *context = new_context();
    CHECK_OK(weir_context_work_begin(context));
    pthread_t runner = start_thread(run_it_while_it_has_work, context);
    int64_t first = turn_now(context);
    while (turn_now(context) == first) sleep_ms(1);
    CHECK_OK(weir_context_work_end(context));
    join_thread(runner);
    CHECK_OK(weir_context_destroy(context));
}

TEST(h42_never_does_not_come)
{
    weir_context *context = new_context();
    struct counter counter = {0};
    int64_t left = 0;
    weir_timer *timer = new_timer(context);
    CHECK_OK(weir_timer_expires_after(timer, INT64_MAX));
    CHECK_OK(weir_timer_wait(timer, count_call, &counter));
    CHECK_OK(weir_timer_remaining(timer, &left));
    CHECK_EQ(left, WEIR_FOREVER);
    CHECK_OK(weir_context_run_for(context, 5 * CHECK_MS, NULL));
    CHECK_OK(weir_timer_expires_after(timer, INT64_MAX - 1));
    CHECK_OK(weir_context_run_for(context, 5 * CHECK_MS, NULL));
    CHECK_OK(weir_timer_expires_at(timer, INT64_MAX - 1));
    CHECK_OK(weir_context_run_for(context, 5 * CHECK_MS, NULL));
    CHECK_EQ(counter.calls, 0);
    CHECK_OK(weir_context_destroy(context));
    CHECK_EQ(counter.status, WEIR_ECANCELED);
}

/* ---- H01: a timer made earlier on another thread, while the reactor goes to sleep. A miss hangs the case, because
 * the only other timer is an hour away. */

static atomic_int fired;

static void note_fired(int status, void *user)
{
    (void)user;
    CHECK_EQ(status, 0);
    atomic_fetch_add(&fired, 1);
}

static void nothing(int status, void *user)
{
    (void)status;
    (void)user;
}

static void spin(unsigned rounds)
{
    for (volatile unsigned i = 0; i < rounds; i++) {
    }
}

static void earlier_while_going_to_sleep(int threads, bool move)
{
    weir_context *context = new_context();
    pthread_t run[3];
    struct counter far_calls = {0};
    weir_timer *far = new_timer(context), *near = new_timer(context);
    CHECK_OK(weir_timer_expires_after(far, 3600 * CHECK_SECOND));
    CHECK_OK(weir_timer_wait(far, count_call, &far_calls));
    for (int i = 0; i < threads; i++)
        run[i] = start_thread(run_it, context);
    int rounds = (int)many(20000);
    for (int i = 0; i < rounds; i++) {
        /* Stirs the reactor, so that it is on its way to sleep at a moment that differs each time. */
        CHECK_OK(weir_context_post(context, nothing, NULL));
        spin((unsigned)i % 3001);
        if (move) {
            CHECK_OK(weir_timer_expires_after(near, 1800 * CHECK_SECOND));
            CHECK_OK(weir_timer_wait(near, note_fired, NULL));
            CHECK_OK(weir_timer_expires_after(near, (i % 7) * 3000));
        } else {
            CHECK_OK(weir_timer_expires_after(near, (i % 7) * 3000));
            CHECK_OK(weir_timer_wait(near, note_fired, NULL));
        }
        while (atomic_load(&fired) <= i)
            sched_yield();
    }
    CHECK_EQ(far_calls.calls, 0);
    CHECK_OK(weir_timer_close(far));
    for (int i = 0; i < threads; i++)
        join_thread(run[i]);
    CHECK_EQ(atomic_load(&fired), rounds);
    CHECK_OK(weir_context_destroy(context));
}

TEST(h01_an_earlier_timer_reaches_one_thread_that_goes_to_sleep)
{
    earlier_while_going_to_sleep(1, false);
}

TEST(h01_an_earlier_timer_reaches_one_of_three_threads)
{
    earlier_while_going_to_sleep(3, false);
}

TEST(h01_a_timer_moved_earlier_reaches_a_thread_that_goes_to_sleep)
{
    earlier_while_going_to_sleep(1, true);
}

/* ---- system calls */

static weir_timer *moved;
static atomic_bool moved_enough;

static void move_later_inside(int status, void *user)
{
    (void)user;
    CHECK_EQ(status, 0);
    int before = atomic_load(&timerfd_calls);
    for (int i = 0; i < 1000; i++)
        CHECK_OK(weir_timer_expires_after(moved, 1000 * CHECK_SECOND + i));
    CHECK_EQ(atomic_load(&timerfd_calls), before);
    atomic_store(&moved_enough, true);
}

TEST(a_later_reset_makes_no_system_call)
{
    weir_context *context = new_context();
    struct counter counter = {0};
    moved = new_timer(context);
    CHECK_OK(weir_timer_expires_after(moved, 1000 * CHECK_SECOND));
    CHECK_OK(weir_timer_wait(moved, count_call, &counter));
    CHECK_OK(weir_context_post(context, move_later_inside, NULL));
    pthread_t runner = start_thread(run_it, context);
    WAIT_FOR(atomic_load(&moved_enough));
    sleep_ms(5); /* the reactor sleeps now */
    int before = atomic_load(&timerfd_calls);
    for (int i = 0; i < 1000; i++)
        CHECK_OK(weir_timer_expires_after(moved, 2000 * CHECK_SECOND + i));
    CHECK(atomic_load(&timerfd_calls) - before <= 1); /* 1: when it was on its way to sleep only */
    CHECK_OK(weir_timer_close(moved));
    join_thread(runner);
    CHECK_EQ(counter.calls, 1);
    CHECK_OK(weir_context_destroy(context));
}

/* H46: however many timers a callback starts, moves and cancels, the timerfd is programmed at most once a turn. */
static void churn(int status, void *user)
{
    CHECK_EQ(status, 0);
    weir_context *context = user;
    int before = atomic_load(&timerfd_calls);
    for (int i = 0; i < 1000; i++) {
        weir_timer *timer = new_timer(context);
        CHECK_OK(weir_timer_expires_after(timer, (1000 - i) * CHECK_SECOND));
        CHECK_OK(weir_timer_wait(timer, nothing, NULL));
        if (i % 2)
            CHECK_OK(weir_timer_close(timer));
    }
    CHECK_EQ(atomic_load(&timerfd_calls), before);
}

/* On a kernel whose waits count in milliseconds the timerfd is what wakes the reactor. */
TEST(without_epoll_pwait2_timers_come_by_the_timerfd)
{
    deny_system_call(SYS_epoll_pwait2);
    never_early(0, 1);
    never_early(0, 2);
    weir_context *context = new_context();
    /* Those may all have been due before anybody slept; this one is not. */
    weir_timer *timer = new_timer(context);
    struct counter fired = {0};
    for (int i = 1; i < 100 && atomic_load(&timerfd_calls) == 0; i++) {
        CHECK_OK(weir_timer_expires_after(timer, i * CHECK_SECOND / 20));
        CHECK_OK(weir_timer_wait(timer, count_call, &fired));
        CHECK_OK(weir_context_run(context, NULL));
        CHECK_OK(weir_context_restart(context));
    }
    CHECK(atomic_load(&timerfd_calls) > 0);
    CHECK_OK(weir_timer_close(timer));
    CHECK_OK(weir_context_work_begin(context));
    for (int i = 0; i < 3; i++) {
        int64_t before = now_ns();
        CHECK_OK(weir_context_run_for(context, 3 * CHECK_MS, NULL));
        CHECK(now_ns() - before >= 3 * CHECK_MS);
    }
    CHECK_OK(weir_context_destroy(context));
}

TEST(h46_the_timerfd_is_programmed_at_most_once_a_turn)
{
    weir_context *context = new_context();
    CHECK_OK(weir_context_post(context, churn, context));
    pthread_t runner = start_thread(run_it, context);
    /* A reactor that other events keep waking has it programmed; one that sleeps until a timer is due need not. */
    WAIT_FOR((weir_context_post(context, nothing, NULL), atomic_load(&timerfd_calls) >= 1));
    for (int i = 0; i < 100; i++) {
        CHECK_OK(weir_context_post(context, nothing, NULL));
        sleep_ms(1);
    }
    CHECK_OK(weir_context_stop(context));
    join_thread(runner);
    CHECK(atomic_load(&timerfd_calls) <= 2);
    CHECK_OK(weir_context_destroy(context));
}

/* A timer that is due is not waited for again: the fd was read or set anew, no turn after it is for nothing. */
TEST(h46_an_expired_timerfd_does_not_keep_the_reactor_awake)
{
    weir_context *context = new_context();
    struct counter counter = {0};
    weir_timer *timer = new_timer(context);
    int fd = -1;
    CHECK_OK(weir_context_work_begin(context));
    CHECK_OK(weir_timer_expires_after(timer, 20 * CHECK_MS));
    CHECK_OK(weir_timer_wait(timer, count_call, &counter));
    /* A host needs the fd to tell of it: so the timerfd is programmed, and not only the time of a sleep. */
    CHECK_OK(weir_context_fd(context, &fd));
    while (counter.calls == 0)
        CHECK_OK(weir_context_run_for(context, 5 * CHECK_MS, NULL));
    uint64_t turns = turns_of(context);
    CHECK_OK(weir_context_run_for(context, 100 * CHECK_MS, NULL));
    CHECK(turns_of(context) - turns <= 5);
    CHECK_OK(weir_context_destroy(context));
}

/* ---- H44: fairness */

struct hog {
    weir_context *context;
    weir_timer *timer;
    size_t turns;
    bool post_seen, read_seen, timer_seen;
};

static void rearm_at_once(int status, void *user)
{
    struct hog *hog = user;
    CHECK_EQ(status, 0);
    hog->turns++;
    if (hog->post_seen && hog->read_seen && hog->timer_seen)
        return;
    CHECK_OK(weir_timer_expires_after(hog->timer, 0));
    CHECK_OK(weir_timer_wait(hog->timer, rearm_at_once, hog));
}

static void see_post(int status, void *user)
{
    CHECK_EQ(status, 0);
    ((struct hog *)user)->post_seen = true;
}

static void see_timer(int status, void *user)
{
    CHECK_EQ(status, 0);
    ((struct hog *)user)->timer_seen = true;
}

static void see_read(int status, size_t bytes, void *user)
{
    CHECK_EQ(status, 0);
    CHECK_EQ(bytes, 1);
    ((struct hog *)user)->read_seen = true;
}

TEST(h44_a_0_ns_timer_that_rearms_itself_starves_nobody)
{
    struct hog hog = {.context = new_context()};
    int pair[2];
    char byte;
    CHECK_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair), 0);
    weir_stream *stream = new_stream(hog.context);
    weir_timer *other = new_timer(hog.context);
    CHECK_OK(weir_stream_adopt(stream, pair[0]));
    hog.timer = new_timer(hog.context);
    CHECK_OK(weir_stream_read_some(stream, &byte, 1, see_read, &hog));
    CHECK_OK(weir_timer_expires_after(other, 5 * CHECK_MS));
    CHECK_OK(weir_timer_wait(other, see_timer, &hog));
    CHECK_OK(weir_timer_wait(hog.timer, rearm_at_once, &hog));
    CHECK_OK(weir_context_run_for(hog.context, CHECK_MS, NULL));
    CHECK(hog.turns > 0);
    CHECK_EQ(write(pair[1], "x", 1), 1);
    CHECK_OK(weir_context_post(hog.context, see_post, &hog));
    CHECK_OK(weir_context_run(hog.context, NULL)); /* ends when all three came through */
    CHECK(hog.post_seen && hog.read_seen && hog.timer_seen);
    CHECK_OK(weir_context_destroy(hog.context));
    close(pair[1]);
}

/* A million timers are due: a post and a stream get their turn long before the last of them. */
enum { DUE = 1000000 };
static size_t due_calls, post_at, read_at;
static weir_context *due_context;
static int due_writer;

static void see_late_post(int status, void *user)
{
    (void)user;
    CHECK_EQ(status, 0);
    post_at = due_calls;
}

static void see_late_read(int status, size_t bytes, void *user)
{
    (void)user;
    CHECK_EQ(status, 0);
    CHECK_EQ(bytes, 1);
    read_at = due_calls;
}

static void count_due(int status, void *user)
{
    (void)user;
    CHECK_EQ(status, 0);
    if (++due_calls == 1) {
        CHECK_OK(weir_context_post(due_context, see_late_post, NULL));
        CHECK_EQ(write(due_writer, "x", 1), 1);
    }
}

TEST(h44_a_million_due_timers_starve_neither_posts_nor_streams)
{
    int pair[2];
    char byte;
    size_t timers = many(DUE);
    due_context = new_context();
    CHECK_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair), 0);
    weir_stream *stream = new_stream(due_context);
    CHECK_OK(weir_stream_adopt(stream, pair[0]));
    CHECK_OK(weir_stream_read_some(stream, &byte, 1, see_late_read, NULL));
    due_writer = pair[1];
    for (size_t i = 0; i < timers; i++) {
        weir_timer *timer = new_timer(due_context);
        CHECK_OK(weir_timer_expires_at(timer, 1 + (int64_t)(i % 1000)));
        CHECK_OK(weir_timer_wait(timer, count_due, NULL));
    }
    CHECK_OK(weir_context_run(due_context, NULL));
    CHECK_EQ(due_calls, timers);
    CHECK(post_at > 0 && post_at <= 5000);
    CHECK(read_at > 0 && read_at <= 5000);
    CHECK_OK(weir_context_destroy(due_context));
    close(pair[1]);
}

/* ---- threads on one timer */

static weir_timer *shared;
static atomic_int begun, ended;

static void note_ended(int status, void *user)
{
    (void)user;
    CHECK(status == 0 || status == WEIR_ECANCELED);
    atomic_fetch_add(&ended, 1);
}

static void *use_shared(void *user)
{
    unsigned state = (unsigned)(uintptr_t)user;
    for (size_t i = 0; i < many(40000); i++) {
        int64_t ns = 0;
        state = state * 1103515245 + 12345;
        switch ((state >> 16) % 8) {
        case 0:
        case 1:
        case 2:
            atomic_fetch_add(&begun, 1);
            CHECK_OK(weir_timer_wait(shared, note_ended, NULL));
            break;
        case 3: CHECK_OK(weir_timer_expires_after(shared, (int64_t)(state >> 20) % 100000)); break;
        case 4: CHECK_OK(weir_timer_cancel(shared, NULL)); break;
        case 5: CHECK_OK(weir_timer_cancel_one(shared, NULL)); break;
        case 6: CHECK_OK(weir_timer_remaining(shared, &ns)); break;
        default: CHECK_OK(weir_timer_expires_at(shared, now_ns() + (state >> 20) % 50000)); break;
        }
    }
    return NULL;
}

TEST(h40_waits_of_three_threads_on_one_timer_complete_once_each)
{
    weir_context *context = new_context();
    pthread_t run[2], use[3];
    CHECK_OK(weir_context_work_begin(context));
    shared = new_timer(context);
    for (int i = 0; i < 2; i++)
        run[i] = start_thread(run_it, context);
    for (intptr_t i = 0; i < 3; i++)
        use[i] = start_thread(use_shared, (void *)(i + 1));
    for (int i = 0; i < 3; i++)
        join_thread(use[i]);
    CHECK_OK(weir_timer_close(shared));
    CHECK_OK(weir_context_work_end(context));
    for (int i = 0; i < 2; i++)
        join_thread(run[i]);
    CHECK_EQ(atomic_load(&begun), atomic_load(&ended));
    CHECK_OK(weir_context_destroy(context));
    CHECK_EQ(atomic_load(&begun), atomic_load(&ended));
}

TEST_MAIN()
