"""SQLGrantStore and SQLKeyStore: the grants, or the leased keys, of many accounts in a table."""

from __future__ import annotations

import asyncio
import functools
import hashlib
import math
import secrets
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from typing import Any, ClassVar, Final, Protocol, Self, TypeVar
from weakref import WeakKeyDictionary

import attrs

from kraken_fastkey._errors import StoreError
from kraken_fastkey._runtime import MACHINE, Runtime
from kraken_fastkey.stores._face import Content, RecordFace
from kraken_fastkey.stores._grants import RecordGrantStore
from kraken_fastkey.stores._keys import RecordKeyStore
from kraken_fastkey.stores._locks import (
    LOCK_TIMEOUT,
    PolledLock,
    Release,
    check_lock_timeout,
    check_store_arguments,
    finish,
)
from kraken_fastkey.stores._records import Record, RecordConflictError

try:
    import sqlalchemy as sa
    from sqlalchemy import exc
    from sqlalchemy.dialects import postgresql, sqlite
    from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine
    from sqlalchemy.pool import Pool, QueuePool, StaticPool
    from sqlalchemy.schema import CreateTable
    from sqlalchemy.sql.dml import UpdateBase
except ModuleNotFoundError as missing:
    raise ModuleNotFoundError("it needs an extra: pip install 'kraken-fastkey[sql]'", name=missing.name) from None

LEASE: Final = 15.0
ANSWER_TIMEOUT: Final = 30.0

_MAX_ACCOUNT: Final = 255
_HOLDER_TIMEOUT_MS: Final = "300000"
_NO_TABLE: Final = "42P01"

_T = TypeVar("_T")


@attrs.frozen
class _Tables:
    """The tables of one kind of store.

    Attributes:
        metadata: It has both, for who migrates a database.
        records: The records.
        locks: The locks, used with SQLite alone.
    """

    metadata: sa.MetaData
    records: sa.Table
    locks: sa.Table

    @classmethod
    def named(cls, records: str, locks: str) -> Self:
        metadata = sa.MetaData()
        # Plain types, so that what Alembic writes needs nothing of ours.
        return cls(
            metadata,
            sa.Table(
                records,
                metadata,
                sa.Column("account", sa.String(_MAX_ACCOUNT), primary_key=True),
                sa.Column("version", sa.BigInteger, nullable=False),
                sa.Column("data", sa.LargeBinary, nullable=False),
                sa.Column("updated_at", sa.DateTime(timezone=True), nullable=False),
            ),
            sa.Table(
                locks,
                metadata,
                sa.Column("account", sa.String(_MAX_ACCOUNT), primary_key=True),
                sa.Column("owner", sa.String(32), nullable=False),
                sa.Column("expires_at", sa.Double, nullable=False),
            ),
        )


_GRANT_TABLES: Final = _Tables.named("kraken_fastkey_records", "kraken_fastkey_locks")
_KEY_TABLES: Final = _Tables.named("kraken_fastkey_keys", "kraken_fastkey_key_locks")


class _Unshown(sa.types.TypeDecorator[memoryview]):
    """Bytes as views, whose repr does not show them: SQLAlchemy and drivers log parameters and rows."""

    impl = sa.LargeBinary
    cache_ok = True

    def process_result_value(self, value: Any, dialect: sa.Dialect) -> memoryview | None:  # noqa: ARG002
        return None if value is None else memoryview(value)


@attrs.frozen
class _Failure:
    """What went wrong, without the exception: SQLAlchemy's hold the parameters, and so the tokens."""

    reason: str


class _Lock(Protocol):
    async def take(self) -> bool:
        """Try once, and return whether it was had."""
        ...

    async def free(self) -> None:
        """Free it, if it was had."""
        ...


class SQLRecords:
    """A record in a table's row, which is replaced by one statement if its version is the expected one.

    Args:
        engine: Where the table is.
        account: The row.
        tables: The tables.
        content: What it keeps.
        place: What it is, for the errors.
        lock_timeout: How long to wait for the lock, in seconds.
        lease: With SQLite, how long the lock lasts if it is not renewed, in seconds.
        runtime: Time, sleep and chance.
    """

    def __init__(
        self,
        engine: AsyncEngine,
        account: str,
        tables: _Tables,
        content: Content,
        place: str,
        lock_timeout: float,
        lease: float,
        runtime: Runtime,
    ) -> None:
        self._postgresql = engine.dialect.name == "postgresql"
        # Whatever the engine does: in AUTOCOMMIT the lock would be free at once, above READ COMMITTED saves would fail.
        self._engine = engine.execution_options(isolation_level="READ COMMITTED") if self._postgresql else engine
        self._account = account
        self._tables = tables
        self._content = content
        self._place = place
        self._lease = lease
        self._runtime = runtime
        self._lock = PolledLock(place, self._attempt, lock_timeout, runtime)

    async def read(self) -> Record | None:
        row = await self._run("read", self._read)
        if row is None:
            return None
        version, data = row
        if type(version) is not int or version < 1 or data is None:
            raise StoreError(
                f"{self._place} holds no record of this library: delete the row, and {self._content.remedy}"
            )
        return Record(bytes(data), version)

    async def swap(self, record: Record) -> None:
        statement = self._insert(record) if record.version == 1 else self._update(record)
        if await self._run("written", functools.partial(self._execute, statement)) != 1:
            raise RecordConflictError(f"{self._place} was changed meanwhile: read it again")

    def lock(self) -> AbstractAsyncContextManager[object]:
        return self._lock.hold()

    async def create_table(self) -> None:
        """Make the tables that are missing.

        Raises:
            StoreError: They cannot be made.
        """
        await self._run("given a table", self._create_table)

    async def _read(self) -> tuple[Any, Any] | None:
        columns = self._tables.records.c
        statement = sa.select(columns.version, sa.type_coerce(columns.data, _Unshown())).where(
            columns.account == self._account
        )
        async with self._engine.connect() as connection:
            row = (await connection.execute(statement)).first()
        return None if row is None else (row[0], row[1])

    async def _execute(self, statement: UpdateBase) -> int:
        """Execute a statement, and return how many rows it changed, when that is committed."""
        async with self._engine.begin() as connection:
            result = await connection.execute(statement.execution_options(preserve_rowcount=True))
            return result.rowcount

    async def _create_table(self) -> None:
        records, locks = self._tables.records, self._tables.locks
        async with self._engine.begin() as connection:
            if self._postgresql:
                # IF NOT EXISTS fails where two do it at once.
                await connection.execute(sa.select(sa.func.pg_advisory_xact_lock(_to_key(records.name))))
            for table in (records,) if self._postgresql else (records, locks):
                await connection.execute(CreateTable(table, if_not_exists=True))

    def _insert(self, record: Record) -> UpdateBase:
        records = self._tables.records
        values = {"account": self._account} | _to_values(record)
        if self._postgresql:
            return postgresql.insert(records).values(values).on_conflict_do_nothing()
        return sqlite.insert(records).values(values).on_conflict_do_nothing()

    def _update(self, record: Record) -> UpdateBase:
        records = self._tables.records
        of_predecessor = (records.c.account == self._account, records.c.version == record.version - 1)
        return sa.update(records).where(*of_predecessor).values(_to_values(record))

    async def _attempt(self) -> Release | None:
        lock: _Lock = (
            _AdvisoryLock(self._engine, _to_key(self._tables.records.name, self._account))
            if self._postgresql
            else _RowLock(self._execute, self._tables.locks, self._account, self._lease, self._runtime)
        )
        try:
            got = await self._run("locked", lock.take)
        except BaseException:
            await _free(lock)  # cancelled meanwhile, or nobody knows whether it was had
            raise
        return functools.partial(_free, lock) if got else None

    async def _run(self, what: str, work: Callable[[], Awaitable[_T]]) -> _T:
        """Do some work to its end, even if the caller is cancelled meanwhile.

        Raises:
            StoreError: It failed.
        """
        outcome = await finish(_outcome(work))
        if isinstance(outcome, _Failure):
            raise StoreError(f"{self._place} cannot be {what}: {outcome.reason}")
        return outcome


class _AdvisoryLock:
    """An advisory lock of PostgreSQL, which is freed with its transaction: at the latest when the connection ends.

    Args:
        engine: The engine, its transactions beginning with BEGIN.
        key: A number for what is locked.
    """

    # So that the locks of many accounts leave connections to read and write with, which end only then.
    _counts: ClassVar[WeakKeyDictionary[Pool, int]] = WeakKeyDictionary()

    def __init__(self, engine: AsyncEngine, key: sa.ColumnElement[int]) -> None:
        self._engine = engine
        self._key = key
        self._connection: AsyncConnection | None = None
        self._pool: Pool | None = None

    async def take(self) -> bool:
        pool = self._engine.pool
        count = self._counts.get(pool, 0)
        if count >= _most_locks(pool):
            return False
        self._counts[pool] = count + 1
        self._pool = pool
        connection: AsyncConnection | None = None
        try:
            connection = await self._engine.connect()
            # The server's own timeout for idle transactions may be too short; without any, a host that is
            # gone for good could have the lock for hours.
            timeout = sa.func.set_config("idle_in_transaction_session_timeout", _HOLDER_TIMEOUT_MS, True)
            if await connection.scalar(sa.select(sa.func.pg_try_advisory_xact_lock(self._key), timeout)):
                self._connection = connection
        finally:
            if self._connection is None:
                self._uncount()
                if connection is not None:
                    await connection.close()
        return self._connection is not None

    async def free(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            self._uncount()
            await connection.close()

    def _uncount(self) -> None:
        pool, self._pool = self._pool, None
        if pool is not None:
            self._counts[pool] -= 1


class _RowLock:
    """A row that says who has the lock, and until when: SQLite has no server that would free a dead holder's.

    Not BEGIN IMMEDIATE: that locks the database, and nobody could save meanwhile, for any account.

    Args:
        execute: Executes a statement, and returns how many rows it changed.
        locks: The table.
        account: The row.
        lease: How long the lock lasts if it is not renewed, in seconds.
        runtime: Time and sleep. All processes on the file must have the same time.
    """

    def __init__(
        self,
        execute: Callable[[UpdateBase], Awaitable[int]],
        locks: sa.Table,
        account: str,
        lease: float,
        runtime: Runtime,
    ) -> None:
        self._execute = execute
        self._locks = locks
        self._account = account
        self._lease = lease
        self._runtime = runtime
        self._owner = secrets.token_hex(16)
        self._own = (locks.c.account == account, locks.c.owner == self._owner)
        self._renewal: asyncio.Task[None] | None = None

    async def take(self) -> bool:
        now = self._runtime.time()
        mine = {"owner": self._owner, "expires_at": now + self._lease}
        statement = (
            sqlite.insert(self._locks)
            .values({"account": self._account} | mine)
            .on_conflict_do_update(index_elements=["account"], set_=mine, where=self._locks.c.expires_at <= now)
        )
        if await self._execute(statement) != 1:
            return False
        self._renewal = asyncio.create_task(self._renew())
        return True

    async def free(self) -> None:
        if self._renewal is not None:
            self._renewal.cancel()
            await asyncio.wait([self._renewal])
        await self._execute(sa.delete(self._locks).where(*self._own))

    async def _renew(self) -> None:
        while True:
            await self._runtime.rest(self._lease / 3)
            # If it fails, there is another time before the lock expires.
            statement = sa.update(self._locks).where(*self._own).values(expires_at=self._runtime.time() + self._lease)
            await finish(_outcome(functools.partial(self._execute, statement)))


async def _free(lock: _Lock) -> None:
    # Whatever the database says: the server frees the lock, or it expires.
    await finish(_outcome(lock.free))


async def _outcome(work: Callable[[], Awaitable[_T]]) -> _T | _Failure:
    """Return what work returns, or why it failed. No exception leaves: it would hold what it was about."""
    try:
        async with asyncio.timeout(ANSWER_TIMEOUT):
            try:
                return await work()
            except exc.DBAPIError as error:
                if not error.connection_invalidated:
                    raise
            # The pool's connections were dead, perhaps for long. If it was done all the same, the version tells.
            return await work()
    except Exception as error:  # noqa: BLE001  # drivers raise whatever they like
        return _Failure(_reason(error))


def _reason(error: Exception) -> str:
    """Return what to tell of an error: nothing that could have come from a record."""
    if isinstance(error, exc.TimeoutError):
        return "the engine's pool had no free connection in time: make it larger"
    if isinstance(error, TimeoutError):
        return "the database did not answer in time: see to it, and to the engine's pool"
    wrapped = getattr(error, "orig", None) or error
    origin = wrapped.__cause__ or wrapped  # with asyncpg, the driver's own
    code = getattr(origin, "sqlstate", None) or getattr(origin, "sqlite_errorname", None)
    if code == _NO_TABLE or "no such table" in str(origin):
        return "the database has no table for it: call create_table(), or migrate the database"
    what = (origin.strerror if isinstance(origin, OSError) else None) or type(origin).__name__
    return f"{what}{f' ({code})' if code else ''}: see to the database, the engine's URL and the permissions"


def _to_values(record: Record) -> dict[str, Any]:
    return {
        "version": record.version,
        "data": sa.literal(memoryview(record.data), _Unshown()),
        "updated_at": sa.func.now(),
    }


def _to_key(*names: str) -> sa.ColumnElement[int]:
    """Return a number for names, to lock in their stead: 64 bits of a hash, so two accounts do not meet."""
    digest = hashlib.sha256("\0".join(names).encode()).digest()
    return sa.literal(int.from_bytes(digest[:8], "big", signed=True), sa.BigInteger)


def _most_locks(pool: Pool) -> float:
    if isinstance(pool, QueuePool) and pool.size() > 0:
        return max(1, pool.size() - 1)
    return math.inf


class _SQLStore(RecordFace):
    _tables: ClassVar[_Tables]

    def __init__(
        self,
        engine: AsyncEngine,
        account: str,
        *,
        lock_timeout: float = LOCK_TIMEOUT,
        _lease: float = LEASE,
        _runtime: Runtime = MACHINE,
    ) -> None:
        check_store_arguments(
            engine=_engine_fault(engine, self._content),
            account=_account_fault(account),
            lock_timeout=check_lock_timeout(lock_timeout),
        )
        place = f"account {account!r} in {self._tables.records.name}"
        self._sql = SQLRecords(engine, account, self._tables, self._content, place, lock_timeout, _lease, _runtime)
        super().__init__(self._sql, place)

    async def create_table(self) -> None:
        """Make the table, if it is not there, for all accounts. Any number of processes may do so at once.

        Raises:
            StoreError: It cannot be made.
        """
        await self._sql.create_table()


class SQLGrantStore(_SQLStore, RecordGrantStore):
    """One account's grant in a database, beside those of other accounts: for a service with many users.

    Any number of tasks and processes may share an account; two accounts never mix. The table,
    `kraken_fastkey_records`, is made by `create_table`, or by Alembic, with `SQLGrantStore.metadata` among its
    `target_metadata`. A grant is committed when `save` returns. The tokens are in the table in clear, though in no
    log and no exception, so encrypt the database's disk and backups, and grant access to this service's user alone.

    With PostgreSQL, the lock is an advisory lock of a transaction, on a connection of its own: the server frees it
    when its holder dies. (If the holder's host vanishes without a word: after 5 minutes.) Per engine, at most
    `pool_size - 1` locks are had at once, so that loads and saves find connections: have a pool of 2 or more.
    Poolers such as PgBouncer must pool by transaction or session. `pool_pre_ping=True` spares errors when the server
    or a firewall has ended idle connections; without it, what fails for that is tried once more.

    With SQLite, the lock is a row in `kraken_fastkey_locks` that expires 15 seconds after its last renewal, every
    5 seconds: a dead holder's lock is taken over then. Holders whose event loop stands still for longer, and
    processes with different clocks, may have it together: `save` still refuses the later one's grant. A database
    in memory is refused: there is `MemoryGrantStore`.

    What is under way in the database goes on to its end when its caller is cancelled, for 30 seconds at most.

    Args:
        engine: An engine for PostgreSQL or SQLite, with any asyncio driver that SQLAlchemy has. It stays yours:
            dispose of it when no store needs it any more.
        account: Whose grant it is: 1 to 255 characters, any but NUL.
        lock_timeout: How long to wait for the lock, in seconds; 0 or more.

    Raises:
        InvalidRequestError: An argument is wrong.
    """

    _tables = _GRANT_TABLES
    metadata: ClassVar[sa.MetaData] = _GRANT_TABLES.metadata


class SQLKeyStore(_SQLStore, RecordKeyStore):
    """One account's leased key in a database, beside those of other accounts: for a service with many users.

    It is as `SQLGrantStore` is, with tables of its own, so that both may have the same engine and account:
    `kraken_fastkey_keys`, and `kraken_fastkey_key_locks` with SQLite. The key's secret is in the table in clear.

    Args:
        engine: An engine for PostgreSQL or SQLite, with any asyncio driver that SQLAlchemy has. It stays yours:
            dispose of it when no store needs it any more.
        account: Whose key it is: 1 to 255 characters, any but NUL. If an account has several leases, let the lease
            be part of it.
        lock_timeout: How long to wait for the lock, in seconds; 0 or more.

    Raises:
        InvalidRequestError: An argument is wrong.
    """

    _tables = _KEY_TABLES
    metadata: ClassVar[sa.MetaData] = _KEY_TABLES.metadata


def _engine_fault(engine: object, content: Content) -> str | None:
    if not isinstance(engine, AsyncEngine):
        return f"must be an AsyncEngine of SQLAlchemy, not {type(engine).__name__}"
    if engine.dialect.name not in {"postgresql", "sqlite"}:
        return f"must be one for PostgreSQL or SQLite, not {engine.dialect.name}"
    if isinstance(engine.pool, StaticPool):
        return f"must have more than one connection: give SQLite a file, or use Memory{content.name}Store"
    return None


def _account_fault(account: object) -> str | None:
    if not isinstance(account, str):
        return f"must be a str, not {type(account).__name__}"
    if not 1 <= len(account) <= _MAX_ACCOUNT:
        return f"must have 1 to {_MAX_ACCOUNT} characters, has {len(account)}"
    if "\0" in account or any("\ud800" <= character <= "\udfff" for character in account):
        return "must be Unicode, without NUL"
    return None
