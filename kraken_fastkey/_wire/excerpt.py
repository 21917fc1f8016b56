"""Server's text made fit to be shown: short, on one line, and with nothing in it that could be a secret."""

from __future__ import annotations

import re
from typing import Final

_LIMIT: Final = 200
_READ: Final = 8192  # a title or the first fields of an object are found in this many bytes
_TITLE_READ: Final = 600  # html.unescape fails at `&#` and more digits than int() takes, which may be 640
# Compiled, and kept, by `re` when the first error is told: an import would take longer.
# A string, whole or cut off, and the colon that makes it a name; or a run of anything else that could be a value.
_PIECE: Final = r"""(?s)("(?:[^"\\]|\\.)*(?:"|\\?$))(\s*:)?|[^\s{}\[\]:,"]+"""
_PLAIN_NAME: Final = '"([A-Za-z_]{1,32})"'
_FORM_VALUE: Final = r"=[^&\s]+"
_LONG_RUN: Final = "[A-Za-z0-9+/=_~.-]{16,}"
_WORDS: Final = "[a-z_]+|[A-Za-z]?[a-z]+"
_MEDIA_TYPE: Final = (
    "[a-z]{1,15}/([a-z]{1,24}|[a-z0-9]{1,8})([.+-]([a-z]{1,24}|[a-z0-9]{1,8}))*"  # words, or short parts
)


def one_line(text: str, limit: int = _LIMIT) -> str:
    """Return *text* without control characters, on one line, cut to *limit* characters (CWE-117)."""
    text = text[: limit * 8]
    if not text.isprintable():
        text = "".join(c if c.isprintable() else " " for c in text)
    line = " ".join(text.split())
    return line if len(line) <= limit else line[: limit - 1] + "…"


def mask_runs(text: str) -> str:
    """Return *text* with all masked that is long enough to be a secret, and is no word."""
    return re.sub(_LONG_RUN, _mask_run, text)


def masked_line(text: str, limit: int = _LIMIT) -> str:
    """Return a server's words fit to be shown: as by `one_line`, what is long enough to be a secret masked."""
    return one_line(mask_runs(text[: limit * 8]), limit)


def told_media_type(media_type: str) -> str:
    """Return a media type fit to be shown: one that could be something else is masked."""
    return media_type if not media_type or re.fullmatch(_MEDIA_TYPE, media_type) else "…"


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
        import html  # noqa: PLC0415  # for who has a page to show: its table of entities takes 1 ms to load

        return masked_line(html.unescape(_title(text)[:_TITLE_READ]))
    if text.startswith(("{", "[", '"')) or "json" in media_type:
        return one_line(re.sub(_PIECE, _keep_structure, text))
    return masked_line(re.sub(_FORM_VALUE, "=…", text))


def _title(text: str) -> str:
    # Not one pattern: its time would grow with the square of a text that is full of `<title>`.
    tag = re.search("(?i)<title", text)
    start = text.find(">", tag.end()) + 1 if tag else 0
    end = re.search("(?i)</title", text[start:]) if start else None
    return text[start : start + end.start()] if end else ""


def _keep_structure(match: re.Match[str]) -> str:
    if match[1] is None:
        return match[0] if match[0] in {"true", "false", "null"} else "…"
    name = re.fullmatch(_PLAIN_NAME, match[1])
    if match[2] is None:
        return "…"
    return f"{name[1]}:" if name else "…:"


def _mask_run(match: re.Match[str]) -> str:
    # Words of prose, and names such as withdrawal_address_update, are no secrets.
    return match[0] if re.fullmatch(_WORDS, match[0]) else "…"
