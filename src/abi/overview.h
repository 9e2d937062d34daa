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
