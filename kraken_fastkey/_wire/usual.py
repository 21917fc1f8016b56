"""Answers that are just as Kraken describes them, in one pass. What is odd is left to `fields` and cattrs."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final, TypeVar

import attrs

from kraken_fastkey._frozendict import FrozenDict
from kraken_fastkey._models import Permissions
from kraken_fastkey._wire.fields import (
    TEXT_TIMES,
    UNIX_TIMES,
    Hook,
    cached_by_class,
    hooks_of,
    kinds_of,
    permissions_of,
    readable_of,
    text_time,
)

_T = TypeVar("_T")


class OddError(Exception):
    """Something is not as it usually is; it need not be wrong."""


@attrs.frozen(eq=False, repr=False)
class _Plan:
    """How the fields of a class are read.

    Attributes:
        kinds: The types of those that are taken as they come.
        hooks: What reads each field, by its name.
        copies: Under which name the text of a time is kept, too, by the time's name.
    """

    kinds: Mapping[str, type]
    hooks: Mapping[str, Hook]
    copies: Mapping[str, str]


def read_usual(value: Any, cls: type[_T]) -> _T:
    """Return a JSON value as an object of *cls*.

    Raises:
        Exception: Something is odd: a field is missing, is not of its usual type, or makes no sense.
    """
    plan = _plan_of(cls)
    kinds, hooks = plan.kinds, plan.hooks
    fields: dict[str, Any] = {}
    unknown: dict[str, Any] = {}
    for name, field in value.items():
        if type(field) is kinds.get(name):
            fields[name] = field  # most of them: to call a hook would take three times as long
        elif name not in hooks:
            unknown[name] = field
        elif field is not None:
            fields[name] = hooks[name](field, None)
    for name, copy in plan.copies.items():
        if name in fields:
            fields[copy] = value[name]
    if unknown:
        fields["unknown"] = FrozenDict(unknown)
    return cls(**fields)


@cached_by_class
def _plan_of(cls: type[Any]) -> _Plan:
    readable = readable_of(cls)
    hooks = {name: _HOOKS.get(name, hook) for name, hook in hooks_of(cls).items() if name in readable}
    return _Plan(kinds_of(cls), hooks, {name: f"{name}_raw" for name in TEXT_TIMES if name in readable})


def _permissions(value: Any, _: Any) -> Permissions:
    permissions = permissions_of(value)
    if permissions is None:
        raise OddError
    return permissions


def _moment(value: Any, _: Any) -> datetime | None:
    if type(value) is not int:
        raise OddError
    return datetime.fromtimestamp(value, UTC) if value else None


def _moment_in_text(value: Any, _: Any) -> datetime | None:
    if value.isdigit() and value.isascii():
        return _moment(int(value), None)
    return text_time(value, None)


_HOOKS: Final[Mapping[str, Hook]] = {
    "permissions": _permissions,
    **dict.fromkeys(TEXT_TIMES, _moment_in_text),
    **dict.fromkeys(UNIX_TIMES, _moment),
}
