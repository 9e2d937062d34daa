/* Every function of the header with every kind of bad input. The table has one row for each function; the case
 * every_function_is_in_the_table fails when the library has a function that is not in it. */
#include "net.h"

#ifndef WEIR_SYMBOLS_FILE
#error "WEIR_SYMBOLS_FILE is the path of the list of exported functions"
#endif

enum { NOTHING, CONTEXT, TIMER, STREAM, ACCEPTOR, HANDLES };

/* A context with one of everything. The stream is connected, the acceptor listens, the timer never expires. */
struct fixture {
    weir_context *context;
    weir_timer *timer;
    weir_stream *stream, *empty_stream;
    weir_acceptor *acceptor, *empty_acceptor;
    int peer;
    struct where where;
};

/* No callback may come from a call that has failed. */
static atomic_int unexpected;

static void surprised(int status, void *user)
{
    (void)status;
    (void)user;
    unexpected++;
}

static void surprised_io(int status, size_t bytes, void *user)
{
    (void)bytes;
    surprised(status, user);
}

static void surprised_accept(int status, weir_stream *peer, const struct sockaddr *address, socklen_t length,
                             void *user)
{
    (void)address;
    (void)length;
    if (status == 0)
        CHECK_OK(weir_stream_close(peer));
    surprised(status, user);
}

/* Where the calls write their results; all of it keeps its pattern where a call fails. */
static union {
    void *pointer;
    size_t size;
    int number;
    int64_t time;
    struct sockaddr_storage address;
    char text[WEIR_ADDRESS_TEXT_MAX];
    unsigned char bytes[WEIR_ADDRESS_TEXT_MAX];
} out;
static socklen_t out_length;
static char buffer[64];
static struct iovec vectors[2] = {{buffer, 3}, {buffer + 3, 5}};
static struct where target; /* of connects and binds */

static void prepare(void)
{
    memset(&out, 0xA5, sizeof out);
    memset(buffer, 0x5A, sizeof buffer);
    out_length = 4;
}

static void check_nothing_written(const char *name)
{
    for (size_t i = 0; i < sizeof out; i++) {
        if (out.bytes[i] != 0xA5)
            check_fail(__FILE__, __LINE__, "%s failed and wrote a result", name);
    }
    for (size_t i = 0; i < sizeof buffer; i++) {
        if (buffer[i] != 0x5A)
            check_fail(__FILE__, __LINE__, "%s failed and wrote to the buffer", name);
    }
    CHECK_EQ(out_length, 4);
}

/* ---- one call of each function: with good arguments, but for the handle, which is given */

#define CALL(name, ...)                                                                                                \
    static int call_##name(void *handle)                                                                               \
    {                                                                                                                  \
        (void)handle;                                                                                                  \
        return weir_##name(__VA_ARGS__);                                                                               \
    }
#define OUT(type) ((type *)(void *)&out)

CALL(version_string, ) /* returns a pointer: see below */
