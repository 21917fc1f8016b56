"""Events of leases: what a dashboard is told of keys that are taken, made, handed over, lost and deleted."""

from __future__ import annotations

import asyncio
import gc
import logging
import time
import weakref
from datetime import timedelta
from typing import Any

import pytest
from lease_world import TEMPLATE, World, in_world
from opentelemetry import trace
from telemetry import Telemetry

from kraken_fastkey import (
    CreateKeyRequest,
    Event,
    FastKeyClient,
    FastKeyError,
    InvalidRequestError,
    KeyLease,
    LeaseEvent,
    LeaseExpired,
    LeaseFailing,
    LeaseKeyHandedOver,
    LeaseRecovered,
    LeaseRotationEnded,
    LeaseRotationStarted,
    LeaseSwept,
    StaticTokenProvider,
)
from kraken_fastkey._adapters import following
from kraken_fastkey.sandbox import Answer
from kraken_fastkey.stores import MemoryKeyStore

HOUR = timedelta(hours=1)


def names(events: list[Event]) -> list[str]:
    """Return the names of a lease's events, without what they have in common."""
    return [event.name.removeprefix("kraken_fastkey.lease.") for event in events if ".lease." in event.name]


def client_of(world: World, **options: Any) -> FastKeyClient:
    """Return another client of the world's sandbox."""
    token = StaticTokenProvider(world.sandbox.issue_token(expires_in=10**9))
    return FastKeyClient(token, base_url=world.sandbox.base_url, _runtime=world.loop.runtime(), **options)


def test_a_lease_tells_its_life() -> None:
    """A key is made and handed over, replaced, deleted after its grace, and the last one deleted at the end."""

    async def scene(world: World) -> None:
        events: list[Event] = []
        async with world.lease(lifetime=HOUR, on_event=events.append) as lease:
            first = lease.key
            await asyncio.sleep(2700)
            second = lease.key
        assert [
            "rotation.start",
            "make",
            "hand_over",
            "rotation.end",
            "enter",
            "rotation.start",
            "make",
            "hand_over",
            "rotation.end",
            "delete",
            "delete",
            "leave",
        ] == names(events)
        assert 1 == len({event.lease_id for event in events if isinstance(event, LeaseEvent)})
        handed = [event for event in events if isinstance(event, LeaseKeyHandedOver)]
        assert [(first.api_key_name, None), (second.api_key_name, first.api_key_name)] == [
            (event.api_key_name, event.old_api_key_name) for event in handed
        ]
        assert first.valid_until is not None
        assert first.valid_until.timestamp() == handed[0].expires_at
        started = [event.reason for event in events if isinstance(event, LeaseRotationStarted)]
        assert ["entry", "due"] == started
        ended = [event for event in events if isinstance(event, LeaseRotationEnded)]
        assert [("made", first.api_key_name, None), ("made", second.api_key_name, None)] == [
            (event.result, event.api_key_name, event.error_type) for event in ended
        ]

    in_world(scene)


def test_a_stored_key_is_told_as_taken() -> None:
    """What another start has left, or another lease has made, is taken, not made."""

    async def scene(world: World) -> None:
        store = MemoryKeyStore()
        async with world.lease(store=store, on_exit="keep"):
            pass
        events: list[Event] = []
        others: list[Event] = []
        async with (
            world.lease(store=store, lifetime=HOUR, on_event=events.append) as lease,
            world.lease(store=store, lifetime=HOUR, on_event=others.append),
        ):
            assert ["rotation.start", "take", "hand_over", "rotation.end"] == names(events)[:4]
            await lease.renew()
            await asyncio.sleep(600)
        assert "asked" in [event.reason for event in events if isinstance(event, LeaseRotationStarted)]
        assert ["entry", "replaced"] == [event.reason for event in others if isinstance(event, LeaseRotationStarted)]
        assert ["taken", "taken"] == [event.result for event in others if isinstance(event, LeaseRotationEnded)]

    in_world(scene)


def test_what_a_crash_has_left_is_told() -> None:
    """A key that the store does not know is swept, and deleted."""

    async def scene(world: World) -> None:
        store = MemoryKeyStore()
        async with world.lease(store=store, on_exit="keep"):
            pass
        record = await store.load()
        assert record is not None
        stray = f"lease-{record.owner}-0123456789"
        await world.client.create_key(CreateKeyRequest(stray))
        events: list[Event] = []
        async with world.lease(store=store, on_event=events.append):
            pass
        assert [stray] == [event.api_key_name for event in events if isinstance(event, LeaseSwept)]
        assert ["rotation.start", "sweep", "delete", "take"] == names(events)[:4]

    in_world(scene)


def test_a_lost_key_is_told(caplog: pytest.LogCaptureFixture) -> None:
    """A key that its user has deleted, and one that was refused to who used it."""

    async def scene(world: World) -> None:
        events: list[Event] = []
        async with world.lease(on_event=events.append) as lease:
            await asyncio.sleep(300)
            await world.client.delete_key(lease.key.api_key_name)
            await asyncio.sleep(310)
            assert ["gone", "rotation.start"] == names(events)[5:7]
            world.sandbox.revoke_key(lease.key.api_key_name)
            await asyncio.sleep(130)
            await lease.renew(lease.key)
        assert "refuse" in names(events)
        assert ["entry", "lost", "lost"] == [
            event.reason for event in events if isinstance(event, LeaseRotationStarted)
        ]

    caplog.set_level(logging.INFO, logger="kraken_fastkey")
    in_world(scene)
    told = {vars(record)["kraken_fastkey_event"] for record in caplog.records if record.name == "kraken_fastkey"}
    assert {f"kraken_fastkey.lease.{name}" for name in ("make", "gone", "refuse", "delete")} <= told


def test_an_outage_is_told_by_its_beginning_and_its_end() -> None:
    """Each failure, once that there is no good key any more, and that all is well again."""

    async def scene(world: World) -> None:
        events: list[Event] = []
        async with world.lease(lifetime=HOUR, on_event=events.append):
            async with world.sandbox.unreachable():
                await asyncio.sleep(2 * 3600)
            await asyncio.sleep(200)
        failing = [event for event in events if isinstance(event, LeaseFailing)]
        assert list(range(1, len(failing) + 1)) == [event.failures for event in failing]
        assert ["failing", "expired"] == list(dict.fromkeys(event.state for event in failing))
        assert 1 == sum(isinstance(event, LeaseExpired) for event in events)
        assert [len(failing)] == [event.failures for event in events if isinstance(event, LeaseRecovered)]
        failed = [event for event in events if isinstance(event, LeaseRotationEnded) and event.result == "failed"]
        assert {"TransportError"} == {event.error_type for event in failed}

    in_world(scene)


def test_an_entry_that_fails_has_an_end() -> None:
    """Where there is no key at all, the rotation fails, and nothing is entered."""

    async def scene(world: World) -> None:
        events: list[Event] = []
        lease = world.lease(on_event=events.append)
        async with world.sandbox.unreachable():
            with pytest.raises(FastKeyError):
                await lease.__aenter__()
        assert ["rotation.start", "rotation.end"] == names(events)

    in_world(scene)


def test_rarer_things_are_told(caplog: pytest.LogCaptureFixture) -> None:
    """A listener that raises, a key that cannot be put in place, or not be deleted, or is taken on trust."""

    def listener(_: object) -> None:
        raise RuntimeError("FAKE-SECRET")

    async def scene(world: World) -> None:
        events: list[Event] = []
        store = MemoryKeyStore()
        async with world.lease(store=store, on_exit="keep"):
            pass
        world.sandbox.faults.add(Answer(503), operation="list_keys", times=4)
        async with world.lease(store=store, on_change=listener, on_event=events.append) as lease:
            puts = 0

            async def put(_: object) -> None:
                nonlocal puts
                puts += 1
                if puts == 2:
                    raise OSError

            async with following(lease, put):
                await lease.renew()
                await asyncio.sleep(5)
            world.sandbox.faults.add(Answer(500), operation="delete_key", times=4)
            await asyncio.sleep(600)
        assert ["take_unseen", "take", "hand_over"] == names(events)[1:4]
        assert {"listener_fail", "place_fail", "delete_fail"} <= set(names(events))

    in_world(scene)
    assert "FAKE-SECRET" not in caplog.text


def test_new_keys_that_are_not_known_are_told() -> None:
    """What a look at a new key by itself has shown; its requests are told, too."""

    async def scene(world: World) -> None:
        events: list[Event] = []
        world.sandbox.propagation_delay = 60
        async with world.lease(on_event=events.append):
            pass
        assert "probe_unknown" in names(events)
        told = [event.name.removeprefix("kraken_fastkey.") for event in events]
        assert (3, 2) == (told.count("attempt.end"), told.count("verify.retry"))

    in_world(scene)


def test_a_lease_takes_its_client_s_hook() -> None:
    """Left out, it is the client's; a client without one has a lease without one."""

    async def scene(world: World) -> None:
        events: list[Event] = []
        async with client_of(world, on_event=events.append) as client, KeyLease(client, TEMPLATE):
            pass
        assert "leave" in names(events)
        assert "kraken_fastkey.call.end" in {event.name for event in events}
        with pytest.raises(InvalidRequestError, match="lease.on_event: must be a function"):
            world.lease(on_event="print")

    in_world(scene)


def test_rotations_are_spans_and_no_part_of_the_program_s_start() -> None:
    """The first is below the span of the entry; looks and later ones are apart; that of `renew` is its caller's."""
    telemetry = Telemetry()

    async def scene(world: World) -> None:
        tracer = telemetry.tracer_provider.get_tracer("app")
        async with client_of(world, on_event=telemetry.observer) as client:
            lease = KeyLease(client, TEMPLATE, lifetime=HOUR, check_every=timedelta(minutes=20))
            with tracer.start_as_current_span("start"):
                await lease.__aenter__()
            await asyncio.sleep(2700)
            with tracer.start_as_current_span("request"):
                await lease.renew()
            await lease.__aexit__(None, None, None)

    in_world(scene)
    tree = telemetry.tree()
    made = ["kraken_fastkey.list_keys", "  GET 200", "kraken_fastkey.create_key", "  POST 200", "POST 200"]
    assert ["start", "  kraken_fastkey.lease.rotation", *(f"    {line}" for line in made)] == tree[:7]
    later = tree[7:]
    assert ["kraken_fastkey.list_keys", "  GET 200"] == later[:2]
    at = later.index("kraken_fastkey.lease.rotation")
    assert [f"  {line}" for line in made] == later[at + 1 : at + 6]
    at = later.index("request")
    assert "  kraken_fastkey.lease.rotation" == later[at + 1]
    rotations = telemetry.points()["kraken_fastkey.lease.rotations"]
    assert {("entry", "made", 1), ("due", "made", 1), ("asked", "made", 1)} == {
        (point["kraken_fastkey.reason"], point["kraken_fastkey.result"], value) for point, value in rotations
    }
    spans = {span.name: span for span in reversed(telemetry.spans)}
    assert [["kraken_fastkey.lease.make"], ["kraken_fastkey.lease.hand_over"]] == [
        [event.name for event in spans[name].events]
        for name in ("kraken_fastkey.create_key", "kraken_fastkey.lease.rotation")
    ]
    assert not trace.get_current_span().get_span_context().is_valid
    telemetry.close()


def test_the_gauge_tells_the_first_end_and_nothing_of_what_is_left() -> None:
    """Of several leases the first that ends, in seconds from now; once all are left, nothing."""
    telemetry = Telemetry()

    async def scene(world: World) -> None:
        async with (
            world.lease(lifetime=HOUR, on_event=telemetry.observer) as first,
            world.lease(lifetime=6 * HOUR, on_event=telemetry.observer),
        ):
            assert first.key.valid_until is not None
            left = first.key.valid_until.timestamp() - time.time()
            ((attributes, value),) = telemetry.points()["kraken_fastkey.lease.time_to_expiry"]
            assert {} == attributes
            assert abs(value - left) < 30
        assert [] == telemetry.points().get("kraken_fastkey.lease.time_to_expiry", [])

    in_world(scene)
    telemetry.close()


def test_the_meter_does_not_keep_an_observer_alive() -> None:
    """The gauge holds the moments alone: an observer that is dropped is gone."""
    telemetry = Telemetry()
    gone = weakref.ref(telemetry.observer)
    del telemetry.observer
    gc.collect()
    assert gone() is None
    telemetry.close()
