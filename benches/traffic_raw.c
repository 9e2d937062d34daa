/* The hand-written loop: one way through a connection, datagrams, and what goes on inside. */
#include "traffic.h"

#include <netdb.h>
#include <signal.h>
#include <sys/signalfd.h>

static int new_set(int fd, uint32_t events) {
    struct epoll_event event = {.events = events};
    int set = epoll_create1(EPOLL_CLOEXEC);
    REQUIRE(set >= 0);
    if (fd >= 0) REQUIRE(epoll_ctl(set, EPOLL_CTL_ADD, fd, &event) == 0);
    return set;
}

static void wait_for(int set) {
    struct epoll_event event;
    REQUIRE(epoll_wait(set, &event, 1, -1) == 1 || errno == EINTR);
}

/* ---- sink, source: one call for each time that the connection is ready */

static int run_way(const struct bench *b) {
    struct client client;
    struct bench_span span;
    uint64_t bytes = 0;
    unsigned char *data = calloc(1, b->size);
    REQUIRE(data != NULL);
    client_start(b, &client);
    bench_begin(&span);
    int set = new_set(client.listener, EPOLLIN);
    wait_for(set);
    int fd = accept4(client.listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    REQUIRE(fd >= 0);
    close(client.listener);
    close(set);
    set = new_set(fd, b->workload == SINK ? EPOLLIN : EPOLLOUT);
    int64_t end = bench_now() + (int64_t)(b->seconds * 1e9);
    while (b->workload == SINK || bench_now() < end) {
        wait_for(set);
        ssize_t moved = b->workload == SINK ? recv(fd, data, b->size, 0) : send(fd, data, b->size, MSG_NOSIGNAL);
        REQUIRE(moved >= 0 || errno == EAGAIN);
        if (moved == 0) break;
        if (moved > 0) bytes += (uint64_t)moved;
    }
    close(fd);
    close(set);
    bench_end(&span);
    free(data);
    return client_finish(b, &client, bytes, &span);
}

/* ---- udp */

/* --segments: one message in, one out; how the kernel put it together says how it is cut. */
static int run_segments(const struct bench *b) {
    static unsigned char data[65536];
    struct client client;
    struct bench_span span;
    struct sockaddr_storage address;
    union {
        struct cmsghdr header;
        char space[CMSG_SPACE(sizeof(int))];
    } control;
    struct iovec part;
    struct msghdr message = {.msg_name = &address, .msg_iov = &part, .msg_iovlen = 1};
    uint64_t bytes = 0;
    int one = 1;
    client_start(b, &client);
    int fd = client.listener, set = new_set(fd, EPOLLIN);
    REQUIRE(setsockopt(fd, SOL_UDP, UDP_GRO, &one, sizeof one) == 0);
    bench_begin(&span);
    for (;;) {
        wait_for(set);
        part = (struct iovec){data, sizeof data};
        message.msg_namelen = sizeof address;
        message.msg_control = &control;
        message.msg_controllen = sizeof control;
        ssize_t got = recvmsg(fd, &message, 0);
        REQUIRE(got > 0);
        if (got == 1) break;
        struct cmsghdr *header = CMSG_FIRSTHDR(&message);
        if (header != NULL && header->cmsg_type == UDP_GRO) {
            int size;
            memcpy(&size, CMSG_DATA(header), sizeof size);
            uint16_t segment = (uint16_t)size;
            header->cmsg_type = UDP_SEGMENT;
            header->cmsg_len = CMSG_LEN(sizeof segment);
            memcpy(CMSG_DATA(header), &segment, sizeof segment);
            message.msg_controllen = CMSG_SPACE(sizeof segment);
        } else {
            message.msg_control = NULL;
            message.msg_controllen = 0;
        }
        part.iov_len = (size_t)got;
        REQUIRE(sendmsg(fd, &message, 0) == got);
        bytes += (uint64_t)got;
    }
    bench_end(&span);
    close(fd);
    close(set);
    return client_finish(b, &client, bytes, &span);
}

static int run_udp(const struct bench *b) {
    static unsigned char data[BENCH_BURST][2048];
    static struct sockaddr_storage addresses[BENCH_BURST];
    static struct iovec parts[BENCH_BURST];
    static struct mmsghdr messages[BENCH_BURST];
    struct client client;
    struct bench_span span;
    uint64_t bytes = 0;
    bool over = false;
    client_start(b, &client);
    int fd = client.listener, set = new_set(fd, EPOLLIN);
    bench_begin(&span);
    while (!over) {
        wait_for(set);
        int count = 1;
        socklen_t length = sizeof addresses[0];
        if (b->buffered) {
            for (int i = 0; i < BENCH_BURST; i++) {
                parts[i] = (struct iovec){data[i], sizeof data[i]};
                messages[i].msg_hdr = (struct msghdr){&addresses[i], sizeof addresses[i], &parts[i], 1, NULL, 0, 0};
            }
            count = recvmmsg(fd, messages, BENCH_BURST, 0, NULL);
        } else {
            ssize_t got = recvfrom(fd, data[0], sizeof data[0], 0, (struct sockaddr *)&addresses[0], &length);
            REQUIRE(got > 0);
            messages[0].msg_len = (unsigned)got;
        }
        REQUIRE(count > 0);
        for (int i = 0; i < count; i++) {
            if (messages[i].msg_len == 1) {
                over = true;
                count = i;
                break;
            }
            parts[i].iov_len = messages[i].msg_len;
            bytes += messages[i].msg_len;
        }
        if (over) break;
        if (b->buffered) REQUIRE(sendmmsg(fd, messages, (unsigned)count, 0) == count);
        else REQUIRE(sendto(fd, data[0], messages[0].msg_len, 0, (struct sockaddr *)&addresses[0], length) > 0);
    }
    bench_end(&span);
    close(fd);
    close(set);
    return client_finish(b, &client, bytes, &span);
}

int run_traffic(const struct bench *b) {
    if (b->segments) return run_segments(b);
    return b->workload == SINK || b->workload == SOURCE ? run_way(b) : run_udp(b);
}

/* ---- ring */

static int run_ring(const struct bench *b) {
    struct bench_span span;
    struct ring ring;
    struct epoll_event events[128];
    bool over = false;
    ring_open(&ring, b);
    int set = new_set(-1, 0);
    for (int i = 0; i < b->connections; i++) {
        struct epoll_event event = {.events = EPOLLIN | (b->edge ? EPOLLET : 0u), .data.u64 = (uint64_t)i};
        REQUIRE(epoll_ctl(set, EPOLL_CTL_ADD, ring.pipes[i][0], &event) == 0);
    }
    bench_begin(&span);
    ring_begin(&ring);
    while (!over) {
        int count = epoll_wait(set, events, 128, -1);
        for (int i = 0; i < count; i++) over |= ring_turn(&ring, (int)events[i].data.u64);
    }
    bench_end(&span);
    close(set);
    return ring_end(&ring, &span);
}

/* ---- signal */

static int run_signal(const struct bench *b) {
    struct bench_span span;
    struct signalfd_siginfo info;
    sigset_t signals;
    sigemptyset(&signals);
    sigaddset(&signals, SIGUSR1);
    REQUIRE(sigprocmask(SIG_BLOCK, &signals, NULL) == 0);
    int fd = signalfd(-1, &signals, SFD_CLOEXEC | SFD_NONBLOCK), set = new_set(fd, EPOLLIN);
    bench_begin(&span);
    for (size_t i = 0; i < b->n; i++) {
        raise(SIGUSR1);
        wait_for(set);
        REQUIRE(read(fd, &info, sizeof info) == (ssize_t)sizeof info && info.ssi_signo == SIGUSR1);
    }
    bench_end(&span);
    close(fd);
    close(set);
    bench_report(b, b->n, &span);
    return 0;
}

/* ---- resolve: what a program would call itself */

static int run_resolve(const struct bench *b) {
    struct bench_span span;
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_NUMERICHOST | AI_NUMERICSERV}, *found;
    bench_begin(&span);
    for (size_t i = 0; i < b->n; i++) {
        REQUIRE(getaddrinfo("127.0.0.1", "80", &hints, &found) == 0);
        freeaddrinfo(found);
    }
    bench_end(&span);
    bench_report(b, b->n, &span);
    return 0;
}

/* ---- idle: a pointer, an fd and a length, as the least that a program would keep */

struct idle {
    int fd;
    void *buffer;
    size_t size;
};

static int run_idle(const struct bench *options) {
    struct bench_span span;
    struct bench all = *options, *b = &all;
    int(*pairs)[2] = idle_pairs(b);
    int set = new_set(-1, 0);
    size_t before = bench_memory();
    bench_begin(&span);
    struct idle *idle = malloc((size_t)b->connections * sizeof *idle);
    REQUIRE(idle != NULL);
    for (int i = 0; i < b->connections; i++) {
        idle[i] = (struct idle){pairs[i][0], pairs, 4096};
        struct epoll_event event = {.events = EPOLLIN, .data.ptr = &idle[i]};
        REQUIRE(epoll_ctl(set, EPOLL_CTL_ADD, idle[i].fd, &event) == 0);
    }
    bench_end(&span);
    int result = bench_report_memory(b, before, &span);
    close(set);
    free(idle);
    free(pairs);
    return result;
}

/* ---- arrival: a look at the kernel after each handler */

static int run_arrival(const struct bench *b) {
    struct bench_span span;
    struct arrival a;
    struct epoll_event event;
    arrival_open(&a, b);
    int set = new_set(a.ends[0], EPOLLIN);
    bool more = true, all = false;
    bench_begin(&span);
    arrival_begin(&a);
    while (!all) {
        if (more) more = arrival_handler(&a);
        if (epoll_wait(set, &event, 1, more ? 0 : -1) == 1) all = arrival_read(&a);
    }
    bench_end(&span);
    close(set);
    return arrival_end(&a, &span);
}

int run_loop(const struct bench *b) {
    switch (b->workload) {
    case RING: return run_ring(b);
    case SIGNAL: return run_signal(b);
    case RESOLVE: return run_resolve(b);
    case IDLE: return run_idle(b);
    case ARRIVAL: return run_arrival(b);
    default: return bench_unsupported(b); /* a loop by hand has no timer queue */
    }
}
