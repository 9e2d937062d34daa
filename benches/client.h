/*
 * The client of the echo workloads, the same for every system: plain sockets, in a process of its own.
 *
 * pingpong: one blocking connection. echo100: many connections on one epoll loop, one message of each on its way.
 * sink and source: one connection, one way. churn: one connection after another. udp: datagrams, answered one by one.
 * Every byte that comes back is compared. The figures are the client's, the CPU time the server's.
 */
#ifndef BENCH_CLIENT_H
#define BENCH_CLIENT_H

#include "bench.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <netinet/udp.h>
#include <sched.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/wait.h>

enum { CLIENT_WARM_UP = 10 }; /* round trips of each connection before the clock starts; a hundred times that for one */

struct client_result {
    uint64_t round_trips; /* timed ones */
    uint64_t bytes;       /* all, warm-up included */
    double seconds;
};

struct client {
    pid_t pid;
    int pipe;
    int listener; /* the server's listening socket */
};

/* ---- the client's side */

/* Message k of connection c: a window of a block of random bytes that moves with c and k. */
static inline const unsigned char *client_message(const unsigned char *block, size_t size, size_t c, uint64_t k) {
    return block + (c * 7919 + k) % size;
}

static inline unsigned char *client_block(size_t size) {
    uint64_t state = 42;
    unsigned char *block = (unsigned char *)malloc(2 * size);
    REQUIRE(block != NULL);
    for (size_t i = 0; i < 2 * size; i++) block[i] = (unsigned char)bench_random(&state);
    return block;
}

static inline int client_connect(int port) {
    struct sockaddr_in address;
    int one = 1, fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    REQUIRE(fd >= 0);
    memset(&address, 0, sizeof address);
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    address.sin_port = htons((uint16_t)port);
    REQUIRE(connect(fd, (struct sockaddr *)&address, sizeof address) == 0);
    REQUIRE(setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one) == 0);
    return fd;
}

static inline void client_send(int fd, const unsigned char *data, size_t size) {
    while (size > 0) {
        ssize_t sent = send(fd, data, size, MSG_NOSIGNAL); /* blocks, also in the epoll client: replies are awaited */
        REQUIRE(sent > 0);
        data += sent;
        size -= (size_t)sent;
    }
}

static inline void client_pingpong(const struct bench *b, int port, struct client_result *result) {
    unsigned char *block = client_block(b->size), *reply = (unsigned char *)malloc(b->size);
    int fd = client_connect(port);
    uint64_t k = 0, warm = 100 * CLIENT_WARM_UP, limit = b->n > 0 ? warm + b->n : UINT64_MAX;
    int64_t begin = bench_now(), end = INT64_MAX;
    REQUIRE(reply != NULL);
    for (;; k++) {
        if (k == warm) {
            begin = bench_now();
            if (b->n == 0) end = begin + (int64_t)(b->seconds * 1e9);
        }
        if (k >= limit || (k % 64 == 0 && bench_now() >= end)) break;
        const unsigned char *message = client_message(block, b->size, 0, k);
        client_send(fd, message, b->size);
        for (size_t got = 0; got < b->size;) {
            ssize_t size = recv(fd, reply + got, b->size - got, 0);
            if (size <= 0) bench_fail("client: the connection was lost");
            got += (size_t)size;
        }
        if (memcmp(reply, message, b->size) != 0) bench_fail("client: a reply differs from what was sent");
    }
    result->seconds = (double)(bench_now() - begin) / 1e9;
    result->round_trips = k - warm;
    result->bytes = k * b->size;
    close(fd);
    free(block);
    free(reply);
}

struct client_connection {
    int fd;
    size_t got;
    uint64_t k;
};

static inline void client_many(const struct bench *b, int port, struct client_result *result) {
    size_t count = (size_t)b->connections, open = count, size = b->size;
    unsigned char *block = client_block(size), *buffer = (unsigned char *)malloc(size);
    struct client_connection *all = (struct client_connection *)calloc(count, sizeof *all);
    struct epoll_event events[256];
    int set = epoll_create1(EPOLL_CLOEXEC);
    REQUIRE(set >= 0 && all != NULL && buffer != NULL);
    for (size_t i = 0; i < count; i++) {
        struct epoll_event event;
        memset(&event, 0, sizeof event);
        event.events = EPOLLIN;
        event.data.u64 = i;
        all[i].fd = client_connect(port);
        REQUIRE(epoll_ctl(set, EPOLL_CTL_ADD, all[i].fd, &event) == 0);
    }
    for (size_t i = 0; i < count; i++) client_send(all[i].fd, client_message(block, size, i, 0), size);

    uint64_t done = 0, warm = CLIENT_WARM_UP * count, limit = b->n > 0 ? warm + b->n : UINT64_MAX, timed = 0;
    int64_t begin = bench_now(), end = INT64_MAX, finish = 0;
    bool started = false, over = false;
    while (open > 0) {
        int ready = epoll_wait(set, events, 256, -1);
        REQUIRE(ready > 0 || errno == EINTR);
        if (started && !over && bench_now() >= end) over = true;
        for (int e = 0; e < ready; e++) {
            size_t i = (size_t)events[e].data.u64;
            struct client_connection *c = &all[i];
            ssize_t got = recv(c->fd, buffer, size - c->got, MSG_DONTWAIT);
            if (got < 0 && errno == EAGAIN) continue;
            if (got <= 0) bench_fail("client: connection %zu was lost", i);
            if (memcmp(buffer, client_message(block, size, i, c->k) + c->got, (size_t)got) != 0)
                bench_fail("client: a reply on connection %zu differs from what was sent", i);
            c->got += (size_t)got;
            if (c->got < size) continue;
            c->got = 0;
            c->k++;
            result->bytes += size;
            done++;
            if (!started && done >= warm) {
                started = true;
                warm = done;
                begin = bench_now();
                if (b->n == 0) end = begin + (int64_t)(b->seconds * 1e9);
            }
            if (!over && done >= limit) over = true;
            if (over && finish == 0) { /* the rest comes in unevenly: not timed */
                finish = bench_now();
                timed = done - warm;
            }
            if (!over) {
                client_send(c->fd, client_message(block, size, i, c->k), size);
            } else {
                close(c->fd);
                open--;
            }
        }
    }
    result->seconds = (double)(finish - begin) / 1e9;
    result->round_trips = timed;
    close(set);
    free(all);
    free(block);
    free(buffer);
}

/* One way; counted in MiB. */
static inline void client_sink(const struct bench *b, int port, struct client_result *result) {
    unsigned char *block = client_block(b->size);
    int fd = client_connect(port);
    int64_t begin = bench_now(), end = begin + (int64_t)(b->seconds * 1e9);
    while (bench_now() < end) {
        client_send(fd, block, b->size);
        result->bytes += b->size;
    }
    REQUIRE(shutdown(fd, SHUT_WR) == 0);
    REQUIRE(recv(fd, block, 1, 0) == 0); /* the server has it all */
    result->seconds = (double)(bench_now() - begin) / 1e9;
    result->round_trips = result->bytes >> 20;
    close(fd);
    free(block);
}

static inline void client_source(const struct bench *b, int port, struct client_result *result) {
    size_t size = b->size > 65536 ? b->size : 65536;
    char *buffer = (char *)malloc(size);
    int fd = client_connect(port);
    int64_t begin = bench_now();
    ssize_t got;
    REQUIRE(buffer != NULL);
    while ((got = recv(fd, buffer, size, 0)) > 0) result->bytes += (uint64_t)got;
    REQUIRE(got == 0);
    result->seconds = (double)(bench_now() - begin) / 1e9;
    result->round_trips = result->bytes >> 20;
    close(fd);
    free(buffer);
}

static inline void client_churn(const struct bench *b, int port, struct client_result *result) {
    unsigned char *block = client_block(b->size), *reply = (unsigned char *)malloc(b->size);
    int64_t begin = bench_now();
    struct linger linger = {1, 0}; /* no port is left waiting */
    REQUIRE(reply != NULL);
    for (int i = 0; i < b->connections; i++) {
        int fd = client_connect(port);
        const unsigned char *message = client_message(block, b->size, (size_t)i, 0);
        client_send(fd, message, b->size);
        for (size_t got = 0; got < b->size;) {
            ssize_t size = recv(fd, reply + got, b->size - got, 0);
            if (size <= 0) bench_fail("client: the connection was lost");
            got += (size_t)size;
        }
        if (memcmp(reply, message, b->size) != 0) bench_fail("client: a reply differs from what was sent");
        REQUIRE(shutdown(fd, SHUT_WR) == 0);
        REQUIRE(recv(fd, reply, 1, 0) == 0);
        REQUIRE(setsockopt(fd, SOL_SOCKET, SO_LINGER, &linger, sizeof linger) == 0);
        close(fd);
    }
    result->seconds = (double)(bench_now() - begin) / 1e9;
    result->round_trips = (uint64_t)b->connections;
    result->bytes = result->round_trips * b->size;
    free(block);
    free(reply);
}

/* A burst of datagrams and the answers to it, with as few calls as it takes: the server's calls are what differs. */
static inline void client_burst(int fd, const unsigned char *block, unsigned char *replies, size_t size, uint64_t k) {
    struct mmsghdr messages[BENCH_BURST];
    struct iovec parts[BENCH_BURST];
    memset(messages, 0, sizeof messages);
    for (int i = 0; i < BENCH_BURST; i++) {
        parts[i].iov_base = (void *)client_message(block, size, (size_t)i, k);
        parts[i].iov_len = size;
        messages[i].msg_hdr.msg_iov = &parts[i];
        messages[i].msg_hdr.msg_iovlen = 1;
    }
    for (int sent = 0, count; sent < BENCH_BURST; sent += count) {
        count = sendmmsg(fd, messages + sent, (unsigned)(BENCH_BURST - sent), 0);
        REQUIRE(count > 0);
    }
    for (int i = 0; i < BENCH_BURST; i++) parts[i].iov_base = replies + (size_t)i * size;
    for (int got = 0, count; got < BENCH_BURST; got += count) {
        count = recvmmsg(fd, messages + got, (unsigned)(BENCH_BURST - got), MSG_WAITFORONE, NULL);
        if (count <= 0) bench_fail("client: a datagram was lost");
        for (int i = got; i < got + count; i++)
            if (messages[i].msg_len != size ||
                memcmp(replies + (size_t)i * size, client_message(block, size, (size_t)i, k), size) != 0)
                bench_fail("client: a reply differs from what was sent");
    }
}

/* The same where the kernel cuts what is sent. */
static inline void client_segments(int fd, const unsigned char *sent, unsigned char *replies, size_t size) {
    REQUIRE(send(fd, sent, BENCH_BURST * size, 0) == (ssize_t)(BENCH_BURST * size));
    for (size_t got = 0; got < BENCH_BURST * size;) {
        ssize_t count = recv(fd, replies + got, BENCH_BURST * size - got, 0);
        if (count <= 0) bench_fail("client: a datagram was lost");
        got += (size_t)count;
    }
    if (memcmp(replies, sent, BENCH_BURST * size) != 0) bench_fail("client: a reply differs from what was sent");
}

/* Datagrams; one of a single byte is the last. */
static inline void client_udp(const struct bench *b, int port, struct client_result *result) {
    size_t room = BENCH_BURST * b->size;
    unsigned char *block = client_block(b->segments ? room : b->size), *reply = (unsigned char *)malloc(room);
    int burst = b->workload == UDP_BURST ? BENCH_BURST : 1, fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    struct sockaddr_in address;
    struct timeval patience = {5, 0};
    uint64_t warm = 100, k = 0, limit = b->n > 0 ? warm + b->n : UINT64_MAX;
    int64_t begin = bench_now(), end = INT64_MAX;
    memset(&address, 0, sizeof address);
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    address.sin_port = htons((uint16_t)port);
    REQUIRE(reply != NULL && fd >= 0 && b->size > 1);
    REQUIRE(connect(fd, (struct sockaddr *)&address, sizeof address) == 0);
    REQUIRE(setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience) == 0);
    if (b->segments) {
        int segment = (int)b->size, one = 1;
        REQUIRE(setsockopt(fd, SOL_UDP, UDP_SEGMENT, &segment, sizeof segment) == 0);
        REQUIRE(setsockopt(fd, SOL_UDP, UDP_GRO, &one, sizeof one) == 0);
    }
    for (;; k++) {
        if (k == warm) {
            begin = bench_now();
            if (b->n == 0) end = begin + (int64_t)(b->seconds * 1e9);
        }
        if (k >= limit || (k % 16 == 0 && bench_now() >= end)) break;
        if (b->segments) {
            client_segments(fd, client_message(block, room, 0, k), reply, b->size);
            continue;
        }
        if (burst > 1) {
            client_burst(fd, block, reply, b->size, k);
            continue;
        }
        const unsigned char *message = client_message(block, b->size, 0, k);
        REQUIRE(send(fd, message, b->size, 0) == (ssize_t)b->size);
        if (recv(fd, reply, b->size, 0) != (ssize_t)b->size) bench_fail("client: a datagram was lost");
        if (memcmp(reply, message, b->size) != 0) bench_fail("client: a reply differs from what was sent");
    }
    result->seconds = (double)(bench_now() - begin) / 1e9;
    result->round_trips = (k - warm) * (uint64_t)burst;
    result->bytes = k * (uint64_t)burst * b->size;
    REQUIRE(send(fd, block, 1, 0) == 1);
    close(fd);
    free(block);
    free(reply);
}

static inline void client_run(const struct bench *b, int port, struct client_result *result) {
    memset(result, 0, sizeof *result);
    switch (b->workload) {
    case PINGPONG: client_pingpong(b, port, result); break;
    case SINK: client_sink(b, port, result); break;
    case SOURCE: client_source(b, port, result); break;
    case CHURN: client_churn(b, port, result); break;
    case UDP:
    case UDP_BURST: client_udp(b, port, result); break;
    default: client_many(b, port, result); break;
    }
}

/* ---- the server's side */

/* Where the two processes run decides the ping-pong: a wake-up of another, idle processor costs more than the turn. */
static inline void client_pin(int cpu) {
    if (cpu < 0) return;
    cpu_set_t set;
    CPU_ZERO(&set);
    CPU_SET((size_t)cpu, &set);
    REQUIRE(sched_setaffinity(0, sizeof set, &set) == 0);
}

/* Opens the listening socket, or the one for datagrams, and starts the client. Called before the system under test is set up. */
static inline void client_start(const struct bench *b, struct client *client) {
    struct sockaddr_in address;
    socklen_t length = sizeof address;
    int ends[2] = {-1, -1};
    bool datagrams = b->workload == UDP || b->workload == UDP_BURST;
    client->listener = socket(AF_INET, (datagrams ? SOCK_DGRAM : SOCK_STREAM) | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    memset(&address, 0, sizeof address);
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    REQUIRE(client->listener >= 0 && bind(client->listener, (struct sockaddr *)&address, length) == 0);
    REQUIRE(datagrams || listen(client->listener, SOMAXCONN) == 0);
    REQUIRE(getsockname(client->listener, (struct sockaddr *)&address, &length) == 0);
    int port = ntohs(address.sin_port);
    signal(SIGPIPE, SIG_IGN);

    client->pipe = -1;
    client->pid = -1;
    if (b->external) {
        fprintf(stderr, "listening %d\n", port);
        return;
    }
    REQUIRE(pipe2(ends, O_CLOEXEC) == 0);
    fflush(NULL);
    client->pid = fork();
    REQUIRE(client->pid >= 0);
    if (client->pid == 0) {
        struct client_result result;
        alarm(BENCH_TIME_LIMIT);
        close(client->listener);
        client_pin(b->client_cpu);
        client_run(b, port, &result);
        _exit(write(ends[1], &result, sizeof result) == (ssize_t)sizeof result ? 0 : 1);
    }
    client_pin(b->server_cpu);
    close(ends[1]);
    client->pipe = ends[0];
}

/* Collects the client's figures, checks them against the bytes that the server echoed, and prints the result. */
static inline int client_finish(const struct bench *b, struct client *client, uint64_t bytes,
                                const struct bench_span *span) {
    struct client_result result;
    int status = 1;
    double cpu = span->end_cpu - span->begin_cpu;
    if (b->external) { /* the client reports by itself */
        bench_print(b, bytes / b->size, bench_seconds(span), cpu, "");
        return 0;
    }
    if (read(client->pipe, &result, sizeof result) != (ssize_t)sizeof result) bench_fail("the client failed");
    REQUIRE(waitpid(client->pid, &status, 0) == client->pid && status == 0);
    close(client->pipe);
    if (result.bytes != bytes)
        bench_fail("the client got %llu bytes, the server echoed %llu", (unsigned long long)result.bytes,
                   (unsigned long long)bytes);
    if (result.round_trips == 0) bench_fail("no round trip was made");
    bench_print(b, result.round_trips, result.seconds, cpu, "");
    return 0;
}

#endif
