"""The transport of a connected stream socket: the library reads into its pool, the records bring the data here."""

import asyncio
import contextvars
import socket
import warnings
from asyncio import constants, transports, trsock
from asyncio.base_events import Server
from asyncio.log import logger
from functools import partial
from typing import Any, Callable, List, Optional

from .. import abi
from ..abi import lib
from .accept import sets_no_delay
from .drain import BYTES_AT, Drain, error

_EOF = abi.WEIR_EOF
_ECANCELED = abi.WEIR_ECANCELED
_ETIMEDOUT = abi.WEIR_ETIMEDOUT
_READ_EACH = abi.WEIR_SUBMIT_READ_EACH
_WRITE_SOME = abi.WEIR_SUBMIT_WRITE_SOME

# Since 3.13 a server knows its transports.
_ATTACH_ARGUMENTS = Server._attach.__code__.co_argcount - 1  # type: ignore[attr-defined]

# More than this is sent at once by write(): large buffers had better not all be alive at the end of the turn.
_DEFERRED = 16384

_REPORTED = (SystemExit, KeyboardInterrupt)


_Base: Any = transports._FlowControlMixin


def _no_fd() -> int:
    return -1


class StreamTransport(transports._FlowControlMixin, transports.Transport):
    """What create_connection and create_server of an EventLoop give to a protocol."""

    _start_tls_compatible = True
    _sendfile_compatible = constants._SendfileMode.TRY_NATIVE

    # What the base class has and its type stubs have not.
    _extra: Any
    _loop: Any
    _high_water: int
    _maybe_pause_protocol: Any
    _maybe_resume_protocol: Any

    # More attributes than a dictionary that is shared between objects takes: with slots they are quicker to find.
    __slots__ = (
        "_buffered", "_closing", "_conn_lost", "_context", "_deferred", "_dirty", "_drain", "_empty_waiter", "_eof",
        "_file_waiter", "_fileno", "_first", "_held", "_held_end", "_paused", "_open", "_protocol", "_queue", "_queued",
        "_read_done", "_read_token", "_reading", "_received", "_room", "_run", "_send", "_server",
        "_sock", "_sock_fd", "_stopping", "_stream", "_write_token", "_writing",
        "_written", "__dict__", "__weakref__")

    def __init__(self, loop: Any, sock: socket.socket, stream: int, protocol: Any,
                 waiter: Any = None, extra: Any = None, server: Any = None) -> None:
        self._sock: Optional[socket.socket] = None
        self._room = 0  # So much may be written at once by write(): 0 while anything waits or writing is not allowed.
        super().__init__(extra, loop)
        self._extra["socket"] = trsock.TransportSocket(sock)
        try:
            self._extra["sockname"] = sock.getsockname()
        except OSError:
            self._extra["sockname"] = None
        if "peername" not in self._extra:
            try:
                self._extra["peername"] = sock.getpeername()
            except OSError:
                self._extra["peername"] = None
        drain: Drain = loop._drain
        self._drain = drain
        drain.use_pool()
        self._sock = sock
        self._sock_fd = sock.fileno()
        self._send = sock.send
        # A socket with a function of its own wants it called; the other way refuses -1.
        self._fileno = sock.fileno if getattr(type(sock), "send", None) is socket.socket.send else _no_fd
        self._dirty = drain.dirty
        self._context = contextvars.copy_context()
        self._run: Any = self._context.run
        self._protocol: Any = None
        self._read_token = 0
        self._received: Callable[[bytes], None]
        self._buffered = False
        self.set_protocol(protocol)
        self._server = server
        self._first: Optional[bytes] = None  # The only thing written in this turn, then nothing else waits ...
        self._queue: List[bytes] = []  # ... or all that is not given to the library yet.
        self._writing: Optional[bytes] = None  # What it writes now ...
        self._written = 0  # ... and how far it came.
        self._queued = 0  # Bytes of these two.
        self._conn_lost = 0  # Not 0: the call of connection_lost is scheduled, or was made.
        self._closing = False
        self._open = True  # write() is allowed and is worth while: no end was written, no file is being sent.
        self._room = self._deferred
        self._eof = False
        self._paused = False
        self._reading = False  # The library reads, or its last record is still to come.
        self._stopping = False  # It was told to stop.
        self._read_done = False  # There is no more to read.
        self._held: List[bytes] = []  # What came while reading was paused.
        self._held_end: Optional[int] = None  # The end that came so.
        self._empty_waiter: Any = None
        self._file_waiter: Any = None

        self._stream = 0
        if server is not None:
            server._attach(*(self,) * _ATTACH_ARGUMENTS)  # Raises where the server was closed meanwhile.
        self._stream = stream
        self._read_token = drain.attach(self._on_read_end)
        drain.readers[self._read_token] = self
        self._feed(True)
        self._write_token = drain.attach(self._on_written)

        loop._transports[self._sock_fd] = self
        sets_no_delay(sock)
        loop.call_soon(self._begin, protocol, waiter)

    def _begin(self, protocol: Any, waiter: Any) -> None:
        # The protocol reads nothing before it knows of its connection.
        try:
            protocol.connection_made(self)
        finally:
            self._start_reading()
            if waiter is not None and not waiter.cancelled():
                waiter.set_result(None)

    def __repr__(self) -> str:
        info = [self.__class__.__name__]
        if self._sock is None:
            info.append("closed")
        elif self._closing:
            info.append("closing")
        info.append(f"fd={self._sock_fd}")
        if self._loop is not None and not self._loop.is_closed():
            info.append("read=polling" if self._reading and not self._paused else "read=idle")
            state = "polling" if self._writing is not None else "idle"
            info.append(f"write=<{state}, bufsize={self.get_write_buffer_size()}>")
        return f"<{' '.join(info)}>"

    def __del__(self, _warn: Any = warnings.warn) -> None:
        if getattr(self, "_sock", None) is not None:
            _warn(f"unclosed transport {self!r}", ResourceWarning, source=self)
            sock, self._sock = self._sock, None
            self._end_stream()
            if sock is not None:
                sock.close()

    # -- protocol and state

    def set_protocol(self, protocol: Any) -> None:
        self._protocol = protocol
        self._buffered = isinstance(protocol, asyncio.BufferedProtocol)
        feeds, token = self._drain.feeds, self._read_token
        plain = token in feeds and feeds[token] != self._hold
        self._received = self._fill if self._buffered else protocol.data_received
        if plain:
            self._feed(True)

    def get_protocol(self) -> Any:
        return self._protocol

    def is_closing(self) -> bool:
        return self._closing

    def is_reading(self) -> bool:
        return not self._closing and not self._paused

    # -- reading

    def _feed(self, plain: bool) -> None:
        """Whether what comes goes to the protocol at once: not paused, not closing, nothing held back."""
        if self._read_token in self._drain.readers:
            self._drain.feeds[self._read_token] = partial(self._run, self._received) if plain else self._hold

    def _start_reading(self) -> None:
        if self._reading or self._closing or self._paused or self._read_done:
            return
        self._reading = True
        self._drain.submit(_READ_EACH, self._stream, 0, 0, self._read_token)

    def _stop_reading(self) -> None:
        # A time limit of 0 ends a read that waits and touches no write; the read's last record follows.
        if self._reading and not self._stopping:
            self._stopping = True
            self._drain.flush()
            lib.weir_stream_set_timeout(self._stream, abi.WEIR_WAIT_READ, 0)

    def pause_reading(self) -> None:
        if self._closing or self._paused:
            return
        # The library is told when more data comes, if it does before resume_reading.
        self._paused = True
        self._feed(False)
        if self._loop.get_debug():
            logger.debug("%r pauses reading", self)

    def resume_reading(self) -> None:
        if self._closing or not self._paused:
            return
        self._paused = False
        self._feed(not self._held)
        if self._held or self._held_end is not None:
            self._loop.call_soon(self._deliver_held, context=self._context)
        elif not self._reading:
            self._start_reading()
        if self._loop.get_debug():
            logger.debug("%r resumes reading", self)

    def _deliver_held(self) -> None:
        while self._held and not self._paused and not self._conn_lost and not self._closing:
            self._deliver(self._held.pop(0))
        if self._held or self._paused or self._closing:
            return
        self._feed(True)
        if self._held_end is not None:
            status, self._held_end = self._held_end, None
            self._ended(status)
        else:
            self._start_reading()

    def _hold(self, data: bytes) -> None:
        """Data came that the protocol does not want now."""
        if not self._closing:
            self._held.append(data)
            if self._paused:
                self._stop_reading()

    def _on_read_end(self, _length: int, _offset: int, status: int) -> None:
        self._reading = False
        if status == _ECANCELED and not self._closing:
            # A cancel of what was written, see _send_file, ends the read as well.
            self._start_reading()
            return
        if self._stopping:
            self._stopping = False
            lib.weir_stream_set_timeout(self._stream, abi.WEIR_WAIT_READ, abi.WEIR_FOREVER)
            if status == _ETIMEDOUT:
                if not self._held:
                    self._start_reading()
                return
        # Not in the turn of the last data: protocols expect that a turn of theirs lies between.
        self._held_end = status
        if not self._paused:
            self._loop.call_soon(self._deliver_held, context=self._context)

    def _deliver(self, data: bytes) -> None:
        try:
            self._received(data)
        except _REPORTED:
            raise
        except BaseException as exc:
            self._fatal_error(exc, "Fatal error: protocol.data_received() call failed.")

    def _fill(self, data: bytes) -> None:
        """For a BufferedProtocol: copies to where it wants the data."""
        protocol, size = self._protocol, len(data)
        try:
            buffer = protocol.get_buffer(size)
            room = len(buffer)
            if not room:
                raise RuntimeError("get_buffer() returned an empty buffer")
            if room < size:
                size = room
            if type(buffer) is not memoryview or buffer.format != "B":
                buffer = memoryview(buffer).cast("B")
                size = min(len(buffer), size)
            buffer[:size] = data if size == len(data) else data[:size]
        except _REPORTED:
            raise
        except BaseException as exc:
            self._fatal_error(exc, "Fatal error: protocol.get_buffer() call failed.")
            return
        try:
            protocol.buffer_updated(size)
        except _REPORTED:
            raise
        except BaseException as exc:
            self._fatal_error(exc, "Fatal error: protocol.buffer_updated() call failed.")
            return
        if size < len(data) and not self._conn_lost:
            # The rest comes in its turn: the protocol may have paused, or given way to another.
            self._held.insert(0, data[size:])
            self._feed(False)
            if not self._paused:
                self._loop.call_soon(self._deliver_held, context=self._context)

    def _ended(self, status: int) -> None:
        """Reading has come to its end."""
        if self._conn_lost or self._closing or status == _ECANCELED:
            return
        if status != _EOF:
            self._fatal_error(error(status), "Fatal read error on socket transport")
            return
        if self._loop.get_debug():
            logger.debug("%r received EOF", self)
        try:
            keep_open = self._protocol.eof_received()
        except _REPORTED:
            raise
        except BaseException as exc:
            self._fatal_error(exc, "Fatal error: protocol.eof_received() call failed.")
            return
        if keep_open:
            self._read_done = True
        else:
            self.close()

    # -- writing

    def write(self, data: Any) -> None:
        if type(data) is bytes and 0 < len(data) <= self._room:
            # The hot path: the first of this turn. What follows below has the cases in full.
            self._room = 0
            self._first = data
            self._dirty.append(self)
            return
        if not isinstance(data, (bytes, bytearray, memoryview)):
            raise TypeError("data argument must be a bytes-like object, "
                            f"not {type(data).__name__!r}")
        if self._eof:
            raise RuntimeError("Cannot call write() after write_eof()")
        if self._empty_waiter is not None:
            raise RuntimeError("unable to write; sendfile is in progress")
        if not data:
            return
        if self._conn_lost:
            if self._conn_lost >= constants.LOG_THRESHOLD_FOR_CONNLOST_WRITES:
                logger.warning("socket.send() raised exception.")
            self._conn_lost += 1
            return
        self._settle()
        size = len(data)
        if self._writing is None:
            if self._queued + size <= self._deferred and type(data) is bytes:
                # Sent at the end of this turn, after what other transports have read.
                if not self._queued:
                    self._dirty.append(self)
                self._queue.append(data)
                self._queued += size
                return
            if self._queue:
                self._send_queue()
                if self._conn_lost:
                    return
        if self._writing is None:
            try:
                number = self._send(data)
            except (BlockingIOError, InterruptedError):
                number = 0
            except _REPORTED:
                raise
            except BaseException as exc:
                self._fatal_error(exc, "Fatal write error on socket transport")
                return
            else:
                if type(data) is memoryview:
                    data = data.cast("B")
                data = data[number:]
                if not data:
                    self._find_room()
                    return
        rest = bytes(data)
        self._room = 0
        self._queued += len(rest)
        self._queue.append(rest)
        if self._writing is None:
            self._write_next()
        self._maybe_pause_protocol()

    def _set_write_buffer_limits(self, high: Any = None, low: Any = None) -> None:
        _Base._set_write_buffer_limits(self, high, low)
        self._deferred = min(_DEFERRED, self._high_water)
        if self._room:
            self._room = self._deferred

    def set_write_buffer_limits(self, high: Any = None, low: Any = None) -> None:
        self._set_write_buffer_limits(high, low)
        self._maybe_pause_protocol()

    def _find_room(self) -> None:
        if self._open and not self._queued and self._first is None and not self._closing:
            self._room = self._deferred

    def _settle(self) -> None:
        """Leaves the hot path of write() until there is room again."""
        self._room = 0
        first = self._first
        if first is not None:
            self._first = None
            self._queue.append(first)
            self._queued = len(first)

    def _send_queue(self) -> None:
        """Sends what was written in this turn."""
        if self._first is not None:
            self._settle()
        queue = self._queue
        if not queue or self._writing is not None:
            return
        data = queue[0] if len(queue) == 1 else b"".join(queue)
        queue.clear()
        try:
            number = self._send(data)
        except (BlockingIOError, InterruptedError):
            number = 0
        except _REPORTED:
            raise
        except BaseException as exc:
            self._queued = 0
            self._fatal_error(exc, "Fatal write error on socket transport")
            return
        if number == len(data):
            self._queued = 0
            self._find_room()
        else:
            self._write_from(data, number)

    def _write_from(self, data: bytes, number: int) -> None:
        self._queued -= number
        self._writing = data
        self._written = number
        self._write_rest()

    def writelines(self, list_of_data: Any) -> None:
        self.write(b"".join(list_of_data))

    def _write_next(self) -> None:
        queue = self._queue
        self._writing = queue[0] if len(queue) == 1 else b"".join(queue)
        self._written = 0
        queue.clear()
        self._write_rest()

    def _write_rest(self) -> None:
        data, begin = self._writing, self._written
        assert data is not None
        self._drain.submit(_WRITE_SOME, self._stream, id(data) + BYTES_AT + begin,
                           len(data) - begin, self._write_token)

    def _on_written(self, number: int, _extra: int, status: int) -> None:
        if self._conn_lost or self._writing is None:
            return
        if status < 0:
            self._queue.clear()
            self._queued = 0
            exc = error(status)
            self._fatal_error(exc, "Fatal write error on socket transport")
            if self._empty_waiter is not None and not self._empty_waiter.done():
                self._empty_waiter.set_exception(exc)
            return
        self._queued -= number
        self._written += number
        if self._written < len(self._writing):
            self._write_rest()
        elif self._queue:
            self._write_next()
        else:
            self._writing = None
        self._run(self._maybe_resume_protocol)  # May write more ...
        if self._queue and (self._closing or self._eof or self._empty_waiter is not None):
            self._send_queue()  # ... for which nobody would wait below.
        if not self._queued:
            self._find_room()
            if self._empty_waiter is not None and not self._empty_waiter.done():
                self._empty_waiter.set_result(None)
            if self._closing:
                self._conn_lost += 1
                self._open = False
                self._room = 0
                self._run(self._call_connection_lost, None)
            elif self._eof and self._sock is not None:
                self._sock.shutdown(socket.SHUT_WR)

    def get_write_buffer_size(self) -> int:
        return self._queued if self._first is None else len(self._first)

    def write_eof(self) -> None:
        if self._closing or self._eof:
            return
        self._send_queue()
        self._eof = True
        self._open = False
        self._room = 0
        if not self._queued and self._sock is not None:
            self._sock.shutdown(socket.SHUT_WR)

    def can_write_eof(self) -> bool:
        return True

    # -- sendfile

    def _make_empty_waiter(self) -> Any:
        if self._empty_waiter is not None:
            raise RuntimeError("Empty waiter is already set")
        self._send_queue()
        self._empty_waiter = self._loop.create_future()
        self._open = False
        self._room = 0
        if not self._queued:
            self._empty_waiter.set_result(None)
        return self._empty_waiter

    def _reset_empty_waiter(self) -> None:
        self._empty_waiter = None
        self._open = not self._eof and not self._conn_lost
        self._find_room()

    async def _send_file(self, fd: int, offset: int, count: int) -> "tuple[int, int]":
        """Sends of a file; gives the bytes and 0 or the code that it ended with."""
        waiter = self._loop.create_future()

        def sent(number: int, _extra: int, status: int) -> None:
            self._drain.detach(token)
            if not waiter.done():
                waiter.set_result((number, status))

        token = self._drain.attach(sent)
        self._drain.flush()
        code = lib.weir_stream_send_file(self._stream, fd, offset, count, None, token)
        if code < 0:
            self._drain.detach(token)
            return 0, code
        self._file_waiter = waiter
        try:
            number, status = await waiter
            return number, status
        finally:
            self._file_waiter = None
            if waiter.cancelled() and self._stream:
                lib.weir_handle_cancel(self._stream, None)

    # -- the end

    def close(self) -> None:
        if self._closing:
            return
        self._send_queue()
        if self._closing:
            return
        self._closing = True
        self._feed(False)
        if not self._queued:
            self._conn_lost += 1
            self._open = False
            self._room = 0
            self._loop.call_soon(self._call_connection_lost, None)
        else:
            self._stop_reading()

    def abort(self) -> None:
        self._send_queue()
        self._force_close(None)

    def _fatal_error(self, exc: BaseException, message: str = "Fatal error on transport") -> None:
        if isinstance(exc, OSError):
            if self._loop.get_debug():
                logger.debug("%r: %s", self, message, exc_info=exc)
        else:
            self._loop.call_exception_handler({
                "message": message,
                "exception": exc,
                "transport": self,
                "protocol": self._protocol,
            })
        self._force_close(exc)

    def _force_close(self, exc: Optional[BaseException]) -> None:
        if self._conn_lost:
            return
        # What is being written stays alive until the stream is closed.
        self._first = None
        self._queue.clear()
        self._queued = 0
        self._closing = True
        self._feed(False)
        self._conn_lost += 1
        self._open = False
        self._room = 0
        self._loop.call_soon(self._call_connection_lost, exc)

    def _end_stream(self) -> None:
        stream, self._stream = self._stream, 0
        drain = self._drain
        if stream and stream in drain.streams:
            drain.streams.discard(stream)
            drain.detach(self._read_token)
            drain.detach(self._write_token)
            drain.release(stream)

    def _call_connection_lost(self, exc: Optional[BaseException]) -> None:
        sock, server = self._sock, self._server
        try:
            if self._protocol is not None:
                self._protocol.connection_lost(exc)
        finally:
            self._end_stream()
            if sock is not None:
                sock.close()
            self._sock = None
            self._protocol = None
            self._received = self._drop
            self._loop = None
            if server is not None:
                server._detach(*(self,) * _ATTACH_ARGUMENTS)
                self._server = None
            for waiter in (self._empty_waiter, self._file_waiter):
                if waiter is not None and not waiter.done():
                    waiter.set_exception(ConnectionError("Connection is closed by peer"))

    def _drop(self, data: bytes) -> None:
        pass
