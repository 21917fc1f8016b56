"""Work that is done later than its request came: kept until it is due, then done as of that moment."""

import heapq
from collections.abc import Callable

import attrs

from kraken_fastkey.sandbox._clock import SandboxClock


@attrs.frozen(order=True)
class _Work:
    """What is to be done; of two that are due at once, the first to be added comes first."""

    due: float
    number: int
    do: Callable[[], object] = attrs.field(order=False)


class LateWork:
    """Does work when it is due. There is no timer: whoever reads or changes anything calls `catch_up` first."""

    def __init__(self, clock: SandboxClock) -> None:
        self._clock = clock
        self._heap: list[_Work] = []
        self._count = 0

    def add(self, delay: float, do: Callable[[], object]) -> None:
        """Let something be done ``delay`` seconds from now, 0 or more."""
        heapq.heappush(self._heap, _Work(self._clock() + delay, self._count, do))
        self._count += 1

    def catch_up(self) -> None:
        """Do what is due, in its order; each piece is told the moment that it was due as the time."""
        now = self._clock()
        while self._heap and self._heap[0].due <= now:
            work = heapq.heappop(self._heap)
            with self._clock.held_at(work.due):
                work.do()
