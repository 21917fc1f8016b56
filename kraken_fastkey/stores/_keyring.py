"""KeyringGrantStore and KeyringKeyStore: a grant, or a lease's key, in the operating system's keyring."""

from __future__ import annotations

import asyncio
import functools
import hashlib
import json
import re
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from types import ModuleType
from typing import Any, ClassVar, Final

from kraken_fastkey._errors import StoreError
from kraken_fastkey._runtime import MACHINE, Runtime
from kraken_fastkey.stores._face import Content, RecordFace
from kraken_fastkey.stores._file import file_lock
from kraken_fastkey.stores._grants import RecordGrantStore
from kraken_fastkey.stores._keyring_backend import NO_BACKEND, backend_fault, import_keyring, state_folder
from kraken_fastkey.stores._keys import RecordKeyStore
from kraken_fastkey.stores._locks import LOCK_TIMEOUT, check_lock_timeout, check_name, check_store_arguments, in_thread
from kraken_fastkey.stores._records import Record, Reply, check_successor

_SERVICE: Final = "kraken-fastkey"
_TEXT: Final = re.compile(r"kraken-fastkey record 1, version ([1-9][0-9]{0,17}) ([\x00-\xff]*)")
# Credential Manager takes 2560 bytes, and a character has 2 of them.
_WINDOWS_LIMIT: Final = 1280


class KeyringRecords:
    """A record in a keyring, as the password of a service and an account.

    Its locks are files: one for the account, and one for writing, which is the whole service's: where two accounts
    have the same service, Windows' backend moves the one to write the other.
    """

    def __init__(
        self,
        keyring: ModuleType,
        service: str,
        account: str,
        *,
        content: Content,
        folder: Path,
        place: str,
        lock_timeout: float,
        allow_plaintext: bool,
        runtime: Runtime,
    ) -> None:
        self._keyring = keyring
        self._service = service
        self._account = account
        self._content = content
        self._instead = f"on a server, use a File{content.name}Store with an encryption_key"
        self._place = place
        self._allow_plaintext = allow_plaintext
        self._lock = file_lock(folder / f"{_digest(service, account)}.lock", place, lock_timeout, runtime)
        self._writing = file_lock(folder / f"{_digest(service)}.writing", place, lock_timeout, runtime)

    async def read(self) -> Record | None:
        # A keyring may ask the user to unlock it: who is cancelled need not wait for that.
        return await asyncio.get_running_loop().run_in_executor(None, self._read)

    async def swap(self, record: Record) -> None:
        async with self._writing.hold():
            await in_thread(functools.partial(self._swap, record))

    def lock(self) -> AbstractAsyncContextManager[object]:
        return self._lock.hold()

    def _read(self) -> Record | None:
        reply = self._call(self._get)
        if reply.fault:
            raise StoreError(f"{self._place} cannot be read: {reply.fault}")
        record = None if reply.value is None else _to_record(reply.value)
        if reply.value is not None and record is None:
            raise StoreError(
                f"{self._place} holds no record of this library, or a damaged one: see whether the service is right; "
                f"if so, delete it, and {self._content.remedy}"
            )
        return record

    def _swap(self, record: Record) -> None:
        check_successor(record, self._read(), self._place)
        reply = self._call(functools.partial(self._set, record))
        if reply.fault:
            size = len(_to_text(record))
            large = (
                f" (the record has {size} characters; Windows takes {_WINDOWS_LIMIT}: if it is too large, use a "
                f"File{self._content.name}Store with an encryption_key)"
            )
            raise StoreError(f"{self._place} cannot be written: {reply.fault}{large if size > _WINDOWS_LIMIT else ''}")
        # Some keyrings cut what is too long, or keep nothing; and the pair before this one is used up.
        if self._read() != record:
            raise StoreError(
                f"{self._place} cannot be written: the keyring has not kept what it was given; {self._instead}"
            )

    def _get(self, backend: Any) -> Any:
        return backend.get_password(self._service, self._account)

    def _set(self, record: Record, backend: Any) -> None:
        backend.set_password(self._service, self._account, _to_text(record))

    def _call(self, call: Callable[[Any], Any]) -> Reply:
        """Have a backend do something, which never raises: its exceptions may quote secrets, and its frames do."""
        try:
            backend = self._keyring.get_keyring()
            if fault := backend_fault(backend, allow_plaintext=self._allow_plaintext):
                allow = "" if fault == NO_BACKEND else ", or allow it with allow_plaintext=True"
                return Reply(fault=f"{fault}{allow}; {self._instead}")
            return Reply(call(backend))
        except self._keyring.errors.NoKeyringError:
            return Reply(fault=f"{NO_BACKEND}; {self._instead}")
        except self._keyring.errors.KeyringLocked:
            return Reply(fault="the keyring is locked: unlock it")
        except Exception as error:  # noqa: BLE001  # backends raise what their systems raise
            return Reply(fault=f"the keyring failed ({type(error).__name__}): see whether it is there and unlocked")


def _digest(*names: str) -> str:
    return hashlib.sha256(json.dumps(names).encode("ascii")).hexdigest()


def _to_text(record: Record) -> str:
    # A grant's record is JSON in ASCII, which is shorter than base64 of it. Any other bytes come back as well.
    return f"kraken-fastkey record 1, version {record.version} {record.data.decode('latin-1')}"


def _to_record(text: object) -> Record | None:
    found = _TEXT.fullmatch(text) if isinstance(text, str) else None
    return None if found is None else Record(found[2].encode("latin-1"), int(found[1]))


class _KeyringStore(RecordFace):
    _suffix: ClassVar[str]  # so that what is kept for one service and account does not collide

    def __init__(
        self,
        account: str,
        *,
        service: str = _SERVICE,
        lock_timeout: float = LOCK_TIMEOUT,
        allow_plaintext: bool = False,
        _runtime: Runtime = MACHINE,
    ) -> None:
        check_store_arguments(
            account=check_name(account),
            service=check_name(service),
            lock_timeout=check_lock_timeout(lock_timeout),
            allow_plaintext=None if isinstance(allow_plaintext, bool) else "must be a bool",
        )
        service += self._suffix
        place = f"the {self._content.noun} of {account!r} in the keyring's {service!r}"
        records = KeyringRecords(
            import_keyring(),
            service,
            account,
            folder=state_folder(),
            content=self._content,
            place=place,
            lock_timeout=lock_timeout,
            allow_plaintext=allow_plaintext,
            runtime=_runtime,
        )
        super().__init__(records, place)


class KeyringGrantStore(_KeyringStore, RecordGrantStore):
    """A grant in the operating system's keyring: for programs on a user's desktop. It needs the extra `keyring`.

    The keyring is the one that the package keyring chooses: Credential Manager on Windows, Keychain on macOS, Secret
    Service or KWallet on Linux. It may ask the user to unlock it, and is then waited for; a save that has begun is
    waited for even by who is cancelled. Backends of the package keyrings.alt, which keep secrets in clear, are
    refused. Exceptions of the backends hang on none of the store's: they may quote secrets.

    Windows takes 2560 bytes for each secret, which is 1280 characters. A grant's record has about 400 and the length of
    its tokens: if the tokens are long, `save` raises `StoreError`, and a `FileGrantStore` with an *encryption_key*
    is the place for it.

    Any number of tasks, threads, event loops and processes of one user on one machine may share the grant: their
    locks are empty files, which must stay, in the folder `kraken-fastkey` in `$XDG_STATE_HOME`, or in
    `~/.local/state` if that is not set. The kernel frees the locks of one that is killed.

    Args:
        account: Whose grant it is, 1 to 256 characters: the keyring's user name. Grants of different accounts never
            mix; if one user has several environments or clients, let them be part of it, or of *service*.
        service: The keyring's name for the program, 1 to 256 characters.
        lock_timeout: How long to wait for a lock, in seconds; 0 or more.
        allow_plaintext: Keep the tokens even in a backend that keeps them in clear.

    Raises:
        InvalidRequestError: An argument is wrong.
        ModuleNotFoundError: The extra is not installed.
        StoreError: The user has no folder for the locks.
    """

    _suffix = ""


class KeyringKeyStore(_KeyringStore, RecordKeyStore):
    """A lease's key in the operating system's keyring: for programs on a user's desktop. It needs the extra `keyring`.

    What `KeyringGrantStore` says of keyrings and locks holds here, too. A key's record has about 800 characters, of
    1280 that Windows takes.

    Args:
        account: Whose key it is, 1 to 256 characters: the keyring's user name. If an account has several leases, let
            the lease be part of it.
        service: The program's name, 1 to 256 characters. In the keyring, `/keys` follows it, so that a key and a
            grant of one account do not mix.
        lock_timeout: How long to wait for a lock, in seconds; 0 or more.
        allow_plaintext: Keep the key even in a backend that keeps it in clear.

    Raises:
        InvalidRequestError: An argument is wrong.
        ModuleNotFoundError: The extra is not installed.
        StoreError: The user has no folder for the locks.
    """

    _suffix = "/keys"
