"""The datagram transport of weir.asyncio. What it does is compared with what asyncio's own loop does."""

import asyncio
import contextvars
import gc
import os
import socket
import tempfile
import threading
import unittest

from weir._address import pack
from weir.asyncio import EventLoop
from weir.asyncio.datagram import Addresses

LIMIT = 20


class Recorder(asyncio.DatagramProtocol):
    """Keeps the calls in their order, and lets a test wait for them."""

    def __init__(self):
        self.calls = []
        self.changed = asyncio.Event()

    def note(self, *call):
        self.calls.append(call)
        self.changed.set()

    def connection_made(self, transport):
        self.transport = transport

    def datagram_received(self, data, addr):
        self.note("data", data, addr)

    def error_received(self, exc):
        self.note("error", type(exc), exc.errno)

    def pause_writing(self):
        self.note("pause")

    def resume_writing(self):
        self.note("resume")

    def connection_lost(self, exc):
        self.note("lost", exc)

    async def wait(self, number):
        """Until there are so many calls."""
        async def wait():
            while len(self.calls) < number:
                self.changed.clear()
                await self.changed.wait()
        await asyncio.wait_for(wait(), LIMIT)
        return self.calls


class Upper(socket.socket):
    """A socket with functions of its own, which both loops call."""

    def recvfrom(self, *args):
        data, address = super().recvfrom(*args)
        return data.upper(), address

    def sendto(self, data, address):
        return super().sendto(data.upper(), address)


class Chokes:
    """Has a transport meet sockets that have no room to send for a while."""

    def __init__(self, transport, sock):
        self.refusals = 0
        self.sock = sock
        transport._sock = self

    def __getattr__(self, name):
        return getattr(self.sock, name)

    def sendto(self, *args):
        if self.refusals:
            self.refusals -= 1
            raise BlockingIOError
        return self.sock.sendto(*args)


def peer(family=socket.AF_INET):
    sock = socket.socket(family, socket.SOCK_DGRAM)
    sock.bind(("127.0.0.1" if family == socket.AF_INET else "::1", 0))
    sock.settimeout(LIMIT)
    return sock


def address_of(transport):
    return transport.get_extra_info("sockname")


async def turns(number=5):
    for _ in range(number):
        await asyncio.sleep(0)


async def endpoint(factory=Recorder, local=("127.0.0.1", 0), **more):
    return await asyncio.get_running_loop().create_datagram_endpoint(factory, local, **more)


class Compared(unittest.TestCase):
    """Each scenario gives the same on both loops."""

    def both(self, scenario):
        results = []
        for factory in (asyncio.SelectorEventLoop, EventLoop):
            loop = factory()
            reports = []
            loop.set_exception_handler(lambda loop, context: reports.append(type(context["exception"])))
            try:
                results.append((loop.run_until_complete(asyncio.wait_for(scenario(), LIMIT)), reports))
            finally:
                loop.close()
        self.assertEqual(results[1], results[0])
        return results[1]

    def test_data_and_addresses(self):
        for family, local in ((socket.AF_INET, ("127.0.0.1", 0)), (socket.AF_INET6, ("::1", 0))):
            async def scenario():
                transport, protocol = await endpoint(local=local)
                with peer(family) as sender:
                    # An empty one is a datagram too, and the longest that there is comes whole.
                    for data in (b"one", b"", bytes(range(256)) * 255, b"x" * 65507):
                        sender.sendto(data, address_of(transport))
                    calls = await protocol.wait(4)
                    self.assertEqual({call[2] for call in calls}, {sender.getsockname()})
                    transport.sendto(b"back", calls[0][2])
                    answer = sender.recvfrom(10)
                    self.assertEqual(answer[1], address_of(transport))
                    transport.close()
                    calls = await protocol.wait(5)
                return [call[:2] for call in calls], answer[0]
            with self.subTest(family=family):
                self.both(scenario)

    def test_a_peer_that_is_gone_is_told_each_time_and_its_return_is_heard(self):
        async def scenario():
            with peer() as gone:
                address = gone.getsockname()
            transport, protocol = await endpoint(local=None, remote_addr=address)
            for number in (1, 2):
                transport.sendto(b"hello?")
                await protocol.wait(number)
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as back:
                back.settimeout(LIMIT)
                back.bind(address)
                transport.sendto(b"hello!", address)
                data, where = back.recvfrom(10)
                back.sendto(b"yes", where)
                calls = await protocol.wait(3)
                self.assertEqual(calls[2][2], address)
                with self.assertRaises(ValueError):
                    transport.sendto(b"elsewhere", ("127.0.0.1", 9))
            transport.abort()
            await protocol.wait(4)
            return [call[:2] for call in calls], data

        self.both(scenario)

    def test_what_is_no_address_and_what_is_no_data(self):
        async def scenario():
            transport, protocol = await endpoint()
            with self.assertRaises(TypeError):
                transport.sendto("text", ("127.0.0.1", 9))
            transport.sendto(b"x" * 70000, ("127.0.0.1", 9))  # EMSGSIZE
            transport.sendto(bytearray(b"y") * 70000, ("127.0.0.1", 9))
            transport.sendto(b"x", ("127.0.0.1", "no port"))  # Ends it.
            await protocol.wait(3)
            transport.sendto(b"too late", ("127.0.0.1", 9)) if transport._sock else None
            return [call[0] for call in protocol.calls], transport.is_closing()

        self.both(scenario)

    def test_a_protocol_that_raises_keeps_its_transport(self):
        class Raising(Recorder):
            def datagram_received(self, data, addr):
                super().datagram_received(data, None)
                raise ZeroDivisionError

            def error_received(self, exc):
                super().error_received(exc)
                raise KeyError

        async def scenario():
            with peer() as gone:
                address = gone.getsockname()
            transport, protocol = await endpoint(Raising, None, remote_addr=address)
            transport.sendto(b"hello?")
            await protocol.wait(1)
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as back:
                back.bind(address)
                for data in (b"1", b"2", b"3"):
                    back.sendto(data, address_of(transport))
                await protocol.wait(4)
            await turns()
            transport.close()
            return (await protocol.wait(5))[:]

        _, reports = self.both(scenario)
        self.assertEqual(reports, [KeyError] + [ZeroDivisionError] * 3)

    def test_nothing_comes_after_close(self):
        class Closing(Recorder):
            def datagram_received(self, data, addr):
                super().datagram_received(data, None)
                if data == b"2":
                    self.transport.close()

        async def scenario():
            transport, protocol = await endpoint(Closing)
            with peer() as sender:
                for number in range(10):
                    sender.sendto(b"%d" % number, address_of(transport))
                await protocol.wait(4)
                await turns()
            return protocol.calls

        self.both(scenario)

    def test_flow_control_and_close_with_data_pending(self):
        async def scenario(ending="close"):
            with peer() as receiver:
                transport, protocol = await endpoint()
                sock = Chokes(transport, transport._sock)
                transport.set_write_buffer_limits(high=2000, low=1000)
                sock.refusals = 3
                for number in range(6):
                    transport.sendto(b"%0500d" % number, receiver.getsockname())
                waiting = transport.get_write_buffer_size()
                await protocol.wait(2)
                sent = [receiver.recv(1000) for _ in range(6)]
                sock.refusals = 2
                transport.sendto(b"the last", receiver.getsockname())
                getattr(transport, ending)()
                await protocol.wait(3)
                if ending == "close":
                    sent.append(receiver.recv(100))
                receiver.setblocking(False)
                with self.assertRaises(BlockingIOError):
                    receiver.recv(100)
                return waiting, sent, protocol.calls

        self.both(scenario)
        self.both(lambda: scenario("abort"))

    def test_no_room_again_as_soon_as_there_was_room(self):
        async def scenario():
            with peer() as receiver:
                transport, protocol = await endpoint()
                sock = Chokes(transport, transport._sock)
                loop = asyncio.get_running_loop()
                sent = []

                def every_turn():
                    # In the turn in which it has drained.
                    if not transport._buffer and len(sent) < 10:
                        sock.refusals = 2
                        sent.append(b"%d" % len(sent))
                        transport.sendto(sent[-1], receiver.getsockname())
                    if len(sent) == 10:
                        loop.remove_reader(always)
                        transport.close()

                always, writer = os.pipe()
                os.write(writer, b"x")
                loop.add_reader(always, every_turn)
                await protocol.wait(1)
                os.close(always)
                os.close(writer)
                return sent, [receiver.recv(100) for _ in sent], protocol.calls

        self.both(scenario)

    @unittest.skipUnless("pause_reading" in vars(asyncio.selector_events._SelectorTransport),
                         "asyncio of this version cannot pause datagrams")
    def test_a_pause_loses_nothing_and_keeps_the_order(self):
        async def scenario():
            transport, protocol = await endpoint()
            sent = [b"%d" % number for number in range(30)]
            with peer() as sender:
                for number, data in enumerate(sent):
                    if number % 3 == 0:
                        transport.pause_reading()
                        transport.pause_reading()
                    sender.sendto(data, address_of(transport))
                    if number % 3 == 1:
                        await turns()
                    if number % 3 == 2:
                        transport.resume_reading()
                        transport.resume_reading()
                        await turns(number % 4)
                calls = await protocol.wait(30)
                transport.pause_reading()
                reading = transport.is_reading()
                sender.sendto(b"not now", address_of(transport))
                await asyncio.sleep(0.05)
                transport.close()
                await protocol.wait(31)
            return [call[:2] for call in calls], reading

        self.both(scenario)

    def test_callbacks_run_in_the_context_of_the_endpoint(self):
        variable = contextvars.ContextVar("variable", default="none")

        class Contextual(Recorder):
            def datagram_received(self, data, addr):
                self.note(data, variable.get())

        async def scenario():
            variable.set("the endpoint's")
            transport, protocol = await endpoint(Contextual)
            variable.set("another")
            with peer() as sender:
                sender.sendto(b"x", address_of(transport))
                await protocol.wait(1)
            transport.close()
            return (await protocol.wait(2))[0]

        self.both(scenario)

    def test_another_protocol_takes_over(self):
        async def scenario():
            transport, first = await endpoint()
            with peer() as sender:
                sender.sendto(b"first", address_of(transport))
                await first.wait(1)
                second = Recorder()
                transport.set_protocol(second)
                sender.sendto(b"second", address_of(transport))
                await second.wait(1)
            transport.close()
            await second.wait(2)
            return first.calls[0][:2], second.calls[0][:2], len(first.calls)

        self.both(scenario)

    def test_sockets_with_functions_of_their_own(self):
        async def scenario():
            with peer() as sender:
                sock = Upper(socket.AF_INET, socket.SOCK_DGRAM)
                sock.bind(("127.0.0.1", 0))
                transport, protocol = await endpoint(local=None, sock=sock)
                sender.sendto(b"in", address_of(transport))
                calls = await protocol.wait(1)
                transport.sendto(b"out", sender.getsockname())
                transport.close()
                await protocol.wait(2)
                return calls[0][1], sender.recv(10)

        self.both(scenario)

    def test_unix_sockets(self):
        async def scenario():
            with tempfile.TemporaryDirectory() as folder:
                path = os.path.join(folder, "here")
                transport, protocol = await endpoint(local=path, family=socket.AF_UNIX)
                with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
                    sender.connect(path)
                    sender.send(b"no name")
                    sender.send(b"x" * 100_000)  # More than a buffer of the pool holds.
                    calls = await protocol.wait(2)
                transport.close()
                return (await protocol.wait(3))[:2]

        self.both(scenario)


class Ours(unittest.TestCase):
    def run_it(self, coroutine):
        loop = EventLoop()
        try:
            return loop.run_until_complete(asyncio.wait_for(coroutine, LIMIT))
        finally:
            loop.close()

    def test_more_than_the_pool_holds(self):
        async def main():
            transport, protocol = await endpoint()
            with peer() as sender:
                for _ in range(3):
                    for number in range(150):
                        sender.sendto(b"%d" % number, address_of(transport))
                    calls = await protocol.wait(150)
                    self.assertEqual([int(call[1]) for call in calls], list(range(150)))
                    calls.clear()
            transport.close()
            await protocol.wait(1)

        self.run_it(main())

    def test_buffers_that_nobody_wants_any_more_go_back_to_the_pool(self):
        class Ending(Recorder):
            def datagram_received(self, data, addr):
                super().datagram_received(data, addr)
                self.transport._end_receiving()  # The records of the others have come already.
                self.transport.abort()

        async def main():
            with peer() as sender:
                for _ in range(30):
                    transport, protocol = await endpoint(Ending)
                    for _ in range(10):
                        sender.sendto(b"x", address_of(transport))
                    await protocol.wait(2)
                drain, batches = asyncio.get_running_loop()._drain, []
                serve = drain.serve

                def counting():
                    records = list(drain.records)
                    batches.append(len(records))
                    drain.records = iter(records)
                    serve()

                transport, protocol = await endpoint()
                for _ in range(10):
                    sender.sendto(b"heard", address_of(transport))
                drain.serve = counting
                await protocol.wait(10)
                del drain.serve
                # With one buffer left they would come one by one.
                self.assertGreaterEqual(max(batches), 5)
                transport.close()

        self.run_it(main())

    def test_beside_other_threads(self):
        ended = threading.Event()
        thread = threading.Thread(target=ended.wait)
        thread.start()
        try:
            for test in (Compared.test_data_and_addresses,
                         Compared.test_a_peer_that_is_gone_is_told_each_time_and_its_return_is_heard,
                         Compared.test_what_is_no_address_and_what_is_no_data):
                test(Compared())
        finally:
            ended.set()
            thread.join()

    def test_addresses_that_only_the_socket_knows(self):
        async def main():
            transport, protocol = await endpoint()
            mapped, _ = await endpoint(local=("::", 0), family=socket.AF_INET6)
            with peer() as sender:
                port = sender.getsockname()[1]
                transport.sendto(b"by name", ("localhost", port))
                self.assertEqual(sender.recv(100), b"by name")
                mapped.sendto(b"mapped", ("::ffff:127.0.0.1", port))
                self.assertEqual(sender.recv(100), b"mapped")
                mapped.sendto(b"mapped too", ("::ffff:127.0.0.1", port, 0, 0))
                self.assertEqual(sender.recv(100), b"mapped too")
            transport.close()
            mapped.close()
            await protocol.wait(1)

        ended = threading.Event()
        thread = threading.Thread(target=ended.wait)
        self.run_it(main())
        thread.start()
        try:
            self.run_it(main())
        finally:
            ended.set()
            thread.join()

    def test_a_transport_that_was_forgotten_says_so_and_its_socket_is_closed(self):
        loop = EventLoop()
        transport = loop.run_until_complete(loop.create_datagram_endpoint(Recorder, ("127.0.0.1", 0)))[0]
        fd = transport.get_extra_info("socket").fileno()
        loop.run_until_complete(asyncio.sleep(0))
        loop.close()
        os.fstat(fd)  # The loop leaves it open.
        with self.assertWarns(ResourceWarning):
            del transport
            gc.collect()
        with self.assertRaises(OSError):
            os.fstat(fd)

    def test_the_scope_of_an_address(self):
        drain = EventLoop()
        try:
            addresses = Addresses(drain._drain)
            raw = pack(("fe80::1", 7, 5, 3))
            addresses._function = lambda *_: 0
            addresses._storage[:len(raw)] = raw
            addresses._length.value = len(raw)
            self.assertEqual(addresses.of(0, 28), ("fe80::1", 7, 5, 3))
            addresses._length.value = 0
            self.assertEqual(addresses.of(0, 28), ("fe80::1", 7, 5, 3))
        finally:
            drain.close()


if __name__ == "__main__":
    unittest.main()
