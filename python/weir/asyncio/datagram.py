"""The transport of a datagram socket: asyncio's, which the library receives for where the socket is UDP.

Each datagram comes as a record, into the loop's pool. Sending is asyncio's, which tries, and waits if it must.
"""

import ctypes
import errno
import socket
import warnings
from asyncio import events, selector_events
from asyncio.log import logger
from collections import deque
from typing import Any, Deque, Dict, Tuple, Union

from .. import abi
from .._address import family_of, pack, unpack
from ..abi import lib
from .drain import BYTES_AT, THREADS, Drain, error

_RECEIVE_EACH = abi.WEIR_SUBMIT_RECEIVE_EACH
_ECANCELED = abi.WEIR_ECANCELED
# Receiving could not begin, and would not the next time: no error of a datagram.
_REFUSED = (abi.WEIR_EBADF, abi.WEIR_EBUSY, abi.WEIR_ENOTCONN, abi.WEIR_ESHUTDOWN, -errno.ENOSPC)

# Longer datagrams than a buffer of the pool are of AF_UNIX only.
_ADDRESS_SIZES = {socket.AF_INET: 16, socket.AF_INET6: 28}
_KNOWN = 4096  # Addresses that a loop remembers.

# With the GIL kept: where another thread waits for it, to give it away for a moment costs milliseconds.
_try_send = lib.variant("weir_datagram_try_send", releases_gil=False)
_try_send.argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_size_t, ctypes.c_void_p]
_try_send_to = lib.variant("weir_datagram_try_send_to", releases_gil=False)
_try_send_to.argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_size_t, ctypes.c_void_p, ctypes.c_uint32,
                         ctypes.c_void_p]

# A socket with functions of its own wants them called.
_PLAIN = {name: getattr(socket.socket, name) for name in ("recvfrom", "send", "sendto")}

_Come = Union[OSError, Tuple[bytes, Any]]


class Addresses:
    """Tuples and what the library has for them, kept as pairs: where datagrams came from, and where they go."""

    def __init__(self, drain: Drain) -> None:
        self._function = lib.variant("weir_context_pool_sender", releases_gil=False)
        self._function.argtypes = None
        self._storage: Any = ctypes.create_string_buffer(128)
        self._length = ctypes.c_uint32()
        drain.use_pool()
        storage = ctypes.c_void_p(ctypes.addressof(self._storage))
        length = ctypes.c_void_p(ctypes.addressof(self._length))
        context = ctypes.c_void_p(drain.context)
        # The objects of ctypes are made once, as in drain.py.
        self._arguments = {at: (context, ctypes.c_uint64(at), storage, length) for at in drain.releases}
        self._tuples: Dict[bytes, Any] = {}
        self._packed: Dict[Any, bytes] = {}

    def of(self, offset: int, size: int) -> Any:
        """The address, as recvfrom() of a socket has it whose addresses take `size` bytes."""
        if self._function(*self._arguments[offset]):
            return None
        raw: bytes = self._storage[:size]
        address = self._tuples.get(raw)
        if address is None:
            if self._length.value < size:
                return None
            address = unpack(raw) or None
            if len(self._tuples) >= _KNOWN:
                self._tuples.clear()
            self._tuples[raw] = address
        return address

    def packed(self, address: Any, family: int) -> bytes:
        """The struct sockaddr. What is not plainly one raises."""
        raw = self._packed.get(address)
        if raw is None:
            raw = pack(address)
            if len(self._packed) >= _KNOWN:
                self._packed.clear()
            self._packed[address] = raw
        if family_of(raw) != family:
            raise ValueError("an address of another family")
        return raw


class DatagramTransport(selector_events._SelectorDatagramTransport):  # type: ignore[name-defined,misc]
    """What create_datagram_endpoint of an EventLoop gives to a protocol."""

    _handle = 0  # The library's, while it may receive.
    _paused = False  # The base class has it since Python 3.11.

    def __init__(self, loop: Any, sock: Any, protocol: Any, address: Any = None, waiter: Any = None,
                 extra: Any = None) -> None:
        self._drain: Drain = loop._drain
        self._address_size = _ADDRESS_SIZES.get(sock.family, 0)
        if self._address_size and all(getattr(type(sock), name, None) is function for name, function in _PLAIN.items()):
            self._handle = self._drain.lend_datagram(sock.fileno())
        if self._handle:
            if self._drain.addresses is None:
                self._drain.addresses = Addresses(self._drain)
            self._token = self._drain.attach(self._on_record)
        self._receiving = False  # It receives, or its last record is still to come.
        # What has come and is not told yet. As from a reader of asyncio's, it is told after what was ready before.
        self._come: Deque[_Come] = deque()
        self._deliverer = events.Handle(self._deliver, (), loop)
        self._scheduled = False
        super().__init__(loop, sock, protocol, address, waiter, extra)
        # What sendto() may do at once: send() where there is a peer, and to any address where there is none.
        self._connected = bool(self._extra["peername"])
        self._free = not self._connected and not address

    def __repr__(self) -> str:
        text: str = super().__repr__()
        if self._receiving and self.is_reading():
            text = text.replace("read=idle", "read=polling")
        return text

    def __del__(self, _warn: Any = warnings.warn) -> None:
        if self._sock is not None:
            self._end_receiving()
        super().__del__(_warn)

    # -- receiving

    def _add_reader(self, fd: int, callback: Any, *args: Any) -> None:
        if not self._handle:
            super()._add_reader(fd, callback, *args)
            return
        self._schedule()
        self._start_receiving()

    def _start_receiving(self) -> None:
        if not self._receiving and self._handle and not self._closing and not self._paused:
            self._receiving = True
            self._drain.submit(_RECEIVE_EACH, self._handle, 0, 0, self._token)

    def _stop_receiving(self) -> None:
        # What has come is still told; the last record follows.
        if self._receiving and self._handle:
            self._drain.flush()
            lib.weir_datagram_cancel(self._handle, None)

    def _end_receiving(self) -> None:
        handle, self._handle = self._handle, 0
        self._come.clear()
        if handle:
            self._drain.detach(self._token)
            self._drain.release_datagram(self._sock_fd, handle)

    def _on_record(self, length: int, offset: int, status: int) -> None:
        if status:
            self._on_end(status)
            return
        drain = self._drain
        self._come.append((drain.pool[offset:offset + length], drain.addresses.of(offset, self._address_size)))
        drain.submissions.append(drain.releases[offset])
        if not self._scheduled:
            self._schedule()

    def _on_end(self, status: int) -> None:
        self._receiving = False
        if self._closing:
            return
        if status in _REFUSED:
            self._fatal_error(error(status), "Fatal read error on datagram transport")
            return
        if status != _ECANCELED:
            self._come.append(error(status))
            self._schedule()
        self._start_receiving()

    def _schedule(self) -> None:
        if self._come and not self._scheduled and not self._paused and not self._closing:
            self._scheduled = True
            self._loop._ready.append(self._deliverer)

    def _deliver(self) -> None:
        self._scheduled = False
        come = self._come
        try:
            while come and not self._paused and not self._closing:
                item = come.popleft()
                if type(item) is tuple:
                    self._protocol.datagram_received(*item)
                else:
                    self._protocol.error_received(item)
        finally:
            # Where the protocol raises, which does not end the transport, the rest is for the next turn.
            self._schedule()

    def is_reading(self) -> bool:
        return not self._closing and not self._paused

    def pause_reading(self) -> None:
        if not self._handle:
            super().pause_reading()
        elif self.is_reading():
            self._paused = True
            self._stop_receiving()
            if self._loop.get_debug():
                logger.debug("%r pauses reading", self)

    def resume_reading(self) -> None:
        if not self._handle:
            super().resume_reading()
        elif self._paused and not self._closing:
            self._paused = False
            self._add_reader(self._sock_fd, self._read_ready)
            if self._loop.get_debug():
                logger.debug("%r resumes reading", self)

    # -- sending

    def sendto(self, data: Any, addr: Any = None) -> None:
        if type(data) is bytes and data and not self._buffer and not self._conn_lost:
            # The hot path. What the base class does has the cases in full.
            try:
                if len(THREADS) > 1 and self._handle and self._sent_keeping(data, addr):
                    return
                if addr is not None:
                    if self._free:
                        self._sock.sendto(data, addr)
                        return
                elif self._connected:
                    self._sock.send(data)
                    return
            except OSError as exc:
                if not isinstance(exc, (BlockingIOError, InterruptedError)):
                    self._protocol.error_received(exc)
                    return
            except Exception:
                pass  # The base class meets it again.
        if addr is None and self._address is None and not self._extra["peername"] and data:
            # A socket may have a peer without a name: half of a pair. Or it has none, and the protocol is told.
            try:
                self._sock.getpeername()
            except OSError:
                self._protocol.error_received(OSError(errno.EDESTADDRREQ, "no address to send to"))
                return
            self._extra["peername"] = _Nameless()
        super().sendto(data, addr)

    def _sent_keeping(self, data: bytes, addr: Any) -> bool:
        """Sends beside other threads. False: the socket has to be asked, which tells why."""
        drain = self._drain
        at = id(data) + BYTES_AT
        if addr is None:
            code = _try_send(self._handle, at, len(data), drain.count_at) if self._connected else -1
        elif self._free and type(addr) is tuple:
            try:
                to = drain.addresses.packed(addr, self._sock.family)
            except (OSError, OverflowError, TypeError, ValueError):
                return False  # A name, or what is no address: sendto() of the socket knows.
            code = _try_send_to(self._handle, at, len(data), id(to) + BYTES_AT, len(to), drain.count_at)
        else:
            return False
        return bool(code == 0 and drain.count.value)

    # -- the end

    def close(self) -> None:
        if not self._closing:
            super().close()
            self._stop_receiving()

    def _call_connection_lost(self, exc: Any) -> None:
        self._end_receiving()
        super()._call_connection_lost(exc)


class _Nameless(str):
    """The peer's name as getpeername gives it, and true, which has the base class use send()."""

    def __bool__(self) -> bool:
        return True
