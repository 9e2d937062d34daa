/* The model that every scenario is held against, whatever fails: an operation that was started completes exactly
 * once, one whose start gave an error never does, no callback comes from inside its start, every handle can be
 * closed, run returns, the context works again once the fault is gone, and no fd is left. Codes of which the
 * header says that they are never seen (EINTR, EAGAIN) are not.
 *
 * Where the fault is one that libweir hides (`model_strict`) everything must come out as without it. */
#ifndef MODEL_H
#define MODEL_H

#include "check.h"
#include "inject.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <stddef.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <sys/un.h>

#define MODEL_OPS 1000
#define MODEL_CODES 400
#define MODEL_ROWS 128

struct op {
    const char *text;
    int line;
    bool multi;
    int code; /* of the start */
    atomic_int ticks, ends;
    int status;
    size_t bytes;
};

/* What a run tells the driver. */
struct report {
    int ops;
    struct {
        int code, ends, status;
    } op[MODEL_OPS];
    long calls[MODEL_ROWS];
    long injected, allocations, unknown;
    int fds;
    int codes; /* errors that functions returned */
    struct {
        char function[48];
        int code;
        bool direct; /* that of the fault, passed on */
    } code[MODEL_CODES];
};

struct scenario {
    const char *name;
    void (*run)(void);
    bool threads; /* goes another way each time */
};

extern const struct scenario scenarios[];

/* Nothing but what happens without faults is allowed. */
extern bool model_strict;
extern const struct report *model_baseline; /* NULL in the run that makes it */
extern struct report *model_report;
extern int model_error; /* what the plan has calls fail with; 0 for nothing */
extern weir_context *context; /* NULL where it could not be made */

/* Runs one scenario in this process. `allocation` is the one that fails, from 1; 0 for none. */
void model_run(const struct scenario *scenario, const struct fault_plan *plan, long allocation, bool for_ever,
               bool count_allocations);

__attribute__((noreturn)) void model_fail(int line, const char *text, const char *why, int code);
int model_tried(int line, const char *text, int code);
struct op *model_op(int line, const char *text, bool multi);
void model_began(struct op *op, int code);
void model_begin_serving(void);
bool model_turn(void);
bool model_done(void);
long model_progress(void);
void *model_keep(void *handle);
void model_reap(void);
void model_fault_over(void);

/* A call that starts nothing. */
#define TRY(call) model_tried(__LINE__, #call, (call))
/* A call that starts the operation `it`. */
#define START(call) START_(call, false)
/* ... which completes any number of times, and at last with an error. */
#define START_EACH(call) START_(call, true)
#define START_(call, multi)                                                                                            \
    __extension__({                                                                                                    \
        struct op *it = model_op(__LINE__, #call, multi);                                                              \
        model_began(it, (call));                                                                                       \
        it;                                                                                                            \
    })
/* Serves the context until the condition holds; without it where nothing moves any more. */
#define SERVE(condition)                                                                                               \
    for (model_begin_serving(); !(condition) && model_turn();) {                                                       \
    }
#define SERVE_ALL() SERVE(model_done())
/* What holds where nothing has failed. */
#define EXPECT(condition)                                                                                              \
    do {                                                                                                               \
        if (model_strict && !(condition))                                                                              \
            model_fail(__LINE__, #condition, "does not hold", 0);                                                      \
    } while (0)
#define ENDED(op) (atomic_load(&(op)->ends) > 0 || (op)->code != 0)
#define TICKED(op, number) (atomic_load(&(op)->ticks) >= (number) || ENDED(op))

void on_status(int status, void *user);
void on_io(int status, size_t bytes, void *user);
void on_value(int status, int value, void *user);
void on_accept(int status, weir_stream *peer, const struct sockaddr *address, socklen_t length, void *user);
void on_buffer(int status, const void *data, size_t length, void *user);
void on_resolve(int status, weir_addresses *addresses, void *user);
void on_reverse(int status, weir_names *names, void *user);

/* The stream that the last accept gave. */
extern weir_stream *accepted;

weir_stream *a_stream(void);
weir_timer *a_timer(int64_t after);
weir_acceptor *a_listener(int family, struct sockaddr_storage *where, socklen_t *length);
void two_streams(int family, weir_stream *ends[2]);

#endif
