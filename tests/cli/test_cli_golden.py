"""What commands print, to the letter, at 80 columns: plain, in colour, as JSON.

The files in `golden/` are what is expected. `pytest tests/cli --update-goldens` writes them anew: read the difference
before you commit it.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from cli_kit import Cli, Golden, cli_fixture, golden_fixture

from kraken_fastkey import CreateKeyRequest, FastKeyClient, Permissions, StaticTokenProvider

FIXTURES = (cli_fixture, golden_fixture)


async def _three_keys(cli: Cli) -> None:
    """Make a key that reads, one that may empty the account and ends soon, and one that has expired."""
    tokens = StaticTokenProvider(cli.sandbox.issue_token())
    async with FastKeyClient(tokens, base_url=cli.sandbox.base_url, _runtime=cli.time.runtime) as client:
        cli.time.now -= 10 * 86_400
        old = CreateKeyRequest("old", permissions=Permissions.none(), valid_until=cli.time.now + 3 * 86_400)
        await client.create_key(old)
        cli.time.now += 8 * 86_400
        await client.create_key(
            CreateKeyRequest(
                "grid-bot",
                permissions=Permissions.read_only(),
                ip_allowlist=["203.0.113.0/24", "2001:db8::/32"],
                valid_until=cli.time.now + 9 * 86_400,
            )
        )
        cli.time.now += 2 * 86_400
        await client.create_key(
            CreateKeyRequest(
                "arb \u202e\x1b[31m",
                permissions=Permissions.only("funds_query", "funds_withdraw", "trades_modify", "trades_query_open"),
                valid_until=cli.time.now + 5 * 3600,
            )
        )


@contextmanager
def _no_spinner(_: object, __: str) -> Iterator[None]:
    """Take the place of what moves, and so never looks the same."""
    yield


COMMANDS = {
    "list": "list",
    "whoami": "whoami",
    "dry-run": "create grid-bot-2 --read-only --ip 203.0.113.7 --valid-for 7d --dry-run",
    "rotate-dry-run": "rotate grid-bot --new-name grid-bot-2 --dry-run",
    "sweep-dry-run": "sweep --prefix grid- --older-than 1d --dry-run",
    "delete": "delete old --yes",
    "delete-some": "delete nobody old --yes",
    "create": "create next --permission funds-query --ip 203.0.113.7 --valid-for 1d12h --env-file .env",
    "create-shown": "create next --permission funds-query --ip 203.0.113.7 --valid-for 1d12h --show-secret",
    "rotate": "rotate grid-bot --env-file .env --yes",
    "update": "update old --new-name young --valid-until never --any-ip --permission export-data",
    "not-found": "rotate nobody --env-file .env --yes",
    "no-place": "create next --read-only",
    "wrong-value": "create next --permission fund-query",
}


@pytest.mark.parametrize("mode", ["plain", "colour", "json"])
@pytest.mark.parametrize("name", COMMANDS)
async def test_output(name: str, mode: str, cli: Cli, golden: Golden, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each command prints what it printed when somebody last looked at it."""
    await _three_keys(cli)
    cli.set_token()
    command = COMMANDS[name] + (" --json" if mode == "json" else "")
    if mode == "colour":
        monkeypatch.setenv("FORCE_COLOR", "1")
        monkeypatch.setattr("kraken_fastkey.cli._output.Output.spinner", _no_spinner)
    golden.check(f"{name}.{mode}", command, await cli(*shlex.split(command)))
