#!/usr/bin/env python3
"""bench_objects.py [--rounds N]: the object layer on records, and the same layer on callbacks from C.

Both do the same work with the same Python objects; what differs is how a completion gets into Python. Times are those
of the CPU, the least of the rounds.
"""

import argparse
import ctypes
import os
import sys
import time

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

import weir  # noqa: E402
from weir import _abi, _context  # noqa: E402
from weir.abi import lib  # noqa: E402


class OnCallbacks(weir.Context):
    """Operations are begun with a callback of ctypes's, which enters Python from C for each."""

    def __init__(self):
        super().__init__()
        plain = _abi.weir_callback(lambda status, key: self._finish((key, 0, 0, 0, status)) and None)
        moved = _abi.weir_io_callback(lambda status, count, key: self._finish((key, count, 0, 0, status)) and None)
        self.kept = plain, moved
        self.plain, self.moved = (ctypes.cast(one, ctypes.c_void_p).value for one in self.kept)

    def _start(self, owner, finish, callback, keep, function, *arguments, multi=False):
        key = next(self._keys)
        self._operations[key] = _context.Operation(owner, finish, callback, keep, multi)
        name = function.__name__
        status = function(*arguments, self.moved if name.startswith("weir_stream") else self.plain, key)
        if status < 0:
            del self._operations[key]
            raise OSError(-status)

    def run(self, timeout=None):
        lib.weir_context_run(self._handle, None)
        lib.weir_context_restart(self._handle)


def posts(context, count):
    def call():
        pass
    for _ in range(count // 100):
        for _ in range(100):
            context.post(call)
        context.run()
    return count


def chain(context, count):
    """Each post begins the next: one completion at a time."""
    left = count

    def again():
        nonlocal left
        left -= 1
        if left:
            context.post(again)
    context.post(again)
    context.run()
    return count


def echo(connections):
    def run(context, count):
        left = count
        data = b"x" * 64

        def start():
            ours, theirs = weir.Stream.pair(context)

            def answered(error, got):
                nonlocal left
                left -= 1
                if left > 0:
                    ask()
                else:
                    theirs.close()
                    ours.close()

            def asked(error, got):
                if got and error is None:
                    theirs.write(got)
                    theirs.read_some(4096, asked)

            def ask():
                ours.read_some(4096, answered)
                ours.write(data)

            theirs.read_some(4096, asked)
            ask()
        for _ in range(connections):
            start()
        context.run()
        return count
    return run


CASES = (
    ("post, a hundred at once", posts, 100_000),
    ("post, each begins the next", chain, 50_000),
    ("echo of 64 bytes, 1 connection", echo(1), 10_000),
    ("echo of 64 bytes, 50 connections", echo(50), 20_000),
)


def measure(make, work, count):
    with make() as context:
        began = time.process_time()
        count = work(context, count)
        return (time.process_time() - began) / count * 1e6


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=5)
    given = parser.parse_args()
    print(f"Python {sys.version.split()[0]}, CPU time in microseconds for each\n")
    print("| | records | callbacks | ratio |\n| --- | ---: | ---: | ---: |")
    for name, work, count in CASES:
        best = [1e9, 1e9]
        for _ in range(given.rounds):
            for at, make in enumerate((weir.Context, OnCallbacks)):
                best[at] = min(best[at], measure(make, work, count))
        print(f"| {name} | {best[0]:.2f} | {best[1]:.2f} | {best[1] / best[0]:.2f} |", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
