/* The fd behind a stream: flags, adopt and release, children, options, names. */
#include "net.h"

static const int families[] = {AF_INET, AF_UNIX};

/* H32: every fd of the library is close-on-exec, and every socket non-blocking. */
TEST(h32_every_fd_is_close_on_exec)
{
    bool before[1024] = {false};
    for (int fd = 0; fd < 1024; fd++)
        before[fd] = fcntl(fd, F_GETFD) >= 0;
    weir_context *context = new_context();
    weir_timer *timer = new_timer(context);
    struct counter fired = {0};
    weir_stream *ends[2];
    struct where where;
    int plain[2], fd = -1;
    CHECK_OK(weir_timer_expires_after(timer, CHECK_MS));
    START(weir_timer_wait(timer, done, &fired));
    RUN_CALLS(context, fired, 1);
    connected_streams(context, AF_INET, ends);
    new_listener(context, AF_UNIX, 4, &where);
    weir_stream *opened = new_stream(context), *adopting = new_stream(context);
    CHECK_OK(weir_stream_open(opened, AF_UNIX));
    CHECK_EQ(socketpair(AF_UNIX, SOCK_STREAM, 0, plain), 0); /* without the flag, and blocking */
    CHECK_OK(weir_stream_adopt(adopting, plain[0]));
    close(plain[1]);
    CHECK_OK(weir_context_fd(context, &fd));
    int sockets = 0;
    for (fd = 0; fd < 1024; fd++) {
        int flags = fcntl(fd, F_GETFD), kind;
        socklen_t length = sizeof kind;
        if (flags < 0 || before[fd])
            continue;
        CHECK(flags & FD_CLOEXEC);
        if (getsockopt(fd, SOL_SOCKET, SO_TYPE, &kind, &length) == 0) {
            sockets++;
            CHECK(fcntl(fd, F_GETFL) & O_NONBLOCK);
        }
    }
    CHECK_EQ(sockets, 5);
    CHECK_OK(weir_context_destroy(context));
}

/* H32: a child that was started meanwhile does not hold the connection open. */
TEST(h32_a_started_child_does_not_hold_connections)
{
    weir_context *context = new_context();
    struct where where;
    weir_acceptor *acceptor = new_listener(context, AF_INET, 4, &where);
    struct accepted accepted = {0};
    START(weir_acceptor_accept(acceptor, accept_done, &accepted));
    int peer = plain_connect(&where), hold[2];
    RUN_UNTIL(context, accepted.calls == 1);
    CHECK_OK(accepted.status);
    CHECK_EQ(pipe(hold), 0);
    pid_t child = fork();
    CHECK(child >= 0);
    if (child == 0) {
        /* Reads from the pipe until this process closes its end. */
        if (dup2(hold[0], 0) != 0)
            _exit(126);
        close(hold[0]);
        close(hold[1]);
        execlp("cat", "cat", (char *)NULL);
        _exit(127);
    }
    close(hold[0]);
    /* The exec is done when the child has no copy of our fds; the peer then sees the end at once. */
    CHECK_OK(weir_stream_close(accepted.peer));
    CHECK_OK(weir_acceptor_close(acceptor));
    char byte;
    CHECK_EQ(recv(peer, &byte, 1, 0), 0);
    close(hold[1]);
    int status = 0;
    CHECK_EQ(waitpid(child, &status, 0), child);
    CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    close(peer);
    CHECK_OK(weir_context_destroy(context));
}

/* H32: a copy of the fd keeps the old connection alive after close. What it receives must not complete an
 * operation of the stream that has the slot, or the fd number, now. */
TEST(h32_an_old_connection_does_not_complete_a_new_operation)
{
    weir_context *context = new_context();
    for (int f = 0; f < 2; f++) {
        for (int releasing = 0; releasing < 2; releasing++) {
            struct pair old = new_pair(context, families[f]);
            struct operation first, second;
            int copy = dup(old.fd), same[2], fd = -1;
            CHECK(copy >= 0);
            START(begin(READ_SOME, old.stream, &first));
            settle(context);
            weir_stream *stream = old.stream;
            plain_pair(families[f], same);
            if (releasing) {
                CHECK_OK(weir_stream_release(old.stream, &fd));
                close(fd);
            } else {
                CHECK_OK(weir_stream_close(old.stream));
                stream = new_stream(context);
            }
            RUN_CALLS(context, first.counter, 1);
            CHECK_DONE(first.counter, WEIR_ECANCELED, 0);
            /* The same number, if it can be had. */
            int reused = fcntl(same[0], F_DUPFD_CLOEXEC, old.fd);
            CHECK(reused >= 0);
            close(same[0]);
            CHECK_OK(weir_stream_adopt(stream, reused));
            START(begin(READ_SOME, stream, &second));
            send_all(old.peer, "old", 3);
            await_events(copy, POLLIN);
            settle(context);
            CHECK_EQ(second.counter.calls, 0);
            shutdown(old.peer, SHUT_WR);
            settle(context);
            CHECK_EQ(second.counter.calls, 0);
            send_all(same[1], "new", 3);
            RUN_CALLS(context, second.counter, 1);
            CHECK_DONE(second.counter, 0, 3);
            CHECK(memcmp(second.data, "new", 3) == 0);
            CHECK(memcmp(first.data, UNTOUCHED, 8) == 0);
            CHECK_OK(weir_stream_close(stream));
            close(copy);
            close(same[1]);
            close(old.peer);
        }
    }
    CHECK_OK(weir_context_destroy(context));
}

/* A child may hold a copy of the fd: what is closed here must not be in the epoll set any more, or each event of
 * it wakes the reactor for nothing. */
TEST(h32_a_copy_of_a_closed_socket_wakes_nobody)
{
    weir_context *context = new_context();
    CHECK_OK(weir_context_work_begin(context));
    for (int releasing = 0; releasing < 2; releasing++) {
        struct pair pair = new_pair(context, AF_UNIX);
        struct operation operation;
        weir_stats before = {.struct_size = sizeof before}, after = before;
        int copy = dup(pair.fd), fd = -1;
        CHECK(copy >= 0);
        START(begin(READ_SOME, pair.stream, &operation));
        settle(context);
        if (releasing) {
            CHECK_OK(weir_stream_release(pair.stream, &fd));
            close(fd);
        }
        CHECK_OK(weir_stream_close(pair.stream));
        RUN_CALLS(context, operation.counter, 1);
        settle(context);
        CHECK_OK(weir_context_stats(context, &before));
        send_all(pair.peer, "x", 1);
        await_events(copy, POLLIN);
        settle(context);
        CHECK_OK(weir_context_stats(context, &after));
        CHECK(after.turns > before.turns);
        CHECK_EQ(after.events, before.events);
        close(copy);
        close(pair.peer);
    }
    CHECK_OK(weir_context_destroy(context));
}

/* H11: readiness of the fd before does not reach the fd that comes after it. */
TEST(h11_readiness_of_the_fd_before_is_forgotten)
{
    weir_context *context = new_context();
    weir_stream *stream = new_stream(context);
    CHECK_OK(weir_context_work_begin(context));
    for (size_t i = 0; i < many(2000); i++) {
        int ready[2], empty[2], fd = -1;
        struct operation first, second;
        plain_pair(AF_UNIX, ready);
        plain_pair(AF_UNIX, empty);
        CHECK_OK(weir_stream_adopt(stream, ready[0]));
        START(begin(READ, stream, &first));
        if (i % 2 == 0) /* registered, then made ready */
            CHECK_OK(weir_context_poll(context, NULL));
        send_all(ready[1], "abc", 3);
        if (i % 3 == 0) /* the event is taken, or still lies in the kernel */
            CHECK_OK(weir_context_poll(context, NULL));
        CHECK_OK(weir_stream_release(stream, &fd));
        CHECK_EQ(fd, ready[0]);
        if (i % 5 == 0) {
            CHECK_OK(weir_stream_close(stream));
            stream = new_stream(context);
        }
        CHECK_OK(weir_stream_adopt(stream, empty[0]));
        START_CODE(begin(WAIT_READ, stream, &second), i % 5 == 0 || first.counter.calls == 1 ? 0 : WEIR_EBUSY);
        RUN_CALLS(context, first.counter, 1);
        CHECK_EQ(first.counter.calls, 1);
        CHECK_CODE(first.counter.status, WEIR_ECANCELED);
        if (i % 5 != 0)
            START(begin(WAIT_READ, stream, &second));
        CHECK_OK(weir_context_poll(context, NULL));
        CHECK_EQ(second.counter.calls, 0);
        CHECK_OK(weir_stream_release(stream, &fd));
        RUN_CALLS(context, second.counter, 1);
        CHECK_DONE(second.counter, WEIR_ECANCELED, 0);
        close(ready[0]);
        close(ready[1]);
        close(empty[0]);
        close(empty[1]);
    }
    CHECK_OK(weir_context_destroy(context));
}

TEST(release_gives_the_fd_away_and_the_stream_is_as_new)
{
    weir_context *context = new_context();
    for (int f = 0; f < 2; f++) {
        size_t filled;
        struct pair pair = blocked_pair(context, families[f], WRITE, &filled);
        struct operation reading, writing;
        int fd = -1, again = -1, before = count_fds();
        START(begin(READ, pair.stream, &reading));
        START(begin(WRITE, pair.stream, &writing));
        settle(context);
        CHECK_OK(weir_stream_release(pair.stream, &fd));
        CHECK_EQ(fd, pair.fd);
        CHECK_EQ(count_fds(), before);
        CHECK(fcntl(fd, F_GETFL) & O_NONBLOCK);
        CHECK_CODE(weir_stream_fd(pair.stream, &again), WEIR_ENOTCONN);
        CHECK_CODE(weir_stream_release(pair.stream, &again), WEIR_ENOTCONN);
        CHECK_EQ(again, -1);
        CHECK_EQ(reading.counter.calls + writing.counter.calls, 0);
        RUN_UNTIL(context, reading.counter.calls == 1 && writing.counter.calls == 1);
        CHECK_DONE(reading.counter, WEIR_ECANCELED, 0);
        CHECK_DONE(writing.counter, WEIR_ECANCELED, 0);
        /* The fd works, also in another stream of another context. */
        drain(pair.peer, filled);
        weir_context *other = new_context();
        weir_stream *second = adopted(other, fd);
        struct operation operation;
        START(begin(READ, second, &operation));
        send_all(pair.peer, "abcdefgh", 8);
        RUN_CALLS(other, operation.counter, 1);
        CHECK_DONE(operation.counter, 0, 8);
        CHECK_OK(weir_stream_release(second, &fd));
        CHECK_OK(weir_stream_adopt(pair.stream, fd));
        START(begin(WRITE, pair.stream, &operation));
        RUN_CALLS(context, operation.counter, 1);
        CHECK_DONE(operation.counter, 0, 8);
        /* Registered anew: a registration that release had left behind would refuse it. */
        START(begin(READ, pair.stream, &operation));
        settle(context);
        CHECK_EQ(operation.counter.calls, 0);
        send_all(pair.peer, "abcdefgh", 8);
        RUN_CALLS(context, operation.counter, 1);
        CHECK_DONE(operation.counter, 0, 8);
        CHECK_OK(weir_context_destroy(other));
        close_pair(&pair);
    }
    CHECK_OK(weir_context_destroy(context));
}

/* An fd of somebody else's: close and destroy leave it, with nothing of the library's behind; the next fd of the handle is
 * the handle's own again. */
TEST(an_fd_that_is_kept_stays_open)
{
    for (int destroys = 0; destroys < 2; destroys++) {
        weir_context *context = new_context();
        struct pair pair = new_pair(context, AF_UNIX);
        struct counter read = {0};
        char byte;
        CHECK_OK(weir_handle_keep_fd(pair.stream, 1));
        CHECK_OK(weir_stream_read_some(pair.stream, &byte, 1, io_done, &read));
        if (!destroys)
            CHECK_OK(weir_stream_close(pair.stream));
        else
            CHECK_OK(weir_context_destroy(context));
        send_all(pair.peer, "x", 1);
        await_events(pair.fd, POLLIN);
        if (!destroys) {
            CHECK_OK(weir_context_run(context, NULL));
            CHECK_DONE(read, WEIR_ECANCELED, 0);
            weir_stream *again = adopted(context, pair.fd); /* not registered any more */
            struct counter second = {0};
            CHECK_OK(weir_stream_read_some(again, &byte, 1, io_done, &second));
            CHECK_OK(weir_context_restart(context));
            CHECK_OK(weir_context_run(context, NULL));
            CHECK_DONE(second, 0, 1);
            CHECK_OK(weir_handle_keep_fd(again, 1));
            CHECK_OK(weir_handle_keep_fd(again, 0));
            CHECK_OK(weir_stream_close(again));
            CHECK_EQ(fcntl(pair.fd, F_GETFD), -1);
            CHECK_OK(weir_context_destroy(context));
        } else {
            close(pair.fd);
        }
        close(pair.peer);
    }
}

TEST(keep_fd_is_for_sockets_that_there_are)
{
    weir_context *context = new_context();
    weir_stream *bare = new_stream(context);
    weir_timer *timer = new_timer(context);
    int ends[2], others[2];
    CHECK_CODE(weir_handle_keep_fd(bare, 1), WEIR_ENOTCONN);
    CHECK_CODE(weir_handle_keep_fd(timer, 1), WEIR_EBADF);
    CHECK_CODE(weir_handle_keep_fd(NULL, 1), WEIR_EBADF);
    /* It is of this fd, not of the handle. */
    plain_pair(AF_UNIX, ends);
    plain_pair(AF_UNIX, others);
    CHECK_OK(weir_stream_adopt(bare, ends[0]));
    CHECK_OK(weir_handle_keep_fd(bare, 1));
    int fd;
    CHECK_OK(weir_stream_release(bare, &fd));
    CHECK_OK(weir_stream_adopt(bare, others[0]));
    CHECK_OK(weir_stream_close(bare));
    CHECK_EQ(fcntl(others[0], F_GETFD), -1);
    CHECK(fcntl(ends[0], F_GETFD) >= 0);
    close(ends[0]);
    close(ends[1]);
    close(others[1]);
    CHECK_OK(weir_timer_close(timer));
    CHECK_OK(weir_context_destroy(context));
}

TEST(adopt_refuses_what_is_no_stream_socket)
{
    weir_context *context = new_context();
    weir_stream *stream = new_stream(context);
    struct where where;
    int datagram = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0), file = open("/dev/null", O_RDWR | O_CLOEXEC);
    int packets[2], listener = plain_listener(AF_INET, 1, &where), hole[2], ends[2], fd = -1;
    CHECK_EQ(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, packets), 0);
    CHECK_EQ(pipe2(hole, O_CLOEXEC), 0);
    int before = fcntl(file, F_GETFL);
    CHECK_CODE(weir_stream_adopt(stream, -1), WEIR_EBADF);
    CHECK_CODE(weir_stream_adopt(stream, 1000000), WEIR_EBADF);
    CHECK_CODE(weir_stream_adopt(stream, file), -ENOTSOCK);
    CHECK_CODE(weir_stream_adopt(stream, hole[0]), -ENOTSOCK);
    CHECK_CODE(weir_stream_adopt(stream, datagram), -EPROTOTYPE);
    CHECK_CODE(weir_stream_adopt(stream, packets[0]), -EPROTOTYPE);
    CHECK_CODE(weir_stream_adopt(stream, listener), -EPROTOTYPE);
    CHECK_CODE(weir_stream_fd(stream, &fd), WEIR_ENOTCONN);
    /* What was refused is the caller's, as it was. */
    CHECK_EQ(fcntl(file, F_GETFL), before);
    CHECK_EQ(fcntl(listener, F_GETFL) & O_NONBLOCK, 0);
    CHECK_EQ(fcntl(datagram, F_GETFL) & O_NONBLOCK, 0);
    plain_pair(AF_UNIX, ends);
    CHECK_OK(weir_stream_adopt(stream, ends[0]));
    CHECK_CODE(weir_stream_adopt(stream, ends[1]), WEIR_EBUSY);
    CHECK_EQ(fcntl(ends[1], F_GETFL) & O_NONBLOCK, 0);
    CHECK_OK(weir_context_destroy(context));
    const int mine[] = {datagram, file, packets[0], packets[1], listener, hole[0], hole[1], ends[1]};
    for (size_t i = 0; i < sizeof mine / sizeof *mine; i++)
        CHECK_EQ(close(mine[i]), 0);
}

/* A socket that is not connected yet may be adopted, and connects. */
TEST(an_adopted_socket_connects)
{
    weir_context *context = new_context();
    struct where where;
    int listener = plain_listener(AF_INET, 1, &where);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    CHECK(fd >= 0);
    weir_stream *stream = adopted(context, fd);
    struct counter counter = {0};
    START(weir_stream_connect(stream, AT(&where), done, &counter));
    RUN_CALLS(context, counter, 1);
    CHECK_DONE(counter, 0, 0);
    close(plain_accept(listener));
    close(listener);
    CHECK_OK(weir_context_destroy(context));
}

/* H33: the user closes the fd under the library: errors, and nothing worse. */
TEST(h33_an_fd_closed_by_the_user_gives_errors)
{
    weir_context *context = new_context();
    for (int f = 0; f < 2; f++) {
        for (int number_reused = 0; number_reused < 2; number_reused++) {
            for (enum kind kind = 0; kind < KINDS; kind++) {
                size_t filled, count = 0;
                struct pair pair = blocked_pair(context, families[f], kind, &filled);
                struct operation pending, after;
                int opposite = -1;
                START(begin(kind, pair.stream, &pending));
                settle(context);
                CHECK_EQ(pending.counter.calls, 0);
                CHECK_EQ(close(pair.fd), 0);
                if (number_reused) {
                    int made[2];
                    plain_pair(AF_UNIX, made);
                    opposite = made[1];
                    if (made[0] != pair.fd) {
                        CHECK_EQ(dup2(made[0], pair.fd), pair.fd);
                        close(made[0]);
                    }
                }
                send(pair.peer, "abc", 3, MSG_NOSIGNAL);
                settle(context);
                CHECK_EQ(pending.counter.calls, 0); /* nothing fires, least of all for the wrong file */
                CHECK_OK(weir_stream_cancel(pair.stream, &count));
                CHECK_EQ(count, 1);
                RUN_CALLS(context, pending.counter, 1);
                CHECK_DONE(pending.counter, WEIR_ECANCELED, 0);
                if (!number_reused) {
                    /* An error at once, or as the completion. A transfer that the library knows not to be possible
                     * before the next event asks nobody, and so is pending until it is cancelled. */
                    net_starting = true;
                    int code = begin(kind, pair.stream, &after);
                    net_starting = false;
                    if (code == 0) {
                        settle(context);
                        CHECK(after.counter.calls == 1 || !is_wait(kind));
                        bool ended = after.counter.calls == 0;
                        CHECK_OK(weir_stream_cancel(pair.stream, NULL));
                        RUN_CALLS(context, after.counter, 1);
                        CHECK_EQ(after.counter.calls, 1);
                        code = after.counter.status;
                        if (ended && code == WEIR_ECANCELED)
                            code = -EBADF;
                    }
                    CHECK_CODE(code, -EBADF);
                    CHECK_CODE(weir_stream_shutdown(pair.stream, WEIR_SHUTDOWN_BOTH), -EBADF);
                    CHECK_CODE(weir_stream_set(pair.stream, WEIR_OPT_KEEP_ALIVE, 1), -EBADF);
                }
                CHECK_OK(weir_stream_close(pair.stream)); /* which closes whatever has the number */
                if (number_reused)
                    close(opposite);
                close(pair.peer);
            }
        }
    }
    CHECK_OK(weir_context_destroy(context));
}

/* ---- options */

struct option {
    int option, value;
    bool tcp_only, doubled;
};

static const struct option options[] = {
    {WEIR_OPT_NO_DELAY, 1, true, false},
    {WEIR_OPT_KEEP_ALIVE, 1, false, false},
    {WEIR_OPT_KEEP_ALIVE_IDLE, 77, true, false},
    {WEIR_OPT_KEEP_ALIVE_INTERVAL, 33, true, false},
    {WEIR_OPT_KEEP_ALIVE_COUNT, 5, true, false},
    {WEIR_OPT_USER_TIMEOUT, 12345, true, false},
    {WEIR_OPT_REUSE_ADDRESS, 1, false, false},
    {WEIR_OPT_REUSE_PORT, 1, true, false},
    {WEIR_OPT_SEND_BUFFER, 20000, false, true},
    {WEIR_OPT_RECEIVE_BUFFER, 30000, false, true},
    {WEIR_OPT_LINGER, 7, false, false},
    {WEIR_OPT_LINGER, 0, false, false},
    {WEIR_OPT_LINGER, -1, false, false},
    {WEIR_OPT_TOS, 0x10, true, false},
    {WEIR_OPT_TTL, 42, true, false},
    {WEIR_OPT_QUICK_ACK, 0, true, false},
    {WEIR_OPT_CORK, 1, true, false},
    {WEIR_OPT_CORK, 0, true, false},
    {WEIR_OPT_NO_DELAY, 0, true, false},
    {WEIR_OPT_KEEP_ALIVE, 0, false, false},
    {WEIR_OPT_FAST_OPEN_CONNECT, 1, true, false},
};

TEST(named_options_go_both_ways)
{
    static const int all[] = {AF_INET, AF_INET6, AF_UNIX};
    weir_context *context = new_context();
    for (int f = 0; f < 3; f++) {
        if (all[f] == AF_INET6 && !have_ipv6())
            continue;
        weir_stream *stream = new_stream(context);
        weir_acceptor *acceptor = new_acceptor(context);
        int value = 77;
        CHECK_CODE(weir_stream_set(stream, WEIR_OPT_NO_DELAY, 1), WEIR_ENOTCONN);
        CHECK_CODE(weir_stream_get(stream, WEIR_OPT_NO_DELAY, &value), WEIR_ENOTCONN);
        CHECK_OK(weir_stream_open(stream, all[f]));
        CHECK_OK(weir_acceptor_open(acceptor, all[f]));
        CHECK_CODE(weir_acceptor_open(acceptor, all[f]), WEIR_EBUSY);
        for (size_t i = 0; i < sizeof options / sizeof *options; i++) {
            const struct option *option = &options[i];
            if (option->tcp_only && all[f] == AF_UNIX) {
                int code = weir_stream_set(stream, option->option, option->value);
                CHECK(code == -EOPNOTSUPP || code == -ENOPROTOOPT);
                code = weir_acceptor_set(acceptor, option->option, option->value);
                CHECK(code == -EOPNOTSUPP || code == -ENOPROTOOPT);
                if (option->option != WEIR_OPT_REUSE_PORT) {
                    CHECK(weir_stream_get(stream, option->option, &value) < 0);
                    CHECK_EQ(value, 77);
                }
                continue;
            }
            int want = option->doubled ? 2 * option->value : option->value;
            value = 99;
            CHECK_OK(weir_stream_set(stream, option->option, option->value));
            CHECK_OK(weir_stream_get(stream, option->option, &value));
            CHECK_EQ(value, want);
            value = 99;
            CHECK_OK(weir_acceptor_set(acceptor, option->option, option->value));
            CHECK_OK(weir_acceptor_get(acceptor, option->option, &value));
            CHECK_EQ(value, want);
            value = 77;
        }
        if (all[f] == AF_INET6) {
            for (int on = 1; on >= 0; on--) {
                CHECK_OK(weir_acceptor_set(acceptor, WEIR_OPT_V6_ONLY, on));
                CHECK_OK(weir_acceptor_get(acceptor, WEIR_OPT_V6_ONLY, &value));
                CHECK_EQ(value, on);
            }
        } else {
            CHECK(weir_stream_set(stream, WEIR_OPT_V6_ONLY, 1) < 0);
        }
        if (all[f] != AF_UNIX) {
            int code = weir_acceptor_set(acceptor, WEIR_OPT_FAST_OPEN, 5);
            CHECK(code == 0 || code == WEIR_EINVAL); /* which state the socket must be in is the kernel's */
        }
        for (int bad = -1; bad < 40; bad++) {
            if (bad >= WEIR_OPT_NO_DELAY && bad <= WEIR_OPT_GRO)
                continue;
            CHECK_CODE(weir_stream_set(stream, bad, 1), WEIR_EINVAL);
            CHECK_CODE(weir_stream_get(stream, bad, &value), WEIR_EINVAL);
            CHECK_CODE(weir_acceptor_set(acceptor, bad, 1), WEIR_EINVAL);
            CHECK_CODE(weir_acceptor_get(acceptor, bad, &value), WEIR_EINVAL);
        }
        CHECK_CODE(weir_stream_set(stream, WEIR_OPT_LINGER, -2), WEIR_EINVAL);
        if (all[f] != AF_UNIX)
            CHECK_CODE(weir_stream_set(stream, WEIR_OPT_KEEP_ALIVE_COUNT, 100000), WEIR_EINVAL);
    }
    CHECK_OK(weir_context_destroy(context));
}

TEST(any_option_by_level_and_name)
{
    weir_context *context = new_context();
    weir_stream *stream = new_stream(context);
    weir_acceptor *acceptor = new_acceptor(context);
    struct timeval time = {3, 0}, got = {0};
    socklen_t length = sizeof got;
    int value = 1;
    CHECK_CODE(weir_stream_set_option(stream, SOL_SOCKET, SO_KEEPALIVE, &value, sizeof value), WEIR_ENOTCONN);
    CHECK_OK(weir_stream_open(stream, AF_INET));
    CHECK_OK(weir_acceptor_open(acceptor, AF_INET));
    CHECK_OK(weir_stream_set_option(stream, SOL_SOCKET, SO_RCVTIMEO, &time, sizeof time));
    CHECK_OK(weir_stream_get_option(stream, SOL_SOCKET, SO_RCVTIMEO, &got, &length));
    CHECK_EQ(length, sizeof got);
    CHECK_EQ(got.tv_sec, 3);
    CHECK_OK(weir_acceptor_set_option(acceptor, SOL_SOCKET, SO_KEEPALIVE, &value, sizeof value));
    value = 0;
    length = sizeof value;
    CHECK_OK(weir_acceptor_get_option(acceptor, SOL_SOCKET, SO_KEEPALIVE, &value, &length));
    CHECK_EQ(value, 1);
    CHECK_EQ(length, sizeof value);
    CHECK_CODE(weir_stream_set_option(stream, SOL_SOCKET, 9999, &value, sizeof value), -ENOPROTOOPT);
    CHECK_CODE(weir_stream_get_option(stream, SOL_SOCKET, 9999, &value, &length), -ENOPROTOOPT);
    CHECK_CODE(weir_stream_set_option(stream, SOL_SOCKET, SO_KEEPALIVE, &value, 1), WEIR_EINVAL);
    /* SO_LINGER 0 by option: the close resets. */
    struct pair pair = new_pair(context, AF_INET);
    CHECK_OK(weir_stream_set(pair.stream, WEIR_OPT_LINGER, 0));
    CHECK_OK(weir_stream_close(pair.stream));
    char byte;
    CHECK_EQ(recv(pair.peer, &byte, 1, 0), -1);
    CHECK_EQ(errno, ECONNRESET);
    close(pair.peer);
    CHECK_OK(weir_context_destroy(context));
}

TEST(bind_to_device_takes_known_names)
{
    weir_context *context = new_context();
    weir_stream *stream = new_stream(context);
    weir_acceptor *acceptor = new_acceptor(context);
    CHECK_CODE(weir_stream_bind_to_device(stream, "lo"), WEIR_ENOTCONN);
    CHECK_OK(weir_stream_open(stream, AF_INET));
    CHECK_OK(weir_acceptor_open(acceptor, AF_INET));
    int code = weir_stream_bind_to_device(stream, "lo");
    if (code == -EPERM)
        CHECK_SKIP("the kernel does not allow it without a privilege");
    CHECK_OK(code);
    CHECK_OK(weir_acceptor_bind_to_device(acceptor, "lo"));
    CHECK_CODE(weir_stream_bind_to_device(stream, "weirnone0"), -ENODEV);
    CHECK_CODE(weir_acceptor_bind_to_device(acceptor, "weirnone0"), -ENODEV);
    char name[16] = "";
    socklen_t length = sizeof name;
    CHECK_OK(weir_stream_get_option(stream, SOL_SOCKET, SO_BINDTODEVICE, name, &length));
    CHECK(strcmp(name, "lo") == 0);
    /* "" ends it, and so does nothing else. */
    length = sizeof name;
    CHECK_OK(weir_stream_bind_to_device(stream, ""));
    CHECK_OK(weir_stream_get_option(stream, SOL_SOCKET, SO_BINDTODEVICE, name, &length));
    CHECK_EQ(length, 0);
    CHECK_OK(weir_context_destroy(context));
}

TEST(addresses_of_unconnected_streams)
{
    weir_context *context = new_context();
    weir_stream *stream = new_stream(context);
    struct sockaddr_storage address;
    socklen_t length = 77;
    CHECK_CODE(weir_stream_local_address(stream, &address, &length), WEIR_ENOTCONN);
    CHECK_CODE(weir_stream_remote_address(stream, &address, &length), WEIR_ENOTCONN);
    CHECK_OK(weir_stream_open(stream, AF_INET));
    CHECK_CODE(weir_stream_remote_address(stream, &address, &length), WEIR_ENOTCONN);
    CHECK_EQ(length, 77);
    CHECK_OK(weir_stream_local_address(stream, &address, &length));
    CHECK_EQ(length, sizeof(struct sockaddr_in));
    CHECK_EQ(address.ss_family, AF_INET);
    struct pair pair = new_pair(context, AF_UNIX);
    CHECK_OK(weir_stream_remote_address(pair.stream, &address, &length));
    CHECK_EQ(address.ss_family, AF_UNIX);
    CHECK_EQ(length, sizeof(sa_family_t)); /* a socket without a name */
    close_pair(&pair);
    CHECK_OK(weir_context_destroy(context));
}

TEST(operations_need_an_fd)
{
    weir_context *context = new_context();
    weir_stream *stream = new_stream(context), *unconnected = new_stream(context);
    struct operation operation;
    size_t bytes = 77;
    for (enum kind kind = 0; kind < KINDS; kind++)
        START_CODE(begin(kind, stream, &operation), WEIR_ENOTCONN);
    CHECK_CODE(weir_stream_try_read(stream, operation.data, 8, &bytes), WEIR_ENOTCONN);
    CHECK_CODE(weir_stream_try_write(stream, operation.data, 8, &bytes), WEIR_ENOTCONN);
    /* An open socket without a connection: the kernel says it, at once or as the completion. */
    CHECK_OK(weir_stream_open(unconnected, AF_INET));
    net_starting = true;
    int code = begin(READ, unconnected, &operation);
    net_starting = false;
    if (code == 0) {
        RUN_CALLS(context, operation.counter, 1);
        code = operation.counter.status;
    }
    CHECK_CODE(code, WEIR_ENOTCONN);
    CHECK_EQ(bytes, 77);
    CHECK_OK(weir_context_destroy(context));
}

TEST_MAIN()
