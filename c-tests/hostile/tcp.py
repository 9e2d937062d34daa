"""Peers that mean no good, against the TCP servers of examples/: tcp.py KIND PROGRAM, with KIND echo, chat or file.

Each server must live, stay within a memory that is known beforehand, sleep when there is nothing to do, be rid of the
peers in the end, and serve the others meanwhile and afterwards.
"""
import os
import random
import socket
import sys
import tempfile
import threading
import time
import unittest

from server import LIMIT, Server, flood_until_full, is_closed_by_server, reset, vanish, wait_for

KIND, PROGRAM = sys.argv.pop(1), sys.argv.pop(1)
BIG = 8 << 20


class Echo:
    partial, request = b"", b"some bytes"
    # Milliseconds; what a peer that makes no progress may have.
    short = ["--idle", "800"]
    steady = False  # a byte now and then is a whole request: it is answered, and keeps the connection

    def start(self, *options, files=None, threads=1):
        return Server(PROGRAM, "--quiet", "--threads", str(threads), *options, files=files)

    def serve_one(self, server):
        with server.connect() as peer:
            peer.sendall(b"hello")
            assert peer.recv(5, socket.MSG_WAITALL) == b"hello"


class Chat:
    partial, request = b"half a lin", b"a line\n"
    short = ["--idle", "1"]
    steady = True

    def start(self, *options, files=None, threads=1):
        return Server(PROGRAM, "--threads", str(threads), "--backlog", "65536", *options, "127.0.0.1:0", files=files)

    def serve_one(self, server):
        with server.connect() as peer, peer.makefile("rb") as lines:
            peer.sendall(b"/nobody\n")
            while b"no such command" not in (line := lines.readline()):
                assert line, "the server has closed"


class File:
    partial, request = b"GET / HTTP/1.1\r\nX: ", b"GET /big HTTP/1.1\r\nHost: x\r\n\r\n"
    short = ["--timeout", "500", "--request-timeout", "1500"]
    steady = True

    def start(self, *options, files=None, threads=1):
        if not hasattr(self, "directory"):
            self.directory = tempfile.TemporaryDirectory()
            with open(os.path.join(self.directory.name, "big"), "wb") as file:
                file.truncate(BIG)
            with open(os.path.join(self.directory.name, "small"), "w") as file:
                file.write("small")
        return Server(PROGRAM, "--threads", str(threads), *options, self.directory.name, files=files)

    def serve_one(self, server):
        with server.connect() as peer, peer.makefile("rb") as answer:
            peer.sendall(b"GET /small HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
            text = answer.read()
            assert text.endswith(b"\r\n\r\nsmall"), text


target = {"echo": Echo, "chat": Chat, "file": File}[KIND]()


class Hostile(unittest.TestCase):
    def test_slowloris(self):
        """A byte now and then, and never a whole request."""
        with target.start(*target.short) as server:
            peers = [server.connect() for _ in range(100)]
            left = list(peers)
            if not target.steady:
                # For this one each byte is a request: they may go on as long as they like.
                for _ in range(15):
                    for peer in peers:
                        peer.sendall(b"x")
                        self.assertEqual(peer.recv(1), b"x")
                    time.sleep(0.1)
            end = time.monotonic() + LIMIT
            began = time.monotonic()
            while left:
                self.assertLess(time.monotonic(), end, f"{len(left)} are served still")
                for peer in left:
                    try:
                        if target.steady:
                            peer.send(b"x")
                    except OSError:
                        pass
                left = [peer for peer in left if not is_closed_by_server(peer)]
                if time.monotonic() - began < 0.5:
                    target.serve_one(server)  # the others are served meanwhile
                time.sleep(0.1)
            server.check_memory(8 << 10)
            for peer in peers:
                peer.close()
            server.wait_until_gone()
            target.serve_one(server)

    def test_half_open(self):
        """Peers that have vanished, and some that never say a word."""
        with target.start(*target.short) as server:
            for _ in range(50):
                peer = server.connect()
                peer.sendall(target.partial)
                if not vanish(peer):
                    break
            silent = [server.connect() for _ in range(50)]
            wait_for(lambda: all(is_closed_by_server(peer) for peer in silent), "silent peers are closed")
            for peer in silent:
                peer.close()
            server.wait_until_gone()
            server.check_memory(8 << 10)
            server.check_idle()
            target.serve_one(server)

    def test_reset_storm(self):
        """Connections that are reset at every stage, by several at once."""

        def storm(seed):
            chance = random.Random(seed)
            for _ in range(400):
                try:
                    peer = server.connect()
                    stage = chance.randrange(5)
                    if stage > 0:
                        peer.sendall([target.partial or b"x", target.request, target.request * 20, b"\r\n"][stage - 1])
                    if stage == 2 and chance.random() < 0.5:
                        peer.recv(1)
                    reset(peer)
                except OSError:
                    pass

        for threads in (1, 2):
            with target.start(threads=threads) as server:
                attackers = [threading.Thread(target=storm, args=(seed,)) for seed in range(4)]
                for attacker in attackers:
                    attacker.start()
                for attacker in attackers:
                    attacker.join()
                server.wait_until_gone()
                server.check_memory(16 << 10)
                server.check_idle()
                target.serve_one(server)

    def test_zero_windows(self):
        """Peers that ask for much and take nothing."""
        with target.start(*(target.short if KIND != "chat" else [])) as server:
            peers = [server.connect(receive_buffer=4096) for _ in range(30)]
            for peer in peers:
                self.assertGreater(flood_until_full(peer, target.request * 500), 0) if KIND == "echo" else \
                    peer.sendall(target.request)
            if KIND == "chat":
                # They hear what others say; more than they may leave lying.
                with server.connect() as talker:
                    flooder = threading.Thread(target=lambda: [talker.sendall(b"y" * 1000 + b"\n") for _ in range(8000)])
                    flooder.start()
                    flooder.join()
                    wait_for(lambda: server.descriptors() <= server.descriptors_before + 1, "deaf peers are dropped")
            # What they were promised is in the kernel's buffers or not read at all: not in the server.
            server.check_memory(16 << 10)
            if KIND != "chat":
                server.check_idle(0.3)
            wait_for(lambda: server.descriptors() <= server.descriptors_before, "peers that take nothing are closed")
            for peer in peers:
                peer.close()
            server.check_memory(16 << 10)
            target.serve_one(server)

    def test_urgent_data(self):
        """Bytes out of band, which a server that watches for them by mistake is woken by for ever."""
        with target.start() as server:
            peers = [server.connect() for _ in range(10)]
            for peer in peers:
                for _ in range(20):
                    peer.send(b"!", socket.MSG_OOB)
                    if KIND == "echo":
                        peer.sendall(b"ab")
                        # The urgent byte is outside of the stream. (An older one that was never taken joins it.)
                        seen = b""
                        while not seen.endswith(b"ab"):
                            got = peer.recv(100)
                            self.assertTrue(got)
                            seen += got
                        self.assertEqual(seen.replace(b"!", b""), b"ab")
                peer.send(b"!", socket.MSG_OOB)
            server.check_idle()
            target.serve_one(server)
            for peer in peers:
                peer.send(b"!", socket.MSG_OOB)
                peer.close()
            server.wait_until_gone()
            server.check_memory(8 << 10)

    def test_flood_beyond_the_descriptors(self):
        """More connections than the server may have descriptors."""
        for threads in (1, 2):
            with target.start(files=64, threads=threads) as server:
                peers = [server.connect() for _ in range(300)]
                wait_for(lambda: server.descriptors() >= 60, "all descriptors are taken")
                server.check_idle()
                server.check_memory(16 << 10)
                for peer in peers[:150]:
                    reset(peer)
                for peer in peers[150:]:
                    peer.close()
                target.serve_one(server)
                server.wait_until_gone()
                target.serve_one(server)


if __name__ == "__main__":
    unittest.main(verbosity=2)
