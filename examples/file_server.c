/*
 * An HTTP/1.1 server for the regular files below one directory: GET and HEAD, single ranges, keep-alive, limits on
 * time, on the size of a request and on the number of connections. File data goes from the page cache to the socket
 * without passing through the program.
 *
 * A connection has one operation pending at a time: it reads the head of a request, writes the head of the answer,
 * sends the file, and begins again. So its callbacks never overlap, in however many threads, and need no lock.
 *
 * A peer that sends or takes a byte now and then makes progress, and no limit on idle time ends it: a request, and an
 * answer, have a time in which they must be over as well. Once in a while the connections that are late are closed.
 *
 * Who frees what: a connection is freed by its own callback, when it is over. To stop, the server closes all streams;
 * the pending operations then complete with WEIR_ECANCELED, and weir_context_run returns in every thread.
 */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <limits.h>
#include <linux/openat2.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>
#include <weir.h>

enum { HEAD_LIMIT = 8 * 1024, ANSWER_LIMIT = 1024, DISCARD_LIMIT = 256 * 1024, MAX_THREADS = 256 };
enum { LEAST_RATE = 4096 }; /* bytes a second: a peer that takes a file more slowly is given up */

struct connection;

struct server {
    weir_context *context;
    weir_acceptor *acceptor;
    int root;
    size_t connections_limit;
    int64_t timeout_ns;
    int64_t request_ns; /* for a whole request, and for an answer beside the time that its file takes */
    weir_timer *sweeper;
    sigset_t signals;

    pthread_mutex_t lock; /* guards what follows */
    struct connection *connections;
    size_t open;
    uint64_t requests;
    bool stopping;
    int failure;
};

struct connection {
    struct server *server;
    weir_stream *stream;
    struct connection *next;
    struct connection **link; /* what points at this connection */
    weir_until until;         /* the head being read; its `filled` bytes are in `head` */
    size_t consumed;          /* bytes of `head` that are the current request */
    bool keep_alive;
    int file; /* being sent, or -1 */
    int64_t from;
    size_t length;
    size_t discarded;
    uint64_t requests;
    atomic_llong deadline; /* read by the sweep, on whatever thread */
    char head[HEAD_LIMIT];
    char answer[ANSWER_LIMIT];
};

static void on_head(int status, size_t bytes, void *user);
static void on_answered(int status, size_t bytes, void *user);
static void on_sent(int status, size_t bytes, void *user);
static void on_discarded(int status, size_t bytes, void *user);

/* Its operation has completed, so the library holds no pointer. */
static void connection_end(struct connection *c) {
    struct server *server = c->server;
    pthread_mutex_lock(&server->lock);
    *c->link = c->next;
    if (c->next != NULL) c->next->link = c->link;
    server->open--;
    server->requests += c->requests;
    pthread_mutex_unlock(&server->lock);
    weir_stream_close(c->stream); /* WEIR_EBADF when the server has closed it already: nothing to do */
    if (c->file >= 0) close(c->file);
    free(c);
}

static int64_t now(const struct server *server) {
    int64_t time = 0;
    weir_context_now(server->context, &time);
    return time;
}

/* From now on it must come to the end of what it does, a file of `length` bytes included. */
static void set_deadline(struct connection *c, size_t length) {
    int64_t extra = (int64_t)(length / LEAST_RATE) * 1000 * 1000 * 1000;
    c->deadline = now(c->server) + c->server->request_ns + extra;
}

/* ---- requests */

static const char *reason(int code) {
    switch (code) {
    case 200: return "OK";
    case 206: return "Partial Content";
    case 400: return "Bad Request";
    case 403: return "Forbidden";
    case 404: return "Not Found";
    case 405: return "Method Not Allowed";
    case 408: return "Request Timeout";
    case 413: return "Content Too Large";
    case 416: return "Range Not Satisfiable";
    case 431: return "Request Header Fields Too Large";
    case 503: return "Service Unavailable";
    case 505: return "HTTP Version Not Supported";
    default: return "Internal Server Error";
    }
}

static const char *type_of(const char *path) {
    static const char *const types[][2] = {
        {".html", "text/html; charset=utf-8"}, {".txt", "text/plain; charset=utf-8"}, {".css", "text/css"},
        {".js", "text/javascript"},            {".json", "application/json"},         {".png", "image/png"},
        {".jpg", "image/jpeg"},                {".svg", "image/svg+xml"},
    };
    const char *dot = strrchr(path, '.');
    for (size_t i = 0; dot != NULL && i < sizeof types / sizeof *types; i++)
        if (strcasecmp(dot, types[i][0]) == 0) return types[i][1];
    return "application/octet-stream";
}

static void http_date(time_t when, char *text, size_t size) {
    struct tm parts;
    if (gmtime_r(&when, &parts) == NULL || strftime(text, size, "%a, %d %b %Y %H:%M:%S GMT", &parts) == 0) text[0] = 0;
}

/* Writes the head of an answer whose body, if any, is a file. */
static void answer(struct connection *c, int code, const char *more, size_t length) {
    char date[64];
    http_date(time(NULL), date, sizeof date);
    set_deadline(c, c->length);
    int size = snprintf(c->answer, sizeof c->answer,
                        "HTTP/1.1 %d %s\r\nDate: %s\r\nContent-Length: %zu\r\nConnection: %s\r\n%s\r\n", code,
                        reason(code), date, length, c->keep_alive ? "keep-alive" : "close", more);
    int status = size < 0 || (size_t)size >= sizeof c->answer
                     ? WEIR_EINVAL
                     : weir_stream_write(c->stream, c->answer, (size_t)size, on_answered, c);
    if (status != 0) connection_end(c);
}

static void refuse(struct connection *c, int code, bool keep_alive) {
    c->keep_alive = c->keep_alive && keep_alive;
    c->length = 0;
    answer(c, code, code == 405 ? "Allow: GET, HEAD\r\n" : "", 0);
}

static int hex(char digit) {
    if (digit >= '0' && digit <= '9') return digit - '0';
    digit = (char)(digit | 0x20);
    return digit >= 'a' && digit <= 'f' ? digit - 'a' + 10 : -1;
}

/* Turns a target into a path relative to the root, in place; false where there is none. */
static bool decode(char *target) {
    target[strcspn(target, "?#")] = 0;
    if (*target != '/') return false;
    char *to = target;
    for (const char *from = target; *from != 0; from++) {
        char next = *from;
        if (next == '%') {
            int high = hex(from[1]), low = high < 0 ? -1 : hex(from[2]);
            if (low < 0) return false;
            next = (char)(high * 16 + low);
            from += 2;
        }
        if (next == 0) return false;
        *to++ = next;
    }
    *to = 0;
    for (const char *part = target; part != NULL; part = strchr(part + 1, '/'))
        if (strncmp(part, "/..", 3) == 0 && (part[3] == '/' || part[3] == 0)) return false;
    return true;
}

/* Opens a file below the root; no link leads out of it. */
static int open_below(int root, const char *path) {
    while (*path == '/') path++;
    const char *name = *path == 0 ? "." : path;
    /* O_NONBLOCK: a pipe would keep the thread waiting for its other end. */
    struct open_how how = {.flags = O_RDONLY | O_CLOEXEC | O_NONBLOCK, .resolve = RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS};
    long fd = syscall(SYS_openat2, root, name, &how, sizeof how);
    if (fd < 0 && errno == ENOSYS) fd = openat(root, name, (int)how.flags | O_NOFOLLOW);
    return (int)fd;
}

static int open_file(struct server *server, const char *path, struct stat *about) {
    int fd = open_below(server->root, path);
    if (fd >= 0 && fstat(fd, about) == 0 && S_ISDIR(about->st_mode)) {
        char index[HEAD_LIMIT + 16];
        close(fd);
        snprintf(index, sizeof index, "%s/index.html", path);
        fd = open_below(server->root, index);
    }
    if (fd >= 0 && (fstat(fd, about) != 0 || !S_ISREG(about->st_mode))) {
        close(fd);
        errno = ENOENT;
        return -1;
    }
    return fd;
}

/* The value of a field, with its ends trimmed; NULL where there is none. Fields are separated by NULs. */
static const char *field(const char *fields, const char *end, const char *name) {
    size_t length = strlen(name);
    for (; fields < end; fields += strlen(fields) + 1) {
        if (strncasecmp(fields, name, length) == 0 && fields[length] == ':') {
            const char *value = fields + length + 1;
            return value + strspn(value, " \t");
        }
    }
    return NULL;
}

static bool digits(const char **text, int64_t *value) {
    const char *start = *text;
    for (*value = 0; **text >= '0' && **text <= '9'; ++*text) {
        if (*value > (INT64_MAX - 9) / 10) return false;
        *value = *value * 10 + (**text - '0');
    }
    return *text > start;
}

/* One range of bytes. 200: none that is understood, 206, or 416. */
static int range(const char *text, int64_t size, int64_t *from, int64_t *length) {
    int64_t first = 0, last = size - 1;
    *from = 0;
    *length = size;
    if (text == NULL || strncasecmp(text, "bytes=", 6) != 0) return 200;
    text += 6;
    if (*text == '-') {
        int64_t tail;
        text++;
        if (!digits(&text, &tail) || *text != 0) return 200;
        if (tail == 0 || size == 0) return 416;
        first = tail >= size ? 0 : size - tail;
    } else {
        if (!digits(&text, &first) || *text++ != '-') return 200;
        if (*text != 0 && (!digits(&text, &last) || *text != 0 || last < first)) return 200;
        if (first >= size) return 416;
        if (last >= size) last = size - 1;
    }
    *from = first;
    *length = last - first + 1;
    return 206;
}

/* Answers the request in the first `bytes` of the head, which ends with an empty line. */
static void serve(struct connection *c, size_t bytes) {
    char *head = c->head, *end = head + bytes - 2;
    c->consumed = bytes;
    c->keep_alive = false;
    c->requests++;
    if (memchr(head, 0, bytes) != NULL) return refuse(c, 400, false);
    /* Lines become strings. */
    *end = 0;
    for (char *at = head; (at = strstr(at, "\r\n")) != NULL; at += 2) at[0] = at[1] = 0;
    char *fields = head + strlen(head) + 2;
    char *target = strchr(head, ' '), *version = target != NULL ? strchr(target + 1, ' ') : NULL;
    if (version == NULL) return refuse(c, 400, false);
    *target++ = 0;
    *version++ = 0;
    if (strncmp(version, "HTTP/", 5) != 0) return refuse(c, 400, false);
    bool modern = strcmp(version, "HTTP/1.1") == 0;
    if (!modern && strcmp(version, "HTTP/1.0") != 0) return refuse(c, 505, false);
    /* Two NULs end each line, so a search steps over an empty string between two fields. */
    const char *wish = field(fields, end, "Connection"), *body = field(fields, end, "Content-Length");
    if (modern && field(fields, end, "Host") == NULL) return refuse(c, 400, false);
    if (field(fields, end, "Transfer-Encoding") != NULL) return refuse(c, 413, false);
    if (body != NULL && strcmp(body, "0") != 0) return refuse(c, 413, false);
    c->keep_alive = wish == NULL ? modern : modern ? strcasecmp(wish, "close") != 0 : strcasecmp(wish, "keep-alive") == 0;
    bool get = strcmp(head, "GET") == 0;
    if (!get && strcmp(head, "HEAD") != 0) return refuse(c, 405, false);
    if (!decode(target)) return refuse(c, 400, true);

    struct stat about;
    int file = open_file(c->server, target, &about);
    if (file < 0) {
        bool scarce = errno == EMFILE || errno == ENFILE || errno == ENOMEM;
        return refuse(c, scarce ? 503 : errno == EACCES ? 403 : 404, true);
    }
    int64_t length;
    int code = range(field(fields, end, "Range"), about.st_size, &c->from, &length);
    char changed[64], more[400];
    http_date(about.st_mtime, changed, sizeof changed);
    if (code == 416) {
        close(file);
        snprintf(more, sizeof more, "Content-Range: bytes */%lld\r\n", (long long)about.st_size);
        c->length = 0;
        return answer(c, 416, more, 0);
    }
    int used = snprintf(more, sizeof more, "Accept-Ranges: bytes\r\nLast-Modified: %s\r\nContent-Type: %s\r\n", changed,
                        type_of(target));
    if (code == 206)
        snprintf(more + used, sizeof more - (size_t)used, "Content-Range: bytes %lld-%lld/%lld\r\n",
                 (long long)c->from, (long long)(c->from + length - 1), (long long)about.st_size);
    c->file = file;
    c->length = get ? (size_t)length : 0;
    answer(c, code, more, (size_t)length);
}

/* ---- the steps of a connection */

/* After a successful start another thread may already run the next callback: c is not touched any more. */

static void next_request(struct connection *c) {
    /* What came with the last request is the beginning of the next one. */
    memmove(c->head, c->head + c->consumed, c->until.filled - c->consumed);
    c->until.filled -= c->consumed;
    c->consumed = 0;
    set_deadline(c, 0);
    if (weir_stream_read_until(c->stream, &c->until, on_head, c) != 0) connection_end(c);
}

/* A close with unread data would reset the connection, and the peer could lose the answer: it reads to the end. */
static void finish(struct connection *c) {
    c->discarded = 0;
    set_deadline(c, 0);
    if (weir_stream_shutdown(c->stream, WEIR_SHUTDOWN_WRITE) != 0 ||
        weir_stream_read_some(c->stream, c->head, sizeof c->head, on_discarded, c) != 0)
        connection_end(c);
}

static void on_discarded(int status, size_t bytes, void *user) {
    struct connection *c = user;
    c->discarded += bytes;
    if (status != 0 || c->discarded > DISCARD_LIMIT ||
        weir_stream_read_some(c->stream, c->head, sizeof c->head, on_discarded, c) != 0)
        connection_end(c);
}

static void on_head(int status, size_t bytes, void *user) {
    struct connection *c = user;
    if (status == 0) return serve(c, bytes);
    c->keep_alive = false;
    c->consumed = c->until.filled;
    if (status == -EMSGSIZE) refuse(c, 431, false);
    else if (status == WEIR_ETIMEDOUT && bytes > 0) refuse(c, 408, false);
    else connection_end(c); /* the peer has gone, an idle connection, or the server stops */
}

static void on_answered(int status, size_t bytes, void *user) {
    struct connection *c = user;
    (void)bytes;
    if (status != 0) connection_end(c);
    else if (c->length == 0) on_sent(0, 0, c);
    else if (weir_stream_send_file(c->stream, c->file, c->from, c->length, on_sent, c) != 0) connection_end(c);
}

static void on_sent(int status, size_t bytes, void *user) {
    struct connection *c = user;
    (void)bytes;
    if (status != 0) return connection_end(c); /* WEIR_EOF too: the file has become shorter than was promised */
    if (c->file >= 0) close(c->file);
    c->file = -1;
    if (c->keep_alive) next_request(c);
    else finish(c);
}

/* ---- the server */

/* Closes everything. Runs on a thread of the context; doing it twice does no harm. */
static void server_stop(struct server *server) {
    pthread_mutex_lock(&server->lock);
    server->stopping = true;
    for (struct connection *c = server->connections; c != NULL; c = c->next) weir_stream_close(c->stream);
    pthread_mutex_unlock(&server->lock);
    weir_acceptor_close(server->acceptor);
    weir_timer_close(server->sweeper);
}

/* Closes the connections that are late. As in server_stop, their own callbacks free them. */
static void on_sweep(int status, void *user) {
    struct server *server = user;
    if (status != 0) return;
    int64_t time = now(server);
    pthread_mutex_lock(&server->lock);
    for (struct connection *c = server->connections; c != NULL; c = c->next)
        if (c->deadline < time) weir_stream_close(c->stream);
    pthread_mutex_unlock(&server->lock);
}

static void on_stop(int status, void *user) {
    (void)status;
    server_stop(user);
}

static void on_accept(int status, weir_stream *peer, const struct sockaddr *address, socklen_t length, void *user) {
    struct server *server = user;
    (void)address;
    (void)length;
    if (status < 0) { /* comes once, at the end: WEIR_ECANCELED when the server stops */
        if (status != WEIR_ECANCELED) {
            fprintf(stderr, "file_server: accept: %s\n", weir_strerror(status));
            pthread_mutex_lock(&server->lock);
            server->failure = status;
            pthread_mutex_unlock(&server->lock);
            server_stop(server);
        }
        return;
    }
    struct connection *c = calloc(1, sizeof *c);
    if (c == NULL) {
        weir_stream_close(peer);
        return;
    }
    c->server = server;
    c->stream = peer;
    c->file = -1;
    set_deadline(c, 0);
    c->until = (weir_until){sizeof c->until, c->head, sizeof c->head, 0, "\r\n\r\n", 4};
    pthread_mutex_lock(&server->lock);
    bool wanted = !server->stopping && (server->connections_limit == 0 || server->open < server->connections_limit);
    if (wanted) {
        c->next = server->connections;
        c->link = &server->connections;
        if (c->next != NULL) c->next->link = &c->next;
        server->connections = c;
        server->open++;
    }
    pthread_mutex_unlock(&server->lock);
    if (!wanted) {
        weir_stream_close(peer);
        free(c);
        return;
    }
    weir_stream_set(peer, WEIR_OPT_NO_DELAY, 1); /* speed only */
    status = weir_stream_set_timeout(peer, WEIR_WAIT_READ | WEIR_WAIT_WRITE, server->timeout_ns);
    if (status != 0) connection_end(c);
    else next_request(c);
}

/* Signals are blocked in every thread; this one takes them as values, where any function may be called. */
static void *signal_thread(void *user) {
    struct server *server = user;
    int number = 0;
    sigwait(&server->signals, &number);
    if (weir_context_post(server->context, on_stop, server) != 0) _Exit(1); /* no memory for a polite end */
    return NULL;
}

static void *run_thread(void *user) {
    struct server *server = user;
    int error = weir_context_run(server->context, NULL);
    if (error != 0) {
        pthread_mutex_lock(&server->lock);
        server->failure = error;
        pthread_mutex_unlock(&server->lock);
    }
    return NULL;
}

static int server_listen(struct server *server, const char *where) {
    char text[WEIR_ADDRESS_TEXT_MAX];
    struct sockaddr_storage address;
    socklen_t length = sizeof address;
    int error = weir_address_parse(where, &address, &length);
    if (error == 0) error = weir_acceptor_create(server->context, &server->acceptor);
    if (error == 0) error = weir_acceptor_bind(server->acceptor, (struct sockaddr *)&address, length);
    if (error == 0) error = weir_acceptor_listen(server->acceptor, 0);
    if (error == 0) error = weir_acceptor_accept_each(server->acceptor, on_accept, server);
    if (error == 0) error = weir_timer_create(server->context, &server->sweeper);
    if (error == 0)
        error = weir_timer_start(server->sweeper, server->request_ns / 4, server->request_ns / 4, on_sweep, server);
    length = sizeof address; /* ask for the port that the kernel chose */
    if (error == 0) error = weir_acceptor_local_address(server->acceptor, &address, &length);
    if (error == 0) error = weir_address_format((struct sockaddr *)&address, length, text, sizeof text);
    if (error == 0) {
        printf("listening on %s\n", text);
        fflush(stdout);
    }
    return error;
}

static int server_run(struct server *server, unsigned threads) {
    pthread_t runners[MAX_THREADS], watcher;
    unsigned started = 1;
    int error = pthread_create(&watcher, NULL, signal_thread, server);
    if (error != 0) return -error;
    for (; started < threads && error == 0; started++)
        error = pthread_create(&runners[started], NULL, run_thread, server);
    if (error != 0) { /* serve nobody with fewer threads than asked for */
        started--;
        server_stop(server);
    }
    run_thread(server);
    for (unsigned i = 1; i < started; i++) pthread_join(runners[i], NULL);
    /* Without a signal so far the watcher still waits; after one it has ended and this does nothing. */
    pthread_kill(watcher, SIGTERM);
    pthread_join(watcher, NULL);
    return error != 0 ? -error : server->failure;
}

static bool number(const char *text, unsigned long maximum, unsigned long *out) {
    char *end = NULL;
    errno = 0;
    *out = strtoul(text, &end, 10);
    return errno == 0 && end != text && *end == 0 && *text != '-' && *out <= maximum;
}

int main(int argc, char **argv) {
    static const struct option options[] = {
        {"listen", required_argument, NULL, 'l'},  {"threads", required_argument, NULL, 't'},
        {"timeout", required_argument, NULL, 'i'}, {"connections-limit", required_argument, NULL, 'c'},
        {"request-timeout", required_argument, NULL, 'r'},
        {NULL, 0, NULL, 0},
    };
    const char *where = "127.0.0.1:0";
    unsigned long threads = 1, timeout = 10000, limit = 0, request = 30000;
    bool good = true;
    for (int name; (name = getopt_long(argc, argv, "", options, NULL)) != -1 && good;) {
        if (name == 'l') where = optarg;
        else if (name == 't') good = number(optarg, MAX_THREADS, &threads) && threads >= 1;
        else if (name == 'i') good = number(optarg, 1000 * 1000, &timeout) && timeout >= 1;
        else if (name == 'r') good = number(optarg, 1000 * 1000, &request) && request >= 40;
        else if (name == 'c') good = number(optarg, 10 * 1000 * 1000, &limit);
        else good = false;
    }
    if (!good || optind + 1 != argc) {
        fprintf(stderr,
                "usage: %s [--listen ADDRESS] [--threads N] [--timeout MS] [--request-timeout MS]\n"
                "       [--connections-limit N] DIRECTORY\n"
                "  --listen ADDRESS         127.0.0.1:80, [::1]:80 or unix:/path; port 0 lets the kernel choose\n"
                "  --threads N              threads that run the context (1)\n"
                "  --timeout MS             time without a byte after which a connection is closed (10000)\n"
                "  --request-timeout MS     time in which a request must be complete, and an answer be taken: as much\n"
                "                           more as its file needs at 4 KiB a second (30000)\n"
                "  --connections-limit N    close connections beyond so many (0: no limit)\n",
                argv[0]);
        return 2;
    }
    struct server server = {.connections_limit = limit, .lock = PTHREAD_MUTEX_INITIALIZER};
    server.timeout_ns = (int64_t)timeout * 1000000;
    server.request_ns = (int64_t)request * 1000000;
    server.root = open(argv[optind], O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (server.root < 0) {
        fprintf(stderr, "file_server: %s: %s\n", argv[optind], strerror(errno));
        return 1;
    }
    weir_context_options context_options = {.struct_size = sizeof context_options, .thread_hint = (uint32_t)threads};
    sigemptyset(&server.signals);
    sigaddset(&server.signals, SIGINT);
    sigaddset(&server.signals, SIGTERM);
    pthread_sigmask(SIG_BLOCK, &server.signals, NULL); /* before the first thread exists, so that all inherit it */

    int error = weir_context_create(&context_options, &server.context);
    if (error == 0) error = server_listen(&server, where);
    if (error == 0) error = server_run(&server, (unsigned)threads);
    if (error != 0) fprintf(stderr, "file_server: %s\n", weir_strerror(error));
    weir_acceptor_close(server.acceptor); /* still open only if something above failed */
    weir_context_destroy(server.context);
    close(server.root);
    fprintf(stderr, "file_server: %llu requests\n", (unsigned long long)server.requests);
    return error != 0;
}
