"""Forgetting a login: what stores have no method for, since the library itself never does it."""

from __future__ import annotations

import importlib
from pathlib import Path

from kraken_fastkey import StoreError
from kraken_fastkey.cli._config import Profile
from kraken_fastkey.cli._session import make_store
from kraken_fastkey.stores import FileGrantStore
from kraken_fastkey.stores._locks import in_thread

_SERVICE = "kraken-fastkey"  # of KeyringGrantStore


async def forget_grant(profile: Profile) -> bool:
    """Remove a profile's grant from where it is kept; return whether there was one.

    Raises:
        FastKeyError: It cannot be removed, or a refresh is under way and takes too long.
    """
    # To delete a file takes no key, even if it is encrypted.
    is_file = profile.grant_store != "keyring"
    store = FileGrantStore(profile.grant_file) if is_file else make_store(profile)
    # Who refreshes it is waited for: what it saves would be left over.
    async with store.lock():
        if is_file:
            return await in_thread(lambda: _remove_file(profile.grant_file))
        return await in_thread(lambda: _remove_password(profile.name))


def _remove_file(path: Path) -> bool:
    try:
        path.unlink()
    except FileNotFoundError:
        return False
    except OSError as error:
        raise StoreError(f"{path} cannot be removed: {error.strerror}: see to the permissions") from None
    return True


def _remove_password(account: str) -> bool:
    keyring = importlib.import_module("keyring")
    try:
        if keyring.get_password(_SERVICE, account) is None:
            return False
        keyring.delete_password(_SERVICE, account)
    except Exception as error:  # noqa: BLE001  # backends raise what their systems raise, and may quote secrets
        fault = type(error).__name__
    else:
        return True
    raise StoreError(f"the keyring failed ({fault}): see whether it is there and unlocked")
