/* The other way round: the fd of another event loop, here libuv's, watched by weir. The guest runs when its fd is ready or its
 * next timer is due, and weir_context_run() is the only loop that blocks. */
#include "net.h"

#include <uv.h>

static weir_context *context;
static weir_watch *watch;
static weir_timer *timer;
static uv_loop_t guest;
static int turns;

static void on_guest_time(int status, void *user);

static void on_watch_end(int status, int events, void *user)
{
    (void)events;
    (void)user;
    CHECK_EQ(status, WEIR_ECANCELED);
}

/* One turn of the guest, and what it waits for next. Without handles of its own it lets weir end. */
static void turn_guest(void)
{
    turns++;
    if (!uv_run(&guest, UV_RUN_NOWAIT)) {
        weir_watch_close(watch);
        weir_timer_close(timer);
        return;
    }
    int ms = uv_backend_timeout(&guest);
    size_t ended;
    CHECK_OK(weir_timer_cancel(timer, &ended));
    if (ms >= 0) {
        CHECK_OK(weir_timer_expires_after(timer, ms * CHECK_MS));
        CHECK_OK(weir_timer_wait(timer, on_guest_time, NULL));
    }
}

static void on_guest_time(int status, void *user)
{
    (void)user;
    if (status == 0)
        turn_guest();
}

static void on_guest_ready(int status, int events, void *user)
{
    if (status != 0) {
        on_watch_end(status, events, user);
        return;
    }
    CHECK(events & WEIR_WATCH_READ);
    turn_guest();
}

static void set_up(void)
{
    context = new_context();
    CHECK_EQ(uv_loop_init(&guest), 0);
    timer = new_timer(context);
    CHECK_OK(weir_watch_create(context, uv_backend_fd(&guest), &watch));
}

/* To be called when the guest has its first handles. */
static void run(void)
{
    CHECK_OK(weir_watch_start(watch, WEIR_WATCH_READ, WEIR_WATCH_PERSISTENT, WEIR_FOREVER, on_guest_ready, NULL));
    turn_guest();
    CHECK_OK(weir_context_run(context, NULL));
    CHECK_EQ(uv_loop_close(&guest), 0);
    CHECK_OK(weir_context_destroy(context));
}

/* ---- cases */

static atomic_int uv_calls;

static void on_uv_timer(uv_timer_t *handle)
{
    if (++uv_calls == 20)
        uv_close((uv_handle_t *)handle, NULL);
}

TEST(timers_of_the_guest_are_kept)
{
    uv_timer_t handle;
    struct counter counter = {0};
    set_up();
    int64_t begin = now_ns();
    CHECK_EQ(uv_timer_init(&guest, &handle), 0);
    CHECK_EQ(uv_timer_start(&handle, on_uv_timer, 5, 5), 0);
    weir_timer *own = new_timer(context);
    CHECK_OK(weir_timer_expires_after(own, CHECK_MS));
    CHECK_OK(weir_timer_wait(own, count_call, &counter));
    run();
    CHECK_EQ(uv_calls, 20);
    CHECK_EQ(counter.calls, 1);
    CHECK(now_ns() - begin >= 99 * CHECK_MS);
    CHECK(turns < 200);
}

/* libuv's wake-up from other threads, beside posts to weir from the same threads. */
enum { THREADS = 3 };
static uv_async_t async;
static struct counter posted;
static atomic_int senders;

static void on_async(uv_async_t *handle)
{
    (void)handle;
    uv_calls++;
}

/* What is done to the guest outside its turns needs one, as libuv's own uv_run would begin. */
static void end_async(int status, void *user)
{
    (void)user;
    CHECK_EQ(status, 0);
    uv_close((uv_handle_t *)&async, NULL);
    turn_guest();
}

static void *send_to_both(void *user)
{
    (void)user;
    for (size_t i = 0; i < many(5000); i++) {
        CHECK_EQ(uv_async_send(&async), 0);
        CHECK_OK(weir_context_post(context, count_call, &posted));
        if (i % 16 == 0)
            sched_yield();
    }
    int before = uv_calls; /* nobody posts to weir for the last one: libuv's own fd must wake it */
    CHECK_EQ(uv_async_send(&async), 0);
    WAIT_FOR(uv_calls > before);
    if (atomic_fetch_sub(&senders, 1) == 1)
        CHECK_OK(weir_context_post(context, end_async, NULL));
    return NULL;
}

TEST(wake_ups_of_the_guest_arrive_beside_posts)
{
    pthread_t threads[THREADS];
    set_up();
    CHECK_EQ(uv_async_init(&guest, &async, on_async), 0);
    senders = THREADS;
    for (int i = 0; i < THREADS; i++)
        threads[i] = start_thread(send_to_both, NULL);
    run();
    for (int i = 0; i < THREADS; i++)
        join_thread(threads[i]);
    CHECK_EQ(posted.calls, THREADS * many(5000));
    CHECK_EQ(posted.status, 0);
}

/* Sockets of the guest: libuv echoes what a stream of weir's sends. */
static uv_tcp_t echo;
static char echo_buffer[65536];
static weir_stream *stream;
static char sent[4096], received[4096];
static int rounds;

static void give_buffer(uv_handle_t *handle, size_t size, uv_buf_t *buffer)
{
    (void)handle;
    (void)size;
    *buffer = uv_buf_init(echo_buffer, sizeof echo_buffer);
}

static void on_echo(uv_stream_t *handle, ssize_t bytes, const uv_buf_t *buffer)
{
    if (bytes < 0) {
        CHECK_EQ(bytes, UV_EOF);
        uv_close((uv_handle_t *)handle, NULL);
        return;
    }
    uv_buf_t out = uv_buf_init(buffer->base, (unsigned)bytes);
    CHECK_EQ(uv_try_write(handle, &out, 1), bytes); /* 4096 bytes fit the socket's buffer */
}

static void on_round(int status, size_t bytes, void *user)
{
    CHECK_EQ(status, 0);
    CHECK_EQ(bytes, sizeof received);
    CHECK(memcmp(sent, received, sizeof sent) == 0);
    if (++rounds == 200) {
        CHECK_OK(weir_stream_close(stream));
        return;
    }
    memset(sent, rounds, sizeof sent);
    CHECK_OK(weir_stream_read(stream, received, sizeof received, on_round, user));
    CHECK_OK(weir_stream_write(stream, sent, sizeof sent, count_io, &posted));
}

TEST(sockets_of_the_guest_and_of_the_host_talk)
{
    int ends[2];
    set_up();
    plain_pair(AF_INET, ends);
    CHECK_EQ(uv_tcp_init(&guest, &echo), 0);
    CHECK_EQ(uv_tcp_open(&echo, ends[0]), 0);
    CHECK_EQ(uv_read_start((uv_stream_t *)&echo, give_buffer, on_echo), 0);
    stream = adopted(context, ends[1]);
    CHECK_OK(weir_stream_read(stream, received, sizeof received, on_round, NULL));
    CHECK_OK(weir_stream_write(stream, sent, sizeof sent, count_io, &posted));
    run();
    CHECK_EQ(rounds, 200);
}

TEST_MAIN()
