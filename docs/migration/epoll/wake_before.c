/* A thread hands its results to an epoll loop: a locked list, and an eventfd that wakes the loop. */
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

struct result {
    struct result *next;
    int value;
};

static int wake;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct result *first, **last = &first;

static void *work(void *argument) {
    uint64_t one = 1;
    (void)argument;
    for (int number = 1; number <= 6; number++) {
        struct result *result = calloc(1, sizeof *result);
        result->value = number <= 5 ? number * number : -1;
        pthread_mutex_lock(&lock);
        *last = result;
        last = &result->next;
        pthread_mutex_unlock(&lock);
        if (write(wake, &one, sizeof one) < 0) perror("eventfd");
    }
    return NULL;
}

int main(void) {
    pthread_t thread;
    int sum = 0, ended = 0, set = epoll_create1(EPOLL_CLOEXEC);
    wake = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    struct epoll_event event = {.events = EPOLLIN, .data.fd = wake};
    epoll_ctl(set, EPOLL_CTL_ADD, wake, &event);
    pthread_create(&thread, NULL, work, NULL);
    while (!ended) {
        struct epoll_event events[16];
        int count = epoll_wait(set, events, 16, -1);
        for (int at = 0; at < count; at++) {
            uint64_t times;
            if (read(wake, &times, sizeof times) < 0) continue; /* several writes are one event */
            pthread_mutex_lock(&lock);
            struct result *list = first;
            first = NULL;
            last = &first;
            pthread_mutex_unlock(&lock);
            while (list != NULL) {
                struct result *result = list;
                list = list->next;
                if (result->value < 0) ended = 1;
                else printf("got %d\n", result->value), sum += result->value;
                free(result);
            }
        }
    }
    pthread_join(thread, NULL);
    close(wake);
    close(set);
    printf("sum %d\n", sum);
    return 0;
}
