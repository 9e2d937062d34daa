// weir::acceptor.
#ifndef WEIR_ACCEPTOR_HPP
#define WEIR_ACCEPTOR_HPP

#include "stream.hpp"

namespace weir {

// `auto [error, peer, from] = co_await acceptor.accept()`
struct accepted {
    std::error_code error;
    stream peer;
    address from;
};

namespace detail {

// weir_accept_callback: void(std::error_code, weir::stream, weir::address).
struct on_accept {
    using c_callback = weir_accept_callback;
    using result_type = accepted;
    template <class F>
    static constexpr bool takes = std::is_invocable_v<F &, std::error_code, stream, address>;

    template <class Sink>
    static void thunk(int status, weir_stream *peer, const ::sockaddr *from, ::socklen_t length, void *user) noexcept
    {
        Sink::complete(user, status, [=](context_state &state) {
            return std::tuple(make_error(status), peer != nullptr ? stream(&state, peer) : stream(),
                              address(from, length));
        });
    }
};

} // namespace detail

class acceptor : public detail::socket<weir_acceptor> {
public:
    acceptor() noexcept = default;
    explicit acceptor(const context &of) : socket(of) {}
    // Listens at an address.
    acceptor(const context &of, const address &at, int backlog = 0) : socket(of)
    {
        bind(at);
        listen(backlog);
    }

    // 0: the system's maximum.
    void listen(int backlog = 0) const { check(weir_acceptor_listen(raw(), backlog)); }
    // Removes the AF_UNIX path that it is bound to.
    void unlink() const { check(weir_acceptor_unlink(raw())); }

    // One connection: void(std::error_code, weir::stream, weir::address), or awaitable.
    template <class... F>
    [[nodiscard]] auto accept(F &&...call) const
    {
        return initiate<detail::on_accept>(
            [h = raw()](weir_accept_callback callback, void *user) { return weir_acceptor_accept(h, callback, user); },
            std::forward<F>(call)...);
    }
    // Each, and at last an error. (Coroutines accept() in a loop.)
    template <class F>
    [[nodiscard]] std::error_code accept_each(F &&call) const
    {
        return each<detail::on_accept>(
            [h = raw()](weir_accept_callback callback, void *user) {
                return weir_acceptor_accept_each(h, callback, user);
            },
            std::forward<F>(call));
    }
    // Until there is one, without taking it: void(std::error_code).
    template <class... F>
    [[nodiscard]] auto wait(F &&...call) const
    {
        return initiate<detail::on_status>(
            [h = raw()](weir_callback callback, void *user) { return weir_acceptor_wait(h, callback, user); },
            std::forward<F>(call)...);
    }
};

} // namespace weir

#endif
