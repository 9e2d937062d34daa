"""Drives examples/chat_server as its users would: chat_server.py PROGRAM."""
import os
import signal
import socket
import subprocess
import sys
import tempfile
import unittest

PROGRAM = sys.argv.pop(1)
LIMIT = 60


class Server:
    """The program on TCP, a path and an abstract name, until the end of a `with`."""

    def __init__(self, *options):
        self.options = options

    def __enter__(self):
        self.directory = tempfile.TemporaryDirectory()
        self.path = os.path.join(self.directory.name, "chat.sock")
        self.name = f"chat-{os.getpid()}-{id(self)}"
        addresses = ["127.0.0.1:0", f"unix:{self.path}", f"unix:@{self.name}"]
        self.process = subprocess.Popen([PROGRAM, *self.options, *addresses], stdout=subprocess.PIPE,
                                        stderr=subprocess.PIPE, text=True)
        port = None
        for _ in addresses:
            line = self.process.stdout.readline()
            assert line.startswith("listening on "), self.process.stderr.read()
            if port is None:
                port = int(line.rsplit(":", 1)[1])
        self.places = [("127.0.0.1", port), self.path, "\0" + self.name]
        return self

    def __exit__(self, *_):
        self.process.send_signal(signal.SIGTERM)
        _, errors = self.process.communicate(timeout=LIMIT)
        gone = not os.path.exists(self.path)
        self.directory.cleanup()
        assert self.process.returncode == 0, errors
        assert errors == "", errors
        assert gone, "the path is still there"

    def client(self, place=0, name=None):
        return Client(self.places[place], name)


class Client:
    def __init__(self, place, name=None):
        family = socket.AF_INET if isinstance(place, tuple) else socket.AF_UNIX
        self.socket = socket.socket(family, socket.SOCK_STREAM)
        self.socket.settimeout(LIMIT)
        self.socket.connect(place)
        self.file = self.socket.makefile("r", newline="\n")
        self.expect("* welcome")
        if name:
            self.say(f"/nick {name}")
            self.expect(f"is now {name}")

    def say(self, text):
        self.socket.sendall(text.encode() + b"\n")

    def line(self):
        return self.file.readline().rstrip("\n")

    def expect(self, text):
        """The next line that holds the text; what comes before it is passed over."""
        seen = []
        while True:
            line = self.line()
            if text in line:
                return line
            seen.append(line)
            assert line, f"no {text!r} in {seen[-5:]}"

    def at_end(self):
        try:
            while self.line():
                pass
        except ConnectionResetError:
            pass  # the server had not read all
        return True

    def close(self):
        self.file.close()
        self.socket.close()


class Chat(unittest.TestCase):
    def test_lines_go_to_all_others_in_order(self):
        for options in [[], ["--threads", "4"]]:
            with Server(*options) as server:
                clients = [server.client(i % 3, f"c{i}") for i in range(6)]
                for number in range(50):
                    clients[number % 6].say(f"message {number}")
                    for other in range(6):
                        if other != number % 6:
                            line = clients[other].expect(f"message {number}")
                            self.assertEqual(line, f"c{number % 6}: message {number}")
                clients[0].say("the last one")
                clients[0].say("/who")
                # Nobody hears himself: the answer to /who comes, and no line of his own before it.
                heard = []
                while len(heard) < 6:
                    line = clients[0].line()
                    self.assertNotIn("the last one", line)
                    if line.startswith("= "):
                        heard.append(line)
                self.assertEqual(sorted(heard), [f"= c{i}" for i in range(6)])
                for client in clients:
                    client.close()

    def test_many_lines_at_once_keep_the_order_of_each_sender(self):
        with Server("--threads", "3") as server:
            reader = server.client(0, "reader")
            senders = [server.client(i, f"s{i}") for i in range(3)]
            for sender in senders:
                sender.socket.sendall(b"".join(b"%d\n" % n for n in range(300)))
            expected = {f"s{i}": 0 for i in range(3)}
            while sum(expected.values()) < 900:
                name, _, text = reader.line().partition(": ")
                if name in expected:
                    self.assertEqual(int(text), expected[name])
                    expected[name] += 1

    def test_names(self):
        with Server() as server:
            one, two = server.client(0, "one"), server.client(1)
            for bad in ["one", "", "with space", "x" * 25, "é"]:
                two.say(f"/nick {bad}")
                two.expect("! this name is taken or not good" if bad else "! ")
            two.say("/nick two")
            one.expect("is now two")
            two.say("/nonsense")
            two.expect("! no such command")
            two.say("/quit")
            self.assertTrue(two.at_end())
            one.expect("* two has left")

    def test_a_line_that_is_too_long_ends_its_writer_only(self):
        with Server() as server:
            good, bad = server.client(0, "good"), server.client(1, "bad")
            bad.socket.sendall(b"x" * 5000)
            good.expect("bad wrote a line that is too long")
            self.assertTrue(bad.at_end())
            third = server.client(2, "third")
            third.say("still here")
            good.expect("third: still here")

    def test_a_client_that_does_not_read_is_dropped_while_the_others_go_on(self):
        with Server("--backlog", "20000") as server:
            slow, writer, reader = (server.client(1, name) for name in ["slow", "writer", "reader"])
            slow.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            text = "y" * 900
            dropped = False
            for number in range(3000):
                writer.say(f"{number} {text}")
                line = reader.expect("")
                while not line.startswith("writer:"):
                    dropped |= "slow does not listen" in line
                    line = reader.expect("")
                self.assertTrue(line.startswith(f"writer: {number} "))
                # The writer hears of it too, and of nothing else.
                if dropped:
                    break
            self.assertTrue(dropped)
            writer.expect("slow does not listen")
            writer.say("goes on")
            reader.expect("writer: goes on")

    def test_an_idle_client_is_dropped(self):
        with Server("--idle", "1") as server:
            client = server.client()
            self.assertTrue(client.at_end())

    def test_a_full_room_turns_away(self):
        with Server("--clients", "2") as server:
            one, two = server.client(0), server.client(1)
            third = socket.create_connection(server.places[0], timeout=LIMIT)
            self.assertEqual(third.recv(100), b"")
            one.close()
            two.expect("has left")
            server.client(0)  # is welcome

    def test_a_client_that_is_reset_leaves(self):
        with Server() as server:
            stays, goes = server.client(0, "stays"), server.client(0, "goes")
            goes.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
            goes.close()
            stays.expect("* goes has left")

    def test_bad_arguments(self):
        for arguments in [[], ["--threads", "0", "127.0.0.1:0"], ["--backlog", "x", "127.0.0.1:0"]]:
            process = subprocess.run([PROGRAM, *arguments], capture_output=True, text=True, timeout=LIMIT)
            self.assertEqual(process.returncode, 2, arguments)
        process = subprocess.run([PROGRAM, "no address"], capture_output=True, text=True, timeout=LIMIT)
        self.assertEqual(process.returncode, 1)


unittest.main()
