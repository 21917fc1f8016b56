"""Where a user's grant, and a lease's key, are kept between two starts of a program: protocols, and stores for each.

All of them count generations, refuse to put what is older in the place of what is newer, and have a lock that excludes
other tasks and, but for those in memory, other processes.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from kraken_fastkey.stores._encryption import encryption_key_from_environment, encryption_key_from_keyring
from kraken_fastkey.stores._file import FileGrantStore, FileKeyStore
from kraken_fastkey.stores._grants import GrantStore
from kraken_fastkey.stores._keyring import KeyringGrantStore, KeyringKeyStore
from kraken_fastkey.stores._keys import KeyStore
from kraken_fastkey.stores._memory import MemoryGrantStore, MemoryKeyStore
from kraken_fastkey.stores._redis import RedisGrantStore, RedisKeyStore

if TYPE_CHECKING:
    from kraken_fastkey.stores._sql import SQLGrantStore, SQLKeyStore

__all__ = [
    "FileGrantStore",
    "FileKeyStore",
    "GrantStore",
    "KeyStore",
    "KeyringGrantStore",
    "KeyringKeyStore",
    "MemoryGrantStore",
    "MemoryKeyStore",
    "RedisGrantStore",
    "RedisKeyStore",
    "SQLGrantStore",
    "SQLKeyStore",
    "encryption_key_from_environment",
    "encryption_key_from_keyring",
]


def __getattr__(name: str) -> Any:
    """Import the stores that are made of SQLAlchemy, and cannot even be defined without it, when they are asked for."""
    if name not in {"SQLGrantStore", "SQLKeyStore"}:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    store = getattr(importlib.import_module(f"{__name__}._sql"), name)
    globals()[name] = store
    return store
