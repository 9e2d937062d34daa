/* weir_context_destroy: what it waits for, what it delivers, what it leaves behind. */
#include "check.h"

#include <netinet/in.h>
#include <sys/resource.h>
#include <sys/socket.h>

static weir_stream *stream_beside(weir_context *context, int *other)
{
    int pair[2];
    CHECK_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair), 0);
    weir_stream *stream = new_stream(context);
    CHECK_OK(weir_stream_adopt(stream, pair[0]));
    *other = pair[1];
    return stream;
}

/* ---- H15: everything that is pending completes, once, inside destroy */

TEST(h15_destroy_delivers_pending_posts_and_deferred_callbacks)
{
    weir_context *context = new_context();
    struct counter posted = {0}, deferred = {0}, dispatched = {0};
    CHECK_OK(weir_context_post(context, count_call, &posted));
    CHECK_OK(weir_context_defer(context, count_call, &deferred));
    CHECK_OK(weir_context_dispatch(context, count_call, &dispatched));
    CHECK_OK(weir_context_work_begin(context));
    CHECK_OK(weir_context_destroy(context));
    CHECK_EQ(posted.calls, 1);
    CHECK_EQ(posted.status, WEIR_ECANCELED);
    CHECK_EQ(deferred.calls, 1);
    CHECK_EQ(deferred.status, WEIR_ECANCELED);
    CHECK_EQ(dispatched.calls, 1);
    CHECK_EQ(dispatched.status, WEIR_ECANCELED);
}

TEST(h15_destroy_ends_timer_waits_and_periodic_timers)
{
    weir_context *context = new_context();
    struct counter waits = {0}, periodic = {0};
    weir_timer *one = new_timer(context), *two = new_timer(context), *idle = new_timer(context);
    CHECK_OK(weir_timer_expires_after(one, 3600 * CHECK_SECOND));
    for (int i = 0; i < 10; i++)
        CHECK_OK(weir_timer_wait(one, count_call, &waits));
    CHECK_OK(weir_timer_start(two, 3600 * CHECK_SECOND, CHECK_SECOND, count_call, &periodic));
    CHECK_OK(weir_context_destroy(context));
    CHECK_EQ(waits.calls, 10);
    CHECK_EQ(waits.status, WEIR_ECANCELED);
    CHECK_EQ(periodic.calls, 1);
    CHECK_EQ(periodic.status, WEIR_ECANCELED);
    CHECK_CODE(weir_timer_close(one), WEIR_EBADF);
    CHECK_CODE(weir_timer_close(two), WEIR_EBADF);
    CHECK_CODE(weir_timer_close(idle), WEIR_EBADF);
}

/* What had happened is reported as it happened: both timers were due in the turn that poll_one made. */
TEST(h15_destroy_reports_an_expiry_that_had_happened_as_such)
{
    weir_context *context = new_context_with(WEIR_CONTEXT_MANUAL_CLOCK, 0);
    struct counter first = {0}, second = {0};
    size_t count = 0;
    weir_timer *timer = new_timer(context);
    CHECK_OK(weir_timer_expires_after(timer, 5));
    CHECK_OK(weir_timer_wait(timer, count_call, &first));
    CHECK_OK(weir_timer_wait(timer, count_call, &second));
    CHECK_OK(weir_context_advance(context, 5));
    CHECK_OK(weir_context_poll_one(context, &count));
    CHECK_EQ(count, 1);
    CHECK_EQ(first.calls, 1);
    CHECK_EQ(second.calls, 0);
    CHECK_OK(weir_context_destroy(context));
    CHECK_EQ(second.calls, 1);
    CHECK_EQ(second.status, 0);
}

TEST(h15_destroy_ends_stream_and_acceptor_operations)
{
    weir_context *context = new_context();
    struct counter reads = {0}, waits = {0};
    int other;
    char bytes[16] = "untouched";
    weir_stream *stream = stream_beside(context, &other);
    weir_acceptor *acceptor = NULL;
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
    CHECK_OK(weir_acceptor_create(context, &acceptor));
    CHECK_OK(weir_acceptor_bind(acceptor, (struct sockaddr *)&address, sizeof address));
    CHECK_OK(weir_acceptor_listen(acceptor, 0));
    CHECK_OK(weir_acceptor_wait(acceptor, count_call, &waits));
    CHECK_OK(weir_stream_read(stream, bytes, sizeof bytes, count_io, &reads));
    CHECK_OK(weir_context_destroy(context));
    CHECK_EQ(reads.calls, 1);
    CHECK_EQ(reads.status, WEIR_ECANCELED);
    CHECK_EQ(reads.bytes, 0);
    CHECK_EQ(waits.calls, 1);
    CHECK_EQ(waits.status, WEIR_ECANCELED);
    CHECK(strcmp(bytes, "untouched") == 0);
    CHECK_CODE(weir_stream_close(stream), WEIR_EBADF);
    CHECK_CODE(weir_acceptor_close(acceptor), WEIR_EBADF);
    /* The descriptor was closed: the peer sees the end. */
    char end;
    CHECK_EQ(read(other, &end, 1), 0);
    close(other);
}

TEST(h15_destroy_of_a_context_that_never_ran_and_of_an_empty_one)
{
    for (int i = 0; i < 10; i++)
        CHECK_OK(weir_context_destroy(new_context()));
}

enum { PENDING = 100000 };

static void *destroy_it(void *user)
{
    CHECK_OK(weir_context_destroy(user));
    return NULL;
}

TEST(h15_destroy_with_100000_pending_posts_uses_a_small_stack)
{
    weir_context *context = new_context();
    struct counter counter = {0};
    for (int i = 0; i < PENDING; i++)
        CHECK_OK(weir_context_post(context, count_call, &counter));
    on_small_stack(destroy_it, context);
    CHECK_EQ(counter.calls, PENDING);
    CHECK_EQ(counter.status, WEIR_ECANCELED);
}

TEST(h15_destroy_with_100000_pending_timers_uses_a_small_stack)
{
    weir_context *context = new_context();
    struct counter counter = {0};
    for (int i = 0; i < PENDING; i++) {
        weir_timer *timer = new_timer(context);
        CHECK_OK(weir_timer_expires_after(timer, 3600 * CHECK_SECOND + i % 1000));
        CHECK_OK(weir_timer_wait(timer, count_call, &counter));
    }
    on_small_stack(destroy_it, context);
    CHECK_EQ(counter.calls, PENDING);
    CHECK_EQ(counter.status, WEIR_ECANCELED);
}

TEST(h15_destroy_with_100000_waits_of_one_timer_uses_a_small_stack)
{
    weir_context *context = new_context();
    struct counter counter = {0};
    weir_timer *timer = new_timer(context);
    CHECK_OK(weir_timer_expires_after(timer, WEIR_FOREVER));
    for (int i = 0; i < PENDING; i++)
        CHECK_OK(weir_timer_wait(timer, count_call, &counter));
    on_small_stack(destroy_it, context);
    CHECK_EQ(counter.calls, PENDING);
    CHECK_EQ(counter.status, WEIR_ECANCELED);
}

/* H43: callbacks of destroy close and cancel other handles of the context while destroy walks over them. */
enum { OWNERS = 1000 };
static weir_timer *owned[OWNERS];
static struct counter owner_calls;

static void close_the_next(int status, void *user)
{
    count_call(status, &owner_calls);
    CHECK_EQ(status, WEIR_ECANCELED);
    intptr_t index = (intptr_t)user;
    int error = weir_timer_close(owned[(index + 1) % OWNERS]);
    CHECK(error == 0 || error == WEIR_EBADF);
    error = weir_timer_cancel(owned[(index + 7) % OWNERS], NULL);
    CHECK(error == 0 || error == WEIR_EBADF);
}

TEST(h43_callbacks_of_destroy_may_close_other_timers)
{
    weir_context *context = new_context();
    for (intptr_t i = 0; i < OWNERS; i++) {
        owned[i] = new_timer(context);
        CHECK_OK(weir_timer_expires_after(owned[i], 3600 * CHECK_SECOND + i));
        CHECK_OK(weir_timer_wait(owned[i], close_the_next, (void *)i));
        CHECK_OK(weir_timer_wait(owned[i], close_the_next, (void *)i));
    }
    CHECK_OK(weir_context_destroy(context));
    CHECK_EQ(owner_calls.calls, 2 * OWNERS);
}

/* ---- operations begun by callbacks of destroy */

static weir_context *dying;
static weir_timer *dying_timer;
static int begun_during_destroy;

static void begin_during_destroy(int status, void *user)
{
    struct counter *counter = user;
    count_call(status, counter);
    if (status == 0)
        return;
    weir_timer *timer = NULL;
    weir_stream *stream = NULL;
    weir_acceptor *acceptor = NULL;
    CHECK_CODE(weir_context_post(dying, count_call, counter), WEIR_ESHUTDOWN);
    CHECK_CODE(weir_context_defer(dying, count_call, counter), WEIR_ESHUTDOWN);
    CHECK_CODE(weir_context_dispatch(dying, count_call, counter), WEIR_ESHUTDOWN);
    CHECK_CODE(weir_timer_create(dying, &timer), WEIR_ESHUTDOWN);
    CHECK_CODE(weir_stream_create(dying, &stream), WEIR_ESHUTDOWN);
    CHECK_CODE(weir_acceptor_create(dying, &acceptor), WEIR_ESHUTDOWN);
    CHECK(timer == NULL && stream == NULL && acceptor == NULL);
    /* The timer may be closed by now; if it is not it refuses as well. */
    int error = weir_timer_wait(dying_timer, count_call, counter);
    CHECK(error == WEIR_ESHUTDOWN || error == WEIR_EBADF);
    error = weir_timer_start(dying_timer, 1, 1, count_call, counter);
    CHECK(error == WEIR_ESHUTDOWN || error == WEIR_EBADF);
    CHECK_CODE(weir_context_destroy(dying), WEIR_EBUSY);
    begun_during_destroy++;
}

TEST(operations_begun_by_callbacks_of_destroy_give_eshutdown)
{
    dying = new_context();
    dying_timer = new_timer(dying);
    struct counter counter = {0};
    int other;
    char byte;
    weir_stream *stream = stream_beside(dying, &other);
    CHECK_OK(weir_stream_read_some(stream, &byte, 1, count_io, &counter));
    CHECK_OK(weir_timer_expires_after(dying_timer, 3600 * CHECK_SECOND));
    CHECK_OK(weir_timer_wait(dying_timer, begin_during_destroy, &counter));
    CHECK_OK(weir_context_post(dying, begin_during_destroy, &counter));
    CHECK_OK(weir_context_destroy(dying));
    CHECK_EQ(begun_during_destroy, 2);
    CHECK_EQ(counter.calls, 3);
    close(other);
}

/* A context is destroyed by a callback of another one, which goes on undisturbed. */
static weir_context *victim;
static struct counter victim_counter;

static void destroy_victim(int status, void *user)
{
    (void)user;
    CHECK_EQ(status, 0);
    CHECK_OK(weir_context_destroy(victim));
    CHECK_EQ(victim_counter.calls, 1);
    CHECK_EQ(victim_counter.status, WEIR_ECANCELED);
}

TEST(destroy_from_a_callback_of_another_context)
{
    weir_context *context = new_context();
    struct counter counter = {0};
    size_t count = 0;
    victim = new_context();
    CHECK_OK(weir_context_post(victim, count_call, &victim_counter));
    CHECK_OK(weir_context_post(context, destroy_victim, NULL));
    CHECK_OK(weir_context_post(context, count_call, &counter));
    CHECK_OK(weir_context_run(context, &count));
    CHECK_EQ(count, 2);
    CHECK_EQ(counter.calls, 1);
    CHECK_OK(weir_context_destroy(context));
}

/* ---- destroy and run */

static void destroy_own(int status, void *user)
{
    CHECK_EQ(status, 0);
    CHECK_CODE(weir_context_destroy(user), WEIR_EBUSY);
    CHECK_EQ(weir_context_stopped(user), 0); /* refused: nothing has changed */
}

TEST(destroy_from_its_own_callback_is_busy_and_changes_nothing)
{
    weir_context *context = new_context();
    struct counter counter = {0};
    CHECK_OK(weir_context_post(context, destroy_own, context));
    CHECK_OK(weir_context_post(context, count_call, &counter));
    CHECK_OK(weir_context_run(context, NULL));
    CHECK_EQ(counter.calls, 1);
    CHECK_EQ(counter.status, 0);
    CHECK_OK(weir_context_destroy(context));
}

static weir_context *outer_context;

static void destroy_outer(int status, void *user)
{
    (void)user;
    CHECK_EQ(status, 0);
    CHECK_CODE(weir_context_destroy(outer_context), WEIR_EBUSY);
}

static void run_inner(int status, void *user)
{
    CHECK_EQ(status, 0);
    weir_context *inner = user;
    CHECK_OK(weir_context_post(inner, destroy_outer, NULL));
    CHECK_OK(weir_context_run(inner, NULL));
}

TEST(destroy_of_the_outer_of_two_nested_contexts_is_busy)
{
    outer_context = new_context();
    weir_context *inner = new_context();
    CHECK_OK(weir_context_post(outer_context, run_inner, inner));
    CHECK_OK(weir_context_run(outer_context, NULL));
    CHECK_OK(weir_context_destroy(outer_context));
    CHECK_OK(weir_context_destroy(inner));
}

static atomic_int left_run;

static void *run_thread(void *user)
{
    /* The thread may come too late: the context may be dead by then. */
    int error = weir_context_run(user, NULL);
    CHECK(error == 0 || error == WEIR_EBADF || error == WEIR_ESHUTDOWN);
    atomic_fetch_add(&left_run, 1);
    return NULL;
}

TEST(destroy_ends_the_run_of_sleeping_threads)
{
    for (size_t round = 0; round < many(300); round++) {
        weir_context *context = new_context();
        struct counter counter = {0};
        pthread_t threads[3];
        weir_timer *timer = new_timer(context);
        CHECK_OK(weir_timer_expires_after(timer, 3600 * CHECK_SECOND));
        CHECK_OK(weir_timer_wait(timer, count_call, &counter));
        for (int i = 0; i < 3; i++)
            threads[i] = start_thread(run_thread, context);
        if (round % 10 == 0)
            sleep_ms(2); /* all of them asleep */
        CHECK_OK(weir_context_destroy(context));
        CHECK_EQ(counter.calls, 1);
        CHECK_EQ(counter.status, WEIR_ECANCELED);
        for (int i = 0; i < 3; i++)
            join_thread(threads[i]);
    }
}

/* destroy waits for a callback that is still running, and its own deliveries come after it. */
static atomic_bool slow_entered, slow_left;

static void slow_callback(int status, void *user)
{
    (void)user;
    CHECK_EQ(status, 0);
    atomic_store(&slow_entered, true);
    sleep_ms(20);
    atomic_store(&slow_left, true);
}

static void after_slow(int status, void *user)
{
    count_call(status, user);
    CHECK(atomic_load(&slow_left));
}

TEST(destroy_waits_for_a_callback_on_another_thread)
{
    weir_context *context = new_context();
    struct counter counter = {0};
    CHECK_OK(weir_context_post(context, slow_callback, NULL));
    pthread_t runner = start_thread(run_thread, context);
    WAIT_FOR(atomic_load(&slow_entered));
    CHECK_OK(weir_context_post(context, after_slow, &counter));
    CHECK_OK(weir_context_destroy(context));
    CHECK(atomic_load(&slow_left));
    CHECK_EQ(counter.calls, 1);
    CHECK_EQ(counter.status, WEIR_ECANCELED);
    join_thread(runner);
}

/* Threads post while the context is destroyed: each call gives 0 and then completes once, or an error and never. */
static atomic_int accepted, completed;

static void note_completed(int status, void *user)
{
    (void)user;
    CHECK(status == 0 || status == WEIR_ECANCELED);
    atomic_fetch_add(&completed, 1);
}

static void *post_until_refused(void *user)
{
    for (;;) {
        int error = weir_context_post(user, note_completed, NULL);
        if (error != 0) {
            CHECK(error == WEIR_EBADF || error == WEIR_ESHUTDOWN);
            return NULL;
        }
        atomic_fetch_add(&accepted, 1);
    }
}

TEST(destroy_beside_posting_threads_loses_nothing)
{
    for (size_t round = 0; round < many(60); round++) {
        weir_context *context = new_context();
        pthread_t posters[3], runner;
        CHECK_OK(weir_context_work_begin(context));
        runner = start_thread(run_thread, context);
        for (int i = 0; i < 3; i++)
            posters[i] = start_thread(post_until_refused, context);
        int before = atomic_load(&accepted);
        WAIT_FOR(atomic_load(&accepted) > before + 10);
        CHECK_OK(weir_context_destroy(context));
        for (int i = 0; i < 3; i++)
            join_thread(posters[i]);
        join_thread(runner);
        CHECK_EQ(atomic_load(&accepted), atomic_load(&completed));
    }
}

static atomic_int destroyed;

static void *destroy_in_a_race(void *user)
{
    int error = weir_context_destroy(user);
    if (error == 0)
        atomic_fetch_add(&destroyed, 1);
    else
        CHECK_EQ(error, WEIR_EBADF);
    return NULL;
}

TEST(of_two_threads_that_destroy_one_context_one_succeeds)
{
    for (int round = 1; round <= (int)many(300); round++) {
        weir_context *context = new_context();
        struct counter counter = {0};
        CHECK_OK(weir_context_post(context, count_call, &counter));
        pthread_t one = start_thread(destroy_in_a_race, context);
        pthread_t two = start_thread(destroy_in_a_race, context);
        join_thread(one);
        join_thread(two);
        CHECK_EQ(atomic_load(&destroyed), round);
        CHECK_EQ(counter.calls, 1);
    }
}

/* ---- after destroy */

TEST(every_handle_of_a_destroyed_context_is_dead)
{
    weir_context *context = new_context(), *out = NULL;
    weir_timer *timer = new_timer(context);
    int other, fd = 77;
    size_t count = 77;
    int64_t ns = 77;
    struct counter counter = {0};
    weir_stream *stream = stream_beside(context, &other);
    CHECK_OK(weir_context_destroy(context));
    for (int round = 0; round < 2; round++) {
        CHECK_CODE(weir_context_destroy(context), WEIR_EBADF);
        CHECK_CODE(weir_context_run(context, &count), WEIR_EBADF);
        CHECK_CODE(weir_context_run_one(context, &count), WEIR_EBADF);
        CHECK_CODE(weir_context_run_for(context, 0, &count), WEIR_EBADF);
        CHECK_CODE(weir_context_run_until(context, 0, &count), WEIR_EBADF);
        CHECK_CODE(weir_context_wait_one(context, 0, &count), WEIR_EBADF);
        CHECK_CODE(weir_context_poll(context, &count), WEIR_EBADF);
        CHECK_CODE(weir_context_poll_one(context, &count), WEIR_EBADF);
        CHECK_CODE(weir_context_stop(context), WEIR_EBADF);
        CHECK_CODE(weir_context_stopped(context), WEIR_EBADF);
        CHECK_CODE(weir_context_restart(context), WEIR_EBADF);
        CHECK_CODE(weir_context_post(context, count_call, &counter), WEIR_EBADF);
        CHECK_CODE(weir_context_dispatch(context, count_call, &counter), WEIR_EBADF);
        CHECK_CODE(weir_context_defer(context, count_call, &counter), WEIR_EBADF);
        CHECK_CODE(weir_context_work_begin(context), WEIR_EBADF);
        CHECK_CODE(weir_context_work_end(context), WEIR_EBADF);
        CHECK_CODE(weir_context_running_in_this_thread(context), WEIR_EBADF);
        CHECK_CODE(weir_context_fd(context, &fd), WEIR_EBADF);
        CHECK_CODE(weir_context_now(context, &ns), WEIR_EBADF);
        CHECK_CODE(weir_context_advance(context, 1), WEIR_EBADF);
        CHECK_CODE(weir_timer_wait(timer, count_call, &counter), WEIR_EBADF);
        CHECK_CODE(weir_timer_context(timer, &out), WEIR_EBADF);
        CHECK_CODE(weir_stream_cancel(stream, &count), WEIR_EBADF);
        CHECK_CODE(weir_stream_context(stream, &out), WEIR_EBADF);
        /* The next context takes the same slots: the old handles stay dead. */
        if (round == 0) {
            weir_context *next = new_context();
            CHECK(next != context);
            CHECK(new_timer(next) != timer);
            CHECK(new_stream(next) != stream);
        }
    }
    CHECK_EQ(count, 77);
    CHECK_EQ(fd, 77);
    CHECK_EQ(ns, 77);
    CHECK(out == NULL);
    CHECK_EQ(counter.calls, 0);
    close(other);
}

TEST(a_new_context_in_the_slot_of_an_old_one_starts_clean)
{
    weir_context *context = new_context_with(WEIR_CONTEXT_MANUAL_CLOCK, 0);
    int fd;
    size_t count = 77;
    CHECK_OK(weir_context_fd(context, &fd));
    CHECK_OK(weir_context_work_begin(context));
    CHECK_OK(weir_context_advance(context, 12345));
    CHECK_OK(weir_context_stop(context));
    CHECK_OK(weir_context_destroy(context));
    for (int i = 0; i < 10; i++) {
        int64_t now = 77;
        context = new_context_with(WEIR_CONTEXT_MANUAL_CLOCK, 0);
        CHECK_EQ(weir_context_stopped(context), 0);
        CHECK_OK(weir_context_now(context, &now));
        CHECK_EQ(now, 0);
        CHECK_CODE(weir_context_work_end(context), WEIR_EINVAL);
        CHECK_OK(weir_context_run(context, &count)); /* hangs if the work count was not reset */
        CHECK_EQ(count, 0);
        CHECK_OK(weir_context_restart(context));
        CHECK_OK(weir_context_advance(context, 5));
        CHECK_OK(weir_context_destroy(context));
    }
}

TEST(contexts_leak_no_descriptor)
{
    CHECK_OK(weir_context_destroy(new_context()));
    int before = count_fds();
    for (int i = 0; i < 1000; i++) {
        weir_context *context = new_context();
        struct counter counter = {0};
        int other, fd;
        char byte;
        weir_stream *stream = stream_beside(context, &other);
        CHECK_OK(weir_context_fd(context, &fd));
        CHECK_OK(weir_stream_read_some(stream, &byte, 1, count_io, &counter));
        if (i % 2)
            CHECK_OK(weir_context_poll(context, NULL));
        CHECK_OK(weir_context_destroy(context));
        CHECK_EQ(counter.calls, 1);
        close(other);
        if (i % 100 == 0)
            CHECK_EQ(count_fds(), before);
    }
    CHECK_EQ(count_fds(), before);
}

TEST(a_hundred_contexts_live_side_by_side)
{
    enum { CONTEXTS = 100 };
    weir_context *contexts[CONTEXTS];
    struct counter counters[CONTEXTS] = {{0}};
    int before = count_fds();
    for (int i = 0; i < CONTEXTS; i++) {
        contexts[i] = new_context();
        CHECK_OK(weir_context_post(contexts[i], count_call, &counters[i]));
    }
    for (int i = CONTEXTS - 1; i >= 0; i--) {
        size_t count = 0;
        CHECK_OK(weir_context_run(contexts[i], &count));
        CHECK_EQ(count, 1);
        CHECK_EQ(counters[i].calls, 1);
        if (i > 0)
            CHECK_EQ(counters[i - 1].calls, 0);
    }
    for (int i = 0; i < CONTEXTS; i++)
        CHECK_OK(weir_context_destroy(contexts[i]));
    CHECK_EQ(count_fds(), before);
}

/* Without descriptors to be had a context is refused with an error, and nothing is left behind. */
TEST(create_without_descriptors_left_is_an_error_and_leaks_nothing)
{
    weir_context *context = NULL;
    struct rlimit limit;
    int before = count_fds();
    CHECK_EQ(getrlimit(RLIMIT_NOFILE, &limit), 0);
    rlim_t saved = limit.rlim_cur;
    for (int spare = 0; spare < 3; spare++) {
        limit.rlim_cur = (rlim_t)(before + spare);
        CHECK_EQ(setrlimit(RLIMIT_NOFILE, &limit), 0);
        for (int i = 0; i < 10; i++) {
            int error = weir_context_create(NULL, &context);
            if (error == 0) {
                CHECK(spare > 0);
                CHECK_OK(weir_context_destroy(context));
                context = NULL;
            } else {
                CHECK_EQ(error, -EMFILE);
                CHECK(context == NULL);
            }
        }
        limit.rlim_cur = saved;
        CHECK_EQ(setrlimit(RLIMIT_NOFILE, &limit), 0);
        CHECK_EQ(count_fds(), before);
    }
    CHECK_OK(weir_context_destroy(new_context()));
}

TEST_MAIN()
