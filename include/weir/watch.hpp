// weir::watch: readiness of an fd that stays the caller's.
#ifndef WEIR_WATCH_HPP
#define WEIR_WATCH_HPP

#include "context.hpp"

namespace weir {

class watch : public detail::handle<weir_watch> {
public:
    watch() noexcept = default;
    // -1: no fd yet.
    explicit watch(const context &of, int fd = -1)
        : handle(detail::state_of(of), made_by([&](weir_watch **out) { return weir_watch_create(of.get(), fd, out); }))
    {
    }

    // The first of WEIR_WATCH_... events: void(std::error_code, int), or awaitable. `flags` is 0 or WEIR_WATCH_EDGE.
    template <class Rep, class Period, class... F>
    [[nodiscard]] auto once(unsigned int events, unsigned int flags, std::chrono::duration<Rep, Period> limit,
                            F &&...call) const
    {
        return initiate<detail::on_value>(
            [raw = get(), events, flags, limit](weir_value_callback callback, void *user) {
                return weir_watch_start(raw, events, flags & ~unsigned{WEIR_WATCH_PERSISTENT}, detail::to_ns(limit),
                                        callback, user);
            },
            std::forward<F>(call)...);
    }
    template <class... F, std::enable_if_t<sizeof...(F) <= 1, int> = 0>
    [[nodiscard]] auto once(unsigned int events, F &&...call) const
    {
        return once(events, 0u, forever, std::forward<F>(call)...);
    }

    // Each, until it is stopped: void(std::error_code, int), at last with errc::canceled. See events() for coroutines.
    template <class Rep, class Period, class F>
    [[nodiscard]] std::error_code start(unsigned int events, unsigned int flags,
                                        std::chrono::duration<Rep, Period> limit, F &&call) const
    {
        return each<detail::on_value>(
            [raw = get(), events, flags, limit](weir_value_callback callback, void *user) {
                return weir_watch_start(raw, events, flags | WEIR_WATCH_PERSISTENT, detail::to_ns(limit), callback, user);
            },
            std::forward<F>(call));
    }
    template <class F>
    [[nodiscard]] std::error_code start(unsigned int events, F &&call) const
    {
        return start(events, 0u, forever, std::forward<F>(call));
    }

    void change(unsigned int events) const { check(weir_watch_change(get(), events)); }
    void stop() const { check(weir_watch_stop(get(), nullptr)); }
    void feed(unsigned int events) const { check(weir_watch_feed(get(), events)); }
    void set_fd(int fd) const { check(weir_watch_set_fd(get(), fd)); }
    int fd() const
    {
        int fd = -1;
        check(weir_watch_fd(get(), &fd));
        return fd;
    }
    template <class Rep, class Period>
    void set_timeout(std::chrono::duration<Rep, Period> limit) const
    {
        check(weir_watch_set_timeout(get(), detail::to_ns(limit)));
    }
};

} // namespace weir

#endif
