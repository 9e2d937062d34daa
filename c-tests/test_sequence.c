/* Random sequences of calls over all types of handles, with a model beside the library: sequence/model.h says what must
 * hold. What is called, with what, and when is drawn from a seed.
 *
 *     SEQUENCE_SEED=7 SEQUENCE_SEEDS=1 SEQUENCE_CALLS=100000 test_sequence one_thread
 *
 * With one thread a seed gives the same sequence again as far as the kernel answers in the same way. */
#include "sequence/run.h"

TEST(one_thread)
{
    size_t seeds = number_from("SEQUENCE_SEEDS", CHECK_SANITIZED ? 6 : 20), calls = number_from("SEQUENCE_CALLS", 20000);
    uint64_t first = number_from("SEQUENCE_SEED", 1);
    int64_t began = now_ns();
    alone = true;
#ifndef __SANITIZE_THREAD__ /* it does not follow a child of several contexts */
    forks = true;
#endif
    int fds = fds_before();
    for (uint64_t seed = first; seed < first + seeds && time_is_left(began); seed++) {
        struct actor actor = {.state = seed, .limit = calls};
        begin_seed("one_thread", seed, calls, 1);
        run_alone(&actor, fds);
    }
    tell_calls(getenv("SEQUENCE_TABLE") != NULL);
}

/* ---- several threads */

static atomic_bool over;

#if CHECK_SANITIZED
/* The thread sanitizer takes a file descriptor for a variable. That an fd is closed while a watch of another thread is
 * about to change its interest is what these sequences are for; weir_watch_create() allows it. Nothing else is read or
 * written in that function. */
const char *__tsan_default_suppressions(void);
const char *__tsan_default_suppressions(void)
{
    return "race_top:epoll_ctl\n";
}
#endif

static void *caller(void *user)
{
    me = user;
    while (me->calls < me->limit)
        a_call();
    return NULL;
}

static void *runner(void *user)
{
    me = user;
    while (!atomic_load(&over))
        run_a_little(atomic_load(&contexts[below(CONTEXTS)]));
    return NULL;
}

TEST(several_threads)
{
    enum { MOST = 16 };
    static struct actor actors[MOST];
    size_t seeds = number_from("SEQUENCE_SEEDS", CHECK_SANITIZED ? 4 : 10), calls = number_from("SEQUENCE_CALLS", 20000);
    size_t threads = number_from("SEQUENCE_THREADS", 4);
    uint64_t first = number_from("SEQUENCE_SEED", 1);
    int64_t began = now_ns();
    CHECK(threads >= 2 && threads <= MOST);
    int fds = fds_before();
    for (uint64_t seed = first; seed < first + seeds && time_is_left(began); seed++) {
        pthread_t ids[MOST];
        struct actor lead = {.state = seed, .limit = calls};
        me = &lead;
        begin_seed("several_threads", seed, calls, threads);
        atomic_store(&over, false);
        for (int i = 0; i < CONTEXTS; i++)
            atomic_store(&contexts[i], make_context());
        for (int i = 0; i < SHARED; i++)
            atomic_store(&shared[i], NULL);
        for (size_t i = 0; i < threads; i++) {
            actors[i] = (struct actor){.state = seed * 1000 + i, .limit = calls / threads};
            CHECK_EQ(pthread_create(&ids[i], NULL, i % 2 == 0 ? caller : runner, &actors[i]), 0);
        }
        for (size_t i = 0; i < threads; i += 2)
            pthread_join(ids[i], NULL);
        atomic_store(&over, true);
        for (size_t i = 1; i < threads; i += 2)
            pthread_join(ids[i], NULL);
        ending = true;
        for (size_t i = 0; i < threads; i++)
            close_all(&actors[i]);
        run_out();
        end_seed(fds);
    }
    tell_calls(getenv("SEQUENCE_TABLE") != NULL);
}

TEST_MAIN()
