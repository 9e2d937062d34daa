/* libweir: one context, run by one or more threads; with --each a context for each thread. */
#include "traffic_weir.h"

#include <poll.h>
#include <stdatomic.h>

/* Runs `body` in b->threads threads, this one among them. */
static void run_in_threads(const struct bench *b, void *(*body)(void *), void *user) {
    pthread_t others[64];
    for (int i = 1; i < b->threads; i++) REQUIRE(pthread_create(&others[i], NULL, body, user) == 0);
    body(user);
    for (int i = 1; i < b->threads; i++) pthread_join(others[i], NULL);
}

/* ---- echo */

struct echo {
    const struct bench *b;
    weir_context *context;
    weir_acceptor *acceptor; /* not with --each */
    size_t capacity;
    int accepted;
    atomic_int ended;
    atomic_uint_fast64_t bytes;
};

struct connection {
    struct echo *echo;
    weir_stream *stream;
    uint64_t bytes;
    unsigned char data[];
};

static void on_written(int status, size_t bytes, void *user);

static void connection_end(struct connection *c) {
    atomic_fetch_add(&c->echo->bytes, c->bytes);
    atomic_fetch_add(&c->echo->ended, 1);
    CHECK(weir_stream_close(c->stream));
    free(c);
}

static void on_read(int status, size_t bytes, void *user) {
    struct connection *c = user;
    if (status == 0) status = weir_stream_write(c->stream, c->data, bytes, on_written, c);
    if (status != 0) connection_end(c);
}

static void on_written(int status, size_t bytes, void *user) {
    struct connection *c = user;
    c->bytes += bytes;
    if (status == 0) status = weir_stream_read_some(c->stream, c->data, c->echo->capacity, on_read, c);
    if (status != 0) connection_end(c);
}

static void connection_begin(struct echo *echo, weir_stream *peer) {
    struct connection *c = malloc(sizeof *c + echo->capacity);
    REQUIRE(c != NULL);
    *c = (struct connection){.echo = echo, .stream = peer};
    int status = weir_stream_read_some(peer, c->data, echo->capacity, on_read, c);
    if (status != 0) connection_end(c);
}

static void on_accept(int status, weir_stream *peer, const struct sockaddr *address, socklen_t length, void *user) {
    struct echo *echo = user;
    (void)address;
    (void)length;
    if (status == WEIR_ECANCELED) return; /* all connections are there */
    CHECK(status);
    if (++echo->accepted == echo->b->connections) CHECK(weir_acceptor_close(echo->acceptor));
    connection_begin(echo, peer);
}

static void *echo_thread(void *user) {
    struct echo *echo = user;
    CHECK(weir_context_run(echo->context, NULL));
    return NULL;
}

static int run_echo(const struct bench *b) {
    struct client client;
    struct bench_span span;
    struct echo echo = {.b = b, .capacity = bench_buffer_size(b)};
    client_start(b, &client);
    echo.context = make_context(b);
    CHECK(weir_acceptor_create(echo.context, &echo.acceptor));
    CHECK(weir_acceptor_adopt(echo.acceptor, client.listener));
    CHECK(weir_acceptor_accept_each(echo.acceptor, on_accept, &echo));
    bench_begin(&span);
    run_in_threads(b, echo_thread, &echo);
    bench_end(&span);
    REQUIRE(atomic_load(&echo.ended) == b->connections);
    CHECK(weir_context_destroy(echo.context));
    return client_finish(b, &client, atomic_load(&echo.bytes), &span);
}

/* --each: the connections are dealt out before the threads start; which context accepts one is not what is measured. */
static int run_echo_each(const struct bench *b) {
    struct client client;
    struct bench_span span;
    static struct echo all[64];
    pthread_t others[64];
    uint64_t bytes = 0;
    int ended = 0;
    client_start(b, &client);
    for (int t = 0; t < b->threads; t++) {
        all[t].b = b;
        all[t].capacity = bench_buffer_size(b);
        all[t].context = make_context(b);
    }
    bench_begin(&span);
    for (int i = 0; i < b->connections; i++) {
        struct pollfd ready = {.fd = client.listener, .events = POLLIN};
        weir_stream *peer;
        REQUIRE(poll(&ready, 1, -1) == 1);
        CHECK(weir_stream_create(all[i % b->threads].context, &peer));
        CHECK(weir_stream_adopt(peer, accept4(client.listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK)));
        connection_begin(&all[i % b->threads], peer);
    }
    for (int t = 1; t < b->threads; t++) REQUIRE(pthread_create(&others[t], NULL, echo_thread, &all[t]) == 0);
    echo_thread(&all[0]);
    for (int t = 1; t < b->threads; t++) pthread_join(others[t], NULL);
    bench_end(&span);
    close(client.listener);
    for (int t = 0; t < b->threads; t++) {
        bytes += atomic_load(&all[t].bytes);
        ended += atomic_load(&all[t].ended);
        CHECK(weir_context_destroy(all[t].context));
    }
    REQUIRE(ended == b->connections);
    return client_finish(b, &client, bytes, &span);
}

/* ---- post */

static struct post {
    const struct bench *b;
    weir_context *context; /* the first of `all` */
    weir_context *all[64];
    size_t n;
    pthread_mutex_t lock;
    size_t count;
    uint64_t sum;
} post = {.lock = PTHREAD_MUTEX_INITIALIZER};

/* What a thread has seen; added up when it leaves, so that handlers share nothing. */
static _Thread_local size_t seen_count;
static _Thread_local uint64_t seen_sum;

static void on_count(int status, void *user) {
    if (status != 0) return; /* then the count is wrong at the end */
    seen_count++;
    seen_sum += (uintptr_t)user;
}

static void on_inside(int status, void *user) {
    uintptr_t value = (uintptr_t)user;
    on_count(status, user);
    if (value + 1 < post.n) CHECK(weir_context_post(post.context, on_inside, (void *)(value + 1)));
}

static void on_batch(int status, void *user) {
    uintptr_t first = (uintptr_t)user, end = bench_batch_end(post.b, first);
    CHECK(status);
    for (uintptr_t i = first; i < end; i++) CHECK(weir_context_post(post.context, on_count, (void *)i));
    if (end < post.n) CHECK(weir_context_post(post.context, on_batch, (void *)end));
}

static void post_share(void *target, size_t first, size_t last) {
    weir_context *context = target;
    for (uintptr_t i = first; i < last; i++) CHECK(weir_context_post(context, on_count, (void *)i));
    CHECK(weir_context_work_end(context)); /* begun for each poster: run goes on until all have ended */
}

/* --each: to one context after another. */
static void post_share_each(void *target, size_t first, size_t last) {
    weir_context **all = target;
    size_t count = (size_t)post.b->threads;
    for (uintptr_t i = first; i < last; i++) CHECK(weir_context_post(all[i % count], on_count, (void *)i));
    for (size_t t = 0; t < count; t++) CHECK(weir_context_work_end(all[t]));
}

static void *post_thread(void *user) {
    CHECK(weir_context_run(user, NULL));
    pthread_mutex_lock(&post.lock);
    post.count += seen_count;
    post.sum += seen_sum;
    pthread_mutex_unlock(&post.lock);
    return NULL;
}

static int run_post(const struct bench *b) {
    struct bench_span span;
    static struct bench_posters posters;
    bool outside = b->workload == POST_OUTSIDE || b->workload == POST_OUTSIDE2;
    pthread_t others[64];
    int contexts = b->each ? b->threads : 1;
    for (int i = 0; i < contexts; i++) post.all[i] = make_context(b);
    post.context = post.all[0];
    post.b = b;
    post.n = b->n;
    if (outside) {
        for (int i = 0; i < b->producers; i++)
            for (int t = 0; t < contexts; t++) CHECK(weir_context_work_begin(post.all[t]));
        if (b->each) bench_posters_start(&posters, b, post_share_each, post.all);
        else bench_posters_start(&posters, b, post_share, post.context);
        for (int i = 1; i < b->threads; i++)
            REQUIRE(pthread_create(&others[i], NULL, post_thread, post.all[b->each ? i : 0]) == 0);
    }
    bench_begin(&span);
    if (outside) bench_posters_go(&posters);
    else CHECK(weir_context_post(post.context, b->workload == POST_INSIDE ? on_inside : on_batch, NULL));
    post_thread(post.context);
    for (int i = 1; outside && i < b->threads; i++) pthread_join(others[i], NULL);
    bench_end(&span);
    if (outside) bench_posters_join(&posters);
    REQUIRE(post.count == b->n && post.sum == bench_sum(b->n));
    for (int i = 0; i < contexts; i++) CHECK(weir_context_destroy(post.all[i]));
    bench_report(b, b->n, &span);
    return 0;
}

/* ---- timers */

static size_t cancelled, fired;

static void on_cancelled(int status, void *user) {
    (void)user;
    cancelled += status == WEIR_ECANCELED;
}

static weir_timer **make_timers(weir_context *context, size_t n) {
    weir_timer **timers = malloc(n * sizeof *timers);
    REQUIRE(timers != NULL);
    for (size_t i = 0; i < n; i++) CHECK(weir_timer_create(context, &timers[i]));
    return timers;
}

static void free_timers(weir_timer **timers, size_t n) {
    for (size_t i = 0; i < n; i++) CHECK(weir_timer_close(timers[i]));
    free(timers);
}

static int run_timer_churn(const struct bench *b) {
    struct bench_span span;
    uint64_t state = 1;
    weir_context *context = make_context(b);
    weir_timer **timers = make_timers(context, b->n);
    bench_begin(&span);
    for (size_t i = 0; i < b->n; i++) {
        int64_t now;
        CHECK(weir_context_turn_now(context, &now)); /* the loop's time, as the others take it */
        CHECK(weir_timer_expires_at(timers[i], now + bench_churn_expiry(&state)));
        CHECK(weir_timer_wait(timers[i], on_cancelled, NULL));
    }
    for (size_t i = 0; i < b->n; i++) {
        size_t count = 0;
        CHECK(weir_timer_cancel(timers[i], &count));
        REQUIRE(count == 1);
    }
    CHECK(weir_context_poll(context, NULL));
    bench_end(&span);
    REQUIRE(cancelled == b->n);
    free_timers(timers, b->n);
    CHECK(weir_context_destroy(context));
    bench_report(b, b->n, &span);
    return 0;
}

static int run_timer_one(const struct bench *b) {
    struct bench_span span;
    uint64_t state = 1;
    weir_context *context = make_context(b);
    weir_timer **timers = make_timers(context, 1);
    CHECK(weir_context_work_begin(context)); /* poll would stop an idle context */
    bench_begin(&span);
    for (size_t i = 0; i < b->n; i++) {
        size_t count = 0;
        int64_t now;
        CHECK(weir_context_turn_now(context, &now));
        CHECK(weir_timer_expires_at(timers[0], now + bench_churn_expiry(&state)));
        CHECK(weir_timer_wait(timers[0], on_cancelled, NULL));
        CHECK(weir_timer_cancel(timers[0], &count));
        REQUIRE(count == 1);
        if (i % 1024 == 1023) CHECK(weir_context_poll(context, NULL));
    }
    CHECK(weir_context_poll(context, NULL));
    bench_end(&span);
    REQUIRE(cancelled == b->n);
    CHECK(weir_context_work_end(context));
    free_timers(timers, 1);
    CHECK(weir_context_destroy(context));
    bench_report(b, b->n, &span);
    return 0;
}

static void on_fire(int status, void *user) {
    int64_t *late = user; /* holds the expiry until now */
    *late = bench_now() - *late;
    fired += status == 0;
}

static int run_timer_fire(const struct bench *b) {
    struct bench_span span;
    uint64_t state = 1;
    weir_context *context = make_context(b);
    weir_timer **timers = make_timers(context, b->n);
    int64_t *late = malloc(b->n * sizeof *late);
    REQUIRE(late != NULL);
    bench_begin(&span);
    int64_t base = bench_now(); /* the context's clock */
    for (size_t i = 0; i < b->n; i++) {
        late[i] = base + bench_fire_expiry(&state);
        CHECK(weir_timer_expires_at(timers[i], late[i]));
        CHECK(weir_timer_wait(timers[i], on_fire, &late[i]));
    }
    CHECK(weir_context_run(context, NULL));
    bench_end(&span);
    REQUIRE(fired == b->n);
    uint64_t early = bench_report_lateness(b, late, b->n, &span);
    free_timers(timers, b->n);
    CHECK(weir_context_destroy(context));
    free(late);
    if (early > 0) bench_fail("%llu timers fired early", (unsigned long long)early); /* it promises: never */
    return 0;
}

int main(int argc, char **argv) {
    struct bench b;
    if (!bench_options(&b, "libweir", argc, argv)) return 2;
    bool several = b.workload == PINGPONG || b.workload == ECHO100 || b.workload == POST_OUTSIDE2;
    if (b.threads != 1 && !several) return bench_unsupported(&b);
    if (b.each && b.workload != ECHO100 && b.workload != POST_OUTSIDE2) return bench_unsupported(&b);
    switch (b.workload) {
    case PINGPONG:
    case ECHO100:
    case CHURN: return b.each ? run_echo_each(&b) : run_echo(&b);
    case SINK:
    case SOURCE:
    case UDP:
    case UDP_BURST: return run_traffic(&b);
    case POST_INSIDE:
    case POST_BATCH:
    case POST_OUTSIDE:
    case POST_OUTSIDE2: return run_post(&b);
    case TIMER_CHURN: return run_timer_churn(&b);
    case TIMER_ONE: return run_timer_one(&b);
    case TIMER_FIRE: return run_timer_fire(&b);
    default: return run_loop(&b);
    }
}
