"""HTML that cannot be escaped from: text is escaped wherever it is put in."""

import html
from typing import NewType

Html = NewType("Html", str)
"""Markup. A plain string is text, and never becomes markup but through `text`."""


def text(value: str) -> Html:
    """Return text as markup; what UTF-8 cannot say is replaced."""
    return Html(html.escape(value.encode(errors="replace").decode()))


def element(name: str, /, *children: Html | None, **attributes: str | bool) -> Html:
    """Return an element; ``None`` is no child.

    An attribute's underscores are hyphens, one at the end is dropped (``class_``), ``True`` is an attribute without
    a value, and ``False`` is none at all.
    """
    told = "".join(_attribute(key.rstrip("_").replace("_", "-"), value) for key, value in attributes.items())
    opening = f"<{name}{told}>"
    if name in _VOID:
        return Html(opening)
    return Html(f"{opening}{''.join(child for child in children if child is not None)}</{name}>")


_VOID = frozenset({"input", "meta"})


def _attribute(name: str, value: str | bool) -> str:  # noqa: FBT001
    """Return one attribute with the space before it."""
    if isinstance(value, bool):
        return f" {name}" if value else ""
    return f' {name}="{text(value)}"'
