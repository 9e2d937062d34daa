"""Names and addresses."""

from __future__ import annotations

import ctypes
from typing import Callable, List, Optional, Union

from . import _abi
from ._address import Address, pack, unpack
from ._context import Context, Operation
from ._errors import error_or_none
from ._handle import Handle, text
from ._library import lib
from ._numbers import int32, uint32

Resolved = Callable[[Optional[OSError], List[Address]], object]
Named = Callable[[Optional[OSError], str, str], object]


class Resolver(Handle):
    """Looks names up on threads of the library's. Several lookups may be pending."""

    def __init__(self, context: Context) -> None:
        super().__init__(context, lib.weir_resolver_create)

    def resolve(self, host: Optional[str], service: Optional[Union[str, int]], callback: Resolved, *, flags: int = 0,
                family: int = 0, socktype: int = 0, protocol: int = 0) -> None:
        """Calls back with the addresses of a host and service."""
        hints = _abi.weir_resolve_hints(struct_size=ctypes.sizeof(_abi.weir_resolve_hints), flags=uint32(flags),
                                        family=int32(family), socktype=int32(socktype),
                                        protocol=int32(protocol))
        self._start(_resolved, callback, None, lib.weir_resolver_resolve, None if host is None else text(host),
                    None if service is None else text(str(service)), hints)

    def reverse(self, address: Address, callback: Named, *, flags: int = 0) -> None:
        """Calls back with the names of the host and the service at an address."""
        packed = pack(address)
        self._start(_named, callback, packed, lib.weir_resolver_reverse, packed, len(packed), uint32(flags))


def _resolved(operation: Operation, status: int, value: int, extra: int) -> None:
    addresses: List[Address] = []
    if status >= 0:
        for index in range(lib.weir_addresses_count(value)):
            at, length = ctypes.c_void_p(), ctypes.c_uint32()
            if lib.weir_addresses_get(value, index, at, length) == 0 and at.value:
                addresses.append(unpack(ctypes.string_at(at.value, length.value)))
        lib.weir_addresses_free(value)
    if operation.callback is not None:
        operation.callback(error_or_none(status), addresses)


def _named(operation: Operation, status: int, value: int, extra: int) -> None:
    host = service = ""
    if status >= 0:
        host = (lib.weir_names_host(value) or b"").decode("utf-8", "surrogateescape")
        service = (lib.weir_names_service(value) or b"").decode("utf-8", "surrogateescape")
        lib.weir_names_free(value)
    if operation.callback is not None:
        operation.callback(error_or_none(status), host, service)
