"""Deleting several keys: one that fails does not keep the others."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

import attrs
from rich.text import Text

from kraken_fastkey import FastKeyClient, FastKeyError
from kraken_fastkey.cli._exits import Exit, describe_error, exit_of, tell_error
from kraken_fastkey.cli._invocation import Invocation
from kraken_fastkey.cli._output import shown

# The next key would fail likewise.
_STOPPING: Final = frozenset({Exit.LOGIN, Exit.PERMISSION, Exit.UNAVAILABLE, Exit.UNEXPECTED})


@attrs.define
class Deletions:
    """What came of each key.

    Attributes:
        deleted: The names of those that are deleted.
        failed: Why others are not, by name.
        not_tried: The names of those that were left alone, since what had failed would fail again.
    """

    deleted: list[str] = attrs.field(factory=list)
    failed: dict[str, FastKeyError] = attrs.field(factory=dict)
    not_tried: list[str] = attrs.field(factory=list)


async def delete_each(invocation: Invocation, client: FastKeyClient, names: Iterable[str]) -> Deletions:
    """Delete keys, and return what came of each."""
    came = Deletions()
    stopped = False
    for name in names:
        if stopped:
            came.not_tried.append(name)
            continue
        with invocation.output.spinner(f"Deleting {shown(name)}"):
            try:
                await client.delete_key(name)
            except FastKeyError as error:
                came.failed[name] = error
                stopped = exit_of(error) in _STOPPING
            else:
                came.deleted.append(name)
    return came


def report_deletions(invocation: Invocation, came: Deletions, **more: Any) -> int:
    """Print what was deleted, and what was not; return the exit code, that of the first failure.

    Raises:
        FastKeyError: Why the only key was not deleted.
    """
    if len(came.failed) == 1 and not came.deleted and not came.not_tried:
        raise next(iter(came.failed.values()))
    document = {
        **more,
        "deleted": came.deleted,
        "failed": [{**describe_error(error), "api_key_name": name} for name, error in came.failed.items()],
        "not_tried": came.not_tried,
    }
    for name, error in came.failed.items():
        invocation.output.fail(f"{shown(name)!r}: {tell_error(error)}")
    for name in came.not_tried:
        invocation.output.say(f"not tried: {shown(name)!r}")
    if came.deleted or invocation.as_json:
        invocation.output.emit(document, lambda: Text("\n".join(f"deleted {shown(name)}" for name in came.deleted)))
    return next(map(exit_of, came.failed.values()), Exit.OK)
