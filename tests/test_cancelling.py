"""Callers that go away: at every await point, by every means. In the end nobody's key is live."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import gc
import logging
from collections import Counter
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

import pytest
from stepping import Stepper
from support import FakeTime
from virtual_time import VirtualTimeLoop, run_virtually

from kraken_fastkey import (
    ClientClosedError,
    CreateKeyRequest,
    FastApiKey,
    FastKeyClient,
    FastKeyError,
    Permissions,
    RetryPolicy,
    StaticTokenProvider,
    TransportError,
    UnknownOutcomeError,
    UpdateKeyRequest,
)
from kraken_fastkey._account import Account
from kraken_fastkey.sandbox import Answer, Disconnect, Drip, Fault, Hang, KrakenSandbox, LateCommit, Truncate

SCOPES = ["account.fast-api-key:write", "account.fast-api-key:funds-query"]  # and none to list keys
MakeClient = Callable[..., FastKeyClient]
MakeRequest = Callable[[], CreateKeyRequest]

FAULTS: dict[str, Fault | None] = {
    "no fault": None,
    "answer lost": Disconnect(commit=True),
    "request lost": Disconnect(),
    "answer cut off": Truncate(5),
    "502": Answer(502, commit=True),
    "429": Answer(429, headers={"Retry-After": "1"}),
    "no answer": Hang(commit=True),
    "late": LateCommit(3),
}
REQUESTS: dict[str, MakeRequest] = {
    "own name": lambda: CreateKeyRequest("grid-bot", permissions=Permissions(funds_query=True)),
    "generated name": lambda: CreateKeyRequest(permissions=Permissions(funds_query=True)),
}


def _each(table: dict[str, Any]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("case", table.values(), ids=table.keys())


def _client_of(
    loop: VirtualTimeLoop, sandbox: KrakenSandbox, *, scopes: list[str] | None = None, **options: Any
) -> FastKeyClient:
    provider = StaticTokenProvider(sandbox.issue_token(scopes=scopes))
    return FastKeyClient(provider, base_url=sandbox.base_url, _runtime=loop.runtime(), **options)


async def _pass(steps: int) -> None:
    """Let the loop take so many steps."""
    for _ in range(steps):
        await asyncio.sleep(0)


def _commits(fault: Fault | None) -> bool:
    return fault is None or isinstance(fault, LateCommit) or bool(getattr(fault, "commit", False))


class Bench:
    """A sandbox, a client, and a caller to be cancelled, in a time of their own."""

    def __init__(self, loop: VirtualTimeLoop, watched: str) -> None:
        self.loop = loop
        self.stepper = Stepper(watched)
        self.stepper.install(loop)
        self.sandbox = KrakenSandbox(clock=loop.wall_clock, seed=1)
        self.points = 0

    def client(self, **options: Any) -> FastKeyClient:
        """Return a client that lives in virtual time."""
        provider = StaticTokenProvider(self.sandbox.issue_token())
        settings: dict[str, Any] = {"base_url": self.sandbox.base_url, "_runtime": self.loop.runtime()} | options
        return FastKeyClient(provider, **settings)

    async def cancel_at(self, point: int, call: Callable[[FastKeyClient], Awaitable[Any]], fault: Fault | None) -> Any:
        """Run a call, cancel its caller at an await point of the work, close; return how it ended."""
        client = self.client()
        if fault is not None:
            self.sandbox.faults.add(fault)

        async def caller() -> Any:
            return await call(client)

        task: asyncio.Task[Any] = asyncio.ensure_future(caller())
        self.stepper.arm(point, task.cancel)
        with contextlib.suppress(asyncio.CancelledError):
            try:
                return await task
            except FastKeyError as error:
                return error
            finally:
                self.points = self.stepper.points
                self.sandbox.faults.clear()
                await client.aclose()
                await asyncio.sleep(5)  # late work falls due
        return None

    async def empty(self) -> None:
        """Delete all keys."""
        async with self.client() as client:
            for key in self.sandbox.keys():
                await client.delete_key(key.api_key_name)


@pytest.mark.parametrize("make_request", REQUESTS.values(), ids=REQUESTS.keys())
@_each(FAULTS)
def test_a_create_cancelled_at_every_await_point(case: Fault | None, make_request: MakeRequest) -> None:
    """Wherever the caller goes away, and whatever befalls the request: no key is left that nobody holds."""

    async def main(loop: VirtualTimeLoop) -> None:
        bench = Bench(loop, "Creation.run")
        endings: Counter[str] = Counter()
        async with bench.sandbox:
            point = 0
            while True:
                point += 1
                held = await bench.cancel_at(point, lambda client: client.create_key(make_request()), case)
                live = [key.api_key_name for key in bench.sandbox.keys()]
                assert live == ([held.api_key_name] if isinstance(held, FastApiKey) else []), f"await point {point}"
                endings["nothing" if held is None else type(held).__name__] += 1
                await bench.empty()
                if bench.points < point:
                    break
        print(f"{point - 1} await points: {dict(endings)}")
        assert endings["nothing"] >= min(point - 1, 4)

    run_virtually(main)


@_each(FAULTS)
def test_a_delete_cancelled_at_every_await_point(case: Fault | None) -> None:
    """The key is there or gone, and what the sandbox was told is done: nothing half-way, no other key touched."""

    async def main(loop: VirtualTimeLoop) -> None:
        bench = Bench(loop, "Deletion.run")
        left: Counter[int] = Counter()
        async with bench.sandbox:
            point = 0
            while True:
                point += 1
                async with bench.client() as client:
                    await client.create_key(CreateKeyRequest("grid-bot"))
                    other = await client.create_key(CreateKeyRequest("trend-bot"))
                bench.sandbox.requests.clear()
                await bench.cancel_at(point, lambda client: client.delete_key("grid-bot"), case)
                names = [key.api_key_name for key in bench.sandbox.keys()]
                assert other.api_key_name in names
                done = any(request.status == 200 for request in bench.sandbox.requests)
                # What has left is brought to its end; what was refused or lost is not sent any more.
                assert (1 if done or (bench.sandbox.requests and _commits(case)) else 2) == len(names)
                left[len(names)] += 1
                await bench.empty()
                if bench.points < point:
                    break
        print(f"{point - 1} await points: keys left {dict(left)}")
        assert {1, 2} == set(left)

    run_virtually(main)


@_each(FAULTS)
def test_an_update_cancelled_at_every_await_point(case: Fault | None) -> None:
    """A rename is made or not: there is always exactly one key, under one of its names, with its secret."""

    async def main(loop: VirtualTimeLoop) -> None:
        bench = Bench(loop, "Change.run")
        names: Counter[str] = Counter()
        async with bench.sandbox:
            point = 0
            while True:
                point += 1
                async with bench.client() as client:
                    key = await client.create_key(CreateKeyRequest("grid-bot"))
                update = UpdateKeyRequest("grid-bot", new_api_key_name="trend-bot", nonce_window=7)
                await bench.cancel_at(point, functools.partial(FastKeyClient.update_key, request=update), case)
                (live,) = bench.sandbox.keys()
                assert (key.api_key, key.secret.get_secret_value()) == (live.api_key, live.secret)
                assert live.nonce_window == (7 if live.api_key_name == "trend-bot" else 0)
                names[live.api_key_name] += 1
                await bench.empty()
                if bench.points < point:
                    break
        print(f"{point - 1} await points: {dict(names)}")
        assert {"grid-bot", "trend-bot"} == set(names)

    run_virtually(main)


CLOSING: dict[str, Fault | None] = {
    "answer slow": Hang(),
    "answer lost": Disconnect(commit=True),
    "request lost": Disconnect(),
    "late": LateCommit(3),
    "no fault": None,
}


@pytest.mark.parametrize("make_request", REQUESTS.values(), ids=REQUESTS.keys())
@_each(CLOSING)
def test_an_aclose_cancelled_at_every_await_point(case: Fault | None, make_request: MakeRequest) -> None:
    """Cancelling aclose() does not stop it: what a cancelled create has left is cleared up all the same."""

    async def main(loop: VirtualTimeLoop) -> None:
        bench = Bench(loop, "FastKeyClient._close")
        async with bench.sandbox:
            point = 0
            while True:
                point += 1
                client = bench.client()
                if case is not None:
                    bench.sandbox.faults.add(case)
                create = asyncio.ensure_future(client.create_key(make_request()))
                while not bench.sandbox.requests:
                    await asyncio.sleep(0)
                bench.sandbox.requests.clear()
                create.cancel()
                closing = asyncio.ensure_future(client.aclose())
                bench.stepper.arm(point, closing.cancel)
                await asyncio.wait({closing, create})
                await asyncio.sleep(20)
                if not (isinstance(case, Hang) and client.unsettled_keys):
                    assert () == bench.sandbox.keys(), f"await point {point}"
                assert bench.sandbox.open_connections == 0
                if bench.stepper.points < point:
                    break
        print(f"{point - 1} await points")
        assert point > 1

    run_virtually(main)


@pytest.mark.parametrize("make_request", REQUESTS.values(), ids=REQUESTS.keys())
def test_a_create_cancelled_after_every_step_of_the_loop(make_request: MakeRequest) -> None:
    """Between two await points much happens elsewhere, in the sockets and at the server: cancelled then, too."""

    async def main(loop: VirtualTimeLoop) -> None:
        held = 0
        async with KrakenSandbox(clock=loop.wall_clock) as sandbox:
            for steps in range(120):
                provider = StaticTokenProvider(sandbox.issue_token())
                async with FastKeyClient(provider, base_url=sandbox.base_url, _runtime=loop.runtime()) as client:
                    task = asyncio.ensure_future(client.create_key(make_request()))
                    await _pass(steps)
                    task.cancel()
                    await asyncio.wait({task})
                names = [key.api_key_name for key in sandbox.keys()]
                assert ([] if task.cancelled() else [task.result().api_key_name]) == names, f"after {steps} steps"
                held += len(names)
                async with FastKeyClient(provider, base_url=sandbox.base_url, _runtime=loop.runtime()) as client:
                    for name in names:
                        await client.delete_key(name)
        print(f"120 cancelled, {held} of them too late")
        assert 0 < held < 110

    run_virtually(main)


async def _time_out(call: Coroutine[Any, Any, object]) -> None:
    async with asyncio.timeout(5):
        await call


async def _wait_for(call: Coroutine[Any, Any, object]) -> None:
    await asyncio.wait_for(call, 5)


async def _beside_one_that_fails(call: Coroutine[Any, Any, object]) -> None:
    async def fail() -> None:
        await asyncio.sleep(5)
        raise LookupError

    async with asyncio.TaskGroup() as group:
        group.create_task(call)
        group.create_task(fail())


GIVING_UP = {"timeout": _time_out, "wait_for": _wait_for, "task group": _beside_one_that_fails}


@pytest.mark.parametrize("make_request", REQUESTS.values(), ids=REQUESTS.keys())
@pytest.mark.parametrize("way", GIVING_UP)
def test_other_ways_to_give_up(way: str, make_request: MakeRequest) -> None:
    """A timeout, and a sibling that fails, are cancellations like any other."""

    async def main(loop: VirtualTimeLoop) -> None:
        async with KrakenSandbox(clock=loop.wall_clock) as sandbox:
            async with _client_of(loop, sandbox) as client:
                sandbox.faults.add(Hang(commit=True), operation="create_key")
                with pytest.raises((TimeoutError, BaseExceptionGroup)):
                    await GIVING_UP[way](client.create_key(make_request()))
                assert 1 == len(sandbox.keys())
                await asyncio.sleep(150)
                assert () == sandbox.keys()
                assert () == client.unsettled_keys

    run_virtually(main)


@pytest.mark.parametrize("make_request", REQUESTS.values(), ids=REQUESTS.keys())
def test_a_coroutine_that_is_forgotten_leaves_no_key(make_request: MakeRequest) -> None:
    """A caller that is garbage-collected at its await is a caller that has gone away."""

    async def main(loop: VirtualTimeLoop) -> None:
        async with KrakenSandbox(clock=loop.wall_clock) as sandbox:
            async with _client_of(loop, sandbox) as client:
                call = client.create_key(make_request())
                call.send(None)
                while not sandbox.requests:
                    await asyncio.sleep(0)
                del call
                gc.collect()
            assert () == sandbox.keys()
            assert ["create_key", "delete_key"] == [request.operation for request in sandbox.requests]

    run_virtually(main)


@pytest.mark.parametrize("make_request", REQUESTS.values(), ids=REQUESTS.keys())
@pytest.mark.parametrize("fault", [None, Hang(commit=True)], ids=["fast answer", "no answer"])
def test_a_loop_that_ends_without_aclose(
    fault: Fault | None, make_request: MakeRequest, caplog: pytest.LogCaptureFixture
) -> None:
    """asyncio.run cancels every task at its end: what has been sent is cleared up even then."""
    seen: list[KrakenSandbox] = []

    async def main(loop: VirtualTimeLoop) -> None:
        sandbox = KrakenSandbox(clock=loop.wall_clock)
        seen.append(sandbox)
        await sandbox.start()
        client = _client_of(loop, sandbox)
        loop.client = client  # type: ignore[attr-defined]  # kept, so that its warning does not come here
        if fault is not None:
            sandbox.faults.add(fault, operation="create_key")
        task = asyncio.ensure_future(client.create_key(make_request()))
        while not sandbox.keys():
            await asyncio.sleep(0)
        assert not task.done()

    caplog.set_level(logging.INFO)
    with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
        loop = runner.get_loop()
        assert isinstance(loop, VirtualTimeLoop)
        runner.run(main(loop))
        client: FastKeyClient = loop.client  # type: ignore[attr-defined]  # put there above
        (sandbox,) = seen
        # In the loop's last steps, as asyncio.run does them.
        for task in asyncio.all_tasks(loop):
            if "handle" not in repr(task) and "RequestHandler" not in repr(task):
                task.cancel()
        loop.run_until_complete(asyncio.sleep(5))
        assert () == sandbox.keys()
        loop.run_until_complete(client.aclose())
        loop.run_until_complete(sandbox.aclose())


async def test_a_cancelled_caller_gets_its_own_cancellation(client: FastKeyClient, sandbox: KrakenSandbox) -> None:
    """The message of a cancellation comes through."""
    task = asyncio.ensure_future(client.create_key(CreateKeyRequest()))
    while not sandbox.requests:
        await asyncio.sleep(0)
    task.cancel("enough")
    with pytest.raises(asyncio.CancelledError, match="enough"):
        await task


async def test_a_call_that_waits_for_its_turn_can_be_cancelled(client: FastKeyClient, sandbox: KrakenSandbox) -> None:
    """Calls on one name run one after the other; one that gives up its place is passed over."""
    sandbox.faults.add(Answer(429), operation="create_key")
    calls: list[asyncio.Task[Any]] = [asyncio.ensure_future(client.create_key(CreateKeyRequest("grid-bot")))]
    calls += [asyncio.ensure_future(client.delete_key("grid-bot")) for _ in range(3)]
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    calls[1].cancel()
    results = await asyncio.gather(*calls, return_exceptions=True)
    assert [FastApiKey, asyncio.CancelledError, type(None), "KeyNotFoundError"] == [
        type(result) if index < 3 else type(result).__name__ for index, result in enumerate(results)
    ]
    assert () == sandbox.keys()


async def test_a_call_cut_off_by_closing_says_so(make_client: MakeClient, sandbox: KrakenSandbox) -> None:
    """What does not end within close_timeout: its caller is told by a typed error, and by name if a key is in doubt."""
    client = make_client(close_timeout=0.01)
    sandbox.faults.add(Hang(), times=None)
    calls = [
        asyncio.ensure_future(client.create_key(CreateKeyRequest("grid-bot"))),
        asyncio.ensure_future(client.update_key(UpdateKeyRequest("trend-bot", nonce_window=1))),
        asyncio.ensure_future(client.delete_key("dca-bot")),
    ]
    while len(sandbox.requests) < 3:
        await asyncio.sleep(0)
    await client.aclose()
    create, update, delete = await asyncio.gather(*calls, return_exceptions=True)
    assert isinstance(create, UnknownOutcomeError)
    assert "grid-bot" == create.api_key_name
    assert isinstance(update, ClientClosedError)
    assert isinstance(delete, ClientClosedError)
    assert ("unknown", "update_key") == (update.outcome, update.operation)
    assert ("unknown", "delete_key") == (delete.outcome, delete.operation)
    assert ("grid-bot",) == client.unsettled_keys


async def test_closing_tells_what_could_not_be_made_sure_of(
    make_client: MakeClient, sandbox: KrakenSandbox, fake_time: FakeTime, caplog: pytest.LogCaptureFixture
) -> None:
    """The names are in the log, and in unsettled_keys."""
    del fake_time
    client = make_client(close_timeout=0.01)
    sandbox.faults.add(Answer(503, commit=True), operation="create_key")
    sandbox.faults.add(Hang(), operation="delete_key", times=None)
    call = asyncio.ensure_future(client.create_key(CreateKeyRequest()))
    while not sandbox.keys():
        await asyncio.sleep(0)
    call.cancel()
    await client.aclose()
    (key,) = sandbox.keys()
    assert (key.api_key_name,) == client.unsettled_keys
    assert f"the key {key.api_key_name!r} may exist though nobody holds it: if list_keys() shows it" in caplog.text
    assert "closing cut off what was under way after 0.01 s" in caplog.text


async def test_a_view_s_closing_waits_for_its_own_work_alone(make_client: MakeClient, sandbox: KrakenSandbox) -> None:
    """An account's client clears up what is its own, and the others' work goes on."""
    client = make_client(close_timeout=0.1)
    view = client.for_account(StaticTokenProvider(sandbox.issue_token()))
    sandbox.faults.add(Hang(), operation="delete_key")
    hanging = asyncio.ensure_future(client.delete_key("grid-bot"))
    while not sandbox.requests:
        await asyncio.sleep(0)
    create = asyncio.ensure_future(view.create_key(CreateKeyRequest()))
    while not sandbox.keys():
        await asyncio.sleep(0)
    create.cancel()
    await view.aclose()
    assert () == sandbox.keys()
    assert not hanging.done()
    with pytest.raises(ClientClosedError):
        await view.create_key(CreateKeyRequest())
    hanging.cancel()
    await asyncio.wait({hanging})


async def test_turns_that_are_given_up_are_passed_over() -> None:
    """Two who wait for a name give up in the very step in which it comes free."""
    account = Account(StaticTokenProvider("FAKE"))
    order: list[str] = []

    async def work(name: str) -> None:
        async with account.turns.hold("grid-bot"):
            order.append(name)
            await asyncio.sleep(0)

    tasks = [asyncio.create_task(work(name)) for name in "abcd"]
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    for task in tasks[:3]:
        task.cancel()
    await asyncio.wait(tasks)
    assert ["a", "d"] == order
    assert {} == account.turns._waiting


def test_a_turn_that_comes_at_the_deadline_is_not_lost() -> None:
    """The name comes free in the very step in which the time to wait for it is over."""

    async def main(loop: VirtualTimeLoop) -> None:
        account = Account(StaticTokenProvider("FAKE"))
        assert account.turns.take_at_once("grid-bot")

        async def use() -> None:
            async with account.turns.hold("grid-bot", within=10):
                pass

        second = asyncio.create_task(use())
        loop.call_at(10 - 1e-10, account.turns.give_back, "grid-bot")
        await second
        assert {} == account.turns._waiting

    run_virtually(main)


def test_turns_with_two_names_take_no_longer_than_one() -> None:
    """One bound is for both: what the first one's turn has taken is not there for the second one's."""

    async def main(loop: VirtualTimeLoop) -> None:
        account = Account(StaticTokenProvider("FAKE"))
        for name in ("grid-bot", "new-bot"):
            assert account.turns.take_at_once(name)
        loop.call_at(9, account.turns.give_back, "grid-bot")
        with pytest.raises(TransportError, match="an earlier call on the key 'new-bot' is under way"):
            await account.turns.hold("grid-bot", "new-bot", within=10).__aenter__()
        assert 10 == pytest.approx(loop.time(), abs=0.01)
        account.turns.give_back("new-bot")
        assert {} == account.turns._waiting

    run_virtually(main)


def test_no_task_outlives_aclose() -> None:
    """What is cut off has one try to clear up, and no wait."""

    async def main(loop: VirtualTimeLoop) -> None:
        async with KrakenSandbox(clock=loop.wall_clock) as sandbox:
            client = _client_of(loop, sandbox)
            sandbox.faults.add(Hang(commit=True), operation="create_key")
            sandbox.faults.add(Answer(429, headers={"Retry-After": "7"}), operation="delete_key")
            call = asyncio.create_task(client.create_key(CreateKeyRequest()))
            await asyncio.sleep(1)
            before = loop.time()
            await client.aclose()
            assert loop.time() - before <= 12
            assert not [task for task in asyncio.all_tasks() if "Creation" in repr(task)]
            with pytest.raises(UnknownOutcomeError) as caught:
                await call
            assert [caught.value.api_key_name] == list(client.unsettled_keys)

    run_virtually(main)


def test_no_watch_that_begins_at_the_cut_off_outlives_aclose() -> None:
    """Cut off, a create finds another's key under its name, and begins to watch for its own: that is ended, too."""

    async def main(loop: VirtualTimeLoop) -> None:
        async with KrakenSandbox(clock=loop.wall_clock) as sandbox:
            provider = StaticTokenProvider(sandbox.issue_token())
            async with FastKeyClient(provider, base_url=sandbox.base_url, _runtime=loop.runtime()) as other:
                await other.create_key(CreateKeyRequest("grid-bot"))
            await asyncio.sleep(100)
            client = FastKeyClient(provider, base_url=sandbox.base_url, _runtime=loop.runtime())
            sandbox.faults.add(Hang(), operation="create_key")
            call = asyncio.create_task(client.create_key(CreateKeyRequest("grid-bot")))
            await asyncio.sleep(1)
            before = set(asyncio.all_tasks())
            await client.aclose()
            assert set() == {task for task in asyncio.all_tasks() - before if "Janitor" in repr(task)}
            with pytest.raises(FastKeyError):
                await call

    run_virtually(main)


def test_a_key_that_nobody_took_is_deleted_and_not_the_next_of_its_name() -> None:
    """Its caller goes away in the moment in which it comes; who waits for the name deletes it, and makes another."""

    async def main(loop: VirtualTimeLoop) -> None:
        taken = 0
        for steps in range(60):
            async with KrakenSandbox(clock=loop.wall_clock) as sandbox:
                async with _client_of(loop, sandbox) as client:
                    sandbox.faults.add(Drip(1, 0.01), operation="delete_key")
                    create = asyncio.create_task(client.create_key(CreateKeyRequest("grid-bot")))
                    delete = asyncio.create_task(client.delete_key("grid-bot"))
                    again = asyncio.create_task(client.create_key(CreateKeyRequest("grid-bot")))
                    await _pass(steps)
                    create.cancel()
                    await asyncio.wait({create, delete, again})
                    taken += create.cancelled() and delete.exception() is None
                    await asyncio.sleep(200)
                    assert [again.result().api_key] == [key.api_key for key in sandbox.keys()], f"after {steps} steps"
                    assert () == client.unsettled_keys
        assert taken

    run_virtually(main)


def test_a_key_that_nobody_took_is_told_of_if_closing_comes_first() -> None:
    """Its deletion waits for another call on its name, which is cut off, and so is the deletion."""

    async def main(loop: VirtualTimeLoop) -> None:
        left = 0
        for steps in range(60):
            async with KrakenSandbox(clock=loop.wall_clock) as sandbox:
                client = _client_of(loop, sandbox)
                sandbox.faults.add(Hang(), operation="delete_key", times=None)
                create = asyncio.create_task(client.create_key(CreateKeyRequest("grid-bot")))
                delete = asyncio.create_task(client.delete_key("grid-bot"))
                await _pass(steps)
                create.cancel()
                await asyncio.wait({create})
                await client.aclose()
                await asyncio.wait({delete})
                if create.cancelled() and sandbox.keys():
                    left += 1
                    assert ("grid-bot",) == client.unsettled_keys, f"after {steps} steps"
        assert left

    run_virtually(main)


def test_a_request_that_has_not_left_when_its_caller_goes_away_stays() -> None:
    """aiohttp takes a request up, and writes it a moment later: what is cancelled between the two is not sent."""

    async def main(loop: VirtualTimeLoop) -> None:
        async with KrakenSandbox(clock=loop.wall_clock, list_lag=45) as sandbox:
            async with _client_of(loop, sandbox) as client:
                await client.list_keys()  # there is a connection
                for steps in range(60):
                    create = asyncio.create_task(client.create_key(CreateKeyRequest("grid-bot")))
                    await _pass(steps)
                    create.cancel()
                    await asyncio.wait({create})
                    if not create.cancelled():
                        break
                    await asyncio.sleep(1)
                    assert ((), ()) == (sandbox.keys(), client.unsettled_keys), f"after {steps} steps"
        assert steps > 3

    run_virtually(main)


@pytest.mark.parametrize("mode", ["raise", "reconcile"])
@pytest.mark.parametrize("make_request", REQUESTS.values(), ids=REQUESTS.keys())
def test_an_unknown_outcome_that_nobody_hears_of_is_seen_to(make_request: MakeRequest, mode: str) -> None:
    """The caller goes away in the moment in which it is to be told that a key may be left."""

    async def main(loop: VirtualTimeLoop) -> None:
        gone = told = 0
        for steps in range(60):
            async with KrakenSandbox(clock=loop.wall_clock) as sandbox:
                options = {"on_unknown_outcome": mode, "retry": RetryPolicy(budget=0)}
                async with _client_of(loop, sandbox, scopes=SCOPES, **options) as client:
                    sandbox.faults.add(Truncate(5), operation="create_key")
                    sandbox.faults.add(Answer(503), operation="delete_key")
                    task = asyncio.ensure_future(client.create_key(make_request()))
                    while not sandbox.keys():
                        await asyncio.sleep(0)
                    await _pass(steps)
                    task.cancel()
                    await asyncio.wait({task})
                    await asyncio.sleep(150)
                    gone += task.cancelled()
                    if task.cancelled():
                        names = {key.api_key_name for key in sandbox.keys()}
                        told += bool(names)
                        assert names == set(client.unsettled_keys), f"after {steps} steps"
        print(f"{gone} went away in time; in {told} of the runs a key was left, and told of")
        assert gone

    run_virtually(main)
