"""The command line's demo and sandbox, as a user runs them, with the extra `cli` and without."""

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
from pathlib import Path

import pytest
from support import missing

from kraken_fastkey import __version__
from kraken_fastkey.cli import _demo, main
from kraken_fastkey.cli._config import load_profile
from kraken_fastkey.sandbox import KrakenSandbox

STEPS = [
    *("sandbox", "curl", "create", "list", "update", "rate limit", "expired token", "lost answer", "delete", "done")
]
PYTHON = [sys.executable, "-X", "dev", "-W", "error", "-m", "kraken_fastkey"]
# What curl or a client would need; no word in the output may look like it.
LOOKS_SECRET = re.compile(r"[A-Za-z0-9+/=_-]{30,}")


@pytest.fixture(name="extra", params=["extra", "core alone"])
def _extra(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run what takes no extra with the extra, and as if it were not there."""
    if request.param == "core alone":
        monkeypatch.setattr("kraken_fastkey.cli._is_installed", lambda _: False)


def _complaints(errors: str) -> str:
    """Return what is on standard error, but for what development mode says of a machine that is slow."""
    return re.sub(r"^Executing <.* took [\d.]+ seconds\n", "", errors, flags=re.MULTILINE)


def _steps(output: str) -> list[str]:
    return [line[:14].strip() for line in output.splitlines()]


def test_the_demo_as_a_user_runs_it() -> None:
    """It exits 0, says each step on a line of its own, shows no secret, warns of nothing, and takes under 2 s."""
    done = subprocess.run([*PYTHON, "demo"], capture_output=True, text=True, check=False, timeout=60)
    assert (0, "") == (done.returncode, _complaints(done.stderr))
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
        assert (0, "") == (process.returncode, _complaints(errors))


def test_the_sandbox_s_token_expires_when_it_is_told_to() -> None:
    """--token-life 0 prints a token that Kraken's rules refuse."""
    if shutil.which("curl") is None:
        missing("curl")
    with _running_sandbox("--token-life", "0") as (_, lines):
        answer = subprocess.run(
            [*shlex.split(lines[-2]), "--silent"], capture_output=True, text=True, check=True, timeout=30
        )
    assert "invalid_token" == json.loads(answer.stdout)["error"]


@pytest.mark.usefixtures("extra")
@pytest.mark.parametrize("options", [["--host", "0.0.0.0"], ["--host", "example"], ["--port", "70000"]])  # noqa: S104
def test_a_sandbox_that_cannot_start_says_why(options: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """An address that is not loopback, or a port that is none, is told in one line, with status 2."""
    assert 2 == main(["sandbox", *options])
    output = capsys.readouterr()
    assert "" == output.out
    assert output.err.startswith("error: the sandbox cannot start: ")


@pytest.mark.usefixtures("extra")
def test_interrupting_is_no_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C where the loop cannot take signals ends the command without a traceback."""

    def interrupted(_: object) -> int:
        _.close()  # type: ignore[attr-defined]  # the coroutine that is not run
        raise KeyboardInterrupt

    monkeypatch.setattr("asyncio.run", interrupted)
    assert 0 == main(["demo"])


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ([], "Usage: kraken-fastkey [OPTIONS] COMMAND [ARGS]..."),
        (["lst"], "error: there is no command 'lst': list is meant (see kraken-fastkey --help)"),
        (["xyz"], "error: there is no command 'xyz' (see kraken-fastkey --help)"),
        (["--foo"], "error: No such option"),
        (["sandbox", "--port", "x"], "error: Invalid value for '--port': 'x' is not a valid integer"),
    ],
)
def test_wrong_usage(arguments: list[str], told: str, capsys: pytest.CaptureFixture[str]) -> None:
    """No command, one that there is not, or a wrong option is told on standard error, with status 2."""
    assert 2 == main(arguments)
    output = capsys.readouterr()
    assert "" == output.out
    assert output.err.startswith(told)


@pytest.mark.parametrize("arguments", [[], ["list"], ["create", "--help"]])
def test_without_the_extra_it_says_what_to_install(
    arguments: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A command that takes the extra says so in one line, with status 2."""
    monkeypatch.setattr("kraken_fastkey.cli._is_installed", lambda _: False)
    assert 2 == main(arguments)
    assert ("", "error: this needs an extra: pip install 'kraken-fastkey[cli]'\n") == capsys.readouterr()


CORE_ALONE = """
import runpy, sys
class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {"click", "rich", "platformdirs"}:
            raise ModuleNotFoundError(name, name=name)
sys.meta_path.insert(0, Refuse())
sys.argv[0] = "kraken_fastkey"
runpy.run_module("kraken_fastkey", run_name="__main__")
"""


@pytest.mark.parametrize(
    ("command", "code", "out", "err"),
    [
        ("demo", 0, "0 keys left", ""),
        ("list", 2, "", "error: this needs an extra: pip install 'kraken-fastkey[cli]'\n"),
        ("--version", 0, f"kraken-fastkey {__version__}\n", ""),
        ("sandbox --port 70000", 2, "", "error: the sandbox cannot start: "),
    ],
)
def test_the_core_alone(command: str, code: int, out: str, err: str) -> None:
    """With nothing installed but what the core needs, demo and sandbox do what they do."""
    done = subprocess.run(
        [sys.executable, "-c", CORE_ALONE, *command.split()], capture_output=True, text=True, check=False, timeout=60
    )
    assert code == done.returncode
    assert out in done.stdout
    assert done.stderr.startswith(err)
    assert bool(err) == bool(done.stderr)


@pytest.mark.usefixtures("extra")
def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    """--version tells the package's."""
    assert 0 == main(["--version"])
    assert f"kraken-fastkey {__version__}\n" == capsys.readouterr().out


def test_the_demo_in_json(capsys: pytest.CaptureFixture[str]) -> None:
    """Each step is a line of JSON."""
    assert 0 == main(["demo", "--json"])
    assert STEPS == [json.loads(line)["step"] for line in capsys.readouterr().out.splitlines()]


def test_the_sandbox_writes_a_configuration(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """--write-config makes a file that leads the command line to it; one that is there is not touched."""
    config = tmp_path / "it's \U0001f511.toml"
    with _running_sandbox("--write-config", str(config)) as (_, lines):
        assert f"use it:       kraken-fastkey login --config {shlex.quote(str(config))}" == lines[4]
        profile = load_profile(config, None)
        assert lines[0].split()[-1] == profile.base_url
        assert tmp_path / "it's \U0001f511.toml.grant" / "grant" == profile.grant_file
        content = config.read_bytes()
        assert 2 == main(["sandbox", "--write-config", str(config)])
        assert f"error: {config} is there already: name another file, or remove it\n" == capsys.readouterr().err
        assert content == config.read_bytes()
    assert 2 == main(["sandbox", "--write-config", str(tmp_path / "no" / "config")])
    assert "cannot be written: No such file or directory" in capsys.readouterr().err


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full")
@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_a_sandbox_that_cannot_say_where_it_is(unbuffered: str) -> None:
    """It ends, since nobody could use it, and says why."""
    with Path("/dev/full").open("w", encoding="utf-8") as full:
        done = subprocess.run(
            [sys.executable, "-m", "kraken_fastkey", "sandbox"],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
            timeout=60,
            env={**os.environ, "PYTHONUNBUFFERED": unbuffered},
        )
    assert "error: the standard output cannot be written: No space left on device\n" == done.stderr
    assert 9 == done.returncode


def test_the_sandbox_in_json() -> None:
    """It tells its addresses as one document, then goes on."""
    with subprocess.Popen([*PYTHON, "sandbox", "--json"], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        lines = []
        for line in process.stdout:
            lines.append(line)
            if line == "}\n":
                break
        process.kill()
    told = json.loads("".join(lines))
    assert {*("base_url", "authorize_url", "token_url", "api_url", "client_id", "access_token", "config")} == set(told)
    assert told["base_url"] == told["api_url"] + "/oauth"
