/* Connecting to the first of several addresses that answers. The clock is manual, so that attempts begin and end when
 * a case says so. */
#include "net.h"

#define STAGGER (250 * CHECK_MS)

static weir_context *manual_context(void)
{
    return new_context_with(WEIR_CONTEXT_MANUAL_CLOCK, 0);
}

/* A listener that answers nobody: its queue is full. */
struct mute {
    struct where where;
    int listener, waiting[64], used;
};

static struct mute new_mute(int family)
{
    struct mute mute = {.used = 0};
    mute.listener = plain_listener(family, 0, &mute.where);
    for (; mute.used < 64; mute.used++) {
        int fd = socket(family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        CHECK(fd >= 0);
        mute.waiting[mute.used] = fd;
        connect(fd, AT(&mute.where));
        struct pollfd asked = {fd, POLLOUT, 0};
        if (poll(&asked, 1, 100) == 0)
            break;
    }
    CHECK(mute.used < 64);
    return mute;
}

static void end_mute(struct mute *mute)
{
    for (int i = 0; i <= mute->used; i++)
        close(mute->waiting[i]);
    close(mute->listener);
}

/* An address at which nobody listens. */
static struct where refusing(int family)
{
    struct where where;
    close(plain_listener(family, 1, &where));
    return where;
}

static int connect_list(weir_stream *stream, const struct where *list, size_t count,
                        const weir_connect_options *options, weir_callback callback, void *user)
{
    const struct sockaddr *addresses[WEIR_CONNECT_LIST_MAX];
    socklen_t lengths[WEIR_CONNECT_LIST_MAX];
    CHECK(count <= WEIR_CONNECT_LIST_MAX);
    for (size_t i = 0; i < count; i++) {
        addresses[i] = (const struct sockaddr *)&list[i].address;
        lengths[i] = list[i].length;
    }
    return weir_stream_connect_list(stream, addresses, lengths, count, options, callback, user);
}

static void advance(weir_context *context, int64_t by)
{
    CHECK_OK(weir_context_advance(context, by));
    settle(context);
}

static void check_peer(weir_stream *stream, const struct where *want)
{
    struct where where;
    memset(&where, 0, sizeof where);
    CHECK_OK(weir_stream_remote_address(stream, &where.address, &where.length));
    CHECK(same_place(want, (struct sockaddr *)&where.address, where.length));
}

TEST(the_first_address_that_answers_is_the_peer)
{
    static const int families[] = {AF_INET, AF_UNIX};
    weir_context *context = manual_context();
    int before = count_fds();
    for (int f = 0; f < 2; f++) {
        struct where list[4];
        int listener = plain_listener(families[f], 8, &list[2]);
        list[0] = list[1] = refusing(AF_INET); /* their failures do not wait for the stagger */
        list[3] = list[2];
        weir_stream *stream = new_stream(context);
        struct counter counter = {0}, wrote = {0};
        START(connect_list(stream, list, 4, NULL, done, &counter));
        CHECK_EQ(counter.calls, 0);
        RUN_CALLS(context, counter, 1);
        settle(context);
        CHECK_DONE(counter, 0, 0);
        check_peer(stream, &list[2]);
        int peer = plain_accept(listener);
        START(weir_stream_write(stream, "hello", 5, io_done, &wrote));
        RUN_CALLS(context, wrote, 1);
        char data[5];
        receive_all(peer, data, 5);
        CHECK(memcmp(data, "hello", 5) == 0);
        START_CODE(connect_list(stream, list, 4, NULL, done, &counter), WEIR_EBUSY);
        CHECK_OK(weir_stream_close(stream));
        close(peer);
        close(listener);
    }
    settle(context);
    CHECK_EQ(count_fds(), before);
    CHECK_OK(weir_context_destroy(context));
}

TEST(an_address_without_an_answer_is_left_behind_after_the_stagger)
{
    weir_context *context = manual_context();
    struct mute mute = new_mute(AF_INET);
    struct where list[3] = {mute.where, mute.where};
    int listener = plain_listener(AF_INET, 8, &list[2]), before = count_fds();
    for (int custom = 0; custom < 2; custom++) {
        weir_connect_options options = {.struct_size = sizeof options, .stagger_ns = custom ? CHECK_SECOND : 0};
        int64_t stagger = custom ? CHECK_SECOND : STAGGER;
        weir_stream *stream = new_stream(context);
        struct counter counter = {0};
        START(connect_list(stream, list, 3, &options, done, &counter));
        settle(context);
        CHECK_EQ(count_fds(), before + 1);
        advance(context, stagger - 1);
        CHECK_EQ(count_fds(), before + 1);
        advance(context, 1);
        CHECK_EQ(count_fds(), before + 2);
        CHECK_EQ(counter.calls, 0);
        advance(context, stagger);
        RUN_CALLS(context, counter, 1);
        CHECK_DONE(counter, 0, 0);
        check_peer(stream, &list[2]);
        CHECK_EQ(count_fds(), before + 1); /* the losers are closed */
        advance(context, 10 * stagger);
        CHECK_EQ(counter.calls, 1);
        CHECK_OK(weir_stream_close(stream));
        close(plain_accept(listener));
    }
    close(listener);
    end_mute(&mute);
    CHECK_OK(weir_context_destroy(context));
}

/* H20: none of them succeeds before its peer has answered; the first that does is taken, whichever it is. */
TEST(h20_an_earlier_attempt_may_still_win)
{
    weir_context *context = manual_context();
    struct mute first = new_mute(AF_INET), second = new_mute(AF_INET);
    struct where list[2] = {first.where, second.where};
    weir_stream *stream = new_stream(context);
    struct counter counter = {0};
    START(connect_list(stream, list, 2, NULL, done, &counter));
    settle(context);
    advance(context, STAGGER);
    settle(context);
    CHECK_EQ(counter.calls, 0);
    /* Room in the first one's queue; the kernel tries again by itself within seconds. */
    for (int i = 0; i <= first.used; i++)
        close(first.waiting[i]);
    for (int i = 0; i < first.used; i++)
        close(plain_accept(first.listener));
    RUN_CALLS(context, counter, 1);
    CHECK_DONE(counter, 0, 0);
    check_peer(stream, &list[0]);
    close(first.listener);
    end_mute(&second);
    CHECK_OK(weir_context_destroy(context));
}

/* The clock stands still after the failure: its successor does not wait for the stagger, though another is under way. */
TEST(the_successor_of_a_failure_begins_at_once)
{
    weir_context *context = manual_context();
    struct mute first = new_mute(AF_INET), second = new_mute(AF_INET);
    struct where list[3] = {first.where, second.where};
    int listener = plain_listener(AF_INET, 8, &list[2]);
    weir_stream *stream = new_stream(context);
    struct counter counter = {0};
    START(connect_list(stream, list, 3, NULL, done, &counter));
    settle(context);
    advance(context, STAGGER);
    CHECK_EQ(counter.calls, 0);
    end_mute(&second); /* refuses when the kernel asks it again, within seconds */
    RUN_CALLS(context, counter, 1);
    CHECK_DONE(counter, 0, 0);
    check_peer(stream, &list[2]);
    close(listener);
    end_mute(&first);
    CHECK_OK(weir_context_destroy(context));
}

static struct where next_list[3];
static struct counter next_counter;
static int next_begun;

static void begin_next(int status, void *user)
{
    CHECK_CODE(status, -ECONNREFUSED);
    START(connect_list(user, next_list, 3, NULL, done, &next_counter));
    next_begun++;
}

/* What is left of the first one in the queue of the context does nothing to the second. */
TEST(the_next_list_may_begin_in_the_callback_of_the_last)
{
    weir_context *context = manual_context();
    struct mute first = new_mute(AF_INET), second = new_mute(AF_INET);
    next_list[0] = next_list[1] = second.where;
    int listener = plain_listener(AF_INET, 8, &next_list[2]);
    weir_stream *stream = new_stream(context);
    START(connect_list(stream, &first.where, 1, NULL, begin_next, stream));
    settle(context);
    end_mute(&first);
    RUN_UNTIL(context, next_begun == 1);
    for (int i = 0; i < 2; i++) {
        settle(context);
        CHECK_EQ(next_counter.calls, 0);
        advance(context, STAGGER);
    }
    RUN_CALLS(context, next_counter, 1);
    settle(context);
    CHECK_DONE(next_counter, 0, 0);
    check_peer(stream, &next_list[2]);
    close(listener);
    end_mute(&second);
    CHECK_OK(weir_context_destroy(context));
}

TEST(when_all_have_failed_the_last_error_is_told)
{
    weir_context *context = manual_context();
    struct mute mute = new_mute(AF_INET);
    struct where list[2] = {mute.where, refusing(AF_INET)};
    int before = count_fds();
    weir_stream *stream = new_stream(context);
    weir_connect_options options = {sizeof options, 0, CHECK_SECOND};
    struct counter counter = {0}, again = {0}, last = {0};
    int fd;
    START(connect_list(stream, list + 1, 1, NULL, done, &counter));
    RUN_CALLS(context, counter, 1);
    CHECK_DONE(counter, -ECONNREFUSED, 0);
    CHECK_CODE(weir_stream_fd(stream, &fd), WEIR_ENOTCONN);
    /* The second one refuses at once, the first one is given up by its limit. */
    START(connect_list(stream, list, 2, &options, done, &again));
    settle(context);
    advance(context, STAGGER);
    advance(context, CHECK_SECOND - STAGGER - 1);
    CHECK_EQ(again.calls, 0);
    advance(context, 1);
    RUN_CALLS(context, again, 1);
    CHECK_DONE(again, WEIR_ETIMEDOUT, 0);
    /* And the limit of the stream holds for the whole. */
    CHECK_OK(weir_stream_set_timeout(stream, WEIR_WAIT_WRITE, 100 * CHECK_MS));
    START(connect_list(stream, list, 2, &options, done, &last));
    settle(context);
    advance(context, 100 * CHECK_MS);
    RUN_CALLS(context, last, 1);
    CHECK_DONE(last, WEIR_ETIMEDOUT, 0);
    CHECK_EQ(count_fds(), before);
    end_mute(&mute);
    CHECK_OK(weir_context_destroy(context));
}

TEST(h26_only_one_and_nothing_gives_the_stream_another_fd)
{
    weir_context *context = manual_context();
    struct mute mute = new_mute(AF_INET);
    weir_stream *stream = new_stream(context);
    struct counter counter = {0};
    size_t pending = 0;
    char byte;
    int ends[2], fd;
    plain_pair(AF_UNIX, ends);
    START(connect_list(stream, &mute.where, 1, NULL, done, &counter));
    CHECK_OK(weir_handle_pending(stream, &pending));
    CHECK_EQ(pending, 1);
    START_CODE(connect_list(stream, &mute.where, 1, NULL, done, &counter), WEIR_EBUSY);
    START_CODE(weir_stream_connect(stream, AT(&mute.where), done, &counter), WEIR_EBUSY);
    CHECK_CODE(weir_stream_open(stream, AF_INET), WEIR_EBUSY);
    CHECK_CODE(weir_stream_adopt(stream, ends[0]), WEIR_EBUSY);
    CHECK_CODE(weir_stream_release(stream, &fd), WEIR_ENOTCONN);
    START_CODE(weir_stream_read(stream, &byte, 1, io_done, &counter), WEIR_ENOTCONN);
    START_CODE(weir_stream_write(stream, &byte, 1, io_done, &counter), WEIR_ENOTCONN);
    START_CODE(weir_stream_send(stream, &byte, 1, io_done, &counter), WEIR_ENOTCONN);
    CHECK_OK(weir_stream_close(stream));
    CHECK_CODE(weir_stream_close(stream), WEIR_EBADF);
    RUN_CALLS(context, counter, 1);
    CHECK_DONE(counter, WEIR_ECANCELED, 0);
    close(ends[0]);
    close(ends[1]);
    end_mute(&mute);
    CHECK_OK(weir_context_destroy(context));
}

static weir_stream *closed_here;

static void close_in_callback(int status, void *user)
{
    CHECK_OK(weir_stream_close(closed_here));
    done(status, user);
}

TEST(every_end_closes_every_attempt)
{
    struct mute mute = new_mute(AF_INET);
    struct where list[4] = {mute.where, mute.where, mute.where, mute.where};
    int before = count_fds();
    for (int how = 0; how < 4; how++) {
        weir_context *context = manual_context();
        int inside = count_fds();
        weir_stream *stream = new_stream(context);
        struct counter counter = {0}, second = {0};
        size_t count = 0;
        closed_here = stream;
        START(connect_list(stream, list, 4, NULL, how == 3 ? close_in_callback : done, &counter));
        advance(context, STAGGER);
        CHECK_EQ(count_fds(), inside + 2);
        if (how == 0 || how == 3) {
            CHECK_OK(weir_stream_cancel(stream, &count));
            CHECK_EQ(count, 1);
            CHECK_EQ(count_fds(), inside);
            CHECK_OK(weir_stream_cancel(stream, &count));
            CHECK_EQ(count, 0);
        } else if (how == 1) {
            CHECK_OK(weir_stream_close(stream));
            CHECK_EQ(count_fds(), inside);
        }
        if (how != 2) {
            RUN_CALLS(context, counter, 1);
            advance(context, 10 * STAGGER);
        }
        if (how == 0) {
            /* The next one has a race of its own. */
            START(connect_list(stream, list, 4, NULL, done, &second));
            advance(context, STAGGER);
            CHECK_EQ(count_fds(), inside + 2);
        }
        CHECK_OK(weir_context_destroy(context));
        CHECK_DONE(counter, WEIR_ECANCELED, 0);
        if (how == 0)
            CHECK_DONE(second, WEIR_ECANCELED, 0);
        CHECK_EQ(count_fds(), before);
    }
    end_mute(&mute);
}

TEST(families_take_turns)
{
    if (!have_ipv6())
        CHECK_SKIP("no IPv6 on loopback");
    weir_context *context = manual_context();
    struct mute mute = new_mute(AF_INET);
    struct where list[3] = {mute.where};
    int four = plain_listener(AF_INET, 8, &list[1]), six = plain_listener(AF_INET6, 8, &list[2]);
    weir_stream *stream = new_stream(context);
    struct counter counter = {0};
    START(connect_list(stream, list, 3, NULL, done, &counter));
    settle(context);
    advance(context, STAGGER);
    RUN_CALLS(context, counter, 1);
    CHECK_DONE(counter, 0, 0);
    check_peer(stream, &list[2]);
    close(four);
    close(six);
    end_mute(&mute);
    CHECK_OK(weir_context_destroy(context));
}

TEST(without_fds_every_attempt_fails_and_the_next_list_works)
{
    weir_context *context = manual_context();
    struct where list[2];
    int listener = plain_listener(AF_INET, 8, &list[0]);
    list[1] = list[0];
    weir_stream *stream = new_stream(context);
    struct counter counter = {0}, again = {0};
    struct rlimit limit;
    CHECK_EQ(getrlimit(RLIMIT_NOFILE, &limit), 0);
    set_fd_limit(no_more_fds());
    START(connect_list(stream, list, 2, NULL, done, &counter));
    RUN_CALLS(context, counter, 1);
    CHECK_DONE(counter, -EMFILE, 0);
    set_fd_limit(limit.rlim_cur);
    START(connect_list(stream, list, 2, NULL, done, &again));
    RUN_CALLS(context, again, 1);
    CHECK_DONE(again, 0, 0);
    close(listener);
    CHECK_OK(weir_context_destroy(context));
}

TEST(a_list_as_a_record_and_in_a_strand)
{
    weir_context *context = manual_context();
    struct where list[2] = {refusing(AF_INET)};
    int listener = plain_listener(AF_INET, 8, &list[1]);
    weir_stream *stream = new_stream(context);
    weir_strand *strand;
    weir_record record;
    size_t count = 0;
    CHECK_OK(weir_strand_create(context, &strand));
    CHECK_OK(weir_handle_set_strand(stream, strand));
    START(connect_list(stream, list, 2, NULL, NULL, list));
    CHECK_OK(weir_context_reap(context, &record, 1, 30 * CHECK_SECOND, &count));
    CHECK_EQ(count, 1);
    CHECK(record.user == list);
    CHECK_EQ(record.kind, WEIR_OP_CONNECT);
    CHECK_OK(record.status);
    check_peer(stream, &list[1]);
    close(listener);
    CHECK_OK(weir_context_destroy(context));
}

/* Lists begin and end in four threads, two of which run: each completes once, and no fd is left. */
struct racer {
    weir_context *context;
    struct where list[3];
    struct counter counter;
    size_t rounds;
};

static void *race_body(void *user)
{
    struct racer *racer = user;
    for (size_t i = 0; i < racer->rounds; i++) {
        weir_stream *stream = new_stream(racer->context);
        weir_connect_options options = {sizeof options, 1000, i % 3 == 0 ? 2000 : 0};
        CHECK_OK(connect_list(stream, racer->list, 3, &options, count_call, &racer->counter));
        if (i % 4 == 0)
            CHECK_OK(weir_stream_cancel(stream, NULL));
        if (i % 4 != 1)
            while (atomic_load(&racer->counter.calls) <= (int)i)
                sched_yield();
        CHECK_OK(weir_stream_close(stream));
        while (atomic_load(&racer->counter.calls) <= (int)i)
            sched_yield();
    }
    return NULL;
}

static void *run_body(void *user)
{
    CHECK_OK(weir_context_run(user, NULL));
    return NULL;
}

static void *accept_body(void *user)
{
    for (int fd; (fd = accept4(*(int *)user, NULL, NULL, SOCK_CLOEXEC)) >= 0;)
        close(fd);
    return NULL;
}

/* One list after another on one stream, each begun in the callback of the one before, while a second thread meets what
 * that one has left in the queue. */
struct again {
    weir_stream *stream;
    struct where list[3];
    atomic_int left;
};

static void list_again(int status, void *user)
{
    struct again *again = user;
    weir_connect_options options = {sizeof options, 1, 0};
    int fd;
    CHECK_OK(status);
    CHECK_OK(weir_stream_release(again->stream, &fd));
    close(fd);
    if (atomic_fetch_sub(&again->left, 1) > 1)
        CHECK_OK(connect_list(again->stream, again->list, 3, &options, list_again, again));
}

TEST(lists_follow_each_other_on_one_stream_in_two_threads)
{
    enum { STREAMS = 4 };
    static struct again all[STREAMS];
    weir_context *context = new_context_with(0, 2);
    struct where good;
    int listener = plain_listener(AF_INET, 64, &good);
    pthread_t accepting = start_thread(accept_body, &listener), runners[2];
    CHECK_OK(weir_context_work_begin(context));
    for (int i = 0; i < STREAMS; i++) {
        all[i].stream = new_stream(context);
        all[i].list[0] = refusing(AF_INET);
        all[i].list[1] = all[i].list[2] = good;
        atomic_store(&all[i].left, (int)many(500));
        CHECK_OK(connect_list(all[i].stream, all[i].list, 3, NULL, list_again, &all[i]));
    }
    for (int i = 0; i < 2; i++)
        runners[i] = start_thread(run_body, context);
    for (int i = 0; i < STREAMS; i++)
        WAIT_FOR(atomic_load(&all[i].left) <= 0);
    CHECK_OK(weir_context_work_end(context));
    for (int i = 0; i < 2; i++)
        join_thread(runners[i]);
    shutdown(listener, SHUT_RDWR);
    join_thread(accepting);
    close(listener);
    CHECK_OK(weir_context_destroy(context));
}

TEST(lists_race_with_cancel_and_close_in_two_threads)
{
    weir_context *context = new_context_with(0, 2);
    struct racer racers[2];
    struct where good;
    int listener = plain_listener(AF_INET, 64, &good), before = count_fds();
    pthread_t accepting = start_thread(accept_body, &listener), threads[2], runners[2];
    CHECK_OK(weir_context_work_begin(context));
    memset(racers, 0, sizeof racers);
    for (int i = 0; i < 2; i++) {
        runners[i] = start_thread(run_body, context);
        racers[i].context = context;
        racers[i].list[0] = refusing(AF_INET);
        racers[i].list[1] = racers[i].list[2] = good;
        racers[i].rounds = many(400);
    }
    for (int i = 0; i < 2; i++)
        threads[i] = start_thread(race_body, &racers[i]);
    for (int i = 0; i < 2; i++)
        join_thread(threads[i]);
    CHECK_OK(weir_context_work_end(context));
    for (int i = 0; i < 2; i++)
        join_thread(runners[i]);
    shutdown(listener, SHUT_RDWR);
    join_thread(accepting);
    CHECK_EQ(count_fds(), before);
    for (int i = 0; i < 2; i++)
        CHECK_EQ(racers[i].counter.calls, (long long)racers[i].rounds);
    close(listener);
    CHECK_OK(weir_context_destroy(context));
}

TEST_MAIN()
