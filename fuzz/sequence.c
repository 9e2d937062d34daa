/* A sequence of calls whose every choice is two bytes of the fuzzer's. */
#include "sequence/run.h"

void weir_fuzz_sequence(const unsigned char *data, size_t size)
{
    static int fds = -1;
    struct actor actor = {.state = 1, .script = data, .script_length = size, .limit = 5000};
    if (fds < 0) {
        signal(SIGUSR1, SIG_IGN);
        signal(SIGUSR2, SIG_IGN);
        signal(SIGPIPE, on_pipe);
        fds = fds_before();
    }
    alone = true;
    ending = false;
    repeat_with = "the fuzzer's input";
    run_alone(&actor, fds);
    me = NULL;
}
