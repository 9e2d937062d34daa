"""Sockets that keep messages apart."""

from __future__ import annotations

import ctypes
from typing import Callable, Optional, Tuple, Union

from ._address import STORAGE_SIZE, Address, pack, unpack
from ._context import Context, Operation
from ._errors import check, error_or_none
from ._handle import counted
from ._library import lib
from ._numbers import uint32
from ._socket import Room, Waiting, readable

Received = Callable[[Optional[OSError], bytes], object]
ReceivedFrom = Callable[[Optional[OSError], bytes, Address], object]
Moved = Callable[[Optional[OSError], int], object]

Data = Union[bytes, bytearray, memoryview]


class Datagram(Waiting):
    """A UDP or AF_UNIX datagram socket. One operation of each direction may be pending."""

    _prefix = "weir_datagram"

    def __init__(self, context: Context) -> None:
        super().__init__(context, lib.weir_datagram_create)

    @classmethod
    def pair(cls, context: Context) -> Tuple["Datagram", "Datagram"]:
        """Two AF_UNIX sockets that are connected with each other."""
        first, second = ctypes.c_void_p(), ctypes.c_void_p()
        check(lib.weir_datagram_pair(context._handle, first, second))
        pair = cls.__new__(cls), cls.__new__(cls)
        pair[0]._own(context, first.value or 0)
        pair[1]._own(context, second.value or 0)
        return pair

    def connect(self, address: Address) -> None:
        """Sets the peer; at once, as nothing is sent."""
        packed = pack(address)
        check(lib.weir_datagram_connect(self._handle, packed, len(packed)))

    def disconnect(self) -> None:
        check(lib.weir_datagram_disconnect(self._handle))

    def join(self, group: Address, interface: int = 0) -> None:
        """Joins a multicast group, on the interface of this index."""
        packed = pack(group)
        check(lib.weir_datagram_join(self._handle, packed, len(packed), uint32(interface)))

    def leave(self, group: Address, interface: int = 0) -> None:
        packed = pack(group)
        check(lib.weir_datagram_leave(self._handle, packed, len(packed), uint32(interface)))

    def unlink(self) -> None:
        """Removes the path of an AF_UNIX socket."""
        check(lib.weir_datagram_unlink(self._handle))

    # Receiving.

    def receive(self, size: int, callback: Received) -> None:
        """Receives one datagram; EMSGSIZE and its beginning where it is longer than `size`."""
        room = Room(size)
        self._start(_received, callback, room, lib.weir_datagram_receive, room.address, room.size)

    def receive_from(self, size: int, callback: ReceivedFrom) -> None:
        """As `receive`, and tells the sender."""
        room, storage = Room(size), ctypes.create_string_buffer(STORAGE_SIZE)
        length = ctypes.c_uint32(STORAGE_SIZE)
        self._start(_received_from, callback, (room, storage, length), lib.weir_datagram_receive_from, room.address,
                    room.size, storage, length)

    def receive_each(self, callback: ReceivedFrom) -> None:
        """Receives one after another until it is cancelled or closed, or the socket meets an error: the last call.

        One that is longer than a buffer of the context's pool (4096 bytes, unless the context was made with another
        `pool_slot_size`) is cut.
        """
        self._start(_each, callback, None, _receive_each, multi=True)

    # Sending.

    def send(self, data: Data, callback: Optional[Moved] = None) -> None:
        """Sends to the peer of a connected socket."""
        data = readable(data)
        self._start(counted, callback, data, lib.weir_datagram_send, data, len(data))

    def send_to(self, data: Data, address: Address, callback: Optional[Moved] = None) -> None:
        data, packed = readable(data), pack(address)
        self._start(counted, callback, (data, packed), lib.weir_datagram_send_to, data, len(data), packed, len(packed))

    def try_send(self, data: Data) -> bool:
        """Sends now; False where there is no room for it."""
        data, count = readable(data), ctypes.c_size_t()
        check(lib.weir_datagram_try_send(self._handle, data, len(data), count))
        return count.value > 0

    def try_send_to(self, data: Data, address: Address) -> bool:
        data, packed, count = readable(data), pack(address), ctypes.c_size_t()
        check(lib.weir_datagram_try_send_to(self._handle, data, len(data), packed, len(packed), count))
        return count.value > 0


def _receive_each(handle: int, _: None, key: int) -> int:
    # The one function without a callback.
    return lib.weir_datagram_receive_each(handle, key)


def _received(operation: Operation, status: int, value: int, extra: int) -> None:
    if operation.callback is not None:
        operation.callback(error_or_none(status), operation.keep.taken(value))


def _received_from(operation: Operation, status: int, value: int, extra: int) -> None:
    room, storage, length = operation.keep
    # Nothing was received where it was cancelled or failed, and nothing written.
    address = unpack(storage.raw[:min(length.value, STORAGE_SIZE)])
    if operation.callback is not None:
        operation.callback(error_or_none(status), room.taken(value), address)


def _each(operation: Operation, status: int, value: int, extra: int) -> None:
    data = b""
    address: Address = ""
    if status >= 0:
        context = operation.owner._context
        address = context._sender(extra)
        data = context._take(extra, value)
    if operation.callback is not None:
        operation.callback(error_or_none(status), data, address)
