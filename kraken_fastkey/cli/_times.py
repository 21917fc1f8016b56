"""Moments as people read them, and as JSON has them."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Final

_STEPS: Final = ((86_400.0, "d"), (3600.0, "h"), (60.0, "min"))
_TWO: Final = 1.95  # or as good as


def relative(moment: datetime, now: float) -> str:
    """Return how far away a moment is, in the largest unit of which it is two: `in 7 d`, `36 h ago`; `now` if in none.

    Args:
        moment: The moment.
        now: The present, in Unix seconds.
    """
    seconds = moment.timestamp() - now
    for size, unit in _STEPS:
        # A moment after it was made, a week is seven days still.
        if abs(seconds) > _TWO * size:
            count = round(abs(seconds) / size)
            return f"in {count} {unit}" if seconds > 0 else f"{count} {unit} ago"
    return "now"


def to_text(moment: datetime, now: float) -> str:
    """Return a moment in UTC, and how far away it is."""
    return f"{moment.astimezone(UTC):%Y-%m-%d %H:%M} UTC ({relative(moment, now)})"


def to_json(moment: datetime | None) -> str | None:
    """Return a moment in ISO 8601, in UTC; `None` stays `None`."""
    if moment is None:
        return None
    return moment.astimezone(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
