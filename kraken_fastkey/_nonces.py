"""Nonces that strictly rise: across tasks, across processes that share a store, and across restarts.

Kraken keeps the highest nonce of each key and refuses what is not above it, so one program that counts in
nanoseconds leaves a key of no use to all that count in milliseconds. The unit is therefore never guessed.
https://docs.kraken.com/exchange/guides/rest/authentication
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
import re
import struct
import threading
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Protocol, get_args, runtime_checkable
from weakref import WeakSet

from kraken_fastkey._errors import FastKeyError, NonceAheadError, NonceUnit, StoreError, StoreLockTimeoutError
from kraken_fastkey._models import KeyInfo
from kraken_fastkey._runtime import SYSTEM, Runtime
from kraken_fastkey.stores._disk import (
    OPEN_FLAGS,
    check_file,
    lock,
    make_folder,
    open_folder,
    sync_folder,
    told,
    unlock,
)
from kraken_fastkey.stores._locks import LOCK_TIMEOUT, check_lock_timeout, check_name, check_store_arguments
from kraken_fastkey.stores._redis import redis_fault, to_fault

if TYPE_CHECKING:
    from redis.asyncio import Redis

MAX_NONCE: Final = 2**64 - 1


_POWERS: Final[dict[NonceUnit, int]] = {"s": 0, "ms": 3, "us": 6, "ns": 9}
_NAMES: Final[dict[str, str]] = {"s": "seconds", "ms": "milliseconds", "us": "microseconds", "ns": "nanoseconds"}
_BOUNDS: Final = "must lead to 0 to 2**64 - 1 ticks"

# In the file: what it is and its unit, 16 bytes, then the last nonce. Overwriting 8 aligned bytes is atomic.
_MAGIC: Final = b"KFNONCE1"
_NONCE: Final = struct.Struct(">Q")
_HEAD_BYTES: Final = 16
_RECORD_BYTES: Final = _HEAD_BYTES + _NONCE.size
_TRIES: Final = 4  # a holder that runs is done within two or three
_FIRST_DELAY: Final = 0.0002
_LONGEST_DELAY: Final = 0.005

_COMMAND_TIMEOUT: Final = 5.0
_DIGITS: Final = re.compile(rb"[0-9]{1,19}")
# Numbers are compared as digits: those of Lua are floats, and lose the last ones of a count of nanoseconds.
_NEXT: Final = b"""
local unit = redis.call('HGET', KEYS[1], 'unit')
if not unit then redis.call('HSET', KEYS[1], 'unit', ARGV[1]) elseif unit ~= ARGV[1] then return {unit} end
redis.call('HINCRBY', KEYS[1], 'nonce', 1)
local nonce = redis.call('HGET', KEYS[1], 'nonce')
if #ARGV[2] > #nonce or (#ARGV[2] == #nonce and ARGV[2] > nonce) then
  nonce = ARGV[2]
  redis.call('HSET', KEYS[1], 'nonce', nonce)
end
return {ARGV[1], nonce}
"""


@runtime_checkable
class NonceSource(Protocol):
    """Where nonces come from. One of one's own has this method; an attribute `unit` makes errors clearer."""

    async def next_nonce(self) -> int:
        """Return a number from 1 to 2**64 - 1, higher than each that it has returned before."""
        ...


def nonce_window_for(window: timedelta, unit: NonceUnit) -> int:
    """Return a `nonce_window` in ticks: how far a request may fall behind others of its key.

    A window is for requests that overtake each other on their way. The wider it is, the later a request that got
    lost can still turn up and be carried out; with 0, Kraken's default, it cannot.

    Args:
        window: How long; 0 or more. Parts of a tick count as a whole one.
        unit: What the key's nonces count.

    Raises:
        InvalidRequestError: An argument is wrong, or the window has more than 2**64 - 1 ticks.
    """
    faults = {"unit": _unit_fault(unit), "window": None if isinstance(window, timedelta) else "must be a timedelta"}
    check_store_arguments(**faults)
    ticks: int = -(-(window // timedelta(microseconds=1)) * 10 ** _POWERS[unit] // 10**6)
    check_store_arguments(window=None if 0 <= ticks <= MAX_NONCE else _BOUNDS)
    return ticks


async def check_nonces(info: KeyInfo, nonces: NonceSource, *, _runtime: Runtime = SYSTEM) -> None:
    """Check that a key takes a source's nonces. One nonce is spent on it; nothing is sent.

    Args:
        info: The key, as `FastKeyClient.list_keys` tells it now.
        nonces: The source.

    Raises:
        NonceAheadError: It has seen a higher one, further ahead than its `nonce_window` lets pass.
        StoreError: The source failed.
    """
    error = find_ahead(info, await nonces.next_nonce(), nonces, _runtime.time())
    if error is not None:
        raise error


def find_ahead(info: KeyInfo, offered: int, nonces: NonceSource, now: float) -> NonceAheadError | None:
    """Return what is wrong with a nonce by what is known of a key, if anything is.

    Args:
        info: The key.
        offered: The nonce.
        nonces: Where it comes from.
        now: The present, in Unix seconds.
    """
    stored = info.nonce
    if stored is None or offered > stored or 0 < stored - offered < (info.nonce_window or 0):
        return None
    unit = getattr(nonces, "unit", None)
    return ahead(stored, offered, unit if unit in _POWERS else None, now)


def ahead(stored: int, offered: int, unit: NonceUnit | None, now: float) -> NonceAheadError:
    """Return the error for a source that lies behind a key.

    Args:
        stored: The highest nonce that the key has seen.
        offered: What the source would give.
        unit: What the source counts, if that is known.
        now: The present, in Unix seconds.
    """
    power = _guess_power(stored, now)
    guess: NonceUnit | None = next((name for name in get_args(NonceUnit) if _POWERS[name] == power), None)
    counts = "" if unit is None else f", which counts {_NAMES[unit]}"
    if guess is not None and guess == unit:
        seconds = (stored - offered) / 10 ** _POWERS[guess]
        advice = (
            f"It seems to count {_NAMES[guess]}, too, and is {seconds:.3f} s ahead: let all that use the key share "
            "one source, and see to their clocks; until the source has caught up, make a new key"
        )
    elif guess is not None:
        advice = (
            f"It seems to count {_NAMES[guess]}: use a source with unit={guess!r} for this key, or make a new key. "
            "Keep to one unit for each key"
        )
    elif power is not None:
        advice = f"It seems to count 10**{power} ticks a second, as another program does: make a new key"
    else:
        advice = "It is no time in any unit: make a new key"
    return NonceAheadError(
        f"the key has seen the nonce {stored}, and refuses {offered} of this source{counts}. {advice}.",
        stored=stored,
        offered=offered,
        unit=unit,
        guess=guess,
    )


def _guess_power(nonce: int, now: float) -> int | None:
    """Return which power of ten a nonce counts a second, if it is near the present."""
    # python-kraken-sdk counts 10**8 a second, so not the four units alone are looked at.
    return next((power for power in range(10) if 0.9 < nonce / (now * 10**power) < 1.1), None) if now > 0 else None


def _unit_fault(unit: object) -> str | None:
    return None if unit in get_args(NonceUnit) else "must be 's', 'ms', 'us' or 'ns'"


class _Counter:
    """What a source may give next: by the clock, and above all that it gave before."""

    def __init__(self, unit: NonceUnit, runtime: Runtime) -> None:
        self._unit: NonceUnit = unit
        self._ticks = 10 ** _POWERS[unit]
        self._runtime = runtime
        self.last = 0

    def ticks(self) -> int:
        """Return the present in ticks, at least 1."""
        return max(1, int(self._runtime.time() * self._ticks))

    def above(self, stored: int) -> int:
        """Return the present, or what is next after the last nonce, here or in the store, if that is more."""
        nonce = max(self.ticks(), self.last + 1, stored + 1)
        if nonce > MAX_NONCE:
            raise ahead(MAX_NONCE, self.ticks(), self._unit, self._runtime.time())
        self.last = nonce
        return nonce


class MemoryNonceSource:
    """Nonces for the tasks and threads of one process.

    After a restart they go on from the clock. That is not enough for a clock that was set back meanwhile, nor for a
    program that has used more nonces than there were ticks: use `FileNonceSource` there, and wherever several
    processes use one key.

    Args:
        unit: What the nonces count. All that ever use the key must count the same.

    Attributes:
        unit: Likewise.

    Raises:
        InvalidRequestError: *unit* is none.
    """

    unit: NonceUnit = "ms"

    def __init__(self, unit: NonceUnit = "ms", *, _runtime: Runtime = SYSTEM) -> None:
        check_store_arguments(unit=_unit_fault(unit))
        self.unit = unit
        self._counter = _Counter(unit, _runtime)
        self._mutex = threading.Lock()
        self._is_copy = False
        _SOURCES.add(self)

    async def next_nonce(self) -> int:
        """Return the next nonce.

        Raises:
            FastKeyError: The process was forked from the one that made this source, so both would give the same.
            NonceAheadError: 64 bits are used up.
        """
        if self._is_copy:
            raise FastKeyError("this process was forked from another that gives the same nonces: use FileNonceSource")
        with self._mutex:
            return self._counter.above(0)

    def _after_fork(self) -> None:
        self._is_copy = True

    def __repr__(self) -> str:
        return f"MemoryNonceSource(unit={self.unit!r})"


class FileNonceSource:
    """Nonces for all processes of a machine that share a file, and for their next start.

    The file holds the last nonce. It is read and written under the kernel's lock, which is free again when its holder
    dies, however it dies; `kill -9` at any moment leaves the file whole. It is on the disk when the system writes it
    there: after a power failure the nonces go on from the clock, or from a little before the last one if they had run
    ahead of the clock.

    The file is made with mode 600, in a folder that is made with mode 700; one that others may read or write is
    refused, as is a symbolic link. Put it on a local disk. Windows has the same lock and the same atomic write of
    eight bytes, but no such modes and owners: none are checked there.

    Tasks, threads and forked processes may use one object; processes that share nothing use one of their own each,
    with the same path. A nonce takes some microseconds, and never waits for a disk but for the first one of a file.

    Args:
        path: The file; one for each key, or one for several.
        unit: What the nonces count. All that ever use the key must count the same.
        lock_timeout: How long to wait for the lock, in seconds; 0 or more. It is held for microseconds, unless its
            holder is stopped.

    Attributes:
        unit: As given.

    Raises:
        InvalidRequestError: An argument is wrong.
    """

    unit: NonceUnit = "ms"
    _place: str = ""  # for the repr, which a traceback may ask for before there is more

    def __init__(
        self,
        path: str | os.PathLike[str],
        unit: NonceUnit = "ms",
        *,
        lock_timeout: float = LOCK_TIMEOUT,
        _runtime: Runtime = SYSTEM,
    ) -> None:
        self._fd: int | None = None
        check_store_arguments(
            path=_path_fault(path), unit=_unit_fault(unit), lock_timeout=check_lock_timeout(lock_timeout)
        )
        self.unit = unit
        # Now: the process may change its folder.
        self._place = os.path.abspath(path)  # noqa: PTH100  # resolve() would follow symbolic links
        self._path = Path(self._place)
        self._head = _MAGIC + unit.encode().ljust(_HEAD_BYTES - len(_MAGIC), b"\0")
        self._timeout = lock_timeout
        self._runtime = _runtime
        self._counter = _Counter(unit, _runtime)
        self._mutex = threading.Lock()
        self._identity = (0, 0)
        _SOURCES.add(self)

    async def next_nonce(self) -> int:
        """Return the next nonce.

        Raises:
            StoreError: The file cannot be used, is damaged, or holds nonces of another unit.
            StoreLockTimeoutError: Its lock could not be had in time.
            NonceAheadError: 64 bits are used up.
        """
        nonce = self._attempt()
        return await self._wait() if nonce is None else nonce

    def close(self) -> None:
        """Let go of the file. The next nonce opens it again."""
        with self._mutex:
            self._let_go()

    async def _wait(self) -> int:
        # Not a blocking lock: a holder that is stopped would stop this event loop, too.
        deadline = self._runtime.monotonic() + self._timeout
        delay = _FIRST_DELAY
        while (nonce := self._attempt()) is None:
            left = deadline - self._runtime.monotonic()
            if left <= 0:
                raise StoreLockTimeoutError(
                    f"{self._path} is locked by another process, and was so for {self._timeout:g} s: if that is "
                    "stopped, let it go on or end"
                )
            await self._runtime.sleep(min(left, delay * (1 + self._runtime.random()) / 2))
            delay = min(delay * 2, _LONGEST_DELAY)
        return nonce

    def _attempt(self) -> int | None:
        """Return the next nonce, or `None` if others have the lock, or have put another file in this one's place."""
        try:
            with self._mutex:
                return self._attempt_alone()
        except OSError:
            with told(self._path, "used"):
                raise

    def _attempt_alone(self) -> int | None:
        if self._fd is None:
            self._fd = self._open()
        fd = self._fd
        for _ in range(_TRIES):
            if lock(fd):
                break
        else:
            return None
        try:
            if self._is_there():
                return self._advance(fd)
        finally:
            unlock(fd)
        self._let_go()
        return None

    def _open(self) -> int:
        make_folder(self._path.parent)
        with open_folder(self._path.parent) as folder:
            fd = os.open(folder.entry(self._path.name), os.O_RDWR | os.O_CREAT | OPEN_FLAGS, 0o600, dir_fd=folder.fd)
            try:
                check_file(fd, self._path)
                sync_folder(folder.fd)
                found = os.fstat(fd)
            except BaseException:
                os.close(fd)
                raise
        self._identity = (found.st_dev, found.st_ino)
        return fd

    def _is_there(self) -> bool:
        try:
            found = os.lstat(self._place)
        except FileNotFoundError:
            return False
        return self._identity == (found.st_dev, found.st_ino)

    def _advance(self, fd: int) -> int:
        record = _read(fd)
        if not record:
            nonce = self._counter.above(0)
            _write(fd, self._head + _NONCE.pack(nonce), 0)
            os.fsync(fd)
            return nonce
        if len(record) != _RECORD_BYTES or not record.startswith(_MAGIC):
            raise StoreError(
                f"{self._path} holds no nonces, or is damaged: name another file, or delete this one, and the "
                "nonces go on from the clock"
            )
        if not record.startswith(self._head):
            stored = record[len(_MAGIC) : _HEAD_BYTES].rstrip(b"\0").decode("ascii", "replace")
            raise _unit_mismatch(str(self._path), stored, self.unit)
        nonce = self._counter.above(_NONCE.unpack_from(record, _HEAD_BYTES)[0])
        _write(fd, _NONCE.pack(nonce), _HEAD_BYTES)
        return nonce

    def _let_go(self) -> None:
        fd, self._fd = self._fd, None
        if fd is not None:
            with contextlib.suppress(OSError):
                os.close(fd)

    def _after_fork(self) -> None:
        # The kernel's lock belongs to the open file, which parent and child would share.
        self._mutex = threading.Lock()
        self._let_go()

    def __repr__(self) -> str:
        return f"FileNonceSource({self._place!r}, unit={self.unit!r})"

    def __del__(self) -> None:
        self._let_go()


class RedisNonceSource:
    """Nonces for programs on many machines that share a Redis. It needs the extra `redis`.

    Each nonce is one script, which Redis runs whole. By the clock of who asks: one whose clock is ahead takes the
    others along. If Redis forgets, the nonces go on from the clock. They end at 2**63 - 1, as Redis's numbers do.

    The client is not closed; it belongs to one event loop, and so does the source.

    Args:
        redis: A `redis.asyncio.Redis`, however it decodes responses.
        key_name: Which key the nonces are for, 1 to 256 characters, such as its `api_key_name`; if one database has
            several accounts, let the account be part of it. In Redis, its SHA-256 is part of the key.
        unit: What the nonces count. All that ever use the key must count the same.

    Attributes:
        unit: As given.

    Raises:
        InvalidRequestError: An argument is wrong.
        ModuleNotFoundError: The extra is not installed.
    """

    unit: NonceUnit = "ms"
    _name: str = ""  # for the repr, which a traceback may ask for before there is more

    def __init__(self, redis: Redis, key_name: str, unit: NonceUnit = "ms", *, _runtime: Runtime = SYSTEM) -> None:
        check_store_arguments(redis=redis_fault(redis), key_name=check_name(key_name), unit=_unit_fault(unit))
        self.unit = unit
        self._redis: Any = redis  # some versions of it have no types here
        self._name = key_name
        self._key = f"kraken-fastkey:nonce:{hashlib.sha256(key_name.encode('utf-8', 'surrogatepass')).hexdigest()}"
        self._counter = _Counter(unit, _runtime)
        self._turn = asyncio.Lock()  # each command under way takes a connection, and a client has not many

    async def next_nonce(self) -> int:
        """Return the next nonce.

        Raises:
            StoreError: Redis failed, did not answer within 5 s, or holds nonces of another unit.
        """
        place = f"the nonce of {self._name!r} in Redis"
        async with self._turn:
            unit, nonce, fault = await self._run(self.unit.encode(), b"%d" % self._counter.ticks())
        if fault is not None:
            raise StoreError(f"{place} cannot be had: {fault}")
        if unit != self.unit.encode():
            raise _unit_mismatch(place, unit.decode("ascii", "replace"), self.unit)
        if not _DIGITS.fullmatch(nonce):
            raise StoreError(f"{place} is no number: delete the key {self._key}, and the nonces go on from the clock")
        return int(nonce)

    async def _run(self, *arguments: bytes) -> tuple[bytes, bytes, str | None]:
        try:
            async with asyncio.timeout(_COMMAND_TIMEOUT):
                # Bytes go and come as they are, whatever the client's `encoding` and `decode_responses`.
                reply = await self._redis.execute_command(
                    b"EVAL", _NEXT, b"1", self._key.encode(), *arguments, NEVER_DECODE=True
                )
        except Exception as error:  # noqa: BLE001  # the client may have parts that are not Redis's own
            return b"", b"", to_fault(error, self._key)
        return reply[0], b"".join(reply[1:]), None

    def __repr__(self) -> str:
        return f"RedisNonceSource(key_name={self._name!r}, unit={self.unit!r})"


def _unit_mismatch(place: str, stored: str, unit: NonceUnit) -> StoreError:
    return StoreError(
        f"{place} counts {_NAMES.get(stored, repr(stored))} ({stored!r}), and unit={unit!r} was asked for: give it "
        f"unit={stored!r}, or use another place and another key, since the two would not mix"
    )


def _path_fault(path: object) -> str | None:
    if not isinstance(path, (str, os.PathLike)) or not isinstance(os.fspath(path), str):
        return f"must be a path, not {type(path).__name__}"
    return None if os.fspath(path) and "\0" not in os.fspath(path) else "must name a file"


if hasattr(os, "pread"):

    def _read(fd: int) -> bytes:
        return os.pread(fd, _RECORD_BYTES + 1, 0)

    def _write_at(fd: int, content: bytes, offset: int) -> int:
        return os.pwrite(fd, content, offset)

else:  # pragma: no cover  # Windows, where the lock is of the byte at the present position

    def _read(fd: int) -> bytes:
        os.lseek(fd, 0, os.SEEK_SET)
        try:
            return os.read(fd, _RECORD_BYTES + 1)
        finally:
            os.lseek(fd, 0, os.SEEK_SET)

    def _write_at(fd: int, content: bytes, offset: int) -> int:
        os.lseek(fd, offset, os.SEEK_SET)
        try:
            return os.write(fd, content)
        finally:
            os.lseek(fd, 0, os.SEEK_SET)


def _write(fd: int, content: bytes, offset: int) -> None:
    if _write_at(fd, content, offset) != len(content):
        raise OSError(None, "it was written in part")


_SOURCES: Final[WeakSet[MemoryNonceSource | FileNonceSource]] = WeakSet()


def _after_fork() -> None:
    for source in _SOURCES:
        source._after_fork()  # noqa: SLF001  # of this module


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
