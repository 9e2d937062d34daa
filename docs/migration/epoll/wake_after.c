/* The same on libweir, and still with a loop of one's own: completions come as records where there is no callback. */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <weir.h>

struct result {
    int value;
};

static weir_context *context;

static void *work(void *argument) {
    (void)argument;
    for (int number = 1; number <= 6; number++) {
        struct result *result = calloc(1, sizeof *result);
        result->value = number <= 5 ? number * number : -1;
        if (weir_context_post(context, NULL, result) != 0) free(result);
    }
    return NULL;
}

int main(void) {
    pthread_t thread;
    int sum = 0, ended = 0;
    if (weir_context_create(NULL, &context) != 0) return 1;
    weir_context_work_begin(context); /* without work reap would not wait */
    pthread_create(&thread, NULL, work, NULL);
    while (!ended) {
        weir_record records[16];
        size_t count;
        if (weir_context_reap(context, records, 16, WEIR_FOREVER, &count) != 0) break;
        for (size_t at = 0; at < count; at++) {
            struct result *result = records[at].user; /* one record for each post */
            if (result->value < 0) ended = 1;
            else printf("got %d\n", result->value), sum += result->value;
            free(result);
        }
    }
    pthread_join(thread, NULL);
    weir_context_destroy(context);
    printf("sum %d\n", sum);
    return 0;
}
