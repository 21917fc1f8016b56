"""OAuthClient: the login's address and the callback, then the exchange and the refresh against the sandbox."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import traceback
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

import attrs
import hypothesis
import pytest
from hypothesis import strategies as st
from support import FakeTime, answering, assert_clean, http

from kraken_fastkey import (
    FastKeyError,
    InvalidRequestError,
    OAuthError,
    Permissions,
    RateLimitedError,
    ReauthorizationRequiredError,
    ResponseFormatError,
    SecretStr,
    TransportError,
)
from kraken_fastkey._grant import Grant
from kraken_fastkey._oauth import AuthorizationRequest, OAuthClient
from kraken_fastkey.sandbox import Answer, Disconnect, Hang, KrakenSandbox

REDIRECT = "http://127.0.0.1:8765/callback"
SECRET = "FAKE-CLIENT-SECRET-0123456789"


def _offline(**options: Any) -> OAuthClient:
    return OAuthClient("FAKE-app", **{"redirect_uri": REDIRECT} | options)


def _query(request: AuthorizationRequest) -> dict[str, str]:
    return {name: values[0] for name, values in parse_qs(urlsplit(request.url).query).items()}


def test_authorization_request() -> None:
    """The address has all that RFC 6749, 4.1.1, and RFC 7636, 4.3, ask for, and nothing secret."""
    request = _offline().authorization_request("account.info:basic account.fast-api-key:write")
    assert request.url.startswith("https://id.kraken.com/oauth/authorize?client_id=FAKE-app&")
    query = _query(request)
    challenge = hashlib.sha256(request.code_verifier.get_secret_value().encode()).digest()
    assert {
        "client_id": "FAKE-app",
        "redirect_uri": REDIRECT,
        "response_type": "code",
        "scope": "account.fast-api-key:write account.info:basic",
        "state": request.state,
        "code_challenge": base64.urlsafe_b64encode(challenge).decode().rstrip("="),
        "code_challenge_method": "S256",
    } == query
    assert 43 <= len(request.code_verifier.get_secret_value()) <= 128
    assert request.code_verifier.get_secret_value() not in request.url
    assert request.state not in repr(request)


def test_language_theme_and_no_scopes() -> None:
    """The language goes into the path, the theme into the query; no scope means all that the app has."""
    request = _offline().authorization_request(language="pt-br", prefer_theme="dark")
    assert urlsplit(request.url).path == "/pt-br/oauth/authorize"
    assert "dark" == _query(request)["preferTheme"]
    assert "scope" not in _query(request)


def test_scopes_of_permissions() -> None:
    """Permissions stand for their scopes, and those to create and list keys."""
    request = _offline().authorization_request(Permissions(funds_query=True))
    assert {
        "account.fast-api-key:funds-query",
        "account.fast-api-key:read",
        "account.fast-api-key:write",
    } == request.scopes


def test_no_two_logins_are_alike() -> None:
    """State and verifier are random: 256 bits and more."""
    requests = [_offline().authorization_request() for _ in range(100)]
    assert 100 == len({request.state for request in requests}) == len({request.code_verifier for request in requests})


@pytest.mark.parametrize(
    ("arguments", "field"),
    [
        ({"scopes": ['a"b']}, "scopes"),
        ({"scopes": [5]}, "scopes"),
        ({"language": "../evil"}, "language"),
        ({"language": "DE"}, "language"),
        ({"prefer_theme": "pink"}, "prefer_theme"),
    ],
)
def test_wrong_arguments_of_a_login(arguments: dict[str, Any], field: str) -> None:
    """What would bend the address is refused by its field."""
    with pytest.raises(InvalidRequestError) as caught:
        _offline().authorization_request(**arguments)
    assert {field} == set(caught.value.faults)


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"client_id": ""}, "client_id"),
        ({"client_id": "a:b"}, "client_id"),
        ({"client_id": "a\nb"}, "client_id"),
        ({"client_secret": ""}, "client_secret"),
        ({"client_secret": f"{SECRET}\n"}, "client_secret"),
        ({"client_secret": 5}, "client_secret"),
        ({"redirect_uri": "/callback"}, "redirect_uri"),
        ({"redirect_uri": "https://app.example/cb#x"}, "redirect_uri"),
        ({"redirect_uri": "https://[app"}, "redirect_uri"),
        ({"redirect_uri": None}, "redirect_uri"),
        ({"token_url": "http://api.kraken.com/oauth/token"}, "token_url"),
        ({"authorize_url": "http://id.kraken.com/oauth/authorize"}, "authorize_url"),
        ({"session": object()}, "session"),
    ],
)
def test_wrong_arguments_of_the_client(changes: dict[str, Any], field: str) -> None:
    """Each wrong argument is told by its field, and the secret is in no traceback."""
    arguments: dict[str, Any] = {"client_id": "FAKE-app", "redirect_uri": REDIRECT} | changes
    with pytest.raises(InvalidRequestError) as caught:
        OAuthClient(**arguments)
    assert {field} == set(caught.value.faults)
    frame = caught.value.__traceback__ and caught.value.__traceback__.tb_next
    shown = traceback.TracebackException(InvalidRequestError, caught.value, frame, capture_locals=True)
    assert SECRET not in "".join(shown.format())


def _callback(**fields: str) -> str:
    return f"{REDIRECT}?{urlencode(fields)}"


def test_callback() -> None:
    """The code of a callback with this login's state is returned, as a secret; `iss` may come along."""
    client = _offline()
    request = client.authorization_request()
    url = _callback(code="FAKE-CODE", state=request.state, iss="https://id.kraken.com")
    assert SecretStr("FAKE-CODE") == client.read_callback(url, request)
    assert SecretStr("FAKE-CODE") == client.read_callback(url.removeprefix("http://127.0.0.1:8765"), request)


@pytest.mark.parametrize(
    ("query", "fault"),
    [
        ("code=FAKE-CODE", "state is not this login's"),
        ("code=FAKE-CODE&state=other", "state is not this login's"),
        ("code=FAKE-CODE&state=", "state is not this login's"),
        ("code=FAKE-CODE&state={state}x", "state is not this login's"),
        ("state={state}", "has no code"),
        ("state={state}&code=", "has no code"),
        ("state={state}&code=FAKE-CODE&code=FAKE-CODE", "has code twice"),
        ("state={state}&state={state}&code=FAKE-CODE", "has state twice"),
        ("state={state}&code=FAKE-CODE&iss=https://evil.example", "comes from another issuer"),
        ("state={state}&error=access_denied", "the login was refused: access_denied"),
        ("error=access_denied", "state is not this login's"),
        ("state={state}&error=x&error_description=%1b%5b31m<script>", "x ( [31m<script>)"),
    ],
)
def test_callbacks_that_are_refused(query: str, fault: str) -> None:
    """Another tab's, a tampered or an incomplete callback gives no code, and the error shows none."""
    client = _offline(issuer="https://id.kraken.com")
    request = client.authorization_request()
    with pytest.raises(OAuthError) as caught:
        client.read_callback(f"{REDIRECT}?{query.format(state=request.state)}", request)
    assert fault.replace("( ", "(") in str(caught.value)
    assert "\x1b" not in str(caught.value)
    assert_clean(caught.value, "FAKE-CODE")


def test_a_login_is_good_for_ten_minutes(fake_time: FakeTime) -> None:
    """A callback that comes later is refused, even with the right state."""
    client = _offline(_runtime=fake_time.runtime)
    request = client.authorization_request()
    url = _callback(code="FAKE-CODE", state=request.state)
    fake_time.now += 600
    assert client.read_callback(url, request)
    fake_time.now += 1
    with pytest.raises(OAuthError, match="took more than 10 minutes"):
        client.read_callback(url, request)


@hypothesis.given(url=st.text() | st.text().map(lambda query: f"{REDIRECT}?{query}") | st.none() | st.integers())
def test_any_callback(url: Any) -> None:
    """No text is a callback of a login by chance, and nothing but an OAuthError comes of it."""
    client = _offline()
    with pytest.raises(OAuthError):
        client.read_callback(url, client.authorization_request())


@pytest.fixture(name="oauth")
async def _oauth(sandbox: KrakenSandbox, fake_time: FakeTime) -> AsyncIterator[OAuthClient]:
    async with OAuthClient(
        sandbox.client_id,
        redirect_uri=REDIRECT,
        authorize_url=sandbox.authorize_url,
        token_url=sandbox.token_url,
        _runtime=attrs.evolve(fake_time.runtime, time=lambda: datetime.now(UTC).timestamp()),
    ) as client:
        yield client


async def _log_in(oauth: OAuthClient, sandbox: KrakenSandbox, scopes: Any = None) -> Grant:
    request = oauth.authorization_request(scopes)
    code = oauth.read_callback(sandbox.approve(request.url), request)
    return await oauth.exchange_code(code, request)


async def test_login(oauth: OAuthClient, sandbox: KrakenSandbox) -> None:
    """From the login's address to a grant whose token makes calls."""
    before = datetime.now(UTC)
    grant = await _log_in(oauth, sandbox, Permissions(funds_query=True))
    (held,) = sandbox.grants()
    assert (held.access_token, held.refresh_token) == (
        grant.access_token.get_secret_value(),
        grant.refresh_token and grant.refresh_token.get_secret_value(),
    )
    assert grant.scopes is not None
    assert "account.fast-api-key:funds-query" in grant.scopes
    assert grant.expires_at is not None
    assert timedelta(hours=4) - timedelta(seconds=5) < grant.expires_at - before < timedelta(hours=4, seconds=5)
    assert 0 == grant.generation
    assert grant.access_token.get_secret_value() not in repr(grant)


async def test_a_denied_login_is_a_typed_error(oauth: OAuthClient, sandbox: KrakenSandbox) -> None:
    """The user's no is told as such, with OAuth's word for it."""
    request = oauth.authorization_request()
    with pytest.raises(OAuthError, match="the login was refused: access_denied") as caught:
        oauth.read_callback(sandbox.deny(request.url), request)
    assert ("access_denied",) == caught.value.codes


async def test_a_callback_that_comes_ten_times_is_one_exchange(oauth: OAuthClient, sandbox: KrakenSandbox) -> None:
    """Ten deliveries of a callback: one request, ten equal grants."""
    request = oauth.authorization_request()
    code = oauth.read_callback(sandbox.approve(request.url), request)
    grants = await asyncio.gather(*(oauth.exchange_code(code, request) for _ in range(10)))
    grants.append(await oauth.exchange_code(code, request))
    assert 1 == len(set(grants))
    assert 1 == [entry.operation for entry in sandbox.requests].count("token")
    with pytest.raises(OAuthError, match="has brought another code already"):
        await oauth.exchange_code("FAKE-OTHER-CODE", request)


async def test_what_is_no_code_or_scope_is_told() -> None:
    """A value of the wrong type is told by its field."""
    client = _offline()
    with pytest.raises(InvalidRequestError, match="code: must be a str, not NoneType"):
        await client.exchange_code(None, client.authorization_request())  # type: ignore[arg-type]
    with pytest.raises(InvalidRequestError, match="scopes: must be scopes or Permissions, not int"):
        client.authorization_request(5)  # type: ignore[arg-type]


async def test_a_cancelled_exchange_goes_on(oauth: OAuthClient, sandbox: KrakenSandbox) -> None:
    """Who comes after a cancelled caller gets the grant that its exchange brought."""
    request = oauth.authorization_request()
    code = oauth.read_callback(sandbox.approve(request.url), request)
    first = asyncio.create_task(oauth.exchange_code(code, request))
    await asyncio.sleep(0)
    first.cancel()
    with pytest.raises(asyncio.CancelledError):
        await first
    assert (await oauth.exchange_code(code, request)).refresh_token is not None
    assert 1 == [entry.operation for entry in sandbox.requests].count("token")


@pytest.mark.parametrize(
    "fault",
    [Disconnect(), Disconnect(commit=True), Answer(503), Answer(200, b"<html>"), Hang(commit=True), Answer(200, {})],
)
async def test_a_code_is_never_sent_again(sandbox: KrakenSandbox, fault: Any) -> None:
    """Once it may have arrived, a code is spent: a second exchange could revoke what the first gave."""
    async with OAuthClient(
        sandbox.client_id,
        redirect_uri=REDIRECT,
        authorize_url=sandbox.authorize_url,
        token_url=sandbox.token_url,
        timeout=0.1,
    ) as oauth:
        request = oauth.authorization_request()
        code = oauth.read_callback(sandbox.approve(request.url), request)
        sandbox.faults.add(fault, operation="token")
        for _ in range(3):
            with pytest.raises(FastKeyError) as caught:
                await oauth.exchange_code(code, request)
            assert ("unknown", "exchange_code", 1) == (
                caught.value.outcome,
                caught.value.operation,
                caught.value.attempts,
            )
            assert_clean(caught.value, code.get_secret_value(), request.code_verifier.get_secret_value())
    assert 1 == [entry.operation for entry in sandbox.requests].count("token")


async def test_a_wrong_verifier_is_refused(oauth: OAuthClient, sandbox: KrakenSandbox) -> None:
    """A stolen code is of no use without the login's verifier."""
    request = oauth.authorization_request()
    code = oauth.read_callback(sandbox.approve(request.url), request)
    with pytest.raises(OAuthError) as caught:
        await oauth.exchange_code(code, attrs.evolve(request, code_verifier="FAKE-VERIFIER-" + "x" * 40))
    assert ("invalid_grant",) == caught.value.codes
    assert () == tuple(grant for grant in sandbox.grants() if not grant.revoked)


async def test_refresh_gives_the_next_pair(oauth: OAuthClient, sandbox: KrakenSandbox) -> None:
    """Both tokens are new, the generation is the next, the scopes stay."""
    old = await _log_in(oauth, sandbox)
    new = await oauth.refresh(old)
    assert (new.access_token, new.refresh_token) != (old.access_token, old.refresh_token)
    assert (1, old.scopes) == (new.generation, new.scopes)
    with pytest.raises(ReauthorizationRequiredError) as caught:
        await oauth.refresh(old)
    assert ("revoked", "refresh") == (caught.value.cause, caught.value.operation)
    assert old.refresh_token is not None
    assert_clean(caught.value, old.access_token.get_secret_value(), old.refresh_token.get_secret_value())


async def test_a_refresh_without_a_refresh_token_sends_nothing(oauth: OAuthClient, sandbox: KrakenSandbox) -> None:
    """A grant that cannot be refreshed is told as dead at once."""
    with pytest.raises(ReauthorizationRequiredError) as caught:
        await oauth.refresh(Grant("FAKE-ACCESS"))
    assert ("not_sent", "expired") == (caught.value.outcome, caught.value.cause)
    assert [] == sandbox.requests


async def test_a_refused_refresh_is_tried_again(
    oauth: OAuthClient, sandbox: KrakenSandbox, fake_time: FakeTime
) -> None:
    """Too many requests means that nothing was spent."""
    grant = await _log_in(oauth, sandbox)
    sandbox.faults.add(Answer(429, headers={"Retry-After": "3"}), operation="token", times=2)
    assert 1 == (await oauth.refresh(grant)).generation
    assert [3.0, 3.0] == fake_time.sleeps
    sandbox.faults.add(Answer(429), operation="token", times=9)
    with pytest.raises(RateLimitedError) as caught:
        await oauth.refresh(grant)
    assert 4 == caught.value.attempts


async def test_a_refresh_in_doubt_is_not_sent_again_by_the_client(oauth: OAuthClient, sandbox: KrakenSandbox) -> None:
    """What to do about a lost answer is the provider's to decide: it holds the lock and the journal."""
    grant = await _log_in(oauth, sandbox)
    before = len(sandbox.requests)
    sandbox.faults.add(Disconnect(commit=True), operation="token")
    with pytest.raises(TransportError) as caught:
        await oauth.refresh(grant)
    assert ("unknown", 1) == (caught.value.outcome, len(sandbox.requests) - before)


@pytest.mark.parametrize(
    ("expires_in", "life"),
    [(None, 14400), (30, 60), (0, 60), (-1, 60), (10**12, 86400), (True, 14400), ("600", 600), ("soon", 14400)],
)
async def test_lifetimes_are_clamped(expires_in: Any, life: int, fake_time: FakeTime) -> None:
    """A life that is missing, tiny, huge or no number becomes one that can be lived with."""
    body = '{"access_token": "FAKE-A", "token_type": "bearer", "expires_in": %s}'
    text = {None: "null", True: "true"}.get(
        expires_in, f'"{expires_in}"' if isinstance(expires_in, str) else expires_in
    )
    async with answering(http(200, (body % text).encode())).listening() as server:
        async with _offline(token_url=server.base_url, _runtime=fake_time.runtime) as client:
            grant = await client.refresh(Grant("FAKE-OLD", "FAKE-REFRESH", scopes="a"))
    assert grant.expires_at == datetime.fromtimestamp(fake_time.now + life, UTC)
    # The answer had no refresh token, so the old one holds on.
    assert (SecretStr("FAKE-REFRESH"), frozenset({"a"})) == (grant.refresh_token, grant.scopes)


@pytest.mark.parametrize(
    ("secret", "options", "pair"),
    [
        (None, {}, "FAKE-app:"),
        (SECRET, {}, f"FAKE-app:{SECRET}"),
        ("a:%+/ b", {}, "FAKE-app:a:%+/ b"),
        ("a:%+/ b", {"percent_encode_credentials": True}, "FAKE-app:a%3A%25%2B%2F%20b"),
    ],
)
async def test_client_authentication(secret: str | None, options: dict[str, Any], pair: str) -> None:
    """A public client has an empty secret; credentials go as Kraken writes them, or as RFC 6749, 2.3.1, does."""
    async with answering(http(200, b"{}")).listening() as server:
        async with _offline(client_secret=secret, token_url=server.base_url, **options) as client:
            with pytest.raises(ResponseFormatError):
                await client.refresh(Grant("FAKE-OLD", "FAKE-REFRESH"))
    head = server.requests[0].partition(b"\r\n\r\n")[0].decode()
    (line,) = [line for line in head.splitlines() if line.startswith("Authorization: ")]
    assert pair == base64.b64decode(line.removeprefix("Authorization: Basic ")).decode()
    assert SECRET not in server.requests[0].decode()


async def test_a_wrong_client_secret_is_told(sandbox: KrakenSandbox) -> None:
    """invalid_client says to look at the app's credentials."""
    sandbox.register_client("FAKE-confidential", SECRET, redirect_uris=(REDIRECT,))
    async with OAuthClient(
        "FAKE-confidential", "FAKE-WRONG", redirect_uri=REDIRECT, token_url=sandbox.token_url
    ) as client:
        with pytest.raises(OAuthError, match="check client_id and client_secret") as caught:
            await client.refresh(Grant("FAKE-OLD", "FAKE-REFRESH"))
    assert (401, ("invalid_client",)) == (caught.value.status, caught.value.codes)


async def test_nothing_secret_is_logged(
    oauth: OAuthClient, sandbox: KrakenSandbox, caplog: pytest.LogCaptureFixture
) -> None:
    """Login and refresh at DEBUG, asyncio's debug mode included: no token, code or verifier."""
    caplog.set_level("DEBUG")
    asyncio.get_running_loop().set_debug(True)
    request = oauth.authorization_request()
    code = oauth.read_callback(sandbox.approve(request.url), request)
    grant = await oauth.exchange_code(code, request)
    sandbox.faults.add(Answer(503), operation="token")
    with pytest.raises(FastKeyError):
        await oauth.refresh(grant)
    assert grant.refresh_token is not None
    for secret in (code, request.code_verifier, grant.access_token, grant.refresh_token):
        assert secret.get_secret_value() not in caplog.text
