// What allocates: nothing in steady state, and of coroutines their frames only.
#include "check.hpp"

#include <memory>

COUNT_ALLOCATIONS

// Runs `step` until it is warm, and then tells how often operator new was called in `rounds` of it.
template <class Step>
static long counted(int rounds, Step step)
{
    for (int i = 0; i < 20; i++)
        step();
    long before = allocations.load();
    for (int i = 0; i < rounds; i++)
        step();
    return allocations.load() - before;
}

TEST(the_counter_counts)
{
    CHECK_EQ(counted(10, [] { ::operator delete(::operator new(1)); }), 10);
}

TEST(small_callables_cost_nothing)
{
    weir::context context;
    weir::timer timer(context);
    auto [a, b] = weir::stream::pair(context);
    char padding[weir::detail::small_callable - 2 * sizeof(void *)] = {}, data[16];
    int calls = 0;
    CHECK_EQ(counted(100, [&, &a = a, &b = b] {
        auto call = [padding, &calls, p = std::unique_ptr<int>()](std::error_code) { calls += 1 + padding[0]; };
        static_assert(sizeof call <= weir::detail::small_callable);
        CHECK_OK(context.post(std::move(call)));
        CHECK_OK(timer.wait([&](std::error_code) { calls++; }));
        CHECK_OK(a.write("hello", [&](std::error_code, std::size_t) { calls++; }));
        CHECK_OK(b.read_some(data, [&](std::error_code, std::size_t) { calls++; }));
        context.run();
        context.restart();
    }), 0);
    CHECK_EQ(calls, 480);
}

TEST(large_callables_cost_one)
{
    weir::context context;
    char padding[weir::detail::small_callable + 1] = {};
    CHECK_EQ(counted(10, [&] {
        CHECK_OK(context.post([padding](std::error_code) { static_cast<void>(padding); }));
        context.run();
        context.restart();
    }), 10);
}

TEST(starting_again_from_the_callback_costs_nothing)
{
    weir::context context;
    struct again {
        weir::context *on;
        int *left;
        void operator()(std::error_code) const
        {
            if (--*left > 0)
                CHECK_OK(on->post(*this));
        }
    };
    CHECK_EQ(counted(10, [&] {
        int left = 100;
        CHECK_OK(context.post(again{&context, &left}));
        context.run();
        context.restart();
        CHECK_EQ(left, 0);
    }), 0);
}

#if WEIR_HAS_COROUTINES

// Runs a task that awaits in a loop and counts by itself, so that the frame is not in the number.
template <class Step>
static long awaited(weir::context &context, int rounds, Step step)
{
    return weir::run(context, [](weir::context &on, int n, Step &one) -> weir::task<long> {
        long before = 0;
        for (int i = -20; i < n; i++) {
            if (i == 0)
                before = allocations.load();
            co_await one(on);
        }
        co_return allocations.load() - before;
    }(context, rounds, step));
}

TEST(operations_live_in_the_frame)
{
    weir::context context;
    auto [a, b] = weir::stream::pair(context);
    weir::acceptor acceptor(context, loopback());
    weir::timer timer(context);
    long n = weir::run(context, [](weir::context &on, weir::stream &x, weir::stream &y, weir::acceptor &listening,
                                   weir::timer &time) -> weir::task<long> {
        long before = 0;
        char data[16];
        weir::address to = listening.local_address();
        for (int i = -20; i < 100; i++) {
            if (i == 0)
                before = allocations.load();
            CHECK_OK(co_await on.post());
            CHECK_OK(co_await time.wait());
            CHECK_OK(co_await weir::sleep_for(on, 0s));
            CHECK_EQ((co_await x.write("hello")).value, 5u);
            CHECK_EQ((co_await y.read_some(data)).value, 5u);
            weir::stream client(on);
            auto [connected, taken] = co_await weir::when_all(client.connect(to), listening.accept());
            CHECK_OK(connected);
            CHECK_OK(taken.error);
            auto any = co_await weir::when_any(on.post(), y.read_some(data), weir::sleep_for(on, 1h));
            CHECK_EQ(any.index, 0u);
            CHECK_OK((co_await weir::with_timeout(x.write("x"), 1h)).error);
            CHECK_OK((co_await weir::with_timeout(weir::when_all(y.read_some(data), on.post()), 1h)).error);
            CHECK_EQ(co_await weir::with_timeout(weir::sleep_for(on, 1h), 0s), weir::errc::timed_out);
            weir::cancellation scope;
            scope.cancel();
            CHECK_EQ((co_await weir::with_cancellation(scope, y.read_some(data))).error, weir::errc::canceled);
            CHECK_OK(co_await weir::shield(on.post()));
        }
        co_return allocations.load() - before;
    }(context, a, b, acceptor, timer));
    CHECK_EQ(n, 0);
}

static weir::task<int> leaf(weir::context &on)
{
    co_await on.post();
    co_return 1;
}

TEST(a_task_costs_its_frame)
{
    weir::context context;
    CHECK_EQ(awaited(context, 100, [](weir::context &on) { return leaf(on); }), 100);
    CHECK_EQ(awaited(context, 100, [](weir::context &on) { return weir::when_all(leaf(on), leaf(on)); }), 200);
    CHECK_EQ(awaited(context, 100, [](weir::context &on) { return weir::with_timeout(leaf(on), 1h); }), 100);
    CHECK_EQ(counted(100, [&] {
        weir::spawn(context, leaf(context));
        context.run();
        context.restart();
    }), 100);
}

TEST(sequences_cost_nothing)
{
    weir::context context;
    weir::timer timer(context);
    long n = weir::run(context, [](weir::timer &of) -> weir::task<long> {
        auto every = weir::ticks(of, 0s, 10us);
        co_await every.next();
        long before = allocations.load();
        for (int i = 0; i < 50; i++)
            co_await every.next();
        co_return allocations.load() - before;
    }(timer));
    CHECK_EQ(n, 0);
}

#endif

TEST_MAIN()
