/* What all benchmark programs share: options, clocks, random expiries, the result line. C11 and C++17. */
#ifndef BENCH_H
#define BENCH_H

#include <errno.h>
#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#define BENCH_TIME_LIMIT 120u /* seconds: a program that hangs is ended, and has failed */
#define BENCH_FIRE_AFTER INT64_C(200000000) /* timer_fire: all timers are started before the first is due */

enum bench_workload {
    PINGPONG,
    ECHO100,
    POST_INSIDE,
    POST_BATCH,
    POST_OUTSIDE,
    POST_OUTSIDE2,
    TIMER_CHURN,
    TIMER_ONE,
    TIMER_FIRE,
    SINK,       /* one connection, the server reads */
    SOURCE,     /* one connection, the server writes */
    CHURN,      /* accept, one message each way, close */
    UDP,        /* one datagram each way */
    UDP_BURST,  /* 32 datagrams each way */
    IDLE,       /* memory of connections that wait for data */
    TIMER_REARM,/* a time limit moved at each operation of many connections */
    RING,       /* readiness that goes round a ring of pipes */
    SIGNAL,     /* one signal after another */
    RESOLVE,    /* names that are numbers */
    ARRIVAL,    /* bytes that arrive while handlers post without end */
    WORKLOADS
};

struct bench {
    const char *system;
    enum bench_workload workload;
    size_t n; /* 0 in the echo workloads: run for `seconds` */
    int connections;
    int threads;
    int hint;  /* libweir: the thread hint; 0: the number of threads */
    bool each; /* libweir: a context for each thread */
    int producers;
    size_t size;
    double seconds;
    size_t batch; /* post_batch: so many at a time */
    int active;   /* ring: so many at once */
    int64_t slack_ns;
    bool edge;     /* raw only: EPOLLET */
    bool buffered; /* libevent: bufferevent in place of plain events; udp_burst: several datagrams a call */
    bool segments; /* udp_burst: the kernel puts datagrams together and cuts them (GRO, GSO); libweir and raw only */
    bool external; /* the client is another program; the port is printed on stderr */
    int port;      /* bench_client only */
    int server_cpu, client_cpu; /* -1: wherever the kernel puts it */
};

struct bench_span {
    int64_t begin_ns, end_ns;
    double begin_cpu, end_cpu;
};

static inline const char *bench_workload_name(int workload) {
    static const char *const names[WORKLOADS] = {
        "pingpong",    "echo100",    "post_inside", "post_batch", "post_outside", "post_outside2", "timer_churn",
        "timer_one",   "timer_fire", "sink",        "source",     "churn",        "udp",           "udp_burst",
        "idle",        "timer_rearm", "ring",       "signal",     "resolve",       "arrival"};
    return workload >= 0 && workload < WORKLOADS ? names[workload] : "unknown";
}

#if defined(__GNUC__)
__attribute__((noreturn, format(printf, 1, 2)))
#endif
static inline void bench_fail(const char *format, ...) {
    __builtin_va_list arguments;
    __builtin_va_start(arguments, format);
    vfprintf(stderr, format, arguments);
    __builtin_va_end(arguments);
    fputc('\n', stderr);
    exit(1);
}

/* For calls that may not fail here; unlike assert it stays in every build. */
#define REQUIRE(condition)                                                                                             \
    do {                                                                                                               \
        if (!(condition)) bench_fail("%s:%d: failed: %s (errno %d)", __FILE__, __LINE__, #condition, errno);           \
    } while (0)

/* ---- clocks */

static inline int64_t bench_now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

static inline double bench_cpu(void) {
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage); /* all threads, no children */
    return (double)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) +
           (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e6;
}

static inline void bench_begin(struct bench_span *span) {
    span->begin_cpu = bench_cpu();
    span->begin_ns = bench_now();
}

static inline void bench_end(struct bench_span *span) {
    span->end_ns = bench_now();
    span->end_cpu = bench_cpu();
}

static inline double bench_seconds(const struct bench_span *span) {
    return (double)(span->end_ns - span->begin_ns) / 1e9;
}

/* ---- pseudo-random numbers, the same sequence in every system */

static inline uint64_t bench_random(uint64_t *state) {
    *state += UINT64_C(0x9E3779B97F4A7C15);
    uint64_t z = *state;
    z = (z ^ (z >> 30)) * UINT64_C(0xBF58476D1CE4E5B9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94D049BB133111EB);
    return z ^ (z >> 31);
}

/* timer_churn: 1 to 60 s, in ns */
static inline int64_t bench_churn_expiry(uint64_t *state) {
    return INT64_C(1000000000) + (int64_t)(bench_random(state) % UINT64_C(59000000000));
}

/* timer_fire: a second, in ns */
static inline int64_t bench_fire_expiry(uint64_t *state) {
    return BENCH_FIRE_AFTER + (int64_t)(bench_random(state) % UINT64_C(1000000000));
}

/* ---- the result line */

static inline void bench_print(const struct bench *b, uint64_t ops, double seconds, double cpu, const char *more) {
    printf("{\"system\":\"%s%s\",\"workload\":\"%s\",\"connections\":%d,\"threads\":%d,\"producers\":%d,\"size\":%zu,"
           "\"slack_ns\":%lld,\"ops\":%llu,\"seconds\":%.6f,\"rate\":%.1f,\"cpu_seconds\":%.6f,\"cpu_ns_per_op\":%.2f%s}\n",
           b->system, b->buffered ? "-buffer" : "", bench_workload_name(b->workload), b->connections, b->threads,
           b->producers, b->size, (long long)b->slack_ns, (unsigned long long)ops, seconds,
           seconds > 0 ? (double)ops / seconds : 0.0, cpu, ops > 0 ? cpu * 1e9 / (double)ops : 0.0, more);
}

static inline void bench_report(const struct bench *b, uint64_t ops, const struct bench_span *span) {
    bench_print(b, ops, bench_seconds(span), span->end_cpu - span->begin_cpu, "");
}

static inline int bench_unsupported(const struct bench *b) {
    printf("{\"system\":\"%s\",\"workload\":\"%s\",\"threads\":%d,\"unsupported\":true}\n", b->system,
           bench_workload_name(b->workload), b->threads);
    return 0;
}

static inline int bench_compare(const void *a, const void *b) {
    int64_t x, y;
    memcpy(&x, a, sizeof x);
    memcpy(&y, b, sizeof y);
    return (x > y) - (x < y);
}

/* Lateness of n timers in ns, negative for the early ones. Sorts the array. Returns the number of early ones. */
static inline uint64_t bench_report_lateness(const struct bench *b, int64_t *late, size_t n,
                                             const struct bench_span *span) {
    char more[256];
    uint64_t early = 0;
    qsort(late, n, sizeof *late, bench_compare);
    while (early < n && late[early] < 0) early++;
    snprintf(more, sizeof more,
             ",\"late_p50_us\":%.1f,\"late_p99_us\":%.1f,\"late_max_us\":%.1f,\"early\":%llu,\"earliest_us\":%.1f",
             (double)late[n / 2] / 1e3, (double)late[n * 99 / 100] / 1e3, (double)late[n - 1] / 1e3,
             (unsigned long long)early, (double)late[0] / 1e3);
    bench_print(b, n, bench_seconds(span), span->end_cpu - span->begin_cpu, more);
    return early;
}

/* Idle connections: what one takes, in bytes of memory of its own that the process has touched. */
static inline size_t bench_memory(void) {
    char line[256];
    size_t kib = 0;
    FILE *file = fopen("/proc/self/smaps_rollup", "re");
    REQUIRE(file != NULL);
    while (fgets(line, sizeof line, file) != NULL)
        if (sscanf(line, "Private_Dirty: %zu", &kib) == 1) break;
    fclose(file);
    return kib * 1024;
}

static inline int bench_report_memory(const struct bench *b, size_t before, const struct bench_span *span) {
    char more[64];
    size_t now = bench_memory();
    snprintf(more, sizeof more, ",\"bytes_each\":%.1f",
             now > before ? (double)(now - before) / (double)b->connections : 0.0);
    bench_print(b, (uint64_t)b->connections, bench_seconds(span), span->end_cpu - span->begin_cpu, more);
    return 0;
}

/* ---- options */

#define BENCH_SIZE_LIMIT (1 << 20)
enum { BENCH_BURST = 32 };

/* A client in another process drives it. */
static inline bool bench_is_echo(const struct bench *b) {
    return b->workload == PINGPONG || b->workload == ECHO100 || (b->workload >= SINK && b->workload <= UDP_BURST);
}

static inline int bench_usage(const char *program) {
    fprintf(stderr,
            "usage: %s WORKLOAD [--n N] [--connections C] [--threads T] [--producers P] [--size B] [--seconds S]\n"
            "       [--batch N] [--slack NS] [--active N] [--hint T] [--each] [--server-cpu K] [--client-cpu K] [--edge] [--buffered] [--segments]\n"
            "       [--external] [--port PORT]\n"
            "workloads:",
            program);
    for (int i = 0; i < WORKLOADS; i++) fprintf(stderr, " %s", bench_workload_name(i));
    fputc('\n', stderr);
    return 2;
}

/* Fills *b and starts the time limit; false: the usage was printed. */
static inline bool bench_options(struct bench *b, const char *system, int argc, char **argv) {
    int found = -1;
    memset(b, 0, sizeof *b);
    b->system = system;
    b->threads = 1;
    b->size = 64;
    b->server_cpu = b->client_cpu = -1;
    for (int i = 0; argc > 1 && i < WORKLOADS; i++)
        if (strcmp(argv[1], bench_workload_name(i)) == 0) found = i;
    if (found < 0) return bench_usage(argv[0]) == 0;
    b->workload = (enum bench_workload)found;
    b->connections = b->workload == ECHO100 ? 100 : b->workload == RING ? 100 : 1;
    if (b->workload == IDLE) b->connections = 10000;
    if (b->workload == TIMER_REARM) b->connections = 10000;
    if (b->workload == CHURN) b->connections = 5000;
    if (b->workload == SINK || b->workload == SOURCE) b->size = 65536;
    b->active = 1;
    b->producers = b->workload == POST_OUTSIDE || b->workload == POST_OUTSIDE2 ? 2 : 0;
    if (b->workload == POST_OUTSIDE2) b->threads = 2;
    if (b->workload == TIMER_FIRE) b->n = 100000;
    else if (b->workload == RING || b->workload == SIGNAL || b->workload == RESOLVE) b->n = 200000;
    else if (b->workload == TIMER_REARM) b->n = 10000000;
    else if (b->workload == ARRIVAL) b->n = 300;
    else if (!bench_is_echo(b) && b->workload != IDLE) b->n = 1000000;
    b->seconds = 1;
    b->batch = SIZE_MAX;

    for (int i = 2; i < argc; i++) {
        const char *name = argv[i];
        if (strcmp(name, "--edge") == 0) b->edge = true;
        else if (strcmp(name, "--each") == 0) b->each = true;
        else if (strcmp(name, "--buffered") == 0) b->buffered = true;
        else if (strcmp(name, "--segments") == 0) b->segments = true;
        else if (strcmp(name, "--external") == 0) b->external = true;
        else {
            char *end = NULL;
            double value = i + 1 < argc ? strtod(argv[i + 1], &end) : 0;
            if (end == NULL || *end != '\0' || end == argv[i + 1] || !(value >= 0 && value < 1e15))
                return bench_usage(argv[0]) == 0;
            i++;
            if (strcmp(name, "--n") == 0) b->n = (size_t)value;
            else if (strcmp(name, "--connections") == 0) b->connections = (int)value;
            else if (strcmp(name, "--threads") == 0) b->threads = (int)value;
            else if (strcmp(name, "--hint") == 0) b->hint = (int)value;
            else if (strcmp(name, "--producers") == 0) b->producers = (int)value;
            else if (strcmp(name, "--size") == 0) b->size = (size_t)value;
            else if (strcmp(name, "--seconds") == 0) b->seconds = value;
            else if (strcmp(name, "--batch") == 0) b->batch = (size_t)value;
            else if (strcmp(name, "--slack") == 0) b->slack_ns = (int64_t)value;
            else if (strcmp(name, "--active") == 0) b->active = (int)value;
            else if (strcmp(name, "--port") == 0) b->port = (int)value;
            else if (strcmp(name, "--server-cpu") == 0) b->server_cpu = (int)value;
            else if (strcmp(name, "--client-cpu") == 0) b->client_cpu = (int)value;
            else return bench_usage(argv[0]) == 0;
        }
    }
    bool echo = bench_is_echo(b);
    bool cuts = strcmp(system, "libweir") == 0 || strcmp(system, "raw") == 0 || strcmp(system, "client") == 0;
    if (b->segments && (b->workload != UDP_BURST || !cuts)) return bench_usage(argv[0]) == 0;
    bool posters = b->workload == POST_OUTSIDE || b->workload == POST_OUTSIDE2;
    if ((b->workload == PINGPONG && b->connections != 1) || b->connections < 1 || b->connections > 100000 ||
        (echo && (b->size < 1 || b->size > BENCH_SIZE_LIMIT)) || (!echo && b->workload != IDLE && b->n < 1) ||
        (b->workload == RING && (b->active < 1 || b->active > b->connections)) || (b->workload == UDP_BURST && b->size > 1400) || b->threads < 1 || b->threads > 64 ||
        b->batch < 1 || (posters && (b->producers < 1 || b->producers > 64)) || b->seconds <= 0)
        return bench_usage(argv[0]) == 0;
    alarm(BENCH_TIME_LIMIT);
    return true;
}

/* A connection's buffer: one read takes what one message needs. */
static inline size_t bench_buffer_size(const struct bench *b) {
    return b->size <= 4096 ? 4096 : b->size <= 65536 ? 65536 : b->size;
}

/* ---- posting from other threads: P threads start at once, each posts its share of 0..n-1 */

struct bench_posters;

struct bench_poster {
    struct bench_posters *all;
    int index;
    pthread_t thread;
};

struct bench_posters {
    void (*post)(void *target, size_t first, size_t last); /* posts the numbers from first to last - 1 */
    void *target;
    size_t n;
    int count;
    pthread_barrier_t barrier;
    struct bench_poster each[64];
};

static inline void *bench_poster_main(void *user) {
    struct bench_poster *poster = (struct bench_poster *)user;
    struct bench_posters *all = poster->all;
    size_t count = (size_t)all->count, index = (size_t)poster->index;
    pthread_barrier_wait(&all->barrier);
    all->post(all->target, all->n * index / count, all->n * (index + 1) / count);
    return NULL;
}

/* The threads exist when this returns and wait for bench_posters_go, so that making them is not measured. */
static inline void bench_posters_start(struct bench_posters *all, const struct bench *b,
                                       void (*post)(void *, size_t, size_t), void *target) {
    all->post = post;
    all->target = target;
    all->n = b->n;
    all->count = b->producers;
    REQUIRE(pthread_barrier_init(&all->barrier, NULL, (unsigned)all->count + 1) == 0);
    for (int i = 0; i < all->count; i++) {
        all->each[i].all = all;
        all->each[i].index = i;
        REQUIRE(pthread_create(&all->each[i].thread, NULL, bench_poster_main, &all->each[i]) == 0);
    }
}

static inline void bench_posters_go(struct bench_posters *all) { pthread_barrier_wait(&all->barrier); }

static inline void bench_posters_join(struct bench_posters *all) {
    for (int i = 0; i < all->count; i++) pthread_join(all->each[i].thread, NULL);
    pthread_barrier_destroy(&all->barrier);
}

/* post_batch: where the batch that begins with `first` ends. */
static inline size_t bench_batch_end(const struct bench *b, size_t first) {
    return b->batch < b->n - first ? first + b->batch : b->n;
}

/* The sum of 0..n-1: what the handlers must have seen, each number once. */
static inline uint64_t bench_sum(size_t n) { return (uint64_t)n * (n - 1) / 2; }

#endif
