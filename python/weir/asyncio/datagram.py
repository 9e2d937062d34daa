"""The transport of a datagram socket: asyncio's, on a watch, and for a peer that has no name as well."""

import errno
from asyncio import selector_events
from typing import Any


class DatagramTransport(selector_events._SelectorDatagramTransport):  # type: ignore[name-defined,misc]
    """What create_datagram_endpoint of an EventLoop gives to a protocol."""

    def sendto(self, data: Any, addr: Any = None) -> None:
        if addr is None and self._address is None and not self._extra["peername"] and data:
            # A socket may have a peer without a name: half of a pair. Or it has none, and the protocol is told.
            try:
                self._sock.getpeername()
            except OSError:
                self._protocol.error_received(OSError(errno.EDESTADDRREQ, "no address to send to"))
                return
            self._extra["peername"] = _Nameless()
        super().sendto(data, addr)


class _Nameless(str):
    """The peer's name as getpeername gives it, and true, which has the base class use send()."""

    def __bool__(self) -> bool:
        return True
