"""SQLGrantStore, with SQLite and with a PostgreSQL server of the tests' own."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import sql_kit
import sqlalchemy as sa
from sql_kit import PASSWORD, PostgresServer, postgres_server
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine
from sqlalchemy.pool import NullPool, StaticPool
from support import TOKEN, FakeTime, assert_clean

from kraken_fastkey import InvalidRequestError, StaleGrantError, StoreError, StoreLockTimeoutError
from kraken_fastkey._grant import Grant
from kraken_fastkey._lease_record import LeaseRecord
from kraken_fastkey.stores._sql import SQLGrantStore, SQLKeyStore
from kraken_fastkey.testing import GrantStoreConformance, KeyStoreConformance, MakeGrantStore, MakeKeyStore

PROCESSES = 8
TIMES = 25
LEASE = 2.0

ACCOUNTS = [
    *("a", "A", "a ", " a", "aa", "1", "01", "%", "_", "*", "'", '"', "\\", ";--", ":account", "$1", "?", "{}", "%s"),
    *("\N{LATIN SMALL LETTER E WITH ACUTE}", "e\N{COMBINING ACUTE ACCENT}", "\u202e", "\x01", "\n", "\ufeff", "\uffff"),
    *("\N{OLD KEY}", "\N{OLD KEY}" * 255, "x" * 255, "x" * 254, "shared/a", "shared\\a", "None", "null"),
]

Run = Callable[[str], Any]


@pytest.fixture(name="postgres", scope="module")
def _postgres() -> Iterator[PostgresServer]:
    with postgres_server() as server:
        yield server


@pytest.fixture(name="url", params=["sqlite", "postgresql"])
def _url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return f"sqlite+aiosqlite:///{tmp_path}/grants.db"
    server: PostgresServer = request.getfixturevalue("postgres")
    return server.url


@pytest.fixture(name="make_engine")
async def _make_engine(url: str) -> AsyncIterator[Callable[..., AsyncEngine]]:
    """Make engines of a database without our tables, and see in the end that no connection was lost."""
    engines: list[AsyncEngine] = []

    def make(where: str = url, **options: Any) -> AsyncEngine:
        engines.append(create_async_engine(where, **options))
        return engines[-1]

    if url.startswith("postgresql"):
        async with make(poolclass=NullPool).begin() as connection:
            await connection.run_sync(SQLGrantStore.metadata.drop_all)
            await connection.run_sync(SQLKeyStore.metadata.drop_all)
    yield make
    lost = [engine.pool.status() for engine in engines if getattr(engine.pool, "checkedout", int)()]
    for engine in engines:
        await engine.dispose()
    # aiosqlite's threads speak to the loop when they end, so it must still be there.
    while any("_connection_worker_thread" in thread.name for thread in threading.enumerate()):
        await asyncio.sleep(0.001)
    assert [] == lost


@pytest.fixture(name="engine")
async def _engine(make_engine: Callable[..., AsyncEngine]) -> AsyncEngine:
    """Return an engine with an empty table."""
    engine = make_engine()
    await SQLGrantStore(engine, "-").create_table()
    return engine


def only(database: str) -> pytest.MarkDecorator:
    """Run a test with one database alone."""
    return pytest.mark.parametrize("url", [database], indirect=True)


class TestConformance(GrantStoreConformance):
    """SQLGrantStore keeps the rules."""

    @pytest.fixture
    def make_store(self, engine: AsyncEngine) -> MakeGrantStore:
        """Return what makes stores of one row."""

        def make(**options: Any) -> SQLGrantStore:
            return SQLGrantStore(engine, "conformance", **options)

        return make


class TestKeyConformance(KeyStoreConformance):
    """SQLKeyStore keeps the rules."""

    @pytest.fixture
    async def make_store(self, engine: AsyncEngine) -> MakeKeyStore:
        """Return what makes stores of one row."""
        await SQLKeyStore(engine, "-").create_table()

        def make(**options: Any) -> SQLKeyStore:
            return SQLKeyStore(engine, "conformance", **options)

        return make


async def test_key_and_grant_of_an_account_do_not_meet(engine: AsyncEngine) -> None:
    """One account's key and grant, and their locks, are in tables of their own; each error names its own."""
    grants, keys = SQLGrantStore(engine, "a", lock_timeout=0), SQLKeyStore(engine, "a", lock_timeout=0)
    with pytest.raises(StoreError, match="no table for it: call create_table"):
        await keys.load()
    await keys.create_table()
    async with grants.lock(), keys.lock():
        grant, lease = await grants.save(Grant("access")), await keys.save(LeaseRecord(owner="00c0de"))
    assert (grant, lease) == (await grants.load(), await keys.load())
    assert "<SQLKeyStore account 'a' in kraken_fastkey_keys>" == repr(keys)
    await _execute(engine, "UPDATE kraken_fastkey_keys SET version = 0")
    await _refused(keys.load, "delete the row, and delete the keys of the lease, which list_keys.. shows")
    with pytest.raises(InvalidRequestError, match="or use MemoryKeyStore"):
        SQLKeyStore(create_async_engine("sqlite+aiosqlite://", poolclass=StaticPool), "a")


def _child(*arguments: object) -> subprocess.Popen[str]:
    command = [sys.executable, sql_kit.__file__, *map(str, arguments)]
    folders = os.pathsep.join([str(Path(__file__).parents[1]), os.environ.get("PYTHONPATH", "")])
    return subprocess.Popen(
        command,
        env=os.environ | {"PYTHONPATH": folders},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


async def _ended_well(*arguments: object) -> int:
    child = _child(*arguments)
    output, errors = await asyncio.to_thread(child.communicate, timeout=60)
    assert "" == errors
    return int(output)


async def _take(store: SQLGrantStore) -> None:
    async with store.lock():
        pass


async def _execute(engine: AsyncEngine, statement: str, **values: Any) -> None:
    async with engine.begin() as connection:
        await connection.execute(sa.text(statement), values)


async def _refused(call: Callable[[], Any], message: str) -> StoreError:
    """Check that a call raises a StoreError that is clean."""
    with pytest.raises(StoreError, match=message) as raised:
        await call()
    assert StoreError is type(raised.value)
    assert_clean(raised.value, TOKEN.encode().hex(), PASSWORD)
    assert raised.value.__cause__ is None
    assert raised.value.__context__ is None
    return raised.value


async def test_eight_processes_lose_no_save(engine: AsyncEngine, url: str) -> None:
    """Eight processes that each save 25 pairs under the lock have saved 200 in the end."""
    begun = time.monotonic()
    assert PROCESSES == await _ended_well("race", url, PROCESSES, TIMES)
    grant = await SQLGrantStore(engine, sql_kit.ACCOUNT).load()
    assert grant is not None
    assert PROCESSES * TIMES == grant.generation
    took = time.monotonic() - begun
    print(f"\n{engine.dialect.name}: {PROCESSES} x {TIMES} saves: generation {grant.generation}, {took:.1f} s")


async def test_eight_processes_make_one_table(make_engine: Callable[..., AsyncEngine], url: str) -> None:
    """Any number of processes may make the table at once, and again."""
    assert PROCESSES == await _ended_well("create", url, PROCESSES)
    store = SQLGrantStore(make_engine(), "one")
    await store.create_table()
    assert 1 == (await store.save(Grant(TOKEN))).generation


async def test_lock_of_a_killed_process_is_free_again(engine: AsyncEngine, url: str) -> None:
    """PostgreSQL frees the lock of a holder that was killed at once; with SQLite it expires."""
    store = SQLGrantStore(engine, sql_kit.ACCOUNT, lock_timeout=0)
    child = _child("hold", url, LEASE)
    try:
        assert child.stdout is not None
        assert "held\n" == await asyncio.to_thread(child.stdout.readline)
        with pytest.raises(StoreLockTimeoutError):
            await _take(store)
    finally:
        child.send_signal(signal.SIGKILL)
        await asyncio.to_thread(child.communicate)
    begun = time.monotonic()
    if engine.dialect.name == "sqlite":
        with pytest.raises(StoreLockTimeoutError):
            await _take(store)
    await _take(SQLGrantStore(engine, sql_kit.ACCOUNT, lock_timeout=60))
    took = time.monotonic() - begun
    print(f"\n{engine.dialect.name}: the lock of a killed process was free again after {took:.2f} s")
    assert took < (LEASE + 5 if engine.dialect.name == "sqlite" else LEASE)


@only("sqlite")
async def test_lock_in_sqlite_is_renewed(engine: AsyncEngine) -> None:
    """Who has the lock has it for longer than its lease, while its event loop runs."""
    store = SQLGrantStore(engine, "one", lock_timeout=0, _lease=0.4)
    async with store.lock():
        end = time.monotonic() + 1
        while time.monotonic() < end:
            with pytest.raises(StoreLockTimeoutError):
                await _take(SQLGrantStore(engine, "one", lock_timeout=0))
            await asyncio.sleep(0.02)
    await _take(store)


@only("sqlite")
async def test_holder_whose_lock_has_expired_leaves_the_next_ones(engine: AsyncEngine) -> None:
    """Who has lost the lock frees not that of another, and the other's save is not undone."""
    late = FakeTime()
    options: dict[str, Any] = {"lock_timeout": 0, "_runtime": late.runtime}
    store, other = SQLGrantStore(engine, "one", **options), SQLGrantStore(engine, "one", **options)
    stopped = asyncio.Event()
    late.on_sleep = lambda: _wait(stopped)  # nothing is renewed
    first = await store.save(Grant("first"))
    async with store.lock():
        late.now += 15
        holder = other.lock()
        await holder.__aenter__()
        await other.save(Grant("second", generation=2))
        with pytest.raises(StaleGrantError):
            await store.save(Grant("third", generation=2))
        with pytest.raises(StaleGrantError):
            await store.save(first)
    with pytest.raises(StoreLockTimeoutError):
        await _take(store)
    await holder.__aexit__(None, None, None)
    await _take(store)


async def _wait(event: asyncio.Event) -> None:
    await event.wait()


async def test_lock_that_the_database_has_lost_ends_quietly(engine: AsyncEngine) -> None:
    """Who leaves the lock learns nothing of a database that has failed meanwhile: what was done is done."""
    store = SQLGrantStore(engine, "one", lock_timeout=0, _lease=0.03)
    async with store.lock():
        if engine.dialect.name == "sqlite":
            await _execute(engine, "DROP TABLE kraken_fastkey_locks")
            await asyncio.sleep(0.1)  # renewals fail as well
        else:
            await _end_connections(engine.url.render_as_string(hide_password=False))
    await store.create_table()
    await _take(store)


async def _end_connections(url: str) -> None:
    """Have the server end all connections but this one, and see that they are gone."""
    admin = create_async_engine(url, poolclass=NullPool)
    others = "FROM pg_stat_activity WHERE pid <> pg_backend_pid() AND backend_type = 'client backend'"
    await _execute(admin, f"SELECT pg_terminate_backend(pid) {others}")
    async with admin.connect() as connection:
        while await connection.scalar(sa.text(f"SELECT count(*) {others}")):
            await connection.rollback()  # or it sees what it saw before
            await asyncio.sleep(0.01)
    # Now the ends have been sent; let the drivers read them.
    await asyncio.sleep(0.1)


@only("postgresql")
@pytest.mark.parametrize("isolation_level", ["AUTOCOMMIT", "REPEATABLE READ", "SERIALIZABLE"])
async def test_engine_may_have_any_isolation(
    engine: AsyncEngine, make_engine: Callable[..., AsyncEngine], isolation_level: str
) -> None:
    """Lock and races are the same with an engine whose transactions are not the usual ones."""
    del engine  # it has made the table
    odd = make_engine(isolation_level=isolation_level)
    stores = [SQLGrantStore(odd, "one") for _ in range(10)]
    saved = await asyncio.gather(*(store.save(Grant(TOKEN)) for store in stores))
    assert list(range(1, 11)) == sorted(grant.generation for grant in saved)
    async with stores[0].lock():
        await stores[0].load()
        with pytest.raises(StoreLockTimeoutError):
            await _take(SQLGrantStore(odd, "one", lock_timeout=0))
    await asyncio.gather(*map(_take, stores))


@only("postgresql")
async def test_dead_connections_of_the_pool_are_replaced(engine: AsyncEngine, url: str) -> None:
    """Connections that the server has ended since are no failure: each call tries again with a new one."""
    store = SQLGrantStore(engine, "one")
    saved = await store.save(Grant(TOKEN))
    for call in (store.load, lambda: _take(store), store.create_table, lambda: store.save(saved)):
        await asyncio.gather(*(store.load() for _ in range(5)))
        await _end_connections(url)
        await call()
    assert saved == await store.load()


@only("postgresql")
async def test_many_locks_leave_connections_for_saves(
    engine: AsyncEngine, make_engine: Callable[..., AsyncEngine]
) -> None:
    """Accounts that are refreshed together, more than the pool has connections, all come to their end."""
    del engine  # it has made the table
    small = make_engine(pool_size=3, max_overflow=0, pool_timeout=5)
    together: list[int] = []
    inside: set[int] = set()

    async def refresh(number: int) -> None:
        store = SQLGrantStore(small, f"account {number}")
        async with store.lock():
            inside.add(number)
            together.append(len(inside))
            await asyncio.sleep(0.01)
            await store.load()
            await store.save(Grant(f"token-{number}"))
            inside.remove(number)

    await asyncio.gather(*map(refresh, range(20)))
    assert 2 == max(together)
    loaded = [await SQLGrantStore(small, f"account {number}").load() for number in range(20)]
    assert [Grant(f"token-{number}", generation=1) for number in range(20)] == loaded


@only("postgresql")
@pytest.mark.parametrize("options", [{"poolclass": NullPool}, {"pool_size": 0}])
async def test_pools_without_a_size_have_any_number_of_locks(
    engine: AsyncEngine, make_engine: Callable[..., AsyncEngine], options: dict[str, Any]
) -> None:
    """A pool that opens as many connections as are needed has as many locks."""
    del engine  # it has made the table
    many = make_engine(**options)
    all_inside = asyncio.Barrier(10)

    async def refresh(number: int) -> None:
        async with SQLGrantStore(many, f"account {number}", lock_timeout=5).lock():
            await asyncio.wait_for(all_inside.wait(), 5)

    await asyncio.gather(*map(refresh, range(10)))


async def test_accounts_never_mix(engine: AsyncEngine) -> None:
    """Each account has its own grant and its own lock, whatever is in its name."""
    stores = [SQLGrantStore(engine, account, lock_timeout=0) for account in ACCOUNTS]
    assert len(set(ACCOUNTS)) == len(ACCOUNTS)
    for number, store in enumerate(stores):
        assert await store.load() is None
        await store.save(Grant(f"token-{number}"))
    loaded = [await store.load() for store in stores]
    assert [Grant(f"token-{number}", generation=1) for number in range(len(stores))] == loaded
    async with stores[0].lock():
        for store in stores[1:]:
            await _take(store)
        with pytest.raises(StoreLockTimeoutError):
            await _take(stores[0])


@pytest.mark.parametrize(
    ("account", "fault"),
    [
        ("", "must have 1 to 255 characters, has 0"),
        ("x" * 256, "must have 1 to 255 characters, has 256"),
        ("a\0b", "must be Unicode, without NUL"),
        ("\ud800", "must be Unicode, without NUL"),
        ("a\udfff", "must be Unicode, without NUL"),
        (b"a", "must be a str, not bytes"),
        (None, "must be a str, not NoneType"),
    ],
)
@only("sqlite")
def test_wrong_account_is_refused(url: str, account: Any, fault: str) -> None:
    """An account that no table could keep is refused at once."""
    with pytest.raises(InvalidRequestError) as raised:
        SQLGrantStore(create_async_engine(url), account)
    assert {"account": fault} == dict(raised.value.faults)


@only("sqlite")
def test_wrong_engine_is_refused(url: str) -> None:
    """An engine that is none, whose database is another, or that has one connection alone, is refused."""
    mysql = create_async_engine(url)
    mysql.dialect.name = "mysql"
    faults = {
        "must be an AsyncEngine of SQLAlchemy, not Engine": sa.create_engine("sqlite://"),
        "must be an AsyncEngine of SQLAlchemy, not str": url,
        "must be one for PostgreSQL or SQLite, not mysql": mysql,
        "must have more than one connection: give SQLite a file, or use MemoryGrantStore": create_async_engine(
            "sqlite+aiosqlite://"
        ),
    }
    for fault, engine in faults.items():
        with pytest.raises(InvalidRequestError) as raised:
            SQLGrantStore(engine, "a", lock_timeout=-1)  # type: ignore[arg-type]  # what is tested
        assert {"engine": fault, "lock_timeout": "must be seconds, 0 or more"} == dict(raised.value.faults)


@only("postgresql")
def test_repr_shows_no_password(url: str) -> None:
    """The repr says which account in which table it is, and no more."""
    assert "<SQLGrantStore account 'AA11' in kraken_fastkey_records>" == repr(
        SQLGrantStore(create_async_engine(url), "AA11")
    )


def test_import_without_sqlalchemy_tells_the_extra() -> None:
    """The package and its stores import without SQLAlchemy; this one says how to get it."""
    code = (
        "import sys; sys.modules['sqlalchemy'] = None\n"
        "import kraken_fastkey, kraken_fastkey.stores\n"
        "try:\n    import kraken_fastkey.stores._sql\n"
        "except ModuleNotFoundError as error:\n    print(error, error.name)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "it needs an extra: pip install 'kraken-fastkey[sql]' sqlalchemy\n" == done.stdout


def test_tables_have_plain_types() -> None:
    """The tables are made of SQLAlchemy's own types, so that Alembic's migrations need nothing of ours."""
    tables = SQLGrantStore.metadata.tables
    assert ["kraken_fastkey_locks", "kraken_fastkey_records"] == sorted(tables)
    columns = [column for table in tables.values() for column in table.columns]
    assert {"sqlalchemy.sql.sqltypes"} == {type(column.type).__module__ for column in columns}


async def test_row_says_when_it_was_written(engine: AsyncEngine) -> None:
    """The row has the version, one more for each save, and the database's time, in UTC."""
    store = SQLGrantStore(engine, "one")
    for _ in range(3):
        await store.save(Grant(TOKEN))
    statement = sa.text("SELECT version, updated_at FROM kraken_fastkey_records").columns(
        version=sa.BigInteger, updated_at=sa.DateTime(timezone=True)
    )
    async with engine.connect() as connection:
        version, updated_at = (await connection.execute(statement)).one()
    assert 3 == version
    shift = 0 if updated_at.tzinfo else -time.timezone  # SQLite has no time zones: a naive time in UTC
    assert abs(updated_at.timestamp() + shift - time.time()) < 60


async def test_nothing_shows_a_token(
    make_engine: Callable[..., AsyncEngine], caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    """No token is in a log, whatever logs at DEBUG and with echo: parameters and rows are, as views."""
    caplog.set_level(logging.DEBUG)
    for name in ("sqlalchemy", "aiosqlite", "asyncpg", "asyncio"):
        caplog.set_level(logging.DEBUG, logger=name)
    store = SQLGrantStore(make_engine(echo="debug", echo_pool="debug"), "one", lock_timeout=0)
    await _refused(lambda: store.save(Grant(TOKEN, TOKEN)), "no table")
    await store.create_table()
    saved = await store.save(Grant(TOKEN, TOKEN))
    async with store.lock():
        await store.save(Grant(TOKEN, "other", generation=2))
        assert Grant(TOKEN, "other", generation=2) == await store.load()
        with pytest.raises(StoreLockTimeoutError) as lost:
            await _take(store)
    assert_clean(lost.value)
    with pytest.raises(StaleGrantError) as stale:
        await store.save(saved)
    assert_clean(stale.value, TOKEN.encode().hex())
    output = capfd.readouterr()
    for shown in (caplog.text, output.out, output.err):
        assert TOKEN not in shown
        assert TOKEN.encode().hex() not in shown
    assert "UPDATE kraken_fastkey_records" in caplog.text
    assert "Row (1, <memory at" in caplog.text


@pytest.mark.parametrize("call", ["load", "save", "lock"])
async def test_missing_table_is_told(make_engine: Callable[..., AsyncEngine], call: str) -> None:
    """Without a table, the error says how to get one."""
    store = SQLGrantStore(make_engine(), "one")
    if call == "load":
        await _refused(store.load, "read: the database has no table for it: call create_table")
    elif call == "save":
        await _refused(lambda: store.save(Grant(TOKEN)), "the database has no table for it: call create_table")
    elif make_engine().dialect.name == "sqlite":  # PostgreSQL's lock needs no table
        await _refused(lambda: _take(store), "locked: the database has no table for it: call create_table")


async def test_error_that_holds_the_record_is_not_chained(make_engine: Callable[..., AsyncEngine]) -> None:
    """An error of the database that tells the whole row, as a constraint's does, is neither told nor kept."""
    engine = make_engine()
    await _execute(
        engine,
        "CREATE TABLE kraken_fastkey_records (account VARCHAR(255) PRIMARY KEY, version BIGINT NOT NULL, "
        f"data {'BYTEA' if engine.dialect.name == 'postgresql' else 'BLOB'} CHECK (length(data) < 9), "
        "updated_at TIMESTAMP)",
    )
    store = SQLGrantStore(engine, "one")
    error = await _refused(lambda: store.save(Grant(TOKEN, TOKEN)), "account 'one' in .* cannot be written")
    assert ("23514" if engine.dialect.name == "postgresql" else "SQLITE_CONSTRAINT_CHECK") in str(error)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"\x00garbage", "holds what could not be a grant"),
        (b"", "holds what could not be a grant"),
        (b'{"format":1,"access_token":"' + TOKEN.encode() + b'"}', "holds what could not be a grant"),
        (b'{"format":2,"access_token":"' + TOKEN.encode() + b'"}', "newer version of this library"),
    ],
    ids=["garbage", "empty", "cut", "newer"],
)
async def test_foreign_data_is_refused(engine: AsyncEngine, data: bytes, message: str) -> None:
    """Data that no grant is, or that a newer version wrote, is neither read nor overwritten."""
    await _execute(
        engine,
        "INSERT INTO kraken_fastkey_records (account, version, data, updated_at) "
        "VALUES ('one', 1, :data, CURRENT_TIMESTAMP)",
        data=data,
    )
    store = SQLGrantStore(engine, "one")
    await _refused(store.load, message)
    await _refused(lambda: store.save(Grant(TOKEN)), message)
    async with engine.connect() as connection:
        assert data == await connection.scalar(sa.text("SELECT data FROM kraken_fastkey_records"))


@only("sqlite")
@pytest.mark.parametrize(
    "row", [("'x'", "x'00'"), ("0", "x'00'"), ("-1", "x'00'"), ("NULL", "x'00'"), ("1.5", "x'00'")]
)
@pytest.mark.parametrize("loose", [True, False])
async def test_foreign_row_is_refused(
    make_engine: Callable[..., AsyncEngine], row: tuple[str, str], *, loose: bool
) -> None:
    """A row of a table that is not ours is refused."""
    engine = make_engine()
    await _execute(engine, "CREATE TABLE kraken_fastkey_records (account, version, data, updated_at)")
    version, data = ("1", "NULL") if loose else row
    await _execute(engine, f"INSERT INTO kraken_fastkey_records VALUES ('one', {version}, {data}, 0)")  # noqa: S608  # ours
    await _refused(SQLGrantStore(engine, "one").load, "holds no record of this library: delete the row")


@only("sqlite")
async def test_row_with_text_is_refused(engine: AsyncEngine) -> None:
    """Text where bytes should be is refused without being shown."""
    await _execute(engine, "INSERT INTO kraken_fastkey_records VALUES ('one', 1, :text, 0)", text=TOKEN)
    await _refused(SQLGrantStore(engine, "one").load, "cannot be read: TypeError: see to the database")


async def test_database_that_is_down_is_told(
    make_engine: Callable[..., AsyncEngine], tmp_path: Path, unused_tcp_port: int
) -> None:
    """A database that cannot be reached is a StoreError for each method."""
    dialect = make_engine().dialect.name
    where = (
        f"sqlite+aiosqlite:///{tmp_path}/missing/grants.db"
        if dialect == "sqlite"
        else f"postgresql+asyncpg://tester:{PASSWORD}@127.0.0.1:{unused_tcp_port}/postgres"
    )
    store = SQLGrantStore(make_engine(where), "one", lock_timeout=0)
    for call in (store.load, lambda: store.save(Grant(TOKEN)), lambda: _take(store), store.create_table):
        await _refused(call, "SQLITE_CANTOPEN" if dialect == "sqlite" else "Connect.*: see to the database")


@only("postgresql")
async def test_wrong_password_is_told_without_it(make_engine: Callable[..., AsyncEngine], url: str) -> None:
    """A password that the server refuses is not in the error."""
    store = SQLGrantStore(make_engine(url.replace(PASSWORD, f"{PASSWORD}-2")), "one")
    await _refused(store.load, r"cannot be read: InvalidPasswordError \(28P01\): see to the database")


@only("postgresql")
async def test_server_that_comes_back_is_used_again(postgres: PostgresServer, engine: AsyncEngine) -> None:
    """While the server is down there is a StoreError; when it is back, all goes on, and what was saved is there."""
    store = SQLGrantStore(engine, "one", lock_timeout=0)
    async with store.lock():
        saved = await store.save(Grant(TOKEN))
        await asyncio.to_thread(postgres.stop)
        try:
            await _refused(lambda: store.save(Grant(TOKEN, generation=2)), "Connect.*: see to the database")
        finally:
            await asyncio.to_thread(postgres.start)
    assert saved == await store.load()
    await _take(store)


@only("postgresql")
async def test_pool_that_is_too_small_is_told(engine: AsyncEngine, make_engine: Callable[..., AsyncEngine]) -> None:
    """A pool of one connection has none left under the lock, and the error says what to do."""
    del engine  # it has made the table
    store = SQLGrantStore(make_engine(pool_size=1, max_overflow=0, pool_timeout=0.05), "one")
    async with store.lock():
        await _refused(store.load, "the engine's pool had no free connection in time: make it larger")
    assert await store.load() is None


@only("postgresql")
async def test_database_that_does_not_answer_is_given_up(engine: AsyncEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    """A statement that does not end is a StoreError in the end; and a cancellation waits until then."""
    store = SQLGrantStore(engine, "one")
    saved = await store.save(Grant(TOKEN))
    async with engine.begin() as connection:
        await connection.execute(sa.text("LOCK TABLE kraken_fastkey_records"))
        monkeypatch.setattr("kraken_fastkey.stores._sql.ANSWER_TIMEOUT", 0.2)
        await _refused(store.load, "did not answer in time")
        await _refused(lambda: store.save(Grant(TOKEN, generation=2)), "did not answer in time")
        loading = asyncio.create_task(store.load())
        await asyncio.sleep(0.05)
        loading.cancel()
        with pytest.raises(asyncio.CancelledError):
            await loading
    monkeypatch.undo()
    assert saved == await store.load()


@only("sqlite")
async def test_sqlite_that_is_busy_is_told(engine: AsyncEngine, make_engine: Callable[..., AsyncEngine]) -> None:
    """A database that another program has locked for longer than the engine waits is a StoreError."""
    store = SQLGrantStore(make_engine(connect_args={"timeout": 0.05}), "one")
    saved = await store.save(Grant(TOKEN))
    async with engine.connect() as connection:
        await connection.execute(sa.text("BEGIN EXCLUSIVE"))
        await _refused(store.load, "SQLITE_BUSY")
        await _refused(lambda: store.save(saved), "SQLITE_BUSY")
        await _refused(lambda: _take(store), "SQLITE_BUSY")
    assert saved == await store.load()
    await _take(store)
