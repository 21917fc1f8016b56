"""A bot in a process of its own, that lives in a time which its parent tells: run by tests, one JSON argument.

It begins at the time that the first line on stdin says, and runs while it has anything to do. When nothing is left
but to wait, it says on stdout until when (`null`: for ever) and which key its lease hands out (`null`: none), and waits
for another line: the time, with "leave" before it if it is to leave the lease.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import selectors
import sys
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import aiohttp
from virtual_time import VirtualTimeLoop, _JumpingSelector

from kraken_fastkey import CreateKeyRequest, FastKeyClient, FastKeyError, KeyLease, Permissions, StaticTokenProvider
from kraken_fastkey._transport import AiohttpTransport
from kraken_fastkey.stores import FileKeyStore

LIFETIME = timedelta(hours=6)
DAY = 24 * 3600


class _ToldSelector(_JumpingSelector):
    """Waits for sockets as long as a request is under way; else asks for the time."""

    is_busy: Callable[[], bool]
    ask: Callable[[float | None], float]

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        """Return what is ready."""
        events = selectors.DefaultSelector.select(self, 0)
        if events or (timeout is not None and timeout <= 0):
            return events
        if self.is_busy():
            return selectors.DefaultSelector.select(self, None)  # in no time: the clock stands
        self.now = self.ask(None if timeout is None else self.now + timeout)
        return selectors.DefaultSelector.select(self, 0)


class ToldLoop(VirtualTimeLoop):
    """An event loop whose time is told."""

    def __init__(self) -> None:
        self._told = self._clock = _ToldSelector()
        self._told.is_busy = lambda: bool(self.requests_under_way())
        asyncio.SelectorEventLoop.__init__(self, self._clock)
        self._clock_resolution = 1e-6  # a sum of two times is not exact
        self.requests_under_way: Callable[[], int] = int

    def set_time(self, now: float, ask: Callable[[float | None], float]) -> None:
        """Begin at a time, and go on as `ask` says."""
        self._told.now = now
        self._told.ask = ask

    def run_in_executor(self, executor: Any, func: Callable[..., Any], *args: Any) -> Any:  # type: ignore[override]
        """Run a function here and now: what the file store does takes less time than a thread does."""
        del executor
        future = self.create_future()
        try:
            future.set_result(func(*args))
        except Exception as error:  # noqa: BLE001  # it is raised where the future is awaited
            future.set_exception(error)
        return future


class Traffic:
    """Counts the requests that are under way: those of the client, and those that try a new key."""

    def __init__(self) -> None:
        self.under_way = 0
        send = AiohttpTransport.send

        async def counted(transport: AiohttpTransport, *args: Any, **options: Any) -> Any:
            self.under_way += 1
            try:
                return await send(transport, *args, **options)
            finally:
                self.under_way -= 1

        AiohttpTransport.send = counted  # type: ignore[method-assign, assignment]


class Bot:
    """Has a lease until it is told to leave it."""

    def __init__(self, settings: dict[str, Any], loop: ToldLoop) -> None:
        self._settings = settings
        self._loop = loop
        self._lease: KeyLease | None = None
        self._told_to_leave = asyncio.Event()
        loop.set_time(settings["now"], self._ask)

    def _ask(self, until: float | None) -> float:
        lease = self._lease
        has_key = lease is not None and lease.health.state in {"valid", "failing"}
        report = {
            "until": until,
            "key": lease.key.api_key_name if lease is not None and has_key else None,
            "entered": lease is not None,
        }
        print(json.dumps(report), flush=True)
        line = sys.stdin.readline()
        if not line:
            os._exit(1)  # the parent is gone
        word, _, now = line.rpartition(" ")
        if word == "leave":
            self._loop.call_soon(self._told_to_leave.set)
        return float(now)

    async def run(self) -> None:
        """Enter the lease, again and again if it fails, and stay in it."""
        runtime = self._loop.runtime(self._settings["seed"])
        store = FileKeyStore(self._settings["place"], encryption_key=None, _runtime=runtime)
        template = CreateKeyRequest(permissions=Permissions(funds_query=True))
        provider = StaticTokenProvider(self._settings["token"])
        url = self._settings["base_url"]
        # Else aiohttp looks each 15 seconds for connections that are idle, by a clock that hardly moves here.
        connector = aiohttp.TCPConnector(keepalive_timeout=DAY)
        async with (
            aiohttp.ClientSession(connector=connector) as session,
            FastKeyClient(provider, base_url=url, session=session, _runtime=runtime) as client,
        ):
            traffic = Traffic()
            self._loop.requests_under_way = lambda: traffic.under_way
            while not self._told_to_leave.is_set():
                try:
                    async with KeyLease(client, template, LIFETIME, store=store) as lease:
                        self._lease = lease
                        await self._told_to_leave.wait()
                except FastKeyError as error:
                    print(f"the bot cannot start yet: {error!r}", file=sys.stderr)
                    await asyncio.sleep(60)
                finally:
                    self._lease = None


def main() -> None:
    """Do what the argument says."""
    settings = json.loads(sys.argv[1])
    logging.getLogger("kraken_fastkey").addHandler(logging.NullHandler())
    first = sys.stdin.readline()
    if not first:
        return  # a spare process that was not needed

    async def run(loop: ToldLoop) -> None:
        await Bot(settings | {"now": float(first)}, loop).run()

    with asyncio.Runner(loop_factory=ToldLoop) as runner:
        loop = runner.get_loop()
        assert isinstance(loop, ToldLoop)
        runner.run(run(loop))


if __name__ == "__main__":
    main()
