"""What else a client tells of its calls, and of its closing."""

from __future__ import annotations

from typing import ClassVar

import attrs

from kraken_fastkey._events.event import Event


@attrs.frozen(kw_only=True, eq=False, repr=False)
class RetryScheduled(Event):
    """An attempt failed, and there will be another one.

    Attributes:
        operation: The client's method.
        attempt: How many attempts there were, 1 or more.
        wait_seconds: How long until the next one.
        error_type: The class of the exception that the last one failed with.
    """

    name: ClassVar[str] = "kraken_fastkey.retry"

    operation: str
    attempt: int
    wait_seconds: float
    error_type: str


@attrs.frozen(kw_only=True, eq=False, repr=False)
class TokenRejected(Event):
    """Kraken refused the access token (401), and the provider is asked for another.

    Attributes:
        operation: The client's method.
        generation: How often the grant had been refreshed; `None` if the token says nothing of it.
    """

    name: ClassVar[str] = "kraken_fastkey.token.reject"

    operation: str
    generation: int | None


@attrs.frozen(kw_only=True, eq=False, repr=False)
class KrakenWarned(Event):
    """An answer that succeeded holds warnings.

    Attributes:
        operation: The client's method, or `"verify_key"`.
        codes: Kraken's own strings, which begin with `W`.
    """

    name: ClassVar[str] = "kraken_fastkey.answer.warn"

    operation: str
    codes: tuple[str, ...]


@attrs.frozen(kw_only=True, eq=False, repr=False)
class LockoutStarted(Event):
    """Kraken has locked the account or address out. The account's client sends nothing for a while.

    Attributes:
        operation: The client's method that met it.
        wait_seconds: For how long nothing is sent.
    """

    name: ClassVar[str] = "kraken_fastkey.lockout.start"

    operation: str
    wait_seconds: float


@attrs.frozen(kw_only=True, eq=False, repr=False)
class LockoutEnded(Event):
    """After a lockout, Kraken has let a request in.

    Attributes:
        operation: The client's method that was let in.
    """

    name: ClassVar[str] = "kraken_fastkey.lockout.end"

    operation: str


@attrs.frozen(kw_only=True, eq=False, repr=False)
class DangerousKeyRequested(Event):
    """A key is asked for that may withdraw funds, from any address or for ever.

    Attributes:
        operation: The client's method.
        api_key_name: The key.
        field: What is not set: `"ip_allowlist"` or `"valid_until"`.
        danger: What follows from that.
    """

    name: ClassVar[str] = "kraken_fastkey.key.danger"

    operation: str
    api_key_name: str
    field: str
    danger: str


@attrs.frozen(kw_only=True, eq=False, repr=False)
class ClosingCutOff(Event):
    """The client closed, and what was under way did not end in time.

    Attributes:
        wait_seconds: How long it had: `close_timeout`.
    """

    name: ClassVar[str] = "kraken_fastkey.close.cut_off"

    wait_seconds: float


@attrs.frozen(kw_only=True, eq=False, repr=False)
class RequestsLeftOpen(Event):
    """The client closed while requests were still under way.

    Attributes:
        requests: How many.
    """

    name: ClassVar[str] = "kraken_fastkey.close.requests"

    requests: int
