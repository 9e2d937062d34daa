/* The same line echo server on libweir, watcher for watcher: the sockets stay the program's, as with libev. */
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include <weir.h>

static weir_context *context;
static int64_t idle;
static unsigned lines, ticks;

struct client {
    weir_watch *io;
    int fd;
    int ending;
    size_t filled, waiting;
    char *output;
    char input[4096];
};

/* The last call of the watch, with WEIR_ECANCELED, frees the client. */
static void client_end(struct client *client) {
    weir_watch_close(client->io);
}

static void client_free(struct client *client) {
    close(client->fd);
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
    ssize_t count = client->waiting > 0 ? send(client->fd, client->output, client->waiting, MSG_NOSIGNAL) : 0;
    if (count > 0) {
        client->waiting -= count;
        memmove(client->output, client->output + count, client->waiting);
    }
    if (client->ending && client->waiting == 0) {
        client_end(client);
        return;
    }
    weir_watch_change(client->io,
                      (client->ending ? 0 : WEIR_WATCH_READ) | (client->waiting > 0 ? WEIR_WATCH_WRITE : 0));
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

static void on_client(int status, int events, void *user) {
    struct client *client = user;
    if (status != 0) { /* WEIR_ECANCELED: the watch was closed */
        client_free(client);
        return;
    }
    if (events & WEIR_WATCH_TIMEOUT) {
        if (client->ending) { /* it does not read what it was sent */
            client_end(client);
            return;
        }
        client_add(client, "idle\n", 5);
        client->ending = 1;
    } else if (events & (WEIR_WATCH_READ | WEIR_WATCH_HANGUP | WEIR_WATCH_ERROR)) {
        ssize_t count = recv(client->fd, client->input + client->filled, sizeof client->input - client->filled, 0);
        if (count <= 0) { /* the end, an error, or a line of more than 4096 */
            client_end(client);
            return;
        }
        client->filled += count;
        client_lines(client);
    }
    client_flush(client);
}

static void on_accept(int status, int events, void *user) {
    (void)events;
    if (status != 0) return;
    int fd = accept4(*(int *)user, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (fd < 0) return;
    struct client *client = calloc(1, sizeof *client);
    client->fd = fd;
    if (weir_watch_create(context, fd, &client->io) != 0) {
        client_free(client);
        return;
    }
    /* The idle timer of the client is the deadline of its watch. */
    if (weir_watch_start(client->io, WEIR_WATCH_READ, WEIR_WATCH_PERSISTENT, idle, on_client, client) != 0) {
        weir_watch_close(client->io);
        client_free(client);
    }
}

static void on_tick(int status, void *user) {
    (void)user;
    if (status == 0) ticks++;
}

static void on_signal(int status, int signo, void *user) {
    (void)signo, (void)user;
    if (status == 0) weir_context_stop(context);
}

int main(int argc, char **argv) {
    idle = (int64_t)(argc > 1 ? atoi(argv[1]) : 60000) * 1000000;
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t length = sizeof address;
    weir_watch *listener;
    weir_timer *tick;
    weir_signals *term;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (bind(fd, (struct sockaddr *)&address, length) != 0 || listen(fd, 128) != 0 ||
        getsockname(fd, (struct sockaddr *)&address, &length) != 0) {
        perror("start");
        return 1;
    }
    int error = weir_context_create(NULL, &context);
    if (error == 0) error = weir_watch_create(context, fd, &listener);
    if (error == 0)
        error = weir_watch_start(listener, WEIR_WATCH_READ, WEIR_WATCH_PERSISTENT, WEIR_FOREVER, on_accept, &fd);
    if (error == 0) error = weir_timer_create(context, &tick);
    if (error == 0) error = weir_timer_start(tick, 50000000, 50000000, on_tick, NULL);
    if (error == 0) error = weir_signals_create(context, &term);
    if (error == 0) error = weir_signals_add(term, SIGTERM, 0);
    if (error == 0) error = weir_signals_wait(term, on_signal, NULL);
    if (error != 0) {
        fprintf(stderr, "start: %s\n", weir_strerror(error));
        return 1;
    }

    printf("listening on %d\n", ntohs(address.sin_port));
    fflush(stdout);
    weir_context_run(context, NULL);

    weir_context_destroy(context); /* closes the watches: each client is freed in its last call */
    close(fd);
    printf("%u lines, the timer %s\n", lines, ticks > 0 ? "ticked" : "did not tick");
    return 0;
}
