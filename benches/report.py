"""Tables in Markdown from the results of benches/run, and where they go in a file that people write in too."""

import re
import statistics

import goals
import rows
from rows import CPU, OWN, UNITS

NOTES = {
    rows.SOCKETS: """\
- The client is one process, the same for all systems; a round trip's time is its work too.
- Not pinned, the ping-pong measures where the kernel puts the two processes: to wake an idle processor, in a
  virtual machine most of all, takes longer than the turn itself. The pinned rows compare the loops.
- Datagrams that the kernel puts together and cuts (GRO, GSO): the client sends and receives them so too. Several
  datagrams in a call save the call, and most of what a datagram costs is not the call.
- Records: the calls of a turn travel with one `weir_context_enter`; coroutines: a `weir::task` for each connection.
""",
    rows.POSTS: """\
- libuv and libevent have no post: a locked array, swapped whole, with `uv_async_send` or `event_active` stands
  for it; a handler that posts itself is `uv_idle_t` in libuv and `event_active` in libevent, which does not
  look at the kernel before it runs it again.
- libev's handler that posts itself is `ev_feed_event`, which does not look at the kernel either.
- Coroutines: a task that yields, and tasks that are spawned, a frame for each.
""",
    rows.TIMERS: """\
- libuv counts in milliseconds; libevent waits in milliseconds; both fire many timers in one turn and some early.
  Asio has no slack option, nor have they: the slack row repeats their figures.
- Moving a timer of Asio's cancels its wait, so there is a new one each time.
""",
    rows.LOOP: """\
- libuv, libevent and libev are told of readiness, as `weir_watch` is; Asio waits anew each time.
- Names that are numbers: libuv and Asio ask a thread; the hand-written column is `getaddrinfo` itself.
- An idle connection: memory of its own that the process has touched for each, without the buffer.
""",
}


def short(value):
    for limit, unit in ((1e6, "M"), (1e3, "k")):
        if value >= limit:
            scaled = value / limit
            return f"{scaled:.0f}{unit}" if scaled >= 100 else f"{scaled:.1f}{unit}"
    return f"{value:.0f}" if value >= 100 else f"{value:.1f}"


def spread(values, unit):
    return f"{short(statistics.median(values))}{unit} ({short(min(values))}–{short(max(values))})"


def table(header, lines):
    yield "| " + " | ".join(header) + " |"
    yield "| --- |" + " ---: |" * (len(header) - 1)
    for line in lines:
        yield "| " + " | ".join(line) + " |"
    yield ""


def cell(results, label, column, figure):
    """A figure, with libweir's ratio to it."""
    standing = results.standing(label, column)
    values = results.values(standing, column, figure) if standing else []
    text = "–" if not values else spread(values, UNITS[figure]) + ("" if standing == label else "¹")
    if (label, column) in results.failed:
        text += f" ({len(results.failed[label, column])} failed)"
    ratio = results.ratio(label, column, figure) if column != OWN else None
    return text if ratio is None else f"{text} **{ratio:.2f}**"


def figures(results, group, keep=lambda row: True, figure=None):
    found = [row for row in rows.ROWS if row.group == group and keep(row) and results.measured(row)]
    columns = results.columns([row.label for row in found])
    if columns:
        yield from table(["workload"] + columns, [
            [row.label] + [cell(results, row.label, column, figure or row.figure) for column in columns] for row in found])


def lateness(results, workload, first, early):
    lines = []
    for row in rows.ROWS:
        for column in rows.SYSTEMS if row.workload == workload else ():
            if results.values(row.label, column, "late_p50_us"):
                name = column if workload == "arrival" else f"{row.label.split(': ')[1]}: {column}"
                line = [name] + [f"{results.median(row.label, column, key):,.0f} us"
                                 for key in ("late_p50_us", "late_p99_us", "late_max_us")]
                if early:
                    share = results.median(row.label, column, "early") / results.median(row.label, column, "ops")
                    line.append(f"{share * 100:.1f} %")
                lines.append(line)
    if lines:
        yield from table([first, "p50", "p99", "maximum"] + (["early"] if early else []), lines)


def compared(results, group):
    """libweir's own rows beside the row that each is compared with."""
    def line(row):
        yield row.label
        values = results.values(row.label, OWN)
        yield spread(values, UNITS[row.figure]) if values else "–"
        ratio = results.compare((row.label, OWN), (row.base, OWN)) if row.base else None
        yield "" if ratio is None else f"**{ratio:.2f}**"
        if group == rows.THREADS:
            others = [column for column in rows.WITH_THREADS if column != OWN]
            yield from (cell(results, row.label, column, row.figure) for column in others)

    found = [row for row in rows.ROWS if row.group == group and results.measured(row)]
    if found:
        header = ["workload", OWN] + (["to 1 thread"] + [column for column in rows.WITH_THREADS if column != OWN]
                                      if group == rows.THREADS else ["hint 1 to hint 2"])
        yield from table(header, [list(line(row)) for row in found])


def text_and(intro, lines):
    """The text before what it introduces, if that is there."""
    lines = list(lines)
    if lines:
        yield from intro
        yield ""
        yield from lines


def tables(results):
    about = results.about
    if results.caveat():
        yield f"**{results.caveat()}**"
        yield ""
    yield from about["machine"]
    yield ""
    yield (f"Rounds: {about['rounds']}, interleaved{', short form' if about['quick'] else ''}, in {about.get('minutes', '?')} minutes, "
           f"in which other programs took {about.get('others', 0):.0%} of the processors' time. Median (minimum–maximum); in bold: "
           "libweir's ratio to it, above 1 where libweir with callbacks is ahead.")
    yield ""
    for group in (rows.SOCKETS, rows.POSTS, rows.TIMERS, rows.LOOP):
        if not any(row.group == group and results.measured(row) for row in rows.ROWS):
            continue
        yield f"### {group}"
        yield ""
        yield from figures(results, group)
        if group == rows.SOCKETS:
            yield "¹ with one thread, for reference: this loop belongs to one thread."
            yield ""
            yield from text_and(["CPU time of the server for each round trip, MiB or connection (the client's part is the same for all "
                                 "and not counted):"], figures(results, group, lambda row: row.workload in rows.SERVED, CPU))
        if group == rows.POSTS:
            yield from text_and(["How late a loop sees a byte (one a millisecond) while handlers post without end; a loop that serves",
                                 "no I/O then is ended after a second:"], lateness(results, "arrival", "loop", early=False))
        if group == rows.TIMERS:
            yield from text_and(["Lateness of the timers that fire, and how many of them fired too early:"],
                                lateness(results, "timer_fire", "timers", early=True))
        yield NOTES[group]
    yield from text_and(["### Threads", "", "On so few processors more threads cannot be faster; they must not be slower. With a context each,",
                         "connections and posts are dealt out one by one."], compared(results, rows.THREADS))
    yield from text_and(["### What the thread hint saves", "", "One thread runs the context; the hint says 2 or 1:"],
                        compared(results, rows.HINT))
    if results.failed:
        yield "Runs that failed:"
        yield ""
        for (label, column), texts in results.failed.items():
            yield f"- {label}, {column}: {texts[0].splitlines()[-1]}"
        yield ""


def main_figures(results):
    """The README's table: ratios only."""
    columns = [rows.RAW, rows.UV, rows.EVENT, rows.EV, rows.ASIO]
    if results.caveat():
        yield results.caveat()
        yield ""
    yield from table(["", "hand-written loop"] + columns[1:], [[text] + [
        "–" if (ratio := results.ratio(label, column)) is None else f"{ratio:.2f}" if ratio < 9.95 else f"{ratio:.0f}"
        for column in columns] for text, label in rows.MAIN])


def parts(results):
    """What may be put into a file between marks, by name."""
    return {"results": "\n".join(tables(results)), "goals": "\n".join(goals.table(results)),
            "figures": "\n".join(main_figures(results))}


def update(path, texts):
    """Puts each text between `<!-- NAME: begin` and `<!-- NAME: end`; the rest of the file stays. The names found."""
    with open(path, encoding="utf-8") as file:
        whole = file.read()
    found = []
    for name, text in texts.items():
        mark = re.compile(rf"(<!-- {name}: begin[^\n]*-->\n).*?(<!-- {name}: end -->)", re.S)
        whole, count = mark.subn(lambda match: match[1] + "\n" + text.strip("\n") + "\n\n" + match[2], whole)
        if count:
            found.append(name)
    with open(path, "w", encoding="utf-8") as file:
        file.write(whole)
    return found
