/*
 * libuv. Echo: uv_read_start into the connection's buffer, uv_try_write, uv_write for what is left. It has no post:
 * uv_async_t and a locked queue stand for it; a handler that posts itself is an idle handle, which runs once a turn.
 */
#include "traffic.h"
#include "queue.h"

#include <uv.h>

/* ---- echo */

struct echo {
    const struct bench *b;
    uv_loop_t loop;
    uv_tcp_t listener;
    int ended, accepted;
    uint64_t bytes;
};

struct connection {
    uv_tcp_t tcp;
    uv_write_t write;
    struct echo *echo;
    uint64_t bytes;
    char data[];
};

static void on_closed(uv_handle_t *handle) { free(handle->data); }

static void on_listener_closed(uv_handle_t *handle) { (void)handle; }

static void connection_end(struct connection *c) {
    if (uv_is_closing((uv_handle_t *)&c->tcp)) return;
    c->echo->bytes += c->bytes;
    c->echo->ended++;
    uv_close((uv_handle_t *)&c->tcp, on_closed);
}

static void on_buffer(uv_handle_t *handle, size_t suggested, uv_buf_t *buffer) {
    struct connection *c = handle->data;
    (void)suggested;
    *buffer = uv_buf_init(c->data, (unsigned)bench_buffer_size(c->echo->b));
}

static void on_read(uv_stream_t *stream, ssize_t size, const uv_buf_t *buffer);

static void on_written(uv_write_t *request, int status) {
    struct connection *c = request->data;
    if (status < 0 || uv_read_start((uv_stream_t *)&c->tcp, on_buffer, on_read) != 0) connection_end(c);
}

static void on_read(uv_stream_t *stream, ssize_t size, const uv_buf_t *buffer) {
    struct connection *c = stream->data;
    (void)buffer;
    if (size < 0) {
        connection_end(c);
        return;
    }
    if (size == 0) return;
    uv_buf_t out = uv_buf_init(c->data, (unsigned)size);
    int sent = uv_try_write(stream, &out, 1);
    if (sent < 0 && sent != UV_EAGAIN) {
        connection_end(c);
        return;
    }
    c->bytes += (uint64_t)size;
    if (sent == size) return;
    if (sent < 0) sent = 0;
    out = uv_buf_init(c->data + sent, (unsigned)(size - sent));
    c->write.data = c;
    uv_read_stop(stream); /* the buffer is in use */
    if (uv_write(&c->write, stream, &out, 1, on_written) != 0) connection_end(c);
}

static void on_connection(uv_stream_t *listener, int status) {
    struct echo *echo = listener->data;
    REQUIRE(status == 0);
    struct connection *c = malloc(sizeof *c + bench_buffer_size(echo->b));
    REQUIRE(c != NULL);
    c->echo = echo;
    c->bytes = 0;
    REQUIRE(uv_tcp_init(&echo->loop, &c->tcp) == 0);
    c->tcp.data = c;
    REQUIRE(uv_accept(listener, (uv_stream_t *)&c->tcp) == 0);
    REQUIRE(uv_read_start((uv_stream_t *)&c->tcp, on_buffer, on_read) == 0);
    if (++echo->accepted == echo->b->connections) uv_close((uv_handle_t *)&echo->listener, on_listener_closed);
}

static int run_echo(const struct bench *b) {
    struct client client;
    struct bench_span span;
    static struct echo echo;
    client_start(b, &client);
    echo.b = b;
    REQUIRE(uv_loop_init(&echo.loop) == 0 && uv_tcp_init(&echo.loop, &echo.listener) == 0);
    echo.listener.data = &echo;
    REQUIRE(uv_tcp_open(&echo.listener, client.listener) == 0);
    REQUIRE(uv_listen((uv_stream_t *)&echo.listener, SOMAXCONN, on_connection) == 0);
    bench_begin(&span);
    uv_run(&echo.loop, UV_RUN_DEFAULT);
    bench_end(&span);
    REQUIRE(echo.ended == b->connections && uv_loop_close(&echo.loop) == 0);
    return client_finish(b, &client, echo.bytes, &span);
}

/* ---- post */

struct post {
    const struct bench *b;
    struct queue queue;
    uv_loop_t loop;
    uv_async_t async;
    uv_idle_t idle;
    size_t n, count;
    uint64_t sum;
};

static void on_count(void *user, size_t value) {
    struct post *post = user;
    post->sum += value;
    if (++post->count == post->n) uv_close((uv_handle_t *)&post->async, NULL);
}

static void post_one(struct post *post, void (*handler)(void *, size_t), size_t value) {
    queue_push(&post->queue, handler, post, value);
    uv_async_send(&post->async);
}

static void on_async(uv_async_t *async) {
    struct post *post = async->data;
    queue_run(&post->queue);
}

static void on_batch(void *user, size_t value) {
    struct post *post = user;
    size_t end = bench_batch_end(post->b, value);
    for (size_t i = value; i < end; i++) post_one(post, on_count, i);
    if (end < post->n) post_one(post, on_batch, end);
}

static void on_idle(uv_idle_t *idle) {
    struct post *post = idle->data;
    post->sum += post->count;
    if (++post->count == post->n) uv_close((uv_handle_t *)idle, NULL);
}

static void post_share(void *target, size_t first, size_t last) {
    for (size_t i = first; i < last; i++) post_one(target, on_count, i);
}

static int run_post(const struct bench *b) {
    struct bench_span span;
    static struct bench_posters posters;
    struct post post = {.b = b, .queue.lock = PTHREAD_MUTEX_INITIALIZER, .n = b->n};
    REQUIRE(uv_loop_init(&post.loop) == 0);
    if (b->workload == POST_INSIDE) {
        REQUIRE(uv_idle_init(&post.loop, &post.idle) == 0);
        post.idle.data = &post;
        bench_begin(&span);
        REQUIRE(uv_idle_start(&post.idle, on_idle) == 0);
    } else {
        REQUIRE(uv_async_init(&post.loop, &post.async, on_async) == 0);
        post.async.data = &post;
        if (b->workload == POST_OUTSIDE) bench_posters_start(&posters, b, post_share, &post);
        bench_begin(&span);
        if (b->workload == POST_OUTSIDE) bench_posters_go(&posters);
        else post_one(&post, on_batch, 0);
    }
    /* The handle is closed by the last handler; a poster may still be inside uv_async_send, which is only a store
       and a write then, so the loop is closed after the posters have ended. */
    uv_run(&post.loop, UV_RUN_DEFAULT);
    bench_end(&span);
    if (b->workload == POST_OUTSIDE) bench_posters_join(&posters);
    REQUIRE(uv_loop_close(&post.loop) == 0);
    REQUIRE(post.count == b->n && post.sum == bench_sum(b->n));
    bench_report(b, b->n, &span);
    queue_free(&post.queue);
    return 0;
}

/* ---- timers: libuv counts in milliseconds */

static size_t fired;

static void on_never(uv_timer_t *timer) {
    (void)timer;
    bench_fail("a timer fired that was stopped");
}

static int run_timer_churn(const struct bench *b) {
    uv_loop_t loop;
    struct bench_span span;
    uint64_t state = 1;
    uv_timer_t *timers = malloc(b->n * sizeof *timers);
    REQUIRE(timers != NULL && uv_loop_init(&loop) == 0);
    for (size_t i = 0; i < b->n; i++) REQUIRE(uv_timer_init(&loop, &timers[i]) == 0);
    bench_begin(&span);
    uv_update_time(&loop);
    for (size_t i = 0; i < b->n; i++)
        REQUIRE(uv_timer_start(&timers[i], on_never, (uint64_t)(bench_churn_expiry(&state) / 1000000), 0) == 0);
    for (size_t i = 0; i < b->n; i++) REQUIRE(uv_timer_stop(&timers[i]) == 0);
    uv_run(&loop, UV_RUN_NOWAIT);
    bench_end(&span);
    for (size_t i = 0; i < b->n; i++) uv_close((uv_handle_t *)&timers[i], NULL);
    uv_run(&loop, UV_RUN_DEFAULT);
    REQUIRE(uv_loop_close(&loop) == 0);
    free(timers);
    bench_report(b, b->n, &span);
    return 0;
}

static int run_timer_one(const struct bench *b) {
    uv_loop_t loop;
    uv_timer_t timer;
    struct bench_span span;
    uint64_t state = 1;
    REQUIRE(uv_loop_init(&loop) == 0 && uv_timer_init(&loop, &timer) == 0);
    bench_begin(&span);
    for (size_t i = 0; i < b->n; i++) {
        REQUIRE(uv_timer_start(&timer, on_never, (uint64_t)(bench_churn_expiry(&state) / 1000000), 0) == 0);
        REQUIRE(uv_timer_stop(&timer) == 0);
        if (i % 1024 == 1023) uv_run(&loop, UV_RUN_NOWAIT);
    }
    uv_run(&loop, UV_RUN_NOWAIT);
    bench_end(&span);
    uv_close((uv_handle_t *)&timer, NULL);
    uv_run(&loop, UV_RUN_DEFAULT);
    REQUIRE(uv_loop_close(&loop) == 0);
    bench_report(b, b->n, &span);
    return 0;
}

static void on_fire(uv_timer_t *timer) {
    int64_t *late = timer->data; /* holds the expiry until now */
    *late = bench_now() - *late;
    fired++;
}

static int run_timer_fire(const struct bench *b) {
    uv_loop_t loop;
    struct bench_span span;
    uint64_t state = 1;
    uv_timer_t *timers = malloc(b->n * sizeof *timers);
    int64_t *late = malloc(b->n * sizeof *late);
    REQUIRE(timers != NULL && late != NULL && uv_loop_init(&loop) == 0);
    for (size_t i = 0; i < b->n; i++) {
        REQUIRE(uv_timer_init(&loop, &timers[i]) == 0);
        timers[i].data = &late[i];
    }
    bench_begin(&span);
    uv_update_time(&loop);
    int64_t base = bench_now();
    for (size_t i = 0; i < b->n; i++) {
        int64_t after = bench_fire_expiry(&state);
        late[i] = base + after;
        REQUIRE(uv_timer_start(&timers[i], on_fire, (uint64_t)((after + 999999) / 1000000), 0) == 0);
    }
    uv_run(&loop, UV_RUN_DEFAULT);
    bench_end(&span);
    REQUIRE(fired == b->n);
    for (size_t i = 0; i < b->n; i++) uv_close((uv_handle_t *)&timers[i], NULL);
    uv_run(&loop, UV_RUN_DEFAULT);
    REQUIRE(uv_loop_close(&loop) == 0);
    bench_report_lateness(b, late, b->n, &span);
    free(timers);
    free(late);
    return 0;
}

int main(int argc, char **argv) {
    struct bench b;
    if (!bench_options(&b, "libuv", argc, argv)) return 2;
    if (b.threads != 1) return bench_unsupported(&b); /* a loop belongs to one thread */
    switch (b.workload) {
    case PINGPONG:
    case ECHO100:
    case CHURN: return run_echo(&b);
    case SINK:
    case SOURCE:
    case UDP:
    case UDP_BURST: return run_traffic(&b);
    case POST_INSIDE:
    case POST_BATCH:
    case POST_OUTSIDE: return run_post(&b);
    case TIMER_CHURN: return run_timer_churn(&b);
    case TIMER_ONE: return run_timer_one(&b);
    case TIMER_FIRE: return run_timer_fire(&b);
    default: return run_loop(&b);
    }
}
