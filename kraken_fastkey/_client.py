"""FastKeyClient: the methods of the API, and the life of the session behind them."""

from __future__ import annotations

from types import TracebackType
from typing import TYPE_CHECKING, Final, Literal, Self, TypeVar

import attrs

from kraken_fastkey import _wire
from kraken_fastkey._engine import Engine
from kraken_fastkey._errors import ApiError, ClientClosedError, InvalidRequestError
from kraken_fastkey._models import CreateKeyRequest, FastApiKey, KeyInfo, UpdateKeyRequest, UserInfo
from kraken_fastkey._retry import RetryPolicy
from kraken_fastkey._runtime import SYSTEM, Runtime
from kraken_fastkey._tokens import TokenProvider
from kraken_fastkey._transport import AiohttpTransport, Timeouts, Transport, check_base_url, check_session

if TYPE_CHECKING:
    import aiohttp

__all__ = ["DEFAULT_BASE_URL", "FastKeyClient"]

DEFAULT_BASE_URL: Final = "https://api.kraken.com/oauth"
"""Kraken's production server."""

_T = TypeVar("_T")
_DEFAULT_RETRY: Final = RetryPolicy()
_DEFAULT_TIMEOUTS: Final = Timeouts()


@attrs.define
class _Shared:
    """What a client and those it made with `for_account` have in common."""

    engine: Engine
    runtime: Runtime
    list_paths: tuple[str, str] = _wire.LIST_PATHS


class FastKeyClient:
    """Creates, lists, changes and deletes a user's Fast API keys.

    One client serves any number of tasks of one event loop. Use it in an `async with`, or await `aclose()`.

    Every method raises a `FastKeyError`, and nothing else: `AuthenticationError` if the access token is refused and
    its provider has no other, `PermissionDeniedError` if it lacks a scope, `RateLimitedError` and
    `ServiceUnavailableError` if trying again did not help, `TransportError` if the network fails,
    `ResponseFormatError` if the answer cannot be read, `TokenUnavailableError` if there is no token,
    `ClientClosedError` after `aclose()`.

    Args:
        token_provider: Where the access tokens come from.
        base_url: The API's address. https, or plain http to loopback.
        session: An `aiohttp.ClientSession` to use; it is never closed. Without one, the client opens its own at
            the first request: up to 20 connections, no cookies, no proxies from the environment.
        retry: What is tried again, and when.
        timeout: How long one attempt may take: by phase, or in seconds for the whole of it.
        on_unknown_outcome: What to do when a create or update may have been carried out: `"raise"` an
            `UnknownOutcomeError`.

    Raises:
        InvalidRequestError: An argument is wrong.
    """

    def __init__(
        self,
        token_provider: TokenProvider,
        *,
        base_url: str = DEFAULT_BASE_URL,
        session: aiohttp.ClientSession | None = None,
        retry: RetryPolicy = _DEFAULT_RETRY,
        timeout: Timeouts | float = _DEFAULT_TIMEOUTS,
        on_unknown_outcome: Literal["raise"] = "raise",
        _transport: Transport | None = None,
        _runtime: Runtime = SYSTEM,
    ) -> None:
        faults: dict[str, str] = {}
        if not isinstance(token_provider, TokenProvider):
            faults["token_provider"] = _provider_fault(token_provider)
        if not isinstance(retry, RetryPolicy):
            faults["retry"] = f"must be a RetryPolicy, not {type(retry).__name__}"
        if on_unknown_outcome != "raise":
            faults["on_unknown_outcome"] = "must be 'raise'"
        timeouts = _DEFAULT_TIMEOUTS
        for check, value in ((check_base_url, base_url), (check_session, session)):
            try:
                check(value)
            except InvalidRequestError as error:
                faults |= error.faults
        try:
            timeouts = timeout if isinstance(timeout, Timeouts) else Timeouts(total=timeout)
        except InvalidRequestError:
            faults["timeout"] = "must be a Timeouts, or seconds, more than 0"
        if faults:
            raise InvalidRequestError(faults)
        transport = AiohttpTransport(base_url, session, timeouts) if _transport is None else _transport
        self._token_provider = token_provider
        self._shared = _Shared(Engine(transport, retry, _runtime), _runtime)
        self._owner: FastKeyClient | None = None
        self._closed = False

    async def create_key(self, request: CreateKeyRequest) -> FastApiKey:
        """Create a key, and return it with its secret, which Kraken shows this once.

        It is sent again only if nothing was done the first time. Cancelling the call while the request is under
        way may leave a key behind, whose name is the request's.

        Args:
            request: The key to create.

        Raises:
            InvalidRequestError: A time in the request has passed since it was made.
            UnknownOutcomeError: The key may have been created, and its secret is lost.
            DuplicateKeyNameError: The account has a key of that name.
            TooManyKeysError: The account holds as many keys as it may.
            InvalidArgumentsError: Kraken found a field wrong.
            FastKeyError: As for every method.
        """
        self._check(request, CreateKeyRequest)
        return await self._run(_wire.create_key(request, self._shared.runtime.time()))

    async def list_keys(self) -> tuple[KeyInfo, ...]:
        """Return the account's Fast API keys, without their secrets.

        They are asked for at the address of Kraken's present reference, and where that is not known (404, 405) at
        that of its OpenAPI description, with attempts and a deadline of its own; what worked is remembered.

        Raises:
            FastKeyError: As for every method.
        """
        first, other = self._shared.list_paths
        try:
            return await self._run(_wire.list_keys(first))
        except ApiError as error:
            if error.status not in {404, 405} and "EGeneral:Unknown method" not in error.codes:
                raise
        keys = await self._run(_wire.list_keys(other))
        self._shared.list_paths = (other, first)
        return keys

    async def update_key(self, request: UpdateKeyRequest) -> None:
        """Change a key. It is sent again only if nothing was done the first time.

        Args:
            request: What to change.

        Raises:
            InvalidRequestError: A time in the request has passed since it was made.
            UnknownOutcomeError: The key may have been changed.
            KeyNotFoundError: The account has no key of that name.
            DuplicateKeyNameError: The account has a key of the new name.
            InvalidArgumentsError: Kraken found a field wrong.
            FastKeyError: As for every method.
        """
        self._check(request, UpdateKeyRequest)
        await self._run(_wire.update_key(request, self._shared.runtime.time()))

    async def delete_key(self, api_key_name: str) -> None:
        """Delete a key.

        If an attempt may have deleted it and the next one does not find it, that is success.

        Args:
            api_key_name: The key's name.

        Raises:
            InvalidRequestError: The name could be no key's.
            KeyNotFoundError: The account has no key of that name.
            FastKeyError: As for every method.
        """
        await self._run(_wire.delete_key(api_key_name))

    async def get_user_info(self) -> UserInfo:
        """Return who authorized the app. Takes the scope `account.info:basic`.

        Raises:
            FastKeyError: As for every method.
        """
        return await self._run(_wire.get_user_info())

    def for_account(self, token_provider: TokenProvider) -> FastKeyClient:
        """Return a client for another account, over the same session, connections and retry budget.

        Closing it leaves this one open; closing this one closes both.

        Args:
            token_provider: Where the other account's access tokens come from.

        Raises:
            InvalidRequestError: *token_provider* is none.
            ClientClosedError: This client is closed.
        """
        self._check_open()
        if not isinstance(token_provider, TokenProvider):
            raise InvalidRequestError({"token_provider": _provider_fault(token_provider)})
        client = object.__new__(FastKeyClient)
        client._token_provider = token_provider
        client._shared = self._shared
        client._owner = self if self._owner is None else self._owner
        client._closed = False
        return client

    async def aclose(self) -> None:
        """Refuse new calls, wait up to 10 s for requests under way, and close the session if it is the client's own.

        Calls that wait to try again raise why the last attempt failed. Closing twice does nothing.
        """
        if self._closed:
            return
        self._closed = True
        if self._owner is None:
            await self._shared.engine.aclose()

    async def __aenter__(self) -> Self:
        self._check_open()
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.aclose()

    async def _run(self, call: _wire.Call[_T]) -> _T:
        self._check_open()
        return await self._shared.engine.run(call, self._token_provider)

    def _check_open(self) -> None:
        if self._closed or (self._owner is not None and self._owner._closed):  # noqa: SLF001  # of our own class
            raise ClientClosedError("the client is closed: open a new one")

    def _check(self, request: object, cls: type) -> None:
        if not isinstance(request, cls):
            raise InvalidRequestError({"request": f"must be a {cls.__name__}, not {type(request).__name__}"})


def _provider_fault(value: object) -> str:
    # A string is most likely a token, so its type is all that is told.
    wrap = ": write StaticTokenProvider(...) around the token" if isinstance(value, str) else ""
    return f"must have a method get_token(), and a {type(value).__name__} has none{wrap}"
