"""The token endpoint on the wire: what is asked, and what any bytes that come back mean."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import parse_qs, urlencode

import hypothesis
import pytest
from hypothesis import strategies as st
from strategies import NOW, SECRET, answer, completenesses, headers, json_values, leaks, shown_by, statuses

from kraken_fastkey import (
    ApiError,
    FastKeyError,
    OAuthError,
    RateLimitedError,
    ReauthorizationRequiredError,
    ResponseFormatError,
    SecretStr,
    ServiceUnavailableError,
)
from kraken_fastkey._wire import WireResponse
from kraken_fastkey._wire.token import TokenAnswer, TokenOperation, code_request, read_token_answer, refresh_request

GOOD: dict[str, Any] = {
    "access_token": "FAKE-ACCESS",
    "token_type": "bearer",
    "expires_in": 14400,
    "refresh_token": "FAKE-REFRESH",
    "scope": "a b",
}


def _read(fields: object, status: int = 200, operation: TokenOperation = "refresh") -> TokenAnswer | FastKeyError:
    return read_token_answer(operation, answer(fields, status), NOW)


def _good(fields: object) -> TokenAnswer:
    read = _read(fields)
    assert isinstance(read, TokenAnswer), read
    return read


def test_code_request() -> None:
    """The exchange has the code, the redirect URI of the login, and the verifier."""
    request = code_request(
        code=SecretStr("FAKE&CODE"), redirect_uri="http://127.0.0.1/cb", code_verifier=SecretStr("FAKE-V")
    )
    assert ("POST", "", "application/x-www-form-urlencoded") == (
        request.method,
        request.path,
        request.headers["Content-Type"],
    )
    assert {
        "grant_type": ["authorization_code"],
        "code": ["FAKE&CODE"],
        "redirect_uri": ["http://127.0.0.1/cb"],
        "code_verifier": ["FAKE-V"],
    } == parse_qs(request.body.decode())
    assert "FAKE" not in repr(request)


def test_refresh_request() -> None:
    """A refresh has the refresh token alone: the client's secret goes into the header."""
    body = refresh_request(SecretStr("FAKE-REFRESH")).body.decode()
    assert {"grant_type": ["refresh_token"], "refresh_token": ["FAKE-REFRESH"]} == parse_qs(body)


@pytest.mark.parametrize("media_type", ["application/json", "application/x-www-form-urlencoded", "text/html", None])
@pytest.mark.parametrize("as_form", [True, False])
def test_any_media_type_with_either_body(media_type: str | None, *, as_form: bool) -> None:
    """The bytes say what they are; the header may say anything."""
    body = urlencode(GOOD).encode() if as_form else json.dumps(GOOD).encode()
    read = read_token_answer(
        "refresh", WireResponse(200, {"content-type": media_type} if media_type else {}, body), NOW
    )
    assert (
        TokenAnswer(
            access_token=SecretStr("FAKE-ACCESS"),
            refresh_token=SecretStr("FAKE-REFRESH"),
            expires_in=14400.0,
            scope="a b",
        )
        == read
    )


@pytest.mark.parametrize("nothing", [None, ""])
def test_no_refresh_token_is_none(nothing: str | None) -> None:
    """A null or empty refresh token is no token, as a missing one is none."""
    assert _good(GOOD | {"refresh_token": nothing}).refresh_token is None
    assert _good({name: GOOD[name] for name in GOOD if name != "refresh_token"}).refresh_token is None


@pytest.mark.parametrize(
    ("told", "seconds"),
    [
        (14400, 14400.0),
        (14400.5, 14400.5),
        ("14400", 14400.0),
        (0, 0.0),
        (-1, -1.0),
        ("-1", -1.0),
        (1e300, 1e15),
        (10**400, 1e15),
        (True, None),
        (None, None),
        ("soon", None),
        ("1e9", None),
        ([14400], None),
        ("9" * 400, None),
    ],
)
def test_lifetimes(told: object, seconds: float | None) -> None:
    """What can be read as seconds is; the rest is as good as not told."""
    assert seconds == _good(GOOD | {"expires_in": told}).expires_in


@pytest.mark.parametrize("kind", ["bearer", "Bearer", "BEARER", None])
def test_token_types_that_are_taken(kind: str | None) -> None:
    """The type is compared without case (RFC 6749, section 5.1)."""
    assert SecretStr("FAKE-ACCESS") == _good(GOOD | {"token_type": kind}).access_token


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        ({"access_token": None}, "$.access_token: must be a string that could be a token"),
        ({"access_token": ""}, "$.access_token"),
        ({"access_token": 5}, "$.access_token"),
        ({"access_token": "two words"}, "$.access_token"),
        ({"access_token": "line\nbreak"}, "$.access_token"),
        ({"refresh_token": 5}, "$.refresh_token"),
        ({"refresh_token": ["x"]}, "$.refresh_token"),
        ({"refresh_token": False}, "$.refresh_token"),
        ({"token_type": "mac"}, "$.token_type: must be bearer"),
        ({"token_type": 5}, "$.token_type: must be bearer"),
    ],
)
def test_what_is_no_pair_is_unreadable(changes: dict[str, Any], fault: str) -> None:
    """Nothing is stored of an answer whose tokens could be none; the outcome is unknown, as the old may be spent."""
    read = _read(GOOD | changes)
    assert isinstance(read, ResponseFormatError)
    assert any(told.startswith(fault) for told in read.faults)
    assert ("unknown", "refresh") == (read.outcome, read.operation)


@pytest.mark.parametrize("body", [{}, {"tokens": GOOD}, [], [GOOD], "x", 5, None, {"result": GOOD}])
def test_an_answer_without_a_token_is_unreadable(body: object) -> None:
    """A 200 that holds no token says nothing of what was done."""
    read = _read(body)
    assert isinstance(read, ResponseFormatError)
    assert "unknown" == read.outcome


@pytest.mark.parametrize("status", [200, 400, 401])
@pytest.mark.parametrize(
    "code",
    ["invalid_client", "invalid_request", "invalid_scope", "unauthorized_client", "unsupported_grant_type"],
)
def test_oauth_errors(code: str, status: int) -> None:
    """RFC 6749's errors say that nothing was done, and what to do."""
    read = _read({"error": code, "error_description": "because\x1b[31m"}, status)
    assert type(read) is OAuthError
    assert ("refused", (code,), status) == (read.outcome, read.codes, read.status)
    assert "(because [31m)" in str(read)


def test_a_dead_refresh_token_needs_a_new_login() -> None:
    """invalid_grant at a refresh ends the grant; at an exchange it ends that login alone."""
    refresh = _read({"error": "invalid_grant"}, 400)
    assert isinstance(refresh, ReauthorizationRequiredError)
    assert ("revoked", "refused") == (refresh.cause, refresh.outcome)
    assert type(_read({"error": "invalid_grant"}, 400, "exchange_code")) is OAuthError


@pytest.mark.parametrize(
    ("body", "status", "expected", "outcome"),
    [
        ({"error": "invalid_grant"}, 500, ServiceUnavailableError, "unknown"),
        ({"error": "server_error"}, 400, ServiceUnavailableError, "unknown"),
        ({"error": "temporarily_unavailable"}, 503, ServiceUnavailableError, "unknown"),
        ({"error": ["EService:Unavailable"]}, 200, ServiceUnavailableError, "unknown"),
        ({"error": ["EAPI:Rate limit exceeded"]}, 200, RateLimitedError, "refused"),
        ({"error": "slow_down"}, 400, ApiError, "refused"),
        ({"error": "slow_down", **GOOD}, 200, ApiError, "unknown"),
        (b"<html><title>Bad gateway</title></html>", 502, ServiceUnavailableError, "unknown"),
        (b"", 429, RateLimitedError, "refused"),
        (b"", 204, ResponseFormatError, "unknown"),
        (b"error=invalid_grant", 400, ReauthorizationRequiredError, "refused"),
    ],
)
def test_other_errors(body: object, status: int, expected: type[FastKeyError], outcome: str) -> None:
    """What is no OAuth error is told as it would be of any other call; a 5xx may follow a rotation."""
    read = _read(body, status)
    assert isinstance(read, expected)
    assert outcome == read.outcome


@pytest.mark.parametrize("completeness", ["cut_off", "too_large"])
def test_an_answer_that_is_not_whole_gives_no_tokens(completeness: Any) -> None:
    """Tokens from half an answer could be half tokens."""
    read = read_token_answer("refresh", answer(GOOD, completeness=completeness), NOW)
    assert isinstance(read, ResponseFormatError)


@hypothesis.given(
    body=st.binary(max_size=300) | json_values.map(lambda value: json.dumps(value).encode()),
    status=statuses,
    fields=headers,
    completeness=completenesses,
    operation=st.sampled_from(["refresh", "exchange_code"]),
)
def test_any_answer(
    body: bytes, status: int, fields: dict[str, str], completeness: Any, operation: TokenOperation
) -> None:
    """Any bytes with any status give tokens or a FastKeyError, and nothing else."""
    read = read_token_answer(operation, WireResponse(status, fields, body, completeness), NOW)
    assert isinstance(read, (TokenAnswer, FastKeyError))


@hypothesis.given(
    changes=st.dictionaries(st.sampled_from([*GOOD, "error", "error_description"]), json_values, max_size=3),
    status=statuses,
)
def test_mutated_answers_leak_nothing(changes: dict[str, Any], status: int) -> None:
    """Whatever is wrong with an answer: its tokens are in no error."""
    read = _read(GOOD | {"access_token": SECRET, "refresh_token": SECRET} | changes, status)
    shown = shown_by(read) if isinstance(read, FastKeyError) else repr(read)
    assert [] == leaks(shown)
