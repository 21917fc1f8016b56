"""What each command does to the account, and what it refuses."""

from __future__ import annotations

import asyncio
import json
import shlex
import signal
import stat
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import attrs
import pytest
from cli_kit import Cli, cli_fixture

from kraken_fastkey import CreateKeyRequest, FastKeyClient, StaticTokenProvider
from kraken_fastkey._grant import Rotation
from kraken_fastkey.cli._exits import Exit
from kraken_fastkey.sandbox import Answer, Disconnect, Drip
from kraken_fastkey.stores import FileGrantStore

FIXTURES = (cli_fixture,)
DAY = 86_400


async def test_a_login_is_kept_refreshed_and_forgotten(cli: Cli) -> None:
    """After login, commands work, over a refresh as well; after logout they do not."""
    ended = await cli.login("--read-only", "--json")
    told = json.loads(ended.out)
    assert {"profile", "store", "scopes", "expires_at", "refreshable"} == set(told)
    assert "account.info:basic" in told["scopes"]
    assert "account.fast-api-key:funds-withdraw" not in told["scopes"]
    grant = Path(told["store"])
    assert (0o600, 0o700) == tuple(stat.S_IMODE(path.stat().st_mode) for path in (grant, grant.parent))
    assert 0 == (await cli("whoami")).code
    cli.time.now += 5 * 3600
    assert 0 == (await cli("list")).code
    assert [r.operation for r in cli.sandbox.requests].count("token") == 2
    ended = await cli("logout", "--json")
    assert (0, True) == (ended.code, json.loads(ended.out)["forgotten"])
    assert not grant.exists()
    assert Exit.LOGIN == (await cli("list")).code
    ended = await cli("logout", "--json")
    assert (0, False) == (ended.code, json.loads(ended.out)["forgotten"])


async def test_a_login_in_the_browser(cli: Cli, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The browser is opened, and comes back; what it prints is not taken for data."""
    callbacks = tmp_path / "callbacks"
    browser = tmp_path / "browser"
    browser.write_text(
        f"""#!{sys.executable}
import sys, time, urllib.request
print("Opening in existing browser session.", flush=True)
with open({str(tmp_path / "url")!r}, "w") as file:
    file.write(sys.argv[1])
while True:
    try:
        with open({str(callbacks)!r}) as file:
            urllib.request.urlopen(file.read())
            break
    except FileNotFoundError:
        time.sleep(0.01)
""",
        encoding="utf-8",
    )
    browser.chmod(0o755)
    monkeypatch.setenv("BROWSER", str(browser))
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "kraken_fastkey", "login", "--read-only", "--json"),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    async with asyncio.timeout(60):
        while not (tmp_path / "url").exists() or not (url := (tmp_path / "url").read_text(encoding="utf-8")):
            await asyncio.sleep(0.01)
        (tmp_path / "new").write_text(cli.sandbox.approve(url), encoding="utf-8")
        (tmp_path / "new").rename(callbacks)
        out, err = await process.communicate()
    assert 0 == process.returncode
    assert "account.info:basic" in json.loads(out)["scopes"]
    assert b"Opening in existing browser session." in err


async def test_what_a_login_asks_for(cli: Cli) -> None:
    """The options, else the profile's permissions, else all that the app is registered with."""
    full = json.loads((await cli.login("--json")).out)["scopes"]
    assert len(full) > 12
    cli.config.write_text(cli.config.read_text(encoding="utf-8") + 'permissions = ["funds-query"]\n', encoding="utf-8")
    mine = ["account.fast-api-key:funds-query", "account.fast-api-key:read", "account.fast-api-key:write"]
    assert [*mine, "account.info:basic"] == json.loads((await cli.login("--json")).out)["scopes"]
    ended = await cli.login("--scope", "account.fast-api-key:read", "--json")
    assert ["account.fast-api-key:read"] == json.loads(ended.out)["scopes"]


async def test_a_login_that_cannot_be_forgotten(cli: Cli) -> None:
    """Where the file cannot be removed, that is said."""
    (cli.config.parent / "grants" / "sandbox").mkdir(parents=True, mode=0o700)
    (cli.config.parent / "grants").chmod(0o700)
    ended = await cli("logout")
    assert Exit.STORAGE == ended.code
    assert "cannot be removed" in ended.err


async def test_a_denied_login(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    """A user who clicks Deny ends it with the code for logins, and nothing is kept."""
    monkeypatch.setattr(cli.sandbox, "approve", cli.sandbox.deny)
    ended = await cli.login()
    assert (Exit.LOGIN, "") == (ended.code, ended.out)
    assert "access_denied" in ended.err
    assert Exit.LOGIN == (await cli("list")).code


async def test_nothing_is_pasted(cli: Cli) -> None:
    """An empty line, or the end of what is piped in, is no address."""
    for answers in (None, "\n"):
        ended = await cli("login", "--no-browser", answers=answers)
        assert (Exit.LOGIN, "") == (ended.code, ended.out)
        assert "error: nothing was pasted, so nobody is logged in\n" in ended.err


async def test_the_environment_s_token_goes_first(cli: Cli) -> None:
    """A login, or logout, with a token in the environment says that this goes before it."""
    cli.set_token()
    assert "KRAKEN_FASTKEY_TOKEN is set, and goes before this login" in (await cli.login()).err
    assert "KRAKEN_FASTKEY_TOKEN is set, and still gives access" in (await cli("logout")).err
    assert 0 == (await cli("list")).code


async def test_no_configuration_is_needed_with_a_token(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a token alone, the default is Kraken's own server."""
    cli.set_token()
    monkeypatch.delenv("KRAKEN_FASTKEY_CONFIG")
    ended = await cli("delete", "x", "--dry-run")
    assert "DELETE https://api.kraken.com/oauth/fast-api-key\n" in ended.out


CREATES: dict[str, dict[str, Any]] = {
    "--permission funds-query --permission trades_modify": {
        "permissions": {"funds_query": True, "trades_modify": True, "funds_withdraw": False}
    },
    "--read-only --permission trades-close": {"permissions": {"ledger_query": True, "trades_close": True}},
    "--ip 203.0.113.7 --ip 2001:db8::/32": {"ip_allowlist": ["203.0.113.7", "2001:db8::/32"]},
    "--valid-for 1d12h": {"valid_until": 1_800_000_000 + 36 * 3600},
    "--valid-until 2030-01-31": {"valid_until": 1_896_048_000},
    "--valid-until 2030-01-31T01:00+01:00": {"valid_until": 1_896_048_000},
    "--valid-until never": {"valid_until": 0},
    "--query-from 2026-01-01 --query-to 1800000000": {"query_from": 1_767_225_600, "query_to": 1_800_000_000},
    "--nonce-window 5000": {"nonce_window": 5000},
}


@pytest.mark.parametrize("options", CREATES)
async def test_what_create_sends(options: str, cli: Cli) -> None:
    """Each option is what it says in the request."""
    cli.set_token()
    assert 0 == (await cli("create", "grid-bot", *options.split(), "--show-secret")).code
    (sent,) = [request.json for request in cli.sandbox.requests]
    for field, value in CREATES[options].items():
        assert value == ({name: sent[field][name] for name in value} if isinstance(value, dict) else sent[field])


async def test_create_takes_the_profile_s_word(cli: Cli) -> None:
    """What is not said is the profile's; what is said goes before it."""
    cli.set_token()
    cli.config.write_text(
        cli.config.read_text(encoding="utf-8")
        + 'permissions = ["funds-query"]\nip_allowlist = ["203.0.113.7"]\nvalid_for = "1d"\n',
        encoding="utf-8",
    )
    await cli("create", "--show-secret")
    await cli("create", "--permission", "trades-close", "--ip", "203.0.113.8", "--valid-until", "never", "--ccxt")
    first, second = (request.json for request in cli.sandbox.requests)
    assert first["api_key_name"].startswith("fastkey-")
    assert (["203.0.113.7"], 1_800_000_000 + DAY) == (first["ip_allowlist"], first["valid_until"])
    assert (["203.0.113.8"], 0) == (second["ip_allowlist"], second["valid_until"])
    assert (True, False) == tuple(request["permissions"]["funds_query"] for request in (first, second))


async def test_a_key_that_may_do_nothing_is_warned_of(cli: Cli) -> None:
    """It is most likely an oversight."""
    cli.set_token()
    assert "warning: the key may do nothing" in (await cli("create", "--show-secret")).err


@pytest.mark.parametrize("command", ["create a --read-only --valid-for 1d", "update a --any-ip", "delete a"])
async def test_a_dry_run_shows_the_request_that_is_sent(command: str, cli: Cli) -> None:
    """Method, path, headers and body are, to the byte, those of the request that follows; nothing is sent before."""
    token = cli.set_token()
    if not command.startswith("create"):
        await cli("create", "a", "--show-secret")
        cli.sandbox.requests.clear()
    (planned,) = json.loads((await cli(*command.split(), "--dry-run", "--json")).out)["requests"]
    assert [] == cli.sandbox.requests
    how = {"create": ["--show-secret"], "delete": ["--yes"]}.get(command.split(maxsplit=1)[0], [])
    assert 0 == (await cli(*command.split(), *how)).code
    sent = cli.sandbox.requests[0]
    assert sent.method == planned["method"]
    assert cli.sandbox.api_url + sent.path == planned["url"]
    assert sent.body == planned["body"].encode()
    of_http = {"host", "content-length", "connection"}
    headers = {name.lower(): value.replace(token, "*" * 10) for name, value in sent.headers.items()}
    assert {name: value for name, value in headers.items() if name not in of_http} == {
        name.lower(): value for name, value in planned["headers"].items()
    }


async def test_a_dry_run_takes_no_token(cli: Cli) -> None:
    """Where nothing is read, either, nobody need be logged in."""
    for command in ("create a --dry-run", "update a --any-ip --dry-run", "delete a b --dry-run"):
        assert 0 == (await cli(*command.split())).code


@pytest.mark.parametrize("command", ["delete a", "sweep", "rotate a --env-file .env"])
async def test_what_deletes_asks_first(command: str, cli: Cli) -> None:
    """It asks at a terminal, takes nothing but yes, and refuses where there is no terminal."""
    cli.set_token()
    await cli("create", "a", "--read-only", "--valid-for", "1d", "--show-secret")
    cli.time.now += 2 * DAY
    cli.set_token()
    before = cli.sandbox.keys()
    cli.sandbox.requests.clear()
    ended = await cli(*command.split())
    assert (Exit.USAGE, "") == (ended.code, ended.out)
    assert [] == cli.sandbox.requests
    assert "error: this asks first, and there is no terminal to answer at: pass --yes\n" in ended.err
    for answer in ("n\n", "\n", ""):
        ended = await cli(*command.split(), answers=answer)
        assert (Exit.INTERRUPTED, "") == (ended.code, ended.out)
        assert "? [y/N] " in ended.err
    assert before == cli.sandbox.keys()
    assert 0 == (await cli(*command.split(), answers="y\n")).code
    assert before != cli.sandbox.keys()


async def test_deleting_several(cli: Cli) -> None:
    """One that is not there does not keep the others; one that none could be sends nothing."""
    cli.set_token()
    for name in ("a", "b"):
        await cli("create", name, "--show-secret")
    ended = await cli("delete", "a", "nobody", "b", "a", "--yes", "--json")
    told = json.loads(ended.out)
    assert (Exit.NOT_FOUND, ["a", "b"], []) == (ended.code, told["deleted"], told["not_tried"])
    assert ["nobody"] == [failure["api_key_name"] for failure in told["failed"]]
    cli.sandbox.requests.clear()
    assert Exit.USAGE == (await cli("delete", "a", "x" * 33, "--yes")).code
    assert [] == cli.sandbox.requests


async def test_deleting_stops_where_the_next_would_fail_likewise(cli: Cli) -> None:
    """Without the scope, one request is enough to know."""
    cli.set_token(scopes=["account.fast-api-key:read"])
    ended = await cli("delete", "a", "b", "--yes", "--json")
    assert (Exit.PERMISSION, ["b"]) == (ended.code, json.loads(ended.out)["not_tried"])
    assert 1 == len(cli.sandbox.requests)


async def test_update_changes_what_is_said_alone(cli: Cli) -> None:
    """Other fields stay; the key is shown as it is then."""
    cli.set_token()
    await cli("create", "a", "--read-only", "--ip", "203.0.113.7", "--valid-for", "1d", "--show-secret")
    ended = await cli("update", "a", "--new-name", "b", "--valid-until", "never", "--json")
    key = json.loads(ended.out)["key"]
    assert ("b", None, ["203.0.113.7"]) == (key["api_key_name"], key["valid_until"], key["ip_allowlist"])
    assert {"api_key_name", "new_api_key_name", "valid_until"} == set(cli.sandbox.requests[1].json)
    ended = await cli("update", "b", "--any-ip", "--json")
    assert [] == json.loads(ended.out)["key"]["ip_allowlist"]


@pytest.mark.parametrize("columns", [60, 80, 120, 200])
async def test_a_table_gives_way_to_a_narrow_terminal(columns: int, cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    """Permissions, addresses and times stay whole, no line is too long, and a name is cut only where it must be."""
    cli.set_token()
    name = "a-name-that-is-as-long-as-it-may"
    permissions = ("funds-query", "trades-close", "trades-query-open")
    addresses = ("203.0.113.0/24", "192.0.2.1")
    await cli(
        *("create", name, "--env-file", ".env", "--valid-for", "7d"),
        *(word for permission in permissions for word in ("--permission", permission)),
        *(word for address in addresses for word in ("--ip", address)),
    )
    monkeypatch.setenv("COLUMNS", str(columns))
    head, *rows = (await cli("list")).out.splitlines()
    assert ["NAME", "MAY", "FROM", "EXPIRES", "USED"] == head.split()
    assert max(map(len, rows)) <= columns
    words = " ".join(rows).replace(",", "").split()
    assert {*permissions, *addresses} <= set(words)
    assert rows[0].endswith("  in 7 d   never")
    assert (columns >= 90) == (name in words)
    assert name == "".join(row[: head.index("MAY")].strip() for row in rows)
    monkeypatch.setenv("COLUMNS", "40")  # each word gives way, and no column is lost
    lines = (await cli("list")).out.splitlines()
    assert max(map(len, lines)) <= 40
    assert {"NAME", "MAY", "FROM", "USED"} <= set(" ".join(lines[:3]).split())


async def test_update_of_a_key_that_the_list_does_not_show(cli: Cli) -> None:
    """The change is made all the same; there is nothing to show."""
    cli.set_token()
    await cli("create", "a", "--show-secret")
    for more in ([], ["--json"]):
        cli.sandbox.faults.add(Answer(200, {"result": []}), operation="list_keys")
        ended = await cli("update", "a", "--any-ip", *more)
        assert 0 == ended.code
        assert ended.out == "" or json.loads(ended.out) == {"key": None}


@pytest.mark.parametrize(
    "command",
    [
        "update a",
        "update a --ip 203.0.113.7 --any-ip",
        "update a --valid-for 1d --valid-until never",
        "create a --valid-for 1d --valid-until never --show-secret",
        "rotate a --valid-for 1d --valid-until never --show-secret",
        "rotate a --new-name a --show-secret",
        "sweep --prefix x",
        "sweep --older-than 1d",
        "sweep --prefix= --older-than 1d",
        "create --valid-for 0d --show-secret",
        "create --valid-for 1y --show-secret",
        "create --valid-until tomorrow --show-secret",
        "create --env-file .env --env-prefix 1",
        "verify",
        "delete",
    ],
)
async def test_wrong_usage_sends_nothing(command: str, cli: Cli) -> None:
    """What contradicts itself, or makes no sense, is refused before anything is sent."""
    cli.set_token()
    ended = await cli(*shlex.split(command))
    assert (Exit.USAGE, "") == (ended.code, ended.out)
    assert [] == cli.sandbox.requests


async def test_rotate_keeps_name_rights_and_length_of_life(cli: Cli) -> None:
    """The new key is like the old one, lives as long from now, and has its name; the old one is gone."""
    cli.set_token(expires_in=100 * DAY)
    wish = "grid-bot --read-only --ip 203.0.113.7 --valid-for 7d --nonce-window 5"
    await cli("create", *wish.split(), "--env-file", ".env")
    (old,) = cli.sandbox.keys()
    cli.time.now += 6 * DAY
    ended = await cli("rotate", "grid-bot", "--env-file", ".env", "--yes", "--json")
    assert 0 == ended.code
    (new,) = cli.sandbox.keys()
    assert "grid-bot" == new.api_key_name == json.loads(ended.out)["key"]["api_key_name"]
    assert "grid-bot" == json.loads(ended.out)["rotated"]
    assert old.api_key != new.api_key
    assert new.api_key in Path(".env").read_text(encoding="utf-8")
    assert (old.permissions, old.ip_allowlist, old.nonce_window) == (
        *(new.permissions, new.ip_allowlist, new.nonce_window),
    )
    assert cli.time.now + 7 * DAY == new.valid_until
    operations = [request.operation for request in cli.sandbox.requests]
    assert ["list_keys", "create_key", "delete_key", "update_key"] == operations[1:]


async def test_rotate_takes_no_guess(cli: Cli) -> None:
    """Where Kraken does not tell what the old key may do, or how long it lives, nothing is made."""
    cli.set_token()
    odd: dict[str, tuple[dict[str, Any], Exit]] = {
        "does not tell what 'a' may do": ({"permissions": "all", "ip_allowlist": []}, Exit.CHECK),
        "how long it was made for is not known": (
            {"permissions": {}, "ip_allowlist": [], "valid_until": 1_700_000_000},
            Exit.USAGE,
        ),
    }
    for text, (fields, code) in odd.items():
        cli.sandbox.faults.add(Answer(200, {"result": [{"api_key_name": "a", **fields}]}), operation="list_keys")
        ended = await cli("rotate", "a", "--env-file", ".env", "--yes")
        assert code == ended.code
        assert text in ended.err
    assert "create_key" not in [request.operation for request in cli.sandbox.requests]
    # An end that is still to come is kept, where it is not known when it began.
    fields = {"permissions": {}, "ip_allowlist": [], "valid_until": 1_900_000_000}
    cli.sandbox.faults.add(Answer(200, {"result": [{"api_key_name": "a", **fields}]}), operation="list_keys")
    (create, *_) = json.loads((await cli("rotate", "a", "--dry-run", "--json")).out)["requests"]
    assert 1_900_000_000 == json.loads(create["body"])["valid_until"]


async def test_a_rotation_that_is_stopped_says_what_is_left(cli: Cli) -> None:
    """Ctrl-C after the new key is written, and before the old one is deleted."""
    cli.set_token()
    await cli("create", "a", "--read-only", "--show-secret")
    cli.sandbox.faults.add(Drip(1, 1), operation="delete_key")
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "kraken_fastkey", "rotate", "a", "--env-file", ".env", "--yes"),
        stderr=asyncio.subprocess.PIPE,
    )
    async with asyncio.timeout(60):
        while "delete_key" not in [request.operation for request in cli.sandbox.requests]:
            await asyncio.sleep(0.01)
        process.send_signal(signal.SIGINT)
        assert process.stderr is not None
        told = await process.stderr.readline()
        cli.gate.set()
        await process.communicate()
    (new,) = [key for key in cli.sandbox.keys() if key.api_key_name != "a"]
    assert Exit.INTERRUPTED == process.returncode
    assert f"named {new.api_key_name!r}; what is left to do: kraken-fastkey delete a && " in told.decode()
    assert new.secret in Path(".env").read_text(encoding="utf-8")


async def test_rotate_to_another_name(cli: Cli) -> None:
    """With --new-name nothing is renamed; --valid-for says how long the new one lives."""
    cli.set_token()
    await cli("create", "a", "--read-only", "--show-secret")
    ended = await cli("rotate", "a", "--new-name", "b", "--valid-for", "2d", "--ccxt", "--yes")
    (key,) = cli.sandbox.keys()
    assert ("b", cli.time.now + 2 * DAY) == (key.api_key_name, key.valid_until)
    assert key.secret == json.loads(ended.out)["secret"]
    assert "update_key" not in [request.operation for request in cli.sandbox.requests]


@pytest.mark.parametrize(
    ("operation", "left"),
    [
        ("delete_key", "kraken-fastkey delete 'a b' && kraken-fastkey update "),
        ("update_key", "what is left to do: kraken-fastkey update "),
    ],
)
async def test_a_rotation_that_stops_half_way_says_what_is_left(operation: str, left: str, cli: Cli) -> None:
    """The secret is in its place by then, and the commands that are left to run are told."""
    cli.set_token()
    await cli("create", "a b", "--read-only", "--show-secret")
    cli.sandbox.faults.add(Answer(200, {"error": ["EGeneral:Permission denied"]}), operation=operation, times=None)
    ended = await cli("rotate", "a b", "--env-file", ".env", "--yes")
    assert (Exit.PERMISSION, "") == (ended.code, ended.out)
    assert left in ended.err
    new = cli.sandbox.keys()[-1]
    assert "--new-name 'a b'" in ended.err
    assert f"named {new.api_key_name!r}" in ended.err
    assert new.secret in Path(".env").read_text(encoding="utf-8")
    cli.sandbox.faults.clear()
    commands = ended.err.partition("what is left to do: ")[2].strip().split(" && ")
    for command in commands:
        words = shlex.split(command)[1:]
        assert 0 == (await cli(*words, *(["--yes"] if words[0] == "delete" else []))).code
    assert [("a b", new.api_key)] == [(key.api_key_name, key.api_key) for key in cli.sandbox.keys()]


async def test_a_rotation_goes_on_where_somebody_else_has_deleted_the_old_key(cli: Cli) -> None:
    """That the old key is gone is what was wanted."""
    cli.set_token()
    await cli("create", "a", "--read-only", "--show-secret")
    cli.sandbox.faults.add(Disconnect(commit=True), operation="delete_key")
    assert 0 == (await cli("rotate", "a", "--env-file", ".env", "--yes")).code
    assert ["a"] == [key.api_key_name for key in cli.sandbox.keys()]


async def test_sweep_deletes_what_it_says_and_nothing_else(cli: Cli) -> None:
    """Expired keys, and old ones of the prefix; young ones, and old ones of others, stay."""
    cli.set_token(expires_in=100 * DAY)
    await cli("create", "bot-expired", "--valid-for", "1d", "--show-secret")
    await cli("create", "bot-old", "--show-secret")
    await cli("create", "person-old", "--show-secret")
    cli.time.now += 10 * DAY
    await cli("create", "bot-young", "--show-secret")
    await cli("create", "expired", "--valid-for", "1d", "--show-secret")
    cli.time.now += 2 * DAY
    ended = await cli("sweep", "--dry-run")
    assert ["NAME", "bot-expired", "expired"] == [line.split()[0] for line in ended.out.splitlines()]
    assert 5 == len(cli.sandbox.keys())
    ended = await cli("sweep", "--prefix", "bot-", "--older-than", "7d", "--yes", "--json")
    told = json.loads(ended.out)
    reasons = {entry["api_key_name"]: entry["reason"] for entry in told["plan"]}
    assert {"bot-expired": "expired", "bot-old": "old", "expired": "expired"} == reasons
    assert ["person-old", "bot-young"] == [key.api_key_name for key in cli.sandbox.keys()]
    ended = await cli("sweep", "--yes", "--json")
    assert (0, [], []) == (ended.code, json.loads(ended.out)["plan"], json.loads(ended.out)["deleted"])
    assert "there is nothing to sweep" in (await cli("sweep", "--dry-run")).err


async def test_sweep_looks_again_after_the_answer(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    """A key that got a name of the plan while somebody thought about it is not touched."""
    cli.set_token(expires_in=100 * DAY)
    await cli("create", "a", "--valid-for", "1d", "--show-secret")
    cli.time.now += 2 * DAY

    async def remake() -> None:
        tokens = StaticTokenProvider(cli.sandbox.issue_token())
        async with FastKeyClient(tokens, base_url=cli.sandbox.base_url, _runtime=cli.time.runtime) as client:
            await client.delete_key("a")
            await client.create_key(CreateKeyRequest("a", valid_until=timedelta(seconds=1)))
        cli.time.now += 10

    def confirm(_: object, __: str) -> bool:
        asyncio.run(remake())
        return True

    monkeypatch.setattr("kraken_fastkey.cli._output.Output.confirm", confirm)
    ended = await cli("sweep", "--json", answers="")
    assert (0, []) == (ended.code, json.loads(ended.out)["deleted"])
    assert ["a"] == [key.api_key_name for key in cli.sandbox.keys()]


VERIFIED = {"verified", "differences", "key", "tries"}


async def test_verify_takes_a_good_key(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    """From a file or from the environment; with a name, it is compared with the list."""
    cli.set_token()
    await cli("create", "a", "--permission", "funds-query", "--valid-for", "1d", "--env-file", ".env")
    (key,) = cli.sandbox.keys()
    monkeypatch.setenv("BOT_API_KEY", key.api_key)
    monkeypatch.setenv("BOT_API_SECRET", key.secret)
    Path("quoted").write_text(
        f"KRAKEN_API_KEY = '{key.api_key}'\nexport KRAKEN_API_SECRET=\"{key.secret}\"  \n", encoding="utf-8"
    )
    for options in ("--env-file .env", "a --env-file .env", "--env-prefix BOT_", "--env-file quoted"):
        cli.time.now += 1
        ended = await cli("verify", *options.split(), "--json")
        told = json.loads(ended.out)
        assert (0, VERIFIED) == (ended.code, set(told))
        assert (True, [], "a", 1) == (told["verified"], told["differences"], told["key"]["api_key_name"], told["tries"])


async def test_verify_finds_what_is_wrong(cli: Cli) -> None:
    """Another key's name, an unknown key and a wrong secret have the code of a check that failed."""
    cli.set_token()
    await cli("create", "a", "--permission", "funds-query", "--env-file", ".env")
    await cli("create", "b", "--read-only", "--show-secret")
    ended = await cli("verify", "b", "--env-file", ".env")
    assert Exit.CHECK == ended.code
    assert "error: api_key_name: Kraken has 'a', and 'b' is what the key was made with\n" in ended.err
    assert "error: permissions: Kraken has not ledger_query" in ended.err
    cli.sandbox.revoke_key("a")
    ended = await cli("verify", "--env-file", ".env", "--json")
    told = json.loads(ended.out)
    assert (Exit.CHECK, None, None, 3) == (ended.code, told["verified"], told["key"], told["tries"])
    assert "error: Kraken does not know the key" in (await cli("verify", "--env-file", ".env")).err
    key = cli.sandbox.keys()[0]
    Path(".env").write_text(f"KRAKEN_API_KEY={key.api_key}\nKRAKEN_API_SECRET={'A' * 86}==\n", encoding="utf-8")
    ended = await cli("verify", "--env-file", ".env")
    assert Exit.CHECK == ended.code
    assert "EAPI:Invalid signature" in ended.err
    assert Exit.STORAGE == (await cli("verify", "--env-file", "nowhere")).code
    assert Exit.NOT_FOUND == (await cli("verify", "nobody", "--env-file", ".env")).code


def _findings(out: str) -> dict[str, tuple[str, str]]:
    return {
        entry["check"]: (entry["status"], entry["detail"] + entry["remedy"]) for entry in json.loads(out)["findings"]
    }


async def test_doctor_finds_all_well(cli: Cli) -> None:
    """After a login, nothing is to be done."""
    await cli.login()
    ended = await cli("doctor", "--json")
    assert (0, True) == (ended.code, json.loads(ended.out)["ok"])
    assert {"ok"} == {status for status, _ in _findings(ended.out).values()}
    assert [
        *("versions", "configuration", "login", "access token", "api", "clock", "access", "scopes", "trading api")
    ] == list(_findings(ended.out))


async def test_doctor_before_the_first_login(cli: Cli) -> None:
    """It says that nobody has logged in, and what to run; of a server that is not there, too."""
    async with cli.sandbox.unreachable():
        ended = await cli("doctor", "--json")
    found = _findings(ended.out)
    assert Exit.CHECK == ended.code
    assert ("problem", "problem", "problem") == tuple(found[check][0] for check in ("login", "access token", "api"))
    assert "run kraken-fastkey login" in found["login"][1]
    assert "Connection refused" in found["api"][1]
    assert not found.keys() & {"clock", "access"}


async def test_doctor_without_a_configuration(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    """It says where there should be one; with a token from the environment, none is needed."""
    monkeypatch.delenv("KRAKEN_FASTKEY_CONFIG")
    # Kraken's own servers are not to be asked from a test.
    monkeypatch.setattr("kraken_fastkey.cli._doctor.base_url_of", lambda _: cli.sandbox.base_url)
    monkeypatch.setattr("kraken_fastkey.cli._doctor.api_url_of", lambda _: cli.sandbox.api_url)
    found = _findings((await cli("doctor", "--json")).out)
    assert ("warning", "skipped") == (found["configuration"][0], found["login"][0])
    assert "write one, or set KRAKEN_FASTKEY_TOKEN" in found["configuration"][1]
    cli.set_token()
    ended = await cli("doctor", "--json")
    assert 0 == ended.code
    assert ("ok", "ok", "skipped") == tuple(
        _findings(ended.out)[check][0] for check in ("configuration", "access", "scopes")
    )


async def test_doctor_sends_no_token_in_clear(cli: Cli) -> None:
    """A server over plain http, but for loopback, is not asked."""
    cli.set_token()
    text = cli.config.read_text(encoding="utf-8").replace(cli.sandbox.base_url, "http://192.0.2.1/oauth")
    cli.config.write_text(text, encoding="utf-8")
    found = _findings((await cli("doctor", "--json")).out)
    assert "problem" == found["api"][0]
    assert "would send the access token in clear to 192.0.2.1" in found["api"][1]


async def test_doctor_knows_both_addresses_of_the_list(cli: Cli) -> None:
    """A server that has but the one of Kraken's description is well, too."""
    await cli.login()
    cli.sandbox.faults.script("list_keys", [Answer(404, {"error": ["EGeneral:Unknown method"]})])
    ended = await cli("doctor", "--json")
    assert (0, "ok") == (ended.code, _findings(ended.out)["access"][0])


@pytest.mark.parametrize(
    ("skew", "status"), [(0, "ok"), (-3, "ok"), (20, "warning"), (-20, "warning"), (100, "problem")]
)
async def test_doctor_compares_the_clocks(skew: float, status: str, cli: Cli) -> None:
    """By the server's Date header: some seconds do no harm, a minute does."""
    await cli.login()
    cli.sandbox.clock_skew = skew
    ended = await cli("doctor", "--json")
    found = _findings(ended.out)["clock"]
    assert status == found[0]
    if status != "ok":
        assert f"{abs(skew)} s {'behind' if skew > 0 else 'ahead of'} Kraken's" in found[1]
        assert "NTP" in found[1]


DOCTORED: dict[str, tuple[str, str, str]] = {
    "token": ("access", "problem", "set KRAKEN_FASTKEY_TOKEN to a good token"),
    "scope": ("access", "problem", "log in with account.fast-api-key:read"),
    "mode": ("login", "problem", "chmod 600"),
    "config": ("configuration", "problem", "there is no such setting: client_id is meant"),
    "down": ("api", "problem", "Kraken is down or overloaded"),
    "write": ("scopes", "problem", "ask for account.fast-api-key:write"),
    "rotation": ("login", "warning", "a refresh began now, and has not ended"),
}


@pytest.mark.parametrize("ill", DOCTORED)
async def test_doctor_finds_what_is_wrong(ill: str, cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each finding says what to do."""
    check, status, remedy = DOCTORED[ill]
    scopes = ["--scope", "account.fast-api-key:read"] if ill == "write" else []
    await cli.login(*scopes)
    grant = cli.config.parent / "grants" / "sandbox"
    match ill:
        case "token":
            monkeypatch.setenv("KRAKEN_FASTKEY_TOKEN", "FAKE-TOKEN-1")
        case "scope":
            cli.set_token(scopes=["account.info:basic"])
        case "mode":
            grant.chmod(0o644)
        case "config":
            cli.config.write_text('[profiles.a]\nclient-id = "x"\n', encoding="utf-8")
        case "down":
            cli.sandbox.faults.add(Answer(503, {"error": []}), times=None)
        case "rotation":
            store = FileGrantStore(grant)
            loaded = await store.load()
            assert loaded is not None
            entry = Rotation(started_at=datetime.fromtimestamp(cli.time.now, UTC), owner="host:1:aa")
            await store.save(attrs.evolve(loaded, rotation=entry))
    ended = await cli("doctor", "--json")
    assert (Exit.CHECK if status == "problem" else 0) == ended.code
    assert status == _findings(ended.out)[check][0]
    assert remedy in _findings(ended.out)[check][1]
    assert remedy[:20] in " ".join((await cli("doctor")).out.split())


async def test_data_alone_is_on_the_standard_output(cli: Cli) -> None:
    """With --json the standard output is one document, or empty; standard error is lines of JSON."""
    for line in (
        "whoami",
        "create a --show-secret",
        "list",
        "update a --any-ip",
        "doctor",
        "delete a --yes",
        "delete a --yes",
        "sweep --yes",
        "list --foo",
        "logout",
        "create b",
        "rotate c --ccxt",
    ):
        cli.set_token()
        ended = await cli(*line.split(), "--json", "--debug")
        assert ended.out == "" or isinstance(json.loads(ended.out), dict)
        assert all(len(json.loads(message)) == 1 for message in ended.err.splitlines())
