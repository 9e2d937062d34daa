"""Streams and what accepts them."""

from __future__ import annotations

import ctypes
import socket
from typing import Any, Callable, List, Optional, Sequence, Tuple, Union

from . import _abi
from ._address import Address, pack
from ._context import Context, Operation
from ._errors import check, error_or_none
from ._handle import Done, counted, done
from ._library import lib
from ._numbers import int32, int64, size as size_t
from ._socket import Duplicate, Room, Socket, Waiting, nanoseconds, readable, writable

# Called with None or what went wrong, and what has been read.
Received = Callable[[Optional[OSError], bytes], object]
# ... and the bytes that have moved.
Moved = Callable[[Optional[OSError], int], object]
# ... and the new connection, None where something went wrong.
Accepted = Callable[[Optional[OSError], "Optional[Stream]"], object]
ReceivedFds = Callable[[Optional[OSError], bytes, List[int]], object]

Data = Union[bytes, bytearray, memoryview]

# What the kernel passes at once (SCM_MAX_FD).
FDS_MAX = 253


class Stream(Waiting):
    """A connected byte stream: TCP or AF_UNIX.

    One reading operation and one writing operation may be pending; `send` queues any number.
    """

    _prefix = "weir_stream"

    def __init__(self, context: Context) -> None:
        super().__init__(context, lib.weir_stream_create)

    @classmethod
    def _wrap(cls, context: Context, handle: int) -> "Stream":
        stream = cls.__new__(cls)
        stream._own(context, handle)
        return stream

    @classmethod
    def pair(cls, context: Context) -> Tuple["Stream", "Stream"]:
        """Two streams that are connected with each other."""
        first, second = ctypes.c_void_p(), ctypes.c_void_p()
        check(lib.weir_stream_pair(context._handle, first, second))
        return cls._wrap(context, first.value or 0), cls._wrap(context, second.value or 0)

    def connect(self, address: Address, callback: Done) -> None:
        packed = pack(address)
        self._start(done, callback, packed, lib.weir_stream_connect, packed, len(packed))

    def connect_list(self, addresses: Sequence[Address], callback: Done, *, stagger: float = 0,
                     attempt_timeout: float = 0) -> None:
        """Connects to the first of several addresses that answers (RFC 8305)."""
        packed = [pack(address) for address in addresses]
        if not 0 < len(packed) <= _abi.WEIR_CONNECT_LIST_MAX:
            check(_abi.WEIR_EINVAL)
        pointers = (ctypes.c_void_p * len(packed))(*[
            ctypes.cast(ctypes.c_char_p(one), ctypes.c_void_p).value for one in packed])
        lengths = (ctypes.c_uint32 * len(packed))(*map(len, packed))
        options = _abi.weir_connect_options(struct_size=ctypes.sizeof(_abi.weir_connect_options))
        options.stagger_ns, options.attempt_timeout_ns = nanoseconds(stagger), nanoseconds(attempt_timeout)
        self._start(done, callback, packed, lib.weir_stream_connect_list, pointers, lengths, len(packed), options)

    # Reading.

    def read_some(self, size: int, callback: Received) -> None:
        """Reads what there is, up to `size` bytes. At the end of the stream: no error and b""."""
        room = Room(size)
        self._start(_some, callback, room, lib.weir_stream_read_some, room.address, room.size)

    def read(self, size: int, callback: Received) -> None:
        """Reads exactly `size` bytes. Where the stream ends before: EndOfStream and what there was."""
        room = Room(size)
        self._start(_exact, callback, room, lib.weir_stream_read, room.address, room.size)

    def read_into(self, buffer: Union[bytearray, memoryview], callback: Moved) -> None:
        """As `read_some`, into a buffer of the caller's, which can't be resized meanwhile; 0 bytes are the end."""
        anchor, address, size = writable(buffer)
        self._start(_some_count, callback, anchor, lib.weir_stream_read_some, address, size)

    def read_until(self, until: "Until", callback: Received) -> None:
        """Reads up to and with a delimiter. See `Until`."""
        until._begin()
        try:
            self._start(_until, callback, until, lib.weir_stream_read_until, until._struct)
        except BaseException:
            until._busy = False
            raise

    def read_each(self, callback: Received) -> None:
        """Calls back each time that something has come, and at last with b"" and None (the end) or an error."""
        self._start(_each, callback, None, lib.weir_stream_read_each, multi=True)

    def try_read(self, size: int) -> Optional[bytes]:
        """What there is now: None where there is nothing, b"" at the end."""
        room, count = Room(size), ctypes.c_size_t()
        status = lib.weir_stream_try_read(self._handle, room.address, room.size, count)
        if status == _abi.WEIR_EOF:
            return b""
        check(status)
        return room.taken(count.value) if count.value else None

    # Writing.

    def write(self, data: Data, callback: Optional[Moved] = None) -> None:
        """Writes all of it. What is not `bytes` is copied."""
        data = readable(data)
        self._start(counted, callback, data, lib.weir_stream_write, data, len(data))

    def send(self, data: Data, callback: Optional[Moved] = None) -> None:
        """Queues it behind what is queued already."""
        data = readable(data)
        self._start(counted, callback, data, lib.weir_stream_send, data, len(data))

    @property
    def queued(self) -> int:
        """Bytes that `send` has still to write."""
        count = ctypes.c_size_t()
        check(lib.weir_stream_queued(self._handle, count))
        return count.value

    def try_write(self, data: Data) -> int:
        """Writes what fits now, perhaps nothing, and returns how many bytes that was."""
        data, count = readable(data), ctypes.c_size_t()
        check(lib.weir_stream_try_write(self._handle, data, len(data), count))
        return count.value

    def send_file(self, file: Any, offset: int, size: int, callback: Moved) -> None:
        """Sends a part of a file without reading it into the program. `file` is an fd or has a `fileno()`."""
        copy = Duplicate(file)
        self._start(counted, callback, copy, lib.weir_stream_send_file, copy.fd, int64(offset), size_t(size))

    # fds over AF_UNIX.

    def write_fds(self, data: Data, fds: Sequence[int], callback: Optional[Moved] = None) -> None:
        """Writes the data and, with its first byte, copies of these fds."""
        data, copies = readable(data), [Duplicate(fd) for fd in fds]
        array = (ctypes.c_int * max(len(fds), 1))(*[copy.fd for copy in copies])
        self._start(counted, callback, (data, copies, array), lib.weir_stream_write_fds, data, len(data), array, len(fds))

    def read_fds(self, size: int, limit: int, callback: ReceivedFds) -> None:
        """As `read_some`, with up to `limit` fds, which are the receiver's to close."""
        if not 0 <= limit <= FDS_MAX:
            raise OverflowError(f"0 to {FDS_MAX} fds")
        room, count = Room(size), ctypes.c_size_t(limit)
        array = (ctypes.c_int * max(limit, 1))(*[-1] * max(limit, 1))
        self._start(_with_fds, callback, (room, array, count), lib.weir_stream_read_fds, room.address, room.size,
                    array, count)

    def peer_credentials(self) -> Tuple[int, int, int]:
        """The process, user and group on the other side of an AF_UNIX stream."""
        pid, uid, gid = ctypes.c_int32(), ctypes.c_uint32(), ctypes.c_uint32()
        check(lib.weir_stream_peer_credentials(self._handle, pid, uid, gid))
        return pid.value, uid.value, gid.value

    def shutdown(self, how: int = socket.SHUT_WR) -> None:
        check(lib.weir_stream_shutdown(self._handle, int32(how)))

    def set_timeout(self, *, read: Optional[float] = None, write: Optional[float] = None) -> None:
        """How long an operation may go without progress, in seconds; `math.inf` is no limit."""
        if read is not None:
            check(lib.weir_stream_set_timeout(self._handle, _abi.WEIR_WAIT_READ, nanoseconds(read)))
        if write is not None:
            check(lib.weir_stream_set_timeout(self._handle, _abi.WEIR_WAIT_WRITE, nanoseconds(write)))


class Until:
    """What `Stream.read_until` looks for, and what it has read beyond that, which the next one begins with."""

    def __init__(self, delimiter: bytes, limit: int = 65536) -> None:
        self._delimiter = bytes(delimiter)
        self._room = Room(limit)
        self._busy = False
        self._struct = _abi.weir_until(
            struct_size=ctypes.sizeof(_abi.weir_until), data=self._room.address, capacity=self._room.size, filled=0,
            delimiter=ctypes.cast(ctypes.c_char_p(self._delimiter), ctypes.c_void_p).value,
            delimiter_length=len(self._delimiter))

    def _begin(self) -> None:
        if self._busy:
            check(_abi.WEIR_EBUSY)
        self._busy = True

    def take(self, length: int) -> bytes:
        """Takes that many of the bytes that were read, or all where there are fewer."""
        if self._busy:
            check(_abi.WEIR_EBUSY)
        filled = min(self._struct.filled, self._room.size)
        length = max(0, min(length, filled))
        data = self._room.taken(length)
        self._room.data[:filled - length] = self._room.data[length:filled]
        self._struct.filled = filled - length
        return data


class Acceptor(Socket):
    """A listening socket."""

    _prefix = "weir_acceptor"

    def __init__(self, context: Context) -> None:
        super().__init__(context, lib.weir_acceptor_create)

    def listen(self, backlog: int = 128) -> None:
        check(lib.weir_acceptor_listen(self._handle, int32(backlog)))

    def unlink(self) -> None:
        """Removes the path of an AF_UNIX socket."""
        check(lib.weir_acceptor_unlink(self._handle))

    def accept(self, callback: Accepted) -> None:
        """Accepts one connection."""
        self._start(_accepted, callback, None, lib.weir_acceptor_accept)

    def accept_each(self, callback: Accepted) -> None:
        """Accepts until the acceptor is cancelled or closed, which is the last call."""
        self._start(_accepted, callback, None, lib.weir_acceptor_accept_each, multi=True)


def _some(operation: Operation, status: int, value: int, extra: int) -> None:
    status = 0 if status == _abi.WEIR_EOF else status
    _call(operation)(error_or_none(status), operation.keep.taken(value))


def _exact(operation: Operation, status: int, value: int, extra: int) -> None:
    _call(operation)(error_or_none(status), operation.keep.taken(value))


def _some_count(operation: Operation, status: int, value: int, extra: int) -> None:
    # The caller may resize the buffer in the callback: nothing of ours refers to it any more then.
    operation.keep = None
    status = 0 if status == _abi.WEIR_EOF else status
    _call(operation)(error_or_none(status), value)


def _until(operation: Operation, status: int, value: int, extra: int) -> None:
    until = operation.keep
    until._busy = False
    _call(operation)(error_or_none(status), until.take(value) if status >= 0 else b"")


def _each(operation: Operation, status: int, value: int, extra: int) -> None:
    if status < 0:
        _call(operation)(error_or_none(0 if status == _abi.WEIR_EOF else status), b"")
    else:
        _call(operation)(None, operation.owner._context._take(extra, value))


def _with_fds(operation: Operation, status: int, value: int, extra: int) -> None:
    room, array, count = operation.keep
    # Nothing is written where nothing was received. Where there were more fds than room the status tells of it.
    fds = [fd for fd in array[:count.value] if fd >= 0]
    status = 0 if status == _abi.WEIR_EOF else status
    _call(operation)(error_or_none(status), room.taken(value), fds)


def _accepted(operation: Operation, status: int, value: int, extra: int) -> None:
    stream = Stream._wrap(operation.owner._context, value) if status >= 0 else None
    _call(operation)(error_or_none(status), stream)


def _call(operation: Operation) -> Callable[..., object]:
    return operation.callback or _ignore


def _ignore(*_: object) -> None:
    pass

