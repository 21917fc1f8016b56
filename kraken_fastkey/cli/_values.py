"""What is written on the command line or in the configuration, made regular: permissions, spans, moments."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from difflib import get_close_matches
from typing import Final

from kraken_fastkey import Permissions, Time

PERMISSIONS: Final = tuple(name.replace("_", "-") for name in Permissions.NAMES)
"""The names of permissions as Kraken's scopes spell them."""

_UNITS: Final = {"w": 7 * 86_400, "d": 86_400, "h": 3600, "m": 60, "s": 1}
_SPAN: Final = re.compile(r"(?:([0-9]{1,6})w)?(?:([0-9]{1,6})d)?(?:([0-9]{1,6})h)?(?:([0-9]{1,6})m)?(?:([0-9]{1,9})s)?")
_MAX_SPAN: Final = timedelta(days=36_525)


def parse_permission(text: str) -> str:
    """Return a permission's name as the API has it; `funds-query` and `funds_query` are the same.

    Raises:
        ValueError: There is none of that name.
    """
    name = text.strip().replace("-", "_").lower()
    if name in Permissions.NAMES:
        return name
    close = get_close_matches(name.replace("_", "-"), PERMISSIONS, 1)
    meant = f"{close[0]} is meant" if close else f"there are {', '.join(PERMISSIONS)}"
    raise ValueError(f"there is no permission {text!r:.40}: {meant}")


def parse_span(text: str) -> timedelta:
    """Return a span of time, such as `7d`, `12h`, `90m` or `1d12h`; weeks, days, hours, minutes and seconds.

    Raises:
        ValueError: It is none, or nothing, or longer than 100 years.
    """
    found = _SPAN.fullmatch(text.strip().lower())
    seconds = (
        sum(int(count or 0) * unit for count, unit in zip(found.groups(), _UNITS.values(), strict=True)) if found else 0
    )
    span = timedelta(seconds=seconds)
    if not timedelta(0) < span <= _MAX_SPAN:
        raise ValueError(f"{text!r:.40} is no span of time: write 7d, 12h, 30m or 1d12h, up to 100 years")
    return span


def parse_moment(text: str) -> Time:
    """Return a moment: a date or a time in ISO 8601, in UTC unless it says otherwise; Unix seconds; or 0 for `never`.

    Raises:
        ValueError: It is none.
    """
    word = text.strip().lower()
    if word in {"never", "none", "0"}:
        return 0
    if re.fullmatch(r"[0-9]{9,12}", word, re.ASCII):
        return int(word)
    try:
        moment = datetime.fromisoformat(text.strip())
    except ValueError:
        raise ValueError(
            f"{text!r:.40} is no moment: write 2027-01-31, 2027-01-31T12:00Z, Unix seconds, or never"
        ) from None
    return moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)
