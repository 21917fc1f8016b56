"""Structured concurrency: task groups, cancel scopes and timeouts around each call, of asyncio and of anyio."""

from __future__ import annotations

import asyncio
import gc
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator
from typing import Any

import anyio
import pytest
from support import complaints_of_asyncio

from kraken_fastkey import (
    CreateKeyRequest,
    FastKeyClient,
    KeyLease,
    Permissions,
    RefreshingTokenProvider,
    StaticTokenProvider,
    UpdateKeyRequest,
    verify_key,
)
from kraken_fastkey.sandbox import FAULTS, Drip, Hang, KrakenSandbox
from kraken_fastkey.stores import MemoryGrantStore, MemoryKeyStore
from kraken_fastkey.testing import KrakenClock
from kraken_fastkey.testing._login import log_in, oauth_client_of
from kraken_fastkey.testing._threaded import running_sandbox

REQUEST = CreateKeyRequest(permissions=Permissions(funds_query=True))
SLOW = Drip(40, 0.01)  # an answer that comes in a quarter of a second, when its work has long been done


class SiblingError(Exception):
    """What another task of the group fails with."""


@pytest.fixture(name="sandbox")
def _sandbox() -> Iterator[KrakenSandbox]:
    """A sandbox that outlives the event loop under test, and a time in which waits take none."""
    clock = KrakenClock()
    with clock.running(), running_sandbox(clock, {}) as sandbox:
        yield sandbox


@pytest.fixture(name="client")
async def _client(sandbox: KrakenSandbox) -> AsyncIterator[FastKeyClient]:
    async with _client_of(sandbox) as client:
        yield client


def _client_of(sandbox: KrakenSandbox, **options: Any) -> FastKeyClient:
    return FastKeyClient(StaticTokenProvider(sandbox.issue_token()), base_url=sandbox.base_url, **options)


async def _until(condition: Callable[[], object]) -> None:
    while not condition():
        await asyncio.sleep(0.001)


async def _timed_out(call: Callable[[], Awaitable[object]], way: str) -> None:
    """Await a call that takes longer than it may."""
    if way == "asyncio.timeout":
        async with asyncio.timeout(0.02):
            await call()
    elif way == "asyncio.wait_for":
        await asyncio.wait_for(call(), 0.02)
    else:
        with anyio.fail_after(0.02):
            await call()


async def _errors_of_group(*work: Coroutine[Any, Any, Any], body: Awaitable[object] | None = None) -> list[str]:
    """Run work in a task group, with something awaited in its body; return the names of the group's errors."""

    async def run() -> None:
        async with asyncio.TaskGroup() as group:
            for each in work:
                group.create_task(each)
            if body is not None:
                await body

    with pytest.raises(ExceptionGroup) as caught:
        await run()
    return [type(error).__name__ for error in caught.value.exceptions]


def _cancelling() -> int:
    task = asyncio.current_task()
    assert task is not None
    return task.cancelling()


# --- asyncio's task groups and timeouts ---


async def _fail_when(condition: Callable[[], object]) -> None:
    await _until(condition)
    raise SiblingError


async def test_failing_sibling_leaves_no_key(client: FastKeyClient, sandbox: KrakenSandbox) -> None:
    """A sibling that fails cancels a create: the group has the sibling's error alone, and there is no key."""
    sandbox.faults.add(SLOW, operation="create_key")
    assert ["SiblingError"] == await _errors_of_group(client.create_key(CreateKeyRequest()), _fail_when(sandbox.keys))
    await client.aclose()
    assert () == sandbox.keys()


async def test_parent_of_a_failing_group_is_not_left_cancelled(client: FastKeyClient, sandbox: KrakenSandbox) -> None:
    """The cancellation that a group asks of its own body is taken back: the next await works."""
    sandbox.faults.add(SLOW, operation="create_key")
    body = client.create_key(CreateKeyRequest())
    assert ["SiblingError"] == await _errors_of_group(_fail_when(sandbox.keys), body=body)
    assert 0 == _cancelling()
    await client.get_user_info()
    await client.aclose()
    assert () == sandbox.keys()


async def test_create_that_fails_cancels_its_siblings(client: FastKeyClient, sandbox: KrakenSandbox) -> None:
    """The group of a create that fails has its error; the sibling create that this cancels leaves no key."""
    sandbox.faults.add(SLOW, operation="create_key")

    async def fail() -> None:
        await _until(sandbox.keys)
        sandbox.faults.add(FAULTS["error_permission_denied"])
        await client.create_key(CreateKeyRequest())

    assert ["PermissionDeniedError"] == await _errors_of_group(client.create_key(CreateKeyRequest()), fail())
    await client.aclose()
    assert () == sandbox.keys()


async def test_cancellations_are_counted_right(client: FastKeyClient, sandbox: KrakenSandbox) -> None:
    """A cancelled call leaves the task's count of cancellations as it is, so that `uncancel` brings it back to 0."""
    sandbox.faults.add(SLOW, operation="create_key")
    counts: list[int] = []

    async def main() -> str:
        task = asyncio.current_task()
        assert task is not None
        try:
            await client.create_key(CreateKeyRequest())
        except asyncio.CancelledError:
            counts.append(task.cancelling())
            counts.append(task.uncancel())
        await client.list_keys()
        return "went on"

    task = asyncio.create_task(main())
    await _until(sandbox.keys)
    task.cancel()
    assert "went on" == await task
    assert [1, 0] == counts


CALLS: dict[str, Callable[[FastKeyClient], Awaitable[object]]] = {
    "create_key": lambda client: client.create_key(CreateKeyRequest()),
    "list_keys": lambda client: client.list_keys(),
    "update_key": lambda client: client.update_key(UpdateKeyRequest("mine", nonce_window=1)),
    "delete_key": lambda client: client.delete_key("mine"),
    "get_user_info": lambda client: client.get_user_info(),
}


@pytest.mark.parametrize("operation", CALLS)
@pytest.mark.parametrize("way", ["asyncio.timeout", "asyncio.wait_for", "anyio.fail_after"])
async def test_timeouts_around_each_call(sandbox: KrakenSandbox, operation: str, way: str) -> None:
    """A timeout around a call that gets no answer raises `TimeoutError`, and nothing of it is left."""
    async with _client_of(sandbox, close_timeout=0.05) as client:
        await client.create_key(CreateKeyRequest("mine"))
        sandbox.faults.add(Hang(), operation=operation)
        with pytest.raises(TimeoutError):
            await _timed_out(lambda: CALLS[operation](client), way)
        assert 0 == _cancelling()
        assert ["mine"] == [key.api_key_name for key in await client.list_keys()]
    assert ["mine"] == [key.api_key_name for key in sandbox.keys()]


@pytest.mark.parametrize("way", ["asyncio.timeout", "asyncio.wait_for", "anyio.fail_after"])
async def test_timeouts_around_a_login_and_a_check(sandbox: KrakenSandbox, way: str) -> None:
    """The same holds for the login's calls, and for what asks the trading API."""
    async with _client_of(sandbox) as client, oauth_client_of(sandbox) as oauth:
        key = await client.create_key(REQUEST)
        request = oauth.authorization_request()
        code = oauth.read_callback(sandbox.approve(request.url), request)
        grant = await asyncio.to_thread(log_in, sandbox)
        sandbox.faults.script("token", [SLOW, SLOW])
        sandbox.faults.add(SLOW, operation="get_api_key_info")
        calls: list[Callable[[], Awaitable[object]]] = [
            lambda: oauth.exchange_code(code, request),
            lambda: oauth.refresh(grant),
            lambda: verify_key(key, base_url=sandbox.api_url),
        ]
        for call in calls:
            with pytest.raises(TimeoutError):
                await _timed_out(call, way)
            assert 0 == _cancelling()
        again = await oauth.exchange_code(code, request)  # it has gone on, and is good once
        assert again.access_token.get_secret_value() in sandbox.secrets


async def test_timeout_around_a_refresh_loses_no_grant(sandbox: KrakenSandbox) -> None:
    """Who waits for a token may time out; the refresh goes on, and its result is stored."""
    store = MemoryGrantStore()
    grant = await asyncio.to_thread(log_in, sandbox)
    await store.save(grant)
    sandbox.expire_access_tokens()
    sandbox.faults.add(Drip(20, 0.01), operation="token")
    async with oauth_client_of(sandbox) as oauth, RefreshingTokenProvider(oauth, store) as provider:
        token = await provider.get_token()
        with pytest.raises(TimeoutError):
            await _timed_out(lambda: provider.get_token(rejected=token), "asyncio.timeout")
        fresh = await provider.get_token(rejected=token)
    stored = await store.load()
    assert stored is not None
    assert stored.access_token == fresh.value
    assert 1 == sandbox.grants()[0].generation


async def test_timeout_around_entering_a_lease(client: FastKeyClient, sandbox: KrakenSandbox) -> None:
    """A lease that cannot be entered in time leaves no key."""
    sandbox.faults.add(SLOW, operation="create_key")

    async def enter() -> None:
        async with asyncio.timeout(None) as limit:

            async def expire() -> None:
                await _until(sandbox.keys)
                limit.reschedule(0)

            expiry = asyncio.create_task(expire())
            async with KeyLease(client, REQUEST):
                raise AssertionError
        await expiry

    with pytest.raises(TimeoutError):
        await enter()
    await client.aclose()
    assert () == sandbox.keys()


async def test_leases_within_a_group_that_fails(client: FastKeyClient, sandbox: KrakenSandbox) -> None:
    """When a sibling fails, the leases of a group are left in order, and their keys deleted."""

    async def hold(prefix: str) -> None:
        async with KeyLease(client, REQUEST, prefix=prefix):
            await asyncio.Event().wait()

    holders = [hold(prefix) for prefix in ("one", "two", "three")]
    assert ["SiblingError"] == await _errors_of_group(*holders, _fail_when(lambda: len(sandbox.keys()) == 3))
    await client.aclose()  # an answer may have been under way still: its key is deleted in the background
    assert () == sandbox.keys()


# --- anyio ---


def _run_anyio(main: Callable[[], Awaitable[Any]], **options: Any) -> None:
    anyio.run(main, backend="asyncio", backend_options=options)
    gc.collect()


@pytest.fixture(name="options", params=[{"debug": True}, {"use_uvloop": True}], ids=["debug", "uvloop"])
def _options(request: pytest.FixtureRequest) -> dict[str, Any]:
    if "use_uvloop" in request.param:
        pytest.importorskip("uvloop")
    options: dict[str, Any] = request.param
    return options


def test_anyio_runs_it(sandbox: KrakenSandbox, options: dict[str, Any]) -> None:
    """Calls of a task group of anyio's all succeed."""

    async def main() -> None:
        async with _client_of(sandbox) as client, anyio.create_task_group() as group:
            for number in range(20):
                group.start_soon(client.create_key, CreateKeyRequest(f"key-{number}"))

    _run_anyio(main, **options)
    assert {f"key-{number}" for number in range(20)} == {key.api_key_name for key in sandbox.keys()}


def test_cancel_scope_around_a_create_leaves_no_key(sandbox: KrakenSandbox, options: dict[str, Any]) -> None:
    """A scope that is cancelled around a create ends it, once, and the key that it made is deleted."""
    sandbox.faults.add(SLOW, operation="create_key")

    async def main() -> None:
        async with _client_of(sandbox) as client:
            async with anyio.create_task_group() as group:

                async def cancel() -> None:
                    await _until(sandbox.keys)
                    group.cancel_scope.cancel()

                group.start_soon(cancel)
                await client.create_key(CreateKeyRequest())
                raise AssertionError
            await client.get_user_info()  # the client goes on working
        assert () == sandbox.keys()

    _run_anyio(main, **options)


@pytest.mark.parametrize("ends", ["goes on", "ends at once"])
def test_cancel_scope_around_the_client_leaves_no_key(
    sandbox: KrakenSandbox, options: dict[str, Any], ends: str, caplog: pytest.LogCaptureFixture
) -> None:
    """In a cancelled scope each await is cancelled anew, the client's closing too: the key is deleted all the same."""
    sandbox.faults.add(SLOW, operation="create_key")

    async def main() -> None:
        clients: list[FastKeyClient] = []
        with anyio.CancelScope() as scope:

            async def cancel() -> None:
                await _until(sandbox.keys)
                scope.cancel()

            canceller = asyncio.create_task(cancel())
            async with _client_of(sandbox) as client:
                clients.append(client)
                await client.create_key(CreateKeyRequest())
        assert scope.cancelled_caught
        await canceller
        if ends == "goes on":
            await clients[0].aclose()
            assert () == sandbox.keys()

    with caplog.at_level(logging.WARNING):
        _run_anyio(main, **options)
    assert () == sandbox.keys()
    assert [] == complaints_of_asyncio(caplog.records)


def test_cancel_scope_around_a_lease_deletes_its_key(sandbox: KrakenSandbox, options: dict[str, Any]) -> None:
    """A lease in a scope that is cancelled is left, and its key is deleted."""

    async def main() -> None:
        async with _client_of(sandbox) as client:
            with anyio.CancelScope() as scope:
                async with KeyLease(client, REQUEST) as lease:
                    assert [lease.key.api_key] == [key.api_key for key in sandbox.keys()]
                    scope.cancel()
                    await anyio.sleep(60)
            assert scope.cancelled_caught
            assert "closed" == lease.health.state
        assert () == sandbox.keys()

    _run_anyio(main, **options)


@pytest.mark.parametrize("ends", ["goes on", "ends at once"])
def test_cancel_scope_around_entering_a_lease_leaves_no_key(
    sandbox: KrakenSandbox, options: dict[str, Any], ends: str
) -> None:
    """A scope that is cancelled while a lease makes its key leaves none, and a store that can be locked."""
    sandbox.faults.add(SLOW, operation="create_key")
    store = MemoryKeyStore(lock_timeout=0)

    async def main() -> None:
        with anyio.CancelScope() as scope:

            async def cancel() -> None:
                await _until(sandbox.keys)
                scope.cancel()

            canceller = asyncio.create_task(cancel())
            async with _client_of(sandbox) as client, KeyLease(client, REQUEST, store=store):
                raise AssertionError
        assert scope.cancelled_caught
        await canceller
        if ends == "goes on":
            async with store.lock():
                assert () == sandbox.keys()

    _run_anyio(main, **options)
    assert () == sandbox.keys()


async def test_cancelling_a_task_stops_its_waiting_for_the_end(sandbox: KrakenSandbox) -> None:
    """The shield keeps anyio's scopes off, not a task's own cancellation, which is counted once."""
    sandbox.faults.add(Hang(), operation="list_keys")
    client = _client_of(sandbox, close_timeout=0.2)
    call = asyncio.create_task(client.list_keys())
    await _until(lambda: sandbox.requests)
    counts: list[int] = []

    async def close() -> None:
        try:
            await client.aclose()
        except asyncio.CancelledError:
            counts.append(_cancelling())
            raise

    closing = asyncio.create_task(close())
    await asyncio.sleep(0)
    closing.cancel()
    await asyncio.wait([closing])
    assert closing.cancelled()
    assert not call.done()  # the closing goes on
    assert [1] == counts
    await client.aclose()
    assert call.done()
    await asyncio.wait([call])


def test_cancel_scope_around_a_refresh_loses_no_grant(sandbox: KrakenSandbox, options: dict[str, Any]) -> None:
    """A refresh whose caller's scope, and whose provider's, is cancelled is finished and stored."""
    grant = log_in(sandbox)
    sandbox.faults.add(Drip(20, 0.01), operation="token")
    store = MemoryGrantStore()

    async def main() -> None:
        await store.save(grant)
        async with oauth_client_of(sandbox) as oauth:
            with anyio.CancelScope() as scope:
                async with RefreshingTokenProvider(oauth, store) as provider:
                    token = await provider.get_token()

                    async def cancel() -> None:
                        await _until(lambda: sandbox.grants()[0].generation)
                        scope.cancel()

                    canceller = asyncio.create_task(cancel())
                    await provider.get_token(rejected=token)
            await canceller
        stored = await store.load()
        assert stored is not None
        assert sandbox.grants()[0].access_token == stored.access_token.get_secret_value()

    _run_anyio(main, **options)


def test_exit_of_a_scope_within_shield(sandbox: KrakenSandbox, options: dict[str, Any]) -> None:
    """Within a shield, a client's closing is waited for though the scope around it is cancelled."""
    sandbox.faults.add(SLOW, operation="create_key")

    async def main() -> None:
        client = _client_of(sandbox)
        with anyio.move_on_after(0.1) as scope:
            try:
                await client.create_key(CreateKeyRequest())
            finally:
                with anyio.CancelScope(shield=True):
                    await client.aclose()
                assert () == sandbox.keys()
        assert scope.cancelled_caught

    _run_anyio(main, **options)
