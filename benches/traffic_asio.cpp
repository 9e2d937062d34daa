// Standalone Asio: one way through a connection, datagrams, and what goes on inside a loop.
#define ASIO_STANDALONE 1
#include <asio.hpp>

#include <chrono>
#include <deque>
#include <memory>

#include "traffic.h"

namespace {

using tcp = asio::ip::tcp;
using udp = asio::ip::udp;
using std::chrono::nanoseconds;

// ---- sink, source

struct Way {
    const bench *b;
    asio::io_context context{1};
    tcp::acceptor acceptor{context};
    tcp::socket socket{context};
    std::unique_ptr<char[]> data;
    int64_t end = 0;
    uint64_t bytes = 0;

    explicit Way(const bench *options) : b(options), data(new char[options->size]()) {}

    void read() {
        socket.async_read_some(asio::buffer(data.get(), b->size), [this](std::error_code error, size_t size) {
            bytes += size;
            if (!error) return read();
            REQUIRE(error == asio::error::eof);
            socket.close();
        });
    }

    void write() {
        if (bench_now() >= end) return socket.close();
        asio::async_write(socket, asio::buffer(data.get(), b->size), [this](std::error_code error, size_t size) {
            REQUIRE(!error);
            bytes += size;
            write();
        });
    }
};

int run_way(const bench *b) {
    struct client client;
    bench_span span;
    client_start(b, &client);
    Way way(b);
    way.acceptor.assign(tcp::v4(), client.listener);
    way.acceptor.async_accept(way.socket, [&way](std::error_code error) {
        REQUIRE(!error);
        way.acceptor.close();
        way.end = bench_now() + int64_t(way.b->seconds * 1e9);
        if (way.b->workload == SINK) way.read();
        else way.write();
    });
    bench_begin(&span);
    way.context.run();
    bench_end(&span);
    return client_finish(b, &client, way.bytes, &span);
}

// ---- udp

struct Datagrams {
    asio::io_context context{1};
    udp::socket socket{context};
    udp::endpoint sender;
    char data[2048];
    uint64_t bytes = 0;

    void receive() {
        socket.async_receive_from(asio::buffer(data), sender, [this](std::error_code error, size_t size) {
            REQUIRE(!error);
            if (size == 1) return socket.close();
            socket.async_send_to(asio::buffer(data, size), sender, [this](std::error_code failed, size_t sent) {
                REQUIRE(!failed);
                bytes += sent;
                receive();
            });
        });
    }
};

int run_udp(const bench *b) {
    struct client client;
    bench_span span;
    if (b->buffered) return bench_unsupported(b);
    client_start(b, &client);
    Datagrams datagrams;
    datagrams.socket.assign(udp::v4(), client.listener);
    datagrams.receive();
    bench_begin(&span);
    datagrams.context.run();
    bench_end(&span);
    return client_finish(b, &client, datagrams.bytes, &span);
}

// ---- timer_rearm: a move cancels the wait, so there is a new one

void wait(asio::steady_timer &timer) {
    timer.async_wait([](std::error_code error) { REQUIRE(error == asio::error::operation_aborted); });
}

int run_rearm(const bench *b) {
    bench_span span;
    uint64_t state = 1;
    size_t count = size_t(b->connections);
    asio::io_context context(1);
    std::deque<asio::steady_timer> timers;
    for (size_t i = 0; i < count; i++) {
        timers.emplace_back(context, nanoseconds(bench_rearm_expiry(&state)));
        wait(timers.back());
    }
    bench_begin(&span);
    for (size_t i = 0; i < b->n; i++) {
        asio::steady_timer &timer = timers[i % count];
        timer.expires_after(nanoseconds(bench_rearm_expiry(&state)));
        wait(timer);
        if (i % 1024 == 1023) context.poll();
    }
    bench_end(&span);
    for (auto &timer : timers) timer.cancel();
    context.run();
    bench_report(b, b->n, &span);
    return 0;
}

// ---- ring

struct Spot {
    ring *all;
    asio::posix::stream_descriptor pipe;
    int index;

    void wait() {
        pipe.async_wait(asio::posix::stream_descriptor::wait_read, [this](std::error_code error) {
            if (error) return;
            if (ring_turn(all, index)) static_cast<asio::io_context &>(pipe.get_executor().context()).stop();
            else wait();
        });
    }
};

int run_ring(const bench *b) {
    bench_span span;
    struct ring ring;
    if (b->edge) return bench_unsupported(b);
    ring_open(&ring, b);
    asio::io_context context(1);
    std::deque<Spot> spots;
    for (int i = 0; i < b->connections; i++) {
        spots.push_back(Spot{&ring, asio::posix::stream_descriptor(context, ring.pipes[i][0]), i});
        spots.back().wait();
    }
    context.poll();
    bench_begin(&span);
    ring_begin(&ring);
    context.run();
    bench_end(&span);
    for (auto &spot : spots) spot.pipe.release();
    return ring_end(&ring, &span);
}

// ---- signal

struct Signals {
    const bench *b;
    asio::signal_set set;
    size_t count = 0;

    void wait() {
        set.async_wait([this](std::error_code error, int number) {
            REQUIRE(!error && number == SIGUSR1);
            if (++count == b->n) return;
            wait();
            raise(SIGUSR1);
        });
    }
};

int run_signal(const bench *b) {
    bench_span span;
    asio::io_context context(1);
    Signals signals{b, asio::signal_set(context, SIGUSR1)};
    signals.wait();
    bench_begin(&span);
    raise(SIGUSR1);
    context.run();
    bench_end(&span);
    REQUIRE(signals.count == b->n);
    bench_report(b, b->n, &span);
    return 0;
}

// ---- resolve

struct Names {
    const bench *b;
    tcp::resolver resolver;
    size_t count = 0;

    void next() {
        resolver.async_resolve("127.0.0.1", "80", tcp::resolver::numeric_host | tcp::resolver::numeric_service,
                               [this](std::error_code error, const tcp::resolver::results_type &results) {
                                   REQUIRE(!error && !results.empty());
                                   if (++count < b->n) next();
                               });
    }
};

int run_resolve(const bench *b) {
    bench_span span;
    asio::io_context context(1);
    Names names{b, tcp::resolver(context)};
    bench_begin(&span);
    names.next();
    context.run();
    bench_end(&span);
    REQUIRE(names.count == b->n);
    bench_report(b, b->n, &span);
    return 0;
}

// ---- idle

int run_idle(const bench *options) {
    static char buffer[4096];
    bench_span span;
    bench all = *options, *b = &all;
    int(*pairs)[2] = idle_pairs(b);
    asio::io_context context(1);
    asio::local::stream_protocol::socket first(context);
    size_t before = bench_memory();
    bench_begin(&span);
    std::deque<asio::local::stream_protocol::socket> sockets;
    for (int i = 0; i < b->connections; i++) {
        sockets.emplace_back(context, asio::local::stream_protocol(), pairs[i][0]);
        sockets.back().async_read_some(asio::buffer(buffer), [](std::error_code, size_t) {});
    }
    context.poll();
    bench_end(&span);
    int result = bench_report_memory(b, before, &span);
    sockets.clear();
    free(pairs);
    return result;
}

// ---- arrival

struct Arrival {
    arrival a;
    asio::io_context context{1};
    asio::posix::stream_descriptor pipe{context};

    void handler() {
        asio::post(context, [this] {
            if (arrival_handler(&a)) handler();
        });
    }

    void wait() {
        pipe.async_wait(asio::posix::stream_descriptor::wait_read, [this](std::error_code error) {
            REQUIRE(!error);
            if (!arrival_read(&a)) wait();
        });
    }
};

int run_arrival(const bench *b) {
    bench_span span;
    Arrival arrival;
    arrival_open(&arrival.a, b);
    arrival.pipe.assign(arrival.a.ends[0]);
    arrival.wait();
    arrival.handler();
    bench_begin(&span);
    arrival_begin(&arrival.a);
    arrival.context.run();
    bench_end(&span);
    arrival.pipe.release();
    return arrival_end(&arrival.a, &span);
}

} // namespace

int run_traffic(const bench *b) {
    return b->workload == SINK || b->workload == SOURCE ? run_way(b) : run_udp(b);
}

int run_loop(const bench *b) {
    switch (b->workload) {
    case TIMER_REARM: return run_rearm(b);
    case RING: return run_ring(b);
    case SIGNAL: return run_signal(b);
    case RESOLVE: return run_resolve(b);
    case IDLE: return run_idle(b);
    case ARRIVAL: return run_arrival(b);
    default: return bench_unsupported(b);
    }
}
