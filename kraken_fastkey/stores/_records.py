"""The backend's side of a store: opaque records, each with a version, and a lock."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager
from typing import Any, Protocol

import attrs

from kraken_fastkey._errors import StoreError


@attrs.frozen
class Record:
    """What a backend keeps. It does not look inside.

    Attributes:
        data: The content. It may hold secrets in clear, so no repr shows it.
        version: How many records the place has held, this one included: 1 or more.
    """

    data: bytes = attrs.field(repr=False)
    version: int


class RecordConflictError(StoreError):
    """Somebody else has stored a record meanwhile, so nothing was changed: read again."""


def check_successor(record: Record, stored: Record | None, place: str) -> None:
    """Raise unless a record may take the place of the one that is stored.

    Raises:
        RecordConflictError: It may not.
    """
    if record.version != (0 if stored is None else stored.version) + 1:
        raise RecordConflictError(f"{place} was changed meanwhile: read it again")


@attrs.frozen
class Reply:
    """What a service has answered, or what is wrong. The answer may hold secrets in clear, so no repr shows it."""

    value: Any = attrs.field(default=None, repr=False)
    fault: str | None = None


class RecordStore(Protocol):
    """A place for one record. What is public is made of this, each backend being written once."""

    async def read(self) -> Record | None:
        """Return the record, or `None` if the place is empty.

        Raises:
            StoreError: The place cannot be read, or holds what no record is.
        """
        ...

    async def swap(self, record: Record) -> None:
        """Store a record in the place of its predecessor, whose version is less by 1; version 1 has none.

        It is complete, and survives a crash, when this returns. A caller's cancellation does not cut it in two.
        It does not need the lock, nor wait for it.

        Raises:
            RecordConflictError: The place holds another version than the predecessor's. Nothing was changed.
            StoreError: It cannot be stored. The place holds the old record or the new one.
        """
        ...

    def lock(self) -> AbstractAsyncContextManager[object]:
        """Return a context manager that excludes other tasks and other processes while it is entered.

        It is freed when its holder dies.

        Raises:
            StoreLockTimeoutError: On entry: it could not be had in time.
            StoreError: On entry: the place cannot be locked.
        """
        ...
