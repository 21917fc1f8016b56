"""LeaseRecord: what a lease remembers, and the bytes that it is kept as."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any, Final

import attrs

from kraken_fastkey._errors import InvalidRequestError, StoreError
from kraken_fastkey._frozendict import FrozenDict
from kraken_fastkey._models import FastApiKey, Permissions
from kraken_fastkey._secret import SecretStr
from kraken_fastkey._validation import FieldError, check_name

_FORMAT: Final = 1
_NEWEST_FORMAT: Final = 10**6  # what is larger was written by nobody
_OWNER: Final = re.compile(r"[0-9a-f]{6}")
_MAPPINGS: Final = ("retired", "holders")
_UNREADABLE: Final = (
    "holds what could not be a lease's record: see whether the place is right; if so, delete it, and the keys of "
    "the lease, which list_keys() shows"
)


@attrs.frozen(init=False)
class LeaseRecord:
    """What a lease remembers: all that is needed to go on after a crash.

    Attributes:
        owner: 6 lower-case hexadecimal digits, made once per place: part of the names of its keys.
        generation: How many times the record was saved in its store; 0 before the first.
        current: The present key; `None` if there is none.
        retired: The names of keys that were replaced, each with the time when it is to be deleted, in UTC.
        holders: Who uses the key, each with the time until which it counts as there, in UTC.
        unknown: Fields of a stored record that this version of the library does not know; they are kept.
    """

    owner: str
    generation: int
    current: FastApiKey | None
    retired: Mapping[str, datetime] = attrs.field(hash=False)
    holders: Mapping[str, datetime] = attrs.field(hash=False)
    # Names only: what a field that we do not know holds may be a secret.
    unknown: Mapping[str, Any] = attrs.field(hash=False, repr=lambda value: repr(sorted(value)))

    def __init__(
        self,
        *,
        owner: str,
        generation: int = 0,
        current: FastApiKey | None = None,
        retired: Mapping[str, datetime] = FrozenDict(),
        holders: Mapping[str, datetime] = FrozenDict(),
        unknown: Mapping[str, Any] = FrozenDict(),
    ) -> None:
        """Check what is given.

        Raises:
            InvalidRequestError: Anything is wrong; `faults` tells all of it at once, by field.
        """
        faults = {
            "owner": None if isinstance(owner, str) and _OWNER.fullmatch(owner) else "must be 6 of 0-9 and a-f",
            "generation": None if type(generation) is int and generation >= 0 else "must be an int, 0 or more",
            "current": None if current is None or isinstance(current, FastApiKey) else _kind_fault(current),
            "retired": _moments_fault(retired, _name_fault),
            "holders": _moments_fault(holders, _text_fault),
            "unknown": None if isinstance(unknown, Mapping) else "must be a mapping",
        }
        if any(faults.values()):
            del self, current, unknown  # what is wrong there may hold a secret, and a traceback with locals shows it
            raise InvalidRequestError({field: fault for field, fault in faults.items() if fault})
        self.__attrs_init__(  # pyright: ignore[reportAttributeAccessIssue]  # attrs makes it, for init=False
            owner,
            generation,
            current,
            _in_utc(retired),
            _in_utc(holders),
            FrozenDict(unknown),
        )


def lease_to_bytes(record: LeaseRecord) -> bytes:
    """Return a lease's record as bytes to keep. They hold the key's secret in clear.

    Raises:
        StoreError: A field that is kept as it came holds what JSON cannot say.
    """
    written = _write(record)
    if written is None:
        raise StoreError("the lease's record cannot be kept: a field of its key, or of its own, is none of JSON's")
    return written


def lease_from_bytes(record: bytes, place: str) -> LeaseRecord:
    """Return the record that bytes hold.

    Args:
        record: What `lease_to_bytes` made, by this version of the library or another.
        place: Where it was found, for the error.

    Raises:
        StoreError: It could not be a lease's record.
    """
    lease = _parse(record)
    del record  # it must not be in the traceback's locals
    if lease is None:
        raise StoreError(f"{place} {_UNREADABLE}")
    if isinstance(lease, int):
        raise StoreError(f"{place} was written by a newer version of this library (format {lease}): update it here")
    return lease


def _write(record: LeaseRecord) -> bytes | None:
    """Return a record as bytes, or `None`: an exception that leaves would show the secret by its frames."""
    fields = dict(record.unknown) | {
        "format": _FORMAT,
        "owner": record.owner,
        "generation": record.generation,
        "current": None if record.current is None else _from_key(record.current),
    }
    for name in _MAPPINGS:
        fields[name] = {key: moment.isoformat() for key, moment in getattr(record, name).items()}
    try:
        return json.dumps(fields, separators=(",", ":")).encode("ascii")
    except (TypeError, ValueError, RecursionError):
        return None


def _from_key(key: FastApiKey) -> dict[str, Any]:
    fields = {field.name: getattr(key, field.name) for field in attrs.fields(FastApiKey)}
    moments = {name: value.isoformat() for name, value in fields.items() if isinstance(value, datetime)}
    permissions = None if key.permissions is None else key.permissions.flags()
    fields |= moments | {"secret": key.secret.get_secret_value(), "permissions": permissions}
    # What is None is left out: the keyring of Windows has little room.
    return {name: value for name, value in fields.items() if value is not None}


def _parse(record: bytes) -> LeaseRecord | int | None:
    try:
        fields = json.loads(record)
        version = fields.pop("format")
        if type(version) is not int or version != _FORMAT:
            return version if type(version) is int and _FORMAT < version < _NEWEST_FORMAT else None
        current = fields.pop("current")
        return LeaseRecord(
            owner=fields.pop("owner"),
            generation=fields.pop("generation"),
            current=None if current is None else _to_key(current),
            **{name: _to_moments(fields.pop(name)) for name in _MAPPINGS},
            unknown=fields,
        )
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError, OverflowError):
        return None


def _to_key(fields: dict[str, Any]) -> FastApiKey:
    known = {name: read(fields.pop(name)) for name, read in _READERS.items() if fields.get(name) is not None}
    unknown = fields.pop("unknown")
    # A later version may know more of a key.
    later = {name: value for name, value in fields.items() if name not in _READERS}
    return FastApiKey(**known, unknown=FrozenDict({**later, **unknown}))


def _to_moments(fields: dict[str, str]) -> dict[str, datetime]:
    return {name: datetime.fromisoformat(text) for name, text in fields.items()}


def _to_text(value: Any) -> str:
    if type(value) is not str:
        raise TypeError
    return value


def _to_number(value: Any) -> int:
    if type(value) is not int:
        raise TypeError
    return value


def _to_secret(value: Any) -> SecretStr:
    secret = SecretStr(value)
    if not secret:
        raise ValueError
    return secret


def _to_entries(value: Any) -> tuple[str, ...]:
    if type(value) is not list:
        raise TypeError
    return tuple(map(_to_text, value))


def _to_permissions(flags: dict[str, bool]) -> Permissions:
    documented = {name: flags.pop(name) for name in Permissions.NAMES if name in flags}
    return Permissions(**documented, extra=flags)


# Each field of a key but `unknown`.
_READERS: Final[Mapping[str, Callable[[Any], Any]]] = {
    **dict.fromkeys(("api_key_name", "api_key", "id", "oauth_client", "purpose"), _to_text),
    **dict.fromkeys(("created_time_raw", "modified_time_raw"), _to_text),
    **dict.fromkeys(("created_time", "modified_time", "last_used"), datetime.fromisoformat),
    **dict.fromkeys(("query_from", "query_to", "valid_until"), datetime.fromisoformat),
    **dict.fromkeys(("nonce", "nonce_window"), _to_number),
    "ip_allowlist": _to_entries,
    "permissions": _to_permissions,
    "secret": _to_secret,
}


def _in_utc(moments: Mapping[str, datetime]) -> FrozenDict[datetime]:
    return FrozenDict({name: moment.astimezone(UTC) for name, moment in moments.items()})


def _kind_fault(value: object) -> str:
    return f"must be a FastApiKey, not {type(value).__name__}"


def _moments_fault(moments: object, fault_of: Callable[[object], str | None]) -> str | None:
    """Return what is wrong with a mapping of names to moments, or `None`."""
    if not isinstance(moments, Mapping):
        return f"must be a mapping of names to moments, not {type(moments).__name__}"
    faults = [fault_of(name) or _moment_fault(moment) for name, moment in moments.items()]
    return next(filter(None, faults), None)


def _name_fault(name: object) -> str | None:
    try:
        check_name(name)
    except FieldError as error:
        return f"a name {error}"
    return None


def _text_fault(name: object) -> str | None:
    return None if isinstance(name, str) and name else "a name must be a str, and not empty"


def _moment_fault(moment: object) -> str | None:
    if not isinstance(moment, datetime) or moment.utcoffset() is None:
        return "a moment must be a datetime with a time zone"
    try:
        moment.astimezone(UTC)
    except OverflowError:
        return "a moment is out of the years 1 to 9999, in UTC"
    return None
