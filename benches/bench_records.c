/* libweir with completion records in place of callbacks: one thread, weir_context_enter() where calls travel in batches,
 * weir_context_reap() elsewhere. What another language does for which a callback from C is dear. */
#include "traffic_weir.h"

enum { ROOM = 128 };

/* What is begun with the next weir_context_enter(). */
static weir_submission submissions[ROOM];
static size_t submitted;

static void submit(uint32_t kind, void *handle, void *data, size_t length, void *user) {
    REQUIRE(submitted < ROOM); /* one for each record at most */
    submissions[submitted++] =
        (weir_submission){.kind = kind, .handle = handle, .data = data, .length = length, .user = user};
}

/* ---- echo, churn: read, write, one after another on each connection */

struct echo {
    const struct bench *b;
    weir_acceptor *acceptor;
    size_t capacity;
    int accepted, ended;
    uint64_t bytes;
};

struct connection {
    weir_stream *stream;
    unsigned char data[];
};

static void connection_end(struct echo *echo, struct connection *c) {
    echo->ended++;
    CHECK(weir_stream_close(c->stream));
    free(c);
}

static void echo_take(struct echo *echo, const weir_record *record) {
    struct connection *c = record->user;
    switch (record->kind) {
    case WEIR_OP_ACCEPT:
        if (record->status == WEIR_ECANCELED) return; /* all connections are there */
        CHECK(record->status);
        c = malloc(sizeof *c + echo->capacity);
        REQUIRE(c != NULL);
        c->stream = (weir_stream *)(uintptr_t)record->value;
        if (++echo->accepted == echo->b->connections) CHECK(weir_acceptor_close(echo->acceptor));
        submit(WEIR_SUBMIT_READ_SOME, c->stream, c->data, echo->capacity, c);
        return;
    case WEIR_OP_READ:
        if (record->status != 0) connection_end(echo, c);
        else submit(WEIR_SUBMIT_WRITE, c->stream, c->data, record->value, c);
        return;
    default:
        REQUIRE(record->kind == WEIR_OP_WRITE);
        echo->bytes += record->value;
        if (record->status != 0) connection_end(echo, c);
        else submit(WEIR_SUBMIT_READ_SOME, c->stream, c->data, echo->capacity, c);
    }
}

static int run_echo(const struct bench *b) {
    struct client client;
    struct bench_span span;
    struct echo echo = {.b = b, .capacity = bench_buffer_size(b)};
    weir_record records[ROOM];
    client_start(b, &client);
    weir_context *context = make_context(b);
    CHECK(weir_acceptor_create(context, &echo.acceptor));
    CHECK(weir_acceptor_adopt(echo.acceptor, client.listener));
    CHECK(weir_acceptor_accept_each(echo.acceptor, NULL, NULL));
    bench_begin(&span);
    while (echo.ended < b->connections) {
        size_t count, begun = submitted;
        CHECK(weir_context_enter(context, submissions, begun, records, ROOM, WEIR_FOREVER, &count));
        submitted = 0;
        for (size_t i = 0; i < begun; i++)
            if (submissions[i].result < 0) connection_end(&echo, submissions[i].user);
        for (size_t i = 0; i < count; i++) echo_take(&echo, &records[i]);
    }
    bench_end(&span);
    CHECK(weir_context_destroy(context));
    return client_finish(b, &client, echo.bytes, &span);
}

/* ---- sink, source */

static int run_way(const struct bench *b) {
    struct client client;
    struct bench_span span;
    weir_acceptor *acceptor;
    weir_record record;
    size_t count = 0;
    uint64_t bytes = 0;
    unsigned char *data = calloc(1, b->size);
    REQUIRE(data != NULL);
    client_start(b, &client);
    weir_context *context = make_context(b);
    CHECK(weir_acceptor_create(context, &acceptor));
    CHECK(weir_acceptor_adopt(acceptor, client.listener));
    CHECK(weir_acceptor_accept(acceptor, NULL, NULL));
    bench_begin(&span);
    CHECK(weir_context_reap(context, &record, 1, WEIR_FOREVER, &count));
    REQUIRE(count == 1 && record.kind == WEIR_OP_ACCEPT);
    CHECK(record.status);
    weir_stream *peer = (weir_stream *)(uintptr_t)record.value;
    CHECK(weir_acceptor_close(acceptor));
    int64_t end = bench_now() + (int64_t)(b->seconds * 1e9);
    while (b->workload == SINK || bench_now() < end) {
        weir_submission next = {.kind = b->workload == SINK ? WEIR_SUBMIT_READ_SOME : WEIR_SUBMIT_WRITE,
                                .handle = peer, .data = data, .length = b->size};
        CHECK(weir_context_enter(context, &next, 1, &record, 1, WEIR_FOREVER, &count));
        CHECK(next.result);
        REQUIRE(count == 1);
        bytes += record.value;
        if (b->workload == SINK && record.status == WEIR_EOF) break;
        CHECK(record.status);
    }
    CHECK(weir_stream_close(peer));
    bench_end(&span);
    CHECK(weir_context_destroy(context));
    free(data);
    return client_finish(b, &client, bytes, &span);
}

/* ---- udp */

static int run_udp(const struct bench *b) {
    static unsigned char data[BENCH_BURST][2048];
    static struct sockaddr_storage addresses[BENCH_BURST];
    weir_datagram_message messages[BENCH_BURST];
    struct client client;
    struct bench_span span;
    weir_datagram *datagram;
    weir_record record;
    socklen_t length;
    uint64_t bytes = 0;
    size_t count;
    client_start(b, &client);
    weir_context *context = make_context(b);
    CHECK(weir_datagram_create(context, &datagram));
    CHECK(weir_datagram_adopt(datagram, client.listener));
    bench_begin(&span);
    for (;;) {
        if (b->buffered) {
            for (size_t i = 0; i < BENCH_BURST; i++)
                messages[i] = (weir_datagram_message){.data = data[i], .length = sizeof data[i], .address = &addresses[i]};
            CHECK(weir_datagram_receive_batch(datagram, messages, BENCH_BURST, NULL, NULL));
        } else {
            CHECK(weir_datagram_receive_from(datagram, data[0], sizeof data[0], &addresses[0], &length, NULL, NULL));
        }
        CHECK(weir_context_reap(context, &record, 1, WEIR_FOREVER, &count));
        REQUIRE(count == 1 && record.kind == WEIR_OP_RECEIVE);
        CHECK(record.status);
        if (b->buffered) {
            for (size_t i = 0; i < record.value; i++) {
                messages[i].length = messages[i].bytes;
                bytes += messages[i].bytes;
            }
            if (messages[record.value - 1].bytes == 1) {
                bytes -= 1;
                break;
            }
            CHECK(weir_datagram_send_batch(datagram, messages, record.value, NULL, NULL));
        } else {
            if (record.value == 1) break;
            bytes += record.value;
            CHECK(weir_datagram_send_to(datagram, data[0], record.value, (struct sockaddr *)&addresses[0], length, NULL,
                                        NULL));
        }
        CHECK(weir_context_reap(context, &record, 1, WEIR_FOREVER, &count));
        REQUIRE(count == 1 && record.kind == WEIR_OP_SEND);
        CHECK(record.status);
    }
    CHECK(weir_datagram_close(datagram));
    bench_end(&span);
    CHECK(weir_context_destroy(context));
    return client_finish(b, &client, bytes, &span);
}

/* ---- post */

static void post_share(void *target, size_t first, size_t last) {
    for (uintptr_t i = first; i < last; i++) CHECK(weir_context_post(target, NULL, (void *)i));
}

static int run_post(const struct bench *b) {
    static struct bench_posters posters;
    struct bench_span span;
    weir_record records[ROOM];
    bool outside = b->workload == POST_OUTSIDE, inside = b->workload == POST_INSIDE;
    size_t seen = 0, posted = 0, count;
    uint64_t sum = 0;
    weir_context *context = make_context(b);
    if (outside) {
        CHECK(weir_context_work_begin(context));
        bench_posters_start(&posters, b, post_share, context);
    }
    bench_begin(&span);
    if (outside) {
        bench_posters_go(&posters);
        posted = b->n;
    }
    while (seen < b->n) {
        if (posted == seen) { /* the next batch, or the next one */
            size_t end = inside ? posted + 1 : bench_batch_end(b, posted);
            for (; posted < end; posted++) CHECK(weir_context_post(context, NULL, (void *)(uintptr_t)posted));
        }
        CHECK(weir_context_reap(context, records, ROOM, WEIR_FOREVER, &count));
        for (size_t i = 0; i < count; i++) {
            REQUIRE(records[i].kind == WEIR_OP_POST && records[i].status == 0);
            sum += (uintptr_t)records[i].user;
        }
        seen += count;
    }
    bench_end(&span);
    if (outside) {
        bench_posters_join(&posters);
        CHECK(weir_context_work_end(context));
    }
    REQUIRE(seen == b->n && sum == bench_sum(b->n));
    CHECK(weir_context_destroy(context));
    bench_report(b, b->n, &span);
    return 0;
}

/* ---- timers */

static int run_timer_fire(const struct bench *b) {
    struct bench_span span;
    weir_record records[ROOM];
    uint64_t state = 1;
    weir_context *context = make_context(b);
    weir_timer **timers = malloc(b->n * sizeof *timers);
    int64_t *late = malloc(b->n * sizeof *late); /* the expiry, until it has fired */
    REQUIRE(timers != NULL && late != NULL);
    for (size_t i = 0; i < b->n; i++) CHECK(weir_timer_create(context, &timers[i]));
    bench_begin(&span);
    int64_t base = bench_now(); /* the context's clock */
    for (size_t i = 0; i < b->n; i++) {
        late[i] = base + bench_fire_expiry(&state);
        CHECK(weir_timer_expires_at(timers[i], late[i]));
        CHECK(weir_timer_wait(timers[i], NULL, &late[i]));
    }
    for (size_t fired = 0, count; fired < b->n; fired += count) {
        CHECK(weir_context_reap(context, records, ROOM, WEIR_FOREVER, &count));
        for (size_t i = 0; i < count; i++) {
            int64_t *expiry = records[i].user;
            REQUIRE(records[i].kind == WEIR_OP_TIMER && records[i].status == 0);
            *expiry = bench_now() - *expiry;
        }
    }
    bench_end(&span);
    uint64_t early = bench_report_lateness(b, late, b->n, &span);
    for (size_t i = 0; i < b->n; i++) CHECK(weir_timer_close(timers[i]));
    CHECK(weir_context_destroy(context));
    free(timers);
    free(late);
    if (early > 0) bench_fail("%llu timers fired early", (unsigned long long)early);
    return 0;
}

int main(int argc, char **argv) {
    struct bench b;
    if (!bench_options(&b, "libweir-records", argc, argv)) return 2;
    if (b.threads != 1) return bench_unsupported(&b); /* one thread reaps */
    switch (b.workload) {
    case PINGPONG:
    case ECHO100:
    case CHURN: return run_echo(&b);
    case SINK:
    case SOURCE: return run_way(&b);
    case UDP:
    case UDP_BURST: return run_udp(&b);
    case POST_INSIDE:
    case POST_BATCH:
    case POST_OUTSIDE: return run_post(&b);
    case TIMER_FIRE: return run_timer_fire(&b);
    default: return bench_unsupported(&b);
    }
}
