// weir::stream: TCP and AF_UNIX connections.
//
// Every function that takes `F &&...call` starts an operation. With a callable it returns the std::error_code of the
// start, and the callable is called once, later, in run; without one it returns what co_await takes.
#ifndef WEIR_STREAM_HPP
#define WEIR_STREAM_HPP

#include "socket.hpp"

#include <array>
#include <cstring>

namespace weir {

// Where read_until() reads into, and what it looks for. Stays, with its memory, until the completion.
class until {
public:
    until(buffer room, std::string_view delimiter) noexcept
    {
        raw_.struct_size = sizeof raw_;
        raw_.data = room.data();
        raw_.capacity = room.size();
        raw_.delimiter = delimiter.data();
        raw_.delimiter_length = delimiter.size();
    }

    // What is in the buffer; after a completion with n bytes the first n of it are the text with its delimiter.
    std::string_view text() const noexcept { return {static_cast<const char *>(raw_.data), raw_.filled}; }
    // Drops the first n bytes and moves the others to the front, for the next read_until().
    void consume(std::size_t n) noexcept
    {
        n = n < raw_.filled ? n : raw_.filled;
        raw_.filled -= n;
        if (raw_.filled > 0)
            std::memmove(raw_.data, static_cast<char *>(raw_.data) + n, raw_.filled);
    }

    ::weir_until *raw() noexcept { return &raw_; }

private:
    ::weir_until raw_{};
};

struct connect_options : ::weir_connect_options {
    connect_options() noexcept : ::weir_connect_options{} { struct_size = sizeof(::weir_connect_options); }
};

namespace detail {

// weir_buffer_callback: void(std::error_code, weir::const_buffer), valid during the call.
struct on_buffer {
    using c_callback = weir_buffer_callback;
    template <class F>
    static constexpr bool takes = std::is_invocable_v<F &, std::error_code, const_buffer>;

    template <class Sink>
    static void thunk(int status, const void *data, std::size_t length, void *user) noexcept
    {
        Sink::complete(user, status,
                       [=](context_state &) { return std::tuple(make_error(status), const_buffer(data, length)); });
    }
};

} // namespace detail

class stream : public detail::socket<weir_stream> {
public:
    stream() noexcept = default;
    // Without an fd yet.
    explicit stream(const context &of) : socket(of) {}
    // Takes over a C handle of this context.
    stream(const context &of, weir_stream *made) noexcept : socket(detail::state_of(of), made) {}
    stream(detail::context_state *state, weir_stream *made) noexcept : socket(state, made) {}

    // Two AF_UNIX streams that are connected to each other.
    static std::pair<stream, stream> pair(const context &of)
    {
        weir_stream *first = nullptr, *second = nullptr;
        check(weir_stream_pair(of.get(), &first, &second));
        return {stream(of, first), stream(of, second)};
    }

    address remote_address() const { return address_by(weir_stream_remote_address); }

    // Time without progress in each direction: WEIR_WAIT_READ, WEIR_WAIT_WRITE or both.
    template <class Rep, class Period>
    void set_timeout(int directions, std::chrono::duration<Rep, Period> time) const
    {
        check(weir_stream_set_timeout(raw(), directions, detail::to_ns(time)));
    }
    // WEIR_SHUTDOWN_...; with the error as the value, since a peer that is gone already is no exception.
    std::error_code shutdown(int how) const noexcept { return make_error(weir_stream_shutdown(raw(), how)); }

    struct credentials {
        ::pid_t pid;
        ::uid_t uid;
        ::gid_t gid;
    };
    credentials peer_credentials() const
    {
        std::int32_t pid = 0;
        std::uint32_t uid = 0, gid = 0;
        check(weir_stream_peer_credentials(raw(), &pid, &uid, &gid));
        return {pid, uid, gid};
    }

    // ---- connecting and waiting: void(std::error_code)

    template <class... F>
    [[nodiscard]] auto connect(const address &to, F &&...call) const
    {
        return initiate<detail::on_status>(
            [h = raw(), to](weir_callback callback, void *user) {
                return weir_stream_connect(h, to.data(), to.size(), callback, user);
            },
            std::forward<F>(call)...);
    }

    // To the first that answers of up to WEIR_CONNECT_LIST_MAX addresses: a container of weir::address, or weir::addresses.
    // An awaited one reads the list when it is awaited.
    template <class List, class... F>
    [[nodiscard]] auto connect_list(const List &list, const connect_options &options, F &&...call) const
    {
        return initiate<detail::on_status>(
            [h = raw(), &list, options](weir_callback callback, void *user) {
                std::array<const ::sockaddr *, WEIR_CONNECT_LIST_MAX> addresses;
                std::array<::socklen_t, WEIR_CONNECT_LIST_MAX> lengths;
                std::size_t count = 0;
                for (const auto &one : list) {
                    if (count == addresses.size())
                        return WEIR_EINVAL;
                    addresses[count] = one.data();
                    lengths[count++] = one.size();
                }
                return weir_stream_connect_list(h, addresses.data(), lengths.data(), count, &options, callback, user);
            },
            std::forward<F>(call)...);
    }

    // WEIR_WAIT_READ or WEIR_WAIT_WRITE.
    template <class... F>
    [[nodiscard]] auto wait(int what, F &&...call) const
    {
        return initiate<detail::on_status>(
            [h = raw(), what](weir_callback callback, void *user) { return weir_stream_wait(h, what, callback, user); },
            std::forward<F>(call)...);
    }

    // ---- reading: void(std::error_code, std::size_t)

    template <class... F>
    [[nodiscard]] auto read_some(buffer to, F &&...call) const
    {
        return transfer<weir_stream_read_some>(to, std::forward<F>(call)...);
    }
    // All of it.
    template <class... F>
    [[nodiscard]] auto read(buffer to, F &&...call) const
    {
        return transfer<weir_stream_read>(to, std::forward<F>(call)...);
    }
    template <class... F>
    [[nodiscard]] auto readv_some(iovecs to, F &&...call) const
    {
        return vectored<weir_stream_readv_some>(to, std::forward<F>(call)...);
    }
    template <class... F>
    [[nodiscard]] auto readv(iovecs to, F &&...call) const
    {
        return vectored<weir_stream_readv>(to, std::forward<F>(call)...);
    }
    // `into` stays until the completion.
    template <class... F>
    [[nodiscard]] auto read_until(until &into, F &&...call) const
    {
        return initiate<detail::on_io>(
            [h = raw(), &into](weir_io_callback callback, void *user) {
                return weir_stream_read_until(h, into.raw(), callback, user);
            },
            std::forward<F>(call)...);
    }
    // With fds: `count` is the room at `fds` before, and the number received after.
    template <class... F>
    [[nodiscard]] auto read_fds(buffer to, int *fds, std::size_t &count, F &&...call) const
    {
        return initiate<detail::on_io>(
            [h = raw(), to, fds, &count](weir_io_callback callback, void *user) {
                return weir_stream_read_fds(h, to.data(), to.size(), fds, &count, callback, user);
            },
            std::forward<F>(call)...);
    }
    // Into buffers of the library's, until the end: void(std::error_code, weir::const_buffer) for each, and at last with an
    // error. (Coroutines read_some() in a loop.)
    template <class F>
    [[nodiscard]] std::error_code read_each(F &&call) const
    {
        return each<detail::on_buffer>(
            [h = raw()](weir_buffer_callback callback, void *user) { return weir_stream_read_each(h, callback, user); },
            std::forward<F>(call));
    }

    // ---- writing: void(std::error_code, std::size_t)

    template <class... F>
    [[nodiscard]] auto write_some(const_buffer from, F &&...call) const
    {
        return transfer<weir_stream_write_some>(from, std::forward<F>(call)...);
    }
    // All of it.
    template <class... F>
    [[nodiscard]] auto write(const_buffer from, F &&...call) const
    {
        return transfer<weir_stream_write>(from, std::forward<F>(call)...);
    }
    template <class... F>
    [[nodiscard]] auto writev_some(iovecs from, F &&...call) const
    {
        return vectored<weir_stream_writev_some>(from, std::forward<F>(call)...);
    }
    template <class... F>
    [[nodiscard]] auto writev(iovecs from, F &&...call) const
    {
        return vectored<weir_stream_writev>(from, std::forward<F>(call)...);
    }
    // Queued: any number at once, written in order.
    template <class... F>
    [[nodiscard]] auto send(const_buffer from, F &&...call) const
    {
        return transfer<weir_stream_send>(from, std::forward<F>(call)...);
    }
    template <class... F>
    [[nodiscard]] auto send_file(int fd, std::int64_t offset, std::size_t length, F &&...call) const
    {
        return initiate<detail::on_io>(
            [h = raw(), fd, offset, length](weir_io_callback callback, void *user) {
                return weir_stream_send_file(h, fd, offset, length, callback, user);
            },
            std::forward<F>(call)...);
    }
    template <class... F>
    [[nodiscard]] auto write_fds(const_buffer from, const int *fds, std::size_t count, F &&...call) const
    {
        return initiate<detail::on_io>(
            [h = raw(), from, fds, count](weir_io_callback callback, void *user) {
                return weir_stream_write_fds(h, from.data(), from.size(), fds, count, callback, user);
            },
            std::forward<F>(call)...);
    }

    std::size_t queued() const
    {
        std::size_t bytes = 0;
        check(weir_stream_queued(raw(), &bytes));
        return bytes;
    }
    // void(std::error_code, std::size_t) when more than `high` bytes are queued by send(), and when `low` or fewer are left, in
    // turn; at last with errc::canceled. See water_marks() for coroutines.
    template <class F>
    [[nodiscard]] std::error_code set_high_water(std::size_t high, std::size_t low, F &&call) const
    {
        return each<detail::on_io>(
            [h = raw(), high, low](weir_io_callback callback, void *user) {
                return weir_stream_set_high_water(h, high, low, callback, user);
            },
            std::forward<F>(call));
    }
    void clear_high_water() const { check(weir_stream_set_high_water(raw(), 0, 0, nullptr, nullptr)); }

    // ---- at once, without an operation: 0 bytes where it would wait

    result<std::size_t> try_read(buffer to) const noexcept
    {
        result<std::size_t> done;
        done.error = make_error(weir_stream_try_read(raw(), to.data(), to.size(), &done.value));
        return done;
    }
    result<std::size_t> try_readv(iovecs to) const noexcept
    {
        result<std::size_t> done;
        done.error = make_error(weir_stream_try_readv(raw(), to.data(), to.count(), &done.value));
        return done;
    }
    result<std::size_t> try_write(const_buffer from) const noexcept
    {
        result<std::size_t> done;
        done.error = make_error(weir_stream_try_write(raw(), from.data(), from.size(), &done.value));
        return done;
    }
    // What the kernel does not take at once is copied and goes by itself, in order with send(); the value is what waits.
    result<std::size_t> send_copy(const_buffer from) const noexcept
    {
        result<std::size_t> queued;
        queued.error = make_error(weir_stream_send_copy(raw(), from.data(), from.size(), &queued.value));
        return queued;
    }
    result<std::size_t> try_writev(iovecs from) const noexcept
    {
        result<std::size_t> done;
        done.error = make_error(weir_stream_try_writev(raw(), from.data(), from.count(), &done.value));
        return done;
    }

private:
    template <auto Function, class Buffer, class... F>
    auto transfer(Buffer memory, F &&...call) const
    {
        return initiate<detail::on_io>(
            [h = raw(), memory](weir_io_callback callback, void *user) {
                return Function(h, memory.data(), memory.size(), callback, user);
            },
            std::forward<F>(call)...);
    }
    template <auto Function, class... F>
    auto vectored(iovecs memory, F &&...call) const
    {
        return initiate<detail::on_io>(
            [h = raw(), memory](weir_io_callback callback, void *user) {
                return Function(h, memory.data(), memory.count(), callback, user);
            },
            std::forward<F>(call)...);
    }
};

} // namespace weir

#endif
