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

/* idle: connected pairs, as many as the limit of fds allows. */
static inline int (*idle_pairs(struct bench *b))[2] {
    int(*pairs)[2] = (int(*)[2])malloc((size_t)b->connections * sizeof *pairs);
    REQUIRE(pairs != NULL);
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
