/* weir_context_wake(), and run functions that a signal ends (WEIR_CONTEXT_INTERRUPTIBLE). */
#include "check.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/resource.h>

static weir_context *woken_by_handler;
static atomic_int handled;

static void on_signal(int signo)
{
    int before = errno;
    (void)signo;
    errno = EDOM;
    if (woken_by_handler != NULL && weir_context_wake(woken_by_handler) != 0)
        abort();
    if (errno != EDOM)
        abort();
    errno = before;
    handled++;
}

static void handle(int signo)
{
    struct sigaction action;
    memset(&action, 0, sizeof action);
    action.sa_handler = on_signal;
    action.sa_flags = SA_RESTART;
    CHECK_EQ(sigaction(signo, &action, NULL), 0);
}

/* ---- wake */

TEST(a_wake_before_is_not_lost_and_many_are_one)
{
    weir_context *context = new_context();
    weir_record records[2];
    size_t count = 77;
    CHECK_OK(weir_context_work_begin(context));
    for (int i = 0; i < 1000; i++)
        CHECK_OK(weir_context_wake(context));
    CHECK_OK(weir_context_reap(context, records, 2, WEIR_FOREVER, &count));
    CHECK_EQ(count, 0);
    /* The next one waits again. */
    int64_t before = now_ns();
    CHECK_OK(weir_context_reap(context, records, 2, 30000000, &count));
    CHECK_EQ(count, 0);
    CHECK(now_ns() - before >= 30000000);
    CHECK_OK(weir_context_work_end(context));
    CHECK_OK(weir_context_destroy(context));
}

TEST(what_is_ready_comes_with_the_wake)
{
    weir_context *context = new_context();
    weir_record records[4];
    size_t count;
    CHECK_OK(weir_context_work_begin(context));
    for (int i = 0; i < 3; i++)
        CHECK_OK(weir_context_post(context, NULL, NULL));
    CHECK_OK(weir_context_wake(context));
    CHECK_OK(weir_context_reap(context, records, 4, WEIR_FOREVER, &count));
    CHECK_EQ(count, 3);
    CHECK_OK(weir_context_work_end(context));
    CHECK_OK(weir_context_destroy(context));
}

static atomic_bool woken_enough;

static void *wake_now_and_then(void *context)
{
    while (!woken_enough) {
        sleep_ms(1);
        CHECK_OK(weir_context_wake(context));
    }
    return NULL;
}

/* Each of these would block for ever. */
TEST(another_thread_wakes_a_sleeper)
{
    for (int by_enter = 0; by_enter < 2; by_enter++) {
        weir_context *context = new_context();
        weir_record records[2];
        size_t count;
        CHECK_OK(weir_context_work_begin(context));
        woken_enough = false;
        pthread_t thread = start_thread(wake_now_and_then, context);
        for (int i = 0; i < 20; i++) {
            if (by_enter)
                CHECK_OK(weir_context_enter(context, NULL, 0, records, 2, WEIR_FOREVER, &count));
            else
                CHECK_OK(weir_context_reap(context, records, 2, WEIR_FOREVER, &count));
            CHECK_EQ(count, 0);
        }
        woken_enough = true;
        join_thread(thread);
        CHECK_OK(weir_context_work_end(context));
        CHECK_OK(weir_context_destroy(context));
    }
}

TEST(a_signal_handler_wakes_and_keeps_errno)
{
    weir_context *context = new_context();
    weir_record records[2];
    size_t count;
    handle(SIGUSR1);
    woken_by_handler = context;
    CHECK_OK(weir_context_work_begin(context));
    for (int i = 0; i < 100; i++) {
        CHECK_EQ(raise(SIGUSR1), 0);
        CHECK_OK(weir_context_reap(context, records, 2, WEIR_FOREVER, &count));
        CHECK_EQ(count, 0);
    }
    CHECK_EQ(handled, 100);
    woken_by_handler = NULL;
    CHECK_OK(weir_context_work_end(context));
    CHECK_OK(weir_context_destroy(context));
}

static void end_work(int status, void *user)
{
    CHECK_CODE(status, 0);
    CHECK_OK(weir_context_work_end(user));
}

TEST(run_goes_on_and_the_next_reap_is_woken)
{
    weir_context *context = new_context();
    weir_timer *timer = new_timer(context);
    weir_record records[2];
    size_t count;
    CHECK_OK(weir_context_work_begin(context));
    CHECK_OK(weir_timer_expires_after(timer, 20000000));
    CHECK_OK(weir_timer_wait(timer, end_work, context));
    CHECK_OK(weir_context_wake(context));
    CHECK_OK(weir_context_run(context, NULL)); /* to the end of its work */
    CHECK_OK(weir_context_restart(context));
    CHECK_OK(weir_context_work_begin(context));
    CHECK_OK(weir_context_reap(context, records, 2, WEIR_FOREVER, &count));
    CHECK_EQ(count, 0);
    CHECK_OK(weir_context_work_end(context));
    CHECK_OK(weir_timer_close(timer));
    CHECK_OK(weir_context_destroy(context));
    CHECK_CODE(weir_context_wake(context), WEIR_EBADF);
    CHECK_CODE(weir_context_wake(NULL), WEIR_EBADF);
}

/* ---- the fd that wakes */

static int wakeup_fd(weir_context *context)
{
    int fd = -1;
    CHECK_OK(weir_context_wakeup_fd(context, &fd));
    return fd;
}

static void write_bytes(int fd, const char *bytes, size_t count)
{
    CHECK_EQ(write(fd, bytes, count), (ssize_t)count);
}

/* Whether just these bytes have come since the last time. */
static bool came(weir_context *context, const char *bytes)
{
    uint64_t values[4], expected[4] = {0};
    CHECK_OK(weir_context_wakeup_values(context, values));
    for (; *bytes; bytes++)
        expected[(unsigned char)*bytes / 64] |= UINT64_C(1) << (unsigned char)*bytes % 64;
    return memcmp(values, expected, sizeof values) == 0;
}

static size_t reap(weir_context *context, int64_t timeout)
{
    weir_record records[4];
    size_t count = 77;
    CHECK_OK(weir_context_reap(context, records, 4, timeout, &count));
    return count;
}

TEST(a_byte_wakes_and_is_told)
{
    weir_context *context = new_context();
    CHECK_OK(weir_context_work_begin(context));
    int fd = wakeup_fd(context);
    CHECK_EQ(wakeup_fd(context), fd);
    CHECK(fcntl(fd, F_GETFL) & O_NONBLOCK);
    CHECK(fcntl(fd, F_GETFD) & FD_CLOEXEC);
    CHECK(came(context, ""));
    write_bytes(fd, "\2\x0f\xff\x0f", 4);
    CHECK_EQ(reap(context, WEIR_FOREVER), 0);
    CHECK(came(context, "\2\x0f\xff"));
    CHECK(came(context, ""));
    /* And waits again afterwards. */
    int64_t before = now_ns();
    CHECK_EQ(reap(context, 30000000), 0);
    CHECK(now_ns() - before >= 30000000);
    CHECK_OK(weir_context_work_end(context));
    CHECK_OK(weir_context_destroy(context));
}

static void *write_now_and_then(void *fd)
{
    while (!woken_enough) {
        sleep_ms(1);
        if (write(*(int *)fd, "x", 1) != 1)
            CHECK_EQ(errno, EAGAIN);
    }
    return NULL;
}

TEST(a_byte_wakes_a_sleeper)
{
    weir_context *context = new_context();
    CHECK_OK(weir_context_work_begin(context));
    int fd = wakeup_fd(context);
    woken_enough = false;
    pthread_t thread = start_thread(write_now_and_then, &fd);
    for (int i = 0; i < 20; i++)
        CHECK_EQ(reap(context, WEIR_FOREVER), 0);
    woken_enough = true;
    join_thread(thread);
    CHECK(came(context, "x"));
    CHECK_OK(weir_context_work_end(context));
    CHECK_OK(weir_context_destroy(context));
}

/* Nobody reaps or asks for the bytes: the pipe does not fill up, and run goes on. */
TEST(run_reads_the_bytes_and_goes_on)
{
    weir_context *context = new_context();
    char many[4096];
    int fd = wakeup_fd(context);
    CHECK_OK(weir_context_work_begin(context));
    memset(many, 'm', sizeof many);
    for (int i = 0; i < 100; i++) {
        write_bytes(fd, many, sizeof many);
        for (int turns = 0; turns < 10; turns++)
            CHECK_OK(weir_context_poll(context, NULL));
    }
    CHECK(came(context, "m"));
    /* A full pipe loses no wake. */
    while (write(fd, many, sizeof many) > 0) {
    }
    CHECK_EQ(errno, EAGAIN);
    CHECK_EQ(reap(context, WEIR_FOREVER), 0);
    CHECK(came(context, "m"));
    CHECK_OK(weir_context_work_end(context));
    CHECK_OK(weir_context_destroy(context));
}

TEST(a_byte_makes_the_fd_of_the_context_readable)
{
    weir_context *context = new_context();
    int own = -1, fd = wakeup_fd(context);
    CHECK_OK(weir_context_fd(context, &own));
    CHECK_OK(weir_context_work_begin(context));
    CHECK_OK(weir_context_poll(context, NULL));
    struct pollfd asked = {own, POLLIN, 0};
    write_bytes(fd, "e", 1);
    CHECK_EQ(poll(&asked, 1, 60000), 1);
    CHECK_OK(weir_context_poll(context, NULL));
    CHECK(came(context, "e"));
    CHECK_OK(weir_context_work_end(context));
    CHECK_OK(weir_context_destroy(context));
}

static void wake_now(int status, void *user)
{
    CHECK_CODE(status, 0);
    CHECK_OK(weir_context_wake(user));
}

/* The reap that returns for records takes the wake that came meanwhile: the next one is new to a host. */
TEST(a_wake_during_a_reap_with_records_does_not_hide_the_next_from_a_host)
{
    weir_context *context = new_context();
    struct pollfd entry = {-1, POLLIN, 0};
    weir_record records[4];
    size_t count;
    CHECK_OK(weir_context_fd(context, &entry.fd));
    CHECK_OK(weir_context_work_begin(context));
    CHECK_OK(weir_context_post(context, NULL, NULL));
    CHECK_OK(weir_context_post(context, NULL, NULL));
    CHECK_OK(weir_context_post(context, wake_now, context));
    CHECK_OK(weir_context_reap(context, records, 1, 0, &count));
    CHECK_EQ(count, 1);
    while (poll(&entry, 1, 0) == 1)
        CHECK_OK(weir_context_reap(context, records, 4, 0, &count));
    CHECK_OK(weir_context_wake(context));
    CHECK_EQ(poll(&entry, 1, 0), 1);
    CHECK_OK(weir_context_destroy(context));
}

TEST(no_fds_left_for_the_pipe_and_it_is_tried_again)
{
    weir_context *context = new_context();
    struct rlimit before, none;
    int fd = -1, free_fd = dup(0);
    CHECK(free_fd >= 0);
    close(free_fd);
    CHECK_EQ(getrlimit(RLIMIT_NOFILE, &before), 0);
    none = before;
    none.rlim_cur = (rlim_t)free_fd;
    CHECK_EQ(setrlimit(RLIMIT_NOFILE, &none), 0);
    CHECK_CODE(weir_context_wakeup_fd(context, &fd), -EMFILE);
    CHECK_EQ(setrlimit(RLIMIT_NOFILE, &before), 0);
    write_bytes(wakeup_fd(context), "t", 1);
    CHECK_OK(weir_context_work_begin(context));
    CHECK_EQ(reap(context, WEIR_FOREVER), 0);
    CHECK(came(context, "t"));
    CHECK_OK(weir_context_work_end(context));
    CHECK_OK(weir_context_destroy(context));
    CHECK_CODE(weir_context_wakeup_fd(context, &fd), WEIR_EBADF);
}

/* H70: a byte of the child's does not wake the parent, and the number stays. */
TEST(h70_after_a_fork_each_side_has_a_pipe_of_its_own)
{
    weir_context *context = new_context();
    CHECK_OK(weir_context_work_begin(context));
    int fd = wakeup_fd(context), status = 0;
    pid_t untold = fork();
    CHECK(untold >= 0);
    if (untold == 0) {
        CHECK_CODE(weir_context_wakeup_fd(context, &fd), -ESTALE);
        _exit(0);
    }
    CHECK_EQ(waitpid(untold, &status, 0), untold);
    CHECK_EQ(status, 0);
    CHECK_OK(weir_context_notify_fork(context, WEIR_FORK_PREPARE));
    pid_t child = fork();
    CHECK(child >= 0);
    if (child == 0) {
        CHECK_OK(weir_context_notify_fork(context, WEIR_FORK_CHILD));
        CHECK_EQ(wakeup_fd(context), fd);
        write_bytes(fd, "c", 1);
        CHECK_EQ(reap(context, WEIR_FOREVER), 0);
        CHECK(came(context, "c"));
        write_bytes(fd, "d", 1); /* which nobody reads */
        _exit(0);
    }
    CHECK_OK(weir_context_notify_fork(context, WEIR_FORK_PARENT));
    CHECK_EQ(waitpid(child, &status, 0), child);
    CHECK_EQ(status, 0);
    CHECK_EQ(reap(context, 0), 0);
    CHECK(came(context, ""));
    write_bytes(fd, "p", 1);
    CHECK_EQ(reap(context, WEIR_FOREVER), 0);
    CHECK(came(context, "p"));
    CHECK_OK(weir_context_work_end(context));
    CHECK_OK(weir_context_destroy(context));
}

static void *run_on(void *context)
{
    CHECK_OK(weir_context_run(context, NULL));
    return NULL;
}

static atomic_int reaped;

static void *reap_once(void *context)
{
    CHECK_EQ(reap(context, WEIR_FOREVER), 0);
    reaped++;
    return NULL;
}

/* The thread in run asks the kernel, the one that reaps sleeps behind it; and the other way round. */
TEST(a_wake_reaches_who_reaps_beside_a_thread_in_run)
{
    for (int first = 0; first < 2; first++) {
        weir_context *context = new_context();
        CHECK_OK(weir_context_work_begin(context));
        reaped = 0;
        pthread_t runner = start_thread(first ? reap_once : run_on, context);
        sleep_ms(30);
        pthread_t other = start_thread(first ? run_on : reap_once, context);
        sleep_ms(30);
        CHECK_OK(weir_context_wake(context));
        for (int i = 0; reaped == 0 && i < 10000; i++)
            sleep_ms(1);
        CHECK_EQ(reaped, 1);
        CHECK_OK(weir_context_work_end(context));
        join_thread(runner);
        join_thread(other);
        CHECK_OK(weir_context_destroy(context));
    }
}

static atomic_int ready_to_die;

static void *wake_until_it_is_gone(void *context)
{
    ready_to_die++;
    while (weir_context_wake(context) == 0) {
    }
    return NULL;
}

TEST(wakes_while_the_context_is_destroyed)
{
    for (size_t i = 0; i < many(30); i++) {
        weir_context *context = new_context();
        ready_to_die = 0;
        pthread_t threads[2] = {start_thread(wake_until_it_is_gone, context), start_thread(wake_until_it_is_gone, context)};
        while (ready_to_die < 2)
            sched_yield();
        CHECK_OK(weir_context_destroy(context));
        join_thread(threads[0]);
        join_thread(threads[1]);
        /* The wake that it left behind is not the next context's. */
        context = new_context();
        weir_record record;
        size_t count;
        CHECK_OK(weir_context_work_begin(context));
        int64_t before = now_ns();
        CHECK_OK(weir_context_reap(context, &record, 1, 1000000, &count));
        CHECK(now_ns() - before >= 1000000);
        CHECK_OK(weir_context_work_end(context));
        CHECK_OK(weir_context_destroy(context));
    }
}

/* ---- interrupted */

struct prodder {
    pthread_t thread;
    atomic_bool over;
};

static void *prod(void *user)
{
    struct prodder *prodder = user;
    while (!prodder->over) {
        sleep_ms(1);
        CHECK_EQ(pthread_kill(prodder->thread, SIGUSR2), 0);
    }
    return NULL;
}

enum way { RUN, RUN_FOR, RUN_ONE, REAP, ENTER, WAYS };

static int go(enum way way, weir_context *context)
{
    weir_record record;
    size_t count = 0;
    switch (way) {
    case RUN: return weir_context_run(context, NULL);
    case RUN_FOR: return weir_context_run_for(context, INT64_C(3600000000000), NULL);
    case RUN_ONE: return weir_context_run_one(context, NULL);
    case REAP: return weir_context_reap(context, &record, 1, WEIR_FOREVER, &count);
    default: return weir_context_enter(context, NULL, 0, &record, 1, INT64_C(3600000000000), &count);
    }
}

TEST(a_signal_ends_every_way_to_run)
{
    weir_context *context = new_context_with(WEIR_CONTEXT_INTERRUPTIBLE, 1);
    struct prodder prodder = {.thread = pthread_self()};
    handle(SIGUSR2);
    CHECK_OK(weir_context_work_begin(context));
    pthread_t thread = start_thread(prod, &prodder);
    for (int i = 0; i < 20; i++)
        for (enum way way = RUN; way < WAYS; way++)
            CHECK_CODE(go(way, context), -EINTR);
    prodder.over = true;
    join_thread(thread);
    CHECK(handled >= 20);
    CHECK_EQ(weir_context_stopped(context), 0);
    CHECK_OK(weir_context_work_end(context));
    CHECK_OK(weir_context_destroy(context));
}

static void count_to(int status, void *user)
{
    CHECK_CODE(status, 0);
    ++*(int *)user;
}

/* Timers go on where they were; records that are there come in place of the error. */
TEST(nothing_is_lost_by_it)
{
    weir_context *context = new_context_with(WEIR_CONTEXT_INTERRUPTIBLE, 1);
    struct prodder prodder = {.thread = pthread_self()};
    weir_timer *timers[50];
    weir_record records[4];
    int fired = 0, recorded = 0, posted = 0;
    size_t count;
    handle(SIGUSR2);
    pthread_t thread = start_thread(prod, &prodder);
    for (int i = 0; i < 50; i++) {
        timers[i] = new_timer(context);
        CHECK_OK(weir_timer_expires_after(timers[i], 500000 * (i + 1)));
        CHECK_OK(weir_timer_wait(timers[i], i % 2 == 0 ? count_to : NULL, &fired));
    }
    for (int i = 0; i < 100; i++, posted++)
        CHECK_OK(weir_context_post(context, NULL, NULL));
    while (fired < 25 || recorded < 25 + posted) {
        int result = weir_context_reap(context, records, 4, WEIR_FOREVER, &count);
        if (result == 0)
            recorded += (int)count;
        else
            CHECK_CODE(result, -EINTR);
    }
    CHECK_EQ(recorded, 25 + posted);
    CHECK_EQ(fired, 25);
    prodder.over = true;
    join_thread(thread);
    for (int i = 0; i < 50; i++)
        CHECK_OK(weir_timer_close(timers[i]));
    CHECK_OK(weir_context_destroy(context));
}

TEST(without_the_flag_no_call_is_ended)
{
    weir_context *context = new_context();
    struct prodder prodder = {.thread = pthread_self()};
    handle(SIGUSR2);
    CHECK_OK(weir_context_work_begin(context));
    pthread_t thread = start_thread(prod, &prodder);
    int64_t before = now_ns();
    CHECK_OK(weir_context_run_for(context, 50000000, NULL));
    CHECK(now_ns() - before >= 50000000);
    prodder.over = true;
    join_thread(thread);
    CHECK_OK(weir_context_work_end(context));
    CHECK_OK(weir_context_destroy(context));
}

TEST_MAIN()
