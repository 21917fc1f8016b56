"""What a client knows of one account beyond its tokens, as long as it matters."""

from __future__ import annotations

from typing import Final

from kraken_fastkey._errors import TemporaryLockoutError
from kraken_fastkey._key_notes import KeyNotes
from kraken_fastkey._name_turns import NameTurns
from kraken_fastkey._tokens import TokenProvider, as_observer

LOCKOUT_SECONDS: Final = 15 * 60.0
"""For how long nothing is sent after Kraken has locked an account out."""


class Account:
    """One account as a client serves it.

    Args:
        provider: Where its access tokens come from.

    Attributes:
        observer: The provider, if it wants to know for how long its tokens are under way.
        closing: Whether the account's client closes, so that nothing new is begun.
    """

    __slots__ = ("_own_state", "closing", "observer", "provider")

    def __init__(self, provider: TokenProvider) -> None:
        self.provider = provider
        self.observer = as_observer(provider)
        self.closing = False
        self._own_state: _State | None = None

    @property
    def _state(self) -> _State:
        # Made at the first call, since most of many accounts are idle.
        if self._own_state is None:
            self._own_state = _State()
        return self._own_state

    @property
    def turns(self) -> NameTurns:
        """Whose turn it is with the names of its keys."""
        return self._state.turns

    @property
    def keys(self) -> KeyNotes:
        """What was done with its keys lately."""
        return self._state.keys

    @property
    def unsettled(self) -> dict[str, None]:
        """The names of keys that may exist though nobody holds them, in the order of their doubts."""
        return self._state.unsettled

    def check_lockout(self, now: float) -> TemporaryLockoutError | None:
        """Return why nothing may be sent now; after the lockout, one request may be, to see whether it is over."""
        state = self._state
        if state.locked_until is None:
            return None
        left = state.locked_until - now
        if left > 0:
            return TemporaryLockoutError(
                f"Kraken has locked the account or address out. Nothing is sent for {left:.0f} s: "
                "each request would prolong it",
                outcome="refused",
                retry_after=left,
            )
        state.probed_at = now
        state.locked_until = now + LOCKOUT_SECONDS
        return None

    @property
    def is_locked(self) -> bool:
        """Whether Kraken has locked the account out, and let no request in since."""
        return self._state.locked_until is not None

    def lock_out(self, now: float) -> None:
        """Note that Kraken has locked the account out."""
        self._state.probed_at = None
        self._state.locked_until = now + LOCKOUT_SECONDS

    def end_probe(self, began: float, *, answered: bool) -> None:
        """Note how an attempt ended that was not locked out.

        Args:
            began: When it began; one that was under way before proves nothing.
            answered: Whether there was an answer; if not, the next request is to see whether it is over.
        """
        if self._state.probed_at is not None and began >= self._state.probed_at:
            self._state.locked_until = None if answered else began


class _State:
    """What there is to know of an account that is in use.

    Attributes:
        turns: Whose turn it is with the names of its keys.
        keys: What was done with its keys lately.
        unsettled: The names of keys that may exist though nobody holds them.
        locked_until: Until when nothing is sent; `None` if the account is not locked out.
        probed_at: When a request was let through to see whether the lockout is over.
    """

    __slots__ = ("keys", "locked_until", "probed_at", "turns", "unsettled")

    def __init__(self) -> None:
        self.turns = NameTurns()
        self.keys = KeyNotes()
        self.unsettled: dict[str, None] = {}
        self.locked_until: float | None = None
        self.probed_at: float | None = None
