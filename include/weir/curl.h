#ifndef WEIR_CURL_H
#define WEIR_CURL_H

/*
 * libcurl's multi interface on a weir context (curl_multi_socket_action): any number of transfers, none of which blocks.
 *
 *     CURLM *multi = curl_multi_init();
 *     weir_curl *curl;
 *     weir_curl_attach(multi, context, NULL, on_done, NULL, &curl);
 *     curl_multi_add_handle(multi, easy);
 *     weir_context_run(context, NULL);          (on_done is called in here; returns when no transfer is left)
 *     weir_curl_detach(curl);
 *     curl_multi_cleanup(multi);
 *
 * Ownership. The multi handle and the easy handles stay the caller's; the weir_curl ends with weir_curl_detach(), which comes
 * before curl_multi_cleanup(). The weir context may be destroyed before or after that; transfers then stand still.
 *
 * Callbacks. `done` is called in run, outside of libcurl: it may call all of libcurl, of libweir, and weir_curl_detach(). An
 * easy handle is still in the multi handle then; curl_multi_remove_handle() takes it out, and may do so at any other time as
 * well: `done` is not called for it any more. libcurl's own callbacks (write, header, progress ...) come from inside
 * libcurl, which refuses most of its functions there, and must not run the context.
 *
 * Threads. libcurl has no locks: one thread at a time may be at work with a multi handle. Where several threads run the
 * context, give a strand, and use the multi handle in functions of this strand only (weir_strand_post()).
 *
 * Errors of transfers come to `done`. A transfer whose socket can't be watched, for want of memory for instance, ends with
 * CURLE_ABORTED_BY_CALLBACK.
 */

#include <curl/curl.h>

#include <stdlib.h>

#include "../weir.h"

#ifdef __cplusplus
extern "C" {
#endif

/** A multi handle on a context. Made by weir_curl_attach(). */
typedef struct weir_curl weir_curl;

/** Called when a transfer has ended, with what curl_easy_perform() would have returned. */
typedef void (*weir_curl_callback)(CURL *easy, CURLcode result, void *user);

/* What follows up to weir_curl_attach() is not for the program. */
struct weir_curl_socket {
    struct weir_curl *curl; /* NULL when libcurl has let go */
    weir_watch *watch;      /* NULL when its last completion has come, or where it can't be watched */
    CURL *failed;           /* the transfer that has to end therefore */
    curl_socket_t fd;
    unsigned int events;
    struct weir_curl_socket *next, *previous;
};

struct weir_curl {
    CURLM *multi;
    weir_context *context;
    weir_strand *strand;
    weir_timer *timer;
    weir_curl_callback done;
    void *user;
    struct weir_curl_socket *sockets;
    unsigned int users; /* who holds this memory: the caller, each wait of the timer, each function at work */
    int attached, waiting;
};

static inline void weir_curl_release(struct weir_curl *curl)
{
    if (--curl->users == 0)
        free(curl);
}

/* Ends the transfers whose sockets can't be watched. (An error of the socket function would be the end of the whole multi
 * handle, and some versions of libcurl crash on it.) Each round looks anew: the callback may end any transfer. */
static inline void weir_curl_fail(struct weir_curl *curl)
{
    while (curl->attached) {
        CURL *easy;
        struct weir_curl_socket *self = curl->sockets;
        while (self != NULL && self->failed == NULL)
            self = self->next;
        if (self == NULL)
            return;
        easy = self->failed;
        self->failed = NULL;
        curl_multi_remove_handle(curl->multi, easy); /* the callback may do so once more */
        curl->done(easy, CURLE_ABORTED_BY_CALLBACK, curl->user);
    }
}

/* Tells what has ended. The callback may detach. */
static inline void weir_curl_tell(struct weir_curl *curl)
{
    while (curl->attached) {
        int left = 0;
        CURLMsg *message = curl_multi_info_read(curl->multi, &left);
        if (message == NULL)
            return;
        if (message->msg == CURLMSG_DONE)
            curl->done(message->easy_handle, message->data.result, curl->user);
    }
}

/* The caller holds `curl`. */
static inline void weir_curl_act(struct weir_curl *curl, curl_socket_t fd, int events)
{
    int running = 0;
    if (!curl->attached)
        return;
    curl_multi_socket_action(curl->multi, fd, events, &running);
    weir_curl_fail(curl);
    weir_curl_tell(curl);
}

/* ---- sockets */

static inline void weir_curl_release_socket(struct weir_curl_socket *self)
{
    if (self->curl == NULL && self->watch == NULL)
        free(self);
}

static inline void weir_curl_ready(int status, int events, void *user)
{
    struct weir_curl_socket *self = (struct weir_curl_socket *)user;
    struct weir_curl *curl = self->curl;
    unsigned int ready = (unsigned int)events;
    int mask = 0;
    if (status != 0) {
        weir_watch_close(self->watch);
        self->watch = NULL;
        weir_curl_release_socket(self);
        return;
    }
    if (curl == NULL)
        return;
    /* Whoever waits finds out what the error is, and reads what came before it: CURL_CSELECT_ERR would prevent that. */
    if ((ready & (WEIR_WATCH_HANGUP | WEIR_WATCH_ERROR)) != 0)
        ready = self->events;
    if ((ready & WEIR_WATCH_READ) != 0)
        mask |= CURL_CSELECT_IN;
    if ((ready & WEIR_WATCH_WRITE) != 0)
        mask |= CURL_CSELECT_OUT;
    curl->users++;
    weir_curl_act(curl, self->fd, mask);
    weir_curl_release(curl);
}

static inline void weir_curl_forget_socket(struct weir_curl_socket *self)
{
    if (self->next != NULL)
        self->next->previous = self->previous;
    if (self->previous != NULL)
        self->previous->next = self->next;
    else
        self->curl->sockets = self->next;
    self->curl = NULL;
    weir_watch_close(self->watch); /* its last completion comes later, in run */
    weir_curl_release_socket(self);
}

static inline int weir_curl_add_socket(struct weir_curl *curl, CURL *easy, curl_socket_t fd, unsigned int events)
{
    int error;
    struct weir_curl_socket *self = (struct weir_curl_socket *)calloc(1, sizeof *self);
    if (self == NULL)
        return -1;
    self->fd = fd;
    self->events = events;
    error = weir_watch_create(curl->context, (int)fd, &self->watch);
    if (error == 0 && curl->strand != NULL)
        error = weir_handle_set_strand(self->watch, curl->strand);
    if (error == 0)
        error = weir_watch_start(self->watch, events, WEIR_WATCH_PERSISTENT, WEIR_FOREVER, weir_curl_ready, self);
    if (error != 0) {
        if (self->watch != NULL)
            weir_watch_close(self->watch);
        self->watch = NULL;
        self->failed = easy;
    }
    self->curl = curl;
    self->next = curl->sockets;
    if (self->next != NULL)
        self->next->previous = self;
    curl->sockets = self;
    curl_multi_assign(curl->multi, fd, self);
    return 0;
}

static inline int weir_curl_on_socket(CURL *easy, curl_socket_t fd, int what, void *user, void *socket)
{
    struct weir_curl *curl = (struct weir_curl *)user;
    struct weir_curl_socket *self = (struct weir_curl_socket *)socket;
    unsigned int events = 0, before;
    int error = 0;
    if (what != CURL_POLL_REMOVE) {
        if ((what & CURL_POLL_IN) != 0)
            events |= WEIR_WATCH_READ;
        if ((what & CURL_POLL_OUT) != 0)
            events |= WEIR_WATCH_WRITE;
    }
    if (events == 0) { /* level-triggered, a hang-up that nobody waits for would come without end */
        if (self != NULL) {
            curl_multi_assign(curl->multi, fd, NULL);
            weir_curl_forget_socket(self);
        }
        return 0;
    }
    if (self == NULL)
        return weir_curl_add_socket(curl, easy, fd, events);
    before = self->events;
    self->events = events;
    if (events != before && self->watch != NULL)
        error = weir_watch_change(self->watch, events);
    if (error != 0 && error != WEIR_EBADF)
        self->failed = easy;
    return 0;
}

/* ---- time */

static inline void weir_curl_on_time(int status, void *user)
{
    struct weir_curl *curl = (struct weir_curl *)user;
    if (status == 0) {
        int64_t left = 0;
        curl->waiting = 0;
        /* It may have been set anew when it was on its way here. */
        if (curl->attached && weir_timer_remaining(curl->timer, &left) == 0) {
            if (left == 0) {
                weir_curl_act(curl, CURL_SOCKET_TIMEOUT, 0);
            } else if (weir_timer_wait(curl->timer, weir_curl_on_time, curl) == 0) {
                curl->waiting = 1;
                return; /* this wait's hold is the next one's */
            }
        }
    }
    weir_curl_release(curl);
}

static inline int weir_curl_set_time(CURLM *multi, long ms, void *user)
{
    struct weir_curl *curl = (struct weir_curl *)user;
    size_t ended = 0;
    int error;
    (void)multi;
    if (ms < 0) {
        if (weir_timer_cancel(curl->timer, &ended) == 0 && ended > 0)
            curl->waiting = 0;
        return 0;
    }
    error = weir_timer_expires_after(curl->timer, ms > INT64_MAX / 1000000 ? WEIR_FOREVER : (int64_t)ms * 1000000);
    if (error == 0 && !curl->waiting) {
        error = weir_timer_wait(curl->timer, weir_curl_on_time, curl);
        if (error == 0) {
            curl->waiting = 1;
            curl->users++;
        }
    }
    return error == 0 || error == WEIR_EBADF ? 0 : -1; /* without a context everything stands still */
}

/* ---- what the program calls */

/**
 * Has a weir context serve a multi handle: libcurl's socket and timer functions are set. `done` is called for each transfer
 * that has ended. Callbacks come through `strand`, or straight where it is NULL.
 *
 * Errors: WEIR_EINVAL (`multi`, `done` or `out` is NULL, or the strand is of another context), WEIR_EBADF (the context or the
 * strand), WEIR_EBUSY (called from inside libcurl), WEIR_ENOMEM, WEIR_ESHUTDOWN. Nothing has changed then.
 *
 * Thread: any, while no other is at work with the multi handle; never blocks.
 */
static inline int weir_curl_attach(CURLM *multi, weir_context *context, weir_strand *strand, weir_curl_callback done,
                                   void *user, weir_curl **out)
{
    struct weir_curl *curl;
    int error;
    if (multi == NULL || done == NULL || out == NULL)
        return WEIR_EINVAL;
    curl = (struct weir_curl *)calloc(1, sizeof *curl);
    if (curl == NULL)
        return WEIR_ENOMEM;
    curl->multi = multi;
    curl->context = context;
    curl->strand = strand;
    curl->done = done;
    curl->user = user;
    curl->users = 1;
    curl->attached = 1;
    error = weir_timer_create(context, &curl->timer);
    if (error == 0 && strand != NULL)
        error = weir_handle_set_strand(curl->timer, strand);
    if (error == 0 && curl_multi_setopt(multi, CURLMOPT_SOCKETDATA, curl) != CURLM_OK)
        error = WEIR_EBUSY;
    if (error != 0) {
        if (curl->timer != NULL)
            weir_timer_close(curl->timer);
        free(curl);
        return error;
    }
    curl_multi_setopt(multi, CURLMOPT_SOCKETFUNCTION, weir_curl_on_socket);
    curl_multi_setopt(multi, CURLMOPT_TIMERDATA, curl);
    curl_multi_setopt(multi, CURLMOPT_TIMERFUNCTION, weir_curl_set_time);
    *out = curl;
    return 0;
}

/**
 * Ends what weir_curl_attach() began. Transfers that are under way stand still; `done` is not called any more. May be
 * called in `done`.
 *
 * Errors: WEIR_EINVAL (NULL), WEIR_EBUSY (called from inside libcurl).
 *
 * Thread: as weir_curl_attach().
 */
static inline int weir_curl_detach(weir_curl *curl)
{
    if (curl == NULL)
        return WEIR_EINVAL;
    if (curl_multi_setopt(curl->multi, CURLMOPT_SOCKETFUNCTION, (curl_socket_callback)NULL) != CURLM_OK)
        return WEIR_EBUSY;
    curl_multi_setopt(curl->multi, CURLMOPT_SOCKETDATA, (void *)NULL);
    curl_multi_setopt(curl->multi, CURLMOPT_TIMERFUNCTION, (curl_multi_timer_callback)NULL);
    curl_multi_setopt(curl->multi, CURLMOPT_TIMERDATA, (void *)NULL);
    while (curl->sockets != NULL) {
        curl_multi_assign(curl->multi, curl->sockets->fd, NULL);
        weir_curl_forget_socket(curl->sockets);
    }
    curl->attached = 0;
    weir_timer_close(curl->timer);
    weir_curl_release(curl);
    return 0;
}

#ifdef __cplusplus
}
#endif

#endif
