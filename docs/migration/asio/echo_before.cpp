// A line echo server on Asio: a time limit for idle clients, a timer, a clean end on SIGTERM.
#include <asio.hpp>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <string>

using asio::ip::tcp;

static std::chrono::milliseconds idle;
static unsigned lines, ticks;

class client : public std::enable_shared_from_this<client> {
public:
    explicit client(tcp::socket socket) : socket_(std::move(socket)), timer_(socket_.get_executor()) {}

    void read() {
        timer_.expires_after(idle);
        timer_.async_wait([self = shared_from_this()](asio::error_code error) {
            if (error) return;
            self->timed_out_ = true;
            self->socket_.cancel();
        });
        asio::async_read_until(socket_, asio::dynamic_buffer(input_, 4096), '\n',
                               [self = shared_from_this()](asio::error_code error, std::size_t bytes) {
                                   self->timer_.cancel();
                                   if (self->timed_out_) self->write("idle\n", true);
                                   else if (!error) self->answer(bytes);
                               });
    }

private:
    void answer(std::size_t bytes) {
        std::string line = input_.substr(0, bytes);
        input_.erase(0, bytes);
        lines++;
        write("echo: " + line, line == "quit\n");
    }

    void write(std::string text, bool last) {
        output_ = std::move(text);
        asio::async_write(socket_, asio::buffer(output_),
                          [self = shared_from_this(), last](asio::error_code error, std::size_t) {
                              if (!error && !last) self->read();
                          });
    }

    tcp::socket socket_;
    asio::steady_timer timer_;
    bool timed_out_ = false;
    std::string input_, output_;
};

static void accept(tcp::acceptor &acceptor) {
    acceptor.async_accept([&](asio::error_code error, tcp::socket socket) {
        if (error) return;
        std::make_shared<client>(std::move(socket))->read();
        accept(acceptor);
    });
}

static void tick(asio::steady_timer &timer) {
    timer.expires_at(timer.expiry() + std::chrono::milliseconds(50));
    timer.async_wait([&](asio::error_code error) {
        if (error) return;
        ticks++;
        tick(timer);
    });
}

int main(int argc, char **argv) {
    idle = std::chrono::milliseconds(argc > 1 ? std::atoi(argv[1]) : 60000);
    try {
        asio::io_context context;
        tcp::acceptor acceptor(context, tcp::endpoint(asio::ip::address_v4::loopback(), 0));
        accept(acceptor);
        asio::steady_timer timer(context, std::chrono::steady_clock::now());
        tick(timer);
        asio::signal_set signals(context, SIGTERM);
        signals.async_wait([&](asio::error_code error, int) {
            if (!error) context.stop();
        });

        std::printf("listening on %d\n", acceptor.local_endpoint().port());
        std::fflush(stdout);
        context.run();
    } catch (const std::exception &error) {
        std::fprintf(stderr, "start: %s\n", error.what());
        return 1;
    }
    std::printf("%u lines, the timer %s\n", lines, ticks > 0 ? "ticked" : "did not tick");
    return 0;
}
