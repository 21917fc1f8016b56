"""The parts that stores are made of: records, the end of work under way, and a backend that never holds still."""

from __future__ import annotations

import asyncio
import contextlib
import subprocess
import sys
import threading
from contextlib import AbstractAsyncContextManager
from pathlib import Path

import pytest

from kraken_fastkey import StoreError
from kraken_fastkey._grant import Grant
from kraken_fastkey._runtime import SYSTEM
from kraken_fastkey.stores import GrantStore, MemoryGrantStore
from kraken_fastkey.stores._face import GRANT
from kraken_fastkey.stores._file import FileRecords
from kraken_fastkey.stores._grants import RecordGrantStore
from kraken_fastkey.stores._locks import finish, in_thread
from kraken_fastkey.stores._memory import MemoryRecords
from kraken_fastkey.stores._records import Record, RecordConflictError, RecordStore


class _RestlessRecords:
    """A backend where somebody else is always faster."""

    async def read(self) -> Record | None:
        return None

    async def swap(self, record: Record) -> None:
        raise RecordConflictError(f"not {record.version}")

    def lock(self) -> AbstractAsyncContextManager[object]:
        return contextlib.AsyncExitStack()


def test_record_does_not_show_its_data() -> None:
    """The data are in no repr."""
    assert "Record(version=1)" == repr(Record(b"hush", 1))


@pytest.mark.parametrize("kind", ["memory", "file"])
async def test_record_of_another_version_is_refused(tmp_path: Path, kind: str) -> None:
    """Only the next version is stored."""
    records: RecordStore = (
        MemoryRecords(0, SYSTEM) if kind == "memory" else FileRecords(tmp_path / "new" / "file", GRANT, 0, SYSTEM)
    )
    assert None is await records.read()
    for version in (1, 2):
        for wrong in (0, version - 1, version + 1):
            with pytest.raises(RecordConflictError, match="was changed meanwhile: read it again"):
                await records.swap(Record(b"wrong", wrong))
        await records.swap(Record(b"right", version))
        assert Record(b"right", version) == await records.read()


async def test_endless_conflicts_end() -> None:
    """A store that others change at each try raises in the end."""
    store = RecordGrantStore(_RestlessRecords(), "the place")
    with pytest.raises(StoreError, match="the place was changed by others at each try"):
        await store.save(Grant("access"))


def test_what_has_not_the_methods_is_no_store() -> None:
    """The protocol can be asked for at run time."""
    assert not isinstance(object(), GrantStore)
    assert isinstance(MemoryGrantStore(), GrantStore)
    assert "<MemoryGrantStore the store in memory>" == repr(MemoryGrantStore())


async def test_cancelled_caller_waits_for_the_thread() -> None:
    """However often it is cancelled, the caller ends after the work has, and is cancelled then."""
    begun, go_on, done = asyncio.Event(), threading.Event(), []
    loop = asyncio.get_running_loop()

    def work() -> None:
        loop.call_soon_threadsafe(begun.set)
        go_on.wait()
        done.append("done")
        raise ValueError  # nobody is left to hear it

    caller = asyncio.create_task(in_thread(work))
    await begun.wait()
    for _ in range(3):
        caller.cancel()
        await asyncio.sleep(0)
        assert not caller.done()
    go_on.set()
    with pytest.raises(asyncio.CancelledError):
        await caller
    assert ["done"] == done


async def test_cancelled_work_ends_its_caller() -> None:
    """Work that is cancelled by somebody else, while the caller is as well, ends both."""
    work: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    caller = asyncio.create_task(finish(work))
    await asyncio.sleep(0)
    caller.cancel()
    await asyncio.sleep(0)
    work.cancel()
    with pytest.raises(asyncio.CancelledError):
        await caller


async def test_failure_of_the_thread_is_the_callers() -> None:
    """What the function raises comes out."""
    with pytest.raises(ZeroDivisionError):
        await in_thread(lambda: 1 // 0)


def test_import_takes_no_extra() -> None:
    """The stores can be imported where no extra, and nothing of the tests, is installed."""
    program = """
import sys
EXTRAS = {"cryptography", "keyring", "redis", "sqlalchemy", "pytest"}
sys.modules.update(dict.fromkeys(EXTRAS))  # None: an import of these raises
import kraken_fastkey.stores
names = set(kraken_fastkey.stores.__all__) - {"SQLGrantStore", "SQLKeyStore"}  # which are made of SQLAlchemy
print(all(hasattr(kraken_fastkey.stores, name) for name in names))
print(sorted(kraken_fastkey.stores.__all__) == list(kraken_fastkey.stores.__all__))
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60)
    assert "True\nTrue\n" == done.stdout
