"""A face on a backend: what all stores have, whatever they keep."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager
from typing import ClassVar, Final

import attrs

from kraken_fastkey._secret import Unpicklable
from kraken_fastkey.stores._records import RecordStore


@attrs.frozen
class Content:
    """What a store keeps, in the words of its errors.

    Attributes:
        name: What it is, as in the name of its stores.
        remedy: What to do when it is lost.
    """

    name: str
    remedy: str

    @property
    def noun(self) -> str:
        """What it is, in a sentence."""
        return self.name.lower()


GRANT: Final = Content("Grant", "have the user log in again")
KEY: Final = Content("Key", "delete the keys of the lease, which list_keys() shows")


class RecordFace(Unpicklable):
    """What any store has.

    Args:
        records: The backend.
        place: What it is, for errors and the repr.
    """

    __slots__ = ("__weakref__", "_place", "_records")

    _content: ClassVar[Content]

    def __init__(self, records: RecordStore, place: str) -> None:
        self._records = records
        self._place = place

    def __repr__(self) -> str:
        # A traceback with locals shows what refuses its arguments, too, and has no place yet.
        return f"<{type(self).__name__} {getattr(self, '_place', '(not made)')}>"

    def lock(self) -> AbstractAsyncContextManager[object]:
        """Return a context manager that excludes other tasks and other processes while it is entered.

        A task that has the lock must not take it again.

        Raises:
            StoreLockTimeoutError: On entry: it could not be had in time. Do not go on without it.
            StoreError: On entry: the store cannot be locked.
        """
        return self._records.lock()
