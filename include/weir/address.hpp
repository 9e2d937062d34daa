// Socket addresses, as values.
#ifndef WEIR_ADDRESS_HPP
#define WEIR_ADDRESS_HPP

#include "error.hpp"

#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string>
#include <string_view>

#include <arpa/inet.h>
#include <netinet/in.h>

namespace weir {

// An address of any family, or none (length 0).
class address {
public:
    address() noexcept { std::memset(&storage_, 0, sizeof storage_); }

    address(const ::sockaddr *from, ::socklen_t length) noexcept : address()
    {
        if (from != nullptr && length <= sizeof storage_) {
            std::memcpy(&storage_, from, length);
            length_ = length;
        }
    }

    // "127.0.0.1:80", "[fe80::1%eth0]:80", "unix:/run/x.sock", "unix:@name": see weir_address_parse(). Names of hosts
    // are not looked up. Throws std::system_error.
    explicit address(std::string_view text) : address() { check(parse(text, *this)); }

    // The same without an exception; `out` is written on success only.
    [[nodiscard]] static std::error_code parse(std::string_view text, address &out) noexcept
    {
        char terminated[WEIR_ADDRESS_TEXT_MAX + 64];
        if (text.size() >= sizeof terminated)
            return make_error(-ENAMETOOLONG);
        if (text.find('\0') != std::string_view::npos)
            return errc::invalid;
        text.copy(terminated, text.size());
        terminated[text.size()] = 0;
        return make_error(weir_address_parse(terminated, &out.storage_, &out.length_));
    }

    // In the form that parse() reads. Throws std::system_error for an address of no family.
    std::string to_string() const
    {
        char text[WEIR_ADDRESS_TEXT_MAX];
        check(weir_address_format(data(), length_, text, sizeof text));
        return text;
    }

    const ::sockaddr *data() const noexcept { return reinterpret_cast<const ::sockaddr *>(&storage_); }
    ::socklen_t size() const noexcept { return length_; }
    bool empty() const noexcept { return length_ == 0; }
    int family() const noexcept { return length_ == 0 ? AF_UNSPEC : storage_.ss_family; }

    // 0 where the family has no ports.
    std::uint16_t port() const noexcept
    {
        if (family() == AF_INET)
            return ntohs(reinterpret_cast<const ::sockaddr_in *>(&storage_)->sin_port);
        if (family() == AF_INET6)
            return ntohs(reinterpret_cast<const ::sockaddr_in6 *>(&storage_)->sin6_port);
        return 0;
    }

    // For functions that write an address: room for any, and where its length goes.
    ::sockaddr_storage *storage() noexcept { return &storage_; }
    ::socklen_t *length() noexcept { return &length_; }

    friend bool operator==(const address &a, const address &b) noexcept
    {
        return a.length_ == b.length_ && std::memcmp(&a.storage_, &b.storage_, a.length_) == 0;
    }
    friend bool operator!=(const address &a, const address &b) noexcept { return !(a == b); }

private:
    ::sockaddr_storage storage_;
    ::socklen_t length_ = 0;
};

} // namespace weir

#endif
