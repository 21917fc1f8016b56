"""The rules of a store of leased keys, as tests."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Final, Protocol

import attrs
import pytest

from kraken_fastkey._errors import StaleRecordError
from kraken_fastkey._lease_record import LeaseRecord
from kraken_fastkey._models import FastApiKey, Permissions
from kraken_fastkey._secret import SecretStr
from kraken_fastkey.stores import KeyStore
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


class MakeKeyStore(Protocol):
    """Makes stores, all of them on one place, which is empty when a test begins."""

    def __call__(self, *, lock_timeout: float = 30.0) -> KeyStore:
        """Return a store.

        Args:
            lock_timeout: How long it waits for its lock, in seconds; with 0 it tries once.
        """
        ...


_RECORDS: Final = {
    "full": LeaseRecord(
        owner="00c0de",
        current=FastApiKey(
            api_key_name="\N{SNOWMAN} and more",
            api_key="public-half",
            secret=SecretStr("secret-half/+=="),
            id="an-id",
            created_time=NOW + timedelta(microseconds=1),
            created_time_raw="a time in Kraken's own words",
            modified_time=NOW,
            modified_time_raw="1799999999",
            ip_allowlist=("203.0.113.0/24", "2001:db8::/32"),
            last_used=NOW,
            nonce=2**64 - 1,
            nonce_window=10_000,
            oauth_client="an-app",
            permissions=Permissions(funds_query=True, funds_withdraw=False, extra={"withdrawal_address_add": False}),
            purpose="another",
            query_from=NOW - timedelta(days=1),
            query_to=NOW,
            valid_until=NOW + timedelta(hours=6),
            unknown={"more": [1, 2.5, None, True, {"deep": "\N{SNOWMAN}"}]},
        ),
        retired={"an old key": NOW + timedelta(minutes=1), "an older key": NOW},
        holders={"a process": NOW},
        unknown={"more": [1, 2.5, None, True, {"deep": "\N{SNOWMAN}"}]},
    ),
    "bare": LeaseRecord(owner="00c0de"),
    "long": LeaseRecord(owner="00c0de", retired={f"key-{number}": NOW for number in range(100)}),
}


class KeyStoreConformance(StoreConformance):
    """The rules of `kraken_fastkey.stores.KeyStore`, as tests. Make a subclass, and override `make_store`."""

    _protocol = KeyStore
    _stale = StaleRecordError
    _examples = _RECORDS
    _counts = 1

    def _make(self, name: str, generation: int) -> LeaseRecord:
        return _lease(name, generation)

    async def test_each_save_counts(self, make_store: MakeKeyStore) -> None:
        """What a save returned can be saved again, as the next generation, through another store as well."""
        record = _lease("first")
        for generation in (1, 2, 3):
            record = await make_store().save(attrs.evolve(record, current=_key(f"key-{generation}")))
            expect(generation, record.generation, "the generation that was saved")
            expect(record, await make_store().load(), "load after a save")

    @pytest.mark.parametrize("stored", [0, 1, 2])
    @pytest.mark.parametrize("difference", [-1, 1, 5])
    async def test_other_generation_is_refused(self, make_store: MakeKeyStore, stored: int, difference: int) -> None:
        """A record that was made from an older one, or from none that is there, is refused, and changes nothing."""
        store = make_store()
        before = await _save_times(store, stored)
        record = _lease("refused", max(stored + difference, 0) if stored else abs(difference))
        await refuses(StaleRecordError, lambda: store.save(record))
        expect(before, await store.load(), "load after a refused save")

    async def test_no_change_is_lost_in_a_race(self, make_store: MakeKeyStore) -> None:
        """Of many that change a record at once, and begin anew when they are refused, none is lost."""

        async def retire(number: int) -> None:
            store = make_store()
            while True:
                record = await store.load() or _lease("first")
                await asyncio.sleep(0)
                retired = {**record.retired, f"key-{number}": NOW}
                try:
                    await store.save(attrs.evolve(record, retired=retired))
                except StaleRecordError:
                    await asyncio.sleep(0)
                    continue
                return

        await asyncio.gather(*map(retire, range(TASKS)))
        loaded = await make_store().load()
        names = {f"key-{number}" for number in range(TASKS)}
        expect(names, set(loaded.retired) if loaded else None, "names after the race")
        expect(TASKS, loaded.generation if loaded else None, "generation after the race")

    async def test_load_and_save_need_no_lock(self, make_store: MakeKeyStore) -> None:
        """Who has the lock can load and save, and so can others."""
        store, other = make_store(lock_timeout=0), make_store()
        async with store.lock():
            first = await store.save(_lease("first"))
            second = await other.save(first)
            expect(second, await store.load(), "load under the lock")
            expect(second, await other.load(), "load while another has the lock")

    @pytest.mark.parametrize("moment", range(MOMENTS))
    async def test_cancelled_save_happened_or_not(self, make_store: MakeKeyStore, moment: int) -> None:
        """A save that is cancelled, whenever that is, leaves the old record or the new one, and a store to save in."""
        store = make_store()
        old = await store.save(_lease("old"))
        new = attrs.evolve(old, current=_key("new"))
        saver = asyncio.create_task(store.save(new))
        await pass_moments(moment**2)  # the first moments are near each other, the last as late as a disk
        await cancel(saver)
        loaded = await store.load()
        expect(True, loaded in {old, attrs.evolve(new, generation=2)}, "whether the old or the new record is there")
        if loaded is not None:
            expect(await store.save(loaded), await make_store().load(), "load after another save")


def _key(name: str) -> FastApiKey:
    return FastApiKey(
        api_key_name=name,
        api_key=f"public-half-of-{name}",
        secret=SecretStr(f"secret-of-{name}"),
        valid_until=NOW + timedelta(hours=6),
        permissions=Permissions(funds_query=True),
    )


def _lease(name: str, generation: int = 0) -> LeaseRecord:
    return LeaseRecord(owner="00c0de", generation=generation, current=_key(name))


async def _save_times(store: KeyStore, times: int) -> LeaseRecord | None:
    record = None
    for number in range(times):
        record = await store.save(_lease(f"key-{number}", number))
    return record
