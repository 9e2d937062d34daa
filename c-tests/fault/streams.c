/* Scenarios: streams and acceptors. */
#include "scenarios.h"

#include <netinet/tcp.h>

/* A connection from bind to the end, in every form of read and write. */
void tcp(void)
{
    static char in[4][64];
    static struct iovec parts[2] = {{in[1], 5}, {in[2], 15}}, from[2] = {{"0123456789", 10}, {"abcdefghij", 10}};
    weir_stream *ends[2];
    struct sockaddr_storage address;
    socklen_t length;
    two_streams(AF_INET, ends);
    TRY(weir_stream_set(ends[0], WEIR_OPT_NO_DELAY, 1));
    int value = 0;
    TRY(weir_stream_get(ends[0], WEIR_OPT_NO_DELAY, &value));
    EXPECT(value == 1);
    TRY(weir_stream_local_address(ends[0], &address, &length));
    TRY(weir_stream_remote_address(ends[0], &address, &length));

    struct op *read = START(weir_stream_read(ends[1], in[0], 10, on_io, it));
    START(weir_stream_write(ends[0], "0123456789", 10, on_io, it));
    SERVE_ALL();
    EXPECT(read->bytes == 10 && memcmp(in[0], "0123456789", 10) == 0);
    START(weir_stream_writev(ends[0], from, 2, on_io, it));
    read = START(weir_stream_readv(ends[1], parts, 2, on_io, it));
    SERVE_ALL();
    EXPECT(read->bytes == 20 && memcmp(in[2], "56789abcdefghij", 15) == 0);
    START(weir_stream_send(ends[0], "queued", 6, on_io, it));
    START(weir_stream_send(ends[0], " twice", 6, on_io, it));
    START(weir_stream_read(ends[1], in[0], 12, on_io, it));
    SERVE_ALL();
    EXPECT(memcmp(in[0], "queued twice", 12) == 0);
    START(weir_stream_write_some(ends[1], "back", 4, on_io, it));
    START(weir_stream_wait(ends[0], WEIR_WAIT_READ, on_status, it));
    SERVE_ALL();
    START(weir_stream_read_some(ends[0], in[3], 64, on_io, it));
    SERVE_ALL();
    TRY(weir_stream_shutdown(ends[0], WEIR_SHUTDOWN_WRITE));
}

/* The same end as above by AF_UNIX, with what only that has. */
void local(void)
{
    static char in[64];
    static int fds[2];
    static size_t fd_count = 2;
    weir_stream *ends[2];
    two_streams(AF_UNIX, ends);
    int32_t pid = 0;
    TRY(weir_stream_peer_credentials(ends[0], &pid, NULL, NULL));
    EXPECT(pid == getpid());
    int pipe_ends[2];
    if (pipe(pipe_ends) != 0)
        model_fail(__LINE__, "pipe", "failed", 0);
    struct op *read = START(weir_stream_read_fds(ends[1], in, sizeof in, fds, &fd_count, on_io, it));
    START(weir_stream_write_fds(ends[0], "fds", 3, pipe_ends, 2, on_io, it));
    SERVE_ALL();
    EXPECT(fd_count == 2);
    if (ENDED(read) && read->code == 0 && (read->status == 0 || read->status == -EMSGSIZE || read->status == -EMFILE))
        for (size_t i = 0; i < fd_count; i++)
            close(fds[i]);
    close(pipe_ends[0]);
    close(pipe_ends[1]);
    TRY(weir_stream_shutdown(ends[0], WEIR_SHUTDOWN_BOTH));
}

/* More than the socket takes at once, both ways of writing. */
void large(void)
{
    static char out[200000], in[sizeof out];
    weir_stream *ends[2] = {NULL, NULL};
    for (size_t i = 0; i < sizeof out; i++)
        out[i] = (char)(i * 7 + i / 256);
    TRY(weir_stream_pair(context, &ends[0], &ends[1]));
    model_keep(ends[0]);
    model_keep(ends[1]);
    int size = 8192;
    TRY(weir_stream_set(ends[0], WEIR_OPT_SEND_BUFFER, size));
    /* Byte by byte it takes a while. */
    size_t length = model_short ? 3000 : sizeof out;
    START(weir_stream_write(ends[0], out, length, on_io, it));
    START(weir_stream_read(ends[1], in, length, on_io, it));
    SERVE_ALL();
    EXPECT(memcmp(in, out, length) == 0);
    memset(in, 0, sizeof in);
    START_EACH(weir_stream_set_high_water(ends[0], length / 2, length / 4, on_io, it));
    for (int i = 0; i < 4; i++)
        START(weir_stream_send(ends[0], out + (size_t)i * (length / 4), length / 4, on_io, it));
    START(weir_stream_read(ends[1], in, length / 4 * 4, on_io, it));
    SERVE_ALL();
    EXPECT(memcmp(in, out, length / 4 * 4) == 0);
    memset(in, 0, sizeof in);
    TRY(weir_stream_send_copy(ends[0], out, length, NULL));
    START(weir_stream_read(ends[1], in, length, on_io, it));
    SERVE_ALL();
    EXPECT(memcmp(in, out, length) == 0);
}

/* What is built on reads: a delimiter, a buffer of the library's, a time limit. */
void composed(void)
{
    static char in[64];
    static struct weir_until until = {sizeof until, in, sizeof in, 0, "\r\n", 2};
    weir_stream *ends[2] = {NULL, NULL};
    TRY(weir_stream_pair(context, &ends[0], &ends[1]));
    model_keep(ends[0]);
    model_keep(ends[1]);
    TRY(weir_stream_set_timeout(ends[1], WEIR_WAIT_READ, 100 * CHECK_SECOND));
    struct op *line = START(weir_stream_read_until(ends[1], &until, on_io, it));
    START(weir_stream_write(ends[0], "a line\r\nrest", 12, on_io, it));
    SERVE_ALL();
    EXPECT(line->bytes == 8);
    struct op *each = START_EACH(weir_stream_read_each(ends[1], on_buffer, it));
    START(weir_stream_write(ends[0], "0123456789", 10, on_io, it));
    /* Byte by byte the line was read without what is behind it. */
    SERVE(each->bytes >= 22 - until.filled || ENDED(each));
    TRY(weir_stream_cancel(ends[1], NULL));
    SERVE(model_done() && ENDED(each));
    TRY(weir_stream_set_timeout(ends[1], WEIR_WAIT_READ, 1 * CHECK_MS));
    struct op *late = START(weir_stream_read_some(ends[1], in, sizeof in, on_io, it));
    SERVE(ENDED(late));
    if (model_strict && late->status != WEIR_ETIMEDOUT)
        model_fail(__LINE__, "the read that is too late", "ends otherwise", late->code ? late->code : late->status);
    size_t bytes = 0;
    TRY(weir_stream_try_write(ends[0], "try", 3, &bytes));
    bytes = 0;
    TRY(weir_stream_try_read(ends[1], in, sizeof in, &bytes));
}

/* Connections one after another. */
void accept_each(void)
{
    struct sockaddr_storage where;
    socklen_t length;
    weir_acceptor *acceptor = a_listener(AF_INET, &where, &length);
    struct op *each = START_EACH(weir_acceptor_accept_each(acceptor, on_accept, it));
    TRY(weir_context_poll(context, NULL));
    struct op *connects[3];
    for (int i = 0; i < 3; i++) {
        weir_stream *stream = a_stream();
        connects[i] = START(weir_stream_connect(stream, (struct sockaddr *)&where, length, on_status, it));
    }
    SERVE(ENDED(connects[0]) && ENDED(connects[1]) && ENDED(connects[2]) && TICKED(each, 3));
    TRY(weir_acceptor_close(acceptor));
    SERVE(ENDED(each));
    weir_acceptor *other = a_listener(AF_INET, &where, &length);
    START(weir_acceptor_wait(other, on_status, it));
    weir_stream *stream = a_stream();
    START(weir_stream_connect(stream, (struct sockaddr *)&where, length, on_status, it));
    SERVE_ALL();
}

/* Happy eyeballs: nobody listens at the first address. */
void connect_list(void)
{
    struct sockaddr_storage where;
    struct sockaddr_in nobody = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
    socklen_t length = sizeof nobody;
    /* Bound, so that nobody else takes the port, and not listening. */
    int bound = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (bound < 0 || bind(bound, (struct sockaddr *)&nobody, length) != 0 ||
        getsockname(bound, (struct sockaddr *)&nobody, &length) != 0)
        model_fail(__LINE__, "socket", "failed", 0);
    weir_acceptor *acceptor = a_listener(AF_INET, &where, &length);
    START(weir_acceptor_accept(acceptor, on_accept, it));
    const struct sockaddr *addresses[2] = {(struct sockaddr *)&nobody, (struct sockaddr *)&where};
    socklen_t lengths[2] = {length, length};
    weir_stream *stream = a_stream();
    START(weir_stream_connect_list(stream, addresses, lengths, 2, NULL, on_status, it));
    SERVE_ALL();
    START(weir_stream_write(stream, "x", 1, on_io, it));
    SERVE_ALL();
    close(bound);
}

void send_file(void)
{
    static char in[5000];
    int file = memfd_create("weir", MFD_CLOEXEC);
    size_t length = model_short ? 500 : sizeof in;
    if (file < 0 || ftruncate(file, (off_t)length) != 0)
        model_fail(__LINE__, "memfd_create", "failed", 0);
    weir_stream *ends[2] = {NULL, NULL};
    TRY(weir_stream_pair(context, &ends[0], &ends[1]));
    model_keep(ends[0]);
    model_keep(ends[1]);
    START(weir_stream_send_file(ends[0], file, 0, length, on_io, it));
    START(weir_stream_read(ends[1], in, length, on_io, it));
    SERVE_ALL();
    weir_handle_close(ends[1]);
    START(weir_stream_send_file(ends[0], file, 0, length, on_io, it));
    SERVE_ALL();
    close(file);
}

/* An fd that comes from the program, and goes back to it. */
void adopted(void)
{
    static char in[8];
    int plain[2], fd = -1;
    if (socketpair(AF_UNIX, SOCK_STREAM, 0, plain) != 0)
        model_fail(__LINE__, "socketpair", "failed", 0);
    weir_stream *stream = a_stream();
    if (TRY(weir_stream_adopt(stream, plain[0])) != 0)
        close(plain[0]); /* still ours */
    struct op *read = START(weir_stream_read_some(stream, in, sizeof in, on_io, it));
    if (read->code == 0 && send(plain[1], "x", 1, MSG_NOSIGNAL) != 1)
        model_fail(__LINE__, "send", "failed", 0);
    SERVE_ALL();
    EXPECT(read->bytes == 1);
    if (TRY(weir_stream_release(stream, &fd)) == 0)
        close(fd);
    close(plain[1]);
    SERVE_ALL();

    int listener = socket(AF_INET, SOCK_STREAM, 0);
    struct sockaddr_in inet = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
    if (listener < 0 || bind(listener, (struct sockaddr *)&inet, sizeof inet) != 0 || listen(listener, 4) != 0)
        model_fail(__LINE__, "socket", "failed", 0);
    weir_acceptor *acceptor = NULL;
    TRY(weir_acceptor_create(context, &acceptor));
    model_keep(acceptor);
    if (TRY(weir_acceptor_adopt(acceptor, listener)) != 0)
        close(listener);
    struct op *accept = START(weir_acceptor_accept(acceptor, on_accept, it));
    weir_stream *opened = a_stream();
    TRY(weir_stream_open(opened, AF_INET));
    TRY(weir_stream_bind(opened, (struct sockaddr *)&inet, sizeof inet));
    struct sockaddr_storage where;
    socklen_t length = 0;
    if (TRY(weir_acceptor_local_address(acceptor, &where, &length)) == 0)
        START(weir_stream_connect(opened, (struct sockaddr *)&where, length, on_status, it));
    else
        TRY(weir_acceptor_cancel(acceptor, NULL));
    SERVE_ALL();
    SERVE(ENDED(accept));
}

/* A path in the file system, taken away again. */
void path(void)
{
    struct sockaddr_un where = {.sun_family = AF_UNIX};
    snprintf(where.sun_path, sizeof where.sun_path, "/tmp/weir-fault-%ld", (long)getpid());
    weir_acceptor *acceptor = NULL;
    TRY(weir_acceptor_create(context, &acceptor));
    model_keep(acceptor);
    TRY(weir_acceptor_bind(acceptor, (struct sockaddr *)&where, sizeof where));
    TRY(weir_acceptor_listen(acceptor, 0));
    weir_stream *stream = a_stream();
    START(weir_stream_connect(stream, (struct sockaddr *)&where, sizeof where, on_status, it));
    START(weir_acceptor_accept(acceptor, on_accept, it));
    SERVE_ALL();
    TRY(weir_acceptor_unlink(acceptor));
    unlink(where.sun_path);
}

/* Everything pending at the end: closed by the model, and by destruction. */
void pending(void)
{
    static char in[2][16];
    struct sockaddr_storage where;
    socklen_t length;
    weir_stream *ends[2] = {NULL, NULL};
    weir_acceptor *acceptor = a_listener(AF_INET, &where, &length);
    START(weir_acceptor_accept(acceptor, on_accept, it));
    TRY(weir_stream_pair(context, &ends[0], &ends[1]));
    model_keep(ends[0]);
    model_keep(ends[1]);
    START(weir_stream_read(ends[0], in[0], 16, on_io, it));
    START(weir_stream_read_some(ends[1], in[1], 16, on_io, it));
    weir_timer *timer = a_timer(100 * CHECK_SECOND);
    START(weir_timer_wait(timer, on_status, it));
    TRY(weir_context_poll(context, NULL));
    TRY(weir_stream_cancel(ends[0], NULL));
    TRY(weir_stream_close(ends[1]));
    TRY(weir_context_poll(context, NULL));
}
