"""FastKeyClient: the methods of the API, and the life of the session behind them."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from types import TracebackType
from typing import TYPE_CHECKING, Final, Literal, Self, TypeVar

import attrs

from kraken_fastkey import _wire
from kraken_fastkey._account import Account
from kraken_fastkey._background import Background, Work, join
from kraken_fastkey._changing import Change, Deletion
from kraken_fastkey._creating import Creation, Save
from kraken_fastkey._emitter import Emitter, hook_fault
from kraken_fastkey._engine import Engine
from kraken_fastkey._errors import ClientClosedError, InvalidRequestError
from kraken_fastkey._events.client import ClosingCutOff, DangerousKeyRequested
from kraken_fastkey._events.event import EventHook
from kraken_fastkey._janitor import Janitor
from kraken_fastkey._listing import Lister
from kraken_fastkey._models import CreateKeyRequest, FastApiKey, KeyInfo, UpdateKeyRequest, UserInfo
from kraken_fastkey._retry import RetryPolicy, is_seconds
from kraken_fastkey._runtime import SYSTEM, Runtime
from kraken_fastkey._secret import Unpicklable
from kraken_fastkey._shield import shield
from kraken_fastkey._tokens import TokenProvider, is_token_provider
from kraken_fastkey._transport import AiohttpTransport, Timeouts, Transport, check_base_url, check_session

if TYPE_CHECKING:
    import aiohttp

DEFAULT_BASE_URL: Final = "https://api.kraken.com/oauth"
"""Kraken's production server."""

_T = TypeVar("_T")
_DEFAULT_RETRY: Final = RetryPolicy()
_DEFAULT_TIMEOUTS: Final = Timeouts()


@attrs.define(eq=False, repr=False)
class _Shared:
    """What a client and those it made with `for_account` have in common."""

    engine: Engine
    lister: Lister
    background: Background
    reconciles: bool
    close_seconds: float
    base_url: str
    session: aiohttp.ClientSession | None


class FastKeyClient(Unpicklable):
    """Creates, lists, changes and deletes a user's Fast API keys.

    One client serves any number of tasks of one event loop. Use it in an `async with`, or await `aclose()`.

    Every method raises a `FastKeyError`, and nothing else but what a `save` that was passed in raises:
    `AuthenticationError` if the access token is refused and
    its provider has no other, `PermissionDeniedError` if it lacks a scope, `RateLimitedError` and
    `ServiceUnavailableError` if trying again did not help, `TransportError` if the network fails,
    `ResponseFormatError` if the answer cannot be read, `TokenUnavailableError` if there is no token,
    `ClientClosedError` after `aclose()`.

    Args:
        token_provider: Where the access tokens come from.
        base_url: The API's address. https, or plain http to loopback.
        session: An `aiohttp.ClientSession` to use; it is never closed. Without one, the client opens its own at
            the first request: up to 100 connections, no cookies, no proxies from the environment.
        retry: What is tried again, and when.
        timeout: How long one attempt may take: by phase, or in seconds for the whole of it.
        on_unknown_outcome: What to do when a create or update may have been carried out, its answer being lost:
            `"reconcile"` finds out, by listing the keys, and deletes a key that nobody holds before it tries
            again; `"raise"` raises an `UnknownOutcomeError` at once.
        close_timeout: How long `aclose()` may take to end what is under way, in seconds, 0 or more.
        on_event: Called with each event of this client and of those made with `for_account`, see `EventHook`.

    Raises:
        InvalidRequestError: An argument is wrong.
    """

    __slots__ = ("__weakref__", "_account", "_closed", "_closing", "_own_janitor", "_owner", "_shared")

    def __init__(
        self,
        token_provider: TokenProvider,
        *,
        base_url: str = DEFAULT_BASE_URL,
        session: aiohttp.ClientSession | None = None,
        retry: RetryPolicy = _DEFAULT_RETRY,
        timeout: Timeouts | float = _DEFAULT_TIMEOUTS,
        on_unknown_outcome: Literal["reconcile", "raise"] = "reconcile",
        close_timeout: float = 10.0,
        on_event: EventHook | None = None,
        _transport: Transport | None = None,
        _runtime: Runtime = SYSTEM,
    ) -> None:
        faults: dict[str, str] = {}
        if not is_token_provider(token_provider):
            faults["token_provider"] = _provider_fault(token_provider)
        if not isinstance(retry, RetryPolicy):
            faults["retry"] = f"must be a RetryPolicy, not {type(retry).__name__}"
        if on_unknown_outcome not in {"reconcile", "raise"}:
            faults["on_unknown_outcome"] = "must be 'reconcile' or 'raise'"
        if not is_seconds(close_timeout):
            faults["close_timeout"] = "must be seconds, 0 or more"
        fault = hook_fault(on_event)
        if fault is not None:
            faults["on_event"] = fault
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
            del token_provider, base_url, session, value  # they may be a token, or hold a password
            raise InvalidRequestError(faults)
        transport = AiohttpTransport(base_url, session, timeouts) if _transport is None else _transport
        engine = _engine_class(on_event)(transport, retry, _runtime, Emitter(on_event, _runtime), base_url)
        self._shared = _Shared(
            engine=engine,
            lister=Lister(engine),
            background=Background(),
            reconciles=on_unknown_outcome == "reconcile",
            close_seconds=float(close_timeout),
            base_url=base_url,
            session=session,
        )
        self._account = Account(token_provider)
        self._own_janitor: Janitor | None = None
        self._owner: FastKeyClient | None = None
        self._closed = False
        self._closing: asyncio.Task[None] | None = None

    @property
    def unsettled_keys(self) -> tuple[str, ...]:
        """The names of keys of this account that may exist though nobody holds them.

        The client goes on looking for them in the background, and deletes them. What is still here after
        `aclose()`, it could not make sure of: if `list_keys()` shows one of them, delete it.
        """
        return tuple(self._account.unsettled)

    async def create_key(self, request: CreateKeyRequest, *, save: Save | None = None) -> FastApiKey:
        """Create a key, and return it with its secret, which Kraken shows this once.

        If the answer is lost, the client finds out what became of the request: a key that it has made is deleted,
        since its secret is lost, and the request is sent again; under the caller's own name, or, if the name was
        generated, under another such name. It never takes or deletes a key that was there before.

        Cancelling the call leaves no key either: what has been sent is finished in the background, and a key that
        nobody takes is deleted. `aclose()` waits for that.

        Args:
            request: The key to create.
            save: Stores the key: awaited with it before the call returns. If it fails, the key is deleted, and
                its exception raised; once it has returned, the key is kept even if the call is cancelled. It may
                use the client on the key, while other calls on its name wait.

        Raises:
            InvalidRequestError: A time in the request has passed since it was made.
            UnknownOutcomeError: The key may have been created, its secret is lost, and what became of it could
                not be found out: its text says what to do.
            DuplicateKeyNameError: The account has a key of that name.
            TooManyKeysError: The account holds as many keys as it may.
            InvalidArgumentsError: Kraken found a field wrong.
            PermissionDeniedError: The user has not granted a scope that the key's permissions take.
            FastKeyError: As for every method.
        """
        self._check(request, CreateKeyRequest)
        if save is not None and not callable(save):
            raise InvalidRequestError({"save": "must be an async function that takes the key"})
        self._check_open()
        _warn_of_danger(request, self._shared.engine.emitter)
        return await self._perform(Creation(self._janitor, request, reconciles=self._shared.reconciles, save=save))

    async def list_keys(self) -> tuple[KeyInfo, ...]:
        """Return the account's Fast API keys, without their secrets.

        They are asked for at the address of Kraken's present reference, and where that is not known (404, 405) at
        that of its OpenAPI description, with attempts and a deadline of its own; what worked is remembered.

        Raises:
            FastKeyError: As for every method.
        """
        self._check_open()
        shared = self._shared
        return (await shared.engine.observe_read("list_keys", shared.lister.list_keys(self._account))).value

    async def update_key(self, request: UpdateKeyRequest) -> None:
        """Change a key.

        If the answer is lost, the client looks at the key: it sends the change again only if it was not made.
        Cancelling the call may leave the key changed or not.

        Args:
            request: What to change.

        Raises:
            InvalidRequestError: A time in the request has passed since it was made.
            UnknownOutcomeError: The key may have been changed, and it could not be found out.
            KeyNotFoundError: The account has no key of that name.
            DuplicateKeyNameError: The account has a key of the new name.
            InvalidArgumentsError: Kraken found a field wrong.
            FastKeyError: As for every method.
        """
        self._check(request, UpdateKeyRequest)
        self._check_open()
        await self._perform(Change(self._janitor, request, reconciles=self._shared.reconciles))

    async def delete_key(self, api_key_name: str) -> None:
        """Delete a key.

        If an attempt may have deleted it and the next one does not find it, that is success. Cancelling the call
        does not stop a request that has been sent.

        Args:
            api_key_name: The key's name.

        Raises:
            InvalidRequestError: The name could be no key's.
            KeyNotFoundError: The account has no key of that name.
            FastKeyError: As for every method.
        """
        self._check_open()
        await self._perform(Deletion(self._janitor, api_key_name))

    async def _clear_up(self, api_key_name: str) -> None:
        """Delete a key, even while the client closes."""
        deletion = Deletion(self._janitor, api_key_name)
        deletion.progress.cleaning = True
        await self._perform(deletion)

    async def get_user_info(self) -> UserInfo:
        """Return who authorized the app. Takes the scope `account.info:basic`.

        Raises:
            FastKeyError: As for every method.
        """
        self._check_open()
        call = _wire.get_user_info()
        engine = self._shared.engine
        return (await engine.observe_read(call.operation, engine.run(call, self._account))).value

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
        if not is_token_provider(token_provider):
            fault = _provider_fault(token_provider)
            del token_provider  # perhaps a token
            raise InvalidRequestError({"token_provider": fault})
        client = object.__new__(FastKeyClient)
        client._shared = self._shared
        client._account = Account(token_provider)
        client._own_janitor = None
        client._owner = self if self._owner is None else self._owner
        client._closed = False
        client._closing = None
        return client

    async def aclose(self) -> None:
        """Refuse new calls, end what is under way within `close_timeout`, and close the session if it is our own.

        Calls that wait to try again raise why the last attempt failed. What was left to the background (a
        cancelled create, a key that may turn up late) is brought to its end; what cannot be in time is logged
        as a warning, and is in `unsettled_keys`. Closing twice does nothing. Cancelling it does not stop it.
        """
        self._closed = True
        if self._closing is None:
            self._closing = asyncio.get_running_loop().create_task(self._close())
        with shield():
            await join(self._closing)

    async def __aenter__(self) -> Self:
        self._check_open()
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.aclose()

    async def _close(self) -> None:
        account = None if self._owner is None else self._account
        shared = self._shared
        shared.engine.stop(account)
        loop = asyncio.get_running_loop()
        until = loop.time() + shared.close_seconds
        try:
            if not await shared.background.drain(shared.close_seconds, account):
                shared.engine.emitter.emit(ClosingCutOff, wait_seconds=shared.close_seconds)
            if account is None:
                await shared.engine.drain(max(0.0, until - loop.time()))
        finally:
            if account is None:
                await shared.engine.aclose()

    @property
    def _janitor(self) -> Janitor:
        if self._own_janitor is None:
            shared = self._shared
            self._own_janitor = Janitor(shared.engine, shared.lister, self._account, shared.background)
        return self._own_janitor

    def _perform(self, work: Work[_T]) -> Awaitable[_T]:
        shared = self._shared
        return shared.background.perform(shared.engine.observe(work), self._account)

    def _check_open(self) -> None:
        if self._closed or (self._owner is not None and self._owner._closed):  # noqa: SLF001  # of our own class
            raise ClientClosedError("the client is closed: open a new one")

    def _check(self, request: object, cls: type) -> None:
        if not isinstance(request, cls):
            raise InvalidRequestError({"request": f"must be a {cls.__name__}, not {type(request).__name__}"})


def _engine_class(on_event: EventHook | None) -> type[Engine]:
    if on_event is None:
        return Engine
    # Looked up here: its events are for who listens, and an import would take 1 ms longer for all.
    from kraken_fastkey._observed_engine import ObservedEngine  # noqa: PLC0415

    return ObservedEngine


def _warn_of_danger(request: CreateKeyRequest, emitter: Emitter) -> None:
    """Tell of a key that could empty the account from anywhere, or for ever."""
    if request.permissions is None or not request.permissions.funds_withdraw:
        return
    for field, danger in (("ip_allowlist", "from any address"), ("valid_until", "for ever")):
        if not getattr(request, field):
            emitter.emit(
                DangerousKeyRequested,
                operation="create_key",
                api_key_name=request.api_key_name,
                field=field,
                danger=danger,
            )


def _provider_fault(value: object) -> str:
    # A string is most likely a token, so its type is all that is told.
    wrap = ": write StaticTokenProvider(...) around the token" if isinstance(value, str) else ""
    return f"must have a method get_token(), and a {type(value).__name__} has none{wrap}"
