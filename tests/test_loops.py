"""The library in each event loop, and in each way to run one: no warning, nothing left behind."""

from __future__ import annotations

import asyncio
import gc
import logging
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import pytest
from support import complaints_of_asyncio, missing

from kraken_fastkey import (
    ClientClosedError,
    CreateKeyRequest,
    FastKeyClient,
    KeyLease,
    OAuthClient,
    Permissions,
    RefreshingTokenProvider,
    StaticTokenProvider,
    UpdateKeyRequest,
    login,
)
from kraken_fastkey.sandbox import FAULTS, KrakenSandbox
from kraken_fastkey.stores import MemoryGrantStore
from kraken_fastkey.testing import KrakenClock

PERMISSIONS = Permissions(funds_query=True)


def _plain() -> asyncio.AbstractEventLoop:
    return asyncio.new_event_loop()


def _eager() -> asyncio.AbstractEventLoop:
    loop = asyncio.new_event_loop()
    factory = getattr(asyncio, "eager_task_factory", None)
    if factory is None:
        loop.close()
        pytest.skip("tasks begin eagerly from Python 3.12 on")
    loop.set_task_factory(factory)
    return loop


def _uvloop() -> asyncio.AbstractEventLoop:
    try:
        import uvloop  # noqa: PLC0415  # there is none for Windows
    except ModuleNotFoundError:
        missing("uvloop")
    loop: asyncio.AbstractEventLoop = uvloop.new_event_loop()
    return loop


LOOPS: dict[str, tuple[Callable[[], asyncio.AbstractEventLoop], bool]] = {
    "asyncio": (_plain, False),
    "asyncio, debug": (_plain, True),
    "eager tasks": (_eager, False),
    "eager tasks, debug": (_eager, True),
    "uvloop": (_uvloop, False),
    "uvloop, debug": (_uvloop, True),
}

Program = Callable[[KrakenSandbox, KrakenClock], Awaitable[None]]
Run = Callable[[Program], None]


@pytest.fixture(name="run", params=list(LOOPS.values()), ids=list(LOOPS))
def _run(request: pytest.FixtureRequest, caplog: pytest.LogCaptureFixture) -> Iterator[Run]:
    """Run programs against a sandbox in the same loop; in the end, there must have been nothing to complain of."""
    loop_factory, debug = request.param

    async def main(program: Program) -> None:
        clock = KrakenClock()
        with clock.running():
            async with KrakenSandbox(clock=clock.time) as sandbox:
                await program(sandbox, clock)
        assert {asyncio.current_task()} == asyncio.all_tasks()

    def run(program: Program) -> None:
        with asyncio.Runner(loop_factory=loop_factory, debug=debug) as runner:
            runner.run(main(program))

    with caplog.at_level("WARNING", "asyncio"):
        yield run
    gc.collect()  # what was left open warns when it is collected, which fails the test
    assert [] == complaints_of_asyncio(caplog.records)


def _client(sandbox: KrakenSandbox, **options: Any) -> FastKeyClient:
    return FastKeyClient(StaticTokenProvider(sandbox.issue_token()), base_url=sandbox.base_url, **options)


async def _until(condition: Callable[[], object]) -> None:
    while not condition():
        await asyncio.sleep(0.001)


def test_round_trip(run: Run) -> None:
    """Every method works, with a retry and a lost answer on the way."""

    async def program(sandbox: KrakenSandbox, _clock: KrakenClock) -> None:
        sandbox.faults.add(FAULTS["429_seconds"], operation="create_key")
        sandbox.faults.add(FAULTS["disconnect_committed"], operation="create_key")
        async with _client(sandbox) as client:
            key = await client.create_key(CreateKeyRequest(permissions=PERMISSIONS))
            assert [key.api_key] == [held.api_key for held in sandbox.keys()]
            await client.update_key(UpdateKeyRequest(key.api_key_name, new_api_key_name="renamed"))
            assert ["renamed"] == [info.api_key_name for info in await client.list_keys()]
            assert "sandbox@example.com" == (await client.get_user_info()).email
            await client.delete_key("renamed")
            await asyncio.gather(*(client.list_keys() for _ in range(50)))
        assert () == sandbox.keys()

    run(program)


def test_lease(run: Run) -> None:
    """A lease renews its key, tells who waits for it, and deletes it in the end."""

    async def program(sandbox: KrakenSandbox, clock: KrakenClock) -> None:
        token = sandbox.issue_token(expires_in=1e9)
        handed_over: list[str] = []
        async with FastKeyClient(StaticTokenProvider(token), base_url=sandbox.base_url) as client:

            async def use(lease: KeyLease) -> None:
                handed_over.extend([key.api_key async for key in lease.keys()])

            async with KeyLease(client, CreateKeyRequest(permissions=PERMISSIONS)) as lease:
                user = asyncio.create_task(use(lease))
                await clock.travel(hours=5)
                assert [lease.key.api_key] == [key.api_key for key in sandbox.keys()]
            await user
        assert 2 == len(set(handed_over))
        assert () == sandbox.keys()

    run(program)


def test_login_and_refresh(run: Run) -> None:
    """A login, and one refresh for a hundred callers, one of whom goes away."""

    async def program(sandbox: KrakenSandbox, _clock: KrakenClock) -> None:
        store = MemoryGrantStore()
        async with OAuthClient(
            sandbox.client_id,
            redirect_uri="http://127.0.0.1/callback",
            authorize_url=sandbox.authorize_url,
            token_url=sandbox.token_url,
        ) as oauth:
            await login(oauth, PERMISSIONS, store=store, open_browser=lambda _: False, ask=sandbox.approve)
            async with (
                RefreshingTokenProvider(oauth, store) as tokens,
                FastKeyClient(tokens, base_url=sandbox.base_url) as client,
            ):
                await client.list_keys()
                sandbox.expire_access_tokens()
                calls = [asyncio.create_task(client.list_keys()) for _ in range(100)]
                await _until(lambda: [request for request in sandbox.requests if request.status == 401])
                calls[0].cancel()
                results = await asyncio.gather(*calls, return_exceptions=True)
        assert [()] * 99 == results[1:]
        assert 2 == [request.operation for request in sandbox.requests].count("token")

    run(program)


def test_cancelled_create(run: Run) -> None:
    """A create that is cancelled while it is under way leaves no key, and counts as one cancellation."""

    async def program(sandbox: KrakenSandbox, _clock: KrakenClock) -> None:
        sandbox.faults.add(FAULTS["drip"], operation="create_key")
        async with _client(sandbox) as client:
            task = asyncio.create_task(client.create_key(CreateKeyRequest("grid-bot")))
            await _until(sandbox.keys)
            task.cancel()
            await asyncio.wait([task])
            assert task.cancelled()
        assert () == sandbox.keys()

    run(program)


def test_aclose_while_calls_are_under_way(run: Run) -> None:
    """Closing ends what is under way; what waits to try again is told so."""

    async def program(sandbox: KrakenSandbox, _clock: KrakenClock) -> None:
        sandbox.faults.add(FAULTS["hang_committed"], operation="create_key")
        client = _client(sandbox, close_timeout=0.05)
        task = asyncio.create_task(client.create_key(CreateKeyRequest("grid-bot")))
        await _until(lambda: sandbox.requests and sandbox.requests[0].body)
        await client.aclose()
        with pytest.raises(ClientClosedError):
            await client.list_keys()
        assert not isinstance((await asyncio.gather(task, return_exceptions=True))[0], asyncio.CancelledError)
        assert () == sandbox.keys()

    run(program)


def test_each_look_at_the_keys_is_a_new_one(run: Run) -> None:
    """What is looked at after a look is not what that look saw, however early its task begins."""

    async def program(sandbox: KrakenSandbox, _: KrakenClock) -> None:
        async with _client(sandbox) as client:
            seen = []
            for name in ("grid-bot", "trend-bot"):
                await client.create_key(CreateKeyRequest(name))
                seen.append(sorted((await client._janitor.look(None)).keys))
            assert [["grid-bot"], ["grid-bot", "trend-bot"]] == seen

    run(program)


async def _one_call(sandbox: KrakenSandbox) -> None:
    async with _client(sandbox) as client:
        await client.create_key(CreateKeyRequest("grid-bot"))
        await client.delete_key("grid-bot")


@pytest.mark.parametrize("times", [1, 3])
def test_asyncio_run(times: int) -> None:
    """`asyncio.run` as often as one likes, with a client in each."""

    async def main() -> None:
        async with KrakenSandbox() as sandbox:
            await _one_call(sandbox)

    for _ in range(times):
        asyncio.run(main(), debug=True)
    gc.collect()


def test_one_sandbox_over_several_runs_of_a_runner() -> None:
    """With `asyncio.Runner`, a client lives over several runs."""
    with asyncio.Runner() as runner:
        sandbox = KrakenSandbox()
        runner.run(sandbox.start())
        client = _client(sandbox)
        runner.run(client.create_key(CreateKeyRequest("grid-bot")))
        assert ["grid-bot"] == [info.api_key_name for info in runner.run(client.list_keys())]
        runner.run(client.aclose())
        runner.run(sandbox.aclose())
    gc.collect()


async def test_slow_machine_is_no_complaint(caplog: pytest.LogCaptureFixture) -> None:
    """A callback that takes a tenth of a second may be the machine's doing; what else asyncio says is ours."""
    with caplog.at_level("WARNING", "asyncio"):
        for seconds in (0.104, 2):
            logging.getLogger("asyncio").warning("Executing %s took %.3f seconds", "<Handle\nf()>", seconds)
        asyncio.get_running_loop().call_exception_handler({"message": "Task was destroyed but it is pending!"})
    said = complaints_of_asyncio(caplog.records)
    assert ["Executing <Handle\nf()> took 2.000 seconds", "Task was destroyed but it is pending!"] == said
