/* Scenarios: the context itself. */
#include "scenarios.h"

#include <poll.h>

static void post_more(int status, void *user)
{
    if (context && status == 0)
        for (int i = 0; i < 40; i++)
            START(weir_context_post(context, on_status, it));
    on_status(status, user);
}

void posts(void)
{
    START(weir_context_post(context, post_more, it));
    START(weir_context_defer(context, on_status, it));
    START(weir_context_post(context, on_status, it));
    TRY(weir_context_work_begin(context));
    TRY(weir_context_run_for(context, 1 * CHECK_MS, NULL));
    TRY(weir_context_work_end(context));
    SERVE_ALL();
}

void timers(void)
{
    weir_timer *first = a_timer(0), *second = a_timer(2 * CHECK_MS), *never = a_timer(WEIR_FOREVER), *periodic = a_timer(0);
    for (int i = 0; i < 3; i++)
        START(weir_timer_wait(first, on_status, it));
    START(weir_timer_wait(second, on_status, it));
    struct op *cancelled = START(weir_timer_wait(never, on_status, it));
    struct op *ticks = START_EACH(weir_timer_start(periodic, 0, 1 * CHECK_MS, on_status, it));
    SERVE(TICKED(ticks, 3));
    TRY(weir_timer_cancel(never, NULL));
    TRY(weir_timer_stop(periodic, NULL));
    SERVE_ALL();
    EXPECT(cancelled->status == WEIR_ECANCELED);
    /* Blocks in the kernel without an end: the timerfd ends it. */
    TRY(weir_timer_expires_after(second, 3 * CHECK_MS));
    START(weir_timer_wait(second, on_status, it));
    TRY(weir_context_restart(context));
    TRY(weir_context_run(context, NULL));
}

void hooks(void)
{
    weir_hook *hook[3] = {NULL, NULL, NULL};
    struct op *calls[3];
    for (int i = 0; i < 3; i++) {
        TRY(weir_hook_create(context, i + 1, &hook[i]));
        model_keep(hook[i]);
        calls[i] = START_EACH(weir_hook_start(hook[i], on_status, it));
    }
    START(weir_context_post(context, on_status, it));
    SERVE_ALL();
    TRY(weir_hook_stop(hook[0], NULL));
    TRY(weir_hook_close(hook[1]));
    START(weir_context_post(context, on_status, it));
    SERVE_ALL();
    (void)calls;
}

void strands(void)
{
    static char in[8];
    weir_strand *strand = NULL;
    weir_stream *ends[2] = {NULL, NULL};
    TRY(weir_strand_create(context, &strand));
    model_keep(strand);
    for (int i = 0; i < 5; i++)
        START(weir_strand_post(strand, on_status, it));
    TRY(weir_stream_pair(context, &ends[0], &ends[1]));
    model_keep(ends[0]);
    model_keep(ends[1]);
    TRY(weir_handle_set_strand(ends[0], strand));
    START(weir_stream_read_some(ends[0], in, sizeof in, on_io, it));
    START(weir_stream_write(ends[1], "x", 1, on_io, it));
    weir_timer *timer = a_timer(0);
    TRY(weir_handle_set_strand(timer, strand));
    START(weir_timer_wait(timer, on_status, it));
    SERVE_ALL();
    TRY(weir_handle_set_strand(timer, NULL));
}

void records(void)
{
    static char in[8], out[] = "enter";
    weir_stream *ends[2] = {NULL, NULL};
    TRY(weir_stream_pair(context, &ends[0], &ends[1]));
    model_keep(ends[0]);
    model_keep(ends[1]);
    START(weir_stream_read(ends[0], in, 5, NULL, it));
    START(weir_stream_write(ends[1], out, 5, NULL, it));
    START(weir_context_post(context, NULL, it));
    weir_timer *timer = a_timer(0);
    START(weir_timer_wait(timer, NULL, it));
    for (model_begin_serving(); !model_done() && model_turn();)
        model_reap();
    struct op *each = START_EACH(weir_stream_read_each(ends[0], NULL, it));
    weir_submission calls[2] = {{WEIR_SUBMIT_POST, 0, NULL, NULL, 0, NULL},
                                {WEIR_SUBMIT_WRITE, 0, ends[1], out, 5, NULL}};
    struct op *submitted[2];
    for (int i = 0; i < 2; i++) {
        submitted[i] = model_op(__LINE__, "weir_context_enter(...)", false);
        calls[i].user = submitted[i];
    }
    size_t count = 0;
    int code = weir_context_enter(context, calls, 2, NULL, 0, 0, &count);
    for (int i = 0; i < 2; i++)
        model_began(submitted[i], code ? code : calls[i].result);
    for (model_begin_serving(); !(model_done() && TICKED(each, 1)) && model_turn();)
        model_reap();
}

void labels(void)
{
    weir_timer *timers[3];
    for (int i = 0; i < 3; i++) {
        timers[i] = a_timer(100 * CHECK_SECOND);
        TRY(weir_handle_set_name(timers[i], "a timer"));
        TRY(weir_handle_set_tag(timers[i], 7));
        START(weir_timer_wait(timers[i], on_status, it));
    }
    char name[16];
    TRY(weir_handle_name(timers[1], name, sizeof name));
    weir_report_line lines[8];
    size_t count = 0;
    TRY(weir_context_report(context, lines, 8, &count));
    EXPECT(count == 3);
    TRY(weir_context_cancel_tag(context, 7, &count));
    EXPECT(count == 3);
    SERVE_ALL();
}

void embedded(void)
{
    int fd = -1;
    weir_timer *timer = a_timer(1 * CHECK_MS);
    START(weir_timer_wait(timer, on_status, it));
    TRY(weir_context_work_begin(context));
    TRY(weir_context_fd(context, &fd));
    for (int i = 0; i < (model_strict ? 1000 : 20) && !model_done(); i++) {
        struct pollfd asked = {fd, POLLIN, 0};
        TRY(weir_context_poll(context, NULL));
        if (!model_done())
            poll(&asked, 1, model_strict ? 15000 : 5);
    }
    EXPECT(model_done());
    START(weir_context_post(context, on_status, it));
    struct pollfd asked = {fd, POLLIN, 0};
    poll(&asked, 1, model_strict ? 15000 : 5);
    EXPECT(asked.revents & POLLIN);
    TRY(weir_context_poll(context, NULL));
    int end = -1;
    TRY(weir_context_wakeup_fd(context, &end));
    EXPECT(end == -1 || write(end, "7", 1) == 1);
    uint64_t values[4] = {0};
    for (int i = 0; i < (model_strict ? 1000 : 20) && end != -1 && values[0] == 0; i++) {
        poll(&asked, 1, model_strict ? 15000 : 5);
        TRY(weir_context_poll(context, NULL));
        TRY(weir_context_wakeup_values(context, values));
    }
    EXPECT(end == -1 || values[0] == UINT64_C(1) << '7');
    TRY(weir_context_work_end(context));
}

static void *run_too(void *user)
{
    weir_context_run(user, NULL);
    return NULL;
}

static void hold(int status, void *user)
{
    sleep_ms(1);
    on_status(status, user);
}

/* Two threads run one context, a third posts: wake-ups of both kinds. */
void threads(void)
{
    if (!context)
        return;
    TRY(weir_context_work_begin(context));
    pthread_t others[2] = {start_thread(run_too, context), start_thread(run_too, context)};
    for (int i = 0; i < 20; i++) {
        START(weir_context_post(context, hold, it));
        if (i % 4 == 0)
            sleep_ms(1);
    }
    weir_timer *timer = a_timer(1 * CHECK_MS);
    START(weir_timer_wait(timer, on_status, it));
    int64_t limit = now_ns() + (model_strict ? 15 : 1) * CHECK_SECOND;
    while (!model_done() && now_ns() < limit)
        sleep_ms(1);
    EXPECT(model_done());
    TRY(weir_context_work_end(context));
    TRY(weir_context_stop(context));
    join_thread(others[0]);
    join_thread(others[1]);
    TRY(weir_context_restart(context));
    SERVE_ALL();
}

static struct echo {
    weir_stream *ends[2];
} echoes[3];

static void echo_on(int status, size_t bytes, void *user)
{
    static atomic_int turn;
    on_io(status, bytes, user);
    struct echo *echo = &echoes[atomic_fetch_add(&turn, 1) % 3];
    /* Of any pair, and perhaps of one that has a read pending already. */
    if (status == 0 && turn < 90)
        START(weir_stream_write(echo->ends[0], "echo", 4, echo_on, it));
}

/* Three pairs, of which two threads read and write at once. */
void threads_with_streams(void)
{
    if (!context)
        return;
    TRY(weir_context_work_begin(context));
    for (int i = 0; i < 3; i++) {
        TRY(weir_stream_pair(context, &echoes[i].ends[0], &echoes[i].ends[1]));
        model_keep(echoes[i].ends[0]);
        model_keep(echoes[i].ends[1]);
        START_EACH(weir_stream_read_each(echoes[i].ends[1], on_buffer, it));
    }
    pthread_t others[2] = {start_thread(run_too, context), start_thread(run_too, context)};
    for (int i = 0; i < 3; i++)
        START(weir_stream_write(echoes[i].ends[0], "echo", 4, echo_on, it));
    int64_t limit = now_ns() + (model_strict ? 15 : 1) * CHECK_SECOND;
    for (long before = -1; now_ns() < limit && !(model_done() && before == model_progress()); sleep_ms(1))
        before = model_progress();
    TRY(weir_context_work_end(context));
    TRY(weir_context_stop(context));
    join_thread(others[0]);
    join_thread(others[1]);
    TRY(weir_context_restart(context));
}

static void note_log(int level, const char *text, void *user)
{
    (void)level;
    (void)text;
    (*(int *)user)++;
}

/* A second context is destroyed with everything open, by names, in a log. */
void destroyed(void)
{
    static char in[8];
    static int lines;
    weir_context_options options = {0};
    options.struct_size = sizeof options;
    options.log = note_log;
    options.log_user = &lines;
    weir_context *first = context, *other = NULL;
    if (TRY(weir_context_create(&options, &other)) != 0)
        return;
    context = other;
    weir_stream *ends[2] = {NULL, NULL};
    TRY(weir_stream_pair(context, &ends[0], &ends[1]));
    TRY(weir_handle_set_name(ends[0], "left open"));
    START(weir_stream_read_some(ends[0], in, sizeof in, on_io, it));
    weir_timer *timer = NULL;
    TRY(weir_timer_create(context, &timer));
    TRY(weir_timer_expires_after(timer, WEIR_FOREVER));
    START(weir_timer_wait(timer, on_status, it));
    START(weir_context_post(context, on_status, it));
    int code = weir_context_destroy(other);
    if (code != 0)
        model_fail(__LINE__, "weir_context_destroy", "failed", code);
    context = first;
    EXPECT(lines == 3);
}

static void note_stall(const weir_stall *stall, void *user)
{
    (void)stall;
    (*(int *)user)++;
}

/* A context that measures, with a limit that every callback is over. */
void measured(void)
{
    static char in[8];
    static int stalls;
    weir_context_options options = {0};
    options.struct_size = sizeof options;
    options.flags = WEIR_CONTEXT_MEASURE;
    options.stall_limit_ns = 1;
    options.stall = note_stall;
    options.stall_user = &stalls;
    weir_context *first = context, *other = NULL;
    if (TRY(weir_context_create(&options, &other)) != 0)
        return;
    context = other;
    weir_stream *ends[2] = {NULL, NULL};
    TRY(weir_stream_pair(context, &ends[0], &ends[1]));
    TRY(weir_handle_set_name(ends[0], "slow"));
    struct op *read = START(weir_stream_read_some(ends[0], in, sizeof in, on_io, it));
    START(weir_stream_write(ends[1], "x", 1, on_io, it));
    weir_timer *timer = NULL;
    TRY(weir_timer_create(context, &timer));
    for (int i = 0; i < 3; i++)
        START(weir_timer_wait(timer, on_status, it));
    START(weir_context_post(context, on_status, it));
    SERVE_ALL();
    EXPECT(stalls > 0 && read->bytes == 1);
    weir_stats stats = {0};
    stats.struct_size = sizeof stats;
    TRY(weir_context_stats(context, &stats));
    int code = weir_context_destroy(other);
    if (code != 0)
        model_fail(__LINE__, "weir_context_destroy", "failed", code);
    context = first;
}

/* Enough for every table and every pool to grow. */
void many_of_each(void)
{
    static char in[8], byte[40][1];
    static weir_timer *timers[150];
    static weir_watch *watches[60];
    static int pipes[60][2];
    weir_strand *strand = NULL;
    TRY(weir_strand_create(context, &strand));
    model_keep(strand);
    for (int i = 0; i < 150; i++) {
        timers[i] = a_timer(i * 1000);
        START(weir_timer_wait(timers[i], on_status, it));
        START(weir_timer_wait(timers[i], on_status, it));
        START(weir_context_post(context, on_status, it));
        START(weir_strand_post(strand, on_status, it));
    }
    weir_stream *ends[2] = {NULL, NULL};
    TRY(weir_stream_pair(context, &ends[0], &ends[1]));
    model_keep(ends[0]);
    model_keep(ends[1]);
    for (int i = 0; i < 40; i++)
        START(weir_stream_send(ends[0], byte[i], 1, on_io, it));
    for (int i = 0; i < 60; i++) {
        if (pipe(pipes[i]) != 0)
            model_fail(__LINE__, "pipe", "failed", 0);
        TRY(weir_watch_create(context, pipes[i][1], &watches[i]));
        model_keep(watches[i]);
        TRY(weir_handle_set_tag(watches[i], 5));
        START(weir_watch_start(watches[i], WEIR_WATCH_WRITE, 0, WEIR_FOREVER, on_value, it));
    }
    SERVE_ALL();
    START(weir_stream_read(ends[1], in, sizeof in, on_io, it));
    SERVE_ALL();
    for (int i = 0; i < 60; i++) {
        TRY(weir_watch_close(watches[i]));
        close(pipes[i][0]);
        close(pipes[i][1]);
    }
}

/* Both sides of a fork go on. */
void forked(void)
{
    static char in[2][8];
    weir_stream *ends[2] = {NULL, NULL};
    TRY(weir_stream_pair(context, &ends[0], &ends[1]));
    model_keep(ends[0]);
    model_keep(ends[1]);
    int watched[2];
    if (pipe(watched) != 0)
        model_fail(__LINE__, "pipe", "failed", 0);
    weir_watch *watch = NULL;
    TRY(weir_watch_create(context, watched[0], &watch));
    model_keep(watch);
    weir_timer *timer = a_timer(1 * CHECK_MS);
    weir_signals *set = NULL;
    TRY(weir_signals_create(context, &set));
    model_keep(set);
    if (TRY(weir_signals_add(set, SIGUSR1, 0)) != 0)
        signal(SIGUSR1, SIG_IGN);
    else
        START(weir_signals_wait(set, on_value, it));
    struct op *read = START(weir_stream_read_some(ends[0], in[0], 8, on_io, it));
    struct op *seen = START(weir_watch_start(watch, WEIR_WATCH_READ, 0, WEIR_FOREVER, on_value, it));
    START(weir_timer_wait(timer, on_status, it));
    TRY(weir_context_poll(context, NULL));
    TRY(weir_context_notify_fork(context, WEIR_FORK_PREPARE));
    pid_t child = fork();
    if (child < 0)
        model_fail(__LINE__, "fork", "failed", 0);
    if (child > 0) {
        int status = 0;
        while (waitpid(child, &status, 0) < 0 && errno == EINTR) {
        }
        if (!WIFEXITED(status) || WEXITSTATUS(status) != 42) {
            if (WIFSIGNALED(status))
                model_fail(__LINE__, "the child of the fork", strsignal(WTERMSIG(status)), 0);
            model_fail(__LINE__, "the child of the fork", "failed", 0);
        }
        TRY(weir_context_notify_fork(context, WEIR_FORK_PARENT));
        START(weir_stream_write(ends[1], "x", 1, on_io, it));
        raise(SIGUSR1);
        if (write(watched[1], "x", 1) != 1)
            model_fail(__LINE__, "write", "failed", 0);
        SERVE_ALL();
        TRY(weir_watch_close(watch));
        close(watched[0]);
        close(watched[1]);
        return;
    }
    alarm(30);
    int code = context ? weir_context_notify_fork(context, WEIR_FORK_CHILD) : WEIR_EBADF;
    for (int again = 0; code != 0 && again < 2; again++) {
        /* It may be tried again; the fault is over by then, at last. */
        model_tried(__LINE__, "weir_context_notify_fork(child)", code);
        if (again == 1 || !context)
            model_fault_over();
        code = context ? weir_context_notify_fork(context, WEIR_FORK_CHILD) : 0;
    }
    if (code != 0)
        model_fail(__LINE__, "weir_context_notify_fork", "fails when the fault is over", code);
    /* Whatever has failed meanwhile: what it calls a success works. */
    model_fault_over();
    START(weir_stream_write(ends[1], "x", 1, on_io, it));
    raise(SIGUSR1);
    if (write(watched[1], "x", 1) != 1)
        model_fail(__LINE__, "write", "failed", 0);
    int64_t limit = now_ns() + (model_error == EPERM ? 1 : 10) * CHECK_SECOND;
    while (context && !model_done() && now_ns() < limit) {
        if (weir_context_stopped(context) == 1)
            weir_context_restart(context);
        weir_context_run_for(context, 2 * CHECK_MS, NULL);
    }
    /* EPERM says that the fd is of what epoll can't watch any more: the watch of it ends in silence. */
    if (!model_done() && model_error != EPERM)
        model_fail(__LINE__, "the child of the fork",
                   !ENDED(read)   ? "hears nothing of its stream"
                   : !ENDED(seen) ? "hears nothing of its watch"
                                  : "waits in vain",
                   0);
    if (context && (code = weir_context_destroy(context)) != 0)
        model_fail(__LINE__, "weir_context_destroy", "failed in the child", code);
    _exit(42);
}
