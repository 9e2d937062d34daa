#ifndef WEIR_HIREDIS_H
#define WEIR_HIREDIS_H

/*
 * hiredis on a weir context: the asynchronous API of hiredis 0.14 and later (1.x with its time-outs).
 *
 *     redisAsyncContext *redis = redisAsyncConnect("127.0.0.1", 6379);
 *     weir_hiredis_attach(redis, context, NULL);
 *     redisAsyncCommand(redis, on_reply, NULL, "PING");
 *     weir_context_run(context, NULL);          (returns when the connection is closed)
 *
 * Ownership. The redisAsyncContext stays what hiredis makes of it: it frees itself at disconnection, or redisAsyncFree()
 * does. Either lets go of the weir context at once. The weir context may be destroyed first: the connection then hears
 * nothing more, and is ended with redisAsyncFree() (never with redisAsyncDisconnect(), which may wait for a reply).
 *
 * Callbacks of hiredis run inside run functions of the context, but for those that hiredis calls inside redisAsyncFree().
 * All of hiredis may be called from them (but for redisAsyncDisconnect() in the callback of connecting: hiredis before 1.1
 * does not survive it), and all of libweir, but for what ends the weir context.
 *
 * Threads. hiredis has no locks: one thread at a time may be at work with a connection. Where several threads run the
 * context, give a strand, and use the connection in functions of this strand only (weir_strand_post()).
 *
 * Errors of the connection are told by hiredis, to the callbacks of redisAsyncSetConnectCallback() and
 * redisAsyncSetDisconnectCallback(). hiredis writes without MSG_NOSIGNAL: the program must ignore SIGPIPE.
 */

#include <hiredis/async.h>
#include <hiredis/hiredis.h>

#include <stdlib.h>
#include <sys/socket.h>

#include "../weir.h"

#ifdef __cplusplus
extern "C" {
#endif

/* What follows up to weir_hiredis_attach() is not for the program. */
struct weir_hiredis {
    redisAsyncContext *redis; /* NULL when hiredis has let go */
    weir_watch *watch;        /* NULL when its last completion has come */
    unsigned int events;
};

static inline void weir_hiredis_release(struct weir_hiredis *self)
{
    if (self->redis == NULL && self->watch == NULL)
        free(self);
}

static inline void weir_hiredis_ready(int status, int events, void *user)
{
    struct weir_hiredis *self = (struct weir_hiredis *)user;
    unsigned int ready = (unsigned int)events;
    if (status != 0) {
        weir_watch_close(self->watch);
        self->watch = NULL;
        weir_hiredis_release(self);
        return;
    }
#if HIREDIS_MAJOR >= 1
    if ((ready & WEIR_WATCH_TIMEOUT) != 0) {
        weir_watch_set_timeout(self->watch, WEIR_FOREVER); /* hiredis asks anew where it still waits */
        redisAsyncHandleTimeout(self->redis);
    }
#endif
    /* Whoever waits finds out what the error is. */
    if ((ready & (WEIR_WATCH_HANGUP | WEIR_WATCH_ERROR)) != 0)
        ready = WEIR_WATCH_READ | WEIR_WATCH_WRITE;
    /* Each of these may end the connection; this memory stays until the watch's last completion. */
    if (self->redis != NULL && (ready & self->events & WEIR_WATCH_READ) != 0)
        redisAsyncHandleRead(self->redis);
    if (self->redis != NULL && (ready & self->events & WEIR_WATCH_WRITE) != 0)
        redisAsyncHandleWrite(self->redis);
}

static inline void weir_hiredis_change(struct weir_hiredis *self, unsigned int events)
{
    unsigned int before = self->events;
    int error = 0;
    if (events == before)
        return;
    self->events = events;
    if (events != 0) /* level-triggered, a hang-up that nobody waits for would come without end */
        error = weir_watch_change(self->watch, events);
    if (error == 0 && (events == 0 || before == 0))
        error = weir_watch_set_fd(self->watch, events == 0 ? -1 : (int)self->redis->c.fd);
    if (error != 0 && error != WEIR_EBADF) {
        /* The kernel has no room for the fd. hiredis can be told by an end of the stream only. */
        shutdown((int)self->redis->c.fd, SHUT_RDWR);
        weir_watch_feed(self->watch, WEIR_WATCH_HANGUP);
    }
}

static inline void weir_hiredis_add_read(void *user)
{
    struct weir_hiredis *self = (struct weir_hiredis *)user;
    weir_hiredis_change(self, self->events | WEIR_WATCH_READ);
}

static inline void weir_hiredis_del_read(void *user)
{
    struct weir_hiredis *self = (struct weir_hiredis *)user;
    weir_hiredis_change(self, self->events & ~(unsigned int)WEIR_WATCH_READ);
}

static inline void weir_hiredis_add_write(void *user)
{
    struct weir_hiredis *self = (struct weir_hiredis *)user;
    weir_hiredis_change(self, self->events | WEIR_WATCH_WRITE);
}

static inline void weir_hiredis_del_write(void *user)
{
    struct weir_hiredis *self = (struct weir_hiredis *)user;
    weir_hiredis_change(self, self->events & ~(unsigned int)WEIR_WATCH_WRITE);
}

#if HIREDIS_MAJOR >= 1
static inline void weir_hiredis_schedule(void *user, struct timeval after)
{
    struct weir_hiredis *self = (struct weir_hiredis *)user;
    int64_t ns = WEIR_FOREVER;
    if (after.tv_sec < INT64_MAX / 1000000000 - 1)
        ns = (int64_t)after.tv_sec * 1000000000 + (int64_t)after.tv_usec * 1000;
    weir_watch_set_timeout(self->watch, ns);
}
#endif

static inline void weir_hiredis_cleanup(void *user)
{
    struct weir_hiredis *self = (struct weir_hiredis *)user;
    redisAsyncContext *redis = self->redis;
    redis->ev.data = NULL;
    redis->ev.addRead = redis->ev.delRead = redis->ev.addWrite = redis->ev.delWrite = redis->ev.cleanup = NULL;
#if HIREDIS_MAJOR >= 1
    redis->ev.scheduleTimer = NULL;
#endif
    self->redis = NULL;
    weir_watch_close(self->watch); /* its last completion comes later, in run */
    weir_hiredis_release(self);
}

/**
 * Has a weir context serve a connection: to be called once, after redisAsyncConnect() or redisAsyncConnectUnix(), with a
 * connection that has no event loop yet. Callbacks come through `strand`, or straight where it is NULL.
 *
 * Errors: WEIR_EBADF (the context or the strand), WEIR_EINVAL (`redis` is NULL, or the strand is of another context),
 * WEIR_ENOTCONN (connecting has failed already: redis->errstr tells why), WEIR_EBUSY (it has an event loop), WEIR_ENOMEM,
 * WEIR_ESHUTDOWN, or what the kernel said of epoll_ctl. The connection is then as it was.
 *
 * Thread: any, while no other is at work with the connection; never blocks.
 */
static inline int weir_hiredis_attach(redisAsyncContext *redis, weir_context *context, weir_strand *strand)
{
    struct weir_hiredis *self;
    int error;
    if (redis == NULL)
        return WEIR_EINVAL;
    if (redis->err != 0 || redis->c.fd < 0)
        return WEIR_ENOTCONN;
    if (redis->ev.data != NULL)
        return WEIR_EBUSY;
    self = (struct weir_hiredis *)calloc(1, sizeof *self);
    if (self == NULL)
        return WEIR_ENOMEM;
    self->redis = redis;
    self->events = WEIR_WATCH_WRITE; /* the end of connecting */
    error = weir_watch_create(context, (int)redis->c.fd, &self->watch);
    if (error == 0 && strand != NULL)
        error = weir_handle_set_strand(self->watch, strand);
    if (error == 0)
        error = weir_watch_start(self->watch, self->events, WEIR_WATCH_PERSISTENT, WEIR_FOREVER, weir_hiredis_ready,
                                 self);
    if (error != 0) {
        if (self->watch != NULL)
            weir_watch_close(self->watch);
        free(self);
        return error;
    }
    redis->ev.data = self;
    redis->ev.addRead = weir_hiredis_add_read;
    redis->ev.delRead = weir_hiredis_del_read;
    redis->ev.addWrite = weir_hiredis_add_write;
    redis->ev.delWrite = weir_hiredis_del_write;
#if HIREDIS_MAJOR >= 1
    redis->ev.scheduleTimer = weir_hiredis_schedule;
#endif
    redis->ev.cleanup = weir_hiredis_cleanup;
    return 0;
}

#ifdef __cplusplus
}
#endif

#endif
