/* Runs a child with libev, reads what it prints through a pipe, and tells how it ended. */
#include <ev.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static void on_output(struct ev_loop *loop, ev_io *watcher, int events) {
    char buffer[1024];
    ssize_t count = read(watcher->fd, buffer, sizeof buffer);
    (void)events;
    if (count > 0) {
        printf("%.*s", (int)count, buffer);
        return;
    }
    printf("output: %s\n", count == 0 ? "end" : "error");
    ev_io_stop(loop, watcher);
    close(watcher->fd);
}

static void on_exit_of_child(struct ev_loop *loop, ev_child *watcher, int events) {
    int value = watcher->rstatus;
    (void)events;
    fprintf(stderr, "exit %d, signal %d\n", WIFEXITED(value) ? WEXITSTATUS(value) : 0,
            WIFSIGNALED(value) ? WTERMSIG(value) : 0);
    ev_child_stop(loop, watcher);
}

int main(void) {
    struct ev_loop *loop = EV_DEFAULT; /* children are for the default loop only, which owns SIGCHLD */
    ev_io output;
    ev_child child;
    int ends[2];
    if (pipe(ends) != 0) return 1;
    pid_t pid = fork();
    if (pid == 0) {
        dup2(ends[1], 1);
        close(ends[0]);
        close(ends[1]);
        execlp("sh", "sh", "-c", "echo one; echo two; exit 3", NULL);
        _exit(127);
    }
    close(ends[1]);
    ev_child_init(&child, on_exit_of_child, pid, 0);
    ev_child_start(loop, &child);
    ev_io_init(&output, on_output, ends[0], EV_READ);
    ev_io_start(loop, &output);
    ev_run(loop, 0);
    ev_loop_destroy(loop);
    return 0;
}
