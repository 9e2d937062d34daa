// weir::process: the exit of a child of this process.
#ifndef WEIR_PROCESS_HPP
#define WEIR_PROCESS_HPP

#include "context.hpp"

namespace weir {

class process : public detail::handle<weir_process> {
public:
    process() noexcept = default;
    process(const context &of, ::pid_t child)
        : handle(detail::state_of(of),
                 made_by([&](weir_process **out) { return weir_process_create(of.get(), child, out); }))
    {
    }

    ::pid_t pid() const
    {
        ::pid_t pid = 0;
        check(weir_process_pid(get(), &pid));
        return pid;
    }
    // void(std::error_code, int) with the wait status, or awaitable.
    template <class... F>
    [[nodiscard]] auto wait(F &&...call) const
    {
        return initiate<detail::on_value>(
            [raw = get()](weir_value_callback callback, void *user) { return weir_process_wait(raw, callback, user); },
            std::forward<F>(call)...);
    }
    // What the child has used, once a wait has told of its end.
    ::rusage usage() const
    {
        ::rusage usage{};
        check(weir_process_usage(get(), &usage));
        return usage;
    }
    void kill(int signo) const { check(weir_process_kill(get(), signo)); }
};

} // namespace weir

#endif
