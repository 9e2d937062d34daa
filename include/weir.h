#ifndef WEIR_H
#define WEIR_H

/*
 * libweir: an event loop for Linux. This header is the reference manual; each function tells what it does,
 * what can go wrong, and from which thread it may be called. Here is what holds for all of them.
 *
 * First program: make a context, start something on it, run it.
 *     weir_context *context;
 *     weir_timer *timer;
 *     weir_context_create(NULL, &context);
 *     weir_timer_create(context, &timer);
 *     weir_timer_expires_after(timer, 1000000000);       (nanoseconds)
 *     weir_timer_wait(timer, on_time, NULL);
 *     weir_context_run(context, NULL);                   (on_time is called in here)
 *     weir_context_destroy(context);                     (closes the timer too)
 *
 * Errors. Functions return 0 or a negative code: an errno (-ECONNREFUSED) or one of WEIR_... Out-parameters
 * are written on success only. weir_strerror() and weir_error_name() know every code. A function that
 * starts an operation returns 0 and then completes exactly once, or returns an error and never
 * completes. The library prints nothing and aborts on nothing that a caller does, with one exception:
 * a C++ exception that leaves a callback ends the process.
 *
 * Handles are tokens, not addresses. A NULL, closed, stale, forged or wrong-type handle gives WEIR_EBADF
 * in every function, for ever.
 *
 * Callbacks run on threads that are inside a run function of their context, or inside
 * weir_context_destroy(); never inside the function that started them (weir_context_dispatch() is
 * the one that is asked to), and never with a lock held. Every function may be called from every
 * callback. `user` is passed through untouched. A callback must return: longjmp out of one is undefined.
 *
 * Buffers belong to the operation from its start until its completion is delivered, or until a cancel or
 * close that ended it has returned. They are not copied; nor are arrays of iovec.
 *
 * Cancel and close. Close is immediate: the fd is closed and the handle dead when it returns, and there is no
 * close callback. What was pending completes with WEIR_ECANCELED, later, in run; bytes that had moved
 * are counted. What had completed keeps its result.
 *
 * Threads. Every function may be called from any thread, at the same time, on the same handle. Several threads
 * may run one context: its callbacks then run at the same time, also those of one stream's reading
 * and writing. "Never blocks" means: no wait for I/O, time or user code.
 *
 * Ownership. What a create function gives is the caller's to close. A context owns its handles: its
 * destruction closes what is still open. fds that are adopted belong to the library, released ones to the
 * caller.
 *
 * Another event loop can host a context by one fd: see weir_context_fd().
 *
 * Fork. A child must not use contexts that its parent made (it may make its own); fork followed by exec is
 * fine, since every fd is close-on-exec.
 *
 * Signals. No SIGPIPE is raised, EINTR and EAGAIN are never seen. No signal handler is installed.
 *
 * Versions. Structs that may grow begin with their size; the soname changes when the ABI breaks.
 */

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include <sys/socket.h>
#include <sys/uio.h>

#ifdef __cplusplus
extern "C" {
#endif

/* ---- version --------------------------------------------------------------------------------- */

/**
 * Major version of this header.
 */
#define WEIR_VERSION_MAJOR 0

/**
 * Minor version of this header.
 */
#define WEIR_VERSION_MINOR 1

/**
 * Patch version of this header.
 */
#define WEIR_VERSION_PATCH 0

/**
 * The version of the library that runs: major << 16 | minor << 8 | patch. Compare it with the header's
 * constants where the library is loaded at run time.
 *
 * Thread: any; never blocks.
 */
uint32_t weir_version(void);

/**
 * The same as text, such as "0.1.0". Static; never NULL.
 *
 * Thread: any; never blocks.
 */
const char *weir_version_string(void);

/* ---- handle ---------------------------------------------------------------------------------- */

/**
 * A listening socket. Made by weir_acceptor_create().
 */
typedef struct weir_acceptor weir_acceptor;

/**
 * An event loop. Made by weir_context_create().
 */
typedef struct weir_context weir_context;

/**
 * A function that runs on a thread of the library's. Made by weir_job_start().
 */
typedef struct weir_job weir_job;

/**
 * Looks up names and addresses. Made by weir_resolver_create().
 */
typedef struct weir_resolver weir_resolver;

/**
 * A strand. Made by weir_strand_create().
 */
typedef struct weir_strand weir_strand;

/**
 * A connected byte stream: TCP or AF_UNIX. Made by weir_stream_create() and by accepting.
 */
typedef struct weir_stream weir_stream;

/**
 * A timer. Made by weir_timer_create().
 */
typedef struct weir_timer weir_timer;

/**
 * Called when an operation completes: with 0 or a negative code, and the pointer given with it.
 */
typedef void (*weir_callback)(int status, void *user);

/**
 * Called when a transfer completes. `bytes` have moved, whatever the status: an operation that was
 * cancelled or failed half way still tells how far it came.
 */
typedef void (*weir_io_callback)(int status, size_t bytes, void *user);

/**
 * Called when an operation completes that gives a number. `value` is 0 where `status` is negative.
 */
typedef void (*weir_value_callback)(int status, int value, void *user);

/**
 * Called with an accepted connection. `peer` is a new stream of the acceptor's context that belongs to
 * the receiver, who closes it. `address` is the other side's address, valid during the call only.
 * Where `status` is negative `peer` and `address` are NULL.
 */
typedef void (*weir_accept_callback)(int status,
                                     weir_stream *peer,
                                     const struct sockaddr *address,
                                     socklen_t address_length,
                                     void *user);

/**
 * Ends a handle of any type but a context, as its own close function does.
 *
 * Errors: WEIR_EBADF.
 *
 * Thread: any; never blocks.
 */
int weir_handle_close(void *handle);

/**
 * Ends what is pending on a handle of any type but a context, as its own cancel function does. `count`, which
 * may be NULL, receives the number ended.
 *
 * Errors: WEIR_EBADF.
 *
 * Thread: any; never blocks.
 */
int weir_handle_cancel(void *handle, size_t *count);

/**
 * The context of a handle of any type.
 *
 * Errors: WEIR_EBADF, WEIR_EINVAL (`out` is NULL).
 *
 * Thread: any; never blocks.
 */
int weir_handle_context(void *handle, weir_context **out);

/**
 * The number of operations that are pending on a handle, or whose completion is not delivered yet.
 *
 * Errors: WEIR_EBADF, WEIR_EINVAL (`count` is NULL).
 *
 * Thread: any; never blocks.
 */
int weir_handle_pending(void *handle, size_t *count);

/**
 * Names a handle, for reports. The text is copied; NULL takes the name away.
 *
 * Errors: WEIR_EBADF, WEIR_ENOMEM.
 *
 * Thread: any; never blocks.
 */
int weir_handle_set_name(void *handle, const char *name);

/**
 * Copies the name of a handle to `buffer`, of `size` bytes, with a terminating 0; an empty text where it has
 * none. A name that does not fit is cut short.
 *
 * Errors: WEIR_EBADF, WEIR_EINVAL (`buffer` is NULL or `size` is 0).
 *
 * Thread: any; never blocks.
 */
int weir_handle_name(void *handle, char *buffer, size_t size);

/**
 * Tags a handle with a number of the user's, for weir_context_cancel_tag(). 0 is no tag.
 *
 * Errors: WEIR_EBADF, WEIR_ENOMEM.
 *
 * Thread: any; never blocks.
 */
int weir_handle_set_tag(void *handle, uint64_t tag);

/**
 * The tag of a handle; 0 where it has none.
 *
 * Errors: WEIR_EBADF, WEIR_EINVAL (`tag` is NULL).
 *
 * Thread: any; never blocks.
 */
int weir_handle_tag(void *handle, uint64_t *tag);

/**
 * Sends the callbacks of a handle through a strand of its context from now on; NULL frees it of its
 * strand. The handle must have nothing pending.
 *
 * Errors: WEIR_EBADF (either handle), WEIR_EBUSY (something is pending), WEIR_EINVAL (a strand of another
 * context, or `handle` is a strand itself).
 *
 * Thread: any; never blocks.
 */
int weir_handle_set_strand(void *handle, weir_strand *strand);

/* ---- error ----------------------------------------------------------------------------------- */

/**
 * The end of a stream: the peer has sent all that it will.
 */
#define WEIR_EOF -10001

/**
 * EAI_ADDRFAMILY: the host has no address of that family.
 */
#define WEIR_EAI_ADDRFAMILY -10101

/**
 * EAI_AGAIN: the name server did not answer; a later try may succeed.
 */
#define WEIR_EAI_AGAIN -10102

/**
 * EAI_BADFLAGS: the flags of a lookup do not go together.
 */
#define WEIR_EAI_BADFLAGS -10103

/**
 * EAI_FAIL: the name server failed for good, or gave a reason that has no code.
 */
#define WEIR_EAI_FAIL -10104

/**
 * EAI_FAMILY: lookups do not know that address family.
 */
#define WEIR_EAI_FAMILY -10105

/**
 * EAI_NODATA: the host exists and has no address.
 */
#define WEIR_EAI_NODATA -10106

/**
 * EAI_NONAME: the host or the service is not known.
 */
#define WEIR_EAI_NONAME -10107

/**
 * EAI_OVERFLOW: a name is too long.
 */
#define WEIR_EAI_OVERFLOW -10108

/**
 * EAI_SERVICE: that socket type does not have the service.
 */
#define WEIR_EAI_SERVICE -10109

/**
 * EAI_SOCKTYPE: lookups do not know that socket type.
 */
#define WEIR_EAI_SOCKTYPE -10110

/**
 * -ECANCELED: ended by cancel, close or destruction.
 */
#define WEIR_ECANCELED -125

/**
 * -EBADF: the handle is stale, closed, NULL, forged or of another type.
 */
#define WEIR_EBADF -9

/**
 * -EINVAL: an argument is not valid.
 */
#define WEIR_EINVAL -22

/**
 * -EBUSY: an operation of that direction is pending, or the context is in use by the caller.
 */
#define WEIR_EBUSY -16

/**
 * -ENOMEM: out of memory.
 */
#define WEIR_ENOMEM -12

/**
 * -ETIMEDOUT: a time limit passed.
 */
#define WEIR_ETIMEDOUT -110

/**
 * -ESHUTDOWN: the context is being destroyed and begins nothing new.
 */
#define WEIR_ESHUTDOWN -108

/**
 * -ENOTCONN: the handle has no socket, or it is not connected.
 */
#define WEIR_ENOTCONN -107

/**
 * -EISCONN: the socket is connected already.
 */
#define WEIR_EISCONN -106

/**
 * What a code means, in a few words of English: "connection refused". Static; never NULL, also for a number
 * that is no code. 0 is "success".
 *
 * Thread: any; never blocks.
 */
const char *weir_strerror(int code);

/**
 * The name of a code: "ECONNREFUSED", "WEIR_EOF", "OK" for 0, "UNKNOWN" for a number that is no code. Static;
 * never NULL.
 *
 * Thread: any; never blocks.
 */
const char *weir_error_name(int code);

/* ---- context --------------------------------------------------------------------------------- */

/**
 * "Never", or "no limit": for every number of nanoseconds in this header.
 */
#define WEIR_FOREVER INT64_MAX

/**
 * Option flag: the context's time starts at 0 and moves by weir_context_advance() only.
 */
#define WEIR_CONTEXT_MANUAL_CLOCK 1

/**
 * Option flag: no completion is served inline; all go through the queue.
 */
#define WEIR_CONTEXT_NO_INLINE 2

/**
 * How a context is made. Set everything to 0 and struct_size to sizeof(weir_context_options); 0 stands
 * for the default everywhere. A struct_size larger than the library knows is accepted if the rest is 0.
 */
typedef struct weir_context_options {
    /**
     * sizeof(weir_context_options).
     */
    size_t struct_size;
    /**
     * WEIR_CONTEXT_... flags; an unknown one is WEIR_EINVAL.
     */
    uint32_t flags;
    /**
     * How many threads will call run functions at once, as far as known. For speed only: every number
     * works with every hint.
     */
    uint32_t thread_hint;
    /**
     * Events and due timers that one turn of the reactor takes; default 128, at most 4096.
     */
    uint32_t max_events;
    /**
     * Completions in a row that are served inline, without a visit to the queue: where a thread
     * starts; default 2. This and the next two are at most 65535.
     */
    uint32_t inline_budget_initial;
    /**
     * How far that grows while it is used up; default 16. Not less than the initial one.
     */
    uint32_t inline_budget_max;
    /**
     * What it is while others wait and no other thread takes work; default 4.
     */
    uint32_t inline_budget_unassisted;
    /**
     * How much later than due a timer may fire, so that neighbours share a wake-up, in nanoseconds: 1 to
     * 1000000000; default 50000, which is what the kernel allows a sleeping thread. The only timer of a
     * context gets none. A timer is never early.
     */
    int64_t timer_slack_ns;
} weir_context_options;

/**
 * Makes a context. `options` may be NULL for the defaults. End it with weir_context_destroy().
 *
 * Errors: WEIR_EINVAL (`out` is NULL, or an option is out of range), -EMFILE, -ENFILE, WEIR_ENOMEM.
 *
 * Thread: any; never blocks.
 */
int weir_context_create(const weir_context_options *options, weir_context **out);

/**
 * Ends a context: stops it, waits until every thread has left its run functions, closes every handle
 * that belongs to it, and delivers every completion that is still owed, on the calling thread: with
 * WEIR_ECANCELED, or with its true result where it had one. Those callbacks may call every function;
 * what would begin a new operation of this context gives WEIR_ESHUTDOWN. Afterwards the context and
 * its handles are dead, their fds closed, and nothing of the caller's memory is touched any more.
 *
 * Errors: WEIR_EBADF, WEIR_EBUSY (the calling thread is inside a run function or a callback of this
 * context). Otherwise it always succeeds, whatever is open.
 *
 * Thread: any; may block until the callbacks that run in other threads have returned.
 */
int weir_context_destroy(weir_context *context);

/**
 * Runs callbacks until the context is stopped or has no work left: nothing pending, nothing posted, no
 * weir_context_work_begin() open. Without work it stops the context, so that weir_context_restart()
 * comes before the next run. Any number of threads may run one context; their callbacks then run at
 * the same time. May be called from a callback: such a nested run sees what the callback has queued, and
 * returns, without stopping the context, when nothing is left but callbacks that are in a nested run.
 *
 * `count` receives the number of callbacks run; it may be NULL.
 *
 * Errors: WEIR_EBADF, WEIR_ESHUTDOWN (the context is being destroyed), or what the kernel said of
 * epoll; then the context can still be run.
 *
 * Thread: any; may block until there is nothing left to wait for.
 */
int weir_context_run(weir_context *context, size_t *count);

/**
 * As weir_context_run(), and returns after one callback.
 *
 * Thread: any; may block until there is a callback to run.
 */
int weir_context_run_one(weir_context *context, size_t *count);

/**
 * As weir_context_run(), for `timeout_ns` at most. No callback begins after that time, but for the
 * first: with 0 one is run if it is ready. The time is real, also where the context's clock is manual.
 *
 * Errors: as weir_context_run(), and WEIR_EINVAL for a negative time.
 *
 * Thread: any; may block for `timeout_ns`.
 */
int weir_context_run_for(weir_context *context, int64_t timeout_ns, size_t *count);

/**
 * As weir_context_run_for(), until a moment of CLOCK_MONOTONIC in nanoseconds.
 *
 * Errors: as weir_context_run(), and WEIR_EINVAL for a negative moment.
 *
 * Thread: any; may block until `deadline_ns`.
 */
int weir_context_run_until(weir_context *context, int64_t deadline_ns, size_t *count);

/**
 * As weir_context_run_one(), and waits for the callback for `timeout_ns` at most.
 *
 * Errors: as weir_context_run(), and WEIR_EINVAL for a negative time.
 *
 * Thread: any; may block for `timeout_ns`.
 */
int weir_context_wait_one(weir_context *context, int64_t timeout_ns, size_t *count);

/**
 * Runs what is ready: it asks the kernel at least once, does not wait, and returns when nothing is
 * ready any more. Where callbacks keep posting it returns after some tens of thousands of them, so
 * that a host's own loop gets its turn. Like run, it stops a context that has no work left.
 *
 * Errors: as weir_context_run().
 *
 * Thread: any; never blocks (but for the callbacks that it runs).
 */
int weir_context_poll(weir_context *context, size_t *count);

/**
 * As weir_context_poll(), and returns after one callback.
 *
 * Thread: any; never blocks (but for the callback that it runs).
 */
int weir_context_poll_one(weir_context *context, size_t *count);

/**
 * Makes every run function of the context return as soon as the callback that it runs does. Nothing is
 * lost: what is pending stays so, and goes on after weir_context_restart().
 *
 * Errors: WEIR_EBADF.
 *
 * Thread: any; never blocks.
 */
int weir_context_stop(weir_context *context);

/**
 * 1 when the context is stopped: by weir_context_stop(), or because run had no work left; else 0.
 *
 * Errors: WEIR_EBADF.
 *
 * Thread: any; never blocks.
 */
int weir_context_stopped(weir_context *context);

/**
 * Lets a stopped context run again. While a thread is still inside run it goes on there.
 *
 * Errors: WEIR_EBADF, WEIR_ESHUTDOWN (the context is being destroyed).
 *
 * Thread: any; never blocks.
 */
int weir_context_restart(weir_context *context);

/**
 * Queues a function, never calls it at once. Functions that one thread posts are called in that order
 * where one thread runs the context, and begin in that order where several do. From inside a callback
 * of the context it takes no lock and makes no system call. Status: 0, or WEIR_ECANCELED from
 * weir_context_destroy().
 *
 * Errors: WEIR_EBADF, WEIR_ENOMEM, WEIR_ESHUTDOWN.
 *
 * Thread: any; never blocks.
 */
int weir_context_post(weir_context *context, weir_callback callback, void *user);

/**
 * Calls a function at once with status 0 when the calling thread is inside run of this context, else as
 * weir_context_post(). It is the one function that calls back before it returns.
 *
 * Errors: as weir_context_post().
 *
 * Thread: any; never blocks (but for the callback).
 */
int weir_context_dispatch(weir_context *context, weir_callback callback, void *user);

/**
 * Queues a function for the end of this turn: after all that is queued, before the context next asks
 * the kernel. One that defers itself again runs once a turn. Status as weir_context_post().
 *
 * Errors: as weir_context_post().
 *
 * Thread: any; never blocks.
 */
int weir_context_defer(weir_context *context, weir_callback callback, void *user);

/**
 * Keeps run from returning for want of work, until weir_context_work_end().
 *
 * Errors: WEIR_EBADF, WEIR_ESHUTDOWN.
 *
 * Thread: any; never blocks.
 */
int weir_context_work_begin(weir_context *context);

/**
 * Ends one weir_context_work_begin().
 *
 * Errors: WEIR_EBADF, WEIR_EINVAL (there is none to end).
 *
 * Thread: any; never blocks.
 */
int weir_context_work_end(weir_context *context);

/**
 * 1 when the calling thread is inside a run function (or weir_context_destroy()) of this context.
 *
 * Errors: WEIR_EBADF.
 *
 * Thread: any; never blocks.
 */
int weir_context_running_in_this_thread(weir_context *context);

/**
 * The fd for another event loop: it is readable whenever the context has something to do, due timers
 * and posts from other threads included. Watch it for POLLIN (level-triggered) and call
 * weir_context_poll() then; no timeout is needed. It belongs to the context: do not read or close it.
 * Hold the context open with weir_context_work_begin(), or poll will stop it when it has no work.
 *
 * Errors: WEIR_EBADF, WEIR_EINVAL (`fd` is NULL), WEIR_ESHUTDOWN.
 *
 * Thread: any; never blocks.
 */
int weir_context_fd(weir_context *context, int *fd);

/**
 * The context's time in nanoseconds: CLOCK_MONOTONIC, or its manual clock.
 *
 * Errors: WEIR_EBADF, WEIR_EINVAL (`now_ns` is NULL).
 *
 * Thread: any; never blocks.
 */
int weir_context_now(weir_context *context, int64_t *now_ns);

/**
 * Moves the manual clock forward; timers that are due then fire in the next turn. Saturates.
 *
 * Errors: WEIR_EBADF, WEIR_EINVAL (negative, or the context's clock is not manual).
 *
 * Thread: any; never blocks.
 */
int weir_context_advance(weir_context *context, int64_t by_ns);

/**
 * Ends what is pending on every handle of the context that has this tag, see weir_handle_set_tag(). `count`,
 * which may be NULL, receives the number ended.
 *
 * Errors: WEIR_EBADF, WEIR_EINVAL (`tag` is 0), WEIR_ENOMEM.
 *
 * Thread: any; never blocks.
 */
int weir_context_cancel_tag(weir_context *context, uint64_t tag, size_t *count);

/* ---- strand ---------------------------------------------------------------------------------- */

/**
 * Makes a strand of a context: callbacks that go through it never run at the same time, whatever the
 * number of threads, and run in the order in which they were queued; no thread waits for another.
 * weir_handle_set_strand() sends the callbacks of a handle through it. End it with weir_strand_close().
 *
 * A nested run function, called from a callback that is in a strand, runs no callback of that strand.
 *
 * Errors: WEIR_EBADF, WEIR_EINVAL (`out` is NULL), WEIR_ENOMEM, WEIR_ESHUTDOWN.
 *
 * Thread: any; never blocks.
 */
int weir_strand_create(weir_context *context, weir_strand **out);

/**
 * Ends the handle. Nothing is cancelled: what was posted is called in its turn, and what is bound to the
 * strand stays serialised.
 *
 * Errors: WEIR_EBADF.
 *
 * Thread: any; never blocks.
 */
int weir_strand_close(weir_strand *strand);

/**
 * The context that the strand belongs to.
 *
 * Errors: WEIR_EBADF, WEIR_EINVAL (`out` is NULL).
 *
 * Thread: any; never blocks.
 */
int weir_strand_context(weir_strand *strand, weir_context **out);

/**
 * Queues a function to be called in the strand; never calls it at once. Functions are called in the order
 * in which they were posted. Status: 0, or WEIR_ECANCELED from weir_context_destroy().
 *
 * Errors: WEIR_EBADF, WEIR_ENOMEM, WEIR_ESHUTDOWN.
 *
 * Thread: any; never blocks.
 */
int weir_strand_post(weir_strand *strand, weir_callback callback, void *user);

/**
 * Calls a function at once with status 0 when the calling thread runs a callback of the strand, else as
 * weir_strand_post().
 *
 * Errors: as weir_strand_post().
 *
 * Thread: any; never blocks (but for the callback).
 */
int weir_strand_dispatch(weir_strand *strand, weir_callback callback, void *user);

/**
 * 1 when the calling thread runs a callback of the strand, else 0.
 *
 * Errors: WEIR_EBADF.
 *
 * Thread: any; never blocks.
 */
int weir_strand_running_in_this_thread(weir_strand *strand);

/* ---- record ---------------------------------------------------------------------------------- */

/**
 * Record kind: weir_context_post() and its like. `value` is 0.
 */
#define WEIR_OP_POST 1

/**
 * Record kind: a wait or a tick of a timer. `value` is 0.
 */
#define WEIR_OP_TIMER 2

/**
 * Record kind: an accepted connection. `value` is the weir_stream, 0 with an error.
 */
#define WEIR_OP_ACCEPT 3

/**
 * Record kind: a connect. `value` is 0.
 */
#define WEIR_OP_CONNECT 4

/**
 * Record kind: every way of reading from a stream. `value` is the number of bytes.
 */
#define WEIR_OP_READ 5

/**
 * Record kind: every way of writing to a stream. `value` is the number of bytes.
 */
#define WEIR_OP_WRITE 6

/**
 * Record kind: readiness of a stream, an acceptor or a datagram socket. `value` is 0.
 */
#define WEIR_OP_WAIT 7

/**
 * Record kind: datagrams received. `value` is the number of bytes, or of messages.
 */
#define WEIR_OP_RECEIVE 8

/**
 * Record kind: datagrams sent. `value` is the number of bytes, or of messages.
 */
#define WEIR_OP_SEND 9

/**
 * Record kind: a signal. `value` is its number.
 */
#define WEIR_OP_SIGNAL 10

/**
 * Record kind: a forward lookup. `value` is a pointer to its result, which is the receiver's.
 */
#define WEIR_OP_RESOLVE 11

/**
 * Record kind: a reverse lookup. `value` is a pointer to its result, which is the receiver's.
 */
#define WEIR_OP_REVERSE 12

/**
 * Record kind: a watch. `value` is the events.
 */
#define WEIR_OP_WATCH 13

/**
 * Record kind: the exit of a process. `value` is its wait status.
 */
#define WEIR_OP_PROCESS 14

/**
 * Record kind: a job. `value` is what its function returned.
 */
#define WEIR_OP_JOB 15

/**
 * The completion of an operation that was begun with a NULL callback.
 */
typedef struct weir_record {
    /**
     * The pointer that was given with the operation.
     */
    void *user;
    /**
     * What the operation gave, see the kind. (For one that can hold a pointer: cast through uintptr_t.)
     */
    uint64_t value;
    /**
     * For reads into a pool: the offset of the data in the pool's memory.
     */
    uint64_t extra;
    /**
     * WEIR_OP_...
     */
    uint32_t kind;
    /**
     * 0 or a negative code.
     */
    int32_t status;
} weir_record;

/**
 * Runs the context and collects the completions of operations that were begun with a NULL callback, up to
 * `capacity` of them. It waits until there is one, for `timeout_ns` at most (0: not at all; WEIR_FOREVER), and
 * returns with what there is when nothing more is ready. Callbacks of other operations are called
 * meanwhile. Also returns, then perhaps with 0 records, when the context is out of work, which the next
 * weir_context_reap() undoes by itself, or stopped by weir_context_stop(), which weir_context_restart() ends.
 *
 * A completion that finds no room, or is met by another run function, waits for the next reap: none is
 * lost, and until then the operation counts as pending (a second one gives WEIR_EBUSY) and as work. Run
 * functions that do not reap return when nothing but such completions is left. Records that nobody has
 * reaped are dropped by weir_context_destroy().
 *
 * `count` receives the number of records.
 *
 * Errors: WEIR_EBADF, WEIR_EINVAL (`records` or `count` is NULL, `capacity` is 0, a negative time),
 * WEIR_ESHUTDOWN, or what the kernel said of epoll.
 *
 * Thread: any; may block for `timeout_ns`.
 */
int weir_context_reap(weir_context *context,
                      weir_record *records,
                      size_t capacity,
                      int64_t timeout_ns,
                      size_t *count);

/* ---- timer ----------------------------------------------------------------------------------- */

/**
 * Makes a timer of a context. It is due at once until an expiry is set. End it with weir_timer_close().
 *
 * Errors: WEIR_EBADF, WEIR_EINVAL (`out` is NULL), WEIR_ENOMEM, WEIR_ESHUTDOWN.
 *
 * Thread: any; never blocks.
 */
int weir_timer_create(weir_context *context, weir_timer **out);

/**
 * Ends a timer: its waits and its periodic operation complete with WEIR_ECANCELED, later, in run. What
 * had expired already completes with 0.
 *
 * Errors: WEIR_EBADF.
 *
 * Thread: any; never blocks.
 */
int weir_timer_close(weir_timer *timer);

/**
 * The context that the timer belongs to.
 *
 * Errors: WEIR_EBADF, WEIR_EINVAL (`out` is NULL).
 *
 * Thread: any; never blocks.
 */
int weir_timer_context(weir_timer *timer, weir_context **out);

/**
 * Sets the expiry to `after_ns` nanoseconds from now; WEIR_FOREVER, or a sum that is too large, is
 * never. Pending waits move to the new expiry, they are not cancelled: an idle timeout is re-armed by
 * this call alone, in constant time, and with no system call when the new expiry is the later one.
 *
 * Errors: WEIR_EBADF, WEIR_EINVAL (negative).
 *
 * Thread: any; never blocks.
 */
int weir_timer_expires_after(weir_timer *timer, int64_t after_ns);

/**
 * Sets the expiry to a moment of the context's clock (see weir_context_now()), as
 * weir_timer_expires_after() does. A moment that has passed is due at once.
 *
 * Errors: WEIR_EBADF, WEIR_EINVAL (negative).
 *
 * Thread: any; never blocks.
 */
int weir_timer_expires_at(weir_timer *timer, int64_t at_ns);

/**
 * The expiry on the context's clock; WEIR_FOREVER for never.
 *
 * Errors: WEIR_EBADF, WEIR_EINVAL (`at_ns` is NULL).
 *
 * Thread: any; never blocks.
 */
int weir_timer_expiry(weir_timer *timer, int64_t *at_ns);

/**
 * The nanoseconds until the expiry: 0 when it has passed, WEIR_FOREVER for never.
 *
 * Errors: WEIR_EBADF, WEIR_EINVAL (`ns` is NULL).
 *
 * Thread: any; never blocks.
 */
int weir_timer_remaining(weir_timer *timer, int64_t *ns);

/**
 * Waits for the expiry: completes with 0, not earlier, and at once (but not inside this call) when it has
 * passed. Any number of waits may be pending on a timer; they complete in the order in which they
 * began. Timers with the same expiry complete in the order in which they were armed.
 *
 * Errors: WEIR_EBADF, WEIR_ENOMEM, WEIR_ESHUTDOWN.
 *
 * Thread: any; never blocks.
 */
int weir_timer_wait(weir_timer *timer, weir_callback callback, void *user);

/**
 * Ends the pending waits and the periodic operation with WEIR_ECANCELED. The expiry stays. `count`, which
 * may be NULL, receives how many were ended; what has expired already is not among them.
 *
 * Errors: WEIR_EBADF.
 *
 * Thread: any; never blocks.
 */
int weir_timer_cancel(weir_timer *timer, size_t *count);

/**
 * Ends the oldest pending wait with WEIR_ECANCELED. `count`, which may be NULL, receives 0 or 1.
 *
 * Errors: WEIR_EBADF.
 *
 * Thread: any; never blocks.
 */
int weir_timer_cancel_one(weir_timer *timer, size_t *count);

/**
 * Starts a periodic operation: the callback is called with 0 first after `first_ns` and then each
 * `period_ns`, and once, at last, with WEIR_ECANCELED, after stop, cancel, close or destruction. Ticks
 * keep to the grid of the first; those that were missed fold into one. Calls for one timer never
 * overlap. Sets the expiry; setting it again moves the next tick.
 *
 * Errors: WEIR_EBADF, WEIR_EINVAL (`first_ns` < 0, `period_ns` < 1), WEIR_EBUSY (it
 * ticks already, or its last WEIR_ECANCELED is not delivered yet), WEIR_ESHUTDOWN.
 *
 * Thread: any; never blocks.
 */
int weir_timer_start(weir_timer *timer,
                     int64_t first_ns,
                     int64_t period_ns,
                     weir_callback callback,
                     void *user);

/**
 * Ends the periodic operation with WEIR_ECANCELED; waits stay. `count`, which may be NULL, receives 0 or 1.
 *
 * Errors: WEIR_EBADF.
 *
 * Thread: any; never blocks.
 */
int weir_timer_stop(weir_timer *timer, size_t *count);

/* ---- stream ---------------------------------------------------------------------------------- */

/**
 * Readability, for weir_stream_wait().
 */
#define WEIR_WAIT_READ 1

/**
 * Writability, for weir_stream_wait().
 */
#define WEIR_WAIT_WRITE 2

/**
 * Ends receiving, for weir_stream_shutdown().
 */
#define WEIR_SHUTDOWN_READ 0

/**
 * Ends sending: the peer reads the end of the stream.
 */
#define WEIR_SHUTDOWN_WRITE 1

/**
 * Ends both.
 */
#define WEIR_SHUTDOWN_BOTH 2

/**
 * Makes a stream of a context, without an fd yet: weir_stream_connect(), weir_stream_open() or
 * weir_stream_adopt() give it one. End it with weir_stream_close().
 *
 * Errors: WEIR_EBADF, WEIR_EINVAL (`out` is NULL), WEIR_ENOMEM, WEIR_ESHUTDOWN.
 *
 * Thread: any; never blocks.
 */
int weir_stream_create(weir_context *context, weir_stream **out);

/**
 * Ends a stream: when this returns the fd is closed, the handle is dead, and the buffers of pending
 * operations are the caller's again. Those operations complete with WEIR_ECANCELED and the bytes that
 * had moved, later, in run; operations that were complete keep their result.
 *
 * Errors: WEIR_EBADF.
 *
 * Thread: any; never blocks.
 */
int weir_stream_close(weir_stream *stream);

/**
 * Ends the pending operations with WEIR_ECANCELED and the bytes that had moved. What has completed
 * already stays as it happened, and nothing later is affected. `count`, which may be NULL, receives how
 * many were ended. A direction is free for the next operation when that completion is delivered. Ending a
 * connect closes the socket if weir_stream_connect() had opened it.
 *
 * Errors: WEIR_EBADF.
 *
 * Thread: any; never blocks.
 */
int weir_stream_cancel(weir_stream *stream, size_t *count);

/**
 * Opens a socket of this family (AF_INET, AF_INET6 or AF_UNIX), so that options can be set before the
 * connect.
 *
 * Errors: WEIR_EBADF, WEIR_EBUSY (there is an fd already), -EAFNOSUPPORT, -EMFILE, -ENFILE, WEIR_ENOMEM,
 * WEIR_ESHUTDOWN.
 *
 * Thread: any; never blocks.
 */
int weir_stream_open(weir_stream *stream, int family);

/**
 * Takes over a stream socket, connected or not. On success the stream owns it, and makes it
 * non-blocking and close-on-exec; on an error it stays the caller's, as it was.
 *
 * Errors: WEIR_EBADF (also: `fd` is not open), WEIR_EBUSY (there is an fd already), -ENOTSOCK,
 * -EPROTOTYPE (not a stream socket, or a listening one), WEIR_ESHUTDOWN.
 *
 * Thread: any; never blocks.
 */
int weir_stream_adopt(weir_stream *stream, int fd);

/**
 * Gives the fd away: pending operations end as by cancel, the fd (still non-blocking) is the caller's,
 * the handle is as new.
 *
 * Errors: WEIR_EBADF, WEIR_EINVAL (`fd` is NULL), WEIR_ENOTCONN (there is no fd).
 *
 * Thread: any; never blocks.
 */
int weir_stream_release(weir_stream *stream, int *fd);

/**
 * The fd, borrowed: the stream goes on owning it.
 *
 * Errors: WEIR_EBADF, WEIR_EINVAL (`fd` is NULL), WEIR_ENOTCONN (there is no fd).
 *
 * Thread: any; never blocks.
 */
int weir_stream_fd(weir_stream *stream, int *fd);

/**
 * The context that the stream belongs to.
 *
 * Errors: WEIR_EBADF, WEIR_EINVAL (`out` is NULL).
 *
 * Thread: any; never blocks.
 */
int weir_stream_context(weir_stream *stream, weir_context **out);

/**
 * The local address. Asked of the kernel, so it is concrete where a wildcard was bound.
 *
 * Errors: WEIR_EBADF, WEIR_EINVAL (NULL), WEIR_ENOTCONN (there is no fd).
 *
 * Thread: any; never blocks.
 */
int weir_stream_local_address(weir_stream *stream, struct sockaddr_storage *address, socklen_t *length);

/**
 * The peer's address.
 *
 * Errors: WEIR_EBADF, WEIR_EINVAL (NULL), WEIR_ENOTCONN (not connected).
 *
 * Thread: any; never blocks.
 */
int weir_stream_remote_address(weir_stream *stream, struct sockaddr_storage *address, socklen_t *length);

/**
 * Binds the stream's socket to a local address before it connects.
 *
 * Errors: WEIR_EBADF, WEIR_EINVAL, WEIR_ENOTCONN (there is no fd: open first), -EAFNOSUPPORT, -EADDRINUSE,
 * -EADDRNOTAVAIL, -EACCES.
 *
 * Thread: any; never blocks.
 */
int weir_stream_bind(weir_stream *stream, const struct sockaddr *address, socklen_t length);

/**
 * Connects; opens a socket of the address's family first if there is none. Completes with 0 when the peer
 * has answered, or with what went wrong: -ECONNREFUSED, -EHOSTUNREACH, -ENETUNREACH, WEIR_ETIMEDOUT (the
 * kernel's own limit, minutes), WEIR_ECANCELED and so on. A socket that was opened here is closed again
 * when the connect fails, so that the next one starts anew. An AF_UNIX listener whose queue is full gives
 * -ECONNREFUSED. A read that is begun meanwhile waits for the connection. The address is not needed
 * after the call.
 *
 * Errors: WEIR_EBADF, WEIR_EINVAL (address), WEIR_EBUSY (a connect, write or wait for
 * writability is pending), -EAFNOSUPPORT, -EMFILE, -ENFILE, -ENOSPC (epoll watches), WEIR_ENOMEM,
 * WEIR_ESHUTDOWN.
 *
 * Thread: any; never blocks.
 */
int weir_stream_connect(weir_stream *stream,
                        const struct sockaddr *address,
                        socklen_t length,
                        weir_callback callback,
                        void *user);

/**
 * Reads what there is, up to `length` bytes, as soon as there is any. Completes with 0 and the number of
 * bytes, or WEIR_EOF at the end of the stream, or what the connection met (-ECONNRESET and so on), or
 * WEIR_ECANCELED. Data that came before an error or the end is read first. A length of 0 completes with 0
 * bytes. The buffer stays valid until the completion, or until cancel or close has returned.
 *
 * One operation may be pending in each direction: reading and waiting for readability share the one,
 * writing, connecting and waiting for writability the other.
 *
 * Errors: WEIR_EBADF, WEIR_EINVAL (`data` is NULL with a length; a length above
 * SSIZE_MAX), WEIR_EBUSY (one is pending), WEIR_ENOTCONN (there is no fd), -ENOSPC (epoll watches),
 * WEIR_ENOMEM, WEIR_ESHUTDOWN.
 *
 * Thread: any; never blocks.
 */
int weir_stream_read_some(weir_stream *stream,
                          void *data,
                          size_t length,
                          weir_io_callback callback,
                          void *user);

/**
 * Reads exactly `length` bytes. Completes as weir_stream_read_some(); with any other status than 0 `bytes`
 * tells how many were read before.
 *
 * Errors: as weir_stream_read_some().
 *
 * Thread: any; never blocks.
 */
int weir_stream_read(weir_stream *stream, void *data, size_t length, weir_io_callback callback, void *user);

/**
 * As weir_stream_read_some(), into `count` buffers, any number. The array and the buffers stay valid until the
 * completion.
 *
 * Errors: as weir_stream_read_some(); WEIR_EINVAL also where the lengths add up to more than
 * SSIZE_MAX.
 *
 * Thread: any; never blocks.
 */
int weir_stream_readv_some(weir_stream *stream,
                           const struct iovec *buffers,
                           size_t count,
                           weir_io_callback callback,
                           void *user);

/**
 * As weir_stream_read(), into `count` buffers, all of them filled.
 *
 * Errors: as weir_stream_readv_some().
 *
 * Thread: any; never blocks.
 */
int weir_stream_readv(weir_stream *stream,
                      const struct iovec *buffers,
                      size_t count,
                      weir_io_callback callback,
                      void *user);

/**
 * Writes what the socket takes now, up to `length` bytes and at least one. Completes with 0 and the number
 * of bytes, or -EPIPE or -ECONNRESET where the peer is gone (there is never a SIGPIPE), or WEIR_ECANCELED.
 * A length of 0 completes with 0 bytes. The data stays valid until the completion, or until cancel or
 * close has returned.
 *
 * Errors: as weir_stream_read_some().
 *
 * Thread: any; never blocks.
 */
int weir_stream_write_some(weir_stream *stream,
                           const void *data,
                           size_t length,
                           weir_io_callback callback,
                           void *user);

/**
 * Writes all `length` bytes. Completes as weir_stream_write_some(); with any other status than 0 `bytes`
 * tells how many were written before.
 *
 * Errors: as weir_stream_read_some().
 *
 * Thread: any; never blocks.
 */
int weir_stream_write(weir_stream *stream,
                      const void *data,
                      size_t length,
                      weir_io_callback callback,
                      void *user);

/**
 * As weir_stream_write_some(), from `count` buffers, any number. The array and the buffers stay valid until the
 * completion.
 *
 * Errors: as weir_stream_readv_some().
 *
 * Thread: any; never blocks.
 */
int weir_stream_writev_some(weir_stream *stream,
                            const struct iovec *buffers,
                            size_t count,
                            weir_io_callback callback,
                            void *user);

/**
 * As weir_stream_write(), from `count` buffers, all of them.
 *
 * Errors: as weir_stream_readv_some().
 *
 * Thread: any; never blocks.
 */
int weir_stream_writev(weir_stream *stream,
                       const struct iovec *buffers,
                       size_t count,
                       weir_io_callback callback,
                       void *user);

/**
 * Reads what there is now: 0 with `*bytes` set, which is 0 when there is nothing yet; WEIR_EOF at the end of
 * the stream. Nothing is begun and no callback comes.
 *
 * Errors: WEIR_EOF, WEIR_EBADF, WEIR_EINVAL (as weir_stream_read_some(), or `bytes` is NULL), WEIR_EBUSY (a read or wait
 * for readability is pending), WEIR_ENOTCONN, and what the connection met.
 *
 * Thread: any; never blocks.
 */
int weir_stream_try_read(weir_stream *stream,
                         void *data,
                         size_t length,
                         size_t *bytes);

/**
 * As weir_stream_try_read(), into `count` buffers.
 *
 * Thread: any; never blocks.
 */
int weir_stream_try_readv(weir_stream *stream, const struct iovec *buffers, size_t count, size_t *bytes);

/**
 * Writes what the socket takes now: 0 with `*bytes` set, which is 0 when its buffer is full. Nothing is begun
 * and no callback comes.
 *
 * Errors: WEIR_EBADF, WEIR_EINVAL (as weir_stream_read_some(), or `bytes` is NULL), WEIR_EBUSY (a write, connect or wait
 * for writability is pending), WEIR_ENOTCONN, -EPIPE, -ECONNRESET.
 *
 * Thread: any; never blocks.
 */
int weir_stream_try_write(weir_stream *stream,
                          const void *data,
                          size_t length,
                          size_t *bytes);

/**
 * As weir_stream_try_write(), from `count` buffers.
 *
 * Thread: any; never blocks.
 */
int weir_stream_try_writev(weir_stream *stream, const struct iovec *buffers, size_t count, size_t *bytes);

/**
 * Waits until the stream is readable (WEIR_WAIT_READ: data, the end or an error) or writable
 * (WEIR_WAIT_WRITE), for programs that do the transfer themselves. Level-checked: what is so already
 * completes at once (not inside this call), and it never completes on a socket that is not ready.
 *
 * Errors: WEIR_EBADF, WEIR_EINVAL (`what`), WEIR_EBUSY (the direction has a pending
 * operation), WEIR_ENOTCONN (there is no fd), -ENOSPC, WEIR_ENOMEM, WEIR_ESHUTDOWN.
 *
 * Thread: any; never blocks.
 */
int weir_stream_wait(weir_stream *stream, int what, weir_callback callback, void *user);

/**
 * Ends one or both directions of the connection: WEIR_SHUTDOWN_READ, _WRITE or _BOTH. Pending operations
 * complete as the kernel says: a read with WEIR_EOF, a write with -EPIPE.
 *
 * Errors: WEIR_EBADF, WEIR_EINVAL (`how`), WEIR_ENOTCONN (no fd, or not connected).
 *
 * Thread: any; never blocks.
 */
int weir_stream_shutdown(weir_stream *stream, int how);

/**
 * Sets a named option, WEIR_OPT_....
 *
 * Errors: WEIR_EBADF, WEIR_EINVAL (unknown option, or what the kernel says of the value), WEIR_ENOTCONN (there is
 * no fd), -ENOPROTOOPT or -EOPNOTSUPP (not for this kind of socket).
 *
 * Thread: any; never blocks.
 */
int weir_stream_set(weir_stream *stream,
                    int option,
                    int value);

/**
 * Reads a named option, WEIR_OPT_....
 *
 * Errors: as weir_stream_set(); WEIR_EINVAL also where `value` is NULL.
 *
 * Thread: any; never blocks.
 */
int weir_stream_get(weir_stream *stream, int option, int *value);

/**
 * Sets any socket option by level and name, as setsockopt(2) does.
 *
 * Errors: WEIR_EBADF, WEIR_EINVAL (`value` is NULL), WEIR_ENOTCONN (there is no fd), what the kernel says.
 *
 * Thread: any; never blocks.
 */
int weir_stream_set_option(weir_stream *stream, int level, int name, const void *value, socklen_t length);

/**
 * Reads any socket option by level and name, as getsockopt(2) does: `*length` is the room at `value` before,
 * and the option's size after.
 *
 * Errors: WEIR_EBADF, WEIR_EINVAL (`value` or `length` is NULL), WEIR_ENOTCONN (there is no fd), what the kernel
 * says.
 *
 * Thread: any; never blocks.
 */
int weir_stream_get_option(weir_stream *stream,
                           int level,
                           int name,
                           void *value,
                           socklen_t *length);

/**
 * Binds the socket to a network interface by name; "" ends that.
 *
 * Errors: WEIR_EBADF, WEIR_EINVAL (`name` is NULL), WEIR_ENOTCONN (there is no fd), -ENODEV, -EPERM.
 *
 * Thread: any; never blocks.
 */
int weir_stream_bind_to_device(weir_stream *stream, const char *name);

/* ---- acceptor -------------------------------------------------------------------------------- */

/**
 * Makes an acceptor of a context, without an fd yet: weir_acceptor_bind(), weir_acceptor_open() or
 * weir_acceptor_adopt() give it one. End it with weir_acceptor_close().
 *
 * Errors: WEIR_EBADF, WEIR_EINVAL (`out` is NULL), WEIR_ENOMEM, WEIR_ESHUTDOWN.
 *
 * Thread: any; never blocks.
 */
int weir_acceptor_create(weir_context *context, weir_acceptor **out);

/**
 * Ends an acceptor: when this returns the fd is closed and the handle is dead. A pending operation
 * completes with WEIR_ECANCELED, later, in run.
 *
 * Errors: WEIR_EBADF.
 *
 * Thread: any; never blocks.
 */
int weir_acceptor_close(weir_acceptor *acceptor);

/**
 * Ends the pending operation with WEIR_ECANCELED. No connection is lost: what was not delivered is still in
 * the kernel's queue. The next operation may begin when the completion is delivered. `count`, which may be NULL, receives 0 or 1.
 *
 * Errors: WEIR_EBADF.
 *
 * Thread: any; never blocks.
 */
int weir_acceptor_cancel(weir_acceptor *acceptor,
                         size_t *count);

/**
 * Opens a socket of this family (AF_INET, AF_INET6 or AF_UNIX), so that options can be set before the bind.
 *
 * Errors: WEIR_EBADF, WEIR_EBUSY (there is an fd already), -EAFNOSUPPORT, -EMFILE, -ENFILE, WEIR_ENOMEM,
 * WEIR_ESHUTDOWN.
 *
 * Thread: any; never blocks.
 */
int weir_acceptor_open(weir_acceptor *acceptor, int family);

/**
 * Binds to a local address. Where there is no socket one of the address's family is opened first, with
 * SO_REUSEADDR set for AF_INET and AF_INET6; it is closed again if the bind fails.
 *
 * Errors: WEIR_EBADF, WEIR_EINVAL (address, or bound already), -EAFNOSUPPORT, -EADDRINUSE, -EADDRNOTAVAIL, -EACCES,
 * -EMFILE, -ENFILE, WEIR_ESHUTDOWN.
 *
 * Thread: any; never blocks.
 */
int weir_acceptor_bind(weir_acceptor *acceptor,
                       const struct sockaddr *address,
                       socklen_t length);

/**
 * Listens. `backlog` is how many connections may wait to be accepted; 0 is the system's maximum.
 *
 * Errors: WEIR_EBADF, WEIR_EINVAL (negative), WEIR_ENOTCONN (there is no fd), -EADDRINUSE.
 *
 * Thread: any; never blocks.
 */
int weir_acceptor_listen(weir_acceptor *acceptor, int backlog);

/**
 * Takes over a listening stream socket, such as one from socket activation. On success the acceptor owns it,
 * and makes it non-blocking and close-on-exec; on an error it stays the caller's.
 *
 * Errors: WEIR_EBADF (also: `fd` is not open), WEIR_EBUSY (there is an fd already), -ENOTSOCK, -EPROTOTYPE (not a stream
 * socket), WEIR_EINVAL (it does not listen), WEIR_ESHUTDOWN.
 *
 * Thread: any; never blocks.
 */
int weir_acceptor_adopt(weir_acceptor *acceptor,
                        int fd);

/**
 * Gives the fd away: pending operations end as by cancel, the fd (still non-blocking) is the caller's,
 * the handle is as new.
 *
 * Errors: WEIR_EBADF, WEIR_EINVAL (`fd` is NULL), WEIR_ENOTCONN (there is no fd).
 *
 * Thread: any; never blocks.
 */
int weir_acceptor_release(weir_acceptor *acceptor, int *fd);

/**
 * The fd, borrowed: the acceptor goes on owning it.
 *
 * Errors: WEIR_EBADF, WEIR_EINVAL (`fd` is NULL), WEIR_ENOTCONN (there is no fd).
 *
 * Thread: any; never blocks.
 */
int weir_acceptor_fd(weir_acceptor *acceptor, int *fd);

/**
 * The context that the acceptor belongs to.
 *
 * Errors: WEIR_EBADF, WEIR_EINVAL (`out` is NULL).
 *
 * Thread: any; never blocks.
 */
int weir_acceptor_context(weir_acceptor *acceptor, weir_context **out);

/**
 * The local address. Asked of the kernel, so it is concrete where a wildcard was bound.
 *
 * Errors: WEIR_EBADF, WEIR_EINVAL (NULL), WEIR_ENOTCONN (there is no fd).
 *
 * Thread: any; never blocks.
 */
int weir_acceptor_local_address(weir_acceptor *acceptor, struct sockaddr_storage *address, socklen_t *length);

/**
 * Accepts one connection. Completes with 0 and a new stream, or with WEIR_ECANCELED or what the kernel says
 * of the listening socket. Connections that were gone before they were taken (-ECONNABORTED and its
 * like) are passed over. Where the process or the system is out of fds or memory the operation stays
 * pending, and tries again every 100 ms of the context's clock.
 *
 * Errors: WEIR_EBADF, WEIR_EINVAL (the socket does not listen), WEIR_EBUSY (one is pending),
 * WEIR_ENOTCONN (there is no fd), -ENOSPC (epoll watches), WEIR_ENOMEM, WEIR_ESHUTDOWN.
 *
 * Thread: any; never blocks.
 */
int weir_acceptor_accept(weir_acceptor *acceptor, weir_accept_callback callback, void *user);

/**
 * Accepts connections one after another: the callback is called with 0 and a new stream for each, and
 * once, at last, with a negative status: WEIR_ECANCELED after cancel, close or destruction, or what the
 * kernel says. The calls of one acceptor never overlap. Otherwise as weir_acceptor_accept().
 *
 * Errors: as weir_acceptor_accept().
 *
 * Thread: any; never blocks.
 */
int weir_acceptor_accept_each(weir_acceptor *acceptor, weir_accept_callback callback, void *user);

/**
 * Waits until a connection can be accepted, without taking it. Level-checked.
 *
 * Errors: as weir_acceptor_accept().
 *
 * Thread: any; never blocks.
 */
int weir_acceptor_wait(weir_acceptor *acceptor, weir_callback callback, void *user);

/**
 * Sets a named option, WEIR_OPT_....
 *
 * Errors: WEIR_EBADF, WEIR_EINVAL (unknown option, or what the kernel says of the value), WEIR_ENOTCONN (there is
 * no fd), -ENOPROTOOPT or -EOPNOTSUPP (not for this kind of socket).
 *
 * Thread: any; never blocks.
 */
int weir_acceptor_set(weir_acceptor *acceptor,
                      int option,
                      int value);

/**
 * Reads a named option, WEIR_OPT_....
 *
 * Errors: as weir_acceptor_set(); WEIR_EINVAL also where `value` is NULL.
 *
 * Thread: any; never blocks.
 */
int weir_acceptor_get(weir_acceptor *acceptor, int option, int *value);

/**
 * Sets any socket option by level and name, as setsockopt(2) does.
 *
 * Errors: WEIR_EBADF, WEIR_EINVAL (`value` is NULL), WEIR_ENOTCONN (there is no fd), what the kernel says.
 *
 * Thread: any; never blocks.
 */
int weir_acceptor_set_option(weir_acceptor *acceptor,
                             int level,
                             int name,
                             const void *value,
                             socklen_t length);

/**
 * Reads any socket option by level and name, as getsockopt(2) does: `*length` is the room at `value` before,
 * and the option's size after.
 *
 * Errors: WEIR_EBADF, WEIR_EINVAL (`value` or `length` is NULL), WEIR_ENOTCONN (there is no fd), what the kernel
 * says.
 *
 * Thread: any; never blocks.
 */
int weir_acceptor_get_option(weir_acceptor *acceptor,
                             int level,
                             int name,
                             void *value,
                             socklen_t *length);

/**
 * Binds the socket to a network interface by name; "" ends that.
 *
 * Errors: WEIR_EBADF, WEIR_EINVAL (`name` is NULL), WEIR_ENOTCONN (there is no fd), -ENODEV, -EPERM.
 *
 * Thread: any; never blocks.
 */
int weir_acceptor_bind_to_device(weir_acceptor *acceptor, const char *name);

/* ---- option ---------------------------------------------------------------------------------- */

/**
 * TCP_NODELAY: 1 sends small segments at once.
 */
#define WEIR_OPT_NO_DELAY 1

/**
 * SO_KEEPALIVE: 1 probes an idle peer.
 */
#define WEIR_OPT_KEEP_ALIVE 2

/**
 * TCP_KEEPIDLE: seconds of silence before the first probe.
 */
#define WEIR_OPT_KEEP_ALIVE_IDLE 3

/**
 * TCP_KEEPINTVL: seconds between probes.
 */
#define WEIR_OPT_KEEP_ALIVE_INTERVAL 4

/**
 * TCP_KEEPCNT: probes without an answer that end the connection.
 */
#define WEIR_OPT_KEEP_ALIVE_COUNT 5

/**
 * TCP_USER_TIMEOUT: milliseconds that data may stay unacknowledged.
 */
#define WEIR_OPT_USER_TIMEOUT 6

/**
 * IPV6_V6ONLY: 1 keeps an IPv6 socket from IPv4. Before bind.
 */
#define WEIR_OPT_V6_ONLY 7

/**
 * SO_REUSEADDR. Before bind.
 */
#define WEIR_OPT_REUSE_ADDRESS 8

/**
 * SO_REUSEPORT: several sockets share a port. Before bind.
 */
#define WEIR_OPT_REUSE_PORT 9

/**
 * SO_SNDBUF, in bytes; the kernel doubles it.
 */
#define WEIR_OPT_SEND_BUFFER 10

/**
 * SO_RCVBUF, in bytes; the kernel doubles it.
 */
#define WEIR_OPT_RECEIVE_BUFFER 11

/**
 * SO_LINGER: seconds that close may take to send the rest, 0 to reset the connection, -1 for off.
 */
#define WEIR_OPT_LINGER 12

/**
 * IP_TOS, or IPV6_TCLASS on an IPv6 socket.
 */
#define WEIR_OPT_TOS 13

/**
 * IP_TTL, or IPV6_UNICAST_HOPS on an IPv6 socket.
 */
#define WEIR_OPT_TTL 14

/**
 * TCP_QUICKACK: 1 acknowledges at once. The kernel may reset it.
 */
#define WEIR_OPT_QUICK_ACK 15

/**
 * TCP_CORK: 1 holds partial segments back.
 */
#define WEIR_OPT_CORK 16

/**
 * TCP_FASTOPEN: length of a listener's queue of fast opens.
 */
#define WEIR_OPT_FAST_OPEN 17

/**
 * TCP_FASTOPEN_CONNECT: 1 lets a connect send data with its first segment.
 */
#define WEIR_OPT_FAST_OPEN_CONNECT 18

/* ---- address --------------------------------------------------------------------------------- */

/**
 * Room enough for every address that weir_address_format() writes, and its NUL. (The longest is an abstract
 * AF_UNIX name of which every byte is escaped.)
 */
#define WEIR_ADDRESS_TEXT_MAX 512

/**
 * Reads an address: "127.0.0.1:80", "[::1]:80", "[fe80::1%eth0]:80" (a scope by interface name or number),
 * "unix:/run/x.sock", or "unix:@name" for the abstract namespace, where "\\xNN" stands for any byte and
 * "\\\\" for a backslash, in paths too; a path that begins with "@" is written with "\\x40". Names of hosts are not
 * looked up. The port is needed, 0 to 65535. `address` and `length` are written on success only.
 *
 * Errors: WEIR_EINVAL (NULL, or not such an address), -ENAMETOOLONG (an AF_UNIX path or name of more than 107 bytes),
 * -ENODEV (there is no such interface), -EMFILE or -ENFILE (no fd is left to ask for the interface with).
 *
 * Thread: any; never blocks.
 */
int weir_address_parse(const char *text,
                       struct sockaddr_storage *address,
                       socklen_t *length);

/**
 * Writes an address as text, with its NUL, in the form that weir_address_parse() reads. An AF_UNIX socket that has
 * no name is "unix:".
 *
 * Errors: WEIR_EINVAL (NULL, or `length` too short for the family), -EAFNOSUPPORT (another family), -ENOSPC (it does not
 * fit in `capacity` bytes; WEIR_ADDRESS_TEXT_MAX are always enough).
 *
 * Thread: any; never blocks.
 */
int weir_address_format(const struct sockaddr *address,
                        socklen_t length,
                        char *text,
                        size_t capacity);

/* ---- job ------------------------------------------------------------------------------------- */

/**
 * A function of the user's that may block. What it returns is the job's value.
 */
typedef int (*weir_job_function)(void *argument);

/**
 * Calls `function` on a thread of the library's, in which every signal is blocked, and then the callback in
 * run, with status 0 and what the function returned. The threads belong to the process, start when they
 * are needed, go when they are idle, and do nothing but jobs; their stacks have 1 MiB. A function that begins
 * while as many run as weir_job_set_limit() allows waits for its turn. An exception that leaves it ends the
 * process.
 *
 * `out` may be NULL: nobody then needs to close the job. Otherwise it receives a handle that stays until
 * weir_job_close(), and is written before the callback can run.
 *
 * weir_context_destroy() cancels the jobs that have not started, waits for the functions that run, and gives
 * WEIR_EBUSY when one of them calls it.
 *
 * Errors: WEIR_EBADF, WEIR_EINVAL (`function` is NULL), WEIR_ENOMEM, WEIR_ESHUTDOWN, -EAGAIN (there is no
 * thread, and none can be started).
 *
 * Thread: any; never blocks.
 */
int weir_job_start(weir_context *context,
                   weir_job_function function,
                   void *argument,
                   weir_job **out,
                   weir_value_callback callback,
                   void *user);

/**
 * Ends the handle. A function that has not started is cancelled; one that runs is not interrupted, and the
 * callback comes after it has returned, though no longer through the strand that the job was bound to.
 *
 * Errors: WEIR_EBADF.
 *
 * Thread: any; never blocks.
 */
int weir_job_close(weir_job *job);

/**
 * Takes the function back if it has not started: the job completes with WEIR_ECANCELED. `count`, which may
 * be NULL, receives 1 then, and 0 where the function runs, which it goes on doing, or has returned.
 *
 * Errors: WEIR_EBADF.
 *
 * Thread: any; never blocks.
 */
int weir_job_cancel(weir_job *job, size_t *count);

/**
 * The context that the job belongs to.
 *
 * Errors: WEIR_EBADF, WEIR_EINVAL (`out` is NULL).
 *
 * Thread: any; never blocks.
 */
int weir_job_context(weir_job *job, weir_context **out);

/**
 * How many threads of the process may run jobs at once: 1 to 1024; default 16. Functions that run are not
 * interrupted by a smaller number; a larger one counts from the next job that is started.
 *
 * Errors: WEIR_EINVAL.
 *
 * Thread: any; never blocks.
 */
int weir_job_set_limit(uint32_t threads);

/* ---- resolver -------------------------------------------------------------------------------- */

/**
 * Lookup flag: a NULL host is the wildcard, for a bind; without it, loopback. AI_PASSIVE.
 */
#define WEIR_RESOLVE_PASSIVE 1

/**
 * Lookup flag: also find the canonical name of the host. AI_CANONNAME.
 */
#define WEIR_RESOLVE_CANONICAL_NAME 2

/**
 * Lookup flag: the host is an address; a name is WEIR_EAI_NONAME. AI_NUMERICHOST.
 */
#define WEIR_RESOLVE_NUMERIC_HOST 4

/**
 * Lookup flag: the service is a number; a name is WEIR_EAI_NONAME. AI_NUMERICSERV.
 */
#define WEIR_RESOLVE_NUMERIC_SERVICE 8

/**
 * Lookup flag: only families of which this machine has an address. AI_ADDRCONFIG.
 */
#define WEIR_RESOLVE_ADDRESS_CONFIGURED 16

/**
 * Lookup flag: with AF_INET6, IPv4 addresses in their IPv6 form where there are no others. AI_V4MAPPED.
 */
#define WEIR_RESOLVE_V4_MAPPED 32

/**
 * Lookup flag: with WEIR_RESOLVE_V4_MAPPED, both. AI_ALL.
 */
#define WEIR_RESOLVE_ALL 64

/**
 * Reverse flag: the host as an address. NI_NUMERICHOST.
 */
#define WEIR_REVERSE_NUMERIC_HOST 1

/**
 * Reverse flag: the service as a number. NI_NUMERICSERV.
 */
#define WEIR_REVERSE_NUMERIC_SERVICE 2

/**
 * Reverse flag: WEIR_EAI_NONAME where the host has no name, not its address. NI_NAMEREQD.
 */
#define WEIR_REVERSE_NAME_REQUIRED 4

/**
 * Reverse flag: the service's name with datagrams, where it differs. NI_DGRAM.
 */
#define WEIR_REVERSE_DATAGRAM 8

/**
 * The addresses that weir_resolver_resolve() found. Not a handle: plain memory, which weir_addresses_free()
 * frees, and which outlives the resolver and its context.
 */
typedef struct weir_addresses weir_addresses;

/**
 * The names that weir_resolver_reverse() found. Not a handle: plain memory, which weir_names_free() frees, and
 * which outlives the resolver and its context.
 */
typedef struct weir_names weir_names;

/**
 * What kind of addresses is wanted. Set everything to 0 and struct_size to sizeof(weir_resolve_hints). A
 * struct_size larger than the library knows is accepted if the rest is 0.
 */
typedef struct weir_resolve_hints {
    /**
     * sizeof(weir_resolve_hints).
     */
    size_t struct_size;
    /**
     * WEIR_RESOLVE_... flags; an unknown one is WEIR_EINVAL.
     */
    uint32_t flags;
    /**
     * AF_INET or AF_INET6; 0 for both.
     */
    int family;
    /**
     * SOCK_STREAM, SOCK_DGRAM or SOCK_RAW; 0 for that of `protocol`, or for SOCK_STREAM if that is 0 too.
     */
    int socktype;
    /**
     * IPPROTO_...; 0 for that of `socktype`.
     */
    int protocol;
} weir_resolve_hints;

/**
 * Called with what a forward lookup found. `addresses` belongs to the receiver, who ends it with
 * weir_addresses_free(). It is NULL where `status` is negative.
 */
typedef void (*weir_resolve_callback)(int status, weir_addresses *addresses, void *user);

/**
 * Called with what a reverse lookup found. `names` belongs to the receiver, who ends it with
 * weir_names_free(). It is NULL where `status` is negative.
 */
typedef void (*weir_reverse_callback)(int status, weir_names *names, void *user);

/**
 * Makes a resolver of a context. End it with weir_resolver_close().
 *
 * Errors: WEIR_EBADF, WEIR_EINVAL (`out` is NULL), WEIR_ENOMEM, WEIR_ESHUTDOWN.
 *
 * Thread: any; never blocks.
 */
int weir_resolver_create(weir_context *context, weir_resolver **out);

/**
 * Ends a resolver. Pending lookups complete with WEIR_ECANCELED, later, in run; a thread that still waits for an
 * answer drops it when it comes.
 *
 * Errors: WEIR_EBADF.
 *
 * Thread: any; never blocks.
 */
int weir_resolver_close(weir_resolver *resolver);

/**
 * Ends every pending lookup with WEIR_ECANCELED, at once, however long the name server takes; new ones may begin.
 * The thread that waits for the name server stays occupied until it answers. `count`, which may be NULL,
 * receives how many were ended.
 *
 * Errors: WEIR_EBADF.
 *
 * Thread: any; never blocks.
 */
int weir_resolver_cancel(weir_resolver *resolver,
                         size_t *count);

/**
 * The context that the resolver belongs to.
 *
 * Errors: WEIR_EBADF, WEIR_EINVAL (`out` is NULL).
 *
 * Thread: any; never blocks.
 */
int weir_resolver_context(weir_resolver *resolver, weir_context **out);

/**
 * Looks up the addresses of `host` and `service`, as getaddrinfo(3) does, on a thread of the library's. Any number
 * of lookups may be pending on a resolver; they complete in any order. What the pointers point to is copied.
 *
 * `host` is a name or an address, an IPv6 address with its scope if need be ("fe80::1%eth0"); NULL is this machine,
 * see WEIR_RESOLVE_PASSIVE. `service` is a name or a port number; NULL gives port 0. `hints` may be NULL: stream
 * sockets of both families. Where host and service are numbers, or NULL, no thread is needed.
 *
 * The callback receives 0 and at least one address, in the order in which they should be tried, or WEIR_ECANCELED,
 * WEIR_EAI_..., WEIR_ENOMEM, or the errno of getaddrinfo's EAI_SYSTEM.
 *
 * Errors: WEIR_EBADF, WEIR_EINVAL (`host` and `service` are NULL, or the hints), -ENAMETOOLONG (more than
 * 1024 bytes), WEIR_ENOMEM, WEIR_ESHUTDOWN, -EAGAIN (there is no thread, and none can be started).
 *
 * Thread: any; never blocks.
 */
int weir_resolver_resolve(weir_resolver *resolver,
                          const char *host,
                          const char *service,
                          const weir_resolve_hints *hints,
                          weir_resolve_callback callback,
                          void *user);

/**
 * Looks up the names of an address and its port, as getnameinfo(3) does, on a thread of the library's; without one
 * where `flags` ask for both as numbers. Otherwise as weir_resolver_resolve(). `flags` are WEIR_REVERSE_...
 *
 * Errors: WEIR_EBADF, WEIR_EINVAL (address or flags), -EAFNOSUPPORT (not AF_INET or AF_INET6), WEIR_ENOMEM,
 * WEIR_ESHUTDOWN, -EAGAIN (there is no thread, and none can be started).
 *
 * Thread: any; never blocks.
 */
int weir_resolver_reverse(weir_resolver *resolver,
                          const struct sockaddr *address,
                          socklen_t length,
                          uint32_t flags,
                          weir_reverse_callback callback,
                          void *user);

/**
 * How many threads of the process may wait for lookups at once: 1 to 1024; default 16. They are not those of jobs,
 * start when they are needed and go when they are idle. Lookups beyond the limit wait for their turn. A
 * larger limit counts from the next lookup that is begun.
 *
 * Errors: WEIR_EINVAL.
 *
 * Thread: any; never blocks.
 */
int weir_resolver_set_limit(uint32_t threads);

/**
 * How many addresses there are; 0 for NULL.
 *
 * Thread: any; never blocks.
 */
size_t weir_addresses_count(const weir_addresses *addresses);

/**
 * One of the addresses, counted from 0; it may be used until weir_addresses_free().
 *
 * Errors: WEIR_EINVAL (NULL, or there is no such address).
 *
 * Thread: any; never blocks.
 */
int weir_addresses_get(const weir_addresses *addresses,
                       size_t index,
                       const struct sockaddr **address,
                       socklen_t *length);

/**
 * The canonical name, which may be used until weir_addresses_free(); NULL where WEIR_RESOLVE_CANONICAL_NAME was not
 * given, or for NULL.
 *
 * Thread: any; never blocks.
 */
const char *weir_addresses_canonical_name(const weir_addresses *addresses);

/**
 * Frees the addresses. NULL is allowed.
 *
 * Thread: any; never blocks.
 */
void weir_addresses_free(weir_addresses *addresses);

/**
 * The name of the host, or its address where it has none; it may be used until weir_names_free(). NULL for NULL.
 *
 * Thread: any; never blocks.
 */
const char *weir_names_host(const weir_names *names);

/**
 * The name of the service, or the number of the port where it has none; it may be used until weir_names_free().
 * NULL for NULL.
 *
 * Thread: any; never blocks.
 */
const char *weir_names_service(const weir_names *names);

/**
 * Frees the names. NULL is allowed.
 *
 * Thread: any; never blocks.
 */
void weir_names_free(weir_names *names);

#ifdef __cplusplus
}
#endif

#endif /* WEIR_H */
