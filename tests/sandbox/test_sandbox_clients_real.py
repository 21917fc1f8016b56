"""The trading API as the libraries that bots are written with see it: ccxt and python-kraken-sdk, unmodified."""

import importlib
from collections.abc import AsyncIterator
from typing import Any

import pytest
from sandbox_kit import Kit, running
from support import missing
from trading_kit import Trader, new_trader

from kraken_fastkey.sandbox import Answer

pytestmark = pytest.mark.slow


def library(module: str, package: str) -> Any:
    """Import a library, whose types nobody checks; skip the test where it is not installed."""
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError:
        missing(package)


@pytest.fixture(name="kit")
async def _kit() -> AsyncIterator[Kit]:
    """Run a sandbox with a client."""
    async with running() as kit:
        yield kit


@pytest.fixture(name="trader")
async def _trader(kit: Kit) -> Trader:
    """Create a key that may ask for balances."""
    return await new_trader(kit)


@pytest.fixture(name="exchange")
async def _exchange(kit: Kit, trader: Trader) -> AsyncIterator[Any]:
    """Run ccxt with the key; nothing but its URLs is other than usual, and that it does not wait between calls."""
    ccxt = library("ccxt.async_support", "ccxt")
    url = kit.sandbox.api_url
    settings = {"apiKey": trader.api_key, "secret": trader.secret, "enableRateLimit": False}
    exchange = ccxt.kraken({**settings, "urls": {"api": {"public": url, "private": url}}})
    yield exchange
    await exchange.close()


@pytest.fixture(name="sdk")
async def _sdk(kit: Kit, trader: Trader) -> AsyncIterator[Any]:
    """Run python-kraken-sdk with the key; nothing but its URL is other than usual."""
    spot = library("kraken.spot", "python-kraken-sdk")
    async with spot.SpotAsyncClient(key=trader.api_key, secret=trader.secret, url=kit.sandbox.api_url) as client:
        yield client


async def test_ccxt_fetches_the_balance(kit: Kit, exchange: Any) -> None:
    """It loads the markets first, and knows the account's assets by its own names."""
    balance = await exchange.fetch_balance()
    assert {"EUR": 1000.0, "BTC": 0.5} == balance["total"] == balance["free"]
    assert ["BTC/EUR"] == exchange.symbols
    assert {"assets", "asset_pairs", "balance_ex"} == {
        request.operation for request in kit.sandbox.requests if request.operation != "create_key"
    }


async def test_ccxt_uses_the_key(kit: Kit, trader: Trader, exchange: Any) -> None:
    """Calls that it has no method of its own for are signed by it, too; the time is the sandbox's."""
    info = (await exchange.privatePostGetApiKeyInfo())["result"]
    assert ("bot", trader.api_key, ["query-funds"]) == (info["apiKeyName"], info["apiKey"], info["permissions"])
    assert int(info["nonce"]) == kit.sandbox.keys()[0].nonce
    assert 900 == int((await exchange.privatePostGetWebSocketsToken())["result"]["expires"])
    assert int(kit.clock.now) * 1000 == await exchange.fetch_time()
    assert {"ZEUR", "XXBT"} == set((await exchange.privatePostBalance())["result"])


async def test_ccxt_tells_errors_apart(kit: Kit, exchange: Any) -> None:
    """Each error of the sandbox is one that it knows, but for the wrong signature, which it has no class for."""
    ccxt = library("ccxt", "ccxt")
    with pytest.raises(ccxt.PermissionDenied):
        await exchange.privatePostLedgers()
    secret, exchange.secret = exchange.secret, "AAAA"
    with pytest.raises(ccxt.ExchangeError, match="EAPI:Invalid signature"):
        await exchange.privatePostBalance()
    exchange.secret = secret
    kit.sandbox.faults.add(Answer(200, {"error": ["EAPI:Invalid nonce"]}), operation="balance")
    with pytest.raises(ccxt.InvalidNonce):
        await exchange.privatePostBalance()
    kit.sandbox.revoke_key("bot")
    with pytest.raises(ccxt.AuthenticationError):
        await exchange.privatePostBalance()


@pytest.mark.parametrize("do_json", [False, True])
async def test_sdk_asks_for_the_balance(kit: Kit, sdk: Any, *, do_json: bool) -> None:
    """Its forms are understood, and its JSON."""
    balance = await sdk.request("POST", "/0/private/Balance", do_json=do_json)
    assert {"ZEUR": "1000.0000", "XXBT": "0.5000000000"} == balance
    assert {"unixtime", "rfc1123"} == set(await sdk.request("GET", "/0/public/Time", auth=False))
    assert ["create_key", "balance", "time"] == [request.operation for request in kit.sandbox.requests]


async def test_sdk_tells_errors_apart(kit: Kit, sdk: Any) -> None:
    """Each error of the sandbox is one that it knows."""
    errors = library("kraken.exceptions", "python-kraken-sdk")
    with pytest.raises(errors.KrakenPermissionDeniedError):
        await sdk.request("POST", "/0/private/Ledgers")
    kit.sandbox.lockout_after = 1
    kit.sandbox.revoke_key("bot")
    with pytest.raises(errors.KrakenInvalidAPIKeyError):
        await sdk.request("POST", "/0/private/Balance")
    with pytest.raises(errors.KrakenTemporaryLockoutError):
        await sdk.request("POST", "/0/private/Balance")


async def test_one_key_for_both(sdk: Any, exchange: Any) -> None:
    """Their nonces count in other units: after one, the other's key is poisoned for good."""
    ccxt = library("ccxt", "ccxt")
    await exchange.privatePostBalance()
    await sdk.request("POST", "/0/private/Balance")
    with pytest.raises(ccxt.InvalidNonce):
        await exchange.privatePostBalance()
