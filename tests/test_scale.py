"""Many accounts, and many calls: what each takes, and that nothing grows."""

from __future__ import annotations

import asyncio
import gc
import random
import tracemalloc
from collections import Counter
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta

import pytest

from kraken_fastkey import (
    CreateKeyRequest,
    FastKeyClient,
    Grant,
    OAuthClient,
    Permissions,
    RefreshingTokenProvider,
    StaticTokenProvider,
)
from kraken_fastkey._runtime import Runtime
from kraken_fastkey._turns import Turns
from kraken_fastkey.sandbox import KrakenSandbox
from kraken_fastkey.stores import MemoryGrantStore

_SCOPES = ("account.fast-api-key:write", "account.fast-api-key:read", "account.fast-api-key:funds-query")


async def _bytes_of(build: Callable[[int], Awaitable[list[FastKeyClient]]], count: int) -> float:
    """Return the bytes that one of so many takes."""
    await build(1)
    gc.collect()
    tracemalloc.start()
    try:
        clients = await build(count)
        gc.collect()
        return tracemalloc.get_traced_memory()[0] / len(clients)
    finally:
        tracemalloc.stop()


async def test_an_account_takes_at_most_1024_bytes() -> None:
    """A client's view, its refreshing provider, and its stored grant with tokens of 64 characters, all of it new."""
    app = OAuthClient("app", redirect_uri="http://127.0.0.1/callback")
    expires_at = datetime.now(UTC) + timedelta(hours=4)
    chance = random.Random(7)  # noqa: S311  # repeatable on purpose

    async with FastKeyClient(StaticTokenProvider("token")) as client:

        async def build(count: int) -> list[FastKeyClient]:
            views: list[FastKeyClient] = []
            for _ in range(count):
                store = MemoryGrantStore()
                access, refresh = (f"{chance.getrandbits(256):064x}" for _ in range(2))
                await store.save(Grant(access, refresh, expires_at, _SCOPES))
                views.append(client.for_account(RefreshingTokenProvider(app, store)))
            return views

        few, many = await _bytes_of(build, 500), await _bytes_of(build, 5000)
    assert max(few, many) <= 1024
    assert many == pytest.approx(few, rel=0.05)


async def test_nothing_grows_with_the_number_of_calls(sandbox: KrakenSandbox) -> None:
    """After the first thousand, a thousand more creates and deletes, of names never used before, leave nothing."""
    async with FastKeyClient(StaticTokenProvider(sandbox.issue_token()), base_url=sandbox.base_url) as client:

        async def call(number: int) -> None:
            await client.create_key(CreateKeyRequest(f"bot-{number}", permissions=Permissions(funds_query=True)))
            await client.delete_key(f"bot-{number}")
            sandbox.requests.clear()

        numbers = iter(range(1_000_000))
        for _ in range(1100):
            await call(next(numbers))
        gc.collect()
        only_ours = (
            tracemalloc.Filter(True, "*/kraken_fastkey/_*"),
            tracemalloc.Filter(True, "*/kraken_fastkey/_wire/*"),
        )
        tracemalloc.start()
        try:
            for _ in range(1100):
                await call(next(numbers))
            gc.collect()
            before = tracemalloc.take_snapshot().filter_traces(only_ours)
            for _ in range(1100):
                await call(next(numbers))
            gc.collect()
            after = tracemalloc.take_snapshot().filter_traces(only_ours)
        finally:
            tracemalloc.stop()
    grown = sum(line.size_diff for line in after.compare_to(before, "filename"))
    assert 0 == pytest.approx(grown, abs=16 * 1024)


async def test_one_account_s_calls_do_not_keep_another_waiting(sandbox: KrakenSandbox) -> None:
    """With 1,000 tasks of one account that call again and again, another account's call has its turn soon."""
    async with FastKeyClient(StaticTokenProvider(sandbox.issue_token()), base_url=sandbox.base_url) as busy:
        other = busy.for_account(StaticTokenProvider(sandbox.issue_token()))
        done = 0

        async def call_again_and_again() -> None:
            nonlocal done
            while True:
                await busy.get_user_info()
                done += 1

        tasks = [asyncio.create_task(call_again_and_again()) for _ in range(1000)]
        while done < 100:
            await asyncio.sleep(0)
        before = done
        await other.get_user_info()
        waited = done - before
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
    # Those under way, one more in turn, and what others have done while it was under way itself.
    assert waited < 200


async def test_places_go_round_the_parties() -> None:
    """Each party has its turn, and within a party it is first come, first served; who gave up is passed over."""
    turns = Turns(1)
    order: list[str] = []

    async def go(name: str) -> None:
        await turns.take(name[0])
        order.append(name)
        await asyncio.sleep(0)
        turns.give_back()

    tasks = {name: asyncio.create_task(go(name)) for name in ("a1", "a2", "a3", "a4", "b1", "b2", "c1")}
    await asyncio.sleep(0)
    tasks["a3"].cancel()
    await asyncio.wait(tasks.values())
    assert ["a1", "a2", "b1", "c1", "b2", "a4"] == order
    assert turns.take_at_once()
    assert not turns.take_at_once()


async def test_a_place_that_comes_to_who_has_just_given_up_goes_on() -> None:
    """A cancellation in the moment in which the turn comes loses no place."""
    turns = Turns(1)
    assert turns.take_at_once()
    waiting = asyncio.create_task(turns.take("a"))
    await asyncio.sleep(0)
    turns.give_back()
    waiting.cancel()
    await asyncio.wait([waiting])
    assert waiting.cancelled()
    assert turns.take_at_once()


async def test_refreshes_of_many_accounts_are_spread_over_time(sandbox: KrakenSandbox) -> None:
    """A thousand grants of one age are not refreshed in one second: up to a fifth of five minutes lies between."""
    now = 1_800_000_000.0
    chance = random.Random(5)  # noqa: S311  # repeatable on purpose
    runtime = Runtime(time=lambda: now, monotonic=lambda: now, random=chance.random)
    app = OAuthClient("app", redirect_uri="http://127.0.0.1/callback", token_url=f"{sandbox.base_url}/token")
    issued = datetime.fromtimestamp(now, UTC)
    due: list[float] = []
    for _ in range(1000):
        store = MemoryGrantStore()
        await store.save(Grant("token", "refresh", issued + timedelta(hours=4), _SCOPES, issued_at=issued))
        provider = RefreshingTokenProvider(app, store, _runtime=runtime)
        await provider.get_token()
        due.append(provider._early - now)
    seconds = Counter(int(moment) for moment in due)
    assert 4 * 3600 - 300 <= min(due) < max(due) <= 4 * 3600 - 240
    assert max(seconds.values()) < 50
