"""Answers of any bytes: a typed result or an error that tells what came, never a secret, never a surprise."""

import json
import math
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from email.utils import formatdate
from typing import Any

import attrs
import pytest
from hypothesis import given, strategies as st
from strategies import (
    CALLS,
    NOW,
    SECRET,
    answer,
    calls,
    completenesses,
    create_call,
    created,
    headers as any_headers,
    json_values,
    leaks,
    mutated_answers,
    shown_by,
    statuses,
)

from kraken_fastkey import (
    ApiError,
    FastApiKey,
    FastKeyError,
    KeyInfo,
    Permissions,
    RateLimitedError,
    ResponseFormatError,
    SecretStr,
    UserInfo,
)
from kraken_fastkey._wire import Call, Success, WireResponse, read_answer
from kraken_fastkey._wire.faults import structure_and_tell
from kraken_fastkey._wire.http import MAX_ANSWER_BYTES, Completeness, parse_retry_after
from kraken_fastkey._wire.usual import read_usual

HTML = {"content-type": "text/html; charset=UTF-8", "cf-ray": "8f2a1b-FRA"}


def unix(seconds: float) -> datetime:
    """Return a moment as an aware datetime."""
    return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(seconds=seconds)


def path_of(fault: str) -> str:
    """Return where a fault is."""
    return fault.partition(": ")[0]


def succeed(call: Call[Any], response: WireResponse) -> Any:
    """Return the value of a successful answer."""
    read = read_answer(call, response, NOW)
    assert isinstance(read, Success), read
    return read.value


def made(**changes: object) -> FastApiKey:
    """Return the key of a create answer with some fields changed."""
    key = succeed(create_call(), answer({"error": [], "result": created(**changes)}))
    assert isinstance(key, FastApiKey)
    return key


def unreadable(call: Call[Any], response: WireResponse) -> ResponseFormatError:
    """Return the error of an answer that cannot be read."""
    error = read_answer(call, response, NOW)
    assert isinstance(error, ResponseFormatError), error
    assert (call.operation, "unknown", response.status, 0) == (
        error.operation,
        error.outcome,
        error.status,
        error.attempts,
    )
    assert (None, None) == (error.__cause__, error.__context__)
    return error


def refused(call: Call[Any], response: WireResponse) -> ApiError:
    """Return the error that an answer means."""
    error = read_answer(call, response, NOW)
    assert isinstance(error, ApiError), error
    assert (None, None) == (error.__cause__, error.__context__)
    return error


# ---------------------------------------------------------------- create


def test_documented_create_answer() -> None:
    """Each documented field comes back, with its type."""
    assert made() == FastApiKey(
        secret=SecretStr(SECRET),
        api_key="FAKE-public-half",
        api_key_name="grid-bot",
        created_time=unix(1_799_999_999),
        created_time_raw="1799999999",
        id="Z3JpZC1ib3Q-",
        ip_allowlist=("203.0.113.0/24", "2001:db8::/32"),
        last_used=unix(1_799_999_000),
        modified_time=unix(1_799_999_999),
        modified_time_raw="2027-01-15T07:59:59Z",
        nonce=9_007_199_254_740_993,
        nonce_window=10_000,
        oauth_client="FAKE-app",
        permissions=Permissions(funds_query=True, funds_withdraw=False),
        purpose="standard",
        query_from=unix(1_700_000_000),
        query_to=None,
        valid_until=unix(1_800_604_800),
        unknown={},
    )


@pytest.mark.parametrize("status", [200, 201, 202])
def test_missing_optional_fields_are_none(status: int) -> None:
    """The two halves are all that is needed: the name is known from the request."""
    body = {"result": {"secret": SECRET, "api_key": "FAKE-public-half"}}
    key = succeed(create_call("my-bot"), answer(body, status))

    assert key == FastApiKey(api_key_name="my-bot", api_key="FAKE-public-half", secret=SecretStr(SECRET))


def test_nulls_are_none() -> None:
    """A null is a field that is missing, the name's and the purpose's too."""
    nulls = dict.fromkeys(created(), None)
    key = made(**(nulls | {"secret": SECRET, "api_key": "FAKE-public-half"}))

    assert key == FastApiKey(api_key_name="grid-bot", api_key="FAKE-public-half", secret=SecretStr(SECRET))


@pytest.mark.parametrize("name", ["other", "n" * 100, " "])
def test_name_in_the_answer_counts(name: str) -> None:
    """Where Kraken names the key, that is its name, whatever was asked for."""
    assert made(api_key_name=name).api_key_name == name


@pytest.mark.parametrize("name", ["", None])
def test_empty_name_is_that_of_the_request(name: object) -> None:
    """A secret is not lost for want of a name that is known."""
    assert made(api_key_name=name).api_key_name == "grid-bot"


@pytest.mark.parametrize(
    ("body", "media_type"),
    [
        (json.dumps({"result": created()}).encode(), "text/html"),
        (json.dumps({"result": created()}).encode(), ""),
        (json.dumps({"result": created()}).encode("utf-16"), "application/json"),
        (json.dumps({"result": created()}).encode("utf-32-le"), "application/json"),
        (b"\xef\xbb\xbf" + json.dumps({"result": created()}).encode(), "application/json"),
        (b" \r\n" + json.dumps({"result": created()}, indent=4).encode() + b"\n\n", "application/json"),
    ],
    ids=["html", "no type", "utf-16", "utf-32", "bom", "spaces"],
)
def test_neither_media_type_nor_encoding_costs_a_secret(body: bytes, media_type: str) -> None:
    """What can be read is read: the secret is shown this once."""
    key = succeed(create_call(), answer(body, headers={"content-type": media_type}))

    assert key.secret.get_secret_value() == SECRET


def test_unknown_fields_are_kept() -> None:
    """What Kraken adds later comes back as it came, names of our own attributes among it."""
    later = {"fee_tier": [1, {"a": None}], "unknown": 5, "created_time_raw": "x", "expires": None}
    key = made(**later)

    assert key.unknown == later
    assert key.created_time_raw == "1799999999"
    with pytest.raises(TypeError, match="cannot be changed"):
        key.unknown["a"] = 1  # type: ignore[index]


@pytest.mark.parametrize(
    ("number", "read"),
    [("0", 0), ("18446744073709551615", 2**64 - 1), ("9007199254740993", 2**53 + 1), ("5.0", 5), ("1e3", 1000)],
)
@pytest.mark.parametrize("field", ["nonce", "nonce_window"])
def test_integers_are_exact(field: str, number: str, read: int) -> None:
    """No digit of a number is lost, and one that was written as a float is an int all the same."""
    body = json.dumps({"result": created(**{field: "HERE"})}).replace('"HERE"', number).encode()
    value = getattr(succeed(create_call(), answer(body)), field)

    assert (read, int) == (value, type(value))


@pytest.mark.parametrize(
    ("text", "read"),
    [
        ("1799999999", unix(1_799_999_999)),
        ("1799999999.25", unix(1_799_999_999.25)),
        (" 1799999999 ", unix(1_799_999_999)),
        ("0", None),
        ("2027-01-15T07:59:59Z", unix(1_799_999_999)),
        ("2027-01-15T08:59:59+01:00", unix(1_799_999_999)),
        ("2027-01-15T07:59:59", unix(1_799_999_999)),
        ("2027-01-15 07:59:59.5+00:00", unix(1_799_999_999.5)),
        ("2027-01-15", unix(1_799_971_200)),
        ("999999999999", None),
        ("-5", None),
        ("yesterday", None),
        ("", None),
        ("nan", None),
        ("0001-01-01T00:00:00+23:59", None),
        ("9999-12-31T23:59:59-23:59", None),
        ("\u0661\u0662\u0663", None),
        ("1" * 5000, None),
    ],
    ids=lambda value: str(value)[:32],
)
@pytest.mark.parametrize("field", ["created_time", "modified_time"])
def test_text_times(field: str, text: str, read: datetime | None) -> None:
    """Digits and ISO 8601 are read; the rest is no moment; the text is kept, always."""
    key = made(**{field: text})

    assert (getattr(key, field), getattr(key, f"{field}_raw")) == (read, text)


@pytest.mark.parametrize(
    ("number", "seconds"),
    [
        (1_799_999_999_000, 1_799_999_999),
        (1_712_123_100_000, 1_712_123_100),
        (1_712_123_100_000_000, 1_712_123_100),
        (1_712_123_100_123_456_789, 1_712_123_100.123456),
        (17_121_231, 17_121_231),
    ],
)
@pytest.mark.parametrize("as_text", [True, False])
@pytest.mark.parametrize("field", ["created_time", "modified_time"])
def test_other_units_are_not_mistaken_for_a_date(field: str, number: int, seconds: float, *, as_text: bool) -> None:
    """Digits are no year, month and day: a moment that is not known is better than a wrong one."""
    key = made(**{field: str(number) if as_text else number})

    assert getattr(key, field) in {None, unix(seconds)}
    assert getattr(key, f"{field}_raw") == str(number)


@pytest.mark.parametrize(
    ("number", "read", "raw"),
    [
        (1_799_999_999, unix(1_799_999_999), "1799999999"),
        (1799999999.5, unix(1_799_999_999.5), "1799999999.5"),
        (0, None, "0"),
    ],
)
def test_text_times_may_be_numbers(number: float, read: datetime | None, raw: str) -> None:
    """The format is not documented, so a number is as good as its digits."""
    key = made(created_time=number)

    assert (key.created_time, key.created_time_raw) == (read, raw)


TIMES = ["last_used", "query_from", "query_to", "valid_until"]


@pytest.mark.parametrize("field", TIMES)
@pytest.mark.parametrize(
    ("number", "read"),
    [
        ("0", None),
        ("0.0", None),
        ("-0.0", None),
        ("1", unix(1)),
        ("1800000000.5", unix(1_800_000_000.5)),
        ("253402300799", unix(253_402_300_799)),
    ],
)
def test_unix_times(field: str, number: str, read: datetime | None) -> None:
    """Unix seconds become aware datetimes, and 0, which is no restriction, None."""
    body = json.dumps({"result": created(**{field: "HERE"})}).replace('"HERE"', number).encode()
    key = succeed(create_call(), answer(body))

    assert (getattr(key, field), key.unknown) == (read, {})


@pytest.mark.parametrize("operation", ["create_key", "list_keys"])
@pytest.mark.parametrize("field", TIMES)
@pytest.mark.parametrize(
    "number",
    ["253402300800", "1800000000000", "-62135596801", "1e300", "-1e300", "1e400", "1" * 400, "-" + "9" * 4300],
    ids=lambda number: number[:20],
)
def test_number_that_is_no_moment_is_kept(operation: str, field: str, number: str) -> None:
    """A time in another unit is no reason to lose a key over: it is kept in `unknown`."""
    text = json.dumps({"result": created(**{field: "HERE"})}).replace('"HERE"', number)
    if operation == "list_keys":
        text = text.replace('{"result": ', '{"result": [', 1)[:-1] + "]}"
    value = succeed(CALLS[operation], answer(text.encode()))
    key = value[0] if operation == "list_keys" else value

    assert getattr(key, field) is None
    assert {field: json.loads(number)} == {name: v for name, v in key.unknown.items() if name != "secret"}


@pytest.mark.parametrize(
    ("given_flags", "read"),
    [
        ({}, Permissions()),
        ({"funds_query": None}, Permissions()),
        ({"funds_query": True, "x_y": False, "z": None}, Permissions(funds_query=True, extra={"x_y": False})),
        (dict.fromkeys(Permissions.NAMES, True), Permissions.only(*Permissions.NAMES)),
    ],
)
def test_permissions(given_flags: dict[str, Any], read: Permissions) -> None:
    """An object of flags is what we know; flags that we do not know go to `extra`."""
    assert (read, {}) == (made(permissions=given_flags).permissions, made(permissions=given_flags).unknown)


@pytest.mark.parametrize(
    "odd",
    [
        ["funds_query"],
        "all",
        5,
        True,
        {"funds_query": 1},
        {"funds_query": "true"},
        {"a b": True},
        {"x": {"y": True}},
        [],
    ],
)
def test_odd_permissions_are_kept(odd: object) -> None:
    """Permissions of another shape are kept in `unknown`: their shape is not documented."""
    key = made(permissions=odd)

    assert (None, {"permissions": odd}) == (key.permissions, key.unknown)


WRONG_TYPES: list[tuple[dict[str, Any], str]] = [
    ({"secret": 5}, "$.result.secret: must be a string"),
    ({"secret": ["a"]}, "$.result.secret: must be a string"),
    ({"secret": ""}, "$.result.secret: must be a string with something in it"),
    ({"secret": None}, "$.result.secret: is missing"),
    ({"api_key": True}, "$.result.api_key: must be a string"),
    ({"api_key": None}, "$.result.api_key: is missing"),
]

# Fields beside the secret: each a fault in a list, and none a reason to lose a key that was just made.
WRONG_BESIDE: list[tuple[dict[str, Any], str]] = [
    ({"created_time": ["x"]}, "$.result.created_time: must be a string"),
    ({"id": 5}, "$.result.id: must be a string"),
    ({"ip_allowlist": "203.0.113.7"}, "$.result.ip_allowlist: must be a list of strings"),
    ({"ip_allowlist": {"a": 1}}, "$.result.ip_allowlist: must be a list of strings"),
    ({"ip_allowlist": ["a", None]}, "$.result.ip_allowlist: must be a list of strings"),
    ({"last_used": "1800000000"}, "$.result.last_used: must be Unix seconds"),
    ({"last_used": True}, "$.result.last_used: must be Unix seconds"),
    ({"nonce": "5"}, "$.result.nonce: must be a whole number"),
    ({"nonce": True}, "$.result.nonce: must be a whole number"),
    ({"nonce": 0.5}, "$.result.nonce: must be a whole number"),
    ({"nonce_window": []}, "$.result.nonce_window: must be a whole number"),
    ({"oauth_client": {}}, "$.result.oauth_client: must be a string"),
    ({"purpose": 1}, "$.result.purpose: must be a string"),
    ({"query_from": []}, "$.result.query_from: must be Unix seconds"),
    ({"valid_until": "2027-01-15"}, "$.result.valid_until: must be Unix seconds"),
]


@pytest.mark.parametrize(("changes", "fault"), WRONG_TYPES)
def test_wrong_type(changes: dict[str, Any], fault: str) -> None:
    """A value of the wrong type is told by its path, without the value."""
    error = unreadable(create_call(), answer({"result": created(**changes)}))

    path = path_of(fault)
    assert fault in error.faults
    assert fault in str(error)
    assert {path, f"{path}_raw"} >= {path_of(told) for told in error.faults}


@pytest.mark.parametrize(("changes", "fault"), WRONG_BESIDE)
def test_wrong_type_beside_the_secret(changes: dict[str, Any], fault: str) -> None:
    """In a list it is told; in the answer to a create, whose secret comes this once, it is kept as it came."""
    error = unreadable(CALLS["list_keys"], answer({"result": [created(**changes)]}))
    assert fault.replace("$.result.", "$.result[0].") in error.faults

    (field,) = changes
    key = made(**changes)
    assert SECRET == key.secret.get_secret_value()
    assert changes == key.unknown
    assert getattr(key, field) in {None, "standard"}
    assert key == attrs.evolve(made(**{field: None}), unknown=changes)


def test_all_wrong_types_are_told() -> None:
    """Each wrong field of an answer is on the list, those that the message has no room for too."""
    changes: dict[str, object] = {name: {} for name in created() if name != "permissions"}
    error = unreadable(create_call("grid-bot"), answer({"result": created(**changes) | {"api_key_name": 5}}))

    assert {f"$.result.{name}" for name in changes} <= {path_of(fault) for fault in error.faults}


@pytest.mark.parametrize("result", [None, [], [created()], "x", 5, True, False, 0.5])
def test_result_that_is_no_object(result: object) -> None:
    """A create answer's result is an object."""
    error = unreadable(create_call(), answer({"result": result}))

    assert error.faults == ("$.result: must be an object",)
    assert "It may have been carried out all the same." in str(error)


# ---------------------------------------------------------------- list, user, update, delete


def test_list() -> None:
    """A list may have all fields, or few; the halves of a key may be missing, or come along as unknown."""
    whole = created()
    del whole["secret"], whole["api_key"]
    keys = succeed(CALLS["list_keys"], answer({"result": [whole, {"api_key_name": "b"}, None, created(api_key=None)]}))

    assert isinstance(keys, tuple)
    assert [type(key) for key in keys] == [KeyInfo] * 3
    assert keys[0] == KeyInfo(
        **{field.name: getattr(made(), field.name) for field in attrs.fields(KeyInfo) if field.name != "api_key"}
    )
    assert keys[1] == KeyInfo(api_key_name="b")
    assert SECRET not in repr(keys)


@pytest.mark.parametrize("result", [[], None, [None]])
def test_empty_list(result: object) -> None:
    """No keys are no keys, however Kraken says it."""
    assert succeed(CALLS["list_keys"], answer({"result": result})) == ()


@pytest.mark.parametrize(
    ("result", "faults"),
    [
        ([{"api_key_name": "a"}, {"api_key_name": "b", "nonce": "x"}], ("$.result[1].nonce: must be a whole number",)),
        ([{}], ("$.result[0].api_key_name: is missing",)),
        ([{"api_key_name": None}], ("$.result[0].api_key_name: is missing",)),
        ([5], ("$.result[0]: must be an object",)),
        (
            [{"id": 5}, "x"],
            (
                "$.result[0].api_key_name: is missing",
                "$.result[0].id: must be a string",
                "$.result[1]: must be an object",
            ),
        ),
    ],
)
def test_wrong_type_in_a_list(result: object, faults: tuple[str, ...]) -> None:
    """Faults in a list have the entry's number."""
    error = unreadable(CALLS["list_keys"], answer({"result": result}))

    assert sorted(error.faults) == sorted(faults)
    assert error.summary.endswith("Ask again.")


@pytest.mark.parametrize("result", [{}, {"keys": []}, "", "grid-bot", 0, 5, 0.5, True, False])
def test_list_that_is_none(result: object) -> None:
    """What is no list is told as such."""
    error = unreadable(CALLS["list_keys"], answer({"result": result}))

    assert ["$.result"] == [path_of(fault) for fault in error.faults]


@pytest.mark.parametrize(
    ("result", "user"),
    [
        ({"email": "fake@example.com", "iban": "FAKE-1"}, UserInfo(email="fake@example.com", iban="FAKE-1")),
        ({}, UserInfo()),
        (None, UserInfo()),
        ({"email": None, "iban": None}, UserInfo()),
        ({"email": "fake@example.com", "kyc": 2}, UserInfo(email="fake@example.com", unknown={"kyc": 2})),
    ],
)
def test_user_info(result: object, user: UserInfo) -> None:
    """Both fields are optional, and more may come."""
    assert succeed(CALLS["get_user_info"], answer({"result": result})) == user


@pytest.mark.parametrize(
    ("result", "fault"),
    [
        ({"email": 5}, "$.result.email: must be a string"),
        ({"iban": ["FAKE-IIBAN"]}, "$.result.iban: must be a string"),
        ([], "$.result: must be an object"),
    ],
)
def test_wrong_type_of_user_info(result: object, fault: str) -> None:
    """The path is told, and nothing of the person."""
    error = unreadable(CALLS["get_user_info"], answer({"result": result}))

    assert error.faults == (fault,)
    assert "FAKE" not in shown_by(error)


@pytest.mark.parametrize("operation", ["update_key", "delete_key"])
@pytest.mark.parametrize(
    "response",
    [
        answer({"result": True}),
        answer({"result": None}),
        answer({"result": True, "error": []}),
        answer({"error": []}),
        answer({"error": ["WDatabase:No change"]}),
        answer(b"", 204),
    ],
)
def test_done(operation: str, response: WireResponse) -> None:
    """True is documented as the default, so a null or missing result is one, and so is 204."""
    assert succeed(CALLS[operation], response) is None


@pytest.mark.parametrize("operation", ["update_key", "delete_key"])
@pytest.mark.parametrize("result", [False, 0, 1, "true", {}, []])
def test_not_done(operation: str, result: object) -> None:
    """Anything but true leaves it open."""
    assert unreadable(CALLS[operation], answer({"result": result})).faults == ("$.result: must be true",)


@pytest.mark.parametrize("operation", ["create_key", "list_keys", "get_user_info"])
def test_204_where_a_result_is_needed(operation: str) -> None:
    """An answer without content cannot hold what was asked for."""
    assert "it is empty" in str(unreadable(CALLS[operation], answer(b"", 204)))


def test_warnings_come_along() -> None:
    """A warning alone is no failure, and is not swallowed either."""
    read = read_answer(create_call(), answer({"error": ["WGeneral:Danger", "WA:b"], "result": created()}), NOW)

    assert isinstance(read, Success)
    assert read.warnings == ("WGeneral:Danger", "WA:b")
    assert SECRET not in repr(read)


# ---------------------------------------------------------------- shapes of errors

SHAPES: list[tuple[str, object, tuple[str, ...]]] = [
    ("list", ["EAPI:Invalid key"], ("EAPI:Invalid key",)),
    ("string", "EAPI:Invalid key", ("EAPI:Invalid key",)),
    ("several", ["EAPI:Invalid key", "EBrand:New"], ("EAPI:Invalid key", "EBrand:New")),
    ("warning and error", ["WDatabase:No change", "EAPI:Invalid key"], ("WDatabase:No change", "EAPI:Invalid key")),
    ("oauth", "invalid_token", ("invalid_token",)),
    ("object", {"code": 5}, ('{"code": 5}',)),
    ("list of objects", [{"code": 5}], ('{"code": 5}',)),
    ("nested list", [["EAPI:Invalid key"]], ('["EAPI:Invalid key"]',)),
    ("number", 5, ("5",)),
    ("true", True, ("true",)),
    ("list of numbers", [5, 0.5], ("5", "0.5")),
    ("list of null", [None], ("null",)),
    ("list of an empty string", [""], ("",)),
    ("half a pair", ["E\ud800:x"], ("E\ud800:x",)),
]


@pytest.mark.parametrize("operation", CALLS)
@pytest.mark.parametrize(("error", "codes"), [row[1:] for row in SHAPES], ids=[row[0] for row in SHAPES])
@pytest.mark.parametrize("with_result", [True, False])
def test_shape_of_an_error(operation: str, error: object, codes: tuple[str, ...], *, with_result: bool) -> None:
    """An error in any shape is an error, beside a result as well, and its words are kept."""
    body = {"error": error, "result": True} if with_result else {"error": error}
    found = refused(CALLS[operation], answer(body))

    assert (codes, operation, 200) == (found.codes, found.operation, found.status)
    assert str(found).startswith(f"{operation}: Kraken answered 200: ")


@pytest.mark.parametrize("error", [None, [], "", {}, 0, False])
def test_empty_error_is_none(error: object) -> None:
    """An empty error says that nothing is wrong."""
    assert succeed(CALLS["delete_key"], answer({"error": error, "result": True})) is None
    assert succeed(create_call(), answer({"error": error, "result": created()})).api_key_name == "grid-bot"


@pytest.mark.parametrize(("head", "tail"), [("[", "]"), ('{"a":', "}")], ids=["lists", "objects"])
def test_deeply_nested_error_is_an_error(head: str, tail: str) -> None:
    """An error is an error however deep: near the limit, what could be read may be too deep to be written."""
    for depth in (*range(700, 1000), 5000):
        found = read_answer(create_call(), answer(f'{{"error": {head * depth}5{tail * depth}}}'.encode()), NOW)

        assert isinstance(found, FastKeyError)
        assert "unknown" == found.outcome
        assert len(str(found)) <= 700


def test_description_is_told() -> None:
    """OAuth's own words are part of the message (RFC 6749, section 5.2)."""
    error = refused(
        CALLS["list_keys"], answer({"error": "invalid_token", "error_description": "it\nhas\x1b[31m expired"}, 401)
    )

    assert error.summary == (
        "list_keys: Kraken answered 401: invalid_token (it has [31m expired). "
        "Get a new access token, or have the user authorize the app again."
    )


@pytest.mark.parametrize("description", [5, None, ["x"], {"a": "x"}, ""])
def test_odd_description_is_passed_over(description: object) -> None:
    """A description that is no text is none."""
    error = refused(CALLS["list_keys"], answer({"error": "invalid_token", "error_description": description}))

    assert str(error).startswith("list_keys: Kraken answered 200: invalid_token. ")


# ---------------------------------------------------------------- what cannot be read


@pytest.mark.parametrize("operation", CALLS)
@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"", "it is empty"),
        (b" \r\n", "it is empty"),
        (b"not json", "it is not JSON"),
        (b'{"result": ', "it is not JSON"),
        (b'{"result": NaN}', "it is not JSON"),
        (b'{"result": true, "a": -Infinity}', "it is not JSON"),
        (b'{"result": true, "a": ' + b"1" * 5000 + b"}", "it is not JSON"),
        (b"[" * 100_000, "it is not JSON"),
        (b'{"a":' * 50_000 + b"1" + b"}" * 50_000, "it is not JSON"),
        (b"\xff\xfe\x00", "it is not JSON"),
        (b'{"result": "\xff"}', "it is not JSON"),
        (b'{"result": true} {}', "it is not JSON"),
        (b"[]", "it is no JSON object"),
        (b"null", "it is no JSON object"),
        (b'"x"', "it is no JSON object"),
        (b"5", "it is no JSON object"),
        (b"{}", "it has no result"),
        (b'{"results": 5}', "it has no result"),
    ],
    ids=lambda value: value[:16].decode("latin-1") if isinstance(value, bytes) else "",
)
def test_unreadable(operation: str, body: bytes, reason: str) -> None:
    """A success status with a body that is none leaves it open what happened, and says why."""
    error = unreadable(CALLS[operation], answer(body, headers={"content-type": "application/json; charset=utf-8"}))

    assert f"Kraken's answer (200, application/json) is unreadable: {reason}" in str(error)
    assert "application/json" == error.media_type
    assert ("Ask again" in str(error)) is (operation not in {"create_key", "update_key"})


@pytest.mark.parametrize("operation", CALLS)
@pytest.mark.parametrize(
    ("completeness", "reason"),
    [("cut_off", "the connection closed before its end"), ("too_large", "it is larger than 1048576 bytes")],
)
def test_incomplete_answer(operation: str, completeness: Completeness, reason: str) -> None:
    """An answer that did not come to its end is not read, even if what is there is JSON."""
    body = json.dumps({"result": created()}).encode()
    error = unreadable(CALLS[operation], answer(body, completeness=completeness))

    assert reason in str(error)
    assert leaks(shown_by(error)) == []


@pytest.mark.parametrize("completeness", ["cut_off", "too_large"])
def test_status_of_an_incomplete_answer_counts(completeness: Completeness) -> None:
    """Half an error page is an error still, with what its status says of the outcome."""
    refusal = refused(create_call(), answer(b"<html>", 403, HTML, completeness))
    failure = refused(create_call(), answer(b'{"error": ["EGen', 502, {}, completeness))

    assert ("refused", "unknown") == (refusal.outcome, failure.outcome)


def test_large_answer_is_read() -> None:
    """An answer of as many bytes as are allowed is one like any other."""
    head, tail = b'{"result": true, "pad": "', b'"}'
    body = head + b"x" * (MAX_ANSWER_BYTES - len(head) - len(tail)) + tail

    assert MAX_ANSWER_BYTES == len(body)
    assert succeed(CALLS["delete_key"], answer(body)) is None


@pytest.mark.parametrize(
    "body",
    [
        b'{"error": ["' + b"EGeneral:Invalid arguments:" + b"name" * 5_000 + b'"]}',
        b'{"' + b'\\"' * 50_000,
        b"<title" * 20_000,
        b"<title>" * 20_000,
        b'{"error_description": "' + b"\\u0000" * 20_000 + b'", "error": "x"}',
    ],
    ids=lambda body: body[:12].decode(),
)
def test_hostile_answer_takes_no_time(body: bytes) -> None:
    """No answer holds up the event loop."""
    began = time.thread_time()
    error = read_answer(create_call(), answer(body), NOW)

    assert isinstance(error, FastKeyError)
    assert time.thread_time() - began < 0.25


# ---------------------------------------------------------------- messages


def test_page_of_the_edge() -> None:
    """An error page shows its title, its CF-Ray and what to do, and none of its HTML."""
    page = (
        b"<!DOCTYPE html><html><head><title>api.kraken.com | 502: Bad gateway</title></head>"
        b"<body><script>alert(1)</script>" + b"<p>Cloudflare</p>" * 500 + b"</body></html>"
    )
    error = refused(create_call(), answer(page, 502, HTML))

    assert error.summary == (
        "create_key: Kraken answered 502: api.kraken.com | 502: Bad gateway [CF-Ray 8f2a1b-FRA]. "
        "Kraken is down or overloaded: try again later."
    )
    assert len(error.summary) <= 200


@pytest.mark.parametrize(
    ("status", "body", "headers", "advice"),
    [
        (302, b"", {}, "check base_url"),
        (404, b"", {}, "There is no such address: check base_url"),
        (405, b"", {}, "There is no such address: check base_url"),
        (403, b"<html><title>Attention Required!", HTML, "its CF-Ray, if there is one, helps support"),
        (403, b'{"error": "insufficient_scope"}', {}, "needs the scope of the call"),
        (429, b"", {}, "Wait before the next request"),
        (401, b"", {}, "Get a new access token"),
        (200, b'{"error": ["EGeneral:Temporary lockout"]}', {}, "Send nothing for 15 minutes"),
        (200, b'{"error": ["EAccount:Too many API keys"]}', {}, "Delete a key that is no longer used"),
        (200, b'{"error": ["EAPI:Duplicate name"]}', {}, "Choose another api_key_name"),
        (200, b'{"error": ["EBrand:New"]}', {}, "see `codes` and `status`"),
        (418, b"", {}, "see `codes` and `status`"),
    ],
)
def test_message_says_what_to_do(status: int, body: bytes, headers: dict[str, str], advice: str) -> None:
    """Each error's message tells what to do next."""
    message = str(refused(create_call(), answer(body, status, headers)))

    assert advice in message
    assert message.startswith(f"create_key: Kraken answered {status}: ")


def test_key_not_found_says_what_to_do() -> None:
    """The names there are can be listed."""
    error = refused(CALLS["delete_key"], answer({"error": ["EAPI:Key not found"]}))

    assert "list_keys() tells the names there are" in str(error)


def test_no_text_is_told_as_such() -> None:
    """An empty answer leaves no hole in the message."""
    assert str(refused(create_call(), answer(b"", 500))).startswith("create_key: Kraken answered 500: no text. ")


HOSTILE = "\r\nINFO forged\x1b[2J\x00\u202e\u2028 <b>x</b>" * 300


def hostile_answers() -> Iterator[WireResponse]:
    """Yield answers with hostile text in each place of which something is shown."""
    odd = {"content-type": HOSTILE, "cf-ray": HOSTILE, "retry-after": HOSTILE, "date": HOSTILE}
    for status in (200, 302, 401, 403, 503):
        yield answer({"error": [HOSTILE, "E" + HOSTILE], "error_description": HOSTILE}, status, odd)
        yield answer({"error": {HOSTILE: HOSTILE}}, status, odd)
        yield answer({HOSTILE: HOSTILE, "result": [HOSTILE]}, status, odd)
        yield answer(HOSTILE.encode(), status, odd)
        yield answer(HOSTILE.encode(), status, {**odd, "content-type": "text/plain"})
        yield answer(f"<title>{HOSTILE}".encode(), status, HTML)


@pytest.mark.parametrize("operation", CALLS)
def test_hostile_text_is_tamed(operation: str) -> None:
    """Messages are one printable line of bounded length, whatever the server writes."""
    for response in hostile_answers():
        error = read_answer(CALLS[operation], response, NOW)

        assert isinstance(error, FastKeyError)
        assert str(error).isprintable()
        assert "\x1b" not in repr(error)
        assert len(str(error)) <= 700


# ---------------------------------------------------------------- waiting


def http_date(seconds: float) -> str:
    """Return a Unix time as an HTTP date."""
    return formatdate(seconds, usegmt=True)


@pytest.mark.parametrize(
    ("text", "wait"),
    [
        ("0", 0.0),
        ("1", 1.0),
        ("120", 120.0),
        ("  7  ", 7.0),
        ("007", 7.0),
        ("1.5", 1.5),
        ("1.", 1.0),
        ("86400000", 86_400_000.0),
        ("9" * 30, 1e30),
        ("9" * 400, None),
        ("9" * 5000, None),
        ("", None),
        ("   ", None),
        ("-1", None),
        ("-0", None),
        ("+5", None),
        (".5", None),
        ("1e3", None),
        ("1_000", None),
        ("0x10", None),
        ("inf", None),
        ("nan", None),
        ("NaN", None),
        ("\u0665", None),
        ("5 seconds", None),
        ("5, 10", None),
        ("soon", None),
        (http_date(NOW + 10), 10.0),
        (http_date(NOW), 0.0),
        (http_date(NOW - 3600), 0.0),
        (http_date(NOW + 10**8), 1e8),
        ("Fri, 15 Jan 2027 09:00:10 +0100", 10.0),
        ("Friday, 15-Jan-27 08:00:10 GMT", 10.0),
        ("Fri Jan 15 08:00:10 2027", 10.0),
        ("Fri, 15 Jan 2027 08:00:10", 10.0),
        ("Fri, 15 Jan 2027 08:00:10 -0000", 10.0),
        ("Fri, 32 Jan 2027 08:00:10 GMT", None),
        ("Fri, 15 Jan 2027 25:00:10 GMT", None),
        ("Fri, 15 Foo 2027 08:00:10 GMT", None),
        ("Fri, 15 Jan 100000 08:00:10 GMT", None),
        ("Fri, 15 Jan " + "9" * 5000 + " 08:00:10 GMT", None),
        ("Fri,", None),
        (",,,,,", None),
        ("Fri, 15 Jan 2027 08:00:10 +99999999999", None),
    ],
    ids=lambda value: str(value)[:40],
)
@pytest.mark.parametrize("zone", ["UTC", "America/New_York"])
def test_retry_after(text: str, wait: float | None, zone: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Seconds or a date say how long to wait, wherever this machine stands; what makes no sense says nothing."""
    monkeypatch.setenv("TZ", zone)
    time.tzset()
    try:
        waited = parse_retry_after({"retry-after": text}, NOW)
    finally:
        monkeypatch.undo()
        time.tzset()

    assert waited == wait


@pytest.mark.parametrize(
    ("date", "wait"),
    [
        (http_date(NOW + 3600), 10.0),
        (http_date(NOW + 3700), 0.0),
        (http_date(NOW + 3600 - 86400), 86_410.0),
        ("garbage", 3610.0),
        ("", 3610.0),
    ],
)
def test_retry_after_counts_from_the_servers_date(date: str, wait: float) -> None:
    """A clock here that is an hour slow does not make an hour's wait of ten seconds."""
    assert parse_retry_after({"retry-after": http_date(NOW + 3610), "date": date}, NOW) == wait


def test_no_retry_after() -> None:
    """Without the header nothing was asked."""
    assert parse_retry_after({"date": http_date(NOW)}, NOW) is None


@given(st.text() | st.from_regex(r"[A-Z][a-z]{2}, ?\d+ [A-Z][a-z]{2} \d+ [\d:]+( [A-Z+\-\d]+)?"), any_headers)
def test_retry_after_of_anything(text: str, headers: dict[str, str]) -> None:
    """Any header gives a finite number, 0 or more, or nothing."""
    wait = parse_retry_after(headers | {"retry-after": text}, NOW)

    assert wait is None or (wait >= 0 and math.isfinite(wait))


@pytest.mark.parametrize(
    ("code", "headers", "wait"),
    [
        ("EService:Throttled: 1800000003", {}, 3.0),
        ("EService:Throttled:1800000003", {}, 3.0),
        ("EService:Throttled: 1800000003.5", {}, 3.5),
        ("eservice:throttled: 1800000003", {}, 3.0),
        ("EService:Throttled: 1799999000", {}, 0.0),
        ("EService:Throttled: 99999999999", {}, 98_199_999_999.0),
        ("EService:Throttled", {}, None),
        ("EService:Throttled: soon", {}, None),
        ("EService:Throttled: 5", {}, None),
        ("EService:Throttled: 1800000003000", {}, None),
        ("EService:Throttled: 1800000003", {"retry-after": "9"}, 9.0),
        ("EService:Throttled: 1800000003", {"retry-after": "soon"}, 3.0),
        ("EAPI:Rate limit exceeded", {"retry-after": "5"}, 5.0),
        ("EAPI:Rate limit exceeded", {}, None),
        ("EAuth:Rate limit exceeded", {}, 60.0),
        ("EAuth:Too many requests", {"retry-after": "7"}, 7.0),
    ],
)
def test_wait_that_kraken_asks_for(code: str, headers: dict[str, str], wait: float | None) -> None:
    """The header comes first, then the moment that the code names, then what the code implies."""
    error = refused(create_call(), answer({"error": [code]}, 200, headers))

    assert (RateLimitedError, wait) == (type(error), error.retry_after)


@pytest.mark.parametrize("status", [429, 503, 401, 302])
def test_wait_of_any_refusal(status: int) -> None:
    """The header counts with any status."""
    assert refused(create_call(), answer(b"", status, {"retry-after": "12"})).retry_after == 12.0


# ---------------------------------------------------------------- anything at all


@given(calls, statuses, any_headers, st.binary(max_size=200), completenesses)
def test_any_bytes(
    call: Call[Any], status: int, headers: dict[str, str], body: bytes, completeness: Completeness
) -> None:
    """Any answer gives a result or an error of ours, with a printable message."""
    read = read_answer(call, WireResponse(status, headers, body, completeness), NOW)

    assert isinstance(read, Success | FastKeyError)
    assert str(read).isprintable() or isinstance(read, Success)


@given(
    calls,
    st.just(200) | statuses,
    json_values | st.fixed_dictionaries({"result": json_values}, optional={"error": json_values}),
)
def test_any_json(call: Call[Any], status: int, value: object) -> None:
    """Any JSON gives a result or an error of ours, and no error shows the secret in its message."""
    read = read_answer(call, answer(value, status), NOW)

    assert isinstance(read, Success | FastKeyError)
    if isinstance(read, FastKeyError):
        assert str(read).isprintable()
        assert leaks(str(read), least=16) == []


@given(calls, mutated_answers())
def test_mutated_answer(call: Call[Any], payload: dict[str, Any]) -> None:
    """A good answer with anything changed gives a result with its types, or an error that shows no secret."""
    read = read_answer(call, answer(payload), NOW)

    if isinstance(read, Success):
        shown = repr(read)
        if isinstance(read.value, FastApiKey):
            assert isinstance(read.value.secret, SecretStr)
            assert {str} == {type(read.value.api_key), type(read.value.api_key_name)}
    else:
        shown = shown_by(read)
        assert ("unknown" == read.outcome) or payload.get("error")
    assert leaks(shown, least=16) == []


# ---------------------------------------------------------------- canary


@pytest.mark.parametrize("media_type", ["application/json", "text/plain", "text/html", ""])
@pytest.mark.parametrize(("status", "completeness"), [(200, "complete"), (200, "cut_off"), (500, "complete")])
def test_cut_off_answer_shows_no_secret(media_type: str, status: int, completeness: Completeness) -> None:
    """A create answer that breaks off after any byte becomes an error without a piece of the secret."""
    body = json.dumps({"error": [], "result": created(api_key=SECRET[::-1])}).encode()
    found: list[str] = []
    for end in range(len(body)):
        error = read_answer(create_call(), answer(body[:end], status, {"content-type": media_type}, completeness), NOW)
        assert isinstance(error, FastKeyError)
        shown = f"{error} {error!r} {error.args} {getattr(error, 'excerpt', '')} {vars(error)}"
        found += leaks(shown) + leaks(shown, SECRET[::-1])

    assert [] == found


def canaries() -> Iterator[tuple[str, object]]:
    """Yield answers with the secret where it does not belong."""
    for name in sorted(created()):
        for kind, value in (("object", {"x": SECRET}), ("list", [[SECRET]]), ("text", SECRET), ("key", {SECRET: 1})):
            broken = {"secret": 5} if name == "api_key" else {"api_key": 5}
            yield f"{name} {kind}", {"result": created(**{name: value}) | broken}
    yield "result", {"result": SECRET}
    yield "list", {"result": [SECRET]}
    yield "key", {SECRET: True}
    yield "no object", [SECRET]
    yield "text", SECRET
    yield "beside an error", {"error": ["EGeneral:Internal error"], "result": created()}
    yield "in the error", {"error": [f"EGeneral:Internal error:{SECRET}"]}
    yield "as the error", {"error": SECRET}
    yield "in an object of the error", {"error": {"secret": SECRET}}
    yield "in the description", {"error": "invalid_token", "error_description": f"The token {SECRET} has expired"}


@pytest.mark.parametrize("operation", CALLS)
@pytest.mark.parametrize("status", [200, 401, 500])
@pytest.mark.parametrize("body", [row[1] for row in canaries()], ids=[row[0] for row in canaries()])
def test_misplaced_secret_is_not_shown(operation: str, status: int, body: object) -> None:
    """Wherever an answer has a secret, neither message nor excerpt nor faults nor traceback of the error show it."""
    read = read_answer(CALLS[operation], answer(body, status), NOW)
    shown = shown_by(read) if isinstance(read, FastKeyError) else repr(read)

    assert leaks(shown) == []


@given(payload=mutated_answers(), cls=st.sampled_from([KeyInfo, FastApiKey, UserInfo]))
def test_what_is_read_quickly_is_read_alike_with_care(payload: dict[str, Any], cls: type[Any]) -> None:
    """Whether an answer takes the quick way or cattrs' is not to be seen."""
    value = payload.get("result")
    try:
        quickly = read_usual(value, cls)
    except Exception:  # noqa: BLE001  # it is odd, and no way is prescribed how it says so
        return

    assert structure_and_tell(value, cls, "$") == quickly


def test_usual_answer_takes_the_quick_way() -> None:
    """The example of Kraken's kind is read without cattrs."""
    assert structure_and_tell(created(), FastApiKey, "$") == read_usual(created(), FastApiKey)
