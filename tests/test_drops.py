"""The connection dropped at every byte of a create: each time one key in hand, or none anywhere."""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from collections.abc import AsyncIterator
from typing import Literal
from urllib.parse import urlsplit

import pytest
from virtual_time import VirtualTimeLoop, run_virtually

from kraken_fastkey import CreateKeyRequest, FastKeyClient, FastKeyError, Permissions, StaticTokenProvider
from kraken_fastkey.sandbox import KrakenSandbox

Direction = Literal["request", "answer"]


class CuttingProxy:
    """Passes bytes on between a client and the sandbox, and drops the next connection at a certain one."""

    def __init__(self, upstream: str) -> None:
        parts = urlsplit(upstream)
        assert parts.hostname is not None
        assert parts.port is not None
        self._upstream = (parts.hostname, parts.port)
        self.cut: tuple[Direction, int] | None = None
        self.passed: Counter[Direction] = Counter()
        self.base_url = ""
        self._tasks: set[asyncio.Task[None]] = set()

    @contextlib.asynccontextmanager
    async def listening(self) -> AsyncIterator[CuttingProxy]:
        """Listen on a free port of loopback."""
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.base_url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/oauth"
        async with server:
            yield self
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        cut, self.cut = self.cut, None
        self.passed.clear()
        upstream_reader, upstream_writer = await asyncio.open_connection(*self._upstream)
        both = (writer, upstream_writer)
        ways = (
            self._pass("request", reader, upstream_writer, both, cut),
            self._pass("answer", upstream_reader, writer, both, cut),
        )
        with contextlib.suppress(OSError):
            await asyncio.gather(*ways)
        for side in both:
            side.close()

    async def _pass(
        self,
        direction: Direction,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        both: tuple[asyncio.StreamWriter, asyncio.StreamWriter],
        cut: tuple[Direction, int] | None,
    ) -> None:
        limit = cut[1] if cut is not None and cut[0] == direction else None
        if limit == 0:
            self._drop(both)
        while data := await reader.read(65_536):
            if limit is not None:
                data = data[: limit - self.passed[direction]]
            self.passed[direction] += len(data)
            writer.write(data)
            await writer.drain()
            if self.passed[direction] == limit:
                self._drop(both)
        writer.close()

    def _drop(self, both: tuple[asyncio.StreamWriter, asyncio.StreamWriter]) -> None:
        for side in both:
            # What was passed on goes out first.
            side.close()


REQUEST = CreateKeyRequest("grid-bot", permissions=Permissions(funds_query=True), ip_allowlist=["203.0.113.0/24"])


async def _create(
    loop: VirtualTimeLoop, proxy: CuttingProxy, sandbox: KrakenSandbox, request: CreateKeyRequest
) -> tuple[str, list[str]]:
    """Create a key, and return how that ended, and what the books say is wrong."""
    provider = StaticTokenProvider(sandbox.issue_token())
    held = {}
    async with FastKeyClient(provider, base_url=proxy.base_url, _runtime=loop.runtime()) as client:
        try:
            key = await client.create_key(request)
        except FastKeyError as error:
            ended = type(error).__name__
        else:
            ended = "a key"
            held[key.api_key_name] = (key.api_key, key.secret.get_secret_value())
    live = {key.api_key_name: (key.api_key, key.secret) for key in sandbox.keys()}
    faults = [] if held == live else [f"held {sorted(held)}, live {sorted(live)}"]
    async with FastKeyClient(provider, base_url=sandbox.base_url, _runtime=loop.runtime()) as client:
        for name in live:
            await client.delete_key(name)
    return ended, faults


@pytest.mark.parametrize("named", [True, False], ids=["own name", "generated name"])
def test_a_connection_dropped_at_every_byte(*, named: bool) -> None:
    """Whatever was sent, and whatever came back: one key and its secret in hand, or no key and a typed error."""

    async def main(loop: VirtualTimeLoop) -> None:
        endings: Counter[str] = Counter()
        faults: list[str] = []
        async with KrakenSandbox(clock=loop.wall_clock, seed=1) as sandbox:
            async with CuttingProxy(sandbox.base_url).listening() as proxy:
                assert ("a key", []) == await _create(loop, proxy, sandbox, REQUEST)
                lengths = dict(proxy.passed)
                for direction in ("request", "answer"):
                    for offset in range(lengths[direction] + 1):
                        request = REQUEST if named else CreateKeyRequest(permissions=REQUEST.permissions)
                        proxy.cut = (direction, offset)
                        ended, wrong = await _create(loop, proxy, sandbox, request)
                        endings[ended] += 1
                        faults += [f"{direction} dropped at byte {offset}: {fault}" for fault in wrong]
        print(f"{lengths['request']} bytes of request, {lengths['answer']} of answer: {dict(endings)}")
        assert [] == faults
        assert lengths["request"] > 300
        assert lengths["answer"] > 600

    run_virtually(main)
