// A TCP echo server with callbacks, in C++17: every byte that comes in goes back out.
//
//     echo_callbacks [ADDRESS]          (127.0.0.1:0: any free port, which is printed)
//
// A connection is kept alive by the callable of its pending operation, which holds a shared_ptr to it: when an operation
// fails, nobody starts the next one, and the connection is gone. SIGINT and SIGTERM end the server.
#include <array>
#include <csignal>
#include <cstdint>
#include <cstdio>
#include <exception>
#include <memory>
#include <weir.hpp>

namespace {

class connection : public std::enable_shared_from_this<connection> {
public:
    explicit connection(weir::stream peer) : stream_(std::move(peer)) {}

    void read() {
        // An error of the start ends the connection as one of the read does.
        static_cast<void>(stream_.read_some(data_, [self = shared_from_this()](std::error_code error, std::size_t bytes) {
            if (!error) self->write(bytes);
        }));
    }

private:
    void write(std::size_t bytes) {
        static_cast<void>(stream_.write(weir::const_buffer(data_.data(), bytes),
                                        [self = shared_from_this()](std::error_code error, std::size_t) {
                                            if (!error) self->read();
                                        }));
    }

    weir::stream stream_;
    std::array<char, 16384> data_;
};

constexpr std::uint64_t connections = 1; // the tag of their streams

void serve(const weir::address &at) {
    weir::context context;
    weir::acceptor acceptor(context, at);

    weir::check(acceptor.accept_each([&](std::error_code error, weir::stream peer, const weir::address &) {
        if (error == weir::errc::canceled) return;
        weir::check(error); // stops the context and comes out of run
        peer.set_tag(connections);
        std::make_shared<connection>(std::move(peer))->read();
    }));

    weir::signals signals(context, {SIGINT, SIGTERM});
    weir::check(signals.wait([&](std::error_code, int) {
        acceptor.close();
        context.cancel_tag(connections); // each has an operation pending, which fails now
    }));

    std::printf("listening on %s\n", acceptor.local_address().to_string().c_str());
    std::fflush(stdout);
    context.run(); // returns when nothing is pending
}

} // namespace

int main(int count, char **arguments) {
    try {
        serve(weir::address(count > 1 ? arguments[1] : "127.0.0.1:0"));
        return 0;
    } catch (const std::exception &error) {
        std::fprintf(stderr, "echo_callbacks: %s\n", error.what());
        return 1;
    }
}
