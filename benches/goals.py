"""What libweir is to reach, and whether it did in a run."""

import rows
from rows import ASIO, BUFFER, CPU, ECHO1, ECHO2, EV, EVENT, OWN, PEERS, RAW, UV

BEST = "the best other loop"
PING = "ping-pong, 64 B, client on the same CPU"
ECHO_PINNED = "echo, 100 connections, 1 thread, client on another CPU"
UDP = "UDP ping-pong, 64 B, client on the same CPU"
FIRE = "timers: fire, CPU per timer"
RINGS = [row.label for row in rows.ROWS if row.workload == "ring" and row.group == rows.LOOP]
IDLE = "idle connection with a read pending"

# The row, what libweir is compared with, the least ratio.
RATIOS = [
    (PING, RAW, 0.97), (PING, BEST, 1.0),
    (ECHO_PINNED, RAW, 0.98), (ECHO_PINNED, BEST, 1.0), (ECHO1, RAW, 0.98), (ECHO1, BEST, 1.0),
    (ECHO2, BEST, 1.05), (ECHO2, ASIO, 1.05),
    ("stream in, 64 KiB reads, MiB", BEST, 1.05), ("stream out, 64 KiB writes, MiB", BEST, 1.05),
    ("accept, one message each way, close", BEST, 1.05),
    ("post from inside, one after another", UV, 8), ("post from inside, one after another", ASIO, 8),
    ("post from inside, all 1,000,000 at once", ASIO, 3), ("post from inside, all 1,000,000 at once", EVENT, 1.0),
    ("post from 1 other thread", BEST, 2), ("post from 2 other threads", BEST, 2),
    ("post from 2 other threads to 2", BEST, 1.2),
    ("timers: start all, cancel all", BEST, 2), ("timers: start and cancel one", BEST, 1.0),
    (FIRE, BEST, 1.0),
    ("timers: move one of 10,000 at each operation", BEST, 3),
    (IDLE, UV, 1.0), (IDLE, EVENT, 1.0), (IDLE, ASIO, 1.0), (IDLE, EV, 1.0),
    (UDP, RAW, 0.97), (UDP, BEST, 1.0),
    *((label, BEST, 1.05) for label in RINGS),
]


def verdict(met):
    return "–" if met is None else "met" if met else "**not met**"


def ratios(results):
    for label, other, least in RATIOS:
        if other == BEST:
            found = results.best(label)
            ratio, name = found if found else (None, BEST)
            text = f"{least:g} of {BEST}"
        else:
            ratio, name, text = results.ratio(label, other), other, f"{least:g} of {other}"
        mark = "" if not found_elsewhere(results, label, name) else "¹"
        measured = "not measured" if ratio is None else f"{ratio:.2f} ({name}{mark})"
        yield label, "≥ " + text, measured, None if ratio is None else ratio >= least


def found_elsewhere(results, label, column):
    return column in rows.SYSTEMS and results.standing(label, column) not in (label, None)


def limit(results, label, figure, most, words, unit):
    value = results.median(label, OWN, figure)
    yield (label, f"{words} ≤ {most:g} {unit}", "not measured" if value is None else f"{value:,.0f} {unit}",
           None if value is None else value <= most)


def others(results):
    yield from limit(results, FIRE, "late_p99_us", 100, "lateness p99", "us")
    early = results.median(FIRE, OWN, "early")
    yield FIRE, "none early", "not measured" if early is None else f"{early:,.0f} early", None if early is None else early == 0
    yield from limit(results, IDLE, rows.BYTES, 160, "user space", "bytes")
    one = "UDP, bursts of 32, one datagram a call"
    for batches in (row.label for row in rows.ROWS if row.base == one):
        for figure, words in ((None, "rate"), (CPU, "rate by CPU time of the server")):
            ratio = results.compare((batches, OWN), (one, OWN), figure)
            yield (batches, f"{words} ≥ 2 of one datagram a call", "not measured" if ratio is None else f"{ratio:.2f}",
                   None if ratio is None else ratio >= 2)
    for row in rows.ROWS:
        if row.group == rows.THREADS and row.base:
            ratio = results.compare((row.label, OWN), (row.base, OWN))
            yield (row.label, "≥ 0.9 of 1 thread", "not measured" if ratio is None else f"{ratio:.2f}",
                   None if ratio is None else ratio >= 0.9)
    for label, figure in (("handlers that post without end, while bytes arrive", "late_max_us"),):
        value = results.median(label, OWN, figure)
        yield label, "the longest delay of a byte is shown", "not measured" if value is None else f"{value:,.0f} us", None


def table(results):
    """Lines of Markdown."""
    found = list(ratios(results)) + list(others(results))
    decided = [met for *_, met in found if met is not None]
    if results.caveat():
        yield f"**{results.caveat()}**"
        yield ""
    yield (f"{sum(decided)} of {len(decided)} are met in this run. A ratio is of medians, of libweir (callbacks) to the other, "
           "above 1 where libweir is ahead; the best other loop is that of " + ", ".join(PEERS) + " to which it is least.")
    yield ""
    yield "| row | goal | measured | |"
    yield "| --- | --- | ---: | --- |"
    for label, goal, measured, met in found:
        yield f"| {label} | {goal} | {measured} | {verdict(met)} |"
    yield ""


assert BUFFER in PEERS and all(label in rows.BY_LABEL for label, _, _ in RATIOS)
