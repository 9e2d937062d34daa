#ifndef WEIR_OPENSSL_H
#define WEIR_OPENSSL_H

/*
 * TLS by OpenSSL (1.1.1 and later) over a weir_stream.
 *
 *     SSL *ssl = SSL_new(ctx);
 *     SSL_set_connect_state(ssl);                          (or SSL_set_accept_state())
 *     weir_ssl_create(stream, ssl, NULL, &tls);            (a connected stream)
 *     weir_ssl_handshake(tls, on_handshake, user);
 *         ... and then weir_ssl_read_some(), weir_ssl_write(), weir_ssl_shutdown(), weir_ssl_close()
 *
 * How. OpenSSL reads and writes the stream by a BIO made of weir_stream_try_read() and weir_stream_try_write(), and where it would
 * block weir_stream_wait() tells when to go on. Memory BIOs would copy everything once more and let a slow peer's data pile up;
 * OpenSSL's own socket BIO writes with write(2), which raises SIGPIPE. What OpenSSL has read but not given out (SSL_pending()) no event of a
 * socket tells of: a watch without an fd is fed for it.
 *
 * Ownership. weir_ssl_create() takes the stream and the SSL. Each weir_ssl is ended with one weir_ssl_close(), also where the
 * context is gone. It is memory, not a handle: nothing may be called with it afterwards. Buffers belong to an operation
 * until its completion, or until the close has returned.
 *
 * Callbacks come in run functions (or weir_context_destroy()) of the context, never inside the function that began the operation, once
 * for each. Every function here may be called from them, weir_ssl_close() too: what is pending then gets WEIR_ECANCELED, later, in
 * run. From callbacks of OpenSSL's own (of SSL_CTX_set_verify() and the like) nothing here may be called.
 *
 * Errors. WEIR_EOF: the peer has said close_notify, all is well. -ECONNRESET: the stream ended without it, what was read may be cut
 * short. -EPROTO: OpenSSL refuses, weir_ssl_error() has its code, SSL_get_verify_result() may know more. Others are the stream's.
 * After an error other than WEIR_EOF and a time-out of reading nothing more can be begun. Time limits: weir_stream_set_timeout().
 *
 * Threads. One thread at a time may be at work with a weir_ssl. Where several run the context, give a strand and use it in
 * functions of this strand only (weir_strand_post()).
 */

#include <openssl/bio.h>
#include <openssl/crypto.h>
#include <openssl/err.h>
#include <openssl/ssl.h>

#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "../weir.h"

#ifdef __cplusplus
extern "C" {
#endif

/** A TLS connection. What is in it is not for the program. */
typedef struct weir_ssl weir_ssl;

/* ---- what follows up to weir_ssl_create() is not for the program */

/* Records moved in one go, before others have their turn. */
#define WEIR_SSL_BATCH 32
/* What is kept of OpenSSL's output while the socket is full: a record, a flight of the handshake, answers to the peer. */
#define WEIR_SSL_UNSENT 65536

struct weir_ssl_operation {
    int pending;
    unsigned int needs; /* WEIR_WAIT_...: what has to come first */
    int sealed;         /* OpenSSL has done its part: what is left is to send it */
    int kind;
    void *data;
    const void *source;
    size_t length, done;
    weir_callback callback;
    weir_io_callback io_callback;
    void *user;
};

#define WEIR_SSL_HANDSHAKE 1
#define WEIR_SSL_READ_SOME 2
#define WEIR_SSL_READ_ALL 3
#define WEIR_SSL_WRITE 4
#define WEIR_SSL_SHUTDOWN 5

struct weir_ssl {
    weir_stream *stream;
    weir_watch *kick; /* has no fd: it is fed */
    SSL *ssl;
    struct weir_ssl_operation reading, writing; /* a handshake is in `writing` */
    unsigned int waiting;                       /* WEIR_WAIT_... that the stream waits for */
    int kicked, depth, closed;
    int shaken;                  /* the first handshake is done */
    int failed;                  /* why nothing goes on */
    int stream_error, stream_eof; /* what the BIO met */
    unsigned long code;
    char *unsent; /* from `unsent_at` to `unsent_end` */
    size_t unsent_at, unsent_end, unsent_room;
};

static CRYPTO_ONCE weir_ssl_once = CRYPTO_ONCE_STATIC_INIT;
static BIO_METHOD *weir_ssl_method = NULL;

/* A context that is being destroyed has closed the stream. */
static inline int weir_ssl_reason(int error)
{
    return error == WEIR_EBADF || error == WEIR_ESHUTDOWN ? WEIR_ECANCELED : error;
}

static inline int weir_ssl_bio_read(BIO *bio, char *data, int length)
{
    weir_ssl *self = (weir_ssl *)BIO_get_data(bio);
    size_t bytes = 0;
    int error = weir_stream_try_read(self->stream, data, length > 0 ? (size_t)length : 0, &bytes);
    BIO_clear_retry_flags(bio);
    if (error == 0 && bytes > 0)
        return (int)bytes;
    if (error == 0 || error == WEIR_EBUSY) { /* busy: it is waited for already */
        BIO_set_retry_read(bio);
        return -1;
    }
    if (error == WEIR_EOF) {
        self->stream_eof = 1;
        return 0;
    }
    self->stream_error = weir_ssl_reason(error);
    return -1;
}

/*
 * Takes whole records, also where the socket does not. With half a record in OpenSSL's hands a read that has to answer the
 * peer (a KeyUpdate) would fail with SSL_R_BAD_LENGTH, and no other write could follow one that was given up.
 */
static inline int weir_ssl_bio_write(BIO *bio, const char *data, int length)
{
    weir_ssl *self = (weir_ssl *)BIO_get_data(bio);
    size_t bytes = 0, left;
    int error = 0;
    BIO_clear_retry_flags(bio);
    if (length <= 0)
        return length;
    if (self->unsent_end == 0)
        error = weir_stream_try_write(self->stream, data, (size_t)length, &bytes);
    if (error != 0 && error != WEIR_EBUSY) {
        self->stream_error = weir_ssl_reason(error);
        return -1;
    }
    left = (size_t)length - bytes;
    if (self->unsent_end + left > self->unsent_room && left <= WEIR_SSL_UNSENT - self->unsent_end) {
        size_t room = self->unsent_end + left < 20000 ? 20000 : WEIR_SSL_UNSENT;
        char *grown = (char *)realloc(self->unsent, room);
        if (grown != NULL) {
            self->unsent = grown;
            self->unsent_room = room;
        }
    }
    if (left > self->unsent_room - self->unsent_end) { /* a peer that asks and does not read, or no memory */
        if (bytes > 0)
            return (int)bytes;
        BIO_set_retry_write(bio);
        return -1;
    }
    if (left > 0)
        memcpy(self->unsent + self->unsent_end, data + bytes, left);
    self->unsent_end += left;
    return length;
}

static inline long weir_ssl_bio_control(BIO *bio, int what, long number, void *pointer)
{
    (void)number;
    (void)pointer;
    if (what == BIO_CTRL_EOF)
        return ((weir_ssl *)BIO_get_data(bio))->stream_eof;
    return what == BIO_CTRL_FLUSH || what == BIO_CTRL_DUP;
}

static inline void weir_ssl_make_method(void)
{
    BIO_METHOD *method = BIO_meth_new(BIO_get_new_index() | BIO_TYPE_SOURCE_SINK, "weir_stream");
    if (method == NULL)
        return;
    BIO_meth_set_read(method, weir_ssl_bio_read);
    BIO_meth_set_write(method, weir_ssl_bio_write);
    BIO_meth_set_ctrl(method, weir_ssl_bio_control);
    weir_ssl_method = method;
}

static inline void weir_ssl_finish(struct weir_ssl_operation *one, int status)
{
    struct weir_ssl_operation ended = *one;
    if (!ended.pending)
        return;
    one->pending = 0;
    if (ended.io_callback != NULL)
        ended.io_callback(status, ended.done, ended.user);
    else if (ended.callback != NULL)
        ended.callback(status, ended.user);
}

static inline void weir_ssl_free(weir_ssl *self)
{
    free(self->unsent);
    free(self);
}

/* The end of every entry from the run functions. */
static inline void weir_ssl_leave(weir_ssl *self)
{
    if (self->closed && self->depth == 1) {
        weir_ssl_finish(&self->reading, WEIR_ECANCELED);
        weir_ssl_finish(&self->writing, WEIR_ECANCELED);
    }
    self->depth--;
    if (self->closed && self->depth == 0 && self->waiting == 0 && !self->kicked)
        weir_ssl_free(self);
}

static inline void weir_ssl_ready_to_read(int status, void *user);
static inline void weir_ssl_ready_to_write(int status, void *user);
static inline void weir_ssl_kicked(int status, int events, void *user);

static inline int weir_ssl_kick(weir_ssl *self)
{
    int error;
    if (self->kicked)
        return 0;
    error = weir_watch_start(self->kick, WEIR_WATCH_READ, 0, WEIR_FOREVER, weir_ssl_kicked, self);
    if (error != 0)
        return error;
    self->kicked = 1;
    error = weir_watch_feed(self->kick, WEIR_WATCH_READ);
    if (error != 0)
        weir_watch_stop(self->kick, NULL); /* its completion comes all the same */
    return error;
}

static inline int weir_ssl_wait(weir_ssl *self, unsigned int needs)
{
    int error = 0;
    needs &= ~self->waiting;
    if (needs & WEIR_WAIT_READ) {
        error = weir_stream_wait(self->stream, WEIR_WAIT_READ, weir_ssl_ready_to_read, self);
        if (error == 0)
            self->waiting |= WEIR_WAIT_READ;
    }
    if (error == 0 && (needs & WEIR_WAIT_WRITE)) {
        error = weir_stream_wait(self->stream, WEIR_WAIT_WRITE, weir_ssl_ready_to_write, self);
        if (error == 0)
            self->waiting |= WEIR_WAIT_WRITE;
    }
    return error;
}

/* Sends what is kept, as far as the socket takes it, and waits for the rest. */
static inline int weir_ssl_flush(weir_ssl *self)
{
    while (self->unsent_end != 0) {
        size_t bytes = 0;
        int error = (self->waiting & WEIR_WAIT_WRITE) != 0
                        ? 0
                        : weir_stream_try_write(self->stream, self->unsent + self->unsent_at, self->unsent_end - self->unsent_at, &bytes);
        if (error != 0)
            return error;
        if (bytes == 0)
            return weir_ssl_wait(self, WEIR_WAIT_WRITE);
        self->unsent_at += bytes;
        if (self->unsent_at == self->unsent_end)
            self->unsent_at = self->unsent_end = 0;
    }
    return 0;
}

/* What a return of OpenSSL's means: 0 go on later, when `needs` has come, or how the operation ends. */
static inline int weir_ssl_meaning(weir_ssl *self, int result, unsigned int *needs)
{
    switch (SSL_get_error(self->ssl, result)) {
    case SSL_ERROR_WANT_READ:
        *needs = WEIR_WAIT_READ;
        return 0;
    case SSL_ERROR_WANT_WRITE:
        *needs = WEIR_WAIT_WRITE;
        return 0;
    case SSL_ERROR_ZERO_RETURN: /* so it says of a failed write as well, when close_notify has come before */
        if (self->stream_error == 0)
            return WEIR_EOF;
        self->failed = self->stream_error;
        break;
    case SSL_ERROR_SSL:
    case SSL_ERROR_SYSCALL:
        self->code = ERR_peek_error();
        if (self->stream_error != 0)
            self->failed = self->stream_error;
        else
            self->failed = self->stream_eof ? -ECONNRESET : -EPROTO;
        break;
    default: /* OpenSSL waits for something that is no stream: an engine, a certificate from elsewhere */
        self->failed = -EOPNOTSUPP;
    }
    ERR_clear_error();
    return self->failed;
}

/* Takes one operation as far as it goes now. 1: it is to go on without waiting, when others have had their turn. */
static inline int weir_ssl_step(weir_ssl *self, struct weir_ssl_operation *one)
{
    int moves = 0, status = 0, result;
    one->needs = 0;
    for (;;) {
        size_t bytes = 0;
        int writes = one == &self->writing;
        if (self->failed != 0) {
            status = self->failed;
            break;
        }
        if (writes && self->unsent_end != 0 && (one->sealed || one->kind == WEIR_SSL_WRITE)) {
            status = self->failed = weir_ssl_reason(weir_ssl_flush(self));
            if (status != 0)
                break;
            if (self->unsent_end != 0) { /* and it is waited for */
                one->needs = WEIR_WAIT_WRITE;
                return 0;
            }
        }
        if (one->sealed || (one->kind != WEIR_SSL_HANDSHAKE && one->kind != WEIR_SSL_SHUTDOWN && one->done == one->length))
            break;
        if (moves++ == WEIR_SSL_BATCH)
            return 1;
        ERR_clear_error();
        if (one->kind == WEIR_SSL_HANDSHAKE)
            result = SSL_do_handshake(self->ssl);
        else if (one->kind == WEIR_SSL_SHUTDOWN)
            result = SSL_shutdown(self->ssl);
        else if (one->kind == WEIR_SSL_WRITE)
            result = SSL_write_ex(self->ssl, (const char *)one->source + one->done, one->length - one->done, &bytes);
        else
            result = SSL_read_ex(self->ssl, (char *)one->data + one->done, one->length - one->done, &bytes);
        if (result > 0 || (result == 0 && one->kind == WEIR_SSL_SHUTDOWN)) {
            self->shaken = 1;
            one->done += bytes;
            one->sealed = one->done == one->length || one->kind == WEIR_SSL_READ_SOME;
            continue;
        }
        status = weir_ssl_meaning(self, result, &one->needs);
        if (status != 0)
            break;
        status = weir_ssl_reason(weir_ssl_wait(self, one->needs));
        if (status == 0)
            return 0;
        self->failed = status;
        break;
    }
    weir_ssl_finish(one, status);
    return 0;
}

/* Nothing goes on any more: the operations that still wait are told too. */
static inline void weir_ssl_spread(weir_ssl *self)
{
    if (self->closed || self->failed == 0 || !(self->reading.pending || self->writing.pending))
        return;
    self->reading.needs = self->writing.needs = 0;
    if (weir_ssl_kick(self) == 0)
        return;
    weir_ssl_finish(&self->reading, self->failed);
    if (!self->closed)
        weir_ssl_finish(&self->writing, self->failed);
}

static inline void weir_ssl_go_on(weir_ssl *self, unsigned int came)
{
    struct weir_ssl_operation *both[2];
    int i;
    both[0] = &self->reading;
    both[1] = &self->writing;
    if (self->failed == 0)
        self->failed = weir_ssl_reason(weir_ssl_flush(self));
    for (i = 0; i < 2; i++) {
        struct weir_ssl_operation *one = both[i];
        int error = 0;
        if (self->closed || !one->pending || (one->needs != 0 && (one->needs & came) == 0))
            continue;
        if (weir_ssl_step(self, one))
            error = weir_ssl_reason(weir_ssl_kick(self));
        if (error != 0) {
            self->failed = error;
            weir_ssl_finish(one, error);
        }
    }
    if (!self->closed && self->failed == 0)
        self->failed = weir_ssl_reason(weir_ssl_flush(self));
    weir_ssl_spread(self);
}

/* A wait has ended badly: time is over, or the stream or the context ends. */
static inline void weir_ssl_give_up(weir_ssl *self, unsigned int needs, int status)
{
    if (self->writing.pending && (self->writing.needs & needs) != 0) {
        self->failed = status;
        weir_ssl_finish(&self->writing, status);
    }
    if (!self->closed && self->reading.pending && (self->reading.needs & needs) != 0) {
        if (status != WEIR_ETIMEDOUT)
            self->failed = status;
        weir_ssl_finish(&self->reading, status);
    }
    weir_ssl_spread(self);
}

static inline void weir_ssl_waited(weir_ssl *self, unsigned int what, int status)
{
    self->depth++;
    self->waiting &= ~what;
    if (!self->closed && status != 0)
        weir_ssl_give_up(self, what, status);
    else if (!self->closed)
        weir_ssl_go_on(self, what);
    weir_ssl_leave(self);
}

static inline void weir_ssl_ready_to_read(int status, void *user)
{
    weir_ssl_waited((weir_ssl *)user, WEIR_WAIT_READ, status);
}

static inline void weir_ssl_ready_to_write(int status, void *user)
{
    weir_ssl_waited((weir_ssl *)user, WEIR_WAIT_WRITE, status);
}

static inline void weir_ssl_kicked(int status, int events, void *user)
{
    weir_ssl *self = (weir_ssl *)user;
    (void)events;
    self->depth++;
    self->kicked = 0;
    if (!self->closed && status != 0) {
        self->failed = status; /* the context ends */
        weir_ssl_finish(&self->reading, status);
        if (!self->closed)
            weir_ssl_finish(&self->writing, status);
    } else if (!self->closed) {
        weir_ssl_go_on(self, 0);
    }
    weir_ssl_leave(self);
}

static inline int weir_ssl_begin(weir_ssl *self, struct weir_ssl_operation *one, int kind, const void *source, void *data, size_t length,
                                 weir_callback callback, weir_io_callback io_callback, void *user)
{
    int error;
    if (self == NULL || (callback == NULL && io_callback == NULL) || (length > 0 && source == NULL && data == NULL))
        return WEIR_EINVAL;
    if (self->closed)
        return WEIR_EBADF;
    if (one->pending || (self->writing.pending && self->writing.kind == WEIR_SSL_HANDSHAKE))
        return WEIR_EBUSY;
    if (self->failed != 0)
        return self->failed;
    if (one == &self->writing && kind != WEIR_SSL_HANDSHAKE && (SSL_get_shutdown(self->ssl) & SSL_SENT_SHUTDOWN))
        return -EPIPE;
    one->needs = 0;
    /* A read with nothing at hand waits for the stream at once. */
    if (one == &self->reading && length > 0 && SSL_is_init_finished(self->ssl) && !SSL_has_pending(self->ssl) &&
        !(SSL_get_shutdown(self->ssl) & SSL_RECEIVED_SHUTDOWN))
        one->needs = WEIR_WAIT_READ;
    error = one->needs != 0 ? weir_ssl_wait(self, one->needs) : weir_ssl_kick(self);
    if (error != 0)
        return error;
    one->pending = 1;
    one->kind = kind;
    one->source = source;
    one->data = data;
    one->length = length;
    one->done = 0;
    one->sealed = 0;
    one->callback = callback;
    one->io_callback = io_callback;
    one->user = user;
    return 0;
}

/* ---- for the program */

/**
 * Makes a TLS connection of a connected stream that has nothing pending and an SSL for which SSL_set_connect_state() or
 * SSL_set_accept_state() was called. Both belong to the weir_ssl from now on; nothing may be read or written by the stream's own
 * functions any more. Callbacks come through `strand`, or straight where it is NULL.
 *
 * Errors: WEIR_EINVAL (`ssl` or `out` is NULL, a strand of another context), WEIR_EBADF (stream or strand), WEIR_EBUSY (the stream has
 * something pending), WEIR_ENOMEM, WEIR_ESHUTDOWN. Stream and SSL are then the caller's as before, but for the stream's strand.
 *
 * Thread: any; never blocks.
 */
static inline int weir_ssl_create(weir_stream *stream, SSL *ssl, weir_strand *strand, weir_ssl **out)
{
    weir_context *context = NULL;
    weir_ssl *self;
    BIO *bio = NULL;
    int error;
    if (ssl == NULL || out == NULL)
        return WEIR_EINVAL;
    error = weir_stream_context(stream, &context);
    if (error != 0)
        return error;
    self = (weir_ssl *)calloc(1, sizeof *self);
    if (self == NULL)
        return WEIR_ENOMEM;
    self->stream = stream;
    self->ssl = ssl;
    error = weir_watch_create(context, -1, &self->kick);
    if (error == 0 && strand != NULL)
        error = weir_handle_set_strand(self->kick, strand);
    if (error == 0 && strand != NULL)
        error = weir_handle_set_strand(stream, strand);
    if (error == 0 && CRYPTO_THREAD_run_once(&weir_ssl_once, weir_ssl_make_method) && weir_ssl_method != NULL)
        bio = BIO_new(weir_ssl_method);
    if (error == 0 && bio == NULL)
        error = WEIR_ENOMEM;
    if (error != 0) {
        if (self->kick != NULL)
            weir_watch_close(self->kick);
        free(self);
        return error;
    }
    BIO_set_data(bio, self);
    BIO_set_init(bio, 1);
    SSL_set_bio(ssl, bio, bio);
    SSL_set_mode(ssl, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
    SSL_set_read_ahead(ssl, 1); /* a record's head and body with one system call */
    *out = self;
    return 0;
}

/**
 * Ends a connection at once: frees the SSL and closes the stream, without a close_notify (see weir_ssl_shutdown()). What was pending
 * completes with WEIR_ECANCELED and the bytes that had moved, later, in run.
 *
 * Thread: any, while no other is at work with the connection; never blocks.
 */
static inline void weir_ssl_close(weir_ssl *self)
{
    if (self == NULL || self->closed)
        return;
    self->depth++;
    self->closed = 1;
    SSL_free(self->ssl);
    self->ssl = NULL;
    weir_stream_close(self->stream);
    weir_watch_close(self->kick);
    /* What is pending is told when the waits of the stream and the watch end, not in here. */
    self->depth--;
    if (self->depth == 0 && self->waiting == 0 && !self->kicked)
        weir_ssl_free(self);
}

/** OpenSSL's side, which stays the weir_ssl's. */
static inline SSL *weir_ssl_get(const weir_ssl *self)
{
    return self->ssl;
}

/** The stream, which stays the weir_ssl's: for addresses, options, time limits. */
static inline weir_stream *weir_ssl_stream(const weir_ssl *self)
{
    return self->stream;
}

/** The code of OpenSSL's error behind -EPROTO, for ERR_error_string_n(); 0 where there is none. */
static inline unsigned long weir_ssl_error(const weir_ssl *self)
{
    return self->code;
}

/**
 * Does the handshake. Afterwards also what SSL_key_update() or SSL_renegotiate() has prepared, which otherwise goes out with the next write.
 *
 * Errors: WEIR_EINVAL (a NULL), WEIR_EBUSY (writing or a handshake is pending, or a read before the first handshake is done), the failure
 * from before, or as weir_stream_wait() and weir_watch_start().
 *
 * Thread: any, while no other is at work with the connection; never blocks.
 */
static inline int weir_ssl_handshake(weir_ssl *self, weir_callback callback, void *user)
{
    if (self != NULL && !self->closed && self->reading.pending && !self->shaken)
        return WEIR_EBUSY;
    return weir_ssl_begin(self, self != NULL ? &self->writing : NULL, WEIR_SSL_HANDSHAKE, NULL, NULL, 0, callback, NULL, user);
}

/**
 * Reads what there is, up to `length` bytes, as soon as there is any: weir_stream_read_some() with the errors told above.
 *
 * Errors: WEIR_EINVAL (a NULL), WEIR_EBUSY (a read or a handshake is pending), the failure from before, or as weir_stream_wait() and
 * weir_watch_start().
 *
 * Thread: any, while no other is at work with the connection; never blocks.
 */
static inline int weir_ssl_read_some(weir_ssl *self, void *data, size_t length, weir_io_callback callback, void *user)
{
    return weir_ssl_begin(self, self != NULL ? &self->reading : NULL, WEIR_SSL_READ_SOME, NULL, data, length, NULL, callback, user);
}

/**
 * Reads exactly `length` bytes; with another status than 0 the bytes tell how many came before.
 *
 * Errors: as weir_ssl_read_some().
 *
 * Thread: any, while no other is at work with the connection; never blocks.
 */
static inline int weir_ssl_read(weir_ssl *self, void *data, size_t length, weir_io_callback callback, void *user)
{
    return weir_ssl_begin(self, self != NULL ? &self->reading : NULL, WEIR_SSL_READ_ALL, NULL, data, length, NULL, callback, user);
}

/**
 * Writes all `length` bytes; with another status than 0 the bytes tell how many OpenSSL had taken.
 *
 * Errors: WEIR_EINVAL (a NULL), WEIR_EBUSY (a write, handshake or shutdown is pending), -EPIPE (after a shutdown), the failure from before, or as
 * weir_stream_wait() and weir_watch_start().
 *
 * Thread: any, while no other is at work with the connection; never blocks.
 */
static inline int weir_ssl_write(weir_ssl *self, const void *data, size_t length, weir_io_callback callback, void *user)
{
    return weir_ssl_begin(self, self != NULL ? &self->writing : NULL, WEIR_SSL_WRITE, data, NULL, length, NULL, callback, user);
}

/**
 * Says close_notify: the peer reads WEIR_EOF. Completes when it is sent; nothing can be written then. The peer's own
 * close_notify is read as WEIR_EOF, after what it still sends.
 *
 * Errors: as weir_ssl_write(); WEIR_ENOTCONN before the handshake is done.
 *
 * Thread: any, while no other is at work with the connection; never blocks.
 */
static inline int weir_ssl_shutdown(weir_ssl *self, weir_callback callback, void *user)
{
    if (self != NULL && !self->closed && !self->writing.pending && !self->shaken)
        return WEIR_ENOTCONN;
    return weir_ssl_begin(self, self != NULL ? &self->writing : NULL, WEIR_SSL_SHUTDOWN, NULL, NULL, 0, callback, NULL, user);
}

#ifdef __cplusplus
}
#endif

#endif
