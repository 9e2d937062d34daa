/* H70: fork with everything open, and both sides running. A check that fails in a child makes its exit status bad,
 * which the parent checks. */
#include "net.h"

struct both {
    weir_context *context;
    weir_signals *signals;
    weir_watch *watch;
    weir_process *process;
    weir_datagram *datagram;
    weir_hook *hook;
    weir_strand *strand;
    weir_timer *timer, *ticker;
    weir_stream *stream;
    weir_acceptor *acceptor;
    struct where where;
    int peer;
    char in[32];
    struct counter timed, ticks, read, accepts, signalled, watched, exited, received, hooked, posted;
    int pipe[2], child_gate;
    char datagram_in[8];
};

static void count_value(int status, int value, void *user)
{
    (void)value;
    count_call(status, user);
}

static void accepted_one(int status, weir_stream *peer, const struct sockaddr *address, socklen_t length, void *user)
{
    (void)address;
    (void)length;
    if (status == 0)
        CHECK_OK(weir_stream_close(peer));
    count_call(status, user);
}

static void open_all(struct both *both)
{
    int ends[2];
    memset(both, 0, sizeof *both);
    both->context = new_context();
    both->timer = new_timer(both->context);
    both->ticker = new_timer(both->context);
    plain_pair(AF_UNIX, ends);
    both->stream = adopted(both->context, ends[0]);
    both->peer = ends[1];
    both->acceptor = new_listener(both->context, AF_INET, 8, &both->where);
    CHECK_OK(weir_timer_expires_after(both->timer, 100 * CHECK_MS));
    CHECK_OK(weir_timer_wait(both->timer, done, &both->timed));
    CHECK_OK(weir_timer_start(both->ticker, 20 * CHECK_MS, 20 * CHECK_MS, count_call, &both->ticks));
    CHECK_OK(weir_stream_read_some(both->stream, both->in, sizeof both->in, io_done, &both->read));
    CHECK_OK(weir_acceptor_accept_each(both->acceptor, accepted_one, &both->accepts));
    /* One of every other kind. */
    CHECK_OK(weir_signals_create(both->context, &both->signals));
    CHECK_OK(weir_signals_add(both->signals, SIGUSR1, 0));
    CHECK_OK(weir_signals_wait(both->signals, count_value, &both->signalled));
    CHECK_EQ(pipe2(both->pipe, O_CLOEXEC), 0);
    CHECK_OK(weir_watch_create(both->context, both->pipe[0], &both->watch));
    CHECK_OK(weir_watch_start(both->watch, WEIR_WATCH_READ, 0, WEIR_FOREVER, count_value,
                              &both->watched));
    int child_ends[2];
    CHECK_EQ(pipe2(child_ends, O_CLOEXEC), 0);
    pid_t child = fork();
    CHECK(child >= 0);
    if (child == 0) {
        char byte;
        close(child_ends[1]);
        _exit(read(child_ends[0], &byte, 1) == 1 ? 5 : 6);
    }
    close(child_ends[0]);
    both->child_gate = child_ends[1];
    CHECK_OK(weir_process_create(both->context, child, &both->process));
    CHECK_OK(weir_process_wait(both->process, count_value, &both->exited));
    CHECK_OK(weir_datagram_create(both->context, &both->datagram));
    CHECK_OK(weir_datagram_bind(both->datagram, AT(&both->where))); /* UDP beside TCP on one number */
    CHECK_OK(weir_datagram_receive(both->datagram, both->datagram_in, sizeof both->datagram_in, io_done,
                                   &both->received));
    CHECK_OK(weir_hook_create(both->context, WEIR_HOOK_CHECK, &both->hook));
    CHECK_OK(weir_hook_start(both->hook, count_call, &both->hooked));
    CHECK_OK(weir_strand_create(both->context, &both->strand));
    CHECK_OK(weir_strand_post(both->strand, count_call, &both->posted));
    CHECK_OK(weir_context_poll(both->context, NULL)); /* all registered */
}

static void check_child(pid_t child)
{
    int status = 0;
    CHECK_EQ(waitpid(child, &status, 0), child);
    if (status != 0)
        check_fail(__FILE__, __LINE__, "the child ended with wait status %#x", (unsigned)status);
}

/* Ends the child without what the harness does at exit. */
__attribute__((noreturn)) static void child_ends(void)
{
    _exit(0);
}

TEST(h70_a_child_that_is_not_told_harms_nobody)
{
    struct both both;
    open_all(&both);
    pid_t child = fork();
    CHECK(child >= 0);
    if (child == 0) {
        size_t count = 0;
        CHECK_CODE(weir_context_run(both.context, &count), -ESTALE);
        CHECK_CODE(weir_context_poll(both.context, &count), -ESTALE);
        CHECK_OK(weir_timer_expires_after(both.timer, 1));
        CHECK_OK(weir_stream_close(both.stream));
        CHECK_OK(weir_context_post(both.context, done, &both.timed));
        CHECK_OK(weir_context_destroy(both.context));
        weir_context *own = new_context(); /* its own are fine */
        struct counter counter = {0};
        CHECK_OK(weir_context_post(own, done, &counter));
        CHECK_OK(weir_context_run(own, NULL));
        CHECK_EQ(atomic_load(&counter.calls), 1);
        CHECK_OK(weir_context_destroy(own));
        child_ends();
    }
    check_child(child);
    /* Everything of the parent's is registered and armed still. */
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    CHECK_EQ(connect(fd, AT(&both.where)), 0);
    CHECK_EQ(write(both.peer, "abc", 3), 3);
    RUN_CALLS(both.context, both.timed, 1);
    RUN_CALLS(both.context, both.read, 1);
    RUN_CALLS(both.context, both.accepts, 1);
    RUN_CALLS(both.context, both.ticks, 2);
    CHECK_OK(weir_context_destroy(both.context));
    close(fd);
    close(both.peer);
}

static void use(struct both *both, bool child)
{
    /* A signal is its own process's. */
    CHECK_EQ(kill(getpid(), SIGUSR1), 0);
    RUN_CALLS(both->context, both->signalled, 1);
    CHECK_EQ(atomic_load(&both->signalled.calls), 1);
    CHECK_OK(atomic_load(&both->signalled.status));
    CHECK(atomic_load(&both->hooked.calls) > 0);
    CHECK_EQ(atomic_load(&both->posted.calls), 1);
    /* The timers of both sides fire, on each once. */
    RUN_CALLS(both->context, both->timed, 1);
    RUN_CALLS(both->context, both->ticks, 3);
    CHECK_EQ(atomic_load(&both->timed.calls), 1);
    if (child) {
        /* New handles too. */
        int ends[2];
        struct counter read = {0};
        char byte;
        plain_pair(AF_INET, ends);
        weir_stream *stream = adopted(both->context, ends[0]);
        CHECK_OK(weir_stream_read_some(stream, &byte, 1, io_done, &read));
        CHECK_EQ(write(ends[1], "x", 1), 1);
        RUN_CALLS(both->context, read, 1);
        close(ends[1]);
    }
}

TEST(h70_both_sides_run_with_everything_open)
{
    struct both both;
    open_all(&both);
    int gate[2];
    CHECK_EQ(pipe(gate), 0);
    CHECK_OK(weir_context_notify_fork(both.context, WEIR_FORK_PREPARE));
    pid_t child = fork();
    CHECK(child >= 0);
    if (child == 0) {
        CHECK_OK(weir_context_notify_fork(both.context, WEIR_FORK_CHILD));
        CHECK_CODE(weir_context_notify_fork(both.context, WEIR_FORK_CHILD), WEIR_EINVAL); /* it is its own now */
        use(&both, true);
        /* The stream is the parent's: closing it here ends this side's read, and nothing of the parent's. */
        CHECK_OK(weir_stream_close(both.stream));
        RUN_CALLS(both.context, both.read, 1);
        CHECK_CODE(atomic_load(&both.read.status), WEIR_ECANCELED);
        /* The watch, the datagrams and the exit are for the parent; the child of the parent is none of this one. */
        CHECK_OK(weir_watch_close(both.watch));
        CHECK_OK(weir_datagram_close(both.datagram));
        /* The listener is this side's: the parent has closed it. */
        char go;
        CHECK_EQ(read(gate[0], &go, 1), 1);
        RUN_CALLS(both.context, both.accepts, 1);
        CHECK_CODE(atomic_load(&both.accepts.status), 0);
        CHECK_OK(weir_context_destroy(both.context));
        child_ends();
    }
    CHECK_OK(weir_context_notify_fork(both.context, WEIR_FORK_PARENT));
    CHECK_OK(weir_acceptor_close(both.acceptor));
    RUN_CALLS(both.context, both.accepts, 1);
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    CHECK_EQ(connect(fd, AT(&both.where)), 0); /* the child's listener takes it */
    CHECK_EQ(write(gate[1], "g", 1), 1);
    use(&both, false);
    check_child(child);
    CHECK_EQ(write(both.peer, "abc", 3), 3);
    RUN_CALLS(both.context, both.read, 1);
    CHECK_CODE(atomic_load(&both.read.status), 0);
    CHECK_EQ(atomic_load(&both.read.bytes), 3);
    CHECK_EQ(write(both.pipe[1], "w", 1), 1);
    RUN_CALLS(both.context, both.watched, 1);
    int udp = socket(AF_INET, SOCK_DGRAM, 0);
    CHECK_EQ(sendto(udp, "uvw", 3, 0, AT(&both.where)), 3);
    RUN_CALLS(both.context, both.received, 1);
    CHECK_EQ(atomic_load(&both.received.bytes), 3);
    close(udp);
    CHECK_EQ(write(both.child_gate, "x", 1), 1);
    RUN_CALLS(both.context, both.exited, 1);
    CHECK_OK(atomic_load(&both.exited.status));
    CHECK_OK(weir_context_destroy(both.context));
    close(fd);
    close(both.peer);
}

/* ---- from a callback, as a server does that forks for each connection */

static struct both *served;

static void fork_in_callback(int status, void *user)
{
    (void)user;
    CHECK_OK(status);
    CHECK_OK(weir_context_notify_fork(served->context, WEIR_FORK_PREPARE));
    pid_t child = fork();
    CHECK(child >= 0);
    if (child == 0) {
        CHECK_OK(weir_context_notify_fork(served->context, WEIR_FORK_CHILD));
        return; /* and goes on in the same run */
    }
    CHECK_OK(weir_context_notify_fork(served->context, WEIR_FORK_PARENT));
    check_child(child);
}

TEST(h70_a_timer_that_was_armed_fires_in_the_child_too)
{
    weir_context *context = new_context();
    weir_timer *timer = new_timer(context);
    struct counter counter = {0};
    int fd = -1;
    CHECK_OK(weir_timer_expires_after(timer, 60 * CHECK_MS));
    CHECK_OK(weir_timer_wait(timer, done, &counter));
    /* For a host, which knows the fd only, it is armed. */
    CHECK_OK(weir_context_fd(context, &fd));
    pid_t child = fork();
    CHECK(child >= 0);
    if (child == 0) {
        CHECK_OK(weir_context_notify_fork(context, WEIR_FORK_CHILD));
        CHECK_OK(weir_context_run(context, NULL));
        CHECK_EQ(counter.calls, 1);
        CHECK_OK(counter.status);
        child_ends();
    }
    check_child(child);
    CHECK_OK(weir_context_run(context, NULL));
    CHECK_EQ(counter.calls, 1);
    CHECK_OK(weir_context_destroy(context));
}

static atomic_int third;
static atomic_bool go_on;

static void stay_in_the_third(int status, void *user)
{
    (void)user;
    if (status == 0 && ++third == 3) {
        while (!go_on)
            sleep_ms(1);
    }
}

__attribute__((unused)) static void *fill_the_stack(void *unused)
{
    volatile char bytes[60000];
    for (size_t i = 0; i < sizeof bytes; i++)
        bytes[i] = 1;
    return unused;
}

static void *run_three(void *context)
{
    for (int i = 0; i < 3; i++)
        CHECK_OK(weir_context_post(context, stay_in_the_third, NULL));
    CHECK_OK(weir_context_run(context, NULL));
    return NULL;
}

/* The thread in run is not in the child; a new one there has its stack. */
TEST(h70_a_child_destroys_what_a_thread_of_the_parent_was_running)
{
    weir_context *context = new_context();
    pthread_t runner = start_thread(run_three, context);
    while (third < 3)
        sleep_ms(1);
    pid_t child = fork();
    if (child == 0) {
        alarm(10);
#ifndef __SANITIZE_THREAD__ /* it starts no thread in such a child */
        for (int i = 0; i < 3; i++)
            join_thread(start_thread(fill_the_stack, NULL));
#endif
        CHECK_OK(weir_context_destroy(context));
        _exit(0);
    }
    int status = 0;
    CHECK_EQ(waitpid(child, &status, 0), child);
    CHECK_EQ(status, 0);
    go_on = true;
    join_thread(runner);
    CHECK_OK(weir_context_destroy(context));
}

TEST(h70_fork_in_a_callback)
{
    static struct both both;
    pid_t parent = getpid();
    open_all(&both);
    served = &both;
    CHECK_OK(weir_context_post(both.context, fork_in_callback, NULL));
    CHECK_OK(weir_context_post(both.context, done, &both.read)); /* queued at the fork: runs on both sides */
    RUN_CALLS(both.context, both.read, 1);
    use(&both, getpid() != parent);
    CHECK_OK(weir_context_destroy(both.context));
    close(both.peer);
    if (getpid() != parent)
        child_ends();
}

/* ---- beside threads that sleep in run */

static void *sleep_in_run(void *context)
{
    CHECK_OK(weir_context_run((weir_context *)context, NULL));
    return NULL;
}

static void nothing(int status, void *user)
{
    (void)status;
    (void)user;
}

static void slow(int status, void *user)
{
    (void)status;
    *(atomic_int *)user = 1;
    sleep_ms(50);
}

TEST(h70_fork_while_threads_sleep_in_run)
{
    if (CHECK_SANITIZED)
        CHECK_SKIP("a sanitized process with threads does not survive fork");
    weir_context *context = new_context();
    pthread_t threads[3];
    CHECK_OK(weir_context_work_begin(context));
    weir_timer *far = new_timer(context);
    CHECK_OK(weir_timer_expires_after(far, 3600 * CHECK_SECOND));
    CHECK_OK(weir_timer_wait(far, nothing, NULL));
    for (int i = 0; i < 3; i++)
        CHECK_EQ(pthread_create(&threads[i], NULL, sleep_in_run, context), 0);
    /* A callback that runs elsewhere is told. */
    atomic_int running = 0;
    CHECK_OK(weir_context_post(context, slow, &running));
    while (!running)
        sleep_ms(1);
    int code = weir_context_notify_fork(context, WEIR_FORK_PREPARE);
    CHECK(code == WEIR_EBUSY || code == 0);
    int64_t deadline = now_ns() + 40 * CHECK_SECOND;
    while (weir_context_notify_fork(context, WEIR_FORK_PREPARE) != 0) {
        CHECK(now_ns() < deadline);
        sleep_ms(1);
    }
    sleep_ms(20); /* asleep now, all of them */
    pid_t child = fork();
    CHECK(child >= 0);
    if (child == 0) {
        struct counter counter = {0};
        CHECK_OK(weir_context_notify_fork(context, WEIR_FORK_CHILD));
        weir_timer *timer = new_timer(context);
        CHECK_OK(weir_timer_expires_after(timer, CHECK_MS));
        CHECK_OK(weir_timer_wait(timer, done, &counter));
        CHECK_OK(weir_context_post(context, done, &counter));
        RUN_CALLS(context, counter, 2);
        CHECK_OK(weir_context_destroy(context)); /* waits for no thread of the parent's */
        child_ends();
    }
    check_child(child);
    struct counter counter = {0};
    CHECK_OK(weir_context_post(context, done, &counter));
    while (atomic_load(&counter.calls) == 0) {
        CHECK(now_ns() < deadline);
        sleep_ms(1);
    }
    CHECK_OK(weir_context_stop(context));
    for (int i = 0; i < 3; i++)
        CHECK_EQ(pthread_join(threads[i], NULL), 0);
    CHECK_OK(weir_context_destroy(context));
}

/* ---- the pool of jobs */

struct value {
    atomic_int calls, status, value;
};

static atomic_int gate, begun, ran;

static void got_value(int status, int value, void *user)
{
    struct value *into = user;
    into->status = status;
    into->value = value;
    atomic_fetch_add(&into->calls, 1);
}

static int wait_at_gate(void *argument)
{
    (void)argument;
    atomic_fetch_add(&begun, 1);
    while (!gate)
        sleep_ms(1);
    return 0;
}

static int in_turn(void *argument)
{
    (void)argument;
    return atomic_fetch_add(&ran, 1);
}

/* Leaves idle threads in the pool. */
static void use_pool(weir_context *context, int threads)
{
    struct value value = {0};
    gate = begun = 0;
    for (int i = 0; i < threads; i++)
        CHECK_OK(weir_job_start(context, wait_at_gate, NULL, NULL, got_value, &value));
    WAIT_FOR(begun == threads);
    gate = 1;
    CHECK_OK(weir_context_run(context, NULL));
    CHECK_EQ(value.calls, threads);
    CHECK_OK(weir_context_restart(context));
    sleep_ms(20); /* they go to sleep; it is no failure where one has not */
}

static void jobs_come_soon(weir_context *context)
{
    for (int i = 0; i < 20; i++) {
        struct value value = {0};
        CHECK_OK(weir_job_start(context, in_turn, NULL, NULL, got_value, &value));
        CHECK_OK(weir_context_run(context, NULL));
        CHECK_EQ(value.calls, 1);
        CHECK_OK(weir_context_restart(context));
        sleep_ms(1);
    }
}

static int forked(weir_context *context, void (*child_does)(weir_context *))
{
    fflush(stdout);
    pid_t child = fork();
    CHECK(child >= 0);
    if (child == 0) {
        alarm(30); /* the signal's handler is the parent's */
        child_does(context);
        _exit(0);
    }
    int status = -1;
    CHECK_EQ(waitpid(child, &status, 0), child);
    return status;
}

static void with_the_parents_context(weir_context *context)
{
    CHECK_OK(weir_context_notify_fork(context, WEIR_FORK_CHILD));
    jobs_come_soon(context);
    CHECK_OK(weir_context_destroy(context));
}

static void with_a_context_of_its_own(weir_context *parents)
{
    (void)parents;
    weir_context *own = new_context();
    jobs_come_soon(own);
    CHECK_OK(weir_context_destroy(own));
}

TEST(h70_jobs_run_in_a_child_whose_parent_had_idle_threads)
{
    if (CHECK_SANITIZED)
        CHECK_SKIP("a sanitized process with threads does not survive fork");
    weir_context *context = new_context();
    use_pool(context, 6);
    CHECK_EQ(forked(context, with_the_parents_context), 0);
    CHECK_EQ(forked(context, with_a_context_of_its_own), 0);
    jobs_come_soon(context);
    CHECK_OK(weir_context_destroy(context));
}

static struct value closed, open_one, alone, queued[3];

static void finish_jobs(weir_context *context)
{
    gate = 1;
    ran = 0;
    CHECK_OK(weir_context_run(context, NULL));
    CHECK(closed.calls == 1 && open_one.calls == 1 && alone.calls == 1);
    for (int i = 0; i < 3; i++) {
        CHECK_EQ(queued[i].calls, 1);
        CHECK_CODE(queued[i].status, 0);
    }
}

static void finish_jobs_in_child(weir_context *context)
{
    CHECK_OK(weir_context_notify_fork(context, WEIR_FORK_CHILD));
    finish_jobs(context);
    CHECK_CODE(closed.status, WEIR_ECANCELED);
    CHECK_CODE(open_one.status, WEIR_ECANCELED);
    CHECK_CODE(alone.status, WEIR_ECANCELED);
    size_t open_handles = 0;
    CHECK_OK(weir_context_report(context, NULL, 0, &open_handles));
    CHECK_EQ(open_handles, 1); /* that of `open_one` */
    CHECK_OK(weir_context_destroy(context));
}

TEST(h70_jobs_that_run_or_wait_at_the_fork_complete_on_both_sides)
{
    if (CHECK_SANITIZED)
        CHECK_SKIP("a sanitized process with threads does not survive fork");
    weir_context *context = new_context();
    weir_job *to_close = NULL, *to_keep = NULL;
    gate = begun = 0;
    CHECK_OK(weir_job_set_limit(3));
    CHECK_OK(weir_job_start(context, wait_at_gate, NULL, &to_close, got_value, &closed));
    CHECK_OK(weir_job_start(context, wait_at_gate, NULL, &to_keep, got_value, &open_one));
    CHECK_OK(weir_job_start(context, wait_at_gate, NULL, NULL, got_value, &alone));
    WAIT_FOR(begun == 3);
    for (int i = 0; i < 3; i++)
        CHECK_OK(weir_job_start(context, in_turn, NULL, NULL, got_value, &queued[i]));
    CHECK_OK(weir_job_close(to_close));
    CHECK_EQ(forked(context, finish_jobs_in_child), 0);
    finish_jobs(context);
    CHECK_CODE(closed.status, 0);
    CHECK_CODE(alone.status, 0);
    CHECK_OK(weir_context_destroy(context));
}

static void run_one_of_each(weir_context *context)
{
    struct counter timed = {0};
    weir_timer *timer = new_timer(context);
    CHECK_OK(weir_context_notify_fork(context, WEIR_FORK_CHILD));
    CHECK_OK(weir_timer_wait(timer, done, &timed));
    struct value value = {0};
    CHECK_OK(weir_job_start(context, in_turn, NULL, NULL, got_value, &value));
    CHECK_OK(weir_context_run(context, NULL));
    CHECK(timed.calls == 1 && value.calls == 1);
    CHECK_OK(weir_context_destroy(context));
}

/* The user can't see to it that no job ends just then; its thread holds locks of the context for a moment. */
TEST(h70_a_job_may_end_at_the_very_moment_of_a_fork)
{
    if (CHECK_SANITIZED)
        CHECK_SKIP("a sanitized process with threads does not survive fork");
    weir_context *context = new_context();
    struct value values[4] = {{0}};
    for (size_t i = 0; i < many(600); i++) {
        for (int j = 0; j < 4; j++)
            CHECK_OK(weir_job_start(context, in_turn, NULL, NULL, got_value, &values[j]));
        for (volatile size_t spin = 0; spin < (i % 50) * 200; spin++) {
        }
        CHECK_EQ(forked(context, run_one_of_each), 0);
        CHECK_OK(weir_context_run(context, NULL));
        CHECK_OK(weir_context_restart(context));
    }
    CHECK_EQ(values[0].calls, (int)many(600));
    CHECK_OK(weir_context_destroy(context));
}

TEST_MAIN()
