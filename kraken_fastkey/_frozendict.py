"""FrozenDict: a dict that cannot be changed, so that a frozen object stays frozen all the way down."""

from __future__ import annotations

from typing import Any, Self, TypeVar

_V = TypeVar("_V")


class FrozenDict(dict[str, _V]):
    """A `dict` with string keys and no way to change it.

    It stays a real `dict`, so `json.dumps`, `copy`, `pickle` and `==` do what they do for one.
    """

    __slots__ = ()

    def _refuse(self, *_: Any, **__: Any) -> Any:
        raise TypeError("this mapping cannot be changed: make a dict() of it first")

    __setitem__ = _refuse
    __delitem__ = _refuse
    __ior__ = _refuse
    clear = _refuse
    pop = _refuse
    popitem = _refuse
    setdefault: Any = _refuse
    update: Any = _refuse

    def __copy__(self) -> Self:
        return self

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (dict(self),)
