/* Programs beside a test: servers that end with it, examples whose output is read. */
#ifndef CHILD_H
#define CHILD_H

#include "check.h"

#include <netinet/in.h>
#include <sys/prctl.h>
#include <sys/socket.h>

/* Starts a program that ends when this process does. Its output goes to `out`, or nowhere where that is -1. To be called on
 * the first thread, which outlives the others. */
static inline pid_t start_child(char *const arguments[], int out)
{
    pid_t parent = getpid();
    fflush(NULL);
    pid_t child = fork();
    CHECK(child >= 0);
    if (child == 0) {
        FILE *nowhere = fopen("/dev/null", "r+");
        if (nowhere == NULL || prctl(PR_SET_PDEATHSIG, SIGKILL) != 0 || getppid() != parent)
            _exit(126);
        signal(SIGPIPE, SIG_DFL);
        dup2(fileno(nowhere), 0);
        dup2(out >= 0 ? out : fileno(nowhere), 1);
        if (out < 0)
            dup2(fileno(nowhere), 2);
        execvp(arguments[0], arguments);
        _exit(127);
    }
    return child;
}

/* Waits for the end; the status of waitpid. */
static inline int reap_child(pid_t child)
{
    int status = 0;
    while (waitpid(child, &status, 0) < 0)
        CHECK(errno == EINTR);
    return status;
}

static inline void kill_child(pid_t child)
{
    CHECK_EQ(kill(child, SIGKILL), 0);
    reap_child(child);
}

/* Runs a program to its end: the exit status is checked, the output, cut to the size, is for the caller. */
static inline void run_child(char *const arguments[], int want_exit, char *text, size_t size)
{
    int ends[2];
    size_t used = 0;
    CHECK_EQ(pipe(ends), 0);
    pid_t child = start_child(arguments, ends[1]);
    close(ends[1]);
    for (;;) {
        char piece[4096];
        ssize_t got = read(ends[0], piece, sizeof piece);
        CHECK(got >= 0);
        if (got == 0)
            break;
        size_t room = size - 1 - used;
        size_t kept = (size_t)got < room ? (size_t)got : room;
        memcpy(text + used, piece, kept);
        used += kept;
    }
    text[used] = 0;
    close(ends[0]);
    int status = reap_child(child);
    if (!WIFEXITED(status) || WEXITSTATUS(status) != want_exit)
        check_fail(__FILE__, __LINE__, "%s: wait status %x, output: %s", arguments[0], status, text);
}

/* A TCP port of 127.0.0.1 on which nobody listens. It is below those that the kernel gives away by itself, so that it
 * stays free until a server takes it. */
static inline int unused_port(void)
{
    static int next;
    for (int tries = 0; tries < 10000; tries++) {
        int port = 20000 + (getpid() * 7 + next++) % 10000;
        struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
        address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
        int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        CHECK(fd >= 0);
        int result = bind(fd, (struct sockaddr *)&address, sizeof address);
        close(fd);
        if (result == 0)
            return port;
    }
    check_fail(__FILE__, __LINE__, "no port is free");
}

#endif
