"""GrantStore: where one account's grant is kept; and a grant's face on any backend."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager
from typing import Final, Protocol, runtime_checkable

import attrs

from kraken_fastkey._errors import StaleGrantError, StoreError
from kraken_fastkey._grant import Grant, grant_from_bytes, grant_to_bytes
from kraken_fastkey.stores._face import GRANT, RecordFace
from kraken_fastkey.stores._records import Record, RecordConflictError

_MAX_CONFLICTS: Final = 1000


@runtime_checkable
class GrantStore(Protocol):
    """Where one account's grant is kept. Any object with these methods will do.

    `kraken_fastkey.testing.GrantStoreConformance` tests whether a store of your own keeps the rules.
    """

    async def load(self) -> Grant | None:
        """Return the grant, or `None` if none was ever saved.

        It needs no lock: what it returns is whole, however many save meanwhile.

        Raises:
            StoreError: The store cannot be read, or holds what could not be a grant.
        """
        ...

    async def save(self, grant: Grant) -> Grant:
        """Save a grant, and return it as it was saved, with its generation.

        It is complete, and survives a crash, when this returns. It needs no lock and waits for none, and is
        safe under it. If the caller is cancelled, the save either happened or did not.

        The store counts the generations:

        - A grant of generation 0 comes from a login. It is stored whatever is there, as the next generation:
          1 in an empty store.
        - The pair that the store holds, in its own generation, may be saved again: that is how its `rotation`
          is written and cleared.
        - The next pair has the next generation, one more than the stored one's.

        All of the grant is saved, its `unknown` fields among it.

        Raises:
            StaleGrantError: The store holds a newer grant, or another pair of that generation: load it. Nothing
                was changed.
            StoreError: It cannot be saved. The store holds the old grant or the new one.
        """
        ...

    def lock(self) -> AbstractAsyncContextManager[object]:
        """Return a context manager that excludes other tasks and other processes while it is entered.

        It is freed when its holder dies. A task that has it must not take it again.

        Raises:
            StoreLockTimeoutError: On entry: it could not be had in time. Do not go on without it.
            StoreError: On entry: the store cannot be locked.
        """
        ...


class RecordGrantStore(RecordFace):
    """A grant's face on a backend."""

    __slots__ = ()

    _content = GRANT

    async def load(self) -> Grant | None:
        """Return the grant, or `None` if none was ever saved.

        Raises:
            StoreError: The store cannot be read, or holds what could not be a grant.
        """
        return self._to_grant(await self._records.read())

    async def save(self, grant: Grant) -> Grant:
        """Save a grant, and return it as it was saved, with its generation. `GrantStore.save` tells the rules.

        Raises:
            StaleGrantError: The store holds a newer grant, or another pair of that generation. Nothing was changed.
            StoreError: It cannot be saved. The store holds the old grant or the new one.
        """
        for _ in range(_MAX_CONFLICTS):
            record = await self._records.read()
            saved = self._to_successor(grant, self._to_grant(record))
            version = 0 if record is None else record.version
            try:
                await self._records.swap(Record(grant_to_bytes(saved), version + 1))
            except RecordConflictError:
                continue  # what is there now decides anew
            return saved
        raise StoreError(f"{self._place} was changed by others at each try: nothing was saved, try again")

    def _to_grant(self, record: Record | None) -> Grant | None:
        return None if record is None else grant_from_bytes(record.data, self._place)

    def _to_successor(self, grant: Grant, stored: Grant | None) -> Grant:
        """Return a grant as it will be stored, or raise if it must not be."""
        generation = 0 if stored is None else stored.generation
        if grant.generation == 0:
            return attrs.evolve(grant, generation=generation + 1)
        if grant.generation < generation:
            raise StaleGrantError(f"{self._place} holds a newer grant ({grant.generation} < {generation}): load that")
        if grant.generation == generation and stored is not None and not _same_pair(grant, stored):
            # A login was saved while the stored pair was being refreshed.
            raise StaleGrantError(f"{self._place} holds another grant of that generation ({generation}): load that")
        if grant.generation > generation + 1:
            raise StoreError(
                f"{self._place} holds no grant that this one (generation {grant.generation}) could follow: "
                "it was deleted or put back; have the user log in again"
            )
        return grant


def _same_pair(one: Grant, other: Grant) -> bool:
    return one.access_token == other.access_token and one.refresh_token == other.refresh_token
