"""Parameters as forms and queries carry them (RFC 6749 appendix B)."""

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Final
from urllib.parse import parse_qsl, urlencode

import attrs

FORM: Final = "application/x-www-form-urlencoded"


@attrs.frozen
class Form:
    """The parameters of a form or a query.

    Attributes:
        values: Each parameter's value; one that is sent empty counts as not sent (RFC 6749 section 3.1).
        repeated: The names of those that are there more than once.
    """

    values: Mapping[str, str] = attrs.field(repr=False)
    repeated: frozenset[str] = attrs.field(repr=False)


def read_form(encoded: bytes | str) -> Form:
    """Return the parameters of a form. Any bytes are a form: what is no UTF-8 is kept as it is."""
    text = encoded if isinstance(encoded, str) else encoded.decode(errors="surrogateescape")
    pairs = parse_qsl(text, keep_blank_values=True, errors="surrogateescape")
    counts = Counter(name for name, _ in pairs)
    return Form(
        {name: value for name, value in pairs if value}, frozenset(n for n, count in counts.items() if count > 1)
    )


def write_form(pairs: Iterable[tuple[str, str]]) -> str:
    """Return parameters as a form, so that `read_form` gives the same bytes back."""
    return urlencode(list(pairs), errors="surrogateescape")
