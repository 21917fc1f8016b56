"""A PostgreSQL server for tests, on a free port of loopback, in a temporary folder; and processes that use it.

As a program, it imports all once and forks, with the URL of any database that `SQLGrantStore` knows:

`sql_kit.py race URL PROCESSES TIMES`: so many processes save the next pair so many times under the lock.
`sql_kit.py create URL PROCESSES`: so many processes make the table, at one moment.
Both print how many processes ended well.

`sql_kit.py hold URL LEASE`: takes the lock, prints `held`, and waits to be killed.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any, Final

import attrs
from sqlalchemy.ext.asyncio import create_async_engine
from support import missing

from kraken_fastkey._grant import Grant
from kraken_fastkey.stores._sql import SQLGrantStore

# Also in the URL, so the tests see whether it is shown.
PASSWORD: Final = "FAKE-PASSWORD-of-the-database"
ACCOUNT: Final = "shared by processes"

_ATTEMPTS: Final = 3
_SETTINGS: Final = {
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",
    "fsync": "off",
    "full_page_writes": "off",
    "autovacuum": "off",
    "max_connections": "100",
}


@attrs.frozen
class PostgresServer:
    """A server that runs.

    Attributes:
        port: Its port on loopback.
    """

    port: int
    _programs: Path
    _folder: Path

    @property
    def url(self) -> str:
        """An URL for SQLAlchemy, with asyncpg."""
        return f"postgresql+asyncpg://tester:{PASSWORD}@127.0.0.1:{self.port}/postgres"

    def stop(self) -> None:
        """Stop it at once, as a crash would."""
        _run(self._folder, self._programs / "pg_ctl", "stop", "--mode=immediate", "--pgdata=data")

    def start(self) -> None:
        """Start it, or start it again."""
        options = " ".join(f"-c {name}={value or chr(39) * 2}" for name, value in _SETTINGS.items())
        _run(
            self._folder,
            *(self._programs / "pg_ctl", "start", "--wait", "--pgdata=data", "--log=log"),
            *("-o", f"-p {self.port} {options}"),
        )


@contextlib.contextmanager
def postgres_server() -> Iterator[PostgresServer]:
    """Run a server, or skip the test where none is installed."""
    programs = _find_programs()
    if programs is None:
        missing("postgresql")
    # Not pytest's folder: the server refuses to run as root, and another user may not enter that.
    folder = Path(tempfile.mkdtemp(prefix="kraken-fastkey-postgres-"))
    try:
        if os.geteuid() == 0:
            shutil.chown(folder, "postgres", "postgres")
        (folder / "password").write_text(PASSWORD)
        (folder / "password").chmod(0o644)  # in a folder of mode 700
        _run(
            folder,
            *(programs / "initdb", "--pgdata=data", "--username=tester", "--pwfile=password", "--no-sync"),
            *("--auth=scram-sha-256", "--encoding=UTF8", "--locale=C"),
        )
        server = _start(programs, folder)
        try:
            yield server
        finally:
            server.stop()
    finally:
        shutil.rmtree(folder)


def _find_programs() -> Path | None:
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    on_path = shutil.which("initdb")
    if found:
        return found[-1].parent
    return None if on_path is None else Path(on_path).parent


def _start(programs: Path, folder: Path) -> PostgresServer:
    for attempt in range(1, _ATTEMPTS + 1):
        server = PostgresServer(_free_port(), programs, folder)
        try:
            server.start()
        except subprocess.CalledProcessError:  # somebody may have taken the port
            if attempt == _ATTEMPTS:
                raise
        else:
            return server
    raise AssertionError


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def _run(folder: Path, *command: str | Path) -> None:
    user: dict[str, Any] = {}
    if os.geteuid() == 0:
        user = {"user": "postgres", "group": "postgres", "extra_groups": []}
    # Not a pipe: the server would keep it open.
    with (folder / "output").open("ab") as output:
        try:
            subprocess.run(command, cwd=folder, check=True, stdout=output, stderr=output, **user)
        except subprocess.CalledProcessError as error:
            error.add_note((folder / "output").read_text(errors="replace"))
            raise


@contextlib.asynccontextmanager
async def _store(url: str, **options: Any) -> AsyncIterator[SQLGrantStore]:
    engine = create_async_engine(url)
    try:
        yield SQLGrantStore(engine, ACCOUNT, **options)
    finally:
        await engine.dispose()


async def _race(url: str, times: int) -> None:
    async with _store(url, lock_timeout=60) as store:
        for _ in range(times):
            async with store.lock():
                stored = await store.load()
                generation = 1 if stored is None else stored.generation + 1
                await store.save(Grant(f"access-{generation}", f"refresh-{generation}", generation=generation))


async def _create(url: str, start: float) -> None:
    async with _store(url) as store:
        await asyncio.sleep(start - time.time())
        await store.create_table()


async def _hold(url: str, lease: float) -> None:
    async with _store(url, _lease=lease) as store, store.lock():
        print("held", flush=True)
        await asyncio.Event().wait()


def _fork(processes: int, work: Callable[[], Coroutine[Any, Any, None]]) -> int:
    for _ in range(processes):
        if os.fork() == 0:
            asyncio.run(work())
            os._exit(0)
    return sum(os.wait()[1] == 0 for _ in range(processes))


def _main(job: str, url: str, *numbers: str) -> None:
    if job == "race":
        print(_fork(int(numbers[0]), lambda: _race(url, int(numbers[1]))))
    elif job == "create":
        start = time.time() + 0.2
        print(_fork(int(numbers[0]), lambda: _create(url, start)))
    else:
        asyncio.run(_hold(url, float(numbers[0])))


if __name__ == "__main__":
    _main(*sys.argv[1:])
