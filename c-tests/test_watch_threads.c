/* Watches under several threads. */
#include "watch.h"

#define PERSISTENT WEIR_WATCH_PERSISTENT
#define READ WEIR_WATCH_READ

static weir_context *context;

static void *run(void *unused)
{
    CHECK_OK(weir_context_run(context, NULL));
    return unused;
}

struct load {
    struct seen seen;
    int ends[2];
    atomic_int taken;
    weir_watch *watch;
};

/* Takes one byte in each call, though more may be there. */
static void take_one(int status, int events, void *user)
{
    struct load *load = user;
    char byte;
    saw(status, events, &load->seen);
    if (status == 0) {
        /* Slow enough that other threads find time to err. */
        sched_yield();
        if (read(load->ends[0], &byte, 1) == 1)
            atomic_fetch_add(&load->taken, 1);
    }
}

static struct load loads[8];

static void *feed_bytes(void *unused)
{
    for (size_t i = 0; i < many(2000); i++)
        put(loads[i % 8].ends[1], 1 + (int)(i % 3));
    return unused;
}

TEST(four_threads_tell_everything_and_never_at_once)
{
    context = new_context_with(0, 4);
    size_t sent[8] = {0};
    for (size_t i = 0; i < many(2000); i++)
        sent[i % 8] += 1 + i % 3;
    for (int i = 0; i < 8; i++) {
        new_pipe(loads[i].ends);
        fcntl(loads[i].ends[1], F_SETFL, 0);
        loads[i].watch = new_watch(context, loads[i].ends[0]);
        CHECK_OK(weir_watch_start(loads[i].watch, READ, PERSISTENT, i % 2 ? WEIR_FOREVER : 60 * CHECK_SECOND,
                                  take_one, &loads[i]));
    }
    pthread_t runners[4], feeder = start_thread(feed_bytes, NULL);
    for (int i = 0; i < 4; i++)
        runners[i] = start_thread(run, NULL);
    for (int i = 0; i < 8; i++)
        WAIT_FOR((size_t)loads[i].taken == sent[i]);
    join_thread(feeder);
    for (int i = 0; i < 8; i++)
        CHECK_OK(i % 2 ? weir_watch_stop(loads[i].watch, NULL) : weir_watch_close(loads[i].watch));
    for (int i = 0; i < 4; i++)
        join_thread(runners[i]);
    for (int i = 0; i < 8; i++)
        CHECK_EQ(loads[i].seen.ends, 1);
    CHECK_OK(weir_context_destroy(context));
}

static atomic_int begun, ended;

static void count_end(int status, int events, void *user)
{
    (void)events;
    (void)user;
    if (status < 0)
        ended++;
}

static int shared[2];

/* Starts, changes, moves, feeds and closes watches of one fd while others run them. */
static void *meddle(void *unused)
{
    for (size_t i = 0; i < many(1000); i++) {
        weir_watch *watch = new_watch(context, shared[0]);
        CHECK_OK(weir_watch_start(watch, READ, PERSISTENT, i % 3 ? WEIR_FOREVER : CHECK_MS, count_end, NULL));
        begun++;
        CHECK_OK(weir_watch_change(watch, READ | WEIR_WATCH_PRIORITY));
        CHECK_OK(weir_watch_feed(watch, READ));
        if (i % 4 == 0)
            CHECK_OK(weir_watch_set_fd(watch, shared[1]));
        CHECK_OK(weir_watch_set_timeout(watch, i % 5 ? WEIR_FOREVER : 1));
        CHECK_OK(weir_watch_change(watch, READ));
        CHECK_OK(weir_watch_close(watch));
    }
    return unused;
}

TEST(watches_come_and_go_while_they_fire)
{
    context = new_context_with(0, 4);
    CHECK_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, shared), 0);
    put(shared[1], 1);
    CHECK_OK(weir_context_work_begin(context));
    pthread_t runners[2], meddlers[2];
    for (int i = 0; i < 2; i++)
        runners[i] = start_thread(run, NULL);
    for (int i = 0; i < 2; i++)
        meddlers[i] = start_thread(meddle, NULL);
    for (int i = 0; i < 2; i++)
        join_thread(meddlers[i]);
    WAIT_FOR(ended == begun);
    CHECK_OK(weir_context_work_end(context));
    for (int i = 0; i < 2; i++)
        join_thread(runners[i]);
    CHECK_OK(weir_context_destroy(context));
    CHECK_EQ(ended, begun);
}

static atomic_int entered, released;

static void slow(int status, int events, void *user)
{
    (void)events;
    (void)user;
    if (status == 0) {
        entered++;
        WAIT_FOR(released);
    }
}

/* The level holds while its callback is on another thread: the reactor sleeps meanwhile. */
TEST(a_slow_callback_does_not_keep_the_reactor_awake)
{
    context = new_context_with(0, 2);
    int ends[2];
    new_pipe(ends);
    put(ends[1], 1);
    weir_watch *watch = new_watch(context, ends[0]);
    CHECK_OK(weir_watch_start(watch, READ, PERSISTENT, WEIR_FOREVER, slow, NULL));
    pthread_t runners[2];
    for (int i = 0; i < 2; i++)
        runners[i] = start_thread(run, NULL);
    WAIT_FOR(entered == 1);
    struct timespec before, after;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &before);
    sleep_ms(200);
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &after);
    int64_t spent = (after.tv_sec - before.tv_sec) * CHECK_SECOND + after.tv_nsec - before.tv_nsec;
    CHECK_EQ(entered, 1);
    CHECK(spent < 100 * CHECK_MS);
    released = 1;
    WAIT_FOR(entered > 3); /* it still holds */
    CHECK_OK(weir_watch_close(watch));
    for (int i = 0; i < 2; i++)
        join_thread(runners[i]);
    CHECK_OK(weir_context_destroy(context));
}

/* A callback that leaves something on one thread, while another sleeps in the kernel. */
TEST(a_level_that_is_left_wakes_a_sleeping_reactor)
{
    context = new_context_with(0, 2);
    struct load *load = &loads[0];
    new_pipe(load->ends);
    load->watch = new_watch(context, load->ends[0]);
    CHECK_OK(weir_watch_start(load->watch, READ, PERSISTENT, WEIR_FOREVER, take_one, load));
    pthread_t runners[2];
    for (int i = 0; i < 2; i++)
        runners[i] = start_thread(run, NULL);
    int sent = 0;
    for (size_t i = 0; i < many(400); i++) {
        char bytes[5] = "abcd";
        CHECK_EQ(write(load->ends[1], bytes, 5), 5); /* at once: one edge */
        sent += 5;
        WAIT_FOR(load->taken == sent);
    }
    CHECK_OK(weir_watch_close(load->watch));
    for (int i = 0; i < 2; i++)
        join_thread(runners[i]);
    CHECK_OK(weir_context_destroy(context));
}

/* A host that waits on the context's fd alone hears of a level that is left. */
TEST(an_embedded_context_tells_its_host_of_a_level_that_holds)
{
    weir_context *embedded = new_context();
    int ends[2], fd = -1;
    new_pipe(ends);
    struct seen seen = {.fd = ends[0], .consume = 1};
    weir_watch *watch = new_watch(embedded, ends[0]);
    CHECK_OK(weir_watch_start(watch, READ, PERSISTENT, WEIR_FOREVER, saw, &seen));
    put(ends[1], 4);
    CHECK_EQ(one(embedded), 1); /* left before there was a host */
    CHECK_OK(weir_context_fd(embedded, &fd));
    while (seen.calls < 4) {
        struct pollfd host = {.fd = fd, .events = POLLIN};
        CHECK_EQ(poll(&host, 1, 30000), 1);
        one(embedded);
    }
    struct pollfd host = {.fd = fd, .events = POLLIN};
    WAIT_FOR(poll(&host, 1, 0) == 0 || (poll_once(embedded), poll(&host, 1, 0) == 0));
    CHECK_EQ(seen.calls, 4);
    CHECK_OK(weir_context_destroy(embedded));
}

/* A watch of an fd that was closed without a word is stopped on one thread while a stream that has got the number
 * registers on another. */
struct race {
    weir_watch *watch;
    pthread_barrier_t barrier;
    size_t rounds;
};

static void *stop_each(void *user)
{
    struct race *race = user;
    for (size_t i = 0; i < race->rounds; i++) {
        pthread_barrier_wait(&race->barrier);
        for (volatile size_t spin = 0; spin < (i % 60) * 10; spin++) {
        }
        CHECK_OK(weir_watch_stop(race->watch, NULL));
        pthread_barrier_wait(&race->barrier);
    }
    return NULL;
}

TEST(h33_a_stop_does_not_take_a_streams_registration_along)
{
    weir_context *context = new_context();
    struct race race = {.rounds = many(10000)};
    CHECK_OK(weir_context_work_begin(context));
    CHECK_EQ(pthread_barrier_init(&race.barrier, NULL, 2), 0);
    pthread_t stopper = start_thread(stop_each, &race);
    for (size_t i = 0; i < race.rounds; i++) {
        struct seen seen = {0};
        struct counter got = {0}, sent = {0};
        weir_stream *one = NULL, *two = NULL;
        int ends[2], fd = -1;
        char byte = 0;
        new_pipe(ends);
        race.watch = new_watch(context, ends[0]);
        START(weir_watch_start(race.watch, READ, PERSISTENT, WEIR_FOREVER, saw, &seen));
        CHECK_EQ(close(ends[0]), 0);
        CHECK_OK(weir_stream_pair(context, &one, &two));
        CHECK_OK(weir_stream_fd(one, &fd));
        CHECK_EQ(fd, ends[0]);
        pthread_barrier_wait(&race.barrier);
        START(weir_stream_read_some(one, &byte, 1, count_io, &got));
        pthread_barrier_wait(&race.barrier);
        START(weir_stream_write(two, "x", 1, count_io, &sent));
        WAIT_FOR(got.calls == 1 || (poll_once(context), got.calls == 1));
        CHECK_OK(weir_stream_close(one));
        CHECK_OK(weir_stream_close(two));
        CHECK_OK(weir_watch_close(race.watch));
        close(ends[1]);
        poll_once(context);
        CHECK_EQ(seen.ends, 1);
    }
    join_thread(stopper);
    CHECK_OK(weir_context_destroy(context));
}

TEST_MAIN()
