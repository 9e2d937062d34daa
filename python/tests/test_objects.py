"""What the object layer does when all goes well, and the errors that it raises when it does not."""

import errno
import gc
import math
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import unittest

import weir


class Case(unittest.TestCase):
    def setUp(self):
        self.context = weir.Context()
        self.addCleanup(self.context.close)
        self.calls = []

    def note(self, *arguments):
        self.calls.append(arguments)

    def run_all(self):
        """Runs until nothing is pending; a test that hangs fails."""
        self.context.run(30)
        self.assertEqual(self.context.pending, 0)


class Contexts(Case):
    def test_post_keeps_the_order(self):
        for number in range(1000):
            self.context.post(self.note, number)
        self.assertEqual(self.context.run(), 1000)
        self.assertEqual(self.calls, [(number,) for number in range(1000)])

    def test_run_one_and_poll(self):
        self.context.post(self.note, 1)
        self.context.post(self.note, 2)
        self.assertEqual(self.context.run_one(), 1)
        self.assertEqual(self.calls, [(1,)])
        self.assertEqual(self.context.poll(), 1)
        self.assertEqual(self.context.poll(), 0)
        self.assertEqual(self.context.run_one(0), 0)

    def test_the_fd_tells_of_what_run_one_has_left(self):
        import select
        self.context.post(self.note, 1)
        self.context.post(self.note, 2)
        self.context.run_one()
        self.assertTrue(select.select([self.context], [], [], 0)[0])
        self.context.poll()
        self.assertEqual(self.calls, [(1,), (2,)])

    def test_poll_ends_where_callbacks_post_for_ever(self):
        def again():
            self.context.post(again)
        again()
        self.assertGreater(self.context.poll(), 0)

    def test_stop_returns_and_the_next_run_goes_on(self):
        self.context.post(self.context.stop)
        self.context.post(self.note, 1)
        self.assertEqual(self.context.run(), 1)
        self.assertEqual(self.calls, [])
        self.assertEqual(self.context.run(), 1)
        self.assertEqual(self.calls, [(1,)])

    def test_stop_from_another_thread(self):
        self.context.work_begin()
        thread = threading.Timer(0.05, self.context.stop)
        thread.start()
        self.context.run()
        thread.join()
        self.context.work_end()

    def test_post_from_threads(self):
        def posts():
            for number in range(200):
                self.context.post(self.note, number)
        threads = [threading.Thread(target=posts) for _ in range(4)]
        self.context.work_begin()
        for thread in threads:
            thread.start()
        while len(self.calls) < 800:
            self.context.run_one(30)
        self.context.work_end()
        for thread in threads:
            thread.join()
        self.assertEqual(len(self.calls), 800)

    def test_nested_run_sees_what_is_left_of_the_batch(self):
        def outer():
            self.note("outer")
            self.context.run()
            self.note("end")
        self.context.post(outer)
        self.context.post(self.note, "inner")
        self.context.run()
        self.assertEqual(self.calls, [("outer",), ("inner",), ("end",)])

    def test_an_exception_comes_out_of_run_and_the_rest_stays(self):
        def fail():
            raise ValueError("mine")
        self.context.post(fail)
        self.context.post(self.note, 1)
        with self.assertRaisesRegex(ValueError, "mine"):
            self.context.run()
        self.assertEqual(self.context.run(), 1)
        self.assertEqual(self.calls, [(1,)])

    def test_run_with_a_time_limit(self):
        self.context.work_begin()
        began = time.monotonic()
        self.context.run(0.05)
        self.assertGreaterEqual(time.monotonic() - began, 0.05)
        self.context.work_end()

    def test_manual_clock(self):
        with weir.Context(manual_clock=True) as context:
            context.call_later(100, self.note, "late")
            self.assertEqual(context.poll(), 0)
            context.advance(100)
            self.assertEqual(context.run(), 1)
            self.assertEqual(context.now(), 100 * 10**9)

    def test_close_calls_what_is_pending(self):
        timer = weir.Timer(self.context)
        timer.expires_after(math.inf)
        timer.wait(self.note)
        self.context.close()
        self.assertEqual(self.calls[0][0].errno, errno.ECANCELED)
        for misuse in (timer.cancel, self.context.run, self.context.fileno, lambda: self.context.post(print),
                       lambda: weir.Timer(self.context)):
            with self.assertRaises(OSError) as caught:
                misuse()
            self.assertEqual(caught.exception.errno, errno.EBADF)
        self.context.close()

    def test_close_in_a_callback_is_refused(self):
        self.context.post(self.context.close)
        with self.assertRaises(OSError) as caught:
            self.context.run()
        self.assertEqual(caught.exception.errno, errno.EBUSY)

    def test_stats(self):
        self.context.post(self.note)
        self.context.run()
        self.assertIn("turns", self.context.stats())


class Timers(Case):
    def test_a_periodic_timer_that_closes_itself(self):
        timer = weir.Timer(self.context)

        def tick(error):
            self.note(error)
            if len(self.calls) == 3:
                timer.close()
        timer.start(0, 0.001, tick)
        self.run_all()
        self.assertEqual([call[0] for call in self.calls[:3]], [None] * 3)
        self.assertEqual(self.calls[3][0].errno, errno.ECANCELED)

    def test_several_waits_and_cancel(self):
        timer = weir.Timer(self.context)
        timer.expires_after(1000)
        timer.wait(self.note)
        timer.wait(self.note)
        self.assertGreater(timer.remaining, 900)
        self.assertEqual(timer.cancel(), 2)
        self.run_all()
        self.assertEqual(len(self.calls), 2)

    def test_call_later_and_closing_it(self):
        self.context.call_later(0.001, self.note, 1)
        self.context.call_later(0.001, self.note, 2).close()
        self.run_all()
        self.assertEqual(self.calls, [(1,)])

    def test_bad_times(self):
        timer = weir.Timer(self.context)
        for bad in ("1", None, math.nan):
            self.assertRaises(TypeError, timer.expires_after, bad)
        self.assertRaises(OSError, timer.start, -1, 1, self.note)
        self.assertRaises(OSError, timer.start, 1, 0, self.note)
        self.assertRaises(TypeError, timer.wait, 5)
        self.assertEqual(self.context.pending, 0)


class Streams(Case):
    def test_pair_reads_and_writes(self):
        first, second = weir.Stream.pair(self.context)
        first.write(b"hello", self.note)
        second.read_some(100, self.note)
        self.run_all()
        self.assertEqual(sorted(self.calls, key=repr), [(None, 5), (None, b"hello")])
        first.write(bytearray(b"ab"))
        first.shutdown()
        self.calls.clear()
        second.read(5, self.note)
        self.run_all()
        self.assertIsInstance(self.calls[0][0], weir.EndOfStream)
        self.assertIsInstance(self.calls[0][0], EOFError)
        self.assertEqual(self.calls[0][0].name, "WEIR_EOF")
        self.assertEqual(self.calls[0][1], b"ab")
        self.calls.clear()
        second.read_some(5, self.note)
        self.run_all()
        self.assertEqual(self.calls, [(None, b"")])

    def test_tcp_with_the_pool(self):
        acceptor = weir.Acceptor(self.context)
        acceptor.bind(("127.0.0.1", 0))
        acceptor.listen()
        got = bytearray()

        def on_accept(error, peer):
            acceptor.close()

            def on_data(error, data):
                got.extend(data)
                self.note(error)
                if not data:
                    peer.close()
            peer.read_each(on_data)
        acceptor.accept(on_accept)
        client = weir.Stream(self.context)
        data = os.urandom(300_000)

        def on_connect(error):
            self.assertIsNone(error)
            client.set(weir.OPT_NO_DELAY, 1)
            self.assertEqual(client.get(weir.OPT_NO_DELAY), 1)
            self.assertEqual(client.remote_address, acceptor.local_address if not acceptor.closed else address)
            client.send(data[:200_000])
            client.send(memoryview(data)[200_000:], lambda error, count: client.close())
        address = acceptor.local_address
        client.connect(address, on_connect)
        self.run_all()
        self.assertEqual(bytes(got), data)

    def test_refused(self):
        with socket.socket() as sock:
            sock.bind(("127.0.0.1", 0))
            address = sock.getsockname()
            weir.Stream(self.context).connect(address, self.note)
            self.run_all()
        self.assertIsInstance(self.calls[0][0], ConnectionRefusedError)
        self.assertIn("ECONNREFUSED", str(self.calls[0][0]))

    def test_a_second_read_is_busy(self):
        first, second = weir.Stream.pair(self.context)
        first.read_some(10, self.note)
        with self.assertRaises(OSError) as caught:
            first.read_some(10, self.note)
        self.assertEqual(caught.exception.errno, errno.EBUSY)
        first.close()
        self.run_all()
        self.assertEqual(len(self.calls), 1)
        del second

    def test_read_into_pins_the_buffer_until_it_is_told(self):
        first, second = weir.Stream.pair(self.context)
        buffer = bytearray(10)
        first.read_into(buffer, self.note)
        with self.assertRaises(BufferError):
            buffer.extend(b"more")
        second.write(b"abc")
        self.run_all()
        self.assertEqual(self.calls, [(None, 3)])
        self.assertEqual(buffer[:3], b"abc")
        buffer.extend(b"more")
        self.assertRaises(TypeError, first.read_into, b"constant", self.note)

    def test_read_until(self):
        first, second = weir.Stream.pair(self.context)
        until = weir.Until(b"\r\n", 100)

        def line(error, data):
            self.note(error, data)
            if error is None:
                second.read_until(until, line)
                self.assertRaises(OSError, until.take, 1)
        second.read_until(until, line)
        first.write(b"one\r\ntwo\r\nrest")
        first.shutdown()
        self.run_all()
        self.assertEqual([data for _, data in self.calls], [b"one\r\n", b"two\r\n", b""])
        self.assertIsInstance(self.calls[-1][0], weir.EndOfStream)
        self.assertEqual(until.take(100), b"rest")

    def test_try_read_and_write(self):
        first, second = weir.Stream.pair(self.context)
        self.assertIsNone(first.try_read(10))
        self.assertEqual(second.try_write(b"xyz"), 3)
        self.assertEqual(first.try_read(10), b"xyz")
        second.close()
        self.assertEqual(first.try_read(10), b"")

    def test_send_file(self):
        first, second = weir.Stream.pair(self.context)
        with tempfile.TemporaryFile() as file:
            file.write(b"0123456789")
            file.flush()
            first.send_file(file, 2, 5, self.note)
        second.read(5, self.note)
        self.run_all()
        self.assertIn((None, b"23456"), self.calls)

    def test_fds_and_credentials(self):
        first, second = weir.Stream.pair(self.context)
        reader, writer = os.pipe()
        first.write_fds(b"x", [writer])
        second.read_fds(10, 4, self.note)
        self.run_all()
        error, data, fds = self.calls[0]
        self.assertEqual((error, data, len(fds)), (None, b"x", 1))
        os.write(fds[0], b"through")
        self.assertEqual(os.read(reader, 10), b"through")
        for fd in (reader, writer, fds[0]):
            os.close(fd)
        self.assertEqual(first.peer_credentials()[0], os.getpid())

    def test_time_limit(self):
        first, second = weir.Stream.pair(self.context)
        first.set_timeout(read=0.01)
        first.read_some(1, self.note)
        self.run_all()
        self.assertIsInstance(self.calls[0][0], TimeoutError)

    def test_adopt_and_release(self):
        ours, theirs = socket.socketpair()
        stream = weir.Stream(self.context)
        stream.adopt(ours)
        self.assertEqual(ours.fileno(), -1)
        stream.write(b"a")
        self.run_all()
        self.assertEqual(theirs.recv(1), b"a")
        back = socket.socket(fileno=stream.release())
        back.close()
        theirs.close()
        self.assertRaises(OSError, stream.adopt, 10**6)

    def test_unix_path_and_connect_list(self):
        with tempfile.TemporaryDirectory() as folder:
            path = f"unix:{folder}/s"
            acceptor = weir.Acceptor(self.context)
            acceptor.bind(path)
            acceptor.listen()
            self.assertEqual(acceptor.local_address, path)
            acceptor.accept(self.note)
            client = weir.Stream(self.context)
            client.connect_list([f"unix:{folder}/none", path], lambda error: self.note(error))
            self.run_all()
            self.assertEqual(len(self.calls), 2)
            acceptor.unlink()

    def test_addresses(self):
        from weir._address import pack, unpack
        for address in (("127.0.0.1", 80), ("::1", 80, 5, 0), ("fe80::1", 80, 0, 1), "unix:/a/b", "unix:@name"):
            self.assertEqual(unpack(pack(address)), address)
        self.assertEqual(unpack(pack("127.0.0.1:80")), ("127.0.0.1", 80))
        for bad in (5, ("a",), (1, 2), None):
            self.assertRaises(TypeError, pack, bad)
        for bad in (("no.name", 80), "x", ("127.0.0.1", 65536), "a\0b", "unix:" + "x" * 200):
            self.assertRaises((OSError, OverflowError, ValueError), pack, bad)


class Datagrams(Case):
    def test_udp(self):
        server, client = weir.Datagram(self.context), weir.Datagram(self.context)
        server.bind(("127.0.0.1", 0))
        client.bind(("127.0.0.1", 0))
        server.receive_from(100, self.note)
        client.send_to(b"ping", server.local_address)
        self.run_all()
        self.assertEqual(self.calls, [(None, b"ping", client.local_address)])
        client.connect(server.local_address)
        self.calls.clear()
        server.receive_each(self.note)
        for data in (b"", b"one", b"x" * 5000):
            before = self.context.pending
            client.send(data)
            while self.context.pending > before:
                self.context.run_one(10)
        while len(self.calls) < 3:
            self.context.run_one(10)
        self.assertEqual([data for _, data, _ in self.calls], [b"", b"one", b"x" * 4096])
        self.assertEqual({address for _, _, address in self.calls}, {client.local_address})
        server.close()
        self.run_all()
        self.assertEqual(self.calls[-1][0].errno, errno.ECANCELED)

    def test_a_long_one_is_told(self):
        first, second = weir.Datagram.pair(self.context)
        first.try_send(b"0123456789")
        second.receive(4, self.note)
        self.run_all()
        self.assertEqual((self.calls[0][0].errno, self.calls[0][1]), (errno.EMSGSIZE, b"0123"))


class Outside(Case):
    def test_watch(self):
        reader, writer = os.pipe()
        self.addCleanup(os.close, reader)
        self.addCleanup(os.close, writer)
        watch = weir.Watch(self.context, reader)

        def on_ready(error, events):
            self.note(error, events)
            if error is None:
                os.read(reader, 1)
                watch.stop()
        watch.start(weir.WATCH_READ, on_ready, persistent=True)
        os.write(writer, b"x")
        self.run_all()
        self.assertEqual(self.calls[0], (None, weir.WATCH_READ))
        self.assertEqual(self.calls[1][0].errno, errno.ECANCELED)

    def test_signals(self):
        before = signal.getsignal(signal.SIGUSR1)
        signals = weir.Signals(self.context, signal.SIGUSR1)
        signals.wait(self.note)
        os.kill(os.getpid(), signal.SIGUSR1)
        self.run_all()
        self.assertEqual(self.calls, [(None, signal.SIGUSR1)])
        signals.close()
        self.assertEqual(signal.getsignal(signal.SIGUSR1), before)
        self.assertRaises(OSError, weir.Signals, self.context, 1000)

    def test_a_wakeup_fd_gets_the_numbers_of_signals(self):
        fd = self.context.wakeup_fd()
        self.assertEqual(self.context.wakeup_fd(), fd)
        self.addCleanup(signal.signal, signal.SIGUSR1, signal.signal(signal.SIGUSR1, self.note))
        self.addCleanup(signal.set_wakeup_fd, signal.set_wakeup_fd(fd))
        self.context.post(os.kill, os.getpid(), signal.SIGUSR1)
        timer = weir.Timer(self.context)
        timer.expires_after(0.05)
        timer.wait(lambda error: None)
        self.run_all()
        self.assertEqual(self.context.wakeup_values(), [signal.SIGUSR1])
        self.assertEqual(self.context.wakeup_values(), [])
        self.assertEqual([number for number, _ in self.calls], [signal.SIGUSR1])

    def test_process(self):
        child = subprocess.Popen([sys.executable, "-c", "raise SystemExit(7)"])
        process = weir.Process(self.context, child.pid)
        process.wait(self.note)
        self.run_all()
        self.assertEqual(self.calls, [(None, 7)])
        child.returncode = 7
        self.assertRaises(ChildProcessError, weir.Process, self.context, os.getpid())

    def test_resolver(self):
        resolver = weir.Resolver(self.context)
        resolver.resolve("127.0.0.1", 80, self.note, flags=weir.RESOLVE_NUMERIC_HOST, socktype=socket.SOCK_STREAM)
        self.run_all()
        self.assertEqual(self.calls, [(None, [("127.0.0.1", 80)])])
        self.calls.clear()
        resolver.resolve("not numeric", 80, self.note, flags=weir.RESOLVE_NUMERIC_HOST)
        self.run_all()
        self.assertIsInstance(self.calls[0][0], weir.Error)
        self.assertEqual(self.calls[0][0].name, "WEIR_EAI_NONAME")
        self.calls.clear()
        resolver.reverse(("127.0.0.1", 80), self.note, flags=weir.REVERSE_NUMERIC_HOST | weir.REVERSE_NUMERIC_SERVICE)
        self.run_all()
        self.assertEqual(self.calls, [(None, "127.0.0.1", "80")])


class Lifetimes(Case):
    def test_a_handle_with_nothing_pending_is_closed_with_its_object(self):
        reader = weir.Stream.pair(self.context)[0]
        gc.collect()
        self.assertEqual(reader.try_read(1), b"")

    def test_a_handle_with_something_pending_stays(self):
        first, second = weir.Stream.pair(self.context)
        first.read_some(10, self.note)
        del first
        gc.collect()
        second.write(b"still there")
        self.run_all()
        self.assertEqual(self.calls, [(None, b"still ther")])


if __name__ == "__main__":
    unittest.main()
