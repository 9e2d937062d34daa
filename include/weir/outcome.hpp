// What a function or a task came to: a value, or the exception that left it.
#ifndef WEIR_OUTCOME_HPP
#define WEIR_OUTCOME_HPP

#include "error.hpp"

#include <exception>
#include <optional>
#include <type_traits>
#include <utility>
#include <variant>

namespace weir {

template <class T>
class outcome {
    static constexpr bool is_void = std::is_void_v<T>;
    using stored = std::conditional_t<is_void, std::monostate, T>;

public:
    // False where it ended without either: it was cancelled before it began.
    bool has_value() const noexcept { return value_.has_value(); }
    std::exception_ptr exception() const noexcept { return exception_; }

    // The value, or throws the exception; std::system_error with errc::canceled where there is neither.
    T get() &&
    {
        if (exception_)
            std::rethrow_exception(exception_);
        if (!value_)
            throw std::system_error(errc::canceled);
        if constexpr (!is_void)
            return std::move(*value_);
    }

    template <class F>
    void set_by(F &&function) noexcept
    {
        try {
            if constexpr (is_void) {
                std::forward<F>(function)();
                value_.emplace();
            } else {
                value_.emplace(std::forward<F>(function)());
            }
        } catch (...) {
            exception_ = std::current_exception();
        }
    }
    template <class... V>
    void set_value(V &&...value)
    {
        value_.emplace(std::forward<V>(value)...);
    }
    void set_exception(std::exception_ptr exception) noexcept { exception_ = std::move(exception); }

private:
    std::optional<stored> value_;
    std::exception_ptr exception_;
};

} // namespace weir

#endif
