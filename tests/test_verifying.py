"""verify_key: what Kraken says of a key against what was asked for, and what to do where it says no."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import parse_qs

import aiohttp
import attrs
import pytest
from hypothesis import given, settings, strategies as st
from support import FakeTime, RawServer, answering, assert_clean, http

from kraken_fastkey import (
    ApiError,
    AuthenticationError,
    CreateKeyRequest,
    FastApiKey,
    FastKeyClient,
    FastKeyError,
    InvalidRequestError,
    KeyInfo,
    NonceAheadError,
    PermissionDeniedError,
    Permissions,
    RateLimitedError,
    ResponseFormatError,
    SecretStr,
    ServiceUnavailableError,
    StaticTokenProvider,
    TemporaryLockoutError,
    TransportError,
    _verifying,
)
from kraken_fastkey._nonces import MemoryNonceSource
from kraken_fastkey._verifying import KeyVerification, verify_key
from kraken_fastkey._wire.http import WireResponse
from kraken_fastkey._wire.private import get_api_key_info, read_private
from kraken_fastkey.sandbox import KrakenSandbox

SECRET = "kQH5HW/8p1uGOVjbgWA7FunAmGO8lsSUXNsu3eow76sz84Q18fWxnyRzBHCd3pd5nE9qa99HAZtuZuj6F1huXg=="
API_KEY = "4/SDrDBcOOPnm3nPlNfEMMJDeRcIVqPz"
NOW = 1_800_000_000
# https://docs.kraken.com/api-reference/account-data/get-api-key-info
TOLD = {
    "apiKeyName": "grid-bot",
    "apiKey": API_KEY,
    "nonce": "1800000000000",
    "nonceWindow": 0,
    "permissions": ["query-funds", "query-open-trades"],
    "iban": "AA88 N84G WOAK NMOI",
    "validUntil": "0",
    "queryFrom": "0",
    "queryTo": "0",
    "createdTime": str(NOW - 10),
    "modifiedTime": str(NOW - 10),
    "ipAllowlist": [],
    "lastUsed": str(NOW),
}
KEY = FastApiKey(
    api_key_name="grid-bot",
    api_key=API_KEY,
    secret=SecretStr(SECRET),
    created_time=datetime.fromtimestamp(NOW - 10, UTC),
    ip_allowlist=(),
    nonce=0,
    nonce_window=0,
    permissions=Permissions.only("funds_query", "trades_query_open"),
)


def said(**changes: Any) -> bytes:
    """Return an answer's bytes; what is `None` is left out."""
    result = {name: value for name, value in (TOLD | changes).items() if value is not None}
    return http(200, json.dumps({"error": [], "result": result}).encode(), "Content-Type: application/json")


def refused(*codes: str, status: int = 200) -> bytes:
    """Return an error's bytes."""
    return http(status, json.dumps({"error": list(codes)}).encode(), "Content-Type: application/json")


@pytest.fixture(autouse=True)
def _no_lockouts() -> None:
    _verifying._locked_until.clear()


@pytest.fixture(name="ask")
def _ask(fake_time: FakeTime) -> Callable[..., Any]:
    """Return what has a server give answers in turn, and verifies a key there."""

    async def ask(*answers: bytes, key: FastApiKey = KEY, **options: Any) -> KeyVerification:
        async with answering(*answers).listening() as server:
            return await at(server, fake_time, key, **options)

    return ask


async def at(server: RawServer, fake_time: FakeTime, key: FastApiKey = KEY, **options: Any) -> KeyVerification:
    """Verify a key at a server."""
    url = server.base_url.removesuffix("/oauth")
    return await verify_key(key, base_url=url, _runtime=fake_time.runtime, **options)


async def test_a_key_that_is_as_it_was_made(ask: Any) -> None:
    """Nothing differs, and all that Kraken says is there, in this library's words."""
    found = await ask(said())
    assert (True, (), 1) == (found.verified, found.differences, found.tries)
    info = found.info
    assert ("grid-bot", API_KEY, 1800000000000, 0) == (info.api_key_name, info.api_key, info.nonce, info.nonce_window)
    assert {"funds_query", "trades_query_open"} == info.permissions.granted
    assert info.permissions.trades_modify is False
    assert (None, None, None, ()) == (info.valid_until, info.query_from, info.query_to, info.ip_allowlist)
    assert datetime.fromtimestamp(NOW, UTC) == info.last_used
    assert datetime.fromtimestamp(NOW - 10, UTC) == info.created_time
    assert {"iban": "AA88 N84G WOAK NMOI"} == info.unknown
    assert "AA88" not in repr(found)


async def test_what_goes_over_the_wire(fake_time: FakeTime) -> None:
    """One POST with the key's signature, a form with a nonce in milliseconds, and no Authorization header."""
    async with answering(said()).listening() as server:
        await at(server, fake_time)
        (request,) = server.requests
    head, _, body = request.partition(b"\r\n\r\n")
    lines = head.decode().split("\r\n")
    assert "POST /0/private/GetApiKeyInfo HTTP/1.1" == lines[0]
    headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines[1:])}
    assert API_KEY == headers["api-key"]
    assert 88 == len(headers["api-sign"])
    assert "application/x-www-form-urlencoded" == headers["content-type"]
    assert "authorization" not in headers
    assert headers["user-agent"].startswith("kraken-fastkey/")
    assert {"nonce": [str(NOW * 1000)]} == parse_qs(body.decode())


@pytest.mark.parametrize(
    ("changes", "differences"),
    [
        ({"apiKeyName": "other"}, ["api_key_name: Kraken has 'other', and 'grid-bot' is what the key was made with"]),
        ({"apiKey": "another"}, ["api_key: Kraken describes another key"]),
        ({"nonceWindow": 5}, ["nonce_window: Kraken has 5, and 0 is what the key was made with"]),
        (
            {"permissions": ["query-funds", "withdraw-funds", "create-ws-token"]},
            [
                (
                    "permissions: Kraken has also create_ws_token, funds_withdraw and not trades_query_open, "
                    "against what the key was made with"
                )
            ],
        ),
        (
            {"ipAllowlist": ["203.0.113.0/24"]},
            ["ip_allowlist: Kraken has also 203.0.113.0/24, against what the key was made with"],
        ),
        (
            {"ipAllowlist": ["anywhere"]},
            ["ip_allowlist: Kraken has also anywhere, against what the key was made with"],
        ),
        (
            {"apiKeyName": "x", "permissions": "all", "ipAllowlist": None, "nonceWindow": "?"},
            [
                "api_key_name: Kraken has 'x', and 'grid-bot' is what the key was made with",
                "permissions: Kraken does not tell it, or in a way that we do not know",
                "ip_allowlist: Kraken does not tell it, or in a way that we do not know",
                "nonce_window: Kraken does not tell it, or in a way that we do not know",
            ],
        ),
    ],
)
async def test_differences_are_told(ask: Any, changes: dict[str, Any], differences: list[str]) -> None:
    """Each with its field, and what cannot be compared is no proof."""
    found = await ask(said(**changes))
    assert found.verified is False
    assert tuple(differences) == found.differences


async def test_a_keys_times_are_compared_where_it_has_them(ask: Any) -> None:
    """A time of the key that Kraken has otherwise is told; one that the key does not tell may be anything."""
    key = attrs.evolve(KEY, valid_until=datetime.fromtimestamp(NOW + 60, UTC))
    assert (await ask(said(validUntil=str(NOW + 60)), key=key)).verified is True
    found = await ask(said(), key=key)
    assert (
        "valid_until: Kraken has no restriction, and 2027-01-15T08:01:00+00:00 is what the key was made with",
    ) == found.differences
    assert (await ask(said(validUntil=str(NOW + 60)))).verified is True


FULL = CreateKeyRequest(
    "grid-bot",
    permissions=Permissions(funds_query=True, trades_query_open=True, trades_modify=False),
    ip_allowlist=["203.0.113.7", "2001:db8::/32"],
    nonce_window=10_000,
    query_from=1_700_000_000,
    query_to=datetime.fromtimestamp(1_900_000_000, UTC),
    valid_until=timedelta(days=900),
)
MADE = FastApiKey(api_key_name="grid-bot", api_key=API_KEY, secret=SecretStr(SECRET))
AS_ASKED = {
    "nonceWindow": "10000",
    "ipAllowlist": ["2001:db8::/32", "203.0.113.7/32"],
    "queryFrom": 1_700_000_000,
    "queryTo": "2030-03-17T17:46:40Z",
    "validUntil": float(NOW + 900 * 86_400 - 8),
}


async def test_a_key_that_is_as_it_was_asked_for(ask: Any) -> None:
    """Other spellings of the same are the same; a time from the moment of sending has some slack."""
    found = await ask(said(**AS_ASKED), key=MADE, expected=FULL)
    assert () == found.differences
    assert found.verified is True


async def test_a_key_that_is_not_as_it_was_asked_for(ask: Any) -> None:
    """All that was asked for is looked at, and told with what was asked for."""
    found = await ask(said(apiKeyName="x", permissions=[]), key=MADE, expected=FULL)
    assert [
        *("api_key_name", "permissions", "ip_allowlist", "nonce_window", "query_from", "query_to", "valid_until"),
    ] == [difference.partition(":")[0] for difference in found.differences]
    assert "permissions: Kraken has not funds_query, trades_query_open, against what was asked for" in found.differences
    assert (
        "query_from: Kraken has no restriction, and 2023-11-14T22:13:20+00:00 is what was asked for"
        in found.differences
    )


async def test_what_was_not_asked_for_is_not_to_be_there(ask: Any) -> None:
    """A request that leaves a restriction out means none, and one without permissions means none."""
    made = attrs.evolve(MADE, created_time=None)
    found = await ask(
        said(permissions=["withdraw-funds"], validUntil=str(NOW + 5), createdTime=None),
        key=made,
        expected=CreateKeyRequest("grid-bot"),
    )
    assert [
        "permissions: Kraken has also funds_withdraw, against what was asked for",
        "valid_until: Kraken has 2027-01-15T08:00:05+00:00, and no restriction is what was asked for",
    ] == list(found.differences)


async def test_a_generated_name_is_the_keys_to_say(ask: Any) -> None:
    """A client may have made the key under another such name than the request's."""
    expected = CreateKeyRequest(permissions=Permissions(funds_query=True, trades_query_open=True))
    assert expected.api_key_name != KEY.api_key_name
    assert (await ask(said(), expected=expected)).verified is True


@pytest.mark.parametrize(
    "changes",
    [
        {"permissions": {"funds_query": True, "trades_query_open": True, "trades_modify": False}},
        {"permissions": {"query-funds": True, "query-open-trades": True}},
        {"permissions": ["funds_query", "trades_query_open"]},
        {"newThing": {"a": [1]}, "createdTime": "2027-01-15T08:00:00Z", "lastUsed": "whenever"},
        {"lastUsed": "9" * 20, "nonce": "x", "iban": 5, "modifiedTime": []},
        {"permissions": {"funds_query": True, "trades_query_open": True}, "created": None, "result": {}},
        {"validUntil": "0.0", "queryTo": "1970-01-01", "queryFrom": 0.0},
    ],
)
async def test_other_forms_are_read_as_well(ask: Any, changes: dict[str, Any]) -> None:
    """What Kraken might come to say, or one odd field that is not compared, is no reason to fail."""
    found = await ask(said(**changes))
    assert () == found.differences


async def test_the_other_apis_spelling_is_read(ask: Any) -> None:
    """Names with underscores, as the list of keys has them."""
    snake = {
        "api_key_name": "grid-bot",
        "nonce_window": 0,
        "permissions": ["query-funds", "query-open-trades"],
        "ip_allowlist": [],
    }
    found = await ask(http(200, json.dumps({"error": [], "result": snake}).encode()))
    assert found.verified is True


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b'{"error":[]}', b'{"error":[],"result":null}', b"<html>", b"null"])
async def test_what_cannot_be_read(ask: Any, body: bytes) -> None:
    """An answer of any bytes is a typed error."""
    with pytest.raises(ResponseFormatError, match="verify_key: "):
        await ask(http(200, body))


JSON = st.recursive(
    st.one_of(
        *(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=10)),
        st.sampled_from(["0", "query-funds", "253402300799", "1e9", "2027-01-15", "9" * 30, "-1", 2**70, -1.0, 1e300]),
    ),
    lambda children: st.lists(children, max_size=3) | st.dictionaries(st.text(max_size=5), children, max_size=3),
    max_leaves=5,
)
FIELDS = [*TOLD, "unknown", "created_time_raw", "secret", "api_key_name", "id", "purpose", "oauthClient"]


@given(st.dictionaries(st.sampled_from(FIELDS), JSON), st.sampled_from([None, FULL]), st.sampled_from([KEY, MADE]))
@settings(max_examples=500)
def test_any_description_is_read_or_is_an_error(
    changes: dict[str, Any], expected: CreateKeyRequest | None, key: FastApiKey
) -> None:
    """Whatever JSON Kraken may answer, nothing but a result or a FastKeyError comes of it."""
    body = json.dumps({"error": [], "result": TOLD | changes}).encode()
    answer = read_private(get_api_key_info(b"", "grid-bot"), WireResponse(200, {}, body), NOW)
    if isinstance(answer, FastKeyError):
        assert isinstance(answer, ResponseFormatError)
        return
    found = _verifying._differences(answer.value, key, expected, NOW)
    assert all(difference.isprintable() for difference in found)
    repr(answer.value)


async def test_a_warning_is_logged(ask: Any, caplog: pytest.LogCaptureFixture) -> None:
    """It is no failure."""
    answer = http(200, json.dumps({"error": ["WGeneral:Careful"], "result": TOLD}).encode())
    assert (await ask(answer)).verified is True
    assert "verify_key: Kraken warns: WGeneral:Careful" in caplog.text


async def test_a_new_key_may_not_be_known_yet(ask: Any, fake_time: FakeTime) -> None:
    """It is asked for again after 5 seconds."""
    found = await ask(refused("EAPI:Invalid key"), refused("EAPI:Invalid key"), said())
    assert (True, 3) == (found.verified, found.tries)
    assert [5.0, 5.0] == fake_time.sleeps


async def test_a_key_that_stays_unknown_is_not_verified(fake_time: FakeTime, caplog: pytest.LogCaptureFixture) -> None:
    """Three tries, and no error; each has a nonce of its own."""
    caplog.set_level(logging.INFO)
    async with answering(refused("EAPI:Invalid key")).listening() as server:
        found = await at(server, fake_time)
        nonces = [int(request.rpartition(b"nonce=")[2]) for request in server.requests]
    assert KeyVerification(verified=None, tries=3) == found
    assert [5.0, 5.0] == fake_time.sleeps
    assert sorted(set(nonces)) == nonces
    assert 3 == len(nonces)
    assert SECRET not in caplog.text
    assert 2 == caplog.text.count("does not know the key")


@pytest.mark.parametrize(
    ("answer", "error", "text"),
    [
        (refused("EAPI:Invalid signature"), AuthenticationError, "Do not go on trying"),
        (refused("EGeneral:Permission denied"), PermissionDeniedError, "not in its ip_allowlist"),
        (refused("EAPI:Rate limit exceeded"), RateLimitedError, "counter of its own"),
        (refused("EService:Unavailable"), ServiceUnavailableError, "EService:Unavailable"),
        (refused("EAPI:Invalid nonce"), ApiError, "share one nonce source, of one unit"),
        (refused("EWhat:Ever"), ApiError, "does not know the error"),
        (refused("EGeneral:Invalid arguments"), ApiError, "Mend the request"),
        (http(502, b"<html>"), ServiceUnavailableError, "502"),
        (http(302, b"", "Location: http://127.0.0.1:1/"), ApiError, "Redirects are not followed"),
        (b"", TransportError, "the connection was closed"),
    ],
)
async def test_other_errors_are_raised_at_once(
    ask: Any, fake_time: FakeTime, answer: bytes, error: type[FastKeyError], text: str
) -> None:
    """No other is tried again, and none shows the key's secret."""
    with pytest.raises(error) as caught:
        await ask(answer)
    assert text in str(caught.value)
    assert "access token" not in str(caught.value)
    assert ("verify_key", 1, []) == (caught.value.operation, caught.value.attempts, fake_time.sleeps)
    assert_clean(caught.value, SECRET)


async def test_a_lockout_ends_it_for_15_minutes(fake_time: FakeTime) -> None:
    """Nothing more is sent for the key until then; other keys are none the worse; then one request tries."""
    locked, free = refused("EGeneral:Temporary lockout"), said()
    other = attrs.evolve(KEY, api_key="another")
    async with answering(refused("EAPI:Invalid key"), locked, free, locked, free).listening() as server:
        with pytest.raises(TemporaryLockoutError) as caught:
            await at(server, fake_time)
        assert 2 == caught.value.attempts
        for _ in range(3):
            with pytest.raises(TemporaryLockoutError, match="Nothing is sent for") as again:
                await at(server, fake_time)
            assert ("not_sent", 0, 900.0) == (again.value.outcome, again.value.attempts, again.value.retry_after)
        assert 2 == len(server.requests)
        await at(server, fake_time, other)
        fake_time.now += 899
        with pytest.raises(TemporaryLockoutError):
            await at(server, fake_time)
        fake_time.now += 1
        with pytest.raises(TemporaryLockoutError) as caught:
            await at(server, fake_time)
        assert 1 == caught.value.attempts
        fake_time.now += 900
        probes = await asyncio.gather(*(at(server, fake_time) for _ in range(3)), return_exceptions=True)
        assert 1 == sum(isinstance(probe, KeyVerification) for probe in probes)
        assert 2 == sum(isinstance(probe, TemporaryLockoutError) for probe in probes)
        assert (await at(server, fake_time)).verified is True
    assert {} == _verifying._locked_until


async def test_lockouts_are_forgotten(ask: Any, fake_time: FakeTime) -> None:
    """Keys that nobody asks for any more take no room for ever."""
    for number in range(5):
        with pytest.raises(TemporaryLockoutError):
            await ask(refused("EGeneral:Temporary lockout"), key=attrs.evolve(KEY, api_key=f"key-{number}"))
        fake_time.now += 901
    assert 1 == len(_verifying._locked_until)


async def test_a_nonce_that_is_behind_is_explained(ask: Any) -> None:
    """By what the list of keys says: another unit has poisoned the key."""
    listed = KeyInfo(api_key_name="grid-bot", nonce=NOW * 10**9)
    with pytest.raises(NonceAheadError, match="verify_key: the key has seen .* use a source with unit='ns'") as caught:
        await ask(refused("EAPI:Invalid nonce"), listed=listed)
    error = caught.value
    assert (NOW * 10**9, NOW * 1000, "ms", "ns") == (error.stored, error.offered, error.unit, error.guess)
    assert ("refused", ("EAPI:Invalid nonce",), 200) == (error.outcome, error.codes, error.status)
    assert_clean(error, SECRET)


async def test_the_key_itself_may_explain_it(ask: Any) -> None:
    """Where it has the highest nonce."""
    key = attrs.evolve(KEY, nonce=NOW * 1000 + 5)
    with pytest.raises(NonceAheadError, match="too, and is 0.005 s ahead"):
        await ask(refused("EAPI:Invalid nonce"), key=key)


async def test_all_wrong_arguments_are_told() -> None:
    """At once, and before anything is sent; none is shown."""
    wrong: Any = SECRET
    with pytest.raises(InvalidRequestError) as caught:
        await verify_key(
            wrong,
            expected=wrong,
            listed=wrong,
            base_url=f"http://user:{SECRET}@example.com",
            session=wrong,
            nonces=wrong,
            timeout=-1,
        )
    assert {"key", "expected", "listed", "base_url", "session", "nonces", "timeout"} == set(caught.value.faults)
    del wrong
    assert_clean(caught.value, SECRET)


@pytest.mark.parametrize("url", ["http://api.kraken.com", "ftp://127.0.0.1", "https://a:b@c", "https://a/?q"])
async def test_addresses_that_are_refused(url: str) -> None:
    """Plain http goes to loopback alone."""
    with pytest.raises(InvalidRequestError, match="base_url"):
        await verify_key(KEY, base_url=url)


async def test_a_given_session_is_used_and_left_open(fake_time: FakeTime) -> None:
    """It is the caller's."""
    async with aiohttp.ClientSession() as session, answering(said()).listening() as server:
        assert (await at(server, fake_time, session=session, timeout=5)).verified is True
        assert not session.closed


async def test_redirects_are_not_followed(fake_time: FakeTime) -> None:
    """The signature goes to no other address."""
    async with answering(said()).listening() as other:
        target = other.base_url.removesuffix("/oauth") + "/0/private/GetApiKeyInfo"
        async with answering(http(307, b"", f"Location: {target}")).listening() as server:
            with pytest.raises(ApiError):
                await at(server, fake_time)
        assert [] == other.requests


async def test_proxies_of_the_environment_are_not_used(fake_time: FakeTime, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody stands between the key and Kraken whom the program has not chosen."""
    async with answering(said()).listening() as proxy, answering(said()).listening() as server:
        monkeypatch.setenv("http_proxy", proxy.base_url)
        monkeypatch.setenv("all_proxy", proxy.base_url)
        await at(server, fake_time)
        assert ([], 1) == (proxy.requests, len(server.requests))


async def test_a_cancelled_call_closes_its_session(fake_time: FakeTime) -> None:
    """A caller that does not want to wait for the next try leaves nothing open (warnings are errors here)."""
    begun = asyncio.Event()

    async def hang() -> None:
        begun.set()
        await asyncio.Event().wait()

    fake_time.on_sleep = hang
    async with answering(refused("EAPI:Invalid key")).listening() as server:
        task = asyncio.create_task(at(server, fake_time))
        await begun.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task


async def test_a_key_of_the_sandbox(fake_time: FakeTime) -> None:
    """What the client makes, the sandbox describes, and nothing differs."""
    request = CreateKeyRequest(
        "grid-bot",
        permissions=Permissions.read_only(),
        ip_allowlist=["127.0.0.0/8"],
        nonce_window=10_000,
        query_from=1_700_000_000,
        valid_until=timedelta(days=7),
    )
    async with KrakenSandbox(clock=fake_time.time) as sandbox:
        key = await _create(sandbox, fake_time, request)
        nonces = MemoryNonceSource()
        for expected in (request, None):
            found = await verify_key(
                key, expected=expected, nonces=nonces, base_url=sandbox.api_url, _runtime=fake_time.runtime
            )
            assert () == found.differences
            assert found.verified is True


async def _create(sandbox: KrakenSandbox, fake_time: FakeTime, request: CreateKeyRequest) -> FastApiKey:
    provider = StaticTokenProvider(sandbox.issue_token())
    async with FastKeyClient(provider, base_url=sandbox.base_url, _runtime=fake_time.runtime) as client:
        return await client.create_key(request)


async def test_a_poisoned_key_of_the_sandbox(sandbox: KrakenSandbox, client: FastKeyClient) -> None:
    """A key that was used with nanoseconds takes no milliseconds, and the list of keys shows it."""
    key = await client.create_key(CreateKeyRequest("grid-bot"))
    assert (await verify_key(key, nonces=MemoryNonceSource("ns"), base_url=sandbox.api_url)).verified is True
    with pytest.raises(ApiError, match="Invalid nonce"):
        await verify_key(key, base_url=sandbox.api_url)
    (listed,) = await client.list_keys()
    with pytest.raises(NonceAheadError, match="unit='ns'"):
        await verify_key(key, listed=listed, base_url=sandbox.api_url)


async def test_a_late_key_of_the_sandbox(fake_time: FakeTime) -> None:
    """A key that the trading API does not know for 8 seconds is verified in the third try."""
    async with KrakenSandbox(clock=fake_time.time, propagation_delay=8) as sandbox:
        key = await _create(sandbox, fake_time, CreateKeyRequest("grid-bot"))
        found = await verify_key(key, base_url=sandbox.api_url, _runtime=fake_time.runtime)
    assert (True, 3) == (found.verified, found.tries)
