// Awaitables that change what cancels the one inside them (C++20).
#ifndef WEIR_CANCEL_HPP
#define WEIR_CANCEL_HPP

#include "operation.hpp"

namespace weir {
namespace detail {

// A cancellation that passes on the cancel of another one.
class follower : private cancel_link {
public:
    explicit follower(cancellation &inner) noexcept : inner_(&inner) {}

    void follow(cancellation *outer)
    {
        if (outer == nullptr || outer == inner_)
            return;
        cancel_link::on_cancel = [](cancel_link *link) noexcept { static_cast<follower *>(link)->inner_->cancel(); };
        if (outer->attach(*this, [] { return 0; }) == 0)
            outer_ = outer;
        else
            inner_->cancel();
    }
    // When this returns no cancel of the outer one is under way here.
    void unfollow() noexcept
    {
        if (cancellation *outer = std::exchange(outer_, nullptr))
            outer->detach(*this);
    }

private:
    cancellation *inner_;
    cancellation *outer_ = nullptr;
};

} // namespace detail

// `co_await with_cancellation(scope, awaitable)`: `scope` ends it, and so does what ends the task. `scope` lives until
// then.
template <detail::startable A>
class [[nodiscard]] with_cancellation : public detail::awaitable<with_cancellation<A>> {
public:
    with_cancellation(cancellation &scope, A &&inner) : relay_(scope), scope_(&scope), inner_(std::move(inner)) {}
    // To be moved before it is started only.
    with_cancellation(with_cancellation &&) = default;

    bool start(detail::environment env, detail::receiver &to)
    {
        relay_.to = &to;
        relay_.done = [](detail::receiver *at) noexcept {
            auto *self = static_cast<relay *>(at);
            self->follower.unfollow();
            return self->to->done(self->to);
        };
        relay_.follower.follow(env.scope);
        if (inner_.start({scope_, env.state}, relay_))
            return true;
        relay_.follower.unfollow();
        return false;
    }
    decltype(auto) take() { return inner_.take(); }
    bool threw() const noexcept { return detail::has_thrown(inner_); }

private:
    struct relay : detail::receiver {
        explicit relay(cancellation &scope) noexcept : follower(scope) {}
        detail::follower follower;
        detail::receiver *to = nullptr;
    };

    relay relay_;
    cancellation *scope_;
    A inner_;
};

// `co_await shield(awaitable)`: no cancellation reaches it. For the last words of a task that was cancelled.
template <detail::startable A>
class [[nodiscard]] shield : public detail::awaitable<shield<A>> {
public:
    explicit shield(A &&inner) : inner_(std::move(inner)) {}
    bool start(detail::environment env, detail::receiver &to) { return inner_.start({nullptr, env.state}, to); }
    decltype(auto) take() { return inner_.take(); }
    bool threw() const noexcept { return detail::has_thrown(inner_); }

private:
    A inner_;
};

} // namespace weir

#endif
