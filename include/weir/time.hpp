// std::chrono durations and time points as the C interface's nanoseconds.
#ifndef WEIR_TIME_HPP
#define WEIR_TIME_HPP

#include "../weir.h"

#include <chrono>
#include <cstdint>
#include <ratio>
#include <type_traits>

namespace weir {

// A context's time is that of CLOCK_MONOTONIC, which std::chrono::steady_clock reads on Linux. With a manual clock
// it counts from 0.
using time_point = std::chrono::time_point<std::chrono::steady_clock, std::chrono::nanoseconds>;

// "Never", or "no limit": for every duration in this header.
constexpr std::chrono::nanoseconds forever{WEIR_FOREVER};

namespace detail {

// Saturates: what is too long is WEIR_FOREVER. Fractions are rounded up, so that nothing is early.
template <class Rep, class Period>
constexpr std::int64_t to_ns(std::chrono::duration<Rep, Period> time) noexcept
{
    using ratio = std::ratio_divide<Period, std::nano>;
    if constexpr (std::is_integral_v<Rep> && ratio::den == 1) {
        std::int64_t ns = 0;
        if (__builtin_mul_overflow(time.count(), static_cast<std::int64_t>(ratio::num), &ns))
            return time.count() < 0 ? INT64_MIN : WEIR_FOREVER;
        return ns;
    } else {
        auto exact = std::chrono::duration<long double, std::nano>(time).count();
        if (!(exact < 9.2e18L))
            return WEIR_FOREVER;
        if (exact <= -9.2e18L)
            return INT64_MIN;
        auto ns = static_cast<std::int64_t>(exact);
        return static_cast<long double>(ns) < exact ? ns + 1 : ns;
    }
}

template <class Duration>
constexpr std::int64_t to_ns(std::chrono::time_point<std::chrono::steady_clock, Duration> when) noexcept
{
    return to_ns(when.time_since_epoch());
}

constexpr time_point from_ns(std::int64_t ns) noexcept
{
    return time_point(std::chrono::nanoseconds(ns));
}

} // namespace detail
} // namespace weir

#endif
