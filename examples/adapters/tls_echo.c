/*
 * An echo server over TLS 1.3, with OpenSSL on weir streams. It ends at SIGINT or SIGTERM.
 *
 *     tls_echo CERTIFICATE.pem KEY.pem [ADDRESS]             (default 127.0.0.1:4433)
 *
 * To make a certificate:
 *     openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -keyout key.pem -out cert.pem -subj /CN=localhost
 */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <weir.h>
#include <weir/openssl.h>

struct connection {
    weir_ssl *tls;
    char data[16384];
};

static SSL_CTX *ctx;

static void end(struct connection *connection) {
    weir_ssl_close(connection->tls); /* nothing is pending */
    free(connection);
}

static void echo(int status, size_t bytes, void *user);

static void on_shutdown(int status, void *user) {
    (void)status;
    end(user);
}

static void on_written(int status, size_t bytes, void *user) {
    struct connection *connection = user;
    (void)bytes;
    if (status == 0) status = weir_ssl_read_some(connection->tls, connection->data, sizeof connection->data, echo, connection);
    if (status != 0) end(connection);
}

static void echo(int status, size_t bytes, void *user) {
    struct connection *connection = user;
    if (status == 0) status = weir_ssl_write(connection->tls, connection->data, bytes, on_written, connection);
    else if (status == WEIR_EOF) status = weir_ssl_shutdown(connection->tls, on_shutdown, connection);
    if (status != 0) end(connection);
}

static void on_handshake(int status, void *user) {
    struct connection *connection = user;
    if (status != 0) {
        char text[256];
        ERR_error_string_n(weir_ssl_error(connection->tls), text, sizeof text);
        fprintf(stderr, "tls_echo: handshake: %s (%s)\n", weir_strerror(status), text);
    }
    on_written(status, 0, connection);
}

static void on_accept(int status, weir_stream *peer, const struct sockaddr *address, socklen_t length, void *user) {
    (void)address, (void)length, (void)user;
    if (status != 0) return;
    struct connection *connection = malloc(sizeof *connection);
    SSL *ssl = SSL_new(ctx);
    if (connection != NULL && ssl != NULL) {
        SSL_set_accept_state(ssl);
        if (weir_ssl_create(peer, ssl, NULL, &connection->tls) == 0) {
            if (weir_ssl_handshake(connection->tls, on_handshake, connection) != 0) end(connection);
            return;
        }
    }
    SSL_free(ssl);
    free(connection);
    weir_stream_close(peer);
}

static void on_signal(int status, int number, void *user) {
    (void)number;
    if (status == 0) weir_context_stop(user);
}

static void must(int error, const char *what) {
    if (error == 0) return;
    fprintf(stderr, "tls_echo: %s: %s\n", what, weir_strerror(error));
    exit(1);
}

int main(int argc, char **argv) {
    weir_context *context = NULL;
    weir_acceptor *acceptor = NULL;
    weir_signals *signals = NULL;
    struct sockaddr_storage address;
    socklen_t length;
    char text[128];
    if (argc < 3) {
        fprintf(stderr, "usage: tls_echo CERTIFICATE.pem KEY.pem [ADDRESS]\n");
        return 2;
    }
    ctx = SSL_CTX_new(TLS_server_method());
    if (ctx == NULL || !SSL_CTX_set_min_proto_version(ctx, TLS1_3_VERSION) || SSL_CTX_use_certificate_chain_file(ctx, argv[1]) != 1 ||
        SSL_CTX_use_PrivateKey_file(ctx, argv[2], SSL_FILETYPE_PEM) != 1) {
        ERR_print_errors_fp(stderr);
        return 1;
    }
    must(weir_context_create(NULL, &context), "context");
    must(weir_acceptor_create(context, &acceptor), "acceptor");
    must(weir_address_parse(argc > 3 ? argv[3] : "127.0.0.1:4433", &address, &length), "address");
    must(weir_acceptor_bind(acceptor, (struct sockaddr *)&address, length), "bind");
    must(weir_acceptor_listen(acceptor, 0), "listen");
    must(weir_acceptor_accept_each(acceptor, on_accept, NULL), "accept");
    must(weir_signals_create(context, &signals), "signals");
    must(weir_signals_add(signals, SIGINT, 0), "signals");
    must(weir_signals_add(signals, SIGTERM, 0), "signals");
    must(weir_signals_wait(signals, on_signal, context), "signals");
    must(weir_acceptor_local_address(acceptor, &address, &length), "address");
    must(weir_address_format((struct sockaddr *)&address, length, text, sizeof text), "address");
    printf("listening on %s\n", text);
    fflush(stdout);
    must(weir_context_run(context, NULL), "run");
    weir_context_destroy(context); /* in here what is pending is cancelled, and each connection ends */
    SSL_CTX_free(ctx);
    return 0;
}
