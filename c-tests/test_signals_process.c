/* Signals: what concerns the whole process. Handlers that were there before, flags, threads, other processes. */
#include "signals.h"

#include <sched.h>

/* ---- the handler (H50) */

static atomic_bool over;
static atomic_int progress;

static void *look_at_errno(void *argument)
{
    (void)argument;
    errno = 12345;
    while (!over) {
        for (int i = 0; i < 1000; i++)
            CHECK(errno == 12345);
        progress++;
    }
    return NULL;
}

/* The eventfd is full, so that the handler's write fails and sets errno; the chained handler sets it as well. */
static void spoil_errno(int signo)
{
    (void)signo;
    errno = EXDEV;
}

TEST(h50_errno_is_kept)
{
    weir_context *context = new_context();
    weir_signals *signals = new_signals(context);
    CHECK(signal(SIGUSR1, spoil_errno) != SIG_ERR);
    CHECK_OK(weir_signals_add(signals, SIGUSR1, WEIR_SIGNALS_CHAIN));
    pthread_t thread = start_thread(look_at_errno, NULL);
    int rounds = (int)many(400);
    for (int i = 0; i < rounds; i++) {
        int before = progress;
        CHECK_EQ(pthread_kill(thread, SIGUSR1), 0);
        while (progress == before)
            sched_yield();
    }
    over = true;
    join_thread(thread);
    CHECK(arrived(signals) > 0);
    CHECK_OK(weir_context_destroy(context));
}

static weir_context *busy_context;

/* Is inside the library nearly all the time, with locks held for a good part of it. */
static void *be_busy(void *argument)
{
    struct got got = {0};
    (void)argument;
    while (!over) {
        weir_signals *signals = new_signals_of(busy_context, SIGUSR1);
        CHECK_OK(weir_signals_add(signals, SIGUSR2, 0));
        for (int i = 0; i < 4; i++)
            CHECK_OK(weir_signals_wait(signals, got_signal, &got));
        CHECK_OK(weir_context_restart(busy_context));
        CHECK_OK(weir_context_poll(busy_context, NULL));
        CHECK_OK(weir_signals_cancel(signals, NULL));
        CHECK_OK(weir_signals_remove(signals, SIGUSR2));
        CHECK_OK(weir_signals_close(signals));
        progress++;
    }
    CHECK_OK(weir_context_restart(busy_context));
    CHECK_OK(weir_context_poll(busy_context, NULL));
    return NULL;
}

TEST(h50_a_thread_that_is_inside_the_library_is_interrupted)
{
    busy_context = new_context();
    weir_signals *keeper = new_signals_of(busy_context, SIGUSR1);
    pthread_t thread = start_thread(be_busy, NULL);
    int signals = (int)many(20000), last = progress;
    for (int i = 0; i < signals; i++) {
        CHECK_EQ(pthread_kill(thread, SIGUSR1), 0);
        if (i % 64 == 0) { /* it still comes round */
            while (progress == last)
                sched_yield();
            last = progress;
        }
    }
    over = true;
    join_thread(thread);
    CHECK(arrived(keeper) > 0);
    CHECK_OK(weir_context_destroy(busy_context));
}

/* ---- what was there before (H51) */

static atomic_int plain_calls, info_calls;

static void plain(int signo)
{
    CHECK(signo == SIGUSR1);
    plain_calls++;
}

static void with_info(int signo, siginfo_t *info, void *context)
{
    CHECK(info->si_signo == signo && context != NULL);
    info_calls++;
}

TEST(h51_the_action_before_is_restored_at_the_last_removal)
{
    struct sigaction before = {0}, now;
    before.sa_handler = plain;
    before.sa_flags = SA_NODEFER;
    sigaddset(&before.sa_mask, SIGHUP);
    CHECK_EQ(sigaction(SIGUSR1, &before, NULL), 0);
    weir_context *first = new_context(), *second = new_context();
    weir_signals *a = new_signals_of(first, SIGUSR1), *b = new_signals_of(second, SIGUSR1);
    weir_signals *c = new_signals_of(second, SIGUSR1);
    now = action_of(SIGUSR1);
    CHECK(now.sa_handler != plain);
    CHECK(now.sa_flags & SA_RESTART);
    CHECK(now.sa_flags & SA_ONSTACK);
    raise(SIGUSR1);
    CHECK_EQ(plain_calls, 0);
    CHECK_OK(weir_signals_remove(a, SIGUSR1));
    CHECK_OK(weir_signals_close(b));
    CHECK(action_of(SIGUSR1).sa_handler != plain);
    CHECK_OK(weir_signals_clear(c));
    now = action_of(SIGUSR1);
    CHECK(now.sa_handler == plain);
    CHECK_EQ(now.sa_flags & (SA_NODEFER | SA_RESTART | SA_SIGINFO | SA_ONSTACK), SA_NODEFER);
    CHECK_EQ(sigismember(&now.sa_mask, SIGHUP), 1);
    raise(SIGUSR1);
    CHECK_EQ(plain_calls, 1);
    /* By the destruction of a context, too. */
    CHECK_OK(weir_signals_add(a, SIGUSR1, 0));
    CHECK_OK(weir_signals_add(a, SIGUSR2, 0));
    CHECK_OK(weir_signals_add(c, SIGUSR1, 0));
    CHECK_OK(weir_context_destroy(first));
    CHECK(action_of(SIGUSR1).sa_handler != plain);
    CHECK(action_of(SIGUSR2).sa_handler == SIG_DFL);
    CHECK_OK(weir_context_destroy(second));
    CHECK(action_of(SIGUSR1).sa_handler == plain);
}

TEST(h51_the_handler_before_is_called_too_where_asked_for)
{
    weir_context *context = new_context();
    weir_signals *signals = new_signals(context);
    struct sigaction info = {0};
    info.sa_sigaction = with_info;
    info.sa_flags = SA_SIGINFO;
    sigaddset(&info.sa_mask, SIGHUP);
    CHECK_EQ(sigaction(SIGUSR2, &info, NULL), 0);
    CHECK(signal(SIGUSR1, plain) != SIG_ERR);
    CHECK(signal(SIGHUP, SIG_IGN) != SIG_ERR);
    CHECK_OK(weir_signals_add(signals, SIGUSR1, WEIR_SIGNALS_CHAIN));
    CHECK_OK(weir_signals_add(signals, SIGUSR2, WEIR_SIGNALS_CHAIN));
    CHECK_OK(weir_signals_add(signals, SIGHUP, WEIR_SIGNALS_CHAIN));
    CHECK_OK(weir_signals_add(signals, SIGTERM, WEIR_SIGNALS_CHAIN)); /* the default action is not performed */
    struct sigaction ours = action_of(SIGUSR2);
    CHECK_EQ(sigismember(&ours.sa_mask, SIGHUP), 1);
    for (int i = 0; i < 3; i++) {
        raise(SIGUSR1);
        raise(SIGUSR2);
        raise(SIGHUP);
        raise(SIGTERM);
    }
    CHECK_EQ(plain_calls, 3);
    CHECK_EQ(info_calls, 3);
    CHECK_EQ(arrived(signals), 12);
    CHECK_OK(weir_signals_clear(signals));
    raise(SIGUSR1);
    raise(SIGUSR2);
    CHECK_EQ(plain_calls, 4);
    CHECK_EQ(info_calls, 4);
    /* Without the flag it is not called any more. */
    CHECK_OK(weir_signals_add(signals, SIGUSR1, 0));
    raise(SIGUSR1);
    CHECK_EQ(plain_calls, 4);
    CHECK_OK(weir_context_destroy(context));
}

/* The program's own change of mind wins. */
TEST(h51_a_handler_that_the_program_set_meanwhile_stays)
{
    weir_context *context = new_context();
    weir_signals *signals = new_signals_of(context, SIGUSR1), *second = new_signals(context);
    struct sigaction ours = action_of(SIGUSR1);
    CHECK(signal(SIGUSR1, plain) != SIG_ERR);
    CHECK_CODE(weir_signals_add(second, SIGUSR1, WEIR_SIGNALS_CHAIN), -EEXIST);
    CHECK_OK(weir_signals_clear(signals));
    CHECK(action_of(SIGUSR1).sa_handler == plain);
    /* It may call ours, for all that is known: not to be called by ours. */
    CHECK_CODE(weir_signals_add(signals, SIGUSR1, WEIR_SIGNALS_CHAIN), WEIR_EBUSY);
    CHECK(action_of(SIGUSR1).sa_handler == plain);
    CHECK_OK(weir_signals_add(signals, SIGUSR1, 0));
    raise(SIGUSR1);
    CHECK_EQ(plain_calls, 0);
    CHECK_EQ(arrived(signals), 1);
    CHECK_OK(weir_signals_clear(signals));
    CHECK(action_of(SIGUSR1).sa_handler == plain);
    /* Ours, put back by the program, is not taken for the program's. */
    CHECK_EQ(sigaction(SIGUSR1, &ours, NULL), 0);
    CHECK_OK(weir_signals_add(signals, SIGUSR1, WEIR_SIGNALS_CHAIN));
    raise(SIGUSR1);
    CHECK_EQ(arrived(signals), 1);
    CHECK_OK(weir_context_destroy(context));
}

TEST(h51_sigchld_is_the_programs_own)
{
    weir_context *context = new_context();
    weir_signals *signals = new_signals_of(context, SIGUSR1);
    CHECK(action_of(SIGCHLD).sa_handler == SIG_DFL);
    struct got got = {0};
    int status = 0;
    for (int round = 0; round < 2; round++) {
        pid_t child = fork();
        if (child == 0)
            _exit(7);
        while (waitpid(child, &status, 0) < 0)
            CHECK_EQ(errno, EINTR);
        CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 7);
        CHECK_OK(weir_signals_add(signals, SIGCHLD, 0)); /* for the second round */
    }
    begin_wait(signals, &got);
    serve(context);
    CHECK_EQ(got.value, SIGCHLD);
    CHECK_OK(weir_context_destroy(context));
    CHECK(action_of(SIGCHLD).sa_handler == SIG_DFL);
}

/* ---- flags */

TEST(flags_are_the_processs)
{
    weir_context *first = new_context(), *second = new_context();
    weir_signals *a = new_signals(first), *b = new_signals(second);
    CHECK_OK(weir_signals_add(a, SIGCHLD, WEIR_SIGNALS_NO_CHILD_STOP | WEIR_SIGNALS_INTERRUPT));
    int flags = action_of(SIGCHLD).sa_flags;
    CHECK_EQ(flags & (SA_NOCLDSTOP | SA_NOCLDWAIT | SA_RESTART), SA_NOCLDSTOP);
    CHECK_CODE(weir_signals_add(b, SIGCHLD, 0), -EEXIST);
    CHECK_CODE(weir_signals_add(b, SIGCHLD, WEIR_SIGNALS_NO_CHILD_STOP), -EEXIST);
    CHECK_CODE(weir_signals_add(a, SIGCHLD, 0), -EEXIST);
    CHECK_OK(weir_signals_add(a, SIGCHLD, WEIR_SIGNALS_ANY_FLAGS));
    CHECK_OK(weir_signals_add(b, SIGCHLD, WEIR_SIGNALS_ANY_FLAGS));
    CHECK_OK(weir_signals_add(b, SIGCHLD, WEIR_SIGNALS_NO_CHILD_STOP | WEIR_SIGNALS_INTERRUPT));
    CHECK_OK(weir_signals_clear(a));
    CHECK_CODE(weir_signals_add(a, SIGCHLD, 0), -EEXIST);
    CHECK_OK(weir_signals_clear(b));
    CHECK(action_of(SIGCHLD).sa_handler == SIG_DFL);
    /* Who does not care leaves the choice to those that come later, once. */
    CHECK_OK(weir_signals_add(a, SIGCHLD, WEIR_SIGNALS_ANY_FLAGS));
    CHECK(action_of(SIGCHLD).sa_flags & SA_RESTART);
    CHECK_OK(weir_signals_add(b, SIGCHLD, WEIR_SIGNALS_NO_CHILD_WAIT));
    CHECK(action_of(SIGCHLD).sa_flags & SA_NOCLDWAIT);
    CHECK_CODE(weir_signals_add(a, SIGCHLD, WEIR_SIGNALS_INTERRUPT), -EEXIST);
    CHECK_OK(weir_signals_clear(b));
    CHECK_CODE(weir_signals_add(b, SIGCHLD, 0), -EEXIST);
    CHECK_OK(weir_signals_clear(a));
    CHECK(action_of(SIGCHLD).sa_handler == SIG_DFL);
    CHECK(signal(SIGUSR1, plain) != SIG_ERR);
    CHECK_OK(weir_signals_add(a, SIGUSR1, WEIR_SIGNALS_ANY_FLAGS));
    CHECK_OK(weir_signals_add(a, SIGUSR1, WEIR_SIGNALS_CHAIN));
    raise(SIGUSR1);
    CHECK_EQ(plain_calls, 1);
    CHECK_OK(weir_context_destroy(first));
    CHECK(action_of(SIGUSR1).sa_handler == plain);
    CHECK_OK(weir_context_destroy(second));
}

/* ---- a signal while a wait begins (H53) */

static void *run_context(void *context)
{
    CHECK_OK(weir_context_run(context, NULL));
    return NULL;
}

static atomic_int begun;
static pthread_t target_thread;

static void *aim(void *argument)
{
    int rounds = *(int *)argument;
    for (int round = 1; round <= rounds; round++) {
        while (begun < round)
            sched_yield();
        for (volatile int i = 0; i < round % 97 * 8; i++) {
        }
        CHECK_EQ(pthread_kill(target_thread, SIGRTMIN), 0);
    }
    return NULL;
}

/* The handler runs on the thread that is about to wait: before, inside, between the look at the counters and the
 * parking, on the way into the kernel. Each round ends only when its signal has come. */
TEST(h53_a_signal_at_any_moment_of_a_wait)
{
    weir_context *context = new_context();
    weir_signals *signals = new_signals_of(context, SIGRTMIN);
    struct got got = {0};
    int rounds = (int)many(20000);
    target_thread = pthread_self();
    pthread_t thread = start_thread(aim, &rounds);
    for (int round = 1; round <= rounds; round++) {
        begun = round;
        for (volatile int i = 0; i < round % 89 * 8; i++) {
        }
        CHECK_OK(weir_signals_wait(signals, got_signal, &got));
        CHECK_OK(weir_context_restart(context));
        CHECK_OK(weir_context_run(context, NULL)); /* returns when the wait has completed */
        CHECK_EQ(got.calls, round);
        CHECK_CODE(got.status, 0);
    }
    join_thread(thread);
    CHECK_EQ(arrived(signals), 0);
    CHECK_OK(weir_context_destroy(context));
}

/* The same with the reactor on another thread: its turn may come between any two steps of the wait. */
TEST(h53_a_signal_at_any_moment_of_a_wait_while_another_thread_runs)
{
    weir_context *context = new_context();
    weir_signals *signals = new_signals_of(context, SIGRTMIN);
    struct got got = {0};
    int rounds = (int)many(20000);
    CHECK_OK(weir_context_work_begin(context));
    target_thread = pthread_self();
    pthread_t runner = start_thread(run_context, context), thread = start_thread(aim, &rounds);
    for (int round = 1; round <= rounds; round++) {
        begun = round;
        for (volatile int i = 0; i < round % 89 * 8; i++) {
        }
        CHECK_OK(weir_signals_wait(signals, got_signal, &got));
        while (got.calls < round)
            sched_yield();
    }
    join_thread(thread);
    CHECK_EQ(got.of[SIGRTMIN], rounds);
    CHECK_EQ(arrived(signals), 0);
    CHECK_OK(weir_context_work_end(context));
    join_thread(runner);
    CHECK_OK(weir_context_destroy(context));
}

/* ---- a flood from another process */

static atomic_int handled; /* what the kernel delivered, counted by a handler of the test's own */

static void count_handled(int signo)
{
    (void)signo;
    handled++;
}

struct keeper {
    weir_signals *signals;
    struct got got;
};

static void keep_on(int status, int value, void *user)
{
    struct keeper *keeper = user;
    /* It waits again before it counts: with the last one counted, the main thread closes the set. */
    if (status == 0)
        CHECK_OK(weir_signals_wait(keeper->signals, keep_on, keeper));
    got_signal(status, value, &keeper->got);
}

static weir_context *contexts[2];

/* Sets that come and go. What one was given is no more than what came between its birth and its end. */
static void *come_and_go(void *argument)
{
    weir_context *context = argument;
    for (int round = 0; !over; round++) {
        struct got got = {0};
        int waits = round % 41, before = handled;
        weir_signals *signals = new_signals(context);
        CHECK_OK(weir_signals_add(signals, SIGRTMIN, WEIR_SIGNALS_ANY_FLAGS));
        for (int i = 0; i < waits; i++)
            CHECK_OK(weir_signals_wait(signals, got_signal, &got));
        if (round % 3 == 0)
            sched_yield();
        if (round % 7 == 0)
            CHECK_OK(weir_signals_clear(signals));
        CHECK_OK(weir_signals_close(signals));
        /* The library counts before it calls the other handler: one delivery per thread may be counted already. */
        int most = handled - before + 16;
        WAIT_FOR(got.calls == waits);
        CHECK(got.of[SIGRTMIN] <= most);
        progress++;
    }
    return NULL;
}

TEST(h53_100000_signals_from_another_process_while_sets_come_and_go)
{
    int total = (int)many(100000), gate[2], status;
    char byte = 0;
    struct sigaction own = {0};
    own.sa_handler = count_handled;
    CHECK_EQ(sigaction(SIGRTMIN, &own, NULL), 0);
    CHECK_EQ(pipe(gate), 0);
    pid_t parent = getpid(), child = fork();
    CHECK(child >= 0);
    if (child == 0) {
        close(gate[1]);
        if (read(gate[0], &byte, 1) != 1)
            _exit(1);
        for (int i = 0; i < total; i++) {
            union sigval value = {.sival_int = i};
            while (sigqueue(parent, SIGRTMIN, value) < 0) {
                if (errno != EAGAIN) /* the queue is full */
                    _exit(2);
                sched_yield();
            }
        }
        _exit(0);
    }
    static struct keeper keepers[4];
    pthread_t runners[3], movers[2];
    for (int i = 0; i < 2; i++) {
        contexts[i] = new_context();
        CHECK_OK(weir_context_work_begin(contexts[i]));
    }
    for (int i = 0; i < 4; i++) {
        keepers[i].signals = new_signals(contexts[i % 2]);
        CHECK_OK(weir_signals_add(keepers[i].signals, SIGRTMIN, WEIR_SIGNALS_CHAIN));
        for (int k = 0; k <= i; k++)
            CHECK_OK(weir_signals_wait(keepers[i].signals, keep_on, &keepers[i]));
    }
    weir_signals *closed = new_signals_of(contexts[0], SIGRTMIN + 1);
    CHECK_OK(weir_signals_add(closed, SIGRTMIN, WEIR_SIGNALS_ANY_FLAGS));
    struct got none = {0};
    for (int i = 0; i < 8; i++)
        CHECK_OK(weir_signals_wait(closed, got_signal, &none));
    CHECK_OK(weir_signals_close(closed));
    for (int i = 0; i < 3; i++)
        runners[i] = start_thread(run_context, contexts[i % 2]);
    for (int i = 0; i < 2; i++)
        movers[i] = start_thread(come_and_go, contexts[i]);
    CHECK_EQ(write(gate[1], &byte, 1), 1);
    while (waitpid(child, &status, 0) < 0)
        CHECK_EQ(errno, EINTR);
    CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    /* The thread sanitizer merges signals that come close together, as the kernel does not. */
    if (!CHECK_SANITIZED)
        WAIT_FOR(handled == total);
    for (int i = 0; i < 4; i++)
        WAIT_FOR(keepers[i].got.of[SIGRTMIN] == handled);
    over = true;
    for (int i = 0; i < 2; i++)
        join_thread(movers[i]);
    CHECK(progress > 0);
    CHECK_EQ(none.calls, 8);
    CHECK_EQ(none.of[0], 8);
    for (int i = 0; i < 4; i++) {
        CHECK_EQ(arrived(keepers[i].signals), 0);
        CHECK_OK(weir_signals_close(keepers[i].signals));
    }
    for (int i = 0; i < 2; i++)
        CHECK_OK(weir_context_work_end(contexts[i]));
    for (int i = 0; i < 3; i++)
        join_thread(runners[i]);
    for (int i = 0; i < 4; i++) {
        CHECK_EQ(keepers[i].got.of[SIGRTMIN], handled);
        CHECK_EQ(keepers[i].got.of[0], i + 1);
    }
    CHECK(action_of(SIGRTMIN).sa_handler == count_handled);
    for (int i = 0; i < 2; i++)
        CHECK_OK(weir_context_destroy(contexts[i]));
}

TEST_MAIN()
