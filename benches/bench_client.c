/* The client of the socket workloads as a program, for a server that was started with --external. */
#include "client.h"

int main(int argc, char **argv) {
    struct bench b;
    struct client_result result;
    if (!bench_options(&b, "client", argc, argv)) return 2;
    if (b.port < 1 || b.port > 65535) {
        bench_usage(argv[0]);
        return 2;
    }
    client_run(&b, b.port, &result);
    if (result.round_trips == 0) bench_fail("no round trip was made");
    bench_print(&b, result.round_trips, result.seconds, 0, "");
    return 0;
}
