// weir::datagram: UDP and AF_UNIX datagrams.
#ifndef WEIR_DATAGRAM_HPP
#define WEIR_DATAGRAM_HPP

#include "socket.hpp"

namespace weir {

// A batch: an array, std::vector and so on of weir_datagram_message.
class messages {
public:
    constexpr messages(::weir_datagram_message *data, std::size_t count) noexcept : data_(data), count_(count) {}
    template <class C, std::enable_if_t<std::is_same_v<detail::element_t<C>, ::weir_datagram_message>, int> = 0>
    constexpr messages(C &&container) noexcept : data_(std::data(container)), count_(std::size(container))
    {
    }

    constexpr ::weir_datagram_message *data() const noexcept { return data_; }
    constexpr std::size_t count() const noexcept { return count_; }

private:
    ::weir_datagram_message *data_;
    std::size_t count_;
};

class datagram : public detail::socket<weir_datagram> {
public:
    datagram() noexcept = default;
    explicit datagram(const context &of) : socket(of) {}
    datagram(const context &of, const address &at) : socket(of) { bind(at); }
    // Takes over a C handle of this context.
    datagram(const context &of, weir_datagram *made) noexcept : socket(detail::state_of(of), made) {}

    static std::pair<datagram, datagram> pair(const context &of)
    {
        weir_datagram *first = nullptr, *second = nullptr;
        check(weir_datagram_pair(of.get(), &first, &second));
        return {datagram(of, first), datagram(of, second)};
    }

    address remote_address() const { return address_by(weir_datagram_remote_address); }
    // At once.
    void connect(const address &to) const { check(weir_datagram_connect(raw(), to.data(), to.size())); }
    void disconnect() const { check(weir_datagram_disconnect(raw())); }
    void join(const address &group, std::uint32_t interface_index = 0) const
    {
        check(weir_datagram_join(raw(), group.data(), group.size(), interface_index));
    }
    void leave(const address &group, std::uint32_t interface_index = 0) const
    {
        check(weir_datagram_leave(raw(), group.data(), group.size(), interface_index));
    }
    void unlink() const { check(weir_datagram_unlink(raw())); }

    // WEIR_DATAGRAM_GSO, WEIR_DATAGRAM_GRO.
    static std::uint32_t features()
    {
        std::uint32_t found = 0;
        check(weir_datagram_features(&found));
        return found;
    }

    // void(std::error_code), or awaitable.
    template <class... F>
    [[nodiscard]] auto wait(int what, F &&...call) const
    {
        return initiate<detail::on_status>(
            [h = raw(), what](weir_callback callback, void *user) {
                return weir_datagram_wait(h, what, callback, user);
            },
            std::forward<F>(call)...);
    }

    // ---- void(std::error_code, std::size_t), or awaitable; the number is that of bytes, or of messages of a batch

    template <class... F>
    [[nodiscard]] auto receive(buffer to, F &&...call) const
    {
        return start([h = raw(), to](weir_io_callback callback, void *user) {
            return weir_datagram_receive(h, to.data(), to.size(), callback, user);
        }, std::forward<F>(call)...);
    }
    // `from` is written together with the data, and stays as long.
    template <class... F>
    [[nodiscard]] auto receive_from(buffer to, address &from, F &&...call) const
    {
        return start([h = raw(), to, &from](weir_io_callback callback, void *user) {
            return weir_datagram_receive_from(h, to.data(), to.size(), from.storage(), from.length(), callback, user);
        }, std::forward<F>(call)...);
    }
    template <class... F>
    [[nodiscard]] auto send(const_buffer from, F &&...call) const
    {
        return start([h = raw(), from](weir_io_callback callback, void *user) {
            return weir_datagram_send(h, from.data(), from.size(), callback, user);
        }, std::forward<F>(call)...);
    }
    // `to` stays as long as the data.
    template <class... F>
    [[nodiscard]] auto send_to(const_buffer from, const address &to, F &&...call) const
    {
        return start([h = raw(), from, &to](weir_io_callback callback, void *user) {
            return weir_datagram_send_to(h, from.data(), from.size(), to.data(), to.size(), callback, user);
        }, std::forward<F>(call)...);
    }
    template <class... F>
    auto send_to(const_buffer from, const address &&to, F &&...call) const = delete;

    template <class... F>
    [[nodiscard]] auto receive_batch(messages batch, F &&...call) const
    {
        return start([h = raw(), batch](weir_io_callback callback, void *user) {
            return weir_datagram_receive_batch(h, batch.data(), batch.count(), callback, user);
        }, std::forward<F>(call)...);
    }
    template <class... F>
    [[nodiscard]] auto send_batch(messages batch, F &&...call) const
    {
        return start([h = raw(), batch](weir_io_callback callback, void *user) {
            return weir_datagram_send_batch(h, batch.data(), batch.count(), callback, user);
        }, std::forward<F>(call)...);
    }
    template <class... F>
    [[nodiscard]] auto receive_fds(buffer to, int *fds, std::size_t &count, F &&...call) const
    {
        return start([h = raw(), to, fds, &count](weir_io_callback callback, void *user) {
            return weir_datagram_receive_fds(h, to.data(), to.size(), fds, &count, callback, user);
        }, std::forward<F>(call)...);
    }
    template <class... F>
    [[nodiscard]] auto send_fds(const_buffer from, const int *fds, std::size_t count, F &&...call) const
    {
        return start([h = raw(), from, fds, count](weir_io_callback callback, void *user) {
            return weir_datagram_send_fds(h, from.data(), from.size(), fds, count, callback, user);
        }, std::forward<F>(call)...);
    }

    // ---- at once: no value where it would wait

    struct tried {
        std::error_code error;
        bool done;         // a datagram was received, or sent
        std::size_t bytes; // of a received one
    };
    tried try_receive(buffer to) const noexcept
    {
        std::size_t count = 0, bytes = 0;
        int code = weir_datagram_try_receive(raw(), to.data(), to.size(), &count, &bytes);
        return {make_error(code), count == 1, bytes};
    }
    tried try_receive_from(buffer to, address &from) const noexcept
    {
        std::size_t count = 0, bytes = 0;
        int code = weir_datagram_try_receive_from(raw(), to.data(), to.size(), from.storage(), from.length(), &count, &bytes);
        return {make_error(code), count == 1, bytes};
    }
    tried try_send(const_buffer from) const noexcept
    {
        std::size_t count = 0;
        int code = weir_datagram_try_send(raw(), from.data(), from.size(), &count);
        return {make_error(code), count == 1, count == 1 ? from.size() : 0};
    }
    tried try_send_to(const_buffer from, const address &to) const noexcept
    {
        std::size_t count = 0;
        int code = weir_datagram_try_send_to(raw(), from.data(), from.size(), to.data(), to.size(), &count);
        return {make_error(code), count == 1, count == 1 ? from.size() : 0};
    }

private:
    template <class Start, class... F>
    auto start(Start call_c, F &&...call) const
    {
        return initiate<detail::on_io>(std::move(call_c), std::forward<F>(call)...);
    }
};

} // namespace weir

#endif
