"""Time limits that share one timer: each block ends in its time, whatever else runs."""

from __future__ import annotations

import asyncio
import math
import threading
from typing import Any

import pytest
from virtual_time import VirtualTimeLoop, run_virtually

from kraken_fastkey._deadlines import Deadlines, Limit


def _timers(loop: asyncio.AbstractEventLoop) -> int:
    scheduled: Any = getattr(loop, "_scheduled", [])
    return sum(not timer.cancelled() for timer in scheduled)


async def _overrun(limit: Limit, pause: float | None) -> None:
    with pytest.raises(TimeoutError):  # noqa: PT012  # the pause is bounded within the block
        with limit:
            limit.pause_at_most(pause)
            await asyncio.sleep(1000)


def test_each_block_ends_in_its_time() -> None:
    """Whatever the order in which limits begin, each goes off when it is due, and not before."""

    async def main(loop: VirtualTimeLoop) -> None:
        deadlines = Deadlines()

        async def block(seconds: float) -> float:
            started = loop.time()
            with pytest.raises(TimeoutError):
                with deadlines.within(seconds):
                    await asyncio.sleep(1000)
            return loop.time() - started

        bounds = (5, 3, 4, 60, 0.5, 3, 0)
        took = await asyncio.gather(*map(block, bounds))
        assert list(bounds) == pytest.approx(took, abs=0.01)

    run_virtually(main)


def test_many_blocks_take_one_timer() -> None:
    """A thousand limits at once arm one timer, and a thousand that have ended leave no more."""

    async def main(loop: VirtualTimeLoop) -> None:
        deadlines = Deadlines()

        async def block() -> None:
            with deadlines.within(60):
                await asyncio.sleep(0)

        blocks = [asyncio.create_task(block()) for _ in range(1000)]
        await asyncio.sleep(0)
        assert 1 == _timers(loop)
        await asyncio.gather(*blocks)
        await asyncio.gather(*(block() for _ in range(1000)))
        assert 1 == _timers(loop)
        deadlines.close()
        assert 0 == _timers(loop)

    run_virtually(main)


def test_no_bound_takes_no_timer() -> None:
    """`None` is for ever."""

    async def main(loop: VirtualTimeLoop) -> None:
        with Deadlines().within(None) as limit:
            assert (math.inf, 0) == (limit.due, _timers(loop))
            await asyncio.sleep(10_000)

    run_virtually(main)


def test_each_pause_has_its_own_bound_within_the_whole() -> None:
    """What goes on is not cut off by the bound of its pauses; the limit itself holds all the same."""

    async def main(loop: VirtualTimeLoop) -> None:
        deadlines = Deadlines()
        with deadlines.within(100) as limit:
            for _ in range(3):
                limit.pause_at_most(10)
                await asyncio.sleep(9)
        await _overrun(limit, 10)
        assert 37 == pytest.approx(loop.time(), abs=0.01)
        await _overrun(limit, None)
        assert 100 == pytest.approx(loop.time(), abs=0.01)

    run_virtually(main)


def test_a_cancellation_is_no_timeout() -> None:
    """Who cancels the task has its way, also in the very moment in which the time is over."""

    async def main(_: VirtualTimeLoop) -> None:
        deadlines = Deadlines()

        async def block() -> None:
            with deadlines.within(5):
                await asyncio.sleep(1000)

        for seconds in (1, 5):
            task = asyncio.create_task(block())
            await asyncio.sleep(0)
            asyncio.get_running_loop().call_later(seconds, task.cancel)
            await asyncio.wait([task])
            assert task.cancelled()

    run_virtually(main)


def test_a_limit_that_went_off_can_be_entered_again() -> None:
    """Its time is over, so it goes off at once; the task is not left cancelled."""

    async def main(_: VirtualTimeLoop) -> None:
        limit = Deadlines().within(1)
        for __ in range(2):
            with pytest.raises(TimeoutError):
                with limit:
                    await asyncio.sleep(10)
        task = asyncio.current_task()
        assert task is not None
        assert 0 == task.cancelling()
        await asyncio.sleep(1)

    run_virtually(main)


def test_it_serves_one_loop_after_another() -> None:
    """A loop that ended with limits running leaves nothing to the next."""
    deadlines = Deadlines()

    async def leave_running() -> None:
        with deadlines.within(60):
            await asyncio.sleep(0)
        deadlines.running.add(deadlines.within(1))

    asyncio.run(leave_running())

    async def main(loop: VirtualTimeLoop) -> None:
        with pytest.raises(TimeoutError):
            with deadlines.within(2):
                await asyncio.sleep(10)
        assert 2 == pytest.approx(loop.time(), abs=0.01)

    run_virtually(main)


def test_a_use_in_another_loop_ends_no_limit_of_the_first() -> None:
    """A client that is used in two threads says so to the second, and goes on in the first."""
    deadlines = Deadlines()

    async def elsewhere() -> None:
        with pytest.raises(TimeoutError):
            with deadlines.within(0.001):
                await asyncio.sleep(1000)

    async def main(loop: VirtualTimeLoop) -> None:
        with pytest.raises(TimeoutError):  # noqa: PT012  # the other loop runs within the block
            with deadlines.within(5):
                thread = threading.Thread(target=asyncio.run, args=(elsewhere(),))
                thread.start()
                thread.join()
                await asyncio.sleep(10)
        assert 5 == pytest.approx(loop.time(), abs=0.01)

    run_virtually(main)
