/* A line echo server on libuv: a time limit for idle clients, a timer, a clean end on SIGTERM. */
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <uv.h>

static uv_loop_t loop;
static uv_tcp_t server;
static uv_timer_t tick;
static uv_signal_t term;
static unsigned idle, lines, ticks;

struct client {
    uv_tcp_t tcp;
    uv_timer_t idle;
    uv_shutdown_t shutdown;
    int handles;
    size_t filled;
    char buffer[4096];
};

struct answer {
    uv_write_t request;
    char text[];
};

static void on_closed(uv_handle_t *handle) {
    struct client *client = handle->data;
    if (--client->handles == 0) free(client);
}

static void client_end(struct client *client) {
    if (uv_is_closing((uv_handle_t *)&client->tcp)) return;
    uv_close((uv_handle_t *)&client->tcp, on_closed);
    uv_close((uv_handle_t *)&client->idle, on_closed);
}

static void on_shutdown(uv_shutdown_t *request, int status) {
    (void)status;
    client_end(request->data);
}

/* After all that was written. */
static void client_end_when_sent(struct client *client) {
    uv_read_stop((uv_stream_t *)&client->tcp);
    uv_timer_stop(&client->idle);
    client->shutdown.data = client;
    if (uv_shutdown(&client->shutdown, (uv_stream_t *)&client->tcp, on_shutdown) != 0) client_end(client);
}

static void on_written(uv_write_t *request, int status) {
    (void)status;
    free(request);
}

static void client_write(struct client *client, const char *prefix, const char *text, size_t length) {
    size_t before = strlen(prefix);
    struct answer *answer = malloc(sizeof *answer + before + length);
    memcpy(answer->text, prefix, before);
    memcpy(answer->text + before, text, length);
    uv_buf_t buffer = uv_buf_init(answer->text, before + length);
    if (uv_write(&answer->request, (uv_stream_t *)&client->tcp, &buffer, 1, on_written) != 0) free(answer);
}

static void on_alloc(uv_handle_t *handle, size_t suggested, uv_buf_t *buffer) {
    struct client *client = handle->data;
    (void)suggested;
    *buffer = uv_buf_init(client->buffer + client->filled, sizeof client->buffer - client->filled);
}

static void on_read(uv_stream_t *stream, ssize_t count, const uv_buf_t *buffer) {
    struct client *client = stream->data;
    char *end;
    (void)buffer;
    if (count < 0) { /* UV_EOF, UV_ECONNRESET, UV_ENOBUFS: a line of more than 4096 */
        client_end(client);
        return;
    }
    uv_timer_again(&client->idle);
    client->filled += count;
    while ((end = memchr(client->buffer, '\n', client->filled)) != NULL) {
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
}

static void on_idle(uv_timer_t *timer) {
    struct client *client = timer->data;
    client_write(client, "", "idle\n", 5);
    client_end_when_sent(client);
}

static void on_connection(uv_stream_t *listener, int status) {
    if (status < 0) return;
    struct client *client = calloc(1, sizeof *client);
    client->handles = 2;
    uv_tcp_init(&loop, &client->tcp);
    uv_timer_init(&loop, &client->idle);
    client->tcp.data = client->idle.data = client;
    if (uv_accept(listener, (uv_stream_t *)&client->tcp) != 0) {
        client_end(client);
        return;
    }
    uv_timer_start(&client->idle, on_idle, idle, idle);
    uv_read_start((uv_stream_t *)&client->tcp, on_alloc, on_read);
}

static void on_tick(uv_timer_t *timer) {
    (void)timer;
    ticks++;
}

static void end_handle(uv_handle_t *handle, void *user) {
    (void)user;
    if (!uv_is_closing(handle)) uv_close(handle, handle->data != NULL ? on_closed : NULL);
}

static void on_signal(uv_signal_t *handle, int signo) {
    (void)handle, (void)signo;
    uv_walk(&loop, end_handle, NULL); /* without handles uv_run returns */
}

int main(int argc, char **argv) {
    idle = argc > 1 ? atoi(argv[1]) : 60000;
    struct sockaddr_in address;
    int length = sizeof address;
    uv_loop_init(&loop);
    uv_ip4_addr("127.0.0.1", 0, &address);
    uv_tcp_init(&loop, &server);
    uv_timer_init(&loop, &tick);
    uv_signal_init(&loop, &term);
    int error = uv_tcp_bind(&server, (struct sockaddr *)&address, 0);
    if (error == 0) error = uv_listen((uv_stream_t *)&server, 128, on_connection);
    if (error == 0) error = uv_tcp_getsockname(&server, (struct sockaddr *)&address, &length);
    if (error == 0) error = uv_timer_start(&tick, on_tick, 50, 50);
    if (error == 0) error = uv_signal_start(&term, on_signal, SIGTERM);
    if (error != 0) {
        fprintf(stderr, "start: %s\n", uv_strerror(error));
        return 1;
    }
    signal(SIGPIPE, SIG_IGN);

    printf("listening on %d\n", ntohs(address.sin_port));
    fflush(stdout);
    uv_run(&loop, UV_RUN_DEFAULT);

    uv_loop_close(&loop);
    printf("%u lines, the timer %s\n", lines, ticks > 0 ? "ticked" : "did not tick");
    return 0;
}
