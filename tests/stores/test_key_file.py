"""FileKeyStore: encrypted unless told otherwise, with the environment's key or the keyring's."""

# nothing else runs in these loops

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import keyring
import pytest
from cryptography.fernet import Fernet
from keyring.backend import KeyringBackend
from keyring.backends import fail
from support import everything_shown

from kraken_fastkey import FastApiKey, Grant, InvalidRequestError, SecretStr, StoreError, StoreLockTimeoutError
from kraken_fastkey._lease_record import LeaseRecord
from kraken_fastkey.stores import FileGrantStore, FileKeyStore, _encryption, encryption_key_from_keyring
from kraken_fastkey.stores._disk import FileLock

SECRET = "hush-hush-hush-hush"
LEASE = LeaseRecord(
    owner="00c0de", current=FastApiKey(api_key_name="grid-bot", api_key="public", secret=SecretStr(SECRET))
)
VARIABLE = "KRAKEN_FASTKEY_ENCRYPTION_KEY"


class Ring(KeyringBackend):
    """A keyring in memory that takes its time."""

    priority = 1

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.held: dict[tuple[str, str], str] = {}

    def get_password(self, service: str, username: str) -> str | None:
        """Look one up."""
        found = self.held.get((service, username))
        time.sleep(0.01)
        return found

    def set_password(self, service: str, username: str, password: str) -> None:
        """Put one in."""
        self.held[service, username] = password


class PlaintextRing(Ring):
    """A keyring that keeps secrets in clear."""

    __module__ = "keyrings.alt.file"


@pytest.fixture(name="place")
def _place(tmp_path: Path) -> Path:
    return tmp_path / "private" / "key"


@pytest.fixture(name="ring")
def _ring(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Ring]:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.delenv(VARIABLE, raising=False)
    before = keyring.core._keyring_backend
    ring = Ring()
    keyring.set_keyring(ring)
    yield ring
    keyring.core._keyring_backend = before


async def test_keyring_has_the_key(ring: Ring, place: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Without a word about it, the file is encrypted with a key that the first use puts into the keyring."""
    saved = await FileKeyStore(place).save(LEASE)
    assert saved == await FileKeyStore(place).load()
    assert {("kraken-fastkey", "encryption-key")} == set(ring.held)
    assert SECRET.encode() not in place.read_bytes()
    assert saved == await FileKeyStore(place, encryption_key=encryption_key_from_keyring()).load()
    assert [] == caplog.records


async def test_environment_goes_before_the_keyring(ring: Ring, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A variable that is set is the key, and the keyring is left alone."""
    key = Fernet.generate_key().decode()
    monkeypatch.setenv(VARIABLE, key)
    saved = await FileKeyStore(place).save(LEASE)
    assert saved == await FileKeyStore(place, encryption_key=key).load()
    assert {} == ring.held


@pytest.mark.parametrize("value", ["", SECRET])
def test_variable_that_holds_no_key_is_told(
    ring: Ring, place: Path, monkeypatch: pytest.MonkeyPatch, value: str
) -> None:
    """A variable that is set, but to no key, is not passed over for the keyring."""
    monkeypatch.setenv(VARIABLE, value)
    with pytest.raises(InvalidRequestError, match=VARIABLE) as raised:
        FileKeyStore(place)
    assert SECRET not in everything_shown(raised.value)
    assert {} == ring.held


def _told(place: Path) -> str:
    with pytest.raises(InvalidRequestError) as raised:
        FileKeyStore(place)
    assert raised.value.__context__ is None
    return raised.value.summary


@pytest.mark.parametrize(
    ("backend", "reason"),
    [(fail.Keyring, "no keyring is there: on a desktop"), (PlaintextRing, "whose backends keep secrets in clear")],
)
def test_no_keyring_is_told(ring: Ring, place: Path, backend: type[KeyringBackend], reason: str) -> None:
    """Where there is no keyring, or one that is none, the error says what to do, and nothing is kept in clear."""
    assert {} == ring.held
    keyring.set_keyring(backend())  # type: ignore[no-untyped-call,unused-ignore]
    text = _told(place)
    assert f"encryption_key: none was given, {VARIABLE} is not set, and the operating system's keyring has none" in text
    assert reason in text
    assert text.endswith("set the variable, or mend the keyring; None keeps the secret in clear")
    assert {} == getattr(keyring.get_keyring(), "held", {})
    assert not place.parent.exists()


def test_missing_extra_is_told(ring: Ring, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the extras, the error says how to install them."""
    assert {} == ring.held
    monkeypatch.setitem(sys.modules, "keyring", None)
    assert "pip install 'kraken-fastkey[crypto,keyring]'" in _told(place)


async def test_clear_is_warned_of(ring: Ring, place: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Who says so has the file in clear, private, with one warning for each store."""
    store = FileKeyStore(place, encryption_key=None)
    saved = await store.save(LEASE)
    assert saved == await store.load()
    assert SECRET.encode() in place.read_bytes()
    assert 0o600 == place.stat().st_mode & 0o777
    told = [(record.levelno, record.getMessage()) for record in caplog.records]
    assert [(logging.WARNING, f"{place} keeps the secret of a key in clear: give it an encryption_key")] == told
    assert {} == ring.held


def test_wrong_arguments_make_no_key(ring: Ring) -> None:
    """A store that cannot be made puts nothing into the keyring; and nothing of a wrong key is shown."""
    with pytest.raises(InvalidRequestError, match="path: must name a file; lock_timeout: must be seconds"):
        FileKeyStore("", lock_timeout=-1)
    assert {} == ring.held
    with pytest.raises(InvalidRequestError, match="path: must name a file; encryption_key: must be 32 bytes") as raised:
        FileKeyStore("", encryption_key=SECRET)
    assert SECRET not in everything_shown(raised.value)


@pytest.mark.usefixtures("ring")
async def test_foreign_file_is_refused(place: Path) -> None:
    """A grant's file is no key's, and the other way round; another key opens neither; and nothing is overwritten."""
    key = Fernet.generate_key().decode()
    grants, keys = FileGrantStore(place, encryption_key=key), FileKeyStore(place, encryption_key=key)
    await grants.save(Grant(SECRET))
    for call in (keys.load, lambda: keys.save(LEASE)):
        with pytest.raises(StoreError, match="holds what could not be a lease's record") as raised:
            await call()
        assert SECRET not in everything_shown(raised.value)
    place.unlink()
    await keys.save(LEASE)
    for refused in (grants.load, FileKeyStore(place).load):
        with pytest.raises(StoreError) as raised:
            await refused()
        assert SECRET not in everything_shown(raised.value)
    place.write_bytes(b"something else")
    with pytest.raises(StoreError, match="if so, delete it, and delete the keys of the lease, which list_keys.. shows"):
        await keys.load()


def test_first_use_at_once_makes_one_key(ring: Ring) -> None:
    """However many look for a key at once, all of them get the same."""
    with ThreadPoolExecutor(8) as pool:
        keys = {key.get_secret_value() for key in pool.map(lambda _: encryption_key_from_keyring(), range(8))}
    assert {*ring.held.values()} == keys
    assert 1 == len(keys)


@pytest.mark.usefixtures("ring")
def test_first_use_does_not_wait_for_ever(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who cannot be the one that makes the key is told so."""
    monkeypatch.setattr(_encryption, "LOCK_TIMEOUT", 0.02)
    lock = FileLock(tmp_path / "state" / "kraken-fastkey" / "encryption-key.lock")
    assert lock.try_acquire()
    with pytest.raises(StoreLockTimeoutError, match="another process is making the encryption key"):
        encryption_key_from_keyring()
    lock.release()
