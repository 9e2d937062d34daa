/* Reading and writing: what each operation does, one at a time. */
#include "net.h"

static const int families[] = {AF_INET, AF_UNIX};
#define EACH_FAMILY(family) for (int family##_at = 0, family; family##_at < 2 && (family = families[family##_at], 1); family##_at++)

/* Contract 1 and 2: one completion, and not inside the function that starts it, also when the data is there. */
TEST(each_operation_completes_once_and_later)
{
    weir_context *context = new_context();
    EACH_FAMILY(family) {
        for (enum kind kind = 0; kind < KINDS; kind++) {
            struct pair pair = new_pair(context, family);
            struct operation operation;
            if (is_read(kind)) {
                send_all(pair.peer, "abcdefgh", 8);
                await_events(pair.fd, POLLIN);
            }
            START(begin(kind, pair.stream, &operation));
            CHECK_EQ(operation.counter.calls, 0);
            RUN_CALLS(context, operation.counter, 1);
            settle(context);
            CHECK_DONE(operation.counter, 0, bytes_of(kind));
            if (is_read(kind))
                CHECK(memcmp(operation.data, is_wait(kind) ? UNTOUCHED : "abcdefgh", 8) == 0);
            char seen[8] = "";
            if (!is_read(kind) && !is_wait(kind)) {
                receive_all(pair.peer, seen, 8);
                CHECK(memcmp(seen, "12345678", 8) == 0);
            }
            close_pair(&pair);
        }
    }
    CHECK_OK(weir_context_destroy(context));
}

TEST(each_operation_waits_until_it_can_complete)
{
    weir_context *context = new_context();
    EACH_FAMILY(family) {
        for (enum kind kind = 0; kind < KINDS; kind++) {
            size_t filled;
            struct pair pair = blocked_pair(context, family, kind, &filled);
            struct operation operation;
            START(begin(kind, pair.stream, &operation));
            settle(context);
            CHECK_EQ(operation.counter.calls, 0);
            unblock(&pair, kind, filled);
            RUN_CALLS(context, operation.counter, 1);
            settle(context);
            CHECK_DONE(operation.counter, 0, bytes_of(kind));
            close_pair(&pair);
        }
    }
    CHECK_OK(weir_context_destroy(context));
}

/* H26: a second operation of a direction is refused and leaves the first as it is. */
TEST(h26_second_operation_of_a_direction_is_busy)
{
    weir_context *context = new_context();
    EACH_FAMILY(family) {
        for (enum kind first = 0; first < KINDS; first++) {
            size_t filled, bytes = 77;
            struct pair pair = blocked_pair(context, family, first, &filled);
            struct operation operation, second;
            struct iovec vector = {second.data, sizeof second.data};
            START(begin(first, pair.stream, &operation));
            for (int round = 0; round < 2; round++) {
                for (enum kind kind = 0; kind < KINDS; kind++) {
                    if (is_read(kind) == is_read(first))
                        START_CODE(begin(kind, pair.stream, &second), WEIR_EBUSY);
                }
                if (is_read(first)) {
                    CHECK_CODE(weir_stream_try_read(pair.stream, second.data, 8, &bytes), WEIR_EBUSY);
                    CHECK_CODE(weir_stream_try_readv(pair.stream, &vector, 1, &bytes), WEIR_EBUSY);
                } else {
                    CHECK_CODE(weir_stream_try_write(pair.stream, second.data, 8, &bytes), WEIR_EBUSY);
                    CHECK_CODE(weir_stream_try_writev(pair.stream, &vector, 1, &bytes), WEIR_EBUSY);
                }
                CHECK_EQ(bytes, 77);
                settle(context);
            }
            unblock(&pair, first, filled);
            RUN_CALLS(context, operation.counter, 1);
            settle(context);
            CHECK_DONE(operation.counter, 0, bytes_of(first));
            CHECK_EQ(second.counter.calls, 0);
            close_pair(&pair);
        }
    }
    CHECK_OK(weir_context_destroy(context));
}

/* The two directions are independent. */
TEST(a_read_and_a_write_are_pending_at_once)
{
    weir_context *context = new_context();
    EACH_FAMILY(family) {
        size_t filled;
        struct pair pair = blocked_pair(context, family, WRITE, &filled);
        struct operation reading, writing;
        START(begin(READ, pair.stream, &reading));
        START(begin(WRITE, pair.stream, &writing));
        settle(context);
        CHECK_EQ(reading.counter.calls + writing.counter.calls, 0);
        unblock(&pair, READ, filled);
        RUN_CALLS(context, reading.counter, 1);
        CHECK_EQ(writing.counter.calls, 0);
        unblock(&pair, WRITE, filled);
        RUN_CALLS(context, writing.counter, 1);
        CHECK_DONE(reading.counter, 0, 8);
        CHECK_DONE(writing.counter, 0, 8);
        close_pair(&pair);
    }
    CHECK_OK(weir_context_destroy(context));
}

TEST(read_some_gives_what_there_is_and_read_the_rest)
{
    weir_context *context = new_context();
    EACH_FAMILY(family) {
        struct pair pair = new_pair(context, family);
        char data[16] = "";
        struct counter some = {0}, all = {0};
        START(weir_stream_read_some(pair.stream, data, sizeof data, io_done, &some));
        send_all(pair.peer, "abc", 3);
        RUN_CALLS(context, some, 1);
        CHECK_DONE(some, 0, 3);
        START(weir_stream_read(pair.stream, data + 3, 5, io_done, &all));
        send_all(pair.peer, "de", 2);
        settle(context);
        CHECK_EQ(all.calls, 0);
        send_all(pair.peer, "fgh!!", 5);
        RUN_CALLS(context, all, 1);
        CHECK_DONE(all, 0, 5);
        CHECK(memcmp(data, "abcdefgh", 8) == 0);
        CHECK_EQ(data[8], 0); /* not a byte more than was asked for */
        close_pair(&pair);
    }
    CHECK_OK(weir_context_destroy(context));
}

TEST(end_of_stream_is_a_status_and_counts_what_came_before)
{
    weir_context *context = new_context();
    EACH_FAMILY(family) {
        for (enum kind kind = READ_SOME; kind < WAIT_READ; kind++) {
            bool exact = kind == READ || kind == READV;
            struct pair pair = new_pair(context, family);
            struct operation operation;
            send_all(pair.peer, "abc", 3);
            CHECK_EQ(shutdown(pair.peer, SHUT_WR), 0);
            START(begin(kind, pair.stream, &operation));
            RUN_CALLS(context, operation.counter, 1);
            CHECK_DONE(operation.counter, exact ? WEIR_EOF : 0, 3);
            CHECK(memcmp(operation.data, "abc?????", 8) == 0);
            /* The end stays the end. */
            for (int i = 0; i < 3; i++) {
                START(begin(kind, pair.stream, &operation));
                RUN_CALLS(context, operation.counter, 1);
                CHECK_DONE(operation.counter, WEIR_EOF, 0);
            }
            close_pair(&pair);
        }
    }
    CHECK_OK(weir_context_destroy(context));
}

TEST(length_zero_completes_with_nothing)
{
    weir_context *context = new_context();
    EACH_FAMILY(family) {
        struct pair pair = new_pair(context, family);
        struct iovec empty[3] = {{NULL, 0}, {NULL, 0}, {NULL, 0}};
        char byte = 'x';
        size_t bytes = 77;
        struct counter counters[12] = {0};
        START(weir_stream_read_some(pair.stream, NULL, 0, io_done, &counters[0]));
        START(weir_stream_write_some(pair.stream, NULL, 0, io_done, &counters[1]));
        RUN_CALLS(context, counters[1], 1);
        START(weir_stream_read(pair.stream, &byte, 0, io_done, &counters[2]));
        START(weir_stream_write(pair.stream, &byte, 0, io_done, &counters[3]));
        RUN_CALLS(context, counters[3], 1);
        START(weir_stream_readv_some(pair.stream, NULL, 0, io_done, &counters[4]));
        START(weir_stream_writev_some(pair.stream, NULL, 0, io_done, &counters[5]));
        RUN_CALLS(context, counters[5], 1);
        START(weir_stream_readv(pair.stream, empty, 3, io_done, &counters[6]));
        START(weir_stream_writev(pair.stream, empty, 3, io_done, &counters[7]));
        RUN_CALLS(context, counters[7], 1);
        settle(context);
        for (int i = 0; i < 8; i++)
            CHECK_DONE(counters[i], 0, 0);
        CHECK_EQ(byte, 'x');
        CHECK_OK(weir_stream_try_read(pair.stream, NULL, 0, &bytes));
        CHECK_EQ(bytes, 0);
        bytes = 77;
        CHECK_OK(weir_stream_try_writev(pair.stream, empty, 3, &bytes));
        CHECK_EQ(bytes, 0);
        /* The stream is as good as before. */
        START(weir_stream_write(pair.stream, "y", 1, io_done, &counters[8]));
        RUN_CALLS(context, counters[8], 1);
        receive_all(pair.peer, &byte, 1);
        CHECK_EQ(byte, 'y');
        close_pair(&pair);
    }
    CHECK_OK(weir_context_destroy(context));
}

TEST(lengths_above_ssize_max_are_refused)
{
    weir_context *context = new_context();
    struct pair pair = new_pair(context, AF_INET);
    struct counter counter = {0};
    char data[9] = UNTOUCHED;
    size_t bytes = 77;
    const size_t lengths[] = {(size_t)SSIZE_MAX + 1, SIZE_MAX - 1, SIZE_MAX};
    send_all(pair.peer, "abcdefgh", 8);
    await_events(pair.fd, POLLIN);
    for (size_t i = 0; i < 3; i++) {
        START_CODE(weir_stream_read_some(pair.stream, data, lengths[i], io_done, &counter), WEIR_EINVAL);
        START_CODE(weir_stream_read(pair.stream, data, lengths[i], io_done, &counter), WEIR_EINVAL);
        START_CODE(weir_stream_write_some(pair.stream, data, lengths[i], io_done, &counter), WEIR_EINVAL);
        START_CODE(weir_stream_write(pair.stream, data, lengths[i], io_done, &counter), WEIR_EINVAL);
        CHECK_CODE(weir_stream_try_read(pair.stream, data, lengths[i], &bytes), WEIR_EINVAL);
        CHECK_CODE(weir_stream_try_write(pair.stream, data, lengths[i], &bytes), WEIR_EINVAL);
        /* Also as a sum, with and without overflow. */
        struct iovec vectors[2] = {{data, 8}, {data, lengths[i] - (i == 0 ? 8 : 0)}};
        START_CODE(weir_stream_readv_some(pair.stream, vectors, 2, io_done, &counter), WEIR_EINVAL);
        START_CODE(weir_stream_readv(pair.stream, vectors, 2, io_done, &counter), WEIR_EINVAL);
        START_CODE(weir_stream_writev_some(pair.stream, vectors, 2, io_done, &counter), WEIR_EINVAL);
        START_CODE(weir_stream_writev(pair.stream, vectors, 2, io_done, &counter), WEIR_EINVAL);
        CHECK_CODE(weir_stream_try_readv(pair.stream, vectors, 2, &bytes), WEIR_EINVAL);
        CHECK_CODE(weir_stream_try_writev(pair.stream, vectors, 2, &bytes), WEIR_EINVAL);
    }
    settle(context);
    CHECK_EQ(counter.calls, 0);
    CHECK_EQ(bytes, 77);
    CHECK(memcmp(data, UNTOUCHED, 8) == 0);
    close_pair(&pair);
    CHECK_OK(weir_context_destroy(context));
}

/* ---- vectored: any number of buffers, some of them empty */

struct transfer {
    weir_stream *stream;
    struct iovec *vectors;
    size_t count, total;
    struct counter counter;
};

static void fill_vectors(struct transfer *transfer, size_t count, size_t most, bool pattern)
{
    transfer->vectors = calloc(count + 1, sizeof *transfer->vectors);
    transfer->count = count;
    transfer->total = 0;
    CHECK(transfer->vectors != NULL);
    for (size_t i = 0; i < count; i++) {
        size_t length = most > 0 ? (i * 7919 + 13) % (most + 1) : 0;
        if (i % 5 == 4)
            length = 0;
        char *data = malloc(length > 0 ? length : 1);
        CHECK(data != NULL);
        for (size_t at = 0; at < length; at++)
            data[at] = pattern ? (char)((transfer->total + at) * 31 >> 3) : '?';
        transfer->vectors[i] = (struct iovec){length > 0 ? data : NULL, length};
        if (length == 0)
            free(data);
        transfer->total += length;
    }
}

static char byte_at(const struct transfer *transfer, size_t *vector, size_t *offset)
{
    while (*offset >= transfer->vectors[*vector].iov_len) {
        *offset = 0;
        (*vector)++;
    }
    return ((char *)transfer->vectors[*vector].iov_base)[(*offset)++];
}

static void free_vectors(struct transfer *transfer)
{
    for (size_t i = 0; i < transfer->count; i++)
        free(transfer->vectors[i].iov_base);
    free(transfer->vectors);
}

TEST(vectored_takes_any_number_of_buffers)
{
    static const size_t counts[] = {0, 1, 2, 15, 16, 17, 63, 64, 65, 1023, 1024, 1025, 3000};
    weir_context *context = new_context();
    EACH_FAMILY(family) {
        for (size_t i = 0; i < sizeof counts / sizeof *counts; i++) {
            int ends[2];
            struct transfer out = {0}, in = {0};
            plain_pair(family, ends);
            small_buffers(ends[0]);
            out.stream = adopted(context, ends[0]);
            in.stream = adopted(context, ends[1]);
            fill_vectors(&out, counts[i], 97, true);
            /* The reader's buffers end elsewhere than the writer's; the last one takes what remains. */
            fill_vectors(&in, counts[i], 61, false);
            if (counts[i] > 0) {
                size_t rest = out.total - (in.total < out.total ? in.total : out.total);
                struct iovec *last = &in.vectors[counts[i] - 1];
                CHECK(in.total <= out.total);
                last->iov_base = realloc(last->iov_base, last->iov_len + rest + 1);
                CHECK(last->iov_base != NULL);
                last->iov_len += rest;
                in.total += rest;
            }
            START(weir_stream_readv(in.stream, in.vectors, in.count, io_done, &in.counter));
            START(weir_stream_writev(out.stream, out.vectors, out.count, io_done, &out.counter));
            RUN_UNTIL(context, in.counter.calls == 1 && out.counter.calls == 1);
            CHECK_DONE(out.counter, 0, out.total);
            CHECK_DONE(in.counter, 0, in.total);
            CHECK_EQ(in.total, out.total);
            size_t out_vector = 0, out_offset = 0, in_vector = 0, in_offset = 0;
            for (size_t at = 0; at < out.total; at++)
                CHECK_EQ(byte_at(&in, &in_vector, &in_offset), byte_at(&out, &out_vector, &out_offset));
            CHECK_OK(weir_stream_close(out.stream));
            CHECK_OK(weir_stream_close(in.stream));
            free_vectors(&out);
            free_vectors(&in);
        }
    }
    CHECK_OK(weir_context_destroy(context));
}

TEST(vectored_some_and_try_move_a_part)
{
    weir_context *context = new_context();
    EACH_FAMILY(family) {
        struct pair pair = new_pair(context, family);
        char data[3000] = "";
        struct iovec vectors[3000];
        struct counter counter = {0};
        size_t bytes = 77;
        for (size_t i = 0; i < 3000; i++)
            vectors[i] = (struct iovec){&data[i], 1};
        send_all(pair.peer, "abcdef", 6);
        START(weir_stream_readv_some(pair.stream, vectors, 3000, io_done, &counter));
        RUN_CALLS(context, counter, 1);
        CHECK_DONE(counter, 0, 6);
        CHECK(memcmp(data, "abcdef\0", 7) == 0);
        CHECK_OK(weir_stream_try_readv(pair.stream, vectors, 3000, &bytes));
        CHECK_EQ(bytes, 0);
        send_all(pair.peer, "ghi", 3);
        await_events(pair.fd, POLLIN);
        CHECK_OK(weir_stream_try_readv(pair.stream, vectors, 3000, &bytes));
        CHECK_EQ(bytes, 3);
        CHECK(memcmp(data, "ghidef\0", 7) == 0);

        memset(data, 'z', sizeof data);
        struct counter written = {0};
        START(weir_stream_writev_some(pair.stream, vectors, 3000, io_done, &written));
        RUN_CALLS(context, written, 1);
        CHECK_OK(written.status);
        CHECK(written.bytes >= 1 && written.bytes <= 3000);
        drain(pair.peer, written.bytes);
        CHECK_OK(weir_stream_try_writev(pair.stream, vectors, 3000, &bytes));
        CHECK(bytes >= 1 && bytes <= 3000);
        drain(pair.peer, bytes);
        close_pair(&pair);
    }
    CHECK_OK(weir_context_destroy(context));
}

/* ---- try */

TEST(try_read_gives_what_there_is_nothing_or_the_end)
{
    weir_context *context = new_context();
    EACH_FAMILY(family) {
        struct pair pair = new_pair(context, family);
        char data[8] = "";
        size_t bytes = 77;
        CHECK_OK(weir_stream_try_read(pair.stream, data, 8, &bytes));
        CHECK_EQ(bytes, 0);
        for (int i = 0; i < 3; i++) { /* also right after a short read, without the reactor having been asked */
            send_all(pair.peer, "abc", 3);
            await_events(pair.fd, POLLIN);
            bytes = 77;
            CHECK_OK(weir_stream_try_read(pair.stream, data, 8, &bytes));
            CHECK_EQ(bytes, 3);
            CHECK(memcmp(data, "abc", 3) == 0);
        }
        CHECK_EQ(shutdown(pair.peer, SHUT_WR), 0);
        await_events(pair.fd, POLLIN);
        bytes = 77;
        CHECK_CODE(weir_stream_try_read(pair.stream, data, 8, &bytes), WEIR_EOF);
        CHECK_EQ(bytes, 77);
        close_pair(&pair);
    }
    CHECK_OK(weir_context_destroy(context));
}

TEST(try_write_writes_what_fits)
{
    weir_context *context = new_context();
    EACH_FAMILY(family) {
        size_t filled, bytes = 77;
        struct pair pair = blocked_pair(context, family, WRITE, &filled);
        CHECK(filled > 0);
        /* On a slow machine TCP may have moved on even now; in the end nothing fits. */
        for (bytes = 1; bytes > 0; filled += bytes)
            CHECK_OK(weir_stream_try_write(pair.stream, "x", 1, &bytes));
        drain(pair.peer, filled);
        await_events(pair.fd, POLLOUT);
        CHECK_OK(weir_stream_try_write(pair.stream, "x", 1, &bytes));
        CHECK_EQ(bytes, 1);
        char seen = 0;
        receive_all(pair.peer, &seen, 1);
        CHECK_EQ(seen, 'x');
        close_pair(&pair);
    }
    CHECK_OK(weir_context_destroy(context));
}

/* try_read in between must not make a later operation believe that nothing is there. */
TEST(operations_and_tries_mix)
{
    weir_context *context = new_context();
    EACH_FAMILY(family) {
        struct pair pair = new_pair(context, family);
        for (int round = 0; round < 50; round++) {
            char data[8] = "";
            size_t bytes = 0;
            struct counter counter = {0};
            bool parked = round % 2 == 0;
            send_all(pair.peer, "ab", 2);
            await_events(pair.fd, POLLIN);
            if (round % 3 == 0)
                settle(context);
            CHECK_OK(weir_stream_try_read(pair.stream, data, round % 5 == 0 ? 1 : 8, &bytes));
            CHECK_EQ(bytes, round % 5 == 0 ? 1 : 2);
            if (!parked)
                send_all(pair.peer, "cd", 2);
            START(weir_stream_read(pair.stream, data + bytes, 4 - bytes, io_done, &counter));
            if (parked)
                send_all(pair.peer, "cd", 2);
            RUN_CALLS(context, counter, 1);
            CHECK_DONE(counter, 0, 4 - bytes);
            CHECK(memcmp(data, "abcd", 4) == 0);
        }
        close_pair(&pair);
    }
    CHECK_OK(weir_context_destroy(context));
}

/* ---- much data */

static char byte_of(size_t at)
{
    return (char)(at * 2654435761u >> 24);
}

TEST(a_large_write_goes_through_small_buffers)
{
    size_t total = many(64) * 1024 * 1024;
    weir_context *context = new_context();
    char *out = malloc(total), *in = calloc(1, total);
    CHECK(out != NULL && in != NULL);
    for (size_t i = 0; i < total; i++)
        out[i] = byte_of(i);
    EACH_FAMILY(family) {
        int ends[2];
        struct counter written = {0}, read = {0};
        plain_pair(family, ends);
        /* A few segments: with one at a time TCP waits for delayed acknowledgements. */
        int size = 256 * 1024;
        CHECK_EQ(setsockopt(ends[0], SOL_SOCKET, SO_SNDBUF, &size, sizeof size), 0);
        weir_stream *writer = adopted(context, ends[0]), *reader = adopted(context, ends[1]);
        memset(in, 0, total);
        START(weir_stream_write(writer, out, total, io_done, &written));
        START(weir_stream_read(reader, in, total, io_done, &read));
        RUN_UNTIL(context, written.calls == 1 && read.calls == 1);
        CHECK_DONE(written, 0, total);
        CHECK_DONE(read, 0, total);
        CHECK(memcmp(in, out, total) == 0);
        CHECK_OK(weir_stream_close(writer));
        CHECK_OK(weir_stream_close(reader));
    }
    free(in);
    free(out);
    CHECK_OK(weir_context_destroy(context));
}

/* ---- callbacks that go on */

struct echo {
    weir_stream *stream;
    char data[64];
    size_t rounds, left;
    bool closed;
};

static void echo_written(int status, size_t bytes, void *user);

static void echo_read(int status, size_t bytes, void *user)
{
    struct echo *echo = user;
    CHECK(!net_starting);
    if (status == WEIR_EOF) {
        CHECK_OK(weir_stream_close(echo->stream));
        echo->closed = true;
        return;
    }
    CHECK_OK(status);
    START(weir_stream_write(echo->stream, echo->data, bytes, echo_written, echo));
}

static void echo_written(int status, size_t bytes, void *user)
{
    struct echo *echo = user;
    (void)bytes;
    CHECK(!net_starting);
    CHECK_OK(status);
    START(weir_stream_read_some(echo->stream, echo->data, sizeof echo->data, echo_read, echo));
}

static void client_read(int status, size_t bytes, void *user);

static void client_written(int status, size_t bytes, void *user)
{
    struct echo *client = user;
    CHECK(!net_starting);
    CHECK_OK(status);
    CHECK_EQ(bytes, sizeof client->data);
    memset(client->data, 0, sizeof client->data);
    START(weir_stream_read(client->stream, client->data, sizeof client->data, client_read, client));
}

static void client_read(int status, size_t bytes, void *user)
{
    struct echo *client = user;
    CHECK(!net_starting);
    CHECK_OK(status);
    CHECK_EQ(bytes, sizeof client->data);
    for (size_t i = 0; i < sizeof client->data; i++)
        CHECK_EQ(client->data[i], byte_of(client->rounds + i));
    client->rounds++;
    if (client->rounds == client->left) {
        CHECK_OK(weir_stream_close(client->stream));
        client->closed = true;
        return;
    }
    for (size_t i = 0; i < sizeof client->data; i++)
        client->data[i] = byte_of(client->rounds + i);
    START(weir_stream_write(client->stream, client->data, sizeof client->data, client_written, client));
}

/* run returns by itself when the last stream is closed. */
TEST(an_echo_server_serves_a_client)
{
    static const int all[] = {AF_INET, AF_INET6, AF_UNIX};
    for (int i = 0; i < 3; i++) {
        if (all[i] == AF_INET6 && !have_ipv6())
            continue;
        for (uint32_t flags = 0; flags <= WEIR_CONTEXT_NO_INLINE; flags += WEIR_CONTEXT_NO_INLINE) {
            weir_context *context = new_context_with(flags, 1);
            weir_stream *ends[2];
            connected_streams(context, all[i], ends);
            struct echo server = {.stream = ends[1]}, client = {.stream = ends[0], .left = many(2000)};
            for (size_t at = 0; at < sizeof client.data; at++)
                client.data[at] = byte_of(at);
            START(weir_stream_read_some(server.stream, server.data, sizeof server.data, echo_read, &server));
            START(weir_stream_write(client.stream, client.data, sizeof client.data, client_written, &client));
            if (weir_context_stopped(context) == 1)
                CHECK_OK(weir_context_restart(context));
            CHECK_OK(weir_context_run(context, NULL));
            CHECK(server.closed && client.closed);
            CHECK_EQ(client.rounds, client.left);
            CHECK_OK(weir_context_destroy(context));
        }
    }
}

/* ---- stopped and out of fds */

TEST(a_stopped_context_keeps_completions)
{
    weir_context *context = new_context();
    struct pair pair = new_pair(context, AF_INET);
    struct operation there, later;
    send_all(pair.peer, "abcdefgh", 8);
    await_events(pair.fd, POLLIN);
    CHECK_OK(weir_context_stop(context));
    START(begin(READ, pair.stream, &there));
    size_t count = 77;
    CHECK_OK(weir_context_run(context, &count));
    CHECK_EQ(count, 0);
    CHECK_OK(weir_context_poll(context, &count));
    CHECK_EQ(there.counter.calls, 0);
    /* What is complete can't be cancelled any more, also while nobody runs. */
    CHECK_OK(weir_stream_cancel(pair.stream, &count));
    CHECK_EQ(count, 0);
    CHECK_OK(weir_context_restart(context));
    CHECK_OK(weir_context_run(context, &count));
    CHECK_EQ(count, 1);
    CHECK_DONE(there.counter, 0, 8);

    CHECK_OK(weir_context_restart(context));
    START(begin(READ, pair.stream, &later));
    CHECK_OK(weir_context_stop(context));
    send_all(pair.peer, "abcdefgh", 8);
    await_events(pair.fd, POLLIN);
    CHECK_OK(weir_context_run_for(context, CHECK_SECOND, &count));
    CHECK_EQ(count, 0);
    CHECK_EQ(later.counter.calls, 0);
    CHECK_OK(weir_context_restart(context));
    CHECK_OK(weir_context_run(context, &count));
    CHECK_DONE(later.counter, 0, 8);
    close_pair(&pair);
    CHECK_OK(weir_context_destroy(context));
}

TEST(nofile_limit_is_an_error_of_open_and_connect)
{
    weir_context *context = new_context();
    struct where where;
    int listener = plain_listener(AF_INET, 4, &where), fd = -1;
    weir_stream *stream = new_stream(context);
    struct counter connected = {0};
    struct rlimit before;
    CHECK_EQ(getrlimit(RLIMIT_NOFILE, &before), 0);
    set_fd_limit(no_more_fds());
    CHECK_CODE(weir_stream_open(stream, AF_INET), -EMFILE);
    CHECK_CODE(weir_stream_fd(stream, &fd), WEIR_ENOTCONN);
    START_CODE(weir_stream_connect(stream, AT(&where), done, &connected), -EMFILE);
    weir_acceptor *acceptor = new_acceptor(context);
    struct where any = loopback(AF_INET, 0);
    CHECK_CODE(weir_acceptor_open(acceptor, AF_INET), -EMFILE);
    CHECK_CODE(weir_acceptor_bind(acceptor, AT(&any)), -EMFILE);
    weir_context *other = NULL;
    CHECK_CODE(weir_context_create(NULL, &other), -EMFILE);
    CHECK(other == NULL);
    settle(context);
    CHECK_EQ(connected.calls, 0);
    set_fd_limit(before.rlim_cur);
    START(weir_stream_connect(stream, AT(&where), done, &connected));
    RUN_CALLS(context, connected, 1);
    CHECK_DONE(connected, 0, 0);
    CHECK_OK(weir_context_destroy(context));
    close(listener);
}

TEST_MAIN()
