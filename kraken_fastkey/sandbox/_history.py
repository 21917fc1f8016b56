"""The list of keys as it was a while ago. Pure rules: no HTTP, no clock."""

import math
from collections import deque

from kraken_fastkey.sandbox._account import SandboxKey


class ListHistory:
    """Remembers lists of keys for as long as they may still be shown, and no longer.

    Args:
        lag: How many seconds the list is behind, 0 or more.

    Raises:
        ValueError: if ``lag`` is negative or not finite.
    """

    def __init__(self, lag: float) -> None:
        # Each list, and when it ceased to be the true one; the oldest first.
        self._past: deque[tuple[float, tuple[SandboxKey, ...]]] = deque()
        self.lag = lag

    @property
    def lag(self) -> float:
        return self._lag

    @lag.setter
    def lag(self, seconds: float) -> None:
        if not 0 <= seconds < math.inf:
            raise ValueError("list_lag must be 0 seconds or more")
        self._lag = seconds
        if not seconds:
            self._past.clear()

    def note(self, before: tuple[SandboxKey, ...], now: float) -> None:
        """Remember the list that has just ceased to be true, at ``now`` in Unix seconds."""
        if self._lag:
            self._past.append((now, before))
            self._forget(now)

    def shown(self, current: tuple[SandboxKey, ...], now: float) -> tuple[SandboxKey, ...]:
        """Return what the list shows at ``now``, where ``current`` is the truth."""
        self._forget(now)
        return self._past[0][1] if self._past else current

    def _forget(self, now: float) -> None:
        """Drop what ceased to be true so long ago that the list shows it no more."""
        while self._past and self._past[0][0] <= now - self._lag:
            self._past.popleft()
