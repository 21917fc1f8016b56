"""MemoryGrantStore and MemoryKeyStore: what lasts as long as the process."""

from __future__ import annotations

import threading
from contextlib import AbstractAsyncContextManager

from kraken_fastkey._runtime import MACHINE, Runtime
from kraken_fastkey.stores._face import RecordFace
from kraken_fastkey.stores._grants import RecordGrantStore
from kraken_fastkey.stores._keys import RecordKeyStore
from kraken_fastkey.stores._locks import LOCK_TIMEOUT, PolledLock, Release, check_lock_timeout, check_store_arguments
from kraken_fastkey.stores._records import Record, RecordConflictError

__all__ = ["MemoryGrantStore", "MemoryKeyStore", "MemoryRecords"]

_PLACE = "the store in memory"


class MemoryRecords:
    """A record in memory, for the tasks and threads of one process.

    Args:
        lock_timeout: How long to wait for the lock, in seconds.
        runtime: Time, sleep and chance.
    """

    def __init__(self, lock_timeout: float, runtime: Runtime) -> None:
        self._record: Record | None = None
        self._guard = threading.Lock()
        self._taken = threading.Lock()
        self._lock = PolledLock(_PLACE, self._attempt, lock_timeout, runtime)

    async def read(self) -> Record | None:
        return self._record

    async def swap(self, record: Record) -> None:
        with self._guard:
            if record.version != (0 if self._record is None else self._record.version) + 1:
                raise RecordConflictError(f"{_PLACE} was changed meanwhile: read it again")
            self._record = record

    def lock(self) -> AbstractAsyncContextManager[object]:
        return self._lock.hold()

    async def _attempt(self) -> Release | None:
        return self._release if self._taken.acquire(blocking=False) else None

    async def _release(self) -> None:
        self._taken.release()


class _MemoryStore(RecordFace):
    def __init__(self, *, lock_timeout: float = LOCK_TIMEOUT, _runtime: Runtime = MACHINE) -> None:
        check_store_arguments(lock_timeout=check_lock_timeout(lock_timeout))
        super().__init__(MemoryRecords(lock_timeout, _runtime), _PLACE)


class MemoryGrantStore(_MemoryStore, RecordGrantStore):
    """A grant in memory: for tests, and for programs that have the user log in at each start.

    Its lock excludes the tasks and threads of this process alone.

    Args:
        lock_timeout: How long to wait for the lock, in seconds; 0 or more.

    Raises:
        InvalidRequestError: *lock_timeout* is wrong.
    """


class MemoryKeyStore(_MemoryStore, RecordKeyStore):
    """A lease's key in memory: after a crash nobody knows its secret, and it lives until its end.

    Its lock excludes the tasks and threads of this process alone.

    Args:
        lock_timeout: How long to wait for the lock, in seconds; 0 or more.

    Raises:
        InvalidRequestError: *lock_timeout* is wrong.
    """
