"""JSON in bytes to values, by `json`, or by orjson where that is installed and says the same."""

from __future__ import annotations

import json
from typing import Any, Final, NoReturn

try:
    import orjson
except ModuleNotFoundError:  # the extra `speedups` is not installed
    orjson = None  # type: ignore[assignment]

# orjson makes a float of an int that has more than 64 bits, and so loses digits; those have 19 or more of them.
_LARGE: Final = b"0" * 19
_TO_ZERO: Final = bytes.maketrans(b"123456789", b"000000000")  # to search for that takes a tenth of a pattern's time
_NESTING: Final = 200  # json nests less deep than orjson does; with so few brackets, neither gives up


def _refuse_constant(_: str) -> NoReturn:
    raise ValueError  # NaN and Infinity are not JSON (RFC 8259, section 6)


_DECODER: Final = json.JSONDecoder(parse_constant=_refuse_constant)  # json.loads would make one for each answer


def decode(body: bytes) -> Any:
    """Return what a text of JSON says: in UTF-8 as a rule, or in any encoding that `json.loads` knows.

    Raises:
        ValueError: It is no JSON.
        RecursionError: It is nested too deep.
    """
    if orjson is not None and _is_plain(body):
        try:
            return orjson.loads(body)
        except orjson.JSONDecodeError:
            pass  # json has the last word: it takes what orjson does not, such as half of a surrogate pair
    try:
        return _DECODER.decode(body.decode())
    except ValueError:
        return json.loads(body, parse_constant=_refuse_constant)


def _is_plain(body: bytes) -> bool:
    return body.count(b"[") + body.count(b"{") <= _NESTING and _LARGE not in body.translate(_TO_ZERO)
