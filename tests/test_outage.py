"""An outage of a minute with a thousand tasks waiting: the budget holds, and what comes after is no burst."""

from __future__ import annotations

import asyncio
import collections
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
from virtual_time import VirtualTimeLoop, run_virtually

from kraken_fastkey import CreateKeyRequest, FastApiKey, FastKeyClient, FastKeyError, RetryPolicy, StaticTokenProvider
from kraken_fastkey.sandbox import Answer, Disconnect, Fault, KrakenSandbox

TASKS = 1000
OUTAGE = 60.0
BUDGET = 50

Call = Callable[[FastKeyClient], Coroutine[Any, Any, object]]
CALLS: dict[str, Call] = {
    "list_keys": lambda client: client.list_keys(),
    "create_key": lambda client: client.create_key(CreateKeyRequest()),
}


@pytest.mark.parametrize(
    ("operation", "outage"),
    [
        ("list_keys", Disconnect()),
        ("create_key", Answer(503)),
        ("create_key", Disconnect()),
        ("create_key", Answer(429)),
    ],
    ids=["list_keys, dropped", "create_key, 503", "create_key, dropped", "create_key, 429"],
)
def test_a_retry_storm(operation: str, outage: Fault) -> None:
    """A thousand tasks that call again and again: first attempts are theirs, all beyond them is the budget's."""

    async def main(loop: VirtualTimeLoop) -> None:
        calls = 0
        keys = 0
        recovered: list[float] = []
        async with KrakenSandbox(clock=loop.wall_clock, max_keys=100_000) as sandbox:
            provider = StaticTokenProvider(sandbox.issue_token())
            async with FastKeyClient(
                provider, base_url=sandbox.base_url, retry=RetryPolicy(budget=BUDGET), _runtime=loop.runtime()
            ) as client:
                sandbox.faults.add(outage, times=None)

                async def bot(number: int) -> None:
                    nonlocal calls, keys
                    await asyncio.sleep(number * OUTAGE / TASKS)  # bots do not begin at the same moment
                    while True:
                        calls += 1
                        try:
                            result = await CALLS[operation](client)
                        except FastKeyError:
                            await asyncio.sleep(30)
                        else:
                            keys += isinstance(result, FastApiKey)
                            recovered.append(loop.time())
                            return

                bots = asyncio.gather(*(bot(number) for number in range(TASKS)))
                await asyncio.sleep(OUTAGE)
                during, asked = len(sandbox.requests), calls
                sandbox.faults.clear()
                await bots
                await asyncio.sleep(300)
                assert () == client.unsettled_keys
                assert keys == len(sandbox.keys())
                per_second = collections.Counter(int(moment) for moment in recovered)
        beyond = during - asked
        print(f"{asked} calls, {beyond} requests beyond them, at most {max(per_second.values())} recoveries a second")
        # Each second brings back a tenth of a retry; the first look at the list is not charged.
        assert beyond <= BUDGET + OUTAGE / 10 + 1
        assert min(recovered) - OUTAGE < 5
        assert max(recovered) - OUTAGE <= 31
        # The callers' own rhythm, 2 * 1,000 / 60 s, and the few retries that were waiting.
        assert max(per_second.values()) <= 2 * TASKS / OUTAGE + BUDGET

    run_virtually(main)


def test_a_thousand_tasks_that_wait_within_their_calls() -> None:
    """All in retries of one call each: they come back spread by their jitter, not at once."""

    async def main(loop: VirtualTimeLoop) -> None:
        async with KrakenSandbox(clock=loop.wall_clock) as sandbox:
            provider = StaticTokenProvider(sandbox.issue_token())
            policy = RetryPolicy(max_attempts=50, max_backoff=20, deadline=300, budget=100_000)
            async with FastKeyClient(
                provider, base_url=sandbox.base_url, retry=policy, _runtime=loop.runtime()
            ) as client:
                sandbox.faults.add(Answer(503), times=None)
                calls = asyncio.gather(*(client.list_keys() for _ in range(TASKS)))
                await asyncio.sleep(OUTAGE)
                sandbox.faults.clear()
                sandbox.requests.clear()
                arrivals: collections.Counter[int] = collections.Counter()
                while not calls.done():
                    before = len(sandbox.requests)
                    await asyncio.sleep(1)
                    arrivals[int(loop.time())] = len(sandbox.requests) - before
                await calls
        print(f"1,000 waiting calls came back within {len(arrivals)} s, at most {max(arrivals.values())} in one")
        assert len(arrivals) <= 21
        assert max(arrivals.values()) < 0.2 * TASKS

    run_virtually(main)
