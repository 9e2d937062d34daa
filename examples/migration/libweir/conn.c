/* A connection: reads lines, answers each, ends it when it is idle or done. */
#include "server.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct conn {
    struct server *server;
    struct conn *next, **link;
    weir_stream *stream; /* NULL: ended */
    weir_until until;
    char buffer[MAX_LINE + 1];
    int pending;   /* calls that are still to come, and the one that runs: what keeps the memory */
    int skipping;  /* the rest of a line that was too long */
    int finishing; /* ends when all is sent */
};

static void conn_end(struct conn *conn) {
    if (conn->stream == NULL) return;
    *conn->link = conn->next;
    if (conn->next != NULL) conn->next->link = conn->link;
    conn->server->clients--;
    weir_stream_close(conn->stream); /* what is pending is called with WEIR_ECANCELED */
    conn->stream = NULL;
}

static void conn_release(struct conn *conn) {
    if (--conn->pending == 0) free(conn);
}

static void conn_reply(struct conn *conn, const char *format, ...) {
    char text[MAX_LINE + 64];
    va_list arguments;
    va_start(arguments, format);
    int length = vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    if (weir_stream_send_copy(conn->stream, text, length, NULL) != 0) conn_end(conn);
}

static void on_sent(int status, size_t bytes, void *user) {
    struct conn *conn = user;
    (void)status, (void)bytes;
    conn_end(conn);
    conn_release(conn);
}

/* Says a last word, and ends the connection when it is sent. */
static void conn_finish(struct conn *conn, const char *word) {
    if (conn->finishing) return;
    conn->finishing = 1;
    conn_reply(conn, "%s\n", word);
    if (weir_stream_send(conn->stream, NULL, 0, on_sent, conn) == 0) conn->pending++;
    else conn_end(conn);
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

static void on_read(int status, size_t bytes, void *user);

static void conn_read(struct conn *conn) {
    if (weir_stream_read_until(conn->stream, &conn->until, on_read, conn) == 0) conn->pending++;
    else conn_end(conn);
}

static void on_read(int status, size_t bytes, void *user) {
    struct conn *conn = user;
    if (conn->finishing) {
        /* on_sent ends it */
    } else if (status == 0) {
        conn->buffer[bytes - 1] = 0;
        if (!conn->skipping) conn_command(conn, conn->buffer);
        conn->skipping = 0;
        conn->until.filled -= bytes;
        memmove(conn->buffer, conn->buffer + bytes, conn->until.filled);
        if (!conn->finishing) conn_read(conn);
    } else if (status == -EMSGSIZE) {
        if (!conn->skipping) conn_reply(conn, "ERROR line too long\n");
        conn->skipping = 1;
        conn->until.filled = 0;
        conn_read(conn);
    } else if (status == WEIR_ETIMEDOUT) {
        conn_finish(conn, "TIMEOUT");
    } else {
        conn_end(conn); /* the end of the stream, or an error */
    }
    conn_release(conn);
}

void conn_open(struct server *server, weir_stream *stream) {
    struct conn *conn = server->clients < MAX_CLIENTS ? calloc(1, sizeof *conn) : NULL;
    if (conn == NULL) {
        weir_stream_send_copy(stream, "BUSY\n", 5, NULL);
        weir_stream_close(stream);
        return;
    }
    conn->server = server;
    conn->stream = stream;
    conn->pending = 1;
    conn->until = (weir_until){.struct_size = sizeof conn->until,
                               .data = conn->buffer,
                               .capacity = sizeof conn->buffer,
                               .delimiter = "\n",
                               .delimiter_length = 1};
    conn->next = server->conns;
    conn->link = &server->conns;
    if (conn->next != NULL) conn->next->link = &conn->next;
    server->conns = conn;
    server->clients++;
    server->accepted++;
    weir_stream_set_timeout(stream, WEIR_WAIT_READ | WEIR_WAIT_WRITE, server->idle);
    conn_read(conn);
    conn_release(conn);
}

void conn_finish_all(struct server *server, const char *word) {
    for (struct conn *conn = server->conns; conn != NULL; conn = conn->next) conn_finish(conn, word);
}
