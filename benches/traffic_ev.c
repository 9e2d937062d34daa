/* libev: one way through a connection, datagrams, and what goes on inside a loop. */
#include "traffic.h"

#include <ev.h>

/* ---- sink, source */

struct way {
    const struct bench *b;
    ev_io io;
    int64_t end;
    uint64_t bytes;
    char *data;
};

static void way_on_ready(struct ev_loop *loop, ev_io *io, int events) {
    struct way *way = io->data;
    ssize_t moved = 0;
    if ((events & EV_READ) != 0) moved = recv(io->fd, way->data, way->b->size, 0);
    else if (bench_now() < way->end) moved = send(io->fd, way->data, way->b->size, MSG_NOSIGNAL);
    if (moved < 0 && errno == EAGAIN) return;
    REQUIRE(moved >= 0);
    way->bytes += (uint64_t)moved;
    if (moved > 0) return;
    ev_io_stop(loop, io);
    close(io->fd);
}

static void way_on_acceptable(struct ev_loop *loop, ev_io *io, int events) {
    struct way *way = io->data;
    int fd = accept4(io->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    (void)events;
    REQUIRE(fd >= 0);
    ev_io_stop(loop, io);
    close(io->fd);
    way->end = bench_now() + (int64_t)(way->b->seconds * 1e9);
    ev_io_init(io, way_on_ready, fd, way->b->workload == SINK ? EV_READ : EV_WRITE);
    ev_io_start(loop, io);
}

static int run_way(const struct bench *b) {
    struct client client;
    struct bench_span span;
    struct way way = {.b = b, .data = calloc(1, b->size)};
    REQUIRE(way.data != NULL);
    client_start(b, &client);
    struct ev_loop *loop = ev_loop_new(EVBACKEND_EPOLL);
    REQUIRE(loop != NULL);
    ev_io_init(&way.io, way_on_acceptable, client.listener, EV_READ);
    way.io.data = &way;
    ev_io_start(loop, &way.io);
    bench_begin(&span);
    ev_run(loop, 0);
    bench_end(&span);
    ev_loop_destroy(loop);
    free(way.data);
    return client_finish(b, &client, way.bytes, &span);
}

/* ---- udp: it has none, so plain calls on a readiness watcher */

struct udp {
    ev_io io;
    uint64_t bytes;
    char data[2048];
};

static void udp_on_readable(struct ev_loop *loop, ev_io *io, int events) {
    struct udp *udp = io->data;
    struct sockaddr_storage address;
    socklen_t length = sizeof address;
    (void)events;
    ssize_t got = recvfrom(io->fd, udp->data, sizeof udp->data, 0, (struct sockaddr *)&address, &length);
    REQUIRE(got > 0);
    if (got == 1) {
        ev_io_stop(loop, io);
        return;
    }
    REQUIRE(sendto(io->fd, udp->data, (size_t)got, 0, (struct sockaddr *)&address, length) == got);
    udp->bytes += (uint64_t)got;
}

static int run_udp(const struct bench *b) {
    struct client client;
    struct bench_span span;
    struct udp udp = {.bytes = 0};
    if (b->buffered) return bench_unsupported(b);
    client_start(b, &client);
    struct ev_loop *loop = ev_loop_new(EVBACKEND_EPOLL);
    REQUIRE(loop != NULL);
    ev_io_init(&udp.io, udp_on_readable, client.listener, EV_READ);
    udp.io.data = &udp;
    ev_io_start(loop, &udp.io);
    bench_begin(&span);
    ev_run(loop, 0);
    bench_end(&span);
    ev_loop_destroy(loop);
    close(client.listener);
    return client_finish(b, &client, udp.bytes, &span);
}

int run_traffic(const struct bench *b) {
    return b->workload == SINK || b->workload == SOURCE ? run_way(b) : run_udp(b);
}

/* ---- timer_rearm */

static void on_never(struct ev_loop *loop, ev_timer *timer, int events) {
    (void)loop;
    (void)timer;
    (void)events;
    bench_fail("a timer fired that was moved");
}

static int run_rearm(const struct bench *b) {
    struct bench_span span;
    uint64_t state = 1;
    size_t count = (size_t)b->connections;
    struct ev_loop *loop = ev_loop_new(EVBACKEND_EPOLL);
    ev_timer *timers = malloc(count * sizeof *timers);
    REQUIRE(timers != NULL && loop != NULL);
    for (size_t i = 0; i < count; i++) {
        ev_timer_init(&timers[i], on_never, 0, (double)bench_rearm_expiry(&state) / 1e9);
        ev_timer_again(loop, &timers[i]);
    }
    bench_begin(&span);
    for (size_t i = 0; i < b->n; i++) {
        timers[i % count].repeat = (double)bench_rearm_expiry(&state) / 1e9;
        ev_timer_again(loop, &timers[i % count]);
        if (i % 1024 == 1023) ev_run(loop, EVRUN_NOWAIT);
    }
    bench_end(&span);
    ev_loop_destroy(loop);
    free(timers);
    bench_report(b, b->n, &span);
    return 0;
}

/* ---- ring */

struct spot {
    ev_io io;
    struct ring *ring;
    int index;
};

static void on_readable(struct ev_loop *loop, ev_io *io, int events) {
    struct spot *spot = io->data;
    (void)events;
    if (ring_turn(spot->ring, spot->index)) ev_break(loop, EVBREAK_ALL);
}

static int run_ring(const struct bench *b) {
    struct bench_span span;
    struct ring ring;
    if (b->edge) return bench_unsupported(b);
    ring_open(&ring, b);
    struct ev_loop *loop = ev_loop_new(EVBACKEND_EPOLL);
    struct spot *spots = calloc((size_t)b->connections, sizeof *spots);
    REQUIRE(spots != NULL && loop != NULL);
    for (int i = 0; i < b->connections; i++) {
        spots[i].ring = &ring;
        spots[i].index = i;
        ev_io_init(&spots[i].io, on_readable, ring.pipes[i][0], EV_READ);
        spots[i].io.data = &spots[i];
        ev_io_start(loop, &spots[i].io);
    }
    ev_run(loop, EVRUN_NOWAIT);
    bench_begin(&span);
    ring_begin(&ring);
    ev_run(loop, 0);
    bench_end(&span);
    ev_loop_destroy(loop);
    free(spots);
    return ring_end(&ring, &span);
}

/* ---- signal */

struct counted {
    const struct bench *b;
    size_t count;
};

static void on_signal(struct ev_loop *loop, ev_signal *signal, int events) {
    struct counted *counted = signal->data;
    (void)events;
    if (++counted->count == counted->b->n) ev_signal_stop(loop, signal);
    else raise(SIGUSR1);
}

static int run_signal(const struct bench *b) {
    struct bench_span span;
    struct counted counted = {.b = b};
    ev_signal signal;
    struct ev_loop *loop = ev_default_loop(EVBACKEND_EPOLL);
    REQUIRE(loop != NULL);
    ev_signal_init(&signal, on_signal, SIGUSR1);
    signal.data = &counted;
    ev_signal_start(loop, &signal);
    bench_begin(&span);
    raise(SIGUSR1);
    ev_run(loop, 0);
    bench_end(&span);
    ev_loop_destroy(loop);
    REQUIRE(counted.count == b->n);
    bench_report(b, b->n, &span);
    return 0;
}

/* ---- idle */

static void on_unexpected(struct ev_loop *loop, ev_io *io, int events) {
    (void)loop;
    (void)io;
    (void)events;
    bench_fail("nothing was sent");
}

static int run_idle(const struct bench *options) {
    struct bench_span span;
    struct bench all = *options, *b = &all;
    int(*pairs)[2] = idle_pairs(b);
    struct ev_loop *loop = ev_loop_new(EVBACKEND_EPOLL);
    REQUIRE(loop != NULL);
    size_t before = bench_memory();
    bench_begin(&span);
    ev_io *ios = malloc((size_t)b->connections * sizeof *ios);
    REQUIRE(ios != NULL);
    for (int i = 0; i < b->connections; i++) {
        ev_io_init(&ios[i], on_unexpected, pairs[i][0], EV_READ);
        ev_io_start(loop, &ios[i]);
    }
    ev_run(loop, EVRUN_NOWAIT);
    bench_end(&span);
    int result = bench_report_memory(b, before, &span);
    ev_loop_destroy(loop);
    free(ios);
    free(pairs);
    return result;
}

/* ---- arrival */

static void on_endless(struct ev_loop *loop, ev_watcher *handler, int events) {
    (void)events;
    if (arrival_handler(handler->data)) ev_feed_event(loop, handler, EV_CUSTOM);
}

static void on_arrival(struct ev_loop *loop, ev_io *io, int events) {
    (void)events;
    if (arrival_read(io->data)) ev_io_stop(loop, io);
}

static int run_arrival(const struct bench *b) {
    struct bench_span span;
    struct arrival a;
    ev_watcher handler;
    ev_io io;
    struct ev_loop *loop = ev_loop_new(EVBACKEND_EPOLL);
    REQUIRE(loop != NULL);
    arrival_open(&a, b);
    ev_init(&handler, on_endless);
    ev_io_init(&io, on_arrival, a.ends[0], EV_READ);
    handler.data = io.data = &a;
    ev_io_start(loop, &io);
    ev_feed_event(loop, &handler, EV_CUSTOM);
    bench_begin(&span);
    arrival_begin(&a);
    ev_run(loop, 0);
    bench_end(&span);
    ev_loop_destroy(loop);
    return arrival_end(&a, &span);
}

int run_loop(const struct bench *b) {
    switch (b->workload) {
    case TIMER_REARM: return run_rearm(b);
    case RING: return run_ring(b);
    case SIGNAL: return run_signal(b);
    case IDLE: return run_idle(b);
    case ARRIVAL: return run_arrival(b);
    default: return bench_unsupported(b);
    }
}
