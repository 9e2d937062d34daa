// A small test harness for C++, with the command line of c-tests/check.h: a case is run in a process of its own;
// `--list` names the cases; names as arguments run those in this process. A file ends with TEST_MAIN().
#ifndef CHECK_HPP
#define CHECK_HPP

#include <weir.hpp>

#include <atomic>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <new>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include <csignal>
#include <sys/wait.h>
#include <unistd.h>

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define CHECK_SANITIZED 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define CHECK_SANITIZED 1
#endif
#endif
#ifndef CHECK_SANITIZED
#define CHECK_SANITIZED 0
#endif

namespace check {

using namespace std::chrono_literals;
using namespace std::string_view_literals;

[[noreturn]] inline void fail(const char *file, int line, const std::string &what)
{
    std::fflush(stdout);
    std::fprintf(stderr, "%s:%d: %s\n", file, line, what.c_str());
    std::fflush(stderr);
    _exit(1);
}

inline std::string text(std::error_code value) { return weir_error_name(value.value()); }
inline std::string text(std::string_view value) { return std::string(value); }
inline std::string text(const char *value) { return value; }
inline std::string text(bool value) { return value ? "true" : "false"; }
template <class T>
std::string text(const T &value)
{
    if constexpr (std::is_enum_v<T>)
        return std::to_string(static_cast<long long>(value));
    else if constexpr (std::is_arithmetic_v<T>)
        return std::to_string(value);
    else
        return "?";
}

template <class A, class B>
void equal(const A &a, const B &b, const char *what, const char *file, int line)
{
    bool same;
    if constexpr (std::is_integral_v<A> && std::is_integral_v<B> && !std::is_same_v<A, bool> && !std::is_same_v<B, bool>)
        same = static_cast<long long>(a) == static_cast<long long>(b);
    else
        same = a == b;
    if (!same)
        fail(file, line, std::string("CHECK_EQ(") + what + "): " + text(a) + " and " + text(b));
}

#define CHECK(...)                                                                                                     \
    do {                                                                                                               \
        if (!(__VA_ARGS__))                                                                                            \
            ::check::fail(__FILE__, __LINE__, "CHECK(" #__VA_ARGS__ ")");                                              \
    } while (0)
#define CHECK_EQ(a, b) ::check::equal((a), (b), #a ", " #b, __FILE__, __LINE__)
#define CHECK_OK(...) ::check::equal(std::error_code(__VA_ARGS__), std::error_code(0, weir::category()), #__VA_ARGS__, __FILE__, __LINE__)
// The expression throws std::system_error with this error.
#define CHECK_THROWS(wanted, ...)                                                                                        \
    do {                                                                                                               \
        bool check_thrown = false;                                                                                     \
        try {                                                                                                          \
            static_cast<void>(__VA_ARGS__);                                                                            \
        } catch (const std::system_error &check_error) {                                                               \
            check_thrown = true;                                                                                       \
            CHECK_EQ(check_error.code(), std::error_code(wanted));                                                     \
        }                                                                                                              \
        if (!check_thrown)                                                                                             \
            ::check::fail(__FILE__, __LINE__, #__VA_ARGS__ " throws nothing");                                         \
    } while (0)

struct one_case {
    const char *name;
    void (*run)();
};
inline std::vector<one_case> &cases()
{
    static std::vector<one_case> all;
    return all;
}
struct registered {
    registered(const char *name, void (*run)()) { cases().push_back({name, run}); }
};

#define TEST(name)                                                                                                     \
    static void name();                                                                                                \
    static const ::check::registered check_case_##name(#name, name);                                                   \
    static void name()

inline const char *running = "";
inline void too_slow(int)
{
    auto ignored = ::write(2, running, std::strlen(running));
    ignored = ::write(2, ": time limit reached\n", 21);
    static_cast<void>(ignored);
    _exit(1);
}
inline void run_here(const one_case &one)
{
    const char *limit = std::getenv("CHECK_SECONDS");
    running = one.name;
    std::signal(SIGALRM, too_slow);
    alarm(limit != nullptr ? static_cast<unsigned>(std::strtoul(limit, nullptr, 10)) : 60);
    one.run();
    alarm(0);
}

inline int main(int count, char **arguments)
{
    if (count == 2 && arguments[1] == "--list"sv) {
        for (const auto &one : cases())
            std::puts(one.name);
        return 0;
    }
    int failed = 0;
    for (const auto &one : cases()) {
        if (count > 1) {
            for (int i = 1; i < count; i++) {
                if (std::strcmp(arguments[i], one.name) == 0) {
                    run_here(one);
                    std::printf("ok      %s\n", one.name);
                    arguments[i] = arguments[0];
                }
            }
            continue;
        }
        std::fflush(stdout);
        ::pid_t child = fork();
        if (child == 0) {
            run_here(one);
            std::exit(0); // not _exit: the leak check of the address sanitizer runs at exit
        }
        int status = 0;
        waitpid(child, &status, 0);
        bool good = WIFEXITED(status) && WEXITSTATUS(status) == 0;
        std::printf("%s %s\n", good ? "ok     " : "FAILED ", one.name);
        failed += good ? 0 : 1;
    }
    for (int i = 1; i < count; i++) {
        if (arguments[i] != arguments[0]) {
            std::fprintf(stderr, "no case named %s\n", arguments[i]);
            failed++;
        }
    }
    return failed > 0 || cases().empty() ? 1 : 0;
}

#define TEST_MAIN()                                                                                                    \
    int main(int count, char **arguments) { return ::check::main(count, arguments); }

// Sanitizers make a step many times dearer.
constexpr int many(int steps) { return CHECK_SANITIZED ? steps / 20 + 1 : steps; }

// ---- counting operator new: in one file of a program, after COUNT_ALLOCATIONS

inline std::atomic<long> allocations{0};

// Not inlined: gcc would take the pair for a mistake.
#define COUNT_ALLOCATIONS                                                                                              \
    __attribute__((noinline)) void *operator new(std::size_t size)                                                     \
    {                                                                                                                  \
        ::check::allocations.fetch_add(1, std::memory_order_relaxed);                                                  \
        if (void *made = std::malloc(size > 0 ? size : 1))                                                             \
            return made;                                                                                               \
        throw std::bad_alloc();                                                                                        \
    }                                                                                                                  \
    __attribute__((noinline)) void operator delete(void *memory) noexcept { std::free(memory); }                       \
    __attribute__((noinline)) void operator delete(void *memory, std::size_t) noexcept { std::free(memory); }

// ---- helpers

inline weir::address loopback() { return weir::address("127.0.0.1:0"); }

struct tcp_pair {
    weir::stream client, server;
};
// Two connected TCP streams.
inline tcp_pair connected(const weir::context &context)
{
    weir::acceptor acceptor(context, loopback());
    tcp_pair made{weir::stream(context), {}};
    CHECK_OK(made.client.connect(acceptor.local_address(), [](std::error_code error) { CHECK_OK(error); }));
    CHECK_OK(acceptor.accept([&](std::error_code error, weir::stream peer, const weir::address &) {
        CHECK_OK(error);
        made.server = std::move(peer);
    }));
    context.run();
    context.restart();
    return made;
}

} // namespace check

using namespace check;

#endif
