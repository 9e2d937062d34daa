/* H73: every function may be called from every callback; no lock is held while user code runs. A lock that is held
 * hangs the case. */
#include "check.h"

#include <netinet/in.h>
#include <sys/socket.h>

static void ignore(int status, void *user)
{
    (void)status;
    (void)user;
}

static void ignore_io(int status, size_t bytes, void *user)
{
    (void)bytes;
    ignore(status, user);
}

static void ignore_accept(int status, weir_stream *peer, const struct sockaddr *address, socklen_t length, void *user)
{
    (void)address;
    (void)length;
    (void)user;
    if (status == 0)
        CHECK_OK(weir_stream_close(peer));
}

static void post_one(weir_context *context)
{
    CHECK_OK(weir_context_post(context, ignore, NULL));
}

/* Buffers of operations that outlive the call. */
static _Thread_local char sink[64];
static _Thread_local struct iovec sink_vector;
static const struct iovec source_vector = {"vector", 6};

static void every_context_function(weir_context *context, bool inside)
{
    int fd = -1;
    int64_t now = 0;
    uint64_t values[4];
    weir_context *fresh = NULL;
    CHECK(weir_context_running_in_this_thread(context) == (inside ? 1 : 0));
    post_one(context);
    CHECK_OK(weir_context_dispatch(context, ignore, NULL));
    CHECK_OK(weir_context_defer(context, ignore, NULL));
    CHECK_OK(weir_context_work_begin(context));
    CHECK_OK(weir_context_work_end(context));
    CHECK_OK(weir_context_now(context, &now));
    CHECK_OK(weir_context_turn_now(context, &now));
    CHECK_CODE(weir_context_advance(context, 1), WEIR_EINVAL);
    CHECK_OK(weir_context_fd(context, &fd));
    CHECK_OK(weir_context_wakeup_fd(context, &fd));
    CHECK_OK(weir_context_wakeup_values(context, values));
    CHECK_OK(weir_context_poll_one(context, NULL));
    CHECK_OK(weir_context_poll(context, NULL));
    CHECK_OK(weir_context_run_for(context, 0, NULL));
    CHECK_OK(weir_context_run_until(context, now, NULL));
    CHECK_OK(weir_context_wait_one(context, 0, NULL));
    /* The functions that may block, on a context that has something to do. */
    CHECK_OK(weir_context_create(NULL, &fresh));
    post_one(fresh);
    CHECK_OK(weir_context_run_one(fresh, NULL));
    CHECK_OK(weir_context_restart(fresh));
    post_one(fresh);
    CHECK_OK(weir_context_run(fresh, NULL));
    CHECK_EQ(weir_context_stopped(fresh), 1);
    CHECK_OK(weir_context_restart(fresh));
    CHECK_OK(weir_context_stop(fresh));
    post_one(fresh);
    CHECK_OK(weir_context_destroy(fresh));
    if (inside)
        CHECK_CODE(weir_context_destroy(context), WEIR_EBUSY);
}

static void every_timer_function(weir_context *context)
{
    weir_timer *timer = new_timer(context);
    weir_context *of = NULL;
    int64_t ns = 0;
    CHECK_OK(weir_timer_context(timer, &of));
    CHECK_OK(weir_timer_expires_after(timer, 1000));
    CHECK_OK(weir_timer_expires_at(timer, 1));
    CHECK_OK(weir_timer_expiry(timer, &ns));
    CHECK_OK(weir_timer_remaining(timer, &ns));
    CHECK_OK(weir_timer_wait(timer, ignore, NULL));
    CHECK_OK(weir_timer_wait(timer, ignore, NULL));
    CHECK_OK(weir_timer_cancel_one(timer, NULL));
    CHECK_OK(weir_timer_cancel(timer, NULL));
    CHECK_OK(weir_timer_start(timer, 1, 1, ignore, NULL));
    CHECK_OK(weir_timer_stop(timer, NULL));
    CHECK_OK(weir_timer_wait(timer, ignore, NULL));
    CHECK_OK(weir_timer_close(timer));
}

static void every_composed_function(weir_context *context)
{
    weir_stream *left = new_stream(context), *right = new_stream(context), *third = new_stream(context);
    struct sockaddr_in nowhere = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
    const struct sockaddr *address = (const struct sockaddr *)&nowhere;
    socklen_t length = sizeof nowhere;
    static _Thread_local weir_until until;
    size_t bytes = 0;
    int pair[2];
    until = (weir_until){sizeof until, sink, sizeof sink, 0, "\n", 1};
    CHECK_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair), 0);
    CHECK_OK(weir_stream_adopt(left, pair[0]));
    CHECK_OK(weir_stream_adopt(right, pair[1]));
    CHECK_OK(weir_stream_set_timeout(left, WEIR_WAIT_READ | WEIR_WAIT_WRITE, 1));
    CHECK_OK(weir_stream_set_high_water(left, 1, 0, ignore_io, NULL));
    CHECK_OK(weir_stream_send(left, "one\n", 4, ignore_io, NULL));
    CHECK_OK(weir_stream_send(left, "two\n", 4, ignore_io, NULL));
    CHECK_OK(weir_stream_send_copy(left, "three\n", 6, &bytes));
    CHECK_OK(weir_stream_queued(left, &bytes));
    CHECK_OK(weir_stream_read_until(right, &until, ignore_io, NULL));
    CHECK_OK(weir_stream_read_until(left, &until, ignore_io, NULL));
    CHECK_OK(weir_stream_send_file(right, STDIN_FILENO, 0, 1, ignore_io, NULL));
    CHECK_OK(weir_stream_connect_list(third, &address, &length, 1, NULL, ignore, NULL));
    CHECK_OK(weir_stream_close(left));
    CHECK_OK(weir_stream_close(right));
    CHECK_OK(weir_stream_close(third));
}

static void every_stream_function(weir_context *context)
{
    weir_stream *stream = new_stream(context), *reader = new_stream(context), *other = new_stream(context);
    weir_context *of = NULL;
    struct sockaddr_storage address;
    struct sockaddr_in nowhere = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
    socklen_t length = sizeof address, size = sizeof(int);
    size_t bytes = 0;
    int pair[2], fd = -1, value = 0;
    sink_vector = (struct iovec){sink, sizeof sink};
    CHECK_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair), 0);
    CHECK_OK(weir_stream_adopt(stream, pair[0]));
    CHECK_OK(weir_stream_adopt(reader, pair[1]));
    CHECK_OK(weir_stream_context(stream, &of));
    CHECK_OK(weir_stream_fd(stream, &fd));
    CHECK_OK(weir_stream_write_some(stream, "some", 4, ignore_io, NULL));
    CHECK_OK(weir_stream_read_some(reader, sink, sizeof sink, ignore_io, NULL));
    CHECK_OK(weir_stream_cancel(stream, NULL));
    CHECK_OK(weir_stream_cancel(reader, NULL));
    CHECK_OK(weir_stream_close(stream));
    CHECK_OK(weir_stream_release(reader, &fd));
    close(fd);

    every_composed_function(context);

    /* Each way to read and to write on a pair of its own: what was begun is ended by the close. */
    for (int kind = 0; kind < 5; kind++) {
        weir_stream *left = new_stream(context), *right = new_stream(context);
        CHECK_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair), 0);
        CHECK_OK(weir_stream_adopt(left, pair[0]));
        CHECK_OK(weir_stream_adopt(right, pair[1]));
        switch (kind) {
        case 0:
            CHECK_OK(weir_stream_read(left, sink, sizeof sink, ignore_io, NULL));
            CHECK_OK(weir_stream_write(right, "write", 5, ignore_io, NULL));
            break;
        case 1:
            CHECK_OK(weir_stream_readv_some(left, &sink_vector, 1, ignore_io, NULL));
            CHECK_OK(weir_stream_writev_some(right, &source_vector, 1, ignore_io, NULL));
            break;
        case 2:
            CHECK_OK(weir_stream_readv(left, &sink_vector, 1, ignore_io, NULL));
            CHECK_OK(weir_stream_writev(right, &source_vector, 1, ignore_io, NULL));
            break;
        case 3:
            CHECK_OK(weir_stream_wait(left, WEIR_WAIT_READ, ignore, NULL));
            CHECK_OK(weir_stream_wait(right, WEIR_WAIT_WRITE, ignore, NULL));
            break;
        default:
            CHECK_OK(weir_stream_try_write(right, "try", 3, &bytes));
            CHECK_OK(weir_stream_try_writev(right, &source_vector, 1, &bytes));
            CHECK_OK(weir_stream_try_read(left, sink, 3, &bytes));
            CHECK_OK(weir_stream_try_readv(left, &sink_vector, 1, &bytes));
            CHECK_OK(weir_stream_shutdown(left, WEIR_SHUTDOWN_WRITE));
            break;
        }
        CHECK_OK(weir_stream_close(left));
        CHECK_OK(weir_stream_close(right));
    }

    CHECK_OK(weir_stream_open(other, AF_INET));
    CHECK_OK(weir_stream_set(other, WEIR_OPT_NO_DELAY, 1));
    CHECK_OK(weir_stream_get(other, WEIR_OPT_NO_DELAY, &value));
    CHECK_OK(weir_stream_set_option(other, SOL_SOCKET, SO_KEEPALIVE, &value, sizeof value));
    CHECK_OK(weir_stream_get_option(other, SOL_SOCKET, SO_KEEPALIVE, &value, &size));
    CHECK_OK(weir_stream_bind(other, (struct sockaddr *)&nowhere, sizeof nowhere));
    CHECK_OK(weir_stream_local_address(other, &address, &length));
    CHECK_CODE(weir_stream_remote_address(other, &address, &length), WEIR_ENOTCONN);
    CHECK(weir_stream_bind_to_device(other, "no-such-device-0") < 0);
    nowhere.sin_port = htons(1);
    int error = weir_stream_connect(other, (struct sockaddr *)&nowhere, sizeof nowhere, ignore, NULL);
    CHECK(error == 0 || error == -ECONNREFUSED);
    CHECK_OK(weir_stream_close(other));
}

static void every_acceptor_function(weir_context *context)
{
    weir_acceptor *acceptor = NULL;
    weir_context *of = NULL;
    struct sockaddr_storage address;
    struct sockaddr_in any = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
    socklen_t length = sizeof address, size = sizeof(int);
    int fd = -1, value = 0;
    CHECK_OK(weir_acceptor_create(context, &acceptor));
    CHECK_OK(weir_acceptor_context(acceptor, &of));
    CHECK_OK(weir_acceptor_open(acceptor, AF_INET));
    CHECK_OK(weir_acceptor_set(acceptor, WEIR_OPT_REUSE_ADDRESS, 1));
    CHECK_OK(weir_acceptor_get(acceptor, WEIR_OPT_REUSE_ADDRESS, &value));
    CHECK_OK(weir_acceptor_set_option(acceptor, SOL_SOCKET, SO_KEEPALIVE, &value, sizeof value));
    CHECK_OK(weir_acceptor_get_option(acceptor, SOL_SOCKET, SO_KEEPALIVE, &value, &size));
    CHECK(weir_acceptor_bind_to_device(acceptor, "no-such-device-0") < 0);
    CHECK_OK(weir_acceptor_bind(acceptor, (struct sockaddr *)&any, sizeof any));
    CHECK_OK(weir_acceptor_listen(acceptor, 0));
    CHECK_OK(weir_acceptor_fd(acceptor, &fd));
    CHECK_OK(weir_acceptor_local_address(acceptor, &address, &length));
    CHECK_OK(weir_acceptor_accept(acceptor, ignore_accept, NULL));
    CHECK_OK(weir_acceptor_cancel(acceptor, NULL));
    /* The completion of the cancelled accept is still owed, so the others begin on acceptors of their own. */
    CHECK_OK(weir_acceptor_release(acceptor, &fd));
    CHECK_OK(weir_acceptor_close(acceptor));
    CHECK_OK(weir_acceptor_create(context, &acceptor));
    CHECK_OK(weir_acceptor_adopt(acceptor, fd));
    CHECK_OK(weir_acceptor_accept_each(acceptor, ignore_accept, NULL));
    CHECK_OK(weir_acceptor_cancel(acceptor, NULL));
    CHECK_OK(weir_acceptor_release(acceptor, &fd));
    CHECK_OK(weir_acceptor_close(acceptor));
    CHECK_OK(weir_acceptor_create(context, &acceptor));
    CHECK_OK(weir_acceptor_adopt(acceptor, fd));
    CHECK_OK(weir_acceptor_wait(acceptor, ignore, NULL));
    CHECK_OK(weir_acceptor_close(acceptor));
}

static void ignore_value(int status, int value, void *user)
{
    (void)value;
    ignore(status, user);
}

static void every_signals_function(weir_context *context)
{
    weir_signals *signals = NULL;
    weir_context *of = NULL;
    size_t count = 0;
    CHECK_OK(weir_signals_create(context, &signals));
    CHECK_OK(weir_signals_context(signals, &of));
    CHECK_OK(weir_signals_add(signals, SIGUSR2, 0));
    CHECK_OK(weir_signals_wait(signals, ignore_value, NULL));
    CHECK_OK(weir_signals_wait(signals, ignore_value, NULL));
    CHECK_EQ(raise(SIGUSR2), 0);
    CHECK_OK(weir_signals_wait(signals, ignore_value, NULL));
    CHECK_OK(weir_signals_arrived(signals, &count));
    CHECK_OK(weir_signals_cancel(signals, NULL));
    CHECK_OK(weir_signals_remove(signals, SIGUSR2));
    CHECK_OK(weir_signals_clear(signals));
    CHECK_OK(weir_signals_close(signals));
}

static void every_other_function(void)
{
    struct sockaddr_storage address;
    socklen_t length = sizeof address;
    char text[WEIR_ADDRESS_TEXT_MAX];
    CHECK_OK(weir_address_parse("127.0.0.1:80", &address, &length));
    CHECK_OK(weir_address_format((struct sockaddr *)&address, length, text, sizeof text));
    CHECK(strcmp(text, "127.0.0.1:80") == 0);
    CHECK(weir_strerror(-1) != NULL);
    CHECK(weir_error_name(-1) != NULL);
    CHECK_EQ(weir_version() >> 16, WEIR_VERSION_MAJOR);
    CHECK(weir_version_string() != NULL);
}

/* `own` runs the callback; `bystander` does not, and is held open for the whole case. */
static weir_context *own, *bystander;
static atomic_int everything_called;
static atomic_bool ending;
static _Thread_local bool busy_here;

/* The handles that the callbacks of a case are about. */
static void *subjects[4];

static void every_function_of_a_subject(void *handle)
{
    size_t count = 0;
    uint64_t tag = 0;
    char name[8];
    weir_context *of = NULL;
    int codes[] = {weir_handle_pending(handle, &count), weir_handle_set_name(handle, "name"),
                   weir_handle_name(handle, name, sizeof name), weir_handle_set_tag(handle, 7),
                   weir_handle_tag(handle, &tag), weir_handle_context(handle, &of)};
    for (size_t i = 0; i < sizeof codes / sizeof *codes; i++)
        CHECK(codes[i] == 0 || codes[i] == WEIR_EBADF); /* closed by then */
}

static void everything(int status)
{
    size_t lines = 0;
    /* What is called polls `own`, which may run further callbacks on this thread: once is enough. */
    if (busy_here)
        return;
    busy_here = true;
    for (int i = 0; i < 4; i++) {
        if (subjects[i])
            every_function_of_a_subject(subjects[i]);
    }
    CHECK_OK(weir_context_report(own, NULL, 0, &lines));
    every_other_function();
    every_context_function(bystander, weir_context_running_in_this_thread(bystander) == 1);
    every_timer_function(bystander);
    every_stream_function(bystander);
    every_acceptor_function(bystander);
    every_signals_function(bystander);
    if (status != WEIR_ECANCELED && !atomic_load(&ending)) { /* a context that is destroyed refuses */
        every_context_function(own, true);
        every_timer_function(own);
        every_stream_function(own);
        every_acceptor_function(own);
        every_signals_function(own);
        CHECK_OK(weir_context_stop(own));
        CHECK_OK(weir_context_restart(own));
    }
    busy_here = false;
    atomic_fetch_add(&everything_called, 1);
}

static void on_status(int status, void *user)
{
    (void)user;
    everything(status);
}

static void on_io(int status, size_t bytes, void *user)
{
    (void)bytes;
    (void)user;
    everything(status);
}

static void on_accept(int status, weir_stream *peer, const struct sockaddr *address, socklen_t length, void *user)
{
    (void)address;
    (void)length;
    (void)user;
    if (status == 0)
        CHECK_OK(weir_stream_close(peer));
    everything(status);
}

static void on_value(int status, int value, void *user)
{
    (void)value;
    (void)user;
    everything(status);
}

static void begin(void)
{
    own = new_context();
    bystander = new_context();
    CHECK_OK(weir_context_work_begin(own));
    CHECK_OK(weir_context_work_begin(bystander));
}

static void run_until_called(int calls)
{
    while (atomic_load(&everything_called) < calls)
        CHECK_OK(weir_context_run_one(own, NULL));
}

static void finish(void)
{
    atomic_store(&ending, true);
    CHECK_OK(weir_context_destroy(own));
    CHECK_OK(weir_context_destroy(bystander));
}

TEST(h73_from_post_dispatch_and_defer)
{
    begin();
    CHECK_OK(weir_context_post(own, on_status, NULL));
    run_until_called(1);
    CHECK_OK(weir_context_dispatch(own, on_status, NULL));
    run_until_called(2);
    CHECK_OK(weir_context_defer(own, on_status, NULL));
    run_until_called(3);
    finish();
}

TEST(h73_from_timers)
{
    begin();
    weir_timer *timer = new_timer(own), *periodic = new_timer(own);
    subjects[0] = timer;
    subjects[1] = periodic;
    CHECK_OK(weir_timer_expires_after(timer, 1000));
    CHECK_OK(weir_timer_wait(timer, on_status, NULL));
    run_until_called(1);
    CHECK_OK(weir_timer_start(periodic, 0, CHECK_MS, on_status, NULL));
    run_until_called(3);
    CHECK_OK(weir_timer_stop(periodic, NULL));
    run_until_called(4);
    CHECK_OK(weir_timer_expires_after(timer, CHECK_SECOND));
    CHECK_OK(weir_timer_wait(timer, on_status, NULL));
    CHECK_OK(weir_timer_close(timer));
    run_until_called(5);
    finish();
}

TEST(h73_from_signals)
{
    begin();
    weir_signals *signals = NULL;
    CHECK_OK(weir_signals_create(own, &signals));
    subjects[0] = signals;
    CHECK_OK(weir_signals_add(signals, SIGUSR1, 0));
    CHECK_OK(weir_signals_wait(signals, on_value, NULL)); /* parks */
    CHECK_EQ(raise(SIGUSR1), 0);
    run_until_called(1);
    CHECK_EQ(raise(SIGUSR1), 0);
    CHECK_OK(weir_signals_wait(signals, on_value, NULL)); /* completes at once */
    run_until_called(2);
    CHECK_OK(weir_signals_wait(signals, on_value, NULL));
    CHECK_OK(weir_signals_close(signals));
    run_until_called(3);
    finish();
}

TEST(h73_from_streams)
{
    begin();
    int pair[2];
    char buffer[8];
    weir_stream *left = new_stream(own), *right = new_stream(own);
    subjects[0] = left;
    subjects[1] = right;
    CHECK_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair), 0);
    CHECK_OK(weir_stream_adopt(left, pair[0]));
    CHECK_OK(weir_stream_adopt(right, pair[1]));
    CHECK_OK(weir_stream_read_some(left, buffer, sizeof buffer, on_io, NULL)); /* parks */
    CHECK_OK(weir_context_poll(own, NULL));
    CHECK_EQ(atomic_load(&everything_called), 0);
    CHECK_OK(weir_stream_write_some(right, "a", 1, ignore_io, NULL));
    run_until_called(1);
    CHECK_OK(weir_stream_write(right, "b", 1, on_io, NULL)); /* completes at once */
    run_until_called(2);
    CHECK_OK(weir_stream_wait(left, WEIR_WAIT_READ, on_status, NULL));
    run_until_called(3);
    CHECK_OK(weir_stream_read(left, buffer, 1, on_io, NULL));
    run_until_called(4);
    CHECK_OK(weir_stream_wait(left, WEIR_WAIT_READ, on_status, NULL));
    CHECK_OK(weir_stream_cancel(left, NULL));
    run_until_called(5);
    CHECK_OK(weir_stream_read_some(left, buffer, sizeof buffer, on_io, NULL));
    CHECK_OK(weir_stream_close(right));
    run_until_called(6); /* the end of the stream */
    finish();
}

TEST(h73_from_accept_and_connect)
{
    begin();
    weir_acceptor *acceptor = NULL;
    struct sockaddr_in any = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
    struct sockaddr_storage address;
    socklen_t length = sizeof address;
    CHECK_OK(weir_acceptor_create(own, &acceptor));
    subjects[0] = acceptor;
    CHECK_OK(weir_acceptor_bind(acceptor, (struct sockaddr *)&any, sizeof any));
    CHECK_OK(weir_acceptor_listen(acceptor, 0));
    CHECK_OK(weir_acceptor_local_address(acceptor, &address, &length));
    weir_stream *stream = new_stream(own);
    subjects[1] = stream;
    CHECK_OK(weir_stream_connect(stream, (struct sockaddr *)&address, length, on_status, NULL));
    run_until_called(1);
    CHECK_OK(weir_acceptor_wait(acceptor, on_status, NULL));
    run_until_called(2);
    CHECK_OK(weir_acceptor_accept(acceptor, on_accept, NULL));
    run_until_called(3);
    CHECK_OK(weir_acceptor_accept_each(acceptor, on_accept, NULL));
    weir_stream *second = new_stream(own);
    CHECK_OK(weir_stream_connect(second, (struct sockaddr *)&address, length, ignore, NULL));
    run_until_called(4);
    CHECK_OK(weir_acceptor_close(acceptor));
    run_until_called(5);
    finish();
}

TEST(h73_from_callbacks_of_destroy)
{
    begin();
    int pair[2];
    char byte;
    weir_timer *timer = new_timer(own);
    weir_stream *stream = new_stream(own);
    subjects[0] = timer;
    subjects[1] = stream;
    CHECK_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair), 0);
    CHECK_OK(weir_stream_adopt(stream, pair[0]));
    CHECK_OK(weir_context_post(own, on_status, NULL));
    CHECK_OK(weir_timer_start(timer, CHECK_SECOND, CHECK_SECOND, on_status, NULL));
    CHECK_OK(weir_stream_read_some(stream, &byte, 1, on_io, NULL));
    finish();
    CHECK_EQ(atomic_load(&everything_called), 3);
    close(pair[1]);
}

static void *run_it(void *user)
{
    while (atomic_load(&everything_called) < *(int *)user)
        CHECK_OK(weir_context_run_for(own, CHECK_MS, NULL));
    return NULL;
}

TEST(h73_from_three_threads_at_once)
{
    begin();
    pthread_t threads[3];
    int calls = (int)many(300);
    /* A callback that comes while its thread is busy with another one does not count: periodic ones keep coming. */
    for (int i = 0; i < 8; i++)
        CHECK_OK(weir_timer_start(new_timer(own), 0, CHECK_MS, on_status, NULL));
    for (int i = 0; i < 3; i++)
        threads[i] = start_thread(run_it, &calls);
    for (int i = 0; i < 3; i++)
        join_thread(threads[i]);
    finish();
}

TEST_MAIN()
