/* Helpers for the tests of signals. */
#ifndef SIGNALS_H
#define SIGNALS_H

#include "net.h"

struct got {
    atomic_int calls, status, value;
    atomic_int of[65]; /* completions with this number */
};

static inline void got_signal(int status, int value, void *user)
{
    struct got *got = user;
    CHECK(!net_starting);
    CHECK(value >= 0 && value <= 64 && (status == 0) == (value != 0));
    got->status = status;
    got->value = value;
    got->of[value]++;
    got->calls++;
}

static inline weir_signals *new_signals(weir_context *context)
{
    weir_signals *signals = NULL;
    CHECK_OK(weir_signals_create(context, &signals));
    CHECK(signals != NULL);
    return signals;
}

/* A set with one signal. */
static inline weir_signals *new_signals_of(weir_context *context, int signo)
{
    weir_signals *signals = new_signals(context);
    CHECK_OK(weir_signals_add(signals, signo, 0));
    return signals;
}

static inline void begin_wait(weir_signals *signals, struct got *got)
{
    net_starting = true;
    CHECK_OK(weir_signals_wait(signals, got_signal, got));
    net_starting = false;
}

/* Runs what is ready. */
static inline void serve(weir_context *context)
{
    CHECK_OK(weir_context_restart(context));
    CHECK_OK(weir_context_poll(context, NULL));
}

static inline size_t arrived(weir_signals *signals)
{
    size_t count = 99;
    CHECK_OK(weir_signals_arrived(signals, &count));
    return count;
}

static inline struct sigaction action_of(int signo)
{
    struct sigaction action;
    CHECK_EQ(sigaction(signo, NULL, &action), 0);
    return action;
}

#endif
