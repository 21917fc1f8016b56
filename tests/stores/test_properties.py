"""What holds for any grant, and for any bytes in the file's place."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import attrs
import pytest
from hypothesis import HealthCheck, example, given, settings, strategies as st
from strategies import leaks, package_locals

from kraken_fastkey import StoreError
from kraken_fastkey._grant import Grant, Rotation, grant_to_bytes
from kraken_fastkey.stores import FileGrantStore
from kraken_fastkey.stores._file import _to_content
from kraken_fastkey.stores._records import Record

KEY = "QUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUE="
GRANT = Grant("hush-hush-hush-hush", "refresh")
CONTENT = bytes(_to_content(Record(grant_to_bytes(attrs.evolve(GRANT, generation=1)), 1)))

moments = st.datetimes(
    datetime(1, 1, 3),  # noqa: DTZ001  # hypothesis adds the zone
    datetime(9999, 12, 29),  # noqa: DTZ001  # likewise
    timezones=st.sampled_from([UTC, timezone(timedelta(hours=-11))]),
)
tokens = st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E), min_size=1)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda values: st.lists(values) | st.dictionaries(st.text(), values),
    max_leaves=10,
)
FIELDS = {field.name for field in attrs.fields(Grant)} | {"format"}
grants = st.builds(
    Grant,
    tokens,
    st.none() | tokens,
    st.none() | moments,
    st.none() | st.lists(st.text()),
    issued_at=st.none() | moments,
    rotation=st.none() | st.builds(Rotation, started_at=moments, owner=st.text()),
    unknown=st.dictionaries(st.text().filter(lambda name: name not in FIELDS), json_values, max_size=3),
)


def _load(content: bytes, **options: Any) -> Grant | StoreError | None:
    """Return what a store makes of a file's content; `None` for an error that does not name the file."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "grant"
        path.touch(0o600)
        path.write_bytes(content)
        try:
            return asyncio.run(FileGrantStore(path, **options).load())
        except StoreError as error:
            named = str(path) in str(error)
            return error if named else None


@given(grant=grants, key=st.sampled_from([KEY, None]))
@settings(max_examples=200, suppress_health_check=[HealthCheck.too_slow])
def test_any_grant_survives(grant: Grant, key: str | None) -> None:
    """What is saved is what is loaded."""
    with tempfile.TemporaryDirectory() as folder:
        store = FileGrantStore(Path(folder) / "grant", encryption_key=key)
        saved = asyncio.run(store.save(grant))
        assert attrs.evolve(grant, generation=1) == saved
        assert saved == asyncio.run(store.load())


@given(content=st.binary(), key=st.sampled_from([KEY, None]))
@example(b"", None)
@example(b"\0" * 4096, None)
@example(CONTENT + b"\n", None)
@settings(max_examples=200)
def test_any_bytes_are_refused(content: bytes, key: str | None) -> None:
    """A file of any other bytes is refused, with its name."""
    assert isinstance(_load(content, encryption_key=key), StoreError)


@given(data=st.binary() | json_values.map(lambda value: repr(value).encode("utf-8", "replace")))
@settings(max_examples=200)
def test_any_content_is_a_grant_or_refused(data: bytes) -> None:
    """A record that is whole, and holds any bytes, gives a grant or an error."""
    assert isinstance(_load(bytes(_to_content(Record(data, 7)))), Grant | StoreError)
    assert isinstance(_load(bytes(_to_content(Record(data, 7))), encryption_key=KEY), StoreError)


@pytest.mark.parametrize(
    "damage",
    [
        lambda content, at: content[:at],
        lambda content, at: content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :],
        lambda content, at: content[:at] + b"\0" * (len(content) - at),
        lambda content, at: content[:at] + content[at + 1 :],
    ],
    ids=["torn", "flipped", "zeroed", "shortened"],
)
def test_damage_is_found(damage: Callable[[bytes, int], bytes]) -> None:
    """Wherever the file is torn or changed, it is refused as a whole, and the error shows none of it."""
    for at in range(len(CONTENT)):
        error = _load(damage(CONTENT, at))
        assert isinstance(error, StoreError)
        assert "holds no record of this library, or a damaged one" in str(error)
        assert [] == leaks(package_locals(error), "hush-hush-hush-hush")
