/* libuv: one way through a connection, datagrams, and what goes on inside a loop. */
#include "traffic.h"

#include <uv.h>

static void on_handle_closed(uv_handle_t *handle) { (void)handle; }

static void close_all(uv_loop_t *loop) {
    uv_run(loop, UV_RUN_DEFAULT);
    REQUIRE(uv_loop_close(loop) == 0);
}

/* ---- sink, source */

struct way {
    const struct bench *b;
    uv_loop_t loop;
    uv_tcp_t listener, stream;
    uv_write_t write;
    int64_t end;
    uint64_t bytes;
    char *data;
};

static void way_buffer(uv_handle_t *handle, size_t suggested, uv_buf_t *buffer) {
    struct way *way = handle->data;
    (void)suggested;
    *buffer = uv_buf_init(way->data, (unsigned)way->b->size);
}

static void way_on_read(uv_stream_t *stream, ssize_t size, const uv_buf_t *buffer) {
    struct way *way = stream->data;
    (void)buffer;
    REQUIRE(size >= 0 || size == UV_EOF);
    if (size >= 0) way->bytes += (uint64_t)size;
    else uv_close((uv_handle_t *)stream, on_handle_closed);
}

static void way_write(struct way *way);

static void way_on_written(uv_write_t *request, int status) {
    struct way *way = request->data;
    REQUIRE(status == 0);
    way->bytes += way->b->size;
    way_write(way);
}

static void way_write(struct way *way) {
    uv_buf_t buffer = uv_buf_init(way->data, (unsigned)way->b->size);
    if (bench_now() >= way->end) uv_close((uv_handle_t *)&way->stream, on_handle_closed);
    else REQUIRE(uv_write(&way->write, (uv_stream_t *)&way->stream, &buffer, 1, way_on_written) == 0);
}

static void way_on_connection(uv_stream_t *listener, int status) {
    struct way *way = listener->data;
    REQUIRE(status == 0 && uv_tcp_init(&way->loop, &way->stream) == 0);
    REQUIRE(uv_accept(listener, (uv_stream_t *)&way->stream) == 0);
    uv_close((uv_handle_t *)listener, on_handle_closed);
    way->stream.data = way->write.data = way;
    way->end = bench_now() + (int64_t)(way->b->seconds * 1e9);
    if (way->b->workload == SINK) REQUIRE(uv_read_start((uv_stream_t *)&way->stream, way_buffer, way_on_read) == 0);
    else way_write(way);
}

static int run_way(const struct bench *b) {
    struct client client;
    struct bench_span span;
    static struct way way;
    client_start(b, &client);
    way.b = b;
    way.data = calloc(1, b->size);
    REQUIRE(way.data != NULL && uv_loop_init(&way.loop) == 0 && uv_tcp_init(&way.loop, &way.listener) == 0);
    way.listener.data = &way;
    REQUIRE(uv_tcp_open(&way.listener, client.listener) == 0);
    REQUIRE(uv_listen((uv_stream_t *)&way.listener, SOMAXCONN, way_on_connection) == 0);
    bench_begin(&span);
    uv_run(&way.loop, UV_RUN_DEFAULT);
    bench_end(&span);
    close_all(&way.loop);
    free(way.data);
    return client_finish(b, &client, way.bytes, &span);
}

/* ---- udp: several datagrams a call with UV_UDP_RECVMMSG */

struct udp {
    const struct bench *b;
    uv_loop_t loop;
    uv_udp_t udp;
    uint64_t bytes;
    char data[BENCH_BURST * 64 * 1024]; /* libuv cuts it into 64 KiB each */
};

static void udp_buffer(uv_handle_t *handle, size_t suggested, uv_buf_t *buffer) {
    struct udp *udp = handle->data;
    (void)suggested;
    *buffer = uv_buf_init(udp->data, udp->b->buffered ? sizeof udp->data : 2048);
}

static void udp_on_received(uv_udp_t *handle, ssize_t size, const uv_buf_t *buffer, const struct sockaddr *address,
                            unsigned flags) {
    struct udp *udp = handle->data;
    (void)flags;
    REQUIRE(size >= 0);
    if (address == NULL) return; /* nothing more, or the buffer is free */
    if (size == 1) {
        uv_close((uv_handle_t *)handle, on_handle_closed);
        return;
    }
    uv_buf_t out = uv_buf_init(buffer->base, (unsigned)size);
    REQUIRE(uv_udp_try_send(handle, &out, 1, address) == size);
    udp->bytes += (uint64_t)size;
}

static int run_udp(const struct bench *b) {
    struct client client;
    struct bench_span span;
    static struct udp udp;
    client_start(b, &client);
    udp.b = b;
    REQUIRE(uv_loop_init(&udp.loop) == 0);
    REQUIRE(uv_udp_init_ex(&udp.loop, &udp.udp, AF_UNSPEC | (b->buffered ? UV_UDP_RECVMMSG : 0u)) == 0);
    udp.udp.data = &udp;
    REQUIRE(uv_udp_open(&udp.udp, client.listener) == 0);
    REQUIRE(uv_udp_recv_start(&udp.udp, udp_buffer, udp_on_received) == 0);
    bench_begin(&span);
    uv_run(&udp.loop, UV_RUN_DEFAULT);
    bench_end(&span);
    close_all(&udp.loop);
    return client_finish(b, &client, udp.bytes, &span);
}

int run_traffic(const struct bench *b) {
    return b->workload == SINK || b->workload == SOURCE ? run_way(b) : run_udp(b);
}

/* ---- timer_rearm */

static void on_never(uv_timer_t *timer) {
    (void)timer;
    bench_fail("a timer fired that was moved");
}

static int run_rearm(const struct bench *b) {
    uv_loop_t loop;
    struct bench_span span;
    uint64_t state = 1;
    size_t count = (size_t)b->connections;
    uv_timer_t *timers = malloc(count * sizeof *timers);
    REQUIRE(timers != NULL && uv_loop_init(&loop) == 0);
    for (size_t i = 0; i < count; i++) {
        REQUIRE(uv_timer_init(&loop, &timers[i]) == 0);
        REQUIRE(uv_timer_start(&timers[i], on_never, (uint64_t)(bench_rearm_expiry(&state) / 1000000), 0) == 0);
    }
    bench_begin(&span);
    for (size_t i = 0; i < b->n; i++) {
        uint64_t after = (uint64_t)(bench_rearm_expiry(&state) / 1000000);
        REQUIRE(uv_timer_start(&timers[i % count], on_never, after, 0) == 0);
        if (i % 1024 == 1023) uv_run(&loop, UV_RUN_NOWAIT);
    }
    bench_end(&span);
    for (size_t i = 0; i < count; i++) uv_close((uv_handle_t *)&timers[i], on_handle_closed);
    close_all(&loop);
    free(timers);
    bench_report(b, b->n, &span);
    return 0;
}

/* ---- ring */

struct spot {
    uv_poll_t poll;
    struct ring *ring;
    int index;
};

static void on_readable(uv_poll_t *poll, int status, int events) {
    struct spot *spot = poll->data;
    (void)events;
    REQUIRE(status == 0);
    if (ring_turn(spot->ring, spot->index)) uv_stop(poll->loop);
}

static int run_ring(const struct bench *b) {
    uv_loop_t loop;
    struct bench_span span;
    struct ring ring;
    ring_open(&ring, b);
    struct spot *spots = calloc((size_t)b->connections, sizeof *spots);
    REQUIRE(spots != NULL && uv_loop_init(&loop) == 0);
    for (int i = 0; i < b->connections; i++) {
        spots[i].ring = &ring;
        spots[i].index = i;
        spots[i].poll.data = &spots[i];
        REQUIRE(uv_poll_init(&loop, &spots[i].poll, ring.pipes[i][0]) == 0);
        REQUIRE(uv_poll_start(&spots[i].poll, UV_READABLE, on_readable) == 0);
    }
    bench_begin(&span);
    ring_begin(&ring);
    uv_run(&loop, UV_RUN_DEFAULT);
    bench_end(&span);
    for (int i = 0; i < b->connections; i++) uv_close((uv_handle_t *)&spots[i].poll, on_handle_closed);
    close_all(&loop);
    free(spots);
    return ring_end(&ring, &span);
}

/* ---- signal */

struct counted {
    const struct bench *b;
    size_t count;
    uv_getaddrinfo_t request;
};

static void on_signal(uv_signal_t *signal, int number) {
    struct counted *counted = signal->data;
    REQUIRE(number == SIGUSR1);
    if (++counted->count == counted->b->n) uv_close((uv_handle_t *)signal, on_handle_closed);
    else raise(SIGUSR1);
}

static int run_signal(const struct bench *b) {
    uv_loop_t loop;
    uv_signal_t signal;
    struct bench_span span;
    struct counted counted = {.b = b};
    REQUIRE(uv_loop_init(&loop) == 0 && uv_signal_init(&loop, &signal) == 0);
    signal.data = &counted;
    REQUIRE(uv_signal_start(&signal, on_signal, SIGUSR1) == 0);
    bench_begin(&span);
    raise(SIGUSR1);
    uv_run(&loop, UV_RUN_DEFAULT);
    bench_end(&span);
    close_all(&loop);
    REQUIRE(counted.count == b->n);
    bench_report(b, b->n, &span);
    return 0;
}

/* ---- resolve */

static const struct addrinfo numbers = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_NUMERICHOST | AI_NUMERICSERV};

static void on_resolved(uv_getaddrinfo_t *request, int status, struct addrinfo *found) {
    struct counted *counted = request->data;
    REQUIRE(status == 0 && found != NULL);
    uv_freeaddrinfo(found);
    if (++counted->count < counted->b->n)
        REQUIRE(uv_getaddrinfo(request->loop, request, on_resolved, "127.0.0.1", "80", &numbers) == 0);
}

static int run_resolve(const struct bench *b) {
    uv_loop_t loop;
    struct bench_span span;
    struct counted counted = {.b = b};
    counted.request.data = &counted;
    REQUIRE(uv_loop_init(&loop) == 0);
    bench_begin(&span);
    REQUIRE(uv_getaddrinfo(&loop, &counted.request, on_resolved, "127.0.0.1", "80", &numbers) == 0);
    uv_run(&loop, UV_RUN_DEFAULT);
    bench_end(&span);
    close_all(&loop);
    REQUIRE(counted.count == b->n);
    bench_report(b, b->n, &span);
    return 0;
}

/* ---- idle */

static char idle_data[4096];

static void idle_buffer(uv_handle_t *handle, size_t suggested, uv_buf_t *buffer) {
    (void)handle;
    (void)suggested;
    *buffer = uv_buf_init(idle_data, sizeof idle_data);
}

static void idle_on_read(uv_stream_t *stream, ssize_t size, const uv_buf_t *buffer) {
    (void)stream;
    (void)size;
    (void)buffer;
    bench_fail("nothing was sent");
}

static int run_idle(const struct bench *options) {
    uv_loop_t loop;
    struct bench_span span;
    struct bench all = *options, *b = &all;
    int(*pairs)[2] = idle_pairs(b);
    REQUIRE(uv_loop_init(&loop) == 0);
    size_t before = bench_memory();
    bench_begin(&span);
    uv_pipe_t *pipes = malloc((size_t)b->connections * sizeof *pipes);
    REQUIRE(pipes != NULL);
    for (int i = 0; i < b->connections; i++) {
        REQUIRE(uv_pipe_init(&loop, &pipes[i], 0) == 0 && uv_pipe_open(&pipes[i], pairs[i][0]) == 0);
        REQUIRE(uv_read_start((uv_stream_t *)&pipes[i], idle_buffer, idle_on_read) == 0);
    }
    uv_run(&loop, UV_RUN_NOWAIT);
    bench_end(&span);
    int result = bench_report_memory(b, before, &span);
    for (int i = 0; i < b->connections; i++) uv_close((uv_handle_t *)&pipes[i], on_handle_closed);
    close_all(&loop);
    free(pipes);
    free(pairs);
    return result;
}

/* ---- arrival */

static void arrival_on_idle(uv_idle_t *idle) {
    if (!arrival_handler(idle->data)) uv_close((uv_handle_t *)idle, NULL);
}

static void arrival_on_readable(uv_poll_t *poll, int status, int events) {
    (void)events;
    REQUIRE(status == 0);
    if (arrival_read(poll->data)) uv_close((uv_handle_t *)poll, NULL);
}

static int run_arrival(const struct bench *b) {
    struct bench_span span;
    struct arrival a;
    uv_loop_t loop;
    uv_idle_t idle;
    uv_poll_t poll;
    arrival_open(&a, b);
    REQUIRE(uv_loop_init(&loop) == 0 && uv_idle_init(&loop, &idle) == 0 && uv_poll_init(&loop, &poll, a.ends[0]) == 0);
    idle.data = poll.data = &a;
    REQUIRE(uv_idle_start(&idle, arrival_on_idle) == 0);
    REQUIRE(uv_poll_start(&poll, UV_READABLE, arrival_on_readable) == 0);
    bench_begin(&span);
    arrival_begin(&a);
    uv_run(&loop, UV_RUN_DEFAULT);
    bench_end(&span);
    REQUIRE(uv_loop_close(&loop) == 0);
    return arrival_end(&a, &span);
}

int run_loop(const struct bench *b) {
    switch (b->workload) {
    case TIMER_REARM: return run_rearm(b);
    case RING: return run_ring(b);
    case SIGNAL: return run_signal(b);
    case RESOLVE: return run_resolve(b);
    case IDLE: return run_idle(b);
    case ARRIVAL: return run_arrival(b);
    default: return bench_unsupported(b);
    }
}
