/*
 * A chat server: what one client writes, line by line, all others read, with the writer's name before it.
 *
 *     chat_server [options] address ...          (127.0.0.1:7000, [::1]:7000, unix:/run/chat.sock, unix:@chat)
 *
 *     --threads N      threads that run the context (default 1)
 *     --clients N      at most so many at once (default 1000)
 *     --backlog BYTES  a client that lets more than this wait for it is dropped (default 262144)
 *     --idle SECONDS   a client that says nothing for so long is dropped (default 3600; 0: never)
 *
 * What counts as said is a whole line: a byte now and then keeps nobody in the room. Peers that have vanished without a
 * word are found by the kernel, which asks them when nothing comes.
 *
 * Commands: /nick NAME, /who, /quit. SIGINT and SIGTERM stop it, and remove the paths that it has made.
 *
 * All clients share one room, so every handle is bound to one strand: the callbacks never overlap, whatever the number
 * of threads, and the room needs no lock.
 *
 * Who frees what: a line is one block for all that receive it, freed when the last of them is done with it. A client is
 * freed when its stream is closed and its last operation has completed, which close promises for each of them.
 */
#include <errno.h>
#include <getopt.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <weir.h>

enum { MAX_LINE = 1024, MAX_NAME = 24, MAX_LISTENERS = 16, MAX_THREADS = 64 };
enum { PEER_TIMEOUT = 60000 }; /* milliseconds in which a peer must acknowledge */

struct room;

struct line {
    size_t users; /* sends under way */
    size_t length;
    char text[];
};

struct client {
    struct room *room;
    struct client *next, **link;
    weir_stream *stream;
    size_t operations; /* under way */
    bool gone;
    char name[MAX_NAME + 1];
    int64_t heard; /* when its last line came */
    weir_until until;
    char input[MAX_LINE];
};

/* One send of a line to a client. */
struct sending {
    struct client *to;
    struct line *line;
};

struct room {
    weir_context *context;
    weir_strand *strand;
    weir_signals *signals;
    weir_acceptor *acceptors[MAX_LISTENERS];
    bool has_path[MAX_LISTENERS];
    size_t listeners;
    struct client *clients;
    size_t present, limit, backlog;
    uint64_t guests;
    int64_t idle; /* 0: for ever */
    weir_timer *sweeper;
    bool stopping;
};

static void read_line(struct client *client);

static void die(const char *what, int error) {
    fprintf(stderr, "chat_server: %s: %s\n", what, weir_strerror(error));
    exit(1);
}

static void must(int error, const char *what) {
    if (error != 0) die(what, error);
}

/* ---- lines */

__attribute__((format(printf, 1, 2))) static struct line *new_line(const char *format, ...) {
    char text[MAX_NAME + MAX_LINE + 64];
    va_list arguments;
    va_start(arguments, format);
    int length = vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    if (length < 0) return NULL;
    if ((size_t)length >= sizeof text) length = (int)sizeof text - 1;
    struct line *line = malloc(sizeof *line + (size_t)length);
    if (line == NULL) return NULL;
    line->users = 1; /* the caller, until drop_line() */
    line->length = (size_t)length;
    memcpy(line->text, text, (size_t)length);
    return line;
}

static void drop_line(struct line *line) {
    if (line != NULL && --line->users == 0) free(line);
}

/* ---- clients */

static void say(struct room *room, const struct client *except, struct line *line);

static void free_if_done(struct client *client) {
    if (client->gone && client->operations == 0) free(client);
}

/* Takes a client out of the room. What is under way completes with WEIR_ECANCELED and lets go of it. */
static void drop_client(struct client *client, const char *why) {
    struct room *room = client->room;
    if (client->gone) return;
    client->gone = true;
    *client->link = client->next;
    if (client->next != NULL) client->next->link = client->link;
    room->present--;
    weir_stream_close(client->stream);
    if (!room->stopping) {
        struct line *line = new_line("* %s %s\n", client->name, why);
        say(room, client, line);
        drop_line(line);
    }
}

static void on_sent(int status, size_t bytes, void *user) {
    struct sending *sending = user;
    struct client *client = sending->to;
    (void)bytes;
    drop_line(sending->line);
    free(sending);
    client->operations--;
    if (status != 0) drop_client(client, "has left");
    free_if_done(client);
}

static void send_line(struct client *client, struct line *line) {
    size_t waiting = 0;
    struct sending *sending = line != NULL ? malloc(sizeof *sending) : NULL;
    if (client->gone || sending == NULL) {
        free(sending);
        return;
    }
    if (weir_stream_queued(client->stream, &waiting) != 0 || waiting + line->length > client->room->backlog) {
        free(sending);
        drop_client(client, "does not listen, and was dropped");
        free_if_done(client);
        return;
    }
    *sending = (struct sending){client, line};
    line->users++;
    client->operations++;
    if (weir_stream_send(client->stream, line->text, line->length, on_sent, sending) != 0) {
        client->operations--;
        drop_line(line);
        free(sending);
        drop_client(client, "has left");
        free_if_done(client);
    }
}

/* To everybody in the room. A client that is dropped meanwhile announces that, which may drop others: so the list is
 * read anew from the start after each change of it. */
static void say(struct room *room, const struct client *except, struct line *line) {
    struct client **receivers = malloc((room->present + 1) * sizeof(struct client *));
    size_t count = 0;
    if (receivers == NULL || line == NULL) {
        free(receivers);
        return;
    }
    for (struct client *client = room->clients; client != NULL; client = client->next) {
        if (client == except) continue;
        client->operations++; /* so that it stays while the others are told */
        receivers[count++] = client;
    }
    for (size_t i = 0; i < count; i++) {
        send_line(receivers[i], line);
        receivers[i]->operations--;
        free_if_done(receivers[i]);
    }
    free(receivers);
}

static void tell(struct client *client, struct line *line) {
    send_line(client, line);
    drop_line(line);
}

/* ---- what clients say */

static bool name_is_good(const struct room *room, const char *name) {
    size_t length = strlen(name);
    if (length == 0 || length > MAX_NAME || strspn(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
                                                         "0123456789_-") != length)
        return false;
    for (const struct client *client = room->clients; client != NULL; client = client->next)
        if (strcmp(client->name, name) == 0) return false;
    return true;
}

static void rename_client(struct client *client, const char *name) {
    if (!name_is_good(client->room, name)) {
        tell(client, new_line("! this name is taken or not good\n"));
        return;
    }
    struct line *line = new_line("* %s is now %s\n", client->name, name);
    memcpy(client->name, name, strlen(name) + 1); /* it fits, or would not be good */
    say(client->room, NULL, line);
    drop_line(line);
}

static void list_names(struct client *client) {
    for (const struct client *other = client->room->clients; other != NULL && !client->gone; other = other->next)
        tell(client, new_line("= %s\n", other->name));
}

static void on_text(struct client *client, char *text) {
    if (strncmp(text, "/nick ", 6) == 0) {
        rename_client(client, text + 6);
    } else if (strcmp(text, "/who") == 0) {
        list_names(client);
    } else if (strcmp(text, "/quit") == 0) {
        drop_client(client, "has left");
    } else if (text[0] == '/') {
        tell(client, new_line("! no such command\n"));
    } else if (text[0] != 0) {
        struct line *line = new_line("%s: %s\n", client->name, text);
        say(client->room, client, line);
        drop_line(line);
    }
}

static void on_line(int status, size_t bytes, void *user) {
    struct client *client = user;
    client->operations--;
    if (client->gone) {
        free_if_done(client);
        return;
    }
    if (status != 0) {
        drop_client(client, status == -EMSGSIZE ? "wrote a line that is too long, and was dropped" : "has left");
        free_if_done(client);
        return;
    }
    weir_context_now(client->room->context, &client->heard);
    char text[MAX_LINE];
    size_t length = bytes - 1; /* without the newline */
    if (length > 0 && client->input[length - 1] == '\r') length--;
    memcpy(text, client->input, length);
    text[length] = 0;
    /* What was read along is the start of the next line. */
    client->until.filled -= bytes;
    memmove(client->input, client->input + bytes, client->until.filled);
    client->operations++;
    on_text(client, text);
    client->operations--;
    if (client->gone) free_if_done(client);
    else read_line(client);
}

static void read_line(struct client *client) {
    client->operations++;
    if (weir_stream_read_until(client->stream, &client->until, on_line, client) != 0) {
        client->operations--;
        drop_client(client, "has left");
        free_if_done(client);
    }
}

/* ---- coming and going */

static void on_accepted(int status, weir_stream *stream, const struct sockaddr *address, socklen_t length, void *user) {
    struct room *room = user;
    (void)address;
    (void)length;
    if (status != 0) return;
    struct client *client = room->present < room->limit ? calloc(1, sizeof *client) : NULL;
    if (client == NULL || weir_handle_set_strand(stream, room->strand) != 0) {
        free(client);
        weir_stream_close(stream);
        return;
    }
    client->room = room;
    client->stream = stream;
    client->until = (weir_until){.struct_size = sizeof client->until,
                                 .data = client->input,
                                 .capacity = sizeof client->input,
                                 .delimiter = "\n",
                                 .delimiter_length = 1};
    snprintf(client->name, sizeof client->name, "guest%llu", (unsigned long long)++room->guests);
    weir_handle_set_name(stream, client->name);
    weir_context_now(room->context, &client->heard);
    /* These do not exist for AF_UNIX, where no peer can vanish. */
    weir_stream_set(stream, WEIR_OPT_KEEP_ALIVE, 1);
    weir_stream_set(stream, WEIR_OPT_USER_TIMEOUT, PEER_TIMEOUT);
    client->next = room->clients;
    client->link = &room->clients;
    if (client->next != NULL) client->next->link = &client->next;
    room->clients = client;
    room->present++;
    client->operations++; /* while it is greeted */
    tell(client, new_line("* welcome, %s\n", client->name));
    struct line *line = new_line("* %s has come\n", client->name);
    say(room, client, line);
    drop_line(line);
    client->operations--;
    if (client->gone) free_if_done(client);
    else read_line(client);
}

/* Drops who has said nothing for long. Each one that goes is announced, which may drop others: so the list is read anew
 * from the start. */
static void on_sweep(int status, void *user) {
    struct room *room = user;
    int64_t now = 0;
    if (status != 0 || room->stopping || weir_context_now(room->context, &now) != 0) return;
    for (struct client *client = room->clients; client != NULL;) {
        if (now - client->heard < room->idle) {
            client = client->next;
            continue;
        }
        client->operations++;
        drop_client(client, "said nothing for long, and was dropped");
        client->operations--;
        free_if_done(client);
        client = room->clients;
    }
}

static void on_signal(int status, int signo, void *user) {
    struct room *room = user;
    (void)signo;
    if (status != 0) return;
    room->stopping = true;
    for (size_t i = 0; i < room->listeners; i++) {
        if (room->has_path[i]) weir_acceptor_unlink(room->acceptors[i]);
        weir_acceptor_close(room->acceptors[i]);
    }
    weir_timer_close(room->sweeper);
    while (room->clients != NULL) {
        struct client *client = room->clients;
        drop_client(client, "");
        free_if_done(client);
    }
    /* Nothing is pending any more, so run returns in every thread. */
}

static void listen_on(struct room *room, const char *text) {
    struct sockaddr_storage address;
    socklen_t length = 0;
    char where[WEIR_ADDRESS_TEXT_MAX];
    if (room->listeners == MAX_LISTENERS) die("too many addresses", WEIR_EINVAL);
    must(weir_address_parse(text, &address, &length), text);
    weir_acceptor *acceptor = NULL;
    must(weir_acceptor_create(room->context, &acceptor), "acceptor");
    must(weir_handle_set_strand(acceptor, room->strand), "strand");
    must(weir_acceptor_bind(acceptor, (const struct sockaddr *)&address, length), text);
    must(weir_acceptor_listen(acceptor, 0), text);
    must(weir_acceptor_local_address(acceptor, &address, &length), text);
    must(weir_address_format((const struct sockaddr *)&address, length, where, sizeof where), text);
    must(weir_acceptor_accept_each(acceptor, on_accepted, room), text);
    room->has_path[room->listeners] = strncmp(where, "unix:", 5) == 0 && where[5] != '@';
    room->acceptors[room->listeners++] = acceptor;
    printf("listening on %s\n", where);
    fflush(stdout);
}

/* ---- the command line */

static void usage(void) {
    fprintf(stderr, "usage: chat_server [--threads N] [--clients N] [--backlog BYTES] [--idle SECONDS] address ...\n");
    exit(2);
}

static long long number(const char *text, long long least, long long most) {
    char *end = NULL;
    errno = 0;
    long long value = strtoll(text, &end, 10);
    if (errno != 0 || end == text || *end != 0 || value < least || value > most) usage();
    return value;
}

static void *run(void *user) {
    struct room *room = user;
    must(weir_context_run(room->context, NULL), "run");
    return NULL;
}

int main(int argc, char **argv) {
    static const struct option options[] = {
        {"threads", required_argument, NULL, 't'}, {"clients", required_argument, NULL, 'c'},
        {"backlog", required_argument, NULL, 'b'}, {"idle", required_argument, NULL, 'i'},
        {NULL, 0, NULL, 0},
    };
    static struct room room = {.limit = 1000, .backlog = 256 * 1024, .idle = INT64_C(3600) * 1000 * 1000 * 1000};
    pthread_t threads[MAX_THREADS];
    int count = 1, option;
    while ((option = getopt_long(argc, argv, "", options, NULL)) != -1) {
        switch (option) {
        case 't': count = (int)number(optarg, 1, MAX_THREADS); break;
        case 'c': room.limit = (size_t)number(optarg, 1, 1000000); break;
        case 'b': room.backlog = (size_t)number(optarg, 1, 1 << 30); break;
        case 'i': room.idle = number(optarg, 0, 1000000) * 1000 * 1000 * 1000; break;
        default: usage();
        }
    }
    if (optind == argc) usage();
    must(weir_context_create(NULL, &room.context), "context");
    must(weir_strand_create(room.context, &room.strand), "strand");
    must(weir_signals_create(room.context, &room.signals), "signals");
    must(weir_handle_set_strand(room.signals, room.strand), "strand");
    must(weir_signals_add(room.signals, SIGINT, 0), "signals");
    must(weir_signals_add(room.signals, SIGTERM, 0), "signals");
    must(weir_signals_wait(room.signals, on_signal, &room), "signals");
    if (room.idle != 0) {
        must(weir_timer_create(room.context, &room.sweeper), "timer");
        must(weir_handle_set_strand(room.sweeper, room.strand), "strand");
        must(weir_timer_start(room.sweeper, room.idle / 4, room.idle / 4, on_sweep, &room), "timer");
    }
    for (int i = optind; i < argc; i++) listen_on(&room, argv[i]);
    for (int i = 1; i < count; i++)
        if (pthread_create(&threads[i], NULL, run, &room) != 0) die("thread", -EAGAIN);
    run(&room);
    for (int i = 1; i < count; i++) pthread_join(threads[i], NULL);
    weir_context_destroy(room.context);
    return 0;
}
