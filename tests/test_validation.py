"""Checks of single fields: what is good is made regular, what is wrong is told with a way to mend it."""

import calendar
import ipaddress
from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone, tzinfo
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import example, given, strategies as st
from strategies import LAST, allowlist_entries, future_times, names, past_times

from kraken_fastkey._validation import (
    FieldError,
    Time,
    check_allowlist,
    check_name,
    check_nonce_window,
    check_time,
    to_unix,
)

NEW_YORK = timezone(timedelta(hours=-5))


class NoOffset(tzinfo):
    """A time zone that does not say how far it is from UTC: its datetimes count as naive."""

    def utcoffset(self, _: datetime | None) -> None:
        """Return nothing."""

    dst = utcoffset

    def tzname(self, _: datetime | None) -> str:
        """Return a name."""
        return "nowhere"


@pytest.mark.parametrize("name", ["a", "a" * 32, "grid bot", "ключ", "🔑" * 32, " ", "-"])
def test_name_is_kept(name: str) -> None:
    """Each string of 1 to 32 characters is a name, and stays as it is."""
    assert check_name(name) == name


@pytest.mark.parametrize(
    ("name", "fault"),
    [
        ("", "is empty: a key's name has 1 to 32 characters"),
        ("a" * 33, "has 33 characters: a key's name has 1 to 32"),
        ("🔑" * 33, "has 33 characters: a key's name has 1 to 32"),
        ("a" * 10**6, "has 1000000 characters: a key's name has 1 to 32"),
        ("half \ud83d", "holds half of a surrogate pair, which is not valid Unicode"),
        (None, "must be a string, not None"),
        (5, "must be a string, not int"),
        (b"name", "must be a string, not bytes"),
    ],
)
def test_name_is_refused(name: object, fault: str) -> None:
    """What is no name is refused, with the rule that it breaks."""
    with pytest.raises(FieldError) as caught:
        check_name(name)

    assert str(caught.value) == fault


@pytest.mark.parametrize(
    ("entry", "regular"),
    [
        ("203.0.113.7", "203.0.113.7"),
        ("203.0.113.0/24", "203.0.113.0/24"),
        ("203.0.113.0/255.255.255.0", "203.0.113.0/24"),
        ("0.0.0.0/0", "0.0.0.0/0"),
        ("203.0.113.7/32", "203.0.113.7/32"),
        ("2001:DB8:0:0::1", "2001:db8::1"),
        ("2001:db8::/32", "2001:db8::/32"),
        ("::", "::"),
        (ipaddress.ip_address("203.0.113.7"), "203.0.113.7"),
        (ipaddress.ip_address("2001:db8::1"), "2001:db8::1"),
        (ipaddress.ip_network("203.0.113.0/24"), "203.0.113.0/24"),
        (ipaddress.ip_network("2001:db8::/32"), "2001:db8::/32"),
    ],
)
def test_allowlist_entry_is_made_regular(entry: object, regular: str) -> None:
    """An address or network comes out in its standard spelling."""
    assert check_allowlist([entry]) == (regular,)


NEITHER = "is neither an IP address nor a network such as '203.0.113.0/24'"
ZONE = "has a zone, which means nothing outside one machine: leave it out"


@pytest.mark.parametrize(
    ("entry", "fault"),
    [
        (
            "10.0.0.1/8",
            "'10.0.0.1/8' has host bits set: write '10.0.0.0/8' for the network or '10.0.0.1' for the one address",
        ),
        (
            "2001:db8::1/32",
            (
                "'2001:db8::1/32' has host bits set: "
                "write '2001:db8::/32' for the network or '2001:db8::1' for the one address"
            ),
        ),
        ("not-an-ip", f"'not-an-ip' {NEITHER}"),
        ("", f"'' {NEITHER}"),
        (" 10.0.0.1", f"' 10.0.0.1' {NEITHER}"),
        ("010.0.0.1", f"'010.0.0.1' {NEITHER}"),
        ("10.0.0.0/33", f"'10.0.0.0/33' {NEITHER}"),
        ("10.0.0.0/", f"'10.0.0.0/' {NEITHER}"),
        ("10.0.0.0/-1", f"'10.0.0.0/-1' {NEITHER}"),
        ("10.0.0.256", f"'10.0.0.256' {NEITHER}"),
        ("2001:db8::/129", f"'2001:db8::/129' {NEITHER}"),
        ("\u0661.1.1.1", f"'\u0661.1.1.1' {NEITHER}"),
        ("x" * 1000, f"'{'x' * 64}' {NEITHER}"),
        ("fe80::1%eth0", f"'fe80::1%eth0' {ZONE}"),
        (ipaddress.ip_address("fe80::1%eth0"), f"'fe80::1%eth0' {ZONE}"),
        (5, "an entry must be a string, not int"),
        (None, "an entry must be a string, not None"),
        (b"10.0.0.1", "an entry must be a string, not bytes"),
    ],
)
def test_allowlist_entry_is_refused(entry: object, fault: str) -> None:
    """What is no address is refused, and a network with host bits set is told both things it may mean."""
    with pytest.raises(FieldError) as caught:
        check_allowlist([entry])

    assert str(caught.value) == fault


def test_allowlist_tells_all_wrong_entries() -> None:
    """One look is enough to mend a list."""
    with pytest.raises(FieldError) as caught:
        check_allowlist(["10.0.0.1", "one", 2])

    assert str(caught.value) == f"'one' {NEITHER}, an entry must be a string, not int"


@pytest.mark.parametrize(
    ("value", "kind"),
    [("10.0.0.1", "str"), (b"10.0.0.1", "bytes"), (None, "None"), (5, "int"), (ipaddress.ip_address(1), "IPv4Address")],
)
def test_allowlist_is_refused(value: object, kind: str) -> None:
    """A bare address, whose characters would be iterated, is no list."""
    with pytest.raises(FieldError) as caught:
        check_allowlist(value)

    assert str(caught.value) == f"must be a list of addresses and networks, not {kind}: write [...] around it"


@given(st.lists(allowlist_entries))
def test_allowlist_means_what_was_given(entries: list[Any]) -> None:
    """Nothing is lost, nothing reordered, and each text means the address or network that was given."""
    made = check_allowlist(entries)

    assert [str(ipaddress.ip_network(str(entry))) for entry in entries] == [
        str(ipaddress.ip_network(entry)) for entry in made
    ]
    assert made == check_allowlist(made)


@pytest.mark.parametrize("value", [0, 1, 10_000, 2**53 + 1, 2**64 - 1])
def test_nonce_window_is_kept(value: int) -> None:
    """A window may be any distance of two unsigned 64-bit numbers."""
    assert check_nonce_window(value) == value


@pytest.mark.parametrize(
    ("value", "fault"),
    [
        (True, "must be an int, not bool"),
        (False, "must be an int, not bool"),
        (1.0, "must be an int, not float"),
        ("5", "must be an int, not str"),
        (None, "must be an int, not None"),
        (-1, "must be from 0 to 2**64 - 1"),
        (2**64, "must be from 0 to 2**64 - 1"),
    ],
)
def test_nonce_window_is_refused(value: object, fault: str) -> None:
    """What is no window is refused; `True` is no number."""
    with pytest.raises(FieldError) as caught:
        check_nonce_window(value)

    assert str(caught.value) == fault


GOOD_TIMES: list[Time] = [
    0,
    0.0,
    -0.0,
    1,
    1.5,
    LAST,
    float(LAST),
    timedelta(days=7),
    timedelta(days=-7),
    timedelta(0),
    datetime(2027, 1, 15, tzinfo=UTC),
    datetime(1970, 1, 1, 0, 0, 1, tzinfo=UTC),
    datetime(9999, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC),
    datetime(1969, 12, 31, 20, tzinfo=NEW_YORK),
]


@pytest.mark.parametrize("value", GOOD_TIMES)
def test_time_is_kept(value: Time) -> None:
    """A moment stays as it was given, since a `timedelta` counts from the moment of sending."""
    assert value is check_time(value)


NAIVE = "is a datetime without a time zone, which could mean anything: give it one, such as datetime.now(timezone.utc)"
OUTSIDE = "must be after the first second of 1970, and before the year 10000"
TOO_SMALL = "must be Unix seconds, 1 or more, or 0 for no restriction"
TOO_LARGE = "is after the year 9999: Unix seconds are meant, not milliseconds or nanoseconds"


@pytest.mark.parametrize(
    ("value", "fault"),
    [
        (datetime(2027, 1, 15), NAIVE),  # noqa: DTZ001  # the fault itself
        (datetime(2027, 1, 15, tzinfo=NoOffset()), NAIVE),
        (datetime(1970, 1, 1, tzinfo=UTC), OUTSIDE),
        (datetime(1970, 1, 1, 0, 0, 0, 999_999, tzinfo=UTC), OUTSIDE),
        (datetime(1, 1, 1, tzinfo=timezone(timedelta(hours=14))), OUTSIDE),
        (datetime(9999, 12, 31, 23, 59, 59, tzinfo=NEW_YORK), OUTSIDE),
        (-1, TOO_SMALL),
        (-0.5, TOO_SMALL),
        (0.5, TOO_SMALL),
        (float("nan"), TOO_SMALL),
        (float("inf"), TOO_SMALL),
        (float("-inf"), TOO_SMALL),
        (LAST + 1, TOO_LARGE),
        (1_800_000_000_000, TOO_LARGE),
        (1_800_000_000_000_000_000, TOO_LARGE),
        (1e300, TOO_LARGE),
        pytest.param(10**400, TOO_LARGE, id="10**400"),
        pytest.param(-(10**400), TOO_SMALL, id="-(10**400)"),
        (True, "must be an aware datetime, a timedelta from now or Unix seconds, not bool"),
        ("2027-01-15", "must be an aware datetime, a timedelta from now or Unix seconds, not str"),
        (None, "must be an aware datetime, a timedelta from now or Unix seconds, not None"),
        (
            datetime(2027, 1, 15, tzinfo=UTC).date(),
            "must be an aware datetime, a timedelta from now or Unix seconds, not date",
        ),
    ],
)
def test_time_is_refused(value: object, fault: str) -> None:
    """What is no moment is refused, with what was probably meant."""
    with pytest.raises(FieldError) as caught:
        check_time(value)

    assert str(caught.value) == fault


@pytest.mark.parametrize(
    ("value", "now", "unix"),
    [
        (0, 5.0, 0),
        (0.0, 5.0, 0),
        (1.999, 5.0, 1),
        (LAST, 5.0, LAST),
        (datetime(2027, 1, 15, 8, tzinfo=UTC), 5.0, 1_800_000_000),
        (datetime(2027, 1, 15, 8, 0, 0, 999_999, tzinfo=UTC), 5.0, 1_800_000_000),
        (datetime(2027, 1, 15, 3, tzinfo=NEW_YORK), 5.0, 1_800_000_000),
        (datetime(9999, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC), 5.0, LAST),
        (timedelta(seconds=10), 1_800_000_000.0, 1_800_000_010),
        (timedelta(seconds=10), 1_800_000_000.75, 1_800_000_010),
        (timedelta(seconds=0.25), 1_800_000_000.75, 1_800_000_001),
        (timedelta(days=-1), 1_800_000_000.5, 1_799_913_600),
    ],
)
def test_to_unix(value: Time, now: float, unix: int) -> None:
    """A moment becomes whole seconds, rounded down; a `timedelta` counts from the given present."""
    made = to_unix(value, now)

    assert (unix, int) == (made, type(made))


@pytest.mark.parametrize(
    "value",
    [timedelta.max, timedelta.min, timedelta(days=3_999_999), timedelta(days=-30_000), timedelta(days=4_000_000)],
)
def test_to_unix_stays_in_the_calendar(value: timedelta) -> None:
    """A `timedelta` that leads before 1970 or past 9999 is a fault, not an overflow."""
    with pytest.raises(FieldError, match=r"^leads out of the years 1970 to 9999$"):
        to_unix(value, 1_800_000_000.0)


@given(past_times | future_times, st.integers(1_600_000_000, 2_000_000_000))
def test_to_unix_is_exact(value: Time, now: int) -> None:
    """Whole seconds are those of exact arithmetic: no float rounds them up."""
    match value:
        case datetime():
            exact = calendar.timegm(value.astimezone(UTC).utctimetuple())
        case timedelta():
            exact = now + Fraction(value // timedelta(microseconds=1), 10**6).__floor__()
        case _:
            exact = Fraction(value).__floor__()

    assert to_unix(check_time(value), now) == exact


anything = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(), st.binary(), st.datetimes(), st.timedeltas()
) | st.lists(st.text() | st.integers())


@pytest.mark.parametrize("check", [check_name, check_allowlist, check_nonce_window, check_time])
@given(value=anything | names)
@example(value=10**400)
def test_nothing_but_a_field_error_escapes(check: Callable[[object], object], value: object) -> None:
    """A check returns what it has made regular, which it then leaves alone, or raises its own error."""
    try:
        made = check(value)
    except FieldError as error:
        told = str(error)
    else:
        told = ""
        assert made == check(made)
    assert told.isprintable()
