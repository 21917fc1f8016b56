"""The services of the page on web frameworks: how they end while a create is under way, and in which loop they run."""

from __future__ import annotations

import asyncio
import gc
import logging
import re
import types
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from support import complaints_of_asyncio, missing

from kraken_fastkey import StaticTokenProvider
from kraken_fastkey.sandbox import Drip, KrakenSandbox
from kraken_fastkey.testing import KrakenClock
from kraken_fastkey.testing._threaded import running_sandbox

try:
    import uvicorn
except ModuleNotFoundError:
    uvicorn = None  # type: ignore[assignment]

PAGE = Path(__file__).parent.parent / "docs" / "how-to" / "web-frameworks.md"
SLOW = Drip(40, 0.05)  # an answer that comes in a second, when its work has long been done


def module_of_page(name: str) -> Any:
    """Return a module that the page shows."""
    found = re.search(
        rf"^```python\n# {name}\.py\n(.*?)^```", PAGE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL
    )
    assert found is not None
    module = types.ModuleType(name)
    exec(compile(found[1], f"{PAGE}:{name}", "exec", dont_inherit=True), vars(module))  # noqa: S102  # our own page
    return module


@asynccontextmanager
async def serving_on_aiohttp(sandbox: KrakenSandbox) -> AsyncIterator[str]:
    """Run the page's service as `aiohttp.web.run_app` does, which gives requests no time at its end here."""
    app = module_of_page("aiohttp_service").make_app(StaticTokenProvider(sandbox.issue_token()), sandbox.base_url)
    runner = web.AppRunner(app, shutdown_timeout=0.01)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    await runner.cleanup()


@asynccontextmanager
async def serving_on_uvicorn(sandbox: KrakenSandbox) -> AsyncIterator[str]:
    """Run the page's service on uvicorn, which gives requests no time at its end here."""
    if uvicorn is None:
        missing("uvicorn")
    pytest.importorskip("fastapi")
    app = module_of_page("fastapi_service").make_app(StaticTokenProvider(sandbox.issue_token()), sandbox.base_url)
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_level="critical", timeout_graceful_shutdown=0))
    running = asyncio.create_task(server.serve())
    while not server.started:
        await asyncio.sleep(0.001)
    yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    server.should_exit = True
    await running


SERVERS = {"aiohttp": serving_on_aiohttp, "uvicorn": serving_on_uvicorn}
LOOPS = ["asyncio", "uvloop"]
Main = Callable[[], Any]


@pytest.fixture(name="sandbox")
def _sandbox() -> Iterator[KrakenSandbox]:
    clock = KrakenClock()
    with clock.running(), running_sandbox(clock, {}) as sandbox:
        yield sandbox


@pytest.fixture(name="run", params=LOOPS)
def _run(request: pytest.FixtureRequest, caplog: pytest.LogCaptureFixture) -> Iterator[Callable[[Main], None]]:
    """Run a coroutine in debug mode; in the end, asyncio must have had nothing to complain of."""
    loop_factory = None
    if request.param == "uvloop":
        try:
            import uvloop  # noqa: PLC0415  # there is none for Windows
        except ModuleNotFoundError:
            missing("uvloop")
        loop_factory = uvloop.new_event_loop

    def run(main: Main) -> None:
        with asyncio.Runner(loop_factory=loop_factory, debug=True) as runner:
            runner.run(main())

    with caplog.at_level(logging.WARNING, "asyncio"):
        yield run
    gc.collect()
    assert [] == complaints_of_asyncio(caplog.records, patience=5)


@pytest.mark.parametrize("serving", SERVERS.values(), ids=SERVERS)
def test_end_while_a_create_is_under_way_leaves_no_key(
    run: Callable[[Main], None], sandbox: KrakenSandbox, serving: Callable[[KrakenSandbox], Any]
) -> None:
    """A service that ends in the middle of a create has deleted that key, and its lease's, when it has ended."""

    async def main() -> None:
        async with aiohttp.ClientSession() as browser:
            async with serving(sandbox) as address:
                assert 1 == len(sandbox.keys())  # the lease's
                sandbox.faults.add(SLOW, operation="create_key")
                asked = asyncio.create_task(_post(browser, f"{address}/keys"))
                while len(sandbox.keys()) < 2:
                    await asyncio.sleep(0.001)
            assert () == sandbox.keys()
            assert await asked in {None, 500}

    run(main)


@pytest.mark.parametrize("serving", SERVERS.values(), ids=SERVERS)
def test_many_requests_at_once(
    run: Callable[[Main], None], sandbox: KrakenSandbox, serving: Callable[[KrakenSandbox], Any]
) -> None:
    """One client serves all requests; in the end the account holds their keys, and not the lease's."""

    async def main() -> None:
        async with aiohttp.ClientSession() as browser, serving(sandbox) as address:
            answers = await asyncio.gather(*(_post(browser, f"{address}/keys") for _ in range(60)))
        assert [201] * 60 == answers
        assert 60 == len(sandbox.keys())

    run(main)


async def _post(browser: aiohttp.ClientSession, address: str) -> int | None:
    try:
        async with browser.post(address) as answer:
            return answer.status
    except aiohttp.ClientError:
        return None  # cut off
