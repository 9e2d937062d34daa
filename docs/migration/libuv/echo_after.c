/* The same line echo server on libweir, as near to its libuv form as it goes. */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <weir.h>

static weir_context *context;
static weir_acceptor *server;
static weir_timer *tick;
static weir_signals *term;
static int64_t idle;
static unsigned lines, ticks;

struct client {
    weir_stream *tcp;
    size_t filled;
    char buffer[4096];
};

static void client_end(struct client *client) {
    weir_stream_close(client->tcp);
    free(client);
}

static void on_drained(int status, size_t bytes, void *user) {
    (void)status, (void)bytes;
    client_end(user);
}

/* After all that was written. */
static void client_end_when_sent(struct client *client) {
    if (weir_stream_send(client->tcp, NULL, 0, on_drained, client) != 0) client_end(client);
}

static void client_write(struct client *client, const char *prefix, const char *text, size_t length) {
    weir_stream_send_copy(client->tcp, prefix, strlen(prefix), NULL);
    weir_stream_send_copy(client->tcp, text, length, NULL);
}

/* One call for each read_some. Reading ends by not beginning the next one. */
static void on_read(int status, size_t count, void *user) {
    struct client *client = user;
    char *end;
    if (status == WEIR_ETIMEDOUT) {
        client_write(client, "", "idle\n", 5);
        client_end_when_sent(client);
        return;
    }
    client->filled += count;
    while (status == 0 && (end = memchr(client->buffer, '\n', client->filled)) != NULL) {
        size_t length = end + 1 - client->buffer;
        int quit = length == 5 && memcmp(client->buffer, "quit", 4) == 0;
        lines++;
        client_write(client, "echo: ", client->buffer, length);
        if (quit) {
            client_end_when_sent(client);
            return;
        }
        client->filled -= length;
        memmove(client->buffer, end + 1, client->filled);
    }
    size_t room = sizeof client->buffer - client->filled; /* none: a line of more than 4096 */
    if (status == 0 && room > 0)
        status = weir_stream_read_some(client->tcp, client->buffer + client->filled, room, on_read, client);
    if (status != 0 || room == 0) client_end(client); /* WEIR_EOF, -ECONNRESET, WEIR_ECANCELED at the end */
}

static void on_connection(int status, weir_stream *peer, const struct sockaddr *address, socklen_t length,
                          void *user) {
    (void)address, (void)length, (void)user;
    if (status < 0) return;
    struct client *client = calloc(1, sizeof *client);
    client->tcp = peer;
    weir_stream_set_timeout(peer, WEIR_WAIT_READ, idle);
    if (weir_stream_read_some(peer, client->buffer, sizeof client->buffer, on_read, client) != 0) client_end(client);
}

static void on_tick(int status, void *user) {
    (void)user;
    if (status == 0) ticks++;
}

static void on_signal(int status, int signo, void *user) {
    (void)signo, (void)user;
    if (status == 0) weir_context_stop(context); /* the destruction closes everything */
}

int main(int argc, char **argv) {
    idle = (int64_t)(argc > 1 ? atoi(argv[1]) : 60000) * 1000000;
    struct sockaddr_storage address;
    socklen_t length;
    char text[WEIR_ADDRESS_TEXT_MAX];
    int error = weir_context_create(NULL, &context);
    if (error == 0) error = weir_acceptor_create(context, &server);
    if (error == 0) error = weir_timer_create(context, &tick);
    if (error == 0) error = weir_signals_create(context, &term);
    if (error == 0) error = weir_address_parse("127.0.0.1:0", &address, &length);
    if (error == 0) error = weir_acceptor_bind(server, (struct sockaddr *)&address, length);
    if (error == 0) error = weir_acceptor_listen(server, 128);
    if (error == 0) error = weir_acceptor_accept_each(server, on_connection, NULL);
    if (error == 0) error = weir_acceptor_local_address(server, &address, &length);
    if (error == 0) error = weir_address_format((struct sockaddr *)&address, length, text, sizeof text);
    if (error == 0) error = weir_timer_start(tick, 50000000, 50000000, on_tick, NULL);
    if (error == 0) error = weir_signals_add(term, SIGTERM, 0);
    if (error == 0) error = weir_signals_wait(term, on_signal, NULL);
    if (error != 0) {
        fprintf(stderr, "start: %s\n", weir_strerror(error));
        return 1;
    }

    printf("listening on %s\n", strrchr(text, ':') + 1);
    fflush(stdout);
    weir_context_run(context, NULL);

    weir_context_destroy(context);
    printf("%u lines, the timer %s\n", lines, ticks > 0 ? "ticked" : "did not tick");
    return 0;
}
