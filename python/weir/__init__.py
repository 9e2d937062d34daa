"""libweir from Python: an event loop for Linux.

    context = weir.Context()
    context.call_later(0.2, print, "hello after 200 ms")
    context.run()                       # returns when nothing is pending

A callback's first argument is None or the OSError that its operation met. Everything may be called from any thread;
callbacks are called in `Context.run`. `weir.abi` has the C functions, `weir.asyncio` an event loop for asyncio.
"""

from . import _abi
from ._address import Address as Address
from ._context import Context as Context
from ._datagram import Datagram as Datagram
from ._errors import EndOfStream as EndOfStream, Error as Error
from ._handle import Handle as Handle
from ._options import *  # noqa: F403
from ._resolver import Resolver as Resolver
from ._stream import Acceptor as Acceptor, Stream as Stream, Until as Until
from ._timer import Timer as Timer
from ._watch import Process as Process, Signals as Signals, Watch as Watch

__version__ = _abi.VERSION
