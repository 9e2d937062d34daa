// weir::context, the event loop; weir::strand, in which callbacks never overlap; weir::hook, called once a turn.
#ifndef WEIR_CONTEXT_HPP
#define WEIR_CONTEXT_HPP

#include "handle.hpp"
#include "time.hpp"

#include <cstdint>
#include <vector>

namespace weir {

// The defaults, to be changed and given to the constructor.
struct context_options : ::weir_context_options {
    context_options() noexcept : ::weir_context_options{} { struct_size = sizeof(::weir_context_options); }
};

// An event loop. Its functions may be called from any thread; the object itself is moved, assigned and destroyed by one.
//
// Exceptions. One that leaves a callback (or a spawned task) stops the context, and comes out of a C++ run function of
// it: of the one whose thread returns first. While one waits to come out others are dropped. To go on, call restart() and
// run again. An exception that leaves a callback inside the destructor has nobody to go to and is dropped; destroy() throws
// it.
//
// Destruction delivers every completion that is still owed, with errc::canceled, and closes every handle; handle objects
// that live on give errc::bad_handle. A callback may destroy the context it runs in: the context stops, and the
// destruction takes place when the run function (the last one, where several threads run) has returned.
class context {
public:
    context() : context(context_options()) {}
    explicit context(const ::weir_context_options &options)
    {
        weir_context *raw = nullptr;
        check(weir_context_create(&options, &raw));
        try {
            state_ = new detail::context_state(raw);
        } catch (...) {
            weir_context_destroy(raw);
            throw;
        }
    }
    context(context &&from) noexcept : state_(std::exchange(from.state_, nullptr)) {}
    context &operator=(context &&from) noexcept
    {
        if (this != &from) {
            end();
            state_ = std::exchange(from.state_, nullptr);
        }
        return *this;
    }
    ~context() { end(); }

    explicit operator bool() const noexcept { return state_ != nullptr; }
    weir_context *get() const noexcept { return state_ != nullptr ? state_->raw() : nullptr; }

    // What the destructor does, and throws an exception that left a callback meanwhile. Inside a run function of this context:
    // errc::busy.
    void destroy()
    {
        if (state_ == nullptr)
            return;
        check(weir_context_destroy(state_->raw()));
        std::exception_ptr failure = state_->take_failure();
        end();
        if (failure)
            std::rethrow_exception(failure);
    }

    // ---- run functions; each gives the number of callbacks run, and throws what has left one

    std::size_t run() const { return run_by(weir_context_run); }
    std::size_t run_one() const { return run_by(weir_context_run_one); }
    std::size_t poll() const { return run_by(weir_context_poll); }
    std::size_t poll_one() const { return run_by(weir_context_poll_one); }
    template <class Rep, class Period>
    std::size_t run_for(std::chrono::duration<Rep, Period> time) const
    {
        return run_by([=](weir_context *raw, std::size_t *n) { return weir_context_run_for(raw, detail::to_ns(time), n); });
    }
    // By the real clock, also where the context's is manual.
    template <class Duration>
    std::size_t run_until(std::chrono::time_point<std::chrono::steady_clock, Duration> when) const
    {
        return run_by(
            [=](weir_context *raw, std::size_t *n) { return weir_context_run_until(raw, detail::to_ns(when), n); });
    }
    template <class Rep, class Period>
    std::size_t wait_one(std::chrono::duration<Rep, Period> time) const
    {
        return run_by([=](weir_context *raw, std::size_t *n) { return weir_context_wait_one(raw, detail::to_ns(time), n); });
    }
    // Completion records, of operations that the C interface began; the number of records.
    template <class Rep, class Period>
    std::size_t reap(weir_record *records, std::size_t capacity, std::chrono::duration<Rep, Period> time) const
    {
        return run_by([=](weir_context *raw, std::size_t *n) {
            return weir_context_reap(raw, records, capacity, detail::to_ns(time), n);
        });
    }
    template <class Rep, class Period>
    std::size_t enter(weir_submission *submissions, std::size_t submitted, weir_record *records, std::size_t capacity,
                      std::chrono::duration<Rep, Period> time) const
    {
        return run_by([=](weir_context *raw, std::size_t *n) {
            return weir_context_enter(raw, submissions, submitted, records, capacity, detail::to_ns(time), n);
        });
    }

    void stop() const noexcept { weir_context_stop(get()); }
    bool stopped() const { return yes(weir_context_stopped(get())); }
    void restart() const { check(weir_context_restart(get())); }
    bool running_in_this_thread() const { return yes(weir_context_running_in_this_thread(get())); }

    // ---- functions to be called: void(std::error_code); without one the result is awaitable, and the coroutine goes on
    // where the function would have been called

    template <class... F>
    [[nodiscard]] auto post(F &&...call) const
    {
        return start<weir_context_post>(std::forward<F>(call)...);
    }
    // At once when the thread is inside run of this context, else as post().
    template <class... F>
    [[nodiscard]] auto dispatch(F &&...call) const
    {
        if constexpr (sizeof...(F) > 0)
            return start<weir_context_dispatch>(std::forward<F>(call)...);
        else
            return detail::initiate<detail::on_status>(state_, nullptr, [raw = get()](weir_callback callback, void *user) {
                int inside = weir_context_running_in_this_thread(raw);
                return inside != 0 ? inside : weir_context_post(raw, callback, user);
            });
    }
    // At the end of this turn.
    template <class... F>
    [[nodiscard]] auto defer(F &&...call) const
    {
        return start<weir_context_defer>(std::forward<F>(call)...);
    }

    // ---- the rest of what a context can do

    void work_begin() const { check(weir_context_work_begin(get())); }
    void work_end() const { check(weir_context_work_end(get())); }

    // Readable when the context has something to do; poll() then.
    int fd() const
    {
        int fd = -1;
        check(weir_context_fd(get(), &fd));
        return fd;
    }

    time_point now() const
    {
        std::int64_t ns = 0;
        check(weir_context_now(get(), &ns));
        return detail::from_ns(ns);
    }
    // As it was when somebody first asked in this turn.
    time_point turn_now() const
    {
        std::int64_t ns = 0;
        check(weir_context_turn_now(get(), &ns));
        return detail::from_ns(ns);
    }
    // Moves the manual clock.
    template <class Rep, class Period>
    void advance(std::chrono::duration<Rep, Period> by) const
    {
        check(weir_context_advance(get(), detail::to_ns(by)));
    }

    std::size_t cancel_tag(std::uint64_t tag) const
    {
        std::size_t count = 0;
        check(weir_context_cancel_tag(get(), tag, &count));
        return count;
    }

    void notify_fork(int event) const { check(weir_context_notify_fork(get(), event)); }

    ::weir_stats stats() const
    {
        ::weir_stats stats{};
        stats.struct_size = sizeof stats;
        check(weir_context_stats(get(), &stats));
        return stats;
    }

    // A line for each handle that is open, oldest first.
    std::vector<::weir_report_line> report() const
    {
        std::vector<::weir_report_line> lines;
        std::size_t open = 0;
        check(weir_context_report(get(), nullptr, 0, &open));
        while (open > lines.size()) {
            lines.resize(open);
            check(weir_context_report(get(), lines.data(), lines.size(), &open));
        }
        lines.resize(open);
        return lines;
    }

    // The pool of multi-shot reads, for records.
    void pool(const void *&base, std::size_t &slot_size, std::size_t &slots) const
    {
        check(weir_context_pool(get(), &base, &slot_size, &slots));
    }
    void pool_release(std::uint64_t offset) const { check(weir_context_pool_release(get(), offset)); }
    void pool_sender(std::uint64_t offset, ::sockaddr_storage *from, ::socklen_t *length) const
    {
        check(weir_context_pool_sender(get(), offset, from, length));
    }

private:
    friend detail::context_state *detail::state_of(const context &) noexcept;

    static bool yes(int answer)
    {
        if (answer < 0)
            check(answer);
        return answer != 0;
    }

    void end() noexcept
    {
        if (state_ == nullptr)
            return;
        state_->try_end();
        std::exchange(state_, nullptr)->drop_user();
    }

    template <class Call>
    std::size_t run_by(Call call) const
    {
        if (state_ == nullptr)
            check(WEIR_EBADF);
        detail::context_state *state = state_;
        std::size_t count = 0;
        // A callback may destroy this object, so nothing of it is used after the call.
        state->add_reference();
        state->add_user();
        int code = call(state->raw(), &count);
        state->drop_user();
        std::exception_ptr failure = state->take_failure();
        state->drop_reference();
        if (failure)
            std::rethrow_exception(failure);
        check(code);
        return count;
    }

    template <int (*Function)(weir_context *, weir_callback, void *), class... F>
    auto start(F &&...call) const
    {
        return detail::initiate<detail::on_status>(
            state_, nullptr,
            [raw = get()](weir_callback callback, void *user) { return Function(raw, callback, user); },
            std::forward<F>(call)...);
    }

    detail::context_state *state_ = nullptr;
};

namespace detail {
inline context_state *state_of(const context &of) noexcept { return of.state_; }
} // namespace detail

// Keeps run() from returning for want of work while it lives.
class work_guard {
public:
    explicit work_guard(const context &of) : state_(detail::state_of(of))
    {
        of.work_begin();
        state_->add_reference();
    }
    work_guard(work_guard &&from) noexcept : state_(std::exchange(from.state_, nullptr)) {}
    work_guard &operator=(work_guard &&from) noexcept
    {
        if (this != &from) {
            reset();
            state_ = std::exchange(from.state_, nullptr);
        }
        return *this;
    }
    ~work_guard() { reset(); }

    void reset() noexcept
    {
        if (state_ != nullptr) {
            weir_context_work_end(state_->raw());
            std::exchange(state_, nullptr)->drop_reference();
        }
    }

private:
    detail::context_state *state_;
};

// Callbacks that go through a strand never run at the same time. A coroutine that has awaited post() or dispatch() of
// a strand runs in it until it awaits something else; where that is bound to the strand (set_strand) it goes on
// in it.
class strand : public detail::handle<weir_strand> {
public:
    strand() noexcept = default;
    explicit strand(const context &of)
        : handle(detail::state_of(of), made_by([&](weir_strand **out) { return weir_strand_create(of.get(), out); }))
    {
    }

    // void(std::error_code), or awaitable.
    template <class... F>
    [[nodiscard]] auto post(F &&...call) const
    {
        return initiate<detail::on_status>(
            [raw = get()](weir_callback callback, void *user) { return weir_strand_post(raw, callback, user); },
            std::forward<F>(call)...);
    }
    template <class... F>
    [[nodiscard]] auto dispatch(F &&...call) const
    {
        return initiate<detail::on_status>(
            [raw = get()](weir_callback callback, void *user) {
                if constexpr (sizeof...(F) > 0) {
                    return weir_strand_dispatch(raw, callback, user);
                } else {
                    int inside = weir_strand_running_in_this_thread(raw);
                    return inside != 0 ? inside : weir_strand_post(raw, callback, user);
                }
            },
            std::forward<F>(call)...);
    }

    bool running_in_this_thread() const
    {
        int answer = weir_strand_running_in_this_thread(get());
        if (answer < 0)
            check(answer);
        return answer != 0;
    }
};

template <class Raw>
void detail::handle<Raw>::set_strand(const strand &through) const
{
    check(weir_handle_set_strand(raw_, through.get()));
}

// Has a function called in each turn: WEIR_HOOK_PREPARE, _CHECK or _IDLE.
class hook : public detail::handle<weir_hook> {
public:
    hook() noexcept = default;
    hook(const context &of, int when)
        : handle(detail::state_of(of), made_by([&](weir_hook **out) { return weir_hook_create(of.get(), when, out); }))
    {
    }

    // void(std::error_code): in each turn with none, and at last with errc::canceled. See turns() for coroutines.
    template <class F>
    [[nodiscard]] std::error_code start(F &&call) const
    {
        return each<detail::on_status>(
            [raw = get()](weir_callback callback, void *user) { return weir_hook_start(raw, callback, user); },
            std::forward<F>(call));
    }
    void stop() const { check(weir_hook_stop(get(), nullptr)); }
};

} // namespace weir

#endif
