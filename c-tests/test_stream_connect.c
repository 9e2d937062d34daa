/* Connecting. */
#include "net.h"

static void check_connected(weir_context *context, weir_stream *stream, int listener)
{
    struct operation operation;
    int peer = plain_accept(listener);
    char data[8];
    START(begin(WRITE, stream, &operation));
    RUN_CALLS(context, operation.counter, 1);
    receive_all(peer, data, 8);
    CHECK(memcmp(data, "12345678", 8) == 0);
    START(begin(READ, stream, &operation));
    send_all(peer, "abcdefgh", 8);
    RUN_CALLS(context, operation.counter, 1);
    CHECK_DONE(operation.counter, 0, 8);
    CHECK(memcmp(operation.data, "abcdefgh", 8) == 0);
    close(peer);
}

TEST(connect_reaches_every_family)
{
    static const int families[] = {AF_INET, AF_INET6, AF_UNIX};
    weir_context *context = new_context();
    for (int i = 0; i < 3; i++) {
        if (families[i] == AF_INET6 && !have_ipv6())
            continue;
        for (int opened = 0; opened < 2; opened++) {
            struct where where, local, remote;
            int listener = plain_listener(families[i], 4, &where), fd = -1;
            weir_stream *stream = new_stream(context);
            struct counter counter = {0};
            CHECK_CODE(weir_stream_fd(stream, &fd), WEIR_ENOTCONN);
            if (opened)
                CHECK_OK(weir_stream_open(stream, families[i]));
            START(weir_stream_connect(stream, AT(&where), done, &counter));
            CHECK_EQ(counter.calls, 0);
            RUN_CALLS(context, counter, 1);
            settle(context);
            CHECK_DONE(counter, 0, 0);
            CHECK_OK(weir_stream_remote_address(stream, &remote.address, &remote.length));
            CHECK(same_place(&where, AT(&remote)));
            CHECK_OK(weir_stream_fd(stream, &fd));
            local = name_of(fd);
            struct where asked;
            memset(&asked, 0, sizeof asked);
            CHECK_OK(weir_stream_local_address(stream, &asked.address, &asked.length));
            CHECK(same_place(&local, AT(&asked)));
            if (families[i] != AF_UNIX)
                CHECK(port_of(&asked) != 0);
            check_connected(context, stream, listener);
            CHECK_OK(weir_stream_close(stream));
            close(listener);
        }
    }
    CHECK_OK(weir_context_destroy(context));
}

TEST(connect_reaches_a_unix_path)
{
    weir_context *context = new_context();
    struct where where;
    memset(&where, 0, sizeof where);
    struct sockaddr_un *local = (struct sockaddr_un *)&where.address;
    char folder[] = "/tmp/weir-test-XXXXXX";
    CHECK(mkdtemp(folder) != NULL);
    local->sun_family = AF_UNIX;
    snprintf(local->sun_path, sizeof local->sun_path, "%s/s", folder);
    where.length = sizeof *local;
    int listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    CHECK_EQ(bind(listener, AT(&where)), 0);
    weir_stream *stream = new_stream(context);
    struct counter refused = {0}, connected = {0}, missing = {0};
    START(weir_stream_connect(stream, AT(&where), done, &refused));
    RUN_CALLS(context, refused, 1);
    CHECK_DONE(refused, -ECONNREFUSED, 0);
    CHECK_EQ(listen(listener, 4), 0);
    START(weir_stream_connect(stream, AT(&where), done, &connected));
    RUN_CALLS(context, connected, 1);
    CHECK_DONE(connected, 0, 0);
    check_connected(context, stream, listener);
    CHECK_OK(weir_stream_close(stream));
    CHECK_EQ(unlink(local->sun_path), 0);
    CHECK_EQ(rmdir(folder), 0);
    stream = new_stream(context);
    START(weir_stream_connect(stream, AT(&where), done, &missing));
    RUN_CALLS(context, missing, 1);
    CHECK_DONE(missing, -ENOENT, 0);
    close(listener);
    CHECK_OK(weir_context_destroy(context));
}

/* A socket that connect opened is closed again when it fails; the next connect starts anew. */
TEST(a_refused_connect_tells_so_and_can_be_repeated)
{
    weir_context *context = new_context();
    for (int opened = 0; opened < 2; opened++) {
        struct where nobody, somebody;
        /* Bound, but it does not listen: nobody else can have the port meanwhile. */
        int holder = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), fd = -1;
        nobody = loopback(AF_INET, 0);
        CHECK_EQ(bind(holder, AT(&nobody)), 0);
        nobody = name_of(holder);
        int listener = plain_listener(AF_INET, 4, &somebody);
        weir_stream *stream = new_stream(context);
        int before = count_fds();
        for (int round = 0; round < 3; round++) {
            struct counter refused = {0};
            if (opened && round == 0)
                CHECK_OK(weir_stream_open(stream, AF_INET));
            START(weir_stream_connect(stream, AT(&nobody), done, &refused));
            RUN_CALLS(context, refused, 1);
            settle(context);
            CHECK_DONE(refused, -ECONNREFUSED, 0);
            CHECK_CODE(weir_stream_fd(stream, &fd), opened ? 0 : WEIR_ENOTCONN);
            CHECK_EQ(count_fds(), before + opened);
        }
        struct counter connected = {0};
        START(weir_stream_connect(stream, AT(&somebody), done, &connected));
        RUN_CALLS(context, connected, 1);
        CHECK_DONE(connected, 0, 0);
        check_connected(context, stream, listener);
        CHECK_OK(weir_stream_close(stream));
        close(listener);
        close(holder);
    }
    CHECK_OK(weir_context_destroy(context));
}

TEST(connect_of_a_connected_stream_is_eisconn)
{
    weir_context *context = new_context();
    struct where where;
    int listener = plain_listener(AF_INET, 4, &where);
    weir_stream *stream = new_stream(context);
    struct counter first = {0}, second = {0};
    START(weir_stream_connect(stream, AT(&where), done, &first));
    RUN_CALLS(context, first, 1);
    CHECK_DONE(first, 0, 0);
    START(weir_stream_connect(stream, AT(&where), done, &second));
    RUN_CALLS(context, second, 1);
    CHECK_DONE(second, -EISCONN, 0);
    check_connected(context, stream, listener); /* the connection is as it was */
    CHECK_OK(weir_stream_close(stream));
    close(listener);
    CHECK_OK(weir_context_destroy(context));
}

TEST(bind_chooses_the_local_address)
{
    weir_context *context = new_context();
    struct where where, local;
    int listener = plain_listener(AF_INET, 4, &where);
    weir_stream *stream = new_stream(context), *second = new_stream(context);
    struct counter counter = {0};
    struct where any = loopback(AF_INET, 0);
    ((struct sockaddr_in *)&any.address)->sin_addr.s_addr = htonl(INADDR_LOOPBACK + 7);
    CHECK_CODE(weir_stream_bind(stream, AT(&any)), WEIR_ENOTCONN);
    CHECK_OK(weir_stream_open(stream, AF_INET));
    CHECK_CODE(weir_stream_open(stream, AF_INET), WEIR_EBUSY);
    CHECK_OK(weir_stream_bind(stream, AT(&any)));
    memset(&local, 0, sizeof local);
    CHECK_OK(weir_stream_local_address(stream, &local.address, &local.length));
    CHECK(port_of(&local) != 0);
    CHECK_OK(weir_stream_open(second, AF_INET));
    CHECK_CODE(weir_stream_bind(second, AT(&local)), -EADDRINUSE);
    START(weir_stream_connect(stream, AT(&where), done, &counter));
    RUN_CALLS(context, counter, 1);
    CHECK_DONE(counter, 0, 0);
    struct sockaddr_storage from;
    socklen_t length = sizeof from;
    int peer = accept4(listener, (struct sockaddr *)&from, &length, SOCK_CLOEXEC);
    CHECK(peer >= 0);
    CHECK(same_place(&local, (struct sockaddr *)&from, length));
    close(peer);
    close(listener);
    CHECK_OK(weir_context_destroy(context));
}

/* ---- a full backlog */

struct full {
    struct where where;
    int listener, fillers[64], count;
};

/* Plain connects until one is not answered. */
static void make_full(struct full *full)
{
    full->listener = plain_listener(AF_INET, 1, &full->where);
    for (full->count = 0;;) {
        CHECK(full->count < 64);
        int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
        CHECK(fd >= 0);
        full->fillers[full->count++] = fd;
        CHECK(connect(fd, AT(&full->where)) == 0 || errno == EINPROGRESS);
        struct pollfd asked = {fd, POLLOUT, 0};
        if (poll(&asked, 1, 200) == 0)
            return;
    }
}

static void end_full(struct full *full)
{
    for (int i = 0; i < full->count; i++)
        close(full->fillers[i]);
    close(full->listener);
}

/* Takes connections until ours is answered: the kernel repeats its request after a second or so. */
static void *accept_all(void *user)
{
    struct full *full = user;
    for (;;) {
        int fd = accept4(full->listener, NULL, NULL, SOCK_CLOEXEC);
        if (fd < 0)
            return NULL;
        close(fd);
    }
}

/* H20: a fresh socket is "writable" and hung up; none of that is the peer's answer. */
TEST(h20_connect_to_a_full_backlog_does_not_succeed_early)
{
    weir_context *context = new_context();
    struct full full;
    make_full(&full);
    for (int way = 0; way < 5; way++) {
        weir_stream *stream = new_stream(context);
        struct counter connecting = {0}, early = {0};
        struct operation reading;
        struct sockaddr_storage address;
        socklen_t length = sizeof address;
        size_t count = 77, bytes = 77;
        int fd = -1, before = count_fds();
        if (way > 0)
            CHECK_OK(weir_stream_open(stream, AF_INET));
        if (way == 2) {
            /* Registers the socket before it connects, so that an edge of the unconnected state is there. */
            START(weir_stream_wait(stream, WEIR_WAIT_WRITE, done, &early));
            RUN_CALLS(context, early, 1);
            settle(context);
        }
        if (way == 4) {
            /* Registered, and an error and a hang-up have been seen. */
            struct where nobody = loopback(AF_INET, 0);
            int holder = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
            CHECK_EQ(bind(holder, AT(&nobody)), 0);
            nobody = name_of(holder);
            START(weir_stream_connect(stream, AT(&nobody), done, &early));
            RUN_CALLS(context, early, 1);
            CHECK_DONE(early, -ECONNREFUSED, 0);
            close(holder);
        }
        START(weir_stream_connect(stream, AT(&full.where), done, &connecting));
        if (way == 3)
            START(begin(READ, stream, &reading));
        settle(context);
        CHECK_EQ(connecting.calls, 0);
        CHECK_CODE(weir_stream_remote_address(stream, &address, &length), WEIR_ENOTCONN);
        START_CODE(weir_stream_connect(stream, AT(&full.where), done, &early), WEIR_EBUSY);
        START_CODE(weir_stream_wait(stream, WEIR_WAIT_WRITE, done, &early), WEIR_EBUSY);
        CHECK_CODE(weir_stream_try_write(stream, "x", 1, &bytes), WEIR_EBUSY);
        CHECK_EQ(bytes, 77);
        CHECK_OK(weir_stream_cancel(stream, &count));
        CHECK_EQ(count, way == 3 ? 2 : 1);
        RUN_CALLS(context, connecting, 1);
        settle(context);
        CHECK_DONE(connecting, WEIR_ECANCELED, 0);
        if (way == 3)
            CHECK_DONE(reading.counter, WEIR_ECANCELED, 0);
        /* A socket that connect opened is gone, one that was there before stays. */
        CHECK_CODE(weir_stream_fd(stream, &fd), way > 0 ? 0 : WEIR_ENOTCONN);
        CHECK_OK(weir_stream_close(stream));
        CHECK_EQ(count_fds(), before);
    }
    end_full(&full);
    CHECK_OK(weir_context_destroy(context));
}

/* A read would take the error of the connect out of the socket. */
TEST(h21_nothing_reads_while_a_connect_is_pending)
{
    weir_context *context = new_context_with(WEIR_CONTEXT_MEASURE, 0);
    weir_stats stats = {.struct_size = sizeof stats};
    struct full full;
    struct counter connecting = {0};
    struct operation reading;
    weir_stream *stream = new_stream(context);
    make_full(&full);
    START(weir_stream_connect(stream, AT(&full.where), done, &connecting));
    START(begin(READ, stream, &reading));
    settle(context);
    CHECK_EQ(connecting.calls + reading.counter.calls, 0);
    CHECK_OK(weir_context_stats(context, &stats));
    CHECK_EQ(stats.reads, 0);
    end_full(&full);
    CHECK_OK(weir_context_destroy(context));
}

TEST(h20_connect_completes_when_the_backlog_drains)
{
    weir_context *context = new_context();
    struct full full;
    struct counter connecting[3] = {0};
    struct operation reading;
    weir_stream *streams[3];
    make_full(&full);
    for (int i = 0; i < 3; i++) {
        streams[i] = new_stream(context);
        if (i > 0)
            CHECK_OK(weir_stream_open(streams[i], AF_INET));
        START(weir_stream_connect(streams[i], AT(&full.where), done, &connecting[i]));
    }
    START(begin(READ, streams[2], &reading));
    settle(context);
    for (int i = 0; i < 3; i++)
        CHECK_EQ(connecting[i].calls, 0);
    pthread_t thread = start_thread(accept_all, &full);
    RUN_UNTIL(context, connecting[0].calls == 1 && connecting[1].calls == 1 && connecting[2].calls == 1);
    for (int i = 0; i < 3; i++) {
        struct sockaddr_storage address;
        socklen_t length;
        CHECK_DONE(connecting[i], 0, 0);
        /* The acceptor closes at once, so the name of the peer may be gone again. */
        int code = weir_stream_remote_address(streams[i], &address, &length);
        CHECK(code == 0 || code == WEIR_ENOTCONN);
    }
    RUN_CALLS(context, reading.counter, 1);
    CHECK_EQ(reading.counter.calls, 1);
    CHECK(reading.counter.status == WEIR_EOF || reading.counter.status == -ECONNRESET);
    shutdown(full.listener, SHUT_RDWR);
    join_thread(thread);
    end_full(&full);
    CHECK_OK(weir_context_destroy(context));
}

struct limited {
    weir_stream *stream;
    weir_timer *timer;
    struct counter connected;
    int fired;
    size_t ended;
};

static void limit_reached(int status, void *user)
{
    struct limited *limited = user;
    CHECK_OK(status);
    limited->fired++;
    CHECK_OK(weir_stream_cancel(limited->stream, &limited->ended));
}

TEST(a_timer_limits_a_connect)
{
    weir_context *context = new_context();
    struct full full;
    int fd = -1;
    make_full(&full);
    struct limited limited = {.stream = new_stream(context), .timer = new_timer(context)};
    CHECK_OK(weir_timer_expires_after(limited.timer, 20 * CHECK_MS));
    START(weir_timer_wait(limited.timer, limit_reached, &limited));
    START(weir_stream_connect(limited.stream, AT(&full.where), done, &limited.connected));
    CHECK_OK(weir_context_run(context, NULL)); /* returns: nothing else is pending */
    CHECK_EQ(limited.fired, 1);
    CHECK_EQ(limited.ended, 1);
    CHECK_DONE(limited.connected, WEIR_ECANCELED, 0);
    CHECK_CODE(weir_stream_fd(limited.stream, &fd), WEIR_ENOTCONN);
    end_full(&full);
    CHECK_OK(weir_context_destroy(context));
}

TEST(close_and_destroy_end_a_connect)
{
    weir_context *context = new_context();
    struct full full;
    make_full(&full);
    struct counter first = {0}, second = {0};
    weir_stream *closed = new_stream(context), *left = new_stream(context);
    START(weir_stream_connect(closed, AT(&full.where), done, &first));
    START(weir_stream_connect(left, AT(&full.where), done, &second));
    settle(context);
    CHECK_OK(weir_stream_close(closed));
    CHECK_EQ(first.calls, 0);
    RUN_CALLS(context, first, 1);
    CHECK_DONE(first, WEIR_ECANCELED, 0);
    CHECK_OK(weir_context_destroy(context));
    CHECK_DONE(second, WEIR_ECANCELED, 0);
    CHECK_EQ(first.calls, 1);
    end_full(&full);
}

/* A full AF_UNIX backlog is EAGAIN to connect(2), and no event tells when there is room. Contract 6: the user never
 * sees EAGAIN; nor may the connect hang. */
TEST(connect_to_a_full_unix_backlog_completes)
{
    weir_context *context = new_context();
    struct where where;
    int listener = plain_listener(AF_UNIX, 0, &where);
    int first = plain_connect(&where);
    weir_stream *stream = new_stream(context);
    struct counter counter = {0};
    START(weir_stream_connect(stream, AT(&where), done, &counter));
    settle(context);
    if (counter.calls == 0) { /* a library that waits must go on when there is room */
        close(plain_accept(listener));
        RUN_CALLS(context, counter, 1);
    }
    CHECK_EQ(counter.calls, 1);
    CHECK(counter.status == 0 || counter.status == -ECONNREFUSED);
    close(first);
    close(listener);
    CHECK_OK(weir_context_destroy(context));
}

struct next {
    weir_stream *stream;
    struct where where;
    struct counter counter;
    int rounds;
};

static void connect_next(int status, void *user)
{
    struct next *next = user;
    CHECK(!net_starting);
    CHECK_OK(status);
    CHECK_OK(weir_stream_close(next->stream));
    if (--next->rounds == 0) {
        count_call(status, &next->counter);
        return;
    }
    weir_context *context = NULL;
    CHECK_CODE(weir_stream_context(next->stream, &context), WEIR_EBADF);
    next->stream = new_stream((weir_context *)next->counter.bytes);
    START(weir_stream_connect(next->stream, AT(&next->where), connect_next, next));
}

static void *accept_and_close(void *user)
{
    int listener = *(int *)user;
    for (;;) {
        int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
        if (fd < 0)
            return NULL;
        close(fd);
    }
}

TEST(a_callback_closes_and_connects_again)
{
    weir_context *context = new_context();
    struct next next = {.rounds = (int)many(300)};
    int listener = plain_listener(AF_INET, 64, &next.where);
    pthread_t thread = start_thread(accept_and_close, &listener);
    next.counter.bytes = (size_t)context;
    next.stream = new_stream(context);
    START(weir_stream_connect(next.stream, AT(&next.where), connect_next, &next));
    RUN_CALLS(context, next.counter, 1);
    shutdown(listener, SHUT_RDWR);
    join_thread(thread);
    close(listener);
    CHECK_OK(weir_context_destroy(context));
}

TEST_MAIN()
