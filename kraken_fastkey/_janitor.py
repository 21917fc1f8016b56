"""Finding and deleting keys that nobody holds, while the caller waits and after."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from collections.abc import Coroutine, Iterator
from typing import Any, Final, Literal

from kraken_fastkey._account import Account
from kraken_fastkey._background import Background
from kraken_fastkey._engine import Engine
from kraken_fastkey._errors import (
    FastKeyError,
    KeyNotFoundError,
    PermissionDeniedError,
    TransportError,
    UnknownOutcomeError,
)
from kraken_fastkey._events.orphans import (
    OrphanDeleted,
    OrphanNotDeleted,
    OrphanSettled,
    OrphanSuspected,
    ReconcileEnded,
    ReconcileLooked,
    ReconcileStarted,
)
from kraken_fastkey._evidence import CreateVerdict, Listing, UpdateVerdict
from kraken_fastkey._listing import Lister, Lookout
from kraken_fastkey._progress import Progress
from kraken_fastkey._wire import delete_key

SETTLING: Final = (1.0, 2.0, 4.0, 8.0, 15.0, 30.0)
"""Seconds before each look at the list: a new key has been seen to show in it only after a minute."""

_LATE_LOOK: Final = 60.0  # and as long again, for a request that was carried out late
_WATCH_SECONDS: Final = sum(SETTLING) + _LATE_LOOK
_ROUNDING: Final = 1.0  # of clocks, and of sleeps that end a little early
_MAX_WATCH_SECONDS: Final = 30 * 60.0  # longer than a lockout

Removal = Literal["deleted", "not_found", "failed"]


class Janitor:
    """Sees to it that an account has no key that nobody holds."""

    def __init__(self, engine: Engine, lister: Lister, account: Account, background: Background) -> None:
        self.engine = engine
        self.account = account
        self._background = background
        self._lookout = Lookout(engine, lister, account, background)

    def is_settled(self, since: float) -> bool:
        """Whether a list of now shows all that was done before a moment; not where closing cut the pauses short.

        Args:
            since: The moment, in seconds of the monotonic clock.
        """
        return self.engine.runtime.monotonic() - since >= sum(SETTLING) - _ROUNDING

    def suspect(self, name: str) -> None:
        """Note that a key of this name may exist though nobody holds it."""
        self.account.unsettled[name] = None

    def clear(self, name: str) -> None:
        """Note that there is no such key, or that somebody has been told of it."""
        self.account.unsettled.pop(name, None)

    def report(self, name: str) -> None:
        """Tell that it could not be made sure that nobody's key is left."""
        self.suspect(name)
        self.engine.emitter.emit(OrphanSuspected, api_key_name=name)

    @contextlib.contextmanager
    def reconciling(self, operation: str, name: str, failure: FastKeyError) -> Iterator[None]:
        """Tell that the client begins to find out what became of a request, and whether it has found out."""
        emit = self.engine.emitter.emit
        emit(ReconcileStarted, operation=operation, api_key_name=name, error_type=type(failure).__name__)
        error_type: str | None = None
        knows = True
        try:
            yield
        except BaseException as error:
            error_type = type(error).__name__
            knows = not isinstance(error, (UnknownOutcomeError, asyncio.CancelledError))
            raise
        finally:
            settled = knows and name not in self.account.unsettled
            emit(ReconcileEnded, operation=operation, api_key_name=name, settled=settled, error_type=error_type)

    def tell_look(self, operation: str, name: str, verdict: CreateVerdict | UpdateVerdict) -> None:
        """Tell what the list of keys says of a request in doubt."""
        self.engine.emitter.emit(ReconcileLooked, operation=operation, api_key_name=name, verdict=verdict)

    def tell_failed_look(self, operation: str, name: str, error: FastKeyError) -> None:
        """Tell that the list of keys could not be had."""
        kind = type(error).__name__
        self.engine.emitter.emit(
            ReconcileLooked, operation=operation, api_key_name=name, verdict="failed", error_type=kind
        )

    async def look(self, progress: Progress | None) -> Listing:
        """Return the account's keys as they are listed now.

        Args:
            progress: The call that waits for it, whose deadline counts; `None` if nobody waits.

        Raises:
            FastKeyError: The list could not be had, or not in time.
        """
        left = None if progress is None else self.engine.seconds_left(progress)
        try:
            async with asyncio.timeout(left):
                return await self._lookout.look()
        except TimeoutError:
            pass
        raise TransportError("the keys were not listed within the call's deadline")

    async def remove(self, name: str, progress: Progress | None = None, *, once: bool = False) -> Removal:
        """Delete a key of this name, if there is one.

        Only `"deleted"` is proof. `"not_found"` it may be because it comes yet, or is to be deleted a second time,
        by a request whose answer was lost, or because Kraken's words were misread.

        Args:
            name: The key's name.
            progress: The call that waits for it, whose deadline counts; `None` if nobody waits.
            once: Whether to try just once, since the time for closing is over.
        """
        own = self.engine.begin(cleaning=True)
        own.once = once
        if progress is not None:
            own.started = progress.started
        try:
            await self.engine.run(delete_key(name), self.account, own)
        except KeyNotFoundError:
            return "not_found"
        except FastKeyError as error:
            if own.exposed:
                self.account.keys.may_be_gone(name, self.engine.runtime.monotonic())
            self.engine.emitter.emit(OrphanNotDeleted, api_key_name=name, error_type=type(error).__name__)
            return "failed"
        if own.in_doubt:
            self.account.keys.may_be_gone(name, self.engine.runtime.monotonic())
            return "not_found"
        self.account.keys.forget(name, self.engine.runtime.monotonic())
        self.engine.emitter.emit(OrphanDeleted, api_key_name=name)
        return "deleted"

    def leave(self, work: Coroutine[Any, Any, None]) -> None:
        """Let something go on in the background."""
        self._background.start(work, self.account)

    def watch(self, name: str) -> None:
        """Go on looking, in the background, for a key that nobody holds, and delete it if it turns up.

        The name must be one that the client has made itself: whatever bears it is nobody else's.
        """
        self.suspect(name)
        self.leave(self._watch(name))

    def watch_for_late_key(self, name: str, known: str | None) -> None:
        """Look, in the background, whether a request in doubt makes a key once its name is free, and tell of it.

        It is not deleted: it may be the next holder's, whom this client does not know.

        Args:
            name: The name, which was another key's.
            known: When that key was made, in the server's words.
        """
        self.leave(self._watch_for_late_key(name, known))

    async def _watch_for_late_key(self, name: str, known: str | None) -> None:
        for seconds in (*SETTLING, _LATE_LOOK):
            await self.engine.pause(seconds, self.account)
            try:
                key = (await self.look(None)).keys.get(name)
            except FastKeyError:
                continue
            if key is not None and key.created_time_raw != known:
                if not self.account.keys.is_held(name, key.created_time_raw):
                    self.report(name)
                return

    async def discard(self, name: str, created_time: str | None) -> None:
        """Delete a key that was just made, and that nobody takes.

        Args:
            name: The key's name; nothing else may be done with it meanwhile.
            created_time: When it was made, in the server's words: a key of another time is another key.
        """
        self.suspect(name)
        try:
            removal = await self.remove(name)
        except asyncio.CancelledError:
            self.report(name)
            raise
        if removal == "deleted":
            self.clear(name)
        else:
            # In the background: whoever waits is to be told why nobody takes the key.
            self.leave(self._watch(name, created_time or ""))

    async def _watch(self, name: str, created_time: str | None = None) -> None:
        clock = self.engine.runtime.monotonic
        born = clock()
        try:
            for seconds in itertools.chain(SETTLING, itertools.repeat(_LATE_LOOK)):
                await self.engine.pause(seconds, self.account)
                found = await (self._find(name) if created_time is None else self._find_named(name, created_time))
                # A look counts when it is so late that the key would have shown by then.
                if found == "deleted" or (found == "not_found" and clock() - born >= _WATCH_SECONDS - _ROUNDING):
                    self.clear(name)
                    self.engine.emitter.emit(OrphanSettled, api_key_name=name)
                    return
                if clock() - born >= _MAX_WATCH_SECONDS:
                    break
        except asyncio.CancelledError:
            self.report(name)
            raise
        self.report(name)

    async def _find(self, name: str) -> Removal:
        try:
            listing = await self.look(None)
        except PermissionDeniedError:
            return await self.remove(name)
        except FastKeyError:
            return "failed"
        return await self.remove(name) if name in listing.keys else "not_found"

    async def _find_named(self, name: str, created_time: str) -> Removal:
        """The same for a key of the caller's name, which another key may bear by now."""
        async with self.account.turns.hold(name):
            if self.account.keys.is_handed_out(name):
                return "deleted"  # it must be, for its name to be free
            try:
                listing = await self.look(None)
            except FastKeyError:
                return "failed"
            key = listing.keys.get(name)
            is_it = key is not None and (key.created_time_raw or "") == created_time
            return await self.remove(name) if is_it else "not_found"
