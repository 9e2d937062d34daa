/* libevent: one way through a connection, datagrams, and what goes on inside a loop. */
#include "traffic.h"

#include <event2/event.h>

static struct event_base *new_base(void) {
    struct event_base *base = event_base_new();
    REQUIRE(base != NULL);
    return base;
}

/* ---- sink, source */

struct way {
    const struct bench *b;
    struct event_base *base;
    struct event *event;
    int64_t end;
    uint64_t bytes;
    char *data;
};

static void way_on_ready(evutil_socket_t fd, short what, void *user) {
    struct way *way = user;
    ssize_t moved = 0;
    if ((what & EV_READ) != 0) moved = recv(fd, way->data, way->b->size, 0);
    else if (bench_now() < way->end) moved = send(fd, way->data, way->b->size, MSG_NOSIGNAL);
    if (moved < 0 && errno == EAGAIN) return;
    REQUIRE(moved >= 0);
    way->bytes += (uint64_t)moved;
    if (moved > 0) return;
    event_free(way->event);
    close(fd);
}

static void way_on_acceptable(evutil_socket_t listener, short what, void *user) {
    struct way *way = user;
    (void)what;
    int fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    REQUIRE(fd >= 0);
    event_free(way->event);
    close(listener);
    way->end = bench_now() + (int64_t)(way->b->seconds * 1e9);
    way->event = event_new(way->base, fd, (way->b->workload == SINK ? EV_READ : EV_WRITE) | EV_PERSIST, way_on_ready, way);
    REQUIRE(way->event != NULL && event_add(way->event, NULL) == 0);
}

static int run_way(const struct bench *b) {
    struct client client;
    struct bench_span span;
    struct way way = {.b = b, .data = calloc(1, b->size)};
    client_start(b, &client);
    way.base = new_base();
    way.event = event_new(way.base, client.listener, EV_READ | EV_PERSIST, way_on_acceptable, &way);
    REQUIRE(way.data != NULL && way.event != NULL && event_add(way.event, NULL) == 0);
    bench_begin(&span);
    REQUIRE(event_base_dispatch(way.base) >= 0);
    bench_end(&span);
    event_base_free(way.base);
    free(way.data);
    return client_finish(b, &client, way.bytes, &span);
}

/* ---- udp: it has none, so plain calls on a readiness event */

struct udp {
    struct event *event;
    uint64_t bytes;
    char data[2048];
};

static void udp_on_readable(evutil_socket_t fd, short what, void *user) {
    struct udp *udp = user;
    struct sockaddr_storage address;
    socklen_t length = sizeof address;
    (void)what;
    ssize_t got = recvfrom(fd, udp->data, sizeof udp->data, 0, (struct sockaddr *)&address, &length);
    REQUIRE(got > 0);
    if (got == 1) {
        event_free(udp->event);
        return;
    }
    REQUIRE(sendto(fd, udp->data, (size_t)got, 0, (struct sockaddr *)&address, length) == got);
    udp->bytes += (uint64_t)got;
}

static int run_udp(const struct bench *b) {
    struct client client;
    struct bench_span span;
    struct udp udp = {.bytes = 0};
    if (b->buffered) return bench_unsupported(b);
    client_start(b, &client);
    struct event_base *base = new_base();
    udp.event = event_new(base, client.listener, EV_READ | EV_PERSIST, udp_on_readable, &udp);
    REQUIRE(udp.event != NULL && event_add(udp.event, NULL) == 0);
    bench_begin(&span);
    REQUIRE(event_base_dispatch(base) >= 0);
    bench_end(&span);
    event_base_free(base);
    close(client.listener);
    return client_finish(b, &client, udp.bytes, &span);
}

int run_traffic(const struct bench *b) {
    return b->workload == SINK || b->workload == SOURCE ? run_way(b) : run_udp(b);
}

/* ---- timer_rearm */

static void on_never(evutil_socket_t fd, short what, void *user) {
    (void)fd;
    (void)what;
    (void)user;
    bench_fail("a timer fired that was moved");
}

static int run_rearm(const struct bench *b) {
    struct bench_span span;
    uint64_t state = 1;
    size_t count = (size_t)b->connections;
    struct event_base *base = new_base();
    struct event **timers = malloc(count * sizeof *timers);
    REQUIRE(timers != NULL);
    for (size_t i = 0; i < count; i++) {
        int64_t after = bench_rearm_expiry(&state);
        struct timeval limit = {after / 1000000000, after % 1000000000 / 1000};
        timers[i] = evtimer_new(base, on_never, NULL);
        REQUIRE(timers[i] != NULL && event_add(timers[i], &limit) == 0);
    }
    bench_begin(&span);
    for (size_t i = 0; i < b->n; i++) {
        int64_t after = bench_rearm_expiry(&state);
        struct timeval limit = {after / 1000000000, after % 1000000000 / 1000};
        REQUIRE(event_add(timers[i % count], &limit) == 0);
        if (i % 1024 == 1023) event_base_loop(base, EVLOOP_NONBLOCK);
    }
    bench_end(&span);
    for (size_t i = 0; i < count; i++) event_free(timers[i]);
    event_base_free(base);
    free(timers);
    bench_report(b, b->n, &span);
    return 0;
}

/* ---- ring */

struct spot {
    struct event *event;
    struct ring *ring;
    int index;
};

static void on_readable(evutil_socket_t fd, short what, void *user) {
    struct spot *spot = user;
    (void)fd;
    (void)what;
    if (ring_turn(spot->ring, spot->index)) event_base_loopbreak(event_get_base(spot->event));
}

static int run_ring(const struct bench *b) {
    struct bench_span span;
    struct ring ring;
    ring_open(&ring, b);
    struct event_base *base = new_base();
    struct spot *spots = calloc((size_t)b->connections, sizeof *spots);
    REQUIRE(spots != NULL);
    for (int i = 0; i < b->connections; i++) {
        spots[i].ring = &ring;
        spots[i].index = i;
        spots[i].event = event_new(base, ring.pipes[i][0], EV_READ | EV_PERSIST | (b->edge ? EV_ET : 0), on_readable, &spots[i]);
        REQUIRE(spots[i].event != NULL && event_add(spots[i].event, NULL) == 0);
    }
    bench_begin(&span);
    ring_begin(&ring);
    REQUIRE(event_base_dispatch(base) >= 0);
    bench_end(&span);
    for (int i = 0; i < b->connections; i++) event_free(spots[i].event);
    event_base_free(base);
    free(spots);
    return ring_end(&ring, &span);
}

/* ---- signal */

struct counted {
    const struct bench *b;
    struct event *event;
    size_t count;
};

static void on_signal(evutil_socket_t number, short what, void *user) {
    struct counted *counted = user;
    (void)what;
    REQUIRE(number == SIGUSR1);
    if (++counted->count == counted->b->n) event_free(counted->event);
    else raise(SIGUSR1);
}

static int run_signal(const struct bench *b) {
    struct bench_span span;
    struct counted counted = {.b = b};
    struct event_base *base = new_base();
    counted.event = evsignal_new(base, SIGUSR1, on_signal, &counted);
    REQUIRE(counted.event != NULL && event_add(counted.event, NULL) == 0);
    bench_begin(&span);
    raise(SIGUSR1);
    REQUIRE(event_base_dispatch(base) >= 0);
    bench_end(&span);
    event_base_free(base);
    REQUIRE(counted.count == b->n);
    bench_report(b, b->n, &span);
    return 0;
}

/* ---- idle */

static int run_idle(const struct bench *options) {
    struct bench_span span;
    struct bench all = *options, *b = &all;
    int(*pairs)[2] = idle_pairs(b);
    struct event_base *base = new_base();
    struct event **events = calloc((size_t)b->connections, sizeof *events);
    REQUIRE(events != NULL);
    memset(events, 1, (size_t)b->connections * sizeof *events);
    size_t before = bench_memory();
    bench_begin(&span);
    for (int i = 0; i < b->connections; i++) {
        events[i] = event_new(base, pairs[i][0], EV_READ | EV_PERSIST, on_never, NULL);
        REQUIRE(events[i] != NULL && event_add(events[i], NULL) == 0);
    }
    event_base_loop(base, EVLOOP_NONBLOCK);
    bench_end(&span);
    int result = bench_report_memory(b, before, &span);
    for (int i = 0; i < b->connections; i++) event_free(events[i]);
    event_base_free(base);
    free(events);
    free(pairs);
    return result;
}

/* ---- arrival */

struct endless {
    struct arrival arrival;
    struct event *handler, *readable;
};

static void on_endless(evutil_socket_t fd, short what, void *user) {
    struct endless *e = user;
    (void)fd;
    (void)what;
    if (arrival_handler(&e->arrival)) event_active(e->handler, EV_READ, 0);
}

static void on_arrival(evutil_socket_t fd, short what, void *user) {
    struct endless *e = user;
    (void)fd;
    (void)what;
    if (arrival_read(&e->arrival)) event_del(e->readable);
}

static int run_arrival(const struct bench *b) {
    struct bench_span span;
    struct endless e;
    struct event_base *base = new_base();
    arrival_open(&e.arrival, b);
    e.handler = event_new(base, -1, EV_PERSIST, on_endless, &e);
    e.readable = event_new(base, e.arrival.ends[0], EV_READ | EV_PERSIST, on_arrival, &e);
    REQUIRE(e.handler != NULL && e.readable != NULL && event_add(e.readable, NULL) == 0);
    event_active(e.handler, EV_READ, 0);
    bench_begin(&span);
    arrival_begin(&e.arrival);
    REQUIRE(event_base_loop(base, 0) >= 0);
    bench_end(&span);
    event_free(e.handler);
    event_free(e.readable);
    event_base_free(base);
    return arrival_end(&e.arrival, &span);
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
