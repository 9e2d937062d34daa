// Functions that may block, on the library's threads.
#ifndef WEIR_JOB_HPP
#define WEIR_JOB_HPP

#include "context.hpp"
#include "outcome.hpp"

namespace weir {
namespace detail {

// The function, its outcome and the callback of one job.
template <class Function, class F>
struct job_node : node {
    using value_type = std::invoke_result_t<Function &>;

    template <class A, class B>
    job_node(A &&f, B &&c) : function(std::forward<A>(f)), call(std::forward<B>(c))
    {
    }

    static int run(void *argument) noexcept
    {
        auto *self = static_cast<job_node *>(argument);
        self->result.set_by(self->function);
        return 0;
    }
    static void complete(int status, int, void *user) noexcept
    {
        auto *self = static_cast<job_node *>(user);
        context_state &state = *self->state;
        try {
            give_back guard{self};
            F last(std::move(self->call));
            outcome<value_type> result(std::move(self->result));
            guard.now();
            last(make_error(status), std::move(result));
        } catch (...) {
            state.fail(std::current_exception());
        }
    }

    Function function;
    F call;
    outcome<value_type> result;

private:
    struct give_back {
        job_node *self;
        ~give_back() { now(); }
        void now() noexcept
        {
            if (job_node *given = std::exchange(self, nullptr))
                given->state->destroy(given);
        }
    };
};

template <class Function, class F>
std::error_code begin_job(const context &of, weir_job **out, Function &&function, F &&call)
{
    using made_type = job_node<std::decay_t<Function>, std::decay_t<F>>;
    static_assert(
        std::is_invocable_v<std::decay_t<F> &, std::error_code, outcome<typename made_type::value_type>>,
        "the callable does not take a std::error_code and the outcome of the function");
    context_state *state = state_of(of);
    if (state == nullptr)
        return errc::bad_handle;
    auto *made = state->template make<made_type>(std::forward<Function>(function), std::forward<F>(call));
    int code = weir_job_start(of.get(), &made_type::run, made, out, &made_type::complete, made);
    if (code != 0)
        state->destroy(made);
    return make_error(code);
}

} // namespace detail

// Calls `function` on a thread of the library's, and then `call` in run: void(std::error_code, weir::outcome<R>), R being
// what the function returns. An exception that leaves the function is thrown by the outcome's get(), and if it is not
// caught there comes out of run.
template <class Function, class F>
[[nodiscard]] std::error_code start_job(const context &of, Function &&function, F &&call)
{
    return detail::begin_job(of, nullptr, std::forward<Function>(function), std::forward<F>(call));
}

// The same with a handle, by which it is cancelled while it waits for a thread (also by the end of this object).
class job : public detail::handle<weir_job> {
public:
    job() noexcept = default;
    // Throws what is wrong with the start.
    template <class Function, class F>
    job(const context &of, Function &&function, F &&call)
        : handle(detail::state_of(of), made_by([&](weir_job **out) {
                     return detail::begin_job(of, out, std::forward<Function>(function), std::forward<F>(call)).value();
                 }))
    {
    }

    // Threads of the process that may run jobs at once.
    static void set_limit(std::uint32_t threads) { check(weir_job_set_limit(threads)); }
};

#if WEIR_HAS_COROUTINES

namespace detail {

template <class Function>
class [[nodiscard]] job_operation : public awaitable<job_operation<Function>> {
    using value_type = std::invoke_result_t<Function &>;

    // What runs on the other thread, and the handle that a cancel is for.
    struct starter {
        weir_context *context;
        Function function;
        outcome<value_type> result{};
        weir_job *handle = nullptr;

        template <class F>
        starter(weir_context *of, F &&f) : context(of), function(std::forward<F>(f))
        {
        }
        // Before it is started only.
        starter(starter &&from) : context(from.context), function(std::move(from.function)) {}
        ~starter()
        {
            if (handle != nullptr)
                weir_job_close(handle);
        }

        weir_job *cancel_handle() const noexcept { return handle; }
        int operator()(weir_value_callback callback, void *user)
        {
            // The handle is written before the callback can run.
            return weir_job_start(context, &starter::run, this, &handle, callback, user);
        }
        static int run(void *argument) noexcept
        {
            auto *self = static_cast<starter *>(argument);
            self->result.set_by(self->function);
            return 0;
        }
    };

public:
    template <class F>
    job_operation(const context &of, F &&f) : inner_(state_of(of), nullptr, starter(of.get(), std::forward<F>(f)))
    {
    }

    context_state *state() const noexcept { return inner_.state(); }
    bool start(environment env, receiver &to) { return inner_.start(env, to); }
    value_type take()
    {
        check(inner_.take().error);
        return std::move(inner_.starter().result).get();
    }

private:
    operation<on_value, starter> inner_;
};

} // namespace detail

// `co_await run_job(context, function)`: the function runs on a thread of the library's. Gives what it returns and throws
// what it throws; std::system_error with errc::canceled if it was cancelled before it began. One that has begun is
// not interrupted.
// With gcc 12, name a lambda that captures more than plain data before the co_await expression: written inside one it is
// destroyed twice (a fault of that compiler).
template <class Function>
auto run_job(const context &of, Function &&function)
{
    return detail::job_operation<std::decay_t<Function>>(of, std::forward<Function>(function));
}

#endif

} // namespace weir

#endif
