"""A Redis server for tests, clients that misbehave, and processes that use a store.

`redis_kit.py race PORT PROCESSES TIMES`: so many processes save the next pair so many times under the lock; prints
how many of them ended well.

`redis_kit.py hold PORT LIFE`: takes the lock, prints `held`, and holds it until it is killed.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import ResponseError

from kraken_fastkey import Grant
from kraken_fastkey.stores._redis import RedisGrantStore

ACCOUNT = "AA11 N84G"
_START_SECONDS = 10


class RedisServer:
    """A server of our own, which keeps nothing."""

    def __init__(self, folder: Path, port: int) -> None:
        self.port = port
        self._log = folder / "redis.log"
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                [
                    *("redis-server", "--bind", "127.0.0.1", "--port", str(port), "--dir", str(folder)),
                    *("--save", "", "--appendonly", "no"),
                ],
                stdout=log,
                stderr=subprocess.STDOUT,
            )

    def wait_until_ready(self) -> bool:
        """Return whether it answers; it does not if somebody else has taken the port."""
        deadline = time.monotonic() + _START_SECONDS
        while time.monotonic() < deadline and self._process.poll() is None:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 1) as connection:
                connection.settimeout(1)
                connection.sendall(b"PING\r\n")
                return connection.recv(7) == b"+PONG\r\n" and self._process.poll() is None
            time.sleep(0.01)
        return False

    def kill(self) -> None:
        """End it at once."""
        self._process.kill()
        self._process.wait()

    @contextlib.contextmanager
    def frozen(self) -> Iterator[None]:
        """Have it stand still: it takes connections and answers nothing."""
        self._process.send_signal(signal.SIGSTOP)
        try:
            yield
        finally:
            self._process.send_signal(signal.SIGCONT)


@contextlib.contextmanager
def redis_server(folder: Path) -> Iterator[RedisServer | None]:
    """Run a server on a free port; `None` if the program is not installed."""
    if shutil.which("redis-server") is None:
        yield None
        return
    for _ in range(5):
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        server = RedisServer(folder, port)
        try:
            if server.wait_until_ready():
                yield server
                return
        finally:
            server.kill()
    raise AssertionError((folder / "redis.log").read_text())


def client(port: int, cls: type[Redis] = Redis, **options: Any) -> Any:
    """Return a client that does not try again."""
    return cls(host="127.0.0.1", port=port, retry=Retry(NoBackoff(), 0), **options)


class Stammering(Redis):
    """A client that sends what changes things twice, as if the first answer had been lost."""

    async def execute_command(self, *args: Any, **options: Any) -> Any:
        """Send a command."""
        if args[0] == b"EVAL" and b"'DEL'" not in args[1]:
            await super().execute_command(*args, **options)  # type: ignore[no-untyped-call,unused-ignore]
        return await super().execute_command(*args, **options)  # type: ignore[no-untyped-call,unused-ignore]


class Failing(Redis):
    """A client that can be told to fail, quoting the command as redis-py's pipelines do."""

    failing: bool = False

    async def execute_command(self, *args: Any, **options: Any) -> Any:
        """Send a command, or fail."""
        if self.failing:
            raise ResponseError(f"Command # 1 ({args!r}) of pipeline caused error: MISCONF")
        return await super().execute_command(*args, **options)  # type: ignore[no-untyped-call,unused-ignore]


class Stubborn(Redis):
    """A client whose renewals take their time, and swallow a cancellation, as Python 3.11's wait_for does."""

    renewals: int = 0
    cancellations: int = 0

    async def execute_command(self, *args: Any, **options: Any) -> Any:
        """Send a command."""
        if args[0] == b"EVAL" and b"'PEXPIRE'" in args[1]:
            self.renewals += 1
            try:
                await asyncio.sleep(0.05)
            except asyncio.CancelledError:
                self.cancellations += 1
        return await super().execute_command(*args, **options)  # type: ignore[no-untyped-call,unused-ignore]


async def increment(store: RedisGrantStore) -> int:
    """Save the next pair under the lock."""
    async with store.lock():
        stored = await store.load()
        generation = 1 if stored is None else stored.generation + 1
        saved = await store.save(Grant(f"access-{generation}", f"refresh-{generation}", generation=generation))
        return saved.generation


async def _race(port: int, times: int) -> None:
    async with client(port) as redis:
        store = RedisGrantStore(redis, ACCOUNT, lock_timeout=60)
        for _ in range(times):
            await increment(store)


async def _hold(port: int, life: float) -> None:
    async with client(port) as redis, RedisGrantStore(redis, ACCOUNT, lock_life=life).lock():
        print("held", flush=True)
        await asyncio.Event().wait()


def main() -> None:
    """Do what the arguments say."""
    job, port, *numbers = sys.argv[1:]
    if job == "hold":
        asyncio.run(_hold(int(port), float(numbers[0])))
    processes, times = map(int, numbers)
    for _ in range(processes):
        if os.fork() == 0:
            asyncio.run(_race(int(port), times))
            os._exit(0)
    print(sum(os.wait()[1] == 0 for _ in range(processes)))


if __name__ == "__main__":
    main()
