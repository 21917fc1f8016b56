"""Kraken's error strings and HTTP statuses: the class to raise, and what may be sent again after it."""

import time
from typing import Any

import attrs
import pytest
from strategies import CALLS, NOW, answer

from kraken_fastkey import (
    ApiError,
    AuthenticationError,
    DuplicateKeyNameError,
    FastKeyError,
    InvalidArgumentsError,
    KeyNotFoundError,
    Outcome,
    PermissionDeniedError,
    RateLimitedError,
    RetryPolicy,
    ServiceUnavailableError,
    TemporaryLockoutError,
    TooManyKeysError,
)
from kraken_fastkey._wire import Success, read_answer
from kraken_fastkey._wire.codes import is_warning, judge

POLICY = RetryPolicy(max_attempts=10, deadline=None)


def read(operation: str, body: object, status: int = 200, headers: dict[str, str] | None = None) -> ApiError:
    """Return the error that an answer means."""
    error = read_answer(CALLS[operation], answer(body, status, headers), NOW)
    assert isinstance(error, ApiError)
    return error


def is_resent(error: FastKeyError) -> bool:
    """Tell whether the call is sent again, blindly, after an error."""
    call = CALLS[error.operation or ""]
    return POLICY.wait_before_retry(error, repeatable=call.repeatable, attempts=1, elapsed=0, random=0.5) is not None


# What the taxonomy's columns say of a code: whether a read is sent again, and a create. "reconcile" means that
# it must not be sent again before somebody has looked whether it was carried out.
NO, YES, RECONCILE = "no", "yes", "reconcile"

CODES: list[tuple[str, type[ApiError], str, str]] = [
    ("EAPI:Invalid key", AuthenticationError, NO, NO),
    ("EAPI:Invalid signature", AuthenticationError, NO, NO),
    ("EAPI:Invalid nonce", ApiError, NO, NO),
    ("EAPI:Rate limit exceeded", RateLimitedError, YES, YES),
    ("EGeneral:Too many requests", RateLimitedError, YES, YES),
    ("EService:Throttled: 1800000003", RateLimitedError, YES, YES),
    ("EService:Throttled", RateLimitedError, YES, YES),
    ("EAuth:Rate limit exceeded", RateLimitedError, YES, NO),
    ("EAuth:Too many requests", RateLimitedError, YES, NO),
    ("EGeneral:Temporary lockout", TemporaryLockoutError, NO, NO),
    ("EAuth:Account temporary disabled", AuthenticationError, NO, NO),
    ("EAuth:Account unconfirmed", AuthenticationError, NO, NO),
    ("EAuth:Failed", AuthenticationError, NO, NO),
    ("EGeneral:Permission denied", PermissionDeniedError, NO, NO),
    ("EAccount:Invalid permissions", PermissionDeniedError, NO, NO),
    ("EAccount:Too many API keys", TooManyKeysError, NO, NO),
    ("EGeneral:Invalid arguments", InvalidArgumentsError, NO, NO),
    ("EGeneral:Invalid arguments:nonce_window", InvalidArgumentsError, NO, NO),
    ("EGeneral:Invalid arguments:Index unavailable", InvalidArgumentsError, NO, NO),
    ("EGeneral:Unknown method", ApiError, NO, NO),
    ("EAPI:Bad request", InvalidArgumentsError, NO, NO),
    ("EAPI:Feature disabled", PermissionDeniedError, NO, NO),
    ("Feature disabled", PermissionDeniedError, NO, NO),
    ("ESession:Invalid session", AuthenticationError, NO, NO),
    ("EGeneral:Internal error", ServiceUnavailableError, YES, RECONCILE),
    ("EGeneral:Internal error:17", ServiceUnavailableError, YES, RECONCILE),
    ("EGeneral:Unknown error", ServiceUnavailableError, YES, RECONCILE),
    ("EDatabase:Internal error", ServiceUnavailableError, YES, RECONCILE),
    ("EService:Unavailable", ServiceUnavailableError, YES, RECONCILE),
    ("EService:Busy", ServiceUnavailableError, YES, RECONCILE),
    ("EService:Timeout", ServiceUnavailableError, YES, RECONCILE),
    ("EService:Deadline elapsed", ServiceUnavailableError, YES, RECONCILE),
    ("access_denied", PermissionDeniedError, NO, NO),
    ("insufficient_scope", PermissionDeniedError, NO, NO),
    ("invalid_request", InvalidArgumentsError, NO, NO),
    ("invalid_token", AuthenticationError, NO, NO),
    ("server_error", ServiceUnavailableError, YES, RECONCILE),
    ("temporarily_unavailable", ServiceUnavailableError, YES, RECONCILE),
]


@pytest.mark.parametrize(("code", "cls", "read_again", "create_again"), CODES, ids=[row[0] for row in CODES])
@pytest.mark.parametrize("as_list", [True, False], ids=["list", "string"])
def test_code(code: str, cls: type[ApiError], read_again: str, create_again: str, *, as_list: bool) -> None:
    """Each row of the taxonomy has its class, and the same request goes out again only where the row says so."""
    body = {"error": [code] if as_list else code}
    reading, creating = read("list_keys", body), read("create_key", body)

    assert (cls, cls) == (type(reading), type(creating))
    assert ((code,), 200) == (creating.codes, creating.status)
    assert is_resent(reading) is (read_again == YES)
    assert is_resent(creating) is (create_again == YES)
    assert creating.outcome == ("unknown" if create_again == RECONCILE else "refused")


@pytest.mark.parametrize("code", [row[0] for row in CODES])
@pytest.mark.parametrize("change", [str.upper, str.lower], ids=["upper", "lower"])
def test_case_does_not_matter(code: str, change: Any) -> None:
    """A code in other letters is the same code."""
    as_is, changed = (judge(200, [text], "list_keys") for text in (code, change(code)))

    assert as_is == changed


@pytest.mark.parametrize(
    "code",
    [
        "EAPI:Brand new",
        "EBrand:New",
        "EServices:Unavailable",
        "EGeneral:Permission deniedness",
        "EOrder:Rate limit exceeded",
        "something else: EAPI:Invalid key",
        "x",
        "🔑",
    ],
)
def test_unknown_code_always_raises(code: str) -> None:
    """What is new to us is an error, and may have been carried out: nobody takes it for a success."""
    error = read("create_key", {"error": [code], "result": None})

    assert (ApiError, "unknown", (code,)) == (type(error), error.outcome, error.codes)
    assert "This library does not know the error" in str(error)


TAKEN = [
    "EGeneral:Invalid arguments:Key name already exists",
    "EGeneral:Invalid arguments:duplicate description",
    "EGeneral:Invalid arguments:api_key_name is already in use",
    "EAccount:Name must be unique",
    "EAPI:Duplicate key",
    "EAccount:API key description taken",
]
MISSING = [
    "EGeneral:Invalid arguments:key not found",
    "EGeneral:Invalid arguments:Unknown API key",
    "EAccount:No such key",
    "EAPI:Key does not exist",
    "EGeneral:Invalid arguments:api_key_name does not exist",
]


@pytest.mark.parametrize("code", TAKEN)
@pytest.mark.parametrize("operation", ["create_key", "update_key"])
def test_name_that_is_taken(code: str, operation: str) -> None:
    """A taken name has no documented code, so its text tells it; nothing was done."""
    error = read(operation, {"error": [code]})

    assert (DuplicateKeyNameError, "refused") == (type(error), error.outcome)


@pytest.mark.parametrize("code", MISSING)
@pytest.mark.parametrize("operation", ["update_key", "delete_key"])
def test_name_that_is_missing(code: str, operation: str) -> None:
    """A name that no key has is known by its text, too."""
    error = read(operation, {"error": [code]})

    assert (KeyNotFoundError, "refused") == (type(error), error.outcome)


@pytest.mark.parametrize("code", [*TAKEN, *MISSING])
@pytest.mark.parametrize("operation", ["list_keys", "get_user_info"])
def test_reads_have_no_name_to_be_wrong(code: str, operation: str) -> None:
    """Where no name is sent, none is taken or missing."""
    assert type(read(operation, {"error": [code]})) in {ApiError, InvalidArgumentsError}


@pytest.mark.parametrize("code", MISSING)
def test_create_finds_nothing_missing(code: str) -> None:
    """A key to be created cannot be missing."""
    assert not isinstance(read("create_key", {"error": [code]}), KeyNotFoundError)


def test_known_code_is_not_read_for_names() -> None:
    """Text that speaks of names does not outvote a code that we know."""
    assert type(read("create_key", {"error": ["EGeneral:Permission denied: duplicate name"]})) is PermissionDeniedError


@pytest.mark.parametrize("text", ["name", "key", "description", "key missin", "name exist"])
def test_reading_a_code_takes_time_in_proportion(text: str) -> None:
    """A long hostile string does not hold up the event loop: an answer may have a megabyte of it."""
    code = "EGeneral:Invalid arguments:" + text * (20_000 // len(text))
    began = time.thread_time()
    judge(200, [code], "update_key")

    assert time.thread_time() - began < 0.25


@pytest.mark.parametrize(
    ("code", "warning"),
    [
        ("WDatabase:No change", True),
        ("WGeneral:Danger", True),
        ("EDatabase:No change", False),
        ("W:", False),
        ("Warning", False),
        ("wDatabase:No change", False),
        (" WDatabase:No change", False),
        ("", False),
    ],
)
def test_is_warning(code: str, *, warning: bool) -> None:
    """Only a `W`, a category and a colon make a warning; anything else may be an error."""
    assert is_warning(code) is warning


@pytest.mark.parametrize(
    ("codes", "cls", "outcome"),
    [
        (["EGeneral:Invalid arguments", "EGeneral:Temporary lockout"], TemporaryLockoutError, "refused"),
        (["EAPI:Rate limit exceeded", "EGeneral:Permission denied"], PermissionDeniedError, "refused"),
        (["EService:Busy", "EGeneral:Permission denied"], ServiceUnavailableError, "unknown"),
        (["EGeneral:Permission denied", "EService:Busy"], ServiceUnavailableError, "unknown"),
        (["EBrand:New", "EGeneral:Permission denied"], PermissionDeniedError, "unknown"),
        (["EBrand:New", "EAPI:Rate limit exceeded"], ApiError, "unknown"),
        (["WDatabase:No change", "EAPI:Invalid nonce"], ApiError, "refused"),
    ],
)
def test_gravest_of_several_decides(codes: list[str], cls: type[ApiError], outcome: Outcome) -> None:
    """The gravest names the class; if any leaves it open whether something was done, it is open."""
    error = read("create_key", {"error": codes})

    assert (cls, outcome, tuple(codes)) == (type(error), error.outcome, error.codes)


STATUSES: list[tuple[int, type[ApiError], str, str]] = [
    (300, ApiError, YES, RECONCILE),
    (302, ApiError, YES, RECONCILE),
    (308, ApiError, YES, RECONCILE),
    (400, InvalidArgumentsError, NO, NO),
    (401, AuthenticationError, NO, NO),
    (403, PermissionDeniedError, NO, NO),
    (404, ApiError, NO, NO),
    (405, ApiError, NO, NO),
    (408, ServiceUnavailableError, YES, RECONCILE),
    (410, ApiError, NO, NO),
    (413, ApiError, NO, NO),
    (422, InvalidArgumentsError, NO, NO),
    (429, RateLimitedError, YES, YES),
    (451, ApiError, NO, NO),
    *((status, ServiceUnavailableError, YES, RECONCILE) for status in (500, 501, 502, 503, 504, 599)),
    *((status, ServiceUnavailableError, YES, RECONCILE) for status in (*range(520, 528), 530)),
    (600, ApiError, YES, RECONCILE),
    (199, ApiError, YES, RECONCILE),
]
BODIES: list[tuple[bytes, str]] = [
    (b"", ""),
    (b"<!doctype html><html><title>Just a moment...</title><body>x</body></html>", "text/html; charset=UTF-8"),
    (b"{}", "application/json"),
    (b'{"result": null}', "application/json"),
    (b'{"error": []}', "application/json"),
    (b'{"error": ["WGeneral:Danger"]}', "application/json"),
    (b'{"error": ["EBrand:New"]}', "application/json"),
    (b"[]", "application/json"),
    (b"not found", "text/plain"),
]


@pytest.mark.parametrize(("status", "cls", "read_again", "create_again"), STATUSES, ids=[str(s[0]) for s in STATUSES])
@pytest.mark.parametrize(("body", "media_type"), BODIES)
def test_status(
    status: int, cls: type[ApiError], read_again: str, create_again: str, body: bytes, media_type: str
) -> None:
    """Without a code that we know, the status decides, whatever the body is."""
    headers = {"content-type": media_type}
    reading, creating = read("list_keys", body, status, headers), read("create_key", body, status, headers)

    assert (cls, cls, status) == (type(reading), type(creating), creating.status)
    assert is_resent(reading) is (read_again == YES)
    assert is_resent(creating) is (create_again == YES)
    assert creating.outcome == ("unknown" if create_again == RECONCILE else "refused")


@pytest.mark.parametrize(
    ("operation", "cls"),
    [
        ("create_key", DuplicateKeyNameError),
        ("update_key", DuplicateKeyNameError),
        ("delete_key", ApiError),
        ("list_keys", ApiError),
    ],
)
def test_conflict_is_a_taken_name(operation: str, cls: type[ApiError]) -> None:
    """A 409 says that a name is taken, where one can be."""
    error = read(operation, b"", 409)

    assert (cls, "refused") == (type(error), error.outcome)


@pytest.mark.parametrize(
    ("status", "code", "cls", "outcome"),
    [
        (400, "EGeneral:Permission denied", PermissionDeniedError, "refused"),
        (400, "EService:Unavailable", ServiceUnavailableError, "unknown"),
        (401, "insufficient_scope", PermissionDeniedError, "refused"),
        (403, "invalid_token", AuthenticationError, "refused"),
        (403, "EBrand:New", PermissionDeniedError, "refused"),
        (404, "EAccount:No such key", ApiError, "refused"),
        (429, "EBrand:New", RateLimitedError, "refused"),
        (429, "EGeneral:Temporary lockout", TemporaryLockoutError, "refused"),
        (500, "EGeneral:Permission denied", PermissionDeniedError, "unknown"),
        (500, "EAPI:Rate limit exceeded", RateLimitedError, "unknown"),
        (503, "EBrand:New", ServiceUnavailableError, "unknown"),
        (302, "EGeneral:Permission denied", PermissionDeniedError, "unknown"),
    ],
)
def test_known_code_decides_over_the_status(status: int, code: str, cls: type[ApiError], outcome: Outcome) -> None:
    """A code that we know names the class; what the status leaves open stays open."""
    error = read("create_key", {"error": [code]}, status)

    assert (cls, outcome) == (type(error), error.outcome)


@pytest.mark.parametrize(
    ("status", "code", "rejected"),
    [
        (401, "", True),
        (401, "EBrand:New", True),
        (401, "EAPI:Invalid key", True),
        (401, "EAuth:Failed", True),
        (200, "ESession:Invalid session", True),
        (200, "invalid_token", True),
        (403, "invalid_token", True),
        (200, "EAPI:Invalid key", False),
        (200, "EAuth:Account unconfirmed", False),
        (403, "EAuth:Failed", False),
    ],
)
def test_whether_another_token_may_do(status: int, code: str, *, rejected: bool) -> None:
    """A 401 and a dead session are the token's fault; trouble with the account is not."""
    error = read("create_key", {"error": [code] if code else []}, status)

    assert isinstance(error, AuthenticationError)
    assert error.token_rejected is rejected


@pytest.mark.parametrize("operation", CALLS)
@pytest.mark.parametrize(
    ("status", "codes"),
    [
        (200, ["EGeneral:Temporary lockout"]),
        (200, ["EGeneral:Temporary lockout", "EService:Unavailable"]),
        (200, ["EGeneral:Temporary lockout", "EAPI:Rate limit exceeded"]),
        (403, ["EGeneral:Temporary lockout"]),
        (429, ["EGeneral:Temporary lockout"]),
        (503, ["EGeneral:Temporary lockout"]),
    ],
)
def test_nothing_is_sent_again_during_a_lockout(operation: str, status: int, codes: list[str]) -> None:
    """Each further request prolongs a lockout, so not even a read is sent again, whatever came with it."""
    error = read(operation, {"error": codes}, status)

    assert isinstance(error, TemporaryLockoutError)
    assert not is_resent(error)


@pytest.mark.parametrize("operation", CALLS)
def test_result_beside_an_error_leaves_it_open(operation: str) -> None:
    """Kraken says no and yet has a result: then something may have been done."""
    error = read(operation, {"error": ["EGeneral:Permission denied"], "result": {"api_key": "FAKE-half"}})

    assert (PermissionDeniedError, "unknown") == (type(error), error.outcome)


@pytest.mark.parametrize("result", [None, [], {}, "", False])
def test_empty_result_beside_an_error_is_none(result: object) -> None:
    """An empty result is how some servers say that there is none."""
    assert read("create_key", {"error": ["EGeneral:Permission denied"], "result": result}).outcome == "refused"


@pytest.mark.parametrize("status", [200, 201, 299])
def test_any_success_status_without_a_code_is_fine(status: int) -> None:
    """A 2xx with no error is no error."""
    assert isinstance(read_answer(CALLS["delete_key"], answer({"result": True}, status), NOW), Success)


def test_verdict_cannot_be_changed() -> None:
    """Verdicts are shared between calls."""
    verdict = judge(401, [], "list_keys")

    assert verdict is not None
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        verdict.known = False  # type: ignore[misc]
