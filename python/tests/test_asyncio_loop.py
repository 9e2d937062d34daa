"""weir.asyncio: what CPython's tests do not ask, above all the transports that are fed by records."""

import asyncio
import contextvars
import os
import signal
import socket
import tempfile
import threading
import time
import unittest

import weir.asyncio
from weir import abi
from weir.asyncio import drain as drain_module

LIMIT = 30


def run(main):
    return weir.asyncio.run(asyncio.wait_for(main, LIMIT))


class Collect(asyncio.Protocol):
    """Gathers what comes, and tells when it ends."""

    def __init__(self):
        self.data = bytearray()
        self.ended = asyncio.get_running_loop().create_future()
        self.eof = False

    def connection_made(self, transport):
        self.transport = transport

    def data_received(self, data):
        self.data += data

    def eof_received(self):
        self.eof = True

    def connection_lost(self, exc):
        if not self.ended.done():
            self.ended.set_result(exc)


async def pair(protocol):
    """A transport with this protocol, and the socket at its other end."""
    ours, theirs = socket.socketpair()
    transport, _ = await asyncio.get_running_loop().create_connection(lambda: protocol, sock=ours)
    theirs.settimeout(LIMIT)
    return transport, theirs


class Start(unittest.TestCase):
    def test_run_gives_the_result_on_a_loop_of_ours(self):
        async def main():
            return asyncio.get_running_loop()

        self.assertIsInstance(run(main()), weir.asyncio.EventLoop)

    def test_run_is_refused_inside_a_loop(self):
        async def main():
            inner = asyncio.sleep(0)
            try:
                with self.assertRaises(RuntimeError):
                    weir.asyncio.run(inner)
            finally:
                inner.close()

        run(main())

    def test_run_shuts_generators_down(self):
        ended = []

        async def numbers():
            try:
                yield 1
                yield 2
            finally:
                await asyncio.sleep(0)
                ended.append(True)

        async def main():
            self.keep = numbers()
            await self.keep.__anext__()

        run(main())
        self.assertEqual(ended, [True])

    def test_policy_makes_loops_of_ours(self):
        policy = weir.asyncio.EventLoopPolicy()
        loop = policy.new_event_loop()
        self.assertIsInstance(loop, weir.asyncio.EventLoop)
        loop.close()
        loop.close()


class Streams(unittest.TestCase):
    def test_many_connections_get_their_own_bytes(self):
        async def one(port, number):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            for size in (1, 5000, 70000, 300000):
                data = bytes([number]) * size
                writer.write(data)
                self.assertEqual(await reader.readexactly(size), data)
            writer.close()
            await writer.wait_closed()

        async def echo(reader, writer):
            while True:
                data = await reader.read(65536)
                if not data:
                    break
                writer.write(data)
                await writer.drain()
            writer.close()

        async def main():
            server = await asyncio.start_server(echo, "127.0.0.1", 0, backlog=200)
            port = server.sockets[0].getsockname()[1]
            await asyncio.gather(*(one(port, number) for number in range(100)))
            server.close()

        run(main())

    def test_buffers_that_nobody_wants_any_more_go_back_to_the_pool(self):
        drain = drain_module.Drain()
        drain.use_pool()
        for number in range(drain_module._POOL_SLOTS + 1):
            ours, theirs = socket.socketpair()
            stream = drain.lend(ours.fileno())
            token = drain.attach(lambda *record: None)
            drain.submit(abi.WEIR_SUBMIT_READ_EACH, stream, 0, 0, token)
            theirs.send(b"x")
            records = list(drain.enter(LIMIT))
            self.assertEqual([record[3] for record in records], [abi.WEIR_OP_READ], number)
            # The record is there, and the one that it is for is not.
            drain.detach(token)
            drain.records = iter(records)
            drain.serve()
            drain.streams.discard(stream)
            drain.release(stream)
            list(drain.enter(0))
            ours.close()
            theirs.close()
        drain.close()

    def test_a_pause_loses_nothing(self):
        whole = os.urandom(2000000)

        async def main():
            protocol = Collect()
            transport, theirs = await pair(protocol)
            sender = threading.Thread(target=lambda: (theirs.sendall(whole), theirs.close()))
            sender.start()
            while not protocol.ended.done():
                transport.pause_reading()
                seen = len(protocol.data)
                for _ in range(3):
                    await asyncio.sleep(0.001)
                    self.assertEqual(len(protocol.data), seen)
                transport.resume_reading()
                await asyncio.sleep(0)
                await asyncio.sleep(0)
            sender.join()
            self.assertTrue(protocol.eof)
            self.assertEqual(bytes(protocol.data), whole)

        run(main())

    def test_a_buffered_protocol_with_little_room_gets_all(self):
        whole = os.urandom(1000000)

        class Little(asyncio.BufferedProtocol):
            def __init__(self):
                self.buffer = bytearray(777)
                self.data = bytearray()
                self.ended = asyncio.get_running_loop().create_future()

            def get_buffer(self, sizehint):
                return self.buffer

            def buffer_updated(self, nbytes):
                self.data += self.buffer[:nbytes]

            def connection_lost(self, exc):
                self.ended.set_result(exc)

        async def main():
            protocol = Little()
            transport, theirs = await pair(protocol)
            sender = threading.Thread(target=lambda: (theirs.sendall(whole), theirs.close()))
            sender.start()
            for _ in range(20):
                transport.pause_reading()
                await asyncio.sleep(0.001)
                transport.resume_reading()
                await asyncio.sleep(0.001)
            await protocol.ended
            sender.join()
            self.assertEqual(bytes(protocol.data), whole)

        run(main())

    def test_a_paused_transport_lets_its_peer_wait(self):
        async def main():
            protocol = Collect()
            transport, theirs = await pair(protocol)
            transport.pause_reading()
            theirs.setblocking(False)
            sent = 0
            until = time.monotonic() + LIMIT
            stuck = 0
            while stuck < 50 and time.monotonic() < until:
                try:
                    sent += theirs.send(bytes(65536))
                    stuck = 0
                except BlockingIOError:
                    stuck += 1
                    await asyncio.sleep(0.002)
                self.assertLess(sent, 8000000, "the transport goes on reading")
            self.assertEqual(len(protocol.data), 0)
            transport.resume_reading()
            theirs.close()
            await protocol.ended
            self.assertEqual(len(protocol.data), sent)

        run(main())

    def test_what_was_written_is_sent_when_the_loop_stops(self):
        loop = weir.asyncio.EventLoop()
        ours, theirs = socket.socketpair()
        theirs.settimeout(LIMIT)

        async def main():
            transport, _ = await loop.create_connection(asyncio.Protocol, sock=ours)
            transport.write(b"one ")
            transport.write(b"two")
            return transport

        transport = loop.run_until_complete(main())
        self.assertEqual(theirs.recv(100), b"one two")
        loop.call_soon(lambda: (loop.stop(), transport.write(b"in the last turn")))
        loop.run_forever()
        self.assertEqual(theirs.recv(100), b"in the last turn")
        transport.write(b"last")
        transport.abort()
        loop.run_until_complete(asyncio.sleep(0))
        self.assertEqual(theirs.recv(100), b"last")
        theirs.close()
        loop.close()

    def test_a_socket_with_a_send_of_its_own_has_it_called(self):
        class Own(socket.socket):
            sent = b""

            def send(self, data, *flags):
                self.sent += bytes(data)
                return super().send(data, *flags)

        async def main():
            plain, theirs = socket.socketpair()
            ours = Own(fileno=plain.detach())
            transport, _ = await asyncio.get_running_loop().create_connection(asyncio.Protocol, sock=ours)
            for part in (b"one", b"two"):
                transport.write(part)
                await asyncio.sleep(0.001)
            self.assertEqual((ours.sent, theirs.recv(100)), (b"onetwo", b"onetwo"))
            transport.close()
            theirs.close()

        run(main())

    def test_writes_that_find_no_room_arrive_in_order(self):
        parts = [os.urandom(size) for size in (10, 300000, 5, 20000, 700000, 1)]

        async def main():
            transport, theirs = await pair(Collect())
            got = bytearray()

            def read():
                while True:
                    data = theirs.recv(30000)
                    if not data:
                        return
                    got.extend(data)

            for part in parts:
                transport.write(part)
            self.assertGreater(transport.get_write_buffer_size(), 0)
            transport.close()
            await asyncio.get_running_loop().run_in_executor(None, read)
            self.assertEqual(bytes(got), b"".join(parts))
            theirs.close()

        run(main())

    def test_callbacks_run_in_the_context_of_the_connection(self):
        name = contextvars.ContextVar("name", default="nobody")

        async def main():
            seen = []

            class Tell(Collect):
                def data_received(self, data):
                    seen.append(name.get())

            ends = []
            for who in ("one", "two"):
                name.set(who)
                ends.append(await pair(Tell()))
            name.set("three")
            for transport, theirs in ends:
                theirs.send(b"x")
                while len(seen) < len(ends):
                    if transport is ends[-1][0] or seen:
                        break
                    await asyncio.sleep(0.001)
            while len(seen) < 2:
                await asyncio.sleep(0.001)
            self.assertEqual(seen, ["one", "two"])
            for transport, theirs in ends:
                transport.close()
                theirs.close()

        run(main())

    def test_an_exception_takes_no_record_with_it(self):
        loop = weir.asyncio.EventLoop()
        seen = []

        class Raise(asyncio.Protocol):
            def data_received(self, data):
                seen.append(data)
                raise KeyboardInterrupt

        async def connect():
            ends = [socket.socketpair() for _ in range(10)]
            return [(await loop.create_connection(Raise, sock=ours), theirs) for ours, theirs in ends]

        ends = loop.run_until_complete(connect())
        for number, (_, theirs) in enumerate(ends):
            theirs.send(b"%d" % number)
        for _ in ends:
            with self.assertRaises(KeyboardInterrupt):
                loop.run_until_complete(asyncio.sleep(LIMIT))
        self.assertEqual(sorted(seen), [b"%d" % number for number in range(10)])
        for (transport, _), theirs in ends:
            transport.abort()
            theirs.close()
        for task in asyncio.all_tasks(loop):
            task.cancel()
        loop.run_until_complete(asyncio.sleep(0))
        loop.close()

    def test_closing_the_loop_leaves_the_sockets_to_python(self):
        loop = weir.asyncio.EventLoop()
        ours, theirs = socket.socketpair()
        transport, _ = loop.run_until_complete(loop.create_connection(asyncio.Protocol, sock=ours))
        loop.close()
        ours.send(b"still open")
        self.assertEqual(theirs.recv(100), b"still open")
        transport._sock = None  # There is no loop to close it in.
        ours.close()
        theirs.close()

    def test_a_cancelled_sendfile_leaves_the_reading(self):
        async def main():
            loop = asyncio.get_running_loop()
            protocol = Collect()
            transport, theirs = await pair(protocol)
            with tempfile.TemporaryFile() as file:
                file.truncate(20000000)
                task = loop.create_task(loop.sendfile(transport, file))
                await asyncio.sleep(0.05)
                self.assertFalse(task.done())
                task.cancel()
                with self.assertRaises(asyncio.CancelledError):
                    await task
            theirs.send(b"read me")
            while bytes(protocol.data) != b"read me":
                await asyncio.sleep(0.001)
            transport.abort()
            theirs.close()
            await protocol.ended

        run(main())


def sockets():
    first, second = socket.socketpair()
    first.setblocking(False)
    return first, second


class Sock(unittest.TestCase):
    def test_a_number_that_is_another_file_now_is_read(self):
        async def main():
            loop = asyncio.get_running_loop()
            first, second = sockets()
            number = first.fileno()
            loop.call_later(0.01, second.send, b"one")
            self.assertEqual(await loop.sock_recv(first, 10), b"one")
            for _ in range(3):
                first.close()
                second.close()
                first, second = sockets()
                self.assertEqual(first.fileno(), number)
                loop.call_later(0.01, second.send, b"next")
                self.assertEqual(await loop.sock_recv(first, 10), b"next")
            # And where it is a transport's then.
            protocol = Collect()
            transport, _ = await loop.create_connection(lambda: protocol, sock=first)
            second.send(b"more")
            while not protocol.data:
                await asyncio.sleep(0.001)
            transport.close()
            second.close()
            await protocol.ended

        run(main())

    def test_a_cancelled_receive_takes_nothing(self):
        async def main():
            loop = asyncio.get_running_loop()
            first, second = sockets()
            for number in range(5):
                task = loop.create_task(loop.sock_recv(first, 10))
                await asyncio.sleep(0)
                await asyncio.sleep(0)
                task.cancel()
                second.send(b"%d" % number)
                with self.assertRaises(asyncio.CancelledError):
                    await task
                self.assertEqual(await loop.sock_recv(first, 10), b"%d" % number)
            first.close()
            second.close()

        run(main())

    def test_two_receive_from_one_socket(self):
        async def main():
            loop = asyncio.get_running_loop()
            first, second = sockets()
            both = asyncio.gather(loop.sock_recv(first, 3), loop.sock_recv(first, 3))
            await asyncio.sleep(0.01)
            second.send(b"onetwo")
            self.assertEqual(sorted(await both), [b"one", b"two"])
            first.close()
            second.close()

        run(main())

    def test_a_reader_and_a_receive_of_one_fd(self):
        async def main():
            loop = asyncio.get_running_loop()
            first, second = sockets()
            called = []
            loop.call_later(0.01, second.send, b"x")
            self.assertEqual(await loop.sock_recv(first, 1), b"x")
            loop.add_reader(first, lambda: called.append(first.recv(1)))
            second.send(b"y")
            while not called:
                await asyncio.sleep(0.001)
            loop.remove_reader(first)
            loop.call_later(0.01, second.send, b"z")
            self.assertEqual(await loop.sock_recv(first, 1), b"z")
            self.assertEqual(called, [b"y"])
            first.close()
            second.close()

        run(main())


class Datagrams(unittest.TestCase):
    def test_a_peer_without_a_name_is_sent_to(self):
        async def main():
            ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
            theirs.settimeout(LIMIT)
            transport, _ = await asyncio.get_running_loop().create_datagram_endpoint(
                asyncio.DatagramProtocol, sock=ours)
            transport.sendto(b"hello")
            self.assertEqual(theirs.recv(10), b"hello")
            transport.close()
            theirs.close()
            await asyncio.sleep(0)

        run(main())


class Process(unittest.TestCase):
    def test_a_signal_ends_the_wait(self):
        loop = weir.asyncio.EventLoop()
        timer = threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGINT))
        timer.start()
        began = time.monotonic()
        with self.assertRaises(KeyboardInterrupt):
            loop.run_forever()
        self.assertLess(time.monotonic() - began, LIMIT)
        timer.join()
        loop.close()
        self.assertEqual(signal.set_wakeup_fd(-1), -1)

    @unittest.skipUnless(hasattr(abi, "WEIR_CONTEXT_INTERRUPTIBLE"), "this libweir goes on waiting at signals")
    def test_a_signal_ends_the_wait_of_a_program_with_a_wakeup_fd(self):
        loop = weir.asyncio.EventLoop()
        first, second = sockets()
        second.setblocking(False)
        self.assertEqual(signal.set_wakeup_fd(second.fileno()), -1)
        called = []
        before = signal.signal(signal.SIGUSR1, lambda number, frame: called.append(number))
        loop.call_later(LIMIT, loop.stop)
        # To this thread: it is the one that waits.
        timer = threading.Timer(0.2, signal.pthread_kill, (threading.get_ident(), signal.SIGUSR1))

        def stop_when_called():
            while not called:
                time.sleep(0.01)
            loop.call_soon_threadsafe(loop.stop)

        waiter = threading.Thread(target=stop_when_called)
        timer.start()
        waiter.start()
        began = time.monotonic()
        loop.run_forever()
        self.assertLess(time.monotonic() - began, LIMIT / 2)
        timer.join()
        waiter.join()
        self.assertEqual(signal.set_wakeup_fd(-1), second.fileno())
        signal.signal(signal.SIGUSR1, before)
        first.close()
        second.close()
        loop.close()

    def test_a_child_leaves_the_loop_of_its_parent_alone(self):
        async def main():
            loop = asyncio.get_running_loop()
            first, second = socket.socketpair()
            first.setblocking(False)
            heard = loop.create_future()
            loop.add_reader(first, lambda: heard.done() or heard.set_result(first.recv(10)))
            child = os.fork()
            if child == 0:
                try:
                    loop.remove_reader(first)
                    loop.remove_reader(loop._ssock)
                finally:
                    os._exit(0)
            os.waitpid(child, 0)
            loop.call_later(0.05, second.send, b"heard")
            self.assertEqual(await heard, b"heard")
            loop.remove_reader(first)
            # The pipe to itself, by which other threads wake it, is watched as well.
            woken = loop.create_future()
            threading.Timer(0.05, loop.call_soon_threadsafe, (woken.set_result, None)).start()
            await woken
            first.close()
            second.close()

        run(main())

    def test_timers_are_not_early_and_in_order(self):
        async def main():
            loop = asyncio.get_running_loop()
            fired = []
            for number in range(200):
                after = (number * 37 % 200) / 4000
                due = loop.time() + after
                loop.call_at(due, lambda due=due: fired.append((due, loop.time())))
            while len(fired) < 200:
                await asyncio.sleep(0.01)
            for due, when in fired:
                self.assertGreaterEqual(when + 1e-6, due)
            self.assertEqual([due for due, _ in fired], sorted(due for due, _ in fired))

        run(main())


if __name__ == "__main__":
    unittest.main()
