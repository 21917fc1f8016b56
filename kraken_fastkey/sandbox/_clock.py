"""The sandbox's own time: a clock that can go wrong, and can be held still while late work is done."""

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager


class SandboxClock:
    """Tells the time in Unix seconds.

    Args:
        source: The clock that is right.
        skew: By how many seconds this one is ahead of it; negative: behind.

    Raises:
        ValueError: if ``skew`` is not finite.
    """

    def __init__(self, source: Callable[[], float], skew: float) -> None:
        self._source = source
        self._held: float | None = None
        self.skew = skew

    def __call__(self) -> float:
        return self._source() + self._skew if self._held is None else self._held

    @property
    def skew(self) -> float:
        return self._skew

    @skew.setter
    def skew(self, seconds: float) -> None:
        if not math.isfinite(seconds):
            raise ValueError("clock_skew must be a number of seconds")
        self._skew = seconds

    @contextmanager
    def held_at(self, moment: float) -> Iterator[None]:
        """Tell this moment, in Unix seconds, until the block ends."""
        self._held = moment
        try:
            yield
        finally:
            self._held = None
