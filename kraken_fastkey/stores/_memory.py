"""MemoryGrantStore and MemoryKeyStore: what lasts as long as the process."""

from __future__ import annotations

import threading
import weakref
from contextlib import AbstractAsyncContextManager

from kraken_fastkey._runtime import MACHINE, Runtime
from kraken_fastkey.stores._face import RecordFace
from kraken_fastkey.stores._grants import RecordGrantStore
from kraken_fastkey.stores._keys import RecordKeyStore
from kraken_fastkey.stores._locks import LOCK_TIMEOUT, PolledLock, Release, check_lock_timeout, check_store_arguments
from kraken_fastkey.stores._records import Record, check_successor

_PLACE = "the store in memory"
_GUARD = threading.Lock()  # one for all, since each has it for a moment only


class MemoryRecords:
    """A record in memory, for the tasks and threads of one process."""

    __slots__ = ("_lock", "_lock_timeout", "_record", "_runtime", "_taken")

    def __init__(self, lock_timeout: float, runtime: Runtime) -> None:
        self._record: Record | None = None
        self._lock_timeout = lock_timeout
        self._runtime = runtime
        self._lock: weakref.ref[PolledLock] | None = None  # who has it, or waits for it, keeps it alive
        self._taken = False

    async def read(self) -> Record | None:
        return self._record

    async def swap(self, record: Record) -> None:
        with _GUARD:
            check_successor(record, self._record, _PLACE)
            self._record = record

    def lock(self) -> AbstractAsyncContextManager[object]:
        with _GUARD:
            lock = None if self._lock is None else self._lock()
            if lock is None:
                lock = PolledLock(_PLACE, self._attempt, self._lock_timeout, self._runtime)
                self._lock = weakref.ref(lock)
        return lock.hold()

    async def _attempt(self) -> Release | None:
        with _GUARD:
            if self._taken:
                return None
            self._taken = True
        return self._release

    async def _release(self) -> None:
        self._taken = False


class _MemoryStore(RecordFace):
    __slots__ = ()

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

    __slots__ = ()


class MemoryKeyStore(_MemoryStore, RecordKeyStore):
    """A lease's key in memory: after a crash nobody knows its secret, and it lives until its end.

    Its lock excludes the tasks and threads of this process alone.

    Args:
        lock_timeout: How long to wait for the lock, in seconds; 0 or more.

    Raises:
        InvalidRequestError: *lock_timeout* is wrong.
    """

    __slots__ = ()
