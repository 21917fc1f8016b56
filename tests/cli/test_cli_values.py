"""Words of the command line and of the configuration, and moments as people read them: pure functions."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cli_kit import Cli, cli_fixture
from hypothesis import given, strategies as st
from keyring.backend import KeyringBackend

from kraken_fastkey import Permissions
from kraken_fastkey.cli._config import default_config_path, load_profile, profile_names
from kraken_fastkey.cli._exits import CommandError, Exit
from kraken_fastkey.cli._output import shown
from kraken_fastkey.cli._times import relative, to_json
from kraken_fastkey.cli._values import PERMISSIONS, parse_moment, parse_permission, parse_span

FIXTURES = (cli_fixture,)
NOW = 1_800_000_000.0


@given(st.integers(0, 500), st.integers(0, 30), st.integers(0, 100), st.integers(0, 100), st.integers(0, 100))
def test_spans_add_up(weeks: int, days: int, hours: int, minutes: int, seconds: int) -> None:
    """What is written is what is meant, whatever units it is in; nothing is no span."""
    text = f"{weeks}w{days}d{hours}h{minutes}m{seconds}s"
    span = timedelta(weeks=weeks, days=days, hours=hours, minutes=minutes, seconds=seconds)
    if span:
        assert span == parse_span(text) == parse_span(f" {text.upper()} ")
    else:
        with pytest.raises(ValueError, match="is no span of time"):
            parse_span(text)


@given(st.text(max_size=12))
def test_no_text_breaks_the_parsers(text: str) -> None:
    """Whatever is written, it is taken or refused with a `ValueError` that can be printed."""
    for parse in (parse_span, parse_moment, parse_permission):
        try:
            parse(text)
        except ValueError as error:
            assert "write" in str(error) or "there is no" in str(error)  # noqa: PT017


@pytest.mark.parametrize("text", ["7", "d", "1d1w", "-1d", "1.5h", "99999w", "1 d", ""])
def test_what_is_no_span(text: str) -> None:
    """Units go from weeks to seconds, with a whole number each; 100 years are the limit."""
    with pytest.raises(ValueError, match="write 7d"):
        parse_span(text)


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("never", 0),
        ("0", 0),
        ("1800000000", 1_800_000_000),
        ("2027-01-15", datetime(2027, 1, 15, tzinfo=UTC)),
        ("2027-01-15T08:00Z", datetime(2027, 1, 15, 8, tzinfo=UTC)),
        ("2027-01-15 09:00+01:00", datetime(2027, 1, 15, 8, tzinfo=UTC)),
    ],
)
def test_moments(text: str, moment: object) -> None:
    """Dates and times are UTC unless they say otherwise."""
    assert moment == parse_moment(text)


def test_permissions_are_spelled_either_way() -> None:
    """As scopes have them and as the API has them; a slip is told what is close."""
    for name in Permissions.NAMES:
        assert name == parse_permission(name) == parse_permission(name.replace("_", "-"))
    assert len(Permissions.NAMES) == len(PERMISSIONS)
    with pytest.raises(ValueError, match="'fund-query': funds-query is meant"):
        parse_permission("fund-query")
    with pytest.raises(ValueError, match="there are export-data, "):
        parse_permission("xyz")


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "now"),
        (59, "now"),
        (-90, "now"),
        (120, "in 2 min"),
        (-7000, "117 min ago"),
        (36 * 3600, "in 36 h"),
        (7 * 86_400 - 60, "in 7 d"),
        (-400 * 86_400, "400 d ago"),
    ],
)
def test_relative_times(seconds: float, text: str) -> None:
    """The largest unit of which there are two."""
    assert text == relative(datetime.fromtimestamp(NOW + seconds, UTC), NOW)


@given(st.floats(-1e9, 1e9))
def test_relative_times_are_about_right(seconds: float) -> None:
    """What is read is within a quarter of a unit of two, or two minutes, of what is."""
    text = relative(datetime.fromtimestamp(NOW + seconds, UTC), NOW)
    if text == "now":
        assert abs(seconds) < 120
        return
    count, unit = text.removeprefix("in ").split()[:2]
    told = int(count) * {"min": 60, "h": 3600, "d": 86_400}[unit] * (1 if text.startswith("in ") else -1)
    assert told == pytest.approx(seconds, rel=0.26)


def test_moments_in_json() -> None:
    """In UTC, with its letter; what is not known is null."""
    assert "2027-01-15T08:00:00Z" == to_json(datetime.fromtimestamp(NOW, UTC))
    assert to_json(None) is None


@given(st.text())
def test_what_is_shown_moves_no_cursor(text: str) -> None:
    """No control character, no direction of writing and no half of a pair gets to a terminal; the rest stays."""
    assert shown(text).isprintable()
    assert text == shown(text) or not text.isprintable()


def _config(tmp_path: Path, text: str) -> Path:
    file = tmp_path / "config.toml"
    file.write_text(text, encoding="utf-8")
    return file


def test_a_whole_profile(tmp_path: Path) -> None:
    """Every setting is read; paths count from the file's folder."""
    path = _config(
        tmp_path,
        """
default_profile = "live"

[profiles.test]

[profiles.live]
client_id = "my-app"
client_secret_env = "APP_SECRET"
client_secret_file = "secret"
redirect_uri = "http://127.0.0.1:8000/back"
base_url = "https://example.com/oauth"
authorize_url = "https://example.com/authorize"
token_url = "https://example.com/token"
api_url = "https://example.com"
grant_store = "encrypted-file"
grant_file = "grants/live"
permissions = ["funds-query", "trades_modify"]
ip_allowlist = ["203.0.113.7"]
valid_for = "7d"
""",
    )
    profile = load_profile(path, None)
    assert ("live", "my-app", timedelta(days=7)) == (profile.name, profile.client_id, profile.valid_for)
    assert (tmp_path / "secret", tmp_path / "grants" / "live") == (profile.client_secret_file, profile.grant_file)
    assert Permissions.only("funds_query", "trades_modify") == profile.permissions
    assert ("203.0.113.7",) == profile.ip_allowlist
    assert "test" == load_profile(path, "test").name
    assert ["live", "test"] == profile_names(path)


def test_which_profile(tmp_path: Path) -> None:
    """The only one, or the one named default, or the one that is said."""
    assert "only" == load_profile(_config(tmp_path, "[profiles.only]"), None).name
    assert "default" == load_profile(_config(tmp_path, "[profiles.a]\n[profiles.default]"), None).name
    assert "default" == load_profile(_config(tmp_path, ""), None).name


FAULTS = {
    "[profiles.a]\n[profiles.b]": "has several profiles (a, b): choose with --profile",
    "default_profile = 'b'\n[profiles.a]": "there is no profile 'b'; there are: a",
    "default_profile = 1\n[profiles.a]": "default_profile: must be a string",
    "profile = 'a'": "profile: there is no such setting: profiles is meant",
    "profiles = 1": "profiles: must be a table: [profiles]",
    "[profiles]\na = 1": "profiles.a: must be a table: [profiles.a]",
    "[profiles.'../a']": "profile: has a name of up to 64 letters",
    "[profiles.a]\nclient_id = ''": "profiles.a.client_id: must be a string, and not empty",
    "[profiles.a]\nbase_ur = 'x'": "profiles.a.base_ur: there is no such setting: base_url is meant",
    "[profiles.a]\ngrant_store = 'x'": "profiles.a.grant_store: must be one of file, encrypted-file, keyring",
    "[profiles.a]\npermissions = 'x'": "profiles.a.permissions: must be a list of strings",
    "[profiles.a]\npermissions = ['x']": "profiles.a.permissions: there is no permission 'x'",
    "[profiles.a]\nvalid_for = '7 days'": "profiles.a.valid_for: '7 days' is no span of time",
    "[profiles.a]\nclient_secret = 'x'": "profiles.a.client_secret: secrets do not belong here",
    "[profiles.a": "is no TOML: ",
}


@pytest.mark.parametrize("text", FAULTS)
def test_a_wrong_configuration_says_where(text: str, tmp_path: Path) -> None:
    """The file, the setting and what to do are in the error, which is one of usage."""
    path = _config(tmp_path, text)
    with pytest.raises(CommandError) as caught:
        load_profile(path, None)
    assert Exit.USAGE == caught.value.exit
    assert str(path) in caught.value.summary
    assert FAULTS[text] in caught.value.summary


def test_a_configuration_that_cannot_be_read(tmp_path: Path) -> None:
    """One that is named must be there, and be text."""
    for path, fault in ((tmp_path / "none", "there is no such configuration file"), (tmp_path, "cannot be read")):
        with pytest.raises(CommandError, match=fault):
            load_profile(path, None)
    (tmp_path / "latin").write_bytes(b"\xff")
    with pytest.raises(CommandError, match="is not UTF-8"):
        load_profile(tmp_path / "latin", None)
    assert [] == profile_names(tmp_path / "none")


async def test_the_platform_s_place(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without --config it is read from there, and the login is kept in the place for data."""
    monkeypatch.delenv("KRAKEN_FASTKEY_CONFIG")
    path = default_config_path()
    assert path.is_relative_to(cli.folder.parent / "home")
    path.parent.mkdir(parents=True)
    text = cli.config.read_text(encoding="utf-8").replace('grant_file = "grants/sandbox"\n', "")
    path.write_text(text, encoding="utf-8")
    assert 0 == (await cli.login()).code
    (grant,) = (cli.folder.parent / "home").rglob("grants/sandbox")
    assert grant.is_file()
    assert 0 == (await cli("whoami", "--profile", "sandbox")).code
    assert 0 == (await cli("whoami", "--config", str(path))).code


async def test_an_option_goes_before_the_environment(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    """--profile over KRAKEN_FASTKEY_PROFILE, --config over KRAKEN_FASTKEY_CONFIG."""
    cli.set_token()
    monkeypatch.setenv("KRAKEN_FASTKEY_PROFILE", "nobody")
    assert Exit.USAGE == (await cli("list")).code
    assert 0 == (await cli("list", "--profile", "sandbox")).code
    monkeypatch.setenv("KRAKEN_FASTKEY_CONFIG", "nowhere")
    assert 0 == (await cli("list", "--profile", "sandbox", "--config", str(cli.config))).code
    assert 0 == (await cli("--profile", "sandbox", "--config", str(cli.config), "list")).code
    assert 0 == (await cli("--profile", "nobody", "--config", str(cli.config), "list", "--profile", "sandbox")).code
    ended = await cli("--json", "--profile", "sandbox", "--config", str(cli.config), "list")
    assert {"keys": []} == json.loads(ended.out)


class Ring(KeyringBackend):
    """A keyring in memory."""

    def __init__(self, kept: dict[tuple[str, str], str]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._kept = kept

    def get_password(self, service: str, username: str) -> str | None:
        """Return what is kept."""
        return self._kept.get((service, username))

    def set_password(self, service: str, username: str, password: str) -> None:
        """Keep something."""
        self._kept[service, username] = password

    def delete_password(self, service: str, username: str) -> None:
        """Forget something."""
        del self._kept[service, username]


@pytest.mark.parametrize("kind", ["encrypted-file", "keyring"])
async def test_other_stores(kind: str, cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    """A login is kept in an encrypted file or in the keyring, if the profile says so, and forgotten from there."""
    kept: dict[tuple[str, str], str] = {}
    monkeypatch.setattr("keyring.core._keyring_backend", Ring(kept))
    with cli.config.open("a", encoding="utf-8") as file:
        file.write(f'grant_store = "{kind}"\n')
    if kind == "encrypted-file":
        assert Exit.USAGE == (await cli.login()).code
        monkeypatch.setenv("KRAKEN_FASTKEY_ENCRYPTION_KEY", "QUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUE=")
    assert 0 == (await cli.login()).code
    assert 0 == (await cli("whoami")).code
    assert (kind == "keyring") == bool(kept)
    grant = cli.config.parent / "grants" / "sandbox"
    assert (kind == "encrypted-file") == grant.exists()
    assert not grant.exists() or b"access_token" not in grant.read_bytes()
    monkeypatch.delenv("KRAKEN_FASTKEY_ENCRYPTION_KEY", raising=False)
    assert "the login is forgotten" in (await cli("logout")).err
    assert not kept
    assert "there was no login" in (await cli("logout")).err
