"""A test's own time: it stands still, and moves when a call has to wait, or when the test travels."""

from __future__ import annotations

import asyncio
import contextlib
import heapq
import itertools
import math
import threading
import time as system_time
from collections.abc import Awaitable, Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import attrs

from kraken_fastkey._runtime import Runtime, in_place_of_the_system

_sleep: Final = asyncio.sleep  # the real one, whatever a test puts in its place
_CHANCE: Final = 0.5  # of every wait that is drawn by lot: a test is to be the same each time
_ROUNDS: Final = 10  # of the event loop, for what follows from what without any network in between
_LOOK_SECONDS: Final = 0.001  # real ones, between two looks at what goes on
_ROUNDING: Final = 0.001  # of moments that were reckoned in other ways
_QUIET_SECONDS: Final = 0.2  # real ones: if nothing at all has happened for so long, everybody waits for somebody else


@attrs.frozen(order=True)
class _Sleeper:
    """Who waits for a moment; of two who wait for the same, the first to come is the first to wake."""

    due: float
    number: int
    presses: bool = attrs.field(order=False)
    owner: asyncio.Task[Any] | None = attrs.field(order=False)
    loop: asyncio.AbstractEventLoop = attrs.field(order=False)
    future: asyncio.Future[None] = attrs.field(order=False)

    @property
    def is_gone(self) -> bool:
        """Whether nobody is there to be woken."""
        return self.future.done() or self.loop.is_closed()


class KrakenClock:
    """The time that the sandbox, the clients, the token providers and the leases of a test live in.

    It begins with the present, and stands still. It moves by itself when a call has to wait before it goes on: before
    it tries again, or looks again for a key. That takes no real time. And it moves when the test travels: then all
    who wait for a moment on the way have their turn at that moment, in order.

    What your own program asks for the time, it should ask this clock for in its tests, and sleep by it: pass it
    `time`, `now`, `monotonic` and `sleep` in the place of `time.time`, `datetime.now(UTC)`, `time.monotonic` and
    `asyncio.sleep`.

    Args:
        start: The time at the beginning, in Unix seconds; left out, the present, in whole seconds.
    """

    def __init__(self, start: float | None = None) -> None:
        self._now = math.floor(system_time.time()) if start is None else start
        self._start = self._now
        self._sleepers: list[_Sleeper] = []
        self._lock = threading.Lock()  # a bot may run in a thread of its own
        self._numbers = itertools.count()
        self._events = 0
        self._awake: set[asyncio.Task[Any]] = set()
        self._mover: asyncio.Task[None] | None = None
        self._travelling = False
        self._under_way = 0
        self._open_requests: Callable[[], int] = lambda: 0
        self._all_requests: Callable[[], int] = lambda: 0

    def time(self) -> float:
        """Return the time in Unix seconds."""
        return self._now

    def now(self) -> datetime:
        """Return the time, in UTC."""
        return datetime.fromtimestamp(self._now, UTC)

    def monotonic(self) -> float:
        """Return the seconds since the test began."""
        return self._now - self._start

    async def sleep(self, seconds: float) -> None:
        """Wait until the test has moved the clock so far.

        It does not move the clock itself, as waiting within a call does: a bot that sleeps between its rounds would
        run for years.

        Args:
            seconds: How long; 0 or less is no wait.
        """
        await self._wait(seconds, presses=False)

    async def travel(
        self, *, days: float = 0, hours: float = 0, minutes: float = 0, seconds: float = 0, by: timedelta = timedelta()
    ) -> None:
        """Move the clock on, and return when all that falls due on the way has been done.

        Who sleeps until a moment on the way wakes at that moment: leases renew their keys, and so on. Before the
        clock moves on, what they have begun ends. The arguments are added up. Where a call has to wait at the end of
        the way, the clock moves on by that as well.

        Args:
            days: Of 24 hours.
            hours: Of 60 minutes.
            minutes: Of 60 seconds.
            seconds: Seconds.
            by: Any duration.

        Raises:
            ValueError: The sum is negative.
            RuntimeError: Another travel is on its way.
        """
        target = self._target(timedelta(days=days, hours=hours, minutes=minutes, seconds=seconds) + by)
        if self._travelling:
            raise RuntimeError("another travel() is on its way: await one after the other")
        self._travelling = True
        try:
            await self._move(target)
        finally:
            self._travelling = False
        self._now = max(self._now, target)

    def jump(
        self, *, days: float = 0, hours: float = 0, minutes: float = 0, seconds: float = 0, by: timedelta = timedelta()
    ) -> None:
        """Move the clock on at once, and wake who should have woken by then, all of them late.

        For tests without an event loop, such as those of a bot in a process of its own, and to see how a program
        takes it when its machine was asleep.

        Args:
            days: Of 24 hours.
            hours: Of 60 minutes.
            minutes: Of 60 seconds.
            seconds: Seconds.
            by: Any duration.

        Raises:
            ValueError: The sum is negative.
        """
        self._now = self._target(timedelta(days=days, hours=hours, minutes=minutes, seconds=seconds) + by)
        while (sleeper := self._pop(self._now)) is not None:
            self._wake(sleeper)

    @contextlib.contextmanager
    def running(self) -> Iterator[None]:
        """Let all clients, providers and leases that were or will be made live in this time until the block ends."""
        runtime = Runtime(
            time=self.time,
            monotonic=self.monotonic,
            sleep=lambda seconds: self._wait(seconds, presses=True),
            rest=lambda seconds: self._wait(seconds, presses=False),
            random=lambda: _CHANCE,
            working=self._working,
        )
        with in_place_of_the_system(runtime):
            yield

    @contextlib.contextmanager
    def _working(self) -> Iterator[None]:
        self._under_way += 1
        self._events += 1
        try:
            yield
        finally:
            self._under_way -= 1
            self._events += 1

    def watch(self, *, open_requests: Callable[[], int], all_requests: Callable[[], int]) -> None:
        """Let the clock wait for a server's answers before it moves on.

        Args:
            open_requests: Tells how many requests it is answering.
            all_requests: Tells how many have come so far.
        """
        self._open_requests = open_requests
        self._all_requests = all_requests

    def _target(self, duration: timedelta) -> float:
        if duration < timedelta(0):
            raise ValueError("the clock does not go back: travel by 0 seconds or more")
        return self._now + duration.total_seconds()

    def _wait(self, seconds: float, *, presses: bool) -> Awaitable[None]:
        """Return what is done when the time has come; a plain function, so that the caller's task is the owner."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[None] = loop.create_future()
        self._events += 1
        if seconds <= 0:
            loop.call_soon(_finish, future)
            return future
        sleeper = _Sleeper(self._now + seconds, next(self._numbers), presses, asyncio.current_task(), loop, future)
        with self._lock:
            heapq.heappush(self._sleepers, sleeper)
        if presses and not self._travelling and not self._is_moving:
            self._mover = loop.create_task(self._move(None))
        return future

    @property
    def _presses(self) -> bool:
        """Whether a call waits, so that the clock is to move by itself."""
        return any(sleeper.presses for sleeper in self._living())

    def _living(self) -> list[_Sleeper]:
        with self._lock:
            return [sleeper for sleeper in self._sleepers if not sleeper.is_gone]

    @property
    def _is_moving(self) -> bool:
        """Whether a call's waiting moves the clock at present."""
        return self._mover is not None and not self._mover.done() and not self._mover.get_loop().is_closed()

    async def _move(self, target: float | None) -> None:
        """Wake who is due until then, one after the other, and who presses whenever that is.

        A travel and a call's waiting may move the clock together: each wakes who is next.

        Args:
            target: How far a travel goes; `None`: only as far as calls press.
        """
        while target is not None or self._presses:
            await self._settle()
            until = math.inf if self._presses else target
            sleeper = None if until is None else self._pop(until)
            if sleeper is None:
                return
            self._now = max(self._now, sleeper.due)
            self._wake(sleeper)

    def _pop(self, until: float) -> _Sleeper | None:
        """Take out who is due first, if that is so until then; forget who has gone."""
        with self._lock:
            while self._sleepers and (self._sleepers[0].is_gone or self._sleepers[0].due <= until + _ROUNDING):
                sleeper = heapq.heappop(self._sleepers)
                if not sleeper.is_gone:
                    return sleeper
        return None

    def _wake(self, sleeper: _Sleeper) -> None:
        self._events += 1
        if sleeper.owner is not None and not sleeper.owner.done():
            self._awake.add(sleeper.owner)
        try:
            here = asyncio.get_running_loop()
        except RuntimeError:
            here = None
        if sleeper.loop is here:
            _finish(sleeper.future)
        else:
            sleeper.loop.call_soon_threadsafe(_finish, sleeper.future)

    async def _settle(self) -> None:
        """Wait in real time until all who have been woken have done what they woke for."""
        seen: object = None
        since = 0.0
        is_idle = False
        while True:
            for _ in range(_ROUNDS):
                await _sleep(0)
            was_idle, is_idle = is_idle, self._is_idle()
            events = (self._events, self._all_requests(), self._open_requests())
            now = system_time.monotonic()
            if events != seen:
                seen, since = events, now
            elif is_idle and was_idle:
                return
            elif now - since > _QUIET_SECONDS:
                # Whoever is awake waits for something that is no moment: for a queue, or a server that hangs.
                self._awake.clear()
                return
            await _sleep(_LOOK_SECONDS)

    def _is_idle(self) -> bool:
        """Whether nobody is at work: each who was woken has ended, or sleeps again, or waits for who presses."""
        asleep = {sleeper.owner for sleeper in self._living()}
        present = asyncio.current_task()
        self._awake = {task for task in self._awake if task is not present and task not in asleep and not task.done()}
        return not self._under_way and not self._open_requests() and (self._presses or not self._awake)


def _finish(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)
