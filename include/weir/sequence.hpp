// What happens again and again, for coroutines: ticks(), turns(), events() and water_marks() (C++20).
//
//     auto every = ticks(timer, 1s, 1s);
//     while (auto tick = co_await every.next()) ...
//
// What happens while nobody awaits is gathered for the next next(). The end of the sequence object ends the operation. One
// coroutine at a time may await next().
#ifndef WEIR_SEQUENCE_HPP
#define WEIR_SEQUENCE_HPP

#include "cancel.hpp"
#include "stream.hpp"
#include "timer.hpp"
#include "watch.hpp"

namespace weir {
namespace detail {

// S: the kind of completion. Gather: its `type`, and how one more is added to it.
template <class S, class Gather, class Stop>
class [[nodiscard]] sequence {
    using value_type = typename Gather::type;

    // Shared by the object and the operation; the last to go frees it.
    struct common : node {
        std::mutex lock;
        receiver *waiter = nullptr;
        value_type gathered{};
        bool any = false;
        int end = 0;
        int owners = 2;

        template <class Make>
        static void complete(void *user, int status, Make make) noexcept
        {
            auto *self = static_cast<common *>(user);
            context_state &state = *self->state;
            receiver *told = nullptr;
            bool last = false;
            {
                std::lock_guard<std::mutex> guard(self->lock);
                if (status < 0) {
                    self->end = status;
                    last = --self->owners == 0;
                } else {
                    std::apply([self](std::error_code, auto... value) { Gather::add(self->gathered, value...); },
                               make(state));
                    self->any = true;
                }
                told = std::exchange(self->waiter, nullptr);
            }
            if (last)
                state.destroy(self);
            if (told == nullptr)
                return;
            try {
                told->done(told).resume();
            } catch (...) {
                state.fail(std::current_exception());
            }
        }
    };

    class [[nodiscard]] next_operation : public awaitable<next_operation>, private cancel_link {
    public:
        explicit next_operation(const sequence *from) noexcept : from_(from) {}

        bool start(environment env, receiver &to)
        {
            relay_.self = this;
            relay_.to = &to;
            relay_.done = [](receiver *at) noexcept {
                auto *self = static_cast<relay *>(at)->self;
                if (self->scope_ != nullptr)
                    self->scope_->detach(*self);
                receiver *told = self->relay_.to;
                return told->done(told);
            };
            scope_ = env.scope;
            cancel_link::on_cancel = [](cancel_link *link) noexcept {
                // Its last completion resumes.
                auto *of = static_cast<next_operation *>(link)->from_;
                of->stop_();
            };
            int code = scope_ == nullptr ? wait() : scope_->attach(*this, [this] { return wait(); });
            if (code == 0)
                return true;
            if (code < 0)
                failed_ = code;
            return false;
        }
        result<value_type> take()
        {
            if (failed_ != 0)
                return {make_error(failed_), {}};
            common *at = from_->common_;
            std::lock_guard<std::mutex> guard(at->lock);
            if (std::exchange(at->any, false))
                return {make_error(0), std::exchange(at->gathered, value_type{})};
            return {make_error(at->end), {}};
        }

    private:
        struct relay : receiver {
            next_operation *self = nullptr;
            receiver *to = nullptr;
        };

        // 0: it waits; 1: there is something already.
        int wait() noexcept
        {
            common *at = from_->common_;
            if (at == nullptr)
                return from_->problem_;
            std::lock_guard<std::mutex> guard(at->lock);
            if (at->any || at->end != 0)
                return 1;
            at->waiter = &relay_;
            return 0;
        }

        const sequence *from_;
        cancellation *scope_ = nullptr;
        relay relay_;
        int failed_ = 0;
    };

public:
    // An error of the start is what next() gives.
    template <class Start>
    sequence(context_state *state, Start start, Stop stop) : stop_(std::move(stop))
    {
        if (state == nullptr) {
            problem_ = WEIR_EBADF;
            return;
        }
        common_ = state->make<common>();
        state_ = state;
        state_->add_reference();
        typename S::c_callback thunk = &S::template thunk<common>;
        problem_ = start(thunk, static_cast<void *>(common_));
        if (problem_ != 0)
            state_->destroy(std::exchange(common_, nullptr));
    }
    sequence(sequence &&from) noexcept
        : common_(std::exchange(from.common_, nullptr)), state_(std::exchange(from.state_, nullptr)),
          problem_(std::exchange(from.problem_, WEIR_EBADF)), stop_(from.stop_)
    {
    }
    sequence &operator=(sequence &&) = delete;
    ~sequence()
    {
        if (common_ != nullptr) {
            bool last = false;
            {
                std::lock_guard<std::mutex> guard(common_->lock);
                last = common_->end != 0;
            }
            // What ended by itself may have been started anew by somebody else.
            if (!last)
                stop_();
            {
                std::lock_guard<std::mutex> guard(common_->lock);
                last = --common_->owners == 0;
            }
            if (last)
                state_->destroy(common_);
        }
        if (state_ != nullptr)
            state_->drop_reference();
    }

    // result<T>: what was gathered, or the error that ended the sequence, which is then given for ever. To cancel it ends the
    // sequence.
    auto next() const noexcept { return next_operation(this); }

private:
    common *common_ = nullptr;
    context_state *state_ = nullptr;
    int problem_ = 0;
    Stop stop_;
};

struct gather_count {
    using type = std::size_t;
    static void add(std::size_t &to) noexcept { ++to; }
};
struct gather_events {
    using type = int;
    static void add(int &to, int events) noexcept { to |= events; }
};
struct gather_latest {
    using type = std::size_t;
    static void add(std::size_t &to, std::size_t bytes) noexcept { to = bytes; }
};

template <class S, class Gather, class Start, class Stop>
auto make_sequence(context_state *state, Start start, Stop stop)
{
    return sequence<S, Gather, Stop>(state, std::move(start), std::move(stop));
}

} // namespace detail

// Periodic ticks of a timer: next() gives a result<std::size_t>, the ticks since the last one.
template <class Rep, class Period, class Rep2, class Period2>
auto ticks(const timer &of, std::chrono::duration<Rep, Period> first, std::chrono::duration<Rep2, Period2> period)
{
    return detail::make_sequence<detail::on_status, detail::gather_count>(
        of.shared_state(),
        [raw = of.get(), first, period](weir_callback callback, void *user) {
            return weir_timer_start(raw, detail::to_ns(first), detail::to_ns(period), callback, user);
        },
        [raw = of.get()] { weir_timer_stop(raw, nullptr); });
}

// Turns of a hook: next() gives a result<std::size_t>. A hook by itself does not keep run() going: see work_guard.
inline auto turns(const hook &of)
{
    return detail::make_sequence<detail::on_status, detail::gather_count>(
        of.shared_state(),
        [raw = of.get()](weir_callback callback, void *user) { return weir_hook_start(raw, callback, user); },
        [raw = of.get()] { weir_hook_stop(raw, nullptr); });
}

// Events of a watch: next() gives a result<int>, all that were seen since.
template <class Rep = std::int64_t, class Period = std::nano>
auto events(const watch &of, unsigned int wanted, unsigned int flags = 0,
            std::chrono::duration<Rep, Period> limit = forever)
{
    return detail::make_sequence<detail::on_value, detail::gather_events>(
        of.shared_state(),
        [raw = of.get(), wanted, flags, limit](weir_value_callback callback, void *user) {
            return weir_watch_start(raw, wanted, flags | WEIR_WATCH_PERSISTENT, detail::to_ns(limit), callback, user);
        },
        [raw = of.get()] { weir_watch_stop(raw, nullptr); });
}

// The queue of stream::send(): next() gives a result<std::size_t>, the bytes queued when it last crossed a mark.
inline auto water_marks(const stream &of, std::size_t high, std::size_t low)
{
    return detail::make_sequence<detail::on_io, detail::gather_latest>(
        of.shared_state(),
        [raw = of.get(), high, low](weir_io_callback callback, void *user) {
            return weir_stream_set_high_water(raw, high, low, callback, user);
        },
        [raw = of.get()] { weir_stream_set_high_water(raw, 0, 0, nullptr, nullptr); });
}

} // namespace weir

#endif
