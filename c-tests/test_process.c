/* Child processes. */
#include "deny.h"
#include "net.h"

#include <stddef.h>
#include <sys/resource.h>

static pid_t child_that_exits(int code)
{
    pid_t child = fork();
    CHECK(child >= 0);
    if (child == 0)
        _exit(code);
    return child;
}

/* Ends when the other end of the pipe is closed, and not before. */
static pid_t child_that_waits(int *gate)
{
    int ends[2];
    CHECK_EQ(pipe2(ends, O_CLOEXEC), 0);
    pid_t child = fork();
    CHECK(child >= 0);
    if (child == 0) {
        char byte;
        close(ends[1]);
        _exit(read(ends[0], &byte, 1) == 0 ? 7 : 8);
    }
    close(ends[0]);
    *gate = ends[1];
    return child;
}

struct exited {
    atomic_int calls, status, value;
};

static void on_exit_status(int status, int value, void *user)
{
    struct exited *exited = (struct exited *)user;
    CHECK(!net_starting);
    exited->status = status;
    exited->value = value;
    exited->calls++;
}

static weir_process *new_process(weir_context *context, pid_t pid)
{
    weir_process *process = NULL;
    CHECK_OK(weir_process_create(context, pid, &process));
    pid_t same = 0;
    CHECK_OK(weir_process_pid(process, &same));
    CHECK_EQ(same, pid);
    return process;
}

static void exit_codes(void)
{
    weir_context *context = new_context();
    static const int codes[] = {0, 1, 7, 255};
    for (int i = 0; i < 4; i++) {
        struct exited exited = {0};
        weir_process *process = new_process(context, child_that_exits(codes[i]));
        START(weir_process_wait(process, on_exit_status, &exited));
        RUN_CALLS(context, exited, 1);
        CHECK_OK(exited.status);
        CHECK(WIFEXITED(exited.value));
        CHECK_EQ(WEXITSTATUS(exited.value), codes[i]);
        struct rusage usage;
        memset(&usage, 0xA5, sizeof usage);
        CHECK_OK(weir_process_usage(process, &usage));
        CHECK(usage.ru_maxrss > 0);
        CHECK_CODE(weir_process_kill(process, 0), -ESRCH); /* its number may be another's by now */
        /* Told again to whoever asks again; reaped once. */
        START(weir_process_wait(process, on_exit_status, &exited));
        RUN_CALLS(context, exited, 2);
        CHECK_EQ(WEXITSTATUS(exited.value), codes[i]);
        CHECK_EQ(waitpid(-1, NULL, WNOHANG), -1);
        CHECK_EQ(errno, ECHILD);
        CHECK_OK(weir_process_close(process));
    }
    CHECK_OK(weir_context_destroy(context));
}

TEST(the_exit_code_is_told)
{
    exit_codes();
}

TEST(a_signal_that_kills_is_told)
{
    weir_context *context = new_context();
    struct exited exited = {0};
    struct rusage usage;
    int gate;
    weir_process *process = new_process(context, child_that_waits(&gate));
    CHECK_OK(weir_process_wait(process, on_exit_status, &exited));
    CHECK_CODE(weir_process_wait(process, on_exit_status, &exited), WEIR_EBUSY);
    CHECK_CODE(weir_process_usage(process, &usage), -EAGAIN);
    CHECK_OK(weir_process_kill(process, 0));
    CHECK_CODE(weir_process_kill(process, 12345), WEIR_EINVAL);
    /* A child that stops and goes on has not ended. */
    CHECK_OK(weir_process_kill(process, SIGSTOP));
    settle(context);
    CHECK_OK(weir_process_kill(process, SIGCONT));
    settle(context);
    CHECK_EQ(exited.calls, 0);
    CHECK_OK(weir_process_kill(process, SIGTERM));
    RUN_CALLS(context, exited, 1);
    CHECK(WIFSIGNALED(exited.value));
    CHECK_EQ(WTERMSIG(exited.value), SIGTERM);
    CHECK_OK(weir_context_destroy(context));
    close(gate);
}

TEST(a_child_that_has_ended_before_is_told)
{
    weir_context *context = new_context();
    struct exited exited = {0};
    pid_t child = child_that_exits(3);
    siginfo_t info;
    CHECK_EQ(waitid(P_PID, (id_t)child, &info, WEXITED | WNOWAIT), 0); /* a zombie now */
    weir_process *process = new_process(context, child);
    START(weir_process_wait(process, on_exit_status, &exited));
    CHECK_EQ(exited.calls, 0);
    RUN_CALLS(context, exited, 1);
    CHECK_EQ(WEXITSTATUS(exited.value), 3);
    CHECK_OK(weir_context_destroy(context));
}

TEST(two_hundred_children_are_each_told_once)
{
    enum { CHILDREN = 200 };
    weir_context *context = new_context();
    static struct exited exited[CHILDREN];
    for (int i = 0; i < CHILDREN; i++) {
        weir_process *process = new_process(context, child_that_exits(i));
        CHECK_OK(weir_process_wait(process, on_exit_status, &exited[i]));
    }
    CHECK_OK(weir_context_run(context, NULL));
    for (int i = 0; i < CHILDREN; i++) {
        CHECK_EQ(exited[i].calls, 1);
        CHECK_OK(exited[i].status);
        CHECK_EQ(WEXITSTATUS(exited[i].value), i);
    }
    CHECK_OK(weir_context_destroy(context));
}

static atomic_int chld;

static void on_chld(int signo)
{
    (void)signo;
    chld++;
}

TEST(h51_the_programs_own_sigchld_and_children_are_not_touched)
{
    struct sigaction action = {0}, before;
    action.sa_handler = on_chld;
    action.sa_flags = SA_RESTART;
    CHECK_EQ(sigaction(SIGCHLD, &action, NULL), 0);
    weir_context *context = new_context();
    struct exited exited = {0};
    pid_t own = child_that_exits(9);
    siginfo_t info;
    /* It has ended before the other one is heard of. */
    while (waitid(P_PID, (id_t)own, &info, WEXITED | WNOWAIT) != 0)
        CHECK_EQ(errno, EINTR);
    weir_process *process = new_process(context, child_that_exits(4));
    CHECK_OK(weir_process_wait(process, on_exit_status, &exited));
    RUN_CALLS(context, exited, 1);
    CHECK_EQ(WEXITSTATUS(exited.value), 4);
    CHECK_EQ(sigaction(SIGCHLD, NULL, &before), 0);
    CHECK(before.sa_handler == on_chld);
    CHECK(chld > 0);
    int status = 0;
    CHECK_EQ(waitpid(own, &status, 0), own); /* nobody has reaped it */
    CHECK_EQ(WEXITSTATUS(status), 9);
    CHECK_OK(weir_context_destroy(context));
}

TEST(what_is_no_child_is_an_error)
{
    weir_context *context = new_context();
    weir_process *process = NULL;
    CHECK_CODE(weir_process_create(context, getppid(), &process), -ECHILD);
    CHECK_CODE(weir_process_create(context, getpid(), &process), -ECHILD);
    CHECK_CODE(weir_process_create(context, 0, &process), WEIR_EINVAL);
    CHECK_CODE(weir_process_create(context, -1, &process), WEIR_EINVAL);
    CHECK_CODE(weir_process_create(context, INT_MAX, &process), -ECHILD);
    CHECK(process == NULL);
    CHECK_OK(weir_context_destroy(context));
}

TEST(a_child_that_something_else_reaps_is_told_once)
{
    weir_context *context = new_context();
    struct exited exited = {0};
    struct rusage usage;
    int gate;
    pid_t child = child_that_waits(&gate);
    weir_process *process = new_process(context, child);
    CHECK_OK(weir_process_wait(process, on_exit_status, &exited));
    CHECK_OK(weir_context_poll(context, NULL));
    close(gate);
    CHECK_EQ(waitpid(child, NULL, 0), child);
    RUN_CALLS(context, exited, 1);
    CHECK_CODE(exited.status, -ECHILD);
    CHECK_CODE(weir_process_usage(process, &usage), -ECHILD);
    settle(context);
    CHECK_EQ(exited.calls, 1);
    CHECK_OK(weir_context_destroy(context));
}

TEST(cancel_close_and_destroy_end_the_wait_and_not_the_child)
{
    weir_context *context = new_context();
    struct exited exited = {0};
    int gates[3];
    pid_t children[3];
    weir_process *processes[3];
    size_t ended = 7;
    for (int i = 0; i < 3; i++) {
        children[i] = child_that_waits(&gates[i]);
        processes[i] = new_process(context, children[i]);
        CHECK_OK(weir_process_cancel(processes[i], &ended)); /* nothing: and nothing later */
        CHECK_EQ(ended, 0);
        CHECK_OK(weir_process_wait(processes[i], on_exit_status, &exited));
    }
    START(weir_process_cancel(processes[0], &ended));
    CHECK_EQ(ended, 1);
    START(weir_process_close(processes[1]));
    CHECK_CODE(weir_process_wait(processes[1], on_exit_status, &exited), WEIR_EBADF);
    RUN_CALLS(context, exited, 2);
    CHECK_CODE(exited.status, WEIR_ECANCELED);
    CHECK_OK(weir_process_wait(processes[0], on_exit_status, &exited)); /* again */
    CHECK_OK(weir_context_destroy(context));
    CHECK_EQ(exited.calls, 4);
    CHECK_CODE(exited.status, WEIR_ECANCELED);
    for (int i = 2; i >= 0; i--) { /* the later ones hold the gates of those before them */
        int status = 0;
        CHECK_EQ(waitpid(children[i], &status, WNOHANG), 0); /* it runs */
        close(gates[i]);
        CHECK_EQ(waitpid(children[i], &status, 0), children[i]);
        CHECK_EQ(WEXITSTATUS(status), 7);
    }
}

static weir_process *closes;

static void close_it(int status, int value, void *user)
{
    CHECK_OK(weir_process_close(closes));
    on_exit_status(status, value, user);
}

TEST(close_from_its_own_callback)
{
    weir_context *context = new_context();
    struct exited exited = {0};
    closes = new_process(context, child_that_exits(2));
    CHECK_OK(weir_process_wait(closes, close_it, &exited));
    RUN_CALLS(context, exited, 1);
    CHECK_CODE(weir_process_close(closes), WEIR_EBADF);
    CHECK_OK(weir_context_destroy(context));
}

TEST(a_record_and_a_strand)
{
    weir_context *context = new_context();
    weir_strand *strand;
    weir_record record;
    size_t count = 0;
    struct exited exited = {0};
    weir_process *process = new_process(context, child_that_exits(5));
    CHECK_OK(weir_process_wait(process, NULL, &exited));
    CHECK_OK(weir_context_reap(context, &record, 1, WEIR_FOREVER, &count));
    CHECK_EQ(count, 1);
    CHECK_EQ(record.kind, WEIR_OP_PROCESS);
    CHECK_OK(record.status);
    CHECK(record.user == &exited);
    CHECK_EQ(WEXITSTATUS((int)record.value), 5);
    CHECK_OK(weir_strand_create(context, &strand));
    int gate;
    process = new_process(context, child_that_waits(&gate));
    CHECK_OK(weir_handle_set_strand(process, strand));
    CHECK_OK(weir_process_wait(process, on_exit_status, &exited));
    CHECK_CODE(weir_handle_set_strand(process, NULL), WEIR_EBUSY);
    CHECK_EQ(close(gate), 0);
    RUN_CALLS(context, exited, 1);
    CHECK(WIFEXITED(exited.value));
    CHECK_OK(weir_context_destroy(context));
}

TEST(without_free_descriptors_it_is_an_error)
{
    weir_context *context = new_context();
    pid_t child = child_that_exits(1);
    weir_process *process = NULL;
    struct rlimit limit, none;
    CHECK_EQ(getrlimit(RLIMIT_NOFILE, &limit), 0);
    none = limit;
    none.rlim_cur = 0;
    CHECK_EQ(setrlimit(RLIMIT_NOFILE, &none), 0);
    CHECK_CODE(weir_process_create(context, child, &process), -EMFILE);
    CHECK_EQ(setrlimit(RLIMIT_NOFILE, &limit), 0);
    struct exited exited = {0};
    process = new_process(context, child);
    CHECK_OK(weir_process_wait(process, on_exit_status, &exited));
    RUN_CALLS(context, exited, 1);
    CHECK_EQ(WEXITSTATUS(exited.value), 1);
    CHECK_OK(weir_context_destroy(context));
}

static void *run(void *context)
{
    CHECK_OK(weir_context_run((weir_context *)context, NULL));
    return NULL;
}

TEST(exits_beside_cancels_from_another_thread)
{
    weir_context *context = new_context();
    pthread_t threads[2];
    static struct exited exited[100];
    static weir_process *processes[100];
    CHECK_OK(weir_context_work_begin(context));
    for (int i = 0; i < 2; i++)
        CHECK_EQ(pthread_create(&threads[i], NULL, run, context), 0);
    for (int i = 0; i < 100; i++) {
        pid_t child = child_that_exits(i);
        processes[i] = new_process(context, child);
        CHECK_OK(weir_process_wait(processes[i], on_exit_status, &exited[i]));
        if (i % 3 == 0)
            CHECK_OK(weir_process_cancel(processes[i], NULL));
        if (i % 5 == 0)
            CHECK_OK(weir_process_close(processes[i]));
    }
    CHECK_OK(weir_context_work_end(context));
    for (int i = 0; i < 2; i++)
        CHECK_EQ(pthread_join(threads[i], NULL), 0);
    for (int i = 0; i < 100; i++)
        CHECK_EQ(exited[i].calls, 1);
    CHECK_OK(weir_context_destroy(context));
    while (waitpid(-1, NULL, 0) > 0) /* those that were cancelled */
        ;
}

/* Where SIGCHLD is ignored the kernel reaps by itself. */
TEST(with_sigchld_ignored_the_end_is_told_without_a_status)
{
    weir_context *context = new_context();
    struct exited exited = {0};
    int gate;
    signal(SIGCHLD, SIG_IGN);
    weir_process *process = new_process(context, child_that_waits(&gate));
    CHECK_OK(weir_process_wait(process, on_exit_status, &exited));
    close(gate);
    RUN_CALLS(context, exited, 1);
    CHECK_CODE(exited.status, -ECHILD);
    CHECK_OK(weir_context_destroy(context));
}

/* ---- without pidfds */

TEST(without_pidfds_the_child_is_asked_for)
{
    deny_system_call(SYS_pidfd_open);
    exit_codes();
    weir_context *context = new_context();
    struct exited exited = {0};
    int gate;
    weir_process *process = new_process(context, child_that_waits(&gate));
    for (int i = 0; i < 3; i++) {
        CHECK_OK(weir_process_wait(process, on_exit_status, &exited));
        CHECK_OK(weir_context_run_for(context, 30 * CHECK_MS, NULL));
        CHECK_EQ(exited.calls, i);
        CHECK_OK(weir_process_cancel(process, NULL));
        RUN_CALLS(context, exited, i + 1);
    }
    CHECK_OK(weir_process_wait(process, on_exit_status, &exited));
    CHECK_OK(weir_process_kill(process, SIGKILL));
    RUN_CALLS(context, exited, 4);
    CHECK_EQ(WTERMSIG(exited.value), SIGKILL);
    process = new_process(context, child_that_exits(1));
    CHECK_OK(weir_process_wait(process, on_exit_status, &exited));
    CHECK_OK(weir_context_destroy(context)); /* with a wait pending */
    CHECK_EQ(exited.calls, 5);
    close(gate);
}

TEST_MAIN()
