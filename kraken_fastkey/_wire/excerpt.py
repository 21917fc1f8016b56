"""Server's text made fit to be shown: short, on one line, and with nothing in it that could be a secret."""

from __future__ import annotations

import html
import re
from typing import Final

__all__ = ["excerpt", "one_line"]

_LIMIT: Final = 200
_READ: Final = 8192  # a title or the first fields of an object are found in this many bytes
_STRING: Final = re.compile(r'"(?:[^"\\]|\\.)*(?:"|\\?$)(\s*:)?', re.DOTALL)
_PLAIN_KEY: Final = re.compile(r'"[A-Za-z_]{1,32}"\s*:', re.ASCII)
_BARE: Final = re.compile(r"[^\s{}\[\]:,\"…]+")
_TITLE: Final = re.compile(r"<title[^>]*>(.*?)</title", re.IGNORECASE | re.DOTALL)
_FORM_VALUE: Final = re.compile(r"=[^&\s]+")
_LONG_RUN: Final = re.compile(r"[A-Za-z0-9+/=_~.-]{16,}")


def one_line(text: str, limit: int = _LIMIT) -> str:
    """Return *text* without control characters, on one line, cut to *limit* characters (CWE-117)."""
    line = " ".join("".join(c if c.isprintable() else " " for c in text[: limit * 8]).split())
    return line if len(line) <= limit else line[: limit - 1] + "…"


def excerpt(body: bytes, media_type: str) -> str:
    """Return a piece of an unreadable answer to know it by.

    Of JSON, whole or not, the structure and the names of fields are shown, and no value; of an HTML page,
    its title; of other text, the beginning. What is long enough to be a key or token is masked.
    """
    text = body[:_READ].decode("utf-8", "replace").lstrip("\ufeff \t\r\n")
    if "html" in media_type or text.startswith("<"):
        title = _TITLE.search(text)
        return one_line(_mask(html.unescape(title[1]))) if title else ""
    if text.startswith(("{", "[", '"')) or "json" in media_type:
        return one_line(_BARE.sub(_keep_literal, _STRING.sub(_keep_key, text)))
    return one_line(_mask(_FORM_VALUE.sub("=…", text)))


def _keep_key(match: re.Match[str]) -> str:
    if _PLAIN_KEY.fullmatch(match[0]):
        # Quotes go, so that what is left in quotes is masked by the next step.
        return f"«{match[0].strip(' :').strip(chr(34))}»:"
    return f"…{match[1] or ''}"


def _keep_literal(match: re.Match[str]) -> str:
    word = match[0]
    if word in {"true", "false", "null"} or (word.startswith("«") and word.endswith("»")):
        return word.strip("«»")
    return "…"


def _mask(text: str) -> str:
    return _LONG_RUN.sub("…", text)
