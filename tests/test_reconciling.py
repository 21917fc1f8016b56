"""Answers that are lost: the client finds out what became of the request, and sets the account right."""

from __future__ import annotations

import asyncio
import copy
import logging
import pickle
from collections.abc import Callable, Coroutine
from typing import Any

import attrs
import pytest
from support import assert_clean
from virtual_time import VirtualTimeLoop, run_virtually

from kraken_fastkey import (
    AccessToken,
    ApiError,
    CallbackTokenProvider,
    ClientClosedError,
    CreateKeyRequest,
    DuplicateKeyNameError,
    FastApiKey,
    FastKeyClient,
    FastKeyError,
    InvalidRequestError,
    KeyNotFoundError,
    PermissionDeniedError,
    Permissions,
    RateLimitedError,
    RetryPolicy,
    ServiceUnavailableError,
    StaticTokenProvider,
    TemporaryLockoutError,
    Timeouts,
    TooManyKeysError,
    TransportError,
    UnknownOutcomeError,
    UpdateKeyRequest,
)
from kraken_fastkey._models import GeneratedName
from kraken_fastkey.sandbox import (
    FAULTS,
    Answer,
    Disconnect,
    Fault,
    Hang,
    KrakenSandbox,
    LateCommit,
    MediaType,
    Reset,
    Truncate,
)

WRITE = "account.fast-api-key:write"
READ = "account.fast-api-key:read"
QUERY = "account.fast-api-key:funds-query"
FUNDS = Permissions(funds_query=True)

# Each leaves open whether the request was carried out; the first ones did carry it out.
IN_DOUBT: dict[str, Fault] = {
    "dropped after the work": Disconnect(commit=True),
    "no answer after the work": Hang(commit=True),
    "cut off": Truncate(5),
    "cut off in the head": Truncate(20, head=True),
    "520 after the work": Answer(520, "<html><title>520</title></html>", commit=True),
    "internal error after the work": Answer(200, {"error": ["EGeneral:Internal error"]}, commit=True),
    "new to us after the work": Answer(200, {"error": ["ENew:Never seen"]}, commit=True),
    "garbage after the work": Answer(200, b"\x00\xff\x80", commit=True),
    "redirect after the work": Answer(302, headers={"Location": "https://evil.example/"}, commit=True),
    "late": LateCommit(5),
    "very late": LateCommit(40),
    "dropped before the work": Disconnect(),
    "reset before the body was read": Reset(),
    "no answer": Hang(),
    "500": Answer(500),
    "408": Answer(408),
    "EService:Unavailable": Answer(200, {"error": ["EService:Unavailable"]}),
}


class World:
    """A sandbox and a client in virtual time."""

    def __init__(self, loop: VirtualTimeLoop, sandbox: KrakenSandbox, client: FastKeyClient) -> None:
        self.loop = loop
        self.sandbox = sandbox
        self.client = client

    @property
    def names(self) -> list[str]:
        """The names of the keys that are live."""
        return [key.api_key_name for key in self.sandbox.keys()]

    @property
    def operations(self) -> list[str | None]:
        """What the client has asked."""
        return [request.operation for request in self.sandbox.requests]

    def holds(self, key: FastApiKey) -> bool:
        """Whether a key is the only live one, secret and all."""
        return [(key.api_key, key.secret.get_secret_value())] == [(k.api_key, k.secret) for k in self.sandbox.keys()]


def in_world(
    scene: Callable[[World], Coroutine[Any, Any, None]], *, scopes: list[str] | None = None, **options: Any
) -> None:
    """Play a scene; the client is closed after it."""
    of_sandbox = {name: options.pop(name) for name in ("list_lag", "clock_skew", "max_keys") if name in options}

    async def main(loop: VirtualTimeLoop) -> None:
        async with KrakenSandbox(clock=loop.wall_clock, **of_sandbox) as sandbox:
            token = sandbox.issue_token(scopes=scopes)
            settings: dict[str, Any] = {"base_url": sandbox.base_url, "_runtime": loop.runtime()} | options
            async with FastKeyClient(StaticTokenProvider(token), **settings) as client:
                await scene(World(loop, sandbox, client))

    run_virtually(main)


def _cases(table: dict[str, Any]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("case", table.values(), ids=table.keys())


@_cases(IN_DOUBT)
def test_a_create_with_a_generated_name_ends_with_one_key(case: Fault) -> None:
    """Whatever was lost: the caller holds a key, and it is the only one, even long after."""

    async def scene(world: World) -> None:
        request = CreateKeyRequest(permissions=FUNDS)
        world.sandbox.faults.add(case, operation="create_key")
        key = await world.client.create_key(request)
        assert request.api_key_name != key.api_key_name
        assert ["create_key", "delete_key", "create_key"] == world.operations
        assert world.loop.time() < 33  # a hang takes 30
        await asyncio.sleep(150)
        assert world.holds(key)
        assert () == world.client.unsettled_keys

    in_world(scene)


@_cases(IN_DOUBT)
def test_a_create_with_the_caller_s_name_ends_with_one_key(case: Fault) -> None:
    """The name is kept; the list is looked at before anything is sent again."""

    async def scene(world: World) -> None:
        world.sandbox.faults.add(case, operation="create_key")
        key = await world.client.create_key(CreateKeyRequest("grid-bot", permissions=FUNDS))
        assert "grid-bot" == key.api_key_name
        assert world.operations[:2] == ["create_key", "list_keys"]
        assert world.operations[-1] == "create_key"
        await asyncio.sleep(150)
        assert world.holds(key)
        assert () == world.client.unsettled_keys

    in_world(scene)


def test_absent_is_believed_after_a_minute() -> None:
    """A new key may show late, so the list is looked at after 1, 2, 4, 8, 15 and 30 s before the name is sent again."""

    async def scene(world: World) -> None:
        world.sandbox.faults.add(Disconnect(), operation="create_key")
        await world.client.create_key(CreateKeyRequest("grid-bot"))
        assert ["create_key", *["list_keys"] * 6, "create_key"] == world.operations
        assert 60 <= world.loop.time() < 61

    in_world(scene)


@pytest.mark.parametrize("lag", [0.5, 10, 45, 59])
@pytest.mark.parametrize("name", ["grid-bot", None])
def test_a_list_that_lags(lag: float, name: str | None) -> None:
    """A key that the list shows late is not sent for a second time."""

    async def scene(world: World) -> None:
        world.sandbox.faults.add(Disconnect(commit=True), operation="create_key")
        request = CreateKeyRequest() if name is None else CreateKeyRequest(name)
        key = await world.client.create_key(request)
        assert world.holds(key)
        assert world.operations.count("create_key") == 2

    in_world(scene, list_lag=lag)


@pytest.mark.parametrize("skew", [-43_200, -3, 3, 43_200])
def test_a_clock_that_is_wrong_does_no_harm(skew: float) -> None:
    """Whose key it is, is judged by the server's clock alone."""

    async def scene(world: World) -> None:
        world.sandbox.faults.add(Disconnect(commit=True), operation="create_key")
        assert world.holds(await world.client.create_key(CreateKeyRequest("grid-bot")))
        await asyncio.sleep(30)
        world.sandbox.faults.add(Disconnect(commit=True), operation="create_key")
        with pytest.raises(DuplicateKeyNameError):
            await world.client.create_key(CreateKeyRequest("grid-bot"))

    in_world(scene, clock_skew=skew)


def test_a_key_that_was_there_before_is_not_touched() -> None:
    """The name was taken, and the answer that said so was lost: the error says it, and the key lives on."""

    async def scene(world: World) -> None:
        async with FastKeyClient(
            StaticTokenProvider(world.sandbox.issue_token()), base_url=world.sandbox.base_url
        ) as somebody:
            theirs = await somebody.create_key(CreateKeyRequest("grid-bot"))
        await asyncio.sleep(60)
        world.sandbox.faults.add(Answer(502, commit=True), operation="create_key")
        with pytest.raises(DuplicateKeyNameError, match="had a key 'grid-bot' before this call") as caught:
            await world.client.create_key(CreateKeyRequest("grid-bot"))
        assert ("refused", "create_key", 1) == (caught.value.outcome, caught.value.operation, caught.value.attempts)
        assert isinstance(caught.value.__cause__, ServiceUnavailableError)
        assert world.holds(theirs)
        assert "delete_key" not in world.operations
        assert_clean(caught.value)

    in_world(scene)


def test_a_key_of_the_same_client_is_known_even_in_the_same_second() -> None:
    """Two tasks want one name at the same time: one has the key, the other is told; no answer lost changes that."""

    async def scene(world: World) -> None:
        for fault in (Disconnect(commit=True), Disconnect(), LateCommit(3), Answer(500, commit=True)):
            world.sandbox.faults.script("create_key", [None, fault])
            results = await asyncio.gather(
                *(world.client.create_key(CreateKeyRequest("grid-bot")) for _ in range(2)), return_exceptions=True
            )
            key, error = results
            assert isinstance(key, FastApiKey)
            assert isinstance(error, DuplicateKeyNameError)
            assert world.holds(key)
            await world.client.delete_key("grid-bot")

    in_world(scene)


def test_a_key_made_by_somebody_else_in_between_is_left_alone() -> None:
    """The same name, the same moment, other parameters: whose it is cannot be told, so nothing is deleted."""

    async def scene(world: World) -> None:
        theirs: list[FastApiKey] = []

        async def be_faster() -> None:
            async with FastKeyClient(
                StaticTokenProvider(world.sandbox.issue_token()), base_url=world.sandbox.base_url
            ) as somebody:
                theirs.append(await somebody.create_key(CreateKeyRequest("grid-bot", nonce_window=5)))

        world.sandbox.faults.add(Disconnect(), operation="create_key")
        call = asyncio.ensure_future(world.client.create_key(CreateKeyRequest("grid-bot")))
        await asyncio.sleep(0.5)
        await be_faster()
        with pytest.raises(UnknownOutcomeError, match="who made the key that is there is unclear") as caught:
            await call
        assert "grid-bot" == caught.value.api_key_name
        assert world.holds(theirs[0])

    in_world(scene)


def test_without_the_read_scope_a_generated_name_is_enough() -> None:
    """What bears a name that was made for this call may be deleted unseen."""

    async def scene(world: World) -> None:
        for fault in (Disconnect(commit=True), Disconnect(), LateCommit(20)):
            world.sandbox.faults.add(fault, operation="create_key")
            key = await world.client.create_key(CreateKeyRequest())
            await asyncio.sleep(200)
            assert world.holds(key)
            await world.client.delete_key(key.api_key_name)

    in_world(scene, scopes=[WRITE])


def test_without_the_read_scope_the_caller_s_own_name_is_left_to_the_caller() -> None:
    """It might be somebody else's key, so nothing is deleted, and the error says what to do."""

    async def scene(world: World) -> None:
        world.sandbox.faults.add(Disconnect(commit=True), operation="create_key")
        with pytest.raises(
            UnknownOutcomeError, match="may not list keys, so look by other means: if list_keys"
        ) as caught:
            await world.client.create_key(CreateKeyRequest("grid-bot"))
        assert ("grid-bot", "unknown") == (caught.value.api_key_name, caught.value.outcome)
        assert ["grid-bot"] == world.names

    in_world(scene, scopes=[WRITE])


def test_a_deadline_that_passes_before_it_is_clear() -> None:
    """No look goes past the deadline; the error names the key."""

    async def scene(world: World) -> None:
        world.sandbox.faults.add(Disconnect(commit=True), operation="create_key")
        with pytest.raises(UnknownOutcomeError, match="the key 'grid-bot' may have been created"):
            await world.client.create_key(CreateKeyRequest("grid-bot"))
        assert world.loop.time() <= 20

    in_world(scene, list_lag=45, retry=RetryPolicy(deadline=20))


def test_where_no_attempt_is_left_nothing_is_left() -> None:
    """A policy of one attempt: the key is deleted, and the error says that nothing was done."""

    async def scene(world: World) -> None:
        for name in (None, "grid-bot"):
            world.sandbox.faults.add(Answer(500, commit=True), operation="create_key")
            request = CreateKeyRequest() if name is None else CreateKeyRequest(name)
            with pytest.raises(ServiceUnavailableError, match="has looked since: nothing is left of it") as caught:
                await world.client.create_key(request)
            assert ("refused", 1, 500) == (caught.value.outcome, caught.value.attempts, caught.value.status)
            assert [] == world.names

    in_world(scene, retry=RetryPolicy(max_attempts=1))


def test_where_no_attempt_is_left_and_the_key_may_come_yet() -> None:
    """The error says that the client goes on looking; a key that turns up late is deleted."""

    async def scene(world: World) -> None:
        world.sandbox.faults.add(LateCommit(20), operation="create_key")
        with pytest.raises(UnknownOutcomeError, match="the client goes on looking for it, and deletes it") as caught:
            await world.client.create_key(CreateKeyRequest())
        assert [caught.value.api_key_name] == list(world.client.unsettled_keys)
        await asyncio.sleep(21)
        await asyncio.sleep(20)
        assert [] == world.names
        assert () == world.client.unsettled_keys

    in_world(scene, retry=RetryPolicy(max_attempts=1))


def test_a_ghost_is_looked_for_until_a_list_could_be_had() -> None:
    """An outage after the doubt does not end the search; what nobody can settle is told."""

    async def scene(world: World) -> None:
        world.sandbox.faults.add(LateCommit(10), operation="create_key")
        key = await world.client.create_key(CreateKeyRequest())
        (ghost,) = world.client.unsettled_keys
        async with world.sandbox.unreachable():
            await asyncio.sleep(600)
        assert {ghost, key.api_key_name} == set(world.names)
        await asyncio.sleep(120)
        assert world.holds(key)
        assert () == world.client.unsettled_keys

    in_world(scene)


def test_a_search_that_finds_nothing_out_is_given_up_and_told(caplog: pytest.LogCaptureFixture) -> None:
    """After half an hour without a list the name is logged, and stays in unsettled_keys."""

    async def scene(world: World) -> None:
        world.sandbox.faults.add(Disconnect(), operation="create_key")
        await world.client.create_key(CreateKeyRequest())
        async with world.sandbox.unreachable():
            await asyncio.sleep(2000)
        (ghost,) = world.client.unsettled_keys
        assert f"the key {ghost!r} may exist though nobody holds it" in caplog.text
        await world.client.delete_key(ghost) if ghost in world.names else None

    in_world(scene)


def test_a_fresh_name_is_taken_when_a_request_is_used_twice() -> None:
    """A request without a name is a template: each call has a name of its own, and no call deletes another's key."""

    async def scene(world: World) -> None:
        template = CreateKeyRequest(permissions=FUNDS)
        keys = [await world.client.create_key(template)]
        for fault in (None, Disconnect(commit=True), Disconnect()):
            world.sandbox.faults.script("create_key", [fault])
            keys.append(await world.client.create_key(template))
        assert template.api_key_name == keys[0].api_key_name
        assert [key.api_key_name for key in keys] == world.names
        assert 4 == len(set(world.names))

    in_world(scene)


def test_a_generated_name_that_went_elsewhere_is_an_ordinary_one() -> None:
    """A copy in a pickle may be used by another process, whose key it then names."""
    name = CreateKeyRequest().api_key_name
    assert isinstance(name, GeneratedName)
    for other in (pickle.loads(pickle.dumps(name)), copy.deepcopy(name), copy.copy(name)):  # noqa: S301  # our own
        assert name == other
        assert type(other) is str
    request = CreateKeyRequest()
    assert type(pickle.loads(pickle.dumps(request)).api_key_name) is str  # noqa: S301  # our own
    assert type(attrs.evolve(request, nonce_window=5).api_key_name) is str
    assert type(CreateKeyRequest(request.api_key_name).api_key_name) is str
    assert isinstance(request.api_key_name, GeneratedName)
    name._process = 0  # as after a fork
    assert not name.claim()


def test_a_resend_whose_name_is_taken_by_the_late_first_one() -> None:
    """The name is the idempotency key: committed after the last look, the first request refuses the second."""

    async def scene(world: World) -> None:
        world.sandbox.faults.add(LateCommit(60.1), operation="create_key")
        key = await world.client.create_key(CreateKeyRequest("grid-bot", permissions=FUNDS))
        await asyncio.sleep(100)
        assert world.holds(key)

    in_world(scene)


def test_a_thousand_callers_in_doubt_share_their_looks() -> None:
    """One list a second, at most, however many wait for it."""

    async def scene(world: World) -> None:
        world.sandbox.faults.add(Answer(500, commit=True), operation="create_key", times=1000)
        keys = await asyncio.gather(
            *(world.client.create_key(CreateKeyRequest(f"bot-{number}")) for number in range(1000))
        )
        assert {key.api_key for key in keys} == {key.api_key for key in world.sandbox.keys()}
        looks = world.operations.count("list_keys")
        print(f"1,000 in doubt: {looks} lists")
        assert looks <= 10

    in_world(scene, max_keys=2000, retry=RetryPolicy(budget=10_000))


@_cases(IN_DOUBT)
@pytest.mark.parametrize(
    "change",
    [
        UpdateKeyRequest("grid-bot", nonce_window=7, ip_allowlist=["203.0.113.0/24"]),
        UpdateKeyRequest("grid-bot", new_api_key_name="trend-bot", permissions=Permissions(funds_query=False)),
        UpdateKeyRequest("grid-bot", new_api_key_name="trend-bot"),
        UpdateKeyRequest("grid-bot", valid_until=1_900_000_000, permissions=Permissions(ledger_query=True)),
    ],
    ids=["values", "name and values", "name", "times and permissions"],
)
def test_an_update_ends_with_the_key_as_wanted(case: Fault, change: UpdateKeyRequest) -> None:
    """Done, though the answer was lost, is success; not done is done again."""

    async def scene(world: World) -> None:
        key = await world.client.create_key(CreateKeyRequest("grid-bot", permissions=FUNDS))
        world.sandbox.faults.add(case, operation="update_key")
        await world.client.update_key(change)
        await asyncio.sleep(100)
        (live,) = world.sandbox.keys()
        assert (change.new_api_key_name or "grid-bot", key.secret.get_secret_value()) == (
            live.api_key_name,
            live.secret,
        )
        assert live.nonce_window == (change.nonce_window or 0)
        assert live.ip_allowlist == (change.ip_allowlist or ())
        flags = {"funds_query": True} | (change.permissions.flags() if change.permissions else {})
        assert flags == dict(live.permissions)

    in_world(scene)


@pytest.mark.parametrize("lag", [5, 45])
def test_an_update_and_a_list_that_lags(lag: float) -> None:
    """The list shows the old state: the second request finds nothing to rename, and that is looked into."""

    async def scene(world: World) -> None:
        await world.client.create_key(CreateKeyRequest("grid-bot"))
        await asyncio.sleep(60)
        world.sandbox.faults.add(Disconnect(commit=True), operation="update_key")
        await world.client.update_key(UpdateKeyRequest("grid-bot", new_api_key_name="trend-bot"))
        assert ["trend-bot"] == world.names

    in_world(scene, list_lag=lag)


@pytest.mark.parametrize("pause", [0, 4, 30], ids=["at once", "soon", "later"])
def test_change_that_is_taken_back_while_the_list_lags(pause: float) -> None:
    """The list shows the key as it was before both changes, which is as wanted, and proves nothing."""

    async def scene(world: World) -> None:
        update = world.client.update_key
        await world.client.create_key(CreateKeyRequest("grid-bot", nonce_window=1))
        await asyncio.sleep(60)
        await update(UpdateKeyRequest("grid-bot", nonce_window=2))
        await asyncio.sleep(pause)
        world.sandbox.faults.add(Disconnect(), operation="update_key")
        await update(UpdateKeyRequest("grid-bot", nonce_window=1))
        assert [1] == [key.nonce_window for key in world.sandbox.keys()]

    in_world(scene, list_lag=45)


def test_name_that_is_taken_back_while_the_list_lags() -> None:
    """So it is with a name."""

    async def scene(world: World) -> None:
        await world.client.create_key(CreateKeyRequest("grid-bot"))
        await asyncio.sleep(60)
        await world.client.update_key(UpdateKeyRequest("grid-bot", new_api_key_name="trend-bot"))
        world.sandbox.faults.add(Disconnect(), operation="update_key")
        await world.client.update_key(UpdateKeyRequest("trend-bot", new_api_key_name="grid-bot"))
        assert ["grid-bot"] == world.names

    in_world(scene, list_lag=45)


def test_refused_repeat_of_a_change_that_was_made_before_is_success() -> None:
    """Where sending again is refused, the list is up to date after a minute, and tells it."""

    async def scene(world: World) -> None:
        update = world.client.update_key
        await world.client.create_key(CreateKeyRequest("grid-bot", nonce_window=1))
        await update(UpdateKeyRequest("grid-bot", nonce_window=2))
        world.sandbox.faults.add(Disconnect(commit=True), operation="update_key")
        world.sandbox.faults.add(FAULTS["error_permission_denied"], operation="update_key")
        began = world.loop.time()
        await update(UpdateKeyRequest("grid-bot", nonce_window=1))
        assert [1] == [key.nonce_window for key in world.sandbox.keys()]
        assert 60 <= world.loop.time() - began < 70

    in_world(scene)


def test_name_that_was_never_another_s_is_known_at_once() -> None:
    """A key that was made and renamed shows under its new name because of that alone."""

    async def scene(world: World) -> None:
        await world.client.create_key(CreateKeyRequest("grid-bot"))
        world.sandbox.faults.add(Disconnect(commit=True), operation="update_key")
        began = world.loop.time()
        await world.client.update_key(UpdateKeyRequest("grid-bot", new_api_key_name="trend-bot"))
        assert ["trend-bot"] == world.names
        assert world.loop.time() - began < 3

    in_world(scene)


async def _close_after(seconds: float, client: FastKeyClient) -> None:
    await asyncio.sleep(seconds)
    await client.aclose()


@pytest.mark.parametrize("seconds", [3, 40, 58], ids=str)
def test_create_whose_client_is_closed_before_the_list_has_caught_up(seconds: float) -> None:
    """A look that came early proves nothing: the key may be there, and the caller is told so."""

    async def scene(world: World) -> None:
        world.sandbox.faults.add(Disconnect(commit=True), operation="create_key")
        closing = asyncio.ensure_future(_close_after(seconds, world.client))
        with pytest.raises(UnknownOutcomeError) as caught:
            await world.client.create_key(CreateKeyRequest("grid-bot"))
        await closing
        assert ["grid-bot"] == world.names
        assert "grid-bot" == caught.value.api_key_name

    in_world(scene, list_lag=70)


@pytest.mark.parametrize("seconds", [3, 40, 58], ids=str)
def test_abandoned_create_whose_client_is_closed_before_the_list_has_caught_up(seconds: float) -> None:
    """Nobody waits for it any more, so that it is among the keys that are not settled."""

    async def scene(world: World) -> None:
        world.sandbox.faults.add(Hang(commit=True), operation="create_key")
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(world.client.create_key(CreateKeyRequest("grid-bot")), 1)
        await _close_after(29 + seconds, world.client)  # it takes 30 s until there is no answer
        assert ["grid-bot"] == world.names
        assert ("grid-bot",) == world.client.unsettled_keys

    in_world(scene, list_lag=100)


@pytest.mark.parametrize("seconds", [3, 40, 58], ids=str)
def test_update_whose_client_is_closed_before_the_list_has_caught_up(seconds: float) -> None:
    """So it is with an update."""

    async def scene(world: World) -> None:
        await world.client.create_key(CreateKeyRequest("grid-bot", nonce_window=1))
        await asyncio.sleep(100)
        world.sandbox.faults.add(Disconnect(commit=True), operation="update_key")
        closing = asyncio.ensure_future(_close_after(seconds, world.client))
        with pytest.raises((UnknownOutcomeError, ClientClosedError)) as caught:
            await world.client.update_key(UpdateKeyRequest("grid-bot", nonce_window=2))
        await closing
        assert "unknown" == caught.value.outcome
        assert [2] == [key.nonce_window for key in world.sandbox.keys()]

    in_world(scene, list_lag=70, retry=RetryPolicy(max_attempts=1))


def test_an_update_that_cannot_be_looked_at() -> None:
    """Without the read scope values are set once more, unseen; a name is not."""

    async def scene(world: World) -> None:
        await world.client.create_key(CreateKeyRequest("grid-bot"))
        world.sandbox.faults.add(Disconnect(), operation="update_key")
        await world.client.update_key(UpdateKeyRequest("grid-bot", nonce_window=7))
        assert 7 == world.sandbox.keys()[0].nonce_window
        world.sandbox.faults.add(Disconnect(), operation="update_key")
        with pytest.raises(UnknownOutcomeError, match="see in list_keys"):
            await world.client.update_key(UpdateKeyRequest("grid-bot", new_api_key_name="trend-bot"))

    in_world(scene, scopes=[WRITE])


def test_an_update_of_a_key_that_is_gone_or_a_name_that_is_taken() -> None:
    """After a doubt, too, a refusal comes through as what it is."""

    async def scene(world: World) -> None:
        world.sandbox.faults.add(Disconnect(), operation="update_key")
        with pytest.raises(KeyNotFoundError) as caught:
            await world.client.update_key(UpdateKeyRequest("grid-bot", nonce_window=7))
        assert "refused" == caught.value.outcome
        await world.client.create_key(CreateKeyRequest("grid-bot"))
        await world.client.create_key(CreateKeyRequest("trend-bot"))
        world.sandbox.faults.add(Disconnect(), operation="update_key")
        with pytest.raises(DuplicateKeyNameError) as taken:
            await world.client.update_key(UpdateKeyRequest("grid-bot", new_api_key_name="trend-bot"))
        assert "refused" == taken.value.outcome

    in_world(scene)


def test_an_update_that_never_gets_through() -> None:
    """Looked at for a minute and not done: the error says that nothing was done. Not looked at: it says unknown."""

    async def scene(world: World) -> None:
        await world.client.create_key(CreateKeyRequest("grid-bot"))
        world.sandbox.faults.add(Answer(500), operation="update_key", times=None)
        with pytest.raises(ServiceUnavailableError, match="nothing is left of it") as caught:
            await world.client.update_key(UpdateKeyRequest("grid-bot", nonce_window=7))
        assert ("refused", 4) == (caught.value.outcome, caught.value.attempts)
        world.sandbox.faults.add(Answer(500), operation="list_keys", times=None)
        with pytest.raises(UnknownOutcomeError):
            await world.client.update_key(UpdateKeyRequest("grid-bot", nonce_window=8))
        world.sandbox.faults.clear()

    in_world(scene, retry=RetryPolicy(deadline=1000))


async def _store_nowhere(_: FastApiKey) -> None:
    raise OSError("the disk is full")


def test_a_key_that_cannot_be_stored_is_deleted() -> None:
    """The sink's exception comes through, and no key is left that nobody has stored."""

    async def scene(world: World) -> None:
        stored: list[FastApiKey] = []

        async def store(key: FastApiKey) -> None:
            stored.append(key)

        assert stored == [await world.client.create_key(CreateKeyRequest(), save=store)]
        with pytest.raises(OSError, match="the disk is full"):
            await world.client.create_key(CreateKeyRequest("grid-bot"), save=_store_nowhere)
        assert world.holds(stored[0])
        with pytest.raises(InvalidRequestError, match="save: must be an async function"):
            await world.client.create_key(CreateKeyRequest(), save="file")  # type: ignore[arg-type]  # that is the point

    in_world(scene)


def test_a_key_that_was_stored_is_kept_when_its_caller_goes_away() -> None:
    """Whoever has stored it holds it; one that is not yet stored is deleted."""

    async def scene(world: World) -> None:
        stored: list[str] = []

        async def store_slowly(key: FastApiKey) -> None:
            await asyncio.sleep(5)
            stored.append(key.api_key_name)

        call = asyncio.ensure_future(world.client.create_key(CreateKeyRequest(), save=store_slowly))
        await asyncio.sleep(1)
        call.cancel()
        await asyncio.sleep(10)
        assert stored == world.names
        assert 1 == len(stored)

    in_world(scene)


def test_permissions_beyond_the_scopes_are_refused_unsent() -> None:
    """Where the token's scopes are known, nothing is sent that Kraken would refuse; the scope is named."""

    async def scene(world: World) -> None:
        token = AccessToken(world.sandbox.issue_token(scopes=[WRITE, QUERY]), scopes=[WRITE, QUERY])
        client = world.client.for_account(CallbackTokenProvider(lambda: token))
        with pytest.raises(PermissionDeniedError, match="account.fast-api-key:ledger-query") as caught:
            await client.create_key(CreateKeyRequest(permissions=Permissions(funds_query=True, ledger_query=True)))
        assert ("not_sent", 0) == (caught.value.outcome, caught.value.attempts)
        assert [] == world.operations
        key = await client.create_key(CreateKeyRequest(permissions=Permissions(funds_query=True, ledger_query=False)))
        with pytest.raises(PermissionDeniedError):
            await client.update_key(UpdateKeyRequest(key.api_key_name, permissions=Permissions(funds_earn=True)))
        assert ["create_key"] == world.operations

    in_world(scene)


def test_a_key_that_could_empty_the_account_is_warned_of(caplog: pytest.LogCaptureFixture) -> None:
    """Withdrawal from anywhere, or for ever, is logged; nothing else is."""

    async def scene(world: World) -> None:
        withdraw = Permissions(funds_withdraw=True)
        await world.client.create_key(CreateKeyRequest("a", permissions=FUNDS))
        await world.client.create_key(
            CreateKeyRequest("b", permissions=withdraw, ip_allowlist=["203.0.113.1"], valid_until=1_900_000_000)
        )
        assert "" == caplog.text
        await world.client.create_key(CreateKeyRequest("c", permissions=withdraw, valid_until=0))
        assert "'c' may withdraw funds from any address: set ip_allowlist" in caplog.text
        assert "'c' may withdraw funds for ever: set valid_until" in caplog.text

    caplog.set_level(logging.WARNING)
    in_world(scene)


def test_a_lockout_stops_all_requests_of_the_account() -> None:
    """For 15 minutes nothing is sent; then one request sees whether it is over."""

    async def scene(world: World) -> None:
        lockout = Answer(200, {"error": ["EGeneral:Temporary lockout"]})
        other = world.client.for_account(StaticTokenProvider(world.sandbox.issue_token()))
        world.sandbox.faults.add(lockout)
        with pytest.raises(TemporaryLockoutError):
            await world.client.list_keys()
        for _ in range(14):
            await asyncio.sleep(60)
            with pytest.raises(TemporaryLockoutError, match="Nothing is sent for .* s") as caught:
                await world.client.create_key(CreateKeyRequest())
            assert caught.value.retry_after
        assert 1 == len(world.operations)
        await other.list_keys()
        await asyncio.sleep(60)
        world.sandbox.faults.add(lockout)
        results = await asyncio.gather(*(world.client.list_keys() for _ in range(5)), return_exceptions=True)
        assert {TemporaryLockoutError} == {type(result) for result in results}
        assert 3 == len(world.operations)
        await asyncio.sleep(901)
        assert () == await world.client.list_keys()
        assert () == await world.client.list_keys()

    in_world(scene)


@pytest.mark.parametrize("name", [name for name in FAULTS if not name.startswith("hang")])
@pytest.mark.parametrize("own_name", ["grid-bot", None])
def test_every_named_fault_of_the_sandbox(name: str, own_name: str | None) -> None:
    """One key in hand, or an error and no key: for each fault that the sandbox knows by name."""

    async def scene(world: World) -> None:
        held: list[FastApiKey] = []
        world.sandbox.faults.add(FAULTS[name], operation="create_key")
        try:
            held.append(
                await world.client.create_key(CreateKeyRequest() if own_name is None else CreateKeyRequest("x"))
            )
        except FastKeyError as error:
            assert error.outcome in {"refused", "not_sent"}  # noqa: PT017  # not every fault is one for the client
            assert not isinstance(error, UnknownOutcomeError)  # noqa: PT017  # likewise
        await asyncio.sleep(150)
        assert [key.secret.get_secret_value() for key in held] == [key.secret for key in world.sandbox.keys()]
        assert () == world.client.unsettled_keys

    in_world(scene)


def test_another_media_type_costs_no_key() -> None:
    """A right answer is read whatever it calls itself."""

    async def scene(world: World) -> None:
        world.sandbox.faults.add(MediaType("text/html"))
        assert world.holds(await world.client.create_key(CreateKeyRequest()))

    in_world(scene)


def test_the_account_may_be_full() -> None:
    """The ghost's place is free again before the request is sent once more."""

    async def scene(world: World) -> None:
        world.sandbox.faults.add(Disconnect(commit=True), operation="create_key")
        key = await world.client.create_key(CreateKeyRequest())
        assert world.holds(key)
        with pytest.raises(TooManyKeysError):
            await world.client.create_key(CreateKeyRequest())

    in_world(scene, max_keys=1)


def test_a_delete_of_the_ghost_that_fails_is_tried_again_later() -> None:
    """What could not be deleted at once is deleted in the background, and the caller has a key meanwhile."""

    async def scene(world: World) -> None:
        world.sandbox.faults.add(Answer(500, commit=True), operation="create_key")
        world.sandbox.faults.add(Answer(403, {"error": ["EGeneral:Permission denied"]}), operation="delete_key")
        key = await world.client.create_key(CreateKeyRequest())
        assert 2 == len(world.names)
        await asyncio.sleep(10)
        assert world.holds(key)

    in_world(scene)


def test_an_error_that_is_new_is_not_taken_for_a_key_that_is_gone() -> None:
    """A delete that is answered with strange words is no proof: the list decides whether the key is gone."""

    async def scene(world: World) -> None:
        for error in ("ESandbox:No such error", "EGeneral:Invalid arguments:api_key_name not found"):
            for name in (None, "grid-bot"):
                world.sandbox.faults.add(Answer(200, {"error": [error]}), operation="delete_key")
                request = CreateKeyRequest(name) if name else CreateKeyRequest()
                with pytest.raises(OSError, match="the disk is full"):
                    await world.client.create_key(request, save=_store_nowhere)
                await asyncio.sleep(2)
                assert [] == world.names
                await asyncio.sleep(150)
                assert () == world.client.unsettled_keys

    in_world(scene)


def test_a_deletion_in_doubt_is_no_proof() -> None:
    """The first delete is lost, the second finds nothing, and the key comes after that: it is still looked for."""

    async def scene(world: World) -> None:
        for name in (None, "grid-bot"):
            world.sandbox.faults.add(LateCommit(15), operation="create_key")
            world.sandbox.faults.add(Answer(503), operation="delete_key")
            key = await world.client.create_key(CreateKeyRequest(name) if name else CreateKeyRequest())
            await asyncio.sleep(150)
            assert world.holds(key)
            assert () == world.client.unsettled_keys
            await world.client.delete_key(key.api_key_name)

    in_world(scene)


def test_a_deletion_that_comes_late_does_not_hit_the_next_key() -> None:
    """Under the caller's own name: a delete that is under way yet must not find the key that comes after."""

    async def scene(world: World) -> None:
        world.sandbox.faults.add(Answer(502, commit=True), operation="create_key")
        world.sandbox.faults.add(LateCommit(20), operation="delete_key")
        key = await world.client.create_key(CreateKeyRequest("grid-bot"))
        await asyncio.sleep(150)
        assert world.holds(key)

    in_world(scene)


def test_a_save_that_fails_is_told_at_once() -> None:
    """Where the key cannot be deleted yet, that goes on in the background; the caller is not kept waiting."""

    async def scene(world: World) -> None:
        world.sandbox.faults.add(Answer(503), operation="delete_key", times=8)
        with pytest.raises(OSError, match="the disk is full"):
            await world.client.create_key(CreateKeyRequest("grid-bot"), save=_store_nowhere)
        assert world.loop.time() < 10
        assert ["grid-bot"] == list(world.client.unsettled_keys)
        with pytest.raises(DuplicateKeyNameError):
            await world.client.create_key(CreateKeyRequest("grid-bot"))
        await asyncio.sleep(60)
        key = await world.client.create_key(CreateKeyRequest("grid-bot"))
        assert world.holds(key)
        assert () == world.client.unsettled_keys

    in_world(scene)


@pytest.mark.parametrize("name", ["grid-bot", None])
def test_a_save_may_do_as_it_likes_with_the_key(name: str | None) -> None:
    """It is within the call's turn with the name, and waits for none; once it is over, others have theirs."""

    async def scene(world: World) -> None:
        client = world.client
        begun: list[asyncio.Task[None]] = []

        async def change(key: FastApiKey) -> None:
            await client.update_key(UpdateKeyRequest(key.api_key_name, permissions=FUNDS))
            begun.append(asyncio.create_task(use_later(key.api_key_name)))

        async def use_later(name: str) -> None:
            await asyncio.sleep(10)
            await client.delete_key(name)

        async def delete(key: FastApiKey) -> None:
            await client.delete_key(key.api_key_name)
            raise OSError("the disk is full")

        async def rename(key: FastApiKey) -> None:
            await client.update_key(UpdateKeyRequest(key.api_key_name, new_api_key_name="renamed"))
            raise OSError("the disk is full")

        def request() -> CreateKeyRequest:
            return CreateKeyRequest() if name is None else CreateKeyRequest(name)

        for save in (delete, rename):
            with pytest.raises(OSError, match="disk"):
                await client.create_key(request(), save=save)
            await asyncio.sleep(0.1)  # the renamed key is deleted in the background
            assert ([], ()) == (world.names, client.unsettled_keys)
        key = await client.create_key(request(), save=change)
        assert world.holds(key)
        assert world.loop.time() < 1
        async with client._account.turns.hold(key.api_key_name):
            await asyncio.sleep(15)
            assert [key.api_key_name] == world.names  # what the save began is outside of the call by now
        await asyncio.gather(*begun)
        assert [] == world.names

    in_world(scene)


def test_a_turn_that_does_not_come_before_the_deadline() -> None:
    """Waiting for an earlier call on the same name is bounded, too; nothing was sent."""

    async def scene(world: World) -> None:
        async with world.client._account.turns.hold("grid-bot"):
            with pytest.raises(TransportError, match="an earlier call on the key 'grid-bot' is under way") as caught:
                await world.client.delete_key("grid-bot")
            assert ("not_sent", 10) == (caught.value.outcome, world.loop.time())
        with pytest.raises(KeyNotFoundError):
            await world.client.delete_key("grid-bot")

    in_world(scene, retry=RetryPolicy(deadline=10))


def test_a_look_that_was_cut_off_before_it_began_is_not_the_next_ones() -> None:
    """Whoever looks after it has a list of its own, and not the other's cancellation."""

    async def scene(world: World) -> None:
        lookout = world.client._janitor._lookout
        look = asyncio.ensure_future(lookout.look())
        await asyncio.sleep(0)
        assert lookout._next is not None
        lookout._next.cancel()
        await asyncio.wait({look})
        assert look.cancelled()
        assert {} == (await lookout.look()).keys

    in_world(scene)


def test_an_abandoned_call_is_not_sent_again_after_a_refusal() -> None:
    """Cancelled while the answer is on its way, which then is 429: nothing was done, and nothing more is."""

    async def scene(world: World) -> None:
        await world.client.create_key(CreateKeyRequest("grid-bot"))
        calls: list[Callable[[], Coroutine[Any, Any, object]]] = [
            lambda: world.client.create_key(CreateKeyRequest()),
            lambda: world.client.update_key(UpdateKeyRequest("grid-bot", nonce_window=7)),
            lambda: world.client.delete_key("grid-bot"),
        ]
        for call in calls:
            world.sandbox.requests.clear()
            world.sandbox.faults.add(Answer(429))
            task = asyncio.ensure_future(call())
            while not world.sandbox.requests:
                await asyncio.sleep(0)
            task.cancel()
            await asyncio.sleep(60)
            assert 1 == len(world.operations)
        assert ["grid-bot"] == world.names

    in_world(scene)


def test_only_the_probe_ends_a_lockout() -> None:
    """A request that was under way when the lockout came proves nothing; nor does a probe without an answer."""

    async def scene(world: World) -> None:
        lockout = Answer(200, {"error": ["EGeneral:Temporary lockout"]})
        world.sandbox.faults.add(Hang(), operation="get_user_info")
        early = asyncio.ensure_future(world.client.get_user_info())
        await asyncio.sleep(1)
        world.sandbox.faults.add(lockout, operation="list_keys")
        with pytest.raises(TemporaryLockoutError):
            await world.client.list_keys()
        with pytest.raises((TransportError, TemporaryLockoutError)):
            await early
        with pytest.raises(TemporaryLockoutError):
            await world.client.list_keys()
        await asyncio.sleep(900)
        world.sandbox.faults.add(Disconnect(), operation="list_keys")
        assert () == await world.client.list_keys()  # the probe had no answer, so the next request is one
        assert ["get_user_info", "list_keys", "list_keys", "list_keys"] == world.operations

    in_world(scene)


def test_a_refusal_after_a_ghost_is_no_certainty() -> None:
    """The second attempt was refused, and yet the first may show up: the error does not say that nothing was done."""

    async def scene(world: World) -> None:
        for delay, outcome in ((30, "unknown"), (0, "refused")):
            late = LateCommit(delay) if delay else Answer(504, commit=True)
            world.sandbox.faults.script("create_key", [late, FAULTS["429_huge"]])
            with pytest.raises(RateLimitedError) as caught:
                await world.client.create_key(CreateKeyRequest())
            assert outcome == caught.value.outcome
            await asyncio.sleep(130)
            assert [] == world.names

    in_world(scene)


def test_the_next_holder_of_a_name_keeps_its_key() -> None:
    """A key that nobody took is deleted late; meanwhile the name is another's, made in the same second."""

    async def scene(world: World) -> None:
        world.sandbox.faults.add(Answer(503, commit=True), operation="delete_key")
        first = asyncio.ensure_future(world.client.create_key(CreateKeyRequest("grid-bot"), save=_store_nowhere))
        await asyncio.sleep(0)
        second = asyncio.ensure_future(world.client.create_key(CreateKeyRequest("grid-bot")))
        with pytest.raises(OSError, match="disk"):
            await first
        key = await second
        await asyncio.sleep(600)
        assert world.holds(key)
        assert () == world.client.unsettled_keys

    in_world(scene)


def test_a_list_that_still_shows_a_deleted_key() -> None:
    """The old key of that name is no proof that the name was taken."""

    async def scene(world: World) -> None:
        await world.client.create_key(CreateKeyRequest("grid-bot"))
        await asyncio.sleep(60)
        await world.client.delete_key("grid-bot")
        world.sandbox.faults.add(Disconnect(commit=True), operation="create_key")
        assert world.holds(await world.client.create_key(CreateKeyRequest("grid-bot")))

    in_world(scene, list_lag=45)


def test_a_rename_to_a_name_that_is_taken_is_not_believed_done() -> None:
    """A list that does not show the young key yet, and shows another under the new name, proves nothing."""

    async def scene(world: World) -> None:
        await world.client.create_key(CreateKeyRequest("theirs"))
        await asyncio.sleep(60)
        world.sandbox.list_lag = 45
        await world.client.create_key(CreateKeyRequest("mine"))
        world.sandbox.faults.add(Truncate(40, head=True), operation="update_key")
        with pytest.raises(DuplicateKeyNameError):
            await world.client.update_key(UpdateKeyRequest("mine", new_api_key_name="theirs"))
        assert {"mine", "theirs"} == set(world.names)

    in_world(scene)


def test_a_young_key_that_has_the_new_name_is_not_the_renamed_one() -> None:
    """Nor if it was made so shortly before that times tell nothing: it was the client's own doing."""

    async def scene(world: World) -> None:
        await world.client.create_key(CreateKeyRequest("theirs"))
        await asyncio.sleep(4)
        await world.client.create_key(CreateKeyRequest("mine"))
        world.sandbox.faults.add(Disconnect(), operation="update_key")
        with pytest.raises(DuplicateKeyNameError):
            await world.client.update_key(UpdateKeyRequest("mine", new_api_key_name="theirs"))
        assert {"mine", "theirs"} == set(world.names)

    in_world(scene, list_lag=17)


def test_a_rename_is_judged_from_when_it_was_sent() -> None:
    """It has waited for its turn: what was made meanwhile, under the new name, is another's all the same."""

    async def scene(world: World) -> None:
        provider = StaticTokenProvider(world.sandbox.issue_token())
        other = FastKeyClient(provider, base_url=world.sandbox.base_url, _runtime=world.loop.runtime())
        async with other, world.client._account.turns.hold("mine"):
            rename = asyncio.ensure_future(world.client.update_key(UpdateKeyRequest("mine", new_api_key_name="theirs")))
            await asyncio.sleep(10)
            await other.create_key(CreateKeyRequest("theirs"))
            await asyncio.sleep(45)
            await other.create_key(CreateKeyRequest("mine"))
            world.sandbox.faults.add(Disconnect(), operation="update_key")
        with pytest.raises(DuplicateKeyNameError):
            await rename
        assert {"mine", "theirs"} == set(world.names)

    in_world(scene, list_lag=45, retry=RetryPolicy(deadline=300))


def test_a_key_that_may_have_been_renamed_is_not_taken_for_another_s_ghost() -> None:
    """Whether a rename was made was not waited for; a create of the new name, in doubt, leaves the key alone."""

    async def scene(world: World) -> None:
        key = await world.client.create_key(CreateKeyRequest("old"))
        world.sandbox.faults.add(Answer(503, commit=True), operation="update_key")
        rename = asyncio.ensure_future(world.client.update_key(UpdateKeyRequest("old", new_api_key_name="new")))
        while world.names != ["new"]:
            await asyncio.sleep(0)
        await asyncio.sleep(0.01)
        rename.cancel()
        world.sandbox.faults.add(Hang(), operation="create_key")
        with pytest.raises(DuplicateKeyNameError):
            await world.client.create_key(CreateKeyRequest("new"))
        assert rename.cancelled()
        assert world.holds(key)

    in_world(scene)


def test_a_list_that_still_shows_a_ghost_that_was_deleted() -> None:
    """The key of an earlier call, which the client has deleted itself, is no proof that the name was taken either."""

    async def scene(world: World) -> None:
        world.sandbox.faults.add(Disconnect(commit=True), operation="create_key", times=2)
        first = asyncio.ensure_future(world.client.create_key(CreateKeyRequest("grid-bot")))
        await asyncio.sleep(1)
        second = asyncio.ensure_future(world.client.create_key(CreateKeyRequest("grid-bot")))
        first.cancel()
        assert world.holds(await second)
        assert () == world.client.unsettled_keys

    in_world(scene, list_lag=45, retry=RetryPolicy(deadline=300))


@pytest.mark.parametrize("way", ["renamed", "deleted"])
def test_a_key_that_may_be_gone_is_no_proof_that_its_name_was_taken(way: str) -> None:
    """What became of it is not known, and the list may show it as it was: it is looked at until it is up to date."""

    async def scene(world: World) -> None:
        client = world.client
        await client.create_key(CreateKeyRequest("grid-bot"))
        await asyncio.sleep(60)
        if way == "renamed":
            world.sandbox.faults.add(Answer(503, commit=True), operation="update_key")
            rename = asyncio.ensure_future(client.update_key(UpdateKeyRequest("grid-bot", new_api_key_name="old-bot")))
            await asyncio.sleep(0.5)
            rename.cancel()
        else:
            world.sandbox.faults.add(Answer(503, commit=True), operation="delete_key", times=None)
            with pytest.raises(ServiceUnavailableError):
                await client.delete_key("grid-bot")
            world.sandbox.faults.clear()
        world.sandbox.faults.add(Disconnect(commit=True), operation="create_key")
        key = await client.create_key(CreateKeyRequest("grid-bot"))
        assert key.api_key in {live.api_key for live in world.sandbox.keys()}
        assert sorted(world.names) == (["grid-bot", "old-bot"] if way == "renamed" else ["grid-bot"])
        assert () == client.unsettled_keys

    in_world(scene, list_lag=45)


def test_a_late_key_of_a_name_that_was_another_s_is_told(caplog: pytest.LogCaptureFixture) -> None:
    """The name is free again before the request is carried out: the key is told of, and not deleted."""

    async def scene(world: World) -> None:
        await world.client.create_key(CreateKeyRequest("grid-bot"))
        world.sandbox.faults.add(LateCommit(15), operation="create_key")
        with pytest.raises(DuplicateKeyNameError):
            await world.client.create_key(CreateKeyRequest("grid-bot"))
        await world.client.delete_key("grid-bot")
        assert () == world.client.unsettled_keys
        await asyncio.sleep(60)
        assert ["grid-bot"] == world.names == list(world.client.unsettled_keys)
        assert "the key 'grid-bot' may exist though nobody holds it" in caplog.text
        await world.client.delete_key("grid-bot")
        assert [] == list(world.client.unsettled_keys)

    in_world(scene)


def test_timeouts_that_strike_after_sending_are_doubts() -> None:
    """A slow server and an impatient client: still one key."""

    async def scene(world: World) -> None:
        world.sandbox.faults.add(Hang(commit=True), operation="create_key", times=2)
        assert world.holds(await world.client.create_key(CreateKeyRequest()))

    in_world(scene, timeout=Timeouts(read=0.5))


def test_in_an_error_s_chain_there_is_no_secret() -> None:
    """The error that a doubt ends in, and those that it stands upon, are clean."""

    async def scene(world: World) -> None:
        world.sandbox.faults.add(Truncate(300), operation="create_key")
        world.sandbox.faults.add(Answer(500), operation="list_keys", times=None)
        with pytest.raises(UnknownOutcomeError) as caught:
            await world.client.create_key(CreateKeyRequest("grid-bot"))
        (key,) = world.sandbox.keys()
        assert_clean(caught.value, key.secret, key.api_key)
        assert isinstance(caught.value.__cause__, (ApiError, TransportError, FastKeyError))
        world.sandbox.faults.clear()

    in_world(scene)
