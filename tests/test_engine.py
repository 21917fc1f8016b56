"""What is tried again, what is not, and what a failure says: over real HTTP, with waits that take no time."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime
from email.utils import format_datetime
from typing import Any

import aiohttp
import pytest
from support import TOKEN, FakeTime, RecordingProvider, assert_clean

from kraken_fastkey import (
    AccessToken,
    ApiError,
    AuthenticationError,
    CallbackTokenProvider,
    CreateKeyRequest,
    FastKeyClient,
    FastKeyError,
    InvalidRequestError,
    KeyNotFoundError,
    RateLimitedError,
    ResponseFormatError,
    RetryPolicy,
    ServiceUnavailableError,
    StaticTokenProvider,
    TemporaryLockoutError,
    Timeouts,
    TokenUnavailableError,
    TransportError,
    UnknownOutcomeError,
    UpdateKeyRequest,
)
from kraken_fastkey.sandbox import Answer, Disconnect, Fault, Hang, KrakenSandbox, Truncate

MakeClient = Callable[..., FastKeyClient]

# Each leaves open whether the request was carried out.
IN_DOUBT: dict[str, Fault] = {
    "dropped before the work": Disconnect(),
    "dropped after the work": Disconnect(commit=True),
    "cut off": Truncate(5),
    "no answer": Hang(),
    "500": Answer(500),
    "502 HTML": Answer(502, "<html><head><title>Bad gateway</title></head></html>"),
    "520 after the work": Answer(520, commit=True),
    "408": Answer(408),
    "Service:Unavailable": Answer(200, {"error": ["EService:Unavailable"]}),
    "Internal error": Answer(200, {"error": ["EGeneral:Internal error"]}),
    "new to us": Answer(200, {"error": ["ENew:Never seen"]}),
    "HTML": Answer(200, "<html><head><title>Hello</title></head></html>"),
    "garbage": Answer(200, b"\x00\xff\x80"),
    "empty": Answer(200),
    "wrong types": Answer(200, {"result": {"api_key": 5, "secret": None}}),
    "redirect": Answer(302, headers={"Location": "https://evil.example/"}),
}
# Each says that nothing was done, for now.
FOR_NOW: dict[str, Fault] = {
    "429": Answer(429),
    "Rate limit": Answer(200, {"error": ["EAPI:Rate limit exceeded"]}),
    "Throttled": Answer(200, {"error": ["EService:Throttled"]}),
}
# Each says that nothing was done, and that trying again is of no use.
FOR_GOOD: dict[str, tuple[Fault, type[ApiError]]] = {
    "400": (Answer(400), ApiError),
    "403 HTML": (Answer(403, "<html><title>Attention Required!</title></html>"), ApiError),
    "lockout": (Answer(200, {"error": ["EGeneral:Temporary lockout"]}), TemporaryLockoutError),
    "lockout and rate limit": (
        Answer(429, {"error": ["EAPI:Rate limit exceeded", "EGeneral:Temporary lockout"]}),
        TemporaryLockoutError,
    ),
}


def _cases(table: dict[str, Any]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("case", table.values(), ids=table.keys())


@_cases(IN_DOUBT)
async def test_a_create_in_doubt_is_raised_if_the_caller_wants_to_decide(
    make_client: MakeClient, sandbox: KrakenSandbox, fake_time: FakeTime, case: Fault
) -> None:
    """One request, an error that names the key and says what to do, and no wait."""
    client = make_client(timeout=Timeouts(read=0.05), on_unknown_outcome="raise")
    sandbox.faults.add(case)
    with pytest.raises(UnknownOutcomeError, match="the key 'grid-bot' may have been created: if list_keys") as caught:
        await client.create_key(CreateKeyRequest("grid-bot"))
    assert 1 == len(sandbox.requests)
    assert [] == fake_time.sleeps
    assert ("grid-bot", "create_key", 1, "unknown") == (
        caught.value.api_key_name,
        caught.value.operation,
        caught.value.attempts,
        caught.value.outcome,
    )
    assert isinstance(caught.value.__cause__, (TransportError, ResponseFormatError, ApiError))
    assert_clean(caught.value)


@_cases(IN_DOUBT)
async def test_an_update_in_doubt_is_raised_if_the_caller_wants_to_decide(
    make_client: MakeClient, sandbox: KrakenSandbox, case: Fault
) -> None:
    """An update is not repeated either: a rename that was done would not find its key."""
    client = make_client(timeout=Timeouts(read=0.05), on_unknown_outcome="raise")
    await client.create_key(CreateKeyRequest("grid-bot"))
    sandbox.faults.add(case)
    with pytest.raises(UnknownOutcomeError, match="the key 'grid-bot' may have been changed: see in list_keys"):
        await client.update_key(UpdateKeyRequest("grid-bot", new_api_key_name="trend-bot"))
    assert 2 == len(sandbox.requests)


@_cases(IN_DOUBT)
async def test_a_read_in_doubt_is_sent_again(make_client: MakeClient, sandbox: KrakenSandbox, case: Fault) -> None:
    """Reading twice does no harm."""
    client = make_client(timeout=Timeouts(read=0.05))
    sandbox.faults.add(case, times=3)
    assert () == await client.list_keys()
    assert 4 == len(sandbox.requests)


@_cases(IN_DOUBT)
async def test_a_delete_in_doubt_is_sent_again_until_the_key_is_gone(
    make_client: MakeClient, sandbox: KrakenSandbox, case: Fault
) -> None:
    """If the first attempt had deleted it, the second finds nothing, and that is success."""
    client = make_client(timeout=Timeouts(read=0.05))
    await client.create_key(CreateKeyRequest("grid-bot"))
    sandbox.faults.add(case)
    await client.delete_key("grid-bot")
    assert () == sandbox.keys()
    assert 3 == len(sandbox.requests)


async def test_a_plain_404_after_a_delete_in_doubt_is_success(client: FastKeyClient, sandbox: KrakenSandbox) -> None:
    """The same where the server says it with a status alone; without a doubt before, it is an error."""
    sandbox.faults.add(Answer(404))
    with pytest.raises(ApiError, match="check base_url"):
        await client.delete_key("grid-bot")
    sandbox.faults.add(Answer(500))
    sandbox.faults.add(Answer(404))
    await client.delete_key("grid-bot")


async def test_a_delete_that_stays_in_doubt_says_so(client: FastKeyClient, sandbox: KrakenSandbox) -> None:
    """Even if the last attempt was refused, an earlier one may have been carried out."""
    sandbox.faults.add(Answer(503))
    sandbox.faults.add(Answer(403))
    with pytest.raises(ApiError) as caught:
        await client.delete_key("grid-bot")
    assert ("unknown", 2, 403) == (caught.value.outcome, caught.value.attempts, caught.value.status)


@_cases(FOR_NOW)
@pytest.mark.parametrize("operation", ["create_key", "update_key", "delete_key", "list_keys"])
async def test_what_was_refused_for_now_is_sent_again(
    client: FastKeyClient, sandbox: KrakenSandbox, fake_time: FakeTime, case: Fault, operation: str
) -> None:
    """Too many requests means that nothing was done: each call waits and tries again."""
    if operation in {"update_key", "delete_key"}:
        await client.create_key(CreateKeyRequest("grid-bot"))
    sandbox.requests.clear()
    sandbox.faults.add(case, times=3)
    await {
        "create_key": lambda: client.create_key(CreateKeyRequest("grid-bot")),
        "update_key": lambda: client.update_key(UpdateKeyRequest("grid-bot", nonce_window=5)),
        "delete_key": lambda: client.delete_key("grid-bot"),
        "list_keys": client.list_keys,
    }[operation]()
    assert [operation] * 4 == [request.operation for request in sandbox.requests]
    assert [0.25, 0.5, 1.0] == fake_time.sleeps


@_cases(FOR_NOW)
async def test_what_stays_refused_is_raised(client: FastKeyClient, sandbox: KrakenSandbox, case: Fault) -> None:
    """After max_attempts the last refusal is raised, and says that nothing was done."""
    sandbox.faults.add(case, times=9)
    with pytest.raises(RateLimitedError) as caught:
        await client.create_key(CreateKeyRequest("grid-bot"))
    assert ("refused", 4) == (caught.value.outcome, caught.value.attempts)
    assert "(4 attempts)" in str(caught.value)
    assert () == sandbox.keys()


@_cases(FOR_GOOD)
@pytest.mark.parametrize("operation", ["create_key", "list_keys"])
async def test_what_was_refused_for_good_is_raised_at_once(
    client: FastKeyClient, sandbox: KrakenSandbox, case: tuple[Fault, type[ApiError]], operation: str
) -> None:
    """What waiting does not mend, a lockout before all, is not tried again."""
    fault, expected = case
    sandbox.faults.add(fault)
    with pytest.raises(expected) as caught:
        await (client.create_key(CreateKeyRequest("x")) if operation == "create_key" else client.list_keys())
    assert "refused" == caught.value.outcome
    assert 1 == len(sandbox.requests)


async def test_a_request_that_was_not_sent_is_sent_when_the_server_is_back(
    make_client: MakeClient, fake_time: FakeTime
) -> None:
    """A refused connection means that nothing was done: even a create is tried again."""
    sandbox = KrakenSandbox()
    await sandbox.start()
    token = sandbox.issue_token()
    await sandbox.aclose()
    client = make_client(StaticTokenProvider(token), base_url=sandbox.base_url)

    async def come_back() -> None:
        if len(fake_time.sleeps) == 2:
            await sandbox.start()

    fake_time.on_sleep = come_back
    try:
        key = await client.create_key(CreateKeyRequest("grid-bot"))
        assert ["grid-bot"] == [held.api_key_name for held in sandbox.keys()]
        assert 2 == len(fake_time.sleeps)
        assert key.secret
    finally:
        await client.aclose()
        await sandbox.aclose()


async def test_a_server_that_stays_away_is_a_transport_error(make_client: MakeClient, fake_time: FakeTime) -> None:
    """Nothing was sent, and the error says so, without aiohttp's exception on it."""
    client = make_client(StaticTokenProvider(TOKEN), base_url="http://127.0.0.1:9/oauth")
    with pytest.raises(TransportError, match="no connection to 127.0.0.1: .* Nothing was sent") as caught:
        await client.create_key(CreateKeyRequest("grid-bot"))
    assert ("not_sent", 4, None) == (caught.value.outcome, caught.value.attempts, caught.value.status)
    assert 3 == len(fake_time.sleeps)
    assert_clean(caught.value)


@pytest.mark.parametrize(
    ("retry_after", "wait"),
    [
        ("7", 7.0),
        ("60", 60.0),
        ("0", 0.25),
        ("-5", 0.25),
        ("soon", 0.25),
        (format_datetime(datetime.fromtimestamp(1_800_000_009, UTC), usegmt=True), 9.0),
        (format_datetime(datetime.fromtimestamp(1_700_000_000, UTC), usegmt=True), 0.25),
    ],
)
async def test_retry_after_is_honoured(fake_time: FakeTime, retry_after: str, wait: float) -> None:
    """The wait is what Kraken asks, in seconds or by a date; what makes no sense is passed over."""
    async with KrakenSandbox(clock=fake_time.time) as sandbox:
        async with FastKeyClient(
            StaticTokenProvider(sandbox.issue_token()), base_url=sandbox.base_url, _runtime=fake_time.runtime
        ) as client:
            sandbox.faults.add(Answer(429, headers={"Retry-After": retry_after}))
            await client.list_keys()
    assert [wait] == fake_time.sleeps


async def test_an_absurd_retry_after_is_raised_at_once(
    client: FastKeyClient, sandbox: KrakenSandbox, fake_time: FakeTime
) -> None:
    """Nobody waits for a day: the error tells how long it would have been."""
    sandbox.faults.add(Answer(429, headers={"Retry-After": "86400"}))
    with pytest.raises(RateLimitedError) as caught:
        await client.create_key(CreateKeyRequest("grid-bot"))
    assert 86_400 == caught.value.retry_after
    assert [] == fake_time.sleeps


async def test_no_wait_goes_past_the_deadline(
    make_client: MakeClient, sandbox: KrakenSandbox, fake_time: FakeTime
) -> None:
    """The last wait is one that still leaves time to try."""
    client = make_client(retry=RetryPolicy(max_attempts=100, deadline=20.0))
    sandbox.faults.add(Answer(429, headers={"Retry-After": "6"}), times=100)
    with pytest.raises(RateLimitedError) as caught:
        await client.list_keys()
    assert [6.0, 6.0, 6.0] == fake_time.sleeps
    assert 4 == caught.value.attempts


async def test_an_attempt_ends_at_the_deadline(make_client: MakeClient, sandbox: KrakenSandbox) -> None:
    """A server that never answers is given up when the call's time is over, whatever the timeouts say."""
    client = make_client(retry=RetryPolicy(deadline=0.05), timeout=Timeouts(read=None, total=None))
    sandbox.faults.add(Hang(), times=9)
    with pytest.raises(TransportError, match="no answer in the time allowed") as caught:
        await client.list_keys()
    assert "unknown" == caught.value.outcome


async def test_without_a_deadline_only_the_timeouts_count(make_client: MakeClient, sandbox: KrakenSandbox) -> None:
    """No deadline, no bound over all: each attempt still has its own."""
    client = make_client(retry=RetryPolicy(deadline=None, max_attempts=2), timeout=0.05)
    sandbox.faults.add(Hang(), times=2)
    with pytest.raises(TransportError):
        await client.list_keys()
    assert 2 == len(sandbox.requests)


async def test_a_token_provider_that_takes_too_long_meets_the_deadline(make_client: MakeClient) -> None:
    """The deadline covers the wait for a token; nothing was sent."""

    async def never() -> str:
        await asyncio.Event().wait()
        raise AssertionError

    client = make_client(CallbackTokenProvider(never), retry=RetryPolicy(deadline=0.02))
    with pytest.raises(TokenUnavailableError, match="had no access token within the call's deadline") as caught:
        await client.list_keys()
    assert ("not_sent", 0) == (caught.value.outcome, caught.value.attempts)


async def test_a_deadline_that_passes_before_the_request_sends_nothing(
    make_client: MakeClient, sandbox: KrakenSandbox, fake_time: FakeTime
) -> None:
    """A request with no time left could only end in doubt, so it does not go out."""
    token = sandbox.issue_token()

    def slow() -> str:
        fake_time.now += 121
        return token

    with pytest.raises(TransportError, match="deadline passed before the request was sent") as caught:
        await make_client(CallbackTokenProvider(slow)).create_key(CreateKeyRequest("grid-bot"))
    assert ("not_sent", 0) == (caught.value.outcome, caught.value.attempts)
    assert [] == sandbox.requests


async def test_a_deadline_that_passes_between_attempts_raises_why_the_last_one_failed(
    make_client: MakeClient, sandbox: KrakenSandbox, fake_time: FakeTime
) -> None:
    """The reason to try again is not hidden by the want of time."""
    sandbox.faults.add(Answer(429))
    token = sandbox.issue_token()

    def slow() -> str:
        fake_time.now += 60
        return token

    client = make_client(CallbackTokenProvider(slow), retry=RetryPolicy(deadline=100.0))
    with pytest.raises(RateLimitedError):
        await client.create_key(CreateKeyRequest("grid-bot"))
    assert 1 == len(sandbox.requests)


async def test_the_policy_s_last_word_counts(make_client: MakeClient, sandbox: KrakenSandbox) -> None:
    """retry_if may raise what would be tried again, and sees the error."""
    seen: list[FastKeyError] = []

    def not_busy(error: FastKeyError) -> bool:
        seen.append(error)
        return "EService:Busy" not in error.codes

    client = make_client(retry=RetryPolicy(retry_if=not_busy))
    sandbox.faults.add(Answer(503, {"error": ["EService:Busy"]}))
    with pytest.raises(ServiceUnavailableError) as caught:
        await client.list_keys()
    assert [caught.value] == seen


async def test_an_outage_is_not_multiplied(make_client: MakeClient, sandbox: KrakenSandbox) -> None:
    """A thousand calls during an outage send no more retries than the budget holds; after it, calls succeed."""
    client = make_client(retry=RetryPolicy(budget=50))
    sandbox.faults.add(Answer(503), times=100_000)
    results = await asyncio.gather(*(client.list_keys() for _ in range(1000)), return_exceptions=True)
    assert {ServiceUnavailableError} == {type(result) for result in results}
    assert 1000 <= len(sandbox.requests) <= 1100
    sandbox.faults.clear()
    assert () == await client.list_keys()


async def test_accounts_share_the_budget(make_client: MakeClient, sandbox: KrakenSandbox) -> None:
    """What one account's calls have used up, another's cannot use."""
    client = make_client(retry=RetryPolicy(budget=3))
    sandbox.faults.add(Answer(503), times=100)
    for _ in range(2):
        account = client.for_account(StaticTokenProvider(sandbox.issue_token()))
        with pytest.raises(ServiceUnavailableError):
            await account.list_keys()
    assert 5 == len(sandbox.requests)


async def test_a_401_asks_the_provider_once_and_goes_on(make_client: MakeClient, sandbox: KrakenSandbox) -> None:
    """The refused token is shown to the provider, and the request goes out again with the new one."""
    expired, good = sandbox.issue_token(expires_in=0), sandbox.issue_token()
    provider = RecordingProvider(expired, good)
    client = make_client(provider)
    key = await client.create_key(CreateKeyRequest("grid-bot"))
    assert [None, expired] == provider.asked
    assert [401, 200] == [request.status for request in sandbox.requests]
    assert key.secret


async def test_the_repeat_after_a_401_is_not_a_retry(make_client: MakeClient, sandbox: KrakenSandbox) -> None:
    """Even a policy of one attempt gets its fresh token."""
    provider = RecordingProvider(sandbox.issue_token(expires_in=0), sandbox.issue_token())
    client = make_client(provider, retry=RetryPolicy(max_attempts=1, budget=0))
    assert () == await client.list_keys()


async def test_each_distinct_token_is_rejected_once(make_client: MakeClient, sandbox: KrakenSandbox) -> None:
    """A token rotated away under way is one more; a provider whose tokens are all bad is not asked for ever."""
    bad = [sandbox.issue_token(expires_in=0) for _ in range(9)]
    provider = RecordingProvider(*bad[:2], sandbox.issue_token())
    assert () == await make_client(provider).list_keys()
    assert [None, *bad[:2]] == provider.asked
    hopeless = RecordingProvider(*bad)
    with pytest.raises(AuthenticationError, match="Get a new access token") as caught:
        await make_client(hopeless).list_keys()
    assert [None, *bad[:3]] == hopeless.asked
    assert 4 == caught.value.attempts


async def test_a_provider_that_returns_the_refused_token_ends_the_call(
    make_client: MakeClient, sandbox: KrakenSandbox
) -> None:
    """The same token is not sent twice, and the error has Kraken's words."""
    provider = RecordingProvider(sandbox.issue_token(expires_in=0))
    with pytest.raises(AuthenticationError, match="RecordingProvider returned it again") as caught:
        await make_client(provider).list_keys()
    assert 1 == len(sandbox.requests)
    assert (401, ("invalid_token",), "refused") == (caught.value.status, caught.value.codes, caught.value.outcome)


async def test_a_hundred_calls_with_a_refused_token_ask_once_each(
    make_client: MakeClient, sandbox: KrakenSandbox
) -> None:
    """Each call under way shows the refused token once, and none fails."""
    expired = sandbox.issue_token(expires_in=0)
    provider = RecordingProvider(expired, sandbox.issue_token())
    client = make_client(provider)
    assert [()] * 100 == await asyncio.gather(*(client.list_keys() for _ in range(100)))
    assert [None] * 100 + [expired] * 100 == sorted(provider.asked, key=bool)


async def test_an_invalid_session_is_a_refused_token(make_client: MakeClient, sandbox: KrakenSandbox) -> None:
    """Kraken's own words for it, with status 200, do the same as a 401."""
    first, second = sandbox.issue_token(), sandbox.issue_token()
    provider = RecordingProvider(first, second)
    sandbox.faults.add(Answer(200, {"error": ["ESession:Invalid session"]}))
    assert () == await make_client(provider).list_keys()
    assert [None, first] == provider.asked


async def test_a_create_refused_with_a_5xx_is_not_sent_again_with_a_new_token(
    make_client: MakeClient, sandbox: KrakenSandbox
) -> None:
    """Whatever the words: a 5xx leaves it open whether the key was made."""
    provider = RecordingProvider(sandbox.issue_token(), sandbox.issue_token())
    sandbox.faults.add(Answer(500, {"error": ["ESession:Invalid session"]}, commit=True))
    with pytest.raises(UnknownOutcomeError):
        await make_client(provider, on_unknown_outcome="raise").create_key(CreateKeyRequest("grid-bot"))
    assert 1 == len(sandbox.requests)


async def test_an_invalid_api_key_is_no_reason_to_ask_for_a_token(
    make_client: MakeClient, sandbox: KrakenSandbox
) -> None:
    """Where another token would not help, the provider is not asked for one."""
    provider = RecordingProvider(sandbox.issue_token(), sandbox.issue_token())
    sandbox.faults.add(Answer(200, {"error": ["EAPI:Invalid key"]}))
    with pytest.raises(AuthenticationError) as caught:
        await make_client(provider).list_keys()
    assert [None] == provider.asked
    assert caught.value.token_rejected is False


async def test_each_attempt_asks_for_the_token_anew(make_client: MakeClient, sandbox: KrakenSandbox) -> None:
    """A token rotated during the wait is picked up."""
    tokens = [sandbox.issue_token(), sandbox.issue_token()]
    sandbox.faults.add(Answer(429))
    await make_client(CallbackTokenProvider(iter(tokens).__next__)).list_keys()
    assert [f"Bearer {token}" for token in tokens] == [request.headers["Authorization"] for request in sandbox.requests]


class _FailingProvider:
    def __init__(self, error: BaseException) -> None:
        self._error = error

    async def get_token(self, *, rejected: AccessToken | None = None) -> AccessToken:
        del rejected
        raise self._error


async def test_a_provider_s_own_exception_is_the_cause(make_client: MakeClient) -> None:
    """A user's vault may fail in any way: one class to catch, with the way it failed on it."""
    vault_error = KeyError("vault is sealed")
    with pytest.raises(TokenUnavailableError, match="_FailingProvider raised KeyError: see to what it calls") as caught:
        await make_client(_FailingProvider(vault_error)).list_keys()
    assert vault_error is caught.value.__cause__
    assert ("list_keys", 0, "not_sent") == (caught.value.operation, caught.value.attempts, caught.value.outcome)


async def test_a_provider_s_fast_key_error_goes_through(make_client: MakeClient) -> None:
    """An error of this library's own keeps its class, and learns which call it was."""
    error = InvalidRequestError({"token": "is empty"})
    with pytest.raises(InvalidRequestError, match="list_keys: token: is empty"):
        await make_client(_FailingProvider(error)).list_keys()


async def test_a_provider_s_aiohttp_exception_is_kept_off(make_client: MakeClient, sandbox: KrakenSandbox) -> None:
    """aiohttp's exceptions hold the headers that were sent, so none becomes the cause, not even far down."""

    async def ask_a_vault() -> str:
        try:
            async with (
                aiohttp.ClientSession(headers={"Authorization": TOKEN}, raise_for_status=True) as session,
                session.get(sandbox.base_url),
            ):
                raise AssertionError
        except aiohttp.ClientResponseError as error:
            raise RuntimeError("vault") from error

    with pytest.raises(TokenUnavailableError, match="CallbackTokenProvider raised RuntimeError") as caught:
        await make_client(CallbackTokenProvider(ask_a_vault)).list_keys()
    assert caught.value.__cause__ is None
    assert_clean(caught.value)


async def test_a_provider_that_returns_no_access_token_is_told(make_client: MakeClient) -> None:
    """A str in place of an AccessToken is named by its type, not by its value."""

    class Sloppy:
        async def get_token(self, *, rejected: object = None) -> str:
            del rejected
            return TOKEN

    with pytest.raises(TokenUnavailableError, match="must return an AccessToken, and returned a str") as caught:
        await make_client(Sloppy()).list_keys()
    assert_clean(caught.value)


async def test_a_cancelled_provider_stays_cancelled(make_client: MakeClient) -> None:
    """A cancellation is no failure of the provider."""
    with pytest.raises(asyncio.CancelledError):
        await make_client(_FailingProvider(asyncio.CancelledError())).list_keys()


async def test_a_provider_that_fails_after_a_doubt_keeps_the_doubt(
    make_client: MakeClient, sandbox: KrakenSandbox
) -> None:
    """A delete whose first answer was lost, and whose second attempt has no token, may have deleted."""
    tokens = iter([sandbox.issue_token()])

    def next_token() -> str:
        for token in tokens:
            return token
        raise LookupError

    sandbox.faults.add(Answer(503))
    with pytest.raises(TokenUnavailableError) as caught:
        await make_client(CallbackTokenProvider(next_token)).delete_key("grid-bot")
    assert ("unknown", 1, 503) == (caught.value.outcome, caught.value.attempts, caught.value.status)


async def test_key_not_found_at_the_first_attempt_is_an_error(client: FastKeyClient) -> None:
    """Without a doubt before, a key that is not there is told."""
    with pytest.raises(KeyNotFoundError) as caught:
        await client.delete_key("nobody")
    assert ("refused", 1) == (caught.value.outcome, caught.value.attempts)
