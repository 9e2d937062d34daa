#ifndef WEIR_GLIB_H
#define WEIR_GLIB_H

/*
 * A weir context inside a GLib main loop (and so inside GTK): its callbacks run in g_main_loop_run().
 *
 *     GSource *source;
 *     weir_glib_source_create(context, &source);
 *     g_source_attach(source, NULL);
 *     g_main_loop_run(loop);                    (timers, sockets, signals and posts from any thread are served)
 *     g_source_destroy(source);
 *     g_source_unref(source);
 *
 * Ownership. The GSource is the caller's reference, as of g_source_new(). It holds the context open for work and owns nothing
 * of it: the context lives on when the source has gone, and may be run otherwise. A source whose context is destroyed
 * removes itself from the loop in its next turn; better is to destroy the source first. It may be destroyed, and the loop
 * quit, in a callback of the context's.
 *
 * In a turn the loop runs what is ready (weir_context_poll()), which is bounded. The priority of the source, and which
 * GMainContext it is attached to, are GLib's affair: g_source_set_priority(), g_source_attach(). A function given with
 * g_source_set_callback() is called after each such turn, and what it returns keeps the source or removes it.
 *
 * Where a callback of the context's runs a GLib loop of its own, as a modal dialog does, no other is called in there; with
 * g_source_set_can_recurse() they are, but for posts, which wake that inner loop with the next timer, socket or signal only.
 *
 * A stopped context (weir_context_stop()) lets the loop sleep and goes on after weir_context_restart().
 *
 * Threads. The context's callbacks run on the thread that iterates the GMainContext. Other threads may use the weir context
 * as always, and run it, too.
 */

#include <glib.h>

#include "../weir.h"

#ifdef __cplusplus
extern "C" {
#endif

/* These are not for the program. */
struct weir_glib_source {
    GSource source;
    weir_context *context;
};

static inline gboolean weir_glib_dispatch(GSource *source, GSourceFunc callback, gpointer user)
{
    weir_context *context = ((struct weir_glib_source *)(void *)source)->context;
    if (weir_context_poll(context, NULL) != 0)
        return FALSE; /* it is destroyed: its fd would be ready for ever */
    return callback != NULL ? callback(user) : TRUE;
}

static inline void weir_glib_finalize(GSource *source)
{
    weir_context_work_end(((struct weir_glib_source *)(void *)source)->context);
}

/**
 * Makes a source for g_source_attach(). End it with g_source_destroy() and g_source_unref().
 *
 * Errors: WEIR_EBADF, WEIR_EINVAL (`out` is NULL), WEIR_ESHUTDOWN.
 *
 * Thread: any; never blocks.
 */
static inline int weir_glib_source_create(weir_context *context, GSource **out)
{
    /* Without prepare and check a source is ready when its fd is. */
    static GSourceFuncs functions = {NULL, NULL, weir_glib_dispatch, weir_glib_finalize, NULL, NULL};
    GSource *source;
    int fd = -1, error;
    if (out == NULL)
        return WEIR_EINVAL;
    error = weir_context_fd(context, &fd);
    if (error == 0)
        error = weir_context_work_begin(context);
    if (error != 0)
        return error;
    source = g_source_new(&functions, sizeof(struct weir_glib_source));
    ((struct weir_glib_source *)(void *)source)->context = context;
    g_source_set_name(source, "weir");
    g_source_add_unix_fd(source, fd, G_IO_IN);
    *out = source;
    return 0;
}

#ifdef __cplusplus
}
#endif

#endif
