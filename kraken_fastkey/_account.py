"""What a client knows of one account beyond its tokens, as long as it matters."""

from __future__ import annotations

import asyncio
import contextlib
import math
from collections import deque
from collections.abc import Iterator
from contextlib import AbstractAsyncContextManager
from contextvars import ContextVar
from types import TracebackType
from typing import Final, TypeVar

import attrs

from kraken_fastkey._errors import TemporaryLockoutError, TransportError
from kraken_fastkey._tokens import TokenProvider, as_observer

_T = TypeVar("_T")
Note = tuple[float, str | None]
"""When a key was handed to somebody, and when it was made, in the server's words."""

LOCKOUT_SECONDS: Final = 15 * 60.0
"""For how long nothing is sent after Kraken has locked an account out."""

_LATELY: Final = 300.0  # seconds, longer than a list lags
_REMEMBERED: Final = 1000  # keys at most; no account makes so many in that time


class Account:
    """One account as a client serves it.

    Args:
        provider: Where its access tokens come from.

    Attributes:
        observer: The provider, if it wants to know for how long its tokens are under way.
        closing: Whether the account's client closes, so that nothing new is begun.
    """

    __slots__ = ("_own_notes", "closing", "observer", "provider")

    def __init__(self, provider: TokenProvider) -> None:
        self.provider = provider
        self.observer = as_observer(provider)
        self.closing = False
        self._own_notes: _Notes | None = None

    @property
    def _notes(self) -> _Notes:
        # Made at the first call, since most of many accounts are idle.
        if self._own_notes is None:
            self._own_notes = _Notes()
        return self._own_notes

    @property
    def unsettled(self) -> dict[str, None]:
        """The names of keys that may exist though nobody holds them, in the order of their doubts."""
        return self._notes.unsettled

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
        return any(lent.account is self and lent.name == name and not lent.is_over for lent in _LENT.get())

    def take_at_once(self, name: str) -> bool:
        """Take one's turn with a name, if nobody else has it."""
        waiting = self._notes.waiting
        if name in waiting:
            return False
        waiting[name] = None
        return True

    async def take(self, name: str, within: float | None) -> None:
        """Wait for one's turn with a name that another has."""
        waiting = self._notes.waiting
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
        waiting = self._notes.waiting
        queue = waiting[name]
        while queue:
            turn = queue.popleft()
            if not turn.done():
                turn.set_result(None)
                return
        del waiting[name]

    def remember(self, name: str, created_time: str | None, now: float) -> Note:
        """Note that somebody holds the key of this name.

        Args:
            name: The key's name.
            created_time: When it was made, in the server's words.
            now: Seconds on a clock that never goes back.

        Returns:
            The note, by which `name_of` tells where the key is.
        """
        notes = self._notes
        if notes.freed.pop(name, None) is not None:
            _note(notes.changed, name, None, now)  # a list that lags may show the key before
        # Older ones are told from a new key by its time.
        return _note(notes.handed_out, name, created_time, now)

    def rename(self, name: str, new_name: str, now: float) -> None:
        """Note that a key has another name, by our own doing.

        Args:
            name: The key's name before.
            new_name: Its name now.
            now: Seconds on a clock that never goes back.
        """
        note = self._notes.handed_out.get(name)
        self.forget(name, now)
        if note is not None:
            self._notes.handed_out[new_name] = note

    def may_be_renamed(self, name: str, new_name: str, now: float) -> None:
        """Note that a key has another name by now, by our own doing, or still the one that it had.

        Args:
            name: The key's name before.
            new_name: The name that it may have.
            now: Seconds on a clock that never goes back.
        """
        note = self._notes.handed_out.get(name)
        if note is not None:
            self._notes.handed_out.setdefault(new_name, note)
        self.may_be_gone(name, now)

    def may_be_gone(self, name: str, now: float) -> None:
        """Note that there may be no key of this name any more, by our own doing.

        Args:
            name: The key's name.
            now: Seconds on a clock that never goes back.
        """
        _note(self._notes.freed, name, None, now)

    def forget(self, name: str, now: float) -> None:
        """Note that a key of this name is gone, by our own doing.

        Args:
            name: The key's name.
            now: Seconds on a clock that never goes back.
        """
        self._notes.handed_out.pop(name, None)
        self.may_be_gone(name, now)

    def note_change(self, name: str, new_name: str, now: float) -> bool:
        """Note that a key is to be changed.

        Args:
            name: The key's name.
            new_name: Its name afterwards, which may be the same.
            now: Seconds on a clock that never goes back.

        Returns:
            Whether the key that has the new name was another, or otherwise, a short while ago, by our own doing.
        """
        changed, freed = self._notes.changed, self._notes.freed
        before = max(table[new_name][0] if new_name in table else -math.inf for table in (changed, freed))
        for one in {name, new_name}:
            _note(changed, one, None, now)
        return now - before < _LATELY

    def is_freed(self, name: str) -> bool:
        """Whether a key of this name is or may be gone since a short while, though a list that lags shows it yet."""
        return name in self._notes.freed

    def name_of(self, name: str, note: Note) -> str | None:
        """Return what a key is named now, or `None` if it is gone, by our own doing.

        Args:
            name: What it was named when it was remembered.
            note: What `remember` has returned.
        """
        handed_out = self._notes.handed_out
        for present, other in handed_out.items():
            if other is note:
                return present
        # What was noted long ago is forgotten.
        return None if name in handed_out or name in self._notes.freed else name

    def is_handed_out(self, name: str) -> bool:
        """Whether somebody holds a key of this name that was made a short while ago."""
        return name in self._notes.handed_out

    def is_held(self, name: str, created_time: str | None) -> bool:
        """Whether this very key was handed to somebody a short while ago."""
        return name in self._notes.handed_out and self._notes.handed_out[name][1] == created_time

    def check_lockout(self, now: float) -> TemporaryLockoutError | None:
        """Return why nothing may be sent now; after the lockout, one request may be, to see whether it is over."""
        notes = self._notes
        if notes.locked_until is None:
            return None
        left = notes.locked_until - now
        if left > 0:
            return TemporaryLockoutError(
                f"Kraken has locked the account or address out. Nothing is sent for {left:.0f} s: "
                "each request would prolong it",
                outcome="refused",
                retry_after=left,
            )
        notes.probed_at = now
        notes.locked_until = now + LOCKOUT_SECONDS
        return None

    @property
    def is_locked(self) -> bool:
        """Whether Kraken has locked the account out, and let no request in since."""
        return self._notes.locked_until is not None

    def lock_out(self, now: float) -> None:
        """Note that Kraken has locked the account out."""
        self._notes.probed_at = None
        self._notes.locked_until = now + LOCKOUT_SECONDS

    def end_probe(self, began: float, *, answered: bool) -> None:
        """Note how an attempt ended that was not locked out.

        Args:
            began: When it began; one that was under way before proves nothing.
            answered: Whether there was an answer; if not, the next request is to see whether it is over.
        """
        if self._notes.probed_at is not None and began >= self._notes.probed_at:
            self._notes.locked_until = None if answered else began


def _note(table: dict[str, tuple[float, _T]], name: str, detail: _T, now: float) -> tuple[float, _T]:
    """Note something of a name as the latest, and forget what is no longer of use."""
    table.pop(name, None)
    note = table[name] = (now, detail)
    while len(table) > _REMEMBERED or next(iter(table.values()))[0] < now - _LATELY:
        del table[next(iter(table))]
    return note


class _Notes:
    """What there is to know of an account that is in use.

    Attributes:
        unsettled: The names of keys that may exist though nobody holds them.
        waiting: The names that something is being done with, and who waits for its turn.
        handed_out: When keys of these names were made lately, by our clock and by the server's words.
        freed: When keys of these names were deleted lately, or may have been.
        changed: When keys of these names were changed lately, or may have been.
        locked_until: Until when nothing is sent; `None` if the account is not locked out.
        probed_at: When a request was let through to see whether the lockout is over.
    """

    __slots__ = ("changed", "freed", "handed_out", "locked_until", "probed_at", "unsettled", "waiting")

    def __init__(self) -> None:
        self.unsettled: dict[str, None] = {}
        self.waiting: dict[str, deque[asyncio.Future[None]] | None] = {}
        self.handed_out: dict[str, Note] = {}
        self.freed: dict[str, tuple[float, None]] = {}
        self.changed: dict[str, tuple[float, None]] = {}
        self.locked_until: float | None = None
        self.probed_at: float | None = None


@attrs.define(eq=False, repr=False)
class _Lent:
    """A turn with a name that is lent to what its holder awaits."""

    account: Account
    name: str
    is_over: bool = False


_LENT: Final[ContextVar[tuple[_Lent, ...]]] = ContextVar("_LENT", default=())


class _Hold:
    """One's turn with some names. A class, since a generator in its place would cost three times as much."""

    __slots__ = ("_account", "_held", "_names", "_within")

    def __init__(self, account: Account, names: tuple[str, ...], within: float | None) -> None:
        self._account = account
        # In one order for all, so that no two wait for each other.
        self._names = sorted(name for name in set(names) if not account.is_lent(name))
        self._held = 0  # so many of them, from the first
        self._within = within

    async def __aenter__(self) -> None:
        until: float | None = None
        try:
            for name in self._names:
                if not self._account.take_at_once(name):
                    now = asyncio.get_running_loop().time()
                    if until is None and self._within is not None:
                        until = now + self._within
                    await self._account.take(name, None if until is None else until - now)
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
            self._account.give_back(name)
        self._held = 0
