/* The same on libweir: the program starts its child itself, and hands over its number and its socket. */
#include <errno.h>
#include <spawn.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>
#include <weir.h>

extern char **environ;

static weir_process *process;
static weir_stream *output;

static void on_output(int status, const void *data, size_t count, void *user) {
    (void)user;
    if (status == 0) {
        printf("%.*s", (int)count, (const char *)data);
        return;
    }
    printf("output: %s\n", status == WEIR_EOF ? "end" : weir_strerror(status));
    weir_stream_close(output);
}

static void on_exit_of_child(int status, int value, void *user) {
    (void)user;
    if (status == 0)
        fprintf(stderr, "exit %d, signal %d\n", WIFEXITED(value) ? WEXITSTATUS(value) : 0,
                WIFSIGNALED(value) ? WTERMSIG(value) : 0);
    weir_process_close(process);
}

/* A socket pair, since a stream is a socket: one end here, the other is the child's standard output. */
static int spawn(char **arguments, pid_t *pid, int *fd) {
    int ends[2];
    posix_spawn_file_actions_t actions;
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) != 0) return -errno;
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", 0, 0);
    posix_spawn_file_actions_addopen(&actions, 2, "/dev/null", 1, 0);
    posix_spawn_file_actions_adddup2(&actions, ends[1], 1);
    int error = posix_spawnp(pid, arguments[0], &actions, NULL, arguments, environ);
    posix_spawn_file_actions_destroy(&actions);
    close(ends[1]);
    *fd = ends[0];
    return -error;
}

int main(void) {
    char *arguments[] = {"sh", "-c", "echo one; echo two; exit 3", NULL};
    weir_context *context;
    pid_t pid;
    int fd = -1;
    int error = weir_context_create(NULL, &context);
    if (error == 0) error = spawn(arguments, &pid, &fd);
    if (error == 0) error = weir_process_create(context, pid, &process);
    if (error == 0) error = weir_process_wait(process, on_exit_of_child, NULL);
    if (error == 0) error = weir_stream_create(context, &output);
    if (error == 0) error = weir_stream_adopt(output, fd);
    if (error == 0) error = weir_stream_read_each(output, on_output, NULL);
    if (error != 0) {
        fprintf(stderr, "start: %s\n", weir_strerror(error));
        return 1;
    }
    weir_context_run(context, NULL);
    return weir_context_destroy(context);
}
