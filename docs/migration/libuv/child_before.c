/* Runs a child on libuv, reads what it prints through a pipe, and tells how it ended. */
#include <stdio.h>
#include <string.h>
#include <uv.h>

static uv_process_t process;
static uv_pipe_t output;
static char buffer[1024];

static void on_alloc(uv_handle_t *handle, size_t suggested, uv_buf_t *to) {
    (void)handle, (void)suggested;
    *to = uv_buf_init(buffer, sizeof buffer);
}

static void on_output(uv_stream_t *stream, ssize_t count, const uv_buf_t *from) {
    if (count > 0) printf("%.*s", (int)count, from->base);
    if (count >= 0) return;
    printf("output: %s\n", count == UV_EOF ? "end" : uv_strerror(count));
    uv_close((uv_handle_t *)stream, NULL);
}

static void on_exit_of_child(uv_process_t *child, int64_t status, int signal) {
    fprintf(stderr, "exit %d, signal %d\n", (int)status, signal);
    uv_close((uv_handle_t *)child, NULL);
}

int main(void) {
    char *arguments[] = {"sh", "-c", "echo one; echo two; exit 3", NULL};
    uv_stdio_container_t stdio[3] = {{.flags = UV_IGNORE}, {.flags = UV_CREATE_PIPE | UV_WRITABLE_PIPE}, {.flags = UV_IGNORE}};
    uv_process_options_t options = {
        .file = "sh", .args = arguments, .stdio = stdio, .stdio_count = 3, .exit_cb = on_exit_of_child};
    uv_loop_t *loop = uv_default_loop();
    uv_pipe_init(loop, &output, 0);
    stdio[1].data.stream = (uv_stream_t *)&output;
    int error = uv_spawn(loop, &process, &options);
    if (error == 0) error = uv_read_start((uv_stream_t *)&output, on_alloc, on_output);
    if (error != 0) {
        fprintf(stderr, "start: %s\n", uv_strerror(error));
        return 1;
    }
    uv_run(loop, UV_RUN_DEFAULT);
    return uv_loop_close(loop);
}
