/*
 * Load for an echo server: every connection sends a message, waits for the reply, compares every byte, and repeats.
 *
 * Each connection reads and writes at the same time (a large message would otherwise fill the buffers on both sides
 * and stop for ever), so its two callbacks may run on two threads at once. The one that finishes last goes on.
 *
 * With --churn each connection ends after a number of messages and a new one takes its place: in turn politely, when
 * nothing more than what was sent may come back, and with a reset.
 *
 * Counts and latencies are kept per thread and added up at the end: no callback takes a lock or allocates.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <getopt.h>
#include <netinet/in.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>
#include <weir.h>

#define SECOND INT64_C(1000000000)
#define GRACE (5 * SECOND) /* for the replies that are on their way at the end */

enum { MAX_THREADS = 256 };

/* ---- latency histogram: 32 linear buckets in each power of two, so at most 3 % wide */

enum { SUB_BITS = 5, SUB = 1 << SUB_BITS, BUCKETS = (64 - SUB_BITS + 1) * SUB };

static unsigned bucket_of(uint64_t value) {
    if (value < SUB) return (unsigned)value;
    unsigned shift = 63u - (unsigned)__builtin_clzll(value) - SUB_BITS;
    return (shift + 1) * SUB + (unsigned)((value >> shift) - SUB);
}

/* The largest value of a bucket: a percentile is never reported better than it was. */
static uint64_t bucket_end(unsigned bucket) {
    if (bucket < SUB) return bucket;
    unsigned shift = bucket / SUB - 1;
    return (((uint64_t)(SUB + bucket % SUB) + 1) << shift) - 1;
}

static double percentile_us(const uint64_t *buckets, uint64_t total, double part) {
    uint64_t rank = (uint64_t)(part * (double)total), seen = 0;
    for (unsigned i = 0; i < BUCKETS; i++) {
        seen += buckets[i];
        if (seen > rank) return (double)bucket_end(i) / 1e3;
    }
    return 0;
}

/* ---- state */

struct load;

/* One per thread. The counters have one writer; they are atomic because the progress line reads them. */
struct worker {
    struct load *load;
    pthread_t thread;
    _Atomic uint64_t round_trips;
    _Atomic uint64_t bytes;
    uint64_t buckets[BUCKETS];
};

static _Thread_local struct worker *this_worker;

struct connection {
    struct load *load;
    weir_stream *stream;
    uint64_t index;
    uint64_t sequence;
    uint64_t lives;   /* of streams that it has had */
    uint64_t ends_at; /* the sequence at which this stream ends */
    int64_t sent_at;
    atomic_int unfinished; /* of the read and the write */
    atomic_int failure;    /* the first error of either */
    unsigned char *out;
    unsigned char *in;
};

struct load {
    weir_context *context;
    weir_timer *progress;
    weir_timer *deadline;
    struct connection *connections;
    struct worker *workers;
    size_t count;
    size_t size;     /* of a message */
    size_t pipeline; /* messages sent together */
    size_t churn;    /* messages for one stream, on average; 0: no limit */
    struct sockaddr_storage address;
    socklen_t length;
    unsigned spread; /* addresses, from that one on */
    unsigned threads;
    double seconds;
    int64_t started_at;
    int64_t ended_at;
    uint64_t reported; /* round trips at the last progress line */
    int elapsed;
    atomic_bool stopping;
    bool in_grace;
    atomic_size_t alive;
    atomic_uint_fast64_t errors;
    atomic_uint_fast64_t lost;
    atomic_uint_fast64_t mismatches;
    atomic_uint_fast64_t opened; /* streams */
};

static void add(_Atomic uint64_t *counter, uint64_t amount) { /* one writer: no locked instruction needed */
    atomic_store_explicit(counter, atomic_load_explicit(counter, memory_order_relaxed) + amount, memory_order_relaxed);
}

static int64_t now(struct load *load) {
    int64_t ns = 0;
    weir_context_now(load->context, &ns); /* fails for a bad handle only */
    return ns;
}

/* ---- one connection */

/* Fills the message with bytes that no other message of any connection has. */
static void pattern(unsigned char *out, size_t size, uint64_t index, uint64_t sequence) {
    uint64_t state = index * UINT64_C(0x9E3779B97F4A7C15) ^ sequence * UINT64_C(0xD1B54A32D192ED03);
    for (size_t at = 0; at < size; at += sizeof state) {
        state += UINT64_C(0x9E3779B97F4A7C15);
        uint64_t word = (state ^ (state >> 30)) * UINT64_C(0xBF58476D1CE4E5B9);
        word ^= word >> 31;
        memcpy(out + at, &word, size - at < sizeof word ? size - at : sizeof word);
    }
}

/* Nothing of this connection is pending any more. The last one ends the timers, and with them the run. */
static void connection_end(struct connection *c) {
    struct load *load = c->load;
    weir_stream_close(c->stream);
    if (atomic_fetch_sub(&load->alive, 1) == 1) {
        load->ended_at = now(load);
        weir_timer_close(load->deadline);
        weir_timer_close(load->progress);
    }
}

static void connection_lost(struct connection *c, const char *what, int status) {
    atomic_fetch_add(&c->load->lost, 1);
    if (atomic_fetch_add(&c->load->errors, 1) < 10) /* a dead server would print one line for each connection */
        fprintf(stderr, "echo_load: connection %llu: %s: %s\n", (unsigned long long)c->index, what,
                weir_strerror(status));
    connection_end(c);
}

static void on_half(int status, size_t bytes, void *user);
static void on_connected(int status, void *user);
static void connection_renew(struct connection *c);

static void send_message(struct connection *c) {
    size_t total = c->load->size * c->load->pipeline;
    pattern(c->out, total, c->index, c->sequence++);
    c->sent_at = now(c->load);
    atomic_store(&c->failure, 0);
    atomic_store(&c->unfinished, 2);

    /* An operation that could not be started has no callback; its half is then finished here. */
    int error = weir_stream_write(c->stream, c->out, total, on_half, c);
    if (error != 0) {
        atomic_store(&c->unfinished, 1);
        on_half(error, 0, c);
        return;
    }
    error = weir_stream_read(c->stream, c->in, total, on_half, c);
    if (error != 0) on_half(error, 0, c);
}

static void message_done(struct connection *c) {
    struct load *load = c->load;
    size_t total = load->size * load->pipeline;
    uint64_t latency = (uint64_t)(now(load) - c->sent_at);

    int failure = atomic_load(&c->failure);
    if (failure != 0) {
        connection_lost(c, "lost", failure);
        return;
    }
    if (memcmp(c->in, c->out, total) != 0) {
        size_t at = 0;
        while (c->in[at] == c->out[at]) at++;
        fprintf(stderr, "echo_load: connection %llu: byte %zu of message %llu came back wrong\n",
                (unsigned long long)c->index, at, (unsigned long long)c->sequence);
        atomic_fetch_add(&load->mismatches, 1);
        connection_end(c);
        return;
    }
    this_worker->buckets[bucket_of(latency)] += load->pipeline;
    add(&this_worker->round_trips, load->pipeline);
    add(&this_worker->bytes, total);

    if (atomic_load_explicit(&load->stopping, memory_order_relaxed)) connection_end(c);
    else if (load->churn > 0 && c->sequence >= c->ends_at) connection_renew(c);
    else send_message(c);
}

/* ---- churn */

static int connection_open(struct connection *c) {
    struct load *load = c->load;
    struct sockaddr_storage address = load->address;
    uint64_t turn = c->index + c->lives++;
    if (load->spread > 1) { /* ports are scarce; there are as many again with each address */
        struct sockaddr_in *inet = (struct sockaddr_in *)&address;
        inet->sin_addr.s_addr = htonl(ntohl(inet->sin_addr.s_addr) + (uint32_t)(turn % load->spread));
    }
    /* From half of the average to one and a half, so that they do not all end together. */
    c->ends_at = c->sequence + load->churn / 2 + 1 + (turn * 7919) % (load->churn + 1);
    int error = weir_stream_create(load->context, &c->stream);
    if (error == 0) error = weir_stream_connect(c->stream, (struct sockaddr *)&address, load->length, on_connected, c);
    if (error == 0) atomic_fetch_add(&load->opened, 1);
    return error;
}

static void connection_reopen(struct connection *c) {
    weir_stream_close(c->stream);
    if (atomic_load_explicit(&c->load->stopping, memory_order_relaxed)) {
        connection_end(c);
        return;
    }
    int error = connection_open(c);
    if (error != 0) connection_lost(c, "reconnect", error);
}

static void on_end(int status, size_t bytes, void *user) {
    struct connection *c = user;
    if (status == 0) {
        fprintf(stderr, "echo_load: connection %llu: %zu bytes more than were sent\n", (unsigned long long)c->index,
                bytes);
        atomic_fetch_add(&c->load->mismatches, 1);
        connection_end(c);
    } else if (status != WEIR_EOF) {
        connection_lost(c, "end", status);
    } else {
        connection_reopen(c);
    }
}

static void connection_renew(struct connection *c) {
    int error = 0;
    if (c->lives % 2 == 0) { /* a close will be a reset */
        weir_stream_set(c->stream, WEIR_OPT_LINGER, 0);
        connection_reopen(c);
        return;
    }
    error = weir_stream_shutdown(c->stream, WEIR_SHUTDOWN_WRITE);
    if (error == 0) error = weir_stream_read_some(c->stream, c->in, 1, on_end, c);
    if (error != 0) connection_lost(c, "end", error);
}

/* The read or the write is done. */
static void on_half(int status, size_t bytes, void *user) {
    struct connection *c = user;
    (void)bytes; /* both operations move everything or fail */
    if (status != 0) {
        int none = 0;
        atomic_compare_exchange_strong(&c->failure, &none, status);
        weir_stream_close(c->stream); /* the other half may never end by itself; if not yet begun, it fails at once */
    }
    if (atomic_fetch_sub(&c->unfinished, 1) == 1) message_done(c);
}

static void on_connected(int status, void *user) {
    struct connection *c = user;
    if (status != 0) {
        connection_lost(c, "connect", status);
        return;
    }
    weir_stream_set(c->stream, WEIR_OPT_NO_DELAY, 1); /* speed only */
    send_message(c);
}

/* ---- the two timers */

static void on_progress(int status, void *user) {
    struct load *load = user;
    if (status != 0) return;
    uint64_t total = 0;
    for (unsigned i = 0; i < load->threads; i++)
        total += atomic_load_explicit(&load->workers[i].round_trips, memory_order_relaxed);
    printf("%4d s  %9llu round trips/s  %llu errors\n", ++load->elapsed, (unsigned long long)(total - load->reported),
           (unsigned long long)atomic_load(&load->errors));
    fflush(stdout);
    load->reported = total;
}

static void on_deadline(int status, void *user) {
    struct load *load = user;
    if (status != 0) return;
    if (!load->in_grace) { /* time is up: each connection ends with the reply that it waits for */
        load->in_grace = true;
        atomic_store(&load->stopping, true);
        if (weir_timer_expires_after(load->deadline, GRACE) == 0 &&
            weir_timer_wait(load->deadline, on_deadline, load) == 0)
            return;
        /* The timer may have been closed meanwhile by the last connection; then the loop below finds nothing. */
    }
    /* Replies that have not come by now do not come: their operations end with WEIR_ECANCELED, counted as lost. */
    for (size_t i = 0; i < load->count; i++) weir_stream_close(load->connections[i].stream);
}

/* ---- set-up, run and report */

static int start(struct load *load) {
    size_t total = load->size * load->pipeline;

    /* Held until every connection has been started, so that an early failure does not end the timers under us. */
    atomic_store(&load->alive, load->count + 1);
    for (size_t i = 0; i < load->count; i++) {
        struct connection *c = &load->connections[i];
        c->load = load;
        c->index = i;
        c->out = malloc(2 * total);
        if (c->out == NULL) return WEIR_ENOMEM;
        c->in = c->out + total;
        int error = connection_open(c);
        if (error != 0) return error;
    }
    int error = weir_timer_create(load->context, &load->deadline);
    if (error == 0) error = weir_timer_expires_after(load->deadline, (int64_t)(load->seconds * (double)SECOND));
    if (error == 0) error = weir_timer_wait(load->deadline, on_deadline, load);
    if (error == 0) error = weir_timer_create(load->context, &load->progress);
    if (error == 0 && isatty(STDOUT_FILENO))
        error = weir_timer_start(load->progress, SECOND, SECOND, on_progress, load);
    atomic_fetch_sub(&load->alive, 1); /* no callback has run yet: this is not the last one */
    return error;
}

static void *run_thread(void *user) {
    this_worker = user;
    int error = weir_context_run(this_worker->load->context, NULL);
    if (error != 0) {
        fprintf(stderr, "echo_load: run: %s\n", weir_strerror(error));
        atomic_fetch_add(&this_worker->load->errors, 1);
    }
    return NULL;
}

static int run(struct load *load) {
    unsigned started = 1;
    int error = 0;
    load->started_at = now(load);
    for (; started < load->threads && error == 0; started++) {
        error = pthread_create(&load->workers[started].thread, NULL, run_thread, &load->workers[started]);
        if (error != 0) break;
    }
    if (error == 0) run_thread(&load->workers[0]);
    else weir_context_stop(load->context);
    for (unsigned i = 1; i < started; i++) pthread_join(load->workers[i].thread, NULL);
    return -error;
}

/* Prints the result; true when the load was served without a fault. */
static bool report(struct load *load) {
    static uint64_t buckets[BUCKETS];
    uint64_t round_trips = 0, bytes = 0;
    for (unsigned i = 0; i < load->threads; i++) {
        round_trips += atomic_load(&load->workers[i].round_trips);
        bytes += atomic_load(&load->workers[i].bytes);
        for (unsigned b = 0; b < BUCKETS; b++) buckets[b] += load->workers[i].buckets[b];
    }
    double elapsed = (double)(load->ended_at - load->started_at) / (double)SECOND;
    uint64_t errors = atomic_load(&load->errors), lost = atomic_load(&load->lost);
    uint64_t mismatches = atomic_load(&load->mismatches);

    printf("connections  %zu, %zu bytes a message, %u threads, %.2f s\n", load->count, load->size, load->threads,
           elapsed);
    printf("round trips  %llu, %.0f a second\n", (unsigned long long)round_trips,
           elapsed > 0 ? (double)round_trips / elapsed : 0);
    printf("latency      p50 %.1f us, p99 %.1f us, p99.9 %.1f us\n", percentile_us(buckets, round_trips, 0.5),
           percentile_us(buckets, round_trips, 0.99), percentile_us(buckets, round_trips, 0.999));
    printf("bytes        %llu each way, all compared\n", (unsigned long long)bytes);
    if (load->churn > 0)
        printf("churn        %llu connections opened\n", (unsigned long long)atomic_load(&load->opened));
    printf("faults       %llu errors, %llu connections lost, %llu mismatches\n", (unsigned long long)errors,
           (unsigned long long)lost, (unsigned long long)mismatches);
    return round_trips > 0 && errors == 0 && lost == 0 && mismatches == 0;
}

static void raise_file_limit(void) {
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
        limit.rlim_cur = limit.rlim_max;
        setrlimit(RLIMIT_NOFILE, &limit);
    }
}

static int usage(const char *program) {
    fprintf(stderr,
            "usage: %s --port PORT [--host ADDRESS] [--connections N] [--size BYTES] [--seconds S] [--threads N]\n"
            "       [--pipeline N] [--churn N] [--spread N]\n"
            "  --host ADDRESS     numeric IPv4 or IPv6 address (127.0.0.1)\n"
            "  --connections N    (100)\n"
            "  --size BYTES       of a message (64)\n"
            "  --seconds S        (5)\n"
            "  --threads N        threads that run the context (1)\n"
            "  --pipeline N       messages that a connection sends together (1)\n"
            "  --churn N          messages after which, on average, a connection makes room for a new one (0: never)\n"
            "  --spread N         connect to so many IPv4 addresses, from ADDRESS on (1)\n",
            program);
    return 2;
}

static bool number(const char *text, unsigned long least, unsigned long most, unsigned long *out) {
    char *end = NULL;
    errno = 0;
    unsigned long value = strtoul(text, &end, 10);
    if (errno != 0 || end == text || *end != '\0' || *text == '-' || value < least || value > most) return false;
    *out = value;
    return true;
}

static bool decimal(const char *text, double most, double *out) {
    char *end = NULL;
    double value = strtod(text, &end);
    if (end == text || *end != '\0' || !(value > 0 && value <= most)) return false;
    *out = value;
    return true;
}

int main(int argc, char **argv) {
    static const struct option options[] = {
        {"host", required_argument, NULL, 'h'},    {"port", required_argument, NULL, 'p'},
        {"connections", required_argument, NULL, 'c'}, {"size", required_argument, NULL, 'b'},
        {"seconds", required_argument, NULL, 's'}, {"threads", required_argument, NULL, 't'},
        {"pipeline", required_argument, NULL, 'l'}, {"churn", required_argument, NULL, 'u'},
        {"spread", required_argument, NULL, 'a'}, {NULL, 0, NULL, 0},
    };
    const char *host = "127.0.0.1";
    unsigned long port = 0, connections = 100, size = 64, threads = 1, pipeline = 1;
    unsigned long churn = 0, spread = 1;
    double seconds = 5;
    bool good = true;

    for (int name; (name = getopt_long(argc, argv, "", options, NULL)) != -1 && good;) {
        if (name == 'h') host = optarg;
        else if (name == 'p') good = number(optarg, 1, 65535, &port);
        else if (name == 'c') good = number(optarg, 1, 1000 * 1000, &connections);
        else if (name == 'b') good = number(optarg, 1, 16 << 20, &size);
        else if (name == 's') good = decimal(optarg, 86400, &seconds);
        else if (name == 't') good = number(optarg, 1, MAX_THREADS, &threads);
        else if (name == 'l') good = number(optarg, 1, 1024, &pipeline);
        else if (name == 'u') good = number(optarg, 0, 1000 * 1000, &churn);
        else if (name == 'a') good = number(optarg, 1, 200, &spread);
        else good = false;
    }
    if (!good || optind != argc || port == 0) return usage(argv[0]);

    struct load load = {.count = connections, .size = size, .pipeline = pipeline, .threads = (unsigned)threads,
                        .churn = churn, .spread = (unsigned)spread, .seconds = seconds};
    weir_context_options context_options = {.struct_size = sizeof context_options, .thread_hint = (uint32_t)threads};
    char text[WEIR_ADDRESS_TEXT_MAX];

    raise_file_limit();
    load.connections = calloc(connections, sizeof *load.connections);
    load.workers = calloc(threads, sizeof *load.workers);
    int error = load.connections == NULL || load.workers == NULL ? WEIR_ENOMEM : 0;
    for (unsigned i = 0; error == 0 && i < threads; i++) load.workers[i].load = &load;

    int written = snprintf(text, sizeof text, strchr(host, ':') != NULL ? "[%s]:%lu" : "%s:%lu", host, port);
    if (error == 0 && (written < 0 || (size_t)written >= sizeof text)) error = WEIR_EINVAL;
    if (error == 0) error = weir_address_parse(text, &load.address, &load.length);
    if (error == 0 && spread > 1 && load.address.ss_family != AF_INET) error = WEIR_EINVAL;
    if (error == 0) error = weir_context_create(&context_options, &load.context);
    if (error == 0) error = start(&load);
    if (error == 0) error = run(&load);

    bool served = false;
    if (error == 0) served = report(&load);
    else fprintf(stderr, "echo_load: %s\n", weir_strerror(error));

    /* After a failed start this delivers what is pending, to callbacks that count on the memory below and on a
       worker; after a run nothing is pending. */
    if (load.workers != NULL) this_worker = &load.workers[0];
    if (load.context != NULL) weir_context_destroy(load.context);
    if (load.connections != NULL)
        for (size_t i = 0; i < connections; i++) free(load.connections[i].out);
    free(load.connections);
    free(load.workers);
    return served ? 0 : 1;
}
