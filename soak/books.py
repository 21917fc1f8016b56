"""The books of the soak: who was told what, balanced in the end against the keys that there are."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Final, Literal

import attrs

from kraken_fastkey.sandbox import SandboxKey

__all__ = ["Balance", "Books", "Record", "Shown", "is_as_told"]

Fate = Literal["held", "doubtful", "gone"]


@attrs.define
class Record:
    """A key that a caller was given.

    Attributes:
        life: Which life it belongs to; -1: somebody else's.
        api_key: The public half; it tells keys apart, whatever they are called.
        secret: The secret half.
        names: What it may be called; one name, unless a rename was left open.
        flags: What it may be allowed to do; one set, unless an update was left open.
        fate: Whether its caller holds it, does not know whether it is deleted, or knows that it is.
    """

    life: int
    api_key: str
    secret: str = attrs.field(repr=False)
    names: set[str]
    flags: list[dict[str, bool]]
    fate: Fate = "held"


@attrs.frozen
class Balance:
    """What the books say in the end, in names of keys.

    Attributes:
        live: How many keys there are.
        held: How many keys callers hold.
        orphans: Keys that nobody holds, and that nobody was told of.
        reported: Keys that nobody holds, and that the client has named to its caller.
        lost: Keys that a caller was given, and did not delete, and that are not there.
        undead: Keys whose deletion was reported, and that are there.
        altered: Keys that are not as their caller was told.
        duplicates: Keys of a create that has made another one, too, and told nobody.
        denied: Keys of a create that was reported to have done nothing.
    """

    live: int
    held: int
    orphans: tuple[str, ...]
    reported: tuple[str, ...]
    lost: tuple[str, ...]
    undead: tuple[str, ...]
    altered: tuple[str, ...]
    duplicates: tuple[str, ...]
    denied: tuple[str, ...]

    @property
    def is_clean(self) -> bool:
        """Whether each key is somebody's, and everybody has theirs."""
        wrong = (self.orphans, self.lost, self.undead, self.altered, self.duplicates, self.denied)
        return not any(wrong)


class Books:
    """Who was told what.

    Attributes:
        records: The keys that callers were given, by `api_key`.
        asked: How many creates there were.
        returned: How many of them gave a key.
        calls: How many calls there were, by operation.
        errors: How they failed, by operation, class and outcome.
        walked_away: How many callers went away, by operation.
        told: The names of keys that a caller was told may exist.
        undone: The lives whose create was reported to have done nothing.
        problems: What nothing explains.
    """

    def __init__(self) -> None:
        self.records: dict[str, Record] = {}
        self.asked = 0
        self.returned = 0
        self.calls: Counter[str] = Counter()
        self.errors: Counter[tuple[str, str, str]] = Counter()
        self.walked_away: Counter[str] = Counter()
        self.told: set[str] = set()
        self.undone: set[int] = set()
        self.problems: list[str] = []

    def hold(self, life: int, name: str, api_key: str, secret: str, flags: Mapping[str, bool]) -> Record:
        """Note that a caller was given a key; told twice, it is one key."""
        if api_key not in self.records:
            self.records[api_key] = Record(life, api_key, secret, {name}, [dict(flags)])
        return self.records[api_key]

    def balance(self, keys: Sequence[SandboxKey], unsettled: Collection[str] = ()) -> Balance:
        """Compare the books with the keys that there are.

        Args:
            keys: The truth.
            unsettled: The names that the client owns up to in the end, beyond those it told its callers.
        """
        live = {key.api_key: key for key in keys}
        records = self.records.values()
        ownerless = [key for key in keys if key.api_key not in self.records]
        told = self.told.union(unsettled)
        known = [key for key in keys if key.api_key_name not in told or key.api_key in self.records]
        marks = Counter(key.nonce_window for key in known if key.nonce_window)
        return Balance(
            live=len(keys),
            held=sum(record.fate == "held" for record in records),
            orphans=_names(key for key in ownerless if key.api_key_name not in told),
            reported=_names(key for key in ownerless if key.api_key_name in told),
            lost=tuple(_name(record) for record in records if record.fate == "held" and record.api_key not in live),
            undead=tuple(_name(record) for record in records if record.fate == "gone" and record.api_key in live),
            altered=tuple(
                _name(record)
                for record in records
                if record.api_key in live and not is_as_told(record, live[record.api_key])
            ),
            duplicates=_names(key for key in known if marks[key.nonce_window] > 1),
            denied=_names(key for key in ownerless if key.nonce_window - 1 in self.undone),
        )


def is_as_told(record: Record, key: SandboxKey) -> bool:
    """Whether a key is what its caller believes it to be."""
    may = _granted(key.permissions)
    is_named = key.api_key_name in record.names
    return key.secret == record.secret and is_named and any(may == _granted(flags) for flags in record.flags)


def _granted(flags: Mapping[str, bool]) -> set[str]:
    """Return what flags allow; one that is false is as good as one that is not there."""
    return {name for name, flag in flags.items() if flag}


def _names(keys: Iterable[SandboxKey]) -> tuple[str, ...]:
    return tuple(key.api_key_name for key in keys)


def _name(record: Record) -> str:
    return " or ".join(sorted(record.names))


_WORD: Final = re.compile(r"[A-Za-z0-9+/=_.~-]{20,}")
_TELLING: Final = 20  # so many characters of a secret in a row are a leak


class Shown:
    """All that was written to logs or said by errors, to be searched for secrets in the end."""

    def __init__(self) -> None:
        self._words: set[str] = set()

    def add(self, text: str) -> None:
        """Keep what could hold a secret."""
        self._words.update(_WORD.findall(text))

    def leaks(self, secrets: Iterable[str]) -> int:
        """Return how many of these secrets have come to light, though it be in part."""
        shown = {word[start : start + _TELLING] for word in self._words for start in range(len(word) - _TELLING + 1)}
        parts = ((secret[:_TELLING], secret[len(secret) // 2 :][:_TELLING]) for secret in secrets)
        return sum(not shown.isdisjoint(part) for part in parts)
