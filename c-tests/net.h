/* Sockets for the tests: plain blocking ones on loopback, and streams of the library connected to them. */
#ifndef NET_H
#define NET_H

#include "check.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <limits.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <sys/un.h>

/* ---- operations: contract 2 is checked with each */

/* Set while this thread is inside an initiating function: no callback may run then. */
static _Thread_local bool net_starting;

#define START_CODE(expression, code)                                                                                   \
    do {                                                                                                               \
        net_starting = true;                                                                                           \
        CHECK_CODE(expression, code);                                                                                  \
        net_starting = false;                                                                                          \
    } while (0)
#define START(expression) START_CODE(expression, 0)

static inline void done(int status, void *user)
{
    CHECK(!net_starting);
    count_call(status, user);
}

static inline void io_done(int status, size_t bytes, void *user)
{
    CHECK(!net_starting);
    count_io(status, bytes, user);
}

#define CHECK_DONE(counter, want_status, want_bytes)                                                                   \
    do {                                                                                                               \
        CHECK_EQ(atomic_load(&(counter).calls), 1);                                                                    \
        CHECK_CODE(atomic_load(&(counter).status), want_status);                                                       \
        CHECK_EQ(atomic_load(&(counter).bytes), want_bytes);                                                           \
    } while (0)

/* ---- running */

/* Serves the context for a moment; also one that has stopped for want of work. */
static inline void turn(weir_context *context)
{
    size_t count = 0;
    if (weir_context_stopped(context) == 1)
        CHECK_OK(weir_context_restart(context));
    CHECK_OK(weir_context_wait_one(context, 20 * CHECK_MS, &count));
    if (count == 0 && weir_context_stopped(context) == 1)
        sleep_ms(1);
}

#define RUN_UNTIL(context, condition)                                                                                  \
    do {                                                                                                               \
        int64_t net_deadline = now_ns() + 40 * CHECK_SECOND;                                                           \
        while (!(condition)) {                                                                                         \
            if (now_ns() > net_deadline)                                                                               \
                check_fail(__FILE__, __LINE__, "RUN_UNTIL(%s): 40 s went by", #condition);                             \
            turn(context);                                                                                             \
        }                                                                                                              \
    } while (0)

#define RUN_CALLS(context, counter, number) RUN_UNTIL(context, atomic_load(&(counter).calls) >= (number))

/* Serves the context long enough for what must not happen to happen in most cases. */
static inline void settle(weir_context *context)
{
    for (int i = 0; i < 3; i++) {
        if (weir_context_stopped(context) == 1)
            CHECK_OK(weir_context_restart(context));
        CHECK_OK(weir_context_run_for(context, 8 * CHECK_MS, NULL));
        if (weir_context_stopped(context) == 1)
            CHECK_OK(weir_context_restart(context));
        CHECK_OK(weir_context_poll(context, NULL));
    }
}

/* ---- addresses */

struct where {
    struct sockaddr_storage address;
    socklen_t length;
};

#define AT(where) ((const struct sockaddr *)&(where)->address), (where)->length

static inline struct where loopback(int family, uint16_t port)
{
    struct where where;
    memset(&where, 0, sizeof where);
    if (family == AF_INET6) {
        struct sockaddr_in6 *inet6 = (struct sockaddr_in6 *)&where.address;
        inet6->sin6_family = AF_INET6;
        inet6->sin6_addr = in6addr_loopback;
        inet6->sin6_port = htons(port);
        where.length = sizeof *inet6;
    } else {
        struct sockaddr_in *inet = (struct sockaddr_in *)&where.address;
        inet->sin_family = AF_INET;
        inet->sin_addr.s_addr = htonl(INADDR_LOOPBACK);
        inet->sin_port = htons(port);
        where.length = sizeof *inet;
    }
    return where;
}

/* An address in the abstract namespace that only this process uses. */
static inline struct where unix_place(const char *name)
{
    struct where where;
    memset(&where, 0, sizeof where);
    struct sockaddr_un *local = (struct sockaddr_un *)&where.address;
    local->sun_family = AF_UNIX;
    int used = snprintf(local->sun_path + 1, sizeof local->sun_path - 1, "weir %s %ld", name, (long)getpid());
    CHECK(used > 0 && (size_t)used < sizeof local->sun_path - 1);
    where.length = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + (size_t)used);
    return where;
}

static inline bool same_place(const struct where *left, const struct sockaddr *right, socklen_t length)
{
    return left->length == length && memcmp(&left->address, right, length) == 0;
}

static inline uint16_t port_of(const struct where *where)
{
    if (where->address.ss_family == AF_INET6)
        return ntohs(((const struct sockaddr_in6 *)&where->address)->sin6_port);
    return ntohs(((const struct sockaddr_in *)&where->address)->sin_port);
}

static inline struct where name_of(int fd)
{
    struct where where;
    memset(&where, 0, sizeof where);
    where.length = sizeof where.address;
    CHECK_EQ(getsockname(fd, (struct sockaddr *)&where.address, &where.length), 0);
    return where;
}

static inline bool have_ipv6(void)
{
    int fd = socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return false;
    struct where where = loopback(AF_INET6, 0);
    bool have = bind(fd, AT(&where)) == 0;
    close(fd);
    return have;
}

/* ---- plain sockets */

static inline int plain_listener(int family, int backlog, struct where *where)
{
    int fd = socket(family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    CHECK(fd >= 0);
    struct where any = family == AF_UNIX ? unix_place("plain") : loopback(family, 0);
    CHECK_EQ(bind(fd, AT(&any)), 0);
    CHECK_EQ(listen(fd, backlog), 0);
    *where = name_of(fd);
    return fd;
}

static inline int plain_accept(int listener)
{
    int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
    CHECK(fd >= 0);
    return fd;
}

static inline int plain_connect(const struct where *where)
{
    int fd = socket(where->address.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    CHECK(fd >= 0);
    CHECK_EQ(connect(fd, AT(where)), 0);
    return fd;
}

/* Two connected blocking sockets. */
static inline void plain_pair(int family, int ends[2])
{
    if (family == AF_UNIX) {
        CHECK_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
        return;
    }
    struct where where;
    int listener = plain_listener(family, 1, &where);
    ends[0] = plain_connect(&where);
    ends[1] = plain_accept(listener);
    close(listener);
    for (int i = 0, one = 1; i < 2; i++)
        CHECK_EQ(setsockopt(ends[i], IPPROTO_TCP, TCP_NODELAY, &one, sizeof one), 0);
}

static inline void send_all(int fd, const void *data, size_t length)
{
    const char *from = data;
    while (length > 0) {
        ssize_t sent = send(fd, from, length, MSG_NOSIGNAL);
        if (sent < 0 && errno == EINTR)
            continue;
        CHECK(sent > 0);
        from += sent;
        length -= (size_t)sent;
    }
}

static inline void receive_all(int fd, void *data, size_t length)
{
    char *to = data;
    while (length > 0) {
        ssize_t got = recv(fd, to, length, 0);
        if (got < 0 && errno == EINTR)
            continue;
        CHECK(got > 0);
        to += got;
        length -= (size_t)got;
    }
}

/* Reads until the end; the number of bytes. The fd blocks. */
static inline size_t receive_to_end(int fd)
{
    char buffer[16384];
    size_t total = 0;
    for (;;) {
        ssize_t got = recv(fd, buffer, sizeof buffer, 0);
        if (got < 0 && errno == EINTR)
            continue;
        CHECK(got >= 0);
        if (got == 0)
            return total;
        total += (size_t)got;
    }
}

/* Closes with a reset instead of the end of the stream. */
static inline void reset_and_close(int fd)
{
    struct linger linger = {1, 0};
    CHECK_EQ(setsockopt(fd, SOL_SOCKET, SO_LINGER, &linger, sizeof linger), 0);
    close(fd);
}

/* The sending side only: TCP drops segments that do not fit into a small receive buffer, and then waits for its
 * timers. */
static inline void small_buffers(int fd)
{
    int size = 16 * 1024;
    CHECK_EQ(setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &size, sizeof size), 0);
}

/* Until the kernel says that the fd has it: what loopback delivers is not there at once. */
static inline void await_events(int fd, short events)
{
    struct pollfd asked = {fd, events, 0};
    CHECK_EQ(poll(&asked, 1, 30000), 1);
}

/* ---- streams */

struct pair {
    weir_stream *stream; /* the library's end */
    int fd;              /* its fd, borrowed */
    int peer;            /* the other end: a plain blocking socket */
};

static inline weir_stream *adopted(weir_context *context, int fd)
{
    weir_stream *stream = new_stream(context);
    CHECK_OK(weir_stream_adopt(stream, fd));
    return stream;
}

static inline struct pair new_pair(weir_context *context, int family)
{
    int ends[2];
    plain_pair(family, ends);
    struct pair pair = {adopted(context, ends[0]), ends[0], ends[1]};
    return pair;
}

static inline struct pair new_small_pair(weir_context *context, int family)
{
    int ends[2];
    plain_pair(family, ends);
    small_buffers(ends[0]);
    small_buffers(ends[1]);
    struct pair pair = {adopted(context, ends[0]), ends[0], ends[1]};
    return pair;
}

static inline void close_pair(struct pair *pair)
{
    CHECK_OK(weir_stream_close(pair->stream));
    close(pair->peer);
}

static inline bool is_unix(int fd)
{
    return name_of(fd).address.ss_family == AF_UNIX;
}

/* Writes until the socket takes no more, for good; the number of bytes. The peer does not read. */
static inline size_t fill(weir_stream *stream)
{
    static const char block[4096];
    size_t total = 0;
    int fd = -1;
    CHECK_OK(weir_stream_fd(stream, &fd));
    for (bool full = false; !full;) {
        size_t bytes = 0;
        CHECK_OK(weir_stream_try_write(stream, block, sizeof block, &bytes));
        total += bytes;
        if (bytes == 0) {
            /* TCP moves on until the peer's buffer is full too; its acknowledgements may be delayed. */
            struct pollfd asked = {fd, POLLOUT, 0};
            full = poll(&asked, 1, is_unix(fd) ? 0 : 250) == 0;
        }
    }
    return total;
}

static inline void drain(int fd, size_t length)
{
    char buffer[16384];
    while (length > 0) {
        size_t part = length < sizeof buffer ? length : sizeof buffer;
        receive_all(fd, buffer, part);
        length -= part;
    }
}

struct accepted {
    atomic_int calls, status;
    weir_stream *peer; /* the last one */
    struct where from;
};

static inline void accept_done(int status, weir_stream *peer, const struct sockaddr *address, socklen_t length,
                               void *user)
{
    struct accepted *accepted = user;
    CHECK(!net_starting);
    if (status == 0) {
        CHECK(peer != NULL && address != NULL);
        CHECK(length <= sizeof accepted->from.address);
        memset(&accepted->from, 0, sizeof accepted->from);
        memcpy(&accepted->from.address, address, length);
        accepted->from.length = length;
    } else {
        CHECK(peer == NULL && address == NULL);
    }
    accepted->peer = peer;
    atomic_store(&accepted->status, status);
    atomic_fetch_add(&accepted->calls, 1);
}

static inline weir_acceptor *new_acceptor(weir_context *context)
{
    weir_acceptor *acceptor = NULL;
    CHECK_OK(weir_acceptor_create(context, &acceptor));
    CHECK(acceptor != NULL);
    return acceptor;
}

static inline weir_acceptor *new_listener(weir_context *context, int family, int backlog, struct where *where)
{
    weir_acceptor *acceptor = new_acceptor(context);
    struct where any = family == AF_UNIX ? unix_place("listener") : loopback(family, 0);
    CHECK_OK(weir_acceptor_bind(acceptor, AT(&any)));
    CHECK_OK(weir_acceptor_listen(acceptor, backlog));
    memset(where, 0, sizeof *where);
    CHECK_OK(weir_acceptor_local_address(acceptor, &where->address, &where->length));
    return acceptor;
}

/* Two streams of the context, connected through it. */
static inline void connected_streams(weir_context *context, int family, weir_stream *ends[2])
{
    struct where where;
    weir_acceptor *acceptor = new_listener(context, family, 1, &where);
    struct accepted accepted = {0};
    struct counter connected = {0};
    ends[0] = new_stream(context);
    START(weir_acceptor_accept(acceptor, accept_done, &accepted));
    START(weir_stream_connect(ends[0], AT(&where), done, &connected));
    RUN_UNTIL(context, atomic_load(&accepted.calls) == 1 && atomic_load(&connected.calls) == 1);
    CHECK_OK(atomic_load(&accepted.status));
    CHECK_OK(atomic_load(&connected.status));
    ends[1] = accepted.peer;
    CHECK_OK(weir_acceptor_close(acceptor));
}

/* ---- one operation of any kind, so that a case can go through all of them */

enum kind {
    READ_SOME,
    READ,
    READV_SOME,
    READV,
    WAIT_READ,
    WRITE_SOME,
    WRITE,
    WRITEV_SOME,
    WRITEV,
    WAIT_WRITE,
    KINDS
};

static inline bool is_read(enum kind kind)
{
    return kind <= WAIT_READ;
}

static inline bool is_wait(enum kind kind)
{
    return kind == WAIT_READ || kind == WAIT_WRITE;
}

struct operation {
    struct counter counter;
    struct iovec vectors[2];
    char data[8];
};

#define UNTOUCHED "????????"

/* Eight bytes of data; a vectored one has them in two buffers. */
static inline int begin(enum kind kind, weir_stream *stream, struct operation *operation)
{
    memset(operation, 0, sizeof *operation);
    memcpy(operation->data, is_read(kind) ? UNTOUCHED : "12345678", 8);
    operation->vectors[0] = (struct iovec){operation->data, 3};
    operation->vectors[1] = (struct iovec){operation->data + 3, 5};
    switch (kind) {
    case READ_SOME:
        return weir_stream_read_some(stream, operation->data, 8, io_done, &operation->counter);
    case READ:
        return weir_stream_read(stream, operation->data, 8, io_done, &operation->counter);
    case READV_SOME:
        return weir_stream_readv_some(stream, operation->vectors, 2, io_done, &operation->counter);
    case READV:
        return weir_stream_readv(stream, operation->vectors, 2, io_done, &operation->counter);
    case WAIT_READ:
        return weir_stream_wait(stream, WEIR_WAIT_READ, done, &operation->counter);
    case WRITE_SOME:
        return weir_stream_write_some(stream, operation->data, 8, io_done, &operation->counter);
    case WRITE:
        return weir_stream_write(stream, operation->data, 8, io_done, &operation->counter);
    case WRITEV_SOME:
        return weir_stream_writev_some(stream, operation->vectors, 2, io_done, &operation->counter);
    case WRITEV:
        return weir_stream_writev(stream, operation->vectors, 2, io_done, &operation->counter);
    default:
        return weir_stream_wait(stream, WEIR_WAIT_WRITE, done, &operation->counter);
    }
}

static inline size_t bytes_of(enum kind kind)
{
    return is_wait(kind) ? 0 : 8;
}

/* A pair on which an operation of this kind can't complete. */
static inline struct pair blocked_pair(weir_context *context, int family, enum kind kind, size_t *filled)
{
    struct pair pair = new_small_pair(context, family);
    *filled = is_read(kind) ? 0 : fill(pair.stream);
    return pair;
}

/* Lets an operation of a blocked pair complete. */
static inline void unblock(struct pair *pair, enum kind kind, size_t filled)
{
    if (is_read(kind))
        send_all(pair->peer, "abcdefgh", 8);
    else
        drain(pair->peer, filled);
}

static inline void set_fd_limit(rlim_t limit)
{
    struct rlimit now;
    CHECK_EQ(getrlimit(RLIMIT_NOFILE, &now), 0);
    now.rlim_cur = limit;
    CHECK_EQ(setrlimit(RLIMIT_NOFILE, &now), 0);
}

/* The limit at which no further fd can be made: the lowest free number. */
static inline rlim_t no_more_fds(void)
{
    int lowest = open("/dev/null", O_RDONLY | O_CLOEXEC);
    CHECK(lowest >= 0);
    close(lowest);
    return (rlim_t)lowest;
}

#endif
