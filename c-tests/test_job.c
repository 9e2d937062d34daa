/* Jobs: functions that block, on threads of the library. */
#include "net.h"

struct gate {
    atomic_int started, open, returned;
    int gives;
};

static int pass(void *argument)
{
    struct gate *gate = argument;
    atomic_fetch_add(&gate->started, 1);
    while (!atomic_load(&gate->open))
        sleep_ms(1);
    atomic_fetch_add(&gate->returned, 1);
    return gate->gives;
}

struct result {
    atomic_int calls, status, value;
    weir_job *close; /* by the callback */
};

static void job_done(int status, int value, void *user)
{
    struct result *result = user;
    CHECK(!net_starting);
    CHECK(status == 0 || value == 0);
    if (result->close)
        CHECK_OK(weir_job_close(result->close));
    atomic_store(&result->status, status);
    atomic_store(&result->value, value);
    atomic_fetch_add(&result->calls, 1);
}

static void check_result(struct result *result, int status, int value)
{
    CHECK_EQ(atomic_load(&result->calls), 1);
    CHECK_CODE(atomic_load(&result->status), status);
    CHECK_EQ(atomic_load(&result->value), value);
}

static int count_threads(void)
{
    int found = 0;
    DIR *directory = opendir("/proc/self/task");
    CHECK(directory != NULL);
    while (readdir(directory))
        found++;
    closedir(directory);
    return found - 2;
}

TEST(what_the_function_returns_is_the_value)
{
    weir_context *context = new_context(), *found = NULL;
    struct gate gate = {.open = 1, .gives = -77};
    struct result result = {0};
    weir_job *job = NULL;
    START(weir_job_start(context, pass, &gate, &job, job_done, &result));
    CHECK(job != NULL);
    CHECK_OK(weir_job_context(job, &found));
    CHECK(found == context);
    CHECK_OK(weir_context_run(context, NULL));
    check_result(&result, 0, -77);
    size_t count = 7;
    CHECK_OK(weir_job_cancel(job, &count)); /* after */
    CHECK_EQ(count, 0);
    CHECK_OK(weir_handle_pending(job, &count));
    CHECK_EQ(count, 0);
    CHECK_OK(weir_job_close(job));
    CHECK_CODE(weir_job_close(job), WEIR_EBADF);
    CHECK_OK(weir_context_destroy(context));
}

TEST(a_job_may_be_closed_by_its_callback)
{
    weir_context *context = new_context();
    struct gate gate = {.gives = 3};
    struct result result = {0};
    START(weir_job_start(context, pass, &gate, &result.close, job_done, &result));
    atomic_store(&gate.open, 1);
    CHECK_OK(weir_context_run(context, NULL));
    check_result(&result, 0, 3);
    CHECK_CODE(weir_job_close(result.close), WEIR_EBADF);
    CHECK_OK(weir_context_destroy(context));
}

TEST(without_a_handle_and_as_a_record)
{
    weir_context *context = new_context();
    struct gate gate = {.open = 1, .gives = 5};
    weir_record record;
    size_t count = 0;
    CHECK_OK(weir_job_start(context, pass, &gate, NULL, NULL, &gate));
    CHECK_OK(weir_context_reap(context, &record, 1, WEIR_FOREVER, &count));
    CHECK_EQ(count, 1);
    CHECK_EQ(record.kind, WEIR_OP_JOB);
    CHECK_EQ(record.value, 5);
    CHECK_OK(record.status);
    CHECK(record.user == &gate);
    CHECK_OK(weir_context_destroy(context));
}

TEST(cancel_takes_back_what_has_not_started_only)
{
    weir_context *context = new_context();
    struct gate gate = {.gives = 1}, never = {0};
    struct result first = {0}, second = {0}, third = {0};
    weir_job *running, *queued, *closed;
    size_t count = 7;
    CHECK_OK(weir_job_set_limit(1));
    START(weir_job_start(context, pass, &gate, &running, job_done, &first));
    WAIT_FOR(atomic_load(&gate.started) == 1);
    START(weir_job_start(context, pass, &never, &queued, job_done, &second));
    START(weir_job_start(context, pass, &never, &closed, job_done, &third));
    CHECK_OK(weir_handle_pending(running, &count));
    CHECK_EQ(count, 1);
    CHECK_OK(weir_job_cancel(running, &count));
    CHECK_EQ(count, 0);
    CHECK_OK(weir_handle_cancel(queued, &count));
    CHECK_EQ(count, 1);
    CHECK_OK(weir_job_cancel(queued, NULL));
    CHECK_OK(weir_handle_close(closed));
    CHECK_EQ(atomic_load(&second.calls), 0);
    RUN_UNTIL(context, atomic_load(&second.calls) == 1 && atomic_load(&third.calls) == 1);
    check_result(&second, WEIR_ECANCELED, 0);
    check_result(&third, WEIR_ECANCELED, 0);
    CHECK_EQ(atomic_load(&first.calls), 0);
    atomic_store(&gate.open, 1);
    RUN_UNTIL(context, atomic_load(&first.calls) == 1);
    check_result(&first, 0, 1);
    CHECK_OK(weir_context_destroy(context));
    CHECK_EQ(atomic_load(&never.started), 0);
}

TEST(closed_while_it_runs_it_completes_once_afterwards)
{
    weir_context *context = new_context();
    struct gate gate = {.gives = 9};
    struct result result = {0};
    weir_job *job;
    START(weir_job_start(context, pass, &gate, &job, job_done, &result));
    WAIT_FOR(atomic_load(&gate.started) == 1);
    CHECK_OK(weir_job_close(job));
    for (int i = 0; i < 10; i++)
        CHECK_OK(weir_context_poll(context, NULL));
    CHECK_EQ(atomic_load(&result.calls), 0);
    atomic_store(&gate.open, 1);
    RUN_UNTIL(context, atomic_load(&result.calls) == 1);
    check_result(&result, 0, 9);
    CHECK_OK(weir_context_destroy(context));
}

static void *open_later(void *user)
{
    sleep_ms(50);
    atomic_store(&((struct gate *)user)->open, 1);
    return NULL;
}

TEST(destroy_waits_for_what_runs_and_cancels_what_is_queued)
{
    weir_context *context = new_context();
    struct gate gate = {.gives = 2}, never = {0};
    struct result first = {0}, second = {0};
    CHECK_OK(weir_job_set_limit(1));
    START(weir_job_start(context, pass, &gate, NULL, job_done, &first));
    WAIT_FOR(atomic_load(&gate.started) == 1);
    START(weir_job_start(context, pass, &never, NULL, job_done, &second));
    pthread_t thread = start_thread(open_later, &gate);
    CHECK_OK(weir_context_destroy(context));
    CHECK_EQ(atomic_load(&gate.returned), 1);
    check_result(&first, 0, 2);
    check_result(&second, WEIR_ECANCELED, 0);
    CHECK_EQ(atomic_load(&never.started), 0);
    join_thread(thread);
}

static int destroy_here(void *context)
{
    return weir_context_destroy(context);
}

TEST(a_function_cannot_destroy_its_context)
{
    weir_context *context = new_context();
    struct result result = {0};
    START(weir_job_start(context, destroy_here, context, NULL, job_done, &result));
    CHECK_OK(weir_context_run(context, NULL));
    check_result(&result, 0, WEIR_EBUSY);
    CHECK_OK(weir_context_destroy(context));
}

static int signals_blocked(void *argument)
{
    sigset_t mask;
    (void)argument;
    CHECK_EQ(pthread_sigmask(SIG_SETMASK, NULL, &mask), 0);
    return sigismember(&mask, SIGUSR1) && sigismember(&mask, SIGALRM);
}

TEST(signals_are_blocked_in_the_threads_of_jobs_only)
{
    weir_context *context = new_context();
    struct result result = {0};
    sigset_t mask;
    START(weir_job_start(context, signals_blocked, NULL, NULL, job_done, &result));
    CHECK_EQ(pthread_sigmask(SIG_SETMASK, NULL, &mask), 0);
    CHECK_EQ(sigismember(&mask, SIGUSR1), 0);
    CHECK_OK(weir_context_run(context, NULL));
    check_result(&result, 0, 1);
    CHECK_OK(weir_context_destroy(context));
}

TEST(threads_come_to_the_limit_and_go)
{
    weir_context *context = new_context();
    struct gate gate = {0};
    struct result result = {0};
    struct gate other = {0};
    join_thread(start_thread(open_later, &other)); /* the thread sanitizer's own thread comes with the first */
    int before = count_threads();
    CHECK_OK(weir_job_set_limit(4));
    for (int i = 0; i < 20; i++)
        CHECK_OK(weir_job_start(context, pass, &gate, NULL, job_done, &result));
    WAIT_FOR(atomic_load(&gate.started) == 4);
    CHECK_EQ(count_threads(), before + 4);
    atomic_store(&gate.open, 1);
    CHECK_OK(weir_context_run(context, NULL));
    CHECK_EQ(atomic_load(&gate.returned), 20);
    WAIT_FOR(count_threads() == before);
    CHECK_OK(weir_context_destroy(context));
}

static weir_strand *job_strand;

static void done_in_strand(int status, int value, void *user)
{
    CHECK_EQ(weir_strand_running_in_this_thread(job_strand), 1);
    job_done(status, value, user);
}

/* Bound while it is queued or runs; closed or not, its completion comes in the strand. */
TEST(in_a_strand)
{
    weir_context *context = new_context();
    CHECK_OK(weir_strand_create(context, &job_strand));
    for (int closed = 0; closed < 2; closed++) {
        struct gate gate = {.gives = 4};
        struct result result = {0};
        weir_job *job;
        START(weir_job_start(context, pass, &gate, &job, done_in_strand, &result));
        CHECK_OK(weir_handle_set_strand(job, job_strand));
        if (closed) {
            WAIT_FOR(atomic_load(&gate.started) == 1);
            CHECK_OK(weir_job_close(job));
        }
        atomic_store(&gate.open, 1);
        CHECK_OK(weir_context_run(context, NULL));
        CHECK_OK(weir_context_restart(context));
        check_result(&result, 0, 4);
        if (!closed)
            CHECK_OK(weir_job_close(job));
    }
    CHECK_OK(weir_context_destroy(context));
}

TEST(a_job_that_is_done_may_be_bound_too)
{
    weir_context *context = new_context();
    struct gate gate = {.gives = 4};
    struct result result = {0};
    weir_strand *strand;
    weir_job *job;
    CHECK_OK(weir_strand_create(context, &strand));
    START(weir_job_start(context, pass, &gate, &job, job_done, &result));
    atomic_store(&gate.open, 1);
    CHECK_OK(weir_context_run(context, NULL));
    check_result(&result, 0, 4);
    CHECK_OK(weir_handle_set_strand(job, strand));
    CHECK_OK(weir_context_destroy(context));
}

static int quick(void *argument)
{
    (void)argument;
    return 1;
}

static void sum_up(int status, int value, void *user)
{
    CHECK(status == 0 || status == WEIR_ECANCELED);
    atomic_fetch_add((atomic_int *)user, status == 0 ? value : 1);
}

static weir_context *shared;
static atomic_int sum;

static void *start_and_cancel(void *argument)
{
    (void)argument;
    for (size_t i = 0; i < many(2000); i++) {
        weir_job *job = NULL;
        CHECK_OK(weir_job_start(shared, quick, NULL, i % 2 ? &job : NULL, sum_up, &sum));
        if (i % 2)
            CHECK_OK(i % 4 == 1 ? weir_job_close(job) : weir_job_cancel(job, NULL));
        CHECK_OK(weir_context_poll(shared, NULL));
    }
    return NULL;
}

TEST(from_eight_threads_each_completes_once)
{
    pthread_t threads[8];
    shared = new_context_with(0, 8);
    CHECK_OK(weir_context_work_begin(shared));
    for (int i = 0; i < 8; i++)
        threads[i] = start_thread(start_and_cancel, NULL);
    for (int i = 0; i < 8; i++)
        join_thread(threads[i]);
    CHECK_OK(weir_context_destroy(shared));
    CHECK_EQ(atomic_load(&sum), 8 * (int)many(2000));
}

TEST(the_program_may_end_while_functions_run)
{
    weir_context *context = new_context();
    static struct gate gate;
    CHECK_OK(weir_job_start(context, pass, &gate, NULL, job_done, NULL));
    WAIT_FOR(atomic_load(&gate.started) == 1);
    exit(0);
}

TEST_MAIN()
