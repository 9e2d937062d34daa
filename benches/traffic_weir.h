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

/* How every context here is made. */
static inline void set_options(weir_context_options *options, const struct bench *b) {
    memset(options, 0, sizeof *options);
    options->struct_size = sizeof *options;
    options->thread_hint = (uint32_t)(b->hint > 0 ? b->hint : b->each ? 1 : b->threads);
    options->timer_slack_ns = b->slack_ns;
}

static inline weir_context *make_context(const struct bench *b) {
    weir_context *context = NULL;
    weir_context_options options;
    set_options(&options, b);
    CHECK(weir_context_create(&options, &context));
    return context;
}

#endif
