"""Whatever comes in, nothing but results and FastKeyError comes out; what fuzzing has found stays mended.

The environment variable FUZZ_ANSWERS says how many answers, FUZZ_SEED of which seed: `nox -s fuzz` runs a million.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import json
import logging
import os
import re
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any, Final

import aiohttp
import attrs
import fuzzing
import pytest
from fuzzing import (
    ACCESS,
    OAUTH,
    OPERATIONS,
    REFRESH,
    BrokenPromiseError,
    Fuzzer,
    Report,
    check_callback,
    check_record,
    run_shard,
    shards,
    try_answer,
)
from hypothesis import given, settings, strategies as st
from strategies import (
    CALLS,
    NOW,
    SECRET,
    answer,
    completenesses,
    created,
    headers,
    json_values,
    mutated_answers,
    statuses,
)
from support import TOKEN, FakeTime, RawServer, assert_clean

from kraken_fastkey import (
    CreateKeyRequest,
    FastKeyClient,
    FastKeyError,
    InvalidRequestError,
    OAuthError,
    ResponseFormatError,
    RetryPolicy,
    StaticTokenProvider,
    Timeouts,
    UpdateKeyRequest,
)
from kraken_fastkey._wire import Success, WireResponse, answers, excerpt, read_answer
from kraken_fastkey._wire.http import MAX_ANSWER_BYTES
from kraken_fastkey.sandbox import KrakenSandbox

SEED: Final = int(os.environ.get("FUZZ_SEED", "1"))
ANSWERS: Final = int(os.environ.get("FUZZ_ANSWERS", "50000"))
CALLBACKS: Final = 20_000
RECORDS: Final = 20_000
SOCKET_ANSWERS: Final = 2_000
SOCKET_REQUESTS: Final = 2_000

# ---------------------------------------------------------------- volume


def test_fuzzed_answers() -> None:
    """Of fifty thousand answers each gives a result or a FastKeyError that keeps every promise, and soon."""
    report = Report()
    for shard in shards(SEED, ANSWERS):
        report.add(run_shard(*shard))
    print(f"seed {SEED}: {report}")
    assert ANSWERS == report.kinds.total()
    if ANSWERS >= 50_000:
        assert {f"{operation}: result" for operation in OPERATIONS} <= set(report.kinds)
        assert {"RateLimitedError", "TemporaryLockoutError", "ReauthorizationRequiredError"} <= set(report.kinds)


def test_fuzzing_is_repeatable() -> None:
    """A seed makes the same answers again, and another seed others."""

    def hundred(seed: str) -> list[tuple[object, ...]]:
        fuzzer = Fuzzer(seed)
        return [(call, *attrs.astuple(answer)) for call, answer in (fuzzer.answer() for _ in range(100))]

    assert hundred("1:0") == hundred("1:0")
    assert hundred("1:0") != hundred("1:1")


def _raise(*_: object) -> Any:
    raise IndexError


def _say_all(body: bytes, _: str) -> str:
    return body[:200].decode("ascii", "replace")


def _refuse_nothing(*_: object) -> None:
    return None


@pytest.mark.parametrize(
    ("place", "name", "planted", "promise"),
    [
        (answers, "parse_retry_after", _raise, "IndexError"),
        (answers, "excerpt", _say_all, "shows a secret"),
        (answers, "judge", _refuse_nothing, "a success of an answer that is none|a success that Kraken calls an error"),
        (answers, "is_warning", lambda _: False, "a good answer was lost"),
        (answers, "masked_line", lambda text: text, "the message is not printable|the message has|shows a secret"),
        (excerpt, "_TITLE_READ", 10_000, "Exceeds the limit"),
    ],
)
def test_planted_faults_are_found(
    monkeypatch: pytest.MonkeyPatch, place: Any, name: str, planted: Any, promise: str
) -> None:
    """The fuzzer finds a fault that somebody makes, and says which answer shows it."""
    monkeypatch.setattr(place, name, planted)
    with pytest.raises(BrokenPromiseError, match=f"(?s)({promise}).* of try_answer.*WireResponse"):
        run_shard(1, 0, 50_000)


# ---------------------------------------------------------------- depth


_bodies: Final = st.one_of(
    st.binary(max_size=300),
    json_values.map(lambda value: json.dumps(value).encode()),
    st.fixed_dictionaries(
        {"result": json_values}, optional={"error": json_values, "error_description": json_values}
    ).map(lambda value: json.dumps(value).encode()),
    mutated_answers().map(lambda value: json.dumps(value).encode()),
    st.dictionaries(
        st.sampled_from(["access_token", "refresh_token", "token_type", "expires_in", "scope", "error"]),
        json_values | st.just(ACCESS),
    ).map(lambda value: json.dumps(value).encode()),
)


@settings(max_examples=2000)
@given(st.sampled_from(OPERATIONS), st.just(200) | statuses | st.integers(), headers, _bodies, completenesses)
def test_any_answer(operation: str, status: int, fields: dict[str, str], body: bytes, completeness: Any) -> None:
    """Of any answer at all the same holds; what breaks it is shrunk to the least."""
    with fuzzing.quiet():
        assert try_answer(operation, WireResponse(status, fields, body, completeness))


@settings(max_examples=1000)
@given(text=st.text(max_size=100), code=st.text(max_size=30), whole=st.booleans())
def test_any_callback(text: str, code: str, *, whole: bool) -> None:
    """Of any address that a browser may come back to the same holds."""
    request = OAUTH.authorization_request()
    url = f"http://127.0.0.1/?state={request.state}&code={code}&{text}" if whole else text
    assert check_callback(OAUTH, url, request)


# ---------------------------------------------------------------- other parsers


def test_fuzzed_callbacks() -> None:
    """A callback gives its code if its state is this login's to the letter, and else an OAuthError."""
    fuzzer = Fuzzer(f"{SEED}:callbacks")
    request = OAUTH.authorization_request()
    kinds = Counter(check_callback(OAUTH, fuzzer.callback(request), request) for _ in range(CALLBACKS))
    print(f"{CALLBACKS:,} fuzzed callbacks: {kinds.most_common(8)}")
    assert CALLBACKS // 20 < kinds["code"] < CALLBACKS // 2


@pytest.mark.parametrize("url", [None, 5, b"http://127.0.0.1/?code=x", b"\xff", [], {}, object(), ("a", "b")])
def test_callback_that_is_no_text(url: object) -> None:
    """What is not even text is refused like any other."""
    assert "code" != check_callback(OAUTH, url, OAUTH.authorization_request())


def test_fuzzed_records() -> None:
    """What a store holds is a grant, or a StoreError that shows no token."""
    fuzzer = Fuzzer(f"{SEED}:records")
    kinds = Counter(check_record(fuzzer.record()) for _ in range(RECORDS))
    print(f"{RECORDS:,} fuzzed records: {kinds}")
    assert {"grant", "StoreError"} == set(kinds)


# ---------------------------------------------------------------- large answers


def _filled(start: bytes, part: bytes, end: bytes) -> bytes:
    return start + part * ((MAX_ANSWER_BYTES - len(start) - len(end)) // len(part)) + end


LARGE: Final[dict[str, bytes]] = {
    "errors": _filled(b'{"error":[', b'"E",', b'"E"]}'),
    "errors that are no text": _filled(b'{"error":[', b"1,", b"1]}"),
    "warnings": _filled(b'{"error":[', b'"WA:x",', b'"WA:x"]}'),
    "a long error": _filled(b'{"error":["W', b"A", b'"]}'),
    "keys that are none": _filled(b'{"result":[', b"1,", b"1]}"),
    "keys without a name": _filled(b'{"result":[', b"{},", b"{}]}"),
    "keys": _filled(b'{"result":[', b'{"api_key_name":"a"},', b'{"api_key_name":"a"}]}'),
    "entries that are none": _filled(b'{"result":{"api_key":"a","secret":"s","ip_allowlist":[', b"1,", b"1]}}"),
    "flags": _filled(b'{"result":{"api_key":"a","secret":"s","permissions":{', b'"a b":1,', b'"c":1}}}'),
    "titles": _filled(b"", b"<title>", b""),
    "titles that do not end": _filled(b"", b"<title ", b""),
    "quotes": _filled(b"", b'"', b""),
    "backslashes": _filled(b'"', b"\\", b""),
    "brackets": _filled(b"", b"[", b""),
    "fields of a form": _filled(b"a=b", b"&a=b", b""),
    "entities": _filled(b"<title>", b"&#1", b"</title>"),
}


@pytest.mark.parametrize("operation", ["create_key", "list_keys", "refresh"])
@pytest.mark.parametrize("body", LARGE.values(), ids=LARGE)
def test_large_answers_do_not_hold_the_event_loop_up(operation: str, body: bytes) -> None:
    """However a mebibyte is filled, it is read in the time that its JSON takes, not in that of a thousand faults."""
    started = time.thread_time()
    with fuzzing.quiet():
        try_answer(operation, WireResponse(200 if body[:1] == b"{" else 502, {"content-type": "text/html"}, body))
    taken = time.thread_time() - started
    print(f"{taken * 1000:.0f} ms")
    assert taken < 5


# ---------------------------------------------------------------- over sockets


def _open_descriptors() -> int:
    """Count the open files and sockets of this process, where the system tells them."""
    folder = Path("/proc/self/fd")
    return len(list(folder.iterdir())) if folder.exists() else 0


@pytest.fixture(name="alarms")
async def _alarms(caplog: pytest.LogCaptureFixture) -> AsyncIterator[list[Any]]:
    """Note what the event loop complains of; check in the end that no socket is left, and no exception in the log."""
    found: list[Any] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: found.append(context))
    before = _open_descriptors()
    yield found
    for _ in range(100):
        gc.collect()  # a task that failed unseen says so when it goes
        await asyncio.sleep(0.01)
        if _open_descriptors() <= before:
            break
    assert _open_descriptors() <= before
    assert [] == found
    loud = [record for record in caplog.records if record.levelno >= logging.WARNING]
    assert [] == [record for record in loud if record.name != "kraken_fastkey" and not _is_told(record)]


def _is_told(record: logging.LogRecord) -> bool:
    """Tell whether it is of a request that is no HTTP, which aiohttp answers with 400, and logs with its traceback."""
    error = record.exc_info[1] if record.exc_info else None
    return isinstance(error, aiohttp.http_exceptions.HttpProcessingError) and 400 <= error.code < 500


def _calls_of(client: FastKeyClient) -> list[Callable[[], Any]]:
    return [
        lambda: client.create_key(CreateKeyRequest("grid-bot")),
        lambda: client.update_key(UpdateKeyRequest("grid-bot", nonce_window=5)),
        lambda: client.delete_key("grid-bot"),
        client.list_keys,
        client.get_user_info,
    ]


async def _kind_of(call: Callable[[], Any]) -> str:
    """Make a call, and return what came of it."""
    error: FastKeyError | None = None
    try:
        await call()
    except FastKeyError as raised:
        error = raised
    if error is None:
        return "result"
    assert str(error).isprintable()
    assert_clean(error)
    return f"{type(error).__name__}, {error.outcome}"


async def test_fuzzed_answers_over_sockets(alarms: list[Any]) -> None:
    """Broken HTTP gives results and errors of ours, too; no warning, no lost task, no open socket comes of it."""
    fuzzer = Fuzzer(f"{SEED}:http")
    kinds: Counter[str] = Counter()
    left = [fuzzer.http_answer() for _ in range(SOCKET_ANSWERS)]

    async def handle(server: RawServer, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await server.read_request(reader)
        server.requests.clear()
        writer.write(left.pop() if left else b"")
        await writer.drain()

    async with RawServer(handle).listening() as server:
        client = FastKeyClient(
            StaticTokenProvider(TOKEN),
            base_url=server.base_url,
            retry=RetryPolicy(max_attempts=1),
            timeout=Timeouts(read=5),
            on_unknown_outcome="raise",
            _runtime=FakeTime().runtime,
        )

        async def call_in_turn(start: int) -> None:
            calls = _calls_of(client)
            for number in range(start, start + SOCKET_ANSWERS // 20):
                kinds[await _kind_of(calls[number % len(calls)])] += 1

        async with client:
            await asyncio.gather(*(call_in_turn(start) for start in range(20)))
    print(f"{kinds.total():,} fuzzed answers over sockets: {kinds.most_common()}")
    assert SOCKET_ANSWERS == kinds.total()
    assert {"result", "TransportError, unknown", "ResponseFormatError, unknown"} <= set(kinds)
    assert [] == alarms


async def _told_by(host: str, port: str, request: bytes) -> bytes:
    """Send bytes, and return all that comes back; a request that is not complete is ended after a silence."""
    reader, writer = await asyncio.open_connection(host, int(port))
    told = b""
    with contextlib.suppress(ConnectionError):  # closed before all of it was read
        writer.write(request)
        try:
            while piece := await asyncio.wait_for(reader.read(65_536), 0.1):
                told += piece
        except TimeoutError:
            writer.write_eof()
            told += await asyncio.wait_for(reader.read(), 10)
    writer.close()
    return told


async def test_fuzzed_requests_to_the_sandbox(sandbox: KrakenSandbox, alarms: list[Any]) -> None:
    """Whatever bytes reach the sandbox, it answers with no 5xx, or closes, and no exception is logged."""
    fuzzer = Fuzzer(f"{SEED}:requests")
    host, port = sandbox.base_url.removeprefix("http://").partition("/")[0].split(":")
    token = sandbox.issue_token(expires_in=1e9)
    good = [b"Host: " + host.encode(), b"Authorization: Bearer " + token.encode(), b"Connection: close"]
    left = [fuzzer.http_request(good) for _ in range(SOCKET_REQUESTS)]
    kinds: Counter[str] = Counter()

    async def send_in_turn() -> None:
        while left:
            request = left.pop()
            told = await _told_by(host, port, request)
            first = re.match(rb"HTTP/\d\.\d (\d{3}) ", told)
            assert first or not told, (request, told)
            assert not re.search(rb"HTTP/\d\.\d 5\d\d ", told), (request, told)
            kinds[first[1].decode() if first else "closed"] += 1

    await asyncio.gather(*(send_in_turn() for _ in range(50)))
    print(f"{SOCKET_REQUESTS:,} fuzzed requests: {kinds.most_common()}")
    assert {"200", "400", "404", "closed"} <= set(kinds)
    while sandbox.open_connections:
        await asyncio.sleep(0.01)
    reached = {entry.operation for entry in sandbox.requests if entry.status == 200}
    assert {"create_key", "delete_key", "list_keys", "get_user_info"} <= reached
    assert [] == alarms


# ---------------------------------------------------------------- what fuzzing has found


@pytest.mark.parametrize("operation", OPERATIONS)
def test_title_with_a_character_of_many_digits(operation: str) -> None:
    """`html.unescape` fails at a character's number that int() does not take; the page is an error all the same."""
    page = answer(b"<title>&#" + b"1" * 5000 + b";</title>", 502, {"content-type": "text/html"})
    assert "ServiceUnavailableError" == try_answer(operation, page)


@pytest.mark.parametrize("name", [5, ["x"], {"x": 1}, True, 0.5])
def test_odd_name_costs_no_secret(name: object) -> None:
    """A created key's name is known, so one of a wrong type is kept as it came, and the secret is not lost."""
    read = read_answer(CALLS["create_key"], answer({"result": created(api_key_name=name)}), NOW)
    assert isinstance(read, Success)
    assert (SECRET, "grid-bot") == (read.value.secret.get_secret_value(), read.value.api_key_name)
    assert {"api_key_name": name} == read.value.unknown


@pytest.mark.parametrize("operation", CALLS)
@pytest.mark.parametrize("status", [400, 401, 403, 404, 409, 418, 422, 429])
def test_refusal_with_a_result_is_unknown(operation: str, status: int) -> None:
    """A status that refuses, beside a result, leaves open what was done: a create must not be sent again."""
    error = read_answer(CALLS[operation], answer({"result": created()}, status), NOW)
    assert isinstance(error, FastKeyError)
    assert "unknown" == error.outcome


@pytest.mark.parametrize("status", [200, 400, 401, 429])
@pytest.mark.parametrize("code", [{}, {"error": "invalid_grant"}, {"error": "invalid_client"}, {"error": "slow_down"}])
def test_refusal_with_tokens_is_unknown(status: int, code: dict[str, str]) -> None:
    """An error beside tokens leaves open which pair is good: the old grant is not called dead."""
    if (status, code) == (200, {}):
        return
    kind = try_answer("refresh", answer({"access_token": ACCESS, "refresh_token": REFRESH, **code}, status))
    assert kind not in {"refresh: result", "OAuthError", "ReauthorizationRequiredError"}


@pytest.mark.parametrize("life", [-1e15, -1e300, -(10**400), -1e14, "-999999999999999"])
def test_lifetime_far_below_zero_costs_no_grant(life: float | str) -> None:
    """A life that no timedelta holds is the shortest, and the new pair is not lost over it."""
    body = answer({"access_token": ACCESS, "refresh_token": REFRESH, "expires_in": life})
    assert "refresh: result" == try_answer("refresh", body)


def test_only_so_many_faults_are_told() -> None:
    """Of a list that is wrong throughout the first hundred faults are told: to find all took 18 s."""
    error = read_answer(CALLS["list_keys"], answer({"result": [{}] * 1000}), NOW)
    assert isinstance(error, ResponseFormatError)
    assert tuple(f"$.result[{number}].api_key_name: is missing" for number in range(100)) == error.faults


@pytest.mark.parametrize(("count", "outcome"), [(100, "refused"), (101, "unknown")])
def test_more_errors_than_are_judged_are_unknown(count: int, outcome: str) -> None:
    """Of a hundred error strings each is judged; what more of them may say is not known."""
    error = read_answer(CALLS["create_key"], answer({"error": ["EAPI:Bad request"] * count}), NOW)
    assert isinstance(error, FastKeyError)
    assert (outcome, count) == (error.outcome, len(error.codes))


@pytest.mark.parametrize("code", ["\ud800", "é", "a%00b", "%0a", "%ed%a0%80"])
def test_code_that_could_not_be_sent(code: str) -> None:
    """A callback's code that is not of visible ASCII is refused: it failed later, in an exception that showed it."""
    request = OAUTH.authorization_request()
    with pytest.raises(OAuthError, match="a character that no code has"):
        OAUTH.read_callback(f"/?state={request.state}&code={code}", request)


@pytest.mark.parametrize("code", ["", "\ud800", "é", "a\nb"])
async def test_code_that_could_not_be_exchanged(code: str) -> None:
    """Nor is such a code exchanged."""
    with pytest.raises(InvalidRequestError, match="code: is empty, or holds a character that no code has"):
        await OAUTH.exchange_code(code, OAUTH.authorization_request())


def test_refused_login_shows_no_code() -> None:
    """What a callback says of an error is masked like any other server's words."""
    request = OAUTH.authorization_request()
    code = "FAKE-CODE-0123456789-abcdefghij"
    with pytest.raises(OAuthError, match="the login was refused: … \\(of …\\)") as caught:
        OAUTH.read_callback(f"/?state={request.state}&error={code}&error_description=of+{code}", request)
    assert code not in f"{caught.value}{caught.value!r}"


def test_titles_without_end_take_no_time() -> None:
    """A page full of titles that do not end is read in a time that grows with its length, not with its square."""
    body = answer(b"<title>" * 2000, 502)
    started = time.thread_time()
    for _ in range(100):
        assert isinstance(read_answer(CALLS["create_key"], body, NOW), FastKeyError)
    assert time.thread_time() - started < 1
