"""KeyLease: a key that is always valid. It is made, kept, renewed ahead of its end, handed over, and deleted."""

from __future__ import annotations

import asyncio
import functools
import inspect
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable
from datetime import datetime, timedelta
from types import TracebackType
from typing import Final, Literal, Self, TypeGuard

import attrs

from kraken_fastkey._background import join
from kraken_fastkey._client import FastKeyClient
from kraken_fastkey._emitter import Emitter, next_id
from kraken_fastkey._errors import FastKeyError, InvalidRequestError, LeaseExpiredError, StoreError
from kraken_fastkey._events.event import EventHook
from kraken_fastkey._events.leases import (
    LeaseEntered,
    LeaseExpired,
    LeaseFailing,
    LeaseKeyGone,
    LeaseKeyHandedOver,
    LeaseKeyNotPlaced,
    LeaseKeyRefused,
    LeaseKeyTaken,
    LeaseLeft,
    LeaseListenerFailed,
    LeaseNotCleared,
    LeaseRecovered,
    LeaseRotationEnded,
    LeaseRotationStarted,
)
from kraken_fastkey._lease_checks import other_faults, time_faults
from kraken_fastkey._lease_record import LeaseRecord
from kraken_fastkey._leasing import LeaseBook, make_instance
from kraken_fastkey._models import CreateKeyRequest, FastApiKey, GeneratedName
from kraken_fastkey._probing import MAX_PROBE, Probation, Prober
from kraken_fastkey._secret import Unpicklable
from kraken_fastkey._shield import shield
from kraken_fastkey.stores import KeyStore, MemoryKeyStore

_PRESENCE: Final = timedelta(minutes=5)  # how often a lease says that it is there
_BACKOFF: Final = (2.0, 60.0)  # of what fails, in seconds: the bound of the first wait, and of each
_MAX_RETRY_AFTER: Final = 900.0

LeaseState = Literal["closed", "valid", "failing", "expired"]
"""How a lease is.

- `"closed"`: it was not entered, or has been left.
- `"valid"`: there is a good key.
- `"failing"`: there is a good key, but its renewal, or the last look at it, has failed.
- `"expired"`: the key has expired or was revoked, and there is no other yet.
"""


@attrs.frozen(kw_only=True)
class LeaseHealth:
    """How a lease is.

    Attributes:
        state: See `LeaseState`.
        api_key_name: The name of the present key, or of the last one; `None` if there was none yet.
        expires_at: When the present key expires; `None` if there is none.
        renewals: How many keys this lease has made since it was entered.
        last_error: Why the last renewal or look failed; `None` if it did not.
        checked_at: When the key was last seen in Kraken's list; `None` if it was not looked for.
        verified: What a look at the new key by itself has shown, see `KeyVerification.verified`; `None` also if there
            was none, as for a key that another lease has made.
    """

    state: LeaseState
    api_key_name: str | None = None
    expires_at: datetime | None = None
    renewals: int = 0
    last_error: FastKeyError | None = attrs.field(default=None, repr=lambda error: error and type(error).__name__)
    checked_at: datetime | None = None
    verified: bool | None = None


class KeyLease(Unpicklable):
    """A key that is always valid, as long as the lease is entered.

    On entry it takes the key that the store holds, if that is still good, or makes one with a short life, so that
    a dead bot's key dies, too. It makes the next key ahead of its end, hands it over, and deletes the old one
    after `grace`. On exit the key is deleted, or kept for the next start.

    ::

        async with KeyLease(client, CreateKeyRequest(permissions=Permissions(funds_query=True))) as lease:
            lease.key  # whenever a key is needed

    Any number of leases, in any number of processes, may share a store: they share its key, and one of them renews
    it. What a lease has made bears `prefix` and its store's owner, which is chance, in its name. On entry, at
    each look and at each renewal, a key of that beginning that the store does not know is deleted: a crash has left
    it. No other key is ever touched.

    While Kraken is down, the present key is used as long as it lives. A key that its user has deleted is noticed
    by a look at the list, each `check_every`, or by who uses it: see `renew`.

    Kraken's trading side may not know a new key at once. So it is asked, with the key itself, up to three times, 5
    seconds apart, before the key is handed over; meanwhile the old key serves on. A key that is still not known then is
    handed over all the same, and is never deleted on that ground.

    Args:
        client: What makes the keys.
        template: What they are to be like. Its name and `valid_until` are not used.
        lifetime: How long a key lives; 1 minute to 365 days.
        renew_before: How long before its end a key is renewed; more than 0, and at most nine tenths of `lifetime`.
            Left out, a third of it.
        store: Where the key is kept between two starts. Left out, in memory.
        prefix: What the names of the keys begin with: 1 to 12 of letters, digits, `_` and `.`.
        grace: How long an old key is kept at least after the new one was handed over, 0 or more; at most until the
            next renewal, and longer while another lease of the store may not have the new one yet.
        on_exit: Whether to `"delete"` the key on exit, unless another lease of the store is using it, or to
            `"keep"` it for the next start.
        on_change: Called with each key from the second on, as soon as it is there; it may be async, and is not
            waited for.
        check_every: How often to look whether the key still exists, 1 second or more; `None` for never.
        two_phase: Whether to make each key with a life of 10 minutes, and to extend it when it is stored: then a
            crash in between leaves nothing for longer.
        probe: Whether to ask the trading side about each new key. That spends one nonce of the key, a number of
            seconds: do not if its user counts from 1. From an address that is not in the key's allowlist it tells
            little.
        api_url: The trading API's address, for that; https, or plain http to loopback. Left out, the host of the
            client's `base_url`.
        on_event: Called with each event of this lease, see `EventHook`. Left out, it is the hook of *client*, which
            also tells of the calls themselves.

    Raises:
        InvalidRequestError: An argument is wrong.
    """

    def __init__(
        self,
        client: FastKeyClient,
        template: CreateKeyRequest,
        lifetime: timedelta = timedelta(hours=6),
        renew_before: timedelta | None = None,
        *,
        store: KeyStore | None = None,
        prefix: str = "lease",
        grace: timedelta = timedelta(seconds=60),
        on_exit: Literal["delete", "keep"] = "delete",
        on_change: Callable[[FastApiKey], Awaitable[object] | object] | None = None,
        check_every: timedelta | None = timedelta(minutes=5),
        two_phase: bool = False,
        probe: bool = True,
        api_url: str | None = None,
        on_event: EventHook | None = None,
    ) -> None:
        faults = other_faults(client, template, store, prefix, on_exit, on_change, api_url, on_event)
        faults |= time_faults(lifetime, renew_before, grace, check_every)
        if faults:
            raise InvalidRequestError({f"lease.{field}": fault for field, fault in faults.items()})
        engine = client._shared.engine  # noqa: SLF001  # one clock for both
        self._runtime = engine.runtime
        self._emitter = Emitter(engine.emitter.hook if on_event is None else on_event, self._runtime)
        self._id = next_id()
        self._renew_before = lifetime / 3 if renew_before is None else renew_before
        self._deletes = on_exit == "delete"
        self._on_change = on_change
        self._check_every = check_every
        beat = _PRESENCE if check_every is None else min(check_every, _PRESENCE)
        self._beat = beat
        self._book = LeaseBook(
            client=client,
            store=MemoryKeyStore() if store is None else store,
            runtime=self._runtime,
            template=template,
            lifetime=lifetime,
            prefix=prefix,
            grace=grace + MAX_PROBE if probe else grace,
            two_phase=two_phase,
            instance=make_instance(),
            presence=3 * beat,
            emitter=self._emitter,
            lease_id=self._id,
        )
        expected = attrs.evolve(template, api_key_name=GeneratedName(prefix), valid_until=lifetime)
        prober = Prober(
            client=client,
            api_url=api_url,
            runtime=self._runtime,
            expected=expected,
            emitter=self._emitter,
            lease_id=self._id,
        )
        self._probation = Probation(prober if probe else None, self._runtime)
        self._key: FastApiKey | None = None
        self._lost: str | None = None
        self._due: str | None = None
        self._renew_at: datetime | None = None
        self._tidy_at: datetime | None = None
        self._renewals = 0
        self._failures = 0
        self._has_expired = False
        self._error: FastKeyError | None = None
        self._checked_at: datetime | None = None
        self._keeper: asyncio.Task[None] | None = None
        self._turn: asyncio.Task[None] | None = None
        self._is_entering = False
        self._leaving: asyncio.Task[None] | None = None
        self._changed = asyncio.Condition()
        self._wake = asyncio.Event()
        self._told: set[asyncio.Task[None]] = set()

    @property
    def key(self) -> FastApiKey:
        """The key to use now. Ask for it each time: the one of before is deleted some time after its renewal.

        Raises:
            LeaseExpiredError: There is no good key: the lease is not entered, or could not renew its key in time.
        """
        if self._key is not None and self.health.state in {"valid", "failing"}:
            return self._key
        raise self._expired()

    @property
    def health(self) -> LeaseHealth:
        """How the lease is."""
        key = self._key
        state: LeaseState = "valid" if self._error is None else "failing"
        if self._keeper is None:
            state = "closed"
        elif not self._is_good(key):
            state = "expired"
        return LeaseHealth(
            state=state,
            api_key_name=None if key is None else key.api_key_name,
            expires_at=None if key is None else key.valid_until,
            renewals=self._renewals,
            last_error=self._error,
            checked_at=self._checked_at,
            verified=self._probation.verified,
        )

    async def keys(self) -> AsyncGenerator[FastApiKey, None]:
        """Yield the present key, and then each that takes its place, until the lease is left.

        Raises:
            LeaseExpiredError: The lease was not entered.
        """
        if self._keeper is None:
            raise self._expired()
        last: FastApiKey | None = None
        while True:
            async with self._changed:
                await self._changed.wait_for(functools.partial(self._has_other_than, last))
                if self._keeper is None or self._key is None:
                    return
                last = self._key
            yield last

    def _has_other_than(self, seen: FastApiKey | None) -> bool:
        has_key = self._key is not None and self._key is not seen and self.health.state in {"valid", "failing"}
        return has_key or self._keeper is None

    async def renew(self, rejected: FastApiKey | None = None) -> FastApiKey:
        """Return a new key: now, ahead of time, or in the place of one that Kraken has refused.

        Whoever is refused with a key calls this; who comes late gets the key that the first has brought. A key that
        is less than two minutes old may not be known yet, so Kraken is asked first: if it takes the key by now, that
        same key is returned. Where one such key after another is refused, the next is made only after a while.

        Args:
            rejected: The key that was refused. Left out, the present key is good, and is replaced with an overlap.

        Raises:
            LeaseExpiredError: The lease is not entered; or the last keys were refused when they were new, and the next
                is made in `retry_after` seconds.
            TemporaryLockoutError: Kraken has locked the key or this address out, so no other key is made.
            FastKeyError: No other key could be had.
        """
        if self._keeper is None:
            raise self._expired()
        old = self._key if rejected is None else rejected
        if self._key is not None and old is not None and self._key.api_key_name == old.api_key_name:
            self._due = old.api_key_name
            if rejected is not None:
                if self._lost != old.api_key_name:
                    self._emitter.emit(LeaseKeyRefused, lease_id=self._id, api_key_name=old.api_key_name)
                self._lost = old.api_key_name
            if self._turn is not None:
                await self._share_turn()  # it may have begun as a look, when the key was good
            if self._due == self._key.api_key_name:
                await self._share_turn()
        return self.key

    async def __aenter__(self) -> Self:
        if self._keeper is not None or self._is_entering:
            raise InvalidRequestError({"lease": "is entered already: make one lease for each `async with`"})
        self._is_entering = True
        try:
            await self._enter()
        finally:
            self._is_entering = False
        self._keeper = asyncio.get_running_loop().create_task(self._keep())
        return self

    async def _enter(self) -> None:
        if self._leaving is not None and not self._leaving.done():
            await asyncio.wait({self._leaving})  # else it would delete the next key
        self._key = self._lost = self._due = self._error = self._checked_at = None
        self._renewals = self._failures = 0
        self._has_expired = False
        self._probation.reset()
        self._book.has_made = False
        try:
            await self._take_first()
        except BaseException as error:
            if self._book.has_made:
                leaving = self._begin_to_leave()
                if not isinstance(error, GeneratorExit):
                    with shield():
                        await join(leaving)
            raise

    async def _take_first(self) -> None:
        failure: StoreError | None = None
        try:
            await self._take(alive=self._is_alive)
        except FastKeyError:
            raise
        except Exception as error:  # noqa: BLE001  # of a user's store, and it may quote what it was to keep
            failure = StoreError(f"the store raised {type(error).__name__}")
        if failure is not None:
            raise failure

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        keeper, self._keeper = self._keeper, None
        tasks = [task for task in (keeper, self._turn, *self._told) if task is not None]
        for task in tasks:
            task.cancel()  # here and now: none of them may begin anything more
        leaving = self._begin_to_leave(*tasks)
        with shield():
            await join(leaving)

    def _begin_to_leave(self, *tasks: asyncio.Task[None]) -> asyncio.Task[None]:
        # Of the client's tasks: it is finished even if its caller is gone.
        client = self._book.client
        self._leaving = client._shared.background.start(self._leave(tasks), client._account)  # noqa: SLF001
        return self._leaving

    async def _leave(self, ending: Iterable[asyncio.Task[None]]) -> None:
        try:
            for task in ending:
                await asyncio.wait({task})
            async with self._changed:
                self._changed.notify_all()
            self._key = None
            await self._book.leave(delete=self._deletes)
        # It must not take the place of what the bot raised; and the time for closing the client may be over.
        except (Exception, asyncio.CancelledError) as error:  # noqa: BLE001
            self._emitter.emit(LeaseNotCleared, lease_id=self._id, error_type=type(error).__name__)
        self._emitter.emit(LeaseLeft, lease_id=self._id)

    async def _keep(self) -> None:
        self._emitter.emit(LeaseEntered, lease_id=self._id)
        while True:
            self._wake.clear()
            sleep = asyncio.ensure_future(self._runtime.rest(self._seconds_to_next()))
            wake = asyncio.ensure_future(self._wake.wait())
            try:
                await asyncio.wait({sleep, wake}, return_when=asyncio.FIRST_COMPLETED)
            finally:
                sleep.cancel()
                wake.cancel()
            # Woken, somebody else has seen to the key: what is due next is reckoned anew.
            if not self._wake.is_set():
                await self._share_turn(quietly=True)

    async def _share_turn(self, *, quietly: bool = False) -> None:
        """See to the key, in a task that all share and no caller cancels."""
        if self._turn is None:
            self._turn = asyncio.get_running_loop().create_task(self._see_to_it())
            self._turn.add_done_callback(self._end_turn)
        turn = self._turn
        await asyncio.wait({turn})  # a cancellation from here is the caller's own
        if self._keeper is None:
            raise self._expired()
        turn.result()
        if not quietly and self._error is not None:
            raise self._error

    def _end_turn(self, task: asyncio.Task[None]) -> None:
        self._turn = None
        self._wake.set()
        if not task.cancelled():
            task.exception()

    async def _see_to_it(self) -> None:
        try:
            key = self._key
            if key is not None and key.api_key_name == self._lost and not await self._probation.refuse(key):
                async with self._changed:
                    self._lost = self._due = None  # Kraken takes it by now
                    self._changed.notify_all()
            if not self._is_fresh(self._key) or not await self._tidy():
                await self._take()
        except Exception as error:  # noqa: BLE001  # whatever a user's store raises, the lease goes on
            name = type(error).__name__
            self._failures += 1
            self._error = error if isinstance(error, FastKeyError) else StoreError(f"the store raised {name}")
            self._tell_failing(name)
        else:
            if self._failures:
                self._emitter.emit(LeaseRecovered, lease_id=self._id, failures=self._failures)
            self._failures = 0
            self._has_expired = False
            self._error = None

    def _tell_failing(self, error_type: str) -> None:
        state, emit = self.health.state, self._emitter.emit
        emit(LeaseFailing, lease_id=self._id, error_type=error_type, failures=self._failures, state=state)
        if state == "expired" and not self._has_expired:
            self._has_expired = True
            name = None if self._key is None else self._key.api_key_name
            emit(LeaseExpired, lease_id=self._id, api_key_name=name)

    async def _take(self, *, alive: Callable[[FastApiKey], bool] | None = None) -> None:
        """Take the stored key, or a new one."""
        emit, clock = self._emitter.emit, self._runtime.monotonic
        rotation_id, reason, began = next_id(), "entry" if alive is not None else self._reason(), clock()
        emit(LeaseRotationStarted, lease_id=self._id, rotation_id=rotation_id, reason=reason)
        name: str | None = None
        result: Literal["made", "taken", "failed"] = "failed"
        error_type: str | None = None
        try:
            key, is_new = await self._take_key(alive)
            name, result = key.api_key_name, "made" if is_new else "taken"
        except BaseException as error:
            error_type = type(error).__name__
            raise
        finally:
            emit(
                LeaseRotationEnded,
                lease_id=self._id,
                rotation_id=rotation_id,
                reason=reason,
                seconds=clock() - began,
                result=result,
                api_key_name=name,
                error_type=error_type,
            )

    def _reason(self) -> str:
        """Why another key is looked for."""
        if self._key is None or self._key.api_key_name == self._lost:
            return "lost"
        if self._key.api_key_name == self._due:
            return "asked"
        return "replaced" if self._lasts(self._key, self._renew_before) else "due"

    async def _take_key(self, alive: Callable[[FastApiKey], bool] | None) -> tuple[FastApiKey, bool]:
        record, key, is_new = await self._book.take(self._is_fresh, alive=alive)
        self._renewals += is_new
        before = self._key
        self._plan(key, record)
        if is_new:
            # At the cost of no gap: an old key that is about to end is replaced at once.
            ends = self._is_good(before) and not self._lasts(before, MAX_PROBE)
            await self._probation.begin(key, ask=not ends)
        elif before is None or key.api_key_name != before.api_key_name:
            # Another lease has made it, perhaps a moment ago.
            self._probation.note(self._book.age_of(key))
        if before is None or key.api_key_name != before.api_key_name:
            if not is_new:
                self._emitter.emit(LeaseKeyTaken, lease_id=self._id, api_key_name=key.api_key_name)
            async with self._changed:
                self._key = key
                self._changed.notify_all()
            self._emitter.emit(
                LeaseKeyHandedOver,
                lease_id=self._id,
                api_key_name=key.api_key_name,
                old_api_key_name=None if before is None else before.api_key_name,
                expires_at=None if key.valid_until is None else key.valid_until.timestamp(),
            )
            if before is not None and self._on_change is not None:
                # Apart, since it may take its time, and may ask for another key.
                task = asyncio.get_running_loop().create_task(self._tell(key, self._on_change))
                self._told.add(task)
                task.add_done_callback(self._told.discard)
        return key, is_new

    async def _tidy(self) -> bool:
        """Delete old keys that are due, and return whether the present one is still there, and the store's."""
        key = self._key
        if key is None:
            return False
        record, is_there = await self._book.tidy(key, look=self._check_every is not None)
        self._plan(key, record)
        stored = record.current
        if stored is None or stored.api_key_name != key.api_key_name:
            return False  # another lease of the store has renewed it
        if is_there is False:
            self._emitter.emit(LeaseKeyGone, lease_id=self._id, api_key_name=key.api_key_name)
            self._lost = key.api_key_name
        elif is_there:
            self._checked_at = self._book.now()
        return is_there is not False

    def _plan(self, key: FastApiKey, record: LeaseRecord) -> None:
        """Reckon when to renew, and when to look again."""
        now = self._book.now()
        # Spread, so that leases that began together do not renew together; never before the key counts as old.
        early = self._renew_before * (1 - 0.1 * self._runtime.random())
        self._renew_at = None if key.valid_until is None else key.valid_until - early
        # One that was due, and could not be deleted, waits for the next beat.
        self._tidy_at = min([now + self._beat, *(due for due in record.retired.values() if due > now)])

    def _is_fresh(self, key: FastApiKey | None) -> bool:
        """Whether a key is good, and not to be renewed yet."""
        if key is None or key.api_key_name in {self._lost, self._due}:
            return False
        return self._lasts(key, self._renew_before)

    def _is_good(self, key: FastApiKey | None) -> TypeGuard[FastApiKey]:
        """Whether a key may be used."""
        return key is not None and key.api_key_name != self._lost and self._is_alive(key)

    def _is_alive(self, key: FastApiKey) -> bool:
        return self._lasts(key, timedelta(0))

    def _lasts(self, key: FastApiKey, span: timedelta) -> bool:
        """Whether a key lives for longer than this."""
        return key.valid_until is None or self._book.now() < key.valid_until - span

    def _seconds_to_next(self) -> float:
        if self._failures:
            first, most = _BACKOFF
            wait = min(most, first * 2.0 ** min(self._failures - 1, 10)) * (0.5 + self._runtime.random() / 2)
            asked = None if self._error is None else self._error.retry_after
            return max(wait, min(asked or 0.0, _MAX_RETRY_AFTER))
        moments = [moment for moment in (self._renew_at, self._tidy_at) if moment is not None]
        return max(0.0, (min(moments) - self._book.now()).total_seconds())

    async def _tell(self, key: FastApiKey, listener: Callable[[FastApiKey], Awaitable[object] | object]) -> None:
        try:
            result = listener(key)
            if inspect.isawaitable(result):
                await result
        except Exception as error:  # noqa: BLE001  # a listener's fault is no reason to lose the key
            # By its type alone: it might quote the key.
            self._emitter.emit(LeaseListenerFailed, lease_id=self._id, error_type=type(error).__name__)

    def _tell_not_placed(self, key: FastApiKey, fault: str) -> None:
        self._emitter.emit(LeaseKeyNotPlaced, lease_id=self._id, api_key_name=key.api_key_name, fault=fault)

    def _expired(self) -> LeaseExpiredError:
        health = self.health
        why = "" if health.last_error is None else f"; the last renewal failed: {type(health.last_error).__name__}"
        advice = "enter it with `async with`" if health.state == "closed" else "wait, or see its health"
        return LeaseExpiredError(f"the lease is {health.state} and has no good key: {advice}{why}")
