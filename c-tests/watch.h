/* What the tests of watches share. */
#ifndef WATCH_H
#define WATCH_H

#include "net.h"
#include <sys/epoll.h>
#include <sys/eventfd.h>

/* What the callbacks of one watch saw. */
struct seen {
    atomic_int calls, ends, status, events;
    atomic_int inside;
    int fd;      /* read from if not 0 */
    int consume; /* bytes to take in each call; 0: all */
};

static inline void take(int fd, int most)
{
    char bytes[256];
    if (most > 0) {
        CHECK(read(fd, bytes, (size_t)most) >= -1);
        return;
    }
    while (read(fd, bytes, sizeof bytes) > 0) {
    }
}

static inline void saw(int status, int events, void *user)
{
    struct seen *seen = user;
    CHECK(!net_starting);
    CHECK_EQ(atomic_fetch_add(&seen->inside, 1), 0);
    CHECK(status <= 0 && (status == 0) == (events != 0));
    atomic_store(&seen->status, status);
    atomic_store(&seen->events, events);
    if (status == 0)
        atomic_fetch_add(&seen->calls, 1);
    else
        CHECK_EQ(atomic_fetch_add(&seen->ends, 1), 0);
    if (seen->fd > 0 && status == 0)
        take(seen->fd, seen->consume);
    CHECK_EQ(atomic_fetch_sub(&seen->inside, 1), 1);
}

static inline weir_watch *new_watch(weir_context *context, int fd)
{
    weir_watch *watch = NULL;
    CHECK_OK(weir_watch_create(context, fd, &watch));
    CHECK(watch != NULL);
    return watch;
}

static inline void new_pipe(int ends[2])
{
    CHECK_EQ(pipe2(ends, O_CLOEXEC | O_NONBLOCK), 0);
}

static inline void put(int fd, int bytes)
{
    while (bytes-- > 0)
        CHECK_EQ(write(fd, "x", 1), 1);
}

/* Runs what is ready; the number of callbacks. */
static inline size_t poll_once(weir_context *context)
{
    size_t ran = 0;
    if (weir_context_stopped(context))
        CHECK_OK(weir_context_restart(context));
    CHECK_OK(weir_context_poll(context, &ran));
    return ran;
}

static inline size_t one(weir_context *context)
{
    size_t ran = 0;
    if (weir_context_stopped(context))
        CHECK_OK(weir_context_restart(context));
    CHECK_OK(weir_context_poll_one(context, &ran));
    return ran;
}

#endif
