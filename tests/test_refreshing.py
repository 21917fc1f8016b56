"""RefreshingTokenProvider against the sandbox: one refresh at a time, none lost, and an honest word when one is."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from datetime import UTC, datetime, timedelta
from typing import Any

import attrs
import pytest
from support import FakeTime, assert_clean

from kraken_fastkey import (
    AccessToken,
    AuthenticationError,
    CreateKeyRequest,
    FastKeyClient,
    FastKeyError,
    InvalidRequestError,
    ReauthorizationRequiredError,
    RetryPolicy,
    ServiceUnavailableError,
    StoreError,
    StoreLockTimeoutError,
    TokenUnavailableError,
    TransportError,
)
from kraken_fastkey._grant import Grant, Rotation
from kraken_fastkey._oauth import OAuthClient
from kraken_fastkey._refreshing import RefreshingTokenProvider
from kraken_fastkey.sandbox import Answer, Disconnect, KrakenSandbox
from kraken_fastkey.stores import GrantStore, MemoryGrantStore

REDIRECT = "http://127.0.0.1:8765/callback"
HOURS_4 = 14_400


class WatchedStore:
    """A store that counts, and fails on demand."""

    def __init__(self) -> None:
        self.inner = MemoryGrantStore()
        self.saves: list[Grant] = []
        self.failing_saves = 0
        self.failing_loads = 0
        self.failing_locks = 0

    async def load(self) -> Grant | None:
        """Load, or fail."""
        await asyncio.sleep(0)
        if self.failing_loads:
            self.failing_loads -= 1
            raise OSError("disk")
        return await self.inner.load()

    async def save(self, grant: Grant) -> Grant:
        """Save, or fail."""
        await asyncio.sleep(0)
        if self.failing_saves and grant.rotation is None:
            self.failing_saves -= 1
            raise OSError("disk")
        saved = await self.inner.save(grant)
        self.saves.append(saved)
        return saved

    def lock(self) -> AbstractAsyncContextManager[object]:
        """Lock, or fail."""
        if self.failing_locks:
            self.failing_locks -= 1
            raise StoreLockTimeoutError("somebody holds it")
        return self.inner.lock()


@attrs.frozen
class World:
    """A sandbox, an app, a store with a grant in it, and the time that they share."""

    sandbox: KrakenSandbox
    oauth: OAuthClient
    store: WatchedStore
    time: FakeTime

    def provider(self, store: GrantStore | None = None, **options: Any) -> RefreshingTokenProvider:
        """Return a provider of the stored grant."""
        return RefreshingTokenProvider(self.oauth, store or self.store, **options, _runtime=self.time.runtime)

    def client(self, provider: RefreshingTokenProvider) -> FastKeyClient:
        """Return a client that gets its tokens there, and gives no call up because the clock is set."""
        patient = RetryPolicy(deadline=None)
        return FastKeyClient(provider, base_url=self.sandbox.base_url, retry=patient, _runtime=self.time.runtime)

    async def log_in(self) -> Grant:
        """Have the user authorize the app, and store the grant."""
        request = self.oauth.authorization_request()
        code = self.oauth.read_callback(self.sandbox.approve(request.url), request)
        return await self.store.save(await self.oauth.exchange_code(code, request))

    @property
    def refreshes(self) -> int:
        """How many refreshes have reached the server."""
        bodies = [entry.body for entry in self.sandbox.requests if entry.operation == "token"]
        return sum(b"grant_type=refresh_token" in body for body in bodies)

    async def agrees(self) -> bool:
        """Whether the store ends with the pair that the server holds for current."""
        stored = await self.store.inner.load()
        held = self.sandbox.grants()[-1]
        return stored is not None and (held.access_token, held.refresh_token) == (
            stored.access_token.get_secret_value(),
            stored.refresh_token and stored.refresh_token.get_secret_value(),
        )


@pytest.fixture(name="make_world")
async def _make_world() -> AsyncIterator[Callable[..., Awaitable[World]]]:
    worlds: list[World] = []

    async def make(**options: Any) -> World:
        time = FakeTime(datetime.now(UTC).timestamp())
        sandbox = KrakenSandbox(clock=time.time, **options)
        await sandbox.start()
        oauth = OAuthClient(
            sandbox.client_id,
            redirect_uri=REDIRECT,
            authorize_url=sandbox.authorize_url,
            token_url=sandbox.token_url,
            timeout=5.0,
            _runtime=time.runtime,
        )
        world = World(sandbox, oauth, WatchedStore(), time)
        worlds.append(world)
        await world.log_in()
        return world

    yield make
    for world in worlds:
        await world.oauth.aclose()
        await world.sandbox.aclose()


@pytest.fixture(name="world")
async def _world(make_world: Callable[..., Awaitable[World]]) -> World:
    return await make_world()


async def test_a_good_token_comes_from_the_store(world: World) -> None:
    """While the token is good nothing is asked of anybody."""
    provider = world.provider()
    stored = await world.store.inner.load()
    assert stored is not None
    tokens = await asyncio.gather(*(provider.get_token() for _ in range(100)))
    assert {stored.to_access_token()} == set(tokens)
    assert 0 == world.refreshes


async def test_without_a_grant_there_is_a_typed_error(world: World) -> None:
    """Nobody has logged in: that is told as such, and nothing is sent."""
    with pytest.raises(ReauthorizationRequiredError, match="there is no grant in the store") as caught:
        await world.provider(MemoryGrantStore()).get_token()
    assert ("missing", 0) == (caught.value.cause, world.refreshes)


async def test_an_expired_token_is_refreshed_and_saved_before_anybody_sees_it(world: World) -> None:
    """Intent, request, result, and only then the token."""
    world.time.now += HOURS_4
    provider = world.provider()
    before = len(world.store.saves)
    token = await provider.get_token()
    intent, result = world.store.saves[before:]
    assert (1, True) == (intent.generation, intent.rotation is not None)
    assert (2, None, token.value) == (result.generation, result.rotation, result.access_token)
    assert await world.agrees()


async def test_ten_thousand_calls_with_an_expired_token_are_one_refresh(
    make_world: Callable[..., Awaitable[World]],
) -> None:
    """10,000 concurrent create_key calls: exactly 1 token request, 0 failures."""
    world = await make_world(max_keys=10_000)
    world.time.now += HOURS_4
    async with world.client(world.provider()) as client:
        await asyncio.gather(*(client.create_key(CreateKeyRequest(f"bot-{n}")) for n in range(10_000)))
    print(f"10,000 calls with an expired token: {world.refreshes} token request, {len(world.sandbox.keys())} keys")
    assert (1, 10_000) == (world.refreshes, len(world.sandbox.keys()))


async def test_ten_thousand_calls_with_a_401_in_flight_are_one_refresh(
    make_world: Callable[..., Awaitable[World]],
) -> None:
    """The same where the server has ended the token early, so that each call is refused once."""
    world = await make_world(max_keys=10_000)
    provider = world.provider()
    await provider.get_token()
    world.sandbox.expire_access_tokens()
    async with world.client(provider) as client:
        await asyncio.gather(*(client.create_key(CreateKeyRequest(f"bot-{n}")) for n in range(10_000)))
    refused = sum(entry.status == 401 for entry in world.sandbox.requests)
    print(f"10,000 calls, {refused} of them refused: {world.refreshes} token request")
    assert (1, 10_000) == (world.refreshes, len(world.sandbox.keys()))


async def test_a_refresh_comes_ahead_of_expiry_and_not_in_step(world: World) -> None:
    """Five minutes ahead at most, a fifth of that less by chance: 4 to 5 minutes, over a fleet."""
    for chance, window in ((0.0, 300.0), (0.999, 240.0)):
        world.time.chance = chance
        provider = world.provider()
        await provider.get_token()
        assert window == pytest.approx(provider._expires - provider._early, abs=1)
    provider = world.provider()
    await provider.get_token()
    world.time.now = provider._early - 1
    await provider.get_token()
    assert 0 == world.refreshes
    world.time.now += 2
    await provider.get_token()
    assert 1 == world.refreshes


async def test_the_early_window_is_a_tenth_of_a_short_life(world: World) -> None:
    """A token of a minute is not refreshed all the time."""
    now = datetime.fromtimestamp(world.time.now, UTC)
    store = MemoryGrantStore()
    await store.save(Grant("FAKE-A", "FAKE-R", now + timedelta(seconds=60), issued_at=now))
    provider = world.provider(store)
    await provider.get_token()
    assert 6 >= provider._expires - provider._early > 0


async def test_a_failed_early_refresh_is_nobody_s_trouble(world: World) -> None:
    """While the token holds callers get it, and the server is asked again after half a minute or more."""
    world.time.now += HOURS_4 - 60
    world.sandbox.faults.add(Answer(503), operation="token", times=100)
    provider = world.provider()
    tokens = {await provider.get_token() for _ in range(100)}
    first = world.refreshes
    assert (1, 3) == (len(tokens), first)  # one, and two replays of it
    world.sandbox.faults.clear()
    world.time.now += 61
    await provider.get_token()
    assert (first + 1, True) == (world.refreshes, await world.agrees())


async def test_a_failure_is_shared_and_remembered_briefly(world: World) -> None:
    """A hundred callers who need a token share one failure; the next after it asks again."""
    world.time.now += HOURS_4
    world.sandbox.faults.add(Answer(503), operation="token", times=3)
    provider = world.provider()
    results = await asyncio.gather(*(provider.get_token() for _ in range(100)), return_exceptions=True)
    assert {ServiceUnavailableError} == {type(result) for result in results}
    assert 100 == len({id(result) for result in results})
    assert 3 == world.refreshes
    with pytest.raises(ServiceUnavailableError):
        await provider.get_token()
    assert 3 == world.refreshes
    world.time.now += 5
    assert (await provider.get_token()).value
    assert await world.agrees()


async def test_a_failed_early_refresh_does_not_stand_in_the_way_of_a_401(world: World) -> None:
    """A early refresh fails, another process refreshes, the old token dies: the store is looked into at once."""
    world.time.now += HOURS_4 - 60
    provider, other = world.provider(), world.provider()
    world.sandbox.faults.add(Answer(503), operation="token", times=3)
    old = await provider.get_token()
    await other.get_token()
    assert (await provider.get_token(rejected=old)).value != old.value
    assert 4 == world.refreshes


async def test_a_grant_without_a_refresh_token_is_told_as_such(world: World) -> None:
    """When its access token has run out there is nothing to refresh it with, and nothing is sent."""
    store = MemoryGrantStore()
    now = datetime.fromtimestamp(world.time.now, UTC)
    await store.save(Grant("FAKE-A", None, now - timedelta(seconds=1), issued_at=now - timedelta(hours=4)))
    with pytest.raises(ReauthorizationRequiredError, match="it has no refresh token") as caught:
        await world.provider(store).get_token()
    assert ("expired", 0) == (caught.value.cause, world.refreshes)


async def test_late_401s_for_an_old_token_refresh_nothing(world: World) -> None:
    """Whoever shows a token that is not the present one gets the present one."""
    provider = world.provider()
    old = await provider.get_token()
    new = await provider.get_token(rejected=old)
    again = await asyncio.gather(*(provider.get_token(rejected=old) for _ in range(200)))
    assert ({new}, 1) == (set(again), world.refreshes)
    assert new.value != old.value


async def test_a_fresh_token_that_is_refused_is_an_error(world: World) -> None:
    """No refresh loop: the second refusal ends the call, after two attempts and one refresh."""
    world.sandbox.faults.add(Answer(401), operation="list_keys", times=100)
    async with world.client(world.provider()) as client:
        with pytest.raises(AuthenticationError, match="fresh from a refresh") as caught:
            await client.list_keys()
    assert (2, 1, "list_keys") == (caught.value.attempts, world.refreshes, caught.value.operation)


async def test_a_lost_answer_is_asked_for_again(make_world: Callable[..., Awaitable[World]]) -> None:
    """Where the server lets the last refresh token be used again for a moment, nothing is lost."""
    world = await make_world(refresh_reuse_grace=15.0)
    world.time.now += HOURS_4
    world.sandbox.faults.add(Disconnect(commit=True), operation="token")
    assert (await world.provider().get_token()).value
    assert [1.0] == world.time.sleeps
    assert await world.agrees()


async def test_a_lost_answer_that_is_not_given_again_is_told_as_such(world: World) -> None:
    """Without that, the user must log in again, and the error says why."""
    world.time.now += HOURS_4
    world.sandbox.faults.add(Disconnect(commit=True), operation="token")
    with pytest.raises(ReauthorizationRequiredError) as caught:
        await world.provider().get_token()
    assert ("lost_reply", 2) == (caught.value.cause, world.refreshes)
    assert_clean(caught.value)


async def test_a_refresh_that_did_not_arrive_is_sent_again(world: World) -> None:
    """A connection lost before the server did anything: the same refresh token is good still."""
    world.time.now += HOURS_4
    world.sandbox.faults.add(Disconnect(), operation="token", times=2)
    assert (await world.provider().get_token()).value
    assert await world.agrees()


async def test_a_refresh_that_was_interrupted_is_told_as_such(world: World) -> None:
    """A process that died between request and save: the next one finds its entry, tries, and says what happened."""
    stored = await world.store.load()
    assert stored is not None
    await world.store.save(attrs.evolve(stored, rotation=Rotation(started_at=datetime.now(UTC), owner="dead:1")))
    world.time.now += HOURS_4
    await world.oauth.refresh(stored)  # what the dead process did
    with pytest.raises(ReauthorizationRequiredError) as caught:
        await world.provider().get_token()
    assert "interrupted_rotation" == caught.value.cause


async def test_an_interrupted_refresh_that_never_arrived_is_made_good(world: World) -> None:
    """If the dead process' request was never carried out, the next start goes on as if nothing had been."""
    stored = await world.store.load()
    assert stored is not None
    await world.store.save(attrs.evolve(stored, rotation=Rotation(started_at=datetime.now(UTC), owner="dead:1")))
    world.time.now += HOURS_4
    assert (await world.provider().get_token()).value
    assert await world.agrees()
    again = await world.store.load()
    assert again is not None
    assert again.rotation is None


async def test_a_revoked_grant_costs_one_request(world: World) -> None:
    """The next thousand calls send none; the store keeps the grant; a new login is found there."""
    world.sandbox.revoke_grant()
    provider = world.provider()
    token = await provider.get_token()
    for _ in range(1000):
        with pytest.raises(ReauthorizationRequiredError) as caught:
            await provider.get_token(rejected=token)
        assert "revoked" == caught.value.cause
        world.time.now += 5
    assert 1 == world.refreshes
    assert await world.store.load() is not None
    await world.log_in()
    assert (await provider.get_token(rejected=token)).value != token.value
    assert 1 == world.refreshes


async def test_a_grant_that_died_of_age_is_told_as_such(world: World, caplog: pytest.LogCaptureFixture) -> None:
    """After 30 days without a refresh; the days before it is announced."""
    world.time.now += 25 * 86_400
    await world.provider().get_token()
    assert "the grant dies of age in 5.0 days" in caplog.text
    world.time.now += 31 * 86_400
    with pytest.raises(ReauthorizationRequiredError) as caught:
        await world.provider().get_token()
    assert "expired" == caught.value.cause


async def test_another_process_refresh_is_found_in_the_store(world: World) -> None:
    """Two providers on one store, an expired token: one refresh between them."""
    world.time.now += HOURS_4
    providers = [world.provider() for _ in range(8)]
    tokens = await asyncio.gather(*(provider.get_token() for provider in providers))
    assert (1, 1) == (len(set(tokens)), world.refreshes)
    world.time.now += HOURS_4
    assert 1 == len({await provider.get_token() for provider in providers})
    assert 2 == world.refreshes


async def test_a_lock_that_is_not_to_be_had_sends_nothing(world: World) -> None:
    """Who cannot lock the store leaves the grant alone."""
    world.time.now += HOURS_4
    world.store.failing_locks = 1
    provider = world.provider()
    with pytest.raises(StoreLockTimeoutError):
        await provider.get_token()
    assert 0 == world.refreshes
    world.time.now += 5
    assert (await provider.get_token()).value


async def test_a_store_that_raises_is_a_store_error(world: World) -> None:
    """Whatever a user's store raises: one class to catch, its exception as the cause."""
    world.store.failing_loads = 1
    with pytest.raises(StoreError, match="the store raised OSError") as caught:
        await world.provider().get_token()
    assert isinstance(caught.value.__cause__, OSError) or caught.value.__cause__ is None
    assert 0 == world.refreshes


async def test_a_store_that_fails_three_saves_and_then_works(world: World, caplog: pytest.LogCaptureFixture) -> None:
    """The grant is kept and used, saving is tried at each use, and in the end store and memory agree."""
    world.time.now += HOURS_4
    world.store.failing_saves = 3
    provider = world.provider()
    token = await provider.get_token()
    assert not await world.agrees()
    assert {token} == {await provider.get_token() for _ in range(5)}
    assert (True, 1) == (await world.agrees(), world.refreshes)
    assert 3 == caplog.text.count("is not saved yet")
    stored = await world.store.load()
    assert stored is not None
    assert token == stored.to_access_token()


async def test_a_login_during_a_refresh_wins(world: World) -> None:
    """A pair that cannot be saved since a newer grant is stored makes way for that one."""
    world.time.now += HOURS_4
    provider = world.provider()
    refresh = world.oauth.refresh

    async def refresh_and_log_in(grant: Grant) -> Grant:
        fresh = await refresh(grant)
        await world.log_in()
        return fresh

    world.oauth.refresh = refresh_and_log_in  # type: ignore[method-assign]
    token = await provider.get_token()
    stored = await world.store.load()
    assert stored is not None
    assert (stored.to_access_token(), 2) == (token, stored.generation)
    assert token == await provider.get_token()


async def test_a_pair_that_is_not_saved_yet_is_saved_before_the_next_refresh(world: World) -> None:
    """The next refresh builds on the pair in memory, which goes into the store first."""
    world.time.now += HOURS_4
    world.store.failing_saves = 2  # by the refresh, and right after it
    provider = world.provider()
    await provider.get_token()
    world.time.now += HOURS_4
    before = len(world.store.saves)
    await provider.get_token()
    assert [(2, False), (2, True), (3, False)] == [
        (grant.generation, grant.rotation is not None) for grant in world.store.saves[before:]
    ]
    assert (2, True) == (world.refreshes, await world.agrees())


async def test_saving_again_may_fail_in_any_way(world: World, caplog: pytest.LogCaptureFixture) -> None:
    """A store that cannot even be locked keeps nobody from using the pair in memory."""
    world.time.now += HOURS_4
    world.store.failing_saves = 2  # by the refresh, and right after it
    provider = world.provider()
    token = await provider.get_token()
    world.store.failing_locks = 1
    assert token == await provider.get_token()
    assert "the grant of generation 2 is not saved yet: StoreLockTimeoutError" in caplog.text
    assert token == await provider.get_token()
    assert await world.agrees()


@pytest.mark.parametrize("before", ["nothing", "a dead grant"])
async def test_a_login_is_noticed_at_once(world: World, before: str) -> None:
    """Whoever was told that nobody has logged in, or that the grant is dead, has a token right after the login."""
    store = world.store if before == "a dead grant" else WatchedStore()
    provider = world.provider(store)
    world.sandbox.revoke_grant()
    world.time.now += HOURS_4
    with pytest.raises(ReauthorizationRequiredError):
        await provider.get_token()
    request = world.oauth.authorization_request()
    code = world.oauth.read_callback(world.sandbox.approve(request.url), request)
    await store.save(await world.oauth.exchange_code(code, request))
    token = await provider.get_token()
    assert world.sandbox.grants()[-1].access_token == token.value.get_secret_value()


async def test_a_newer_grant_in_the_store_outweighs_an_invalid_grant(world: World) -> None:
    """Somebody refreshed although we held the lock: their pair is taken, nothing is wiped, nobody logs in again."""
    world.time.now += HOURS_4
    refresh = world.oauth.refresh

    async def refresh_after_another(grant: Grant) -> Grant:
        await world.store.save(await refresh(attrs.evolve(grant, rotation=None)))
        return await refresh(grant)

    world.oauth.refresh = refresh_after_another  # type: ignore[method-assign]
    token = await world.provider().get_token()
    stored = await world.store.load()
    assert stored is not None
    assert (2, token) == (stored.generation, stored.to_access_token())


async def test_a_refresh_that_another_has_used_up_is_told_as_such(world: World) -> None:
    """A pair whose successor is in no store that we know of."""
    world.time.now += HOURS_4
    refresh = world.oauth.refresh

    async def refresh_after_another(grant: Grant) -> Grant:
        await refresh(grant)
        world.store.inner = MemoryGrantStore()
        return await refresh(grant)

    world.oauth.refresh = refresh_after_another  # type: ignore[method-assign]
    with pytest.raises(ReauthorizationRequiredError) as caught:
        await world.provider().get_token()
    assert "superseded" == caught.value.cause


async def test_closing_saves_what_could_not_be_saved(world: World, caplog: pytest.LogCaptureFixture) -> None:
    """aclose() tries once more, and says it loudly if that fails, too."""
    world.time.now += HOURS_4
    for failing, saved in ((1, True), (2, False)):
        world.store.failing_saves = failing
        world.time.now += HOURS_4
        async with world.provider() as provider:
            await provider.get_token()
            world.store.failing_saves = failing - 1
        assert saved is await world.agrees()
        assert saved is ("could not be saved: the user will have to log in again" not in caplog.text)


async def test_cancelling_the_caller_at_every_point_loses_nothing(make_world: Callable[..., Awaitable[World]]) -> None:
    """Cancelled after 0, 1, 2 ... steps of the loop: the store always ends with the pair that the server holds."""
    steps = 0
    cancelled = True
    while cancelled:
        world = await make_world()
        world.time.now += HOURS_4
        provider = world.provider()
        call = asyncio.create_task(provider.get_token())
        for _ in range(steps):
            await asyncio.sleep(0)
        cancelled = call.cancel()
        await asyncio.wait({call})
        await provider.aclose()
        if world.refreshes:
            assert await world.agrees(), f"lost at step {steps}"
        assert (await provider.get_token()).value
        assert await world.agrees()
        assert 1 >= world.refreshes
        steps += 1
    print(f"cancelled at each of {steps} steps: 0 grants lost")
    assert 10 < steps


async def test_calls_under_way_are_spared(world: World) -> None:
    """500 calls across 20 early refreshes: no caller, and no request, sees a 401."""
    provider = world.provider()
    async with world.client(provider) as client:

        async def call() -> None:
            for _ in range(10):
                await client.list_keys()

        for _ in range(20):
            calls = [asyncio.create_task(call()) for _ in range(25)]
            await asyncio.sleep(0.005)
            world.time.now = provider._early + 1
            await asyncio.gather(*calls)
    refused = sum(entry.status == 401 for entry in world.sandbox.requests)
    print(f"{len(world.sandbox.requests)} requests across {world.refreshes} early refreshes: {refused} refused")
    assert (20, 0) == (world.refreshes, refused)


@pytest.mark.parametrize("jump", [-12 * 3600, 12 * 3600])
async def test_a_wall_clock_that_jumps_causes_no_refresh(world: World, jump: int) -> None:
    """The token's life is reckoned on the clock that never jumps."""
    wall = FakeTime(world.time.now)
    runtime = attrs.evolve(world.time.runtime, time=wall.time)
    provider = RefreshingTokenProvider(world.oauth, world.store, _runtime=runtime)
    await provider.get_token()
    wall.now += jump
    for _ in range(100):
        await provider.get_token()
    assert 0 == world.refreshes


async def test_nothing_secret_is_logged(world: World, caplog: pytest.LogCaptureFixture) -> None:
    """Refreshes that succeed, fail and die, at DEBUG: no token."""
    caplog.set_level("DEBUG")
    secrets = [grant.access_token for grant in world.sandbox.grants()]
    provider = world.provider()
    for fault in (None, Answer(503), Disconnect(commit=True)):
        world.time.now += HOURS_4
        if fault is not None:
            world.sandbox.faults.add(fault, operation="token")
        try:
            await provider.get_token()
        except FastKeyError as error:
            assert_clean(error, *secrets)
        held = world.sandbox.grants()[-1]
        secrets += [held.access_token, held.refresh_token]
    assert all(secret not in caplog.text for secret in secrets)


@pytest.mark.parametrize("refresh_before", [timedelta(seconds=-1), 300, None])
def test_a_wrong_window_is_refused(refresh_before: Any) -> None:
    """The early window is a timedelta, 0 or more."""
    with pytest.raises(InvalidRequestError, match="refresh_before"):
        RefreshingTokenProvider(None, None, refresh_before)  # type: ignore[arg-type]  # not looked at before


async def test_a_refresh_that_is_not_sent_is_an_error_of_the_network(world: World) -> None:
    """A server that is away: nothing is spent, the journal is clean again, and later it works."""
    world.time.now += HOURS_4
    await world.sandbox.aclose()
    provider = world.provider()
    with pytest.raises(TransportError) as caught:
        await provider.get_token()
    assert "not_sent" == caught.value.outcome
    stored = await world.store.load()
    assert stored is not None
    assert stored.rotation is None
    await world.sandbox.start()
    world.time.now += 5
    assert (await provider.get_token()).value


async def test_a_custom_access_token_as_rejected(world: World) -> None:
    """A token that was never this grant's is no reason to refresh."""
    provider = world.provider()
    assert (await provider.get_token(rejected=AccessToken("FAKE-STRANGER"))).value
    assert 0 == world.refreshes


def test_two_event_loops_have_a_provider_each() -> None:
    """In another loop a provider says so; a second one on the same store gives the same token."""
    store = MemoryGrantStore()
    oauth = OAuthClient("FAKE-app", redirect_uri=REDIRECT)
    later = datetime.now(UTC) + timedelta(hours=4)
    with asyncio.Runner() as first, asyncio.Runner() as second:
        first.run(store.save(Grant("FAKE-A", "FAKE-R", later)))
        provider = RefreshingTokenProvider(oauth, store)
        token = first.run(provider.get_token())
        with pytest.raises(TokenUnavailableError, match="belongs to another event loop"):
            second.run(provider.get_token())
        assert token == second.run(RefreshingTokenProvider(oauth, store).get_token())
