"""ecosystem_programs.py NAME [ADDRESS]: a program from PyPI at work on the loop of weir.asyncio. See ecosystem.py."""

import asyncio
import sys

import weir.asyncio

PAYLOAD = bytes(range(256)) * 1024  # 256 KiB


def ours():
    loop = asyncio.get_running_loop()
    assert isinstance(loop, weir.asyncio.EventLoop), loop


async def aiohttp_():
    from aiohttp import ClientSession, WSMsgType, web
    ours()

    async def echo(request):
        return web.Response(body=await request.read())

    async def stream(request):
        response = web.StreamResponse()
        await response.prepare(request)
        for number in range(200):
            await response.write(b"%06d" % number * 200)
        return response

    async def socket(request):
        ws = web.WebSocketResponse()
        await ws.prepare(request)
        async for message in ws:
            if message.type == WSMsgType.TEXT:
                await ws.send_str(message.data[::-1])
        return ws

    app = web.Application(client_max_size=2 ** 24)
    app.router.add_post("/echo", echo)
    app.router.add_get("/stream", stream)
    app.router.add_get("/socket", socket)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    port = site._server.sockets[0].getsockname()[1]
    url = f"http://127.0.0.1:{port}"
    async with ClientSession() as session:
        async def one(number):
            body = PAYLOAD[number:]
            async with session.post(url + "/echo", data=body) as response:
                assert await response.read() == body
        await asyncio.gather(*(one(number) for number in range(60)))
        async with session.get(url + "/stream") as response:
            assert await response.read() == b"".join(b"%06d" % n * 200 for n in range(200))
        async with session.ws_connect(url + "/socket") as ws:
            for number in range(50):
                await ws.send_str(f"text {number}")
                assert (await ws.receive()).data == f"text {number}"[::-1]
    await runner.cleanup()


async def httpx_():
    import httpx
    import uvicorn
    ours()
    config = uvicorn.Config(application, port=0, log_level="error", loop="none", lifespan="off")
    server = uvicorn.Server(config)
    task = asyncio.ensure_future(server.serve())
    while not server.started:
        await asyncio.sleep(0.01)
    port = server.servers[0].sockets[0].getsockname()[1]
    async with httpx.AsyncClient(timeout=30) as client:
        async def one(number):
            reply = await client.post(f"http://127.0.0.1:{port}/", content=PAYLOAD[number:])
            assert reply.content == PAYLOAD[number:]
        await asyncio.gather(*(one(number) for number in range(30)))
    server.should_exit = True
    await task


async def application(scope, receive, send):
    """An ASGI application that sends back what it gets."""
    body, more = b"", True
    while more:
        message = await receive()
        body += message.get("body", b"")
        more = message.get("more_body", False)
    await send({"type": "http.response.start", "status": 200,
                "headers": [(b"content-length", str(len(body)).encode())]})
    await send({"type": "http.response.body", "body": body})


async def anyio_():
    import anyio
    from anyio.streams.memory import MemoryObjectSendStream  # noqa: F401
    ours()
    seen = []

    async def handle(client):
        async with client:
            async for chunk in client:
                await client.send(chunk)

    listener = await anyio.create_tcp_listener(local_host="127.0.0.1")
    port = listener.extra(anyio.abc.SocketAttribute.local_port)
    async with anyio.create_task_group() as group:
        group.start_soon(listener.serve, handle)

        async def one():
            async with await anyio.connect_tcp("127.0.0.1", port) as stream:
                async with anyio.create_task_group() as inner:
                    inner.start_soon(stream.send, PAYLOAD)
                    got = b""
                    while len(got) < len(PAYLOAD):
                        got += await stream.receive()
                assert got == PAYLOAD
                seen.append(1)

        async with anyio.create_task_group() as clients:
            for _ in range(20):
                clients.start_soon(one)
        with anyio.move_on_after(0.05) as scope:
            await anyio.sleep(30)
        assert scope.cancelled_caught
        assert await anyio.to_thread.run_sync(lambda: 42) == 42
        result = await anyio.run_process(["cat"], input=PAYLOAD)
        assert result.stdout == PAYLOAD
        group.cancel_scope.cancel()
    assert len(seen) == 20


async def redis_(address):
    import redis.asyncio
    ours()
    client = redis.asyncio.Redis(unix_socket_path=address)
    await client.set("key", PAYLOAD)
    assert await client.get("key") == PAYLOAD
    async with client.pipeline() as pipe:
        for number in range(1000):
            pipe.incrby("sum", number)
        assert (await pipe.execute())[-1] == sum(range(1000))
    assert all(await asyncio.gather(*(client.set(f"k{n}", n) for n in range(100))))
    listener = client.pubsub()
    await listener.subscribe("channel")
    for number in range(50):
        await client.publish("channel", str(number))
    got = []
    async for message in listener.listen():
        if message["type"] == "message":
            got.append(int(message["data"]))
            if len(got) == 50:
                break
    assert got == list(range(50))
    await listener.aclose()
    await client.aclose()


async def asyncpg_(address):
    import asyncpg
    ours()
    pool = await asyncpg.create_pool(host=address, user="postgres", database="postgres", min_size=2, max_size=8)
    await pool.execute("create table numbers (n int, body bytea)")
    async with pool.acquire() as connection:
        async with connection.transaction():
            await connection.executemany("insert into numbers values ($1, $2)",
                                         [(n, PAYLOAD[:n * 10]) for n in range(500)])

    async def one(number):
        row = await pool.fetchrow("select * from numbers where n = $1", number)
        assert row["body"] == PAYLOAD[:number * 10]

    await asyncio.gather(*(one(number) for number in range(500)))
    try:
        await asyncio.wait_for(pool.execute("select pg_sleep(30)"), 0.2)
        raise AssertionError("no time-out")
    except asyncio.TimeoutError:
        pass
    assert await pool.fetchval("select count(*) from numbers") == 500
    await pool.close()


async def websockets_():
    from websockets.asyncio.client import connect
    from websockets.asyncio.server import serve
    ours()

    async def echo(ws):
        async for message in ws:
            await ws.send(message)

    async with serve(echo, "127.0.0.1", 0, max_size=None) as server:
        port = server.sockets[0].getsockname()[1]

        async def one(number):
            async with connect(f"ws://127.0.0.1:{port}", max_size=None) as ws:
                for size in (1, 1000, 100000):
                    await ws.send(PAYLOAD[number:number + size])
                    assert await ws.recv() == PAYLOAD[number:number + size]
        await asyncio.gather(*(one(number) for number in range(30)))


if __name__ == "__main__":
    name, *arguments = sys.argv[1:]
    weir.asyncio.run(asyncio.wait_for(globals()[name + "_"](*arguments), 60))
    print(name, "ok")
