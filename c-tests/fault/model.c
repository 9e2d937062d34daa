/* See model.h. */
#include "model.h"

#include <sys/stat.h>

bool model_strict;
const struct report *model_baseline;
struct report *model_report;
weir_context *context;
weir_stream *accepted;

static struct op ops[MODEL_OPS];
static atomic_int op_count;
static void *handles[1000];
static atomic_int handle_count;
static atomic_long progress;
int model_error;
static _Thread_local bool starting;

/* ---- failures */

void model_fail(int line, const char *text, const char *why, int code)
{
    fprintf(stderr, "  line %d: %.100s: %s", line, text, why);
    if (code != 0)
        fprintf(stderr, ": %d (%s)", code, weir_error_name(code));
    fprintf(stderr, "\n");
    _exit(1);
}

/* ---- codes */

static bool starts_with(const char *text, const char *word)
{
    return strncmp(text, word, strlen(word)) == 0;
}

static void note_code(const char *text, int code)
{
    static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
    struct report *report = model_report;
    size_t length = strcspn(text, "(");
    bool direct = code == -model_error;
    if (length >= sizeof report->code[0].function)
        return;
    pthread_mutex_lock(&lock);
    int at = 0;
    while (at < report->codes && (report->code[at].code != code || report->code[at].direct != direct ||
                                  strncmp(report->code[at].function, text, length) != 0 ||
                                  report->code[at].function[length] != '\0'))
        at++;
    if (at == report->codes && at < MODEL_CODES) {
        memcpy(report->code[at].function, text, length);
        report->code[at].direct = direct;
        report->code[at].code = code;
        report->codes++;
    }
    pthread_mutex_unlock(&lock);
}

/* What no caller ever sees. */
static void check_code_of(int line, const char *text, int code, bool starts)
{
    if (code == 0)
        return;
    bool threads = starts && (starts_with(text, "weir_job_start") || starts_with(text, "weir_resolver_"));
    if (code > 0)
        model_fail(line, text, "gave a positive code", code);
    if (code == -EINTR || code == -EINPROGRESS || code == -EALREADY || code == -EFAULT || code == -ENOSYS ||
        (code == -EAGAIN && !(threads && model_error != 0)))
        model_fail(line, text, "gave a code that nobody may see", code);
    if (starts_with(weir_error_name(code), "UNKNOWN"))
        model_fail(line, text, "gave a number that is no code", code);
}

int model_tried(int line, const char *text, int code)
{
    check_code_of(line, text, code, true);
    if (code != 0) {
        note_code(text, code);
        if (model_strict)
            model_fail(line, text, "failed", code);
    }
    return code;
}

/* ---- operations */

struct op *model_op(int line, const char *text, bool multi)
{
    int index = atomic_fetch_add(&op_count, 1);
    if (index >= MODEL_OPS)
        model_fail(line, text, "is one operation too many for the model", 0);
    ops[index].text = text;
    ops[index].line = line;
    ops[index].multi = multi;
    starting = true;
    return &ops[index];
}

void model_began(struct op *op, int code)
{
    starting = false;
    op->code = code;
    if (code != 0) {
        check_code_of(op->line, op->text, code, true);
        note_code(op->text, code);
    }
}

static void end(struct op *op, int status, size_t bytes)
{
    if (starting)
        model_fail(op->line, op->text, "called back from inside a start", status);
    atomic_fetch_add(&progress, 1);
    if (op->multi && status >= 0) {
        if (atomic_load(&op->ends) > 0)
            model_fail(op->line, op->text, "went on after its end", status);
        atomic_fetch_add(&op->ticks, 1);
        return;
    }
    check_code_of(op->line, op->text, status, false);
    op->status = status;
    op->bytes = bytes;
    if (atomic_fetch_add(&op->ends, 1) > 0)
        model_fail(op->line, op->text, "completed twice", status);
}

void on_status(int status, void *user)
{
    end(user, status, 0);
}

void on_io(int status, size_t bytes, void *user)
{
    end(user, status, bytes);
}

void on_value(int status, int value, void *user)
{
    (void)value;
    end(user, status, 0);
}

void on_accept(int status, weir_stream *peer, const struct sockaddr *address, socklen_t length, void *user)
{
    (void)length;
    struct op *op = user;
    if ((status == 0) != (peer != NULL) || (status == 0) != (address != NULL))
        model_fail(op->line, op->text, "gave a stream and an error, or neither", status);
    if (peer)
        accepted = model_keep(peer);
    end(user, status, 0);
}

void on_buffer(int status, const void *data, size_t length, void *user)
{
    struct op *op = user;
    if (status == 0 && (data == NULL || length == 0))
        model_fail(op->line, op->text, "gave no data", 0);
    op->bytes += length;
    end(user, status, op->bytes);
}

void on_resolve(int status, weir_addresses *addresses, void *user)
{
    struct op *op = user;
    if ((status == 0) != (addresses != NULL))
        model_fail(op->line, op->text, "gave addresses and an error, or neither", status);
    weir_addresses_free(addresses);
    end(user, status, 0);
}

void on_reverse(int status, weir_names *names, void *user)
{
    struct op *op = user;
    if ((status == 0) != (names != NULL))
        model_fail(op->line, op->text, "gave names and an error, or neither", status);
    weir_names_free(names);
    end(user, status, 0);
}

/* True when every operation that completes once has. */
bool model_done(void)
{
    for (int i = 0; i < op_count; i++)
        if (!ops[i].multi && ops[i].code == 0 && atomic_load(&ops[i].ends) == 0)
            return false;
    return true;
}

long model_progress(void)
{
    return atomic_load(&progress);
}

/* ---- serving */

static void print_pending(void)
{
    for (int i = 0; i < op_count; i++)
        if (ops[i].code == 0 && atomic_load(&ops[i].ends) == 0)
            fprintf(stderr, "  pending: line %d: %.100s\n", ops[i].line, ops[i].text);
}

static int64_t since;
static long seen;

void model_begin_serving(void)
{
    seen = -1;
}

bool model_turn(void)
{
    if (!context)
        return false;
    size_t count = 0;
    if (weir_context_stopped(context) == 1)
        TRY(weir_context_restart(context));
    int code = weir_context_run_for(context, 2 * CHECK_MS, &count);
    check_code_of(__LINE__, "weir_context_run_for", code, false);
    if (code != 0 && model_strict)
        model_fail(__LINE__, "weir_context_run_for", "failed", code);
    if (weir_context_stopped(context) == 1)
        sleep_ms(1);
    if (seen != progress) {
        seen = progress;
        since = now_ns();
        return true;
    }
    if (now_ns() - since < (model_strict ? 15 * CHECK_SECOND : 40 * CHECK_MS))
        return true;
    if (model_strict)
        print_pending();
    if (model_strict)
        model_fail(__LINE__, "the context", "hangs", 0);
    return false;
}

void model_reap(void)
{
    weir_record records[8];
    size_t count = 0;
    int code = weir_context_reap(context, records, 8, 2 * CHECK_MS, &count);
    check_code_of(__LINE__, "weir_context_reap", code, false);
    for (size_t i = 0; code == 0 && i < count; i++) {
        struct op *op = records[i].user;
        /* A pooled read of no bytes can't be: its end is an error. */
        end(op, records[i].status, (size_t)records[i].value);
        if (op->multi && records[i].status == 0)
            TRY(weir_context_pool_release(context, records[i].extra));
    }
}

/* ---- handles */

void *model_keep(void *handle)
{
    int index = atomic_fetch_add(&handle_count, 1);
    if (index >= (int)(sizeof handles / sizeof handles[0]))
        model_fail(__LINE__, "the model", "has too many handles", 0);
    handles[index] = handle;
    return handle;
}

weir_stream *a_stream(void)
{
    weir_stream *stream = NULL;
    TRY(weir_stream_create(context, &stream));
    return model_keep(stream);
}

weir_timer *a_timer(int64_t after)
{
    weir_timer *timer = NULL;
    TRY(weir_timer_create(context, &timer));
    TRY(weir_timer_expires_after(timer, after));
    return model_keep(timer);
}

weir_acceptor *a_listener(int family, struct sockaddr_storage *where, socklen_t *length)
{
    weir_acceptor *acceptor = NULL;
    memset(where, 0, sizeof *where);
    if (family == AF_UNIX) {
        struct sockaddr_un *local = (struct sockaddr_un *)where;
        local->sun_family = AF_UNIX;
        snprintf(local->sun_path + 1, 60, "weir fault %ld", (long)getpid());
        *length = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + strlen(local->sun_path + 1));
    } else {
        struct sockaddr_in *inet = (struct sockaddr_in *)where;
        inet->sin_family = AF_INET;
        inet->sin_addr.s_addr = htonl(INADDR_LOOPBACK);
        *length = sizeof *inet;
    }
    TRY(weir_acceptor_create(context, &acceptor));
    model_keep(acceptor);
    TRY(weir_acceptor_bind(acceptor, (struct sockaddr *)where, *length));
    TRY(weir_acceptor_listen(acceptor, 16));
    TRY(weir_acceptor_local_address(acceptor, where, length));
    return acceptor;
}

/* Two streams, connected through a listener; NULL where that failed. */
void two_streams(int family, weir_stream *ends[2])
{
    struct sockaddr_storage where;
    socklen_t length;
    weir_acceptor *acceptor = a_listener(family, &where, &length);
    accepted = NULL;
    struct op *accept = START(weir_acceptor_accept(acceptor, on_accept, it));
    TRY(weir_context_poll(context, NULL)); /* it is registered before anyone connects */
    ends[0] = a_stream();
    struct op *connect =
        START(weir_stream_connect(ends[0], (struct sockaddr *)&where, length, on_status, it));
    SERVE(ENDED(accept) && ENDED(connect));
    ends[1] = accepted;
    EXPECT(accepted != NULL);
}

/* ---- the program's allocator */

static long allocations, failing_allocation;
static bool fails_for_ever;
static atomic_bool allocator_counts;

static void *allocate(size_t size, size_t alignment, void *user)
{
    (void)user;
    if (atomic_load(&allocator_counts)) {
        long number = __atomic_add_fetch(&allocations, 1, __ATOMIC_SEQ_CST);
        if (failing_allocation != 0 && (number == failing_allocation || (fails_for_ever && number > failing_allocation)))
            return NULL;
    }
    void *memory = NULL;
    if (alignment < sizeof(void *))
        alignment = sizeof(void *);
    return posix_memalign(&memory, alignment, size) == 0 ? memory : NULL;
}

static void release(void *memory, size_t size, size_t alignment, void *user)
{
    (void)user;
    (void)alignment;
    memset(memory, 0xdd, size);
    free(memory);
}

/* ---- a run */

/* Adds what was called so far to the report. A fork has two sides: the longer one counts. */
static void note_calls(void)
{
    size_t rows = 0;
    fault_rows(&rows);
    for (size_t row = 0; row < rows && row < MODEL_ROWS; row++)
        if (fault_calls(row) > model_report->calls[row])
            model_report->calls[row] = fault_calls(row);
    long injected = fault_end();
    if (injected > model_report->injected)
        model_report->injected = injected;
    if (allocations > model_report->allocations)
        model_report->allocations = allocations;
}

void model_fault_over(void)
{
    note_calls();
    atomic_store(&allocator_counts, false);
}

static void too_late(int number)
{
    (void)number;
    print_pending(); /* not for signal handlers, but the process ends here */
    model_fail(__LINE__, "the run", "reached the time limit", 0);
}

static void on_log(int level, const char *text, void *user)
{
    (void)user;
    if (level == 0 || text[0] == '\0')
        model_fail(__LINE__, "the log", "says nothing", level);
}

static int make_context(void)
{
    weir_context_options options = {0};
    options.struct_size = sizeof options;
    options.log = on_log;
    options.pool_slots = 4;
    options.pool_slot_size = 256;
    return weir_context_create(&options, &context);
}

/* The same calls as ever, on the context that has been through it. */
static void check_that_it_works(void)
{
    static char got[8];
    weir_stream *ends[2] = {NULL, NULL};
    weir_timer *timer = NULL;
    model_strict = true;
    int first = op_count;
    TRY(weir_context_restart(context));
    TRY(weir_timer_create(context, &timer));
    START(weir_timer_wait(timer, on_status, it));
    START(weir_context_post(context, on_status, it));
    TRY(weir_stream_pair(context, &ends[0], &ends[1]));
    START(weir_stream_read(ends[1], got, 5, on_io, it));
    START(weir_stream_write(ends[0], "works", 5, on_io, it));
    TRY(weir_context_run(context, NULL));
    for (int i = first; i < op_count; i++)
        if (ops[i].code != 0 || ops[i].ends != 1 || ops[i].status != 0)
            model_fail(ops[i].line, ops[i].text, "does not work after the fault", ops[i].status);
    TRY(weir_handle_close(timer));
    TRY(weir_handle_close(ends[0]));
    TRY(weir_handle_close(ends[1]));
    if (memcmp(got, "works", 5) != 0)
        model_fail(__LINE__, "the pair", "moves other bytes after the fault", 0);
}

static void check_operations(int count, bool strict)
{
    for (int i = 0; i < count; i++) {
        struct op *op = &ops[i];
        if (op->code != 0 && (op->ends != 0 || op->ticks != 0))
            model_fail(op->line, op->text, "did not start, and completed", op->code);
        if (op->code == 0 && op->ends != 1)
            model_fail(op->line, op->text, "was started and did not complete", 0);
        model_report->op[i].code = op->code;
        model_report->op[i].ends = op->ends;
        model_report->op[i].status = op->status;
        if (strict && model_baseline && i < model_baseline->ops &&
            (op->code != model_baseline->op[i].code || op->status != model_baseline->op[i].status))
            model_fail(op->line, op->text, "went another way than without the fault", op->code ? op->code : op->status);
    }
    if (strict && model_baseline && count != model_baseline->ops)
        model_fail(__LINE__, "the scenario", "took another way than without the fault", 0);
    model_report->ops = count;
}

void model_run(const struct scenario *scenario, const struct fault_plan *plan, long allocation, bool for_ever,
               bool count_allocations)
{
    bool strict = model_strict;
    signal(SIGALRM, too_late);
    if (allocation != 0 || count_allocations) {
        static const weir_allocator own = {sizeof own, allocate, release, NULL};
        if (weir_set_allocator(&own) != 0)
            model_fail(__LINE__, "weir_set_allocator", "failed", 0);
        failing_allocation = allocation;
        fails_for_ever = for_ever;
    }
    model_error = plan ? plan->error.error : allocation != 0 ? ENOMEM : 0;
    int before = count_fds();
    fault_begin(plan);
    atomic_store(&allocator_counts, true);

    int code = make_context();
    check_code_of(__LINE__, "weir_context_create", code, true);
    if (code != 0) {
        note_code("weir_context_create", code);
        if (model_strict)
            model_fail(__LINE__, "weir_context_create", "failed", code);
        if (context)
            model_fail(__LINE__, "weir_context_create", "failed, and gave a handle", code);
        if (count_fds() != before)
            model_fail(__LINE__, "weir_context_create", "failed, and left an fd", code);
        code = make_context(); /* once the fault is over it must do */
    }
    scenario->run();

    model_fault_over();
    model_report->unknown = fault_unknown();
    model_error = 0;

    if (!context && (code = make_context()) != 0)
        model_fail(__LINE__, "weir_context_create", "failed without a fault", code);
    for (int i = 0; i < handle_count; i++) {
        code = weir_handle_close(handles[i]);
        if (code != 0 && code != WEIR_EBADF)
            model_fail(__LINE__, "weir_handle_close", "failed", code);
    }
    for (int round = 0; round < 20; round++) {
        if ((code = weir_context_restart(context)) != 0 || (code = weir_context_run(context, NULL)) != 0)
            model_fail(__LINE__, "weir_context_run", "failed at the end", code);
        model_reap();
    }
    int count = op_count;
    check_operations(count, strict && !scenario->threads);
    weir_stats stats = {0};
    stats.struct_size = sizeof stats;
    if ((code = weir_context_stats(context, &stats)) != 0 || stats.work != 0)
        model_fail(__LINE__, "weir_context_stats", "tells of work that nobody began", code);
    check_that_it_works();
    if ((code = weir_context_destroy(context)) != 0)
        model_fail(__LINE__, "weir_context_destroy", "failed", code);
    model_report->fds = count_fds() - before;
    if (model_baseline && model_report->fds > model_baseline->fds) {
        fprintf(stderr, "  %d fds more than without the fault\n", model_report->fds - model_baseline->fds);
        model_fail(__LINE__, "the library", "leaves fds open", 0);
    }
}
