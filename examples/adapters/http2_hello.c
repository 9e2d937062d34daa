/*
 * An HTTP/2 server that answers each request with its path, with nghttp2 on weir streams (in the clear: clients need prior
 * knowledge). It ends at SIGINT or SIGTERM, after the answers that are on their way.
 *
 *     http2_hello [ADDRESS]                      (default 127.0.0.1:8080)
 *     nghttp http://127.0.0.1:8080/some/path
 */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <weir.h>
#include <weir/nghttp2.h>

struct answer {
    char text[256];
    size_t length, sent;
};

struct connection {
    weir_nghttp2 *http;
    struct connection *next, **link;
};

static struct connection *connections;

static int on_begin_headers(nghttp2_session *session, const nghttp2_frame *frame, void *user) {
    (void)user;
    struct answer *answer = calloc(1, sizeof *answer);
    if (answer == NULL) return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
    return nghttp2_session_set_stream_user_data(session, frame->hd.stream_id, answer);
}

static int on_header(nghttp2_session *session, const nghttp2_frame *frame, const uint8_t *name, size_t name_length, const uint8_t *value,
                     size_t length, uint8_t flags, void *user) {
    struct answer *answer = nghttp2_session_get_stream_user_data(session, frame->hd.stream_id);
    (void)flags, (void)user;
    if (answer != NULL && name_length == 5 && memcmp(name, ":path", 5) == 0) {
        int used = snprintf(answer->text, sizeof answer->text, "hello, %.*s\n", length < 200 ? (int)length : 200, (const char *)value);
        answer->length = used > 0 ? (size_t)used : 0;
    }
    return 0;
}

static ssize_t give_body(nghttp2_session *session, int32_t id, uint8_t *data, size_t length, uint32_t *flags, nghttp2_data_source *source,
                         void *user) {
    struct answer *answer = source->ptr;
    size_t left = answer->length - answer->sent;
    (void)session, (void)id, (void)user;
    if (length > left) length = left;
    memcpy(data, answer->text + answer->sent, length);
    answer->sent += length;
    if (answer->sent == answer->length) *flags |= NGHTTP2_DATA_FLAG_EOF;
    return (ssize_t)length;
}

#define FIELD(name, value) {(uint8_t *)(name), (uint8_t *)(value), sizeof(name) - 1, sizeof(value) - 1, NGHTTP2_NV_FLAG_NONE}

static int on_frame(nghttp2_session *session, const nghttp2_frame *frame, void *user) {
    static char status[] = ":status", ok[] = "200", type[] = "content-type", plain[] = "text/plain";
    int request = frame->hd.type == NGHTTP2_HEADERS || frame->hd.type == NGHTTP2_DATA;
    (void)user;
    if (request && (frame->hd.flags & NGHTTP2_FLAG_END_STREAM)) {
        nghttp2_nv fields[] = {FIELD(status, ok), FIELD(type, plain)};
        nghttp2_data_provider body = {{.ptr = nghttp2_session_get_stream_user_data(session, frame->hd.stream_id)}, give_body};
        return nghttp2_submit_response(session, frame->hd.stream_id, fields, 2, &body);
    }
    return 0;
}

static int on_stream_close(nghttp2_session *session, int32_t id, uint32_t error, void *user) {
    (void)error, (void)user;
    free(nghttp2_session_get_stream_user_data(session, id));
    return 0;
}

static void on_end(int status, void *user) {
    struct connection *connection = user;
    if (status != 0 && status != WEIR_EOF) fprintf(stderr, "http2_hello: %s\n", weir_strerror(status));
    *connection->link = connection->next;
    if (connection->next != NULL) connection->next->link = connection->link;
    weir_nghttp2_close(connection->http);
    free(connection);
}

static void on_accept(int status, weir_stream *peer, const struct sockaddr *address, socklen_t length, void *user) {
    nghttp2_session *session = NULL;
    (void)address, (void)length;
    if (status != 0) return;
    struct connection *connection = calloc(1, sizeof *connection);
    if (connection != NULL && nghttp2_session_server_new(&session, user, connection) == 0) {
        nghttp2_submit_settings(session, NGHTTP2_FLAG_NONE, NULL, 0);
        if (weir_nghttp2_attach(peer, session, NULL, &connection->http, on_end, connection) == 0) {
            connection->next = connections;
            connection->link = &connections;
            if (connections != NULL) connections->link = &connection->next;
            connections = connection;
            return;
        }
    }
    nghttp2_session_del(session);
    free(connection);
    weir_stream_close(peer);
}

static void on_signal(int status, int number, void *user) {
    (void)number;
    if (status != 0) return;
    weir_acceptor_close(user);
    for (struct connection *one = connections; one != NULL; one = one->next) {
        nghttp2_session *session = weir_nghttp2_get(one->http);
        nghttp2_submit_goaway(session, NGHTTP2_FLAG_NONE, nghttp2_session_get_last_proc_stream_id(session), NGHTTP2_NO_ERROR, NULL, 0);
        weir_nghttp2_send(one->http);
    }
}

static void must(int error, const char *what) {
    if (error == 0) return;
    fprintf(stderr, "http2_hello: %s: %s\n", what, weir_strerror(error));
    exit(1);
}

int main(int argc, char **argv) {
    weir_context *context = NULL;
    weir_acceptor *acceptor = NULL;
    weir_signals *signals = NULL;
    nghttp2_session_callbacks *callbacks = NULL;
    struct sockaddr_storage address;
    socklen_t length;
    char text[128];
    if (nghttp2_session_callbacks_new(&callbacks) != 0) return 1;
    nghttp2_session_callbacks_set_on_begin_headers_callback(callbacks, on_begin_headers);
    nghttp2_session_callbacks_set_on_header_callback(callbacks, on_header);
    nghttp2_session_callbacks_set_on_frame_recv_callback(callbacks, on_frame);
    nghttp2_session_callbacks_set_on_stream_close_callback(callbacks, on_stream_close);

    must(weir_context_create(NULL, &context), "context");
    must(weir_acceptor_create(context, &acceptor), "acceptor");
    must(weir_address_parse(argc > 1 ? argv[1] : "127.0.0.1:8080", &address, &length), "address");
    must(weir_acceptor_bind(acceptor, (struct sockaddr *)&address, length), "bind");
    must(weir_acceptor_listen(acceptor, 0), "listen");
    must(weir_acceptor_accept_each(acceptor, on_accept, callbacks), "accept");
    must(weir_signals_create(context, &signals), "signals");
    must(weir_signals_add(signals, SIGINT, 0), "signals");
    must(weir_signals_add(signals, SIGTERM, 0), "signals");
    must(weir_signals_wait(signals, on_signal, acceptor), "signals");
    must(weir_acceptor_local_address(acceptor, &address, &length), "address");
    must(weir_address_format((struct sockaddr *)&address, length, text, sizeof text), "address");
    printf("listening on %s\n", text);
    fflush(stdout);
    must(weir_context_run(context, NULL), "run"); /* returns when the last connection has ended */
    weir_context_destroy(context);
    nghttp2_session_callbacks_del(callbacks);
    return 0;
}
