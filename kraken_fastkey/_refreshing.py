"""RefreshingTokenProvider: access tokens from a stored grant, refreshed once at a time, and none lost.

Kraken kills the old pair the moment that it issues a new one. So a refresh is a transaction: under the store's lock
the grant is read again, the intent is written, the request goes out, the result is written, and only then does
anybody see it. It runs in a task of its own that no caller's cancellation stops.
"""

from __future__ import annotations

import asyncio
import contextlib
import copy
import os
import secrets
import socket
from collections.abc import Callable, Coroutine
from contextlib import AbstractContextManager
from datetime import UTC, datetime, timedelta
from types import TracebackType
from typing import Any, Final, Self

import attrs

from kraken_fastkey._emitter import Emitter, hook_fault, next_id
from kraken_fastkey._errors import (
    AuthenticationError,
    FastKeyError,
    InvalidRequestError,
    ReauthorizationCause,
    ReauthorizationRequiredError,
    StaleGrantError,
    StoreError,
    TokenUnavailableError,
)
from kraken_fastkey._events.event import EventHook
from kraken_fastkey._events.grants import (
    GrantAging,
    GrantLost,
    GrantNotSaved,
    RefreshAdopted,
    RefreshEnded,
    RefreshFailed,
    RefreshStarted,
)
from kraken_fastkey._grant import Grant, Rotation
from kraken_fastkey._oauth import OAuthClient
from kraken_fastkey._runtime import SYSTEM, Runtime
from kraken_fastkey._secret import Unpicklable
from kraken_fastkey._shield import shield
from kraken_fastkey._tokens import AccessToken
from kraken_fastkey.stores import GrantStore

_SHARE_OF_LIFE: Final = 0.1  # a short-lived token is not refreshed all the time
_ASSUMED_LIFE: Final = timedelta(hours=4)
_REFRESH_TOKEN_LIFE: Final = timedelta(days=30)
_ANNOUNCED_BEFORE: Final = timedelta(days=7)
_SPARE_SECONDS: Final = 5.0  # how long an early refresh waits for calls under way
_REPLAYS: Final = (1.0, 4.0)  # waits before a refresh of unknown outcome is sent again
_PAUSE_WHILE_GOOD: Final = 30.0  # after a failed refresh, while the token still holds
_PAUSE_WHEN_BAD: Final = 2.0  # after a failed refresh, when callers need one
_PAUSE_BETWEEN_REJECTIONS: Final = 30.0  # a fresh token that was never accepted is not mended by another
_DRAIN_SECONDS: Final = 10.0
_MAX_ROUNDS: Final = 5


@attrs.frozen
class _Failure:
    """A refresh that failed, remembered briefly so that it is not hammered.

    Attributes:
        error: Why.
        until: Until when it is remembered, in seconds of the monotonic clock.
        harmless: Whether the token of then was still good, so that it says nothing to who has seen it refused.
    """

    error: FastKeyError
    until: float
    harmless: bool


class RefreshingTokenProvider(Unpicklable):
    """Access tokens from a stored grant.

    One provider serves any number of tasks of one event loop; any number of providers, in any number of processes,
    may share a store. Await `aclose()` before the loop ends, or use it in an `async with`: a refresh under way is
    then finished and saved.

    Args:
        oauth_client: The app.
        store: Where the grant is; a login must have saved one.
        refresh_before: How long before its expiry a token is refreshed, at most: a tenth of its life, if that is
            less; and up to a fifth later by chance, so that a fleet does not refresh in one second.
        on_event: Called with each event of this provider, see `EventHook`. Left out, it is the hook of *oauth_client*,
            which also tells of the requests themselves.

    Raises:
        InvalidRequestError: An argument is wrong.
    """

    # Slots, since a process may have a hundred thousand of them.
    __slots__ = (
        "__weakref__",
        "_dead",
        "_early",
        "_emitter",
        "_expires",
        "_failure",
        "_forced_at",
        "_grant",
        "_issued",
        "_loop",
        "_oauth_client",
        "_refresh_before",
        "_runtime",
        "_saved",
        "_store",
        "_task",
        "_token",
        "_unused",
        "_used",
    )

    def __init__(
        self,
        oauth_client: OAuthClient,
        store: GrantStore,
        refresh_before: timedelta = timedelta(minutes=5),
        *,
        on_event: EventHook | None = None,
        _runtime: Runtime = SYSTEM,
    ) -> None:
        if not isinstance(refresh_before, timedelta) or refresh_before < timedelta(0):
            raise InvalidRequestError({"refresh_before": "must be a timedelta, 0 or more"})
        fault = hook_fault(on_event)
        if fault is not None:
            raise InvalidRequestError({"on_event": fault})
        if on_event is None and isinstance(oauth_client, OAuthClient):
            self._emitter = oauth_client._emitter  # noqa: SLF001  # of our own class
        else:
            self._emitter = Emitter(on_event, _runtime)
        self._oauth_client = oauth_client
        self._store = store
        self._refresh_before = refresh_before
        self._runtime = _runtime
        self._grant: Grant | None = None
        self._token: AccessToken | None = None  # the grant's, once it was asked for
        self._expires = 0.0  # of the grant's access token, in seconds of the monotonic clock
        self._early = 0.0  # from when on it is refreshed ahead
        self._saved = True
        self._issued = 0  # how many pairs Kraken has issued to this provider
        self._task: asyncio.Task[FastKeyError | None] | None = None
        self._failure: _Failure | None = None
        self._dead: tuple[int, ReauthorizationRequiredError] | None = None
        self._forced_at: float | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._used = 0
        self._unused: asyncio.Event | None = None  # while a refresh waits for it

    async def get_token(self, *, rejected: AccessToken | None = None) -> AccessToken:
        """Return an access token, after a refresh if that is due.

        Args:
            rejected: The token that Kraken has just refused. If it is still the present one, it is refreshed; if
                another call or process has done so meanwhile, the new one is returned at once.

        Raises:
            ReauthorizationRequiredError: The grant is dead, `cause` tells why; or there is none.
            AuthenticationError: A token fresh from a refresh was refused, too.
            StoreError: The store failed, so that a refresh could not be begun.
            FastKeyError: The refresh failed, and the present token is no good any more.
        """
        self._check_loop()
        error: FastKeyError | None = None
        for _ in range(_MAX_ROUNDS):
            if self._task is None and self._grant is not None and self._is_fresh(self._grant, rejected):
                break
            error = await self._join(rejected)
            if error is not None:
                break
        if not self._saved and self._task is None:
            await self._share(self._save_again())
        # The early refresh may have failed, and the token still hold: then only the log needs to know.
        if self._grant is not None and self._holds(self._grant, rejected):
            if self._token is None:
                self._token = self._grant.to_access_token()
            return self._token
        # A copy for each who waited: an exception that is raised twice mixes up their tracebacks.
        raise copy.copy(error or StoreError("the store's grant changed again and again: see who else writes it"))

    def use(self, token: AccessToken) -> AbstractContextManager[Callable[[], object]]:
        """Note that a request with *token* is under way: an early refresh waits for it, up to 5 s."""
        return _Use(self, token)

    def _begin_use(self) -> None:
        self._used += 1

    def _end_use(self) -> None:
        self._used -= 1
        if not self._used and self._unused is not None:
            self._unused.set()

    def _accept(self, token: AccessToken) -> None:
        if self._forced_at is not None and self._grant is not None and self._grant.access_token == token.value:
            self._forced_at = None  # it is as good as any

    async def aclose(self) -> None:
        """Wait up to 10 s for a refresh under way, and try once more to save what could not be saved."""
        with shield():
            if self._task is not None:
                await asyncio.wait({self._task}, timeout=_DRAIN_SECONDS)
            if not self._saved:
                await self._share(self._save_again())
        if not self._saved:
            self._emitter.emit(GrantLost)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.aclose()

    def _check_loop(self) -> None:
        loop = asyncio.get_running_loop()
        if self._loop not in {None, loop}:
            raise TokenUnavailableError(
                "the token provider belongs to another event loop: make one in each loop; they may share the store"
            )
        self._loop = loop

    def _is_fresh(self, grant: Grant, rejected: AccessToken | None) -> bool:
        """Whether a grant's token needs no refresh, or none now because one has just failed."""
        now = self._runtime.monotonic()
        pausing = self._failure is not None and now < self._failure.until
        return self._holds(grant, rejected) and (pausing or now < self._early)

    def _holds(self, grant: Grant, rejected: AccessToken | None) -> bool:
        """Whether a grant's token can be used: not expired, and not the one that was refused."""
        refused = rejected is not None and rejected.value == grant.access_token
        return not refused and self._runtime.monotonic() < self._expires

    async def _join(self, rejected: AccessToken | None) -> FastKeyError | None:
        """Wait for the refresh that is under way, or begin one; return why it failed."""
        if self._task is None:
            failure = self._failure
            says_something = failure is not None and (rejected is None or not failure.harmless)
            if failure is not None and says_something and self._runtime.monotonic() < failure.until:
                return failure.error
            return await self._share(self._refresh(rejected))
        return await asyncio.shield(self._task)

    async def _share(self, work: Coroutine[None, None, FastKeyError | None]) -> FastKeyError | None:
        """Do something in a task of its own, which all callers share and none can cancel."""
        task = self._task = asyncio.create_task(work)
        task.add_done_callback(self._end_task)
        return await asyncio.shield(task)

    def _end_task(self, task: asyncio.Task[FastKeyError | None]) -> None:
        if self._task is task:
            self._task = None

    async def _refresh(self, rejected: AccessToken | None) -> FastKeyError | None:
        """Have a good token in the end, by a refresh or from the store; or return and remember why not."""
        emit, clock = self._emitter.emit, self._runtime.monotonic
        refresh_id, began, issued = next_id(), clock(), self._issued
        emit(RefreshStarted, refresh_id=refresh_id, generation=None if self._grant is None else self._grant.generation)
        error: BaseException | None = None
        try:
            error = failure = await self._try_to_refresh(rejected)
        except BaseException as raised:
            error = raised  # the event loop ends
            raise
        else:
            return failure
        finally:
            seconds = clock() - began
            if error is not None:
                emit(
                    RefreshFailed,
                    refresh_id=refresh_id,
                    seconds=seconds,
                    error_type=type(error).__name__,
                    holds=self._grant is not None and self._holds(self._grant, rejected),
                    cause=error.cause if isinstance(error, ReauthorizationRequiredError) else None,
                )
            elif self._grant is not None:
                how = RefreshEnded if self._issued > issued else RefreshAdopted
                emit(how, refresh_id=refresh_id, generation=self._grant.generation, seconds=seconds)
            del error  # it would hold this frame, which holds it

    async def _try_to_refresh(self, rejected: AccessToken | None) -> FastKeyError | None:
        """Do it, and remember a failure."""
        try:
            seen = await self._store.load()
            if seen is not None and self._is_newer(seen):
                self._adopt(seen)
            if self._grant is None or not self._is_fresh(self._grant, rejected):
                await self._spare_calls(rejected)
                async with self._store.lock():
                    await self._refresh_locked(rejected)
        except FastKeyError as raised:
            error = raised.with_traceback(None)
        except Exception as raised:  # noqa: BLE001  # whatever a user's store may raise
            error = StoreError(f"the store raised {type(raised).__name__}: see to what it needs")
            error.__cause__ = raised
        else:
            self._failure = None
            return None
        holds = self._grant is not None and self._holds(self._grant, rejected)
        if isinstance(error, ReauthorizationRequiredError) and not holds:
            # A dead grant is asked about just once; a login may bring another at any moment.
            self._failure = None
            return error
        pause = (_PAUSE_WHILE_GOOD if holds else _PAUSE_WHEN_BAD) * (1 + self._runtime.random())
        self._failure = _Failure(error, self._runtime.monotonic() + pause, holds)
        return error

    async def _spare_calls(self, rejected: AccessToken | None) -> None:
        """Before an early refresh, let calls under way end: their token dies with it."""
        if self._grant is not None and self._holds(self._grant, rejected):
            self._unused = asyncio.Event()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_SPARE_SECONDS):
                    if self._used:
                        await self._unused.wait()
            self._unused = None

    async def _refresh_locked(self, rejected: AccessToken | None) -> None:
        stored = await self._store.load()
        if stored is not None and self._is_newer(stored):
            self._adopt(stored)
            if self._is_fresh(stored, rejected):
                return  # another process has done it
        grant = self._grant
        if grant is None:
            raise _dead("missing", "there is no grant in the store")
        if self._dead is not None and self._dead[0] == grant.generation:
            raise self._dead[1]
        self._check_rejection(grant, rejected)
        if not self._saved:
            grant = await self._store.save(grant)
            self._saved = True
        interrupted = stored is not None and stored.generation == grant.generation and stored.rotation is not None
        entry = Rotation(started_at=self._now(), owner=_owner())
        await self._store.save(attrs.evolve(grant, rotation=entry))
        self._adopt(await self._request(grant, interrupted=interrupted))

    def _check_rejection(self, grant: Grant, rejected: AccessToken | None) -> None:
        """Refuse to refresh once more for a token that was fresh from a refresh, and was never accepted."""
        if rejected is None or rejected.value != grant.access_token:
            return
        now = self._runtime.monotonic()
        if self._forced_at is not None and now - self._forced_at < _PAUSE_BETWEEN_REJECTIONS:
            raise AuthenticationError(
                "Kraken refused an access token that was fresh from a refresh: another would not help. "
                "See whether another app's process refreshes the same grant from another store",
                status=401,
            )
        self._forced_at = now

    async def _request(self, grant: Grant, *, interrupted: bool) -> Grant:
        """Send the refresh, again if its outcome is unknown, and return what is then the present pair, saved."""
        doubt = False
        for wait in (*_REPLAYS, None):
            try:
                fresh = await self._oauth_client.refresh(grant)
            except ReauthorizationRequiredError as error:
                return await self._explain(error, grant, doubt=doubt, interrupted=interrupted)
            except FastKeyError as error:
                doubt = doubt or error.outcome == "unknown"
                if error.outcome != "unknown" or wait is None:
                    if not doubt and not interrupted:
                        # Nothing was spent, so the next start need not suspect it.
                        await self._store.save(grant)
                    raise
            else:
                saved = await self._save(fresh)
                self._issued += 1
                return saved
            await self._runtime.sleep(wait)
        raise AssertionError

    async def _save(self, fresh: Grant) -> Grant:
        """Save a new pair, or keep it until it can be saved: it is the only one that is good."""
        try:
            saved = await self._store.save(fresh)
        except StaleGrantError:
            # Somebody has logged in, or refreshed, meanwhile: theirs is the pair to use.
            stored = await self._store.load()
            self._saved = True
            return fresh if stored is None else stored
        except Exception as error:  # noqa: BLE001  # whatever a user's store may raise, the grant is not lost
            self._tell_not_saved(fresh, error)
            self._saved = False
            return fresh
        self._saved = True
        return saved

    def _tell_not_saved(self, grant: Grant, error: Exception) -> None:
        # By its name alone: what a store raises may quote what it was to keep.
        self._emitter.emit(GrantNotSaved, generation=grant.generation, error_type=type(error).__name__)

    async def _save_again(self) -> FastKeyError | None:
        if self._grant is None or self._saved:
            return None
        try:
            async with self._store.lock():
                self._adopt(await self._save(self._grant))
        except Exception as error:  # noqa: BLE001  # likewise
            self._tell_not_saved(self._grant, error)
        return None

    async def _explain(
        self, error: ReauthorizationRequiredError, grant: Grant, *, doubt: bool, interrupted: bool
    ) -> Grant:
        """Return the pair that somebody else has stored meanwhile, or raise why there is none."""
        stored = await self._store.load()
        if stored is not None and stored.generation > grant.generation:
            return stored
        cause: ReauthorizationCause = "revoked"
        told = "the user or Kraken took it back"
        if grant.refresh_token is None:
            cause, told = "expired", "its access token has run out, and it has no refresh token"
        elif doubt:
            cause, told = "lost_reply", "the answer to its refresh was lost, and asking again did not bring it back"
        elif interrupted:
            cause, told = "interrupted_rotation", "a refresh was under way when its process ended"
        elif grant.issued_at is not None and self._now() - grant.issued_at >= _REFRESH_TOKEN_LIFE:
            cause, told = "expired", "it was not refreshed for 30 days"
        elif stored is None or stored.refresh_token != grant.refresh_token:
            cause, told = "superseded", "another refresh has used it up, and its result is not in the store"
        dead = _dead(cause, told, status=error.status, codes=error.codes)
        self._dead = (grant.generation, dead)
        raise dead

    def _is_newer(self, grant: Grant) -> bool:
        return self._grant is None or grant.generation > self._grant.generation

    def _adopt(self, grant: Grant) -> None:
        """Take a pair as the present one, and reckon its times on the clock that never jumps."""
        now = self._now()
        life = _ASSUMED_LIFE
        if grant.expires_at is not None and grant.issued_at is not None and grant.expires_at > grant.issued_at:
            life = grant.expires_at - grant.issued_at
        left = life if grant.expires_at is None else min(grant.expires_at - now, life)
        window = min(self._refresh_before, life * _SHARE_OF_LIFE) * (1 - 0.2 * self._runtime.random())
        # The journal is the store's; in memory there is just the pair.
        self._grant = attrs.evolve(grant, rotation=None)
        self._token = None
        self._expires = self._runtime.monotonic() + left.total_seconds()
        self._early = self._expires - window.total_seconds()
        if grant.issued_at is not None and now - grant.issued_at > _REFRESH_TOKEN_LIFE - _ANNOUNCED_BEFORE:
            days = (grant.issued_at + _REFRESH_TOKEN_LIFE - now) / timedelta(days=1)
            self._emitter.emit(GrantAging, days=days)

    def _now(self) -> datetime:
        return datetime.fromtimestamp(self._runtime.time(), UTC)


class _Use:
    """The time in which a request is under way."""

    __slots__ = ("_provider", "_token")

    def __init__(self, provider: RefreshingTokenProvider, token: AccessToken) -> None:
        self._provider = provider
        self._token = token

    def __enter__(self) -> Callable[[], object]:
        self._provider._begin_use()  # noqa: SLF001  # the two are one
        return self._accept

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._provider._end_use()  # noqa: SLF001

    def _accept(self) -> None:
        self._provider._accept(self._token)  # noqa: SLF001


def _owner() -> str:
    """Return who writes the journal: host, process and a random part."""
    return f"{socket.gethostname()}:{os.getpid()}:{secrets.token_hex(4)}"


def _dead(cause: ReauthorizationCause, told: str, **details: Any) -> ReauthorizationRequiredError:
    text = told if cause == "missing" else f"the grant is dead, since {told}"
    return ReauthorizationRequiredError(
        f"{text}: have the user log in again", cause=cause, operation="refresh", **details
    )
