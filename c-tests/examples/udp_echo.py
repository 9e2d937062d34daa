"""Drives examples/udp_echo as its users would: udp_echo.py PROGRAM."""
import signal
import socket
import subprocess
import sys
import unittest

PROGRAM = sys.argv.pop(1)
LIMIT = 90


class Server:
    """The program in server mode, until the end of a `with`."""

    def __init__(self, *options, address="127.0.0.1:0"):
        self.arguments = [PROGRAM, *options, address]

    def __enter__(self):
        self.process = subprocess.Popen(self.arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for line in self.process.stdout:
            if line.startswith("listening on "):
                self.address = line.split()[-1]
                return self
        raise AssertionError(self.process.stderr.read())

    def __exit__(self, *_):
        self.process.send_signal(signal.SIGINT)
        self.out, errors = self.process.communicate(timeout=LIMIT)
        assert self.process.returncode == 0, errors
        assert not errors, errors


def client(server, *options):
    return subprocess.Popen([PROGRAM, "--client", *options, server.address], stdout=subprocess.PIPE,
                            stderr=subprocess.PIPE, text=True)


class UdpEcho(unittest.TestCase):
    def finish(self, process, count):
        out, errors = process.communicate(timeout=LIMIT)
        self.assertEqual(process.returncode, 0, out + errors)
        self.assertIn(f"{count} of {count} datagrams came back right, 0 wrong", out)

    def test_sizes(self):
        with Server() as server:
            for size in [0, 1, 3, 64, 1400, 9000]:
                self.finish(client(server, "--size", str(size), "--count", "300"), 300)

    def test_many_datagrams_in_batches_of_several_sizes(self):
        for options in [["--batch", "1"], ["--batch", "64"], ["--batch", "64", "--gro"]]:
            with Server(*options) as server:
                self.finish(client(server, "--count", "5000", "--window", "64"), 5000)
            self.assertIn("datagrams", server.out)

    def test_several_clients(self):
        with Server() as server:
            clients = [client(server, "--count", "1000", "--size", str(100 + i)) for i in range(5)]
            for one in clients:
                self.finish(one, 1000)

    def test_a_client_that_is_gone_does_not_stop_the_server(self):
        with Server() as server:
            host, port = server.address.rsplit(":", 1)
            for _ in range(50):
                with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
                    sender.sendto(b"x", (host, int(port)))
            self.finish(client(server, "--count", "200"), 200)

    def test_nobody_listens(self):
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
            taken.bind(("127.0.0.1", 0))
            address = "127.0.0.1:%d" % taken.getsockname()[1]
            process = subprocess.run([PROGRAM, address], capture_output=True, text=True, timeout=LIMIT)
        self.assertEqual(process.returncode, 1)
        self.assertIn("bind", process.stderr)

    def test_bad_arguments(self):
        for arguments in [[], ["x", "y"], ["--batch", "0", "127.0.0.1:0"], ["--size", "-1", "127.0.0.1:1"]]:
            process = subprocess.run([PROGRAM, *arguments], capture_output=True, text=True, timeout=LIMIT)
            self.assertEqual(process.returncode, 2, arguments)


unittest.main()
