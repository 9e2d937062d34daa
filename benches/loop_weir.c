/* libweir: what goes on inside a loop. */
#include "traffic_weir.h"

#include <signal.h>

/* ---- timer_rearm */

static size_t ended;

static void on_ended(int status, void *user) {
    (void)user;
    ended += status == WEIR_ECANCELED;
}

static int run_rearm(const struct bench *b) {
    struct bench_span span;
    uint64_t state = 1;
    size_t count = (size_t)b->connections;
    weir_context *context = make_context(b);
    weir_timer **timers = malloc(count * sizeof *timers);
    REQUIRE(timers != NULL);
    for (size_t i = 0; i < count; i++) {
        CHECK(weir_timer_create(context, &timers[i]));
        CHECK(weir_timer_expires_after(timers[i], bench_rearm_expiry(&state)));
        CHECK(weir_timer_wait(timers[i], on_ended, NULL));
    }
    bench_begin(&span);
    for (size_t i = 0; i < b->n; i++) {
        int64_t now;
        CHECK(weir_context_turn_now(context, &now)); /* the loop's time, as the others take it */
        CHECK(weir_timer_expires_at(timers[i % count], now + bench_rearm_expiry(&state)));
        if (i % 1024 == 1023) CHECK(weir_context_poll(context, NULL));
    }
    bench_end(&span);
    CHECK(weir_context_destroy(context));
    REQUIRE(ended == count);
    free(timers);
    bench_report(b, b->n, &span);
    return 0;
}

/* ---- ring */

struct spot {
    struct ring *ring;
    weir_context *context;
    weir_watch *watch;
    int index;
};

static void on_readable(int status, int events, void *user) {
    struct spot *spot = user;
    (void)events;
    if (status != 0) return;
    if (ring_turn(spot->ring, spot->index)) CHECK(weir_context_stop(spot->context));
}

static int run_ring(const struct bench *b) {
    struct bench_span span;
    struct ring ring;
    ring_open(&ring, b);
    weir_context *context = make_context(b);
    struct spot *spots = malloc((size_t)b->connections * sizeof *spots);
    REQUIRE(spots != NULL);
    for (int i = 0; i < b->connections; i++) {
        spots[i] = (struct spot){.ring = &ring, .context = context, .index = i};
        CHECK(weir_watch_create(context, ring.pipes[i][0], &spots[i].watch));
        CHECK(weir_watch_start(spots[i].watch, WEIR_WATCH_READ, WEIR_WATCH_PERSISTENT | (b->edge ? WEIR_WATCH_EDGE : 0u),
                               WEIR_FOREVER, on_readable, &spots[i]));
    }
    CHECK(weir_context_poll(context, NULL));
    bench_begin(&span);
    ring_begin(&ring);
    CHECK(weir_context_run(context, NULL));
    bench_end(&span);
    CHECK(weir_context_destroy(context));
    free(spots);
    return ring_end(&ring, &span);
}

/* ---- arrival */

struct endless {
    struct arrival arrival;
    weir_context *context;
    weir_watch *watch;
};

static void on_endless(int status, void *user) {
    struct endless *e = user;
    CHECK(status);
    if (arrival_handler(&e->arrival)) CHECK(weir_context_post(e->context, on_endless, e));
}

static void on_arrival(int status, int events, void *user) {
    struct endless *e = user;
    (void)events;
    if (status == 0 && arrival_read(&e->arrival)) CHECK(weir_watch_close(e->watch));
}

static int run_arrival(const struct bench *b) {
    struct bench_span span;
    struct endless e = {.context = make_context(b)};
    arrival_open(&e.arrival, b);
    CHECK(weir_watch_create(e.context, e.arrival.ends[0], &e.watch));
    CHECK(weir_watch_start(e.watch, WEIR_WATCH_READ, WEIR_WATCH_PERSISTENT, WEIR_FOREVER, on_arrival, &e));
    CHECK(weir_context_post(e.context, on_endless, &e));
    bench_begin(&span);
    arrival_begin(&e.arrival);
    CHECK(weir_context_run(e.context, NULL));
    bench_end(&span);
    CHECK(weir_context_destroy(e.context));
    return arrival_end(&e.arrival, &span);
}

/* ---- signal */

struct counted {
    const struct bench *b;
    weir_signals *signals;
    weir_resolver *resolver;
    size_t count;
};

static void on_signal(int status, int signo, void *user) {
    struct counted *counted = user;
    CHECK(status);
    REQUIRE(signo == SIGUSR1);
    if (++counted->count == counted->b->n) return;
    CHECK(weir_signals_wait(counted->signals, on_signal, counted));
    raise(SIGUSR1);
}

static int run_signal(const struct bench *b) {
    struct bench_span span;
    struct counted counted = {.b = b};
    weir_context *context = make_context(b);
    CHECK(weir_signals_create(context, &counted.signals));
    CHECK(weir_signals_add(counted.signals, SIGUSR1, 0));
    CHECK(weir_signals_wait(counted.signals, on_signal, &counted));
    bench_begin(&span);
    raise(SIGUSR1);
    CHECK(weir_context_run(context, NULL));
    bench_end(&span);
    CHECK(weir_context_destroy(context));
    REQUIRE(counted.count == b->n);
    bench_report(b, b->n, &span);
    return 0;
}

/* ---- resolve */

static void on_resolved(int status, weir_addresses *addresses, void *user) {
    struct counted *counted = user;
    CHECK(status);
    REQUIRE(weir_addresses_count(addresses) > 0);
    weir_addresses_free(addresses);
    if (++counted->count < counted->b->n)
        CHECK(weir_resolver_resolve(counted->resolver, "127.0.0.1", "80", NULL, on_resolved, counted));
}

static int run_resolve(const struct bench *b) {
    struct bench_span span;
    struct counted counted = {.b = b};
    weir_context *context = make_context(b);
    CHECK(weir_resolver_create(context, &counted.resolver));
    bench_begin(&span);
    CHECK(weir_resolver_resolve(counted.resolver, "127.0.0.1", "80", NULL, on_resolved, &counted));
    CHECK(weir_context_run(context, NULL));
    bench_end(&span);
    CHECK(weir_context_destroy(context));
    REQUIRE(counted.count == b->n);
    bench_report(b, b->n, &span);
    return 0;
}

/* ---- idle */

static unsigned char buffer[4096];

static void on_idle(int status, size_t bytes, void *user) {
    (void)user;
    (void)bytes;
    REQUIRE(status == WEIR_ECANCELED);
}

static int run_idle(const struct bench *options) {
    struct bench_span span;
    struct bench all = *options, *b = &all;
    int(*pairs)[2] = idle_pairs(b);
    weir_stream **streams = calloc((size_t)b->connections, sizeof *streams);
    REQUIRE(streams != NULL);
    weir_context *context = make_context(b);
    memset(streams, 1, (size_t)b->connections * sizeof *streams);
    CHECK(weir_context_poll(context, NULL));
    CHECK(weir_context_restart(context));
    size_t before = bench_memory();
    bench_begin(&span);
    for (int i = 0; i < b->connections; i++) {
        CHECK(weir_stream_create(context, &streams[i]));
        CHECK(weir_stream_adopt(streams[i], pairs[i][0]));
        CHECK(weir_stream_read_some(streams[i], buffer, sizeof buffer, on_idle, NULL));
    }
    CHECK(weir_context_poll(context, NULL));
    bench_end(&span);
    int result = bench_report_memory(b, before, &span);
    CHECK(weir_context_destroy(context));
    free(streams);
    free(pairs);
    return result;
}

int run_loop(const struct bench *b) {
    switch (b->workload) {
    case TIMER_REARM: return run_rearm(b);
    case RING: return run_ring(b);
    case SIGNAL: return run_signal(b);
    case RESOLVE: return run_resolve(b);
    case IDLE: return run_idle(b);
    case ARRIVAL: return run_arrival(b);
    default: return bench_unsupported(b);
    }
}
