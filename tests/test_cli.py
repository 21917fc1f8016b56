"""The command line, as a user runs it."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from support import missing

from kraken_fastkey import __version__
from kraken_fastkey.cli import _demo, main
from kraken_fastkey.sandbox import KrakenSandbox

STEPS = [
    *("sandbox", "curl", "create", "list", "update", "rate limit", "expired token", "lost answer", "delete", "done")
]
PYTHON = [sys.executable, "-X", "dev", "-W", "error", "-m", "kraken_fastkey"]
# What curl or a client would need; no word in the output may look like it.
LOOKS_SECRET = re.compile(r"[A-Za-z0-9+/=_-]{30,}")


def _steps(output: str) -> list[str]:
    return [line[:14].strip() for line in output.splitlines()]


def test_the_demo_as_a_user_runs_it() -> None:
    """It exits 0, says each step on a line of its own, shows no secret, warns of nothing, and takes under 2 s."""
    done = subprocess.run([*PYTHON, "demo"], capture_output=True, text=True, check=False, timeout=60)
    assert (0, "") == (done.returncode, done.stderr)
    assert STEPS == _steps(done.stdout)
    assert "secret **********" in done.stdout
    assert LOOKS_SECRET.search(re.sub("fastkey-[0-9a-f]{24}", "(a generated name)", done.stdout)) is None
    seconds = re.search(r"0 keys left, ([0-9.]+) s", done.stdout)
    assert seconds is not None
    assert 2.0 > float(seconds[1])


def test_the_demo_runs_the_reference_s_curl(capsys: pytest.CaptureFixture[str]) -> None:
    """Kraken's own call makes a key, and the client then sends the very same JSON."""
    if shutil.which("curl") is None:
        missing("curl")
    assert 0 == main(["demo"])
    output = capsys.readouterr().out
    assert "the API reference's own call made the key 'grid-bot', 16 fields" in output
    assert "the same JSON as curl sent: yes" in output
    assert "was answered 429 twice, waited, tried again" in output
    assert "was refused (401), its provider asked for another" in output


def test_the_demo_without_curl(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Where there is no curl, that step says so, and the rest is shown."""
    monkeypatch.setattr(shutil, "which", lambda _: None)
    assert 0 == main(["demo"])
    assert "skipped: curl is not installed" in capsys.readouterr().out


def test_a_demo_that_fails_says_so(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """A step that does not do what it shows ends the demo with 1; so does a key that is left."""

    async def broken(_: KrakenSandbox, __: object) -> str:
        _demo._expect(False, "the list does not show the key")
        raise AssertionError

    monkeypatch.setattr(_demo, "_STEPS", {"create": _demo._create, "list": broken})
    assert 1 == main(["demo"])
    assert "list           FAILED: the list does not show the key" in capsys.readouterr().out
    monkeypatch.setattr(_demo, "_STEPS", {"create": _demo._create})
    assert 1 == main(["demo"])
    assert "1 keys left" in capsys.readouterr().out


async def test_a_lost_answer_that_is_taken_for_a_success_fails_the_demo(sandbox: KrakenSandbox) -> None:
    """The demo checks what it claims: a client that repeats a create in doubt would be caught."""

    class Careless:
        async def create_key(self, _: object) -> None:
            """Take anything for a success."""

    with pytest.raises(_demo._DemoError, match="requests"):
        await _demo._lost_answer(sandbox, Careless())  # type: ignore[arg-type]  # that is the point


@contextmanager
def _running_sandbox(*options: str) -> Iterator[tuple[subprocess.Popen[str], list[str]]]:
    process = subprocess.Popen(
        [*PYTHON, "sandbox", *options], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout is not None
        lines = []
        for line in process.stdout:
            lines.append(line.rstrip("\n"))
            if line.startswith("Stop it"):
                break
        yield process, lines
    finally:
        process.kill()
        process.communicate()


@pytest.mark.skipif(os.name != "posix", reason="sends POSIX signals")
@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM])
def test_the_sandbox_standing_alone(signum: signal.Signals) -> None:
    """It prints a curl line that works as it stands, and ends cleanly when it is told to."""
    if shutil.which("curl") is None:
        missing("curl")
    with _running_sandbox() as (process, lines):
        answer = subprocess.run(
            [*shlex.split(lines[-2]), "--silent"], capture_output=True, text=True, check=True, timeout=30
        )
        assert "grid-bot" == json.loads(answer.stdout)["result"]["api_key_name"]
        description = subprocess.run(
            ["curl", "--silent", lines[3].split()[-1]], capture_output=True, text=True, check=True, timeout=30
        )
        assert json.loads(description.stdout)["openapi"].startswith("3.")
        process.send_signal(signum)
        _, errors = process.communicate(timeout=30)
        assert (0, "") == (process.returncode, errors)


def test_the_sandbox_s_token_expires_when_it_is_told_to() -> None:
    """--token-life 0 prints a token that Kraken's rules refuse."""
    if shutil.which("curl") is None:
        missing("curl")
    with _running_sandbox("--token-life", "0") as (_, lines):
        answer = subprocess.run(
            [*shlex.split(lines[-2]), "--silent"], capture_output=True, text=True, check=True, timeout=30
        )
    assert "invalid_token" == json.loads(answer.stdout)["error"]


@pytest.mark.parametrize("options", [["--host", "0.0.0.0"], ["--host", "example"], ["--port", "70000"]])  # noqa: S104
def test_a_sandbox_that_cannot_start_says_why(options: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """An address that is not loopback, or a port that is none, is told in one line, with status 2."""
    assert 2 == main(["sandbox", *options])
    output = capsys.readouterr()
    assert "" == output.out
    assert output.err.startswith("the sandbox cannot start: ")


def test_interrupting_is_no_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C where the loop cannot take signals ends the command without a traceback."""

    def interrupted(_: object) -> int:
        _.close()  # type: ignore[attr-defined]  # the coroutine that is not run
        raise KeyboardInterrupt

    monkeypatch.setattr("asyncio.run", interrupted)
    assert 0 == main(["demo"])


@pytest.mark.parametrize("arguments", [[], ["unknown"]])
def test_wrong_usage(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """No command, or one that there is not, is told with status 2."""
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    assert 2 == caught.value.code
    assert "usage: python -m kraken_fastkey" in capsys.readouterr().err


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    """--version tells the package's."""
    with pytest.raises(SystemExit) as caught:
        main(["--version"])
    assert 0 == caught.value.code
    assert f"kraken-fastkey {__version__}\n" == capsys.readouterr().out
