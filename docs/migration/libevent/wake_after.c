/* The same on libweir: the thread posts each result. */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <weir.h>

struct result {
    int value;
};

static weir_context *context;
static int sum;

/* Called once for each post, in order. */
static void on_arrived(int status, void *user) {
    struct result *result = user;
    if (status == 0) printf("got %d\n", result->value), sum += result->value;
    free(result);
}

static void *work(void *argument) {
    (void)argument;
    for (int number = 1; number <= 5; number++) {
        struct result *result = calloc(1, sizeof *result);
        result->value = number * number;
        if (weir_context_post(context, on_arrived, result) != 0) free(result);
    }
    weir_context_work_end(context); /* run returns when the last one has been called */
    return NULL;
}

int main(void) {
    pthread_t thread;
    if (weir_context_create(NULL, &context) != 0) return 1;
    weir_context_work_begin(context);
    pthread_create(&thread, NULL, work, NULL);
    weir_context_run(context, NULL);
    pthread_join(thread, NULL);
    weir_context_destroy(context);
    printf("sum %d\n", sum);
    return 0;
}
