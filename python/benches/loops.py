"""What is measured by bench_asyncio.py, in a process of its own: loops.py LOOP WORK.

LOOP is asyncio, asyncio64 (asyncio with a receive buffer of 64 KiB), uvloop or weir. An echo server prints its port
and then, for each line on its standard input, the seconds of CPU time that it has used, in user and in system mode.
Other work prints the seconds of CPU time of one operation.
"""

import asyncio
import os
import select
import signal
import socket
import struct
import sys
import threading
import time

CHUNK = 65536


def new_loop(name):
    if name == "weir":
        from weir.asyncio import EventLoop
        return EventLoop()
    if name == "uvloop":
        import uvloop
        return uvloop.new_event_loop()
    if name == "asyncio64":
        from asyncio import selector_events
        selector_events._SelectorTransport.max_size = CHUNK
    return asyncio.SelectorEventLoop()


class Echo(asyncio.Protocol):
    def connection_made(self, transport):
        self.transport = transport

    def data_received(self, data):
        self.transport.write(data)


class EchoDatagrams(asyncio.DatagramProtocol):
    def connection_made(self, transport):
        self.transport = transport

    def datagram_received(self, data, addr):
        self.transport.sendto(data, addr)


async def echo_streams(reader, writer):
    while True:
        data = await reader.read(CHUNK)
        if not data:
            break
        writer.write(data)
        await writer.drain()
    writer.close()


async def echo_sock(listener):
    loop = asyncio.get_running_loop()

    async def one(sock):
        with sock:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            while True:
                data = await loop.sock_recv(sock, CHUNK)
                if not data:
                    return
                await loop.sock_sendall(sock, data)

    tasks = set()
    while True:
        sock, _ = await loop.sock_accept(listener)
        task = loop.create_task(one(sock))
        tasks.add(task)
        task.add_done_callback(tasks.discard)


def busy():
    number = 0
    while True:
        number += 1


async def serve(work):
    loop = asyncio.get_running_loop()
    ended = asyncio.Event()
    context = None
    if work == "tls":
        import ssl
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(os.environ["BENCH_CERTIFICATE"])
    if work == "sock":
        listener = socket.create_server(("127.0.0.1", 0), backlog=200)
        listener.setblocking(False)
        address = listener.getsockname()
        keep = loop.create_task(echo_sock(listener))
    elif work.startswith("udp"):
        transport, _ = await loop.create_datagram_endpoint(EchoDatagrams, ("127.0.0.1", 0))
        address = transport.get_extra_info("sockname")
    elif work == "streams":
        server = await asyncio.start_server(echo_streams, "127.0.0.1", 0, backlog=200)
        address = server.sockets[0].getsockname()
    else:
        server = await loop.create_server(Echo, "127.0.0.1", 0, backlog=200, ssl=context)
        address = server.sockets[0].getsockname()
    if work.endswith("busy"):
        threading.Thread(target=busy, daemon=True).start()

    def asked():
        if sys.stdin.readline():
            used = os.times()
            print(used.user, used.system, flush=True)
        else:
            ended.set()

    loop.add_reader(sys.stdin.fileno(), asked)
    print(address[1], flush=True)
    await ended.wait()
    os._exit(0)


def answer_all(listener):
    """A peer for those who connect: answers until it is connected to no more."""
    poll, socks = select.epoll(), {}
    poll.register(listener, select.EPOLLIN)
    while True:
        for fd, _ in poll.poll():
            if fd == listener.fileno():
                sock, _ = listener.accept()
                socks[sock.fileno()] = sock
                poll.register(sock, select.EPOLLIN)
                continue
            try:
                data = socks[fd].recv(100)
            except ConnectionResetError:
                data = b""
            if data:
                socks[fd].send(data)
            else:
                socks.pop(fd).close()


class Connecting(asyncio.Protocol):
    def __init__(self):
        self.ended = asyncio.get_running_loop().create_future()

    def connection_made(self, transport):
        self.transport = transport
        # No connection is to wait for its end for minutes.
        transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        transport.write(b"x")

    def data_received(self, data):
        self.transport.abort()

    def connection_lost(self, exc):
        self.ended.set_result(None)


async def connect(work, listener):
    """Connections one after another, ten at a time."""
    loop = asyncio.get_running_loop()
    address = listener.getsockname()
    count = 5000

    async def with_protocol():
        for _ in range(count // 10):
            _, protocol = await loop.create_connection(Connecting, *address)
            await protocol.ended

    async def with_sock():
        for _ in range(count // 10):
            with socket.socket() as sock:
                sock.setblocking(False)
                await loop.sock_connect(sock, address)
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    begin = time.process_time()
    await asyncio.gather(*(with_sock() if work == "sock_connect" else with_protocol() for _ in range(10)))
    print((time.process_time() - begin) / count)


async def storm(work):
    loop = asyncio.get_running_loop()
    count = 100000
    done = loop.create_future()
    left = count

    def called():
        nonlocal left
        left -= 1
        if left == 0:
            done.set_result(None)
        elif work == "call_soon" and left >= 100:
            loop.call_soon(called)

    async def task():
        called()

    begin = time.process_time()
    if work == "call_soon":
        for _ in range(100):
            loop.call_soon(called)
    elif work == "call_later":
        for number in range(count):
            loop.call_later((number % 1000) * 1e-5, called)
    elif work == "create_task":
        for _ in range(count // 100):
            await asyncio.gather(*(task() for _ in range(100)))
    await done
    print((time.process_time() - begin) / count)


def main():
    work = sys.argv[2]
    if work in ("connect", "sock_connect"):
        listener = socket.create_server(("127.0.0.1", 0), backlog=200)
        peer = os.fork()  # Before there is a loop.
        if peer == 0:
            answer_all(listener)
        try:
            loop = new_loop(sys.argv[1])
            loop.run_until_complete(connect(work, listener))
        finally:
            os.kill(peer, signal.SIGKILL)
            os.waitpid(peer, 0)
        return
    loop = new_loop(sys.argv[1])
    asyncio.set_event_loop(loop)
    alone = work in ("call_soon", "call_later", "create_task")
    loop.run_until_complete(storm(work) if alone else serve(work))


if __name__ == "__main__":
    main()
