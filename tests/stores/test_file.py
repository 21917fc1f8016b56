"""FileGrantStore: who may read the file, what is refused, and how the lock is waited for."""

# nothing else runs in these loops

from __future__ import annotations

import asyncio
import builtins
import errno
import os
import stat
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from cryptography.fernet import Fernet
from strategies import leaks, package_locals, shown_by
from support import FakeTime

from kraken_fastkey import InvalidRequestError, SecretStr, StoreError, StoreLockTimeoutError
from kraken_fastkey._grant import Grant
from kraken_fastkey.stores import FileGrantStore, GrantStore, MemoryGrantStore, _disk, encryption_key_from_environment
from kraken_fastkey.stores._disk import MAX_BYTES, FileLock, read_file, replace_file

SECRET = "hush-hush-hush-hush"
GRANT = Grant(SECRET, f"{SECRET}-refresh")
KEY = "QUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUE="

pytestmark = pytest.mark.skipif(not hasattr(os, "geteuid"), reason="modes and owners")


@pytest.fixture(name="path")
def _path(tmp_path: Path) -> Path:
    return tmp_path / "private" / "grant"


@pytest.fixture(name="umask")
def _umask() -> Iterator[Callable[[int], int]]:
    before = os.umask(0)
    os.umask(before)
    yield os.umask
    os.umask(before)


def _mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


async def _refused(path: Path, **options: Any) -> StoreError:
    """Return the error that load, save and lock agree on, and see that it shows nothing."""
    store = FileGrantStore(path, **options)
    with pytest.raises(StoreError) as loaded:
        await store.load()
    with pytest.raises(StoreError) as saved:
        await store.save(GRANT)
    assert str(loaded.value) == str(saved.value)
    assert [] == leaks(shown_by(saved.value), SECRET)
    return saved.value


@pytest.mark.parametrize("mask", [0, 0o022, 0o077])
async def test_file_and_folders_are_private_whatever_the_umask(
    tmp_path: Path, umask: Callable[[int], int], mask: int
) -> None:
    """The folders that the store makes have mode 700, the files 600."""
    umask(mask)
    path = tmp_path / "made" / "private" / "grant"
    store = FileGrantStore(path)
    await store.save(GRANT)
    async with store.lock():
        pass
    assert [0o700, 0o700] == [_mode(path.parent.parent), _mode(path.parent)]
    assert {"grant": 0o600, "grant.lock": 0o600, "grant.writing": 0o600} == {
        entry.name: _mode(entry) for entry in path.parent.iterdir()
    }


async def test_load_makes_nothing(tmp_path: Path) -> None:
    """To look whether there is a grant leaves no trace."""
    assert None is await FileGrantStore(tmp_path / "made" / "grant").load()
    assert [] == list(tmp_path.iterdir())


@pytest.mark.parametrize("mode", [0o640, 0o620, 0o660, 0o604, 0o602, 0o606, 0o644, 0o666, 0o777, 0o610, 0o601])
async def test_file_that_others_can_use_is_refused(path: Path, mode: int) -> None:
    """The error says chmod, and nothing is changed."""
    await FileGrantStore(path).save(GRANT)
    content = path.read_bytes()
    path.chmod(mode)
    error = await _refused(path)
    assert f"{path} can be read or written by others (mode {mode:03o}): chmod 600 {path}" == error.summary
    assert (content, mode) == (path.read_bytes(), _mode(path))


@pytest.mark.parametrize("mode", [0o750, 0o720, 0o770, 0o705, 0o702, 0o755, 0o777, 0o1777, 0o710, 0o701])
async def test_folder_that_others_can_use_is_refused(path: Path, mode: int) -> None:
    """The error says chmod, for the lock as well, and nothing is changed."""
    await FileGrantStore(path).save(GRANT)
    path.parent.chmod(mode)
    error = await _refused(path)
    assert (
        f"{path.parent} can be read or written by others (mode {mode:03o}): "
        f"name a folder below it, which is then made, or chmod 700 {path.parent} if nobody else uses it"
    ) == error.summary
    with pytest.raises(StoreError, match="chmod 700"):
        async with FileGrantStore(path).lock():
            pass
    assert mode == _mode(path.parent)


@pytest.mark.parametrize("mode", [0o600, 0o400, 0o700])
async def test_private_file_is_read(path: Path, mode: int) -> None:
    """What the owner may do beside reading is the owner's business."""
    await FileGrantStore(path).save(GRANT)
    path.chmod(mode)
    assert None is not await FileGrantStore(path).load()


@pytest.mark.parametrize("mode", [0o644, 0o660])
async def test_lock_file_that_others_can_use_is_refused(path: Path, mode: int) -> None:
    """Others could hold the lock for ever."""
    async with FileGrantStore(path).lock():
        pass
    path.with_name("grant.lock").chmod(mode)
    with pytest.raises(StoreError, match=f"grant.lock can be .*: chmod 600 {path}.lock"):
        async with FileGrantStore(path).lock():
            pass


@pytest.mark.parametrize("place", ["file", "folder"])
async def test_foreign_owner_is_refused(path: Path, place: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file or folder of another user is refused."""
    await FileGrantStore(path).save(GRANT)
    if place == "file" and os.geteuid() == 0:
        os.chown(path, 12345, -1)
        error = await _refused(path)
        assert f"{path} belongs to another user (id 12345, this process has 0)" in str(error)
        return
    monkeypatch.setattr(os, "geteuid", lambda: 54321)
    error = await _refused(path)
    assert f"{path.parent} belongs to another user" in str(error)
    assert "chown it" in str(error)


@pytest.mark.parametrize("target", ["grant", "nothing"])
async def test_symlink_in_the_files_place_is_refused(path: Path, target: str) -> None:
    """It is neither followed nor replaced, whether it leads anywhere or not."""
    await FileGrantStore(path).save(GRANT)
    link = path.with_name("link")
    link.symlink_to(target)
    error = await _refused(link)
    assert f"{link} cannot be read: a symbolic link is in its place: name the file that it leads to" == error.summary
    assert link.is_symlink()
    assert not path.with_name("nothing").exists()


async def test_symlink_in_the_locks_place_is_refused(path: Path) -> None:
    """Who can plant a link must not have us make or lock a file elsewhere."""
    await FileGrantStore(path).save(GRANT)
    path.with_name("grant.lock").symlink_to("elsewhere")
    with pytest.raises(StoreError, match="grant.lock cannot be locked: a symbolic link"):
        async with FileGrantStore(path).lock():
            pass
    assert not path.with_name("elsewhere").exists()


async def test_folder_may_be_a_symlink(tmp_path: Path, path: Path) -> None:
    """A folder is judged by what the link leads to."""
    await FileGrantStore(path).save(GRANT)
    (tmp_path / "link").symlink_to("private")
    assert None is not await FileGrantStore(tmp_path / "link" / "grant").load()


async def test_folder_that_leads_nowhere_is_refused(tmp_path: Path) -> None:
    """A link without a target can be read, as empty, and not written."""
    (tmp_path / "link").symlink_to("nowhere")
    store = FileGrantStore(tmp_path / "link" / "grant")
    assert None is await store.load()
    with pytest.raises(StoreError, match="grant.writing cannot be locked: No such file"):
        await store.save(GRANT)
    with pytest.raises(StoreError, match="grant cannot be written: No such file"):
        replace_file(tmp_path / "link" / "grant", memoryview(b""))


async def test_file_in_the_folders_place_is_refused(tmp_path: Path) -> None:
    """A folder that is none is told."""
    (tmp_path / "folder").write_text("")
    error = await _refused(tmp_path / "folder" / "grant")
    assert f"{tmp_path / 'folder' / 'grant'} cannot be read: Not a directory: see to the disk" in str(error)


@pytest.mark.parametrize("kind", ["folder", "pipe"])
async def test_what_is_no_plain_file_is_refused(path: Path, kind: str) -> None:
    """A folder is told, and a named pipe does not hang."""
    path.parent.mkdir(0o700)
    if kind == "folder":
        path.mkdir(0o700)
    else:
        os.mkfifo(path, 0o600)
    error = await _refused(path)
    assert f"{path} is no plain file: name another" == error.summary


async def test_file_that_is_too_large_is_refused(path: Path) -> None:
    """It is not read into memory; and none such is written."""
    path.parent.mkdir(0o700)
    path.touch(0o600)
    os.truncate(path, 10**12)
    error = await _refused(path)
    assert f"{path} is larger than {MAX_BYTES} bytes: no record is; name another" == error.summary
    other = FileGrantStore(path.with_name("other"))
    with pytest.raises(StoreError, match="other cannot be written: [0-9]+ bytes are more than"):
        await other.save(Grant("a" * MAX_BYTES))
    assert None is await other.load()


async def test_large_file_is_read(path: Path) -> None:
    """What fits comes back, in however many pieces."""
    path.parent.mkdir(0o700)
    replace_file(path, memoryview(b"a" * MAX_BYTES))
    assert memoryview(b"a" * MAX_BYTES) == read_file(path)


async def test_working_directory_of_the_start_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A relative path does not move when the program does."""
    tmp_path.chmod(0o700)
    monkeypatch.chdir(tmp_path)
    store = FileGrantStore("grant")
    (tmp_path / "below").mkdir()
    monkeypatch.chdir(tmp_path / "below")
    await store.save(GRANT)
    assert (tmp_path / "grant").exists()
    assert f"<FileGrantStore {tmp_path / 'grant'}>" == repr(store)


@pytest.mark.parametrize(
    ("arguments", "faults"),
    [
        ({"path": 1}, {"path": "must be a path, not int"}),
        ({"path": b"grant"}, {"path": "must be a path, not bytes"}),
        ({"path": ""}, {"path": "must name a file"}),
        ({"path": "/"}, {"path": "must name a file"}),
        ({"path": "a\0b"}, {"path": "must name a file"}),
        ({"lock_timeout": -1}, {"lock_timeout": "must be seconds, 0 or more"}),
        ({"lock_timeout": True}, {"lock_timeout": "must be seconds, 0 or more"}),
        ({"lock_timeout": "1"}, {"lock_timeout": "must be seconds, 0 or more"}),
        ({"lock_timeout": float("nan")}, {"lock_timeout": "must be seconds, 0 or more"}),
        ({"lock_timeout": float("inf")}, {"lock_timeout": "must be seconds, 0 or more"}),
        ({"encryption_key": KEY.encode()}, {"encryption_key": "must be a str, not bytes"}),
        *(
            (
                {"encryption_key": key},
                {
                    "encryption_key": "must be 32 bytes in URL-safe base64: "
                    "have Fernet.generate_key() of cryptography make one"
                },
            )
            for key in ("", SECRET, KEY[:-4], KEY[:-1], "\N{SNOWMAN}", SecretStr(SECRET))
        ),
        ({"path": "", "lock_timeout": -1}, {"path": "must name a file", "lock_timeout": "must be seconds, 0 or more"}),
    ],
)
def test_wrong_arguments_are_told_at_once(arguments: dict[str, Any], faults: dict[str, str]) -> None:
    """All faults are told, and no key shows."""
    with pytest.raises(InvalidRequestError) as raised:
        FileGrantStore(**{"path": "grant"} | arguments)
    assert faults == raised.value.faults
    assert [] == leaks(package_locals(raised.value), SECRET)


def test_memory_store_checks_its_timeout() -> None:
    """MemoryGrantStore tells a wrong timeout as FileGrantStore does."""
    with pytest.raises(InvalidRequestError, match="lock_timeout: must be seconds, 0 or more"):
        MemoryGrantStore(lock_timeout=-1)


async def test_encrypted_file_shows_nothing(path: Path) -> None:
    """With a key, no token is in the file; without, it is."""
    await FileGrantStore(path, encryption_key=SecretStr(KEY)).save(GRANT)
    assert SECRET.encode() not in path.read_bytes()
    await FileGrantStore(path.with_name("plain")).save(GRANT)
    assert SECRET.encode() in path.with_name("plain").read_bytes()


@pytest.mark.parametrize("first", [KEY, None])
async def test_wrong_key_is_refused(path: Path, first: str | None) -> None:
    """What another key, or none, has written is not overwritten: whoever has the key can still read it."""
    await FileGrantStore(path, encryption_key=first).save(GRANT)
    content = path.read_bytes()
    error = await _refused(path, encryption_key=Fernet.generate_key().decode())
    assert f"{path} cannot be decrypted: the key is another one" in str(error)
    assert content == path.read_bytes()


async def test_missing_key_is_refused(path: Path) -> None:
    """An encrypted file is no grant to who has no key, and stays what it is."""
    await FileGrantStore(path, encryption_key=KEY).save(GRANT)
    content = path.read_bytes()
    error = await _refused(path)
    assert f"{path} holds what could not be a grant" in str(error)
    assert content == path.read_bytes()


def test_key_is_read_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Space around it is stripped, and it is masked."""
    monkeypatch.setenv("KRAKEN_FASTKEY_ENCRYPTION_KEY", f" {KEY}\n")
    assert SecretStr(KEY) == encryption_key_from_environment()
    monkeypatch.setenv("OTHER", KEY)
    assert SecretStr(KEY) == encryption_key_from_environment("OTHER")


@pytest.mark.parametrize(
    ("value", "fault"),
    [("", "is not set, or empty: set it"), (None, "is not set, or empty: set it"), (SECRET, "must be 32 bytes in URL")],
)
def test_wrong_key_in_the_environment_is_told(monkeypatch: pytest.MonkeyPatch, value: str | None, fault: str) -> None:
    """The error names the variable, and shows no key."""
    if value is not None:
        monkeypatch.setenv("OTHER", value)
    with pytest.raises(InvalidRequestError, match=f"OTHER: {fault}") as raised:
        encryption_key_from_environment("OTHER")
    assert [] == leaks(package_locals(raised.value), SECRET)


def test_encryption_without_its_extra_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """The error says what to install; a store that would not encrypt after all is never made."""
    real = builtins.__import__

    def refuse(name: str, *args: Any, **options: Any) -> Any:
        if name.startswith("cryptography"):
            raise ModuleNotFoundError(name=name)
        return real(name, *args, **options)

    monkeypatch.setattr(builtins, "__import__", refuse)
    with pytest.raises(ModuleNotFoundError, match=r"pip install 'kraken-fastkey\[crypto\]'"):
        FileGrantStore("grant", encryption_key=KEY)


async def test_lock_is_waited_for_with_growing_pauses(path: Path, fake_time: FakeTime) -> None:
    """Who waits tries again, at first soon, then each 1/20 s at the longest, and gives up in time."""
    waiting = FileGrantStore(path, lock_timeout=2, _runtime=fake_time.runtime)
    async with FileGrantStore(path).lock():
        with pytest.raises(StoreLockTimeoutError) as raised:
            async with waiting.lock():
                raise AssertionError
    said = f"{path} is locked by another task or process, and was so for 2 s: nothing was done, try again"
    assert said == raised.value.summary
    assert 2 == pytest.approx(sum(fake_time.sleeps), abs=0.001)
    assert [0.00075, 0.0015, 0.003] == fake_time.sleeps[:3]
    assert pytest.approx(0.0375) == max(fake_time.sleeps)


async def test_lock_is_had_when_it_is_free(path: Path, fake_time: FakeTime) -> None:
    """Who waits has the lock soon after another process has freed it."""
    holder = FileLock(path.with_name("grant.lock"))
    assert holder.try_acquire()

    async def free() -> None:
        if len(fake_time.sleeps) == 3:
            holder.release()

    fake_time.on_sleep = free
    async with FileGrantStore(path, _runtime=fake_time.runtime).lock():
        assert 3 == len(fake_time.sleeps)


async def test_save_is_bounded_too(path: Path) -> None:
    """A process that was stopped in the middle of a save makes the saves of others fail, not hang."""
    holder = FileLock(path.with_name("grant.writing"))
    assert holder.try_acquire()
    store = FileGrantStore(path, lock_timeout=0)
    with pytest.raises(StoreLockTimeoutError):
        await store.save(GRANT)
    assert None is await store.load()
    holder.release()
    await store.save(GRANT)


@pytest.mark.parametrize("new", [False, True])
def test_lock_on_a_file_that_was_removed_is_none(path: Path, new: bool, monkeypatch: pytest.MonkeyPatch) -> None:  # noqa: FBT001
    """Who locks a file that was just removed excludes nobody, and must try again."""
    real = _disk.lock

    def remove_and_lock(fd: int) -> bool:
        monkeypatch.undo()
        path.unlink()
        if new:
            path.touch(0o600)
        return real(fd)

    monkeypatch.setattr(_disk, "lock", remove_and_lock)
    lock = FileLock(path)
    assert not lock.try_acquire()
    lock.release()
    assert lock.try_acquire()


def test_lock_may_be_freed_twice(path: Path) -> None:
    """The second time does nothing, even if somebody else has the lock by then."""
    lock, other = FileLock(path), FileLock(path)
    assert lock.try_acquire()
    lock.release()
    assert other.try_acquire()
    lock.release()
    assert not lock.try_acquire()
    other.release()


def test_lock_is_free_though_a_forked_child_has_the_file(path: Path) -> None:
    """A child that was forked under the lock, and lives on, does not keep it."""
    lock, other = FileLock(path), FileLock(path)
    assert lock.try_acquire()
    assert lock._fd is not None
    kept = os.dup(lock._fd)  # as a fork does
    lock.release()
    assert other.try_acquire()
    other.release()
    os.close(kept)


@pytest.mark.parametrize("kind", ["memory", "file"])
def test_event_loops_share_a_store(path: Path, kind: str) -> None:
    """Threads with loops of their own, and one loop after another, exclude each other and lose no save."""
    store: GrantStore = MemoryGrantStore() if kind == "memory" else FileGrantStore(path)

    async def increment() -> None:
        async with store.lock():
            stored = await store.load()
            generation = 1 if stored is None else stored.generation + 1
            await store.save(Grant(f"access-{generation}", generation=generation))

    async def work() -> None:
        await asyncio.gather(*(increment() for _ in range(5)))

    for _ in range(3):
        threads = [threading.Thread(target=lambda: asyncio.run(work())) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    grant = asyncio.run(store.load())
    assert grant is not None
    assert 60 == grant.generation


@pytest.mark.parametrize(("number", "passes"), [(errno.EINVAL, True), (errno.EIO, False)])
async def test_folder_that_cannot_be_flushed(
    path: Path,
    number: int,
    passes: bool,  # noqa: FBT001
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A file system that cannot do it is no failure; a disk that fails is."""
    real = os.fsync

    def fsync(fd: int) -> None:
        if stat.S_ISDIR(os.fstat(fd).st_mode):
            raise OSError(number, os.strerror(number))
        real(fd)

    path.parent.mkdir(0o700)
    monkeypatch.setattr(os, "fsync", fsync)
    store = FileGrantStore(path)
    if passes:
        await store.save(GRANT)
    else:
        with pytest.raises(StoreError, match="grant cannot be written: Input/output error"):
            await store.save(GRANT)
    assert None is not await store.load()


async def test_folder_that_cannot_be_made_is_told(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The error names the folder."""

    def mkdir(*_: object) -> None:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    monkeypatch.setattr(Path, "mkdir", mkdir)
    with pytest.raises(StoreError, match=f"{path.parent} cannot be made: Permission denied"):
        await FileGrantStore(path).save(GRANT)


async def test_leftovers_are_removed_and_neighbours_kept(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The next save removes what killed writers of this file have left; if it cannot, the save is done all the same."""
    path.parent.mkdir(0o700)
    neighbours = {".grant2.0123456789abcdef.tmp", ".grant", "grant.tmp", "other"}
    for name in {".grant.0123456789abcdef.tmp", *neighbours}:
        path.with_name(name).touch(0o600)
    real = os.unlink

    def fail(*_: object, **__: object) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(os, "unlink", fail)
    await FileGrantStore(path).save(GRANT)
    assert path.with_name(".grant.0123456789abcdef.tmp").exists()
    monkeypatch.setattr(os, "unlink", real)
    await FileGrantStore(path).save(GRANT)
    assert {*neighbours, "grant", "grant.writing"} == {entry.name for entry in path.parent.iterdir()}
