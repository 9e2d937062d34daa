// Tasks: starting, exceptions, cancellation, time limits, when_all and when_any (C++20).
#include "check.hpp"

#if WEIR_HAS_COROUTINES

#include <memory>
#include <stdexcept>

using weir::cancellation;
using weir::errc;
using weir::task;

static task<int> number(int n)
{
    co_return n;
}
static task<int> late(weir::context &on, int n)
{
    static_cast<void>(co_await weir::sleep_for(on, 1ms));
    co_return n;
}
static task<int> throwing(weir::context &on)
{
    CHECK_OK(co_await on.post());
    throw std::runtime_error("thrown");
}
static task<> sleeper(weir::context &on, std::error_code &told)
{
    told = co_await weir::sleep_for(on, 1h);
}

TEST(values_and_exceptions_pass_through)
{
    weir::context context;
    CHECK_EQ(weir::run(context, number(3)), 3);
    CHECK_EQ(weir::run(context, late(context, 4)), 4);
    int sum = weir::run(context, [](weir::context &on) -> task<int> {
        int total = co_await number(1) + co_await late(on, 2);
        try {
            total += co_await throwing(on);
        } catch (const std::runtime_error &error) {
            CHECK_EQ(error.what(), "thrown"sv);
            total += 100;
        }
        co_return total;
    }(context));
    CHECK_EQ(sum, 103);
    bool out = false;
    try {
        weir::run(context, throwing(context));
    } catch (const std::runtime_error &) {
        out = true;
    }
    CHECK(out);
    // Values that can only be moved, and references kept as pointers.
    auto owned = weir::run(context, []() -> task<std::unique_ptr<int>> { co_return std::make_unique<int>(9); }());
    CHECK_EQ(*owned, 9);
}

TEST(tasks_are_lazy_and_may_be_dropped)
{
    weir::context context;
    bool began = false;
    auto make = [](bool &flag) -> task<> {
        flag = true;
        co_return;
    };
    {
        task<> never = make(began);
        task<> moved = std::move(never);
        CHECK(!never);
        CHECK(moved);
        moved = make(began);
    }
    CHECK(!began);
    task<> one = make(began);
    weir::run(context, std::move(one));
    CHECK(began);
}

// Neither the stack nor the queue grows with the number of tasks awaited.
TEST(awaiting_takes_no_stack)
{
    weir::context context;
    long steps = weir::run(context, [](weir::context &on) -> task<long> {
        long total = 0;
        cancellation scope;
        for (int i = 0; i < many(300000); i++) {
            total += co_await weir::with_cancellation(scope, number(1));
            total += co_await weir::shield(number(1));
            auto [a, b] = co_await weir::when_all(number(1), number(1));
            total += a + b;
            total += co_await on.dispatch() ? 0 : 1;
        }
        co_return total;
    }(context));
    CHECK_EQ(steps, 5 * many(300000));
    // A plain await where the compiler makes tail calls.
#if !CHECK_SANITIZED && defined(__OPTIMIZE__)
    long sum = weir::run(context, []() -> task<long> {
        long total = 0;
        for (int i = 0; i < 1000000; i++)
            total += co_await number(1);
        co_return total;
    }());
    CHECK_EQ(sum, 1000000);
#endif
}

TEST(spawned_exceptions_come_out_of_run)
{
    weir::context context;
    int others = 0;
    weir::spawn(context, throwing(context));
    auto counting = [](weir::context &on, int &count) -> task<> {
        CHECK_OK(co_await weir::sleep_for(on, 5ms));
        count++;
    };
    weir::spawn(context, counting(context, others));
    bool out = false;
    try {
        context.run();
    } catch (const std::runtime_error &error) {
        out = true;
        CHECK_EQ(error.what(), "thrown"sv);
    }
    CHECK(out);
    CHECK_EQ(others, 0);
    context.restart();
    context.run(); // what else there was goes on
    CHECK_EQ(others, 1);
}

TEST(spawn_keeps_a_callable)
{
    weir::context context;
    std::string told;
    {
        std::string captured(100, 'c');
        weir::spawn(context, [captured, &told, &context]() -> task<> {
            CHECK_OK(co_await weir::sleep_for(context, 1ms));
            told = captured;
        });
    }
    context.run();
    CHECK_EQ(told, std::string(100, 'c'));
    CHECK_THROWS(errc::invalid, weir::spawn(context, task<>()));
    weir::context moved = std::move(context);
    CHECK_THROWS(errc::bad_handle, weir::spawn(context, number(1)));
}

TEST(tasks_on_many_threads)
{
    weir::context context;
    std::atomic<int> ended{0};
    const int count = many(2000);
    for (int i = 0; i < count; i++) {
        weir::spawn(context, [](weir::context &on, std::atomic<int> &n) -> task<> {
            for (int round = 0; round < 5; round++) {
                CHECK_OK(co_await on.post());
                co_await late(on, 1);
            }
            auto [a, b] = co_await weir::when_all(late(on, 1), weir::sleep_for(on, 1ms));
            CHECK_EQ(a, 1);
            CHECK_OK(b);
            auto any = co_await weir::when_any(late(on, 1), weir::sleep_for(on, 1h), late(on, 2));
            CHECK(any.index != 1);
            CHECK_EQ(any.get<1>(), errc::canceled);
            n++;
        }(context, ended));
    }
    std::vector<std::thread> threads;
    for (int i = 0; i < 3; i++)
        threads.emplace_back([&] { context.run(); });
    for (auto &one : threads)
        one.join();
    CHECK_EQ(ended.load(), count);
}

// ---- cancellation

TEST(cancellation_ends_a_tree)
{
    weir::context context;
    cancellation scope;
    std::error_code told[3];
    bool after = false;
    auto tree = [](weir::context &on, std::error_code *tell, bool &flag) -> task<> {
        co_await weir::when_all(sleeper(on, tell[0]), sleeper(on, tell[1]));
        CHECK(co_await weir::is_cancelled());
        // What is awaited later ends too, at once and without a start.
        tell[2] = co_await weir::sleep_for(on, 1h);
        CHECK_EQ((co_await weir::stream(on).read_some(weir::buffer())).error, errc::canceled);
        CHECK_OK(co_await weir::shield(weir::sleep_for(on, 1ms)));
        flag = true;
    };
    weir::spawn(context, tree(context, told, after), scope);
    CHECK_OK(context.post([&](std::error_code) {
        scope.cancel();
        scope.cancel();
    }));
    context.run();
    for (auto &one : told)
        CHECK_EQ(one, errc::canceled);
    CHECK(after);
    CHECK(scope.requested());
}

TEST(cancellation_before_the_start)
{
    weir::context context;
    cancellation scope;
    scope.cancel();
    std::error_code told;
    weir::spawn(context, sleeper(context, told), scope);
    context.run();
    CHECK_EQ(told, errc::canceled);
}

TEST(stop_tokens_cancel)
{
    weir::context context;
    std::stop_source source;
    std::error_code told, asked;
    weir::spawn(context, sleeper(context, told), source.get_token());
    std::thread other([&] {
        std::this_thread::sleep_for(5ms);
        source.request_stop();
    });
    context.run();
    other.join();
    CHECK_EQ(told, errc::canceled);
    context.restart();
    weir::spawn(context, sleeper(context, asked), source.get_token());
    context.run();
    CHECK_EQ(asked, errc::canceled);
}

TEST(inner_and_outer_cancellation)
{
    weir::context context;
    auto body = [](weir::context &on, cancellation &inner) -> task<> {
        CHECK_EQ(co_await weir::with_cancellation(inner, weir::sleep_for(on, 1h)), errc::canceled);
        CHECK(co_await weir::is_cancelled() == false);
        CHECK_OK(co_await weir::sleep_for(on, 1ms));
    };
    cancellation inner, outer;
    weir::spawn(context, body(context, inner), outer);
    CHECK_OK(context.post([&](std::error_code) { inner.cancel(); }));
    context.run();

    // The other way round, and the same one inside itself.
    context.restart();
    cancellation second;
    auto follows = [](weir::context &on, cancellation &in, cancellation &self) -> task<> {
        CHECK_EQ(co_await weir::with_cancellation(in, weir::with_cancellation(self, weir::sleep_for(on, 1h))),
                 errc::canceled);
        CHECK(co_await weir::is_cancelled());
        CHECK(in.requested());
    };
    weir::spawn(context, follows(context, second, outer), outer);
    CHECK_OK(context.post([&](std::error_code) { outer.cancel(); }));
    context.run();
    CHECK(second.requested());
}

// Cancel, completion and start race on several threads; nothing is lost or ended twice.
TEST(cancellation_races)
{
    weir::context context;
    weir::work_guard work(context);
    std::vector<std::thread> threads;
    for (int i = 0; i < 2; i++)
        threads.emplace_back([&] { context.run(); });
    const int rounds = many(2000);
    for (int i = 0; i < rounds; i++) {
        cancellation scope;
        std::atomic<bool> ended{false};
        auto body = [](weir::context &on, std::atomic<bool> &flag) -> task<> {
            for (int n = 0; n < 3; n++)
                co_await weir::when_any(weir::sleep_for(on, 10us), on.post(), weir::sleep_for(on, 1h));
            flag = true;
        };
        weir::spawn(context, body(context, ended), scope);
        if (i % 2 != 0)
            std::this_thread::yield();
        scope.cancel();
        while (!ended)
            std::this_thread::yield();
    }
    work.reset();
    for (auto &one : threads)
        one.join();
}

// A cancel that comes while an operation starts finds it.
TEST(cancel_finds_what_is_being_started)
{
    struct pending : weir::detail::cancel_link {
        std::atomic<bool> ended{false};
    };
    cancellation scope;
    pending link;
    link.on_cancel = [](weir::detail::cancel_link *at) noexcept { static_cast<pending *>(at)->ended = true; };
    std::thread other;
    CHECK_EQ(scope.attach(link, [&] {
        other = std::thread([&] { scope.cancel(); });
        while (!scope.requested())
            std::this_thread::yield();
        return 0;
    }), 0);
    other.join();
    CHECK(link.ended.load());
    scope.detach(link);
    CHECK_EQ(scope.attach(link, [] { return 0; }), WEIR_ECANCELED);
}

TEST(sequences_are_cancelled)
{
    weir::context context;
    cancellation scope;
    weir::spawn(context, [&context]() -> task<> {
        weir::timer timer(context);
        auto every = weir::ticks(timer, 1h, 1h);
        CHECK_EQ((co_await every.next()).error, errc::canceled);
        CHECK_EQ((co_await every.next()).error, errc::canceled);
    }, scope);
    CHECK_OK(context.post([&](std::error_code) { scope.cancel(); }));
    context.run();
}

// ---- time limits

TEST(time_limits_end_operations)
{
    weir::context context;
    weir::run(context, [](weir::context &on) -> task<> {
        auto [a, b] = weir::stream::pair(on);
        char data[8];
        auto [error, bytes] = co_await weir::with_timeout(a.read_some(data), 1ms);
        CHECK_EQ(error, errc::timed_out);
        CHECK_EQ(bytes, 0u);
        // Bytes that had moved are told, and the stream is as good as before.
        CHECK_EQ((co_await b.write("half")).get(), 4u);
        auto half = co_await weir::with_timeout(a.read(data), 20ms);
        CHECK_EQ(half.error, errc::timed_out);
        CHECK_EQ(half.value, 4u);
        CHECK_EQ((co_await b.write("whole!!!")).get(), 8u);
        CHECK_EQ((co_await weir::with_timeout(a.read(data), 1h)).get(), 8u);
        CHECK_EQ(co_await weir::with_timeout(weir::sleep_for(on, 1h), 0s), errc::timed_out);
        CHECK_OK(co_await weir::with_timeout(weir::sleep_for(on, 0s), weir::forever));
        // One that fails at once.
        CHECK_EQ((co_await weir::with_timeout(weir::stream(on).read_some(data), 1h)).error, errc::not_connected);
    }(context));
}

TEST(what_ends_one_operation_leaves_the_others)
{
    weir::context context;
    weir::run(context, [](weir::context &on) -> task<> {
        auto [a, b] = weir::stream::pair(on);
        char data[8], other[8];
        weir::timer timer(on);
        bool told = false;
        CHECK_OK(b.read(other, [&](std::error_code error, std::size_t bytes) {
            CHECK_OK(error);
            CHECK_EQ(bytes, 8u);
            told = true;
        }));
        timer.expires_after(30ms);
        bool fired = false;
        CHECK_OK(timer.wait([&](std::error_code error) {
            CHECK_OK(error);
            fired = true;
        }));
        // A write of the same stream, and a wait of the same timer, go on.
        CHECK_EQ((co_await weir::with_timeout(b.write("12345678"), 1h)).get(), 8u);
        CHECK_EQ((co_await weir::with_timeout(a.read(data), 1h)).get(), 8u);
        CHECK_EQ((co_await weir::with_timeout(a.read_some(data), 1ms)).error, errc::timed_out);
        CHECK_EQ(co_await weir::with_timeout(timer.wait(), 1ms), errc::timed_out);
        CHECK(!told && !fired);
        CHECK_EQ((co_await a.write("abcdefgh")).get(), 8u);
        while (!told || !fired)
            static_cast<void>(co_await weir::sleep_for(on, 1ms));
    }(context));
}

TEST(time_limits_end_tasks)
{
    weir::context context;
    weir::run(context, [](weir::context &on) -> task<> {
        std::error_code told;
        CHECK_EQ(co_await weir::with_timeout(sleeper(on, told), 1ms), errc::timed_out);
        CHECK_EQ(told, errc::canceled);
        auto [error, value] = co_await weir::with_timeout(number(3), 1h);
        CHECK_OK(error);
        CHECK_EQ(value, 3);
        auto slow = [](weir::context &ctx) -> task<int> {
            co_await weir::sleep_for(ctx, 1h);
            co_return 5; // what it gives in spite of the cancel
        };
        auto overdue = co_await weir::with_timeout(slow(on), 1ms);
        CHECK_EQ(overdue.error, errc::timed_out);
        CHECK_EQ(overdue.value, 5);
        auto throws = [](weir::context &ctx) -> task<int> {
            weir::check(co_await weir::sleep_for(ctx, 1h));
            co_return 1;
        };
        bool caught = false;
        try {
            co_await weir::with_timeout(throws(on), 1ms);
        } catch (const std::system_error &late_error) {
            caught = late_error.code() == errc::timed_out;
        }
        CHECK(caught);
        caught = false;
        try {
            co_await weir::with_timeout(throwing(on), 1h);
        } catch (const std::runtime_error &) {
            caught = true;
        }
        CHECK(caught);
        // Nested: the inner one is first, then the outer one.
        CHECK_EQ(co_await weir::with_timeout(weir::with_timeout(weir::sleep_for(on, 1h), 1ms), 1h), errc::timed_out);
        auto outer = co_await weir::with_timeout(weir::when_all(sleeper(on, told), weir::sleep_for(on, 1h)), 1ms);
        CHECK_EQ(outer.error, errc::timed_out);
        CHECK_EQ(std::get<1>(outer.value), errc::canceled);
    }(context));
}

TEST(cancelled_from_outside_is_no_timeout)
{
    weir::context context;
    cancellation scope;
    std::error_code told;
    weir::spawn(context, [&]() -> task<> {
        told = co_await weir::with_timeout(weir::sleep_for(context, 1h), 1h);
    }, scope);
    CHECK_OK(context.post([&](std::error_code) { scope.cancel(); }));
    context.run();
    CHECK_EQ(told, errc::canceled);
}

TEST(manual_clocks_time_out)
{
    weir::context_options options;
    options.flags = WEIR_CONTEXT_MANUAL_CLOCK;
    weir::context context(options);
    std::error_code told;
    weir::spawn(context, [&]() -> task<> {
        told = co_await weir::with_timeout(weir::sleep_for(context, 2h), 1h);
    });
    context.poll();
    CHECK(!told);
    context.advance(1h);
    context.run();
    CHECK_EQ(told, errc::timed_out);
}

// ---- when_all, when_any

TEST(when_all_gives_all)
{
    weir::context context;
    weir::run(context, [](weir::context &on) -> task<> {
        std::error_code told;
        auto nothing = []() -> task<> { co_return; };
        auto [a, b, c, d] = co_await weir::when_all(number(1), late(on, 2), weir::sleep_for(on, 1ms), nothing());
        CHECK_EQ(a, 1);
        CHECK_EQ(b, 2);
        CHECK_OK(c);
        static_assert(std::is_same_v<decltype(d), std::monostate>);
        auto [one] = co_await weir::when_all(number(5));
        CHECK_EQ(one, 5);
        // The first that throws ends the others, which are awaited.
        bool caught = false;
        try {
            co_await weir::when_all(sleeper(on, told), throwing(on), late(on, 1));
        } catch (const std::runtime_error &) {
            caught = true;
        }
        CHECK(caught);
        CHECK_EQ(told, errc::canceled);
    }(context));
}

TEST(when_any_cancels_and_awaits_the_losers)
{
    weir::context context;
    weir::run(context, [](weir::context &on) -> task<> {
        std::error_code told;
        auto any = co_await weir::when_any(sleeper(on, told), late(on, 2), weir::sleep_for(on, 1h));
        CHECK_EQ(any.index, 1u);
        CHECK_EQ(any.get<1>(), 2);
        CHECK_EQ(any.get<2>(), errc::canceled);
        CHECK_EQ(told, errc::canceled);
        // One that throws wins too.
        auto failed = co_await weir::when_any(weir::sleep_for(on, 1h), throwing(on));
        CHECK_EQ(failed.index, 1u);
        bool caught = false;
        try {
            failed.get<1>();
        } catch (const std::runtime_error &) {
            caught = true;
        }
        CHECK(caught);
        // One that ends at once; the others are started cancelled.
        auto first = co_await weir::when_any(number(1), sleeper(on, told));
        CHECK_EQ(first.index, 0u);
        CHECK_EQ(told, errc::canceled);
        // A loser's true result is kept.
        auto both = co_await weir::when_any(number(1), number(2));
        CHECK_EQ(both.index, 0u);
        CHECK_EQ(both.get<1>(), 2);
        // Inside each other.
        auto nested = co_await weir::when_any(weir::when_all(late(on, 1), late(on, 2)), weir::sleep_for(on, 1h));
        CHECK_EQ(nested.index, 0u);
        CHECK_EQ(std::get<1>(nested.get<0>()), 2);
    }(context));
}

// ---- run()

TEST(run_throws_what_leaves_another_callback_and_ends_the_task)
{
    weir::context context;
    std::error_code told;
    CHECK_OK(context.post([](std::error_code) { throw std::logic_error("other"); }));
    bool out = false;
    try {
        weir::run(context, sleeper(context, told));
    } catch (const std::logic_error &) {
        out = true;
    }
    CHECK(out);
    CHECK_EQ(told, errc::canceled);
}

struct never {
    bool await_ready() const noexcept { return false; }
    void await_suspend(std::coroutine_handle<> at) noexcept { *left = at; }
    void await_resume() const noexcept {}
    std::coroutine_handle<> *left;
};

TEST(run_tells_when_nothing_can_resume)
{
    weir::context context;
    std::coroutine_handle<> left;
    bool ended = false;
    auto stuck = [](std::coroutine_handle<> *at, bool &flag) -> task<> {
        co_await never{at};
        flag = true;
    };
    CHECK_THROWS(errc::invalid, weir::run(context, stuck(&left, ended)));
    CHECK(!ended);
    left.resume(); // it is whole, and may go on
    CHECK(ended);
}

#endif

TEST(compiles_without_coroutines) {}

TEST_MAIN()
