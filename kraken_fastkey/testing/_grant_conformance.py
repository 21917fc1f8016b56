"""The rules of a store of grants, as tests."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Final, Protocol

import attrs
import pytest

from kraken_fastkey._errors import StaleGrantError, StoreError
from kraken_fastkey._grant import Grant, Rotation
from kraken_fastkey.stores import GrantStore
from kraken_fastkey.testing._conformance import (
    MOMENTS,
    NOW,
    TASKS,
    StoreConformance,
    cancel,
    expect,
    pass_moments,
    refuses,
)


class MakeGrantStore(Protocol):
    """Makes stores, all of them on one place, which is empty when a test begins."""

    def __call__(self, *, lock_timeout: float = 30.0) -> GrantStore:
        """Return a store.

        Args:
            lock_timeout: How long it waits for its lock, in seconds; with 0 it tries once.
        """
        ...


_GRANTS: Final = {
    "full": Grant(
        "access",
        "refresh",
        NOW + timedelta(hours=4, microseconds=1),
        ["account.info:basic", "account.fast-api-key:write"],
        issued_at=NOW,
        rotation=Rotation(started_at=NOW, owner="host:1:a"),
        unknown={"more": [1, 2.5, None, True, {"deep": "\N{SNOWMAN}"}]},
    ),
    "bare": Grant("access"),
    "long": Grant("a" * 4096, "r" * 4096, scopes=()),
}


class GrantStoreConformance(StoreConformance):
    """The rules of `kraken_fastkey.stores.GrantStore`, as tests. Make a subclass, and override `make_store`."""

    _protocol = GrantStore
    _stale = StaleGrantError
    _examples = _GRANTS
    _counts = 0

    def _make(self, name: str, generation: int) -> Grant:
        return _pair(name, generation)

    async def test_login_gets_next_generation(self, make_store: MakeGrantStore) -> None:
        """A grant of generation 0 is stored whatever is there, and the store counts."""
        store = make_store()
        generations = [(await store.save(_pair(f"login-{number}"))).generation for number in range(3)]
        expect([1, 2, 3], generations, "generations of three logins")
        expect(_pair("login-2", 3), await store.load(), "load after three logins")

    async def test_next_pair_is_saved(self, make_store: MakeGrantStore) -> None:
        """A pair of the next generation takes the place of the stored one."""
        store = make_store()
        await store.save(_pair("first"))
        expect(_pair("second", 2), await store.save(_pair("second", 2)), "what save returned")
        expect(_pair("second", 2), await store.load(), "load after a refresh")

    async def test_first_pair_may_be_counted_already(self, make_store: MakeGrantStore) -> None:
        """An empty store counts as generation 0, so that generation 1 is the next."""
        store = make_store()
        await store.save(_pair("first", 1))
        expect(_pair("first", 1), await store.load(), "load after a save of generation 1")

    async def test_rotation_is_written_and_cleared(self, make_store: MakeGrantStore) -> None:
        """The stored pair may be saved again in its own generation, with its journal's entry and without."""
        store = make_store()
        saved = await store.save(_pair("first"))
        rotating = attrs.evolve(saved, rotation=Rotation(started_at=NOW, owner="host:1:a"))
        expect(rotating, await store.save(rotating), "what save returned")
        expect(rotating, await store.load(), "load after the entry was written")
        await store.save(saved)
        expect(saved, await store.load(), "load after the entry was cleared")

    async def test_unknown_fields_survive(self, make_store: MakeGrantStore) -> None:
        """Fields that a newer version has written are kept."""
        store = make_store()
        unknown = {"subject": "AA11 N84G", "nested": {"list": [1, None, "\N{SNOWMAN}"]}}
        saved = await store.save(Grant("access", "refresh", unknown=unknown))
        await store.save(attrs.evolve(saved, access_token="access-2", generation=2))  # noqa: S106  # a fake
        loaded = await store.load()
        expect(unknown, None if loaded is None else dict(loaded.unknown), "unknown fields after two saves")

    async def test_older_grant_is_refused(self, make_store: MakeGrantStore) -> None:
        """A grant that is older than the stored one is refused, and changes nothing."""
        store = make_store()
        first = await store.save(_pair("first"))
        await store.save(_pair("second", 2))
        await refuses(StaleGrantError, lambda: store.save(first))
        expect(_pair("second", 2), await store.load(), "load after a refused save")

    async def test_other_pair_of_same_generation_is_refused(self, make_store: MakeGrantStore) -> None:
        """A refreshed pair does not take the place of a login that was saved meanwhile."""
        store = make_store()
        await store.save(_pair("first"))
        await store.save(_pair("login"))
        await refuses(StaleGrantError, lambda: store.save(_pair("refreshed", 2)))
        expect(_pair("login", 2), await store.load(), "load after a refused save")

    @pytest.mark.parametrize("stored", [0, 1])
    async def test_grant_without_predecessor_is_refused(self, make_store: MakeGrantStore, stored: int) -> None:
        """A grant that leaves a generation out is refused, and changes nothing: the store is not what it was."""
        store = make_store()
        for number in range(stored):
            await store.save(_pair(f"login-{number}"))
        before = await store.load()
        await refuses(StoreError, lambda: store.save(_pair("later", stored + 2)))
        expect(before, await store.load(), "load after a refused save")

    async def test_no_login_is_lost_in_a_race(self, make_store: MakeGrantStore) -> None:
        """Of many logins at once, each gets a generation of its own."""
        saved = await asyncio.gather(*(make_store().save(_pair(f"login-{number}")) for number in range(TASKS)))
        expect(list(range(1, TASKS + 1)), sorted(grant.generation for grant in saved), "generations")
        expect(max(saved, key=lambda grant: grant.generation), await make_store().load(), "load after the race")

    async def test_load_and_save_need_no_lock(self, make_store: MakeGrantStore) -> None:
        """Who has the lock can load and save, and so can others: a login does not wait for a refresh."""
        store, other = make_store(lock_timeout=0), make_store()
        async with store.lock():
            await store.save(_pair("first"))
            await other.save(_pair("login"))
            expect(_pair("login", 2), await store.load(), "load under the lock")
            expect(_pair("login", 2), await other.load(), "load while another has the lock")

    @pytest.mark.parametrize("moment", range(MOMENTS))
    async def test_cancelled_save_happened_or_not(self, make_store: MakeGrantStore, moment: int) -> None:
        """A save that is cancelled, whenever that is, leaves the old grant or the new one, and can be repeated."""
        store = make_store()
        old = await store.save(_pair("old"))
        new = _pair("new", 2)
        saver = asyncio.create_task(store.save(new))
        await pass_moments(moment**2)  # the first moments are near each other, the last as late as a disk
        await cancel(saver)
        expect(True, await store.load() in {old, new}, "whether the old grant or the new one is there")
        await store.save(new)
        expect(new, await make_store().load(), "load after the save was repeated")


def _pair(name: str, generation: int = 0) -> Grant:
    expires_at = NOW + timedelta(hours=4)
    return Grant(f"secret-of-{name}", f"secret-of-{name}-too", expires_at, "account.info:basic", generation=generation)
