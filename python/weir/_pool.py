"""What the library reads into buffers of its own is copied out before anyone sees it: the pool dies with its context."""

from __future__ import annotations

import ctypes

from ._errors import check
from ._library import lib


class Pool:
    def __init__(self, context: int) -> None:
        base, size, slots = ctypes.c_void_p(), ctypes.c_size_t(), ctypes.c_size_t()
        check(lib.weir_context_pool(context, base, size, slots))
        self._context = context
        self._base = base.value or 0
        self.slot_size = size.value

    def take(self, offset: int, length: int) -> bytes:
        """Copies a buffer and gives it back."""
        data = ctypes.string_at(self._base + offset, min(length, self.slot_size))
        lib.weir_context_pool_release(self._context, offset)
        return data
