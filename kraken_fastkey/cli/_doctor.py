"""`doctor`: what may be wrong, looked at one by one, each finding with what to do."""

from __future__ import annotations

import importlib.metadata
import platform
import ssl
from datetime import timedelta
from typing import Final, Literal

import attrs
import click
from rich.table import Table
from rich.text import Text

import kraken_fastkey
from kraken_fastkey import AccessToken, FastKeyError, Grant, PermissionDeniedError, SecretStr, Timeouts, _wire
from kraken_fastkey._transport import AiohttpTransport, check_base_url
from kraken_fastkey.cli._advice import advise
from kraken_fastkey.cli._command import ProfileCommand
from kraken_fastkey.cli._config import Profile, default_config_path
from kraken_fastkey.cli._exits import Exit, tell_error
from kraken_fastkey.cli._invocation import Invocation
from kraken_fastkey.cli._output import shown
from kraken_fastkey.cli._scopes import READ, USER_INFO, WRITE, short_scopes
from kraken_fastkey.cli._session import (
    TOKEN_VARIABLE,
    api_url_of,
    base_url_of,
    make_store,
    open_tokens,
    store_place,
    token_from_environment,
)
from kraken_fastkey.cli._times import relative, to_text

Status = Literal["ok", "warning", "problem", "skipped"]

_PACKAGES: Final = ("aiohttp", "attrs", "cattrs", "click", "rich", "platformdirs")
_OPTIONAL: Final = ("cryptography", "keyring", "orjson")
_STYLES: Final[dict[Status, str]] = {"ok": "green", "warning": "yellow", "problem": "red", "skipped": "dim"}
_SKEW_WARNING: Final = 5.0
_SKEW_PROBLEM: Final = 60.0
_REFRESH_TOKEN_LIFE: Final = timedelta(days=30)
_TIMEOUTS: Final = Timeouts(total=15.0)


@attrs.frozen
class Finding:
    """What was found at one place."""

    check: str
    status: Status
    detail: str
    remedy: str = ""


@click.command("doctor", cls=ProfileCommand)
@click.pass_obj
def doctor_command(invocation: Invocation) -> int:
    """Find out what is wrong, and say what to do.

    It looks at versions, configuration, the stored login, the network, the clock, the access token and its scopes. It
    changes nothing, but for a refresh of the login where that is due.
    """
    findings = [_versions()]
    try:
        profile = invocation.profile
    except FastKeyError as error:
        findings.append(Finding("configuration", "problem", "it cannot be used", tell_error(error)))
    else:
        findings += invocation.run(_examine(invocation, profile))
    well = all(finding.status != "problem" for finding in findings)
    document = {"ok": well, "findings": [attrs.asdict(finding) for finding in findings]}
    invocation.output.emit(document, lambda: _render(findings))
    return Exit.OK if well else Exit.CHECK


def _render(findings: list[Finding]) -> Table:
    table = Table.grid(padding=(0, 2, 0, 0))
    table.add_column()
    table.add_column(style="bold")
    table.add_column(overflow="fold")
    for finding in findings:
        text = Text(finding.detail)
        if finding.remedy:
            text.append(f"\n-> {finding.remedy}")
        table.add_row(Text(finding.status, _STYLES[finding.status]), finding.check, text)
    return table


def _versions() -> Finding:
    found = [f"kraken-fastkey {kraken_fastkey.__version__}", f"Python {platform.python_version()}"]
    for name in (*_PACKAGES, *_OPTIONAL):
        try:
            found.append(f"{name} {importlib.metadata.version(name)}")
        except importlib.metadata.PackageNotFoundError:
            continue
    return Finding("versions", "ok", ", ".join([*found, ssl.OPENSSL_VERSION]))


async def _examine(invocation: Invocation, profile: Profile) -> list[Finding]:
    findings = [_configuration(invocation, profile)]
    grant, finding = await _login(invocation, profile)
    findings.append(finding)
    token, finding = await _token(invocation, grant)
    findings.append(finding)
    first, second = _wire.LIST_PATHS
    answer, took = await _reach(invocation, base_url_of(profile), token, first)
    if isinstance(answer, _wire.WireResponse) and answer.status in {404, 405}:
        answer, took = await _reach(invocation, base_url_of(profile), token, second)
    findings.append(_reachability("api", base_url_of(profile), answer, took))
    if isinstance(answer, _wire.WireResponse):
        findings.append(_clock(invocation, answer, took))
    if token is not None:
        findings += _scopes(invocation, token, answer)
    answer, took = await _reach(invocation, api_url_of(profile), None, "/0/public/Time")
    findings.append(_reachability("trading api", api_url_of(profile), answer, took))
    return findings


def _configuration(invocation: Invocation, profile: Profile) -> Finding:
    path = invocation.config or default_config_path()
    if not path.exists():
        if token_from_environment():
            return Finding("configuration", "ok", f"none, and none is needed: {TOKEN_VARIABLE} is set")
        return Finding("configuration", "warning", f"there is no {path}", f"write one, or set {TOKEN_VARIABLE}")
    return Finding("configuration", "ok", f"profile {profile.name!r} of {path}")


async def _login(invocation: Invocation, profile: Profile) -> tuple[Grant | None, Finding]:
    """Look at the stored login; its file's permissions are checked when it is read."""
    place = store_place(profile)
    needed = profile.client_id is not None and not token_from_environment()
    try:
        grant = await make_store(profile).load()
    except FastKeyError as error:
        return None, Finding("login", "problem", f"{place} cannot be used", tell_error(error))
    if grant is None:
        if not needed:
            return None, Finding("login", "skipped", "there is none")
        return None, Finding("login", "problem", f"there is none in {place}", "run kraken-fastkey login")
    if grant.rotation is not None:
        began = relative(grant.rotation.started_at, invocation.now)
        return grant, Finding(
            "login",
            "warning",
            f"{place}: a refresh began {began}, and has not ended",
            "if no other program is at it, it was killed: run kraken-fastkey login if access is refused",
        )
    issued = "" if grant.issued_at is None else f", refreshed {relative(grant.issued_at, invocation.now)}"
    if grant.refresh_token is None:
        return grant, Finding(
            "login", "warning", f"{place}{issued}: it cannot be refreshed", "log in again when it ends"
        )
    if grant.issued_at is not None:
        end = grant.issued_at + _REFRESH_TOKEN_LIFE
        issued += f", good until {to_text(end, invocation.now)} if not used"
    return grant, Finding("login", "ok", f"{place}{issued}")


async def _token(invocation: Invocation, grant: Grant | None) -> tuple[AccessToken | None, Finding]:
    if grant is None and not token_from_environment():
        return None, Finding("access token", "problem", "there is none", f"log in, or set {TOKEN_VARIABLE}")
    try:
        async with open_tokens(invocation) as tokens:
            token = await tokens.get_token()
    except FastKeyError as error:
        return None, Finding("access token", "problem", "there is none to be had", advise(error))
    source = TOKEN_VARIABLE if token_from_environment() else "the login"
    until = "" if token.expires_at is None else f", expires {relative(token.expires_at, invocation.now)}"
    return token, Finding("access token", "ok", f"from {source}{until}")


async def _reach(
    invocation: Invocation, url: str, token: AccessToken | None, path: str
) -> tuple[_wire.WireResponse | FastKeyError, float]:
    """Send one read, and return the answer and how many seconds it took."""
    began = invocation.runtime.monotonic()
    authorization = {} if token is None else {"Authorization": _bearer(token)}
    try:
        check_base_url(url)  # a token goes there
        transport = AiohttpTransport(url, None, _TIMEOUTS)
        try:
            request = _wire.list_keys(path).request
            with invocation.output.spinner(f"Asking {shown(url)}"):
                answer: _wire.WireResponse | FastKeyError = await transport.send(request, authorization, None)
        finally:
            await transport.aclose()
    except FastKeyError as error:
        answer = error
    return answer, invocation.runtime.monotonic() - began


def _bearer(token: AccessToken) -> SecretStr:
    return SecretStr(f"Bearer {token.value.get_secret_value()}")


def _reachability(name: str, url: str, answer: _wire.WireResponse | FastKeyError, took: float) -> Finding:
    if isinstance(answer, FastKeyError):
        return Finding(name, "problem", f"{url}: {tell_error(answer)}", "see to the network, a proxy, or the address")
    detail = f"{url} answers {answer.status} in {took * 1000:.0f} ms"
    if answer.status >= 500:
        return Finding(name, "problem", detail, "Kraken is down or overloaded: try again later, see status.kraken.com")
    return Finding(name, "ok", detail)


def _clock(invocation: Invocation, answer: _wire.WireResponse, took: float) -> Finding:
    told = _wire.parse_date(answer.headers.get("date", ""))
    if told is None:
        return Finding("clock", "skipped", "the answer does not tell the time")
    # The header is cut to whole seconds; the answer was written half-way.
    skew = invocation.now - took / 2 - (told + 0.5)
    detail = f"{abs(skew):.0f} s {'ahead of' if skew > 0 else 'behind'} Kraken's"
    if abs(skew) <= _SKEW_WARNING:
        return Finding("clock", "ok", f"within {_SKEW_WARNING:.0f} s of Kraken's")
    status: Status = "problem" if abs(skew) > _SKEW_PROBLEM else "warning"
    return Finding("clock", status, detail, "set this machine's clock, with NTP: expiry and nonces go by it")


def _scopes(invocation: Invocation, token: AccessToken, answer: _wire.WireResponse | FastKeyError) -> list[Finding]:
    if isinstance(answer, FastKeyError):
        return [Finding("access", "skipped", "Kraken could not be asked")]
    read = _wire.read_answer(_wire.list_keys(_wire.LIST_PATHS[0]), answer, invocation.now)
    if isinstance(read, PermissionDeniedError):
        return [Finding("access", "problem", f"the token may not list keys: {tell_error(read)}", f"log in with {READ}")]
    if isinstance(read, FastKeyError):
        return [Finding("access", "problem", "the keys cannot be listed", advise(read))]
    findings = [Finding("access", "ok", f"Kraken takes the access token; {len(read.value)} keys")]
    if token.scopes is None:
        return [*findings, Finding("scopes", "skipped", "the token does not tell its scopes")]
    missing = [scope for scope in (READ, WRITE) if scope not in token.scopes]
    told = short_scopes(token.scopes)
    if missing:
        return [*findings, Finding("scopes", "problem", told, f"log in again, and ask for {' and '.join(missing)}")]
    if USER_INFO not in token.scopes:
        return [*findings, Finding("scopes", "ok", told, f"whoami needs {USER_INFO} as well")]
    return [*findings, Finding("scopes", "ok", told)]
