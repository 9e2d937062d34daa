"""The programs in python/examples do what they say."""

import os
import re
import signal
import socket
import subprocess
import sys
import threading
import unittest

EXAMPLES = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "examples")


class Examples(unittest.TestCase):
    def start(self, name, *arguments):
        program = subprocess.Popen([sys.executable, os.path.join(EXAMPLES, name), *arguments], text=True,
                                   stdout=subprocess.PIPE, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL,
                                   env={**os.environ, "PYTHONPATH": os.path.dirname(EXAMPLES)})
        self.addCleanup(program.stdout.close)
        self.addCleanup(program.wait)
        self.addCleanup(program.kill)
        # One that hangs is ended, which fails the test.
        limit = threading.Timer(60, program.kill)
        limit.start()
        self.addCleanup(limit.cancel)
        return program

    def end(self, program):
        text = program.stdout.read()
        self.assertEqual(program.wait(), 0, text)
        return text

    def test_udp(self):
        self.assertRegex(self.end(self.start("udp.py", "300")), "300 round trips, [0-9]+ us each")

    def test_signals(self):
        program = self.start("signals.py")
        pid = int(re.search("process ([0-9]+)", program.stdout.readline()).group(1))
        for count in (1, 2):
            os.kill(pid, signal.SIGUSR1)
            line = program.stdout.readline()
            while line == "tick\n":
                line = program.stdout.readline()
            self.assertEqual(line, f"SIGUSR1 number {count}\n")
        os.kill(pid, signal.SIGTERM)
        self.assertIn("ended by SIGTERM", self.end(program))

    def test_signals_with_a_child(self):
        self.assertIn("the child ended with 3", self.end(self.start("signals.py", "sh", "-c", "exit 3")))

    def test_echo_server(self):
        program = self.start("echo_server.py")
        port = int(re.search("([0-9]+)\\)", program.stdout.readline()).group(1))
        data = os.urandom(1_000_000)
        connections = [socket.create_connection(("127.0.0.1", port), timeout=60) for _ in range(3)]
        for connection in connections:
            threading.Thread(target=connection.sendall, args=(data,)).start()
        for connection in connections:
            with connection:
                got = bytearray()
                while len(got) < len(data):
                    part = connection.recv(65536)
                    self.assertTrue(part)
                    got += part
                self.assertEqual(got, data)
        program.send_signal(signal.SIGINT)
        self.assertIn("stopped", self.end(program))


if __name__ == "__main__":
    unittest.main()
