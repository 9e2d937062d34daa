/* A line echo server on a hand-written epoll loop: a time limit for idle clients, a timer, a clean end on SIGTERM. */
#include <errno.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

struct client {
    int fd;
    int ending, dead;
    int64_t deadline;
    struct client *next;
    size_t filled, waiting;
    char *output;
    char input[4096];
};

static int set, listener, tick, term;
static int64_t idle; /* milliseconds */
static unsigned lines, ticks;
static struct client *clients;

static int64_t now(void) {
    struct timespec at;
    clock_gettime(CLOCK_MONOTONIC, &at);
    return at.tv_sec * 1000 + at.tv_nsec / 1000000;
}

static void watch(int operation, int fd, uint32_t events, void *user) {
    struct epoll_event event = {.events = events, .data.ptr = user};
    if (epoll_ctl(set, operation, fd, &event) != 0) perror("epoll_ctl");
}

static void client_add(struct client *client, const char *text, size_t length) {
    client->output = realloc(client->output, client->waiting + length);
    memcpy(client->output + client->waiting, text, length);
    client->waiting += length;
}

static void client_flush(struct client *client) {
    ssize_t count = client->waiting > 0 ? send(client->fd, client->output, client->waiting, MSG_NOSIGNAL) : 0;
    if (count < 0 && errno != EAGAIN && errno != EINTR) client->dead = 1;
    if (count > 0) {
        client->waiting -= count;
        memmove(client->output, client->output + count, client->waiting);
    }
    if (client->ending && client->waiting == 0) client->dead = 1;
    watch(EPOLL_CTL_MOD, client->fd, (client->ending ? 0 : EPOLLIN) | (client->waiting > 0 ? EPOLLOUT : 0), client);
}

static void on_readable(struct client *client) {
    ssize_t count = recv(client->fd, client->input + client->filled, sizeof client->input - client->filled, 0);
    char *end;
    if (count < 0 && (errno == EAGAIN || errno == EINTR)) return;
    if (count <= 0) { /* the end, an error, or a line of more than 4096 */
        client->dead = 1;
        return;
    }
    client->deadline = now() + idle;
    client->filled += count;
    while (!client->ending && (end = memchr(client->input, '\n', client->filled)) != NULL) {
        size_t length = end + 1 - client->input;
        client->ending = length == 5 && memcmp(client->input, "quit", 4) == 0;
        lines++;
        client_add(client, "echo: ", 6);
        client_add(client, client->input, length);
        client->filled -= length;
        memmove(client->input, end + 1, client->filled);
    }
    client_flush(client);
}

static void on_accept(void) {
    int fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (fd < 0) return;
    struct client *client = calloc(1, sizeof *client);
    client->fd = fd;
    client->deadline = now() + idle;
    client->next = clients;
    clients = client;
    watch(EPOLL_CTL_ADD, fd, EPOLLIN, client);
}

/* The dead are freed here and nowhere else: a later event of the same batch may still point to them. */
static void clients_sweep(int all) {
    for (struct client **link = &clients; *link != NULL;) {
        struct client *client = *link;
        if (!all && !client->dead) {
            link = &client->next;
            continue;
        }
        *link = client->next;
        close(client->fd);
        free(client->output);
        free(client);
    }
}

static void clients_time_out(void) {
    int64_t at = now();
    for (struct client *client = clients; client != NULL; client = client->next) {
        if (client->ending || client->deadline > at) continue;
        client_add(client, "idle\n", 5);
        client->ending = 1;
        client_flush(client);
    }
}

static int next_timeout(void) {
    int64_t soonest = INT64_MAX, at = now();
    for (struct client *client = clients; client != NULL; client = client->next)
        if (!client->ending && client->deadline < soonest) soonest = client->deadline;
    if (soonest == INT64_MAX) return -1;
    return soonest > at ? (int)(soonest - at) : 0;
}

static void loop(void) {
    for (;;) {
        struct epoll_event events[64];
        int count = epoll_wait(set, events, 64, next_timeout());
        for (int at = 0; at < count; at++) {
            struct client *client = events[at].data.ptr;
            uint64_t expirations;
            if (events[at].data.ptr == &listener) on_accept();
            else if (events[at].data.ptr == &term) return;
            else if (events[at].data.ptr == &tick) ticks += read(tick, &expirations, sizeof expirations) > 0;
            else if (client->dead) continue;
            else if (events[at].events & (EPOLLIN | EPOLLHUP | EPOLLERR)) on_readable(client);
            else client_flush(client);
        }
        clients_time_out();
        clients_sweep(0);
    }
}

int main(int argc, char **argv) {
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t length = sizeof address;
    struct itimerspec period = {{0, 50000000}, {0, 50000000}};
    sigset_t signals;
    idle = argc > 1 ? atoi(argv[1]) : 60000;
    sigemptyset(&signals);
    sigaddset(&signals, SIGTERM);
    sigprocmask(SIG_BLOCK, &signals, NULL);
    set = epoll_create1(EPOLL_CLOEXEC);
    term = signalfd(-1, &signals, SFD_NONBLOCK | SFD_CLOEXEC);
    tick = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
    timerfd_settime(tick, 0, &period, NULL);
    listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (bind(listener, (struct sockaddr *)&address, length) != 0 || listen(listener, 128) != 0 ||
        getsockname(listener, (struct sockaddr *)&address, &length) != 0) {
        perror("start");
        return 1;
    }
    watch(EPOLL_CTL_ADD, listener, EPOLLIN, &listener);
    watch(EPOLL_CTL_ADD, tick, EPOLLIN, &tick);
    watch(EPOLL_CTL_ADD, term, EPOLLIN, &term);

    printf("listening on %d\n", ntohs(address.sin_port));
    fflush(stdout);
    loop();

    clients_sweep(1);
    close(listener);
    close(tick);
    close(term);
    close(set);
    printf("%u lines, the timer %s\n", lines, ticks > 0 ? "ticked" : "did not tick");
    return 0;
}
