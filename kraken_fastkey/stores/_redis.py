"""RedisGrantStore and RedisKeyStore: a grant, or a lease's key, that programs on many machines share."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import hashlib
import re
import secrets
from contextlib import AbstractAsyncContextManager
from typing import TYPE_CHECKING, Any, Final

from kraken_fastkey._emitter import Emitter
from kraken_fastkey._errors import StoreError
from kraken_fastkey._events.stores import StoreLockExpired, StoreLockNotFreed
from kraken_fastkey._runtime import MACHINE, Runtime
from kraken_fastkey.stores._face import Content, RecordFace
from kraken_fastkey.stores._grants import RecordGrantStore
from kraken_fastkey.stores._keys import RecordKeyStore
from kraken_fastkey.stores._locks import (
    LOCK_TIMEOUT,
    PolledLock,
    Release,
    check_lock_timeout,
    check_name,
    check_store_arguments,
    finish,
)
from kraken_fastkey.stores._records import Record, RecordConflictError, Reply

if TYPE_CHECKING:
    from redis.asyncio import Redis

LOCK_LIFE: Final = 15.0

_EMITTER: Final = Emitter()
_SHORTEST_LIFE: Final = 0.1
_LONGEST_LIFE: Final = 3600.0
# In a lock's life, if all goes well, and while it does not.
_RENEWALS: Final = 3
_HASTY_RENEWALS: Final = 12
_COMMAND_TIMEOUT: Final = 5.0
_VERSION: Final = re.compile(rb"[1-9][0-9]{0,17}")

# `write` is known to one swap alone: a command that the client sends again, its answer being lost, succeeds as well.
_SWAP: Final = b"""
local stored = redis.call('HMGET', KEYS[1], 'version', 'write')
if stored[1] == ARGV[2] and stored[2] == ARGV[3] then return 1 end
if (stored[1] or '0') ~= ARGV[1] then return 0 end
redis.call('HSET', KEYS[1], 'version', ARGV[2], 'write', ARGV[3], 'data', ARGV[4])
return 1
"""
_TAKE: Final = b"""
local owner = redis.call('GET', KEYS[1])
if owner and owner ~= ARGV[1] then return 0 end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
return 1
"""
# It does not take what has expired: it may arrive late, when the holder is gone.
_RENEW: Final = b"""
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
return redis.call('PEXPIRE', KEYS[1], ARGV[2])
"""
_FREE: Final = b"""
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
return redis.call('DEL', KEYS[1])
"""


class RedisRecords:
    """A record in Redis: a hash with the fields `version`, `data`, and `write`, which names the swap.

    Args:
        redis: The client.
        account: Whose record it is.
        content: What it keeps.
        place: What it is, for the errors.
        lock_timeout: How long to wait for the lock, in seconds.
        lock_life: After how many seconds the lock of a holder that died is free.
        runtime: Time, sleep and chance for who waits; a lock's life is in the server's time.
    """

    def __init__(
        self,
        redis: Redis,
        account: str,
        content: Content,
        place: str,
        lock_timeout: float,
        lock_life: float,
        runtime: Runtime,
    ) -> None:
        self._redis: Any = redis  # some versions of it have no types here
        self._content = content
        self._place = place
        self._life = lock_life
        name = hashlib.sha256(account.encode("utf-8", "surrogatepass")).hexdigest()
        self._key = f"kraken-fastkey:{content.noun}:{name}"
        self._lock_key = f"kraken-fastkey:{content.noun}:{name}:lock"
        self._lock = PolledLock(place, self._attempt, lock_timeout, runtime)

    async def read(self) -> Record | None:
        reply = await finish(self._send(self._key, b"HMGET", self._key.encode(), b"version", b"data"))
        if reply.fault:
            raise StoreError(f"{self._place} cannot be read: {reply.fault}")
        version, data = reply.value
        del reply
        if version is None and data is None:
            return None
        if version is None or data is None or not _VERSION.fullmatch(version):
            del data, version  # they must not be in the traceback's locals
            raise StoreError(
                f"{self._place} holds no record of this library, or a damaged one: delete the key {self._key}, "
                f"and {self._content.remedy}"
            )
        return Record(data, int(version))

    async def swap(self, record: Record) -> None:
        versions = (b"%d" % (record.version - 1), b"%d" % record.version)
        write = secrets.token_hex(16).encode()
        reply = await finish(self._run(_SWAP, self._key, *versions, write, record.data))
        if reply.fault:
            raise StoreError(f"{self._place} cannot be written: {reply.fault}")
        if not reply.value:
            raise RecordConflictError(f"{self._place} was changed meanwhile: read it again")

    def lock(self) -> AbstractAsyncContextManager[object]:
        return self._lock.hold()

    async def _attempt(self) -> Release | None:
        owner = secrets.token_hex(16).encode()
        try:
            reply = await finish(self._run(_TAKE, self._lock_key, owner, self._life_text()))
        except asyncio.CancelledError:
            await finish(self._run(_FREE, self._lock_key, owner))
            raise
        if reply.fault:
            raise StoreError(f"{self._place} cannot be locked: {reply.fault}")
        if not reply.value:
            return None
        # Told to stop, not cancelled: with Python 3.11, redis-py may swallow that (asyncio.wait_for does, gh-86296).
        stop = asyncio.Event()
        return functools.partial(self._release, owner, stop, asyncio.create_task(self._renew(owner, stop)))

    async def _renew(self, owner: bytes, stop: asyncio.Event) -> None:
        renewals = _RENEWALS
        while not await _is_set(stop, self._life / renewals):
            reply = await self._run(_RENEW, self._lock_key, owner, self._life_text(), timeout=self._life / _RENEWALS)
            if reply.fault is None and not reply.value:
                return  # it has expired: `_free` tells
            renewals = _HASTY_RENEWALS if reply.fault else _RENEWALS

    async def _release(self, owner: bytes, stop: asyncio.Event, renewal: asyncio.Task[None]) -> None:
        stop.set()
        await finish(self._free(owner, renewal))

    async def _free(self, owner: bytes, renewal: asyncio.Task[None]) -> None:
        await asyncio.wait([renewal])
        reply = await self._run(_FREE, self._lock_key, owner)
        # Neither is the holder's failure: what it has saved is saved, and what is stale was refused.
        if reply.fault:
            _EMITTER.emit(StoreLockNotFreed, store=self._place, wait_seconds=self._life, fault=reply.fault)
        elif not reply.value:
            _EMITTER.emit(StoreLockExpired, store=self._place, wait_seconds=self._life)

    async def _run(self, script: bytes, key: str, *arguments: bytes, timeout: float = _COMMAND_TIMEOUT) -> Reply:  # noqa: ASYNC109
        return await self._send(key, b"EVAL", script, b"1", key.encode(), *arguments, timeout=timeout)

    async def _send(self, key: str, *command: bytes, timeout: float = _COMMAND_TIMEOUT) -> Reply:  # noqa: ASYNC109
        """Send a command, which never raises: exceptions of the client may quote the command, and its frames do."""
        try:
            async with asyncio.timeout(timeout):
                # Bytes go and come as they are, whatever the client's `encoding` and `decode_responses`.
                return Reply(await self._redis.execute_command(*command, NEVER_DECODE=True))
        except Exception as error:  # noqa: BLE001  # the client may have parts that are not Redis's own
            return Reply(fault=to_fault(error, key))

    def _life_text(self) -> bytes:
        return b"%d" % round(self._life * 1000)


async def _is_set(event: asyncio.Event, seconds: float) -> bool:
    """Wait so long, or until an event is set, and return whether it is."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await event.wait()
    return event.is_set()


def to_fault(error: Exception, key: str) -> str:
    # Its text is not told: it may have data in it.
    if "WRONGTYPE" in str(error):
        return f"something else is there: delete the key {key}, or use another database"
    return f"Redis failed ({type(error).__name__}): see to the server, and to the client's settings"


class _RedisStore(RecordFace):
    def __init__(
        self,
        redis: Redis,
        account: str,
        *,
        lock_timeout: float = LOCK_TIMEOUT,
        lock_life: float = LOCK_LIFE,
        _runtime: Runtime = MACHINE,
    ) -> None:
        check_store_arguments(
            redis=redis_fault(redis),
            account=check_name(account),
            lock_timeout=check_lock_timeout(lock_timeout),
            lock_life=_life_fault(lock_life),
        )
        place = f"the {self._content.noun} of {account!r} in Redis"
        super().__init__(RedisRecords(redis, account, self._content, place, lock_timeout, lock_life, _runtime), place)


class RedisGrantStore(_RedisStore, RecordGrantStore):
    """A grant in Redis, for programs on many machines. It needs the extra `redis`.

    The tokens are in Redis in clear: let nobody else read that database, and use TLS.

    What survives a crash of the server is up to the server: let it have `appendonly yes`, `appendfsync always` and
    `maxmemory-policy noeviction`. If it forgets a save, or a replica that lacks it takes over, the refresh token
    that is there was used up: the user must log in again.

    The lock has a life. While it is held it is renewed, so it may be held for long; if its holder dies, or loses
    Redis, it is free when its life is over. A holder that stood still for longer than that has lost it, perhaps to
    another, and is not told at once; but what it then saves is refused with `StaleGrantError` if another has saved
    meanwhile. A command that is not answered within 5 seconds fails.

    The client is not closed; it belongs to one event loop, and so does the store. Exceptions of the client hang on
    none of the store's: they may quote what was sent.

    Args:
        redis: A `redis.asyncio.Redis`, however it decodes responses.
        account: Whose grant it is, 1 to 256 characters. Grants of different accounts never mix; if one database has
            several environments or clients, let them be part of it. In Redis, its SHA-256 is part of the keys.
        lock_timeout: How long to wait for the lock, in seconds; 0 or more. Let it be longer than *lock_life*, so
            that who waits outlives a holder's death.
        lock_life: After how many seconds the lock of a holder that died is free; 0.1 to 3600.

    Raises:
        InvalidRequestError: An argument is wrong.
        ModuleNotFoundError: The extra is not installed.
    """


class RedisKeyStore(_RedisStore, RecordKeyStore):
    """A lease's key in Redis, for programs on many machines. It needs the extra `redis`.

    What `RedisGrantStore` says of Redis holds here, too: what is in it is in clear, and what survives a crash of the
    server is up to the server. A key whose secret it has lost lives until its end, unless a lease finds and deletes
    it.

    Args:
        redis: A `redis.asyncio.Redis`, however it decodes responses.
        account: Whose key it is, 1 to 256 characters. Keys of different accounts never mix, nor do a key and a grant
            of one account. If an account has several leases, let the lease be part of it.
        lock_timeout: How long to wait for the lock, in seconds; 0 or more. Let it be longer than *lock_life*.
        lock_life: After how many seconds the lock of a holder that died is free; 0.1 to 3600.

    Raises:
        InvalidRequestError: An argument is wrong.
        ModuleNotFoundError: The extra is not installed.
    """


def redis_fault(redis: object) -> str | None:
    try:
        from redis.asyncio import Redis  # noqa: PLC0415  # an extra
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError("it needs an extra: pip install 'kraken-fastkey[redis]'", name=error.name) from None
    return None if isinstance(redis, Redis) else f"must be a redis.asyncio.Redis, not {type(redis).__name__}"


def _life_fault(value: object) -> str | None:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not _SHORTEST_LIFE <= value <= _LONGEST_LIFE:
        return f"must be seconds, {_SHORTEST_LIFE:g} to {_LONGEST_LIFE:g}"
    return None
