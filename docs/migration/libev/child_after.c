/* The same with libweir: any context may have children, and SIGCHLD stays alone. */
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>
#include <weir.h>

static int output;
static weir_watch *watch;

static void on_output(int status, int events, void *user) {
    char buffer[1024];
    (void)events, (void)user;
    if (status != 0) return; /* WEIR_ECANCELED: the last call, after the close */
    ssize_t count = read(output, buffer, sizeof buffer);
    if (count > 0) {
        printf("%.*s", (int)count, buffer);
        return;
    }
    printf("output: %s\n", count == 0 ? "end" : "error");
    weir_watch_close(watch);
    close(output);
}

static void on_exit_of_child(int status, int value, void *user) {
    (void)user;
    if (status != 0) return;
    fprintf(stderr, "exit %d, signal %d\n", WIFEXITED(value) ? WEXITSTATUS(value) : 0,
            WIFSIGNALED(value) ? WTERMSIG(value) : 0);
}

int main(void) {
    weir_context *context;
    weir_process *child;
    int ends[2];
    if (weir_context_create(NULL, &context) != 0 || pipe(ends) != 0) return 1;
    pid_t pid = fork();
    if (pid == 0) {
        dup2(ends[1], 1);
        close(ends[0]);
        close(ends[1]);
        execlp("sh", "sh", "-c", "echo one; echo two; exit 3", NULL);
        _exit(127);
    }
    close(ends[1]);
    output = ends[0];
    int error = weir_process_create(context, pid, &child);
    if (error == 0) error = weir_process_wait(child, on_exit_of_child, NULL);
    if (error == 0) error = weir_watch_create(context, output, &watch);
    if (error == 0)
        error = weir_watch_start(watch, WEIR_WATCH_READ, WEIR_WATCH_PERSISTENT, WEIR_FOREVER, on_output, NULL);
    if (error != 0) {
        fprintf(stderr, "start: %s\n", weir_strerror(error));
        return 1;
    }
    weir_context_run(context, NULL);
    weir_context_destroy(context);
    return 0;
}
