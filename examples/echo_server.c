/*
 * A TCP echo server: every byte that comes in goes back out.
 *
 * Any number of threads run one context. A connection has one operation pending at a time, a read or a write, so
 * its callbacks never overlap and the connection itself needs no lock. Only the list of connections is shared.
 *
 * A peer costs one buffer and one fd, however it behaves: nothing is read before the reply to what came before is
 * written, and a connection on which no byte moves for a while is closed.
 *
 * Who frees what: a connection is freed by its own callback, when an operation fails or can not be started. To stop,
 * the server closes all streams; the pending operations then complete with WEIR_ECANCELED, the callbacks free the
 * connections, nothing is pending any more and weir_context_run returns in every thread.
 */
#include <errno.h>
#include <getopt.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <weir.h>

enum { BUFFER_SIZE = 16 * 1024, MAX_THREADS = 256 };

struct connection;

struct server {
    weir_context *context;
    weir_acceptor *acceptor;
    size_t connections_limit; /* 0: none */
    int64_t idle_ns;
    bool quiet;
    sigset_t signals;

    pthread_mutex_t lock; /* guards what follows */
    struct connection *connections;
    size_t open;
    uint64_t accepted;
    uint64_t refused;
    uint64_t bytes;
    bool stopping;
    int failure;
};

struct connection {
    struct server *server;
    weir_stream *stream;
    struct connection *next;
    struct connection **link; /* what points at this connection */
    uint64_t bytes;
    unsigned char data[BUFFER_SIZE];
};

static void on_read(int status, size_t bytes, void *user);
static void on_written(int status, size_t bytes, void *user);

/* Takes the connection out of the list and frees it. Its operation has completed, so the library holds no pointer. */
static void connection_end(struct connection *c, int status) {
    struct server *server = c->server;

    pthread_mutex_lock(&server->lock);
    *c->link = c->next;
    if (c->next != NULL) c->next->link = c->link;
    server->open--;
    server->bytes += c->bytes;
    bool stopping = server->stopping;
    pthread_mutex_unlock(&server->lock);

    bool ordinary = status == WEIR_EOF || status == -ECONNRESET || status == -EPIPE || status == WEIR_ETIMEDOUT;
    if (!ordinary && !stopping && !server->quiet)
        fprintf(stderr, "echo_server: connection: %s\n", weir_strerror(status));
    weir_stream_close(c->stream); /* WEIR_EBADF when the server has closed it already: nothing to do */
    free(c);
}

static void on_read(int status, size_t bytes, void *user) {
    struct connection *c = user;
    if (status == 0) status = weir_stream_write(c->stream, c->data, bytes, on_written, c);
    /* After a successful start another thread may already run the next callback: c is not touched any more. */
    if (status != 0) connection_end(c, status);
}

static void on_written(int status, size_t bytes, void *user) {
    struct connection *c = user;
    c->bytes += bytes;
    if (status == 0) status = weir_stream_read_some(c->stream, c->data, sizeof c->data, on_read, c);
    if (status != 0) connection_end(c, status);
}

/* Closes everything. Runs on a thread of the context; doing it twice does no harm. */
static void server_stop(struct server *server) {
    pthread_mutex_lock(&server->lock);
    server->stopping = true;
    /* Close runs no callback, so the lock may be held. A connection that ends on another thread at this moment waits
       for the lock before it frees itself; its handle is then stale, which is an error code and nothing worse. */
    for (struct connection *c = server->connections; c != NULL; c = c->next) weir_stream_close(c->stream);
    pthread_mutex_unlock(&server->lock);
    weir_acceptor_close(server->acceptor);
}

static void on_stop(int status, void *user) {
    (void)status; /* also WEIR_ECANCELED from weir_context_destroy, where there is nothing left to close */
    server_stop(user);
}

static void on_accept(int status, weir_stream *peer, const struct sockaddr *address, socklen_t length, void *user) {
    struct server *server = user;
    (void)address;
    (void)length;

    if (status < 0) { /* comes once, at the end: WEIR_ECANCELED when the server stops */
        if (status != WEIR_ECANCELED) {
            fprintf(stderr, "echo_server: accept: %s\n", weir_strerror(status));
            pthread_mutex_lock(&server->lock);
            server->failure = status;
            pthread_mutex_unlock(&server->lock);
            server_stop(server);
        }
        return;
    }

    struct connection *c = malloc(sizeof *c);
    if (c == NULL) {
        weir_stream_close(peer);
        return;
    }
    c->server = server;
    c->stream = peer;
    c->bytes = 0;

    pthread_mutex_lock(&server->lock);
    bool wanted = !server->stopping && (server->connections_limit == 0 || server->open < server->connections_limit);
    if (wanted) {
        c->next = server->connections;
        c->link = &server->connections;
        if (c->next != NULL) c->next->link = &c->next;
        server->connections = c;
        server->open++;
        server->accepted++;
    } else {
        server->refused++;
    }
    pthread_mutex_unlock(&server->lock);

    if (!wanted) {
        weir_stream_close(peer);
        free(c);
        return;
    }
    weir_stream_set(peer, WEIR_OPT_NO_DELAY, 1); /* speed only: a failure changes nothing else */
    if (server->idle_ns != 0) status = weir_stream_set_timeout(peer, WEIR_WAIT_READ | WEIR_WAIT_WRITE, server->idle_ns);
    if (status == 0) status = weir_stream_read_some(peer, c->data, sizeof c->data, on_read, c);
    if (status != 0) connection_end(c, status);
}

/* Signals are blocked in every thread; this one takes them as values, where any function may be called. */
static void *signal_thread(void *user) {
    struct server *server = user;
    int number = 0;
    sigwait(&server->signals, &number);
    int error = weir_context_post(server->context, on_stop, server);
    if (error != 0) { /* no memory for a polite end */
        fprintf(stderr, "echo_server: stop: %s\n", weir_strerror(error));
        _Exit(1);
    }
    return NULL;
}

static void *run_thread(void *user) {
    struct server *server = user;
    int error = weir_context_run(server->context, NULL);
    if (error != 0) {
        fprintf(stderr, "echo_server: run: %s\n", weir_strerror(error));
        pthread_mutex_lock(&server->lock);
        server->failure = error;
        pthread_mutex_unlock(&server->lock);
    }
    return NULL;
}

static int server_listen(struct server *server, const char *host, unsigned port) {
    char text[WEIR_ADDRESS_TEXT_MAX];
    struct sockaddr_storage address;
    socklen_t length = sizeof address;
    bool ipv6 = strchr(host, ':') != NULL;

    int size = snprintf(text, sizeof text, ipv6 ? "[%s]:%u" : "%s:%u", host, port);
    if (size < 0 || (size_t)size >= sizeof text) return WEIR_EINVAL;
    int error = weir_address_parse(text, &address, &length);
    if (error == 0) error = weir_acceptor_create(server->context, &server->acceptor);
    if (error == 0) error = weir_acceptor_bind(server->acceptor, (struct sockaddr *)&address, length);
    if (error == 0) error = weir_acceptor_listen(server->acceptor, 0);
    if (error == 0) error = weir_acceptor_accept_each(server->acceptor, on_accept, server);

    length = sizeof address; /* ask for the port that the kernel chose */
    if (error == 0) error = weir_acceptor_local_address(server->acceptor, &address, &length);
    if (error == 0) error = weir_address_format((struct sockaddr *)&address, length, text, sizeof text);
    if (error == 0) {
        printf("listening on %s\n", text);
        fflush(stdout);
    }
    return error;
}

/* Runs the context in `threads` threads, this one among them, until the server has stopped. */
static int server_run(struct server *server, unsigned threads) {
    pthread_t runners[MAX_THREADS];
    pthread_t watcher;
    unsigned started = 1;

    int error = pthread_create(&watcher, NULL, signal_thread, server);
    if (error != 0) return -error;
    for (; started < threads; started++) {
        error = pthread_create(&runners[started], NULL, run_thread, server);
        if (error != 0) { /* serve nobody with fewer threads than asked for */
            server_stop(server);
            break;
        }
    }
    run_thread(server);
    for (unsigned i = 1; i < started; i++) pthread_join(runners[i], NULL);
    if (error == 0) error = -server->failure; /* all runners have ended: no lock needed */
    /* Without a signal so far the watcher still waits; after one it has ended and this does nothing. */
    pthread_kill(watcher, SIGTERM);
    pthread_join(watcher, NULL);
    return -error;
}

static void raise_file_limit(void) {
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
        limit.rlim_cur = limit.rlim_max;
        setrlimit(RLIMIT_NOFILE, &limit);
    }
}

static int usage(const char *program) {
    fprintf(stderr,
            "usage: %s [--host ADDRESS] [--port PORT] [--threads N] [--connections-limit N]\n"
            "       [--idle MS] [--quiet]\n"
            "  --host ADDRESS           numeric IPv4 or IPv6 address (127.0.0.1)\n"
            "  --port PORT              0 lets the kernel choose (0)\n"
            "  --threads N              threads that run the context (1)\n"
            "  --connections-limit N    close connections beyond so many (0: no limit)\n"
            "  --idle MS                close connections on which no byte moves for so long (60000; 0: none)\n"
            "  --quiet                  no message about connections, no summary\n",
            program);
    return 2;
}

static bool number(const char *text, unsigned long maximum, unsigned long *out) {
    char *end = NULL;
    errno = 0;
    unsigned long value = strtoul(text, &end, 10);
    if (errno != 0 || end == text || *end != '\0' || *text == '-' || value > maximum) return false;
    *out = value;
    return true;
}

int main(int argc, char **argv) {
    static const struct option options[] = {
        {"host", required_argument, NULL, 'h'},
        {"port", required_argument, NULL, 'p'},
        {"threads", required_argument, NULL, 't'},
        {"connections-limit", required_argument, NULL, 'c'},
        {"idle", required_argument, NULL, 'i'},
        {"quiet", no_argument, NULL, 'q'},
        {NULL, 0, NULL, 0},
    };
    const char *host = "127.0.0.1";
    unsigned long port = 0, threads = 1, limit = 0, idle = 60000;
    bool quiet = false, good = true;

    for (int name; (name = getopt_long(argc, argv, "", options, NULL)) != -1 && good;) {
        if (name == 'h') host = optarg;
        else if (name == 'p') good = number(optarg, 65535, &port);
        else if (name == 't') good = number(optarg, MAX_THREADS, &threads) && threads >= 1;
        else if (name == 'c') good = number(optarg, 10 * 1000 * 1000, &limit);
        else if (name == 'i') good = number(optarg, 1000 * 1000 * 1000, &idle);
        else if (name == 'q') quiet = true;
        else good = false;
    }
    if (!good || optind != argc) return usage(argv[0]);

    struct server server = {.connections_limit = limit, .quiet = quiet, .lock = PTHREAD_MUTEX_INITIALIZER};
    server.idle_ns = (int64_t)idle * 1000 * 1000;
    weir_context_options context_options = {.struct_size = sizeof context_options, .thread_hint = (uint32_t)threads};

    /* Before the first thread exists, so that all inherit it. */
    sigemptyset(&server.signals);
    sigaddset(&server.signals, SIGINT);
    sigaddset(&server.signals, SIGTERM);
    pthread_sigmask(SIG_BLOCK, &server.signals, NULL);
    raise_file_limit();

    int error = weir_context_create(&context_options, &server.context);
    if (error == 0) error = server_listen(&server, host, (unsigned)port);
    if (error == 0) error = server_run(&server, (unsigned)threads);
    if (error != 0) fprintf(stderr, "echo_server: %s\n", weir_strerror(error));

    weir_acceptor_close(server.acceptor); /* still open only if something above failed */
    weir_context_destroy(server.context);
    if (!quiet)
        fprintf(stderr, "echo_server: %llu connections, %llu refused, %llu bytes echoed\n",
                (unsigned long long)server.accepted, (unsigned long long)server.refused,
                (unsigned long long)server.bytes);
    return error != 0;
}
