/* The stack that the library uses is bounded: up to a million operations, each begun by the callback of the one before, or
 * completed at once, run at one depth, in a thread with 64 KiB. Also where contexts end inside callbacks of others. */
#include "net.h"

enum { CHAIN_LENGTH = 1000 * 1000 };

/* How far apart the frames of callbacks may be that one loop calls. */
enum { SPREAD = CHECK_SANITIZED ? 16384 : 4096 };

struct chain {
    weir_context *context;
    weir_strand *strand;
    weir_timer *timer;
    weir_stream *stream, *peer;
    weir_datagram *datagram, *other;
    weir_watch *watch;
    size_t left;
    uintptr_t lowest, highest;
    bool reading;
    char byte;
    char text[16];
    weir_until until;
};

/* Notes the depth; true while there is more to do. */
__attribute__((noinline)) static bool next(struct chain *chain)
{
    uintptr_t here = (uintptr_t)__builtin_frame_address(0);
    if (chain->lowest == 0 || here < chain->lowest)
        chain->lowest = here;
    if (here > chain->highest)
        chain->highest = here;
    return --chain->left > 0;
}

static void *run_chain(void *user)
{
    struct chain *chain = user;
    CHECK_OK(weir_context_run(chain->context, NULL));
    CHECK_EQ(chain->left, 0);
    if (chain->highest - chain->lowest > SPREAD)
        check_fail(__FILE__, __LINE__, "callbacks run %lu bytes apart",
                   (unsigned long)(chain->highest - chain->lowest));
    return NULL;
}

static void on_tiny_stack(void *(*body)(void *), void *user)
{
    pthread_attr_t attributes;
    pthread_t thread;
    CHECK_EQ(pthread_attr_init(&attributes), 0);
    CHECK_EQ(pthread_attr_setstacksize(&attributes, (CHECK_SANITIZED ? 512 : 64) * 1024), 0);
    CHECK_EQ(pthread_create(&thread, &attributes, body, user), 0);
    CHECK_EQ(pthread_attr_destroy(&attributes), 0);
    join_thread(thread);
}

static struct chain new_chain(size_t length)
{
    return (struct chain){.context = new_context(), .left = many(length)};
}

static void finish(struct chain *chain)
{
    on_tiny_stack(run_chain, chain);
    CHECK_OK(weir_context_destroy(chain->context));
}

/* ---- posts of every kind */

static void by_post(int status, void *user)
{
    struct chain *chain = user;
    CHECK_OK(status);
    if (next(chain))
        CHECK_OK(weir_context_post(chain->context, by_post, chain));
}

TEST(posts)
{
    struct chain chain = new_chain(CHAIN_LENGTH);
    CHECK_OK(weir_context_post(chain.context, by_post, &chain));
    finish(&chain);
}

static void by_strand(int status, void *user)
{
    struct chain *chain = user;
    CHECK_OK(status);
    if (next(chain))
        CHECK_OK(weir_strand_post(chain->strand, by_strand, chain));
}

TEST(posts_of_a_strand)
{
    struct chain chain = new_chain(CHAIN_LENGTH);
    CHECK_OK(weir_strand_create(chain.context, &chain.strand));
    CHECK_OK(weir_strand_post(chain.strand, by_strand, &chain));
    finish(&chain);
}

static void by_turns(int status, void *user)
{
    struct chain *chain = user;
    CHECK_OK(status);
    if (!next(chain))
        return;
    switch (chain->left % 3) {
    case 0: CHECK_OK(weir_context_post(chain->context, by_turns, chain)); break;
    case 1: CHECK_OK(weir_strand_post(chain->strand, by_turns, chain)); break;
    default: CHECK_OK(weir_context_defer(chain->context, by_turns, chain));
    }
}

TEST(posts_through_strands_and_deferred_in_turn)
{
    struct chain chain = new_chain(CHAIN_LENGTH / 10);
    CHECK_OK(weir_strand_create(chain.context, &chain.strand));
    CHECK_OK(weir_context_post(chain.context, by_turns, &chain));
    finish(&chain);
}

/* ---- timers */

static void by_timer(int status, void *user)
{
    struct chain *chain = user;
    CHECK_OK(status);
    if (!next(chain))
        return;
    CHECK_OK(weir_timer_expires_after(chain->timer, 0));
    CHECK_OK(weir_timer_wait(chain->timer, by_timer, chain));
}

TEST(timers_that_are_due_at_once)
{
    struct chain chain = new_chain(CHAIN_LENGTH);
    chain.timer = new_timer(chain.context);
    CHECK_OK(weir_timer_wait(chain.timer, by_timer, &chain));
    finish(&chain);
}

static void by_cancel(int status, void *user)
{
    struct chain *chain = user;
    CHECK_CODE(status, WEIR_ECANCELED);
    if (!next(chain))
        return;
    CHECK_OK(weir_timer_expires_after(chain->timer, 3600 * CHECK_SECOND));
    CHECK_OK(weir_timer_wait(chain->timer, by_cancel, chain));
    CHECK_OK(weir_timer_cancel(chain->timer, NULL));
}

TEST(waits_that_are_cancelled_at_once)
{
    struct chain chain = new_chain(CHAIN_LENGTH);
    chain.timer = new_timer(chain.context);
    CHECK_OK(weir_timer_expires_after(chain.timer, 3600 * CHECK_SECOND));
    CHECK_OK(weir_timer_wait(chain.timer, by_cancel, &chain));
    CHECK_OK(weir_timer_cancel(chain.timer, NULL));
    finish(&chain);
}

/* ---- operations that complete at once */

static void by_stream(int status, size_t bytes, void *user)
{
    struct chain *chain = user;
    CHECK_OK(status);
    CHECK_EQ(bytes, 1);
    if (!next(chain))
        return;
    chain->reading = !chain->reading;
    if (chain->reading)
        CHECK_OK(weir_stream_read(chain->peer, &chain->byte, 1, by_stream, chain));
    else
        CHECK_OK(weir_stream_write(chain->stream, "x", 1, by_stream, chain));
}

TEST(reads_and_writes)
{
    struct chain chain = new_chain(CHAIN_LENGTH / 4);
    CHECK_OK(weir_stream_pair(chain.context, &chain.stream, &chain.peer));
    CHECK_OK(weir_stream_write(chain.stream, "x", 1, by_stream, &chain));
    finish(&chain);
}

TEST(reads_and_writes_in_a_strand)
{
    struct chain chain = new_chain(CHAIN_LENGTH / 4);
    CHECK_OK(weir_stream_pair(chain.context, &chain.stream, &chain.peer));
    CHECK_OK(weir_strand_create(chain.context, &chain.strand));
    CHECK_OK(weir_handle_set_strand(chain.stream, chain.strand));
    CHECK_OK(weir_handle_set_strand(chain.peer, chain.strand));
    CHECK_OK(weir_stream_write(chain.stream, "x", 1, by_stream, &chain));
    finish(&chain);
}

static void by_queue(int status, size_t bytes, void *user)
{
    struct chain *chain = user;
    size_t got = 0;
    CHECK_OK(status);
    CHECK_EQ(bytes, 1);
    CHECK_OK(weir_stream_try_read(chain->peer, &chain->byte, 1, &got));
    if (next(chain))
        CHECK_OK(weir_stream_send(chain->stream, "x", 1, by_queue, chain));
}

TEST(queued_writes)
{
    struct chain chain = new_chain(CHAIN_LENGTH / 4);
    CHECK_OK(weir_stream_pair(chain.context, &chain.stream, &chain.peer));
    CHECK_OK(weir_stream_send(chain.stream, "x", 1, by_queue, &chain));
    finish(&chain);
}

/* A delimiter that is in the buffer already: no system call, and complete at once. */
static void by_until(int status, size_t bytes, void *user)
{
    struct chain *chain = user;
    CHECK_OK(status);
    CHECK_EQ(bytes, 2);
    if (next(chain))
        CHECK_OK(weir_stream_read_until(chain->stream, &chain->until, by_until, chain));
}

TEST(reads_that_find_the_delimiter_in_the_buffer)
{
    struct chain chain = new_chain(CHAIN_LENGTH);
    CHECK_OK(weir_stream_pair(chain.context, &chain.stream, &chain.peer));
    memcpy(chain.text, "a\n", 2);
    chain.until = (weir_until){.struct_size = sizeof chain.until,
                               .data = chain.text,
                               .capacity = sizeof chain.text,
                               .filled = 2,
                               .delimiter = "\n",
                               .delimiter_length = 1};
    CHECK_OK(weir_stream_read_until(chain.stream, &chain.until, by_until, &chain));
    finish(&chain);
}

static void by_datagram(int status, size_t bytes, void *user)
{
    struct chain *chain = user;
    CHECK_OK(status);
    CHECK_EQ(bytes, 1);
    if (!next(chain))
        return;
    chain->reading = !chain->reading;
    if (chain->reading)
        CHECK_OK(weir_datagram_receive(chain->other, chain->text, 4, by_datagram, chain));
    else
        CHECK_OK(weir_datagram_send(chain->datagram, "x", 1, by_datagram, chain));
}

TEST(datagrams)
{
    struct chain chain = new_chain(CHAIN_LENGTH / 4);
    CHECK_OK(weir_datagram_pair(chain.context, &chain.datagram, &chain.other));
    CHECK_OK(weir_datagram_send(chain.datagram, "x", 1, by_datagram, &chain));
    finish(&chain);
}

static void by_watch(int status, int events, void *user)
{
    struct chain *chain = user;
    CHECK_OK(status);
    CHECK(events != 0);
    if (!next(chain))
        return;
    CHECK_OK(weir_watch_start(chain->watch, WEIR_WATCH_READ, 0, WEIR_FOREVER, by_watch, chain));
    CHECK_OK(weir_watch_feed(chain->watch, WEIR_WATCH_READ));
}

TEST(watches_that_are_fed)
{
    struct chain chain = new_chain(CHAIN_LENGTH / 4);
    CHECK_OK(weir_watch_create(chain.context, -1, &chain.watch));
    CHECK_OK(weir_watch_start(chain.watch, WEIR_WATCH_READ, 0, WEIR_FOREVER, by_watch, &chain));
    CHECK_OK(weir_watch_feed(chain.watch, WEIR_WATCH_READ));
    finish(&chain);
}

/* ---- ends inside of ends */

enum { NESTED = 12, PENDING = 20000 };

static weir_context *nested[NESTED];
static atomic_int ended_in_nest;

static void end_next(int status, void *user)
{
    size_t number = (size_t)user;
    CHECK_CODE(status, WEIR_ECANCELED);
    if (number < NESTED) {
        CHECK_OK(weir_context_destroy(nested[number]));
        atomic_fetch_add(&ended_in_nest, 1);
    }
}

static struct counter ignored;

static void *end_all(void *user)
{
    (void)user;
    CHECK_OK(weir_context_destroy(nested[0]));
    return NULL;
}

TEST(contexts_that_end_inside_of_the_ends_of_others)
{
    for (size_t i = 0; i < NESTED; i++) {
        nested[i] = new_context();
        CHECK_OK(weir_context_post(nested[i], end_next, (void *)(i + 1)));
        for (size_t n = 0; n < many(PENDING); n++)
            CHECK_OK(weir_context_post(nested[i], count_call, &ignored));
    }
    on_tiny_stack(end_all, NULL);
    CHECK_EQ(ended_in_nest, NESTED - 1);
    CHECK_EQ(atomic_load(&ignored.calls), NESTED * many(PENDING));
}

static weir_context *victim;

/* Each runs the next context; the innermost ends one that has much to deliver, and can not end those around it. */
static void go_deeper(int status, void *user)
{
    size_t number = (size_t)user;
    CHECK_OK(status);
    if (number < NESTED) {
        CHECK_OK(weir_context_post(nested[number], go_deeper, (void *)(number + 1)));
        CHECK_OK(weir_context_run(nested[number], NULL));
        return;
    }
    CHECK_OK(weir_context_destroy(victim));
    for (size_t i = 0; i < NESTED; i++)
        CHECK_CODE(weir_context_destroy(nested[i]), WEIR_EBUSY);
}

static void *run_nested(void *user)
{
    (void)user;
    CHECK_OK(weir_context_post(nested[0], go_deeper, (void *)1));
    CHECK_OK(weir_context_run(nested[0], NULL));
    return NULL;
}

TEST(a_context_that_ends_deep_inside_of_nested_runs)
{
    for (size_t i = 0; i < NESTED; i++)
        nested[i] = new_context();
    victim = new_context();
    for (size_t i = 0; i < many(10 * PENDING); i++)
        CHECK_OK(weir_context_post(victim, count_call, &ignored));
    on_tiny_stack(run_nested, NULL);
    CHECK_EQ(atomic_load(&ignored.calls), many(10 * PENDING));
    for (size_t i = 0; i < NESTED; i++)
        CHECK_OK(weir_context_destroy(nested[i]));
}

TEST_MAIN()
