"""At a terminal, as far as a test can have one: questions, answers, and Ctrl-C at a question."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import attrs
import pytest
from cli_kit import Cli, cli_fixture

FIXTURES = (cli_fixture,)

pytestmark = pytest.mark.skipif(os.name != "posix", reason="Windows has no such terminals")


@attrs.define
class Session:
    """A command whose standard input and standard error are a terminal."""

    process: asyncio.subprocess.Process
    _master: int
    seen: str = ""

    async def until(self, text: str) -> str:
        """Wait until something is shown, and return all that was."""
        while text not in self.seen:
            self.seen += (await asyncio.to_thread(os.read, self._master, 4096)).decode()
        return self.seen

    def type(self, text: str) -> None:
        """Type something."""
        os.write(self._master, text.encode())

    async def end(self) -> tuple[int, bytes]:
        """Wait for the end, and return the exit code and the standard output."""
        out, _ = await self.process.communicate()
        assert self.process.returncode is not None
        os.set_blocking(self._master, False)
        with contextlib.suppress(BlockingIOError):
            while rest := os.read(self._master, 4096):
                self.seen += rest.decode()
        return self.process.returncode, out


@asynccontextmanager
async def _session(*arguments: str, term: str = "dumb") -> AsyncIterator[Session]:
    master, slave = os.openpty()
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "kraken_fastkey", *arguments),
        stdin=slave,
        stdout=asyncio.subprocess.PIPE,
        stderr=slave,
        env={**os.environ, "TERM": term},
    )
    try:
        async with asyncio.timeout(60):
            yield Session(process, master)
    finally:
        if process.returncode is None:
            process.kill()
            await process.communicate()
        os.close(slave)
        os.close(master)


async def test_an_address_is_pasted(cli: Cli) -> None:
    """The question is on the terminal; the standard output has the data alone."""
    async with _session("login", "--no-browser", "--json") as session:
        shown = await session.until("finds nobody there): ")
        (url,) = re.findall(r"http://[^\s\\]+authorize[^\s\\]+", shown)
        session.type(cli.sandbox.approve(url) + "\n")
        code, out = await session.end()
    assert (0, "sandbox") == (code, json.loads(out)["profile"])


@pytest.mark.parametrize("command", ["login --no-browser", "delete a"])
async def test_ctrl_c_at_a_question(command: str, cli: Cli) -> None:
    """It ends at once, without waiting for a line, and without a traceback."""
    cli.set_token()
    async with _session(*command.split()) as session:
        await session.until("finds nobody there): " if "login" in command else "[y/N] ")
        session.process.send_signal(signal.SIGINT)
        assert (130, b"") == await session.end()
        assert session.seen.endswith("interrupted\r\n")
        assert "Traceback" not in session.seen


async def test_yes_is_typed(cli: Cli) -> None:
    """A key is deleted once somebody has said so."""
    cli.set_token()
    await cli("create", "a", "--show-secret")
    async with _session("delete", "a") as session:
        await session.until("Delete the key 'a' for good? [y/N] ")
        assert 1 == len(cli.sandbox.keys())
        session.type("yes\n")
        assert (0, b"deleted a\n") == await session.end()
    assert () == cli.sandbox.keys()


@pytest.mark.parametrize("place", ["--ccxt", "--show-secret"])
async def test_what_moves_takes_no_data(place: str, cli: Cli) -> None:
    """While something moves on standard error, data still go to the standard output, whole, and nowhere else."""
    cli.set_token()
    async with _session("create", "a", "--permission", "funds-withdraw", place, term="xterm-256color") as session:
        code, out = await session.end()
        (key,) = cli.sandbox.keys()
    assert 0 == code
    assert key.secret.encode() in out
    assert b"\x1b" not in out
    assert "Creating a" in session.seen
    for warning in session.seen.split("warning: ")[1:]:
        assert "may withdraw funds" in warning.partition("Creating")[0]
    assert key.secret not in session.seen
