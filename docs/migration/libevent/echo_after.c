/* The same line echo server on libweir. */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <weir.h>

static weir_context *context;
static int64_t idle;
static unsigned lines, ticks;

struct client {
    weir_stream *stream;
    weir_until until;
    char buffer[4096];
};

static void client_end(struct client *client) {
    weir_stream_close(client->stream);
    free(client);
}

static void on_drained(int status, size_t bytes, void *user) {
    (void)status, (void)bytes;
    client_end(user);
}

static void client_end_when_sent(struct client *client) {
    if (weir_stream_send(client->stream, NULL, 0, on_drained, client) != 0) client_end(client);
}

/* Also called, with WEIR_ECANCELED, when the context is destroyed: this is where every client ends. */
static void on_line(int status, size_t bytes, void *user) {
    struct client *client = user;
    if (status == WEIR_ETIMEDOUT) {
        weir_stream_send_copy(client->stream, "idle\n", 5, NULL);
        client_end_when_sent(client);
        return;
    }
    if (status != 0) { /* WEIR_EOF, -ECONNRESET, WEIR_ECANCELED, -EMSGSIZE: a line of more than 4096 */
        client_end(client);
        return;
    }
    int quit = bytes == 5 && memcmp(client->buffer, "quit", 4) == 0;
    lines++;
    weir_stream_send_copy(client->stream, "echo: ", 6, NULL);
    weir_stream_send_copy(client->stream, client->buffer, bytes, NULL);
    if (quit) {
        client_end_when_sent(client);
        return;
    }
    client->until.filled -= bytes;
    memmove(client->buffer, client->buffer + bytes, client->until.filled);
    if (weir_stream_read_until(client->stream, &client->until, on_line, client) != 0) client_end(client);
}

static void on_accept(int status, weir_stream *peer, const struct sockaddr *address, socklen_t length,
                      void *user) {
    (void)address, (void)length, (void)user;
    if (status != 0) return;
    struct client *client = calloc(1, sizeof *client);
    client->stream = peer;
    client->until = (weir_until){.struct_size = sizeof client->until,
                                 .data = client->buffer,
                                 .capacity = sizeof client->buffer,
                                 .delimiter = "\n",
                                 .delimiter_length = 1};
    weir_stream_set_timeout(peer, WEIR_WAIT_READ, idle);
    if (weir_stream_read_until(peer, &client->until, on_line, client) != 0) client_end(client);
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
    weir_acceptor *acceptor;
    weir_timer *tick;
    weir_signals *term;
    struct sockaddr_storage address;
    socklen_t length;
    char text[WEIR_ADDRESS_TEXT_MAX];

    int error = weir_context_create(NULL, &context);
    if (error == 0) error = weir_acceptor_create(context, &acceptor);
    if (error == 0) error = weir_address_parse("127.0.0.1:0", &address, &length);
    if (error == 0) error = weir_acceptor_bind(acceptor, (struct sockaddr *)&address, length);
    if (error == 0) error = weir_acceptor_listen(acceptor, 0);
    if (error == 0) error = weir_acceptor_accept_each(acceptor, on_accept, NULL);
    if (error == 0) error = weir_acceptor_local_address(acceptor, &address, &length);
    if (error == 0) error = weir_address_format((struct sockaddr *)&address, length, text, sizeof text);
    if (error == 0) error = weir_timer_create(context, &tick);
    if (error == 0) error = weir_timer_start(tick, 50000000, 50000000, on_tick, NULL);
    if (error == 0) error = weir_signals_create(context, &term);
    if (error == 0) error = weir_signals_add(term, SIGTERM, 0);
    if (error == 0) error = weir_signals_wait(term, on_signal, NULL);
    if (error != 0) {
        fprintf(stderr, "start: %s\n", weir_strerror(error));
        return 1;
    }

    printf("listening on %s\n", strrchr(text, ':') + 1);
    fflush(stdout);
    weir_context_run(context, NULL);

    weir_context_destroy(context); /* closes what is open and calls what is owed */
    printf("%u lines, the timer %s\n", lines, ticks > 0 ? "ticked" : "did not tick");
    return 0;
}
