/* A connection: reads lines, answers each, ends it when it is idle or done. */
#include "server.h"

#include <event2/buffer.h>
#include <event2/bufferevent.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct conn {
    struct server *server;
    struct conn *next, **link;
    struct bufferevent *bev;
    int skipping;  /* the rest of a line that was too long */
    int finishing; /* ends when all is sent */
};

static void conn_end(struct conn *conn) {
    *conn->link = conn->next;
    if (conn->next != NULL) conn->next->link = conn->link;
    conn->server->clients--;
    bufferevent_free(conn->bev);
    free(conn);
}

static void conn_reply(struct conn *conn, const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    evbuffer_add_vprintf(bufferevent_get_output(conn->bev), format, arguments);
    va_end(arguments);
}

static void on_sent(struct bufferevent *bev, void *user) {
    struct conn *conn = user;
    (void)bev;
    if (conn->finishing) conn_end(conn);
}

/* Says a last word, and ends the connection when it is sent. */
static void conn_finish(struct conn *conn, const char *word) {
    if (conn->finishing) return;
    conn->finishing = 1;
    conn_reply(conn, "%s\n", word);
    bufferevent_disable(conn->bev, EV_READ);
}

static void conn_command(struct conn *conn, char *line) {
    struct server *server = conn->server;
    char *rest = line;
    char *command = strsep(&rest, " ");
    char *key = rest != NULL ? strsep(&rest, " ") : NULL;
    struct entry *entry = key != NULL ? store_find(server, key) : NULL;
    server->commands++;
    if (strcmp(command, "quit") == 0) {
        conn_finish(conn, "BYE");
    } else if (strcmp(command, "stats") == 0) {
        conn_reply(conn, "CLIENTS %u ACCEPTED %u COMMANDS %u KEYS %u EXPIRED %u\n", server->clients,
                   server->accepted, server->commands, server->keys, server->expired);
    } else if (strcmp(command, "set") == 0 && key != NULL && rest != NULL) {
        conn_reply(conn, store_set(server, key, rest) == 0 ? "OK\n" : "ERROR no memory\n");
    } else if (strcmp(command, "get") == 0 && key != NULL) {
        if (entry != NULL) conn_reply(conn, "VALUE %s\n", entry->value);
        else conn_reply(conn, "NONE\n");
    } else if (strcmp(command, "del") == 0 && key != NULL) {
        conn_reply(conn, store_delete(server, key) ? "OK\n" : "NONE\n");
    } else if (strcmp(command, "expire") == 0 && key != NULL && rest != NULL) {
        if (entry == NULL) conn_reply(conn, "NONE\n");
        else conn_reply(conn, store_expire(entry, atol(rest)) == 0 ? "OK\n" : "ERROR\n");
    } else {
        conn_reply(conn, "ERROR unknown command\n");
    }
}

static void on_read(struct bufferevent *bev, void *user) {
    struct conn *conn = user;
    struct evbuffer *input = bufferevent_get_input(bev);
    while (!conn->finishing) {
        size_t length;
        char *line = evbuffer_readln(input, &length, EVBUFFER_EOL_LF);
        if (line == NULL) {
            if (evbuffer_get_length(input) > MAX_LINE) {
                if (!conn->skipping) conn_reply(conn, "ERROR line too long\n");
                conn->skipping = 1;
                evbuffer_drain(input, evbuffer_get_length(input));
            }
            return;
        }
        if (!conn->skipping && length <= MAX_LINE) conn_command(conn, line);
        else if (!conn->skipping) conn_reply(conn, "ERROR line too long\n");
        conn->skipping = 0;
        free(line);
    }
}

static void on_event(struct bufferevent *bev, short what, void *user) {
    struct conn *conn = user;
    (void)bev;
    if ((what & BEV_EVENT_TIMEOUT) && (what & BEV_EVENT_READING)) conn_finish(conn, "TIMEOUT");
    else conn_end(conn); /* the end of the stream, an error, or a client that does not read */
}

void conn_open(struct server *server, evutil_socket_t fd) {
    struct conn *conn = server->clients < MAX_CLIENTS ? calloc(1, sizeof *conn) : NULL;
    struct bufferevent *bev = conn != NULL ? bufferevent_socket_new(server->base, fd, BEV_OPT_CLOSE_ON_FREE) : NULL;
    if (bev == NULL) {
        free(conn);
        if (write(fd, "BUSY\n", 5) < 0) perror("busy");
        close(fd);
        return;
    }
    conn->server = server;
    conn->bev = bev;
    conn->next = server->conns;
    conn->link = &server->conns;
    if (conn->next != NULL) conn->next->link = &conn->next;
    server->conns = conn;
    server->clients++;
    server->accepted++;
    bufferevent_setcb(bev, on_read, on_sent, on_event, conn);
    bufferevent_set_timeouts(bev, &server->idle, &server->idle);
    bufferevent_enable(bev, EV_READ | EV_WRITE);
}

void conn_finish_all(struct server *server, const char *word) {
    for (struct conn *conn = server->conns; conn != NULL; conn = conn->next) conn_finish(conn, word);
}
