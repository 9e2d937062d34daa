// weir::task, and how one is started: spawn() and run() (C++20).
#ifndef WEIR_TASK_HPP
#define WEIR_TASK_HPP

#include "cancel.hpp"
#include "context.hpp"
#include "outcome.hpp"
#include "timer.hpp"

#include <atomic>
#include <memory>
#include <stop_token>

namespace weir {

template <class T = void>
class task;

namespace detail {

// What the promises of all tasks have.
struct promise_base {
    // Where a combinator starts a task, its end may come inside the start. Then nobody is told, so that a loop that
    // awaits such tasks takes no stack: the starter sees it.
    enum class phase : unsigned char { told, starting, ended };

    environment weir_environment;
    receiver *to = nullptr; // nobody: the task is its own owner
    std::exception_ptr exception;
    std::atomic<phase> at{phase::told};

    std::suspend_always initial_suspend() const noexcept { return {}; }

    struct final_awaiter {
        bool await_ready() const noexcept { return false; }
        template <class Promise>
        std::coroutine_handle<> await_suspend(std::coroutine_handle<Promise> ended) const noexcept
        {
            promise_base &promise = ended.promise();
            if (promise.to != nullptr) {
                if (promise.at.load(std::memory_order_relaxed) != phase::told &&
                    promise.at.exchange(phase::ended, std::memory_order_acq_rel) == phase::starting)
                    return std::noop_coroutine();
                return promise.to->done(promise.to);
            }
            context_state *state = promise.weir_environment.state;
            std::exception_ptr failure = std::move(promise.exception);
            ended.destroy();
            if (failure)
                state->fail(std::move(failure));
            state->drop_reference();
            return std::noop_coroutine();
        }
        void await_resume() const noexcept {}
    };
    final_awaiter final_suspend() const noexcept { return {}; }

    void unhandled_exception() noexcept { exception = std::current_exception(); }
};

template <class T>
struct promise : promise_base {
    std::optional<T> value;

    task<T> get_return_object() noexcept;
    template <class V = T>
        requires std::is_constructible_v<T, V &&>
    void return_value(V &&from)
    {
        value.emplace(std::forward<V>(from));
    }
    T take()
    {
        if (exception)
            std::rethrow_exception(exception);
        return std::move(*value);
    }
};

template <>
struct promise<void> : promise_base {
    task<void> get_return_object() noexcept;
    void return_void() const noexcept {}
    void take()
    {
        if (exception)
            std::rethrow_exception(exception);
    }
};

} // namespace detail

// A coroutine that gives a T. It is lazy: it begins when it is awaited (`co_await f()`, or `co_await std::move(task)`),
// combined (when_all() and its like), spawned or run. Awaiting it costs no allocation beyond its frame, and neither the stack
// nor the run queue: control passes from one to the other and back. What leaves it as an exception comes out of the
// co_await. A task that was never begun is just dropped.
//
// A task runs where what it awaits completes: on a thread inside run of the context. What it was awaited with, the
// cancellation and the context, goes on to what it awaits.
template <class T>
class [[nodiscard]] task {
public:
    using promise_type = detail::promise<T>;

    task() noexcept = default;
    task(task &&from) noexcept : coroutine_(std::exchange(from.coroutine_, nullptr)) {}
    task &operator=(task &&from) noexcept
    {
        if (this != &from) {
            drop();
            coroutine_ = std::exchange(from.coroutine_, nullptr);
        }
        return *this;
    }
    ~task() { drop(); }

    explicit operator bool() const noexcept { return coroutine_ != nullptr; }

    // For the combinators.
    bool start(detail::environment env, detail::receiver &to)
    {
        using phase = detail::promise_base::phase;
        promise_type &promise = coroutine_.promise();
        promise.weir_environment = env;
        promise.to = &to;
        promise.at.store(phase::starting, std::memory_order_relaxed);
        coroutine_.resume();
        return promise.at.exchange(phase::told, std::memory_order_acq_rel) != phase::ended;
    }
    T take() { return coroutine_.promise().take(); }
    bool threw() const noexcept { return coroutine_.promise().exception != nullptr; }

    auto operator co_await() && noexcept { return awaiter{{}, coroutine_}; }

private:
    template <class U>
    friend void spawn(const context &, task<U>, cancellation *);
    friend detail::promise<T>;

    struct awaiter {
        detail::continuation resume;
        std::coroutine_handle<promise_type> coroutine;

        bool await_ready() const noexcept { return false; }
        template <class Promise>
        std::coroutine_handle<> await_suspend(std::coroutine_handle<Promise> awaiting) noexcept
        {
            resume.set(awaiting);
            coroutine.promise().weir_environment = detail::environment_of(awaiting);
            coroutine.promise().to = &resume;
            return coroutine;
        }
        T await_resume() { return coroutine.promise().take(); }
    };

    explicit task(std::coroutine_handle<promise_type> coroutine) noexcept : coroutine_(coroutine) {}

    void drop() noexcept
    {
        if (coroutine_)
            coroutine_.destroy();
    }

    std::coroutine_handle<promise_type> coroutine_;
};

template <class T>
task<T> detail::promise<T>::get_return_object() noexcept
{
    return task<T>(std::coroutine_handle<promise<T>>::from_promise(*this));
}
inline task<void> detail::promise<void>::get_return_object() noexcept
{
    return task<void>(std::coroutine_handle<promise<void>>::from_promise(*this));
}

// ---- what a task can ask of itself

namespace detail {

template <class Get>
struct ask {
    environment env;
    bool await_ready() const noexcept { return false; }
    template <class Promise>
    bool await_suspend(std::coroutine_handle<Promise> asking) noexcept
    {
        env = environment_of(asking);
        return false;
    }
    auto await_resume() const noexcept { return Get{}(env); }
};

struct ask_cancelled {
    bool operator()(environment env) const noexcept { return env.scope != nullptr && env.scope->requested(); }
};

} // namespace detail

// `co_await is_cancelled()`: for loops that await nothing.
inline auto is_cancelled() noexcept { return detail::ask<detail::ask_cancelled>{}; }

// ---- sleeping

namespace detail {

// A timer of its own, which lives while the operation is pending.
struct sleep_starter {
    context_state *state;
    std::int64_t ns;
    weir_timer *timer = nullptr;

    sleep_starter(context_state *of, std::int64_t time) noexcept : state(of), ns(time < 0 ? 0 : time) {}
    // Before it is started only.
    sleep_starter(sleep_starter &&from) noexcept : state(from.state), ns(from.ns) {}
    ~sleep_starter()
    {
        if (timer != nullptr)
            weir_timer_close(timer);
    }

    weir_timer *cancel_handle() const noexcept { return timer; }
    int operator()(weir_callback callback, void *user)
    {
        int code = weir_timer_create(state->raw(), &timer);
        if (code == 0)
            code = weir_timer_expires_after(timer, ns);
        if (code == 0)
            code = weir_timer_wait(timer, callback, user);
        return code;
    }
};

} // namespace detail

// `co_await sleep_for(context, 1s)`: gives a std::error_code.
template <class Rep, class Period>
[[nodiscard]] auto sleep_for(const context &of, std::chrono::duration<Rep, Period> time)
{
    detail::context_state *state = detail::state_of(of);
    return detail::operation<detail::on_status, detail::sleep_starter>(
        state, nullptr, detail::sleep_starter(state, detail::to_ns(time)));
}

// ---- starting

// Starts a task on a context, from any thread: it begins in run, and owns itself. An exception that leaves it stops the context
// and comes out of run, as one that leaves a callback does. The cancellation, if there is one, lives until the task has
// ended. Throws where the context can't take it; then the task is dropped. A task that has not begun when the
// context is destroyed is dropped too.
template <class T>
void spawn(const context &on, task<T> begun, cancellation *scope)
{
    detail::context_state *state = detail::state_of(on);
    if (state == nullptr || !begun)
        throw std::system_error(state == nullptr ? errc::bad_handle : errc::invalid);
    auto &promise = begun.coroutine_.promise();
    promise.weir_environment = {scope, state};
    state->add_reference();
    weir_callback first = [](int status, void *address) noexcept {
        auto coroutine = std::coroutine_handle<detail::promise<T>>::from_address(address);
        if (status == 0) {
            coroutine.resume();
            return;
        }
        detail::context_state *of = coroutine.promise().weir_environment.state;
        coroutine.destroy();
        of->drop_reference();
    };
    int code = weir_context_post(on.get(), first, begun.coroutine_.address());
    if (code != 0) {
        state->drop_reference();
        check(code);
    }
    begun.coroutine_ = nullptr;
}
template <class T>
void spawn(const context &on, task<T> begun)
{
    spawn(on, std::move(begun), nullptr);
}
template <class T>
void spawn(const context &on, task<T> begun, cancellation &scope)
{
    spawn(on, std::move(begun), &scope);
}

namespace detail {

template <class F>
task<void> call_and_await(F function)
{
    co_await function();
}

} // namespace detail

// The same for a callable that gives a task, such as a coroutine lambda, which is kept until the task has ended: what
// it captured is safe to use. (A lambda that is called and spawned, `spawn(context, lambda())`, is gone too early.)
template <class F>
    requires requires(F &f, detail::environment env, detail::receiver &to) { f().start(env, to); }
void spawn(const context &on, F function)
{
    spawn(on, detail::call_and_await(std::move(function)), nullptr);
}
template <class F>
    requires requires(F &f, detail::environment env, detail::receiver &to) { f().start(env, to); }
void spawn(const context &on, F function, cancellation &scope)
{
    spawn(on, detail::call_and_await(std::move(function)), &scope);
}

namespace detail {

struct cancel_on_stop {
    cancellation &scope;
    void operator()() const noexcept { scope.cancel(); }
};

} // namespace detail

namespace detail {

template <class T>
task<T> under_stop_token(task<T> inner, std::stop_token token)
{
    cancellation scope;
    std::stop_callback<cancel_on_stop> on_stop(std::move(token), cancel_on_stop{scope});
    co_return co_await with_cancellation<task<T>>(scope, std::move(inner));
}

} // namespace detail

// The same, cancelled by a std::stop_token. One more frame.
template <class T>
void spawn(const context &on, task<T> begun, std::stop_token token)
{
    spawn(on, detail::under_stop_token(std::move(begun), std::move(token)));
}

namespace detail {

template <class T>
task<void> run_body(task<T> inner, outcome<T> &result, std::atomic<bool> &ended)
{
    try {
        if constexpr (std::is_void_v<T>) {
            co_await std::move(inner);
            result.set_value();
        } else {
            result.set_value(co_await std::move(inner));
        }
    } catch (...) {
        result.set_exception(std::current_exception());
    }
    ended.store(true, std::memory_order_release);
}

} // namespace detail

// Spawns a task and runs the context until it has ended; gives its value or throws its exception. An exception that leaves
// another callback or task cancels it, and is thrown when it has ended. For a context that no other thread runs.
// Throws std::system_error with errc::invalid where the context runs out of work and the task has not ended: it waits for
// something that is not of this context. It then stays suspended until then.
template <class T>
T run(const context &on, task<T> begun)
{
    struct shared {
        outcome<T> result;
        std::atomic<bool> ended{false};
        cancellation scope;
    };
    // Outlives a task that is left behind.
    auto common = std::make_shared<shared>();
    std::exception_ptr other;
    on.restart();
    spawn(on, [](task<T> inner, std::shared_ptr<shared> keep) -> task<void> {
        co_await with_cancellation<task<void>>(keep->scope,
                                               detail::run_body(std::move(inner), keep->result, keep->ended));
    }(std::move(begun), common));
    while (!common->ended.load(std::memory_order_acquire)) {
        std::size_t calls = 1;
        try {
            calls = on.run_one();
        } catch (...) {
            if (!other)
                other = std::current_exception();
            common->scope.cancel();
            on.restart();
        }
        if (calls == 0 && !common->ended.load(std::memory_order_acquire))
            throw std::system_error(errc::invalid, "weir::run: nothing is left that could resume the task");
    }
    if (other)
        std::rethrow_exception(other);
    return std::move(common->result).get();
}

} // namespace weir

#endif
