/* Strands: callbacks of one never overlap and keep their order. */
#include "net.h"

struct lane {
    weir_strand *strand;
    atomic_int inside; /* threads in a callback of the strand: never more than 1 */
    int next;          /* plain: the strand orders the accesses, which TSan checks */
    atomic_int calls;
};

static void enter(struct lane *lane)
{
    CHECK_EQ(atomic_fetch_add(&lane->inside, 1), 0);
    int here = weir_strand_running_in_this_thread(lane->strand);
    CHECK(here == 1 || here == WEIR_EBADF); /* the second during destruction */
}

static void leave(struct lane *lane)
{
    CHECK_EQ(atomic_fetch_sub(&lane->inside, 1), 1);
    lane->calls++;
}

struct item {
    struct lane *lane;
    int number;
};

static void in_order(int status, void *user)
{
    struct item *item = (struct item *)user;
    CHECK_OK(status);
    enter(item->lane);
    CHECK_EQ(item->lane->next, item->number);
    item->lane->next++;
    leave(item->lane);
}

enum { THREADS = 8, LANES = 5, ITEMS = 4000 };
static struct item items[LANES][ITEMS];

static void *run(void *context)
{
    CHECK_OK(weir_context_run((weir_context *)context, NULL));
    return NULL;
}

TEST(posted_functions_keep_their_order_under_8_threads)
{
    weir_context *context = new_context();
    struct lane lanes[LANES] = {{0}};
    pthread_t threads[THREADS];
    CHECK_OK(weir_context_work_begin(context));
    for (int i = 0; i < THREADS; i++)
        CHECK_EQ(pthread_create(&threads[i], NULL, run, context), 0);
    for (int lane = 0; lane < LANES; lane++)
        CHECK_OK(weir_strand_create(context, &lanes[lane].strand));
    for (int i = 0; i < ITEMS; i++) {
        for (int lane = 0; lane < LANES; lane++) {
            items[lane][i] = (struct item){&lanes[lane], i};
            CHECK_OK(weir_strand_post(lanes[lane].strand, in_order, &items[lane][i]));
        }
    }
    CHECK_OK(weir_context_work_end(context));
    for (int i = 0; i < THREADS; i++)
        CHECK_EQ(pthread_join(threads[i], NULL), 0);
    for (int lane = 0; lane < LANES; lane++)
        CHECK_EQ(lanes[lane].next, ITEMS);
    CHECK_OK(weir_context_destroy(context));
}

/* ---- handles bound to a strand */

struct pumped {
    struct lane *lane;
    weir_stream *stream;
    weir_timer *timer;
    char in[64], out[64];
    int left;
};

static void read_done(int status, size_t bytes, void *user);

static void write_done(int status, size_t bytes, void *user)
{
    struct pumped *one = (struct pumped *)user;
    (void)bytes;
    enter(one->lane);
    if (status == 0 && --one->left > 0)
        CHECK_OK(weir_stream_write(one->stream, one->out, sizeof one->out, write_done, one));
    leave(one->lane);
}

static void read_done(int status, size_t bytes, void *user)
{
    struct pumped *one = (struct pumped *)user;
    enter(one->lane);
    CHECK(status == 0 || status == WEIR_EOF || status == WEIR_ECANCELED);
    (void)bytes;
    if (status == 0)
        CHECK_OK(weir_stream_read_some(one->stream, one->in, sizeof one->in, read_done, one));
    leave(one->lane);
}

static void tick(int status, void *user)
{
    struct pumped *one = (struct pumped *)user;
    enter(one->lane);
    if (status == 0 && one->left <= 0)
        CHECK_OK(weir_timer_stop(one->timer, NULL));
    leave(one->lane);
}

TEST(callbacks_of_bound_handles_never_overlap)
{
    enum { PAIRS = 6 };
    weir_context *context = new_context();
    struct lane lane = {0};
    static struct pumped pumped[PAIRS * 2];
    CHECK_OK(weir_strand_create(context, &lane.strand));
    for (int i = 0; i < PAIRS; i++) {
        int ends[2];
        plain_pair(AF_UNIX, ends);
        for (int end = 0; end < 2; end++) {
            struct pumped *one = &pumped[i * 2 + end];
            *one = (struct pumped){&lane, adopted(context, ends[end]), new_timer(context), {0}, {0}, 300};
            CHECK_OK(weir_handle_set_strand(one->stream, lane.strand));
            CHECK_OK(weir_handle_set_strand(one->timer, lane.strand));
        }
    }
    for (int i = 0; i < PAIRS * 2; i++) {
        CHECK_OK(weir_stream_read_some(pumped[i].stream, pumped[i].in, sizeof pumped[i].in, read_done, &pumped[i]));
        CHECK_OK(weir_stream_write(pumped[i].stream, pumped[i].out, sizeof pumped[i].out, write_done, &pumped[i]));
        CHECK_OK(weir_timer_start(pumped[i].timer, 100000, 100000, tick, &pumped[i]));
    }
    pthread_t threads[THREADS];
    for (int i = 0; i < THREADS; i++)
        CHECK_EQ(pthread_create(&threads[i], NULL, run, context), 0);
    int64_t deadline = now_ns() + 40 * CHECK_SECOND;
    for (;;) {
        size_t pending = 0, all = 0;
        for (int i = 0; i < PAIRS * 2; i++) {
            CHECK_OK(weir_handle_pending(pumped[i].timer, &pending));
            all += pending;
        }
        if (all == 0)
            break;
        CHECK(now_ns() < deadline);
        sleep_ms(2);
    }
    CHECK_OK(weir_context_stop(context));
    for (int i = 0; i < THREADS; i++)
        CHECK_EQ(pthread_join(threads[i], NULL), 0);
    CHECK(atomic_load(&lane.calls) > PAIRS * 2 * 300);
    CHECK_OK(weir_context_destroy(context));
}

static weir_context *server;
static struct lane accept_lane;
static atomic_int accepted_count;

static void accepted_in_lane(int status, weir_stream *peer, const struct sockaddr *address, socklen_t length,
                             void *user)
{
    (void)address;
    (void)length;
    (void)user;
    enter(&accept_lane);
    if (status == 0) {
        CHECK_OK(weir_stream_close(peer));
        accepted_count++;
    } else {
        CHECK_CODE(status, WEIR_ECANCELED);
    }
    leave(&accept_lane);
}

static void busy(int status, void *user)
{
    (void)status;
    (void)user;
    enter(&accept_lane);
    leave(&accept_lane);
    if (accepted_count < 200)
        CHECK_OK(weir_strand_post(accept_lane.strand, busy, NULL));
    else
        CHECK_OK(weir_context_stop(server));
}

TEST(an_acceptor_in_a_strand)
{
    server = new_context();
    struct where where;
    weir_acceptor *acceptor = new_listener(server, AF_INET, 64, &where);
    CHECK_OK(weir_strand_create(server, &accept_lane.strand));
    CHECK_OK(weir_handle_set_strand(acceptor, accept_lane.strand));
    CHECK_OK(weir_acceptor_accept_each(acceptor, accepted_in_lane, NULL));
    CHECK_CODE(weir_handle_set_strand(acceptor, NULL), WEIR_EBUSY);
    CHECK_OK(weir_strand_post(accept_lane.strand, busy, NULL));
    pthread_t threads[3];
    for (int i = 0; i < 3; i++)
        CHECK_EQ(pthread_create(&threads[i], NULL, run, server), 0);
    for (int i = 0; i < 200; i++) {
        int fd = socket(AF_INET, SOCK_STREAM, 0);
        CHECK_EQ(connect(fd, AT(&where)), 0);
        close(fd);
    }
    for (int i = 0; i < 3; i++)
        CHECK_EQ(pthread_join(threads[i], NULL), 0);
    /* Pending still; ended by destruction, in the strand too. */
    int calls = atomic_load(&accept_lane.calls);
    CHECK_OK(weir_context_destroy(server));
    CHECK(atomic_load(&accept_lane.calls) > calls);
}

/* ---- dispatch, close, destruction */

static void count_in(int status, void *user)
{
    struct lane *lane = (struct lane *)user;
    (void)status;
    lane->calls++;
}

static void dispatch_inside(int status, void *user)
{
    struct lane *lane = (struct lane *)user;
    CHECK_OK(status);
    int before = atomic_load(&lane->calls);
    CHECK_OK(weir_strand_dispatch(lane->strand, count_in, lane));
    CHECK_EQ(atomic_load(&lane->calls), before + 1);
    CHECK_OK(weir_strand_post(lane->strand, count_in, lane));
    CHECK_EQ(atomic_load(&lane->calls), before + 1);
}

static void dispatch_outside(int status, void *user)
{
    struct lane *lane = (struct lane *)user;
    (void)status;
    CHECK_EQ(weir_strand_running_in_this_thread(lane->strand), 0);
    int before = atomic_load(&lane->calls);
    CHECK_OK(weir_strand_dispatch(lane->strand, count_in, lane)); /* inside run, but not in the strand */
    CHECK_EQ(atomic_load(&lane->calls), before);
}

TEST(dispatch_is_at_once_in_the_strand_only)
{
    weir_context *context = new_context();
    struct lane lane = {0};
    CHECK_OK(weir_strand_create(context, &lane.strand));
    CHECK_OK(weir_strand_dispatch(lane.strand, count_in, &lane));
    CHECK_EQ(atomic_load(&lane.calls), 0);
    CHECK_OK(weir_strand_post(lane.strand, dispatch_inside, &lane));
    CHECK_OK(weir_context_post(context, dispatch_outside, &lane));
    CHECK_OK(weir_context_run(context, NULL));
    CHECK_EQ(atomic_load(&lane.calls), 4);
    CHECK_OK(weir_context_destroy(context));
}

TEST(a_closed_strand_delivers_what_it_has_and_stays_bound)
{
    weir_context *context = new_context();
    struct lane lane = {0};
    weir_timer *timer = new_timer(context);
    CHECK_OK(weir_strand_create(context, &lane.strand));
    CHECK_OK(weir_handle_set_strand(timer, lane.strand));
    CHECK_OK(weir_timer_wait(timer, count_in, &lane));
    CHECK_OK(weir_strand_post(lane.strand, count_in, &lane));
    CHECK_OK(weir_strand_close(lane.strand));
    CHECK_CODE(weir_strand_post(lane.strand, count_in, &lane), WEIR_EBADF);
    CHECK_CODE(weir_strand_close(lane.strand), WEIR_EBADF);
    CHECK_OK(weir_context_run(context, NULL));
    CHECK_EQ(atomic_load(&lane.calls), 2);
    CHECK_OK(weir_context_restart(context));
    CHECK_OK(weir_timer_wait(timer, count_in, &lane));
    CHECK_OK(weir_context_run(context, NULL));
    CHECK_EQ(atomic_load(&lane.calls), 3);
    CHECK_OK(weir_timer_close(timer));
    /* The slot is free again. */
    weir_strand *next;
    CHECK_OK(weir_strand_create(context, &next));
    CHECK(next != lane.strand);
    CHECK_OK(weir_context_destroy(context));
}

/* ---- closed from its own callback: the end is delivered in the strand all the same */

static struct {
    weir_strand *strand;
    weir_acceptor *acceptor;
    weir_timer *timer;
    weir_watch *watch;
    weir_stream *stream;
    int ends;
} closing;

static void check_in_strand(int status)
{
    CHECK_EQ(weir_strand_running_in_this_thread(closing.strand), 1);
    if (status != 0) {
        CHECK_CODE(status, WEIR_ECANCELED);
        closing.ends++;
    }
}

static void accepted_and_closed(int status, weir_stream *peer, const struct sockaddr *address, socklen_t length,
                                void *user)
{
    (void)address;
    (void)length;
    (void)user;
    check_in_strand(status);
    if (status == 0) {
        CHECK_OK(weir_stream_close(peer));
        CHECK_OK(weir_acceptor_close(closing.acceptor));
    }
}

static void ticked_and_closed(int status, void *user)
{
    (void)user;
    check_in_strand(status);
    if (status == 0)
        CHECK_OK(weir_timer_close(closing.timer));
}

static void watched_and_closed(int status, int events, void *user)
{
    (void)events;
    (void)user;
    check_in_strand(status);
    if (status == 0)
        CHECK_OK(weir_watch_close(closing.watch));
}

static void read_and_closed(int status, const void *data, size_t length, void *user)
{
    (void)data;
    (void)length;
    (void)user;
    check_in_strand(status);
    if (status == 0)
        CHECK_OK(weir_stream_close(closing.stream));
}

TEST(what_closes_itself_ends_in_its_strand)
{
    weir_context *context = new_context();
    struct where where;
    int ends[2], fds[2];
    CHECK_OK(weir_strand_create(context, &closing.strand));
    closing.acceptor = new_listener(context, AF_INET, 4, &where);
    closing.timer = new_timer(context);
    plain_pair(AF_INET, ends);
    closing.stream = adopted(context, ends[0]);
    CHECK_EQ(pipe(fds), 0);
    CHECK_OK(weir_watch_create(context, fds[0], &closing.watch));
    void *handles[] = {closing.acceptor, closing.timer, closing.stream, closing.watch};
    for (int i = 0; i < 4; i++)
        CHECK_OK(weir_handle_set_strand(handles[i], closing.strand));
    CHECK_OK(weir_acceptor_accept_each(closing.acceptor, accepted_and_closed, NULL));
    CHECK_OK(weir_timer_start(closing.timer, 0, CHECK_MS, ticked_and_closed, NULL));
    CHECK_OK(weir_watch_start(closing.watch, WEIR_WATCH_READ, WEIR_WATCH_PERSISTENT, WEIR_FOREVER, watched_and_closed,
                              NULL));
    CHECK_OK(weir_stream_read_each(closing.stream, read_and_closed, NULL));
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    CHECK_EQ(connect(fd, AT(&where)), 0);
    CHECK_EQ(write(ends[1], "x", 1), 1);
    CHECK_EQ(write(fds[1], "x", 1), 1);
    CHECK_OK(weir_context_run(context, NULL));
    CHECK_EQ(closing.ends, 4);
    CHECK_OK(weir_context_destroy(context));
    close(fd);
    close(ends[1]);
    close(fds[0]);
    close(fds[1]);
}

static int last_status;

static void keep_status(int status, void *user)
{
    ++*(int *)user;
    last_status = status;
}

TEST(destruction_delivers_what_a_strand_has)
{
    weir_context *context = new_context();
    weir_strand *strand;
    int calls = 0;
    CHECK_OK(weir_strand_create(context, &strand));
    weir_timer *timer = new_timer(context);
    CHECK_OK(weir_handle_set_strand(timer, strand));
    CHECK_OK(weir_timer_expires_after(timer, WEIR_FOREVER));
    for (int i = 0; i < 100; i++)
        CHECK_OK(weir_strand_post(strand, keep_status, &calls));
    CHECK_OK(weir_timer_wait(timer, keep_status, &calls));
    CHECK_OK(weir_context_destroy(context));
    CHECK_EQ(calls, 101);
    CHECK_CODE(last_status, WEIR_ECANCELED);
    CHECK_CODE(weir_strand_post(strand, keep_status, &calls), WEIR_EBADF);
}

TEST(run_one_runs_one_callback_of_a_strand)
{
    weir_context *context = new_context();
    weir_strand *strand;
    int calls = 0;
    CHECK_OK(weir_strand_create(context, &strand));
    for (int i = 0; i < 5; i++)
        CHECK_OK(weir_strand_post(strand, keep_status, &calls));
    for (int i = 1; i <= 5; i++) {
        CHECK_OK(weir_context_run_one(context, NULL));
        CHECK_EQ(calls, i);
    }
    CHECK_OK(weir_context_destroy(context));
}

static void stop_it(int status, void *user)
{
    (void)status;
    CHECK_OK(weir_context_stop((weir_context *)user));
}

TEST(stop_leaves_the_rest_of_a_strand_for_later)
{
    weir_context *context = new_context();
    weir_strand *strand;
    int calls = 0;
    CHECK_OK(weir_strand_create(context, &strand));
    CHECK_OK(weir_strand_post(strand, stop_it, context));
    CHECK_OK(weir_strand_post(strand, keep_status, &calls));
    CHECK_OK(weir_context_run(context, NULL));
    CHECK_EQ(calls, 0);
    CHECK_OK(weir_context_restart(context));
    CHECK_OK(weir_context_run(context, NULL));
    CHECK_EQ(calls, 1);
    CHECK_OK(weir_context_destroy(context));
}

static void post_again(int status, void *user)
{
    struct lane *lane = (struct lane *)user;
    (void)status;
    if (lane->next++ < 1000000)
        CHECK_OK(weir_strand_post(lane->strand, post_again, lane));
}

/* A strand that is never empty starves nobody. */
TEST(h34_a_busy_strand_lets_others_run)
{
    weir_context *context = new_context();
    struct lane lane = {0};
    struct counter call = {0};
    weir_timer *timer = new_timer(context);
    CHECK_OK(weir_strand_create(context, &lane.strand));
    CHECK_OK(weir_strand_post(lane.strand, post_again, &lane));
    CHECK_OK(weir_timer_expires_after(timer, CHECK_MS));
    CHECK_OK(weir_timer_wait(timer, done, &call));
    while (atomic_load(&call.calls) == 0)
        CHECK_OK(weir_context_run_one(context, NULL));
    CHECK(lane.next < 1000000);
    lane.next = 1000000;
    CHECK_OK(weir_context_destroy(context));
}

/* ---- what every handle can do */

TEST(names_and_tags)
{
    weir_context *context = new_context();
    weir_timer *timers[10];
    struct counter calls = {0};
    char name[8];
    uint64_t tag = 1;
    for (int i = 0; i < 10; i++) {
        timers[i] = new_timer(context);
        CHECK_OK(weir_timer_expires_after(timers[i], WEIR_FOREVER));
        CHECK_OK(weir_timer_wait(timers[i], done, &calls));
        CHECK_OK(weir_handle_tag(timers[i], &tag));
        CHECK_EQ(tag, 0);
        CHECK_OK(weir_handle_set_tag(timers[i], 100 + i % 2));
    }
    CHECK_OK(weir_handle_name(timers[3], name, sizeof name));
    CHECK_EQ(strlen(name), 0);
    CHECK_OK(weir_handle_set_name(timers[3], "a long name"));
    CHECK_OK(weir_handle_name(timers[3], name, sizeof name));
    CHECK(strcmp(name, "a long ") == 0);
    CHECK_OK(weir_handle_set_name(timers[3], NULL));
    CHECK_OK(weir_handle_name(timers[3], name, sizeof name));
    CHECK_EQ(strlen(name), 0);
    CHECK_OK(weir_timer_close(timers[0]));
    size_t ended = 0;
    CHECK_OK(weir_context_cancel_tag(context, 100, &ended));
    CHECK_EQ(ended, 4);
    CHECK_OK(weir_context_cancel_tag(context, 100, &ended));
    CHECK_EQ(ended, 0);
    CHECK_OK(weir_context_poll(context, NULL));
    CHECK_EQ(atomic_load(&calls.calls), 5);
    CHECK_OK(weir_handle_tag(timers[1], &tag));
    CHECK_EQ(tag, 101);
    /* A new handle in an old slot has no tag. */
    weir_timer *next = new_timer(context);
    CHECK_OK(weir_handle_tag(next, &tag));
    CHECK_EQ(tag, 0);
    weir_context *owner = NULL;
    CHECK_OK(weir_handle_context(next, &owner));
    CHECK(owner == context);
    CHECK_OK(weir_handle_close(next));
    CHECK_CODE(weir_timer_expires_after(next, 1), WEIR_EBADF);
    CHECK_OK(weir_handle_cancel(timers[1], &ended));
    CHECK_EQ(ended, 1);
    CHECK_OK(weir_context_destroy(context));
}

TEST_MAIN()
