/* weir_stream_send_copy(): the kernel takes what it can at once, the library keeps a copy of the rest. */
#include "net.h"

static const int families[] = {AF_INET, AF_UNIX};

enum { BIG = 3 << 20 };

static unsigned char byte_at(size_t at)
{
    return (unsigned char)(at * 13 + at / 251);
}

struct reader {
    int peer;
    size_t total, wrong;
};

/* Reads to the end, and compares. */
static void *read_all(void *user)
{
    struct reader *reader = user;
    unsigned char block[16384];
    for (ssize_t got; (got = recv(reader->peer, block, sizeof block, 0)) > 0;)
        for (ssize_t i = 0; i < got; i++)
            reader->wrong += block[i] != byte_at(reader->total++);
    return NULL;
}

TEST(what_the_kernel_takes_is_not_copied)
{
    for (int f = 0; f < 2; f++) {
        weir_context *context = new_context();
        struct pair pair = new_pair(context, families[f]);
        char got[6] = "";
        size_t queued = 77;
        CHECK_OK(weir_stream_send_copy(pair.stream, "hello", 5, &queued));
        CHECK_EQ(queued, 0);
        CHECK_OK(weir_stream_send_copy(pair.stream, "!", 1, NULL));
        CHECK_OK(weir_stream_send_copy(pair.stream, NULL, 0, &queued));
        CHECK_EQ(queued, 0);
        receive_all(pair.peer, got, 6);
        CHECK_EQ(memcmp(got, "hello!", 6), 0);
        CHECK_OK(weir_handle_pending(pair.stream, &queued));
        CHECK_EQ(queued, 0);
        close_pair(&pair);
        CHECK_OK(weir_context_destroy(context));
    }
}

/* The buffer is overwritten as soon as the function has returned; run goes on until all has gone, and a send of nothing
 * tells when. */
TEST(the_rest_is_copied_and_goes_in_order)
{
    static unsigned char data[8192];
    for (int f = 0; f < 2; f++) {
        weir_context *context = new_context();
        struct pair pair = new_small_pair(context, families[f]);
        struct reader reader = {.peer = pair.peer};
        struct counter end = {0};
        size_t queued = 0, sent = 0, largest = 0;
        while (sent < BIG) {
            size_t length = 1 + sent % sizeof data;
            for (size_t i = 0; i < length; i++)
                data[i] = byte_at(sent + i);
            CHECK_OK(weir_stream_send_copy(pair.stream, data, length, &queued));
            sent += length;
            if (queued > largest)
                largest = queued;
            size_t told;
            CHECK_OK(weir_stream_queued(pair.stream, &told));
            CHECK_EQ(told, queued);
        }
        CHECK(largest > BIG / 2); /* it was queued */
        CHECK_OK(weir_handle_pending(pair.stream, &queued));
        CHECK_EQ(queued, 0); /* copies are no operations */
        CHECK_OK(weir_stream_send(pair.stream, NULL, 0, io_done, &end));
        CHECK_OK(weir_handle_pending(pair.stream, &queued));
        CHECK_EQ(queued, 1);
        pthread_t thread = start_thread(read_all, &reader);
        CHECK_OK(weir_context_run(context, NULL));
        CHECK_EQ(end.calls, 1);
        CHECK_CODE(end.status, 0);
        CHECK_OK(weir_stream_queued(pair.stream, &queued));
        CHECK_EQ(queued, 0);
        CHECK_OK(weir_stream_close(pair.stream));
        join_thread(thread);
        CHECK_EQ(reader.total, sent);
        CHECK_EQ(reader.wrong, 0);
        close(pair.peer);
        CHECK_OK(weir_context_destroy(context));
    }
}

TEST(run_returns_when_the_last_copy_has_gone)
{
    weir_context *context = new_context();
    struct pair pair = new_small_pair(context, AF_UNIX);
    struct reader reader = {.peer = pair.peer};
    size_t queued = 0, sent = 0;
    unsigned char data[4096];
    while (queued == 0) {
        for (size_t i = 0; i < sizeof data; i++)
            data[i] = byte_at(sent + i);
        CHECK_OK(weir_stream_send_copy(pair.stream, data, sizeof data, &queued));
        sent += sizeof data;
    }
    pthread_t thread = start_thread(read_all, &reader);
    CHECK_OK(weir_context_run(context, NULL));
    CHECK_OK(weir_stream_queued(pair.stream, &queued));
    CHECK_EQ(queued, 0);
    CHECK_EQ(weir_context_stopped(context), 1);
    CHECK_OK(weir_stream_close(pair.stream));
    join_thread(thread);
    CHECK_EQ(reader.total, sent);
    close(pair.peer);
    CHECK_OK(weir_context_destroy(context));
}

/* Copies and queued writes of the user's are one queue; a write beside it is refused. */
TEST(copies_and_sends_take_turns)
{
    weir_context *context = new_context();
    size_t filled, queued;
    struct pair pair = blocked_pair(context, AF_UNIX, WRITE, &filled);
    struct counter first = {0}, second = {0};
    char got[6];
    CHECK_OK(weir_stream_send(pair.stream, "ab", 2, io_done, &first));
    CHECK_OK(weir_stream_send_copy(pair.stream, "cd", 2, &queued));
    CHECK_EQ(queued, 4);
    CHECK_OK(weir_stream_send(pair.stream, "ef", 2, io_done, &second));
    CHECK_CODE(weir_stream_write(pair.stream, "x", 1, io_done, &first), WEIR_EBUSY);
    drain(pair.peer, filled);
    CHECK_OK(weir_context_run(context, NULL));
    CHECK_EQ(first.calls, 1);
    CHECK_EQ(second.calls, 1);
    receive_all(pair.peer, got, 6);
    CHECK_EQ(memcmp(got, "abcdef", 6), 0);
    close_pair(&pair);
    CHECK_OK(weir_context_destroy(context));
}

TEST(beside_another_write_it_is_refused)
{
    weir_context *context = new_context();
    size_t filled, queued = 77;
    struct pair pair = blocked_pair(context, AF_UNIX, WRITE, &filled);
    struct counter write = {0};
    CHECK_OK(weir_stream_write(pair.stream, "x", 1, io_done, &write));
    CHECK_CODE(weir_stream_send_copy(pair.stream, "y", 1, &queued), WEIR_EBUSY);
    CHECK_EQ(queued, 77);
    close_pair(&pair);
    CHECK_OK(weir_context_run(context, NULL));
    CHECK_CODE(write.status, WEIR_ECANCELED);
    CHECK_OK(weir_context_destroy(context));
}

/* A cancel and a close drop the copies: they are no operations, and do not keep run going. */
TEST(cancel_and_close_drop_what_waits)
{
    for (int closes = 0; closes < 2; closes++) {
        weir_context *context = new_context();
        size_t filled, count = 77;
        struct pair pair = blocked_pair(context, AF_UNIX, WRITE, &filled);
        CHECK_OK(weir_stream_send_copy(pair.stream, "lost", 4, &count));
        CHECK_EQ(count, 4);
        if (closes) {
            CHECK_OK(weir_stream_close(pair.stream));
        } else {
            CHECK_OK(weir_stream_cancel(pair.stream, &count));
            CHECK_EQ(count, 0);
            CHECK_OK(weir_stream_queued(pair.stream, &count));
            CHECK_EQ(count, 0);
        }
        CHECK_OK(weir_context_run(context, NULL));
        if (!closes) {
            char got[4];
            drain(pair.peer, filled);
            CHECK_OK(weir_stream_send_copy(pair.stream, "next", 4, NULL));
            receive_all(pair.peer, got, 4);
            CHECK_EQ(memcmp(got, "next", 4), 0);
            CHECK_OK(weir_stream_close(pair.stream));
        }
        close(pair.peer);
        CHECK_OK(weir_context_destroy(context));
    }
}

/* Every call after it says what a copy met, and so does what is queued behind it. */
TEST(an_error_is_told_by_the_next_call)
{
    weir_context *context = new_context();
    size_t filled, queued;
    struct pair pair = blocked_pair(context, AF_UNIX, WRITE, &filled);
    struct counter end = {0};
    CHECK_OK(weir_stream_send_copy(pair.stream, "lost", 4, &queued));
    CHECK_OK(weir_stream_send(pair.stream, NULL, 0, io_done, &end));
    close(pair.peer);
    CHECK_OK(weir_context_run(context, NULL));
    CHECK_EQ(end.calls, 1);
    CHECK_CODE(end.status, -EPIPE);
    for (int i = 0; i < 3; i++)
        CHECK_CODE(weir_stream_send_copy(pair.stream, "more", 4, &queued), -EPIPE);
    CHECK_OK(weir_stream_close(pair.stream));
    CHECK_OK(weir_context_destroy(context));
}

TEST(a_time_limit_ends_what_waits)
{
    weir_context *context = new_context_with(WEIR_CONTEXT_MANUAL_CLOCK, 1);
    size_t filled, queued;
    struct pair pair = blocked_pair(context, AF_UNIX, WRITE, &filled);
    CHECK_OK(weir_stream_set_timeout(pair.stream, WEIR_WAIT_WRITE, 1000));
    CHECK_OK(weir_stream_send_copy(pair.stream, "slow", 4, &queued));
    CHECK_EQ(queued, 4);
    CHECK_OK(weir_context_advance(context, 2000));
    CHECK_OK(weir_context_run(context, NULL));
    CHECK_OK(weir_stream_queued(pair.stream, &queued));
    CHECK_EQ(queued, 0);
    /* The stream is as good as before for others, but what was lost is lost. */
    CHECK_CODE(weir_stream_send_copy(pair.stream, "more", 4, &queued), WEIR_ETIMEDOUT);
    close_pair(&pair);
    CHECK_OK(weir_context_destroy(context));
}

TEST(a_stream_that_gets_a_new_fd_begins_anew)
{
    weir_context *context = new_context();
    size_t filled, queued;
    int fd, ends[2];
    char got[4];
    struct pair pair = blocked_pair(context, AF_UNIX, WRITE, &filled);
    CHECK_OK(weir_stream_send_copy(pair.stream, "lost", 4, &queued));
    close(pair.peer);
    CHECK_OK(weir_context_run(context, NULL));
    CHECK_CODE(weir_stream_send_copy(pair.stream, "more", 4, &queued), -EPIPE);
    CHECK_OK(weir_stream_release(pair.stream, &fd));
    close(fd);
    plain_pair(AF_UNIX, ends);
    CHECK_OK(weir_stream_adopt(pair.stream, ends[0]));
    CHECK_OK(weir_stream_send_copy(pair.stream, "more", 4, &queued));
    receive_all(ends[1], got, 4);
    close(ends[1]);
    CHECK_OK(weir_stream_close(pair.stream));
    CHECK_OK(weir_context_destroy(context));
}

TEST(destroy_drops_what_waits)
{
    weir_context *context = new_context();
    size_t filled;
    struct pair pair = blocked_pair(context, AF_UNIX, WRITE, &filled);
    CHECK_OK(weir_stream_send_copy(pair.stream, "lost", 4, NULL));
    CHECK_OK(weir_context_destroy(context));
    CHECK_CODE(weir_stream_send_copy(pair.stream, "x", 1, NULL), WEIR_EBADF);
    close(pair.peer);
}

TEST(bad_arguments_take_nothing)
{
    weir_context *context = new_context();
    struct pair pair = new_pair(context, AF_UNIX);
    weir_stream *bare = new_stream(context);
    size_t queued = 77;
    CHECK_CODE(weir_stream_send_copy(NULL, "x", 1, &queued), WEIR_EBADF);
    CHECK_CODE(weir_stream_send_copy(bare, "x", 1, &queued), WEIR_ENOTCONN);
    CHECK_CODE(weir_stream_send_copy(pair.stream, NULL, 1, &queued), WEIR_EINVAL);
    CHECK_CODE(weir_stream_send_copy(pair.stream, "x", SIZE_MAX, &queued), WEIR_EINVAL);
    CHECK_CODE(weir_stream_send_copy(pair.stream, "x", (size_t)SSIZE_MAX + 1, &queued), WEIR_EINVAL);
    CHECK_EQ(queued, 77);
    CHECK_OK(weir_stream_close(bare));
    close_pair(&pair);
    CHECK_OK(weir_context_destroy(context));
}

/* As submissions of weir_context_enter(): a copy, an own buffer behind it, and what waits is told. */
TEST(as_submissions)
{
    weir_context *context = new_context();
    size_t filled, count;
    struct pair pair = blocked_pair(context, AF_UNIX, WRITE, &filled);
    char data[2] = "ab", got[4];
    weir_record records[4];
    weir_submission submissions[2] = {
        {.kind = WEIR_SUBMIT_SEND_COPY, .handle = pair.stream, .data = data, .length = 2},
        {.kind = WEIR_SUBMIT_SEND, .handle = pair.stream, .data = (void *)"cd", .length = 2, .user = &count},
    };
    CHECK_OK(weir_context_enter(context, submissions, 2, NULL, 0, 0, &count));
    CHECK_CODE(submissions[0].result, 0);
    CHECK_EQ(submissions[0].length, 2);
    CHECK_CODE(submissions[1].result, 0);
    memset(data, 'x', sizeof data);
    drain(pair.peer, filled);
    CHECK_OK(weir_context_reap(context, records, 4, WEIR_FOREVER, &count));
    CHECK_EQ(count, 1);
    CHECK(records[0].user == &count);
    CHECK_CODE(records[0].status, 0);
    CHECK_EQ(records[0].value, 2);
    receive_all(pair.peer, got, 4);
    CHECK_EQ(memcmp(got, "abcd", 4), 0);
    close_pair(&pair);
    CHECK_OK(weir_context_destroy(context));
}

static void *run_on(void *context)
{
    CHECK_OK(weir_context_run(context, NULL));
    return NULL;
}

static void *send_copies(void *stream)
{
    /* Frames of four bytes that are equal: a torn one shows. */
    for (int i = 0; i < 20000; i++) {
        unsigned char frame[4];
        memset(frame, i % 251, sizeof frame);
        CHECK_OK(weir_stream_send_copy(stream, frame, sizeof frame, NULL));
    }
    return NULL;
}

TEST(from_several_threads_no_call_is_torn)
{
    weir_context *context = new_context_with(0, 2);
    struct pair pair = new_small_pair(context, AF_INET);
    CHECK_OK(weir_context_work_begin(context));
    pthread_t runner = start_thread(run_on, context), senders[2];
    for (int i = 0; i < 2; i++)
        senders[i] = start_thread(send_copies, pair.stream);
    for (int i = 0; i < 40000; i++) {
        unsigned char frame[4];
        receive_all(pair.peer, frame, 4);
        CHECK(frame[0] == frame[1] && frame[1] == frame[2] && frame[2] == frame[3]);
    }
    for (int i = 0; i < 2; i++)
        join_thread(senders[i]);
    CHECK_OK(weir_context_work_end(context));
    join_thread(runner);
    close_pair(&pair);
    CHECK_OK(weir_context_destroy(context));
}

TEST_MAIN()
