"""Time limits that share one timer of the event loop.

`asyncio.timeout` arms a timer for each block, and so does aiohttp for each request: 4 to 6 % of a call each, though
nearly every block ends long before its time. Here the blocks are only noted down, and the one timer goes off for
the earliest of them, by which time that one has mostly ended.
"""

from __future__ import annotations

import asyncio
import math
from types import TracebackType
from typing import Self


class Deadlines:
    """One serves one event loop at a time.

    Attributes:
        running: The limits whose blocks are running.
    """

    __slots__ = ("_loop", "_timer", "running")

    def __init__(self) -> None:
        self.running: set[Limit] = set()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._timer: asyncio.TimerHandle | None = None

    def within(self, seconds: float | None) -> Limit:
        """Return a context manager that raises a `TimeoutError` when so many seconds, from now, are over.

        It may be entered again, one time after another: the seconds go on.

        Args:
            seconds: How long; `None` for no bound.
        """
        loop = asyncio.get_running_loop()
        if loop is not self._loop:
            if self._loop is not None and not self._loop.is_closed():
                return Deadlines().within(seconds)  # what runs in the other loop, perhaps another thread, goes on
            self._loop, self._timer = loop, None
            self.running.clear()
        return Limit(self, loop, math.inf if seconds is None else loop.time() + seconds)

    def close(self) -> None:
        """Leave no timer behind, if no limit is running."""
        if self._timer is not None and not self.running:
            self._timer.cancel()
            self._timer = None

    def advance(self, due: float) -> None:
        """See to it that the timer goes off by then."""
        timer = self._timer
        if due == math.inf or (timer is not None and timer.when() <= due):
            return
        if timer is not None:
            timer.cancel()
        if self._loop is not None:
            self._timer = self._loop.call_at(due, self._go_off, self._loop)

    def _go_off(self, loop: asyncio.AbstractEventLoop) -> None:
        self._timer = None
        now = loop.time()
        over = {limit for limit in self.running if limit.due <= now}
        self.running -= over
        for limit in over:
            limit.expire()
        self.advance(min((limit.due for limit in self.running), default=math.inf))


class Limit:
    """A limit on the time of a block; made by `Deadlines.within`.

    Attributes:
        due: When it is over, by the event loop's clock.
        expired: Whether it has been over while a block was running.
    """

    __slots__ = ("_cancelling", "_deadlines", "_last", "_loop", "_task", "due", "expired")

    def __init__(self, deadlines: Deadlines, loop: asyncio.AbstractEventLoop, last: float) -> None:
        self._deadlines = deadlines
        self._loop = loop
        self._last = self.due = last
        self._task: asyncio.Task[object] | None = None
        self._cancelling = 0
        self.expired = False

    def pause_at_most(self, seconds: float | None) -> None:
        """Bound the wait for whatever is next, in seconds from now, within the limit itself; `None` for no bound."""
        self.due = self._last if seconds is None else min(self._last, self._loop.time() + seconds)
        if self._task is not None:
            self._deadlines.advance(self.due)

    def expire(self) -> None:
        """End the block that is running."""
        if self._task is not None:
            self.expired = True
            self._task.cancel()

    def __enter__(self) -> Self:
        task = asyncio.current_task(self._loop)
        if task is None:
            raise RuntimeError("a limit can only be used in a task")
        self._task = task
        self._cancelling = task.cancelling()
        self.expired = False
        self._deadlines.running.add(self)
        self._deadlines.advance(self.due)
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        task, self._task = self._task, None
        self._deadlines.running.discard(self)  # the timer stays: the next limit will need one
        if self.expired and task is not None:
            # As in asyncio.timeout: who else has cancelled the task has its way.
            nobody_else = task.uncancel() <= self._cancelling
            if nobody_else and exc_type is asyncio.CancelledError:
                raise TimeoutError from exc
