/* Fault injection, systematically: faults [--list] [SCENARIO...]
 *
 * Each scenario runs once without a fault, which counts the system calls and the allocations that the library makes
 * in it. Then it runs again, in a process of its own, for each function, some of its calls (the first few and the
 * last; with FAULT_LONG=1 in the environment nearly all), each errno of the function and both ways: that call
 * alone fails, or all from there on. Then with transfers of one byte, with waits that tell of fds that are not ready,
 * and with each allocation failing in turn.
 * model.h says what must hold. The last lines are the table: calls x errnos tried.
 *
 * With FAULT_TABLE=FILE the table goes there, for scripts/proof-faults; with FAULT_ONLY=ROW only that row is
 * tried, and with FAULT_VERBOSE=1 each run is named before it begins. */
#include "scenarios.h"

#include <netdb.h>

bool model_short;

const struct scenario scenarios[] = {
    {"posts", posts, false},
    {"timers", timers, false},
    {"hooks", hooks, false},
    {"strands", strands, false},
    {"records", records, false},
    {"labels", labels, false},
    {"embedded", embedded, false},
    {"threads", threads, true},
    {"threads_with_streams", threads_with_streams, true},
    {"forked", forked, false},
    {"destroyed", destroyed, false},
    {"measured", measured, false},
    {"many_of_each", many_of_each, false},
    {"tcp", tcp, false},
    {"local", local, false},
    {"large", large, false},
    {"composed", composed, false},
    {"accept_each", accept_each, false},
    {"connect_list", connect_list, false},
    {"send_file", send_file, false},
    {"adopted", adopted, false},
    {"path", path, false},
    {"pending", pending, false},
    {"udp", udp, false},
    {"batches", batches, false},
    {"local_datagrams", local_datagrams, false},
    {"multicast", multicast, false},
    {"signals", signals, false},
    {"resolve_numbers", resolve_numbers, false},
    {"resolve_names", resolve_names, false},
    {"watches", watches, false},
    {"processes", processes, false},
    {"processes_by_number", processes_by_number, false},
    {"jobs", jobs, false},
    {"addresses", addresses, false},
    {NULL, NULL, false},
};

static struct report *shared;
static const struct fault_row *rows;
static size_t row_count;
static int failures, runs;

struct figures {
    long calls;
    long once, for_ever, other;
    long tried[20]; /* of each errno */
};
/* Every code that a function has returned. */
static struct {
    char function[48];
    int code;
    bool direct;
} seen[1000];
static int seen_count;

static void note_codes(void)
{
    for (int i = 0; i < shared->codes; i++) {
        int at = 0;
        while (at < seen_count &&
               (seen[at].code != shared->code[i].code || seen[at].direct != shared->code[i].direct ||
                strcmp(seen[at].function, shared->code[i].function) != 0))
            at++;
        if (at == seen_count && at < 1000) {
            memcpy(seen[at].function, shared->code[i].function, sizeof seen[at].function);
            seen[at].direct = shared->code[i].direct;
            seen[seen_count++].code = shared->code[i].code;
        }
    }
}

static struct figures figures[MODEL_ROWS], allocation_figures;

/* One run in a child; true when it was as the model says. */
static bool run(const struct scenario *scenario, const struct report *baseline, const struct fault_plan *plan,
                long allocation, bool for_ever, bool count_allocations, const char *what)
{
    memset(shared, 0, sizeof *shared);
    if (getenv("FAULT_VERBOSE"))
        printf("%s: %s\n", scenario->name, what);
    fflush(stdout);
    int output = memfd_create("output", MFD_CLOEXEC);
    pid_t child = fork();
    if (child < 0 || output < 0) {
        perror("fork");
        exit(1);
    }
    if (child == 0) {
        dup2(output, 2);
        close(output);
        alarm(30);
        model_report = shared;
        model_baseline = baseline;
        bool forced = plan && (plan->error.how & FAULT_SEEN);
        bool waits = plan && plan->mode == FAULT_FOR_EVER && (plan->error.how & FAULT_WAITS);
        model_strict = allocation == 0 && !forced && !waits;
        model_short = plan && plan->mode == FAULT_SHORT;
        model_run(scenario, plan, allocation, for_ever, count_allocations);
        _exit(0);
    }
    int status = 0;
    while (waitpid(child, &status, 0) < 0 && errno == EINTR) {
    }
    runs++;
    note_codes();
    bool good = WIFEXITED(status) && WEXITSTATUS(status) == 0;
    if (good && shared->unknown >= 0) {
        printf("FAILED  %s: libweir makes the system call %ld, which the injector does not know\n", scenario->name,
               shared->unknown);
        failures++;
    }
    if (!good) {
        failures++;
        printf("FAILED  %s: %s", scenario->name, what);
        if (WIFSIGNALED(status))
            printf(": %s", WTERMSIG(status) == SIGALRM ? "time limit" : strsignal(WTERMSIG(status)));
        printf("\n");
        char text[4096];
        ssize_t length = pread(output, text, sizeof text - 1, 0);
        if (length > 0) {
            text[length] = '\0';
            fputs(text, stdout);
        }
    }
    close(output);
    return good;
}

/* strerrorname_np() does not know these. */
static const char *error_name(int error)
{
    switch (error) {
    case EAI_AGAIN:
        return "EAI_AGAIN";
    case EAI_FAIL:
        return "EAI_FAIL";
    case EAI_MEMORY:
        return "EAI_MEMORY";
    case EAI_SYSTEM:
        return "EAI_SYSTEM";
    case EAI_NONAME:
        return "EAI_NONAME";
    case EAI_OVERFLOW:
        return "EAI_OVERFLOW";
    default:
        return strerrorname_np(error);
    }
}

static bool is_chosen(const char *name)
{
    const char *only = getenv("FAULT_ONLY");
    return !only || strcmp(only, name) == 0;
}

/* The next index after `index` of `calls` that is worth a try. */
static long next_index(long index, long calls, bool thorough)
{
    long near = thorough ? 25 : 2;
    if (index < near || index + 1 >= calls)
        return index + 1;
    long step = thorough ? calls / 15 + 1 : calls;
    return index + step < calls ? index + step : calls;
}

static void try_row(const struct scenario *scenario, const struct report *baseline, size_t number, bool thorough)
{
    const struct fault_row *row = &rows[number];
    struct figures *sum = &figures[number];
    long calls = baseline->calls[number];
    char what[160];
    if (row->why_none && strstr(row->why_none, "never called") && calls > 0) {
        printf("FAILED  %s: %s is called\n", scenario->name, row->name);
        failures++;
    }
    sum->calls += calls;
    for (int e = 0; row->errors[e].error != 0; e++) {
        struct fault_plan plan = {(int)number, 0, FAULT_ONCE, row->errors[e]};
        const char *name = error_name(row->errors[e].error);
        int tries = 0;
        for (long index = next_index(0, calls, thorough); index <= calls; index = next_index(index, calls, thorough)) {
            snprintf(what, sizeof what, "%s number %ld fails with %s once", row->name, index, name);
            plan.index = index;
            plan.mode = FAULT_ONCE;
            run(scenario, baseline, &plan, 0, false, false, what);
            sum->once += shared->injected > 0;
            sum->tried[e] += shared->injected > 0;
            if (tries++ >= (thorough ? 4 : 1))
                continue;
            snprintf(what, sizeof what, "%s fails with %s from number %ld on", row->name, name, index);
            plan.mode = FAULT_FOR_EVER;
            run(scenario, baseline, &plan, 0, false, false, what);
            sum->for_ever += shared->injected > 0;
            sum->tried[e] += shared->injected > 0;
        }
    }
    if (row->shortens && calls > 0) {
        struct fault_plan plan = {(int)number, 1, FAULT_SHORT, {0, 0}};
        snprintf(what, sizeof what, "%s moves one byte at a time", row->name);
        run(scenario, NULL, &plan, 0, false, false, what);
        sum->other++;
    }
}

static void try_spurious(const struct scenario *scenario, const struct report *baseline, size_t number)
{
    struct fault_plan plan = {(int)number, 1, FAULT_SPURIOUS, {0, 0}};
    char what[160];
    if (!rows[number].waits || baseline->calls[number] == 0)
        return;
    snprintf(what, sizeof what, "%s tells of everything", rows[number].name);
    run(scenario, NULL, &plan, 0, false, false, what);
    figures[number].other++;
}

static void try_allocations(const struct scenario *scenario, const struct report *baseline)
{
    char what[160];
    struct report counted;
    if (!run(scenario, baseline, NULL, 0, false, true, "with the program's allocator"))
        return;
    counted = *shared;
    allocation_figures.calls += counted.allocations;
    for (long number = 1; number <= counted.allocations; number++)
        for (int for_ever = 0; for_ever < 2; for_ever++) {
            snprintf(what, sizeof what, "allocation number %ld fails%s", number, for_ever ? ", and all after it" : "");
            run(scenario, baseline, NULL, number, for_ever, false, what);
            if (for_ever)
                allocation_figures.for_ever++;
            else
                allocation_figures.once++;
        }
}

static void try_scenario(const struct scenario *scenario)
{
    const char *thorough = getenv("FAULT_LONG");
    int64_t began = now_ns();
    int runs_before = runs, failures_before = failures;
    struct report *baseline = malloc(sizeof *baseline);
    if (!baseline)
        exit(1);
    if (!run(scenario, NULL, NULL, 0, false, false, "without a fault"))
        return;
    *baseline = *shared;
    for (size_t row = 0; row < row_count; row++)
        if (is_chosen(rows[row].name)) {
            try_row(scenario, baseline, row, thorough && *thorough == '1');
            try_spurious(scenario, baseline, row);
        }
    if (is_chosen("allocation"))
        try_allocations(scenario, baseline);
    free(baseline);
    printf("%s %s: %d runs (%ld ms)\n", failures == failures_before ? "ok     " : "FAILED ", scenario->name,
           runs - runs_before, (long)((now_ns() - began) / CHECK_MS));
    fflush(stdout);
}

/* One line a function, its columns apart by tabs; with `all` also those that were not called. */
static void print_table(FILE *to, bool all)
{
    fprintf(to, "function\tcalls\tonce\tfor ever\tother\terrnos (runs)\n");
    for (size_t row = 0; row < row_count; row++) {
        const struct figures *sum = &figures[row];
        if (sum->calls == 0 && !all)
            continue;
        fprintf(to, "%s\t%ld\t%ld\t%ld\t%ld\t", rows[row].name, sum->calls, sum->once, sum->for_ever, sum->other);
        if (rows[row].why_none)
            fprintf(to, "%s", rows[row].why_none);
        for (int e = 0; rows[row].errors[e].error != 0; e++)
            fprintf(to, "%s%s(%ld)", e ? " " : "", error_name(rows[row].errors[e].error), sum->tried[e]);
        fprintf(to, "\n");
    }
    const struct figures *sum = &allocation_figures;
    fprintf(to, "allocation\t%ld\t%ld\t%ld\t0\tENOMEM(%ld)\n", sum->calls, sum->once, sum->for_ever,
            sum->once + sum->for_ever);
    fprintf(to, "runs\t%d\t%d\n", runs, failures);
    for (int i = 0; all && i < seen_count; i++)
        fprintf(to, "code\t%s\t%s\t%s\n", seen[i].function, weir_error_name(seen[i].code),
                seen[i].direct ? "direct" : "later");
}

int main(int count, char **arguments)
{
    if (count == 2 && strcmp(arguments[1], "--list") == 0) {
        for (const struct scenario *one = scenarios; one->name; one++)
            puts(one->name);
        return 0;
    }
    if (!fault_rows) {
        setenv("LD_PRELOAD", WEIR_INJECTOR, 1);
        execv("/proc/self/exe", arguments);
        perror("execv");
        return 1;
    }
    rows = fault_rows(&row_count);
    shared = mmap(NULL, sizeof *shared, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (shared == MAP_FAILED || row_count > MODEL_ROWS)
        return 1;
    int named = 0;
    for (const struct scenario *one = scenarios; one->name; one++) {
        bool chosen = count < 2;
        for (int i = 1; i < count; i++)
            chosen |= strcmp(arguments[i], one->name) == 0;
        if (chosen) {
            try_scenario(one);
            named++;
        }
    }
    if (named == 0 || named < count - 1) {
        fprintf(stderr, "faults: no such scenario\n");
        return 1;
    }
    const char *table = getenv("FAULT_TABLE");
    FILE *to = table ? fopen(table, "w") : NULL;
    if (to) {
        print_table(to, true);
        fclose(to);
    } else {
        print_table(stdout, false);
    }
    printf("%d runs, %d failed\n", runs, failures);
    return failures > 0;
}
