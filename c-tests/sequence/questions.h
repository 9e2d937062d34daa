/* Calls that begin nothing: questions, options, addresses. Included by calls.h. */
#ifndef QUESTIONS_H
#define QUESTIONS_H

/* For functions that give no code: they are counted all the same. */
static int told(bool all_right)
{
    if (!all_right)
        broken("a function without an error gave nonsense");
    return 0;
}

#define ASK(function, condition)                                                                                       \
    do {                                                                                                               \
        static _Thread_local struct tally *tally_;                                                                     \
        called(&tally_, #function, NULL, told(condition));                                                             \
    } while (0)

static void a_question_of_a_stream(void)
{
    weir_stream *stream = pick(STREAM);
    struct sockaddr_storage address;
    socklen_t length = an_address(&address);
    struct iovec parts[2];
    char data[64] = "two parts", option[64];
    socklen_t option_length = sizeof option;
    size_t bytes = 0;
    int one = 1, fd;
    int32_t pid;
    uint32_t uid, gid;
    weir_context *context;
    parts[0] = (struct iovec){data, 32};
    parts[1] = (struct iovec){data + 32, 32};
    switch (below(9)) {
    case 0: DO(weir_stream_bind, stream, stream, (struct sockaddr *)&address, length); break;
    case 1: DO(weir_stream_bind_to_device, stream, stream, one_in(2) ? "lo" : ""); break;
    case 2: DO(weir_stream_context, stream, stream, &context); break;
    case 3: DO(weir_stream_fd, stream, stream, &fd); break;
    case 4: DO(weir_stream_get_option, stream, stream, SOL_SOCKET, SO_ERROR + (int)below(20), option, &option_length); break;
    case 5: DO(weir_stream_set_option, stream, stream, SOL_SOCKET, SO_KEEPALIVE, &one, sizeof one); break;
    case 6: DO(weir_stream_peer_credentials, stream, stream, &pid, &uid, &gid); break;
    case 7: DO(weir_stream_try_readv, stream, stream, parts, 2, &bytes); break;
    default: DO(weir_stream_try_writev, stream, stream, parts, 2, &bytes); break;
    }
}

static void a_question_of_an_acceptor(void)
{
    weir_acceptor *acceptor = pick(ACCEPTOR);
    char option[64];
    socklen_t length = sizeof option;
    int one = 1, fd;
    weir_context *context;
    switch (below(8)) {
    case 0:
        fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        if (one_in(2))
            listen(fd, 5);
        if (DO(weir_acceptor_adopt, acceptor, acceptor, fd) != 0)
            close(fd);
        break;
    case 1: DO(weir_acceptor_bind_to_device, acceptor, acceptor, "lo"); break;
    case 2: DO(weir_acceptor_context, acceptor, acceptor, &context); break;
    case 3: DO(weir_acceptor_get_option, acceptor, acceptor, SOL_SOCKET, SO_TYPE, option, &length); break;
    case 4: DO(weir_acceptor_open, acceptor, acceptor, AF_INET); break;
    case 5: DO(weir_acceptor_set, acceptor, acceptor, (int)below(30), (int)below(3)); break;
    case 6: DO(weir_acceptor_set_option, acceptor, acceptor, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one); break;
    default: DO(weir_acceptor_unlink, acceptor, acceptor); break;
    }
}

/* One fd in, and out of the way again where nobody took it. */
static void fds_of_a_datagram(weir_datagram *datagram)
{
    size_t length = below(300);
    char *data = room(length + 64);
    size_t *count = (size_t *)(void *)data;
    int *fds = (int *)(void *)data;
    if (one_in(2)) {
        fds[0] = 0;
        BEGIN(weir_datagram_send_fds, datagram, false, data, datagram, data + 16, length, fds, 1, MAYBE(on_io), OP);
    } else {
        *count = 0;
        BEGIN(weir_datagram_receive_fds, datagram, false, data, datagram, data + 16, length, NULL, count, MAYBE(on_io), OP);
    }
}

static void a_question_of_a_datagram(void)
{
    weir_datagram *datagram = pick(DATAGRAM);
    struct sockaddr_in group = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(0xE0000101)};
    struct sockaddr_storage address;
    socklen_t length = an_address(&address), option_length;
    char data[64] = "";
    size_t bytes = 0, count = 0;
    int one = 1, fd;
    uint32_t features;
    weir_context *context;
    option_length = sizeof data;
    switch (below(14)) {
    case 0: DO(weir_datagram_bind_to_device, datagram, datagram, "lo"); break;
    case 1: DO(weir_datagram_context, datagram, datagram, &context); break;
    case 2: DO(weir_datagram_fd, datagram, datagram, &fd); break;
    case 3: DO(weir_datagram_features, datagram, &features); break;
    case 4: DO(weir_datagram_get_option, datagram, datagram, SOL_SOCKET, SO_TYPE, data, &option_length); break;
    case 5: DO(weir_datagram_set_option, datagram, datagram, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one); break;
    case 6: DO(weir_datagram_join, datagram, datagram, (struct sockaddr *)&group, sizeof group, (uint32_t)below(2)); break;
    case 7: DO(weir_datagram_leave, datagram, datagram, (struct sockaddr *)&group, sizeof group, (uint32_t)below(2)); break;
    case 8: fds_of_a_datagram(datagram); break;
    case 9: DO(weir_datagram_remote_address, datagram, datagram, &address, &length); break;
    case 10: DO(weir_datagram_set, datagram, datagram, (int)below(30), (int)below(3)); break;
    case 11: DO(weir_datagram_try_receive_from, datagram, datagram, data, sizeof data, &address, &length, &count, &bytes); break;
    case 12: DO(weir_datagram_try_send_to, datagram, datagram, data, sizeof data, (struct sockaddr *)&address, length, &count); break;
    default: DO(weir_datagram_unlink, datagram, datagram); break;
    }
}

static void a_question_of_another(void)
{
    void *handle;
    weir_context *context;
    size_t count = 0;
    int64_t time;
    switch (below(11)) {
    case 0: handle = pick(TIMER); DO(weir_timer_context, handle, handle, &context); break;
    case 1: handle = pick(TIMER); DO(weir_timer_expiry, handle, handle, &time); break;
    case 2: handle = pick(WATCH); DO(weir_watch_context, handle, handle, &context); break;
    case 3: handle = pick(WATCH); DO(weir_watch_cancel, handle, handle, &count); break;
    case 4: handle = pick(HOOK); DO(weir_hook_context, handle, handle, &context); break;
    case 5: handle = pick(JOB); DO(weir_job_context, handle, handle, &context); break;
    case 6: handle = pick(PROCESS); DO(weir_process_context, handle, handle, &context); break;
    case 7: handle = pick(RESOLVER); DO(weir_resolver_context, handle, handle, &context); break;
    case 8: handle = pick(SIGNALS); DO(weir_signals_context, handle, handle, &context); break;
    case 9: handle = pick(SIGNALS); DO(weir_signals_clear, handle, handle); break;
    default:
        handle = pick((enum type)below(TYPES));
        ASK(weir_handle_type_name, (weir_handle_type_name(handle), true));
        break;
    }
}

static void a_question_of_nobody(void)
{
    static const char *const texts[] = {"127.0.0.1:80", "[::1]:1", "unix:@name", "nonsense", "[fe80::1%lo]:7", ""};
    weir_context *context = pick_context();
    struct sockaddr_storage address;
    socklen_t length = sizeof address;
    char text[WEIR_ADDRESS_TEXT_MAX];
    const void *base;
    size_t size, slots;
    switch (below(10)) {
    case 0:
        if (DO(weir_address_parse, NULL, texts[below(6)], &address, &length) == 0)
            DO(weir_address_format, NULL, (struct sockaddr *)&address, length, text, sizeof text);
        break;
    case 1: DO(weir_job_set_limit, NULL, (uint32_t)below(20)); break;
    case 2: DO(weir_resolver_set_limit, NULL, (uint32_t)below(20)); break;
    case 3: DO(weir_context_pool, context, context, &base, &size, &slots); break;
    case 4: ASK(weir_strerror, weir_strerror((int)below(12000) - 11000) != NULL); break;
    case 5: ASK(weir_version, weir_version() != 0); break;
    case 6: ASK(weir_version_string, weir_version_string() != NULL); break;
    case 7: ASK(weir_struct_size, weir_struct_size("weir_stats") != 0); break;
    case 8:
        if (one_in(2)) {
            DO(weir_context_wake, context, context);
        } else {
            int end;
            uint64_t values[4];
            /* Where the context ends meanwhile the number may be another file's: nothing is written to it then. */
            if (DO(weir_context_wakeup_fd, context, context, &end) == 0 && alone && write(end, "w", 1) != 1) CHECK(errno == EAGAIN);
            DO(weir_context_wakeup_values, context, context, values);
        }
        break;
    default: DO(weir_context_stopped, context, context); break;
    }
}

static void a_question(void)
{
    switch (below(5)) {
    case 0: a_question_of_a_stream(); break;
    case 1: a_question_of_an_acceptor(); break;
    case 2: a_question_of_a_datagram(); break;
    case 3: a_question_of_another(); break;
    default: a_question_of_nobody(); break;
    }
}

#endif
