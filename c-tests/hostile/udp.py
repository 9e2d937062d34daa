"""Peers that mean no good, against examples/udp_echo: udp.py PROGRAM."""
import socket
import struct
import sys
import threading
import time
import unittest

from server import Server

PROGRAM = sys.argv.pop(1)


def serve_one(server):
    """Datagrams may be lost; one of some tries comes back."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as peer:
        peer.settimeout(0.5)
        peer.connect(server.address)
        for number in range(60):
            message = b"hello %d" % number
            peer.send(message)
            try:
                while True:
                    if peer.recv(100) == message:
                        return
            except (TimeoutError, ConnectionRefusedError):
                pass
    raise AssertionError("nothing comes back")


def raw():
    try:
        return socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_UDP)
    except PermissionError:
        return None


def forged(server, source_port, data):
    return struct.pack("!HHHH", source_port, server.address[1], 8 + len(data), 0) + data


def ends_quietly(server):
    """Nothing goes round for ever."""
    time.sleep(0.2)
    server.check_idle()
    serve_one(server)


class Hostile(unittest.TestCase):
    def start(self, *options, files=None):
        return Server(PROGRAM, *options, "127.0.0.1:0", files=files)

    def test_flood_from_peers_that_never_read(self):
        for options in ([], ["--gro"], ["--batch", "1"]):
            with self.start(*options) as server:
                # The buffers for one batch, once they have all been touched.
                most = (64 << 10) * 64 >> 10

                def flood(size):
                    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as peer:
                        peer.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
                        peer.connect(server.address)
                        end = time.monotonic() + 1
                        while time.monotonic() < end:
                            try:
                                peer.send(bytes(size))
                            except OSError:
                                pass

                attackers = [threading.Thread(target=flood, args=(size,)) for size in (0, 1, 1400, 65507)]
                for attacker in attackers:
                    attacker.start()
                for attacker in attackers:
                    attacker.join()
                server.check_memory(most + 4096)
                ends_quietly(server)

    def test_peers_that_are_gone_before_the_reply(self):
        with self.start() as server:
            for _ in range(2000):
                with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as peer:
                    peer.sendto(b"gone", server.address)
            ends_quietly(server)
            server.check_memory(8 << 10)

    def test_forged_senders(self):
        sender = raw()
        if sender is None:
            self.skipTest("raw sockets are not allowed here")
        with sender, self.start() as server:
            for _ in range(50):
                sender.sendto(forged(server, 0, b"from port 0"), server.address)
                sender.sendto(forged(server, server.address[1], b"from itself"), server.address)
                sender.sendto(forged(server, 9, b"nobody there"), server.address)
                # Shorter than it says, and longer.
                sender.sendto(struct.pack("!HHHH", 9, server.address[1], 100, 0) + b"x", server.address)
                sender.sendto(struct.pack("!HHHH", 9, server.address[1], 8, 0) + b"more", server.address)
            ends_quietly(server)
            server.check_memory(8 << 10)

    def test_hardly_any_descriptors(self):
        with self.start(files=16) as server:
            serve_one(server)
            self.assertLess(server.descriptors(), 16)
            ends_quietly(server)


if __name__ == "__main__":
    unittest.main(verbosity=2)
