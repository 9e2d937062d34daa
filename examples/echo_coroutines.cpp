// A TCP echo server with coroutines, in C++20: every byte that comes in goes back out.
//
//     echo_coroutines [ADDRESS]         (127.0.0.1:0: any free port, which is printed)
//
// A connection is one task, which ends when its peer does, or is silent for a minute. SIGINT and SIGTERM cancel all
// tasks; the context then has nothing left to wait for.
#include <array>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <exception>
#include <weir.hpp>

namespace {

using namespace std::chrono_literals;

weir::task<> echo(weir::stream stream) {
    std::array<char, 16384> data;
    for (;;) {
        auto [error, bytes] = co_await weir::with_timeout(stream.read_some(data), 60s);
        if (error) co_return;
        auto [failed, written] = co_await stream.write(weir::const_buffer(data.data(), bytes));
        if (failed) co_return;
    }
}

weir::task<> serve(weir::context &context, weir::acceptor &acceptor, weir::cancellation &stop) {
    for (;;) {
        auto [error, peer, from] = co_await acceptor.accept();
        if (error == weir::errc::canceled) co_return;
        weir::check(error); // stops the context and comes out of run
        weir::spawn(context, echo(std::move(peer)), stop);
    }
}

weir::task<> wait_for_signal(weir::context &context, weir::cancellation &stop) {
    weir::signals signals(context, {SIGINT, SIGTERM});
    static_cast<void>(co_await signals.wait());
    stop.cancel();
}

} // namespace

int main(int count, char **arguments) {
    try {
        weir::cancellation stop; // outlives the tasks that it ends
        weir::context context;
        weir::acceptor acceptor(context, weir::address(count > 1 ? arguments[1] : "127.0.0.1:0"));
        weir::spawn(context, serve(context, acceptor, stop), stop);
        weir::spawn(context, wait_for_signal(context, stop));
        std::printf("listening on %s\n", acceptor.local_address().to_string().c_str());
        std::fflush(stdout);
        context.run(); // returns when nothing is pending
        return 0;
    } catch (const std::exception &error) {
        std::fprintf(stderr, "echo_coroutines: %s\n", error.what());
        return 1;
    }
}
