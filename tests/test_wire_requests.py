"""Requests as bytes: exactly what is set, in Kraken's own names."""

import calendar
import ipaddress
import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from strategies import FAR, NOW, create_requests, names, update_requests

from kraken_fastkey import CreateKeyRequest, InvalidRequestError, Permissions, UpdateKeyRequest
from kraken_fastkey._validation import Time
from kraken_fastkey._wire import (
    LIST_PATHS,
    Call,
    create_key,
    delete_key,
    get_user_info,
    list_keys,
    update_key,
)

ACCEPT = {"Accept": "application/json", "Accept-Encoding": "identity"}
WITH_BODY = ACCEPT | {"Content-Type": "application/json"}

FULL: dict[str, Any] = {
    "permissions": Permissions(funds_query=True, trades_modify=False, extra={"withdrawal_address_add": True}),
    "ip_allowlist": ["203.0.113.0/24", ipaddress.ip_address("2001:db8::1")],
    "nonce_window": 2**64 - 1,
    "query_from": 1_700_000_000.999,
    "query_to": datetime(2099, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC),
    "valid_until": timedelta(days=7),
}
FULL_JSON = (
    '"ip_allowlist":["203.0.113.0/24","2001:db8::1"],"nonce_window":18446744073709551615,'
    '"permissions":{"funds_query":true,"trades_modify":false,"withdrawal_address_add":true},'
    '"query_from":1700000000,"query_to":4102444799,"valid_until":1800604800}'
)
UNRESTRICTED: dict[str, Any] = {"ip_allowlist": [], "query_from": 0, "query_to": 0.0, "valid_until": 0}


def create(name: str, **parameters: Any) -> Call[Any]:
    """Return a create call at a fixed time."""
    return create_key(CreateKeyRequest(name, **parameters), NOW + 0.75)


def update(name: str, **parameters: Any) -> Call[Any]:
    """Return an update call at a fixed time."""
    return update_key(UpdateKeyRequest(name, **parameters), NOW + 0.75)


@pytest.mark.parametrize(
    ("call", "body"),
    [
        (create("grid-bot"), '{"api_key_name":"grid-bot"}'),
        (create("grid-bot", **FULL), '{"api_key_name":"grid-bot",' + FULL_JSON),
        (create("grid-bot", permissions=Permissions()), '{"api_key_name":"grid-bot","permissions":{}}'),
        (
            create("grid-bot", permissions=Permissions.only("funds_query")),
            (
                '{"api_key_name":"grid-bot","permissions":{"export_data":false,"funds_add":false,"funds_earn":false,'
                '"funds_query":true,"funds_withdraw":false,"ledger_query":false,"trades_close":false,'
                '"trades_modify":false,"trades_query_closed":false,"trades_query_open":false}}'
            ),
        ),
        (
            create("grid-bot", **UNRESTRICTED, nonce_window=0),
            '{"api_key_name":"grid-bot","nonce_window":0,"query_from":0,"query_to":0,"valid_until":0}',
        ),
        (create('a "b" \\ é\u2028🔑'), r'{"api_key_name":"a \"b\" \\ \u00e9\u2028\ud83d\udd11"}'),
        (update("grid-bot"), '{"api_key_name":"grid-bot"}'),
        (update("grid-bot", new_api_key_name="bot-2"), '{"api_key_name":"grid-bot","new_api_key_name":"bot-2"}'),
        (
            update("grid-bot", new_api_key_name="bot-2", **FULL),
            '{"api_key_name":"grid-bot","new_api_key_name":"bot-2",' + FULL_JSON,
        ),
        (
            update("grid-bot", **UNRESTRICTED),
            '{"api_key_name":"grid-bot","ip_allowlist":[],"query_from":0,"query_to":0,"valid_until":0}',
        ),
        (delete_key("grid-bot"), '{"api_key_name":"grid-bot"}'),
        (list_keys(LIST_PATHS[0]), ""),
        (get_user_info(), ""),
    ],
)
def test_body(call: Call[Any], body: str) -> None:
    """What is unset is absent, flags are JSON booleans, times whole seconds; an update also sends what lifts."""
    assert call.request.body == body.encode("ascii")


@pytest.mark.parametrize(
    ("call", "line", "headers"),
    [
        (create("grid-bot"), ("POST", "/fast-api-key"), WITH_BODY),
        (update("grid-bot"), ("PUT", "/fast-api-key"), WITH_BODY),
        (delete_key("grid-bot"), ("DELETE", "/fast-api-key"), WITH_BODY),
        (list_keys(LIST_PATHS[0]), ("GET", "/fast-api-keys"), ACCEPT),
        (list_keys(LIST_PATHS[1]), ("GET", "/fast-api-key"), ACCEPT),
        (get_user_info(), ("GET", "/userinfo"), ACCEPT),
    ],
)
def test_request_line_and_headers(call: Call[Any], line: tuple[str, str], headers: dict[str, str]) -> None:
    """Methods and paths are Kraken's; no header holds a secret; and none can be changed."""
    assert (call.request.method, call.request.path) == line
    assert call.request.headers == headers
    with pytest.raises(TypeError, match="cannot be changed"):
        call.request.headers["Authorization"] = "x"  # type: ignore[index]


@pytest.mark.parametrize(
    ("call", "told"),
    [
        (create("grid-bot"), ("create_key", "grid-bot", False, True)),
        (update("grid-bot", new_api_key_name="b"), ("update_key", "grid-bot", False, False)),
        (delete_key("grid-bot"), ("delete_key", "grid-bot", True, False)),
        (list_keys(LIST_PATHS[0]), ("list_keys", None, True, True)),
        (get_user_info(), ("get_user_info", None, True, True)),
    ],
)
def test_call_tells_what_it_is(call: Call[Any], told: tuple[str, str | None, bool, bool]) -> None:
    """Only reads and deletes may be sent twice; what changes a key names it."""
    assert (call.operation, call.api_key_name, call.repeatable, call.needs_result) == told


def test_only_a_delete_may_find_its_work_done() -> None:
    """A key that is gone after an own attempt at deleting it is a success."""
    when_gone = delete_key("grid-bot").when_gone

    assert when_gone is not None
    assert when_gone() is None
    assert {None} == {call.when_gone for call in (create("a"), update("a"), list_keys(LIST_PATHS[0]), get_user_info())}


def test_generated_name_is_sent() -> None:
    """A name that the request made up is sent like one that was chosen."""
    request = CreateKeyRequest()

    assert json.loads(create_key(request, NOW).request.body) == {"api_key_name": request.api_key_name}


@pytest.mark.parametrize("make", [create_key, update_key])
def test_timedelta_counts_from_the_call(make: Callable[[Any, float], Call[Any]]) -> None:
    """One request sent twice asks for two moments."""
    cls = CreateKeyRequest if make is create_key else UpdateKeyRequest
    request = cls("grid-bot", valid_until=timedelta(seconds=90))

    assert json.loads(make(request, NOW).request.body)["valid_until"] == int(NOW) + 90
    assert json.loads(make(request, NOW + 3600.5).request.body)["valid_until"] == int(NOW) + 3690


@pytest.mark.parametrize("make", [create_key, update_key])
@pytest.mark.parametrize(
    ("parameters", "now", "field"),
    [
        ({"valid_until": FAR}, FAR, "valid_until"),
        ({"valid_until": datetime(2100, 1, 1, tzinfo=UTC)}, FAR + 0.5, "valid_until"),
        ({"valid_until": timedelta(seconds=0.25)}, NOW + 0.5, "valid_until"),
        ({"query_from": timedelta(0), "query_to": FAR}, FAR + 1.0, "query_from"),
        ({"query_to": timedelta(days=1)}, 253_402_300_799.0, "query_to"),
    ],
)
def test_time_that_has_passed_is_refused(
    make: Callable[[Any, float], Call[Any]],
    parameters: dict[str, Any],
    now: float,
    field: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A request that was right when it was made is checked again when it is sent."""
    monkeypatch.setattr("time.time", lambda: NOW + 0.875)
    cls = CreateKeyRequest if make is create_key else UpdateKeyRequest
    request = cls("grid-bot", **parameters)

    with pytest.raises(InvalidRequestError) as caught:
        make(request, now)
    assert {field} == caught.value.faults.keys()


@pytest.mark.parametrize(
    ("name", "fault"),
    [
        ("", "is empty: a key's name has 1 to 32 characters"),
        ("n" * 33, "has 33 characters: a key's name has 1 to 32"),
        (None, "must be a string, not None"),
        (5, "must be a string, not int"),
        ("\ud800", "holds half of a surrogate pair, which is not valid Unicode"),
    ],
)
def test_delete_checks_the_name(name: Any, fault: str) -> None:
    """A name that no key can have is refused before anything is sent."""
    with pytest.raises(InvalidRequestError) as caught:
        delete_key(name)

    assert caught.value.faults == {"api_key_name": fault}
    assert (None, None) == (caught.value.__cause__, caught.value.__context__)


def expected_time(value: Time) -> int:
    """Return a moment as Unix seconds, by other means than the package's."""
    if isinstance(value, datetime):
        return calendar.timegm(value.astimezone(UTC).utctimetuple())
    if isinstance(value, timedelta):
        return int(NOW) + value // timedelta(seconds=1)
    return int(value)


def expected_body(request: CreateKeyRequest | UpdateKeyRequest) -> dict[str, Any]:
    """Return what a request must send."""
    body: dict[str, Any] = {"api_key_name": request.api_key_name, "nonce_window": request.nonce_window}
    if isinstance(request, UpdateKeyRequest):
        body["new_api_key_name"] = request.new_api_key_name
        body["ip_allowlist"] = None if request.ip_allowlist is None else list(request.ip_allowlist)
    else:
        body["ip_allowlist"] = list(request.ip_allowlist) or None
    for name in ("query_from", "query_to", "valid_until"):
        value = getattr(request, name)
        body[name] = None if value is None else expected_time(value)
    if request.permissions is not None:
        body["permissions"] = {
            name: flag for name in Permissions.NAMES if (flag := getattr(request.permissions, name)) is not None
        } | dict(request.permissions.extra)
    return {name: value for name, value in body.items() if value is not None}


@given(create_requests | update_requests)
def test_any_valid_request_says_what_it_means(request: CreateKeyRequest | UpdateKeyRequest) -> None:
    """Each valid request is ASCII JSON that reads back as the values that were set, to the last digit."""
    call = create_key(request, NOW) if isinstance(request, CreateKeyRequest) else update_key(request, NOW)
    body = json.loads(call.request.body.decode("ascii"))

    assert expected_body(request) == body
    assert {bool} >= {type(flag) for flag in body.get("permissions", {}).values()}
    numbers = {type(body[name]) for name in ("nonce_window", "query_from", "query_to", "valid_until") if name in body}
    assert {int} >= numbers


@given(names)
def test_any_name_can_be_deleted(name: str) -> None:
    """Each valid name goes out as it is."""
    assert json.loads(delete_key(name).request.body.decode("ascii")) == {"api_key_name": name}
