"""Where secrets go: to where they are asked for, and nowhere else; and what cannot be handed out is deleted."""

from __future__ import annotations

import asyncio
import json
import os
import shlex
import stat
import subprocess
import sys
from pathlib import Path

import click
import pytest
from cli_kit import Cli, cli_fixture, leaked, secrets_fixture

from kraken_fastkey.cli._app import commands
from kraken_fastkey.cli._exits import Exit
from kraken_fastkey.sandbox import Answer

FIXTURES = (cli_fixture, secrets_fixture)
PLACES = ["--show-secret", "--ccxt", "--env-file .env", "--secret-file secret"]


@pytest.mark.parametrize("as_json", [False, True], ids=["text", "json"])
async def test_no_command_shows_a_secret(cli: Cli, secrets: list[str], *, as_json: bool) -> None:
    """From login to logout, neither tokens nor keys' secrets are shown, in no form, with --debug neither."""
    more = [*(["--json"] if as_json else []), "--debug"]
    lines = [
        "whoami",
        "create grid-bot --read-only --env-file .env",
        "create other --read-only --secret-file secret",
        "list",
        "update grid-bot --nonce-window 10",
        "verify grid-bot --env-file .env",
        "rotate grid-bot --env-file .env --yes",
        "create --read-only --dry-run",
        "doctor",
        "delete other --yes",
        "sweep --prefix g --older-than 1s --yes",
        "create",
        "list --foo",
        "logout",
        "list",
    ]
    shown = [await cli.login(*more), *[await cli(*shlex.split(line), *more) for line in lines]]
    assert [0] * 12 == [ended.code for ended in shown[:12]], shown
    # Tokens of two pairs, two keys and their rotation; each is noted more than once.
    assert len(set(secrets)) > 5
    # verify reads both halves of a key alike; the public one has 56 characters, and may be shown.
    hidden = [secret for secret in secrets if len(secret) != 56]
    assert [] == [leaked(ended, hidden) for ended in shown if leaked(ended, hidden)]


async def test_create_refuses_to_lose_the_secret(cli: Cli) -> None:
    """Without a place for the secret, nothing is sent, and it says what to pass."""
    cli.set_token()
    ended = await cli("create", "grid-bot", "--read-only")
    assert (Exit.USAGE, "") == (ended.code, ended.out)
    assert "--env-file PATH, --secret-file PATH, --ccxt or --show-secret" in ended.err
    ended = await cli("rotate", "grid-bot", "--yes")
    assert Exit.USAGE == ended.code
    assert [] == cli.sandbox.requests


async def test_the_secret_where_it_is_asked_for(cli: Cli) -> None:
    """Each place has the key that the sandbox made; files are their owner's alone, and other lines of one stay."""
    cli.set_token()
    Path(".env").write_text("OTHER=1\nexport BOT_API_KEY=old\n", encoding="utf-8")
    Path(".env").chmod(0o600)
    ended = await cli("create", "shown", "--read-only", "--show-secret", "--json")
    (key,) = cli.sandbox.keys()
    assert (key.api_key, key.secret) == (
        json.loads(ended.out)["key"]["api_key"],
        json.loads(ended.out)["key"]["secret"],
    )
    ended = await cli("create", "two", "--read-only", "--ccxt")
    assert {"apiKey": cli.sandbox.keys()[1].api_key, "secret": cli.sandbox.keys()[1].secret} == json.loads(ended.out)
    ended = await cli(
        *("create", "files", "--read-only", "--env-file", ".env", "--env-prefix", "BOT_"),
        *("--secret-file", "run/secret", "--json"),
    )
    key = cli.sandbox.keys()[2]
    text = f"OTHER=1\nexport BOT_API_KEY={key.api_key}\nBOT_API_SECRET={key.secret}\n"
    assert text == Path(".env").read_text(encoding="utf-8")
    assert key.secret == Path("run/secret").read_text(encoding="utf-8")
    assert [0o600] * 2 == [stat.S_IMODE(Path(name).stat().st_mode) for name in (".env", "run/secret")]
    told = json.loads(ended.out)
    assert (None, ".env", "run/secret") == (told["key"]["secret"], told["env_file"], told["secret_file"])


async def test_one_document_at_a_time(cli: Cli) -> None:
    """--ccxt is a document of its own, so nothing else may want the standard output."""
    cli.set_token()
    for option in ("--json", "--show-secret"):
        ended = await cli("create", "--ccxt", option)
        assert Exit.USAGE == ended.code
        assert "--ccxt prints JSON of its own" in ended.err
    assert [] == cli.sandbox.requests


@pytest.mark.skipif(os.name != "posix", reason="Windows has no modes")
@pytest.mark.parametrize(
    ("place", "fault"),
    [
        ("--env-file open/.env", "others can put files into"),
        ("--secret-file open/secret", "others can put files into"),
        ("--env-file link", "a symbolic link is in its place"),
        ("--secret-file link", "a symbolic link is in its place"),
        ("--env-file read", "can be read or written by others"),
    ],
)
@pytest.mark.parametrize("command", ["create", "rotate --yes"])
async def test_a_place_not_fit_for_a_secret(command: str, place: str, fault: str, cli: Cli) -> None:
    """It is refused before there is a key."""
    cli.set_token()
    Path("open").mkdir()
    Path("open").chmod(0o777)
    Path("link").symlink_to("target")
    Path("read").touch(0o644)
    ended = await cli(*command.split(), "grid-bot", *place.split())
    assert (Exit.STORAGE, "") == (ended.code, ended.out)
    assert fault in ended.err
    assert [] == cli.sandbox.requests
    assert not Path("target").exists()


async def test_two_secrets_in_one_file(cli: Cli) -> None:
    """One file cannot be both a secret and variables."""
    cli.set_token()
    ended = await cli("create", "--env-file", "x", "--secret-file", "./x")
    assert Exit.USAGE == ended.code
    assert "--env-file and --secret-file are one file" in ended.err
    assert [] == cli.sandbox.requests


@pytest.mark.skipif(os.name != "posix", reason="there is no /dev/null")
@pytest.mark.parametrize("option", ["--env-file", "--secret-file"])
async def test_what_cannot_be_written_is_deleted(option: str, cli: Cli) -> None:
    """Where the file cannot be written, the new key is deleted; of a rotation, the old one stays."""
    cli.set_token()
    place = (option, "/dev/null/no/secret")
    ended = await cli("create", "grid-bot", "--read-only", *place)
    assert (Exit.STORAGE, "") == (ended.code, ended.out)
    assert "The new key is deleted again" in ended.err
    assert () == cli.sandbox.keys()
    assert 0 == (await cli("create", "grid-bot", "--read-only", "--env-file", ".env")).code
    before, content = cli.sandbox.keys(), Path(".env").read_bytes()
    ended = await cli("rotate", "grid-bot", "--yes", *place)
    assert Exit.STORAGE == ended.code
    assert [before[0].api_key] == [key.api_key for key in cli.sandbox.keys()]
    assert content == Path(".env").read_bytes()


@pytest.mark.parametrize("place", ["--show-secret", "--ccxt"])
async def test_what_cannot_be_printed_is_deleted(place: str, cli: Cli) -> None:
    """If whoever should read the secret is gone, the key is deleted, and a file keeps what it had."""
    cli.set_token()
    reader, writer = os.pipe()
    os.close(reader)
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "kraken_fastkey", "create", "--read-only", place, "--env-file", ".env"),
        stdout=writer,
        stderr=subprocess.PIPE,
    )
    os.close(writer)
    _, err = await process.communicate()
    assert Exit.STORAGE == process.returncode, err
    assert b"error: the standard output cannot be written: Broken pipe. The new key is deleted again\n" == err
    assert () == cli.sandbox.keys()
    assert not Path(".env").exists()


async def test_a_key_that_could_not_be_deleted_either_is_named(cli: Cli) -> None:
    """If the secret is lost and the key cannot be deleted, the user is told its name."""
    cli.set_token()
    cli.sandbox.faults.add(Answer(200, {"error": ["EGeneral:Permission denied"]}), operation="delete_key", times=None)
    ended = await cli("create", "stray", "--read-only", "--env-file", "/dev/null/no/.env")
    assert Exit.STORAGE == ended.code
    assert ["stray"] == [key.api_key_name for key in cli.sandbox.keys()]
    assert "warning: the key 'stray' may exist though nobody holds it: if kraken-fastkey list shows it" in ended.err
    assert 1 == ended.err.count("'stray'")  # once is enough
    assert "deleted again" not in ended.err


def test_no_option_takes_a_secret() -> None:
    """What is said on the command line is in the shell's history: options name files, and are flags."""
    context = click.Context(commands)
    found = set()
    for name in commands.list_commands(context):
        command = commands.get_command(context, name)
        assert command is not None
        for option in command.params:
            words = " ".join([option.name or "", *option.opts])
            if any(word in words for word in ("secret", "token", "password", "key")):
                is_harmless = getattr(option, "is_flag", False) or isinstance(option.type, click.Path)
                assert is_harmless or words == "token_life --token-life", words
                found.add(words)
    assert {"show_secret --show-secret", "secret_file --secret-file", "token_life --token-life"} == found


async def test_no_secret_in_the_configuration(cli: Cli) -> None:
    """A secret in the file is refused, with what to do, and not repeated."""
    for field in ("client_secret", "token_secret"):
        cli.config.write_text(f'[profiles.a]\n{field} = "FAKE-SECRET-1"\n', encoding="utf-8")
        ended = await cli("list")
        assert Exit.USAGE == ended.code
        assert f"profiles.a.{field}: secrets do not belong here: set client_secret_env" in ended.err
        assert "FAKE-SECRET-1" not in ended.err


@pytest.mark.parametrize("source", ["env", "file"])
async def test_a_client_secret_comes_from_elsewhere(source: str, cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    """A confidential client's secret is read from a variable or a file, and sent to the token endpoint alone."""
    cli.sandbox.register_client("confidential", "FAKE-SECRET-2")
    text = cli.config.read_text(encoding="utf-8").replace(cli.sandbox.client_id, "confidential")
    cli.config.write_text(text + f'client_secret_{source} = "APP_SECRET"\n', encoding="utf-8")
    ended = await cli.login()
    assert Exit.USAGE == ended.code
    assert "APP_SECRET" in ended.err
    monkeypatch.setenv("APP_SECRET", "FAKE-SECRET-2\n")
    (cli.config.parent / "APP_SECRET").write_text("FAKE-SECRET-2\n", encoding="utf-8")
    ended = await cli.login()
    assert 0 == ended.code
    assert "FAKE-SECRET-2" not in ended.out + ended.err
    assert 0 == (await cli("list")).code


async def test_a_wrong_token_is_not_shown(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    """A token that Kraken refuses, or that could be none, is not repeated."""
    for token in ("FAKE-TOKEN-3", "FAKE TOKEN 3"):
        monkeypatch.setenv("KRAKEN_FASTKEY_TOKEN", token)
        for more in ([], ["--debug"], ["--json"]):
            ended = await cli("list", *more)
            assert ended.code in {Exit.LOGIN, Exit.USAGE}
            assert token not in ended.err
