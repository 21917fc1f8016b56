"""The tutorial as its reader lives it: a sandbox in one terminal, programs in another, a user who clicks Allow."""

from __future__ import annotations

import os
import re
import shlex
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from test_docs import DOCS, TUTORIAL as PAGE, blocks_of

pytest.importorskip("ccxt", reason="the tutorial's bot trades with it")

CHILD = Path(__file__).with_name("tutorial_child.py")
SECONDS = 60
PORT = "8080"
# What differs from run to run: a lease's owner, and chance.
NAME = re.compile(r"lease-[0-9a-f]{6}-[0-9a-f]{19}")


def _free_port() -> str:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return str(free.getsockname()[1])


@contextmanager
def _terminal(command: list[str], folder: Path) -> Iterator[subprocess.Popen[str]]:
    environment = os.environ | {
        "BROWSER": shlex.join([sys.executable, str(CHILD), "allow"]) + " %s",
        "PYTHONPATH": os.pathsep.join([str(DOCS.parent), str(CHILD.parent)]),
        "PYTHONUNBUFFERED": "1",
    }
    with subprocess.Popen(
        command, cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def _printed(program: str, folder: Path) -> str:
    with _terminal([sys.executable, program], folder) as process:
        output, _ = process.communicate(timeout=SECONDS)
    assert 0 == process.returncode, output
    return output


def _outputs() -> dict[str, str]:
    """Return what the page says that each of its commands prints; Ctrl-C's is the last."""
    blocks = blocks_of(PAGE)
    shown: dict[str, str] = {}
    last = ""
    for block in blocks:
        if block.language == "sh":
            last = block.code.split()[-1]
        elif block.language == "text":
            shown[last if last not in shown else "ctrl-c"] = block.code
    return shown


@pytest.fixture(name="folder")
def _folder(tmp_path: Path) -> Iterator[Path]:
    """The folder that the reader has filled, while a sandbox runs at the port that is in there."""
    port = _free_port()
    for block in blocks_of(PAGE):
        if block.file_name is not None:
            (tmp_path / block.file_name).write_text(block.code.replace(f":{PORT}", f":{port}"), encoding="utf-8")
    (start,) = (block for block in blocks_of(PAGE) if "kraken_fastkey sandbox" in block.code)
    command = start.code.replace(PORT, port).split()
    with _terminal([sys.executable, *command[1:]], tmp_path) as sandbox:
        assert sandbox.stdout is not None
        for line in sandbox.stdout:
            if "Ctrl-C" in line:
                break
        yield tmp_path


@pytest.mark.slow
def test_tutorial_ends_in_a_bot_that_rotates_its_key(folder: Path) -> None:
    """Each step prints what the page shows; the bot goes on over a rotation, and leaves no key behind."""
    told = _outputs()
    assert {"log_in.py", "first_key.py", "bot.py", "ctrl-c"} == set(told)
    assert told["log_in.py"] == _printed("log_in.py", folder)
    assert 0o600 == (folder / "state" / "grant").stat().st_mode & 0o777
    assert told["first_key.py"] == _printed("first_key.py", folder)

    with _terminal([sys.executable, str(CHILD), "run", "bot.py"], folder) as bot:
        assert bot.stdout is not None
        lines: list[str] = []
        for line in bot.stdout:
            lines.append(line)
            if len({*NAME.findall("".join(lines))}) == 2:
                break
        bot.send_signal(signal.SIGINT)
        rest, _ = bot.communicate(timeout=SECONDS)
    assert 0 == bot.returncode, rest
    shown, printed = told["bot.py"].splitlines(), "".join(lines).splitlines()
    assert {NAME.sub("NAME", line) for line in shown} == {NAME.sub("NAME", line) for line in printed}, rest
    assert "a new key" in printed
    assert rest.endswith(told["ctrl-c"])


def test_every_file_of_the_tutorial_is_run() -> None:
    """The page has no program beside those that the other test runs."""
    files = [block.file_name for block in blocks_of(PAGE) if block.language == "python"]
    assert ["settings.py", "log_in.py", "first_key.py", "bot.py"] == files
