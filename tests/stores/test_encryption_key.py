"""The key of an encrypted store, from the operating system's keyring."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import keyring
import pytest
from keyring.backend import KeyringBackend

from kraken_fastkey import Grant, StoreError
from kraken_fastkey.stores import FileGrantStore, encryption_key_from_keyring


class Ring(KeyringBackend):
    """A keyring in memory, which can be locked."""

    priority = 1

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.held: dict[tuple[str, str], str] = {}
        self.locked = False
        self.forgetful = False

    def get_password(self, service: str, username: str) -> str | None:
        """Look one up."""
        if self.locked:
            raise RuntimeError(f"locked: {self.held}")
        return self.held.get((service, username))

    def set_password(self, service: str, username: str, password: str) -> None:
        """Put one in."""
        if not self.forgetful:
            self.held[service, username] = password


@pytest.fixture(name="ring")
def _ring(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Ring]:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    before = keyring.get_keyring()
    ring = Ring()
    keyring.set_keyring(ring)
    yield ring
    keyring.set_keyring(before)


async def test_the_key_is_made_once_and_opens_the_store(ring: Ring, tmp_path: Path) -> None:
    """The first call makes a key, each further one returns it; a file written with it is read with it."""
    place = tmp_path / "private" / "grant"
    saved = await FileGrantStore(place, encryption_key=encryption_key_from_keyring()).save(Grant("FAKE-A", "FAKE-R"))
    assert saved == await FileGrantStore(place, encryption_key=encryption_key_from_keyring()).load()
    assert 1 == len(ring.held)
    assert b"FAKE" not in place.read_bytes()
    assert encryption_key_from_keyring(name="other") != encryption_key_from_keyring()


def test_a_keyring_that_cannot_be_used_is_told(ring: Ring) -> None:
    """A locked keyring, one that forgets, and one that holds something else: a StoreError that shows no key."""
    key = encryption_key_from_keyring()
    ring.locked = True
    with pytest.raises(StoreError, match="the keyring cannot be used .RuntimeError.: unlock it") as locked:
        encryption_key_from_keyring()
    assert key.get_secret_value() not in str(locked.value)
    assert locked.value.__context__ is None
    ring.locked = False
    ring.held["kraken-fastkey", "encryption-key"] = "FAKE-else"
    with pytest.raises(StoreError, match="is no key") as other:
        encryption_key_from_keyring()
    assert "FAKE-else" not in str(other.value)
    ring.held.clear()
    ring.forgetful = True
    with pytest.raises(StoreError, match="is no key"):
        encryption_key_from_keyring()
