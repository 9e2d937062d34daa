/* What each system brings in files of its own: connections one way and datagrams; and what goes on inside a loop. */
#ifndef TRAFFIC_H
#define TRAFFIC_H

#include "client.h"

#ifdef __cplusplus
extern "C" {
#endif
/* Each system's own. */
int run_traffic(const struct bench *b);
int run_loop(const struct bench *b);
#ifdef __cplusplus
}
#endif

/* A time limit for each connection, from 60 to 61 s from now, in ns. */
static inline int64_t bench_rearm_expiry(uint64_t *state) {
    return INT64_C(60000000000) + (int64_t)(bench_random(state) % UINT64_C(1000000000));
}

/* ring: pipes, and the bytes that go round. */
struct ring {
    const struct bench *b;
    int (*pipes)[2];
    size_t written, read;
};

static inline void ring_open(struct ring *ring, const struct bench *b) {
    ring->b = b;
    ring->written = ring->read = 0;
    ring->pipes = (int(*)[2])malloc((size_t)b->connections * sizeof *ring->pipes);
    REQUIRE(ring->pipes != NULL);
    for (int i = 0; i < b->connections; i++) REQUIRE(pipe2(ring->pipes[i], O_CLOEXEC | O_NONBLOCK) == 0);
}

static inline void ring_write(struct ring *ring, int i) {
    REQUIRE(write(ring->pipes[i][1], "x", 1) == 1);
    ring->written++;
}

/* `active` bytes, evenly spread. */
static inline void ring_begin(struct ring *ring) {
    for (int i = 0; i < ring->b->active; i++) ring_write(ring, i * (ring->b->connections / ring->b->active));
}

/* Pipe i is readable; true when it was the last. */
static inline bool ring_turn(struct ring *ring, int i) {
    char byte;
    REQUIRE(read(ring->pipes[i][0], &byte, 1) == 1);
    ring->read++;
    if (ring->written < ring->b->n) ring_write(ring, (i + 1) % ring->b->connections);
    return ring->read == ring->written;
}

static inline int ring_end(struct ring *ring, const struct bench_span *span) {
    for (int i = 0; i < ring->b->connections; i++) {
        close(ring->pipes[i][0]);
        close(ring->pipes[i][1]);
    }
    free(ring->pipes);
    REQUIRE(ring->read >= ring->b->n);
    bench_report(ring->b, ring->read, span);
    return 0;
}

/* arrival: another thread writes a number now and then, the time it was; meanwhile handlers post themselves without end. What
 * does not serve I/O then is ended after a second. */
struct arrival {
    const struct bench *b;
    int ends[2];
    pthread_t writer;
    size_t seen, handlers;
    int64_t *late, limit;
};

static inline void arrival_open(struct arrival *a, const struct bench *b) {
    memset(a, 0, sizeof *a);
    a->b = b;
    a->late = (int64_t *)malloc(b->n * sizeof *a->late);
    REQUIRE(a->late != NULL && pipe2(a->ends, O_CLOEXEC | O_NONBLOCK) == 0);
}

static inline void *arrival_writer(void *user) {
    struct arrival *a = (struct arrival *)user;
    for (size_t i = 0; i < a->b->n; i++) {
        usleep(1000);
        int64_t now = bench_now();
        REQUIRE(write(a->ends[1], &now, sizeof now) == (ssize_t)sizeof now);
    }
    return NULL;
}

static inline void arrival_begin(struct arrival *a) {
    a->limit = bench_now() + INT64_C(1000000000);
    REQUIRE(pthread_create(&a->writer, NULL, arrival_writer, a) == 0);
}

/* A handler; true: it posts itself again. */
static inline bool arrival_handler(struct arrival *a) {
    a->handlers++;
    return a->seen < a->b->n && (a->handlers % 1024 != 0 || bench_now() < a->limit);
}

/* The pipe is readable; true when that was all. */
static inline bool arrival_read(struct arrival *a) {
    int64_t sent[64], now = bench_now();
    ssize_t got = read(a->ends[0], sent, sizeof sent);
    REQUIRE(got > 0 && got % (ssize_t)sizeof *sent == 0);
    for (size_t i = 0; i < (size_t)got / sizeof *sent; i++) a->late[a->seen++] = now - sent[i];
    return a->seen == a->b->n;
}

static inline int arrival_end(struct arrival *a, const struct bench_span *span) {
    char more[128];
    size_t n = a->b->n;
    pthread_join(a->writer, NULL);
    REQUIRE(a->seen == n && a->handlers > 0);
    qsort(a->late, n, sizeof *a->late, bench_compare);
    snprintf(more, sizeof more, ",\"late_p50_us\":%.1f,\"late_p99_us\":%.1f,\"late_max_us\":%.1f",
             (double)a->late[n / 2] / 1e3, (double)a->late[n * 99 / 100] / 1e3, (double)a->late[n - 1] / 1e3);
    bench_print(a->b, a->handlers, bench_seconds(span), span->end_cpu - span->begin_cpu, more);
    close(a->ends[0]);
    close(a->ends[1]);
    free(a->late);
    return 0;
}

/* idle: connected pairs, as many as the limit of fds allows. */
static inline int (*idle_pairs(struct bench *b))[2] {
    int(*pairs)[2] = (int(*)[2])malloc((size_t)b->connections * sizeof *pairs);
    struct rlimit fds;
    REQUIRE(pairs != NULL && getrlimit(RLIMIT_NOFILE, &fds) == 0);
    rlim_t wanted = (rlim_t)b->connections * 2 + 100;
    if (fds.rlim_cur < wanted) { /* not everybody may raise the hard limit */
        struct rlimit more = {wanted, fds.rlim_max < wanted ? wanted : fds.rlim_max};
        if (setrlimit(RLIMIT_NOFILE, &more) != 0) {
            fds.rlim_cur = fds.rlim_max;
            REQUIRE(setrlimit(RLIMIT_NOFILE, &fds) == 0);
        }
    }
    for (int i = 0; i < b->connections; i++) {
        if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pairs[i]) == 0) continue;
        REQUIRE(errno == EMFILE && i > 100);
        for (int spare = 0; spare < 20; spare++) { /* fds that the system itself needs */
            i--;
            close(pairs[i][0]);
            close(pairs[i][1]);
        }
        b->connections = i;
    }
    return pairs;
}

#endif
