#!/usr/bin/env python3
"""Drives examples/echo_callbacks and examples/echo_coroutines as their users would: echo_cpp.py PROGRAM."""
import os
import signal
import socket
import subprocess
import sys
import threading
import unittest

PROGRAM = sys.argv.pop(1)
LIMIT = 90


class Server:
    """The program, until the end of a `with`."""

    def __init__(self, stop=signal.SIGINT, address="127.0.0.1:0"):
        self.stop = stop
        self.arguments = [PROGRAM, address]

    def __enter__(self):
        self.process = subprocess.Popen(self.arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        line = self.process.stdout.readline()
        if not line.startswith("listening on "):
            raise AssertionError(self.process.stderr.read())
        host, port = line.split()[-1].rsplit(":", 1)
        self.address = (host, int(port))
        return self

    def __exit__(self, *_):
        self.process.send_signal(self.stop)
        _, errors = self.process.communicate(timeout=LIMIT)
        assert self.process.returncode == 0, errors
        assert not errors, errors

    def connect(self):
        return socket.create_connection(self.address, timeout=LIMIT)


def receive(connection, size):
    data = b""
    while len(data) < size:
        more = connection.recv(65536)
        if not more:
            break
        data += more
    return data


class Echo(unittest.TestCase):
    def test_bytes_come_back(self):
        with Server() as server, server.connect() as connection:
            for size in [1, 5, 16384, 100000]:
                data = os.urandom(size)
                sender = threading.Thread(target=connection.sendall, args=(data,))
                sender.start()
                self.assertEqual(receive(connection, size), data)
                sender.join()

    def test_many_connections(self):
        with Server(stop=signal.SIGTERM) as server:
            connections = [server.connect() for _ in range(50)]
            for round in range(3):
                for number, one in enumerate(connections):
                    one.sendall(b"%d.%d " % (round, number) * 10)
                for number, one in enumerate(connections):
                    expected = b"%d.%d " % (round, number) * 10
                    self.assertEqual(receive(one, len(expected)), expected)
            for one in connections:
                one.close()

    def test_the_end_of_a_peer_ends_its_connection_only(self):
        with Server() as server, server.connect() as stays:
            with server.connect() as leaves:
                leaves.sendall(b"last words")
                leaves.shutdown(socket.SHUT_WR)
                self.assertEqual(receive(leaves, 100), b"last words")
            stays.sendall(b"x")
            self.assertEqual(stays.recv(10), b"x")

    def test_a_signal_ends_open_connections(self):
        server = Server()
        with server:
            connection = server.connect()
            connection.sendall(b"x")
            self.assertEqual(connection.recv(10), b"x")
        self.assertEqual(connection.recv(10), b"")
        connection.close()

    def test_errors_are_told(self):
        with Server() as server:
            for address, text in [("%s:%d" % server.address, "in use"), ("nonsense", "invalid")]:
                process = subprocess.run([PROGRAM, address], capture_output=True, text=True, timeout=LIMIT)
                self.assertEqual(process.returncode, 1)
                self.assertIn(text, process.stderr)


unittest.main()
