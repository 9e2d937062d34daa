/* Multi-shot reads into the context's pool, and submitting in batches. */
#include "dgram.h"

static weir_record records[64];
static const char *base;
static size_t slot_size, slots;

static weir_context *pooled(uint32_t count, uint32_t size)
{
    weir_context_options options = {0};
    weir_context *context;
    options.struct_size = sizeof options;
    options.pool_slots = count;
    options.pool_slot_size = size;
    CHECK_OK(weir_context_create(&options, &context));
    const void *memory = NULL;
    CHECK_OK(weir_context_pool(context, &memory, &slot_size, &slots));
    base = (const char *)memory;
    CHECK_EQ(slot_size, size);
    CHECK_EQ(slots, count);
    return context;
}

static size_t reap(weir_context *context, size_t capacity, int64_t timeout)
{
    size_t count = 0;
    CHECK_OK(weir_context_reap(context, records, capacity, timeout, &count));
    return count;
}

/* ---- records */

TEST(data_comes_in_slots_until_the_end)
{
    weir_context *context = pooled(4, 16);
    int ends[2], me;
    plain_pair(AF_INET, ends);
    weir_stream *stream = adopted(context, ends[0]);
    CHECK_OK(weir_stream_read_each(stream, NULL, &me));
    CHECK_CODE(weir_stream_read_each(stream, NULL, &me), WEIR_EBUSY);
    for (int i = 0; i < 100; i++) {
        char text[16];
        int length = snprintf(text, sizeof text, "message %d", i);
        CHECK_EQ(write(ends[1], text, (size_t)length), length);
        CHECK_EQ(reap(context, 8, WEIR_FOREVER), 1);
        CHECK_EQ(records[0].kind, WEIR_OP_READ);
        CHECK_CODE(records[0].status, 0);
        CHECK(records[0].user == &me);
        CHECK_EQ(records[0].value, length);
        CHECK(memcmp(base + records[0].extra, text, (size_t)length) == 0);
        CHECK_OK(weir_context_pool_release(context, records[0].extra));
        CHECK_CODE(weir_context_pool_release(context, records[0].extra), WEIR_EINVAL);
    }
    CHECK_EQ(shutdown(ends[1], SHUT_WR), 0);
    CHECK_EQ(reap(context, 8, WEIR_FOREVER), 1);
    CHECK_CODE(records[0].status, WEIR_EOF);
    CHECK_EQ(records[0].value, 0);
    CHECK_OK(weir_context_destroy(context));
    close(ends[1]);
}

/* An empty pool pauses every reader; each slot that comes back lets one go on, and no byte is lost. */
TEST(an_empty_pool_pauses_reading_and_loses_nothing)
{
    enum { STREAMS = 5, BYTES = 3000 };
    weir_context *context = pooled(3, 64);
    int peers[STREAMS];
    weir_stream *streams[STREAMS];
    uintptr_t got[STREAMS] = {0};
    size_t total = 0, held = 0;
    uint64_t held_at[3];
    for (uintptr_t i = 0; i < STREAMS; i++) {
        int ends[2];
        plain_pair(AF_INET, ends);
        streams[i] = adopted(context, ends[0]);
        peers[i] = ends[1];
        char bytes[BYTES];
        for (int at = 0; at < BYTES; at++)
            bytes[at] = (char)(i * 31 + (uintptr_t)at * 7);
        CHECK_EQ(write(peers[i], bytes, BYTES), BYTES);
        CHECK_OK(weir_stream_read_each(streams[i], NULL, (void *)i));
    }
    while (total < STREAMS * BYTES) {
        size_t count = reap(context, 64, 10 * CHECK_SECOND);
        CHECK(count > 0);
        for (size_t r = 0; r < count; r++) {
            uintptr_t i = (uintptr_t)records[r].user;
            CHECK_CODE(records[r].status, 0);
            for (uint64_t at = 0; at < records[r].value; at++)
                CHECK_EQ(base[records[r].extra + at], (char)(i * 31 + (got[i] + at) * 7));
            got[i] += records[r].value;
            total += records[r].value;
            CHECK(held < 3);
            held_at[held++] = records[r].extra;
        }
        if (held == 3 && total < STREAMS * BYTES)
            CHECK_EQ(reap(context, 64, 0), 0); /* nothing can come */
        while (held > 0)
            CHECK_OK(weir_context_pool_release(context, held_at[--held]));
    }
    for (int i = 0; i < STREAMS; i++)
        CHECK_EQ(got[i], BYTES);
    /* A paused reader is cancelled and closed; a slot that comes back goes to another. */
    CHECK_EQ(write(peers[0], "abc", 3), 3);
    CHECK_EQ(write(peers[1], "abc", 3), 3);
    CHECK_EQ(write(peers[2], "abc", 3), 3);
    while (held < 3) {
        size_t count = reap(context, 64, 10 * CHECK_SECOND);
        for (size_t r = 0; r < count; r++)
            held_at[held++] = records[r].extra;
    }
    for (int i = 0; i < STREAMS; i++)
        CHECK_EQ(write(peers[i], "def", 3), 3);
    CHECK_EQ(reap(context, 64, 100 * CHECK_MS), 0);
    for (int i = 0; i < STREAMS - 1; i++) {
        if (i % 2)
            CHECK_OK(weir_stream_close(streams[i]));
        else
            CHECK_OK(weir_stream_cancel(streams[i], NULL));
    }
    size_t ended = 0;
    while (ended < STREAMS - 1)
        ended += reap(context, 64, 10 * CHECK_SECOND);
    CHECK_OK(weir_context_pool_release(context, held_at[0]));
    CHECK_EQ(reap(context, 64, 10 * CHECK_SECOND), 1);
    CHECK(records[0].user == (void *)(STREAMS - 1));
    CHECK_EQ(records[0].value, 3);
    CHECK_OK(weir_context_destroy(context)); /* with slots out */
    for (int i = 0; i < STREAMS; i++)
        close(peers[i]);
}

/* With fewer slots than readers that always have data, and with room for fewer records than slots: everyone has a share. */
static void takes_turns(uint32_t slots, size_t capacity)
{
    enum { STREAMS = 3, TAKES = 90 };
    weir_context *context = pooled(slots, 16);
    int ends[2], got[STREAMS] = {0}, all = 0;
    for (uintptr_t i = 0; i < STREAMS; i++) {
        char bytes[4096] = {0};
        plain_pair(AF_UNIX, ends);
        CHECK_EQ(write(ends[1], bytes, sizeof bytes), sizeof bytes);
        CHECK_OK(weir_stream_read_each(adopted(context, ends[0]), NULL, (void *)i));
    }
    while (all < TAKES) {
        size_t count = reap(context, capacity, 10 * CHECK_SECOND);
        CHECK(count > 0);
        for (size_t r = 0; r < count; r++) {
            got[(uintptr_t)records[r].user]++;
            all++;
            CHECK_OK(weir_context_pool_release(context, records[r].extra));
        }
    }
    for (int i = 0; i < STREAMS; i++)
        CHECK(got[i] >= TAKES / STREAMS / 2);
    CHECK_OK(weir_context_destroy(context));
}

TEST(paused_readers_take_turns)
{
    takes_turns(1, 8);
    takes_turns(1, 1);
    takes_turns(2, 8);
    takes_turns(2, 1);
    takes_turns(8, 1);
}

/* A reader that was woken and is cancelled before it took its slot keeps the slot from nobody. */
TEST(a_slot_that_was_kept_for_a_cancelled_reader_goes_to_the_next)
{
    enum { STREAMS = 3 };
    weir_context *context = pooled(1, 16);
    weir_stream *streams[STREAMS];
    int ends[2];
    for (uintptr_t i = 0; i < STREAMS; i++) {
        char bytes[64] = {0};
        plain_pair(AF_UNIX, ends);
        CHECK_EQ(write(ends[1], bytes, sizeof bytes), sizeof bytes);
        streams[i] = adopted(context, ends[0]);
        CHECK_OK(weir_stream_read_each(streams[i], NULL, (void *)i));
    }
    CHECK_EQ(reap(context, 8, 10 * CHECK_SECOND), 1);
    uintptr_t first = (uintptr_t)records[0].user;
    CHECK_EQ(reap(context, 8, 0), 0); /* now all wait for the slot */
    CHECK_OK(weir_context_pool_release(context, records[0].extra));
    /* One of these two has been woken. */
    uintptr_t second = (first + 1) % STREAMS, third = (first + 2) % STREAMS;
    CHECK_OK(weir_stream_cancel(streams[second], NULL));
    CHECK_OK(weir_stream_close(streams[third]));
    bool data = false;
    for (int ended = 0; ended < 2 || !data;) {
        CHECK_EQ(reap(context, 1, 10 * CHECK_SECOND), 1);
        ended += records[0].status < 0;
        if (records[0].status == 0) {
            CHECK_EQ((uintptr_t)records[0].user, first);
            data = true;
        }
    }
    CHECK_OK(weir_context_destroy(context));
}

/* Records that find no room hold no slot and lose nothing. */
TEST(no_room_for_records_pauses_too)
{
    weir_context *context = pooled(64, 8);
    int ends[2];
    plain_pair(AF_UNIX, ends);
    weir_stream *stream = adopted(context, ends[0]);
    CHECK_OK(weir_stream_read_each(stream, NULL, NULL));
    char bytes[256];
    for (int i = 0; i < 256; i++)
        bytes[i] = (char)i;
    CHECK_EQ(write(ends[1], bytes, sizeof bytes), sizeof bytes);
    size_t got = 0;
    while (got < sizeof bytes) {
        CHECK_OK(weir_context_poll(context, NULL)); /* meets it, has no room */
        CHECK_EQ(reap(context, 1, 10 * CHECK_SECOND), 1);
        CHECK(memcmp(base + records[0].extra, bytes + got, records[0].value) == 0);
        got += records[0].value;
        CHECK_OK(weir_context_pool_release(context, records[0].extra));
    }
    CHECK_OK(weir_context_destroy(context));
    close(ends[1]);
}

/* Each datagram has a slot and its sender; an empty one is data, a long one tells its length. */
TEST(datagrams_come_in_slots_with_their_senders)
{
    weir_context *context = pooled(3, 16);
    struct where at, senders[2];
    weir_datagram *datagram = bound(context, AF_INET, NULL, &at), *peers[2];
    struct sockaddr_storage from;
    socklen_t length = 0;
    int me;
    for (int i = 0; i < 2; i++) {
        peers[i] = bound(context, AF_INET, NULL, &senders[i]);
        CHECK_OK(weir_datagram_connect(peers[i], AT(&at)));
    }
    CHECK_OK(weir_datagram_receive_each(datagram, &me));
    CHECK_CODE(weir_datagram_receive_each(datagram, &me), WEIR_EBUSY);
    static const size_t sizes[] = {5, 0, 40, 16, 1};
    for (size_t i = 0; i < 5; i++) {
        char text[40];
        size_t sent = 0;
        memset(text, 'a' + (int)i, sizeof text);
        CHECK_OK(weir_datagram_try_send(peers[i % 2], text, sizes[i], &sent));
        CHECK_EQ(reap(context, 8, WEIR_FOREVER), 1);
        CHECK_EQ(records[0].kind, WEIR_OP_RECEIVE);
        CHECK_OK(records[0].status);
        CHECK(records[0].user == &me);
        CHECK_EQ(records[0].value, sizes[i]);
        CHECK(memcmp(base + records[0].extra, text, sizes[i] < 16 ? sizes[i] : 16) == 0);
        CHECK_OK(weir_context_pool_sender(context, records[0].extra, &from, &length));
        CHECK_EQ(length, senders[i % 2].length);
        CHECK(memcmp(&from, &senders[i % 2].address, length) == 0);
        CHECK_OK(weir_context_pool_release(context, records[0].extra));
        CHECK_CODE(weir_context_pool_sender(context, records[0].extra, &from, &length), WEIR_EINVAL);
    }
    /* More than there are slots: the rest waits in the kernel. */
    for (char i = 0; i < 5; i++) {
        size_t sent = 0;
        CHECK_OK(weir_datagram_try_send(peers[0], &i, 1, &sent));
    }
    uint64_t held[8];
    size_t got = 0, next = 0;
    while (got < 3) {
        size_t count = reap(context, 8, 10 * CHECK_SECOND);
        for (size_t i = 0; i < count; i++, got++) {
            CHECK_EQ(base[records[i].extra], (char)got);
            held[got] = records[i].extra;
        }
    }
    CHECK_EQ(reap(context, 8, 50 * CHECK_MS), 0);
    while (got < 5) {
        CHECK_OK(weir_context_pool_release(context, held[next++]));
        CHECK_EQ(reap(context, 1, 10 * CHECK_SECOND), 1);
        CHECK_EQ(base[records[0].extra], (char)got);
        held[got++] = records[0].extra;
    }
    CHECK_OK(weir_datagram_cancel(datagram, NULL));
    CHECK_EQ(reap(context, 8, WEIR_FOREVER), 1);
    CHECK_CODE(records[0].status, WEIR_ECANCELED);
    CHECK_OK(weir_context_destroy(context));
}

/* ---- callbacks */

struct sum {
    weir_stream *stream;
    size_t bytes;
    int calls, last, close_at;
};

static void add(int status, const void *data, size_t length, void *user)
{
    struct sum *sum = (struct sum *)user;
    sum->calls++;
    sum->last = status;
    if (status < 0) {
        CHECK(data == NULL);
        CHECK_EQ(length, 0);
        return;
    }
    CHECK((const char *)data >= base && (const char *)data + length <= base + slots * slot_size);
    for (size_t i = 0; i < length; i++)
        CHECK_EQ(((const unsigned char *)data)[i], (unsigned char)(sum->bytes + i));
    sum->bytes += length;
    if (sum->close_at > 0 && sum->calls == sum->close_at)
        CHECK_OK(weir_stream_close(sum->stream));
}

TEST(with_a_callback_the_slots_come_back_by_themselves)
{
    weir_context *context = pooled(1, 32);
    int ends[2];
    plain_pair(AF_INET, ends);
    struct sum sum = {adopted(context, ends[0]), 0, 0, 0, 0};
    CHECK_OK(weir_stream_read_each(sum.stream, add, &sum));
    unsigned char bytes[10000];
    for (size_t i = 0; i < sizeof bytes; i++)
        bytes[i] = (unsigned char)i;
    CHECK_EQ(write(ends[1], bytes, sizeof bytes), sizeof bytes);
    CHECK_EQ(shutdown(ends[1], SHUT_WR), 0);
    CHECK_OK(weir_context_run(context, NULL));
    CHECK_EQ(sum.bytes, sizeof bytes);
    CHECK_CODE(sum.last, WEIR_EOF);
    CHECK_OK(weir_context_destroy(context));
    close(ends[1]);
}

TEST(closing_from_the_callback_ends_it_once)
{
    weir_context *context = pooled(2, 8);
    int ends[2];
    plain_pair(AF_INET, ends);
    struct sum sum = {adopted(context, ends[0]), 0, 0, 0, 2};
    CHECK_OK(weir_stream_read_each(sum.stream, add, &sum));
    unsigned char bytes[64];
    for (size_t i = 0; i < sizeof bytes; i++)
        bytes[i] = (unsigned char)i;
    CHECK_EQ(write(ends[1], bytes, sizeof bytes), sizeof bytes);
    CHECK_OK(weir_context_run(context, NULL));
    CHECK_EQ(sum.calls, 3);
    CHECK_CODE(sum.last, WEIR_ECANCELED);
    CHECK_OK(weir_context_destroy(context));
    close(ends[1]);
}

TEST(destruction_ends_it_once)
{
    weir_context *context = pooled(2, 8);
    int ends[2];
    plain_pair(AF_INET, ends);
    struct sum sum = {adopted(context, ends[0]), 0, 0, 0, 0};
    CHECK_OK(weir_stream_read_each(sum.stream, add, &sum));
    CHECK_OK(weir_context_poll(context, NULL));
    CHECK_OK(weir_context_destroy(context));
    CHECK_EQ(sum.calls, 1);
    CHECK_CODE(sum.last, WEIR_ECANCELED);
    close(ends[1]);
}

static void *run(void *context)
{
    CHECK_OK(weir_context_run((weir_context *)context, NULL));
    return NULL;
}

TEST(four_threads_share_a_small_pool)
{
    enum { STREAMS = 8, ROUNDS = 40, CHUNK = 700 };
    weir_context *context = pooled(2, 100);
    static struct sum sums[STREAMS];
    int peers[STREAMS];
    pthread_t threads[4];
    for (int i = 0; i < STREAMS; i++) {
        int ends[2];
        plain_pair(AF_INET, ends);
        sums[i] = (struct sum){adopted(context, ends[0]), 0, 0, 0, 0};
        peers[i] = ends[1];
        CHECK_OK(weir_stream_read_each(sums[i].stream, add, &sums[i]));
    }
    for (int i = 0; i < 4; i++)
        CHECK_EQ(pthread_create(&threads[i], NULL, run, context), 0);
    for (size_t round = 0; round < ROUNDS; round++) {
        unsigned char bytes[CHUNK];
        for (size_t i = 0; i < CHUNK; i++)
            bytes[i] = (unsigned char)(round * CHUNK + i);
        for (int i = 0; i < STREAMS; i++)
            CHECK_EQ(write(peers[i], bytes, CHUNK), CHUNK);
    }
    for (int i = 0; i < STREAMS; i++)
        close(peers[i]);
    for (int i = 0; i < 4; i++)
        CHECK_EQ(pthread_join(threads[i], NULL), 0);
    for (int i = 0; i < STREAMS; i++) {
        CHECK_EQ(sums[i].bytes, ROUNDS * CHUNK);
        CHECK_CODE(sums[i].last, WEIR_EOF);
    }
    CHECK_OK(weir_context_destroy(context));
}

TEST(a_time_limit_ends_a_multi_shot_read_without_data)
{
    weir_context_options options = {0};
    weir_context *context;
    options.struct_size = sizeof options;
    options.flags = WEIR_CONTEXT_MANUAL_CLOCK;
    CHECK_OK(weir_context_create(&options, &context));
    const void *memory = NULL;
    CHECK_OK(weir_context_pool(context, &memory, &slot_size, &slots));
    base = (const char *)memory;
    int ends[2];
    plain_pair(AF_INET, ends);
    struct sum sum = {adopted(context, ends[0]), 0, 0, 0, 0};
    CHECK_OK(weir_stream_set_timeout(sum.stream, WEIR_WAIT_READ, 100));
    CHECK_OK(weir_stream_read_each(sum.stream, add, &sum));
    for (unsigned char i = 0; i < 5; i++) {
        CHECK_OK(weir_context_poll(context, NULL));
        CHECK_OK(weir_context_advance(context, 60));
        CHECK_EQ(write(ends[1], &i, 1), 1);
        RUN_UNTIL(context, sum.bytes == i + 1u);
        CHECK_EQ(sum.calls, i + 1); /* data gave the time back */
    }
    CHECK_OK(weir_context_advance(context, 99));
    CHECK_OK(weir_context_poll(context, NULL));
    CHECK_EQ(sum.calls, 5);
    CHECK_OK(weir_context_advance(context, 1));
    CHECK_OK(weir_context_poll(context, NULL));
    CHECK_EQ(sum.calls, 6);
    CHECK_CODE(sum.last, WEIR_ETIMEDOUT);
    CHECK_OK(weir_context_destroy(context));
    close(ends[1]);
}

/* ---- weir_context_enter() */

static weir_submission submission(uint32_t kind, void *handle, void *data, uint64_t length, void *user)
{
    weir_submission one = {kind, 1, handle, data, length, user};
    return one;
}

TEST(a_batch_is_submitted_and_reaped_in_one_call)
{
    weir_context *context = pooled(4, 64);
    int ends[2];
    plain_pair(AF_INET, ends);
    weir_stream *stream = adopted(context, ends[0]);
    weir_timer *timer = new_timer(context);
    char out[] = "hello", in[8];
    size_t count = 0;
    weir_submission batch[8];
    batch[0] = submission(WEIR_SUBMIT_WRITE, stream, out, 5, &batch[0]);
    batch[1] = submission(WEIR_SUBMIT_READ_SOME, stream, in, sizeof in, &batch[1]);
    batch[2] = submission(WEIR_SUBMIT_READ_SOME, stream, in, sizeof in, &batch[2]); /* a second one */
    batch[3] = submission(WEIR_SUBMIT_POST, NULL, NULL, 0, &batch[3]);
    batch[4] = submission(WEIR_SUBMIT_TIMER_AFTER, timer, NULL, 0, NULL);
    batch[5] = submission(WEIR_SUBMIT_TIMER_WAIT, timer, NULL, 0, &batch[5]);
    batch[6] = submission(99, NULL, NULL, 0, NULL);
    batch[7] = submission(WEIR_SUBMIT_READ, timer, in, 1, NULL); /* of the wrong type */
    CHECK_OK(weir_context_enter(context, batch, 8, records, 64, WEIR_FOREVER, &count));
    int results[8] = {0, 0, WEIR_EBUSY, 0, 0, 0, WEIR_EINVAL, WEIR_EBADF};
    for (int i = 0; i < 8; i++)
        CHECK_CODE(batch[i].result, results[i]);
    while (count < 3) {
        size_t more = 0;
        CHECK_OK(weir_context_enter(context, NULL, 0, records + count, 64 - count, WEIR_FOREVER, &more));
        CHECK(more > 0);
        count += more;
    }
    CHECK_EQ(count, 3);
    bool seen[8] = {false};
    for (size_t i = 0; i < count; i++)
        seen[(weir_submission *)records[i].user - batch] = true;
    CHECK(seen[0] && seen[3] && seen[5]);
    char got[8];
    CHECK_EQ(read(ends[1], got, sizeof got), 5);
    /* The ping comes back with the next batch, which cancels nothing else. */
    CHECK_EQ(write(ends[1], "x", 1), 1);
    CHECK_OK(weir_context_enter(context, NULL, 0, records, 64, WEIR_FOREVER, &count));
    CHECK_EQ(count, 1);
    CHECK(records[0].user == &batch[1]);
    /* A slot is read and given back. */
    batch[0] = submission(WEIR_SUBMIT_READ_EACH, stream, NULL, 0, &batch[0]);
    CHECK_EQ(write(ends[1], "yz", 2), 2);
    CHECK_OK(weir_context_enter(context, batch, 1, records, 64, WEIR_FOREVER, &count));
    CHECK_EQ(count, 1);
    CHECK_EQ(records[0].value, 2);
    CHECK(memcmp(base + records[0].extra, "yz", 2) == 0);
    batch[0] = submission(WEIR_SUBMIT_RELEASE, NULL, NULL, records[0].extra, NULL);
    batch[1] = submission(WEIR_SUBMIT_RELEASE, NULL, NULL, records[0].extra, NULL);
    batch[2] = submission(WEIR_SUBMIT_CANCEL, stream, NULL, 0, NULL);
    batch[3] = submission(WEIR_SUBMIT_CLOSE, stream, NULL, 0, NULL);
    batch[4] = submission(WEIR_SUBMIT_CLOSE, stream, NULL, 0, NULL);
    CHECK_OK(weir_context_enter(context, batch, 5, records, 64, WEIR_FOREVER, &count));
    CHECK_CODE(batch[0].result, 0);
    CHECK_CODE(batch[1].result, WEIR_EINVAL);
    CHECK_CODE(batch[2].result, 0);
    CHECK_CODE(batch[3].result, 0);
    CHECK_CODE(batch[4].result, WEIR_EBADF);
    CHECK_EQ(count, 1);
    CHECK_CODE(records[0].status, WEIR_ECANCELED);
    CHECK_OK(weir_context_destroy(context));
    close(ends[1]);
}

TEST(a_capacity_of_0_only_submits)
{
    weir_context *context = new_context();
    weir_submission batch[100];
    size_t count = 7;
    for (uintptr_t i = 0; i < 100; i++)
        batch[i] = submission(WEIR_SUBMIT_POST, NULL, NULL, 0, (void *)(i + 1));
    CHECK_OK(weir_context_enter(context, batch, 100, NULL, 0, 0, &count));
    CHECK_EQ(count, 0);
    uintptr_t next = 1;
    while (next <= 100) {
        size_t got = reap(context, 30, WEIR_FOREVER);
        CHECK(got > 0);
        for (size_t i = 0; i < got; i++)
            CHECK(records[i].user == (void *)next++);
    }
    CHECK_OK(weir_context_destroy(context));
}

static void came(int status, const void *data, size_t length, void *user)
{
    (void)data;
    if (status == 0)
        io_done(status, length, user);
}

/* One event tells that a write can go on and that there is data: neither is forgotten for the other. */
static void goes_on_beside_a_write(int family)
{
    static const char text[100];
    weir_context *context = pooled(4, 64);
    struct pair pair = new_small_pair(context, family);
    size_t filled = fill(pair.stream);
    struct counter wrote = {0}, read = {0};
    START(weir_stream_write(pair.stream, text, sizeof text, io_done, &wrote));
    START(weir_stream_read_each(pair.stream, came, &read));
    settle(context);
    CHECK_EQ(atomic_load(&wrote.calls), 0);
    send_all(pair.peer, "hello", 5);
    drain(pair.peer, filled);
    await_events(pair.fd, POLLIN);
    await_events(pair.fd, POLLOUT);
    RUN_CALLS(context, wrote, 1);
    RUN_CALLS(context, read, 1);
    CHECK_DONE(wrote, 0, sizeof text);
    CHECK_DONE(read, 0, 5);
    close_pair(&pair);
    CHECK_OK(weir_context_destroy(context));
}

TEST(a_tcp_reader_goes_on_beside_a_write)
{
    goes_on_beside_a_write(AF_INET);
}

TEST(a_unix_reader_goes_on_beside_a_write)
{
    goes_on_beside_a_write(AF_UNIX);
}

TEST_MAIN()
