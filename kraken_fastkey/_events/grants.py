"""What token providers and logins tell."""

from __future__ import annotations

from typing import ClassVar

import attrs

from kraken_fastkey._events.event import Event


@attrs.frozen(kw_only=True, eq=False, repr=False)
class RefreshStarted(Event):
    """A token provider sees to it that there is a good token: in the store, or by a refresh.

    Attributes:
        refresh_id: A number that is unique in the process, the same for the start and the end.
        generation: How often the present grant has been refreshed; `None` if none was loaded yet.
    """

    name: ClassVar[str] = "kraken_fastkey.refresh.start"

    refresh_id: int
    generation: int | None


@attrs.frozen(kw_only=True, eq=False, repr=False)
class RefreshEnded(Event):
    """Kraken has issued a new pair of tokens.

    Attributes:
        refresh_id: As for `RefreshStarted`.
        generation: How often the grant has been refreshed by now.
        seconds: How long it took, the wait for the store's lock included.
    """

    name: ClassVar[str] = "kraken_fastkey.refresh.end"

    refresh_id: int
    generation: int
    seconds: float


@attrs.frozen(kw_only=True, eq=False, repr=False)
class RefreshAdopted(Event):
    """The store had a good pair of tokens: at the start, or since another process has refreshed.

    Attributes:
        refresh_id: As for `RefreshStarted`.
        generation: How often the grant has been refreshed by now.
        seconds: How long it took, the wait for the store's lock included.
    """

    name: ClassVar[str] = "kraken_fastkey.refresh.adopt"

    refresh_id: int
    generation: int
    seconds: float


@attrs.frozen(kw_only=True, eq=False, repr=False)
class RefreshFailed(Event):
    """There is no new pair of tokens.

    Attributes:
        refresh_id: As for `RefreshStarted`.
        seconds: How long it took, the wait for the store's lock included.
        error_type: The class of the exception.
        holds: Whether the present token is good all the same.
        cause: Of a `ReauthorizationRequiredError`, why the grant is dead; else `None`.
    """

    name: ClassVar[str] = "kraken_fastkey.refresh.fail"

    refresh_id: int
    seconds: float
    error_type: str
    holds: bool
    cause: str | None = None


@attrs.frozen(kw_only=True, eq=False, repr=False)
class GrantNotSaved(Event):
    """A new pair of tokens could not be saved yet. It is kept in memory, and saving is tried again.

    Attributes:
        generation: How often the grant has been refreshed.
        error_type: The class of the exception that the store raised.
    """

    name: ClassVar[str] = "kraken_fastkey.grant.save_fail"

    generation: int
    error_type: str


@attrs.frozen(kw_only=True, eq=False, repr=False)
class GrantLost(Event):
    """The provider closed, and the present pair of tokens could not be saved: the user must log in again."""

    name: ClassVar[str] = "kraken_fastkey.grant.lose"


@attrs.frozen(kw_only=True, eq=False, repr=False)
class GrantAging(Event):
    """The grant's refresh token dies of age before long, unless it is used.

    Attributes:
        days: In how many days.
    """

    name: ClassVar[str] = "kraken_fastkey.grant.age"

    days: float


@attrs.frozen(kw_only=True, eq=False, repr=False)
class TokenLifeAssumed(Event):
    """A token answer does not tell how long its access token lives: 4 h are assumed.

    Attributes:
        operation: `"refresh"` or `"exchange_code"`.
    """

    name: ClassVar[str] = "kraken_fastkey.token.assume_life"

    operation: str
