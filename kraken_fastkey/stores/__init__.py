"""Where a user's grant is kept between two starts of a program: a protocol, and stores that keep it.

All of them count the grant's generations, refuse to put an older grant in a newer one's place, and have a lock that
excludes other tasks and, but for the one in memory, other processes.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from kraken_fastkey.stores._encryption import encryption_key_from_environment, encryption_key_from_keyring
from kraken_fastkey.stores._file import FileGrantStore
from kraken_fastkey.stores._grants import GrantStore
from kraken_fastkey.stores._keyring import KeyringGrantStore
from kraken_fastkey.stores._memory import MemoryGrantStore
from kraken_fastkey.stores._redis import RedisGrantStore

if TYPE_CHECKING:
    from kraken_fastkey.stores._sql import SQLGrantStore

__all__ = [
    "FileGrantStore",
    "GrantStore",
    "KeyringGrantStore",
    "MemoryGrantStore",
    "RedisGrantStore",
    "SQLGrantStore",
    "encryption_key_from_environment",
    "encryption_key_from_keyring",
]


def __getattr__(name: str) -> Any:
    """Import the store that is made of SQLAlchemy, and cannot even be defined without it, when it is asked for."""
    if name != "SQLGrantStore":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    store = importlib.import_module(f"{__name__}._sql").SQLGrantStore
    globals()[name] = store
    return store
