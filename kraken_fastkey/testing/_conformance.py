"""The rules that are any store's, whatever it keeps, and what the tests of all rules share."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager
from datetime import UTC, datetime
from typing import Any, ClassVar, Final, Protocol

import attrs
import pytest

from kraken_fastkey._errors import StoreError, StoreLockTimeoutError

NOW: Final = datetime(2027, 1, 15, 8, tzinfo=UTC)
TASKS: Final = 10
MOMENTS: Final = 30


class _Store(Protocol):
    async def load(self) -> Any: ...
    async def save(self, record: Any, /) -> Any: ...
    def lock(self) -> AbstractAsyncContextManager[object]: ...


class _MakeStore(Protocol):
    def __call__(self, *, lock_timeout: float = 30.0) -> _Store: ...


class StoreConformance:
    """The rules that are any store's."""

    _protocol: ClassVar[type]
    _stale: ClassVar[type[StoreError]]
    _examples: ClassVar[Mapping[str, Any]]  # of what a store holds: "full", "bare" and "long"
    _counts: ClassVar[int]  # what a save adds to the generation that it is given

    def _make(self, name: str, generation: int) -> Any:
        """Return what a store may hold, with a secret in it that is named so."""
        raise NotImplementedError

    @pytest.fixture
    def make_store(self) -> Any:
        """Return what makes the stores to test: all of them on one place, which is empty when a test begins.

        A store that lasts as long as its object returns that object each time.
        """
        raise NotImplementedError("override the fixture make_store, so that it returns a function that makes stores")

    async def _save(self, store: _Store, name: str, generation: int) -> Any:
        """Save what is then the store's content in this generation."""
        return await store.save(self._make(name, generation - self._counts))

    async def test_store_has_all_methods(self, make_store: _MakeStore) -> None:
        """It has the protocol's methods."""
        expect(True, isinstance(make_store(), self._protocol), f"isinstance(store, {self._protocol.__name__})")

    async def test_empty_store_has_nothing(self, make_store: _MakeStore) -> None:
        """An empty store has no record, and can be locked."""
        store = make_store()
        expect(None, await store.load(), "load of an empty store")
        async with store.lock():
            expect(None, await store.load(), "load of an empty store")

    @pytest.mark.parametrize("example", ["full", "bare", "long"])
    async def test_record_comes_back_whole(self, make_store: _MakeStore, example: str) -> None:
        """All of a record comes back, from another store on the same place as well."""
        record = self._examples[example]
        saved = await make_store().save(record)
        expect(attrs.evolve(record, generation=1), saved, "what save returned")
        loaded = await make_store().load()
        expect(saved, loaded, "load after a save")
        expect(dict(record.unknown), dict(loaded.unknown), "unknown fields")

    async def test_one_of_many_is_saved(self, make_store: _MakeStore) -> None:
        """Of many records of the next generation one is saved; who saves another is told that it is stale."""
        stores = [make_store() for _ in range(TASKS)]
        await self._save(stores[0], "first", 1)
        results = await asyncio.gather(
            *(self._save(store, f"second-{number}", 2) for number, store in enumerate(stores)), return_exceptions=True
        )
        saved = [result for result in results if not isinstance(result, BaseException)]
        expect(1, len(saved), "saved records of one generation")
        expect(TASKS - 1, sum(isinstance(result, self._stale) for result in results), "records refused as stale")
        expect(saved[0], await stores[0].load(), "load after the race")

    async def test_who_loads_sees_whole_records(self, make_store: _MakeStore) -> None:
        """A load while others save returns the old record or the new one, and never an older one than before."""
        store, other = make_store(), make_store()
        await self._save(store, "record-1", 1)
        seen = []

        async def save() -> None:
            for generation in range(2, 20):
                await self._save(store, f"record-{generation}", generation)

        writer = asyncio.create_task(save())
        while not writer.done():
            record = await other.load()
            seen.append(0 if record is None else record.generation)
            expect(self._make(f"record-{seen[-1]}", seen[-1]), record, "load while another task saves")
            await asyncio.sleep(0)
        await writer
        expect(sorted(seen), seen, "generations, in the order in which they were loaded")

    async def test_lock_excludes_other_tasks(self, make_store: _MakeStore) -> None:
        """One task at a time has the lock, through one store or several; and all have it in the end."""
        shared = make_store()
        await self._save(shared, "first", 1)
        inside: list[int] = []
        together: list[int] = []

        async def renew(number: int, store: _Store) -> None:
            async with store.lock():
                inside.append(number)
                record = await store.load()
                generation = 0 if record is None else record.generation
                await asyncio.sleep(0)
                await self._save(store, f"by-{number}", generation + 1)
                together.append(len(inside))
                inside.remove(number)

        await asyncio.gather(*(renew(number, shared if number % 2 else make_store()) for number in range(TASKS)))
        expect([1] * TASKS, together, "tasks that had the lock at once")
        record = await shared.load()
        expect(TASKS + 1, None if record is None else record.generation, "generation after the race")

    async def test_nothing_shows_a_secret(self, make_store: _MakeStore) -> None:
        """No secret is in the repr of the store, or of what it has, or in the text of its errors."""
        store = make_store(lock_timeout=0)
        await self._save(store, "hush-hush", 1)
        await self._save(store, "hush-hush", 2)
        errors = [await refuses(self._stale, lambda: self._save(store, "hush-hush", 1))]
        async with store.lock():
            errors.append(await refuses(StoreLockTimeoutError, lambda: take(store)))
        shown = [repr(store), str(store), repr(getattr(store, "__dict__", "")), *map(repr, errors), *map(str, errors)]
        expect([], [text for text in shown if "secret-of-hush-hush" in text], "texts with a secret in them")

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
