"""A lease's key in the objects that bots trade with: put in at once, and each new one as it comes.

Neither library is imported: what is asked of their objects is a few attributes.
"""

from __future__ import annotations

import asyncio
import functools
import inspect
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, Final, TypeVar

from kraken_fastkey._errors import FastKeyError, InvalidRequestError
from kraken_fastkey._lease import KeyLease
from kraken_fastkey._models import FastApiKey

_BACKOFF: Final = (1.0, 60.0)  # of a key that could not be put where it belongs, in seconds
_WS_TOKEN: Final = "authenticated"  # noqa: S105  # the name under which ccxt keeps one
_WS_TOKEN_ASKED: Final = "authenticateFlight"  # noqa: S105  # likewise, while it asks for one

_Exchange = TypeVar("_Exchange")
_Client = TypeVar("_Client")

Put = Callable[[FastApiKey], Awaitable[None]]


@asynccontextmanager
async def attach_ccxt(lease: KeyLease, exchange: _Exchange) -> AsyncIterator[_Exchange]:
    """Keep a lease's key in an exchange object of ccxt, as long as the `async with` is entered.

    ::

        async with KeyLease(...) as lease, attach_ccxt(lease, ccxt.kraken()) as exchange:
            await exchange.fetch_balance()

    The object has the present key from the start, and each new one as soon as the lease has it. A call is signed
    with one key or the other, never with halves of two. What was signed with the old one is covered by the lease's
    `grace`. A token for WebSockets that ccxt.pro has got with the old key is asked for anew when it is needed next.
    On exit the object has no key, whatever it had before; it is not closed.

    Args:
        lease: The lease, entered.
        exchange: A `kraken` of `ccxt.async_support` or `ccxt.pro`, used in this event loop alone.

    Returns:
        The exchange.

    Raises:
        InvalidRequestError: On entry: it is no such object.
        LeaseExpiredError: On entry: the lease has no good key.
    """
    _check("exchange", _ccxt_fault(exchange))

    async def put(key: FastApiKey) -> None:
        # Both without an await in between; ccxt reads both in sign(), which has none either.
        exchange.apiKey, exchange.secret = key.api_key, key.secret.get_secret_value()  # type: ignore[attr-defined]
        _expire_tokens(exchange)

    try:
        async with following(lease, put):
            yield exchange
    finally:
        exchange.apiKey = exchange.secret = ""  # type: ignore[attr-defined]
        _expire_tokens(exchange)


@asynccontextmanager
async def attach_kraken_sdk(lease: KeyLease, client: _Client) -> AsyncIterator[_Client]:
    """Keep a lease's key in an async spot client of python-kraken-sdk, as long as the `async with` is entered.

    As `attach_ccxt` does. The library has no public way to change the key: this sets `_key` and `_secret`.

    A `SpotWSClient` looks at the key when it is made, too, to decide whether to open a private connection: make it
    with `lease.key`, then attach it.

    Args:
        lease: The lease, entered.
        client: A `SpotAsyncClient`, or what inherits from it, used in this event loop alone.

    Returns:
        The client.

    Raises:
        InvalidRequestError: On entry: it is no such object.
        LeaseExpiredError: On entry: the lease has no good key.
    """
    _check("client", _kraken_sdk_fault(client))

    async def put(key: FastApiKey) -> None:
        # Both without an await in between; the library reads both in _prepare_request(), which has none either.
        client._key, client._secret = key.api_key, key.secret.get_secret_value()  # type: ignore[attr-defined]  # noqa: SLF001

    try:
        async with following(lease, put):
            yield client
    finally:
        client._key = client._secret = ""  # type: ignore[attr-defined]  # noqa: SLF001


@asynccontextmanager
async def following(lease: KeyLease, put: Put) -> AsyncIterator[None]:
    """Put a lease's key somewhere at once, and each new one as it comes.

    The first must succeed; a later one is tried again until it does, or there is a newer one.

    Raises:
        InvalidRequestError: It is no lease.
        LeaseExpiredError: The lease has no good key.
        Exception: What `put` raises of the first key.
    """
    _check("lease", None if isinstance(lease, KeyLease) else f"must be a KeyLease, not {type(lease).__name__}")
    first = lease.key
    await put(first)
    follower = asyncio.get_running_loop().create_task(_follow(lease, put, first))
    try:
        yield
    finally:
        follower.cancel()
        await asyncio.wait({follower})
        if not follower.cancelled():
            follower.exception()  # marks it as seen: the lease was left in the moment in which it began


async def _follow(lease: KeyLease, put: Put, done: FastApiKey) -> None:
    async for key in lease.keys():
        if key.api_key_name != done.api_key_name:
            done = await _put_for_sure(lease, put, key)


async def _put_for_sure(lease: KeyLease, put: Put, key: FastApiKey) -> FastApiKey:
    """Put a key, or the one that is the present one by the time that it works, and return it."""
    wait, most = _BACKOFF
    while True:
        try:
            await put(key)
        except Exception as error:  # noqa: BLE001  # whatever it is, the old key is about to be deleted
            lease._tell_not_placed(key, _told(error))  # noqa: SLF001  # of our own class
        else:
            return key
        await lease._runtime.rest(wait)  # noqa: SLF001  # one clock for both
        wait = min(most, 2 * wait)
        if lease.health.state in {"valid", "failing"}:
            key = lease.key


def _told(error: Exception) -> str:
    # Our own errors hold no secret; a stranger's may quote the key.
    return f"{type(error).__name__}: {error}" if isinstance(error, FastKeyError) else type(error).__name__


def _check(argument: str, fault: str | None) -> None:
    if fault is not None:
        raise InvalidRequestError({argument: fault})


def _ccxt_fault(exchange: object) -> str | None:
    if not hasattr(exchange, "apiKey") or not hasattr(exchange, "secret"):
        return f"must be an exchange of ccxt, not {type(exchange).__name__}"
    if getattr(exchange, "id", None) != "kraken":
        return f"must be Kraken's spot exchange: another one ({type(exchange).__name__}) must not see the key"
    if not inspect.iscoroutinefunction(getattr(exchange, "fetch_balance", None)):
        return "must be of ccxt.async_support or ccxt.pro: the synchronous one runs in threads, or stops the loop"
    return None


def _kraken_sdk_fault(client: object) -> str | None:
    if not hasattr(client, "_key") or not hasattr(client, "_secret") or not hasattr(client, "get_nonce"):
        return f"must be a SpotAsyncClient of python-kraken-sdk, not {type(client).__name__}"
    # Clients for futures have the same attributes, and another host.
    if not hasattr(client, "_get_kraken_signature"):
        return f"must be a client for spot: Kraken's other hosts ({type(client).__name__}) must not see the key"
    if not inspect.iscoroutinefunction(getattr(client, "request", None)):
        return "must be a SpotAsyncClient: the synchronous one runs in threads, or stops the loop"
    return None


def _expire_tokens(exchange: Any) -> None:
    """Let ccxt.pro ask for a new token before it subscribes to anything private again."""
    for client in (getattr(exchange, "clients", None) or {}).values():
        _expire_token(client)
        asked = getattr(client, "futures", {}).get(_WS_TOKEN_ASKED)
        if isinstance(asked, asyncio.Future):
            # Asked for with the old key, and about to be kept.
            asked.add_done_callback(functools.partial(_expire_token, client))


def _expire_token(client: Any, _asked: object = None) -> None:
    token = getattr(client, "subscriptions", {}).get(_WS_TOKEN)
    if isinstance(token, dict):
        # Aged rather than removed: whoever waits for it reads it from there.
        token["start"] = 0
