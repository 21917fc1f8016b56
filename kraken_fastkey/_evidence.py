"""What a list of keys says of a request whose answer was lost: pure judgement. No clock, no sleep and no I/O."""

from __future__ import annotations

import ipaddress
import math
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from typing import Any, Final, Literal

import attrs

from kraken_fastkey._models import KeyInfo, Permissions
from kraken_fastkey._wire import parse_date

_RESOLUTION: Final = 1.0  # Kraken's times are seconds, rounded down
_DISCORD: Final = 5.0  # the clocks of a server's parts, the edge's and the database's, may differ so much


@attrs.frozen(eq=False, repr=False)
class Listing:
    """An account's keys at a moment.

    Attributes:
        keys: The keys, by name.
        date: The answer's `Date` header: the moment by the server's clock, in whole seconds.
        received: When the answer was read, in seconds of the monotonic clock.
    """

    keys: Mapping[str, KeyInfo]
    date: str
    received: float


CreateVerdict = Literal["absent", "ours", "before", "unclear"]


def judge_create(
    listing: Listing,
    name: str,
    parameters: Mapping[str, Any],
    *,
    sent: float,
    seen_absent: bool,
    is_held: Callable[[str, str | None], bool],
) -> CreateVerdict:
    """Return whether a key was made by a create request whose answer was lost.

    A key is the request's own if it was made after the request was sent, by the server's clock, and is what
    was asked for. Where the two do not go together, it is unclear whose it is.

    Args:
        listing: The keys as they were listed after the request.
        name: The name that was asked for.
        parameters: What else was asked for, as it was sent.
        sent: When the request was first sent, in seconds of the monotonic clock.
        seen_absent: Whether an earlier list, asked for after the request, did not have the key.
        is_held: Tells whether the key of this name and `created_time` was handed to somebody lately.

    Returns:
        `"absent"`: there is no key of that name (yet); `"ours"`: the request made it; `"before"`: it was there
        before; `"unclear"`: there is no telling.
    """
    key = listing.keys.get(name)
    if key is None:
        return "absent"
    if is_held(name, key.created_time_raw):
        return "before"
    behind = _behind(listing, key.created_time, sent)
    if behind > 0:
        # One that was not listed before can have been there only if the list lags: times and list contradict.
        return "before" if behind >= _DISCORD and not seen_absent else "unclear"
    if behind == -math.inf and not seen_absent:
        return "unclear"
    return "ours" if is_as_asked(key, parameters) else "unclear"


def is_as_asked(key: KeyInfo, parameters: Mapping[str, Any]) -> bool:
    """Whether a key is what a create request asked for, and nothing beyond that, as far as its description tells."""
    return _has(key, {**_UNRESTRICTED, **parameters}, whole=True)


def _behind(listing: Listing, moment: datetime | None, sent: float) -> float:
    """Return how many seconds before the sending of a request a moment was, at least; minus infinity if untold."""
    now = parse_date(listing.date)
    if now is None or moment is None:
        return -math.inf
    # No later than the truth: the list's own way here is counted to the time that has passed.
    earliest = now - (listing.received - sent)
    return earliest - moment.timestamp() - _RESOLUTION


UpdateVerdict = Literal["done", "not_done", "gone", "unclear"]


def judge_update(
    listing: Listing,
    name: str,
    new_name: str | None,
    parameters: Mapping[str, Any],
    *,
    sent: float,
    changed_before: bool = False,
) -> UpdateVerdict:
    """Return whether an update request whose answer was lost has been carried out.

    Args:
        listing: The keys as they were listed after the request.
        name: The key's name.
        new_name: The name that it was to get; `None` if it was to keep its own.
        parameters: What it was to be like, as it was sent.
        sent: When the request was sent, or before, in seconds of the monotonic clock.
        changed_before: Whether the key of that name was another, or otherwise, a short while before: a list that
            lags may show it so.

    Returns:
        `"done"`: the key is as wanted; `"not_done"`: it is not (yet); `"gone"`: there is no such key; `"unclear"`: it
        is as wanted, and may have been so at an earlier time alone.
    """
    old, new = listing.keys.get(name), listing.keys.get(new_name or name)
    if new is None:
        return "gone" if old is None else "not_done"
    if new is not old and old is not None:
        return "not_done"  # two keys: the new name is another's
    is_older = _behind(listing, new.modified_time, sent) >= _DISCORD
    if old is None and is_older:
        return "not_done"  # another's key, unchanged since; our own, under its old name, the list does not show yet
    if not _has(new, parameters, whole=False):
        return "not_done"
    return "unclear" if is_older or changed_before else "done"


_UNRESTRICTED: Final[Mapping[str, Any]] = {
    "ip_allowlist": [],
    "nonce_window": 0,
    "permissions": {},
    "query_from": 0,
    "query_to": 0,
    "valid_until": 0,
}


def _has(key: KeyInfo, wanted: Mapping[str, Any], *, whole: bool) -> bool:
    """Whether a key is what was wanted, as far as the list tells; with *whole*, it may do nothing beyond that."""
    return all(_agrees(field, getattr(key, field), value, whole=whole) for field, value in wanted.items())


def _agrees(field: str, listed: Any, wanted: Any, *, whole: bool) -> bool:
    match listed:
        case None:
            # Kraken's 0, "no restriction", is read as None; of the others, None tells nothing.
            return field in {"ip_allowlist", "permissions"} or not wanted
        case Permissions():
            flags = listed.flags()
            granted = {name for name, flag in wanted.items() if flag}
            withheld = {name for name, flag in wanted.items() if not flag}
            has = {name for name, flag in flags.items() if flag}
            return has == granted if whole else granted <= has and not withheld & has
        case datetime():
            return bool(int(listed.timestamp()) == wanted)
        case tuple():
            return networks(listed) == networks(wanted)
        case _:
            return bool(listed == wanted)


def networks(entries: Iterable[str]) -> frozenset[str]:
    """Return an allowlist in one spelling, however it is written: an address is a network of one."""
    return frozenset(map(_network, entries))


def _network(entry: str) -> str:
    try:
        return str(ipaddress.ip_network(entry, strict=False))
    except ValueError:
        return entry
