"""What stores tell."""

from __future__ import annotations

from typing import ClassVar

import attrs

from kraken_fastkey._events.event import Event


@attrs.frozen(kw_only=True, eq=False, repr=False)
class StoreInClear(Event):
    """A store keeps the secret of a key without encryption.

    Attributes:
        store: The store's place.
    """

    name: ClassVar[str] = "kraken_fastkey.store.clear"

    store: str


@attrs.frozen(kw_only=True, eq=False, repr=False)
class StoreLockNotFreed(Event):
    """A store's lock could not be given back, and expires by itself.

    Attributes:
        store: The store's place.
        wait_seconds: How long until it expires, at most.
        fault: What went wrong.
    """

    name: ClassVar[str] = "kraken_fastkey.store.lock_not_freed"

    store: str
    wait_seconds: float
    fault: str


@attrs.frozen(kw_only=True, eq=False, repr=False)
class StoreLockExpired(Event):
    """A store's lock expired while it was held.

    Attributes:
        store: The store's place.
        wait_seconds: How long a lock lives without a sign of life.
    """

    name: ClassVar[str] = "kraken_fastkey.store.lock_expire"

    store: str
    wait_seconds: float
