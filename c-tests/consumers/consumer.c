/* Runs one post and one timer, and says so. */
#include <weir.h>

#include <stdio.h>

struct state {
    int posted;
    int fired;
};

static void on_post(int status, void *user)
{
    struct state *state = user;
    if (status == 0)
        state->posted++;
}

static void on_timer(int status, void *user)
{
    struct state *state = user;
    if (status == 0)
        state->fired++;
}

static int failed(const char *what, int code)
{
    fprintf(stderr, "%s: %s\n", what, weir_error_name(code));
    return 1;
}

int main(void)
{
    struct state state = {0, 0};
    weir_context *context = NULL;
    weir_timer *timer = NULL;
    int code;

    if ((code = weir_context_create(NULL, &context)) != 0)
        return failed("weir_context_create", code);
    if ((code = weir_timer_create(context, &timer)) != 0)
        return failed("weir_timer_create", code);
    if ((code = weir_timer_expires_after(timer, 1000000)) != 0)
        return failed("weir_timer_expires_after", code);
    if ((code = weir_timer_wait(timer, on_timer, &state)) != 0)
        return failed("weir_timer_wait", code);
    if ((code = weir_context_post(context, on_post, &state)) != 0)
        return failed("weir_context_post", code);
    if ((code = weir_context_run(context, NULL)) != 0)
        return failed("weir_context_run", code);
    if ((code = weir_timer_close(timer)) != 0)
        return failed("weir_timer_close", code);
    if ((code = weir_context_destroy(context)) != 0)
        return failed("weir_context_destroy", code);
    printf("C on libweir %s: %d post, %d timer\n", weir_version_string(), state.posted, state.fired);
    return state.posted == 1 && state.fired == 1 ? 0 : 1;
}
