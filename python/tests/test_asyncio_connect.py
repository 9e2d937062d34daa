"""Servers, connects and sock_* of weir.asyncio: what they do is compared with what asyncio's own loop does."""

import asyncio
import errno
import gc
import os
import resource
import socket
import tempfile
import unittest
import warnings
from asyncio import constants
from unittest import mock

from weir.asyncio import EventLoop

LIMIT = 20


async def turns(number=5):
    for _ in range(number):
        await asyncio.sleep(0)


class Recorder(asyncio.Protocol):
    """Notes what it is told, in the list of its maker."""

    def __init__(self, calls, changed):
        self.calls, self.changed = calls, changed

    def note(self, *call):
        self.calls.append(call)
        self.changed.set()

    def connection_made(self, transport):
        self.transport = transport
        self.note("made")

    def data_received(self, data):
        self.note("data", data)
        self.transport.write(data)

    def connection_lost(self, exc):
        self.note("lost", type(exc))


class Log:
    def __init__(self):
        self.calls, self.changed = [], asyncio.Event()

    def protocol(self):
        return Recorder(self.calls, self.changed)

    async def wait(self, number):
        async def wait():
            while len(self.calls) < number:
                self.changed.clear()
                await self.changed.wait()
        await asyncio.wait_for(wait(), LIMIT)
        await turns()  # What was written is sent at the end of a turn.
        return self.calls


class Case(unittest.TestCase):
    def both(self, scenario, debug=False):
        """Gives what the scenario gives on our loop, which is what it gives on asyncio's."""
        results = []
        for factory in (asyncio.SelectorEventLoop, EventLoop):
            loop = factory()
            loop.set_debug(debug)
            reports = []
            # What a callback is called differs.
            loop.set_exception_handler(lambda loop, context: reports.append(
                (context["message"].split(" callback ")[0], type(context.get("exception")))))
            with warnings.catch_warnings():
                # What asyncio leaves to the collector of garbage is none of the matter.
                warnings.simplefilter("ignore", ResourceWarning)
                try:
                    results.append((loop.run_until_complete(asyncio.wait_for(scenario(), LIMIT)), reports))
                finally:
                    loop.close()
                    gc.collect()
        self.assertEqual(results[1], results[0])
        return results[1]


class Servers(Case):
    def test_a_socket_of_the_user_stays_where_it_was(self):
        async def scenario():
            listener = socket.create_server(("127.0.0.1", 0))
            listener.setblocking(False)
            log = Log()
            server = await asyncio.get_running_loop().create_server(log.protocol, sock=listener, start_serving=False)
            with socket.create_connection(listener.getsockname(), LIMIT) as early:
                await turns()
                before = list(log.calls)
                await server.start_serving()
                await log.wait(1)
                early.sendall(b"x")
                await log.wait(2)
                self.assertEqual(early.recv(1), b"x")
                server.close()
                closed = listener.fileno()
                with self.assertRaises(OSError):
                    socket.create_connection(early.getpeername(), LIMIT)
                early.sendall(b"y")  # What was accepted goes on.
                await log.wait(3)
            await log.wait(4)
            await server.wait_closed()
            return before, closed, server.is_serving(), log.calls

        self.both(scenario)

    def test_many_at_once(self):
        async def scenario():
            log = Log()
            loop = asyncio.get_running_loop()
            server = await loop.create_server(log.protocol, "127.0.0.1", 0, backlog=50)
            address = server.sockets[0].getsockname()
            clients = [socket.create_connection(address, LIMIT) for _ in range(40)]
            await log.wait(40)
            for number, client in enumerate(clients):
                client.sendall(b"%d" % number)
            await log.wait(80)
            for number, client in enumerate(clients):
                self.assertEqual(client.recv(10), b"%d" % number)
                client.close()
            await log.wait(120)
            server.close()
            await server.wait_closed()
            return sorted(call[0] for call in log.calls)

        self.both(scenario)

    def test_a_server_that_is_closed_in_the_turn_of_an_accept(self):
        async def scenario():
            log = Log()
            loop = asyncio.get_running_loop()
            server = await loop.create_server(log.protocol, "127.0.0.1", 0)
            accept = socket.socket._accept
            closed = asyncio.Event()

            def accept_and_close(listener):
                result = accept(listener)
                loop.call_soon(server.close)
                loop.call_soon(closed.set)
                return result

            with mock.patch.object(socket.socket, "_accept", accept_and_close):
                with socket.create_connection(server.sockets[0].getsockname(), LIMIT) as client:
                    await asyncio.wait_for(closed.wait(), LIMIT)
                    await turns()
                    gc.collect()
                    data = client.recv(1)  # Its server was gone: it was closed.
            return data, log.calls, server.is_serving()

        self.both(scenario)

    def test_no_fd_left(self):
        async def scenario():
            log = Log()
            loop = asyncio.get_running_loop()
            told = asyncio.Event()
            reports = []

            def handler(_, context):
                reports.append((context["message"], context["exception"].errno))
                told.set()

            loop.set_exception_handler(handler)
            server = await loop.create_server(log.protocol, "127.0.0.1", 0, backlog=1)
            client = socket.socket()
            limits = resource.getrlimit(resource.RLIMIT_NOFILE)
            highest = max(map(int, os.listdir("/proc/self/fd")))
            fillers = []
            resource.setrlimit(resource.RLIMIT_NOFILE, (highest + 8, limits[1]))
            try:
                with self.assertRaises(OSError):
                    while True:
                        fillers.append(os.dup(0))
                with mock.patch.object(constants, "ACCEPT_RETRY_DELAY", 0.2):
                    client.connect(server.sockets[0].getsockname())
                    await asyncio.wait_for(told.wait(), LIMIT)
                    await turns(20)  # It does not try again in each.
            finally:
                for fd in fillers:
                    os.close(fd)
                resource.setrlimit(resource.RLIMIT_NOFILE, limits)
            count = len(log.calls)
            await log.wait(1)
            client.close()
            await log.wait(2)
            server.close()
            await server.wait_closed()
            return count, reports, log.calls

        result, _ = self.both(scenario)
        self.assertEqual(result[1], [("socket.accept() out of system resource", errno.EMFILE)])

    def test_a_server_that_is_closed_while_it_waits_for_fds(self):
        async def scenario():
            loop = asyncio.get_running_loop()
            server = await loop.create_server(asyncio.Protocol, "127.0.0.1", 0, backlog=1)
            listener = server.sockets[0]._sock
            loop.set_exception_handler(lambda *_: None)
            reports = []
            with mock.patch.object(constants, "ACCEPT_RETRY_DELAY", 0.01):
                with mock.patch.object(socket.socket, "_accept", side_effect=OSError(errno.EMFILE, "none left")):
                    client = socket.create_connection(listener.getsockname(), LIMIT)
                    await asyncio.sleep(0.005)
                loop.set_exception_handler(lambda _, context: reports.append(context))
                server.close()
                await asyncio.sleep(0.05)
            client.close()
            return reports if isinstance(loop, EventLoop) else []

        self.both(scenario)

    def test_a_factory_that_raises_is_told_in_debug_mode(self):
        async def scenario():
            count = 0

            def factory():
                nonlocal count
                count += 1
                if count == 1:
                    raise ZeroDivisionError
                return log.protocol()

            log = Log()
            server = await asyncio.get_running_loop().create_server(factory, "127.0.0.1", 0)
            address = server.sockets[0].getsockname()
            for _ in range(2):
                with socket.create_connection(address, LIMIT) as client:
                    await turns()
                    client.setblocking(False)
            await log.wait(2)
            server.close()
            await server.wait_closed()
            return log.calls

        self.assertEqual(self.both(scenario)[1], [])
        self.assertEqual(self.both(scenario, debug=True)[1],
                         [("Error on transport creation for incoming connection", ZeroDivisionError)])

    def test_connection_made_that_raises(self):
        class Raising(Recorder):
            def connection_made(self, transport):
                super().connection_made(transport)
                raise ZeroDivisionError

        async def scenario():
            log = Log()
            loop = asyncio.get_running_loop()
            server = await loop.create_server(lambda: Raising(log.calls, log.changed), "127.0.0.1", 0)
            with socket.create_connection(server.sockets[0].getsockname(), LIMIT) as client:
                client.sendall(b"read all the same")
                await log.wait(2)
            await log.wait(3)
            server.close()
            await server.wait_closed()
            return log.calls

        _, reports = self.both(lambda: scenario())
        self.assertEqual([kind for _, kind in reports], [ZeroDivisionError])


class Connects(Case):
    def test_who_listens_and_who_does_not(self):
        async def scenario():
            loop = asyncio.get_running_loop()
            results = []
            for family, host in ((socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")):
                log = Log()
                server = await loop.create_server(asyncio.Protocol, host, 0)
                address = server.sockets[0].getsockname()
                transport, protocol = await loop.create_connection(log.protocol, host, address[1])
                sock = transport.get_extra_info("socket")
                results.append((sock.family, sock.type, sock.proto, log.calls[:],
                                transport.get_extra_info("peername") == address,
                                transport.get_extra_info("sockname") == sock.getsockname()))
                transport.abort()
                await log.wait(2)
                server.close()
                await server.wait_closed()
                for connect in (loop.create_connection(log.protocol, host, address[1]),
                                loop.create_connection(log.protocol, host, str(address[1]))):
                    with self.assertRaises(OSError) as caught:
                        await connect
                    results.append((type(caught.exception), caught.exception.errno,
                                    str(caught.exception).replace(str(address[1]), "PORT")))
                with socket.socket(family) as sock:
                    sock.setblocking(False)
                    with self.assertRaises(ConnectionRefusedError) as caught:
                        await loop.sock_connect(sock, address)
                    results.append(str(caught.exception).replace(str(address[1]), "PORT"))
            with self.assertRaises(OverflowError):
                await loop.create_connection(log.protocol, "127.0.0.1", 70000)
            return results

        self.both(scenario)

    def test_a_factory_that_raises(self):
        async def scenario():
            loop = asyncio.get_running_loop()
            with socket.create_server(("127.0.0.1", 0)) as listener:
                with self.assertRaises(ZeroDivisionError):
                    await loop.create_connection(lambda: 1 // 0, *listener.getsockname())

        self.both(scenario)

    def test_ways_to_write_an_address(self):
        async def scenario():
            loop = asyncio.get_running_loop()
            results = []
            with socket.create_server(("127.0.0.1", 0)) as listener:
                port = listener.getsockname()[1]
                for address in (("127.0.0.1", port), ("127.0.0.1", str(port)), ("localhost", port), ("", port),
                                ["127.0.0.1", port], ("127.0.0.1",), ("127.0.0.1", None), "127.0.0.1", ()):
                    with socket.socket() as sock:
                        sock.setblocking(False)
                        try:
                            await loop.sock_connect(sock, address)
                            results.append(sock.getpeername() == listener.getsockname())
                        except Exception as exc:
                            results.append(type(exc))
            return results

        self.both(scenario)

    def test_unix_sockets(self):
        async def scenario():
            loop = asyncio.get_running_loop()
            with tempfile.TemporaryDirectory() as folder, socket.socket(socket.AF_UNIX) as sock:
                path = os.path.join(folder, "here")
                sock.setblocking(False)
                with self.assertRaises(FileNotFoundError):
                    await loop.sock_connect(sock, path)
                log = Log()
                server = await loop.create_unix_server(log.protocol, path)
                await loop.sock_connect(sock, path)
                await loop.sock_sendall(sock, b"x")
                data = await loop.sock_recv(sock, 10)
                server.close()
                sock.close()
                await log.wait(3)
                return data, log.calls

        self.both(scenario)

    def full_listener(self):
        """Takes no more connections until one is accepted: a connect to it waits."""
        listener = socket.socket()
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        fillers = []
        for _ in range(4):
            filler = socket.socket()
            filler.setblocking(False)
            filler.connect_ex(listener.getsockname())
            fillers.append(filler)
        return listener, fillers

    def test_a_connect_that_waits_and_one_that_is_cancelled(self):
        async def scenario():
            loop = asyncio.get_running_loop()
            listener, fillers = self.full_listener()
            first, second = socket.socket(), socket.socket()
            with listener, first, second:
                for sock in (first, second):
                    sock.setblocking(False)
                connects = [loop.create_task(loop.sock_connect(sock, listener.getsockname()))
                            for sock in (first, second)]
                await asyncio.sleep(0.05)
                waited = not any(connect.done() for connect in connects)
                connects[1].cancel()
                with self.assertRaises(asyncio.CancelledError):
                    await connects[1]
                listener.settimeout(LIMIT)
                for filler in fillers:
                    filler.close()
                # Now there is room; the kernel asks again within seconds.
                accepting = loop.run_in_executor(None, listener.accept)
                while not connects[0].done():
                    done, _ = await asyncio.wait([connects[0], accepting], return_when=asyncio.FIRST_COMPLETED)
                    if accepting in done:
                        accepting.result()[0].close()
                        if connects[0].done():
                            break
                        accepting = loop.run_in_executor(None, listener.accept)
                await connects[0]
                # The fd that was waited for is as good as any other.
                ours, theirs = socket.socketpair()
                with ours, theirs:
                    os.dup2(ours.fileno(), second.fileno())
                    second.setblocking(False)
                    receiving = loop.create_task(loop.sock_recv(second, 10))
                    await turns()
                    theirs.send(b"x")
                    data = await receiving
                if not accepting.done():
                    # Ends the wait of the executor.
                    socket.create_connection(listener.getsockname(), LIMIT).close()
                    (await accepting)[0].close()
                return waited, first.getpeername() == listener.getsockname(), data

        result, _ = self.both(scenario)
        self.assertEqual(result, (True, True, b"x"))


class Socks(Case):
    def test_more_than_there_is_room_for(self):
        async def scenario():
            loop = asyncio.get_running_loop()
            data = os.urandom(65536) * 40
            ours, theirs = socket.socketpair()
            with ours, theirs:
                ours.setblocking(False)
                theirs.setblocking(False)
                for sent in (data, bytearray(data), memoryview(data)):
                    sending = loop.create_task(loop.sock_sendall(ours, sent))
                    await turns()
                    self.assertFalse(sending.done())
                    # The other way meanwhile.
                    receiving = loop.create_task(loop.sock_recv(ours, 10))
                    await loop.sock_sendall(theirs, b"back")
                    self.assertEqual(await receiving, b"back")
                    got = bytearray()
                    while len(got) < len(data):
                        got += await loop.sock_recv(theirs, 100_000)
                    await sending
                    self.assertEqual(got, data)
                # Who is gone is told to the one who waits.
                sending = loop.create_task(loop.sock_sendall(ours, data))
                await turns()
                theirs.close()
                with self.assertRaises(BrokenPipeError):
                    await sending

        self.both(scenario)

    def test_a_cancelled_send_leaves_the_socket_usable(self):
        async def scenario():
            loop = asyncio.get_running_loop()
            ours, theirs = socket.socketpair()
            with ours, theirs:
                ours.setblocking(False)
                theirs.setblocking(False)
                sending = loop.create_task(loop.sock_sendall(ours, bytes(4_000_000)))
                await turns()
                sending.cancel()
                with self.assertRaises(asyncio.CancelledError):
                    await sending
                with self.assertRaises(BlockingIOError):
                    while True:
                        theirs.recv(100_000)
                await loop.sock_sendall(ours, b"again")
                return await loop.sock_recv(theirs, 100)

        self.both(scenario)

    @unittest.skipUnless(hasattr(asyncio.SelectorEventLoop, "sock_recvfrom"), "Python 3.11 has them")
    def test_datagrams(self):
        async def scenario():
            loop = asyncio.get_running_loop()
            with socket.socket(type=socket.SOCK_DGRAM) as one, socket.socket(type=socket.SOCK_DGRAM) as other:
                for sock in (one, other):
                    sock.setblocking(False)
                    sock.bind(("127.0.0.1", 0))
                receiving = loop.create_task(loop.sock_recvfrom(one, 100))
                await turns()
                count = await loop.sock_sendto(other, b"first", one.getsockname())
                data, address = await receiving
                self.assertEqual(address, other.getsockname())
                room = bytearray(100)
                await loop.sock_sendto(other, b"second", one.getsockname())
                got, address = await loop.sock_recvfrom_into(one, room)
                await loop.sock_sendto(other, b"third", one.getsockname())
                cut, _ = await loop.sock_recvfrom_into(one, room, 2)
                with self.assertRaises(ValueError):
                    await loop.sock_recvfrom_into(one, bytearray(1), 2)
                return count, data, got, bytes(room[:8]), cut

        self.both(scenario)


if __name__ == "__main__":
    unittest.main()
