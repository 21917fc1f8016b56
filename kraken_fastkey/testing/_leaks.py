"""Looks for secrets in what a test has printed and logged."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Final
from urllib.parse import quote

_MASK: Final = "<secret>"
_SHOWN: Final = 60  # characters of the line, on either side of the first secret


def find_leaks(sections: Iterable[tuple[str, str]], secrets: Collection[str]) -> list[str]:
    """Return where secrets are, with the lines that they are in, and without the secrets.

    Args:
        sections: What was captured: titles, such as `"Captured stdout call"`, and texts.
        secrets: What must not be in there, as it is or percent-encoded.
    """
    # Longer ones first: one may begin like another.
    forms = sorted({form for secret in secrets for form in (secret, quote(secret, safe=""))}, key=len, reverse=True)
    leaks = []
    for title, text in sections:
        for number, line in enumerate(text.splitlines(), 1):
            masked = line
            for form in forms:
                masked = masked.replace(form, _MASK)
            if masked != line:
                leaks.append(f"{title}, line {number}: {_shortened(masked)}")
    return leaks


def _shortened(line: str) -> str:
    first = line.index(_MASK)
    return line[max(0, first - _SHOWN) : first + len(_MASK) + _SHOWN]
