"""A lease's new keys: asked about before they are handed over, and not made over and over when they are refused."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any
from urllib.parse import parse_qs

import aiohttp
import attrs
import pytest
from lease_world import TEMPLATE, World, in_world

from kraken_fastkey import (
    FastApiKey,
    FastKeyClient,
    FastKeyError,
    InvalidRequestError,
    KeyLease,
    KeySigner,
    LeaseExpiredError,
    MemoryNonceSource,
    StaticTokenProvider,
    TemporaryLockoutError,
)
from kraken_fastkey.sandbox import Answer, Hang
from kraken_fastkey.stores import MemoryKeyStore

LIFE = timedelta(minutes=10)
NEVER = 10.0**9
START = 1_800_000_000

Ask = Callable[[FastApiKey], Any]


@asynccontextmanager
async def bot(world: World) -> AsyncIterator[Ask]:
    """Return what asks for the balance with a key, counting milliseconds, and returns Kraken's errors."""
    nonces = MemoryNonceSource("ms", _runtime=world.loop.runtime())
    async with aiohttp.ClientSession() as session:

        async def ask(key: FastApiKey) -> Any:
            signed = await KeySigner(key, nonces).sign("/0/private/Balance")
            url = world.sandbox.api_url + signed.path
            async with session.post(url, data=signed.body, headers=signed.headers) as answer:
                return (await answer.json())["error"]

        yield ask


def probes(world: World) -> list[int]:
    """Return when keys were asked about, in seconds from the beginning: their nonces tell it."""
    asked = [request for request in world.sandbox.requests if request.operation == "get_api_key_info"]
    return [int(parse_qs(request.body.decode())["nonce"][0]) - START for request in asked]


@pytest.mark.parametrize("delay", [0.0, 3.0, 9.9])
def test_the_first_key_is_known_when_the_lease_is_entered(delay: float) -> None:
    """The entry waits for that, three tries at most, five seconds apart; then the first use succeeds."""

    async def scene(world: World) -> None:
        async with world.lease() as lease, bot(world) as ask:
            assert [] == await ask(lease.key)
            assert [0, 5, 10][: 1 + int(-(-delay // 5))] == probes(world)
            assert lease.health.verified is True
            assert 1 == world.count("create_key")

    in_world(scene, propagation_delay=delay)


def test_a_key_that_stays_unknown_is_handed_over_and_kept(caplog: pytest.LogCaptureFixture) -> None:
    """After three tries it is told to be unverified, and is deleted by nobody."""

    async def scene(world: World) -> None:
        async with world.lease() as lease:
            assert [lease.key.api_key_name] == world.names
            assert ("valid", None) == (lease.health.state, lease.health.verified)
            await asyncio.sleep(1800)
            assert [lease.key.api_key_name] == world.names
            assert [0, 5, 10] == probes(world)

    in_world(scene, propagation_delay=NEVER)
    assert "does not know the new key" in caplog.text


def test_a_rotation_is_not_felt_though_new_keys_are_slow() -> None:
    """Each new key takes eight seconds to be known: a bot that asks each second is never refused."""

    async def scene(world: World) -> None:
        async with world.lease(lifetime=LIFE, grace=timedelta(0)) as lease, bot(world) as ask:
            refused = []
            used = set()
            for _ in range(1800):
                key = lease.key
                used.add(key.api_key_name)
                refused += await ask(key)
                assert len(world.names) <= 2
                await asyncio.sleep(1)
            assert 4 <= len(used) == lease.health.renewals
            assert [] == refused

    in_world(scene, propagation_delay=8.0)


def test_without_probes_the_same_rotation_is_felt() -> None:
    """What the test above shows is due to the probes."""

    async def scene(world: World) -> None:
        async with world.lease(lifetime=LIFE, probe=False) as lease, bot(world) as ask:
            refused = []
            for _ in range(600):
                refused += await ask(lease.key)
                await asyncio.sleep(1)
            assert 14 <= refused.count("EAPI:Invalid key")
            assert [] == probes(world)
            assert lease.health.verified is None

    in_world(scene, propagation_delay=8.0)


def test_an_old_key_that_is_about_to_end_is_replaced_at_once() -> None:
    """There is no time to ask then: a key that may not be known yet is better than none."""

    async def scene(world: World) -> None:
        options = {"lifetime": timedelta(minutes=2), "renew_before": timedelta(seconds=20), "check_every": None}
        async with world.lease(**options) as lease:
            for _ in range(600):
                _ = lease.key
                await asyncio.sleep(1)
            assert lease.health.renewals >= 5

    in_world(scene, propagation_delay=NEVER)


def test_a_key_that_is_taken_by_now_is_returned_again() -> None:
    """A bot that was refused with a new key too soon gets the same one, once Kraken takes it; none is made."""

    async def scene(world: World) -> None:
        async with world.lease() as lease, bot(world) as ask:
            key = lease.key  # after three tries, unknown
            assert ["EAPI:Invalid key"] == await ask(key)
            world.sandbox.propagation_delay = 18.0
            assert {key} == set(await asyncio.gather(*(lease.renew(key) for _ in range(20))))
            assert [] == await ask(key)
            assert (True, 1) == (lease.health.verified, world.count("create_key"))
            assert [0, 5, 10, 15, 20] == probes(world)

    in_world(scene, propagation_delay=NEVER)


def test_who_waits_for_a_key_is_woken_when_the_refused_one_is_taken() -> None:
    """While a refused key is tried again there is none to use; then that same key is the next of `keys()`."""

    async def scene(world: World) -> None:
        async with world.lease() as lease:
            key = lease.key  # after three tries, unknown
            world.sandbox.propagation_delay = 18.0
            renewal = asyncio.ensure_future(lease.renew(key))
            await asyncio.sleep(1)
            waiting = asyncio.ensure_future(anext(lease.keys()))
            await asyncio.sleep(1)
            assert not waiting.done()
            assert key == await renewal
            assert key == await asyncio.wait_for(waiting, 1)

    in_world(scene, propagation_delay=NEVER)


def test_a_key_in_use_is_known_by_its_nonce() -> None:
    """A bot that counts milliseconds is ahead of the probe, and Kraken says so: a key of which it knows the nonce."""

    async def scene(world: World) -> None:
        async with world.lease() as lease, bot(world) as ask:
            key = lease.key
            assert [] == await ask(key)
            assert key == await lease.renew(key)
            assert [] == await ask(key)
            assert 2 == len(probes(world))

    in_world(scene)


def test_a_new_key_that_its_user_deletes_is_replaced_at_once() -> None:
    """It was known, and is not any more: that takes one look, and no waiting."""

    async def scene(world: World) -> None:
        async with world.lease() as lease, bot(world) as ask:
            key = lease.key
            world.sandbox.revoke_key(key.api_key_name)
            new = await lease.renew(key)
            assert [] == await ask(new)
            assert [0, 0, 0] == probes(world)

    in_world(scene)


@pytest.mark.parametrize("probe", [True, False])
def test_keys_that_are_all_refused_are_not_made_over_and_over(*, probe: bool) -> None:
    """A bot asks for another key whenever it is refused: in six hours it has few, and is told when the next comes."""

    async def scene(world: World) -> None:
        async with world.lease(probe=probe) as lease, bot(world) as ask:
            waits = []
            while world.loop.time() < 6 * 3600:
                try:
                    key = lease.key
                    assert await ask(key)
                    await lease.renew(key)
                except LeaseExpiredError as error:
                    waits.append(error.retry_after or 0)
                    await asyncio.sleep(30)
            print(f"probe={probe}: {world.count('create_key')} keys in six hours, none of which ever worked")
            assert 20 <= world.count("create_key") <= 40
            assert 800 < max(waits) <= 900

    in_world(scene, propagation_delay=NEVER)


@pytest.mark.parametrize("probe", [True, False])
def test_two_leases_of_one_store_do_not_make_keys_over_and_over(*, probe: bool) -> None:
    """All keys are refused, and each lease's bot asks for another: the other lease's new key counts as new, too."""

    async def use(world: World, lease: KeyLease, ask: Ask) -> None:
        while world.loop.time() < 6 * 3600:
            try:
                key = lease.key
                assert await ask(key)
                await lease.renew(key)
            except LeaseExpiredError:
                await asyncio.sleep(30)

    async def scene(world: World) -> None:
        store = MemoryKeyStore()
        async with world.lease(store=store, probe=probe) as one, world.lease(store=store, probe=probe) as other:
            async with bot(world) as ask:
                await asyncio.gather(use(world, one, ask), use(world, other, ask))
        print(f"probe={probe}: {world.count('create_key')} keys in six hours, for two, none of which ever worked")
        assert 20 <= world.count("create_key") <= 60

    in_world(scene, propagation_delay=NEVER)


def test_a_new_key_of_another_lease_is_tried_again_too() -> None:
    """A key that another lease made a moment ago, and that is taken by now, is returned again; none is made."""

    async def scene(world: World) -> None:
        store = MemoryKeyStore()
        async with world.lease(store=store), world.lease(store=store) as other:
            key = other.key
            assert key == await other.renew(key)
            assert 1 == world.count("create_key")
            await asyncio.sleep(121)
            assert key != await other.renew(key)
            assert 2 == world.count("create_key")

    in_world(scene)


def test_a_bot_that_calls_renew_without_a_reason_makes_no_key() -> None:
    """A new key that Kraken takes is not replaced, however often somebody asks."""

    async def scene(world: World) -> None:
        async with world.lease() as lease:
            key = lease.key
            for _ in range(100):
                assert key == await lease.renew(key)
            assert 1 == world.count("create_key")

    in_world(scene)


def test_a_lockout_makes_no_further_key() -> None:
    """Whoever is refused while Kraken locks out is told so, for 15 minutes nothing is asked, and no key is made."""

    async def scene(world: World) -> None:
        async with world.lease() as lease, bot(world) as ask:
            key = lease.key
            assert ["EAPI:Invalid key"] == await ask(key)
            assert ["EGeneral:Temporary lockout"] == await ask(key)
            for _ in range(5):
                with pytest.raises(TemporaryLockoutError):
                    await lease.renew(key)
            assert 4 == len(probes(world))
            assert 1 == world.count("create_key")

    in_world(scene, propagation_delay=NEVER, lockout_after=4)


def test_a_lockout_while_a_key_is_introduced_is_told(caplog: pytest.LogCaptureFixture) -> None:
    """The key is handed over, and is not asked about any more."""

    async def scene(world: World) -> None:
        async with world.lease() as lease:
            assert [0, 5] == probes(world)
            assert ("valid", None) == (lease.health.state, lease.health.verified)

    in_world(scene, propagation_delay=NEVER, lockout_after=1)
    assert "has locked the new key" in caplog.text


def test_a_key_that_is_not_what_was_asked_for_is_told(caplog: pytest.LogCaptureFixture) -> None:
    """With its differences, and in the lease's health."""

    async def scene(world: World) -> None:
        info = {"apiKeyName": "x", "nonce": "0", "nonceWindow": 0, "permissions": ["withdraw-funds"], "validUntil": "0"}
        answer = Answer(200, {"error": [], "result": {**info, "queryFrom": "0", "queryTo": "0", "ipAllowlist": []}})
        world.sandbox.faults.add(answer, operation="get_api_key_info")
        async with world.lease() as lease:
            assert lease.health.verified is False
            assert "valid" == lease.health.state

    in_world(scene)
    assert "is not what was asked for" in caplog.text
    assert "funds_withdraw" in caplog.text


def test_from_another_address_a_key_is_known_and_no_more() -> None:
    """The bot runs elsewhere: Kraken refuses this address, so it knows the key; nobody waits for more."""

    async def scene(world: World) -> None:
        async with KeyLease(world.client, attrs.evolve(TEMPLATE, ip_allowlist=("203.0.113.7",))) as lease:
            assert [0] == probes(world)
            assert lease.health.verified is None

    in_world(scene)


@pytest.mark.parametrize("fault", [Hang(), Answer(500), Answer(200, {"error": ["EGeneral:Unknown method"]})])
def test_a_probe_that_fails_costs_no_key(fault: Any, caplog: pytest.LogCaptureFixture) -> None:
    """The key is handed over within half a minute."""

    async def scene(world: World) -> None:
        world.sandbox.faults.add(fault, operation="get_api_key_info", times=None)
        async with world.lease() as lease:
            assert world.loop.time() <= 25
            assert ("valid", None) == (lease.health.state, lease.health.verified)
            assert [lease.key.api_key_name] == world.names

    in_world(scene)
    assert "could not be probed" in caplog.text


def test_a_key_is_replaced_ahead_of_time_when_asked_for() -> None:
    """The old one is good, and serves for the grace; whoever asks at once gets the same new one."""

    async def scene(world: World) -> None:
        async with world.lease() as lease, bot(world) as ask:
            old = lease.key
            (new,) = set(await asyncio.gather(*(lease.renew() for _ in range(20))))
            assert new == lease.key != old
            assert [] == await ask(old)
            await asyncio.sleep(59)
            assert {old.api_key_name, new.api_key_name} == set(world.names)
            await asyncio.sleep(60)
            assert [new.api_key_name] == world.names
            assert 2 == lease.health.renewals

    in_world(scene)


@pytest.mark.parametrize("on_exit", ["delete", "keep"])
def test_an_entry_that_is_cancelled_leaves_no_key_behind(on_exit: str) -> None:
    """Whenever it is: the key that was made is deleted, or is in the store for the next start."""

    async def scene(world: World) -> None:
        moments = 0
        while True:
            store = MemoryKeyStore()
            entry = asyncio.ensure_future(world.lease(store=store, on_exit=on_exit).__aenter__())
            for _ in range(moments):
                await asyncio.sleep(0)
            if entry.done():
                await (await entry).__aexit__(None, None, None)
                break
            entry.cancel()
            await asyncio.wait({entry})
            assert entry.cancelled()
            await asyncio.sleep(300)
            record = await store.load()
            held = [] if record is None or record.current is None else [record.current.api_key_name]
            assert held == world.names
            for name in world.names:
                await world.client.delete_key(name)
            moments += 1
        print(f"on_exit={on_exit!r}: cancelled at {moments} moments of the entry, no key left that nobody has")
        assert moments >= 20

    in_world(scene)


def test_an_exit_that_is_cancelled_leaves_no_key_behind() -> None:
    """Whenever it is, and though the client is closed right after: closing waits for the deletions."""

    async def use(client: FastKeyClient, left: asyncio.Event) -> None:
        async with client:
            lease = await KeyLease(client, TEMPLATE).__aenter__()
            await lease.renew()
            left.set()
            await lease.__aexit__(None, None, None)

    async def scene(world: World) -> None:
        moments = 0
        while True:
            left = asyncio.Event()
            provider = StaticTokenProvider(world.sandbox.issue_token())
            bot = asyncio.ensure_future(use(world.client.for_account(provider), left))
            await left.wait()
            for _ in range(moments):
                await asyncio.sleep(0)
            done = bot.done()
            bot.cancel()
            await asyncio.wait({bot})
            assert [] == world.names, moments
            if done:
                break
            moments += 1
        print(f"cancelled at {moments} moments of the exit, no key left")
        assert moments >= 10

    in_world(scene)


def test_a_lease_is_entered_again_when_its_cancelled_exit_has_ended() -> None:
    """The exit goes on in the background, and must not delete the key of the next entry."""

    async def clear_up_slowly(_: FastApiKey) -> None:
        try:
            await asyncio.sleep(NEVER)
        finally:
            await asyncio.sleep(30)

    async def scene(world: World) -> None:
        lease = await world.lease(on_change=clear_up_slowly).__aenter__()
        await lease.renew()
        await asyncio.sleep(0)
        leaving = asyncio.ensure_future(lease.__aexit__(None, None, None))
        await asyncio.sleep(0)
        leaving.cancel()
        await asyncio.wait({leaving})
        assert leaving.cancelled()
        async with lease:
            assert [lease.key.api_key_name] == world.names
            await asyncio.sleep(600)
            assert [lease.key.api_key_name] == world.names
        assert [] == world.names

    in_world(scene)


def test_an_entry_that_is_cancelled_twice_leaves_no_key_behind() -> None:
    """The second time while the key is deleted, and the client is closed right after: closing waits for it."""

    async def use(client: FastKeyClient, store: MemoryKeyStore) -> None:
        async with client, KeyLease(client, TEMPLATE, store=store):
            await asyncio.sleep(NEVER)

    async def scene(world: World) -> None:
        moments = 0
        while True:
            store = MemoryKeyStore()
            provider = StaticTokenProvider(world.sandbox.issue_token())
            bot = asyncio.ensure_future(use(world.client.for_account(provider), store))
            await asyncio.sleep(7)
            assert 1 == len(world.names)
            # A deletion that has begun goes on as it is: let there be another one, which has not.
            async with store.lock():
                bot.cancel()
                for _ in range(moments):
                    await asyncio.sleep(0)
                bot.cancel()
                for _ in range(5):
                    await asyncio.sleep(0)
            await asyncio.wait({bot})
            assert [] == world.names, moments
            if moments == 5:
                break
            moments += 1

    in_world(scene, propagation_delay=NEVER)


def test_an_entry_that_is_cancelled_while_it_waits_for_the_key_leaves_none() -> None:
    """The key is made, and not known yet: it is deleted before the cancellation comes through."""

    async def scene(world: World) -> None:
        entry = asyncio.ensure_future(world.lease().__aenter__())
        await asyncio.sleep(7)
        assert 1 == len(world.names)
        entry.cancel()
        with pytest.raises(asyncio.CancelledError):
            await entry
        assert [] == world.names

    in_world(scene, propagation_delay=NEVER)


def test_a_life_that_cannot_be_given_costs_few_keys() -> None:
    """In two phases, a key is tried again as long as it lives, and is taken as soon as its life can be had."""

    async def scene(world: World) -> None:
        async with world.lease(two_phase=True) as lease:
            old = lease.key
            denied = Answer(403, {"error": ["EGeneral:Permission denied"]})
            world.sandbox.faults.add(denied, operation="update_key", times=None)
            await asyncio.sleep(5 * 3600)
            made, tried = world.count("create_key") - 1, world.count("update_key") - 1
            assert 5 <= made <= 8
            assert tried > 30
            assert old == lease.key
            assert len(world.names) <= 2
            world.sandbox.faults.clear()
            waiting = set(world.names) - {old.api_key_name}
            await asyncio.sleep(61)
            assert waiting == {lease.key.api_key_name}
            assert made == world.count("create_key") - 1
            await asyncio.sleep(300)
            (live,) = world.sandbox.keys()
            assert lease.key.valid_until is not None
            assert live.valid_until == int(lease.key.valid_until.timestamp())
        assert [] == world.names

    in_world(scene)


def test_a_key_without_its_life_that_is_deleted_is_replaced() -> None:
    """Its user has deleted it meanwhile: the next try makes another."""

    async def scene(world: World) -> None:
        async with world.lease(two_phase=True) as lease:
            old = lease.key
            denied = Answer(403, {"error": ["EGeneral:Permission denied"]})
            world.sandbox.faults.add(denied, operation="update_key", times=1)
            with pytest.raises(FastKeyError):
                await lease.renew()
            (waiting,) = set(world.names) - {old.api_key_name}
            world.sandbox.revoke_key(waiting)
            await asyncio.sleep(120)
            assert lease.key.api_key_name not in {old.api_key_name, waiting}
            assert lease.key.api_key_name in world.names

    in_world(scene)


@pytest.mark.parametrize("url", ["http://api.kraken.com", "api.kraken.com", 5])
def test_a_wrong_address_is_told(url: Any) -> None:
    """By its name, before anything is sent."""

    async def scene(world: World) -> None:
        with pytest.raises(InvalidRequestError, match="lease.api_url: "):
            world.lease(api_url=url)

    in_world(scene)


def test_another_address_is_asked() -> None:
    """The trading side may be elsewhere than the client's host."""

    async def scene(world: World) -> None:
        async with world.lease(api_url=f"{world.sandbox.api_url}/") as lease:
            assert lease.health.verified is True

    in_world(scene)


def test_no_secret_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    """Of a key that is asked about, at any level."""

    async def scene(world: World) -> None:
        async with world.lease() as lease:
            secret = lease.key.secret.get_secret_value()
            await asyncio.sleep(600)
            assert secret not in caplog.text

    with caplog.at_level(logging.DEBUG):
        in_world(scene, propagation_delay=20.0)
