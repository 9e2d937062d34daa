#!/usr/bin/env python3
"""Drives examples/echo_server with many connections that come and go, and watches what it holds.

    echo.py --server PROGRAM --load PROGRAM [--seconds S] [--connections N] [--threads 1,2]

S is for each number of threads. Every reply is compared, and the server must have echoed as many bytes as came back. After
the first part of the time its memory must not grow any more, nor the number of its descriptors; when all clients
have gone it has as many as before the first one.
"""
import argparse
import os
import re
import resource
import signal
import subprocess
import sys
import threading
import time

# What the allocator's own unevenness may add after the warm-up; a leak of one small block for each connection or
# message is more in a long run.
SLACK_PART, SLACK_KB = 0.05, 2048


def rollup(pid):
    """Resident and private kB of a process."""
    values = {}
    with open(f"/proc/{pid}/smaps_rollup") as file:
        for line in file:
            found = re.match(r"(\w+):\s+(\d+) kB", line)
            if found:
                values[found.group(1)] = int(found.group(2))
    return values["Rss"], values["Private_Dirty"] + values["Private_Clean"]


def descriptors(pid):
    return len(os.listdir(f"/proc/{pid}/fd"))


def number(pattern, text):
    found = re.search(pattern, text)
    if not found:
        raise SystemExit(f"no '{pattern}' in:\n{text}")
    return int(found.group(1))


def watch(pid, ended, samples):
    began = time.monotonic()
    while not ended.wait(0.5):
        try:
            samples.append((time.monotonic() - began, *rollup(pid), descriptors(pid)))
        except (FileNotFoundError, ProcessLookupError, KeyError):
            return


def one_round(given, threads, connections):
    # One arena of the C library's for all threads: with one each, a connection that one thread has opened and another
    # closed leaves room where the next is not looked for, and the sum of their peaks wanders up without a leak.
    server = subprocess.Popen([given.server, "--host", "0.0.0.0", "--threads", str(threads)],
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                              env={**os.environ, "MALLOC_ARENA_MAX": "1"})
    faults = []
    try:
        port = server.stdout.readline().split(":")[-1].strip()
        before = descriptors(server.pid)
        ended, samples = threading.Event(), []
        watcher = threading.Thread(target=watch, args=(server.pid, ended, samples))
        watcher.start()
        load = subprocess.run(
            [given.load, "--port", port, "--connections", str(connections), "--seconds", str(given.seconds),
             "--churn", str(given.churn), "--spread", "16"],
            capture_output=True, text=True, timeout=given.seconds + 120)
        ended.set()
        watcher.join()
        if load.returncode != 0:
            faults.append(f"echo_load: exit status {load.returncode}\n{load.stdout}{load.stderr}")
        limit = time.monotonic() + 30
        while descriptors(server.pid) != before and time.monotonic() < limit:
            time.sleep(0.05)
        after = descriptors(server.pid)
        if after != before:
            faults.append(f"{before} descriptors before, {after} after")
        server.send_signal(signal.SIGTERM)
        _, errors = server.communicate(timeout=30)
    finally:
        if server.poll() is None:
            server.kill()
            server.wait()
    if server.returncode != 0:
        faults.append(f"echo_server: exit status {server.returncode}: {errors}")
    if faults:
        return faults

    # From the second third on; in the first the tables and the allocator's arenas reach their size.
    settled = [one for one in samples if one[0] > given.seconds / 3]
    middle = len(settled) // 2
    if middle < 2:
        return ["the time is too short for samples"]
    early, late = settled[:middle], settled[middle:]
    for what, column in (("resident", 1), ("private", 2)):
        old, new = max(one[column] for one in early), max(one[column] for one in late)
        print(f"  {what} memory: {old} kB at most in the second third, {new} kB in the last")
        if new > old * (1 + SLACK_PART) + SLACK_KB:
            faults.append(f"{what} memory grew from {old} to {new} kB")
    step = max(1, len(samples) // 10)
    print("  resident MB over time:", *(f"{one[1] / 1024:.1f}" for one in samples[::step]))
    most = max(one[3] for one in settled)
    print(f"  descriptors: {before} before, {most} at most, {after} after")

    came_back = number(r"bytes +(\d+) each way", load.stdout)
    echoed = number(r"(\d+) bytes echoed", errors)
    opened = number(r"churn +(\d+) connections", load.stdout)
    accepted = number(r"echo_server: (\d+) connections", errors)
    print(f"  connections: {opened} opened, {accepted} accepted; bytes: {echoed} echoed, {came_back} came back right")
    # A connection may be opened and not used any more when the time is over.
    if echoed != came_back or accepted > opened or accepted < opened - connections:
        faults.append("what the server has counted differs from what the clients have")
    if opened <= connections:
        faults.append("no connection was renewed")
    for line in load.stdout.splitlines():
        if line.startswith(("round trips", "latency")):
            print(f"  {line}")
    return faults


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--server", required=True)
    parser.add_argument("--load", required=True)
    parser.add_argument("--seconds", type=float, default=10)
    parser.add_argument("--connections", type=int, default=10000)
    parser.add_argument("--churn", type=int, default=10)
    parser.add_argument("--threads", default="1,2")
    given = parser.parse_args()

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = given.connections + 200
    if hard != resource.RLIM_INFINITY and hard < wanted:
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, wanted))
            soft = hard = wanted
        except (ValueError, OSError):
            pass
    connections = given.connections
    if hard != resource.RLIM_INFINITY and hard < wanted:
        connections = hard - 200
        print(f"this process may have {hard} descriptors: {connections} connections instead of {given.connections}")
    failed = False
    for threads in given.threads.split(","):
        print(f"{connections} connections, {threads} server threads, {given.seconds:g} s", flush=True)
        for fault in one_round(given, int(threads), connections):
            print(f"  FAULT: {fault}")
            failed = True
        sys.stdout.flush()
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
