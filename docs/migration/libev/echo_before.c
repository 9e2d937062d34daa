/* A line echo server on libev: a time limit for idle clients, a timer, a clean end on SIGTERM. */
#include <ev.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static struct ev_loop *loop;
static double idle;
static unsigned lines, ticks;

struct client {
    ev_io io;
    ev_timer idle;
    struct client *next, **link;
    int ending;
    size_t filled, waiting;
    char *output;
    char input[4096];
};
static struct client *clients;

static void client_end(struct client *client) {
    ev_io_stop(loop, &client->io);
    ev_timer_stop(loop, &client->idle);
    close(client->io.fd);
    *client->link = client->next;
    if (client->next != NULL) client->next->link = client->link;
    free(client->output);
    free(client);
}

static void client_add(struct client *client, const char *text, size_t length) {
    client->output = realloc(client->output, client->waiting + length);
    memcpy(client->output + client->waiting, text, length);
    client->waiting += length;
}

/* Writes what goes, and ends the client where nothing is left to do. */
static void client_flush(struct client *client) {
    ssize_t count = client->waiting > 0 ? send(client->io.fd, client->output, client->waiting, MSG_NOSIGNAL) : 0;
    if (count > 0) {
        client->waiting -= count;
        memmove(client->output, client->output + count, client->waiting);
    }
    if (client->ending && client->waiting == 0) {
        client_end(client);
        return;
    }
    ev_io_stop(loop, &client->io);
    ev_io_set(&client->io, client->io.fd, (client->ending ? 0 : EV_READ) | (client->waiting > 0 ? EV_WRITE : 0));
    ev_io_start(loop, &client->io);
}

static void client_lines(struct client *client) {
    char *end;
    while (!client->ending && (end = memchr(client->input, '\n', client->filled)) != NULL) {
        size_t length = end + 1 - client->input;
        client->ending = length == 5 && memcmp(client->input, "quit", 4) == 0;
        lines++;
        client_add(client, "echo: ", 6);
        client_add(client, client->input, length);
        client->filled -= length;
        memmove(client->input, end + 1, client->filled);
    }
}

static void on_client(struct ev_loop *l, ev_io *watcher, int events) {
    struct client *client = watcher->data;
    (void)l;
    if (events & EV_READ) {
        ssize_t count = recv(watcher->fd, client->input + client->filled, sizeof client->input - client->filled, 0);
        if (count <= 0) { /* the end, an error, or a line of more than 4096 */
            client_end(client);
            return;
        }
        ev_timer_again(loop, &client->idle);
        client->filled += count;
        client_lines(client);
    }
    client_flush(client);
}

static void on_idle(struct ev_loop *l, ev_timer *watcher, int events) {
    struct client *client = watcher->data;
    (void)l, (void)events;
    ev_timer_stop(loop, &client->idle);
    client_add(client, "idle\n", 5);
    client->ending = 1;
    client_flush(client);
}

static void on_accept(struct ev_loop *l, ev_io *watcher, int events) {
    int fd = accept4(watcher->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    (void)l, (void)events;
    if (fd < 0) return;
    struct client *client = calloc(1, sizeof *client);
    client->next = clients;
    client->link = &clients;
    if (clients != NULL) clients->link = &client->next;
    clients = client;
    ev_io_init(&client->io, on_client, fd, EV_READ);
    ev_init(&client->idle, on_idle);
    client->idle.repeat = idle;
    client->io.data = client->idle.data = client;
    ev_io_start(loop, &client->io);
    ev_timer_again(loop, &client->idle);
}

static void on_tick(struct ev_loop *l, ev_timer *watcher, int events) {
    (void)l, (void)watcher, (void)events;
    ticks++;
}

static void on_signal(struct ev_loop *l, ev_signal *watcher, int events) {
    (void)watcher, (void)events;
    ev_break(l, EVBREAK_ALL);
}

int main(int argc, char **argv) {
    idle = (argc > 1 ? atoi(argv[1]) : 60000) / 1000.0;
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t length = sizeof address;
    ev_io listener;
    ev_timer tick;
    ev_signal term;
    loop = EV_DEFAULT;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (bind(fd, (struct sockaddr *)&address, length) != 0 || listen(fd, 128) != 0 ||
        getsockname(fd, (struct sockaddr *)&address, &length) != 0) {
        perror("start");
        return 1;
    }
    ev_io_init(&listener, on_accept, fd, EV_READ);
    ev_io_start(loop, &listener);
    ev_timer_init(&tick, on_tick, 0.05, 0.05);
    ev_timer_start(loop, &tick);
    ev_signal_init(&term, on_signal, SIGTERM);
    ev_signal_start(loop, &term);

    printf("listening on %d\n", ntohs(address.sin_port));
    fflush(stdout);
    ev_run(loop, 0);

    while (clients != NULL) client_end(clients);
    close(fd);
    ev_loop_destroy(loop);
    printf("%u lines, the timer %s\n", lines, ticks > 0 ? "ticked" : "did not tick");
    return 0;
}
