/* A small test harness. A file holds several `TEST(name) { ... }` and ends with `TEST_MAIN()`.
 *
 * The program runs every case in a child process of its own, so that a crash does not hide the cases after it;
 * with names as arguments it runs those cases in this process (for debuggers and sanitizers); `--list` prints
 * the names. The exit status is 1 when anything failed. A case has 60 seconds, or CHECK_SECONDS of the environment.
 *
 * The checks do not depend on NDEBUG, and may be used on any thread: a failure ends the whole process. */
#ifndef CHECK_H
#define CHECK_H

#include "weir.h"

#include <dirent.h>
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
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

#define CHECK_MS INT64_C(1000000)
#define CHECK_SECOND INT64_C(1000000000)

/* ---- failures */

__attribute__((noreturn, format(printf, 3, 4))) static inline void check_fail(const char *file, int line,
                                                                             const char *format, ...)
{
    /* One write, so that two failing threads do not mix their lines. */
    char text[1024];
    int used = snprintf(text, sizeof text, "%s:%d: ", file, line);
    __builtin_va_list arguments;
    __builtin_va_start(arguments, format);
    if (used > 0 && (size_t)used < sizeof text)
        vsnprintf(text + used, sizeof text - (size_t)used, format, arguments);
    __builtin_va_end(arguments);
    fflush(stdout);
    fprintf(stderr, "%s\n", text);
    fflush(stderr);
    _exit(1); /* other threads may still be inside the library: nothing is torn down under them */
}

static inline void check_equal(long long left, long long right, const char *left_text, const char *right_text,
                               const char *file, int line)
{
    if (left != right)
        check_fail(file, line, "CHECK_EQ(%s, %s): %lld and %lld", left_text, right_text, left, right);
}

static inline void check_code(int got, int want, const char *text, const char *file, int line)
{
    if (got != want)
        check_fail(file, line, "%s gave %d (%s), expected %d (%s)", text, got, weir_error_name(got), want,
                   weir_error_name(want));
}

#define CHECK(condition)                                                                                               \
    do {                                                                                                               \
        if (!(condition))                                                                                              \
            check_fail(__FILE__, __LINE__, "CHECK(%s)", #condition);                                                   \
    } while (0)
/* Integers only; for pointers use CHECK. */
#define CHECK_EQ(left, right) check_equal((long long)(left), (long long)(right), #left, #right, __FILE__, __LINE__)
#define CHECK_CODE(expression, code) check_code((expression), (code), #expression, __FILE__, __LINE__)
#define CHECK_OK(expression) CHECK_CODE(expression, 0)
/* For what is outside the library: ends the case and counts it as passed, with a line that says why. */
#define CHECK_SKIP(reason)                                                                                             \
    do {                                                                                                               \
        printf("skipped: %s\n", (reason));                                                                             \
        fflush(stdout);                                                                                                \
        _exit(0);                                                                                                      \
    } while (0)

/* ---- cases */

struct check_case {
    const char *name;
    void (*run)(void);
    struct check_case *next;
};
static struct check_case *check_first, **check_last = &check_first;
static const char *check_running = "";

static inline void check_register(struct check_case *one)
{
    *check_last = one;
    check_last = &one->next;
}

#define TEST(name)                                                                                                     \
    static void name(void);                                                                                            \
    static struct check_case check_case_##name = {#name, name, NULL};                                                  \
    __attribute__((constructor)) static void check_register_##name(void)                                               \
    {                                                                                                                  \
        check_register(&check_case_##name);                                                                            \
    }                                                                                                                  \
    static void name(void)

static inline void check_too_slow(int number)
{
    (void)number;
    ssize_t ignored = write(2, check_running, strlen(check_running));
    ignored = write(2, ": time limit reached\n", 21);
    (void)ignored;
    _exit(1);
}

static inline void check_run_here(const struct check_case *one)
{
    const char *limit = getenv("CHECK_SECONDS");
    unsigned seconds = limit ? (unsigned)strtoul(limit, NULL, 10) : 60;
    check_running = one->name;
    signal(SIGALRM, check_too_slow);
    alarm(seconds > 0 ? seconds : 60);
    one->run();
    alarm(0);
}

static inline bool check_run_in_child(const struct check_case *one)
{
    struct timespec begin, end;
    clock_gettime(CLOCK_MONOTONIC, &begin);
    fflush(stdout);
    fflush(stderr);
    pid_t child = fork();
    if (child < 0) {
        perror("fork");
        return false;
    }
    if (child == 0) {
        check_run_here(one);
        exit(0); /* not _exit: the leak check of the address sanitizer runs at exit */
    }
    int status = 0;
    while (waitpid(child, &status, 0) < 0 && errno == EINTR) {
    }
    clock_gettime(CLOCK_MONOTONIC, &end);
    long ms = (long)(end.tv_sec - begin.tv_sec) * 1000 + (end.tv_nsec - begin.tv_nsec) / 1000000;
    bool passed = WIFEXITED(status) && WEXITSTATUS(status) == 0;
    if (passed)
        printf("ok      %s (%ld ms)\n", one->name, ms);
    else if (WIFSIGNALED(status))
        printf("FAILED  %s: signal %d (%s)\n", one->name, WTERMSIG(status), strsignal(WTERMSIG(status)));
    else
        printf("FAILED  %s: exit status %d\n", one->name, WEXITSTATUS(status));
    return passed;
}

static inline int check_main(int count, char **arguments)
{
    if (count == 2 && strcmp(arguments[1], "--list") == 0) {
        for (const struct check_case *one = check_first; one; one = one->next)
            puts(one->name);
        return 0;
    }
    if (count > 1) {
        for (int i = 1; i < count; i++) {
            const struct check_case *one = check_first;
            while (one && strcmp(one->name, arguments[i]) != 0)
                one = one->next;
            if (!one) {
                fprintf(stderr, "no case named %s\n", arguments[i]);
                return 1;
            }
            check_run_here(one);
            printf("ok      %s\n", one->name);
        }
        return 0;
    }
    int passed = 0, failed = 0;
    for (const struct check_case *one = check_first; one; one = one->next) {
        if (check_run_in_child(one))
            passed++;
        else
            failed++;
    }
    printf("%d cases passed, %d failed\n", passed, failed);
    return failed > 0 || passed == 0;
}

#define TEST_MAIN()                                                                                                    \
    int main(int count, char **arguments)                                                                              \
    {                                                                                                                  \
        return check_main(count, arguments);                                                                           \
    }

/* ---- helpers */

static inline int64_t now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * CHECK_SECOND + now.tv_nsec;
}

static inline void sleep_ms(int ms)
{
    struct timespec left = {ms / 1000, (long)(ms % 1000) * 1000000};
    while (nanosleep(&left, &left) < 0 && errno == EINTR) {
    }
}

/* Sanitizers and valgrind (with CHECK_SLOW in the environment) make a step many times dearer; what counts there
 * is which code runs, not how often. */
static inline size_t many(size_t steps)
{
    bool slow = CHECK_SANITIZED || getenv("CHECK_SLOW") != NULL;
    return slow ? (steps / 20 > 0 ? steps / 20 : 1) : steps;
}

/* Waits for what another thread is about to do; for conditions without a better signal. */
#define WAIT_FOR(condition)                                                                                            \
    do {                                                                                                               \
        int64_t check_deadline = now_ns() + 30 * CHECK_SECOND;                                                         \
        while (!(condition)) {                                                                                         \
            if (now_ns() > check_deadline)                                                                             \
                check_fail(__FILE__, __LINE__, "WAIT_FOR(%s): 30 s went by", #condition);                              \
            sleep_ms(1);                                                                                               \
        }                                                                                                              \
    } while (0)

static inline pthread_t start_thread(void *(*body)(void *), void *user)
{
    pthread_t thread;
    int error = pthread_create(&thread, NULL, body, user);
    if (error != 0)
        check_fail(__FILE__, __LINE__, "pthread_create: %s", strerror(error));
    return thread;
}

static inline void join_thread(pthread_t thread)
{
    int error = pthread_join(thread, NULL);
    if (error != 0)
        check_fail(__FILE__, __LINE__, "pthread_join: %s", strerror(error));
}

/* Runs `body` to its end on a thread with a stack far too small for one stack frame per queued item. */
static inline void on_small_stack(void *(*body)(void *), void *user)
{
    pthread_attr_t attributes;
    pthread_t thread;
    CHECK_EQ(pthread_attr_init(&attributes), 0);
    CHECK_EQ(pthread_attr_setstacksize(&attributes, (CHECK_SANITIZED ? 512 : 128) * 1024), 0);
    CHECK_EQ(pthread_create(&thread, &attributes, body, user), 0);
    CHECK_EQ(pthread_attr_destroy(&attributes), 0);
    join_thread(thread);
}

/* The open descriptors of this process. */
static inline int count_fds(void)
{
    int found = 0;
    DIR *directory = opendir("/proc/self/fd");
    CHECK(directory != NULL);
    while (readdir(directory))
        found++;
    closedir(directory);
    return found - 3; /* ".", ".." and the descriptor of the directory itself */
}

/* What callbacks report into: how often, and with what the last time. */
struct counter {
    atomic_int calls;
    atomic_int status;
    atomic_size_t bytes; /* the sum over all calls, of `count_io` only */
};

static inline void count_call(int status, void *user)
{
    struct counter *counter = user;
    atomic_store(&counter->status, status);
    atomic_fetch_add(&counter->calls, 1);
}

static inline void count_io(int status, size_t bytes, void *user)
{
    struct counter *counter = user;
    atomic_fetch_add(&counter->bytes, bytes);
    count_call(status, counter);
}

static inline weir_context *new_context(void)
{
    weir_context *context = NULL;
    CHECK_OK(weir_context_create(NULL, &context));
    CHECK(context != NULL);
    return context;
}

static inline weir_context *new_context_with(uint32_t flags, uint32_t thread_hint)
{
    weir_context_options options = {0};
    options.struct_size = sizeof options;
    options.flags = flags;
    options.thread_hint = thread_hint;
    weir_context *context = NULL;
    CHECK_OK(weir_context_create(&options, &context));
    CHECK(context != NULL);
    return context;
}

/* Turns of the reactor so far: one that is kept awake for nothing makes thousands in a moment, on a busy machine too,
 * where the processor's time tells little. */
static inline uint64_t turns_of(weir_context *context)
{
    weir_stats stats = {.struct_size = sizeof stats};
    CHECK_OK(weir_context_stats(context, &stats));
    return stats.turns;
}

static inline weir_timer *new_timer(weir_context *context)
{
    weir_timer *timer = NULL;
    CHECK_OK(weir_timer_create(context, &timer));
    CHECK(timer != NULL);
    return timer;
}

static inline weir_stream *new_stream(weir_context *context)
{
    weir_stream *stream = NULL;
    CHECK_OK(weir_stream_create(context, &stream));
    CHECK(stream != NULL);
    return stream;
}

#endif
