/* OpenSSL on weir (include/weir/openssl.h). */
#include "child.h"
#include "tls.h"

/* Runs until the operation of this counter has completed. */
#define AWAIT(pair, told, status, number)                                                                           \
    do {                                                                                                               \
        RUN_CALLS((pair).context, told, 1);                                                                         \
        CHECK_DONE(told, status, number);                                                                           \
        (told) = (struct counter){0};                                                                               \
    } while (0)

TEST(bad_arguments_are_refused)
{
    struct tls_pair pair = new_tls_pair(new_context(), TLS1_3_VERSION, false);
    weir_ssl *other = NULL;
    weir_strand *strand;
    struct counter counter = {0};
    char byte;
    SSL *ssl = new_ssl(pair.ctx[0], false);
    weir_stream *stream = new_stream(pair.context);
    CHECK_CODE(weir_ssl_create(NULL, ssl, NULL, &other), WEIR_EBADF);
    CHECK_CODE(weir_ssl_create(stream, NULL, NULL, &other), WEIR_EINVAL);
    CHECK_CODE(weir_ssl_create(stream, ssl, NULL, NULL), WEIR_EINVAL);
    CHECK_OK(weir_strand_create(pair.context, &strand));
    CHECK_OK(weir_strand_close(strand));
    CHECK_CODE(weir_ssl_create(stream, ssl, strand, &other), WEIR_EBADF);
    CHECK_CODE(weir_ssl_handshake(NULL, done, &counter), WEIR_EINVAL);
    CHECK_CODE(weir_ssl_handshake(pair.ends[0], NULL, &counter), WEIR_EINVAL);
    CHECK_CODE(weir_ssl_read_some(pair.ends[0], NULL, 1, io_done, &counter), WEIR_EINVAL);
    CHECK_CODE(weir_ssl_write(pair.ends[0], NULL, 1, io_done, &counter), WEIR_EINVAL);
    CHECK_CODE(weir_ssl_shutdown(pair.ends[0], done, &counter), WEIR_ENOTCONN);
    START(weir_ssl_handshake(pair.ends[0], done, &counter));
    CHECK_CODE(weir_ssl_handshake(pair.ends[0], done, &counter), WEIR_EBUSY);
    CHECK_CODE(weir_ssl_read_some(pair.ends[0], &byte, 1, io_done, &counter), WEIR_EBUSY);
    CHECK_CODE(weir_ssl_write(pair.ends[0], &byte, 1, io_done, &counter), WEIR_EBUSY);
    /* A stream that is not connected. */
    CHECK_OK(weir_ssl_create(stream, ssl, NULL, &other));
    struct counter lost = {0};
    START(weir_ssl_handshake(other, done, &lost));
    AWAIT(pair, lost, WEIR_ENOTCONN, 0);
    CHECK_CODE(weir_ssl_write(other, "x", 1, io_done, &lost), WEIR_ENOTCONN);
    weir_ssl_close(other);
    weir_ssl_close(NULL);
    close_tls_pair(&pair);
    CHECK_DONE(counter, WEIR_ECANCELED, 0);
}

static void echo_once(int version)
{
    struct tls_pair pair = new_tls_pair(new_context(), version, false);
    struct counter sent = {0}, got = {0};
    char data[64];
    shake_hands(&pair);
    CHECK_EQ(SSL_version(weir_ssl_get(pair.ends[0])), version);
    CHECK_EQ(SSL_get_verify_result(weir_ssl_get(pair.ends[0])), X509_V_OK);
    for (int round = 0; round < 20; round++) {
        for (int from = 0; from < 2; from++) {
            int length = snprintf(data, sizeof data, "from %d, round %d", from, round);
            char seen[64];
            START(weir_ssl_read_some(pair.ends[!from], seen, sizeof seen, io_done, &got));
            CHECK_CODE(weir_ssl_read_some(pair.ends[!from], seen, sizeof seen, io_done, &got), WEIR_EBUSY);
            START(weir_ssl_write(pair.ends[from], data, (size_t)length, io_done, &sent));
            CHECK_CODE(weir_ssl_write(pair.ends[from], data, 1, io_done, &sent), WEIR_EBUSY);
            AWAIT(pair, sent, 0, length);
            AWAIT(pair, got, 0, length);
            CHECK(memcmp(seen, data, (size_t)length) == 0);
        }
    }
    START(weir_ssl_write(pair.ends[0], NULL, 0, io_done, &sent));
    AWAIT(pair, sent, 0, 0);
    START(weir_ssl_read_some(pair.ends[0], NULL, 0, io_done, &got));
    AWAIT(pair, got, 0, 0);

    /* close_notify one way; the other goes on; then both. */
    struct counter ended = {0};
    START(weir_ssl_read_some(pair.ends[1], data, sizeof data, io_done, &got));
    START(weir_ssl_shutdown(pair.ends[0], done, &ended));
    AWAIT(pair, ended, 0, 0);
    AWAIT(pair, got, WEIR_EOF, 0);
    CHECK_CODE(weir_ssl_write(pair.ends[0], "x", 1, io_done, &sent), -EPIPE);
    if (version == TLS1_3_VERSION) {
        START(weir_ssl_write(pair.ends[1], "last words", 10, io_done, &sent));
        AWAIT(pair, sent, 0, 10);
        START(weir_ssl_read(pair.ends[0], data, 10, io_done, &got));
        AWAIT(pair, got, 0, 10);
        CHECK(memcmp(data, "last words", 10) == 0);
    }
    START(weir_ssl_read_some(pair.ends[0], data, sizeof data, io_done, &got));
    START(weir_ssl_shutdown(pair.ends[1], done, &ended));
    AWAIT(pair, ended, 0, 0);
    AWAIT(pair, got, WEIR_EOF, 0);
    START(weir_ssl_read_some(pair.ends[0], data, sizeof data, io_done, &got)); /* and again, with no event of the socket's */
    AWAIT(pair, got, WEIR_EOF, 0);
    close_tls_pair(&pair);
}

TEST(echo_and_close_notify_over_tls_1_3)
{
    echo_once(TLS1_3_VERSION);
}

TEST(echo_and_close_notify_over_tls_1_2)
{
    echo_once(TLS1_2_VERSION);
}

TEST(what_openssl_holds_back_is_given_out_without_an_event)
{
    struct tls_pair pair = new_tls_pair(new_context(), TLS1_3_VERSION, false);
    static char data[16000];
    struct counter sent = {0}, got = {0};
    shake_hands(&pair);
    for (size_t i = 0; i < sizeof data; i++)
        data[i] = (char)(i * 7 + i / 251);
    START(weir_ssl_write(pair.ends[0], data, sizeof data, io_done, &sent)); /* one record */
    AWAIT(pair, sent, 0, sizeof data);
    for (size_t at = 0; at < sizeof data; at += 160) {
        char piece[160];
        START(weir_ssl_read(pair.ends[1], piece, sizeof piece, io_done, &got));
        AWAIT(pair, got, 0, sizeof piece);
        CHECK(memcmp(piece, data + at, sizeof piece) == 0);
    }
    /* And one that waits for what has not come keeps nobody awake. */
    char byte;
    START(weir_ssl_read_some(pair.ends[1], &byte, 1, io_done, &got));
    uint64_t turns = turns_of(pair.context);
    CHECK_OK(weir_context_run_for(pair.context, 50 * CHECK_MS, NULL));
    CHECK(turns_of(pair.context) - turns < 20);
    CHECK_EQ(atomic_load(&got.calls), 0);
    close_tls_pair(&pair);
    CHECK_DONE(got, WEIR_ECANCELED, 0);
}

/* ---- megabytes both ways at once */

struct flow {
    weir_ssl *from, *to;
    unsigned char *out, *in;
    size_t length, sent, got;
    unsigned seed;
    bool update; /* keys are changed on the way */
    int sends;
    bool finished;
};

static void flow_send(struct flow *flow);

static void flow_sent(int status, size_t bytes, void *user)
{
    struct flow *flow = user;
    CHECK(!net_starting);
    CHECK_CODE(status, 0);
    flow->sent += bytes;
    flow_send(flow);
}

static void flow_send(struct flow *flow)
{
    size_t piece = 1 + (flow->seed * 7919U + (unsigned)flow->sends++ * 104729U) % 300000U;
    if (flow->sent == flow->length)
        return;
    if (piece > flow->length - flow->sent)
        piece = flow->length - flow->sent;
    if (flow->update && flow->sends % 3 == 0)
        CHECK_EQ(SSL_key_update(weir_ssl_get(flow->from), SSL_KEY_UPDATE_REQUESTED), 1);
    START(weir_ssl_write(flow->from, flow->out + flow->sent, piece, flow_sent, flow));
}

static void flow_receive(struct flow *flow);

static void flow_got(int status, size_t bytes, void *user)
{
    struct flow *flow = user;
    CHECK(!net_starting);
    CHECK_CODE(status, 0);
    flow->got += bytes;
    flow_receive(flow);
}

static void flow_receive(struct flow *flow)
{
    size_t room = flow->length - flow->got;
    if (room == 0) {
        flow->finished = true;
        return;
    }
    START(weir_ssl_read_some(flow->to, flow->in + flow->got, room < 50000 ? room : 50000, flow_got, flow));
}

static void start_flow(struct flow *flow, weir_ssl *from, weir_ssl *to, size_t length, unsigned seed, bool update)
{
    *flow = (struct flow){.from = from, .to = to, .out = malloc(length), .in = malloc(length), .length = length, .seed = seed};
    flow->update = update;
    CHECK(flow->out != NULL && flow->in != NULL);
    for (size_t i = 0; i < length; i++)
        flow->out[i] = (unsigned char)((i ^ (i >> 9)) * 31 + seed);
    flow_send(flow);
    flow_receive(flow);
}

static void end_flow(struct flow *flow)
{
    CHECK_EQ(flow->sent, flow->length);
    CHECK(memcmp(flow->in, flow->out, flow->length) == 0);
    free(flow->in);
    free(flow->out);
}

static void both_ways(int version, bool small, bool update)
{
    struct tls_pair pair = new_tls_pair(new_context(), version, small);
    struct flow flows[2];
    shake_hands(&pair);
    for (int i = 0; i < 2; i++)
        start_flow(&flows[i], pair.ends[i], pair.ends[!i], small ? 3 << 20 : 8 << 20, (unsigned)i + 1, update);
    RUN_UNTIL(pair.context, flows[0].finished && flows[1].finished);
    RUN_UNTIL(pair.context, flows[0].sent == flows[0].length && flows[1].sent == flows[1].length);
    end_flow(&flows[0]);
    end_flow(&flows[1]);
    close_tls_pair(&pair);
}

TEST(megabytes_both_ways)
{
    both_ways(TLS1_3_VERSION, false, false);
    both_ways(TLS1_2_VERSION, false, false);
}

TEST(megabytes_both_ways_through_small_buffers)
{
    both_ways(TLS1_3_VERSION, true, false);
}

TEST(keys_change_while_megabytes_go_both_ways)
{
    both_ways(TLS1_3_VERSION, true, true);
    both_ways(TLS1_3_VERSION, false, true);
}

TEST(a_key_update_is_sent_at_once_by_a_handshake)
{
    struct tls_pair pair = new_tls_pair(new_context(), TLS1_3_VERSION, false);
    struct counter shaken = {0}, got = {0}, sent = {0};
    char data[8];
    shake_hands(&pair);
    START(weir_ssl_read(pair.ends[1], data, 5, io_done, &got));
    START(weir_ssl_read(pair.ends[0], data, 5, io_done, &got)); /* a read may be pending: its answer comes in there */
    CHECK_EQ(SSL_key_update(weir_ssl_get(pair.ends[0]), SSL_KEY_UPDATE_REQUESTED), 1);
    START(weir_ssl_handshake(pair.ends[0], done, &shaken));
    AWAIT(pair, shaken, 0, 0);
    START(weir_ssl_write(pair.ends[0], "after", 5, io_done, &sent));
    START(weir_ssl_write(pair.ends[1], "after", 5, io_done, &sent));
    RUN_CALLS(pair.context, got, 2);
    RUN_CALLS(pair.context, sent, 2);
    CHECK_EQ(got.bytes, 10);
    close_tls_pair(&pair);
}

TEST(renegotiation_of_tls_1_2_by_either_side)
{
    for (int who = 0; who < 2; who++) {
        struct tls_pair pair = new_tls_pair(new_context(), TLS1_2_VERSION, false);
        struct counter shaken = {0}, got[2] = {{0}, {0}}, sent = {0};
        char data[2][8];
        SSL_set_options(weir_ssl_get(pair.ends[1]), SSL_OP_ALLOW_CLIENT_RENEGOTIATION);
        shake_hands(&pair);
        /* The other side reads, and so takes part. */
        START(weir_ssl_read(pair.ends[!who], data[0], 5, io_done, &got[0]));
        CHECK_EQ(SSL_renegotiate(weir_ssl_get(pair.ends[who])), 1);
        START(weir_ssl_handshake(pair.ends[who], done, &shaken));
        AWAIT(pair, shaken, 0, 0);
        START(weir_ssl_read(pair.ends[who], data[1], 5, io_done, &got[1]));
        START(weir_ssl_write(pair.ends[who], "again", 5, io_done, &sent));
        AWAIT(pair, sent, 0, 5);
        AWAIT(pair, got[0], 0, 5);
        START(weir_ssl_write(pair.ends[!who], "again", 5, io_done, &sent));
        AWAIT(pair, sent, 0, 5);
        AWAIT(pair, got[1], 0, 5);
        close_tls_pair(&pair);
    }
}

/* ---- what goes wrong */

TEST(a_stream_that_ends_without_close_notify_is_an_error)
{
    for (int reset = 0; reset < 2; reset++) {
        struct tls_pair pair = new_tls_pair(new_context(), TLS1_3_VERSION, false);
        struct counter got = {0}, sent = {0};
        char data[64];
        shake_hands(&pair);
        START(weir_ssl_read(pair.ends[1], data, sizeof data, io_done, &got));
        START(weir_ssl_write(pair.ends[0], "cut short", 9, io_done, &sent));
        AWAIT(pair, sent, 0, 9);
        if (reset) {
            RUN_UNTIL(pair.context, pair.ends[1]->reading.done == 9); /* a reset takes along what was not read */
            struct linger linger = {1, 0};
            CHECK_OK(weir_stream_set_option(weir_ssl_stream(pair.ends[0]), SOL_SOCKET, SO_LINGER, &linger, sizeof linger));
        }
        if (reset)
            weir_ssl_close(pair.ends[0]);
        else /* a close would reset too: session tickets were not read */
            CHECK_OK(weir_stream_shutdown(weir_ssl_stream(pair.ends[0]), WEIR_SHUTDOWN_WRITE));
        AWAIT(pair, got, -ECONNRESET, 9); /* and what came before is counted */
        CHECK_CODE(weir_ssl_read_some(pair.ends[1], data, 1, io_done, &got), -ECONNRESET);
        CHECK_CODE(weir_ssl_write(pair.ends[1], data, 1, io_done, &got), -ECONNRESET);
        if (reset)
            pair.ends[0] = NULL;
        close_tls_pair(&pair);
    }
}

TEST(what_is_written_and_shut_is_sent_before_the_close)
{
    struct tls_pair pair = new_tls_pair(new_context(), TLS1_3_VERSION, true);
    static char big[3 << 20], seen[sizeof big + 1];
    struct counter got = {0}, sent = {0}, shut = {0};
    CHECK_EQ(SSL_set_num_tickets(weir_ssl_get(pair.ends[1]), 0), 1); /* unread, they would make the close a reset */
    shake_hands(&pair);
    for (size_t i = 0; i < sizeof big; i++)
        big[i] = (char)(i * 13 + i / 1021);
    START(weir_ssl_write(pair.ends[0], big, sizeof big, io_done, &sent));
    settle(pair.context);
    CHECK_EQ(sent.calls, 0); /* the other end does not read yet */
    START(weir_ssl_read(pair.ends[1], seen, sizeof seen, io_done, &got));
    AWAIT(pair, sent, 0, sizeof big);
    START(weir_ssl_shutdown(pair.ends[0], done, &shut));
    AWAIT(pair, shut, 0, 0);
    weir_ssl_close(pair.ends[0]);
    pair.ends[0] = NULL;
    AWAIT(pair, got, WEIR_EOF, sizeof big);
    CHECK(memcmp(big, seen, sizeof big) == 0);
    close_tls_pair(&pair);
}

TEST(a_failure_of_reading_ends_the_write_that_waits)
{
    struct tls_pair pair = new_tls_pair(new_context(), TLS1_3_VERSION, true);
    static char big[8 << 20];
    struct counter got = {0}, sent = {0};
    char data[8];
    int fd;
    shake_hands(&pair);
    START(weir_ssl_write(pair.ends[0], big, sizeof big, io_done, &sent)); /* nobody reads it */
    START(weir_ssl_read_some(pair.ends[0], data, sizeof data, io_done, &got));
    settle(pair.context);
    CHECK_EQ(sent.calls, 0);
    CHECK_OK(weir_stream_fd(weir_ssl_stream(pair.ends[1]), &fd));
    send_all(fd, "this is no record of TLS", 24);
    AWAIT(pair, got, -EPROTO, 0);
    RUN_CALLS(pair.context, sent, 1);
    CHECK_CODE(sent.status, -EPROTO);
    close_tls_pair(&pair);
}

/* Records by the thousand that are there already: others have their turn in between. */
static struct tls_pair *chained_pair;
static int turns_between;
static bool chain_ends;

static void chain(int status, void *user)
{
    if (status != 0 || chain_ends)
        return;
    if (chained_pair->ends[1]->reading.done > 0) /* it has begun */
        turns_between++;
    CHECK_OK(weir_context_post(chained_pair->context, chain, user));
}

static void stop_chain(int status, size_t bytes, void *user)
{
    io_done(status, bytes, user);
    chain_ends = true;
}

TEST(a_thousand_records_leave_others_their_turn)
{
    struct tls_pair pair = new_tls_pair(new_context(), TLS1_3_VERSION, false);
    struct counter got = {0}, sent = {0};
    static char data[10000], seen[10000];
    shake_hands(&pair);
    for (int i = 0; i < 1000; i++) {
        START(weir_ssl_write(pair.ends[0], data + 10 * i, 10, io_done, &sent));
        AWAIT(pair, sent, 0, 10);
    }
    if (weir_context_stopped(pair.context) == 1)
        CHECK_OK(weir_context_restart(pair.context));
    chained_pair = &pair;
    CHECK_OK(weir_context_post(pair.context, chain, NULL));
    START(weir_ssl_read(pair.ends[1], seen, sizeof seen, stop_chain, &got));
    AWAIT(pair, got, 0, sizeof seen);
    CHECK(turns_between > 5);
    close_tls_pair(&pair);
}

TEST(a_certificate_that_is_not_trusted)
{
    struct tls_pair pair = new_tls_pair(new_context(), TLS1_3_VERSION, false);
    struct counter client = {0}, server = {0}, got = {0};
    char byte;
    /* Another name is expected than the certificate has. */
    CHECK_EQ(SSL_set1_host(weir_ssl_get(pair.ends[0]), "elsewhere"), 1);
    START(weir_ssl_handshake(pair.ends[0], done, &client));
    START(weir_ssl_handshake(pair.ends[1], done, &server));
    AWAIT(pair, client, -EPROTO, 0);
    CHECK_EQ(ERR_GET_REASON(weir_ssl_error(pair.ends[0])), SSL_R_CERTIFICATE_VERIFY_FAILED);
    CHECK_EQ(SSL_get_verify_result(weir_ssl_get(pair.ends[0])), X509_V_ERR_HOSTNAME_MISMATCH);
    CHECK_EQ(ERR_peek_error(), 0); /* nothing of ours is left in the thread's queue */
    AWAIT(pair, server, -EPROTO, 0);
    CHECK_CODE(weir_ssl_read_some(pair.ends[0], &byte, 1, io_done, &got), -EPROTO);
    close_tls_pair(&pair);
}

TEST(peers_that_do_not_speak_tls)
{
    static const char *says[] = {"GET / HTTP/1.0\r\n\r\n", "\x16\x03\x01\x02\x00", ""};
    static const int status[] = {-EPROTO, -ECONNRESET, -ECONNRESET};
    for (int i = 0; i < 4; i++) {
        weir_context *context = new_context();
        SSL_CTX *ctx = new_server_ctx(TLS1_3_VERSION);
        struct counter shaken = {0};
        weir_ssl *tls;
        struct pair ends = new_pair(context, AF_INET);
        CHECK_OK(weir_ssl_create(ends.stream, new_ssl(ctx, true), NULL, &tls));
        if (i == 3)
            CHECK_OK(weir_stream_set_timeout(ends.stream, WEIR_WAIT_READ, 20 * CHECK_MS));
        START(weir_ssl_handshake(tls, done, &shaken));
        if (i < 3) {
            send_all(ends.peer, says[i], strlen(says[i]) + (i == 1));
            CHECK_EQ(shutdown(ends.peer, SHUT_WR), 0);
        }
        RUN_CALLS(context, shaken, 1);
        CHECK_DONE(shaken, i < 3 ? status[i] : WEIR_ETIMEDOUT, 0);
        weir_ssl_close(tls);
        close(ends.peer);
        CHECK_OK(weir_context_destroy(context));
        SSL_CTX_free(ctx);
        free_certificate();
    }
}

TEST(a_time_out_of_reading_is_no_failure)
{
    struct tls_pair pair = new_tls_pair(new_context(), TLS1_3_VERSION, false);
    struct counter got = {0}, sent = {0};
    char data[8];
    shake_hands(&pair);
    CHECK_OK(weir_stream_set_timeout(weir_ssl_stream(pair.ends[1]), WEIR_WAIT_READ, 20 * CHECK_MS));
    START(weir_ssl_read_some(pair.ends[1], data, sizeof data, io_done, &got));
    AWAIT(pair, got, WEIR_ETIMEDOUT, 0);
    CHECK_OK(weir_stream_set_timeout(weir_ssl_stream(pair.ends[1]), WEIR_WAIT_READ, WEIR_FOREVER));
    START(weir_ssl_read_some(pair.ends[1], data, sizeof data, io_done, &got));
    START(weir_ssl_write(pair.ends[0], "later", 5, io_done, &sent));
    AWAIT(pair, got, 0, 5);
    AWAIT(pair, sent, 0, 5);
    close_tls_pair(&pair);
}

/* ---- ends of all sorts */

struct closer {
    weir_ssl *tls;
    struct counter handshake, read, write;
    int at;
};

static void close_at(struct closer *closer, int at)
{
    if (closer->at == at && closer->tls != NULL) {
        weir_ssl_close(closer->tls);
        closer->tls = NULL;
    }
}

static void closer_shaken(int status, void *user)
{
    struct closer *closer = user;
    done(status, &closer->handshake);
    close_at(closer, 0);
}

static void closer_read(int status, size_t bytes, void *user)
{
    struct closer *closer = user;
    io_done(status, bytes, &closer->read);
    close_at(closer, 1);
}

static void closer_written(int status, size_t bytes, void *user)
{
    struct closer *closer = user;
    io_done(status, bytes, &closer->write);
    close_at(closer, 2);
}

TEST(closed_in_its_own_callbacks)
{
    static char big[4 << 20];
    for (int at = 0; at < 3; at++) {
        struct tls_pair pair = new_tls_pair(new_context(), TLS1_3_VERSION, true);
        struct closer closer = {.tls = pair.ends[0], .at = at};
        struct counter peer = {0}, sent = {0};
        char data[16];
        pair.ends[0] = NULL;
        START(weir_ssl_handshake(closer.tls, closer_shaken, &closer));
        START(weir_ssl_handshake(pair.ends[1], done, &peer));
        RUN_CALLS(pair.context, closer.handshake, 1);
        RUN_CALLS(pair.context, peer, 1);
        CHECK_DONE(closer.handshake, 0, 0);
        if (at > 0) {
            /* The other direction is pending when this one ends it all; a write that fits the buffers ends, one that does not waits. */
            START(weir_ssl_read_some(closer.tls, data, sizeof data, closer_read, &closer));
            START(weir_ssl_write(closer.tls, big, at == 1 ? sizeof big : 10, closer_written, &closer));
            if (at == 1) {
                settle(pair.context);
                START(weir_ssl_write(pair.ends[1], "go", 2, io_done, &sent));
            }
            RUN_UNTIL(pair.context, closer.tls == NULL);
            RUN_CALLS(pair.context, closer.read, 1);
            RUN_CALLS(pair.context, closer.write, 1);
            CHECK_CODE(closer.read.status, at == 1 ? 0 : WEIR_ECANCELED);
            CHECK_CODE(closer.write.status, at == 1 ? WEIR_ECANCELED : 0);
            CHECK(closer.write.bytes < sizeof big);
        }
        CHECK(closer.tls == NULL);
        close_tls_pair(&pair);
        CHECK(closer.read.calls <= 1 && closer.write.calls <= 1);
    }
}

TEST(the_context_ends_first)
{
    struct tls_pair pair = new_tls_pair(new_context(), TLS1_3_VERSION, true);
    static char big[4 << 20];
    struct counter got[2] = {{0}, {0}}, sent[2] = {{0}, {0}};
    char data[2][8];
    shake_hands(&pair);
    for (int i = 0; i < 2; i++) {
        if (i == 0) /* the other end does not read, so that this stays */
            START(weir_ssl_write(pair.ends[i], big, sizeof big, io_done, &sent[i]));
        else
            START(weir_ssl_read_some(pair.ends[0], data[i], sizeof data[i], io_done, &got[i]));
    }
    settle(pair.context);
    START(weir_ssl_read_some(pair.ends[1], data[1], sizeof data[1], io_done, &got[0])); /* it is ready, only a turn is missing */
    CHECK_OK(weir_context_destroy(pair.context));
    CHECK_CODE(sent[0].status, WEIR_ECANCELED);
    CHECK_EQ(sent[0].calls, 1);
    CHECK(sent[0].bytes > 0 && sent[0].bytes < sizeof big);
    CHECK_EQ(got[0].calls, 1);
    CHECK_CODE(got[0].status, WEIR_ECANCELED);
    CHECK_EQ(got[1].calls, 1);
    CHECK_CODE(got[1].status, WEIR_ECANCELED);
    for (int i = 0; i < 2; i++) {
        CHECK(weir_ssl_read_some(pair.ends[i], data[0], 1, io_done, &got[0]) != 0);
        weir_ssl_close(pair.ends[i]);
        SSL_CTX_free(pair.ctx[i]);
    }
    free_certificate();
}

/* ---- many */

enum { CONNECTIONS = 150, ROUNDS = 20, THREADS = 4 };
struct side {
    weir_ssl *tls;
    weir_strand *strand;
    bool server;
    int round;
    atomic_int inside;
    size_t length;
    char data[3000], seen[3000];
};
static struct side sides[CONNECTIONS * 2];
static atomic_int ended;

static void side_read(struct side *side);

static void side_shut(int status, void *user)
{
    struct side *side = user;
    /* The client does not wait for the server's close_notify: it may meet a closed stream. */
    CHECK(status == 0 || (side->server && (status == -EPIPE || status == -ECONNRESET)));
    weir_ssl_close(side->tls);
    atomic_fetch_add(&ended, 1);
}

static void side_written(int status, size_t bytes, void *user)
{
    struct side *side = user;
    CHECK_CODE(status, 0);
    CHECK_EQ(bytes, side->length);
    CHECK_EQ(atomic_fetch_add(&side->inside, 1), 0);
    if (side->server)
        side_read(side);
    CHECK_EQ(atomic_fetch_sub(&side->inside, 1), 1);
}

static void side_write(struct side *side)
{
    side->length = 1 + (size_t)(side - sides) * 17 % (sizeof side->data - 1);
    memset(side->data, side->round + (int)(side - sides), sizeof side->data);
    CHECK_OK(weir_ssl_write(side->tls, side->data, side->length, side_written, side));
    side_read(side);
}

static void side_got(int status, size_t bytes, void *user)
{
    struct side *side = user;
    CHECK_EQ(atomic_fetch_add(&side->inside, 1), 0);
    if (side->server && status == 0) {
        side->length = bytes;
        CHECK_OK(weir_ssl_write(side->tls, side->seen, bytes, side_written, side));
    } else if (status == 0) {
        CHECK_EQ(bytes, side->length);
        CHECK(memcmp(side->seen, side->data, bytes) == 0);
        if (++side->round < ROUNDS)
            side_write(side);
        else
            CHECK_OK(weir_ssl_shutdown(side->tls, side_shut, side));
    } else {
        CHECK_CODE(status, WEIR_EOF);
        CHECK_OK(weir_ssl_shutdown(side->tls, side_shut, side));
    }
    CHECK_EQ(atomic_fetch_sub(&side->inside, 1), 1);
}

static void side_read(struct side *side)
{
    if (side->server)
        CHECK_OK(weir_ssl_read_some(side->tls, side->seen, sizeof side->seen, side_got, side));
    else
        CHECK_OK(weir_ssl_read(side->tls, side->seen, side->length, side_got, side));
}

static void side_shaken(int status, void *user)
{
    struct side *side = user;
    CHECK_CODE(status, 0);
    CHECK_EQ(atomic_fetch_add(&side->inside, 1), 0);
    if (side->server)
        side_read(side);
    else
        side_write(side);
    CHECK_EQ(atomic_fetch_sub(&side->inside, 1), 1);
}

static void *run_thread(void *user)
{
    CHECK_OK(weir_context_run(user, NULL));
    return NULL;
}

static void many_connections(int threads)
{
    weir_context *context = new_context();
    SSL_CTX *ctx[2] = {new_client_ctx(true), new_server_ctx(TLS1_3_VERSION)};
    pthread_t started[THREADS];
    int fds = count_fds(), connections = CHECK_SANITIZED ? 40 : CONNECTIONS;
    for (int i = 0; i < connections; i++) {
        int ends[2];
        plain_pair(i % 2 ? AF_INET : AF_UNIX, ends);
        for (int who = 0; who < 2; who++) {
            struct side *side = &sides[i * 2 + who];
            side->server = who == 1;
            if (threads > 1)
                CHECK_OK(weir_strand_create(context, &side->strand));
            CHECK_OK(weir_ssl_create(adopted(context, ends[who]), new_ssl(ctx[who], who == 1), side->strand, &side->tls));
            CHECK_OK(weir_ssl_handshake(side->tls, side_shaken, side));
        }
    }
    for (int i = 0; i < threads; i++)
        started[i] = start_thread(run_thread, context);
    for (int i = 0; i < threads; i++)
        join_thread(started[i]);
    CHECK_EQ(atomic_load(&ended), connections * 2);
    CHECK_EQ(count_fds(), fds);
    CHECK_OK(weir_context_destroy(context));
    SSL_CTX_free(ctx[0]);
    SSL_CTX_free(ctx[1]);
    free_certificate();
}

TEST(many_connections_on_one_thread)
{
    many_connections(1);
}

TEST(many_connections_with_strands_on_four_threads)
{
    many_connections(THREADS);
}

/* ---- other programs */

#ifdef EXAMPLE
static char folder[64], certificate[96], key[96];

static void remove_folder(void)
{
    unlink(certificate);
    unlink(key);
    rmdir(folder);
}

/* The example, with the openssl program, and with a client that blocks. */
TEST(the_example_serves_other_clients)
{
    char line[128] = "", text[4096], place[96];
    int out[2];
    snprintf(folder, sizeof folder, "/tmp/weir-tls-XXXXXX");
    CHECK(mkdtemp(folder) != NULL);
    atexit(remove_folder);
    snprintf(certificate, sizeof certificate, "%s/cert.pem", folder);
    snprintf(key, sizeof key, "%s/key.pem", folder);
    make_certificate();
    FILE *file = fopen(certificate, "w");
    CHECK(file != NULL && PEM_write_X509(file, tls_certificate) == 1 && fclose(file) == 0);
    file = fopen(key, "w");
    CHECK(file != NULL && PEM_write_PrivateKey(file, tls_key, NULL, NULL, 0, NULL, NULL) == 1 && fclose(file) == 0);

    char *server[] = {EXAMPLE, certificate, key, "127.0.0.1:0", NULL};
    CHECK_EQ(pipe(out), 0);
    pid_t child = start_child(server, out[1]);
    close(out[1]);
    file = fdopen(out[0], "r");
    CHECK(file != NULL && fgets(line, sizeof line, file) != NULL);
    CHECK_EQ(sscanf(line, "listening on %95s", place), 1);

    char *client[] = {"openssl", "s_client", "-connect", place, "-brief", "-verify_return_error", "-CAfile", certificate, "-verify_hostname",
                      "localhost", "-tls1_3", NULL};
    run_child(client, 0, text, sizeof text);

    SSL_CTX *ctx = new_client_ctx(true);
    struct where where = loopback(AF_INET, (uint16_t)atoi(strrchr(place, ':') + 1));
    static char data[300000], seen[10000];
    signal(SIGPIPE, SIG_IGN); /* for OpenSSL's own BIO */
    for (int round = 0; round < 3; round++) {
        int fd = plain_connect(&where);
        SSL *ssl = new_ssl(ctx, false);
        CHECK_EQ(SSL_set_fd(ssl, fd), 1);
        CHECK_EQ(SSL_connect(ssl), 1);
        for (size_t at = 0; at < sizeof data; at += sizeof seen) {
            memset(data + at, (int)at / 10000 + round, sizeof seen);
            CHECK_EQ(SSL_write(ssl, data + at, sizeof seen), sizeof seen);
            for (size_t got = 0; got < sizeof seen;) {
                int bytes = SSL_read(ssl, seen + got, (int)(sizeof seen - got));
                CHECK(bytes > 0);
                got += (size_t)bytes;
            }
            CHECK(memcmp(seen, data + at, sizeof seen) == 0);
        }
        if (round < 2) { /* the last one is open when the server ends */
            CHECK_EQ(SSL_shutdown(ssl), 0);
            CHECK_EQ(SSL_read(ssl, seen, 1), 0);
            CHECK_EQ(SSL_get_error(ssl, 0), SSL_ERROR_ZERO_RETURN);
        }
        if (round == 2)
            CHECK_EQ(kill(child, SIGTERM), 0);
        if (round == 2)
            CHECK_EQ(reap_child(child), 0);
        SSL_free(ssl);
        close(fd);
    }
    fclose(file);
    SSL_CTX_free(ctx);
    free_certificate();
}
#endif

TEST_MAIN()
