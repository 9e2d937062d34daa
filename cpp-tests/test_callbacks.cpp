// Every class and every operation in its callback form, in C++17 and later.
#include "check.hpp"

#include <array>
#include <functional>
#include <memory>
#include <sys/socket.h>

using weir::errc;

TEST(post_defer_dispatch_run_in_order)
{
    weir::context context;
    std::string order;
    CHECK_OK(context.post([&](std::error_code error) {
        CHECK_OK(error);
        CHECK(context.running_in_this_thread());
        order += 'a';
        CHECK_OK(context.defer([&](std::error_code) { order += 'd'; }));
        CHECK_OK(context.post([&](std::error_code) { order += 'c'; }));
        CHECK_OK(context.dispatch([&](std::error_code) { order += 'b'; }));
    }));
    CHECK(!context.running_in_this_thread());
    CHECK_EQ(context.run(), 3u);
    CHECK_EQ(order, "abcd"sv);
    CHECK(context.stopped());
}

TEST(every_run_function)
{
    weir::context context;
    int calls = 0;
    auto count = [&](std::error_code) { calls++; };
    auto again = [&] {
        context.restart();
        CHECK_OK(context.post(count));
    };
    again();
    CHECK_EQ(context.run_one(), 1u);
    again();
    CHECK_EQ(context.poll(), 1u);
    again();
    CHECK_EQ(context.poll_one(), 1u);
    again();
    CHECK_EQ(context.run_for(10s), 1u);
    again();
    CHECK_EQ(context.run_until(std::chrono::steady_clock::now() + 10s), 1u);
    again();
    CHECK_EQ(context.wait_one(10s), 1u);
    CHECK_EQ(calls, 6);
    context.restart();
    weir::work_guard work(context);
    CHECK_EQ(context.run_for(1ms), 0u);
    CHECK_EQ(context.wait_one(0s), 0u);
    work.reset();
    CHECK_EQ(context.run(), 0u);
}

TEST(work_guard_moves)
{
    weir::context context;
    weir::work_guard first(context);
    weir::work_guard second(std::move(first));
    CHECK_EQ(context.stats().work, 1u);
    weir::work_guard third(context);
    third = std::move(second);
    CHECK_EQ(context.stats().work, 1u);
    third.reset();
    third.reset();
    CHECK_EQ(context.stats().work, 0u);
}

TEST(context_odds_and_ends)
{
    weir::context_options options;
    options.flags = WEIR_CONTEXT_MANUAL_CLOCK;
    options.pool_slots = 4;
    weir::context context(options);
    CHECK_EQ(context.now().time_since_epoch().count(), 0);
    context.advance(3s);
    CHECK(context.now().time_since_epoch() == 3s);
    CHECK(context.fd() >= 0);
    weir::timer timer(context);
    timer.set_name("tick");
    timer.set_tag(7);
    CHECK_EQ(timer.name(), "tick"sv);
    CHECK_EQ(timer.tag(), 7u);
    CHECK_EQ(context.report().size(), 1u);
    CHECK_EQ(std::string(context.report()[0].name), "tick"sv);
    timer.expires_after(1h);
    CHECK_OK(timer.wait([](std::error_code error) { CHECK_EQ(error, errc::canceled); }));
    CHECK_EQ(timer.pending(), 1u);
    CHECK_EQ(context.cancel_tag(7), 1u);
    CHECK_EQ(context.run(), 1u);
    const void *base = nullptr;
    std::size_t size = 0, slots = 0;
    context.pool(base, size, slots);
    CHECK_EQ(slots, 4u);
    CHECK_THROWS(errc::invalid, context.pool_release(0));
    CHECK_THROWS(errc::invalid, context.notify_fork(77));
    context.work_begin();
    context.work_end();
    CHECK_THROWS(errc::invalid, context.work_end());
    weir::context_options bad;
    bad.flags = 1u << 30;
    CHECK_THROWS(errc::invalid, weir::context(bad));
}

TEST(records_are_reaped)
{
    weir::context context;
    int here = 0;
    CHECK_EQ(weir_context_post(context.get(), nullptr, &here), 0);
    weir_record record{};
    CHECK_EQ(context.reap(&record, 1, 10s), 1u);
    CHECK(record.user == &here);
    weir_submission submission{};
    submission.kind = WEIR_SUBMIT_POST;
    submission.user = &here;
    CHECK_EQ(context.enter(&submission, 1, &record, 1, 10s), 1u);
    CHECK_EQ(record.kind, static_cast<unsigned>(WEIR_OP_POST));
}

TEST(strand_serialises)
{
    weir::context context;
    weir::strand strand(context);
    std::atomic<int> inside{0};
    int calls = 0;
    for (int i = 0; i < 200; i++) {
        CHECK_OK(strand.post([&](std::error_code) {
            CHECK_EQ(inside.fetch_add(1), 0);
            calls++;
            CHECK(strand.running_in_this_thread());
            CHECK_OK(strand.dispatch([&](std::error_code) { calls++; }));
            inside.fetch_sub(1);
        }));
    }
    std::thread other([&] { context.run(); });
    context.run();
    other.join();
    CHECK_EQ(calls, 400);
}

TEST(timer_waits_and_ticks)
{
    weir::context_options options;
    options.flags = WEIR_CONTEXT_MANUAL_CLOCK;
    weir::context context(options);
    weir::timer timer(context, 10s);
    CHECK(timer.remaining() == 10s);
    CHECK(timer.expiry() == weir::time_point(10s));
    timer.expires_at(weir::time_point(20s));
    CHECK(timer.remaining() == 20s);
    timer.expires_after(weir::forever);
    CHECK(timer.remaining() == weir::forever);
    timer.expires_after(std::chrono::hours::max());
    CHECK(timer.remaining() == weir::forever);
    CHECK_THROWS(errc::invalid, timer.expires_after(-1s));
    timer.expires_after(5s);
    std::string told;
    CHECK_OK(timer.wait([&](std::error_code error) { told += error ? 'c' : '1'; }));
    CHECK_OK(timer.wait([&](std::error_code error) { told += error ? 'c' : '2'; }));
    CHECK_EQ(timer.cancel_one(), 1u);
    context.advance(5s);
    CHECK_EQ(context.run(), 2u);
    CHECK_EQ(told, "c2"sv);

    context.restart();
    int ticks = 0;
    bool ended = false;
    auto alive = std::make_unique<int>(0); // a callable that can only be moved
    CHECK_OK(timer.start(1s, 2s, [&, alive = std::move(alive)](std::error_code error) {
        ++*alive;
        if (error) {
            CHECK_EQ(error, errc::canceled);
            CHECK_EQ(*alive, 4);
            ended = true;
        } else if (++ticks == 3) {
            timer.stop();
        } else {
            context.advance(2s);
        }
    }));
    CHECK_EQ(timer.start(1s, 1s, [](std::error_code) { CHECK(false); }), errc::busy);
    context.advance(1s);
    context.run();
    CHECK_EQ(ticks, 3);
    CHECK(ended);
}

TEST(durations_saturate_and_round_up)
{
    using weir::detail::to_ns;
    CHECK_EQ(to_ns(1ns), 1);
    CHECK_EQ(to_ns(2min), 120000000000);
    CHECK_EQ(to_ns(std::chrono::duration<double>(0.5)), 500000000);
    CHECK_EQ(to_ns(std::chrono::duration<long, std::pico>(1)), 1);
    CHECK_EQ(to_ns(std::chrono::duration<double>(1e30)), WEIR_FOREVER);
    CHECK_EQ(to_ns(std::chrono::hours::max()), WEIR_FOREVER);
    CHECK_EQ(to_ns(std::chrono::hours::min()), INT64_MIN);
    CHECK_EQ(to_ns(std::chrono::duration<double>(-1e30)), INT64_MIN);
    CHECK_EQ(to_ns(std::chrono::steady_clock::time_point::max()), WEIR_FOREVER);
}

TEST(hook_is_called_each_turn)
{
    weir::context context;
    weir::hook hook(context, WEIR_HOOK_PREPARE);
    int calls = 0;
    bool ended = false;
    CHECK_OK(hook.start([&](std::error_code error) {
        if (error)
            ended = true;
        else
            calls++;
    }));
    weir::timer timer(context, 1ms);
    CHECK_OK(timer.wait([&](std::error_code) { hook.stop(); }));
    context.run();
    context.restart();
    context.poll();
    CHECK(calls > 0);
    CHECK(ended);
    CHECK_THROWS(errc::invalid, weir::hook(context, 99));
}

// ---- streams

TEST(stream_reads_and_writes_in_every_form)
{
    weir::context context;
    tcp_pair both = connected(context);
    weir::stream &client = both.client, &server = both.server;
    auto give = [&](std::string_view text) {
        CHECK_OK(client.write(text, [size = text.size()](std::error_code error, std::size_t bytes) {
            CHECK_OK(error);
            CHECK_EQ(bytes, size);
        }));
    };
    auto run = [&] {
        context.run();
        context.restart();
    };

    char data[64] = {};
    int calls = 0;
    give("hello");
    CHECK_OK(server.read_some(data, [&](std::error_code error, std::size_t bytes) {
        CHECK_OK(error);
        CHECK_EQ(std::string_view(data, bytes), "hello"sv);
        calls++;
    }));
    run();
    std::array<char, 5> five{};
    give("12345");
    CHECK_OK(server.read(five, [&](std::error_code error, std::size_t bytes) {
        CHECK_OK(error);
        CHECK_EQ(bytes, 5u);
        calls++;
    }));
    run();
    CHECK_EQ(std::string_view(five.data(), 5), "12345"sv);

    std::vector<iovec> to = {{data, 2}, {data + 2, 3}};
    give("abcde");
    CHECK_OK(server.readv(to, [&](std::error_code, std::size_t bytes) { CHECK_EQ(bytes, 5u); calls++; }));
    run();
    give("fg");
    CHECK_OK(server.readv_some(to, [&](std::error_code, std::size_t bytes) { CHECK_EQ(bytes, 2u); calls++; }));
    run();
    iovec from[] = {{five.data(), 2}, {data, 2}};
    CHECK_OK(client.writev(from, [&](std::error_code, std::size_t bytes) { CHECK_EQ(bytes, 4u); calls++; }));
    CHECK_OK(server.read(weir::buffer(data, 4), [&](std::error_code, std::size_t) { calls++; }));
    run();
    CHECK_EQ(std::string_view(data, 4), "12fg"sv);
    CHECK_OK(client.writev_some(from, [&](std::error_code, std::size_t bytes) { CHECK_EQ(bytes, 4u); calls++; }));
    run();
    CHECK_EQ(server.try_read(data).value, 4u);
    CHECK_EQ(client.send_copy("").value, 0u);
    CHECK_EQ(client.try_write("xy").value, 2u);
    CHECK_EQ(client.try_writev(from).value, 4u);
    run();
    CHECK_EQ(server.try_readv(to).value, 5u);
    CHECK_EQ(server.try_read(data).value, 1u);
    CHECK_EQ(server.try_read(data).value, 0u);
    CHECK_OK(client.write_some("w", [&](std::error_code, std::size_t bytes) { CHECK_EQ(bytes, 1u); calls++; }));
    CHECK_OK(server.wait(WEIR_WAIT_READ, [&](std::error_code error) { CHECK_OK(error); calls++; }));
    run();
    CHECK_EQ(server.try_read(data).value, 1u);
    CHECK_EQ(calls, 9);

    // Queued ones.
    for (const char *text : {"one ", "two ", "three"})
        CHECK_OK(client.send(std::string_view(text), [&](std::error_code error, std::size_t) { CHECK_OK(error); calls++; }));
    CHECK_OK(server.read(weir::buffer(data, 13), [&](std::error_code, std::size_t) { calls++; }));
    run();
    CHECK_EQ(std::string_view(data, 13), "one two three"sv);
    CHECK_EQ(client.queued(), 0u);
    CHECK_EQ(calls, 13);

    // Up to a delimiter.
    char room[32];
    weir::until line(room, "\r\n");
    give("first\r\nsecond\r\nrest");
    std::vector<std::string> lines;
    std::function<void(std::error_code, std::size_t)> on_line = [&](std::error_code error, std::size_t bytes) {
        CHECK_OK(error);
        lines.emplace_back(line.text().substr(0, bytes));
        line.consume(bytes);
        if (lines.size() < 2)
            CHECK_OK(server.read_until(line, on_line));
    };
    CHECK_OK(server.read_until(line, on_line));
    run();
    CHECK_EQ(lines.size(), 2u);
    CHECK_EQ(lines[0], "first\r\n"sv);
    CHECK_EQ(lines[1], "second\r\n"sv);
    CHECK_EQ(line.text(), "rest"sv);

    // The end.
    CHECK_OK(client.shutdown(WEIR_SHUTDOWN_WRITE));
    CHECK_OK(server.read_some(data, [&](std::error_code error, std::size_t bytes) {
        CHECK_EQ(error, errc::eof);
        CHECK_EQ(bytes, 0u);
        calls++;
    }));
    run();
    CHECK_EQ(calls, 14);
}

TEST(stream_addresses_options_and_fds)
{
    weir::context context;
    auto [client, server] = connected(context);
    CHECK_EQ(client.local_address(), server.remote_address());
    CHECK_EQ(server.local_address().family(), AF_INET);
    CHECK(server.local_address().port() != 0);
    client.set(WEIR_OPT_NO_DELAY, 1);
    CHECK_EQ(client.get(WEIR_OPT_NO_DELAY), 1);
    client.set_option(SOL_SOCKET, SO_KEEPALIVE, 1);
    CHECK_EQ(client.get_option<int>(SOL_SOCKET, SO_KEEPALIVE), 1);
    CHECK_THROWS(errc::invalid, client.set(9999, 1));
    CHECK_THROWS(weir::make_error(-ENODEV), client.bind_to_device("no_such_if"));
    CHECK(client.fd() >= 0);
    int fd = client.release_fd();
    CHECK_THROWS(errc::not_connected, client.fd());
    client.adopt(fd);
    CHECK_EQ(client.fd(), fd);
    CHECK_THROWS(weir::make_error(-EOPNOTSUPP), client.peer_credentials());

    weir::stream bound(context);
    bound.open(AF_INET);
    bound.bind(loopback());
    CHECK(bound.local_address().port() != 0);

    client.set_timeout(WEIR_WAIT_READ, 1ms);
    char data[8];
    bool timed_out = false;
    CHECK_OK(client.read_some(data, [&](std::error_code error, std::size_t) {
        CHECK_EQ(error, errc::timed_out);
        CHECK(error == std::errc::timed_out);
        timed_out = true;
    }));
    context.run();
    CHECK(timed_out);
}

TEST(stream_pair_passes_fds_and_credentials)
{
    weir::context context;
    auto [a, b] = weir::stream::pair(context);
    CHECK_EQ(a.peer_credentials().pid, getpid());
    int fds[2];
    CHECK_EQ(pipe(fds), 0);
    int got[4];
    std::size_t count = 4;
    char data[4];
    bool read = false;
    CHECK_OK(a.write_fds("x", fds, 2, [](std::error_code error, std::size_t) { CHECK_OK(error); }));
    CHECK_OK(b.read_fds(data, got, count, [&](std::error_code error, std::size_t bytes) {
        CHECK_OK(error);
        CHECK_EQ(bytes, 1u);
        CHECK_EQ(count, 2u);
        read = true;
    }));
    context.run();
    CHECK(read);
    for (int fd : {fds[0], fds[1], got[0], got[1]})
        ::close(fd);
}

TEST(stream_send_file_read_each_and_marks)
{
    weir::context context;
    auto [a, b] = weir::stream::pair(context);
    char path[] = "/tmp/weir_cpp_XXXXXX";
    int file = mkstemp(path);
    CHECK(file >= 0);
    ::unlink(path);
    std::string content(100000, 'f');
    CHECK_EQ(::write(file, content.data(), content.size()), static_cast<ssize_t>(content.size()));
    std::size_t received = 0;
    bool end = false;
    CHECK_OK(b.read_each([&](std::error_code error, weir::const_buffer data) {
        if (error) {
            CHECK_EQ(error, errc::eof);
            end = true;
        } else {
            CHECK_EQ(data.text()[0], 'f');
            received += data.size();
        }
    }));
    CHECK_OK(a.send_file(file, 0, content.size(), [&a = a](std::error_code error, std::size_t bytes) {
        CHECK_OK(error);
        CHECK_EQ(bytes, 100000u);
        CHECK_OK(a.shutdown(WEIR_SHUTDOWN_WRITE));
    }));
    context.run();
    CHECK_EQ(received, content.size());
    CHECK(end);
    ::close(file);

    context.restart();
    auto [c, d] = weir::stream::pair(context);
    std::vector<int> told;
    CHECK_OK(c.set_high_water(1 << 20, 1000, [&](std::error_code error, std::size_t bytes) {
        told.push_back(error ? -1 : bytes > 1000 ? 1 : 0);
    }));
    std::string big(4 << 20, 'b');
    CHECK_OK(c.send(big, [](std::error_code error, std::size_t) { CHECK_OK(error); }));
    std::string all(big.size(), ' ');
    CHECK_OK(d.read(all, [](std::error_code error, std::size_t) { CHECK_OK(error); }));
    context.run();
    CHECK(all == big);
    c.clear_high_water();
    context.restart();
    context.poll();
    CHECK((told == std::vector<int>{1, 0, -1}));
}

TEST(stream_connect_and_accept_errors)
{
    weir::context context;
    weir::acceptor acceptor(context, loopback());
    weir::address gone = acceptor.local_address();
    acceptor.close();
    weir::stream stream(context);
    int calls = 0;
    CHECK_OK(stream.connect(gone, [&](std::error_code error) {
        CHECK(error == std::errc::connection_refused);
        calls++;
    }));
    context.run();
    context.restart();
    weir::acceptor open(context, loopback());
    std::vector<weir::address> list = {gone, open.local_address()};
    CHECK_OK(stream.connect_list(list, weir::connect_options(), [&](std::error_code error) { CHECK_OK(error); calls++; }));
    CHECK_OK(open.accept([&](std::error_code error, weir::stream peer, weir::address from) {
        CHECK_OK(error);
        CHECK(peer);
        CHECK_EQ(from.family(), AF_INET);
        calls++;
    }));
    context.run();
    CHECK_EQ(calls, 3);
    std::vector<weir::address> none;
    weir::stream other(context);
    CHECK_EQ(other.connect_list(none, {}, [](std::error_code) {}), errc::invalid);
    std::vector<weir::address> more(65, gone);
    CHECK_EQ(other.connect_list(more, {}, [](std::error_code) {}), errc::invalid);
    CHECK_EQ(other.read_some(weir::buffer(), [](std::error_code, std::size_t) { CHECK(false); }), errc::not_connected);
}

TEST(acceptor_accepts_each)
{
    weir::context context;
    weir::acceptor acceptor(context);
    acceptor.open(AF_INET);
    acceptor.set(WEIR_OPT_REUSE_ADDRESS, 1);
    CHECK_EQ(acceptor.get(WEIR_OPT_REUSE_ADDRESS), 1);
    acceptor.bind(loopback());
    acceptor.listen(16);
    int readable = 0;
    std::vector<weir::stream> clients(3), peers;
    for (auto &one : clients) {
        one = weir::stream(context);
        CHECK_OK(one.connect(acceptor.local_address(), [](std::error_code error) { CHECK_OK(error); }));
    }
    CHECK_OK(acceptor.wait([&](std::error_code error) {
        CHECK_OK(error);
        readable++;
        CHECK_OK(acceptor.accept_each([&](std::error_code each, weir::stream peer, const weir::address &) {
            if (each) {
                CHECK_EQ(each, errc::canceled);
                CHECK(!peer);
                return;
            }
            peers.push_back(std::move(peer));
            if (peers.size() == 3)
                acceptor.cancel();
        }));
    }));
    context.run();
    CHECK_EQ(readable, 1);
    CHECK_EQ(peers.size(), 3u);
    int fd = acceptor.release_fd();
    weir::acceptor second(context);
    second.adopt(fd);
    CHECK(second.local_address().port() != 0);
    CHECK_THROWS(weir::make_error(-EOPNOTSUPP), second.unlink());
}

// ---- the other handles

TEST(datagrams_in_every_form)
{
    weir::context context;
    weir::datagram a(context, loopback()), b(context, loopback());
    CHECK_EQ(a.local_address().family(), AF_INET);
    weir::address to = b.local_address(), from;
    char data[32];
    int calls = 0;
    auto sent = [&](std::error_code error, std::size_t) { CHECK_OK(error); calls++; };
    auto run = [&] {
        context.run();
        context.restart();
    };
    CHECK_OK(a.send_to("hi", to, sent));
    CHECK_OK(b.receive_from(data, from, [&](std::error_code error, std::size_t bytes) {
        CHECK_OK(error);
        CHECK_EQ(bytes, 2u);
        calls++;
    }));
    run();
    CHECK_EQ(from, a.local_address());
    a.connect(to);
    CHECK_EQ(a.remote_address(), to);
    CHECK_OK(a.send("you", sent));
    CHECK_OK(b.wait(WEIR_WAIT_READ, [&](std::error_code error) {
        CHECK_OK(error);
        CHECK_OK(b.receive(data, [&](std::error_code, std::size_t bytes) { CHECK_EQ(bytes, 3u); calls++; }));
    }));
    run();
    CHECK_EQ(calls, 4);

    std::vector<weir_datagram_message> out(3), in(3);
    char text[] = "abc", room[3][8];
    for (std::size_t i = 0; i < 3; i++) {
        out[i].data = text;
        out[i].length = i + 1;
        in[i].data = room[i];
        in[i].length = 8;
    }
    CHECK_OK(a.send_batch(out, [&](std::error_code error, std::size_t count) { CHECK_OK(error); CHECK_EQ(count, 3u); calls++; }));
    run();
    CHECK_OK(b.receive_batch(in, [&](std::error_code error, std::size_t count) { CHECK_OK(error); CHECK_EQ(count, 3u); calls++; }));
    run();
    CHECK_EQ(in[2].bytes, 3u);
    CHECK_EQ(calls, 6);

    CHECK(a.try_send("t").done);
    weir::datagram::tried tried{};
    while (!tried.done)
        tried = b.try_receive(data);
    CHECK_EQ(tried.bytes, 1u);
    CHECK(!b.try_receive_from(data, from).done);
    CHECK(b.try_send_to("back", a.local_address()).done);
    while (!(tried = a.try_receive_from(data, from)).done) {
    }
    CHECK_EQ(from, to);
    a.disconnect();
    CHECK_THROWS(errc::not_connected, a.remote_address());
    CHECK_THROWS(errc::invalid, a.join(loopback()));
    CHECK_THROWS(weir::make_error(-EADDRNOTAVAIL), a.leave(weir::address("224.0.0.9:0")));
    weir::datagram::features();

    auto [c, d] = weir::datagram::pair(context);
    int fds[2], got[2];
    CHECK_EQ(pipe(fds), 0);
    std::size_t count = 2;
    CHECK_OK(c.send_fds("f", fds, 2, sent));
    CHECK_OK(d.receive_fds(data, got, count, [&](std::error_code error, std::size_t) { CHECK_OK(error); calls++; }));
    run();
    CHECK_EQ(count, 2u);
    CHECK_EQ(calls, 8);
    for (int fd : {fds[0], fds[1], got[0], got[1]})
        ::close(fd);
    weir::datagram named(context, weir::address("unix:/tmp/weir_cpp_" + std::to_string(getpid())));
    named.unlink();
    CHECK_THROWS(weir::make_error(-ENOENT), named.unlink());
    weir::datagram taken(context, static_cast<weir_datagram *>(nullptr));
    CHECK(!taken);
    CHECK_EQ(d.cancel(), 0u);
}

TEST(signals_are_counted_between_waits)
{
    weir::context context;
    weir::signals signals(context, {SIGUSR1, SIGUSR2});
    std::raise(SIGUSR1);
    CHECK_EQ(signals.arrived(), 1u);
    int got = 0;
    CHECK_OK(signals.wait([&](std::error_code error, int number) { CHECK_OK(error); got = number; }));
    context.run();
    CHECK_EQ(got, SIGUSR1);
    signals.remove(SIGUSR1);
    signals.clear();
    signals.add(SIGUSR1, WEIR_SIGNALS_INTERRUPT);
    CHECK_THROWS(errc::invalid, signals.add(SIGKILL));
    context.restart();
    CHECK_OK(signals.wait([&](std::error_code error, int) { CHECK_EQ(error, errc::canceled); got = -1; }));
    CHECK_EQ(signals.cancel(), 1u);
    context.run();
    CHECK_EQ(got, -1);
}

TEST(watch_once_and_again)
{
    weir::context context;
    int fds[2];
    CHECK_EQ(pipe(fds), 0);
    weir::watch watch(context, fds[0]);
    CHECK_EQ(watch.fd(), fds[0]);
    CHECK_EQ(::write(fds[1], "x", 1), 1);
    int once = 0, each = 0;
    bool ended = false;
    CHECK_OK(watch.once(WEIR_WATCH_READ, [&](std::error_code error, int events) {
        CHECK_OK(error);
        CHECK_EQ(events, WEIR_WATCH_READ);
        once++;
    }));
    context.run();
    CHECK_EQ(once, 1);
    context.restart();
    CHECK_OK(watch.start(WEIR_WATCH_READ, [&](std::error_code error, int events) {
        if (error) {
            ended = true;
        } else if (++each == 3) {
            watch.change(WEIR_WATCH_PRIORITY);
            watch.feed(WEIR_WATCH_TIMEOUT);
        } else if (events == WEIR_WATCH_TIMEOUT) {
            watch.stop();
        }
    }));
    watch.set_timeout(1h);
    context.run();
    CHECK_EQ(each, 4);
    CHECK(ended);
    context.restart();
    watch.set_fd(-1);
    CHECK_OK(watch.once(WEIR_WATCH_READ, 0u, 1ms, [&](std::error_code error, int events) {
        CHECK_OK(error);
        CHECK_EQ(events, WEIR_WATCH_TIMEOUT);
        once++;
    }));
    context.run();
    CHECK_EQ(once, 2);
    ::close(fds[0]);
    ::close(fds[1]);
}

TEST(process_is_waited_for)
{
    weir::context context;
    ::pid_t child = fork();
    if (child == 0) {
        pause();
        _exit(0);
    }
    weir::process process(context, child);
    CHECK_EQ(process.pid(), child);
    CHECK_THROWS(weir::make_error(-EAGAIN), process.usage());
    bool ended = false;
    CHECK_OK(process.wait([&](std::error_code error, int status) {
        CHECK_OK(error);
        CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGTERM);
        ended = true;
    }));
    process.kill(SIGTERM);
    context.run();
    CHECK(ended);
    process.usage();
}

TEST(jobs_give_values_and_exceptions)
{
    weir::context context;
    auto here = std::this_thread::get_id();
    int calls = 0;
    CHECK_OK(weir::start_job(
        context, [&] { return std::string(std::this_thread::get_id() == here ? "same" : "other"); },
        [&](std::error_code error, weir::outcome<std::string> result) {
            CHECK_OK(error);
            CHECK(std::this_thread::get_id() == here);
            CHECK_EQ(std::move(result).get(), "other"sv);
            calls++;
        }));
    auto only_moved = std::make_unique<int>(5);
    weir::job job(
        context, [p = std::move(only_moved)]() -> void { throw *p; },
        [&](std::error_code error, weir::outcome<void> result) {
            CHECK_OK(error);
            CHECK(result.exception() != nullptr);
            try {
                std::move(result).get();
                CHECK(false);
            } catch (int thrown) {
                CHECK_EQ(thrown, 5);
            }
            calls++;
        });
    context.run();
    CHECK_EQ(calls, 2);

    context.restart();
    CHECK_OK(weir::start_job(context, [] { throw 7; }, [](std::error_code, weir::outcome<void> result) {
        std::move(result).get();
    }));
    bool out = false;
    try {
        context.run();
    } catch (int thrown) {
        out = thrown == 7;
    }
    CHECK(out);
    weir::job::set_limit(4);
    CHECK_THROWS(errc::invalid, weir::job::set_limit(0));
}

TEST(job_that_waits_is_cancelled)
{
    weir::context context;
    weir::job::set_limit(1);
    std::atomic<bool> go{false};
    CHECK_OK(weir::start_job(context, [&] { while (!go) std::this_thread::sleep_for(1ms); },
                             [](std::error_code error, weir::outcome<void>) { CHECK_OK(error); }));
    bool told = false;
    {
        weir::job waiting(context, [] { CHECK(false); }, [&](std::error_code error, weir::outcome<void> result) {
            CHECK_EQ(error, errc::canceled);
            CHECK(!result.has_value());
            CHECK_THROWS(errc::canceled, std::move(result).get());
            told = true;
        });
    }
    go = true;
    context.run();
    CHECK(told);
}

TEST(resolver_both_ways)
{
    weir::context context;
    weir::resolver resolver(context);
    int calls = 0;
    CHECK_OK(resolver.resolve("127.0.0.1", "80", [&](std::error_code error, weir::addresses found) {
        CHECK_OK(error);
        CHECK_EQ(found.size(), 1u);
        CHECK_EQ(found[0].to_string(), "127.0.0.1:80"sv);
        CHECK_THROWS(errc::invalid, found[1]);
        for (weir::address one : found)
            CHECK_EQ(one.port(), 80);
        CHECK(found.canonical_name().empty());
        calls++;
    }));
    weir::resolve_hints hints;
    hints.flags = WEIR_RESOLVE_NUMERIC_HOST;
    CHECK_OK(resolver.resolve("not-a-number", "80", hints, [&](std::error_code error, const weir::addresses &found) {
        CHECK_EQ(error, errc::eai_noname);
        CHECK(found.empty());
        calls++;
    }));
    CHECK_OK(resolver.reverse(weir::address("127.0.0.1:80"), WEIR_REVERSE_NUMERIC_HOST | WEIR_REVERSE_NUMERIC_SERVICE,
                              [&](std::error_code error, const weir::names &found) {
                                  CHECK_OK(error);
                                  CHECK_EQ(found.host(), "127.0.0.1"sv);
                                  CHECK_EQ(found.service(), "80"sv);
                                  calls++;
                              }));
    context.run();
    CHECK_EQ(calls, 3);
    auto nobody = [](std::error_code, const weir::addresses &) { CHECK(false); };
    CHECK_EQ(resolver.resolve(std::string(2000, 'x'), "80", nobody), weir::make_error(-ENAMETOOLONG));
    CHECK_EQ(resolver.resolve("a\0b"sv, "80", nobody), errc::invalid);
    CHECK_EQ(resolver.resolve("", "", nobody), errc::invalid);
    weir::resolver::set_limit(4);
    CHECK_THROWS(errc::invalid, weir::resolver::set_limit(0));
}

// ---- errors and addresses

TEST(errors_compare_and_have_texts)
{
    std::error_code eof = errc::eof;
    CHECK_EQ(eof.message(), std::string(weir_strerror(WEIR_EOF)));
    CHECK(eof.category() == weir::category());
    CHECK_EQ(std::string(eof.category().name()), "weir"sv);
    CHECK(eof != std::errc::connection_reset);
    CHECK(weir::make_error(-ECONNREFUSED) == std::errc::connection_refused);
    CHECK(weir::make_error(WEIR_ECANCELED) == std::errc::operation_canceled);
    CHECK(weir::make_error(WEIR_ECANCELED) == errc::canceled);
    CHECK(weir::make_error(WEIR_EBUSY) == std::errc::device_or_resource_busy);
    CHECK(!weir::make_error(0));
    CHECK(eof.default_error_condition().category() == weir::category());
    weir::check(0);
    weir::check(std::error_code(0, weir::category()));
    CHECK_THROWS(errc::eof, weir::check(WEIR_EOF));
    weir::result<int> bad{errc::eof, 3};
    CHECK(!bad);
    CHECK_THROWS(errc::eof, bad.get());
    CHECK_THROWS(errc::eof, weir::result<int>(bad).get());
    CHECK_EQ(weir::result<int>({}).get(), 0);
}

TEST(addresses_as_values)
{
    weir::address none;
    CHECK(none.empty());
    CHECK_EQ(none.family(), AF_UNSPEC);
    CHECK_EQ(none.port(), 0);
    CHECK_THROWS(errc::invalid, none.to_string());
    weir::address six("[::1]:443");
    CHECK_EQ(six.family(), AF_INET6);
    CHECK_EQ(six.port(), 443);
    CHECK_EQ(six.to_string(), "[::1]:443"sv);
    CHECK(six != weir::address("[::1]:444"));
    CHECK_THROWS(errc::invalid, weir::address("nonsense"));
    CHECK_THROWS(errc::invalid, weir::address("127.0.0.1:8\0"sv));
    CHECK_THROWS(weir::make_error(-ENAMETOOLONG), weir::address(std::string(10000, 'x')));
    CHECK_EQ(weir::address::parse("bad", six), errc::invalid);
    CHECK_EQ(six.port(), 443);
    weir::address unix("unix:@name");
    CHECK_EQ(unix.to_string(), "unix:@name"sv);
}

TEST(buffers_from_everything)
{
    auto size = [](weir::const_buffer from) { return from.size(); };
    auto room = [](weir::buffer to) { return to.size(); };
    char array[7];
    const char text[] = "four";
    int numbers[3];
    std::vector<std::uint16_t> vector(5);
    std::string string(9, ' ');
    const std::string constant("const");
    CHECK_EQ(size(array), 7u);
    CHECK_EQ(size(text), 4u);
    CHECK_EQ(size("lit"), 3u);
    CHECK_EQ(size(numbers), sizeof numbers);
    CHECK_EQ(size(vector), 10u);
    CHECK_EQ(size(constant), 5u);
    CHECK_EQ(size("view"sv), 4u);
    CHECK_EQ(size(weir::buffer(array, 3)), 3u);
    CHECK_EQ(room(array), 7u);
    CHECK_EQ(room(numbers), sizeof numbers);
    CHECK_EQ(room(vector), 10u);
    CHECK_EQ(room(string), 9u);
    static_assert(!std::is_constructible_v<weir::buffer, const std::string &>);
    static_assert(!std::is_constructible_v<weir::buffer, const char (&)[3]>);
    static_assert(!std::is_constructible_v<weir::buffer, std::vector<std::string> &>);
#if defined(__cpp_lib_span)
    CHECK_EQ(room(std::span<int>(numbers)), sizeof numbers);
    CHECK_EQ(size(std::span<const int>(numbers)), sizeof numbers);
    CHECK_EQ(weir::buffer(array).bytes().size(), 7u);
    CHECK_EQ(weir::const_buffer(array).bytes().size(), 7u);
#endif
}

TEST_MAIN()
