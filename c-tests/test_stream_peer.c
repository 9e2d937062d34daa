/* What the peer does: it ends, resets, closes half, sends urgent data. */
#include "net.h"

#include <sys/ioctl.h>

static const int families[] = {AF_INET, AF_UNIX};

static bool is_exact(enum kind kind)
{
    return kind == READ || kind == READV;
}

/* H21: data that came before the reset is read first, and then the reset is told, not the end. */
TEST(h21_reset_comes_after_the_buffered_data)
{
    weir_context *context = new_context();
    for (enum kind kind = READ_SOME; kind < WAIT_READ; kind++) {
        for (int registered = 0; registered < 3; registered++) {
            struct pair pair = new_pair(context, AF_INET);
            struct operation operation;
            if (registered > 0) {
                /* The socket is known to epoll, and nothing is parked when the error comes. */
                START(begin(READ_SOME, pair.stream, &operation));
                settle(context);
                send_all(pair.peer, "x", 1);
                RUN_CALLS(context, operation.counter, 1);
            }
            send_all(pair.peer, "abcde", 5);
            reset_and_close(pair.peer);
            await_events(pair.fd, POLLERR);
            CHECK_OK(weir_context_work_begin(context));
            settle(context); /* EPOLLERR with nothing parked */
            CHECK_OK(weir_context_work_end(context));
            START(begin(kind, pair.stream, &operation));
            RUN_CALLS(context, operation.counter, 1);
            CHECK_DONE(operation.counter, is_exact(kind) ? -ECONNRESET : 0, 5);
            CHECK(memcmp(operation.data, "abcde???", 8) == 0);
            if (!is_exact(kind)) {
                START(begin(kind, pair.stream, &operation));
                RUN_CALLS(context, operation.counter, 1);
                CHECK_DONE(operation.counter, -ECONNRESET, 0);
            }
            CHECK_OK(weir_stream_close(pair.stream));
        }
    }
    CHECK_OK(weir_context_destroy(context));
}

TEST(h21_reset_ends_a_pending_read)
{
    weir_context *context = new_context();
    for (enum kind kind = READ_SOME; kind < WAIT_READ; kind++) {
        struct pair pair = new_pair(context, AF_INET);
        struct operation operation;
        START(begin(kind, pair.stream, &operation));
        settle(context);
        reset_and_close(pair.peer);
        RUN_CALLS(context, operation.counter, 1);
        settle(context);
        CHECK_DONE(operation.counter, -ECONNRESET, 0);
        CHECK_OK(weir_stream_close(pair.stream));
    }
    CHECK_OK(weir_context_destroy(context));
}

/* H22: a hang-up without EPOLLIN or EPOLLOUT completes both directions. */
TEST(h22_hang_up_or_error_completes_both_directions)
{
    weir_context *context = new_context();
    for (int f = 0; f < 2; f++) {
        for (enum kind kind = READ_SOME; kind <= WAIT_READ; kind++) {
            size_t filled;
            struct pair pair = blocked_pair(context, families[f], WRITE, &filled);
            struct operation reading, writing;
            enum kind opposite = kind + WRITE_SOME - READ_SOME;
            CHECK(filled > 0);
            START(begin(kind, pair.stream, &reading));
            START(begin(opposite, pair.stream, &writing));
            settle(context);
            CHECK_EQ(reading.counter.calls + writing.counter.calls, 0);
            reset_and_close(pair.peer);
            RUN_UNTIL(context, reading.counter.calls == 1 && writing.counter.calls == 1);
            settle(context);
            CHECK_EQ(reading.counter.calls + writing.counter.calls, 2);
            if (is_wait(kind)) {
                CHECK_OK(reading.counter.status);
                CHECK_OK(writing.counter.status);
            } else {
                CHECK(reading.counter.status == -ECONNRESET || reading.counter.status == WEIR_EOF);
                CHECK(writing.counter.status == -ECONNRESET || writing.counter.status == -EPIPE);
            }
            CHECK_OK(weir_stream_close(pair.stream));
        }
    }
    CHECK_OK(weir_context_destroy(context));
}

/* H31: the default action of SIGPIPE would end this process. */
TEST(h31_writing_to_a_closed_peer_is_an_error_and_no_signal)
{
    CHECK(signal(SIGPIPE, SIG_DFL) != SIG_ERR);
    weir_context *context = new_context();
    for (int f = 0; f < 2; f++) {
        for (enum kind kind = WRITE_SOME; kind < WAIT_WRITE; kind++) {
            struct pair pair = new_pair(context, families[f]);
            struct operation operation;
            bool failed = false;
            close(pair.peer);
            for (int i = 0; i < 1000 && !failed; i++) {
                START(begin(kind, pair.stream, &operation));
                RUN_CALLS(context, operation.counter, 1);
                CHECK_EQ(operation.counter.calls, 1);
                failed = operation.counter.status != 0;
            }
            CHECK(operation.counter.status == -EPIPE || operation.counter.status == -ECONNRESET);
            size_t bytes = 77;
            struct iovec vector = {"x", 1};
            CHECK_CODE(weir_stream_try_write(pair.stream, "x", 1, &bytes), -EPIPE);
            CHECK_CODE(weir_stream_try_writev(pair.stream, &vector, 1, &bytes), -EPIPE);
            CHECK_EQ(bytes, 77);
            CHECK_OK(weir_stream_close(pair.stream));
        }
    }
    CHECK_OK(weir_context_destroy(context));
}

TEST(h31_a_peer_that_goes_ends_a_pending_write)
{
    CHECK(signal(SIGPIPE, SIG_DFL) != SIG_ERR);
    weir_context *context = new_context();
    for (int f = 0; f < 2; f++) {
        for (enum kind kind = WRITE_SOME; kind < WAIT_WRITE; kind++) {
            size_t filled;
            struct pair pair = blocked_pair(context, families[f], kind, &filled);
            struct operation operation;
            START(begin(kind, pair.stream, &operation));
            settle(context);
            close(pair.peer); /* with unread data: that is a reset */
            RUN_CALLS(context, operation.counter, 1);
            settle(context);
            CHECK_EQ(operation.counter.calls, 1);
            CHECK(operation.counter.status == -EPIPE || operation.counter.status == -ECONNRESET);
            CHECK_EQ(operation.counter.bytes, 0);
            CHECK_OK(weir_stream_close(pair.stream));
        }
    }
    CHECK_OK(weir_context_destroy(context));
}

TEST(half_closed_connections_go_on_in_the_other_direction)
{
    weir_context *context = new_context();
    for (int f = 0; f < 2; f++) {
        struct pair pair = new_pair(context, families[f]);
        struct operation operation;
        char data[8];
        /* Our half. */
        CHECK_OK(weir_stream_shutdown(pair.stream, WEIR_SHUTDOWN_WRITE));
        CHECK_EQ(recv(pair.peer, data, 8, 0), 0);
        START(begin(READ, pair.stream, &operation));
        settle(context);
        CHECK_EQ(operation.counter.calls, 0);
        send_all(pair.peer, "abcdefgh", 8);
        RUN_CALLS(context, operation.counter, 1);
        CHECK_DONE(operation.counter, 0, 8);
        START(begin(WRITE, pair.stream, &operation));
        RUN_CALLS(context, operation.counter, 1);
        CHECK_DONE(operation.counter, -EPIPE, 0);
        close_pair(&pair);

        /* The peer's half. */
        pair = new_pair(context, families[f]);
        START(begin(READ, pair.stream, &operation));
        settle(context);
        CHECK_EQ(shutdown(pair.peer, SHUT_WR), 0);
        RUN_CALLS(context, operation.counter, 1);
        CHECK_DONE(operation.counter, WEIR_EOF, 0);
        for (int i = 0; i < 3; i++) {
            START(begin(WRITE, pair.stream, &operation));
            RUN_CALLS(context, operation.counter, 1);
            CHECK_DONE(operation.counter, 0, 8);
            receive_all(pair.peer, data, 8);
        }
        close_pair(&pair);
    }
    CHECK_OK(weir_context_destroy(context));
}

TEST(shutdown_completes_what_is_pending)
{
    weir_context *context = new_context();
    for (int f = 0; f < 2; f++) {
        for (int how = WEIR_SHUTDOWN_READ; how <= WEIR_SHUTDOWN_BOTH; how++) {
            size_t filled;
            struct pair pair = blocked_pair(context, families[f], WRITE, &filled);
            struct operation reading, writing;
            START(begin(READ, pair.stream, &reading));
            START(begin(WRITE, pair.stream, &writing));
            settle(context);
            CHECK_OK(weir_stream_shutdown(pair.stream, how));
            if (how != WEIR_SHUTDOWN_WRITE) {
                RUN_CALLS(context, reading.counter, 1);
                CHECK_DONE(reading.counter, WEIR_EOF, 0);
            }
            if (how != WEIR_SHUTDOWN_READ) {
                RUN_CALLS(context, writing.counter, 1);
                CHECK_DONE(writing.counter, -EPIPE, 0);
            }
            CHECK_OK(weir_stream_close(pair.stream));
            RUN_UNTIL(context, reading.counter.calls == 1 && writing.counter.calls == 1);
            close(pair.peer);
        }
    }
    CHECK_OK(weir_context_destroy(context));
}

TEST(shutdown_needs_a_connection)
{
    weir_context *context = new_context();
    weir_stream *stream = new_stream(context);
    CHECK_CODE(weir_stream_shutdown(stream, WEIR_SHUTDOWN_BOTH), WEIR_ENOTCONN);
    CHECK_OK(weir_stream_open(stream, AF_INET));
    CHECK_CODE(weir_stream_shutdown(stream, WEIR_SHUTDOWN_WRITE), WEIR_ENOTCONN);
    CHECK_CODE(weir_stream_shutdown(stream, 3), WEIR_EINVAL);
    CHECK_CODE(weir_stream_shutdown(stream, -1), WEIR_EINVAL);
    CHECK_OK(weir_context_destroy(context));
}

/* ---- traps of the short-read shortcut: a read that fills less than its buffer drained the socket, but not of
 * what is not data. */

TEST(the_end_that_comes_with_the_data_is_not_missed)
{
    weir_context *context = new_context();
    for (int f = 0; f < 2; f++) {
        for (int way = 0; way < 4; way++) {
            struct pair pair = new_pair(context, families[f]);
            struct operation operation;
            bool parked = way % 2 == 0, registered = way >= 2;
            if (registered) {
                START(begin(READ_SOME, pair.stream, &operation));
                settle(context);
                send_all(pair.peer, "x", 1);
                RUN_CALLS(context, operation.counter, 1);
            }
            if (parked) {
                START(begin(READ_SOME, pair.stream, &operation));
                settle(context);
            }
            send_all(pair.peer, "abc", 3);
            CHECK_EQ(shutdown(pair.peer, SHUT_WR), 0);
            await_events(pair.fd, POLLRDHUP);
            if (!parked)
                START(begin(READ_SOME, pair.stream, &operation));
            RUN_CALLS(context, operation.counter, 1);
            CHECK_DONE(operation.counter, 0, 3);
            START(begin(READ_SOME, pair.stream, &operation));
            RUN_CALLS(context, operation.counter, 1);
            CHECK_DONE(operation.counter, WEIR_EOF, 0);
            close_pair(&pair);
        }
    }
    CHECK_OK(weir_context_destroy(context));
}

struct sender {
    int fd;
    unsigned delay;
    bool reset;
};

static void *send_and_end(void *user)
{
    struct sender *sender = user;
    for (volatile unsigned i = 0; i < sender->delay; i++) {
    }
    send_all(sender->fd, "abc", 3);
    for (volatile unsigned i = 0; i < sender->delay * 3 % 4001; i++) {
    }
    if (sender->reset)
        reset_and_close(sender->fd);
    else
        close(sender->fd);
    return NULL;
}

/* The same with the peer in another thread, so that the end falls between any two steps of the reader. */
TEST(the_end_is_not_missed_whenever_it_comes_stress)
{
    weir_context *context = new_context();
    for (unsigned i = 0; i < many(2000); i++) {
        int ends[2];
        plain_pair(families[i % 2], ends);
        weir_stream *stream = adopted(context, ends[0]);
        struct sender sender = {ends[1], i * 37 % 3001, i % 3 == 0};
        pthread_t thread = start_thread(send_and_end, &sender);
        size_t got = 0;
        for (int status = 0; status == 0;) {
            struct operation operation;
            START(begin(READ_SOME, stream, &operation));
            RUN_CALLS(context, operation.counter, 1);
            CHECK_EQ(operation.counter.calls, 1);
            status = operation.counter.status;
            got += operation.counter.bytes;
            CHECK(status == 0 || status == WEIR_EOF || (sender.reset && status == -ECONNRESET));
        }
        CHECK_EQ(got, 3);
        CHECK_OK(weir_stream_close(stream));
        join_thread(thread);
    }
    CHECK_OK(weir_context_destroy(context));
}

/* A read ends at the urgent mark although more data is behind it. */
TEST(urgent_data_in_the_middle_does_not_hang_a_read)
{
    weir_context *context = new_context();
    for (int way = 0; way < 8; way++) {
        bool parked = way % 2 == 0, registered = way / 2 % 2 == 0, vectored = way >= 4;
        enum kind kind = vectored ? READV : READ;
        struct pair pair = new_pair(context, AF_INET);
        struct operation operation;
        if (registered) {
            START(begin(READ_SOME, pair.stream, &operation));
            settle(context);
            send_all(pair.peer, "x", 1);
            RUN_CALLS(context, operation.counter, 1);
        }
        if (parked) {
            START(begin(kind, pair.stream, &operation));
            settle(context);
        }
        send_all(pair.peer, "abc", 3);
        CHECK_EQ(send(pair.peer, "!", 1, MSG_OOB), 1);
        send_all(pair.peer, "defgh", 5);
        int there = 0;
        WAIT_FOR(ioctl(pair.fd, FIONREAD, &there) == 0 && there >= 3);
        if (!parked)
            START(begin(kind, pair.stream, &operation));
        RUN_CALLS(context, operation.counter, 1);
        CHECK_DONE(operation.counter, 0, 8);
        CHECK(memcmp(operation.data, "abcdefgh", 8) == 0);
        close_pair(&pair);
    }
    CHECK_OK(weir_context_destroy(context));
}

TEST(urgent_data_alone_does_not_complete_a_read)
{
    weir_context *context = new_context();
    struct pair pair = new_pair(context, AF_INET);
    struct operation operation;
    START(begin(READ_SOME, pair.stream, &operation));
    settle(context);
    CHECK_EQ(send(pair.peer, "!", 1, MSG_OOB), 1);
    await_events(pair.fd, POLLPRI);
    settle(context);
    CHECK_EQ(operation.counter.calls, 0);
    send_all(pair.peer, "abc", 3);
    RUN_CALLS(context, operation.counter, 1);
    CHECK_DONE(operation.counter, 0, 3);
    /* And the next one, after the mark. */
    START(begin(READ_SOME, pair.stream, &operation));
    settle(context);
    CHECK_EQ(operation.counter.calls, 0);
    send_all(pair.peer, "de", 2);
    RUN_CALLS(context, operation.counter, 1);
    CHECK_DONE(operation.counter, 0, 2);
    close_pair(&pair);
    CHECK_OK(weir_context_destroy(context));
}

static void send_with_fd(int fd, const char *text, int passed)
{
    char control[CMSG_SPACE(sizeof(int))] = {0};
    struct iovec vector = {(void *)text, strlen(text)};
    struct msghdr message = {.msg_iov = &vector, .msg_iovlen = 1};
    if (passed >= 0) {
        message.msg_control = control;
        message.msg_controllen = sizeof control;
        struct cmsghdr *header = CMSG_FIRSTHDR(&message);
        header->cmsg_level = SOL_SOCKET;
        header->cmsg_type = SCM_RIGHTS;
        header->cmsg_len = CMSG_LEN(sizeof(int));
        memcpy(CMSG_DATA(header), &passed, sizeof passed);
    }
    CHECK_EQ(sendmsg(fd, &message, MSG_NOSIGNAL), (ssize_t)strlen(text));
}

/* AF_UNIX ends a read at a message that carries fds, with more data behind it. */
TEST(passed_fds_do_not_hang_a_read)
{
    weir_context *context = new_context();
    for (int way = 0; way < 4; way++) {
        bool parked = way % 2 == 0;
        enum kind kind = way >= 2 ? READV : READ;
        struct pair pair = new_pair(context, AF_UNIX);
        struct operation operation;
        int before = count_fds();
        if (parked) {
            START(begin(kind, pair.stream, &operation));
            settle(context);
        }
        send_with_fd(pair.peer, "ab", 0);
        send_with_fd(pair.peer, "cd", -1);
        send_with_fd(pair.peer, "ef", 0);
        send_with_fd(pair.peer, "gh", -1);
        if (!parked)
            START(begin(kind, pair.stream, &operation));
        RUN_CALLS(context, operation.counter, 1);
        CHECK_DONE(operation.counter, 0, 8);
        CHECK(memcmp(operation.data, "abcdefgh", 8) == 0);
        CHECK_EQ(count_fds(), before); /* nobody asked for the fds: they do not pile up */
        close_pair(&pair);
    }
    CHECK_OK(weir_context_destroy(context));
}

TEST_MAIN()
