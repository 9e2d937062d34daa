"""The selector of the event loop: what is submitted goes in, and records come out, with one call a turn.

A watch of an fd is a weir_watch. Transports and the like do not go through watches: they get a token from
`attach`, begin operations with it, and their function is called with each record that bears it.
"""

import ctypes
import errno
import math
import os
import selectors
import struct
import threading
from collections.abc import Mapping
from typing import Any, Callable, Dict, Iterator, List, Optional, Set, Tuple, Union

from .. import abi
from ..abi import lib

_CAPACITY = 512  # Records of one turn.
_SUBMISSIONS = 1024  # Submissions of one call.
_MOMENT = 100_000  # Nanoseconds.
_POOL_SLOTS = 64
# Somewhat more than a round number: a message of 64 KiB leaves room, which tells that there is no more of it, and
# what begins two buffers is not kept in the same lines of the caches.
_POOL_SLOT_SIZE = 65536 + 17 * 64

_submission = struct.Struct("=IiQQQQ")
_record = struct.Struct("=QQQQ")  # The last of them is kind and status, see serve().
_iter_records = _record.iter_unpack

# Called with objects of ctypes that are made once: conversions by argtypes would cost as much as the rest of the call.
_enter = lib.variant("weir_context_enter", releases_gil=True)
_enter.argtypes = None
# The same, with the GIL kept: for what does not wait, where another thread would take it for milliseconds.
_enter_keeping = lib.variant("weir_context_enter", releases_gil=False)
_enter_keeping.argtypes = None
_stream_create = lib.variant("weir_stream_create", releases_gil=False)
_stream_create.argtypes = None
_try_write = lib.variant("weir_stream_try_write", releases_gil=False)
_try_write.argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_size_t, ctypes.c_void_p]

# Where the bytes of a bytes object are, from its address on. (bytes.__basicsize__ counts the final 0.)
BYTES_AT = bytes.__basicsize__ - 1
_probe = b"where the bytes are"
if ctypes.string_at(id(_probe) + BYTES_AT, len(_probe)) != _probe:
    raise ImportError("weir.asyncio needs CPython")

THREADS = threading._active  # type: ignore[attr-defined]

_FOREVER = abi.WEIR_FOREVER
_size, _time = ctypes.c_size_t.from_param, ctypes.c_int64.from_param
_NO_WAIT = _time(0)
_EINTR = -errno.EINTR
# What asyncio calls readable: everything but bare room to write, and the other way round.
_READABLE = ~abi.WEIR_WATCH_WRITE
_WRITABLE = ~abi.WEIR_WATCH_READ

_NOTHING: Iterator[Tuple[Any, ...]] = iter(())
# Kind and status of a record as one number, whose comparison costs less than two: data has come.
_CAME = abi.WEIR_OP_READ
_RECEIVED = abi.WEIR_OP_RECEIVE

OnRecord = Callable[[int, int, int], None]


def error(code: int) -> OSError:
    """The exception for a negative code of the library's."""
    if -4096 < code < 0:
        return OSError(-code, os.strerror(-code))
    return OSError(errno.EIO, (lib.weir_strerror(code) or b"").decode())


def check(code: int) -> None:
    if code < 0:
        raise error(code)


class _Keys(Mapping):  # type: ignore[type-arg]
    """What is registered, by fd or by an object that has one."""

    def __init__(self, watches: "Dict[int, _AnyWatch]") -> None:
        self._watches = watches

    def __len__(self) -> int:
        return len(self._watches)

    def __iter__(self) -> Iterator[int]:
        return iter(self._watches)

    def get(self, fileobj: Any, default: Any = None) -> Any:
        watch = self._watches.get(fileobj)
        if watch is not None:
            return watch.key
        try:
            return self[fileobj]
        except KeyError:
            return default

    def __getitem__(self, fileobj: Any) -> selectors.SelectorKey:
        return self._watches[_fd_of(fileobj, self._watches)].key


def _fd_of(fileobj: Any, watches: "Dict[int, _AnyWatch]") -> int:
    if isinstance(fileobj, int):
        fd = fileobj
    else:
        try:
            fd = int(fileobj.fileno())
        except (AttributeError, TypeError, ValueError):
            # A closed file has no fd any more, but may still be registered.
            for watch in watches.values():
                if watch.key.fileobj is fileobj:
                    return watch.key.fd
            raise ValueError(f"Invalid file object: {fileobj!r}") from None
    if fd < 0:
        for watch in watches.values():
            if watch.key.fileobj is fileobj:
                return watch.key.fd
        raise ValueError(f"Invalid file descriptor: {fd}")
    return fd


class _Watch:
    __slots__ = ("drain", "handle", "token", "key")

    def __init__(self, drain: "Drain", key: selectors.SelectorKey) -> None:
        self.drain = drain
        self.key = key
        handle = ctypes.c_void_p()
        check(lib.weir_watch_create(drain.context, key.fd, ctypes.byref(handle)))
        self.handle = handle.value
        self.token = drain.attach(self.on_record)
        code = lib.weir_watch_start(self.handle, key.events, abi.WEIR_WATCH_PERSISTENT,
                                     _FOREVER, None, self.token)
        if code < 0:
            self.close()
            raise error(code)

    def on_record(self, events: int, _extra: int, status: int) -> None:
        if status < 0:
            return
        key = self.key
        ready = 0
        if events & _READABLE:
            ready = selectors.EVENT_READ
        if events & _WRITABLE:
            ready |= selectors.EVENT_WRITE
        ready &= key.events
        if ready:
            self.drain.on_ready(key, ready)

    def close(self) -> None:
        self.drain.detach(self.token)
        lib.weir_watch_close(self.handle)


class _Room:
    """Waits for room to send, for an fd that a datagram handle has in its keeping: no watch can have it as well."""

    __slots__ = ("drain", "handle", "token", "key", "_waiting")

    def __init__(self, drain: "Drain", handle: int) -> None:
        self.drain = drain
        self.handle = handle
        self.token = drain.attach(self.on_record)
        self.key: Any = None
        self._waiting = False

    def start(self, key: selectors.SelectorKey) -> None:
        self.key = key
        if not self._waiting:
            check(lib.weir_datagram_wait(self.handle, abi.WEIR_WAIT_WRITE, None, self.token))
            self._waiting = True

    def on_record(self, _value: int, _extra: int, status: int) -> None:
        self._waiting = False
        key = self.key
        if key is None or status < 0:
            return
        if key.events & selectors.EVENT_WRITE:
            self.drain.on_ready(key, selectors.EVENT_WRITE)
        self.start(key)

    def close(self) -> None:
        # The wait goes on: a cancel would have to be waited for before the next may begin.
        self.key = None


_AnyWatch = Union[_Watch, _Room]


class Drain(selectors.BaseSelector):
    """A context, its watches, and the records of those that have a token."""

    def __init__(self) -> None:
        options = abi.weir_context_options()
        options.struct_size = ctypes.sizeof(options)
        # A signal ends the wait also where the program has a wake-up fd of its own (see EventLoop.run_forever).
        options.flags = getattr(abi, "WEIR_CONTEXT_INTERRUPTIBLE", 0)
        options.thread_hint = 1
        options.pool_slots = _POOL_SLOTS
        options.pool_slot_size = _POOL_SLOT_SIZE
        context = ctypes.c_void_p()
        check(lib.weir_context_create(ctypes.byref(options), ctypes.byref(context)))
        self.context = context.value
        # Without work a wait would return at once.
        check(lib.weir_context_work_begin(self.context))
        self._watches: Dict[int, _AnyWatch] = {}
        self._map = _Keys(self._watches)
        self.on_ready: Callable[[selectors.SelectorKey, int], None] = self._collect
        self._ready: List[Tuple[selectors.SelectorKey, int]] = []

        self.on_lend: Callable[[int], None] = lambda fd: None
        self.handlers: Dict[int, OnRecord] = {}
        self.readers: Dict[int, Any] = {}  # Transports by the token of their reading ...
        self.feeds: Dict[int, Callable[[bytes], Any]] = {}  # ... and what is called with their data.
        self.streams: Set[int] = set()  # Their sockets are Python's, and only lent.
        self.lent: Dict[int, _Room] = {}  # Of datagram sockets, by fd.
        self.addresses: Any = None  # Of datagrams, see datagram.py.
        self._next_token = 1
        # Packed submissions of the next call.
        self.submissions: List[bytes] = []
        self.dirty: List[Any] = []  # Transports that have something to send at the end of the turn.
        self._in = ctypes.create_string_buffer(_submission.size * _SUBMISSIONS)
        self._in_view = memoryview(self._in).cast("B")
        self._results = memoryview(self._in).cast("B").cast("i")
        self._out = ctypes.create_string_buffer(_record.size * _CAPACITY)
        self._out_view = memoryview(self._out).cast("B")
        self.count = ctypes.c_size_t()
        self.count_at = ctypes.addressof(self.count)
        # What was passed by reference, or converted, once: the cheapest arguments that ctypes knows.
        self._context_ref = ctypes.byref(ctypes.c_char.from_address(self.context or 0))
        self._in_ref, self._out_ref = ctypes.byref(self._in), ctypes.byref(self._out)
        self._count_ref = ctypes.byref(self.count)
        # Whole lists of arguments by the number of submissions, without a limit, and views by the number of records.
        self._calls: List[Tuple[Any, ...]] = []
        self._views: List[memoryview] = []
        self._created = ctypes.c_void_p()
        self._create_arguments = (self._context_ref, ctypes.byref(self._created))
        self._checked = False  # Something was submitted that may fail.
        # The records of this turn that are not served yet.
        self.records: Iterator[Tuple[Any, ...]] = iter(())
        self._unserved = False
        self.pool: Any = None
        self.releases: Dict[int, bytes] = {}

    # -- tokens and submissions

    def attach(self, function: OnRecord) -> int:
        token = self._next_token
        self._next_token = token + 1
        self.handlers[token] = function
        return token

    def detach(self, token: int) -> None:
        self.handlers.pop(token, None)
        self.readers.pop(token, None)
        self.feeds.pop(token, None)

    def lend(self, fd: int) -> Optional[int]:
        """A stream for a connected socket, or None where it is of no kind that a stream takes."""
        self.on_lend(fd)
        check(_stream_create(*self._create_arguments))
        stream = self._created.value or 0
        if lib.weir_stream_adopt(stream, fd) < 0:
            lib.weir_stream_close(stream)
            return None
        self.streams.add(stream)
        return stream

    def release(self, stream: int) -> None:
        """Ends a stream that was lent a socket; the socket stays open."""
        fd = ctypes.c_int()
        lib.weir_stream_release(stream, ctypes.byref(fd))
        lib.weir_stream_close(stream)

    def lend_datagram(self, fd: int) -> int:
        """A handle for a datagram socket, or 0 where it is none."""
        self.on_lend(fd)
        handle = ctypes.c_void_p()
        check(lib.weir_datagram_create(self.context, ctypes.byref(handle)))
        datagram = handle.value or 0
        if lib.weir_datagram_adopt(datagram, fd) < 0:
            lib.weir_datagram_close(datagram)
            return 0
        lib.weir_handle_keep_fd(datagram, 1)
        self.lent[fd] = _Room(self, datagram)
        return datagram

    def release_datagram(self, fd: int, datagram: int) -> None:
        """Ends a handle that was lent a socket; the socket stays open."""
        room = self.lent.get(fd)
        if room is not None and room.handle == datagram:
            del self.lent[fd]
            self.detach(room.token)
            lib.weir_datagram_close(datagram)

    def use_pool(self) -> Any:
        """The memory of multi-shot reads; `releases` has for each offset the submission that gives it back."""
        if self.pool is None:
            base, size, slots = ctypes.c_void_p(), ctypes.c_size_t(), ctypes.c_size_t()
            check(lib.weir_context_pool(self.context, ctypes.byref(base), ctypes.byref(size),
                                         ctypes.byref(slots)))
            # A slice of it is a bytes object, made in one step.
            memory = ctypes.c_char * (size.value * slots.value)
            self.pool = memory.from_address(base.value or 0)
            for slot in range(slots.value):
                at = slot * size.value
                self.releases[at] = _submission.pack(abi.WEIR_SUBMIT_RELEASE, 0, 0, 0, at, 0)
        return self.pool

    def submit(self, kind: int, handle: int, data: int, length: int, token: int) -> None:
        """Has an operation begun with the next turn. If it cannot begin its token gets a record that says so."""
        self._checked = True
        self.submissions.append(_submission.pack(kind, 0, handle, data, length, token))

    def _send(self) -> None:
        """What the transports have written in this turn, each with one call."""
        dirty, keeping, write = self.dirty, len(THREADS) > 1, os.write
        for transport in dirty:
            data = transport._first
            if data is None:
                transport._send_queue()
                continue
            if keeping:
                if _try_write(transport._stream, id(data) + BYTES_AT, len(data), self.count_at) < 0:
                    transport._send_queue()  # Meets it again.
                    continue
                number = self.count.value
            else:
                try:
                    # As send() of the socket, for half of what that costs. The number is asked for each time: one
                    # that is kept could be another file's, where somebody has closed the socket.
                    number = write(transport._fileno(), data)
                except OSError:
                    transport._send_queue()
                    continue
            transport._first = None
            if number == len(data):
                transport._room = transport._deferred
            else:
                transport._queued = len(data)
                transport._write_from(data, number)
        dirty.clear()

    def flush(self) -> None:
        """Begins now what was submitted."""
        if self.dirty:
            self._send()
        while self.submissions:
            batch = self.submissions[:_SUBMISSIONS]
            del self.submissions[:_SUBMISSIONS]
            length = len(batch) * _submission.size
            self._in_view[:length] = b"".join(batch)
            code = _enter(self._context_ref, self._in_ref, _size(len(batch)), None, _size(0), _NO_WAIT, self._count_ref)
            if code < 0:
                raise error(code)
            self._check_results(len(batch))

    def _check_results(self, number: int) -> None:
        words = _submission.size // 4
        if any(self._results[1:number * words:words]):
            length = number * _submission.size
            for _, result, _, _, _, token in list(
                    _submission.iter_unpack(self._in_view[:length])):
                handler = self.handlers.get(token) if result < 0 and token else None
                if handler is not None:
                    handler(0, 0, result)

    def enter(self, timeout: Optional[float]) -> Iterator[Tuple[Any, ...]]:
        """As enter_for, with the time in seconds."""
        if timeout is None:
            return self.enter_for(_FOREVER)
        return self.enter_for(min(math.ceil(timeout * 1e9), _FOREVER) if timeout > 0 else 0)

    def enter_for(self, limit: int) -> Iterator[Tuple[Any, ...]]:
        """One turn: begins what was submitted, waits, and gives (token, value, extra, kind and status) of each
        record. What a previous turn has left comes first."""
        if self._unserved:
            return self.records
        if self.dirty:
            self._send()
        submissions = self.submissions
        number = len(submissions)
        if number:
            if number > _SUBMISSIONS:
                self.flush()
                number = 0
            else:
                self._in_view[:number * 40] = b"".join(submissions)
                submissions.clear()
        try:
            call = self._calls[number]
        except IndexError:
            call = self._call(number)
        if limit == _FOREVER and len(THREADS) == 1:
            code = _enter(*call)
        else:
            code = self._enter_other(call, limit)
        if self._checked:
            self._checked = False
            self._check_results(number)
        if code:
            if code != _EINTR:
                raise error(code)
            self.records = records = _NOTHING
            return records
        came = self.count.value
        try:
            view = self._views[came]
        except IndexError:
            view = self._view(came)
        self.records = records = _iter_records(view)
        return records

    def _enter_other(self, call: Tuple[Any, ...], limit: int) -> int:
        """With a limit, or with other threads."""
        code: int
        if not limit:
            code = _enter_keeping(*call[:5], _NO_WAIT, self._count_ref)
            return code
        if len(THREADS) > 1:
            # Where these may take the GIL for milliseconds the replies of a moment are waited for with it.
            self.count.value = 0
            code = _enter_keeping(*call[:5], _time(min(limit, _MOMENT)), self._count_ref)
            if code or self.count.value:
                return code
            call = self._calls[0]
        code = _enter(*call[:5], _time(limit), self._count_ref)
        return code

    def _call(self, number: int) -> Tuple[Any, ...]:
        calls = self._calls
        while len(calls) <= number:
            calls.append((self._context_ref, self._in_ref, _size(len(calls)), self._out_ref, _size(_CAPACITY),
                          _time(_FOREVER), self._count_ref))
        return calls[number]

    def _view(self, number: int) -> memoryview:
        views = self._views
        while len(views) <= number:
            views.append(self._out_view[:len(views) * _record.size])
        return views[number]

    def serve(self) -> None:
        """Calls the functions of the records. Where one raises, the rest is served by the next call."""
        came, handlers, feeds, releases = _CAME, self.handlers, self.feeds, self.releases
        pool, release, records = self.pool, self.submissions.append, self.records
        self._unserved = True
        other = True
        while other:
            other = False
            try:
                for token, value, extra, what in records:
                    if what == came:
                        # The hot path: data, which always is a transport's.
                        release(releases[extra])
                        feeds[token](pool[extra:extra + value])
                        continue
                    other = True
                    handler = handlers.get(token)
                    if handler is not None:
                        status = what >> 32
                        handler(value, extra, status - (1 << 32) if status >> 31 else status)
                    elif what == _RECEIVED and extra in releases:
                        release(releases[extra])  # Nobody wants it any more.
                    other = False
            except (SystemExit, KeyboardInterrupt):
                raise
            except BaseException as exc:
                if other:
                    raise
                other = True  # To go on with the next.
                reader = self.readers.get(token)
                if reader is not None:
                    reader._fatal_error(exc, "Fatal error: protocol.data_received() call failed.")
                elif type(exc) is not KeyError or exc.__traceback__ is None or exc.__traceback__.tb_next is not None:
                    raise
                # Else it was closed meanwhile, and nobody wants the data any more.
        self._unserved = False

    # -- selector

    def _collect(self, key: selectors.SelectorKey, events: int) -> None:
        self._ready.append((key, events))

    def register(self, fileobj: Any, events: int, data: Any = None) -> selectors.SelectorKey:
        if not events or events & ~(selectors.EVENT_READ | selectors.EVENT_WRITE):
            raise ValueError(f"Invalid events: {events!r}")
        key = selectors.SelectorKey(fileobj, _fd_of(fileobj, self._watches), events, data)
        if key.fd in self._watches:
            raise KeyError(f"{fileobj!r} (FD {key.fd}) is already registered")
        room = self.lent.get(key.fd)
        if room is None:
            self._watches[key.fd] = _Watch(self, key)
        else:
            room.start(key)
            self._watches[key.fd] = room
        return key

    def unregister(self, fileobj: Any) -> selectors.SelectorKey:
        try:
            watch = self._watches.pop(_fd_of(fileobj, self._watches))
        except KeyError:
            raise KeyError(f"{fileobj!r} is not registered") from None
        watch.close()
        return watch.key

    def modify(self, fileobj: Any, events: int, data: Any = None) -> selectors.SelectorKey:
        try:
            watch = self._watches[_fd_of(fileobj, self._watches)]
        except KeyError:
            raise KeyError(f"{fileobj!r} is not registered") from None
        if events != watch.key.events and isinstance(watch, _Watch):
            code = lib.weir_watch_change(watch.handle, events)
            if code < 0:
                self.unregister(fileobj)
                raise error(code)
        watch.key = watch.key._replace(events=events, data=data)
        return watch.key

    def select(self, timeout: Optional[float] = None) -> List[Tuple[selectors.SelectorKey, int]]:
        self.enter(timeout)
        self._ready = []
        self.serve()
        return self._ready

    def get_map(self) -> Any:
        return self._map

    def get_key(self, fileobj: Any) -> selectors.SelectorKey:
        try:
            return self._map[fileobj]
        except KeyError:
            raise KeyError(f"{fileobj!r} is not registered") from None

    def close(self) -> None:
        if self.context is None:
            return
        for stream in self.streams:
            self.release(stream)
        self.streams.clear()
        for room in self.lent.values():
            lib.weir_datagram_close(room.handle)
        self.lent.clear()
        self.handlers.clear()
        self.readers.clear()
        self.feeds.clear()
        self._watches.clear()
        self.submissions.clear()
        self.records = iter(())
        self.pool = None
        lib.weir_context_destroy(self.context)
        self.context = None
