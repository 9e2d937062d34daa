// libweir for C++17 and later: header only, over the C interface, whose header weir.h is the reference of what each
// function does, its errors included. Link with the same library. Each part can be included by itself.
//
//     weir::context context;
//     weir::timer timer(context, 1s);
//     weir::check(timer.wait([&](std::error_code error) { ... }));      (in C++20 also: co_await timer.wait())
//     context.run();
//
// Two forms. A function that starts an operation takes a callable as its last argument, and gives the std::error_code of
// the start: without an error the callable is called exactly once (or, for what goes on: with none any number of times and
// with an error exactly once), in run; with one it is destroyed and never called. Without a callable it gives what
// co_await takes (C++20); the result is a std::error_code, or has an `error` and a `value`, for
//     auto [error, bytes] = co_await stream.read_some(data);
// An awaited operation starts when it is awaited, and what it was given by reference or as a view is read then. All other
// functions throw std::system_error.
//
// Callables may capture, and may be of a type that can only be moved. Those of up to 128 bytes cost no allocation: they
// live in nodes of the context's, which are used again. A larger one costs one. A coroutine costs its frame and nothing
// else: operations, when_all, when_any and with_timeout live in it.
//
// Who lives how long.
// - A handle object (stream, timer and so on) owns its handle and ends it: close() and the destructor are immediate. What
//   was pending completes with errc::canceled, later, in run; until then the callable lives, and whatever it has captured.
//   The buffers are free at once.
// - A callable is destroyed right after its last call; it has been moved out of its node before, so it may destroy the object
//   that it belongs to, start the next operation, or destroy the context.
// - The context, when it is destroyed, delivers all that is pending, with errc::canceled. Handle objects may live on; every
//   function gives errc::bad_handle then. Destroyed by a callback of its own it stops, and is destroyed when the
//   run function has returned: objects that the callbacks then refer to must live until then.
// - What is moved from is empty: every function gives errc::bad_handle. Assigning to it makes it whole again.
// - A coroutine that awaits is resumed when its handle or context is destroyed, with errc::canceled. A frame must
//   not be destroyed while it awaits; tasks that were spawned or run own themselves and never are.
//
// Exceptions that leave a callback or a spawned task stop the context and come out of run(): see weir::context. They never
// pass through the C library.
//
// Threads. As in weir.h: any function, any thread, any time, on the same object too, but for moving, assigning and
// destroying the object itself. Several threads may run one context; callables and coroutines of one strand never run at the
// same time. A coroutine may go on on another thread after each co_await.
//
// Cancellation (C++20). A weir::cancellation, or a std::stop_token, given to spawn() ends all that is awaited in the tree of
// tasks below. See weir/operation.hpp, cancel.hpp and combine.hpp.
#ifndef WEIR_HPP
#define WEIR_HPP

#include "weir.h"

#include "weir/acceptor.hpp"
#include "weir/address.hpp"
#include "weir/buffer.hpp"
#include "weir/callback.hpp"
#include "weir/context.hpp"
#include "weir/datagram.hpp"
#include "weir/error.hpp"
#include "weir/job.hpp"
#include "weir/outcome.hpp"
#include "weir/process.hpp"
#include "weir/resolver.hpp"
#include "weir/signals.hpp"
#include "weir/stream.hpp"
#include "weir/time.hpp"
#include "weir/timer.hpp"
#include "weir/watch.hpp"

#if WEIR_HAS_COROUTINES
#include "weir/cancel.hpp"
#include "weir/combine.hpp"
#include "weir/sequence.hpp"
#include "weir/task.hpp"
#endif

#endif
