"""What happens outside: fds of the program's own, signals, children."""

from __future__ import annotations

import ctypes
import math
import os
from typing import Any, Callable, Optional, Union

from . import _abi
from ._context import Context, Operation, nanoseconds
from ._errors import check, error_or_none
from ._handle import Handle, counted
from ._library import lib
from ._numbers import int32, uint32

# Called with None or what went wrong, and the events, signal, or exit code.
Told = Callable[[Optional[OSError], int], object]


class Watch(Handle):
    """Watches an fd that stays the caller's. Events are the sum of weir.WATCH_..."""

    def __init__(self, context: Context, file: Union[int, Any]) -> None:
        super().__init__(context, lib.weir_watch_create, int32(file if isinstance(file, int) else file.fileno()))

    def start(self, events: int, callback: Told, *, persistent: bool = False, edge: bool = False,
              timeout: float = math.inf) -> None:
        """Calls back once, or, if persistent, each time until `stop`."""
        flags = (_abi.WEIR_WATCH_PERSISTENT if persistent else 0) | (_abi.WEIR_WATCH_EDGE if edge else 0)
        self._start(counted, callback, None, lib.weir_watch_start, uint32(events), flags, nanoseconds(timeout),
                    multi=persistent)

    def change(self, events: int) -> None:
        check(lib.weir_watch_change(self._handle, uint32(events)))

    def stop(self) -> None:
        check(lib.weir_watch_stop(self._handle, None))

    def feed(self, events: int) -> None:
        """Has a started watch fire with these events."""
        check(lib.weir_watch_feed(self._handle, uint32(events)))

    def set_fd(self, fd: int) -> None:
        check(lib.weir_watch_set_fd(self._handle, int32(fd)))

    def set_timeout(self, seconds: float) -> None:
        check(lib.weir_watch_set_timeout(self._handle, nanoseconds(seconds)))

    def fileno(self) -> int:
        fd = ctypes.c_int()
        check(lib.weir_watch_fd(self._handle, fd))
        return fd.value


class Signals(Handle):
    """A set of signals. While a signal is in a set Python's own handler for it is not called."""

    def __init__(self, context: Context, *signals: int) -> None:
        super().__init__(context, lib.weir_signals_create)
        for signo in signals:
            self.add(signo)

    def add(self, signo: int, flags: int = 0) -> None:
        check(lib.weir_signals_add(self._handle, int32(signo), uint32(flags)))

    def remove(self, signo: int) -> None:
        check(lib.weir_signals_remove(self._handle, int32(signo)))

    def wait(self, callback: Told) -> None:
        """Calls back with the next signal that arrives, or has arrived and was not told."""
        self._start(counted, callback, None, lib.weir_signals_wait)

    @property
    def arrived(self) -> int:
        """Signals that have arrived and that no wait has taken."""
        count = ctypes.c_size_t()
        check(lib.weir_signals_arrived(self._handle, count))
        return count.value


class Process(Handle):
    """A child process, however it was started. Nothing else may wait for it."""

    def __init__(self, context: Context, pid: int) -> None:
        super().__init__(context, lib.weir_process_create, int32(pid))

    def wait(self, callback: Told) -> None:
        """Calls back with the exit code; one below 0 is the signal that ended it."""
        self._start(_exited, callback, None, lib.weir_process_wait)

    def kill(self, signo: int) -> None:
        check(lib.weir_process_kill(self._handle, int32(signo)))

    @property
    def pid(self) -> int:
        pid = ctypes.c_int()
        check(lib.weir_process_pid(self._handle, pid))
        return pid.value


def _exited(operation: Operation, status: int, value: int, extra: int) -> None:
    if operation.callback is not None:
        operation.callback(error_or_none(status), os.waitstatus_to_exitcode(value) if status >= 0 else 0)
