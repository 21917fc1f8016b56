"""FileGrantStore among processes: none of their saves is lost, and none that is killed leaves damage."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import IO

import pytest

from kraken_fastkey._grant import Grant
from kraken_fastkey.stores import FileGrantStore

CHILDREN = Path(__file__).with_name("children.py")
PROCESSES = 8
TIMES = 25
KILLS = 200

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="processes that fork")


def test_eight_processes_lose_no_save(tmp_path: Path) -> None:
    """Eight processes that each save 25 pairs under the lock have saved 200 in the end."""
    path = tmp_path / "new" / "grant"
    command = [sys.executable, str(CHILDREN), "race", str(path), str(PROCESSES), str(TIMES)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    assert f"{PROCESSES}\n" == done.stdout
    assert "" == done.stderr
    grant = asyncio.run(FileGrantStore(path).load())
    assert grant is not None
    assert PROCESSES * TIMES == grant.generation
    print(f"\n{PROCESSES} processes x {TIMES} saves under the lock: generation {grant.generation}")


async def _is_free(path: Path) -> bool:
    async with FileGrantStore(path, lock_timeout=0).lock():
        return True


def _kill_one(commands: IO[str], answers: IO[str], chance: random.Random, last: int) -> int:
    """Have a child save a few times, kill it anywhere in the next save, and return what it said it had saved last."""
    commands.write("go\n")
    commands.flush()
    saves = chance.randint(1, 4)
    pid = None
    while pid is None or saves > 0:
        line = answers.readline()
        if line.startswith("child "):
            pid = int(line.removeprefix("child "))
        else:
            last = int(line)
            saves -= 1
    time.sleep(chance.random() * 0.002)  # the moment of the kill is what is tried here
    os.kill(pid, signal.SIGKILL)
    while (line := answers.readline()) != "dead\n":
        last = int(line)
    return last


def test_kill_leaves_a_whole_grant_and_a_free_lock(tmp_path: Path) -> None:
    """After each of 200 kills the file holds the last grant that was saved, or the one under way; the lock is free."""
    path = tmp_path / "grants" / "grant"
    chance = random.Random(7)  # noqa: S311  # moments, not secrets
    asyncio.run(FileGrantStore(path).save(Grant("access-1", "refresh-1")))
    counts = {"kills": 0, "saved last": 0, "under way": 0, "with a leftover": 0}
    known = 1
    with subprocess.Popen(
        [sys.executable, CHILDREN, "victims", path], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as nursery:
        assert nursery.stdin is not None
        assert nursery.stdout is not None
        for _ in range(KILLS):
            told = _kill_one(nursery.stdin, nursery.stdout, chance, known)
            grant = asyncio.run(FileGrantStore(path).load())
            assert grant is not None
            assert grant.generation in {told, told + 1}
            assert f"access-{grant.generation}" == grant.access_token.get_secret_value()
            assert asyncio.run(_is_free(path))
            counts["kills"] += 1
            counts["saved last" if grant.generation == told else "under way"] += 1
            counts["with a leftover"] += any(path.parent.glob(".grant.*.tmp"))
            known = grant.generation
    assert KILLS == counts["kills"]
    asyncio.run(FileGrantStore(path).save(Grant("access", "refresh")))
    assert {"grant", "grant.lock", "grant.writing"} == {entry.name for entry in path.parent.iterdir()}
    print(f"\n{counts}, {known} saves")
