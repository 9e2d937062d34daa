/* Who calls: a random number generator, what it has made, and how it chooses the handle of the next call.
 *
 * Each thread has an actor of its own; a part of what they make is put where the others find it. */
#ifndef ACTOR_H
#define ACTOR_H

#include "model.h"

enum type { CONTEXT, STREAM, ACCEPTOR, DATAGRAM, TIMER, SIGNALS, RESOLVER, WATCH, PROCESS, JOB, STRAND, HOOK, TYPES };

struct thing {
    enum type type;
    void *handle;
    weir_context *context;
    size_t since; /* operations begun before it was made */
};

enum { THINGS = 48, GRAVES = 64, PEERS = 32, SHARED = 16, CONTEXTS = 3 };

struct actor {
    uint64_t state;
    const unsigned char *script; /* a fuzzer's choices, in place of random ones */
    size_t script_length;
    size_t calls, limit;
    int depth;   /* of calls inside callbacks */
    bool record; /* the call at hand has no callback */
    struct thing things[THINGS];
    size_t count;
    void *graves[GRAVES];
    size_t buried;
    int peers[PEERS]; /* the other ends, plain fds */
    size_t peer_count;
};

static _Thread_local struct actor *me;
static weir_context *_Atomic contexts[CONTEXTS];
static bool alone; /* only then contexts come and go */
static bool forks; /* now and then; not under the fuzzer */
static bool ending;
static _Atomic(void *) shared[SHARED];

/* ---- random numbers */

static uint64_t random_bits(void)
{
    if (me->script_length >= 2) { /* nothing asks for more than some ten thousands */
        uint64_t bits = (uint64_t)me->script[0] | (uint64_t)me->script[1] << 8;
        me->script += 2;
        me->script_length -= 2;
        return bits;
    }
    me->script_length = 0;
    me->state += UINT64_C(0x9E3779B97F4A7C15);
    uint64_t z = me->state;
    z = (z ^ (z >> 30)) * UINT64_C(0xBF58476D1CE4E5B9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94D049BB133111EB);
    return z ^ (z >> 31);
}

static size_t below(size_t limit)
{
    return (size_t)(random_bits() % limit);
}

static bool one_in(size_t n)
{
    return below(n) == 0;
}

/* Mostly short, now and then long, sometimes 0. */
static size_t some_length(void)
{
    return one_in(8) ? 0 : one_in(20) ? 1 + below(200 * 1000) : 1 + below(300);
}

static int64_t some_time(void)
{
    switch (below(8)) {
    case 0: return 0;
    case 1: return INT64_MAX;
    case 2: return -1;
    case 3: return (int64_t)below(1000 * 1000 * 1000);
    default: return (int64_t)below(2 * 1000 * 1000);
    }
}

/* ---- which function was called how often */

static struct tally {
    const char *name;
    atomic_ullong calls, refused;
} tallies[512];
static atomic_size_t tally_count;
static pthread_mutex_t tally_lock = PTHREAD_MUTEX_INITIALIZER;

static struct tally *tally_of(const char *name)
{
    for (size_t i = 0; i < atomic_load(&tally_count); i++)
        if (strcmp(tallies[i].name, name) == 0)
            return &tallies[i];
    pthread_mutex_lock(&tally_lock);
    size_t at = 0;
    while (at < atomic_load(&tally_count) && strcmp(tallies[at].name, name) != 0)
        at++;
    if (at == atomic_load(&tally_count)) {
        CHECK(at < sizeof tallies / sizeof *tallies);
        tallies[at].name = name;
        atomic_store(&tally_count, at + 1);
    }
    pthread_mutex_unlock(&tally_lock);
    return &tallies[at];
}

static int called(struct tally **cache, const char *name, void *handle, int result)
{
    if (*cache == NULL)
        *cache = tally_of(name);
    atomic_fetch_add(&(*cache)->calls, 1);
    me->calls++;
    note(name, handle, result);
    if (result < 0) {
        atomic_fetch_add(&(*cache)->refused, 1);
        if (strcmp(weir_error_name(result), "UNKNOWN") == 0)
            broken("%s gave the unknown code %d", name, result);
    }
    return result;
}

/* Calls a function; `handle` is for the report. */
#define DO(function, handle, ...)                                                                                      \
    __extension__({                                                                                                    \
        static _Thread_local struct tally *tally_;                                                                     \
        called(&tally_, #function, (void *)(handle), function(__VA_ARGS__));                                           \
    })

/* The same for one that begins an operation; the buffer, which may be NULL, is the model's from here on. In
 * the arguments `OP` is the user pointer. */
#define BEGIN(function, handle, multi, memory, ...)                                                                    \
    do {                                                                                                               \
        size_t number_ = op_new(#function, (void *)(handle), me, (multi), (memory));                                       \
        void *OP = (void *)(uintptr_t)(number_ + 1);                                                                   \
        me->record = false;                                                                                            \
        int result_ = DO(function, handle, __VA_ARGS__);                                                               \
        op_at(number_)->record = me->record;                                                                           \
        op_began(number_, result_);                                                                                    \
    } while (0)

/* ---- things */

static void bury(void *handle)
{
    me->graves[me->buried++ % GRAVES] = handle;
}

static void keep(enum type type, void *handle, weir_context *context)
{
    if (handle == NULL)
        return;
    if (me->count == THINGS) {
        DO(weir_handle_close, handle, handle);
        bury(handle);
        return;
    }
    me->things[me->count++] = (struct thing){type, handle, context, atomic_load(&op_count)};
    if (!alone && one_in(3))
        atomic_store(&shared[below(SHARED)], handle);
}

static void forget(size_t at)
{
    bury(me->things[at].handle);
    me->things[at] = me->things[--me->count];
}

static struct thing *find(enum type type)
{
    size_t from = me->count == 0 ? 0 : below(me->count);
    for (size_t i = 0; i < me->count; i++) {
        struct thing *thing = &me->things[(from + i) % me->count];
        if (thing->type == type)
            return thing;
    }
    return NULL;
}

/* A handle for a call that wants one of a type: as a rule a good one. */
static void *pick(enum type type)
{
    size_t kind = below(100);
    if (kind < 4 && me->buried > 0) /* stale */
        return me->graves[below(me->buried < GRAVES ? me->buried : GRAVES)];
    if (kind < 7 && me->count > 0) /* of whatever type */
        return me->things[below(me->count)].handle;
    if (kind == 7)
        return NULL;
    if (kind == 8) /* forged */
        return (void *)(uintptr_t)random_bits();
    if (kind < 25 && !alone) /* another thread's, of whatever type */
        return atomic_load(&shared[below(SHARED)]);
    struct thing *thing = find(type);
    return thing == NULL ? NULL : thing->handle;
}

static weir_context *pick_context(void)
{
    if (one_in(50))
        return pick(TIMER);
    return atomic_load(&contexts[below(CONTEXTS)]);
}

/* ---- peers: plain fds in the hands of the driver */

static void keep_peer(int fd)
{
    if (fd < 0)
        return;
    if (me->peer_count == PEERS) {
        close(fd);
        return;
    }
    me->peers[me->peer_count++] = fd;
}

static const char flood[64 * 1024] = "a\nb\nc\n";

static void use_a_peer(void)
{
    char in[4096];
    if (me->peer_count == 0)
        return;
    size_t at = below(me->peer_count);
    int fd = me->peers[at];
    struct linger reset = {1, 0};
    switch (below(8)) {
    case 0:
    case 1:
    case 2:
        if (send(fd, flood, 1 + below(600), MSG_DONTWAIT | MSG_NOSIGNAL) < 0) {
        }
        return;
    case 3:
        if (send(fd, flood, sizeof flood, MSG_DONTWAIT | MSG_NOSIGNAL) < 0) {
        }
        return;
    case 4:
        while (recv(fd, in, sizeof in, MSG_DONTWAIT) > 0) {
        }
        return;
    case 5: shutdown(fd, (int)below(3)); return;
    case 6: setsockopt(fd, SOL_SOCKET, SO_LINGER, &reset, sizeof reset); break;
    default: break;
    }
    close(fd);
    me->peers[at] = me->peers[--me->peer_count];
}

/* Connected sockets: one for the library, one for the driver. */
static int a_socket(int type)
{
    int ends[2];
    if (type == SOCK_DGRAM || one_in(2)) {
        if (socketpair(AF_UNIX, type | SOCK_CLOEXEC, 0, ends) != 0)
            return -1;
    } else {
        struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
        socklen_t length = sizeof address;
        int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        ends[0] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        if (listener < 0 || ends[0] < 0 || bind(listener, (struct sockaddr *)&address, length) != 0 ||
            listen(listener, 1) != 0 || getsockname(listener, (struct sockaddr *)&address, &length) != 0 ||
            connect(ends[0], (struct sockaddr *)&address, length) != 0)
            broken("no connected sockets: errno %d", errno);
        ends[1] = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
        close(listener);
    }
    keep_peer(ends[1]);
    return ends[0];
}

#endif
