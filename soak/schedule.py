"""What the soak does, decided beforehand: the same lives of keys for every client, all from one seed."""

from __future__ import annotations

import random
from collections.abc import Mapping
from typing import Final, Literal

import attrs

__all__ = ["FOREIGN_NAMES", "Cancellation", "Change", "Life", "Schedule"]

FOREIGN_NAMES: Final = tuple(f"foreign-{number}" for number in range(5))
"""Keys that somebody else made beforehand: nothing may happen to them."""

SHARED_FLAGS: Final[Mapping[str, bool]] = {"funds_query": True}
"""Creates that share a name ask for the same, so that only the books can tell their keys apart."""

_FLAGS: Final = ("funds_query", "trades_query_open", "trades_query_closed", "ledger_query")
_OWN_NAMES: Final = 0.35
_SHARED_NAMES: Final = 0.08
_NAMES_OF_AN_AGE: Final = 2
_FOREIGN: Final = 0.01
_KEPT: Final = 0.02
_MAX_PAUSE: Final = 6.0


@attrs.frozen
class Cancellation:
    """A caller who goes away.

    Attributes:
        how: By `task.cancel()`, `asyncio.timeout`, or `asyncio.wait_for`.
        seconds: After how long.
        steps: With `task.cancel()`, at which step of the event loop instead; 0: by the clock.
    """

    how: Literal["cancel", "timeout", "wait_for"]
    seconds: float
    steps: int = 0


@attrs.frozen(kw_only=True)
class Change:
    """One update of a key."""

    new_name: str | None
    flags: Mapping[str, bool]
    pause: float
    cancellation: Cancellation | None


@attrs.frozen(kw_only=True)
class Life:
    """One key's life, from its create to its end.

    Attributes:
        number: Which life it is, 0 or more.
        name: The name that its caller chose; `None`: one is generated.
        is_shared: Whether other callers choose that name, too.
        flags: What the key may do.
        saves: Whether its caller stores it before the create returns.
        save_fails: Whether the store is broken.
        lists: Whether its caller lists the keys first.
        pause: How many seconds its caller waits before.
        cancellation: How its caller goes away while it is created; `None`: the caller waits.
        changes: Its updates.
        is_kept: Whether it is held to the end, and not deleted.
        last_pause: How many seconds pass before it is deleted.
        last_cancellation: How its caller goes away while it is deleted.
    """

    number: int
    name: str | None
    is_shared: bool
    flags: Mapping[str, bool]
    saves: bool
    save_fails: bool
    lists: bool
    pause: float
    cancellation: Cancellation | None
    changes: tuple[Change, ...]
    is_kept: bool
    last_pause: float
    last_cancellation: Cancellation | None

    @property
    def mark(self) -> int | None:
        """A `nonce_window` that tells whose create made a key, whatever it is called; none where names collide."""
        return None if self.is_shared else self.number + 1


@attrs.frozen
class Schedule:
    """The lives that each task has to see to, one after another.

    Attributes:
        tasks: The lives of each task.
        frees_names: Whether a name that others choose, too, is given up by whoever has it.
    """

    tasks: tuple[tuple[Life, ...], ...]
    frees_names: bool = False

    @classmethod
    def make(
        cls, seed: int, creates: int, *, tasks: int = 100, cancelled: float = 0.05, frees_names: bool = False
    ) -> Schedule:
        """Return the schedule of a seed.

        Args:
            seed: Any number.
            creates: How many keys are asked for.
            tasks: How many tasks ask for them.
            cancelled: The share of calls whose callers go away.
            frees_names: Whether names that many callers choose are deleted and renamed away, for others to take at
                once. A request that is carried out late may then meet a name that is free again.
        """
        rng = random.Random(seed)
        lives = [_make_life(rng, number, number // tasks, cancelled) for number in range(creates)]
        return cls(tuple(tuple(lives[task::tasks]) for task in range(tasks)), frees_names)


def _make_life(rng: random.Random, number: int, age: int, cancelled: float) -> Life:
    kind = rng.random()
    name: str | None = None
    is_shared = False
    if kind < _FOREIGN:
        name, is_shared = rng.choice(FOREIGN_NAMES), True
    elif kind < _FOREIGN + _SHARED_NAMES:
        # Of one age, so that they meet; and few, so that they collide.
        name, is_shared = f"shared-{age}-{rng.randrange(_NAMES_OF_AN_AGE)}", True
    elif kind < _FOREIGN + _SHARED_NAMES + _OWN_NAMES:
        name = f"own-{number}"
    saves = rng.random() < 0.3
    return Life(
        number=number,
        name=name,
        is_shared=is_shared,
        flags=SHARED_FLAGS if is_shared else _flags(rng),
        saves=saves,
        save_fails=saves and rng.random() < 0.05,
        lists=rng.random() < 0.1,
        pause=_pause(rng),
        cancellation=_cancellation(rng, cancelled),
        changes=tuple(_make_change(rng, number, age, turn, cancelled) for turn in range(rng.choice((0, 0, 0, 1, 2)))),
        is_kept=not is_shared and rng.random() < _KEPT,
        last_pause=_pause(rng),
        last_cancellation=_cancellation(rng, cancelled),
    )


def _make_change(rng: random.Random, number: int, age: int, turn: int, cancelled: float) -> Change:
    new_name: str | None = None
    kind = rng.random()
    if kind < 0.03:
        new_name = f"shared-{age}-{rng.randrange(_NAMES_OF_AN_AGE)}"
    elif kind < 0.4:
        new_name = f"renamed-{number}-{turn}"
    return Change(
        new_name=new_name,
        flags={} if new_name is not None and rng.random() < 0.5 else _flags(rng),
        pause=_pause(rng),
        cancellation=_cancellation(rng, cancelled),
    )


def _pause(rng: random.Random) -> float:
    return 0.0 if rng.random() < 0.3 else rng.uniform(0.0, _MAX_PAUSE)


def _flags(rng: random.Random) -> Mapping[str, bool]:
    return {flag: rng.random() < 0.7 for flag in rng.sample(_FLAGS, 2)}


def _cancellation(rng: random.Random, cancelled: float) -> Cancellation | None:
    if rng.random() >= cancelled:
        return None
    how: Literal["cancel", "timeout", "wait_for"] = rng.choice(("cancel", "timeout", "wait_for"))
    if how == "cancel" and rng.random() < 0.6:
        return Cancellation(how, 0.0, steps=rng.randint(1, 40))
    # Most calls take no time at all; what is slow is waiting, hanging, or looking at the list.
    return Cancellation(how, rng.choice((0.0, 0.0, rng.uniform(0.0, 0.01), rng.uniform(0, 3), rng.uniform(0, 70))))
