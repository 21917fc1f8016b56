"""What the library is to cost at most, and whether it does. No measuring, no printing."""

import statistics
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

import attrs

__all__ = ["BARE", "GROWTH_CALLS", "OURS", "Verdict", "judge", "quartiles", "ratios"]

BARE: Final = "bare aiohttp + json"
OURS: Final = "kraken-fastkey"
GROWTH_CALLS: Final = 1_000_000
"""After so many calls, memory is judged."""

# Subject, the one that it is compared to, and how much of its processor time it may take.
_SHARES: Final = (
    (OURS, BARE, 1.00),
    (f"{OURS} + orjson", BARE, 0.92),
    (OURS, "azure-core", 0.30),
    (OURS, "httpx + authlib", 0.25),
)


@attrs.frozen
class Verdict:
    """A goal, what was measured for it, and whether it is reached.

    Args:
        name: What is measured, with its unit.
        limit: What it may be at most, or has to be at least.
        values: What it was in each round; empty where it was not measured.
        at_least: Whether more is better.
        digits: How many digits are shown behind the point.
    """

    name: str
    limit: float
    values: Sequence[float]
    at_least: bool = attrs.field(default=False, kw_only=True)
    digits: int = attrs.field(default=2, kw_only=True)

    @property
    def goal(self) -> str:
        """The goal, as it is read: `<= 1.00`."""
        return f"{'>=' if self.at_least else '<='} {self.show(self.limit)}"

    @property
    def median(self) -> float | None:
        """The median of the rounds; `None` where there are none."""
        return statistics.median(self.values) if self.values else None

    @property
    def spread(self) -> tuple[float, float] | None:
        """The first and the third quartile; `None` where there was one round, or none."""
        if len(self.values) < 2:
            return None
        low, _, high = quartiles(self.values)
        return low, high

    @property
    def reached(self) -> bool | None:
        """Whether the median, unrounded, is within the limit; `None` where nothing was measured."""
        if self.median is None:
            return None
        return self.median >= self.limit if self.at_least else self.median <= self.limit

    def show(self, value: float) -> str:
        """Return a value as it is printed."""
        return f"{value:,.{self.digits}f}"

    def to_json(self) -> dict[str, Any]:
        """Return all of it as what JSON has."""
        return {
            "name": self.name,
            "goal": self.goal,
            "reached": self.reached,
            "median": self.median,
            "quartiles": self.spread,
            "rounds": list(self.values),
        }


def ratios(values: Sequence[float], others: Sequence[float]) -> list[float]:
    """Return the ratios, round by round: what disturbs a round disturbs both."""
    return [value / other for value, other in zip(values, others, strict=True)]


def quartiles(values: Sequence[float]) -> tuple[float, float, float]:
    """Return the quartiles of two values or more."""
    low, middle, high = statistics.quantiles(values, n=4)
    return low, middle, high


def judge(results: Mapping[str, Any]) -> Iterator[Verdict]:
    """Yield each goal, in the order in which they are told.

    Args:
        results: What `python -m benchmarks` writes as JSON.
    """
    for subject, other, limit in _SHARES:
        for way, subjects in results["calls"].items():
            values = ratios(subjects[subject]["cpu"], subjects[other]["cpu"])
            yield Verdict(f"CPU of a call, {way}: {subject} / {other}", limit, values)
    clock = {name: seconds["clock"] for name, seconds in results["calls"]["100 tasks"].items()}
    # Calls in a second are the inverse of seconds for a call.
    rates = ratios(clock[BARE], clock[OURS])
    yield Verdict(f"calls in a second, 100 tasks: {OURS} / {BARE}", 1.00, rates, at_least=True)

    imports = {name: [one["cpu"] for one in rounds] for name, rounds in results["imports"].items()}
    imported = ratios(imports["client"], imports["needed"])
    yield Verdict("CPU of import and a client / import aiohttp, attrs, cattrs", 1.10, imported)

    few, many = (results["accounts"][name] for name in ("1,000", "100,000"))
    yield Verdict("memory of one of 100,000 accounts, bytes", 1024, [one["bytes"] for one in many], digits=0)
    yield Verdict("CPU of building 100,000 accounts, seconds", 2.0, [one["seconds"] for one in many])
    each = ratios([one["seconds"] / 100_000 for one in many], [one["seconds"] / 1000 for one in few])
    yield Verdict("CPU of building one of 100,000 accounts / one of 1,000", 1.00, each)

    growth = results["growth"]
    grown = []
    if growth and growth["calls"] >= GROWTH_CALLS:
        grown = [(max(growth["most"], growth["at_end"]) - growth["after_first"]) / 1024]
    yield Verdict(f"memory after {GROWTH_CALLS:,} calls, less that after 10,000, KiB", 1024, grown, digits=0)

    yield Verdict("installed size, bytes", 1_000_000, [results["size"]["bytes"]], digits=0)
    yield Verdict("packages beside aiohttp, attrs and cattrs", 0, [len(results["size"]["packages"])], digits=0)
