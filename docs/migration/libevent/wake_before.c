/* A thread hands its results to a libevent loop: a locked list, and an event that it activates. */
#include <event2/event.h>
#include <event2/thread.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

struct result {
    struct result *next;
    int value;
};

static struct event_base *base;
static struct event *arrived;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct result *first, **last = &first;
static int sum;

static void *work(void *argument) {
    (void)argument;
    for (int number = 1; number <= 6; number++) {
        struct result *result = calloc(1, sizeof *result);
        result->value = number <= 5 ? number * number : -1;
        pthread_mutex_lock(&lock);
        *last = result;
        last = &result->next;
        pthread_mutex_unlock(&lock);
        event_active(arrived, EV_READ, 0);
    }
    return NULL;
}

/* Several activations may be one call. */
static void on_arrived(evutil_socket_t fd, short what, void *user) {
    (void)fd, (void)what, (void)user;
    pthread_mutex_lock(&lock);
    struct result *list = first;
    first = NULL;
    last = &first;
    pthread_mutex_unlock(&lock);
    while (list != NULL) {
        struct result *result = list;
        list = list->next;
        if (result->value < 0) event_base_loopbreak(base);
        else printf("got %d\n", result->value), sum += result->value;
        free(result);
    }
}

int main(void) {
    pthread_t thread;
    evthread_use_pthreads(); /* before anything else */
    base = event_base_new();
    arrived = event_new(base, -1, EV_READ | EV_PERSIST, on_arrived, NULL);
    event_add(arrived, NULL);
    pthread_create(&thread, NULL, work, NULL);
    event_base_loop(base, EVLOOP_NO_EXIT_ON_EMPTY);
    pthread_join(thread, NULL);
    event_free(arrived);
    event_base_free(base);
    printf("sum %d\n", sum);
    return 0;
}
