"""Codes of the library as exceptions."""

from __future__ import annotations

from typing import Optional

from . import _abi
from ._library import lib


class Error(OSError):
    """A code of libweir's that is no errno: `name` is its name in weir.h, `errno` the (negative) code itself.

    Errnos come as the OSError that Python has for them, such as ConnectionRefusedError.
    """

    def __init__(self, code: int, text: str, name: str) -> None:
        super().__init__(code, text)
        self.name = name


class EndOfStream(Error, EOFError):
    """WEIR_EOF: the peer has sent all that it will."""


def error_of(code: int) -> OSError:
    """The exception for a negative code."""
    name = (lib.weir_error_name(code) or b"").decode()
    text = f"{name}: {(lib.weir_strerror(code) or b'').decode()}"
    if code > -4096:
        return OSError(-code, text)
    return (EndOfStream if code == _abi.WEIR_EOF else Error)(code, text, name)


def check(code: int) -> int:
    """Raises for a negative code."""
    if code < 0:
        raise error_of(code)
    return code


def error_or_none(code: int) -> Optional[OSError]:
    return None if code >= 0 else error_of(code)
