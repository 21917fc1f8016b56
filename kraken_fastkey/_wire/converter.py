"""cattrs, made strict: JSON values to response objects, and its complaints to paths without values.

A plain converter turns `null` into `'None'` and `"false"` into `True`, and its exceptions hold the value.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any, Final, TypeVar

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
        cls: One of the response classes, or a tuple of them.
        path: Where in the answer the value stands, such as `"$.result"`.
    """
    try:
        return _CONVERTER.structure(value, cls)
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
    if type(value) not in (int, float):
        raise _WrongTypeError("must be Unix seconds")
    return _moment(value) if value else None


def _text_time(value: Any, _: Any) -> datetime | None:
    text = _text(value, str).strip()
    if re.fullmatch(r"[0-9]+(\.[0-9]*)?", text, re.ASCII):
        # Digits are seconds; as ISO 8601 they could mean a date that nobody meant.
        return _moment(float(text)) if float(text) else None
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
    documented = {name: flag for name, flag in value.items() if name in Permissions.NAMES}
    extra = {name: flag for name, flag in value.items() if name not in documented and flag is not None}
    try:
        return Permissions(**documented, extra=extra)
    except InvalidRequestError:
        return None


def _prepare(value: Any, known: frozenset[str]) -> dict[str, Any]:
    """Sort fields into those that we know and those that we keep as they came."""
    if not isinstance(value, dict):
        raise _WrongTypeError("must be an object")
    fields = {name: field for name, field in value.items() if name in known and field is not None}
    unknown = {name: field for name, field in value.items() if name not in known}
    for name in _TEXT_TIMES:
        if name in fields:
            if type(fields[name]) in (int, float):
                fields[name] = str(fields[name])
            fields[f"{name}_raw"] = fields[name]
    for name in _UNIX_TIMES:
        # A number that is no moment is no reason to lose a key over: it may be in another unit.
        if type(fields.get(name)) in (int, float) and _moment(fields[name]) is None:
            unknown[name] = fields.pop(name)
    if "permissions" in fields:
        permissions = _permissions(fields["permissions"])
        if permissions is None:
            unknown["permissions"] = fields.pop("permissions")
        else:
            fields["permissions"] = permissions
    return fields | {"unknown": FrozenDict(unknown)}


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
    overrides: Any = {name: override(struct_hook=hook) for name, hook in hooks.items() if name in names}
    base = make_dict_structure_fn(cls, converter, **overrides)
    known = frozenset(name for name in names if not name.endswith("_raw") and name != "unknown")

    def hook(value: Any, _: Any) -> Any:
        return base(_prepare(value, known), cls)

    return hook


def _make_converter() -> Converter:
    converter = Converter(detailed_validation=True)
    converter.register_structure_hook(str, _text)
    converter.register_structure_hook(int, _integer)
    converter.register_structure_hook(SecretStr, _secret)
    for cls in (KeyInfo, FastApiKey, UserInfo):
        converter.register_structure_hook(cls, _make_hook(cls, converter))
    return converter


_CONVERTER: Final = _make_converter()
