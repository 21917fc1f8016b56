"""Answers that are just as Kraken describes them, in one pass. What is odd is left to `fields` and cattrs."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final, TypeVar

import attrs

from kraken_fastkey._frozendict import FrozenDict
from kraken_fastkey._models import Permissions
from kraken_fastkey._wire.fields import (
    KIND_OF_HOOK,
    TEXT_TIMES,
    UNIX_TIMES,
    Hook,
    cached_by_class,
    hooks_of,
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
        readers: By a field's name in JSON, our own name for it, its type if it is taken as it comes, and what reads it.
        copies: Under which name the text of a time is kept, too, by the time's name.
    """

    readers: Mapping[str, tuple[str, type | None, Hook]]
    copies: Mapping[str, str]


def read_usual(value: Any, cls: type[_T]) -> _T:
    """Return a JSON value as an object of *cls*.

    Raises:
        Exception: Something is odd: a field is missing, is not of its usual type, or makes no sense.
    """
    plan = _plan_of(cls)
    readers = plan.readers
    fields: dict[str, Any] = {}
    unknown: dict[str, Any] = {}
    for told, field in value.items():
        reader = readers.get(told)
        if reader is None:
            unknown[told] = field
            continue
        # Our own name, not the equal one of the answer: Python matches arguments by identity first.
        name, kind, hook = reader
        if type(field) is kind:
            fields[name] = field  # most of them: to call a hook would take three times as long
        elif field is not None:
            fields[name] = hook(field, None)
    for name, copy in plan.copies.items():
        if name in fields:
            fields[copy] = value[name]
    if unknown:
        fields["unknown"] = FrozenDict(unknown)
    return cls(**fields)


@cached_by_class
def _plan_of(cls: type[Any]) -> _Plan:
    readable = readable_of(cls)
    hooks = {name: hook for name, hook in hooks_of(cls).items() if name in readable}
    readers = {name: (name, KIND_OF_HOOK.get(hook), _HOOKS.get(name, hook)) for name, hook in hooks.items()}
    return _Plan(readers, {name: sys.intern(f"{name}_raw") for name in TEXT_TIMES if name in readable})


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
