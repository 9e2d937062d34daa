/* How operations end before their time: cancel, close, destruction. */
#include "net.h"

static const int families[] = {AF_INET, AF_UNIX};

/* The buffer of an ended read is the caller's again: what comes later does not go there. */
static void check_untouched(weir_context *context, struct pair *pair, enum kind kind, struct operation *operation)
{
    if (is_read(kind)) {
        send(pair->peer, "late", 4, MSG_NOSIGNAL);
        settle(context);
        CHECK(memcmp(operation->data, UNTOUCHED, 8) == 0);
    }
}

/* H24, H25: a cancel ends what is pending when it is called, and nothing else. */
TEST(h25_cancel_ends_what_is_pending_and_nothing_later)
{
    weir_context *context = new_context();
    for (int f = 0; f < 2; f++) {
        for (enum kind kind = 0; kind < KINDS; kind++) {
            size_t filled, count = 77;
            struct pair pair = blocked_pair(context, families[f], kind, &filled);
            struct operation first, second;
            CHECK_OK(weir_stream_cancel(pair.stream, &count));
            CHECK_EQ(count, 0);
            CHECK_OK(weir_stream_cancel(pair.stream, NULL));
            START(begin(kind, pair.stream, &first));
            settle(context);
            CHECK_EQ(first.counter.calls, 0);
            CHECK_OK(weir_stream_cancel(pair.stream, &count));
            CHECK_EQ(count, 1);
            CHECK_EQ(first.counter.calls, 0); /* not inside cancel */
            CHECK_OK(weir_stream_cancel(pair.stream, &count));
            CHECK_EQ(count, 0);
            RUN_CALLS(context, first.counter, 1);
            CHECK_DONE(first.counter, WEIR_ECANCELED, 0);
            CHECK_OK(weir_stream_cancel(pair.stream, &count));
            CHECK_EQ(count, 0);
            START(begin(kind, pair.stream, &second));
            settle(context);
            CHECK_EQ(second.counter.calls, 0);
            unblock(&pair, kind, filled);
            RUN_CALLS(context, second.counter, 1);
            settle(context);
            CHECK_DONE(second.counter, 0, bytes_of(kind));
            CHECK_EQ(first.counter.calls, 1);
            if (is_read(kind))
                CHECK(memcmp(first.data, UNTOUCHED, 8) == 0);
            close_pair(&pair);
        }
    }
    CHECK_OK(weir_context_destroy(context));
}

TEST(cancel_counts_both_directions)
{
    weir_context *context = new_context();
    size_t filled, count = 0;
    struct pair pair = blocked_pair(context, AF_INET, WRITE, &filled);
    struct operation reading, writing;
    START(begin(READ_SOME, pair.stream, &reading));
    START(begin(WRITE, pair.stream, &writing));
    CHECK_OK(weir_stream_cancel(pair.stream, &count));
    CHECK_EQ(count, 2);
    RUN_UNTIL(context, reading.counter.calls + writing.counter.calls == 2);
    CHECK_DONE(reading.counter, WEIR_ECANCELED, 0);
    CHECK_DONE(writing.counter, WEIR_ECANCELED, 0);
    close_pair(&pair);
    CHECK_OK(weir_context_destroy(context));
}

/* H24: what was complete when the cancel or the close came keeps its result. */
TEST(h24_cancel_or_close_after_completion_changes_nothing)
{
    weir_context *context = new_context();
    for (int f = 0; f < 2; f++) {
        for (int closing = 0; closing < 2; closing++) {
            for (enum kind kind = 0; kind < KINDS; kind++) {
                struct pair pair = new_pair(context, families[f]);
                struct operation operation;
                size_t count = 77;
                if (is_read(kind)) {
                    send_all(pair.peer, "abcdefgh", 8);
                    await_events(pair.fd, POLLIN);
                }
                START(begin(kind, pair.stream, &operation));
                if (closing) {
                    CHECK_OK(weir_stream_close(pair.stream));
                } else {
                    CHECK_OK(weir_stream_cancel(pair.stream, &count));
                    CHECK_EQ(count, 0);
                }
                CHECK_EQ(operation.counter.calls, 0);
                RUN_CALLS(context, operation.counter, 1);
                settle(context);
                CHECK_DONE(operation.counter, 0, bytes_of(kind));
                if (is_read(kind) && !is_wait(kind))
                    CHECK(memcmp(operation.data, "abcdefgh", 8) == 0);
                if (!is_read(kind) && !is_wait(kind)) {
                    char seen[8];
                    receive_all(pair.peer, seen, 8);
                    CHECK(memcmp(seen, "12345678", 8) == 0);
                }
                if (!closing)
                    CHECK_OK(weir_stream_close(pair.stream));
                close(pair.peer);
            }
        }
    }
    CHECK_OK(weir_context_destroy(context));
}

/* H24: bytes that moved before the end are counted, and none are lost or moved twice. */
TEST(h24_cancel_half_way_counts_the_bytes_read)
{
    weir_context *context = new_context();
    for (int f = 0; f < 2; f++) {
        for (int closing = 0; closing < 2; closing++) {
            for (int vectored = 0; vectored < 2; vectored++) {
                enum kind kind = vectored ? READV : READ;
                struct pair pair = new_pair(context, families[f]);
                struct operation operation, rest;
                START(begin(kind, pair.stream, &operation));
                send_all(pair.peer, "abcd", 4);
                await_events(pair.fd, POLLIN);
                settle(context);
                CHECK_EQ(operation.counter.calls, 0);
                if (closing)
                    CHECK_OK(weir_stream_close(pair.stream));
                else
                    CHECK_OK(weir_stream_cancel(pair.stream, NULL));
                RUN_CALLS(context, operation.counter, 1);
                CHECK_DONE(operation.counter, WEIR_ECANCELED, 4);
                CHECK(memcmp(operation.data, "abcd????", 8) == 0);
                if (!closing) {
                    START(begin(kind, pair.stream, &rest));
                    send_all(pair.peer, "efghijkl", 8);
                    RUN_CALLS(context, rest.counter, 1);
                    CHECK_DONE(rest.counter, 0, 8);
                    CHECK(memcmp(rest.data, "efghijkl", 8) == 0);
                    CHECK(memcmp(operation.data, "abcd????", 8) == 0);
                    CHECK_OK(weir_stream_close(pair.stream));
                }
                close(pair.peer);
            }
        }
    }
    CHECK_OK(weir_context_destroy(context));
}

TEST(h24_cancel_half_way_counts_the_bytes_written)
{
    weir_context *context = new_context();
    const size_t total = 32 * 1024 * 1024;
    char *data = calloc(1, total);
    CHECK(data != NULL);
    for (int f = 0; f < 2; f++) {
        for (int closing = 0; closing < 2; closing++) {
            struct pair pair = new_pair(context, families[f]);
            struct counter counter = {0};
            small_buffers(pair.fd);
            START(weir_stream_write(pair.stream, data, total, io_done, &counter));
            settle(context);
            CHECK_EQ(counter.calls, 0);
            drain(pair.peer, 1000);
            settle(context);
            if (closing)
                CHECK_OK(weir_stream_close(pair.stream));
            else
                CHECK_OK(weir_stream_cancel(pair.stream, NULL));
            RUN_CALLS(context, counter, 1);
            CHECK_EQ(counter.calls, 1);
            CHECK_CODE(counter.status, WEIR_ECANCELED);
            CHECK(counter.bytes >= 1000 && counter.bytes < total);
            if (!closing)
                CHECK_OK(weir_stream_close(pair.stream));
            CHECK_EQ(receive_to_end(pair.peer) + 1000, counter.bytes);
            close(pair.peer);
        }
    }
    free(data);
    CHECK_OK(weir_context_destroy(context));
}

/* Contract 3: close is immediate. */
TEST(close_ends_the_handle_the_fd_and_what_is_pending)
{
    weir_context *context = new_context();
    for (int f = 0; f < 2; f++) {
        for (enum kind kind = 0; kind < KINDS; kind++) {
            size_t filled;
            struct pair pair = blocked_pair(context, families[f], kind, &filled);
            struct operation operation;
            int fd = -1, before = count_fds();
            START(begin(kind, pair.stream, &operation));
            settle(context);
            CHECK_OK(weir_stream_close(pair.stream));
            CHECK_EQ(count_fds(), before - 1);
            CHECK_EQ(operation.counter.calls, 0);
            CHECK_CODE(weir_stream_fd(pair.stream, &fd), WEIR_EBADF);
            CHECK_CODE(weir_stream_close(pair.stream), WEIR_EBADF);
            RUN_CALLS(context, operation.counter, 1);
            settle(context);
            CHECK_DONE(operation.counter, WEIR_ECANCELED, 0);
            check_untouched(context, &pair, kind, &operation);
            close(pair.peer);
        }
    }
    CHECK_OK(weir_context_destroy(context));
}

/* ---- from callbacks */

struct closer {
    struct operation operation;
    weir_stream *own, *other;
    weir_stream **fresh;
    int calls, status;
    size_t bytes;
};

static void close_own(int status, size_t bytes, void *user)
{
    struct closer *closer = user;
    int fd;
    closer->calls++;
    closer->status = status;
    closer->bytes = bytes;
    CHECK_OK(weir_stream_close(closer->own));
    CHECK_CODE(weir_stream_fd(closer->own, &fd), WEIR_EBADF);
    if (closer->other)
        CHECK_OK(weir_stream_close(closer->other));
}

static void close_own_wait(int status, void *user)
{
    close_own(status, 0, user);
}

TEST(a_callback_closes_its_own_stream_and_others)
{
    weir_context *context = new_context();
    for (int f = 0; f < 2; f++) {
        for (int way = 0; way < 3; way++) { /* a read, a write, a wait */
            for (int others = 0; others < 2; others++) {
                struct pair pair = new_pair(context, families[f]), other = new_pair(context, families[f]);
                struct operation pending, opposite;
                struct closer closer = {.own = pair.stream, .other = others ? other.stream : NULL};
                START(begin(READ, other.stream, &pending));
                /* The other direction of the own stream is pending too, or completes in the same turn. */
                if (way != 1)
                    START(begin(WRITE, pair.stream, &opposite));
                else
                    START(begin(READ, pair.stream, &opposite));
                if (way == 0)
                    START(weir_stream_read_some(pair.stream, closer.operation.data, 8, close_own, &closer));
                else if (way == 1)
                    START(weir_stream_write(pair.stream, "12345678", 8, close_own, &closer));
                else
                    START(weir_stream_wait(pair.stream, WEIR_WAIT_READ, close_own_wait, &closer));
                if (way != 1)
                    send_all(pair.peer, "abc", 3);
                RUN_UNTIL(context, closer.calls == 1 && opposite.counter.calls == 1 &&
                                       (!others || pending.counter.calls == 1));
                settle(context);
                CHECK_EQ(closer.calls, 1);
                CHECK_OK(closer.status);
                CHECK_EQ(closer.bytes, way == 0 ? 3 : way == 1 ? 8 : 0);
                CHECK_EQ(opposite.counter.calls, 1);
                CHECK_CODE(opposite.counter.status, way == 1 ? WEIR_ECANCELED : 0);
                if (others) {
                    CHECK_DONE(pending.counter, WEIR_ECANCELED, 0);
                } else {
                    CHECK_EQ(pending.counter.calls, 0);
                    CHECK_OK(weir_stream_close(other.stream));
                }
                settle(context);
                close(pair.peer);
                close(other.peer);
            }
        }
    }
    CHECK_OK(weir_context_destroy(context));
}

struct chain {
    struct pair pair;
    char data[4];
    int left, calls;
    bool canceled;
};

static void cancel_and_go_on(int status, size_t bytes, void *user)
{
    struct chain *chain = user;
    size_t count = 77;
    CHECK(!net_starting);
    chain->calls++;
    if (status == WEIR_ECANCELED) {
        chain->canceled = true;
        return;
    }
    CHECK_OK(status);
    CHECK_EQ(bytes, 1);
    CHECK_OK(weir_stream_cancel(chain->pair.stream, &count));
    CHECK_EQ(count, 0); /* the slot is free when its callback runs */
    bool last = --chain->left == 0;
    START(weir_stream_read_some(chain->pair.stream, chain->data, 1, cancel_and_go_on, chain));
    if (last) {
        CHECK_OK(weir_stream_cancel(chain->pair.stream, &count));
        CHECK_EQ(count, 1);
    } else {
        send_all(chain->pair.peer, "x", 1);
    }
}

TEST(a_callback_starts_the_next_operation_and_cancels_it)
{
    weir_context *context = new_context();
    struct chain chain = {.pair = new_pair(context, AF_UNIX), .left = 100};
    START(weir_stream_read_some(chain.pair.stream, chain.data, 1, cancel_and_go_on, &chain));
    send_all(chain.pair.peer, "x", 1);
    RUN_UNTIL(context, chain.canceled);
    settle(context);
    CHECK_EQ(chain.calls, 101);
    close_pair(&chain.pair);
    CHECK_OK(weir_context_destroy(context));
}

/* ---- destruction */

TEST(destroy_ends_everything_pending_exactly_once)
{
    enum { EACH = 8 };
    int before = count_fds();
    weir_context *context = new_context();
    struct pair pairs[KINDS][EACH];
    struct operation operations[KINDS][EACH];
    struct counter connecting = {0};
    struct accepted accepting = {0};
    struct where where;
    for (enum kind kind = 0; kind < KINDS; kind++) {
        for (int i = 0; i < EACH; i++) {
            size_t filled;
            pairs[kind][i] = blocked_pair(context, families[i % 2], kind, &filled);
            START(begin(kind, pairs[kind][i].stream, &operations[kind][i]));
        }
    }
    weir_acceptor *acceptor = new_listener(context, AF_INET, 4, &where);
    START(weir_acceptor_accept_each(acceptor, accept_done, &accepting));
    weir_context *other = new_context();
    weir_stream *idle = new_stream(context);
    settle(context);
    /* Some are complete, but not delivered. */
    struct pair there = new_pair(context, AF_INET);
    struct operation complete;
    send_all(there.peer, "abcdefgh", 8);
    await_events(there.fd, POLLIN);
    START(begin(READ, there.stream, &complete));
    START(weir_stream_connect(idle, AT(&where), done, &connecting));
    CHECK_OK(weir_context_destroy(context));
    for (enum kind kind = 0; kind < KINDS; kind++) {
        for (int i = 0; i < EACH; i++)
            CHECK_DONE(operations[kind][i].counter, WEIR_ECANCELED, 0);
    }
    CHECK_DONE(complete.counter, 0, 8);
    CHECK_EQ(connecting.calls, 1);
    CHECK(connecting.status == 0 || connecting.status == WEIR_ECANCELED);
    CHECK_EQ(accepting.calls, 1);
    CHECK_CODE(accepting.status, WEIR_ECANCELED);
    CHECK_OK(weir_context_destroy(other));
    CHECK_CODE(weir_stream_close(there.stream), WEIR_EBADF);
    CHECK_CODE(weir_acceptor_close(acceptor), WEIR_EBADF);
    for (enum kind kind = 0; kind < KINDS; kind++) {
        for (int i = 0; i < EACH; i++) {
            CHECK_CODE(weir_stream_close(pairs[kind][i].stream), WEIR_EBADF);
            if (is_read(kind)) {
                send(pairs[kind][i].peer, "late", 4, MSG_NOSIGNAL);
                CHECK(memcmp(operations[kind][i].data, UNTOUCHED, 8) == 0);
            }
            close(pairs[kind][i].peer);
        }
    }
    close(there.peer);
    CHECK_EQ(count_fds(), before);
}

struct last_words {
    weir_context *context;
    struct pair pair;
    struct operation again;
    int calls;
};

static void try_everything(int status, size_t bytes, void *user)
{
    struct last_words *words = user;
    weir_stream *stream = NULL;
    weir_acceptor *acceptor = NULL;
    CHECK_CODE(status, WEIR_ECANCELED);
    CHECK_EQ(bytes, 0);
    words->calls++;
    CHECK_CODE(weir_stream_create(words->context, &stream), WEIR_ESHUTDOWN);
    CHECK_CODE(weir_acceptor_create(words->context, &acceptor), WEIR_ESHUTDOWN);
    CHECK(stream == NULL && acceptor == NULL);
    /* Its own handle is closed; or, where it is not yet, nothing new begins. */
    int code = begin(READ, words->pair.stream, &words->again);
    CHECK(code == WEIR_EBADF || code == WEIR_ESHUTDOWN);
}

TEST(callbacks_of_destroy_can_not_begin_anything)
{
    weir_context *context = new_context();
    struct last_words words[20] = {0};
    char data[8];
    for (int i = 0; i < 20; i++) {
        words[i].context = context;
        words[i].pair = new_pair(context, AF_UNIX);
        START(weir_stream_read(words[i].pair.stream, data, 8, try_everything, &words[i]));
    }
    CHECK_OK(weir_context_destroy(context));
    for (int i = 0; i < 20; i++) {
        CHECK_EQ(words[i].calls, 1);
        CHECK_EQ(words[i].again.counter.calls, 0);
        close(words[i].pair.peer);
    }
}

/* A handle that was closed stays dead although its slot is used again. */
TEST(stale_handles_stay_dead)
{
    weir_context *context = new_context();
    struct pair first = new_pair(context, AF_UNIX);
    weir_stream *stale = first.stream;
    close_pair(&first);
    for (int i = 0; i < 200; i++) {
        struct pair pair = new_pair(context, AF_UNIX);
        struct operation operation;
        size_t bytes = 77;
        CHECK(pair.stream != stale);
        for (enum kind kind = 0; kind < KINDS; kind++)
            START_CODE(begin(kind, stale, &operation), WEIR_EBADF);
        CHECK_CODE(weir_stream_try_read(stale, operation.data, 8, &bytes), WEIR_EBADF);
        CHECK_CODE(weir_stream_cancel(stale, &bytes), WEIR_EBADF);
        CHECK_EQ(bytes, 77);
        CHECK_CODE(weir_stream_close(stale), WEIR_EBADF);
        CHECK_EQ(operation.counter.calls, 0);
        if (i % 2 == 0)
            stale = pair.stream;
        close_pair(&pair);
    }
    CHECK_OK(weir_context_destroy(context));
}

/* ---- H09: the slot of a closed handle is not used again too early */

TEST(h09_a_slot_waits_for_its_last_completion)
{
    weir_context *context = new_context();
    for (int i = 0; i < 20; i++) {
        struct pair pair = new_pair(context, AF_UNIX), next;
        struct operation first, second;
        START(begin(READ, pair.stream, &first));
        CHECK_OK(weir_stream_close(pair.stream));
        /* The end of the first read is still to be delivered. */
        next = new_pair(context, AF_UNIX);
        START(begin(READ, next.stream, &second));
        RUN_CALLS(context, first.counter, 1);
        settle(context);
        CHECK_DONE(first.counter, WEIR_ECANCELED, 0);
        CHECK_EQ(first.counter.calls, 1);
        CHECK_EQ(second.counter.calls, 0);
        send_all(next.peer, "12345678", 8);
        RUN_CALLS(context, second.counter, 1);
        CHECK_DONE(second.counter, 0, 8);
        close(pair.peer);
        close_pair(&next);
    }
    CHECK_OK(weir_context_destroy(context));
}

/* A callback on one thread has queued the stream, and does not return; meanwhile another thread closes it and
 * delivers its end. Until the callback returns the slot is queued to run in this context, and of no use to others. */
static struct {
    weir_context *context;
    struct pair pair;
    atomic_bool is_queued, go_on;
} busy;

static void queue_and_stay(int status, void *user)
{
    (void)user;
    CHECK_OK(status);
    CHECK_OK(weir_stream_shutdown(busy.pair.stream, WEIR_SHUTDOWN_WRITE)); /* has what is pending tried again */
    atomic_store(&busy.is_queued, true);
    WAIT_FOR(atomic_load(&busy.go_on));
}

static void *run_busy(void *user)
{
    CHECK_OK(weir_context_run(user, NULL));
    return NULL;
}

TEST(h09_a_slot_is_not_used_again_while_it_is_queued)
{
    weir_context *other = new_context();
    struct operation first, second;
    busy.context = new_context_with(0, 2);
    busy.pair = new_pair(busy.context, AF_UNIX);
    START(begin(READ, busy.pair.stream, &first));
    CHECK_OK(weir_context_post(busy.context, queue_and_stay, NULL));
    pthread_t thread = start_thread(run_busy, busy.context);
    WAIT_FOR(atomic_load(&busy.is_queued));
    CHECK_OK(weir_stream_close(busy.pair.stream));
    RUN_CALLS(busy.context, first.counter, 1);
    CHECK_DONE(first.counter, WEIR_ECANCELED, 0);
    struct pair next = new_pair(other, AF_UNIX);
    START(begin(READ, next.stream, &second));
    settle(other);
    send_all(next.peer, "12345678", 8);
    RUN_CALLS(other, second.counter, 1);
    CHECK_DONE(second.counter, 0, 8);
    atomic_store(&busy.go_on, true);
    join_thread(thread);
    CHECK_OK(weir_context_destroy(busy.context));
    CHECK_OK(weir_context_destroy(other));
}

TEST_MAIN()
