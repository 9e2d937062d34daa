// What lives how long: objects destroyed with operations pending, contexts that go first, moved-from objects, callbacks
// that destroy their own object, exceptions.
#include "check.hpp"

#include <memory>
#include <optional>
#include <stdexcept>

using weir::errc;

// Tells when the callable that holds it is destroyed.
struct witness {
    explicit witness(int &of) : alive(&of) { ++*alive; }
    witness(witness &&from) noexcept : alive(std::exchange(from.alive, nullptr)) {}
    ~witness()
    {
        if (alive != nullptr)
            --*alive;
    }
    int *alive;
};

TEST(a_handle_destroyed_with_an_operation_pending)
{
    weir::context context;
    int alive = 0, calls = 0;
    {
        weir::timer timer(context, 1h);
        for (int i = 0; i < 3; i++) {
            CHECK_OK(timer.wait([&calls, w = witness(alive)](std::error_code error) {
                CHECK_EQ(error, errc::canceled);
                CHECK(w.alive != nullptr);
                calls++;
            }));
        }
        auto [a, b] = weir::stream::pair(context);
        char data[4];
        CHECK_OK(a.read_some(data, [&calls, w = witness(alive)](std::error_code error, std::size_t) {
            CHECK_EQ(error, errc::canceled);
            calls++;
        }));
    }
    CHECK_EQ(alive, 4); // the callables wait for their completion
    CHECK_EQ(calls, 0);
    context.run();
    CHECK_EQ(calls, 4);
    CHECK_EQ(alive, 0);
}

TEST(a_start_that_fails_destroys_the_callable)
{
    weir::context context;
    int alive = 0;
    weir::stream stream(context);
    char data[4];
    CHECK_EQ(stream.read_some(data, [w = witness(alive)](std::error_code, std::size_t) { CHECK(false); }),
             errc::not_connected);
    CHECK_EQ(alive, 0);
    stream.close();
    stream.close();
    CHECK_EQ(stream.read_some(data, [w = witness(alive)](std::error_code, std::size_t) { CHECK(false); }),
             errc::bad_handle);
    CHECK_EQ(alive, 0);
}

TEST(a_context_destroyed_first)
{
    int alive = 0, calls = 0;
    weir::stream left_over;
    weir::timer timer;
    {
        weir::context context;
        timer = weir::timer(context, 1h);
        left_over = weir::stream(context);
        CHECK_OK(timer.wait([&, w = witness(alive)](std::error_code error) {
            CHECK_EQ(error, errc::canceled);
            calls++;
            // Nothing new begins.
            CHECK_EQ(context.post([](std::error_code) { CHECK(false); }), errc::shut_down);
        }));
        CHECK_OK(context.post([&](std::error_code error) {
            CHECK_EQ(error, errc::canceled);
            calls++;
        }));
    }
    CHECK_EQ(calls, 2);
    CHECK_EQ(alive, 0);
    CHECK(left_over);
    char data[4];
    CHECK_EQ(left_over.read_some(data, [](std::error_code, std::size_t) { CHECK(false); }), errc::bad_handle);
    CHECK_THROWS(errc::bad_handle, left_over.fd());
    CHECK_EQ(timer.cancel(), 0u);
    timer.close();
}

TEST(moved_from_objects_give_errors)
{
    weir::context context;
    weir::timer timer(context, 1ms);
    weir::timer moved(std::move(timer));
    CHECK(!timer);
    CHECK(timer.get() == nullptr);
    CHECK(moved);
    CHECK_EQ(timer.wait([](std::error_code) { CHECK(false); }), errc::bad_handle);
    CHECK_THROWS(errc::bad_handle, timer.expires_after(1s));
    CHECK_THROWS(errc::bad_handle, timer.name());
    CHECK_EQ(timer.cancel(), 0u);
    timer.close();
    timer = std::move(moved);
    CHECK(timer);
    weir::timer &same = timer;
    timer = std::move(same);
    CHECK(timer);
    weir_timer *raw = timer.release_handle();
    CHECK(!timer);
    CHECK_EQ(weir_timer_close(raw), 0);

    weir::context other(std::move(context));
    CHECK(!context);
    CHECK_EQ(context.post([](std::error_code) { CHECK(false); }), errc::bad_handle);
    CHECK_THROWS(errc::bad_handle, context.run());
    CHECK_THROWS(errc::bad_handle, weir::stream(context));
    context.stop();
    context.destroy();
    context = std::move(other);
    CHECK_OK(context.post([](std::error_code) {}));
    CHECK_EQ(context.run(), 1u);
}

TEST(callbacks_destroy_their_own_object)
{
    weir::context context;
    auto timer = std::make_unique<weir::timer>(context, 1ms);
    int calls = 0;
    std::string captured = "still here after the object is gone";
    CHECK_OK(timer->wait([&, captured](std::error_code error) {
        CHECK_OK(error);
        timer.reset();
        CHECK_EQ(captured, "still here after the object is gone"sv);
        calls++;
    }));
    auto ticking = std::make_unique<weir::timer>(context);
    CHECK_OK(ticking->start(1ms, 1ms, [&, captured](std::error_code error) {
        ticking.reset();
        CHECK_EQ(captured, "still here after the object is gone"sv);
        calls += error ? 100 : 10;
    }));
    struct connection {
        weir::stream stream;
        char data[4];
    };
    auto [a, b] = weir::stream::pair(context);
    auto owned = std::make_shared<connection>();
    owned->stream = std::move(a);
    CHECK_OK(owned->stream.read_some(owned->data, [owned, &calls](std::error_code error, std::size_t) {
        CHECK_EQ(error, errc::eof);
        calls += 1000;
    }));
    owned.reset();
    b = weir::stream();
    context.run();
    CHECK_EQ(calls, 1111);
}

TEST(a_callback_destroys_its_context)
{
    std::optional<weir::context> context;
    context.emplace();
    int ended = 0, alive = 0;
    weir::timer timer(*context, 1h);
    CHECK_OK(timer.wait([&, w = witness(alive)](std::error_code error) {
        CHECK_EQ(error, errc::canceled);
        ended++;
    }));
    CHECK_OK(context->post([&](std::error_code) {
        CHECK_THROWS(errc::busy, context->destroy());
        context.reset();
        CHECK_EQ(ended, 0); // put off until run has returned
    }));
    context->run();
    CHECK_EQ(ended, 1);
    CHECK_EQ(alive, 0);
    CHECK_EQ(weir_timer_cancel(timer.get(), nullptr), WEIR_EBADF);
}

TEST(a_callback_destroys_a_context_that_others_run)
{
    for (int round = 0; round < many(100); round++) {
        auto *context = new weir::context;
        weir::work_guard work(*context);
        std::atomic<int> inside{0}, ended{0};
        weir::timer timer(*context, 1h);
        CHECK_OK(timer.wait([&](std::error_code) { ended++; }));
        std::vector<std::thread> threads;
        std::atomic<bool> gone{false};
        // Callbacks on three threads at once show that all of them have got into run.
        for (int i = 0; i < 3; i++) {
            CHECK_OK(context->post([&, i](std::error_code) {
                inside++;
                while (inside < 3)
                    std::this_thread::yield();
                if (i == 0) {
                    delete context;
                    gone = true;
                }
            }));
        }
        for (int i = 0; i < 3; i++)
            threads.emplace_back([&, on = context] { on->run(); });
        for (auto &one : threads)
            one.join();
        CHECK(gone);
        CHECK_EQ(ended.load(), 1);
    }
}

TEST(destroyed_by_another_thread)
{
    auto context = std::make_unique<weir::context>();
    auto work = std::make_unique<weir::work_guard>(*context);
    weir::timer timer(*context, 1h);
    bool ended = false;
    CHECK_OK(timer.wait([&](std::error_code error) { ended = error == errc::canceled; }));
    weir::context &inner = *context;
    std::atomic<bool> inside{false};
    CHECK_OK(inner.post([&](std::error_code) { inside = true; }));
    std::thread other([&] { inner.run(); });
    while (!inside)
        std::this_thread::yield();
    context->destroy();
    other.join();
    CHECK(ended);
    work.reset();
}

// ---- exceptions

TEST(exceptions_come_out_of_every_run_function)
{
    weir::context context;
    weir::work_guard work(context);
    auto thrown = [&](auto run) {
        context.restart();
        CHECK_OK(context.post([](std::error_code) { throw std::runtime_error("out"); }));
        try {
            run();
        } catch (const std::runtime_error &error) {
            CHECK_EQ(error.what(), "out"sv);
            CHECK(context.stopped());
            return true;
        }
        return false;
    };
    weir_record record{};
    CHECK(thrown([&] { context.run(); }));
    CHECK(thrown([&] { context.run_one(); }));
    CHECK(thrown([&] { context.run_for(1h); }));
    CHECK(thrown([&] { context.run_until(std::chrono::steady_clock::now() + 1h); }));
    CHECK(thrown([&] { context.wait_one(1h); }));
    CHECK(thrown([&] { context.poll(); }));
    CHECK(thrown([&] { context.poll_one(); }));
    CHECK(thrown([&] { context.reap(&record, 1, 1h); }));
    CHECK(thrown([&] { context.enter(nullptr, 0, &record, 1, 1h); }));
    // The next run is as if nothing had been.
    context.restart();
    work.reset();
    CHECK_EQ(context.run(), 0u);
}

TEST(the_first_exception_wins_and_the_rest_goes_on)
{
    weir::context context;
    int after = 0;
    CHECK_OK(context.post([](std::error_code) { throw 1; }));
    CHECK_OK(context.post([&](std::error_code) {
        after++;
        throw 2;
    }));
    for (int expected = 1; expected <= 2; expected++) {
        int got = 0;
        try {
            context.run();
        } catch (int number) {
            got = number;
        }
        CHECK_EQ(got, expected);
        CHECK_EQ(after, expected - 1);
        context.restart();
    }
    context.run();
}

TEST(exceptions_from_each_kind_of_callback)
{
    weir::context context;
    auto catches = [&] {
        try {
            context.run();
        } catch (const std::runtime_error &) {
            context.restart();
            return true;
        }
        return false;
    };
    auto bad = [](auto &&...) { throw std::runtime_error("bad"); };
    weir::timer timer(context);
    CHECK_OK(timer.wait(bad));
    CHECK(catches());
    int ticks = 0;
    CHECK_OK(timer.start(0s, 1ms, [&](std::error_code error) {
        if (!error && ++ticks == 2)
            throw std::runtime_error("tick");
    }));
    CHECK(catches());
    timer.stop(); // it ticks on after an exception, until it is stopped
    context.run();
    context.restart();
    CHECK(ticks >= 2);
    auto [a, b] = weir::stream::pair(context);
    CHECK_OK(a.write("x", bad));
    CHECK(catches());
    CHECK_OK(b.read_each(bad));
    CHECK(catches());
    b.close();
    CHECK(catches()); // its last call throws too
    weir::acceptor acceptor(context, loopback());
    weir::stream client(context);
    CHECK_OK(client.connect(acceptor.local_address(), [](std::error_code) {}));
    CHECK_OK(acceptor.accept(bad));
    CHECK(catches());
    weir::resolver resolver(context);
    CHECK_OK(resolver.resolve("127.0.0.1", "1", bad));
    CHECK(catches());
    CHECK_OK(weir::start_job(context, [] { return 1; }, bad));
    CHECK(catches());
    weir::strand strand(context);
    CHECK_OK(strand.post(bad));
    CHECK(catches());
    CHECK_OK(context.dispatch([&](std::error_code) {
        // Called at once, inside run: it comes out of run, not of dispatch.
        CHECK_OK(context.dispatch(bad));
    }));
    CHECK(catches());
}

TEST(nested_runs_pass_exceptions_outwards)
{
    weir::context context;
    bool inner = false, outer = false;
    CHECK_OK(context.post([&](std::error_code) {
        CHECK_OK(context.post([](std::error_code) { throw std::runtime_error("deep"); }));
        try {
            context.run();
        } catch (const std::runtime_error &) {
            inner = true;
            throw;
        }
    }));
    try {
        context.run();
    } catch (const std::runtime_error &) {
        outer = true;
    }
    CHECK(inner && outer);
}

TEST(destroy_throws_and_the_destructor_does_not)
{
    auto pending = [](weir::context &context) {
        CHECK_OK(context.post([](std::error_code error) {
            CHECK_EQ(error, errc::canceled);
            throw std::runtime_error("late");
        }));
    };
    bool out = false;
    weir::context context;
    pending(context);
    try {
        context.destroy();
    } catch (const std::runtime_error &) {
        out = true;
    }
    CHECK(out);
    CHECK(!context);
    {
        weir::context silent;
        pending(silent);
    }
}

TEST(a_move_that_throws_is_an_exception_like_others)
{
    struct fragile {
        fragile() = default;
        fragile(const fragile &from) : left(from.left - 1)
        {
            if (left == 0)
                throw std::runtime_error("no more copies");
        }
        void operator()(std::error_code) const {}
        int left = 2;
    };
    weir::context context;
    fragile callable;
    CHECK_OK(context.post(callable));
    bool out = false;
    try {
        context.run(); // moving it out of its node throws
    } catch (const std::runtime_error &) {
        out = true;
    }
    CHECK(out);
    callable.left = 1;
    out = false;
    try {
        static_cast<void>(context.post(callable)); // and into it
    } catch (const std::runtime_error &) {
        out = true;
    }
    CHECK(out);
}

#if WEIR_HAS_COROUTINES

TEST(coroutines_end_with_their_handle_and_context)
{
    int alive = 0, ended = 0;
    std::optional<weir::stream> stream;
    weir::stream a, b;
    auto reader = [](weir::stream &from, int &count, witness) -> weir::task<> {
        char data[4];
        auto [error, bytes] = co_await from.read_some(data);
        CHECK_EQ(error, errc::canceled);
        CHECK_EQ(bytes, 0u);
        count++;
    };
    {
        weir::context context;
        std::tie(a, b) = weir::stream::pair(context);
        stream = std::move(a);
        // The handle is destroyed.
        weir::spawn(context, reader(*stream, ended, witness(alive)));
        context.poll();
        CHECK_EQ(alive, 1);
        stream.reset();
        context.run();
        CHECK_EQ(ended, 1);
        CHECK_EQ(alive, 0);
        // The context is destroyed; and one has not even begun.
        context.restart();
        auto [c, d] = weir::stream::pair(context);
        b = std::move(c);
        a = std::move(d);
        weir::spawn(context, reader(b, ended, witness(alive)));
        context.poll();
        weir::spawn(context, reader(b, ended, witness(alive)));
        CHECK_EQ(alive, 2);
    }
    CHECK_EQ(ended, 2);
    CHECK_EQ(alive, 0);
}

TEST(coroutines_destroy_their_context)
{
    std::optional<weir::context> context;
    context.emplace();
    bool ended = false;
    weir::spawn(*context, [](std::optional<weir::context> &on, bool &flag) -> weir::task<> {
        CHECK_OK(co_await on->post());
        weir::timer timer(*on, 1h);
        on.reset();
        CHECK_EQ(co_await timer.wait(), errc::canceled);
        flag = true;
    }(context, ended));
    context->run();
    CHECK(ended);
}

TEST(sequences_and_their_handles_in_any_order)
{
    weir::context context;
    weir::run(context, [](weir::context &on) -> weir::task<> {
        auto timer = std::make_optional<weir::timer>(on);
        auto every = weir::ticks(*timer, 1ms, 1ms);
        CHECK_OK((co_await every.next()).error);
        timer.reset();
        auto last = co_await every.next();
        while (last)
            last = co_await every.next();
        CHECK_EQ(last.error, errc::canceled);
        weir::timer second(on);
        {
            auto gone = weir::ticks(second, 1h, 1h);
        }
        // The end of the sequence has stopped it; it may be started again when that was told.
        while (second.pending() > 0)
            CHECK_OK(co_await on.post());
        auto again = weir::ticks(second, 0s, 1h);
        CHECK_OK((co_await again.next()).error);
    }(context));
    weir::timer outlives;
    {
        weir::context other;
        outlives = weir::timer(other);
    }
    auto dead = weir::ticks(outlives, 1s, 1s);
    static_cast<void>(dead);
}

#endif

TEST_MAIN()
