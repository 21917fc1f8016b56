"""AccessToken, the TokenProvider protocol, and the two simplest providers: a constant and a callback."""

from __future__ import annotations

import functools
import inspect
import re
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from datetime import datetime
from typing import Any, Final, Protocol, TypeGuard, cast, runtime_checkable

import attrs

from kraken_fastkey._errors import (
    AuthenticationError,
    InvalidRequestError,
)
from kraken_fastkey._secret import SecretStr, Unpicklable
from kraken_fastkey._values import Value

# RFC 6749, appendix A.12, without the space: it would end the token in an Authorization header.
_TOKEN: Final = re.compile(r"[\x21-\x7e]+")


@attrs.frozen(init=False, eq=False, repr=False)
class AccessToken(Value):
    """An OAuth access token, and what is known of it.

    Attributes:
        value: The token itself.
        expires_at: When it expires, aware; `None` if that is not known.
        scopes: What it was granted; `None` if that is not known.
        generation: Which pair of its grant it belongs to, as the grant's store counts them; `None` if it has none.
    """

    value: SecretStr
    expires_at: datetime | None
    scopes: frozenset[str] | None
    generation: int | None

    def __init__(
        self,
        value: str | SecretStr,
        expires_at: datetime | None = None,
        scopes: str | Iterable[str] | None = None,
        *,
        generation: int | None = None,
    ) -> None:
        """Check what is given.

        Args:
            value: The token: visible ASCII characters, without spaces (RFC 6749, appendix A.12).
            expires_at: When it expires, an aware `datetime`; `None` if that is not known.
            scopes: What it was granted, as an iterable or as one string with spaces between.
            generation: Which pair of its grant it belongs to.

        Raises:
            InvalidRequestError: The token could not be one, *expires_at* has no time zone, or *scopes* are none.
        """
        # Masked at once: what fails below leaves a traceback, perhaps one with locals.
        masked = mask(value)
        del value
        granted = scopes.split() if isinstance(scopes, str) else scopes
        granted = tuple(granted) if isinstance(granted, Iterable) else granted
        faults = {
            "token": token_fault(masked),
            "expires_at": expiry_fault(expires_at),
            "scopes": scopes_fault(granted),
        }
        if any(faults.values()) or not isinstance(masked, SecretStr):
            del self  # it has no fields yet, so its repr would fail in a traceback with locals
            raise InvalidRequestError({field: fault for field, fault in faults.items() if fault})
        self.__attrs_init__(  # pyright: ignore[reportAttributeAccessIssue]  # attrs makes it, for init=False
            masked, expires_at, None if granted is None else shared_scopes(granted), generation
        )


def mask(value: object) -> object:
    """Return a string masked, and anything else that is no token by its type alone."""
    if isinstance(value, str):
        return SecretStr(value)
    return value if isinstance(value, (SecretStr, AccessToken)) else type(value)


def token_fault(token: object) -> str | None:
    if not isinstance(token, SecretStr):
        return f"must be a str, not {token.__name__ if isinstance(token, type) else type(token).__name__}"
    if not token:
        return "is empty"
    if not _TOKEN.fullmatch(token.get_secret_value()):
        return (
            "holds a space, a line break or another character that no access token has: "
            "strip() it, if it was read from a file"
        )
    return None


def expiry_fault(expires_at: object) -> str | None:
    if expires_at is None or (isinstance(expires_at, datetime) and expires_at.utcoffset() is not None):
        return None
    return "must be a datetime with a time zone"


def scopes_fault(scopes: object) -> str | None:
    if scopes is None or (isinstance(scopes, (list, tuple)) and all(isinstance(scope, str) for scope in scopes)):
        return None
    return "must be a list of strings, or one string with spaces between the scopes"


@functools.lru_cache(maxsize=32)
def shared_scopes(scopes: tuple[str, ...]) -> frozenset[str]:
    """Return scopes as a set: one for all accounts, which an app asks for the same."""
    return frozenset(scopes)


@runtime_checkable
class TokenProvider(Protocol):
    """Where a client gets its access tokens. Any object with this method will do."""

    async def get_token(self, *, rejected: AccessToken | None = None) -> AccessToken:
        """Return an access token.

        The client calls this before each attempt, from many tasks at once. When Kraken has refused a token,
        it calls with that token as *rejected*. A provider that holds another one by then returns it; else it
        gets a new one, or raises.

        Args:
            rejected: The token that Kraken has just refused, if that is why the client asks.

        Raises:
            FastKeyError: There is no token to be had. From another exception, the client makes a
                `TokenUnavailableError`, with that exception as its `__cause__`.
        """
        ...


@runtime_checkable
class TokenUseObserver(Protocol):
    """A token provider that is told when a token is under way, so that it does not kill it there."""

    def use(self, token: AccessToken) -> AbstractContextManager[Callable[[], object]]:
        """Return a context manager that the client is in while a request with *token* is under way.

        It is entered right after `get_token` has returned, with nothing awaited in between. What it gives is
        called if the answer shows that the token was not refused.
        """
        ...


def is_token_provider(value: object) -> TypeGuard[TokenProvider]:
    """Whether a value is a `TokenProvider`: `isinstance` says the same, at fifty times the cost."""
    return callable(getattr(value, "get_token", None))


def as_observer(provider: TokenProvider) -> TokenUseObserver | None:
    """Return a provider as the `TokenUseObserver` that it is, or `None`."""
    use = getattr(provider, "use", None)
    return cast("TokenUseObserver", provider) if callable(use) else None


class StaticTokenProvider(Unpicklable):
    """One access token, for as long as it lasts.

    Args:
        token: The access token.

    Raises:
        InvalidRequestError: It could not be a token.
    """

    def __init__(self, token: str | SecretStr | AccessToken) -> None:
        masked = mask(token)
        del token  # a traceback with locals would show it
        self._token = to_access_token(masked)

    async def get_token(self, *, rejected: AccessToken | None = None) -> AccessToken:
        """Return the token.

        Raises:
            AuthenticationError: It is the one that Kraken has just refused.
        """
        return refuse_same_token(self._token, rejected, "the StaticTokenProvider has no other: make a new one")


class CallbackTokenProvider(Unpicklable):
    """A function that returns an access token.

    It is called before each attempt, and again after Kraken has refused what it returned, so it should hold on
    to a token itself while that is good. A plain function runs in the event loop and should be quick.

    Args:
        function: Takes no arguments and returns a `str`, a `SecretStr` or an `AccessToken`, or an awaitable
            of one.

    Raises:
        InvalidRequestError: *function* cannot be called.
    """

    def __init__(self, function: Callable[[], Any]) -> None:
        if not callable(function):
            kind = type(function).__name__
            del function  # perhaps it is the token itself
            raise InvalidRequestError({"function": f"must be callable, not {kind}"})
        self._function = function

    async def get_token(self, *, rejected: AccessToken | None = None) -> AccessToken:
        """Call the function.

        Raises:
            AuthenticationError: It returned the token that Kraken has just refused.
            InvalidRequestError: What it returned could not be a token.
        """
        token = to_access_token(await self._call())
        return refuse_same_token(token, rejected, "the callback returned it again: have it get a new one")

    async def _call(self) -> object:
        made = self._function()
        return await made if inspect.isawaitable(made) else made


def to_access_token(token: object) -> AccessToken:
    """Return what a user gave for a token as an `AccessToken`.

    Raises:
        InvalidRequestError: It could not be one.
    """
    if isinstance(token, AccessToken):
        return token
    token = mask(token)
    if isinstance(token, SecretStr):
        return AccessToken(token)
    raise InvalidRequestError({"token": f"must be a str or an AccessToken, not {getattr(token, '__name__', token)}"})


def refuse_same_token(token: AccessToken, rejected: AccessToken | None, advice: str) -> AccessToken:
    """Return *token*, unless it is the one that Kraken has just refused.

    Raises:
        AuthenticationError: It is.
    """
    if rejected is not None and token.value == rejected.value:
        raise AuthenticationError(f"Kraken refused the access token, and {advice}", status=401)
    return token
