"""The one seam through which time, sleep and randomness come in."""

from __future__ import annotations

import asyncio
import contextlib
import random as system_random
import time as system_time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import AbstractContextManager

import attrs

_AT_EASE = contextlib.nullcontext()


@attrs.frozen(kw_only=True, eq=False, repr=False)
class Runtime:
    """Where the time comes from, how to wait, and chance.

    Attributes:
        time: The present, in Unix seconds.
        monotonic: Seconds on a clock that never goes back.
        sleep: Wait for so many seconds, within a piece of work.
        rest: The same between two pieces of work, for who lives on and has nothing to do until then. The two differ
            in tests alone: there, a sleep takes no time, and a rest goes on until the test moves the time.
        random: A random number, 0 or more and less than 1.
        working: Entered for as long as a request is under way: a test's time waits for it.
    """

    time: Callable[[], float] = system_time.time
    monotonic: Callable[[], float] = system_time.monotonic
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
    rest: Callable[[float], Awaitable[None]] = attrs.Factory(lambda self: self.sleep, takes_self=True)
    random: Callable[[], float] = system_random.random
    working: Callable[[], AbstractContextManager[None]] = lambda: _AT_EASE


SYSTEM = Runtime()
"""The system's time; `in_place_of_the_system` gives it another."""

MACHINE = Runtime()
"""The system's time, whatever a test does: for who waits for other processes, and not for a moment."""


@contextlib.contextmanager
def in_place_of_the_system(runtime: Runtime) -> Iterator[None]:
    """Let all that lives in `SYSTEM` live in another time until the block ends."""
    saved = attrs.evolve(SYSTEM)
    _fill(runtime)
    try:
        yield
    finally:
        _fill(saved)


def _fill(runtime: Runtime) -> None:
    for field in attrs.fields(Runtime):
        object.__setattr__(SYSTEM, field.name, getattr(runtime, field.name))
