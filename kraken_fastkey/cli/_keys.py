"""A key as JSON and as people read it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Any, Final

import attrs
from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, RenderableType
from rich.table import Table
from rich.text import Text

from kraken_fastkey import KeyInfo, Permissions
from kraken_fastkey.cli._output import GAP, make_lines, make_table, shown
from kraken_fastkey.cli._times import relative, to_json, to_text

_SOON: Final = 86_400.0
_DANGEROUS: Final = "funds_withdraw"
_HEADERS: Final = ("NAME", "MAY", "FROM", "EXPIRES", "USED")
_BROKEN: Final = (1, 2)  # these columns may be broken between words
_SHORT_NAME: Final = 6  # of a name's line, at least
_READ_ONLY: Final = Permissions.read_only().granted


def is_expired(key: KeyInfo, now: float) -> bool:
    return key.valid_until is not None and key.valid_until.timestamp() <= now


def describe_key(key: KeyInfo, now: float) -> dict[str, Any]:
    """Return a key as JSON has it, without its secret."""
    return {
        "api_key_name": key.api_key_name,
        "api_key": key.api_key,
        "id": key.id,
        "permissions": None if key.permissions is None else key.permissions.flags(),
        "ip_allowlist": None if key.ip_allowlist is None else list(key.ip_allowlist),
        "valid_until": to_json(key.valid_until),
        "expired": is_expired(key, now),
        "created_time": to_json(key.created_time),
        "modified_time": to_json(key.modified_time),
        "last_used": to_json(key.last_used),
        "nonce": key.nonce,
        "nonce_window": key.nonce_window,
        "query_from": to_json(key.query_from),
        "query_to": to_json(key.query_to),
        "oauth_client": key.oauth_client,
        "purpose": key.purpose,
    }


@attrs.frozen
class _Keys:
    """A table of keys, as wide as there is room: permissions and addresses get more lines, then names are cut."""

    rows: Sequence[Sequence[Text]]

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[Table]:
        table = make_table(*_HEADERS)
        for row in self.rows:
            table.add_row(*row)
        for column, width in zip(table.columns, self._widths(options.max_width) or (), strict=False):
            column.width = width
        yield table

    def _widths(self, room: int) -> list[int] | None:
        """Return the columns' widths; `None` where each must give way, as rich has it."""
        columns = list(zip(map(Text, _HEADERS), *self.rows, strict=True))
        whole = [max(cell.cell_len for cell in cells) for cells in columns]
        words = [max(cell_len(word) for cell in cells for word in cell.plain.split()) for cells in columns]
        widths = [words[index] if index in _BROKEN else width for index, width in enumerate(whole)]
        spare = room - sum(widths) - GAP * len(widths)
        if spare < 0:
            widths[0] += spare
            if widths[0] < _SHORT_NAME:
                return None
        for index in _BROKEN:
            more = max(0, min(spare, whole[index] - widths[index]))
            widths[index] += more
            spare -= more
        return widths


def render_keys(keys: Sequence[KeyInfo], now: float) -> RenderableType:
    return _Keys(
        [
            (
                Text(shown(key.api_key_name)),
                _may(key.permissions),
                Text(_from(key.ip_allowlist)),
                _expires(key, now),
                Text("never" if key.last_used is None else relative(key.last_used, now)),
            )
            for key in keys
        ]
    )


def render_key(key: KeyInfo, now: float, *, secret: str | None = None) -> Text:
    """Return what is known of one key, a line for each.

    Args:
        key: The key.
        now: The present, in Unix seconds.
        secret: What to show for the secret; `None` for no such line.
    """
    rows: list[tuple[str, Text | str | None]] = [
        ("name", shown(key.api_key_name)),
        ("api key", None if key.api_key is None else shown(key.api_key)),
        ("secret", secret),
        ("may", _may(key.permissions)),
        ("from", _from(key.ip_allowlist)),
        ("expires", "never" if key.valid_until is None else to_text(key.valid_until, now)),
        ("nonce window", str(key.nonce_window) if key.nonce_window else None),
        ("query from", _moment(key.query_from, now)),
        ("query to", _moment(key.query_to, now)),
    ]
    return make_lines(rows)


def _moment(moment: datetime | None, now: float) -> str | None:
    return None if moment is None else to_text(moment, now)


def _may(permissions: Permissions | None) -> Text:
    if permissions is None:
        return Text("?")
    if permissions.granted == _READ_ONLY:
        return Text("read-only")
    text = Text()
    for name in sorted(permissions.granted):
        style = "red" if name == _DANGEROUS else ""
        text.append(", " if text else "").append(shown(name.replace("_", "-")), style)
    return text or Text("nothing")


def _from(allowlist: tuple[str, ...] | None) -> str:
    if allowlist is None:
        return "?"
    return ", ".join(map(shown, allowlist)) or "anywhere"


def _expires(key: KeyInfo, now: float) -> Text:
    if key.valid_until is None:
        return Text("never")
    left = key.valid_until.timestamp() - now
    style = "red" if left <= 0 else "yellow" if left < _SOON else ""
    return Text(relative(key.valid_until, now), style)
