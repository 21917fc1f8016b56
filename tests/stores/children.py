"""Processes that use a file store: this one imports all once, and forks as many as are asked for.

`children.py race PATH PROCESSES TIMES`: so many processes save the next pair so many times under the lock; prints
how many of them ended well.

`children.py victims PATH`: at each line that it reads, it forks a child that saves for ever, and prints `child` and the
child's number; the child prints each generation that it has saved. When the child has been killed, prints `dead`.
"""

from __future__ import annotations

import asyncio
import os
import sys

from kraken_fastkey._grant import Grant
from kraken_fastkey.stores import FileGrantStore


async def increment(store: FileGrantStore) -> int:
    """Save the next pair under the lock."""
    async with store.lock():
        stored = await store.load()
        generation = 1 if stored is None else stored.generation + 1
        saved = await store.save(Grant(f"access-{generation}", f"refresh-{generation}", generation=generation))
        return saved.generation


async def race(path: str, times: int) -> None:
    """Save so many pairs."""
    store = FileGrantStore(path, lock_timeout=60)
    for _ in range(times):
        await increment(store)


async def save_for_ever(path: str) -> None:
    """Save until killed."""
    store = FileGrantStore(path, lock_timeout=0)
    while True:
        generation = await increment(store)
        os.write(1, b"%d\n" % generation)


def main() -> None:
    """Do what the arguments say."""
    job, path, *numbers = sys.argv[1:]
    if job == "race":
        processes, times = map(int, numbers)
        for _ in range(processes):
            if os.fork() == 0:
                asyncio.run(race(path, times))
                os._exit(0)
        print(sum(os.wait()[1] == 0 for _ in range(processes)))
        return
    while sys.stdin.readline():
        child = os.fork()
        if child == 0:
            asyncio.run(save_for_ever(path))
        os.write(1, b"child %d\n" % child)
        os.waitpid(child, 0)
        os.write(1, b"dead\n")


if __name__ == "__main__":
    main()
