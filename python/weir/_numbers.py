"""Numbers for C: one that does not fit is an error here, where ctypes would cut it."""

from __future__ import annotations

import operator


def _within(number: int, low: int, high: int) -> int:
    whole = operator.index(number)
    if not low <= whole < high:
        raise OverflowError(f"out of range: {number}")
    return whole


def int32(number: int) -> int:
    return _within(number, -(1 << 31), 1 << 31)


def uint32(number: int) -> int:
    return _within(number, 0, 1 << 32)


def int64(number: int) -> int:
    return _within(number, -(1 << 63), 1 << 63)


def size(number: int) -> int:
    return _within(number, 0, 1 << 63)
