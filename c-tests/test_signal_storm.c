/* Signals in the middle of everything: while every service works, threads inside and outside of run are interrupted all
 * the time, with SA_RESTART and without. No operation ends with EINTR, none is lost, none completes twice. */
#include "signals.h"

#include <sys/time.h>

static atomic_bool over;
static atomic_ulong handled;
static atomic_int hunted;
static pthread_t targets[4];

static void on_signal_handler(int number)
{
    (void)number;
    atomic_fetch_add_explicit(&handled, 1, memory_order_relaxed);
}

static void install(int flags)
{
    struct sigaction action;
    memset(&action, 0, sizeof action);
    action.sa_handler = on_signal_handler;
    action.sa_flags = flags;
    sigemptyset(&action.sa_mask);
    CHECK_EQ(sigaction(SIGUSR1, &action, NULL), 0);
    CHECK_EQ(sigaction(SIGALRM, &action, NULL), 0);
    CHECK_EQ(sigaction(SIGPROF, &action, NULL), 0);
}

/* One thread after another, with pauses of many lengths. */
static void *storm(void *user)
{
    (void)user;
    for (unsigned round = 0; !atomic_load(&over); round++) {
        int count = atomic_load(&hunted);
        for (int i = 0; i < count; i++)
            pthread_kill(targets[i], SIGUSR1);
        struct timespec pause = {0, (long)(round % 20) * 10000};
        nanosleep(&pause, NULL);
    }
    return NULL;
}

/* ---- the work: streams, timers, jobs, lookups, datagrams, watches, a child, a second signal */

enum { STREAMS = 4, SIZE = 200 * 1000 };

struct line {
    struct everything *all;
    weir_stream *near, *far;
    char out[SIZE], in[SIZE];
    struct counter written, read;
    int rounds;
};

struct everything {
    weir_context *context;
    int rounds;
    struct line lines[STREAMS];
    weir_timer *timer, *ticker;
    weir_datagram *near, *far;
    weir_watch *watch;
    weir_signals *signals;
    weir_process *process;
    int pipe[2];
    char datagram[16];
    atomic_int streamed, timed, worked, looked_up, received, watched, signalled, exited, ticked, connected;
    weir_acceptor *acceptor;
    weir_stream *client;
    struct where where;
};

static void on_line_read(int status, size_t bytes, void *user);

static void start_line(struct line *line)
{
    memset(line->in, 0, sizeof line->in);
    for (size_t i = 0; i < sizeof line->out; i++)
        line->out[i] = (char)(i * 7 + (size_t)line->rounds);
    CHECK_OK(weir_stream_read(line->far, line->in, sizeof line->in, on_line_read, line));
    CHECK_OK(weir_stream_write(line->near, line->out, sizeof line->out, count_io, &line->written));
}

static void on_line_read(int status, size_t bytes, void *user)
{
    struct line *line = user;
    CHECK_OK(status);
    CHECK_EQ(bytes, sizeof line->in);
    CHECK(memcmp(line->in, line->out, sizeof line->in) == 0);
    atomic_fetch_add(&line->all->streamed, 1);
    atomic_fetch_add(&line->read.calls, 1);
}

static void on_timed(int status, void *user)
{
    struct everything *all = user;
    CHECK_OK(status);
    if (atomic_fetch_add(&all->timed, 1) + 1 == all->rounds)
        return;
    CHECK_OK(weir_timer_expires_after(all->timer, 50 * 1000));
    CHECK_OK(weir_timer_wait(all->timer, on_timed, all));
}

static void on_tick(int status, void *user)
{
    struct everything *all = user;
    CHECK(status == 0 || status == WEIR_ECANCELED);
    if (status == 0)
        atomic_fetch_add(&all->ticked, 1);
}

static int work(void *user)
{
    (void)user;
    struct timespec pause = {0, 20 * 1000};
    nanosleep(&pause, NULL);
    return 5;
}

static void on_worked(int status, int value, void *user)
{
    struct everything *all = user;
    CHECK_OK(status);
    CHECK_EQ(value, 5);
    if (atomic_fetch_add(&all->worked, 1) + 1 < all->rounds)
        CHECK_OK(weir_job_start(all->context, work, NULL, NULL, on_worked, all));
}

static void on_received(int status, size_t bytes, void *user)
{
    struct everything *all = user;
    CHECK_OK(status);
    CHECK_EQ(bytes, 4);
    if (atomic_fetch_add(&all->received, 1) + 1 == all->rounds)
        return;
    CHECK_OK(weir_datagram_receive(all->far, all->datagram, sizeof all->datagram, on_received, all));
    size_t sent = 0;
    CHECK_OK(weir_datagram_try_send(all->near, "ping", 4, &sent));
}

static void on_watched(int status, int events, void *user)
{
    struct everything *all = user;
    char byte;
    if (status == WEIR_ECANCELED)
        return;
    CHECK_OK(status);
    CHECK(events & WEIR_WATCH_READ);
    ssize_t got;
    while ((got = read(all->pipe[0], &byte, 1)) < 0 && errno == EINTR) {
    }
    CHECK_EQ(got, 1);
    if (atomic_fetch_add(&all->watched, 1) + 1 < all->rounds)
        while (write(all->pipe[1], "x", 1) < 0)
            CHECK_EQ(errno, EINTR);
}

static void on_taken(int status, int signo, void *user)
{
    struct everything *all = user;
    CHECK_OK(status);
    CHECK_EQ(signo, SIGUSR2);
    if (atomic_fetch_add(&all->signalled, 1) + 1 == all->rounds)
        return;
    CHECK_OK(weir_signals_wait(all->signals, on_taken, all));
    CHECK_EQ(kill(getpid(), SIGUSR2), 0);
}

static void on_exited(int status, int value, void *user)
{
    struct everything *all = user;
    CHECK_OK(status);
    CHECK_EQ(value, 3 << 8);
    atomic_fetch_add(&all->exited, 1);
}

static void start_connect(struct everything *all);

static void on_connected(int status, void *user)
{
    struct everything *all = user;
    CHECK_OK(status);
    CHECK_OK(weir_stream_close(all->client));
    if (atomic_fetch_add(&all->connected, 1) + 1 < all->rounds)
        start_connect(all);
}

static void start_connect(struct everything *all)
{
    all->client = new_stream(all->context);
    CHECK_OK(weir_stream_connect(all->client, AT(&all->where), on_connected, all));
}

static void on_accepted(int status, weir_stream *peer, const struct sockaddr *address, socklen_t length, void *user)
{
    (void)address;
    (void)length;
    (void)user;
    CHECK(status == 0 || status == WEIR_ECANCELED);
    if (status == 0)
        CHECK_OK(weir_stream_close(peer));
}

static void *run_here(void *user)
{
    struct everything *all = user;
    targets[atomic_load(&hunted)] = pthread_self();
    atomic_fetch_add(&hunted, 1);
    CHECK_OK(weir_context_run(all->context, NULL));
    return NULL;
}

static bool all_done(struct everything *all)
{
    return atomic_load(&all->timed) == all->rounds && atomic_load(&all->worked) == all->rounds &&
           atomic_load(&all->received) == all->rounds && atomic_load(&all->watched) == all->rounds &&
           atomic_load(&all->signalled) == all->rounds && atomic_load(&all->connected) == all->rounds &&
           atomic_load(&all->exited) == 1 && atomic_load(&all->ticked) > 0;
}

static void everything_in_a_storm(int flags, int threads)
{
    static struct everything all;
    all.rounds = (int)many(1000);
    all.context = new_context_with(0, (uint32_t)threads);
    CHECK_OK(weir_context_work_begin(all.context));
    install(flags);

    for (int i = 0; i < STREAMS; i++) {
        all.lines[i].all = &all;
        CHECK_OK(weir_stream_pair(all.context, &all.lines[i].near, &all.lines[i].far));
    }
    all.timer = new_timer(all.context);
    all.ticker = new_timer(all.context);
    CHECK_OK(weir_timer_expires_after(all.timer, 0));
    CHECK_OK(weir_timer_wait(all.timer, on_timed, &all));
    CHECK_OK(weir_timer_start(all.ticker, CHECK_MS, CHECK_MS, on_tick, &all));
    CHECK_OK(weir_job_start(all.context, work, NULL, NULL, on_worked, &all));
    CHECK_OK(weir_datagram_pair(all.context, &all.near, &all.far));
    CHECK_OK(weir_datagram_receive(all.far, all.datagram, sizeof all.datagram, on_received, &all));
    size_t sent = 0;
    CHECK_OK(weir_datagram_try_send(all.near, "ping", 4, &sent));
    CHECK_EQ(pipe2(all.pipe, O_CLOEXEC), 0);
    CHECK_OK(weir_watch_create(all.context, all.pipe[0], &all.watch));
    CHECK_OK(weir_watch_start(all.watch, WEIR_WATCH_READ, WEIR_WATCH_PERSISTENT, WEIR_FOREVER, on_watched, &all));
    CHECK_EQ(write(all.pipe[1], "x", 1), 1);
    all.signals = new_signals_of(all.context, SIGUSR2);
    CHECK_OK(weir_signals_wait(all.signals, on_taken, &all));
    all.acceptor = new_listener(all.context, AF_INET, 100, &all.where);
    CHECK_OK(weir_acceptor_accept_each(all.acceptor, on_accepted, NULL));
    start_connect(&all);
    pid_t child = fork();
    CHECK(child >= 0);
    if (child == 0) {
        sleep_ms(50);
        _exit(3);
    }
    CHECK_OK(weir_process_create(all.context, child, &all.process));
    CHECK_OK(weir_process_wait(all.process, on_exited, &all));
    CHECK_EQ(kill(getpid(), SIGUSR2), 0);

    pthread_t runners[2];
    for (int i = 0; i < threads; i++) {
        runners[i] = start_thread(run_here, &all);
        WAIT_FOR(atomic_load(&hunted) == i + 1);
    }
    targets[threads] = pthread_self(); /* outside of run, it posts and starts */
    atomic_fetch_add(&hunted, 1);
    struct itimerval often = {{0, 300}, {0, 300}};
    CHECK_EQ(setitimer(ITIMER_REAL, &often, NULL), 0);
    CHECK_EQ(setitimer(ITIMER_PROF, &often, NULL), 0);
    pthread_t stormer = start_thread(storm, NULL);

    struct counter posted = {0};
    int posts = 0;
    int64_t deadline = now_ns() + 50 * CHECK_SECOND;
    while (!all_done(&all) || atomic_load(&handled) < many(2000)) {
        if (now_ns() > deadline)
            check_fail(__FILE__, __LINE__,
                       "of %d: timed %d, worked %d, received %d, watched %d, signalled %d, connected %d; exited %d, ticked %d, "
                       "handled %lu",
                       all.rounds, all.timed, all.worked, all.received, all.watched, all.signalled, all.connected,
                       all.exited, all.ticked, atomic_load(&handled));
        CHECK_OK(weir_context_post(all.context, count_call, &posted));
        posts++;
        for (int i = 0; i < STREAMS; i++) {
            struct line *line = &all.lines[i];
            if (atomic_load(&line->read.calls) < line->rounds || atomic_load(&line->written.calls) < line->rounds)
                continue;
            line->rounds++;
            start_line(line);
        }
        sleep_ms(1);
    }
    for (int i = 0; i < STREAMS; i++) {
        struct line *line = &all.lines[i];
        WAIT_FOR(atomic_load(&line->read.calls) == line->rounds && atomic_load(&line->written.calls) == line->rounds);
        CHECK_OK(atomic_load(&line->written.status));
        CHECK_EQ(atomic_load(&line->written.bytes), (size_t)line->rounds * SIZE);
        CHECK(line->rounds > 0);
    }
    WAIT_FOR(atomic_load(&posted.calls) == posts);

    struct itimerval never = {{0, 0}, {0, 0}};
    CHECK_EQ(setitimer(ITIMER_REAL, &never, NULL), 0);
    CHECK_EQ(setitimer(ITIMER_PROF, &never, NULL), 0);
    atomic_store(&over, true);
    join_thread(stormer);
    CHECK_OK(weir_context_stop(all.context));
    for (int i = 0; i < threads; i++)
        join_thread(runners[i]);
    CHECK_OK(weir_context_destroy(all.context));
    CHECK_EQ(atomic_load(&all.timed), all.rounds);
    CHECK_EQ(atomic_load(&all.received), all.rounds);
    CHECK_EQ(atomic_load(&all.watched), all.rounds);
    CHECK_EQ(atomic_load(&all.signalled), all.rounds);
    CHECK_EQ(atomic_load(&all.connected), all.rounds);
    CHECK_EQ(atomic_load(&all.exited), 1);
    close(all.pipe[0]);
    close(all.pipe[1]);
}

TEST(h50_everything_in_a_storm_of_signals_with_one_thread)
{
    everything_in_a_storm(0, 1);
}

TEST(h50_everything_in_a_storm_of_signals_with_two_threads)
{
    everything_in_a_storm(0, 2);
}

TEST(h50_everything_in_a_storm_of_signals_that_restart_system_calls)
{
    everything_in_a_storm(SA_RESTART, 2);
}

/* ---- signals whose handlers call what they may: nothing of the library's, but they keep errno and the stack */

TEST(run_for_is_not_made_shorter_or_longer_by_signals)
{
    weir_context *context = new_context();
    CHECK_OK(weir_context_work_begin(context));
    install(0);
    struct itimerval often = {{0, 500}, {0, 500}};
    CHECK_EQ(setitimer(ITIMER_REAL, &often, NULL), 0);
    for (int i = 0; i < 5; i++) {
        int64_t began = now_ns();
        CHECK_OK(weir_context_run_for(context, 50 * CHECK_MS, NULL));
        CHECK(now_ns() - began >= 50 * CHECK_MS);
        CHECK(now_ns() - began < 20 * CHECK_SECOND);
        size_t count = 1;
        began = now_ns();
        CHECK_OK(weir_context_wait_one(context, 20 * CHECK_MS, &count));
        CHECK_EQ(count, 0);
        CHECK(now_ns() - began >= 20 * CHECK_MS);
    }
    struct itimerval never = {{0, 0}, {0, 0}};
    CHECK_EQ(setitimer(ITIMER_REAL, &never, NULL), 0);
    CHECK_OK(weir_context_destroy(context));
}

TEST_MAIN()
