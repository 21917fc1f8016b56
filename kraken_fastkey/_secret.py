"""SecretStr: a string that no repr, log, pickle or traceback shows."""

from __future__ import annotations

import hmac
from typing import Final, NoReturn, Self, final

_MASK: Final = "**********"


class Unpicklable:
    """What holds secrets, or leads to them, and so stays in its process: no pickle, and no copy."""

    __slots__ = ()

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        raise TypeError(f"a {type(self).__name__} cannot be pickled or copied: make one where it is used")


@final
class SecretStr:
    """A string that shows itself only to who asks for it by name.

    `repr`, `str`, `format`, `%s`, `attrs.asdict`, `cattrs.unstructure` and tracebacks with locals
    show a fixed mask that tells nothing, not even the length. `json` and `pickle` refuse it. Copies
    are the object itself. Two are equal if their values are; the comparison takes constant time.

    Args:
        value: The secret, or another `SecretStr`.

    Raises:
        TypeError: *value* is neither.
    """

    __slots__ = ("__weakref__", "_value")

    _value: str

    def __init__(self, value: str | SecretStr) -> None:
        # The argument is masked before anything can fail: a traceback with locals would show it.
        kind = type(value)
        plain: object = value.get_secret_value() if isinstance(value, SecretStr) else value
        if not isinstance(plain, str):
            del value, plain
            raise TypeError(f"a secret must be a str, not {kind.__name__}")
        object.__setattr__(self, "_value", plain)

    def get_secret_value(self) -> str:
        """Return the secret itself. Keep it out of variables that outlive the line."""
        return self._value

    def __repr__(self) -> str:
        return f"SecretStr('{_MASK}')"

    def __str__(self) -> str:
        return _MASK

    def __format__(self, spec: str, /) -> str:
        return format(_MASK, spec)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, SecretStr):
            return NotImplemented
        # surrogatepass: a str that is no valid Unicode must still compare.
        return hmac.compare_digest(
            self._value.encode("utf-8", "surrogatepass"), other._value.encode("utf-8", "surrogatepass")
        )

    def __hash__(self) -> int:
        return hash((SecretStr, self._value))

    def __bool__(self) -> bool:
        return bool(self._value)

    def __setattr__(self, name: str, value: object) -> NoReturn:
        del value  # perhaps a secret, and a traceback with locals would show it
        raise AttributeError("a SecretStr cannot be changed")

    def __delattr__(self, name: str) -> NoReturn:
        raise AttributeError("a SecretStr cannot be changed")

    def __copy__(self) -> Self:
        return self

    def __deepcopy__(self, memo: object) -> Self:
        return self

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        raise TypeError("a SecretStr cannot be pickled: a pickle would hold the secret in clear")

    def __getstate__(self) -> NoReturn:
        raise TypeError("a SecretStr has no state to hand out: use get_secret_value()")
