/* What the files of bench_weir share. */
#ifndef TRAFFIC_WEIR_H
#define TRAFFIC_WEIR_H

#include "traffic.h"

#include <weir.h>

#define CHECK(call)                                                                                                    \
    do {                                                                                                               \
        int check_ = (call);                                                                                           \
        if (check_ < 0) bench_fail("%s:%d: %s: %s", __FILE__, __LINE__, #call, weir_strerror(check_));                 \
    } while (0)

static inline weir_context *make_context(const struct bench *b) {
    weir_context *context = NULL;
    weir_context_options options = {
        .struct_size = sizeof options, .thread_hint = (uint32_t)b->threads, .timer_slack_ns = b->slack_ns};
    CHECK(weir_context_create(&options, &context));
    return context;
}

#endif
