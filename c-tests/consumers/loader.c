/* loader LIBRARY: loads the library at run time, runs a post and a timer, unloads it. */
#include <weir.h>

#include <dlfcn.h>
#include <stdio.h>
#include <string.h>

static int calls;

static void on_call(int status, void *user)
{
    (void)user;
    if (status == 0)
        calls++;
}

/* dlsym's object pointer becomes a function pointer, which C has no cast for. */
static int find(void *library, const char *name, void *function)
{
    void *symbol = dlsym(library, name);
    if (symbol == NULL) {
        fprintf(stderr, "%s\n", dlerror());
        return 0;
    }
    memcpy(function, &symbol, sizeof(symbol));
    return 1;
}

#define FIND(library, function, name) find((library), (name), &(function))

int main(int count, char **arguments)
{
    int (*context_create)(const weir_context_options *, weir_context **);
    int (*context_post)(weir_context *, weir_callback, void *);
    int (*context_run)(weir_context *, size_t *);
    int (*context_destroy)(weir_context *);
    int (*timer_create)(weir_context *, weir_timer **);
    int (*timer_expires_after)(weir_timer *, int64_t);
    int (*timer_wait)(weir_timer *, weir_callback, void *);
    void *library = count == 2 ? dlopen(arguments[1], RTLD_NOW | RTLD_LOCAL) : NULL;

    if (library == NULL) {
        fprintf(stderr, "%s\n", count == 2 ? dlerror() : "usage: loader LIBRARY");
        return 1;
    }
    if (!FIND(library, context_create, "weir_context_create") ||
        !FIND(library, context_post, "weir_context_post") ||
        !FIND(library, context_run, "weir_context_run") ||
        !FIND(library, context_destroy, "weir_context_destroy") ||
        !FIND(library, timer_create, "weir_timer_create") ||
        !FIND(library, timer_expires_after, "weir_timer_expires_after") ||
        !FIND(library, timer_wait, "weir_timer_wait"))
        return 1;
    for (int round = 0; round < 2; round++) {
        weir_context *context = NULL;
        weir_timer *timer = NULL;
        if (context_create(NULL, &context) != 0 || timer_create(context, &timer) != 0 ||
            timer_expires_after(timer, 1000000) != 0 || timer_wait(timer, on_call, NULL) != 0 ||
            context_post(context, on_call, NULL) != 0 || context_run(context, NULL) != 0 ||
            context_destroy(context) != 0) {
            fprintf(stderr, "round %d failed\n", round);
            return 1;
        }
        /* The second round runs after dlclose: the library stays mapped. */
        if (round == 0 && dlclose(library) != 0) {
            fprintf(stderr, "%s\n", dlerror());
            return 1;
        }
    }
    if (dlopen(arguments[1], RTLD_NOW | RTLD_NOLOAD) == NULL) {
        fprintf(stderr, "dlclose unmapped the library\n");
        return 1;
    }
    printf("loaded: %d calls\n", calls);
    return calls == 4 ? 0 : 1;
}
