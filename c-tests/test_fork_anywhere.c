/* H70: fork at any moment: while other threads are inside the library, in callbacks of every kind, with everything open.
 * A child that was not told of it leaves the contexts of its parent alone, and may make its own; the parent goes on. */
#include "net.h"

static atomic_bool ended;

static void count_value(int status, int value, void *user)
{
    (void)value;
    count_call(status, user);
}

static int nothing_much(void *user)
{
    (void)user;
    return 0;
}

/* One of many things, on a context of its own, to the end. */
static void use_a_context(bool threads_too)
{
    weir_context *context = new_context();
    weir_timer *timer = new_timer(context);
    weir_stream *near = NULL, *far = NULL;
    weir_strand *strand = NULL;
    weir_signals *signals = NULL;
    struct counter timed = {0}, posted = {0}, read = {0}, written = {0}, worked = {0}, signalled = {0};
    char in[4] = "";
    CHECK_OK(weir_timer_expires_after(timer, 100 * 1000));
    CHECK_OK(weir_timer_wait(timer, done, &timed));
    CHECK_OK(weir_stream_pair(context, &near, &far));
    CHECK_OK(weir_strand_create(context, &strand));
    CHECK_OK(weir_handle_set_strand(far, strand));
    CHECK_OK(weir_stream_read(far, in, 4, io_done, &read));
    CHECK_OK(weir_stream_write(near, "abcd", 4, io_done, &written));
    for (int i = 0; i < 40; i++)
        CHECK_OK(weir_context_post(context, done, &posted));
    if (threads_too) {
        /* What belongs to the process: its pool of threads, and its signals. */
        CHECK_OK(weir_job_start(context, nothing_much, NULL, NULL, count_value, &worked));
        CHECK_OK(weir_signals_create(context, &signals));
        CHECK_OK(weir_signals_add(signals, SIGUSR2, 0));
        CHECK_OK(weir_signals_wait(signals, count_value, &signalled));
        CHECK_EQ(pthread_kill(pthread_self(), SIGUSR2), 0);
    }
    CHECK_OK(weir_context_run(context, NULL));
    CHECK_DONE(timed, 0, 0);
    CHECK_DONE(read, 0, 4);
    CHECK_DONE(written, 0, 4);
    CHECK_EQ(posted.calls, 40);
    if (threads_too) {
        CHECK_DONE(worked, 0, 0);
        CHECK_DONE(signalled, 0, 0);
    }
    CHECK_OK(weir_context_destroy(context));
}

static void check_child(pid_t child)
{
    int status = 0;
    CHECK(child > 0);
    CHECK_EQ(waitpid(child, &status, 0), child);
    if (status != 0)
        check_fail(__FILE__, __LINE__, "the child ended with wait status %#x", (unsigned)status);
}

__attribute__((noreturn)) static void too_slow(int number)
{
    (void)number;
    static const char text[] = "a child hangs\n";
    if (write(2, text, sizeof text - 1) < 0)
        _exit(8);
    _exit(7);
}

/* In the child: whatever happens, it ends. */
static void in_child(void)
{
    signal(SIGALRM, too_slow);
    alarm(20);
}

/* ---- the pool of threads and the signals of the process */

TEST(a_child_that_was_not_told_has_jobs_and_signals_of_its_own)
{
    if (CHECK_SANITIZED)
        CHECK_SKIP("a sanitized process with threads does not survive fork");
    use_a_context(true); /* the pool has a thread, which the child has not */
    pid_t child = fork();
    if (child == 0) {
        in_child();
        use_a_context(true);
        _exit(0);
    }
    check_child(child);
    use_a_context(true);
}

static int wait_at_gate(void *user)
{
    char byte;
    return (int)read(*(int *)user, &byte, 1);
}

static int leave_a_mark(void *user)
{
    return (int)write(*(int *)user, "m", 1);
}

TEST(a_job_that_waits_at_the_fork_runs_in_the_parent_only)
{
    if (CHECK_SANITIZED)
        CHECK_SKIP("a sanitized process with threads does not survive fork");
    weir_context *context = new_context();
    struct counter first = {0}, second = {0};
    int gate[2], marks[2];
    CHECK_EQ(pipe2(gate, O_CLOEXEC), 0);
    CHECK_EQ(pipe2(marks, O_CLOEXEC), 0);
    CHECK_OK(weir_job_set_limit(1));
    CHECK_OK(weir_job_start(context, wait_at_gate, &gate[0], NULL, count_value, &first));
    CHECK_OK(weir_job_start(context, leave_a_mark, &marks[1], NULL, count_value, &second));
    pid_t child = fork();
    if (child == 0) {
        in_child();
        use_a_context(true);
        _exit(0);
    }
    check_child(child);
    CHECK_EQ(write(gate[1], "g", 1), 1);
    CHECK_OK(weir_context_run(context, NULL));
    CHECK_EQ(first.calls, 1);
    CHECK_EQ(second.calls, 1);
    close(marks[1]);
    char seen[8];
    CHECK_EQ(read(marks[0], seen, sizeof seen), 1);
    CHECK_OK(weir_context_destroy(context));
}

/* ---- while other threads are inside the library */

static void *use_contexts(void *user)
{
    while (!atomic_load(&ended))
        use_a_context(user != NULL);
    return NULL;
}

static void *post_to_it(void *user)
{
    weir_context *context = user;
    static struct counter ignored;
    while (!atomic_load(&ended)) {
        for (int i = 0; i < 100; i++)
            CHECK_OK(weir_context_post(context, count_call, &ignored));
        sleep_ms(1);
    }
    return NULL;
}

static void *run_it(void *user)
{
    CHECK_OK(weir_context_run((weir_context *)user, NULL));
    return NULL;
}

TEST(a_child_makes_contexts_whatever_other_threads_were_doing_at_the_fork)
{
    if (CHECK_SANITIZED)
        CHECK_SKIP("a sanitized process with threads does not survive fork");
    weir_context *context = new_context_with(0, 2);
    CHECK_OK(weir_context_work_begin(context));
    pthread_t threads[5];
    threads[0] = start_thread(use_contexts, NULL);
    threads[1] = start_thread(use_contexts, NULL);
    threads[2] = start_thread(post_to_it, context);
    threads[3] = start_thread(run_it, context);
    threads[4] = start_thread(run_it, context);
    size_t count = many(400);
    for (size_t i = 0; i < count; i++) {
        pid_t child = fork();
        if (child == 0) {
            in_child();
            use_a_context(false);
            _exit(0);
        }
        check_child(child);
    }
    atomic_store(&ended, true);
    CHECK_OK(weir_context_stop(context));
    for (int i = 0; i < 5; i++)
        join_thread(threads[i]);
    CHECK_OK(weir_context_destroy(context));
}

/* A child that was not told may end what it has of its parent's context: it waits for no thread that is not there. */
TEST(a_child_that_was_not_told_destroys_a_context_that_threads_of_its_parent_run)
{
    if (CHECK_SANITIZED)
        CHECK_SKIP("a sanitized process with threads does not survive fork");
    static struct counter posted;
    weir_context *context = new_context_with(0, 2);
    CHECK_OK(weir_context_work_begin(context));
    pthread_t threads[2] = {start_thread(run_it, context), start_thread(run_it, context)};
    CHECK_OK(weir_context_post(context, done, &posted));
    WAIT_FOR(atomic_load(&posted.calls) == 1);
    sleep_ms(20);
    pid_t child = fork();
    if (child == 0) {
        in_child();
        CHECK_OK(weir_context_destroy(context));
        CHECK_CODE(weir_context_post(context, done, &posted), WEIR_EBADF);
        use_a_context(false);
        _exit(0);
    }
    check_child(child);
    CHECK_OK(weir_context_post(context, done, &posted));
    WAIT_FOR(atomic_load(&posted.calls) == 2);
    CHECK_OK(weir_context_stop(context));
    join_thread(threads[0]);
    join_thread(threads[1]);
    CHECK_OK(weir_context_destroy(context));
}

/* ---- beside threads that sleep */

enum { SLEEPERS = 12 };

/* Threads that sleep in run and are woken, again and again. */
static void wake_threads(int rounds)
{
    weir_context *contexts[SLEEPERS];
    pthread_t threads[2 * SLEEPERS];
    for (int i = 0; i < SLEEPERS; i++) {
        contexts[i] = new_context_with(0, 2);
        CHECK_OK(weir_context_work_begin(contexts[i]));
        threads[2 * i] = start_thread(run_it, contexts[i]);
        threads[2 * i + 1] = start_thread(run_it, contexts[i]);
    }
    for (int round = 0; round < rounds; round++) {
        struct counter posted = {0};
        for (int i = 0; i < SLEEPERS; i++) {
            CHECK_OK(weir_context_post(contexts[i], done, &posted));
            CHECK_OK(weir_context_post(contexts[i], done, &posted));
        }
        WAIT_FOR(atomic_load(&posted.calls) == 2 * SLEEPERS);
        use_a_context(true);
    }
    for (int i = 0; i < SLEEPERS; i++) {
        CHECK_OK(weir_context_stop(contexts[i]));
        join_thread(threads[2 * i]);
        join_thread(threads[2 * i + 1]);
        CHECK_OK(weir_context_destroy(contexts[i]));
    }
}

/* What the parent's sleeping threads wait in is copied with everything else, and the stacks that they had are given to
 * threads of the child. */
TEST(threads_of_a_child_sleep_and_wake_where_those_of_its_parent_slept)
{
    if (CHECK_SANITIZED)
        CHECK_SKIP("a sanitized process with threads does not survive fork");
    weir_context *contexts[SLEEPERS];
    pthread_t threads[2 * SLEEPERS];
    for (int i = 0; i < SLEEPERS; i++) {
        contexts[i] = new_context_with(0, 2);
        CHECK_OK(weir_context_work_begin(contexts[i]));
        threads[2 * i] = start_thread(run_it, contexts[i]);
        threads[2 * i + 1] = start_thread(run_it, contexts[i]);
    }
    use_a_context(true); /* a thread of the pool sleeps as well */
    sleep_ms(20);
    for (int i = 0; i < 10; i++) {
        pid_t child = fork();
        if (child == 0) {
            in_child();
            wake_threads(20);
            _exit(0);
        }
        check_child(child);
    }
    for (int i = 0; i < SLEEPERS; i++) {
        CHECK_OK(weir_context_stop(contexts[i]));
        join_thread(threads[2 * i]);
        join_thread(threads[2 * i + 1]);
        CHECK_OK(weir_context_destroy(contexts[i]));
    }
}

TEST_MAIN()
