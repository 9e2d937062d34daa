/* A line echo server on libevent: a time limit for idle clients, a timer, a clean end on SIGTERM. */
#include <event2/buffer.h>
#include <event2/bufferevent.h>
#include <event2/event.h>
#include <event2/listener.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static struct event_base *base;
static struct timeval idle;
static unsigned lines, ticks;

struct client {
    struct bufferevent *bev;
    struct client *next, **link;
};
static struct client *clients;

static void client_end(struct client *client) {
    *client->link = client->next;
    if (client->next != NULL) client->next->link = client->link;
    bufferevent_free(client->bev);
    free(client);
}

static void on_drained(struct bufferevent *bev, void *user) {
    (void)bev;
    client_end(user);
}

static void on_read(struct bufferevent *bev, void *user) {
    struct evbuffer *input = bufferevent_get_input(bev);
    char *line;
    while ((line = evbuffer_readln(input, NULL, EVBUFFER_EOL_LF)) != NULL) {
        int quit = strcmp(line, "quit") == 0;
        lines++;
        evbuffer_add_printf(bufferevent_get_output(bev), "echo: %s\n", line);
        free(line);
        if (quit) {
            bufferevent_disable(bev, EV_READ);
            bufferevent_setcb(bev, NULL, on_drained, NULL, user);
            return;
        }
    }
}

static void on_event(struct bufferevent *bev, short what, void *user) {
    if (what & BEV_EVENT_TIMEOUT) {
        bufferevent_write(bev, "idle\n", 5);
        bufferevent_setcb(bev, NULL, on_drained, NULL, user);
        return;
    }
    client_end(user); /* BEV_EVENT_EOF or BEV_EVENT_ERROR */
}

static void on_accept(struct evconnlistener *listener, evutil_socket_t fd, struct sockaddr *address,
                      int length, void *user) {
    struct client *client = calloc(1, sizeof *client);
    (void)listener, (void)address, (void)length, (void)user;
    client->bev = bufferevent_socket_new(base, fd, BEV_OPT_CLOSE_ON_FREE);
    client->next = clients;
    client->link = &clients;
    if (clients != NULL) clients->link = &client->next;
    clients = client;
    bufferevent_setcb(client->bev, on_read, NULL, on_event, client);
    bufferevent_set_timeouts(client->bev, &idle, NULL);
    bufferevent_enable(client->bev, EV_READ | EV_WRITE);
}

static void on_tick(evutil_socket_t fd, short what, void *user) {
    (void)fd, (void)what, (void)user;
    ticks++;
}

static void on_signal(evutil_socket_t fd, short what, void *user) {
    (void)fd, (void)what, (void)user;
    event_base_loopbreak(base);
}

int main(int argc, char **argv) {
    int milliseconds = argc > 1 ? atoi(argv[1]) : 60000;
    idle.tv_sec = milliseconds / 1000;
    idle.tv_usec = milliseconds % 1000 * 1000;
    base = event_base_new();

    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    struct evconnlistener *listener =
        evconnlistener_new_bind(base, on_accept, NULL, LEV_OPT_CLOSE_ON_FREE | LEV_OPT_REUSEABLE, -1,
                                (struct sockaddr *)&address, sizeof address);
    if (listener == NULL) {
        perror("listen");
        return 1;
    }
    socklen_t length = sizeof address;
    getsockname(evconnlistener_get_fd(listener), (struct sockaddr *)&address, &length);

    struct event *tick = event_new(base, -1, EV_PERSIST, on_tick, NULL);
    struct timeval period = {0, 50 * 1000};
    event_add(tick, &period);
    struct event *term = evsignal_new(base, SIGTERM, on_signal, NULL);
    event_add(term, NULL);
    signal(SIGPIPE, SIG_IGN);

    printf("listening on %d\n", ntohs(address.sin_port));
    fflush(stdout);
    event_base_dispatch(base);

    while (clients != NULL) client_end(clients);
    evconnlistener_free(listener);
    event_free(tick);
    event_free(term);
    event_base_free(base);
    printf("%u lines, the timer %s\n", lines, ticks > 0 ? "ticked" : "did not tick");
    return 0;
}
