"""What all handles have in common."""

from __future__ import annotations

import ctypes
from typing import TYPE_CHECKING, Any, Callable, Optional, Type, TypeVar
import weakref

from ._context import Context, Operation
from ._errors import check, error_or_none
from ._library import lib

if TYPE_CHECKING:
    from types import TracebackType

# Called with None or what went wrong.
Done = Callable[[Optional[OSError]], object]

Self = TypeVar("Self", bound="Handle")


class Handle:
    """Belongs to a context, which keeps it alive while something is pending on it; `close` ends it.

    One that nobody refers to and that has nothing pending is closed.
    """

    _handle: int = 0
    _context: Context

    def __init__(self, context: Context, create: Callable[..., int], *arguments: Any) -> None:
        if not isinstance(context, Context):
            raise TypeError(f"not a Context: {context!r}")
        handle = ctypes.c_void_p()
        check(create(context._handle, *arguments, handle))
        self._own(context, handle.value or 0)

    def _own(self, context: Context, handle: int) -> None:
        self._context = context
        self._handle = handle
        context._handles[handle] = weakref.ref(self)

    @property
    def context(self) -> Context:
        return self._context

    @property
    def closed(self) -> bool:
        return not self._handle

    def close(self) -> None:
        """Ends the handle at once. What is pending on it completes with ECANCELED, in `run`."""
        handle, self._handle = self._handle, 0
        if handle:
            self._context._handles.pop(handle, None)
            lib.weir_handle_close(handle)

    def cancel(self) -> int:
        """Ends what is pending with ECANCELED, and returns how many operations that were."""
        count = ctypes.c_size_t()
        check(lib.weir_handle_cancel(self._handle, count))
        return count.value

    def set_name(self, name: str) -> None:
        """Names the handle, for reports."""
        check(lib.weir_handle_set_name(self._handle, text(name)))

    def _start(self, finish: Callable[[Operation, int, int, int], object], callback: Optional[Callable[..., object]],
               keep: Any, function: Callable[..., int], *arguments: Any, multi: bool = False) -> None:
        self._context._start(self, finish, callback, keep, function, self._handle, *arguments, multi=multi)

    def __del__(self) -> None:
        if self._handle:
            self.close()

    def __enter__(self: Self) -> Self:
        return self

    def __exit__(self, kind: Optional[Type[BaseException]], value: Optional[BaseException],
                 traceback: "Optional[TracebackType]") -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<weir.{type(self).__name__} {'closed' if self.closed else hex(self._handle)}>"


def done(operation: Operation, status: int, value: int, extra: int) -> None:
    """The end of an operation that gives nothing."""
    if operation.callback is not None:
        operation.callback(error_or_none(status))


def counted(operation: Operation, status: int, value: int, extra: int) -> None:
    """The end of one that gives a number."""
    if operation.callback is not None:
        operation.callback(error_or_none(status), value)


def text(value: str) -> bytes:
    """A string for C."""
    encoded = value.encode("utf-8", "surrogateescape")
    if b"\0" in encoded:
        raise ValueError("a string for C holds no NUL")
    return encoded
