/* Turn hooks: prepare, check, idle. */
#include "net.h"

struct hooked {
    weir_context *context;
    weir_hook *hook;
    weir_timer *timer;
    int calls, ends, order, stop_after;
};

static int order; /* counts callbacks of any kind */

static void note(int status, void *user)
{
    struct hooked *one = (struct hooked *)user;
    one->order = ++order;
    if (status == 0)
        one->calls++;
    else {
        CHECK_CODE(status, WEIR_ECANCELED);
        one->ends++;
    }
    if (one->stop_after > 0 && one->calls == one->stop_after && status == 0)
        CHECK_OK(weir_hook_stop(one->hook, NULL));
}

static struct hooked new_hook(weir_context *context, int when)
{
    struct hooked one = {context, NULL, NULL, 0, 0, 0, 0};
    CHECK_OK(weir_hook_create(context, when, &one.hook));
    return one;
}

TEST(prepare_and_check_surround_what_a_turn_finds)
{
    weir_context *context = new_context();
    struct hooked prepare = new_hook(context, WEIR_HOOK_PREPARE), check = new_hook(context, WEIR_HOOK_CHECK);
    struct hooked event = {0};
    weir_timer *timer = new_timer(context);
    CHECK_OK(weir_hook_start(check.hook, note, &check));
    CHECK_OK(weir_hook_start(prepare.hook, note, &prepare));
    CHECK_CODE(weir_hook_start(prepare.hook, note, &prepare), WEIR_EBUSY);
    CHECK_OK(weir_timer_wait(timer, note, &event)); /* due */
    CHECK_OK(weir_context_work_begin(context));
    CHECK_OK(weir_context_poll(context, NULL));
    CHECK_EQ(prepare.calls, 1);
    CHECK_EQ(event.calls, 1);
    CHECK_EQ(check.calls, 1);
    CHECK(prepare.order < event.order && event.order < check.order);
    CHECK_OK(weir_context_poll(context, NULL));
    CHECK_EQ(prepare.calls, 2);
    CHECK_EQ(check.calls, 2);
    size_t ended = 0;
    CHECK_OK(weir_hook_stop(prepare.hook, &ended));
    CHECK_EQ(ended, 1);
    CHECK_OK(weir_hook_stop(prepare.hook, &ended));
    CHECK_EQ(ended, 0);
    CHECK_EQ(prepare.ends, 0); /* not from within stop */
    CHECK_OK(weir_context_poll(context, NULL));
    CHECK_EQ(prepare.calls, 2);
    CHECK_EQ(prepare.ends, 1);
    CHECK_OK(weir_hook_start(prepare.hook, note, &prepare)); /* and again */
    CHECK_OK(weir_context_poll(context, NULL));
    CHECK_EQ(prepare.calls, 3);
    CHECK_OK(weir_context_destroy(context));
    CHECK_EQ(prepare.ends, 2);
    CHECK_EQ(check.ends, 1);
}

static struct hooked posted;

static void wake_up(int status, void *user)
{
    struct hooked *one = (struct hooked *)user;
    if (status < 0)
        return;
    one->calls++;
    if (one->calls == 1)
        CHECK_OK(weir_context_post(one->context, note, &posted)); /* must not wait for the turn */
    if (one->calls == 2)
        CHECK_OK(weir_timer_expires_after(one->timer, 0));
    if (one->calls == 3)
        CHECK_OK(weir_context_stop(one->context));
}

/* Prepare may shorten the block: what it posts or arms is seen before the context blocks. */
TEST(what_prepare_posts_or_arms_keeps_the_turn_from_blocking)
{
    weir_context *context = new_context();
    struct hooked prepare = new_hook(context, WEIR_HOOK_PREPARE), event = {0};
    prepare.timer = new_timer(context);
    CHECK_OK(weir_timer_expires_after(prepare.timer, WEIR_FOREVER));
    CHECK_OK(weir_timer_wait(prepare.timer, note, &event));
    CHECK_OK(weir_hook_start(prepare.hook, wake_up, &prepare));
    CHECK_OK(weir_context_work_begin(context));
    CHECK_OK(weir_context_run(context, NULL));
    CHECK_EQ(posted.calls, 1);
    CHECK_EQ(event.calls, 1);
    CHECK_OK(weir_context_destroy(context));
}

TEST(hooks_keep_no_run_function_going)
{
    weir_context *context = new_context();
    struct hooked hooks[3];
    size_t count = 0;
    for (int i = 0; i < 3; i++) {
        hooks[i] = new_hook(context, WEIR_HOOK_PREPARE + i);
        CHECK_OK(weir_hook_start(hooks[i].hook, note, &hooks[i]));
    }
    CHECK_OK(weir_context_run(context, &count));
    CHECK_EQ(weir_context_stopped(context), 1);
    CHECK_OK(weir_context_destroy(context));
    for (int i = 0; i < 3; i++)
        CHECK_EQ(hooks[i].ends, 1);
}

TEST(an_idle_hook_is_called_while_there_is_nothing_else)
{
    weir_context *context = new_context();
    struct hooked idle = new_hook(context, WEIR_HOOK_IDLE), event = {0};
    weir_timer *timer = new_timer(context);
    idle.stop_after = 1000;
    CHECK_OK(weir_hook_start(idle.hook, note, &idle));
    CHECK_OK(weir_timer_expires_after(timer, 2 * CHECK_MS));
    CHECK_OK(weir_timer_wait(timer, note, &event));
    CHECK_OK(weir_context_run(context, NULL));
    CHECK_EQ(event.calls, 1);
    CHECK(idle.calls > 1);
    CHECK(idle.calls <= 1000);
    CHECK_OK(weir_context_destroy(context));
    CHECK_EQ(idle.ends, 1);
}

static void post_on(int status, void *user)
{
    struct hooked *one = (struct hooked *)user;
    (void)status;
    if (++one->calls < 1000)
        CHECK_OK(weir_context_post(one->context, post_on, one));
}

TEST(idle_is_not_called_while_handlers_are_queued)
{
    weir_context *context = new_context();
    struct hooked idle = new_hook(context, WEIR_HOOK_IDLE), busy = {context, NULL, NULL, 0, 0, 0, 0};
    CHECK_OK(weir_hook_start(idle.hook, note, &idle));
    CHECK_OK(weir_context_post(context, post_on, &busy));
    CHECK_OK(weir_context_run(context, NULL));
    CHECK_EQ(busy.calls, 1000);
    CHECK_EQ(idle.calls, 0);
    CHECK_OK(weir_context_destroy(context));
}

static void close_itself(int status, void *user)
{
    struct hooked *one = (struct hooked *)user;
    if (status == 0) {
        one->calls++;
        CHECK_OK(weir_hook_close(one->hook));
        CHECK_CODE(weir_hook_stop(one->hook, NULL), WEIR_EBADF);
    } else {
        one->ends++;
    }
}

static void run_inside_once(int status, void *user)
{
    struct hooked *one = (struct hooked *)user;
    if (status != 0 || one->calls++ > 0)
        return;
    size_t count = 0;
    CHECK_OK(weir_context_run(one->context, &count));
    one->order = (int)order;
    CHECK_OK(weir_hook_close(one->hook));
}

/* The hook's own callback is not taken for the work that is left. */
TEST(a_nested_run_from_a_hook_goes_on_until_the_work_is_done)
{
    weir_context *context = new_context();
    struct hooked outer = new_hook(context, WEIR_HOOK_PREPARE), event = {0};
    weir_timer *timer = new_timer(context);
    CHECK_OK(weir_timer_expires_after(timer, 5 * CHECK_MS));
    CHECK_OK(weir_timer_wait(timer, note, &event));
    CHECK_OK(weir_hook_start(outer.hook, run_inside_once, &outer));
    order = 0;
    CHECK_OK(weir_context_run(context, NULL));
    CHECK_EQ(event.calls, 1);
    CHECK_EQ(outer.order, 1); /* the timer's callback came inside */
    CHECK_OK(weir_context_destroy(context));
}

TEST(a_hook_may_close_itself)
{
    for (int when = WEIR_HOOK_PREPARE; when <= WEIR_HOOK_IDLE; when++) {
        weir_context *context = new_context();
        struct hooked one = new_hook(context, when);
        CHECK_OK(weir_hook_start(one.hook, close_itself, &one));
        CHECK_OK(weir_context_work_begin(context));
        for (int i = 0; i < 4; i++)
            CHECK_OK(weir_context_run_for(context, 0, NULL));
        CHECK_EQ(one.calls, 1);
        CHECK_EQ(one.ends, 1);
        CHECK_OK(weir_context_destroy(context));
    }
}

static weir_context *shared;
static weir_hook *hooks[3];
static atomic_int started, stopped, ended, overlapping[3];

static void from_threads(int status, void *user)
{
    atomic_int *inside = (atomic_int *)user;
    CHECK_EQ(atomic_fetch_add(inside, 1), 0);
    if (status < 0)
        ended++;
    atomic_fetch_sub(inside, 1);
}

static void *run(void *argument)
{
    (void)argument;
    CHECK_OK(weir_context_run(shared, NULL));
    return NULL;
}

/* Three threads run while a fourth starts and stops: each start ends exactly once. */
TEST(start_and_stop_from_another_thread)
{
    shared = new_context();
    pthread_t threads[3];
    CHECK_OK(weir_context_work_begin(shared));
    for (int i = 0; i < 3; i++)
        CHECK_OK(weir_hook_create(shared, WEIR_HOOK_PREPARE + i, &hooks[i]));
    for (int i = 0; i < 3; i++)
        CHECK_EQ(pthread_create(&threads[i], NULL, run, NULL), 0);
    for (int i = 0; i < 3000; i++) {
        int which = i % 3;
        int code = weir_hook_start(hooks[which], from_threads, &overlapping[which]);
        CHECK(code == 0 || code == WEIR_EBUSY);
        started += code == 0;
        size_t count = 0;
        if (i % 5 == 0) {
            CHECK_OK(weir_hook_stop(hooks[which], &count));
            stopped += (int)count;
        }
    }
    for (int i = 0; i < 3; i++) {
        size_t count = 0;
        CHECK_OK(weir_handle_cancel(hooks[i], &count));
        stopped += (int)count;
    }
    CHECK_EQ(started, stopped);
    CHECK_OK(weir_context_work_end(shared));
    for (int i = 0; i < 3; i++)
        CHECK_EQ(pthread_join(threads[i], NULL), 0);
    CHECK_OK(weir_context_destroy(shared));
    CHECK_EQ(ended, stopped);
}

TEST_MAIN()
