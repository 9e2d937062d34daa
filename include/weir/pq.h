#ifndef WEIR_PQ_H
#define WEIR_PQ_H

/*
 * libpq (PostgreSQL) on a weir context: connections, queries, COPY and notifications without a thread that waits.
 *
 *     PGconn *conn = PQconnectStart("hostaddr=127.0.0.1 dbname=shop");
 *     weir_pq_attach(conn, context, NULL, 5000000000, &pq, on_connect, user);
 *         ... in on_connect, where the status is 0:
 *     PQsendQuery(conn, "select now()");
 *     weir_pq_collect(pq, on_result, user);
 *
 * The program goes on using libpq's own functions, the asynchronous ones: PQsend...(), PQputCopyData(), PQgetCopyData(),
 * PQenterPipelineMode(). What would wait is here: weir_pq_collect() for PQgetResult(), weir_pq_flush() for PQflush(),
 * weir_pq_wait() for PQconsumeInput(), weir_pq_cancel() for PQcancel(). Never call PQexec(), PQgetResult() outside of these or
 * PQfinish(). A host's name is looked up by libpq, which blocks: give `hostaddr`, from a weir_resolver for instance.
 *
 * Ownership. weir_pq_attach() takes the PGconn. Each weir_pq is ended with one weir_pq_close(), also where connecting has failed or the
 * context is gone. It is memory, not a handle: nothing may be called with it afterwards. An open connection keeps
 * weir_context_run() going, as it listens for notifications; one that is lost does not.
 *
 * Callbacks come in run functions (or weir_context_destroy()) of the context, never inside the function that began the operation, once for
 * each; those that tell many things end with one call that has a negative status or no result. Every function may be called
 * from them, weir_pq_close() too. What is pending then gets WEIR_ECANCELED, later, in run.
 *
 * Errors. WEIR_ENOTCONN where the connection could not be made or is lost; PQerrorMessage(weir_pq_conn(pq)) says why. What the
 * server says of a query is in the PGresult.
 *
 * Threads. libpq has no locks: one thread at a time may be at work with a connection. Where several threads run the
 * context, give a strand, and use the connection in functions of this strand only (weir_strand_post()).
 *
 * TLS. Where the connection may be encrypted, include <openssl/ssl.h> before this and link with -lssl: then it is known when
 * OpenSSL holds data that no event of the socket tells of. Otherwise this is found by looking each 10 ms while something is waited for.
 */

#include <libpq-fe.h>

#include <stdlib.h>

#include "../weir.h"

#ifdef __cplusplus
extern "C" {
#endif

/** A connection that a context serves. What is in it is not for the program. */
typedef struct weir_pq weir_pq;

/**
 * Called with each result, which is the receiver's to PQclear(); `status` is 0 then. The last call has none, and status 0, or
 * WEIR_ENOTCONN or WEIR_ECANCELED.
 */
typedef void (*weir_pq_result_callback)(int status, PGresult *result, void *user);

/**
 * Called with each notification, which is the receiver's to PQfreemem(); `status` is 0 then. The last call has none, and
 * WEIR_ENOTCONN (the connection is lost) or WEIR_ECANCELED.
 */
typedef void (*weir_pq_notify_callback)(int status, PGnotify *notify, void *user);

/* ---- what follows up to weir_pq_attach() is not for the program */

#define WEIR_PQ_CONNECTING 0
#define WEIR_PQ_OPEN 1
#define WEIR_PQ_LOST 2
/* Results given in one go, before others have their turn. */
#define WEIR_PQ_BATCH 64

struct weir_pq {
    PGconn *conn;
    weir_context *context;
    weir_watch *watch; /* NULL when its last completion has come */
    unsigned int events;
    int state;
    int closed;
    int depth; /* of our callbacks on the stack: the memory stays */
    int looks; /* the watch's deadline has it look again */
    int64_t deadline_ns;
    weir_callback on_connect, on_flush, on_ready;
    weir_pq_result_callback on_result;
    weir_pq_notify_callback on_notify;
    void *connect_user, *flush_user, *ready_user, *result_user, *notify_user;
};

static inline void weir_pq_leave(weir_pq *self)
{
    self->depth--;
    if (self->closed && self->watch == NULL && self->depth == 0)
        free(self);
}

/* To be called where depth holds the memory. */
static inline void weir_pq_tell(weir_callback *slot, void *user, int status)
{
    weir_callback callback = *slot;
    *slot = NULL;
    if (callback != NULL)
        callback(status, user);
}

/* Ends what is pending. A new operation that one of these callbacks begins is refused: the state is not open. */
static inline void weir_pq_end(weir_pq *self, int status)
{
    weir_pq_result_callback on_result;
    weir_pq_notify_callback on_notify;
    self->state = WEIR_PQ_LOST;
    weir_pq_tell(&self->on_connect, self->connect_user, status);
    weir_pq_tell(&self->on_flush, self->flush_user, status);
    weir_pq_tell(&self->on_ready, self->ready_user, status);
    on_result = self->on_result;
    self->on_result = NULL;
    if (on_result != NULL)
        on_result(status, NULL, self->result_user);
    on_notify = self->on_notify;
    self->on_notify = NULL;
    if (on_notify != NULL)
        on_notify(status, NULL, self->notify_user);
}

static inline void weir_pq_lose(weir_pq *self, int status)
{
    weir_watch_stop(self->watch, NULL); /* libpq may have closed the socket */
    /* EBADF: the context, which is being destroyed, has closed the watch. */
    weir_pq_end(self, status == WEIR_EBADF || status == WEIR_ESHUTDOWN ? WEIR_ECANCELED : status);
}

static inline int weir_pq_hidden(PGconn *conn)
{
#ifdef OPENSSL_VERSION_NUMBER
    SSL *ssl = (SSL *)PQsslStruct(conn, "OpenSSL");
    return ssl != NULL && SSL_pending(ssl) > 0;
#else
    (void)conn;
    return 0;
#endif
}

/* Can data be waiting where neither the kernel nor weir_pq_hidden() tells? */
static inline int weir_pq_opaque(PGconn *conn)
{
#ifdef OPENSSL_VERSION_NUMBER
    return PQgssEncInUse(conn) || (PQsslInUse(conn) && PQsslStruct(conn, "OpenSSL") == NULL);
#else
    return PQgssEncInUse(conn) || PQsslInUse(conn);
#endif
}

/* Has the watch wait for what the connection needs now. */
static inline int weir_pq_arm(weir_pq *self, unsigned int events)
{
    int looks = (self->on_result != NULL || self->on_ready != NULL) && weir_pq_opaque(self->conn);
    int error = 0;
    if (events != self->events)
        error = weir_watch_change(self->watch, events);
    if (error == 0)
        self->events = events;
    if (error == 0 && looks != self->looks) {
        error = weir_watch_set_timeout(self->watch, looks ? 10000000 : WEIR_FOREVER);
        self->looks = looks;
    }
    return error;
}

static inline void weir_pq_connecting(weir_pq *self, unsigned int ready)
{
    PostgresPollingStatusType next;
    unsigned int events;
    int64_t now = 0;
    int error;
    if ((ready & WEIR_WATCH_TIMEOUT) != 0) {
        weir_pq_lose(self, WEIR_ETIMEDOUT);
        return;
    }
    next = PQconnectPoll(self->conn);
    if (next == PGRES_POLLING_FAILED) {
        weir_pq_lose(self, WEIR_ENOTCONN);
        return;
    }
    events = next == PGRES_POLLING_WRITING ? WEIR_WATCH_WRITE : WEIR_WATCH_READ;
    /* Each address that libpq tries has a socket of its own, often of the same number. */
    error = weir_watch_set_fd(self->watch, PQsocket(self->conn));
    if (error == 0)
        error = weir_watch_change(self->watch, events);
    self->events = events;
    if (error == 0 && next == PGRES_POLLING_OK) {
        error = weir_watch_set_timeout(self->watch, WEIR_FOREVER);
        if (error == 0 && PQsetnonblocking(self->conn, 1) != 0)
            error = WEIR_ENOTCONN;
        if (error == 0) {
            self->state = WEIR_PQ_OPEN;
            weir_pq_tell(&self->on_connect, self->connect_user, 0);
            return;
        }
    } else if (error == 0 && self->deadline_ns != WEIR_FOREVER) {
        error = weir_context_now(self->context, &now);
        if (error == 0)
            error = weir_watch_set_timeout(self->watch, now < self->deadline_ns ? self->deadline_ns - now : 0);
    }
    if (error != 0)
        weir_pq_lose(self, error);
}

/* Gives out the results that are there; 1 where there may be more. */
static inline int weir_pq_results(weir_pq *self)
{
    int given = 0;
    while (!self->closed && self->on_result != NULL) {
        weir_pq_result_callback callback = self->on_result;
        int lost = PQstatus(self->conn) == CONNECTION_BAD;
        int last = 0;
        PGresult *result;
        if (!lost && PQisBusy(self->conn))
            return 0;
        if (given++ == WEIR_PQ_BATCH)
            return 1;
        result = PQgetResult(self->conn);
        if (result == NULL) {
            if (PQstatus(self->conn) == CONNECTION_BAD)
                return 0; /* the caller ends it */
            last = 1;
        } else {
            ExecStatusType kind = PQresultStatus(result);
            last = kind == PGRES_COPY_IN || kind == PGRES_COPY_OUT || kind == PGRES_COPY_BOTH;
#ifdef LIBPQ_HAS_PIPELINING
            last = last || kind == PGRES_PIPELINE_SYNC;
#endif
            callback(0, result, self->result_user);
        }
        if (last && !self->closed) {
            self->on_result = NULL;
            callback(0, NULL, self->result_user);
        }
    }
    return 0;
}

static inline void weir_pq_open(weir_pq *self, unsigned int ready)
{
    PGconn *conn = self->conn;
    int tries = 0, more = 0, unsent, lost, error;
    PGnotify *notify;
    if ((ready & ~(unsigned int)WEIR_WATCH_WRITE) != 0) {
        int good = PQconsumeInput(conn);
        while (good && weir_pq_hidden(conn) && tries++ < WEIR_PQ_BATCH)
            good = PQconsumeInput(conn);
        more = good && weir_pq_hidden(conn);
    }
    unsent = PQflush(conn);
    /* After a failed write the server's last words may still be there to read; the end of them tells the loss. */
    if (unsent == 0 && self->on_flush != NULL) {
        weir_pq_tell(&self->on_flush, self->flush_user, 0);
        if (!self->closed)
            unsent = PQflush(conn);
    }
    while (!self->closed && self->on_notify != NULL && (notify = PQnotifies(conn)) != NULL)
        self->on_notify(0, notify, self->notify_user);
    if (!self->closed && self->on_ready != NULL && (ready & ~(unsigned int)WEIR_WATCH_WRITE) != 0 &&
        PQstatus(conn) != CONNECTION_BAD)
        weir_pq_tell(&self->on_ready, self->ready_user, 0);
    if (!self->closed && weir_pq_results(self))
        more = 1;
    if (self->closed || self->state != WEIR_PQ_OPEN)
        return;
    lost = PQstatus(conn) == CONNECTION_BAD;
    if (lost && !more) {
        weir_pq_lose(self, WEIR_ENOTCONN);
        return;
    }
    if (lost) {
        weir_watch_set_fd(self->watch, -1);
        weir_watch_feed(self->watch, WEIR_WATCH_READ);
        return;
    }
    unsent = PQflush(conn); /* the callbacks may have sent something */
    error = weir_pq_arm(self, WEIR_WATCH_READ | (unsent > 0 ? WEIR_WATCH_WRITE : 0U));
    if (error == 0 && more)
        error = weir_watch_feed(self->watch, WEIR_WATCH_READ);
    if (error != 0)
        weir_pq_lose(self, error);
}

static inline void weir_pq_fired(int status, int events, void *user)
{
    weir_pq *self = (weir_pq *)user;
    self->depth++;
    if (status != 0) {
        weir_watch_close(self->watch);
        self->watch = NULL;
        weir_pq_end(self, status);
    } else if (self->state == WEIR_PQ_CONNECTING) {
        weir_pq_connecting(self, (unsigned int)events);
    } else if (self->state == WEIR_PQ_OPEN) {
        weir_pq_open(self, (unsigned int)events);
    }
    weir_pq_leave(self);
}

/* Sends what libpq has queued, and sees to it that the watch waits for the rest. */
static inline int weir_pq_push(weir_pq *self)
{
    int unsent = PQflush(self->conn);
    int error = weir_pq_arm(self, WEIR_WATCH_READ | (unsent > 0 ? WEIR_WATCH_WRITE : 0U));
    if (error == 0 && unsent < 0)
        error = weir_watch_feed(self->watch, WEIR_WATCH_READ);
    return error;
}

struct weir_pq_cancellation {
    PGcancel *cancel;
    weir_callback callback;
    void *user;
};

static inline int weir_pq_send_cancel(void *argument)
{
    char text[256];
    return PQcancel(((struct weir_pq_cancellation *)argument)->cancel, text, (int)sizeof text);
}

static inline void weir_pq_cancelled(int status, int sent, void *user)
{
    struct weir_pq_cancellation *self = (struct weir_pq_cancellation *)user;
    weir_callback callback = self->callback;
    void *its_user = self->user;
    PQfreeCancel(self->cancel);
    free(self);
    if (callback != NULL)
        callback(status == 0 && !sent ? WEIR_ENOTCONN : status, its_user);
}

/* ---- for the program */

/**
 * Has a context serve a connection that PQconnectStart() or PQconnectStartParams() has begun, or one that is open. Completes with 0
 * when it is open, WEIR_ENOTCONN when that has failed, WEIR_ETIMEDOUT when it has taken `timeout_ns` (or WEIR_FOREVER; libpq itself
 * heeds no connect_timeout here) or WEIR_ECANCELED. Callbacks come through `strand`, or straight where it is NULL.
 *
 * Errors: WEIR_EINVAL (a NULL but for `strand`, a negative time, a strand of another context), WEIR_EBADF (the context or the
 * strand), WEIR_ENOMEM, WEIR_ESHUTDOWN, or what the kernel said of epoll_ctl. The PGconn is then the caller's as before.
 *
 * Thread: any; never blocks.
 */
static inline int weir_pq_attach(PGconn *conn, weir_context *context, weir_strand *strand, int64_t timeout_ns, weir_pq **out,
                                 weir_callback callback, void *user)
{
    weir_pq *self;
    int64_t now = 0;
    int error;
    if (conn == NULL || out == NULL || callback == NULL || timeout_ns < 0)
        return WEIR_EINVAL;
    error = weir_context_now(context, &now);
    if (error != 0)
        return error;
    self = (weir_pq *)calloc(1, sizeof *self);
    if (self == NULL)
        return WEIR_ENOMEM;
    self->conn = conn;
    self->context = context;
    self->events = WEIR_WATCH_WRITE;
    self->deadline_ns = timeout_ns > WEIR_FOREVER - now ? WEIR_FOREVER : now + timeout_ns;
    self->on_connect = callback;
    self->connect_user = user;
    error = weir_watch_create(context, PQsocket(conn), &self->watch);
    if (error == 0 && strand != NULL)
        error = weir_handle_set_strand(self->watch, strand);
    if (error == 0)
        error = weir_watch_start(self->watch, self->events, WEIR_WATCH_PERSISTENT, timeout_ns, weir_pq_fired, self);
    if (error == 0 && PQstatus(conn) <= CONNECTION_BAD) { /* open, or failed already: there is nothing to wait for */
        error = weir_watch_feed(self->watch, WEIR_WATCH_WRITE);
        if (error != 0) { /* the context is being destroyed: the last completion frees the memory */
            self->on_connect = NULL;
            self->closed = 1;
            weir_watch_stop(self->watch, NULL);
            return error;
        }
    }
    if (error != 0) {
        if (self->watch != NULL)
            weir_watch_close(self->watch);
        free(self);
        return error;
    }
    *out = self;
    return 0;
}

/**
 * Ends a connection, as PQfinish() does, and its weir_pq. What was pending completes with WEIR_ECANCELED, later, in run.
 *
 * Thread: any, while no other is at work with the connection; never blocks.
 */
static inline void weir_pq_close(weir_pq *self)
{
    if (self == NULL || self->closed)
        return;
    self->depth++;
    self->closed = 1;
    if (self->watch != NULL)
        weir_watch_stop(self->watch, NULL);
    PQfinish(self->conn);
    self->conn = NULL;
    weir_pq_leave(self);
}

/**
 * libpq's connection, which stays the weir_pq's.
 */
static inline PGconn *weir_pq_conn(const weir_pq *self)
{
    return self->conn;
}

/**
 * Collects the results of the query that was just sent by a PQsend...() function, whatever their number (in single-row mode:
 * each row); the last call of the callback has none. In pipeline mode that is one query's results, or one PGRES_PIPELINE_SYNC: collect once
 * for each. A result of COPY ends the collection; when the copy is done its outcome is collected by another.
 *
 * Errors: WEIR_EINVAL (a NULL), WEIR_EBUSY (a collection or weir_pq_wait() is pending), WEIR_ENOTCONN (not open, or lost),
 * WEIR_ESHUTDOWN, what the kernel said of epoll_ctl.
 *
 * Thread: any, while no other is at work with the connection; never blocks.
 */
static inline int weir_pq_collect(weir_pq *self, weir_pq_result_callback callback, void *user)
{
    int error;
    if (self == NULL || callback == NULL)
        return WEIR_EINVAL;
    if (self->state != WEIR_PQ_OPEN)
        return WEIR_ENOTCONN;
    if (self->on_result != NULL || self->on_ready != NULL)
        return WEIR_EBUSY;
    self->on_result = callback;
    self->result_user = user;
    error = weir_pq_push(self);
    if (error == 0 && (PQstatus(self->conn) == CONNECTION_BAD || !PQisBusy(self->conn)))
        error = weir_watch_feed(self->watch, WEIR_WATCH_READ); /* they are here already */
    if (error != 0)
        self->on_result = NULL;
    return error;
}

/**
 * Sends what libpq holds back, for instance after PQputCopyData(). Completes when all of it is sent; a NULL callback is not told.
 *
 * Errors: WEIR_EINVAL (`self` is NULL), WEIR_EBUSY (one with a callback is pending), WEIR_ENOTCONN, or as weir_pq_collect().
 *
 * Thread: any, while no other is at work with the connection; never blocks.
 */
static inline int weir_pq_flush(weir_pq *self, weir_callback callback, void *user)
{
    int error;
    if (self == NULL)
        return WEIR_EINVAL;
    if (self->state != WEIR_PQ_OPEN)
        return WEIR_ENOTCONN;
    if (callback != NULL && self->on_flush != NULL)
        return WEIR_EBUSY;
    error = weir_pq_push(self);
    if (error == 0 && callback != NULL && (self->events & WEIR_WATCH_WRITE) == 0)
        error = weir_watch_feed(self->watch, WEIR_WATCH_WRITE); /* sent already */
    if (error == 0 && callback != NULL) {
        self->on_flush = callback;
        self->flush_user = user;
    }
    return error;
}

/**
 * Completes when something has arrived and libpq has taken it in, now and then for nothing: for PQgetCopyData(), when it gave 0.
 *
 * Errors: as weir_pq_collect().
 *
 * Thread: any, while no other is at work with the connection; never blocks.
 */
static inline int weir_pq_wait(weir_pq *self, weir_callback callback, void *user)
{
    int error;
    if (self == NULL || callback == NULL)
        return WEIR_EINVAL;
    if (self->state != WEIR_PQ_OPEN)
        return WEIR_ENOTCONN;
    if (self->on_result != NULL || self->on_ready != NULL)
        return WEIR_EBUSY;
    self->on_ready = callback;
    self->ready_user = user;
    error = weir_pq_push(self);
    if (error != 0)
        self->on_ready = NULL;
    return error;
}

/**
 * Has each notification (of LISTEN) told from now on, also while nothing else is pending, and the loss of the connection.
 *
 * Errors: WEIR_EINVAL (a NULL), WEIR_EBUSY (it has been set already), WEIR_ENOTCONN, what weir_watch_feed() gives.
 *
 * Thread: any, while no other is at work with the connection; never blocks.
 */
static inline int weir_pq_notifications(weir_pq *self, weir_pq_notify_callback callback, void *user)
{
    int error;
    if (self == NULL || callback == NULL)
        return WEIR_EINVAL;
    if (self->state != WEIR_PQ_OPEN)
        return WEIR_ENOTCONN;
    if (self->on_notify != NULL)
        return WEIR_EBUSY;
    error = weir_watch_feed(self->watch, WEIR_WATCH_READ); /* some may be here */
    if (error == 0) {
        self->on_notify = callback;
        self->notify_user = user;
    }
    return error;
}

/**
 * Asks the server to end the query that runs, over a connection of its own, on a thread of weir_job_start(), as PQcancel() blocks.
 * Completes (not through the strand) with 0 when that was asked, or WEIR_ENOTCONN; the query's own results tell whether it was ended.
 * The weir_pq may be closed meanwhile. A NULL callback is not told.
 *
 * Errors: WEIR_EINVAL (`self` is NULL), WEIR_ENOTCONN (not open), WEIR_ENOMEM, or as weir_job_start().
 *
 * Thread: any, while no other is at work with the connection; never blocks.
 */
static inline int weir_pq_cancel(weir_pq *self, weir_callback callback, void *user)
{
    struct weir_pq_cancellation *one;
    int error;
    if (self == NULL)
        return WEIR_EINVAL;
    if (self->state != WEIR_PQ_OPEN)
        return WEIR_ENOTCONN;
    one = (struct weir_pq_cancellation *)calloc(1, sizeof *one);
    if (one == NULL)
        return WEIR_ENOMEM;
    one->callback = callback;
    one->user = user;
    one->cancel = PQgetCancel(self->conn);
    error = one->cancel == NULL ? WEIR_ENOMEM : weir_job_start(self->context, weir_pq_send_cancel, one, NULL, weir_pq_cancelled, one);
    if (error != 0) {
        PQfreeCancel(one->cancel);
        free(one);
    }
    return error;
}

#ifdef __cplusplus
}
#endif

#endif
