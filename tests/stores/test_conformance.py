"""Every store keeps the rules that the public conformance suite tests."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import pytest
from cryptography.fernet import Fernet

from kraken_fastkey.stores import FileGrantStore, FileKeyStore, MemoryGrantStore, MemoryKeyStore, _disk
from kraken_fastkey.testing import GrantStoreConformance, KeyStoreConformance, MakeGrantStore, MakeKeyStore

_T = TypeVar("_T")


def _one_of(make: Callable[..., _T]) -> Callable[..., _T]:
    """Return what makes a store when it is called first, and returns that one from then on."""
    made: list[_T] = []

    def one(*, lock_timeout: float = 30.0) -> _T:
        if not made:
            made.append(make(lock_timeout=lock_timeout))
        return made[0]

    return one


class TestMemoryGrantStore(GrantStoreConformance):
    """MemoryGrantStore keeps the rules."""

    @pytest.fixture
    def make_store(self) -> MakeGrantStore:
        """Return the one store that has the place."""
        return _one_of(MemoryGrantStore)


class TestFileGrantStore(GrantStoreConformance):
    """FileGrantStore keeps the rules, in clear and encrypted."""

    @pytest.fixture(params=["plain", "encrypted"])
    def make_store(self, tmp_path: Path, request: pytest.FixtureRequest) -> MakeGrantStore:
        """Return what makes stores of one file."""
        key = Fernet.generate_key().decode() if request.param == "encrypted" else None

        def make(**options: Any) -> FileGrantStore:
            return FileGrantStore(tmp_path / "new" / "grant", encryption_key=key, **options)

        return make


class TestFileGrantStoreWithoutOwners(GrantStoreConformance):
    """FileGrantStore keeps the rules where files have no owners, and folders cannot be held open, as on Windows."""

    @pytest.fixture
    def make_store(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> MakeGrantStore:
        """Return what makes stores of one file, below a folder that all can read."""
        monkeypatch.setattr(_disk, "_HAS_OWNERS", False)
        (tmp_path / "open").mkdir()
        (tmp_path / "open").chmod(0o755)

        def make(**options: Any) -> FileGrantStore:
            return FileGrantStore(tmp_path / "open" / "made" / "grant", **options)

        return make


class TestMemoryKeyStore(KeyStoreConformance):
    """MemoryKeyStore keeps the rules."""

    @pytest.fixture
    def make_store(self) -> MakeKeyStore:
        """Return the one store that has the place."""
        return _one_of(MemoryKeyStore)


class TestFileKeyStore(KeyStoreConformance):
    """FileKeyStore keeps the rules, in clear and encrypted."""

    @pytest.fixture(params=["plain", "encrypted"])
    def make_store(self, tmp_path: Path, request: pytest.FixtureRequest) -> MakeKeyStore:
        """Return what makes stores of one file."""
        key = Fernet.generate_key().decode() if request.param == "encrypted" else None

        def make(**options: Any) -> FileKeyStore:
            return FileKeyStore(tmp_path / "new" / "key", encryption_key=key, **options)

        return make
