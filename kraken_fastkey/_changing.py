"""Changing and deleting a key, so that it is known in the end how it is."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, Final

from kraken_fastkey._doubt import undone, unknown
from kraken_fastkey._errors import DuplicateKeyNameError, FastKeyError, KeyNotFoundError, PermissionDeniedError
from kraken_fastkey._evidence import UpdateVerdict, judge_update
from kraken_fastkey._janitor import SETTLING, Janitor
from kraken_fastkey._models import UpdateKeyRequest
from kraken_fastkey._wire import delete_key, update_key

_LOOK: Final = "see in list_keys() how it is now, and update it again if need be"


class _Change:
    """What changes a key, and leaves none that nobody has."""

    def unreceived(self, _: None, /) -> Coroutine[Any, Any, None] | None:
        """Do nothing: what was asked for has been done."""

    def unheard(self, _: BaseException, /) -> Coroutine[Any, Any, None] | None:
        """Do nothing: no key is left that nobody has."""


class Change(_Change):
    """One `update_key`.

    Args:
        janitor: What looks at the account's keys.
        request: What to change.
        reconciles: Whether to find out what became of an update of unknown outcome; if not, it is raised.

    Raises:
        InvalidRequestError: A time in the request has passed since it was made.
    """

    operation = "update_key"

    def __init__(self, janitor: Janitor, request: UpdateKeyRequest, *, reconciles: bool) -> None:
        self._janitor = janitor
        self._engine = janitor.engine
        self._account = janitor.account
        self.api_key_name = request.api_key_name
        self._new_name = request.new_api_key_name
        self._call = update_key(request, self._engine.runtime.time())
        self._reconciles = reconciles
        self._changed_before = False
        self.progress = self._engine.begin()
        self._sent = self.progress.started  # later, if it waits for its turn

    async def run(self) -> None:
        """Change the key.

        Raises:
            FastKeyError: It was not changed; with an `UnknownOutcomeError`, it may be.
        """
        within = self._engine.seconds_left(self.progress)
        new_name = self._new_name or self.api_key_name
        async with self._account.turns.hold(self.api_key_name, new_name, within=within):
            self._sent = self._engine.runtime.monotonic()
            self._changed_before = self._account.keys.note_change(self.api_key_name, new_name, self._sent)
            try:
                while not await self._try():
                    pass
            except BaseException:
                if self.progress.exposed and new_name != self.api_key_name:
                    self._account.keys.may_be_renamed(self.api_key_name, new_name, self._engine.runtime.monotonic())
                raise
            if new_name != self.api_key_name:
                self._account.keys.rename(self.api_key_name, new_name, self._engine.runtime.monotonic())

    def abandon(self) -> bool:
        """Note that nobody waits any more; the attempt under way is the last."""
        self.progress.abandoned = True
        return not self.progress.departed

    async def _try(self) -> bool:
        """Return whether the change has been made; if not, it is to be sent again."""
        try:
            await self._engine.run(self._call, self._account, self.progress)
        except FastKeyError as error:
            failure = error
        else:
            return True
        if not self.progress.in_doubt:
            raise failure
        if self.progress.abandoned:
            raise asyncio.CancelledError  # to go on would be another change, which nobody waits for
        if not self._reconciles:
            raise unknown(self._call, failure, _LOOK) from failure
        return await self._reconcile(failure)

    async def _reconcile(self, failure: FastKeyError) -> bool:
        """Look at the keys until it is clear whether the change has been made."""
        with self._janitor.reconciling(self.operation, self.api_key_name, failure):
            return await self._settle(failure)

    async def _settle(self, failure: FastKeyError) -> bool:
        # A refusal follows on a doubt: what was in doubt may be what it was refused for.
        may_repeat = self.progress.outcome != "refused"
        state: UpdateVerdict | None = None
        began = self._engine.runtime.monotonic()
        for seconds in SETTLING:
            if not self._engine.has_time_for(seconds, self.progress):
                raise unknown(self._call, failure, _LOOK) from failure
            await self._engine.pause(seconds, self._account)
            try:
                listing = await self._janitor.look(self.progress)
            except PermissionDeniedError as error:
                self._janitor.tell_failed_look(self.operation, self.api_key_name, error)
                # Unseen, the same values may be set twice, but a name is changed just once.
                if self._new_name is None and may_repeat and await self._may_repeat(failure):
                    return False
                raise unknown(self._call, failure, _LOOK) from failure
            except FastKeyError as error:
                self._janitor.tell_failed_look(self.operation, self.api_key_name, error)
                state = None
                continue
            state = judge_update(
                listing,
                self.api_key_name,
                self._new_name,
                self._call.parameters,
                sent=self._sent,
                changed_before=self._changed_before,
            )
            self._janitor.tell_look(self.operation, self.api_key_name, state)
            if state == "done":
                return True
            # The same change twice does no harm, so the list need not come up to date first.
            if may_repeat and await self._may_repeat(failure):
                return False
            may_repeat = False
        return self._conclude(failure, state if self._janitor.is_settled(began) else None)

    def _conclude(self, failure: FastKeyError, state: UpdateVerdict | None) -> bool:
        """Return that the change has been made, or raise what the last look leaves, if there was one late enough."""
        if state == "unclear":
            return True  # as wanted by now, whenever it was made so
        is_gone = isinstance(failure, KeyNotFoundError) and state == "gone"
        is_taken = isinstance(failure, DuplicateKeyNameError) and state == "not_done"
        if is_gone or is_taken:
            failure.outcome = "refused"
            raise failure
        if state is None or self.progress.outcome == "refused":
            raise unknown(self._call, failure, _LOOK) from failure
        raise undone(self._call, failure)

    async def _may_repeat(self, failure: FastKeyError) -> bool:
        return await self._engine.wait(self.operation, self._account, self.progress, failure, repeatable=True)


class Deletion(_Change):
    """One `delete_key`.

    Args:
        janitor: What knows the account.
        api_key_name: Which key.

    Raises:
        InvalidRequestError: The name could be no key's.
    """

    operation = "delete_key"

    def __init__(self, janitor: Janitor, api_key_name: str) -> None:
        self._engine = janitor.engine
        self._account = janitor.account
        self.api_key_name = api_key_name
        self._call = delete_key(api_key_name)
        self.progress = self._engine.begin()

    async def run(self) -> None:
        """Delete the key.

        Raises:
            FastKeyError: It was not deleted; with the outcome `"unknown"`, it may be.
        """
        async with self._account.turns.hold(self.api_key_name, within=self._engine.seconds_left(self.progress)):
            try:
                await self._engine.run(self._call, self._account, self.progress)
            except BaseException:
                if self.progress.exposed:
                    self._account.keys.may_be_gone(self.api_key_name, self._engine.runtime.monotonic())
                raise
            self._account.keys.forget(self.api_key_name, self._engine.runtime.monotonic())
            self._account.unsettled.pop(self.api_key_name, None)

    def abandon(self) -> bool:
        """Note that nobody waits any more; what may be half done is done to its end."""
        self.progress.abandoned = True
        return not self.progress.exposed
