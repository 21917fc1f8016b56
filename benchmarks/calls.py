"""What a call costs: the client against the sandbox, both in this process, beside bare aiohttp doing the same.

    python benchmarks/calls.py [calls]

Prints the median of five runs each. Client and server share one event loop and one processor, so the figures say
what the client adds, not what Kraken's servers or the network take.
"""

import asyncio
import statistics
import sys
import time
from collections.abc import Awaitable, Callable

import aiohttp

from kraken_fastkey import CreateKeyRequest, FastKeyClient, Permissions, StaticTokenProvider
from kraken_fastkey.sandbox import KrakenSandbox

RUNS = 5
TASKS = 20


async def _time(calls: int, call: Callable[[int], Awaitable[object]]) -> float:
    numbers = iter(range(calls))

    async def work() -> None:
        for number in numbers:
            await call(number)

    started = time.perf_counter()
    await asyncio.gather(*(work() for _ in range(TASKS)))
    return (time.perf_counter() - started) / calls


async def _create_by_client(calls: int) -> float:
    async with KrakenSandbox(max_keys=calls) as sandbox:
        provider = StaticTokenProvider(sandbox.issue_token())
        async with FastKeyClient(provider, base_url=sandbox.base_url) as client:
            permissions = Permissions(funds_query=True)
            return await _time(
                calls, lambda n: client.create_key(CreateKeyRequest(f"bot-{n}", permissions=permissions))
            )


async def _create_by_aiohttp(calls: int) -> float:
    async with KrakenSandbox(max_keys=calls) as sandbox, aiohttp.ClientSession() as session:
        headers = {"Authorization": f"Bearer {sandbox.issue_token()}"}

        async def create(number: int) -> object:
            body = {"api_key_name": f"bot-{number}", "permissions": {"funds_query": True}}
            async with session.post(f"{sandbox.base_url}/fast-api-key", json=body, headers=headers) as response:
                return await response.json()

        return await _time(calls, create)


def main() -> None:
    """Measure, in turn, and print a table."""
    calls = int(sys.argv[1]) if len(sys.argv) > 1 else 1000
    subjects = {"FastKeyClient.create_key": _create_by_client, "bare aiohttp": _create_by_aiohttp}
    figures: dict[str, list[float]] = {name: [] for name in subjects}
    for _ in range(RUNS):
        for name, subject in subjects.items():
            figures[name].append(asyncio.run(subject(calls)))
    print(f"{calls} calls from {TASKS} tasks, {RUNS} runs; microseconds a call")
    print(f"{'':<26}{'min':>8}{'median':>8}{'max':>8}")
    for name, seconds in figures.items():
        low, middle, high = min(seconds), statistics.median(seconds), max(seconds)
        print(f"{name:<26}{low * 1e6:>8.0f}{middle * 1e6:>8.0f}{high * 1e6:>8.0f}")


if __name__ == "__main__":
    main()
