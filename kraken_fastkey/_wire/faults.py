"""What is wrong with an answer: cattrs, with all of its detail, and its complaints as paths without values.

Its exceptions hold the value, so none of them gets out.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, TypeVar

from cattrs import BaseValidationError, Converter, transform_error
from cattrs.gen import make_dict_structure_fn, override

from kraken_fastkey._models import FastApiKey, KeyInfo, UserInfo
from kraken_fastkey._wire.fields import Faults, WrongTypeError, hooks_of, sort_fields

_T = TypeVar("_T")


def structure_and_tell(value: Any, cls: type[_T], path: str) -> _T | Faults:
    """Return a JSON value as an object of *cls*, or all that is wrong with it; see `structure`."""
    try:
        return _CONVERTER.structure(value, cls)
    except (BaseValidationError, WrongTypeError) as error:
        told = transform_error(error, path, _tell)
    # Out of the except block: cattrs' exceptions must not become the context of another.
    return Faults(tuple(": ".join(reversed(fault.split(" @ ", 1))) for fault in told))


def _tell(error: BaseException, _type: object) -> str:
    if isinstance(error, KeyError):
        return "is missing"
    return str(error) if isinstance(error, WrongTypeError) else "is not as described"


def _make_hook(cls: type[Any], converter: Converter) -> Callable[[Any, Any], Any]:
    overrides: Any = {name: override(struct_hook=hook) for name, hook in hooks_of(cls).items()}
    base = make_dict_structure_fn(cls, converter, **overrides)

    def hook(value: Any, _: Any) -> Any:
        return base(sort_fields(value, cls), cls)

    return hook


def _make_converter() -> Converter:
    converter = Converter(detailed_validation=True)
    for cls in (KeyInfo, FastApiKey, UserInfo):
        converter.register_structure_hook(cls, _make_hook(cls, converter))
    return converter


_CONVERTER: Final = _make_converter()
