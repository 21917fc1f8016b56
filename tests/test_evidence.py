"""What a list proves, and what it does not: pure judgement."""

from __future__ import annotations

from datetime import UTC, datetime
from email.utils import formatdate
from typing import Any

import pytest
from hypothesis import given, strategies as st

from kraken_fastkey import KeyInfo, Permissions
from kraken_fastkey._evidence import CreateVerdict, Listing, judge_create, judge_update

NOW = 1_800_000_000
PARAMETERS: dict[str, Any] = {
    "permissions": {"funds_query": True},
    "ip_allowlist": ["203.0.113.7", "2001:db8::/32"],
    "nonce_window": 5,
    "valid_until": NOW + 60,
}


def _key(created: float | None = NOW, **fields: Any) -> KeyInfo:
    known: dict[str, Any] = {
        "api_key_name": "grid-bot",
        "created_time": None if created is None else datetime.fromtimestamp(created, UTC),
        "created_time_raw": None if created is None else str(created),
        "permissions": Permissions(funds_query=True),
        "ip_allowlist": ("203.0.113.7/32", "2001:0db8::/32"),
        "nonce_window": 5,
        "valid_until": datetime.fromtimestamp(NOW + 60, UTC),
    }
    return KeyInfo(**(known | fields))


def _listing(*keys: KeyInfo, date: float | None = NOW + 1, received: float = 101.0) -> Listing:
    return Listing(
        {key.api_key_name: key for key in keys}, "" if date is None else formatdate(date, usegmt=True), received
    )


def _judge(
    *keys: KeyInfo, sent: float = 100.0, seen_absent: bool = False, held: bool = False, **of: Any
) -> CreateVerdict:
    return judge_create(
        _listing(*keys, **of),
        "grid-bot",
        PARAMETERS,
        sent=sent,
        seen_absent=seen_absent,
        is_held=lambda _, __: held,
    )


def test_a_name_that_is_not_listed_is_absent() -> None:
    """Other keys do not matter."""
    assert "absent" == _judge()
    assert "absent" == _judge(_key(api_key_name="trend-bot"))


@pytest.mark.parametrize(
    ("age", "verdict"),
    [
        # Sent 1 s before the list came: made at that second or later is made by it.
        (0, "ours"),
        (-3600, "ours"),
        (1, "ours"),
        # A little before: the clocks of a server's parts may differ, so that it cannot be told.
        (2, "unclear"),
        (5, "unclear"),
        # Long before.
        (6, "before"),
        (7, "before"),
        (86_400, "before"),
    ],
)
def test_the_time_tells_whose_key_it_is(age: float, verdict: CreateVerdict) -> None:
    """By the server's clock alone: the moment of sending is the list's date less the time since."""
    assert verdict == _judge(_key(NOW - age))


def test_the_time_since_sending_is_reckoned() -> None:
    """A key of a minute ago is the request's own if that was sent a minute ago."""
    assert "before" == _judge(_key(NOW - 60))
    assert "ours" == _judge(_key(NOW - 60), sent=40.0)


@pytest.mark.parametrize("of", [{"date": None}, {"created": None}])
def test_without_times_only_a_key_that_was_absent_before_is_ours(of: dict[str, Any]) -> None:
    """A server that tells no time, or writes it in a way that we cannot read."""
    key = _key(**{name: value for name, value in of.items() if name == "created"})
    date = {name: value for name, value in of.items() if name == "date"}
    assert "unclear" == _judge(key, **date)
    assert "ours" == _judge(key, seen_absent=True, **date)


@pytest.mark.parametrize(
    "field",
    [
        {"permissions": Permissions(funds_query=True, funds_withdraw=True)},
        {"permissions": Permissions(ledger_query=True)},
        {"ip_allowlist": ()},
        {"ip_allowlist": ("203.0.113.7",)},
        {"nonce_window": 6},
        {"valid_until": None},
        {"valid_until": datetime.fromtimestamp(NOW + 61, UTC)},
        {"query_from": datetime.fromtimestamp(1, UTC)},
    ],
)
def test_other_parameters_make_it_unclear(field: dict[str, Any]) -> None:
    """A key of the right time that is not what was asked for may be somebody else's: it is not deleted."""
    assert "unclear" == _judge(_key(**field))


def test_what_the_list_does_not_tell_is_no_evidence() -> None:
    """A list without permissions or addresses is enough; 0 and none are the same."""
    assert "ours" == _judge(_key(permissions=None, ip_allowlist=None))
    bare = _key(permissions=Permissions(), ip_allowlist=(), nonce_window=None, valid_until=None)
    listing = _listing(bare)
    parameters = {"query_from": 0, "valid_until": 0}
    verdict = judge_create(listing, "grid-bot", parameters, sent=100, seen_absent=False, is_held=lambda _, __: False)
    assert "ours" == verdict


def test_a_key_that_somebody_holds_was_there_before() -> None:
    """Whatever the times say."""
    assert "before" == _judge(_key(), held=True)


@given(
    created=st.integers(NOW - 100, NOW + 100),
    elapsed=st.floats(0, 90),
    before=st.floats(7, 90),
)
def test_a_key_of_long_before_is_never_ours(created: int, elapsed: float, before: float) -> None:
    """Whatever the server's clock says, a key made well before the request was sent is not taken for its own."""
    date = int(created + before + elapsed)  # created, then `before` s later sent, then listed
    assert "ours" != _judge(_key(created), sent=100 - elapsed, received=100.0, date=date)


@given(commit=st.floats(0, 60), after=st.floats(0, 60), latency=st.floats(0, 5), start=st.floats(0, 0.999))
def test_a_key_made_by_the_request_is_never_before(commit: float, after: float, latency: float, start: float) -> None:
    """Sent, made, listed, received: wherever the seconds are cut, it is the request's own."""
    sent = NOW + start
    made = int(sent + commit)
    dated = int(sent + commit + after)
    received = 100 + commit + after + latency
    assert "ours" == _judge(_key(made), sent=100.0, received=received, date=dated)


@pytest.mark.parametrize(
    ("keys", "new_name", "parameters", "verdict"),
    [
        ([], None, {}, "gone"),
        ([], "trend-bot", {}, "gone"),
        ([_key()], None, PARAMETERS, "done"),
        ([_key()], None, {"nonce_window": 6}, "not_done"),
        ([_key()], None, {"permissions": {"funds_query": True}}, "done"),
        ([_key()], None, {"permissions": {"funds_query": False}}, "not_done"),
        ([_key()], None, {"permissions": {"funds_earn": False}}, "done"),
        ([_key()], None, {"valid_until": 0}, "not_done"),
        ([_key(valid_until=None)], None, {"valid_until": 0}, "done"),
        ([_key()], None, {"ip_allowlist": []}, "not_done"),
        ([_key()], "trend-bot", {}, "not_done"),
        ([_key()], "grid-bot", {}, "done"),
        ([_key(api_key_name="trend-bot")], "trend-bot", {}, "done"),
        ([_key(api_key_name="trend-bot")], "trend-bot", {"nonce_window": 6}, "not_done"),
        ([_key(), _key(api_key_name="trend-bot")], "trend-bot", {}, "not_done"),
    ],
)
def test_what_becomes_of_an_update(
    keys: list[KeyInfo], new_name: str | None, parameters: dict[str, Any], verdict: str
) -> None:
    """It is done if the key is as wanted; a rename, if it has left its old name."""
    assert verdict == judge_update(_listing(*keys), "grid-bot", new_name, parameters, sent=100)


def test_an_address_that_is_none_is_compared_as_it_is() -> None:
    """Kraken may list what no library reads."""
    key = _key(ip_allowlist=("somewhere",))
    assert "done" == judge_update(_listing(key), "grid-bot", None, {"ip_allowlist": ["somewhere"]}, sent=100)
    assert "not_done" == judge_update(_listing(key), "grid-bot", None, {"ip_allowlist": ["elsewhere"]}, sent=100)


def test_a_key_of_the_new_name_that_was_not_changed_is_another_s() -> None:
    """A rename shows in the time of the last change; where that is long ago, the list is not up to date."""
    for ago, verdict in ((0, "done"), (3, "done"), (60, "not_done")):
        other = _key(api_key_name="trend-bot", modified_time=datetime.fromtimestamp(NOW - ago, UTC))
        assert verdict == judge_update(_listing(other), "grid-bot", "trend-bot", {}, sent=100)


def test_key_that_is_as_wanted_since_before_tells_nothing() -> None:
    """A list that lags shows how the key was before a change that came between: perhaps just as it is to be now."""
    for ago, verdict in ((0, "done"), (3, "done"), (60, "unclear")):
        key = _key(modified_time=datetime.fromtimestamp(NOW - ago, UTC))
        assert verdict == judge_update(_listing(key), "grid-bot", None, PARAMETERS, sent=100)

    assert "unclear" == judge_update(_listing(_key()), "grid-bot", None, PARAMETERS, sent=100, changed_before=True)
    assert "not_done" == judge_update(
        _listing(_key()), "grid-bot", None, {"nonce_window": 6}, sent=100, changed_before=True
    )
