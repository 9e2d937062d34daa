/* unloader LIBRARY: closes the library while its threads, the program's inside of it, and its signal handler are at work.
 * It stays mapped, and all of them go on. */
#include <weir.h>

#include <dlfcn.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static struct {
    int (*weir_context_create)(const weir_context_options *, weir_context **);
    int (*weir_context_post)(weir_context *, weir_callback, void *);
    int (*weir_context_run)(weir_context *, size_t *);
    int (*weir_context_stop)(weir_context *);
    int (*weir_context_work_begin)(weir_context *);
    int (*weir_context_destroy)(weir_context *);
    int (*weir_timer_create)(weir_context *, weir_timer **);
    int (*weir_timer_start)(weir_timer *, int64_t, int64_t, weir_callback, void *);
    int (*weir_job_start)(weir_context *, weir_job_function, void *, weir_job **, weir_value_callback, void *);
    int (*weir_signals_create)(weir_context *, weir_signals **);
    int (*weir_signals_add)(weir_signals *, int, uint32_t);
    int (*weir_signals_wait)(weir_signals *, weir_value_callback, void *);
} weir;

static void fail(const char *what)
{
    fprintf(stderr, "unloader: %s\n", what);
    _exit(1);
}

/* dlsym's object pointer becomes a function pointer, which C has no cast for. */
static void find(void *library, const char *name, void *function)
{
    void *symbol = dlsym(library, name);
    if (symbol == NULL)
        fail(dlerror());
    memcpy(function, &symbol, sizeof(symbol));
}

#define FIND(name) find(library, #name, &weir.name)

static void must(int code)
{
    if (code != 0)
        fail("a call failed");
}

static weir_context *context;
static atomic_int ticks, jobs, posts, signalled;

static void on_call(int status, void *counter)
{
    if (status == 0)
        atomic_fetch_add((atomic_int *)counter, 1);
}

static void on_value(int status, int value, void *counter)
{
    (void)value;
    on_call(status, counter);
}

static int job(void *user)
{
    (void)user;
    return 0;
}

static void *run(void *user)
{
    (void)user;
    must(weir.weir_context_run(context, NULL));
    return NULL;
}

static void wait_for(atomic_int *counter, int least)
{
    for (int i = 0; atomic_load(counter) < least; i++) {
        struct timespec pause = {0, 1000000};
        if (i == 30000)
            fail("30 s went by");
        nanosleep(&pause, NULL);
    }
}

static void one_round(const char *path, int number)
{
    pthread_t threads[2];
    weir_timer *timer;
    weir_signals *signals;
    void *library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    if (library == NULL)
        fail(dlerror());
    FIND(weir_context_create);
    FIND(weir_context_post);
    FIND(weir_context_run);
    FIND(weir_context_stop);
    FIND(weir_context_work_begin);
    FIND(weir_context_destroy);
    FIND(weir_timer_create);
    FIND(weir_timer_start);
    FIND(weir_job_start);
    FIND(weir_signals_create);
    FIND(weir_signals_add);
    FIND(weir_signals_wait);
    must(weir.weir_context_create(NULL, &context));
    must(weir.weir_context_work_begin(context));
    must(weir.weir_timer_create(context, &timer));
    must(weir.weir_timer_start(timer, 0, 1000 * 1000, on_call, &ticks));
    must(weir.weir_signals_create(context, &signals));
    must(weir.weir_signals_add(signals, SIGUSR1, 0));
    must(weir.weir_signals_wait(signals, on_value, &signalled));
    must(weir.weir_job_start(context, job, NULL, NULL, on_value, &jobs));
    for (int i = 0; i < 2; i++)
        if (pthread_create(&threads[i], NULL, run, NULL) != 0)
            fail("no thread");
    if (number % 2 == 0)
        wait_for(&ticks, atomic_load(&ticks) + 1);
    /* As often as it was opened: nothing of the program holds it any more. */
    if (dlclose(library) != 0)
        fail(dlerror());
    if (raise(SIGUSR1) != 0)
        fail("raise");
    must(weir.weir_job_start(context, job, NULL, NULL, on_value, &jobs));
    must(weir.weir_context_post(context, on_call, &posts));
    wait_for(&jobs, 2 * (number + 1));
    wait_for(&posts, number + 1);
    wait_for(&signalled, number + 1);
    wait_for(&ticks, atomic_load(&ticks) + 2);
    must(weir.weir_context_stop(context));
    for (int i = 0; i < 2; i++)
        pthread_join(threads[i], NULL);
    must(weir.weir_context_destroy(context));
}

int main(int count, char **arguments)
{
    if (count != 2)
        fail("usage: unloader LIBRARY");
    for (int i = 0; i < 20; i++)
        one_round(arguments[1], i);
    struct timespec pause = {3, 0};
    nanosleep(&pause, NULL); /* the threads of the pool, which nobody wants any more, end in the library */
    one_round(arguments[1], 20);
    printf("unloaded: %d ticks\n", ticks);
    return 0;
}
