// From a C callback and its user pointer to a C++ callable, and back. Internal.
//
// The callable lives in a node of the context's pool. When the last completion comes it is moved out, the node is given
// back, and then it is called: so it may destroy the object that it came from, and what it starts next finds the node
// free. An exception that leaves it is kept for the run function.
#ifndef WEIR_CALLBACK_HPP
#define WEIR_CALLBACK_HPP

#include "state.hpp"

#include <cstddef>
#include <tuple>
#include <type_traits>
#include <utility>

namespace weir {
namespace detail {

// One struct for each kind of completion: its C callback type, what an awaiting coroutine gets, and the thunk that turns
// the C arguments into those of the callable. `Sink::complete(user, status, make)` receives them; `make(state)` gives a
// tuple.

// weir_callback: void(std::error_code).
struct on_status {
    using c_callback = weir_callback;
    using result_type = std::error_code;
    template <class F>
    static constexpr bool takes = std::is_invocable_v<F &, std::error_code>;

    template <class Sink>
    static void thunk(int status, void *user) noexcept
    {
        Sink::complete(user, status, [=](context_state &) { return std::tuple(make_error(status)); });
    }
};

// weir_io_callback: void(std::error_code, std::size_t).
struct on_io {
    using c_callback = weir_io_callback;
    using result_type = result<std::size_t>;
    template <class F>
    static constexpr bool takes = std::is_invocable_v<F &, std::error_code, std::size_t>;

    template <class Sink>
    static void thunk(int status, std::size_t bytes, void *user) noexcept
    {
        Sink::complete(user, status, [=](context_state &) { return std::tuple(make_error(status), bytes); });
    }
};

// weir_value_callback: void(std::error_code, int).
struct on_value {
    using c_callback = weir_value_callback;
    using result_type = result<int>;
    template <class F>
    static constexpr bool takes = std::is_invocable_v<F &, std::error_code, int>;

    template <class Sink>
    static void thunk(int status, int value, void *user) noexcept
    {
        Sink::complete(user, status, [=](context_state &) { return std::tuple(make_error(status), value); });
    }
};

// Where a callable waits for its completions: exactly one, or (`Each`) any number with status 0 and at last one error.
template <class S, class F, bool Each>
struct call_node : node {
    template <class From>
    explicit call_node(std::in_place_t, From &&from) : call(std::forward<From>(from))
    {
    }

    template <class Make>
    static void complete(void *user, int status, Make make) noexcept
    {
        auto *self = static_cast<call_node *>(user);
        context_state &state = *self->state;
        try {
            if (Each && status >= 0) {
                std::apply(self->call, make(state));
                return;
            }
            give_back guard{self};
            F last(std::move(self->call));
            guard.now();
            std::apply(last, make(state));
        } catch (...) {
            state.fail(std::current_exception());
        }
    }

    F call;

private:
    struct give_back {
        call_node *self;
        ~give_back() { now(); }
        void now() noexcept
        {
            if (call_node *given = std::exchange(self, nullptr))
                given->state->destroy(given);
        }
    };
};

// Starts an operation that calls back. `start(callback, user)` is the C function. With an error the callable is gone
// and never called.
template <class S, bool Each, class Start, class F>
std::error_code begin(context_state *state, Start &&start, F &&callable)
{
    using stored = std::decay_t<F>;
    static_assert(S::template takes<stored>, "the callable does not take what this operation completes with");
    if (state == nullptr)
        return errc::bad_handle;
    using made_type = call_node<S, stored, Each>;
    auto *made = state->make<made_type>(std::in_place, std::forward<F>(callable));
    typename S::c_callback thunk = &S::template thunk<made_type>;
    int code = start(thunk, static_cast<void *>(made));
    // On success another thread may have completed it already: it is not touched any more.
    if (code != 0)
        state->destroy(made);
    return make_error(code);
}

} // namespace detail
} // namespace weir

#if defined(__cpp_impl_coroutine) && __cplusplus >= 202002L
#define WEIR_HAS_COROUTINES 1
#include "operation.hpp"
#else
#define WEIR_HAS_COROUTINES 0
#endif

namespace weir {
namespace detail {

// What each function that starts an operation ends with: a callable given is called back, and the return value is the
// std::error_code of the start. None given: the return value is an awaitable (C++20).
template <class S, class Start, class... F>
[[nodiscard]] auto initiate(context_state *state, void *handle, Start start, F &&...callable)
{
    static_assert(sizeof...(F) <= 1, "one callable at most");
    if constexpr (sizeof...(F) == 1) {
        (void)handle;
        return begin<S, false>(state, start, std::forward<F>(callable)...);
    } else {
#if WEIR_HAS_COROUTINES
        return operation<S, Start>(state, handle, std::move(start));
#else
        static_assert(sizeof...(F) == 1, "without C++20 coroutines a callable is needed");
#endif
    }
}

} // namespace detail
} // namespace weir

#endif
