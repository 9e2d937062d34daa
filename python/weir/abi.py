"""The thin layer: every constant, struct, callback type and function of weir.h, under its name there.

Functions are attributes of `lib`: `lib.weir_context_create(None, ctypes.byref(handle))`. They return what the C function
returns and check nothing; a wrong pointer crashes. A handle is an int, `ctypes.c_void_p` where C writes one.
"""

from ._abi import *  # noqa: F403
from ._library import Library as Library, bind as bind, find as find, lib as lib
