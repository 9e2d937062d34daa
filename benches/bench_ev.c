/*
 * libev, its epoll backend. Echo: a read watcher, recv and send by hand. It has no post: ev_async and a locked queue
 * stand for it; a handler that posts itself is ev_feed_event, which does not look at the kernel in between.
 */
#include "traffic.h"
#include "queue.h"

#include <ev.h>

/* ---- echo */

struct echo {
    const struct bench *b;
    struct ev_loop *loop;
    ev_io listener;
    int ended, accepted;
    uint64_t bytes;
};

struct connection {
    ev_io io;
    struct echo *echo;
    uint64_t bytes;
    size_t held, sent;
    char data[];
};

static void connection_end(struct connection *c) {
    c->echo->bytes += c->bytes;
    c->echo->ended++;
    ev_io_stop(c->echo->loop, &c->io);
    close(c->io.fd);
    free(c);
}

static void connection_watch(struct connection *c, int events) {
    ev_io_stop(c->echo->loop, &c->io);
    ev_io_set(&c->io, c->io.fd, events);
    ev_io_start(c->echo->loop, &c->io);
}

static void on_ready(struct ev_loop *loop, ev_io *io, int events) {
    struct connection *c = io->data;
    (void)loop;
    if ((events & EV_READ) != 0) {
        ssize_t got = recv(io->fd, c->data, bench_buffer_size(c->echo->b), 0);
        if (got < 0 && errno == EAGAIN) return;
        if (got <= 0) {
            connection_end(c);
            return;
        }
        c->held = (size_t)got;
        c->sent = 0;
    }
    while (c->sent < c->held) {
        ssize_t sent = send(io->fd, c->data + c->sent, c->held - c->sent, MSG_NOSIGNAL);
        if (sent < 0 && errno == EAGAIN) {
            if ((events & EV_READ) != 0) connection_watch(c, EV_WRITE);
            return;
        }
        if (sent < 0) {
            connection_end(c);
            return;
        }
        c->sent += (size_t)sent;
        c->bytes += (uint64_t)sent;
    }
    if ((events & EV_WRITE) != 0) connection_watch(c, EV_READ);
}

static void on_acceptable(struct ev_loop *loop, ev_io *io, int events) {
    struct echo *echo = io->data;
    (void)events;
    for (;;) {
        int fd = accept4(io->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd < 0) {
            REQUIRE(errno == EAGAIN);
            return;
        }
        struct connection *c = malloc(sizeof *c + bench_buffer_size(echo->b));
        REQUIRE(c != NULL);
        c->echo = echo;
        c->bytes = 0;
        ev_io_init(&c->io, on_ready, fd, EV_READ);
        c->io.data = c;
        ev_io_start(loop, &c->io);
        if (++echo->accepted == echo->b->connections) {
            ev_io_stop(loop, io);
            return;
        }
    }
}

static int run_echo(const struct bench *b) {
    struct client client;
    struct bench_span span;
    struct echo echo = {.b = b};
    client_start(b, &client);
    echo.loop = ev_loop_new(EVBACKEND_EPOLL);
    REQUIRE(echo.loop != NULL);
    ev_io_init(&echo.listener, on_acceptable, client.listener, EV_READ);
    echo.listener.data = &echo;
    ev_io_start(echo.loop, &echo.listener);
    bench_begin(&span);
    ev_run(echo.loop, 0);
    bench_end(&span);
    REQUIRE(echo.ended == b->connections);
    ev_loop_destroy(echo.loop);
    close(client.listener);
    return client_finish(b, &client, echo.bytes, &span);
}

/* ---- post */

struct post {
    const struct bench *b;
    struct queue queue;
    struct ev_loop *loop;
    ev_async async;
    ev_prepare self;
    size_t n, count;
    uint64_t sum;
};

static void on_count(void *user, size_t value) {
    struct post *post = user;
    post->sum += value;
    if (++post->count == post->n) ev_break(post->loop, EVBREAK_ALL);
}

static void post_one(struct post *post, void (*handler)(void *, size_t), size_t value) {
    if (queue_push(&post->queue, handler, post, value)) ev_async_send(post->loop, &post->async);
}

static void on_async(struct ev_loop *loop, ev_async *async, int events) {
    struct post *post = async->data;
    (void)loop;
    (void)events;
    queue_run(&post->queue);
}

static void on_batch(void *user, size_t value) {
    struct post *post = user;
    size_t end = bench_batch_end(post->b, value);
    for (size_t i = value; i < end; i++) post_one(post, on_count, i);
    if (end < post->n) post_one(post, on_batch, end);
}

static void on_self(struct ev_loop *loop, ev_prepare *self, int events) {
    struct post *post = self->data;
    (void)events;
    post->sum += post->count;
    if (++post->count < post->n) ev_feed_event(loop, self, EV_CUSTOM);
    else ev_break(loop, EVBREAK_ALL);
}

static void post_share(void *target, size_t first, size_t last) {
    for (size_t i = first; i < last; i++) post_one(target, on_count, i);
}

static int run_post(const struct bench *b) {
    struct bench_span span;
    static struct bench_posters posters;
    struct post post = {.b = b, .queue.lock = PTHREAD_MUTEX_INITIALIZER, .n = b->n};
    post.loop = ev_loop_new(EVBACKEND_EPOLL);
    REQUIRE(post.loop != NULL);
    ev_async_init(&post.async, on_async);
    ev_prepare_init(&post.self, on_self);
    post.async.data = post.self.data = &post;
    ev_async_start(post.loop, &post.async);
    if (b->workload == POST_OUTSIDE) bench_posters_start(&posters, b, post_share, &post);
    bench_begin(&span);
    if (b->workload == POST_OUTSIDE) bench_posters_go(&posters);
    else if (b->workload == POST_BATCH) post_one(&post, on_batch, 0);
    else ev_feed_event(post.loop, &post.self, EV_CUSTOM);
    ev_run(post.loop, 0);
    bench_end(&span);
    if (b->workload == POST_OUTSIDE) bench_posters_join(&posters);
    ev_loop_destroy(post.loop);
    REQUIRE(post.count == b->n && post.sum == bench_sum(b->n));
    bench_report(b, b->n, &span);
    queue_free(&post.queue);
    return 0;
}

/* ---- timers */

static size_t fired;

static void on_never(struct ev_loop *loop, ev_timer *timer, int events) {
    (void)loop;
    (void)timer;
    (void)events;
    bench_fail("a timer fired that was stopped");
}

static int run_timer_churn(const struct bench *b) {
    struct bench_span span;
    uint64_t state = 1;
    struct ev_loop *loop = ev_loop_new(EVBACKEND_EPOLL);
    ev_timer *timers = malloc(b->n * sizeof *timers);
    REQUIRE(timers != NULL && loop != NULL);
    for (size_t i = 0; i < b->n; i++) ev_init(&timers[i], on_never);
    bench_begin(&span);
    ev_now_update(loop);
    for (size_t i = 0; i < b->n; i++) {
        ev_timer_set(&timers[i], (double)bench_churn_expiry(&state) / 1e9, 0);
        ev_timer_start(loop, &timers[i]);
    }
    for (size_t i = 0; i < b->n; i++) ev_timer_stop(loop, &timers[i]);
    ev_run(loop, EVRUN_NOWAIT);
    bench_end(&span);
    ev_loop_destroy(loop);
    free(timers);
    bench_report(b, b->n, &span);
    return 0;
}

static int run_timer_one(const struct bench *b) {
    struct bench_span span;
    uint64_t state = 1;
    struct ev_loop *loop = ev_loop_new(EVBACKEND_EPOLL);
    ev_timer timer;
    REQUIRE(loop != NULL);
    ev_init(&timer, on_never);
    bench_begin(&span);
    for (size_t i = 0; i < b->n; i++) {
        ev_timer_set(&timer, (double)bench_churn_expiry(&state) / 1e9, 0);
        ev_timer_start(loop, &timer);
        ev_timer_stop(loop, &timer);
        if (i % 1024 == 1023) ev_run(loop, EVRUN_NOWAIT);
    }
    bench_end(&span);
    ev_loop_destroy(loop);
    bench_report(b, b->n, &span);
    return 0;
}

static void on_fire(struct ev_loop *loop, ev_timer *timer, int events) {
    int64_t *late = timer->data; /* holds the expiry until now */
    (void)loop;
    (void)events;
    *late = bench_now() - *late;
    fired++;
}

static int run_timer_fire(const struct bench *b) {
    struct bench_span span;
    uint64_t state = 1;
    struct ev_loop *loop = ev_loop_new(EVBACKEND_EPOLL);
    ev_timer *timers = malloc(b->n * sizeof *timers);
    int64_t *late = malloc(b->n * sizeof *late);
    REQUIRE(timers != NULL && late != NULL && loop != NULL);
    bench_begin(&span);
    ev_now_update(loop);
    int64_t base = bench_now();
    for (size_t i = 0; i < b->n; i++) {
        int64_t after = bench_fire_expiry(&state);
        late[i] = base + after;
        ev_timer_init(&timers[i], on_fire, (double)after / 1e9, 0);
        timers[i].data = &late[i];
        ev_timer_start(loop, &timers[i]);
    }
    ev_run(loop, 0);
    bench_end(&span);
    ev_loop_destroy(loop);
    REQUIRE(fired == b->n);
    bench_report_lateness(b, late, b->n, &span);
    free(timers);
    free(late);
    return 0;
}

int main(int argc, char **argv) {
    struct bench b;
    if (!bench_options(&b, "libev", argc, argv)) return 2;
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
