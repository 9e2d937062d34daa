/* pthread_cancel of threads that are inside the library: none is ended there, so no lock stays held and the reactor's
 * role is not lost. A request waits until the function has returned. pthread_exit in a callback ends the process. */
#include "net.h"

static weir_context *context;
static atomic_int inside, began;
static int peer;

static pthread_t cancelled_in(void *(*body)(void *), void *user)
{
    pthread_t thread = start_thread(body, user);
    WAIT_FOR(atomic_load(&inside) > 0);
    sleep_ms(30); /* so that it blocks, mostly */
    CHECK_EQ(pthread_cancel(thread), 0);
    sleep_ms(30);
    return thread;
}

static void join_cancelled(pthread_t thread)
{
    void *result = NULL;
    CHECK_EQ(pthread_join(thread, &result), 0);
    CHECK(result == PTHREAD_CANCELED);
}

static void *run_and_be_cancelled(void *user)
{
    CHECK_EQ(pthread_setcanceltype(user ? PTHREAD_CANCEL_ASYNCHRONOUS : PTHREAD_CANCEL_DEFERRED, NULL), 0);
    atomic_fetch_add(&inside, 1);
    CHECK_OK(weir_context_run(context, NULL));
    atomic_fetch_sub(&inside, 1);
    pthread_testcancel();
    check_fail(__FILE__, __LINE__, "the cancel is lost");
}

static void check_that_it_works(void)
{
    /* Timers and posts need the reactor's role, which the cancelled thread has. */
    struct counter timed = {0};
    weir_timer *timer = new_timer(context);
    CHECK_OK(weir_timer_expires_after(timer, CHECK_MS));
    CHECK_OK(weir_timer_wait(timer, done, &timed));
    WAIT_FOR(atomic_load(&timed.calls) == 1);
    CHECK_OK(weir_context_post(context, done, &timed));
    WAIT_FOR(atomic_load(&timed.calls) == 2);
    CHECK_OK(weir_timer_close(timer));
}

static void one_thread(void *asynchronous)
{
    context = new_context();
    CHECK_OK(weir_context_work_begin(context));
    pthread_t thread = cancelled_in(run_and_be_cancelled, asynchronous);
    check_that_it_works();
    CHECK_EQ(atomic_load(&inside), 1); /* it runs still */
    CHECK_OK(weir_context_stop(context));
    if (asynchronous)
        join_thread(thread); /* some versions of glibc give no result then */
    else
        join_cancelled(thread);
    CHECK_OK(weir_context_destroy(context));
}

TEST(a_thread_cancelled_while_it_blocks_in_run_ends_when_run_returns)
{
    one_thread(NULL);
}

TEST(the_same_where_the_thread_may_be_cancelled_at_any_moment)
{
    one_thread(&inside);
}

TEST(of_several_threads_in_run_each_may_be_cancelled)
{
    pthread_t threads[4];
    for (int one = 0; one < 4; one++) {
        context = new_context_with(0, 4);
        CHECK_OK(weir_context_work_begin(context));
        atomic_store(&inside, 0);
        for (int i = 0; i < 4; i++)
            threads[i] = start_thread(run_and_be_cancelled, NULL);
        WAIT_FOR(atomic_load(&inside) == 4);
        sleep_ms(20);
        for (int i = 0; i <= one; i++)
            CHECK_EQ(pthread_cancel(threads[i]), 0);
        sleep_ms(10);
        check_that_it_works();
        for (int i = one + 1; i < 4; i++)
            CHECK_EQ(pthread_cancel(threads[i]), 0);
        CHECK_OK(weir_context_stop(context));
        for (int i = 0; i < 4; i++)
            join_cancelled(threads[i]);
        CHECK_OK(weir_context_destroy(context));
    }
}

static void sleep_in_callback(int status, void *user)
{
    (void)user;
    CHECK_OK(status);
    atomic_fetch_add(&began, 1);
    sleep_ms(100); /* a place where threads are cancelled, and one more: */
    pthread_testcancel();
    atomic_fetch_add(&began, 1);
}

TEST(a_callback_is_not_cancelled)
{
    context = new_context();
    CHECK_OK(weir_context_work_begin(context));
    CHECK_OK(weir_context_post(context, sleep_in_callback, NULL));
    pthread_t thread = cancelled_in(run_and_be_cancelled, NULL);
    WAIT_FOR(atomic_load(&began) == 2);
    check_that_it_works();
    CHECK_OK(weir_context_stop(context));
    join_cancelled(thread);
    CHECK_OK(weir_context_destroy(context));
}

static void *destroy_and_be_cancelled(void *user)
{
    (void)user;
    CHECK_EQ(pthread_cancel(pthread_self()), 0);
    CHECK_OK(weir_context_destroy(context));
    atomic_fetch_add(&inside, 1);
    pthread_testcancel();
    return NULL;
}

static void last_words(int status, void *user)
{
    CHECK_CODE(status, WEIR_ECANCELED);
    pthread_testcancel();
    atomic_fetch_add((atomic_int *)user, 1);
}

TEST(a_thread_cancelled_in_destroy_destroys)
{
    atomic_int told = 0;
    context = new_context();
    for (int i = 0; i < 10; i++)
        CHECK_OK(weir_context_post(context, last_words, &told));
    join_cancelled(start_thread(destroy_and_be_cancelled, NULL));
    CHECK_EQ(atomic_load(&inside), 1);
    CHECK_EQ(atomic_load(&told), 10);
    CHECK_CODE(weir_context_poll(context, NULL), WEIR_EBADF);
}

/* Every system call of these is a place where threads are cancelled, were it made from C. */
static void *use_all_and_be_cancelled(void *user)
{
    (void)user;
    size_t bytes = 0;
    char byte = 'x';
    static char in[4];
    static struct counter reads, writes, connects, sends, accepts;
    struct where where;
    CHECK_EQ(pthread_cancel(pthread_self()), 0);
    int ends[2];
    CHECK_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
    peer = ends[1];
    weir_stream *stream = adopted(context, ends[0]);
    CHECK_OK(weir_stream_try_write(stream, &byte, 1, &bytes));
    CHECK_OK(weir_stream_write(stream, &byte, 1, io_done, &writes));
    CHECK_OK(weir_stream_read_some(stream, in, sizeof in, io_done, &reads));
    weir_acceptor *acceptor = new_listener(context, AF_INET, 8, &where);
    weir_stream *other = new_stream(context);
    CHECK_OK(weir_stream_connect(other, AT(&where), done, &connects));
    CHECK_OK(weir_acceptor_accept_each(acceptor, NULL, &accepts));
    weir_datagram *datagram = NULL;
    CHECK_OK(weir_datagram_create(context, &datagram));
    CHECK_OK(weir_datagram_bind(datagram, AT(&where)));
    CHECK_OK(weir_datagram_send_to(datagram, &byte, 1, AT(&where), io_done, &sends));
    CHECK_OK(weir_context_post(context, done, &reads));
    CHECK_OK(weir_context_poll(context, NULL));
    CHECK_OK(weir_datagram_close(datagram));
    CHECK_OK(weir_acceptor_close(acceptor));
    CHECK_OK(weir_stream_close(other));
    CHECK_OK(weir_stream_close(stream));
    atomic_fetch_add(&inside, 1);
    pthread_testcancel();
    return NULL;
}

TEST(no_function_is_a_place_where_a_thread_is_cancelled)
{
    context = new_context();
    join_cancelled(start_thread(use_all_and_be_cancelled, NULL));
    CHECK_EQ(atomic_load(&inside), 1);
    CHECK_OK(weir_context_destroy(context));
    close(peer);
}

/* ---- pthread_exit */

static void leave(int status, void *user)
{
    (void)status;
    (void)user;
    pthread_exit(NULL);
}

TEST(pthread_exit_in_a_callback_ends_the_process_with_a_message)
{
    int said[2];
    char text[4096];
    size_t length = 0;
    CHECK_EQ(pipe(said), 0);
    pid_t child = fork();
    CHECK(child >= 0);
    if (child == 0) {
        dup2(said[1], 2);
        close(said[1]);
        context = new_context();
        CHECK_OK(weir_context_post(context, leave, NULL));
        weir_context_run(context, NULL);
        _exit(0);
    }
    close(said[1]);
    for (ssize_t got; length < sizeof text - 1 && (got = read(said[0], text + length, sizeof text - 1 - length)) > 0;)
        length += (size_t)got;
    text[length] = 0;
    close(said[0]); /* what more it says goes nowhere */
    int status = 0;
    CHECK_EQ(waitpid(child, &status, 0), child);
    if (CHECK_SANITIZED)
        CHECK_SKIP("the sanitizers handle the abort themselves");
    CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
    CHECK(strstr(text, "cannot unwind") != NULL);
}

TEST_MAIN()
