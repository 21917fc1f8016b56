"""An event loop in which hours pass at once: real sockets, and a clock that jumps when nothing else is to be done."""

from __future__ import annotations

import asyncio
import contextlib
import random
import select
import selectors
import sys
from collections.abc import Callable, Coroutine, Iterator
from typing import Any, TypeVar

from kraken_fastkey._runtime import Runtime

_T = TypeVar("_T")
_START = 1_800_000_000.0
_QUIET_SECONDS = 0.0005  # of real time: what was sent over loopback has arrived by then


class _JumpingSelector(selectors.DefaultSelector):
    """Waits for sockets only as long as they need; then lets the clock jump to the next timer."""

    def __init__(self, quiet: Callable[[float], float] = lambda _: _QUIET_SECONDS) -> None:
        super().__init__()
        self.now = 0.0
        self._quiet = quiet

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        """Return what is ready."""
        events = super().select(0)
        if events or (timeout is not None and timeout <= 0):
            return events
        if timeout is None:
            return super().select(None)
        # Not the selector's own timeout: epoll would make a whole millisecond of it, some ten thousand times.
        select.select([self.fileno()], [], [], self._quiet(timeout))
        events = super().select(0)
        if not events:
            self.now += timeout
        return events


class VirtualTimeLoop(asyncio.SelectorEventLoop):
    """An event loop whose time is the selector's.

    Args:
        quiet: For how many real seconds nothing must have come before the clock jumps ahead by so many.
    """

    def __init__(self, quiet: Callable[[float], float] = lambda _: _QUIET_SECONDS) -> None:
        self._clock = _JumpingSelector(quiet)
        super().__init__(self._clock)

    def time(self) -> float:
        """Return the seconds that have passed in here."""
        return self._clock.now

    def wall_clock(self) -> float:
        """Return the time in Unix seconds."""
        return _START + self._clock.now

    def runtime(self, seed: int = 0) -> Runtime:
        """Return the seam that lets a client live in this time."""
        chance = random.Random(seed)  # noqa: S311  # repeatable on purpose
        return Runtime(time=self.wall_clock, monotonic=self.time, sleep=asyncio.sleep, random=chance.random)


def run_virtually(main: Callable[[VirtualTimeLoop], Coroutine[Any, Any, _T]]) -> _T:
    """Run a coroutine in a loop of its own, and return its result."""
    with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
        loop = runner.get_loop()
        assert isinstance(loop, VirtualTimeLoop)
        return runner.run(main(loop))


@contextlib.contextmanager
def hurrying() -> Iterator[None]:
    """Let the clock jump without waiting for loopback: on Linux, what was sent has arrived when the send returns."""
    global _QUIET_SECONDS  # noqa: PLW0603  # of all loops that run meanwhile
    quiet = _QUIET_SECONDS
    if sys.platform == "linux":
        _QUIET_SECONDS = 0.0
    try:
        yield
    finally:
        _QUIET_SECONDS = quiet
