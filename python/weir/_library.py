"""Finds libweir.so, loads it and binds its functions: `lib` has each of them under its name in weir.h.

The library is looked for in this order: the path in WEIR_LIBRARY, the one inside this package (put there by the
wheel), the system's. Functions that may block, or call back, release the GIL; those that return at once keep it, as
giving it away and taking it again costs more than the call.
"""

from __future__ import annotations

import ctypes
import os
from typing import TYPE_CHECKING, Any

from . import _abi

SONAME = "libweir.so.0"


def find() -> str:
    """The path or name that the library is loaded by."""
    given = os.environ.get("WEIR_LIBRARY")
    if given:
        return given
    inside = os.path.join(os.path.dirname(os.path.abspath(__file__)), "lib", SONAME)
    return inside if os.path.exists(inside) else SONAME


if TYPE_CHECKING:
    _Base = _abi.Functions
else:
    _Base = object


class Library(_Base):
    """The functions of one loaded library, bound when they are first used."""

    def __init__(self, path: str) -> None:
        try:
            self._releasing = ctypes.CDLL(path)
            self._keeping = ctypes.PyDLL(path)
        except OSError as error:
            raise ImportError(f"libweir can't be loaded from {path!r} ({error}); WEIR_LIBRARY names another") from None
        self.path = path

    if not TYPE_CHECKING:
        def __getattr__(self, name: str) -> Any:
            if name not in _abi.FUNCTIONS:
                raise AttributeError(f"weir.h has no function {name!r}")
            function = bind(self._releasing if _abi.FUNCTIONS[name][0] else self._keeping, name)
            setattr(self, name, function)
            return function

    def variant(self, name: str, releases_gil: bool) -> Any:
        """A function that releases the GIL, or does not, whatever the header says of it."""
        return bind(self._releasing if releases_gil else self._keeping, name)


def bind(library: ctypes.CDLL, name: str) -> Any:
    """A function object of its own, so that a caller may change its argtypes."""
    _, result, arguments = _abi.FUNCTIONS[name]
    try:
        function = library[name]
    except AttributeError:
        raise NotImplementedError(f"this libweir is older than weir.h: it has no {name}") from None
    function.restype = result
    function.argtypes = list(arguments)
    return function


def check(library: Library) -> None:
    """Refuses a library that this package was not written for."""
    if ctypes.sizeof(ctypes.c_void_p) != 8:
        raise ImportError("libweir is for 64-bit systems")
    version = library.weir_version()
    major, minor = version >> 16, version >> 8 & 0xFF
    # Before 1.0 a new minor version may break the ABI.
    wanted = _abi.WEIR_VERSION_MAJOR, _abi.WEIR_VERSION_MINOR
    if major != wanted[0] or (minor != wanted[1] if major == 0 else minor < wanted[1]):
        raise ImportError(f"{library.path} is version {major}.{minor}, this package is for {wanted[0]}.{wanted[1]}")
    # Known from the version of the library on that has it.
    if "weir_struct_size" in _abi.FUNCTIONS:
        size_of: Any = getattr(library, "weir_struct_size")
        for name, struct in _abi.STRUCTS.items():
            ours, its = ctypes.sizeof(struct), size_of(name.encode())
            # Those that tell their size may be larger in a newer library; it takes ours then.
            if its and (its < ours if struct._fields_[0][0] == "struct_size" else its != ours):
                raise ImportError(f"{library.path}: {name} has {its} bytes, this package is for {ours}")


lib = Library(find())
check(lib)
