/* A weir context inside a GLib main loop (include/weir/glib.h). */
#include "child.h"
#include "net.h"

#include <weir/glib.h>

static weir_context *context;
static GSource *source;
static GMainLoop *loop;

static void set_up(void)
{
    context = new_context();
    loop = g_main_loop_new(NULL, FALSE);
    CHECK_OK(weir_glib_source_create(context, &source));
    CHECK(g_source_attach(source, NULL) > 0);
}

static void drop_source(void)
{
    g_source_destroy(source);
    g_source_unref(source);
}

static void tear_down(void)
{
    drop_source();
    g_main_loop_unref(loop);
    CHECK_OK(weir_context_destroy(context));
}

/* Blocks in GLib alone, without a time limit, until so many calls came; the number of its turns. */
static int turns_until(struct counter *counter, int calls)
{
    int turns = 0;
    while (counter->calls < calls) {
        g_main_context_iteration(NULL, TRUE);
        turns++;
    }
    CHECK_EQ(counter->calls, calls);
    return turns;
}

static void start_timer(weir_timer *timer, int64_t after, weir_callback callback, void *user)
{
    CHECK_OK(weir_timer_expires_after(timer, after));
    CHECK_OK(weir_timer_wait(timer, callback, user));
}

/* ---- cases */

TEST(bad_arguments_are_refused)
{
    context = new_context();
    CHECK_CODE(weir_glib_source_create(context, NULL), WEIR_EINVAL);
    CHECK_CODE(weir_glib_source_create(NULL, &source), WEIR_EBADF);
    CHECK_OK(weir_context_destroy(context));
    CHECK_CODE(weir_glib_source_create(context, &source), WEIR_EBADF);
    CHECK(source == NULL);
}

TEST(timers_wake_the_loop_and_it_sleeps_between)
{
    struct counter counter = {0};
    set_up();
    weir_timer *timer = new_timer(context);
    for (int i = 0; i < 5; i++) {
        counter.calls = 0;
        start_timer(timer, 20 * CHECK_MS, count_call, &counter);
        CHECK(turns_until(&counter, 1) < 20);
    }
    CHECK_OK(weir_timer_start(timer, 0, CHECK_MS, count_call, &counter));
    while (counter.calls < 20)
        g_main_context_iteration(NULL, TRUE);
    tear_down();
}

TEST(nothing_to_do_is_no_turn)
{
    set_up();
    for (int i = 0; i < 10; i++)
        g_main_context_iteration(NULL, FALSE);
    uint64_t before = turns_of(context);
    for (int i = 0; i < 100; i++)
        CHECK(!g_main_context_iteration(NULL, FALSE));
    CHECK_EQ(turns_of(context), before);
    tear_down();
}

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

TEST(posts_from_other_threads_wake_the_loop_and_none_is_lost)
{
    pthread_t threads[3];
    set_up();
    for (int i = 0; i < 3; i++)
        threads[i] = start_thread(post_slowly, context);
    turns_until(&from_threads, 3 * (int)many(20000));
    for (int i = 0; i < 3; i++)
        join_thread(threads[i]);
    tear_down();
}

static void on_signal(int status, int number, void *user)
{
    CHECK_EQ(number, SIGUSR1);
    count_call(status, user);
}

static void *send_signal(void *user)
{
    (void)user;
    sleep_ms(20);
    CHECK_EQ(kill(getpid(), SIGUSR1), 0);
    return NULL;
}

TEST(signals_wake_the_loop)
{
    struct counter counter = {0};
    weir_signals *signals;
    set_up();
    CHECK_OK(weir_signals_create(context, &signals));
    CHECK_OK(weir_signals_add(signals, SIGUSR1, 0));
    for (int i = 1; i <= 3; i++) {
        CHECK_OK(weir_signals_wait(signals, on_signal, &counter));
        pthread_t thread = start_thread(send_signal, NULL);
        turns_until(&counter, i);
        join_thread(thread);
    }
    tear_down();
}

/* Two streams play ping-pong beside a timer of GLib's. */
static weir_stream *ends[2];
static char balls[2];
static int strokes;

static void on_ball(int status, size_t bytes, void *user)
{
    int side = (int)(intptr_t)user;
    if (status == WEIR_ECANCELED)
        return; /* the end of the case */
    CHECK_EQ(status, 0);
    CHECK_EQ(bytes, 1);
    if (++strokes >= 1000)
        return; /* nothing begins any more, as the destruction of the context would refuse */
    CHECK_OK(weir_stream_write(ends[side], &balls[side], 1, count_io, &from_threads));
    CHECK_OK(weir_stream_read_some(ends[side], &balls[side], 1, on_ball, user));
}

static gboolean on_glib(gpointer user)
{
    struct counter *counter = user;
    counter->calls++;
    return TRUE;
}

TEST(sockets_are_served_beside_timers_of_glib)
{
    struct counter ticks = {0};
    set_up();
    connected_streams(context, AF_INET, ends);
    guint timer = g_timeout_add(1, on_glib, &ticks);
    for (intptr_t i = 0; i < 2; i++)
        CHECK_OK(weir_stream_read_some(ends[i], &balls[i], 1, on_ball, (void *)i));
    CHECK_OK(weir_stream_write(ends[0], "o", 1, count_io, &from_threads));
    while (strokes < 1000 || ticks.calls < 5)
        g_main_context_iteration(NULL, TRUE);
    CHECK(g_source_remove(timer));
    tear_down();
}

/* ---- ends */

static void quit(int status, void *user)
{
    count_call(status, user);
    g_main_loop_quit(loop);
}

TEST(a_callback_quits_the_loop_which_may_run_again)
{
    struct counter counter = {0};
    set_up();
    weir_timer *timer = new_timer(context);
    for (int i = 1; i <= 3; i++) {
        CHECK_OK(weir_context_post(context, quit, &counter));
        g_main_loop_run(loop);
        CHECK_EQ(counter.calls, 2 * i - 1);
        start_timer(timer, 5 * CHECK_MS, quit, &counter);
        g_main_loop_run(loop);
        CHECK_EQ(counter.calls, 2 * i);
    }
    tear_down();
}

static void end_source(int status, void *user)
{
    quit(status, user);
    drop_source();
}

TEST(a_callback_destroys_the_source_and_the_context_lives_on)
{
    struct counter counter = {0};
    set_up();
    CHECK_OK(weir_context_post(context, end_source, &counter));
    CHECK_OK(weir_context_post(context, count_call, &counter));
    g_main_loop_run(loop);
    int calls = counter.calls;
    CHECK(calls >= 1);
    CHECK_OK(weir_context_post(context, count_call, &counter));
    for (int i = 0; i < 10; i++)
        g_main_context_iteration(NULL, FALSE);
    CHECK_EQ(counter.calls, calls); /* GLib has nothing to do with it any more */
    weir_context_restart(context);
    CHECK_OK(weir_context_run(context, NULL)); /* returns: the source holds no work either */
    CHECK_EQ(counter.calls, 3);

    CHECK_OK(weir_context_restart(context));
    CHECK_OK(weir_glib_source_create(context, &source)); /* and back again */
    CHECK(g_source_attach(source, NULL) > 0);
    CHECK_OK(weir_context_post(context, quit, &counter));
    g_main_loop_run(loop);
    CHECK_EQ(counter.calls, 4);
    tear_down();
}

TEST(a_source_without_its_context_leaves_the_loop)
{
    struct counter counter = {0};
    set_up();
    CHECK_OK(weir_context_post(context, count_call, &counter));
    CHECK_OK(weir_context_destroy(context));
    CHECK_EQ(counter.calls, 1);
    for (int i = 0; i < 10; i++)
        g_main_context_iteration(NULL, FALSE);
    CHECK(g_source_is_destroyed(source));
    CHECK(!g_main_context_iteration(NULL, FALSE));
    g_source_unref(source);
    g_main_loop_unref(loop);
}

static void stop_context(int status, void *user)
{
    count_call(status, user);
    CHECK_OK(weir_context_stop(context));
}

TEST(a_stopped_context_lets_the_loop_sleep_and_goes_on_after_a_restart)
{
    struct counter counter = {0};
    set_up();
    CHECK_OK(weir_context_post(context, stop_context, &counter));
    turns_until(&counter, 1);
    CHECK_OK(weir_context_post(context, count_call, &counter));
    for (int i = 0; i < 10; i++)
        g_main_context_iteration(NULL, FALSE);
    CHECK(!g_main_context_iteration(NULL, FALSE));
    CHECK_EQ(counter.calls, 1);
    CHECK_OK(weir_context_restart(context));
    turns_until(&counter, 2);
    tear_down();
}

/* ---- beside other sources */

static char order[64];

static gboolean glib_first(gpointer user)
{
    (void)user;
    strcat(order, "g");
    return strlen(order) % 5 != 0;
}

static void weir_first(int status, void *user)
{
    count_call(status, user);
    strcat(order, "w");
}

TEST(priorities_are_those_of_glib)
{
    struct counter counter = {0};
    set_up();
    g_source_set_priority(source, G_PRIORITY_LOW);
    g_idle_add_full(G_PRIORITY_DEFAULT, glib_first, NULL, NULL);
    CHECK_OK(weir_context_post(context, weir_first, &counter));
    while (counter.calls < 1)
        g_main_context_iteration(NULL, TRUE);
    CHECK(strcmp(order, "gggggw") == 0);

    order[0] = 0;
    g_source_set_priority(source, G_PRIORITY_HIGH);
    g_idle_add_full(G_PRIORITY_DEFAULT, glib_first, NULL, NULL);
    CHECK_OK(weir_context_post(context, weir_first, &counter));
    while (strlen(order) < 5)
        g_main_context_iteration(NULL, TRUE);
    CHECK(strcmp(order, "wgggg") == 0);
    tear_down();
}

static bool ended;

static void post_again(int status, void *user)
{
    struct counter *counter = user;
    if (status == 0 && !ended)
        CHECK_OK(weir_context_post(context, post_again, user));
    counter->calls++;
}

TEST(a_callback_that_always_posts_does_not_starve_glib)
{
    struct counter counter = {0}, ticks = {0};
    set_up();
    CHECK_OK(weir_context_post(context, post_again, &counter));
    guint timer = g_timeout_add(1, on_glib, &ticks);
    while (ticks.calls < 5)
        g_main_context_iteration(NULL, TRUE);
    ended = true;
    CHECK(g_source_remove(timer));
    tear_down();
}

/* GLib calls no source inside itself unless it is told to. */
static void run_glib_inside(int status, void *user)
{
    struct counter *inner = user;
    CHECK_EQ(status, 0);
    start_timer(new_timer(context), CHECK_MS, count_call, inner);
    if (g_source_get_can_recurse(source)) {
        turns_until(inner, 1);
    } else {
        sleep_ms(5);
        for (int i = 0; i < 10; i++)
            g_main_context_iteration(NULL, FALSE);
        CHECK_EQ(inner->calls, 0);
    }
}

TEST(a_glib_loop_inside_a_callback)
{
    for (int recurse = 0; recurse < 2; recurse++) {
        struct counter inner = {0};
        set_up();
        g_source_set_can_recurse(source, recurse);
        CHECK_OK(weir_context_post(context, run_glib_inside, &inner));
        turns_until(&inner, 1);
        tear_down();
    }
}

static gboolean three_times(gpointer user)
{
    return ++*(int *)user < 3;
}

TEST(a_source_function_is_called_after_each_turn_and_removes_the_source)
{
    struct counter counter = {0};
    int turns = 0;
    set_up();
    g_source_set_callback(source, three_times, &turns, NULL);
    for (int i = 1; i <= 3; i++) {
        CHECK(!g_source_is_destroyed(source));
        CHECK_OK(weir_context_post(context, count_call, &counter));
        turns_until(&counter, i);
        CHECK_EQ(turns, i);
    }
    CHECK(g_source_is_destroyed(source));
    tear_down();
}

/* A loop for each thread, with two contexts each. */
static void *run_loop(void *user)
{
    GMainContext *own = g_main_context_new();
    weir_context *contexts[2];
    GSource *sources[2];
    struct counter counters[2] = {{0}, {0}};
    (void)user;
    for (int i = 0; i < 2; i++) {
        contexts[i] = new_context();
        CHECK_OK(weir_glib_source_create(contexts[i], &sources[i]));
        CHECK(g_source_attach(sources[i], own) > 0);
        CHECK_OK(weir_timer_start(new_timer(contexts[i]), 0, CHECK_MS, count_call, &counters[i]));
    }
    while (counters[0].calls < 20 || counters[1].calls < 20)
        g_main_context_iteration(own, TRUE);
    for (int i = 0; i < 2; i++) {
        g_source_destroy(sources[i]);
        g_source_unref(sources[i]);
        CHECK_OK(weir_context_destroy(contexts[i]));
    }
    g_main_context_unref(own);
    return NULL;
}

TEST(loops_of_several_threads_with_several_contexts)
{
    pthread_t threads[3];
    for (int i = 0; i < 3; i++)
        threads[i] = start_thread(run_loop, NULL);
    for (int i = 0; i < 3; i++)
        join_thread(threads[i]);
}

#ifdef EXAMPLE
TEST(the_example_runs)
{
    char text[4096];
    run_child((char *[]){EXAMPLE, NULL}, 0, text, sizeof text);
    CHECK(strcmp(text, "weir: tick 1\nweir: tick 2\nglib: a message from a thread\nweir: tick 3\n") == 0);
}
#endif

TEST_MAIN()
