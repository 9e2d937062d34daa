/* As much of a server as it takes to end an answer with a TLS record that libpq's buffer does not hold whole. PostgreSQL 15 itself writes
 * records of 8 KiB, which always fit; later ones and proxies write what TLS allows. */
#ifndef FAKE_POSTGRES_H
#define FAKE_POSTGRES_H

#include "tls.h"

struct fake_postgres {
    int listener, rows;
    struct where where;
};

struct fake_answer {
    unsigned char bytes[40000];
    size_t length;
};

static inline void fake_number(struct fake_answer *answer, size_t value, int bytes)
{
    for (int i = bytes - 1; i >= 0; i--)
        answer->bytes[answer->length++] = (unsigned char)(value >> (8 * i));
}

static inline void fake_row(struct fake_answer *answer, size_t length)
{
    fake_number(answer, 'D', 1);
    fake_number(answer, 4 + 2 + 4 + length, 4);
    fake_number(answer, 1, 2);
    fake_number(answer, length, 4);
    memset(answer->bytes + answer->length, 'x', length);
    answer->length += length;
}

static inline void fake_bytes(struct fake_answer *answer, const void *bytes, size_t length)
{
    memcpy(answer->bytes + answer->length, bytes, length);
    answer->length += length;
}

static inline void *fake_postgres_runs(void *user)
{
    static const unsigned char ready[] = {'R', 0, 0, 0, 8, 0, 0, 0, 0, 'Z', 0, 0, 0, 5, 'I'};
    static const unsigned char columns[] = {'T', 0, 0, 0, 26, 0, 1, 'x', 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 25, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0, 0};
    static const unsigned char complete[] = {'C', 0, 0, 0, 13, 'S', 'E', 'L', 'E', 'C', 'T', ' ', '2', 0};
    struct fake_postgres *self = user;
    struct fake_answer answer = {.length = 0};
    char asked[1024];
    int fd = plain_accept(self->listener);
    SSL_CTX *ctx = new_server_ctx(TLS1_3_VERSION);
    SSL *ssl = new_ssl(ctx, true);
    receive_all(fd, asked, 8); /* SSLRequest */
    send_all(fd, "S", 1);
    CHECK_EQ(SSL_set_fd(ssl, fd), 1);
    CHECK_EQ(SSL_accept(ssl), 1);
    CHECK(SSL_read(ssl, asked, sizeof asked) > 0); /* who it is */
    CHECK_EQ(SSL_write(ssl, ready, sizeof ready), sizeof ready);
    CHECK(SSL_read(ssl, asked, sizeof asked) > 0); /* the query */
    CHECK_EQ(asked[0], 'Q');

    fake_bytes(&answer, columns, sizeof columns);
    size_t first = answer.length + 1000, end = first + 16384; /* one record of each */
    fake_row(&answer, 2000);
    fake_row(&answer, end - answer.length - 11 - sizeof complete - 6);
    fake_bytes(&answer, complete, sizeof complete);
    fake_bytes(&answer, ready + 9, 6);
    CHECK_EQ(answer.length, end);
    CHECK_EQ(SSL_write(ssl, answer.bytes, (int)first), first);
    CHECK_EQ(SSL_write(ssl, answer.bytes + first, 16384), 16384);
    CHECK(SSL_read(ssl, asked, sizeof asked) > 0); /* "X": nothing else comes until it has all */
    SSL_free(ssl);
    SSL_CTX_free(ctx);
    close(fd);
    return NULL;
}

#endif
