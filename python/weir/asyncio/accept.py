"""The listening sockets of create_server and its like: as asyncio has them, without a task for each connection."""

import errno
import os
import socket
from asyncio import constants, trsock
from asyncio.log import logger
from typing import Any

_EXHAUSTED = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)

# Plain numbers: the attributes of the same name look an enum up each time.
_family: Any = socket.SocketType.family.__get__
_kind: Any = socket.SocketType.type.__get__
_proto: Any = socket.SocketType.proto.__get__


def sets_no_delay(sock: Any) -> None:
    """Has TCP send at once, where it is TCP."""
    try:
        tcp = _proto(sock) == socket.IPPROTO_TCP and _family(sock) in (socket.AF_INET, socket.AF_INET6)
    except TypeError:  # Only like a socket.
        tcp = (sock.family in (socket.AF_INET, socket.AF_INET6) and sock.type == socket.SOCK_STREAM
               and sock.proto == socket.IPPROTO_TCP)
    if tcp:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


class AcceptMixin:
    """Plain connections. Those with TLS have asyncio's own way, of which their handshake makes little of the cost."""

    def _start_serving(self, protocol_factory: Any, sock: Any, sslcontext: Any = None, server: Any = None,
                       backlog: int = 100, *timeouts: Any, **more: Any) -> None:
        if sslcontext is not None or type(sock) is not socket.socket:
            super()._start_serving(  # type: ignore[misc]
                protocol_factory, sock, sslcontext, server, backlog, *timeouts, **more)
            return
        self._add_reader(sock.fileno(), self._accept_all,  # type: ignore[attr-defined]
                         protocol_factory, sock, server, backlog)

    def _accept_all(self, protocol_factory: Any, listener: Any, server: Any, backlog: int) -> None:
        family, kind, proto = _family(listener), _kind(listener), _proto(listener)
        for _ in range(backlog):
            try:
                fd, address = listener._accept()
            except (BlockingIOError, InterruptedError):
                return
            except ConnectionAbortedError:
                continue
            except OSError as exc:
                if exc.errno not in _EXHAUSTED:
                    raise
                self.call_exception_handler({  # type: ignore[attr-defined]
                    "message": "socket.accept() out of system resource",
                    "exception": exc,
                    "socket": trsock.TransportSocket(listener),
                })
                self._remove_reader(listener.fileno())  # type: ignore[attr-defined]
                self.call_later(constants.ACCEPT_RETRY_DELAY, self._resume_serving,  # type: ignore[attr-defined]
                                protocol_factory, listener, server, backlog)
                return
            try:
                sock = socket.socket(family, kind, proto, fd)
            except BaseException:
                os.close(fd)
                raise
            sock.setblocking(False)
            if self._debug:  # type: ignore[attr-defined]
                logger.debug("%r got a new connection from %r: %r", server, address, sock)
            # In the next turn, as the first step of a task would be.
            self.call_soon(self._accepted, protocol_factory, sock, address, server)  # type: ignore[attr-defined]

    def _resume_serving(self, protocol_factory: Any, listener: Any, server: Any, backlog: int) -> None:
        if listener.fileno() >= 0:  # The server may have been closed.
            self._start_serving(protocol_factory, listener, None, server, backlog)

    def _accepted(self, protocol_factory: Any, sock: Any, address: Any, server: Any) -> None:
        protocol = None
        try:
            protocol = protocol_factory()
            self._make_socket_transport(  # type: ignore[attr-defined]
                sock, protocol, extra={"peername": address}, server=server)
        except (SystemExit, KeyboardInterrupt):
            sock.close()
            raise
        except BaseException as exc:
            sock.close()
            # Told in debug mode only, as asyncio has it.
            if self._debug:  # type: ignore[attr-defined]
                context = {"message": "Error on transport creation for incoming connection", "exception": exc}
                if protocol is not None:
                    context["protocol"] = protocol
                self.call_exception_handler(context)  # type: ignore[attr-defined]
