/* keyd [IDLE_MS]: listens on a free port of 127.0.0.1. SIGUSR1 prints figures, SIGTERM ends it cleanly. */
#include "server.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static struct server server;
static weir_acceptor *listener;
static weir_signals *terminate, *report;

static void on_accept(int status, weir_stream *peer, const struct sockaddr *address, socklen_t length, void *user) {
    (void)address, (void)length, (void)user;
    if (status == 0) conn_open(&server, peer);
}

static void print_figures(void) {
    printf("clients %u, accepted %u, commands %u, keys %u, expired %u\n", server.clients, server.accepted,
           server.commands, server.keys, server.expired);
    fflush(stdout);
}

static void on_report(int status, int signo, void *user) {
    (void)signo, (void)user;
    if (status != 0) return; /* WEIR_ECANCELED: it was closed */
    print_figures();
    weir_signals_wait(report, on_report, NULL);
}

/* Nothing new begins. The loop returns when the last client has gone. */
static void on_terminate(int status, int signo, void *user) {
    (void)signo, (void)user;
    if (status != 0) return;
    printf("terminating\n");
    weir_acceptor_close(listener);
    weir_signals_close(report);
    weir_signals_close(terminate);
    store_clear(&server);
    conn_finish_all(&server, "CLOSING");
}

static int start(void) {
    struct sockaddr_storage address;
    socklen_t length;
    char text[WEIR_ADDRESS_TEXT_MAX];
    int error = weir_context_create(NULL, &server.context);
    if (error == 0) error = weir_acceptor_create(server.context, &listener);
    if (error == 0) error = weir_address_parse("127.0.0.1:0", &address, &length);
    if (error == 0) error = weir_acceptor_bind(listener, (struct sockaddr *)&address, length);
    if (error == 0) error = weir_acceptor_listen(listener, 0);
    if (error == 0) error = weir_acceptor_accept_each(listener, on_accept, NULL);
    if (error == 0) error = weir_acceptor_local_address(listener, &address, &length);
    if (error == 0) error = weir_address_format((struct sockaddr *)&address, length, text, sizeof text);
    if (error == 0) error = weir_signals_create(server.context, &terminate);
    if (error == 0) error = weir_signals_add(terminate, SIGTERM, 0);
    if (error == 0) error = weir_signals_wait(terminate, on_terminate, NULL);
    if (error == 0) error = weir_signals_create(server.context, &report);
    if (error == 0) error = weir_signals_add(report, SIGUSR1, 0);
    if (error == 0) error = weir_signals_wait(report, on_report, NULL);
    if (error != 0) return error;
    printf("listening on %s\n", strrchr(text, ':') + 1);
    fflush(stdout);
    return 0;
}

int main(int argc, char **argv) {
    long idle = argc > 1 ? atol(argv[1]) : 60000;
    server.idle = idle * 1000000;
    int error = start();
    if (error != 0) {
        fprintf(stderr, "keyd: can't start: %s\n", weir_strerror(error));
        return 1;
    }
    weir_context_run(server.context, NULL);
    weir_context_destroy(server.context);
    print_figures();
    return 0;
}
