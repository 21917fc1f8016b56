"""A sandbox and a client in virtual time, for the tests of leases: days pass at once, over real sockets."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any

from virtual_time import VirtualTimeLoop, run_virtually

from kraken_fastkey import CreateKeyRequest, FastKeyClient, KeyLease, Permissions, StaticTokenProvider
from kraken_fastkey.sandbox import KrakenSandbox

TEMPLATE = CreateKeyRequest(permissions=Permissions(funds_query=True))


class World:
    """A sandbox and a client in virtual time."""

    def __init__(self, loop: VirtualTimeLoop, sandbox: KrakenSandbox, client: FastKeyClient) -> None:
        self.loop = loop
        self.sandbox = sandbox
        self.client = client

    def lease(self, **options: Any) -> KeyLease:
        """Return a lease of the client."""
        return KeyLease(self.client, TEMPLATE, **options)

    @property
    def names(self) -> list[str]:
        """The names of the keys that are live."""
        return [key.api_key_name for key in self.sandbox.keys()]

    def count(self, operation: str) -> int:
        """Return how many requests of a kind have come."""
        return [request.operation for request in self.sandbox.requests].count(operation)


@asynccontextmanager
async def _open(loop: VirtualTimeLoop, **options: Any) -> AsyncIterator[World]:
    async with KrakenSandbox(clock=loop.wall_clock, **options) as sandbox:
        provider = StaticTokenProvider(sandbox.issue_token(expires_in=10**9))
        async with FastKeyClient(provider, base_url=sandbox.base_url, _runtime=loop.runtime()) as client:
            yield World(loop, sandbox, client)


def in_world(scene: Callable[[World], Coroutine[Any, Any, None]], **options: Any) -> None:
    """Play a scene."""

    async def main(loop: VirtualTimeLoop) -> None:
        async with _open(loop, **options) as world:
            await scene(world)

    run_virtually(main)
