"""cattrs, made strict: JSON values to response objects, and its complaints to paths without values.

A plain converter turns `null` into `'None'` and `"false"` into `True`, and its exceptions hold the value.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any, Final, TypeVar, get_args, get_type_hints

import attrs
from cattrs import BaseValidationError, Converter, transform_error
from cattrs.gen import make_dict_structure_fn, override

from kraken_fastkey._errors import InvalidRequestError
from kraken_fastkey._frozendict import FrozenDict
from kraken_fastkey._models import FastApiKey, KeyInfo, Permissions, UserInfo
from kraken_fastkey._secret import SecretStr

__all__ = ["Faults", "structure"]

_T = TypeVar("_T")

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_DOCUMENTED: Final = frozenset(Permissions.NAMES)
_NUMBERS: Final = frozenset({int, float})
_DIGITS: Final = re.compile(r"[0-9]+(\.[0-9]*)?", re.ASCII)
_LONGEST_TIME: Final = 64
_TEXT_TIMES: Final = ("created_time", "modified_time")
_UNIX_TIMES: Final = ("last_used", "query_from", "query_to", "valid_until")


@attrs.frozen
class Faults:
    """Where a value was of the wrong type: `("$.result.secret: must be a string",)`. Holds no value."""

    paths: tuple[str, ...]

    @property
    def fields(self) -> set[str]:
        """The names of the faulty fields of the result, as the answer has them."""
        names = {path.partition(":")[0].removeprefix("$.result.") for path in self.paths}
        return {name.removesuffix("_raw") for name in names}


class _WrongTypeError(Exception):
    """A value's type is not the one described; the text says which one is, and nothing of the value."""


def structure(value: Any, cls: type[_T], path: str) -> _T | Faults:
    """Return a JSON value as an object of *cls*, or what is wrong with it.

    Args:
        value: What `json` made of it.
        cls: One of the response classes.
        path: Where in the answer the value stands, such as `"$.result"`.
    """
    try:
        return _FAST.structure(value, cls)
    except Exception:  # noqa: BLE001, S110  # whatever it is, the converter below tells it
        pass
    try:
        return _TELLING.structure(value, cls)
    except (BaseValidationError, _WrongTypeError) as error:
        told = transform_error(error, path, _tell)
    # Out of the except block: cattrs' exceptions hold the value, and must not become the context of another.
    return Faults(tuple(": ".join(reversed(fault.split(" @ ", 1))) for fault in told))


def _tell(error: BaseException, _type: object) -> str:
    if isinstance(error, KeyError):
        return "is missing"
    return str(error) if isinstance(error, _WrongTypeError) else "is not as described"


def _exactly(cls: type[_T], name: str) -> Callable[[Any, Any], _T]:
    def check(value: Any, _: Any) -> _T:
        # Not isinstance: True is no number.
        if type(value) is not cls:
            raise _WrongTypeError(f"must be {name}")
        return value

    return check


_text = _exactly(str, "a string")


def _integer(value: Any, _: Any) -> int:
    if type(value) is float and value.is_integer():
        return int(value)
    if type(value) is not int:
        raise _WrongTypeError("must be a whole number")
    return value


def _secret(value: Any, _: Any) -> SecretStr:
    if not value:
        raise _WrongTypeError("must be a string with something in it")
    return SecretStr(_text(value, str))


def _entries(value: Any, _: Any) -> tuple[str, ...]:
    if type(value) is not list or not all(type(entry) is str for entry in value):
        raise _WrongTypeError("must be a list of strings")
    return tuple(value)


def _unix_time(value: Any, _: Any) -> datetime | None:
    if type(value) is datetime:
        return value  # prepared
    if type(value) not in (int, float):
        raise _WrongTypeError("must be Unix seconds")
    return _moment(value) if value else None


def _text_time(value: Any, _: Any) -> datetime | None:
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


def _moment(seconds: float) -> datetime | None:
    """Return what a number of Unix seconds means, or `None` if that is out of the calendar."""
    try:
        return _EPOCH + timedelta(seconds=seconds)
    except (OverflowError, ValueError):  # ValueError: not a number
        return None


def _permissions(value: Any) -> Permissions | None:
    if not isinstance(value, dict):
        return None
    documented = {name: flag for name, flag in value.items() if name in _DOCUMENTED}
    extra = {name: flag for name, flag in value.items() if name not in _DOCUMENTED and flag is not None}
    try:
        return Permissions(**documented, extra=extra)
    except InvalidRequestError:
        return None


def _prepare(value: Any, known: frozenset[str]) -> dict[str, Any]:
    """Sort fields into those that we know and those that we keep as they came."""
    if not isinstance(value, dict):
        raise _WrongTypeError("must be an object")
    fields = {name: field for name, field in value.items() if field is not None and name in known}
    unknown = {name: field for name, field in value.items() if name not in known}
    for name in _TEXT_TIMES:
        if name in fields:
            if type(fields[name]) in _NUMBERS:
                fields[name] = str(fields[name])
            fields[f"{name}_raw"] = fields[name]
    for name in _UNIX_TIMES:
        seconds = fields.get(name)
        # A number that is no moment is no reason to lose a key over: it may be in another unit.
        if seconds and type(seconds) in _NUMBERS:
            moment = _moment(seconds)
            if moment is None:
                unknown[name] = fields.pop(name)
            else:
                fields[name] = moment
    if "permissions" in fields:
        permissions = _permissions(fields["permissions"])
        if permissions is None:
            unknown["permissions"] = fields.pop("permissions")
        else:
            fields["permissions"] = permissions
    fields["unknown"] = FrozenDict(unknown)
    return fields


def _as_is(value: Any, _: Any) -> Any:
    return value


def _make_hook(cls: type[Any], converter: Converter) -> Callable[[Any, Any], Any]:
    names = {field.name for field in attrs.fields(cls)}
    hooks: dict[str, Callable[[Any, Any], Any]] = {
        **dict.fromkeys(_TEXT_TIMES, _text_time),
        **dict.fromkeys(_UNIX_TIMES, _unix_time),
        "ip_allowlist": _entries,
        "permissions": _as_is,
        "unknown": _as_is,
    }
    # `_prepare` leaves no null, so that cattrs need not look for one in each field that may be `None`.
    kinds = {name: (*get_args(hint), hint)[0] for name, hint in get_type_hints(cls).items()}
    hooks = {name: _HOOKS[kind] for name, kind in kinds.items() if kind in _HOOKS} | hooks
    overrides: Any = {name: override(struct_hook=hook) for name, hook in hooks.items() if name in names}
    base = make_dict_structure_fn(cls, converter, **overrides)
    known = frozenset(name for name in names if not name.endswith("_raw") and name != "unknown")

    def hook(value: Any, _: Any) -> Any:
        return base(_prepare(value, known), cls)

    return hook


def _make_converter(*, telling: bool) -> Converter:
    converter = Converter(detailed_validation=telling)
    for kind, hook in _HOOKS.items():
        converter.register_structure_hook(kind, hook)
    for cls in (KeyInfo, FastApiKey, UserInfo):
        converter.register_structure_hook(cls, _make_hook(cls, converter))
    return converter


_HOOKS: Final = {str: _text, int: _integer, SecretStr: _secret}
# Nearly all answers are right, and only of the others does it matter which fields are wrong.
_FAST: Final = _make_converter(telling=False)
_TELLING: Final = _make_converter(telling=True)
