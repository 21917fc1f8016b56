"""KeyringGrantStore, with backends in memory: its rules, its locks, and what keyrings do wrong."""

# nothing else runs in these loops

from __future__ import annotations

import asyncio
import builtins
import logging
import os
import stat
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import keyring
import pytest
from keyring.backend import KeyringBackend
from keyring.backends import fail, null
from keyring.errors import KeyringLocked, NoKeyringError, PasswordSetError
from strategies import NOW, answer, create_call, created, leaks, package_locals, shown_by
from support import everything_shown

from kraken_fastkey import InvalidRequestError, StaleGrantError, StoreError, StoreLockTimeoutError
from kraken_fastkey._grant import Grant, grant_to_bytes
from kraken_fastkey._lease_record import LeaseRecord
from kraken_fastkey._wire import Success, read_answer
from kraken_fastkey.stores import GrantStore, KeyringKeyStore, KeyStore, _keyring as keyring_module
from kraken_fastkey.stores._keyring import KeyringGrantStore
from kraken_fastkey.stores._records import Record, RecordConflictError
from kraken_fastkey.testing import GrantStoreConformance, KeyStoreConformance, MakeGrantStore, MakeKeyStore

ACCOUNT = "AA11 N84G"
SECRET = "hush-hush-hush-hush"
GRANT = Grant(SECRET, f"{SECRET}-refresh")
PLACE = "the grant of 'AA11 N84G' in the keyring's 'kraken-fastkey'"

pytestmark = pytest.mark.skipif(not hasattr(os, "geteuid"), reason="modes and owners")


class MemoryKeyring(KeyringBackend):
    """A keyring in memory, which can be told to fail or to wait."""

    priority = 0.1

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.passwords: dict[tuple[str, str], str] = {}
        self.on_get: Callable[[], object] = lambda: None
        self.on_set: Callable[[str], object] = lambda _: None
        self.threads: set[int] = set()

    def get_password(self, service: str, username: str) -> str | None:
        """Return a password."""
        self.threads.add(threading.get_ident())
        self.on_get()
        return self.passwords.get((service, username))

    def set_password(self, service: str, username: str, password: str) -> None:
        """Keep a password."""
        self.threads.add(threading.get_ident())
        self.on_set(password)
        self.passwords[service, username] = password


class PlaintextKeyring(MemoryKeyring):
    """A keyring that says it is of keyrings.alt."""

    __module__ = "keyrings.alt.file"


class HeirKeyring(PlaintextKeyring):
    """A keyring of somebody else's that is made of one of keyrings.alt."""

    __module__ = "elsewhere"


class ChainKeyring(MemoryKeyring):
    """A chain, as keyring.backends.chainer makes one."""

    def __init__(self, *backends: KeyringBackend) -> None:
        super().__init__()
        self.backends = backends


@pytest.fixture(name="use")
def _use() -> Iterator[Callable[[KeyringBackend], None]]:
    before = keyring.core._keyring_backend
    yield keyring.set_keyring
    keyring.core._keyring_backend = before


@pytest.fixture(name="state", autouse=True)
def _state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    return tmp_path / "state" / "kraken-fastkey"


@pytest.fixture(name="backend")
def _backend(use: Callable[[KeyringBackend], None]) -> MemoryKeyring:
    backend = MemoryKeyring()
    use(backend)
    return backend


class TestKeyringGrantStore(GrantStoreConformance):
    """KeyringGrantStore keeps the rules."""

    @pytest.fixture
    def make_store(self, backend: MemoryKeyring) -> MakeGrantStore:
        """Return what makes stores of one account."""
        assert {} == backend.passwords

        def make(*, lock_timeout: float = 30.0) -> GrantStore:
            return KeyringGrantStore(ACCOUNT, lock_timeout=lock_timeout)

        return make


class TestKeyringKeyStore(KeyStoreConformance):
    """KeyringKeyStore keeps the rules."""

    @pytest.fixture
    def make_store(self, backend: MemoryKeyring) -> MakeKeyStore:
        """Return what makes stores of one account."""
        assert {} == backend.passwords

        def make(*, lock_timeout: float = 30.0) -> KeyStore:
            return KeyringKeyStore(ACCOUNT, lock_timeout=lock_timeout)

        return make


async def test_key_and_grant_of_an_account_do_not_meet(backend: MemoryKeyring) -> None:
    """One account's key and grant, and their locks, are in places of their own; each error names its own."""
    grants, keys = KeyringGrantStore(ACCOUNT, lock_timeout=0), KeyringKeyStore(ACCOUNT, lock_timeout=0)
    async with grants.lock(), keys.lock():
        grant, lease = await grants.save(GRANT), await keys.save(LeaseRecord(owner="00c0de"))
    assert (grant, lease) == (await grants.load(), await keys.load())
    assert {("kraken-fastkey", ACCOUNT), ("kraken-fastkey/keys", ACCOUNT)} == set(backend.passwords)
    assert "<KeyringKeyStore the key of 'AA11 N84G' in the keyring's 'kraken-fastkey/keys'>" == repr(keys)
    backend.passwords["kraken-fastkey/keys", ACCOUNT] = "something else"
    with pytest.raises(StoreError, match="delete it, and delete the keys of the lease"):
        await keys.load()


async def test_key_fits_into_the_keyring_of_windows(backend: MemoryKeyring) -> None:
    """A key with all that Kraken says of it, its predecessor and its holders have room there."""
    key = read_answer(create_call(), answer({"result": created(), "error": []}), NOW)
    assert isinstance(key, Success)
    moments = {f"lease-00c0de-{'0' * 12}": datetime.now(UTC)}
    await KeyringKeyStore(ACCOUNT).save(
        LeaseRecord(owner="00c0de", current=key.value, retired=moments, holders={"0" * 12: datetime.now(UTC)})
    )
    (text,) = backend.passwords.values()
    assert len(text) <= keyring_module._WINDOWS_LIMIT


def _raising(error: BaseException) -> Callable[..., None]:
    def fail_so(*_: object) -> None:
        raise error

    return fail_so


async def _take(store: KeyringGrantStore) -> None:
    async with store.lock():
        pass


async def _refused(call: Callable[[], Any], error: type[StoreError] = StoreError) -> str:
    """Return an error's text, and see that it shows nothing, and that nothing hangs on it."""
    with pytest.raises(error) as raised:
        await call()
    assert [] == leaks(package_locals(raised.value) + shown_by(raised.value) + everything_shown(raised.value), SECRET)
    assert raised.value.__cause__ is None
    assert type(raised.value.__context__) in {type(None), TimeoutError}  # asyncio's own
    return raised.value.summary


async def test_record_is_text_of_a_service_and_an_account(backend: MemoryKeyring) -> None:
    """The keyring has one password, of the service and account that were named, with version and grant."""
    await KeyringGrantStore(ACCOUNT, service="my-bot").save(Grant("access"))
    ((names, text),) = backend.passwords.items()
    assert ("my-bot", ACCOUNT) == names
    assert text.startswith('kraken-fastkey record 1, version 1 {"format":1,"access_token":"access"')
    assert text.isascii()


async def test_any_bytes_come_back(backend: MemoryKeyring) -> None:
    """A record is opaque: bytes that are no text come back as well."""
    records = KeyringGrantStore(ACCOUNT)._records
    record = Record(bytes(range(256)), 1)
    await records.swap(record)
    assert record == await records.read()
    with pytest.raises(RecordConflictError, match=f"{PLACE} was changed meanwhile: read it again"):
        await records.swap(record)
    assert 1 == len(backend.passwords)


async def test_accounts_and_services_never_mix(backend: MemoryKeyring, state: Path) -> None:
    """Names that look alike have grants and locks of their own; a service's accounts share the lock for writing."""
    names = [("a", "b"), ("b", "a"), ("a", "b:a"), ("b:a", "a"), ('a", "b', "a"), ("\udce9", "a")]
    stores = [KeyringGrantStore(account, service=service, lock_timeout=0) for service, account in names]
    for number, store in enumerate(stores):
        await store.save(Grant(f"access-{number}"))
    found = [await store.load() for store in stores]
    assert [f"access-{number}" for number in range(len(names))] == [
        grant and grant.access_token.get_secret_value() for grant in found
    ]
    assert len(names) == len(backend.passwords)
    async with stores[0].lock(), stores[1].lock(), stores[2].lock(), stores[3].lock():
        pass
    assert 4 == len(list(state.glob("*.lock")))
    assert len({service for service, _ in names}) == len(list(state.glob("*.writing")))


async def test_locks_are_private_files(backend: MemoryKeyring, state: Path) -> None:
    """The folder has mode 700, the files 600, and they are empty."""
    store = KeyringGrantStore(ACCOUNT)
    async with store.lock():
        await store.save(GRANT)
    assert 0o700 == stat.S_IMODE(state.stat().st_mode)
    assert [(0o600, 0)] * 2 == [(stat.S_IMODE(file.stat().st_mode), file.stat().st_size) for file in state.iterdir()]
    assert 1 == len(backend.passwords)
    state.chmod(0o755)
    assert f"chmod 700 {state}" in await _refused(lambda: _take(store))


@pytest.mark.parametrize("setting", [None, "", "relative"])
async def test_state_folder_without_setting(
    backend: MemoryKeyring, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, setting: str | None
) -> None:
    """Without $XDG_STATE_HOME, or where it is no absolute path, the locks are in ~/.local/state."""
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.delenv("XDG_STATE_HOME")
    if setting is not None:
        monkeypatch.setenv("XDG_STATE_HOME", setting)
    await KeyringGrantStore(ACCOUNT).save(GRANT)
    assert 1 == len(list((tmp_path / "home" / ".local" / "state" / "kraken-fastkey").iterdir()))
    assert 1 == len(backend.passwords)


def test_user_without_home_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where there is no place for the locks, the error says what to set."""
    monkeypatch.delenv("XDG_STATE_HOME")
    monkeypatch.setattr(Path, "home", _raising(RuntimeError()))
    with pytest.raises(StoreError, match="no home for the locks of the keyring: set XDG_STATE_HOME"):
        KeyringGrantStore(ACCOUNT)


@pytest.mark.parametrize(
    ("arguments", "faults"),
    [
        ({"account": ""}, {"account": "must be a str of 1 to 256 characters"}),
        ({"account": None}, {"account": "must be a str of 1 to 256 characters"}),
        ({"service": "a" * 257}, {"service": "must be a str of 1 to 256 characters"}),
        ({"lock_timeout": "1"}, {"lock_timeout": "must be seconds, 0 or more"}),
        ({"allow_plaintext": 1}, {"allow_plaintext": "must be a bool"}),
        (
            {"account": 1, "service": ""},
            {"account": "must be a str of 1 to 256 characters", "service": "must be a str of 1 to 256 characters"},
        ),
    ],
)
def test_wrong_arguments_are_told(arguments: dict[str, Any], faults: dict[str, str]) -> None:
    """All faults are told at once."""
    with pytest.raises(InvalidRequestError) as raised:
        KeyringGrantStore(**{"account": ACCOUNT} | arguments)
    assert faults == raised.value.faults


def test_missing_extra_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without keyring, the error says what to install."""
    real = builtins.__import__

    def refuse(name: str, *args: Any, **options: Any) -> Any:
        if name.startswith("keyring"):
            raise ModuleNotFoundError(name=name)
        return real(name, *args, **options)

    monkeypatch.setattr(builtins, "__import__", refuse)
    with pytest.raises(ModuleNotFoundError, match="pip install 'kraken-fastkey.keyring.'") as raised:
        KeyringGrantStore(ACCOUNT)
    assert "keyring" == raised.value.name


def test_module_needs_no_keyring_to_be_imported() -> None:
    """The module itself does not import the extra."""
    code = "import sys, kraken_fastkey.stores._keyring; print('keyring' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "False\n" == done.stdout


def test_repr_names_the_account() -> None:
    """The repr tells whose grant it is."""
    assert f"<KeyringGrantStore {PLACE}>" == repr(KeyringGrantStore(ACCOUNT))


@pytest.mark.parametrize("kind", ["fail", "null", "chain", "raising"])
async def test_no_keyring_is_told(use: Callable[[KeyringBackend], None], kind: str) -> None:
    """Where there is no keyring, or one that keeps nothing, the error says what to do."""
    raising = MemoryKeyring()
    raising.on_get = _raising(NoKeyringError(SECRET))
    backends = {"fail": fail.Keyring(), "null": null.Keyring(), "raising": raising}  # type: ignore[no-untyped-call]
    use(backends[kind] if kind in backends else ChainKeyring(MemoryKeyring(), backends["null"]))
    store = KeyringGrantStore(ACCOUNT)
    for call in (store.load, lambda: store.save(GRANT)):
        text = await _refused(call)
        assert f"{PLACE} cannot be read: no keyring is there: on a desktop, install and unlock one" in text
        assert text.endswith("on a server, use a FileGrantStore with an encryption_key")


@pytest.mark.parametrize("make", [PlaintextKeyring, HeirKeyring, lambda: ChainKeyring(PlaintextKeyring())])
async def test_plaintext_is_refused_unless_allowed(
    use: Callable[[KeyringBackend], None], make: Callable[[], MemoryKeyring]
) -> None:
    """A backend of keyrings.alt, or one made of it or with it, gets no token unless that is allowed."""
    backend = make()
    use(backend)
    store = KeyringGrantStore(ACCOUNT)
    for call in (store.load, lambda: store.save(GRANT)):
        text = await _refused(call)
        assert ".PlaintextKeyring, of keyrings.alt" in text or "elsewhere.HeirKeyring, of keyrings.alt" in text
        assert "name another in PYTHON_KEYRING_BACKEND, or allow it with allow_plaintext=True" in text
    assert set() == backend.threads
    allowed = KeyringGrantStore(ACCOUNT, allow_plaintext=True)
    assert await allowed.save(GRANT) == await allowed.load()


async def test_failure_to_read_is_told(backend: MemoryKeyring) -> None:
    """A keyring that cannot be read, or is locked, is told without its own words."""
    store = KeyringGrantStore(ACCOUNT)
    backend.on_get = _raising(OSError(f"no {SECRET}"))
    for call in (store.load, lambda: store.save(GRANT)):
        text = "cannot be read: the keyring failed (OSError): see whether it is there and unlocked"
        assert f"{PLACE} {text}" == await _refused(call)
    backend.on_get = _raising(KeyringLocked(SECRET))
    assert f"{PLACE} cannot be read: the keyring is locked: unlock it" == await _refused(store.load)


async def test_failure_to_choose_a_backend_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """A wrong PYTHON_KEYRING_BACKEND is told."""
    monkeypatch.setattr(keyring, "get_keyring", _raising(ModuleNotFoundError(SECRET)))
    text = await _refused(KeyringGrantStore(ACCOUNT).load)
    assert f"{PLACE} cannot be read: the keyring failed (ModuleNotFoundError): see" in text


async def test_failure_to_write_is_told(backend: MemoryKeyring) -> None:
    """A keyring that refuses a record keeps the old one; if it is long, the error says how long, and what to do."""
    store = KeyringGrantStore(ACCOUNT)
    saved = await store.save(GRANT)

    def refuse(password: str) -> None:
        raise PasswordSetError(password)

    backend.on_set = refuse
    text = f"{PLACE} cannot be written: the keyring failed (PasswordSetError): see whether it is there and unlocked"
    assert text == await _refused(lambda: store.save(GRANT))
    long = Grant(SECRET + "a" * 600, SECRET + "r" * 600)
    told = await _refused(lambda: store.save(long))
    size = len(keyring_module._to_text(Record(grant_to_bytes(long), 2)))
    assert f"{text} (the record has {size} characters; Windows takes 1280: if it is too large, use a" in told
    assert told.endswith("FileGrantStore with an encryption_key)")
    backend.on_set = lambda _: None
    assert saved == await store.load()


async def test_keyring_that_keeps_nothing_is_told(backend: MemoryKeyring, monkeypatch: pytest.MonkeyPatch) -> None:
    """A keyring that takes a record and loses it, or another's is there, is not believed."""
    monkeypatch.setattr(MemoryKeyring, "set_password", lambda *_: None)
    text = f"{PLACE} cannot be written: the keyring has not kept what it was given; on a server, use a FileGrantStore"
    assert (await _refused(lambda: KeyringGrantStore(ACCOUNT).save(GRANT))).startswith(text)
    assert {} == backend.passwords


async def test_keyring_that_cuts_is_told(backend: MemoryKeyring, monkeypatch: pytest.MonkeyPatch) -> None:
    """A keyring that cuts a record off is not believed."""

    def cut(_: object, service: str, username: str, password: str) -> None:
        backend.passwords[service, username] = password[:100]

    monkeypatch.setattr(MemoryKeyring, "set_password", cut)
    text = await _refused(lambda: KeyringGrantStore(ACCOUNT).save(GRANT))
    assert "the keyring has not kept what it was given" in text


@pytest.mark.parametrize(
    "text",
    [
        "",
        SECRET,
        f"kraken-fastkey record 1, version 0 {SECRET}",
        f"kraken-fastkey record 2, version 1 {SECRET}",
        f"kraken-fastkey record 1, version 1{'0' * 18} {SECRET}",
        f"kraken-fastkey record 1, version 1 {SECRET}\N{SNOWMAN}",
        f"kraken-fastkey record 1, version 1 {SECRET}",
        SimpleNamespace(secret=SECRET),
    ],
)
async def test_garbage_in_the_keyring_is_told(backend: MemoryKeyring, text: Any) -> None:
    """What could be no record, or no grant, is told without a word of it, and stays."""
    backend.passwords["kraken-fastkey", ACCOUNT] = text
    store = KeyringGrantStore(ACCOUNT)
    loaded = await _refused(store.load)
    assert loaded == await _refused(lambda: store.save(GRANT))
    assert loaded.startswith(f"{PLACE} holds ")
    assert {("kraken-fastkey", ACCOUNT): text} == backend.passwords


async def test_keyring_is_used_in_threads(backend: MemoryKeyring) -> None:
    """No call of the keyring blocks the loop: each takes until the loop has gone on."""
    store, loop = KeyringGrantStore(ACCOUNT), asyncio.get_running_loop()
    went_on: list[bool] = []

    def take_time() -> None:
        ticked = threading.Event()
        loop.call_soon_threadsafe(ticked.set)
        went_on.append(ticked.wait(10))

    backend.on_get = take_time
    backend.on_set = lambda _: take_time()
    assert await store.save(GRANT) == await store.load()
    assert threading.get_ident() not in backend.threads
    assert len(went_on) >= 2
    assert all(went_on)


async def test_load_can_be_cancelled_while_the_keyring_asks(backend: MemoryKeyring) -> None:
    """Who loads while the keyring asks the user to unlock it can be cancelled at once."""
    answered, asked = threading.Event(), threading.Event()

    def ask() -> None:
        asked.set()
        answered.wait(10)
        raise KeyringLocked

    backend.on_get = ask
    loader = asyncio.create_task(KeyringGrantStore(ACCOUNT).load())
    await asyncio.to_thread(asked.wait)
    loader.cancel()
    await asyncio.wait([loader], timeout=5)
    assert loader.cancelled()
    answered.set()


async def test_cancelled_save_goes_on_to_its_end(backend: MemoryKeyring) -> None:
    """A save that has begun to write is done when the cancellation goes on, and nobody writes meanwhile."""
    answered, asked = threading.Event(), threading.Event()

    def ask(_: str) -> None:
        asked.set()
        answered.wait(10)

    backend.on_set = ask
    store = KeyringGrantStore(ACCOUNT, lock_timeout=0)
    saver = asyncio.create_task(store.save(GRANT))
    await asyncio.to_thread(asked.wait)
    saver.cancel()
    await asyncio.wait([saver], timeout=0.05)
    assert not saver.done()
    await _refused(lambda: KeyringGrantStore("another", lock_timeout=0).save(GRANT), StoreLockTimeoutError)
    answered.set()
    await asyncio.wait([saver])
    assert saver.cancelled()
    loaded = await store.load()
    assert loaded is not None
    assert 1 == loaded.generation


def test_threads_lose_no_save(backend: MemoryKeyring) -> None:
    """Eight threads, each with a loop, that save 10 pairs each under the lock have saved 80 in the end."""

    async def save_some() -> None:
        store = KeyringGrantStore(ACCOUNT, lock_timeout=60)
        for _ in range(10):
            async with store.lock():
                stored = await store.load()
                generation = 1 if stored is None else stored.generation + 1
                await store.save(Grant(f"access-{generation}", generation=generation))

    with ThreadPoolExecutor(8) as pool:
        for done in [pool.submit(asyncio.run, save_some()) for _ in range(8)]:
            done.result()
    grant = asyncio.run(KeyringGrantStore(ACCOUNT).load())
    assert grant is not None
    assert 80 == grant.generation
    assert 1 == len(backend.passwords)


async def test_lock_excludes_other_processes(backend: MemoryKeyring) -> None:
    """While another process has the lock, nobody else has it; when that is killed, it is free at once."""
    code = f"""
import asyncio
from kraken_fastkey.stores._keyring import KeyringGrantStore

async def hold():
    async with KeyringGrantStore({ACCOUNT!r}).lock():
        print("held", flush=True)
        await asyncio.Event().wait()

asyncio.run(hold())
"""
    holder = await asyncio.create_subprocess_exec(sys.executable, "-c", code, stdout=subprocess.PIPE)
    assert holder.stdout is not None
    assert b"held\n" == await holder.stdout.readline()
    store = KeyringGrantStore(ACCOUNT, lock_timeout=0.05)
    await _refused(lambda: _take(store), StoreLockTimeoutError)
    await _take(KeyringGrantStore(ACCOUNT, service="another", lock_timeout=0))
    holder.kill()
    await holder.wait()
    await _take(store)
    assert set() == backend.threads


async def test_nothing_shows_a_secret(
    backend: MemoryKeyring, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A save, a stale save and a locked store show nothing in errors and in logs at DEBUG."""
    monkeypatch.setattr(asyncio.get_running_loop(), "_debug", True)
    caplog.set_level(logging.DEBUG)
    store = KeyringGrantStore(ACCOUNT, lock_timeout=0)
    saved = await store.save(GRANT)
    await store.save(Grant(SECRET, generation=2))
    await _refused(lambda: store.save(saved), StaleGrantError)
    async with store.lock():
        await _refused(lambda: _take(store), StoreLockTimeoutError)
    backend.on_set = _raising(ValueError(SECRET))
    await _refused(lambda: store.save(Grant(SECRET)))
    assert [] == leaks(caplog.text + repr([vars(record) for record in caplog.records]), SECRET)
