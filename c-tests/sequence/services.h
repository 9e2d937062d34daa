/* The calls of each service. Included by calls.h. */
#ifndef SERVICES_H
#define SERVICES_H

static socklen_t an_address(struct sockaddr_storage *address)
{
    memset(address, 0, sizeof *address);
    struct sockaddr_in *in = (struct sockaddr_in *)address;
    in->sin_family = AF_INET;
    in->sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t length = sizeof *in;
    struct thing *acceptor = one_in(2) ? find(ACCEPTOR) : NULL;
    if (acceptor != NULL && weir_acceptor_local_address(acceptor->handle, address, &length) == 0)
        return length;
    in->sin_port = htons((uint16_t)(one_in(2) ? 1 : 0)); /* nobody listens */
    return one_in(20) ? 3 : (socklen_t)sizeof *in;
}

/* ---- streams */

static void keep_stream(void)
{
    weir_context *context = pick_context();
    weir_stream *stream = NULL, *other = NULL;
    if (one_in(4)) {
        if (DO(weir_stream_pair, context, context, &stream, &other) == 0) {
            keep(STREAM, stream, context);
            keep(STREAM, other, context);
        }
        return;
    }
    if (DO(weir_stream_create, context, context, &stream) != 0)
        return;
    keep(STREAM, stream, context);
    if (one_in(4))
        return;
    int fd = a_socket(SOCK_STREAM);
    if (fd >= 0 && DO(weir_stream_adopt, stream, stream, fd) != 0)
        close(fd);
}

static void an_accepted_stream(int status, weir_stream *peer, const struct sockaddr *address, socklen_t length, void *user)
{
    (void)address;
    (void)length;
    if (peer != NULL)
        keep(STREAM, peer, NULL);
    op_completed(user, status);
    more_calls();
}

/* Two parts of a buffer; the array lies behind them. */
static struct iovec *parts_of(char *data, size_t length)
{
    struct iovec *parts = (struct iovec *)(void *)(data + ((length + 15) & ~(size_t)15));
    parts[0] = (struct iovec){data, length / 3};
    parts[1] = (struct iovec){data + length / 3, length - length / 3};
    return parts;
}

static void *room(size_t length)
{
    char *data = calloc(1, length + 64);
    CHECK(data != NULL);
    for (size_t i = 7; i < length; i += 40)
        data[i] = '\n';
    return data;
}

static void read_until_newline(weir_stream *stream, size_t length)
{
    char *data = room(length + sizeof(weir_until));
    weir_until *until = (weir_until *)(void *)data;
    *until = (weir_until){.struct_size = sizeof *until, .data = data + sizeof *until, .capacity = length,
                          .delimiter = "\n", .delimiter_length = 1};
    BEGIN(weir_stream_read_until, stream, false, data, stream, until, MAYBE(on_io), OP);
}

static void connect_to_several(weir_stream *stream)
{
    struct sockaddr_storage address[2];
    socklen_t lengths[2] = {an_address(&address[0]), an_address(&address[1])};
    const struct sockaddr *addresses[2] = {(struct sockaddr *)&address[0], (struct sockaddr *)&address[1]};
    weir_connect_options options = {.struct_size = sizeof options, .stagger_ns = (int64_t)below(1000000),
                                    .attempt_timeout_ns = some_time()};
    BEGIN(weir_stream_connect_list, stream, false, NULL, stream, addresses, lengths, below(3),
          one_in(2) ? NULL : &options, MAYBE(on_status), OP);
}

static int file = -1;

static void send_a_file_open(void)
{
    if (file < 0)
        file = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
}

static void send_a_file(weir_stream *stream)
{
    BEGIN(weir_stream_send_file, stream, false, NULL, stream, file, (int64_t)below(1000), some_length(), MAYBE(on_io), OP);
}

static void fds_of_a_stream(weir_stream *stream, size_t length)
{
    char *data = room(length + 64);
    if (one_in(2)) {
        int *fds = (int *)(void *)data;
        fds[0] = 0;
        BEGIN(weir_stream_write_fds, stream, false, data, stream, data + 16, 1 + length, fds, 1, MAYBE(on_io), OP);
    } else { /* with no room for fds they are closed by the library */
        size_t *count = (size_t *)(void *)data;
        *count = 0;
        BEGIN(weir_stream_read_fds, stream, false, data, stream, data + 16, 1 + length, NULL, count, MAYBE(on_io), OP);
    }
}

static void a_stream_call(void)
{
    if (find(STREAM) == NULL || one_in(12)) {
        keep_stream();
        return;
    }
    weir_stream *stream = pick(STREAM);
    struct sockaddr_storage address;
    socklen_t address_length = sizeof address;
    size_t length = some_length(), count = 0;
    char small[64] = "";
    int value = 0, fd = -1;
    char *data;
    switch (below(34)) {
    case 0:
    case 1:
    case 2: data = room(length); BEGIN(weir_stream_read_some, stream, false, data, stream, data, length, MAYBE(on_io), OP); break;
    case 3: data = room(length); BEGIN(weir_stream_read, stream, false, data, stream, data, length, MAYBE(on_io), OP); break;
    case 4:
    case 5:
    case 6: data = room(length); BEGIN(weir_stream_write, stream, false, data, stream, data, length, MAYBE(on_io), OP); break;
    case 7: data = room(length); BEGIN(weir_stream_write_some, stream, false, data, stream, data, length, MAYBE(on_io), OP); break;
    case 8: data = room(length); BEGIN(weir_stream_readv, stream, false, data, stream, parts_of(data, length), 2, MAYBE(on_io), OP); break;
    case 9: data = room(length); BEGIN(weir_stream_writev, stream, false, data, stream, parts_of(data, length), 2, MAYBE(on_io), OP); break;
    case 10: data = room(length); BEGIN(weir_stream_readv_some, stream, false, data, stream, parts_of(data, length), 2, MAYBE(on_io), OP); break;
    case 11: data = room(length); BEGIN(weir_stream_writev_some, stream, false, data, stream, parts_of(data, length), 2, MAYBE(on_io), OP); break;
    case 12: read_until_newline(stream, length); break;
    case 13: BEGIN(weir_stream_wait, stream, false, NULL, stream, (int)below(4), MAYBE(on_status), OP); break;
    case 14: BEGIN(weir_stream_read_each, stream, true, NULL, stream, MAYBE(on_buffer), OP); break;
    case 15: data = room(length); BEGIN(weir_stream_send, stream, false, data, stream, data, length, MAYBE(on_io), OP); break;
    case 16: send_a_file(stream); break;
    case 17:
        address_length = an_address(&address);
        BEGIN(weir_stream_connect, stream, false, NULL, stream, (struct sockaddr *)&address, address_length, MAYBE(on_status), OP);
        break;
    case 18: connect_to_several(stream); break;
    case 19: fds_of_a_stream(stream, length); break;
    case 20: DO(weir_stream_set_timeout, stream, stream, (int)below(5), some_time()); break;
    case 21: DO(weir_stream_try_read, stream, stream, small, sizeof small, &count); break;
    case 22: DO(weir_stream_try_write, stream, stream, small, sizeof small, &count); break;
    case 23: DO(weir_stream_shutdown, stream, stream, (int)below(4)); break;
    case 24: DO(weir_stream_local_address, stream, stream, &address, &address_length); break;
    case 25: DO(weir_stream_remote_address, stream, stream, &address, &address_length); break;
    case 26: DO(weir_stream_get, stream, stream, (int)below(30), &value); break;
    case 27: DO(weir_stream_set, stream, stream, (int)below(30), (int)below(3)); break;
    case 28:
        DO(weir_stream_queued, stream, stream, &count);
        DO(weir_stream_send_copy, stream, stream, flood, 1 + below(sizeof flood), &count);
        break;
    case 29:
        if (one_in(4))
            DO(weir_stream_set_high_water, stream, stream, 0, 0, NULL, NULL);
        else
            BEGIN(weir_stream_set_high_water, stream, true, NULL, stream, 1 + below(3) * 1000, 0, on_io, OP);
        break;
    case 30:
        if (DO(weir_stream_release, stream, stream, &fd) == 0) {
            op_release(stream, me, 0);
            close(fd);
        }
        break;
    case 31: DO(weir_stream_open, stream, stream, one_in(2) ? AF_INET : AF_UNIX); break;
    case 32:
        fd = a_socket(SOCK_STREAM);
        if (fd >= 0 && DO(weir_stream_adopt, stream, stream, fd) != 0)
            close(fd);
        break;
    default:
        if (DO(weir_stream_cancel, stream, stream, &count) == 0)
            op_release(stream, me, 0);
        break;
    }
}

/* ---- acceptors */

static void an_acceptor_call(void)
{
    weir_acceptor *acceptor = pick(ACCEPTOR);
    struct sockaddr_storage address;
    socklen_t length = sizeof address;
    size_t count = 0;
    int value, fd;
    if (find(ACCEPTOR) == NULL || one_in(10)) {
        weir_context *context = pick_context();
        struct sockaddr_in in = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
        if (DO(weir_acceptor_create, context, context, &acceptor) != 0)
            return;
        keep(ACCEPTOR, acceptor, context);
        DO(weir_acceptor_bind, acceptor, acceptor, (struct sockaddr *)&in, sizeof in);
        DO(weir_acceptor_listen, acceptor, acceptor, (int)below(10));
        return;
    }
    switch (below(10)) {
    case 0:
    case 1: BEGIN(weir_acceptor_accept, acceptor, false, NULL, acceptor, MAYBE(an_accepted_stream), OP); break;
    case 2: BEGIN(weir_acceptor_accept_each, acceptor, true, NULL, acceptor, MAYBE(an_accepted_stream), OP); break;
    case 3: BEGIN(weir_acceptor_wait, acceptor, false, NULL, acceptor, MAYBE(on_status), OP); break;
    case 4: /* a client */
        if (acceptor == NULL || weir_acceptor_local_address(acceptor, &address, &length) != 0)
            break;
        fd = socket(address.ss_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        if (connect(fd, (struct sockaddr *)&address, length) == 0 || errno == EINPROGRESS)
            keep_peer(fd);
        else
            close(fd);
        break;
    case 5: DO(weir_acceptor_local_address, acceptor, acceptor, &address, &length); break;
    case 6: DO(weir_acceptor_get, acceptor, acceptor, (int)below(30), &value); break;
    case 7: DO(weir_acceptor_fd, acceptor, acceptor, &fd); break;
    case 8: DO(weir_acceptor_cancel, acceptor, acceptor, &count); break;
    default:
        if (DO(weir_acceptor_release, acceptor, acceptor, &fd) == 0)
            close(fd);
        break;
    }
}

/* ---- datagrams */

static void a_batch(weir_datagram *datagram, bool sending)
{
    enum { COUNT = 4, EACH = 600 };
    size_t count = below(COUNT + 1);
    char *data = room(COUNT * (sizeof(weir_datagram_message) + EACH));
    weir_datagram_message *messages = (weir_datagram_message *)(void *)data;
    char *bytes = data + COUNT * sizeof *messages;
    for (size_t i = 0; i < COUNT; i++)
        messages[i] = (weir_datagram_message){.data = bytes + i * EACH, .length = below(EACH)};
    if (sending)
        BEGIN(weir_datagram_send_batch, datagram, false, data, datagram, messages, count, MAYBE(on_io), OP);
    else
        BEGIN(weir_datagram_receive_batch, datagram, false, data, datagram, messages, count, MAYBE(on_io), OP);
}

static void a_datagram_call(void)
{
    weir_datagram *datagram = pick(DATAGRAM), *other = NULL;
    weir_context *context = pick_context();
    struct sockaddr_storage address;
    socklen_t address_length = sizeof address;
    size_t length = below(700), count = 0, bytes = 0;
    char small[64], *data;
    int fd;
    if (find(DATAGRAM) == NULL || one_in(10)) {
        if (one_in(2)) {
            if (DO(weir_datagram_pair, context, context, &datagram, &other) == 0) {
                keep(DATAGRAM, datagram, context);
                keep(DATAGRAM, other, context);
            }
            return;
        }
        if (DO(weir_datagram_create, context, context, &datagram) != 0)
            return;
        keep(DATAGRAM, datagram, context);
        fd = a_socket(SOCK_DGRAM);
        if (fd >= 0 && DO(weir_datagram_adopt, datagram, datagram, fd) != 0)
            close(fd);
        return;
    }
    switch (below(20)) {
    case 0:
    case 1: data = room(length); BEGIN(weir_datagram_receive, datagram, false, data, datagram, data, length, MAYBE(on_io), OP); break;
    case 2:
    case 3: data = room(length); BEGIN(weir_datagram_send, datagram, false, data, datagram, data, length, MAYBE(on_io), OP); break;
    case 4:
        data = room(length + sizeof address + 32);
        BEGIN(weir_datagram_receive_from, datagram, false, data, datagram, data + sizeof address + 32, length,
              (struct sockaddr_storage *)(void *)data, (socklen_t *)(void *)(data + sizeof address), MAYBE(on_io), OP);
        break;
    case 5:
        data = room(length);
        address_length = an_address(&address);
        BEGIN(weir_datagram_send_to, datagram, false, data, datagram, data, length, (struct sockaddr *)&address, address_length, MAYBE(on_io), OP);
        break;
    case 6: a_batch(datagram, true); break;
    case 7: a_batch(datagram, false); break;
    case 8: BEGIN(weir_datagram_receive_each, datagram, true, NULL, datagram, ((me->record = true), OP)); break;
    case 9: BEGIN(weir_datagram_wait, datagram, false, NULL, datagram, (int)below(4), MAYBE(on_status), OP); break;
    case 10: DO(weir_datagram_try_receive, datagram, datagram, small, sizeof small, &count, &bytes); break;
    case 11: DO(weir_datagram_try_send, datagram, datagram, small, sizeof small, &count); break;
    case 12: DO(weir_datagram_local_address, datagram, datagram, &address, &address_length); break;
    case 13: DO(weir_datagram_disconnect, datagram, datagram); break;
    case 14: DO(weir_datagram_open, datagram, datagram, AF_INET); break;
    case 15:
        address_length = an_address(&address);
        DO(weir_datagram_bind, datagram, datagram, (struct sockaddr *)&address, address_length);
        break;
    case 16:
        address_length = an_address(&address);
        DO(weir_datagram_connect, datagram, datagram, (struct sockaddr *)&address, address_length);
        break;
    case 17: {
        int value;
        DO(weir_datagram_get, datagram, datagram, (int)below(30), &value);
        break;
    }
    case 18:
        if (DO(weir_datagram_release, datagram, datagram, &fd) == 0) {
            op_release(datagram, me, 0);
            close(fd);
        }
        break;
    default:
        if (DO(weir_datagram_cancel, datagram, datagram, &count) == 0)
            op_release(datagram, me, 0);
        break;
    }
}

/* ---- timers */

static void a_timer_call(void)
{
    weir_timer *timer = pick(TIMER);
    size_t count = 0;
    int64_t time;
    if (find(TIMER) == NULL || one_in(10)) {
        weir_context *context = pick_context();
        if (DO(weir_timer_create, context, context, &timer) == 0)
            keep(TIMER, timer, context);
        return;
    }
    switch (below(10)) {
    case 0:
    case 1: BEGIN(weir_timer_wait, timer, false, NULL, timer, MAYBE(on_status), OP); break;
    case 2: BEGIN(weir_timer_start, timer, true, NULL, timer, some_time(), 1 + (int64_t)below(1000000), MAYBE(on_status), OP); break;
    case 3: DO(weir_timer_stop, timer, timer, &count); break;
    case 4: DO(weir_timer_expires_at, timer, timer, some_time()); break;
    case 5:
    case 6: DO(weir_timer_expires_after, timer, timer, some_time()); break;
    case 7: DO(weir_timer_cancel_one, timer, timer, &count); break;
    case 8: DO(weir_timer_remaining, timer, timer, &time); break;
    default: DO(weir_timer_cancel, timer, timer, &count); break;
    }
}

/* ---- watches: on fds of the driver's, of which some are closed already */

static int some_fd(void)
{
    if (one_in(8))
        return -1 + (int)below(200); /* also fds of the library's, and none */
    return me->peer_count == 0 ? 0 : me->peers[below(me->peer_count)];
}

static void a_watch_call(void)
{
    weir_watch *watch = pick(WATCH);
    size_t count = 0;
    int fd;
    unsigned events = (unsigned)below(64);
    if (find(WATCH) == NULL || one_in(8)) {
        weir_context *context = pick_context();
        if (DO(weir_watch_create, context, context, some_fd(), &watch) == 0)
            keep(WATCH, watch, context);
        return;
    }
    switch (below(10)) {
    case 0:
    case 1: BEGIN(weir_watch_start, watch, true, NULL, watch, events, WEIR_WATCH_PERSISTENT | (unsigned)below(2), some_time(), MAYBE(on_value), OP); break;
    case 2:
    case 3: BEGIN(weir_watch_start, watch, false, NULL, watch, events, (unsigned)below(2), some_time(), MAYBE(on_value), OP); break;
    case 4: DO(weir_watch_change, watch, watch, events); break;
    case 5: DO(weir_watch_feed, watch, watch, events); break;
    case 6: DO(weir_watch_set_fd, watch, watch, some_fd()); break;
    case 7: DO(weir_watch_set_timeout, watch, watch, some_time()); break;
    case 8: DO(weir_watch_fd, watch, watch, &fd); break;
    default: DO(weir_watch_stop, watch, watch, &count); break;
    }
}

/* ---- strands, hooks */

static void a_strand_or_hook_call(void)
{
    weir_context *context = pick_context();
    weir_strand *strand = pick(STRAND);
    weir_hook *hook = pick(HOOK);
    size_t count = 0;
    switch (below(10)) {
    case 0:
        if (DO(weir_strand_create, context, context, &strand) == 0)
            keep(STRAND, strand, context);
        break;
    case 1:
    case 2: BEGIN(weir_strand_post, strand, false, NULL, strand, MAYBE(on_status), OP); break;
    case 3: BEGIN(weir_strand_dispatch, strand, false, NULL, strand, on_status, OP); break;
    case 4: DO(weir_strand_running_in_this_thread, strand, strand); break;
    case 5: DO(weir_strand_context, strand, strand, &context); break;
    case 6:
        if (DO(weir_hook_create, context, context, (int)below(5), &hook) == 0)
            keep(HOOK, hook, context);
        break;
    case 7: BEGIN(weir_hook_start, hook, true, NULL, hook, on_status, OP); break;
    default: DO(weir_hook_stop, hook, hook, &count); break;
    }
}

/* ---- signals, names */

static void a_signal_or_name_call(void)
{
    weir_context *context = pick_context();
    weir_signals *signals = pick(SIGNALS);
    weir_resolver *resolver = pick(RESOLVER);
    struct sockaddr_storage address;
    socklen_t length;
    size_t count = 0;
    int signo = one_in(2) ? SIGUSR1 : one_in(4) ? (int)below(70) : SIGUSR2;
    bool fatal = signo != SIGUSR1 && signo != SIGUSR2;
    switch (below(13)) {
    case 0:
        if (DO(weir_signals_create, context, context, &signals) == 0)
            keep(SIGNALS, signals, context);
        break;
    case 1:
    case 2:
        if (!fatal || one_in(2))
            DO(weir_signals_add, signals, signals, fatal ? 0 : signo, 0);
        break;
    case 3: DO(weir_signals_remove, signals, signals, signo); break;
    case 4:
    case 5: BEGIN(weir_signals_wait, signals, false, NULL, signals, MAYBE(on_value), OP); break;
    case 6: raise(one_in(2) ? SIGUSR1 : SIGUSR2); break;
    case 7: DO(weir_signals_arrived, signals, signals, &count); break;
    case 8: DO(weir_signals_cancel, signals, signals, &count); break;
    case 9:
        if (DO(weir_resolver_create, context, context, &resolver) == 0)
            keep(RESOLVER, resolver, context);
        break;
    case 10: BEGIN(weir_resolver_resolve, resolver, false, NULL, resolver, one_in(4) ? "::1" : "127.0.0.1", one_in(4) ? NULL : "80", NULL, MAYBE(on_resolved), OP); break;
    case 11:
        length = an_address(&address);
        BEGIN(weir_resolver_reverse, resolver, false, NULL, resolver, (struct sockaddr *)&address, length, WEIR_REVERSE_NUMERIC_HOST | WEIR_REVERSE_NUMERIC_SERVICE, MAYBE(on_names), OP);
        break;
    default: DO(weir_resolver_cancel, resolver, resolver, &count); break;
    }
}

/* ---- jobs, processes */

static int work(void *argument)
{
    usleep((useconds_t)(uintptr_t)argument);
    return 5;
}

static void a_job_or_process_call(void)
{
    weir_context *context = pick_context();
    weir_process *process = pick(PROCESS);
    weir_job *job = NULL;
    struct rusage usage;
    size_t count = 0;
    pid_t pid;
    switch (below(40)) {
    case 0: { /* dear */
        pid = fork();
        if (pid == 0)
            _exit(3);
        if (pid > 0 && DO(weir_process_create, context, context, pid, &process) == 0)
            keep(PROCESS, process, context);
        break;
    }
    case 1:
    case 2:
    case 3: BEGIN(weir_process_wait, process, false, NULL, process, MAYBE(on_value), OP); break;
    case 4: DO(weir_process_pid, process, process, &pid); break;
    case 5: DO(weir_process_usage, process, process, &usage); break;
    case 6: DO(weir_process_kill, process, process, 0); break;
    case 7: DO(weir_process_cancel, process, process, &count); break;
    case 8:
    case 9:
    case 10:
    case 11:
        BEGIN(weir_job_start, context, false, NULL, context, work, (void *)(uintptr_t)below(300), &job, MAYBE(on_value), OP);
        keep(JOB, job, context);
        break;
    case 12: DO(weir_job_cancel, context, pick(JOB), &count); break;
    default: a_context_call(); break;
    }
}

#endif
