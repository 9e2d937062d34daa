/* Watches: levels, edges, one-shot and persistent, deadlines, feeding, and every call from their own callback. */
#include "watch.h"

#define PERSISTENT WEIR_WATCH_PERSISTENT
#define EDGE WEIR_WATCH_EDGE
#define READ WEIR_WATCH_READ
#define WRITE WEIR_WATCH_WRITE

TEST(one_shot_completes_once_and_only_when_ready)
{
    weir_context *context = new_context();
    struct seen seen = {0};
    int ends[2];
    new_pipe(ends);
    weir_watch *watch = new_watch(context, ends[0]);
    START(weir_watch_start(watch, READ, 0, WEIR_FOREVER, saw, &seen));
    START_CODE(weir_watch_start(watch, READ, 0, WEIR_FOREVER, saw, &seen), WEIR_EBUSY);
    CHECK_EQ(poll_once(context), 0);
    put(ends[1], 3);
    CHECK_OK(weir_context_run(context, NULL));
    CHECK_EQ(seen.calls, 1);
    CHECK_EQ(seen.events, READ);
    CHECK_EQ(poll_once(context), 0);
    /* Ready already. */
    START(weir_watch_start(watch, READ, 0, WEIR_FOREVER, saw, &seen));
    CHECK_EQ(poll_once(context), 1);
    CHECK_EQ(seen.calls, 2);
    CHECK_EQ(seen.ends, 0);
    size_t count = 9;
    CHECK_OK(weir_watch_stop(watch, &count));
    CHECK_EQ(count, 0);
    CHECK_OK(weir_watch_close(watch));
    CHECK_CODE(weir_watch_close(watch), WEIR_EBADF);
    CHECK_OK(weir_context_destroy(context));
}

TEST(a_level_fires_while_it_holds_and_not_when_it_is_gone)
{
    weir_context *context = new_context();
    int ends[2];
    new_pipe(ends);
    struct seen seen = {.fd = ends[0], .consume = 1};
    weir_watch *watch = new_watch(context, ends[0]);
    put(ends[1], 5);
    START(weir_watch_start(watch, READ, PERSISTENT, WEIR_FOREVER, saw, &seen));
    for (int i = 1; i <= 5; i++) {
        CHECK_EQ(one(context), 1);
        CHECK_EQ(seen.calls, i);
    }
    for (int i = 0; i < 50; i++)
        CHECK_EQ(poll_once(context), 0);
    put(ends[1], 40);
    WAIT_FOR(poll_once(context) == 0);
    CHECK_EQ(seen.calls, 45);
    size_t count = 0;
    CHECK_OK(weir_watch_stop(watch, &count));
    CHECK_EQ(count, 1);
    CHECK_CODE(weir_watch_start(watch, READ, 0, WEIR_FOREVER, saw, &seen), WEIR_EBUSY);
    CHECK_EQ(poll_once(context), 1);
    CHECK_EQ(seen.ends, 1);
    CHECK_CODE(seen.status, WEIR_ECANCELED);
    CHECK_OK(weir_watch_close(watch));
    CHECK_OK(weir_context_destroy(context));
}

TEST(an_edge_fires_once_for_each_change)
{
    weir_context *context = new_context();
    int ends[2];
    struct seen seen = {0};
    new_pipe(ends);
    weir_watch *watch = new_watch(context, ends[0]);
    put(ends[1], 1);
    START(weir_watch_start(watch, READ, EDGE | PERSISTENT, WEIR_FOREVER, saw, &seen));
    for (int i = 0; i < 5; i++)
        poll_once(context);
    CHECK_EQ(seen.calls, 1);
    put(ends[1], 1);
    for (int i = 0; i < 5; i++)
        poll_once(context);
    CHECK_EQ(seen.calls, 2);
    CHECK_OK(weir_watch_close(watch));
    CHECK_EQ(poll_once(context), 1);
    CHECK_EQ(seen.ends, 1);
    CHECK_OK(weir_context_destroy(context));
}

/* Several callbacks stand in the queue for the same byte: the first takes it. */
TEST(a_level_that_another_callback_used_up_is_not_told)
{
    weir_context *context = new_context();
    int ends[2];
    new_pipe(ends);
    struct seen seen[3] = {{.fd = ends[0]}, {.fd = ends[0]}, {.fd = ends[0]}};
    weir_watch *watches[3];
    for (int i = 0; i < 3; i++) {
        watches[i] = new_watch(context, ends[0]);
        START(weir_watch_start(watches[i], READ, PERSISTENT, WEIR_FOREVER, saw, &seen[i]));
    }
    for (int i = 1; i <= 20; i++) {
        put(ends[1], 1);
        CHECK_EQ(poll_once(context), 1);
        CHECK_EQ(seen[0].calls + seen[1].calls + seen[2].calls, i);
    }
    CHECK_OK(weir_context_destroy(context));
    for (int i = 0; i < 3; i++)
        CHECK_EQ(seen[i].ends, 1);
}

TEST(a_level_that_holds_starves_nobody)
{
    weir_context *context = new_context();
    int ends[2], other[2];
    new_pipe(ends);
    new_pipe(other);
    struct seen seen = {0}, second = {.fd = other[0]};
    put(ends[1], 1);
    weir_watch *watch = new_watch(context, ends[0]), *beside = new_watch(context, other[0]);
    weir_timer *timer = new_timer(context);
    struct counter expired = {0};
    START(weir_watch_start(watch, READ, PERSISTENT, WEIR_FOREVER, saw, &seen));
    START(weir_watch_start(beside, READ, PERSISTENT, WEIR_FOREVER, saw, &second));
    CHECK_OK(weir_timer_expires_after(timer, CHECK_MS));
    CHECK_OK(weir_timer_wait(timer, done, &expired));
    for (int i = 1; i <= 100; i++) {
        int before = seen.calls;
        put(other[1], 1);
        WAIT_FOR(second.calls == i || (one(context), second.calls == i));
        WAIT_FOR(seen.calls > before || (one(context), seen.calls > before));
    }
    WAIT_FOR(expired.calls == 1 || (one(context), expired.calls == 1));
    CHECK_OK(weir_context_destroy(context));
}

TEST(feed_fires_without_the_kernel_and_merges)
{
    weir_context *context = new_context();
    int ends[2];
    struct seen seen = {0};
    new_pipe(ends);
    weir_watch *watch = new_watch(context, ends[0]), *none = new_watch(context, -1);
    CHECK_CODE(weir_watch_feed(watch, READ), WEIR_EINVAL);
    START(weir_watch_start(watch, READ, PERSISTENT, WEIR_FOREVER, saw, &seen));
    START(weir_watch_feed(watch, READ));
    START(weir_watch_feed(watch, WRITE));
    CHECK_EQ(poll_once(context), 1);
    CHECK_EQ(seen.events, READ | WRITE);
    CHECK_EQ(poll_once(context), 0);
    START(weir_watch_feed(watch, READ));
    CHECK_OK(weir_watch_stop(watch, NULL));
    CHECK_EQ(poll_once(context), 1); /* the end only */
    CHECK_EQ(seen.calls, 1);
    CHECK_EQ(seen.ends, 1);
    struct seen bare = {0};
    START(weir_watch_start(none, READ, 0, WEIR_FOREVER, saw, &bare));
    CHECK_EQ(poll_once(context), 0);
    START(weir_watch_feed(none, WEIR_WATCH_TIMEOUT));
    CHECK_EQ(poll_once(context), 1);
    CHECK_EQ(bare.events, WEIR_WATCH_TIMEOUT);
    CHECK_OK(weir_context_destroy(context));
}

TEST(the_kinds_of_events_are_told_apart)
{
    weir_context *context = new_context();
    int ends[2], pair[2];
    struct seen seen = {0}, ignored = {0};
    CHECK_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, pair), 0);
    weir_watch *watch = new_watch(context, pair[0]);
    START(weir_watch_start(watch, WEIR_WATCH_READ_HANGUP, 0, WEIR_FOREVER, saw, &seen));
    put(pair[1], 1);
    CHECK_EQ(poll_once(context), 0);
    CHECK_EQ(shutdown(pair[1], SHUT_WR), 0);
    CHECK_EQ(poll_once(context), 1);
    CHECK_EQ(seen.events, WEIR_WATCH_READ_HANGUP);
    START(weir_watch_start(watch, WRITE, 0, WEIR_FOREVER, saw, &seen));
    CHECK_EQ(poll_once(context), 1);
    CHECK_EQ(seen.events, WRITE);
    close(pair[1]);
    START(weir_watch_start(watch, READ | WEIR_WATCH_READ_HANGUP, 0, WEIR_FOREVER, saw, &seen));
    CHECK_EQ(poll_once(context), 1);
    CHECK_EQ(seen.events, READ | WEIR_WATCH_READ_HANGUP | WEIR_WATCH_HANGUP);
    /* A pipe: the reader's hang-up is the writer's error, and the other way about. */
    new_pipe(ends);
    weir_watch *reader = new_watch(context, ends[0]), *writer;
    START(weir_watch_start(reader, READ, 0, WEIR_FOREVER, saw, &seen));
    CHECK_EQ(poll_once(context), 0);
    close(ends[1]);
    CHECK_EQ(poll_once(context), 1);
    CHECK_EQ(seen.events, WEIR_WATCH_HANGUP);
    new_pipe(ends);
    writer = new_watch(context, ends[1]);
    START(weir_watch_start(writer, WEIR_WATCH_ERROR, 0, WEIR_FOREVER, saw, &seen));
    CHECK_EQ(poll_once(context), 0);
    close(ends[0]);
    CHECK_EQ(poll_once(context), 1);
    CHECK_EQ(seen.events, WEIR_WATCH_ERROR);
    /* Urgent data. */
    plain_pair(AF_INET, pair);
    weir_watch *urgent = new_watch(context, pair[0]);
    START(weir_watch_start(urgent, WEIR_WATCH_PRIORITY, 0, WEIR_FOREVER, saw, &seen));
    CHECK_EQ(send(pair[1], "!", 1, MSG_OOB), 1);
    await_events(pair[0], POLLPRI);
    CHECK_EQ(poll_once(context), 1);
    CHECK_EQ(seen.events, WEIR_WATCH_PRIORITY);
    (void)ignored;
    CHECK_OK(weir_context_destroy(context));
}

/* Found by fault injection: what is left of the deadline kept a run going that had nothing to do. */
TEST(a_closed_watch_with_a_deadline_keeps_no_run_going)
{
    weir_context *context = new_context();
    int ends[2];
    new_pipe(ends);
    struct seen seen = {.fd = ends[0]};
    weir_watch *watch = new_watch(context, ends[0]);
    put(ends[1], 1);
    START(weir_watch_start(watch, READ, 0, 1000 * CHECK_SECOND, saw, &seen));
    CHECK_OK(weir_context_run(context, NULL));
    CHECK_EQ(seen.calls, 1);
    CHECK_OK(weir_watch_close(watch));
    CHECK_OK(weir_context_restart(context));
    CHECK_OK(weir_context_run(context, NULL));
    CHECK_OK(weir_context_destroy(context));
}

TEST(deadlines_follow_the_context_s_clock)
{
    weir_context *context = new_context_with(WEIR_CONTEXT_MANUAL_CLOCK, 0);
    int ends[2];
    new_pipe(ends);
    struct seen seen = {.fd = ends[0]}, once = {0};
    weir_watch *watch = new_watch(context, ends[0]), *single = new_watch(context, ends[0]);
    START(weir_watch_start(watch, READ, PERSISTENT, 100, saw, &seen));
    START(weir_watch_start(single, WEIR_WATCH_PRIORITY, 0, 130, saw, &once));
    CHECK_OK(weir_context_advance(context, 99));
    CHECK_EQ(poll_once(context), 0);
    put(ends[1], 1);
    CHECK_EQ(poll_once(context), 1); /* counts anew from here: 199 */
    CHECK_EQ(seen.events, READ);
    CHECK_OK(weir_context_advance(context, 99));
    CHECK_EQ(poll_once(context), 1);
    CHECK_EQ(seen.calls, 1);
    CHECK_EQ(once.events, WEIR_WATCH_TIMEOUT);
    CHECK_OK(weir_context_advance(context, 1));
    CHECK_EQ(poll_once(context), 1);
    CHECK_EQ(seen.events, WEIR_WATCH_TIMEOUT);
    CHECK_OK(weir_context_advance(context, 100));
    CHECK_EQ(poll_once(context), 1);
    CHECK_EQ(seen.calls, 3);
    CHECK_OK(weir_watch_set_timeout(watch, 10));
    CHECK_OK(weir_context_advance(context, 10));
    CHECK_EQ(poll_once(context), 1);
    CHECK_OK(weir_watch_set_timeout(watch, WEIR_FOREVER));
    CHECK_OK(weir_context_advance(context, CHECK_SECOND));
    CHECK_EQ(poll_once(context), 0);
    CHECK_OK(weir_watch_set_timeout(watch, 10));
    CHECK_OK(weir_watch_stop(watch, NULL));
    CHECK_CODE(weir_watch_set_timeout(watch, 10), WEIR_EINVAL);
    CHECK_OK(weir_context_advance(context, 10));
    CHECK_EQ(poll_once(context), 1);
    CHECK_EQ(seen.ends, 1);
    CHECK_OK(weir_watch_close(watch));
    CHECK_OK(weir_watch_close(single));
    CHECK_EQ(poll_once(context), 0);
    CHECK_OK(weir_context_destroy(context));
}

/* ---- every call from the own callback */

struct own {
    weir_watch *watch;
    int action, calls, ends, other;
};

static void own(int status, int events, void *user)
{
    struct own *own = user;
    (void)events;
    if (status < 0) {
        CHECK_CODE(status, WEIR_ECANCELED);
        own->ends++;
        return;
    }
    own->calls++;
    switch (own->action) {
    case 0:
        CHECK_OK(weir_watch_close(own->watch));
        break;
    case 1:
        CHECK_OK(weir_watch_stop(own->watch, NULL));
        break;
    case 2:
        CHECK_OK(weir_watch_change(own->watch, WEIR_WATCH_PRIORITY));
        break;
    case 3:
        CHECK_OK(weir_watch_set_fd(own->watch, own->other));
        break;
    case 4:
        CHECK_CODE(weir_watch_start(own->watch, READ, 0, WEIR_FOREVER, NULL, NULL), WEIR_EBUSY);
        CHECK_OK(weir_watch_set_fd(own->watch, -1));
        break;
    case 5:
        if (own->calls == 1)
            CHECK_OK(weir_watch_feed(own->watch, WRITE));
        else
            CHECK_OK(weir_watch_stop(own->watch, NULL));
        break;
    default:
        CHECK_OK(weir_watch_cancel(own->watch, NULL));
        CHECK_CODE(weir_watch_change(own->watch, READ), WEIR_EINVAL);
        CHECK_OK(weir_watch_close(own->watch));
        break;
    }
}

TEST(every_call_from_its_own_callback)
{
    weir_context *context = new_context();
    int ends[2], other[2];
    new_pipe(ends);
    new_pipe(other);
    put(ends[1], 1);
    for (int action = 0; action <= 6; action++) {
        struct own state = {new_watch(context, ends[0]), action, 0, 0, other[0]};
        START(weir_watch_start(state.watch, READ, PERSISTENT, WEIR_FOREVER, own, &state));
        for (int i = 0; i < 5; i++)
            poll_once(context);
        CHECK_EQ(state.calls, action == 5 ? 2 : 1);
        bool closed = action == 0 || action == 6, stopped = action == 1 || action == 5;
        CHECK_EQ(state.ends, closed || stopped);
        CHECK_CODE(weir_watch_close(state.watch), closed ? WEIR_EBADF : 0);
        poll_once(context);
        CHECK_EQ(state.ends, 1);
    }
    CHECK_OK(weir_context_destroy(context));
}

static void again(int status, int events, void *user)
{
    struct own *own = user;
    CHECK_OK(status);
    CHECK_EQ(events, READ);
    if (++own->calls < 5)
        START(weir_watch_start(own->watch, READ, 0, WEIR_FOREVER, again, own));
}

TEST(a_one_shot_starts_again_in_its_own_callback)
{
    weir_context *context = new_context();
    int ends[2];
    new_pipe(ends);
    put(ends[1], 1);
    struct own state = {new_watch(context, ends[0]), 0, 0, 0, 0};
    START(weir_watch_start(state.watch, READ, 0, WEIR_FOREVER, again, &state));
    CHECK_OK(weir_context_run(context, NULL));
    CHECK_EQ(state.calls, 5);
    CHECK_OK(weir_context_destroy(context));
}

TEST(records_and_strands)
{
    weir_context *context = new_context();
    int ends[2];
    new_pipe(ends);
    weir_watch *watch = new_watch(context, ends[0]);
    weir_record records[4];
    size_t count = 0;
    put(ends[1], 1);
    CHECK_OK(weir_watch_start(watch, READ, PERSISTENT, WEIR_FOREVER, NULL, &count));
    CHECK_OK(weir_context_poll(context, NULL));
    CHECK_OK(weir_context_poll(context, NULL));
    CHECK_OK(weir_context_reap(context, records, 1, WEIR_FOREVER, &count));
    CHECK_EQ(count, 1);
    CHECK_EQ(records[0].kind, WEIR_OP_WATCH);
    CHECK_EQ(records[0].value, READ);
    CHECK_EQ(records[0].status, 0);
    take(ends[0], 0);
    CHECK_OK(weir_watch_stop(watch, NULL));
    CHECK_OK(weir_context_reap(context, records, 4, WEIR_FOREVER, &count));
    CHECK_EQ(count, 1);
    CHECK_CODE(records[0].status, WEIR_ECANCELED);
    CHECK_EQ(records[0].value, 0);
    /* In a strand. */
    weir_strand *strand = NULL;
    struct seen seen = {.fd = ends[0]};
    CHECK_OK(weir_strand_create(context, &strand));
    CHECK_OK(weir_handle_set_strand(watch, strand));
    START(weir_watch_start(watch, READ, PERSISTENT, WEIR_FOREVER, saw, &seen));
    CHECK_CODE(weir_handle_set_strand(watch, NULL), WEIR_EBUSY);
    for (int i = 1; i <= 5; i++) {
        put(ends[1], 1);
        poll_once(context);
        CHECK_EQ(seen.calls, i);
    }
    CHECK_OK(weir_handle_pending(watch, &count));
    CHECK_EQ(count, 1);
    CHECK_OK(weir_handle_cancel(watch, &count));
    CHECK_EQ(count, 1);
    CHECK_EQ(poll_once(context), 1);
    CHECK_EQ(seen.ends, 1);
    CHECK_OK(weir_handle_close(watch));
    CHECK_OK(weir_context_destroy(context));
}

TEST(destroy_ends_watches_once)
{
    for (int round = 0; round < 3; round++) {
        weir_context *context = new_context();
        int fds = count_fds(), ends[2];
        new_pipe(ends);
        struct seen seen[4] = {{0}};
        for (int i = 0; i < 4; i++) {
            weir_watch *watch = new_watch(context, ends[0]);
            START(weir_watch_start(watch, READ, i % 2 ? PERSISTENT : 0, i < 2 ? WEIR_FOREVER : CHECK_SECOND, saw,
                                   &seen[i]));
        }
        if (round > 0)
            put(ends[1], 1);
        if (round > 1)
            CHECK_EQ(one(context), 1);
        CHECK_OK(weir_context_destroy(context));
        for (int i = 0; i < 4; i++)
            CHECK(seen[i].ends == 1 || (i % 2 == 0 && seen[i].calls == 1));
        close(ends[0]);
        close(ends[1]);
        CHECK(count_fds() < fds);
    }
}

static void stop_context(int status, int events, void *user)
{
    (void)events;
    if (status == 0)
        CHECK_OK(weir_context_stop(user));
}

TEST(a_stopped_context_tells_later)
{
    weir_context *context = new_context();
    int ends[2];
    new_pipe(ends);
    put(ends[1], 1);
    struct seen seen = {0};
    weir_watch *first = new_watch(context, ends[0]), *second = new_watch(context, ends[0]);
    START(weir_watch_start(first, READ, 0, WEIR_FOREVER, stop_context, context));
    START(weir_watch_start(second, READ, 0, WEIR_FOREVER, saw, &seen));
    CHECK_OK(weir_context_run(context, NULL));
    CHECK_OK(weir_context_restart(context));
    CHECK_OK(weir_context_run(context, NULL));
    CHECK_EQ(seen.calls, 1);
    CHECK_OK(weir_context_destroy(context));
}

TEST_MAIN()
