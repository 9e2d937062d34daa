/* Contract 7: a program in its steady state allocates nothing. The allocator of this program counts; the library's
 * allocations come through it, too. */
#include "check.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

static atomic_size_t allocations;

#if !CHECK_SANITIZED /* the sanitizers bring their own allocator */
extern void *__libc_malloc(size_t size);
extern void *__libc_calloc(size_t count, size_t size);
extern void *__libc_realloc(void *old, size_t size);
extern void *__libc_memalign(size_t alignment, size_t size);

void *malloc(size_t size)
{
    atomic_fetch_add(&allocations, 1);
    return __libc_malloc(size);
}

void *calloc(size_t count, size_t size)
{
    atomic_fetch_add(&allocations, 1);
    return __libc_calloc(count, size);
}

void *realloc(void *old, size_t size)
{
    atomic_fetch_add(&allocations, 1);
    return __libc_realloc(old, size);
}

void *aligned_alloc(size_t alignment, size_t size)
{
    atomic_fetch_add(&allocations, 1);
    return __libc_memalign(alignment, size);
}

void *memalign(size_t alignment, size_t size)
{
    return aligned_alloc(alignment, size);
}

int posix_memalign(void **out, size_t alignment, size_t size)
{
    void *memory = aligned_alloc(alignment, size);
    if (!memory)
        return ENOMEM;
    *out = memory;
    return 0;
}
#endif

static void skip_if_not_counting(void)
{
    if (CHECK_SANITIZED)
        CHECK_SKIP("a sanitizer owns the allocator");
}

enum { STEADY = 100000, WARM_UP = 20000 };

/* What a thread sets up when it sleeps for the first time is not steady state. So each thread of a case sleeps a few
 * times inside a context of which another thread is the reactor, before anything is counted. */
static weir_context *bedroom;
static pthread_t night_watch;

static void *run_bedroom(void *user)
{
    CHECK_OK(weir_context_run(user, NULL));
    return NULL;
}

static void get_used_to_sleeping(void)
{
    for (int i = 0; i < 10; i++)
        CHECK_OK(weir_context_run_for(bedroom, CHECK_MS, NULL));
}

static pthread_barrier_t all_awake;

static void *run_it(void *user)
{
    get_used_to_sleeping();
    pthread_barrier_wait(&all_awake);
    CHECK_OK(weir_context_run(user, NULL));
    return NULL;
}

/* Runs the context on that many threads, and `start` on this one. */
static void run_on(weir_context *context, int threads, void (*start)(weir_context *context))
{
    pthread_t run[2];
    bedroom = new_context();
    CHECK_OK(weir_context_work_begin(bedroom));
    night_watch = start_thread(run_bedroom, bedroom);
    sleep_ms(5);
    get_used_to_sleeping();
    CHECK_OK(weir_context_work_begin(context));
    CHECK_EQ(pthread_barrier_init(&all_awake, NULL, (unsigned)threads + 1), 0);
    for (int i = 0; i < threads; i++)
        run[i] = start_thread(run_it, context);
    pthread_barrier_wait(&all_awake);
    start(context);
    CHECK_OK(weir_context_work_end(context));
    for (int i = 0; i < threads; i++)
        join_thread(run[i]);
    CHECK_OK(weir_context_work_end(bedroom));
    join_thread(night_watch);
    CHECK_OK(weir_context_destroy(bedroom));
}

/* Counts rounds over all threads and takes the number of allocations at the end of the warm-up and of the rest. */
static atomic_int rounds, arrived;
static int parties;
static atomic_size_t at_begin, at_end;

/* False when the rounds are over. */
static bool next_round(void)
{
    int round = atomic_fetch_add(&rounds, 1);
    if (round == WARM_UP)
        atomic_store(&at_begin, atomic_load(&allocations));
    if (round == WARM_UP + STEADY)
        atomic_store(&at_end, atomic_load(&allocations));
    return round < WARM_UP + STEADY;
}

static void expect_none(void)
{
    CHECK(atomic_load(&rounds) > WARM_UP + STEADY);
    CHECK_EQ(atomic_load(&at_end) - atomic_load(&at_begin), 0);
}

/* Without this a count of 0 would mean nothing. */
TEST(the_counter_sees_the_allocations_of_the_library)
{
    skip_if_not_counting();
    size_t before = atomic_load(&allocations);
    weir_context *context = new_context();
    for (int i = 0; i < 10000; i++)
        CHECK_OK(weir_context_post(context, count_call, &(struct counter){0}));
    CHECK(atomic_load(&allocations) > before);
    CHECK_OK(weir_context_stop(context));
    _Exit(0); /* what was posted points to counters that are gone */
}

/* ---- echo */

enum { CONNECTIONS = 4, MESSAGE = 64 };
static struct connection {
    weir_stream *client, *server;
    char sent[MESSAGE], received[MESSAGE], served[MESSAGE];
    weir_until until;
} connections[CONNECTIONS];
/* With time limits, queued writes and delimiters. */
static bool composed;

static int write_all(weir_stream *stream, const char *data, size_t length, weir_io_callback callback, void *user)
{
    return (composed ? weir_stream_send : weir_stream_write)(stream, data, length, callback, user);
}

static void send_next(struct connection *connection);

static void on_served(int status, size_t bytes, void *user);

static void on_request(int status, size_t bytes, void *user)
{
    struct connection *connection = user;
    if (status < 0)
        return;
    CHECK_OK(write_all(connection->server, connection->served, bytes, on_served, connection));
}

static void on_served(int status, size_t bytes, void *user)
{
    struct connection *connection = user;
    CHECK(status == 0 || status == WEIR_ECANCELED);
    (void)bytes;
    if (status == 0)
        CHECK_OK(weir_stream_read_some(connection->server, connection->served, MESSAGE, on_request, connection));
}

static void on_reply(int status, size_t bytes, void *user)
{
    struct connection *connection = user;
    CHECK_EQ(status, 0);
    CHECK_EQ(bytes, MESSAGE);
    CHECK(memcmp(connection->sent, connection->received, MESSAGE) == 0);
    send_next(connection);
}

static void on_sent(int status, size_t bytes, void *user)
{
    struct connection *connection = user;
    CHECK_EQ(status, 0);
    CHECK_EQ(bytes, MESSAGE);
    if (composed) {
        connection->until = (weir_until){sizeof connection->until, connection->received, MESSAGE, 0, "\n", 1};
        CHECK_OK(weir_stream_read_until(connection->client, &connection->until, on_reply, connection));
        return;
    }
    CHECK_OK(weir_stream_read(connection->client, connection->received, MESSAGE, on_reply, connection));
}

static void send_next(struct connection *connection)
{
    if (next_round()) {
        connection->sent[0] = (char)(connection->sent[0] == 'z' ? 'a' : connection->sent[0] + 1);
        CHECK_OK(write_all(connection->client, connection->sent, MESSAGE, on_sent, connection));
        return;
    }
    if (atomic_fetch_add(&arrived, 1) + 1 == parties)
        for (int i = 0; i < parties; i++)
            CHECK_OK(weir_stream_cancel(connections[i].server, NULL));
}

static void connect_pair(int pair[2])
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
    socklen_t length = sizeof address;
    int one = 1, listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    CHECK(listener >= 0);
    CHECK_EQ(bind(listener, (struct sockaddr *)&address, length), 0);
    CHECK_EQ(listen(listener, 1), 0);
    CHECK_EQ(getsockname(listener, (struct sockaddr *)&address, &length), 0);
    pair[0] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    CHECK_EQ(connect(pair[0], (struct sockaddr *)&address, length), 0);
    pair[1] = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
    CHECK(pair[1] >= 0);
    close(listener);
    for (int i = 0; i < 2; i++)
        CHECK_EQ(setsockopt(pair[i], IPPROTO_TCP, TCP_NODELAY, &one, sizeof one), 0);
}

static void start_echo(weir_context *context)
{
    for (int i = 0; i < parties; i++) {
        struct connection *connection = &connections[i];
        int pair[2];
        connect_pair(pair);
        connection->client = new_stream(context);
        connection->server = new_stream(context);
        CHECK_OK(weir_stream_adopt(connection->client, pair[0]));
        CHECK_OK(weir_stream_adopt(connection->server, pair[1]));
        memset(connection->sent, 'a' + i, MESSAGE);
        connection->sent[MESSAGE - 1] = '\n';
        if (composed) {
            CHECK_OK(weir_stream_set_timeout(connection->client, WEIR_WAIT_READ | WEIR_WAIT_WRITE, CHECK_SECOND * 50));
            CHECK_OK(weir_stream_set_timeout(connection->server, WEIR_WAIT_READ | WEIR_WAIT_WRITE, CHECK_SECOND * 50));
        }
        CHECK_OK(weir_stream_read_some(connection->server, connection->served, MESSAGE, on_request, connection));
        send_next(connection);
    }
}

static void echo(int connections_used, int threads, uint32_t flags)
{
    skip_if_not_counting();
    weir_context *context = new_context_with(flags, (uint32_t)threads);
    parties = connections_used;
    run_on(context, threads, start_echo);
    expect_none();
    CHECK_OK(weir_context_destroy(context));
}

TEST(echo_on_one_connection_and_one_thread_allocates_nothing)
{
    echo(1, 1, 0);
}

TEST(echo_on_four_connections_and_one_thread_allocates_nothing)
{
    echo(CONNECTIONS, 1, 0);
}

TEST(echo_on_four_connections_and_two_threads_allocates_nothing)
{
    echo(CONNECTIONS, 2, 0);
}

TEST(echo_without_inline_completions_allocates_nothing)
{
    echo(CONNECTIONS, 1, WEIR_CONTEXT_NO_INLINE);
}

TEST(time_limits_queued_writes_and_delimiters_allocate_nothing)
{
    composed = true;
    echo(CONNECTIONS, 1, 0);
}

/* ---- batches of datagrams, from one end of a pair to the other */

enum { BATCH = 4 };

static struct {
    weir_datagram *ends[2];
    weir_datagram_message out[BATCH], in[BATCH];
    struct sockaddr_storage from[BATCH];
    char sent[BATCH][MESSAGE], got[BATCH][MESSAGE];
    size_t missing;
    bool is_sent;
} batches;

static void exchange_batch(void);

static void end_of_step(void)
{
    if (batches.missing == 0 && batches.is_sent)
        exchange_batch();
}

static void on_batch(int status, size_t messages, void *user)
{
    CHECK_EQ(status, 0);
    CHECK(messages > 0 && messages <= batches.missing);
    batches.missing -= messages;
    if (batches.missing > 0)
        CHECK_OK(weir_datagram_receive_batch(batches.ends[1], batches.in, batches.missing, on_batch, user));
    end_of_step();
}

static void on_batch_sent(int status, size_t messages, void *user)
{
    (void)user;
    CHECK_EQ(status, 0);
    CHECK_EQ(messages, BATCH);
    batches.is_sent = true;
    end_of_step();
}

static void exchange_batch(void)
{
    if (!next_round()) {
        CHECK_OK(weir_datagram_close(batches.ends[0]));
        CHECK_OK(weir_datagram_close(batches.ends[1]));
        return;
    }
    batches.missing = BATCH;
    batches.is_sent = false;
    CHECK_OK(weir_datagram_receive_batch(batches.ends[1], batches.in, BATCH, on_batch, NULL));
    CHECK_OK(weir_datagram_send_batch(batches.ends[0], batches.out, BATCH, on_batch_sent, NULL));
}

static void begin_exchange(int status, void *user)
{
    (void)status;
    (void)user;
    exchange_batch();
}

static void start_batches(weir_context *context)
{
    CHECK_OK(weir_datagram_pair(context, &batches.ends[0], &batches.ends[1]));
    for (int i = 0; i < BATCH; i++) {
        batches.out[i] = (weir_datagram_message){.data = batches.sent[i], .length = MESSAGE};
        batches.in[i] =
            (weir_datagram_message){.data = batches.got[i], .length = MESSAGE, .address = &batches.from[i]};
    }
    CHECK_OK(weir_context_post(context, begin_exchange, NULL));
}

TEST(batches_of_datagrams_allocate_nothing)
{
    skip_if_not_counting();
    weir_context *context = new_context_with(0, 1);
    run_on(context, 1, start_batches);
    expect_none();
    CHECK_OK(weir_context_destroy(context));
}

/* ---- posts */

static weir_context *posting;

static void post_next(int status, void *user)
{
    CHECK_EQ(status, 0);
    if (next_round())
        CHECK_OK(weir_context_post(posting, post_next, user));
}

static void defer_next(int status, void *user)
{
    CHECK_EQ(status, 0);
    if (next_round())
        CHECK_OK(weir_context_defer(posting, defer_next, user));
}

static int chains;
static bool defers;

static void start_posts(weir_context *context)
{
    for (int i = 0; i < chains; i++)
        CHECK_OK(weir_context_post(context, defers ? defer_next : post_next, NULL));
}

static void post_inside(int chains_used, int threads, bool by_defer)
{
    skip_if_not_counting();
    posting = new_context_with(0, (uint32_t)threads);
    chains = chains_used;
    defers = by_defer;
    run_on(posting, threads, start_posts);
    expect_none();
    CHECK_OK(weir_context_destroy(posting));
}

TEST(posts_from_inside_on_one_thread_allocate_nothing)
{
    post_inside(1, 1, false);
}

TEST(posts_from_inside_in_many_chains_allocate_nothing)
{
    post_inside(100, 1, false);
}

TEST(posts_from_inside_on_two_threads_allocate_nothing)
{
    post_inside(100, 2, false);
}

TEST(deferred_callbacks_allocate_nothing)
{
    post_inside(1, 1, true);
}

/* One thread posts, others run: what the one takes from the pool the others put back. */
enum { WINDOW = 256 };
static atomic_int outstanding;

static void take_post(int status, void *user)
{
    (void)user;
    CHECK_EQ(status, 0);
    atomic_fetch_sub(&outstanding, 1);
}

static void drop_post(int status, void *user)
{
    (void)user;
    CHECK_EQ(status, WEIR_ECANCELED);
}

static void *post_from_outside(void *user)
{
    get_used_to_sleeping();
    while (next_round()) {
        while (atomic_load(&outstanding) >= WINDOW)
            sched_yield();
        atomic_fetch_add(&outstanding, 1);
        CHECK_OK(weir_context_post(user, take_post, NULL));
    }
    return NULL;
}

static void start_poster(weir_context *context)
{
    /* More at once than the window lets through later, on a context that nobody runs: how far the window is used is
     * up to the scheduling of threads. */
    weir_context *idle = new_context();
    for (int i = 0; i < 16 * WINDOW; i++)
        CHECK_OK(weir_context_post(idle, drop_post, NULL));
    CHECK_OK(weir_context_destroy(idle));
    join_thread(start_thread(post_from_outside, context));
}

static void post_outside(int threads)
{
    skip_if_not_counting();
    weir_context *context = new_context_with(0, (uint32_t)threads);
    run_on(context, threads, start_poster);
    expect_none();
    CHECK_OK(weir_context_destroy(context));
}

TEST(posts_from_another_thread_to_one_thread_allocate_nothing)
{
    post_outside(1);
}

TEST(posts_from_another_thread_to_two_threads_allocate_nothing)
{
    post_outside(2);
}

/* ---- timers */

enum { TIMERS = 32 };
static weir_timer *timers[TIMERS];

static void rearm(int status, void *user)
{
    CHECK_EQ(status, 0);
    weir_timer *timer = user;
    if (next_round()) {
        CHECK_OK(weir_timer_expires_after(timer, 1000));
        CHECK_OK(weir_timer_expires_after(timer, (int64_t)(intptr_t)timer % 977));
        CHECK_OK(weir_timer_wait(timer, rearm, timer));
    }
}

/* The time-out of a connection: moved again and again, cancelled, begun anew; it never fires. */
static weir_timer *far_timer;

static void ignore(int status, void *user)
{
    (void)status;
    (void)user;
}

static void churn(int status, void *user)
{
    CHECK_EQ(status, 0);
    (void)user;
    if (next_round()) {
        CHECK_OK(weir_timer_expires_after(far_timer, 10 * CHECK_SECOND));
        CHECK_OK(weir_timer_wait(far_timer, ignore, NULL));
        CHECK_OK(weir_timer_expires_after(far_timer, 20 * CHECK_SECOND));
        CHECK_OK(weir_timer_cancel(far_timer, NULL));
        CHECK_OK(weir_context_post(posting, churn, NULL));
    }
}

static void start_timers(weir_context *context)
{
    for (int i = 0; i < TIMERS; i++) {
        timers[i] = new_timer(context);
        CHECK_OK(weir_timer_wait(timers[i], rearm, timers[i]));
    }
}

static void rearm_timers(int threads)
{
    skip_if_not_counting();
    weir_context *context = new_context_with(0, (uint32_t)threads);
    run_on(context, threads, start_timers);
    expect_none();
    CHECK_OK(weir_context_destroy(context));
}

TEST(timer_re_arms_on_one_thread_allocate_nothing)
{
    rearm_timers(1);
}

TEST(timer_re_arms_on_two_threads_allocate_nothing)
{
    rearm_timers(2);
}

static void start_churn(weir_context *context)
{
    far_timer = new_timer(context);
    CHECK_OK(weir_context_post(context, churn, NULL));
}

TEST(timer_cancels_allocate_nothing)
{
    skip_if_not_counting();
    posting = new_context();
    run_on(posting, 1, start_churn);
    expect_none();
    CHECK_OK(weir_context_destroy(posting));
}

static void tick(int status, void *user)
{
    if (status == 0 && !next_round())
        CHECK_OK(weir_timer_stop(user, NULL));
}

static void start_ticks(weir_context *context)
{
    weir_timer *timer = new_timer(context);
    CHECK_OK(weir_timer_start(timer, 0, 1000, tick, timer));
}

TEST(periodic_ticks_allocate_nothing)
{
    skip_if_not_counting();
    weir_context *context = new_context();
    run_on(context, 1, start_ticks);
    expect_none();
    CHECK_OK(weir_context_destroy(context));
}

static weir_signals *raised;

static void raise_again(int status, int value, void *user)
{
    CHECK_CODE(status, 0);
    if (!next_round())
        return;
    CHECK_OK(weir_signals_wait(raised, raise_again, user));
    raise(value);
}

static void start_signals(weir_context *context)
{
    CHECK_OK(weir_signals_create(context, &raised));
    CHECK_OK(weir_signals_add(raised, SIGUSR1, 0));
    CHECK_OK(weir_signals_wait(raised, raise_again, NULL));
    raise(SIGUSR1);
}

TEST(signals_allocate_nothing)
{
    skip_if_not_counting();
    weir_context *context = new_context();
    run_on(context, 1, start_signals);
    expect_none();
    CHECK_OK(weir_context_destroy(context));
}

/* ---- strands, records, pools, watches, hooks: rounds on one thread, the first of which may allocate */

struct rounds {
    weir_context *context;
    weir_strand *strand;
    weir_stream *stream;
    weir_timer *timer;
    weir_watch *watch;
    weir_hook *hook;
    int fd, pipe[2];
    atomic_int calls;
};

static void one_more(int status, void *user)
{
    (void)status;
    ++*(atomic_int *)user;
}

static void one_value(int status, int value, void *user)
{
    (void)value;
    one_more(status, user);
}

static void strand_round(struct rounds *rounds)
{
    for (int i = 0; i < 20; i++)
        CHECK_OK(weir_strand_post(rounds->strand, one_more, &rounds->calls));
    CHECK_OK(weir_timer_expires_after(rounds->timer, 0));
    CHECK_OK(weir_timer_wait(rounds->timer, one_more, &rounds->calls));
    CHECK_OK(weir_context_poll(rounds->context, NULL));
}

static void record_round(struct rounds *rounds)
{
    weir_record records[8];
    weir_submission batch[3] = {{.kind = WEIR_SUBMIT_POST},
                                {.kind = WEIR_SUBMIT_WRITE, .handle = rounds->stream, .data = batch, .length = 1},
                                {.kind = WEIR_SUBMIT_TIMER_WAIT, .handle = rounds->timer}};
    size_t count = 0, got = 0;
    char byte;
    CHECK_OK(weir_context_enter(rounds->context, batch, 3, records, 2, WEIR_FOREVER, &count));
    for (got = count; got < 3; got += count) /* more than there is room for at once */
        CHECK_OK(weir_context_reap(rounds->context, records, 2, WEIR_FOREVER, &count));
    CHECK_EQ(read(rounds->fd, &byte, 1), 1);
    CHECK_EQ(write(rounds->fd, &byte, 1), 1);
    CHECK_OK(weir_context_reap(rounds->context, records, 8, WEIR_FOREVER, &count)); /* of read_each */
    CHECK_EQ(count, 1);
    CHECK_EQ(records[0].kind, WEIR_OP_READ);
    CHECK_OK(weir_context_pool_release(rounds->context, records[0].extra));
}

static void watch_round(struct rounds *rounds)
{
    char byte = 0;
    CHECK_EQ(write(rounds->pipe[1], &byte, 1), 1);
    CHECK_OK(weir_context_poll(rounds->context, NULL));
    CHECK_EQ(read(rounds->pipe[0], &byte, 1), 1);
    CHECK_OK(weir_watch_feed(rounds->watch, WEIR_WATCH_READ));
    CHECK_OK(weir_context_poll(rounds->context, NULL));
    CHECK_OK(weir_watch_stop(rounds->watch, NULL));
    CHECK_OK(weir_context_poll(rounds->context, NULL));
    CHECK_OK(weir_watch_start(rounds->watch, WEIR_WATCH_READ, WEIR_WATCH_PERSISTENT, WEIR_FOREVER, one_value,
                              &rounds->calls));
}

static void many_rounds(void (*round)(struct rounds *rounds))
{
    struct rounds rounds = {0};
    int ends[2];
    rounds.context = new_context();
    CHECK_OK(weir_context_work_begin(rounds.context));
    CHECK_OK(weir_strand_create(rounds.context, &rounds.strand));
    rounds.timer = new_timer(rounds.context);
    CHECK_OK(weir_handle_set_strand(rounds.timer, rounds.strand));
    CHECK_EQ(socketpair(AF_UNIX, SOCK_STREAM, 0, ends), 0);
    CHECK_OK(weir_stream_create(rounds.context, &rounds.stream));
    CHECK_OK(weir_stream_adopt(rounds.stream, ends[0]));
    rounds.fd = ends[1];
    CHECK_OK(weir_stream_read_each(rounds.stream, NULL, NULL));
    CHECK_EQ(pipe(rounds.pipe), 0);
    CHECK_OK(weir_watch_create(rounds.context, rounds.pipe[0], &rounds.watch));
    CHECK_OK(weir_watch_start(rounds.watch, WEIR_WATCH_READ, WEIR_WATCH_PERSISTENT, WEIR_FOREVER, one_value,
                              &rounds.calls));
    CHECK_OK(weir_hook_create(rounds.context, WEIR_HOOK_CHECK, &rounds.hook));
    CHECK_OK(weir_hook_start(rounds.hook, one_more, &rounds.calls));
    for (int i = 0; i < 1000; i++)
        round(&rounds);
    size_t before = allocations;
    for (int i = 0; i < 5000; i++)
        round(&rounds);
    CHECK_EQ(allocations, before);
    CHECK(rounds.calls >= 6000);
    CHECK_OK(weir_context_destroy(rounds.context));
    close(ends[1]);
    close(rounds.pipe[0]);
    close(rounds.pipe[1]);
}

TEST(strands_allocate_nothing)
{
    skip_if_not_counting();
    many_rounds(strand_round);
}

TEST(records_and_pooled_reads_allocate_nothing)
{
    skip_if_not_counting();
    many_rounds(record_round);
}

TEST(watches_and_hooks_allocate_nothing)
{
    skip_if_not_counting();
    many_rounds(watch_round);
}

TEST(timers_created_and_closed_allocate_nothing)
{
    skip_if_not_counting();
    weir_context *context = new_context();
    while (next_round())
        CHECK_OK(weir_timer_close(new_timer(context)));
    expect_none();
    CHECK_OK(weir_context_destroy(context));
}

/* What a thread that only runs has freed is there for others when it has ended: 300 such threads, which could keep
 * some 8 KB each, leave nothing behind. */
static void *run_once(void *user)
{
    CHECK_OK(weir_context_run(user, NULL));
    return NULL;
}

static size_t allocations_of_run_threads(weir_context *context, int posts)
{
    size_t before = atomic_load(&allocations);
    for (int i = 0; i < 300; i++) {
        struct counter counter = {0};
        for (int k = 0; k < posts; k++)
            CHECK_OK(weir_context_post(context, count_call, &counter));
        join_thread(start_thread(run_once, context));
        CHECK_EQ(counter.calls, posts);
        CHECK_OK(weir_context_restart(context));
    }
    return atomic_load(&allocations) - before;
}

TEST(threads_that_only_run_keep_nothing)
{
    skip_if_not_counting();
    weir_context *context = new_context();
    /* The C library allocates something for each thread. */
    allocations_of_run_threads(context, 200);
    size_t of_threads = allocations_of_run_threads(context, 1);
    CHECK(allocations_of_run_threads(context, 200) <= of_threads + 5);
    CHECK_OK(weir_context_destroy(context));
}

TEST_MAIN()
