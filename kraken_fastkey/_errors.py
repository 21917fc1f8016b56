"""One tree of exceptions, named for what the caller does next.

FastKeyError
├── InvalidRequestError (ValueError)    mend the argument; nothing was sent
├── ClientClosedError (RuntimeError)    open a new client; nothing was sent
├── TokenUnavailableError               mend the token source; nothing was sent
├── LeaseExpiredError                   the lease has no good key: see its health
├── NonceAheadError                     the key has seen a higher nonce: use its unit, or make a new key
├── TransportError                      the network failed: see `outcome`
├── UnknownOutcomeError                 it may have been carried out: look before doing it again
├── ResponseFormatError                 the answer could not be read: see `outcome`
├── OAuthError                          the OAuth server, or the callback, said no
│   └── ReauthorizationRequiredError    have the user log in again: `cause` tells why
├── StoreError                          the store of grants or keys failed: mend it
│   ├── StoreLockTimeoutError           somebody else holds its lock: try again
│   ├── StaleGrantError                 the store holds a newer grant: load that
│   └── StaleRecordError                the store holds another record: load that
└── ApiError                            Kraken said no, in words we may not know
    ├── AuthenticationError             get a new access token, or a new login
    ├── PermissionDeniedError           ask the user for the missing scope
    ├── RateLimitedError                wait `retry_after` seconds
    ├── ServiceUnavailableError         Kraken is down or overloaded: later
    ├── InvalidArgumentsError           mend the request
    ├── DuplicateKeyNameError           choose another name
    ├── TooManyKeysError                delete a key first
    ├── KeyNotFoundError                there is no key of that name
    └── TemporaryLockoutError           stop: each further request prolongs it
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, ClassVar, Final, Literal

from kraken_fastkey._frozendict import FrozenDict

__all__ = [
    "ApiError",
    "AuthenticationError",
    "ClientClosedError",
    "DuplicateKeyNameError",
    "FastKeyError",
    "InvalidArgumentsError",
    "InvalidRequestError",
    "KeyNotFoundError",
    "LeaseExpiredError",
    "NonceAheadError",
    "NonceUnit",
    "OAuthError",
    "Outcome",
    "PermissionDeniedError",
    "RateLimitedError",
    "ReauthorizationCause",
    "ReauthorizationRequiredError",
    "ResponseFormatError",
    "ServiceUnavailableError",
    "StaleGrantError",
    "StaleRecordError",
    "StoreError",
    "StoreLockTimeoutError",
    "TemporaryLockoutError",
    "TokenUnavailableError",
    "TooManyKeysError",
    "TransportError",
    "UnknownOutcomeError",
]

# Where the documentation is published; the address of its page on errors stays, wherever that page moves.
DOCUMENTATION_URL: Final = "https://kraken-fastkey.readthedocs.io"
_ERRORS_URL: Final = f"{DOCUMENTATION_URL}/errors/"

NonceUnit = Literal["s", "ms", "us", "ns"]
"""What a nonce counts: seconds, milliseconds, microseconds or nanoseconds."""

Outcome = Literal["refused", "not_sent", "unknown"]
"""What a failed attempt did at Kraken.

- `"refused"`: an answer said that nothing was done, or the client made sure that nothing is left of it.
- `"not_sent"`: the request never left, so nothing was done.
- `"unknown"`: it may have been carried out.
"""


ReauthorizationCause = Literal["interrupted_rotation", "lost_reply", "superseded", "revoked", "expired", "missing"]
"""Why a grant is dead.

- `"interrupted_rotation"`: a refresh was under way when its process ended, and its result was not saved.
- `"lost_reply"`: the answer to a refresh was lost, and asking again did not bring it back.
- `"superseded"`: another refresh has used the refresh token up, and its result is not in the store.
- `"revoked"`: the user, or Kraken, took it back.
- `"expired"`: it was not refreshed for 30 days.
- `"missing"`: there is none: nobody has logged in.
"""


class FastKeyError(Exception):
    """The root of every exception that this library raises.

    No secret of the request is in it, and none of the answer is in its text; no exception of aiohttp hangs on
    it: those carry the request's headers. It can be copied and pickled.

    Attributes:
        operation: The client's method, such as `"create_key"`; `None` outside a call.
        attempts: How many times the call tried to send its request, 0 or more.
        outcome: What the call did at Kraken, all attempts together, see `Outcome`.
        status: The HTTP status of the last answer, or `None` if there was none.
        codes: Kraken's own error strings, such as `"EGeneral:Invalid arguments"`. What is long enough to be a
            secret, and is no word, is masked.
        retry_after: How many seconds to wait, 0 or more, as Kraken asked, or as this library goes on only then; `None`
            if neither is so.
    """

    default_outcome: ClassVar[Outcome] = "not_sent"

    def __init__(
        self,
        message: str,
        *,
        operation: str | None = None,
        attempts: int = 0,
        outcome: Outcome | None = None,
        status: int | None = None,
        codes: Iterable[str] = (),
        retry_after: float | None = None,
    ) -> None:
        super().__init__(message)
        self.operation = operation
        self.attempts = attempts
        self.outcome: Outcome = self.default_outcome if outcome is None else outcome
        self.status = status
        self.codes: tuple[str, ...] = tuple(codes)
        self.retry_after = retry_after

    @property
    def summary(self) -> str:
        """What went wrong and what to do, as in `str(error)`, but without the address: for a text of your own."""
        text = super().__str__()
        if self.operation is not None:
            text = f"{self.operation}: {text}"
        return f"{text} ({self.attempts} attempts)" if self.attempts > 1 else text

    @property
    def help_url(self) -> str:
        """The address of the documentation on this error: its causes, what was done at Kraken, and what to do.

        For a class of your own it is that of the nearest class of this library.
        """
        known = next(cls for cls in type(self).__mro__ if globals().get(cls.__name__) is cls)
        return f"{_ERRORS_URL}#{known.__name__.lower()}"

    def __str__(self) -> str:
        return f"{self.summary} (see {self.help_url})"

    def __reduce__(self) -> tuple[Any, ...]:
        # Exception's own would call __init__ with the message alone and lose required arguments.
        return _rebuild, (type(self), self.args, self.__dict__.copy())


def _rebuild(cls: type[FastKeyError], args: tuple[Any, ...], state: dict[str, Any]) -> FastKeyError:
    error = cls.__new__(cls, *args)
    error.args = args
    error.__dict__.update(state)
    return error


class InvalidRequestError(FastKeyError, ValueError):
    """An argument is wrong; nothing was sent. All faults are told at once.

    Attributes:
        faults: What is wrong, by field: `{"api_key_name": "must have 1 to 32 characters, has 33"}`.
    """

    def __init__(self, faults: Mapping[str, str], *, operation: str | None = None) -> None:
        super().__init__("; ".join(f"{field}: {fault}" for field, fault in faults.items()), operation=operation)
        self.faults: Mapping[str, str] = FrozenDict(faults)


class ClientClosedError(FastKeyError, RuntimeError):
    """The client was closed, or belongs to another event loop.

    Nothing was sent, unless `outcome` says otherwise: a request that was still under way when the time for closing
    was over may have been carried out.
    """


class TokenUnavailableError(FastKeyError):
    """No access token could be had; nothing was sent.

    Where the token provider failed with an exception of its own, that is the `__cause__`, unless aiohttp had a
    part in it: aiohttp's exceptions hold the request's headers.
    """


class LeaseExpiredError(FastKeyError):
    """A lease has no good key: it was not entered, or could not renew its key in time. Its `health` says more.

    With `retry_after`, new keys were refused one after another, and the next is made only then.
    """


class NonceAheadError(FastKeyError):
    """A key has seen a higher nonce than the source gives, so Kraken refuses each request that it signs.

    Attributes:
        stored: The highest nonce that the key has seen.
        offered: What the source would give.
        unit: What the source counts; `None` if it does not say.
        guess: What *stored* seems to count; `None` if it is none of the four units.
    """

    def __init__(
        self,
        message: str,
        *,
        stored: int,
        offered: int,
        unit: NonceUnit | None = None,
        guess: NonceUnit | None = None,
        **details: Any,
    ) -> None:
        super().__init__(message, **details)
        self.stored = stored
        self.offered = offered
        self.unit = unit
        self.guess = guess


class TransportError(FastKeyError):
    """The network failed.

    With `outcome == "not_sent"` nothing was done. With `"unknown"` the connection was lost, or timed
    out, after the request had gone out.
    """


class UnknownOutcomeError(FastKeyError):
    """The request may have been carried out, and cannot safely be sent again.

    The `__cause__` is the failure that left it open.

    Attributes:
        api_key_name: The name of the key that may have been created or changed.
    """

    default_outcome: ClassVar[Outcome] = "unknown"

    def __init__(self, message: str, *, api_key_name: str, **details: Any) -> None:
        super().__init__(message, **details)
        self.api_key_name = api_key_name


class ResponseFormatError(FastKeyError):
    """An answer came that could not be read: too large, cut off, not JSON, or of wrong types.

    Attributes:
        media_type: The answer's media type, such as `"text/html"`; empty if it had none.
        excerpt: A short piece of the answer to know it by, all that could be a secret masked.
        faults: Where the answer had wrong types, the paths: `("$.result.secret: must be a string",)`.
    """

    default_outcome: ClassVar[Outcome] = "unknown"

    def __init__(
        self,
        message: str,
        *,
        media_type: str = "",
        excerpt: str = "",
        faults: Iterable[str] = (),
        **details: Any,
    ) -> None:
        super().__init__(message, **details)
        self.media_type = media_type
        self.excerpt = excerpt
        self.faults: tuple[str, ...] = tuple(faults)


class OAuthError(FastKeyError):
    """The OAuth server refused, or the callback that should bring a code is not one to trust.

    `codes` has the server's own word, such as `"invalid_client"` (RFC 6749, sections 4.1.2.1 and 5.2).
    """

    default_outcome: ClassVar[Outcome] = "refused"


class ReauthorizationRequiredError(OAuthError):
    """The grant is dead: the user must log in again.

    Attributes:
        cause: Why, see `ReauthorizationCause`.
    """

    def __init__(self, message: str, *, cause: ReauthorizationCause, **details: Any) -> None:
        super().__init__(message, **details)
        self.cause: ReauthorizationCause = cause


class StoreError(FastKeyError):
    """A store could not be read or written, or holds what could not be its own."""


class StoreLockTimeoutError(StoreError):
    """The store's lock could not be had in time, so nothing was done."""


class StaleGrantError(StoreError):
    """The store holds a newer grant than the one to be saved, which was not saved."""


class StaleRecordError(StoreError):
    """The store holds another record than the one that was changed, which was not saved: load that."""


class ApiError(FastKeyError):
    """Kraken, or the network edge in front of it, answered with an error.

    Raised itself where the error is one that this library does not know; `codes` and `status` have it.
    """

    default_outcome: ClassVar[Outcome] = "refused"


class AuthenticationError(ApiError):
    """The access token was refused, and its provider had no other.

    Attributes:
        token_rejected: Whether it is the access token that was refused, so that another may do.
    """

    def __init__(self, message: str, *, token_rejected: bool = True, **details: Any) -> None:
        super().__init__(message, **details)
        self.token_rejected = token_rejected


class PermissionDeniedError(ApiError):
    """The access token lacks a scope, the account a right, or the network edge blocked the request."""


class RateLimitedError(ApiError):
    """Too many requests. `retry_after` says for how long, if Kraken said it."""


class ServiceUnavailableError(ApiError):
    """Kraken, or the network edge in front of it, is down, overloaded or failed inside."""

    default_outcome: ClassVar[Outcome] = "unknown"


class InvalidArgumentsError(ApiError):
    """Kraken found the request wrong; sending it again unchanged is of no use."""


class DuplicateKeyNameError(ApiError):
    """A key of that name exists: names are unique in the account."""


class TooManyKeysError(ApiError):
    """The account holds as many keys as it may."""


class KeyNotFoundError(ApiError):
    """The account has no key of that name."""


class TemporaryLockoutError(ApiError):
    """Kraken has locked the account or address out for about 15 minutes. Each further request prolongs it."""


def _show_as_public(names: Iterable[str]) -> None:
    """Let tracebacks and pickles name the public place, which holds when files move."""
    for name in names:
        value = globals()[name]
        if isinstance(value, type):
            value.__module__ = "kraken_fastkey"


_show_as_public(__all__)
