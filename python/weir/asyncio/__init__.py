"""asyncio on libweir: `weir.asyncio.run(main())` in the place of `asyncio.run(main())`.

`EventLoop` is an asyncio event loop, `run` runs a coroutine on one, and `EventLoopPolicy` has asyncio make such loops
by itself, which programs want that start their loop in a place out of reach.
"""

import asyncio
import sys
from asyncio import unix_events
from typing import Any, Coroutine, Optional, TypeVar

from .loop import EventLoop

__all__ = ("EventLoop", "EventLoopPolicy", "new_event_loop", "run")

_T = TypeVar("_T")


def new_event_loop() -> EventLoop:
    """A new loop; a `loop_factory` for asyncio.Runner and its like."""
    return EventLoop()


def run(main: Coroutine[Any, Any, _T], *, debug: Optional[bool] = None) -> _T:
    """As asyncio.run(), on a loop of libweir's."""
    if asyncio._get_running_loop() is not None:
        raise RuntimeError("weir.asyncio.run() cannot be called from a running event loop")
    if sys.version_info >= (3, 11):
        with asyncio.Runner(debug=debug, loop_factory=EventLoop) as runner:
            return runner.run(main)
    if not asyncio.iscoroutine(main):
        raise ValueError(f"a coroutine was expected, got {main!r}")
    loop = EventLoop()
    try:
        asyncio.set_event_loop(loop)
        if debug is not None:
            loop.set_debug(debug)
        return loop.run_until_complete(main)
    finally:
        try:
            _cancel_all(loop)
            loop.run_until_complete(loop.shutdown_asyncgens())
            loop.run_until_complete(loop.shutdown_default_executor())
        finally:
            asyncio.set_event_loop(None)
            loop.close()


def _cancel_all(loop: asyncio.AbstractEventLoop) -> None:
    tasks = asyncio.all_tasks(loop)
    for task in tasks:
        task.cancel()
    if tasks:
        loop.run_until_complete(asyncio.gather(*tasks, return_exceptions=True))
    for task in tasks:
        if not task.cancelled() and task.exception() is not None:
            loop.call_exception_handler({
                "message": "unhandled exception during weir.asyncio.run() shutdown",
                "exception": task.exception(),
                "task": task,
            })


class EventLoopPolicy(unix_events._UnixDefaultEventLoopPolicy):
    """asyncio.set_event_loop_policy(weir.asyncio.EventLoopPolicy()) has asyncio make loops of libweir's."""

    _loop_factory = EventLoop
