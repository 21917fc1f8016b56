"""For tests of your own, with pytest: what every store of grants, and every store of keys, must keep to.

To see whether a store of yours does, make a subclass with a fixture `make_store`, and let pytest run it:

    @pytest.mark.asyncio  # or @pytest.mark.anyio; not needed where pytest-asyncio's mode is "auto"
    class TestMyGrantStore(GrantStoreConformance):
        @pytest.fixture
        def make_store(self, tmp_path):
            return lambda *, lock_timeout=30.0: MyGrantStore(tmp_path / "grant", lock_timeout=lock_timeout)

For a store of keys it is `KeyStoreConformance`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from datetime import UTC, datetime, timedelta
from typing import Any, Final, Protocol

import attrs
import pytest

from kraken_fastkey._errors import StaleGrantError, StaleRecordError, StoreError, StoreLockTimeoutError
from kraken_fastkey._grant import Grant, Rotation
from kraken_fastkey._lease_record import LeaseRecord
from kraken_fastkey._models import FastApiKey, Permissions
from kraken_fastkey._secret import SecretStr
from kraken_fastkey.stores import GrantStore, KeyStore

__all__ = ["GrantStoreConformance", "KeyStoreConformance", "MakeGrantStore", "MakeKeyStore"]

_NOW: Final = datetime(2027, 1, 15, 8, tzinfo=UTC)
_TASKS: Final = 10
_MOMENTS: Final = 30


class MakeGrantStore(Protocol):
    """Makes stores, all of them on one place, which is empty when a test begins."""

    def __call__(self, *, lock_timeout: float = 30.0) -> GrantStore:
        """Return a store.

        Args:
            lock_timeout: How long it waits for its lock, in seconds; with 0 it tries once.
        """
        ...


class MakeKeyStore(Protocol):
    """Makes stores, all of them on one place, which is empty when a test begins."""

    def __call__(self, *, lock_timeout: float = 30.0) -> KeyStore:
        """Return a store.

        Args:
            lock_timeout: How long it waits for its lock, in seconds; with 0 it tries once.
        """
        ...


class _Store(Protocol):
    def lock(self) -> AbstractAsyncContextManager[object]: ...


class _MakeStore(Protocol):
    def __call__(self, *, lock_timeout: float = 30.0) -> _Store: ...


class _StoreConformance:
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
            await _refuses(StoreLockTimeoutError, lambda: _take(store))
            await _refuses(StoreLockTimeoutError, lambda: _take(store))
        await _take(store)

    async def test_lock_is_freed_by_an_exception(self, make_store: _MakeStore) -> None:
        """An exception within the lock goes on, and frees it."""
        store = make_store(lock_timeout=0)

        async def fail() -> None:
            async with store.lock():
                raise _HolderError

        await _refuses(_HolderError, fail)
        await _take(store)

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
        await _refuses(StoreLockTimeoutError, lambda: _take(store))
        await _cancel(holder)
        await _take(store)

    @pytest.mark.parametrize("moment", range(_MOMENTS))
    async def test_cancelled_wait_leaks_no_lock(self, make_store: _MakeStore, moment: int) -> None:
        """A task that is cancelled while it takes the lock, whenever that is, does not keep it."""
        waiter = asyncio.create_task(_take(make_store()))
        await _pass(moment**2)  # the first moments are near each other, the last as late as a disk
        await _cancel(waiter)
        await _take(make_store())

    async def test_cancelled_waiter_leaves_its_place(self, make_store: _MakeStore) -> None:
        """A task that is cancelled while another has the lock leaves the lock to those behind it."""
        store = make_store()
        async with store.lock():
            waiters = [asyncio.create_task(_take(store)) for _ in range(3)]
            await _pass(_MOMENTS)
            await _cancel(waiters[0])
        await asyncio.gather(*waiters[1:])


class GrantStoreConformance(_StoreConformance):
    """The rules of `kraken_fastkey.stores.GrantStore`, as tests. Make a subclass, and override `make_store`."""

    async def test_store_is_a_grant_store(self, make_store: MakeGrantStore) -> None:
        """It has the protocol's methods."""
        _expect(True, isinstance(make_store(), GrantStore), "isinstance(store, GrantStore)")

    async def test_empty_store_has_no_grant(self, make_store: MakeGrantStore) -> None:
        """An empty store has no grant, and can be locked."""
        store = make_store()
        _expect(None, await store.load(), "load of an empty store")
        async with store.lock():
            _expect(None, await store.load(), "load of an empty store")

    @pytest.mark.parametrize("grant", ["full", "bare", "long"])
    async def test_grant_comes_back_whole(self, make_store: MakeGrantStore, grant: str) -> None:
        """All of a grant comes back, from another store on the same place as well."""
        saved = await make_store().save(_GRANTS[grant])
        _expect(attrs.evolve(_GRANTS[grant], generation=1), saved, "what save returned")
        _expect(saved, await make_store().load(), "load after a save")

    async def test_login_gets_next_generation(self, make_store: MakeGrantStore) -> None:
        """A grant of generation 0 is stored whatever is there, and the store counts."""
        store = make_store()
        generations = [(await store.save(_pair(f"login-{number}"))).generation for number in range(3)]
        _expect([1, 2, 3], generations, "generations of three logins")
        _expect(_pair("login-2", 3), await store.load(), "load after three logins")

    async def test_next_pair_is_saved(self, make_store: MakeGrantStore) -> None:
        """A pair of the next generation takes the place of the stored one."""
        store = make_store()
        await store.save(_pair("first"))
        _expect(_pair("second", 2), await store.save(_pair("second", 2)), "what save returned")
        _expect(_pair("second", 2), await store.load(), "load after a refresh")

    async def test_first_pair_may_be_counted_already(self, make_store: MakeGrantStore) -> None:
        """An empty store counts as generation 0, so that generation 1 is the next."""
        store = make_store()
        await store.save(_pair("first", 1))
        _expect(_pair("first", 1), await store.load(), "load after a save of generation 1")

    async def test_rotation_is_written_and_cleared(self, make_store: MakeGrantStore) -> None:
        """The stored pair may be saved again in its own generation, with its journal's entry and without."""
        store = make_store()
        saved = await store.save(_pair("first"))
        rotating = attrs.evolve(saved, rotation=Rotation(started_at=_NOW, owner="host:1:a"))
        _expect(rotating, await store.save(rotating), "what save returned")
        _expect(rotating, await store.load(), "load after the entry was written")
        await store.save(saved)
        _expect(saved, await store.load(), "load after the entry was cleared")

    async def test_unknown_fields_survive(self, make_store: MakeGrantStore) -> None:
        """Fields that a newer version has written are kept."""
        store = make_store()
        unknown = {"subject": "AA11 N84G", "nested": {"list": [1, None, "\N{SNOWMAN}"]}}
        saved = await store.save(Grant("access", "refresh", unknown=unknown))
        await store.save(attrs.evolve(saved, access_token="access-2", generation=2))  # noqa: S106  # a fake
        loaded = await store.load()
        _expect(unknown, None if loaded is None else dict(loaded.unknown), "unknown fields after two saves")

    async def test_older_grant_is_refused(self, make_store: MakeGrantStore) -> None:
        """A grant that is older than the stored one is refused, and changes nothing."""
        store = make_store()
        first = await store.save(_pair("first"))
        await store.save(_pair("second", 2))
        await _refuses(StaleGrantError, lambda: store.save(first))
        _expect(_pair("second", 2), await store.load(), "load after a refused save")

    async def test_other_pair_of_same_generation_is_refused(self, make_store: MakeGrantStore) -> None:
        """A refreshed pair does not take the place of a login that was saved meanwhile."""
        store = make_store()
        await store.save(_pair("first"))
        await store.save(_pair("login"))
        await _refuses(StaleGrantError, lambda: store.save(_pair("refreshed", 2)))
        _expect(_pair("login", 2), await store.load(), "load after a refused save")

    @pytest.mark.parametrize("stored", [0, 1])
    async def test_grant_without_predecessor_is_refused(self, make_store: MakeGrantStore, stored: int) -> None:
        """A grant that leaves a generation out is refused, and changes nothing: the store is not what it was."""
        store = make_store()
        for number in range(stored):
            await store.save(_pair(f"login-{number}"))
        before = await store.load()
        await _refuses(StoreError, lambda: store.save(_pair("later", stored + 2)))
        _expect(before, await store.load(), "load after a refused save")

    async def test_one_of_many_next_pairs_is_saved(self, make_store: MakeGrantStore) -> None:
        """Of many pairs of the next generation one is saved; who saves another is told that it is stale."""
        stores = [make_store() for _ in range(_TASKS)]
        await stores[0].save(_pair("first"))
        results = await asyncio.gather(
            *(store.save(_pair(f"second-{number}", 2)) for number, store in enumerate(stores)), return_exceptions=True
        )
        saved = [result for result in results if isinstance(result, Grant)]
        _expect(1, len(saved), "saved pairs of one generation")
        _expect(_TASKS - 1, sum(isinstance(result, StaleGrantError) for result in results), "pairs refused as stale")
        _expect(saved[0], await stores[0].load(), "load after the race")

    async def test_no_login_is_lost_in_a_race(self, make_store: MakeGrantStore) -> None:
        """Of many logins at once, each gets a generation of its own."""
        saved = await asyncio.gather(*(make_store().save(_pair(f"login-{number}")) for number in range(_TASKS)))
        _expect(list(range(1, _TASKS + 1)), sorted(grant.generation for grant in saved), "generations")
        _expect(max(saved, key=lambda grant: grant.generation), await make_store().load(), "load after the race")

    async def test_who_loads_sees_whole_grants(self, make_store: MakeGrantStore) -> None:
        """A load while others save returns the old grant or the new one, and never an older one than before."""
        store, other = make_store(), make_store()
        await store.save(_pair("pair-1"))
        seen = []

        async def save() -> None:
            for generation in range(2, 20):
                await store.save(_pair(f"pair-{generation}", generation))

        writer = asyncio.create_task(save())
        while not writer.done():
            grant = await other.load()
            seen.append(0 if grant is None else grant.generation)
            _expect(_pair(f"pair-{seen[-1]}", seen[-1]), grant, "load while another task saves")
            await asyncio.sleep(0)
        await writer
        _expect(sorted(seen), seen, "generations, in the order in which they were loaded")

    async def test_lock_excludes_other_tasks(self, make_store: MakeGrantStore) -> None:
        """One task at a time has the lock, through one store or several; and all have it in the end."""
        shared = make_store()
        await shared.save(_pair("first"))
        inside: list[int] = []
        together: list[int] = []

        async def refresh(number: int, store: GrantStore) -> None:
            async with store.lock():
                inside.append(number)
                grant = await store.load()
                generation = 0 if grant is None else grant.generation
                await asyncio.sleep(0)
                await store.save(_pair(f"by-{number}", generation + 1))
                together.append(len(inside))
                inside.remove(number)

        await asyncio.gather(*(refresh(number, shared if number % 2 else make_store()) for number in range(_TASKS)))
        _expect([1] * _TASKS, together, "tasks that had the lock at once")
        grant = await shared.load()
        _expect(_TASKS + 1, None if grant is None else grant.generation, "generation after the race")

    async def test_load_and_save_need_no_lock(self, make_store: MakeGrantStore) -> None:
        """Who has the lock can load and save, and so can others: a login does not wait for a refresh."""
        store, other = make_store(lock_timeout=0), make_store()
        async with store.lock():
            await store.save(_pair("first"))
            await other.save(_pair("login"))
            _expect(_pair("login", 2), await store.load(), "load under the lock")
            _expect(_pair("login", 2), await other.load(), "load while another has the lock")

    @pytest.mark.parametrize("moment", range(_MOMENTS))
    async def test_cancelled_save_happened_or_not(self, make_store: MakeGrantStore, moment: int) -> None:
        """A save that is cancelled, whenever that is, leaves the old grant or the new one, and can be repeated."""
        store = make_store()
        old = await store.save(_pair("old"))
        new = _pair("new", 2)
        saver = asyncio.create_task(store.save(new))
        await _pass(moment**2)  # the first moments are near each other, the last as late as a disk
        await _cancel(saver)
        _expect(True, await store.load() in {old, new}, "whether the old grant or the new one is there")
        await store.save(new)
        _expect(new, await make_store().load(), "load after the save was repeated")

    async def test_nothing_shows_a_token(self, make_store: MakeGrantStore) -> None:
        """No token is in the repr of the store, or of what it has, or in the text of its errors."""
        store = make_store(lock_timeout=0)
        saved = await store.save(_pair("hush-hush"))
        await store.save(_pair("hush-hush", 2))
        errors = [await _refuses(StaleGrantError, lambda: store.save(saved))]
        async with store.lock():
            errors.append(await _refuses(StoreLockTimeoutError, lambda: _take(store)))
        shown = [repr(store), str(store), repr(getattr(store, "__dict__", "")), *map(repr, errors), *map(str, errors)]
        _expect([], [text for text in shown if "hush-hush" in text], "texts with a token in them")


class KeyStoreConformance(_StoreConformance):
    """The rules of `kraken_fastkey.stores.KeyStore`, as tests. Make a subclass, and override `make_store`."""

    async def test_store_is_a_key_store(self, make_store: MakeKeyStore) -> None:
        """It has the protocol's methods."""
        _expect(True, isinstance(make_store(), KeyStore), "isinstance(store, KeyStore)")

    async def test_empty_store_has_no_record(self, make_store: MakeKeyStore) -> None:
        """An empty store has no record, and can be locked."""
        store = make_store()
        _expect(None, await store.load(), "load of an empty store")
        async with store.lock():
            _expect(None, await store.load(), "load of an empty store")

    @pytest.mark.parametrize("record", ["full", "bare", "long"])
    async def test_record_comes_back_whole(self, make_store: MakeKeyStore, record: str) -> None:
        """All of a record comes back, from another store on the same place as well."""
        saved = await make_store().save(_RECORDS[record])
        _expect(attrs.evolve(_RECORDS[record], generation=1), saved, "what save returned")
        loaded = await make_store().load()
        _expect(saved, loaded, "load after a save")
        if record == "full":
            _expect(dict(_RECORDS[record].unknown), dict(loaded.unknown) if loaded else None, "unknown fields")

    async def test_each_save_counts(self, make_store: MakeKeyStore) -> None:
        """What a save returned can be saved again, as the next generation, through another store as well."""
        record = _lease("first")
        for generation in (1, 2, 3):
            record = await make_store().save(attrs.evolve(record, current=_key(f"key-{generation}")))
            _expect(generation, record.generation, "the generation that was saved")
            _expect(record, await make_store().load(), "load after a save")

    @pytest.mark.parametrize("stored", [0, 1, 2])
    @pytest.mark.parametrize("difference", [-1, 1, 5])
    async def test_other_generation_is_refused(self, make_store: MakeKeyStore, stored: int, difference: int) -> None:
        """A record that was made from an older one, or from none that is there, is refused, and changes nothing."""
        store = make_store()
        before = await _save_times(store, stored)
        record = _lease("refused", max(stored + difference, 0) if stored else abs(difference))
        await _refuses(StaleRecordError, lambda: store.save(record))
        _expect(before, await store.load(), "load after a refused save")

    async def test_one_of_many_is_saved(self, make_store: MakeKeyStore) -> None:
        """Of many records that were made from one, one is saved; who saves another is told that it is stale."""
        stores = [make_store() for _ in range(_TASKS)]
        results = await asyncio.gather(
            *(store.save(_lease(f"first-{number}")) for number, store in enumerate(stores)), return_exceptions=True
        )
        saved = [result for result in results if isinstance(result, LeaseRecord)]
        _expect(1, len(saved), "saved records of one generation")
        _expect(_TASKS - 1, sum(isinstance(result, StaleRecordError) for result in results), "records refused as stale")
        _expect(saved[0], await stores[0].load(), "load after the race")

    async def test_no_change_is_lost_in_a_race(self, make_store: MakeKeyStore) -> None:
        """Of many that change a record at once, and begin anew when they are refused, none is lost."""

        async def retire(number: int) -> None:
            store = make_store()
            while True:
                record = await store.load() or _lease("first")
                await asyncio.sleep(0)
                retired = {**record.retired, f"key-{number}": _NOW}
                try:
                    await store.save(attrs.evolve(record, retired=retired))
                except StaleRecordError:
                    await asyncio.sleep(0)
                    continue
                return

        await asyncio.gather(*map(retire, range(_TASKS)))
        loaded = await make_store().load()
        names = {f"key-{number}" for number in range(_TASKS)}
        _expect(names, set(loaded.retired) if loaded else None, "names after the race")
        _expect(_TASKS, loaded.generation if loaded else None, "generation after the race")

    async def test_who_loads_sees_whole_records(self, make_store: MakeKeyStore) -> None:
        """A load while others save returns the old record or the new one, and never an older one than before."""
        store, other = make_store(), make_store()
        await store.save(_lease("key-1"))
        seen = []

        async def save() -> None:
            for generation in range(1, 20):
                await store.save(_lease(f"key-{generation + 1}", generation))

        writer = asyncio.create_task(save())
        while not writer.done():
            record = await other.load()
            seen.append(0 if record is None else record.generation)
            _expect(_lease(f"key-{seen[-1]}", seen[-1]), record, "load while another task saves")
            await asyncio.sleep(0)
        await writer
        _expect(sorted(seen), seen, "generations, in the order in which they were loaded")

    async def test_lock_excludes_other_tasks(self, make_store: MakeKeyStore) -> None:
        """One task at a time has the lock, through one store or several, so that none of them is refused."""
        shared = make_store()

        async def renew(number: int, store: KeyStore) -> None:
            async with store.lock():
                record = await store.load() or _lease("first")
                await asyncio.sleep(0)
                await store.save(attrs.evolve(record, current=_key(f"by-{number}")))

        await asyncio.gather(*(renew(number, shared if number % 2 else make_store()) for number in range(_TASKS)))
        record = await shared.load()
        _expect(_TASKS, None if record is None else record.generation, "generation after the race")

    async def test_load_and_save_need_no_lock(self, make_store: MakeKeyStore) -> None:
        """Who has the lock can load and save, and so can others."""
        store, other = make_store(lock_timeout=0), make_store()
        async with store.lock():
            first = await store.save(_lease("first"))
            second = await other.save(first)
            _expect(second, await store.load(), "load under the lock")
            _expect(second, await other.load(), "load while another has the lock")

    @pytest.mark.parametrize("moment", range(_MOMENTS))
    async def test_cancelled_save_happened_or_not(self, make_store: MakeKeyStore, moment: int) -> None:
        """A save that is cancelled, whenever that is, leaves the old record or the new one, and a store to save in."""
        store = make_store()
        old = await store.save(_lease("old"))
        new = attrs.evolve(old, current=_key("new"))
        saver = asyncio.create_task(store.save(new))
        await _pass(moment**2)  # the first moments are near each other, the last as late as a disk
        await _cancel(saver)
        loaded = await store.load()
        _expect(True, loaded in {old, attrs.evolve(new, generation=2)}, "whether the old or the new record is there")
        if loaded is not None:
            _expect(await store.save(loaded), await make_store().load(), "load after another save")

    async def test_nothing_shows_a_secret(self, make_store: MakeKeyStore) -> None:
        """No secret is in the repr of the store, or of what it has, or in the text of its errors."""
        store = make_store(lock_timeout=0)
        first = _lease("hush-hush")
        await store.save(first)
        errors = [await _refuses(StaleRecordError, lambda: store.save(first))]
        async with store.lock():
            errors.append(await _refuses(StoreLockTimeoutError, lambda: _take(store)))
        shown = [repr(store), str(store), repr(getattr(store, "__dict__", "")), *map(repr, errors), *map(str, errors)]
        _expect([], [text for text in shown if "secret-of-hush-hush" in text], "texts with a secret in them")


class _HolderError(Exception):
    pass


def _pair(name: str, generation: int = 0) -> Grant:
    expires_at = _NOW + timedelta(hours=4)
    return Grant(f"access-{name}", f"refresh-{name}", expires_at, "account.info:basic", generation=generation)


_GRANTS: Final = {
    "full": Grant(
        "access",
        "refresh",
        _NOW + timedelta(hours=4, microseconds=1),
        ["account.info:basic", "account.fast-api-key:write"],
        issued_at=_NOW,
        rotation=Rotation(started_at=_NOW, owner="host:1:a"),
        unknown={"more": [1, 2.5, None, True, {"deep": "\N{SNOWMAN}"}]},
    ),
    "bare": Grant("access"),
    "long": Grant("a" * 4096, "r" * 4096, scopes=()),
}


def _key(name: str) -> FastApiKey:
    return FastApiKey(
        api_key_name=name,
        api_key=f"public-half-of-{name}",
        secret=SecretStr(f"secret-of-{name}"),
        valid_until=_NOW + timedelta(hours=6),
        permissions=Permissions(funds_query=True),
    )


def _lease(name: str, generation: int = 0) -> LeaseRecord:
    return LeaseRecord(owner="00c0de", generation=generation, current=_key(name))


async def _save_times(store: KeyStore, times: int) -> LeaseRecord | None:
    record = None
    for number in range(times):
        record = await store.save(_lease(f"key-{number}", number))
    return record


_RECORDS: Final = {
    "full": LeaseRecord(
        owner="00c0de",
        current=FastApiKey(
            api_key_name="\N{SNOWMAN} and more",
            api_key="public-half",
            secret=SecretStr("secret-half/+=="),
            id="an-id",
            created_time=_NOW + timedelta(microseconds=1),
            created_time_raw="a time in Kraken's own words",
            modified_time=_NOW,
            modified_time_raw="1799999999",
            ip_allowlist=("203.0.113.0/24", "2001:db8::/32"),
            last_used=_NOW,
            nonce=2**64 - 1,
            nonce_window=10_000,
            oauth_client="an-app",
            permissions=Permissions(funds_query=True, funds_withdraw=False, extra={"withdrawal_address_add": False}),
            purpose="another",
            query_from=_NOW - timedelta(days=1),
            query_to=_NOW,
            valid_until=_NOW + timedelta(hours=6),
            unknown={"more": [1, 2.5, None, True, {"deep": "\N{SNOWMAN}"}]},
        ),
        retired={"an old key": _NOW + timedelta(minutes=1), "an older key": _NOW},
        holders={"a process": _NOW},
        unknown={"more": [1, 2.5, None, True, {"deep": "\N{SNOWMAN}"}]},
    ),
    "bare": LeaseRecord(owner="00c0de"),
    "long": LeaseRecord(owner="00c0de", retired={f"key-{number}": _NOW for number in range(100)}),
}


def _expect(expected: Any, found: Any, what: str) -> None:
    # Not a bare assert: pytest tells what is in one only for test modules.
    if expected != found:
        raise AssertionError(f"{what}: expected {expected!r}, found {found!r}")


async def _refuses(error: type[Exception], call: Callable[[], Awaitable[Any]]) -> Exception:
    with pytest.raises(error) as raised:
        await call()
    return raised.value


async def _take(store: _Store) -> None:
    async with store.lock():
        pass


async def _pass(moments: int) -> None:
    for _ in range(moments):
        await asyncio.sleep(0)


async def _cancel(task: asyncio.Task[Any]) -> None:
    task.cancel()
    await asyncio.wait([task])
    if not task.cancelled():
        task.result()  # it was done before, and must not have failed
