/* The injector: see inject.h. One row for each system call that libweir makes, with what the manual pages say it may
 * answer; the functions that stand in for those of the C library are below. */
#include "inject.h"

#include <arpa/inet.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <link.h>
#include <net/if.h>
#include <netdb.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/timerfd.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

/* ---- the rows */

#define SEEN(error) {error, FAULT_SEEN}
#define INTERRUPTED {EINTR, FAULT_BOUNDED}
#define NOT_READY {EAGAIN, FAULT_REARM | FAULT_BOUNDED}
#define DONE_THOUGH(error) {error, FAULT_PERFORM}
#define RETURNED(error) {error, FAULT_SEEN | FAULT_RETURNED}
#define LATER(error) {error, FAULT_WAITS}
/* Passed over by libweir, but nothing that the kernel says for ever. */
#define PASSED(error) {error, FAULT_BOUNDED}

#define PANIC "only Rust's panic messages need it: never called"
#define OLD "a fallback of Rust's for old C libraries: never called"
#define SURE "can't fail with these arguments"

enum row {
    EPOLL_CREATE1,
    EPOLL_CTL_ADDING,
    EPOLL_CTL_MODIFYING,
    EPOLL_CTL_DELETING,
    EPOLL_WAIT,
    EPOLL_PWAIT2,
    EVENTFD,
    PIPE2,
    TIMERFD_CREATE,
    TIMERFD_SETTIME,
    SOCKET,
    SOCKETPAIR,
    BIND,
    LISTEN,
    ACCEPT4,
    CONNECT,
    GETSOCKNAME,
    GETPEERNAME,
    GETSOCKOPT,
    SO_ERROR_FOUND,
    SETSOCKOPT,
    SHUTDOWN,
    FCNTL_GET,
    FCNTL_SET,
    DUP3,
    POLL,
    RECV,
    RECVFROM,
    RECVMSG,
    RECVMMSG,
    SEND,
    SENDTO,
    SENDMSG,
    SENDMMSG,
    SENDFILE,
    READ,
    WRITE,
    CLOSE,
    UNLINK,
    KILL,
    PIDFD_OPEN,
    PIDFD_SEND_SIGNAL,
    WAITID,
    MEMBARRIER,
    FUTEX,
    PTHREAD_CREATE,
    PTHREAD_ATTR_INIT,
    PTHREAD_ATTR_SETSTACKSIZE,
    PTHREAD_ATTR_SETDETACHSTATE,
    PTHREAD_ATTR_DESTROY,
    PTHREAD_SIGMASK,
    SIGACTION,
    SIGPENDING,
    SIGTIMEDWAIT,
    GETADDRINFO,
    GETNAMEINFO,
    IF_NAMETOINDEX,
    IF_INDEXTONAME,
    GETRANDOM,
    REGISTER_ATFORK,
    CLOCK_NANOSLEEP,
    KEY_CREATE,
    KEY_DELETE,
    SETSPECIFIC,
    MMAP,
    MUNMAP,
    OPEN,
    FSTAT,
    STAT,
    STATX,
    READLINK,
    REALPATH,
    LSEEK,
    GETCWD,
    WRITEV,
    ROWS
};

static const struct fault_row rows[ROWS] = {
    [EPOLL_CREATE1] = {"epoll_create1", "epoll_create1", {SEEN(EMFILE), SEEN(ENFILE), SEEN(ENOMEM)}, false, NULL},
    [EPOLL_CTL_ADDING] = {"epoll_ctl ADD", "epoll_ctl", {SEEN(ENOSPC), SEEN(EPERM), SEEN(ENOMEM)}, false, NULL},
    [EPOLL_CTL_MODIFYING] = {"epoll_ctl MOD", "epoll_ctl", {SEEN(ENOMEM)}, false, NULL},
    [EPOLL_CTL_DELETING] = {"epoll_ctl DEL", "epoll_ctl", {DONE_THOUGH(ENOENT), DONE_THOUGH(EBADF)}, false, NULL},
    [EPOLL_WAIT] = {"epoll_wait", "epoll_wait", {INTERRUPTED, SEEN(EINVAL)}, false, NULL, true},
    [EPOLL_PWAIT2] = {"epoll_pwait2", "syscall", {INTERRUPTED, {ENOSYS, 0}, {EPERM, 0}, SEEN(EINVAL)}, false, NULL, true},
    [PIPE2] = {"pipe2", "pipe2", {SEEN(EMFILE), SEEN(ENFILE), SEEN(ENOMEM)}, false, NULL},
    [EVENTFD] = {"eventfd", "eventfd", {SEEN(EMFILE), SEEN(ENFILE), SEEN(ENOMEM), SEEN(ENODEV)}, false, NULL},
    [TIMERFD_CREATE] = {"timerfd_create",
                        "timerfd_create",
                        {SEEN(EMFILE), SEEN(ENFILE), SEEN(ENOMEM), SEEN(ENODEV)},
                        false,
                        NULL},
    [TIMERFD_SETTIME] = {"timerfd_settime", "timerfd_settime", {{0, 0}}, false, SURE},
    [SOCKET] = {"socket",
                "socket",
                {SEEN(EMFILE), SEEN(ENFILE), SEEN(ENOMEM), SEEN(ENOBUFS), SEEN(EACCES), SEEN(EAFNOSUPPORT)},
                false,
                NULL},
    [SOCKETPAIR] = {"socketpair", "socketpair", {SEEN(EMFILE), SEEN(ENFILE), SEEN(ENOMEM), SEEN(ENOBUFS)}, false, NULL},
    [BIND] = {"bind",
              "bind",
              {SEEN(EACCES), SEEN(EADDRINUSE), SEEN(EADDRNOTAVAIL), SEEN(ENOMEM), SEEN(EROFS)},
              false,
              NULL},
    [LISTEN] = {"listen", "listen", {SEEN(EADDRINUSE), SEEN(EOPNOTSUPP)}, false, NULL},
    [ACCEPT4] = {"accept4",
                 "accept4",
                 {INTERRUPTED, NOT_READY, PASSED(ECONNABORTED), PASSED(EPROTO), PASSED(ENETDOWN), PASSED(EHOSTUNREACH),
                  LATER(EMFILE), LATER(ENFILE), LATER(ENOBUFS), LATER(ENOMEM), SEEN(EPERM)},
                 false,
                 NULL},
    [CONNECT] = {"connect",
                 "connect",
                 {{EINTR, FAULT_PERFORM}, {EINPROGRESS, FAULT_PERFORM}, SEEN(EACCES), SEEN(EPERM), SEEN(EADDRINUSE),
                  SEEN(EADDRNOTAVAIL), SEEN(EAFNOSUPPORT), SEEN(ECONNREFUSED), SEEN(ENETUNREACH), SEEN(EHOSTUNREACH),
                  SEEN(ETIMEDOUT), SEEN(ENOBUFS), SEEN(ENOMEM)},
                 false,
                 NULL},
    [GETSOCKNAME] = {"getsockname", "getsockname", {SEEN(ENOBUFS)}, false, NULL},
    [GETPEERNAME] = {"getpeername", "getpeername", {SEEN(ENOBUFS), SEEN(ENOTCONN)}, false, NULL},
    [GETSOCKOPT] = {"getsockopt", "getsockopt", {SEEN(ENOPROTOOPT), SEEN(ENOBUFS), SEEN(ENOMEM)}, false, NULL},
    [SO_ERROR_FOUND] = {"getsockopt finds SO_ERROR",
                        "getsockopt",
                        {SEEN(ECONNREFUSED), SEEN(ETIMEDOUT), SEEN(EHOSTUNREACH), SEEN(ENETUNREACH), SEEN(ECONNRESET),
                         SEEN(EPERM)},
                        false,
                        NULL},
    [SETSOCKOPT] = {"setsockopt",
                    "setsockopt",
                    {SEEN(ENOPROTOOPT), SEEN(ENOBUFS), SEEN(ENOMEM), SEEN(EPERM), SEEN(EDOM)},
                    false,
                    NULL},
    [SHUTDOWN] = {"shutdown", "shutdown", {SEEN(ENOTCONN), SEEN(ENOBUFS)}, false, NULL},
    [FCNTL_GET] = {"fcntl F_GET", "fcntl", {{0, 0}}, false, "fails for what is no fd only"},
    [FCNTL_SET] = {"fcntl F_SET", "fcntl", {SEEN(EPERM)}, false, NULL},
    [DUP3] = {"dup3", "dup3", {INTERRUPTED, SEEN(EBUSY), SEEN(EMFILE)}, false, NULL},
    [POLL] = {"poll", "poll", {INTERRUPTED, SEEN(ENOMEM)}, false, NULL},
    [RECV] = {"recv",
              "recv",
              {INTERRUPTED, NOT_READY, SEEN(ECONNRESET), SEEN(ENOMEM), SEEN(ENOBUFS), SEEN(ETIMEDOUT),
               SEEN(EHOSTUNREACH)},
              true,
              NULL},
    [RECVFROM] = {"recvfrom",
                  "recvfrom",
                  {INTERRUPTED, NOT_READY, SEEN(ECONNREFUSED), SEEN(ENOMEM), SEEN(ENOBUFS), SEEN(EHOSTUNREACH)},
                  false,
                  NULL},
    [RECVMSG] = {"recvmsg",
                 "recvmsg",
                 {INTERRUPTED, NOT_READY, SEEN(ECONNRESET), SEEN(ENOMEM), SEEN(ENOBUFS), SEEN(ETIMEDOUT)},
                 true,
                 NULL},
    [RECVMMSG] = {"recvmmsg",
                  "recvmmsg",
                  {INTERRUPTED, NOT_READY, SEEN(ECONNREFUSED), SEEN(ENOMEM), SEEN(ENOBUFS)},
                  true,
                  NULL},
    [SEND] = {"send",
              "send",
              {INTERRUPTED, NOT_READY, SEEN(EPIPE), SEEN(ECONNRESET), SEEN(ENOMEM), SEEN(ENOBUFS), SEEN(ETIMEDOUT),
               SEEN(EHOSTUNREACH)},
              true,
              NULL},
    [SENDTO] = {"sendto",
                "sendto",
                {INTERRUPTED, NOT_READY, SEEN(ECONNREFUSED), SEEN(ENOMEM), SEEN(ENOBUFS), SEEN(EPERM), SEEN(EACCES),
                 SEEN(ENETUNREACH), SEEN(EHOSTUNREACH), SEEN(EMSGSIZE)},
                false,
                NULL},
    [SENDMSG] = {"sendmsg",
                 "sendmsg",
                 {INTERRUPTED, NOT_READY, SEEN(EPIPE), SEEN(ECONNRESET), SEEN(ENOMEM), SEEN(ENOBUFS),
                  SEEN(ETOOMANYREFS)},
                 true,
                 NULL},
    [SENDMMSG] = {"sendmmsg",
                  "sendmmsg",
                  {INTERRUPTED, NOT_READY, SEEN(ECONNREFUSED), SEEN(ENOMEM), SEEN(ENOBUFS), SEEN(EPERM),
                   SEEN(ENETUNREACH)},
                  true,
                  NULL},
    [SENDFILE] = {"sendfile64",
                  "sendfile64",
                  {INTERRUPTED, NOT_READY, SEEN(EIO), SEEN(ENOMEM), SEEN(EPIPE), SEEN(ECONNRESET), SEEN(EOVERFLOW)},
                  true,
                  NULL},
    [READ] = {"read", "read", {INTERRUPTED}, false, NULL},
    [WRITE] = {"write", "write", {INTERRUPTED, {EAGAIN, FAULT_PERFORM}}, false, NULL},
    [CLOSE] = {"close", "close", {DONE_THOUGH(EINTR), DONE_THOUGH(EIO), DONE_THOUGH(ENOSPC)}, false, NULL},
    [UNLINK] = {"unlink",
                "unlink",
                {SEEN(EACCES), SEEN(EBUSY), SEEN(EIO), SEEN(ENOMEM), SEEN(EPERM), SEEN(EROFS), SEEN(ENOENT)},
                false,
                NULL},
    [KILL] = {"kill", "kill", {SEEN(EPERM), SEEN(ESRCH)}, false, NULL},
    [PIDFD_OPEN] = {"pidfd_open",
                    "syscall",
                    {SEEN(EMFILE), SEEN(ENFILE), SEEN(ENODEV), SEEN(ENOMEM), SEEN(ESRCH), {ENOSYS, 0}, {EPERM, 0}},
                    false,
                    NULL},
    [PIDFD_SEND_SIGNAL] = {"pidfd_send_signal", "syscall", {SEEN(EPERM), SEEN(ESRCH)}, false, NULL},
    [WAITID] = {"waitid", "syscall", {INTERRUPTED, SEEN(ECHILD)}, false, NULL},
    [MEMBARRIER] = {"membarrier", "syscall", {{ENOSYS, 0}, {EPERM, 0}, {EINVAL, 0}}, false, NULL},
    [FUTEX] = {"futex", "syscall", {INTERRUPTED, {EAGAIN, FAULT_BOUNDED}}, false, NULL},
    [PTHREAD_CREATE] = {"pthread_create", "pthread_create", {RETURNED(EAGAIN), RETURNED(ENOMEM)}, false, NULL},
    [PTHREAD_ATTR_INIT] = {"pthread_attr_init", "pthread_attr_init", {RETURNED(ENOMEM)}, false, NULL},
    [PTHREAD_ATTR_SETSTACKSIZE] = {"pthread_attr_setstacksize",
                                   "pthread_attr_setstacksize",
                                   {{EINVAL, FAULT_RETURNED}},
                                   false,
                                   NULL},
    [PTHREAD_ATTR_SETDETACHSTATE] = {"pthread_attr_setdetachstate",
                                     "pthread_attr_setdetachstate",
                                     {{0, 0}},
                                     false,
                                     SURE},
    [PTHREAD_ATTR_DESTROY] = {"pthread_attr_destroy", "pthread_attr_destroy", {{0, 0}}, false, SURE},
    [PTHREAD_SIGMASK] = {"pthread_sigmask", "pthread_sigmask", {{0, 0}}, false, SURE},
    [SIGACTION] = {"sigaction", "sigaction", {SEEN(EINVAL)}, false, NULL},
    [SIGPENDING] = {"sigpending", "sigpending", {{0, 0}}, false, SURE},
    [SIGTIMEDWAIT] = {"sigtimedwait", "sigtimedwait", {INTERRUPTED}, false, NULL},
    [GETADDRINFO] = {"getaddrinfo",
                     "getaddrinfo",
                     {RETURNED(EAI_AGAIN), RETURNED(EAI_FAIL), RETURNED(EAI_MEMORY), RETURNED(EAI_SYSTEM),
                      RETURNED(EAI_NONAME)},
                     false,
                     NULL},
    [GETNAMEINFO] = {"getnameinfo",
                     "getnameinfo",
                     {RETURNED(EAI_AGAIN), RETURNED(EAI_FAIL), RETURNED(EAI_MEMORY), RETURNED(EAI_SYSTEM),
                      RETURNED(EAI_OVERFLOW)},
                     false,
                     NULL},
    [IF_NAMETOINDEX] = {"if_nametoindex",
                        "if_nametoindex",
                        {SEEN(ENODEV), SEEN(EMFILE), SEEN(ENFILE), SEEN(ENOBUFS), SEEN(ENOMEM)},
                        false,
                        NULL},
    [IF_INDEXTONAME] = {"if_indextoname", "if_indextoname", {SEEN(ENXIO), SEEN(EMFILE), SEEN(ENOMEM)}, false, NULL},
    [GETRANDOM] = {"getrandom", "getrandom", {{0, 0}}, false, "for hash keys that nothing here uses: never called"},
    [REGISTER_ATFORK] = {"pthread_atfork", "__register_atfork", {RETURNED(ENOMEM)}, false, NULL},
    [CLOCK_NANOSLEEP] = {"clock_nanosleep", "clock_nanosleep", {{EINTR, FAULT_BOUNDED | FAULT_RETURNED}}, false, NULL},
    [KEY_CREATE] = {"pthread_key_create", "pthread_key_create", {{0, 0}}, false, OLD},
    [KEY_DELETE] = {"pthread_key_delete", "pthread_key_delete", {{0, 0}}, false, OLD},
    [SETSPECIFIC] = {"pthread_setspecific", "pthread_setspecific", {{0, 0}}, false, OLD},
    [MMAP] = {"mmap64", "mmap64", {{0, 0}}, false, PANIC},
    [MUNMAP] = {"munmap", "munmap", {{0, 0}}, false, PANIC},
    [OPEN] = {"open64", "open64", {{0, 0}}, false, PANIC},
    [FSTAT] = {"fstat64", "fstat64", {{0, 0}}, false, PANIC},
    [STAT] = {"stat64", "stat64", {{0, 0}}, false, PANIC},
    [STATX] = {"statx", "statx", {{0, 0}}, false, PANIC},
    [READLINK] = {"readlink", "readlink", {{0, 0}}, false, PANIC},
    [REALPATH] = {"realpath", "realpath", {{0, 0}}, false, PANIC},
    [LSEEK] = {"lseek64", "lseek64", {{0, 0}}, false, PANIC},
    [GETCWD] = {"getcwd", "getcwd", {{0, 0}}, false, PANIC},
    [WRITEV] = {"writev", "writev", {{0, 0}}, false, PANIC},
};

const struct fault_row *fault_rows(size_t *count)
{
    *count = ROWS;
    return rows;
}

/* ---- the plan */

static struct fault_plan plan, standing;
static atomic_bool counting;
static atomic_long calls[ROWS], injected, unknown = -1;
static uintptr_t code_begin, code_end;

void fault_begin(const struct fault_plan *given)
{
    static const struct fault_plan none;
    plan = given ? *given : none;
    standing = none;
    for (int row = 0; row < ROWS; row++)
        calls[row] = 0;
    injected = 0;
    atomic_store(&counting, true);
}

void fault_always(const char *name, int error)
{
    for (int row = 0; row < ROWS; row++)
        if (strcmp(rows[row].name, name) == 0)
            standing = (struct fault_plan){row, 1, FAULT_FOR_EVER, {error, FAULT_SEEN}};
}

long fault_end(void)
{
    atomic_store(&counting, false);
    return atomic_load(&injected);
}

long fault_calls(size_t row)
{
    return row < ROWS ? atomic_load(&calls[row]) : 0;
}

long fault_unknown(void)
{
    return atomic_load(&unknown);
}

static int find_library(struct dl_phdr_info *info, size_t size, void *user)
{
    (void)size;
    (void)user;
    if (!strstr(info->dlpi_name, "libweir.so"))
        return 0;
    for (int i = 0; i < info->dlpi_phnum; i++) {
        const ElfW(Phdr) *part = &info->dlpi_phdr[i];
        if (part->p_type == PT_LOAD && (part->p_flags & PF_X)) {
            code_begin = info->dlpi_addr + part->p_vaddr;
            code_end = code_begin + part->p_memsz;
        }
    }
    return 1;
}

__attribute__((constructor)) static void find(void)
{
    dl_iterate_phdr(find_library, NULL);
}

/* Counts a call. What it shall fail with, if it shall. `caller` is where it returns to. */
static const struct fault_error *fault(enum row row, void *caller)
{
    uintptr_t at = (uintptr_t)caller;
    if (at < code_begin || at >= code_end || !atomic_load(&counting))
        return NULL;
    long index = atomic_fetch_add(&calls[row], 1) + 1;
    if (standing.mode == FAULT_FOR_EVER && (int)row == standing.row)
        return &standing.error;
    if (plan.mode == FAULT_NEVER || plan.mode == FAULT_SHORT || plan.mode == FAULT_SPURIOUS || (int)row != plan.row || index < plan.index)
        return NULL;
    if (plan.mode == FAULT_ONCE && index > plan.index)
        return NULL;
    if ((plan.error.how & FAULT_BOUNDED) && index >= plan.index + 20)
        return NULL;
    atomic_fetch_add(&injected, 1);
    return &plan.error;
}

static bool is_stream(int fd)
{
    int type = 0;
    socklen_t length = sizeof type;
    static __typeof__(getsockopt) *real;
    if (!real)
        real = (__typeof__(real))dlsym(RTLD_NEXT, "getsockopt");
    return real(fd, SOL_SOCKET, SO_TYPE, &type, &length) == 0 && type == SOCK_STREAM;
}

/* True for a transfer of at most one byte, or one message. */
static bool shortened(enum row row, void *caller, int fd)
{
    uintptr_t at = (uintptr_t)caller;
    if (plan.mode != FAULT_SHORT || (int)row != plan.row || at < code_begin || at >= code_end || !atomic_load(&counting))
        return false;
    if (row != RECVMMSG && row != SENDMMSG && !is_stream(fd))
        return false;
    atomic_fetch_add(&injected, 1);
    return true;
}

#define REAL(name)                                                                                                     \
    static __typeof__(name) *real;                                                                                     \
    if (!real)                                                                                                         \
    real = (__typeof__(real))dlsym(RTLD_NEXT, #name)

#define CALLER __builtin_return_address(0)

/* Calls the function, or fails in its place. */
#define STAND_IN(row, failure, call)                                                                                   \
    const struct fault_error *failing = fault(row, CALLER);                                                            \
    if (failing) {                                                                                                     \
        int error = failing->error, how = failing->how;                                                                \
        if (how & FAULT_PERFORM)                                                                                       \
            (void)!(call);                                                                                             \
        errno = error;                                                                                                 \
        return (how & FAULT_RETURNED) ? (__typeof__(call))(intptr_t)error : (failure);                                 \
    }                                                                                                                  \
    return call

/* ---- registrations, so that an EAGAIN that was not true is followed by the edge that would follow a true one */

#define FDS 4096
static struct {
    int set; /* the epoll fd plus 1; 0 for none */
    struct epoll_event event;
} registered[FDS];
static pthread_mutex_t registrations = PTHREAD_MUTEX_INITIALIZER;

static int real_epoll_ctl(int set, int operation, int fd, struct epoll_event *event)
{
    REAL(epoll_ctl);
    return real(set, operation, fd, event);
}

static void rearm(int fd)
{
    if (fd < 0 || fd >= FDS)
        return;
    pthread_mutex_lock(&registrations);
    if (registered[fd].set)
        real_epoll_ctl(registered[fd].set - 1, EPOLL_CTL_MOD, fd, &registered[fd].event);
    pthread_mutex_unlock(&registrations);
}

int epoll_ctl(int set, int operation, int fd, struct epoll_event *event)
{
    enum row row = operation == EPOLL_CTL_ADD   ? EPOLL_CTL_ADDING
                   : operation == EPOLL_CTL_MOD ? EPOLL_CTL_MODIFYING
                                                : EPOLL_CTL_DELETING;
    const struct fault_error *failing = fault(row, CALLER);
    int answer = 0;
    pthread_mutex_lock(&registrations);
    if (!failing || (failing->how & FAULT_PERFORM)) {
        answer = real_epoll_ctl(set, operation, fd, event);
        if (fd >= 0 && fd < FDS && answer == 0) {
            registered[fd].set = operation == EPOLL_CTL_DEL ? 0 : set + 1;
            if (operation != EPOLL_CTL_DEL)
                registered[fd].event = *event;
        }
    }
    pthread_mutex_unlock(&registrations);
    if (failing) {
        errno = failing->error;
        return -1;
    }
    return answer;
}

int close(int fd)
{
    REAL(close);
    if (fd >= 0 && fd < FDS) {
        pthread_mutex_lock(&registrations);
        registered[fd].set = 0;
        pthread_mutex_unlock(&registrations);
    }
    STAND_IN(CLOSE, -1, real(fd));
}

/* ---- transfers */

/* As STAND_IN, for what moves bytes through a socket; `shorter` is the call for one byte. */
#define TRANSFER(row, fd, call, shorter)                                                                               \
    const struct fault_error *failing = fault(row, CALLER);                                                            \
    if (failing) {                                                                                                     \
        int error = failing->error;                                                                                    \
        if (failing->how & FAULT_REARM)                                                                                \
            rearm(fd);                                                                                                 \
        errno = error;                                                                                                 \
        return -1;                                                                                                     \
    }                                                                                                                  \
    if (shortened(row, CALLER, fd)) {                                                                                  \
        __typeof__(call) moved = shorter;                                                                              \
        int error = errno;                                                                                             \
        if (moved > 0)                                                                                                 \
            rearm(fd);                                                                                                 \
        errno = error;                                                                                                 \
        return moved;                                                                                                  \
    }                                                                                                                  \
    return call

static size_t one(size_t length)
{
    return length > 1 ? 1 : length;
}

/* The message with one byte in its first buffer that has any. */
static struct msghdr one_byte(const struct msghdr *message, struct iovec *part)
{
    struct msghdr shorter = *message;
    *part = (struct iovec){NULL, 0};
    for (size_t i = 0; i < message->msg_iovlen && part->iov_len == 0; i++)
        *part = (struct iovec){message->msg_iov[i].iov_base, one(message->msg_iov[i].iov_len)};
    shorter.msg_iov = part;
    shorter.msg_iovlen = 1;
    return shorter;
}

ssize_t recv(int fd, void *data, size_t length, int flags)
{
    REAL(recv);
    TRANSFER(RECV, fd, real(fd, data, length, flags), real(fd, data, one(length), flags));
}

ssize_t send(int fd, const void *data, size_t length, int flags)
{
    REAL(send);
    TRANSFER(SEND, fd, real(fd, data, length, flags), real(fd, data, one(length), flags));
}

ssize_t recvfrom(int fd, void *data, size_t length, int flags, struct sockaddr *address, socklen_t *address_length)
{
    REAL(recvfrom);
    TRANSFER(RECVFROM, fd, real(fd, data, length, flags, address, address_length),
             real(fd, data, one(length), flags, address, address_length));
}

ssize_t sendto(int fd, const void *data, size_t length, int flags, const struct sockaddr *address,
               socklen_t address_length)
{
    REAL(sendto);
    TRANSFER(SENDTO, fd, real(fd, data, length, flags, address, address_length),
             real(fd, data, one(length), flags, address, address_length));
}

static ssize_t recvmsg_shorter(__typeof__(recvmsg) *real, int fd, struct msghdr *message, int flags)
{
    struct iovec part;
    struct msghdr shorter = one_byte(message, &part);
    ssize_t moved = real(fd, &shorter, flags);
    message->msg_flags = shorter.msg_flags;
    message->msg_controllen = shorter.msg_controllen;
    message->msg_namelen = shorter.msg_namelen;
    return moved;
}

ssize_t recvmsg(int fd, struct msghdr *message, int flags)
{
    REAL(recvmsg);
    TRANSFER(RECVMSG, fd, real(fd, message, flags), recvmsg_shorter(real, fd, message, flags));
}

static ssize_t sendmsg_shorter(__typeof__(sendmsg) *real, int fd, const struct msghdr *message, int flags)
{
    struct iovec part;
    struct msghdr shorter = one_byte(message, &part);
    return real(fd, &shorter, flags);
}

ssize_t sendmsg(int fd, const struct msghdr *message, int flags)
{
    REAL(sendmsg);
    TRANSFER(SENDMSG, fd, real(fd, message, flags), sendmsg_shorter(real, fd, message, flags));
}

int recvmmsg(int fd, struct mmsghdr *messages, unsigned count, int flags, struct timespec *timeout)
{
    REAL(recvmmsg);
    TRANSFER(RECVMMSG, fd, real(fd, messages, count, flags, timeout),
             real(fd, messages, count > 1 ? 1 : count, flags, timeout));
}

int sendmmsg(int fd, struct mmsghdr *messages, unsigned count, int flags)
{
    REAL(sendmmsg);
    TRANSFER(SENDMMSG, fd, real(fd, messages, count, flags), real(fd, messages, count > 1 ? 1 : count, flags));
}

ssize_t sendfile64(int to, int from, off64_t *offset, size_t length)
{
    REAL(sendfile64);
    TRANSFER(SENDFILE, to, real(to, from, offset, length), real(to, from, offset, one(length)));
}

int accept4(int fd, struct sockaddr *address, socklen_t *length, int flags)
{
    REAL(accept4);
    TRANSFER(ACCEPT4, fd, real(fd, address, length, flags), real(fd, address, length, flags));
}

/* ---- making fds */

int epoll_create1(int flags)
{
    REAL(epoll_create1);
    STAND_IN(EPOLL_CREATE1, -1, real(flags));
}

int eventfd(unsigned count, int flags)
{
    REAL(eventfd);
    STAND_IN(EVENTFD, -1, real(count, flags));
}

int pipe2(int ends[2], int flags)
{
    REAL(pipe2);
    STAND_IN(PIPE2, -1, real(ends, flags));
}

int timerfd_create(int clock, int flags)
{
    REAL(timerfd_create);
    STAND_IN(TIMERFD_CREATE, -1, real(clock, flags));
}

int socket(int family, int type, int protocol)
{
    REAL(socket);
    STAND_IN(SOCKET, -1, real(family, type, protocol));
}

int socketpair(int family, int type, int protocol, int ends[2])
{
    REAL(socketpair);
    STAND_IN(SOCKETPAIR, -1, real(family, type, protocol, ends));
}

int dup3(int from, int to, int flags)
{
    REAL(dup3);
    STAND_IN(DUP3, -1, real(from, to, flags));
}

int open64(const char *path, int flags, ...)
{
    REAL(open64);
    va_list arguments;
    va_start(arguments, flags);
    int mode = (flags & (O_CREAT | __O_TMPFILE)) ? va_arg(arguments, int) : 0;
    va_end(arguments);
    STAND_IN(OPEN, -1, real(path, flags, mode));
}

/* ---- waiting */

/* Where something is ready, says so of everything that the set watches, for all that it is watched for. */
static int spuriously(enum row row, void *caller, int set, struct epoll_event *events, int count, int room)
{
    uintptr_t at = (uintptr_t)caller;
    int error = errno;
    if (count <= 0 || plan.mode != FAULT_SPURIOUS || (int)row != plan.row || at < code_begin || at >= code_end ||
        !atomic_load(&counting))
        return count;
    atomic_fetch_add(&injected, 1);
    pthread_mutex_lock(&registrations);
    for (int fd = 0; fd < FDS; fd++) {
        if (registered[fd].set != set + 1)
            continue;
        struct epoll_event *found = events;
        while (found < events + count && found->data.u64 != registered[fd].event.data.u64)
            found++;
        if (found == events + room)
            break;
        if (found == events + count) {
            *found = (struct epoll_event){0, registered[fd].event.data};
            count++;
        }
        found->events |= registered[fd].event.events & (EPOLLIN | EPOLLOUT);
    }
    pthread_mutex_unlock(&registrations);
    errno = error;
    return count;
}

int epoll_wait(int set, struct epoll_event *events, int count, int timeout)
{
    REAL(epoll_wait);
    STAND_IN(EPOLL_WAIT, -1,
             spuriously(EPOLL_WAIT, CALLER, set, events, real(set, events, count, timeout), count));
}

int poll(struct pollfd *fds, nfds_t count, int timeout)
{
    REAL(poll);
    STAND_IN(POLL, -1, real(fds, count, timeout));
}

int timerfd_settime(int fd, int flags, const struct itimerspec *value, struct itimerspec *old)
{
    REAL(timerfd_settime);
    STAND_IN(TIMERFD_SETTIME, -1, real(fd, flags, value, old));
}

int clock_nanosleep(clockid_t clock, int flags, const struct timespec *wanted, struct timespec *left)
{
    REAL(clock_nanosleep);
    const struct fault_error *failing = fault(CLOCK_NANOSLEEP, CALLER);
    if (!failing)
        return real(clock, flags, wanted, left);
    if (left && !(flags & TIMER_ABSTIME))
        *left = *wanted;
    return failing->error;
}

/* ---- sockets */

int bind(int fd, const struct sockaddr *address, socklen_t length)
{
    REAL(bind);
    STAND_IN(BIND, -1, real(fd, address, length));
}

int listen(int fd, int backlog)
{
    REAL(listen);
    STAND_IN(LISTEN, -1, real(fd, backlog));
}

int connect(int fd, const struct sockaddr *address, socklen_t length)
{
    REAL(connect);
    /* For a datagram socket there is nothing to wait for. */
    if (plan.row == CONNECT && (plan.error.how & FAULT_PERFORM) && !is_stream(fd))
        return real(fd, address, length);
    STAND_IN(CONNECT, -1, real(fd, address, length));
}

int getsockname(int fd, struct sockaddr *address, socklen_t *length)
{
    REAL(getsockname);
    STAND_IN(GETSOCKNAME, -1, real(fd, address, length));
}

int getpeername(int fd, struct sockaddr *address, socklen_t *length)
{
    REAL(getpeername);
    STAND_IN(GETPEERNAME, -1, real(fd, address, length));
}

int getsockopt(int fd, int level, int name, void *value, socklen_t *length)
{
    REAL(getsockopt);
    if (level == SOL_SOCKET && name == SO_ERROR) {
        const struct fault_error *found = fault(SO_ERROR_FOUND, CALLER);
        if (found) {
            *(int *)value = found->error;
            return 0;
        }
    }
    STAND_IN(GETSOCKOPT, -1, real(fd, level, name, value, length));
}

int setsockopt(int fd, int level, int name, const void *value, socklen_t length)
{
    REAL(setsockopt);
    STAND_IN(SETSOCKOPT, -1, real(fd, level, name, value, length));
}

int shutdown(int fd, int how)
{
    REAL(shutdown);
    STAND_IN(SHUTDOWN, -1, real(fd, how));
}

/* ---- files */

int fcntl(int fd, int command, ...)
{
    REAL(fcntl);
    va_list arguments;
    va_start(arguments, command);
    void *argument = va_arg(arguments, void *);
    va_end(arguments);
    enum row row = command == F_GETFL || command == F_GETFD ? FCNTL_GET : FCNTL_SET;
    STAND_IN(row, -1, real(fd, command, argument));
}

ssize_t read(int fd, void *data, size_t length)
{
    REAL(read);
    STAND_IN(READ, -1, real(fd, data, length));
}

ssize_t write(int fd, const void *data, size_t length)
{
    REAL(write);
    STAND_IN(WRITE, -1, real(fd, data, length));
}

ssize_t writev(int fd, const struct iovec *parts, int count)
{
    REAL(writev);
    STAND_IN(WRITEV, -1, real(fd, parts, count));
}

int unlink(const char *path)
{
    REAL(unlink);
    STAND_IN(UNLINK, -1, real(path));
}

off64_t lseek64(int fd, off64_t offset, int whence)
{
    REAL(lseek64);
    STAND_IN(LSEEK, -1, real(fd, offset, whence));
}

int fstat64(int fd, struct stat64 *to)
{
    REAL(fstat64);
    STAND_IN(FSTAT, -1, real(fd, to));
}

int stat64(const char *path, struct stat64 *to)
{
    REAL(stat64);
    STAND_IN(STAT, -1, real(path, to));
}

int statx(int folder, const char *path, int flags, unsigned mask, struct statx *to)
{
    REAL(statx);
    STAND_IN(STATX, -1, real(folder, path, flags, mask, to));
}

ssize_t readlink(const char *path, char *to, size_t length)
{
    REAL(readlink);
    STAND_IN(READLINK, -1, real(path, to, length));
}

char *realpath(const char *path, char *to)
{
    REAL(realpath);
    STAND_IN(REALPATH, NULL, real(path, to));
}

char *getcwd(char *to, size_t length)
{
    REAL(getcwd);
    STAND_IN(GETCWD, NULL, real(to, length));
}

void *mmap64(void *at, size_t length, int protection, int flags, int fd, off64_t offset)
{
    REAL(mmap64);
    STAND_IN(MMAP, MAP_FAILED, real(at, length, protection, flags, fd, offset));
}

int munmap(void *at, size_t length)
{
    REAL(munmap);
    STAND_IN(MUNMAP, -1, real(at, length));
}

ssize_t getrandom(void *to, size_t length, unsigned flags)
{
    static ssize_t (*real)(void *, size_t, unsigned);
    if (!real)
        real = (__typeof__(real))dlsym(RTLD_NEXT, "getrandom");
    STAND_IN(GETRANDOM, -1, real(to, length, flags));
}

/* ---- processes, threads, signals */

int kill(pid_t pid, int number)
{
    REAL(kill);
    STAND_IN(KILL, -1, real(pid, number));
}

int sigaction(int number, const struct sigaction *action, struct sigaction *old)
{
    REAL(sigaction);
    STAND_IN(SIGACTION, -1, real(number, action, old));
}

int sigpending(sigset_t *set)
{
    REAL(sigpending);
    STAND_IN(SIGPENDING, -1, real(set));
}

int sigtimedwait(const sigset_t *set, siginfo_t *info, const struct timespec *timeout)
{
    REAL(sigtimedwait);
    STAND_IN(SIGTIMEDWAIT, -1, real(set, info, timeout));
}

int pthread_sigmask(int how, const sigset_t *set, sigset_t *old)
{
    REAL(pthread_sigmask);
    STAND_IN(PTHREAD_SIGMASK, -1, real(how, set, old));
}

int pthread_create(pthread_t *thread, const pthread_attr_t *attributes, void *(*body)(void *), void *argument)
{
    REAL(pthread_create);
    STAND_IN(PTHREAD_CREATE, -1, real(thread, attributes, body, argument));
}

int pthread_attr_init(pthread_attr_t *attributes)
{
    REAL(pthread_attr_init);
    STAND_IN(PTHREAD_ATTR_INIT, -1, real(attributes));
}

int pthread_attr_setstacksize(pthread_attr_t *attributes, size_t size)
{
    REAL(pthread_attr_setstacksize);
    STAND_IN(PTHREAD_ATTR_SETSTACKSIZE, -1, real(attributes, size));
}

int pthread_attr_setdetachstate(pthread_attr_t *attributes, int state)
{
    REAL(pthread_attr_setdetachstate);
    STAND_IN(PTHREAD_ATTR_SETDETACHSTATE, -1, real(attributes, state));
}

int pthread_attr_destroy(pthread_attr_t *attributes)
{
    REAL(pthread_attr_destroy);
    STAND_IN(PTHREAD_ATTR_DESTROY, -1, real(attributes));
}

int pthread_key_create(pthread_key_t *key, void (*destructor)(void *))
{
    REAL(pthread_key_create);
    STAND_IN(KEY_CREATE, -1, real(key, destructor));
}

int pthread_key_delete(pthread_key_t key)
{
    REAL(pthread_key_delete);
    STAND_IN(KEY_DELETE, -1, real(key));
}

int pthread_setspecific(pthread_key_t key, const void *value)
{
    REAL(pthread_setspecific);
    STAND_IN(SETSPECIFIC, -1, real(key, value));
}

int __register_atfork(void (*prepare)(void), void (*parent)(void), void (*child)(void), void *library)
{
    static int (*real)(void (*)(void), void (*)(void), void (*)(void), void *);
    if (!real)
        real = (__typeof__(real))dlsym(RTLD_NEXT, "__register_atfork");
    STAND_IN(REGISTER_ATFORK, -1, real(prepare, parent, child, library));
}

/* ---- names */

int getaddrinfo(const char *host, const char *service, const struct addrinfo *hints, struct addrinfo **list)
{
    REAL(getaddrinfo);
    const struct fault_error *failing = fault(GETADDRINFO, CALLER);
    if (!failing)
        return real(host, service, hints, list);
    errno = EMFILE; /* what EAI_SYSTEM stands for */
    return failing->error;
}

int getnameinfo(const struct sockaddr *address, socklen_t length, char *host, socklen_t host_room, char *service,
                socklen_t service_room, int flags)
{
    REAL(getnameinfo);
    const struct fault_error *failing = fault(GETNAMEINFO, CALLER);
    if (!failing)
        return real(address, length, host, host_room, service, service_room, flags);
    errno = EMFILE;
    return failing->error;
}

unsigned if_nametoindex(const char *name)
{
    REAL(if_nametoindex);
    STAND_IN(IF_NAMETOINDEX, 0, real(name));
}

char *if_indextoname(unsigned index, char name[IF_NAMESIZE])
{
    REAL(if_indextoname);
    STAND_IN(IF_INDEXTONAME, NULL, real(index, name));
}

/* ---- by number */

long syscall(long number, ...)
{
    static long (*real)(long, ...);
    if (!real)
        real = (__typeof__(real))dlsym(RTLD_NEXT, "syscall");
    va_list arguments;
    va_start(arguments, number);
    long a = va_arg(arguments, long), b = va_arg(arguments, long), c = va_arg(arguments, long);
    long d = va_arg(arguments, long), e = va_arg(arguments, long), f = va_arg(arguments, long);
    va_end(arguments);
    enum row row = ROWS;
    switch (number) {
    case SYS_epoll_pwait2:
        row = EPOLL_PWAIT2;
        break;
    case SYS_pidfd_open:
        row = PIDFD_OPEN;
        break;
    case SYS_pidfd_send_signal:
        row = PIDFD_SEND_SIGNAL;
        break;
    case SYS_waitid:
        row = WAITID;
        break;
    case SYS_membarrier:
        row = MEMBARRIER;
        break;
    case SYS_futex:
        /* Waking can't fail. */
        if ((b & 127) == 0 || (b & 127) == 9)
            row = FUTEX;
        else
            return real(number, a, b, c, d, e, f);
        break;
    default: {
        uintptr_t at = (uintptr_t)CALLER;
        if (at >= code_begin && at < code_end)
            atomic_store(&unknown, number);
        return real(number, a, b, c, d, e, f);
    }
    }
    if (row == EPOLL_PWAIT2) {
        struct epoll_event *events = (struct epoll_event *)b;
        STAND_IN(row, -1,
                 (long)spuriously(row, CALLER, (int)a, events, (int)real(number, a, b, c, d, e, f), (int)c));
    }
    STAND_IN(row, -1, real(number, a, b, c, d, e, f));
}
