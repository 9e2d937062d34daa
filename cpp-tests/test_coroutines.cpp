// Every operation as an awaitable (C++20).
#include "check.hpp"

#if WEIR_HAS_COROUTINES

#include <array>
#include <fcntl.h>

using weir::errc;
using weir::task;

TEST(posting_hops_to_the_context)
{
    weir::context context;
    weir::strand strand(context);
    weir::run(context, [](weir::context &on, weir::strand &in) -> task<> {
        CHECK(on.running_in_this_thread());
        CHECK_OK(co_await on.post());
        CHECK_OK(co_await on.defer());
        CHECK_OK(co_await on.dispatch());
        CHECK(!in.running_in_this_thread());
        CHECK_OK(co_await in.post());
        CHECK(in.running_in_this_thread());
        CHECK_OK(co_await in.dispatch());
        CHECK(in.running_in_this_thread());
        CHECK_OK(co_await on.post());
        CHECK(!in.running_in_this_thread());
        CHECK_OK(co_await in.dispatch());
        CHECK(in.running_in_this_thread());
    }(context, strand));
}

TEST(timers)
{
    weir::context context;
    weir::run(context, [](weir::context &on) -> task<> {
        weir::timer timer(on, 1ms);
        CHECK_OK(co_await timer.wait());
        CHECK_OK(co_await weir::sleep_for(on, 1ms));
        CHECK_OK(co_await weir::sleep_for(on, -1s));
        auto every = weir::ticks(timer, 1ms, 1ms);
        std::size_t ticks = 0;
        while (ticks < 3)
            ticks += (co_await every.next()).get();
        timer.cancel();
        auto last = co_await every.next();
        while (last)
            last = co_await every.next();
        CHECK_EQ(last.error, errc::canceled);
        CHECK_EQ((co_await every.next()).error, errc::canceled);
        auto second = weir::ticks(timer, 1ms, 0ns);
        CHECK_EQ((co_await second.next()).error, errc::invalid);
        auto third = weir::ticks(timer, 1ms, 1ms);
        auto moved = std::move(third);
        CHECK_EQ((co_await third.next()).error, errc::bad_handle);
        CHECK((co_await moved.next()).value >= 1);
    }(context));
}

TEST(hooks)
{
    weir::context context;
    weir::run(context, [](weir::context &on) -> task<> {
        weir::hook hook(on, WEIR_HOOK_IDLE);
        weir::work_guard work(on);
        auto idle = weir::turns(hook);
        for (int i = 0; i < 5; i++)
            CHECK((co_await idle.next()).get() >= 1);
    }(context));
}

static task<> streams(weir::context &on)
{
    weir::acceptor acceptor(on, loopback());
    weir::stream client(on);
    auto [connecting, accepting] = co_await weir::when_all(client.connect(acceptor.local_address()), acceptor.accept());
    CHECK_OK(connecting);
    CHECK_OK(accepting.error);
    CHECK_EQ(accepting.from, client.local_address());
    weir::stream server = std::move(accepting.peer);

    CHECK_EQ((co_await client.write("hello")).get(), 5u);
    char data[64];
    CHECK_OK(co_await server.wait(WEIR_WAIT_READ));
    CHECK_EQ((co_await server.read_some(data)).get(), 5u);
    CHECK_EQ((co_await client.write_some("12345")).get(), 5u);
    CHECK_EQ((co_await server.read(weir::buffer(data, 5))).get(), 5u);
    iovec parts[] = {{data, 2}, {data + 2, 3}};
    CHECK_EQ((co_await client.writev(parts)).get(), 5u);
    CHECK_EQ((co_await server.readv(parts)).get(), 5u);
    CHECK_EQ((co_await client.writev_some(parts)).get(), 5u);
    CHECK_EQ((co_await server.readv_some(parts)).get(), 5u);
    CHECK_EQ(std::string_view(data, 5), "12345"sv);
    CHECK_EQ((co_await client.send("one\ntwo\n")).get(), 8u);
    weir::until line(data, "\n");
    std::size_t n = (co_await server.read_until(line)).get();
    CHECK_EQ(line.text().substr(0, n), "one\n"sv);
    line.consume(n);
    n = (co_await server.read_until(line)).get();
    CHECK_EQ(line.text().substr(0, n), "two\n"sv);

    int file = ::open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
    std::string content(1000, ' ');
    auto [sent, read] = co_await weir::when_all(client.send_file(file, 0, content.size()), server.read(content));
    CHECK_EQ(sent.get(), 1000u);
    CHECK_EQ(read.get(), 1000u);
    CHECK_EQ(content.substr(1, 3), "ELF"sv);
    ::close(file);

    CHECK_OK(client.shutdown(WEIR_SHUTDOWN_WRITE));
    auto [error, bytes] = co_await server.read_some(data);
    CHECK_EQ(error, errc::eof);
    CHECK_EQ(bytes, 0u);
    CHECK_EQ((co_await weir::stream(on).read_some(data)).error, errc::not_connected);
    CHECK_EQ((co_await weir::stream().read_some(data)).error, errc::bad_handle);

    weir::stream other(on);
    std::vector<weir::address> list = {acceptor.local_address()};
    auto [connected_to, ready] =
        co_await weir::when_all(other.connect_list(list, weir::connect_options()), acceptor.wait());
    CHECK_OK(connected_to);
    CHECK_OK(ready);
    CHECK_OK((co_await acceptor.accept()).error);
}

TEST(stream_operations)
{
    weir::context context;
    weir::run(context, streams(context));
}

static task<> local(weir::context &on)
{
    auto [a, b] = weir::stream::pair(on);
    int fds[2], got[2];
    CHECK_EQ(pipe(fds), 0);
    std::size_t count = 2;
    char data[8];
    CHECK_EQ((co_await a.write_fds("x", fds, 2)).get(), 1u);
    CHECK_EQ((co_await b.read_fds(data, got, count)).get(), 1u);
    CHECK_EQ(count, 2u);
    for (int fd : {fds[0], fds[1], got[0], got[1]})
        ::close(fd);

    std::string big(4 << 20, 'b'), all(4 << 20, ' ');
    auto marks = weir::water_marks(a, 1 << 20, 1000);
    CHECK_OK(a.send(big, [](std::error_code error, std::size_t) { CHECK_OK(error); }));
    CHECK((co_await marks.next()).get() > 1 << 20);
    CHECK_EQ((co_await b.read(all)).get(), all.size());
    CHECK((co_await marks.next()).get() <= 1000);
    CHECK(all == big);
}

TEST(local_streams_and_marks)
{
    weir::context context;
    weir::run(context, local(context));
}

static task<> datagrams(weir::context &on)
{
    weir::datagram a(on, loopback()), b(on, loopback());
    weir::address to = b.local_address(), from;
    char data[16];
    CHECK_OK(co_await a.wait(WEIR_WAIT_WRITE));
    CHECK_EQ((co_await a.send_to("hi", to)).get(), 2u);
    CHECK_EQ((co_await b.receive_from(data, from)).get(), 2u);
    CHECK_EQ(from, a.local_address());
    a.connect(to);
    CHECK_EQ((co_await a.send("you")).get(), 3u);
    CHECK_EQ((co_await b.receive(data)).get(), 3u);
    std::array<weir_datagram_message, 2> batch{};
    for (auto &one : batch) {
        one.data = data;
        one.length = 2;
    }
    CHECK_EQ((co_await a.send_batch(batch)).get(), 2u);
    CHECK_EQ((co_await b.receive_batch(weir::messages(batch.data(), 1))).get(), 1u);

    auto [c, d] = weir::datagram::pair(on);
    int fds[2], got[2];
    CHECK_EQ(pipe(fds), 0);
    std::size_t count = 2;
    CHECK_EQ((co_await c.send_fds("f", fds, 2)).get(), 1u);
    CHECK_EQ((co_await d.receive_fds(data, got, count)).get(), 1u);
    CHECK_EQ(count, 2u);
    for (int fd : {fds[0], fds[1], got[0], got[1]})
        ::close(fd);
}

TEST(datagram_operations)
{
    weir::context context;
    weir::run(context, datagrams(context));
}

static task<> others(weir::context &on)
{
    weir::signals signals(on, {SIGUSR1});
    std::raise(SIGUSR1);
    CHECK_EQ((co_await signals.wait()).get(), SIGUSR1);

    int fds[2];
    CHECK_EQ(pipe(fds), 0);
    weir::watch watch(on, fds[1]);
    CHECK_EQ((co_await watch.once(WEIR_WATCH_WRITE)).get(), WEIR_WATCH_WRITE);
    watch.set_fd(fds[0]);
    CHECK_EQ((co_await watch.once(WEIR_WATCH_READ, 0u, 1ms)).get(), WEIR_WATCH_TIMEOUT);
    {
        auto events = weir::events(watch, WEIR_WATCH_READ);
        CHECK_EQ(::write(fds[1], "x", 1), 1);
        for (int i = 0; i < 3; i++)
            CHECK_EQ((co_await events.next()).get(), WEIR_WATCH_READ);
        watch.feed(WEIR_WATCH_PRIORITY);
        int seen = 0;
        while ((seen & WEIR_WATCH_PRIORITY) == 0)
            seen |= (co_await events.next()).get();
    }
    ::close(fds[0]);
    ::close(fds[1]);

    ::pid_t child = fork();
    if (child == 0)
        _exit(3);
    weir::process process(on, child);
    int status = (co_await process.wait()).get();
    CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 3);

    auto here = std::this_thread::get_id();
    CHECK(co_await weir::run_job(on, [here] { return std::this_thread::get_id() != here; }));
    bool caught = false;
    try {
        co_await weir::run_job(on, [] { throw std::string("thrown"); });
    } catch (const std::string &text) {
        caught = text == "thrown";
    }
    CHECK(caught);
    auto moved = std::make_unique<int>(5);
    auto give_back = [p = std::move(moved)]() mutable { return std::move(p); };
    auto back = co_await weir::run_job(on, std::move(give_back));
    CHECK_EQ(*back, 5);

    weir::resolver resolver(on);
    weir::addresses found = (co_await resolver.resolve("127.0.0.1", "80")).get();
    CHECK_EQ(found[0].port(), 80);
    weir::resolve_hints hints;
    hints.family = AF_INET6;
    CHECK((co_await resolver.resolve("127.0.0.1", "80", hints)).error);
    weir::names names =
        (co_await resolver.reverse(found[0], WEIR_REVERSE_NUMERIC_HOST | WEIR_REVERSE_NUMERIC_SERVICE)).get();
    CHECK_EQ(names.service(), "80"sv);
}

TEST(other_operations)
{
    weir::context context;
    weir::run(context, others(context));
}

// A coroutine type that knows nothing of this library can await operations too.
struct foreign {
    struct promise_type {
        foreign get_return_object() { return {}; }
        std::suspend_never initial_suspend() noexcept { return {}; }
        std::suspend_never final_suspend() noexcept { return {}; }
        void return_void() {}
        void unhandled_exception() { throw; }
    };
};

TEST(foreign_coroutines_await)
{
    weir::context context;
    bool ended = false;
    [](weir::context &on, bool &done) -> foreign {
        CHECK_OK(co_await weir::sleep_for(on, 1ms));
        auto [a, b] = co_await weir::when_all(on.post(), weir::sleep_for(on, 1ms));
        CHECK_OK(a);
        CHECK_OK(b);
        CHECK_EQ(co_await weir::with_timeout(weir::sleep_for(on, 1h), 1ms), errc::timed_out);
        done = true;
        throw 5;
    }(context, ended);
    bool out = false;
    try {
        context.run();
    } catch (int thrown) {
        out = thrown == 5;
    }
    CHECK(ended && out);
}

#endif

TEST(coroutines_are_here)
{
#if __cplusplus >= 202002L
    CHECK(WEIR_HAS_COROUTINES);
#endif
}

TEST_MAIN()
