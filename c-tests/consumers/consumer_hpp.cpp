// The same with weir.hpp, in C++17 and later; a coroutine too where there are some.
#include <weir.hpp>

#include <iostream>

int main()
{
    using namespace std::chrono_literals;
    try {
        int posted = 0, fired = 0;
        weir::context context;
        weir::timer timer(context, 1ms);
        weir::check(timer.wait([&](std::error_code error) { fired += !error; }));
        weir::check(context.post([&](std::error_code error) { posted += !error; }));
        context.run();
#if WEIR_HAS_COROUTINES
        weir::spawn(context, [&]() -> weir::task<> { if (co_await weir::sleep_for(context, 1ms)) fired = -1; });
        context.restart();
        context.run();
#endif
        std::cout << "weir.hpp on libweir " << weir_version_string() << ": " << posted << " post, " << fired
                  << " timer\n";
        return posted == 1 && fired == 1 ? 0 : 1;
    } catch (const std::exception &error) {
        std::cerr << error.what() << '\n';
        return 1;
    }
}
