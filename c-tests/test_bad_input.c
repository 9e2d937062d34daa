/* Every function of the header with every kind of bad input. The table has one row for each function; the case
 * every_function_is_in_the_table fails when the library has a function that is not in it. */
#include "dgram.h"

#include <net/if.h>

#ifndef WEIR_SYMBOLS_FILE
#error "WEIR_SYMBOLS_FILE is the path of the list of exported functions"
#endif

/* ANY: every type but a context; a stream stands for them. */
enum { NOTHING, CONTEXT, TIMER, STREAM, ACCEPTOR, STRAND, HOOK, SIGNALS, DATAGRAM, WATCH, PROCESS, JOB, RESOLVER, HANDLES, ANY };

/* A context with one of everything. The stream is connected, the acceptor listens, the timer never expires, the
 * datagram socket is its own peer. */
struct fixture {
    weir_context *context;
    weir_timer *timer;
    weir_job *job;
    weir_watch *watch;
    weir_stream *stream, *empty_stream;
    weir_acceptor *acceptor, *empty_acceptor;
    weir_strand *strand;
    weir_datagram *datagram, *empty_datagram;
    weir_signals *signals;
    weir_hook *hook;
    weir_process *process;
    weir_resolver *resolver;
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

static void surprised_value(int status, int value, void *user)
{
    (void)value;
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

static void expected(int status, void *user)
{
    (void)status;
    (void)user;
}

static void expected_io(int status, size_t bytes, void *user)
{
    (void)bytes;
    expected(status, user);
}

static void expected_buffer(int status, const void *data, size_t length, void *user)
{
    (void)data;
    (void)length;
    expected(status, user);
}

static void expected_value(int status, int value, void *user)
{
    (void)value;
    expected(status, user);
}

static void expected_accept(int status, weir_stream *peer, const struct sockaddr *address, socklen_t length, void *user)
{
    (void)address;
    (void)length;
    (void)peer;
    expected(status, user);
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
static pid_t child;
static struct rusage used;
static weir_record records[2];
static weir_stats stats = {.struct_size = sizeof(weir_stats)};
static struct iovec vectors[2] = {{buffer, 3}, {buffer + 3, 5}};
static const weir_until good_until = {sizeof(weir_until), buffer, 8, 0, "\n", 1};
static weir_until until;
static struct where target; /* of connects and binds */
static struct where group;
static unsigned loopback_index;
static int fds[2];
static size_t fd_count;
static weir_datagram_message messages[2];
static const int one = 1;

static void prepare(void)
{
    memset(&out, 0xA5, sizeof out);
    memset(buffer, 0x5A, sizeof buffer);
    out_length = 4;
    fd_count = 2;
    memset(fds, 0, sizeof fds);
    memset(messages, 0, sizeof messages);
    for (int i = 0; i < 2; i++) {
        messages[i].data = buffer;
        messages[i].length = 8;
    }
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
    CHECK_EQ(fd_count, 2);
    CHECK_EQ(messages[0].bytes, 0);
}

/* ---- a call of each function, good but for the handle */

#define OUT(type) ((type *)(void *)&out)

static int call_acceptor_accept(void *handle)
{
    return weir_acceptor_accept((weir_acceptor *)handle, expected_accept, NULL);
}

static int call_acceptor_accept_each(void *handle)
{
    return weir_acceptor_accept_each((weir_acceptor *)handle, expected_accept, NULL);
}

static int call_acceptor_adopt(void *handle)
{
    return weir_acceptor_adopt((weir_acceptor *)handle, 0);
}

static int call_acceptor_bind(void *handle)
{
    return weir_acceptor_bind((weir_acceptor *)handle, AT(&target));
}

static int call_acceptor_bind_to_device(void *handle)
{
    return weir_acceptor_bind_to_device((weir_acceptor *)handle, "");
}

static int call_acceptor_cancel(void *handle)
{
    return weir_acceptor_cancel((weir_acceptor *)handle, OUT(size_t));
}

static int call_acceptor_close(void *handle)
{
    return weir_acceptor_close((weir_acceptor *)handle);
}

static int call_acceptor_context(void *handle)
{
    return weir_acceptor_context((weir_acceptor *)handle, OUT(weir_context *));
}

static int call_acceptor_create(void *handle)
{
    return weir_acceptor_create((weir_context *)handle, OUT(weir_acceptor *));
}

static int call_acceptor_fd(void *handle)
{
    return weir_acceptor_fd((weir_acceptor *)handle, OUT(int));
}

static int call_acceptor_get(void *handle)
{
    return weir_acceptor_get((weir_acceptor *)handle, WEIR_OPT_KEEP_ALIVE, OUT(int));
}

static int call_acceptor_get_option(void *handle)
{
    return weir_acceptor_get_option((weir_acceptor *)handle, SOL_SOCKET, SO_KEEPALIVE, OUT(int), &out_length);
}

static int call_acceptor_listen(void *handle)
{
    return weir_acceptor_listen((weir_acceptor *)handle, 4);
}

static int call_acceptor_local_address(void *handle)
{
    return weir_acceptor_local_address((weir_acceptor *)handle, OUT(struct sockaddr_storage), &out_length);
}

static int call_acceptor_open(void *handle)
{
    return weir_acceptor_open((weir_acceptor *)handle, AF_INET);
}

static int call_acceptor_release(void *handle)
{
    return weir_acceptor_release((weir_acceptor *)handle, OUT(int));
}

static int call_acceptor_set(void *handle)
{
    return weir_acceptor_set((weir_acceptor *)handle, WEIR_OPT_KEEP_ALIVE, 1);
}

static int call_acceptor_set_option(void *handle)
{
    return weir_acceptor_set_option((weir_acceptor *)handle, SOL_SOCKET, SO_KEEPALIVE, &one, sizeof one);
}

static int call_acceptor_unlink(void *handle)
{
    return weir_acceptor_unlink((weir_acceptor *)handle);
}

static int call_acceptor_wait(void *handle)
{
    return weir_acceptor_wait((weir_acceptor *)handle, expected, NULL);
}

static int call_address_format(void *handle)
{
    (void)handle;
    return weir_address_format(AT(&target), OUT(char), sizeof out);
}

static int call_address_parse(void *handle)
{
    (void)handle;
    return weir_address_parse("127.0.0.1:80", OUT(struct sockaddr_storage), &out_length);
}

static int call_context_advance(void *handle)
{
    return weir_context_advance((weir_context *)handle, 1);
}

static int call_context_create(void *handle)
{
    (void)handle;
    return weir_context_create(NULL, OUT(weir_context *));
}

static int call_context_defer(void *handle)
{
    return weir_context_defer((weir_context *)handle, expected, NULL);
}

static int call_context_destroy(void *handle)
{
    return weir_context_destroy((weir_context *)handle);
}

static int call_context_dispatch(void *handle)
{
    return weir_context_dispatch((weir_context *)handle, expected, NULL);
}

static int call_context_fd(void *handle)
{
    return weir_context_fd((weir_context *)handle, OUT(int));
}

static int call_context_now(void *handle)
{
    return weir_context_now((weir_context *)handle, OUT(int64_t));
}

static int call_context_turn_now(void *handle)
{
    return weir_context_turn_now((weir_context *)handle, OUT(int64_t));
}

static int call_context_poll(void *handle)
{
    return weir_context_poll((weir_context *)handle, OUT(size_t));
}

static int call_context_poll_one(void *handle)
{
    return weir_context_poll_one((weir_context *)handle, OUT(size_t));
}

static int call_context_post(void *handle)
{
    return weir_context_post((weir_context *)handle, expected, NULL);
}

static int call_context_restart(void *handle)
{
    return weir_context_restart((weir_context *)handle);
}

static int call_context_run(void *handle)
{
    return weir_context_run((weir_context *)handle, OUT(size_t));
}

static int call_context_run_for(void *handle)
{
    return weir_context_run_for((weir_context *)handle, 1000, OUT(size_t));
}

static int call_context_run_one(void *handle)
{
    return weir_context_run_one((weir_context *)handle, OUT(size_t));
}

static int call_context_run_until(void *handle)
{
    return weir_context_run_until((weir_context *)handle, 1000, OUT(size_t));
}

static int call_context_running_in_this_thread(void *handle)
{
    return weir_context_running_in_this_thread((weir_context *)handle);
}

static int call_context_stop(void *handle)
{
    return weir_context_stop((weir_context *)handle);
}

static int call_context_stopped(void *handle)
{
    return weir_context_stopped((weir_context *)handle);
}

static int call_context_wait_one(void *handle)
{
    return weir_context_wait_one((weir_context *)handle, 1000, OUT(size_t));
}

static int call_context_work_begin(void *handle)
{
    return weir_context_work_begin((weir_context *)handle);
}

static int call_context_work_end(void *handle)
{
    return weir_context_work_end((weir_context *)handle);
}

static int call_datagram_adopt(void *handle)
{
    return weir_datagram_adopt((weir_datagram *)handle, 0);
}

static int call_datagram_bind(void *handle)
{
    return weir_datagram_bind((weir_datagram *)handle, AT(&target));
}

static int call_datagram_bind_to_device(void *handle)
{
    return weir_datagram_bind_to_device((weir_datagram *)handle, "");
}

static int call_datagram_cancel(void *handle)
{
    return weir_datagram_cancel((weir_datagram *)handle, OUT(size_t));
}

static int call_datagram_close(void *handle)
{
    return weir_datagram_close((weir_datagram *)handle);
}

static int call_datagram_connect(void *handle)
{
    return weir_datagram_connect((weir_datagram *)handle, AT(&target));
}

static int call_datagram_context(void *handle)
{
    return weir_datagram_context((weir_datagram *)handle, OUT(weir_context *));
}

static int call_datagram_create(void *handle)
{
    return weir_datagram_create((weir_context *)handle, OUT(weir_datagram *));
}

static int call_datagram_disconnect(void *handle)
{
    return weir_datagram_disconnect((weir_datagram *)handle);
}

static int call_datagram_fd(void *handle)
{
    return weir_datagram_fd((weir_datagram *)handle, OUT(int));
}

static int call_datagram_features(void *handle)
{
    (void)handle;
    return weir_datagram_features(OUT(uint32_t));
}

static int call_datagram_get(void *handle)
{
    return weir_datagram_get((weir_datagram *)handle, WEIR_OPT_BROADCAST, OUT(int));
}

static int call_datagram_get_option(void *handle)
{
    return weir_datagram_get_option((weir_datagram *)handle, SOL_SOCKET, SO_BROADCAST, OUT(int), &out_length);
}

static int call_datagram_join(void *handle)
{
    return weir_datagram_join((weir_datagram *)handle, AT(&group), loopback_index);
}

static int call_datagram_leave(void *handle)
{
    return weir_datagram_leave((weir_datagram *)handle, AT(&group), loopback_index);
}

static int call_datagram_local_address(void *handle)
{
    return weir_datagram_local_address((weir_datagram *)handle, OUT(struct sockaddr_storage), &out_length);
}

static int call_datagram_open(void *handle)
{
    return weir_datagram_open((weir_datagram *)handle, AF_INET);
}

static int call_datagram_pair(void *handle)
{
    return weir_datagram_pair((weir_context *)handle, OUT(weir_datagram *), OUT(weir_datagram *));
}

static int call_datagram_receive(void *handle)
{
    return weir_datagram_receive((weir_datagram *)handle, buffer, 8, expected_io, NULL);
}

static int call_datagram_receive_batch(void *handle)
{
    return weir_datagram_receive_batch((weir_datagram *)handle, messages, 2, expected_io, NULL);
}

static int call_datagram_receive_fds(void *handle)
{
    return weir_datagram_receive_fds((weir_datagram *)handle, buffer, 8, fds, &fd_count, expected_io, NULL);
}

static int call_datagram_receive_from(void *handle)
{
    return weir_datagram_receive_from((weir_datagram *)handle, buffer, 8, OUT(struct sockaddr_storage),
                                      &out_length, expected_io, NULL);
}

static int call_datagram_release(void *handle)
{
    return weir_datagram_release((weir_datagram *)handle, OUT(int));
}

static int call_datagram_remote_address(void *handle)
{
    return weir_datagram_remote_address((weir_datagram *)handle, OUT(struct sockaddr_storage), &out_length);
}

static int call_datagram_send(void *handle)
{
    return weir_datagram_send((weir_datagram *)handle, buffer, 8, expected_io, NULL);
}

static int call_datagram_send_batch(void *handle)
{
    return weir_datagram_send_batch((weir_datagram *)handle, messages, 2, expected_io, NULL);
}

static int call_datagram_send_fds(void *handle)
{
    return weir_datagram_send_fds((weir_datagram *)handle, buffer, 8, fds, 2, expected_io, NULL);
}

static int call_datagram_send_to(void *handle)
{
    return weir_datagram_send_to((weir_datagram *)handle, buffer, 8, AT(&target), expected_io, NULL);
}

static int call_datagram_set(void *handle)
{
    return weir_datagram_set((weir_datagram *)handle, WEIR_OPT_BROADCAST, 1);
}

static int call_datagram_set_option(void *handle)
{
    return weir_datagram_set_option((weir_datagram *)handle, SOL_SOCKET, SO_BROADCAST, &one, sizeof one);
}

static int call_datagram_try_receive(void *handle)
{
    return weir_datagram_try_receive((weir_datagram *)handle, buffer, 8, OUT(size_t), OUT(size_t));
}

static int call_datagram_try_receive_from(void *handle)
{
    return weir_datagram_try_receive_from((weir_datagram *)handle, buffer, 8, OUT(struct sockaddr_storage),
                                          &out_length, OUT(size_t),
                                          OUT(size_t));
}

static int call_datagram_try_send(void *handle)
{
    return weir_datagram_try_send((weir_datagram *)handle, buffer, 8, OUT(size_t));
}

static int call_datagram_try_send_to(void *handle)
{
    return weir_datagram_try_send_to((weir_datagram *)handle, buffer, 8, AT(&target), OUT(size_t));
}

static int call_datagram_unlink(void *handle)
{
    return weir_datagram_unlink((weir_datagram *)handle);
}

static int call_datagram_wait(void *handle)
{
    return weir_datagram_wait((weir_datagram *)handle, WEIR_WAIT_READ, expected, NULL);
}

static int call_error_name(void *handle)
{
    (void)handle;
    return weir_error_name(INT_MIN)[0] == 0;
}

static int call_handle_cancel(void *handle)
{
    return weir_handle_cancel(handle, OUT(size_t));
}

static int call_handle_close(void *handle)
{
    return weir_handle_close(handle);
}

static int call_handle_context(void *handle)
{
    return weir_handle_context(handle, OUT(weir_context *));
}

static int call_handle_name(void *handle)
{
    return weir_handle_name(handle, OUT(char), sizeof out);
}

static int call_handle_pending(void *handle)
{
    return weir_handle_pending(handle, OUT(size_t));
}

static int call_handle_set_name(void *handle)
{
    return weir_handle_set_name(handle, "name");
}

static int call_handle_set_strand(void *handle)
{
    return weir_handle_set_strand(handle, NULL);
}

static int call_handle_set_tag(void *handle)
{
    return weir_handle_set_tag(handle, 7);
}

static int call_handle_tag(void *handle)
{
    return weir_handle_tag(handle, OUT(uint64_t));
}

static int call_signals_add(void *handle)
{
    return weir_signals_add((weir_signals *)handle, SIGUSR1, 0);
}

static int call_signals_arrived(void *handle)
{
    return weir_signals_arrived((weir_signals *)handle, OUT(size_t));
}

static int call_signals_cancel(void *handle)
{
    return weir_signals_cancel((weir_signals *)handle, OUT(size_t));
}

static int call_signals_clear(void *handle)
{
    return weir_signals_clear((weir_signals *)handle);
}

static int call_signals_close(void *handle)
{
    return weir_signals_close((weir_signals *)handle);
}

static int call_signals_context(void *handle)
{
    return weir_signals_context((weir_signals *)handle, OUT(weir_context *));
}

static int call_signals_create(void *handle)
{
    return weir_signals_create((weir_context *)handle, OUT(weir_signals *));
}

static int call_signals_remove(void *handle)
{
    return weir_signals_remove((weir_signals *)handle, SIGUSR2);
}

static int call_signals_wait(void *handle)
{
    return weir_signals_wait((weir_signals *)handle, expected_value, NULL);
}

static int nothing(void *argument)
{
    (void)argument;
    return 0;
}

static void count_job(int status, int value, void *user)
{
    (void)status;
    (void)value;
    if (user)
        atomic_fetch_add((atomic_int *)user, 1);
}

static int call_job_cancel(void *handle)
{
    return weir_job_cancel((weir_job *)handle, OUT(size_t));
}

static int call_job_close(void *handle)
{
    return weir_job_close((weir_job *)handle);
}

static int call_job_context(void *handle)
{
    return weir_job_context((weir_job *)handle, OUT(weir_context *));
}

static int call_job_set_limit(void *handle)
{
    (void)handle;
    return weir_job_set_limit(16);
}

static int call_job_start(void *handle)
{
    return weir_job_start((weir_context *)handle, nothing, NULL, OUT(weir_job *), count_job, NULL);
}

static void expected_addresses(int status, weir_addresses *addresses, void *user)
{
    weir_addresses_free(addresses);
    expected(status, user);
}

static void expected_names(int status, weir_names *names, void *user)
{
    weir_names_free(names);
    expected(status, user);
}

static void surprised_addresses(int status, weir_addresses *addresses, void *user)
{
    weir_addresses_free(addresses);
    surprised(status, user);
}

static void surprised_names(int status, weir_names *names, void *user)
{
    weir_names_free(names);
    surprised(status, user);
}

/* The accessors of results take NULL. */
static int call_addresses_canonical_name(void *handle)
{
    (void)handle;
    return weir_addresses_canonical_name(NULL) != NULL;
}

static int call_addresses_count(void *handle)
{
    (void)handle;
    return (int)weir_addresses_count(NULL);
}

static int call_addresses_free(void *handle)
{
    (void)handle;
    weir_addresses_free(NULL);
    return 0;
}

static int call_addresses_get(void *handle)
{
    const struct sockaddr *address;
    socklen_t length;
    (void)handle;
    return weir_addresses_get(NULL, 0, &address, &length);
}

static int call_names_free(void *handle)
{
    (void)handle;
    weir_names_free(NULL);
    return 0;
}

static int call_names_host(void *handle)
{
    (void)handle;
    return weir_names_host(NULL) != NULL;
}

static int call_names_service(void *handle)
{
    (void)handle;
    return weir_names_service(NULL) != NULL;
}

static int call_resolver_cancel(void *handle)
{
    return weir_resolver_cancel((weir_resolver *)handle, OUT(size_t));
}

static int call_resolver_close(void *handle)
{
    return weir_resolver_close((weir_resolver *)handle);
}

static int call_resolver_context(void *handle)
{
    return weir_resolver_context((weir_resolver *)handle, OUT(weir_context *));
}

static int call_resolver_create(void *handle)
{
    return weir_resolver_create((weir_context *)handle, OUT(weir_resolver *));
}

static int call_resolver_resolve(void *handle)
{
    return weir_resolver_resolve((weir_resolver *)handle, "127.0.0.1", "80", NULL, expected_addresses, NULL);
}

static int call_resolver_reverse(void *handle)
{
    return weir_resolver_reverse((weir_resolver *)handle, AT(&target),
                                 WEIR_REVERSE_NUMERIC_HOST | WEIR_REVERSE_NUMERIC_SERVICE, expected_names, NULL);
}

static int call_resolver_set_limit(void *handle)
{
    (void)handle;
    return weir_resolver_set_limit(16);
}

static int call_strand_close(void *handle)
{
    return weir_strand_close((weir_strand *)handle);
}

static int call_strand_context(void *handle)
{
    return weir_strand_context((weir_strand *)handle, OUT(weir_context *));
}

static int call_strand_create(void *handle)
{
    return weir_strand_create((weir_context *)handle, OUT(weir_strand *));
}

static int call_strand_dispatch(void *handle)
{
    return weir_strand_dispatch((weir_strand *)handle, expected, NULL);
}

static int call_strand_post(void *handle)
{
    return weir_strand_post((weir_strand *)handle, expected, NULL);
}

static int call_strand_running_in_this_thread(void *handle)
{
    return weir_strand_running_in_this_thread((weir_strand *)handle);
}

static int call_context_cancel_tag(void *handle)
{
    return weir_context_cancel_tag((weir_context *)handle, 7, OUT(size_t));
}

static int call_context_reap(void *handle)
{
    return weir_context_reap((weir_context *)handle, records, 2, 1000, OUT(size_t));
}

static int call_stream_read_each(void *handle)
{
    return weir_stream_read_each((weir_stream *)handle, expected_buffer, NULL);
}

static int call_context_pool(void *handle)
{
    return weir_context_pool((weir_context *)handle, OUT(const void *), NULL, NULL);
}

static int call_context_pool_release(void *handle)
{
    return weir_context_pool_release((weir_context *)handle, 12345);
}

static int call_context_enter(void *handle)
{
    return weir_context_enter((weir_context *)handle, NULL, 0, records, 2, 1000, OUT(size_t));
}

static int call_hook_close(void *handle)
{
    return weir_hook_close((weir_hook *)handle);
}

static int call_hook_context(void *handle)
{
    return weir_hook_context((weir_hook *)handle, OUT(weir_context *));
}

static int call_hook_create(void *handle)
{
    return weir_hook_create((weir_context *)handle, WEIR_HOOK_CHECK, OUT(weir_hook *));
}

static int call_hook_start(void *handle)
{
    return weir_hook_start((weir_hook *)handle, expected, NULL);
}

static int call_hook_stop(void *handle)
{
    return weir_hook_stop((weir_hook *)handle, OUT(size_t));
}

static int call_context_stats(void *handle)
{
    return weir_context_stats((weir_context *)handle, &stats);
}

static int call_context_report(void *handle)
{
    return weir_context_report((weir_context *)handle, NULL, 0, OUT(size_t));
}

static int call_handle_type_name(void *handle)
{
    (void)handle;
    return weir_handle_type_name(NULL) != NULL;
}

static int call_context_notify_fork(void *handle)
{
    return weir_context_notify_fork((weir_context *)handle, WEIR_FORK_PARENT);
}

static int call_set_allocator(void *handle)
{
    (void)handle;
    return weir_set_allocator(NULL) == WEIR_EINVAL ? 0 : -1;
}

static int call_process_cancel(void *handle)
{
    return weir_process_cancel((weir_process *)handle, OUT(size_t));
}

static int call_process_close(void *handle)
{
    return weir_process_close((weir_process *)handle);
}

static int call_process_context(void *handle)
{
    return weir_process_context((weir_process *)handle, OUT(weir_context *));
}

static int call_process_create(void *handle)
{
    return weir_process_create((weir_context *)handle, child, OUT(weir_process *));
}

static int call_process_kill(void *handle)
{
    return weir_process_kill((weir_process *)handle, 0);
}

static int call_process_pid(void *handle)
{
    return weir_process_pid((weir_process *)handle, OUT(pid_t));
}

static int call_process_usage(void *handle)
{
    return weir_process_usage((weir_process *)handle, &used);
}

static int call_process_wait(void *handle)
{
    return weir_process_wait((weir_process *)handle, expected_value, NULL);
}

static int call_datagram_receive_each(void *handle)
{
    return weir_datagram_receive_each((weir_datagram *)handle, NULL);
}

static int call_context_pool_sender(void *handle)
{
    return weir_context_pool_sender((weir_context *)handle, 12345, OUT(struct sockaddr_storage), &out_length);
}

static int call_stream_adopt(void *handle)
{
    return weir_stream_adopt((weir_stream *)handle, 0);
}

static int call_stream_bind(void *handle)
{
    return weir_stream_bind((weir_stream *)handle, AT(&target));
}

static int call_stream_bind_to_device(void *handle)
{
    return weir_stream_bind_to_device((weir_stream *)handle, "");
}

static int call_stream_cancel(void *handle)
{
    return weir_stream_cancel((weir_stream *)handle, OUT(size_t));
}

static int call_stream_close(void *handle)
{
    return weir_stream_close((weir_stream *)handle);
}

static int call_stream_connect(void *handle)
{
    return weir_stream_connect((weir_stream *)handle, AT(&target), expected, NULL);
}

static int call_stream_connect_list(void *handle)
{
    const struct sockaddr *address = (const struct sockaddr *)&target.address;
    return weir_stream_connect_list((weir_stream *)handle, &address, &target.length, 1, NULL, expected, NULL);
}

static int call_stream_context(void *handle)
{
    return weir_stream_context((weir_stream *)handle, OUT(weir_context *));
}

static int call_stream_create(void *handle)
{
    return weir_stream_create((weir_context *)handle, OUT(weir_stream *));
}

static int call_stream_fd(void *handle)
{
    return weir_stream_fd((weir_stream *)handle, OUT(int));
}

static int call_stream_get(void *handle)
{
    return weir_stream_get((weir_stream *)handle, WEIR_OPT_KEEP_ALIVE, OUT(int));
}

static int call_stream_get_option(void *handle)
{
    return weir_stream_get_option((weir_stream *)handle, SOL_SOCKET, SO_KEEPALIVE, OUT(int), &out_length);
}

static int call_stream_local_address(void *handle)
{
    return weir_stream_local_address((weir_stream *)handle, OUT(struct sockaddr_storage), &out_length);
}

static int call_stream_open(void *handle)
{
    return weir_stream_open((weir_stream *)handle, AF_INET);
}

static int call_stream_send_copy(void *handle)
{
    return weir_stream_send_copy((weir_stream *)handle, "x", 1, OUT(size_t));
}

static int call_handle_cancel_operation(void *handle)
{
    return weir_handle_cancel_operation(handle, buffer, OUT(size_t));
}

static int call_handle_keep_fd(void *handle)
{
    return weir_handle_keep_fd(handle, 0);
}

static int call_context_wakeup_fd(void *handle)
{
    return weir_context_wakeup_fd((weir_context *)handle, OUT(int));
}

static int call_context_wakeup_values(void *handle)
{
    return weir_context_wakeup_values((weir_context *)handle, OUT(uint64_t));
}

static int call_context_wake(void *handle)
{
    return weir_context_wake((weir_context *)handle);
}

static int call_struct_size(void *handle)
{
    (void)handle;
    return weir_struct_size("weir_record") != sizeof(weir_record) || weir_struct_size("no_such") != 0 ||
           weir_struct_size(NULL) != 0 || weir_struct_size("weir_until") != sizeof(weir_until) ||
           weir_struct_size("weir_submission") != sizeof(weir_submission) ||
           weir_struct_size("weir_context_options") != sizeof(weir_context_options) ||
           weir_struct_size("weir_stats") != sizeof(weir_stats) || weir_struct_size("weir_stall") != sizeof(weir_stall) ||
           weir_struct_size("weir_allocator") != sizeof(weir_allocator) ||
           weir_struct_size("weir_connect_options") != sizeof(weir_connect_options) ||
           weir_struct_size("weir_datagram_message") != sizeof(weir_datagram_message) ||
           weir_struct_size("weir_report_line") != sizeof(weir_report_line) ||
           weir_struct_size("weir_resolve_hints") != sizeof(weir_resolve_hints);
}

static int call_stream_queued(void *handle)
{
    return weir_stream_queued((weir_stream *)handle, OUT(size_t));
}

static int call_stream_pair(void *handle)
{
    return weir_stream_pair((weir_context *)handle, OUT(weir_stream *), OUT(weir_stream *));
}

static int call_stream_peer_credentials(void *handle)
{
    return weir_stream_peer_credentials((weir_stream *)handle, OUT(int32_t), NULL, NULL);
}

static int call_stream_read(void *handle)
{
    return weir_stream_read((weir_stream *)handle, buffer, 8, expected_io, NULL);
}

static int call_stream_read_fds(void *handle)
{
    return weir_stream_read_fds((weir_stream *)handle, buffer, 8, fds, &fd_count, expected_io, NULL);
}

static int call_stream_read_some(void *handle)
{
    return weir_stream_read_some((weir_stream *)handle, buffer, 8, expected_io, NULL);
}

static int call_stream_read_until(void *handle)
{
    until = good_until;
    return weir_stream_read_until((weir_stream *)handle, &until, expected_io, NULL);
}

static int call_stream_readv(void *handle)
{
    return weir_stream_readv((weir_stream *)handle, vectors, 2, expected_io, NULL);
}

static int call_stream_readv_some(void *handle)
{
    return weir_stream_readv_some((weir_stream *)handle, vectors, 2, expected_io, NULL);
}

static int call_stream_release(void *handle)
{
    return weir_stream_release((weir_stream *)handle, OUT(int));
}

static int call_stream_remote_address(void *handle)
{
    return weir_stream_remote_address((weir_stream *)handle, OUT(struct sockaddr_storage), &out_length);
}

static int call_stream_send(void *handle)
{
    return weir_stream_send((weir_stream *)handle, buffer, 8, expected_io, NULL);
}

static int call_stream_send_file(void *handle)
{
    return weir_stream_send_file((weir_stream *)handle, STDIN_FILENO, 0, 8, expected_io, NULL);
}

static int call_stream_set(void *handle)
{
    return weir_stream_set((weir_stream *)handle, WEIR_OPT_KEEP_ALIVE, 1);
}

static int call_stream_set_high_water(void *handle)
{
    return weir_stream_set_high_water((weir_stream *)handle, 8, 4, expected_io, NULL);
}

static int call_stream_set_option(void *handle)
{
    return weir_stream_set_option((weir_stream *)handle, SOL_SOCKET, SO_KEEPALIVE, &one, sizeof one);
}

static int call_stream_set_timeout(void *handle)
{
    return weir_stream_set_timeout((weir_stream *)handle, WEIR_WAIT_READ, 1000);
}

static int call_stream_shutdown(void *handle)
{
    return weir_stream_shutdown((weir_stream *)handle, WEIR_SHUTDOWN_WRITE);
}

static int call_stream_try_read(void *handle)
{
    return weir_stream_try_read((weir_stream *)handle, buffer, 8, OUT(size_t));
}

static int call_stream_try_readv(void *handle)
{
    return weir_stream_try_readv((weir_stream *)handle, vectors, 2, OUT(size_t));
}

static int call_stream_try_write(void *handle)
{
    return weir_stream_try_write((weir_stream *)handle, buffer, 8, OUT(size_t));
}

static int call_stream_try_writev(void *handle)
{
    return weir_stream_try_writev((weir_stream *)handle, vectors, 2, OUT(size_t));
}

static int call_stream_wait(void *handle)
{
    return weir_stream_wait((weir_stream *)handle, WEIR_WAIT_READ, expected, NULL);
}

static int call_stream_write(void *handle)
{
    return weir_stream_write((weir_stream *)handle, buffer, 8, expected_io, NULL);
}

static int call_stream_write_fds(void *handle)
{
    return weir_stream_write_fds((weir_stream *)handle, buffer, 8, fds, 2, expected_io, NULL);
}

static int call_stream_write_some(void *handle)
{
    return weir_stream_write_some((weir_stream *)handle, buffer, 8, expected_io, NULL);
}

static int call_stream_writev(void *handle)
{
    return weir_stream_writev((weir_stream *)handle, vectors, 2, expected_io, NULL);
}

static int call_stream_writev_some(void *handle)
{
    return weir_stream_writev_some((weir_stream *)handle, vectors, 2, expected_io, NULL);
}

static int call_strerror(void *handle)
{
    (void)handle;
    return weir_strerror(INT_MIN)[0] == 0;
}

static int call_timer_cancel(void *handle)
{
    return weir_timer_cancel((weir_timer *)handle, OUT(size_t));
}

static int call_timer_cancel_one(void *handle)
{
    return weir_timer_cancel_one((weir_timer *)handle, OUT(size_t));
}

static int call_timer_close(void *handle)
{
    return weir_timer_close((weir_timer *)handle);
}

static int call_timer_context(void *handle)
{
    return weir_timer_context((weir_timer *)handle, OUT(weir_context *));
}

static int call_timer_create(void *handle)
{
    return weir_timer_create((weir_context *)handle, OUT(weir_timer *));
}

static int call_timer_expires_after(void *handle)
{
    return weir_timer_expires_after((weir_timer *)handle, 1);
}

static int call_timer_expires_at(void *handle)
{
    return weir_timer_expires_at((weir_timer *)handle, 1);
}

static int call_timer_expiry(void *handle)
{
    return weir_timer_expiry((weir_timer *)handle, OUT(int64_t));
}

static int call_timer_remaining(void *handle)
{
    return weir_timer_remaining((weir_timer *)handle, OUT(int64_t));
}

static int call_timer_start(void *handle)
{
    return weir_timer_start((weir_timer *)handle, 1, 1, expected, NULL);
}

static int call_timer_stop(void *handle)
{
    return weir_timer_stop((weir_timer *)handle, OUT(size_t));
}

static int call_timer_wait(void *handle)
{
    return weir_timer_wait((weir_timer *)handle, expected, NULL);
}

static int call_version(void *handle)
{
    (void)handle;
    return weir_version() == 0;
}

static int call_version_string(void *handle)
{
    (void)handle;
    return weir_version_string()[0] == 0;
}

static int call_watch_cancel(void *handle)
{
    return weir_watch_cancel((weir_watch *)handle, OUT(size_t));
}

static int call_watch_change(void *handle)
{
    return weir_watch_change((weir_watch *)handle, WEIR_WATCH_READ);
}

static int call_watch_close(void *handle)
{
    return weir_watch_close((weir_watch *)handle);
}

static int call_watch_context(void *handle)
{
    return weir_watch_context((weir_watch *)handle, OUT(weir_context *));
}

static int call_watch_create(void *handle)
{
    return weir_watch_create((weir_context *)handle, -1, OUT(weir_watch *));
}

static int call_watch_fd(void *handle)
{
    return weir_watch_fd((weir_watch *)handle, OUT(int));
}

static int call_watch_feed(void *handle)
{
    return weir_watch_feed((weir_watch *)handle, WEIR_WATCH_READ);
}

static int call_watch_set_fd(void *handle)
{
    return weir_watch_set_fd((weir_watch *)handle, -1);
}

static int call_watch_set_timeout(void *handle)
{
    return weir_watch_set_timeout((weir_watch *)handle, 1);
}

static int call_watch_start(void *handle)
{
    return weir_watch_start((weir_watch *)handle, WEIR_WATCH_READ, 0, WEIR_FOREVER, expected_value, NULL);
}

static int call_watch_stop(void *handle)
{
    return weir_watch_stop((weir_watch *)handle, OUT(size_t));
}

/* The handle is dead when callbacks run in weir_context_destroy(), or nothing begins with it. */
#define GONE INT_MIN

struct row {
    const char *name;
    int kind; /* of the first argument */
    int (*call)(void *handle);
    int inside;  /* the result in a callback of a running context */
    int stopped; /* the result outside, of a stopped context */
    int ending;  /* the result in a callback of weir_context_destroy() */
    bool no_more; /* nothing but the handle can be wrong */
};

static const struct row table[] = {
    {"weir_acceptor_accept", ACCEPTOR, call_acceptor_accept, 0, 0, GONE, false},
    {"weir_acceptor_accept_each", ACCEPTOR, call_acceptor_accept_each, 0, 0, GONE, false},
    {"weir_acceptor_adopt", ACCEPTOR, call_acceptor_adopt, WEIR_EBUSY, WEIR_EBUSY, GONE, false},
    {"weir_acceptor_bind", ACCEPTOR, call_acceptor_bind, WEIR_EINVAL, WEIR_EINVAL, GONE, false},
    {"weir_acceptor_bind_to_device", ACCEPTOR, call_acceptor_bind_to_device, 0, 0, GONE, false},
    {"weir_acceptor_cancel", ACCEPTOR, call_acceptor_cancel, 0, 0, GONE, true},
    {"weir_acceptor_close", ACCEPTOR, call_acceptor_close, 0, 0, GONE, true},
    {"weir_acceptor_context", ACCEPTOR, call_acceptor_context, 0, 0, GONE, false},
    {"weir_acceptor_create", CONTEXT, call_acceptor_create, 0, 0, WEIR_ESHUTDOWN, false},
    {"weir_acceptor_fd", ACCEPTOR, call_acceptor_fd, 0, 0, GONE, false},
    {"weir_acceptor_get", ACCEPTOR, call_acceptor_get, 0, 0, GONE, false},
    {"weir_acceptor_get_option", ACCEPTOR, call_acceptor_get_option, 0, 0, GONE, false},
    {"weir_acceptor_listen", ACCEPTOR, call_acceptor_listen, 0, 0, GONE, false},
    {"weir_acceptor_local_address", ACCEPTOR, call_acceptor_local_address, 0, 0, GONE, false},
    {"weir_acceptor_open", ACCEPTOR, call_acceptor_open, WEIR_EBUSY, WEIR_EBUSY, GONE, false},
    {"weir_acceptor_release", ACCEPTOR, call_acceptor_release, 0, 0, GONE, false},
    {"weir_acceptor_set", ACCEPTOR, call_acceptor_set, 0, 0, GONE, false},
    {"weir_acceptor_set_option", ACCEPTOR, call_acceptor_set_option, 0, 0, GONE, false},
    {"weir_acceptor_unlink", ACCEPTOR, call_acceptor_unlink, -EOPNOTSUPP, -EOPNOTSUPP, GONE, true},
    {"weir_acceptor_wait", ACCEPTOR, call_acceptor_wait, 0, 0, GONE, false},
    {"weir_address_format", NOTHING, call_address_format, 0, 0, 0, false},
    {"weir_address_parse", NOTHING, call_address_parse, 0, 0, 0, false},
    {"weir_addresses_canonical_name", NOTHING, call_addresses_canonical_name, 0, 0, 0, true},
    {"weir_addresses_count", NOTHING, call_addresses_count, 0, 0, 0, true},
    {"weir_addresses_free", NOTHING, call_addresses_free, 0, 0, 0, true},
    {"weir_addresses_get", NOTHING, call_addresses_get, WEIR_EINVAL, WEIR_EINVAL, WEIR_EINVAL, false},
    {"weir_context_advance", CONTEXT, call_context_advance, WEIR_EINVAL, WEIR_EINVAL, WEIR_EINVAL, false},
    {"weir_context_cancel_tag", CONTEXT, call_context_cancel_tag, 0, 0, 0, false},
    {"weir_context_create", NOTHING, call_context_create, 0, 0, 0, false},
    {"weir_context_defer", CONTEXT, call_context_defer, 0, 0, WEIR_ESHUTDOWN, true},
    {"weir_context_destroy", CONTEXT, call_context_destroy, WEIR_EBUSY, 0, WEIR_EBUSY, true},
    {"weir_context_dispatch", CONTEXT, call_context_dispatch, 0, 0, WEIR_ESHUTDOWN, true},
    {"weir_context_enter", CONTEXT, call_context_enter, 0, 0, WEIR_ESHUTDOWN, false},
    {"weir_context_fd", CONTEXT, call_context_fd, 0, 0, WEIR_ESHUTDOWN, false},
    {"weir_context_notify_fork", CONTEXT, call_context_notify_fork, 0, 0, 0, false},
    {"weir_context_now", CONTEXT, call_context_now, 0, 0, 0, false},
    {"weir_context_poll", CONTEXT, call_context_poll, 0, 0, WEIR_ESHUTDOWN, true},
    {"weir_context_poll_one", CONTEXT, call_context_poll_one, 0, 0, WEIR_ESHUTDOWN, true},
    {"weir_context_pool", CONTEXT, call_context_pool, 0, 0, WEIR_ESHUTDOWN, true},
    {"weir_context_pool_release", CONTEXT, call_context_pool_release, WEIR_EINVAL, WEIR_EINVAL, WEIR_EINVAL, false},
    {"weir_context_pool_sender", CONTEXT, call_context_pool_sender, WEIR_EINVAL, WEIR_EINVAL, WEIR_EINVAL, false},
    {"weir_context_post", CONTEXT, call_context_post, 0, 0, WEIR_ESHUTDOWN, true},
    {"weir_context_reap", CONTEXT, call_context_reap, 0, 0, WEIR_ESHUTDOWN, false},
    {"weir_context_report", CONTEXT, call_context_report, 0, 0, 0, false},
    {"weir_context_restart", CONTEXT, call_context_restart, 0, 0, WEIR_ESHUTDOWN, true},
    {"weir_context_run", CONTEXT, call_context_run, 0, 0, WEIR_ESHUTDOWN, true},
    {"weir_context_run_for", CONTEXT, call_context_run_for, 0, 0, WEIR_ESHUTDOWN, false},
    {"weir_context_run_one", CONTEXT, call_context_run_one, 0, 0, WEIR_ESHUTDOWN, true},
    {"weir_context_run_until", CONTEXT, call_context_run_until, 0, 0, WEIR_ESHUTDOWN, false},
    {"weir_context_running_in_this_thread", CONTEXT, call_context_running_in_this_thread, 1, 0, 1, true},
    {"weir_context_stats", CONTEXT, call_context_stats, 0, 0, 0, false},
    {"weir_context_stop", CONTEXT, call_context_stop, 0, 0, 0, true},
    {"weir_context_stopped", CONTEXT, call_context_stopped, 0, 1, 1, true},
    {"weir_context_turn_now", CONTEXT, call_context_turn_now, 0, 0, 0, false},
    {"weir_context_wait_one", CONTEXT, call_context_wait_one, 0, 0, WEIR_ESHUTDOWN, false},
    {"weir_context_wake", CONTEXT, call_context_wake, 0, 0, 0, true},
    {"weir_context_wakeup_fd", CONTEXT, call_context_wakeup_fd, 0, 0, WEIR_ESHUTDOWN, false},
    {"weir_context_wakeup_values", CONTEXT, call_context_wakeup_values, 0, 0, 0, false},
    {"weir_context_work_begin", CONTEXT, call_context_work_begin, 0, 0, WEIR_ESHUTDOWN, true},
    {"weir_context_work_end", CONTEXT, call_context_work_end, WEIR_EINVAL, WEIR_EINVAL, WEIR_EINVAL, false},
    {"weir_datagram_adopt", DATAGRAM, call_datagram_adopt, WEIR_EBUSY, WEIR_EBUSY, GONE, false},
    {"weir_datagram_bind", DATAGRAM, call_datagram_bind, WEIR_EINVAL, WEIR_EINVAL, GONE, false},
    {"weir_datagram_bind_to_device", DATAGRAM, call_datagram_bind_to_device, 0, 0, GONE, false},
    {"weir_datagram_cancel", DATAGRAM, call_datagram_cancel, 0, 0, GONE, true},
    {"weir_datagram_close", DATAGRAM, call_datagram_close, 0, 0, GONE, true},
    {"weir_datagram_connect", DATAGRAM, call_datagram_connect, 0, 0, GONE, false},
    {"weir_datagram_context", DATAGRAM, call_datagram_context, 0, 0, GONE, false},
    {"weir_datagram_create", CONTEXT, call_datagram_create, 0, 0, WEIR_ESHUTDOWN, false},
    {"weir_datagram_disconnect", DATAGRAM, call_datagram_disconnect, 0, 0, GONE, false},
    {"weir_datagram_fd", DATAGRAM, call_datagram_fd, 0, 0, GONE, false},
    {"weir_datagram_features", NOTHING, call_datagram_features, 0, 0, 0, false},
    {"weir_datagram_get", DATAGRAM, call_datagram_get, 0, 0, GONE, false},
    {"weir_datagram_get_option", DATAGRAM, call_datagram_get_option, 0, 0, GONE, false},
    {"weir_datagram_join", DATAGRAM, call_datagram_join, 0, 0, GONE, false},
    {"weir_datagram_leave", DATAGRAM, call_datagram_leave, -EADDRNOTAVAIL, -EADDRNOTAVAIL, GONE, false},
    {"weir_datagram_local_address", DATAGRAM, call_datagram_local_address, 0, 0, GONE, false},
    {"weir_datagram_open", DATAGRAM, call_datagram_open, WEIR_EBUSY, WEIR_EBUSY, GONE, false},
    {"weir_datagram_pair", CONTEXT, call_datagram_pair, 0, 0, WEIR_ESHUTDOWN, false},
    {"weir_datagram_receive", DATAGRAM, call_datagram_receive, 0, 0, GONE, false},
    {"weir_datagram_receive_batch", DATAGRAM, call_datagram_receive_batch, 0, 0, GONE, false},
    {"weir_datagram_receive_each", DATAGRAM, call_datagram_receive_each, 0, 0, GONE, false},
    {"weir_datagram_receive_fds", DATAGRAM, call_datagram_receive_fds, -EOPNOTSUPP, -EOPNOTSUPP, GONE, false},
    {"weir_datagram_receive_from", DATAGRAM, call_datagram_receive_from, 0, 0, GONE, false},
    {"weir_datagram_release", DATAGRAM, call_datagram_release, 0, 0, GONE, false},
    {"weir_datagram_remote_address", DATAGRAM, call_datagram_remote_address, 0, 0, GONE, false},
    {"weir_datagram_send", DATAGRAM, call_datagram_send, 0, 0, GONE, false},
    {"weir_datagram_send_batch", DATAGRAM, call_datagram_send_batch, 0, 0, GONE, false},
    {"weir_datagram_send_fds", DATAGRAM, call_datagram_send_fds, -EOPNOTSUPP, -EOPNOTSUPP, GONE, false},
    {"weir_datagram_send_to", DATAGRAM, call_datagram_send_to, 0, 0, GONE, false},
    {"weir_datagram_set", DATAGRAM, call_datagram_set, 0, 0, GONE, false},
    {"weir_datagram_set_option", DATAGRAM, call_datagram_set_option, 0, 0, GONE, false},
    {"weir_datagram_try_receive", DATAGRAM, call_datagram_try_receive, 0, 0, GONE, false},
    {"weir_datagram_try_receive_from", DATAGRAM, call_datagram_try_receive_from, 0, 0, GONE, false},
    {"weir_datagram_try_send", DATAGRAM, call_datagram_try_send, 0, 0, GONE, false},
    {"weir_datagram_try_send_to", DATAGRAM, call_datagram_try_send_to, 0, 0, GONE, false},
    {"weir_datagram_unlink", DATAGRAM, call_datagram_unlink, -EOPNOTSUPP, -EOPNOTSUPP, GONE, false},
    {"weir_datagram_wait", DATAGRAM, call_datagram_wait, 0, 0, GONE, false},
    {"weir_error_name", NOTHING, call_error_name, 0, 0, 0, false},
    {"weir_handle_cancel", ANY, call_handle_cancel, 0, 0, GONE, true},
    {"weir_handle_cancel_operation", ANY, call_handle_cancel_operation, 0, 0, GONE, true},
    {"weir_handle_close", ANY, call_handle_close, 0, 0, GONE, true},
    {"weir_handle_context", ANY, call_handle_context, 0, 0, GONE, false},
    {"weir_handle_keep_fd", ANY, call_handle_keep_fd, 0, 0, GONE, true},
    {"weir_handle_name", ANY, call_handle_name, 0, 0, GONE, false},
    {"weir_handle_pending", ANY, call_handle_pending, 0, 0, GONE, false},
    {"weir_handle_set_name", ANY, call_handle_set_name, 0, 0, GONE, true},
    {"weir_handle_set_strand", ANY, call_handle_set_strand, 0, 0, GONE, false},
    {"weir_handle_set_tag", ANY, call_handle_set_tag, 0, 0, GONE, true},
    {"weir_handle_tag", ANY, call_handle_tag, 0, 0, GONE, false},
    {"weir_handle_type_name", NOTHING, call_handle_type_name, 0, 0, 0, true},
    {"weir_hook_close", HOOK, call_hook_close, 0, 0, GONE, true},
    {"weir_hook_context", HOOK, call_hook_context, 0, 0, GONE, false},
    {"weir_hook_create", CONTEXT, call_hook_create, 0, 0, WEIR_ESHUTDOWN, false},
    {"weir_hook_start", HOOK, call_hook_start, 0, 0, GONE, false},
    {"weir_hook_stop", HOOK, call_hook_stop, 0, 0, GONE, true},
    {"weir_job_cancel", JOB, call_job_cancel, 0, 0, GONE, true},
    {"weir_job_close", JOB, call_job_close, 0, 0, GONE, true},
    {"weir_job_context", JOB, call_job_context, 0, 0, GONE, false},
    {"weir_job_set_limit", NOTHING, call_job_set_limit, 0, 0, 0, false},
    {"weir_job_start", CONTEXT, call_job_start, 0, 0, WEIR_ESHUTDOWN, false},
    {"weir_names_free", NOTHING, call_names_free, 0, 0, 0, true},
    {"weir_names_host", NOTHING, call_names_host, 0, 0, 0, true},
    {"weir_names_service", NOTHING, call_names_service, 0, 0, 0, true},
    {"weir_process_cancel", PROCESS, call_process_cancel, 0, 0, GONE, true},
    {"weir_process_close", PROCESS, call_process_close, 0, 0, GONE, true},
    {"weir_process_context", PROCESS, call_process_context, 0, 0, GONE, false},
    {"weir_process_create", CONTEXT, call_process_create, 0, 0, WEIR_ESHUTDOWN, false},
    {"weir_process_kill", PROCESS, call_process_kill, 0, 0, GONE, false},
    {"weir_process_pid", PROCESS, call_process_pid, 0, 0, GONE, false},
    {"weir_process_usage", PROCESS, call_process_usage, -EAGAIN, -EAGAIN, GONE, false},
    {"weir_process_wait", PROCESS, call_process_wait, 0, 0, GONE, true},
    {"weir_resolver_cancel", RESOLVER, call_resolver_cancel, 0, 0, GONE, true},
    {"weir_resolver_close", RESOLVER, call_resolver_close, 0, 0, GONE, true},
    {"weir_resolver_context", RESOLVER, call_resolver_context, 0, 0, GONE, false},
    {"weir_resolver_create", CONTEXT, call_resolver_create, 0, 0, WEIR_ESHUTDOWN, false},
    {"weir_resolver_resolve", RESOLVER, call_resolver_resolve, 0, 0, GONE, false},
    {"weir_resolver_reverse", RESOLVER, call_resolver_reverse, 0, 0, GONE, false},
    {"weir_resolver_set_limit", NOTHING, call_resolver_set_limit, 0, 0, 0, false},
    {"weir_set_allocator", NOTHING, call_set_allocator, 0, 0, 0, false},
    {"weir_signals_add", SIGNALS, call_signals_add, 0, 0, GONE, false},
    {"weir_signals_arrived", SIGNALS, call_signals_arrived, 0, 0, GONE, false},
    {"weir_signals_cancel", SIGNALS, call_signals_cancel, 0, 0, GONE, true},
    {"weir_signals_clear", SIGNALS, call_signals_clear, 0, 0, GONE, true},
    {"weir_signals_close", SIGNALS, call_signals_close, 0, 0, GONE, true},
    {"weir_signals_context", SIGNALS, call_signals_context, 0, 0, GONE, false},
    {"weir_signals_create", CONTEXT, call_signals_create, 0, 0, WEIR_ESHUTDOWN, false},
    {"weir_signals_remove", SIGNALS, call_signals_remove, 0, 0, GONE, false},
    {"weir_signals_wait", SIGNALS, call_signals_wait, 0, 0, GONE, true},
    {"weir_strand_close", STRAND, call_strand_close, 0, 0, GONE, true},
    {"weir_strand_context", STRAND, call_strand_context, 0, 0, GONE, false},
    {"weir_strand_create", CONTEXT, call_strand_create, 0, 0, WEIR_ESHUTDOWN, false},
    {"weir_strand_dispatch", STRAND, call_strand_dispatch, 0, 0, GONE, true},
    {"weir_strand_post", STRAND, call_strand_post, 0, 0, GONE, true},
    {"weir_strand_running_in_this_thread", STRAND, call_strand_running_in_this_thread, 0, 0, GONE, true},
    {"weir_stream_adopt", STREAM, call_stream_adopt, WEIR_EBUSY, WEIR_EBUSY, GONE, false},
    {"weir_stream_bind", STREAM, call_stream_bind, WEIR_EINVAL, WEIR_EINVAL, GONE, false},
    {"weir_stream_bind_to_device", STREAM, call_stream_bind_to_device, 0, 0, GONE, false},
    {"weir_stream_cancel", STREAM, call_stream_cancel, 0, 0, GONE, true},
    {"weir_stream_close", STREAM, call_stream_close, 0, 0, GONE, true},
    {"weir_stream_connect", STREAM, call_stream_connect, 0, 0, GONE, false},
    {"weir_stream_connect_list", STREAM, call_stream_connect_list, WEIR_EBUSY, WEIR_EBUSY, GONE, false},
    {"weir_stream_context", STREAM, call_stream_context, 0, 0, GONE, false},
    {"weir_stream_create", CONTEXT, call_stream_create, 0, 0, WEIR_ESHUTDOWN, false},
    {"weir_stream_fd", STREAM, call_stream_fd, 0, 0, GONE, false},
    {"weir_stream_get", STREAM, call_stream_get, 0, 0, GONE, false},
    {"weir_stream_get_option", STREAM, call_stream_get_option, 0, 0, GONE, false},
    {"weir_stream_local_address", STREAM, call_stream_local_address, 0, 0, GONE, false},
    {"weir_stream_open", STREAM, call_stream_open, WEIR_EBUSY, WEIR_EBUSY, GONE, false},
    {"weir_stream_pair", CONTEXT, call_stream_pair, 0, 0, WEIR_ESHUTDOWN, false},
    {"weir_stream_peer_credentials", STREAM, call_stream_peer_credentials, -EOPNOTSUPP, -EOPNOTSUPP, GONE, false},
    {"weir_stream_queued", STREAM, call_stream_queued, 0, 0, GONE, false},
    {"weir_stream_read", STREAM, call_stream_read, 0, 0, GONE, false},
    {"weir_stream_read_each", STREAM, call_stream_read_each, 0, 0, GONE, false},
    {"weir_stream_read_fds", STREAM, call_stream_read_fds, -EOPNOTSUPP, -EOPNOTSUPP, GONE, false},
    {"weir_stream_read_some", STREAM, call_stream_read_some, 0, 0, GONE, false},
    {"weir_stream_read_until", STREAM, call_stream_read_until, 0, 0, GONE, false},
    {"weir_stream_readv", STREAM, call_stream_readv, 0, 0, GONE, false},
    {"weir_stream_readv_some", STREAM, call_stream_readv_some, 0, 0, GONE, false},
    {"weir_stream_release", STREAM, call_stream_release, 0, 0, GONE, false},
    {"weir_stream_remote_address", STREAM, call_stream_remote_address, 0, 0, GONE, false},
    {"weir_stream_send", STREAM, call_stream_send, 0, 0, GONE, false},
    {"weir_stream_send_copy", STREAM, call_stream_send_copy, 0, 0, GONE, false},
    {"weir_stream_send_file", STREAM, call_stream_send_file, 0, 0, GONE, false},
    {"weir_stream_set", STREAM, call_stream_set, 0, 0, GONE, false},
    {"weir_stream_set_high_water", STREAM, call_stream_set_high_water, 0, 0, GONE, false},
    {"weir_stream_set_option", STREAM, call_stream_set_option, 0, 0, GONE, false},
    {"weir_stream_set_timeout", STREAM, call_stream_set_timeout, 0, 0, GONE, false},
    {"weir_stream_shutdown", STREAM, call_stream_shutdown, 0, 0, GONE, false},
    {"weir_stream_try_read", STREAM, call_stream_try_read, 0, 0, GONE, false},
    {"weir_stream_try_readv", STREAM, call_stream_try_readv, 0, 0, GONE, false},
    {"weir_stream_try_write", STREAM, call_stream_try_write, 0, 0, GONE, false},
    {"weir_stream_try_writev", STREAM, call_stream_try_writev, 0, 0, GONE, false},
    {"weir_stream_wait", STREAM, call_stream_wait, 0, 0, GONE, false},
    {"weir_stream_write", STREAM, call_stream_write, 0, 0, GONE, false},
    {"weir_stream_write_fds", STREAM, call_stream_write_fds, -EOPNOTSUPP, -EOPNOTSUPP, GONE, false},
    {"weir_stream_write_some", STREAM, call_stream_write_some, 0, 0, GONE, false},
    {"weir_stream_writev", STREAM, call_stream_writev, 0, 0, GONE, false},
    {"weir_stream_writev_some", STREAM, call_stream_writev_some, 0, 0, GONE, false},
    {"weir_struct_size", NOTHING, call_struct_size, 0, 0, 0, true},
    {"weir_strerror", NOTHING, call_strerror, 0, 0, 0, false},
    {"weir_timer_cancel", TIMER, call_timer_cancel, 0, 0, GONE, true},
    {"weir_timer_cancel_one", TIMER, call_timer_cancel_one, 0, 0, GONE, true},
    {"weir_timer_close", TIMER, call_timer_close, 0, 0, GONE, true},
    {"weir_timer_context", TIMER, call_timer_context, 0, 0, GONE, false},
    {"weir_timer_create", CONTEXT, call_timer_create, 0, 0, WEIR_ESHUTDOWN, false},
    {"weir_timer_expires_after", TIMER, call_timer_expires_after, 0, 0, GONE, false},
    {"weir_timer_expires_at", TIMER, call_timer_expires_at, 0, 0, GONE, false},
    {"weir_timer_expiry", TIMER, call_timer_expiry, 0, 0, GONE, false},
    {"weir_timer_remaining", TIMER, call_timer_remaining, 0, 0, GONE, false},
    {"weir_timer_start", TIMER, call_timer_start, 0, 0, GONE, false},
    {"weir_timer_stop", TIMER, call_timer_stop, 0, 0, GONE, true},
    {"weir_timer_wait", TIMER, call_timer_wait, 0, 0, GONE, true},
    {"weir_version", NOTHING, call_version, 0, 0, 0, true},
    {"weir_version_string", NOTHING, call_version_string, 0, 0, 0, true},
    {"weir_watch_cancel", WATCH, call_watch_cancel, 0, 0, GONE, true},
    {"weir_watch_change", WATCH, call_watch_change, WEIR_EINVAL, WEIR_EINVAL, GONE, false},
    {"weir_watch_close", WATCH, call_watch_close, 0, 0, GONE, true},
    {"weir_watch_context", WATCH, call_watch_context, 0, 0, GONE, false},
    {"weir_watch_create", CONTEXT, call_watch_create, 0, 0, WEIR_ESHUTDOWN, false},
    {"weir_watch_fd", WATCH, call_watch_fd, 0, 0, GONE, false},
    {"weir_watch_feed", WATCH, call_watch_feed, WEIR_EINVAL, WEIR_EINVAL, GONE, false},
    {"weir_watch_set_fd", WATCH, call_watch_set_fd, 0, 0, GONE, false},
    {"weir_watch_set_timeout", WATCH, call_watch_set_timeout, WEIR_EINVAL, WEIR_EINVAL, GONE, false},
    {"weir_watch_start", WATCH, call_watch_start, 0, 0, GONE, false},
    {"weir_watch_stop", WATCH, call_watch_stop, 0, 0, GONE, true},
};

#define EACH_ROW(row) for (const struct row *row = table; row < table + sizeof table / sizeof *table; row++)

/* Lives as long as this process. */
static pid_t child_that_waits(void)
{
    int ends[2];
    CHECK_EQ(pipe2(ends, O_CLOEXEC), 0);
    pid_t made = fork();
    CHECK(made >= 0);
    if (made == 0) {
        char byte;
        close(ends[1]);
        _exit(read(ends[0], &byte, 1) != 0);
    }
    close(ends[0]);
    return made;
}

static void make(struct fixture *fixture)
{
    int ends[2];
    memset(fixture, 0, sizeof *fixture);
    fixture->context = new_context();
    fixture->timer = new_timer(fixture->context);
    CHECK_OK(weir_timer_expires_after(fixture->timer, WEIR_FOREVER));
    plain_pair(AF_INET, ends);
    fixture->stream = adopted(fixture->context, ends[0]);
    fixture->peer = ends[1];
    fixture->empty_stream = new_stream(fixture->context);
    fixture->acceptor = new_listener(fixture->context, AF_INET, 4, &fixture->where);
    fixture->empty_acceptor = new_acceptor(fixture->context);
    CHECK_OK(weir_strand_create(fixture->context, &fixture->strand));
    CHECK_OK(weir_hook_create(fixture->context, WEIR_HOOK_CHECK, &fixture->hook));
    CHECK_OK(weir_signals_create(fixture->context, &fixture->signals));
    CHECK_OK(weir_signals_add(fixture->signals, SIGUSR2, 0)); /* which the row of remove takes out */
    CHECK_OK(weir_watch_create(fixture->context, fixture->peer, &fixture->watch));
    atomic_int ended = 0;
    CHECK_OK(weir_job_start(fixture->context, nothing, NULL, &fixture->job, count_job, &ended));
    RUN_UNTIL(fixture->context, atomic_load(&ended) == 1);
    if (weir_context_stopped(fixture->context) == 1)
        CHECK_OK(weir_context_restart(fixture->context));
    if (child == 0)
        child = child_that_waits();
    CHECK_OK(weir_process_create(fixture->context, child, &fixture->process));
    struct where at;
    fixture->datagram = bound(fixture->context, AF_INET, NULL, &at);
    CHECK_OK(weir_datagram_connect(fixture->datagram, AT(&at)));
    fixture->empty_datagram = new_datagram(fixture->context);
    CHECK_OK(weir_resolver_create(fixture->context, &fixture->resolver));
    target = fixture->where;
    group = loopback(AF_INET, 0);
    CHECK_EQ(inet_pton(AF_INET, "239.255.7.7", &((struct sockaddr_in *)&group.address)->sin_addr), 1);
    loopback_index = if_nametoindex("lo");
}

static void *handle_of(const struct fixture *fixture, int kind)
{
    void *handles[HANDLES] = {NULL,           fixture->context,  fixture->timer,
                              fixture->stream, fixture->acceptor, fixture->strand,
                              fixture->hook,
                              fixture->signals,
                              fixture->datagram,
                              fixture->watch,
                              fixture->process,
                              fixture->job,
                              fixture->resolver};
    return handles[kind == ANY ? STREAM : kind];
}

static void unmake(struct fixture *fixture)
{
    int code = weir_context_destroy(fixture->context);
    CHECK(code == 0 || code == WEIR_EBADF); /* the row destroyed it */
    close(fixture->peer);
}

/* ---- the table against the library */

TEST(every_function_is_in_the_table)
{
    FILE *file = fopen(WEIR_SYMBOLS_FILE, "r");
    CHECK(file != NULL);
    char line[128];
    size_t known = 0, rows = sizeof table / sizeof *table;
    while (fgets(line, sizeof line, file)) {
        line[strcspn(line, "\r\n")] = 0;
        if (line[0] == 0 || line[0] == '#')
            continue;
        bool found = false;
        EACH_ROW(row)
            found = found || strcmp(row->name, line) == 0;
        if (!found)
            check_fail(__FILE__, __LINE__, "%s has no row in the table of bad input", line);
        known++;
    }
    fclose(file);
    CHECK_EQ(known, rows);
}

/* ---- contract 5: bad handles */

static void bad_handle(const struct row *row, void *handle, const char *what)
{
    prepare();
    net_starting = true;
    int code = row->call(handle);
    net_starting = false;
    if (code != WEIR_EBADF)
        check_fail(__FILE__, __LINE__, "%s with %s handle %p gave %d (%s)", row->name, what, handle, code,
                   weir_error_name(code));
    check_nothing_written(row->name);
}

static uint64_t random_state = 0x9E3779B97F4A7C15u;

static uint64_t random_bits(void)
{
    random_state ^= random_state << 13;
    random_state ^= random_state >> 7;
    random_state ^= random_state << 17;
    return random_state;
}

TEST(bad_handles_are_ebadf_in_every_function)
{
    struct fixture live, dead;
    void *stale[HANDLES];
    int ahead = 0;
    make(&dead);
    for (int kind = 0; kind < HANDLES; kind++)
        stale[kind] = handle_of(&dead, kind);
    CHECK_OK(weir_timer_close(dead.timer));
    CHECK_OK(weir_stream_close(dead.stream));
    CHECK_OK(weir_acceptor_close(dead.acceptor));
    CHECK_OK(weir_strand_close(dead.strand));
    CHECK_OK(weir_hook_close(dead.hook));
    CHECK_OK(weir_signals_close(dead.signals));
    CHECK_OK(weir_datagram_close(dead.datagram));
    CHECK_OK(weir_watch_close(dead.watch));
    CHECK_OK(weir_process_close(dead.process));
    CHECK_OK(weir_job_close(dead.job));
    CHECK_OK(weir_resolver_close(dead.resolver));
    unmake(&dead);
    make(&live); /* which has the slots of the dead ones now, or some of them */
    EACH_ROW(row) {
        if (row->kind == NOTHING)
            continue;
        bad_handle(row, NULL, "a NULL");
        for (int kind = CONTEXT; kind < HANDLES; kind++) {
            bad_handle(row, stale[kind], "a stale");
            if (kind != row->kind && (row->kind != ANY || kind == CONTEXT))
                bad_handle(row, handle_of(&live, kind), "a wrong-type");
        }
        for (uintptr_t small = 1; small < 200; small++)
            bad_handle(row, (void *)small, "a forged");
        for (int i = 0; i < 500; i++)
            bad_handle(row, (void *)(uintptr_t)random_bits(), "a forged");
        bad_handle(row, (void *)UINTPTR_MAX, "a forged");
        bad_handle(row, (void *)(UINTPTR_MAX >> 1), "a forged");
        bad_handle(row, &live, "a forged");
        bad_handle(row, (void *)&weir_version, "a forged");
        bad_handle(row, &ahead, "a forged");
    }
    settle(live.context);
    unmake(&live);
}

/* ---- the other arguments */

static bool covered[sizeof table / sizeof *table];

static void cover(const char *name)
{
    EACH_ROW(row) {
        if (strcmp(row->name, name) == 0) {
            covered[row - table] = true;
            return;
        }
    }
    check_fail(__FILE__, __LINE__, "%s is not in the table", name);
}

#define EXPECT(name, code, ...)                                                                                        \
    do {                                                                                                               \
        prepare();                                                                                                     \
        cover("weir_" #name);                                                                                          \
        START_CODE(weir_##name(__VA_ARGS__), code);                                                                    \
        check_nothing_written("weir_" #name);                                                                          \
    } while (0)

static const size_t too_long[] = {(size_t)SSIZE_MAX + 1, SIZE_MAX};
static const int64_t negative[] = {-1, INT64_MIN};

static void context_arguments(struct fixture *f)
{
    weir_context *c = f->context;
    EXPECT(context_create, WEIR_EINVAL, NULL, NULL);
    EXPECT(context_fd, WEIR_EINVAL, c, NULL);
    EXPECT(context_now, WEIR_EINVAL, c, NULL);
    EXPECT(context_turn_now, WEIR_EINVAL, c, NULL);
    EXPECT(context_wakeup_fd, WEIR_EINVAL, c, NULL);
    EXPECT(context_wakeup_values, WEIR_EINVAL, c, NULL);
    EXPECT(context_work_end, WEIR_EINVAL, c);
    EXPECT(context_cancel_tag, WEIR_EINVAL, c, 0, OUT(size_t));
    EXPECT(context_reap, WEIR_EINVAL, c, NULL, 2, 0, OUT(size_t));
    EXPECT(context_reap, WEIR_EINVAL, c, records, 0, 0, OUT(size_t));
    EXPECT(context_reap, WEIR_EINVAL, c, records, 2, -1, OUT(size_t));
    EXPECT(context_reap, WEIR_EINVAL, c, records, 2, 0, NULL);
    EXPECT(context_enter, WEIR_EINVAL, c, NULL, 1, records, 2, 0, OUT(size_t));
    EXPECT(context_enter, WEIR_EINVAL, c, NULL, 0, NULL, 2, 0, OUT(size_t));
    EXPECT(context_enter, WEIR_EINVAL, c, NULL, 0, records, 2, -1, OUT(size_t));
    EXPECT(context_enter, WEIR_EINVAL, c, NULL, 0, records, 2, 0, NULL);
    EXPECT(context_pool_release, WEIR_EINVAL, c, 1);
    EXPECT(context_pool_release, WEIR_EINVAL, c, UINT64_MAX);
    EXPECT(hook_create, WEIR_EINVAL, c, WEIR_HOOK_CHECK, NULL);
    EXPECT(hook_create, WEIR_EINVAL, c, 0, OUT(weir_hook *));
    EXPECT(hook_create, WEIR_EINVAL, c, 4, OUT(weir_hook *));
    EXPECT(hook_start, WEIR_EINVAL, f->hook, NULL, f);
    EXPECT(hook_context, WEIR_EINVAL, f->hook, NULL);
    EXPECT(handle_set_strand, WEIR_EINVAL, f->hook, f->strand);
    weir_stats too_small = {.struct_size = sizeof(size_t)};
    EXPECT(context_stats, WEIR_EINVAL, c, NULL);
    EXPECT(context_stats, WEIR_EINVAL, c, &too_small);
    EXPECT(context_report, WEIR_EINVAL, c, NULL, 1, OUT(size_t));
    EXPECT(context_report, WEIR_EINVAL, c, NULL, 0, NULL);
    EXPECT(context_notify_fork, WEIR_EINVAL, c, 0);
    EXPECT(context_notify_fork, WEIR_EINVAL, c, 4);
    EXPECT(context_notify_fork, WEIR_EINVAL, c, WEIR_FORK_CHILD); /* this is no child */
    weir_allocator nothing = {sizeof nothing, NULL, NULL, NULL};
    EXPECT(set_allocator, WEIR_EINVAL, NULL);
    EXPECT(set_allocator, WEIR_EINVAL, &nothing);
    EXPECT(process_create, WEIR_EINVAL, c, child, NULL);
    EXPECT(process_create, WEIR_EINVAL, c, 0, OUT(weir_process *));
    EXPECT(process_create, WEIR_EINVAL, c, -1, OUT(weir_process *));
    EXPECT(process_create, -ECHILD, c, getppid(), OUT(weir_process *));
    EXPECT(process_context, WEIR_EINVAL, f->process, NULL);
    EXPECT(process_pid, WEIR_EINVAL, f->process, NULL);
    EXPECT(process_usage, WEIR_EINVAL, f->process, NULL);
    EXPECT(process_kill, WEIR_EINVAL, f->process, -1);
    EXPECT(context_pool_sender, WEIR_EINVAL, c, 0, OUT(struct sockaddr_storage), &out_length);
    EXPECT(context_pool_sender, WEIR_EINVAL, c, 0, NULL, &out_length);
    EXPECT(datagram_receive_each, WEIR_ENOTCONN, f->empty_datagram, f);
    EXPECT(strand_create, WEIR_EINVAL, c, NULL);
    EXPECT(timer_create, WEIR_EINVAL, c, NULL);
    EXPECT(stream_create, WEIR_EINVAL, c, NULL);
    EXPECT(acceptor_create, WEIR_EINVAL, c, NULL);
    for (int i = 0; i < 2; i++) {
        EXPECT(context_run_for, WEIR_EINVAL, c, negative[i], OUT(size_t));
        EXPECT(context_run_until, WEIR_EINVAL, c, negative[i], OUT(size_t));
        EXPECT(context_wait_one, WEIR_EINVAL, c, negative[i], OUT(size_t));
        EXPECT(context_advance, WEIR_EINVAL, c, negative[i]);
    }
    EXPECT(context_advance, WEIR_EINVAL, c, 1); /* the clock is not manual */
    EXPECT(context_advance, WEIR_EINVAL, c, WEIR_FOREVER);
    weir_context *manual = new_context_with(WEIR_CONTEXT_MANUAL_CLOCK, 0);
    EXPECT(context_advance, WEIR_EINVAL, manual, -1);
    CHECK_OK(weir_context_destroy(manual));
}

static void handle_arguments(struct fixture *f)
{
    weir_stream *s = f->stream;
    EXPECT(handle_context, WEIR_EINVAL, s, NULL);
    EXPECT(handle_pending, WEIR_EINVAL, s, NULL);
    EXPECT(handle_name, WEIR_EINVAL, s, NULL, 8);
    EXPECT(handle_name, WEIR_EINVAL, s, OUT(char), 0);
    EXPECT(handle_tag, WEIR_EINVAL, s, NULL);
    EXPECT(handle_set_strand, WEIR_EBADF, s, (weir_strand *)(void *)f->timer);
    EXPECT(handle_set_strand, WEIR_EINVAL, f->strand, NULL);
    weir_context *other = new_context();
    weir_strand *foreign;
    CHECK_OK(weir_strand_create(other, &foreign));
    EXPECT(handle_set_strand, WEIR_EINVAL, s, foreign);
    CHECK_OK(weir_context_destroy(other));
    EXPECT(handle_set_strand, WEIR_EBADF, s, foreign);
    EXPECT(strand_context, WEIR_EINVAL, f->strand, NULL);
}

static void signals_arguments(struct fixture *f)
{
    weir_signals *s = f->signals;
    static const int never[] = {0, -1, 65, INT_MAX, INT_MIN, SIGKILL, SIGSTOP, SIGSEGV, SIGFPE};
    EXPECT(signals_create, WEIR_EINVAL, f->context, NULL);
    EXPECT(signals_context, WEIR_EINVAL, s, NULL);
    EXPECT(signals_arrived, WEIR_EINVAL, s, NULL);
    for (size_t i = 0; i < sizeof never / sizeof *never; i++) {
        EXPECT(signals_add, WEIR_EINVAL, s, never[i], 0);
        EXPECT(signals_remove, WEIR_EINVAL, s, never[i]);
    }
    EXPECT(signals_add, WEIR_EINVAL, s, SIGHUP, 32);
    EXPECT(signals_add, WEIR_EINVAL, s, SIGHUP, UINT32_MAX);
    EXPECT(signals_add, WEIR_EINVAL, s, SIGHUP, WEIR_SIGNALS_NO_CHILD_STOP);
    EXPECT(signals_add, WEIR_EINVAL, s, SIGHUP, WEIR_SIGNALS_NO_CHILD_WAIT);
    EXPECT(signals_add, WEIR_EINVAL, s, SIGHUP, WEIR_SIGNALS_ANY_FLAGS | WEIR_SIGNALS_CHAIN);
    EXPECT(signals_add, -EEXIST, s, SIGUSR2, WEIR_SIGNALS_CHAIN);
    EXPECT(signals_remove, -ENOENT, s, SIGHUP);
}

static void job_arguments(struct fixture *f)
{
    EXPECT(job_start, WEIR_EINVAL, f->context, NULL, NULL, OUT(weir_job *), count_job, NULL);
    EXPECT(job_context, WEIR_EINVAL, f->job, NULL);
    EXPECT(job_set_limit, WEIR_EINVAL, 0);
    EXPECT(job_set_limit, WEIR_EINVAL, 1025);
    EXPECT(job_set_limit, WEIR_EINVAL, UINT32_MAX);
}

static void resolver_arguments(struct fixture *f)
{
    weir_resolver *r = f->resolver;
    weir_resolve_hints hints = {.struct_size = sizeof hints, .flags = 1u << 31};
    const struct sockaddr *address = NULL;
    socklen_t length = 0;
    EXPECT(resolver_create, WEIR_EINVAL, f->context, NULL);
    EXPECT(resolver_context, WEIR_EINVAL, r, NULL);
    EXPECT(resolver_resolve, WEIR_EINVAL, r, NULL, NULL, NULL, surprised_addresses, f);
    EXPECT(resolver_resolve, WEIR_EINVAL, r, "::1", "1", &hints, surprised_addresses, f);
    hints.flags = 0;
    hints.struct_size--;
    EXPECT(resolver_resolve, WEIR_EINVAL, r, "::1", "1", &hints, surprised_addresses, f);
    EXPECT(resolver_reverse, WEIR_EINVAL, r, NULL, 16, 0, surprised_names, f);
    EXPECT(resolver_reverse, WEIR_EINVAL, r, AT(&target), 16, surprised_names, f);
    EXPECT(resolver_reverse, WEIR_EINVAL, r, AT(&target), UINT32_MAX, surprised_names, f);
    struct where local = unix_place("reverse");
    EXPECT(resolver_reverse, -EAFNOSUPPORT, r, AT(&local), 0, surprised_names, f);
    EXPECT(resolver_set_limit, WEIR_EINVAL, 0);
    EXPECT(resolver_set_limit, WEIR_EINVAL, 1025);
    EXPECT(resolver_set_limit, WEIR_EINVAL, UINT32_MAX);
    EXPECT(addresses_get, WEIR_EINVAL, NULL, 0, &address, &length);
    EXPECT(addresses_get, WEIR_EINVAL, NULL, SIZE_MAX, NULL, NULL);
}

static void timer_arguments(struct fixture *f)
{
    weir_timer *t = f->timer;
    EXPECT(timer_context, WEIR_EINVAL, t, NULL);
    EXPECT(timer_expiry, WEIR_EINVAL, t, NULL);
    EXPECT(timer_remaining, WEIR_EINVAL, t, NULL);
    EXPECT(timer_start, WEIR_EINVAL, t, 1, 0, surprised, f);
    for (int i = 0; i < 2; i++) {
        EXPECT(timer_expires_after, WEIR_EINVAL, t, negative[i]);
        EXPECT(timer_expires_at, WEIR_EINVAL, t, negative[i]);
        EXPECT(timer_start, WEIR_EINVAL, t, negative[i], 1, surprised, f);
        EXPECT(timer_start, WEIR_EINVAL, t, 1, negative[i], surprised, f);
    }
    int64_t at = 0;
    CHECK_OK(weir_timer_expiry(t, &at)); /* none of these has changed it */
    CHECK_EQ(at, WEIR_FOREVER);
}

static void transfer_arguments(struct fixture *f)
{
    weir_stream *s = f->stream;
    EXPECT(stream_read, WEIR_EINVAL, s, NULL, 8, surprised_io, f);
    EXPECT(stream_read_some, WEIR_EINVAL, s, NULL, 8, surprised_io, f);
    EXPECT(stream_write, WEIR_EINVAL, s, NULL, 8, surprised_io, f);
    EXPECT(stream_write_some, WEIR_EINVAL, s, NULL, 8, surprised_io, f);
    EXPECT(stream_readv, WEIR_EINVAL, s, NULL, 2, surprised_io, f);
    EXPECT(stream_readv_some, WEIR_EINVAL, s, NULL, 2, surprised_io, f);
    EXPECT(stream_writev, WEIR_EINVAL, s, NULL, 2, surprised_io, f);
    EXPECT(stream_writev_some, WEIR_EINVAL, s, NULL, 2, surprised_io, f);
    EXPECT(stream_try_read, WEIR_EINVAL, s, NULL, 8, OUT(size_t));
    EXPECT(stream_try_write, WEIR_EINVAL, s, NULL, 8, OUT(size_t));
    EXPECT(stream_try_readv, WEIR_EINVAL, s, NULL, 2, OUT(size_t));
    EXPECT(stream_try_writev, WEIR_EINVAL, s, NULL, 2, OUT(size_t));
    EXPECT(stream_try_read, WEIR_EINVAL, s, buffer, 8, NULL);
    EXPECT(stream_try_write, WEIR_EINVAL, s, buffer, 8, NULL);
    EXPECT(stream_try_readv, WEIR_EINVAL, s, vectors, 2, NULL);
    EXPECT(stream_try_writev, WEIR_EINVAL, s, vectors, 2, NULL);
    /* A buffer that is NULL inside the array. */
    const struct iovec missing[2] = {{buffer, 3}, {NULL, 5}};
    EXPECT(stream_readv, WEIR_EINVAL, s, missing, 2, surprised_io, f);
    EXPECT(stream_readv_some, WEIR_EINVAL, s, missing, 2, surprised_io, f);
    EXPECT(stream_writev, WEIR_EINVAL, s, missing, 2, surprised_io, f);
    EXPECT(stream_writev_some, WEIR_EINVAL, s, missing, 2, surprised_io, f);
    EXPECT(stream_try_readv, WEIR_EINVAL, s, missing, 2, OUT(size_t));
    EXPECT(stream_try_writev, WEIR_EINVAL, s, missing, 2, OUT(size_t));
    for (int i = 0; i < 2; i++) {
        const struct iovec huge[2] = {{buffer, 1}, {buffer, too_long[i] - 1 + (size_t)i}};
        EXPECT(stream_read, WEIR_EINVAL, s, buffer, too_long[i], surprised_io, f);
        EXPECT(stream_read_some, WEIR_EINVAL, s, buffer, too_long[i], surprised_io, f);
        EXPECT(stream_write, WEIR_EINVAL, s, buffer, too_long[i], surprised_io, f);
        EXPECT(stream_write_some, WEIR_EINVAL, s, buffer, too_long[i], surprised_io, f);
        EXPECT(stream_try_read, WEIR_EINVAL, s, buffer, too_long[i], OUT(size_t));
        EXPECT(stream_try_write, WEIR_EINVAL, s, buffer, too_long[i], OUT(size_t));
        EXPECT(stream_readv, WEIR_EINVAL, s, huge, 2, surprised_io, f);
        EXPECT(stream_readv_some, WEIR_EINVAL, s, huge, 2, surprised_io, f);
        EXPECT(stream_writev, WEIR_EINVAL, s, huge, 2, surprised_io, f);
        EXPECT(stream_writev_some, WEIR_EINVAL, s, huge, 2, surprised_io, f);
        EXPECT(stream_try_readv, WEIR_EINVAL, s, huge, 2, OUT(size_t));
        EXPECT(stream_try_writev, WEIR_EINVAL, s, huge, 2, OUT(size_t));
    }
}

/* Addresses that bind and connect refuse alike. */
static void address_arguments(struct fixture *f)
{
    weir_acceptor *a = f->empty_acceptor;
    weir_stream *s = f->empty_stream, *opened = new_stream(f->context);
    struct where where = loopback(AF_INET, 0), six = loopback(AF_INET6, 0), odd = where;
    CHECK_OK(weir_stream_open(opened, AF_INET));
    EXPECT(stream_connect, WEIR_EINVAL, s, NULL, where.length, surprised, f);
    EXPECT(stream_bind, WEIR_EINVAL, opened, NULL, where.length);
    EXPECT(acceptor_bind, WEIR_EINVAL, a, NULL, where.length);
    for (socklen_t length = 0; length < where.length; length++) {
        const struct sockaddr *address = (struct sockaddr *)&where.address;
        EXPECT(stream_connect, WEIR_EINVAL, s, address, length, surprised, f);
        EXPECT(stream_bind, WEIR_EINVAL, opened, address, length);
        EXPECT(acceptor_bind, WEIR_EINVAL, a, address, length);
    }
    const struct sockaddr *address6 = (struct sockaddr *)&six.address;
    EXPECT(stream_connect, WEIR_EINVAL, s, address6, where.length, surprised, f);
    EXPECT(acceptor_bind, WEIR_EINVAL, a, address6, where.length);
    const struct sockaddr *address = (struct sockaddr *)&odd.address;
    EXPECT(stream_connect, WEIR_EINVAL, s, address, UINT32_MAX, surprised, f);
    EXPECT(acceptor_bind, WEIR_EINVAL, a, address, UINT32_MAX);
    static const int families[] = {AF_UNSPEC, AF_NETLINK, AF_PACKET, 9999};
    for (int i = 0; i < 4; i++) {
        odd.address.ss_family = (sa_family_t)families[i];
        EXPECT(stream_connect, -EAFNOSUPPORT, s, address, sizeof odd.address, surprised, f);
        EXPECT(stream_bind, -EAFNOSUPPORT, opened, address, sizeof odd.address);
        EXPECT(acceptor_bind, -EAFNOSUPPORT, a, address, sizeof odd.address);
        EXPECT(stream_open, -EAFNOSUPPORT, s, families[i]);
        EXPECT(acceptor_open, -EAFNOSUPPORT, a, families[i]);
    }
    EXPECT(stream_open, -EAFNOSUPPORT, s, -1);
    EXPECT(stream_open, -EAFNOSUPPORT, s, INT_MAX);
    EXPECT(acceptor_open, -EAFNOSUPPORT, a, INT_MIN);
    /* The empty ones are still empty. */
    int fd = -1;
    CHECK_CODE(weir_stream_fd(s, &fd), WEIR_ENOTCONN);
    CHECK_CODE(weir_acceptor_fd(a, &fd), WEIR_ENOTCONN);
    EXPECT(address_parse, WEIR_EINVAL, NULL, &out.address, &out_length);
    EXPECT(address_parse, WEIR_EINVAL, "127.0.0.1:80", NULL, &out_length);
    EXPECT(address_parse, WEIR_EINVAL, "127.0.0.1:80", &out.address, NULL);
    EXPECT(address_parse, WEIR_EINVAL, "nonsense", &out.address, &out_length);
    EXPECT(address_format, WEIR_EINVAL, NULL, where.length, out.text, sizeof out);
    EXPECT(address_format, WEIR_EINVAL, AT(&where), NULL, sizeof out);
    EXPECT(address_format, -ENOSPC, AT(&where), out.text, 0);
    EXPECT(address_format, -ENOSPC, AT(&where), out.text, 5);
    EXPECT(address_format, -EAFNOSUPPORT, address, sizeof odd.address, out.text, sizeof out);
}

static void stream_arguments(struct fixture *f)
{
    weir_stream *s = f->stream, *e = f->empty_stream;
    EXPECT(stream_context, WEIR_EINVAL, s, NULL);
    EXPECT(stream_fd, WEIR_EINVAL, s, NULL);
    EXPECT(stream_release, WEIR_EINVAL, s, NULL);
    EXPECT(stream_local_address, WEIR_EINVAL, s, NULL, &out_length);
    EXPECT(stream_local_address, WEIR_EINVAL, s, &out.address, NULL);
    EXPECT(stream_remote_address, WEIR_EINVAL, s, NULL, &out_length);
    EXPECT(stream_remote_address, WEIR_EINVAL, s, &out.address, NULL);
    EXPECT(stream_get, WEIR_EINVAL, s, WEIR_OPT_NO_DELAY, NULL);
    EXPECT(stream_get_option, WEIR_EINVAL, s, SOL_SOCKET, SO_KEEPALIVE, NULL, &out_length);
    EXPECT(stream_get_option, WEIR_EINVAL, s, SOL_SOCKET, SO_KEEPALIVE, &out, NULL);
    EXPECT(stream_set_option, WEIR_EINVAL, s, SOL_SOCKET, SO_KEEPALIVE, NULL, sizeof(int));
    EXPECT(stream_set_option, WEIR_EINVAL, s, SOL_SOCKET, SO_KEEPALIVE, &one, 1);
    EXPECT(stream_set_option, -ENOPROTOOPT, s, SOL_SOCKET, 9999, &one, sizeof one);
    EXPECT(stream_get_option, -ENOPROTOOPT, s, SOL_SOCKET, 9999, &out, &out_length);
    EXPECT(stream_bind_to_device, WEIR_EINVAL, s, NULL);
    EXPECT(stream_adopt, WEIR_EBADF, e, -1);
    EXPECT(stream_adopt, WEIR_EBADF, e, INT_MAX);
    EXPECT(stream_adopt, WEIR_EBADF, e, INT_MIN);
    static const int odd[] = {0, 3, 4, -1, INT_MAX, INT_MIN};
    for (int i = 0; i < 6; i++) {
        EXPECT(stream_wait, WEIR_EINVAL, s, odd[i], surprised, f);
        if (odd[i] != 0)
            EXPECT(stream_shutdown, WEIR_EINVAL, s, odd[i]);
    }
    static const int options[] = {0, -1, -19, 1000, INT_MAX, INT_MIN};
    for (int i = 0; i < 6; i++) {
        EXPECT(stream_set, WEIR_EINVAL, s, options[i], 1);
        EXPECT(stream_get, WEIR_EINVAL, s, options[i], &out.number);
        EXPECT(acceptor_set, WEIR_EINVAL, f->acceptor, options[i], 1);
        EXPECT(acceptor_get, WEIR_EINVAL, f->acceptor, options[i], &out.number);
    }
    EXPECT(stream_set, WEIR_EINVAL, s, WEIR_OPT_LINGER, -2);
    EXPECT(stream_set, WEIR_EINVAL, s, WEIR_OPT_KEEP_ALIVE_COUNT, -1);
    EXPECT(stream_set, WEIR_EINVAL, s, WEIR_OPT_KEEP_ALIVE_IDLE, 0);
    /* Without an fd. */
    EXPECT(stream_fd, WEIR_ENOTCONN, e, &out.number);
    EXPECT(stream_release, WEIR_ENOTCONN, e, &out.number);
    EXPECT(stream_bind, WEIR_ENOTCONN, e, AT(&target));
    EXPECT(stream_local_address, WEIR_ENOTCONN, e, &out.address, &out_length);
    EXPECT(stream_remote_address, WEIR_ENOTCONN, e, &out.address, &out_length);
    EXPECT(stream_read, WEIR_ENOTCONN, e, buffer, 8, surprised_io, f);
    EXPECT(stream_write, WEIR_ENOTCONN, e, buffer, 8, surprised_io, f);
    EXPECT(stream_read, WEIR_ENOTCONN, e, buffer, 0, surprised_io, f);
    EXPECT(stream_read_each, WEIR_ENOTCONN, e, NULL, f);
    EXPECT(stream_try_read, WEIR_ENOTCONN, e, buffer, 8, &out.size);
    EXPECT(stream_try_write, WEIR_ENOTCONN, e, buffer, 8, &out.size);
    EXPECT(stream_try_write, WEIR_ENOTCONN, e, buffer, 0, &out.size);
    EXPECT(stream_wait, WEIR_ENOTCONN, e, WEIR_WAIT_READ, surprised, f);
    EXPECT(stream_shutdown, WEIR_ENOTCONN, e, WEIR_SHUTDOWN_BOTH);
    EXPECT(stream_set, WEIR_ENOTCONN, e, WEIR_OPT_NO_DELAY, 1);
    EXPECT(stream_get, WEIR_ENOTCONN, e, WEIR_OPT_NO_DELAY, &out.number);
    EXPECT(stream_set_option, WEIR_ENOTCONN, e, SOL_SOCKET, SO_KEEPALIVE, &one, sizeof one);
    EXPECT(stream_get_option, WEIR_ENOTCONN, e, SOL_SOCKET, SO_KEEPALIVE, &out, &out_length);
    EXPECT(stream_bind_to_device, WEIR_ENOTCONN, e, "lo");
}

static void compose_arguments(struct fixture *f)
{
    weir_stream *s = f->stream, *e = f->empty_stream;
    static const int odd[] = {0, 4, 5, 7, -1, INT_MAX, INT_MIN};
    for (int i = 0; i < 7; i++)
        EXPECT(stream_set_timeout, WEIR_EINVAL, s, odd[i], 1);
    for (int i = 0; i < 2; i++) {
        EXPECT(stream_set_timeout, WEIR_EINVAL, s, WEIR_WAIT_READ, negative[i]);
        EXPECT(stream_send_file, WEIR_EINVAL, s, 0, negative[i], 8, surprised_io, f);
        EXPECT(stream_send_file, WEIR_EINVAL, s, 0, 0, too_long[i], surprised_io, f);
    }
    EXPECT(stream_send_file, WEIR_EBADF, s, -1, 0, 8, surprised_io, f);
    EXPECT(stream_send_file, WEIR_EBADF, s, INT_MIN, 0, 8, surprised_io, f);
    EXPECT(stream_send_file, WEIR_ENOTCONN, e, 0, 0, 8, surprised_io, f);
    EXPECT(stream_send_file, WEIR_ENOTCONN, e, 0, 0, 0, surprised_io, f);
    EXPECT(stream_send, WEIR_EINVAL, s, NULL, 8, surprised_io, f);
    EXPECT(stream_send, WEIR_EINVAL, s, buffer, too_long[0], surprised_io, f);
    EXPECT(stream_send, WEIR_ENOTCONN, e, buffer, 8, surprised_io, f);
    EXPECT(stream_send, WEIR_ENOTCONN, e, buffer, 0, surprised_io, f);
    EXPECT(stream_send_copy, WEIR_EINVAL, s, NULL, 8, NULL);
    EXPECT(stream_send_copy, WEIR_EINVAL, s, buffer, too_long[0], NULL);
    EXPECT(stream_send_copy, WEIR_ENOTCONN, e, buffer, 0, NULL);
    EXPECT(stream_queued, WEIR_EINVAL, s, NULL);
    EXPECT(stream_set_high_water, WEIR_EINVAL, s, 1, 2, surprised_io, f);
    EXPECT(stream_set_high_water, WEIR_EINVAL, s, 0, 1, surprised_io, f);
    const struct sockaddr *addresses[65];
    socklen_t lengths[65];
    for (int i = 0; i < 65; i++) {
        addresses[i] = (const struct sockaddr *)&target.address;
        lengths[i] = target.length;
    }
    EXPECT(stream_connect_list, WEIR_EBUSY, s, addresses, lengths, 1, NULL, surprised, f);
    EXPECT(stream_connect_list, WEIR_EINVAL, e, NULL, lengths, 1, NULL, surprised, f);
    EXPECT(stream_connect_list, WEIR_EINVAL, e, addresses, NULL, 1, NULL, surprised, f);
    EXPECT(stream_connect_list, WEIR_EINVAL, e, addresses, lengths, 0, NULL, surprised, f);
    EXPECT(stream_connect_list, WEIR_EINVAL, e, addresses, lengths, 65, NULL, surprised, f);
    EXPECT(stream_connect_list, WEIR_EINVAL, e, addresses, lengths, SIZE_MAX, NULL, surprised, f);
    weir_connect_options odd_options[4] = {{0, 0, 0},
                                           {sizeof(weir_connect_options) + 1, 0, 0},
                                           {sizeof(weir_connect_options), -1, 0},
                                           {sizeof(weir_connect_options), 0, -1}};
    for (int i = 0; i < 4; i++)
        EXPECT(stream_connect_list, WEIR_EINVAL, e, addresses, lengths, 1, &odd_options[i], surprised, f);
    lengths[1] = 1;
    EXPECT(stream_connect_list, WEIR_EINVAL, e, addresses, lengths, 2, NULL, surprised, f);
    addresses[1] = NULL;
    EXPECT(stream_connect_list, WEIR_EINVAL, e, addresses, lengths, 2, NULL, surprised, f);
    EXPECT(stream_read_until, WEIR_EINVAL, s, NULL, surprised_io, f);
    EXPECT(stream_read_until, WEIR_ENOTCONN, e, &until, surprised_io, f);
    weir_until bad[8];
    for (int i = 0; i < 8; i++)
        bad[i] = good_until;
    bad[0].struct_size = 0;
    bad[1].struct_size++;
    bad[2].data = NULL;
    bad[3].capacity = too_long[0];
    bad[4].filled = 9;
    bad[5].delimiter = NULL;
    bad[6].delimiter_length = 0;
    bad[7].delimiter_length = too_long[1];
    for (int i = 0; i < 8; i++)
        EXPECT(stream_read_until, WEIR_EINVAL, s, &bad[i], surprised_io, f);
}

static void acceptor_arguments(struct fixture *f)
{
    weir_acceptor *a = f->acceptor, *e = f->empty_acceptor;
    EXPECT(acceptor_context, WEIR_EINVAL, a, NULL);
    EXPECT(acceptor_fd, WEIR_EINVAL, a, NULL);
    EXPECT(acceptor_release, WEIR_EINVAL, a, NULL);
    EXPECT(acceptor_local_address, WEIR_EINVAL, a, NULL, &out_length);
    EXPECT(acceptor_local_address, WEIR_EINVAL, a, &out.address, NULL);
    EXPECT(acceptor_get, WEIR_EINVAL, a, WEIR_OPT_KEEP_ALIVE, NULL);
    EXPECT(acceptor_get_option, WEIR_EINVAL, a, SOL_SOCKET, SO_KEEPALIVE, NULL, &out_length);
    EXPECT(acceptor_get_option, WEIR_EINVAL, a, SOL_SOCKET, SO_KEEPALIVE, &out, NULL);
    EXPECT(acceptor_set_option, WEIR_EINVAL, a, SOL_SOCKET, SO_KEEPALIVE, NULL, sizeof(int));
    EXPECT(acceptor_bind_to_device, WEIR_EINVAL, a, NULL);
    EXPECT(acceptor_adopt, WEIR_EBADF, e, -1);
    EXPECT(acceptor_adopt, WEIR_EBADF, e, INT_MAX);
    EXPECT(acceptor_listen, WEIR_EINVAL, a, -1);
    EXPECT(acceptor_listen, WEIR_EINVAL, a, INT_MIN);
    EXPECT(acceptor_fd, WEIR_ENOTCONN, e, &out.number);
    EXPECT(acceptor_release, WEIR_ENOTCONN, e, &out.number);
    EXPECT(acceptor_listen, WEIR_ENOTCONN, e, 0);
    EXPECT(acceptor_local_address, WEIR_ENOTCONN, e, &out.address, &out_length);
    EXPECT(acceptor_accept, WEIR_ENOTCONN, e, surprised_accept, f);
    EXPECT(acceptor_accept_each, WEIR_ENOTCONN, e, surprised_accept, f);
    EXPECT(acceptor_wait, WEIR_ENOTCONN, e, surprised, f);
    EXPECT(acceptor_set, WEIR_ENOTCONN, e, WEIR_OPT_REUSE_PORT, 1);
    EXPECT(acceptor_get, WEIR_ENOTCONN, e, WEIR_OPT_REUSE_PORT, &out.number);
    EXPECT(acceptor_set_option, WEIR_ENOTCONN, e, SOL_SOCKET, SO_KEEPALIVE, &one, sizeof one);
    EXPECT(acceptor_get_option, WEIR_ENOTCONN, e, SOL_SOCKET, SO_KEEPALIVE, &out, &out_length);
    EXPECT(acceptor_bind_to_device, WEIR_ENOTCONN, e, "lo");
}

static void datagram_arguments(struct fixture *f)
{
    weir_datagram *d = f->datagram, *e = f->empty_datagram;
    const struct sockaddr *address = (struct sockaddr *)&target.address;
    EXPECT(datagram_create, WEIR_EINVAL, f->context, NULL);
    EXPECT(datagram_pair, WEIR_EINVAL, f->context, NULL, OUT(weir_datagram *));
    EXPECT(datagram_pair, WEIR_EINVAL, f->context, OUT(weir_datagram *), NULL);
    EXPECT(datagram_features, WEIR_EINVAL, NULL);
    EXPECT(datagram_context, WEIR_EINVAL, d, NULL);
    EXPECT(datagram_fd, WEIR_EINVAL, d, NULL);
    EXPECT(datagram_release, WEIR_EINVAL, d, NULL);
    EXPECT(datagram_local_address, WEIR_EINVAL, d, NULL, &out_length);
    EXPECT(datagram_local_address, WEIR_EINVAL, d, &out.address, NULL);
    EXPECT(datagram_remote_address, WEIR_EINVAL, d, NULL, &out_length);
    EXPECT(datagram_remote_address, WEIR_EINVAL, d, &out.address, NULL);
    EXPECT(datagram_get, WEIR_EINVAL, d, WEIR_OPT_BROADCAST, NULL);
    EXPECT(datagram_get, WEIR_EINVAL, d, 0, OUT(int));
    EXPECT(datagram_set, WEIR_EINVAL, d, 9999, 1);
    EXPECT(datagram_get_option, WEIR_EINVAL, d, SOL_SOCKET, SO_BROADCAST, NULL, &out_length);
    EXPECT(datagram_get_option, WEIR_EINVAL, d, SOL_SOCKET, SO_BROADCAST, &out, NULL);
    EXPECT(datagram_set_option, WEIR_EINVAL, d, SOL_SOCKET, SO_BROADCAST, NULL, sizeof(int));
    EXPECT(datagram_bind_to_device, WEIR_EINVAL, d, NULL);
    EXPECT(datagram_wait, WEIR_EINVAL, d, 0, surprised, f);
    EXPECT(datagram_wait, WEIR_EINVAL, d, WEIR_WAIT_READ | WEIR_WAIT_WRITE, surprised, f);
    EXPECT(datagram_adopt, WEIR_EBADF, e, -1);
    EXPECT(datagram_adopt, WEIR_EBADF, e, INT_MAX);
    EXPECT(datagram_adopt, -EPROTOTYPE, e, f->peer);
    EXPECT(datagram_open, -EAFNOSUPPORT, e, AF_NETLINK);
    EXPECT(datagram_open, -EAFNOSUPPORT, e, -1);
    EXPECT(datagram_bind, WEIR_EINVAL, e, NULL, target.length);
    EXPECT(datagram_connect, WEIR_EINVAL, e, NULL, target.length);
    EXPECT(datagram_join, WEIR_EINVAL, d, NULL, group.length, loopback_index);
    EXPECT(datagram_join, WEIR_EINVAL, d, AT(&target), loopback_index);
    EXPECT(datagram_leave, WEIR_EINVAL, d, NULL, group.length, loopback_index);
    for (socklen_t length = 0; length < target.length; length++) {
        EXPECT(datagram_bind, WEIR_EINVAL, e, address, length);
        EXPECT(datagram_connect, WEIR_EINVAL, e, address, length);
        EXPECT(datagram_join, WEIR_EINVAL, d, (struct sockaddr *)&group.address, length, loopback_index);
        EXPECT(datagram_send_to, WEIR_EINVAL, d, buffer, 8, address, length, surprised_io, f);
        EXPECT(datagram_try_send_to, WEIR_EINVAL, d, buffer, 8, address, length, OUT(size_t));
    }
    const struct where local = unix_place("none");
    EXPECT(datagram_join, -EAFNOSUPPORT, d, AT(&local), loopback_index);
    EXPECT(datagram_leave, -EAFNOSUPPORT, d, AT(&local), loopback_index);
    EXPECT(datagram_fd, WEIR_ENOTCONN, e, OUT(int));
    EXPECT(datagram_release, WEIR_ENOTCONN, e, OUT(int));
    EXPECT(datagram_disconnect, WEIR_ENOTCONN, e);
    EXPECT(datagram_local_address, WEIR_ENOTCONN, e, &out.address, &out_length);
    EXPECT(datagram_remote_address, WEIR_ENOTCONN, e, &out.address, &out_length);
    EXPECT(datagram_join, WEIR_ENOTCONN, e, AT(&group), loopback_index);
    EXPECT(datagram_leave, WEIR_ENOTCONN, e, AT(&group), loopback_index);
    EXPECT(datagram_set, WEIR_ENOTCONN, e, WEIR_OPT_BROADCAST, 1);
    EXPECT(datagram_get, WEIR_ENOTCONN, e, WEIR_OPT_BROADCAST, OUT(int));
    EXPECT(datagram_set_option, WEIR_ENOTCONN, e, SOL_SOCKET, SO_BROADCAST, &one, sizeof one);
    EXPECT(datagram_get_option, WEIR_ENOTCONN, e, SOL_SOCKET, SO_BROADCAST, &out, &out_length);
    EXPECT(datagram_bind_to_device, WEIR_ENOTCONN, e, "lo");
    EXPECT(datagram_wait, WEIR_ENOTCONN, e, WEIR_WAIT_READ, surprised, f);
    EXPECT(datagram_unlink, WEIR_ENOTCONN, e);
    EXPECT(acceptor_unlink, WEIR_ENOTCONN, f->empty_acceptor);
}

static void message_arguments(struct fixture *f)
{
    weir_datagram *d = f->datagram, *e = f->empty_datagram;
    EXPECT(datagram_receive, WEIR_ENOTCONN, e, buffer, 8, surprised_io, f);
    EXPECT(datagram_receive_from, WEIR_ENOTCONN, e, buffer, 8, &out.address, &out_length, surprised_io, f);
    EXPECT(datagram_receive_batch, WEIR_ENOTCONN, e, messages, 2, surprised_io, f);
    EXPECT(datagram_send, WEIR_ENOTCONN, e, buffer, 8, surprised_io, f);
    EXPECT(datagram_send_to, WEIR_ENOTCONN, e, buffer, 8, AT(&target), surprised_io, f);
    EXPECT(datagram_send_batch, WEIR_ENOTCONN, e, messages, 2, surprised_io, f);
    EXPECT(datagram_try_receive, WEIR_ENOTCONN, e, buffer, 8, OUT(size_t), OUT(size_t));
    EXPECT(datagram_try_send, WEIR_ENOTCONN, e, buffer, 8, OUT(size_t));
    EXPECT(datagram_receive, WEIR_EINVAL, d, NULL, 8, surprised_io, f);
    EXPECT(datagram_send, WEIR_EINVAL, d, NULL, 8, surprised_io, f);
    EXPECT(datagram_send_to, WEIR_EINVAL, d, NULL, 8, AT(&target), surprised_io, f);
    EXPECT(datagram_send_to, WEIR_EINVAL, d, buffer, 8, NULL, 0, surprised_io, f);
    EXPECT(datagram_receive_from, WEIR_EINVAL, d, buffer, 8, NULL, &out_length, surprised_io, f);
    EXPECT(datagram_receive_from, WEIR_EINVAL, d, buffer, 8, &out.address, NULL, surprised_io, f);
    EXPECT(datagram_try_receive, WEIR_EINVAL, d, NULL, 8, OUT(size_t), OUT(size_t));
    EXPECT(datagram_try_receive, WEIR_EINVAL, d, buffer, 8, NULL, OUT(size_t));
    EXPECT(datagram_try_receive, WEIR_EINVAL, d, buffer, 8, OUT(size_t), NULL);
    EXPECT(datagram_try_receive_from, WEIR_EINVAL, d, buffer, 8, NULL, &out_length, OUT(size_t), OUT(size_t));
    EXPECT(datagram_try_receive_from, WEIR_EINVAL, d, buffer, 8, &out.address, NULL, OUT(size_t), OUT(size_t));
    EXPECT(datagram_try_send, WEIR_EINVAL, d, NULL, 8, OUT(size_t));
    EXPECT(datagram_try_send, WEIR_EINVAL, d, buffer, 8, NULL);
    EXPECT(datagram_try_send_to, WEIR_EINVAL, d, buffer, 8, AT(&target), NULL);
    EXPECT(datagram_receive_batch, WEIR_EINVAL, d, NULL, 2, surprised_io, f);
    EXPECT(datagram_send_batch, WEIR_EINVAL, d, NULL, 2, surprised_io, f);
    weir_datagram_message bad[5] = {
        {.length = 8},
        {.data = buffer, .length = SIZE_MAX},
        {.data = buffer, .reserved = 1},
        {.data = buffer, .segment_size = 65536},
        {.data = buffer, .address = &target.address, .address_length = 1},
    };
    for (int i = 0; i < 5; i++) {
        weir_datagram_message two[2] = {{.data = buffer, .length = 1}, bad[i]};
        EXPECT(datagram_send_batch, WEIR_EINVAL, d, two, 2, surprised_io, f);
        if (i < 3)
            EXPECT(datagram_receive_batch, WEIR_EINVAL, d, two, 2, surprised_io, f);
    }
    for (int i = 0; i < 2; i++) {
        EXPECT(datagram_receive, WEIR_EINVAL, d, buffer, too_long[i], surprised_io, f);
        EXPECT(datagram_send, WEIR_EINVAL, d, buffer, too_long[i], surprised_io, f);
        EXPECT(datagram_try_receive, WEIR_EINVAL, d, buffer, too_long[i], OUT(size_t), OUT(size_t));
        EXPECT(datagram_try_send, WEIR_EINVAL, d, buffer, too_long[i], OUT(size_t));
        EXPECT(datagram_receive_batch, WEIR_EINVAL, d, messages, too_long[i], surprised_io, f);
        EXPECT(datagram_send_batch, WEIR_EINVAL, d, messages, too_long[i], surprised_io, f);
    }
}

/* Of AF_UNIX alone. */
static void local_arguments(struct fixture *f)
{
    weir_stream *s[2];
    weir_datagram *d[2];
    CHECK_OK(weir_stream_pair(f->context, &s[0], &s[1]));
    CHECK_OK(weir_datagram_pair(f->context, &d[0], &d[1]));
    EXPECT(stream_pair, WEIR_EINVAL, f->context, NULL, OUT(weir_stream *));
    EXPECT(stream_pair, WEIR_EINVAL, f->context, OUT(weir_stream *), NULL);
    EXPECT(stream_peer_credentials, WEIR_ENOTCONN, f->empty_stream, OUT(int32_t), NULL, NULL);
    EXPECT(stream_read_fds, WEIR_ENOTCONN, f->empty_stream, buffer, 8, fds, &fd_count, surprised_io, f);
    EXPECT(stream_write_fds, WEIR_ENOTCONN, f->empty_stream, buffer, 8, fds, 2, surprised_io, f);
    EXPECT(stream_read_fds, WEIR_EINVAL, s[0], NULL, 8, fds, &fd_count, surprised_io, f);
    EXPECT(stream_read_fds, WEIR_EINVAL, s[0], buffer, 0, fds, &fd_count, surprised_io, f);
    EXPECT(stream_read_fds, WEIR_EINVAL, s[0], buffer, SIZE_MAX, fds, &fd_count, surprised_io, f);
    EXPECT(stream_read_fds, WEIR_EINVAL, s[0], buffer, 8, NULL, &fd_count, surprised_io, f);
    EXPECT(stream_read_fds, WEIR_EINVAL, s[0], buffer, 8, fds, NULL, surprised_io, f);
    EXPECT(stream_write_fds, WEIR_EINVAL, s[0], NULL, 8, fds, 2, surprised_io, f);
    EXPECT(stream_write_fds, WEIR_EINVAL, s[0], buffer, 0, fds, 2, surprised_io, f);
    EXPECT(stream_write_fds, WEIR_EINVAL, s[0], buffer, SIZE_MAX, fds, 2, surprised_io, f);
    EXPECT(stream_write_fds, WEIR_EINVAL, s[0], buffer, 8, NULL, 2, surprised_io, f);
    EXPECT(stream_write_fds, WEIR_EINVAL, s[0], buffer, 8, fds, 254, surprised_io, f);
    EXPECT(datagram_receive_fds, WEIR_EINVAL, d[0], NULL, 8, fds, &fd_count, surprised_io, f);
    EXPECT(datagram_receive_fds, WEIR_EINVAL, d[0], buffer, 8, NULL, &fd_count, surprised_io, f);
    EXPECT(datagram_receive_fds, WEIR_EINVAL, d[0], buffer, 8, fds, NULL, surprised_io, f);
    EXPECT(datagram_send_fds, WEIR_EINVAL, d[0], NULL, 8, fds, 2, surprised_io, f);
    EXPECT(datagram_send_fds, WEIR_EINVAL, d[0], buffer, 8, NULL, 2, surprised_io, f);
    EXPECT(datagram_send_fds, WEIR_EINVAL, d[0], buffer, 8, fds, 254, surprised_io, f);
    for (int i = 0; i < 2; i++) {
        CHECK_OK(weir_stream_close(s[i]));
        CHECK_OK(weir_datagram_close(d[i]));
    }
}

/* The names of codes, for every int that may come. */
static void watch_arguments(struct fixture *f)
{
    weir_watch *w = f->watch;
    weir_watch *started = NULL;
    const unsigned bad_events[] = {0, WEIR_WATCH_TIMEOUT, 128, UINT_MAX};
    EXPECT(watch_context, WEIR_EINVAL, w, NULL);
    EXPECT(watch_fd, WEIR_EINVAL, w, NULL);
    EXPECT(watch_create, WEIR_EINVAL, f->context, -1, NULL);
    EXPECT(watch_create, WEIR_EINVAL, f->context, -2, OUT(weir_watch *));
    EXPECT(watch_set_fd, WEIR_EINVAL, w, -2);
    EXPECT(watch_set_fd, WEIR_EINVAL, w, INT_MIN);
    EXPECT(watch_start, WEIR_EINVAL, w, WEIR_WATCH_READ, 4, WEIR_FOREVER, surprised_value, f);
    CHECK_OK(weir_watch_create(f->context, f->peer, &started));
    CHECK_OK(weir_watch_start(started, WEIR_WATCH_PRIORITY, 0, WEIR_FOREVER, expected_value, f));
    EXPECT(watch_start, WEIR_EBUSY, started, WEIR_WATCH_READ, 0, WEIR_FOREVER, surprised_value, f);
    for (int i = 0; i < 4; i++) {
        EXPECT(watch_start, WEIR_EINVAL, w, bad_events[i], 0, WEIR_FOREVER, surprised_value, f);
        EXPECT(watch_change, WEIR_EINVAL, started, bad_events[i]);
        if (bad_events[i] != WEIR_WATCH_TIMEOUT)
            EXPECT(watch_feed, WEIR_EINVAL, started, bad_events[i]);
    }
    for (int i = 0; i < 2; i++) {
        EXPECT(watch_start, WEIR_EINVAL, w, WEIR_WATCH_READ, 0, negative[i], surprised_value, f);
        EXPECT(watch_set_timeout, WEIR_EINVAL, started, negative[i]);
    }
}

static void code_arguments(void)
{
    static const int unknown[] = {INT_MIN, INT_MAX, 1, 22, -4096, -10000, -10002, -99999};
    cover("weir_strerror");
    cover("weir_error_name");
    for (size_t i = 0; i < sizeof unknown / sizeof *unknown; i++) {
        CHECK(strcmp(weir_strerror(unknown[i]), "unknown error") == 0);
        CHECK(strcmp(weir_error_name(unknown[i]), "UNKNOWN") == 0);
    }
    for (int code = -11000; code < 5000; code++) {
        CHECK(weir_strerror(code) != NULL && weir_strerror(code)[0] != 0);
        CHECK(weir_error_name(code) != NULL && weir_error_name(code)[0] != 0);
    }
    CHECK(strcmp(weir_strerror(0), "success") == 0);
    CHECK(strcmp(weir_error_name(0), "OK") == 0);
    CHECK(strcmp(weir_error_name(WEIR_EOF), "WEIR_EOF") == 0);
    CHECK(strcmp(weir_error_name(-ECONNREFUSED), "ECONNREFUSED") == 0);
    CHECK(strcmp(weir_strerror(-ECONNREFUSED), "unknown error") != 0);
}

TEST(bad_arguments_give_their_errors_in_every_function)
{
    struct fixture fixture;
    make(&fixture);
    context_arguments(&fixture);
    handle_arguments(&fixture);
    job_arguments(&fixture);
    signals_arguments(&fixture);
    resolver_arguments(&fixture);
    timer_arguments(&fixture);
    stream_arguments(&fixture);
    compose_arguments(&fixture);
    transfer_arguments(&fixture);
    acceptor_arguments(&fixture);
    datagram_arguments(&fixture);
    message_arguments(&fixture);
    local_arguments(&fixture);
    address_arguments(&fixture);
    watch_arguments(&fixture);
    code_arguments();
    EACH_ROW(row) {
        if (!covered[row - table] && !row->no_more)
            check_fail(__FILE__, __LINE__, "no bad argument of %s is tried", row->name);
    }
    /* The handles are as good as before, and nothing has begun. */
    struct operation operation;
    START(begin(WRITE, fixture.stream, &operation));
    RUN_CALLS(fixture.context, operation.counter, 1);
    CHECK_DONE(operation.counter, 0, 8);
    settle(fixture.context);
    CHECK_EQ(unexpected, 0);
    unmake(&fixture);
    CHECK_EQ(unexpected, 0);
}

/* ---- options of a context */

struct later_options {
    weir_context_options known;
    unsigned char more[64];
};

static void check_options(const weir_context_options *options, int code)
{
    weir_context *context = NULL;
    CHECK_CODE(weir_context_create(options, &context), code);
    CHECK_EQ(context != NULL, code == 0);
    if (code == 0) {
        CHECK_OK(weir_context_post(context, expected, NULL));
        CHECK_OK(weir_context_run(context, NULL));
        CHECK_OK(weir_context_destroy(context));
    }
}

TEST(context_options_are_checked)
{
    const weir_context_options good = {.struct_size = sizeof good};
    weir_context_options options = good;
    check_options(NULL, 0);
    check_options(&good, 0);
    const size_t first = offsetof(weir_context_options, pool_slots); /* the struct's first version */
    for (size_t size = 0; size < sizeof options; size++) {
        options.struct_size = size;
        check_options(&options, size < first ? WEIR_EINVAL : 0);
    }
    /* What lies behind a smaller struct is not looked at. */
    memset((char *)&options + first, 0xFF, sizeof options - first);
    options.struct_size = first;
    check_options(&options, 0);
    options = good;
    options.struct_size = SIZE_MAX;
    check_options(&options, WEIR_EINVAL);
    struct later_options later;
    memset(&later, 0, sizeof later);
    for (size_t more = 0; more <= sizeof later.more; more++) {
        later.known.struct_size = sizeof options + more;
        check_options(&later.known, 0);
    }
    for (size_t at = 0; at < sizeof later.more; at++) {
        later.more[at] = 1;
        check_options(&later.known, WEIR_EINVAL);
        /* What lies behind the struct is not looked at. */
        later.known.struct_size = sizeof options + at;
        check_options(&later.known, 0);
        later.known.struct_size = sizeof later;
        later.more[at] = 0;
    }
    for (int bit = 0; bit < 32; bit++) {
        options = good;
        options.flags = 1u << bit;
        bool known = bit < 4; /* manual clock, no inline, measure, interruptible */
        check_options(&options, known ? 0 : WEIR_EINVAL);
    }
    options = good;
    options.flags = UINT32_MAX;
    check_options(&options, WEIR_EINVAL);
    struct {
        uint32_t events, initial, max, unassisted;
        int64_t slack;
        int code;
    } values[] = {
        {1, 0, 0, 0, 0, 0},
        {4096, 0, 0, 0, 0, 0},
        {4097, 0, 0, 0, 0, WEIR_EINVAL},
        {UINT32_MAX, 0, 0, 0, 0, WEIR_EINVAL},
        {0, 65535, 65535, 65535, 0, 0},
        {0, 65536, 65536, 0, 0, WEIR_EINVAL},
        {0, 0, 65536, 0, 0, WEIR_EINVAL},
        {0, 0, 0, 65536, 0, WEIR_EINVAL},
        {0, 8, 7, 0, 0, WEIR_EINVAL},
        {0, 8, 8, 0, 0, 0},
        {0, 0, 1, 0, 0, WEIR_EINVAL}, /* the initial one is 2 */
        {0, 0, 0, 0, 1000000000, 0},
        {0, 0, 0, 0, 1000000001, WEIR_EINVAL},
        {0, 0, 0, 0, -1, WEIR_EINVAL},
        {0, 0, 0, 0, INT64_MAX, WEIR_EINVAL},
        {0, 0, 0, 0, INT64_MIN, WEIR_EINVAL},
    };
    for (size_t i = 0; i < sizeof values / sizeof *values; i++) {
        options = good;
        options.thread_hint = (uint32_t)i * 0x11111111u; /* every number is good */
        options.max_events = values[i].events;
        options.inline_budget_initial = values[i].initial;
        options.inline_budget_max = values[i].max;
        options.inline_budget_unassisted = values[i].unassisted;
        options.timer_slack_ns = values[i].slack;
        check_options(&options, values[i].code);
    }
}

TEST(huge_times_are_never)
{
    weir_context *context = new_context();
    weir_timer *timer = new_timer(context);
    int64_t now = 0, ns = 0;
    struct counter counter = {0};
    static const int64_t huge[] = {WEIR_FOREVER, WEIR_FOREVER - 1};
    CHECK_OK(weir_context_now(context, &now));
    START(weir_timer_wait(timer, done, &counter));
    for (int i = 0; i < 2; i++) {
        CHECK_OK(weir_timer_expires_after(timer, huge[i]));
        CHECK_OK(weir_timer_remaining(timer, &ns));
        CHECK_EQ(ns, WEIR_FOREVER);
        CHECK_OK(weir_timer_expires_at(timer, huge[i]));
        CHECK_OK(weir_timer_remaining(timer, &ns));
        CHECK(ns > INT64_MAX / 2);
        /* A limit that is huge is none, and does not overflow into the past: the post is served. */
        struct counter posted = {0};
        CHECK_OK(weir_context_post(context, done, &posted));
        CHECK_OK(weir_context_wait_one(context, huge[i], NULL));
        CHECK_EQ(posted.calls, 1 + counter.calls);
        CHECK_EQ(counter.calls, 0);
    }
    CHECK_OK(weir_timer_close(timer));
    CHECK_OK(weir_context_run_for(context, WEIR_FOREVER - 1, NULL));
    CHECK_DONE(counter, WEIR_ECANCELED, 0);
    CHECK_OK(weir_context_destroy(context));
}

/* ---- every function in every state */

struct inside {
    const struct row *row;
    struct fixture fixture;
    int code, calls;
};

static void undo(const struct row *row, int code, struct inside *inside)
{
    if (code != 0)
        return;
    if (strcmp(row->name, "weir_context_create") == 0)
        CHECK_OK(weir_context_destroy(out.pointer));
    if (strcmp(row->name, "weir_context_work_begin") == 0)
        CHECK_OK(weir_context_work_end(inside->fixture.context));
    if (strstr(row->name, "_release") != NULL)
        close(out.number);
}

static void call_here(int status, void *user)
{
    struct inside *inside = user;
    (void)status;
    inside->calls++;
    prepare();
    inside->code = inside->row->call(handle_of(&inside->fixture, inside->row->kind));
    undo(inside->row, inside->code, inside);
}

TEST(every_function_works_in_a_callback)
{
    EACH_ROW(row) {
        struct inside inside = {.row = row};
        make(&inside.fixture);
        CHECK_OK(weir_context_post(inside.fixture.context, call_here, &inside));
        CHECK_OK(weir_context_run_one(inside.fixture.context, NULL));
        CHECK_EQ(inside.calls, 1);
        if (inside.code != row->inside)
            check_fail(__FILE__, __LINE__, "%s in a callback gave %d (%s)", row->name, inside.code,
                       weir_error_name(inside.code));
        unmake(&inside.fixture);
    }
}

TEST(every_function_works_after_stop)
{
    EACH_ROW(row) {
        struct inside inside = {.row = row};
        make(&inside.fixture);
        CHECK_OK(weir_context_stop(inside.fixture.context));
        call_here(0, &inside);
        if (inside.code != row->stopped)
            check_fail(__FILE__, __LINE__, "%s after stop gave %d (%s)", row->name, inside.code,
                       weir_error_name(inside.code));
        unmake(&inside.fixture);
    }
}

TEST(every_function_has_its_error_during_destruction)
{
    EACH_ROW(row) {
        struct inside inside = {.row = row};
        make(&inside.fixture);
        CHECK_OK(weir_context_post(inside.fixture.context, call_here, &inside));
        unmake(&inside.fixture);
        CHECK_EQ(inside.calls, 1);
        bool good = row->ending == GONE ? inside.code == WEIR_EBADF || inside.code == WEIR_ESHUTDOWN
                                        : inside.code == row->ending;
        if (!good)
            check_fail(__FILE__, __LINE__, "%s during destruction gave %d (%s)", row->name, inside.code,
                       weir_error_name(inside.code));
    }
}

/* The same row again and again, on a context of which nothing is left in the end. */
TEST(no_failed_call_leaks_an_fd)
{
    struct fixture first;
    make(&first); /* the first signal of the process opens an fd, which stays */
    unmake(&first);
    int before = count_fds();
    for (int round = 0; round < 3; round++) {
        EACH_ROW(row) {
            struct inside inside = {.row = row};
            make(&inside.fixture);
            CHECK_OK(weir_context_stop(inside.fixture.context));
            call_here(0, &inside);
            unmake(&inside.fixture);
        }
    }
    CHECK_EQ(count_fds(), before);
}

TEST_MAIN()
