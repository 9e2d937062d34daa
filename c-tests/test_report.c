/* Statistics, stalls, leak reports, the log. */
#include "net.h"

static weir_stats stats_of(weir_context *context)
{
    weir_stats stats;
    memset(&stats, 0xA5, sizeof stats);
    stats.struct_size = sizeof stats;
    CHECK_OK(weir_context_stats(context, &stats));
    CHECK_EQ(stats.struct_size, sizeof stats);
    return stats;
}

TEST(a_new_context_has_done_nothing)
{
    weir_context *context = new_context();
    weir_stats stats = stats_of(context);
    CHECK_EQ(stats.turns, 0);
    CHECK_EQ(stats.callbacks, 0);
    CHECK_EQ(stats.queue_length, 0);
    CHECK_EQ(stats.work, 0);
    CHECK_OK(weir_context_destroy(context));
    context = new_context(); /* in the same slot: also from 0 */
    stats = stats_of(context);
    CHECK_EQ(stats.turns, 0);
    CHECK_EQ(stats.interrupts, 0);
    CHECK_OK(weir_context_destroy(context));
}

TEST(what_happened_is_counted)
{
    weir_context *context = new_context_with(WEIR_CONTEXT_MEASURE | WEIR_CONTEXT_MANUAL_CLOCK, 0);
    struct counter counter = {0};
    weir_timer *timer = new_timer(context);
    int ends[2];
    plain_pair(AF_INET, ends);
    weir_stream *stream = adopted(context, ends[0]);
    char byte;
    for (int i = 0; i < 10; i++)
        CHECK_OK(weir_context_post(context, done, &counter));
    CHECK_OK(weir_timer_expires_after(timer, 1000));
    CHECK_OK(weir_timer_wait(timer, done, &counter));
    CHECK_OK(weir_stream_read_some(stream, &byte, 1, io_done, &counter));
    CHECK_EQ(stats_of(context).work, 2); /* posts are counted when they are taken from the inbox */
    CHECK_OK(weir_context_advance(context, 1500));
    CHECK_EQ(write(ends[1], "x", 1), 1);
    CHECK_OK(weir_context_run(context, NULL));
    weir_stats stats = stats_of(context);
    CHECK_EQ(atomic_load(&counter.calls), 12);
    CHECK_EQ(stats.callbacks, 12);
    CHECK(stats.turns >= 1);
    CHECK_EQ(stats.timers_fired, 1);
    CHECK_EQ(stats.timer_lateness_max_ns, 500);
    CHECK_EQ(stats.timer_lateness_sum_ns, 500);
    CHECK(stats.reads >= 1);
    CHECK_EQ(stats.writes, 0);
    CHECK(stats.epoll_ctls <= 1);
    CHECK(stats.longest_callback_ns > 0);
    CHECK_EQ(stats.work, 0);
    CHECK_EQ(stats.queue_length, 0);
    CHECK_OK(weir_context_restart(context));
    CHECK_OK(weir_context_post(context, NULL, NULL));
    CHECK_OK(weir_context_run(context, NULL));
    CHECK_EQ(stats_of(context).records_waiting, 1);
    CHECK_OK(weir_context_destroy(context));
    close(ends[1]);
}

TEST(a_smaller_struct_receives_what_fits)
{
    weir_context *context = new_context();
    unsigned char bytes[sizeof(weir_stats)];
    size_t small = offsetof(weir_stats, events);
    memset(bytes, 0xA5, sizeof bytes);
    memcpy(bytes, &small, sizeof small);
    CHECK_OK(weir_context_stats(context, (weir_stats *)(void *)bytes));
    for (size_t i = small; i < sizeof bytes; i++)
        CHECK_EQ(bytes[i], 0xA5);
    CHECK_EQ(bytes[small - 1], 0); /* turns */
    CHECK_OK(weir_context_destroy(context));
}

/* ---- stalls */

struct stalled {
    int calls;
    int64_t duration;
    void *handle, *user;
    char name[64];
};

static void on_stall(const weir_stall *stall, void *user)
{
    struct stalled *stalled = (struct stalled *)user;
    stalled->calls++;
    stalled->duration = stall->duration_ns;
    stalled->handle = stall->handle;
    stalled->user = stall->user;
    snprintf(stalled->name, sizeof stalled->name, "%s", stall->name);
}

static void slow(int status, void *user)
{
    (void)status;
    (void)user;
    sleep_ms(30);
}

static void slow_read(int status, size_t bytes, void *user)
{
    (void)status;
    (void)bytes;
    sleep_ms(30);
    CHECK_OK(weir_stream_close((weir_stream *)user)); /* its name is told all the same */
}

TEST(a_slow_callback_is_reported_with_its_handles_name)
{
    struct stalled stalled = {0};
    struct counter counter = {0};
    weir_context_options options = {0};
    weir_context *context;
    options.struct_size = sizeof options;
    options.stall_limit_ns = 20 * CHECK_MS;
    options.stall = on_stall;
    options.stall_user = &stalled;
    CHECK_OK(weir_context_create(&options, &context));
    int ends[2];
    plain_pair(AF_INET, ends);
    weir_stream *stream = adopted(context, ends[0]);
    CHECK_OK(weir_handle_set_name(stream, "upstream"));
    char byte;
    CHECK_OK(weir_stream_read_some(stream, &byte, 1, slow_read, stream));
    CHECK_EQ(write(ends[1], "x", 1), 1);
    CHECK_OK(weir_context_run(context, NULL));
    CHECK_EQ(stalled.calls, 1);
    CHECK(stalled.duration >= 20 * CHECK_MS);
    CHECK(stalled.handle == stream);
    CHECK(stalled.user == stream);
    CHECK(strcmp(stalled.name, "upstream") == 0);
    CHECK_OK(weir_context_restart(context));
    CHECK_OK(weir_context_post(context, slow, &counter));
    CHECK_OK(weir_context_run(context, NULL));
    CHECK_EQ(stalled.calls, 2);
    CHECK(stalled.handle == NULL);
    CHECK(stalled.user == &counter);
    CHECK(strcmp(stalled.name, "") == 0);
    weir_timer *timer = new_timer(context);
    CHECK_OK(weir_handle_set_name(timer, "ticker"));
    CHECK_OK(weir_context_restart(context));
    CHECK_OK(weir_timer_start(timer, 0, CHECK_SECOND, slow, NULL));
    CHECK_OK(weir_context_run_one(context, NULL));
    CHECK_EQ(stalled.calls, 3);
    CHECK(stalled.handle == timer);
    CHECK(strcmp(stalled.name, "ticker") == 0);
    weir_stats stats = stats_of(context);
    CHECK_EQ(stats.stalls, 3);
    CHECK(stats.longest_callback_ns >= 20 * (uint64_t)CHECK_MS);
    CHECK_OK(weir_timer_stop(timer, NULL));
    CHECK_OK(weir_timer_expires_after(timer, 0));
    CHECK_OK(weir_timer_wait(timer, slow, &counter));
    CHECK_OK(weir_timer_wait(timer, count_call, &counter));
    while (stalled.calls < 5) /* the end of the ticks is slow too */
        CHECK_OK(weir_context_run_one(context, NULL));
    CHECK(stalled.handle == timer);
    CHECK(strcmp(stalled.name, "ticker") == 0);
    CHECK(stalled.user == &counter);
    /* Waits that are cancelled complete as they do elsewhere. */
    CHECK_OK(weir_context_restart(context));
    CHECK_OK(weir_context_run(context, NULL));
    CHECK_EQ(atomic_load(&counter.calls), 1);
    CHECK_OK(weir_timer_expires_after(timer, WEIR_FOREVER));
    CHECK_OK(weir_timer_wait(timer, count_call, &counter));
    CHECK_OK(weir_timer_wait(timer, count_call, &counter));
    size_t ended = 0;
    CHECK_OK(weir_timer_cancel_one(timer, &ended));
    CHECK_EQ(ended, 1);
    CHECK_OK(weir_context_restart(context));
    CHECK_OK(weir_context_poll(context, NULL));
    CHECK_EQ(atomic_load(&counter.calls), 2);
    CHECK_CODE(atomic_load(&counter.status), WEIR_ECANCELED);
    CHECK_OK(weir_timer_close(timer));
    CHECK_OK(weir_context_destroy(context));
    CHECK_EQ(atomic_load(&counter.calls), 3);
    close(ends[1]);
}

/* ---- reports */

TEST(h72_a_report_names_what_is_open)
{
    weir_context *context = new_context();
    weir_report_line lines[8];
    size_t count = 7;
    CHECK_OK(weir_context_report(context, NULL, 0, &count));
    CHECK_EQ(count, 0);
    weir_timer *timer = new_timer(context);
    weir_stream *stream = new_stream(context);
    weir_acceptor *acceptor = new_acceptor(context);
    CHECK_OK(weir_handle_set_name(acceptor, "front door"));
    CHECK_OK(weir_timer_expires_after(timer, WEIR_FOREVER));
    struct counter counter = {0};
    for (int i = 0; i < 3; i++)
        CHECK_OK(weir_timer_wait(timer, done, &counter));
    CHECK_OK(weir_context_report(context, lines, 8, &count));
    CHECK_EQ(count, 3);
    CHECK(lines[0].handle == timer && lines[1].handle == stream && lines[2].handle == acceptor);
    CHECK(strcmp(lines[0].type_name, "timer") == 0);
    CHECK(strcmp(lines[1].type_name, "stream") == 0);
    CHECK(strcmp(lines[2].type_name, "acceptor") == 0);
    CHECK(strcmp(lines[2].name, "front door") == 0);
    CHECK(strcmp(lines[0].name, "") == 0);
    CHECK_EQ(lines[0].pending, 3);
    CHECK_EQ(lines[1].pending, 0);
    CHECK(lines[0].age_ns >= 0 && lines[0].age_ns < 60 * CHECK_SECOND);
    CHECK_OK(weir_stream_close(stream));
    CHECK_OK(weir_context_report(context, lines, 1, &count));
    CHECK_EQ(count, 2);
    CHECK(lines[0].handle == timer);
    CHECK(strcmp(weir_handle_type_name(timer), "timer") == 0);
    CHECK(strcmp(weir_handle_type_name(context), "context") == 0);
    CHECK(weir_handle_type_name(NULL) == NULL);
    CHECK_OK(weir_context_destroy(context));
}

static struct {
    int leaks, warnings;
    char text[16][160];
    weir_context *context;
} logged;

static void on_log(int level, const char *text, void *user)
{
    CHECK(user == &logged);
    if (level == WEIR_LOG_LEAK && logged.leaks < 16)
        snprintf(logged.text[logged.leaks++], sizeof logged.text[0], "%s", text);
    if (level == WEIR_LOG_WARNING)
        logged.warnings++;
    /* Everything may be called, and gives its answer. */
    if (level == WEIR_LOG_LEAK) {
        CHECK_CODE(weir_context_destroy(logged.context), WEIR_EBUSY);
        CHECK_CODE(weir_context_post(logged.context, done, NULL), WEIR_ESHUTDOWN);
        CHECK_CODE(weir_context_run(logged.context, NULL), WEIR_ESHUTDOWN);
    }
}

TEST(h72_destruction_logs_what_was_open)
{
    weir_context_options options = {0};
    options.struct_size = sizeof options;
    options.log = on_log;
    options.log_user = &logged;
    CHECK_OK(weir_context_create(&options, &logged.context));
    weir_timer *timer = new_timer(logged.context);
    CHECK_OK(weir_handle_set_name(timer, "cache"));
    CHECK_OK(weir_timer_expires_after(timer, WEIR_FOREVER));
    struct counter counter = {0};
    CHECK_OK(weir_timer_wait(timer, done, &counter));
    weir_stream *closed = new_stream(logged.context);
    CHECK_OK(weir_stream_close(closed));
    CHECK_OK(weir_context_destroy(logged.context));
    CHECK_EQ(logged.leaks, 1);
    CHECK(strstr(logged.text[0], "timer \"cache\" is still open") == logged.text[0]);
    CHECK(strstr(logged.text[0], "1 pending") != NULL);
    CHECK_EQ(atomic_load(&counter.calls), 1);
}

TEST_MAIN()
