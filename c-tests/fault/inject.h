/* What the injector and the program that drives it have in common.
 *
 * The injector (inject.c) is a library for LD_PRELOAD. It stands in for every function of the C library by
 * which libweir.so asks the kernel for something, counts the calls that come from libweir.so, and has one of them
 * fail as a plan says. Calls of anything else in the process go through untouched. */
#ifndef INJECT_H
#define INJECT_H

#include <stdbool.h>
#include <stddef.h>

/* How an error is put on. */
enum {
    FAULT_SEEN = 1,     /* not transparent: the caller of libweir may see it */
    FAULT_PERFORM = 2,  /* the call is made, and then said to have failed: what was begun goes on */
    FAULT_REARM = 4,    /* the kernel says this of a socket that is not ready, and tells when it is: so does the injector */
    FAULT_BOUNDED = 8,  /* the kernel never says it for ever: twenty times in a row stand for that */
    FAULT_RETURNED = 16, /* the error is what the function returns */
    FAULT_WAITS = 32     /* libweir tries again later: for ever, nothing comes of it */
};

struct fault_error {
    int error;
    int how;
};

/* A row of the table: a function, or a use of one. */
struct fault_row {
    const char *name;
    const char *symbol;
    struct fault_error errors[20]; /* ends with an error of 0 */
    bool shortens;                 /* may move less than it was asked for */
    const char *why_none;          /* where no error is tried: why */
    bool waits;                    /* may tell of fds that are not ready */
};

enum fault_mode { FAULT_NEVER, FAULT_ONCE, FAULT_FOR_EVER, FAULT_SHORT, FAULT_SPURIOUS };

struct fault_plan {
    int row;
    long index; /* the first call that fails, counted from 1 */
    enum fault_mode mode;
    struct fault_error error;
};

/* The program has them as weak symbols: they are there where the injector is. */
const struct fault_row *fault_rows(size_t *count) __attribute__((weak));
/* Counts from 0 and follows the plan, which may be NULL. */
void fault_begin(const struct fault_plan *plan) __attribute__((weak));
/* Besides the plan, and until the end: every call of the row of that name fails so. */
void fault_always(const char *name, int error) __attribute__((weak));
/* No faults any more; how many there were. */
long fault_end(void) __attribute__((weak));
/* Of a row, since fault_begin(). */
long fault_calls(size_t row) __attribute__((weak));
/* A number of syscall() that the injector does not know, or -1. */
long fault_unknown(void) __attribute__((weak));

#endif
