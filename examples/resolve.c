/* Like host(1): names in, addresses out; addresses in, names out with -r.
 *
 *     resolve [-4] [-6] [-r] [-n] [-s SERVICE] NAME...
 *     resolve example.org
 *     resolve -r 127.0.0.1 [::1]:80
 *
 * All lookups run at once; the answers are printed in the order of the arguments. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include <weir.h>

struct lookup {
    const char *text;
    int status;
    weir_addresses *addresses; /* the receiver's */
    weir_names *names;
};

static void on_addresses(int status, weir_addresses *addresses, void *user) {
    struct lookup *lookup = user;
    lookup->status = status;
    lookup->addresses = addresses;
}

static void on_names(int status, weir_names *names, void *user) {
    struct lookup *lookup = user;
    lookup->status = status;
    lookup->names = names;
}

static int begin_reverse(weir_resolver *resolver, struct lookup *lookup, unsigned flags) {
    struct sockaddr_storage address;
    socklen_t length = 0;
    int error = weir_address_parse(lookup->text, &address, &length);
    if (error != 0) { /* without a port? */
        char text[WEIR_ADDRESS_TEXT_MAX];
        snprintf(text, sizeof text, strchr(lookup->text, ':') != NULL ? "[%s]:0" : "%s:0", lookup->text);
        error = weir_address_parse(text, &address, &length);
    }
    if (error != 0) return error;
    return weir_resolver_reverse(resolver, (struct sockaddr *)&address, length, flags, on_names, lookup);
}

static void print(struct lookup *lookup, int port) {
    if (lookup->status != 0) {
        fprintf(stderr, "%s: %s (%s)\n", lookup->text, weir_strerror(lookup->status), weir_error_name(lookup->status));
        return;
    }
    if (lookup->names != NULL) {
        printf("%s is %s", lookup->text, weir_names_host(lookup->names));
        if (strcmp(weir_names_service(lookup->names), "0") != 0) printf(", %s", weir_names_service(lookup->names));
        putchar('\n');
    }
    const char *canonical = weir_addresses_canonical_name(lookup->addresses);
    if (canonical != NULL && strcmp(canonical, lookup->text) != 0) printf("%s is %s\n", lookup->text, canonical);
    for (size_t i = 0; i < weir_addresses_count(lookup->addresses); i++) {
        const struct sockaddr *address;
        socklen_t length;
        char text[WEIR_ADDRESS_TEXT_MAX];
        weir_addresses_get(lookup->addresses, i, &address, &length);
        if (weir_address_format(address, length, text, sizeof text) != 0) continue;
        if (!port) {
            /* "1.2.3.4:0" and "[::1]:0" without what was not asked for. */
            *strrchr(text, ':') = 0;
            size_t used = strlen(text);
            if (text[0] == '[') {
                text[used - 1] = 0;
                memmove(text, text + 1, used - 1);
            }
        }
        printf("%s has address %s\n", lookup->text, text);
    }
    weir_addresses_free(lookup->addresses);
    weir_names_free(lookup->names);
}

static int usage(void) {
    fprintf(stderr, "usage: resolve [-4] [-6] [-r] [-n] [-s SERVICE] NAME...\n"
                    "  -4, -6      addresses of one family\n"
                    "  -r          reverse: the arguments are addresses: 127.0.0.1, ::1, 127.0.0.1:80, [::1]:80\n"
                    "  -n          numbers only: no name server is asked\n"
                    "  -s SERVICE  a service or a port with each address\n");
    return 2;
}

int main(int count, char **arguments) {
    weir_resolve_hints hints = {.struct_size = sizeof hints, .flags = WEIR_RESOLVE_CANONICAL_NAME};
    unsigned reverse_flags = 0;
    const char *service = NULL;
    int reverse = 0, option;
    while ((option = getopt(count, arguments, "46rns:")) != -1) {
        if (option == '4') hints.family = AF_INET;
        else if (option == '6') hints.family = AF_INET6;
        else if (option == 'r') reverse = 1;
        else if (option == 's') service = optarg;
        else if (option == 'n') {
            hints.flags |= WEIR_RESOLVE_NUMERIC_HOST | WEIR_RESOLVE_NUMERIC_SERVICE;
            reverse_flags = WEIR_REVERSE_NUMERIC_HOST | WEIR_REVERSE_NUMERIC_SERVICE;
        } else return usage();
    }
    int lookups = count - optind;
    if (lookups == 0) return usage();

    weir_context *context = NULL;
    weir_resolver *resolver = NULL;
    struct lookup *all = calloc((size_t)lookups, sizeof *all);
    int error = all == NULL ? WEIR_ENOMEM : weir_context_create(NULL, &context);
    if (error == 0) error = weir_resolver_create(context, &resolver);
    for (int i = 0; i < lookups && error == 0; i++) {
        struct lookup *lookup = &all[i];
        lookup->text = arguments[optind + i];
        lookup->status = reverse ? begin_reverse(resolver, lookup, reverse_flags)
                                 : weir_resolver_resolve(resolver, lookup->text, service, &hints, on_addresses, lookup);
    }
    if (error == 0) error = weir_context_run(context, NULL); /* returns when all have completed */
    if (error != 0) fprintf(stderr, "resolve: %s\n", weir_strerror(error));

    int failed = error != 0;
    for (int i = 0; i < lookups && error == 0; i++) {
        failed |= all[i].status != 0;
        print(&all[i], service != NULL);
    }
    weir_resolver_close(resolver);
    weir_context_destroy(context);
    free(all);
    return failed;
}
