"""KeyLease: a key that is always valid, over days that pass at once."""

from __future__ import annotations

import asyncio
import platform
import subprocess
import sys
from datetime import timedelta
from typing import Any

import pytest
from lease_world import TEMPLATE, World, in_world

from kraken_fastkey import (
    CreateKeyRequest,
    FastApiKey,
    FastKeyClient,
    FastKeyError,
    InvalidRequestError,
    KeyLease,
    LeaseExpiredError,
    Permissions,
    StaleRecordError,
    StoreError,
)
from kraken_fastkey._leasing import _place, is_dead, make_instance
from kraken_fastkey.sandbox import Answer, Disconnect, Drip, Hang
from kraken_fastkey.stores import KeyStore, MemoryKeyStore

HOUR = timedelta(hours=1)


def test_a_lease_has_a_key_and_deletes_it() -> None:
    """On entry there is a key of a short life; on exit it is gone."""

    async def scene(world: World) -> None:
        async with world.lease() as lease:
            (live,) = world.sandbox.keys()
            assert live.secret == lease.key.secret.get_secret_value()
            assert live.valid_until == int(world.loop.wall_clock()) + 6 * 3600
            assert live.api_key_name.startswith("lease-")
            assert {"funds_query": True} == dict(live.permissions)
            assert ("valid", 1) == (lease.health.state, lease.health.renewals)
        assert [] == world.names
        assert "closed" == lease.health.state
        with pytest.raises(LeaseExpiredError, match="the lease is closed and has no good key: enter it"):
            _ = lease.key

    in_world(scene)


def test_a_key_is_renewed_ahead_of_its_end() -> None:
    """The new key comes first, the old one goes after the grace; there are never more than two, and never none."""

    async def scene(world: World) -> None:
        changes: list[str] = []
        async with world.lease(lifetime=6 * HOUR, on_change=lambda key: changes.append(key.api_key_name)) as lease:
            seen = {lease.key.api_key_name}
            for _ in range(24 * 30):
                await asyncio.sleep(100)
                assert lease.key.api_key_name in world.names
                assert len(world.names) <= 2
                seen.add(lease.key.api_key_name)
            assert 5 <= len(seen) <= 6
            assert len(seen) == lease.health.renewals == len(changes) + 1
        assert [] == world.names

    in_world(scene)


def test_keys_come_one_after_the_other() -> None:
    """`async for` yields the present key, then each new one, and ends with the lease."""

    async def scene(world: World) -> None:
        keys: list[FastApiKey] = []

        async def follow(lease: KeyLease) -> None:
            keys.extend([key async for key in lease.keys()])

        async with world.lease(lifetime=HOUR) as lease:
            task = asyncio.ensure_future(follow(lease))
            await asyncio.sleep(2 * 3600)
        await asyncio.wait_for(task, 1)
        assert lease.health.renewals == len({key.api_key_name for key in keys}) == len(keys) >= 3

    in_world(scene)


def test_a_stored_key_is_taken_again() -> None:
    """Kept on exit, the key serves the next start; when it is too old, there is another."""

    async def scene(world: World) -> None:
        store = MemoryKeyStore()
        async with world.lease(store=store, on_exit="keep") as lease:
            first = lease.key
        assert [first.api_key_name] == world.names
        async with world.lease(store=store, on_exit="keep") as lease:
            assert first == lease.key
            assert 0 == lease.health.renewals
        await asyncio.sleep(5 * 3600)
        async with world.lease(store=store) as lease:
            assert first != lease.key
            await asyncio.sleep(300)
            assert [lease.key.api_key_name] == world.names
        assert [] == world.names

    in_world(scene)


def test_two_leases_of_one_store_share_a_key() -> None:
    """They do not fight: one renews, the other takes what it has made, and the last one to leave deletes."""

    async def scene(world: World) -> None:
        store = MemoryKeyStore()
        async with world.lease(store=store, lifetime=HOUR) as one:
            async with world.lease(store=store, lifetime=HOUR) as other:
                assert one.key == other.key
                for _ in range(100):
                    await asyncio.sleep(120)
                    assert {one.key.api_key_name, other.key.api_key_name} <= set(world.names)
                    assert len(world.names) <= 2
                made = one.health.renewals + other.health.renewals
                assert 4 <= made <= 6
            assert one.key.api_key_name in world.names
        assert [] == world.names

    in_world(scene)


def test_a_crash_is_cleared_up_at_the_next_start() -> None:
    """A key that was made and never stored is deleted; no other key is touched, of whatever beginning."""

    async def scene(world: World) -> None:
        store = MemoryKeyStore()
        async with world.lease(store=store, on_exit="keep"):
            pass
        record = await store.load()
        assert record is not None
        await world.client.create_key(CreateKeyRequest(f"lease-{record.owner}-0123456789"))
        others = ["lease-ffffff-0123456789", "lease-", "grid-bot", f"lease-{record.owner}"]
        for name in others:
            await world.client.create_key(CreateKeyRequest(name))
        async with world.lease(store=store) as lease:
            assert {lease.key.api_key_name, *others} == set(world.names)
        assert set(others) == set(world.names)

    in_world(scene)


def test_an_outage_is_survived_while_the_key_lives() -> None:
    """The lease says that it is failing, goes on with its key, and renews it when Kraken is back."""

    async def scene(world: World) -> None:
        async with world.lease(lifetime=6 * HOUR) as lease:
            await asyncio.sleep(3.9 * 3600)
            key = lease.key
            async with world.sandbox.unreachable():
                await asyncio.sleep(3600)
                assert key == lease.key
                assert "failing" == lease.health.state
                assert isinstance(lease.health.last_error, FastKeyError)
            await asyncio.sleep(300)
            assert key != lease.key
            assert lease.health.last_error is None
            assert [lease.key.api_key_name] == world.names

    in_world(scene)


def test_an_outage_longer_than_the_key_s_life_is_told() -> None:
    """There is no key to hand out then, and the error says so; afterwards there is one."""

    async def scene(world: World) -> None:
        async with world.lease(lifetime=HOUR) as lease:
            async with world.sandbox.unreachable():
                await asyncio.sleep(2 * 3600)
                assert "expired" == lease.health.state
                with pytest.raises(LeaseExpiredError, match="the last renewal failed: TransportError"):
                    _ = lease.key
            await asyncio.sleep(200)
            assert [lease.key.api_key_name] == world.names

    in_world(scene)


def test_a_key_that_its_user_deletes_is_replaced() -> None:
    """Noticed at the next look, replaced, and reported."""

    async def scene(world: World) -> None:
        changes: list[FastApiKey] = []

        async def note(key: FastApiKey) -> None:
            changes.append(key)

        async with world.lease(on_change=note) as lease:
            key = lease.key
            await asyncio.sleep(600)
            assert lease.health.checked_at is not None
            await world.client.delete_key(key.api_key_name)
            await asyncio.sleep(310)
            assert [lease.key] == changes
            assert [lease.key.api_key_name] == world.names

    in_world(scene)


def test_a_key_that_was_refused_is_replaced_once() -> None:
    """However many are refused with it at once, there is one new key for all of them."""

    async def scene(world: World) -> None:
        async with world.lease() as lease:
            key = lease.key
            await world.client.delete_key(key.api_key_name)
            renewed = await asyncio.gather(*(lease.renew(key) for _ in range(50)))
            assert {lease.key.api_key_name} == {new.api_key_name for new in renewed}
            assert lease.key == await lease.renew(key)
            assert 2 == lease.health.renewals
            assert [lease.key.api_key_name] == world.names

    in_world(scene)


def test_a_peer_never_hands_out_a_deleted_key() -> None:
    """Two leases of one store that are not in step: the old key lives until both have the new one."""

    async def scene(world: World) -> None:
        store = MemoryKeyStore()
        async with world.lease(store=store) as one:
            await asyncio.sleep(150)
            async with world.lease(store=store) as other:
                for _ in range(24 * 60):
                    await asyncio.sleep(60)
                    assert {one.key.api_key_name, other.key.api_key_name} <= set(world.names)

    in_world(scene)


def test_an_entry_during_an_outage() -> None:
    """A good key that is stored is taken, though nothing can be asked."""

    async def scene(world: World) -> None:
        store = MemoryKeyStore()
        async with world.lease(store=store, on_exit="keep") as lease:
            first = lease.key
        async with world.sandbox.unreachable():
            async with world.lease(store=store, on_exit="keep") as lease:
                assert first == lease.key
            with pytest.raises(FastKeyError):
                async with world.lease():
                    raise AssertionError
        await asyncio.sleep(5 * 3600)  # due for renewal, and good for another hour
        async with world.sandbox.unreachable():
            lease = world.lease(store=store)
            await lease.__aenter__()
            await asyncio.sleep(600)
            assert first == lease.key
            assert "failing" == lease.health.state
        await asyncio.sleep(120)
        assert [lease.key.api_key_name] == world.names
        assert first != lease.key
        await lease.__aexit__(None, None, None)

    in_world(scene)


def test_the_owner_is_stored_before_the_first_key() -> None:
    """A crash during the very first create leaves a key that the next start knows by its name."""

    async def scene(world: World) -> None:
        store = MemoryKeyStore()
        world.sandbox.faults.add(Hang(commit=True), operation="create_key")
        entry = asyncio.ensure_future(world.lease(store=store).__aenter__())
        while not world.names:
            await asyncio.sleep(0)
        record = await store.load()
        assert record is not None
        assert world.names[0].startswith(f"lease-{record.owner}-")
        entry.cancel()
        await asyncio.wait({entry})

    in_world(scene)


def test_a_dead_process_is_no_holder() -> None:
    """Who was killed keeps no key alive on the machine; who is elsewhere may be there yet."""
    child = subprocess.Popen([sys.executable, "-c", ""])
    child.wait()
    assert is_dead(f"{_place()}/{child.pid}/0123456789ab")
    assert not is_dead(f"{platform.node()}/{child.pid}/0123456789ab")
    assert not is_dead(make_instance())
    assert not is_dead(f"elsewhere/{child.pid}/0123456789ab")
    assert not is_dead("whoever")


def test_two_phases() -> None:
    """A key lives for 10 minutes at first, and gets its life when it is stored."""

    async def scene(world: World) -> None:
        async with world.lease(two_phase=True) as lease:
            first, second = (request.json["valid_until"] for request in world.sandbox.requests if request.json)
            assert (600, 6 * 3600) == (first - int(world.loop.wall_clock()), second - int(world.loop.wall_clock()))
            (live,) = world.sandbox.keys()
            assert lease.key.valid_until is not None
            assert live.valid_until == int(lease.key.valid_until.timestamp())

    in_world(scene)


class _FullStore(MemoryKeyStore):
    full = False

    async def save(self, record: Any) -> Any:
        if self.full:
            raise OSError("the disk is full")
        return await super().save(record)


def test_the_grace_begins_when_the_new_key_has_its_life() -> None:
    """With two phases, a life that is long in coming is not taken from the time that the old key is kept."""

    async def scene(world: World) -> None:
        async with world.lease(two_phase=True, check_every=timedelta(seconds=10)) as lease:
            old = lease.key
            world.sandbox.faults.add(Drip(1, 2.0), operation="update_key")
            await lease.renew()
            assert world.loop.time() >= 30
            await asyncio.sleep(59)
            assert [old.api_key_name, lease.key.api_key_name] == world.names
            await asyncio.sleep(60)
            assert [lease.key.api_key_name] == world.names

    in_world(scene)


def test_a_store_that_fails_loses_no_key() -> None:
    """A key that cannot be stored is not used, nor left behind; the present one serves on."""

    async def scene(world: World) -> None:
        store = _FullStore()
        async with world.lease(store=store, lifetime=HOUR) as lease:
            key = lease.key
            store.full = True
            await asyncio.sleep(3000)
            assert key == lease.key
            assert "failing" == lease.health.state
            assert [key.api_key_name] == world.names
            store.full = False
            await asyncio.sleep(200)
            assert key != lease.key
            assert lease.health.last_error is None

    in_world(scene)


def test_an_entry_that_fails_leaves_nothing() -> None:
    """Without a key there is no lease: the error comes through, and nothing runs on."""

    async def scene(world: World) -> None:
        world.sandbox.faults.add(Answer(403, {"error": ["EGeneral:Permission denied"]}), operation="create_key")
        with pytest.raises(FastKeyError):
            async with world.lease():
                raise AssertionError
        assert [] == world.names
        async with world.lease() as lease:
            with pytest.raises(InvalidRequestError, match="is entered already"):
                await lease.__aenter__()

    in_world(scene)


@pytest.mark.parametrize("fault", [Disconnect(commit=True), Disconnect(), Hang(commit=True), Answer(500, commit=True)])
def test_lost_answers_leave_no_key_behind(fault: Any) -> None:
    """Whatever befalls the requests of a renewal: two keys at most at any time, one after a while, none in the end."""

    async def scene(world: World) -> None:
        async with world.lease(lifetime=HOUR) as lease:
            for operation in ("create_key", "delete_key", "list_keys"):
                world.sandbox.faults.add(fault, operation=operation)
                await asyncio.sleep(2400)
                assert lease.key.api_key_name in world.names
            await asyncio.sleep(600)
            assert [lease.key.api_key_name] == world.names
        assert [] == world.names

    in_world(scene)


def test_leaving_during_a_renewal_leaves_no_key() -> None:
    """The renewal is cut off, and what it has made is deleted."""

    async def scene(world: World) -> None:
        async with world.lease(lifetime=HOUR):
            world.sandbox.faults.add(Hang(commit=True), operation="create_key")
            await asyncio.sleep(2420)
            assert 2 == len(world.names)
        await asyncio.sleep(200)
        assert [] == world.names

    in_world(scene)


class _ContestedStore(MemoryKeyStore):
    saves_refused = 0

    async def save(self, record: Any) -> Any:
        if self.saves_refused:
            self.saves_refused -= 1
            raise StaleRecordError("the store holds another record")
        return await super().save(record)


@pytest.mark.parametrize(("conflicts", "told"), [(4, []), (5, ["StaleRecordError"])])
def test_leaving_a_store_that_others_write_to_is_told_if_it_fails(
    conflicts: int, told: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    """The record is written anew a few times; after that the keys are deleted, and the store says otherwise."""

    async def scene(world: World) -> None:
        store = _ContestedStore()
        async with world.lease(store=store):
            store.saves_refused = conflicts
        record = await store.load()
        assert record is not None
        assert [] == world.names
        assert bool(told) is (record.current is not None)

    in_world(scene)
    failed = [record.getMessage() for record in caplog.records if "on exit" in record.msg]
    assert [
        f"lease: the key could not be deleted on exit, or the store not be told: {error}" for error in told
    ] == failed


@pytest.mark.parametrize(
    ("options", "fault"),
    [
        ({"lifetime": timedelta(seconds=1)}, "lease.lifetime: must be a timedelta of 1 minute to 365 days"),
        ({"lifetime": 3600}, "lease.lifetime"),
        ({"renew_before": 7 * HOUR}, "lease.renew_before: must be a timedelta, more than 0 and at most nine tenths"),
        ({"prefix": "a-b"}, "lease.prefix"),
        ({"prefix": "x" * 13}, "lease.prefix"),
        ({"grace": -HOUR}, "lease.grace"),
        ({"on_exit": "burn"}, "lease.on_exit: must be 'delete' or 'keep'"),
        ({"on_change": 5}, "lease.on_change"),
        ({"check_every": timedelta(0)}, "lease.check_every"),
        ({"store": "file"}, "lease.store: must be a KeyStore, not str"),
    ],
)
async def test_wrong_arguments_are_told(client: FastKeyClient, options: dict[str, Any], fault: str) -> None:
    """Each by its name, with what it must be."""
    with pytest.raises(InvalidRequestError, match=fault):
        KeyLease(client, TEMPLATE, **options)


def test_the_default_store_is_one() -> None:
    """MemoryKeyStore keeps the protocol."""
    assert isinstance(MemoryKeyStore(), KeyStore)


def test_a_key_refused_during_a_look_is_replaced() -> None:
    """A look that is under way makes no key: after it, one is made."""

    async def scene(world: World) -> None:
        async with world.lease() as lease:
            key = lease.key
            world.sandbox.faults.add(Drip(50, 1.0), operation="list_keys")
            await asyncio.sleep(302)
            await world.client.delete_key(key.api_key_name)
            assert key != await lease.renew(key)

    in_world(scene)


def test_whoever_waits_for_a_key_when_the_lease_is_left_is_told() -> None:
    """A typed error, not a cancellation that nobody sent; and what was still coming is deleted."""

    async def scene(world: World) -> None:
        async with world.lease() as lease:
            world.sandbox.faults.add(Hang(commit=True), operation="create_key")
            task = asyncio.ensure_future(lease.renew())
            await asyncio.sleep(5)
        with pytest.raises(LeaseExpiredError, match="the lease is closed"):
            await task
        await asyncio.sleep(200)
        assert [] == world.names

    in_world(scene)


def test_whoever_is_cancelled_when_the_lease_is_left_is_cancelled() -> None:
    """Whoever waits for a key then, and is cancelled in whichever step of the exit, gets its own cancellation."""

    async def scene(world: World) -> None:
        moments = 0
        while True:
            lease = await world.lease().__aenter__()
            world.sandbox.faults.add(Hang(commit=True), operation="create_key")
            task = asyncio.ensure_future(lease.renew())
            await asyncio.sleep(5)
            leaving = asyncio.ensure_future(lease.__aexit__(None, None, None))
            for _ in range(moments):
                await asyncio.sleep(0)
            if task.done():
                break
            task.cancel()
            await asyncio.wait({task, leaving})
            assert task.cancelled(), moments
            moments += 1
        with pytest.raises(LeaseExpiredError):
            await task
        await leaving
        assert moments >= 3

    in_world(scene)


class _ForgetfulStore(MemoryKeyStore):
    forgets = False

    async def save(self, record: Any) -> Any:
        saved = await super().save(record)
        if self.forgets:
            self.forgets = False
            raise OSError("the connection was lost after the commit")
        return saved


def test_a_save_that_was_made_and_failed_is_a_save() -> None:
    """What the store holds decides whether a key is held."""

    async def scene(world: World) -> None:
        store = _ForgetfulStore()
        async with world.lease(store=store, lifetime=HOUR) as lease:
            for _ in range(40):
                store.forgets = True
                await asyncio.sleep(60)
                assert lease.key.api_key_name in world.names
        assert [] == world.names

    in_world(scene)


def test_leases_of_one_store_may_look_as_often_as_they_like() -> None:
    """One that looks each 10 s does not take one that looks each 5 minutes for gone."""

    async def scene(world: World) -> None:
        store = MemoryKeyStore()
        async with world.lease(store=store) as slow:
            await asyncio.sleep(60)
            async with world.lease(store=store, check_every=timedelta(seconds=10)):
                await asyncio.sleep(60)
            assert [slow.key.api_key_name] == world.names

    in_world(scene)


def test_a_stored_key_that_is_not_what_the_template_says_is_replaced() -> None:
    """The template has changed between two starts: the old key may do too much, or too little."""

    async def scene(world: World) -> None:
        store = MemoryKeyStore()
        async with world.lease(store=store, on_exit="keep"):
            pass
        other = CreateKeyRequest(permissions=Permissions(ledger_query=True), ip_allowlist=["127.0.0.1"])
        async with KeyLease(world.client, other, store=store, on_exit="keep") as lease:
            assert 1 == lease.health.renewals
            assert lease.key.permissions is not None
            assert {"ledger_query"} == lease.key.permissions.granted
        async with KeyLease(world.client, other, store=store) as lease:
            assert 0 == lease.health.renewals

    in_world(scene)


def test_a_store_that_fails_does_not_hide_what_the_bot_raised() -> None:
    """Out of the exit comes the bot's own exception; out of the entry, a StoreError."""

    async def scene(world: World) -> None:
        store = _FullStore()

        async def bot() -> None:
            async with world.lease(store=store):
                store.full = True
                raise KeyError("what went wrong")

        with pytest.raises(KeyError, match="what went wrong"):
            await bot()
        with pytest.raises(StoreError, match="the store raised OSError"):
            await world.lease(store=store).__aenter__()

    in_world(scene)


def test_a_key_that_cannot_be_deleted_stops_no_renewal() -> None:
    """It is tried again, and dies of age; the bot has its keys meanwhile."""

    async def scene(world: World) -> None:
        async with world.lease(lifetime=HOUR) as lease:
            refused = Answer(400, {"error": ["EGeneral:Invalid arguments:apiKeyName"]})
            world.sandbox.faults.add(refused, operation="delete_key", times=None)
            for _ in range(100):
                await asyncio.sleep(120)
                assert lease.key.api_key_name in world.names
            assert lease.health.renewals >= 4
            world.sandbox.faults.clear()
            await asyncio.sleep(600)
            assert [lease.key.api_key_name] == world.names

    in_world(scene)


def test_a_renewal_that_failed_is_tried_again_soon() -> None:
    """Whoever asked for it, the lease goes on trying by itself."""

    async def scene(world: World) -> None:
        async with world.lease() as lease:
            key = lease.key
            await world.client.delete_key(key.api_key_name)
            world.sandbox.faults.add(Answer(403, {"error": ["EGeneral:Permission denied"]}), operation="create_key")
            with pytest.raises(FastKeyError):
                await lease.renew(key)
            await asyncio.sleep(10)
            assert [lease.key.api_key_name] == world.names

    in_world(scene)


def test_an_answer_without_an_end_does_not_make_a_key_eternal() -> None:
    """What was asked for is there, even if the answer does not tell it."""

    async def scene(world: World) -> None:
        result = {"api_key": "FAKE", "api_key_name": "x", "secret": "RkFLRQ=="}
        world.sandbox.faults.add(Answer(200, {"result": result}), operation="create_key")
        async with world.lease(check_every=None) as lease:
            assert lease.health.expires_at is not None
            await asyncio.sleep(24 * 3600)
            assert lease.health.renewals >= 5

    in_world(scene)


def test_a_listener_may_ask_for_another_key() -> None:
    """on_change is not waited for, so that it may use the lease; what it raises is logged."""

    async def scene(world: World) -> None:
        asked: list[FastApiKey] = []

        async def changed(key: FastApiKey) -> None:
            if asked:
                raise LookupError
            asked.append(key)
            await lease.renew(key)

        async with world.lease(lifetime=HOUR, on_change=changed) as lease:
            await asyncio.sleep(3600)
            assert [lease.key.api_key_name] == world.names
            assert asked

    in_world(scene)


def test_a_lease_may_be_entered_again() -> None:
    """Its health begins anew."""

    async def scene(world: World) -> None:
        lease = world.lease()
        for _ in range(2):
            async with lease:
                assert ("valid", 1) == (lease.health.state, lease.health.renewals)
        assert [] == world.names

    in_world(scene)


def test_a_lease_that_is_being_entered_is_not_entered_again() -> None:
    """Of two entries at once the second is refused, so that nothing of it goes on after the exit."""

    async def scene(world: World) -> None:
        lease = world.lease()
        first, second = await asyncio.gather(lease.__aenter__(), lease.__aenter__(), return_exceptions=True)
        assert lease is first
        assert isinstance(second, InvalidRequestError)
        await lease.__aexit__(None, None, None)
        await asyncio.sleep(24 * 3600)
        assert [] == world.names

    in_world(scene)


def test_two_phases_that_fail_leave_the_old_key() -> None:
    """A key whose life cannot be extended is given up, and the present one serves on."""

    async def scene(world: World) -> None:
        async with world.lease(two_phase=True) as lease:
            key = lease.key
            denied = Answer(403, {"error": ["EGeneral:Permission denied"]})
            world.sandbox.faults.add(denied, operation="update_key", times=None)
            await asyncio.sleep(4.5 * 3600)
            assert key == lease.key
            assert key.api_key_name in world.names
            world.sandbox.faults.clear()
            await asyncio.sleep(300)
            assert [lease.key.api_key_name] == world.names

    in_world(scene)


def test_two_templates_on_one_store_do_not_fight() -> None:
    """As in a rolling deployment: the template counts on entry; after that, what the store holds."""

    async def scene(world: World) -> None:
        store = MemoryKeyStore()
        other = CreateKeyRequest(permissions=Permissions(ledger_query=True), query_from=timedelta(days=-1))
        async with world.lease(store=store) as one, KeyLease(world.client, other, store=store) as two:
            await asyncio.sleep(3600)
            assert one.key == two.key
            assert (1, 1) == (one.health.renewals, two.health.renewals)
        async with KeyLease(world.client, other, store=store, on_exit="keep"):
            pass
        async with KeyLease(world.client, other, store=store) as lease:
            assert 0 == lease.health.renewals

    in_world(scene)


class _SilentStore(_ForgetfulStore):
    async def load(self) -> Any:
        if self.silent:
            self.silent = False
            raise OSError("no answer")
        return await super().load()

    async def save(self, record: Any) -> Any:
        self.silent = self.forgets
        return await super().save(record)

    silent = False


def test_a_key_whose_fate_the_store_does_not_tell_is_not_used() -> None:
    """Stored or not, it has been deleted: the lease does not take it from the store later."""

    async def scene(world: World) -> None:
        store = _SilentStore()
        async with world.lease(store=store, lifetime=HOUR) as lease:
            await asyncio.sleep(2390)
            for _ in range(30):
                store.forgets = True
                await asyncio.sleep(20)
                assert lease.key.api_key_name in world.names
            store.forgets = False

    in_world(scene)
