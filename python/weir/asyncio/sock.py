"""sock_recv and its like, on watches that are kept: the kernel is told once of a socket that is waited for often."""

import asyncio
import ctypes
import errno
import socket
from typing import Any, Dict, Optional, Tuple

try:
    import ssl
except ImportError:
    ssl = None  # type: ignore[assignment]

from .. import abi
from ..abi import lib
from .drain import Drain, check

_AGAIN = (BlockingIOError, InterruptedError)
_UNDER_WAY = (errno.EINPROGRESS, errno.EALREADY, errno.EAGAIN, errno.EINTR)
_INTERNET = (socket.AF_INET, socket.AF_INET6)


class _Wait:
    """A one-shot watch. When it has fired it may be started again."""

    __slots__ = ("handle", "token", "future")

    def __init__(self, drain: Drain, fd: int) -> None:
        handle = ctypes.c_void_p()
        check(lib.weir_watch_create(drain.context, fd, ctypes.byref(handle)))
        self.handle = handle.value
        self.token = drain.attach(self.on_record)
        self.future: Optional["asyncio.Future[None]"] = None

    def on_record(self, _events: int, _extra: int, _status: int) -> None:
        future, self.future = self.future, None
        if future is not None and not future.done():
            future.set_result(None)


class Waits:
    """The waits of a loop, by fd. One for an fd that was closed is taken up by the next file of that number."""

    def __init__(self, drain: Drain) -> None:
        self._drain = drain
        self._waits: Dict[int, _Wait] = {}
        drain.on_lend = self.drop

    async def ready(self, loop: asyncio.AbstractEventLoop, fd: int, events: int) -> None:
        wait = self._waits.pop(fd, None)
        if wait is None:
            wait = _Wait(self._drain, fd)
        future = loop.create_future()
        code = lib.weir_watch_start(wait.handle, events, 0, abi.WEIR_FOREVER, None, wait.token)
        try:
            check(code)
            wait.future = future
            await future
        finally:
            if wait.future is None and code == 0 and fd not in self._waits:
                self._waits[fd] = wait
            else:
                # It was cancelled while it waited, or another has taken its place.
                self._close(wait)

    def _close(self, wait: _Wait) -> None:
        self._drain.detach(wait.token)
        lib.weir_watch_close(wait.handle)

    def drop(self, fd: int) -> None:
        """The fd becomes a transport's, which lets nobody else watch it."""
        wait = self._waits.pop(fd, None)
        if wait is not None:
            self._close(wait)


def family_of(host: Any) -> int:
    """The family of an address that is given by its number; 0 for all else."""
    if type(host) is not str:
        return 0
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        socket.inet_pton(family, host)
    except (OSError, ValueError):
        return 0
    return family


def _is_plain(address: Any, family: int) -> bool:
    return (type(address) is tuple and len(address) >= 2 and type(address[1]) is int
            and family_of(address[0]) == family)


class SockMixin:
    """The fast forms; the others are asyncio's own."""

    _waits: Waits

    async def sock_recv(self, sock: Any, nbytes: int) -> bytes:
        self._check_sock(sock)
        while True:
            try:
                return sock.recv(nbytes)  # type: ignore[no-any-return]
            except _AGAIN:
                pass
            await self._readable(sock)

    async def sock_recv_into(self, sock: Any, buf: Any) -> int:
        self._check_sock(sock)
        while True:
            try:
                return sock.recv_into(buf)  # type: ignore[no-any-return]
            except _AGAIN:
                pass
            await self._readable(sock)

    async def sock_recvfrom(self, sock: Any, bufsize: int) -> Tuple[bytes, Any]:
        self._check_sock(sock)
        while True:
            try:
                return sock.recvfrom(bufsize)  # type: ignore[no-any-return]
            except _AGAIN:
                pass
            await self._readable(sock)

    async def sock_recvfrom_into(self, sock: Any, buf: Any, nbytes: int = 0) -> Tuple[int, Any]:
        self._check_sock(sock)
        if not nbytes:
            nbytes = len(buf)
        while True:
            try:
                return sock.recvfrom_into(buf, nbytes)  # type: ignore[no-any-return]
            except _AGAIN:
                pass
            await self._readable(sock)

    async def sock_sendall(self, sock: Any, data: Any) -> None:
        self._check_sock(sock)
        try:
            sent = sock.send(data)
        except _AGAIN:
            sent = 0
        if sent == len(data):
            return
        rest = memoryview(data)
        while True:
            rest = rest[sent:]
            await self._writable(sock)
            try:
                sent = sock.send(rest)
            except _AGAIN:
                sent = 0
            if sent == len(rest):
                return

    async def sock_sendto(self, sock: Any, data: Any, address: Any) -> int:
        self._check_sock(sock)
        while True:
            try:
                return sock.sendto(data, address)  # type: ignore[no-any-return]
            except _AGAIN:
                pass
            await self._writable(sock)

    async def sock_connect(self, sock: Any, address: Any) -> None:
        self._check_sock(sock)
        family = sock.family
        if family in _INTERNET and not _is_plain(address, family):
            resolved = await self._ensure_resolved(  # type: ignore[attr-defined]
                address, family=sock.family, type=sock.type, proto=sock.proto, loop=self)
            address = resolved[0][4]
        try:
            sock.connect(address)
            return
        except _AGAIN:
            self._ensure_fd_no_transport(sock.fileno())  # type: ignore[attr-defined]
        # A peer on this machine has answered by now.
        try:
            code = sock.connect_ex(address)
        except _AGAIN:
            code = errno.EALREADY
        while code in _UNDER_WAY:
            await self._writable(sock)
            code = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if code and code != errno.EISCONN:
            raise OSError(code, f"Connect call failed {address}")

    async def sock_accept(self, sock: Any) -> Tuple[Any, Any]:
        self._check_sock(sock)
        while True:
            try:
                connection, address = sock.accept()
            except _AGAIN:
                pass
            else:
                connection.setblocking(False)
                return connection, address
            await self._readable(sock)

    def _check_sock(self, sock: Any) -> None:
        if ssl is not None and isinstance(sock, ssl.SSLSocket):
            raise TypeError("Socket cannot be of type SSLSocket")
        if self._debug and sock.gettimeout() != 0:  # type: ignore[attr-defined]
            raise ValueError("the socket must be non-blocking")

    async def _readable(self, sock: Any) -> None:
        fd = sock.fileno()
        self._ensure_fd_no_transport(fd)  # type: ignore[attr-defined]
        await self._waits.ready(self, fd, abi.WEIR_WATCH_READ)  # type: ignore[arg-type]

    async def _writable(self, sock: Any) -> None:
        fd = sock.fileno()
        self._ensure_fd_no_transport(fd)  # type: ignore[attr-defined]
        await self._waits.ready(self, fd, abi.WEIR_WATCH_WRITE)  # type: ignore[arg-type]
