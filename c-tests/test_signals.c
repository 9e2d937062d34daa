/* Signals: sets, waits, and the questions of the contract. What concerns the whole process is in
 * test_signals_process.c. */
#include "signals.h"

#include <poll.h>
#include <sys/resource.h>

TEST(a_wait_gets_the_number)
{
    weir_context *context = new_context();
    weir_signals *signals = new_signals_of(context, SIGUSR1);
    CHECK_OK(weir_signals_add(signals, SIGUSR2, 0));
    struct got got = {0};
    begin_wait(signals, &got);
    serve(context);
    CHECK_EQ(got.calls, 0);
    raise(SIGUSR2);
    CHECK_EQ(got.calls, 0); /* not in the handler */
    CHECK_OK(weir_context_run(context, NULL));
    CHECK_EQ(got.calls, 1);
    CHECK_EQ(got.value, SIGUSR2);
    begin_wait(signals, &got);
    raise(SIGUSR1);
    serve(context);
    CHECK_EQ(got.value, SIGUSR1);
    CHECK_OK(weir_context_destroy(context));
}

TEST(h53_what_arrives_while_nobody_waits_is_kept)
{
    weir_context *context = new_context();
    weir_signals *signals = new_signals_of(context, SIGUSR1), *late;
    struct got got = {0};
    for (int i = 0; i < 5; i++)
        raise(SIGUSR1);
    serve(context);
    CHECK_EQ(arrived(signals), 5);
    late = new_signals_of(context, SIGUSR1);
    CHECK_EQ(arrived(late), 0);
    for (int i = 1; i <= 5; i++) {
        begin_wait(signals, &got);
        CHECK_EQ(got.calls, i - 1); /* not inside the function */
        serve(context);
        CHECK_EQ(got.calls, i);
        CHECK_EQ(got.value, SIGUSR1);
        CHECK_EQ(arrived(signals), 5 - i);
    }
    begin_wait(signals, &got);
    serve(context);
    CHECK_EQ(got.calls, 5);
    raise(SIGUSR1);
    serve(context);
    CHECK_EQ(got.calls, 6);
    CHECK_EQ(arrived(late), 1);
    CHECK_OK(weir_context_destroy(context));
}

static int order[8];
static int order_length;

static void note(int status, int value, void *user)
{
    CHECK_CODE(status, 0);
    CHECK_EQ(value, SIGUSR1);
    order[order_length++] = *(int *)user;
}

TEST(each_wait_takes_one_the_oldest_first)
{
    static int names[5] = {0, 1, 2, 3, 4};
    weir_context *context = new_context();
    weir_signals *signals = new_signals_of(context, SIGUSR1);
    for (int i = 0; i < 3; i++)
        CHECK_OK(weir_signals_wait(signals, note, &names[i]));
    size_t pending = 0;
    CHECK_OK(weir_handle_pending(signals, &pending));
    CHECK_EQ(pending, 3);
    raise(SIGUSR1);
    raise(SIGUSR1);
    raise(SIGUSR1);
    raise(SIGUSR1);
    /* No turn yet: those that wait come before this one. */
    CHECK_OK(weir_signals_wait(signals, note, &names[3]));
    CHECK_OK(weir_signals_wait(signals, note, &names[4]));
    serve(context);
    CHECK_EQ(order_length, 4);
    for (int i = 0; i < 4; i++)
        CHECK_EQ(order[i], i);
    CHECK_OK(weir_handle_pending(signals, &pending));
    CHECK_EQ(pending, 1);
    raise(SIGUSR1);
    serve(context);
    CHECK_EQ(order_length, 5);
    CHECK_OK(weir_context_destroy(context));
}

TEST(h52_cancel_ends_what_is_pending_and_nothing_later)
{
    weir_context *context = new_context();
    weir_signals *signals = new_signals_of(context, SIGUSR1);
    struct got got = {0};
    size_t ended = 9;
    CHECK_OK(weir_signals_cancel(signals, &ended)); /* idle */
    CHECK_EQ(ended, 0);
    begin_wait(signals, &got);
    serve(context);
    CHECK_EQ(got.calls, 0);
    begin_wait(signals, &got);
    CHECK_OK(weir_signals_cancel(signals, &ended));
    CHECK_EQ(ended, 2);
    CHECK_EQ(got.calls, 0);
    serve(context);
    CHECK_EQ(got.calls, 2);
    CHECK_CODE(got.status, WEIR_ECANCELED);
    CHECK_OK(weir_signals_cancel(signals, NULL));
    begin_wait(signals, &got);
    raise(SIGUSR1);
    serve(context);
    CHECK_EQ(got.calls, 3);
    CHECK_CODE(got.status, 0);
    /* Between the signal and the turn: the signal is kept. */
    begin_wait(signals, &got);
    raise(SIGUSR1);
    CHECK_OK(weir_signals_cancel(signals, &ended));
    CHECK_EQ(ended, 1);
    serve(context);
    CHECK_EQ(got.calls, 4);
    CHECK_CODE(got.status, WEIR_ECANCELED);
    CHECK_EQ(arrived(signals), 1);
    begin_wait(signals, &got);
    /* Complete already, though not delivered. */
    CHECK_OK(weir_signals_cancel(signals, &ended));
    CHECK_EQ(ended, 0);
    serve(context);
    CHECK_EQ(got.calls, 5);
    CHECK_CODE(got.status, 0);
    CHECK_OK(weir_context_destroy(context));
}

TEST(what_was_removed_is_not_delivered)
{
    weir_context *context = new_context();
    weir_signals *signals = new_signals_of(context, SIGUSR1);
    CHECK_OK(weir_signals_add(signals, SIGUSR2, 0));
    struct got got = {0};
    raise(SIGUSR1);
    raise(SIGUSR2);
    CHECK_OK(weir_signals_remove(signals, SIGUSR1));
    CHECK_CODE(weir_signals_remove(signals, SIGUSR1), -ENOENT);
    CHECK_CODE(weir_signals_remove(signals, SIGHUP), -ENOENT);
    CHECK_OK(weir_signals_add(signals, SIGUSR1, 0));
    CHECK_EQ(arrived(signals), 1);
    begin_wait(signals, &got);
    begin_wait(signals, &got);
    serve(context);
    CHECK_EQ(got.calls, 1);
    CHECK_EQ(got.value, SIGUSR2);
    /* The other wait outlives its signals, and sees those that come later. */
    CHECK_OK(weir_signals_clear(signals));
    CHECK_OK(weir_signals_clear(signals));
    serve(context);
    CHECK_EQ(got.calls, 1);
    CHECK_OK(weir_signals_add(signals, SIGHUP, 0));
    raise(SIGHUP);
    serve(context);
    CHECK_EQ(got.calls, 2);
    CHECK_EQ(got.value, SIGHUP);
    CHECK_OK(weir_signals_remove(signals, SIGHUP));
    begin_wait(signals, &got); /* an empty set */
    CHECK_OK(weir_signals_cancel(signals, NULL));
    serve(context);
    CHECK_CODE(got.status, WEIR_ECANCELED);
    CHECK_OK(weir_context_destroy(context));
}

TEST(h53_several_sets_see_each_signal_and_a_closed_one_none)
{
    weir_context *first = new_context(), *second = new_context();
    weir_signals *a = new_signals_of(first, SIGUSR1), *b = new_signals_of(first, SIGUSR1);
    weir_signals *c = new_signals_of(second, SIGUSR1), *gone = new_signals_of(first, SIGUSR1);
    struct got got[3] = {{0}}, last = {0};
    begin_wait(a, &got[0]);
    begin_wait(b, &got[1]);
    begin_wait(c, &got[2]);
    begin_wait(gone, &last);
    CHECK_OK(weir_signals_close(gone));
    CHECK_CODE(weir_signals_wait(gone, got_signal, &last), WEIR_EBADF);
    CHECK_CODE(weir_signals_close(gone), WEIR_EBADF);
    raise(SIGUSR1);
    serve(first);
    CHECK_EQ(got[0].value, SIGUSR1);
    CHECK_EQ(got[1].value, SIGUSR1);
    CHECK_EQ(got[2].calls, 0);
    CHECK_EQ(last.calls, 1);
    CHECK_CODE(last.status, WEIR_ECANCELED);
    serve(second);
    CHECK_EQ(got[2].value, SIGUSR1);
    /* The end of one context is nothing to the other. */
    CHECK_OK(weir_context_destroy(first));
    begin_wait(c, &got[2]);
    raise(SIGUSR1);
    serve(second);
    CHECK_EQ(got[2].calls, 2);
    CHECK_OK(weir_context_destroy(second));
}

/* Different signals take turns: one that never stops does not hide the others. */
TEST(a_flood_of_one_signal_does_not_hide_another)
{
    weir_context *context = new_context();
    weir_signals *signals = new_signals(context);
    static const int signos[3] = {SIGUSR1, SIGUSR2, SIGHUP};
    struct got got = {0};
    for (int i = 0; i < 3; i++)
        CHECK_OK(weir_signals_add(signals, signos[i], 0));
    for (int flood = 0; flood < 3; flood++) {
        for (int i = 0; i < 100; i++)
            raise(signos[flood]);
        memset(&got, 0, sizeof got);
        for (int i = 0; i < 3; i++)
            raise(signos[i]);
        for (int i = 0; i < 5; i++)
            begin_wait(signals, &got);
        serve(context);
        for (int i = 0; i < 3; i++)
            CHECK(got.of[signos[i]] >= 1);
        while (arrived(signals) > 0) {
            begin_wait(signals, &got);
            serve(context);
        }
        CHECK_EQ(got.calls, 103);
    }
    CHECK_OK(weir_context_destroy(context));
}

/* ---- callbacks */

static weir_signals *chain_set;
static int chain_left;

static void again(int status, int value, void *user)
{
    got_signal(status, value, user);
    if (--chain_left > 0) {
        raise(SIGUSR1); /* the handler runs here, inside the callback */
        CHECK_OK(weir_signals_wait(chain_set, again, user));
    }
}

TEST(raise_and_wait_in_the_callback)
{
    weir_context *context = new_context();
    struct got got = {0};
    chain_set = new_signals_of(context, SIGUSR1);
    chain_left = 1000;
    CHECK_OK(weir_signals_wait(chain_set, again, &got));
    raise(SIGUSR1);
    CHECK_OK(weir_context_run(context, NULL));
    CHECK_EQ(got.of[SIGUSR1], 1000);
    CHECK_EQ(got.calls, 1000);
    CHECK_OK(weir_context_destroy(context));
}

static void close_here(int status, int value, void *user)
{
    struct got *got = user;
    got_signal(status, value, got);
    if (status == 0)
        CHECK_OK(weir_signals_close(chain_set));
}

TEST(close_in_its_own_callback)
{
    weir_context *context = new_context();
    struct got got = {0};
    chain_set = new_signals_of(context, SIGUSR1);
    for (int i = 0; i < 3; i++)
        CHECK_OK(weir_signals_wait(chain_set, close_here, &got));
    raise(SIGUSR1);
    CHECK_OK(weir_context_run(context, NULL));
    CHECK_EQ(got.calls, 3);
    CHECK_EQ(got.of[SIGUSR1], 1);
    CHECK_EQ(got.of[0], 2);
    CHECK_OK(weir_context_destroy(context));
}

static void *run_it(void *context)
{
    CHECK_OK(weir_context_run(context, NULL));
    return NULL;
}

TEST(close_from_another_thread)
{
    weir_context *context = new_context();
    new_signals_of(context, SIGUSR1); /* so that the handler stays for a signal that comes late */
    for (int round = 0; round < (int)many(300); round++) {
        struct got got = {0};
        weir_signals *signals = new_signals_of(context, SIGUSR1);
        begin_wait(signals, &got);
        begin_wait(signals, &got);
        CHECK_OK(weir_context_restart(context));
        pthread_t runner = start_thread(run_it, context);
        if (round % 2)
            kill(getpid(), SIGUSR1);
        CHECK_OK(weir_signals_close(signals));
        join_thread(runner);
        CHECK_EQ(got.calls, 2);
        CHECK(got.of[SIGUSR1] <= round % 2);
    }
    CHECK_OK(weir_context_destroy(context));
}

static void *wait_many(void *user)
{
    for (int i = 0; i < 500; i++)
        CHECK_OK(weir_signals_wait(chain_set, got_signal, user));
    return NULL;
}

TEST(waits_from_several_threads_while_two_run)
{
    weir_context *context = new_context();
    struct got got = {0};
    chain_set = new_signals_of(context, SIGUSR1);
    CHECK_OK(weir_context_work_begin(context));
    pthread_t runners[2], waiters[3];
    for (int i = 0; i < 2; i++)
        runners[i] = start_thread(run_it, context);
    for (int i = 0; i < 3; i++)
        waiters[i] = start_thread(wait_many, &got);
    for (int i = 0; i < 1000; i++)
        raise(SIGUSR1); /* on this thread, so each is delivered before the next */
    for (int i = 0; i < 3; i++)
        join_thread(waiters[i]);
    WAIT_FOR(got.calls == 1000);
    size_t ended = 0;
    CHECK_OK(weir_signals_cancel(chain_set, &ended));
    CHECK_EQ(ended, 500);
    CHECK_OK(weir_context_work_end(context));
    for (int i = 0; i < 2; i++)
        join_thread(runners[i]);
    CHECK_EQ(got.calls, 1500);
    CHECK_EQ(got.of[SIGUSR1], 1000);
    CHECK_OK(weir_context_destroy(context));
}

/* ---- stop, destruction, records, strands */

TEST(a_stopped_context_keeps_waits_and_signals)
{
    weir_context *context = new_context();
    weir_signals *signals = new_signals_of(context, SIGUSR1);
    struct got got = {0};
    CHECK_OK(weir_context_stop(context));
    begin_wait(signals, &got);
    raise(SIGUSR1);
    CHECK_OK(weir_context_run(context, NULL));
    CHECK_EQ(got.calls, 0);
    CHECK_OK(weir_context_restart(context));
    CHECK_OK(weir_context_run(context, NULL));
    CHECK_EQ(got.calls, 1);
    CHECK_OK(weir_context_destroy(context));
}

TEST(destroy_ends_waits_once_each)
{
    weir_context *context = new_context();
    weir_signals *signals = new_signals_of(context, SIGUSR1);
    struct got got = {0};
    begin_wait(signals, &got);
    raise(SIGUSR1);
    begin_wait(signals, &got); /* completes the first; this one stays */
    for (int i = 0; i < 10; i++)
        begin_wait(signals, &got);
    CHECK_OK(weir_context_destroy(context));
    CHECK_EQ(got.calls, 12);
    CHECK_EQ(got.of[SIGUSR1], 1);
    CHECK_EQ(got.of[0], 11);
    CHECK_CODE(weir_signals_add(signals, SIGUSR1, 0), WEIR_EBADF);
}

TEST(waits_give_records)
{
    weir_context *context = new_context();
    weir_signals *signals = new_signals_of(context, SIGUSR1);
    weir_record records[4];
    size_t count = 0;
    int me;
    CHECK_OK(weir_signals_wait(signals, NULL, &me));
    CHECK_OK(weir_signals_wait(signals, NULL, &me));
    raise(SIGUSR1);
    CHECK_OK(weir_context_poll(context, NULL)); /* met, and held */
    CHECK_OK(weir_signals_cancel(signals, NULL));
    CHECK_OK(weir_context_reap(context, records, 4, WEIR_FOREVER, &count));
    CHECK_EQ(count, 2);
    for (int i = 0; i < 2; i++) {
        CHECK_EQ(records[i].kind, WEIR_OP_SIGNAL);
        CHECK_CODE(records[i].status, i == 0 ? 0 : WEIR_ECANCELED);
        CHECK_EQ(records[i].value, i == 0 ? SIGUSR1 : 0);
        CHECK(records[i].user == &me);
    }
    CHECK_OK(weir_context_destroy(context));
}

static weir_strand *strand;

static void in_strand(int status, int value, void *user)
{
    CHECK_EQ(weir_strand_running_in_this_thread(strand), 1);
    got_signal(status, value, user);
}

TEST(a_set_in_a_strand)
{
    weir_context *context = new_context();
    weir_signals *signals = new_signals_of(context, SIGUSR1);
    struct got got = {0};
    CHECK_OK(weir_strand_create(context, &strand));
    CHECK_OK(weir_handle_set_strand(signals, strand));
    raise(SIGUSR1);
    for (int i = 0; i < 3; i++)
        CHECK_OK(weir_signals_wait(signals, in_strand, &got));
    CHECK_CODE(weir_handle_set_strand(signals, NULL), WEIR_EBUSY);
    raise(SIGUSR1);
    serve(context);
    CHECK_EQ(got.of[SIGUSR1], 2);
    CHECK_OK(weir_signals_close(signals));
    serve(context);
    CHECK_EQ(got.calls, 3);
    CHECK_OK(weir_context_destroy(context));
}

TEST(a_set_is_a_handle_as_any)
{
    weir_context *context = new_context(), *found = NULL;
    weir_signals *signals = new_signals_of(context, SIGUSR1);
    struct got got = {0};
    size_t count = 0;
    CHECK_OK(weir_handle_context(signals, &found));
    CHECK(found == context);
    CHECK_OK(weir_signals_context(signals, &found));
    CHECK(found == context);
    CHECK_OK(weir_handle_set_tag(signals, 7));
    begin_wait(signals, &got);
    CHECK_OK(weir_context_cancel_tag(context, 7, &count));
    CHECK_EQ(count, 1);
    begin_wait(signals, &got);
    CHECK_OK(weir_handle_cancel(signals, &count));
    CHECK_EQ(count, 1);
    begin_wait(signals, &got);
    CHECK_OK(weir_handle_close(signals));
    CHECK_CODE(weir_handle_close(signals), WEIR_EBADF);
    serve(context);
    CHECK_EQ(got.of[0], 3);
    CHECK_OK(weir_context_destroy(context));
}

TEST(h71_a_signal_makes_the_context_fd_readable)
{
    weir_context *context = new_context();
    weir_signals *signals = new_signals_of(context, SIGUSR1);
    struct got got = {0};
    struct pollfd poller = {-1, POLLIN, 0};
    CHECK_OK(weir_context_fd(context, &poller.fd));
    begin_wait(signals, &got);
    for (int i = 0; i < 10 && poll(&poller, 1, 0) > 0; i++)
        CHECK_OK(weir_context_poll(context, NULL));
    CHECK_EQ(poll(&poller, 1, 0), 0);
    raise(SIGUSR1);
    CHECK_EQ(poll(&poller, 1, 10000), 1);
    CHECK_OK(weir_context_poll(context, NULL));
    CHECK_EQ(got.calls, 1);
    CHECK_OK(weir_context_destroy(context));
}

/* ---- limits */

TEST(without_a_free_fd_add_fails_and_may_be_repeated)
{
    weir_context *context = new_context();
    weir_signals *signals = new_signals(context);
    struct rlimit before, none;
    struct got got = {0};
    CHECK_EQ(getrlimit(RLIMIT_NOFILE, &before), 0);
    none = before;
    int next = dup(0);
    close(next);
    none.rlim_cur = (rlim_t)next;
    CHECK_EQ(setrlimit(RLIMIT_NOFILE, &none), 0);
    CHECK_CODE(weir_signals_add(signals, SIGUSR1, 0), -EMFILE);
    CHECK(action_of(SIGUSR1).sa_handler == SIG_DFL);
    CHECK_CODE(weir_signals_remove(signals, SIGUSR1), -ENOENT);
    CHECK_EQ(setrlimit(RLIMIT_NOFILE, &before), 0);
    CHECK_OK(weir_signals_add(signals, SIGUSR1, 0));
    int fds = count_fds();
    begin_wait(signals, &got);
    raise(SIGUSR1);
    serve(context);
    CHECK_EQ(got.calls, 1);
    /* One fd for the whole process. */
    weir_signals *more[50];
    for (int i = 0; i < 50; i++)
        more[i] = new_signals_of(context, SIGUSR2);
    CHECK_EQ(count_fds(), fds);
    for (int i = 0; i < 50; i++)
        CHECK_OK(weir_signals_close(more[i]));
    CHECK_OK(weir_context_destroy(context));
}

TEST(signals_that_no_set_can_have)
{
    weir_context *context = new_context();
    weir_signals *signals = new_signals(context);
    static const int never[] = {0,       -1,     65,     INT_MAX, INT_MIN, 32,     33,
                                SIGKILL, SIGSTOP, SIGSEGV, SIGBUS,  SIGFPE,  SIGILL, SIGTRAP, SIGSYS};
    for (size_t i = 0; i < sizeof never / sizeof *never; i++)
        CHECK_CODE(weir_signals_add(signals, never[i], 0), WEIR_EINVAL);
    CHECK_OK(weir_signals_add(signals, SIGRTMAX, 0));
    CHECK_OK(weir_signals_add(signals, SIGHUP, 0));
    CHECK_OK(weir_context_destroy(context));
}

TEST_MAIN()
