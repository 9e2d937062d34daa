/*
 * A process supervisor: starts programs, starts them again when they end, and stops them all when it is told to.
 *
 *     supervisor [options] -- program argument ... [-- program argument ...] ...
 *
 *     --restarts N     give a program up after N starts in a row that ended at once (default 5)
 *     --quick MS       a run shorter than this ended at once (default 1000)
 *     --backoff MS     wait before the first restart; doubled each time, up to 60 s (default 100)
 *     --grace MS       between SIGTERM and SIGKILL when stopping (default 5000)
 *
 * SIGINT and SIGTERM stop: every program gets SIGTERM, after the grace time SIGKILL. SIGHUP restarts every program
 * that has been given up. A program that ends with status 0 is done. Exit status: 0 when all are done or were stopped
 * by SIGTERM, 1 when one was given up or had to be killed.
 *
 * One thread, one context: a process handle, a timer and two callbacks for each program, one signal set for all.
 */
#include <errno.h>
#include <getopt.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>
#include <weir.h>

static const int64_t MS = 1000 * 1000;
static const int64_t LONGEST_BACKOFF = INT64_C(60) * 1000 * 1000 * 1000;

struct supervisor;

struct program {
    struct supervisor *supervisor;
    char **arguments;
    weir_process *process; /* while it runs */
    weir_timer *timer;     /* until the restart, or until it is killed */
    int64_t started_at;
    int64_t backoff;
    int quick_ends;
    bool waiting; /* for the restart */
    bool given_up;
    bool killed;
};

struct supervisor {
    weir_context *context;
    weir_signals *signals;
    struct program *programs;
    size_t count;
    int max_quick_ends;
    int64_t quick, backoff, grace;
    bool stopping;
};

static void start(struct program *program);

static void die(const char *what, int error) {
    fprintf(stderr, "supervisor: %s: %s\n", what, weir_strerror(error));
    exit(1);
}

static void must(int error, const char *what) {
    if (error != 0) die(what, error);
}

static void say(const struct program *program, const char *what) {
    printf("%s: %s\n", program->arguments[0], what);
    fflush(stdout);
}

/* When nothing runs and nothing will, the signal set alone keeps run going: it is closed. */
static void finish_if_done(struct supervisor *supervisor) {
    for (size_t i = 0; i < supervisor->count; i++) {
        const struct program *program = &supervisor->programs[i];
        if (program->process != NULL || program->waiting) return;
    }
    weir_signals_close(supervisor->signals); /* a second time is WEIR_EBADF, which is fine here */
}

static void on_restart(int status, void *user) {
    struct program *program = user;
    program->waiting = false;
    if (status == 0 && !program->supervisor->stopping) start(program);
    finish_if_done(program->supervisor);
}

static void restart_later(struct program *program) {
    if (program->quick_ends >= program->supervisor->max_quick_ends) {
        program->given_up = true;
        say(program, "given up");
        return;
    }
    int error = weir_timer_expires_after(program->timer, program->backoff);
    if (error == 0) error = weir_timer_wait(program->timer, on_restart, program);
    must(error, "timer");
    program->waiting = true;
    program->backoff = program->backoff > LONGEST_BACKOFF / 2 ? LONGEST_BACKOFF : program->backoff * 2;
}

static void describe(const struct program *program, int value) {
    struct rusage usage;
    char text[160];
    double cpu = 0;
    if (weir_process_usage(program->process, &usage) == 0)
        cpu = (double)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) +
              (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e6;
    if (WIFSIGNALED(value))
        snprintf(text, sizeof text, "killed by signal %d, %.3f s of CPU", WTERMSIG(value), cpu);
    else
        snprintf(text, sizeof text, "ended with status %d, %.3f s of CPU", WEXITSTATUS(value), cpu);
    say(program, text);
}

static void on_end(int status, int value, void *user) {
    struct program *program = user;
    struct supervisor *supervisor = program->supervisor;
    if (status == 0) describe(program, value);
    weir_process_close(program->process);
    program->process = NULL;
    if (status == WEIR_ECANCELED) return; /* the context is being destroyed */
    weir_timer_cancel(program->timer, NULL); /* it is not to be killed any more */

    int64_t now = 0;
    must(weir_context_now(supervisor->context, &now), "clock");
    bool done = status == 0 && WIFEXITED(value) && WEXITSTATUS(value) == 0;
    if (now - program->started_at >= supervisor->quick) {
        program->quick_ends = 0;
        program->backoff = supervisor->backoff;
    } else {
        program->quick_ends++;
    }
    if (!done && !supervisor->stopping) restart_later(program);
    finish_if_done(supervisor);
}

/* Runs in the child, which has nothing of the library but its memory: it must exec or go. A signal that comes before
 * the exec must not be swallowed by the parent's handlers: they go while all signals are blocked. */
static void become(char **arguments, const sigset_t *mask) {
    static const int signals[] = {SIGINT, SIGTERM, SIGHUP};
    for (size_t i = 0; i < 3; i++) signal(signals[i], SIG_DFL);
    sigprocmask(SIG_SETMASK, mask, NULL);
    execvp(arguments[0], arguments);
    fprintf(stderr, "supervisor: %s: %s\n", arguments[0], strerror(errno));
    _exit(127);
}

static void start(struct program *program) {
    struct supervisor *supervisor = program->supervisor;
    must(weir_context_now(supervisor->context, &program->started_at), "clock");
    sigset_t all, mask;
    sigfillset(&all);
    sigprocmask(SIG_BLOCK, &all, &mask);
    pid_t pid = fork();
    if (pid == 0) become(program->arguments, &mask);
    sigprocmask(SIG_SETMASK, &mask, NULL);
    if (pid < 0) {
        fprintf(stderr, "supervisor: fork: %s\n", strerror(errno));
        program->quick_ends++;
        restart_later(program);
        return;
    }
    /* The child can't be gone: nobody else waits for it. */
    int error = weir_process_create(supervisor->context, pid, &program->process);
    if (error == 0) error = weir_process_wait(program->process, on_end, program);
    must(error, "process");
    char text[64];
    snprintf(text, sizeof text, "started as %ld", (long)pid);
    say(program, text);
}

static void on_grace(int status, void *user) {
    struct program *program = user;
    if (status != 0 || program->process == NULL) return;
    program->killed = true;
    say(program, "does not end; killed");
    weir_process_kill(program->process, SIGKILL);
}

static void stop(struct supervisor *supervisor) {
    if (supervisor->stopping) return;
    supervisor->stopping = true;
    for (size_t i = 0; i < supervisor->count; i++) {
        struct program *program = &supervisor->programs[i];
        weir_timer_cancel(program->timer, NULL); /* no restart */
        if (program->process == NULL) continue;
        weir_process_kill(program->process, SIGTERM);
        int error = weir_timer_expires_after(program->timer, supervisor->grace);
        if (error == 0) error = weir_timer_wait(program->timer, on_grace, program);
        must(error, "timer");
    }
    finish_if_done(supervisor);
}

static void retry_given_up(struct supervisor *supervisor) {
    for (size_t i = 0; i < supervisor->count && !supervisor->stopping; i++) {
        struct program *program = &supervisor->programs[i];
        if (!program->given_up) continue;
        program->given_up = false;
        program->quick_ends = 0;
        program->backoff = supervisor->backoff;
        start(program);
    }
}

static void on_signal(int status, int signo, void *user) {
    struct supervisor *supervisor = user;
    if (status != 0) return;
    must(weir_signals_wait(supervisor->signals, on_signal, supervisor), "signals");
    if (signo == SIGHUP)
        retry_given_up(supervisor);
    else
        stop(supervisor);
}

/* ---- the command line */

static void usage(void) {
    fprintf(stderr, "usage: supervisor [--restarts N] [--quick MS] [--backoff MS] [--grace MS] -- program ... [-- program ...]\n");
    exit(2);
}

static int64_t number(const char *text, int64_t least, int64_t most) {
    char *end = NULL;
    errno = 0;
    long long value = strtoll(text, &end, 10);
    if (errno != 0 || end == text || *end != 0 || value < least || value > most) usage();
    return value;
}

/* Splits what is left of the command line at each "--"; the array of arguments is cut in place. */
static void split(struct supervisor *supervisor, char **arguments) {
    size_t count = arguments[0] != NULL;
    for (char **at = arguments; *at != NULL; at++) count += strcmp(*at, "--") == 0;
    supervisor->programs = calloc(count + 1, sizeof *supervisor->programs);
    if (supervisor->programs == NULL) die("memory", WEIR_ENOMEM);
    struct program *program = NULL;
    for (char **at = arguments; *at != NULL; at++) {
        if (strcmp(*at, "--") == 0) {
            *at = NULL;
            program = NULL;
        } else if (program == NULL) {
            program = &supervisor->programs[supervisor->count++];
            program->supervisor = supervisor;
            program->arguments = at;
            program->backoff = supervisor->backoff;
        }
    }
    if (supervisor->count == 0) usage();
}

int main(int argc, char **argv) {
    static const struct option options[] = {
        {"restarts", required_argument, NULL, 'r'}, {"quick", required_argument, NULL, 'q'},
        {"backoff", required_argument, NULL, 'b'},  {"grace", required_argument, NULL, 'g'},
        {NULL, 0, NULL, 0},
    };
    struct supervisor supervisor = {
        .max_quick_ends = 5, .quick = 1000 * MS, .backoff = 100 * MS, .grace = 5000 * MS};
    const int64_t day = 24 * 3600 * 1000;
    int option;
    while ((option = getopt_long(argc, argv, "+", options, NULL)) != -1) {
        switch (option) {
        case 'r': supervisor.max_quick_ends = (int)number(optarg, 1, 1000000); break;
        case 'q': supervisor.quick = number(optarg, 0, day) * MS; break;
        case 'b': supervisor.backoff = number(optarg, 1, 60000) * MS; break;
        case 'g': supervisor.grace = number(optarg, 0, day) * MS; break;
        default: usage();
        }
    }
    split(&supervisor, argv + optind);

    must(weir_context_create(NULL, &supervisor.context), "context");
    must(weir_signals_create(supervisor.context, &supervisor.signals), "signals");
    static const int signals[] = {SIGINT, SIGTERM, SIGHUP};
    for (size_t i = 0; i < 3; i++) must(weir_signals_add(supervisor.signals, signals[i], 0), "signals");
    must(weir_signals_wait(supervisor.signals, on_signal, &supervisor), "signals");
    for (size_t i = 0; i < supervisor.count; i++) {
        must(weir_timer_create(supervisor.context, &supervisor.programs[i].timer), "timer");
        weir_handle_set_name(supervisor.programs[i].timer, supervisor.programs[i].arguments[0]);
    }
    for (size_t i = 0; i < supervisor.count; i++) start(&supervisor.programs[i]);

    must(weir_context_run(supervisor.context, NULL), "run");

    bool bad = false;
    for (size_t i = 0; i < supervisor.count; i++)
        bad |= supervisor.programs[i].given_up || supervisor.programs[i].killed;
    weir_context_destroy(supervisor.context);
    free(supervisor.programs);
    return bad;
}
