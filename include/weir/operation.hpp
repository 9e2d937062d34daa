// What a coroutine awaits, and how it is cancelled (C++20).
//
// An operation is lazy: it starts when it is awaited. Its state lives in the awaiter, in the frame of the awaiting
// coroutine, so that nothing is allocated. A frame must not be destroyed while an operation of it is pending;
// weir::spawn() and weir::run() never do so.
#ifndef WEIR_OPERATION_HPP
#define WEIR_OPERATION_HPP

#include "state.hpp"

#include <atomic>
#include <concepts>
#include <coroutine>
#include <mutex>
#include <tuple>
#include <type_traits>
#include <utility>

namespace weir {

class cancellation;

namespace detail {

// Something that a cancellation ends. `on_cancel` is called under the lock of the cancellation, so it outlives the call;
// it must not resume anything.
struct cancel_link {
    void (*on_cancel)(cancel_link *) noexcept = nullptr;
    cancel_link *later = nullptr;
    cancel_link **place = nullptr;
};

} // namespace detail

// Ends a tree of tasks: every operation that is awaited under it, now or later, completes with errc::canceled, in
// every task that was awaited or combined from there. Given to spawn(), run() or with_cancellation(); it must live until
// what was given with it has ended. cancel() may be called from any thread, any number of times; there is no way back.
//
// An operation that is ended takes nothing with it that others have pending on the same handle: a write of the same
// stream goes on, and so do other waits on the same timer.
class cancellation {
public:
    cancellation() noexcept = default;
    cancellation(const cancellation &) = delete;
    cancellation &operator=(const cancellation &) = delete;

    void cancel() noexcept
    {
        // Before the lock: a ring of cancellations that follow each other ends here.
        if (requested_.exchange(true))
            return;
        std::lock_guard<std::mutex> guard(lock_);
        for (detail::cancel_link *at = first_; at != nullptr; at = at->later)
            at->on_cancel(at);
    }

    bool requested() const noexcept { return requested_.load(); }

    // For awaitables. Calls `start` and adds the link if it gives 0, both under the lock, so that a cancel comes
    // either before (then this gives WEIR_ECANCELED) or finds what was started.
    template <class Start>
    int attach(detail::cancel_link &link, Start &&start)
    {
        std::lock_guard<std::mutex> guard(lock_);
        if (requested_.load())
            return WEIR_ECANCELED;
        int code = start();
        if (code == 0) {
            link.later = first_;
            link.place = &first_;
            if (first_ != nullptr)
                first_->place = &link.later;
            first_ = &link;
        }
        return code;
    }
    void detach(detail::cancel_link &link) noexcept
    {
        std::lock_guard<std::mutex> guard(lock_);
        *link.place = link.later;
        if (link.later != nullptr)
            link.later->place = link.place;
    }

private:
    std::mutex lock_;
    std::atomic<bool> requested_{false};
    detail::cancel_link *first_ = nullptr;
};

namespace detail {

// What a task hands on to what it awaits.
struct environment {
    cancellation *scope = nullptr;
    context_state *state = nullptr;
};

// Who is told when something that was started has ended; gives the coroutine to go on with.
struct receiver {
    std::coroutine_handle<> (*done)(receiver *) noexcept = nullptr;
};

struct continuation : receiver {
    std::coroutine_handle<> to;

    void set(std::coroutine_handle<> coroutine) noexcept
    {
        to = coroutine;
        done = [](receiver *self) noexcept { return static_cast<continuation *>(self)->to; };
    }
};

template <class Promise>
environment environment_of(std::coroutine_handle<Promise> coroutine) noexcept
{
    if constexpr (requires { { coroutine.promise().weir_environment } -> std::convertible_to<environment>; })
        return coroutine.promise().weir_environment;
    else
        return {};
}

// What combinators and tasks can start by themselves: `start` gives false when it has ended already (then nobody is
// told), `take` gives the result.
template <class A>
concept startable = requires(A &a, environment env, receiver &to) {
    { a.start(env, to) } -> std::same_as<bool>;
    a.take();
};

template <class A>
using taken_t = decltype(std::declval<A &>().take());

template <class A>
bool has_thrown(const A &of) noexcept
{
    if constexpr (requires { of.threw(); })
        return of.threw();
    else
        return false;
}

// co_await for a startable class.
template <class Derived>
class awaitable {
public:
    bool await_ready() const noexcept { return false; }

    // Not inlined: when `start` has succeeded the coroutine may go on, on another thread, before this returns, and a
    // compiler might keep a variable of an inlined function in the coroutine's frame.
    template <class Promise>
    __attribute__((noinline)) bool await_suspend(std::coroutine_handle<Promise> coroutine)
    {
        resume_.set(coroutine);
        return static_cast<Derived *>(this)->start(environment_of(coroutine), resume_);
    }

    decltype(auto) await_resume() { return static_cast<Derived *>(this)->take(); }

private:
    continuation resume_;
};

inline void set_error(std::error_code &to, int code) noexcept { to = make_error(code); }
template <class R>
    requires requires(R &r) { { r.error } -> std::same_as<std::error_code &>; }
void set_error(R &to, int code) noexcept
{
    to.error = make_error(code);
}

// One operation of the C interface. `Start` is called with the C callback and the user pointer. It gives 0, an error, or
// 1: there is nothing to wait for. Where it makes a handle of its own, its cancel_handle() tells.
template <class S, class Start>
class [[nodiscard]] operation : public awaitable<operation<S, Start>>, private cancel_link {
public:
    using result_type = typename S::result_type;

    operation(context_state *state, void *handle, Start &&start)
        : state_(state), handle_(handle), start_(std::move(start))
    {
    }
    // To be moved before it is started only.
    operation(operation &&) = default;

    context_state *state() const noexcept { return state_; }

    bool start(environment env, receiver &to)
    {
        to_ = &to;
        scope_ = env.scope;
        int code = 0;
        if (scope_ == nullptr) {
            code = call();
        } else {
            cancel_link::on_cancel = [](cancel_link *link) noexcept {
                static_cast<operation *>(link)->end();
            };
            code = scope_->attach(*this, [this] { return call(); });
        }
        // With 0 it may have ended, and gone, by now.
        if (code == 0)
            return true;
        set_error(result_, code < 0 ? code : 0);
        return false;
    }

    result_type take() { return std::move(result_); }
    Start &starter() noexcept { return start_; }

    template <class Make>
    static void complete(void *user, int, Make make) noexcept
    {
        auto *self = static_cast<operation *>(user);
        context_state *state = self->state_;
        self->result_ = std::apply(
            [](auto &&...parts) { return result_type{std::forward<decltype(parts)>(parts)...}; }, make(*state));
        if (self->scope_ != nullptr)
            self->scope_->detach(*self);
        std::coroutine_handle<> next = self->to_->done(self->to_);
        try {
            next.resume();
        } catch (...) {
            // Of a foreign coroutine type only: tasks keep their exceptions.
            state->fail(std::current_exception());
        }
    }

private:
    int call()
    {
        if (state_ == nullptr)
            return WEIR_EBADF;
        typename S::c_callback thunk = &S::template thunk<operation>;
        return start_(thunk, static_cast<void *>(this));
    }

    void end() noexcept
    {
        if constexpr (requires { start_.cancel_handle(); })
            weir_handle_cancel(start_.cancel_handle(), nullptr);
        else
            weir_handle_cancel_operation(handle_, static_cast<void *>(this), nullptr);
    }

    context_state *state_;
    void *handle_;
    cancellation *scope_ = nullptr;
    receiver *to_ = nullptr;
    Start start_;
    result_type result_{};
};

} // namespace detail
} // namespace weir

#endif
