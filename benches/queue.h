/* The queue that a program puts beside a loop without a thread-safe post: a locked array, swapped whole. */
#ifndef BENCH_QUEUE_H
#define BENCH_QUEUE_H

#include "bench.h"

struct queue_item {
    void (*handler)(void *user, size_t value);
    void *user;
    size_t value;
};

struct queue_array {
    struct queue_item *items;
    size_t count, capacity;
};

struct queue {
    pthread_mutex_t lock;
    struct queue_array incoming; /* guarded by lock */
    struct queue_array running;  /* the loop's own */
};

/* True when the queue was empty: the loop has to be woken. */
static inline bool queue_push(struct queue *q, void (*handler)(void *, size_t), void *user, size_t value) {
    pthread_mutex_lock(&q->lock);
    struct queue_array *in = &q->incoming;
    if (in->count == in->capacity) {
        in->capacity = in->capacity == 0 ? 1024 : in->capacity * 2;
        in->items = (struct queue_item *)realloc(in->items, in->capacity * sizeof *in->items);
        REQUIRE(in->items != NULL);
    }
    struct queue_item *item = &in->items[in->count];
    item->handler = handler;
    item->user = user;
    item->value = value;
    bool first = in->count++ == 0;
    pthread_mutex_unlock(&q->lock);
    return first;
}

/* Runs what was queued when it was called; what the handlers add comes at the next call. */
static inline size_t queue_run(struct queue *q) {
    pthread_mutex_lock(&q->lock);
    struct queue_array taken = q->incoming;
    q->incoming = q->running;
    q->incoming.count = 0;
    q->running = taken;
    pthread_mutex_unlock(&q->lock);
    for (size_t i = 0; i < taken.count; i++) taken.items[i].handler(taken.items[i].user, taken.items[i].value);
    return taken.count;
}

static inline void queue_free(struct queue *q) {
    free(q->incoming.items);
    free(q->running.items);
}

#endif
