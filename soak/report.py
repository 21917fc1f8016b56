"""The figures of a soak, as a table and as JSON."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from soak.run import Report

__all__ = ["as_json", "explanation", "table"]


def as_json(report: Report) -> dict[str, Any]:
    """Return the figures of one client."""
    books, balance = report.books, report.balance
    return {
        "client": report.name,
        "seed": report.seed,
        "ending": report.ending,
        "creates": books.asked,
        "keys_returned": books.returned,
        "create_errors": sum(count for (operation, _, _), count in books.errors.items() if operation == "create_key"),
        "creates_cancelled": books.walked_away["create_key"],
        "orphans": len(balance.orphans),
        "reported": len(balance.reported),
        "lost": len(balance.lost),
        "undead": len(balance.undead),
        "altered": len(balance.altered),
        "duplicates": len(balance.duplicates),
        "denied": len(balance.denied),
        "misled": len(balance.undead) + len(balance.altered) + len(balance.denied),
        "live": balance.live,
        "held": balance.held,
        "calls": dict(books.calls),
        "requests": report.requests,
        "faulted": report.faulted,
        "faults": report.faults,
        "virtual_seconds": round(report.virtual_seconds),
        "real_seconds": round(report.real_seconds, 1),
        "errors": {" ".join(key): count for key, count in sorted(books.errors.items())},
        "problems": list(report.problems),
    }


_COLUMNS = {
    "creates": "creates",
    "keys": "keys_returned",
    "errors": "create_errors",
    "cancelled": "creates_cancelled",
    "ORPHANS": "orphans",
    "reported": "reported",
    "lost": "lost",
    "duplicates": "duplicates",
    "misled": "misled",
    "requests": "requests",
    "virtual s": "virtual_seconds",
    "real s": "real_seconds",
}


_LEGEND = """\
orphans: live keys that nobody holds, and that nobody was told of
reported: live keys that nobody holds, named in an UnknownOutcomeError or in unsettled_keys
lost: keys that a caller was given and did not delete, and that are not there
duplicates: live keys of a create that has made another one, too, and told nobody
misled: live keys that were said to be deleted, or never made, or that are not as their holder was told"""


def table(reports: Sequence[Report]) -> str:
    """Return a table with a row for each client."""
    rows = [as_json(report) for report in reports]
    width = max(len(row["client"]) for row in rows)
    lines = [" " * width + "".join(f"{title:>{len(title) + 3}}" for title in _COLUMNS)]
    for row in rows:
        cells = (f"{row[field]:>{len(title) + 3}}" for title, field in _COLUMNS.items())
        lines.append(f"{row['client']:<{width}}" + "".join(cells))
    return "\n".join([*lines, "", _LEGEND])


def explanation(report: Report) -> str:
    """Return what else is to be said of a client: its errors, by class, and whatever is wrong."""
    balance = report.balance
    lines = [f"\n{report.name}: errors by operation, class and outcome"]
    lines += [
        f"  {operation:<12}{name:<26}{outcome:<10}{count:>6}"
        for (operation, name, outcome), count in sorted(report.books.errors.items())
    ]
    lines += [
        f"  {operation:<12}{'(the caller went away)':<36}{count:>6}"
        for operation, count in sorted(report.books.walked_away.items())
    ]
    wrong = {
        "orphans": balance.orphans,
        "lost": balance.lost,
        "deleted, and live": balance.undead,
        "not as told": balance.altered,
        "duplicates": balance.duplicates,
        "said not to be": balance.denied,
        "problems": report.problems,
    }
    lines += [f"{kind}: {', '.join(names[:10])}" for kind, names in wrong.items() if names]
    for name, history in report.histories.items():
        lines += [f"what happened to {name!r}:", *(f"  {event}" for event in history)]
    lines.append(
        f"{report.faulted} of {report.requests} requests met a fault; {balance.live} keys live, {balance.held} held"
    )
    verdict = "the books balance" if report.is_clean else "THE BOOKS DO NOT BALANCE"
    return "\n".join([*lines, f"{verdict} (seed {report.seed})"])
