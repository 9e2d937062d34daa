// The same line echo server on libweir, by its C++ header.
#include <array>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <string>
#include <weir.hpp>

using namespace std::chrono_literals;

static std::chrono::milliseconds idle;
static unsigned lines, ticks;

class client : public std::enable_shared_from_this<client> {
public:
    explicit client(weir::stream socket) : socket_(std::move(socket)) {
        socket_.set_timeout(WEIR_WAIT_READ, idle);
    }

    void read() {
        // What could not begin is as what failed: nobody holds the client any longer.
        static_cast<void>(
            socket_.read_until(until_, [self = shared_from_this()](std::error_code error, std::size_t bytes) {
                if (error == weir::errc::timed_out) self->write("idle\n", true);
                else if (!error) self->answer(bytes);
            }));
    }

private:
    void answer(std::size_t bytes) {
        std::string line(until_.text().substr(0, bytes));
        until_.consume(bytes);
        lines++;
        write("echo: " + line, line == "quit\n");
    }

    void write(std::string text, bool last) {
        output_ = std::move(text);
        static_cast<void>(socket_.write(weir::const_buffer(output_.data(), output_.size()),
                                        [self = shared_from_this(), last](std::error_code error, std::size_t) {
                                            if (!error && !last) self->read();
                                        }));
    }

    weir::stream socket_;
    std::array<char, 4096> input_;
    weir::until until_{input_, "\n"};
    std::string output_;
};

int main(int argc, char **argv) {
    idle = std::chrono::milliseconds(argc > 1 ? std::atoi(argv[1]) : 60000);
    try {
        weir::context context;
        weir::acceptor acceptor(context, weir::address("127.0.0.1:0"));
        weir::check(acceptor.accept_each([](std::error_code error, weir::stream socket, const weir::address &) {
            if (!error) std::make_shared<client>(std::move(socket))->read();
        }));
        weir::timer timer(context);
        weir::check(timer.start(50ms, 50ms, [](std::error_code error) {
            if (!error) ticks++;
        }));
        weir::signals signals(context, {SIGTERM});
        weir::check(signals.wait([&](std::error_code error, int) {
            if (!error) context.stop();
        }));

        std::string address = acceptor.local_address().to_string();
        std::printf("listening on %s\n", address.substr(address.rfind(':') + 1).c_str());
        std::fflush(stdout);
        context.run();
    } catch (const std::exception &error) {
        std::fprintf(stderr, "start: %s\n", error.what());
        return 1;
    }
    std::printf("%u lines, the timer %s\n", lines, ticks > 0 ? "ticked" : "did not tick");
    return 0;
}
