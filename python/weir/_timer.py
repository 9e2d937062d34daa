"""Timers."""

from __future__ import annotations

import ctypes

from ._context import Context, nanoseconds
from ._errors import check
from ._handle import Done, Handle, done
from ._library import lib
from ._numbers import int64


class Timer(Handle):
    def __init__(self, context: Context) -> None:
        super().__init__(context, lib.weir_timer_create)

    def expires_after(self, seconds: float) -> None:
        """Sets the expiry. What waits for the one before is ended with ECANCELED."""
        check(lib.weir_timer_expires_after(self._handle, nanoseconds(seconds)))

    def expires_at(self, at_ns: int) -> None:
        """Sets the expiry to a moment of the context's clock, in nanoseconds."""
        check(lib.weir_timer_expires_at(self._handle, int64(at_ns)))

    def wait(self, callback: Done) -> None:
        """Calls back when the timer expires. Several may wait."""
        self._start(done, callback, None, lib.weir_timer_wait)

    def start(self, first: float, period: float, callback: Done) -> None:
        """Calls back after `first` seconds and then every `period`, until `stop`: a last time with ECANCELED."""
        self._start(done, callback, None, lib.weir_timer_start, nanoseconds(first), nanoseconds(period), multi=True)

    def stop(self) -> None:
        check(lib.weir_timer_stop(self._handle, None))

    @property
    def remaining(self) -> float:
        """Seconds until the expiry; 0 when it is over."""
        left = ctypes.c_int64()
        check(lib.weir_timer_remaining(self._handle, left))
        return left.value / 1_000_000_000
