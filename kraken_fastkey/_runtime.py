"""The one seam through which time, sleep and randomness come in."""

from __future__ import annotations

import asyncio
import random as system_random
import time as system_time
from collections.abc import Awaitable, Callable

import attrs

__all__ = ["SYSTEM", "Runtime"]


@attrs.frozen(kw_only=True)
class Runtime:
    """Where the time comes from, how to wait, and chance.

    Attributes:
        time: The present, in Unix seconds.
        monotonic: Seconds on a clock that never goes back.
        sleep: Wait for so many seconds.
        random: A random number, 0 or more and less than 1.
    """

    time: Callable[[], float] = system_time.time
    monotonic: Callable[[], float] = system_time.monotonic
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
    random: Callable[[], float] = system_random.random


SYSTEM = Runtime()
