"""FileGrantStore when the operating system fails in the middle: the old grant or the new one, and a free lock."""

from __future__ import annotations

import errno
import fcntl
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from strategies import leaks, shown_by

from kraken_fastkey import StoreError
from kraken_fastkey._grant import Grant
from kraken_fastkey.stores import FileGrantStore, _disk

SECRET = "hush-hush-hush-hush"
OLD = Grant(f"{SECRET}-old", "refresh-old", generation=1)
NEW = Grant(f"{SECRET}-new", "refresh-new", generation=2)
KEY = "QUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUE="
CALLS = frozenset({"open", "fstat", "stat", "read", "write", "fsync", "replace", "unlink", "close", "listdir", "flock"})


class _FaultySystem:
    """Stands in for `os` and `fcntl`: one of the calls fails, before it does its work or after; writes are short."""

    def __init__(self, real: Any, calls: list[str], failing: int, *, after: bool) -> None:
        self._real = real
        self._calls = calls
        self._failing = failing
        self._after = after

    def __getattr__(self, name: str) -> Any:
        real = getattr(self._real, name)
        return self._wrap(name, real) if name in CALLS else real

    def _wrap(self, name: str, real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **options: Any) -> Any:
            self._calls.append(name)
            if name == "write":
                args = (args[0], args[1][:100])
            if len(self._calls) != self._failing:
                return real(*args, **options)
            # A close that fails has closed; an open that fails has opened nothing.
            if name == "close" or (self._after and name != "open"):
                real(*args, **options)
            raise OSError(errno.EIO, os.strerror(errno.EIO))

        return call


def _open_files() -> set[str]:
    return {os.readlink(f"/proc/self/fd/{fd}") for fd in os.listdir("/proc/self/fd") if _is_file(fd)}  # noqa: PTH115, PTH208


def _is_file(fd: str) -> bool:
    try:
        return "grant" in os.readlink(f"/proc/self/fd/{fd}")  # noqa: PTH115
    except FileNotFoundError:
        return False  # the descriptor of this very look


async def _save(
    path: Path, monkeypatch: pytest.MonkeyPatch, failing: int, options: dict[str, Any], *, after: bool
) -> tuple[list[str], StoreError | None]:
    """Save the new grant under the lock, with one call that fails, and return all calls and what was raised."""
    calls: list[str] = []
    with monkeypatch.context() as patched:
        patched.setattr(_disk, "os", _FaultySystem(os, calls, failing, after=after))
        patched.setattr(_disk, "fcntl", _FaultySystem(fcntl, calls, failing, after=after))
        store = FileGrantStore(path, **options)
        try:
            async with store.lock():
                await store.save(NEW if await store.load() else OLD)
        except StoreError as error:
            return calls, error
    return calls, None


async def test_all_is_on_the_disk_when_a_save_returns(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The new file is flushed before it takes the old one's place, and its folder after that."""
    path = tmp_path / "new" / "grant"
    calls, _ = await _save(path, monkeypatch, 0, {}, after=False)
    steps = [name for name in calls if name in {"write", "fsync", "replace"}]
    flushed = steps.index("write")
    assert ["fsync"] == steps[:flushed]  # the folder that was made, in its own
    assert {"write"} == set(steps[flushed:-3])
    assert ["fsync", "replace", "fsync"] == steps[-3:]


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("options", [{}, {"encryption_key": KEY}], ids=["plain", "encrypted"])
@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="looks at what is open")
async def test_any_call_of_a_save_may_fail(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    options: dict[str, Any],
    after: bool,  # noqa: FBT001
) -> None:
    """Whichever call fails, the file holds the old grant or the new one, and nothing is locked, open or shown."""
    failing, found = 0, {OLD: 0, NEW: 0}
    seen: set[str] = set()
    before = _open_files()
    while True:
        path = tmp_path / f"{failing}" / "grant"
        await FileGrantStore(path, **options).save(OLD)
        calls, error = await _save(path, monkeypatch, failing, options, after=after)
        store = FileGrantStore(path, lock_timeout=0, **options)
        grant = await store.load()
        assert grant in {OLD, NEW}, calls
        found[grant] += 1
        assert before == _open_files(), calls
        assert [] == list(path.parent.glob(".*.tmp")), calls
        if error is None:
            assert NEW == grant, calls
        else:
            assert [] == leaks(shown_by(error), SECRET), calls
            assert "cannot be" in str(error)
        async with store.lock():
            assert NEW == await store.save(NEW)
        assert {"grant", "grant.lock", "grant.writing"} == {entry.name for entry in path.parent.iterdir()}, calls
        seen |= set(calls)
        if failing > len(calls):
            break
        failing += 1
    assert seen == CALLS
    assert failing > 40
    print(f"\n{failing - 1} calls failed in turn: {found[OLD]} times the old grant, {found[NEW]} times the new one")
