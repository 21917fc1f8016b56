"""JSON is read the same with orjson and without: to the last digit, and to the last refusal."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from hypothesis import example, given, strategies as st

from kraken_fastkey._wire import decoding

_SCALARS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=True) | st.text()
_VALUES = st.recursive(
    _SCALARS, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4)
)
_PIECES = st.sampled_from(
    [
        *("{", "}", "[", "]", ",", ":", '"', "\\", "\\ud800", "\\u0000", '"a":1', "//"),
        *("null", "true", "NaN", "Infinity", "-", "0", "01", ".5", "0.1", "1E5", "1e400", "9" * 19, "9" * 20),
        *(" ", "\n", "\t", "\x00", "\x1f", "\x7f", "é", "\ufeff"),
    ]
)
_DEEP = (
    "[" * 150 + "]" * 150,
    "[" * 600 + "]" * 600,
    "[" * 1010 + "]" * 1010,
    "[" * 5000,
    '{"a":' * 400 + "1" + "}" * 400,
)


@contextmanager
def _without_orjson() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(decoding, "orjson", None)
        yield


def _read(body: bytes) -> str:
    """Return what a body says, type by type, or that it is refused."""
    try:
        return repr(decoding.decode(body))
    except (ValueError, RecursionError):
        return "refused"


def _check(body: bytes) -> None:
    assert vars(decoding)["orjson"] is not None, "the tests take orjson, see the group `tests`"
    with _without_orjson():
        expected = _read(body)
    assert expected == _read(body)


@given(_VALUES)
def test_what_json_writes_is_read_alike(value: Any) -> None:
    """Any value, with ints of any size and every character there is, halves of surrogate pairs among them."""
    _check(json.dumps(value).encode())
    _check(json.dumps(value, ensure_ascii=False).encode("utf-8", "surrogatepass"))


@given(st.binary() | st.lists(_PIECES).map("".join).map(str.encode))
@example(b'{"a":1,"a":2}')
@example(b'"\xff"')
@example(b"\xff\xfe1\x00")
@example('{"a":"é"}'.encode("utf-16"))
@example(b"\xef\xbb\xbf[]")
@example(b"")
def test_any_bytes_are_read_or_refused_alike(body: bytes) -> None:
    """Duplicate names, NaN, cut texts, other encodings, bytes that are no text."""
    _check(body)


@given(st.integers(-(2**70), 2**70), st.integers(-5, 5))
@example(2**53, 1)
@example(2**63, 0)
@example(2**64, 0)
@example(-(2**63), -1)
def test_no_int_loses_a_digit(number: int, beside: int) -> None:
    """An int stays an int of all its digits, whatever its size: nonces pass 2**53."""
    assert [number + beside] == decoding.decode(f"[{number + beside}]".encode())
    _check(f'{{"nonce":{number + beside},"to":[{number}.0,{number}e3]}}'.encode())


@pytest.mark.parametrize("body", _DEEP, ids=lambda body: str(len(body)))
def test_deep_nesting_is_read_or_refused_alike(body: str) -> None:
    """orjson nests deeper than json does, so it is not asked."""
    _check(body.encode())


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_floats_are_the_nearest_ones(number: float) -> None:
    """What repr writes comes back to the last bit."""
    read = decoding.decode(f"[{number!r}]".encode())
    assert [(number, math.copysign(1, number))] == [(read[0], math.copysign(1, read[0]))]


def test_orjson_is_asked_where_it_is_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    """The usual answer is orjson's work alone; an int that it would round is json's."""
    asked: list[bytes] = []

    class Recording:
        JSONDecodeError = ValueError

        @staticmethod
        def loads(body: bytes) -> Any:
            """Note what is asked, and answer it."""
            asked.append(body)
            return json.loads(body)

    monkeypatch.setattr(decoding, "orjson", Recording)
    usual, large = b'{"nonce":1764167237000000}', b'{"nonce":-9223372036854775809}'
    assert {"nonce": 1764167237000000} == decoding.decode(usual)
    assert {"nonce": -9223372036854775809} == decoding.decode(large)
    assert [usual] == asked
