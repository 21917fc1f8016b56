"""How commands end: each error has its exit code, one line on standard error, and no traceback unless asked for."""

from __future__ import annotations

import asyncio
import errno
import io
import json
import os
import shlex
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from cli_kit import Cli, cli_fixture

import kraken_fastkey
from kraken_fastkey import FastKeyError
from kraken_fastkey.cli._app import run
from kraken_fastkey.cli._exits import _COMMANDS, EXIT_MEANINGS, Exit, exit_of
from kraken_fastkey.sandbox import FAULTS, Answer, Disconnect, Drip

FIXTURES = (cli_fixture,)

KRAKEN_SAYS = {
    "EGeneral:Invalid arguments": Exit.USAGE,
    "EAPI:Invalid key": Exit.LOGIN,
    "EGeneral:Permission denied": Exit.PERMISSION,
    "EAccount:Too many API keys": Exit.TAKEN,
    "EAPI:Rate limit exceeded": Exit.UNAVAILABLE,
    "EGeneral:Temporary lockout": Exit.UNAVAILABLE,
    "EService:Unavailable": Exit.UNAVAILABLE,
    "EBrand:New": Exit.UNEXPECTED,
}


@pytest.mark.parametrize(("code", "exit_code"), KRAKEN_SAYS.items())
async def test_what_kraken_says_of_a_list(code: str, exit_code: Exit, cli: Cli) -> None:
    """Each kind of refusal has a code of its own."""
    cli.set_token()
    cli.sandbox.faults.add(Answer(200, {"error": [code]}), operation="list_keys", times=None)
    ended = await cli("list")
    assert exit_code == ended.code
    assert "" == ended.out
    error = ended.err.splitlines()[-1]
    assert error.startswith("error: ")
    assert code in error


def _lose_a_create(cli: Cli) -> None:
    """Have a create carried out, its answer lost, and nobody allowed to look."""
    cli.set_token(scopes=["account.fast-api-key:write"])
    cli.sandbox.faults.add(Disconnect(commit=True), operation="create_key")


CASES: dict[str, tuple[str, Exit, Callable[[Cli], object] | None]] = {
    "no token": ("list", Exit.LOGIN, lambda cli: cli.sandbox.expire_access_tokens()),
    "wrong option": ("list --foo", Exit.USAGE, None),
    "wrong value": ("create --ip 10.0.0.1/8 --show-secret", Exit.USAGE, None),
    "past": ("create --valid-until 2020-01-01 --show-secret", Exit.USAGE, None),
    "no profile": ("list --profile nobody", Exit.USAGE, None),
    "no scope": ("list", Exit.PERMISSION, lambda cli: cli.set_token(scopes=["account.info:basic"])),
    "not found": ("delete nobody --yes", Exit.NOT_FOUND, None),
    "unavailable": (
        "list",
        Exit.UNAVAILABLE,
        lambda cli: cli.sandbox.faults.add(FAULTS["503_html"], operation="list_keys", times=None),
    ),
    "a lost create": (
        "create lost --show-secret",
        Exit.UNKNOWN_OUTCOME,
        _lose_a_create,
    ),
    "a lost delete": (
        "delete lost --yes",
        Exit.UNKNOWN_OUTCOME,
        lambda cli: cli.sandbox.faults.add(Disconnect(), operation="delete_key", times=None),
    ),
    "no folder": ("create x --env-file /dev/null/x/.env", Exit.STORAGE, None),
    "no key": ("verify", Exit.USAGE, None),
}


@pytest.mark.parametrize("as_json", [False, True], ids=["text", "json"])
@pytest.mark.parametrize("case", CASES)
async def test_exit_codes(case: str, cli: Cli, *, as_json: bool) -> None:
    """Each ends with its code, and says why on standard error, in one line or as one JSON document."""
    command, exit_code, prepare = CASES[case]
    cli.set_token()
    if prepare is not None:
        prepare(cli)
    ended = await cli(*shlex.split(command), *(["--json"] if as_json else []))
    assert (exit_code, "") == (ended.code, ended.out)
    if as_json:
        error = json.loads(ended.err.splitlines()[-1])["error"]
        assert exit_code == error["exit_code"]
        assert error["message"]
    else:
        assert ended.err.splitlines()[-1].startswith("error: ")
    assert "Traceback" not in ended.err


async def test_an_unreachable_server(cli: Cli) -> None:
    """Where nobody listens, that is said, with the code for it."""
    cli.set_token()
    async with cli.sandbox.unreachable():
        ended = await cli("list")
    assert Exit.UNAVAILABLE == ended.code
    assert "error: no connection to 127.0.0.1: Connection refused. Nothing was sent: check the network" in ended.err


async def test_a_taken_name(cli: Cli) -> None:
    """A name is given once."""
    cli.set_token()
    assert 0 == (await cli("create", "grid-bot", "--read-only", "--show-secret")).code
    ended = await cli("create", "grid-bot", "--read-only", "--show-secret")
    assert Exit.TAKEN == ended.code
    assert 1 == len(cli.sandbox.keys())


def test_every_exception_has_a_code() -> None:
    """Nothing that the library raises falls through, but for what no command can meet, or Kraken has just invented."""
    classes = [getattr(kraken_fastkey, name) for name in kraken_fastkey.__all__]
    errors = [cls for cls in classes if isinstance(cls, type) and issubclass(cls, FastKeyError)]
    without = set()
    for cls in errors:
        error = cls.__new__(cls)
        FastKeyError.__init__(error, "a text")
        if exit_of(error) is Exit.UNEXPECTED:
            without.add(cls.__name__)
    assert {"FastKeyError", "ApiError", "ClientClosedError", "LeaseExpiredError"} == without


def test_every_code_has_a_meaning() -> None:
    """The table is whole, and no two codes are one."""
    assert set(Exit) == set(EXIT_MEANINGS)
    assert all(EXIT_MEANINGS.values())


def test_words_of_the_library_are_there_to_be_replaced() -> None:
    """What an error says to programmers is said in the command line's words; the library still says it so."""
    root = Path(kraken_fastkey.__file__).parent
    sources = [path.read_text(encoding="utf-8") for path in root.rglob("*.py") if path.parent.name != "cli"]
    assert [] == [words for words in _COMMANDS if not any(words in source for source in sources)]


async def test_nobody_has_logged_in(cli: Cli) -> None:
    """What the first user meets is one line, which says what to do."""
    ended = await cli("list")
    assert (Exit.LOGIN, "error: nobody has logged in: run kraken-fastkey login\n") == (ended.code, ended.err)


async def test_a_dangerous_key_is_warned_of_in_options(cli: Cli) -> None:
    """What is warned of names what can be typed."""
    cli.set_token()
    ended = await cli("create", "a", "--permission", "funds-withdraw", "--env-file", ".env")
    assert [
        "warning: 'a' may withdraw funds from any address: pass --ip",
        "warning: 'a' may withdraw funds for ever: pass --valid-for",
    ] == ended.err.splitlines()


async def test_debug_shows_a_traceback_and_no_secret(cli: Cli) -> None:
    """--debug shows where an error comes from, and what was logged."""
    token = cli.set_token()
    cli.sandbox.faults.add(Answer(500, {"error": []}), operation="list_keys", times=None)
    ended = await cli("list", "--debug")
    assert Exit.UNAVAILABLE == ended.code
    assert "ServiceUnavailableError: " in ended.err
    assert "in list_keys\n" in ended.err
    assert "debug: " in ended.err or "info: " in ended.err
    assert token not in ended.err


def _fail(*_: object) -> None:
    raise KeyError("FAKE-" + "SECRET")


async def test_a_defect_is_told_without_its_text(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    """An exception that is none of ours may quote a secret: it is told by its type, even with --debug."""
    monkeypatch.setattr("kraken_fastkey.cli._list.render_keys", _fail)
    cli.set_token()
    await cli("create", "--show-secret")
    ended = await cli("list", "--debug")
    assert Exit.UNEXPECTED == ended.code
    assert "error: unexpected KeyError: this is a defect, please report it; --debug shows where\n" in ended.err
    assert "in list_command\n" in ended.err
    assert "FAKE-SECRET" not in ended.err


class Full(io.StringIO):
    """A standard output on a disk that is full."""

    def write(self, _: str) -> int:
        """Write nothing."""
        raise OSError(errno.ENOSPC, "No space left on device")


async def test_a_closed_output_is_told(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    """A standard output that cannot be written is an error of its own."""
    cli.set_token()
    monkeypatch.setattr("sys.stdout", Full())
    code = await asyncio.to_thread(run, ["list", "--json"], cli.time.runtime)
    assert Exit.STORAGE == code


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full")
@pytest.mark.parametrize("unbuffered", ["", "1"])
@pytest.mark.parametrize("options", ["", "--json"])
async def test_a_full_disk_is_told(options: str, unbuffered: str, cli: Cli) -> None:
    """Whether Python buffers what is printed or, as in containers, does not."""
    cli.set_token()
    await cli("create", "a", "--read-only", "--env-file", ".env")
    done = await asyncio.create_subprocess_shell(
        f"{shlex.quote(sys.executable)} -m kraken_fastkey list {options} >/dev/full",
        stderr=subprocess.PIPE,
        env={**os.environ, "PYTHONUNBUFFERED": unbuffered},
    )
    _, err = await done.communicate()
    assert b"the standard output cannot be written: No space left on device" in err
    assert Exit.STORAGE == done.returncode


@pytest.mark.skipif(os.name != "posix", reason="closes descriptors")
async def test_no_standard_output_at_all(cli: Cli) -> None:
    """A key whose secret was to be printed where nothing is open is deleted; so is nothing that is not asked for."""
    cli.set_token()
    for command, code in (("create a --show-secret", Exit.STORAGE), ("create b --env-file .env", Exit.STORAGE)):
        done = await asyncio.create_subprocess_shell(
            f"{shlex.quote(sys.executable)} -m kraken_fastkey {command} >&-", stderr=subprocess.PIPE
        )
        _, err = await done.communicate()
        assert code == done.returncode
        assert b"error: the standard output is closed" in err
    # The second one is in its file: only what was to be shown of it could not be.
    assert ["b"] == [key.api_key_name for key in cli.sandbox.keys()]


async def test_a_terminal_that_knows_ascii_alone(cli: Cli) -> None:
    """What it cannot show is escaped, whatever moves as well."""
    cli.set_token()
    name = "\u043a\u043b\u044e\u0447"
    for command in (f"create {name} --read-only --show-secret", "list", f"delete {name} --yes"):
        done = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "kraken_fastkey", *command.split()),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={**os.environ, "PYTHONIOENCODING": "ascii", "FORCE_COLOR": "1"},
        )
        out, err = await done.communicate()
        assert 0 == done.returncode, err
        assert rb"\u043a\u043b\u044e\u0447" in out


def _heed_signals() -> None:
    """Undo what a shell does to what runs in its background, or nohup: they have it pass over some signals."""
    for number in (signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)


@pytest.mark.skipif(os.name != "posix", reason="sends POSIX signals")
@pytest.mark.parametrize(("signal_name", "exit_code"), [("SIGINT", 130), ("SIGTERM", 143), ("SIGHUP", 143)])
async def test_a_create_that_is_stopped_leaves_no_key(signal_name: str, exit_code: int, cli: Cli) -> None:
    """They end a command whose answer is under way; the key that was made is deleted first."""
    cli.set_token()
    cli.sandbox.faults.add(Drip(1, 1), operation="create_key")
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "kraken_fastkey", "create", "--read-only", "--show-secret"),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        preexec_fn=_heed_signals,
    )
    assert process.stderr is not None
    async with asyncio.timeout(60):
        while not cli.sandbox.keys():
            await asyncio.sleep(0.01)
        process.send_signal(signal.Signals[signal_name])
        assert b"ending: what has been sent is brought to its end first\n" == await process.stderr.readline()
        cli.gate.set()
        out, err = await process.communicate()
    assert (exit_code, b"") == (process.returncode, out)
    assert b"Traceback" not in err
    assert () == cli.sandbox.keys()


async def test_who_watches_is_told_why_it_takes_long(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    """At a terminal, what moves says that the client waits, or looks into a lost answer; elsewhere nothing moves."""
    cli.set_token()
    limited = Answer(429, {"error": ["EAPI:Rate limit exceeded"]}, headers={"Retry-After": "3"})
    lost = (limited, Disconnect(commit=True))
    cli.sandbox.faults.script("create_key", lost)
    assert "" == (await cli("create", "a", "--read-only", "--show-secret")).err
    monkeypatch.setenv("FORCE_COLOR", "1")
    cli.sandbox.faults.script("create_key", lost)
    ended = await cli("create", "b", "--read-only", "--ccxt")
    assert 0 == ended.code
    assert "\x1b" not in ended.out
    assert "Creating b: RateLimitedError, trying again in 3 s" in ended.err
    assert "Creating b: its answer was lost, finding out what became of it" in ended.err
    assert "\x1b" not in (await cli("list", "--json")).err
