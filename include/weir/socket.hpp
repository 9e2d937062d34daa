// What streams, acceptors and datagram sockets have in common: the fd, addresses and options. Internal.
#ifndef WEIR_SOCKET_HPP
#define WEIR_SOCKET_HPP

#include "address.hpp"
#include "buffer.hpp"
#include "context.hpp"

namespace weir {
namespace detail {

// The C functions of one kind of socket.
template <class Raw>
struct socket_calls;

template <>
struct socket_calls<weir_stream> {
    static constexpr auto create = weir_stream_create;
    static constexpr auto open = weir_stream_open;
    static constexpr auto adopt = weir_stream_adopt;
    static constexpr auto release = weir_stream_release;
    static constexpr auto fd = weir_stream_fd;
    static constexpr auto bind = weir_stream_bind;
    static constexpr auto local_address = weir_stream_local_address;
    static constexpr auto set = weir_stream_set;
    static constexpr auto get = weir_stream_get;
    static constexpr auto set_option = weir_stream_set_option;
    static constexpr auto get_option = weir_stream_get_option;
    static constexpr auto bind_to_device = weir_stream_bind_to_device;
};
template <>
struct socket_calls<weir_acceptor> {
    static constexpr auto create = weir_acceptor_create;
    static constexpr auto open = weir_acceptor_open;
    static constexpr auto adopt = weir_acceptor_adopt;
    static constexpr auto release = weir_acceptor_release;
    static constexpr auto fd = weir_acceptor_fd;
    static constexpr auto bind = weir_acceptor_bind;
    static constexpr auto local_address = weir_acceptor_local_address;
    static constexpr auto set = weir_acceptor_set;
    static constexpr auto get = weir_acceptor_get;
    static constexpr auto set_option = weir_acceptor_set_option;
    static constexpr auto get_option = weir_acceptor_get_option;
    static constexpr auto bind_to_device = weir_acceptor_bind_to_device;
};
template <>
struct socket_calls<weir_datagram> {
    static constexpr auto create = weir_datagram_create;
    static constexpr auto open = weir_datagram_open;
    static constexpr auto adopt = weir_datagram_adopt;
    static constexpr auto release = weir_datagram_release;
    static constexpr auto fd = weir_datagram_fd;
    static constexpr auto bind = weir_datagram_bind;
    static constexpr auto local_address = weir_datagram_local_address;
    static constexpr auto set = weir_datagram_set;
    static constexpr auto get = weir_datagram_get;
    static constexpr auto set_option = weir_datagram_set_option;
    static constexpr auto get_option = weir_datagram_get_option;
    static constexpr auto bind_to_device = weir_datagram_bind_to_device;
};

template <class Raw>
class socket : public handle<Raw> {
    using calls = socket_calls<Raw>;

public:
    socket() noexcept = default;
    explicit socket(const context &of)
        : handle<Raw>(state_of(of), handle<Raw>::made_by([&](Raw **out) { return calls::create(of.get(), out); }))
    {
    }

    // AF_INET, AF_INET6 or AF_UNIX, so that options can be set first.
    void open(int family) const { check(calls::open(raw(), family)); }
    // Takes an fd over, on success; gives it away.
    void adopt(int fd) const { check(calls::adopt(raw(), fd)); }
    int release_fd() const { return number(calls::release); }
    // Borrowed.
    int fd() const { return number(calls::fd); }

    void bind(const address &to) const { check(calls::bind(raw(), to.data(), to.size())); }
    address local_address() const { return address_by(calls::local_address); }

    // WEIR_OPT_...
    void set(int option, int value) const { check(calls::set(raw(), option, value)); }
    int get(int option) const
    {
        int value = 0;
        check(calls::get(raw(), option, &value));
        return value;
    }
    using handle<Raw>::get;

    // As setsockopt(2) and getsockopt(2) have it.
    template <class T>
    void set_option(int level, int name, const T &value) const
    {
        static_assert(std::is_trivially_copyable_v<T>);
        check(calls::set_option(raw(), level, name, &value, static_cast<::socklen_t>(sizeof value)));
    }
    template <class T>
    T get_option(int level, int name) const
    {
        static_assert(std::is_trivially_copyable_v<T>);
        T value{};
        auto length = static_cast<::socklen_t>(sizeof value);
        check(calls::get_option(raw(), level, name, &value, &length));
        return value;
    }
    void bind_to_device(std::string_view name) const
    {
        check(calls::bind_to_device(raw(), std::string(name).c_str()));
    }

protected:
    socket(context_state *state, Raw *made) noexcept : handle<Raw>(state, made) {}

    Raw *raw() const noexcept { return handle<Raw>::get(); }

    int number(int (*call)(Raw *, int *)) const
    {
        int value = -1;
        check(call(raw(), &value));
        return value;
    }
    address address_by(int (*call)(Raw *, ::sockaddr_storage *, ::socklen_t *)) const
    {
        address found;
        check(call(raw(), found.storage(), found.length()));
        return found;
    }
};

} // namespace detail
} // namespace weir

#endif
