"""What the verification of a key tells."""

from __future__ import annotations

from typing import ClassVar

import attrs

from kraken_fastkey._events.event import Event


@attrs.frozen(kw_only=True, eq=False, repr=False)
class VerificationRetried(Event):
    """Kraken does not know a key that is to be verified: it may be too new.

    Attributes:
        operation: `"verify_key"`.
        attempt: How many tries there were.
        wait_seconds: How long until the next one.
    """

    name: ClassVar[str] = "kraken_fastkey.verify.retry"

    operation: str
    attempt: int
    wait_seconds: float
