/* Handles: whatever a caller passes, a bad one gives WEIR_EBADF and changes nothing. */
#include "check.h"

#include <sys/socket.h>

enum { BUSY_THREADS = 3 };

/* Calls one function of each type with the token; all of them must refuse it. */
static void expect_dead(void *token)
{
    size_t count = 77;
    int64_t ns = 77;
    int fd = 77;
    weir_context *context = NULL;
    struct counter counter = {0};
    CHECK_CODE(weir_context_stopped(token), WEIR_EBADF);
    CHECK_CODE(weir_context_poll(token, &count), WEIR_EBADF);
    CHECK_CODE(weir_context_post(token, count_call, &counter), WEIR_EBADF);
    CHECK_CODE(weir_context_now(token, &ns), WEIR_EBADF);
    CHECK_CODE(weir_context_turn_now(token, &ns), WEIR_EBADF);
    CHECK_CODE(weir_timer_remaining(token, &ns), WEIR_EBADF);
    CHECK_CODE(weir_timer_wait(token, count_call, &counter), WEIR_EBADF);
    CHECK_CODE(weir_timer_context(token, &context), WEIR_EBADF);
    CHECK_CODE(weir_stream_fd(token, &fd), WEIR_EBADF);
    CHECK_CODE(weir_stream_cancel(token, &count), WEIR_EBADF);
    CHECK_CODE(weir_acceptor_fd(token, &fd), WEIR_EBADF);
    CHECK_CODE(weir_acceptor_cancel(token, &count), WEIR_EBADF);
    CHECK_EQ(count, 77);
    CHECK_EQ(ns, 77);
    CHECK_EQ(fd, 77);
    CHECK(context == NULL);
    CHECK_EQ(counter.calls, 0);
}

static void expect_dead_everywhere(void *token)
{
    expect_dead(token);
    CHECK_CODE(weir_context_destroy(token), WEIR_EBADF);
    CHECK_CODE(weir_timer_close(token), WEIR_EBADF);
    CHECK_CODE(weir_stream_close(token), WEIR_EBADF);
    CHECK_CODE(weir_acceptor_close(token), WEIR_EBADF);
}

struct set {
    weir_context *context;
    weir_timer *timer;
    weir_stream *stream;
    weir_acceptor *acceptor;
};

static struct set new_set(void)
{
    struct set set = {.context = new_context()};
    set.timer = new_timer(set.context);
    set.stream = new_stream(set.context);
    CHECK_OK(weir_acceptor_create(set.context, &set.acceptor));
    return set;
}

static bool is_in(const struct set *set, const void *token)
{
    return token == (void *)set->context || token == (void *)set->timer || token == (void *)set->stream ||
           token == (void *)set->acceptor;
}

/* The set works as before: nothing that was forged has reached it. */
static void expect_alive(const struct set *set)
{
    weir_context *of = NULL;
    size_t count = 0;
    struct counter counter = {0};
    CHECK_OK(weir_timer_context(set->timer, &of));
    CHECK(of == set->context);
    CHECK_OK(weir_stream_context(set->stream, &of));
    CHECK(of == set->context);
    CHECK_OK(weir_acceptor_context(set->acceptor, &of));
    CHECK(of == set->context);
    CHECK_OK(weir_timer_wait(set->timer, count_call, &counter));
    CHECK_OK(weir_context_restart(set->context));
    CHECK_OK(weir_context_run(set->context, &count));
    CHECK_EQ(count, 1);
    CHECK_EQ(counter.status, 0);
}

static uint64_t seed = 0x9E3779B97F4A7C15;

static uint64_t random_bits(void)
{
    seed ^= seed << 13;
    seed ^= seed >> 7;
    seed ^= seed << 17;
    return seed;
}

/* ---- forged */

TEST(null_and_small_integers_are_dead)
{
    struct set set = new_set();
    expect_dead_everywhere(NULL);
    for (uintptr_t i = 1; i < 70000; i++) {
        /* Tokens are not promised to be large; a live one is not forged. */
        if (!is_in(&set, (void *)i))
            expect_dead((void *)i);
    }
    expect_alive(&set);
    CHECK_OK(weir_context_destroy(set.context));
}

TEST(real_addresses_are_dead)
{
    struct set set = new_set();
    static int in_data;
    int on_stack;
    void *on_heap = malloc(64);
    expect_dead_everywhere(&in_data);
    expect_dead_everywhere(&on_stack);
    expect_dead_everywhere(on_heap);
    expect_dead_everywhere((void *)(uintptr_t)&expect_dead);
    expect_dead_everywhere((void *)(uintptr_t)&weir_context_run);
    expect_dead_everywhere(stdout);
    free(on_heap);
    expect_alive(&set);
    CHECK_OK(weir_context_destroy(set.context));
}

TEST(extreme_values_are_dead)
{
    struct set set = new_set();
    expect_dead_everywhere((void *)UINTPTR_MAX);
    expect_dead_everywhere((void *)(UINTPTR_MAX >> 1));
    for (int bit = 0; bit < 64; bit++) {
        expect_dead_everywhere((void *)(UINTPTR_MAX << bit));
        if (!is_in(&set, (void *)((uintptr_t)1 << bit)))
            expect_dead_everywhere((void *)((uintptr_t)1 << bit));
    }
    expect_alive(&set);
    CHECK_OK(weir_context_destroy(set.context));
}

TEST(random_bits_are_dead)
{
    struct set set = new_set();
    for (size_t i = 0; i < many(200000); i++) {
        void *token = (void *)(uintptr_t)random_bits();
        if (!is_in(&set, token))
            expect_dead(token);
    }
    expect_alive(&set);
    CHECK_OK(weir_context_destroy(set.context));
}

TEST(live_tokens_with_bits_flipped_are_dead)
{
    struct set set = new_set();
    void *live[] = {set.context, set.timer, set.stream, set.acceptor};
    for (int i = 0; i < 4; i++) {
        for (int one = 0; one < 64; one++) {
            for (int two = 0; two < 64; two++) {
                uintptr_t bits = (uintptr_t)live[i] ^ ((uintptr_t)1 << one);
                if (two != one)
                    bits ^= (uintptr_t)1 << two;
                if (!is_in(&set, (void *)bits))
                    expect_dead_everywhere((void *)bits);
            }
        }
    }
    expect_alive(&set);
    CHECK_OK(weir_context_destroy(set.context));
}

/* The index of a live one with a random generation or type, and the reverse, whichever half is which. */
TEST(halves_of_live_tokens_are_dead)
{
    struct set set = new_set();
    void *live[] = {set.context, set.timer, set.stream, set.acceptor};
    for (size_t i = 0; i < many(100000); i++) {
        int cut = 1 + (int)(random_bits() % 63);
        uint64_t mask = UINT64_MAX << cut, bits = (uint64_t)(uintptr_t)live[i % 4], noise = random_bits();
        void *low = (void *)(uintptr_t)((bits & ~mask) | (noise & mask));
        void *high = (void *)(uintptr_t)((bits & mask) | (noise & ~mask));
        if (!is_in(&set, low))
            expect_dead(low);
        if (!is_in(&set, high))
            expect_dead(high);
    }
    expect_alive(&set);
    CHECK_OK(weir_context_destroy(set.context));
}

TEST(tokens_of_other_types_are_dead)
{
    struct set set = new_set();
    void *live[] = {set.context, set.timer, set.stream, set.acceptor};
    int64_t ns;
    int fd;
    for (int i = 0; i < 4; i++) {
        if (i != 0) {
            CHECK_CODE(weir_context_stopped(live[i]), WEIR_EBADF);
            CHECK_CODE(weir_context_run(live[i], NULL), WEIR_EBADF);
            CHECK_CODE(weir_context_destroy(live[i]), WEIR_EBADF);
        }
        if (i != 1) {
            CHECK_CODE(weir_timer_remaining(live[i], &ns), WEIR_EBADF);
            CHECK_CODE(weir_timer_close(live[i]), WEIR_EBADF);
        }
        if (i != 2) {
            CHECK_CODE(weir_stream_fd(live[i], &fd), WEIR_EBADF);
            CHECK_CODE(weir_stream_close(live[i]), WEIR_EBADF);
        }
        if (i != 3) {
            CHECK_CODE(weir_acceptor_fd(live[i], &fd), WEIR_EBADF);
            CHECK_CODE(weir_acceptor_close(live[i]), WEIR_EBADF);
        }
    }
    expect_alive(&set);
    CHECK_OK(weir_context_destroy(set.context));
}

TEST(handles_are_unique)
{
    enum { HANDLES = 1000 };
    static uintptr_t seen[HANDLES * 3];
    size_t used = 0;
    weir_context *context = new_context();
    for (int i = 0; i < HANDLES; i++) {
        weir_acceptor *acceptor = NULL;
        CHECK_OK(weir_acceptor_create(context, &acceptor));
        seen[used++] = (uintptr_t)new_timer(context);
        seen[used++] = (uintptr_t)new_stream(context);
        seen[used++] = (uintptr_t)acceptor;
    }
    for (size_t i = 0; i < used; i += 7)
        for (size_t k = 0; k < used; k++)
            CHECK(i == k || seen[i] != seen[k]);
    CHECK_OK(weir_context_destroy(context));
}

/* ---- stale */

TEST(a_closed_handle_is_dead_and_closing_it_again_is_an_error)
{
    struct set set = new_set();
    CHECK_OK(weir_timer_close(set.timer));
    CHECK_OK(weir_stream_close(set.stream));
    CHECK_OK(weir_acceptor_close(set.acceptor));
    for (int i = 0; i < 3; i++) {
        CHECK_CODE(weir_timer_close(set.timer), WEIR_EBADF);
        CHECK_CODE(weir_stream_close(set.stream), WEIR_EBADF);
        CHECK_CODE(weir_acceptor_close(set.acceptor), WEIR_EBADF);
        expect_dead(set.timer);
        expect_dead(set.stream);
        expect_dead(set.acceptor);
    }
    CHECK_OK(weir_context_destroy(set.context));
    CHECK_CODE(weir_context_destroy(set.context), WEIR_EBADF);
    expect_dead_everywhere(set.context);
}

TEST(an_old_token_stays_dead_while_its_slot_is_reused)
{
    weir_context *context = new_context();
    weir_timer *old_timer = new_timer(context);
    weir_stream *old_stream = new_stream(context);
    CHECK_OK(weir_timer_close(old_timer));
    CHECK_OK(weir_stream_close(old_stream));
    for (size_t i = 0; i < many(100000); i++) {
        weir_timer *timer = new_timer(context);
        weir_stream *stream = new_stream(context);
        int64_t ns;
        int fd;
        CHECK(timer != old_timer);
        CHECK(stream != old_stream);
        CHECK_CODE(weir_timer_remaining(old_timer, &ns), WEIR_EBADF);
        CHECK_CODE(weir_stream_fd(old_stream, &fd), WEIR_EBADF);
        CHECK_CODE(weir_timer_close(old_timer), WEIR_EBADF);
        CHECK_CODE(weir_stream_close(old_stream), WEIR_EBADF);
        CHECK_OK(weir_timer_remaining(timer, &ns));
        CHECK_OK(weir_timer_close(timer));
        CHECK_OK(weir_stream_close(stream));
    }
    expect_dead_everywhere(old_timer);
    expect_dead_everywhere(old_stream);
    CHECK_OK(weir_context_destroy(context));
}

TEST(an_old_context_stays_dead_while_its_slot_is_reused)
{
    weir_context *old = new_context();
    CHECK_OK(weir_context_destroy(old));
    for (size_t i = 0; i < many(10000); i++) {
        weir_context *context = new_context();
        CHECK(context != old);
        CHECK_CODE(weir_context_stopped(old), WEIR_EBADF);
        CHECK_CODE(weir_context_destroy(old), WEIR_EBADF);
        CHECK_OK(weir_context_destroy(context));
    }
    expect_dead_everywhere(old);
}

/* ---- close on one thread, calls on others */

static _Atomic(weir_timer *) target;
static _Atomic(weir_stream *) stream_target;
static atomic_bool over;
static atomic_int waits_begun, waits_ended;
static struct counter ticks;

static void note_end(int status, void *user)
{
    (void)user;
    CHECK(status == 0 || status == WEIR_ECANCELED);
    atomic_fetch_add(&waits_ended, 1);
}

static void allow(int error)
{
    CHECK(error == 0 || error == WEIR_EBADF);
}

static void *call_the_target(void *user)
{
    unsigned state = (unsigned)(uintptr_t)user * 7919;
    while (!atomic_load(&over)) {
        weir_timer *timer = atomic_load(&target);
        int64_t ns;
        int error;
        state = state * 1103515245 + 12345;
        switch ((state >> 16) % 6) {
        case 0:
            error = weir_timer_wait(timer, note_end, NULL);
            allow(error);
            if (error == 0)
                atomic_fetch_add(&waits_begun, 1);
            break;
        case 1: allow(weir_timer_expires_after(timer, (int64_t)(state >> 20))); break;
        case 2: allow(weir_timer_cancel(timer, NULL)); break;
        case 3: allow(weir_timer_remaining(timer, &ns)); break;
        case 4:
            error = weir_timer_start(timer, 100, 100000, count_call, &ticks);
            CHECK(error == 0 || error == WEIR_EBADF || error == WEIR_EBUSY);
            break;
        default: allow(weir_timer_cancel_one(timer, NULL)); break;
        }
    }
    return NULL;
}

static void *run_it(void *user)
{
    CHECK_OK(weir_context_run(user, NULL));
    return NULL;
}

TEST(timers_are_closed_while_other_threads_use_them)
{
    weir_context *context = new_context();
    pthread_t call[BUSY_THREADS], run;
    CHECK_OK(weir_context_work_begin(context));
    atomic_store(&target, new_timer(context));
    run = start_thread(run_it, context);
    for (intptr_t i = 0; i < BUSY_THREADS; i++)
        call[i] = start_thread(call_the_target, (void *)(i + 1));
    for (size_t i = 0; i < many(30000); i++) {
        weir_timer *old = atomic_load(&target);
        weir_timer *next = new_timer(context);
        atomic_store(&target, next);
        if (i % 16 == 0)
            sched_yield();
        CHECK_OK(weir_timer_close(old));
        CHECK_CODE(weir_timer_close(old), WEIR_EBADF);
    }
    atomic_store(&over, true);
    for (int i = 0; i < BUSY_THREADS; i++)
        join_thread(call[i]);
    CHECK_OK(weir_timer_close(atomic_load(&target)));
    CHECK_OK(weir_context_work_end(context));
    join_thread(run);
    CHECK_EQ(atomic_load(&waits_begun), atomic_load(&waits_ended));
    CHECK_OK(weir_context_destroy(context));
    CHECK_EQ(atomic_load(&waits_begun), atomic_load(&waits_ended));
}

static void note_io_end(int status, size_t bytes, void *user)
{
    (void)status; /* the peer goes away at any moment */
    (void)bytes;
    (void)user;
    atomic_fetch_add(&waits_ended, 1);
}

static void *call_the_stream(void *user)
{
    unsigned state = (unsigned)(uintptr_t)user * 7919;
    static _Thread_local char sink[16];
    while (!atomic_load(&over)) {
        weir_stream *stream = atomic_load(&stream_target);
        size_t bytes;
        int error, fd;
        state = state * 1103515245 + 12345;
        switch ((state >> 16) % 6) {
        case 0:
            error = weir_stream_read_some(stream, sink, 0, note_io_end, NULL);
            if (error == 0)
                atomic_fetch_add(&waits_begun, 1);
            break;
        case 1:
            error = weir_stream_wait(stream, WEIR_WAIT_READ, note_end, NULL);
            if (error == 0)
                atomic_fetch_add(&waits_begun, 1);
            break;
        case 2:
            error = weir_stream_write_some(stream, "abc", 3, note_io_end, NULL);
            if (error == 0)
                atomic_fetch_add(&waits_begun, 1);
            break;
        case 3: error = weir_stream_cancel(stream, NULL); break;
        case 4: error = weir_stream_try_read(stream, sink, sizeof sink, &bytes); break;
        default: error = weir_stream_fd(stream, &fd); break;
        }
        /* Busy, not connected yet, the peer gone, or closed: all are errors, none is a crash. */
        CHECK(error == 0 || error == WEIR_EBADF || error == WEIR_EBUSY || error == WEIR_ENOTCONN ||
              error == WEIR_EOF || error == -EPIPE || error == -ECONNRESET);
    }
    return NULL;
}

TEST(h09_streams_are_closed_while_other_threads_use_them)
{
    weir_context *context = new_context();
    pthread_t call[BUSY_THREADS], run;
    CHECK_OK(weir_context_work_begin(context));
    atomic_store(&stream_target, new_stream(context));
    run = start_thread(run_it, context);
    for (intptr_t i = 0; i < BUSY_THREADS; i++)
        call[i] = start_thread(call_the_stream, (void *)(i + 1));
    for (size_t i = 0; i < many(20000); i++) {
        int pair[2];
        weir_stream *old = atomic_load(&stream_target);
        weir_stream *next = new_stream(context);
        CHECK_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair), 0);
        CHECK_OK(weir_stream_adopt(next, pair[0]));
        CHECK_EQ(write(pair[1], "hello", 5), 5);
        atomic_store(&stream_target, next);
        CHECK_OK(weir_stream_close(old));
        CHECK_CODE(weir_stream_close(old), WEIR_EBADF);
        close(pair[1]);
    }
    atomic_store(&over, true);
    for (int i = 0; i < BUSY_THREADS; i++)
        join_thread(call[i]);
    CHECK_OK(weir_stream_close(atomic_load(&stream_target)));
    CHECK_OK(weir_context_work_end(context));
    join_thread(run);
    CHECK_EQ(atomic_load(&waits_begun), atomic_load(&waits_ended));
    CHECK_OK(weir_context_destroy(context));
}

/* Of several threads that close one handle exactly one succeeds. */
static atomic_int closed;

static void *close_the_target(void *user)
{
    (void)user;
    weir_timer *last = NULL;
    while (!atomic_load(&over)) {
        weir_timer *timer = atomic_load(&target);
        if (timer == last) {
            sched_yield();
            continue;
        }
        last = timer;
        int error = weir_timer_close(timer);
        allow(error);
        if (error == 0)
            atomic_fetch_add(&closed, 1);
    }
    return NULL;
}

TEST(of_several_closes_of_one_handle_exactly_one_succeeds)
{
    weir_context *context = new_context();
    pthread_t threads[BUSY_THREADS];
    for (intptr_t i = 0; i < BUSY_THREADS; i++)
        threads[i] = start_thread(close_the_target, NULL);
    for (int i = 1; i <= (int)many(20000); i++) {
        atomic_store(&target, new_timer(context));
        while (atomic_load(&closed) < i)
            sched_yield();
        CHECK_EQ(atomic_load(&closed), i);
    }
    atomic_store(&over, true);
    for (int i = 0; i < BUSY_THREADS; i++)
        join_thread(threads[i]);
    CHECK_EQ(atomic_load(&closed), many(20000));
    CHECK_OK(weir_context_destroy(context));
}

/* Contexts come and go while other threads keep calling them. */
static _Atomic(weir_context *) context_target;

static void *call_the_context(void *user)
{
    (void)user;
    while (!atomic_load(&over)) {
        weir_context *context = atomic_load(&context_target);
        weir_timer *timer = NULL;
        int error = weir_context_post(context, note_end, NULL);
        if (error == 0)
            atomic_fetch_add(&waits_begun, 1);
        CHECK(error == 0 || error == WEIR_EBADF || error == WEIR_ESHUTDOWN);
        error = weir_timer_create(context, &timer);
        CHECK(error == 0 || error == WEIR_EBADF || error == WEIR_ESHUTDOWN);
        error = weir_context_poll(context, NULL);
        CHECK(error == 0 || error == WEIR_EBADF || error == WEIR_ESHUTDOWN);
        allow(weir_context_stop(context));
        sched_yield(); /* or these threads keep the one that destroys from running */
    }
    return NULL;
}

TEST(contexts_are_destroyed_while_other_threads_use_them)
{
    pthread_t threads[BUSY_THREADS];
    atomic_store(&context_target, new_context());
    for (intptr_t i = 0; i < BUSY_THREADS; i++)
        threads[i] = start_thread(call_the_context, NULL);
    for (size_t i = 0; i < many(2000); i++) {
        weir_context *old = atomic_load(&context_target);
        atomic_store(&context_target, new_context());
        sched_yield();
        CHECK_OK(weir_context_destroy(old));
        CHECK_CODE(weir_context_destroy(old), WEIR_EBADF);
    }
    atomic_store(&over, true);
    for (int i = 0; i < BUSY_THREADS; i++)
        join_thread(threads[i]);
    CHECK_OK(weir_context_destroy(atomic_load(&context_target)));
    CHECK_EQ(atomic_load(&waits_begun), atomic_load(&waits_ended));
}

TEST_MAIN()
