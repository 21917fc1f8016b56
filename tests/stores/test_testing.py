"""The public conformance suite runs under both plugins, and finds the faults that stores have."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

HEAD = """
import asyncio, contextlib
import attrs, pytest
from kraken_fastkey import StaleGrantError, StoreError, StoreLockTimeoutError
from kraken_fastkey.stores import MemoryGrantStore, MemoryKeyStore
from kraken_fastkey.testing import GrantStoreConformance, KeyStoreConformance

@pytest.fixture
def anyio_backend():
    return "asyncio"
"""

USE = """
{store}

@pytest.mark.{mark}
class {name}({suite}):
    @pytest.fixture
    def make_store(self, MyStore=MyStore):
        stores = []
        def make(*, lock_timeout=30.0):
            if not stores:
                stores.append(MyStore(lock_timeout=lock_timeout))
            return stores[0]
        return make
"""

GOOD = {"TestMyGrantStore": "MyStore = MemoryGrantStore", "TestMyKeyStore": "MyStore = MemoryKeyStore"}
BROKEN = {
    "TestTakesOlderGrants": (
        """
class MyStore(MemoryGrantStore):
    grant = None
    async def save(self, grant):
        generation = grant.generation or (self.grant.generation + 1 if self.grant else 1)
        self.grant = attrs.evolve(grant, generation=generation)
        return self.grant
    async def load(self):
        return self.grant
""",
        {"test_older_grant_is_refused", "test_one_of_many_is_saved"},
    ),
    "TestLooksThenSaves": (
        """
class MyStore(MemoryGrantStore):
    grant = None
    async def save(self, grant):
        stored = self.grant.generation if self.grant else 0
        await asyncio.sleep(0)
        if grant.generation and (grant.generation < stored or grant.generation > stored + 1):
            raise StaleGrantError("older")
        self.grant = attrs.evolve(grant, generation=grant.generation or stored + 1)
        return self.grant
    async def load(self):
        return self.grant
""",
        {"test_one_of_many_is_saved", "test_no_login_is_lost_in_a_race"},
    ),
    "TestHasNoLock": (
        """
class MyStore(MemoryGrantStore):
    def lock(self):
        return contextlib.AsyncExitStack()
""",
        {"test_lock_excludes_other_tasks", "test_lock_that_is_not_had_in_time_raises"},
    ),
    "TestKeepsTheLock": (
        """
class MyStore(MemoryGrantStore):
    held = False
    @contextlib.asynccontextmanager
    async def lock(self):
        if self.held:
            raise StoreLockTimeoutError("held")
        self.held = True
        yield
        self.held = False
""",
        {"test_lock_is_freed_by_an_exception", "test_lock_is_freed_by_a_cancellation"},
    ),
    "TestShowsTokens": (
        """
class MyStore(MemoryGrantStore):
    async def save(self, grant):
        self.token = grant.access_token.get_secret_value()
        return await super().save(grant)
""",
        {"test_nothing_shows_a_secret"},
    ),
    "TestDropsFields": (
        """
class MyStore(MemoryGrantStore):
    async def load(self):
        grant = await super().load()
        return grant and attrs.evolve(grant, unknown={})
""",
        {"test_unknown_fields_survive", "test_record_comes_back_whole"},
    ),
    "TestTakesAnyKey": (
        """
class MyStore(MemoryKeyStore):
    record = None
    async def save(self, record):
        self.record = attrs.evolve(record, generation=record.generation + 1)
        return self.record
    async def load(self):
        return self.record
""",
        {"test_other_generation_is_refused", "test_one_of_many_is_saved", "test_no_change_is_lost_in_a_race"},
    ),
    "TestLooksThenSavesAKey": (
        """
class MyStore(MemoryKeyStore):
    async def save(self, record):
        for _ in range(3):
            try:
                return await super().save(record)
            except StoreError:
                stored = await self.load()
                record = attrs.evolve(record, generation=stored.generation if stored else 0)
""",
        {"test_no_change_is_lost_in_a_race", "test_other_generation_is_refused"},
    ),
    "TestHasNoLockForKeys": (
        """
class MyStore(MemoryKeyStore):
    def lock(self):
        return contextlib.AsyncExitStack()
""",
        {"test_lock_excludes_other_tasks", "test_lock_that_is_not_had_in_time_raises"},
    ),
    "TestShowsSecretsOfKeys": (
        """
class MyStore(MemoryKeyStore):
    async def save(self, record):
        self.secret = record.current and record.current.secret.get_secret_value()
        return await super().save(record)
""",
        {"test_nothing_shows_a_secret"},
    ),
    "TestDropsFieldsOfKeys": (
        """
class MyStore(MemoryKeyStore):
    async def load(self):
        record = await super().load()
        return record and attrs.evolve(record, unknown={}, retired={})
""",
        {"test_record_comes_back_whole"},
    ),
}


def _run(folder: Path, mark: str, stores: dict[str, str]) -> tuple[int, set[tuple[str, str]]]:
    """Run the suite as a user would, and return how many tests passed, and which failed, by class and name."""
    suites = {
        name: "KeyStoreConformance" if "MemoryKeyStore" in store else "GrantStoreConformance"
        for name, store in stores.items()
    }
    uses = [USE.format(name=name, store=store, mark=mark, suite=suites[name]) for name, store in stores.items()]
    (folder / "test_mine.py").write_text(HEAD + "".join(uses), encoding="utf-8")
    options = ["-p", "no:asyncio"] if mark == "anyio" else ["-o", "asyncio_default_fixture_loop_scope=function"]
    # To show the lines of so many failures, CPython 3.11 trips over a fault of its own (gh-106905).
    options += ["--tb=no"]
    command = [sys.executable, "-m", "pytest", "-q", "-rf", "-p", "no:cacheprovider", *options, "-W", "error", "."]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=120, check=False)
    passed = re.search(r"(\d+) passed", done.stdout.splitlines()[-1])
    failed = re.findall(r"^FAILED .*::(\w+)::(\w+)", done.stdout, re.MULTILINE)
    return int(passed[1]) if passed else 0, set(failed)


@pytest.mark.parametrize("mark", ["asyncio", "anyio"])
def test_good_store_passes(tmp_path: Path, mark: str) -> None:
    """Good stores pass all of it, under pytest-asyncio's strict mode and under anyio's plugin."""
    pytest.importorskip("anyio" if mark == "anyio" else "pytest_asyncio")
    passed, failed = _run(tmp_path, mark, GOOD)
    assert set() == failed
    assert passed > 160


def test_broken_stores_fail(tmp_path: Path) -> None:
    """A store with a fault fails the tests that are there for it."""
    _, failed = _run(tmp_path, "asyncio", {name: store for name, (store, _) in BROKEN.items()})
    assert failed >= {(name, test) for name, (_, tests) in BROKEN.items() for test in tests}


def test_missing_fixture_is_told(tmp_path: Path) -> None:
    """Who has not overridden make_store is told to."""
    (tmp_path / "test_mine.py").write_text(
        "from kraken_fastkey.testing import GrantStoreConformance\nclass TestMine(GrantStoreConformance): pass\n",
        encoding="utf-8",
    )
    command = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", "-o", "asyncio_mode=auto", "."]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False)
    assert "override the fixture make_store" in done.stdout
