/* AF_UNIX: pairs, names in the file system, credentials, fds that go with a message. */
#include "dgram.h"

#include <sys/stat.h>

TEST(a_pair_of_streams_is_connected)
{
    weir_context *context = new_context(), *found = NULL;
    weir_stream *ends[2];
    struct counter sent = {0}, got = {0}, end = {0};
    char data[8];
    CHECK_OK(weir_stream_pair(context, &ends[0], &ends[1]));
    CHECK_OK(weir_stream_context(ends[1], &found));
    CHECK(found == context && ends[0] != ends[1]);
    START(weir_stream_write(ends[0], "hello", 5, io_done, &sent));
    START(weir_stream_read(ends[1], data, 5, io_done, &got));
    RUN_UNTIL(context, sent.calls == 1 && got.calls == 1);
    CHECK_DONE(got, 0, 5);
    CHECK(memcmp(data, "hello", 5) == 0);
    START(weir_stream_read(ends[1], data, 5, io_done, &end));
    CHECK_OK(weir_stream_close(ends[0]));
    RUN_CALLS(context, end, 1);
    CHECK_DONE(end, WEIR_EOF, 0);
    CHECK_OK(weir_context_destroy(context));
}

/* ---- names */

static char folder[] = "/tmp/weir-unix-XXXXXX";

static struct where path_in_folder(const char *name)
{
    struct where where;
    memset(&where, 0, sizeof where);
    struct sockaddr_un *local = (struct sockaddr_un *)&where.address;
    local->sun_family = AF_UNIX;
    CHECK(mkdtemp(folder) != NULL || errno == EINVAL);
    int used = snprintf(local->sun_path, sizeof local->sun_path, "%s/%s", folder, name);
    CHECK(used > 0 && (size_t)used < sizeof local->sun_path);
    where.length = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + (size_t)used + 1);
    return where;
}

static bool exists(const struct where *where)
{
    struct stat found;
    return stat(((const struct sockaddr_un *)&where->address)->sun_path, &found) == 0;
}

TEST(a_path_is_unlinked_on_request_only)
{
    weir_context *context = new_context();
    struct where stream_path = path_in_folder("stream"), dgram_path = path_in_folder("datagram");
    weir_acceptor *acceptor = new_acceptor(context);
    weir_datagram *datagram = new_datagram(context);
    CHECK_OK(weir_acceptor_bind(acceptor, AT(&stream_path)));
    CHECK_OK(weir_datagram_bind(datagram, AT(&dgram_path)));
    CHECK(exists(&stream_path) && exists(&dgram_path));
    CHECK_OK(weir_acceptor_close(acceptor));
    CHECK_OK(weir_datagram_close(datagram));
    CHECK(exists(&stream_path) && exists(&dgram_path));
    acceptor = new_acceptor(context);
    datagram = new_datagram(context);
    CHECK_CODE(weir_acceptor_bind(acceptor, AT(&stream_path)), -EADDRINUSE);
    CHECK_CODE(weir_datagram_bind(datagram, AT(&dgram_path)), -EADDRINUSE);
    CHECK_CODE(weir_acceptor_unlink(acceptor), WEIR_ENOTCONN);
    CHECK_EQ(unlink(((struct sockaddr_un *)&stream_path.address)->sun_path), 0);
    CHECK_EQ(unlink(((struct sockaddr_un *)&dgram_path.address)->sun_path), 0);
    CHECK_OK(weir_acceptor_bind(acceptor, AT(&stream_path)));
    CHECK_OK(weir_datagram_bind(datagram, AT(&dgram_path)));
    CHECK_OK(weir_acceptor_unlink(acceptor));
    CHECK_OK(weir_datagram_unlink(datagram));
    CHECK(!exists(&stream_path) && !exists(&dgram_path));
    CHECK_CODE(weir_acceptor_unlink(acceptor), -ENOENT);
    /* An abstract name has nothing to remove. */
    struct where abstract;
    weir_datagram *other = bound(context, AF_UNIX, "abstract", &abstract);
    CHECK_CODE(weir_datagram_unlink(other), -EOPNOTSUPP);
    CHECK_EQ(rmdir(folder), 0);
    CHECK_OK(weir_context_destroy(context));
}

TEST(datagrams_go_by_path_and_autobind)
{
    weir_context *context = new_context();
    struct where path = path_in_folder("receiver"), from = {0}, none = {0}, named = {0};
    weir_datagram *receiver = new_datagram(context), *sender = new_datagram(context), *nameless = new_datagram(context);
    CHECK_OK(weir_datagram_bind(receiver, AT(&path)));
    none.address.ss_family = AF_UNIX;
    none.length = sizeof(sa_family_t);
    CHECK_OK(weir_datagram_bind(sender, AT(&none)));
    CHECK_OK(weir_datagram_local_address(sender, &named.address, &named.length));
    CHECK(named.length > none.length && ((struct sockaddr_un *)&named.address)->sun_path[0] == 0);
    struct counter sent = {0}, got = {0};
    char data[8];
    START(weir_datagram_receive_from(receiver, data, 8, &from.address, &from.length, io_done, &got));
    START(weir_datagram_send_to(sender, "abc", 3, AT(&path), io_done, &sent));
    RUN_UNTIL(context, sent.calls == 1 && got.calls == 1);
    CHECK_DONE(got, 0, 3);
    CHECK(same_place(&from, AT(&named)));
    /* A sender without a name; a whole storage is as good as the address's own length. */
    size_t count = 0, bytes = 0;
    CHECK_OK(weir_datagram_open(nameless, AF_UNIX));
    CHECK_OK(weir_datagram_try_send_to(nameless, "xy", 2, (struct sockaddr *)&path.address, sizeof path.address,
                                       &count));
    CHECK_EQ(count, 1);
    CHECK_OK(weir_datagram_try_receive_from(receiver, data, 8, &from.address, &from.length, &count, &bytes));
    CHECK_EQ(count, 1);
    CHECK_EQ(from.length, 0);
    CHECK_EQ(from.address.ss_family, AF_UNSPEC);
    weir_datagram_message message = {
        .data = data, .length = 2, .address = &path.address, .address_length = sizeof path.address};
    START(weir_datagram_send_batch(nameless, &message, 1, io_done, &sent));
    RUN_CALLS(context, sent, 2);
    CHECK_EQ(sent.status, 0);
    CHECK_OK(weir_datagram_unlink(receiver));
    CHECK_EQ(rmdir(folder), 0);
    CHECK_OK(weir_context_destroy(context));
}

/* ---- credentials */

TEST(the_peer_of_a_stream_is_known)
{
    weir_context *context = new_context();
    weir_stream *ends[2], *connected[2], *inet[2], *none = new_stream(context);
    int32_t pid = -1;
    uint32_t uid = 77, gid = 77;
    CHECK_OK(weir_stream_pair(context, &ends[0], &ends[1]));
    connected_streams(context, AF_UNIX, connected);
    connected_streams(context, AF_INET, inet);
    weir_stream *all[] = {ends[0], ends[1], connected[0], connected[1]};
    for (int i = 0; i < 4; i++) {
        pid = -1, uid = gid = 77777;
        CHECK_OK(weir_stream_peer_credentials(all[i], &pid, &uid, &gid));
        CHECK_EQ(pid, getpid());
        CHECK_EQ(uid, getuid());
        CHECK_EQ(gid, getgid());
        CHECK_OK(weir_stream_peer_credentials(all[i], NULL, NULL, NULL));
    }
    CHECK_CODE(weir_stream_peer_credentials(inet[0], &pid, NULL, NULL), -EOPNOTSUPP);
    CHECK_CODE(weir_stream_peer_credentials(none, &pid, NULL, NULL), WEIR_ENOTCONN);
    CHECK_OK(weir_context_destroy(context));
}

/* ---- fds */

/* Handles of both kinds that pass fds. */
struct passing {
    bool stream;
    weir_stream *streams[2];
    weir_datagram *datagrams[2];
};

static struct passing new_passing(weir_context *context, bool stream)
{
    struct passing passing = {.stream = stream};
    if (stream)
        CHECK_OK(weir_stream_pair(context, &passing.streams[0], &passing.streams[1]));
    else
        CHECK_OK(weir_datagram_pair(context, &passing.datagrams[0], &passing.datagrams[1]));
    return passing;
}

static int send_fds(struct passing *p, const void *data, size_t length, const int *fds, size_t count, struct counter *c)
{
    return p->stream ? weir_stream_write_fds(p->streams[0], data, length, fds, count, io_done, c)
                     : weir_datagram_send_fds(p->datagrams[0], data, length, fds, count, io_done, c);
}

static int receive_fds(struct passing *p, void *data, size_t length, int *fds, size_t *count, struct counter *c)
{
    return p->stream ? weir_stream_read_fds(p->streams[1], data, length, fds, count, io_done, c)
                     : weir_datagram_receive_fds(p->datagrams[1], data, length, fds, count, io_done, c);
}

static bool same_file(int left, int right)
{
    struct stat one, two;
    CHECK_EQ(fstat(left, &one), 0);
    CHECK_EQ(fstat(right, &two), 0);
    return one.st_ino == two.st_ino && one.st_dev == two.st_dev;
}

TEST(h32_fds_go_with_a_message_and_are_close_on_exec)
{
    for (int stream = 0; stream < 2; stream++) {
        for (int parked = 0; parked < 2; parked++) {
            weir_context *context = new_context();
            struct passing passing = new_passing(context, stream);
            struct counter sent = {0}, got = {0};
            int pipes[2], fds[4] = {-1, -1, -1, -1};
            size_t count = 4;
            char data[8];
            CHECK_EQ(pipe(pipes), 0);
            if (parked) {
                START(receive_fds(&passing, data, 8, fds, &count, &got));
                settle(context);
            }
            START(send_fds(&passing, "ab", 2, pipes, 2, &sent));
            if (!parked)
                START(receive_fds(&passing, data, 8, fds, &count, &got));
            RUN_UNTIL(context, sent.calls == 1 && got.calls == 1);
            CHECK_DONE(sent, 0, 2);
            CHECK_DONE(got, 0, 2);
            CHECK_EQ(count, 2);
            for (int i = 0; i < 2; i++) {
                /* The sender keeps its own. */
                CHECK(fds[i] != pipes[i] && same_file(fds[i], pipes[i]));
                CHECK_EQ(fcntl(fds[i], F_GETFD), FD_CLOEXEC);
                close(fds[i]);
                close(pipes[i]);
            }
            CHECK(fds[2] == -1 && fds[3] == -1);
            CHECK_OK(weir_context_destroy(context));
        }
    }
}

TEST(h32_fds_without_room_are_closed_and_told)
{
    for (int stream = 0; stream < 2; stream++) {
        weir_context *context = new_context();
        struct passing passing = new_passing(context, stream);
        int pipes[2], many_fds[253], fds[253];
        CHECK_EQ(pipe(pipes), 0);
        for (int i = 0; i < 253; i++)
            many_fds[i] = pipes[0];
        static const struct {
            size_t sent, room;
        } cases[] = {{2, 1}, {2, 0}, {3, 2}, {253, 253}, {253, 252}, {253, 0}, {0, 0}, {1, 1}, {0, 5}};
        for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
            struct counter sent = {0}, got = {0};
            size_t count = cases[i].room, want = cases[i].sent < count ? cases[i].sent : count;
            int before = count_fds();
            char data[8];
            START(send_fds(&passing, "abc", 3, many_fds, cases[i].sent, &sent));
            START(receive_fds(&passing, data, 8, cases[i].room ? fds : NULL, &count, &got));
            RUN_UNTIL(context, sent.calls == 1 && got.calls == 1);
            CHECK_DONE(sent, 0, 3);
            CHECK_DONE(got, cases[i].sent > cases[i].room ? -EMSGSIZE : 0, 3);
            CHECK_EQ(count, want);
            CHECK_EQ(count_fds(), before + (int)want);
            for (size_t k = 0; k < want; k++)
                close(fds[k]);
        }
        close(pipes[0]);
        close(pipes[1]);
        CHECK_OK(weir_context_destroy(context));
    }
}

TEST(h32_other_ways_of_reading_drop_the_fds)
{
    weir_context *context = new_context();
    for (int way = 0; way < 6; way++) {
        struct passing passing = new_passing(context, way < 3);
        struct counter sent = {0}, got = {0};
        struct where from;
        weir_datagram_message message = {0};
        char data[8];
        struct iovec vector = {data, 8};
        int pipes[2], before = count_fds();
        CHECK_EQ(pipe(pipes), 0);
        START(send_fds(&passing, "abc", 3, pipes, 2, &sent));
        RUN_CALLS(context, sent, 1);
        close(pipes[0]);
        message.data = data;
        message.length = 8;
        switch (way) {
        case 0:
            START(weir_stream_read_some(passing.streams[1], data, 8, io_done, &got));
            break;
        case 1:
            START(weir_stream_readv_some(passing.streams[1], &vector, 1, io_done, &got));
            break;
        case 2:
            START(weir_stream_read(passing.streams[1], data, 3, io_done, &got));
            break;
        case 3:
            START(weir_datagram_receive(passing.datagrams[1], data, 8, io_done, &got));
            break;
        case 4:
            START(weir_datagram_receive_from(passing.datagrams[1], data, 8, &from.address, &from.length, io_done,
                                             &got));
            break;
        default:
            START(weir_datagram_receive_batch(passing.datagrams[1], &message, 1, io_done, &got));
        }
        RUN_CALLS(context, got, 1);
        CHECK_DONE(got, 0, way == 5 ? 1 : 3);
        CHECK_EQ(count_fds(), before + 1);
        /* The reading end was in flight only: now there is none. */
        struct pollfd asked = {pipes[1], POLLOUT, 0};
        CHECK_EQ(poll(&asked, 1, 0), 1);
        CHECK(asked.revents & POLLERR);
        close(pipes[1]);
    }
    CHECK_OK(weir_context_destroy(context));
}

TEST(fds_go_with_the_first_byte_of_a_long_write)
{
    weir_context *context = new_context();
    struct passing passing = new_passing(context, true);
    static char out[3 << 20], in[3 << 20];
    struct counter sent = {0}, got = {0};
    int pipes[2], fds[4];
    size_t total = 0, received = 0;
    CHECK_EQ(pipe(pipes), 0);
    for (size_t i = 0; i < sizeof out; i++)
        out[i] = (char)(i * 7 + (i >> 8));
    START(send_fds(&passing, out, sizeof out, pipes, 2, &sent));
    for (int calls = 1; total < sizeof in; calls++) {
        size_t count = 4;
        START(receive_fds(&passing, in + total, sizeof in - total, fds, &count, &got));
        RUN_CALLS(context, got, calls);
        CHECK_EQ(got.status, 0);
        if (calls == 1) {
            CHECK_EQ(count, 2);
            close(fds[0]);
            close(fds[1]);
        }
        received += count;
        total = got.bytes;
    }
    CHECK_EQ(received, 2);
    RUN_CALLS(context, sent, 1);
    CHECK_DONE(sent, 0, sizeof out);
    CHECK(memcmp(in, out, sizeof out) == 0);
    /* The end, with the count told. */
    size_t count = 4;
    CHECK_OK(weir_stream_close(passing.streams[0]));
    got.bytes = 0;
    got.calls = 0;
    START(receive_fds(&passing, in, 8, fds, &count, &got));
    RUN_CALLS(context, got, 1);
    CHECK_DONE(got, WEIR_EOF, 0);
    CHECK_EQ(count, 0);
    CHECK_OK(weir_context_destroy(context));
}

TEST(a_datagram_may_be_fds_alone_and_may_be_cut)
{
    weir_context *context = new_context();
    struct passing passing = new_passing(context, false);
    struct counter sent = {0}, got = {0}, cut = {0};
    int fd = dup(0), received = -1;
    size_t count = 1;
    char data[4];
    CHECK(fd >= 0);
    START(send_fds(&passing, NULL, 0, &fd, 1, &sent));
    START(receive_fds(&passing, NULL, 0, &received, &count, &got));
    RUN_UNTIL(context, sent.calls == 1 && got.calls == 1);
    CHECK_DONE(got, 0, 0);
    CHECK_EQ(count, 1);
    close(received);
    START(send_fds(&passing, "longer", 6, &fd, 1, &sent));
    START(receive_fds(&passing, data, 4, &received, &count, &cut));
    RUN_UNTIL(context, sent.calls == 2 && cut.calls == 1);
    CHECK_DONE(cut, -EMSGSIZE, 4);
    CHECK_EQ(count, 1);
    close(received);
    close(fd);
    CHECK_OK(weir_context_destroy(context));
}

TEST(fds_that_the_process_has_no_number_for_are_told)
{
    weir_context *context = new_context();
    for (int stream = 0; stream < 2; stream++) {
        struct passing passing = new_passing(context, stream);
        struct counter sent = {0}, got = {0};
        int sources[3] = {0, 0, 0}, fds[3] = {-1, -1, -1};
        size_t count = 3;
        char data[4];
        START(send_fds(&passing, "abc", 3, sources, 3, &sent));
        RUN_CALLS(context, sent, 1);
        int before = count_fds();
        set_fd_limit(no_more_fds() + 1);
        START(receive_fds(&passing, data, 4, fds, &count, &got));
        RUN_CALLS(context, got, 1);
        set_fd_limit(256);
        CHECK_DONE(got, -EMFILE, 3);
        CHECK_EQ(count, 1);
        CHECK_EQ(count_fds(), before + 1);
        close(fds[0]);
    }
    CHECK_OK(weir_context_destroy(context));
}

TEST(bad_fds_and_other_sockets_are_refused)
{
    weir_context *context = new_context();
    int bad[2] = {0, 9999}, none = -1;
    for (int stream = 0; stream < 2; stream++) {
        struct passing passing = new_passing(context, stream);
        struct counter sent = {0};
        START(send_fds(&passing, "abc", 3, bad, 2, &sent));
        RUN_CALLS(context, sent, 1);
        CHECK_DONE(sent, -EBADF, 0);
        START(send_fds(&passing, "abc", 3, &none, 1, &sent));
        RUN_CALLS(context, sent, 2);
        CHECK_EQ(sent.status, -EBADF);
    }
    weir_stream *inet[2];
    weir_datagram *udp[2];
    struct counter counter = {0};
    size_t count = 1;
    char data[4];
    connected_streams(context, AF_INET, inet);
    connected_datagrams(context, AF_INET, udp);
    START_CODE(weir_stream_write_fds(inet[0], "x", 1, bad, 1, io_done, &counter), -EOPNOTSUPP);
    START_CODE(weir_stream_read_fds(inet[0], data, 1, bad, &count, io_done, &counter), -EOPNOTSUPP);
    START_CODE(weir_datagram_send_fds(udp[0], "x", 1, bad, 1, io_done, &counter), -EOPNOTSUPP);
    START_CODE(weir_datagram_receive_fds(udp[0], data, 1, bad, &count, io_done, &counter), -EOPNOTSUPP);
    settle(context);
    CHECK_EQ(counter.calls, 0);
    CHECK_OK(weir_context_destroy(context));
}

TEST(h31_fds_to_a_closed_peer_are_an_error_and_no_signal)
{
    signal(SIGPIPE, SIG_DFL);
    weir_context *context = new_context();
    struct passing passing = new_passing(context, true);
    struct counter sent = {0};
    int fd = 0;
    CHECK_OK(weir_stream_close(passing.streams[1]));
    START(send_fds(&passing, "x", 1, &fd, 1, &sent));
    RUN_CALLS(context, sent, 1);
    CHECK_DONE(sent, -EPIPE, 0);
    CHECK_OK(weir_context_destroy(context));
}

TEST(busy_cancel_close_and_destruction_of_fd_passing)
{
    for (int stream = 0; stream < 2; stream++) {
        for (int how = 0; how < 3; how++) {
            weir_context *context = new_context();
            struct passing passing = new_passing(context, stream);
            struct counter got = {0}, second = {0};
            int fds[2] = {-1, -1};
            size_t count = 2, ended = 0;
            char data[4];
            void *handle = stream ? (void *)passing.streams[1] : (void *)passing.datagrams[1];
            START(receive_fds(&passing, data, 4, fds, &count, &got));
            START_CODE(receive_fds(&passing, data, 4, fds, &count, &second), WEIR_EBUSY);
            settle(context);
            if (how == 0) {
                CHECK_OK(weir_handle_cancel(handle, &ended));
                CHECK_EQ(ended, 1);
            } else if (how == 1) {
                CHECK_OK(weir_handle_close(handle));
                CHECK_CODE(receive_fds(&passing, data, 4, fds, &count, &second), WEIR_EBADF);
            } else {
                CHECK_OK(weir_context_destroy(context));
            }
            if (how < 2) {
                RUN_CALLS(context, got, 1);
                CHECK_OK(weir_context_destroy(context));
            }
            CHECK_DONE(got, WEIR_ECANCELED, 0);
            CHECK_EQ(count, 2);
            CHECK(fds[0] == -1 && second.calls == 0);
        }
    }
}

TEST(fd_passing_gives_records)
{
    weir_context *context = new_context();
    for (int stream = 0; stream < 2; stream++) {
        struct passing p = new_passing(context, stream);
        int fd = 0, received = -1;
        size_t room = 1, done_count = 0;
        char data[4];
        if (stream) {
            CHECK_OK(weir_stream_write_fds(p.streams[0], "x", 1, &fd, 1, NULL, &fd));
            CHECK_OK(weir_stream_read_fds(p.streams[1], data, 4, &received, &room, NULL, data));
        } else {
            CHECK_OK(weir_datagram_send_fds(p.datagrams[0], "x", 1, &fd, 1, NULL, &fd));
            CHECK_OK(weir_datagram_receive_fds(p.datagrams[1], data, 4, &received, &room, NULL, data));
        }
        while (done_count < 2) {
            weir_record record;
            size_t count = 0;
            CHECK_OK(weir_context_reap(context, &record, 1, 30 * CHECK_SECOND, &count));
            CHECK_EQ(count, 1);
            bool reading = record.user == data;
            CHECK_EQ(record.kind, reading  ? (stream ? WEIR_OP_READ : WEIR_OP_RECEIVE)
                                  : stream ? WEIR_OP_WRITE
                                           : WEIR_OP_SEND);
            CHECK_EQ(record.value, 1);
            CHECK_EQ(record.status, 0);
            done_count++;
        }
        CHECK_EQ(room, 1);
        close(received);
    }
    CHECK_OK(weir_context_destroy(context));
}

TEST_MAIN()
