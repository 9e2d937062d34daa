/*
 * libevent. Echo: a persistent read event, recv and send by hand, which is the least that it can do; with --buffered
 * a bufferevent. Post: event_active on one event and a locked queue; a handler that posts itself is event_active alone.
 */
#include "traffic.h"
#include "queue.h"

#include <event2/buffer.h>
#include <event2/bufferevent.h>
#include <event2/event.h>
#include <event2/listener.h>
#include <event2/thread.h>

/* ---- echo */

struct echo {
    const struct bench *b;
    struct event_base *base;
    struct evconnlistener *listener;
    int ended, accepted;
    uint64_t bytes;
};

struct connection {
    struct echo *echo;
    struct event *reader, *writer;
    struct bufferevent *buffered;
    evutil_socket_t fd;
    uint64_t bytes;
    size_t held, sent;
    char data[];
};

static void connection_end(struct connection *c) {
    c->echo->bytes += c->bytes;
    c->echo->ended++;
    if (c->buffered != NULL) {
        bufferevent_free(c->buffered);
    } else {
        event_free(c->reader);
        event_free(c->writer);
        close(c->fd);
    }
    free(c);
}

static void connection_send(struct connection *c) {
    while (c->sent < c->held) {
        ssize_t sent = send(c->fd, c->data + c->sent, c->held - c->sent, MSG_NOSIGNAL);
        if (sent < 0 && errno == EAGAIN) {
            REQUIRE(event_del(c->reader) == 0 && event_add(c->writer, NULL) == 0);
            return;
        }
        if (sent < 0) {
            connection_end(c);
            return;
        }
        c->sent += (size_t)sent;
        c->bytes += (uint64_t)sent;
    }
    c->held = 0;
    c->sent = 0;
}

static void on_readable(evutil_socket_t fd, short what, void *user) {
    struct connection *c = user;
    (void)what;
    ssize_t got = recv(fd, c->data, bench_buffer_size(c->echo->b), 0);
    if (got < 0 && errno == EAGAIN) return;
    if (got <= 0) {
        connection_end(c);
        return;
    }
    c->held = (size_t)got;
    connection_send(c);
}

static void on_writable(evutil_socket_t fd, short what, void *user) {
    struct connection *c = user;
    (void)fd;
    (void)what;
    REQUIRE(event_add(c->reader, NULL) == 0);
    connection_send(c);
}

static void on_buffered_read(struct bufferevent *buffered, void *user) {
    struct connection *c = user;
    struct evbuffer *input = bufferevent_get_input(buffered);
    c->bytes += evbuffer_get_length(input);
    REQUIRE(bufferevent_write_buffer(buffered, input) == 0);
}

static void on_buffered_event(struct bufferevent *buffered, short what, void *user) {
    (void)buffered;
    if ((what & (BEV_EVENT_EOF | BEV_EVENT_ERROR)) != 0) connection_end(user);
}

static void on_connection(struct evconnlistener *listener, evutil_socket_t fd, struct sockaddr *address, int length,
                          void *user) {
    struct echo *echo = user;
    (void)listener;
    (void)address;
    (void)length;
    struct connection *c = malloc(sizeof *c + bench_buffer_size(echo->b));
    REQUIRE(c != NULL);
    *c = (struct connection){.echo = echo, .fd = fd};
    if (echo->b->buffered) {
        c->buffered = bufferevent_socket_new(echo->base, fd, BEV_OPT_CLOSE_ON_FREE);
        REQUIRE(c->buffered != NULL);
        bufferevent_setcb(c->buffered, on_buffered_read, NULL, on_buffered_event, c);
        REQUIRE(bufferevent_enable(c->buffered, EV_READ | EV_WRITE) == 0);
    } else {
        c->reader = event_new(echo->base, fd, EV_READ | EV_PERSIST, on_readable, c);
        c->writer = event_new(echo->base, fd, EV_WRITE, on_writable, c);
        REQUIRE(c->reader != NULL && c->writer != NULL && event_add(c->reader, NULL) == 0);
    }
    if (++echo->accepted == echo->b->connections) evconnlistener_disable(echo->listener);
}

static int run_echo(const struct bench *b) {
    struct client client;
    struct bench_span span;
    struct echo echo = {.b = b};
    client_start(b, &client);
    echo.base = event_base_new(); /* no locking: one thread */
    REQUIRE(echo.base != NULL);
    echo.listener = evconnlistener_new(echo.base, on_connection, &echo, LEV_OPT_CLOSE_ON_FREE | LEV_OPT_CLOSE_ON_EXEC,
                                       0, client.listener);
    REQUIRE(echo.listener != NULL);
    bench_begin(&span);
    REQUIRE(event_base_dispatch(echo.base) >= 0);
    bench_end(&span);
    REQUIRE(echo.ended == b->connections);
    evconnlistener_free(echo.listener);
    event_base_free(echo.base);
    return client_finish(b, &client, echo.bytes, &span);
}

/* ---- post */

struct post {
    const struct bench *b;
    struct queue queue;
    struct event_base *base;
    struct event *event;
    size_t n, count;
    uint64_t sum;
};

static void post_one(struct post *post, void (*handler)(void *, size_t), size_t value) {
    if (queue_push(&post->queue, handler, post, value)) event_active(post->event, EV_READ, 0);
}

static void on_count(void *user, size_t value) {
    struct post *post = user;
    post->sum += value;
    if (++post->count == post->n) event_base_loopbreak(post->base);
}

static void on_batch(void *user, size_t value) {
    struct post *post = user;
    size_t end = bench_batch_end(post->b, value);
    for (size_t i = value; i < end; i++) post_one(post, on_count, i);
    if (end < post->n) post_one(post, on_batch, end);
}

static void on_active(evutil_socket_t fd, short what, void *user) {
    struct post *post = user;
    (void)fd;
    (void)what;
    queue_run(&post->queue);
}

static void on_inside(evutil_socket_t fd, short what, void *user) {
    struct post *post = user;
    (void)fd;
    (void)what;
    post->sum += post->count;
    if (++post->count < post->n) event_active(post->event, EV_READ, 0);
}

static void post_share(void *target, size_t first, size_t last) {
    for (size_t i = first; i < last; i++) post_one(target, on_count, i);
}

static int run_post(const struct bench *b) {
    struct bench_span span;
    static struct bench_posters posters;
    struct post post = {.b = b, .queue.lock = PTHREAD_MUTEX_INITIALIZER, .n = b->n};
    if (b->workload == POST_OUTSIDE) REQUIRE(evthread_use_pthreads() == 0);
    post.base = event_base_new();
    REQUIRE(post.base != NULL);
    post.event = event_new(post.base, -1, EV_PERSIST, b->workload == POST_INSIDE ? on_inside : on_active, &post);
    REQUIRE(post.event != NULL);
    if (b->workload == POST_OUTSIDE) bench_posters_start(&posters, b, post_share, &post);
    bench_begin(&span);
    if (b->workload == POST_OUTSIDE) bench_posters_go(&posters);
    else if (b->workload == POST_BATCH) post_one(&post, on_batch, 0);
    else event_active(post.event, EV_READ, 0);
    int flags = b->workload == POST_INSIDE ? 0 : EVLOOP_NO_EXIT_ON_EMPTY;
    REQUIRE(event_base_loop(post.base, flags) >= 0);
    bench_end(&span);
    if (b->workload == POST_OUTSIDE) bench_posters_join(&posters);
    REQUIRE(post.count == b->n && post.sum == bench_sum(b->n));
    event_free(post.event);
    event_base_free(post.base);
    bench_report(b, b->n, &span);
    queue_free(&post.queue);
    return 0;
}

/* ---- timers */

static size_t fired;

static void on_never(evutil_socket_t fd, short what, void *user) {
    (void)fd;
    (void)what;
    (void)user;
    bench_fail("a timer fired that was deleted");
}

static struct timeval interval(int64_t ns) {
    int64_t us = (ns + 999) / 1000; /* not earlier than asked for */
    return (struct timeval){.tv_sec = us / 1000000, .tv_usec = us % 1000000};
}

static int run_timer_churn(const struct bench *b) {
    struct bench_span span;
    uint64_t state = 1;
    struct event_base *base = event_base_new();
    struct event **timers = malloc(b->n * sizeof *timers);
    REQUIRE(base != NULL && timers != NULL);
    for (size_t i = 0; i < b->n; i++) {
        timers[i] = evtimer_new(base, on_never, NULL);
        REQUIRE(timers[i] != NULL);
    }
    bench_begin(&span);
    for (size_t i = 0; i < b->n; i++) {
        struct timeval after = interval(bench_churn_expiry(&state));
        REQUIRE(evtimer_add(timers[i], &after) == 0);
    }
    for (size_t i = 0; i < b->n; i++) REQUIRE(evtimer_del(timers[i]) == 0);
    REQUIRE(event_base_loop(base, EVLOOP_NONBLOCK) >= 0);
    bench_end(&span);
    for (size_t i = 0; i < b->n; i++) event_free(timers[i]);
    event_base_free(base);
    free(timers);
    bench_report(b, b->n, &span);
    return 0;
}

static int run_timer_one(const struct bench *b) {
    struct bench_span span;
    uint64_t state = 1;
    struct event_base *base = event_base_new();
    REQUIRE(base != NULL);
    struct event *timer = evtimer_new(base, on_never, NULL);
    REQUIRE(timer != NULL);
    bench_begin(&span);
    for (size_t i = 0; i < b->n; i++) {
        struct timeval after = interval(bench_churn_expiry(&state));
        REQUIRE(evtimer_add(timer, &after) == 0 && evtimer_del(timer) == 0);
        if (i % 1024 == 1023) REQUIRE(event_base_loop(base, EVLOOP_NONBLOCK) >= 0);
    }
    REQUIRE(event_base_loop(base, EVLOOP_NONBLOCK) >= 0);
    bench_end(&span);
    event_free(timer);
    event_base_free(base);
    bench_report(b, b->n, &span);
    return 0;
}

static void on_fire(evutil_socket_t fd, short what, void *user) {
    int64_t *late = user; /* holds the expiry until now */
    (void)fd;
    (void)what;
    *late = bench_now() - *late;
    fired++;
}

static int run_timer_fire(const struct bench *b) {
    struct bench_span span;
    uint64_t state = 1;
    struct event_base *base = event_base_new();
    struct event **timers = malloc(b->n * sizeof *timers);
    int64_t *late = malloc(b->n * sizeof *late);
    REQUIRE(base != NULL && timers != NULL && late != NULL);
    for (size_t i = 0; i < b->n; i++) {
        timers[i] = evtimer_new(base, on_fire, &late[i]);
        REQUIRE(timers[i] != NULL);
    }
    bench_begin(&span);
    int64_t base_ns = bench_now();
    for (size_t i = 0; i < b->n; i++) {
        late[i] = base_ns + bench_fire_expiry(&state);
        /* It only takes intervals: this one ends at the wanted time as seen from now. */
        struct timeval after = interval(late[i] - bench_now());
        REQUIRE(evtimer_add(timers[i], &after) == 0);
    }
    REQUIRE(event_base_dispatch(base) >= 0);
    bench_end(&span);
    REQUIRE(fired == b->n);
    for (size_t i = 0; i < b->n; i++) event_free(timers[i]);
    event_base_free(base);
    bench_report_lateness(b, late, b->n, &span);
    free(timers);
    free(late);
    return 0;
}

int main(int argc, char **argv) {
    struct bench b;
    if (!bench_options(&b, "libevent", argc, argv)) return 2;
    if (b.threads != 1) return bench_unsupported(&b); /* a base is run by one thread */
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
