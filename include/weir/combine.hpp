// when_all(), when_any() and with_timeout() (C++20).
//
// They take tasks, operations, and each other, as rvalues, and live with all their state in the frame that awaits them. What one of
// them ends it also awaits: no operation and no task is left behind.
#ifndef WEIR_COMBINE_HPP
#define WEIR_COMBINE_HPP

#include "cancel.hpp"
#include "task.hpp"

#include <cstddef>
#include <variant>

namespace weir {
namespace detail {

// How many children are still under way, and the cancellation that they share.
class group {
public:
    group() noexcept : follower_(scope_) {}
    // Before it is started only.
    group(group &&) noexcept : group() {}

protected:
    // One more than the children: that is the starter's own, so that nothing ends before all are started.
    void open(environment env, receiver &to, std::size_t children)
    {
        to_ = &to;
        left_.store(children + 1, std::memory_order_relaxed);
        follower_.follow(env.scope);
    }
    // A child has ended. A child that cancels the others does so before.
    std::coroutine_handle<> arrive() noexcept
    {
        if (left_.fetch_sub(1, std::memory_order_acq_rel) != 1)
            return std::noop_coroutine();
        follower_.unfollow();
        return to_->done(to_);
    }
    // The starter has started all; true while there is something to wait for, and then the group may be gone.
    bool opened() noexcept
    {
        if (left_.fetch_sub(1, std::memory_order_acq_rel) != 1)
            return true;
        follower_.unfollow();
        return false;
    }
    void arrive_in_start() noexcept { left_.fetch_sub(1, std::memory_order_acq_rel); }

    cancellation scope_;

private:
    follower follower_;
    receiver *to_ = nullptr;
    std::atomic<std::size_t> left_{0};
};

// One child: tells its group when it has ended.
template <class Group, std::size_t I, class A>
struct child : receiver {
    explicit child(A &&from) : work(std::move(from)) {}
    child(child &&from) : work(std::move(from.work)) {}

    Group *of = nullptr;
    A work;
};

constexpr std::size_t none = static_cast<std::size_t>(-1);

template <class Derived, class Indices, class... A>
class children;

// What when_all and when_any have in common. `Derived::ended(index, threw)` is told of each child.
template <class Derived, std::size_t... I, class... A>
class children<Derived, std::index_sequence<I...>, A...> : public group, public awaitable<Derived> {
public:
    explicit children(A &&...from) : children_(child<children, I, A>(std::move(from))...) {}
    children(children &&) = default;

    bool start(environment env, receiver &to)
    {
        open(env, to, sizeof...(A));
        (start_one<I>(env.state), ...);
        return opened();
    }

protected:
    template <std::size_t At>
    auto &work() noexcept
    {
        return std::get<At>(children_).work;
    }

private:
    template <std::size_t At>
    void start_one(context_state *state)
    {
        auto &one = std::get<At>(children_);
        using one_type = std::remove_reference_t<decltype(one)>;
        one.of = this;
        one.done = [](receiver *at) noexcept -> std::coroutine_handle<> {
            auto *self = static_cast<one_type *>(at);
            static_cast<Derived *>(self->of)->ended(At, has_thrown(self->work));
            return self->of->arrive();
        };
        if (!one.work.start({&scope_, state}, one)) {
            static_cast<Derived *>(this)->ended(At, has_thrown(one.work));
            arrive_in_start();
        }
    }

    std::tuple<child<children, I, A>...> children_;
};

// void has no place in a tuple.
template <class T>
using value_of = std::conditional_t<std::is_void_v<T>, std::monostate, T>;

template <class A>
value_of<taken_t<A>> take_value(A &from)
{
    if constexpr (std::is_void_v<taken_t<A>>) {
        from.take();
        return {};
    } else {
        return from.take();
    }
}

template <class... A>
class [[nodiscard]] all_of : public children<all_of<A...>, std::index_sequence_for<A...>, A...> {
    using base = children<all_of, std::index_sequence_for<A...>, A...>;

public:
    using base::base;
    all_of(all_of &&from) : base(std::move(from)) {}

    std::tuple<value_of<taken_t<A>>...> take()
    {
        rethrow(std::index_sequence_for<A...>());
        return take_all(std::index_sequence_for<A...>());
    }
    bool threw() const noexcept { return first_.load() != none; }

    void ended(std::size_t index, bool thrown) noexcept
    {
        std::size_t nobody = none;
        if (thrown && first_.compare_exchange_strong(nobody, index))
            this->scope_.cancel();
    }

private:
    // The first that threw comes out, not the first in order.
    template <std::size_t... I>
    void rethrow(std::index_sequence<I...>)
    {
        ((I == first_.load() ? static_cast<void>(this->template work<I>().take()) : void()), ...);
    }
    template <std::size_t... I>
    auto take_all(std::index_sequence<I...>)
    {
        return std::tuple<value_of<taken_t<A>>...>{take_value(this->template work<I>())...};
    }

    std::atomic<std::size_t> first_{none};
};

} // namespace detail

// What when_any() gives: which one ended first, and what each came to, since one that was cancelled may have done
// something all the same (bytes that had moved, a connection that was accepted).
template <class... T>
struct any_result {
    std::size_t index;
    std::tuple<outcome<T>...> outcomes;

    // The value of one, or throws what it threw.
    template <std::size_t I>
    decltype(auto) get()
    {
        return std::move(std::get<I>(outcomes)).get();
    }
};

namespace detail {

template <class... A>
class [[nodiscard]] any_of : public children<any_of<A...>, std::index_sequence_for<A...>, A...> {
    using base = children<any_of, std::index_sequence_for<A...>, A...>;

public:
    using base::base;
    any_of(any_of &&from) : base(std::move(from)) {}

    any_result<taken_t<A>...> take()
    {
        any_result<taken_t<A>...> all;
        all.index = first_.load();
        take_all(all, std::index_sequence_for<A...>());
        return all;
    }

    void ended(std::size_t index, bool) noexcept
    {
        std::size_t nobody = none;
        if (first_.compare_exchange_strong(nobody, index))
            this->scope_.cancel();
    }

private:
    template <std::size_t... I>
    void take_all(any_result<taken_t<A>...> &all, std::index_sequence<I...>)
    {
        (std::get<I>(all.outcomes).set_by([this] { return this->template work<I>().take(); }), ...);
    }

    std::atomic<std::size_t> first_{none};
};

} // namespace detail

// `auto [a, b] = co_await when_all(x, y)`: starts all, in this order, and waits for all; gives a tuple of what each gives
// (std::monostate for void). When one throws the others are cancelled, and the first exception comes out when all have
// ended.
template <detail::startable... A>
    requires(sizeof...(A) > 0 && (... && !std::is_reference_v<A>))
auto when_all(A &&...work)
{
    return detail::all_of<A...>(std::move(work)...);
}

// `auto any = co_await when_any(x, y)`: starts all; when the first has ended, with a value, an error or an exception, the
// others are cancelled, and it goes on when all have ended. See any_result.
template <detail::startable... A>
    requires(sizeof...(A) > 0 && (... && !std::is_reference_v<A>))
auto when_any(A &&...work)
{
    return detail::any_of<A...>(std::move(work)...);
}

namespace detail {

template <class T>
concept tells_error = std::same_as<T, std::error_code> || requires(T &t) {
    { t.error } -> std::same_as<std::error_code &>;
};

inline std::error_code &error_in(std::error_code &of) noexcept { return of; }
template <class T>
std::error_code &error_in(T &of) noexcept
{
    return of.error;
}

// What with_timeout gives for something that gives T.
template <class T>
struct timed {
    using type = result<T>;
};
template <tells_error T>
struct timed<T> {
    using type = T;
};
template <>
struct timed<void> {
    using type = std::error_code;
};

template <class A>
class [[nodiscard]] timed_operation : public group, public awaitable<timed_operation<A>> {
    using sleep = operation<on_status, sleep_starter>;
    using given = taken_t<A>;

public:
    timed_operation(A &&work, std::int64_t ns) : work_(std::move(work)), ns_(ns) {}
    timed_operation(timed_operation &&from) : group(std::move(from)), work_(std::move(from.work_)), ns_(from.ns_) {}

    bool start(environment env, receiver &to)
    {
        context_state *state = env.state;
        if constexpr (requires { work_.work.state(); }) {
            if (work_.work.state() != nullptr)
                state = work_.work.state();
        }
        open(env, to, 2);
        sleep_.emplace(state, nullptr, sleep_starter(state, ns_));
        work_.of = this;
        work_.done = [](receiver *at) noexcept -> std::coroutine_handle<> {
            auto *self = static_cast<work_child *>(at)->of;
            self->scope_.cancel();
            return self->arrive();
        };
        timer_.of = this;
        timer_.done = [](receiver *at) noexcept -> std::coroutine_handle<> {
            auto *self = static_cast<timer_child *>(at)->of;
            self->time_is_over();
            return self->arrive();
        };
        // The work first: what can end at once needs no timer.
        if (!work_.work.start({&scope_, env.state}, work_)) {
            scope_.cancel();
            arrive_in_start();
        }
        if (!sleep_->start({&scope_, state}, timer_)) {
            time_is_over();
            arrive_in_start();
        }
        return opened();
    }

    typename timed<given>::type take()
    {
        if constexpr (tells_error<given>) {
            given value = work_.work.take();
            if (late_ != 0 && error_in(value) == std::errc::operation_canceled)
                set_error(value, late_);
            return value;
        } else {
            try {
                if constexpr (std::is_void_v<given>) {
                    work_.work.take();
                    return make_error(late_);
                } else {
                    return {make_error(late_), work_.work.take()};
                }
            } catch (const std::system_error &failure) {
                // The cancel in another form.
                if (late_ != 0 && failure.code() == std::errc::operation_canceled)
                    throw std::system_error(make_error(late_));
                throw;
            }
        }
    }

private:
    struct work_child : receiver {
        explicit work_child(A &&from) : work(std::move(from)) {}
        timed_operation *of = nullptr;
        A work;
    };
    struct timer_child : receiver {
        timed_operation *of = nullptr;
    };

    // It was the timer that ended first, or it could not be started.
    void time_is_over() noexcept
    {
        int code = sleep_->take().value();
        if (code == WEIR_ECANCELED)
            return;
        late_ = code != 0 ? code : WEIR_ETIMEDOUT;
        scope_.cancel();
    }

    work_child work_;
    timer_child timer_;
    std::optional<sleep> sleep_;
    std::int64_t ns_;
    int late_ = 0;
};

} // namespace detail

// `co_await with_timeout(work, 1s)`: cancels the work when the time is over, and waits for its end. Where the work gives a
// std::error_code, or something with a member `error`, the cancellation is told as errc::timed_out there; what it
// did in spite of it (bytes that had moved, also all of them) is told as it happened. Otherwise it gives a
// result<T> with what the work gave (for void a std::error_code), with errc::timed_out where the time was over first.
template <detail::startable A, class Rep, class Period>
    requires(!std::is_reference_v<A>)
auto with_timeout(A &&work, std::chrono::duration<Rep, Period> time)
{
    return detail::timed_operation<A>(std::move(work), detail::to_ns(time));
}

} // namespace weir

#endif
