// What every handle class has.
#ifndef WEIR_HANDLE_HPP
#define WEIR_HANDLE_HPP

#include "callback.hpp"

#include <cstdint>
#include <string>
#include <string_view>

namespace weir {

class context;
class strand;

namespace detail {

inline context_state *state_of(const context &) noexcept;

// A move-only owner of one handle. All const members may be called by any number of threads at once, close() among
// them; moving, assigning and destroying the object may not run at the same time as anything else on it.
template <class Raw>
class handle {
public:
    handle() noexcept = default;
    handle(handle &&from) noexcept
        : state_(std::exchange(from.state_, nullptr)), raw_(std::exchange(from.raw_, nullptr))
    {
    }
    handle &operator=(handle &&from) noexcept
    {
        if (this != &from) {
            drop();
            state_ = std::exchange(from.state_, nullptr);
            raw_ = std::exchange(from.raw_, nullptr);
        }
        return *this;
    }
    ~handle() { drop(); }

    // False when the object is empty: default-made, moved from, or released. All functions give errc::bad_handle then, as
    // they do after close().
    explicit operator bool() const noexcept { return raw_ != nullptr; }

    // The handle, for the C interface.
    Raw *get() const noexcept { return raw_; }

    // For the other parts of this header.
    context_state *shared_state() const noexcept { return state_; }

    // Gives the handle away: to be closed by the caller.
    Raw *release_handle() noexcept
    {
        if (state_ != nullptr)
            std::exchange(state_, nullptr)->drop_reference();
        return std::exchange(raw_, nullptr);
    }

    // Ends the handle, at once; a second time does nothing. What is pending completes with errc::canceled, later, in run.
    void close() const noexcept { weir_handle_close(raw_); }

    // Ends what is pending; the number ended. Does nothing on a closed handle.
    std::size_t cancel() const noexcept
    {
        std::size_t count = 0;
        weir_handle_cancel(raw_, &count);
        return count;
    }

    std::size_t pending() const
    {
        std::size_t count = 0;
        check(weir_handle_pending(raw_, &count));
        return count;
    }

    void set_name(std::string_view name) const { check(weir_handle_set_name(raw_, std::string(name).c_str())); }
    std::string name() const
    {
        char text[256];
        check(weir_handle_name(raw_, text, sizeof text));
        return text;
    }

    void set_tag(std::uint64_t tag) const { check(weir_handle_set_tag(raw_, tag)); }
    std::uint64_t tag() const
    {
        std::uint64_t tag = 0;
        check(weir_handle_tag(raw_, &tag));
        return tag;
    }

    // Sends the callbacks through a strand, or no longer.
    inline void set_strand(const strand &through) const;
    void clear_strand() const { check(weir_handle_set_strand(raw_, nullptr)); }

protected:
    handle(context_state *state, Raw *raw) noexcept : state_(state), raw_(raw)
    {
        if (state_ != nullptr)
            state_->add_reference();
    }

    // What the constructors of the classes share: a C function that makes a handle of a context.
    template <class Create>
    static Raw *made_by(Create create)
    {
        Raw *raw = nullptr;
        check(create(&raw));
        return raw;
    }

    template <class S, class Start, class... F>
    auto initiate(Start start, F &&...callable) const
    {
        return detail::initiate<S>(state_, raw_, std::move(start), std::forward<F>(callable)...);
    }
    template <class S, class Start, class F>
    [[nodiscard]] std::error_code each(Start start, F &&callable) const
    {
        return begin<S, true>(state_, start, std::forward<F>(callable));
    }

private:
    void drop() noexcept
    {
        if (raw_ != nullptr)
            weir_handle_close(raw_);
        if (state_ != nullptr)
            state_->drop_reference();
    }

    context_state *state_ = nullptr;
    Raw *raw_ = nullptr;
};

} // namespace detail
} // namespace weir

#endif
