"""Addresses: what Python has for them, and struct sockaddr."""

from __future__ import annotations

import ctypes
import socket
import struct
from typing import Tuple, Union

from . import _abi
from ._errors import check
from ._library import lib

# ("127.0.0.1", 80), ("::1", 80, 0, 0), "127.0.0.1:80", "[::1]:80", "unix:/run/x.sock", "unix:@name"
Address = Union[str, Tuple[str, int], Tuple[str, int, int, int]]

STORAGE_SIZE = 128


def pack(address: Address) -> bytes:
    """The struct sockaddr of an address. Names of hosts are for the Resolver; here they are errors."""
    if isinstance(address, str):
        return _parse(address)
    if not isinstance(address, tuple) or len(address) not in (2, 4) or not isinstance(address[0], str):
        raise TypeError(f"not an address: {address!r}")
    host, port = address[0], address[1]
    if not isinstance(port, int) or not 0 <= port <= 65535:
        raise OverflowError("a port is 0 to 65535")
    if len(address) == 2 and ":" not in host:
        packed = b"\0\0\0\0" if host == "" else socket.inet_pton(socket.AF_INET, host)
        return struct.pack("=H", socket.AF_INET) + struct.pack("!H", port) + packed + bytes(8)
    flow, scope = (address[2], address[3]) if len(address) == 4 else (0, 0)
    if "%" in host:
        host, _, zone = host.partition("%")
        scope = int(zone) if zone.isdigit() else socket.if_nametoindex(zone)
    return (struct.pack("=H", socket.AF_INET6) + struct.pack("!HI", port, flow)
            + socket.inet_pton(socket.AF_INET6, host) + struct.pack("=I", scope))


def _parse(text: str) -> bytes:
    encoded = text.encode("utf-8", "surrogateescape")
    if b"\0" in encoded:
        raise ValueError("an address holds no NUL")
    storage = ctypes.create_string_buffer(STORAGE_SIZE)
    length = ctypes.c_uint32(STORAGE_SIZE)
    check(lib.weir_address_parse(encoded, storage, length))
    return storage.raw[:length.value]


def family_of(packed: bytes) -> int:
    return int.from_bytes(packed[:2], "little" if struct.pack("=H", 1) == b"\1\0" else "big")


def unpack(packed: bytes) -> Address:
    """Tuples for the internet; the text form of weir_address_parse() for AF_UNIX; "" where there is no address."""
    if len(packed) < 2:
        return ""
    family = family_of(packed)
    if family == socket.AF_INET and len(packed) >= 8:
        return socket.inet_ntop(socket.AF_INET, packed[4:8]), int.from_bytes(packed[2:4], "big")
    if family == socket.AF_INET6 and len(packed) >= 28:
        scope = struct.unpack("=I", packed[24:28])[0]
        port, flow = struct.unpack("!HI", packed[2:8])
        return socket.inet_ntop(socket.AF_INET6, packed[8:24]), port, flow, scope
    if family != socket.AF_UNIX or len(packed) == 2:
        return ""
    text = ctypes.create_string_buffer(_abi.WEIR_ADDRESS_TEXT_MAX)
    check(lib.weir_address_format(packed, len(packed), text, len(text)))
    return text.value.decode("utf-8", "surrogateescape")
