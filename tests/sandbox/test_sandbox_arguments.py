"""Which bodies are refused, and in which words."""

import ipaddress
import json
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from hypothesis import given, settings, strategies as st
from sandbox_kit import FIELDS, START, Kit, running

from kraken_fastkey.sandbox._refusal import RefusalError
from kraken_fastkey.sandbox._scopes import PERMISSIONS
from kraken_fastkey.sandbox._validation import check_create, check_delete, check_update, read_object

WRITES = ["POST", "PUT", "DELETE"]


@pytest.fixture(name="kit")
async def _kit() -> AsyncIterator[Kit]:
    """Run a sandbox with a client."""
    async with running() as kit:
        await kit.create("held")
        yield kit


@pytest.mark.parametrize("method", WRITES)
@pytest.mark.parametrize(
    "media_type",
    [None, "", "text/plain", "application/x-www-form-urlencoded", "application/jsonp", "application/problem+json"],
)
async def test_media_type_must_be_json(kit: Kit, method: str, media_type: str | None) -> None:
    """A body of another media type is refused, however good it is."""
    answered = await kit.call(method, "/fast-api-key", body=b'{"api_key_name": "held"}', media_type=media_type)
    assert (answered.status, answered.errors) == (200, ["EGeneral:Invalid arguments"])
    assert len(kit.sandbox.keys()) == 1


async def test_media_type_with_parameters(kit: Kit) -> None:
    """A charset parameter and capitals do not matter."""
    for name, media_type in (("a", "application/json; charset=utf-8"), ("b", "Application/JSON")):
        body = json.dumps({"api_key_name": name}).encode()
        answered = await kit.call("POST", "/fast-api-key", body=body, media_type=media_type)
        assert answered.result["api_key_name"] == name


BROKEN = {
    "nothing": b"",
    "no JSON": b"api_key_name=bot",
    "cut off": b'{"api_key_name": "bot"',
    "a list": b'[{"api_key_name": "bot"}]',
    "a string": b'"bot"',
    "a number": b"1",
    "null": b"null",
    "not UTF-8": b'{"api_key_name": "\xff"}',
    "UTF-16": '{"api_key_name": "bot"}'.encode("utf-16"),
    "a byte order mark": b'\xef\xbb\xbf{"api_key_name": "bot"}',
    "NaN": b'{"api_key_name": "bot", "nonce_window": NaN}',
    "infinity": b'{"api_key_name": "bot", "nonce_window": Infinity}',
    "a field twice": b'{"api_key_name": "bot", "api_key_name": "bot"}',
    "too deep": b'{"api_key_name": ' + b"[" * 100_000,
    "too many digits": b'{"api_key_name": "bot", "nonce_window": ' + b"9" * 5000 + b"}",
    "larger than is taken": b'{"api_key_name": "bot"' + b" " * 2**20 + b"}",
}


@pytest.mark.parametrize("method", WRITES)
@pytest.mark.parametrize("body", BROKEN.values(), ids=BROKEN.keys())
async def test_body_must_be_a_json_object(kit: Kit, method: str, body: bytes) -> None:
    """What is no JSON object, strictly read, is refused without a field's name."""
    answered = await kit.call(method, "/fast-api-key", body=body)
    assert (answered.status, answered.errors) == (200, ["EGeneral:Invalid arguments"])


NAMES: list[Any] = ["", "x" * 33, 7, True, ["a"], {"a": 1}, "\ud800"]
NUMBERS: list[Any] = [True, False, -1, -0.5, "5", "", [], {}]
ALLOWLISTS: list[Any] = [
    "1.2.3.4",
    {},
    1,
    True,
    *(
        ["198.51.100.1", entry]
        for entry in (
            *(None, 1, "", "host", "1.2.3", "1.2.3.4.5", "256.1.1.1", "01.2.3.4", " 1.2.3.4", "1.2.3.4\n"),
            *("1.2.3.4/", "1.2.3.4/33", "1.2.3.4/-1", "1.2.3.4/24", "10.0.0.0/08", "10.0.0.0/255.0.0.0"),
            *("10.0.0.0/8/8", "2001:db8::1/32", "2001:db8::/129", "2001:db8:::/32", "fe80::1%eth0", "[::1]"),
            "1.2.3.4:80",
        )
    ),
]
NO_FLAGS: list[Any] = [1, 0, "true", [], {}]
FLAGS: list[Any] = [
    *([], "funds_query", True, {"funds": True}, {"Funds_query": None}),
    *({"funds_query": flag} for flag in NO_FLAGS),
]
FAULTY_VALUES: dict[str, list[Any]] = {
    "ip_allowlist": ALLOWLISTS,
    "nonce_window": [*NUMBERS, 2**64, 1.9e19],
    "permissions": FLAGS,
    "query_from": [*NUMBERS, 2**63],
    "query_to": [*NUMBERS, 2**63],
    "valid_until": [*NUMBERS, 2**63, 1, START - 1, START],
}
FAULTY = [(field, value) for field, values in FAULTY_VALUES.items() for value in values]


@pytest.mark.parametrize("name", NAMES)
async def test_faulty_name(kit: Kit, name: object) -> None:
    """A name is 1 to 32 characters of text, in each call."""
    for method in WRITES:
        answered = await kit.send(method, "/fast-api-key", {"api_key_name": name})
        assert (answered.status, answered.errors) == (200, [f"{FIELDS}api_key_name"])
    answered = await kit.update("held", new_api_key_name=name)
    assert answered.errors == [f"{FIELDS}new_api_key_name"]


@pytest.mark.parametrize("method", WRITES)
@pytest.mark.parametrize("fields", [{}, {"api_key_name": None}])
async def test_name_is_required(kit: Kit, method: str, fields: dict[str, object]) -> None:
    """Every call needs the name; the sandbox makes none up."""
    answered = await kit.send(method, "/fast-api-key", fields)
    assert answered.errors == [f"{FIELDS}api_key_name"]


@pytest.mark.parametrize("name", ["x", "x" * 32, "ü" * 32, "🗝" * 32, " ", "\n", "a/b?c"])
async def test_good_name(kit: Kit, name: str) -> None:
    """Characters are counted, not bytes, and any text will do."""
    assert (await kit.create(name)).result["api_key_name"] == name


@pytest.mark.parametrize(("field", "value"), FAULTY)
async def test_faulty_field(kit: Kit, field: str, value: Any) -> None:
    """A faulty field is named, in a create and in an update, and nothing is done."""
    before = kit.sandbox.keys()
    for answered in (await kit.create("new", **{field: value}), await kit.update("held", **{field: value})):
        assert (answered.status, answered.errors) == (200, [f"{FIELDS}{field}"])
    assert kit.sandbox.keys() == before


@pytest.mark.parametrize("field", ["nonce_window", "query_from", "query_to", "valid_until"])
async def test_number_beyond_every_float(kit: Kit, field: str) -> None:
    """A number that is JSON but no float is out of range, not infinity."""
    body = b'{"api_key_name": "new", "%s": 1e400}' % field.encode()
    answered = await kit.call("POST", "/fast-api-key", body=body)
    assert answered.errors == [f"{FIELDS}{field}"]


async def test_unknown_field(kit: Kit) -> None:
    """A field that the call does not have is refused; so are the key's fields in a delete."""
    assert (await kit.create("new", otp="1")).errors == [f"{FIELDS}otp"]
    assert (await kit.create("new", new_api_key_name=None)).errors == [f"{FIELDS}new_api_key_name"]
    assert (await kit.update("held", id="x")).errors == [f"{FIELDS}id"]
    assert (await kit.delete("held", nonce_window=0)).errors == [f"{FIELDS}nonce_window"]
    assert len(kit.sandbox.keys()) == 1


async def test_span(kit: Kit) -> None:
    """A start after the end is refused unless one of them is 0, no restriction."""
    assert (await kit.create("new", query_from=2, query_to=1)).errors == [f"{FIELDS}query_from"]
    for number, (start, end) in enumerate([(2, 2), (2, 0), (0, 2), (1, 2)]):
        assert (await kit.create(f"new-{number}", query_from=start, query_to=end)).status == 200
        assert kit.sandbox.keys()[-1].query_to == end


async def test_every_fault_at_once(kit: Kit) -> None:
    """One answer tells of all faults, each field once; it comes before missing scopes are spoken of."""
    answered = await kit.create(
        "",
        token=kit.sandbox.issue_token(scopes="account.fast-api-key:write"),
        ip_allowlist=["a", "b"],
        nonce_window="a",
        permissions={"funds_query": True, "what": True, "ever": True},
        query_from=-1,
        query_to=-1,
        valid_until=5,
        what=1,
    )
    fields = "api_key_name ip_allowlist nonce_window permissions query_from query_to valid_until what"
    assert sorted(answered.errors) == [f"{FIELDS}{field}" for field in fields.split()]


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=40),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
field_names = st.sampled_from(
    [
        "api_key_name",
        "new_api_key_name",
        "ip_allowlist",
        "nonce_window",
        "permissions",
        "query_from",
        "query_to",
        "valid_until",
    ]
)


def codes_of(call: Callable[[], object]) -> list[str]:
    """Return the errors of a call, none if it succeeds."""
    try:
        call()
    except RefusalError as refusal:
        return list(refusal.codes)
    return []


@settings(deadline=None)
@given(body=st.binary() | json_values.map(lambda value: json.dumps(value).encode()))
def test_any_bytes_are_an_object_or_refused(body: bytes) -> None:
    """No body makes the reader raise anything but a refusal."""
    codes = codes_of(lambda: read_object("application/json", body))
    if codes:
        assert codes == ["EGeneral:Invalid arguments"]
    else:
        assert read_object("application/json", body) == json.loads(body)


@settings(deadline=None)
@given(fields=st.dictionaries(field_names | st.text(max_size=8), json_values))
def test_any_fields_are_good_or_named(fields: dict[str, object]) -> None:
    """Each error names a field that was sent, once, or the name that was not sent."""
    for check in (check_create, check_update, check_delete):
        named = [code.removeprefix(FIELDS) for code in codes_of(lambda: check(fields, START))]  # noqa: B023
        assert len(set(named)) == len(named)
        assert set(named) <= {*fields, "api_key_name"}


flags = st.dictionaries(st.sampled_from(PERMISSIONS), st.booleans() | st.none())
times = st.just(0) | st.integers(int(START) + 1, 2**63 - 1) | st.floats(START + 1, 2**62)


@settings(deadline=None)
@given(window=st.integers(0, 2**64 - 1) | st.floats(0, 1e18), permissions=flags, until=times)
def test_good_fields_come_out_as_they_went_in(window: float, permissions: dict[str, bool | None], until: float) -> None:
    """No good value is refused, and none is changed, but that null flags are left out."""
    body = {"api_key_name": "a", "nonce_window": window, "permissions": permissions, "valid_until": until}
    found = check_create(read_object("application/json", json.dumps(body).encode()), START)
    assert (found.nonce_window, found.valid_until) == (window, until)
    assert type(found.nonce_window) is type(window)
    assert found.permissions == {name: flag for name, flag in permissions.items() if flag is not None}


@settings(deadline=None)
@given(name=st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=32), until=st.floats(0, 2**63))
def test_good_fields_are_taken(name: str, until: float) -> None:
    """A name of 1 to 32 characters and a time to come are always good; a time gone by never is, but for 0."""
    body: dict[str, object] = {"api_key_name": name, "valid_until": until}
    if until == 0 or START < until < 2**63:
        assert check_create(body, START).valid_until == until
    else:
        with pytest.raises(RefusalError, match="valid_until"):
            check_create(body, START)


@settings(deadline=None)
@given(address=st.ip_addresses())
def test_addresses_are_taken_as_they_are(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> None:
    """Every address is good, alone and as the smallest network."""
    entries = [str(address), f"{address}/{address.max_prefixlen}"]
    found = check_create({"api_key_name": "a", "ip_allowlist": entries}, START)
    assert found.ip_allowlist == tuple(entries)
