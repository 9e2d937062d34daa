"""The event loop: it starts operations, collects their records, and calls what was given with them.

Operations are begun with a NULL callback, so that nothing enters Python from C: `weir_context_reap` waits without
the GIL and hands over records, each of which names its operation by a number. Until its record has come an
operation, and with it every object and buffer that it needs, is held in `_operations`.
"""

from __future__ import annotations

import ctypes
import errno
import itertools
import math
import operator
import os
import struct
import sys
import threading
import time
import weakref
from typing import TYPE_CHECKING, Any, Callable, Dict, Iterator, List, Optional, Tuple, Type

from . import _abi
from ._address import STORAGE_SIZE, Address, unpack
from ._errors import check, error_of
from ._library import lib
from ._numbers import uint32
from ._pool import Pool

if TYPE_CHECKING:
    from types import TracebackType

    from ._handle import Handle
    from ._timer import Timer

# Receives (operation, status, value, extra).
Finish = Callable[["Operation", int, int, int], object]

Record = Tuple[int, int, int, int, int]

RECORDS = 256
# How often `poll` asks for more, so that callbacks that begin others do not keep it for ever.
ROUNDS = 16
# The same for `close`, which tells what is complete: after so many records it cancels.
CLOSING_ROUNDS = 4096
RECORD = struct.Struct("=QQQIi")


class Operation:
    """What is pending: who began it, whom to tell, and what has to stay alive meanwhile."""

    __slots__ = ("key", "owner", "finish", "callback", "keep", "multi")

    def __init__(self, key: int, owner: Any, finish: Finish, callback: Optional[Callable[..., object]], keep: Any,
                 multi: bool) -> None:
        self.key = key
        self.owner = owner
        self.finish = finish
        self.callback = callback
        self.keep = keep
        self.multi = multi


_contexts: "weakref.WeakSet[Context]" = weakref.WeakSet()


class Context:
    """An event loop. One thread at a time runs it; everything else may be called from any thread.

    Callbacks are called in `run`, one after another, and their first argument is None or the OSError that the operation
    met. An exception that leaves one comes out of `run`, which can be called again and goes on with the next.
    """

    _handle: int = 0

    def __init__(self, *, manual_clock: bool = False, pool_slots: int = 0, pool_slot_size: int = 0) -> None:
        self._operations: Dict[int, Operation] = {}
        self._handles: Dict[int, "weakref.ref[Handle]"] = {}
        options = _abi.weir_context_options(struct_size=ctypes.sizeof(_abi.weir_context_options))
        options.flags = INTERRUPTIBLE | (_abi.WEIR_CONTEXT_MANUAL_CLOCK if manual_clock else 0)
        options.pool_slots = uint32(pool_slots)
        options.pool_slot_size = uint32(pool_slot_size)
        self._keys = itertools.count(1)
        # The thread that runs the context: {0: its number}, as setdefault is one step and del calls nothing.
        self._owner: Dict[int, int] = {}
        self._stop_lock = threading.RLock()
        self._stopping = False
        self._hosted = False
        self._depth = 0
        self._buffer = (_abi.weir_record * RECORDS)()
        self._view = memoryview(self._buffer).cast("B")
        self._records_at = ctypes.addressof(self._buffer)
        self._count = ctypes.c_size_t(0)
        self._count_at = ctypes.addressof(self._count)
        self._batch: Iterator[Record] = iter(())
        self._pool: Optional[Pool] = None
        handle = ctypes.c_void_p()
        check(lib.weir_context_create(options, handle))
        self._handle = handle.value or 0
        _contexts.add(self)

    # Running.

    def run(self, timeout: Optional[float] = None) -> int:
        """Calls callbacks until nothing is pending any more, `stop` is called, or `timeout` seconds are over.

        Returns how many were called. May be called again, and from a callback.
        """
        return self._run(deadline_of(timeout), None)

    def run_one(self, timeout: Optional[float] = None) -> int:
        """Waits for one callback and calls it. Returns 1, or 0 where none came."""
        return self._run(deadline_of(timeout), 1)

    def poll(self) -> int:
        """Calls the callbacks of what is ready, and does not wait."""
        return self._run(0, None, rounds=ROUNDS)

    def stop(self) -> None:
        """Has `run` return after the callback that it is in, or at its next call. Safe in signal handlers."""
        with self._stop_lock:
            self._stopping = True
            check(lib.weir_context_stop(self._handle))

    def _run(self, deadline: Optional[int], limit: Optional[int], rounds: Optional[int] = None) -> int:
        depth = self._enter()
        called = 0
        operations = self._operations
        taken: Optional[Record] = None
        operation: Optional[Operation] = None
        try:
            self._depth = depth + 1
            if not self._handle:
                raise error_of(_abi.WEIR_EBADF)
            while not self._stopping:
                batch = self._batch
                for taken in batch:
                    key, value, extra, _, status = taken
                    operation = operations.get(key)
                    if operation is None:
                        continue
                    if status < 0 or not operation.multi:
                        del operations[key]
                    called += 1
                    finish = operation.finish
                    # From here on an exception is the callback's.
                    taken = None
                    finish(operation, status, value, extra)
                    if self._stopping or called == limit:
                        return called
                # Not to hold what is done while waiting.
                taken = operation = None
                if batch is not self._batch:
                    # A callback has run the context, and left these.
                    continue
                if rounds is not None:
                    rounds -= 1
                    if rounds < 0:
                        break
                elif called and deadline is not None and time.monotonic_ns() >= deadline:
                    break
                if not self._reap(deadline):
                    break
        except BaseException:
            if taken is not None:
                # A signal handler's, before the callback was called: the next run does that.
                self._batch = iter([taken, *self._batch])
                if operation is not None and operation.key == taken[0]:
                    operations[taken[0]] = operation
            raise
        finally:
            # Nothing is called before these are done, so that no signal handler's exception comes between.
            self._depth = depth
            if depth == 0:
                del self._owner[0]
                self._settle()
        return called

    def _enter(self) -> int:
        """Makes this thread the one that runs the context, if none or this one does; how deep it is in it already."""
        me = threading.get_ident()
        if self._owner.setdefault(0, me) != me:
            raise error_of(-errno.EBUSY)
        if self._depth and not self._is_running_here():
            # An exception of a signal handler has ended a run before it could tell.
            self._depth = 0
        return self._depth

    def _is_running_here(self) -> bool:
        """Whether this thread, the one that has called `_enter`, is in `_run` or `close` further out."""
        frame = sys._getframe(2).f_back
        while frame is not None:
            if frame.f_code in (Context._run.__code__, Context.close.__code__) and frame.f_locals.get("self") is self:
                return True
            frame = frame.f_back
        return False

    def _settle(self) -> None:
        left = operator.length_hint(self._batch) > 0
        if not self._handle or not (self._stopping or self._hosted or left):
            return
        with self._stop_lock:
            self._stopping = False
            lib.weir_context_restart(self._handle)
        if left:
            # The loop that this one may be embedded in hears of the fd only.
            lib.weir_context_post(self._handle, None, 0)

    def _reap(self, deadline: Optional[int]) -> bool:
        """Collects records; waits for them until the deadline. False: there is nothing to wait for, or no time."""
        count = self._count
        while True:
            # An exception of a signal handler may have come between the call below and the lines after it: what the
            # call brought is still in the buffer then.
            if not count.value:
                wait = TICK if deadline is None else min(max(deadline - time.monotonic_ns(), 0), TICK)
                status = _reap(self._handle, self._records_at, RECORDS, wait, self._count_at)
                if status < 0 and status != -errno.EINTR:
                    raise error_of(status)
            reaped = count.value
            if reaped:
                self._batch = iter([RECORD.unpack_from(self._view)] if reaped == 1 else
                                   list(RECORD.iter_unpack(self._view[:reaped * RECORD.size])))
                count.value = 0
                return True
            if self._stopping or lib.weir_context_stopped(self._handle):
                return False
            if deadline is not None and time.monotonic_ns() >= deadline:
                return False

    def _finish(self, record: Record) -> bool:
        """Ends the operation of a record and calls its callback, as `_run` does."""
        key, value, extra, _, status = record
        operation = self._operations.get(key)
        if operation is None:
            return False
        if not operation.multi or status < 0:
            del self._operations[key]
        operation.finish(operation, status, value, extra)
        return True

    # Starting.

    def _start(self, owner: Any, finish: Finish, callback: Optional[Callable[..., object]], keep: Any,
               function: Callable[..., int], *arguments: Any, multi: bool = False) -> None:
        """Calls a function of the library's that begins an operation; `None, key` follow its arguments."""
        if callback is not None and not callable(callback):
            raise TypeError("the callback is not callable")
        key = next(self._keys)
        self._operations[key] = Operation(key, owner, finish, callback, keep, multi)
        try:
            status = function(*arguments, None, key)
        except ctypes.ArgumentError:
            del self._operations[key]
            raise
        # Another exception is one of a signal handler, after the call: the operation may have begun, and stays.
        if status < 0:
            del self._operations[key]
            raise error_of(status)

    def post(self, callback: Callable[..., object], *arguments: object) -> None:
        """Has the callback called in `run`, later. From any thread."""
        self._start(None, _posted, callback, arguments, _post, self._handle)

    def call_later(self, delay: float, callback: Callable[..., object], *arguments: object) -> "Timer":
        """Calls the callback in so many seconds, unless the timer that it returns is closed before."""
        from ._timer import Timer

        timer = Timer(self)
        timer.expires_after(delay)
        self._start(timer, _timed, callback, arguments, lib.weir_timer_wait, timer._handle)
        return timer

    def work_begin(self) -> None:
        """Keeps `run` going with nothing pending, until `work_end`."""
        check(lib.weir_context_work_begin(self._handle))

    def work_end(self) -> None:
        check(lib.weir_context_work_end(self._handle))

    # Asking.

    @property
    def closed(self) -> bool:
        return not self._handle

    @property
    def pending(self) -> int:
        """The operations whose callback is still to come."""
        return len(self._operations)

    def fileno(self) -> int:
        """An fd that is readable whenever `poll` has something to do: for use inside another event loop."""
        fd = ctypes.c_int()
        check(lib.weir_context_fd(self._handle, fd))
        # A context that has stopped for want of work would not make the fd readable for what comes then.
        self._hosted = True
        check(lib.weir_context_restart(self._handle))
        return fd.value

    def wakeup_fd(self) -> int:
        """An fd of the context's, for ``signal.set_wakeup_fd``: a byte that is written to it ends a wait in the kernel."""
        fd = ctypes.c_int()
        check(lib.weir_context_wakeup_fd(self._handle, fd))
        return fd.value

    def wakeup_values(self) -> List[int]:
        """Which bytes came to it since the last time, in order of their values: numbers of signals."""
        values = (ctypes.c_uint64 * 4)()
        check(lib.weir_context_wakeup_values(self._handle, values))
        return [byte for byte in range(256) if values[byte // 64] >> byte % 64 & 1]

    def now(self) -> int:
        """The time of the context's clock, in nanoseconds."""
        now = ctypes.c_int64()
        check(lib.weir_context_now(self._handle, now))
        return now.value

    def turn_now(self) -> int:
        """The same as it was when somebody first asked for it in this turn."""
        now = ctypes.c_int64()
        check(lib.weir_context_turn_now(self._handle, now))
        return now.value

    def advance(self, seconds: float) -> None:
        """Moves a manual clock."""
        check(lib.weir_context_advance(self._handle, nanoseconds(seconds)))

    def stats(self) -> Dict[str, int]:
        """What weir_stats tells."""
        stats = _abi.weir_stats(struct_size=ctypes.sizeof(_abi.weir_stats))
        check(lib.weir_context_stats(self._handle, stats))
        return {name: getattr(stats, name) for name, *_ in _abi.weir_stats._fields_ if name != "struct_size"}

    def _take(self, offset: int, length: int) -> bytes:
        if self._pool is None:
            self._pool = Pool(self._handle)
        return self._pool.take(offset, length)

    def _sender(self, offset: int) -> Address:
        storage, length = ctypes.create_string_buffer(STORAGE_SIZE), ctypes.c_uint32(STORAGE_SIZE)
        check(lib.weir_context_pool_sender(self._handle, offset, storage, length))
        return unpack(storage.raw[:length.value])

    # Ending.

    def close(self) -> None:
        """Closes every handle, and calls what is pending with ECANCELED. Not from a callback (EBUSY)."""
        if self._enter():
            raise error_of(-errno.EBUSY)
        raised: List[BaseException] = []
        try:
            if not self._handle:
                return
            # What is complete is told as it was; the rest, and what these callbacks begin, is cancelled.
            self._depth = 1
            for _ in range(CLOSING_ROUNDS):
                for record in self._batch:
                    _collect(raised, self._finish, record)
                if not self._count.value:
                    lib.weir_context_reap(self._handle, self._buffer, RECORDS, 0, self._count)
                if not self._count.value:
                    break
                self._batch = iter(self._decode())
            self._destroy()
            while self._operations:
                key = next(iter(self._operations))
                _collect(raised, self._finish, (key, 0, 0, 0, _abi.WEIR_ECANCELED))
        finally:
            self._depth = 0
            del self._owner[0]
        if raised:
            raise raised[0]

    def _decode(self) -> List[Record]:
        """The records in the buffer, which is empty then."""
        batch = list(RECORD.iter_unpack(self._view[:self._count.value * RECORD.size]))
        self._count.value = 0
        return batch

    def _destroy(self) -> None:
        handle, self._handle = self._handle, 0
        for reference in list(self._handles.values()):
            owner = reference()
            if owner is not None:
                owner._handle = 0
        self._handles.clear()
        lib.weir_context_destroy(handle)

    def _forget(self) -> None:
        """In the child of a fork: what is here belongs to the parent."""
        self._handle = 0
        for reference in list(self._handles.values()):
            owner = reference()
            if owner is not None:
                owner._handle = 0
        self._operations.clear()
        self._batch = iter(())
        self._count.value = 0

    def __del__(self) -> None:
        if self._handle:
            # Nobody is in `run`, which holds a reference. No callback is called from a destructor.
            self._destroy()

    def __enter__(self) -> "Context":
        return self

    def __exit__(self, kind: Optional[Type[BaseException]], value: Optional[BaseException],
                 traceback: "Optional[TracebackType]") -> None:
        self.close()

    def __repr__(self) -> str:
        state = "closed" if not self._handle else f"{self.pending} pending"
        return f"<weir.Context {state}>"


# The library returns at a signal, so that Python handles it.
INTERRUPTIBLE: int = getattr(_abi, "WEIR_CONTEXT_INTERRUPTIBLE", 0)
# One that comes right before the library sleeps is seen after so many nanoseconds.
TICK = 500_000_000 if INTERRUPTIBLE else 100_000_000

_post: Any = lib.weir_context_post
# By addresses, which ctypes passes in half the time.
_reap: Any = lib.variant("weir_context_reap", True)
_reap.argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int64, ctypes.c_void_p]


def _posted(operation: Operation, status: int, value: int, extra: int) -> None:
    if status >= 0 and operation.callback is not None:
        operation.callback(*operation.keep)


def _timed(operation: Operation, status: int, value: int, extra: int) -> None:
    operation.owner.close()
    _posted(operation, status, value, extra)


def _collect(raised: List[BaseException], function: Callable[[Record], object], record: Record) -> None:
    try:
        function(record)
    except BaseException as error:
        raised.append(error)


def nanoseconds(seconds: float) -> int:
    """Seconds as the library counts them; infinity, and more than 292 years, is for ever."""
    if not isinstance(seconds, (int, float)) or isinstance(seconds, float) and math.isnan(seconds):
        raise TypeError(f"not a number of seconds: {seconds!r}")
    if seconds >= 9.2e9:
        return _abi.WEIR_FOREVER
    return max(int(seconds * 1_000_000_000), -(1 << 62))


def deadline_of(timeout: Optional[float]) -> Optional[int]:
    if timeout is None:
        return None
    ns = nanoseconds(timeout)
    check(_abi.WEIR_EINVAL if ns < 0 else 0)
    return None if ns == _abi.WEIR_FOREVER else time.monotonic_ns() + ns


def _after_fork_in_child() -> None:
    for context in list(_contexts):
        context._forget()
        # A lock that another thread of the parent held would stay locked.
        context._owner = {}
        context._stop_lock = threading.RLock()
        context._depth = 0
        context._stopping = False


os.register_at_fork(after_in_child=_after_fork_in_child)
