/* H71, contract 10: weir inside a host that knows one fd and keeps no time: a poll loop and an epoll loop, with fds of
 * its own. Timers, posts from other threads, signals, sockets and the exit of a child arrive, all at once. */
#include "net.h"

#include <sys/epoll.h>

struct host {
    int epoll; /* -1: poll */
    int guest, own[2];
    size_t sleeps, own_events;
};

static void open_host(struct host *host, weir_context *context)
{
    CHECK_OK(weir_context_fd(context, &host->guest));
    CHECK_EQ(pipe(host->own), 0);
    if (host->epoll >= 0) {
        struct epoll_event event = {.events = EPOLLIN, .data.fd = host->guest};
        host->epoll = epoll_create1(EPOLL_CLOEXEC);
        CHECK(host->epoll >= 0);
        CHECK_EQ(epoll_ctl(host->epoll, EPOLL_CTL_ADD, host->guest, &event), 0);
        event = (struct epoll_event){.events = EPOLLIN, .data.fd = host->own[0]};
        CHECK_EQ(epoll_ctl(host->epoll, EPOLL_CTL_ADD, host->own[0], &event), 0);
    }
}

static void close_host(struct host *host)
{
    if (host->epoll >= 0)
        close(host->epoll);
    close(host->own[0]);
    close(host->own[1]);
}

/* Sleeps without a time limit until an fd is ready, and serves it. */
static void host_turn(struct host *host, weir_context *context)
{
    bool guest = false, own = false;
    host->sleeps++;
    if (host->epoll >= 0) {
        struct epoll_event events[4];
        int ready = epoll_wait(host->epoll, events, 4, -1);
        for (int i = 0; i < ready; i++) {
            guest = guest || events[i].data.fd == host->guest;
            own = own || events[i].data.fd == host->own[0];
        }
    } else {
        struct pollfd entries[2] = {{host->guest, POLLIN, 0}, {host->own[0], POLLIN, 0}};
        if (poll(entries, 2, -1) > 0) {
            guest = entries[0].revents != 0;
            own = entries[1].revents != 0;
        }
    }
    if (own) {
        char byte;
        CHECK_EQ(read(host->own[0], &byte, 1), 1);
        host->own_events++;
    }
    if (guest)
        CHECK_OK(weir_context_poll(context, NULL));
}

enum { TIMERS = 20, THREADS = 2, SIGNALS = 10, STROKES = 500, OWN = 50 };

static weir_context *context;
static struct counter timed, posted, signalled, written, exited;
static weir_stream *ends[2];
static char balls[2];
static int strokes;

static void on_time(int status, void *user)
{
    count_call(status, &timed);
    if (status == 0 && timed.calls < TIMERS) {
        CHECK_OK(weir_timer_expires_after(user, timed.calls % 4 * CHECK_MS));
        CHECK_OK(weir_timer_wait(user, on_time, user));
    }
}

static void on_signal(int status, int number, void *user)
{
    if (status != 0)
        return; /* the end of the case */
    CHECK_EQ(number, SIGUSR1);
    count_call(status, &signalled);
    CHECK_OK(weir_signals_wait(user, on_signal, user));
}

static void on_exit_of_child(int status, int value, void *user)
{
    CHECK(WIFEXITED(value) && WEXITSTATUS(value) == 7);
    count_call(status, user);
}

static void on_ball(int status, size_t bytes, void *user)
{
    int side = (int)(intptr_t)user;
    if (status == WEIR_ECANCELED)
        return;
    CHECK_EQ(status, 0);
    CHECK_EQ(bytes, 1);
    if (++strokes >= STROKES)
        return; /* nothing begins any more, as the destruction of the context would refuse */
    CHECK_OK(weir_stream_write(ends[side], &balls[side], 1, count_io, &written));
    CHECK_OK(weir_stream_read_some(ends[side], &balls[side], 1, on_ball, user));
}

static void *post_many(void *user)
{
    (void)user;
    for (size_t i = 0; i < many(5000); i++) {
        CHECK_OK(weir_context_post(context, count_call, &posted));
        if (i % 32 == 0)
            sched_yield();
    }
    return NULL;
}

/* Each is sent when the one before has come: none is lost, and each has to wake a host that may be asleep. */
static void *signal_and_write(void *user)
{
    struct host *host = user;
    for (int i = 0; i < SIGNALS; i++) {
        CHECK_EQ(kill(getpid(), SIGUSR1), 0);
        WAIT_FOR(signalled.calls == i + 1);
    }
    for (int i = 0; i < OWN; i++)
        CHECK_EQ(write(host->own[1], "h", 1), 1);
    return NULL;
}

static void everything_in(struct host *host)
{
    pthread_t threads[THREADS + 1];
    weir_signals *signals;
    weir_process *process;
    pid_t child = fork(); /* before there are threads */
    CHECK(child >= 0);
    if (child == 0) {
        sleep_ms(20);
        _exit(7);
    }
    context = new_context();
    CHECK_OK(weir_context_work_begin(context));
    open_host(host, context);
    weir_timer *timer = new_timer(context);
    CHECK_OK(weir_timer_wait(timer, on_time, timer));
    CHECK_OK(weir_process_create(context, child, &process));
    CHECK_OK(weir_process_wait(process, on_exit_of_child, &exited));
    CHECK_OK(weir_signals_create(context, &signals));
    CHECK_OK(weir_signals_add(signals, SIGUSR1, 0));
    CHECK_OK(weir_signals_wait(signals, on_signal, signals));
    connected_streams(context, AF_INET, ends);
    for (intptr_t i = 0; i < 2; i++)
        CHECK_OK(weir_stream_read_some(ends[i], &balls[i], 1, on_ball, (void *)i));
    CHECK_OK(weir_stream_write(ends[0], "o", 1, count_io, &written));
    for (int i = 0; i < THREADS; i++)
        threads[i] = start_thread(post_many, NULL);
    threads[THREADS] = start_thread(signal_and_write, host);
    while (timed.calls < TIMERS || posted.calls < THREADS * (int)many(5000) || signalled.calls < SIGNALS ||
           strokes < STROKES || exited.calls < 1 || host->own_events < OWN)
        host_turn(host, context); /* one that is not woken ends by the time limit of the case */
    for (int i = 0; i <= THREADS; i++)
        join_thread(threads[i]);
    CHECK_EQ(timed.calls, TIMERS);
    CHECK_EQ(signalled.calls, SIGNALS);
    close_host(host);
    CHECK_OK(weir_context_destroy(context));
}

TEST(h71_everything_arrives_in_a_poll_loop)
{
    struct host host = {.epoll = -1};
    everything_in(&host);
}

TEST(h71_everything_arrives_in_an_epoll_loop)
{
    struct host host = {.epoll = 0};
    everything_in(&host);
}

/* A host that serves weir last, after each of its own fds: weir's fd stays ready meanwhile. */
TEST(h71_a_host_that_is_busy_finds_everything_later)
{
    struct host host = {.epoll = 0};
    context = new_context();
    CHECK_OK(weir_context_work_begin(context));
    open_host(&host, context);
    weir_timer *timer = new_timer(context);
    CHECK_OK(weir_timer_expires_after(timer, 5 * CHECK_MS));
    CHECK_OK(weir_timer_wait(timer, count_call, &timed));
    join_thread(start_thread(post_many, NULL));
    sleep_ms(20);
    while (timed.calls < 1 || posted.calls < (int)many(5000))
        host_turn(&host, context);
    CHECK(host.sleeps < 10);
    struct pollfd entry = {host.epoll, POLLIN, 0};
    CHECK_EQ(poll(&entry, 1, 0), 0); /* and nothing is left */
    close_host(&host);
    CHECK_OK(weir_context_destroy(context));
}

TEST_MAIN()
