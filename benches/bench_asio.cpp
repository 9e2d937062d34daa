// Standalone Asio: one io_context, run by one or more threads; handlers are function objects.
#define ASIO_STANDALONE 1
#include <asio.hpp>

#include <chrono>
#include <deque>
#include <memory>
#include <thread>
#include <vector>

#include "traffic.h"

namespace {

using tcp = asio::ip::tcp;
using std::chrono::nanoseconds;

// ---- echo

struct Echo {
    const bench *b;
    asio::io_context context;
    tcp::acceptor acceptor;
    std::atomic<int> ended{0};
    std::atomic<uint64_t> bytes{0};
    int accepted = 0;

    explicit Echo(const bench *options) : b(options), context(options->threads), acceptor(context) {}
};

// One operation at a time: the handlers of a connection never overlap. The last handler deletes it.
class Connection {
public:
    Connection(Echo &echo, tcp::socket socket)
        : echo_(echo), socket_(std::move(socket)), capacity_(bench_buffer_size(echo.b)), data_(new char[capacity_]) {}

    void read() {
        socket_.async_read_some(asio::buffer(data_.get(), capacity_), [this](std::error_code error, size_t size) {
            if (error) end();
            else write(size);
        });
    }

private:
    void write(size_t size) {
        asio::async_write(socket_, asio::buffer(data_.get(), size), [this](std::error_code error, size_t written) {
            bytes_ += written;
            if (error) end();
            else read();
        });
    }

    void end() {
        echo_.bytes += bytes_;
        echo_.ended++;
        delete this;
    }

    Echo &echo_;
    tcp::socket socket_;
    size_t capacity_;
    std::unique_ptr<char[]> data_;
    uint64_t bytes_ = 0;
};

void accept(Echo &echo) {
    echo.acceptor.async_accept([&echo](std::error_code error, tcp::socket socket) {
        REQUIRE(!error);
        (new Connection(echo, std::move(socket)))->read();
        if (++echo.accepted == echo.b->connections) echo.acceptor.close();
        else accept(echo);
    });
}

// Runs the context in b->threads threads, this one among them.
void run(asio::io_context &context, int threads) {
    std::vector<std::thread> others;
    for (int i = 1; i < threads; i++) others.emplace_back([&context] { context.run(); });
    context.run();
    for (auto &thread : others) thread.join();
}

int run_echo(const bench *b) {
    struct client client;
    bench_span span;
    client_start(b, &client);
    Echo echo(b);
    echo.acceptor.assign(tcp::v4(), client.listener);
    accept(echo);
    bench_begin(&span);
    run(echo.context, b->threads);
    bench_end(&span);
    REQUIRE(echo.ended == b->connections);
    return client_finish(b, &client, echo.bytes, &span);
}

// ---- post

struct alignas(64) Seen {
    uint64_t count = 0, sum = 0;
};

thread_local Seen seen;

struct Post {
    const bench *b;
    asio::io_context context;
    size_t n;
    std::mutex lock;
    Seen total;

    explicit Post(const bench *options) : b(options), context(b->threads), n(b->n) {}

    void collect() {
        std::lock_guard<std::mutex> guard(lock);
        total.count += seen.count;
        total.sum += seen.sum;
    }
};

void count(size_t value) {
    seen.count++;
    seen.sum += value;
}

struct Inside {
    Post *post;
    size_t value;
    void operator()() const {
        count(value);
        if (value + 1 < post->n) asio::post(post->context, Inside{post, value + 1});
    }
};

struct Batch {
    Post *post;
    size_t first;
    void operator()() const {
        size_t end = bench_batch_end(post->b, first);
        for (size_t i = first; i < end; i++) asio::post(post->context, [i] { count(i); });
        if (end < post->n) asio::post(post->context, Batch{post, end});
    }
};

void post_share(void *target, size_t first, size_t last) {
    Post *post = static_cast<Post *>(target);
    for (size_t i = first; i < last; i++) asio::post(post->context, [i] { count(i); });
    post->context.get_executor().on_work_finished();
}

int run_post(const bench *b) {
    bench_span span;
    static bench_posters posters;
    Post post(b);
    asio::steady_timer unused(post.context); // brings the reactor in: a loop that serves no I/O is not the case here
    bool outside = b->workload == POST_OUTSIDE || b->workload == POST_OUTSIDE2;
    std::vector<std::thread> runners;
    if (outside) {
        for (int i = 0; i < b->producers; i++) post.context.get_executor().on_work_started();
        bench_posters_start(&posters, b, post_share, &post);
        for (int i = 1; i < b->threads; i++)
            runners.emplace_back([&post] {
                post.context.run();
                post.collect();
            });
    }
    bench_begin(&span);
    if (outside) {
        bench_posters_go(&posters);
    } else if (b->workload == POST_INSIDE) {
        asio::post(post.context, Inside{&post, 0});
    } else {
        asio::post(post.context, Batch{&post, 0});
    }
    post.context.run();
    post.collect();
    for (auto &runner : runners) runner.join();
    bench_end(&span);
    if (outside) bench_posters_join(&posters);
    REQUIRE(post.total.count == b->n && post.total.sum == bench_sum(b->n));
    bench_report(b, b->n, &span);
    return 0;
}

// ---- timers

int run_timer_churn(const bench *b) {
    bench_span span;
    uint64_t state = 1;
    size_t cancelled = 0;
    asio::io_context context(1);
    std::deque<asio::steady_timer> timers;
    for (size_t i = 0; i < b->n; i++) timers.emplace_back(context);
    bench_begin(&span);
    for (auto &timer : timers) {
        timer.expires_after(nanoseconds(bench_churn_expiry(&state)));
        timer.async_wait([&cancelled](std::error_code error) { cancelled += error == asio::error::operation_aborted; });
    }
    for (auto &timer : timers) REQUIRE(timer.cancel() == 1);
    context.poll();
    bench_end(&span);
    REQUIRE(cancelled == b->n);
    bench_report(b, b->n, &span);
    return 0;
}

int run_timer_one(const bench *b) {
    bench_span span;
    uint64_t state = 1;
    size_t cancelled = 0;
    asio::io_context context(1);
    auto work = asio::make_work_guard(context);
    asio::steady_timer timer(context);
    bench_begin(&span);
    for (size_t i = 0; i < b->n; i++) {
        timer.expires_after(nanoseconds(bench_churn_expiry(&state)));
        timer.async_wait([&cancelled](std::error_code error) { cancelled += error == asio::error::operation_aborted; });
        REQUIRE(timer.cancel() == 1);
        if (i % 1024 == 1023) context.poll();
    }
    context.poll();
    bench_end(&span);
    REQUIRE(cancelled == b->n);
    bench_report(b, b->n, &span);
    return 0;
}

int run_timer_fire(const bench *b) {
    bench_span span;
    uint64_t state = 1;
    size_t fired = 0;
    asio::io_context context(1);
    std::deque<asio::steady_timer> timers;
    std::vector<int64_t> late(b->n);
    for (size_t i = 0; i < b->n; i++) timers.emplace_back(context);
    bench_begin(&span);
    int64_t base = bench_now(); // the clock of steady_timer
    for (size_t i = 0; i < b->n; i++) {
        int64_t expiry = base + bench_fire_expiry(&state);
        int64_t *mine = &late[i];
        timers[i].expires_at(asio::steady_timer::time_point(nanoseconds(expiry)));
        timers[i].async_wait([mine, expiry, &fired](std::error_code error) {
            *mine = bench_now() - expiry;
            fired += !error;
        });
    }
    context.run();
    bench_end(&span);
    REQUIRE(fired == b->n);
    bench_report_lateness(b, late.data(), b->n, &span);
    return 0;
}

} // namespace

int main(int argc, char **argv) {
    bench b;
    if (!bench_options(&b, "asio", argc, argv)) return 2;
    bool several = b.workload == PINGPONG || b.workload == ECHO100 || b.workload == POST_OUTSIDE2;
    if (b.threads != 1 && !several) return bench_unsupported(&b);
    switch (b.workload) {
    case PINGPONG:
    case ECHO100:
    case CHURN: return run_echo(&b);
    case SINK:
    case SOURCE:
    case UDP:
    case UDP_BURST: return run_traffic(&b);
    case POST_INSIDE:
    case POST_BATCH:
    case POST_OUTSIDE:
    case POST_OUTSIDE2: return run_post(&b);
    case TIMER_CHURN: return run_timer_churn(&b);
    case TIMER_ONE: return run_timer_one(&b);
    case TIMER_FIRE: return run_timer_fire(&b);
    default: return run_loop(&b);
    }
}
