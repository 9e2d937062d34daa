/* What the kernel and the processors charge for the parts of a turn, for benches/scaling: one JSON line, nanoseconds. */
#include "bench.h"

#include <netinet/in.h>

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>

enum { READY = 128, ROUNDS = 20000, TURNS = 4000 };

static double per(int64_t begin, double count) {
    return (double)(bench_now() - begin) / count;
}

/* epoll_wait that finds `ready` fds: level-triggered eventfds that stay readable. */
static double wait_for(int ready) {
    struct epoll_event events[READY];
    int set = epoll_create1(EPOLL_CLOEXEC), fds[READY];
    REQUIRE(set >= 0);
    for (int i = 0; i < ready; i++) {
        struct epoll_event event = {.events = EPOLLIN};
        fds[i] = eventfd(1, EFD_NONBLOCK | EFD_CLOEXEC);
        REQUIRE(fds[i] >= 0 && epoll_ctl(set, EPOLL_CTL_ADD, fds[i], &event) == 0);
    }
    int64_t begin = bench_now();
    for (int i = 0; i < ROUNDS; i++) REQUIRE(epoll_wait(set, events, READY, 0) == ready);
    double cost = per(begin, ROUNDS);
    for (int i = 0; i < ready; i++) close(fds[i]);
    close(set);
    return cost;
}

/* recv and send of 64 bytes over loopback TCP, both ends in this thread. */
static double transfer(void) {
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
    socklen_t length = sizeof address;
    char data[64] = "";
    int listener = socket(AF_INET, SOCK_STREAM, 0), near_end = socket(AF_INET, SOCK_STREAM, 0);
    REQUIRE(bind(listener, (struct sockaddr *)&address, length) == 0 && listen(listener, 1) == 0);
    REQUIRE(getsockname(listener, (struct sockaddr *)&address, &length) == 0);
    REQUIRE(connect(near_end, (struct sockaddr *)&address, length) == 0);
    int far_end = accept(listener, NULL, NULL);
    REQUIRE(far_end >= 0);
    int64_t begin = bench_now();
    for (int i = 0; i < ROUNDS; i++) {
        REQUIRE(send(near_end, data, sizeof data, 0) == sizeof data);
        REQUIRE(recv(far_end, data, sizeof data, 0) == sizeof data);
    }
    double cost = per(begin, ROUNDS);
    close(listener);
    close(near_end);
    close(far_end);
    return cost;
}

/* A word that two processors write in turn: what a lock, or a queue's end, costs that another one used last. */
static _Atomic uint64_t word;

static void pin(int cpu) {
    cpu_set_t set;
    CPU_ZERO(&set);
    CPU_SET((size_t)cpu, &set);
    sched_setaffinity(0, sizeof set, &set);
}

static void *other_side(void *user) {
    (void)user;
    pin(1);
    for (uint64_t i = 1; i < 2 * TURNS; i += 2) {
        while (atomic_load_explicit(&word, memory_order_acquire) != i) {
        }
        atomic_store_explicit(&word, i + 1, memory_order_release);
    }
    return NULL;
}

static double hand_over(void) {
    pthread_t thread;
    if (sysconf(_SC_NPROCESSORS_ONLN) < 2) return 0;
    pin(0);
    REQUIRE(pthread_create(&thread, NULL, other_side, NULL) == 0);
    int64_t begin = bench_now();
    for (uint64_t i = 0; i < 2 * TURNS; i += 2) {
        while (atomic_load_explicit(&word, memory_order_acquire) != i) {
        }
        atomic_store_explicit(&word, i + 1, memory_order_release);
    }
    double cost = per(begin, 2.0 * TURNS);
    pthread_join(thread, NULL);
    return cost;
}

static double atomic_alone(void) {
    int64_t begin = bench_now();
    for (int i = 0; i < ROUNDS * 100; i++) atomic_fetch_add(&word, 1);
    return per(begin, ROUNDS * 100.0);
}

int main(void) {
    double none = wait_for(0), one = wait_for(1), all = wait_for(READY), moved = transfer(), handed = hand_over();
    printf("{\"epoll_wait_none\":%.1f,\"epoll_wait_one\":%.1f,\"each_event\":%.1f,\"transfer\":%.1f,\"hand_over\":%.1f,"
           "\"atomic\":%.1f}\n",
           none, one, (all - one) / (READY - 1), moved, handed, atomic_alone());
    return 0;
}
