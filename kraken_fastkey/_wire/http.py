"""An HTTP message as plain values, and the two headers that we read."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from datetime import UTC
from email.utils import parsedate_to_datetime
from typing import Final, Literal

import attrs

from kraken_fastkey._frozendict import FrozenDict

ACCEPT: Final = FrozenDict(
    {
        "Accept": "application/json",
        # Answers are small; what is not compressed cannot be a bomb.
        "Accept-Encoding": "identity",
    }
)
"""The headers that each request has."""

FORM: Final = "application/x-www-form-urlencoded"
"""The media type of a form."""

MAX_ANSWER_BYTES: Final = 1024 * 1024
"""An answer of more bytes than this is not read to its end."""

Completeness = Literal["complete", "cut_off", "too_large"]


@attrs.define(eq=False, repr=False)
class WireRequest:
    """A request as bytes, all but the `Authorization` header, which is the transport's to add.

    Attributes:
        method: The HTTP method.
        path: What follows the base URL, with its leading slash.
        media_type: What the content is; empty if there is none.
        body: The content, empty if there is none.
    """

    method: str
    path: str
    media_type: str = ""
    # Not for our own repr, which there is none of: rich shows the fields of any attrs class.
    body: bytes = attrs.field(default=b"", repr=False)

    @property
    def headers(self) -> Mapping[str, str]:
        """Its header fields, none of them secret."""
        return FrozenDict(ACCEPT | {"Content-Type": self.media_type}) if self.media_type else ACCEPT


@attrs.define(eq=False, repr=False)
class WireResponse:
    """An answer as bytes.

    Attributes:
        status: The HTTP status code.
        headers: Header fields; they are looked up by their names in lower case.
        body: The content, decoded if it was compressed; at most `MAX_ANSWER_BYTES` of it.
        completeness: Whether the body is all there.
        version: HTTP's version, such as `(1, 1)`; `None` if it is not known.
    """

    status: int
    headers: Mapping[str, str] = attrs.field(repr=False)
    body: bytes = attrs.field(repr=False)
    completeness: Completeness = "complete"
    version: tuple[int, int] | None = None

    @property
    def media_type(self) -> str:
        """The media type without parameters, in lower case; empty if there is none."""
        return self.headers.get("content-type", "").partition(";")[0].strip().lower()[:100]


def parse_retry_after(headers: Mapping[str, str], now: float) -> float | None:
    """Return how many seconds an answer asks to wait (RFC 9110, section 10.2.3).

    A date counts from the server's own `Date`, if it sent one, so that a wrong clock here does no harm.
    A date that has passed means now. What is negative or makes no sense is as good as absent.

    Args:
        headers: The answer's headers, names in lower case.
        now: The present, in Unix seconds.
    """
    text = headers.get("retry-after", "").strip()
    if not text:
        return None
    if re.fullmatch(r"[0-9]+(\.[0-9]*)?", text, re.ASCII):
        seconds = float(text)
        return seconds if math.isfinite(seconds) else None
    moment = parse_date(text)
    if moment is None:
        return None
    return max(0.0, moment - server_time(headers, now))


def server_time(headers: Mapping[str, str], now: float) -> float:
    """Return the present by the server's clock, in Unix seconds, or by our own if the server does not tell it."""
    told = parse_date(headers.get("date", ""))
    return now if told is None else told


def parse_date(text: str) -> float | None:
    """Return a date of HTTP's (RFC 9110, section 5.6.7) in Unix seconds, or `None` if it is none."""
    try:
        moment = parsedate_to_datetime(text)
        # HTTP's dates are UTC, whether they say it or not (RFC 9110, section 5.6.7).
        return (moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment).timestamp()
    # IndexError, too: the standard library trips over some malformed dates.
    except (ValueError, TypeError, IndexError, OverflowError):
        return None
