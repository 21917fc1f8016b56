"""The command line, run in this process against a sandbox, with a clock that stands still."""

from __future__ import annotations

import asyncio
import io
import re
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import attrs
import pytest
from support import FakeTime

import kraken_fastkey
from kraken_fastkey import SecretStr
from kraken_fastkey.cli._app import run
from kraken_fastkey.sandbox import KrakenSandbox

GOLDEN = Path(__file__).parent / "golden"
VARIABLES = ("KRAKEN_FASTKEY_TOKEN", "KRAKEN_FASTKEY_CONFIG", "KRAKEN_FASTKEY_PROFILE", "KRAKEN_API_KEY")


class Terminal(io.StringIO):
    """A standard input at which a person types."""

    def isatty(self) -> bool:
        """Say that somebody is there."""
        return True


@attrs.frozen
class Ended:
    """How a command ended.

    Attributes:
        code: The exit code.
        out: What is on the standard output.
        err: What is on standard error.
    """

    code: int
    out: str
    err: str


@attrs.define
class Cli:
    """Runs commands.

    Attributes:
        sandbox: Where they lead.
        time: The clock of both sides.
        folder: An empty folder, which is the working directory, too.
        config: The configuration file, whose profile leads to the sandbox.
        gate: Set it to let slow answers of the sandbox go on.
    """

    sandbox: KrakenSandbox
    time: FakeTime
    folder: Path
    config: Path
    gate: asyncio.Event
    _capsys: pytest.CaptureFixture[str]
    _monkeypatch: pytest.MonkeyPatch

    async def __call__(self, *arguments: str, answers: str | None = None) -> Ended:
        """Run a command.

        Args:
            arguments: The command and its arguments.
            answers: What a person at a terminal types; `None` for no terminal.
        """
        self._monkeypatch.setattr("sys.stdin", io.StringIO() if answers is None else Terminal(answers))
        self._capsys.readouterr()
        # In a thread, since it has an event loop of its own, and the sandbox lives in this one.
        code = await asyncio.to_thread(run, arguments, self.time.runtime)
        return Ended(code, *self._capsys.readouterr())

    async def login(self, *arguments: str) -> Ended:
        """Log in by paste, the sandbox answering in the user's place."""
        self._monkeypatch.setattr("kraken_fastkey.cli._access._read_line", self._paste)
        return await self("login", "--no-browser", *arguments)

    async def _paste(self, _: str) -> str:
        return self.sandbox.approve(re.findall(r"http[^\s\\]+", self._capsys.readouterr().err)[-1])

    def set_token(self, **options: Any) -> str:
        """Give a token by the environment, and return it."""
        token = self.sandbox.issue_token(**options)
        self._monkeypatch.setenv("KRAKEN_FASTKEY_TOKEN", token)
        return token


@pytest.fixture(name="cli")
async def cli_fixture(
    fake_time: FakeTime,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> AsyncIterator[Cli]:
    """Have the command line, its profile, and the sandbox that this leads to; nobody is logged in."""
    folder = tmp_path / "work"
    folder.mkdir(mode=0o755)
    monkeypatch.chdir(folder)
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
    # What is run in a process of its own is this code, whatever is installed.
    monkeypatch.setenv("PYTHONPATH", str(Path(kraken_fastkey.__file__).parent.parent))
    # Nothing of the machine's own is read, or shows in what is printed.
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    for name in ("XDG_CONFIG_HOME", "XDG_DATA_HOME", "XDG_STATE_HOME", "FORCE_COLOR", "NO_COLOR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.delenv("COLORTERM", raising=False)
    gate = asyncio.Event()

    async def pause(_: float) -> None:
        await gate.wait()

    async with KrakenSandbox(clock=fake_time.time, seed=7, sleep=pause) as sandbox:
        config = tmp_path / "config.toml"
        config.write_text(
            f"""[profiles.sandbox]
client_id = "{sandbox.client_id}"
redirect_uri = "http://127.0.0.1/callback"
base_url = "{sandbox.base_url}"
authorize_url = "{sandbox.authorize_url}"
token_url = "{sandbox.token_url}"
api_url = "{sandbox.api_url}"
grant_file = "grants/sandbox"
""",
            encoding="utf-8",
        )
        monkeypatch.setenv("KRAKEN_FASTKEY_CONFIG", str(config))
        yield Cli(sandbox, fake_time, folder, config, gate, capsys, monkeypatch)


@pytest.fixture(name="secrets")
def secrets_fixture(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Note every value that becomes a secret."""
    noted: list[str] = []
    original: Callable[[SecretStr, str | SecretStr], None] = SecretStr.__init__

    def note(self: SecretStr, value: str | SecretStr) -> None:
        original(self, value)
        noted.append(self.get_secret_value())

    monkeypatch.setattr(SecretStr, "__init__", note)
    return noted


def leaked(ended: Ended, secrets: list[str]) -> list[str]:
    """Return the secrets that a command has shown; shorter ones are none."""
    return [secret for secret in secrets if len(secret) > 7 and secret in ended.out + ended.err]


@attrs.frozen
class Golden:
    """Compares what is printed with a file, or writes the file anew.

    Attributes:
        update: Whether to write it.
        cli: Where ports and paths come from, which differ in each run.
    """

    update: bool
    cli: Cli

    def check(self, name: str, command: str, ended: Ended) -> None:
        """Compare what a command has printed with `golden/<name>.txt`."""
        parts = [f"$ kraken-fastkey {command}\n", ended.out, "[standard error]\n", ended.err, f"[exit {ended.code}]\n"]
        text = self._regular("".join(parts))
        file = GOLDEN / f"{name}.txt"
        if self.update:
            file.write_text(text, encoding="utf-8")
        assert file.read_text(encoding="utf-8") == text

    def _regular(self, text: str) -> str:
        origin = self.cli.sandbox.api_url
        text = text.replace(origin, "http://127.0.0.1:PORT").replace(str(self.cli.folder.parent), "TMP")
        # Some versions of rich pad the last column of a table, too.
        text = re.sub(r" +(\x1b\[0m)?$", r"\1", text, flags=re.MULTILINE)
        return re.sub(r"fastkey/[^\s\"]+ aiohttp/[^\s\"]+", "fastkey/X aiohttp/X", text)


@pytest.fixture(name="golden")
def golden_fixture(request: pytest.FixtureRequest, cli: Cli) -> Golden:
    """Compare what is printed with files beside the tests."""
    return Golden(request.config.getoption("--update-goldens"), cli)
