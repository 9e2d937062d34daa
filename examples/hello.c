/* A first program: a timer that fires once. */
#include <stdio.h>
#include <weir.h>

static void on_timer(int status, void *user) {
    printf("%s: %s\n", (const char *)user, weir_strerror(status));
}

int main(void) {
    weir_context *context = NULL;
    weir_timer *timer = NULL;

    int error = weir_context_create(NULL, &context);
    if (error == 0) error = weir_timer_create(context, &timer);
    if (error == 0) error = weir_timer_expires_after(timer, 200 * 1000 * 1000); /* nanoseconds */
    if (error == 0) error = weir_timer_wait(timer, on_timer, "hello after 200 ms");
    if (error == 0) error = weir_context_run(context, NULL); /* returns when nothing is pending */
    if (error != 0) fprintf(stderr, "hello: %s\n", weir_strerror(error));

    weir_timer_close(timer);
    weir_context_destroy(context);
    return error != 0;
}
