"""Creating a key, so that in the end somebody holds it, or there is none.

`create_key` is not idempotent, and its answer holds a secret that is shown once: a lost answer is a live key that
nobody holds. So a create of unknown outcome is never just sent again; what became of it is found out first, and
what is there without a holder is deleted. The name is the handle: names are unique in an account.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from typing import Any, Final, NoReturn

import attrs

from kraken_fastkey._doubt import undone, unknown
from kraken_fastkey._errors import (
    DuplicateKeyNameError,
    FastKeyError,
    PermissionDeniedError,
    TransportError,
    UnknownOutcomeError,
)
from kraken_fastkey._events.orphans import KeyRenamed
from kraken_fastkey._evidence import CreateVerdict, judge_create
from kraken_fastkey._janitor import SETTLING, Janitor
from kraken_fastkey._key_notes import Note
from kraken_fastkey._models import CreateKeyRequest, FastApiKey, GeneratedName
from kraken_fastkey._progress import Progress
from kraken_fastkey._wire import create_key

_DELETE_IT: Final = "if list_keys() shows it, delete it, since its secret is lost, and create another"

Save = Callable[[FastApiKey], Awaitable[object]]


class _AbandonedError(Exception):
    """Nobody waits for the call any more, and what could be done has been done."""


class Creation:
    """One `create_key`, from its first attempt until a key is held or there is none.

    Args:
        janitor: What finds and deletes keys that nobody holds.
        request: What to create.
        reconciles: Whether to find out what became of a create of unknown outcome; if not, it is raised.
        save: Stores the key before its caller has it.

    Raises:
        InvalidRequestError: A time in the request has passed since it was made.
    """

    operation = "create_key"
    _ghosts: frozenset[str] = frozenset()
    _note: Note | None = None  # of the key, once it has come
    _sent = 0.0  # when the first request was, by a clock that never goes back
    _is_saved = False
    _cut_off = False

    def __init__(
        self, janitor: Janitor, request: CreateKeyRequest, *, reconciles: bool, save: Save | None = None
    ) -> None:
        self._janitor = janitor
        self._engine = janitor.engine
        self._account = janitor.account
        name = request.api_key_name
        # A generated name serves one call: a second one would take the first one's key for its own.
        self._is_generated = isinstance(name, GeneratedName)
        if isinstance(name, GeneratedName) and not name.claim():
            request = _renamed(request)
        self._request = request
        self._call = create_key(request, self._engine.runtime.time())
        self._reconciles = reconciles
        self._save = save
        self.progress = self._engine.begin()

    async def run(self) -> FastApiKey:
        """Create the key.

        Raises:
            FastKeyError: There is no key of this call; with an `UnknownOutcomeError`, there may be one.
        """
        held = self.api_key_name  # whatever it is renamed to
        # Not `hold`, whose objects and steps would take 1 % of a call.
        if not self._account.turns.take_at_once(held):
            await self._account.turns.take(held, self._engine.seconds_left(self.progress))
        try:
            return await self._run()
        finally:
            self._account.turns.give_back(held)

    def abandon(self) -> bool:
        """Note that nobody waits any more: a key that is made all the same is deleted."""
        self.progress.abandoned = True
        return self._note is None and not self.progress.exposed

    def unreceived(self, key: FastApiKey) -> Coroutine[Any, Any, None] | None:
        """Delete a key whose caller went away in the moment in which it came, unless it was stored."""
        return None if self._is_saved else self._discard_later(key)

    def unheard(self, error: BaseException, /) -> Coroutine[Any, Any, None] | None:
        """See to what may be left, of which nobody was told."""
        if not isinstance(error, UnknownOutcomeError) or self.api_key_name in self._account.unsettled:
            return None
        if not self._reconciles:
            return self._clear_up(error)
        self._janitor.report(self.api_key_name)
        return None

    @property
    def api_key_name(self) -> str:
        """The key's name: a generated one may change on the way."""
        return self._request.api_key_name

    async def _run(self) -> FastApiKey:
        self._sent = self._engine.runtime.monotonic()
        doubt: FastKeyError | None = None
        while True:
            try:
                answer = await self._engine.run(self._call, self._account, self.progress)
            except FastKeyError as error:
                failure = error
            except asyncio.CancelledError:
                if not self.progress.departed:
                    raise
                # Cut off, as at the end of an event loop: what has been sent is still ours to clear up.
                failure = self._note_cut_off()
            else:
                return await self._hand_over(answer.value)
            if self.progress.in_doubt:
                doubt = failure
            elif doubt is None or not isinstance(failure, DuplicateKeyNameError):
                raise self._refused(failure)
            if not (self._reconciles or self.progress.abandoned or self._cut_off):
                raise unknown(self._call, failure, _DELETE_IT) from failure
            await self._reconcile(failure, doubt)
            self.progress.in_doubt = False
            if self.progress.abandoned:
                raise asyncio.CancelledError

    def _refused(self, failure: FastKeyError) -> FastKeyError:
        if not self._account.unsettled.keys().isdisjoint(self._ghosts):
            failure.outcome = "unknown"  # the last attempt was refused, but what an earlier one did may show yet
        return failure

    async def _clear_up(self, failure: FastKeyError) -> None:
        self.progress.abandoned = True
        async with self._in_turn(self.api_key_name):
            await self._reconcile(failure, failure)

    async def _reconcile(self, failure: FastKeyError, doubt: FastKeyError) -> None:
        """Return when the call may be sent again, since nothing is left of what was sent."""
        with self._janitor.reconciling(self.operation, self.api_key_name, failure):
            try:
                if self._is_generated:
                    await self._replace_name(failure)
                else:
                    await self._settle(failure, doubt)
            except _AbandonedError:
                pass
            except asyncio.CancelledError:
                # The client closes, and the time for it is over.
                self._janitor.report(self.api_key_name)
                if self.progress.abandoned:
                    raise
                raise unknown(self._call, failure, _DELETE_IT) from failure

    async def _replace_name(self, failure: FastKeyError) -> None:
        """Delete whatever bears the name, which was made for this call, and take another.

        Should it turn up later, it is deleted then: meanwhile the new name cannot collide with it.
        """
        ghost = self.api_key_name
        self._ghosts |= {ghost}
        self._janitor.suspect(ghost)
        again = False
        removal = "failed"
        if self.progress.abandoned or self._cut_off:
            removal = await self._janitor.remove(ghost, once=self._cut_off)
        # Each of the two requests that follow comes out of the budget, so that an outage is not multiplied.
        elif self._engine.take_retry():
            again = await self._may_repeat(failure)
            removal = await self._janitor.remove(ghost, self.progress)
        if removal == "deleted":
            self._janitor.clear(ghost)
        elif self._cut_off:
            self._janitor.report(ghost)
        else:
            self._janitor.watch(ghost)
        if self.progress.abandoned:
            return
        if not again and removal == "deleted":
            raise self._refused(undone(self._call, failure))
        if not again:
            advice = _DELETE_IT if self._cut_off else "the client goes on looking for it, and deletes it"
            raise unknown(self._call, failure, advice) from failure
        self._request = _renamed(self._request)
        self._call = create_key(self._request, self._engine.runtime.time())
        self._engine.emitter.emit(
            KeyRenamed, operation=self.operation, api_key_name=ghost, new_api_key_name=self.api_key_name
        )

    async def _settle(self, failure: FastKeyError, doubt: FastKeyError) -> None:
        """Look at the keys until it is clear that this call has left none under its name, deleting what it left."""
        seen_absent = False
        verdict: CreateVerdict | None = None
        began = self._engine.runtime.monotonic()
        for seconds in (0.0,) if self._cut_off else SETTLING:
            if not self.progress.abandoned and not self._engine.has_time_for(seconds, self.progress):
                self._stop(failure, _DELETE_IT)
            await self._engine.pause(seconds, self._account)
            verdict = await self._judge(failure, seen_absent=seen_absent)
            seen_absent |= verdict == "absent"
            if verdict == "before":
                self.progress.in_doubt = False
                raise self._engine.finish(_taken(self.api_key_name), self.operation, self.progress) from failure
            if verdict == "ours":
                removal = await self._janitor.remove(self.api_key_name, self._waiting)
                if removal == "deleted":
                    break
                if removal == "failed":
                    self._stop(failure, "it is there, and could not be deleted: delete it, since its secret is lost")
                verdict = None  # listed, and not to be found: the list is not up to date
        # A name that is taken by a key which the list does not show is no proof of anything.
        taken = isinstance(failure, DuplicateKeyNameError)
        if verdict is None or (verdict == "absent" and (taken or not self._janitor.is_settled(began))):
            self._stop(failure, _DELETE_IT)
        if self.progress.abandoned:
            return
        again = not self._cut_off and await self._may_repeat(doubt)
        if not again:
            raise undone(self._call, failure)

    async def _judge(self, failure: FastKeyError, *, seen_absent: bool) -> CreateVerdict | None:
        """Return what the list says now, or `None` if it could not be had, or is not up to date."""
        try:
            listing = await self._janitor.look(self._waiting)
        except PermissionDeniedError as error:
            self._janitor.tell_failed_look(self.operation, self.api_key_name, error)
            self._stop(failure, f"the access token may not list keys, so look by other means: {_DELETE_IT}")
        except FastKeyError as error:
            self._janitor.tell_failed_look(self.operation, self.api_key_name, error)
            return None
        verdict = judge_create(
            listing,
            self.api_key_name,
            self._call.parameters,
            sent=self._sent,
            seen_absent=seen_absent,
            is_held=self._account.keys.is_held,
        )
        self._janitor.tell_look(self.operation, self.api_key_name, verdict)
        if verdict == "before":
            # A key that this client has deleted itself is listed no longer, once the list is up to date.
            if self._account.keys.is_freed(self.api_key_name):
                return None
            self._janitor.watch_for_late_key(self.api_key_name, listing.keys[self.api_key_name].created_time_raw)
        if verdict == "unclear":
            self._stop(failure, f"who made the key that is there is unclear; {_DELETE_IT}")
        return verdict

    @property
    def _waiting(self) -> Progress | None:
        """The call, if somebody waits for it, so that its deadline counts."""
        return None if self.progress.abandoned else self.progress

    async def _may_repeat(self, failure: FastKeyError) -> bool:
        return await self._engine.wait(self.operation, self._account, self.progress, failure, repeatable=True)

    def _stop(self, failure: FastKeyError, advice: str) -> NoReturn:
        if self.progress.abandoned or self._cut_off:
            self._janitor.report(self.api_key_name)
        if self.progress.abandoned:
            raise _AbandonedError
        raise unknown(self._call, failure, advice) from failure

    async def _hand_over(self, key: FastApiKey) -> FastApiKey:
        """Return a key to its caller, or delete it if there is none any more."""
        now = self._engine.runtime.monotonic()
        self._note = self._account.keys.remember(key.api_key_name, key.created_time_raw, now)
        if self.progress.abandoned:
            await self._discard(key, key.api_key_name)
            raise asyncio.CancelledError
        if self._save is not None:
            try:
                with self._account.turns.lend(key.api_key_name):
                    await self._save(key)
            except BaseException:
                name = self._name_of(key)
                if name == key.api_key_name:
                    await self._discard(key, key.api_key_name)
                elif name is not None:
                    # It was renamed meanwhile, and its new name is not ours to hold beside the old one.
                    self._janitor.leave(self._discard_later(key))
                raise
            self._is_saved = True
        return key

    async def _discard(self, key: FastApiKey, name: str) -> None:
        """Delete a key that nobody takes; it must be our turn with its name."""
        self._account.keys.forget(name, self._engine.runtime.monotonic())
        await self._janitor.discard(name, key.created_time_raw)

    async def _discard_later(self, key: FastApiKey) -> None:
        """Delete a key that nobody takes when it is the turn, unless somebody else has deleted it by then."""
        name: str | None = key.api_key_name
        while name is not None:
            async with self._in_turn(name):
                present = self._name_of(key)
                if name == present:
                    await self._discard(key, name)
                    return
            name = present

    @contextlib.asynccontextmanager
    async def _in_turn(self, name: str) -> AsyncIterator[None]:
        """Clear up when it is the turn with a name; if the client closes before, tell of the key that may be left."""
        try:
            async with self._account.turns.hold(name):
                yield
        except asyncio.CancelledError:
            if name not in self._account.unsettled:
                self._janitor.report(name)
            raise

    def _name_of(self, key: FastApiKey) -> str | None:
        return None if self._note is None else self._account.keys.name_of(key.api_key_name, self._note)

    def _note_cut_off(self) -> FastKeyError:
        self._cut_off = True
        self.progress.departed = False
        self.progress.in_doubt = True
        cut_off = TransportError("the client was closed while the request was under way.", outcome="unknown")
        return self._engine.finish(cut_off, self.operation, self.progress)


def _renamed(request: CreateKeyRequest) -> CreateKeyRequest:
    given = request.api_key_name
    name = given.again() if isinstance(given, GeneratedName) else GeneratedName()
    name.claim()
    return attrs.evolve(request, api_key_name=name)


def _taken(name: str) -> DuplicateKeyNameError:
    return DuplicateKeyNameError(
        f"the account had a key {name!r} before this call. Choose another api_key_name, or delete the key that has it"
    )
