/* Timers against a plain model, on the manual clock: random operations, from outside and from callbacks. The model is
 * an array that is searched; every count, expiry, status and the order of what fires must be the same in both.
 *
 * TIMER_MODEL_SEED: the first seed (default 1). TIMER_MODEL_RUNS: seeds per case. */
#include "check.h"

enum { MOST = 6000 };

struct wait {
    struct wait *next; /* of the timer, of what fired, or of what is free */
    int timer;
    uint64_t life, cancelled; /* which timer of that slot; when it was cancelled, 0 for never */
    bool fired, done;
    bool is_tick; /* then the following too */
    bool due, ended, queued, started;
    int64_t period;
};

struct timer {
    weir_timer *handle;
    uint64_t life, armed, last_cancelled, last_life;
    int64_t expiry;
    struct wait *first, *last, *tick;
};

static struct timer timers[MOST];
static struct wait *fired_first, *fired_last, *free_waits;
static weir_context *context;
static int64_t now;
static uint64_t seed, state, steps, lives, arms, cancels, batch;
static size_t outstanding, calls;
static int used, budget;
static bool active;

#define SAME(got, want)                                                                                                \
    do {                                                                                                               \
        long long same_got = (long long)(got), same_want = (long long)(want);                                          \
        if (same_got != same_want)                                                                                     \
            check_fail(__FILE__, __LINE__, "seed %llu step %llu: %s is %lld, the model has %lld",                      \
                       (unsigned long long)seed, (unsigned long long)steps, #got, same_got, same_want);                \
    } while (0)

static uint64_t next_random(void)
{
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return state * UINT64_C(0x2545F4914F6CDD1D) >> 11;
}

static uint64_t below(uint64_t limit)
{
    return next_random() % limit;
}

static int64_t sum(int64_t left, int64_t right)
{
    return left > INT64_MAX - right ? INT64_MAX : left + right;
}

/* Near, far, equal to others, at the ends of slots, and beyond all. */
static int64_t any_span(void)
{
    switch (below(12)) {
    case 0:
        return 0;
    case 1:
        return (int64_t)below(4);
    case 2:
        return (int64_t)(UINT64_C(1) << below(63));
    case 3:
        return (int64_t)(UINT64_C(1) << below(63)) - 1;
    case 4:
        return below(20) ? (int64_t)below(CHECK_SECOND) : INT64_MAX - (int64_t)below(3);
    case 5:
        return (int64_t)(below(1 << 20) << 16);
    case 6:
        return (int64_t)below(20) * CHECK_MS;
    case 7:
        return (int64_t)below(100) * CHECK_SECOND;
    default:
        return (int64_t)below(UINT64_C(1) << (4 + below(30)));
    }
}

static struct wait *new_wait(int timer, bool is_tick)
{
    struct wait *wait = free_waits;
    if (wait)
        free_waits = wait->next;
    else
        CHECK((wait = malloc(sizeof *wait)) != NULL);
    *wait = (struct wait){.timer = timer, .life = timers[timer].life, .is_tick = is_tick};
    outstanding++;
    return wait;
}

static void end_wait(struct wait *wait)
{
    CHECK(!wait->done);
    wait->done = true;
    wait->next = free_waits;
    free_waits = wait;
    outstanding--;
}

static bool is_awaited(const struct timer *timer)
{
    return timer->handle && (timer->first || (timer->tick && !timer->tick->ended));
}

static bool is_due(const struct timer *timer)
{
    return is_awaited(timer) && timer->expiry <= now;
}

static bool any_due(void)
{
    for (int i = 0; i < used; i++)
        if (is_due(&timers[i]))
            return true;
    return false;
}

static void add_fired(struct wait *wait)
{
    wait->next = NULL;
    wait->fired = true;
    if (fired_first)
        fired_last->next = wait;
    else
        fired_first = wait;
    fired_last = wait;
}

static int compare(const void *left, const void *right)
{
    const struct timer *a = &timers[*(const int *)left], *b = &timers[*(const int *)right];
    if (a->expiry != b->expiry)
        return a->expiry < b->expiry ? -1 : 1;
    return a->armed < b->armed ? -1 : 1;
}

/* What a turn takes: the first that are due, by expiry and by the order of arming. */
static void take_batch(void)
{
    static int due[MOST];
    size_t count = 0;
    for (int i = 0; i < used; i++)
        if (is_due(&timers[i]))
            due[count++] = i;
    qsort(due, count, sizeof *due, compare);
    for (size_t i = 0; i < count && i < batch; i++) {
        struct timer *timer = &timers[due[i]];
        for (struct wait *wait = timer->first, *next; wait; wait = next) {
            next = wait->next;
            add_fired(wait);
        }
        timer->first = timer->last = NULL;
        struct wait *tick = timer->tick;
        if (!tick || tick->ended)
            continue;
        tick->due = true;
        if (!tick->queued) {
            tick->queued = true;
            add_fired(tick);
        }
        /* The first of the grid that is later than now; it is less than two times INT64_MAX. */
        uint64_t at = (uint64_t)timer->expiry, period = (uint64_t)tick->period;
        at += (((uint64_t)now - at) / period + 1) * period;
        timer->expiry = at > INT64_MAX ? INT64_MAX : (int64_t)at;
        timer->armed = ++arms;
    }
}

static void act(void);

static void act_inside(bool sure)
{
    calls++;
    /* Where it can't be told whether the turn has taken the due ones already, nothing is done. */
    if (!active || budget <= 0 || below(3) != 0 || (!sure && any_due()))
        return;
    budget--;
    for (uint64_t left = 1 + below(3); left > 0; left--)
        act();
}

static void take_fired(struct wait *wait)
{
    if (!fired_first)
        take_batch();
    if (wait != fired_first)
        check_fail(__FILE__, __LINE__, "seed %llu step %llu: timer %d fired, the model has %d (%s)",
                   (unsigned long long)seed, (unsigned long long)steps, wait->timer,
                   fired_first ? fired_first->timer : -1, wait->fired ? "in another order" : "not due");
    fired_first = wait->next;
}

static void on_wait(int status, void *user)
{
    struct wait *wait = user;
    struct timer *timer = &timers[wait->timer];
    SAME(!wait->done && !wait->is_tick, 1);
    if (wait->cancelled == 0) {
        SAME(status, 0);
        take_fired(wait);
    } else {
        SAME(status, WEIR_ECANCELED);
        if (wait->life >= timer->last_life) {
            SAME(wait->life > timer->last_life || wait->cancelled > timer->last_cancelled, 1);
            timer->last_life = wait->life;
            timer->last_cancelled = wait->cancelled;
        }
    }
    bool sure = status == 0;
    end_wait(wait);
    act_inside(sure);
}

static void on_tick(int status, void *user)
{
    struct wait *tick = user;
    SAME(!tick->done && tick->is_tick, 1);
    if (status == 0) {
        if (!tick->due || tick == fired_first)
            take_fired(tick);
        SAME(tick->due, 1);
        tick->due = false;
        bool sure = tick->fired;
        tick->fired = false;
        act_inside(sure);
        tick->queued = tick->due || tick->ended;
        return;
    }
    SAME(status, WEIR_ECANCELED);
    SAME(tick->ended && !tick->due, 1);
    if (timers[tick->timer].tick == tick)
        timers[tick->timer].tick = NULL;
    end_wait(tick);
    act_inside(false);
}

/* ---- operations */

static void set_expiry(struct timer *timer, int64_t at)
{
    timer->expiry = at;
    timer->armed = ++arms;
}

static void look_at(const struct timer *timer)
{
    int64_t got = -1;
    CHECK_OK(weir_timer_expiry(timer->handle, &got));
    SAME(got, timer->expiry);
    CHECK_OK(weir_timer_remaining(timer->handle, &got));
    SAME(got, timer->expiry == INT64_MAX ? WEIR_FOREVER : timer->expiry <= now ? 0 : timer->expiry - now);
}

static void create(int slot)
{
    struct timer *timer = &timers[slot];
    CHECK_OK(weir_timer_create(context, &timer->handle));
    timer->life = ++lives;
    timer->first = timer->last = timer->tick = NULL;
    int64_t left = -1;
    CHECK_OK(weir_timer_remaining(timer->handle, &left));
    SAME(left, 0);
    CHECK_OK(weir_timer_expiry(timer->handle, &timer->expiry));
    CHECK(timer->expiry <= now);
    timer->armed = ++arms;
}

static void begin_wait(int slot)
{
    struct timer *timer = &timers[slot];
    if (!is_awaited(timer))
        timer->armed = ++arms; /* a timer that nothing waits for is armed by the first wait */
    struct wait *wait = new_wait(slot, false);
    if (timer->first)
        timer->last->next = wait;
    else
        timer->first = wait;
    timer->last = wait;
    CHECK_OK(weir_timer_wait(timer->handle, on_wait, wait));
}

static size_t end_waits(struct timer *timer, size_t most)
{
    size_t count = 0;
    for (; timer->first && count < most; count++) {
        timer->first->cancelled = ++cancels;
        timer->first = timer->first->next;
    }
    return count;
}

static size_t end_tick(struct timer *timer)
{
    struct wait *tick = timer->tick;
    if (!tick || tick->ended)
        return 0;
    tick->ended = tick->queued = true;
    return 1;
}

static void begin_tick(int slot)
{
    struct timer *timer = &timers[slot];
    int64_t first = any_span(), period = any_span();
    period += period == 0;
    if (timer->tick) {
        CHECK_CODE(weir_timer_start(timer->handle, first, period, on_tick, NULL), WEIR_EBUSY);
        return;
    }
    timer->tick = new_wait(slot, true);
    timer->tick->period = period;
    CHECK_OK(weir_timer_start(timer->handle, first, period, on_tick, timer->tick));
    set_expiry(timer, sum(now, first));
}

static void close_timer(struct timer *timer)
{
    weir_timer *was = timer->handle;
    end_waits(timer, SIZE_MAX);
    end_tick(timer);
    timer->handle = NULL;
    timer->tick = NULL;
    CHECK_OK(weir_timer_close(was));
    CHECK_CODE(weir_timer_cancel(was, NULL), WEIR_EBADF);
}

static void advance_by(int64_t by)
{
    int64_t got = -1;
    CHECK_OK(weir_context_advance(context, by));
    now = sum(now, by) < INT64_MAX ? sum(now, by) : INT64_MAX - 1;
    CHECK_OK(weir_context_now(context, &got));
    SAME(got, now);
}

static void advance(void)
{
    int64_t by = any_span();
    struct timer *timer = &timers[below((uint64_t)used)];
    /* Often exactly to an expiry, or just before it, and seldom so far that nothing is left for later. */
    if (below(2) && timer->handle && timer->expiry > now && timer->expiry != INT64_MAX)
        by = timer->expiry - now - (int64_t)below(2);
    if (by > CHECK_SECOND * 1000 && below(500) != 0)
        by = (int64_t)below(CHECK_SECOND);
    advance_by(by);
}

static void act(void)
{
    int slot = (int)below((uint64_t)used);
    struct timer *timer = &timers[slot];
    size_t got = 99;
    steps++;
    if (!timer->handle) {
        create(slot);
        return;
    }
    switch (below(20)) {
    case 0: case 1: case 2: case 3: case 4: case 5:
        begin_wait(slot);
        break;
    case 6: case 7: case 8: {
        int64_t after = any_span();
        CHECK_OK(weir_timer_expires_after(timer->handle, after));
        set_expiry(timer, sum(now, after));
        break;
    }
    case 9: case 10: case 11: {
        int64_t at = timer->expiry; /* mostly what another has, or near to what it has itself */
        if (below(2))
            at = timers[below((uint64_t)used)].expiry;
        else if (below(2))
            at = sum(at, (int64_t)below(1 << 20));
        else if (below(2))
            at = at > 70000 ? at - (int64_t)below(70000) : 0;
        else
            at = below(2) ? any_span() : sum(now, any_span());
        CHECK_OK(weir_timer_expires_at(timer->handle, at));
        set_expiry(timer, at);
        break;
    }
    case 12: {
        CHECK_OK(weir_timer_cancel(timer->handle, &got));
        size_t want = end_waits(timer, SIZE_MAX);
        SAME(got, want + end_tick(timer));
        break;
    }
    case 13: case 14:
        CHECK_OK(weir_timer_cancel_one(timer->handle, &got));
        SAME(got, end_waits(timer, 1));
        break;
    case 15:
        begin_tick(slot);
        break;
    case 16:
        CHECK_OK(weir_timer_stop(timer->handle, &got));
        SAME(got, end_tick(timer));
        break;
    case 17:
        if (below(4) == 0)
            close_timer(timer);
        break;
    case 18:
        if (below(8) == 0)
            advance();
        break;
    default:
        look_at(timer);
    }
}

/* Until nothing is ready; then nothing may be due in the model either. */
static void settle(void)
{
    size_t count = 0;
    do {
        calls = 0;
        CHECK_OK(weir_context_restart(context));
        CHECK_OK(weir_context_poll(context, &count));
        SAME(count, calls);
    } while (count != 0);
    SAME(fired_first != NULL, 0);
    SAME(any_due(), false);
}

static void run_model(int count, bool inside, uint32_t max_events, size_t rounds, uint64_t most_steps)
{
    weir_context_options options = {0};
    options.struct_size = sizeof options;
    options.flags = WEIR_CONTEXT_MANUAL_CLOCK;
    options.max_events = max_events;
    CHECK_OK(weir_context_create(&options, &context));
    memset(timers, 0, sizeof timers);
    state = seed * UINT64_C(0x9E3779B97F4A7C15) + 1;
    now = 0;
    steps = lives = arms = cancels = 0;
    used = count;
    batch = max_events ? max_events : 128;
    active = inside;
    for (size_t round = 0; round < rounds; round++) {
        budget = 40;
        for (uint64_t left = below(most_steps) + 1; left > 0; left--)
            act();
        advance();
        settle();
    }
    /* To the end of time, and a little there: all comes but what is never. */
    for (int round = 0; below(2) && round < 20; round++) {
        advance_by(INT64_MAX);
        settle();
        for (uint64_t left = below(most_steps) + 1; left > 0; left--)
            act();
    }
    active = false;
    for (int i = 0; i < used; i++)
        if (timers[i].handle && below(2))
            close_timer(&timers[i]);
    for (int i = 0; i < used; i++) {
        end_waits(&timers[i], timers[i].handle ? SIZE_MAX : 0);
        end_tick(&timers[i]);
    }
    CHECK_OK(weir_context_destroy(context)); /* cancels what is left */
    SAME(outstanding, 0);
}

static void run_seeds(uint64_t runs, int count, bool inside, uint32_t max_events, size_t rounds, uint64_t most_steps)
{
    const char *first = getenv("TIMER_MODEL_SEED"), *asked = getenv("TIMER_MODEL_RUNS");
    uint64_t begin = first ? strtoull(first, NULL, 10) : 1;
    runs = asked ? strtoull(asked, NULL, 10) : runs;
    for (seed = begin; seed < begin + runs; seed++)
        run_model(count, inside, max_events, many(rounds), most_steps);
}

TEST(few_timers_do_what_the_model_does)
{
    run_seeds(40, 6, true, 0, 4000, 12);
}

TEST(many_timers_do_what_the_model_does)
{
    run_seeds(15, 100, true, 0, 1500, 60);
}

TEST(small_batches_keep_the_order)
{
    run_seeds(10, 40, true, 3, 1500, 60);
}

/* More in a slot than the wheel moves in a turn. */
TEST(thousands_of_timers_fire_in_order)
{
    run_seeds(2, MOST, false, 0, 40, 20000);
}

TEST_MAIN()
