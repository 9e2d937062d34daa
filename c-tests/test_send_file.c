/* Files sent by the kernel. */
#include "net.h"

#include <sys/mman.h>

static const int families[] = {AF_INET, AF_UNIX};

static int new_file(size_t size)
{
    int fd = memfd_create("weir", MFD_CLOEXEC);
    CHECK(fd >= 0);
    unsigned char block[8192];
    for (size_t at = 0; at < size;) {
        size_t part = size - at < sizeof block ? size - at : sizeof block;
        for (size_t i = 0; i < part; i++)
            block[i] = (unsigned char)((at + i) * 7 + (at + i) / 256);
        CHECK_EQ(write(fd, block, part), (ssize_t)part);
        at += part;
    }
    return fd;
}

static void check_content(int peer, size_t from, size_t length)
{
    unsigned char block[8192];
    for (size_t at = from; at < from + length;) {
        size_t left = from + length - at, part = left < sizeof block ? left : sizeof block;
        receive_all(peer, block, part);
        for (size_t i = 0; i < part; i++)
            CHECK_EQ(block[i], (unsigned char)((at + i) * 7 + (at + i) / 256));
        at += part;
    }
}

struct reader {
    int peer;
    size_t from, length;
};

static void *read_body(void *user)
{
    struct reader *reader = user;
    check_content(reader->peer, reader->from, reader->length);
    return NULL;
}

TEST(parts_of_a_file_arrive_byte_for_byte)
{
    enum { SIZE = 5 << 20 };
    static const struct {
        size_t from, length;
    } parts[] = {{0, 0}, {0, 1}, {100, 4096}, {1, SIZE - 1}, {0, SIZE}, {SIZE - 1, 1}, {SIZE, 0}};
    weir_context *context = new_context();
    int file = new_file(SIZE);
    CHECK_EQ(lseek(file, 77, SEEK_SET), 77);
    for (int f = 0; f < 2; f++) {
        struct pair pair = new_pair(context, families[f]);
        for (size_t i = 0; i < sizeof parts / sizeof *parts; i++) {
            struct counter counter = {0};
            struct reader reader = {pair.peer, parts[i].from, parts[i].length};
            START(weir_stream_send_file(pair.stream, file, (int64_t)parts[i].from, parts[i].length, io_done, &counter));
            CHECK_EQ(counter.calls, 0);
            pthread_t thread = start_thread(read_body, &reader);
            RUN_CALLS(context, counter, 1);
            CHECK_DONE(counter, 0, parts[i].length);
            join_thread(thread);
        }
        close_pair(&pair);
    }
    CHECK_EQ(lseek(file, 0, SEEK_CUR), 77);
    close(file);
    CHECK_OK(weir_context_destroy(context));
}

TEST(a_file_that_ends_early_is_eof_with_what_was_sent)
{
    weir_context *context = new_context();
    int file = new_file(1000);
    struct pair pair = new_pair(context, AF_INET);
    struct counter counter = {0}, past = {0}, writing = {0};
    /* With EPOLLOUT registered, so that no first edge of it helps. */
    size_t filled = fill(pair.stream);
    START(weir_stream_write(pair.stream, "x", 1, io_done, &writing));
    drain(pair.peer, filled);
    RUN_CALLS(context, writing, 1);
    drain(pair.peer, 1);
    settle(context);
    START(weir_stream_send_file(pair.stream, file, 10, SSIZE_MAX, io_done, &counter));
    RUN_CALLS(context, counter, 1);
    CHECK_DONE(counter, WEIR_EOF, 990);
    check_content(pair.peer, 10, 990);
    START(weir_stream_send_file(pair.stream, file, 5000, 1, io_done, &past));
    RUN_CALLS(context, past, 1);
    CHECK_DONE(past, WEIR_EOF, 0);
    close(file);
    close_pair(&pair);
    CHECK_OK(weir_context_destroy(context));
}

TEST(what_is_no_file_is_an_error_of_the_operation)
{
    weir_context *context = new_context();
    struct pair pair = new_pair(context, AF_INET);
    struct counter counter = {0}, writing = {0};
    int closed = open("/dev/null", O_RDONLY | O_CLOEXEC);
    CHECK(closed >= 0);
    close(closed);
    START(weir_stream_send_file(pair.stream, closed, 0, 1, io_done, &counter));
    RUN_CALLS(context, counter, 1);
    CHECK_DONE(counter, WEIR_EBADF, 0);
    START(weir_stream_write(pair.stream, "x", 1, io_done, &writing));
    RUN_CALLS(context, writing, 1);
    CHECK_DONE(writing, 0, 1);
    close_pair(&pair);
    CHECK_OK(weir_context_destroy(context));
}

/* H24, H26: the direction is busy; a cancel, a close or the end of the context tells what was sent. */
TEST(h24_a_file_half_sent_tells_how_far_it_came)
{
    enum { SIZE = 8 << 20 };
    int file = new_file(SIZE);
    for (int f = 0; f < 2; f++) {
        for (int how = 0; how < 3; how++) {
            weir_context *context = new_context();
            struct pair pair = new_small_pair(context, families[f]);
            struct counter counter = {0};
            START(weir_stream_send_file(pair.stream, file, 0, SIZE, io_done, &counter));
            settle(context);
            CHECK_EQ(counter.calls, 0);
            START_CODE(weir_stream_send_file(pair.stream, file, 0, SIZE, io_done, &counter), WEIR_EBUSY);
            START_CODE(weir_stream_write(pair.stream, "x", 1, io_done, &counter), WEIR_EBUSY);
            if (how == 0) {
                size_t count = 0;
                CHECK_OK(weir_stream_cancel(pair.stream, &count));
                CHECK_EQ(count, 1);
                RUN_CALLS(context, counter, 1);
                CHECK_OK(weir_stream_close(pair.stream));
            } else if (how == 1) {
                CHECK_OK(weir_stream_close(pair.stream));
                RUN_CALLS(context, counter, 1);
            }
            CHECK_OK(weir_context_destroy(context));
            CHECK_EQ(counter.calls, 1);
            CHECK_CODE(counter.status, WEIR_ECANCELED);
            CHECK(counter.bytes > 0 && counter.bytes < SIZE);
            check_content(pair.peer, 0, counter.bytes);
            CHECK_EQ(receive_to_end(pair.peer), 0);
            close(pair.peer);
        }
    }
    close(file);
}

/* H31: the kernel sends a file piece by piece. Where the peer goes in between there is a count and the signal as well. */
static atomic_int lost_peer;

static void *lose_peers(void *user)
{
    unsigned spin = 12345;
    (void)user;
    for (;;) {
        int fd = atomic_exchange(&lost_peer, -1);
        if (fd == -2)
            return NULL;
        if (fd < 0)
            continue;
        spin = spin * 1103515245 + 12345;
        for (volatile unsigned i = 0; i < spin % 60000; i++) {
        }
        close(fd);
    }
}

TEST(h31_a_peer_that_is_lost_between_two_pieces_raises_no_signal)
{
    int file = new_file(4 << 20);
    CHECK(signal(SIGPIPE, SIG_DFL) != SIG_ERR);
    weir_context *context = new_context();
    pthread_t other;
    atomic_store(&lost_peer, -1);
    CHECK_EQ(pthread_create(&other, NULL, lose_peers, NULL), 0);
    int rounds = CHECK_SANITIZED ? 200 : 1500;
    for (int i = 0; i < rounds; i++) {
        int ends[2], room = 4 << 20;
        struct counter counter = {0};
        weir_stream *stream = new_stream(context);
        CHECK_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
        setsockopt(ends[0], SOL_SOCKET, SO_SNDBUF, &room, sizeof room);
        CHECK_OK(weir_stream_adopt(stream, ends[0]));
        atomic_store(&lost_peer, ends[1]);
        START(weir_stream_send_file(stream, file, 0, 4 << 20, io_done, &counter));
        RUN_CALLS(context, counter, 1);
        CHECK(counter.status == -EPIPE || counter.status == -ECONNRESET || counter.status == 0);
        CHECK_OK(weir_stream_close(stream));
    }
    while (atomic_load(&lost_peer) != -1) {
    }
    atomic_store(&lost_peer, -2);
    pthread_join(other, NULL);
    CHECK_OK(weir_context_destroy(context));
    close(file);
}

/* H31: the default action of SIGPIPE would end the process. One that is pending already is left alone. */
TEST(h31_a_lost_peer_is_an_error_and_no_signal_of_send_file)
{
    int file = new_file(4 << 20);
    CHECK(signal(SIGPIPE, SIG_DFL) != SIG_ERR);
    weir_context *context = new_context();
    for (int f = 0; f < 2; f++) {
        struct pair pair = new_pair(context, families[f]);
        struct counter counter = {0};
        int status = 0;
        reset_and_close(pair.peer);
        for (int i = 0; i < 50 && status != -EPIPE; i++) {
            memset(&counter, 0, sizeof counter);
            START(weir_stream_send_file(pair.stream, file, 0, 4 << 20, io_done, &counter));
            RUN_CALLS(context, counter, 1);
            status = counter.status;
            CHECK(status == -EPIPE || status == -ECONNRESET);
        }
        CHECK_CODE(status, -EPIPE);
        sigset_t pending;
        CHECK_EQ(sigpending(&pending), 0);
        CHECK_EQ(sigismember(&pending, SIGPIPE), 0);
        CHECK_OK(weir_stream_close(pair.stream));
    }
    /* A thread that blocks the signal and has one waiting keeps it. */
    sigset_t pipe_set, pending;
    sigemptyset(&pipe_set);
    sigaddset(&pipe_set, SIGPIPE);
    CHECK_EQ(pthread_sigmask(SIG_BLOCK, &pipe_set, NULL), 0);
    for (int waiting = 0; waiting < 2; waiting++) {
        struct pair pair = new_pair(context, AF_UNIX);
        struct counter counter = {0};
        close(pair.peer);
        if (waiting)
            CHECK_EQ(raise(SIGPIPE), 0);
        START(weir_stream_send_file(pair.stream, file, 0, 10, io_done, &counter));
        RUN_CALLS(context, counter, 1);
        CHECK_DONE(counter, -EPIPE, 0);
        CHECK_EQ(sigpending(&pending), 0);
        CHECK_EQ(sigismember(&pending, SIGPIPE), waiting);
        CHECK_OK(weir_stream_close(pair.stream));
    }
    close(file);
    CHECK_OK(weir_context_destroy(context));
}

/* H34: a large file does not keep a posted function waiting until it is sent. */
static atomic_int posts_while_sending;
static weir_context *posting_context;
static struct counter sending;

static void post_again(int status, void *user)
{
    (void)user;
    if (status != 0 || atomic_load(&sending.calls) > 0)
        return;
    atomic_fetch_add(&posts_while_sending, 1);
    CHECK_OK(weir_context_post(posting_context, post_again, NULL));
}

TEST(h34_a_large_file_lets_others_run_in_between)
{
    enum { SIZE = 16 << 20 };
    int file = new_file(SIZE);
    weir_context *context = posting_context = new_context();
    struct pair pair = new_pair(context, AF_UNIX);
    struct reader reader = {pair.peer, 0, SIZE};
    /* Room for all of it at once, where that is allowed. */
    int room = 4 * SIZE;
    setsockopt(pair.fd, SOL_SOCKET, SO_SNDBUFFORCE, &room, sizeof room);
    START(weir_stream_send_file(pair.stream, file, 0, SIZE, io_done, &sending));
    pthread_t thread = start_thread(read_body, &reader);
    CHECK_OK(weir_context_post(context, post_again, NULL));
    RUN_CALLS(context, sending, 1);
    CHECK_DONE(sending, 0, SIZE);
    CHECK(atomic_load(&posts_while_sending) >= 4);
    join_thread(thread);
    close_pair(&pair);
    close(file);
    CHECK_OK(weir_context_destroy(context));
}

TEST(a_file_as_a_record_and_in_a_strand)
{
    weir_context *context = new_context();
    struct pair pair = new_pair(context, AF_INET);
    int file = new_file(3000);
    weir_strand *strand;
    weir_record record;
    size_t count = 0;
    CHECK_OK(weir_strand_create(context, &strand));
    CHECK_OK(weir_handle_set_strand(pair.stream, strand));
    START(weir_stream_send_file(pair.stream, file, 0, 3000, NULL, &file));
    CHECK_OK(weir_context_reap(context, &record, 1, 30 * CHECK_SECOND, &count));
    CHECK_EQ(count, 1);
    CHECK(record.user == &file);
    CHECK_EQ(record.kind, WEIR_OP_WRITE);
    CHECK_OK(record.status);
    CHECK_EQ(record.value, 3000);
    check_content(pair.peer, 0, 3000);
    close_pair(&pair);
    close(file);
    CHECK_OK(weir_context_destroy(context));
}

TEST(a_file_with_a_time_limit_tells_what_was_sent)
{
    weir_context *context = new_context_with(WEIR_CONTEXT_MANUAL_CLOCK, 0);
    int file = new_file(8 << 20);
    struct pair pair = new_small_pair(context, AF_UNIX);
    struct counter counter = {0};
    CHECK_OK(weir_stream_set_timeout(pair.stream, WEIR_WAIT_WRITE, CHECK_SECOND));
    START(weir_stream_send_file(pair.stream, file, 0, 8 << 20, io_done, &counter));
    settle(context);
    CHECK_OK(weir_context_advance(context, CHECK_SECOND));
    RUN_CALLS(context, counter, 1);
    CHECK_CODE(counter.status, WEIR_ETIMEDOUT);
    CHECK(counter.bytes > 0);
    check_content(pair.peer, 0, counter.bytes);
    close_pair(&pair);
    close(file);
    CHECK_OK(weir_context_destroy(context));
}

TEST_MAIN()
