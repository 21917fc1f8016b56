"""KeyStore: where a lease keeps its key; and a lease's face on any backend."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager
from typing import Protocol, runtime_checkable

import attrs

from kraken_fastkey._errors import StaleRecordError
from kraken_fastkey._lease_record import LeaseRecord, lease_from_bytes, lease_to_bytes
from kraken_fastkey.stores._face import KEY, RecordFace
from kraken_fastkey.stores._records import Record, RecordConflictError


@runtime_checkable
class KeyStore(Protocol):
    """Where a lease keeps its key, with what else it must remember. Any object with these methods will do.

    `kraken_fastkey.testing.KeyStoreConformance` tests whether a store of your own keeps the rules.
    """

    async def load(self) -> LeaseRecord | None:
        """Return the record, or `None` if none was ever saved.

        It needs no lock: what it returns is whole, however many save meanwhile.

        Raises:
            StoreError: The store cannot be read, or holds what could not be a lease's record.
        """
        ...

    async def save(self, record: LeaseRecord) -> LeaseRecord:
        """Save a record, and return it as it was saved: its generation is one more.

        A record is saved only in the place of the one that it was made from: the one that the store holds must have
        its generation. In an empty store, that is 0.

        It is complete, and survives a crash, when this returns. It needs no lock and waits for none, and is safe
        under it. If the caller is cancelled, the save either happened or did not. All of the record is saved, its
        `unknown` fields among it.

        Raises:
            StaleRecordError: The store holds a record of another generation, or none: load it. Nothing was changed.
            StoreError: It cannot be saved. The store holds the old record or the new one.
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


class RecordKeyStore(RecordFace):
    """A lease's face on a backend."""

    __slots__ = ()

    _content = KEY

    async def load(self) -> LeaseRecord | None:
        """Return the record, or `None` if none was ever saved.

        Raises:
            StoreError: The store cannot be read, or holds what could not be a lease's record.
        """
        return self._to_lease(await self._records.read())

    async def save(self, record: LeaseRecord) -> LeaseRecord:
        """Save a record, and return it as it was saved: its generation is one more. `KeyStore.save` tells the rules.

        Raises:
            StaleRecordError: The store holds a record of another generation, or none. Nothing was changed.
            StoreError: It cannot be saved. The store holds the old record or the new one.
        """
        stored = await self._records.read()
        lease = self._to_lease(stored)
        generation = 0 if lease is None else lease.generation
        if record.generation != generation:
            raise StaleRecordError(
                f"{self._place} holds another record than the one that was changed (generation {generation}, not "
                f"{record.generation}): load that"
            )
        saved = attrs.evolve(record, generation=generation + 1)
        try:
            await self._records.swap(Record(lease_to_bytes(saved), 1 if stored is None else stored.version + 1))
        except RecordConflictError:
            pass  # told below, so that nothing of the backend hangs on it
        else:
            return saved
        # Each save counts, so that whoever was faster has left another generation.
        raise StaleRecordError(f"{self._place} was changed meanwhile: load it again")

    def _to_lease(self, record: Record | None) -> LeaseRecord | None:
        return None if record is None else lease_from_bytes(record.data, self._place)
