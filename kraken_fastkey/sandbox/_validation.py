"""What the bodies of calls may hold: pure rules, each fault found at once."""

import ipaddress
import json
import re
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, Final, NoReturn, TypeAlias, cast

import attrs

from kraken_fastkey.sandbox._refusal import INVALID_ARGUMENTS, RefusalError, invalid
from kraken_fastkey.sandbox._scopes import PERMISSIONS

Number: TypeAlias = int | float

NAME_LENGTH: Final = 32
# A nonce is an unsigned 64-bit number at Kraken, and a nonce window is an amount of nonces.
LARGEST_NONCE: Final = 2**64 - 1
# No Unix time is larger on any system that the sandbox could stand for.
LARGEST_TIME: Final = 2**63 - 1


@attrs.frozen(kw_only=True)
class KeyFields:
    """The valid fields of one call's body; ``None`` is a field that was not sent, or sent as null."""

    api_key_name: str
    new_api_key_name: str | None = None
    ip_allowlist: tuple[str, ...] | None = None
    nonce_window: Number | None = None
    permissions: Mapping[str, bool] | None = None
    query_from: Number | None = None
    query_to: Number | None = None
    valid_until: Number | None = None


def read_object(media_type: str, body: bytes) -> dict[str, object]:
    """Return the JSON object that a call's body holds.

    The reading is strict: UTF-8 without a byte order mark, no NaN or infinity, no field twice (RFC 8259).

    Args:
        media_type: The request's media type, lower case, without parameters.
        body: The request's body.

    Raises:
        RefusalError: ``EGeneral:Invalid arguments`` if it is anything else.
    """
    if media_type != "application/json":
        raise RefusalError(INVALID_ARGUMENTS)
    try:
        value: object = json.loads(body.decode(), object_pairs_hook=_without_duplicates, parse_constant=_no_constant)
    except (ValueError, RecursionError):
        raise RefusalError(INVALID_ARGUMENTS) from None
    if not isinstance(value, dict):
        raise RefusalError(INVALID_ARGUMENTS)
    return cast("dict[str, object]", value)


def check_create(body: Mapping[str, object], now: float) -> KeyFields:
    """Return the fields of a create call, checked.

    Every field is optional in Kraken's official description, which does not say what a key without a name is
    called. The sandbox is strict here: a name is required.

    Raises:
        RefusalError: with one ``EGeneral:Invalid arguments:<field>`` for each faulty field.
    """
    return _check(body, _CREATE, now)


def check_update(body: Mapping[str, object], now: float) -> KeyFields:
    """Return the fields of an update call, checked; ``api_key_name`` is required, since it names the key.

    Raises:
        RefusalError: with one ``EGeneral:Invalid arguments:<field>`` for each faulty field.
    """
    return _check(body, _UPDATE, now)


def check_delete(body: Mapping[str, object], now: float) -> KeyFields:
    """Return the fields of a delete call, checked; ``api_key_name`` is required and the only one.

    Raises:
        RefusalError: with one ``EGeneral:Invalid arguments:<field>`` for each faulty field.
    """
    return _check(body, _DELETE, now)


def span_is_empty(query_from: Number | None, query_to: Number | None) -> bool:
    """Tell whether a key could query nothing: from later than to, where both restrict (0 does not)."""
    return bool(query_from and query_to and query_from > query_to)


def _check(body: Mapping[str, object], allowed: Mapping[str, Callable[[Any], object]], now: float) -> KeyFields:
    """Return the fields, each read by its own rule, or refuse them with all their faults."""
    found: dict[str, Any] = {}
    faults: list[str] = []
    for field, value in body.items():
        try:
            parse = allowed[field]
            if value is not None:
                found[field] = parse(value)
        except (KeyError, ValueError):
            faults.append(invalid(field))
    if "api_key_name" not in found and body.get("api_key_name") is None:
        faults.append(invalid("api_key_name"))
    if 0 < found.get("valid_until", 0) <= now:
        faults.append(invalid("valid_until"))
    if span_is_empty(found.get("query_from"), found.get("query_to")):
        faults.append(invalid("query_from"))
    if faults:
        raise RefusalError(*faults)
    return KeyFields(**found)


def _without_duplicates(pairs: list[tuple[str, object]]) -> dict[str, object]:
    """Return an object of these fields; a field that is there twice is an error."""
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a field is there twice")
    return found


def _no_constant(name: str) -> NoReturn:
    """Refuse NaN and infinity, which Python reads and JSON does not have."""
    raise ValueError(f"{name} is not JSON")


class _FieldError(ValueError):
    """A field holds what it may not hold."""


def _name(value: object) -> str:
    if not isinstance(value, str) or not 1 <= len(value) <= NAME_LENGTH:
        raise _FieldError("not a name")
    value.encode()  # half a surrogate pair is no text, and has no id; the error is a ValueError
    return value


def _number(value: object, maximum: int) -> Number:
    """Return a number from 0 to ``maximum``; true and false are none."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= maximum:
        raise _FieldError("not a number in range")
    return value


def _nonce_window(value: object) -> Number:
    return _number(value, LARGEST_NONCE)


def _time(value: object) -> Number:
    """Return a time in Unix seconds, or 0 for none."""
    return _number(value, LARGEST_TIME)


# ipaddress also takes a zone ("fe80::1%eth0"), a netmask ("/255.0.0.0") and "/08": none is CIDR notation.
_ADDRESS_OR_CIDR = re.compile(r"[0-9A-Fa-f:.]+(?:/(?:0|[1-9][0-9]{0,2}))?")


def _ip_allowlist(value: object) -> tuple[str, ...]:
    """Return IP addresses and networks, as they were written."""
    if not isinstance(value, list):
        raise _FieldError("not a list")
    entries: list[str] = []
    for entry in cast("list[object]", value):
        if not isinstance(entry, str) or not _ADDRESS_OR_CIDR.fullmatch(entry):
            raise _FieldError("not an IP address or CIDR")
        ipaddress.ip_network(entry, strict=True)
        entries.append(entry)
    return tuple(entries)


def _permissions(value: object) -> Mapping[str, bool]:
    if not isinstance(value, dict):
        raise _FieldError("not an object")
    found: dict[str, bool] = {}
    for name, flag in cast("dict[str, object]", value).items():
        if name not in PERMISSIONS or not (flag is None or isinstance(flag, bool)):
            raise _FieldError("not a permission")
        if flag is not None:
            found[name] = flag
    return MappingProxyType(found)


_DELETE: Final[Mapping[str, Callable[[Any], object]]] = {"api_key_name": _name}
_CREATE: Final[Mapping[str, Callable[[Any], object]]] = {
    **_DELETE,
    "ip_allowlist": _ip_allowlist,
    "nonce_window": _nonce_window,
    "permissions": _permissions,
    "query_from": _time,
    "query_to": _time,
    "valid_until": _time,
}
_UPDATE: Final[Mapping[str, Callable[[Any], object]]] = {**_CREATE, "new_api_key_name": _name}
