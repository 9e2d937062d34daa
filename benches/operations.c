/* One kind of operation N times, with nothing else that grows with N: benches/instructions and benches/syscalls count.
 * Each workload checks its own work. All but the posts from outside run with one thread and no peer that computes. */
#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>
#include <weir.h>

#define REQUIRE(condition) \
    ((condition) ? (void)0 : (fprintf(stderr, "operations: line %d: %s\n", __LINE__, #condition), exit(1)))
#define CHECK(call) REQUIRE((call) == 0)

/* In the place of the C library's, for the library too: a clock that only goes on when it is read. Otherwise the
 * counts would depend on the machine's speed, because the reactor is visited by time also. */
int clock_gettime(clockid_t clock, struct timespec *out) {
    static _Atomic int64_t clock_now = INT64_C(1000000000);
    const int64_t now = atomic_fetch_add_explicit(&clock_now, 20, memory_order_relaxed);
    (void)clock;
    *out = (struct timespec){.tv_sec = (time_t)(now / 1000000000), .tv_nsec = (long)(now % 1000000000)};
    return 0;
}

static weir_context *context;
static size_t left; /* operations that have not completed yet */

static void on_nothing(int status, void *user) {
    (void)user;
    REQUIRE(status == 0);
    left--;
}

static void on_end(int status, void *user) {
    (void)user;
    REQUIRE(status == WEIR_ECANCELED);
    left--;
}

/* A handler that posts itself. */
static void on_post(int status, void *user) {
    (void)status;
    if (--left > 0) CHECK(weir_context_post(context, on_post, user));
}

static void run_post(size_t n) {
    left = n;
    CHECK(weir_context_post(context, on_post, NULL));
    CHECK(weir_context_run(context, NULL));
}

/* All posted before the first runs: the queue is long. */
static void run_post_many(size_t n) {
    left = n;
    for (size_t i = 0; i < n; i++) CHECK(weir_context_post(context, on_nothing, NULL));
    CHECK(weir_context_run(context, NULL));
}

static void on_dispatcher(int status, void *user) {
    REQUIRE(status == 0);
    for (size_t n = *(size_t *)user; n > 0; n--) CHECK(weir_context_dispatch(context, on_nothing, NULL));
}

static void run_dispatch(size_t n) {
    left = n;
    CHECK(weir_context_post(context, on_dispatcher, &n));
    CHECK(weir_context_run(context, NULL));
}

static void run_lookup(size_t n) {
    weir_timer *timer;
    int64_t at;
    CHECK(weir_timer_create(context, &timer));
    for (left = n; left > 0; left--) CHECK(weir_timer_expiry(timer, &at));
    CHECK(weir_timer_close(timer));
}

static void run_timer_create(size_t n) {
    for (left = n; left > 0; left--) {
        weir_timer *timer;
        CHECK(weir_timer_create(context, &timer));
        CHECK(weir_timer_close(timer));
    }
}

static void on_starter(int status, void *user) {
    weir_timer *timer;
    REQUIRE(status == 0);
    CHECK(weir_timer_create(context, &timer));
    for (size_t n = *(size_t *)user; n > 0; n--) {
        size_t ended;
        CHECK(weir_timer_expires_after(timer, INT64_C(1000000000)));
        CHECK(weir_timer_wait(timer, on_end, NULL));
        CHECK(weir_timer_cancel(timer, &ended));
        REQUIRE(ended == 1);
    }
    CHECK(weir_timer_close(timer));
}

/* Start and cancel, the completion of the wait included. */
static void run_timer_cancel(size_t n) {
    left = n;
    CHECK(weir_context_post(context, on_starter, &n));
    CHECK(weir_context_run(context, NULL));
}

static void run_timer_rearm(size_t n) {
    weir_timer *timer;
    const size_t turns = n;
    CHECK(weir_timer_create(context, &timer));
    CHECK(weir_timer_expires_after(timer, INT64_C(1000000000)));
    left = 1;
    CHECK(weir_timer_wait(timer, on_end, NULL));
    for (size_t i = 0; i < turns; i++) CHECK(weir_timer_expires_after(timer, INT64_C(2000000000) + (int64_t)i));
    CHECK(weir_timer_close(timer));
    CHECK(weir_context_run(context, NULL));
}

/* The same by the time of the turn. */
static void run_timer_put_off(size_t n) {
    weir_timer *timer;
    const size_t turns = n;
    CHECK(weir_timer_create(context, &timer));
    CHECK(weir_timer_expires_after(timer, INT64_C(1000000000)));
    left = 1;
    CHECK(weir_timer_wait(timer, on_end, NULL));
    for (size_t i = 0; i < turns; i++) {
        int64_t now;
        CHECK(weir_context_turn_now(context, &now));
        CHECK(weir_timer_expires_at(timer, now + INT64_C(2000000000) + (int64_t)i));
    }
    CHECK(weir_timer_close(timer));
    CHECK(weir_context_run(context, NULL));
}

/* 1,000 timers due at 1,000 different times, again and again, by the manual clock. */
static void run_timer_fire(size_t n) {
    enum { TIMERS = 1000 };
    static weir_timer *timers[TIMERS];
    left = (n + TIMERS - 1) / TIMERS * TIMERS;
    for (size_t i = 0; i < TIMERS; i++) CHECK(weir_timer_create(context, &timers[i]));
    for (size_t done = 0; done < n; done += TIMERS) {
        for (size_t i = 0; i < TIMERS; i++) {
            CHECK(weir_timer_expires_after(timers[i], (int64_t)((i * 7919) % TIMERS + 1) * 10000));
            CHECK(weir_timer_wait(timers[i], on_nothing, NULL));
        }
        CHECK(weir_context_advance(context, INT64_C(20000000)));
        CHECK(weir_context_run(context, NULL));
        CHECK(weir_context_restart(context));
    }
    for (size_t i = 0; i < TIMERS; i++) CHECK(weir_timer_close(timers[i]));
}

static weir_stream *near_end, *far_end;
static char byte;

static void on_echo_read(int status, size_t bytes, void *user);

static void on_echo_written(int status, size_t bytes, void *user) {
    REQUIRE(status == 0 && bytes == 1);
    if (left > 0) CHECK(weir_stream_read_some(user, &byte, 1, on_echo_read, user));
}

static void on_echo_read(int status, size_t bytes, void *user) {
    if (status == WEIR_ECANCELED) return;
    REQUIRE(status == 0 && bytes == 1);
    if (--left > 0) {
        CHECK(weir_stream_write(user, &byte, 1, on_echo_written, user));
    } else {
        CHECK(weir_stream_close(near_end));
        CHECK(weir_stream_close(far_end));
    }
}

/* One byte to and fro between two streams; one operation is one turn: epoll_wait, a read that was parked, a write. */
static void run_echo(size_t n) {
    left = n;
    CHECK(weir_stream_pair(context, &near_end, &far_end));
    CHECK(weir_stream_read_some(near_end, &byte, 1, on_echo_read, near_end));
    CHECK(weir_stream_read_some(far_end, &byte, 1, on_echo_read, far_end));
    size_t bytes;
    CHECK(weir_stream_try_write(near_end, &byte, 1, &bytes));
    CHECK(weir_context_run(context, NULL));
}

static void on_byte(int status, size_t bytes, void *user) {
    REQUIRE(status == 0 && bytes == 1);
    if (--left > 0) CHECK(weir_stream_read_some(near_end, &byte, 1, on_byte, user));
}

/* Reads that find their byte at once. */
static void run_inline_read(size_t n) {
    static char some[4096];
    const size_t turns = n;
    CHECK(weir_stream_pair(context, &near_end, &far_end));
    for (size_t done = 0; done < turns; done += sizeof some) {
        size_t bytes;
        left = sizeof some;
        CHECK(weir_stream_try_write(far_end, some, sizeof some, &bytes));
        REQUIRE(bytes == sizeof some);
        CHECK(weir_stream_read_some(near_end, &byte, 1, on_byte, NULL));
        CHECK(weir_context_run(context, NULL));
        CHECK(weir_context_restart(context));
    }
    CHECK(weir_stream_close(near_end));
    CHECK(weir_stream_close(far_end));
}

/* The same with completion records, 64 in a batch. */
static void run_record(size_t n) {
    weir_record records[64];
    for (size_t done = 0; done < n; done += 64) {
        size_t count;
        for (int i = 0; i < 64; i++) CHECK(weir_context_post(context, NULL, NULL));
        CHECK(weir_context_reap(context, records, 64, 0, &count));
        REQUIRE(count == 64);
    }
    left = 0;
}

static void on_watch(int status, int value, void *user) {
    (void)value;
    (void)user;
    REQUIRE(status == WEIR_ECANCELED);
}

/* Interest that changes to and fro between two turns. */
static void run_watch_change(size_t n) {
    int ends[2];
    weir_watch *watch;
    CHECK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, ends));
    CHECK(weir_watch_create(context, ends[0], &watch));
    CHECK(weir_watch_start(watch, WEIR_WATCH_READ, WEIR_WATCH_PERSISTENT, 0, on_watch, NULL));
    for (left = n; left > 0; left--)
        CHECK(weir_watch_change(watch, left % 2 == 0 ? WEIR_WATCH_READ | WEIR_WATCH_WRITE : WEIR_WATCH_READ));
    CHECK(weir_watch_close(watch));
    CHECK(weir_context_run(context, NULL));
    close(ends[0]);
    close(ends[1]);
}

/* Posts from another thread, each of which finds the loop asleep. */
static void *post_to_a_sleeper(void *user) {
    for (size_t n = *(size_t *)user; n > 0; n--) {
        usleep(1000);
        CHECK(weir_context_post(context, on_nothing, NULL));
    }
    CHECK(weir_context_work_end(context));
    return NULL;
}

static void run_post_sleeping(size_t n) {
    pthread_t thread;
    left = n;
    CHECK(weir_context_work_begin(context));
    REQUIRE(pthread_create(&thread, NULL, post_to_a_sleeper, &n) == 0);
    CHECK(weir_context_run(context, NULL));
    pthread_join(thread, NULL);
}

/* The same to a loop that is never idle: a handler posts itself until all have arrived. */
static void on_busy(int status, void *user) {
    REQUIRE(status == 0);
    if (left > 0) CHECK(weir_context_post(context, on_busy, user));
}

static void *post_to_a_busy_loop(void *user) {
    for (size_t n = *(size_t *)user; n > 0; n--) CHECK(weir_context_post(context, on_nothing, NULL));
    return NULL;
}

static void run_post_busy(size_t n) {
    pthread_t thread;
    left = n;
    CHECK(weir_context_post(context, on_busy, NULL));
    REQUIRE(pthread_create(&thread, NULL, post_to_a_busy_loop, &n) == 0);
    CHECK(weir_context_run(context, NULL));
    pthread_join(thread, NULL);
}

static const struct {
    const char *name;
    void (*run)(size_t n);
} workloads[] = {
    {"post", run_post},
    {"post_many", run_post_many},
    {"dispatch", run_dispatch},
    {"lookup", run_lookup},
    {"record", run_record},
    {"timer_create", run_timer_create},
    {"timer_cancel", run_timer_cancel},
    {"timer_rearm", run_timer_rearm},
    {"timer_put_off", run_timer_put_off},
    {"timer_fire", run_timer_fire},
    {"inline_read", run_inline_read},
    {"echo", run_echo},
    {"watch_change", run_watch_change},
    {"post_sleeping", run_post_sleeping},
    {"post_busy", run_post_busy},
};

int main(int count, char **arguments) {
    weir_context_options options = {.struct_size = sizeof options, .thread_hint = 1};
    const size_t n = count == 3 || count == 5 ? strtoul(arguments[2], NULL, 10) : 0;
    if (count == 5 && strcmp(arguments[3], "--hint") == 0) options.thread_hint = (uint32_t)strtoul(arguments[4], NULL, 10);
    for (size_t i = 0; n > 0 && i < sizeof workloads / sizeof *workloads; i++) {
        if (strcmp(arguments[1], workloads[i].name) != 0) continue;
        if (workloads[i].run == run_timer_fire) options.flags |= WEIR_CONTEXT_MANUAL_CLOCK;
        CHECK(weir_context_create(&options, &context));
        workloads[i].run(n);
        REQUIRE(left == 0);
        CHECK(weir_context_destroy(context));
        return 0;
    }
    fprintf(stderr, "usage: operations WORKLOAD N [--hint THREADS], where WORKLOAD is one of\n");
    for (size_t i = 0; i < sizeof workloads / sizeof *workloads; i++) fprintf(stderr, "  %s\n", workloads[i].name);
    return 2;
}
