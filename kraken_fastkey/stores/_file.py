"""FileGrantStore and FileKeyStore: a grant, or a lease's key, in a file that nobody else may read."""

from __future__ import annotations

import hashlib
import os
import re
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any, Final

from kraken_fastkey._emitter import Emitter
from kraken_fastkey._errors import StoreError
from kraken_fastkey._events.stores import StoreInClear
from kraken_fastkey._runtime import MACHINE, Runtime
from kraken_fastkey._secret import SecretStr
from kraken_fastkey._tokens import mask
from kraken_fastkey.stores._disk import FileLock, read_file, replace_file
from kraken_fastkey.stores._encryption import EncryptedRecords, automatic_encryption_key, encryption_key_fault
from kraken_fastkey.stores._face import Content, RecordFace
from kraken_fastkey.stores._grants import RecordGrantStore
from kraken_fastkey.stores._keys import RecordKeyStore
from kraken_fastkey.stores._locks import (
    LOCK_TIMEOUT,
    PolledLock,
    Release,
    check_lock_timeout,
    check_store_arguments,
    in_thread,
)
from kraken_fastkey.stores._records import Record, RecordStore, check_successor

_AUTO: Final = SecretStr("auto")
_HEADER: Final = re.compile(rb"kraken-fastkey record 1, version ([1-9][0-9]{0,17}), sha256 ([0-9a-f]{64})\n")


class FileRecords:
    """A record in a file: one line of version and checksum, then the content.

    Beside the file `path` there are `path.lock`, for the lock, and `path.writing`, which is locked for the moment
    that a record is replaced: who saves need not wait for who has the lock.
    """

    def __init__(self, path: Path, content: Content, lock_timeout: float, runtime: Runtime) -> None:
        self._path = path
        self._content = content
        self._lock = file_lock(path.with_name(f"{path.name}.lock"), str(path), lock_timeout, runtime)
        self._writing = file_lock(path.with_name(f"{path.name}.writing"), str(path), lock_timeout, runtime)

    async def read(self) -> Record | None:
        return await in_thread(self._read)

    async def swap(self, record: Record) -> None:
        async with self._writing.hold():
            await in_thread(lambda: self._swap(record))

    def lock(self) -> AbstractAsyncContextManager[object]:
        return self._lock.hold()

    def _read(self) -> Record | None:
        content = read_file(self._path)
        if content is None:
            return None
        record = _to_record(content)
        if record is None:
            raise StoreError(
                f"{self._path} holds no record of this library, or a damaged one: see whether the path is right; "
                f"if so, delete it, and {self._content.remedy}"
            )
        return record

    def _swap(self, record: Record) -> None:
        check_successor(record, self._read(), str(self._path))
        replace_file(self._path, _to_content(record))


def file_lock(path: Path, place: str, timeout: float, runtime: Runtime) -> PolledLock:
    """Return a lock on a file that excludes other tasks, threads and processes.

    Args:
        path: The file, which is made if it is not there.
        place: What is locked, for the error.
        timeout: How long to wait, in seconds.
        runtime: Time, sleep and chance.
    """

    async def attempt() -> Release | None:
        lock = FileLock(path)
        try:
            got = await in_thread(lock.try_acquire)
        except BaseException:
            lock.release()  # cancelled meanwhile
            raise
        return _releaser(lock) if got else None

    return PolledLock(place, attempt, timeout, runtime)


def _releaser(lock: FileLock) -> Release:
    async def release() -> None:
        # Not in a thread: it does not block, and so nothing can come between.
        lock.release()

    return release


def _to_content(record: Record) -> memoryview:
    # A view: its repr does not show the content.
    return memoryview(
        b"kraken-fastkey record 1, version %d, sha256 %s\n%s"
        % (record.version, _digest(record.version, memoryview(record.data)), record.data)
    )


def _digest(version: int, data: memoryview) -> bytes:
    return hashlib.sha256(b"%d\n%s" % (version, data)).hexdigest().encode("ascii")


def _to_record(content: memoryview) -> Record | None:
    header = _HEADER.match(content)
    if header is None or _digest(int(header[1]), content[header.end() :]) != header[2]:
        return None
    return Record(bytes(content[header.end() :]), int(header[1]))


class _FileStore(RecordFace):
    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        lock_timeout: float = LOCK_TIMEOUT,
        encryption_key: str | SecretStr | None = None,
        _runtime: Runtime = MACHINE,
    ) -> None:
        # Masked at once: what fails below leaves a traceback, perhaps one with locals.
        key = None if encryption_key is None else mask(encryption_key)
        del encryption_key
        check_store_arguments(
            path=_path_fault(path),
            lock_timeout=check_lock_timeout(lock_timeout),
            encryption_key=None if key is None else encryption_key_fault(key),
        )
        file = Path(path).absolute()
        records: RecordStore = FileRecords(file, self._content, lock_timeout, _runtime)
        if isinstance(key, SecretStr):
            records = EncryptedRecords(records, key, str(file))
        super().__init__(records, str(file))


class FileGrantStore(_FileStore, RecordGrantStore):
    """A grant in a file.

    The file has mode 600, in a folder of mode 700 that is made if it is missing. A file or folder that others can
    read or write, that belongs to another user, or a symbolic link in the file's place, is refused, and the error
    says what to do. Access control lists are not looked at. The file is replaced whole or not at all, and is on
    the disk when `save` returns. Beside `path` there are two empty files for locks, `path.lock` and
    `path.writing`, which must stay.

    Any number of tasks, threads, event loops and processes may share the file; the kernel frees the locks of one
    that is killed. The disk should be a local one: on a network file system, locks may not work.

    On Windows there are no modes and owners: neither they nor symbolic links are checked, and a folder is not
    flushed to the disk. Put the file where only its user has access, and encrypt it.

    Args:
        path: The file. A relative path starts at what is now the working directory.
        lock_timeout: How long to wait for a lock, in seconds; 0 or more.
        encryption_key: Encrypt the content with this key: 32 bytes in URL-safe base64, as `Fernet.generate_key()`
            of cryptography makes them. `encryption_key_from_environment` reads it. It needs the extra `crypto`.
            Without it, the tokens are in the file in clear.

    Raises:
        InvalidRequestError: An argument is wrong.
        ModuleNotFoundError: There is a key, but the extra is not installed.
    """


class FileKeyStore(_FileStore, RecordKeyStore):
    """A lease's key in a file, which is encrypted unless you say otherwise.

    The file is kept as that of `FileGrantStore` is: private, replaced whole or not at all, with two empty files for
    locks beside it.

    Args:
        path: The file. A relative path starts at what is now the working directory.
        lock_timeout: How long to wait for a lock, in seconds; 0 or more.
        encryption_key: Encrypt the content with this key: 32 bytes in URL-safe base64, as `Fernet.generate_key()`
            of cryptography makes them. `"auto"` takes the one of the environment variable
            `KRAKEN_FASTKEY_ENCRYPTION_KEY` if that is set, else the one that `encryption_key_from_keyring` keeps in
            the operating system's keyring. The keyring may ask the user to unlock it, and this waits for that: then
            make the store before the event loop runs, or in a thread. It needs the extra `crypto`, and `keyring` if
            the keyring is to have the key. `None` keeps the key's secret in clear, and logs a warning.

    Raises:
        InvalidRequestError: An argument is wrong; or it is `"auto"`, and there is no key: the text says what to do.
        ModuleNotFoundError: There is a key, but the extra `crypto` is not installed.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        lock_timeout: float = LOCK_TIMEOUT,
        encryption_key: str | SecretStr | None = "auto",
        _runtime: Runtime = MACHINE,
    ) -> None:
        # Masked at once: what fails below leaves a traceback, perhaps one with locals.
        key: Any = None if encryption_key is None else mask(encryption_key)
        del encryption_key
        if key == _AUTO:
            # Before a key is made for a store that cannot be.
            check_store_arguments(path=_path_fault(path), lock_timeout=check_lock_timeout(lock_timeout))
            key = automatic_encryption_key()
        super().__init__(path, lock_timeout=lock_timeout, encryption_key=key, _runtime=_runtime)
        if key is None:
            Emitter().emit(StoreInClear, store=self._place)


def _path_fault(path: object) -> str | None:
    try:
        given = Path(path)  # type: ignore[arg-type]  # what is wrong here is told
    except TypeError:
        return f"must be a path, not {type(path).__name__}"
    return None if given.name and "\0" not in str(given) else "must name a file"
