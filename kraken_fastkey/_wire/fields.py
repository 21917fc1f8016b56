"""The fields of an answer, each by itself: a JSON value to what it means, or a complaint that holds nothing of it.

Strict, where a plain converter turns `null` into `'None'` and `"false"` into `True`.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, Final, TypeVar, get_args, get_type_hints

import attrs

from kraken_fastkey._errors import InvalidRequestError
from kraken_fastkey._frozendict import FrozenDict
from kraken_fastkey._models import Permissions
from kraken_fastkey._secret import SecretStr

_T = TypeVar("_T")

TEXT_TIMES: Final = ("created_time", "modified_time")
_MADE: Final = frozenset({"unknown", *(f"{name}_raw" for name in TEXT_TIMES)})  # fields that no answer has
_NOTHING: Final[FrozenDict[Any]] = FrozenDict()
UNIX_TIMES: Final = ("last_used", "query_from", "query_to", "valid_until")
_FLAG: Final = frozenset({bool})
_TEXT: Final = frozenset({str})
_USUAL_FLAGS: Final = 30  # Kraken describes ten
_NUMBERS: Final = frozenset({int, float})
_DOCUMENTED: Final = frozenset(Permissions.NAMES)
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_DIGITS: Final = re.compile(r"[0-9]+(\.[0-9]*)?", re.ASCII)
_LONGEST_TIME: Final = 64

Hook = Callable[[Any, Any], Any]
"""Takes a field's JSON value, and a type that says nothing; returns what it means."""


class WrongTypeError(Exception):
    """A value's type is not the one described; the text says which one is, and nothing of the value."""


@attrs.frozen(eq=False, repr=False)
class Faults:
    """Where a value was of the wrong type: `("$.result.secret: must be a string",)`. Holds no value."""

    paths: tuple[str, ...]

    @property
    def fields(self) -> set[str]:
        """The names of the faulty fields of the result, as the answer has them."""
        names = {path.partition(":")[0].removeprefix("$.result.") for path in self.paths}
        return {name.removesuffix("_raw") for name in names}


def cached_by_class(function: Callable[[type[Any]], _T]) -> Callable[[type[Any]], _T]:
    """Keep what a function returns for each class; a `functools.cache` that type checkers give classes to."""
    return functools.cache(function)  # type: ignore[return-value]  # classes have hashes


@cached_by_class
def hooks_of(cls: type[Any]) -> Mapping[str, Hook]:
    """Return how each field of a response class is read, by the field's name."""
    # `None` is left out before, so that the rest of a type is what counts.
    kinds = {name: (*get_args(hint), hint)[0] for name, hint in get_type_hints(cls).items()}
    found = {name: _HOOK_OF_FIELD.get(name) or _HOOK_OF_TYPE.get(kind) for name, kind in kinds.items()}
    return {name: hook for name, hook in found.items() if hook is not None}


@cached_by_class
def readable_of(cls: type[Any]) -> frozenset[str]:
    """Return the names of those fields of a response class that an answer may have."""
    return frozenset(hooks_of(cls)) - _MADE


def sort_fields(value: Any, cls: type[Any]) -> dict[str, Any]:
    """Return an object's fields by our own names for them, those that we do not know under `unknown`.

    Raises:
        WrongTypeError: It is no object.
    """
    if not isinstance(value, dict):
        raise WrongTypeError("must be an object")
    readable = readable_of(cls)
    fields: dict[str, Any] = {}
    unknown: dict[str, Any] = {}
    for name, field in value.items():
        if name not in readable:
            unknown[name] = field
        elif field is not None:
            fields[name] = field
    _sort_times(fields, unknown)
    if "permissions" in fields:
        permissions = permissions_of(fields["permissions"])
        if permissions is None:
            unknown["permissions"] = fields.pop("permissions")
        else:
            fields["permissions"] = permissions
    fields["unknown"] = FrozenDict(unknown) if unknown else _NOTHING
    return fields


def _sort_times(fields: dict[str, Any], unknown: dict[str, Any]) -> None:
    for name in TEXT_TIMES:
        if name in fields:
            if type(fields[name]) in _NUMBERS:
                fields[name] = str(fields[name])
            fields[f"{name}_raw"] = fields[name]
    for name in UNIX_TIMES:
        seconds = fields.get(name)
        # A number that is no moment is no reason to lose a key over: it may be in another unit.
        if seconds and type(seconds) in _NUMBERS and _moment_of(seconds) is None:
            unknown[name] = fields.pop(name)


def _as_is(value: Any, _: Any) -> Any:
    """Return a value that has been read before."""
    return value


def permissions_of(value: Any) -> Permissions | None:
    """Return what a key may do, or `None` if that is told in a way that we do not know."""
    if not isinstance(value, dict):
        return None
    if len(value) <= _USUAL_FLAGS and _FLAG.issuperset(map(type, value.values())):
        return _known_permissions(tuple(value.items()))
    return _make_permissions(value)


@functools.lru_cache(maxsize=64)  # the keys of an app have the same few
def _known_permissions(flags: tuple[tuple[str, bool], ...]) -> Permissions | None:
    return _make_permissions(dict(flags))


def _make_permissions(value: dict[str, Any]) -> Permissions | None:
    documented = {name: flag for name, flag in value.items() if name in _DOCUMENTED}
    extra = {name: flag for name, flag in value.items() if name not in _DOCUMENTED and flag is not None}
    try:
        return Permissions(**documented, extra=extra)
    except InvalidRequestError:
        return None


def _moment_of(seconds: float) -> datetime | None:
    """Return what a number of Unix seconds means, or `None` if that is out of the calendar."""
    try:
        return _EPOCH + timedelta(seconds=seconds)
    except (OverflowError, ValueError):  # ValueError: not a number
        return None


def _exactly(cls: type[_T], name: str) -> Callable[[Any, Any], _T]:
    def check(value: Any, _: Any) -> _T:
        # Not isinstance: True is no number.
        if type(value) is not cls:
            raise WrongTypeError(f"must be {name}")
        return value

    return check


_text = _exactly(str, "a string")


def _integer(value: Any, _: Any) -> int:
    if type(value) is float and value.is_integer():
        return int(value)
    if type(value) is not int:
        raise WrongTypeError("must be a whole number")
    return value


def _secret(value: Any, _: Any) -> SecretStr:
    if not value:
        raise WrongTypeError("must be a string with something in it")
    return SecretStr(_text(value, str))


def _entries(value: Any, _: Any) -> tuple[str, ...]:
    if type(value) is not list or not _TEXT.issuperset(map(type, value)):
        raise WrongTypeError("must be a list of strings")
    return tuple(value)


def _unix_time(value: Any, _: Any) -> datetime | None:
    if type(value) not in _NUMBERS:
        raise WrongTypeError("must be Unix seconds")
    return _moment_of(value) if value else None


def text_time(value: Any, _: Any) -> datetime | None:
    """Return the moment that a text means; `None` if it cannot be read."""
    text = _text(value, str).strip()
    if _DIGITS.fullmatch(text):
        # Digits are seconds; as ISO 8601 they could mean a date that nobody meant.
        return _unix_time(float(text), float)
    if len(text) > _LONGEST_TIME:
        return None
    try:
        moment = datetime.fromisoformat(text)
        return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    except (ValueError, OverflowError):
        return None


_HOOK_OF_TYPE: Final[Mapping[Any, Hook]] = {str: _text, int: _integer, SecretStr: _secret}
KIND_OF_HOOK: Final[Mapping[Hook, type]] = {_text: str, _integer: int}
"""The types of what such a hook returns as it is."""
_HOOK_OF_FIELD: Final[Mapping[str, Hook]] = {
    **dict.fromkeys(TEXT_TIMES, text_time),
    **dict.fromkeys(UNIX_TIMES, _unix_time),
    "ip_allowlist": _entries,
    "permissions": _as_is,
    "unknown": _as_is,
}
