"""What the programs of the migration guides are put through, and what comes out of it. The same for every library."""

import signal
import socket
import struct
import subprocess

LIMIT = 30  # seconds for anything; nothing takes one


class Server:
    """A program that prints the port it listens on, and ends on SIGTERM."""

    def __init__(self, program, *arguments):
        self.process = subprocess.Popen([program, *arguments], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        line = self.process.stdout.readline()
        self.greeting, _, port = line.strip().rpartition(" ")
        self.port = int(port)

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self.process.kill()
        self.process.wait()

    def connect(self):
        return socket.create_connection(("127.0.0.1", self.port), timeout=LIMIT)

    def end(self):
        self.process.send_signal(signal.SIGTERM)
        text, _ = self.process.communicate(timeout=LIMIT)
        return [self.greeting, *text.splitlines(), f"exit {self.process.returncode}"]


def read_all(connection):
    data = b""
    while True:
        piece = connection.recv(65536)
        if not piece:
            return data.decode()
        data += piece


def read_line(connection):
    data = b""
    while not data.endswith(b"\n"):
        piece = connection.recv(1)
        if not piece:
            break
        data += piece
    return data.decode()


def reset(connection):
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()


def echo(program):
    """Lines come back; idle clients are told so and dropped; SIGTERM ends it with clients still there."""
    seen = []
    with Server(program, "60000") as server:
        echo_lines(server, seen)
    with Server(program, "250") as server:
        seen.append(read_all(server.connect()))
        seen += server.end()
    return seen


def echo_lines(server, seen):
    first, second, third = server.connect(), server.connect(), server.connect()
    first.sendall(b"one\ntwo\nhalf a ")
    seen += [read_line(first), read_line(first)]
    second.sendall(b"other\n")
    seen.append(read_line(second))
    reset(second)
    first.sendall(b"line\nquit\n")
    seen.append(read_all(first))
    fourth = server.connect()
    fourth.sendall(b"whole\nno newline")
    seen.append(read_line(fourth))
    fourth.shutdown(socket.SHUT_WR)
    seen.append(read_all(fourth))
    third.sendall(b"third\n")
    seen.append(read_line(third))
    seen += server.end()
    seen.append(read_all(third))


def plain(program):
    """Runs a program to its end."""
    done = subprocess.run([program], capture_output=True, text=True, timeout=LIMIT)
    return [*done.stdout.splitlines(), *done.stderr.splitlines(), f"exit {done.returncode}"]


EXPECTED = {
    "echo": [
        "echo: one\n", "echo: two\n", "echo: other\n", "echo: half a line\necho: quit\n", "echo: whole\n", "", "echo: third\n",
        "listening on", "7 lines, the timer TICK", "exit 0", "",
        "idle\n", "listening on", "0 lines, the timer ticked", "exit 0",
    ],
    "child": ["one", "two", "output: end", "exit 3, signal 0", "exit 0"],
    "wake": ["got 1", "got 4", "got 9", "got 16", "got 25", "sum 55", "exit 0"],
}


def run(name, program):
    if name != "echo":
        return plain(program)
    seen = echo(program)
    # How long the first part takes is the machine's affair.
    for index, text in enumerate(seen[:11]):
        seen[index] = text.replace("did not tick", "TICK").replace("ticked", "TICK")
    return seen
