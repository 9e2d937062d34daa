/* Certificates made here, and pairs of TLS connections over TCP. */
#ifndef TLS_H
#define TLS_H

#include "net.h"

#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <weir/openssl.h>

static EVP_PKEY *tls_key;
static X509 *tls_certificate;

/* A certificate for "localhost" that signs itself. */
static inline void make_certificate(void)
{
    if (tls_key != NULL)
        return;
    tls_key = EVP_EC_gen("prime256v1");
    tls_certificate = X509_new();
    CHECK(tls_key != NULL && tls_certificate != NULL);
    CHECK_EQ(X509_set_version(tls_certificate, 2), 1);
    CHECK_EQ(ASN1_INTEGER_set(X509_get_serialNumber(tls_certificate), 1), 1);
    CHECK(X509_gmtime_adj(X509_getm_notBefore(tls_certificate), -3600) != NULL);
    CHECK(X509_gmtime_adj(X509_getm_notAfter(tls_certificate), 86400) != NULL);
    CHECK_EQ(X509_set_pubkey(tls_certificate, tls_key), 1);
    X509_NAME *name = X509_get_subject_name(tls_certificate);
    CHECK_EQ(X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_ASC, (const unsigned char *)"localhost", -1, -1, 0), 1);
    CHECK_EQ(X509_set_issuer_name(tls_certificate, name), 1);
    X509_EXTENSION *names = X509V3_EXT_conf_nid(NULL, NULL, NID_subject_alt_name, "DNS:localhost,IP:127.0.0.1");
    CHECK(names != NULL);
    CHECK_EQ(X509_add_ext(tls_certificate, names, -1), 1);
    X509_EXTENSION_free(names);
    CHECK(X509_sign(tls_certificate, tls_key, EVP_sha256()) > 0);
}

static inline void free_certificate(void)
{
    X509_free(tls_certificate);
    EVP_PKEY_free(tls_key);
    tls_certificate = NULL;
    tls_key = NULL;
}

static inline SSL_CTX *new_server_ctx(int version)
{
    SSL_CTX *ctx = SSL_CTX_new(TLS_server_method());
    make_certificate();
    CHECK(ctx != NULL);
    CHECK_EQ(SSL_CTX_set_min_proto_version(ctx, version), 1);
    CHECK_EQ(SSL_CTX_set_max_proto_version(ctx, version), 1);
    CHECK_EQ(SSL_CTX_use_certificate(ctx, tls_certificate), 1);
    CHECK_EQ(SSL_CTX_use_PrivateKey(ctx, tls_key), 1);
    return ctx;
}

static inline SSL_CTX *new_client_ctx(bool trusts)
{
    SSL_CTX *ctx = SSL_CTX_new(TLS_client_method());
    make_certificate();
    CHECK(ctx != NULL);
    if (trusts)
        CHECK_EQ(X509_STORE_add_cert(SSL_CTX_get_cert_store(ctx), tls_certificate), 1);
    SSL_CTX_set_verify(ctx, SSL_VERIFY_PEER, NULL);
    return ctx;
}

static inline SSL *new_ssl(SSL_CTX *ctx, bool server)
{
    SSL *ssl = SSL_new(ctx);
    CHECK(ssl != NULL);
    if (server) {
        SSL_set_accept_state(ssl);
    } else {
        SSL_set_connect_state(ssl);
        CHECK_EQ(SSL_set1_host(ssl, "localhost"), 1);
    }
    return ssl;
}

/* [0] is the client. */
struct tls_pair {
    weir_context *context;
    SSL_CTX *ctx[2];
    weir_ssl *ends[2];
};

static inline struct tls_pair new_tls_pair(weir_context *context, int version, bool small)
{
    struct tls_pair pair = {.context = context, .ctx = {new_client_ctx(true), new_server_ctx(version)}};
    weir_stream *streams[2];
    connected_streams(context, AF_INET, streams);
    for (int i = 0; i < 2; i++) {
        int fd;
        CHECK_OK(weir_stream_fd(streams[i], &fd));
        if (small)
            small_buffers(fd);
        CHECK_OK(weir_ssl_create(streams[i], new_ssl(pair.ctx[i], i == 1), NULL, &pair.ends[i]));
    }
    return pair;
}

static inline void shake_hands(struct tls_pair *pair)
{
    struct counter client = {0}, server = {0};
    START(weir_ssl_handshake(pair->ends[0], done, &client));
    START(weir_ssl_handshake(pair->ends[1], done, &server));
    RUN_CALLS(pair->context, client, 1);
    RUN_CALLS(pair->context, server, 1);
    CHECK_DONE(client, 0, 0);
    CHECK_DONE(server, 0, 0);
}

/* Ends all; nothing may be left that keeps the context going. */
static inline void close_tls_pair(struct tls_pair *pair)
{
    for (int i = 0; i < 2; i++)
        weir_ssl_close(pair->ends[i]);
    if (weir_context_stopped(pair->context) == 1)
        CHECK_OK(weir_context_restart(pair->context));
    CHECK_OK(weir_context_run(pair->context, NULL));
    CHECK_OK(weir_context_destroy(pair->context));
    for (int i = 0; i < 2; i++)
        SSL_CTX_free(pair->ctx[i]);
    free_certificate();
}

#endif
