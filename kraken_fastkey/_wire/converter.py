"""JSON values to response objects: quickly if all is right, and with all that is wrong told if it is not."""

from __future__ import annotations

from typing import Any, TypeVar

from kraken_fastkey._wire.fields import Faults
from kraken_fastkey._wire.usual import read_usual

_T = TypeVar("_T")


def structure(value: Any, cls: type[_T], path: str) -> _T | Faults:
    """Return a JSON value as an object of *cls*, or what is wrong with it.

    Args:
        value: What `json` made of it.
        cls: One of the response classes.
        path: Where in the answer the value stands, such as `"$.result"`.
    """
    try:
        return read_usual(value, cls)
    except Exception:  # noqa: BLE001, S110  # whatever it is, it is read thoroughly below
        pass
    # Looked up when it is needed: nearly all answers are right, and an import of cattrs takes long.
    from kraken_fastkey._wire.faults import structure_and_tell  # noqa: PLC0415

    return structure_and_tell(value, cls, path)
