/*
 * A UDP echo server that works in batches, and a client that checks it.
 *
 *     udp_echo [--batch N] [--gro] host:port
 *     udp_echo --client [--count N] [--size BYTES] [--window W] host:port
 *
 * The server receives up to N datagrams with one call and sends them back with another; with --gro the kernel puts
 * datagrams of one sender together on the way in and cuts them apart again on the way out. SIGINT and SIGTERM stop it.
 *
 * Who sends what can be forged. A datagram that seems to come from the server's own port would go round for ever, as
 * between two echo servers: it is not answered, nor is one from port 0, where nobody can be.
 *
 * The client keeps W datagrams under way, compares every byte that comes back, and sends again what is missing after
 * 200 ms, since the kernel may drop datagrams. Its exit status is 1 when something came back wrong or not at all.
 */
#include <errno.h>
#include <getopt.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <weir.h>

enum { MAX_DATAGRAM = 65536, MAX_BATCH = 1024, MAX_WINDOW = 4096, MAX_TRIES = 100 };

static const int64_t MS = 1000 * 1000;

static void die(const char *what, int error) {
    fprintf(stderr, "udp_echo: %s: %s\n", what, weir_strerror(error));
    exit(1);
}

static void must(int error, const char *what) {
    if (error != 0) die(what, error);
}

static void *must_have(void *memory) {
    if (memory == NULL) die("memory", WEIR_ENOMEM);
    return memory;
}

/* ---- the server: receive a batch, send it back, and so on; one operation at a time */

struct server {
    weir_context *context;
    weir_datagram *socket;
    weir_signals *signals;
    weir_datagram_message *messages;
    struct sockaddr_storage *senders;
    unsigned char *memory;
    size_t batch, received;
    uint64_t datagrams, bytes, batches, failed, ignored;
    uint16_t port; /* its own, in network order; 0 for AF_UNIX */
    bool gro;
};

static void receive(struct server *server);

static void on_sent(int status, size_t sent, void *user) {
    struct server *server = user;
    if (status == WEIR_ECANCELED) return;
    if (status != 0) {
        /* The one that failed is left out; those behind it still have to go. */
        server->failed++;
        sent++;
    }
    size_t left = server->received - sent;
    if (left == 0) {
        receive(server);
        return;
    }
    memmove(server->messages, server->messages + sent, left * sizeof *server->messages);
    server->received = left;
    must(weir_datagram_send_batch(server->socket, server->messages, left, on_sent, server), "send");
}

/* The port in network order; 0 where there is none. */
static uint16_t port_of(const struct sockaddr_storage *address) {
    if (address->ss_family == AF_INET) return ((const struct sockaddr_in *)address)->sin_port;
    if (address->ss_family == AF_INET6) return ((const struct sockaddr_in6 *)address)->sin6_port;
    return 0;
}

static bool is_answered(const struct server *server, const struct sockaddr_storage *sender) {
    if (server->port == 0) return true;
    uint16_t port = port_of(sender);
    return port != 0 && port != server->port;
}

static void on_received(int status, size_t count, void *user) {
    struct server *server = user;
    if (status == WEIR_ECANCELED) return;
    if (status != 0) server->failed++; /* an ICMP error of an earlier reply, for instance */
    if (count == 0) {
        receive(server);
        return;
    }
    server->batches++;
    size_t kept = 0;
    for (size_t i = 0; i < count; i++) {
        if (!is_answered(server, server->messages[i].address)) {
            server->ignored++;
            continue;
        }
        server->messages[kept] = server->messages[i];
        weir_datagram_message *message = &server->messages[kept++];
        size_t cut = message->segment_size;
        server->bytes += message->bytes;
        server->datagrams += cut == 0 || message->bytes == 0 ? 1 : (message->bytes + cut - 1) / cut;
        message->length = message->bytes;
        if (message->segment_size >= message->bytes) message->segment_size = 0; /* only one */
    }
    server->received = kept;
    if (kept == 0) receive(server);
    else must(weir_datagram_send_batch(server->socket, server->messages, kept, on_sent, server), "send");
}

static void receive(struct server *server) {
    for (size_t i = 0; i < server->batch; i++)
        server->messages[i] = (weir_datagram_message){.data = server->memory + i * MAX_DATAGRAM,
                                                      .length = MAX_DATAGRAM,
                                                      .address = &server->senders[i]};
    must(weir_datagram_receive_batch(server->socket, server->messages, server->batch, on_received, server), "receive");
}

static void on_signal(int status, int signo, void *user) {
    struct server *server = user;
    (void)signo;
    if (status == 0) weir_datagram_close(server->socket); /* nothing is pending then, and run returns */
}

static void say_where(struct server *server) {
    weir_datagram *socket = server->socket;
    struct sockaddr_storage address;
    socklen_t length = 0;
    char text[WEIR_ADDRESS_TEXT_MAX];
    must(weir_datagram_local_address(socket, &address, &length), "address");
    server->port = port_of(&address);
    must(weir_address_format((const struct sockaddr *)&address, length, text, sizeof text), "address");
    printf("listening on %s\n", text);
    fflush(stdout);
}

static int serve(struct server *server, const struct sockaddr *address, socklen_t length) {
    server->messages = must_have(calloc(server->batch, sizeof *server->messages));
    server->senders = must_have(calloc(server->batch, sizeof *server->senders));
    server->memory = must_have(malloc(server->batch * MAX_DATAGRAM));
    must(weir_context_create(NULL, &server->context), "context");
    must(weir_datagram_create(server->context, &server->socket), "socket");
    must(weir_datagram_bind(server->socket, address, length), "bind");
    weir_datagram_set(server->socket, WEIR_OPT_RECEIVE_BUFFER, 4 << 20); /* the kernel gives what it allows */
    if (server->gro) {
        uint32_t features = 0;
        must(weir_datagram_features(&features), "features");
        if ((features & WEIR_DATAGRAM_GRO) != 0 && (features & WEIR_DATAGRAM_GSO) != 0)
            must(weir_datagram_set(server->socket, WEIR_OPT_GRO, 1), "gro");
        else
            printf("this kernel has no GRO\n");
    }
    must(weir_signals_create(server->context, &server->signals), "signals");
    must(weir_signals_add(server->signals, SIGINT, 0), "signals");
    must(weir_signals_add(server->signals, SIGTERM, 0), "signals");
    must(weir_signals_wait(server->signals, on_signal, server), "signals");
    say_where(server);
    receive(server);
    must(weir_context_run(server->context, NULL), "run");
    printf("%llu datagrams, %llu bytes, %.1f a batch, %llu failed, %llu ignored\n", (unsigned long long)server->datagrams,
           (unsigned long long)server->bytes,
           server->batches > 0 ? (double)server->datagrams / (double)server->batches : 0.0,
           (unsigned long long)server->failed, (unsigned long long)server->ignored);
    weir_context_destroy(server->context);
    free(server->memory);
    free(server->senders);
    free(server->messages);
    return 0;
}

/* ---- the client: W datagrams under way, each with its number in front */

struct slot {
    struct client *client;
    weir_timer *timer;
    uint64_t number;
    int tries;
    bool under_way;
};

struct client {
    weir_context *context;
    weir_datagram *socket;
    struct slot *slots;
    size_t window, size;
    uint64_t count, next, done, resent, wrong, stray;
    unsigned char in[MAX_DATAGRAM], out[MAX_DATAGRAM];
};

static void fill(unsigned char *data, size_t size, uint64_t number) {
    for (size_t i = 0; i < size; i++)
        data[i] = i < sizeof number ? (unsigned char)(number >> (8 * i)) : (unsigned char)(number * 31 + i * 7);
}

static void on_missing(int status, void *user);

static void send_slot(struct slot *slot) {
    struct client *client = slot->client;
    size_t sent = 0;
    fill(client->out, client->size, slot->number);
    /* Not sent for want of room is as good as lost: it is sent again. */
    int error = weir_datagram_try_send(client->socket, client->out, client->size, &sent);
    if (error != 0 && error != -ECONNREFUSED && error != -ENOBUFS) die("send", error);
    slot->under_way = true;
    must(weir_timer_expires_after(slot->timer, 200 * MS), "timer");
    must(weir_timer_wait(slot->timer, on_missing, slot), "timer");
}

static void start_next(struct slot *slot) {
    struct client *client = slot->client;
    if (client->next == client->count) {
        if (client->done + client->wrong == client->count) weir_datagram_cancel(client->socket, NULL);
        return;
    }
    slot->number = client->next++;
    slot->tries = 1;
    send_slot(slot);
}

static void on_missing(int status, void *user) {
    struct slot *slot = user;
    if (status != 0) return; /* it came back */
    if (slot->tries++ == MAX_TRIES) {
        slot->client->wrong++;
        slot->under_way = false;
        start_next(slot);
        return;
    }
    slot->client->resent++;
    send_slot(slot);
}

/* The slot that waits for what came. Datagrams shorter than a number fit any slot. */
static struct slot *slot_of(struct client *client, size_t bytes) {
    uint64_t number = 0;
    size_t known = bytes < sizeof number ? bytes : sizeof number;
    memcpy(&number, client->in, known);
    for (size_t i = 0; i < client->window; i++) {
        struct slot *slot = &client->slots[i];
        uint64_t wanted = slot->number;
        if (known < sizeof number) wanted &= (UINT64_C(1) << (8 * known)) - 1;
        if (slot->under_way && wanted == number) return slot;
    }
    return NULL;
}

static void on_echo(int status, size_t bytes, void *user) {
    struct client *client = user;
    if (status == WEIR_ECANCELED) return;
    if (status == 0) {
        struct slot *slot = slot_of(client, bytes);
        if (slot == NULL) {
            client->stray++; /* a second copy, of one that was sent again */
        } else {
            fill(client->out, client->size, slot->number);
            bool right = bytes == client->size && memcmp(client->in, client->out, bytes) == 0;
            if (right) client->done++;
            else client->wrong++;
            slot->under_way = false;
            weir_timer_cancel(slot->timer, NULL);
            start_next(slot);
        }
    }
    if (client->done + client->wrong == client->count) return;
    must(weir_datagram_receive(client->socket, client->in, sizeof client->in, on_echo, client), "receive");
}

static int drive(struct client *client, const struct sockaddr *address, socklen_t length) {
    int64_t began = 0, ended = 0;
    client->slots = must_have(calloc(client->window, sizeof *client->slots));
    must(weir_context_create(NULL, &client->context), "context");
    must(weir_datagram_create(client->context, &client->socket), "socket");
    must(weir_datagram_connect(client->socket, address, length), "connect");
    must(weir_context_now(client->context, &began), "clock");
    must(weir_datagram_receive(client->socket, client->in, sizeof client->in, on_echo, client), "receive");
    for (size_t i = 0; i < client->window; i++) {
        client->slots[i].client = client;
        must(weir_timer_create(client->context, &client->slots[i].timer), "timer");
        start_next(&client->slots[i]);
    }
    must(weir_context_run(client->context, NULL), "run");
    must(weir_context_now(client->context, &ended), "clock");
    double seconds = (double)(ended - began) / 1e9;
    printf("%llu of %llu datagrams came back right, %llu wrong or lost, %llu sent again, %.0f a second\n",
           (unsigned long long)client->done, (unsigned long long)client->count, (unsigned long long)client->wrong,
           (unsigned long long)client->resent, seconds > 0 ? (double)client->done / seconds : 0.0);
    weir_context_destroy(client->context);
    free(client->slots);
    return client->wrong != 0 || client->done != client->count;
}

/* ---- the command line */

static void usage(void) {
    fprintf(stderr, "usage: udp_echo [--batch N] [--gro] host:port\n"
                    "       udp_echo --client [--count N] [--size BYTES] [--window W] host:port\n");
    exit(2);
}

static uint64_t number(const char *text, uint64_t least, uint64_t most) {
    char *end = NULL;
    errno = 0;
    unsigned long long value = strtoull(text, &end, 10);
    if (errno != 0 || end == text || *end != 0 || value < least || value > most) usage();
    return value;
}

int main(int argc, char **argv) {
    static const struct option options[] = {
        {"batch", required_argument, NULL, 'b'}, {"gro", no_argument, NULL, 'g'},
        {"client", no_argument, NULL, 'c'},      {"count", required_argument, NULL, 'n'},
        {"size", required_argument, NULL, 's'},  {"window", required_argument, NULL, 'w'},
        {NULL, 0, NULL, 0},
    };
    struct server server = {.batch = 64};
    static struct client client = {.count = 1000, .size = 64, .window = 32};
    bool is_client = false;
    int option;
    while ((option = getopt_long(argc, argv, "", options, NULL)) != -1) {
        switch (option) {
        case 'b': server.batch = (size_t)number(optarg, 1, MAX_BATCH); break;
        case 'g': server.gro = true; break;
        case 'c': is_client = true; break;
        case 'n': client.count = number(optarg, 1, UINT64_C(1) << 40); break;
        case 's': client.size = (size_t)number(optarg, 0, 65507); break;
        case 'w': client.window = (size_t)number(optarg, 1, MAX_WINDOW); break;
        default: usage();
        }
    }
    if (optind + 1 != argc) usage();
    struct sockaddr_storage address;
    socklen_t length = 0;
    must(weir_address_parse(argv[optind], &address, &length), argv[optind]);
    if (client.size < 4) client.window = 1; /* they could not be told apart */
    const struct sockaddr *to = (const struct sockaddr *)&address;
    return is_client ? drive(&client, to, length) : serve(&server, to, length);
}
