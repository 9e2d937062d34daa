#!/usr/bin/env python3
"""libweir through ctypes, with nothing but Python's standard library.

WEIR_LIBRARY names the shared library to load.
"""

import ctypes
import os
import socket
import struct
import unittest
from ctypes import POINTER, byref, c_char_p, c_int, c_int64, c_size_t, c_uint32, c_void_p

ECANCELED = -125
EBADF = -9
EOF = -10001
SECOND = 1_000_000_000

CALLBACK = ctypes.CFUNCTYPE(None, c_int, c_void_p)
IO_CALLBACK = ctypes.CFUNCTYPE(None, c_int, c_size_t, c_void_p)
ACCEPT_CALLBACK = ctypes.CFUNCTYPE(None, c_int, c_void_p, c_void_p, c_uint32, c_void_p)


def load():
    library = ctypes.CDLL(os.environ.get("WEIR_LIBRARY", "libweir.so.0"))
    handle = c_void_p
    out = POINTER(c_void_p)
    signatures = {
        "weir_version_string": (c_char_p, []),
        "weir_strerror": (c_char_p, [c_int]),
        "weir_error_name": (c_char_p, [c_int]),
        "weir_context_create": (c_int, [c_void_p, out]),
        "weir_context_destroy": (c_int, [handle]),
        "weir_context_run": (c_int, [handle, POINTER(c_size_t)]),
        "weir_context_stop": (c_int, [handle]),
        "weir_context_post": (c_int, [handle, CALLBACK, c_void_p]),
        "weir_timer_create": (c_int, [handle, out]),
        "weir_timer_close": (c_int, [handle]),
        "weir_timer_expires_after": (c_int, [handle, c_int64]),
        "weir_timer_wait": (c_int, [handle, CALLBACK, c_void_p]),
        "weir_timer_cancel": (c_int, [handle, POINTER(c_size_t)]),
        "weir_stream_create": (c_int, [handle, out]),
        "weir_stream_close": (c_int, [handle]),
        "weir_stream_connect": (c_int, [handle, c_void_p, c_uint32, CALLBACK, c_void_p]),
        "weir_stream_read_some": (c_int, [handle, c_void_p, c_size_t, IO_CALLBACK, c_void_p]),
        "weir_stream_read": (c_int, [handle, c_void_p, c_size_t, IO_CALLBACK, c_void_p]),
        "weir_stream_write": (c_int, [handle, c_void_p, c_size_t, IO_CALLBACK, c_void_p]),
        "weir_acceptor_create": (c_int, [handle, out]),
        "weir_acceptor_close": (c_int, [handle]),
        "weir_acceptor_bind": (c_int, [handle, c_void_p, c_uint32]),
        "weir_acceptor_listen": (c_int, [handle, c_int]),
        "weir_acceptor_accept": (c_int, [handle, ACCEPT_CALLBACK, c_void_p]),
        "weir_acceptor_local_address": (c_int, [handle, c_void_p, POINTER(c_uint32)]),
        "weir_address_parse": (c_int, [c_char_p, c_void_p, POINTER(c_uint32)]),
        "weir_address_format": (c_int, [c_void_p, c_uint32, c_char_p, c_size_t]),
    }
    for name, (result, arguments) in signatures.items():
        function = getattr(library, name)
        function.restype = result
        function.argtypes = arguments
    return library


weir = load()


class Smoke(unittest.TestCase):
    def setUp(self):
        self.context = self.make(weir.weir_context_create, None)
        # Callbacks must live until they were called.
        self.kept = []
        self.raised = []

    def tearDown(self):
        self.assertIn(weir.weir_context_destroy(self.context), (0, EBADF))
        for error in self.raised:
            raise error

    def ok(self, code):
        self.assertEqual(code, 0, weir.weir_strerror(code).decode())

    def make(self, function, *arguments):
        handle = c_void_p()
        self.ok(function(*arguments, byref(handle)))
        self.assertIsNotNone(handle.value)
        return handle

    def keep(self, kind, function):
        def guarded(*arguments):
            # ctypes would print an exception and go on.
            try:
                function(*arguments)
            except BaseException as error:
                self.raised.append(error)
                weir.weir_context_stop(self.context)

        callback = kind(guarded)
        self.kept.append(callback)
        return callback

    def run_context(self):
        count = c_size_t()
        self.ok(weir.weir_context_run(self.context, byref(count)))
        if self.raised:
            raise self.raised.pop()
        return count.value

    def parse(self, text):
        storage = ctypes.create_string_buffer(128)
        length = c_uint32()
        self.ok(weir.weir_address_parse(text.encode(), storage, byref(length)))
        return storage, length.value

    def test_version_and_errors(self):
        self.assertRegex(weir.weir_version_string().decode(), r"^\d+\.\d+\.\d+$")
        self.assertEqual(weir.weir_error_name(0), b"OK")
        self.assertEqual(weir.weir_error_name(EOF), b"WEIR_EOF")
        self.assertEqual(weir.weir_error_name(-111), b"ECONNREFUSED")
        self.assertTrue(weir.weir_strerror(EBADF))

    def test_post_and_timer(self):
        events = []
        timer = self.make(weir.weir_timer_create, self.context)
        self.ok(weir.weir_timer_expires_after(timer, 2_000_000))
        fired = self.keep(CALLBACK, lambda status, user: events.append(("timer", status, user)))
        posted = self.keep(CALLBACK, lambda status, user: events.append(("post", status, user)))
        self.ok(weir.weir_timer_wait(timer, fired, 7))
        self.ok(weir.weir_context_post(self.context, posted, 8))
        self.assertEqual(events, [])
        self.assertEqual(self.run_context(), 2)
        self.assertEqual(events, [("post", 0, 8), ("timer", 0, 7)])
        self.ok(weir.weir_timer_close(timer))

    def test_cancel(self):
        statuses = []
        timer = self.make(weir.weir_timer_create, self.context)
        self.ok(weir.weir_timer_expires_after(timer, 3600 * SECOND))
        waited = self.keep(CALLBACK, lambda status, user: statuses.append(status))
        self.ok(weir.weir_timer_wait(timer, waited, None))
        count = c_size_t()
        self.ok(weir.weir_timer_cancel(timer, byref(count)))
        self.assertEqual(count.value, 1)
        self.assertEqual(statuses, [])
        self.run_context()
        self.assertEqual(statuses, [ECANCELED])

    def test_stale_handles(self):
        timer = self.make(weir.weir_timer_create, self.context)
        self.ok(weir.weir_timer_close(timer))
        never = self.keep(CALLBACK, lambda status, user: self.fail("called"))
        self.assertEqual(weir.weir_timer_close(timer), EBADF)
        self.assertEqual(weir.weir_timer_expires_after(timer, 1), EBADF)
        self.assertEqual(weir.weir_timer_wait(timer, never, None), EBADF)
        self.assertEqual(weir.weir_timer_close(None), EBADF)
        self.assertEqual(weir.weir_timer_close(0x1234), EBADF)
        # A handle of another type.
        self.assertEqual(weir.weir_timer_close(self.context), EBADF)
        self.ok(weir.weir_context_destroy(self.context))
        self.assertEqual(weir.weir_context_destroy(self.context), EBADF)
        self.assertEqual(weir.weir_context_post(self.context, never, None), EBADF)

    def test_destroy_completes_what_is_pending(self):
        statuses = []
        timer = self.make(weir.weir_timer_create, self.context)
        self.ok(weir.weir_timer_expires_after(timer, 3600 * SECOND))
        waited = self.keep(CALLBACK, lambda status, user: statuses.append(status))
        self.ok(weir.weir_timer_wait(timer, waited, None))
        self.ok(weir.weir_context_destroy(self.context))
        self.assertEqual(statuses, [ECANCELED])
        self.assertEqual(weir.weir_timer_close(timer), EBADF)

    def test_tcp_echo(self):
        message = bytes(range(256)) * 64
        storage, length = self.parse("127.0.0.1:0")
        acceptor = self.make(weir.weir_acceptor_create, self.context)
        self.ok(weir.weir_acceptor_bind(acceptor, storage, length))
        self.ok(weir.weir_acceptor_listen(acceptor, 0))
        local = ctypes.create_string_buffer(128)
        local_length = c_uint32(128)
        self.ok(weir.weir_acceptor_local_address(acceptor, local, byref(local_length)))
        family, port = struct.unpack("=H", local.raw[:2])[0], struct.unpack("!H", local.raw[2:4])[0]
        self.assertEqual(family, socket.AF_INET)
        self.assertNotEqual(port, 0)
        text = ctypes.create_string_buffer(128)
        self.ok(weir.weir_address_format(local, local_length.value, text, 128))
        self.assertEqual(text.value.decode(), f"127.0.0.1:{port}")

        client = self.make(weir.weir_stream_create, self.context)
        sent = ctypes.create_string_buffer(message, len(message))
        reply = ctypes.create_string_buffer(len(message))
        chunk = ctypes.create_string_buffer(4096)
        events = []
        peers = []

        def on_accept(status, peer, address, address_length, user):
            events.append(("accept", status))
            peers.append(c_void_p(peer))
            self.ok(weir.weir_stream_read_some(peers[0], chunk, 4096, on_chunk, None))

        def chunk_read(status, count, user):
            if status == EOF:
                events.append(("end", count))
                self.ok(weir.weir_stream_close(peers[0]))
                self.ok(weir.weir_acceptor_close(acceptor))
            else:
                self.ok(status)
                self.ok(weir.weir_stream_write(peers[0], chunk, count, on_echoed, None))

        def echoed(status, count, user):
            self.ok(status)
            self.ok(weir.weir_stream_read_some(peers[0], chunk, 4096, on_chunk, None))

        def connected(status, user):
            events.append(("connect", status))
            self.ok(weir.weir_stream_write(client, sent, len(message), on_written, None))
            self.ok(weir.weir_stream_read(client, reply, len(message), on_reply, None))

        def written(status, count, user):
            events.append(("written", status, count))

        def replied(status, count, user):
            events.append(("reply", status, count))
            self.ok(weir.weir_stream_close(client))

        accepted = self.keep(ACCEPT_CALLBACK, on_accept)
        on_chunk = self.keep(IO_CALLBACK, chunk_read)
        on_echoed = self.keep(IO_CALLBACK, echoed)
        on_connected = self.keep(CALLBACK, connected)
        on_written = self.keep(IO_CALLBACK, written)
        on_reply = self.keep(IO_CALLBACK, replied)
        self.ok(weir.weir_acceptor_accept(acceptor, accepted, None))
        self.ok(weir.weir_stream_connect(client, local, local_length.value, on_connected, None))
        self.run_context()

        self.assertEqual(sorted(events, key=lambda event: event[0]), [
            ("accept", 0), ("connect", 0), ("end", 0),
            ("reply", 0, len(message)), ("written", 0, len(message))])
        self.assertEqual(reply.raw, message)
        self.assertEqual(weir.weir_stream_close(client), EBADF)
        self.assertEqual(weir.weir_acceptor_close(acceptor), EBADF)


if __name__ == "__main__":
    unittest.main()
