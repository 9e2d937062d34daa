// weir::signals: a set of POSIX signals.
#ifndef WEIR_SIGNALS_HPP
#define WEIR_SIGNALS_HPP

#include "context.hpp"

#include <initializer_list>

namespace weir {

class signals : public detail::handle<weir_signals> {
public:
    signals() noexcept = default;
    explicit signals(const context &of)
        : handle(detail::state_of(of), made_by([&](weir_signals **out) { return weir_signals_create(of.get(), out); }))
    {
    }
    signals(const context &of, std::initializer_list<int> numbers) : signals(of)
    {
        for (int one : numbers)
            add(one);
    }

    // WEIR_SIGNALS_...
    void add(int signo, std::uint32_t flags = 0) const { check(weir_signals_add(get(), signo, flags)); }
    void remove(int signo) const { check(weir_signals_remove(get(), signo)); }
    void clear() const { check(weir_signals_clear(get())); }

    // One delivery: void(std::error_code, int), or awaitable. Those that arrive between waits are kept.
    template <class... F>
    [[nodiscard]] auto wait(F &&...call) const
    {
        return initiate<detail::on_value>(
            [raw = get()](weir_value_callback callback, void *user) { return weir_signals_wait(raw, callback, user); },
            std::forward<F>(call)...);
    }

    // Deliveries that no wait has taken.
    std::size_t arrived() const
    {
        std::size_t count = 0;
        check(weir_signals_arrived(get(), &count));
        return count;
    }
};

} // namespace weir

#endif
