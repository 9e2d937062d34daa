/* What a wake-up costs, in instructions: a child does it while its parent has it stop after each one. */
#include "net.h"

#include <sys/ptrace.h>

static void new_handles(weir_context *context, size_t count, struct counter *counter)
{
    for (size_t i = 0; i < count; i++) {
        weir_timer *timer = new_timer(context);
        CHECK_OK(weir_timer_expires_after(timer, 3600 * CHECK_SECOND + (int64_t)i));
        CHECK_OK(weir_timer_wait(timer, count_call, counter));
        new_stream(context);
        if (i % 1000 == 0) {
            weir_stream *ends[2];
            CHECK_OK(weir_stream_pair(context, &ends[0], &ends[1]));
            START(weir_stream_wait(ends[0], WEIR_WAIT_READ, done, counter));
        }
    }
    settle(context);
}

/* The context is embedded, so that the post writes to the eventfd and the poll begins with that event. */
static void wake(weir_context *context, struct counter *counter)
{
    int before = atomic_load(&counter->calls);
    CHECK_OK(weir_context_post(context, count_call, counter));
    CHECK_OK(weir_context_poll(context, NULL));
    CHECK_EQ(atomic_load(&counter->calls), before + 1);
}

static void be_counted(const size_t *handles, int cases)
{
    if (ptrace(PTRACE_TRACEME, 0, NULL, NULL) != 0)
        _exit(77);
    weir_context *context = new_context();
    struct counter posted = {0}, others = {0};
    int fd = -1;
    size_t made = 0;
    CHECK_OK(weir_context_fd(context, &fd));
    for (int i = 0; i < cases; i++) {
        new_handles(context, handles[i] - made, &others);
        made = handles[i];
        for (int k = 0; k < 5; k++)
            wake(context, &posted);
        raise(SIGSTOP);
        wake(context, &posted);
        raise(SIGSTOP);
    }
    _exit(0);
}

/* Lets the child go on until it stops by itself; true when it does. */
static bool next_stop(pid_t child, bool single, long *steps)
{
    for (*steps = 0;; ++*steps) {
        int status = 0;
        if (ptrace(single ? PTRACE_SINGLESTEP : PTRACE_CONT, child, NULL, NULL) != 0)
            check_fail(__FILE__, __LINE__, "ptrace: %s", strerror(errno));
        CHECK_EQ(waitpid(child, &status, 0), child);
        if (WIFEXITED(status))
            return false;
        CHECK(WIFSTOPPED(status));
        if (WSTOPSIG(status) == SIGSTOP)
            return true;
        CHECK_EQ(WSTOPSIG(status), SIGTRAP);
    }
}

TEST(h45_a_wake_up_costs_the_same_with_10000_handles)
{
    static const size_t handles[] = {1, 100, 5000};
    enum { CASES = sizeof handles / sizeof *handles };
    long steps[CASES], ignored;
    pid_t child = fork();
    CHECK(child >= 0);
    if (child == 0)
        be_counted(handles, CASES);
    int status = 0;
    CHECK_EQ(waitpid(child, &status, 0), child);
    if (WIFEXITED(status) && WEXITSTATUS(status) == 77)
        CHECK_SKIP("ptrace is not allowed here");
    for (int i = 0; i < CASES; i++) {
        if (i > 0)
            CHECK(next_stop(child, false, &ignored));
        CHECK(next_stop(child, true, &steps[i]));
        printf("%zu timers and as many streams: %ld instructions\n", handles[i], steps[i]);
        CHECK(steps[i] > 100);
        /* Not a figure, only that it does not grow: visiting them would be 10,000 steps at the least. */
        CHECK(steps[i] < 2 * steps[0] + 500);
    }
    CHECK(!next_stop(child, false, &ignored));
}

TEST_MAIN()
