/* Timers on the manual clock: expiry, order, counts, moving, cancel, close. See also test_timer_real.c and
 * test_timer_periodic.c. */
#include "check.h"

static weir_context *manual(void)
{
    return new_context_with(WEIR_CONTEXT_MANUAL_CLOCK, 0);
}

/* Runs what is ready; the context stays usable when it runs out of work. */
static size_t poll_all(weir_context *context)
{
    size_t count = 0;
    CHECK_OK(weir_context_restart(context));
    CHECK_OK(weir_context_poll(context, &count));
    return count;
}

static size_t step(weir_context *context, int64_t by)
{
    CHECK_OK(weir_context_advance(context, by));
    return poll_all(context);
}

static int64_t expiry_of(weir_timer *timer)
{
    int64_t at = -1;
    CHECK_OK(weir_timer_expiry(timer, &at));
    return at;
}

static int64_t remaining_of(weir_timer *timer)
{
    int64_t ns = -1;
    CHECK_OK(weir_timer_remaining(timer, &ns));
    return ns;
}

/* ---- expiry and remaining */

TEST(a_new_timer_is_due_at_once)
{
    weir_context *context = manual(), *of = NULL;
    struct counter counter = {0};
    weir_timer *timer = new_timer(context);
    CHECK_OK(weir_timer_context(timer, &of));
    CHECK(of == context);
    CHECK_EQ(remaining_of(timer), 0);
    CHECK_OK(weir_timer_wait(timer, count_call, &counter));
    CHECK_EQ(counter.calls, 0);
    CHECK_EQ(poll_all(context), 1);
    CHECK_EQ(counter.calls, 1);
    CHECK_EQ(counter.status, 0);
    CHECK_OK(weir_context_destroy(context));
}

TEST(expiry_and_remaining_follow_the_clock)
{
    weir_context *context = manual();
    weir_timer *timer = new_timer(context);
    CHECK_OK(weir_context_advance(context, 100));
    CHECK_OK(weir_timer_expires_after(timer, 50));
    CHECK_EQ(expiry_of(timer), 150);
    CHECK_EQ(remaining_of(timer), 50);
    CHECK_OK(weir_context_advance(context, 20));
    CHECK_EQ(expiry_of(timer), 150);
    CHECK_EQ(remaining_of(timer), 30);
    CHECK_OK(weir_context_advance(context, 100));
    CHECK_EQ(remaining_of(timer), 0);
    CHECK_OK(weir_timer_expires_at(timer, 1000));
    CHECK_EQ(expiry_of(timer), 1000);
    CHECK_EQ(remaining_of(timer), 780);
    CHECK_OK(weir_timer_expires_at(timer, 0));
    CHECK_EQ(remaining_of(timer), 0);
    CHECK_CODE(weir_timer_expires_at(timer, -1), WEIR_EINVAL);
    CHECK_CODE(weir_timer_expires_after(timer, -1), WEIR_EINVAL);
    CHECK_CODE(weir_timer_expires_after(timer, INT64_MIN), WEIR_EINVAL);
    CHECK_EQ(expiry_of(timer), 0); /* an error has changed nothing */
    CHECK_OK(weir_context_destroy(context));
}

TEST(a_wait_completes_at_its_expiry_and_not_one_ns_earlier)
{
    static const int64_t delays[] = {1,          2,           63,           64,           65,          4095,
                                     4096,       1000000,     1048575,      1048576,      1048577,     1000000000,
                                     1 << 30,    86400000000000, (int64_t)1 << 40, ((int64_t)1 << 50) + 1,
                                     (int64_t)1 << 60};
    for (size_t i = 0; i < sizeof delays / sizeof delays[0]; i++) {
        for (int offset = 0; offset < 3; offset++) {
            weir_context *context = manual();
            struct counter counter = {0};
            weir_timer *timer = new_timer(context);
            CHECK_EQ(step(context, offset * 777), 0);
            CHECK_OK(weir_timer_expires_after(timer, delays[i]));
            CHECK_OK(weir_timer_wait(timer, count_call, &counter));
            CHECK_EQ(step(context, delays[i] / 2), 0);
            CHECK_EQ(step(context, delays[i] - delays[i] / 2 - 1), 0);
            CHECK_EQ(step(context, 1), 1);
            CHECK_EQ(counter.status, 0);
            CHECK_OK(weir_context_destroy(context));
        }
    }
}

TEST(an_expiry_in_the_past_is_due_at_once)
{
    weir_context *context = manual();
    struct counter counter = {0};
    weir_timer *timer = new_timer(context);
    CHECK_OK(weir_context_advance(context, 1000));
    CHECK_OK(weir_timer_expires_at(timer, 10));
    CHECK_OK(weir_timer_wait(timer, count_call, &counter));
    CHECK_EQ(poll_all(context), 1);
    /* And when it is moved there with a wait pending. */
    CHECK_OK(weir_timer_expires_at(timer, 5000));
    CHECK_OK(weir_timer_wait(timer, count_call, &counter));
    CHECK_EQ(poll_all(context), 0);
    CHECK_OK(weir_timer_expires_at(timer, 3));
    CHECK_EQ(poll_all(context), 1);
    CHECK_EQ(counter.calls, 2);
    CHECK_OK(weir_context_destroy(context));
}

/* H42: a time beyond the far end is "never", not the past. */
TEST(h42_the_far_end_saturates_at_never)
{
    weir_context *context = manual();
    struct counter never = {0}, last = {0};
    weir_timer *timer = new_timer(context), *almost = new_timer(context);
    int64_t now = 0;
    CHECK_OK(weir_context_advance(context, 1000));
    CHECK_OK(weir_timer_expires_after(timer, INT64_MAX));
    CHECK_EQ(expiry_of(timer), WEIR_FOREVER);
    CHECK_EQ(remaining_of(timer), WEIR_FOREVER);
    CHECK_OK(weir_timer_wait(timer, count_call, &never));
    CHECK_OK(weir_timer_expires_at(almost, INT64_MAX - 1));
    CHECK_OK(weir_timer_wait(almost, count_call, &last));
    CHECK_EQ(poll_all(context), 0);
    CHECK_EQ(remaining_of(almost), INT64_MAX - 1 - 1000);
    CHECK_EQ(step(context, INT64_MAX - 1001 - 1), 0);
    CHECK_EQ(step(context, 1), 1);
    CHECK_EQ(last.calls, 1);
    /* The clock saturates as well; "never" does not come even then. */
    CHECK_EQ(step(context, INT64_MAX), 0);
    CHECK_EQ(step(context, INT64_MAX), 0);
    CHECK_OK(weir_context_now(context, &now));
    CHECK_EQ(now, INT64_MAX - 1); /* never does not come */
    CHECK_OK(weir_timer_expires_after(almost, 0));
    CHECK_OK(weir_timer_wait(almost, count_call, &last));
    CHECK_EQ(poll_all(context), 1); /* and what is due at once still is */
    CHECK_EQ(remaining_of(timer), WEIR_FOREVER);
    CHECK_EQ(never.calls, 0);
    CHECK_OK(weir_timer_cancel(timer, NULL));
    CHECK_EQ(poll_all(context), 1);
    CHECK_EQ(never.status, WEIR_ECANCELED);
    CHECK_OK(weir_context_destroy(context));
}

TEST(the_time_of_the_turn_is_the_manual_clocks)
{
    weir_context *context = manual();
    int64_t now = -1;
    CHECK_OK(weir_context_turn_now(context, &now));
    CHECK_EQ(now, 0);
    CHECK_OK(weir_context_advance(context, 7));
    CHECK_OK(weir_context_turn_now(context, &now));
    CHECK_EQ(now, 7);
    CHECK_CODE(weir_context_turn_now(context, NULL), WEIR_EINVAL);
    CHECK_OK(weir_context_destroy(context));
    CHECK_CODE(weir_context_turn_now(context, &now), WEIR_EBADF);
}

/* ---- waiting timers that are moved */

enum { MOVED = 500 };
static int moved_order[MOVED], moved_count;

static void note_moved(int status, void *user)
{
    CHECK_EQ(status, 0);
    moved_order[moved_count++] = (int)(intptr_t)user;
}

/* Moved from anywhere to anywhere, and to the same moment in the end: each fires then, and in the order of the last move. */
TEST(timers_moved_to_one_moment_fire_in_the_order_of_the_moves)
{
    weir_context *context = manual();
    weir_timer *timers[MOVED];
    uint32_t state = 1;
    const int64_t due = INT64_C(30000000000);
    for (int i = 0; i < MOVED; i++) {
        timers[i] = new_timer(context);
        CHECK_OK(weir_timer_expires_at(timers[i], due - 1 - i * INT64_C(50000000)));
        CHECK_OK(weir_timer_wait(timers[i], note_moved, (void *)(intptr_t)i));
    }
    for (int i = 0; i < 20 * MOVED; i++) {
        state = state * 1664525 + 1013904223;
        weir_timer *timer = timers[state / 7 % MOVED];
        int64_t at = INT64_C(20000000) * (1 + state % 3000) + i;
        CHECK_OK(weir_timer_expires_at(timer, at));
        CHECK_EQ(expiry_of(timer), at);
        if (i % 100 == 0)
            CHECK_EQ(step(context, 10000), 0);
    }
    for (int i = 0; i < MOVED; i++)
        CHECK_OK(weir_timer_expires_at(timers[i * 7 % MOVED], due));
    int64_t now = 0;
    CHECK_OK(weir_context_now(context, &now));
    CHECK_EQ(step(context, due - 1 - now), 0);
    CHECK_EQ(step(context, 1), MOVED);
    for (int i = 0; i < MOVED; i++)
        CHECK_EQ(moved_order[i], i * 7 % MOVED);
    CHECK_OK(weir_context_destroy(context));
}

TEST(h42_a_timer_that_never_comes_can_be_moved_to_now)
{
    weir_context *context = manual();
    struct counter counter = {0};
    weir_timer *timer = new_timer(context);
    CHECK_OK(weir_timer_expires_at(timer, WEIR_FOREVER));
    CHECK_OK(weir_timer_wait(timer, count_call, &counter));
    CHECK_EQ(step(context, 1000), 0);
    CHECK_OK(weir_timer_expires_after(timer, 5));
    CHECK_EQ(step(context, 4), 0);
    CHECK_EQ(step(context, 1), 1);
    CHECK_EQ(counter.status, 0);
    CHECK_OK(weir_context_destroy(context));
}

TEST(advance_checks_its_argument)
{
    weir_context *context = manual();
    int64_t now = -1;
    CHECK_CODE(weir_context_advance(context, -1), WEIR_EINVAL);
    CHECK_CODE(weir_context_advance(context, INT64_MIN), WEIR_EINVAL);
    CHECK_OK(weir_context_now(context, &now));
    CHECK_EQ(now, 0);
    CHECK_OK(weir_context_advance(context, 0));
    CHECK_OK(weir_context_advance(context, 7));
    CHECK_OK(weir_context_now(context, &now));
    CHECK_EQ(now, 7);
    CHECK_OK(weir_context_destroy(context));
}

/* ---- order */

struct order {
    char text[256];
    size_t used;
};
static struct order order;

static void note_letter(int status, void *user)
{
    CHECK(order.used + 1 < sizeof order.text);
    order.text[order.used++] = status == 0 ? *(char *)user : (char)(*(char *)user - 'a' + 'A');
    order.text[order.used] = 0;
}

static char letters[] = "abcdefghijklmnopqrstuvwxyz";

static void wait_letter(weir_timer *timer, char letter)
{
    CHECK_OK(weir_timer_wait(timer, note_letter, &letters[letter - 'a']));
}

TEST(waits_complete_in_the_order_of_their_expiries)
{
    weir_context *context = manual();
    static const int64_t at[] = {500, 100, 300, 1000000, 200, 70000, 400, 1};
    for (int i = 0; i < 8; i++) {
        weir_timer *timer = new_timer(context);
        CHECK_OK(weir_timer_expires_at(timer, at[i]));
        wait_letter(timer, (char)('a' + i));
    }
    CHECK_EQ(step(context, 2000000), 8);
    CHECK(strcmp(order.text, "hbecgafd") == 0);
    CHECK_OK(weir_context_destroy(context));
}

TEST(equal_expiries_complete_in_start_order)
{
    weir_context *context = manual();
    weir_timer *timers[4];
    for (int i = 0; i < 4; i++) {
        timers[i] = new_timer(context);
        CHECK_OK(weir_timer_expires_at(timers[i], 1000));
    }
    wait_letter(timers[2], 'a');
    wait_letter(timers[0], 'b');
    wait_letter(timers[3], 'c');
    wait_letter(timers[1], 'd');
    CHECK_EQ(step(context, 1000), 4);
    CHECK(strcmp(order.text, "abcd") == 0);
    CHECK_OK(weir_context_destroy(context));
}

/* The same for timers that were far away when the first was started and near when the last was. */
TEST(equal_expiries_complete_in_start_order_over_any_distance)
{
    static const int64_t distances[] = {100, 5000, 300000, 20000000, 1000000000, 100000000000, (int64_t)1 << 45};
    for (size_t i = 0; i < sizeof distances / sizeof distances[0]; i++) {
        weir_context *context = manual();
        int64_t at = 12345 + distances[i], now = 0;
        order.used = 0;
        for (char letter = 'a'; letter <= 'j'; letter++) {
            weir_timer *timer = new_timer(context);
            CHECK_OK(weir_timer_expires_at(timer, at));
            wait_letter(timer, letter);
            CHECK_EQ(step(context, (at - now) / 3), 0);
            CHECK_OK(weir_context_now(context, &now));
        }
        CHECK_EQ(step(context, at - now), 10);
        CHECK(strcmp(order.text, "abcdefghij") == 0);
        CHECK_OK(weir_context_destroy(context));
    }
}

TEST(several_waits_of_one_timer_complete_in_start_order)
{
    weir_context *context = manual();
    weir_timer *timer = new_timer(context);
    CHECK_OK(weir_timer_expires_after(timer, 10));
    for (char letter = 'a'; letter <= 'z'; letter++)
        wait_letter(timer, letter);
    CHECK_EQ(step(context, 9), 0);
    CHECK_EQ(step(context, 1), 26);
    CHECK(strcmp(order.text, letters) == 0);
    CHECK_OK(weir_context_destroy(context));
}

/* ---- cancel */

TEST(cancel_ends_all_waits_and_returns_their_number)
{
    weir_context *context = manual();
    struct counter counter = {0};
    size_t count = 77;
    weir_timer *timer = new_timer(context);
    CHECK_OK(weir_timer_cancel(timer, &count));
    CHECK_EQ(count, 0);
    CHECK_OK(weir_timer_expires_after(timer, 10));
    for (int i = 0; i < 5; i++)
        CHECK_OK(weir_timer_wait(timer, count_call, &counter));
    CHECK_OK(weir_timer_cancel(timer, &count));
    CHECK_EQ(count, 5);
    CHECK_EQ(counter.calls, 0); /* not inside cancel */
    CHECK_OK(weir_timer_cancel(timer, &count));
    CHECK_EQ(count, 0);
    CHECK_EQ(poll_all(context), 5);
    CHECK_EQ(counter.calls, 5);
    CHECK_EQ(counter.status, WEIR_ECANCELED);
    CHECK_EQ(step(context, 100), 0);
    CHECK_EQ(counter.calls, 5);
    CHECK_EQ(expiry_of(timer), 10); /* the expiry stays */
    CHECK_OK(weir_context_destroy(context));
}

TEST(cancel_without_a_count_is_fine)
{
    weir_context *context = manual();
    struct counter counter = {0};
    weir_timer *timer = new_timer(context);
    CHECK_OK(weir_timer_expires_after(timer, 10));
    CHECK_OK(weir_timer_wait(timer, count_call, &counter));
    CHECK_OK(weir_timer_cancel_one(timer, NULL));
    CHECK_OK(weir_timer_wait(timer, count_call, &counter));
    CHECK_OK(weir_timer_cancel(timer, NULL));
    CHECK_OK(weir_timer_stop(timer, NULL));
    CHECK_EQ(poll_all(context), 2);
    CHECK_OK(weir_context_destroy(context));
}

TEST(cancel_one_ends_the_oldest_wait)
{
    weir_context *context = manual();
    size_t count = 77;
    weir_timer *timer = new_timer(context);
    CHECK_OK(weir_timer_expires_after(timer, 10));
    wait_letter(timer, 'a');
    wait_letter(timer, 'b');
    wait_letter(timer, 'c');
    CHECK_OK(weir_timer_cancel_one(timer, &count));
    CHECK_EQ(count, 1);
    CHECK_EQ(poll_all(context), 1);
    CHECK(strcmp(order.text, "A") == 0);
    CHECK_OK(weir_timer_cancel_one(timer, &count));
    CHECK_EQ(count, 1);
    CHECK_EQ(step(context, 10), 2);
    CHECK(strcmp(order.text, "ABc") == 0);
    CHECK_OK(weir_timer_cancel_one(timer, &count));
    CHECK_EQ(count, 0);
    CHECK_OK(weir_context_destroy(context));
}

/* H25: a cancel ends what is pending, nothing later. */
TEST(h25_cancel_does_not_poison_the_next_wait)
{
    weir_context *context = manual();
    struct counter counter = {0};
    weir_timer *timer = new_timer(context);
    CHECK_OK(weir_timer_expires_after(timer, 10));
    CHECK_OK(weir_timer_cancel(timer, NULL));
    CHECK_OK(weir_timer_wait(timer, count_call, &counter));
    CHECK_EQ(step(context, 10), 1);
    CHECK_EQ(counter.status, 0);
    CHECK_OK(weir_timer_expires_after(timer, 10));
    CHECK_OK(weir_timer_wait(timer, count_call, &counter));
    CHECK_OK(weir_timer_cancel(timer, NULL));
    CHECK_OK(weir_timer_wait(timer, count_call, &counter)); /* before the cancelled one was delivered */
    CHECK_EQ(poll_all(context), 1);
    CHECK_EQ(counter.status, WEIR_ECANCELED);
    CHECK_EQ(step(context, 10), 1);
    CHECK_EQ(counter.status, 0);
    CHECK_OK(weir_context_destroy(context));
}

/* H24: what has happened is reported as it happened. The first of two due waits cancels: too late for the second. */
static weir_timer *late_timer;

static void cancel_too_late(int status, void *user)
{
    size_t count = 77;
    CHECK_EQ(status, 0);
    (void)user;
    CHECK_OK(weir_timer_cancel(late_timer, &count));
    CHECK_EQ(count, 0);
}

TEST(h24_cancel_after_the_expiry_leaves_the_status_0)
{
    weir_context *context = manual();
    struct counter counter = {0};
    late_timer = new_timer(context);
    CHECK_OK(weir_timer_expires_after(late_timer, 10));
    CHECK_OK(weir_timer_wait(late_timer, cancel_too_late, NULL));
    CHECK_OK(weir_timer_wait(late_timer, count_call, &counter));
    CHECK_EQ(step(context, 10), 2);
    CHECK_EQ(counter.calls, 1);
    CHECK_EQ(counter.status, 0);
    CHECK_OK(weir_context_destroy(context));
}

static void close_too_late(int status, void *user)
{
    CHECK_EQ(status, 0);
    (void)user;
    CHECK_OK(weir_timer_close(late_timer));
    CHECK_CODE(weir_timer_cancel(late_timer, NULL), WEIR_EBADF);
}

TEST(h24_close_after_the_expiry_leaves_the_status_0)
{
    weir_context *context = manual();
    struct counter counter = {0};
    late_timer = new_timer(context);
    CHECK_OK(weir_timer_wait(late_timer, close_too_late, NULL));
    CHECK_OK(weir_timer_wait(late_timer, count_call, &counter));
    CHECK_EQ(poll_all(context), 2);
    CHECK_EQ(counter.calls, 1);
    CHECK_EQ(counter.status, 0);
    CHECK_OK(weir_context_destroy(context));
}

/* ---- moving */

TEST(a_later_expiry_moves_pending_waits)
{
    weir_context *context = manual();
    struct counter counter = {0};
    weir_timer *timer = new_timer(context);
    CHECK_OK(weir_timer_expires_after(timer, 10));
    CHECK_OK(weir_timer_wait(timer, count_call, &counter));
    CHECK_OK(weir_timer_wait(timer, count_call, &counter));
    for (int i = 0; i < 100; i++) {
        CHECK_EQ(step(context, 9), 0);
        CHECK_OK(weir_timer_expires_after(timer, 10));
    }
    CHECK_EQ(step(context, 9), 0);
    CHECK_EQ(counter.calls, 0);
    CHECK_EQ(step(context, 1), 2);
    CHECK_EQ(counter.status, 0);
    CHECK_OK(weir_context_destroy(context));
}

TEST(an_earlier_expiry_moves_pending_waits)
{
    weir_context *context = manual();
    struct counter counter = {0};
    weir_timer *timer = new_timer(context);
    CHECK_OK(weir_timer_expires_after(timer, 1000000));
    CHECK_OK(weir_timer_wait(timer, count_call, &counter));
    CHECK_EQ(step(context, 5), 0);
    CHECK_OK(weir_timer_expires_at(timer, 10));
    CHECK_EQ(step(context, 4), 0);
    CHECK_EQ(step(context, 1), 1);
    CHECK_EQ(counter.status, 0);
    CHECK_EQ(step(context, 2000000), 0);
    CHECK_EQ(counter.calls, 1);
    CHECK_OK(weir_context_destroy(context));
}

/* ---- close */

TEST(close_ends_pending_waits)
{
    weir_context *context = manual();
    struct counter counter = {0};
    size_t count = 77;
    int64_t ns = 77;
    weir_context *of = NULL;
    weir_timer *timer = new_timer(context);
    CHECK_OK(weir_timer_expires_after(timer, 10));
    for (int i = 0; i < 3; i++)
        CHECK_OK(weir_timer_wait(timer, count_call, &counter));
    CHECK_OK(weir_timer_close(timer));
    CHECK_EQ(counter.calls, 0);
    CHECK_CODE(weir_timer_close(timer), WEIR_EBADF);
    CHECK_CODE(weir_timer_wait(timer, count_call, &counter), WEIR_EBADF);
    CHECK_CODE(weir_timer_expires_after(timer, 1), WEIR_EBADF);
    CHECK_CODE(weir_timer_expires_at(timer, 1), WEIR_EBADF);
    CHECK_CODE(weir_timer_expiry(timer, &ns), WEIR_EBADF);
    CHECK_CODE(weir_timer_remaining(timer, &ns), WEIR_EBADF);
    CHECK_CODE(weir_timer_cancel(timer, &count), WEIR_EBADF);
    CHECK_CODE(weir_timer_cancel_one(timer, &count), WEIR_EBADF);
    CHECK_CODE(weir_timer_start(timer, 1, 1, count_call, &counter), WEIR_EBADF);
    CHECK_CODE(weir_timer_stop(timer, &count), WEIR_EBADF);
    CHECK_CODE(weir_timer_context(timer, &of), WEIR_EBADF);
    CHECK_EQ(count, 77);
    CHECK_EQ(ns, 77);
    CHECK(of == NULL);
    CHECK_EQ(poll_all(context), 3);
    CHECK_EQ(counter.calls, 3);
    CHECK_EQ(counter.status, WEIR_ECANCELED);
    CHECK_EQ(step(context, 100), 0);
    CHECK_OK(weir_context_destroy(context));
}

static void close_itself(int status, void *user)
{
    CHECK_EQ(status, 0);
    CHECK_OK(weir_timer_close(user));
}

TEST(close_in_its_own_callback)
{
    weir_context *context = manual();
    for (int i = 0; i < 100; i++) {
        weir_timer *timer = new_timer(context);
        CHECK_OK(weir_timer_expires_after(timer, 3));
        CHECK_OK(weir_timer_wait(timer, close_itself, timer));
        CHECK_EQ(step(context, 3), 1);
        CHECK_CODE(weir_timer_close(timer), WEIR_EBADF);
    }
    CHECK_OK(weir_context_destroy(context));
}

/* A timer made in the slot of a closed one, with completions of the old one still queued, is not touched by them. */
TEST(h11_a_new_timer_in_the_slot_of_a_closed_one_starts_clean)
{
    weir_context *context = manual();
    struct counter old = {0}, fresh = {0};
    for (int i = 0; i < 50; i++) {
        weir_timer *timer = new_timer(context);
        CHECK_OK(weir_timer_expires_after(timer, 5));
        CHECK_OK(weir_timer_wait(timer, count_call, &old));
        CHECK_OK(weir_timer_start(timer, 3, 3, count_call, &old));
        CHECK_OK(weir_timer_close(timer));
        weir_timer *next = new_timer(context);
        CHECK_EQ(remaining_of(next), 0);
        CHECK_OK(weir_timer_expires_after(next, 2));
        CHECK_OK(weir_timer_wait(next, count_call, &fresh));
        CHECK_EQ(poll_all(context), 2);
        CHECK_EQ(old.calls, 2 * (i + 1));
        CHECK_EQ(old.status, WEIR_ECANCELED);
        CHECK_EQ(fresh.calls, i);
        CHECK_EQ(step(context, 2), 1);
        CHECK_EQ(fresh.calls, i + 1);
        CHECK_EQ(fresh.status, 0);
        CHECK_OK(weir_timer_close(next));
    }
    CHECK_OK(weir_context_destroy(context));
}

/* ---- a model: random timers, moves, cancels and steps; after each step exactly what is due has completed, in order */

enum { MODEL = 400 };
static struct model {
    weir_timer *timer;
    bool waiting;
    int64_t at;
    uint64_t sequence;
    bool cancelled;
} model[MODEL];
static uint64_t model_sequence;
static int64_t model_now, model_last_at;
static uint64_t model_last_sequence;
static size_t model_done;
static uint64_t seed;

static uint64_t random_bits(void)
{
    seed ^= seed << 13;
    seed ^= seed >> 7;
    seed ^= seed << 17;
    return seed;
}

static void model_call(int status, void *user)
{
    struct model *entry = user;
    CHECK(entry->waiting);
    entry->waiting = false;
    model_done++;
    if (entry->cancelled) {
        CHECK_EQ(status, WEIR_ECANCELED);
        entry->cancelled = false;
        return;
    }
    CHECK_EQ(status, 0);
    CHECK(entry->at <= model_now);
    /* Sorted by expiry, then by the order in which they were put there. */
    CHECK(entry->at > model_last_at || (entry->at == model_last_at && entry->sequence > model_last_sequence));
    model_last_at = entry->at;
    model_last_sequence = entry->sequence;
}

static int64_t random_delay(int64_t range)
{
    switch (random_bits() % 4) {
    case 0: return (int64_t)(random_bits() % 64);
    case 1: return (int64_t)(random_bits() % (uint64_t)range / 100 * 100); /* many equal ones */
    case 2: return (int64_t)(random_bits() % ((uint64_t)range * 100));
    default: return (int64_t)(random_bits() % (uint64_t)range);
    }
}

static void run_model(int64_t range, uint32_t max_events)
{
    weir_context_options options = {0};
    weir_context *context = NULL;
    options.struct_size = sizeof options;
    options.flags = WEIR_CONTEXT_MANUAL_CLOCK;
    options.max_events = max_events;
    CHECK_OK(weir_context_create(&options, &context));
    CHECK_OK(weir_context_work_begin(context));
    memset(model, 0, sizeof model);
    model_now = 0;
    for (int i = 0; i < MODEL; i++)
        model[i].timer = new_timer(context);
    for (size_t round = 0; round < many(1500); round++) {
        for (int i = 0; i < 60; i++) {
            struct model *entry = &model[random_bits() % MODEL];
            uint64_t what = random_bits() % 8;
            if (!entry->waiting) {
                entry->at = model_now + random_delay(range);
                entry->sequence = ++model_sequence;
                entry->waiting = true;
                if (what % 2)
                    CHECK_OK(weir_timer_expires_at(entry->timer, entry->at));
                else
                    CHECK_OK(weir_timer_expires_after(entry->timer, entry->at - model_now));
                CHECK_OK(weir_timer_wait(entry->timer, model_call, entry));
            } else if (!entry->cancelled && what < 4) {
                entry->at = model_now + random_delay(range);
                entry->sequence = ++model_sequence;
                CHECK_OK(weir_timer_expires_at(entry->timer, entry->at));
            } else if (!entry->cancelled && what == 4) {
                size_t count = 0;
                CHECK_OK(weir_timer_cancel(entry->timer, &count));
                CHECK_EQ(count, 1);
                entry->cancelled = true;
            } else if (!entry->cancelled && what == 5) {
                entry->cancelled = true;
                CHECK_OK(weir_timer_close(entry->timer));
                CHECK_OK(weir_context_poll(context, NULL));
                CHECK(!entry->waiting);
                CHECK_OK(weir_timer_create(context, &entry->timer));
            }
        }
        int64_t by = random_delay(range);
        model_now += by;
        model_last_at = -1;
        model_last_sequence = 0;
        CHECK_OK(weir_context_advance(context, by));
        size_t count = 0, due = 0;
        for (int i = 0; i < MODEL; i++)
            due += model[i].waiting && (model[i].cancelled || model[i].at <= model_now);
        model_done = 0;
        CHECK_OK(weir_context_poll(context, &count));
        CHECK_EQ(model_done, count);
        CHECK_EQ(count, due);
        for (int i = 0; i < MODEL; i++)
            CHECK(!model[i].waiting || model[i].at > model_now);
    }
    for (int i = 0; i < MODEL; i++)
        model[i].cancelled = model[i].waiting;
    CHECK_OK(weir_context_destroy(context));
    for (int i = 0; i < MODEL; i++)
        CHECK(!model[i].waiting);
}

TEST(random_timers_near_by)
{
    seed = 1;
    run_model(1000, 0);
}

TEST(random_timers_far_away)
{
    seed = 2;
    run_model(INT64_C(5000000000), 0);
}

TEST(random_timers_very_far_away)
{
    seed = 3;
    run_model(INT64_C(50000000000000), 0);
}

TEST(random_timers_with_one_event_a_turn)
{
    seed = 4;
    run_model(100000, 1);
}

/* Many timers that come due in one step, more than any batch: still in order. */
enum { CROWD = 30000 };
static int64_t crowd_last;
static size_t crowd_calls;

static void check_crowd_order(int status, void *user)
{
    CHECK_EQ(status, 0);
    int64_t at = (int64_t)(intptr_t)user;
    CHECK(at >= crowd_last);
    crowd_last = at;
    crowd_calls++;
}

TEST(more_due_timers_than_a_batch_complete_in_order)
{
    weir_context *context = manual();
    seed = 5;
    for (int i = 0; i < CROWD; i++) {
        weir_timer *timer = new_timer(context);
        int64_t at = (int64_t)(random_bits() % 100000000) + 1000000;
        CHECK_OK(weir_timer_expires_at(timer, at));
        CHECK_OK(weir_timer_wait(timer, check_crowd_order, (void *)(intptr_t)at));
    }
    CHECK_EQ(step(context, 999999), 0);
    CHECK_OK(weir_context_advance(context, 200000000));
    CHECK_OK(weir_context_restart(context));
    CHECK_OK(weir_context_run(context, NULL));
    CHECK_EQ(crowd_calls, CROWD);
    CHECK_OK(weir_context_destroy(context));
}

/* 100,000 timers: armed, a third cancelled, a third closed, the rest fires. */
TEST(a_hundred_thousand_timers)
{
    enum { TIMERS = 100000 };
    weir_context *context = manual();
    struct counter fired = {0}, ended = {0};
    weir_timer **timers = calloc(TIMERS, sizeof *timers);
    CHECK(timers != NULL);
    seed = 6;
    for (int i = 0; i < TIMERS; i++) {
        timers[i] = new_timer(context);
        CHECK_OK(weir_timer_expires_after(timers[i], (int64_t)(random_bits() % 1000000000) + 1));
        CHECK_OK(weir_timer_wait(timers[i], count_call, i % 3 ? &ended : &fired));
    }
    for (int i = 0; i < TIMERS; i++) {
        size_t count = 0;
        if (i % 3 == 1) {
            CHECK_OK(weir_timer_cancel(timers[i], &count));
            CHECK_EQ(count, 1);
        } else if (i % 3 == 2) {
            CHECK_OK(weir_timer_close(timers[i]));
        }
    }
    CHECK_OK(weir_context_advance(context, 1000000000));
    CHECK_OK(weir_context_run(context, NULL));
    CHECK_EQ(fired.calls, (TIMERS + 2) / 3);
    CHECK_EQ(fired.status, 0);
    CHECK_EQ(ended.calls, TIMERS - (TIMERS + 2) / 3);
    CHECK_EQ(ended.status, WEIR_ECANCELED);
    CHECK_OK(weir_context_destroy(context));
    free(timers);
}

/* Waits and moves on a stopped context take effect after restart. */
TEST(timers_of_a_stopped_context)
{
    weir_context *context = manual();
    struct counter counter = {0};
    size_t count = 77;
    weir_timer *timer = new_timer(context);
    CHECK_OK(weir_context_stop(context));
    CHECK_OK(weir_timer_expires_after(timer, 10));
    CHECK_OK(weir_timer_wait(timer, count_call, &counter));
    CHECK_OK(weir_context_advance(context, 10));
    CHECK_OK(weir_context_poll(context, &count));
    CHECK_EQ(count, 0);
    CHECK_EQ(counter.calls, 0);
    CHECK_EQ(poll_all(context), 1);
    CHECK_EQ(counter.status, 0);
    CHECK_OK(weir_context_destroy(context));
}

/* advance on another thread wakes a run that sleeps on the manual clock. */
static void *run_it(void *user)
{
    CHECK_OK(weir_context_run(user, NULL));
    return NULL;
}

TEST(advance_on_another_thread_wakes_run)
{
    weir_context *context = manual();
    struct counter counter = {0};
    CHECK_OK(weir_context_work_begin(context));
    weir_timer *timer = new_timer(context);
    pthread_t runner = start_thread(run_it, context);
    for (int i = 0; i < (int)many(2000); i++) {
        CHECK_OK(weir_timer_expires_after(timer, 10));
        CHECK_OK(weir_timer_wait(timer, count_call, &counter));
        CHECK_OK(weir_context_advance(context, 9));
        CHECK_EQ(counter.calls, i);
        CHECK_OK(weir_context_advance(context, 1));
        while (counter.calls == i)
            sched_yield();
    }
    CHECK_OK(weir_context_work_end(context));
    join_thread(runner);
    CHECK_OK(weir_context_destroy(context));
}

TEST_MAIN()
