"""Server's text made fit to be shown: short, on one line, and with nothing in it that could be a secret."""

from __future__ import annotations

import html
import re
from typing import Final

__all__ = ["excerpt", "masked_line", "one_line"]

_LIMIT: Final = 200
_READ: Final = 8192  # a title or the first fields of an object are found in this many bytes
# A string, whole or cut off, and the colon that makes it a name; or a run of anything else that could be a value.
_TOKEN: Final = re.compile(r'("(?:[^"\\]|\\.)*(?:"|\\?$))(\s*:)?|[^\s{}\[\]:,"]+', re.DOTALL)
_PLAIN_NAME: Final = re.compile(r'"([A-Za-z_]{1,32})"', re.ASCII)
_TITLE: Final = re.compile(r"<title[^>]*>(.*?)</title", re.IGNORECASE | re.DOTALL)
_FORM_VALUE: Final = re.compile(r"=[^&\s]+")
_LONG_RUN: Final = re.compile(r"[A-Za-z0-9+/=_~.-]{16,}")
_WORDS: Final = re.compile(r"[a-z_]+|[A-Za-z]?[a-z]+", re.ASCII)


def one_line(text: str, limit: int = _LIMIT) -> str:
    """Return *text* without control characters, on one line, cut to *limit* characters (CWE-117)."""
    line = " ".join("".join(c if c.isprintable() else " " for c in text[: limit * 8]).split())
    return line if len(line) <= limit else line[: limit - 1] + "…"


def masked_line(text: str) -> str:
    """Return a server's words fit to be shown: as by `one_line`, what is long enough to be a secret masked."""
    return one_line(_LONG_RUN.sub(_mask_run, text[: _LIMIT * 8]))


def excerpt(body: bytes, media_type: str) -> str:
    """Return a piece of an unreadable answer to know it by.

    Of JSON, whole or not, the structure and the names of fields are shown, and no value; of an HTML page,
    its title; of other text, the beginning. What is long enough to be a key or token is masked. Of what is no
    text nothing is shown.
    """
    if b"\0" in body[:_READ]:
        return ""  # in UTF-16 and UTF-32 a secret would stand letter by letter
    text = body[:_READ].decode("utf-8", "replace").lstrip("\ufeff \t\r\n")
    if "html" in media_type or text.startswith("<"):
        title = _TITLE.search(text)
        return masked_line(html.unescape(title[1])) if title else ""
    if text.startswith(("{", "[", '"')) or "json" in media_type:
        return one_line(_TOKEN.sub(_keep_structure, text))
    return masked_line(_FORM_VALUE.sub("=…", text))


def _keep_structure(match: re.Match[str]) -> str:
    if match[1] is None:
        return match[0] if match[0] in {"true", "false", "null"} else "…"
    name = _PLAIN_NAME.fullmatch(match[1])
    if match[2] is None:
        return "…"
    return f"{name[1]}:" if name else "…:"


def _mask_run(match: re.Match[str]) -> str:
    # Words of prose, and names such as withdrawal_address_update, are no secrets.
    return match[0] if _WORDS.fullmatch(match[0]) else "…"
