/* Great numbers for a while, and everything given back: 100,000 timers that are armed anew all the time, and 1,000
 * contexts at once. SOAK_SECONDS in the environment makes the time longer (`make soak`). */
#include "net.h"

static double soak_seconds(void)
{
    const char *text = getenv("SOAK_SECONDS");
    return text ? strtod(text, NULL) : 2;
}

/* Private kB of this process. */
static long memory_kb(void)
{
    FILE *file = fopen("/proc/self/smaps_rollup", "r");
    CHECK(file != NULL);
    char line[256];
    long sum = 0, value;
    while (fgets(line, sizeof line, file))
        if (sscanf(line, "Private_Dirty: %ld", &value) == 1 || sscanf(line, "Private_Clean: %ld", &value) == 1)
            sum += value;
    fclose(file);
    return sum;
}

/* xorshift: the same numbers in each run. */
static uint64_t draw(uint64_t *state)
{
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    return *state;
}

/* ---- timers */

struct soak_timer {
    struct soak *soak;
    weir_timer *timer;
    int64_t due; /* the earliest moment of the wait that is pending */
    uint64_t waits, fired, cancelled;
};

struct soak {
    weir_context *context;
    struct soak_timer *timers;
    size_t count;
    uint64_t state;
    bool ending;
    uint64_t early, rearmed;
    int64_t latest;
};

static void on_due(int status, void *user);

static void arm(struct soak_timer *one)
{
    struct soak *soak = one->soak;
    /* From 0 to 400 ms; one in 16 so far off that it is always armed anew before. */
    uint64_t number = draw(&soak->state);
    int64_t after = number % 16 == 0 ? 3600 * CHECK_SECOND : (int64_t)(number >> 8) % (400 * CHECK_MS);
    int64_t now = 0;
    CHECK_OK(weir_context_now(soak->context, &now));
    CHECK_OK(weir_timer_expires_after(one->timer, after)); /* ends the wait that is pending, if any */
    CHECK_OK(weir_timer_wait(one->timer, on_due, one));
    one->due = now + after;
    one->waits++;
}

static uint64_t pending(const struct soak_timer *one)
{
    return one->waits - one->fired - one->cancelled;
}

static void on_due(int status, void *user)
{
    struct soak_timer *one = user;
    struct soak *soak = one->soak;
    int64_t now = 0;
    if (status == WEIR_ECANCELED) {
        one->cancelled++;
        return; /* armed anew, or the end */
    }
    CHECK_OK(status);
    CHECK_OK(weir_context_now(soak->context, &now));
    one->fired++;
    if (pending(one) > 0)
        return; /* it had expired when it was armed anew; `due` is that of the wait that goes on */
    if (now < one->due)
        soak->early++;
    if (now - one->due > soak->latest)
        soak->latest = now - one->due;
    if (soak->ending)
        return;
    arm(one);
    struct soak_timer *other = &soak->timers[draw(&soak->state) % soak->count];
    if (pending(other) > 1)
        return; /* or a slow machine would have ever more to tell */
    soak->rearmed++;
    arm(other);
}

TEST(a_hundred_thousand_timers_expire_at_random_and_are_armed_anew)
{
    struct soak soak = {.count = many(100 * 1000), .state = 88172645463325252};
    int fds = count_fds();
    soak.context = new_context();
    soak.timers = calloc(soak.count, sizeof *soak.timers);
    CHECK(soak.timers != NULL);
    for (size_t i = 0; i < soak.count; i++) {
        soak.timers[i].soak = &soak;
        soak.timers[i].timer = new_timer(soak.context);
        arm(&soak.timers[i]);
    }
    /* A third of the time to settle. */
    int64_t length = (int64_t)(soak_seconds() * (double)CHECK_SECOND);
    CHECK_OK(weir_context_run_for(soak.context, length / 3, NULL));
    long before = memory_kb();
    CHECK_OK(weir_context_run_for(soak.context, length - length / 3, NULL));
    long after = memory_kb();

    soak.ending = true;
    for (size_t i = 0; i < soak.count; i++)
        CHECK_OK(weir_timer_close(soak.timers[i].timer));
    CHECK_OK(weir_context_run(soak.context, NULL));
    uint64_t waits = 0, fired = 0, cancelled = 0;
    for (size_t i = 0; i < soak.count; i++) {
        struct soak_timer *one = &soak.timers[i];
        CHECK_EQ(one->waits, one->fired + one->cancelled);
        waits += one->waits;
        fired += one->fired;
        cancelled += one->cancelled;
    }
    CHECK_OK(weir_context_destroy(soak.context));
    printf("%zu timers: %llu waits, %llu expired, %llu ended by %llu re-arms or the end, %.1f ms late at most; "
           "%ld kB, %ld kB at the end\n",
           soak.count, (unsigned long long)waits, (unsigned long long)fired, (unsigned long long)cancelled,
           (unsigned long long)soak.rearmed, (double)soak.latest / 1e6, before, after);
    CHECK(fired > soak.count / 100);
    CHECK(soak.rearmed > 0);
    CHECK_EQ(soak.early, 0);
    if (!CHECK_SANITIZED)
        CHECK(after <= before + before / 20 + 2048); /* a block lost with each expiry is more */
    CHECK_EQ(count_fds(), fds);
    free(soak.timers);
}

/* ---- contexts */

struct cell {
    weir_context *context;
    weir_timer *timer;
    weir_stream *near, *far;
    char out[32], in[32];
    struct counter timed, written, read;
};

static void make_cell(struct cell *cell, size_t number)
{
    memset(cell, 0, sizeof *cell);
    cell->context = new_context();
    cell->timer = new_timer(cell->context);
    CHECK_OK(weir_stream_pair(cell->context, &cell->near, &cell->far));
    snprintf(cell->out, sizeof cell->out, "cell %zu", number);
    CHECK_OK(weir_timer_expires_after(cell->timer, (int64_t)(number % 10) * CHECK_MS));
    CHECK_OK(weir_timer_wait(cell->timer, done, &cell->timed));
    CHECK_OK(weir_stream_read(cell->far, cell->in, sizeof cell->in, io_done, &cell->read));
    CHECK_OK(weir_stream_write(cell->near, cell->out, sizeof cell->out, io_done, &cell->written));
}

static void use_cell(struct cell *cell)
{
    CHECK_OK(weir_context_run(cell->context, NULL));
    CHECK_DONE(cell->timed, 0, 0);
    CHECK_DONE(cell->written, 0, sizeof cell->out);
    CHECK_DONE(cell->read, 0, sizeof cell->in);
    CHECK(memcmp(cell->in, cell->out, sizeof cell->in) == 0);
}

static void *use_each_second_cell(void *user)
{
    struct cell *cells = user;
    for (size_t i = 0; cells[i].context; i += 2)
        use_cell(&cells[i]);
    return NULL;
}

/* One after another, and from two threads; every other context still has its handles open when it ends. */
TEST(a_thousand_contexts_in_one_process)
{
    size_t count = many(1000);
    struct rlimit limit;
    CHECK_EQ(getrlimit(RLIMIT_NOFILE, &limit), 0);
    limit.rlim_cur = limit.rlim_max;
    CHECK_EQ(setrlimit(RLIMIT_NOFILE, &limit), 0);
    if (limit.rlim_cur / 8 < count) {
        count = limit.rlim_cur / 8;
        printf("the limit of %llu descriptors allows %zu contexts\n", (unsigned long long)limit.rlim_cur, count);
    }
    struct cell *cells = calloc(count + 2, sizeof *cells);
    CHECK(cells != NULL);
    int fds = count_fds();
    long settled = 0, now = 0;
    int64_t end = now_ns() + (int64_t)(soak_seconds() * (double)CHECK_SECOND);
    int rounds = 0;
    for (; rounds < 4 || (now_ns() < end); rounds++) {
        for (size_t i = 0; i < count; i++)
            make_cell(&cells[i], i);
        pthread_t other = start_thread(use_each_second_cell, cells);
        use_each_second_cell(cells + 1);
        join_thread(other);
        for (size_t i = 0; i < count; i++) {
            if (i % 2 == 0) {
                CHECK_OK(weir_stream_close(cells[i].near));
                CHECK_OK(weir_stream_close(cells[i].far));
                CHECK_OK(weir_timer_close(cells[i].timer));
            }
            CHECK_OK(weir_context_destroy(cells[i].context));
        }
        CHECK_EQ(count_fds(), fds);
        now = memory_kb();
        if (rounds == 1)
            settled = now;
    }
    printf("%d times %zu contexts; %ld kB after the second time, %ld kB after the last\n", rounds, count, settled,
           now);
    if (!CHECK_SANITIZED)
        CHECK(now <= settled + settled / 50 + 512);
    free(cells);
}

TEST_MAIN()
