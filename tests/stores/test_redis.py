"""RedisGrantStore, on a server of our own: its rules, its lock among processes, and what happens without Redis."""

from __future__ import annotations

import asyncio
import builtins
import logging
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import redis as redis_package
from redis_kit import ACCOUNT, Failing, RedisServer, Stammering, Stubborn, client, increment, redis_server
from strategies import leaks, package_locals, shown_by
from support import everything_shown, missing

from kraken_fastkey import InvalidRequestError, StaleGrantError, StoreError, StoreLockTimeoutError
from kraken_fastkey._grant import Grant
from kraken_fastkey._lease_record import LeaseRecord
from kraken_fastkey._runtime import SYSTEM
from kraken_fastkey.stores import GrantStore, KeyStore, RedisKeyStore
from kraken_fastkey.stores._face import GRANT as GRANT_CONTENT
from kraken_fastkey.stores._records import Record, RecordConflictError
from kraken_fastkey.stores._redis import RedisGrantStore, RedisRecords
from kraken_fastkey.testing import GrantStoreConformance, KeyStoreConformance, MakeGrantStore, MakeKeyStore

KIT = Path(__file__).with_name("redis_kit.py")
PROCESSES = 8
TIMES = 25
SECRET = "hush-hush-hush-hush"
GRANT = Grant(SECRET, f"{SECRET}-refresh")
LIFE = 0.3
MOMENTS = 40


@pytest.fixture(name="server", scope="module")
def _server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    with redis_server(tmp_path_factory.mktemp("redis")) as server:
        if server is None:
            missing("redis-server")
        yield server


@pytest.fixture(name="mortal")
def _mortal(tmp_path: Path) -> Iterator[RedisServer]:
    """Run a server that a test may kill or stop."""
    with redis_server(tmp_path) as server:
        if server is None:
            missing("redis-server")
        yield server


@pytest.fixture(name="redis", params=[False, True], ids=["bytes", "decoded"])
async def _redis(server: RedisServer, request: pytest.FixtureRequest) -> AsyncIterator[Any]:
    async with client(server.port, decode_responses=request.param) as redis:
        await redis.flushall()
        yield redis


@pytest.fixture(name="plain")
async def _plain(server: RedisServer) -> AsyncIterator[Any]:
    """Have a client for tests to which decoding makes no difference."""
    async with client(server.port) as redis:
        await redis.flushall()
        yield redis


class TestRedisGrantStore(GrantStoreConformance):
    """RedisGrantStore keeps the rules, whether the client decodes responses or not."""

    @pytest.fixture
    def make_store(self, redis: Any) -> MakeGrantStore:
        """Return what makes stores of one account."""

        def make(*, lock_timeout: float = 30.0) -> GrantStore:
            return RedisGrantStore(redis, ACCOUNT, lock_timeout=lock_timeout)

        return make


class TestRedisKeyStore(KeyStoreConformance):
    """RedisKeyStore keeps the rules, whether the client decodes responses or not."""

    @pytest.fixture
    def make_store(self, redis: Any) -> MakeKeyStore:
        """Return what makes stores of one account."""

        def make(*, lock_timeout: float = 30.0) -> KeyStore:
            return RedisKeyStore(redis, ACCOUNT, lock_timeout=lock_timeout)

        return make


async def test_key_and_grant_of_an_account_do_not_meet(plain: Any) -> None:
    """One account's key and grant, and their locks, are in places of their own; each error names its own."""
    grants, keys = RedisGrantStore(plain, ACCOUNT, lock_timeout=0), RedisKeyStore(plain, ACCOUNT, lock_timeout=0)
    async with grants.lock(), keys.lock():
        grant, lease = await grants.save(GRANT), await keys.save(LeaseRecord(owner="00c0de"))
        assert 4 == await plain.dbsize()
    assert (grant, lease) == (await grants.load(), await keys.load())
    assert f"<RedisKeyStore the key of {ACCOUNT!r} in Redis>" == repr(keys)
    (place,) = await plain.keys("kraken-fastkey:key:*")
    await plain.hdel(place, "data")
    with pytest.raises(StoreError, match="and delete the keys of the lease, which list_keys.. shows"):
        await keys.load()


def _keys(store: RedisGrantStore) -> tuple[str, str]:
    records = store._records
    assert isinstance(records, RedisRecords)
    return records._key, records._lock_key


def _alone() -> bool:
    return asyncio.all_tasks() == {asyncio.current_task()}


async def _refused(store: RedisGrantStore) -> list[StoreError]:
    """Return the errors of load and save, and see that they show nothing."""
    errors = []
    for call in (store.load, lambda: store.save(GRANT)):
        with pytest.raises(StoreError) as raised:
            await call()
        assert [] == leaks(shown_by(raised.value) + everything_shown(raised.value), SECRET)
        assert raised.value.__cause__ is None
        assert raised.value.__context__ is None
        errors.append(raised.value)
    return errors


@pytest.mark.parametrize("encoding", ["ascii", "latin-1"])
async def test_encoding_of_the_client_makes_no_difference(server: RedisServer, plain: Any, encoding: str) -> None:
    """What one client has saved, another loads, whatever encodings they use."""
    async with client(server.port, decode_responses=True, encoding=encoding) as other:
        saved = await RedisGrantStore(other, ACCOUNT).save(GRANT)
        assert saved == await RedisGrantStore(plain, ACCOUNT).load()
        assert saved == await RedisGrantStore(other, ACCOUNT).load()


async def test_any_bytes_come_back(redis: Any) -> None:
    """A record is opaque: bytes that are no text come back as well."""
    records = RedisRecords(redis, ACCOUNT, GRANT_CONTENT, "the place", 0, 15, SYSTEM)
    record = Record(bytes(range(256)), 1)
    await records.swap(record)
    assert record == await records.read()
    with pytest.raises(RecordConflictError, match="the place was changed meanwhile: read it again"):
        await records.swap(record)


async def test_accounts_never_mix(plain: Any) -> None:
    """Accounts that look alike, or have separators, have grants and locks of their own."""
    accounts = ["a", "A", "a ", "a:b", "a:", "{a}", "a\0", "*", "\u00e9", "e\u0301", "\udce9", "a" * 256]
    for account in accounts:
        await RedisGrantStore(plain, account).save(Grant(f"access-{accounts.index(account)}"))
    found = [await RedisGrantStore(plain, account).load() for account in accounts]
    assert [f"access-{number}" for number in range(len(accounts))] == [
        grant and grant.access_token.get_secret_value() for grant in found
    ]
    async with RedisGrantStore(plain, "a").lock(), RedisGrantStore(plain, "a:b", lock_timeout=0).lock():
        pass
    assert len(accounts) == await plain.dbsize()


def test_random_accounts_have_keys_of_their_own(server: RedisServer) -> None:
    """Of 10^5 random accounts, full of separators, no two have a key in common, and no key shows one."""
    chance = random.Random(7)  # noqa: S311  # accounts, not secrets
    accounts = {"".join(chance.choices(":{}|\0/ ab", k=chance.randint(1, 12))) for _ in range(100_000)}
    redis = client(server.port)
    keys = {key for account in accounts for key in _keys(RedisGrantStore(redis, account))}
    assert 2 * len(accounts) == len(keys)
    assert set("0123456789abcdefghijklmnopqrstuvwxyz-:") >= set().union(*keys)


@pytest.mark.parametrize(
    ("arguments", "faults"),
    [
        ({"redis": "redis://"}, {"redis": "must be a redis.asyncio.Redis, not str"}),
        ({"redis": redis_package.Redis()}, {"redis": "must be a redis.asyncio.Redis, not Redis"}),
        ({"account": ""}, {"account": "must be a str of 1 to 256 characters"}),
        ({"account": "a" * 257}, {"account": "must be a str of 1 to 256 characters"}),
        ({"account": b"a"}, {"account": "must be a str of 1 to 256 characters"}),
        ({"lock_timeout": -1}, {"lock_timeout": "must be seconds, 0 or more"}),
        ({"lock_life": 0.05}, {"lock_life": "must be seconds, 0.1 to 3600"}),
        ({"lock_life": 3601}, {"lock_life": "must be seconds, 0.1 to 3600"}),
        ({"lock_life": True}, {"lock_life": "must be seconds, 0.1 to 3600"}),
        ({"lock_life": "1"}, {"lock_life": "must be seconds, 0.1 to 3600"}),
        ({"lock_life": float("nan")}, {"lock_life": "must be seconds, 0.1 to 3600"}),
        (
            {"account": None, "lock_life": None},
            {"account": "must be a str of 1 to 256 characters", "lock_life": "must be seconds, 0.1 to 3600"},
        ),
    ],
)
def test_wrong_arguments_are_told(arguments: dict[str, Any], faults: dict[str, str]) -> None:
    """All faults are told at once, and nothing is sent."""
    with pytest.raises(InvalidRequestError) as raised:
        RedisGrantStore(**{"redis": client(1), "account": ACCOUNT} | arguments)
    assert faults == raised.value.faults


def test_missing_extra_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without redis, the error says what to install."""
    real = builtins.__import__

    def refuse(name: str, *args: Any, **options: Any) -> Any:
        if name.startswith("redis"):
            raise ModuleNotFoundError(name=name)
        return real(name, *args, **options)

    redis = client(1)
    monkeypatch.setattr(builtins, "__import__", refuse)
    with pytest.raises(ModuleNotFoundError, match="pip install 'kraken-fastkey.redis.'") as raised:
        RedisGrantStore(redis, ACCOUNT)
    assert "redis.asyncio" == raised.value.name


def test_module_needs_no_redis_to_be_imported() -> None:
    """The module itself does not import the extra."""
    code = "import sys, kraken_fastkey.stores._redis; print('redis' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "False\n" == done.stdout


async def test_repr_names_the_account(plain: Any) -> None:
    """The repr tells whose grant it is."""
    assert "<RedisGrantStore the grant of 'AA11 N84G' in Redis>" == repr(RedisGrantStore(plain, ACCOUNT))


def test_eight_processes_lose_no_save(server: RedisServer, record_property: Callable[[str, object], None]) -> None:
    """Eight processes that each save 25 pairs under the lock have saved 200 in the end."""
    if not hasattr(os, "fork"):
        pytest.skip("processes that fork")

    async def flush_or_load(*, flush: bool = False) -> int:
        async with client(server.port) as redis:
            if flush:
                await redis.flushall()
            grant = await RedisGrantStore(redis, ACCOUNT).load()
            return 0 if grant is None else grant.generation

    assert 0 == asyncio.run(flush_or_load(flush=True))
    started = time.monotonic()
    command = [sys.executable, str(KIT), "race", str(server.port), str(PROCESSES), str(TIMES)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    took = time.monotonic() - started
    assert "" == done.stderr
    assert f"{PROCESSES}\n" == done.stdout
    generation = asyncio.run(flush_or_load())
    assert PROCESSES * TIMES == generation
    record_property("saves", generation)
    print(f"\n{PROCESSES} processes x {TIMES} saves under the lock in Redis: generation {generation}, {took:.1f} s")


async def test_killed_holder_frees_the_lock_by_its_expiry(server: RedisServer, plain: Any) -> None:
    """A holder that is killed keeps the lock until its life is over, and no longer."""
    store = RedisGrantStore(plain, ACCOUNT, lock_timeout=10)
    command = [sys.executable, str(KIT), "hold", str(server.port), "0.6"]
    holder = await asyncio.create_subprocess_exec(*command, stdout=subprocess.PIPE)
    assert holder.stdout is not None
    assert b"held\n" == await holder.stdout.readline()
    await asyncio.sleep(0.8)  # it is renewed
    with pytest.raises(StoreLockTimeoutError):
        await increment(RedisGrantStore(plain, ACCOUNT, lock_timeout=0))
    holder.send_signal(signal.SIGKILL)
    await holder.wait()
    killed = time.monotonic()
    with pytest.raises(StoreLockTimeoutError):
        await increment(RedisGrantStore(plain, ACCOUNT, lock_timeout=0))
    assert 1 == await increment(store)
    took = time.monotonic() - killed
    print(f"\nthe lock of a killed holder, with a life of 0.6 s, was free after {took:.2f} s")
    assert 0.3 < took < 2


async def test_renewal_keeps_the_lock(plain: Any) -> None:
    """Who holds the lock for several of its lives still has it; and no renewal goes on afterwards."""
    store = RedisGrantStore(plain, ACCOUNT, lock_life=LIFE)
    _, lock = _keys(store)
    other = RedisGrantStore(plain, ACCOUNT, lock_timeout=0)
    lives = []
    async with store.lock():
        until = time.monotonic() + 4 * LIFE
        while time.monotonic() < until:
            lives.append(await plain.pttl(lock))
            with pytest.raises(StoreLockTimeoutError):
                await increment(other)
            await asyncio.sleep(0.02)
    assert 0 < min(lives)
    assert LIFE * 1000 >= max(lives)
    assert _alone()
    assert 0 == await plain.exists(lock)
    assert 1 == await increment(other)


async def test_renewal_outlives_failures(server: RedisServer, plain: Any) -> None:
    """A renewal that fails is tried again, and the lock stays."""
    async with client(server.port, Failing) as failing:
        store = RedisGrantStore(failing, ACCOUNT, lock_life=0.6)
        async with store.lock():
            for _ in range(4):
                await asyncio.sleep(0.1)
                failing.failing = True
                await asyncio.sleep(0.2)
                failing.failing = False
            with pytest.raises(StoreLockTimeoutError):
                await increment(RedisGrantStore(plain, ACCOUNT, lock_timeout=0))
    assert _alone()


async def test_renewal_under_way_ends_with_the_lock(server: RedisServer, plain: Any) -> None:
    """Who frees the lock while a renewal is under way waits for it, even if the client swallows cancellations."""
    async with client(server.port, Stubborn) as stubborn:
        store = RedisGrantStore(stubborn, ACCOUNT, lock_life=LIFE)
        async with store.lock():
            while not stubborn.renewals:
                await asyncio.sleep(0.005)
        assert _alone()
        assert (1, 0) == (stubborn.renewals, stubborn.cancellations)
        assert 0 == await plain.exists(_keys(store)[1])


@pytest.mark.parametrize("refreshed", [False, True])
async def test_holder_that_lost_the_lock_overwrites_nothing(
    plain: Any, caplog: pytest.LogCaptureFixture, *, refreshed: bool
) -> None:
    """A holder stalls, its lock expires, another refreshes and saves: the stale save is refused and changes nothing."""
    stalled, other = RedisGrantStore(plain, ACCOUNT), RedisGrantStore(plain, ACCOUNT)
    key, lock = _keys(stalled)
    old = await stalled.save(Grant("access-1", "refresh-1"))
    async with stalled.lock():
        await plain.pexpire(lock, 1)
        await asyncio.sleep(0.01)
        async with other.lock():
            new = await other.save(Grant("access-2", "refresh-2", generation=old.generation + 1))
            before = await plain.hgetall(key)
            stale = Grant("access-2b", "refresh-2b", generation=old.generation + 1) if refreshed else old
            with pytest.raises(StaleGrantError):
                await stalled.save(stale)
            assert before == await plain.hgetall(key)
            assert new == await other.load()
    assert 1 == [record.levelname for record in caplog.records].count("WARNING")
    assert "the lock of the grant of 'AA11 N84G' in Redis expired while it was held" in caplog.text


async def test_late_release_leaves_the_lock_of_another(plain: Any) -> None:
    """A holder whose lock expired frees nothing that is another's, and does not renew it."""
    stalled = RedisGrantStore(plain, ACCOUNT, lock_life=LIFE)
    other = RedisGrantStore(plain, ACCOUNT)
    third = RedisGrantStore(plain, ACCOUNT, lock_timeout=0)
    _, lock = _keys(stalled)
    entered = asyncio.Event()

    async def hold() -> None:
        async with stalled.lock():
            entered.set()
            await asyncio.sleep(LIFE)  # its renewal finds out

    holder = asyncio.create_task(hold())
    await entered.wait()
    await plain.delete(lock)
    async with other.lock():
        await holder
        assert LIFE * 1000 < await plain.pttl(lock)
        with pytest.raises(StoreLockTimeoutError):
            await increment(third)
    assert 1 == await increment(third)
    assert _alone()


async def test_command_that_is_sent_twice_succeeds(server: RedisServer, plain: Any) -> None:
    """A client may send a command again, its answer being lost: a save counts once, and the lock is had."""
    async with client(server.port, Stammering) as stammering:
        store = RedisGrantStore(stammering, ACCOUNT, lock_timeout=0)
        assert [1, 2, 3] == [(await store.save(Grant(f"login-{number}"))).generation for number in range(3)]
        assert 4 == await increment(store)
        assert b"4" == await plain.hget(_keys(store)[0], "version")


@pytest.mark.parametrize("moment", range(MOMENTS))
async def test_cancelled_lock_is_free_at_once(plain: Any, moment: int) -> None:
    """Who is cancelled while it takes, holds or frees the lock leaves neither the lock nor a task behind."""
    store = RedisGrantStore(plain, ACCOUNT)
    await store.load()  # a connection is there
    entered = asyncio.Event()

    async def hold() -> None:
        async with store.lock():
            entered.set()
            await asyncio.sleep(0)

    holder = asyncio.create_task(hold())
    for _ in range(moment):
        await asyncio.sleep(0)
    if moment % 4 == 3:
        await entered.wait()
    holder.cancel()
    await asyncio.wait([holder])
    assert 0 == await plain.exists(_keys(store)[1])
    assert _alone()


async def test_end_of_the_loop_frees_the_lock(server: RedisServer, plain: Any) -> None:
    """A program that ends by a cancellation of all its tasks frees the lock."""
    _, lock = _keys(RedisGrantStore(plain, ACCOUNT))
    held = threading.Event()

    async def hold() -> None:
        async with client(server.port) as redis, RedisGrantStore(redis, ACCOUNT).lock():
            held.set()
            await asyncio.Event().wait()

    async def main() -> list[asyncio.Task[None]]:
        tasks = [asyncio.create_task(hold()), asyncio.create_task(hold())]
        await asyncio.to_thread(held.wait)
        assert 1 == await plain_in_thread()
        return tasks  # for asyncio.run to cancel

    async def plain_in_thread() -> int:
        async with client(server.port) as redis:
            return int(await redis.exists(lock))

    assert [True, True] == [task.cancelled() for task in await asyncio.to_thread(asyncio.run, main())]
    assert 0 == await plain.exists(lock)


@pytest.mark.parametrize(
    "fields",
    [
        {"version": "1"},
        {"data": SECRET},
        {"version": "0", "data": SECRET},
        {"version": "-1", "data": SECRET},
        {"version": SECRET, "data": SECRET},
        {"version": b"\xff", "data": b"\xff" + SECRET.encode()},
        {"version": "1" + "0" * 18, "data": SECRET},
        {"version": "1", "data": SECRET},
        {"version": "1", "data": b"\xff" + SECRET.encode()},
        {"version": "1", "data": b'{"format": 2, "secret": "%s"}' % SECRET.encode()},
    ],
)
async def test_garbage_in_the_record_is_told(redis: Any, fields: dict[str, Any]) -> None:
    """What could be no record, or no grant, is told without a word of it, and stays."""
    store = RedisGrantStore(redis, ACCOUNT)
    key, _ = _keys(store)
    await redis.hset(key, mapping=fields)
    loaded, saved = await _refused(store)
    assert str(loaded) == str(saved)
    assert str(loaded).startswith("the grant of 'AA11 N84G' in Redis ")
    assert 1 == await redis.exists(key)
    assert len(fields) == await redis.hlen(key)


async def test_another_type_of_key_is_told(redis: Any) -> None:
    """A key that is no hash, or a lock that is no string, is told, with what to do."""
    store = RedisGrantStore(redis, ACCOUNT)
    key, lock = _keys(store)
    await redis.set(key, SECRET)
    for error in await _refused(store):
        text = f"cannot be read: something else is there: delete the key {key}, or use another database"
        assert f"the grant of 'AA11 N84G' in Redis {text}" == error.summary
    await redis.rpush(lock, SECRET)
    with pytest.raises(StoreError, match=f"cannot be locked: something else is there: delete the key {lock}"):
        await increment(store)
    assert _alone()


async def test_swap_tells_what_fails(server: RedisServer, plain: Any) -> None:
    """Redis may fail between the read and the write; the grant does not show."""
    async with client(server.port, Failing) as failing:
        records = RedisGrantStore(failing, ACCOUNT)._records
        failing.failing = True
        with pytest.raises(StoreError, match=r"cannot be written: Redis failed .ResponseError.: see to") as raised:
            await records.swap(Record(SECRET.encode(), 1))
    assert [] == leaks(shown_by(raised.value) + everything_shown(raised.value), SECRET)
    assert 0 == await plain.dbsize()


async def test_killed_server_is_told(
    mortal: RedisServer, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If Redis dies, all fails with StoreError, the lock's exit does not, and nothing is shown or left behind."""
    monkeypatch.setattr(asyncio.get_running_loop(), "_debug", True)
    caplog.set_level(logging.DEBUG)
    async with client(mortal.port) as redis:
        store = RedisGrantStore(redis, ACCOUNT, lock_life=LIFE)
        async with store.lock():
            await store.save(GRANT)
            mortal.kill()
            await asyncio.sleep(LIFE)  # renewals fail
            texts = [error.summary for error in await _refused(store)]
        assert [
            f"the grant of {ACCOUNT!r} in Redis cannot be read: Redis failed (ConnectionError): see to the "
        ] * 2 == [text.partition("server")[0] for text in texts]
        with pytest.raises(StoreError, match=r"cannot be locked: Redis failed .ConnectionError.") as raised:
            await increment(store)
        assert not isinstance(raised.value, StoreLockTimeoutError)
        assert raised.value.__context__ is None
    assert _alone()
    assert f"the lock of the grant of {ACCOUNT!r} in Redis could not be freed, and expires in 0.3 s" in caplog.text
    assert [] == leaks(caplog.text, SECRET)


async def test_frozen_server_is_told_in_time(mortal: RedisServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """If Redis answers nothing, all fails with StoreError after a while; once it is back, all goes on."""
    monkeypatch.setattr(RedisRecords._send, "__kwdefaults__", {"timeout": 0.2})
    monkeypatch.setattr(RedisRecords._run, "__kwdefaults__", {"timeout": 0.2})
    async with client(mortal.port) as redis:
        store = RedisGrantStore(redis, ACCOUNT, lock_life=LIFE)
        saved = await store.save(GRANT)
        started = time.monotonic()
        with mortal.frozen():
            with pytest.raises(StoreError, match=r"cannot be locked: Redis failed .TimeoutError."):
                await increment(store)
            assert ["TimeoutError"] * 2 == [
                error.summary.split("(")[1].split(")")[0] for error in await _refused(store)
            ]
        assert 2 > time.monotonic() - started
        assert saved == await store.load()
        assert 2 == await increment(store)
    assert _alone()


async def test_cancelled_save_is_whole(plain: Any) -> None:
    """A save that is cancelled while its command is under way is done when the cancellation goes on."""
    store = RedisGrantStore(plain, ACCOUNT)
    seen: set[int] = set()
    for moment in range(MOMENTS):
        saver = asyncio.create_task(store._records.swap(Record(b"1", len(seen) + 1)))
        for _ in range(moment):
            await asyncio.sleep(0)
        saver.cancel()
        await asyncio.wait([saver])
        assert _alone()
        version = await plain.hget(_keys(store)[0], "version")
        if version is not None:
            seen.add(int(version))
    assert set(range(1, len(seen) + 1)) == seen
    assert seen


@pytest.mark.parametrize("decode_responses", [False, True])
async def test_nothing_shows_a_secret(
    server: RedisServer,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
    *,
    decode_responses: bool,
) -> None:
    """A client whose exceptions quote the command, or whatever else, shows nothing in errors and logs."""
    monkeypatch.setattr(asyncio.get_running_loop(), "_debug", True)
    caplog.set_level(logging.DEBUG)
    async with client(server.port, Failing, decode_responses=decode_responses) as failing:
        await failing.flushall()
        store = RedisGrantStore(failing, ACCOUNT, lock_timeout=0)
        saved = await store.save(GRANT)
        newer = await store.save(Grant(f"{SECRET}-2", f"{SECRET}-2", generation=saved.generation + 1))
        errors: list[StoreError] = []
        with pytest.raises(StaleGrantError) as stale:
            await store.save(saved)
        errors.append(stale.value)
        async with store.lock():
            with pytest.raises(StoreLockTimeoutError) as locked:
                await increment(RedisGrantStore(failing, ACCOUNT, lock_timeout=0))
            errors.append(locked.value)
            failing.failing = True
            errors += await _refused(store)
        for call in (store.lock().__aenter__, lambda: store._records.swap(Record(SECRET.encode(), 1))):
            with pytest.raises(StoreError) as raised:
                await call()
            errors.append(raised.value)
        failing.failing = False
        assert newer == await store.load()
    for error in errors:
        assert [] == leaks(package_locals(error) + shown_by(error) + everything_shown(error), SECRET)
        assert error.__cause__ is None
        assert error.__context__ is None
    assert 6 == len(errors)
    assert [] == leaks(caplog.text + repr([vars(record) for record in caplog.records]), SECRET)
