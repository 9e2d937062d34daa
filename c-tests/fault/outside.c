/* Scenarios: signals, lookups, watches, processes, jobs. */
#include "scenarios.h"

void signals(void)
{
    weir_signals *set = NULL, *other = NULL;
    TRY(weir_signals_create(context, &set));
    model_keep(set);
    TRY(weir_signals_create(context, &other));
    model_keep(other);
    if (TRY(weir_signals_add(set, SIGUSR1, 0)) != 0)
        signal(SIGUSR1, SIG_IGN);
    TRY(weir_signals_add(set, SIGUSR2, WEIR_SIGNALS_CHAIN));
    TRY(weir_signals_add(other, SIGUSR1, WEIR_SIGNALS_ANY_FLAGS));
    struct op *wait = START(weir_signals_wait(set, on_value, it));
    START(weir_signals_wait(other, on_value, it));
    raise(SIGUSR1);
    SERVE_ALL();
    if (!ENDED(wait))
        TRY(weir_signals_cancel(set, NULL));
    TRY(weir_signals_remove(set, SIGUSR2));
    TRY(weir_signals_clear(set));
    weir_signals_close(set);
    weir_signals_close(other);
    /* Where sigaction itself fails nothing can be put back. */
    struct sigaction now;
    for (int number = SIGUSR1; model_error != EINVAL; number = SIGUSR2) {
        if (sigaction(number, NULL, &now) != 0 || (now.sa_handler != SIG_DFL && now.sa_handler != SIG_IGN))
            model_fail(__LINE__, "the action before", "is not restored", 0);
        if (number == SIGUSR2)
            break;
    }
}

void resolve_numbers(void)
{
    weir_resolver *resolver = NULL;
    TRY(weir_resolver_create(context, &resolver));
    model_keep(resolver);
    START(weir_resolver_resolve(resolver, "127.0.0.1", "80", NULL, on_resolve, it));
    struct sockaddr_in inet = {.sin_family = AF_INET, .sin_port = htons(80), .sin_addr = {htonl(INADDR_LOOPBACK)}};
    START(weir_resolver_reverse(resolver, (struct sockaddr *)&inet, sizeof inet,
                                WEIR_REVERSE_NUMERIC_HOST | WEIR_REVERSE_NUMERIC_SERVICE, on_reverse, it));
    SERVE_ALL();
}

void resolve_names(void)
{
    weir_resolver *resolver = NULL;
    weir_resolve_hints hints = {sizeof hints, WEIR_RESOLVE_CANONICAL_NAME, AF_INET, 0, 0};
    TRY(weir_resolver_create(context, &resolver));
    model_keep(resolver);
    START(weir_resolver_resolve(resolver, "localhost", "http", &hints, on_resolve, it));
    SERVE_ALL();
    struct sockaddr_in inet = {.sin_family = AF_INET, .sin_port = htons(80), .sin_addr = {htonl(INADDR_LOOPBACK)}};
    START(weir_resolver_reverse(resolver, (struct sockaddr *)&inet, sizeof inet, 0, on_reverse, it));
    SERVE_ALL();
}

void watches(void)
{
    int ends[2], other[2];
    if (pipe(ends) != 0 || pipe(other) != 0)
        model_fail(__LINE__, "pipe", "failed", 0);
    weir_watch *level = NULL, *edge = NULL, *file = NULL;
    TRY(weir_watch_create(context, ends[0], &level));
    model_keep(level);
    TRY(weir_watch_create(context, ends[0], &edge));
    model_keep(edge);
    struct op *levels = START_EACH(weir_watch_start(level, WEIR_WATCH_READ, WEIR_WATCH_PERSISTENT, WEIR_FOREVER, on_value, it));
    struct op *once = START(weir_watch_start(edge, WEIR_WATCH_READ, WEIR_WATCH_EDGE, 100 * CHECK_SECOND, on_value, it));
    if (write(ends[1], "x", 1) != 1)
        model_fail(__LINE__, "write", "failed", 0);
    SERVE(TICKED(levels, 2) && ENDED(once));
    TRY(weir_watch_change(level, WEIR_WATCH_READ | WEIR_WATCH_PRIORITY));
    TRY(weir_watch_set_fd(level, other[0]));
    if (levels->code == 0)
        TRY(weir_watch_feed(level, WEIR_WATCH_READ));
    if (once->code == 0 && !ENDED(once))
        TRY(weir_watch_stop(edge, NULL));
    TRY(weir_watch_stop(level, NULL));
    SERVE(ENDED(levels) && ENDED(once));
    struct op *timeout = START(weir_watch_start(edge, WEIR_WATCH_WRITE, 0, 1 * CHECK_MS, on_value, it));
    SERVE(ENDED(timeout));
    /* A file, of which epoll knows nothing. */
    int plain = memfd_create("weir", MFD_CLOEXEC);
    TRY(weir_watch_create(context, plain, &file));
    model_keep(file);
    START(weir_watch_start(file, WEIR_WATCH_READ, 0, WEIR_FOREVER, on_value, it));
    SERVE_ALL();
    TRY(weir_watch_close(file));
    TRY(weir_watch_close(edge));
    TRY(weir_watch_close(level));
    close(plain);
    for (int i = 0; i < 2; i++) {
        close(ends[i]);
        close(other[i]);
    }
}

/* On a kernel without pidfds, or behind a filter: children are asked for by number. */
void processes_by_number(void)
{
    fault_always("pidfd_open", ENOSYS);
    processes();
}

void processes(void)
{
    weir_process *process[2] = {NULL, NULL};
    pid_t child[2];
    for (int i = 0; i < 2; i++) {
        child[i] = fork();
        if (child[i] < 0)
            model_fail(__LINE__, "fork", "failed", 0);
        if (child[i] == 0) {
            if (i == 1)
                for (;;)
                    pause();
            _exit(3);
        }
        TRY(weir_process_create(context, child[i], &process[i]));
        model_keep(process[i]);
    }
    START(weir_process_wait(process[0], on_value, it));
    SERVE_ALL();
    START(weir_process_wait(process[1], on_value, it));
    TRY(weir_context_poll(context, NULL));
    if (TRY(weir_process_kill(process[1], SIGKILL)) != 0)
        kill(child[1], SIGKILL);
    SERVE_ALL();
    struct rusage usage;
    if (model_strict)
        TRY(weir_process_usage(process[1], &usage));
    /* Whoever was not told of leaves no zombie here. */
    for (int i = 0; i < 2; i++)
        waitpid(child[i], NULL, 0);
}

static atomic_int halved;

static int half(void *argument)
{
    atomic_fetch_add(&halved, 1);
    return *(int *)argument / 2;
}

void jobs(void)
{
    static int number = 42;
    weir_job *job = NULL;
    struct op *started[3];
    started[0] = START(weir_job_start(context, half, &number, NULL, on_value, it));
    started[1] = START(weir_job_start(context, half, &number, &job, on_value, it));
    model_keep(job);
    SERVE_ALL();
    started[2] = START(weir_job_start(context, half, &number, NULL, on_value, it));
    SERVE_ALL();
    int done = 0;
    for (int i = 0; i < 3; i++)
        done += started[i]->code == 0 && atomic_load(&started[i]->ends) == 1 && started[i]->status == 0;
    if (done != halved)
        model_fail(__LINE__, "the jobs", "ran another number of times than they completed", done);
}

void addresses(void)
{
    struct sockaddr_storage address;
    socklen_t length = 0;
    char text[WEIR_ADDRESS_TEXT_MAX];
    if (TRY(weir_address_parse("[fe80::1%lo]:80", &address, &length)) == 0)
        TRY(weir_address_format((struct sockaddr *)&address, length, text, sizeof text));
    weir_stream *stream = a_stream();
    TRY(weir_stream_open(stream, AF_INET));
    TRY(weir_stream_set(stream, WEIR_OPT_LINGER, 0));
    TRY(weir_stream_set(stream, WEIR_OPT_KEEP_ALIVE, 1));
    TRY(weir_stream_set(stream, WEIR_OPT_TOS, 0x10));
    int value;
    TRY(weir_stream_get(stream, WEIR_OPT_RECEIVE_BUFFER, &value));
}
