"""Drives examples/file_server as its users would: file_server.py PROGRAM."""
import os
import random
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import unittest

PROGRAM = sys.argv.pop(1)
SIZES = [0, 1, 100, 65536, (1 << 20) + 1, 5 << 20]


class Server:
    """The program with a directory of files, until the end of a `with`."""

    def __init__(self, *options):
        self.options = options

    def __enter__(self):
        self.directory = tempfile.TemporaryDirectory()
        root = os.path.join(self.directory.name, "root")
        os.mkdir(root)
        os.mkdir(os.path.join(root, "sub"))
        self.content = {}
        generator = random.Random(1)
        for size in SIZES:
            self.content[f"/{size}"] = generator.randbytes(size)
        self.content["/index.html"] = b"<p>hello\n"
        self.content["/sub/index.html"] = b"<p>sub\n"
        self.content["/sub/a b%.txt"] = b"odd name"
        for path, data in self.content.items():
            with open(root + path, "wb") as file:
                file.write(data)
        with open(os.path.join(self.directory.name, "secret"), "wb") as file:
            file.write(b"secret")
        os.symlink("../secret", os.path.join(root, "link"))
        os.mkfifo(os.path.join(root, "pipe"))
        arguments = [PROGRAM, *self.options, root]
        self.process = subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        line = self.process.stdout.readline()
        host, port = line.split()[-1].rsplit(":", 1)
        self.address = (host, int(port))
        return self

    def __exit__(self, *_):
        self.process.send_signal(signal.SIGTERM)
        _, errors = self.process.communicate(timeout=30)
        self.directory.cleanup()
        assert self.process.returncode == 0, (self.process.returncode, errors)

    def connect(self):
        return Client(self.address)


class Client:
    def __init__(self, address):
        self.socket = socket.create_connection(address, timeout=40)
        self.file = self.socket.makefile("rb")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.file.close()
        self.socket.close()

    def send(self, text):
        self.socket.sendall(text.encode("latin-1"))

    def request(self, target, method="GET", version="HTTP/1.1", **fields):
        lines = [f"{method} {target} {version}", "Host: test"]
        lines += [f"{name.replace('_', '-')}: {value}" for name, value in fields.items()]
        self.send("\r\n".join(lines) + "\r\n\r\n")
        return self.answer(method)

    def answer(self, method="GET"):
        line = self.file.readline()
        if not line:
            return None, {}, b""
        fields = {}
        while (field := self.file.readline().rstrip(b"\r\n")):
            name, value = field.decode().split(": ", 1)
            fields[name] = value
        length = int(fields["Content-Length"]) if method == "GET" else 0
        body = self.file.read(length)
        assert len(body) == length, (len(body), length)
        return int(line.split()[1]), fields, body

    def at_end(self):
        return self.file.read() == b""


class FileServer(unittest.TestCase):
    def test_files_arrive_byte_for_byte_over_one_connection(self):
        for threads in ("1", "3"):
            with Server("--threads", threads) as server, server.connect() as client:
                for path, data in server.content.items():
                    target = path.replace("%", "%25").replace(" ", "%20")
                    code, fields, body = client.request(target)
                    self.assertEqual(code, 200)
                    self.assertEqual(fields["Connection"], "keep-alive")
                    self.assertTrue(body == data, path)
                    code, fields, body = client.request(target, method="HEAD")
                    self.assertEqual((code, int(fields["Content-Length"]), body), (200, len(data), b""))
                for target, path in [("/", "/index.html"), ("/sub/?x", "/sub/index.html"), ("/sub", "/sub/index.html")]:
                    code, _, body = client.request(target)
                    self.assertEqual((code, body), (200, server.content[path]))

    def test_many_clients_at_once(self):
        with Server("--threads", "2") as server:
            failures = []

            def client(number):
                try:
                    with server.connect() as one:
                        for turn in range(20):
                            path = f"/{SIZES[(number + turn) % len(SIZES)]}"
                            code, _, body = one.request(path)
                            if code != 200 or body != server.content[path]:
                                failures.append((path, code))
                except Exception as error:  # told by the main thread
                    failures.append(error)

            threads = [threading.Thread(target=client, args=(i,)) for i in range(8)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            self.assertEqual(failures, [])

    def test_requests_sent_together_and_in_pieces(self):
        with Server() as server, server.connect() as client:
            client.send("GET /100 HTTP/1.1\r\nHost: a\r\n\r\n" * 5)
            for _ in range(5):
                self.assertEqual(client.answer()[2], server.content["/100"])
            for byte in "GET /1 HTTP/1.1\r\nHost: a\r\n\r\n":
                client.send(byte)
            self.assertEqual(client.answer()[2], server.content["/1"])

    def test_ranges(self):
        with Server() as server, server.connect() as client:
            data = server.content["/65536"]
            for text, part in [("0-0", data[:1]), ("10-19", data[10:20]), ("65530-", data[65530:]),
                               ("-7", data[-7:]), ("0-99999999", data), ("-99999999", data)]:
                code, fields, body = client.request("/65536", Range=f"bytes={text}")
                self.assertEqual((code, body), (206, part), text)
                self.assertTrue(fields["Content-Range"].endswith("/65536"))
            for text in ("65536-", "-0"):
                code, fields, _ = client.request("/65536", Range=f"bytes={text}")
                self.assertEqual((code, fields["Content-Range"]), (416, "bytes */65536"))
            for text in ("x", "9-3", "1-2,4-5", "99999999999999999999-"):
                code, _, body = client.request("/65536", Range=f"bytes={text}")
                self.assertEqual((code, body), (200, data))

    def test_nothing_outside_the_root(self):
        with Server() as server, server.connect() as client:
            for target in ("/../secret", "/%2e%2e/secret", "/sub/../../secret", "/..", "/sub/%2e.", "/a%00b", "/%zz", "/%4"):
                self.assertEqual(client.request(target)[0], 400, target)
            for target in ("/link", "/pipe", "/missing", "/1/2", "/..x"):
                self.assertEqual(client.request(target)[0], 404, target)
            self.assertEqual(client.request("/1")[0], 200)

    def test_bad_requests_are_answered_and_closed(self):
        cases = [("\r\n\r\n", 400), ("GET\r\n\r\n", 400), ("GET /1\r\n\r\n", 400), ("GET /1 FTP/1\r\n\r\n", 400),
                 ("GET /1 HTTP/1.1\r\n\r\n", 400), ("GET /1 HTTP/2.0\r\nHost: a\r\n\r\n", 505),
                 ("POST /1 HTTP/1.1\r\nHost: a\r\n\r\n", 405),
                 ("GET /1 HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello", 413),
                 ("GET /1 HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 413),
                 ("GET /1\0 HTTP/1.1\r\nHost: a\r\n\r\n", 400), ("x" * 9000, 431),
                 ("GET / HTTP/1.1\r\nX: " + "y" * 100000, 431)]
        with Server() as server:
            for text, want in cases:
                with server.connect() as client:
                    client.send(text)
                    self.assertEqual(client.answer()[0], want, text[:40])
                    client.socket.shutdown(socket.SHUT_WR)
                    self.assertTrue(client.at_end())

    def test_keep_alive_is_as_asked(self):
        with Server() as server:
            for version, wish, kept in [("HTTP/1.1", None, True), ("HTTP/1.1", "close", False),
                                        ("HTTP/1.0", None, False), ("HTTP/1.0", "keep-alive", True)]:
                with server.connect() as client:
                    fields = {"Connection": wish} if wish else {}
                    code, fields, _ = client.request("/100", version=version, **fields)
                    self.assertEqual((code, fields["Connection"]), (200, "keep-alive" if kept else "close"))
                    if kept:
                        self.assertEqual(client.request("/1")[0], 200)
                    else:
                        self.assertTrue(client.at_end())

    def test_a_silent_client_is_closed_and_a_half_request_is_told(self):
        with Server("--timeout", "200") as server:
            with server.connect() as client:
                self.assertTrue(client.at_end())
            with server.connect() as client:
                client.send("GET /1 HT")
                self.assertEqual(client.answer()[0], 408)
            with server.connect() as client:  # takes no byte of a file that fits into no buffer
                client.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
                client.send("GET /5242880 HTTP/1.1\r\nHost: a\r\n\r\n" * 50)
                with server.connect() as other:
                    self.assertEqual(other.request("/1")[0], 200)

    def test_connections_beyond_the_limit_are_closed(self):
        with Server("--connections-limit", "1") as server, server.connect() as first:
            self.assertEqual(first.request("/1")[0], 200)
            with server.connect() as second:
                self.assertTrue(second.at_end())
            self.assertEqual(first.request("/1")[0], 200)

    def test_a_stop_in_the_middle_is_clean(self):
        with Server("--threads", "2") as server:
            clients = [server.connect() for _ in range(10)]
            for number, client in enumerate(clients):
                if number % 2:
                    client.send("GET /5242880 HTTP/1.1\r\nHost: a\r\n\r\n")
        for client in clients:
            client.__exit__()


if __name__ == "__main__":
    unittest.main()
