"""The security checklist: which test shows each rule, and the tests that no other file has."""

from __future__ import annotations

import ast
import asyncio
import base64
import contextlib
import gc
import itertools
import json
import logging
import tracemalloc
import warnings
import zlib
from collections.abc import Awaitable, Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final
from urllib.parse import parse_qs, urlsplit

import pytest
from support import TOKEN, FakeTime, RawServer, answering, assert_clean, http

from kraken_fastkey import (
    CreateKeyRequest,
    FastKeyClient,
    FastKeyError,
    Grant,
    OAuthClient,
    OAuthError,
    RefreshingTokenProvider,
    ResponseFormatError,
    RetryPolicy,
    SecretStr,
    StaticTokenProvider,
    StoreError,
    TransportError,
    UpdateKeyRequest,
    UserInfo,
    login,
)
from kraken_fastkey._oauth import _challenge
from kraken_fastkey.sandbox import KrakenSandbox
from kraken_fastkey.stores import GrantStore, MemoryGrantStore

# The rules by their numbers, and where each is shown.
RULES: dict[str, tuple[str, ...]] = {
    "S1 one type of secret, masked in every sink": (
        "test_secret.py::test_is_shown_nowhere",
        "test_secret.py::test_has_no_state_to_hand_out",
    ),
    "S2 no exception of aiohttp on ours": (
        "test_canary.py::test_no_secret_comes_out",
        "test_transport.py::test_the_leak_detector_detects",
        "test_engine.py::test_a_provider_s_aiohttp_exception_is_kept_off",
    ),
    "S3 no secret in a frame's locals": (
        "test_canary.py::test_no_secret_comes_out",
        "test_canary.py::test_a_planted_leak_is_found",
    ),
    "S4 complaints about an answer hold no value": (
        "test_wire_answers.py::test_wrong_type",
        "test_wire_answers.py::test_misplaced_secret_is_not_shown",
        "test_wire_answers.py::test_mutated_answer",
    ),
    "S5 no secret in a log at any level": (
        "test_canary.py::test_no_secret_comes_out",
        "test_client.py::test_the_token_appears_in_no_log",
        "test_oauth.py::test_nothing_secret_is_logged",
        "test_refreshing.py::test_nothing_secret_is_logged",
    ),
    "S6 redirects are not followed": (
        "test_security_rules.py::test_no_redirect_is_followed",
        "test_transport.py::test_redirects_are_not_followed",
    ),
    "S7 https, or http to loopback": (
        "test_client.py::test_base_urls_that_are_refused",
        "test_oauth.py::test_wrong_arguments_of_the_client",
        "test_transport.py::test_a_server_without_tls_was_not_sent",
    ),
    "S8 nothing from the environment, certificates verified": (
        "test_security_rules.py::test_the_environment_is_not_used",
        "test_client.py::test_the_environment_s_proxy_is_not_used",
        "test_transport.py::test_a_certificate_that_is_not_trusted_was_not_sent",
    ),
    "S9 no cookies": (
        "test_client.py::test_cookies_do_not_travel_from_one_account_to_another",
        "test_security_rules.py::test_cookies_are_not_kept",
    ),
    "S10 tokens in the Authorization header alone": (
        "test_canary.py::test_no_secret_comes_out",
        "test_canary.py::test_a_marker_out_of_place_is_found",
    ),
    "S11 PKCE with S256 always": (
        "test_oauth.py::test_authorization_request",
        "test_security_rules.py::test_the_challenge_is_that_of_the_rfc",
        "test_security_rules.py::test_every_login_has_a_challenge",
    ),
    "S12 state: random, bound, compared, for ten minutes": (
        "test_oauth.py::test_callbacks_that_are_refused",
        "test_oauth.py::test_a_login_is_good_for_ten_minutes",
        "test_oauth.py::test_a_callback_that_comes_ten_times_is_one_exchange",
        "test_security_rules.py::test_swapped_callbacks_send_nothing",
    ),
    "S13 desktop: loopback by its number, one hit": (
        "test_login.py::test_the_server_ends_with_the_login",
        "test_login.py::test_redirect_uris_that_do_not_fit",
        "test_login.py::test_a_denied_login",
        "test_security_rules.py::test_a_second_hit_is_refused",
        "test_security_rules.py::test_a_store_that_fails_ends_the_login",
    ),
    "S14 the same redirect URI in both requests": (
        "test_security_rules.py::test_both_requests_have_the_same_redirect_uri",
        "sandbox/test_sandbox_token.py::test_redirect_uri_must_be_the_same",
    ),
    "S15 the app's secret in its header alone": (
        "test_oauth.py::test_client_authentication",
        "test_security_rules.py::test_the_pair_of_app_and_secret_is_masked",
    ),
    "S16 bearer tokens alone": (
        "test_token_answers.py::test_token_types_that_are_taken",
        "test_token_answers.py::test_what_is_no_pair_is_unreadable",
    ),
    "S17 no permission that was not asked for": (
        "test_models.py::test_permissions_set_nothing_by_themselves",
        "test_models.py::test_none_withholds_all",
        "test_wire_requests.py::test_body",
    ),
    "S18 files that nobody else may read": (
        "stores/test_file.py::test_file_and_folders_are_private_whatever_the_umask",
        "stores/test_file.py::test_symlink_in_the_files_place_is_refused",
        "stores/test_file.py::test_foreign_owner_is_refused",
        "stores/test_file.py::test_encrypted_file_shows_nothing",
        "stores/test_file_crashes.py::test_any_call_of_a_save_may_fail",
    ),
    "S19 accounts never mix in a store": (
        "stores/test_sql.py::test_accounts_never_mix",
        "test_security_rules.py::test_no_two_accounts_have_one_place",
    ),
    "S20 accounts never mix in a client": (
        "test_security_rules.py::test_two_accounts_never_mix",
        "test_client.py::test_accounts_share_a_session_and_nothing_else",
    ),
    "S21 answers are bounded": (
        "test_security_rules.py::test_a_bomb_of_a_gibibyte",
        "test_security_rules.py::test_a_flood_of_headers",
        "test_transport.py::test_an_answer_is_read_up_to_a_bound",
        "test_engine.py::test_an_attempt_ends_at_the_deadline",
    ),
    "S22 a server's text is tamed": (
        "test_wire_answers.py::test_hostile_text_is_tamed",
        "test_excerpt.py::test_one_line_of_anything",
        "test_security_rules.py::test_the_page_shows_nothing_of_the_callback",
        "test_security_rules.py::test_what_a_server_echoes_is_masked",
    ),
    "S23 logs link a grant's refreshes without its tokens": (
        "test_security_rules.py::test_logs_tell_generations_and_no_piece_of_a_token",
    ),
    "S24 nothing of the user in reprs and logs": (
        "test_models.py::test_repr_of_user_info_hides_who_it_is",
        "test_canary.py::test_no_secret_comes_out",
        "test_security_rules.py::test_the_user_is_in_no_log",
    ),
    "S25 the app's secret is decrypted in the process": (
        "test_client_secret.py::test_the_secret_comes_out",
        "test_security_rules.py::test_no_page_prints_a_secret_with_openssl",
    ),
    "S27 no pickles": (
        "test_canary.py::test_what_holds_secrets_is_not_pickled",
        "test_secret.py::test_pickle_is_refused",
        "test_tokens.py::test_access_token_cannot_be_pickled",
        "test_models.py::test_fast_api_key_cannot_be_pickled",
    ),
}
# Where a key's secret is saved is built at this moment.
ELSEWHERE: Final = {"S26"}

TESTS: Final = Path(__file__).parent
REDIRECT: Final = "http://127.0.0.1:8765/callback"
ONCE: Final = RetryPolicy(max_attempts=1)
Call = Callable[[FastKeyClient], Awaitable[Any]]
CALLS: dict[str, Call] = {
    "POST": lambda client: client.create_key(CreateKeyRequest("grid-bot")),
    "PUT": lambda client: client.update_key(UpdateKeyRequest("grid-bot", nonce_window=5)),
    "DELETE": lambda client: client.delete_key("grid-bot"),
    "GET": lambda client: client.list_keys(),
    "GET userinfo": lambda client: client.get_user_info(),
}


def test_every_rule_is_shown() -> None:
    """The table has all 27 rules, and each test that it names is there."""
    assert {f"S{number}" for number in range(1, 28)} == {rule.split()[0] for rule in RULES} | ELSEWHERE
    named = {test for tests in RULES.values() for test in tests}
    there = {
        f"{file}::{node.name}"
        for file in {test.partition("::")[0] for test in named}
        for node in ast.walk(ast.parse((TESTS / file).read_text(encoding="utf-8")))
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))
    }
    assert set() == named - there


def _client(base_url: str, token: str = TOKEN, **options: Any) -> FastKeyClient:
    settings: dict[str, Any] = {"base_url": base_url, "retry": ONCE, "_runtime": FakeTime().runtime} | options
    return FastKeyClient(StaticTokenProvider(token), **settings)


def _oauth(sandbox: KrakenSandbox | None = None, **options: Any) -> OAuthClient:
    addresses = {} if sandbox is None else {"authorize_url": sandbox.authorize_url, "token_url": sandbox.token_url}
    client_id = "FAKE-app" if sandbox is None else sandbox.client_id
    return OAuthClient(client_id, **{"redirect_uri": REDIRECT, **addresses, **options})


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_no_redirect_is_followed(status: int) -> None:
    """S6: whatever the method, and from the token endpoint: nobody even connects to the other origin."""
    fake_time = FakeTime()
    async with answering(http(200, b"{}")).listening() as sink:
        redirect = answering(http(status, b"", f"Location: {sink.base_url}/?x=FAKE"))
        async with redirect.listening() as server:
            async with _client(server.base_url, _runtime=fake_time.runtime) as client:
                for call in CALLS.values():
                    with pytest.raises(FastKeyError) as caught:
                        await call(client)
                    assert_clean(caught.value)
            async with _oauth(token_url=server.base_url, client_secret="FAKE-SECRET-0123456789") as oauth:
                with pytest.raises(FastKeyError) as refused:
                    await oauth.refresh(Grant("FAKE-ACCESS", "FAKE-REFRESH-0123456789"))
                with pytest.raises(FastKeyError) as not_exchanged:
                    await oauth.exchange_code("FAKE-CODE-0123456789", oauth.authorization_request())
            assert_clean(refused.value, "FAKE-REFRESH", "FAKE-SECRET")
            assert_clean(not_exchanged.value, "FAKE-CODE")
            assert len(CALLS) + 2 <= len(server.requests)
    assert (0, []) == (sink.connections, sink.requests)


async def test_the_environment_is_not_used(
    sandbox: KrakenSandbox, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """S8: neither a proxy nor a .netrc of the environment is used, and their credentials appear nowhere."""
    caplog.set_level(0)
    credentials = "FAKE-USER:FAKE-PROXY-PASSWORD"
    netrc = tmp_path / "netrc"
    netrc.write_text(
        f"machine 127.0.0.1 login FAKE-USER password {credentials}\ndefault login x password {credentials}"
    )
    netrc.chmod(0o600)
    monkeypatch.setenv("NETRC", str(netrc))
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.delenv("no_proxy", raising=False)
    token = sandbox.issue_token()
    async with answering(http(407)).listening() as proxy:
        address = proxy.base_url.removesuffix("/oauth").replace("//", f"//{credentials}@")
        for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
            monkeypatch.setenv(name, address)
            monkeypatch.setenv(name.lower(), address)
        async with _client(sandbox.base_url, token) as client:
            assert () == await client.list_keys()
        async with _oauth(sandbox) as oauth:
            request = oauth.authorization_request()
            code = oauth.read_callback(sandbox.approve(request.url), request)
            await oauth.exchange_code(code, request)
        async with _client("https://127.0.0.1:9", token) as client:
            with pytest.raises(TransportError) as caught:
                await client.list_keys()
    assert 0 == proxy.connections
    assert ["list_keys", "token"] == [entry.operation for entry in sandbox.requests]
    assert f"Bearer {token}" == sandbox.requests[0].headers["Authorization"]
    assert_clean(caught.value, "FAKE-PROXY-PASSWORD")
    assert "FAKE-PROXY-PASSWORD" not in caplog.text


async def test_cookies_are_not_kept() -> None:
    """S9: what a server sets comes back neither with the next call nor with the next refresh."""
    answer = http(200, b'{"result": [], "access_token": "FAKE"}', "Set-Cookie: __cf_bm=FAKE; Path=/; Max-Age=9999")
    async with answering(answer).listening() as server:
        async with _client(server.base_url) as client, client.for_account(StaticTokenProvider("FAKE-B")) as other:
            for account in (client, other, client):
                await account.list_keys()
        async with _oauth(token_url=server.base_url) as oauth:
            for _ in range(2):
                await oauth.refresh(Grant("FAKE", "FAKE"))
    assert 5 == len(server.requests)
    assert not any(b"cookie" in request.lower() for request in server.requests)


def test_the_challenge_is_that_of_the_rfc() -> None:
    """S11: the example of RFC 7636, appendix B."""
    verifier = SecretStr("dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk")
    assert "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM" == _challenge(verifier)


def test_every_login_has_a_challenge() -> None:
    """S11: public app or not, no login goes without S256, and a verifier has 256 bits and more."""
    for secret in (None, "FAKE-SECRET"):
        for _ in range(50):
            request = _oauth(client_secret=secret).authorization_request()
            fields = parse_qs(urlsplit(request.url).query)
            assert (["S256"], 43) == (fields["code_challenge_method"], len(fields["code_challenge"][0]))
            assert 43 <= len(request.code_verifier.get_secret_value()) <= 128


async def test_swapped_callbacks_send_nothing(sandbox: KrakenSandbox) -> None:
    """S12: two users' callbacks in each other's sessions are refused, and no code is sent."""
    async with _oauth(sandbox) as oauth:
        first, second = oauth.authorization_request(), oauth.authorization_request()
        callbacks = [sandbox.approve(request.url) for request in (second, first)]
        for request, callback in zip((first, second), callbacks, strict=True):
            with pytest.raises(OAuthError, match="state is not this login's"):
                oauth.read_callback(callback, request)
    assert [] == sandbox.requests


async def _fetch(url: str) -> bytes:
    """Return all that a server sends for an address; nothing if nobody listens there."""
    parts = urlsplit(url)
    try:
        reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
    except ConnectionError:
        return b""
    writer.write(
        f"GET {parts.path}?{parts.query} HTTP/1.1\r\nHost: {parts.netloc}\r\nConnection: close\r\n\r\n".encode()
    )
    answer = b""
    try:
        async with asyncio.timeout(10):
            answer = await reader.read()
    except TimeoutError:
        # asyncio leaves a connection open, and to the collector, that comes just as its server is closed.
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ResourceWarning)
            gc.collect()
    writer.close()
    with contextlib.suppress(ConnectionError):
        await writer.wait_closed()
    return answer


async def _log_in(
    oauth: OAuthClient, come_back: Callable[[str], str], store: GrantStore | None = None
) -> tuple[list[bytes], Grant | FastKeyError]:
    """Log in with a browser that fetches its callback twice; return what it was sent, and the login's outcome."""
    loop = asyncio.get_running_loop()
    pages: list[bytes] = []
    visits: list[asyncio.Task[None]] = []

    async def visit(callback: str) -> None:
        pages.append(await _fetch(callback))
        pages.append(await _fetch(callback))

    def open_browser(url: str) -> bool:
        callback = come_back(url)
        loop.call_soon_threadsafe(lambda: visits.append(loop.create_task(visit(callback))))
        return True

    outcome: Grant | FastKeyError
    try:
        outcome = await login(oauth, store=store, open_browser=open_browser, timeout=timedelta(seconds=10))
    except FastKeyError as error:
        outcome = error
    await asyncio.gather(*visits)
    return pages, outcome


async def test_a_second_hit_is_refused(sandbox: KrakenSandbox) -> None:
    """S13: the callback is served once, from 127.0.0.1 and a port of its own; the second hit finds nobody."""
    hosts: list[tuple[str | None, bool]] = []

    def come_back(url: str) -> str:
        callback = sandbox.approve(url)
        hosts.append((urlsplit(callback).hostname, bool(urlsplit(callback).port)))
        return callback

    async with _oauth(sandbox, redirect_uri="http://127.0.0.1/callback") as oauth:
        (first, second), outcome = await _log_in(oauth, come_back)
    assert isinstance(outcome, Grant)
    assert first.startswith(b"HTTP/1.1 200 ")
    assert not second.startswith(b"HTTP/1.1 200 ")
    assert [("127.0.0.1", True)] == hosts
    assert 1 == [entry.operation for entry in sandbox.requests].count("token")


async def test_a_store_that_fails_ends_the_login(sandbox: KrakenSandbox, caplog: pytest.LogCaptureFixture) -> None:
    """S13: whatever a user's store raises is a StoreError at once, and aiohttp's server tells nothing of it."""
    caplog.set_level(0)

    class Full(MemoryGrantStore):
        async def save(self, grant: Grant) -> Grant:
            """Fail."""
            raise OSError(f"disk full, generation {grant.generation}")

    async with _oauth(sandbox, redirect_uri="http://127.0.0.1/callback") as oauth:
        (page, _), outcome = await _log_in(oauth, sandbox.approve, store=Full())
    assert b"The login did not work" in page
    assert isinstance(outcome, StoreError)
    assert isinstance(outcome.__cause__, OSError)
    assert_clean(outcome)
    assert [] == [record for record in caplog.records if record.name.startswith("aiohttp")]


async def test_both_requests_have_the_same_redirect_uri(sandbox: KrakenSandbox) -> None:
    """S14: what goes to the authorize URL goes to the token endpoint, to the letter."""
    uri = "http://127.0.0.1:8765/call%20back?x=%7e&y=a+b"
    async with _oauth(sandbox) as oauth:
        request = oauth.authorization_request(redirect_uri=uri)
        code = oauth.read_callback(f"{REDIRECT}?code=FAKE-CODE&state={request.state}", request)
        with pytest.raises(OAuthError):
            await oauth.exchange_code(code, request)
    (entry,) = sandbox.requests
    assert [uri] == parse_qs(urlsplit(request.url).query)["redirect_uri"]
    assert [uri] == parse_qs(entry.body.decode())["redirect_uri"]


def test_no_two_accounts_have_one_place() -> None:
    """S19: 100,000 pairs of service and account, separators and all, have as many places."""
    keyring = pytest.importorskip("kraken_fastkey.stores._keyring")
    parts = ["".join(letters) for size in (1, 2, 3) for letters in itertools.product('a/:\0,"[ ', repeat=size)]
    pairs = itertools.islice(itertools.product(parts, parts), 100_000)
    assert 100_000 == len({keyring._digest(service, account) for service, account in pairs})


async def test_two_accounts_never_mix() -> None:
    """S20: two accounts of one client, a thousand calls each, by turns and at once: each gets its own answers."""

    async def tell(server: RawServer, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            head = (await server.read_request(reader)).decode()
            token = head.partition("Authorization: Bearer ")[2].partition("\r\n")[0]
            body = json.dumps({"result": {"email": token}}).encode()
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body))
            await writer.drain()

    crossings = 0

    async def call(account: FastKeyClient, token: str, times: int) -> None:
        nonlocal crossings
        for _ in range(times):
            info = await account.get_user_info()
            assert isinstance(info, UserInfo)
            crossings += info.email != token

    async with RawServer(tell).listening() as server, _client(server.base_url, "FAKE-A") as first:
        second = first.for_account(StaticTokenProvider("FAKE-B"))
        await asyncio.gather(
            *(
                call(account, token, 100)
                for account, token in ((first, "FAKE-A"), (second, "FAKE-B"))
                for _ in range(10)
            )
        )
    print(f"{len(server.requests)} calls of two accounts: {crossings} crossings")
    assert (2000, 0) == (len(server.requests), crossings)


def _bomb() -> Iterator[bytes]:
    """Make a gibibyte of zeros, compressed."""
    deflate = zlib.compressobj(9, zlib.DEFLATED, 31)
    yield deflate.compress(bytes(1 << 20)) + deflate.flush(zlib.Z_FULL_FLUSH)
    # After a full flush, the same bytes become the same bytes.
    block = deflate.compress(bytes(1 << 20)) + deflate.flush(zlib.Z_FULL_FLUSH)
    yield from itertools.repeat(block, 1023)


async def test_a_bomb_of_a_gibibyte() -> None:
    """S21: a server that compresses, though it was told not to: a typed error, at once, and little memory."""
    bomb = b"".join(_bomb())

    async def drop(server: RawServer, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await server.read_request(reader)
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: %d\r\n\r\n" % len(bomb))
        writer.write(bomb)
        await writer.drain()

    async with RawServer(drop).listening() as server, _client(server.base_url, timeout=5.0) as client:
        tracemalloc.start()
        try:
            with pytest.raises(FastKeyError) as caught:
                await client.list_keys()
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
    print(f"a gibibyte in {len(bomb)} bytes: {peak / 1e6:.1f} MB at most, {caught.value!r}")
    assert isinstance(caught.value, ResponseFormatError)
    assert 32_000_000 > peak


async def test_a_flood_of_headers() -> None:
    """S21: headers without end are cut off, with a typed error, and are not kept."""
    written = 0

    async def flood(server: RawServer, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal written
        await server.read_request(reader)
        writer.write(b"HTTP/1.1 200 OK\r\n")
        while not writer.is_closing():
            writer.write(b"X-Flood: " + b"x" * 1000 + b"\r\n")
            written += 1011
            await writer.drain()

    async with RawServer(flood).listening() as server, _client(server.base_url, timeout=1.0) as client:
        tracemalloc.start()
        try:
            with pytest.raises(FastKeyError) as caught:
                await client.list_keys()
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
    print(f"headers without end: {written} bytes written, {peak / 1e6:.1f} MB at most, {caught.value!r}")
    assert_clean(caught.value)
    assert 32_000_000 > peak


async def test_the_page_shows_nothing_of_the_callback(sandbox: KrakenSandbox) -> None:
    """S22: what a hostile callback says is neither in the page nor, with its control characters, in the error."""

    def come_back(url: str) -> str:
        fields = parse_qs(urlsplit(url).query)
        said = "%3Cscript%3Ealert(1)%3C/script%3E%1B%5B31m%0D%0AX-Evil:%20y"
        return f"{fields['redirect_uri'][0]}?state={fields['state'][0]}&error={said}&error_description={said}"

    async with _oauth(sandbox, redirect_uri="http://127.0.0.1/callback") as oauth:
        (page, _), outcome = await _log_in(oauth, come_back)
    assert b"The login did not work" in page
    for piece in (b"<script", b"alert", b"\x1b", b"X-Evil"):
        assert piece not in page
    assert isinstance(outcome, OAuthError)
    assert str(outcome).isprintable()


@pytest.mark.parametrize(
    "answer",
    [
        lambda secret: http(400, json.dumps({"error": [f"EGeneral:Invalid arguments:{secret}"]}).encode()),
        lambda secret: http(400, json.dumps({"error": secret, "error_description": secret}).encode()),
        lambda secret: http(200, b"x", f"Content-Type: {secret}/{secret}"),
        lambda secret: http(503, b"x", f"CF-Ray: {secret}"),
    ],
    ids=["error string", "error of OAuth", "media type", "CF-Ray"],
)
async def test_what_a_server_echoes_is_masked(answer: Callable[[str], bytes]) -> None:
    """S22: a server that quotes the token puts it into no text and no attribute of the error."""
    async with answering(answer(TOKEN)).listening() as server, _client(server.base_url) as client:
        with pytest.raises(FastKeyError) as caught:
            await client.get_user_info()
    assert_clean(caught.value, TOKEN.lower(), TOKEN[:16], TOKEN[-16:])


async def test_logs_tell_generations_and_no_piece_of_a_token(caplog: pytest.LogCaptureFixture) -> None:
    """S23: each refresh is told by its generation; not even eight characters of a token are."""
    caplog.set_level(logging.DEBUG)
    clock = FakeTime(datetime.now(UTC).timestamp())
    tokens: list[str] = []
    async with KrakenSandbox(clock=clock.time) as sandbox, _oauth(sandbox, _runtime=clock.runtime) as oauth:
        request = oauth.authorization_request()
        store = MemoryGrantStore()
        code = oauth.read_callback(sandbox.approve(request.url), request)
        await store.save(await oauth.exchange_code(code, request))
        async with RefreshingTokenProvider(oauth, store, _runtime=clock.runtime) as provider:
            for _ in range(3):
                clock.now += 14_400
                await provider.get_token()
                (held,) = sandbox.grants()
                tokens += [held.access_token, held.refresh_token or ""]
    assert [f"refreshed: generation {number}" for number in (2, 3, 4)] == [
        record.getMessage() for record in caplog.records if record.getMessage().startswith("refreshed")
    ]
    assert not [token for token in tokens for at in range(len(token) - 7) if token[at : at + 8] in caplog.text]


async def test_the_user_is_in_no_log(caplog: pytest.LogCaptureFixture) -> None:
    """S24: neither the e-mail address nor the IIBAN of a user whose data was asked for, or could not be read."""
    caplog.set_level(0)
    user = {"email": "fake-user@example.com", "iban": "AA12FAKEFAKEFAKE"}
    answers = (
        http(200, json.dumps({"result": user}).encode()),
        http(200, json.dumps({"result": {**user, "iban": [user["iban"]]}}).encode()),
        http(200, json.dumps({"result": user}).encode())[:-9],
    )
    for answer in answers:
        async with answering(answer).listening() as server, _client(server.base_url) as client:
            try:
                logging.getLogger("bot").info("%s %r", info := await client.get_user_info(), info)
            except FastKeyError as error:
                assert_clean(error, *user.values())
    assert 1 <= len(caplog.records)
    assert not [value for value in user.values() if value in caplog.text]


def test_no_page_prints_a_secret_with_openssl() -> None:
    """S25: no page of the documentation has the app's secret decrypted into a terminal."""
    root = TESTS.parent
    pages = [*root.glob("*.md"), *(root / "docs").rglob("*.md")]
    assert 5 < len(pages)
    assert not [page for page in pages if "rsautl" in page.read_text(encoding="utf-8")]


def test_the_pair_of_app_and_secret_is_masked() -> None:
    """S15: not even the base64 of the pair is in the app's own data."""
    oauth = _oauth(client_secret="FAKE-SECRET-0123456789")
    pair = base64.b64encode(b"FAKE-app:FAKE-SECRET-0123456789").decode()
    assert pair not in f"{oauth!r} {vars(oauth)!r}"
