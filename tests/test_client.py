"""FastKeyClient against the sandbox: its methods, its life, and what it takes as arguments."""

from __future__ import annotations

import asyncio
import gc
import warnings
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import aiohttp
import pytest
from support import TOKEN, FakeTime

from kraken_fastkey import (
    AccessToken,
    AuthenticationError,
    CallbackTokenProvider,
    ClientClosedError,
    CreateKeyRequest,
    DuplicateKeyNameError,
    FastApiKey,
    FastKeyClient,
    InvalidRequestError,
    KeyNotFoundError,
    PermissionDeniedError,
    Permissions,
    RetryPolicy,
    StaticTokenProvider,
    Timeouts,
    TooManyKeysError,
    UpdateKeyRequest,
    UserInfo,
)
from kraken_fastkey.sandbox import Answer, Hang, KrakenSandbox

MakeClient = Callable[..., FastKeyClient]


async def test_create_returns_the_key_and_its_secret(client: FastKeyClient, sandbox: KrakenSandbox) -> None:
    """What create_key returns is what the account then holds, secret and all."""
    key = await client.create_key(
        CreateKeyRequest(
            "grid-bot",
            permissions=Permissions(funds_query=True, trades_query_open=True),
            ip_allowlist=["203.0.113.0/24", "2001:db8::/32"],
            nonce_window=10_000,
            query_from=1_700_000_000,
            valid_until=datetime(2100, 1, 1, tzinfo=UTC),
        )
    )
    (held,) = sandbox.keys()
    assert (held.api_key, held.secret) == (key.api_key, key.secret.get_secret_value())
    assert "grid-bot" == key.api_key_name
    assert Permissions(funds_query=True, trades_query_open=True) == key.permissions
    assert ("203.0.113.0/24", "2001:db8::/32") == key.ip_allowlist
    assert 10_000 == key.nonce_window
    assert datetime(2023, 11, 14, 22, 13, 20, tzinfo=UTC) == key.query_from
    assert key.query_to is None
    assert datetime(2100, 1, 1, tzinfo=UTC) == key.valid_until
    assert "standard" == key.purpose
    assert key.last_used is None
    assert key.created_time is not None
    assert not key.unknown


async def test_a_timedelta_counts_from_the_moment_of_sending(make_client: MakeClient, fake_time: FakeTime) -> None:
    """The same request sent later makes a key that lives as long, not a shorter one."""
    request = CreateKeyRequest("late-bot", valid_until=timedelta(days=7))
    client = make_client()
    fake_time.now += 86_400
    key = await client.create_key(request)
    assert datetime.fromtimestamp(fake_time.now + 7 * 86_400, UTC) == key.valid_until


async def test_a_time_that_has_passed_since_is_refused_before_anything_is_sent(
    make_client: MakeClient, fake_time: FakeTime, sandbox: KrakenSandbox
) -> None:
    """A request kept for too long does not make a dead key."""
    request = CreateKeyRequest("late-bot", valid_until=int(fake_time.now) + 60)
    client = make_client()
    fake_time.now += 61
    with pytest.raises(InvalidRequestError, match="valid_until: is not in the future"):
        await client.create_key(request)
    assert [] == sandbox.requests


async def test_list_shows_all_keys_without_secrets(client: FastKeyClient) -> None:
    """list_keys returns each key, neither half of it."""
    for number in range(3):
        await client.create_key(CreateKeyRequest(f"bot-{number}"))
    keys = await client.list_keys()
    assert ["bot-0", "bot-1", "bot-2"] == [key.api_key_name for key in keys]
    assert [None, None, None] == [key.api_key for key in keys]
    assert not any(isinstance(key, FastApiKey) for key in keys)


async def test_update_changes_what_is_set_and_nothing_else(client: FastKeyClient) -> None:
    """What an update leaves out stays; 0 and an empty allowlist lift a restriction."""
    await client.create_key(
        CreateKeyRequest(
            "grid-bot",
            permissions=Permissions(funds_query=True),
            ip_allowlist=["203.0.113.7"],
            valid_until=timedelta(1),
        )
    )
    (before,) = await client.list_keys()
    await client.update_key(UpdateKeyRequest("grid-bot", new_api_key_name="trend-bot"))
    (renamed,) = await client.list_keys()
    assert "trend-bot" == renamed.api_key_name
    assert (before.permissions, before.ip_allowlist, before.valid_until) == (
        renamed.permissions,
        renamed.ip_allowlist,
        renamed.valid_until,
    )
    await client.update_key(
        UpdateKeyRequest("trend-bot", permissions=Permissions.none(), ip_allowlist=[], valid_until=0)
    )
    (lifted,) = await client.list_keys()
    assert lifted.permissions is not None
    assert frozenset() == lifted.permissions.granted
    assert () == lifted.ip_allowlist
    assert lifted.valid_until is None


async def test_delete_removes_the_key(client: FastKeyClient, sandbox: KrakenSandbox) -> None:
    """A deleted key is gone, and its name can be had again."""
    await client.create_key(CreateKeyRequest("grid-bot"))
    await client.delete_key("grid-bot")
    assert () == sandbox.keys()
    await client.create_key(CreateKeyRequest("grid-bot"))


async def test_user_info(client: FastKeyClient) -> None:
    """get_user_info tells the account's e-mail address and IIBAN."""
    assert UserInfo(email="sandbox@example.com", iban="AA12N84GSANDBOX0") == await client.get_user_info()


async def test_errors_of_the_account_have_their_classes(make_client: MakeClient) -> None:
    """A name twice, a name that is not there, and too many keys are told apart, with Kraken's words kept."""
    async with KrakenSandbox(max_keys=1) as sandbox:
        client = make_client(StaticTokenProvider(sandbox.issue_token()), base_url=sandbox.base_url)
        await client.create_key(CreateKeyRequest("one"))
        with pytest.raises(TooManyKeysError) as too_many:
            await client.create_key(CreateKeyRequest("two"))
        with pytest.raises(KeyNotFoundError) as missing:
            await client.delete_key("three")
        with pytest.raises(KeyNotFoundError):
            await client.update_key(UpdateKeyRequest("three", nonce_window=1))
    assert ("EAccount:Too many API keys",) == too_many.value.codes
    assert ("create_key", 1, "refused", 200) == (
        too_many.value.operation,
        too_many.value.attempts,
        too_many.value.outcome,
        too_many.value.status,
    )
    assert "delete_key: " in str(missing.value)


async def test_a_duplicate_name_is_refused(client: FastKeyClient) -> None:
    """Names are unique: at creation, and when a key is renamed."""
    await client.create_key(CreateKeyRequest("one"))
    await client.create_key(CreateKeyRequest("two"))
    with pytest.raises(DuplicateKeyNameError):
        await client.create_key(CreateKeyRequest("one"))
    with pytest.raises(DuplicateKeyNameError):
        await client.update_key(UpdateKeyRequest("one", new_api_key_name="two"))


async def test_a_missing_scope_is_a_permission_denied(make_client: MakeClient, sandbox: KrakenSandbox) -> None:
    """The call's own scope and those of the key's permissions are both needed."""
    reader = make_client(StaticTokenProvider(sandbox.issue_token(scopes=["account.fast-api-key:read"])))
    with pytest.raises(PermissionDeniedError) as no_write:
        await reader.create_key(CreateKeyRequest("grid-bot"))
    assert 403 == no_write.value.status
    writer = make_client(StaticTokenProvider(sandbox.issue_token(scopes=["account.fast-api-key:write"])))
    with pytest.raises(PermissionDeniedError):
        await writer.create_key(CreateKeyRequest("grid-bot", permissions=Permissions(funds_query=True)))
    assert () == sandbox.keys()


@pytest.mark.parametrize("refusal", [Answer(404), Answer(405), Answer(200, {"error": ["EGeneral:Unknown method"]})])
async def test_list_falls_back_to_the_older_address_and_remembers(
    client: FastKeyClient, sandbox: KrakenSandbox, refusal: Answer
) -> None:
    """Where the plural address is not known, the singular is asked, and from then on first."""
    sandbox.faults.add(refusal, operation="list_keys")
    assert () == await client.list_keys()
    assert () == await client.list_keys()
    assert ["/oauth/fast-api-keys", "/oauth/fast-api-key", "/oauth/fast-api-key"] == [
        request.path for request in sandbox.requests
    ]
    sandbox.faults.add(refusal, operation="list_keys")
    assert () == await client.list_keys()
    assert "/oauth/fast-api-keys" == sandbox.requests[-1].path


async def test_list_raises_if_neither_address_is_known(client: FastKeyClient, sandbox: KrakenSandbox) -> None:
    """A wrong base URL is told as such, after both addresses."""
    sandbox.faults.add(Answer(404), operation="list_keys", times=2)
    with pytest.raises(Exception, match="There is no such address: check base_url"):
        await client.list_keys()
    assert 2 == len(sandbox.requests)


async def test_list_does_not_fall_back_on_other_errors(client: FastKeyClient, sandbox: KrakenSandbox) -> None:
    """A refusal of another kind is no reason to ask elsewhere."""
    sandbox.faults.add(Answer(403), operation="list_keys")
    with pytest.raises(PermissionDeniedError):
        await client.list_keys()
    assert 1 == len(sandbox.requests)


async def test_accounts_share_a_session_and_nothing_else(make_client: MakeClient, sandbox: KrakenSandbox) -> None:
    """for_account uses the same connection with its own token; closing it leaves the first client open."""
    first_token, second_token = sandbox.issue_token(), sandbox.issue_token()
    first = make_client(StaticTokenProvider(first_token))
    async with first.for_account(StaticTokenProvider(second_token)) as second:
        for _ in range(10):
            await asyncio.gather(first.list_keys(), second.list_keys())
    tokens = [request.headers["Authorization"].removeprefix("Bearer ") for request in sandbox.requests]
    assert 10 == tokens.count(first_token) == tokens.count(second_token)
    assert 2 == sandbox.total_connections
    with pytest.raises(ClientClosedError):
        await second.list_keys()
    await first.list_keys()
    third = first.for_account(StaticTokenProvider(second_token)).for_account(StaticTokenProvider(first_token))
    await third.list_keys()
    await first.aclose()
    with pytest.raises(ClientClosedError):
        await third.list_keys()
    with pytest.raises(ClientClosedError):
        first.for_account(StaticTokenProvider(second_token))


async def test_a_thousand_creates_from_a_thousand_tasks(make_client: MakeClient) -> None:
    """All succeed, the account holds exactly those names, and connections stay within the pool."""
    async with KrakenSandbox(max_keys=1000) as sandbox:
        client = make_client(StaticTokenProvider(sandbox.issue_token()), base_url=sandbox.base_url)
        keys = await asyncio.gather(*(client.create_key(CreateKeyRequest(f"bot-{n}")) for n in range(1000)))
        assert {f"bot-{n}" for n in range(1000)} == {key.api_key_name for key in sandbox.keys()}
        assert {key.secret for key in sandbox.keys()} == {key.secret.get_secret_value() for key in keys}
        assert 1000 == len(sandbox.requests)
        assert 100 >= sandbox.peak_connections


async def test_a_session_passed_in_is_used_and_left_open(make_client: MakeClient, sandbox: KrakenSandbox) -> None:
    """A borrowed session carries the requests, whatever its settings, and is open afterwards."""
    async with aiohttp.ClientSession(raise_for_status=True, headers={"X-App": "mine"}) as session:
        async with make_client(session=session) as client:
            with pytest.raises(KeyNotFoundError):
                await client.delete_key("nobody")
            sandbox.faults.add(Answer(503))
            await client.list_keys()
        assert not session.closed
        async with session.get(sandbox.base_url.replace("/oauth", "/openapi.json")) as response:
            assert 200 == response.status
    assert "mine" == sandbox.requests[0].headers["X-App"]


async def test_a_closed_session_is_told_as_such(make_client: MakeClient) -> None:
    """A borrowed session that somebody closed is named in the error, and not tried again."""
    async with aiohttp.ClientSession() as session:
        client = make_client(session=session)
    with pytest.raises(ClientClosedError, match="the aiohttp session that was passed in is closed"):
        await client.list_keys()


async def test_a_pool_of_one_does_not_deadlock(
    make_client: MakeClient, sandbox: KrakenSandbox, fake_time: FakeTime
) -> None:
    """Three retries in a row over one connection: each attempt gives it back, and carries the token."""
    token = sandbox.issue_token()
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=1)) as session:
        client = make_client(StaticTokenProvider(token), session=session)
        sandbox.faults.add(Answer(429, {"error": ["EAPI:Rate limit exceeded"]}), times=3)
        await client.create_key(CreateKeyRequest("grid-bot"))
    assert [429, 429, 429, 200] == [request.status for request in sandbox.requests]
    assert {f"Bearer {token}"} == {request.headers["Authorization"] for request in sandbox.requests}
    assert 1 == sandbox.peak_connections
    assert 3 == len(fake_time.sleeps)


@pytest.mark.filterwarnings("ignore:Unclosed:ResourceWarning")  # aiohttp's own, beside ours
async def test_a_client_dropped_without_closing_warns(sandbox: KrakenSandbox) -> None:
    """A session left open is told, with the way to close it."""
    client = FastKeyClient(StaticTokenProvider(sandbox.issue_token()), base_url=sandbox.base_url)
    await client.list_keys()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        del client
        gc.collect()
    messages = [str(warning.message) for warning in caught if warning.category is ResourceWarning]
    caught.clear()
    gc.collect()
    assert any("a FastKeyClient was dropped without being closed" in message for message in messages)


async def test_a_client_that_opened_nothing_or_was_closed_does_not_warn(sandbox: KrakenSandbox) -> None:
    """There is nothing to warn of where nothing is open."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        unused = FastKeyClient(StaticTokenProvider(TOKEN))
        closed = FastKeyClient(StaticTokenProvider(sandbox.issue_token()), base_url=sandbox.base_url)
        await closed.list_keys()
        await closed.aclose()
        del unused, closed
        gc.collect()


async def test_closing_leaves_nothing_open(sandbox: KrakenSandbox) -> None:
    """After aclose there is no task, and no connection; a second aclose does nothing."""
    tasks = asyncio.all_tasks()
    client = FastKeyClient(StaticTokenProvider(sandbox.issue_token()), base_url=sandbox.base_url)
    await asyncio.gather(*(client.list_keys() for _ in range(50)))
    await client.aclose()
    await client.aclose()
    for _ in range(1000):
        if not sandbox.open_connections and tasks == asyncio.all_tasks():
            break
        await asyncio.sleep(0)  # the sandbox's side of each connection ends a moment later
    assert 0 == sandbox.open_connections
    assert tasks == asyncio.all_tasks()


@pytest.mark.parametrize(
    "call",
    [
        lambda client: client.create_key(CreateKeyRequest("x")),
        lambda client: client.update_key(UpdateKeyRequest("x")),
        lambda client: client.delete_key("x"),
        lambda client: client.list_keys(),
        lambda client: client.get_user_info(),
        lambda client: client.__aenter__(),
    ],
)
async def test_a_closed_client_refuses_every_call(
    client: FastKeyClient, sandbox: KrakenSandbox, call: Callable[[FastKeyClient], Any]
) -> None:
    """After aclose each method raises, and sends nothing."""
    await client.aclose()
    with pytest.raises(ClientClosedError, match="the client is closed: open a new one") as caught:
        await call(client)
    assert ("not_sent", 0) == (caught.value.outcome, caught.value.attempts)
    assert [] == sandbox.requests


async def test_aclose_waits_for_a_request_under_way(
    client: FastKeyClient, sandbox: KrakenSandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A key whose creation is under way when the client closes reaches its caller."""
    arrived, go_on = asyncio.Event(), asyncio.Event()

    class SlowProvider:
        async def get_token(self, *, rejected: AccessToken | None = None) -> AccessToken:
            del rejected
            return AccessToken(sandbox.issue_token())

    account = client.for_account(SlowProvider())
    transport = client._shared.engine._transport
    send = transport.send

    async def slow_send(*args: Any) -> Any:
        answer = await send(*args)
        arrived.set()
        await go_on.wait()
        return answer

    monkeypatch.setattr(transport, "send", slow_send)  # the answer lingers on its way
    create = asyncio.create_task(account.create_key(CreateKeyRequest("grid-bot")))
    await arrived.wait()
    close = asyncio.create_task(client.aclose())
    await asyncio.sleep(0)
    assert not close.done()
    go_on.set()
    await close
    assert "grid-bot" == (await create).api_key_name


async def test_aclose_does_not_wait_for_ever(
    make_client: MakeClient, sandbox: KrakenSandbox, caplog: pytest.LogCaptureFixture
) -> None:
    """A request that hangs is cut off when the bound is over; its caller gets an error, the log a line."""
    client = make_client(close_timeout=0.01)
    sandbox.faults.add(Hang())
    call = asyncio.create_task(client.delete_key("grid-bot"))
    while not sandbox.requests:
        await asyncio.sleep(0)
    await client.aclose()
    with pytest.raises(Exception, match="delete_key") as caught:
        await call
    assert "unknown" == caught.value.outcome  # type: ignore[attr-defined]  # a FastKeyError
    assert "closing cut off what was under way after 0.01 s" in caplog.text


async def test_a_read_that_waits_for_a_connection_is_not_sent_after_closing(
    make_client: MakeClient, sandbox: KrakenSandbox
) -> None:
    """Its turn comes when the client is closed, though the session is open yet."""
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=1)) as session:
        client = make_client(session=session, close_timeout=0)
        sandbox.faults.add(Hang(), operation="list_keys")
        first = asyncio.create_task(client.list_keys())
        while not sandbox.requests:
            await asyncio.sleep(0)
        second = asyncio.create_task(client.get_user_info())
        await asyncio.sleep(0)
        await client.aclose()
        first.cancel()
        with pytest.raises(ClientClosedError) as caught:
            await second
    assert "not_sent" == caught.value.outcome
    assert ["list_keys"] == [request.operation for request in sandbox.requests]


async def test_closing_ends_the_waiting_for_a_retry(
    client: FastKeyClient, sandbox: KrakenSandbox, fake_time: FakeTime
) -> None:
    """A call that waits to try again when the client closes raises why its last attempt failed."""
    sandbox.faults.add(Answer(503), times=10)
    fake_time.on_sleep = client.aclose
    with pytest.raises(Exception, match="Kraken answered 503"):
        await client.list_keys()
    assert 1 == len(sandbox.requests)


def test_a_client_belongs_to_one_event_loop() -> None:
    """In another loop it says so, instead of failing somewhere inside aiohttp."""
    client = FastKeyClient(
        StaticTokenProvider(TOKEN), base_url="http://127.0.0.1:9/oauth", retry=RetryPolicy(max_attempts=1)
    )

    async def call() -> str:
        with pytest.raises(Exception, match="list_keys") as caught:
            await client.list_keys()
        return str(caught.value)

    async def close_too() -> str:
        text = await call()
        await client.aclose()
        return text

    with asyncio.Runner() as first, asyncio.Runner() as second:
        assert "no connection to 127.0.0.1" in first.run(call())
        assert "belongs to another event loop" in second.run(call())
        assert "no connection" in first.run(close_too())


@pytest.mark.parametrize(
    ("base_url", "fault"),
    [
        ("http://api.kraken.com/oauth", "would send the access token in clear to api.kraken.com: use https"),
        ("http://localhost.evil.example/oauth", "in clear to localhost.evil.example"),
        ("http://10.0.0.1/oauth", "in clear to 10.0.0.1"),
        ("ftp://api.kraken.com/oauth", "must be an https URL"),
        ("api.kraken.com/oauth", "must be an https URL"),
        ("", "must be an https URL"),
        ("https:///oauth", "must be an https URL"),
        ("https://user:password@api.kraken.com/oauth", "must not hold credentials"),
        ("https://@api.kraken.com/oauth", "must not hold credentials"),
        ("https://api.kraken.com/oauth?x=1", "no query and no fragment"),
        ("https://api.kraken.com/oauth#x", "no query and no fragment"),
        ("https://krak\u0435n.com/oauth", "must be plain ASCII"),
        ("https://api.kraken.com\\@evil.example/", "must be plain ASCII"),
        ("https://api.kraken.com/oa uth", "must be plain ASCII"),
        ("https://api.kraken.com/\n", "must be plain ASCII"),
        ("https://api.kraken.com:99999/oauth", "is no URL"),
        ("https://[::1/oauth", "is no URL"),
        (None, "must be a str, not NoneType"),
    ],
)
def test_base_urls_that_are_refused(base_url: Any, fault: str) -> None:
    """A base URL over which the token could get lost, or that is none, is refused at once."""
    with pytest.raises(InvalidRequestError) as caught:
        FastKeyClient(StaticTokenProvider(TOKEN), base_url=base_url)
    assert fault in caught.value.faults["base_url"]


@pytest.mark.parametrize(
    "base_url",
    [
        "https://api.kraken.com/oauth",
        "https://api.vip.uat.lobster.kraken.com/oauth/",
        "http://localhost:8080/oauth",
        "http://127.0.0.1:8080/oauth",
        "http://127.1.2.3/oauth",
        "http://[::1]:8080/oauth",
    ],
)
def test_base_urls_that_are_taken(base_url: str) -> None:
    """https anywhere, and plain http to loopback, will do."""
    assert FastKeyClient(StaticTokenProvider(TOKEN), base_url=base_url)._closed is False


def test_all_wrong_arguments_are_told_at_once() -> None:
    """The client's own arguments are checked like a request's fields, and a token is not quoted."""
    with pytest.raises(InvalidRequestError) as caught:
        FastKeyClient(
            TOKEN,  # type: ignore[arg-type]  # that is the point
            base_url="http://example.com",
            session=object(),  # type: ignore[arg-type]
            retry=3,  # type: ignore[arg-type]
            timeout=0,
            on_unknown_outcome="resend",  # type: ignore[arg-type]
        )
    assert {"token_provider", "base_url", "session", "retry", "timeout", "on_unknown_outcome"} == set(
        caught.value.faults
    )
    assert "write StaticTokenProvider(...) around the token" in caught.value.faults["token_provider"]
    assert TOKEN not in str(caught.value)


@pytest.mark.parametrize("field", ["pool", "connect", "read", "total"])
@pytest.mark.parametrize("value", [0, -1, float("nan"), float("inf"), True, "5"])
def test_timeouts_are_seconds_more_than_zero(field: str, value: Any) -> None:
    """A timeout that is no number of seconds is refused by name."""
    with pytest.raises(InvalidRequestError) as caught:
        Timeouts(**{field: value})
    assert {f"timeout.{field}": "must be seconds, more than 0, or None for no bound"} == caught.value.faults


async def test_requests_of_the_wrong_class_are_refused(client: FastKeyClient, sandbox: KrakenSandbox) -> None:
    """A dict, or the other request class, is told by name before anything is sent."""
    with pytest.raises(InvalidRequestError, match="request: must be a CreateKeyRequest, not dict"):
        await client.create_key({"api_key_name": "x"})  # type: ignore[arg-type]
    with pytest.raises(InvalidRequestError, match="request: must be a UpdateKeyRequest, not CreateKeyRequest"):
        await client.update_key(CreateKeyRequest("x"))  # type: ignore[arg-type]
    with pytest.raises(InvalidRequestError, match="api_key_name: is empty"):
        await client.delete_key("")
    with pytest.raises(InvalidRequestError, match="token_provider: must have a method get_token"):
        client.for_account(None)  # type: ignore[arg-type]
    assert [] == sandbox.requests


async def test_the_user_agent_names_the_library(client: FastKeyClient, sandbox: KrakenSandbox) -> None:
    """Kraken's edge refuses requests without a User-Agent; ours says who asks."""
    await client.list_keys()
    assert sandbox.requests[0].headers["User-Agent"].startswith("kraken-fastkey/")


async def test_cookies_do_not_travel_from_one_account_to_another(client: FastKeyClient, sandbox: KrakenSandbox) -> None:
    """A cookie that the edge sets is not sent back."""
    sandbox.faults.add(Answer(200, {"result": []}, headers={"Set-Cookie": "__cf_bm=FAKE; Path=/"}))
    await client.list_keys()
    await client.for_account(StaticTokenProvider(sandbox.issue_token())).list_keys()
    assert ["Cookie" in request.headers for request in sandbox.requests] == [False, False]


async def test_the_environment_s_proxy_is_not_used(
    client: FastKeyClient, sandbox: KrakenSandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A proxy in the environment does not get to see the token."""
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    assert () == await client.list_keys()
    assert 1 == len(sandbox.requests)


async def test_warnings_of_kraken_are_logged_and_no_failure(
    client: FastKeyClient, sandbox: KrakenSandbox, caplog: pytest.LogCaptureFixture
) -> None:
    """A W string beside a result is told in the log."""
    sandbox.faults.add(Answer(200, {"error": ["WDatabase:No change"], "result": True}))
    await client.update_key(UpdateKeyRequest("grid-bot", nonce_window=1))
    assert "WDatabase:No change" in caplog.text


async def test_the_token_appears_in_no_log(
    make_client: MakeClient, sandbox: KrakenSandbox, caplog: pytest.LogCaptureFixture
) -> None:
    """Not at DEBUG, not by aiohttp, not by asyncio in debug mode, neither in success nor in failure."""
    caplog.set_level("DEBUG")
    asyncio.get_running_loop().set_debug(True)
    good, bad = sandbox.issue_token(), sandbox.issue_token(expires_in=0)
    client = make_client(CallbackTokenProvider(iter([bad, good, good, good, good, good]).__next__))
    key = await client.create_key(CreateKeyRequest("grid-bot"))
    sandbox.faults.add(Answer(502, "<html><title>Bad gateway</title></html>"))
    await client.list_keys()
    with pytest.raises(KeyNotFoundError):
        await client.delete_key("nobody")
    for secret in (good, bad, key.secret.get_secret_value()):
        assert secret not in caplog.text
    assert "attempt 1 failed with ServiceUnavailableError" in caplog.text


async def test_an_expired_token_without_another_is_an_authentication_error(
    make_client: MakeClient, sandbox: KrakenSandbox
) -> None:
    """A StaticTokenProvider whose token has expired says what to do."""
    client = make_client(StaticTokenProvider(sandbox.issue_token(expires_in=0)))
    with pytest.raises(AuthenticationError, match="StaticTokenProvider has no other: make a new one") as caught:
        await client.list_keys()
    assert ("refused", 401, 1) == (caught.value.outcome, caught.value.status, caught.value.attempts)
    assert ("invalid_token",) == caught.value.codes
