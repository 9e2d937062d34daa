/* keyd [IDLE_MS]: listens on a free port of 127.0.0.1. SIGUSR1 prints figures, SIGTERM ends it cleanly. */
#include "server.h"

#include <event2/listener.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>

static struct server server;
static struct evconnlistener *listener;
static struct event *terminate, *report;

static void on_accept(struct evconnlistener *from, evutil_socket_t fd, struct sockaddr *address, int length,
                      void *user) {
    (void)from, (void)address, (void)length, (void)user;
    conn_open(&server, fd);
}

static void print_figures(void) {
    printf("clients %u, accepted %u, commands %u, keys %u, expired %u\n", server.clients, server.accepted,
           server.commands, server.keys, server.expired);
    fflush(stdout);
}

static void on_report(evutil_socket_t signo, short what, void *user) {
    (void)signo, (void)what, (void)user;
    print_figures();
}

/* Nothing new begins. The loop returns when the last client has gone. */
static void on_terminate(evutil_socket_t signo, short what, void *user) {
    (void)signo, (void)what, (void)user;
    printf("terminating\n");
    evconnlistener_free(listener);
    event_free(report);
    event_free(terminate);
    store_clear(&server);
    conn_finish_all(&server, "CLOSING");
}

static int start(void) {
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t length = sizeof address;
    server.base = event_base_new();
    if (server.base == NULL) return -1;
    listener = evconnlistener_new_bind(server.base, on_accept, NULL, LEV_OPT_CLOSE_ON_FREE | LEV_OPT_REUSEABLE, -1,
                                       (struct sockaddr *)&address, sizeof address);
    if (listener == NULL) return -1;
    if (getsockname(evconnlistener_get_fd(listener), (struct sockaddr *)&address, &length) != 0) return -1;
    terminate = evsignal_new(server.base, SIGTERM, on_terminate, NULL);
    report = evsignal_new(server.base, SIGUSR1, on_report, NULL);
    if (terminate == NULL || event_add(terminate, NULL) != 0) return -1;
    if (report == NULL || event_add(report, NULL) != 0) return -1;
    signal(SIGPIPE, SIG_IGN);
    printf("listening on %d\n", ntohs(address.sin_port));
    fflush(stdout);
    return 0;
}

int main(int argc, char **argv) {
    long idle = argc > 1 ? atol(argv[1]) : 60000;
    server.idle.tv_sec = idle / 1000;
    server.idle.tv_usec = idle % 1000 * 1000;
    if (start() != 0) {
        fprintf(stderr, "keyd: can't start\n");
        return 1;
    }
    event_base_dispatch(server.base);
    event_base_free(server.base);
    print_figures();
    return 0;
}
