"""What benches/run measures: the systems, which are the columns, and the rows by group."""

from typing import NamedTuple

RATE, CPU, BYTES = "rate", "cpu_ns_per_op", "bytes_each"
UNITS = {RATE: "/s", CPU: " ns", BYTES: " B"}

OWN, RECORDS, COROUTINES = "libweir", "libweir, records", "libweir, coroutines"
RAW, UV, EVENT, BUFFER, EV, ASIO = "raw epoll", "libuv", "libevent", "libevent bufferevent", "libev", "Asio"
PEERS = (UV, EVENT, BUFFER, EV, ASIO)
WITH_THREADS = (OWN, COROUTINES, ASIO)  # their one context may be run by several threads

# column -> program, extra options
SYSTEMS = {
    OWN: ("bench_weir", []),
    RECORDS: ("bench_records", []),
    COROUTINES: ("bench_coroutines", []),
    RAW: ("bench_raw", []),
    UV: ("bench_uv", []),
    EVENT: ("bench_event", []),
    BUFFER: ("bench_event", ["--buffered"]),
    EV: ("bench_ev", []),
    ASIO: ("bench_asio", []),
}
ALL = tuple(column for column in SYSTEMS if column != BUFFER)

# Workloads with a client in another process; their length is a time.
SERVED = ("pingpong", "echo100", "sink", "source", "churn", "udp", "udp_burst")


class Row(NamedTuple):
    group: str
    label: str  # unique
    workload: str
    options: list = []
    figure: str = RATE
    single: str = ""  # the row with one thread, whose figure stands for a system that has no threads
    base: str = ""  # the row that libweir's own figure is compared with
    columns: tuple = ()  # () : all but bufferevent, where they can


SOCKETS = "Sockets"
POSTS = "Posts"
TIMERS = "Timers"
LOOP = "Watches, signals, names, memory"
THREADS = "Threads"
HINT = "Thread hint"

ONE_CPU = ["--server-cpu", "0", "--client-cpu", "0"]
TWO_CPUS = ["--server-cpu", "0", "--client-cpu", "1"]
ECHO = ALL + (BUFFER,)
ECHO1 = "echo, 100 connections, 1 thread, not pinned"
ECHO2 = "echo, 100 connections, 2 threads, not pinned"
MANY1 = "echo, 1,000 connections, 1 thread, not pinned"


def threads(label, workload, options):
    """1, 2, 4 and 8 threads on one context, then a context for each."""
    one = f"{label}, 1 thread"
    yield Row(THREADS, one, workload, options + ["--threads", "1"], columns=WITH_THREADS)
    for count in (2, 4, 8):
        yield Row(THREADS, f"{label}, {count} threads on one context", workload, options + ["--threads", str(count)],
                  base=one, columns=WITH_THREADS)
    for count in (2, 4, 8):
        yield Row(THREADS, f"{label}, {count} threads, a context each", workload,
                  options + ["--threads", str(count), "--each"], base=one, columns=(OWN,))


def hints():
    for label, workload, options in (("ping-pong, 64 B, client on the same CPU", "pingpong", ONE_CPU),
                                     ("echo, 100 connections, client on another CPU", "echo100", TWO_CPUS),
                                     ("post from inside, one after another", "post_inside", ["--n", "3000000"]),
                                     ("post from inside, all 1,000,000 at once", "post_batch", []),
                                     ("post from 1 other thread", "post_outside", ["--producers", "1", "--n", "3000000"]),
                                     ("timers: start all, cancel all", "timer_churn", []),
                                     ("timers: start and cancel one", "timer_one", []),
                                     ("watches: ring of 100 pipes, 1 active", "ring", [])):
        two = f"{label}, hint 2"
        yield Row(HINT, two, workload, options + ["--hint", "2"], columns=(OWN,))
        yield Row(HINT, f"{label}, hint 1", workload, options + ["--hint", "1"], base=two, columns=(OWN,))


ROWS = [
    Row(SOCKETS, "ping-pong, 1 B, client on the same CPU", "pingpong", ["--size", "1"] + ONE_CPU, columns=ECHO),
    Row(SOCKETS, "ping-pong, 64 B, client on the same CPU", "pingpong", ONE_CPU, columns=ECHO),
    Row(SOCKETS, "ping-pong, 1 KiB, client on the same CPU", "pingpong", ["--size", "1024"] + ONE_CPU, columns=ECHO),
    Row(SOCKETS, "ping-pong, 64 B, not pinned", "pingpong", columns=ECHO),
    Row(SOCKETS, "echo, 100 connections, 1 thread, client on another CPU", "echo100", TWO_CPUS, columns=ECHO),
    Row(SOCKETS, ECHO1, "echo100", columns=ECHO),
    Row(SOCKETS, ECHO2, "echo100", ["--threads", "2"], single=ECHO1, columns=WITH_THREADS),
    Row(SOCKETS, MANY1, "echo100", ["--connections", "1000"], columns=ECHO),
    Row(SOCKETS, "echo, 1,000 connections, 2 threads, not pinned", "echo100",
        ["--connections", "1000", "--threads", "2"], single=MANY1, columns=WITH_THREADS),
    Row(SOCKETS, "stream in, 1 KiB reads, MiB", "sink", ["--size", "1024"]),
    Row(SOCKETS, "stream in, 64 KiB reads, MiB", "sink"),
    Row(SOCKETS, "stream in, 1 MiB reads, MiB", "sink", ["--size", "1048576"]),
    Row(SOCKETS, "stream out, 1 KiB writes, MiB", "source", ["--size", "1024"]),
    Row(SOCKETS, "stream out, 64 KiB writes, MiB", "source"),
    Row(SOCKETS, "stream out, 1 MiB writes, MiB", "source", ["--size", "1048576"]),
    Row(SOCKETS, "accept, one message each way, close", "churn"),
    Row(SOCKETS, "UDP ping-pong, 64 B, client on the same CPU", "udp", ONE_CPU),
    Row(SOCKETS, "UDP, bursts of 32, one datagram a call", "udp_burst", ONE_CPU),
    Row(SOCKETS, "UDP, bursts of 32, several a call", "udp_burst", ["--buffered"] + ONE_CPU,
        base="UDP, bursts of 32, one datagram a call"),
    Row(SOCKETS, "UDP, bursts of 32, put together and cut by the kernel", "udp_burst", ["--segments"] + ONE_CPU,
        base="UDP, bursts of 32, one datagram a call", columns=(OWN, RAW)),
    Row(POSTS, "post from inside, one after another", "post_inside", ["--n", "3000000"]),
    Row(POSTS, "post from inside, batches of 1000", "post_batch", ["--batch", "1000", "--n", "3000000"]),
    Row(POSTS, "post from inside, all 1,000,000 at once", "post_batch"),
    Row(POSTS, "post from 1 other thread", "post_outside", ["--producers", "1", "--n", "3000000"]),
    Row(POSTS, "post from 2 other threads", "post_outside", ["--producers", "2", "--n", "3000000"]),
    Row(POSTS, "post from 2 other threads to 2", "post_outside2", ["--producers", "2", "--n", "3000000"],
        single="post from 2 other threads", columns=WITH_THREADS),
    Row(POSTS, "handlers that post without end, while bytes arrive", "arrival"),
    Row(TIMERS, "timers: start all, cancel all", "timer_churn"),
    Row(TIMERS, "timers: start and cancel one", "timer_one"),
    Row(TIMERS, "timers: fire, CPU per timer", "timer_fire", [], CPU),
    Row(TIMERS, "timers: fire, CPU per timer, slack 1 ms", "timer_fire", ["--slack", "1000000"], CPU),
    Row(TIMERS, "timers: move one of 10,000 at each operation", "timer_rearm", ["--n", "4000000"]),
    *(Row(LOOP, f"watches: ring of {count:,} pipes, {active} active", "ring",
          ["--connections", str(count), "--active", str(active)]) for count in (100, 1000) for active in (1, 10, 100)),
    Row(LOOP, "watches: ring of 100 pipes, 1 active, edge-triggered", "ring", ["--edge"]),
    Row(LOOP, "signals, one after another", "signal", ["--n", "100000"]),
    Row(LOOP, "resolver: numbers, one after another", "resolve", ["--n", "50000"]),
    Row(LOOP, "idle connection with a read pending", "idle", [], BYTES),
    *threads("echo, 100 connections", "echo100", []),
    *threads("posts from 2 other threads", "post_outside2", ["--producers", "2", "--n", "2000000"]),
    *hints(),
]
BY_LABEL = {row.label: row for row in ROWS}
assert len(BY_LABEL) == len(ROWS)

# What the README shows: its words, the row.
MAIN = [
    ("TCP ping-pong, 64 bytes, one CPU", "ping-pong, 64 B, client on the same CPU"),
    ("100 connections, one thread", "echo, 100 connections, 1 thread, client on another CPU"),
    ("100 connections, two threads", ECHO2),
    ("stream in, 64 KiB", "stream in, 64 KiB reads, MiB"),
    ("stream out, 64 KiB", "stream out, 64 KiB writes, MiB"),
    ("accept, one message, close", "accept, one message each way, close"),
    ("UDP ping-pong", "UDP ping-pong, 64 B, client on the same CPU"),
    ("post from inside, one by one", "post from inside, one after another"),
    ("post a million, then run", "post from inside, all 1,000,000 at once"),
    ("post from 2 other threads", "post from 2 other threads"),
    ("timers: start and cancel a million", "timers: start all, cancel all"),
    ("timers: start and cancel one", "timers: start and cancel one"),
    ("timers: fire, CPU per timer", "timers: fire, CPU per timer"),
    ("timers: move a time limit", "timers: move one of 10,000 at each operation"),
    ("watches: 100 pipes, 1 active", "watches: ring of 100 pipes, 1 active"),
    ("watches: 1,000 pipes, 100 active", "watches: ring of 1,000 pipes, 100 active"),
    ("memory of an idle connection", "idle connection with a read pending"),
]
assert all(label in BY_LABEL for _, label in MAIN)


def options_of(row, quick):
    """The options of a run, with how long it is."""
    options = list(row.options)
    if row.workload == "churn":
        options += ["--connections", "200" if quick else "3000"]
    elif row.workload in SERVED:
        options += ["--seconds", "0.1" if quick else "0.8"]
        if quick and "1000" in options:
            options += ["--connections", "200"] if row.workload == "echo100" else []
    elif quick and row.workload == "idle":
        options += ["--connections", "1000"]
    elif quick and row.workload == "arrival":
        options += ["--n", "50"]
    elif quick:
        options += ["--n", "5000" if row.workload in ("timer_fire", "resolve", "signal") else "50000"]
    return options
