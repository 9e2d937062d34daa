#ifndef WEIR_NGHTTP2_H
#define WEIR_NGHTTP2_H

/*
 * HTTP/2 by nghttp2 over a weir_stream; or over a weir_ssl, where weir/openssl.h is included before this.
 *
 *     nghttp2_session_client_new(&session, callbacks, user);
 *     nghttp2_submit_settings(session, NGHTTP2_FLAG_NONE, NULL, 0);
 *     nghttp2_submit_request(session, ...);
 *     weir_nghttp2_attach(stream, session, NULL, &http, on_end, user);        (a connected stream)
 *
 * The program goes on using nghttp2's own functions and callbacks (not the send and recv callbacks: what they would do is done
 * here). After an nghttp2_submit...(), nghttp2_session_resume_data() or nghttp2_session_terminate_session() outside nghttp2's
 * callbacks weir_nghttp2_send() has it sent; inside of them that is not needed.
 *
 * Ownership. weir_nghttp2_attach() takes the stream and the session. Each weir_nghttp2 is ended with one weir_nghttp2_close(), also
 * after its end was told and where the context is gone. It is memory, not a handle: nothing may be called with it
 * afterwards. From nghttp2's callbacks it may be closed too: the stream is closed at once, the session deleted when they have returned
 * (what had been read already may still be told).
 *
 * Callbacks of nghttp2 run inside run functions of the context. `on_end` comes once: with 0 when the session is over (after GOAWAY and the
 * last of its streams), WEIR_EOF when the peer ends the connection before, -EPROTO when nghttp2 refuses (weir_nghttp2_error() has its
 * code), WEIR_ECANCELED after weir_nghttp2_close(), or what the connection met. The connection is closed then.
 *
 * Threads. One thread at a time may be at work with a session. Where several run the context, give a strand and use it
 * in functions of this strand only (weir_strand_post()).
 */

#include <nghttp2/nghttp2.h>

#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "../weir.h"

#ifdef __cplusplus
extern "C" {
#endif

/** A session that a context serves. What is in it is not for the program. */
typedef struct weir_nghttp2 weir_nghttp2;

/* ---- what follows up to weir_nghttp2_attach() is not for the program */

#define WEIR_NGHTTP2_INPUT 16384
#define WEIR_NGHTTP2_OUTPUT 65536

struct weir_nghttp2 {
    nghttp2_session *session;
    void *transport; /* a weir_stream or a weir_ssl; NULL when it is closed */
    int (*read_some)(void *transport, void *data, size_t length, weir_io_callback callback, void *user);
    int (*write_all)(void *transport, const void *data, size_t length, weir_io_callback callback, void *user);
    void (*shut)(void *transport);
    weir_watch *kick; /* has no fd: it is fed */
    weir_callback on_end;
    void *user;
    int reading, writing, kicked, closed, depth, code;
    const uint8_t *rest; /* of what nghttp2 gave to send */
    size_t rest_length;
    uint8_t input[WEIR_NGHTTP2_INPUT], output[WEIR_NGHTTP2_OUTPUT];
};

static inline void weir_nghttp2_shut(weir_nghttp2 *self)
{
    void *transport = self->transport;
    self->transport = NULL;
    if (transport != NULL)
        self->shut(transport);
}

static inline void weir_nghttp2_end(weir_nghttp2 *self, int status)
{
    weir_callback callback = self->on_end;
    self->on_end = NULL;
    weir_nghttp2_shut(self);
    if (callback != NULL)
        callback(status, self->user);
}

/* The end of every entry from the run functions, and of the close. */
static inline void weir_nghttp2_leave(weir_nghttp2 *self, int inside)
{
    if (inside && self->closed && self->depth == 1)
        weir_nghttp2_end(self, WEIR_ECANCELED);
    self->depth--;
    if (!self->closed || self->depth > 0)
        return;
    nghttp2_session_del(self->session); /* not from within its own callbacks */
    self->session = NULL;
    if (!self->reading && !self->writing && !self->kicked)
        free(self);
}

static inline void weir_nghttp2_was_read(int status, size_t bytes, void *user);
static inline void weir_nghttp2_was_written(int status, size_t bytes, void *user);

/* Sends what the session has, as much as the buffer takes, and sees whether it is over. */
static inline void weir_nghttp2_go_on(weir_nghttp2 *self)
{
    size_t used = 0;
    int error = 0;
    if (self->closed || self->on_end == NULL)
        return;
    while (!self->writing && used < WEIR_NGHTTP2_OUTPUT) {
        size_t piece = self->rest_length < WEIR_NGHTTP2_OUTPUT - used ? self->rest_length : WEIR_NGHTTP2_OUTPUT - used;
        ssize_t more;
        if (piece > 0) {
            memcpy(self->output + used, self->rest, piece);
            self->rest += piece;
            self->rest_length -= piece;
            used += piece;
            continue;
        }
        more = nghttp2_session_mem_send(self->session, &self->rest);
        if (self->closed)
            return;
        if (more < 0) {
            self->code = (int)more;
            weir_nghttp2_end(self, more == NGHTTP2_ERR_NOMEM ? WEIR_ENOMEM : -EPROTO);
            return;
        }
        if (more == 0)
            break;
        self->rest_length = (size_t)more;
    }
    if (used > 0) {
        error = self->write_all(self->transport, self->output, used, weir_nghttp2_was_written, self);
        self->writing = error == 0;
    }
    if (error == 0 && !self->writing && !nghttp2_session_want_read(self->session) && !nghttp2_session_want_write(self->session)) {
        weir_nghttp2_end(self, 0);
        return;
    }
    if (error == 0 && !self->reading) {
        error = self->read_some(self->transport, self->input, sizeof self->input, weir_nghttp2_was_read, self);
        self->reading = error == 0;
    }
    if (error != 0) /* EBADF: the context, which is being destroyed, has closed the stream */
        weir_nghttp2_end(self, error == WEIR_EBADF || error == WEIR_ESHUTDOWN ? WEIR_ECANCELED : error);
}

static inline void weir_nghttp2_was_read(int status, size_t bytes, void *user)
{
    weir_nghttp2 *self = (weir_nghttp2 *)user;
    self->depth++;
    self->reading = 0;
    if (!self->closed && self->on_end != NULL) {
        if (status == 0) {
            ssize_t taken = nghttp2_session_mem_recv(self->session, self->input, bytes);
            if (taken < 0) {
                self->code = (int)taken;
                status = taken == NGHTTP2_ERR_NOMEM ? WEIR_ENOMEM : -EPROTO;
            }
        }
        if (status != 0 && !self->closed)
            weir_nghttp2_end(self, status);
        else
            weir_nghttp2_go_on(self);
    }
    weir_nghttp2_leave(self, 1);
}

static inline void weir_nghttp2_was_written(int status, size_t bytes, void *user)
{
    weir_nghttp2 *self = (weir_nghttp2 *)user;
    (void)bytes;
    self->depth++;
    self->writing = 0;
    if (!self->closed && self->on_end != NULL) {
        if (status != 0)
            weir_nghttp2_end(self, status);
        else
            weir_nghttp2_go_on(self);
    }
    weir_nghttp2_leave(self, 1);
}

static inline void weir_nghttp2_kicked(int status, int events, void *user)
{
    weir_nghttp2 *self = (weir_nghttp2 *)user;
    (void)events;
    self->depth++;
    self->kicked = 0;
    if (!self->closed && self->on_end != NULL) {
        if (status != 0) /* the context ends */
            weir_nghttp2_end(self, status);
        else
            weir_nghttp2_go_on(self);
    }
    weir_nghttp2_leave(self, 1);
}

static inline int weir_nghttp2_kick(weir_nghttp2 *self)
{
    int error;
    if (self->kicked)
        return 0;
    error = weir_watch_start(self->kick, WEIR_WATCH_READ, 0, WEIR_FOREVER, weir_nghttp2_kicked, self);
    if (error != 0)
        return error;
    self->kicked = 1;
    error = weir_watch_feed(self->kick, WEIR_WATCH_READ);
    if (error != 0)
        weir_watch_stop(self->kick, NULL); /* its completion comes all the same */
    return error;
}

static inline int weir_nghttp2_stream_read(void *stream, void *data, size_t length, weir_io_callback callback, void *user)
{
    return weir_stream_read_some((weir_stream *)stream, data, length, callback, user);
}

static inline int weir_nghttp2_stream_write(void *stream, const void *data, size_t length, weir_io_callback callback, void *user)
{
    return weir_stream_write((weir_stream *)stream, data, length, callback, user);
}

static inline void weir_nghttp2_stream_shut(void *stream)
{
    weir_stream_close((weir_stream *)stream);
}

static inline int weir_nghttp2_begin(weir_stream *stream, nghttp2_session *session, weir_strand *strand, weir_nghttp2 **made,
                                     weir_callback callback, void *user)
{
    weir_context *context = NULL;
    weir_nghttp2 *self;
    int error;
    if (session == NULL || made == NULL || callback == NULL)
        return WEIR_EINVAL;
    error = weir_stream_context(stream, &context);
    if (error != 0)
        return error;
    self = (weir_nghttp2 *)calloc(1, sizeof *self);
    if (self == NULL)
        return WEIR_ENOMEM;
    self->session = session;
    self->transport = stream;
    self->read_some = weir_nghttp2_stream_read;
    self->write_all = weir_nghttp2_stream_write;
    self->shut = weir_nghttp2_stream_shut;
    self->on_end = callback;
    self->user = user;
    error = weir_watch_create(context, -1, &self->kick);
    if (error == 0 && strand != NULL)
        error = weir_handle_set_strand(self->kick, strand);
    if (error != 0) {
        if (self->kick != NULL)
            weir_watch_close(self->kick);
        free(self);
        return error;
    }
    *made = self;
    return 0;
}

/* Begins, or undoes all: session and transport are then the caller's. */
static inline int weir_nghttp2_launch(weir_nghttp2 *self, weir_nghttp2 **out)
{
    int error = weir_nghttp2_kick(self);
    if (error == 0) {
        *out = self;
        return 0;
    }
    weir_watch_close(self->kick);
    if (self->kicked) { /* its last completion frees it */
        self->transport = NULL;
        self->session = NULL;
        self->on_end = NULL;
        self->closed = 1;
    } else {
        free(self);
    }
    return error;
}

/* ---- for the program */

/**
 * Has a session run on a connected stream that has nothing pending; what it has queued is sent, without TCP's delay for small
 * pieces (WEIR_OPT_NO_DELAY). Callbacks come through `strand`,
 * or straight where it is NULL. Both belong to the weir_nghttp2 from now on.
 *
 * Errors: WEIR_EINVAL (a NULL but for `strand`, a strand of another context), WEIR_EBADF (stream or strand), WEIR_EBUSY (the stream
 * has something pending), WEIR_ENOMEM, WEIR_ESHUTDOWN. Stream and session are then the caller's as before, but for the stream's strand.
 *
 * Thread: any; never blocks.
 */
static inline int weir_nghttp2_attach(weir_stream *stream, nghttp2_session *session, weir_strand *strand, weir_nghttp2 **out,
                                      weir_callback on_end, void *user)
{
    weir_nghttp2 *self = NULL;
    int error = out == NULL ? WEIR_EINVAL : weir_nghttp2_begin(stream, session, strand, &self, on_end, user);
    if (error == 0 && strand != NULL) {
        error = weir_handle_set_strand(stream, strand);
        if (error != 0) {
            weir_watch_close(self->kick);
            free(self);
        }
    }
    if (error != 0)
        return error;
    weir_stream_set(stream, WEIR_OPT_NO_DELAY, 1); /* not on AF_UNIX, which has no such delays */
    return weir_nghttp2_launch(self, out);
}

#ifdef WEIR_OPENSSL_H
static inline int weir_nghttp2_ssl_read(void *tls, void *data, size_t length, weir_io_callback callback, void *user)
{
    return weir_ssl_read_some((weir_ssl *)tls, data, length, callback, user);
}

static inline int weir_nghttp2_ssl_write(void *tls, const void *data, size_t length, weir_io_callback callback, void *user)
{
    return weir_ssl_write((weir_ssl *)tls, data, length, callback, user);
}

static inline void weir_nghttp2_ssl_shut(void *tls)
{
    weir_ssl_close((weir_ssl *)tls);
}

/**
 * As weir_nghttp2_attach(), on a TLS connection whose handshake is done (and has agreed on "h2"), with the strand of that
 * connection. It ends without a close_notify: GOAWAY has said it.
 */
static inline int weir_nghttp2_attach_ssl(weir_ssl *tls, nghttp2_session *session, weir_strand *strand, weir_nghttp2 **out,
                                          weir_callback on_end, void *user)
{
    weir_nghttp2 *self = NULL;
    int error;
    if (tls == NULL || out == NULL)
        return WEIR_EINVAL;
    error = weir_nghttp2_begin(weir_ssl_stream(tls), session, strand, &self, on_end, user);
    if (error != 0)
        return error;
    self->transport = tls;
    self->read_some = weir_nghttp2_ssl_read;
    self->write_all = weir_nghttp2_ssl_write;
    self->shut = weir_nghttp2_ssl_shut;
    weir_stream_set(weir_ssl_stream(tls), WEIR_OPT_NO_DELAY, 1);
    return weir_nghttp2_launch(self, out);
}
#endif

/**
 * Ends a session and its connection at once. Where `on_end` has not been called yet it is, with WEIR_ECANCELED, later, in run.
 *
 * Thread: any, while no other is at work with the session; never blocks.
 */
static inline void weir_nghttp2_close(weir_nghttp2 *self)
{
    if (self == NULL || self->closed)
        return;
    self->depth++;
    self->closed = 1;
    weir_nghttp2_shut(self);
    weir_watch_close(self->kick);
    weir_nghttp2_leave(self, 0);
}

/** nghttp2's session, which stays the weir_nghttp2's. */
static inline nghttp2_session *weir_nghttp2_get(const weir_nghttp2 *self)
{
    return self->session;
}

/** The code of nghttp2's error behind -EPROTO, for nghttp2_strerror(); 0 where there is none. */
static inline int weir_nghttp2_error(const weir_nghttp2 *self)
{
    return self->code;
}

/**
 * Has what the program has submitted sent, soon, in run.
 *
 * Errors: WEIR_EINVAL (`self` is NULL), WEIR_ENOTCONN (the session is over), WEIR_ENOMEM, WEIR_ESHUTDOWN.
 *
 * Thread: any, while no other is at work with the session; never blocks.
 */
static inline int weir_nghttp2_send(weir_nghttp2 *self)
{
    if (self == NULL)
        return WEIR_EINVAL;
    if (self->closed || self->on_end == NULL)
        return WEIR_ENOTCONN;
    return weir_nghttp2_kick(self);
}

#ifdef __cplusplus
}
#endif

#endif
