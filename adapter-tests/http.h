/* A small HTTP/1.1 server on a weir context of its own, on a thread of its own, for the tests of clients.
 *
 *     GET /bytes/N    N bytes of http_byte()
 *     GET /hang       no answer
 *     GET /half       half of the body, and no more
 *     GET /cut        half of the body, and then the end of the connection
 *     POST (any)      the number of bytes that came, as text */
#ifndef HTTP_H
#define HTTP_H

#include "net.h"

enum { HTTP_MOST = 1 << 20 };

static weir_context *http_context;
static pthread_t http_thread;
static int http_port;
static atomic_int http_connections;
static char http_body[HTTP_MOST];

struct http_connection {
    weir_stream *stream;
    weir_until until;
    char in[4096], head[256], text[32];
    char *upload;
    size_t taken;
    struct iovec out[2];
    bool last, stays;
};

static inline char http_byte(size_t at)
{
    return (char)(at * 7 + at / 251);
}

static inline void http_next(struct http_connection *connection);

static inline void http_end(struct http_connection *connection)
{
    weir_stream_close(connection->stream);
    free(connection->upload);
    free(connection);
}

static inline void http_hung(int status, size_t bytes, void *user)
{
    (void)status;
    (void)bytes;
    http_end(user); /* the client is gone, or the server ends */
}

/* No answer, or no more of it. Starts fail where the server ends, as all of them may. */
static inline void http_hang(struct http_connection *connection)
{
    if (weir_stream_read_some(connection->stream, connection->in, 1, http_hung, connection) != 0)
        http_end(connection);
}

static inline void http_written(int status, size_t bytes, void *user)
{
    struct http_connection *connection = user;
    (void)bytes;
    if (status == 0 && connection->stays)
        http_hang(connection);
    else if (status != 0 || connection->last)
        http_end(connection);
    else
        http_next(connection);
}

static inline void http_answer(struct http_connection *connection, const char *body, size_t length, size_t send)
{
    int head = snprintf(connection->head, sizeof connection->head, "HTTP/1.1 200 OK\r\nContent-Length: %zu\r\n\r\n", length);
    connection->out[0] = (struct iovec){connection->head, (size_t)head};
    connection->out[1] = (struct iovec){(void *)(uintptr_t)body, send};
    connection->last = send < length;
    connection->stays = strncmp(connection->in, "GET /half", 9) == 0;
    if (weir_stream_writev(connection->stream, connection->out, 2, http_written, connection) != 0)
        http_end(connection);
}

static inline void http_uploaded(int status, size_t bytes, void *user)
{
    struct http_connection *connection = user;
    if (status != 0) {
        http_end(connection);
        return;
    }
    snprintf(connection->text, sizeof connection->text, "%zu", bytes + connection->taken);
    http_answer(connection, connection->text, strlen(connection->text), strlen(connection->text));
}

static inline void http_asked(int status, size_t bytes, void *user)
{
    struct http_connection *connection = user;
    if (status != 0) {
        http_end(connection);
        return;
    }
    char *in = connection->in;
    in[bytes - 1] = 0;
    unsigned long length = 0;
    size_t ahead = connection->until.filled - bytes;
    if (strncmp(in, "POST ", 5) == 0) {
        char *header = strstr(in, "Content-Length: ");
        CHECK(header != NULL);
        length = strtoul(header + 16, NULL, 10);
        CHECK(length >= ahead);
        connection->taken = ahead;
        connection->until.filled = 0;
        free(connection->upload);
        connection->upload = malloc(length + 1);
        CHECK(connection->upload != NULL);
        if (weir_stream_read(connection->stream, connection->upload, length - ahead, http_uploaded, connection) != 0)
            http_end(connection);
        return;
    }
    CHECK_EQ(ahead, 0); /* no client of these tests asks ahead */
    connection->until.filled = 0;
    if (strncmp(in, "GET /hang", 9) == 0)
        http_hang(connection);
    else if (strncmp(in, "GET /cut", 8) == 0 || strncmp(in, "GET /half", 9) == 0)
        http_answer(connection, http_body, 1000, 500);
    else if (sscanf(in, "GET /bytes/%lu", &length) == 1 && length <= HTTP_MOST)
        http_answer(connection, http_body, length, length);
    else
        check_fail(__FILE__, __LINE__, "the server was asked: %s", in);
}

static inline void http_next(struct http_connection *connection)
{
    if (weir_stream_read_until(connection->stream, &connection->until, http_asked, connection) != 0)
        http_end(connection);
}

static inline void http_accepted(int status, weir_stream *peer, const struct sockaddr *address, socklen_t length, void *user)
{
    (void)address;
    (void)length;
    (void)user;
    if (status != 0)
        return;
    struct http_connection *connection = calloc(1, sizeof *connection);
    CHECK(connection != NULL);
    http_connections++;
    connection->stream = peer;
    connection->until = (weir_until){.struct_size = sizeof connection->until,
                                     .data = connection->in,
                                     .capacity = sizeof connection->in,
                                     .delimiter = "\r\n\r\n",
                                     .delimiter_length = 4};
    http_next(connection);
}

static inline void *http_run(void *user)
{
    (void)user;
    CHECK_OK(weir_context_run(http_context, NULL));
    CHECK_OK(weir_context_destroy(http_context));
    return NULL;
}

static inline void http_start(void)
{
    struct where where;
    for (size_t i = 0; i < sizeof http_body; i++)
        http_body[i] = http_byte(i);
    http_context = new_context();
    weir_acceptor *acceptor = new_listener(http_context, AF_INET, 1024, &where);
    http_port = port_of(&where);
    CHECK_OK(weir_acceptor_accept_each(acceptor, http_accepted, NULL));
    http_thread = start_thread(http_run, NULL);
}

static inline void http_stop(void)
{
    CHECK_OK(weir_context_stop(http_context));
    join_thread(http_thread);
}

#endif
