/* H71: one fd embeds a context. A host that knows poll(2) and that fd serves everything, without a timeout. */
#include "check.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/socket.h>

static int context_fd(weir_context *context)
{
    int fd = -1;
    CHECK_OK(weir_context_fd(context, &fd));
    CHECK(fd >= 0);
    return fd;
}

static bool readable(int fd)
{
    struct pollfd entry = {fd, POLLIN, 0};
    int ready = poll(&entry, 1, 0);
    CHECK(ready >= 0);
    return ready == 1 && (entry.revents & POLLIN);
}

/* One turn of the host: sleeps on the fd and nothing else, then polls. The alarm ends a case that is not woken. */
static size_t host_turn(weir_context *context, int fd)
{
    struct pollfd entry = {fd, POLLIN, 0};
    size_t count = 0;
    CHECK_EQ(poll(&entry, 1, -1), 1);
    CHECK(entry.revents & POLLIN);
    CHECK_OK(weir_context_poll(context, &count));
    return count;
}

static void host_until(weir_context *context, int fd, struct counter *counter, int calls)
{
    while (counter->calls < calls)
        host_turn(context, fd);
    CHECK_EQ(counter->calls, calls);
}

static weir_stream *stream_beside(weir_context *context, int *other)
{
    int pair[2];
    CHECK_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair), 0);
    weir_stream *stream = new_stream(context);
    CHECK_OK(weir_stream_adopt(stream, pair[0]));
    *other = pair[1];
    return stream;
}

TEST(h71_the_fd_is_the_same_each_time_and_close_on_exec)
{
    weir_context *context = new_context();
    int fd = context_fd(context);
    CHECK_EQ(context_fd(context), fd);
    CHECK(fcntl(fd, F_GETFD) & FD_CLOEXEC);
    CHECK(!readable(fd));
    CHECK_OK(weir_context_destroy(context));
    CHECK_EQ(fcntl(fd, F_GETFD), -1);
}

TEST(h71_a_post_makes_the_fd_readable_until_it_was_served)
{
    weir_context *context = new_context();
    struct counter counter = {0};
    CHECK_OK(weir_context_work_begin(context));
    int fd = context_fd(context);
    for (int i = 0; i < 100; i++) {
        CHECK(!readable(fd));
        CHECK_OK(weir_context_post(context, count_call, &counter));
        CHECK(readable(fd));
        CHECK_EQ(host_turn(context, fd), 1);
        CHECK_EQ(counter.calls, i + 1);
    }
    CHECK(!readable(fd));
    CHECK_OK(weir_context_destroy(context));
}

TEST(h71_defer_and_dispatch_make_the_fd_readable)
{
    weir_context *context = new_context();
    struct counter counter = {0};
    CHECK_OK(weir_context_work_begin(context));
    int fd = context_fd(context);
    CHECK_OK(weir_context_defer(context, count_call, &counter));
    CHECK(readable(fd));
    host_until(context, fd, &counter, 1);
    CHECK(!readable(fd));
    CHECK_OK(weir_context_dispatch(context, count_call, &counter));
    CHECK(readable(fd));
    host_until(context, fd, &counter, 2);
    CHECK(!readable(fd));
    CHECK_OK(weir_context_destroy(context));
}

/* What was there before the host asked for the fd counts too. */
TEST(h71_the_fd_is_readable_for_what_was_posted_before_it_was_asked_for)
{
    weir_context *context = new_context();
    struct counter counter = {0};
    CHECK_OK(weir_context_post(context, count_call, &counter));
    int fd = context_fd(context);
    CHECK(readable(fd));
    CHECK_EQ(host_turn(context, fd), 1);
    CHECK_OK(weir_context_restart(context));
    CHECK_OK(weir_context_defer(context, count_call, &counter));
    host_until(context, fd, &counter, 2);
    CHECK_OK(weir_context_destroy(context));
}

TEST(h71_a_timer_started_before_the_fd_was_asked_for_wakes_the_host)
{
    weir_context *context = new_context();
    struct counter counter = {0};
    weir_timer *timer = new_timer(context);
    CHECK_OK(weir_timer_expires_after(timer, 5 * CHECK_MS));
    CHECK_OK(weir_timer_wait(timer, count_call, &counter));
    host_until(context, context_fd(context), &counter, 1);
    CHECK_OK(weir_context_destroy(context));
}

TEST(h71_a_timer_due_before_the_fd_was_asked_for_makes_it_readable)
{
    weir_context *context = new_context();
    struct counter counter = {0};
    CHECK_OK(weir_timer_wait(new_timer(context), count_call, &counter));
    int fd = context_fd(context);
    CHECK(readable(fd));
    host_until(context, fd, &counter, 1);
    CHECK_OK(weir_context_destroy(context));
}

TEST(h71_a_timer_wakes_the_host_and_an_earlier_one_earlier)
{
    weir_context *context = new_context();
    struct counter counter = {0};
    CHECK_OK(weir_context_work_begin(context));
    int fd = context_fd(context);
    weir_timer *late = new_timer(context), *early = new_timer(context);
    for (int i = 0; i < 10; i++) {
        counter.calls = 0;
        CHECK_OK(weir_timer_expires_after(late, 3600 * CHECK_SECOND));
        CHECK_OK(weir_timer_wait(late, count_call, &counter));
        CHECK(!readable(fd));
        CHECK_OK(weir_timer_expires_after(early, 3 * CHECK_MS));
        CHECK_OK(weir_timer_wait(early, count_call, &counter));
        host_until(context, fd, &counter, 1);
        CHECK(!readable(fd));
        CHECK_OK(weir_timer_expires_after(late, CHECK_MS)); /* moved to the front by a reset */
        host_until(context, fd, &counter, 2);
        CHECK(!readable(fd));
    }
    CHECK_OK(weir_context_destroy(context));
}

static weir_timer *chained;
static int chain_left;

static void start_next(int status, void *user)
{
    count_call(status, user);
    if (--chain_left > 0) {
        CHECK_OK(weir_timer_expires_after(chained, CHECK_MS));
        CHECK_OK(weir_timer_wait(chained, start_next, user));
    }
}

TEST(h71_a_timer_started_inside_poll_wakes_the_host)
{
    weir_context *context = new_context();
    struct counter counter = {0};
    int fd = context_fd(context);
    chained = new_timer(context);
    chain_left = 20;
    CHECK_OK(weir_timer_wait(chained, start_next, &counter));
    host_until(context, fd, &counter, 20);
    CHECK_OK(weir_context_destroy(context));
}

TEST(h71_a_periodic_timer_wakes_the_host_each_time)
{
    weir_context *context = new_context();
    struct counter counter = {0};
    int fd = context_fd(context);
    weir_timer *timer = new_timer(context);
    CHECK_OK(weir_timer_start(timer, 0, CHECK_MS, count_call, &counter));
    while (counter.calls < 10)
        host_turn(context, fd);
    CHECK_OK(weir_timer_close(timer));
    int calls = counter.calls;
    CHECK_OK(weir_context_poll(context, NULL));
    CHECK_EQ(counter.calls, calls + 1);
    CHECK_EQ(counter.status, WEIR_ECANCELED);
    CHECK_OK(weir_context_destroy(context));
}

TEST(h71_advancing_a_manual_clock_makes_the_fd_readable)
{
    weir_context *context = new_context_with(WEIR_CONTEXT_MANUAL_CLOCK, 0);
    struct counter counter = {0};
    CHECK_OK(weir_context_work_begin(context));
    int fd = context_fd(context);
    weir_timer *timer = new_timer(context);
    for (int i = 0; i < 5; i++) {
        CHECK_OK(weir_timer_expires_after(timer, 10));
        CHECK_OK(weir_timer_wait(timer, count_call, &counter));
        CHECK_OK(weir_context_advance(context, 9));
        CHECK_OK(weir_context_poll(context, NULL));
        CHECK_EQ(counter.calls, i);
        CHECK(!readable(fd));
        CHECK_OK(weir_context_advance(context, 1));
        CHECK(readable(fd));
        host_until(context, fd, &counter, i + 1);
        CHECK(!readable(fd));
    }
    CHECK_OK(weir_context_destroy(context));
}

TEST(h71_stream_data_wakes_the_host)
{
    weir_context *context = new_context();
    struct counter counter = {0};
    int other;
    char byte;
    int fd = context_fd(context);
    CHECK_OK(weir_context_work_begin(context));
    weir_stream *stream = stream_beside(context, &other);
    for (int i = 0; i < 10; i++) {
        CHECK_OK(weir_stream_read_some(stream, &byte, 1, count_io, &counter));
        CHECK_OK(weir_context_poll(context, NULL));
        CHECK_EQ(counter.calls, i);
        CHECK_EQ(write(other, "a", 1), 1);
        CHECK(readable(fd));
        host_until(context, fd, &counter, i + 1);
        CHECK(!readable(fd));
    }
    /* A result that is there at once is reported through the fd too. */
    CHECK_EQ(write(other, "b", 1), 1);
    CHECK_OK(weir_context_poll(context, NULL));
    CHECK_OK(weir_stream_read_some(stream, &byte, 1, count_io, &counter));
    CHECK(readable(fd));
    host_until(context, fd, &counter, 11);
    CHECK_EQ(byte, 'b');
    /* And what a cancel ends. */
    CHECK_OK(weir_stream_read_some(stream, &byte, 1, count_io, &counter));
    CHECK_OK(weir_stream_cancel(stream, NULL));
    CHECK(readable(fd));
    host_until(context, fd, &counter, 12);
    CHECK_EQ(counter.status, WEIR_ECANCELED);
    CHECK_OK(weir_context_destroy(context));
    close(other);
}

TEST(h71_what_poll_one_leaves_keeps_the_fd_readable)
{
    weir_context *context = new_context();
    struct counter counter = {0};
    size_t count = 0;
    CHECK_OK(weir_context_work_begin(context));
    int fd = context_fd(context);
    for (int round = 0; round < 3; round++) {
        counter.calls = 0;
        for (int i = 0; i < 5; i++)
            CHECK_OK(weir_context_post(context, count_call, &counter));
        for (int i = 0; i < 5; i++) {
            CHECK(readable(fd));
            CHECK_OK(weir_context_poll_one(context, &count));
            CHECK_EQ(count, 1);
            CHECK_EQ(counter.calls, i + 1);
        }
        CHECK_OK(weir_context_poll_one(context, &count));
        CHECK_EQ(count, 0);
        CHECK(!readable(fd));
    }
    CHECK_OK(weir_context_destroy(context));
}

/* The strand serves several in a row; what finds no room is held back. */
TEST(h71_records_that_a_reap_has_no_room_for_keep_the_fd_readable)
{
    weir_context *context = new_context();
    weir_strand *strand;
    weir_record record;
    size_t count;
    int fd = context_fd(context);
    CHECK_OK(weir_context_work_begin(context));
    CHECK_OK(weir_strand_create(context, &strand));
    for (uintptr_t i = 0; i < 5; i++)
        CHECK_OK(weir_strand_post(strand, NULL, (void *)i));
    for (uintptr_t i = 0; i < 5; i++) {
        if (i == 2) {
            /* What is left when the context is stopped makes it readable when it goes on. */
            CHECK_OK(weir_context_stop(context));
            CHECK_OK(weir_context_restart(context));
        }
        CHECK(readable(fd));
        CHECK_OK(weir_context_reap(context, &record, 1, 0, &count));
        CHECK_EQ(count, 1);
        CHECK(record.user == (void *)i);
    }
    while (readable(fd)) {
        CHECK_OK(weir_context_reap(context, &record, 1, 0, &count));
        CHECK_EQ(count, 0);
    }
    CHECK_OK(weir_context_destroy(context));
}

/* A host that polls only is not told of them for ever. */
TEST(h71_a_host_that_does_not_reap_sleeps_though_records_are_held)
{
    weir_context *context = new_context();
    weir_record record;
    size_t count;
    CHECK_OK(weir_context_work_begin(context));
    CHECK_OK(weir_context_post(context, NULL, NULL));
    CHECK_OK(weir_context_poll(context, NULL));
    int fd = context_fd(context);
    CHECK(readable(fd));
    for (int turns = 0; readable(fd); turns++) {
        CHECK(turns < 10);
        CHECK_OK(weir_context_poll(context, NULL));
    }
    CHECK_OK(weir_context_reap(context, &record, 1, 0, &count));
    CHECK_EQ(count, 1);
    CHECK_OK(weir_context_destroy(context));
}

TEST(h71_timers_and_reads_that_poll_one_leaves_keep_the_fd_readable)
{
    weir_context *context = new_context();
    struct counter counter = {0};
    int others[3];
    char bytes[3];
    size_t count = 0;
    CHECK_OK(weir_context_work_begin(context));
    int fd = context_fd(context);
    for (int i = 0; i < 3; i++) {
        weir_timer *timer = new_timer(context);
        CHECK_OK(weir_timer_expires_after(timer, 2 * CHECK_MS));
        CHECK_OK(weir_timer_wait(timer, count_call, &counter));
        weir_stream *stream = stream_beside(context, &others[i]);
        CHECK_OK(weir_stream_read_some(stream, &bytes[i], 1, count_io, &counter));
    }
    CHECK_OK(weir_context_poll(context, &count));
    int early = (int)count;
    for (int i = 0; i < 3; i++)
        CHECK_EQ(write(others[i], "a", 1), 1);
    sleep_ms(3);
    for (int i = early; i < 6; i++) {
        CHECK(readable(fd));
        CHECK_OK(weir_context_poll_one(context, &count));
        CHECK_EQ(count, 1);
    }
    CHECK_EQ(counter.calls, 6);
    CHECK_OK(weir_context_poll_one(context, &count));
    CHECK_EQ(count, 0);
    CHECK(!readable(fd));
    CHECK_OK(weir_context_destroy(context));
    for (int i = 0; i < 3; i++)
        close(others[i]);
}

static weir_context *stop_context;
static struct counter stop_counter;

static void stop_with_a_post(int status, void *user)
{
    (void)user;
    CHECK_EQ(status, 0);
    CHECK_OK(weir_context_post(stop_context, count_call, &stop_counter));
    CHECK_OK(weir_context_post(stop_context, count_call, &stop_counter));
    CHECK_OK(weir_context_stop(stop_context));
}

TEST(h71_what_a_stop_left_makes_the_fd_readable_after_restart)
{
    stop_context = new_context();
    size_t count = 0;
    int fd = context_fd(stop_context);
    CHECK_OK(weir_context_post(stop_context, stop_with_a_post, NULL));
    CHECK_EQ(host_turn(stop_context, fd), 1);
    CHECK_EQ(weir_context_stopped(stop_context), 1);
    CHECK_OK(weir_context_restart(stop_context));
    CHECK(readable(fd));
    CHECK_OK(weir_context_poll(stop_context, &count));
    CHECK_EQ(count, 2);
    CHECK_EQ(stop_counter.calls, 2);
    CHECK_OK(weir_context_destroy(stop_context));
}

TEST(h71_a_post_to_a_stopped_context_makes_the_fd_readable_after_restart)
{
    weir_context *context = new_context();
    struct counter counter = {0};
    size_t count = 0;
    int fd = context_fd(context);
    CHECK_OK(weir_context_stop(context));
    CHECK_OK(weir_context_poll(context, &count));
    CHECK_OK(weir_context_post(context, count_call, &counter));
    CHECK_OK(weir_context_restart(context));
    CHECK(readable(fd));
    CHECK_OK(weir_context_poll(context, &count));
    CHECK_EQ(count, 1);
    CHECK_EQ(counter.calls, 1);
    CHECK_OK(weir_context_destroy(context));
}

/* More is due than one turn takes: what poll_one leaves is not in a queue yet, and must still wake the host. */
static void leave_a_batch(uint32_t flags)
{
    enum { DUE = 20 };
    weir_context_options options = {0};
    weir_context *context = NULL;
    struct counter counter = {0};
    size_t count = 0;
    options.struct_size = sizeof options;
    options.flags = flags;
    options.max_events = 1;
    CHECK_OK(weir_context_create(&options, &context));
    CHECK_OK(weir_context_work_begin(context));
    int fd = context_fd(context);
    for (int i = 0; i < DUE; i++)
        CHECK_OK(weir_timer_wait(new_timer(context), count_call, &counter));
    for (int i = 0; i < DUE; i++) {
        CHECK(readable(fd));
        CHECK_OK(weir_context_poll_one(context, &count));
        CHECK_EQ(count, 1);
    }
    CHECK_OK(weir_context_poll_one(context, &count));
    CHECK_EQ(count, 0);
    CHECK(!readable(fd));
    CHECK_OK(weir_context_destroy(context));
}

TEST(h71_due_timers_beyond_a_batch_keep_the_fd_readable)
{
    leave_a_batch(0);
}

TEST(h71_due_timers_beyond_a_batch_keep_the_fd_readable_on_the_manual_clock)
{
    leave_a_batch(WEIR_CONTEXT_MANUAL_CLOCK);
}

/* Wake-ups from other threads: a lost one hangs the case. */
static struct counter from_threads;

static void *post_slowly(void *user)
{
    for (size_t i = 0; i < many(20000); i++) {
        CHECK_OK(weir_context_post(user, count_call, &from_threads));
        if (i % 64 == 0)
            sched_yield();
    }
    return NULL;
}

TEST(h71_posts_from_other_threads_wake_the_host_and_none_is_lost)
{
    weir_context *context = new_context();
    pthread_t threads[3];
    int want = 3 * (int)many(20000);
    CHECK_OK(weir_context_work_begin(context));
    int fd = context_fd(context);
    for (int i = 0; i < 3; i++)
        threads[i] = start_thread(post_slowly, context);
    host_until(context, fd, &from_threads, want);
    for (int i = 0; i < 3; i++)
        join_thread(threads[i]);
    CHECK(!readable(fd));
    CHECK_OK(weir_context_destroy(context));
}

static void *start_timers_slowly(void *user)
{
    weir_timer *timer = new_timer(user);
    for (size_t i = 0; i < many(2000); i++) {
        int before = from_threads.calls;
        CHECK_OK(weir_timer_expires_after(timer, (int64_t)(i % 3) * 50000));
        CHECK_OK(weir_timer_wait(timer, count_call, &from_threads));
        while (from_threads.calls == before)
            sched_yield();
    }
    return NULL;
}

TEST(h71_timers_from_another_thread_wake_the_host)
{
    weir_context *context = new_context();
    CHECK_OK(weir_context_work_begin(context));
    int fd = context_fd(context);
    pthread_t thread = start_thread(start_timers_slowly, context);
    host_until(context, fd, &from_threads, (int)many(2000));
    join_thread(thread);
    CHECK_OK(weir_context_destroy(context));
}

TEST(h71_one_host_serves_several_contexts)
{
    enum { CONTEXTS = 5 };
    weir_context *contexts[CONTEXTS];
    weir_timer *timers[CONTEXTS];
    struct counter counters[CONTEXTS] = {{0}};
    struct pollfd entries[CONTEXTS];
    int others[CONTEXTS], total = 0;
    char bytes[CONTEXTS];
    for (int i = 0; i < CONTEXTS; i++) {
        contexts[i] = new_context();
        CHECK_OK(weir_context_work_begin(contexts[i]));
        timers[i] = new_timer(contexts[i]);
        entries[i] = (struct pollfd){context_fd(contexts[i]), POLLIN, 0};
        weir_stream *stream = stream_beside(contexts[i], &others[i]);
        CHECK_OK(weir_stream_read_some(stream, &bytes[i], 1, count_io, &counters[i]));
        CHECK_OK(weir_timer_expires_after(timers[i], i * CHECK_MS));
        CHECK_OK(weir_timer_wait(timers[i], count_call, &counters[i]));
        CHECK_OK(weir_context_post(contexts[i], count_call, &counters[i]));
        CHECK_EQ(write(others[i], "x", 1), 1);
    }
    while (total < 3 * CONTEXTS) {
        CHECK(poll(entries, CONTEXTS, -1) > 0);
        for (int i = 0; i < CONTEXTS; i++) {
            size_t count = 0;
            if (entries[i].revents) {
                CHECK_OK(weir_context_poll(contexts[i], &count));
                total += (int)count;
            }
        }
    }
    for (int i = 0; i < CONTEXTS; i++) {
        CHECK_EQ(counters[i].calls, 3);
        CHECK(!readable(entries[i].fd));
        CHECK_OK(weir_context_destroy(contexts[i]));
        close(others[i]);
    }
}

TEST(h71_an_embedded_context_can_still_be_run)
{
    weir_context *context = new_context();
    struct counter counter = {0};
    int fd = context_fd(context);
    weir_timer *timer = new_timer(context);
    CHECK_OK(weir_timer_expires_after(timer, 2 * CHECK_MS));
    CHECK_OK(weir_timer_wait(timer, count_call, &counter));
    CHECK_OK(weir_context_post(context, count_call, &counter));
    CHECK_OK(weir_context_run(context, NULL));
    CHECK_EQ(counter.calls, 2);
    CHECK(!readable(fd));
    CHECK_OK(weir_context_restart(context));
    CHECK_OK(weir_context_post(context, count_call, &counter));
    CHECK(readable(fd));
    CHECK_OK(weir_context_run(context, NULL));
    CHECK_EQ(counter.calls, 3);
    CHECK_OK(weir_context_destroy(context));
}

/* H71: a stopped context has nothing to do, whatever is queued or due: its host must not spin. What was left is told
 * after the restart. */
TEST(a_stopped_context_lets_its_host_sleep)
{
    weir_context *context = new_context();
    struct counter posted = {0}, deferred = {0}, timed = {0};
    int fd;
    weir_timer *timer = new_timer(context);
    CHECK_OK(weir_context_work_begin(context));
    CHECK_OK(weir_context_fd(context, &fd));
    CHECK_OK(weir_timer_wait(timer, count_call, &timed)); /* due at once */
    CHECK_OK(weir_context_stop(context));
    CHECK_OK(weir_context_post(context, count_call, &posted));
    CHECK_OK(weir_context_defer(context, count_call, &deferred));
    for (int i = 0; i < 3; i++) /* what came before the stop was seen may be told once */
        CHECK_OK(weir_context_poll(context, NULL));
    CHECK(!readable(fd));
    CHECK_EQ(posted.calls + deferred.calls + timed.calls, 0);
    CHECK_OK(weir_context_restart(context));
    CHECK(readable(fd));
    CHECK_OK(weir_context_poll(context, NULL));
    CHECK_EQ(posted.calls, 1);
    CHECK_EQ(deferred.calls, 1);
    CHECK_EQ(timed.calls, 1);
    CHECK_OK(weir_context_work_end(context));
    CHECK_OK(weir_context_destroy(context));
}

TEST_MAIN()
