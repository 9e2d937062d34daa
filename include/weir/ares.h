#ifndef WEIR_ARES_H
#define WEIR_ARES_H

/*
 * c-ares on a weir context (1.16 and later): lookups by DNS without a thread.
 *
 *     weir_ares *ares;
 *     weir_ares_create(context, NULL, NULL, 0, &ares);
 *     ares_getaddrinfo(weir_ares_channel(ares), "example.org", NULL, &hints, on_found, NULL);
 *     weir_context_run(context, NULL);          (returns when no query is left)
 *     weir_ares_destroy(ares);
 *
 * Ownership. The weir_ares makes the channel and destroys it; every function of c-ares that takes a channel may be called,
 * but for ares_destroy(). The weir context may be destroyed before or after it.
 *
 * Callbacks of c-ares come in run; what c-ares knows at once (a number, an entry of /etc/hosts, a name that is no name)
 * it tells inside the function that asks, and what it ends inside ares_cancel() and weir_ares_destroy(). They may begin
 * queries and call all of libweir, but may not run the context, nor cancel: c-ares 1.18 does not survive it, post the
 * cancel (weir_context_post()). They may call weir_ares_destroy() where they come in run: the channel ends when c-ares returns.
 *
 * Threads. One thread at a time may be at work with a channel. Where several threads run the context, give a strand, and use
 * the channel in functions of this strand only (weir_strand_post()).
 *
 * Errors of queries come to their callbacks. A query whose socket can't be watched, for want of memory for instance, runs into
 * its time limit. With ARES_FLAG_STAYOPEN an idle channel keeps its sockets: run does not return then, and the loop wakes
 * four times a second.
 */

#include <sys/select.h> /* which ares.h needs */

#include <ares.h>

#include <stdlib.h>
#include <string.h>
#include <sys/time.h>

#include "../weir.h"

#ifdef __cplusplus
extern "C" {
#endif

/** A channel of c-ares on a context. Made by weir_ares_create(). */
typedef struct weir_ares weir_ares;

/* What follows up to weir_ares_create() is not for the program. */
struct weir_ares_socket {
    struct weir_ares *ares; /* NULL when c-ares has let go */
    weir_watch *watch;      /* NULL when its last completion has come, or where it can't be watched */
    ares_socket_t fd;
    unsigned int events;
    struct weir_ares_socket *next;
};

struct weir_ares {
    ares_channel channel;
    weir_context *context;
    weir_strand *strand;
    weir_timer *timer;
    struct weir_ares_socket *sockets;
    int tick_ms;
    unsigned int users; /* who holds this memory: the caller, each wait of the timer, each function at work */
    unsigned int working;
    int waiting, closed;
};

static inline void weir_ares_release(struct weir_ares *ares)
{
    if (--ares->users == 0)
        free(ares);
}

/* ---- time */

static inline void weir_ares_on_time(int status, void *user);

static inline void weir_ares_arm(struct weir_ares *ares, int64_t ns)
{
    weir_timer_expires_after(ares->timer, ns);
    if (!ares->waiting && weir_timer_wait(ares->timer, weir_ares_on_time, ares) == 0) {
        ares->waiting = 1;
        ares->users++;
    }
}

static inline void weir_ares_disarm(struct weir_ares *ares)
{
    size_t ended = 0;
    if (weir_timer_cancel(ares->timer, &ended) == 0 && ended > 0)
        ares->waiting = 0;
}

/* Until the next time limit, and never longer than a fresh query has: c-ares does not tell of one that uses an open socket. */
static inline void weir_ares_arm_next(struct weir_ares *ares)
{
    struct timeval most, left, *next;
    most.tv_sec = ares->tick_ms / 1000;
    most.tv_usec = ares->tick_ms % 1000 * 1000;
    next = ares_timeout(ares->channel, &most, &left);
    if (next != NULL) /* in whole milliseconds, cut: one more, so that it is not asked in vain */
        weir_ares_arm(ares, (int64_t)next->tv_sec * 1000000000 + (int64_t)next->tv_usec * 1000 + 1000000);
}

/* ---- work */

/* The caller holds `ares`. */
static inline void weir_ares_finish(struct weir_ares *ares)
{
    ares_destroy(ares->channel);
    weir_timer_close(ares->timer);
    ares->users--; /* the program */
}

/* The caller holds `ares`. */
static inline void weir_ares_act(struct weir_ares *ares, ares_socket_t readable, ares_socket_t writable)
{
    if (ares->closed)
        return;
    ares->working++;
    ares_process_fd(ares->channel, readable, writable);
    ares->working--;
    if (ares->working > 0)
        return;
    if (ares->closed)
        weir_ares_finish(ares);
    else if (ares->sockets != NULL)
        weir_ares_arm_next(ares);
}

static inline void weir_ares_on_time(int status, void *user)
{
    struct weir_ares *ares = (struct weir_ares *)user;
    if (status == 0) {
        ares->waiting = 0;
        weir_ares_act(ares, ARES_SOCKET_BAD, ARES_SOCKET_BAD);
    }
    weir_ares_release(ares);
}

/* ---- sockets */

static inline void weir_ares_release_socket(struct weir_ares_socket *self)
{
    if (self->ares == NULL && self->watch == NULL)
        free(self);
}

static inline void weir_ares_ready(int status, int events, void *user)
{
    struct weir_ares_socket *self = (struct weir_ares_socket *)user;
    struct weir_ares *ares = self->ares;
    unsigned int ready = (unsigned int)events;
    if (status != 0) {
        weir_watch_close(self->watch);
        self->watch = NULL;
        weir_ares_release_socket(self);
        return;
    }
    if (ares == NULL)
        return;
    /* Whoever waits finds out what the error is. */
    if ((ready & (WEIR_WATCH_HANGUP | WEIR_WATCH_ERROR)) != 0)
        ready = self->events;
    ares->users++;
    weir_ares_act(ares, (ready & WEIR_WATCH_READ) != 0 ? self->fd : ARES_SOCKET_BAD,
                  (ready & WEIR_WATCH_WRITE) != 0 ? self->fd : ARES_SOCKET_BAD);
    weir_ares_release(ares);
}

static inline void weir_ares_add_socket(struct weir_ares *ares, ares_socket_t fd, unsigned int events)
{
    int error;
    struct weir_ares_socket *self = (struct weir_ares_socket *)calloc(1, sizeof *self);
    if (self == NULL)
        return;
    self->fd = fd;
    self->events = events;
    error = weir_watch_create(ares->context, (int)fd, &self->watch);
    if (error == 0 && ares->strand != NULL)
        error = weir_handle_set_strand(self->watch, ares->strand);
    if (error == 0)
        error = weir_watch_start(self->watch, events, WEIR_WATCH_PERSISTENT, WEIR_FOREVER, weir_ares_ready, self);
    if (error != 0 && self->watch != NULL) {
        weir_watch_close(self->watch);
        self->watch = NULL;
    }
    self->ares = ares;
    self->next = ares->sockets;
    ares->sockets = self;
    /* The query is not in c-ares's list yet, so that its time limit can't be asked for. */
    if (!ares->waiting)
        weir_ares_arm(ares, (int64_t)ares->tick_ms * 1000000);
}

static inline void weir_ares_forget_socket(struct weir_ares *ares, struct weir_ares_socket **place)
{
    struct weir_ares_socket *self = *place;
    *place = self->next;
    self->ares = NULL;
    weir_watch_close(self->watch); /* its last completion comes later, in run */
    weir_ares_release_socket(self);
    if (ares->sockets == NULL)
        weir_ares_disarm(ares);
}

static inline void weir_ares_on_socket(void *user, ares_socket_t fd, int readable, int writable)
{
    struct weir_ares *ares = (struct weir_ares *)user;
    struct weir_ares_socket **place = &ares->sockets;
    unsigned int events = 0;
    if (readable)
        events |= WEIR_WATCH_READ;
    if (writable)
        events |= WEIR_WATCH_WRITE;
    while (*place != NULL && (*place)->fd != fd)
        place = &(*place)->next;
    if (*place == NULL) {
        if (events != 0)
            weir_ares_add_socket(ares, fd, events);
    } else if (events == 0) {
        weir_ares_forget_socket(ares, place);
    } else if ((*place)->events != events) {
        (*place)->events = events;
        weir_watch_change((*place)->watch, events);
    }
}

/* ---- what the program calls */

/**
 * Makes a channel that a weir context serves. `options` and `optmask` are those of ares_init_options(), which copies them;
 * NULL and 0 for the defaults. Callbacks come through `strand`, or straight where it is NULL. End it with
 * weir_ares_destroy().
 *
 * Errors: WEIR_EINVAL (`out` is NULL, `options` is NULL with an `optmask`, `optmask` has ARES_OPT_SOCK_STATE_CB or
 * ARES_OPT_EVENT_THREAD, or the strand is of another context), WEIR_EBADF (the context or the strand), WEIR_ENOMEM,
 * WEIR_ESHUTDOWN. A positive number is what ares_init_options() returned, see ares_strerror().
 *
 * Thread: any; may read the system's configuration.
 */
static inline int weir_ares_create(weir_context *context, weir_strand *strand, const struct ares_options *options,
                                   int optmask, weir_ares **out)
{
    struct weir_ares *ares;
    struct ares_options own;
    int error;
    if (out == NULL || (options == NULL && optmask != 0) || (optmask & ARES_OPT_SOCK_STATE_CB) != 0)
        return WEIR_EINVAL;
#ifdef ARES_OPT_EVENT_THREAD /* since 1.26 */
    if ((optmask & ARES_OPT_EVENT_THREAD) != 0)
        return WEIR_EINVAL;
#endif
    ares = (struct weir_ares *)calloc(1, sizeof *ares);
    if (ares == NULL)
        return WEIR_ENOMEM;
    memset(&own, 0, sizeof own);
    if (options != NULL)
        own = *options;
    own.sock_state_cb = weir_ares_on_socket;
    own.sock_state_cb_data = ares;
    ares->context = context;
    ares->strand = strand;
    ares->users = 1;
    ares->tick_ms = 250; /* no version of c-ares gives a query less by itself */
    if ((optmask & ARES_OPT_TIMEOUTMS) != 0 && own.timeout > 0 && own.timeout < ares->tick_ms)
        ares->tick_ms = own.timeout;
    error = weir_timer_create(context, &ares->timer);
    if (error == 0 && strand != NULL)
        error = weir_handle_set_strand(ares->timer, strand);
    if (error == 0)
        error = ares_init_options(&ares->channel, &own, optmask | ARES_OPT_SOCK_STATE_CB);
    if (error != 0) {
        if (ares->timer != NULL)
            weir_timer_close(ares->timer);
        free(ares);
        return error;
    }
    *out = ares;
    return 0;
}

/** The channel, for the functions of c-ares. Thread: any; never blocks. */
static inline ares_channel weir_ares_channel(weir_ares *ares)
{
    return ares->channel;
}

/**
 * Ends the channel: the queries that are pending are told ARES_EDESTRUCTION in here, or, in a callback of c-ares's that comes
 * in run, when c-ares returns from it. Not to be called in one that comes inside another function of c-ares.
 *
 * Errors: WEIR_EINVAL (NULL), WEIR_EBUSY (it ends already).
 *
 * Thread: any, while no other is at work with the channel; never blocks.
 */
static inline int weir_ares_destroy(weir_ares *ares)
{
    if (ares == NULL)
        return WEIR_EINVAL;
    if (ares->closed)
        return WEIR_EBUSY;
    ares->closed = 1;
    ares->users++;
    if (ares->working == 0)
        weir_ares_finish(ares);
    weir_ares_release(ares);
    return 0;
}

#ifdef __cplusplus
}
#endif

#endif
