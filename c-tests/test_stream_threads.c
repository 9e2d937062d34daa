/* Streams under several threads, and streams that are always ready. The sanitizers run these too. */
#include "net.h"

enum { PAIRS = 64 };

struct slot {
    weir_stream *_Atomic stream;
    int peer;
    struct counter reading, writing;
    char in[64], out[64];
};

struct round {
    weir_context *context;
    struct slot slots[PAIRS];
    atomic_bool go;
    bool releasing;
};

static void *run_context(void *user)
{
    CHECK_OK(weir_context_run(user, NULL));
    return NULL;
}

static void *send_to_all(void *user)
{
    struct round *round = user;
    WAIT_FOR(atomic_load(&round->go));
    for (int i = 0; i < PAIRS; i++) {
        send(round->slots[i].peer, "abcdef", 6, MSG_NOSIGNAL);
        if (i % 3 == 0)
            shutdown(round->slots[i].peer, SHUT_RDWR);
    }
    return NULL;
}

static void *end_all(void *user)
{
    struct round *round = user;
    WAIT_FOR(atomic_load(&round->go));
    for (int i = 0; i < PAIRS; i++) {
        weir_stream *stream = atomic_load(&round->slots[i].stream);
        int fd = -1;
        if (round->releasing && i % 2 == 0) {
            CHECK_OK(weir_stream_release(stream, &fd));
            close(fd);
        }
        CHECK_OK(weir_stream_close(stream));
    }
    return NULL;
}

/* H09, H10: sockets are closed by a second thread while their events arrive in the reactor's. */
TEST(h09_h10_close_from_a_second_thread_while_events_arrive_stress)
{
    struct round *round = calloc(1, sizeof *round);
    CHECK(round != NULL);
    round->context = new_context_with(0, 2);
    CHECK_OK(weir_context_work_begin(round->context));
    pthread_t runners[2] = {start_thread(run_context, round->context), start_thread(run_context, round->context)};
    for (size_t turn = 0; turn < many(300); turn++) {
        int begun = 0;
        round->releasing = turn % 2 == 0;
        atomic_store(&round->go, false);
        pthread_t sender = start_thread(send_to_all, round), ender = start_thread(end_all, round);
        for (int i = 0; i < PAIRS; i++) {
            struct slot *slot = &round->slots[i];
            struct pair pair = new_pair(round->context, i % 8 == 0 ? AF_INET : AF_UNIX);
            memset(&slot->reading, 0, sizeof slot->reading);
            memset(&slot->writing, 0, sizeof slot->writing);
            slot->peer = pair.peer;
            atomic_store(&slot->stream, pair.stream);
            CHECK_OK(weir_stream_read(pair.stream, slot->in, 64, io_done, &slot->reading));
            begun++;
            if (i % 4 == 0) {
                CHECK_OK(weir_stream_wait(pair.stream, WEIR_WAIT_WRITE, done, &slot->writing));
                begun++;
            }
        }
        atomic_store(&round->go, true);
        join_thread(sender);
        join_thread(ender);
        for (int i = 0; i < PAIRS; i++) {
            struct slot *slot = &round->slots[i];
            WAIT_FOR(slot->reading.calls == 1 && slot->writing.calls == (i % 4 == 0 ? 1 : 0));
            int status = slot->reading.status;
            CHECK(status == WEIR_ECANCELED || status == WEIR_EOF);
            CHECK(slot->reading.bytes <= 6);
            close(slot->peer);
        }
    }
    CHECK_OK(weir_context_work_end(round->context));
    join_thread(runners[0]);
    join_thread(runners[1]);
    for (int i = 0; i < PAIRS; i++)
        CHECK_EQ(round->slots[i].reading.calls, 1);
    CHECK_OK(weir_context_destroy(round->context));
    free(round);
}

/* ---- the same stream from all sides */

struct shared {
    weir_stream *stream;
    atomic_long begun, completed;
    atomic_bool stop;
    int peer;
};

static void shared_done(int status, size_t bytes, void *user)
{
    struct shared *shared = user;
    CHECK(status == 0 || status == WEIR_ECANCELED);
    CHECK(bytes <= 16);
    atomic_fetch_add(&shared->completed, 1);
}

static void *use_shared(void *user)
{
    struct shared *shared = user;
    static _Thread_local char data[16];
    char now[16];
    for (size_t i = 0; i < many(20000); i++) {
        size_t bytes = 0;
        int code = 0;
        /* Buffers of operations are per thread; they are idle when the next one of this thread begins, since a
         * direction has one operation at a time, and this thread's has completed or been cancelled by then. */
        switch (i % 5) {
        case 0:
            code = weir_stream_read_some(shared->stream, data, 8, shared_done, shared);
            break;
        case 1:
            code = weir_stream_write_some(shared->stream, "y", 1, shared_done, shared);
            break;
        case 2:
            CHECK_OK(weir_stream_cancel(shared->stream, NULL));
            continue;
        case 3:
            code = weir_stream_try_read(shared->stream, now, 8, &bytes);
            CHECK(code == 0 || code == WEIR_EBUSY);
            continue;
        default:
            send(shared->peer, "z", 1, MSG_NOSIGNAL | MSG_DONTWAIT);
            continue;
        }
        CHECK(code == 0 || code == WEIR_EBUSY);
        if (code == 0)
            atomic_fetch_add(&shared->begun, 1);
    }
    return NULL;
}

static void *drain_shared(void *user)
{
    struct shared *shared = user;
    char data[4096];
    while (recv(shared->peer, data, sizeof data, 0) > 0) {
    }
    return NULL;
}

TEST(one_stream_used_by_many_threads_stress)
{
    weir_context *context = new_context_with(0, 2);
    struct pair pair = new_pair(context, AF_UNIX);
    struct shared shared = {.stream = pair.stream, .peer = pair.peer};
    CHECK_OK(weir_context_work_begin(context));
    pthread_t runners[2] = {start_thread(run_context, context), start_thread(run_context, context)};
    pthread_t users[3], drainer = start_thread(drain_shared, &shared);
    for (int i = 0; i < 3; i++)
        users[i] = start_thread(use_shared, &shared);
    for (int i = 0; i < 3; i++)
        join_thread(users[i]);
    CHECK_OK(weir_stream_close(pair.stream));
    CHECK_OK(weir_context_work_end(context));
    join_thread(runners[0]);
    join_thread(runners[1]);
    join_thread(drainer);
    CHECK(shared.begun > 0);
    CHECK_EQ(shared.begun, shared.completed);
    close(pair.peer);
    CHECK_OK(weir_context_destroy(context));
}

/* ---- destroyed while it runs */

/* The context may be gone before this thread gets there. */
static void *run_if_alive(void *user)
{
    int code = weir_context_run(user, NULL);
    CHECK(code == 0 || code == WEIR_EBADF || code == WEIR_ESHUTDOWN);
    return NULL;
}

TEST(destroy_beside_a_running_thread_ends_all_streams_stress)
{
    for (size_t turn = 0; turn < many(100); turn++) {
        weir_context *context = new_context_with(0, 2);
        struct slot *slots = calloc(PAIRS, sizeof *slots);
        CHECK(slots != NULL);
        CHECK_OK(weir_context_work_begin(context));
        pthread_t runners[2] = {start_thread(run_if_alive, context), start_thread(run_if_alive, context)};
        for (int i = 0; i < PAIRS; i++) {
            struct pair pair = new_pair(context, AF_UNIX);
            slots[i].peer = pair.peer;
            CHECK_OK(weir_stream_read(pair.stream, slots[i].in, 8, io_done, &slots[i].reading));
            if (i % 2 == 0)
                send_all(pair.peer, "abcdefgh", i % 4 == 0 ? 8 : 4);
        }
        CHECK_OK(weir_context_destroy(context));
        for (int i = 0; i < PAIRS; i++) {
            CHECK_EQ(slots[i].reading.calls, 1);
            int status = slots[i].reading.status;
            CHECK(status == 0 || status == WEIR_ECANCELED);
            CHECK_EQ(status == 0, slots[i].reading.bytes == 8);
            char before[64];
            memcpy(before, slots[i].in, 64);
            send(slots[i].peer, "late", 4, MSG_NOSIGNAL);
            CHECK(memcmp(before, slots[i].in, 64) == 0);
            close(slots[i].peer);
        }
        join_thread(runners[0]);
        join_thread(runners[1]);
        free(slots);
    }
}

/* ---- many connections echo on several threads */

struct line {
    weir_stream *stream;
    size_t rounds;
    atomic_int *open;
    char data[32];
};

static void line_written(int status, size_t bytes, void *user);

static void line_read(int status, size_t bytes, void *user)
{
    struct line *line = user;
    CHECK(!net_starting);
    if (status == WEIR_EOF) {
        CHECK_OK(weir_stream_close(line->stream));
        atomic_fetch_sub(line->open, 1);
        return;
    }
    CHECK_OK(status);
    START(weir_stream_write(line->stream, line->data, bytes, line_written, line));
}

static void line_written(int status, size_t bytes, void *user)
{
    struct line *line = user;
    (void)bytes;
    CHECK(!net_starting);
    CHECK_OK(status);
    START(weir_stream_read_some(line->stream, line->data, sizeof line->data, line_read, line));
}

static void caller_read(int status, size_t bytes, void *user);

static void caller_written(int status, size_t bytes, void *user)
{
    struct line *line = user;
    (void)bytes;
    CHECK(!net_starting);
    CHECK_OK(status);
    START(weir_stream_read(line->stream, line->data, sizeof line->data, caller_read, line));
}

static void caller_read(int status, size_t bytes, void *user)
{
    struct line *line = user;
    CHECK(!net_starting);
    CHECK_OK(status);
    CHECK_EQ(bytes, sizeof line->data);
    for (size_t i = 0; i < sizeof line->data; i++)
        CHECK_EQ((unsigned char)line->data[i], (line->rounds + i) & 0xFF);
    if (--line->rounds == 0) {
        CHECK_OK(weir_stream_close(line->stream));
        atomic_fetch_sub(line->open, 1);
        return;
    }
    for (size_t i = 0; i < sizeof line->data; i++)
        line->data[i] = (char)(line->rounds + i);
    START(weir_stream_write(line->stream, line->data, sizeof line->data, caller_written, line));
}

TEST(many_connections_echo_on_several_threads)
{
    enum { LINES = 50 };
    weir_context *context = new_context_with(0, 3);
    struct line *lines = calloc(2 * LINES, sizeof *lines);
    atomic_int open = 2 * LINES;
    pthread_t threads[3];
    CHECK(lines != NULL);
    for (int i = 0; i < LINES; i++) {
        int ends[2];
        plain_pair(i % 2 ? AF_INET : AF_UNIX, ends);
        for (int end = 0; end < 2; end++) {
            lines[2 * i + end].stream = adopted(context, ends[end]);
            lines[2 * i + end].open = &open;
        }
        struct line *caller = &lines[2 * i], *server = &lines[2 * i + 1];
        caller->rounds = many(1000);
        for (size_t at = 0; at < sizeof caller->data; at++)
            caller->data[at] = (char)(caller->rounds + at);
        START(weir_stream_read_some(server->stream, server->data, sizeof server->data, line_read, server));
        START(weir_stream_write(caller->stream, caller->data, sizeof caller->data, caller_written, caller));
    }
    for (int i = 0; i < 3; i++)
        threads[i] = start_thread(run_context, context);
    for (int i = 0; i < 3; i++)
        join_thread(threads[i]);
    CHECK_EQ(open, 0);
    free(lines);
    CHECK_OK(weir_context_destroy(context));
}

/* ---- H34: a stream that is always ready does not starve the others */

struct flood {
    weir_context *context;
    weir_stream *stream, *second;
    weir_timer *timer;
    int second_peer;
    char byte, second_byte;
    long calls;
    long asked, longest_stream, longest_timer;
    int answers, fires;
    bool waiting;
};

enum { FLOOD_ANSWERS = 100, FLOOD_EVERY = 500 };

static void second_answers(int status, size_t bytes, void *user)
{
    struct flood *flood = user;
    CHECK_OK(status);
    CHECK_EQ(bytes, 1);
    long waited = flood->calls - flood->asked;
    flood->answers++;
    flood->waiting = false;
    if (waited > flood->longest_stream)
        flood->longest_stream = waited;
}

static void timer_answers(int status, void *user)
{
    struct flood *flood = user;
    CHECK_OK(status);
    long waited = flood->calls - flood->asked;
    flood->fires++;
    if (waited > flood->longest_timer)
        flood->longest_timer = waited;
}

static void flood_reads(int status, size_t bytes, void *user)
{
    struct flood *flood = user;
    CHECK_OK(status);
    CHECK_EQ(bytes, 1);
    if (flood->answers == FLOOD_ANSWERS && flood->fires == FLOOD_ANSWERS) {
        CHECK_OK(weir_context_stop(flood->context));
        return;
    }
    flood->calls++;
    CHECK(flood->calls - flood->asked < 1000000); /* starved */
    if (!flood->waiting && flood->answers == flood->fires && flood->calls - flood->asked >= FLOOD_EVERY) {
        /* From here on the others are ready; this counts the reads until they are served. */
        flood->waiting = true;
        flood->asked = flood->calls;
        send_all(flood->second_peer, "x", 1);
        CHECK_OK(weir_timer_expires_after(flood->timer, 0));
        CHECK_OK(weir_timer_wait(flood->timer, timer_answers, flood));
        CHECK_OK(weir_stream_read_some(flood->second, &flood->second_byte, 1, second_answers, flood));
    }
    CHECK_OK(weir_stream_read_some(flood->stream, &flood->byte, 1, flood_reads, flood));
}

static void *flood_writer(void *user)
{
    static const char block[8192];
    int fd = *(int *)user;
    while (send(fd, block, sizeof block, MSG_NOSIGNAL) > 0) {
    }
    return NULL;
}

TEST(h34_a_flooding_stream_does_not_starve_a_timer_and_another_stream)
{
    static const int families[] = {AF_INET, AF_UNIX};
    for (int f = 0; f < 2; f++) {
        for (uint32_t flags = 0; flags <= WEIR_CONTEXT_NO_INLINE; flags += WEIR_CONTEXT_NO_INLINE) {
            weir_context *context = new_context_with(flags, 1);
            struct pair loud = new_pair(context, families[f]), quiet = new_pair(context, families[f]);
            struct flood flood = {.context = context, .stream = loud.stream, .second = quiet.stream};
            flood.second_peer = quiet.peer;
            flood.timer = new_timer(context);
            pthread_t writer = start_thread(flood_writer, &loud.peer);
            START(weir_stream_read_some(loud.stream, &flood.byte, 1, flood_reads, &flood));
            CHECK_OK(weir_context_run(context, NULL));
            CHECK_EQ(flood.answers, FLOOD_ANSWERS);
            CHECK_EQ(flood.fires, FLOOD_ANSWERS);
            /* A turn takes 128 events at most and runs what they start inline; this is many turns. */
            CHECK(flood.longest_stream <= 20000);
            CHECK(flood.longest_timer <= 20000);
            CHECK_OK(weir_stream_close(loud.stream));
            join_thread(writer);
            close(loud.peer);
            close_pair(&quiet);
            CHECK_OK(weir_context_destroy(context));
        }
    }
}

/* A large read whose data is all there yields to others: counted are the callbacks that run before it ends. */
struct large {
    weir_context *context;
    int others;
    bool complete;
};

static void run_beside(int status, void *user)
{
    struct large *large = user;
    if (status < 0)
        return; /* the last one, at destruction */
    large->others++;
    if (!large->complete)
        CHECK_OK(weir_context_post(large->context, run_beside, large));
}

static void large_read(int status, size_t bytes, void *user)
{
    struct large *large = user;
    (void)bytes;
    CHECK_OK(status);
    large->complete = true;
}

TEST(h34_a_large_read_lets_others_run_in_between)
{
    weir_context *context = new_context();
    struct pair pair = new_pair(context, AF_INET);
    struct large large = {.context = context};
    weir_stream *writer = adopted(context, pair.peer);
    int most = 4 * 1024 * 1024;
    /* As much as the system allows; it may be less. */
    CHECK(setsockopt(pair.fd, SOL_SOCKET, SO_RCVBUFFORCE, &most, sizeof most) == 0 || errno == EPERM);
    size_t filled = fill(writer);
    char *data = malloc(filled);
    CHECK(data != NULL);
    START(weir_stream_read(pair.stream, data, filled, large_read, &large));
    CHECK_OK(weir_context_post(context, run_beside, &large));
    RUN_UNTIL(context, large.complete);
    /* The share of one turn is a small part of this, and the first is taken when the read begins. */
    if (filled >= 8u * 1024 * 1024)
        CHECK(large.others >= 4);
    free(data);
    CHECK_OK(weir_context_destroy(context));
}

/* ---- H16: more threads in run do not make one connection dearer */

enum { BALL_ROUNDS = 3000 };
struct game {
    weir_context *context;
    weir_stream *ends[2];
    char bytes[2];
    int left;
};
struct player {
    struct game *game;
    int self;
};

static void ball_sent(int status, size_t bytes, void *user)
{
    (void)bytes;
    (void)user;
    CHECK(status == 0 || status == WEIR_ECANCELED);
}

static void ball_back(int status, size_t bytes, void *user)
{
    struct player *player = user;
    struct game *game = player->game;
    weir_stream *stream = game->ends[player->self];
    (void)bytes;
    if (status == WEIR_ECANCELED)
        return;
    CHECK_OK(status);
    if (player->self == 0 && --game->left == 0) {
        CHECK_OK(weir_context_stop(game->context));
        return;
    }
    CHECK_OK(weir_stream_send(stream, "x", 1, ball_sent, NULL));
    CHECK_OK(weir_stream_read_some(stream, &game->bytes[player->self], 1, ball_back, player));
}

static void *play(void *user)
{
    CHECK_OK(weir_context_run(user, NULL));
    return NULL;
}

TEST(h16_more_threads_make_one_connection_no_dearer)
{
    for (int threads = 1; threads <= 4; threads++) {
        struct game game = {.context = new_context_with(0, (uint32_t)threads), .left = (int)many(BALL_ROUNDS)};
        struct player players[2] = {{&game, 0}, {&game, 1}};
        weir_stats before = {.struct_size = sizeof before}, after = before;
        pthread_t run[4];
        uint64_t rounds = (uint64_t)game.left;
        CHECK_OK(weir_stream_pair(game.context, &game.ends[0], &game.ends[1]));
        for (int i = 0; i < 2; i++)
            CHECK_OK(weir_stream_read_some(game.ends[i], &game.bytes[i], 1, ball_back, &players[i]));
        CHECK_OK(weir_stream_send(game.ends[0], "x", 1, ball_sent, NULL));
        CHECK_OK(weir_context_stats(game.context, &before));
        for (int i = 0; i < threads; i++)
            run[i] = start_thread(play, game.context);
        for (int i = 0; i < threads; i++)
            join_thread(run[i]);
        CHECK_OK(weir_context_stats(game.context, &after));
        /* Four callbacks a round, whatever the number of threads: no turn that finds nothing, at most one thread
         * woken for each callback, and the reactor hardly ever interrupted. */
        uint64_t callbacks = after.callbacks - before.callbacks;
        CHECK(callbacks >= 4 * rounds - 8 && callbacks <= 4 * rounds + 8);
        CHECK(after.turns - before.turns <= 3 * rounds);
        CHECK(after.wakeups - before.wakeups <= callbacks + 8);
        CHECK(after.interrupts - before.interrupts <= rounds / 2);
        CHECK_OK(weir_context_destroy(game.context));
    }
}

TEST_MAIN()
