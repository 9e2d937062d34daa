/* Reading up to a delimiter. */
#include "net.h"

static const int families[] = {AF_INET, AF_UNIX};

static weir_until into(void *data, size_t capacity, const char *delimiter)
{
    weir_until until = {sizeof until, data, capacity, 0, delimiter, strlen(delimiter)};
    return until;
}

/* Takes a message out of the front, as a caller does. */
static void take(weir_until *until, size_t bytes)
{
    memmove(until->data, (char *)until->data + bytes, until->filled - bytes);
    until->filled -= bytes;
}

#define READ_LINE(context, stream, until, want_status, want_bytes)                                                     \
    do {                                                                                                               \
        struct counter line = {0};                                                                                     \
        START(weir_stream_read_until(stream, until, io_done, &line));                                                  \
        CHECK_EQ(line.calls, 0);                                                                                       \
        RUN_CALLS(context, line, 1);                                                                                   \
        CHECK_DONE(line, want_status, want_bytes);                                                                     \
    } while (0)

TEST(messages_that_come_together_are_all_found)
{
    weir_context *context = new_context();
    for (int f = 0; f < 2; f++) {
        struct pair pair = new_pair(context, families[f]);
        char buffer[64];
        weir_until until = into(buffer, sizeof buffer, "\r\n");
        send_all(pair.peer, "one\r\n\r\nthree\r\nfo", 16);
        await_events(pair.fd, POLLIN);
        READ_LINE(context, pair.stream, &until, 0, 5);
        CHECK_EQ(until.filled, 16);
        CHECK(memcmp(buffer, "one\r\n", 5) == 0);
        take(&until, 5);
        READ_LINE(context, pair.stream, &until, 0, 2);
        take(&until, 2);
        READ_LINE(context, pair.stream, &until, 0, 7);
        CHECK(memcmp(buffer, "three\r\n", 7) == 0);
        take(&until, 7);
        CHECK_EQ(until.filled, 2);
        struct counter line = {0};
        START(weir_stream_read_until(pair.stream, &until, io_done, &line));
        settle(context);
        CHECK_EQ(line.calls, 0);
        send_all(pair.peer, "ur\r\nrest", 8);
        RUN_CALLS(context, line, 1);
        CHECK_DONE(line, 0, 6);
        CHECK_EQ(until.filled, 10);
        CHECK(memcmp(buffer, "four\r\nrest", 10) == 0);
        close_pair(&pair);
    }
    CHECK_OK(weir_context_destroy(context));
}

TEST(a_delimiter_split_across_reads_is_found)
{
    static const char *const delimiters[] = {"\n", "\r\n\r\n", "aab", "abababc"};
    weir_context *context = new_context();
    for (int d = 0; d < 4; d++) {
        const char *delimiter = delimiters[d];
        char message[64], buffer[64];
        /* Beginnings of the delimiter that lead nowhere, then the delimiter. */
        int length = snprintf(message, sizeof message, "x%.3s%.2s%.5s%s", delimiter, delimiter,
                              strlen(delimiter) > 5 ? delimiter : "", delimiter);
        const char *found = strstr(message, delimiter);
        size_t want = (size_t)(found - message) + strlen(delimiter);
        CHECK((size_t)length >= want);
        struct pair pair = new_pair(context, AF_UNIX);
        weir_until until = into(buffer, sizeof buffer, delimiter);
        struct counter line = {0};
        START(weir_stream_read_until(pair.stream, &until, io_done, &line));
        for (size_t i = 0; i < want; i++) {
            settle(context);
            CHECK_EQ(line.calls, 0);
            send_all(pair.peer, message + i, 1);
        }
        RUN_CALLS(context, line, 1);
        CHECK_DONE(line, 0, want);
        CHECK_EQ(until.filled, want);
        CHECK(memcmp(buffer, message, want) == 0);
        close_pair(&pair);
    }
    CHECK_OK(weir_context_destroy(context));
}

TEST(a_full_buffer_without_a_delimiter_keeps_its_bytes)
{
    weir_context *context = new_context();
    for (int f = 0; f < 2; f++) {
        struct pair pair = new_pair(context, families[f]);
        char buffer[16];
        weir_until until = into(buffer, 8, "\n");
        send_all(pair.peer, "12345678\nx\n", 11);
        await_events(pair.fd, POLLIN);
        READ_LINE(context, pair.stream, &until, -EMSGSIZE, 8);
        CHECK_EQ(until.filled, 8);
        CHECK(memcmp(buffer, "12345678", 8) == 0);
        READ_LINE(context, pair.stream, &until, -EMSGSIZE, 8); /* the same again, without reading */
        until.capacity = 16;
        READ_LINE(context, pair.stream, &until, 0, 9);
        CHECK_EQ(until.filled, 11);
        take(&until, 9);
        until.capacity = 2;
        READ_LINE(context, pair.stream, &until, 0, 2); /* full, but complete */
        until.filled = until.capacity = 0;
        READ_LINE(context, pair.stream, &until, -EMSGSIZE, 0);
        close_pair(&pair);
    }
    CHECK_OK(weir_context_destroy(context));
}

/* H24: whatever ends it, what was read is in the buffer and counted. */
TEST(h24_the_end_an_error_or_a_cancel_leaves_what_was_read)
{
    for (int how = 0; how < 4; how++) {
        weir_context *context = new_context();
        struct pair pair = new_pair(context, AF_INET);
        char buffer[64];
        weir_until until = into(buffer, sizeof buffer, "\n");
        struct counter line = {0};
        int want = how == 0 ? WEIR_EOF : WEIR_ECANCELED;
        START(weir_stream_read_until(pair.stream, &until, io_done, &line));
        START_CODE(weir_stream_read_until(pair.stream, &until, io_done, &line), WEIR_EBUSY);
        START_CODE(weir_stream_read(pair.stream, buffer, 1, io_done, &line), WEIR_EBUSY);
        send_all(pair.peer, "half", 4);
        await_events(pair.fd, POLLIN);
        settle(context);
        CHECK_EQ(line.calls, 0);
        if (how == 0)
            shutdown(pair.peer, SHUT_WR);
        if (how == 1) {
            size_t count = 0;
            CHECK_OK(weir_stream_cancel(pair.stream, &count));
            CHECK_EQ(count, 1);
        }
        if (how == 2)
            CHECK_OK(weir_stream_close(pair.stream));
        if (how == 3)
            CHECK_OK(weir_context_destroy(context));
        else
            RUN_CALLS(context, line, 1);
        CHECK_DONE(line, want, 4);
        CHECK_EQ(until.filled, 4);
        CHECK(memcmp(buffer, "half", 4) == 0);
        if (how == 1) {
            /* And goes on from there. */
            send_all(pair.peer, "!\n", 2);
            READ_LINE(context, pair.stream, &until, 0, 6);
            CHECK(memcmp(buffer, "half!\n", 6) == 0);
        }
        if (how != 3)
            CHECK_OK(weir_context_destroy(context));
        close(pair.peer);
    }
}

/* The search does not begin anew with each piece, nor does a large message keep others from running. */
static void *send_body(void *user)
{
    static char block[1 << 16];
    int peer = *(int *)user;
    memset(block, 'a', sizeof block);
    for (int i = 0; i < 64; i++)
        send_all(peer, block, sizeof block);
    send_all(peer, "ab", 2);
    return NULL;
}

TEST(a_large_message_is_searched_once)
{
    enum { SIZE = 64 << 16 };
    weir_context *context = new_context();
    char *buffer = malloc(SIZE + 100);
    CHECK(buffer != NULL);
    for (int f = 0; f < 2; f++) {
        struct pair pair = new_pair(context, families[f]);
        weir_until until = into(buffer, SIZE + 100, "aab");
        pthread_t thread = start_thread(send_body, &pair.peer);
        READ_LINE(context, pair.stream, &until, 0, SIZE + 2);
        CHECK_EQ(until.filled, SIZE + 2);
        join_thread(thread);
        close_pair(&pair);
    }
    free(buffer);
    CHECK_OK(weir_context_destroy(context));
}

TEST(a_line_as_a_record_in_a_strand_and_with_a_time_limit)
{
    weir_context *context = new_context_with(WEIR_CONTEXT_MANUAL_CLOCK, 0);
    struct pair pair = new_pair(context, AF_INET);
    weir_strand *strand;
    weir_record record;
    size_t count = 0;
    char buffer[64];
    weir_until until = into(buffer, sizeof buffer, "\n");
    CHECK_OK(weir_strand_create(context, &strand));
    CHECK_OK(weir_handle_set_strand(pair.stream, strand));
    CHECK_OK(weir_stream_set_timeout(pair.stream, WEIR_WAIT_READ, CHECK_SECOND));
    START(weir_stream_read_until(pair.stream, &until, NULL, &until));
    send_all(pair.peer, "line", 4);
    await_events(pair.fd, POLLIN);
    CHECK_OK(weir_context_reap(context, &record, 1, 0, &count));
    CHECK_EQ(count, 0);
    CHECK_OK(weir_context_advance(context, CHECK_SECOND));
    CHECK_OK(weir_context_reap(context, &record, 1, 30 * CHECK_SECOND, &count));
    CHECK_EQ(count, 1);
    CHECK(record.user == &until);
    CHECK_EQ(record.kind, WEIR_OP_READ);
    CHECK_CODE(record.status, WEIR_ETIMEDOUT);
    CHECK_EQ(record.value, 4);
    send_all(pair.peer, "\nx", 2);
    START(weir_stream_read_until(pair.stream, &until, NULL, &until));
    CHECK_OK(weir_context_reap(context, &record, 1, 30 * CHECK_SECOND, &count));
    CHECK_EQ(count, 1);
    CHECK_OK(record.status);
    CHECK_EQ(record.value, 5);
    close_pair(&pair);
    CHECK_OK(weir_context_destroy(context));
}

TEST_MAIN()
