"""Every store keeps the rules that the public conformance suite tests."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from cryptography.fernet import Fernet

from kraken_fastkey.stores import FileGrantStore, MemoryGrantStore, _disk
from kraken_fastkey.testing import GrantStoreConformance, MakeGrantStore


class TestMemoryGrantStore(GrantStoreConformance):
    """MemoryGrantStore keeps the rules."""

    @pytest.fixture
    def make_store(self) -> MakeGrantStore:
        """Return the one store that has the place."""
        stores: list[MemoryGrantStore] = []

        def make(*, lock_timeout: float = 30.0) -> MemoryGrantStore:
            if not stores:
                stores.append(MemoryGrantStore(lock_timeout=lock_timeout))
            return stores[0]

        return make


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
