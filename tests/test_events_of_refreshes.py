"""Events of the tokens: what a refresh tells, at both ends, and who is told."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime
from typing import Any

import pytest
from support import FakeTime

from kraken_fastkey import (
    AttemptEnded,
    AttemptStarted,
    Event,
    FastKeyClient,
    Grant,
    GrantLost,
    GrantNotSaved,
    InvalidRequestError,
    OAuthClient,
    ReauthorizationRequiredError,
    RefreshAdopted,
    RefreshEnded,
    RefreshFailed,
    RefreshingTokenProvider,
    RefreshStarted,
    StoreError,
)
from kraken_fastkey.sandbox import Answer, Hang, KrakenSandbox
from kraken_fastkey.stores import MemoryGrantStore

HOURS_4 = 14_400
Connect = Callable[..., Awaitable[tuple[OAuthClient, "_FullStore"]]]


class _FullStore(MemoryGrantStore):
    """A store that saves nothing once it is full."""

    full = False

    async def save(self, grant: Grant) -> Grant:
        if self.full and grant.rotation is None:
            raise OSError("disk full")
        return await super().save(grant)


@pytest.fixture(name="sandbox")
async def _sandbox(fake_time: FakeTime) -> AsyncIterator[KrakenSandbox]:
    """A sandbox that lives in the tests' time."""
    fake_time.now = datetime.now(UTC).timestamp()
    async with KrakenSandbox(clock=fake_time.time) as sandbox:
        yield sandbox


@pytest.fixture(name="connect")
async def _connect(sandbox: KrakenSandbox, fake_time: FakeTime) -> AsyncIterator[Connect]:
    """Make an app, and log a user in."""
    clients: list[OAuthClient] = []

    async def connect(**options: Any) -> tuple[OAuthClient, _FullStore]:
        oauth = OAuthClient(
            sandbox.client_id,
            redirect_uri="http://127.0.0.1:8765/callback",
            authorize_url=sandbox.authorize_url,
            token_url=sandbox.token_url,
            _runtime=fake_time.runtime,
            **options,
        )
        clients.append(oauth)
        request = oauth.authorization_request()
        code = oauth.read_callback(sandbox.approve(request.url), request)
        store = _FullStore()
        await store.save(await oauth.exchange_code(code, request))
        return oauth, store

    yield connect
    for client in clients:
        await client.aclose()


def names(events: list[Event]) -> list[str]:
    """Return the names of events, without the package's."""
    return [event.name.removeprefix("kraken_fastkey.") for event in events]


async def test_a_login_tells_its_request(connect: Connect, sandbox: KrakenSandbox) -> None:
    """The code's exchange is one attempt at the token's address, in no call."""
    events: list[Event] = []
    await connect(on_event=events.append)
    started, ended = events
    assert isinstance(started, AttemptStarted)
    assert isinstance(ended, AttemptEnded)
    assert ("exchange_code", "POST", sandbox.token_url, None) == (
        started.operation,
        started.method,
        started.url,
        started.call_id,
    )
    assert ("succeeded", 200, started.attempt_id) == (ended.outcome, ended.status, ended.attempt_id)


async def test_a_refresh_tells_both_ends_and_its_request(
    connect: Connect, fake_time: FakeTime, sandbox: KrakenSandbox
) -> None:
    """A provider tells the hook of its OAuth client, and so does that client of the request."""
    events: list[Event] = []
    oauth, store = await connect(on_event=events.append)
    fake_time.now += HOURS_4
    async with RefreshingTokenProvider(oauth, store, _runtime=fake_time.runtime) as provider:
        del events[:]
        token = await provider.get_token()
    started, attempt, answered, ended = events
    assert isinstance(started, RefreshStarted)
    assert isinstance(attempt, AttemptStarted)
    assert isinstance(answered, AttemptEnded)
    assert isinstance(ended, RefreshEnded)
    assert (None, 2, started.refresh_id) == (started.generation, ended.generation, ended.refresh_id)
    assert ("refresh", 200) == (attempt.operation, answered.status)
    assert 2 == token.generation
    shown = repr(events)
    for grant in sandbox.grants():
        assert grant.access_token not in shown
        assert str(grant.refresh_token) not in shown


async def test_a_refresh_belongs_to_the_call_that_needs_it(
    connect: Connect, fake_time: FakeTime, sandbox: KrakenSandbox
) -> None:
    """A refresh within a call, and its request, carry the call's number."""
    events: list[Event] = []
    oauth, store = await connect(on_event=events.append)
    del events[:]
    sandbox.expire_access_tokens()
    async with (
        RefreshingTokenProvider(oauth, store, _runtime=fake_time.runtime) as provider,
        FastKeyClient(
            provider, base_url=sandbox.base_url, on_event=events.append, _runtime=fake_time.runtime
        ) as client,
    ):
        await client.list_keys()
    assert [
        "call.start",
        "refresh.start",
        "refresh.adopt",
        "attempt.start",
        "attempt.end",
        "token.reject",
        "refresh.start",
        "attempt.start",
        "attempt.end",
        "refresh.end",
        "attempt.start",
        "attempt.end",
        "call.end",
    ] == names(events)
    assert 1 == len({event.call_id for event in events})


async def test_what_another_has_refreshed_is_adopted(connect: Connect, fake_time: FakeTime) -> None:
    """Of two providers on one store, one refreshes, and the other takes its pair; each may have a hook of its own."""
    first_events: list[Event] = []
    second_events: list[Event] = []
    oauth, store = await connect()
    fake_time.now += HOURS_4
    first = RefreshingTokenProvider(oauth, store, on_event=first_events.append, _runtime=fake_time.runtime)
    second = RefreshingTokenProvider(oauth, store, on_event=second_events.append, _runtime=fake_time.runtime)
    await first.get_token()
    await second.get_token()
    assert [["refresh.start", "refresh.end"], ["refresh.start", "refresh.adopt"]] == [
        names(first_events),
        names(second_events),
    ]
    adopted = second_events[-1]
    assert isinstance(adopted, RefreshAdopted)
    assert 2 == adopted.generation


async def test_a_failed_refresh_tells_why_and_whether_the_token_holds(
    connect: Connect, fake_time: FakeTime, sandbox: KrakenSandbox
) -> None:
    """An early refresh that fails does no harm; a grant that was revoked is told with its cause."""
    events: list[Event] = []
    oauth, store = await connect()
    provider = RefreshingTokenProvider(oauth, store, on_event=events.append, _runtime=fake_time.runtime)
    await provider.get_token()
    sandbox.faults.add(Answer(400, {"error": "invalid_request"}), operation="token")
    fake_time.now += HOURS_4 - 10
    await provider.get_token()
    sandbox.revoke_grant()
    fake_time.now += 60
    with pytest.raises(ReauthorizationRequiredError):
        await provider.get_token()
    failed = [event for event in events if isinstance(event, RefreshFailed)]
    assert [("OAuthError", True, None), ("ReauthorizationRequiredError", False, "revoked")] == [
        (event.error_type, event.holds, event.cause) for event in failed
    ]


async def test_a_pair_that_is_not_saved_is_told(connect: Connect, fake_time: FakeTime) -> None:
    """Each save that fails, and in the end that the pair is lost."""
    events: list[Event] = []
    oauth, store = await connect()
    fake_time.now += HOURS_4
    provider = RefreshingTokenProvider(oauth, store, on_event=events.append, _runtime=fake_time.runtime)
    store.full = True
    await provider.get_token()
    await provider.aclose()
    assert {("OSError", 2)} == {
        (event.error_type, event.generation) for event in events if isinstance(event, GrantNotSaved)
    }
    assert isinstance(events[-1], GrantLost)


async def test_a_refresh_that_is_cut_off_is_told(connect: Connect, fake_time: FakeTime, sandbox: KrakenSandbox) -> None:
    """A refresh that ends with its event loop has an end in the events, too."""
    events: list[Event] = []
    oauth, store = await connect(on_event=events.append)
    fake_time.now += HOURS_4
    provider = RefreshingTokenProvider(oauth, store, _runtime=fake_time.runtime)
    sandbox.faults.add(Hang(), operation="token")
    waiter = asyncio.create_task(provider.get_token())
    while not any(request.operation == "token" for request in sandbox.requests[1:]):
        await asyncio.sleep(0)
    refresh = provider._task
    assert refresh is not None
    refresh.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiter
    attempt, failed = events[-2:]
    assert isinstance(attempt, AttemptEnded)
    assert isinstance(failed, RefreshFailed)
    assert ("CancelledError", "unknown", "CancelledError") == (attempt.error_type, attempt.outcome, failed.error_type)


async def test_a_broken_store_is_told(connect: Connect, fake_time: FakeTime) -> None:
    """A store that raises is a refresh that failed."""
    events: list[Event] = []
    oauth, _ = await connect()

    class Broken(MemoryGrantStore):
        async def load(self) -> Grant | None:
            raise OSError("FAKE-SECRET")

    provider = RefreshingTokenProvider(oauth, Broken(), on_event=events.append, _runtime=fake_time.runtime)
    with pytest.raises(StoreError):
        await provider.get_token()
    assert ["refresh.start", "refresh.fail"] == names(events)
    assert "FAKE-SECRET" not in repr(events)


async def test_a_hook_changes_no_refresh(connect: Connect, fake_time: FakeTime) -> None:
    """A hook that raises at every event keeps nobody from a token."""

    def hook(_: Event) -> None:
        raise ValueError

    oauth, store = await connect(on_event=hook)
    fake_time.now += HOURS_4
    assert 2 == (await RefreshingTokenProvider(oauth, store, _runtime=fake_time.runtime).get_token()).generation


async def test_what_is_no_hook_is_refused(connect: Connect, sandbox: KrakenSandbox) -> None:
    """Both check what they are given."""
    oauth, store = await connect()
    hook: Any = 5
    with pytest.raises(InvalidRequestError, match="on_event: must be a function"):
        RefreshingTokenProvider(oauth, store, on_event=hook)
    with pytest.raises(InvalidRequestError, match="on_event: must be a function"):
        OAuthClient(sandbox.client_id, redirect_uri="http://127.0.0.1/callback", on_event=hook)


async def test_a_refresh_is_logged_with_its_event(
    connect: Connect, fake_time: FakeTime, caplog: pytest.LogCaptureFixture
) -> None:
    """What was logged before is logged as ever, and carries the event's name."""
    caplog.set_level(logging.INFO, logger="kraken_fastkey")
    oauth, store = await connect()
    fake_time.now += HOURS_4
    await RefreshingTokenProvider(oauth, store, _runtime=fake_time.runtime).get_token()
    (record,) = caplog.records
    assert ("refreshed: generation 2", "kraken_fastkey.refresh.end", 2) == (
        record.getMessage(),
        vars(record)["kraken_fastkey_event"],
        vars(record)["kraken_fastkey_generation"],
    )
