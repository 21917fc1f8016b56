"""The benchmarks compare like with like: bare aiohttp makes of an answer what the library makes of it."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import attrs

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))

from benchmarks.processes import Subject, serving  # noqa: E402  # it is not installed
from benchmarks.subjects import Key, bare, kraken_fastkey, kraken_fastkey_refreshing  # noqa: E402


async def test_all_do_the_same_work() -> None:
    """Field by field, both read the same key out of the server's answer."""
    with serving() as base_url:
        keys: list[Any] = []
        for subject in (bare, kraken_fastkey, kraken_fastkey_refreshing):
            async with subject(base_url) as create:
                keys.append(await create(1))
    plain, *ours = keys
    for key in ours:
        for field in attrs.fields(Key):
            mine = getattr(key, field.name)
            if field.name == "permissions":
                mine = mine.flags()
            elif field.name == "secret":
                mine = mine.get_secret_value()
            assert getattr(plain, field.name) == mine, field.name


def test_a_subject_measures_itself() -> None:
    """A call takes some processor time, and no less time by the clock than that, but for the clocks' steps."""
    with serving() as base_url:
        subject = Subject("bare aiohttp + json", base_url)
        try:
            seconds = subject.measure(50, 5)
        finally:
            subject.close()
    assert 0 < seconds["cpu"] < seconds["clock"] + 0.01
