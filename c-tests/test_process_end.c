/* Ways in which a process ends while the library works: exit, return from main, quick_exit, the end of the main thread
 * alone, handlers and destructors that run last. Each is done many times in a child, which must end with the
 * status that was asked for. */
#include "net.h"

static weir_context *context;
static atomic_int inside;

static void *run_it(void *user)
{
    (void)user;
    atomic_fetch_add(&inside, 1);
    weir_context_run(context, NULL);
    return NULL;
}

static int slow_job(void *user)
{
    (void)user;
    sleep_ms(2);
    return 0;
}

static void count_value(int status, int value, void *user)
{
    (void)value;
    count_call(status, user);
}

static void tick(int status, void *user)
{
    static struct counter ignored;
    if (status == 0) {
        weir_context_post(context, count_call, &ignored);
        weir_job_start(context, slow_job, NULL, NULL, count_value, &ignored);
    }
    (void)user;
}

/* Two threads that run, and a timer that posts and starts jobs. */
static void set_to_work(void)
{
    context = new_context_with(0, 2);
    CHECK_OK(weir_context_work_begin(context));
    weir_timer *timer = new_timer(context);
    CHECK_OK(weir_timer_start(timer, 0, 100 * 1000, tick, NULL));
    for (int i = 0; i < 2; i++)
        CHECK_EQ(pthread_detach(start_thread(run_it, NULL)), 0);
    WAIT_FOR(atomic_load(&inside) == 2);
    struct timespec pause = {0, (long)(now_ns() % 3000000)};
    nanosleep(&pause, NULL);
}

static void in_children(void (*end)(void), size_t count)
{
    for (size_t i = 0; i < count; i++) {
        fflush(NULL);
        pid_t child = fork();
        CHECK(child >= 0);
        if (child == 0) {
            signal(SIGALRM, SIG_DFL);
            alarm(40);
            end();
            _exit(9);
        }
        int status = 0;
        CHECK_EQ(waitpid(child, &status, 0), child);
        if (!WIFEXITED(status) || WEXITSTATUS(status) != 42)
            check_fail(__FILE__, __LINE__, "round %zu: wait status %#x", i, (unsigned)status);
    }
}

/* ---- exit */

static void plain_exit(void)
{
    set_to_work();
    exit(42);
}

TEST(exit_while_other_threads_are_inside_run)
{
    in_children(plain_exit, many(200));
}

static void exit_now(int status, void *user)
{
    (void)status;
    (void)user;
    exit(42);
}

static void exit_in_callback(void)
{
    set_to_work();
    CHECK_OK(weir_context_post(context, exit_now, NULL));
    for (;;)
        pause();
}

TEST(exit_in_a_callback)
{
    in_children(exit_in_callback, many(200));
}

static void quick(void)
{
    set_to_work();
    quick_exit(42);
}

TEST(quick_exit_while_other_threads_are_inside_run)
{
    in_children(quick, many(50));
}

static void destroy_it(void)
{
    CHECK_OK(weir_context_destroy(context));
    CHECK_CODE(weir_context_stop(context), WEIR_EBADF);
}

static void destroyed_at_exit(void)
{
    CHECK_EQ(atexit(destroy_it), 0);
    set_to_work();
    exit(42);
}

TEST(a_handler_of_exit_destroys_the_context)
{
    in_children(destroyed_at_exit, many(100));
}

static void busy_at_exit(void)
{
    /* Inside a callback it can not be; nothing happens. */
    CHECK_CODE(weir_context_destroy(context), WEIR_EBUSY);
}

static void destroyed_at_exit_in_callback(void)
{
    CHECK_EQ(atexit(busy_at_exit), 0);
    set_to_work();
    CHECK_OK(weir_context_post(context, exit_now, NULL));
    for (;;)
        pause();
}

TEST(a_handler_of_exit_in_a_callback_may_call_the_library)
{
    in_children(destroyed_at_exit_in_callback, many(100));
}

/* ---- the main thread ends alone */

static void exit_later(int status, void *user)
{
    (void)status;
    (void)user;
    sleep_ms(5);
    exit(42);
}

static void main_thread_leaves(void)
{
    set_to_work();
    CHECK_OK(weir_context_post(context, exit_later, NULL));
    pthread_exit(NULL);
}

TEST(the_main_thread_ends_and_the_others_go_on)
{
    if (CHECK_SANITIZED)
        CHECK_SKIP("the leak check does not find what libc keeps for a main thread that has ended");
    in_children(main_thread_leaves, many(50));
}

static void *run_and_exit_thread(void *user)
{
    run_it(user);
    pthread_exit(user); /* after run it is fine */
}

TEST(pthread_exit_after_run)
{
    context = new_context();
    struct counter posted = {0};
    CHECK_OK(weir_context_post(context, done, &posted));
    join_thread(start_thread(run_and_exit_thread, NULL));
    CHECK_EQ(posted.calls, 1);
    CHECK_OK(weir_context_destroy(context));
}

/* ---- destructors of thread-specific data, which run when the library's own may be gone */

static pthread_key_t key;
static atomic_int in_destructor;

static void use_the_library(void *value)
{
    struct counter counter = {0};
    weir_context *own = new_context();
    weir_timer *timer = new_timer(own);
    for (int i = 0; i < 100; i++)
        CHECK_OK(weir_context_post(own, done, &counter));
    CHECK_OK(weir_timer_expires_after(timer, 0));
    CHECK_OK(weir_timer_wait(timer, done, &counter));
    CHECK_OK(weir_context_run(own, NULL));
    CHECK_EQ(counter.calls, 101);
    CHECK_OK(weir_context_destroy(own));
    CHECK_OK(weir_context_post(context, done, value));
    /* Once more, after other destructors. */
    if (atomic_fetch_add(&in_destructor, 1) % 2 == 0)
        CHECK_EQ(pthread_setspecific(key, value), 0);
}

static void *end_with_a_destructor(void *user)
{
    CHECK_EQ(pthread_setspecific(key, user), 0);
    CHECK_OK(weir_context_post(context, done, user));
    return NULL;
}

TEST(destructors_of_thread_specific_data_may_call_everything)
{
    if (CHECK_SANITIZED)
        CHECK_SKIP("a thread that uses the library after the end of its thread-locals keeps a batch of empty posts");
    context = new_context();
    struct counter posted = {0};
    CHECK_EQ(pthread_key_create(&key, use_the_library), 0);
    for (int i = 0; i < 20; i++)
        join_thread(start_thread(end_with_a_destructor, &posted));
    CHECK_OK(weir_context_run(context, NULL));
    CHECK_EQ(in_destructor, 40);
    CHECK_EQ(posted.calls, 60);
    CHECK_OK(weir_context_destroy(context));
}

TEST_MAIN()
