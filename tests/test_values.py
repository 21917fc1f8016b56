"""Plain values: what `Value` writes once is what attrs would write into each class."""

from __future__ import annotations

from collections.abc import Mapping

import attrs
import pytest
from hypothesis import given, strategies as st

from kraken_fastkey import AccessToken, Event, FastApiKey, KeyInfo, Permissions, RetryPolicy, Timeouts
from kraken_fastkey._values import Value


def _names(value: Mapping[str, int]) -> str:
    return repr(sorted(value))


@attrs.frozen(eq=False, repr=False)
class Ours(Value):
    """With the methods of `Value`, and fields of each kind that the package has."""

    number: float
    hidden: str = attrs.field(repr=False)
    names: Mapping[str, int] = attrs.field(hash=False, repr=_names)


@attrs.frozen
class Theirs:
    """The same fields, with the methods that attrs writes."""

    number: float
    hidden: str = attrs.field(repr=False)
    names: Mapping[str, int] = attrs.field(hash=False, repr=_names)


FIELDS = st.tuples(
    st.sampled_from([0.0, 1, 1.0, 2.5]),
    st.sampled_from(["", "hidden"]),
    st.dictionaries(st.sampled_from("ab"), st.integers(0, 1)),
)


@given(one=FIELDS, other=FIELDS)
def test_it_is_shown_and_compared_as_by_attrs(
    one: tuple[float, str, dict[str, int]], other: tuple[float, str, dict[str, int]]
) -> None:
    """The repr is the same, and so is what is equal; what is equal has one hash."""
    assert repr(Theirs(*one)) == repr(Ours(*one)).replace("Ours", "Theirs")
    assert (Theirs(*one) == Theirs(*other)) is (Ours(*one) == Ours(*other))
    assert (Theirs(*one) != Theirs(*other)) is (Ours(*one) != Ours(*other))
    if Ours(*one) == Ours(*other):
        assert hash(Ours(*one)) == hash(Ours(*other))


def test_another_class_is_never_equal() -> None:
    """Neither a subclass nor its base is the same, with the same fields, as by attrs."""

    @attrs.frozen(eq=False, repr=False)
    class Sub(Ours):
        pass

    assert Ours(1, "", {}) != Sub(1, "", {})
    assert Ours.__eq__(Ours(1, "", {}), 1) is NotImplemented


@pytest.mark.parametrize("cls", [AccessToken, Event, FastApiKey, KeyInfo, Permissions, RetryPolicy, Timeouts])
def test_public_values_have_these_methods(cls: type[Value]) -> None:
    """attrs has written no method of its own over them, and they have no dict for fields that do not exist."""
    assert set() == {"__eq__", "__hash__"} & set(vars(cls))
    assert issubclass(cls, Value)
    assert not hasattr(object.__new__(cls), "__dict__")
