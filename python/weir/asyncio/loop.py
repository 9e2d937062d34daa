"""The event loop: asyncio's own for Unix, whose selector is the drain of a weir context."""

import asyncio
import errno
import heapq
import io
import os
import selectors
import signal
import threading
from asyncio import base_events, exceptions, sslproto
from typing import Any, Optional

from .. import abi
from .accept import AcceptMixin
from .datagram import DatagramTransport
from .drain import Drain, error
from .sock import SockMixin, Waits, family_of
from .stream import StreamTransport


_FOREVER = abi.WEIR_FOREVER
_LONGEST = base_events.MAXIMUM_SELECT_TIMEOUT  # type: ignore[attr-defined]
_CANCELLED_MIN = base_events._MIN_SCHEDULED_TIMER_HANDLES  # type: ignore[attr-defined]
_CANCELLED_PART = base_events._MIN_CANCELLED_TIMER_HANDLES_FRACTION  # type: ignore[attr-defined]


_Base: Any = asyncio.SelectorEventLoop


class _LoopDrain(Drain):
    """Leaves the serving to the loop, so that a record whose function raises takes no other with it."""

    def select(self, timeout: Optional[float] = None) -> Any:
        return self.enter(timeout)


class EventLoop(AcceptMixin, SockMixin, asyncio.SelectorEventLoop):
    """An asyncio event loop that waits in libweir."""

    # What the base class has and its type stubs have not.
    _check_closed: Any
    _clock_resolution: float
    _csock: Any
    _debug: bool
    _ready: Any
    _remove_reader: Any
    _remove_writer: Any
    _scheduled: Any
    _signal_handlers: Any
    _stopping: bool
    _timer_cancelled_count: int

    def __init__(self, selector: Optional[selectors.BaseSelector] = None) -> None:
        # A selector is taken for the sake of those who make loops with one; there is no use for it here.
        if selector is not None:
            selector.close()
        self._drain = _LoopDrain()
        self._drain.on_ready = self._on_ready
        self._waits = Waits(self._drain)
        super().__init__(self._drain)

    def _on_ready(self, key: selectors.SelectorKey, events: int) -> None:
        reader, writer = key.data
        if events & selectors.EVENT_READ and reader is not None:
            if reader._cancelled:
                self._remove_reader(key.fd)
            else:
                self._ready.append(reader)
        if events & selectors.EVENT_WRITE and writer is not None:
            if writer._cancelled:
                self._remove_writer(key.fd)
            else:
                self._ready.append(writer)

    def _process_events(self, event_list: Any) -> None:
        self._drain.serve()

    def _make_socket_transport(self, sock: Any, protocol: Any, waiter: Any = None, *,
                               extra: Any = None, server: Any = None) -> Any:
        stream = self._drain.lend(sock.fileno())
        if stream is None:
            return _Base._make_socket_transport(self, sock, protocol, waiter, extra=extra, server=server)
        try:
            return StreamTransport(self, sock, stream, protocol, waiter, extra, server)
        except BaseException:
            self._drain.streams.discard(stream)
            self._drain.release(stream)
            raise

    async def create_connection(self, protocol_factory: Any, host: Any = None, port: Any = None,
                                **options: Any) -> Any:
        family = 0 if options or self._debug or type(port) is not int else family_of(host)
        if not family:
            return await _Base.create_connection(self, protocol_factory, host, port, **options)
        # What the base class does for one address, without what only names and options need.
        socket: Any = base_events.socket  # type: ignore[attr-defined]
        sock = socket.socket(family=family, type=socket.SOCK_STREAM, proto=socket.IPPROTO_TCP)
        try:
            sock.setblocking(False)
            await self.sock_connect(sock, (host, port) if family == socket.AF_INET else (host, port, 0, 0))
            protocol = protocol_factory()
            waiter = self.create_future()
            transport = self._make_socket_transport(sock, protocol, waiter)
        except BaseException:
            sock.close()
            raise
        try:
            await waiter
        except BaseException:
            transport.close()
            raise
        return transport, protocol

    def _make_datagram_transport(self, sock: Any, protocol: Any, address: Any = None, waiter: Any = None,
                                 extra: Any = None) -> Any:
        return DatagramTransport(self, sock, protocol, address, waiter, extra)

    def _make_ssl_transport(self, rawsock: Any, protocol: Any, sslcontext: Any, waiter: Any = None,
                            *, server_side: bool = False, server_hostname: Any = None,
                            extra: Any = None, server: Any = None, **limits: Any) -> Any:
        ssl_protocol = sslproto.SSLProtocol(self, protocol, sslcontext, waiter, server_side,
                                            server_hostname, **limits)
        self._make_socket_transport(rawsock, ssl_protocol, extra=extra, server=server)
        return ssl_protocol._app_transport

    async def _sendfile_native(self, transp: Any, file: Any, offset: int, count: int) -> int:
        if not isinstance(transp, StreamTransport):
            return int(await _Base._sendfile_native(self, transp, file, offset, count))
        try:
            fd = file.fileno()
            size = os.fstat(fd).st_size
        except (AttributeError, io.UnsupportedOperation, OSError):
            raise exceptions.SendfileNotAvailableError("not a regular file") from None
        resume_reading = transp.is_reading()
        transp.pause_reading()
        await transp._make_empty_waiter()
        try:
            sent, status = await transp._send_file(fd, offset, count or max(size - offset, 0))
        finally:
            transp._reset_empty_waiter()
            if resume_reading:
                transp.resume_reading()
        if sent == 0 and status in (-errno.EINVAL, -errno.ENOSYS):
            raise exceptions.SendfileNotAvailableError("this file cannot be sent by the kernel")
        if sent > 0:
            file.seek(offset + sent)
        if status < 0 and status != abi.WEIR_EOF:
            exc = error(status)
            transp._fatal_error(exc)
            raise exc
        return sent

    def _run_once(self) -> None:
        # As BaseEventLoop has it, without what only debug mode needs.
        if self._debug:
            _Base._run_once(self)
            return
        scheduled, ready, drain = self._scheduled, self._ready, self._drain
        if scheduled:
            self._drop_cancelled()
            scheduled = self._scheduled
        if ready or self._stopping:
            drain.enter_for(0)
        elif scheduled:
            drain.enter(min(scheduled[0]._when - self.time(), _LONGEST))
        else:
            drain.enter_for(_FOREVER)
        drain.serve()
        if scheduled:
            end = self.time() + self._clock_resolution
            while scheduled and scheduled[0]._when < end:
                handle = heapq.heappop(scheduled)
                handle._scheduled = False
                ready.append(handle)
        # What these call is left for the next turn.
        if ready:
            for _ in range(len(ready)):
                handle = ready.popleft()
                if not handle._cancelled:
                    handle._run()
            handle = None  # Not kept alive until the next turn.

    def _drop_cancelled(self) -> None:
        scheduled = self._scheduled
        if (self._timer_cancelled_count > _CANCELLED_MIN
                and self._timer_cancelled_count / len(scheduled) > _CANCELLED_PART):
            kept = []
            for handle in scheduled:
                if handle._cancelled:
                    handle._scheduled = False
                else:
                    kept.append(handle)
            heapq.heapify(kept)
            self._scheduled = kept
            self._timer_cancelled_count = 0
            return
        while scheduled and scheduled[0]._cancelled:
            self._timer_cancelled_count -= 1
            heapq.heappop(scheduled)._scheduled = False

    def run_forever(self) -> None:
        self._check_closed()
        # A signal must end the wait, so that Python's handlers get their turn.
        restore = False
        if threading.current_thread() is threading.main_thread():
            before = signal.set_wakeup_fd(self._csock.fileno(), warn_on_full_buffer=False)
            restore = before == -1
            if not restore:
                signal.set_wakeup_fd(before)
        try:
            super().run_forever()
        finally:
            if restore and not self._signal_handlers:
                signal.set_wakeup_fd(-1)
            self._drain.flush()
