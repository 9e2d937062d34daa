/* One sequence from its first call to its end, where everything is closed and nothing may be left. */
#ifndef RUN_H
#define RUN_H

#include "calls.h"

static size_t number_from(const char *name, size_t otherwise)
{
    const char *text = getenv(name);
    return text == NULL ? otherwise : (size_t)strtoull(text, NULL, 0);
}

/* SEQUENCE_SECONDS: no new seed is begun after that. */
static bool time_is_left(int64_t began)
{
    return now_ns() - began < (int64_t)number_from("SEQUENCE_SECONDS", 1000000) * 1000000000;
}

static char repeat[160];

static void too_long(int number)
{
    (void)number;
    size_t first = 0, open = ops_open(&first);
    struct op *op = op_at(first);
    if (open > 0)
        fprintf(stderr, "%zu operations are open, the first is %zu (%s) in state %d\n", open, first, op->what,
                atomic_load(&op->state));
    broken("the time is over: something hangs");
}

/* H31 */
static void on_pipe(int number)
{
    (void)number;
    broken("SIGPIPE");
}

/* Closes what an actor has made. */
static void close_all(struct actor *actor)
{
    while (actor->count > 0) {
        struct thing thing = actor->things[--actor->count];
        if (weir_handle_close(thing.handle) == 0 && thing.type != CONTEXT)
            op_release(thing.handle, actor, thing.since);
    }
    while (actor->peer_count > 0)
        close(actor->peers[--actor->peer_count]);
}

/* Everything is closed: runs until each operation has been told. */
static void run_out(void)
{
    for (;;) {
        for (int i = 0; i < CONTEXTS; i++) {
            weir_context *context = atomic_load(&contexts[i]);
            weir_record records[64];
            size_t count = 0;
            if (context == NULL)
                continue;
            CHECK_OK(weir_context_restart(context));
            CHECK_OK(weir_context_poll(context, NULL));
            CHECK_OK(weir_context_restart(context));
            CHECK_OK(weir_context_reap(context, records, 64, 0, &count));
            reap_into(context, records, count);
        }
        if (ending)
            close_all(me);
        if (ops_open(NULL) == 0)
            return;
        if (!ending)
            return; /* once is enough to see what was ended before */
        usleep(100);
    }
}

/* All records that are there, so that those lost with the next context are its own. */
static void reap_all(void)
{
    for (int rounds = 0; rounds < 3; rounds++)
        for (int i = 0; i < CONTEXTS; i++) {
            int turns = 0;
            weir_context *context = atomic_load(&contexts[i]);
            weir_record records[64];
            size_t count;
            do {
                count = 0;
                if (context == NULL || weir_context_restart(context) != 0)
                    break;
                for (int one = 0; one < 50; one++)
                    CHECK_OK(weir_context_poll_one(context, NULL));
                CHECK_OK(weir_context_restart(context));
                CHECK_OK(weir_context_reap(context, records, 64, 0, &count));
                reap_into(context, records, count);
            } while (count > 0 && ++turns < 20); /* a level-triggered watch gives one each time */
        }
}

static void renew_a_context(void)
{
    size_t at = below(CONTEXTS);
    weir_context *old = atomic_load(&contexts[at]);
    size_t depth = (size_t)me->depth;
    me->depth = 3; /* the callbacks only listen */
    reap_all();
    if (old != NULL) {
        int result = DO(weir_context_destroy, old, old);
        if (result == 0) {
            atomic_store(&contexts[at], NULL);
            bury(old);
            for (size_t i = 0; i < me->count;) {
                weir_context *context;
                if (weir_handle_context(me->things[i].handle, &context) == WEIR_EBADF)
                    forget(i);
                else
                    i++;
            }
            ops_drop_records();
        }
    }
    if (atomic_load(&contexts[at]) == NULL)
        atomic_store(&contexts[at], make_context());
    me->depth = (int)depth;
}

static void begin_seed(const char *name, uint64_t seed, size_t calls, size_t threads)
{
    snprintf(repeat, sizeof repeat, "SEQUENCE_SEED=%llu SEQUENCE_SEEDS=1 SEQUENCE_CALLS=%zu SEQUENCE_THREADS=%zu test_sequence %s",
             (unsigned long long)seed, calls, threads, name);
    repeat_with = repeat;
    signal(SIGUSR1, SIG_IGN);
    signal(SIGUSR2, SIG_IGN);
    signal(SIGALRM, too_long);
    signal(SIGPIPE, on_pipe);
    watched_op = number_from("SEQUENCE_OP", SIZE_MAX);
    told_live = getenv("SEQUENCE_LIVE") != NULL;
    ending = false;
}

static void tell_fds(void)
{
    char path[40], target[200];
    for (int fd = 0; fd < 1000; fd++) {
        snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
        ssize_t length = readlink(path, target, sizeof target - 1);
        if (length > 0)
            fprintf(stderr, "fd %d: %.*s\n", fd, (int)length, target);
    }
}

static void end_seed(int fds)
{
    for (int i = 0; i < CONTEXTS; i++) {
        weir_context *context = atomic_exchange(&contexts[i], NULL);
        if (context == NULL)
            continue;
        size_t open = 0;
        weir_report_line lines[1];
        CHECK_OK(weir_context_report(context, lines, 1, &open));
        if (open != 0)
            broken("%zu handles of context %d are still open, the first with %zu pending", open, i, lines[0].pending);
        CHECK_OK(weir_context_restart(context));
        CHECK_OK(DO(weir_context_run, context, context, NULL)); /* the work count is 0 */
        CHECK_OK(DO(weir_context_destroy, context, context));
    }
    size_t first = 0, open = ops_open(&first);
    if (open > 0)
        broken("%zu operations never completed, the first is %zu (%s)", open, first, op_at(first)->what);
#ifdef __SANITIZE_THREAD__
    fds = count_fds(); /* where a race is told, or one that is no race is passed over, the sanitizer opens some of its own */
#endif
    if (count_fds() != fds)
        tell_fds();
    if (count_fds() != fds)
        broken("%d file descriptors before, %d after", fds, count_fds());
    ops_forget();
}

/* Names the functions of the library that no sequence has called; fails for one that is not excused. */
static void tell_uncalled(void)
{
    /* Called by callbacks and by the driver itself, which counts nothing; or only before everything else. */
    static const char *const excused[] = {
        "weir_addresses_canonical_name", "weir_addresses_count", "weir_addresses_free", "weir_addresses_get",
        "weir_context_run_one", "weir_error_name", "weir_names_free", "weir_names_host",
        "weir_names_service", "weir_set_allocator"};
    char name[128];
    FILE *file = fopen(WEIR_SYMBOLS_FILE, "re");
    CHECK(file != NULL);
    while (fgets(name, sizeof name, file) != NULL) {
        bool known = false;
        if (!forks && strncmp(name, "weir_context_notify_fork", strlen("weir_context_notify_fork")) == 0)
            continue;
        name[strcspn(name, "\n")] = '\0';
        for (size_t i = 0; i < atomic_load(&tally_count); i++)
            known |= strcmp(name, tallies[i].name) == 0;
        for (size_t i = 0; i < sizeof excused / sizeof *excused; i++)
            known |= strcmp(name, excused[i]) == 0;
        if (!known)
            broken("no sequence has called %s", name);
    }
    fclose(file);
}

static unsigned long long tell_calls(bool table)
{
    unsigned long long all = 0;
    for (size_t i = 0; i < atomic_load(&tally_count); i++) {
        all += atomic_load(&tallies[i].calls);
        if (table)
            printf("%12llu %12llu refused  %s\n", atomic_load(&tallies[i].calls), atomic_load(&tallies[i].refused),
                   tallies[i].name);
    }
    if (table)
        tell_uncalled();
    printf("%llu calls of %zu functions, %llu completions, %llu events of multi-shot operations\n", all,
           atomic_load(&tally_count), atomic_load(&completions), atomic_load(&multi_shot_events));
    return all;
}

/* How many fds are open besides what stays open: the file that is sent, and the library's eventfd for signals. */
static int fds_before(void)
{
    weir_context *context = new_context();
    weir_signals *signals = NULL;
    send_a_file_open();
    CHECK_OK(weir_signals_create(context, &signals));
    CHECK_OK(weir_signals_add(signals, SIGUSR1, 0));
    CHECK_OK(weir_context_destroy(context));
    return count_fds();
}

static void tell_of_fork(int event)
{
    for (int i = 0; i < CONTEXTS; i++) {
        weir_context *context = atomic_load(&contexts[i]);
        if (context != NULL)
            CHECK_OK(DO(weir_context_notify_fork, context, context, event));
    }
}

/* The process forks; the child goes on for a while with all that is open and pending, and ends as a sequence does. */
static void fork_in_the_middle(struct actor *actor, int fds)
{
    int status;
    tell_of_fork(WEIR_FORK_PREPARE);
    fflush(NULL);
    pid_t child = fork();
    if (child < 0)
        broken("fork: errno %d", errno);
    if (child == 0) {
        alarm(120);
        tell_of_fork(WEIR_FORK_CHILD);
        for (int calls = 0; calls < 300; calls++)
            a_call();
        ending = true;
        close_all(actor);
        run_out();
        end_seed(fds);
        _exit(0);
    }
    tell_of_fork(WEIR_FORK_PARENT);
    while (waitpid(child, &status, 0) < 0)
        if (errno != EINTR)
            broken("waitpid: errno %d", errno);
    if (!WIFEXITED(status) || WEXITSTATUS(status) != 0)
        broken("a forked child ended with the status %#x", status);
}

/* A sequence of one thread. */
static void run_alone(struct actor *actor, int fds)
{
    me = actor;
    for (int i = 0; i < CONTEXTS; i++)
        atomic_store(&contexts[i], make_context());
    while (actor->calls < actor->limit && (actor->script == NULL || actor->script_length > 0)) {
        if (one_in(2000))
            renew_a_context();
        else if (forks && one_in(4000))
            fork_in_the_middle(actor, fds);
        else
            a_call();
    }
    ending = true;
    close_all(actor);
    run_out();
    end_seed(fds);
}

#endif
