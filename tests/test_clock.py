"""A test's own time: who wakes when, and what the clock waits for before it moves on."""

from __future__ import annotations

import asyncio
import itertools
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, strategies as st

from kraken_fastkey import CreateKeyRequest, FastKeyClient, KeyLease, Permissions, StaticTokenProvider
from kraken_fastkey._runtime import MACHINE, SYSTEM
from kraken_fastkey.sandbox import FAULTS, KrakenSandbox
from kraken_fastkey.testing import KrakenClock

START = 1_800_000_000.0


@pytest.fixture(name="clock")
def _clock() -> Iterator[KrakenClock]:
    clock = KrakenClock(START)
    with clock.running():
        yield clock


def test_it_begins_with_the_present() -> None:
    """The clock begins with the present, in whole seconds, and stands still."""
    before = time.time()
    clock = KrakenClock()
    assert before - 1 <= clock.time() <= time.time()
    assert clock.time() == int(clock.time())
    assert datetime.fromtimestamp(clock.time(), UTC) == clock.now()
    assert 0 == clock.monotonic()


async def test_travel_adds_up(clock: KrakenClock) -> None:
    """All units of a travel count, and all of its clocks move by the sum."""
    await clock.travel(days=1, hours=2, minutes=3, seconds=4.5, by=timedelta(seconds=0.5))
    assert START + 93_785 == clock.time()
    assert 93_785 == clock.monotonic()
    assert datetime.fromtimestamp(START, UTC) + timedelta(days=1, hours=2, minutes=3, seconds=5) == clock.now()


@pytest.mark.parametrize("how", ["travel", "jump"])
async def test_it_does_not_go_back(clock: KrakenClock, how: str) -> None:
    """A negative travel is refused, and moves nothing."""
    with pytest.raises(ValueError, match="does not go back"):
        await clock.travel(hours=1, minutes=-61) if how == "travel" else clock.jump(seconds=-1)
    assert START == clock.time()


async def test_two_travels_at_once_are_refused(clock: KrakenClock) -> None:
    """Two travels cannot both tell where the clock stops, so the second is refused."""
    first = asyncio.create_task(clock.travel(hours=1))
    await asyncio.sleep(0)
    with pytest.raises(RuntimeError, match="another travel"):
        await clock.travel(hours=1)
    await first
    assert START + 3600 == clock.time()


@given(st.lists(st.integers(0, 20), max_size=12), st.integers(0, 20))
def test_sleepers_wake_in_order_at_their_moment(moments: list[int], until: int) -> None:
    """Whoever sleeps until a moment on the way sees that moment, in order; who sleeps longer sleeps on."""

    async def main() -> list[float]:
        clock = KrakenClock(START)
        woken: list[float] = []

        async def sleep(seconds: int) -> None:
            await clock.sleep(seconds)
            woken.append(clock.time() - START)

        tasks = [asyncio.create_task(sleep(moment)) for moment in moments]
        await clock.travel(seconds=until)
        assert START + until == clock.time()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        return woken

    assert sorted(moment for moment in moments if moment <= until) == asyncio.run(main())


async def test_a_task_that_sleeps_again_is_woken_again(clock: KrakenClock) -> None:
    """A loop of work and sleep has each of its turns, at the right moment, with the work done in between."""
    turns = []

    async def tick() -> None:
        while True:
            await clock.sleep(60)
            began = clock.time()
            await asyncio.sleep(0.002)  # the work is real
            turns.append((began, clock.time()))

    task = asyncio.create_task(tick())
    await clock.travel(minutes=5)
    task.cancel()
    assert [(START + 60 * turn, START + 60 * turn) for turn in range(1, 6)] == turns


async def test_sleep_does_not_move_the_clock(clock: KrakenClock) -> None:
    """A program's own sleep lasts until the test travels."""
    task = asyncio.create_task(clock.sleep(1))
    await asyncio.sleep(0.01)
    assert not task.done()
    assert START == clock.time()
    await clock.travel(seconds=1)
    assert task.done()


async def test_waiting_within_a_call_moves_the_clock(clock: KrakenClock) -> None:
    """A wait of the client's moves the clock as far as it needs; those on the way have their turn before."""
    order = []

    async def sleep(seconds: float) -> None:
        await clock.sleep(seconds)
        order.append(clock.monotonic())

    tasks = [asyncio.create_task(sleep(seconds)) for seconds in (3, 30)]
    await asyncio.sleep(0)
    await SYSTEM.sleep(7)
    order.append(clock.monotonic())
    assert [3, 7] == order
    assert 7 == clock.monotonic()
    tasks[1].cancel()


async def test_cancelled_sleeper_is_forgotten(clock: KrakenClock) -> None:
    """Who no longer sleeps does not move the clock."""
    task = asyncio.ensure_future(SYSTEM.sleep(50))
    await asyncio.sleep(0)
    task.cancel()
    await SYSTEM.sleep(2)
    assert 2 == clock.monotonic()


async def test_no_wait_is_no_wait(clock: KrakenClock) -> None:
    """Zero seconds and less pass without a travel."""
    await clock.sleep(0)
    await SYSTEM.rest(-1)
    await SYSTEM.sleep(0)
    assert START == clock.time()


async def test_jump_wakes_all_late(clock: KrakenClock) -> None:
    """After a jump all who should have woken wake, and see the time after it."""
    woken = []

    async def sleep(seconds: float) -> None:
        await clock.sleep(seconds)
        woken.append(clock.monotonic())

    tasks = [asyncio.create_task(sleep(seconds)) for seconds in (2, 1, 7)]
    await asyncio.sleep(0)
    clock.jump(seconds=5)
    await asyncio.wait(tasks[:2])
    assert [5, 5] == woken
    assert not tasks[2].done()
    tasks[2].cancel()


def test_jump_reaches_other_threads(clock: KrakenClock) -> None:
    """A bot in a thread of its own is woken, too."""
    sleeping = threading.Event()

    async def bot() -> float:
        task = asyncio.ensure_future(clock.sleep(3600))
        await asyncio.sleep(0)
        sleeping.set()
        await task
        return clock.monotonic()

    seen: list[float] = []
    thread = threading.Thread(target=lambda: seen.append(asyncio.run(bot())))
    thread.start()
    assert sleeping.wait(10)
    clock.jump(hours=1)
    thread.join(10)
    assert [3600] == seen


def test_many_threads_may_sleep_at_once(clock: KrakenClock) -> None:
    """Bots in threads of their own all wake, each as often as it should, however they get in one another's way."""
    turns: list[int] = []

    async def bot() -> None:
        for turn in range(50):
            await clock.sleep(1)
            turns.append(turn)

    threads = [threading.Thread(target=lambda: asyncio.run(bot())) for _ in range(4)]
    for thread in threads:
        thread.start()
    deadline = time.monotonic() + 30
    while any(thread.is_alive() for thread in threads) and time.monotonic() < deadline:
        clock.jump(seconds=1)
        time.sleep(0)
    for thread in threads:
        thread.join(10)
    assert sorted(list(range(50)) * 4) == sorted(turns)


def test_sleepers_of_a_loop_that_is_closed_are_forgotten(clock: KrakenClock) -> None:
    """What an event loop has left behind does not stand in the way of the next."""
    loop = asyncio.new_event_loop()

    async def leave() -> asyncio.Future[None]:
        return asyncio.ensure_future(SYSTEM.rest(5))

    left = loop.run_until_complete(leave())
    loop.close()
    asyncio.run(clock.travel(seconds=10))
    assert START + 10 == clock.time()
    assert not left.done()


async def test_travel_goes_on_though_somebody_waits_for_no_moment(clock: KrakenClock) -> None:
    """Who wakes, and then waits for something that does not come, does not hold up the clock for good."""
    never = asyncio.Event()

    async def wait() -> None:
        await clock.sleep(1)
        await never.wait()

    task = asyncio.create_task(wait())
    await clock.travel(hours=1)
    assert START + 3600 == clock.time()
    task.cancel()


async def test_travel_waits_for_what_is_under_way(clock: KrakenClock) -> None:
    """A request that was begun before a travel ends before the clock moves, however slow the network is."""
    seen: list[float] = []

    async def request() -> None:
        with SYSTEM.working():
            await asyncio.sleep(0.05)
            seen.append(clock.time())

    task = asyncio.create_task(request())
    await clock.travel(hours=1)
    assert [START] == seen
    await task


async def test_key_that_is_being_made_is_of_before_the_travel(clock: KrakenClock) -> None:
    """The same with a client: the key was made, and its answer read, before the hour passed."""
    async with (
        KrakenSandbox(clock=clock.time) as sandbox,
        FastKeyClient(StaticTokenProvider(sandbox.issue_token()), base_url=sandbox.base_url) as client,
    ):
        task = asyncio.create_task(client.create_key(CreateKeyRequest("grid-bot")))
        await clock.travel(hours=1)
        assert task.done()
        assert [f"{START:.0f}"] == [key.created_time for key in sandbox.keys()]


async def test_it_may_take_the_place_of_asyncio_sleep(clock: KrakenClock, monkeypatch: pytest.MonkeyPatch) -> None:
    """A bot that calls `asyncio.sleep` itself can be made to live in the test's time, with its lease."""
    monkeypatch.setattr(asyncio, "sleep", clock.sleep)
    rounds: list[str] = []
    async with (
        KrakenSandbox(clock=clock.time) as sandbox,
        FastKeyClient(StaticTokenProvider(sandbox.issue_token(expires_in=1e9)), base_url=sandbox.base_url) as client,
        KeyLease(client, CreateKeyRequest(permissions=Permissions(funds_query=True))) as lease,
    ):

        async def bot() -> None:
            while True:
                await asyncio.sleep(600)
                rounds.append(lease.key.api_key)

        task = asyncio.create_task(bot())
        await clock.travel(hours=5)
        task.cancel()
    assert 30 == len(rounds)
    assert 2 == len(set(rounds))


async def test_time_is_the_system_s_again_afterwards() -> None:
    """After the block, time is the system's, for what was made before as well; the machine's it has been throughout."""
    clock = KrakenClock(START)
    system, machine = SYSTEM.time, MACHINE.time
    with clock.running():
        assert START == SYSTEM.time()
        assert START == SYSTEM.monotonic() + START
        assert abs(machine() - MACHINE.time()) < 60
    assert system is SYSTEM.time
    assert asyncio.sleep is SYSTEM.sleep
    assert asyncio.sleep is SYSTEM.rest


async def test_leases_renew_side_by_side(clock: KrakenClock) -> None:
    """Each of several leases renews at its own moments, in the order of time, and only then does the clock move on."""
    renewed: list[tuple[str, float]] = []
    async with (
        KrakenSandbox(clock=clock.time) as sandbox,
        FastKeyClient(StaticTokenProvider(sandbox.issue_token(expires_in=1e9)), base_url=sandbox.base_url) as client,
    ):

        def lease(prefix: str, hours: float) -> KeyLease:
            return KeyLease(
                client,
                CreateKeyRequest(permissions=Permissions(funds_query=True)),
                lifetime=timedelta(hours=hours),
                prefix=prefix,
                check_every=None,
                on_change=lambda key: renewed.append((key.api_key_name.partition("-")[0], clock.monotonic() / 3600)),
            )

        async with lease("slow", 6) as slow, lease("quick", 3) as quick:
            await clock.travel(hours=9)
            assert [slow.key.api_key, quick.key.api_key] == [key.api_key for key in sandbox.keys()]
        assert () == sandbox.keys()
    assert renewed == sorted(renewed, key=lambda renewal: renewal[1])
    for prefix, life, renewals in (("slow", 6, 2), ("quick", 3, 4)):
        moments = [0.0, *(at for name, at in renewed if name == prefix)]
        assert renewals == len(moments) - 1
        # At two thirds of a life, or up to a tenth of the last third later.
        assert all(life * 0.66 < later - at < life * 0.71 for at, later in itertools.pairwise(moments))


async def test_outage_is_waited_out_in_no_real_time(clock: KrakenClock) -> None:
    """A lease that cannot renew tries again at its own pace as the test travels, and not in between."""
    async with (
        KrakenSandbox(clock=clock.time) as sandbox,
        FastKeyClient(StaticTokenProvider(sandbox.issue_token(expires_in=1e9)), base_url=sandbox.base_url) as client,
        KeyLease(client, CreateKeyRequest(permissions=Permissions(funds_query=True))) as lease,
    ):
        sandbox.faults.add(FAULTS["503_html"], times=None)
        await clock.travel(hours=4, minutes=30)
        assert "failing" == lease.health.state
        seen = len(sandbox.requests)
        await asyncio.sleep(0.02)
        assert seen == len(sandbox.requests)
        sandbox.faults.clear()
        await clock.travel(minutes=10)
        assert ("valid", 2) == (lease.health.state, lease.health.renewals)


async def test_day_of_a_lease_takes_no_real_time(clock: KrakenClock) -> None:
    """A day of a lease is lived in a moment, and each of its renewals with it."""
    async with (
        KrakenSandbox(clock=clock.time) as sandbox,
        FastKeyClient(StaticTokenProvider(sandbox.issue_token(expires_in=1e9)), base_url=sandbox.base_url) as client,
        KeyLease(
            client,
            CreateKeyRequest(permissions=Permissions(funds_query=True)),
            lifetime=timedelta(hours=9),
        ) as lease,
    ):
        await clock.travel(days=1)
        assert 4 == lease.health.renewals
        assert [lease.key.api_key] == [key.api_key for key in sandbox.keys()]
