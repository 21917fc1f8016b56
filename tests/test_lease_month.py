"""A lease in processes that are killed, over a month that passes in seconds: never without a key, never an orphan."""

from __future__ import annotations

import asyncio
import json
import os
import random
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from virtual_time import _START

from kraken_fastkey.sandbox import Hang, KrakenSandbox

CHILD = Path(__file__).parent / "lease_child.py"
MINUTE = 60.0
HOUR = 60 * MINUTE
DAY = 24 * HOUR
# SIGKILL ends a process and not the machine, and a disk is slow.
MEMORY = Path("/dev/shm")  # noqa: S108  # the folder in it is private
IS_IN_MEMORY = MEMORY.is_dir()
RENEWED_BEFORE = 2 * HOUR  # a third of a key's life
AFTER_A_DELETION = 0.004  # of real time: a process that was answered has gone on by then, or has not

# How a bot dies: at any moment; or when Kraken has received a request, has carried it out, or has answered it.
CRASHES = {
    "idle": None,
    "create received": ("create_key", Hang()),
    "create done": ("create_key", Hang(commit=True)),
    "create answered": ("create_key", None),
    "delete received": ("delete_key", Hang()),
    "delete done": ("delete_key", Hang(commit=True)),
}

pytestmark = [pytest.mark.slow, pytest.mark.skipif(os.name != "posix", reason="sends SIGKILL")]


class Child:
    """A process with a bot.

    Attributes:
        until: When it has something to do next; infinity if never.
        key: The name of the key that its lease hands out; `None` if there is none.
        entered: Whether it is in its lease.
        started: When it began.
    """

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process
        self.until = 0.0
        self.key: str | None = None
        self.entered = False
        self.started = 0.0

    def tell(self, line: str) -> None:
        """Say something to it, upon which it runs."""
        assert self.process.stdin is not None
        self.process.stdin.write(f"{line}\n".encode())

    async def hear(self) -> bool:
        """Wait until it has nothing left to do, and return whether it is still there."""
        assert self.process.stdout is not None
        async with asyncio.timeout(60):
            line = await self.process.stdout.readline()
        if not line:
            return False
        report = json.loads(line)
        self.until = float("inf") if report["until"] is None else report["until"]
        self.key = report["key"]
        self.entered = report["entered"]
        return True

    async def kill(self) -> None:
        """End it as `kill -9` does."""
        if self.process.returncode is None:
            self.process.kill()
        await self.process.wait()
        assert self.process.stdin is not None
        self.process.stdin.close()


class Month:
    """A sandbox, the bots of one store, and the time that they live in: it goes on when nobody has anything to do.

    Attributes:
        now: The time, in seconds since the beginning.
        bots: The processes that run.
        wrong: What was not as it has to be.
        created: The names of all keys that there were.
        stored: The names of those that were ever stored as the present one.
        most_live: How many keys were live at once, at most.
        most_listed: How many keys were listed at once, at most: an expired one is listed until it is deleted.
        slowest_start: How long it took a bot to have its key, at most, in seconds.
    """

    def __init__(self, place: Path, seed: int) -> None:
        self.now = 0.0
        self.sandbox = KrakenSandbox(clock=self._clock)
        self.chance = random.Random(seed)  # noqa: S311  # repeatable
        self.bots: list[Child] = []
        self.wrong: list[str] = []
        self.created: set[str] = set()
        self.stored: set[str] = set()
        self.most_live = self.most_listed = self.checks = 0
        self.slowest_start = 0.0
        self.is_up = True
        self._place = place
        self._token = ""
        self._spare: Child | None = None
        self._starts = 0
        self._trap: str | None = None
        self._trapped = asyncio.Event()
        self._seen: frozenset[str] = frozenset()
        self._is_over = False

    # Time

    def _clock(self) -> float:
        """Return the time. The sandbox asks for it before and after whatever it does: so nothing remains unseen."""
        if not hasattr(self, "_is_over"):
            return _START  # the sandbox asks while it is being made
        if self._trap is not None and self.sandbox.requests and self.sandbox.requests[-1].operation == self._trap:
            self._trap = None
            self._trapped.set()
        listed = frozenset(key.api_key_name for key in self.sandbox._account.listed())
        if listed != self._seen:
            self._seen = listed
            self.created |= listed
            self.check()
        return _START + self.now

    async def pass_time(self, seconds: float) -> bool:
        """Let the bots live for so long, and return whether one of them has gone into the trap meanwhile."""
        end = self.now + seconds
        while True:
            # Without bots, a minute at a time.
            self.now = min([end, *(bot.until for bot in self.bots)] if self.bots else [end, self.now + MINUTE])
            self.check()
            del self.sandbox.requests[:-1]
            for bot in [bot for bot in self.bots if bot.until <= self.now]:
                bot.tell(f" {self.now!r}")
                if await self._is_trapped(bot):
                    return True
                self.check()
            if self.now >= end:
                return False

    async def _is_trapped(self, bot: Child) -> bool:
        if self._trap is None:
            await self._hear(bot)
            return False
        hearing = asyncio.ensure_future(self._hear(bot))
        waiting = asyncio.ensure_future(self._trapped.wait())
        await asyncio.wait({hearing, waiting}, return_when=asyncio.FIRST_COMPLETED)
        waiting.cancel()
        if not self._trapped.is_set():
            await hearing
            return False
        self.bots.remove(bot)
        self.bots.insert(0, bot)  # so that it is known who it is
        hearing.cancel()
        await asyncio.wait({hearing})
        return True

    async def _hear(self, bot: Child) -> None:
        if not await bot.hear():
            assert 0 == await bot.process.wait()
            self.bots.remove(bot)
        elif bot.entered and bot.started:
            self.slowest_start = max(self.slowest_start, self.now - bot.started)
            bot.started = 0.0

    # Bots

    async def prepare(self) -> None:
        """Have a process in store: to start Python takes longer than a day in here."""
        self._starts += 1
        settings = {
            "place": str(self._place),
            "token": self._token,
            "base_url": self.sandbox.base_url,
            "seed": self._starts,
        }
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            str(CHILD),
            json.dumps(settings),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            env=os.environ | {"PYTHONPATH": str(CHILD.parent)},
        )
        self._spare = Child(process)

    async def start(self) -> Child:
        """Start a bot."""
        assert self._spare is not None
        bot = self._spare
        await self.prepare()
        bot.started = self.now
        bot.tell(repr(self.now))
        self.bots.append(bot)
        if not await self._is_trapped(bot):
            self.check()
        return bot

    async def crash(self, bot: Child) -> None:
        """Kill a bot, and let what it has sent arrive."""
        await bot.kill()
        self.bots.remove(bot)
        for _ in range(30):
            await asyncio.sleep(0)
        self.sandbox.faults.clear()
        self.check()

    async def crash_somehow(self, how: str, *, within: float = 6 * HOUR) -> None:
        """Kill a bot in one of the `CRASHES`."""
        trap = CRASHES[how]
        if trap is None:
            await self.crash(self.chance.choice(self.bots))
            return
        self.set_trap(*trap)
        assert await self.pass_time(within), f"no {how}"
        if trap[1] is None:
            await asyncio.sleep(self.chance.uniform(0, AFTER_A_DELETION))
        await self.crash(self.bots[0])

    def set_trap(self, operation: str, fault: Hang | None) -> None:
        """Let the next request of this kind end `pass_time`."""
        self._trapped.clear()
        self._trap = operation
        if fault is not None:
            self.sandbox.faults.add(fault, operation=operation)

    @asynccontextmanager
    async def outage(self) -> AsyncIterator[None]:
        """Let Kraken be down."""
        self.is_up = False
        async with self.sandbox.unreachable():
            yield
        self.is_up = True

    async def leave(self, bots: Iterable[Child]) -> None:
        """Let bots leave their lease, at the same time; the last one is to delete the key."""
        bots = list(bots)
        self._is_over = len(bots) == len(self.bots)
        for bot in bots:
            bot.tell(f"leave {self.now!r}")
        for bot in bots:
            await self._hear(bot)
        until = self.now + 10 * MINUTE
        while not set(self.bots).isdisjoint(bots):
            assert self.now < until, "they do not leave"
            await self.pass_time(1)

    async def close(self) -> None:
        """Leave no process behind."""
        for bot in (*self.bots, *([self._spare] if self._spare else [])):
            await bot.kill()

    # What has to be

    def record(self) -> dict[str, Any] | None:
        """Return what is stored; `None` if nothing is."""
        try:
            content = self._place.read_bytes()
        except FileNotFoundError:
            return None
        record: dict[str, Any] = json.loads(content.partition(b"\n")[2])
        return record

    def renewal(self) -> float:
        """Return when the present key is due to be renewed, at the latest."""
        record = self.record()
        assert record is not None
        end = datetime.fromisoformat(record["current"]["valid_until"]).timestamp()
        return end - _START - RENEWED_BEFORE

    def check(self) -> None:
        """Look whether all is as it has to be at this moment."""
        self.checks += 1
        keys = self.sandbox._account.listed()
        live = {key.api_key_name for key in keys if key.valid_until > _START + self.now}
        self.most_live = max(self.most_live, len(live))
        self.most_listed = max(self.most_listed, len(keys))
        if len(live) > 2:
            self._complain(f"{len(live)} live keys")
        if self._is_over:
            return
        record = self.record()
        if record is not None and record["current"] is not None:
            name = record["current"]["api_key_name"]
            self.stored.add(name)
            if name not in live:
                self._complain(f"the stored key {name} is not live")
        elif self.stored:
            self._complain("no key is stored")
        for bot in self.bots:
            if bot.entered and bot.key not in live:
                self._complain(f"the lease hands out {bot.key}, which is not live")

    def unknown(self) -> set[str]:
        """Return the keys that the record does not know."""
        record = self.record()
        assert record is not None
        return {key.api_key_name for key in self.sandbox.keys()} - {
            record["current"]["api_key_name"],
            *record["retired"],
        }

    def _complain(self, what: str) -> None:
        self.wrong.append(f"day {self.now / DAY:.4f}{'' if self.is_up else ', outage'}: {what}")

    @property
    def orphans(self) -> set[str]:
        """The names of the keys that were made and never stored."""
        return self.created - self.stored

    def tell(self, began: float, **figures: object) -> None:
        """Print the figures."""
        renewals = len(self.stored) - 1
        listed = {key.api_key_name for key in self.sandbox.keys()}
        told = {
            "days": f"{self.now / DAY:.1f}",
            **figures,
            "renewals": renewals,
            "most keys at once": self.most_live,
            "most listed": self.most_listed,
            "orphans swept": len(self.orphans - listed),
            "left": len(listed),
            "slowest start": f"{self.slowest_start:.1f} s",
            "checks": self.checks,
            "wrong": len(self.wrong),
        }
        print(", ".join(f"{name}: {figure}" for name, figure in told.items()), f"({time.monotonic() - began:.1f} s)")


@asynccontextmanager
async def _month(seed: int) -> AsyncIterator[Month]:
    with tempfile.TemporaryDirectory(dir=MEMORY if IS_IN_MEMORY else None) as folder:
        async with _open_month(Month(Path(folder) / "private" / "key", seed)) as month:
            yield month


@asynccontextmanager
async def _open_month(month: Month) -> AsyncIterator[Month]:
    async with month.sandbox as sandbox:
        month._token = sandbox.issue_token(expires_in=10**9)
        await month.prepare()
        try:
            yield month
        finally:
            await month.close()


async def test_a_month_of_crashes_and_outages() -> None:
    """30 days, 6-hour keys, 10 crashes, 5 outages of an hour: two keys at most, never none, and none in the end."""
    began = time.monotonic()
    async with _month(seed=41) as month:
        crashes = [*("idle",) * 3, *("create received",) * 2, *("create done",) * 2, *("create answered",) * 2]
        crashes += [month.chance.choice(["delete received", "delete done"])]
        outages = ["any time", "any time", "before a renewal", "before a renewal", "in a create"]
        plan = [("crash", how) for how in crashes] + [("outage", when) for when in outages]
        month.chance.shuffle(plan)
        await month.start()
        for slot, (what, how) in enumerate(plan):
            await month.pass_time(2 * slot * DAY + month.chance.uniform(1, 36) * HOUR - month.now)
            if what == "crash":
                await _crash_and_start_again(month, how)
            else:
                await _outage(month, how)
        await month.pass_time(30 * DAY - month.now)
        await month.leave(month.bots)
        month.tell(began, crashes=len(crashes), outages=len(outages))
        assert [] == month.wrong[:5]
        assert 2 == month.most_live == month.most_listed
        # A key is renewed each 4 hours: a third of its life ahead of its end.
        assert 30 * DAY / (4 * HOUR) - 10 <= len(month.stored) <= 30 * DAY / (3.8 * HOUR) + 10
        assert len(month.orphans) >= 2
        assert () == month.sandbox.keys()


async def _crash_and_start_again(month: Month, how: str) -> None:
    await month.crash_somehow(how)
    await month.pass_time(month.chance.uniform(1, 60) * MINUTE)
    bot = await month.start()
    assert bot.entered
    assert set() == month.unknown()


async def _outage(month: Month, when: str) -> None:
    if when == "in a create":
        month.set_trap("create_key", Hang(commit=True))
        assert await month.pass_time(6 * HOUR)
        async with month.outage():
            await month._hear(month.bots[0])
            await month.pass_time(HOUR)
        await month.pass_time(5 * MINUTE)
        assert set() == month.unknown()
        return
    if when == "before a renewal":
        while (wait := month.renewal() - 50 * MINUTE - month.now) < 0:
            await month.pass_time(HOUR)
        await month.pass_time(wait)
    async with month.outage():
        await month.pass_time(HOUR)


async def test_two_bots_on_one_store() -> None:
    """One is killed now and then, the other lives on: they share one key, and each hands out a live one."""
    began = time.monotonic()
    days = 3
    async with _month(seed=43) as month:
        await month.start()
        await month.pass_time(100)  # not in step
        await month.start()
        for half_day, how in enumerate(["idle", "create done", "delete done", "create answered", "create received"]):
            await month.pass_time(half_day * DAY / 2 + month.chance.uniform(1, 4) * HOUR - month.now)
            await _crash_and_start_again(month, how)
        await month.pass_time((days - 0.5) * DAY - month.now)
        await _outage(month, "before a renewal")
        await month.pass_time(days * DAY - month.now)
        await month.leave(month.bots)
        month.tell(began, bots=2, crashes=5, outages=1)
        assert [] == month.wrong[:5]
        assert 2 == month.most_live
        assert len(month.stored) <= days * DAY / (3.8 * HOUR) + 5
        assert () == month.sandbox.keys()


async def test_a_crash_in_the_very_first_create() -> None:
    """Killed before it could store anything at all: the next start finds the key, and deletes it."""
    async with _month(seed=1) as month:
        month.set_trap("create_key", Hang(commit=True))
        await month.crash(await month.start())
        assert 1 == len(month.sandbox.keys())
        bot = await month.start()
        assert {bot.key} == {key.api_key_name for key in month.sandbox.keys()}
        await month.leave([bot])
        assert () == month.sandbox.keys()


@pytest.mark.parametrize("age", [0, 5 * HOUR])
async def test_a_start_in_an_outage(age: float) -> None:
    """Kraken is down, and the stored key is good: the bot that starts has it, after the client's deadline at most."""
    async with _month(seed=2) as month:
        await month.crash(await month.start())
        await month.pass_time(age)
        async with month.outage():
            bot = await month.start()
            await month.pass_time(2 * MINUTE)
            assert bot.entered
        assert [] == month.wrong


async def test_an_exit_soon_after_a_crash() -> None:
    """A bot that was killed a minute ago uses no key any more: the next one leaves none."""
    async with _month(seed=3) as month:
        await month.crash(await month.start())
        await month.pass_time(MINUTE)
        bot = await month.start()
        await month.pass_time(MINUTE)
        await month.leave([bot])
        assert () == month.sandbox.keys()
