/* The program's own allocator. One case a process: it is set once. */
#include "net.h"

#include <sys/resource.h>

static atomic_size_t blocks, bytes, calls;
static atomic_int fail;

static void *allocate(size_t size, size_t alignment, void *user)
{
    CHECK(user == &blocks);
    CHECK(size > 0 && alignment > 0 && (alignment & (alignment - 1)) == 0);
    if (fail)
        return NULL;
    void *memory = NULL;
    if (alignment < sizeof(void *))
        alignment = sizeof(void *);
    CHECK_EQ(posix_memalign(&memory, alignment, size), 0);
    blocks++;
    calls++;
    bytes += size;
    return memory;
}

static void release(void *memory, size_t size, size_t alignment, void *user)
{
    (void)alignment;
    CHECK(user == &blocks);
    CHECK(memory != NULL);
    blocks--;
    bytes -= size;
    free(memory);
}

static const weir_allocator own = {sizeof own, allocate, release, &blocks};

TEST(all_memory_comes_from_the_program)
{
    CHECK_OK(weir_set_allocator(&own));
    CHECK_CODE(weir_set_allocator(&own), WEIR_EBUSY);
    weir_context *context = new_context();
    CHECK(blocks > 0);
    struct counter counter = {0};
    weir_timer *timers[200];
    for (int i = 0; i < 200; i++) {
        timers[i] = new_timer(context);
        CHECK_OK(weir_timer_wait(timers[i], done, &counter));
        CHECK_OK(weir_handle_set_name(timers[i], "a name"));
    }
    weir_stream *stream = new_stream(context);
    CHECK_OK(weir_handle_set_tag(stream, 7));
    size_t before = bytes;
    CHECK_OK(weir_context_pool(context, NULL, NULL, NULL));
    CHECK(bytes >= before + 256 * 4096);
    CHECK_OK(weir_context_run(context, NULL));
    CHECK_EQ(atomic_load(&counter.calls), 200);
    CHECK_OK(weir_context_destroy(context));
    CHECK(bytes < before); /* the pool, the names and the event buffer have come back */
}

TEST(where_it_gives_nothing_calls_return_enomem)
{
    CHECK_OK(weir_set_allocator(&own));
    fail = 1;
    weir_context *context = NULL;
    CHECK_CODE(weir_context_create(NULL, &context), WEIR_ENOMEM);
    fail = 0;
    context = new_context();
    fail = 1;
    CHECK_CODE(weir_context_pool(context, NULL, NULL, NULL), WEIR_ENOMEM);
    int made = 0;
    weir_timer *timer = NULL;
    while (weir_timer_create(context, &timer) == 0)
        made++;
    CHECK_CODE(weir_timer_create(context, &timer), WEIR_ENOMEM);
    if (made > 0)
        CHECK_CODE(weir_handle_set_name(timer, "name"), WEIR_ENOMEM);
    fail = 0;
    CHECK_OK(weir_timer_create(context, &timer));
    CHECK_OK(weir_context_destroy(context));
}

static void hear(int level, const char *text, void *user)
{
    (void)level;
    (void)text;
    ++*(int *)user;
}

/* Found by fault injection: each of these ended the process. */
TEST(without_memory_names_are_told_and_contexts_destroyed)
{
    CHECK_OK(weir_set_allocator(&own));
    weir_context_options options = {0};
    int lines = 0;
    options.struct_size = sizeof options;
    options.log = hear;
    options.log_user = &lines;
    weir_context *context = NULL;
    CHECK_OK(weir_context_create(&options, &context));
    weir_timer *named = new_timer(context), *unnamed = new_timer(context);
    CHECK_OK(weir_handle_set_name(named, "a name"));
    fail = 1;
    char name[16];
    CHECK_OK(weir_handle_name(named, name, sizeof name));
    CHECK(strcmp(name, "a name") == 0);
    CHECK_OK(weir_handle_name(unnamed, name, sizeof name));
    CHECK(strcmp(name, "") == 0);
    size_t count = 0;
    CHECK_CODE(weir_context_report(context, NULL, 0, &count), WEIR_ENOMEM);
    CHECK_OK(weir_context_destroy(context));
    fail = 0;
}

static void *run_body(void *user)
{
    CHECK_OK(weir_context_run(user, NULL));
    return NULL;
}

TEST(without_memory_threads_sleep_and_wake)
{
    CHECK_OK(weir_set_allocator(&own));
    weir_context *context = new_context();
    CHECK_OK(weir_context_work_begin(context));
    fail = 1;
    pthread_t threads[4];
    for (int i = 0; i < 4; i++)
        threads[i] = start_thread(run_body, context);
    sleep_ms(100); /* all but the reactor have gone to sleep, in most cases */
    CHECK_OK(weir_context_work_end(context));
    for (int i = 0; i < 4; i++)
        join_thread(threads[i]);
    fail = 0;
    CHECK_OK(weir_context_destroy(context));
}

/* docs/benchmarks.md has these figures. The tables double, and hold this many when they are full. */
enum { FULL = 64 * 15 };

static size_t before_all;

static void measure_from_here(void)
{
    before_all = bytes;
}

static void expect_each(const char *what, size_t limit)
{
    size_t each = (bytes - before_all + FULL - 1) / FULL;
    if (each > limit)
        fprintf(stderr, "%s: %zu bytes\n", what, each);
    CHECK(each <= limit);
}

TEST(a_stream_that_waits_to_be_read_is_small)
{
    CHECK_OK(weir_set_allocator(&own));
    struct rlimit fds;
    CHECK_EQ(getrlimit(RLIMIT_NOFILE, &fds), 0);
    fds.rlim_cur = fds.rlim_max;
    CHECK_EQ(setrlimit(RLIMIT_NOFILE, &fds), 0);
    if (fds.rlim_cur < FULL + 64)
        CHECK_SKIP("too few fds");
    weir_context *context = new_context();
    struct counter counter = {0};
    static weir_stream *streams[FULL];
    char byte;
    measure_from_here();
    for (size_t i = 0; i < FULL; i += 2) {
        CHECK_OK(weir_stream_pair(context, &streams[i], &streams[i + 1]));
        for (size_t end = i; end < i + 2; end++)
            CHECK_OK(weir_stream_read_some(streams[end], &byte, 1, count_io, &counter));
    }
    expect_each("a stream", 144);
    /* What it takes to write is given back: once for all of them. */
    for (size_t i = 0; i < FULL; i++) {
        CHECK_OK(weir_stream_write(streams[i], "", 1, count_io, &counter));
        CHECK_OK(weir_context_poll(context, NULL));
        CHECK_OK(weir_context_restart(context));
    }
    expect_each("a stream that has written", 144 + 10);
    CHECK_OK(weir_context_destroy(context));
}

TEST(it_is_too_late_once_memory_was_allocated)
{
    weir_context *context = new_context();
    CHECK_CODE(weir_set_allocator(&own), WEIR_EBUSY);
    CHECK_OK(weir_context_destroy(context));
    CHECK_EQ(calls, 0);
}

/* What an operation needs is had before anything begins; a read that waits needs nothing. */
TEST(a_write_that_can_not_wait_for_want_of_memory_has_not_begun)
{
    CHECK_OK(weir_set_allocator(&own));
    weir_context *context = new_context();
    struct pair pair = new_small_pair(context, AF_UNIX);
    struct where where;
    int listener = plain_listener(AF_INET, 1, &where);
    weir_stream *other = new_stream(context);
    size_t filled = fill(pair.stream);
    struct counter counter = {0}, read = {0};
    char byte;
    fail = 1;
    START(weir_stream_read(pair.stream, &byte, 1, io_done, &read));
    START_CODE(weir_stream_write(pair.stream, "a", 1, io_done, &counter), WEIR_ENOMEM);
    START_CODE(weir_stream_send(pair.stream, "a", 1, io_done, &counter), WEIR_ENOMEM);
    START_CODE(weir_stream_wait(pair.stream, WEIR_WAIT_WRITE, done, &counter), WEIR_ENOMEM);
    CHECK_CODE(weir_stream_set_timeout(pair.stream, WEIR_WAIT_READ, CHECK_SECOND), WEIR_ENOMEM);
    START_CODE(weir_stream_connect(other, AT(&where), done, &counter), WEIR_ENOMEM);
    int fd = -1;
    CHECK_CODE(weir_stream_fd(other, &fd), WEIR_ENOTCONN);
    fail = 0;
    START(weir_stream_write(pair.stream, "a", 1, io_done, &counter));
    START(weir_stream_connect(other, AT(&where), done, &counter));
    drain(pair.peer, filled);
    send_all(pair.peer, "b", 1);
    RUN_CALLS(context, counter, 2);
    RUN_CALLS(context, read, 1);
    CHECK_DONE(read, 0, 1);
    CHECK_OK(atomic_load(&counter.status));
    CHECK_OK(weir_stream_close(other));
    close(listener);
    close_pair(&pair);
    CHECK_OK(weir_context_destroy(context));
}

/* The kernel has a part of it, and the rest can't be kept: nothing may follow that. */
TEST(a_copy_that_was_cut_for_want_of_memory_ends_the_writing)
{
    static const char large[1 << 22];
    CHECK_OK(weir_set_allocator(&own));
    weir_context *context = new_context();
    struct pair pair = new_small_pair(context, AF_UNIX);
    fail = 1;
    CHECK_CODE(weir_stream_send_copy(pair.stream, large, sizeof large, NULL), WEIR_ENOMEM);
    fail = 0;
    CHECK_CODE(weir_stream_send_copy(pair.stream, "a", 1, NULL), WEIR_ENOMEM);
    /* Another fd is another story. */
    int fd = -1, ends[2];
    CHECK_OK(weir_stream_release(pair.stream, &fd));
    close(fd);
    close(pair.peer);
    plain_pair(AF_UNIX, ends);
    CHECK_OK(weir_stream_adopt(pair.stream, ends[0]));
    CHECK_OK(weir_stream_send_copy(pair.stream, "a", 1, NULL));
    CHECK_OK(weir_stream_close(pair.stream));
    close(ends[1]);
    CHECK_OK(weir_context_destroy(context));
}

TEST_MAIN()
