"""FileNonceSource among processes: strictly rising whoever asks, and whoever is killed.

NONCES in the environment sets how many nonces the processes take together.

Run as a program, this is one of the processes: `PATH UNIT TASKS TIMES OUTPUT CLOCK`: so many tasks take so many nonces
each; what they got, and when, goes to the output.
"""

from __future__ import annotations

import array
import asyncio
import itertools
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import cast

import attrs
import pytest

from kraken_fastkey import FileNonceSource, MemoryNonceSource, NonceUnit
from kraken_fastkey._runtime import SYSTEM

NONCES = int(os.environ.get("NONCES", "200000"))
PROCESSES = 4
TASKS = 25
KILLS = 100

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="processes that are killed, and clocks they share")


async def take(source: FileNonceSource, tasks: int, times: int) -> array.array[int]:
    """Take nonces in many tasks, and return for each, in the order in which they came: before, nonce, after."""
    got = array.array("Q")

    async def work() -> None:
        for _ in range(times):
            before = time.monotonic_ns()
            nonce = await source.next_nonce()
            # Nothing else runs in between: the order here is that in which the process got them.
            got.extend((before, nonce, time.monotonic_ns()))
            await asyncio.sleep(0)

    await asyncio.gather(*(work() for _ in range(tasks)))
    return got


def check(runs: list[array.array[int]]) -> int:
    """Check what processes got, by a clock that they share, and return how many nonces there are."""
    for run in runs:
        nonces = run[1::3]
        assert all(earlier < later for earlier, later in itertools.pairwise(nonces))
    every = sorted((run[i + 1], run[i], run[i + 2]) for run in runs for i in range(0, len(run), 3))
    assert len(every) == len({nonce for nonce, _, _ in every})
    # Whoever began after another had ended got the higher nonce: no lower one ends before a higher one's beginning
    # but in that order. So the latest beginning among the lower ones is before the end of each higher one.
    latest = 0
    for _, before, after in every:
        assert latest < after
        latest = max(latest, before)
    return len(every)


@pytest.mark.parametrize(
    ("unit", "clock", "share"),
    [("ms", "steady", 1.0), ("ns", "steady", 0.1), ("ms", "jumping", 0.1)],
    ids=["ms", "ns", "a clock that jumps"],
)
def test_processes_take_strictly_rising_nonces(tmp_path: Path, unit: str, clock: str, share: float) -> None:
    """4 processes of 25 tasks each on one file: rising in each process, rising by the clock over all, none twice."""
    path = tmp_path / "new" / "nonce"
    times = max(1, int(NONCES * share) // PROCESSES // TASKS)
    outputs = [tmp_path / f"output-{number}" for number in range(PROCESSES)]
    began = time.monotonic()
    children = [
        subprocess.Popen([sys.executable, __file__, str(path), unit, str(TASKS), str(times), str(output), clock])
        for output in outputs
    ]
    assert [0] * PROCESSES == [child.wait(600) for child in children]
    seconds = time.monotonic() - began
    runs = []
    for output in outputs:
        run = array.array("Q")
        run.frombytes(output.read_bytes())
        runs.append(run)
    assert PROCESSES * TASKS * times == check(runs)
    count = PROCESSES * TASKS * times
    print(f"\n{count:,} nonces ({unit}, {clock} clock), {PROCESSES} processes x {TASKS} tasks: rising, none twice")
    print(f"{seconds:.1f} s, {seconds / count * 1e6:.1f} us each; slowest {max(_waits(runs)) / 1e6:.1f} ms")
    last = max(run[-2] for run in runs)
    assert last < asyncio.run(FileNonceSource(path, cast("NonceUnit", unit)).next_nonce())


def _waits(runs: list[array.array[int]]) -> list[int]:
    return [run[i + 2] - run[i] for run in runs for i in range(0, len(run), 3)]


def test_the_check_itself_finds_what_is_wrong() -> None:
    """A nonce that comes twice, one that falls within a process, and one that falls between two are all found."""
    good = [array.array("Q", (1, 10, 2, 5, 12, 6)), array.array("Q", (3, 11, 4))]
    assert 3 == check(good)
    for bad in (
        [good[0], array.array("Q", (3, 10, 4))],
        [array.array("Q", (1, 12, 2, 5, 10, 6))],
        [good[0], array.array("Q", (3, 9, 4))],
    ):
        with pytest.raises(AssertionError):
            check(bad)


def test_killed_processes_leave_a_file_that_goes_on(tmp_path: Path) -> None:
    """After kill -9 at any moment, the next nonce is above all that the victim got, and its lock is free."""
    path = tmp_path / "nonce"
    chance = random.Random(1)  # noqa: S311  # repeatable on purpose
    parent = FileNonceSource(path, lock_timeout=5)
    highest = 0
    for _ in range(KILLS):
        reader, writer = os.pipe()
        child = os.fork()
        if child == 0:
            try:
                os.dup2(writer, 1)
                _be_a_victim(str(path))
            finally:
                os._exit(1)
        os.close(writer)
        with open(reader, "rb") as said:  # noqa: PTH123  # a descriptor
            first = int(said.readline())
            assert highest < first
            time.sleep(chance.random() * 0.002)  # the moment of the kill is what is tried here
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
            whole = [int(line) for line in said.read().splitlines(keepends=True) if line.endswith(b"\n")]
        assert sorted({first, *whole}) == [first, *whole]
        highest = asyncio.run(parent.next_nonce())
        assert max(first, *whole, 0) < highest
        assert 24 == path.stat().st_size
    print(f"\n{KILLS} processes killed: none left damage, or held the lock")


def test_a_fork_shares_no_lock(tmp_path: Path) -> None:
    """Parent and child go on with one object each, and none of their nonces are the same."""
    source = FileNonceSource(tmp_path / "nonce", _runtime=BLOCKING)
    _step(source)
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.write(writer, array.array("Q", [_step(source) for _ in range(2000)]).tobytes())
        finally:
            os._exit(0)
    os.close(writer)
    mine = [_step(source) for _ in range(2000)]
    with open(reader, "rb") as output:  # noqa: PTH123  # a descriptor
        theirs = array.array("Q", output.read())
    os.waitpid(child, 0)
    assert 2000 == len(theirs)
    assert 4000 == len({*mine, *theirs})
    assert sorted(theirs) == list(theirs)


def test_memory_is_not_forked() -> None:
    """A forked process refuses to give the nonces that its parent gives."""
    source = MemoryNonceSource()
    _step(source)
    child = os.fork()
    if child == 0:
        try:
            _step(source)
        except Exception as error:  # noqa: BLE001  # a failure must not go on as another pytest
            os._exit("FileNonceSource" in str(error))
        os._exit(2)
    assert 1 == os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert _step(source)


async def _block(seconds: float) -> None:
    time.sleep(seconds)  # noqa: ASYNC251  # there is no event loop to hold up


BLOCKING = attrs.evolve(SYSTEM, sleep=_block)


def _step(source: FileNonceSource | MemoryNonceSource) -> int:
    """Take a nonce without an event loop: a forked child has its parent's, and must not run it."""
    nonce = source.next_nonce()
    try:
        nonce.send(None)
    except StopIteration as done:
        return int(done.value)
    raise AssertionError


def _be_a_victim(path: str) -> None:
    source = FileNonceSource(path, _runtime=BLOCKING)
    while True:
        os.write(1, b"%d\n" % _step(source))


def main() -> None:
    """Do what the arguments say."""
    path, unit, tasks, times, output, clock = sys.argv[1:]
    chance = random.Random(os.getpid())  # noqa: S311  # whatever
    runtime = SYSTEM
    if clock == "jumping":
        runtime = attrs.evolve(SYSTEM, time=lambda: time.time() - chance.random() * 1000)
    source = FileNonceSource(path, cast("NonceUnit", unit), _runtime=runtime)
    Path(output).write_bytes(asyncio.run(take(source, int(tasks), int(times))).tobytes())


if __name__ == "__main__":
    main()
