/* The model beside the library: every operation that began, what it has been told, and the memory that it uses.
 *
 * An operation is known by its number, which travels as the user pointer of callbacks and records. Each must complete
 * exactly once: a multi-shot one any number of times with 0 or more, and once with an error, after which nothing
 * comes. Its buffer is freed when it is complete, or when the handle was closed or cancelled: under the address
 * sanitizer a late touch is seen. */
#ifndef MODEL_H
#define MODEL_H

#include "../net.h"

enum op_state { OP_VOID, OP_BEGINNING, OP_PENDING, OP_DONE, OP_DROPPED };

struct op {
    atomic_int state;
    bool multi_shot;
    bool record; /* begun without a callback */
    void *handle;
    const void *beginner; /* the actor that began it */
    const char *what;
    _Atomic(void *) buffer;
};

enum { OPS_PER_BLOCK = 4096, OP_BLOCKS = 4096 };
static _Atomic(struct op *) op_blocks[OP_BLOCKS];
static atomic_size_t op_count;
static atomic_ullong completions, multi_shot_events;

static struct op *op_at(size_t number)
{
    size_t block = number / OPS_PER_BLOCK;
    if (block >= OP_BLOCKS)
        return NULL;
    struct op *ops = atomic_load(&op_blocks[block]);
    return ops == NULL ? NULL : &ops[number % OPS_PER_BLOCK];
}

/* ---- the last calls and completions, for a report */

enum { TRAIL = 1 << 16, TOLD = 150 };
static struct {
    _Atomic(const char *) what;
    _Atomic(void *) handle;
    atomic_int result;
} trail[TRAIL];
static atomic_size_t trail_count;
static _Atomic(void *) trail_subject; /* all that is remembered of this handle is told */
static const char *repeat_with = "";
static bool told_live; /* SEQUENCE_LIVE: each call is told */

static void note(const char *what, void *handle, int result)
{
    size_t at = atomic_fetch_add(&trail_count, 1) % TRAIL;
    if (told_live)
        fprintf(stderr, "%s(%p) = %d\n", what, handle, result);
    atomic_store_explicit(&trail[at].what, what, memory_order_relaxed);
    atomic_store_explicit(&trail[at].handle, handle, memory_order_relaxed);
    atomic_store_explicit(&trail[at].result, result, memory_order_relaxed);
}

static void tell_trail(void)
{
    size_t count = atomic_load(&trail_count), from = count > TRAIL ? count - TRAIL : 0;
    for (size_t i = from; i < count; i++) {
        if (count - i > TOLD && (trail_subject == NULL || trail[i % TRAIL].handle != trail_subject))
            continue;
        fprintf(stderr, "  %s(%p) = %d (%s)\n", trail[i % TRAIL].what, trail[i % TRAIL].handle, trail[i % TRAIL].result,
                trail[i % TRAIL].result < 0 ? weir_error_name(trail[i % TRAIL].result) : "");
    }
    fprintf(stderr, "repeat: %s\n", repeat_with);
}

__attribute__((noreturn, format(printf, 1, 2))) static void broken(const char *format, ...)
{
    __builtin_va_list arguments;
    __builtin_va_start(arguments, format);
    tell_trail();
    fprintf(stderr, "BROKEN: ");
    vfprintf(stderr, format, arguments);
    fprintf(stderr, "\n");
    __builtin_va_end(arguments);
    fflush(stderr);
#ifdef SEQUENCE_FUZZ
    abort();
#else
    _exit(1);
#endif
}

/* ---- operations */

/* Counts an operation before the function that begins it is called. */
static size_t op_new(const char *what, void *handle, const void *beginner, bool multi_shot, void *buffer)
{
    size_t number = atomic_fetch_add(&op_count, 1);
    size_t block = number / OPS_PER_BLOCK;
    if (block >= OP_BLOCKS)
        broken("too many operations for the model");
    if (atomic_load(&op_blocks[block]) == NULL) {
        struct op *fresh = calloc(OPS_PER_BLOCK, sizeof *fresh), *none = NULL;
        CHECK(fresh != NULL);
        if (!atomic_compare_exchange_strong(&op_blocks[block], &none, fresh))
            free(fresh);
    }
    struct op *op = op_at(number);
    op->multi_shot = multi_shot;
    op->handle = handle;
    op->beginner = beginner;
    op->what = what;
    atomic_store(&op->buffer, buffer);
    atomic_store(&op->state, OP_BEGINNING);
    return number;
}

static size_t watched_op = SIZE_MAX; /* SEQUENCE_OP: its story is told */

static void op_free_buffer(struct op *op)
{
    free(atomic_exchange(&op->buffer, NULL));
}

/* What the function has returned. */
static void op_began(size_t number, int result)
{
    struct op *op = op_at(number);
    int beginning = OP_BEGINNING;
    if (watched_op == number)
        fprintf(stderr, "operation %zu: %s(%p) gave %d%s\n", number, op->what, op->handle, result,
                op->record ? ", a record" : "");
    if (result == 0) {
        atomic_compare_exchange_strong(&op->state, &beginning, OP_PENDING);
        return;
    }
    if (!atomic_compare_exchange_strong(&op->state, &beginning, OP_VOID))
        broken("operation %zu (%s) failed to begin with %d and was completed", number, op->what, result);
    op_free_buffer(op);
}

static void op_completed(void *user, int status)
{
    size_t number = (size_t)(uintptr_t)user - 1;
    if (watched_op == number)
        fprintf(stderr, "operation %zu is told %d\n", number, status);
    struct op *op = user == NULL ? NULL : op_at(number);
    if (op == NULL || number >= atomic_load(&op_count))
        broken("a completion for %p, which nobody has begun", user);
    atomic_store_explicit(&trail_subject, op->handle, memory_order_relaxed);
    note(op->what, op->handle, status);
    if (status < 0 && strcmp(weir_error_name(status), "UNKNOWN") == 0)
        broken("operation %zu (%s) completed with the unknown code %d", number, op->what, status);
    if (op->multi_shot && status >= 0) {
        int state = atomic_load(&op->state);
        /* A reap inside a callback of another reap may have brought the end first. */
        if (state != OP_PENDING && state != OP_BEGINNING && state != OP_DROPPED && !op->record)
            broken("operation %zu (%s) was told of an event in state %d", number, op->what, state);
        atomic_fetch_add(&multi_shot_events, 1);
        return;
    }
    int before = atomic_exchange(&op->state, OP_DONE);
    /* Dropped: its record was in another context than the one that was destroyed. */
    if (before != OP_PENDING && before != OP_BEGINNING && before != OP_DROPPED)
        broken("operation %zu (%s) completed with %d in state %d", number, op->what, status, before);
    op_free_buffer(op);
    atomic_fetch_add(&completions, 1);
}

/* The handle was closed or cancelled: the library touches no buffer of what it had pending any more. (Those of other
 * threads may have been begun since.) */
static void op_release(void *handle, const void *beginner, size_t since)
{
    size_t end = atomic_load(&op_count);
    for (size_t i = since; i < end; i++) {
        struct op *op = op_at(i);
        /* The state first: it makes what another thread wrote before it visible. */
        if (op != NULL && atomic_load(&op->state) == OP_PENDING && op->handle == handle && op->beginner == beginner)
            op_free_buffer(op);
    }
}

/* A context was destroyed, and with it the records that nobody had reaped: those of handles that are gone. All others
 * were reaped before. */
static void ops_drop_records(void)
{
    size_t end = atomic_load(&op_count);
    for (size_t i = 0; i < end; i++) {
        struct op *op = op_at(i);
        weir_context *context;
        if (op == NULL || atomic_load(&op->state) != OP_PENDING || !op->record)
            continue;
        bool gone = op->handle == NULL || weir_handle_context(op->handle, &context) == WEIR_EBADF;
        if (gone && weir_context_stopped(op->handle) == WEIR_EBADF) {
            atomic_store(&op->state, OP_DROPPED);
            op_free_buffer(op);
        }
    }
}

static void ops_forget(void)
{
    atomic_store(&op_count, 0);
    for (size_t i = 0; i < OP_BLOCKS; i++)
        free(atomic_exchange(&op_blocks[i], NULL));
}

static size_t ops_open(size_t *first)
{
    size_t open = 0, end = atomic_load(&op_count);
    for (size_t i = 0; i < end; i++) {
        struct op *op = op_at(i);
        int state = op == NULL ? OP_VOID : atomic_load(&op->state);
        if (state != OP_PENDING && state != OP_BEGINNING)
            continue;
        if (open++ == 0 && first != NULL)
            *first = i;
    }
    return open;
}

/* ---- callbacks of every type */

static void more_calls(void); /* what a callback does besides */

static void on_status(int status, void *user)
{
    op_completed(user, status);
    more_calls();
}

static void on_io(int status, size_t bytes, void *user)
{
    (void)bytes;
    op_completed(user, status);
    more_calls();
}

static void on_value(int status, int value, void *user)
{
    (void)value;
    op_completed(user, status);
    more_calls();
}

static void on_buffer(int status, const void *data, size_t length, void *user)
{
    unsigned char sum = 0;
    for (size_t i = 0; status == 0 && i < length; i++)
        sum ^= ((const unsigned char *)data)[i];
    (void)sum;
    op_completed(user, status);
    more_calls();
}

static void on_resolved(int status, weir_addresses *addresses, void *user)
{
    const struct sockaddr *address;
    socklen_t length;
    for (size_t i = 0; i < weir_addresses_count(addresses); i++)
        CHECK_OK(weir_addresses_get(addresses, i, &address, &length));
    weir_addresses_canonical_name(addresses);
    weir_addresses_free(addresses);
    op_completed(user, status);
    more_calls();
}

static void on_names(int status, weir_names *names, void *user)
{
    CHECK(status != 0 || (weir_names_host(names) != NULL && weir_names_service(names) != NULL));
    weir_names_free(names);
    op_completed(user, status);
    more_calls();
}

#endif
