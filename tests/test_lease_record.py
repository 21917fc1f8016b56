"""LeaseRecord: what it takes, and that any of it comes back from its bytes; other bytes are refused."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import attrs
import pytest
from hypothesis import HealthCheck, example, given, settings, strategies as st
from strategies import (
    NOW,
    SECRET,
    answer,
    create_call,
    created,
    json_values,
    leaks,
    mutated_answers,
    names,
    package_locals,
    permissions,
)
from support import everything_shown

from kraken_fastkey import FastApiKey, InvalidRequestError, Permissions, SecretStr, StoreError
from kraken_fastkey._lease_record import LeaseRecord, lease_from_bytes, lease_to_bytes
from kraken_fastkey._wire import Success, read_answer

FIELDS = {field.name for field in attrs.fields(LeaseRecord)} | {"format"}
MOMENT = datetime(2027, 1, 15, 8, tzinfo=UTC)
KEY = FastApiKey(api_key_name="grid-bot", api_key="public-half", secret=SecretStr(SECRET))
GOOD: Mapping[str, Any] = {
    "format": 1,
    "owner": "00c0de",
    "generation": 3,
    "current": {"api_key_name": "grid-bot", "api_key": "public-half", "secret": SECRET, "unknown": {}},
    "retired": {},
    "holders": {},
}

moments = st.datetimes(
    datetime(1, 1, 3),  # noqa: DTZ001  # hypothesis adds the zone
    datetime(9999, 12, 29),  # noqa: DTZ001  # likewise
    timezones=st.sampled_from([UTC, timezone(timedelta(hours=-11)), timezone(timedelta(seconds=1))]),
)
texts = st.text()
later_fields = st.text().filter(lambda name: name not in FIELDS)
keys = st.builds(
    FastApiKey,
    api_key_name=names,
    api_key=texts,
    secret=st.text(min_size=1).map(SecretStr),
    id=st.none() | texts,
    created_time=st.none() | moments,
    created_time_raw=st.none() | texts,
    modified_time=st.none() | moments,
    modified_time_raw=st.none() | texts,
    ip_allowlist=st.none() | st.lists(texts, max_size=3).map(tuple),
    last_used=st.none() | moments,
    nonce=st.none() | st.integers(0, 10**400),
    nonce_window=st.none() | st.integers(0, 2**64 - 1),
    oauth_client=st.none() | texts,
    permissions=st.none() | permissions,
    purpose=texts,
    query_from=st.none() | moments,
    query_to=st.none() | moments,
    valid_until=st.none() | moments,
    unknown=st.dictionaries(texts, json_values, max_size=3),
)
records = st.builds(
    LeaseRecord,
    owner=st.text("0123456789abcdef", min_size=6, max_size=6),
    generation=st.integers(0),
    current=st.none() | keys,
    retired=st.dictionaries(names, moments, max_size=3),
    holders=st.dictionaries(st.text(min_size=1), moments, max_size=3),
    unknown=st.dictionaries(later_fields, json_values, max_size=3),
)


def _read(data: bytes) -> LeaseRecord | StoreError:
    try:
        return lease_from_bytes(data, "the place")
    except StoreError as error:
        assert str(error).startswith("the place ")  # noqa: PT017  # not all bytes are refused
        return error


def _changed(**changes: object) -> bytes:
    return json.dumps({**GOOD, **changes}).encode()


@given(record=records)
@settings(max_examples=300, suppress_health_check=[HealthCheck.too_slow])
def test_any_record_comes_back(record: LeaseRecord) -> None:
    """What was written is what is read, of the same types all the way down; again, it is the same bytes."""
    data = lease_to_bytes(record)
    again = lease_from_bytes(data, "the place")
    assert record == again
    assert data == lease_to_bytes(again)


@given(payload=mutated_answers())
@settings(max_examples=200)
@example({"result": created(), "error": []})
@example({"result": created(nonce=10**320, query_to=1e300, later={"a": [1.5, None]}), "error": []})
def test_any_key_of_kraken_comes_back(payload: dict[str, Any]) -> None:
    """Whatever could be read of Kraken's answer can be kept."""
    answered = read_answer(create_call(), answer(payload), NOW)
    if isinstance(answered, Success) and isinstance(answered.value, FastApiKey):
        record = LeaseRecord(owner="00c0de", current=answered.value)
        again = lease_from_bytes(lease_to_bytes(record), "the place")
        assert record == again
        assert again.current is not None
        assert answered.value.secret.get_secret_value() == again.current.secret.get_secret_value()


@given(data=st.binary() | json_values.map(lambda value: json.dumps(value).encode()))
@example(b"[" * 100_000)
@example(b'{"format":1,"owner":' + b"9" * 5000 + b"}")
@settings(max_examples=300)
def test_any_bytes_are_a_record_or_refused(data: bytes) -> None:
    """Any bytes give a record or a StoreError."""
    assert isinstance(_read(data), LeaseRecord | StoreError)


@given(data=st.data(), value=json_values)
@settings(max_examples=300)
def test_any_value_in_any_field_is_read_or_refused(data: st.DataObject, value: Any) -> None:
    """Whatever stands in a field's place: a record or a StoreError; and what was read can be written."""
    fields: dict[str, Any] = json.loads(_changed())
    place = data.draw(st.sampled_from([fields, fields["current"], fields["retired"]]))
    key_fields = [field.name for field in attrs.fields(FastApiKey)]
    place[data.draw(st.sampled_from(sorted({*place, *key_fields})))] = value
    record = _read(json.dumps(fields).encode())
    if isinstance(record, LeaseRecord):
        assert record == lease_from_bytes(lease_to_bytes(record), "the place")


def test_good_one_is_read() -> None:
    """The one that the tests below change is good."""
    assert LeaseRecord(owner="00c0de", generation=3, current=KEY) == _read(_changed())


@pytest.mark.parametrize(
    "changes",
    [
        {"owner": "00C0DE"},
        {"owner": None},
        {"generation": -1},
        {"generation": True},
        {"current": []},
        {"current": {**GOOD["current"], "secret": ""}},
        {"current": {**GOOD["current"], "secret": None}},
        {"current": {**GOOD["current"], "api_key": 5}},
        {"current": {**GOOD["current"], "nonce": 1.0}},
        {"current": {**GOOD["current"], "nonce": True}},
        {"current": {**GOOD["current"], "ip_allowlist": "1.1.1.1"}},
        {"current": {**GOOD["current"], "ip_allowlist": [1]}},
        {"current": {**GOOD["current"], "permissions": {"funds_query": "yes"}}},
        {"current": {**GOOD["current"], "permissions": ["funds_query"]}},
        {"current": {**GOOD["current"], "valid_until": 5}},
        {"current": {**GOOD["current"], "unknown": [["a", 1]]}},
        {"retired": {"one": "2027-01-15T08:00:00"}},
        {"retired": {"": "2027-01-15T08:00:00+00:00"}},
        {"retired": []},
        {"holders": None},
        {"format": 0},
        {"format": "1"},
        {"format": True},
        {"format": 10**9},
    ],
    ids=str,
)
def test_wrong_fields_are_refused(changes: dict[str, Any]) -> None:
    """A record with a wrong field is refused as a whole, and the error shows none of it."""
    error = _read(_changed(**changes))
    assert isinstance(error, StoreError)
    told = "the place holds what could not be a lease's record: see whether the place is right; if so, delete it"
    assert str(error).startswith(told)
    assert [] == leaks(package_locals(error) + everything_shown(error))
    assert error.__context__ is None


@pytest.mark.parametrize("missing", sorted(GOOD))
def test_missing_fields_are_refused(missing: str) -> None:
    """A record without one of its fields is none."""
    assert isinstance(_read(json.dumps({name: GOOD[name] for name in GOOD if name != missing}).encode()), StoreError)


def test_newer_format_says_so() -> None:
    """A record of a later format is not guessed at."""
    told = "the place was written by a newer version of this library (format 2): update it here"
    error = _read(_changed(format=2))
    assert isinstance(error, StoreError)
    assert told == error.summary


def test_fields_of_later_versions_are_kept() -> None:
    """What a later version has added, to the record or to its key, is kept."""
    record = _read(_changed(later=[1], current={**GOOD["current"], "later": {"a": None}, "unknown": {"b": 2}}))
    assert isinstance(record, LeaseRecord)
    assert record.current is not None
    assert {"later": [1]} == record.unknown
    assert {"later": {"a": None}, "b": 2} == record.current.unknown
    assert record == lease_from_bytes(lease_to_bytes(record), "the place")


def test_flag_that_was_documented_since_is_read() -> None:
    """A permission goes where this version has it, whatever the one that wrote it made of it."""
    record = _read(_changed(current={**GOOD["current"], "permissions": {"funds_query": True, "more": False}}))
    assert isinstance(record, LeaseRecord)
    assert record.current is not None
    assert Permissions(funds_query=True, extra={"more": False}) == record.current.permissions


def test_all_faults_are_told_at_once() -> None:
    """Each field is checked, and what is wrong is not shown where it could be a secret."""
    wrong: Any = {
        "owner": "00C0DE",
        "generation": True,
        "current": {"secret": SECRET},
        "retired": {"one": datetime(2027, 1, 15)},  # noqa: DTZ001  # that is what is wrong
        "holders": {"one": datetime.min.replace(tzinfo=timezone(timedelta(hours=1)))},
        "unknown": SECRET,
    }
    with pytest.raises(InvalidRequestError) as raised:
        LeaseRecord(**wrong)
    assert {
        "owner": "must be 6 of 0-9 and a-f",
        "generation": "must be an int, 0 or more",
        "current": "must be a FastApiKey, not dict",
        "retired": "a moment must be a datetime with a time zone",
        "holders": "a moment is out of the years 1 to 9999, in UTC",
        "unknown": "must be a mapping",
    } == raised.value.faults
    assert [] == leaks(package_locals(raised.value))


@pytest.mark.parametrize(("field", "value"), [("retired", {1: MOMENT}), ("holders", {"": MOMENT})])
def test_wrong_mappings_are_told(field: str, value: Any) -> None:
    """Mappings go from names to moments."""
    with pytest.raises(InvalidRequestError, match=f"^{field}: "):
        LeaseRecord(owner="00c0de", **{field: value})


def test_mappings_cannot_be_changed() -> None:
    """A frozen record stays frozen all the way down, and what it was made of is not part of it."""
    retired = {"one": MOMENT.astimezone(timezone(timedelta(hours=3)))}
    record = LeaseRecord(owner="00c0de", retired=retired)
    retired.clear()
    assert {"one": MOMENT} == record.retired
    assert UTC is record.retired["one"].tzinfo
    for mapping in (record.retired, record.holders, record.unknown):
        with pytest.raises(TypeError, match="cannot be changed"):
            mapping["two"] = MOMENT  # type: ignore[index]
    assert hash(record) == hash(attrs.evolve(record))


def test_repr_shows_no_secret() -> None:
    """Neither the key's secret, nor what stands in fields that are not known, is in the repr."""
    shown = repr(LeaseRecord(owner="00c0de", current=KEY, unknown={"later": SECRET}))
    assert [] == leaks(shown)
    assert "unknown=['later']" in shown


@pytest.mark.parametrize("value", [object(), {1j: 2}, b"bytes"])
def test_what_json_cannot_say_is_told(value: object) -> None:
    """A record that cannot be written is a StoreError whose frames show no secret."""
    record = LeaseRecord(owner="00c0de", current=attrs.evolve(KEY, unknown={"later": value}))
    with pytest.raises(
        StoreError, match="cannot be kept: a field of its key, or of its own, is none of JSON's"
    ) as raised:
        lease_to_bytes(record)
    assert [] == leaks(package_locals(raised.value) + everything_shown(raised.value))
    assert raised.value.__context__ is None
