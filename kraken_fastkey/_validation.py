"""Checks of single fields, each a pure function: the value made regular, or a `FieldError` that says what to do.

The rules are those of Kraken's OpenAPI description (`APIKeyParameters`), made strict where Kraken would
only answer "invalid arguments".
"""

from __future__ import annotations

import functools
import ipaddress
import math
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Any, Final

Time = datetime | timedelta | int | float
"""A moment: an aware `datetime`, a `timedelta` from now, or Unix seconds; 0 is "no restriction"."""

MAX_NAME_LENGTH: Final = 32
MAX_NONCE_WINDOW: Final = 2**64 - 1  # a nonce is an unsigned 64-bit number, so is a distance of two
MAX_UNIX: Final = 253_402_300_799  # 9999-12-31T23:59:59Z, the last second that a datetime can tell
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_SECOND: Final = timedelta(seconds=1)
MAX_DAYS: Final = 4_000_000  # beyond it, adding to the present would overflow a timedelta


class FieldError(Exception):
    """What is wrong with one field's value; never leaves the package."""


def check_name(value: object) -> str:
    """Return a key's name: 1 to 32 characters."""
    if not isinstance(value, str):
        raise FieldError(f"must be a string, not {_kind(value)}")
    if not value:
        raise FieldError(f"is empty: a key's name has 1 to {MAX_NAME_LENGTH} characters")
    if len(value) > MAX_NAME_LENGTH:
        raise FieldError(f"has {len(value)} characters: a key's name has 1 to {MAX_NAME_LENGTH}")
    if not value.isascii():
        try:
            value.encode()
        except UnicodeEncodeError:
            raise FieldError("holds half of a surrogate pair, which is not valid Unicode") from None
    return value


def check_allowlist(value: object) -> tuple[str, ...]:
    """Return addresses and networks in their standard spelling."""
    # As in a request's converter, which has made a tuple of it, the usual class is asked first.
    if isinstance(value, (str, bytes)) or not isinstance(value, (tuple, Iterable)):
        raise FieldError(f"must be a list of addresses and networks, not {_kind(value)}: write [...] around it")
    entries: list[str] = []
    wrong: list[str] = []
    for entry in value:
        try:
            entries.append(_check_address(entry))
        except FieldError as error:
            wrong.append(str(error))
    if wrong:
        raise FieldError(", ".join(wrong))
    return tuple(entries)


def _check_address(entry: object) -> str:
    if isinstance(entry, (ipaddress.IPv4Address, ipaddress.IPv6Address)):
        entry = str(entry)
    elif isinstance(entry, (ipaddress.IPv4Network, ipaddress.IPv6Network)):
        return str(entry)
    if not isinstance(entry, str):
        raise FieldError(f"an entry must be a string, not {_kind(entry)}")
    return _check_spelling(entry)


@functools.lru_cache(maxsize=256)  # to parse one costs more than all else that is checked, and allowlists are few
def _check_spelling(entry: str) -> str:
    shown = repr(entry[:64])
    if "%" in entry:
        raise FieldError(f"{shown} has a zone, which means nothing outside one machine: leave it out")
    try:
        if "/" not in entry:
            return str(ipaddress.ip_address(entry))
        return str(ipaddress.ip_network(entry, strict=True))
    except ValueError:
        pass
    try:
        meant = ipaddress.ip_network(entry, strict=False)
    except ValueError:
        raise FieldError(f"{shown} is neither an IP address nor a network such as '203.0.113.0/24'") from None
    address = entry.partition("/")[0]
    raise FieldError(f"{shown} has host bits set: write '{meant}' for the network or '{address}' for the one address")


def check_nonce_window(value: object) -> int:
    """Return a nonce window: an int from 0 to 2**64 - 1, in ticks of whoever counts the nonces."""
    if isinstance(value, bool) or not isinstance(value, int):
        raise FieldError(f"must be an int, not {_kind(value)}")
    if not 0 <= value <= MAX_NONCE_WINDOW:
        raise FieldError("must be from 0 to 2**64 - 1")
    return value


def check_time(value: object) -> Time:
    """Return a moment as it was given, if it is one."""
    match value:
        case bool():
            pass
        case datetime():
            if value.utcoffset() is None:
                raise FieldError(
                    "is a datetime without a time zone, which could mean anything: "
                    "give it one, such as datetime.now(timezone.utc)"
                )
            if not 0 < to_unix(value, 0) <= MAX_UNIX:
                raise FieldError("must be after the first second of 1970, and before the year 10000")
            return value
        case timedelta():
            return value
        case int() | float():
            # So written that NaN fails, too.
            if not (value >= 1 or value == 0) or value == math.inf:
                raise FieldError("must be Unix seconds, 1 or more, or 0 for no restriction")
            if value > MAX_UNIX:
                raise FieldError("is after the year 9999: Unix seconds are meant, not milliseconds or nanoseconds")
            return value
        case _:
            pass
    raise FieldError(f"must be an aware datetime, a timedelta from now or Unix seconds, not {_kind(value)}")


def to_unix(value: Time, now: float) -> int:
    """Return a checked moment as whole Unix seconds, rounded down.

    Args:
        value: What `check_time` has let through.
        now: The present, in Unix seconds, from which a `timedelta` counts.

    Raises:
        FieldError: A `timedelta` leads out of the years 1970 to 9999.
    """
    match value:
        case datetime():
            # Whole-second arithmetic: timestamp() is a float and may round up.
            return (value - _EPOCH) // _SECOND
        case timedelta():
            # Exact integers, again: the whole seconds of a float sum may round up.
            moment = (timedelta(seconds=now) + value) // _SECOND if abs(value.days) < MAX_DAYS else -1
            if not 0 < moment <= MAX_UNIX:
                raise FieldError("leads out of the years 1970 to 9999")
            return moment
        case _:
            return int(value)


def _kind(value: Any) -> str:
    return "None" if value is None else type(value).__name__
