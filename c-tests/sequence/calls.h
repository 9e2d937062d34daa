/* What an actor may do, type by type. Arguments are drawn at random, good ones and bad ones. */
#ifndef CALLS_H
#define CALLS_H

#include "actor.h"

/* A callback, or now and then none: the completion becomes a record. */
#define MAYBE(callback) ((me->record = one_in(3)) ? NULL : (callback))

/* ---- context */

static int silent_count;

static void on_log(int level, const char *text, void *user)
{
    (void)level;
    (void)text;
    (void)user;
}

static weir_context *make_context(void)
{
    weir_context *context = NULL;
    weir_context_options options = {
        .struct_size = sizeof options,
        .flags = (one_in(3) ? WEIR_CONTEXT_MANUAL_CLOCK : 0) | (one_in(4) ? WEIR_CONTEXT_NO_INLINE : 0) |
                 (one_in(4) ? WEIR_CONTEXT_MEASURE : 0),
        .thread_hint = (uint32_t)below(4),
        .max_events = one_in(4) ? 1 + (uint32_t)below(8) : 0,
        .timer_slack_ns = one_in(3) ? (int64_t)below(1000000) : 0,
        .pool_slots = 1 + (uint32_t)below(8),
        .pool_slot_size = one_in(2) ? 0 : 64 + (uint32_t)below(4096),
        .log = one_in(2) ? on_log : NULL,
        .log_user = &silent_count,
    };
    if (DO(weir_context_create, NULL, &options, &context) != 0)
        return NULL;
    return context;
}

static void reap_into(weir_context *context, weir_record *records, size_t count)
{
    (void)context;
    for (size_t i = 0; i < count; i++) {
        weir_record *record = &records[i];
        void *value = (void *)(uintptr_t)record->value;
        if (record->kind == WEIR_OP_ACCEPT && record->status == 0 && value != NULL)
            keep(STREAM, value, context);
        if (record->kind == WEIR_OP_RESOLVE)
            weir_addresses_free(value);
        if (record->kind == WEIR_OP_REVERSE)
            weir_names_free(value);
        bool pooled = (record->kind == WEIR_OP_READ || record->kind == WEIR_OP_RECEIVE) && record->status == 0;
        struct op *op = op_at((size_t)(uintptr_t)record->user - 1);
        if (pooled && op != NULL && op->multi_shot) {
            struct sockaddr_storage address;
            socklen_t length = 0;
            if (record->kind == WEIR_OP_RECEIVE)
                DO(weir_context_pool_sender, context, context, record->extra, &address, &length);
            DO(weir_context_pool_release, context, context, record->extra);
        }
        op_completed(record->user, record->status);
    }
}

static void reap_some(weir_context *context)
{
    weir_record records[16];
    size_t count = 0;
    if (DO(weir_context_reap, context, context, records, 1 + below(16), one_in(3) ? 100000 : 0, &count) == 0)
        reap_into(context, records, count);
}

static void enter_some(weir_context *context)
{
    weir_submission submissions[4];
    weir_record records[8];
    size_t numbers[4], submitted = below(5), capacity = below(9), count = 0;
    for (size_t i = 0; i < submitted; i++) {
        weir_submission *s = &submissions[i];
        size_t length = 1 + below(300);
        *s = (weir_submission){.length = length};
        bool buffer = false, operation = true, multi = false;
        switch (below(12)) {
        case 0:
            s->kind = WEIR_SUBMIT_POST;
            s->handle = context;
            break;
        case 1:
            s->kind = WEIR_SUBMIT_READ_SOME;
            s->handle = pick(STREAM);
            buffer = true;
            break;
        case 2:
            s->kind = WEIR_SUBMIT_WRITE;
            s->handle = pick(STREAM);
            buffer = true;
            break;
        case 3:
            s->kind = WEIR_SUBMIT_READ_EACH;
            s->handle = pick(STREAM);
            multi = true;
            break;
        case 4:
            s->kind = WEIR_SUBMIT_TIMER_AFTER;
            s->handle = pick(TIMER);
            operation = false;
            break;
        case 5:
            s->kind = WEIR_SUBMIT_SEND;
            s->handle = pick(STREAM);
            buffer = true;
            break;
        case 6:
            s->kind = WEIR_SUBMIT_SEND_COPY;
            s->handle = pick(STREAM);
            operation = false;
            break;
        case 7:
            s->kind = WEIR_SUBMIT_RECEIVE_EACH;
            s->handle = pick(DATAGRAM);
            multi = true;
            break;
        case 8:
            s->kind = WEIR_SUBMIT_WATCH_CHANGE;
            s->handle = pick(WATCH);
            operation = false;
            break;
        default: s->kind = (uint32_t)random_bits() | 0x80000000u; operation = false;
        }
        s->data = buffer ? calloc(1, length) : s->kind == WEIR_SUBMIT_SEND_COPY ? (void *)flood : NULL;
        numbers[i] = operation ? op_new("enter", s->handle, me, multi, s->data) : SIZE_MAX;
        s->user = operation ? (void *)(uintptr_t)(numbers[i] + 1) : NULL;
        if (operation)
            op_at(numbers[i])->record = true;
    }
    int result = DO(weir_context_enter, context, context, submissions, submitted, records, capacity,
                    one_in(3) ? 100000 : 0, &count);
    for (size_t i = 0; i < submitted; i++)
        if (numbers[i] != SIZE_MAX)
            op_began(numbers[i], result == 0 ? submissions[i].result : result);
    if (result == 0)
        reap_into(context, records, count);
}

static void run_a_little(weir_context *context)
{
    size_t count = 0;
    /* A poll goes on while a level-triggered watch is ready, up to 65,536 callbacks. */
    switch (one_in(20) && me->depth == 0 ? 5 : below(5)) {
    case 0:
        if (one_in(2))
            DO(weir_context_poll_one, context, context, &count);
        else
            DO(weir_context_run_until, context, context, 1 + (int64_t)below(1000), &count); /* long past */
        break;
    case 1: DO(weir_context_run_for, context, context, one_in(2) ? 0 : 200000, &count); break;
    case 2: DO(weir_context_wait_one, context, context, one_in(2) ? 0 : 200000, &count); break;
    case 3: reap_some(context); break;
    case 4: enter_some(context); break;
    default: DO(weir_context_poll, context, context, &count); break;
    }
    if (weir_context_stopped(context) == 1)
        DO(weir_context_restart, context, context);
}

static void a_context_call(void)
{
    weir_context *context = pick_context();
    weir_stats stats = {.struct_size = sizeof stats};
    weir_report_line lines[4];
    size_t count = 0;
    int64_t now;
    int fd;
    switch (below(22)) {
    case 0: BEGIN(weir_context_post, context, false, NULL, context, MAYBE(on_status), OP); break;
    case 1: BEGIN(weir_context_post, context, false, NULL, context, on_status, OP); break;
    case 2: BEGIN(weir_context_defer, context, false, NULL, context, MAYBE(on_status), OP); break;
    case 3: BEGIN(weir_context_dispatch, context, false, NULL, context, on_status, OP); break;
    case 4: DO(weir_context_stats, context, context, &stats); break;
    case 5: DO(weir_context_report, context, context, lines, 4, &count); break;
    case 6:
        if (one_in(2))
            DO(weir_context_now, context, context, &now);
        else
            DO(weir_context_turn_now, context, context, &now);
        break;
    case 7: DO(weir_context_advance, context, context, some_time()); break;
    case 8: DO(weir_context_cancel_tag, context, context, 1 + below(3), &count); break;
    case 9:
        if (alone || one_in(20))
            DO(weir_context_fd, context, context, &fd);
        break;
    case 10:
        if (alone || one_in(50)) {
            DO(weir_context_stop, context, context);
            DO(weir_context_restart, context, context);
        }
        break;
    case 11:
        if (DO(weir_context_work_begin, context, context) == 0)
            DO(weir_context_work_end, context, context);
        break;
    case 12: DO(weir_context_running_in_this_thread, context, context); break;
    case 13: reap_some(context); break;
    case 14: enter_some(context); break;
    default: run_a_little(context); break;
    }
}

/* ---- any handle */

static void a_handle_call(void)
{
    void *handle = pick((enum type)below(TYPES));
    weir_context *context;
    size_t count = 0;
    uint64_t tag;
    char name[32];
    switch (below(10)) {
    case 8:
        DO(weir_handle_cancel_operation, handle, handle, (void *)(uintptr_t)(1 + below(1 + atomic_load(&op_count))), &count);
        break;
    case 7: DO(weir_handle_keep_fd, handle, handle, 0); break; /* a kept one would be nobody's */
    case 0: DO(weir_handle_set_name, handle, handle, one_in(4) ? NULL : "a name"); break;
    case 1: DO(weir_handle_name, handle, handle, name, sizeof name); break;
    case 2: DO(weir_handle_set_tag, handle, handle, below(4)); break;
    case 3: DO(weir_handle_tag, handle, handle, &tag); break;
    case 4: DO(weir_handle_context, handle, handle, &context); break;
    case 5: DO(weir_handle_pending, handle, handle, &count); break;
    case 6: DO(weir_handle_set_strand, handle, handle, one_in(3) ? NULL : (weir_strand *)pick(STRAND)); break;
    default:
        if (DO(weir_handle_cancel, handle, handle, one_in(2) ? NULL : &count) == 0)
            op_release(handle, me, 0);
        break;
    }
}

static void a_close(void)
{
    if (me->count == 0 || one_in(10)) {
        void *handle = pick((enum type)below(TYPES));
        for (size_t i = 0; i < CONTEXTS; i++)
            if (handle == (void *)atomic_load(&contexts[i]))
                return;
        if (DO(weir_handle_close, handle, handle) == 0)
            op_release(handle, me, 0);
        return;
    }
    size_t at = below(me->count);
    struct thing thing = me->things[at];
    forget(at);
    int result = -1;
    switch (thing.type) {
    case STREAM: result = DO(weir_stream_close, thing.handle, thing.handle); break;
    case ACCEPTOR: result = DO(weir_acceptor_close, thing.handle, thing.handle); break;
    case DATAGRAM: result = DO(weir_datagram_close, thing.handle, thing.handle); break;
    case TIMER: result = DO(weir_timer_close, thing.handle, thing.handle); break;
    case SIGNALS: result = DO(weir_signals_close, thing.handle, thing.handle); break;
    case RESOLVER: result = DO(weir_resolver_close, thing.handle, thing.handle); break;
    case WATCH: result = DO(weir_watch_close, thing.handle, thing.handle); break;
    case PROCESS: result = DO(weir_process_close, thing.handle, thing.handle); break;
    case JOB: result = DO(weir_job_close, thing.handle, thing.handle); break;
    case STRAND: result = DO(weir_strand_close, thing.handle, thing.handle); break;
    case HOOK: result = DO(weir_hook_close, thing.handle, thing.handle); break;
    default: break;
    }
    if (result == 0)
        op_release(thing.handle, me, thing.since);
}

#include "services.h"

#include "questions.h"

/* ---- the next call */

static void a_call(void)
{
    switch (below(26)) {
    case 24:
    case 25: a_question(); break;
    case 0:
    case 1:
    case 2:
    case 3:
    case 4: a_context_call(); break;
    case 5: a_handle_call(); break;
    case 6: a_close(); break;
    case 7:
    case 8:
    case 9: use_a_peer(); break;
    case 10:
    case 11:
    case 12:
    case 13:
    case 14: a_stream_call(); break;
    case 15: an_acceptor_call(); break;
    case 16:
    case 17: a_datagram_call(); break;
    case 18:
    case 19: a_timer_call(); break;
    case 20: a_watch_call(); break;
    case 21: a_strand_or_hook_call(); break;
    case 22: a_signal_or_name_call(); break;
    default: a_job_or_process_call(); break;
    }
}

static void more_calls(void)
{
    if (me == NULL || ending || me->depth >= 3 || me->calls >= me->limit || !one_in(4))
        return;
    me->depth++;
    for (size_t i = below(3); i < 3; i++)
        a_call();
    me->depth--;
}

#endif
