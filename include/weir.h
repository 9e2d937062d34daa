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
 * completes. An errno of the kernel's that a function's list does not name is passed on as it is. The library
 * prints nothing and aborts on nothing that a caller does, with one exception: a C++ exception (or pthread_exit)
 * that leaves a callback ends the process.
 *
 * Handles are tokens, not addresses. A NULL, closed, forged or wrong-type handle gives WEIR_EBADF in every function.
 *
 * Callbacks run on threads that are inside a run function of their context, or inside
 * weir_context_destroy(); never inside the function that started them (weir_context_dispatch() is
 * the one that is asked to), and never with a lock held. Every function may be called from every
 * callback. `user` is passed through untouched. A callback must return: longjmp out of one is undefined.
 *
 * Buffers belong to the operation from its start until its completion is delivered, or until a cancel or
 * close that ended it has returned. They are not copied; nor are arrays of iovec.
 *
 * Cancel and close. Close is immediate: the fd is closed and the handle dead when it returns; there is no close callback.
 * What was pending completes with WEIR_ECANCELED, later, in run, with the bytes that had moved; what was complete stays.
 *
 * Threads. Every function may be called from any thread, at the same time, on the same handle. Several threads
 * may run one context: its callbacks then run at the same time, also those of one stream's reading
 * and writing, unless they go through a weir_strand. "Never blocks" means: no wait for I/O, time or user code.
 *
 * Ends of threads. pthread_cancel() of a thread inside a run function or a callback waits until run returns, of one in
 * another function until that does (asynchronous cancellation is undefined there). exit() may be called anywhere, while
 * other threads are inside run too: it ends no context and calls no callback.
 *
 * Ownership. What a create function gives is the caller's to close. A context owns its handles: its destruction
 * closes what is still open. fds that are adopted belong to the library, released ones to the caller.
 *
 * Another event loop can host a context by one fd: see weir_context_fd().
 *
 * Records. With a NULL callback an operation completes with a weir_record that weir_context_reap() collects.
 *
 * Fork. weir_context_notify_fork() keeps a context usable on both sides. A child that does not call it leaves the
 * contexts of its parent alone (it may make its own). Every fd is close-on-exec.
 *
 * Signals. No SIGPIPE is raised, EINTR and EAGAIN are never seen. A signal handler is installed by
 * weir_signals_add() only.
 *
 * Costs. In steady state nothing is allocated, and no system call made that the work does not need. A socket that is
 * always ready, a handler that always posts or a million due timers do not starve the others.
 *
 * Versions. Structs that may grow begin with their size; the soname changes when the ABI breaks.
 */

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <sys/resource.h>

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

/**
 * The size of a struct of this header in the library that runs, for languages that lay structs out themselves: compare it
 * where the library is loaded. 0 for a name that it does not know.
 *
 * Thread: any; never blocks.
 */
size_t weir_struct_size(const char *name);

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
 * A socket that keeps messages apart: UDP or AF_UNIX. Made by weir_datagram_create().
 */
typedef struct weir_datagram weir_datagram;

/**
 * A turn hook. Made by weir_hook_create().
 */
typedef struct weir_hook weir_hook;

/**
 * A function that runs on a thread of the library's. Made by weir_job_start().
 */
typedef struct weir_job weir_job;

/**
 * A child process. Made by weir_process_create().
 */
typedef struct weir_process weir_process;

/**
 * Looks up names and addresses. Made by weir_resolver_create().
 */
typedef struct weir_resolver weir_resolver;

/**
 * A set of POSIX signals. Made by weir_signals_create().
 */
typedef struct weir_signals weir_signals;

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
 * Watches an fd of the user's. Made by weir_watch_create().
 */
typedef struct weir_watch weir_watch;

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
 * Called when an operation that gives a number completes.
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
 * Called when a multi-shot read has filled a buffer of the library's. The `length` bytes at `data` are valid
 * during the call only. Where `status` is negative there are none.
 */
typedef void (*weir_buffer_callback)(int status, const void *data, size_t length, void *user);

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
 * As weir_handle_cancel(), but ends only what was begun with the pointer `user`: one read of a stream with a write
 * pending, one of several waits or lookups, one of the writes in the queue of weir_stream_send(), which tells what had
 * moved of it, and what is queued behind it follows that. `count`, which may be NULL, receives the number ended: 0 where
 * nothing of it is pending (any more).
 *
 * Errors: WEIR_EBADF.
 *
 * Thread: any; never blocks.
 */
int weir_handle_cancel_operation(void *handle,
                                 void *user,
                                 size_t *count);

/**
 * Has the fd of a stream, an acceptor or a datagram handle stay open (`keep` not 0) when the handle is closed, or its
 * context destroyed, or not (0, as every handle begins): for an fd that was adopted and belongs to somebody else. It
 * holds for the fd that the handle has now. The kernel is told to forget the fd; that it is non-blocking stays.
 *
 * Errors: WEIR_EBADF, WEIR_ENOTCONN (there is no fd).
 *
 * Thread: any; never blocks.
 */
int weir_handle_keep_fd(void *handle,
                        int keep);

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
 * strand. The handle must have nothing pending; but for a job, whose completion goes through the strand that it has
 * when its function returns.
 *
 * Errors: WEIR_EBADF (either handle), WEIR_EBUSY (something is pending), WEIR_EINVAL (a strand of another
 * context, or `handle` is a strand or a hook).
 *
 * Thread: any; never blocks.
 */
int weir_handle_set_strand(void *handle,
                           weir_strand *strand);

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
 * Option flag: callbacks are timed and transfers counted, for weir_context_stats(). It costs two looks at the
 * clock for each callback.
 */
#define WEIR_CONTEXT_MEASURE 4

/**
 * Option flag: a run function, weir_context_reap() or weir_context_enter() whose sleep in the kernel is interrupted by a
 * signal handler returns -EINTR, for a language that runs its own handlers then. Nothing is lost: what is queued is run
 * by the next call. Where records have been taken they are returned in its place. A thread that waits for another that
 * sleeps is not interrupted. Without this flag no call returns -EINTR.
 */
#define WEIR_CONTEXT_INTERRUPTIBLE 8

/**
 * Log level: something that the program should mend.
 */
#define WEIR_LOG_WARNING 1

/**
 * Log level: a handle that is open when its context is destroyed.
 */
#define WEIR_LOG_LEAK 2

/**
 * For weir_context_notify_fork(): the process is about to fork.
 */
#define WEIR_FORK_PREPARE 1

/**
 * For weir_context_notify_fork(): in the process that forked.
 */
#define WEIR_FORK_PARENT 2

/**
 * For weir_context_notify_fork(): in its child.
 */
#define WEIR_FORK_CHILD 3

/**
 * A callback that ran longer than the context's stall limit. Valid during the call only.
 */
typedef struct weir_stall {
    /**
     * The handle whose callback it was; NULL for a posted function.
     */
    void *handle;
    /**
     * How long it ran, in nanoseconds.
     */
    int64_t duration_ns;
    /**
     * The pointer that the callback was called with.
     */
    void *user;
    /**
     * The name of the handle when the callback began; empty where it has none.
     */
    const char *name;
} weir_stall;

/**
 * Called right after the callback that it tells of, on the same thread.
 */
typedef void (*weir_stall_callback)(const weir_stall *stall, void *user);

/**
 * Receives a line of text, without a newline, valid during the call only. Called on threads that are inside a run
 * function or weir_context_destroy() of the context, with no lock held; it may call every function.
 */
typedef void (*weir_log_callback)(int level, const char *text, void *user);

/**
 * How a context is made. Set everything to 0 and struct_size to sizeof(weir_context_options); 0 stands
 * for the default everywhere. A program that was compiled with an earlier header passes a smaller struct_size, one with a
 * later header a larger one, which is accepted if the rest is 0.
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
    /**
     * Buffers in the pool for multi-shot reads (see weir_stream_read_each()), made when it is first used;
     * default 256, at most 65536.
     */
    uint32_t pool_slots;
    /**
     * Bytes of each; default 4096, at most 16777216.
     */
    uint32_t pool_slot_size;
    /**
     * A callback that runs longer than this, in nanoseconds, is reported to `stall`; 0: none is. With a limit
     * callbacks are timed as with WEIR_CONTEXT_MEASURE.
     */
    int64_t stall_limit_ns;
    /**
     * See there; may be NULL.
     */
    weir_stall_callback stall;
    /**
     * For `stall`.
     */
    void *stall_user;
    /**
     * Receives what the program should know: leaks at destruction, a lack of file descriptors. May be NULL; the
     * library prints nothing by itself.
     */
    weir_log_callback log;
    /**
     * For `log`.
     */
    void *log_user;
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
 * what would begin a new operation of this context gives WEIR_ESHUTDOWN, and the handles are closed: what is called
 * on one gives WEIR_EBADF. Afterwards the context and
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
 * Thread: any; never blocks but for the callbacks that it runs.
 */
int weir_context_poll(weir_context *context, size_t *count);

/**
 * As weir_context_poll(), and returns after one callback.
 *
 * Thread: any; never blocks but for the callbacks that it runs.
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
 * where one thread runs the context; where several do, each takes some of them, and a strand keeps the order. With
 * one thread that runs it the same holds for posts of several threads, where one knew that the other's call had
 * returned. From inside a callback of the context it takes no lock and makes no system call, but for that.
 * Status: 0, or WEIR_ECANCELED from weir_context_destroy().
 *
 * Errors: WEIR_EBADF, WEIR_ENOMEM, WEIR_ESHUTDOWN.
 *
 * Thread: any; never blocks.
 */
int weir_context_post(weir_context *context,
                      weir_callback callback,
                      void *user);

/**
 * Calls a function at once with status 0 when the calling thread is inside run of this context, else as
 * weir_context_post(). It is the one function that calls back before it returns.
 *
 * Errors: as weir_context_post().
 *
 * Thread: any; never blocks but for the callbacks that it runs.
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
 * What is posted while a callback of the context runs is for the run function around it, and the fd need not tell: a host
 * that runs its own loop inside such a callback calls weir_context_poll() before it waits.
 *
 * Errors: WEIR_EBADF, WEIR_EINVAL (`fd` is NULL), WEIR_ESHUTDOWN.
 *
 * Thread: any; never blocks.
 */
int weir_context_fd(weir_context *context,
                    int *fd);

/**
 * The context's time in nanoseconds: CLOCK_MONOTONIC, or its manual clock.
 *
 * Errors: WEIR_EBADF, WEIR_EINVAL (`now_ns` is NULL).
 *
 * Thread: any; never blocks.
 */
int weir_context_now(weir_context *context, int64_t *now_ns);

/**
 * The time of this turn: the context's clock as it was when somebody first asked for it after the context had last been
 * in the kernel; the manual clock's time where that is in use. It costs a few instructions where reading the
 * clock costs more than all the rest of moving a timer. With weir_timer_expires_at() it serves timeouts that are set
 * anew at each operation, and are early by what the turn has lasted: callbacks that run long, and a
 * context that nobody runs, make it old. While the context sleeps in the kernel it is the clock itself.
 * (uv_now and ev_now are this time.)
 *
 * Errors: WEIR_EBADF, WEIR_EINVAL (`now_ns` is NULL).
 *
 * Thread: any; never blocks.
 */
int weir_context_turn_now(weir_context *context,
                          int64_t *now_ns);

/**
 * Moves the manual clock forward; timers that are due then fire in the next turn. Saturates at
 * INT64_MAX - 1.
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

/**
 * Keeps a context usable across fork(): call it before the fork with WEIR_FORK_PREPARE, and after it with
 * WEIR_FORK_PARENT and WEIR_FORK_CHILD on the respective side. The parent goes on as if nothing had happened. In
 * the child the context gets an epoll set and timer of its own, and everything that was open is registered anew:
 * both sides have every handle and every pending operation, and whoever asks first gets the data, so that one of
 * them usually closes what it does not want. weir_context_fd() gives another fd in the child.
 *
 * Jobs that run at the fork, and lookups, go on in the parent; in the child they complete with WEIR_ECANCELED.
 *
 * At the fork other threads may be asleep in run functions of the context, but none may be in a callback
 * or in another function of the library; in the child they do not exist. (WEIR_FORK_PREPARE tells.) May be called
 * from a callback.
 *
 * A child that does not call this must leave the context alone: run functions and what needs the kernel's
 * epoll give -ESTALE there, and weir_context_destroy() touches nothing of the parent's.
 *
 * Errors: WEIR_EBADF, WEIR_EINVAL (`event`; WEIR_FORK_CHILD where no fork was), WEIR_EBUSY (WEIR_FORK_PREPARE: a callback
 * runs in another thread), and in the child -EMFILE, -ENFILE, -ENOSPC (epoll watches), WEIR_ENOMEM: then it
 * may be tried again.
 *
 * Thread: the one that forks; never blocks.
 */
int weir_context_notify_fork(weir_context *context,
                             int event);

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
 * Thread: any; never blocks but for the callbacks that it runs.
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

/* ---- hook ------------------------------------------------------------------------------------ */

/**
 * Before the context asks the kernel. What the hook posts or arms is seen before the context blocks.
 */
#define WEIR_HOOK_PREPARE 1

/**
 * After what the kernel told has been served.
 */
#define WEIR_HOOK_CHECK 2

/**
 * In each turn that finds nothing else to do. While one is started the context does not block.
 */
#define WEIR_HOOK_IDLE 3

/**
 * Makes a hook of a context: a function that is called once in each turn (a turn is one question to the
 * kernel). `when` is one of WEIR_HOOK_...; see weir_context_defer() for the end of one turn only. End it
 * with weir_hook_close().
 *
 * Errors: WEIR_EBADF, WEIR_EINVAL (`when`; `out` is NULL), WEIR_ENOMEM, WEIR_ESHUTDOWN.
 *
 * Thread: any; never blocks.
 */
int weir_hook_create(weir_context *context, int when, weir_hook **out);

/**
 * Ends a hook, as weir_hook_stop() does, and its handle.
 *
 * Errors: WEIR_EBADF.
 *
 * Thread: any; never blocks.
 */
int weir_hook_close(weir_hook *hook);

/**
 * The context that the hook belongs to.
 *
 * Errors: WEIR_EBADF, WEIR_EINVAL (`out` is NULL).
 *
 * Thread: any; never blocks.
 */
int weir_hook_context(weir_hook *hook, weir_context **out);

/**
 * Has the function called with 0 in each turn from now on, and once, at last, with WEIR_ECANCELED after stop,
 * close or destruction. Its calls never overlap. Hooks of one kind are called in the order in which they
 * were started. A hook keeps no run function going, and goes through no strand.
 *
 * Errors: WEIR_EBADF, WEIR_EINVAL (`callback` is NULL: a hook gives no records), WEIR_EBUSY (it is started, or its
 * last WEIR_ECANCELED is not delivered yet), WEIR_ESHUTDOWN.
 *
 * Thread: any; never blocks.
 */
int weir_hook_start(weir_hook *hook,
                    weir_callback callback,
                    void *user);

/**
 * Ends the calls with WEIR_ECANCELED. `count`, which may be NULL, receives 0 or 1.
 *
 * Errors: WEIR_EBADF.
 *
 * Thread: any; never blocks.
 */
int weir_hook_stop(weir_hook *hook, size_t *count);

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
 * Has the weir_context_reap() or weir_context_enter() that sleeps, or else the next one, return without waiting any more,
 * with the records that are ready. Many wakes before that are one. Run functions that do not reap go on.
 *
 * For a thread that hands work over by itself, and for signal handlers: it takes no lock, allocates nothing and leaves
 * errno as it was. One thread reaps: of several the wrong one may return.
 *
 * Errors: WEIR_EBADF.
 *
 * Thread: any, also in a signal handler; never blocks.
 */
int weir_context_wake(weir_context *context);

/**
 * Gives an fd to write bytes to: each write has the effect of weir_context_wake(). For who can't call a function of
 * this library, such as the signal handlers of a language's runtime (`signal.set_wakeup_fd()` in Python) or another
 * process.
 *
 * It is the end of a pipe, non-blocking and close-on-exec, made by the first call; later calls give the same. The context
 * owns it: it is not to be closed, and ends with weir_context_destroy(). The bytes are read while the context runs,
 * see weir_context_wakeup_values(). In the child of a fork weir_context_notify_fork() makes another pipe of it, with the
 * same number.
 *
 * Errors: WEIR_EBADF, WEIR_EINVAL (`fd` is NULL), -EMFILE, -ENFILE, WEIR_ENOMEM, -ENOSPC, WEIR_ESHUTDOWN,
 * -ESTALE.
 *
 * Thread: any; never blocks.
 */
int weir_context_wakeup_fd(weir_context *context,
                           int *fd);

/**
 * Takes which bytes were written to the fd of weir_context_wakeup_fd() and read since the last time: `values` has room
 * for 256 bits, and byte b is bit b % 64 of `values[b / 64]`. A byte that came several times is one, as with signals.
 *
 * A reap or enter that returns for a byte has read it: ask after each.
 *
 * Errors: WEIR_EBADF, WEIR_EINVAL (`values` is NULL).
 *
 * Thread: any; never blocks.
 */
int weir_context_wakeup_values(weir_context *context,
                               uint64_t *values);

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
 * A wait that has expired, and whose callback is only yet to be called, is not taken back: it comes, with 0.
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
 * began. Timers with the same expiry complete in the order in which they were armed: a timer is armed by the first wait,
 * and anew by each setting of its expiry and by each tick. Of expiries in the past the earlier completes first.
 *
 * Errors: WEIR_EBADF, WEIR_ENOMEM, WEIR_ESHUTDOWN.
 *
 * Thread: any; never blocks.
 */
int weir_timer_wait(weir_timer *timer,
                    weir_callback callback,
                    void *user);

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
 * kernel's own limit, minutes, or that of weir_stream_set_timeout()), WEIR_ECANCELED and so on. A socket that
 * was opened here is closed again when the connect fails, so that the next one starts anew. An AF_UNIX
 * listener whose queue is full gives -ECONNREFUSED. A read that is begun meanwhile waits for the connection.
 * The address is not needed after the call.
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

/* ---- compose --------------------------------------------------------------------------------- */

/**
 * The most addresses of one weir_stream_connect_list().
 */
#define WEIR_CONNECT_LIST_MAX 64

/**
 * What weir_stream_read_until() reads into and looks for. The caller's; from the start of the operation until its
 * completion, or until cancel or close has returned, only the library touches it.
 */
typedef struct weir_until {
    /**
     * sizeof(weir_until).
     */
    size_t struct_size;
    /**
     * The buffer.
     */
    void *data;
    /**
     * Its length: the limit of the read.
     */
    size_t capacity;
    /**
     * In: the bytes that are in the buffer already. Out: those that are in it now.
     */
    size_t filled;
    /**
     * What to read up to.
     */
    const void *delimiter;
    /**
     * Its length, at least 1.
     */
    size_t delimiter_length;
} weir_until;

/**
 * How weir_stream_connect_list() goes about it. All zero but the size is the default.
 */
typedef struct weir_connect_options {
    /**
     * sizeof(weir_connect_options).
     */
    size_t struct_size;
    /**
     * Nanoseconds from the start of one attempt to that of the next, unless it fails before. 0: 250 ms.
     */
    int64_t stagger_ns;
    /**
     * Nanoseconds that one attempt may take. 0 or WEIR_FOREVER: as long as the kernel tries (minutes).
     */
    int64_t attempt_timeout_ns;
} weir_connect_options;

/**
 * Limits how long an operation of the stream may go without progress. `directions` is WEIR_WAIT_READ,
 * WEIR_WAIT_WRITE or both. An operation that waits for `timeout_ns` with no byte moved completes with
 * WEIR_ETIMEDOUT and the bytes that had moved before; the stream is as good as before, and the next operation
 * may begin. Each byte that moves gives an operation its whole time again. What the kernel had ready
 * when the time was over comes first.
 *
 * The limit holds for every operation of the direction until it is changed, a connect (of the writing
 * direction) and weir_stream_wait() among them; one that is pending is measured from now on. WEIR_FOREVER, which
 * every stream begins with, is no limit; with 0 only what can complete at once succeeds. The time is that
 * of the context's clock. A limit costs no system call for each operation.
 *
 * Errors: WEIR_EBADF, WEIR_EINVAL (no or other directions, a negative time), WEIR_ENOMEM, WEIR_ESHUTDOWN.
 *
 * Thread: any; never blocks.
 */
int weir_stream_set_timeout(weir_stream *stream,
                            int directions,
                            int64_t timeout_ns);

/**
 * Sends `length` bytes of the file `fd` from `offset` on, without reading them into the program. Completes with 0
 * when all are sent, with WEIR_EOF where the file ends before, or with what was met; `bytes` tells how many
 * were sent. `fd` is anything that sendfile(2) reads from; it stays the caller's, its own position
 * stays as it is, and it must be open until the completion, or until cancel or close has returned. A file that
 * is not in memory is read from its disk meanwhile. A lost peer is -EPIPE and never a signal.
 *
 * It is a write: one may be pending in that direction.
 *
 * Errors: as weir_stream_write(); WEIR_EINVAL for a negative `offset`, WEIR_EBADF for a negative `fd`. What
 * sendfile(2) has against the file (-EBADF, -EINVAL) comes with the completion.
 *
 * Thread: any; never blocks.
 */
int weir_stream_send_file(weir_stream *stream,
                          int fd,
                          int64_t offset,
                          size_t length,
                          weir_io_callback callback,
                          void *user);

/**
 * Reads until a delimiter is in the buffer. Completes with 0 and, as `bytes`, the number of bytes up to and with
 * the first delimiter. The buffer may hold more, which was read along: `until->filled` bytes in all. The caller
 * takes the `bytes`, moves the others to the front (or `data` past them) and gives them in again as
 * `filled` with the next call, which completes without reading when there is a delimiter among them. Plain reads
 * do not see what is in the buffer.
 *
 * Where the buffer is full without a delimiter it completes with -EMSGSIZE; that, WEIR_EOF, WEIR_ECANCELED and
 * every other error leave what was read in the buffer, and `bytes` is `until->filled`.
 *
 * Errors: as weir_stream_read_some(); WEIR_EINVAL also where `until` or a pointer in it is NULL, `struct_size` is
 * wrong, the delimiter is empty or `filled` is above `capacity`.
 *
 * Thread: any; never blocks.
 */
int weir_stream_read_until(weir_stream *stream,
                           weir_until *until,
                           weir_io_callback callback,
                           void *user);

/**
 * Queues a write of `length` bytes. Any number may be queued on a stream: they are written whole and in order,
 * several with one system call where several wait, and each completes once, with 0 and its bytes. When the
 * connection meets an error, or its time limit, or is cancelled or closed, each one that is left completes with
 * that status and what had moved of it. The buffer stays valid until the completion, or until cancel or
 * close has returned.
 *
 * The queue and weir_stream_write() with its like share the writing direction: while anything is queued
 * those give WEIR_EBUSY, and while one of those is pending this does. The direction is free when the last byte
 * has been written. Setting a time limit on it limits the time without progress of the queue as a whole.
 *
 * Errors: WEIR_EBADF, WEIR_EINVAL (`data` is NULL with a length; a length above SSIZE_MAX), WEIR_EBUSY,
 * WEIR_ENOTCONN (there is no fd), -ENOBUFS (more bytes than can be counted), WEIR_ENOMEM, WEIR_ESHUTDOWN.
 *
 * Thread: any; never blocks.
 */
int weir_stream_send(weir_stream *stream,
                     const void *data,
                     size_t length,
                     weir_io_callback callback,
                     void *user);

/**
 * Writes what the kernel takes at once, and copies the rest to the queue of weir_stream_send(), in order with what waits
 * there: when the function returns the buffer may be used again. `queued`, which may be NULL, receives the bytes that
 * wait then, from this call and others; 0: the kernel has all. Memory is needed for what waits only.
 *
 * It is no operation: nothing completes. What ends the queue later (an error, a time limit) is returned by the
 * next call of this function, and by every one after it. Who wants to know when all has gone queues a
 * weir_stream_send() of length 0, which completes with 0 or that error. run goes on while something waits. A cancel, and the close,
 * drop what waits.
 *
 * Errors: WEIR_EBADF, WEIR_EINVAL (`data` is NULL with a length; a length above SSIZE_MAX), WEIR_EBUSY (an operation
 * other than weir_stream_send() is pending in the writing direction), WEIR_ENOTCONN (there is no fd), -EPIPE,
 * -ECONNRESET and what else the kernel says, -ENOBUFS (more bytes than can be counted), WEIR_ESHUTDOWN, WEIR_ENOMEM: nothing
 * of it was taken, unless the next call says WEIR_ENOMEM too: then the kernel had taken a part.
 *
 * Thread: any; never blocks.
 */
int weir_stream_send_copy(weir_stream *stream,
                          const void *data,
                          size_t length,
                          size_t *queued);

/**
 * The bytes that wait in the queue of weir_stream_send().
 *
 * Errors: WEIR_EBADF, WEIR_EINVAL (`bytes` is NULL).
 *
 * Thread: any; never blocks.
 */
int weir_stream_queued(weir_stream *stream, size_t *bytes);

/**
 * Has the callback told when more than `high` bytes are queued by weir_stream_send(), so that who produces them
 * may pause, and again when `low` or fewer are left. It is called with 0 and the bytes that were queued at
 * that moment: above `high` or not above `low`, in turn. It is called once, at last, with WEIR_ECANCELED: when the
 * stream is closed, another mark is set, or the mark is taken away, which `high` 0 does. A cancel of the stream
 * leaves the mark; the queue has fallen to 0 then, as at the close. Writes are queued above the mark too. The mark by itself
 * does not keep run going.
 *
 * Errors: WEIR_EBADF, WEIR_EINVAL (`low` is above `high`), WEIR_ENOMEM, WEIR_ESHUTDOWN.
 *
 * Thread: any; never blocks.
 */
int weir_stream_set_high_water(weir_stream *stream,
                               size_t high,
                               size_t low,
                               weir_io_callback callback,
                               void *user);

/**
 * Connects to the first of `count` addresses that answers. Families take turns, beginning with that of the first
 * address (RFC 8305); an attempt begins when the one before it has failed, or after a while when it has
 * not answered, which `options` (NULL: the default) tells. The first that succeeds gives the stream its
 * fd, the others are closed. Completes once: with 0, or, when all have failed, with the error of the last
 * (one that only tells of this host's own routes gives way to one from a peer; WEIR_ETIMEDOUT where an attempt
 * took too long), or with WEIR_ECANCELED. Cancel and close end every attempt at once, and so does a time limit of the
 * writing direction, which holds for the whole.
 *
 * The stream must have no fd. Options of the socket are set afterwards; reads and writes begin when it is
 * connected. `addresses` and `lengths` are not needed after the call.
 *
 * Errors: WEIR_EBADF, WEIR_EINVAL (no address or more than WEIR_CONNECT_LIST_MAX, a bad one, a NULL, bad
 * `options`), WEIR_EBUSY (there is an fd, or an operation of the writing direction is pending), WEIR_ENOMEM,
 * WEIR_ESHUTDOWN.
 *
 * Thread: any; never blocks.
 */
int weir_stream_connect_list(weir_stream *stream,
                             const struct sockaddr *const *addresses,
                             const socklen_t *lengths,
                             size_t count,
                             const weir_connect_options *options,
                             weir_callback callback,
                             void *user);

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
 * completes with WEIR_ECANCELED, later, in run. An AF_UNIX path that it was bound to stays: see weir_acceptor_unlink().
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

/* ---- datagram -------------------------------------------------------------------------------- */

/**
 * The kernel cuts what is sent into segments, see WEIR_OPT_SEGMENT_SIZE.
 */
#define WEIR_DATAGRAM_GSO 1

/**
 * The kernel puts received segments together, see WEIR_OPT_GRO.
 */
#define WEIR_DATAGRAM_GRO 2

/**
 * Makes a datagram socket of a context, without an fd yet: weir_datagram_bind(), weir_datagram_connect(),
 * weir_datagram_open() or weir_datagram_adopt() give it one. End it with weir_datagram_close().
 *
 * Errors: WEIR_EBADF, WEIR_EINVAL (`out` is NULL), WEIR_ENOMEM, WEIR_ESHUTDOWN.
 *
 * Thread: any; never blocks.
 */
int weir_datagram_create(weir_context *context, weir_datagram **out);

/**
 * Ends a datagram socket: when this returns the fd is closed, the handle is dead, and the buffers and
 * addresses of pending operations are the caller's again. Those operations complete with WEIR_ECANCELED,
 * later, in run; operations that were complete keep their result. A path that the socket was bound to
 * stays: see weir_datagram_unlink().
 *
 * Errors: WEIR_EBADF.
 *
 * Thread: any; never blocks.
 */
int weir_datagram_close(weir_datagram *datagram);

/**
 * Ends the pending operations with WEIR_ECANCELED (a batch that is being sent: and the number of messages that have
 * gone). What has completed already stays as it happened: no datagram is taken from the kernel and lost. `count`,
 * which may be NULL, receives how many were ended. A direction is free for the next operation when that
 * completion is delivered.
 *
 * Errors: WEIR_EBADF.
 *
 * Thread: any; never blocks.
 */
int weir_datagram_cancel(weir_datagram *datagram,
                         size_t *count);

/**
 * Opens a socket of this family (AF_INET, AF_INET6 or AF_UNIX), so that options can be set before the bind.
 *
 * Errors: WEIR_EBADF, WEIR_EBUSY (there is an fd already), -EAFNOSUPPORT, -EMFILE, -ENFILE, WEIR_ENOMEM,
 * WEIR_ESHUTDOWN.
 *
 * Thread: any; never blocks.
 */
int weir_datagram_open(weir_datagram *datagram, int family);

/**
 * Takes over a datagram socket. On success the handle owns it, and makes it non-blocking and close-on-exec;
 * on an error it stays the caller's, as it was.
 *
 * Errors: WEIR_EBADF (also: `fd` is not open), WEIR_EBUSY (there is an fd already), -ENOTSOCK,
 * -EPROTOTYPE (not a datagram socket), WEIR_ESHUTDOWN.
 *
 * Thread: any; never blocks.
 */
int weir_datagram_adopt(weir_datagram *datagram, int fd);

/**
 * Gives the fd away: pending operations end as by cancel, the fd (still non-blocking) is the caller's,
 * the handle is as new.
 *
 * Errors: WEIR_EBADF, WEIR_EINVAL (`fd` is NULL), WEIR_ENOTCONN (there is no fd).
 *
 * Thread: any; never blocks.
 */
int weir_datagram_release(weir_datagram *datagram, int *fd);

/**
 * The fd, borrowed: the handle goes on owning it.
 *
 * Errors: WEIR_EBADF, WEIR_EINVAL (`fd` is NULL), WEIR_ENOTCONN (there is no fd).
 *
 * Thread: any; never blocks.
 */
int weir_datagram_fd(weir_datagram *datagram, int *fd);

/**
 * The context that the socket belongs to.
 *
 * Errors: WEIR_EBADF, WEIR_EINVAL (`out` is NULL).
 *
 * Thread: any; never blocks.
 */
int weir_datagram_context(weir_datagram *datagram, weir_context **out);

/**
 * The local address. Asked of the kernel, so it is concrete where a wildcard was bound.
 *
 * Errors: WEIR_EBADF, WEIR_EINVAL (NULL), WEIR_ENOTCONN (there is no fd).
 *
 * Thread: any; never blocks.
 */
int weir_datagram_local_address(weir_datagram *datagram, struct sockaddr_storage *address, socklen_t *length);

/**
 * The peer's address.
 *
 * Errors: WEIR_EBADF, WEIR_EINVAL (NULL), WEIR_ENOTCONN (not connected).
 *
 * Thread: any; never blocks.
 */
int weir_datagram_remote_address(weir_datagram *datagram,
                                 struct sockaddr_storage *address,
                                 socklen_t *length);

/**
 * Binds to a local address; opens a socket of its family first if there is none. A port of 0 has the kernel
 * choose one: see weir_datagram_local_address(). A `struct sockaddr_un` of the length of its family alone has it choose
 * an abstract name. Of an AF_UNIX path the file appears in the file system and stays there after close.
 *
 * Errors: WEIR_EBADF, WEIR_EINVAL (address; bound already), -EAFNOSUPPORT, -EADDRINUSE (for a path: it exists),
 * -EADDRNOTAVAIL, -EACCES, -ENOENT, -ENOTDIR, -EROFS, -EMFILE, -ENFILE, WEIR_ENOMEM, WEIR_ESHUTDOWN.
 *
 * Thread: any; never blocks.
 */
int weir_datagram_bind(weir_datagram *datagram,
                       const struct sockaddr *address,
                       socklen_t length);

/**
 * Gives the socket a peer, at once: what is sent goes there, what others send is no longer received. Opens a
 * socket of the address's family first if there is none. Connecting again changes the peer. On a connected
 * UDP socket an ICMP error is the status of the next operation: -ECONNREFUSED where nobody listens. Datagrams
 * that are queued already, from whomever, are still received.
 *
 * Errors: WEIR_EBADF, WEIR_EINVAL (address), -EAFNOSUPPORT, -ENETUNREACH, -EHOSTUNREACH, -EACCES (broadcast
 * needs WEIR_OPT_BROADCAST), for AF_UNIX -ECONNREFUSED, -ENOENT, -EPROTOTYPE, -EPERM; -EMFILE, -ENFILE, WEIR_ENOMEM,
 * WEIR_ESHUTDOWN.
 *
 * Thread: any; never blocks.
 */
int weir_datagram_connect(weir_datagram *datagram,
                          const struct sockaddr *address,
                          socklen_t length);

/**
 * Takes the peer away again; 0 also where there is none. A port that the kernel chose may go with it.
 *
 * Errors: WEIR_EBADF, WEIR_ENOTCONN (there is no fd).
 *
 * Thread: any; never blocks.
 */
int weir_datagram_disconnect(weir_datagram *datagram);

/**
 * Joins a multicast group, an IPv4 or IPv6 address whose port is not looked at, at the interface with this index
 * (if_nametoindex(3)); 0 lets the kernel choose. The socket receives what is sent to the group and the port
 * that it is bound to. Several groups, and one group at several interfaces, may be joined.
 *
 * Errors: WEIR_EBADF, WEIR_EINVAL (no multicast address), WEIR_ENOTCONN (there is no fd), -EAFNOSUPPORT, -EADDRINUSE
 * (a member already), -ENODEV, -ENOBUFS (too many groups), -ENOPROTOOPT (an IPv4 group and an IPv6 socket, or the
 * other way round).
 *
 * Thread: any; never blocks.
 */
int weir_datagram_join(weir_datagram *datagram,
                       const struct sockaddr *group,
                       socklen_t length,
                       uint32_t interface_index);

/**
 * Leaves a multicast group that was joined with the same address and index.
 *
 * Errors: as weir_datagram_join(); -EADDRNOTAVAIL (no member).
 *
 * Thread: any; never blocks.
 */
int weir_datagram_leave(weir_datagram *datagram,
                        const struct sockaddr *group,
                        socklen_t length,
                        uint32_t interface_index);

/**
 * What the kernel that runs can do with UDP: WEIR_DATAGRAM_GSO, WEIR_DATAGRAM_GRO, asked anew by each call (remember the
 * answer).
 *
 * Errors: WEIR_EINVAL (`features` is NULL), -EMFILE, -ENFILE, WEIR_ENOMEM, -EAFNOSUPPORT (no IP at all).
 *
 * Thread: any; never blocks.
 */
int weir_datagram_features(uint32_t *features);

/**
 * Waits until there is a datagram or an error to receive (WEIR_WAIT_READ) or room to send (WEIR_WAIT_WRITE), for
 * programs that do the transfer themselves. Level-checked: what is so already completes at once (not inside
 * this call), and it never completes on a socket that is not ready.
 *
 * Errors: WEIR_EBADF, WEIR_EINVAL (`what`), WEIR_EBUSY (the direction has a pending operation), WEIR_ENOTCONN (there
 * is no fd), -ENOSPC, WEIR_ENOMEM, WEIR_ESHUTDOWN.
 *
 * Thread: any; never blocks.
 */
int weir_datagram_wait(weir_datagram *datagram,
                       int what,
                       weir_callback callback,
                       void *user);

/**
 * Sets a named option, WEIR_OPT_....
 *
 * Errors: WEIR_EBADF, WEIR_EINVAL (unknown option, or what the kernel says of the value), WEIR_ENOTCONN (there is
 * no fd), -ENOPROTOOPT or -EOPNOTSUPP (not for this kind of socket).
 *
 * Thread: any; never blocks.
 */
int weir_datagram_set(weir_datagram *datagram,
                      int option,
                      int value);

/**
 * Reads a named option, WEIR_OPT_....
 *
 * Errors: as weir_datagram_set(); WEIR_EINVAL also where `value` is NULL.
 *
 * Thread: any; never blocks.
 */
int weir_datagram_get(weir_datagram *datagram, int option, int *value);

/**
 * Sets any socket option by level and name, as setsockopt(2) does.
 *
 * Errors: WEIR_EBADF, WEIR_EINVAL (`value` is NULL), WEIR_ENOTCONN (there is no fd), what the kernel says.
 *
 * Thread: any; never blocks.
 */
int weir_datagram_set_option(weir_datagram *datagram,
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
int weir_datagram_get_option(weir_datagram *datagram,
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
int weir_datagram_bind_to_device(weir_datagram *datagram, const char *name);

/* ---- message --------------------------------------------------------------------------------- */

/**
 * One datagram of a batch.
 */
typedef struct weir_datagram_message {
    /**
     * What is sent, or room for what is received. May be NULL where `length` is 0.
     */
    void *data;
    /**
     * The number of bytes at `data`.
     */
    size_t length;
    /**
     * Sending: the receiver, or NULL for the peer of a connected socket. Receiving: room for the sender's address, or
     * NULL.
     */
    struct sockaddr_storage *address;
    /**
     * Set: the bytes that were sent, or stored.
     */
    size_t bytes;
    /**
     * Sending: the length of what is at `address`. Receiving: set to the length of the sender's address.
     */
    socklen_t address_length;
    /**
     * Set: 0; -EMSGSIZE for a received datagram that was longer than its room; what went wrong with the one that
     * ended the sending of a batch.
     */
    int status;
    /**
     * Sending: the length of the datagrams that the data is cut into (GSO), up to 65535; 0: it is one. Receiving: set to
     * that with WEIR_OPT_GRO, where the data is several datagrams; the last one may be shorter. 0: it is one.
     */
    uint32_t segment_size;
    /**
     * 0.
     */
    uint32_t reserved;
} weir_datagram_message;

/**
 * Receives one datagram as soon as there is one. Completes with 0 and its length, which may be 0: a datagram
 * without bytes is data, there is no end. A datagram that is longer than `length` completes with -EMSGSIZE and
 * the bytes that were stored; the rest of it is lost. Errors that the socket met before (an ICMP message for a
 * connected socket gives -ECONNREFUSED) are the status of the next operation, or WEIR_ECANCELED. The buffer stays valid
 * until the completion, or until cancel or close has returned. A length of 0, with any `data`, drops one datagram.
 *
 * One operation may be pending in each direction: receiving in any way and waiting for readability share the one,
 * sending and waiting for writability the other.
 *
 * Errors: WEIR_EBADF, WEIR_EINVAL (`data` is NULL with a length; a length above SSIZE_MAX), WEIR_EBUSY (one is pending),
 * WEIR_ENOTCONN (there is no fd), -ENOSPC (epoll watches), WEIR_ENOMEM, WEIR_ESHUTDOWN.
 *
 * Thread: any; never blocks.
 */
int weir_datagram_receive(weir_datagram *datagram,
                          void *data,
                          size_t length,
                          weir_io_callback callback,
                          void *user);

/**
 * As weir_datagram_receive(), and tells the sender: `*address` and `*address_length` are written together with the
 * data, and stay valid as long as the buffer does. An IPv6 address has its scope. A sender of AF_UNIX without
 * a name has a length of 0 and the family AF_UNSPEC.
 *
 * Errors: as weir_datagram_receive(); WEIR_EINVAL also where `address` or `address_length` is NULL.
 *
 * Thread: any; never blocks.
 */
int weir_datagram_receive_from(weir_datagram *datagram,
                               void *data,
                               size_t length,
                               struct sockaddr_storage *address,
                               socklen_t *address_length,
                               weir_io_callback callback,
                               void *user);

/**
 * Sends one datagram to the peer of a connected socket, whole or not at all. Completes with 0 and its length; a
 * length of 0 sends a datagram without bytes. Otherwise: -EMSGSIZE (longer than the protocol has it), -EDESTADDRREQ
 * or WEIR_ENOTCONN (no peer), -ECONNREFUSED, -EPERM, WEIR_ECANCELED and so on. Waits while the socket's buffer, or
 * the queue of an AF_UNIX receiver, is full. The data stays valid until the completion, or until cancel or close
 * has returned.
 *
 * Errors: as weir_datagram_receive().
 *
 * Thread: any; never blocks.
 */
int weir_datagram_send(weir_datagram *datagram,
                       const void *data,
                       size_t length,
                       weir_io_callback callback,
                       void *user);

/**
 * As weir_datagram_send(), to an address, which stays valid as long as the data. On a connected socket it stands in for
 * the peer, for this datagram.
 *
 * Errors: as weir_datagram_receive(); WEIR_EINVAL also for an address that is none, -EAFNOSUPPORT.
 *
 * Thread: any; never blocks.
 */
int weir_datagram_send_to(weir_datagram *datagram,
                          const void *data,
                          size_t length,
                          const struct sockaddr *address,
                          socklen_t address_length,
                          weir_io_callback callback,
                          void *user);

/**
 * Receives a datagram that is there now: 0 with `*count` 1 and its length in `*bytes`, or with both 0 when there is
 * none. A datagram that is longer than `length`: -EMSGSIZE, with `*count` 1 and the bytes stored in `*bytes`. Nothing is
 * begun and no callback comes.
 *
 * Errors: WEIR_EBADF, WEIR_EINVAL (as weir_datagram_receive(), or `count` or `bytes` is NULL), WEIR_EBUSY (a receive or
 * wait for readability is pending), WEIR_ENOTCONN, and what the socket met.
 *
 * Thread: any; never blocks.
 */
int weir_datagram_try_receive(weir_datagram *datagram,
                              void *data,
                              size_t length,
                              size_t *count,
                              size_t *bytes);

/**
 * As weir_datagram_try_receive(), and tells the sender as weir_datagram_receive_from() does.
 *
 * Errors: as weir_datagram_try_receive(); WEIR_EINVAL also where `address` or `address_length` is NULL.
 *
 * Thread: any; never blocks.
 */
int weir_datagram_try_receive_from(weir_datagram *datagram,
                                   void *data,
                                   size_t length,
                                   struct sockaddr_storage *address,
                                   socklen_t *address_length,
                                   size_t *count,
                                   size_t *bytes);

/**
 * Sends a datagram to the peer if there is room now: 0 with `*count` 1, or 0 when the buffer, or an AF_UNIX receiver's
 * queue, is full. Nothing is begun and no callback comes.
 *
 * Errors: WEIR_EBADF, WEIR_EINVAL (as weir_datagram_receive(), or `count` is NULL), WEIR_EBUSY (a send or wait for
 * writability is pending), WEIR_ENOTCONN, and what completes weir_datagram_send().
 *
 * Thread: any; never blocks.
 */
int weir_datagram_try_send(weir_datagram *datagram,
                           const void *data,
                           size_t length,
                           size_t *count);

/**
 * As weir_datagram_try_send(), to an address.
 *
 * Errors: as weir_datagram_try_send() and weir_datagram_send_to().
 *
 * Thread: any; never blocks.
 */
int weir_datagram_try_send_to(weir_datagram *datagram,
                              const void *data,
                              size_t length,
                              const struct sockaddr *address,
                              socklen_t address_length,
                              size_t *count);

/**
 * Receives what there is, up to `count` datagrams, as soon as there is one, with few system calls. `bytes` of the
 * callback is the number of messages that were filled, from the first on; at most 1024 at once. Each tells its own
 * bytes, sender and truncation, see weir_datagram_message; the batch is 0 where one is cut short. With any other status
 * the messages that `bytes` counts were still received. A `count` of 0 completes with 0 messages. The array, the
 * buffers and the addresses stay valid until the completion, or until cancel or close has returned.
 *
 * Errors: as weir_datagram_receive(), for each message; WEIR_EINVAL also for `reserved` that is not 0.
 *
 * Thread: any; never blocks.
 */
int weir_datagram_receive_batch(weir_datagram *datagram,
                                weir_datagram_message *messages,
                                size_t count,
                                weir_io_callback callback,
                                void *user);

/**
 * Sends `count` datagrams in their order, with few system calls. `bytes` of the callback is the number of messages that
 * have gone. The first that fails ends the batch: the status is its own, it is the message at the index `bytes`, and
 * those behind it were not tried. What is in the array stays valid as for weir_datagram_receive_batch().
 *
 * Errors: as weir_datagram_send_to(), for each message; WEIR_EINVAL also for a `segment_size` above 65535 and `reserved`
 * that is not 0; -EOPNOTSUPP for a `segment_size` where the kernel or the socket can't cut, see
 * weir_datagram_features().
 *
 * Thread: any; never blocks.
 */
int weir_datagram_send_batch(weir_datagram *datagram,
                             weir_datagram_message *messages,
                             size_t count,
                             weir_io_callback callback,
                             void *user);

/* ---- local ----------------------------------------------------------------------------------- */

/**
 * Makes two AF_UNIX streams of a context that are connected to each other. (weir_stream_release() and
 * weir_stream_adopt() take one to another context.)
 *
 * Errors: WEIR_EBADF, WEIR_EINVAL (`first` or `second` is NULL), -EMFILE, -ENFILE, WEIR_ENOMEM, WEIR_ESHUTDOWN.
 *
 * Thread: any; never blocks.
 */
int weir_stream_pair(weir_context *context,
                     weir_stream **first,
                     weir_stream **second);

/**
 * Makes two AF_UNIX datagram sockets of a context that are connected to each other.
 *
 * Errors: as weir_stream_pair().
 *
 * Thread: any; never blocks.
 */
int weir_datagram_pair(weir_context *context, weir_datagram **first, weir_datagram **second);

/**
 * Removes the path that the acceptor is bound to, as unlink(2) does: call it before close, which never does so by
 * itself and leaves the path for the next bind to stumble over (-EADDRINUSE). Whatever has the path by now is
 * removed, and a relative one is looked up in the current directory.
 *
 * Errors: WEIR_EBADF, WEIR_ENOTCONN (there is no fd), -EOPNOTSUPP (not bound to a path), -ENOENT, -EACCES, -EPERM, -EROFS.
 *
 * Thread: any; may block on the file system.
 */
int weir_acceptor_unlink(weir_acceptor *acceptor);

/**
 * As weir_acceptor_unlink(), for a datagram socket.
 *
 * Errors: as weir_acceptor_unlink().
 *
 * Thread: any; may block on the file system.
 */
int weir_datagram_unlink(weir_datagram *datagram);

/**
 * Who is at the other end of an AF_UNIX stream: the process, user and group that connected, called listen, or made the
 * pair (SO_PEERCRED; the peer can't forge them). A pointer may be NULL where the answer is of no interest. A process
 * or user that the caller's namespace does not know is 0 or the overflow id.
 *
 * Errors: WEIR_EBADF, WEIR_ENOTCONN (no fd, or not connected), -EOPNOTSUPP (not AF_UNIX).
 *
 * Thread: any; never blocks.
 */
int weir_stream_peer_credentials(weir_stream *stream,
                                 int32_t *pid,
                                 uint32_t *uid,
                                 uint32_t *gid);

/**
 * Writes all `length` bytes, at least one, and copies of up to 253 fds with the first of them. Completes as
 * weir_stream_write(); where `bytes` is not 0 the fds have gone. The caller keeps its own fds, which stay open as
 * long as the data and the array stay valid: until the completion, or until cancel or close has returned. Also
 * completes with -EBADF (an fd is not open) and -ETOOMANYREFS (too many fds are under way).
 *
 * Errors: as weir_stream_write(); WEIR_EINVAL also for a `length` of 0, NULL `fds` with a count, more than 253 of them;
 * -EOPNOTSUPP (not AF_UNIX).
 *
 * Thread: any; never blocks.
 */
int weir_stream_write_fds(weir_stream *stream,
                          const void *data,
                          size_t length,
                          const int *fds,
                          size_t fd_count,
                          weir_io_callback callback,
                          void *user);

/**
 * As weir_stream_read_some(), and takes the fds that come with the bytes: `*fd_count` is the room at `fds` before, and
 * the number received after; they belong to the receiver and are close-on-exec. Where WEIR_ECANCELED is the status it
 * is untouched, and nothing was received. The bytes of two messages with fds are never read as one.
 *
 * No fd is leaked: those that find no room at `fds` are closed and the status is -EMSGSIZE, those for which the
 * process has no number left are dropped by the kernel and the status is -EMFILE; in both cases `bytes` and
 * `*fd_count` tell what was received. All other ways of reading drop the fds that come. `fd_count` and `fds` stay
 * valid as long as the buffer does.
 *
 * Errors: as weir_stream_read_some(); WEIR_EINVAL also for a `length` of 0, NULL `fd_count`, NULL `fds` with room;
 * -EOPNOTSUPP (not AF_UNIX).
 *
 * Thread: any; never blocks.
 */
int weir_stream_read_fds(weir_stream *stream,
                         void *data,
                         size_t length,
                         int *fds,
                         size_t *fd_count,
                         weir_io_callback callback,
                         void *user);

/**
 * As weir_datagram_send(), with copies of fds as weir_stream_write_fds(). The `length` may be 0.
 *
 * Errors: as weir_datagram_receive(); WEIR_EINVAL also for NULL `fds` with a count and more than 253 of them;
 * -EOPNOTSUPP (not AF_UNIX).
 *
 * Thread: any; never blocks.
 */
int weir_datagram_send_fds(weir_datagram *datagram,
                           const void *data,
                           size_t length,
                           const int *fds,
                           size_t fd_count,
                           weir_io_callback callback,
                           void *user);

/**
 * As weir_datagram_receive(), and takes the fds that come with the datagram, as weir_stream_read_fds() does. The status
 * is -EMSGSIZE where the datagram was longer than `length`, and where fds found no room.
 *
 * Errors: as weir_datagram_receive(); WEIR_EINVAL also for NULL `fd_count` and NULL `fds` with room; -EOPNOTSUPP (not
 * AF_UNIX).
 *
 * Thread: any; never blocks.
 */
int weir_datagram_receive_fds(weir_datagram *datagram,
                              void *data,
                              size_t length,
                              int *fds,
                              size_t *fd_count,
                              weir_io_callback callback,
                              void *user);

/* ---- signals --------------------------------------------------------------------------------- */

/**
 * System calls of the program that the signal interrupts end with EINTR. Without this flag they are restarted
 * (SA_RESTART), so that code which knows nothing of signals goes on working. Functions of this library never give
 * EINTR.
 */
#define WEIR_SIGNALS_INTERRUPT 1

/**
 * SIGCHLD only: it does not come for children that stop or continue (SA_NOCLDSTOP).
 */
#define WEIR_SIGNALS_NO_CHILD_STOP 2

/**
 * SIGCHLD only: children that exit leave nothing to wait for (SA_NOCLDWAIT).
 */
#define WEIR_SIGNALS_NO_CHILD_WAIT 4

/**
 * The handler that the program had set before is called too, from within the signal handler, with the signals
 * blocked that it had asked for. (Where there was the default action, or none, nothing is called.)
 */
#define WEIR_SIGNALS_CHAIN 8

/**
 * Whatever flags other sets give for this signal; none as long as no set gives any. Not with other flags.
 */
#define WEIR_SIGNALS_ANY_FLAGS 16

/**
 * Makes a set of signals, which is empty. Any number of sets, of one context or of several, may have the same
 * signal: each sees every delivery. End it with weir_signals_close().
 *
 * Errors: WEIR_EBADF, WEIR_EINVAL (`out` is NULL), WEIR_ENOMEM, WEIR_ESHUTDOWN.
 *
 * Thread: any; never blocks.
 */
int weir_signals_create(weir_context *context, weir_signals **out);

/**
 * Ends a set: its waits complete with WEIR_ECANCELED, later, in run; its signals are given back as
 * weir_signals_clear() does. What has arrived and was not delivered is dropped.
 *
 * Errors: WEIR_EBADF.
 *
 * Thread: any; never blocks.
 */
int weir_signals_close(weir_signals *signals);

/**
 * The context that the set belongs to.
 *
 * Errors: WEIR_EBADF, WEIR_EINVAL (`out` is NULL).
 *
 * Thread: any; never blocks.
 */
int weir_signals_context(weir_signals *signals, weir_context **out);

/**
 * Adds a signal. From now on each delivery to the process is counted for the set, whether a wait is pending or
 * not. While any set of the process has the signal, the library's handler is in place of the program's
 * action for it; when the last one gives it back, the action that was there before is restored, unless the
 * program has set another meanwhile, which then stays. A signal that every thread has blocked does not arrive.
 * Deliveries of a standard signal that the kernel merged, since one was pending already, count once.
 *
 * `flags` are WEIR_SIGNALS_..., 0 or WEIR_SIGNALS_ANY_FLAGS. They are the process's: from the first set that gives
 * some until the last set gives the signal back. To add a signal that the set has already
 * does no more than to give flags.
 *
 * The first one in the process opens an fd, which stays open.
 *
 * Errors: WEIR_EBADF, WEIR_EINVAL (no signal of that number; SIGKILL and SIGSTOP, which can't be caught; SIGSEGV,
 * SIGBUS, SIGFPE, SIGILL, SIGTRAP and SIGSYS, after which a program can't go on; an unknown flag, or one for
 * SIGCHLD with another signal), -EEXIST (a set of this process has the signal with other flags), WEIR_EBUSY (the
 * program has set a handler of its own while a set had the signal, and that one would have to be replaced
 * or chained to), WEIR_ENOMEM, WEIR_ESHUTDOWN, -EMFILE, -ENFILE, or what the kernel said of epoll.
 *
 * Thread: any; never blocks.
 */
int weir_signals_add(weir_signals *signals,
                     int signo,
                     uint32_t flags);

/**
 * Takes a signal out of the set. What has arrived of it and was not delivered is dropped, also if it is added
 * again; waits stay pending.
 *
 * Errors: WEIR_EBADF, WEIR_EINVAL (a signal that no set can have), -ENOENT (the set does not have it).
 *
 * Thread: any; never blocks.
 */
int weir_signals_remove(weir_signals *signals, int signo);

/**
 * Takes every signal out of the set, as weir_signals_remove() does.
 *
 * Errors: WEIR_EBADF.
 *
 * Thread: any; never blocks.
 */
int weir_signals_clear(weir_signals *signals);

/**
 * Waits for one delivery of one of the set's signals: completes with 0 and its number, or with WEIR_ECANCELED and 0.
 * What arrived since it was added and was not delivered completes a wait at once (but not inside this call). Any
 * number of waits may be pending; each takes one delivery, the oldest wait first. Different signals come in no
 * particular order, but each in its turn. A set without signals may be waited for.
 *
 * Errors: WEIR_EBADF, WEIR_ENOMEM, WEIR_ESHUTDOWN.
 *
 * Thread: any; never blocks.
 */
int weir_signals_wait(weir_signals *signals,
                      weir_value_callback callback,
                      void *user);

/**
 * Ends the pending waits with WEIR_ECANCELED, and nothing later. `count`, which may be NULL, receives how many were
 * ended. What has arrived stays for later waits.
 *
 * Errors: WEIR_EBADF.
 *
 * Thread: any; never blocks.
 */
int weir_signals_cancel(weir_signals *signals,
                        size_t *count);

/**
 * The number of deliveries that have arrived and that no wait has taken.
 *
 * Errors: WEIR_EBADF, WEIR_EINVAL (`count` is NULL).
 *
 * Thread: any; never blocks.
 */
int weir_signals_arrived(weir_signals *signals, size_t *count);

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

/**
 * SO_BROADCAST: 1 allows datagrams to broadcast addresses.
 */
#define WEIR_OPT_BROADCAST 19

/**
 * IP_MULTICAST_LOOP or IPV6_MULTICAST_LOOP: 1 lets this machine receive its own multicast.
 */
#define WEIR_OPT_MULTICAST_LOOP 20

/**
 * IP_MULTICAST_TTL or IPV6_MULTICAST_HOPS: hops of what is sent to a group; 1 by default.
 */
#define WEIR_OPT_MULTICAST_HOPS 21

/**
 * IP_MULTICAST_IF or IPV6_MULTICAST_IF: index of the interface that multicast leaves by; 0: the kernel's choice.
 * Reading it on an IPv4 socket is -EOPNOTSUPP before Linux 6.14 or so.
 */
#define WEIR_OPT_MULTICAST_INTERFACE 22

/**
 * UDP_SEGMENT: the length of the datagrams that each send is cut into (GSO); 0 for off. See weir_datagram_features().
 */
#define WEIR_OPT_SEGMENT_SIZE 23

/**
 * UDP_GRO: 1 has datagrams of one sender put together; receive them with weir_datagram_receive_batch(), which tells
 * where to cut. See weir_datagram_features().
 */
#define WEIR_OPT_GRO 24

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

/* ---- watch ----------------------------------------------------------------------------------- */

/**
 * Event of a watch: there is something to read, or a connection to accept. (EPOLLIN)
 */
#define WEIR_WATCH_READ 1

/**
 * Event of a watch: there is room to write, or a connect has ended. (EPOLLOUT)
 */
#define WEIR_WATCH_WRITE 2

/**
 * Event of a watch: something exceptional, such as urgent data. (EPOLLPRI)
 */
#define WEIR_WATCH_PRIORITY 4

/**
 * Event of a watch: the peer has ended its direction. (EPOLLRDHUP)
 */
#define WEIR_WATCH_READ_HANGUP 8

/**
 * Event of a watch: both directions have ended. Told whether asked for or not. (EPOLLHUP)
 */
#define WEIR_WATCH_HANGUP 16

/**
 * Event of a watch: an error. Told whether asked for or not. (EPOLLERR)
 */
#define WEIR_WATCH_ERROR 32

/**
 * Event of a watch: the deadline has passed. Never asked for.
 */
#define WEIR_WATCH_TIMEOUT 64

/**
 * How a watch is started: it tells changes only, as EPOLLET does. Without this flag it is level-triggered.
 */
#define WEIR_WATCH_EDGE 1

/**
 * How a watch is started: it goes on until it is stopped. Without this flag it completes with its first event.
 */
#define WEIR_WATCH_PERSISTENT 2

/**
 * Makes a watch of an fd that is the caller's and stays it: the library never reads, writes, changes or
 * closes it. -1 is no fd yet (see weir_watch_set_fd(); weir_watch_feed() and deadlines work without one). Any number
 * of watches may have the same fd; they share one registration in the kernel. End it with weir_watch_close().
 *
 * Errors: WEIR_EBADF, WEIR_EINVAL (`out` is NULL, `fd` < -1), WEIR_ENOMEM, WEIR_ESHUTDOWN. That the fd is not open
 * is found by weir_watch_start().
 *
 * Thread: any; never blocks.
 */
int weir_watch_create(weir_context *context,
                      int fd,
                      weir_watch **out);

/**
 * Ends a watch, as weir_watch_stop() does. The fd stays open. An fd that is to be closed should lose its watches
 * first; where it was closed already nothing bad comes of it.
 *
 * Errors: WEIR_EBADF.
 *
 * Thread: any; never blocks.
 */
int weir_watch_close(weir_watch *watch);

/**
 * The same as weir_watch_stop().
 *
 * Errors: WEIR_EBADF.
 *
 * Thread: any; never blocks.
 */
int weir_watch_cancel(weir_watch *watch, size_t *count);

/**
 * The context that the watch belongs to.
 *
 * Errors: WEIR_EBADF, WEIR_EINVAL (`out` is NULL).
 *
 * Thread: any; never blocks.
 */
int weir_watch_context(weir_watch *watch, weir_context **out);

/**
 * Watches for `events`, the sum of WEIR_WATCH_READ, _WRITE, _PRIORITY, _READ_HANGUP, _HANGUP and _ERROR; the last two
 * are told in any case. `flags` are WEIR_WATCH_EDGE and WEIR_WATCH_PERSISTENT. The callback is called with status 0
 * and the events that were seen, asked-for ones and those two only. What is ready already is told too.
 *
 * Level-triggered: told again, about once a turn of the loop, for as long as it holds, hang-up and error included,
 * and not when it is gone by then. Edge-triggered: told when it comes, perhaps once more when another watch of
 * the fd starts or changes. Regular files, of which the kernel knows no readiness, are always ready to read and
 * write: told once a turn if level-triggered, else once.
 *
 * One-shot: completes with the first event, and may be started again from its own callback. Persistent:
 * completes once more, at last, with WEIR_ECANCELED. Calls of one watch never overlap; what comes meanwhile
 * gathers for the next.
 *
 * `timeout_ns`, or WEIR_FOREVER, is a deadline: when so long nothing came, the watch fires with status 0 and
 * WEIR_WATCH_TIMEOUT. For a persistent watch it counts anew from each event and each time-out.
 *
 * Of an fd that was closed without a word nothing more is heard (of a regular file perhaps once); a watch of its number that is started or
 * moved to it later is of the file that has that number then.
 *
 * Errors: WEIR_EBADF (also: the fd is not open), WEIR_EBUSY (it is started, or its last completion is not delivered
 * yet), WEIR_EINVAL (`events` or `flags`, a negative time), -EEXIST (the fd is of a stream or the like of this
 * context; where that has not waited for anything yet, the watch completes so when it does), WEIR_ENOMEM,
 * WEIR_ESHUTDOWN, or what the kernel said of epoll_ctl, such as -ENOSPC.
 *
 * Thread: any; never blocks.
 */
int weir_watch_start(weir_watch *watch,
                     unsigned int events,
                     unsigned int flags,
                     int64_t timeout_ns,
                     weir_value_callback callback,
                     void *user);

/**
 * Changes what a started watch watches for. A system call only where the watches of the fd together want
 * something new; less costs none. What was seen already and is no longer asked for is not told.
 *
 * Errors: WEIR_EBADF (also: the fd was closed; the watch stays started and hears nothing), WEIR_EINVAL (`events`, or
 * it is not started), or as weir_watch_start(). After an error the events are those from before.
 *
 * Thread: any; never blocks.
 */
int weir_watch_change(weir_watch *watch,
                      unsigned int events);

/**
 * Ends watching with WEIR_ECANCELED. No event is told from now on, not even one that was seen or fed already
 * (a callback that runs at this moment on another thread goes on). `count`, which may be NULL, receives 0 or 1.
 *
 * Errors: WEIR_EBADF.
 *
 * Thread: any; never blocks.
 */
int weir_watch_stop(weir_watch *watch,
                    size_t *count);

/**
 * Has a started watch fire without the kernel, with these events, asked for or not; WEIR_WATCH_TIMEOUT may be one.
 * They are told once, later, in run, together with what else was seen.
 *
 * Errors: WEIR_EBADF, WEIR_EINVAL (`events`, or it is not started).
 *
 * Thread: any; never blocks.
 */
int weir_watch_feed(weir_watch *watch,
                    unsigned int events);

/**
 * Moves the watch to another fd, or to none (-1). A started watch goes on there; what was seen of the old one is not
 * told any more. To be called with the same number when that has become another file.
 *
 * Errors: as weir_watch_start() has for the fd, and WEIR_EINVAL (`fd` < -1). After an error it is where it was.
 *
 * Thread: any; never blocks.
 */
int weir_watch_set_fd(weir_watch *watch,
                      int fd);

/**
 * The fd, or -1.
 *
 * Errors: WEIR_EBADF, WEIR_EINVAL (`fd` is NULL).
 *
 * Thread: any; never blocks.
 */
int weir_watch_fd(weir_watch *watch, int *fd);

/**
 * Changes the deadline of a started watch; it counts from now. In constant time, and with no system call where
 * it is later than others are.
 *
 * Errors: WEIR_EBADF, WEIR_EINVAL (negative, or the watch is not started), WEIR_ENOMEM.
 *
 * Thread: any; never blocks.
 */
int weir_watch_set_timeout(weir_watch *watch,
                           int64_t timeout_ns);

/* ---- process --------------------------------------------------------------------------------- */

/**
 * Makes a handle for a child of this process, however it was started. The program's handling of SIGCHLD is not
 * touched, and other children are not waited for. End it with weir_process_close().
 *
 * A pidfd tells of the exit. Where the kernel has none (before 5.4, or a filter), the child is asked for
 * every 20 ms of the context's clock instead; the child's number is used then, so nothing else in the program
 * may wait for it.
 *
 * Errors: WEIR_EBADF, WEIR_EINVAL (`pid` < 1; `out` is NULL), -ECHILD (no child of this process, or it was reaped),
 * -EMFILE, -ENFILE, WEIR_ENOMEM, WEIR_ESHUTDOWN.
 *
 * Thread: any; never blocks.
 */
int weir_process_create(weir_context *context,
                        pid_t pid,
                        weir_process **out);

/**
 * Ends the handle: a pending wait completes with WEIR_ECANCELED. The child is neither killed nor waited for: one that
 * has ended and was not told of stays a zombie until the program waits for it.
 *
 * Errors: WEIR_EBADF.
 *
 * Thread: any; never blocks.
 */
int weir_process_close(weir_process *process);

/**
 * Ends the pending wait with WEIR_ECANCELED; the child goes on. `count`, which may be NULL, receives 0 or 1.
 *
 * Errors: WEIR_EBADF.
 *
 * Thread: any; never blocks.
 */
int weir_process_cancel(weir_process *process, size_t *count);

/**
 * The context that the handle belongs to.
 *
 * Errors: WEIR_EBADF, WEIR_EINVAL (`out` is NULL).
 *
 * Thread: any; never blocks.
 */
int weir_process_context(weir_process *process, weir_context **out);

/**
 * The child's number.
 *
 * Errors: WEIR_EBADF, WEIR_EINVAL (`pid` is NULL).
 *
 * Thread: any; never blocks.
 */
int weir_process_pid(weir_process *process, pid_t *pid);

/**
 * Waits for the child to end (not to stop or continue), and reaps it. Completes with 0 and the wait status, for
 * WIFEXITED() and its like of <sys/wait.h>; with -ECHILD where something else has reaped it: another part of the
 * program, or the kernel itself where the program ignores SIGCHLD; or with WEIR_ECANCELED. A wait that begins after the exit was told gives the same again.
 *
 * Errors: WEIR_EBADF, WEIR_EBUSY (one is pending), -ENOSPC (epoll watches), WEIR_ENOMEM, WEIR_ESHUTDOWN.
 *
 * Thread: any; never blocks.
 */
int weir_process_wait(weir_process *process,
                      weir_value_callback callback,
                      void *user);

/**
 * What the child has used, as wait4() tells it. Known once a wait has completed with 0.
 *
 * Errors: WEIR_EBADF, WEIR_EINVAL (`usage` is NULL), -EAGAIN (its exit was not told yet), -ECHILD (something else has
 * reaped it).
 *
 * Thread: any; never blocks.
 */
int weir_process_usage(weir_process *process,
                       struct rusage *usage);

/**
 * Sends a signal to the child; never to another process that got its number since (but for what
 * weir_process_create() says of kernels without pidfds). 0 only asks whether that could
 * be done.
 *
 * Errors: WEIR_EBADF, WEIR_EINVAL (`signo`), -ESRCH (it has ended and was reaped), -EPERM.
 *
 * Thread: any; never blocks.
 */
int weir_process_kill(weir_process *process, int signo);

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
 * callback comes after it has returned.
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

/* ---- pool ------------------------------------------------------------------------------------ */

/**
 * Reads until the end of the stream: the callback is called with 0 and the data each time that some has
 * come, in a buffer of the context's pool, and once, at last, with a negative status and no data: WEIR_EOF,
 * WEIR_ECANCELED after cancel, close or destruction, or what the connection met. The calls never overlap. It
 * is the stream's one reading operation meanwhile. A buffer is needed only while there is data: ten
 * thousand idle connections need none.
 *
 * With a NULL callback each delivery is a record of kind WEIR_OP_READ: `value` is the number of bytes, `extra` their
 * offset in the pool's memory, see weir_context_pool(). The buffer is then the receiver's until
 * weir_context_pool_release() or a WEIR_SUBMIT_RELEASE. While no buffer is free reading pauses, and the data
 * waits in the kernel; those that pause take turns.
 *
 * Errors: WEIR_EBADF, WEIR_EBUSY (a read is pending), WEIR_ENOTCONN (there is no fd), -ENOSPC (epoll watches),
 * WEIR_ENOMEM (also: for the pool), WEIR_ESHUTDOWN.
 *
 * Thread: any; never blocks.
 */
int weir_stream_read_each(weir_stream *stream,
                          weir_buffer_callback callback,
                          void *user);

/**
 * Receives datagrams one after another, each into a buffer of the context's pool and with a record of kind
 * WEIR_OP_RECEIVE: `value` is the datagram's length, `extra` the buffer's offset; the buffer is the receiver's until it is
 * released. A datagram that is longer than a buffer is cut: `value` is above the size of a buffer then. Ends once with a
 * negative status: WEIR_ECANCELED after cancel, close or destruction, or the error of the socket (-ECONNREFUSED where a
 * connected peer is gone). While no buffer is free receiving pauses, and the datagrams wait in the kernel.
 *
 * Errors: as weir_stream_read_each().
 *
 * Thread: any; never blocks.
 */
int weir_datagram_receive_each(weir_datagram *datagram,
                               void *user);

/**
 * Where the datagram in a buffer came from. A sender without a name is of family AF_UNSPEC.
 *
 * Errors: WEIR_EBADF, WEIR_EINVAL (`address` or `length` is NULL; no buffer with a datagram that the caller has begins
 * there).
 *
 * Thread: any; never blocks.
 */
int weir_context_pool_sender(weir_context *context,
                             uint64_t offset,
                             struct sockaddr_storage *address,
                             socklen_t *length);

/**
 * The pool's memory: where it begins, the bytes of a buffer and the number of buffers, each of which may be
 * NULL. It stays in its place until the context is destroyed. The pool is made here if it was not used yet.
 *
 * Errors: WEIR_EBADF, WEIR_ENOMEM, WEIR_ESHUTDOWN.
 *
 * Thread: any; never blocks.
 */
int weir_context_pool(weir_context *context, const void **base, size_t *slot_size, size_t *slots);

/**
 * Gives a buffer back, by the offset that its record told. A stream whose reading is paused goes on.
 *
 * Errors: WEIR_EBADF, WEIR_EINVAL (no buffer that the caller has begins there).
 *
 * Thread: any; never blocks.
 */
int weir_context_pool_release(weir_context *context, uint64_t offset);

/* ---- enter ----------------------------------------------------------------------------------- */

/**
 * Submission: weir_context_post() to the context that is entered; `handle`, `data` and `length` are not used.
 */
#define WEIR_SUBMIT_POST 1

/**
 * Submission: weir_stream_read_some() of `length` bytes to `data`.
 */
#define WEIR_SUBMIT_READ_SOME 2

/**
 * Submission: weir_stream_read().
 */
#define WEIR_SUBMIT_READ 3

/**
 * Submission: weir_stream_write_some() of `length` bytes from `data`.
 */
#define WEIR_SUBMIT_WRITE_SOME 4

/**
 * Submission: weir_stream_write().
 */
#define WEIR_SUBMIT_WRITE 5

/**
 * Submission: weir_stream_read_each().
 */
#define WEIR_SUBMIT_READ_EACH 6

/**
 * Submission: weir_context_pool_release() of the offset `length`, in the context that is entered.
 */
#define WEIR_SUBMIT_RELEASE 7

/**
 * Submission: weir_timer_expires_after(), `length` nanoseconds. It gives no record.
 */
#define WEIR_SUBMIT_TIMER_AFTER 8

/**
 * Submission: weir_timer_wait().
 */
#define WEIR_SUBMIT_TIMER_WAIT 9

/**
 * Submission: weir_handle_cancel() of any handle. It gives no record of its own.
 */
#define WEIR_SUBMIT_CANCEL 10

/**
 * Submission: weir_handle_close() of any handle. It gives no record of its own.
 */
#define WEIR_SUBMIT_CLOSE 11

/**
 * Submission: weir_stream_send().
 */
#define WEIR_SUBMIT_SEND 12

/**
 * Submission: weir_stream_send_copy(), after which `length` is what waits. It gives no record; `data` is free at once.
 */
#define WEIR_SUBMIT_SEND_COPY 13

/**
 * Submission: weir_acceptor_accept().
 */
#define WEIR_SUBMIT_ACCEPT 14

/**
 * Submission: weir_acceptor_accept_each().
 */
#define WEIR_SUBMIT_ACCEPT_EACH 15

/**
 * Submission: weir_datagram_receive_each().
 */
#define WEIR_SUBMIT_RECEIVE_EACH 16

/**
 * Submission: weir_watch_change() to the events `length`. It gives no record of its own.
 */
#define WEIR_SUBMIT_WATCH_CHANGE 17

/**
 * One call to be made by weir_context_enter().
 */
typedef struct weir_submission {
    /**
     * WEIR_SUBMIT_...
     */
    uint32_t kind;
    /**
     * Written by the call: 0, or the negative code that the function would have returned.
     */
    int result;
    /**
     * What it is for, of the type that the kind says.
     */
    void *handle;
    /**
     * A buffer, which stays valid until the record has come.
     */
    void *data;
    /**
     * Its length; for some kinds a time or an offset.
     */
    uint64_t length;
    /**
     * For the record.
     */
    void *user;
} weir_submission;

/**
 * Makes a batch of calls, in order, and then collects records as weir_context_reap() does: one call from a
 * language in which each costs more than the operation. Every submission's `result` is written; one
 * that fails does not stop those after it, and gives no record. The operations are begun as with a
 * NULL callback. Handles may be of other contexts; their records come where their context is reaped.
 *
 * With a `capacity` of 0 it only submits. `count` receives the number of records.
 *
 * Errors: WEIR_EBADF, WEIR_EINVAL (`submissions` is NULL with a number; `records` is NULL with a capacity; `count`
 * is NULL; a negative time), WEIR_ESHUTDOWN; then nothing was submitted. What the kernel says of epoll comes
 * where there is no record to return with.
 *
 * Thread: any; may block for `timeout_ns`.
 */
int weir_context_enter(weir_context *context,
                       weir_submission *submissions,
                       size_t submitted,
                       weir_record *records,
                       size_t capacity,
                       int64_t timeout_ns,
                       size_t *count);

/* ---- report ---------------------------------------------------------------------------------- */

/**
 * What a context has done since it was made. Set struct_size to sizeof(weir_stats); what the library knows beyond
 * that is left out. Numbers of things that happen meanwhile may be a turn old.
 */
typedef struct weir_stats {
    /**
     * sizeof(weir_stats).
     */
    size_t struct_size;
    /**
     * Questions to the kernel: calls of epoll_wait.
     */
    uint64_t turns;
    /**
     * Events that it told of.
     */
    uint64_t events;
    /**
     * Callbacks called.
     */
    uint64_t callbacks;
    /**
     * Completions served right after the callback that began them, without a visit to the queue.
     */
    uint64_t inline_completions;
    /**
     * Threads woken from their wait beside the reactor.
     */
    uint64_t wakeups;
    /**
     * Writes to the eventfd that wakes the reactor or the host.
     */
    uint64_t interrupts;
    /**
     * Calls of timerfd_settime.
     */
    uint64_t timer_arms;
    /**
     * Calls of epoll_ctl.
     */
    uint64_t epoll_ctls;
    /**
     * System calls that tried to read, receive, accept or look for readability; with WEIR_CONTEXT_MEASURE.
     */
    uint64_t reads;
    /**
     * System calls that tried to write, send, connect or look for writability; with WEIR_CONTEXT_MEASURE.
     */
    uint64_t writes;
    /**
     * Timers that fired.
     */
    uint64_t timers_fired;
    /**
     * How much later than due their turn came, in nanoseconds: the sum ...
     */
    uint64_t timer_lateness_sum_ns;
    /**
     * ... and the most.
     */
    uint64_t timer_lateness_max_ns;
    /**
     * The longest callback, in nanoseconds; with WEIR_CONTEXT_MEASURE or a stall limit.
     */
    uint64_t longest_callback_ns;
    /**
     * Callbacks that ran longer than the stall limit.
     */
    uint64_t stalls;
    /**
     * What is queued to run now.
     */
    uint64_t queue_length;
    /**
     * Records that wait to be reaped.
     */
    uint64_t records_waiting;
    /**
     * Operations pending and work begun: what keeps run going.
     */
    uint64_t work;
} weir_stats;

/**
 * One handle in a report.
 */
typedef struct weir_report_line {
    /**
     * The handle.
     */
    void *handle;
    /**
     * The name of its type: "stream", "timer" and so on. Static.
     */
    const char *type_name;
    /**
     * Nanoseconds since it was made, in steps of some milliseconds.
     */
    int64_t age_ns;
    /**
     * Operations pending on it.
     */
    size_t pending;
    /**
     * Its name, cut short where it does not fit; empty where it has none.
     */
    char name[64];
} weir_report_line;

/**
 * Tells what the context has done. `stats->struct_size` says how much of it is wanted.
 *
 * Errors: WEIR_EBADF, WEIR_EINVAL (`stats` is NULL, or its struct_size is smaller than its first two fields).
 *
 * Thread: any; never blocks.
 */
int weir_context_stats(weir_context *context, weir_stats *stats);

/**
 * Tells of every handle that is open in the context, oldest first: up to `capacity` lines. `count` receives how many
 * are open, which may be more. With a log function in its options a context tells the same by itself
 * when it is destroyed.
 *
 * Errors: WEIR_EBADF, WEIR_EINVAL (`lines` is NULL with a capacity; `count` is NULL), WEIR_ENOMEM.
 *
 * Thread: any; never blocks.
 */
int weir_context_report(weir_context *context,
                        weir_report_line *lines,
                        size_t capacity,
                        size_t *count);

/**
 * The name of a handle's type: "stream", "timer" and so on; NULL for what is no handle of any type. Whether the
 * handle is alive does not matter.
 *
 * Thread: any; never blocks.
 */
const char *weir_handle_type_name(void *handle);

/* ---- memory ---------------------------------------------------------------------------------- */

/**
 * Functions that the library gets its memory from, for weir_set_allocator(). They are called from any thread, also with
 * locks of the library held: they must not call the library.
 */
typedef struct weir_allocator {
    /**
     * sizeof(weir_allocator).
     */
    size_t struct_size;
    /**
     * Gives `size` bytes (never 0) at a multiple of `alignment` (a power of two), or NULL. A function that gets
     * NULL in the middle of a call returns WEIR_ENOMEM. (One thing it can't do without: the table of threads that sleep
     * on a lock grows with their number. Where this gives NULL for that, libc is asked.)
     */
    void *(*allocate)(size_t size, size_t alignment, void *user);
    /**
     * Takes back what `allocate` gave, with the same size and alignment.
     */
    void (*release)(void *memory, size_t size, size_t alignment, void *user);
    /**
     * Passed to both.
     */
    void *user;
} weir_allocator;

/**
 * Has the library get its memory from the program, for the whole process and for ever. To be called before
 * anything else of the library: what was allocated by one allocator can't be freed by another. (Handles and
 * pooled operations are shared by all contexts, so this can't be an option of one.)
 *
 * Errors: WEIR_EINVAL (NULL, or a function is NULL, or struct_size), WEIR_EBUSY (memory was allocated already).
 *
 * Thread: any; never blocks.
 */
int weir_set_allocator(const weir_allocator *allocator);

#ifdef __cplusplus
}
#endif

#endif /* WEIR_H */
