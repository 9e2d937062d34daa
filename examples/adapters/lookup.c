/*
 * Looks up the addresses of names at the same time, with c-ares on a weir context.
 *
 *     lookup [--server HOST:PORT] NAME...
 */
#include <arpa/inet.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <weir.h>
#include <weir/ares.h>

static int failed;

static void on_found(void *user, int status, int timeouts, struct ares_addrinfo *found) {
    const char *name = user;
    (void)timeouts;
    if (status != ARES_SUCCESS) {
        printf("%s: %s\n", name, ares_strerror(status));
        failed = 1;
        return;
    }
    for (const struct ares_addrinfo_node *node = found->nodes; node != NULL; node = node->ai_next) {
        char host[NI_MAXHOST];
        if (getnameinfo(node->ai_addr, node->ai_addrlen, host, sizeof host, NULL, 0, NI_NUMERICHOST) == 0)
            printf("%s: %s\n", name, host);
    }
    ares_freeaddrinfo(found);
}

static void must(int error, const char *what) {
    if (error == 0) return;
    fprintf(stderr, "lookup: %s: %s\n", what, error > 0 ? ares_strerror(error) : weir_strerror(error));
    exit(1);
}

int main(int argc, char **argv) {
    weir_context *context = NULL;
    weir_ares *ares = NULL;
    struct ares_addrinfo_hints hints;
    int first = 1;
    must(ares_library_init(ARES_LIB_INIT_ALL), "c-ares");
    must(weir_context_create(NULL, &context), "context");
    must(weir_ares_create(context, NULL, NULL, 0, &ares), "channel");
    if (argc > 2 && strcmp(argv[1], "--server") == 0) {
        must(ares_set_servers_ports_csv(weir_ares_channel(ares), argv[2]), argv[2]);
        first = 3;
    }
    memset(&hints, 0, sizeof hints);
    hints.ai_family = AF_UNSPEC;
    for (int i = first; i < argc; i++)
        ares_getaddrinfo(weir_ares_channel(ares), argv[i], NULL, &hints, on_found, argv[i]);

    must(weir_context_run(context, NULL), "run"); /* returns when no query is left */
    weir_ares_destroy(ares);
    weir_context_destroy(context);
    ares_library_cleanup();
    return failed;
}
