"""Encryption at rest: what any backend keeps, under a key that the caller holds."""

from __future__ import annotations

import base64
import contextlib
import os
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractAsyncContextManager
from typing import TYPE_CHECKING, Final, TypeVar

from kraken_fastkey._errors import InvalidRequestError, StoreError, StoreLockTimeoutError
from kraken_fastkey._secret import SecretStr
from kraken_fastkey.stores._disk import FileLock
from kraken_fastkey.stores._keyring_backend import backend_fault, import_keyring, state_folder
from kraken_fastkey.stores._locks import LOCK_TIMEOUT
from kraken_fastkey.stores._records import Record, RecordStore

if TYPE_CHECKING:
    from cryptography.fernet import Fernet

ENCRYPTION_VARIABLE: Final = "KRAKEN_FASTKEY_ENCRYPTION_KEY"

_KEY_BYTES: Final = 32
_SECONDS_BETWEEN_TRIES: Final = 0.01

_T = TypeVar("_T")


class EncryptedRecords:
    """A backend whose records are encrypted and signed (Fernet: AES-128-CBC and HMAC-SHA256).

    Args:
        records: Where they are kept.
        key: The key, see `encryption_key_fault`.
        place: What the backend is, for the errors.

    Raises:
        ModuleNotFoundError: The extra `crypto` is not installed.
    """

    def __init__(self, records: RecordStore, key: SecretStr, place: str) -> None:
        self._fernet = _make_fernet(key)
        self._records = records
        self._place = place

    async def read(self) -> Record | None:
        record = await self._records.read()
        if record is None:
            return None
        opened = self._open(record)
        if opened is None:
            raise StoreError(
                f"{self._place} cannot be decrypted: the key is another one, or the content was never encrypted, "
                "or it was changed"
            )
        return opened

    async def swap(self, record: Record) -> None:
        await self._records.swap(Record(self._fernet.encrypt(record.data), record.version))

    def lock(self) -> AbstractAsyncContextManager[object]:
        return self._records.lock()

    def _open(self, record: Record) -> Record | None:
        from cryptography.fernet import InvalidToken  # noqa: PLC0415  # an extra

        try:
            return Record(self._fernet.decrypt(record.data), record.version)
        except InvalidToken:
            return None


def encryption_key_fault(key: object) -> str | None:
    """Return what is wrong with a key, or `None`: it must be 32 random bytes in URL-safe base64, as Fernet's are."""
    if not isinstance(key, SecretStr):
        return f"must be a str, not {getattr(key, '__name__', type(key).__name__)}"
    try:
        good = len(base64.urlsafe_b64decode(key.get_secret_value())) == _KEY_BYTES
    except ValueError:
        good = False
    return None if good else "must be 32 bytes in URL-safe base64: have Fernet.generate_key() of cryptography make one"


def encryption_key_from_environment(variable: str = ENCRYPTION_VARIABLE) -> SecretStr:
    """Return the key that an environment variable holds, for a store's *encryption_key*.

    `python -c "from cryptography.fernet import Fernet; print(Fernet.generate_key().decode())"` makes one.

    Args:
        variable: The variable's name.

    Raises:
        InvalidRequestError: It is not set, or holds no key: 32 bytes in URL-safe base64.
    """
    key = SecretStr(os.environ.get(variable, "").strip())
    fault = encryption_key_fault(key) if key else "is not set, or empty: set it"
    if fault:
        raise InvalidRequestError({variable: fault})
    return key


def encryption_key_from_keyring(service: str = "kraken-fastkey", name: str = "encryption-key") -> SecretStr:
    """Return the key that the operating system's keyring holds, for a store's *encryption_key*.

    The first call on a machine makes one and puts it there. The keyring may ask the user to unlock it, and this
    waits for that: call it before the event loop runs, or in a thread. Backends of the package keyrings.alt, which
    keep secrets in clear, are refused. It needs the extras `keyring` and `crypto`.

    Args:
        service: The keyring's name for the program.
        name: The keyring's name for the key.

    Raises:
        StoreError: The keyring cannot be used, or holds something else under that name.
        ModuleNotFoundError: An extra is not installed.
    """
    try:
        keyring = import_keyring()
        from cryptography.fernet import Fernet  # noqa: PLC0415  # an extra
    except ModuleNotFoundError as error:
        needed = "pip install 'kraken-fastkey[crypto,keyring]'"
        raise ModuleNotFoundError(f"it needs extras: {needed}", name=error.name) from None
    fault = _of_keyring(lambda: backend_fault(keyring.get_keyring()))
    if fault:
        raise StoreError(f"the keyring cannot be used: {fault}; or take the key from elsewhere")

    def look() -> SecretStr | None:
        found = keyring.get_password(service, name)
        return None if found is None else SecretStr(found.strip())

    key = _of_keyring(look)
    if key is None:
        with _first_use():  # whoever is later must not replace a key that is in use
            if _of_keyring(look) is None:
                _of_keyring(lambda: keyring.set_password(service, name, Fernet.generate_key().decode()))
        key = _of_keyring(look)  # read back: some backends forget
    fault = encryption_key_fault(key)
    if key is None or fault:
        raise StoreError(f"what the keyring holds as {name!r} of {service!r} is no key: it {fault}")
    return key


def automatic_encryption_key() -> SecretStr:
    """Return the key that the environment holds, if its variable is set; else the one that the keyring holds.

    Raises:
        InvalidRequestError: There is none, or the variable holds something else.
    """
    if ENCRYPTION_VARIABLE in os.environ:
        return encryption_key_from_environment()
    try:
        return encryption_key_from_keyring()
    except StoreError as error:
        reason = error.summary
    except ModuleNotFoundError as error:
        reason = str(error)
    raise InvalidRequestError(
        {
            "encryption_key": f"none was given, {ENCRYPTION_VARIABLE} is not set, and the operating system's keyring "
            f"has none ({reason}): set the variable, or mend the keyring; None keeps the secret in clear"
        }
    )


def _of_keyring(work: Callable[[], _T]) -> _T:
    """Have the keyring do something.

    Raises:
        StoreError: It failed.
    """
    try:
        return work()
    except Exception as error:  # noqa: BLE001  # whatever a backend raises may quote what it was given
        failure = type(error).__name__
    raise StoreError(f"the keyring cannot be used ({failure}): unlock it, or take the key from elsewhere")


@contextlib.contextmanager
def _first_use() -> Iterator[None]:
    """Have the lock of all processes that may make a key. It blocks.

    Raises:
        StoreError: It cannot be had.
    """
    lock = FileLock(state_folder() / "encryption-key.lock")
    deadline = time.monotonic() + LOCK_TIMEOUT
    while not lock.try_acquire():
        if time.monotonic() >= deadline:
            raise StoreLockTimeoutError(
                f"another process is making the encryption key, and was so for {LOCK_TIMEOUT:g} s: try again"
            )
        time.sleep(_SECONDS_BETWEEN_TRIES)
    try:
        yield
    finally:
        lock.release()


def _make_fernet(key: SecretStr) -> Fernet:
    try:
        from cryptography.fernet import Fernet  # noqa: PLC0415  # an extra
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError("it needs an extra: pip install 'kraken-fastkey[crypto]'", name=error.name) from None
    return Fernet(key.get_secret_value())
