"""Who guesses keys is locked out for a while. Pure rules: no HTTP, no clock."""

from collections import deque
from typing import Final

from kraken_fastkey.sandbox._refusal import TEMPORARY_LOCKOUT, RefusalError

LOCKOUT_SECONDS: Final = 15 * 60
# Failures that lie further apart are no guessing.
_MEMORY_SECONDS: Final = 60


class Lockout:
    """Counts failures in a row, and refuses everything once there were too many in a minute.

    Args:
        after: After how many failures; ``None``: never.

    Raises:
        ValueError: if ``after`` is less than 1.
    """

    def __init__(self, after: int | None) -> None:
        self._failures: deque[float] = deque()
        self._until = 0.0
        self.after = after

    @property
    def after(self) -> int | None:
        """After how many failures it locks; to set it ends a lockout, and forgets the failures."""
        return self._after

    @after.setter
    def after(self, failures: int | None) -> None:
        if failures is not None and failures < 1:
            raise ValueError("lockout_after must be 1 or more, or None")
        self._after = failures
        self._failures.clear()
        self._until = 0.0

    def check(self, now: float) -> None:
        """Let a request pass, or prolong the lockout.

        Raises:
            RefusalError: if there is a lockout.
        """
        if now < self._until:
            self._until = now + LOCKOUT_SECONDS
            raise RefusalError(TEMPORARY_LOCKOUT)

    def note_failure(self, now: float) -> None:
        if self._after is None:
            return
        while self._failures and self._failures[0] <= now - _MEMORY_SECONDS:
            self._failures.popleft()
        self._failures.append(now)
        if len(self._failures) >= self._after:
            self._failures.clear()
            self._until = now + LOCKOUT_SECONDS

    def note_success(self) -> None:
        self._failures.clear()
