"""The adapters in the libraries themselves, unmodified, pointed at the sandbox: under load, through rotations."""

from __future__ import annotations

import asyncio
import importlib
import logging
import random
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext
from datetime import timedelta
from typing import Any

import attrs
import pytest
from support import missing
from virtual_time import VirtualTimeLoop, run_virtually

from kraken_fastkey import (
    CreateKeyRequest,
    FastApiKey,
    FastKeyClient,
    InvalidRequestError,
    KeyLease,
    LeaseExpiredError,
    Permissions,
    StaticTokenProvider,
    StoreError,
)
from kraken_fastkey._adapters import attach_ccxt, attach_kraken_sdk, following
from kraken_fastkey.sandbox import KrakenSandbox

ROTATIONS = 20
TASKS = 20
# Calls that are made at once overtake each other, so their nonces arrive out of order.
WINDOW = 10**12


def library(module: str, package: str) -> Any:
    """Import a library, whose types nobody checks; skip the test where it is not installed."""
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError:
        missing(package)


@attrs.frozen
class World:
    """A sandbox and a client in virtual time."""

    loop: VirtualTimeLoop
    sandbox: KrakenSandbox
    client: FastKeyClient

    def lease(self, **options: Any) -> KeyLease:
        """Return a lease of a key that may ask for the balance."""
        template = CreateKeyRequest(permissions=Permissions(funds_query=True), nonce_window=WINDOW)
        return KeyLease(self.client, template, **options)

    @asynccontextmanager
    async def ccxt(self, module: str = "ccxt.async_support") -> AsyncIterator[Any]:
        """Return an exchange object of ccxt without a key."""
        exchange = library(module, "ccxt").kraken(
            {
                "enableRateLimit": False,
                "urls": {"api": {"public": self.sandbox.api_url, "private": self.sandbox.api_url}},
            }
        )
        try:
            yield exchange
        finally:
            await exchange.close()

    @asynccontextmanager
    async def sdk(self) -> AsyncIterator[Any]:
        """Return a client of python-kraken-sdk without a key."""
        async with library("kraken.spot", "python-kraken-sdk").SpotAsyncClient(url=self.sandbox.api_url) as client:
            yield client


def in_world(scene: Callable[[World], Coroutine[Any, Any, None]]) -> None:
    """Play a scene."""

    async def main(loop: VirtualTimeLoop) -> None:
        async with KrakenSandbox(clock=loop.wall_clock) as sandbox:
            provider = StaticTokenProvider(sandbox.issue_token(expires_in=10**9))
            async with FastKeyClient(provider, base_url=sandbox.base_url, _runtime=loop.runtime()) as client:
                await scene(World(loop, sandbox, client))

    run_virtually(main)


@attrs.frozen
class Library:
    """A library, and how its objects are made, fed and used."""

    name: str
    make: Callable[[World], AbstractAsyncContextManager[Any]]
    attach: Callable[[KeyLease, Any], AbstractAsyncContextManager[Any]]
    fetch_balance: Callable[[Any], Awaitable[Any]]
    set_once: Callable[[Any, FastApiKey], None]
    held: Callable[[Any], tuple[str, str]]


def _set_ccxt(exchange: Any, key: FastApiKey) -> None:
    exchange.apiKey, exchange.secret = key.api_key, key.secret.get_secret_value()


def _set_sdk(client: Any, key: FastApiKey) -> None:
    client._key, client._secret = key.api_key, key.secret.get_secret_value()


CCXT = Library(
    "ccxt",
    World.ccxt,
    attach_ccxt,
    lambda exchange: exchange.fetch_balance(),
    _set_ccxt,
    lambda exchange: (exchange.apiKey, exchange.secret),
)
SDK = Library(
    "python-kraken-sdk",
    World.sdk,
    attach_kraken_sdk,
    lambda client: client.request("POST", "/0/private/Balance"),
    _set_sdk,
    lambda client: (client._key, client._secret),
)
BOTH = pytest.mark.parametrize("lib", [CCXT, SDK], ids=lambda lib: lib.name)


@attrs.define
class Load:
    """Tasks that fetch the balance again and again, and how they fared."""

    lease: KeyLease
    fetch: Callable[[], Awaitable[Any]]
    pause: Callable[[], Awaitable[None]] = lambda: asyncio.sleep(0)
    requests: int = 0
    crossed: int = 0
    failures: Counter[str] = attrs.field(factory=Counter)

    async def _work(self) -> None:
        while True:
            name = self.lease.health.api_key_name
            try:
                await self.fetch()
            except Exception as error:  # noqa: BLE001  # whatever it is, it is counted
                self.failures[type(error).__name__] += 1
            self.requests += 1
            self.crossed += name != self.lease.health.api_key_name
            await self.pause()

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Let the tasks run."""
        tasks = [asyncio.ensure_future(self._work()) for _ in range(TASKS)]
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)

    def report(self, what: str) -> str:
        """Return the figures, in a line."""
        failed = f"{self.failures.total()} failed" + (f" {dict(self.failures)}" if self.failures else "")
        return f"{what}: {self.requests} requests, {self.crossed} of them amid a rotation, {failed}"


async def rotate_without_pause(lease: KeyLease, load: Load) -> None:
    """Bring a new key after each few answers."""
    for _ in range(ROTATIONS):
        answered = load.requests
        await lease.renew()
        # The key of before the last one is deleted at the next renewal.
        while load.requests < answered + 3 * TASKS:
            await asyncio.sleep(0)


@BOTH
def test_no_request_fails_through_twenty_rotations_under_full_load(lib: Library) -> None:
    """Twenty tasks ask without a pause while the key is changed twenty times, and none notices."""

    async def scene(world: World) -> None:
        async with world.lease() as lease, lib.make(world) as bot:
            async with lib.attach(lease, bot) as attached:
                assert bot is attached
                load = Load(lease, lambda: lib.fetch_balance(bot))
                async with load.running():
                    await rotate_without_pause(lease, load)
            print(load.report(f"{lib.name}, {ROTATIONS} rotations at once"))
            assert ROTATIONS + 1 == lease.health.renewals
            assert {} == load.failures
            assert load.crossed >= ROTATIONS
            assert load.requests >= ROTATIONS * 3 * TASKS

    in_world(scene)


@BOTH
def test_without_an_adapter_the_same_load_fails(lib: Library) -> None:
    """The key that was put in by hand is deleted after its rotation, and most calls are refused."""

    async def scene(world: World) -> None:
        async with world.lease() as lease, lib.make(world) as bot:
            lib.set_once(bot, lease.key)
            load = Load(lease, lambda: lib.fetch_balance(bot))
            async with load.running():
                await rotate_without_pause(lease, load)
            print(load.report(f"{lib.name}, without an adapter"))
            assert load.failures.total() > load.requests / 2

    in_world(scene)


@BOTH
@pytest.mark.parametrize("attached", [True, False], ids=["attached", "without an adapter"])
def test_rotations_by_age_cost_no_request(lib: Library, *, attached: bool) -> None:
    """Keys that live for a minute, and are deleted ten seconds after their renewal: a quarter of an hour of them."""

    async def scene(world: World) -> None:
        chance = random.Random(1)  # noqa: S311  # repeatable on purpose
        options = {"lifetime": timedelta(minutes=1), "grace": timedelta(seconds=10)}
        async with world.lease(**options) as lease, lib.make(world) as bot:
            lib.set_once(bot, lease.key)
            async with lib.attach(lease, bot) if attached else nullcontext():
                load = Load(lease, lambda: lib.fetch_balance(bot), lambda: asyncio.sleep(chance.uniform(0, 30)))
                async with load.running():
                    while lease.health.renewals <= ROTATIONS:
                        await asyncio.sleep(1)
            how = "attached" if attached else "without an adapter"
            print(load.report(f"{lib.name}, {ROTATIONS} rotations by age, {how}"))
            assert lease.health.renewals > ROTATIONS
            assert load.requests > 500
            assert attached == (not load.failures)

    in_world(scene)


@BOTH
def test_the_object_has_the_key_while_attached(lib: Library) -> None:
    """From the start, from each renewal on, and none when it is over."""

    async def scene(world: World) -> None:
        async with world.lease() as lease, lib.make(world) as bot:
            async with lib.attach(lease, bot):
                assert (lease.key.api_key, lease.key.secret.get_secret_value()) == lib.held(bot)
                await world.client.delete_key(lease.key.api_key_name)
                with pytest.raises(Exception, match="EAPI:Invalid key"):
                    await lib.fetch_balance(bot)
                # Whoever waits for the renewal may call at once.
                await lease.renew()
                assert (lease.key.api_key, lease.key.secret.get_secret_value()) == lib.held(bot)
                await lib.fetch_balance(bot)
            assert ("", "") == lib.held(bot)
            with pytest.raises(Exception, match=r"requires \"apiKey\" credential|Missing credentials"):
                await lib.fetch_balance(bot)

    in_world(scene)


@BOTH
def test_a_lease_that_is_not_entered_gives_no_key(lib: Library) -> None:
    """The object is left without one, and the error says what to do."""

    async def scene(world: World) -> None:
        async with lib.make(world) as bot:
            with pytest.raises(LeaseExpiredError, match="enter it with `async with`"):
                async with lib.attach(world.lease(), bot):
                    raise AssertionError
            with pytest.raises(InvalidRequestError, match="lease: must be a KeyLease, not FastKeyClient"):
                async with lib.attach(world.client, bot):  # type: ignore[arg-type]
                    raise AssertionError

    in_world(scene)


def test_a_lease_may_be_left_first() -> None:
    """Then there is no new key, and no complaint."""

    async def scene(world: World) -> None:
        lease = world.lease()
        await lease.__aenter__()
        async with world.sdk() as client, attach_kraken_sdk(lease, client):
            await lease.__aexit__(None, None, None)
        # So fast that nobody had begun to wait for a key yet.
        await lease.__aenter__()
        seen: list[FastApiKey] = []

        async def put(key: FastApiKey) -> None:
            seen.append(key)

        async with following(lease, put):
            keeper, lease._keeper = lease._keeper, None
            await asyncio.sleep(0)
            lease._keeper = keeper
        await lease.__aexit__(None, None, None)
        assert 1 == len(seen)

    in_world(scene)


def test_an_object_of_another_kind_is_refused() -> None:
    """What would hand the key to another exchange, or sign in another thread, gets none."""

    async def scene(world: World) -> None:
        synchronous, asynchronous = library("ccxt", "ccxt"), library("ccxt.async_support", "ccxt")
        spot, futures = (library(f"kraken.{kind}", "python-kraken-sdk") for kind in ("spot", "futures"))
        other, derivatives = asynchronous.binance(), futures.FuturesAsyncClient()
        cases: list[tuple[Any, Any, str]] = [
            (attach_ccxt, object(), "exchange: must be an exchange of ccxt, not object"),
            (attach_ccxt, other, r"exchange: must be Kraken's spot exchange: another one \(binance\)"),
            (attach_ccxt, synchronous.kraken(), "exchange: must be of ccxt.async_support or ccxt.pro"),
            (attach_kraken_sdk, object(), "client: must be a SpotAsyncClient of python-kraken-sdk, not object"),
            (attach_kraken_sdk, derivatives, r"client: must be a client for spot: .* \(FuturesAsyncClient\)"),
            (attach_kraken_sdk, spot.SpotClient(), "client: must be a SpotAsyncClient: the synchronous one"),
        ]
        async with world.lease() as lease:
            for attach, thing, fault in cases:
                with pytest.raises(InvalidRequestError, match=fault):
                    async with attach(lease, thing):
                        raise AssertionError
        await other.close()
        await derivatives.close()

    in_world(scene)


def test_ccxt_pro_asks_for_a_new_token_after_a_rotation() -> None:
    """The WebSocket token of the old key is not used for another subscription."""

    async def scene(world: World) -> None:
        async with world.lease() as lease, world.ccxt("ccxt.pro") as exchange, attach_ccxt(lease, exchange):
            first = await exchange.authenticate()
            assert first == await exchange.authenticate()
            await lease.renew()
            second = await exchange.authenticate()
            assert first != second == await exchange.authenticate()

    in_world(scene)


def test_a_token_that_is_under_way_in_a_rotation_is_used_once() -> None:
    """Who has asked for it gets it; the next one asks anew, with the new key."""

    async def scene(world: World) -> None:
        async with world.lease() as lease, world.ccxt("ccxt.pro") as exchange, attach_ccxt(lease, exchange):
            asked = exchange.privatePostGetWebSocketsToken
            answered, go_on = asyncio.Event(), asyncio.Event()

            async def slow(params: Any) -> Any:
                answer = await asked(params)
                answered.set()
                await go_on.wait()
                return answer

            exchange.privatePostGetWebSocketsToken = slow
            waiting = [asyncio.ensure_future(exchange.authenticate()) for _ in range(3)]
            await answered.wait()
            await lease.renew()
            late = asyncio.ensure_future(exchange.authenticate())
            await asyncio.sleep(0)
            go_on.set()
            tokens = set(await asyncio.gather(*waiting, late))
            assert 1 == len(tokens)
            assert None not in tokens
            assert await exchange.authenticate() not in tokens

    in_world(scene)


def test_what_fails_is_tried_again_and_tells_no_secret(caplog: pytest.LogCaptureFixture) -> None:
    """With the present key, even if that is another by then."""

    async def scene(world: World) -> None:
        seen: list[str] = []

        async def put(key: FastApiKey) -> None:
            seen.append(key.api_key_name)
            if len(seen) == 2:
                raise OSError(key.secret.get_secret_value())
            if len(seen) == 3:
                raise StoreError("the disk is full")

        async with world.lease() as lease, following(lease, put):
            secrets = [lease.key.secret.get_secret_value()]
            for _ in range(2):
                await lease.renew()
                secrets.append(lease.key.secret.get_secret_value())
            await asyncio.sleep(60)
            assert 4 == len(seen)
            assert 3 == len(set(seen))
            assert lease.key.api_key_name == seen[-1]
        logged = "\n".join(record.getMessage() for record in caplog.records)
        assert "could not be put in place: OSError\n" in logged
        assert "could not be put in place: StoreError: the disk is full" in logged
        assert [] == [secret for secret in secrets if secret in caplog.text]

    with caplog.at_level(logging.DEBUG):
        in_world(scene)
