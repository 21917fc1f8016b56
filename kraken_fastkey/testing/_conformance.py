"""The rules of the lock, which are any store's, and what the tests of all rules share."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from datetime import UTC, datetime
from typing import Any, Final, Protocol

import pytest

from kraken_fastkey._errors import StoreLockTimeoutError

__all__ = ["MOMENTS", "NOW", "TASKS", "StoreConformance", "cancel", "expect", "pass_moments", "refuses", "take"]

NOW: Final = datetime(2027, 1, 15, 8, tzinfo=UTC)
TASKS: Final = 10
MOMENTS: Final = 30


class _Store(Protocol):
    def lock(self) -> AbstractAsyncContextManager[object]: ...


class _MakeStore(Protocol):
    def __call__(self, *, lock_timeout: float = 30.0) -> _Store: ...


class StoreConformance:
    """The rules of the lock, which are any store's."""

    @pytest.fixture
    def make_store(self) -> Any:
        """Return what makes the stores to test: all of them on one place, which is empty when a test begins.

        A store that lasts as long as its object returns that object each time.
        """
        raise NotImplementedError("override the fixture make_store, so that it returns a function that makes stores")

    async def test_lock_that_is_not_had_in_time_raises(self, make_store: _MakeStore) -> None:
        """Who cannot get the lock in time is told so, and takes nothing from who has it."""
        store = make_store(lock_timeout=0)
        async with store.lock():
            await refuses(StoreLockTimeoutError, lambda: take(store))
            await refuses(StoreLockTimeoutError, lambda: take(store))
        await take(store)

    async def test_lock_is_freed_by_an_exception(self, make_store: _MakeStore) -> None:
        """An exception within the lock goes on, and frees it."""
        store = make_store(lock_timeout=0)

        async def fail() -> None:
            async with store.lock():
                raise _HolderError

        await refuses(_HolderError, fail)
        await take(store)

    async def test_lock_is_freed_by_a_cancellation(self, make_store: _MakeStore) -> None:
        """A task that is cancelled within the lock frees it."""
        store = make_store(lock_timeout=0)
        entered = asyncio.Event()

        async def hold() -> None:
            async with store.lock():
                entered.set()
                await asyncio.Event().wait()

        holder = asyncio.create_task(hold())
        await entered.wait()
        await refuses(StoreLockTimeoutError, lambda: take(store))
        await cancel(holder)
        await take(store)

    @pytest.mark.parametrize("moment", range(MOMENTS))
    async def test_cancelled_wait_leaks_no_lock(self, make_store: _MakeStore, moment: int) -> None:
        """A task that is cancelled while it takes the lock, whenever that is, does not keep it."""
        waiter = asyncio.create_task(take(make_store()))
        await pass_moments(moment**2)  # the first moments are near each other, the last as late as a disk
        await cancel(waiter)
        await take(make_store())

    async def test_cancelled_waiter_leaves_its_place(self, make_store: _MakeStore) -> None:
        """A task that is cancelled while another has the lock leaves the lock to those behind it."""
        store = make_store()
        async with store.lock():
            waiters = [asyncio.create_task(take(store)) for _ in range(3)]
            await pass_moments(MOMENTS)
            await cancel(waiters[0])
        await asyncio.gather(*waiters[1:])


class _HolderError(Exception):
    pass


def expect(expected: Any, found: Any, what: str) -> None:
    # Not a bare assert: pytest tells what is in one only for test modules.
    if expected != found:
        raise AssertionError(f"{what}: expected {expected!r}, found {found!r}")


async def refuses(error: type[Exception], call: Callable[[], Awaitable[Any]]) -> Exception:
    with pytest.raises(error) as raised:
        await call()
    return raised.value


async def take(store: _Store) -> None:
    async with store.lock():
        pass


async def pass_moments(moments: int) -> None:
    for _ in range(moments):
        await asyncio.sleep(0)


async def cancel(task: asyncio.Task[Any]) -> None:
    task.cancel()
    await asyncio.wait([task])
    if not task.cancelled():
        task.result()  # it was done before, and must not have failed
