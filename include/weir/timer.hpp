// weir::timer.
#ifndef WEIR_TIMER_HPP
#define WEIR_TIMER_HPP

#include "context.hpp"

namespace weir {

class timer : public detail::handle<weir_timer> {
public:
    timer() noexcept = default;
    // Due at once until an expiry is set.
    explicit timer(const context &of)
        : handle(detail::state_of(of), made_by([&](weir_timer **out) { return weir_timer_create(of.get(), out); }))
    {
    }
    template <class Rep, class Period>
    timer(const context &of, std::chrono::duration<Rep, Period> after) : timer(of)
    {
        expires_after(after);
    }

    // Pending waits move to the new expiry.
    template <class Rep, class Period>
    void expires_after(std::chrono::duration<Rep, Period> time) const
    {
        check(weir_timer_expires_after(get(), detail::to_ns(time)));
    }
    template <class Duration>
    void expires_at(std::chrono::time_point<std::chrono::steady_clock, Duration> when) const
    {
        check(weir_timer_expires_at(get(), detail::to_ns(when)));
    }
    time_point expiry() const
    {
        std::int64_t ns = 0;
        check(weir_timer_expiry(get(), &ns));
        return detail::from_ns(ns);
    }
    std::chrono::nanoseconds remaining() const
    {
        std::int64_t ns = 0;
        check(weir_timer_remaining(get(), &ns));
        return std::chrono::nanoseconds(ns);
    }

    // Waits for the expiry: void(std::error_code), or awaitable. Any number of waits may be pending.
    template <class... F>
    [[nodiscard]] auto wait(F &&...call) const
    {
        return initiate<detail::on_status>(
            [raw = get()](weir_callback callback, void *user) { return weir_timer_wait(raw, callback, user); },
            std::forward<F>(call)...);
    }
    // Ends the oldest wait.
    std::size_t cancel_one() const noexcept
    {
        std::size_t count = 0;
        weir_timer_cancel_one(get(), &count);
        return count;
    }

    // Ticks: void(std::error_code) for each, and at last once with errc::canceled. See ticks() for coroutines.
    template <class Rep, class Period, class Rep2, class Period2, class F>
    [[nodiscard]] std::error_code start(std::chrono::duration<Rep, Period> first,
                                        std::chrono::duration<Rep2, Period2> period, F &&call) const
    {
        return each<detail::on_status>(
            [raw = get(), first, period](weir_callback callback, void *user) {
                return weir_timer_start(raw, detail::to_ns(first), detail::to_ns(period), callback, user);
            },
            std::forward<F>(call));
    }
    // Ends the ticks; waits stay.
    void stop() const { check(weir_timer_stop(get(), nullptr)); }
};

} // namespace weir

#endif
