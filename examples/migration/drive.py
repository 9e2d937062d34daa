#!/usr/bin/env python3
"""drive.py PROGRAM: the client of the servers in this folder. Prints what it saw, step by step; the two servers must give
the same (docs/migration/check compares them)."""

import hashlib
import re
import signal
import socket
import struct
import subprocess
import sys
import time

LIMIT = 60  # seconds for anything


class Client:
    def __init__(self, server, window=None):
        self.socket = socket.socket()
        self.socket.settimeout(LIMIT)
        if window is not None:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, window)
        self.socket.connect(("127.0.0.1", server.port))
        self.server = server
        self.rest = b""

    def send(self, text):
        self.socket.sendall(text.encode())

    def line(self):
        while b"\n" not in self.rest:
            piece = self.socket.recv(65536)
            if not piece:
                return "END " + self.rest.decode()
            self.rest += piece
        line, _, self.rest = self.rest.partition(b"\n")
        return self.server.settle(line.decode())

    def lines(self, count):
        return [self.line() for _ in range(count)]

    def ask(self, text):
        self.send(text + "\n")
        return self.line()

    def rest_of_stream(self):
        while True:
            piece = self.socket.recv(1 << 20)
            if not piece:
                return self.rest.decode()
            self.rest += piece

    def reset(self):
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.socket.close()

    def close(self):
        self.socket.close()

    def until(self, question, wanted):
        """Asks until the answer matches: how often is not counted among the commands."""
        deadline = time.monotonic() + LIMIT
        while True:
            answer = self.ask(question)
            if re.search(wanted, answer):
                # This one counts: it is in both transcripts.
                return re.search(wanted, answer)[0]
            self.server.polls += 1
            if answer == "TIMEOUT":  # this client was kept from running for so long
                self.__init__(self.server)
            if time.monotonic() > deadline:
                return f"never {wanted}: {answer}"
            time.sleep(0.01)


class Server:
    def __init__(self, program, idle):
        self.polls = 0
        self.expired_known = True
        self.process = subprocess.Popen([program, str(idle)], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        self.port = int(self.process.stdout.readline().split()[-1])

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self.process.kill()
        self.process.wait()

    def settle(self, line):
        if not self.expired_known:
            line = re.sub(r"(?i)(expired) \d+", r"\1 SOME", line)
        return re.sub(r"(?i)(commands )(\d+)", lambda m: m[1] + str(int(m[2]) - self.polls), line)

    def figures(self):
        self.process.send_signal(signal.SIGUSR1)
        return self.settle(self.process.stdout.readline().strip())

    def end(self):
        self.process.send_signal(signal.SIGTERM)

    def output(self):
        text, _ = self.process.communicate(timeout=LIMIT)
        return [self.settle(line) for line in text.splitlines()] + [f"exit {self.process.returncode}"]


def drive_commands(server, seen):
    one = Client(server)
    seen.append(("simple", [one.ask(text) for text in (
        "get a", "set a first value", "get a", "set a second", "get a", "del a", "del a", "get a", "", "nonsense x",
        "set a", "get", "expire a 10", "stats")]))
    one.send("set p 1\nget p\nset q 2\nget q\ndel p\nget p\n")
    seen.append(("in one piece", one.lines(6)))
    for letter in "set s letters\nget s\n":
        one.send(letter)
    seen.append(("letter by letter", one.lines(2)))
    one.send("get s\nquit\nget s\n")
    seen.append(("quit", one.lines(2)))
    one.close()


def drive_expiry(server, seen):
    one = Client(server)
    one.send("set kept 1\nset moved 1\nset gone 1\nset dropped 1\n")
    one.send("expire moved 400\nexpire moved 3600000\nexpire dropped 400\ndel dropped\nset dropped again\n")
    one.send("expire gone 3600000\nexpire gone 600\n")
    seen.append(("expire", one.lines(11)))
    seen.append(("expired", one.until("get gone", "NONE")))
    seen.append(("others", [one.ask(f"get {key}") for key in ("kept", "moved", "dropped")]))
    seen.append(("stats", one.ask("stats")))
    # Due in the same turn of the loop, and taken away in it: who is first is the loop's affair.
    server.expired_known = False
    one.send("".join(f"set e{n} x\nexpire e{n} 0\ndel e{n}\n" for n in range(50)))
    answers = one.lines(150)
    seen.append(("at once", answers[0::3] + answers[1::3]))
    seen.append(("at once", one.until("get e49", "NONE")))
    one.close()


def drive_long_lines(server, seen):
    one = Client(server)
    for length in (1023, 1024, 1025, 1026, 5000, 100000):
        one.send("set l " + "x" * (length - 6) + "\nget a\n")
        seen.append((f"line of {length}", one.lines(2)))
    one.send("y" * 3000)
    seen.append(("before its end", one.line()))
    one.send("y" * 3000 + "\nget a\n")
    seen.append(("after it", one.line()))
    one.close()


def drive_disconnects(server, seen):
    one, watcher = Client(server), Client(server)
    for number in range(20):
        each = Client(server)
        each.ask(f"set d{number} x")
        each.send("set half a li")
        each.reset()
    each = Client(server)
    each.send("".join(f"set u{number} x\n" for number in range(50)))
    seen.append(("unread", watcher.until("get u49", "VALUE x")))
    each.close()  # with answers unread: the server's side is reset
    half = Client(server)
    seen.append(("half", half.ask("get u1")))
    half.socket.shutdown(socket.SHUT_WR)
    seen.append(("half closed", half.rest_of_stream()))
    one.close()
    seen.append(("gone", watcher.until("stats", "CLIENTS 1 ")))
    watcher.close()


def drive_many(server, seen):
    watcher = Client(server)
    seen.append(("alone", watcher.until("stats", "CLIENTS 1 ")))
    crowd = [Client(server) for _ in range(63)]
    for turn in range(5):
        for number, each in enumerate(crowd):
            each.send(f"set m{number} {turn}\nget m{(number + 7) % 63}\n")
        seen.append(("crowd", [each.line() for each in crowd]))
        for each in crowd:
            each.line()  # another's value, from this turn or the one before
    seen.append(("values", [each.ask(f"get m{number}") for number, each in enumerate(crowd)]))
    seen.append(("full", watcher.ask("stats")))
    seen.append(("too many", [Client(server).rest_of_stream() for _ in range(3)]))
    for each in crowd:
        each.close()
    seen.append(("left", watcher.until("stats", "CLIENTS 1 ")))
    watcher.close()


def ask_for_much(server, window=65536):
    """A client that asks for nine megabytes and does not read them yet: the kernel takes a part of them only."""
    one = Client(server, window)
    one.ask("set big " + "0123456789" * 100)
    one.send("get big\n" * 9000)
    return one


def drive_slow_reader(server, seen):
    one, other = ask_for_much(server), Client(server)
    seen.append(("beside it", [other.ask("get a") for _ in range(10)]))
    one.send("quit\n")
    text = one.rest_of_stream()
    seen.append(("slow reader", [len(text), hashlib.sha256(text.encode()).hexdigest(), text[-4:]]))
    other.close()


def drive_stop(server, seen):
    idle, half, slow = Client(server), Client(server), ask_for_much(server)
    seen.append(("before", [idle.until("stats", "CLIENTS 3 "), half.ask("get a")]))
    half.send("set half of a li")
    # All that was asked for is in the queue when the signal comes.
    while True:
        before = idle.ask("stats")
        server.polls += 1
        time.sleep(0.05)
        after = idle.ask("stats")
        server.polls += 1
        if before == after:
            break
    seen.append(("SIGUSR1", server.figures()))
    server.end()
    seen.append(("idle", idle.rest_of_stream()))
    seen.append(("half", half.rest_of_stream()))
    try:
        Client(server)
        seen.append(("after", "accepted"))
    except ConnectionRefusedError:
        seen.append(("after", "refused"))
    text = slow.rest_of_stream()
    seen.append(("slow", [len(text), hashlib.sha256(text.encode()).hexdigest(), text[-8:]]))
    seen.append(("output", server.output()))


def drive_idle(server, seen):
    silent, half = Client(server), Client(server)
    half.send("get ")
    seen.append(("silent", silent.rest_of_stream()))
    seen.append(("half a line", half.rest_of_stream()))
    stuck = ask_for_much(server, window=4096)
    watcher = Client(server)
    seen.append(("stuck", watcher.until("stats", "CLIENTS 1 ")))
    stuck.close()

    # Each byte begins the time anew. A pause of this client that was too long proves nothing: once more.
    for _ in range(10):
        one, began, longest = Client(server), time.monotonic(), 0.0
        for _ in range(7):
            before = time.monotonic()
            time.sleep(0.2)
            try:
                one.send("x")
            except OSError:
                pass
            longest = max(longest, time.monotonic() - before)
        if longest < 0.8:
            break
    seen.append(("kept by bytes", one.rest_of_stream()))
    seen.append(("for so long", time.monotonic() - began > 2.3))
    server.end()
    seen.append(("exit", server.output()[-1]))


def drive(program):
    seen = []
    with Server(program, 60000) as server:
        for part in (drive_commands, drive_expiry, drive_long_lines, drive_disconnects, drive_many, drive_slow_reader,
                     drive_stop):
            part(server, seen)
    with Server(program, 1000) as server:
        drive_idle(server, seen)
    return seen


if __name__ == "__main__":
    for step, result in drive(sys.argv[1]):
        print(step, result, sep=": ")
