"""The list of an account's keys: at whichever address it is, and one request for all who ask at once."""

from __future__ import annotations

import asyncio
from typing import Final

from kraken_fastkey._account import Account
from kraken_fastkey._background import Background, join
from kraken_fastkey._engine import Engine
from kraken_fastkey._errors import ApiError, FastKeyError
from kraken_fastkey._evidence import Listing
from kraken_fastkey._models import KeyInfo
from kraken_fastkey._wire import LIST_PATHS, Success, list_keys

_SECONDS_BETWEEN_LOOKS: Final = 1.0


class Lister:
    """Lists keys, and remembers at which address that worked."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._paths = LIST_PATHS

    async def list_keys(self, account: Account, *, cleaning: bool = False) -> Success[tuple[KeyInfo, ...]]:
        """Ask at the address of Kraken's present reference, then at that of its OpenAPI description.

        Args:
            account: Whose keys.
            cleaning: Whether to go on while the client closes.

        Raises:
            FastKeyError: It failed.
        """
        first, other = self._paths
        try:
            return await self._engine.run(list_keys(first), account, self._engine.begin(cleaning=cleaning))
        except ApiError as error:
            if error.status not in {404, 405} and "EGeneral:Unknown method" not in error.codes:
                raise
        keys = await self._engine.run(list_keys(other), account, self._engine.begin(cleaning=cleaning))
        self._paths = (other, first)
        return keys


class Lookout:
    """Looks at an account's keys for all calls that are in doubt at once: one list each second, at most.

    Args:
        engine: What runs calls.
        lister: What lists.
        account: Whose keys.
        background: What holds the task of a look, which no single caller may cancel.
    """

    def __init__(self, engine: Engine, lister: Lister, account: Account, background: Background) -> None:
        self._engine = engine
        self._lister = lister
        self._account = account
        self._background = background
        self._next: asyncio.Task[Listing] | None = None
        self._started: float | None = None
        self._failure: FastKeyError | None = None

    async def look(self) -> Listing:
        """Return the keys as they are listed from now on.

        Raises:
            FastKeyError: The list could not be had.
        """
        # Done is one that was cut off before it began.
        if self._next is None or self._next.done():
            self._next = self._background.start(self._look(), self._account)
        return await join(self._next)

    async def _look(self) -> Listing:
        clock = self._engine.runtime.monotonic
        await asyncio.sleep(0)  # an eager task would end before it is known as the next one
        try:
            if self._started is not None and clock() - self._started < _SECONDS_BETWEEN_LOOKS:
                await self._engine.runtime.sleep(_SECONDS_BETWEEN_LOOKS - (clock() - self._started))
        finally:
            # Who asks from now on wants a list that is newer than this one.
            self._next = None
        self._started = clock()
        # In an outage, looking again is one more retry.
        if self._failure is not None and not self._engine.take_retry():
            raise self._failure
        try:
            answer = await self._lister.list_keys(self._account, cleaning=True)
        except FastKeyError as error:
            self._failure = error
            raise
        self._failure = None
        return Listing({key.api_key_name: key for key in answer.value}, answer.date, clock())
