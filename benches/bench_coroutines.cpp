// libweir through weir.hpp's coroutines: one context, run by one or more threads; a task for each connection.
#include "traffic_weir.h"

#include <atomic>
#include <memory>
#include <thread>
#include <vector>
#include <weir.hpp>

namespace {

weir::context_options options_of(const bench *b)
{
    weir::context_options options;
    set_options(&options, b);
    return options;
}

weir::acceptor acceptor_of(const weir::context &context, int listener)
{
    weir::acceptor acceptor(context);
    CHECK(weir_acceptor_adopt(acceptor.get(), listener));
    return acceptor;
}

// ---- echo, churn

struct Echo {
    const bench *b;
    weir::context context;
    std::atomic<int> ended{0};
    std::atomic<uint64_t> bytes{0};
};

weir::task<> serve(Echo &echo, weir::stream peer)
{
    std::vector<unsigned char> data(bench_buffer_size(echo.b));
    uint64_t bytes = 0;
    for (;;) {
        auto [error, size] = co_await peer.read_some(data);
        if (error) break;
        auto [failed, written] = co_await peer.write({data.data(), size});
        bytes += written;
        if (failed) break;
    }
    echo.bytes += bytes;
    echo.ended++;
}

weir::task<> accept_all(Echo &echo, weir::acceptor acceptor)
{
    for (int i = 0; i < echo.b->connections; i++) {
        auto [error, peer, from] = co_await acceptor.accept();
        REQUIRE(!error);
        weir::spawn(echo.context, serve(echo, std::move(peer)));
    }
}

int run_echo(const bench *b)
{
    struct client client;
    bench_span span;
    client_start(b, &client);
    Echo echo{b, weir::context(options_of(b))};
    weir::spawn(echo.context, accept_all(echo, acceptor_of(echo.context, client.listener)));
    bench_begin(&span);
    std::vector<std::thread> others;
    for (int i = 1; i < b->threads; i++) others.emplace_back([&echo] { echo.context.run(); });
    echo.context.run();
    for (auto &thread : others) thread.join();
    bench_end(&span);
    REQUIRE(echo.ended == b->connections);
    return client_finish(b, &client, echo.bytes, &span);
}

// ---- sink, source

weir::task<> one_way(const bench *b, weir::acceptor acceptor, uint64_t &bytes)
{
    auto [failed, peer, from] = co_await acceptor.accept();
    REQUIRE(!failed);
    acceptor.close();
    std::vector<unsigned char> data(b->size);
    if (b->workload == SINK) {
        for (;;) {
            auto [error, size] = co_await peer.read_some(data);
            bytes += size;
            if (error) {
                REQUIRE(error == weir::errc::eof);
                break;
            }
        }
    } else {
        int64_t end = bench_now() + int64_t(b->seconds * 1e9);
        while (bench_now() < end) {
            auto [error, size] = co_await peer.write(data);
            REQUIRE(!error);
            bytes += size;
        }
    }
}

int run_way(const bench *b)
{
    struct client client;
    bench_span span;
    uint64_t bytes = 0;
    client_start(b, &client);
    weir::context context(options_of(b));
    weir::spawn(context, one_way(b, acceptor_of(context, client.listener), bytes));
    bench_begin(&span);
    context.run();
    bench_end(&span);
    return client_finish(b, &client, bytes, &span);
}

// ---- udp

weir::task<> answer(weir::datagram datagram, uint64_t &bytes)
{
    std::vector<unsigned char> data(2048);
    weir::address from;
    for (;;) {
        auto [error, size] = co_await datagram.receive_from(data, from);
        REQUIRE(!error);
        if (size == 1) break;
        auto [failed, sent] = co_await datagram.send_to({data.data(), size}, from);
        REQUIRE(!failed);
        bytes += sent;
    }
}

weir::task<> answer_batches(weir::datagram datagram, uint64_t &bytes)
{
    std::vector<std::array<unsigned char, 2048>> data(BENCH_BURST);
    std::vector<sockaddr_storage> addresses(BENCH_BURST);
    std::vector<weir_datagram_message> batch(BENCH_BURST);
    for (;;) {
        for (size_t i = 0; i < BENCH_BURST; i++) {
            batch[i] = weir_datagram_message{};
            batch[i].data = data[i].data();
            batch[i].length = data[i].size();
            batch[i].address = &addresses[i];
        }
        auto [error, count] = co_await datagram.receive_batch(batch);
        REQUIRE(!error);
        for (size_t i = 0; i < count; i++) {
            if (batch[i].bytes == 1) co_return;
            batch[i].length = batch[i].bytes;
            bytes += batch[i].bytes;
        }
        auto [failed, sent] = co_await datagram.send_batch({batch.data(), count});
        REQUIRE(!failed && sent == count);
    }
}

int run_udp(const bench *b)
{
    struct client client;
    bench_span span;
    uint64_t bytes = 0;
    client_start(b, &client);
    weir::context context(options_of(b));
    weir::datagram datagram(context);
    CHECK(weir_datagram_adopt(datagram.get(), client.listener));
    weir::spawn(context, b->buffered ? answer_batches(std::move(datagram), bytes) : answer(std::move(datagram), bytes));
    bench_begin(&span);
    context.run();
    bench_end(&span);
    return client_finish(b, &client, bytes, &span);
}

// ---- post: one task that yields to the loop; many tasks that are begun

struct Seen {
    size_t count = 0;
    uint64_t sum = 0;
};

weir::task<> yield(const weir::context &context, size_t n, Seen &seen)
{
    for (size_t i = 0; i < n; i++) {
        REQUIRE(!co_await context.post());
        seen.count++;
        seen.sum += i;
    }
}

weir::task<> count(Seen &seen, size_t value)
{
    seen.count++;
    seen.sum += value;
    co_return;
}

weir::task<> spawn_batches(const weir::context &context, const bench *b, Seen &seen)
{
    for (size_t first = 0; first < b->n;) {
        size_t end = bench_batch_end(b, first);
        for (; first < end; first++) weir::spawn(context, count(seen, first));
        REQUIRE(!co_await context.post());
    }
}

int run_post(const bench *b)
{
    bench_span span;
    Seen seen;
    weir::context context(options_of(b));
    if (b->workload == POST_INSIDE) weir::spawn(context, yield(context, b->n, seen));
    else weir::spawn(context, spawn_batches(context, b, seen));
    bench_begin(&span);
    context.run();
    bench_end(&span);
    REQUIRE(seen.count == b->n && seen.sum == bench_sum(b->n));
    bench_report(b, b->n, &span);
    return 0;
}

// ---- timers: a task for each

weir::task<> fire(weir::timer &timer, int64_t &late)
{
    std::error_code error = co_await timer.wait();
    REQUIRE(!error);
    late = bench_now() - late;
}

int run_timer_fire(const bench *b)
{
    bench_span span;
    uint64_t state = 1, early = 0;
    std::vector<int64_t> late(b->n); // the expiry, until it has fired
    {
        weir::context context(options_of(b));
        std::vector<weir::timer> timers;
        timers.reserve(b->n);
        for (size_t i = 0; i < b->n; i++) timers.emplace_back(context);
        bench_begin(&span);
        int64_t base = bench_now(); // the context's clock
        for (size_t i = 0; i < b->n; i++) {
            late[i] = base + bench_fire_expiry(&state);
            CHECK(weir_timer_expires_at(timers[i].get(), late[i]));
            weir::spawn(context, fire(timers[i], late[i]));
        }
        context.run();
        bench_end(&span);
        early = bench_report_lateness(b, late.data(), b->n, &span);
    }
    if (early > 0) bench_fail("%llu timers fired early", static_cast<unsigned long long>(early));
    return 0;
}

} // namespace

int main(int argc, char **argv)
{
    bench b;
    if (!bench_options(&b, "libweir-coroutines", argc, argv)) return 2;
    if (b.threads != 1 && b.workload != PINGPONG && b.workload != ECHO100) return bench_unsupported(&b);
    switch (b.workload) {
    case PINGPONG:
    case ECHO100:
    case CHURN: return run_echo(&b);
    case SINK:
    case SOURCE: return run_way(&b);
    case UDP:
    case UDP_BURST: return run_udp(&b);
    case POST_INSIDE:
    case POST_BATCH: return run_post(&b);
    case TIMER_FIRE: return run_timer_fire(&b);
    default: return bench_unsupported(&b);
    }
}
