"""What the three kinds of sockets have in common."""

from __future__ import annotations

import ctypes
import operator
import os
import socket
from typing import Any, Callable, Tuple, Union

from . import _abi
from ._address import STORAGE_SIZE, Address, family_of, pack, unpack
from ._context import nanoseconds
from ._errors import check
from ._handle import Done, Handle, done, text
from ._library import lib
from ._numbers import int32


class Socket(Handle):
    """A handle with a socket: its functions are those of weir.h whose names begin with `_prefix`."""

    _prefix = ""

    @classmethod
    def _function(cls, name: str) -> Any:
        return getattr(lib, f"{cls._prefix}_{name}")

    def open(self, family: int) -> None:
        """Opens a socket of this family, so that options can be set before it is bound or connected."""
        check(self._function("open")(self._handle, int32(family)))

    def bind(self, address: Address) -> None:
        packed = pack(address)
        check(self._function("bind")(self._handle, packed, len(packed)))

    def adopt(self, sock: Union[socket.socket, int]) -> None:
        """Takes over a socket, or an fd; a `socket.socket` is detached, an fd must not be closed by anyone else."""
        if isinstance(sock, socket.socket):
            check(self._function("adopt")(self._handle, sock.fileno()))
            sock.detach()
        else:
            check(self._function("adopt")(self._handle, int32(sock)))

    def release(self) -> int:
        """Gives the fd back; it is the caller's to close."""
        fd = ctypes.c_int(-1)
        check(self._function("release")(self._handle, fd))
        return fd.value

    def fileno(self) -> int:
        fd = ctypes.c_int(-1)
        check(self._function("fd")(self._handle, fd))
        return fd.value

    @property
    def local_address(self) -> Address:
        return self._address(self._function("local_address"))

    def _address(self, function: Callable[..., int]) -> Address:
        storage = ctypes.create_string_buffer(STORAGE_SIZE)
        length = ctypes.c_uint32(STORAGE_SIZE)
        check(function(self._handle, storage, length))
        return unpack(storage.raw[:length.value])

    def set(self, option: int, value: int) -> None:
        """Sets one of the options weir.OPT_..."""
        check(self._function("set")(self._handle, int32(option), int32(value)))

    def get(self, option: int) -> int:
        value = ctypes.c_int()
        check(self._function("get")(self._handle, int32(option), value))
        return value.value

    def set_option(self, level: int, name: int, value: Union[int, bytes]) -> None:
        """setsockopt()."""
        data = value.to_bytes(4, "little", signed=True) if isinstance(value, int) else bytes(value)
        check(self._function("set_option")(self._handle, int32(level), int32(name), data, len(data)))

    def get_option(self, level: int, name: int, size: int = 256) -> bytes:
        """getsockopt(): at most `size` bytes."""
        if not 0 < size <= 65536:
            raise OverflowError("1 to 65536 bytes")
        data = ctypes.create_string_buffer(size)
        length = ctypes.c_uint32(size)
        check(self._function("get_option")(self._handle, int32(level), int32(name), data, length))
        return data.raw[:length.value]

    def bind_to_device(self, name: str) -> None:
        check(self._function("bind_to_device")(self._handle, text(name)))


class Waiting(Socket):
    """A socket that moves data."""

    @property
    def remote_address(self) -> Address:
        return self._address(self._function("remote_address"))

    def wait_readable(self, callback: Done) -> None:
        """Calls back when there is something to read; nothing is read."""
        self._start(done, callback, None, self._function("wait"), _abi.WEIR_WAIT_READ)

    def wait_writable(self, callback: Done) -> None:
        self._start(done, callback, None, self._function("wait"), _abi.WEIR_WAIT_WRITE)


class Room:
    """Memory for the library to write into, which stays in its place as long as anything refers to this."""

    __slots__ = ("data", "address", "size", "_anchor")

    def __init__(self, size: int) -> None:
        size = operator.index(size)
        if not 0 <= size <= 1 << 40:
            raise OverflowError(f"not a size: {size}")
        self.data = bytearray(size or 1)
        # A bytearray that is exported can't be resized, so that its address stays.
        self._anchor = ctypes.c_char.from_buffer(self.data)
        self.address = ctypes.addressof(self._anchor)
        self.size = size

    def taken(self, length: int) -> bytes:
        return memoryview(self.data)[:min(length, self.size)].tobytes()


def readable(data: Union[bytes, bytearray, memoryview]) -> bytes:
    """Bytes that nobody changes while the library sends them: what is not `bytes` is copied."""
    return data if type(data) is bytes else memoryview(data).tobytes()


def writable(data: Union[bytearray, memoryview]) -> Tuple[Any, int, int]:
    """What holds a buffer of the caller's in its place, its address and its size."""
    view = memoryview(data).cast("B")
    if view.readonly:
        raise TypeError("the buffer is read-only")
    if not view.nbytes:
        raise ValueError("the buffer is empty")
    anchor = ctypes.c_char.from_buffer(view)
    return anchor, ctypes.addressof(anchor), view.nbytes


class Duplicate:
    """An fd of our own of a file, open as long as the operation that needs it is pending."""

    __slots__ = ("fd",)

    def __init__(self, file: Any) -> None:
        self.fd = -1
        self.fd = os.dup(file if isinstance(file, int) else file.fileno())

    def __del__(self) -> None:
        if self.fd >= 0:
            os.close(self.fd)


__all__ = ["Address", "Duplicate", "Room", "Socket", "Waiting", "family_of", "nanoseconds", "readable", "writable"]
