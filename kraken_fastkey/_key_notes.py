"""What was done with an account's keys lately: lists lag, so that they may show the keys as they were before."""

from __future__ import annotations

import math
from typing import Final, TypeVar

_T = TypeVar("_T")

Note = tuple[float, str | None]
"""When a key was handed to somebody, and when it was made, in the server's words."""

_LATELY: Final = 300.0  # seconds, longer than a list lags
_REMEMBERED: Final = 1000  # keys at most; no account makes so many in that time


class KeyNotes:
    """The keys that were made, changed and deleted within the last minutes, by their names."""

    __slots__ = ("_changed", "_freed", "_handed_out")

    def __init__(self) -> None:
        self._handed_out: dict[str, Note] = {}
        self._freed: dict[str, tuple[float, None]] = {}  # those that may have been are among them
        self._changed: dict[str, tuple[float, None]] = {}  # likewise

    def remember(self, name: str, created_time: str | None, now: float) -> Note:
        """Note that somebody holds the key of this name.

        Args:
            name: The key's name.
            created_time: When it was made, in the server's words.
            now: Seconds on a clock that never goes back.

        Returns:
            The note, by which `name_of` tells where the key is.
        """
        if self._freed.pop(name, None) is not None:
            _note(self._changed, name, None, now)  # a list that lags may show the key before
        # Older ones are told from a new key by its time.
        return _note(self._handed_out, name, created_time, now)

    def rename(self, name: str, new_name: str, now: float) -> None:
        """Note that a key has another name, by our own doing.

        Args:
            name: The key's name before.
            new_name: Its name now.
            now: Seconds on a clock that never goes back.
        """
        note = self._handed_out.get(name)
        self.forget(name, now)
        if note is not None:
            self._handed_out[new_name] = note

    def may_be_renamed(self, name: str, new_name: str, now: float) -> None:
        """Note that a key has another name by now, by our own doing, or still the one that it had.

        Args:
            name: The key's name before.
            new_name: The name that it may have.
            now: Seconds on a clock that never goes back.
        """
        note = self._handed_out.get(name)
        if note is not None:
            self._handed_out.setdefault(new_name, note)
        self.may_be_gone(name, now)

    def may_be_gone(self, name: str, now: float) -> None:
        """Note that there may be no key of this name any more, by our own doing.

        Args:
            name: The key's name.
            now: Seconds on a clock that never goes back.
        """
        _note(self._freed, name, None, now)

    def forget(self, name: str, now: float) -> None:
        """Note that a key of this name is gone, by our own doing.

        Args:
            name: The key's name.
            now: Seconds on a clock that never goes back.
        """
        self._handed_out.pop(name, None)
        self.may_be_gone(name, now)

    def note_change(self, name: str, new_name: str, now: float) -> bool:
        """Note that a key is to be changed.

        Args:
            name: The key's name.
            new_name: Its name afterwards, which may be the same.
            now: Seconds on a clock that never goes back.

        Returns:
            Whether the key that has the new name was another, or otherwise, a short while ago, by our own doing.
        """
        notes: list[Note | None] = [self._changed.get(new_name), self._freed.get(new_name)]
        if new_name != name:
            notes.append(self._handed_out.get(new_name))
        before = max((note[0] for note in notes if note is not None), default=-math.inf)
        for one in {name, new_name}:
            _note(self._changed, one, None, now)
        return now - before < _LATELY

    def is_freed(self, name: str) -> bool:
        """Whether a key of this name is or may be gone since a short while, though a list that lags shows it yet."""
        return name in self._freed

    def name_of(self, name: str, note: Note) -> str | None:
        """Return what a key is named now, or `None` if it is gone, by our own doing.

        Args:
            name: What it was named when it was remembered.
            note: What `remember` has returned.
        """
        handed_out = self._handed_out
        for present, other in handed_out.items():
            if other is note:
                return present
        # What was noted long ago is forgotten.
        return None if name in handed_out or name in self._freed else name

    def is_handed_out(self, name: str) -> bool:
        """Whether somebody holds a key of this name that was made a short while ago."""
        return name in self._handed_out

    def is_held(self, name: str, created_time: str | None) -> bool:
        """Whether this very key was handed to somebody a short while ago."""
        return name in self._handed_out and self._handed_out[name][1] == created_time


def _note(table: dict[str, tuple[float, _T]], name: str, detail: _T, now: float) -> tuple[float, _T]:
    """Note something of a name as the latest, and forget what is no longer of use."""
    table.pop(name, None)
    note = table[name] = (now, detail)
    while len(table) > _REMEMBERED or next(iter(table.values()))[0] < now - _LATELY:
        del table[next(iter(table))]
    return note
