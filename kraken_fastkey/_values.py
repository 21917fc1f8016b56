"""What plain values have in common: how they are shown and compared."""

from __future__ import annotations

import attrs


@attrs.frozen(eq=False, repr=False)
class Value:
    """A base of classes with `eq=False, repr=False`: its methods do what those would that attrs writes into each.

    attrs compiles what it writes, which would take 2 ms of an import.
    """

    def __repr__(self) -> str:
        shown = [field for field in attrs.fields(type(self)) if field.repr]
        texts = [(field.repr if callable(field.repr) else repr)(getattr(self, field.name)) for field in shown]
        fields = ", ".join(f"{field.name}={text}" for field, text in zip(shown, texts, strict=True))
        return f"{type(self).__name__}({fields})"

    def __eq__(self, other: object) -> bool:
        if type(other) is not type(self):
            return NotImplemented
        return attrs.astuple(self, recurse=False) == attrs.astuple(other, recurse=False)

    def __hash__(self) -> int:
        hashed = attrs.astuple(self, recurse=False, filter=lambda field, _: field.hash is not False)
        return hash((type(self), hashed))
