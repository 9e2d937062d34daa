#!/usr/bin/env python3
"""bench_asyncio.py [--folder DIR] [--rounds N] [--seconds S] [--short] [--only TEXT]: beside asyncio and uvloop.

Every measurement is made with each loop in turn, several times over, and the median is told. An echo server runs in
one process, a client that is the same for all in another. The figure is the server's CPU time for one round trip,
which a busy machine disturbs least, and beside it round trips in a second. Each reply is compared with what was
sent: a loop that answers wrongly fails the run.
"""

import argparse
import os
import re
import select
import socket
import ssl
import statistics
import struct
import subprocess
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.append(os.path.join(os.path.dirname(HERE), "tests"))
PYTHON = sys.executable


class Server:
    def __init__(self, loop, work, environment):
        self.process = subprocess.Popen(
            [PYTHON, os.path.join(HERE, "loops.py"), loop, work], stdin=subprocess.PIPE,
            stdout=subprocess.PIPE, text=True, env=environment)
        self.port = int(self.process.stdout.readline())

    def cpu(self):
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        return sum(map(float, self.process.stdout.readline().split()))

    def close(self):
        self.process.stdin.close()
        self.process.wait(10)


def tls_client(port, connections, size, seconds, context):
    """Round trips in `seconds`, with TLS: each connection sends, waits for all of the reply, and sends again."""
    message = os.urandom(size)
    socks, got, poll = {}, {}, select.epoll()
    for _ in range(connections):
        sock = socket.create_connection(("127.0.0.1", port))
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock = context.wrap_socket(sock)
        socks[sock.fileno()] = sock
        got[sock.fileno()] = []
        poll.register(sock, select.EPOLLIN)
    trips = 0
    for sock in socks.values():
        sock.sendall(message)
    end = time.monotonic() + seconds
    open_ones = len(socks)
    sizes = dict.fromkeys(socks, 0)
    while open_ones:
        for fd, _ in poll.poll(10):
            sock = socks[fd]
            data = sock.recv(262144)
            if not data:
                raise SystemExit("the server has ended a connection")
            got[fd].append(data)
            sizes[fd] += len(data)
            while sock.pending():
                got[fd].append(sock.recv(262144))
                sizes[fd] += len(got[fd][-1])
            if sizes[fd] >= size:
                if b"".join(got[fd]) != message:
                    raise SystemExit("a reply differs from what was sent")
                got[fd].clear()
                sizes[fd] = 0
                trips += 1
                if time.monotonic() < end:
                    sock.sendall(message)
                else:
                    open_ones -= 1
    for sock in socks.values():
        sock.close()
    return trips


def udp_client(port, sockets, size, seconds):
    """Datagrams and their echoes in `seconds`: each socket sends one, then all wait for theirs."""
    message = os.urandom(size)
    socks = []
    for _ in range(sockets):
        sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        sock.connect(("127.0.0.1", port))
        sock.settimeout(10)
        socks.append(sock)
    trips = 0
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        for sock in socks:
            sock.send(message)
        for sock in socks:
            if sock.recv(size + 1) != message:
                raise SystemExit("a reply differs from what was sent")
        trips += len(socks)
    for sock in socks:
        sock.close()
    return trips


def accept_client(port, connections, seconds):
    """Connections made, used for one byte and ended, so many at a time."""
    trips = 0
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        socks = [socket.create_connection(("127.0.0.1", port), 10) for _ in range(connections)]
        for sock in socks:
            # No connection is to wait for its end for minutes.
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            sock.send(b"x")
        for sock in socks:
            if sock.recv(2) != b"x":
                raise SystemExit("a reply differs from what was sent")
            sock.close()
        trips += connections
    return trips


def build_client(folder):
    """The C client of the examples, which compares every byte: none that is written in Python keeps up."""
    root = os.path.dirname(os.path.dirname(HERE))
    library = os.environ.get("WEIR_LIBRARY")
    if not library:
        raise SystemExit("WEIR_LIBRARY names no library")
    program = os.path.join(folder, "echo_load")
    subprocess.run(["gcc", "-O2", "-D_GNU_SOURCE", "-I", os.path.join(root, "include"),
                    os.path.join(root, "examples", "echo_load.c"), "-o", program, library,
                    "-lpthread", "-lm"], check=True)
    return program


def load(program, port, connections, size, seconds, environment):
    """The round trips that the C client made."""
    got = subprocess.run([program, "--port", str(port), "--connections", str(connections), "--size",
                          str(size), "--seconds", str(max(1, round(seconds)))],
                         capture_output=True, text=True, env=environment)
    found = re.search(r"round trips +(\d+)", got.stdout)
    if got.returncode or not found or int(found.group(1)) == 0:
        raise SystemExit(f"the client failed: {got.stdout}{got.stderr}")
    return int(found.group(1))


def echo(loop, work, connections, size, seconds, environment, program, context):
    server = Server(loop, work, environment)
    try:
        before, began = server.cpu(), time.monotonic()
        if work == "tls":
            trips = tls_client(server.port, connections, size, seconds, context)
        elif work.startswith("udp"):
            trips = udp_client(server.port, connections, size, seconds)
        elif work == "accept":
            trips = accept_client(server.port, connections, seconds)
        else:
            trips = load(program, server.port, connections, size, seconds, environment)
        cpu, wall = server.cpu() - before, time.monotonic() - began
    finally:
        server.close()
    return cpu / trips, trips / wall


def storm(loop, work, environment):
    text = subprocess.run([PYTHON, os.path.join(HERE, "loops.py"), loop, work],
                          capture_output=True, text=True, env=environment, check=True).stdout
    return float(text), 1 / float(text)


def plan(short):
    rows = []
    for size in (1024,) if short else (1024, 65536):
        for connections in (1, 50) if short else (1, 10, 50, 100):
            for work in ("protocol", "streams", "sock"):
                rows.append((f"{work} {connections} x {size // 1024} KiB", work, connections, size))
    rows.append(("TLS 10 x 1 KiB", "tls", 10, 1024))
    rows.append(("beside a busy thread 10 x 1 KiB", "busy", 10, 1024))
    for sockets in (1, 20):
        rows.append((f"UDP {sockets} x 256 bytes", "udp", sockets, 256))
    rows.append(("UDP beside a busy thread 20 x 256 bytes", "udp-busy", 20, 256))
    rows.append(("accept, a byte, end: 10 at a time", "accept", 10, 1))
    for work in ("connect", "sock_connect", "call_soon", "call_later", "create_task"):
        rows.append((work, work, 0, 0))
    return rows


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=1.0)
    parser.add_argument("--short", action="store_true")
    parser.add_argument("--only", default="")
    parser.add_argument("--loops", default="asyncio,asyncio64,uvloop,weir")
    parser.add_argument("--folder", help="install uvloop in a virtual environment in DIR (see ecosystem.py)")
    given = parser.parse_args()
    loops = given.loops.split(",")
    if given.folder:
        import ecosystem
        global PYTHON
        PYTHON = ecosystem.environment(given.folder) or PYTHON
    if subprocess.run([PYTHON, "-c", "import uvloop"], stderr=subprocess.DEVNULL).returncode:
        print("uvloop is not installed: left out")
        loops.remove("uvloop")
    environment = dict(os.environ)
    environment["PYTHONPATH"] = os.path.dirname(HERE)
    with tempfile.TemporaryDirectory() as folder:
        certificate = os.path.join(folder, "certificate.pem")
        subprocess.run(["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj",
                        "/CN=localhost", "-keyout", certificate, "-out", certificate + ".crt"],
                       check=True, capture_output=True)
        with open(certificate, "a") as whole, open(certificate + ".crt") as part:
            whole.write(part.read())
        environment["BENCH_CERTIFICATE"] = certificate
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        program = build_client(folder)
        environment["LD_LIBRARY_PATH"] = folder
        os.symlink(os.path.abspath(os.environ["WEIR_LIBRARY"]), os.path.join(folder, "libweir.so.0"))
        print(subprocess.run([PYTHON, "-VV"], capture_output=True, text=True).stdout.strip())
        print("CPU time of one operation in microseconds (round trips in a second); ratio: theirs to weir's")
        for name, work, connections, size in plan(given.short):
            if given.only not in name:
                continue
            cpu = {loop: [] for loop in loops}
            rate = {loop: [] for loop in loops}
            for _ in range(given.rounds):
                for loop in loops:
                    if connections:
                        one = echo(loop, work, connections, size, given.seconds, environment,
                                   program, context)
                    else:
                        one = storm(loop, work, environment)
                    cpu[loop].append(one[0])
                    rate[loop].append(one[1])
            told = []
            ours = statistics.median(cpu["weir"])
            our_rate = statistics.median(rate["weir"])
            for loop in loops:
                used, speed = statistics.median(cpu[loop]), statistics.median(rate[loop])
                text = f"{loop} {used * 1e6:.2f} us ({speed:,.0f}/s)"
                if loop != "weir":
                    text += f" ratio {used / ours:.2f} ({our_rate / speed:.2f})"
                told.append(text)
            print(f"{name}: " + "; ".join(told), flush=True)


if __name__ == "__main__":
    main()
