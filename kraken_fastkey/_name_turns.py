"""Whose turn it is with a name: calls on one key go one after another, since two that cross could mistake its key.

Not the turns for connections, which are in `_turns`.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import Iterator
from contextlib import AbstractAsyncContextManager
from contextvars import ContextVar
from types import TracebackType
from typing import Final

from kraken_fastkey._errors import TransportError


class NameTurns:
    """The names of an account's keys that something is being done with, and who waits for its turn."""

    __slots__ = ("_waiting",)

    def __init__(self) -> None:
        self._waiting: dict[str, deque[asyncio.Future[None]] | None] = {}

    def hold(self, *names: str, within: float | None = None) -> AbstractAsyncContextManager[None]:
        """Do one thing at a time with keys of these names: two that cross could mistake each other's key.

        A name that is lent to who asks needs no turn.

        Args:
            names: The names.
            within: How many seconds to wait for one's turn with all of them; `None` for no bound.

        Raises:
            TransportError: On entry: it did not come in time; nothing was sent.
        """
        return _Hold(self, names, within)

    @contextlib.contextmanager
    def lend(self, name: str) -> Iterator[None]:
        """Let what is done within the block, in tasks that begin there, too, be a part of one's turn with a name."""
        lent = _Lent(self, name)
        token = _LENT.set((*_LENT.get(), lent))
        try:
            yield
        finally:
            lent.is_over = True
            # A forgotten coroutine is closed wherever it is collected.
            with contextlib.suppress(ValueError):
                _LENT.reset(token)

    def is_lent(self, name: str) -> bool:
        """Whether who asks is within another's turn with a name."""
        return any(lent.turns is self and lent.name == name and not lent.is_over for lent in _LENT.get())

    def take_at_once(self, name: str) -> bool:
        """Take one's turn with a name, if nobody else has it."""
        waiting = self._waiting
        if name in waiting:
            return False
        waiting[name] = None
        return True

    async def take(self, name: str, within: float | None) -> None:
        """Wait for one's turn with a name that another has."""
        waiting = self._waiting
        queue = waiting[name]
        if queue is None:
            queue = waiting[name] = deque()
        turn = asyncio.get_running_loop().create_future()
        queue.append(turn)
        try:
            async with asyncio.timeout(within):
                await turn
        except TimeoutError:
            if not turn.cancelled():
                return  # it came in the very step in which the time was over
        except asyncio.CancelledError:
            # A turn that was given up before it came is passed over.
            if not turn.cancelled():
                self.give_back(name)
            raise
        else:
            return
        raise TransportError(
            f"the call's deadline passed before the request was sent: an earlier call on the key {name!r} is under way"
        )

    def give_back(self, name: str) -> None:
        """Let the next one have its turn with a name."""
        waiting = self._waiting
        queue = waiting[name]
        while queue:
            turn = queue.popleft()
            if not turn.done():
                turn.set_result(None)
                return
        del waiting[name]


class _Lent:
    """A turn with a name that is lent to what its holder awaits."""

    __slots__ = ("is_over", "name", "turns")

    def __init__(self, turns: NameTurns, name: str) -> None:
        self.turns = turns
        self.name = name
        self.is_over = False


_LENT: Final[ContextVar[tuple[_Lent, ...]]] = ContextVar("_LENT", default=())


class _Hold:
    """One's turn with some names. A class, since a generator in its place would cost three times as much."""

    __slots__ = ("_held", "_names", "_turns", "_within")

    def __init__(self, turns: NameTurns, names: tuple[str, ...], within: float | None) -> None:
        self._turns = turns
        # In one order for all, so that no two wait for each other.
        self._names = sorted(name for name in set(names) if not turns.is_lent(name))
        self._held = 0  # so many of them, from the first
        self._within = within

    async def __aenter__(self) -> None:
        until: float | None = None
        try:
            for name in self._names:
                if not self._turns.take_at_once(name):
                    now = asyncio.get_running_loop().time()
                    if until is None and self._within is not None:
                        until = now + self._within
                    await self._turns.take(name, None if until is None else until - now)
                self._held += 1
        except BaseException:
            self._give_back()
            raise

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._give_back()

    def _give_back(self) -> None:
        for name in self._names[: self._held]:
            self._turns.give_back(name)
        self._held = 0
