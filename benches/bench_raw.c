/*
 * A hand-written single-threaded epoll loop: what a program could reach at best.
 *
 * Level-triggered: one epoll_wait, one recv and one send for each message. With --edge it is edge-triggered; a short
 * recv says that the socket is empty, so that the calls are the same.
 */
#include "traffic.h"
#include "queue.h"

#include <sys/eventfd.h>

enum { EVENTS = 128 };

/* ---- echo */

struct connection {
    int fd;
    uint64_t bytes;
    size_t held, sent; /* of the message that is being sent */
    bool parked;       /* waits until it can send more */
    unsigned char data[];
};

struct echo {
    const struct bench *b;
    int set;
    int listener;
    int accepted, ended;
    uint64_t bytes;
};

static void echo_interest(struct echo *echo, struct connection *c, int operation, bool writing) {
    struct epoll_event event = {.events = (writing ? EPOLLOUT : EPOLLIN) | (echo->b->edge ? EPOLLET : 0u),
                                .data.ptr = c};
    REQUIRE(epoll_ctl(echo->set, operation, c->fd, &event) == 0);
}

static void echo_accept(struct echo *echo) {
    size_t capacity = bench_buffer_size(echo->b);
    for (;;) {
        int fd = accept4(echo->listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd < 0) {
            REQUIRE(errno == EAGAIN);
            return;
        }
        struct connection *c = malloc(sizeof *c + capacity);
        REQUIRE(c != NULL);
        *c = (struct connection){.fd = fd};
        echo_interest(echo, c, EPOLL_CTL_ADD, false);
        echo->accepted++;
    }
}

static void echo_end(struct echo *echo, struct connection *c) {
    echo->bytes += c->bytes;
    echo->ended++;
    close(c->fd);
    free(c);
}

/* Returns false when the connection has ended. */
static bool echo_send(struct echo *echo, struct connection *c) {
    while (c->sent < c->held) {
        ssize_t sent = send(c->fd, c->data + c->sent, c->held - c->sent, MSG_NOSIGNAL);
        if (sent < 0 && errno == EAGAIN) {
            if (!c->parked) echo_interest(echo, c, EPOLL_CTL_MOD, true);
            c->parked = true;
            return true;
        }
        if (sent < 0) {
            echo_end(echo, c);
            return false;
        }
        c->bytes += (uint64_t)sent;
        c->sent += (size_t)sent;
    }
    c->held = 0;
    c->sent = 0;
    if (c->parked) echo_interest(echo, c, EPOLL_CTL_MOD, false);
    c->parked = false;
    return true;
}

static void echo_ready(struct echo *echo, struct connection *c) {
    size_t capacity = bench_buffer_size(echo->b);
    if (c->held > 0 && !echo_send(echo, c)) return;
    while (c->held == 0) {
        ssize_t got = recv(c->fd, c->data, capacity, 0);
        if (got < 0 && errno == EAGAIN) return;
        if (got <= 0) {
            echo_end(echo, c);
            return;
        }
        c->held = (size_t)got;
        if (!echo_send(echo, c)) return;
        if (!echo->b->edge || (size_t)got < capacity) return;
    }
}

static int run_echo(const struct bench *b) {
    struct client client;
    struct bench_span span;
    struct epoll_event events[EVENTS];
    client_start(b, &client);
    struct echo echo = {.b = b, .set = epoll_create1(EPOLL_CLOEXEC), .listener = client.listener};
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = NULL};
    REQUIRE(echo.set >= 0 && epoll_ctl(echo.set, EPOLL_CTL_ADD, echo.listener, &event) == 0);

    bench_begin(&span);
    while (echo.ended < b->connections) {
        int count = epoll_wait(echo.set, events, EVENTS, -1);
        REQUIRE(count >= 0 || errno == EINTR);
        for (int i = 0; i < count; i++) {
            if (events[i].data.ptr == NULL) echo_accept(&echo);
            else echo_ready(&echo, events[i].data.ptr);
        }
    }
    bench_end(&span);
    close(echo.listener);
    close(echo.set);
    return client_finish(b, &client, echo.bytes, &span);
}

/* ---- post: the locked queue and an eventfd, written when the queue was empty */

struct loop {
    const struct bench *b;
    struct queue queue;
    int set, wakeup;
    size_t n, count;
    uint64_t sum;
    bool inside;
};

static void loop_post(struct loop *loop, void (*handler)(void *, size_t), size_t value) {
    uint64_t one = 1;
    bool first = queue_push(&loop->queue, handler, loop, value);
    if (first && !loop->inside) REQUIRE(write(loop->wakeup, &one, sizeof one) == (ssize_t)sizeof one);
}

static void loop_run(struct loop *loop) {
    struct epoll_event events[EVENTS];
    bool more = true; /* handlers may have posted: look at the kernel, do not sleep */
    while (loop->count < loop->n) {
        int count = epoll_wait(loop->set, events, EVENTS, more ? 0 : -1);
        REQUIRE(count >= 0 || errno == EINTR);
        uint64_t drain;
        if (count > 0) REQUIRE(read(loop->wakeup, &drain, sizeof drain) == (ssize_t)sizeof drain);
        more = queue_run(&loop->queue) > 0;
    }
}

static void on_count(void *user, size_t value) {
    struct loop *loop = user;
    loop->count++;
    loop->sum += value;
}

static void on_inside(void *user, size_t value) {
    struct loop *loop = user;
    on_count(loop, value);
    if (value + 1 < loop->n) loop_post(loop, on_inside, value + 1);
}

static void on_batch(void *user, size_t value) {
    struct loop *loop = user;
    size_t end = bench_batch_end(loop->b, value);
    for (size_t i = value; i < end; i++) loop_post(loop, on_count, i);
    if (end < loop->n) loop_post(loop, on_batch, end);
}

static void post_share(void *target, size_t first, size_t last) {
    for (size_t i = first; i < last; i++) loop_post(target, on_count, i);
}

static int run_post(const struct bench *b) {
    struct bench_span span;
    static struct bench_posters posters;
    struct loop loop = {.b = b, .queue.lock = PTHREAD_MUTEX_INITIALIZER, .n = b->n};
    struct epoll_event event = {.events = EPOLLIN};
    loop.set = epoll_create1(EPOLL_CLOEXEC);
    loop.wakeup = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    REQUIRE(loop.set >= 0 && loop.wakeup >= 0);
    REQUIRE(epoll_ctl(loop.set, EPOLL_CTL_ADD, loop.wakeup, &event) == 0);
    loop.inside = b->workload != POST_OUTSIDE;

    if (!loop.inside) bench_posters_start(&posters, b, post_share, &loop);
    bench_begin(&span);
    if (!loop.inside) bench_posters_go(&posters);
    else loop_post(&loop, b->workload == POST_INSIDE ? on_inside : on_batch, 0);
    loop_run(&loop);
    bench_end(&span);
    if (!loop.inside) bench_posters_join(&posters);

    REQUIRE(loop.count == b->n && loop.sum == bench_sum(b->n));
    bench_report(b, b->n, &span);
    queue_free(&loop.queue);
    close(loop.set);
    close(loop.wakeup);
    return 0;
}

int main(int argc, char **argv) {
    struct bench b;
    if (!bench_options(&b, "raw", argc, argv)) return 2;
    if (b.threads != 1) return bench_unsupported(&b);
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
    default: return run_loop(&b);
    }
}
