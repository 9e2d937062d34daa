/*
 * A GLib program that hosts a weir context: a timer of weir's ticks in the GLib main loop, and a thread hands a message to GLib
 * between two ticks. The third tick quits the loop.
 */
#include <stdio.h>
#include <stdlib.h>
#include <weir.h>
#include <weir/glib.h>

struct program {
    weir_context *context;
    weir_timer *timer;
    GMainLoop *loop;
    int ticks;
};

static void must(int error, const char *what) {
    if (error == 0) return;
    fprintf(stderr, "glib_host: %s: %s\n", what, weir_strerror(error));
    exit(1);
}

static void on_tick(int status, void *user);

static void start_tick(struct program *program) {
    must(weir_timer_expires_after(program->timer, 100000000), "timer"); /* nanoseconds */
    must(weir_timer_wait(program->timer, on_tick, program), "timer");
}

/* In GLib's loop, as GLib's own callbacks are. */
static gboolean on_message(gpointer user) {
    printf("glib: a message from a thread\n");
    start_tick(user);
    return G_SOURCE_REMOVE;
}

static gpointer run_thread(gpointer user) {
    g_idle_add(on_message, user);
    return NULL;
}

static void on_tick(int status, void *user) {
    struct program *program = user;
    if (status != 0) return;
    printf("weir: tick %d\n", ++program->ticks);
    if (program->ticks == 3) g_main_loop_quit(program->loop);
    else if (program->ticks == 2) g_thread_unref(g_thread_new("sender", run_thread, program));
    else start_tick(program);
}

int main(void) {
    struct program program = {0};
    GSource *source = NULL;
    must(weir_context_create(NULL, &program.context), "context");
    must(weir_timer_create(program.context, &program.timer), "timer");
    program.loop = g_main_loop_new(NULL, FALSE);
    must(weir_glib_source_create(program.context, &source), "source");
    g_source_attach(source, NULL);
    start_tick(&program);
    g_main_loop_run(program.loop);

    g_source_destroy(source);
    g_source_unref(source);
    g_main_loop_unref(program.loop);
    weir_context_destroy(program.context);
    return 0;
}
