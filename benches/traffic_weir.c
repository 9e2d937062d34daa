/* libweir: one way through a connection, and datagrams. */
#include "traffic_weir.h"

/* ---- sink, source */

struct way {
    const struct bench *b;
    weir_acceptor *acceptor;
    weir_stream *stream;
    int64_t end;
    uint64_t bytes;
    unsigned char *data;
};

static void way_on_read(int status, size_t bytes, void *user) {
    struct way *way = user;
    way->bytes += bytes;
    if (status == 0) status = weir_stream_read_some(way->stream, way->data, way->b->size, way_on_read, way);
    if (status != 0) {
        REQUIRE(status == WEIR_EOF);
        CHECK(weir_stream_close(way->stream));
    }
}

static void way_on_written(int status, size_t bytes, void *user) {
    struct way *way = user;
    CHECK(status);
    way->bytes += bytes;
    if (bench_now() < way->end) CHECK(weir_stream_write(way->stream, way->data, way->b->size, way_on_written, way));
    else CHECK(weir_stream_close(way->stream));
}

static void way_on_accept(int status, weir_stream *peer, const struct sockaddr *address, socklen_t length, void *user) {
    struct way *way = user;
    (void)address;
    (void)length;
    CHECK(status);
    way->stream = peer;
    CHECK(weir_acceptor_close(way->acceptor));
    way->end = bench_now() + (int64_t)(way->b->seconds * 1e9);
    if (way->b->workload == SINK) CHECK(weir_stream_read_some(peer, way->data, way->b->size, way_on_read, way));
    else way_on_written(0, 0, way);
}

static int run_way(const struct bench *b) {
    struct client client;
    struct bench_span span;
    struct way way = {.b = b, .data = calloc(1, b->size)};
    REQUIRE(way.data != NULL);
    client_start(b, &client);
    weir_context *context = make_context(b);
    CHECK(weir_acceptor_create(context, &way.acceptor));
    CHECK(weir_acceptor_adopt(way.acceptor, client.listener));
    CHECK(weir_acceptor_accept(way.acceptor, way_on_accept, &way));
    bench_begin(&span);
    CHECK(weir_context_run(context, NULL));
    bench_end(&span);
    CHECK(weir_context_destroy(context));
    free(way.data);
    return client_finish(b, &client, way.bytes, &span);
}

/* ---- udp */

struct udp {
    const struct bench *b;
    weir_datagram *datagram;
    uint64_t bytes;
    struct sockaddr_storage addresses[BENCH_BURST];
    socklen_t length;
    weir_datagram_message messages[BENCH_BURST];
    unsigned char data[BENCH_BURST][2048];
};

static void udp_on_sent(int status, size_t bytes, void *user);

static void udp_on_received(int status, size_t bytes, void *user) {
    struct udp *udp = user;
    CHECK(status);
    if (bytes == 1) {
        CHECK(weir_datagram_close(udp->datagram));
        return;
    }
    CHECK(weir_datagram_send_to(udp->datagram, udp->data[0], bytes, (struct sockaddr *)&udp->addresses[0], udp->length,
                                udp_on_sent, udp));
}

static void udp_on_sent(int status, size_t bytes, void *user) {
    struct udp *udp = user;
    CHECK(status);
    udp->bytes += bytes;
    CHECK(weir_datagram_receive_from(udp->datagram, udp->data[0], sizeof udp->data[0], &udp->addresses[0], &udp->length,
                                     udp_on_received, udp));
}

static void udp_on_batch_sent(int status, size_t count, void *user);

static void udp_on_batch(int status, size_t count, void *user) {
    struct udp *udp = user;
    CHECK(status);
    for (size_t i = 0; i < count; i++) {
        if (udp->messages[i].bytes == 1) {
            CHECK(weir_datagram_close(udp->datagram));
            return;
        }
        udp->messages[i].length = udp->messages[i].bytes;
        udp->bytes += udp->messages[i].bytes;
    }
    CHECK(weir_datagram_send_batch(udp->datagram, udp->messages, count, udp_on_batch_sent, udp));
}

static void udp_on_batch_sent(int status, size_t count, void *user) {
    struct udp *udp = user;
    (void)count;
    CHECK(status);
    if (udp->b->segments) { /* one message, with room for all */
        udp->messages[0] = (weir_datagram_message){
            .data = udp->data, .length = sizeof udp->data, .address = &udp->addresses[0]};
        CHECK(weir_datagram_receive_batch(udp->datagram, udp->messages, 1, udp_on_batch, udp));
        return;
    }
    for (size_t i = 0; i < BENCH_BURST; i++)
        udp->messages[i] = (weir_datagram_message){
            .data = udp->data[i], .length = sizeof udp->data[i], .address = &udp->addresses[i]};
    CHECK(weir_datagram_receive_batch(udp->datagram, udp->messages, BENCH_BURST, udp_on_batch, udp));
}

static int run_udp(const struct bench *b) {
    struct client client;
    struct bench_span span;
    static struct udp udp;
    udp.b = b;
    client_start(b, &client);
    weir_context *context = make_context(b);
    CHECK(weir_datagram_create(context, &udp.datagram));
    CHECK(weir_datagram_adopt(udp.datagram, client.listener));
    if (b->segments) CHECK(weir_datagram_set(udp.datagram, WEIR_OPT_GRO, 1));
    if (b->buffered || b->segments) udp_on_batch_sent(0, 0, &udp);
    else udp_on_sent(0, 0, &udp);
    bench_begin(&span);
    CHECK(weir_context_run(context, NULL));
    bench_end(&span);
    CHECK(weir_context_destroy(context));
    return client_finish(b, &client, udp.bytes, &span);
}

int run_traffic(const struct bench *b) {
    return b->workload == SINK || b->workload == SOURCE ? run_way(b) : run_udp(b);
}
