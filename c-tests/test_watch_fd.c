/* Watches of fds that others closed, reused, duplicated or share: what the kernel is asked, and what it tells. */
#include "watch.h"
#include <sys/syscall.h>

#define PERSISTENT WEIR_WATCH_PERSISTENT
#define EDGE WEIR_WATCH_EDGE
#define READ WEIR_WATCH_READ
#define WRITE WEIR_WATCH_WRITE

/* Stands before libc's, for the library too: counts. */
static atomic_int controls;

int epoll_ctl(int set, int operation, int fd, struct epoll_event *event)
{
    atomic_fetch_add(&controls, 1);
    return (int)syscall(SYS_epoll_ctl, set, operation, fd, event);
}

/* A library linked statically, or under a sanitizer that has its own, does not call these. */
static void need_counters(weir_context *context)
{
    int ends[2];
    new_pipe(ends);
    weir_watch *watch = new_watch(context, ends[0]);
    int before = controls;
    CHECK_OK(weir_watch_start(watch, READ, 0, WEIR_FOREVER, NULL, NULL));
    if (controls == before)
        CHECK_SKIP("the library's system calls can't be counted here");
    CHECK_OK(weir_watch_close(watch));
    close(ends[0]);
    close(ends[1]);
}

/* Sees that a context with nothing to do sleeps. */
static void check_sleeps(weir_context *context)
{
    CHECK_OK(weir_context_work_begin(context));
    if (weir_context_stopped(context))
        CHECK_OK(weir_context_restart(context));
    uint64_t before = turns_of(context);
    CHECK_OK(weir_context_run_for(context, 100 * CHECK_MS, NULL));
    CHECK(turns_of(context) - before <= 10);
    CHECK_OK(weir_context_work_end(context));
}

TEST(interest_that_the_kernel_knows_costs_no_system_call)
{
    weir_context *context = new_context();
    need_counters(context);
    int pair[2];
    CHECK_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, pair), 0);
    struct seen seen[3] = {{0}, {0}, {0}};
    weir_watch *both = new_watch(context, pair[0]), *reader = new_watch(context, pair[0]);
    START(weir_watch_start(both, READ | WRITE, EDGE | PERSISTENT, WEIR_FOREVER, saw, &seen[0]));
    START(weir_watch_start(reader, READ, EDGE | PERSISTENT, WEIR_FOREVER, saw, &seen[1]));
    while (poll_once(context) > 0) {
    }
    int before = controls, calls = seen[1].calls;
    CHECK_EQ(calls, 0);
    for (int i = 0; i < 100; i++) {
        CHECK_OK(weir_watch_change(reader, READ | WEIR_WATCH_HANGUP));
        CHECK_OK(weir_watch_change(reader, READ));
        CHECK_OK(weir_watch_change(reader, READ));
    }
    CHECK_EQ(controls, before);
    /* The other wants it: writable since before. */
    CHECK_OK(weir_watch_change(reader, WRITE));
    CHECK_EQ(controls, before);
    WAIT_FOR(poll_once(context) == 0);
    CHECK_EQ(seen[1].calls, 1);
    CHECK_EQ(seen[1].events, WRITE);
    CHECK_OK(weir_context_destroy(context));
}

TEST(a_level_watch_that_reads_costs_no_control_calls)
{
    weir_context *context = new_context();
    need_counters(context);
    int ends[2];
    new_pipe(ends);
    struct seen seen = {.fd = ends[0]};
    weir_watch *watch = new_watch(context, ends[0]);
    START(weir_watch_start(watch, READ, PERSISTENT, WEIR_FOREVER, saw, &seen));
    int before = controls;
    for (int i = 1; i <= 100; i++) {
        put(ends[1], 1);
        CHECK_EQ(poll_once(context), 1);
        CHECK_EQ(seen.calls, i);
    }
    CHECK_EQ(controls, before);
    check_sleeps(context);
    CHECK_OK(weir_context_destroy(context));
}

TEST(h14_an_event_that_nobody_wants_any_more_comes_once_at_most)
{
    weir_context *context = new_context();
    need_counters(context);
    int pair[2];
    CHECK_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, pair), 0);
    struct seen seen = {0};
    weir_watch *watch = new_watch(context, pair[0]);
    START(weir_watch_start(watch, READ | WEIR_WATCH_PRIORITY, PERSISTENT, WEIR_FOREVER, saw, &seen));
    CHECK_OK(weir_watch_change(watch, WEIR_WATCH_PRIORITY));
    int before = controls;
    for (int i = 0; i < 20; i++) {
        put(pair[1], 1);
        CHECK_EQ(poll_once(context), 0);
    }
    CHECK_EQ(seen.calls, 0);
    CHECK_EQ(controls, before + 1); /* taken back with the first */
    check_sleeps(context);
    /* A one-shot that is not started again is forgotten with the next event. */
    weir_watch *once = new_watch(context, pair[1]);
    put(pair[0], 1);
    START(weir_watch_start(once, READ, 0, WEIR_FOREVER, saw, &seen));
    CHECK_EQ(poll_once(context), 1);
    before = controls;
    for (int i = 0; i < 20; i++) {
        put(pair[0], 1);
        CHECK_EQ(poll_once(context), 0);
    }
    CHECK_EQ(controls, before + 1);
    CHECK_OK(weir_context_destroy(context));
}

TEST(h35_several_watches_of_an_fd_each_get_what_they_want)
{
    weir_context *context = new_context();
    int pair[2];
    CHECK_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, pair), 0);
    struct seen reads = {.fd = pair[0]}, writes = {0}, hangs = {0}, once = {0};
    weir_watch *reader = new_watch(context, pair[0]), *writer = new_watch(context, pair[0]);
    weir_watch *hang = new_watch(context, pair[0]), *single = new_watch(context, pair[0]);
    START(weir_watch_start(reader, READ, PERSISTENT, WEIR_FOREVER, saw, &reads));
    START(weir_watch_start(hang, WEIR_WATCH_READ_HANGUP, EDGE | PERSISTENT, WEIR_FOREVER, saw, &hangs));
    START(weir_watch_start(single, WRITE, 0, WEIR_FOREVER, saw, &once));
    poll_once(context);
    CHECK_EQ(once.calls, 1);
    START(weir_watch_start(writer, WRITE, EDGE | PERSISTENT, WEIR_FOREVER, saw, &writes));
    poll_once(context);
    CHECK_EQ(writes.calls, 1);
    CHECK_EQ(reads.calls + hangs.calls, 0);
    put(pair[1], 1);
    poll_once(context);
    CHECK_EQ(reads.calls, 1);
    CHECK_EQ(hangs.calls, 0);
    CHECK_OK(weir_watch_close(reader));
    CHECK_EQ(shutdown(pair[1], SHUT_WR), 0);
    poll_once(context);
    CHECK_EQ(hangs.calls, 1);
    CHECK_EQ(hangs.events, WEIR_WATCH_READ_HANGUP);
    CHECK_EQ(reads.ends, 1);
    CHECK_OK(weir_watch_close(hang));
    CHECK_OK(weir_watch_close(writer));
    CHECK_EQ(poll_once(context), 2);
    CHECK_EQ(once.calls, 1);
    CHECK_OK(weir_context_destroy(context));
}

TEST(h33_a_closed_fd_is_an_error_at_the_next_change)
{
    weir_context *context = new_context();
    int ends[2];
    new_pipe(ends);
    struct seen seen = {0};
    weir_watch *watch = new_watch(context, ends[0]);
    START(weir_watch_start(watch, READ, PERSISTENT, WEIR_FOREVER, saw, &seen));
    close(ends[0]);
    CHECK_EQ(poll_once(context), 0);
    CHECK_CODE(weir_watch_change(watch, READ | WEIR_WATCH_PRIORITY), WEIR_EBADF);
    CHECK_CODE(weir_watch_change(watch, READ), WEIR_EBADF);
    CHECK_CODE(weir_watch_set_fd(watch, ends[0]), WEIR_EBADF);
    CHECK_OK(weir_watch_stop(watch, NULL));
    CHECK_EQ(poll_once(context), 1);
    CHECK_EQ(seen.ends, 1);
    CHECK_CODE(weir_watch_start(watch, READ, 0, WEIR_FOREVER, saw, &seen), WEIR_EBADF);
    weir_watch *huge = new_watch(context, INT_MAX);
    CHECK_CODE(weir_watch_start(huge, READ, 0, WEIR_FOREVER, saw, &seen), WEIR_EBADF);
    CHECK_OK(weir_context_destroy(context));
}

TEST(h33_a_reused_number_does_not_fire_the_old_watch)
{
    weir_context *context = new_context();
    int old[2], other[2];
    new_pipe(old);
    struct seen first = {0}, second = {0};
    weir_watch *watch = new_watch(context, old[0]), *next = new_watch(context, old[0]);
    START(weir_watch_start(watch, READ, PERSISTENT, WEIR_FOREVER, saw, &first));
    close(old[0]);
    new_pipe(other);
    CHECK_EQ(other[0], old[0]);
    put(other[1], 1);
    CHECK_EQ(poll_once(context), 0);
    /* A watch that starts now is of the new file, and of that only. */
    START(weir_watch_start(next, READ, PERSISTENT, WEIR_FOREVER, saw, &second));
    CHECK_EQ(one(context), 1);
    for (int i = 0; i < 5; i++)
        poll_once(context);
    CHECK(second.calls > 1);
    CHECK_EQ(first.calls, 0);
    /* The old one is moved there when told so. */
    CHECK_OK(weir_watch_set_fd(watch, other[0]));
    WAIT_FOR(one(context) == 1 && first.calls == 1);
    CHECK_OK(weir_context_destroy(context));
    CHECK_EQ(first.ends + second.ends, 2);
}

static int reused[2];

/* Closes its fd without a word, and opens another file under the number, which is readable. */
static void swap(int status, int events, void *user)
{
    struct seen *seen = user;
    (void)events;
    if (status < 0) {
        seen->ends++;
        return;
    }
    seen->calls++;
    close(seen->fd);
    new_pipe(reused);
    CHECK_EQ(reused[0], seen->fd);
    put(reused[1], 1);
}

TEST(h33_a_number_reused_in_the_callback_does_not_fire_again)
{
    weir_context *context = new_context();
    int ends[2];
    new_pipe(ends);
    struct seen seen = {.fd = ends[0]};
    weir_watch *watch = new_watch(context, ends[0]);
    put(ends[1], 1);
    START(weir_watch_start(watch, READ, PERSISTENT, WEIR_FOREVER, swap, &seen));
    for (int i = 0; i < 50; i++)
        poll_once(context);
    CHECK_EQ(seen.calls, 1);
    check_sleeps(context);
    CHECK_OK(weir_watch_close(watch));
    poll_once(context);
    CHECK_EQ(seen.ends, 1);
    CHECK_OK(weir_context_destroy(context));
}

TEST(h33_a_copy_of_a_closed_fd_does_not_spin_or_fire)
{
    weir_context *context = new_context();
    int ends[2];
    new_pipe(ends);
    struct seen seen = {0}, late = {0};
    weir_watch *watch = new_watch(context, ends[0]);
    START(weir_watch_start(watch, READ, PERSISTENT, WEIR_FOREVER, saw, &seen));
    int copy = fcntl(ends[0], F_DUPFD_CLOEXEC, 100);
    close(ends[0]);
    CHECK_OK(weir_watch_stop(watch, NULL));
    CHECK_EQ(poll_once(context), 1);
    for (int i = 0; i < 20; i++) {
        put(ends[1], 1); /* the kernel still tells of these */
        CHECK_EQ(poll_once(context), 0);
    }
    check_sleeps(context);
    CHECK_EQ(seen.calls, 0);
    /* The same file under the same number again: watched again. */
    CHECK_EQ(dup2(copy, ends[0]), ends[0]);
    START(weir_watch_start(watch, READ, 0, WEIR_FOREVER, saw, &late));
    CHECK_EQ(poll_once(context), 1);
    CHECK_EQ(late.calls, 1);
    /* Closed while it is watched, and the copy is readable. */
    late.fd = copy;
    START(weir_watch_start(watch, READ, PERSISTENT, WEIR_FOREVER, saw, &late));
    close(ends[0]);
    for (int i = 0; i < 20; i++)
        poll_once(context);
    check_sleeps(context);
    CHECK_OK(weir_context_destroy(context));
    CHECK_EQ(late.ends, 1);
}

TEST(h33_a_registration_left_behind_does_not_fire_a_new_watch)
{
    weir_context *context = new_context();
    int old[2], other[2];
    new_pipe(old);
    new_pipe(other);
    struct seen first = {0}, second = {0};
    weir_watch *watch = new_watch(context, old[0]), *next = new_watch(context, other[0]);
    START(weir_watch_start(watch, READ, EDGE | PERSISTENT, WEIR_FOREVER, saw, &first));
    int copy = dup(old[0]);
    CHECK(copy >= 0);
    close(old[0]);
    CHECK_OK(weir_watch_close(watch));
    CHECK_EQ(poll_once(context), 1);
    /* In whatever place of the library's the old one had. */
    START(weir_watch_start(next, READ, EDGE | PERSISTENT, WEIR_FOREVER, saw, &second));
    for (int i = 0; i < 5; i++) {
        put(old[1], 1); /* the kernel still tells of these */
        CHECK_EQ(poll_once(context), 0);
    }
    CHECK_EQ(second.calls, 0);
    put(other[1], 1);
    CHECK_EQ(poll_once(context), 1);
    CHECK_EQ(second.calls, 1);
    CHECK_OK(weir_context_destroy(context));
    close(copy);
}

/* A stream of the library gets the number of a watched fd that was closed: the watch must not disturb it. */
TEST(h33_the_old_watch_does_not_disturb_a_stream_that_has_its_number)
{
    weir_context *context = new_context();
    int ends[2], pair[2];
    new_pipe(ends);
    struct seen seen = {0};
    weir_watch *watch = new_watch(context, ends[0]);
    START(weir_watch_start(watch, READ, PERSISTENT, WEIR_FOREVER, saw, &seen));
    CHECK_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, pair), 0);
    CHECK_EQ(dup2(pair[0], ends[0]), ends[0]);
    close(pair[0]);
    weir_stream *stream = adopted(context, ends[0]);
    char byte;
    struct counter got = {0};
    START(weir_stream_read_some(stream, &byte, 1, io_done, &got));
    CHECK_EQ(poll_once(context), 0);
    CHECK_CODE(weir_watch_change(watch, READ | WRITE), -EEXIST);
    CHECK_OK(weir_watch_stop(watch, NULL));
    CHECK_OK(weir_watch_close(watch));
    CHECK_EQ(poll_once(context), 1);
    put(pair[1], 1);
    CHECK_EQ(poll_once(context), 1);
    CHECK_EQ(got.calls, 1);
    CHECK_EQ(seen.calls, 0);
    weir_watch *foreign = new_watch(context, ends[0]);
    CHECK_CODE(weir_watch_start(foreign, READ, 0, WEIR_FOREVER, saw, &seen), -EEXIST);
    CHECK_OK(weir_context_destroy(context));
}

/* The same where the watch is changed before the stream has ever waited: it takes the stream's fd for its own file's. */
TEST(h33_a_watch_that_took_a_streams_fd_gives_it_back)
{
    weir_context *context = new_context();
    int ends[2], pair[2];
    new_pipe(ends);
    struct seen seen = {0};
    weir_watch *watch = new_watch(context, ends[0]);
    START(weir_watch_start(watch, READ, PERSISTENT, WEIR_FOREVER, saw, &seen));
    CHECK_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, pair), 0);
    CHECK_EQ(dup2(pair[0], ends[0]), ends[0]);
    close(pair[0]);
    weir_stream *stream = adopted(context, ends[0]);
    int changed = weir_watch_change(watch, READ | WEIR_WATCH_PRIORITY);
    CHECK(changed == 0 || changed == -ENOENT);
    char byte;
    struct counter got = {0};
    START(weir_stream_read_some(stream, &byte, 1, io_done, &got));
    put(pair[1], 1);
    RUN_CALLS(context, got, 1);
    CHECK_OK(got.status);
    CHECK_OK(weir_watch_close(watch));
    START(weir_stream_read_some(stream, &byte, 1, io_done, &got));
    put(pair[1], 1);
    RUN_CALLS(context, got, 2);
    CHECK_OK(got.status);
    CHECK_OK(weir_context_destroy(context));
    close(pair[1]);
}

TEST(regular_files_are_always_ready_and_starve_nobody)
{
    weir_context *context = new_context();
    char name[] = "/tmp/weir-watch-XXXXXX";
    int file = mkstemp(name), ends[2];
    CHECK(file >= 0);
    unlink(name);
    new_pipe(ends);
    struct seen level = {0}, edge = {0}, once = {0}, piped = {.fd = ends[0]}, none = {0};
    weir_watch *watch = new_watch(context, file), *second = new_watch(context, file);
    weir_watch *third = new_watch(context, file), *beside = new_watch(context, ends[0]);
    weir_watch *never = new_watch(context, file);
    START(weir_watch_start(watch, READ, PERSISTENT, WEIR_FOREVER, saw, &level));
    START(weir_watch_start(second, WRITE, PERSISTENT | EDGE, WEIR_FOREVER, saw, &edge));
    START(weir_watch_start(third, READ | WRITE, 0, WEIR_FOREVER, saw, &once));
    START(weir_watch_start(never, WEIR_WATCH_PRIORITY, PERSISTENT, WEIR_FOREVER, saw, &none));
    START(weir_watch_start(beside, READ, PERSISTENT, WEIR_FOREVER, saw, &piped));
    for (int i = 1; i <= 20; i++) {
        int before = level.calls;
        put(ends[1], 1);
        WAIT_FOR(piped.calls == i || (one(context), piped.calls == i));
        WAIT_FOR(level.calls > before || (one(context), level.calls > before));
    }
    CHECK_EQ(edge.calls, 1);
    CHECK_EQ(edge.events, WRITE);
    CHECK_EQ(once.calls, 1);
    CHECK_EQ(once.events, READ | WRITE);
    CHECK_EQ(level.events, READ);
    CHECK_EQ(none.calls, 0);
    /* The number becomes a pipe's. */
    CHECK_OK(weir_watch_change(watch, WRITE));
    CHECK_EQ(one(context), 1);
    WAIT_FOR(level.events == WRITE || (one(context), level.events == WRITE));
    CHECK_OK(weir_watch_stop(watch, NULL));
    WAIT_FOR(level.ends == 1 || (one(context), level.ends == 1));
    CHECK_EQ(dup2(ends[0], file), file);
    struct seen later = {.fd = file};
    START(weir_watch_start(watch, READ, PERSISTENT, WEIR_FOREVER, saw, &later));
    CHECK_EQ(poll_once(context), 0);
    CHECK_OK(weir_watch_stop(beside, NULL));
    put(ends[1], 1);
    WAIT_FOR(later.calls == 1 || (one(context), later.calls == 1));
    CHECK_OK(weir_context_destroy(context));
}

static int new_regular_file(void)
{
    FILE *file = tmpfile();
    CHECK(file != NULL);
    int fd = fcntl(fileno(file), F_DUPFD_CLOEXEC, 0);
    CHECK(fd >= 0);
    fclose(file);
    return fd;
}

TEST(h33_a_regular_file_under_the_number_of_a_socket_is_ready)
{
    weir_context *context = new_context();
    struct seen old = {0}, later = {0};
    int ends[2], file = new_regular_file();
    new_pipe(ends);
    weir_watch *first = new_watch(context, ends[0]), *second = new_watch(context, ends[0]);
    START(weir_watch_start(first, READ, PERSISTENT, WEIR_FOREVER, saw, &old));
    CHECK_EQ(dup2(file, ends[0]), ends[0]);
    START(weir_watch_start(second, READ, 0, WEIR_FOREVER, saw, &later));
    CHECK_EQ(poll_once(context), 1);
    CHECK_EQ(later.calls, 1);
    CHECK_EQ(old.calls, 0);
    CHECK_OK(weir_context_destroy(context));
}

TEST(h33_a_socket_under_the_number_of_a_regular_file_is_not_ready)
{
    weir_context *context = new_context();
    struct seen old = {0}, later = {0};
    int ends[2], file = new_regular_file();
    new_pipe(ends);
    weir_watch *first = new_watch(context, file), *second = new_watch(context, file);
    START(weir_watch_start(first, READ, EDGE | PERSISTENT, WEIR_FOREVER, saw, &old));
    CHECK_EQ(poll_once(context), 1);
    CHECK_EQ(dup2(ends[0], file), file);
    /* A change finds it out, and goes on with the file that is there. */
    CHECK_OK(weir_watch_change(first, READ | WEIR_WATCH_PRIORITY));
    CHECK_EQ(poll_once(context), 0);
    CHECK_EQ(old.calls, 1);
    put(ends[1], 1);
    CHECK_EQ(poll_once(context), 1);
    CHECK_EQ(old.calls, 2);

    /* Another watch does: the old one hears nothing more. */
    int other[2];
    CHECK_EQ(close(file), 0);
    CHECK_EQ(weir_watch_close(first), 0);
    file = new_regular_file();
    first = new_watch(context, file);
    old.calls = old.ends = 0;
    struct seen gone = {0};
    START(weir_watch_start(first, READ, EDGE | PERSISTENT, WEIR_FOREVER, saw, &gone));
    WAIT_FOR(gone.calls == 1 || (poll_once(context), gone.calls == 1));
    new_pipe(other);
    CHECK_EQ(dup2(other[0], file), file);
    CHECK_OK(weir_watch_set_fd(second, file));
    START(weir_watch_start(second, READ, 0, WEIR_FOREVER, saw, &later));
    put(other[1], 1);
    WAIT_FOR(later.calls == 1 || (poll_once(context), later.calls == 1));
    CHECK_EQ(gone.calls, 1);
    CHECK_OK(weir_context_destroy(context));
}

TEST(h33_a_level_of_a_regular_file_ends_with_the_file)
{
    weir_context *context = new_context();
    struct seen seen = {0};
    int file = new_regular_file();
    weir_watch *watch = new_watch(context, file);
    START(weir_watch_start(watch, READ, PERSISTENT, WEIR_FOREVER, saw, &seen));
    for (int i = 1; i <= 3; i++)
        CHECK_EQ(one(context), 1);
    CHECK_EQ(close(file), 0);
    int before = seen.calls;
    for (int i = 0; i < 5; i++)
        one(context);
    CHECK(seen.calls <= before + 1); /* one may be on its way */
    CHECK_CODE(weir_watch_change(watch, READ | WRITE), WEIR_EBADF);
    CHECK_OK(weir_context_destroy(context));
    CHECK_EQ(seen.ends, 1);
}

TEST(a_watch_of_a_streams_own_fd_ends_when_the_stream_waits)
{
    weir_context *context = new_context();
    weir_stream *one = NULL, *two = NULL;
    CHECK_OK(weir_stream_pair(context, &one, &two));
    int fd = -1;
    CHECK_OK(weir_stream_fd(one, &fd));
    weir_watch *watch = new_watch(context, fd);
    struct seen seen = {0};
    struct counter got = {0}, sent = {0};
    char byte = 0;
    START(weir_watch_start(watch, READ, PERSISTENT, WEIR_FOREVER, saw, &seen));
    START(weir_stream_read_some(one, &byte, 1, count_io, &got));
    CHECK_EQ(poll_once(context), 1);
    CHECK_EQ(seen.ends, 1);
    CHECK_CODE(seen.status, -EEXIST);
    START_CODE(weir_watch_start(watch, READ, 0, WEIR_FOREVER, saw, &seen), -EEXIST);
    START(weir_stream_write(two, "x", 1, count_io, &sent));
    WAIT_FOR(got.calls == 1 || (poll_once(context), got.calls == 1));
    CHECK_EQ(got.bytes, 1);
    CHECK_OK(weir_context_destroy(context));
    CHECK_EQ(seen.calls, 0);
}

TEST(set_fd_moves_a_watch)
{
    weir_context *context = new_context();
    int a[2], b[2];
    new_pipe(a);
    new_pipe(b);
    struct seen seen = {0};
    weir_watch *watch = new_watch(context, a[0]);
    int fd = 0;
    CHECK_CODE(weir_watch_set_fd(watch, -2), WEIR_EINVAL);
    START(weir_watch_start(watch, READ, PERSISTENT, WEIR_FOREVER, saw, &seen));
    put(a[1], 1);
    CHECK_OK(weir_watch_set_fd(watch, b[0]));
    CHECK_OK(weir_watch_fd(watch, &fd));
    CHECK_EQ(fd, b[0]);
    CHECK_EQ(poll_once(context), 0);
    put(b[1], 1);
    CHECK_EQ(one(context), 1);
    CHECK_CODE(weir_watch_set_fd(watch, 900), WEIR_EBADF); /* stays */
    CHECK_OK(weir_watch_fd(watch, &fd));
    CHECK_EQ(fd, b[0]);
    CHECK_EQ(one(context), 1);
    CHECK_OK(weir_watch_set_fd(watch, -1));
    CHECK_EQ(poll_once(context), 0);
    CHECK_OK(weir_watch_set_fd(watch, a[0]));
    CHECK_EQ(one(context), 1);
    CHECK_EQ(seen.calls, 3);
    CHECK_OK(weir_watch_set_fd(watch, a[0]));
    CHECK_EQ(one(context), 1);
    CHECK_OK(weir_context_destroy(context));
    CHECK_EQ(seen.ends, 1);
}

TEST(an_eventfd_and_an_epoll_set_can_be_watched)
{
    weir_context *context = new_context(), *inner = new_context();
    int event = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC), inner_fd = -1;
    struct seen seen = {0}, nested = {0};
    CHECK_OK(weir_context_fd(inner, &inner_fd));
    weir_watch *watch = new_watch(context, event), *set = new_watch(context, inner_fd);
    START(weir_watch_start(watch, READ, 0, WEIR_FOREVER, saw, &seen));
    START(weir_watch_start(set, READ, 0, WEIR_FOREVER, saw, &nested));
    uint64_t number = 1;
    CHECK_EQ(write(event, &number, sizeof number), 8);
    WAIT_FOR(poll_once(context) == 0);
    CHECK_EQ(seen.calls, 1);
    struct counter call = {0};
    CHECK_OK(weir_context_post(inner, done, &call));
    WAIT_FOR(nested.calls == 1 || (poll_once(context), nested.calls == 1));
    CHECK_OK(weir_context_poll(inner, NULL));
    CHECK_EQ(call.calls, 1);
    CHECK_OK(weir_context_destroy(context));
    CHECK_OK(weir_context_destroy(inner));
}

TEST_MAIN()
