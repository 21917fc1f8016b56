"""What a client knows of one account beyond its tokens, as long as it matters."""

from __future__ import annotations

import asyncio
from collections import deque
from contextlib import AbstractAsyncContextManager
from types import TracebackType
from typing import Final

from kraken_fastkey._errors import TemporaryLockoutError, TransportError
from kraken_fastkey._tokens import TokenProvider, TokenUseObserver

__all__ = ["LOCKOUT_SECONDS", "Account"]

LOCKOUT_SECONDS: Final = 15 * 60.0
"""For how long nothing is sent after Kraken has locked an account out."""

_REMEMBERED_SECONDS: Final = 300.0  # longer than a list lags


class Account:
    """One account as a client serves it.

    Args:
        provider: Where its access tokens come from.

    Attributes:
        observer: The provider, if it wants to know for how long its tokens are under way.
        closing: Whether the account's client closes, so that nothing new is begun.
        unsettled: The names of keys that may exist though nobody holds them, in the order of their doubts.
    """

    __slots__ = (
        "_freed",
        "_handed_out",
        "_locked_until",
        "_probed_at",
        "_waiting",
        "closing",
        "observer",
        "provider",
        "unsettled",
    )

    def __init__(self, provider: TokenProvider) -> None:
        self.provider = provider
        # Known once: to ask a protocol costs as much as a tenth of a call.
        self.observer = provider if isinstance(provider, TokenUseObserver) else None
        self.unsettled: dict[str, None] = {}
        self.closing = False
        self._waiting: dict[str, deque[asyncio.Future[None]] | None] = {}
        self._handed_out: dict[str, tuple[float, str | None]] = {}
        self._freed: dict[str, float] = {}
        self._locked_until: float | None = None
        self._probed_at: float | None = None

    def hold(self, *names: str, within: float | None = None) -> AbstractAsyncContextManager[None]:
        """Do one thing at a time with keys of these names: two that cross could mistake each other's key.

        Args:
            names: The names.
            within: How many seconds to wait for one's turn; `None` for no bound.

        Raises:
            TransportError: On entry: it did not come in time; nothing was sent.
        """
        return _Hold(self, names, within)

    async def take(self, name: str, within: float | None) -> None:
        """Wait for one's turn with a name."""
        if name not in self._waiting:
            self._waiting[name] = None
            return
        queue = self._waiting[name]
        if queue is None:
            queue = self._waiting[name] = deque()
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
        queue = self._waiting[name]
        while queue:
            turn = queue.popleft()
            if not turn.done():
                turn.set_result(None)
                return
        del self._waiting[name]

    def remember(self, name: str, created_time: str | None, now: float) -> None:
        """Note that somebody holds the key of this name.

        Args:
            name: The key's name.
            created_time: When it was made, in the server's words.
            now: Seconds on a clock that never goes back.
        """
        self._freed.pop(name, None)
        self._handed_out.pop(name, None)
        self._handed_out[name] = (now, created_time)
        # Older ones are told from a new key by its time.
        while next(iter(self._handed_out.values()))[0] < now - _REMEMBERED_SECONDS:
            del self._handed_out[next(iter(self._handed_out))]

    def forget(self, name: str, now: float) -> None:
        """Note that a key of this name is gone, by our own doing.

        Args:
            name: The key's name.
            now: Seconds on a clock that never goes back.
        """
        self._handed_out.pop(name, None)
        self._freed.pop(name, None)
        self._freed[name] = now
        while next(iter(self._freed.values())) < now - _REMEMBERED_SECONDS:
            del self._freed[next(iter(self._freed))]

    def is_freed(self, name: str) -> bool:
        """Whether a key of this name is gone since a short while, though a list that lags may show it yet."""
        return name in self._freed

    def is_handed_out(self, name: str) -> bool:
        """Whether somebody holds a key of this name that was made a short while ago."""
        return name in self._handed_out

    def is_held(self, name: str, created_time: str | None) -> bool:
        """Whether this very key was handed to somebody a short while ago."""
        return name in self._handed_out and self._handed_out[name][1] == created_time

    def check_lockout(self, now: float) -> TemporaryLockoutError | None:
        """Return why nothing may be sent now; after the lockout, one request may be, to see whether it is over."""
        if self._locked_until is None:
            return None
        left = self._locked_until - now
        if left > 0:
            return TemporaryLockoutError(
                f"Kraken has locked the account or address out. Nothing is sent for {left:.0f} s: "
                "each request would prolong it",
                outcome="refused",
                retry_after=left,
            )
        self._probed_at = now
        self._locked_until = now + LOCKOUT_SECONDS
        return None

    @property
    def is_locked(self) -> bool:
        """Whether Kraken has locked the account out, and let no request in since."""
        return self._locked_until is not None

    def lock_out(self, now: float) -> None:
        """Note that Kraken has locked the account out."""
        self._probed_at = None
        self._locked_until = now + LOCKOUT_SECONDS

    def end_probe(self, began: float, *, answered: bool) -> None:
        """Note how an attempt ended that was not locked out.

        Args:
            began: When it began; one that was under way before proves nothing.
            answered: Whether there was an answer; if not, the next request is to see whether it is over.
        """
        if self._probed_at is not None and began >= self._probed_at:
            self._locked_until = None if answered else began


class _Hold:
    """One's turn with some names. A class, since a generator in its place would cost three times as much."""

    __slots__ = ("_account", "_held", "_names", "_within")

    def __init__(self, account: Account, names: tuple[str, ...], within: float | None) -> None:
        self._account = account
        self._names = names
        self._within = within
        self._held: list[str] = []

    async def __aenter__(self) -> None:
        try:
            # In one order for all, so that no two wait for each other.
            for name in sorted(set(self._names)):
                await self._account.take(name, self._within)
                self._held.append(name)
        except BaseException:
            self._give_back()
            raise

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._give_back()

    def _give_back(self) -> None:
        for name in self._held:
            self._account.give_back(name)
        self._held.clear()
