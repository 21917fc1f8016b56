"""The nonce sources: rising, of one unit, private, and clear about what is wrong. `test_nonces_processes` has more."""

from __future__ import annotations

import asyncio
import gc
import os
import pickle
import sys
import threading
from collections.abc import AsyncIterator, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any, cast

import pytest
from hypothesis import given, strategies as st
from support import FakeTime, everything_shown, missing

from kraken_fastkey import (
    FastKeyError,
    InvalidRequestError,
    KeyInfo,
    NonceAheadError,
    NonceUnit,
    StoreError,
    StoreLockTimeoutError,
    _nonces,
)
from kraken_fastkey._nonces import (
    MAX_NONCE,
    FileNonceSource,
    MemoryNonceSource,
    NonceSource,
    RedisNonceSource,
    check_nonces,
    nonce_window_for,
)

sys.path.insert(0, str(Path(__file__).parent / "stores"))
from redis_kit import Failing, RedisServer, client, redis_server

NOW = 1_800_000_000.0
TICKS = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}
UNITS = cast("list[NonceUnit]", list(TICKS))


class Counting:
    """A source of somebody else's, which says nothing of a unit."""

    def __init__(self, nonce: int) -> None:
        self.nonce = nonce

    async def next_nonce(self) -> int:
        """Return the next nonce."""
        self.nonce += 1
        return self.nonce


@pytest.fixture(name="server", scope="module")
def _server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    with redis_server(tmp_path_factory.mktemp("redis")) as server:
        if server is None:
            missing("redis-server")
        yield server


@pytest.fixture(name="redis", params=[False, True], ids=["bytes", "decoded"])
async def _redis(server: RedisServer, request: pytest.FixtureRequest) -> AsyncIterator[Any]:
    async with client(server.port, decode_responses=request.param) as redis:
        await redis.flushall()
        yield redis


@pytest.fixture(name="make", params=["memory", "file", "redis"])
def _make(request: pytest.FixtureRequest, tmp_path: Path, fake_time: FakeTime) -> Any:
    """Return what makes sources that share one store, where there is one."""
    redis: Any = request.getfixturevalue("redis_plain") if request.param == "redis" else None

    def make(unit: NonceUnit = "ms") -> NonceSource:
        match request.param:
            case "memory":
                return MemoryNonceSource(unit, _runtime=fake_time.runtime)
            case "file":
                return FileNonceSource(tmp_path / "nonce", unit, _runtime=fake_time.runtime)
            case _:
                return RedisNonceSource(redis, "grid-bot", unit, _runtime=fake_time.runtime)

    return make


@pytest.fixture(name="redis_plain")
async def _redis_plain(server: RedisServer) -> AsyncIterator[Any]:
    async with client(server.port) as redis:
        await redis.flushall()
        yield redis


@pytest.mark.parametrize("unit", UNITS)
async def test_nonces_count_what_they_say(make: Any, unit: NonceUnit) -> None:
    """The first nonce is the present in the source's unit, to the last digit that the clock has; then one more."""
    source = make(unit)
    assert unit == source.unit
    assert isinstance(source, NonceSource)
    assert [int(NOW) * TICKS[unit] + i for i in range(3)] == [await source.next_nonce() for _ in range(3)]


async def test_nonces_rise_whatever_the_clock_does(make: Any, fake_time: FakeTime) -> None:
    """A clock that stands still, jumps ahead or back, or is before 1970, never lowers them."""
    source = make("ms")
    nonces = []
    for now in (NOW, NOW, NOW + 10, NOW - 3600, NOW - 3600, 0.0, -1.0, NOW + 20):
        fake_time.now = now
        nonces.append(await source.next_nonce())
    assert sorted(set(nonces)) == nonces
    assert int((NOW + 10) * 1000) == nonces[2]
    assert nonces[2] + 4 == nonces[-2]
    assert int((NOW + 20) * 1000) == nonces[-1]


async def test_a_clock_before_its_time_gives_a_nonce_all_the_same(make: Any, fake_time: FakeTime) -> None:
    """No nonce is 0 or less."""
    fake_time.now = -5.0
    source = make()
    assert [1, 2] == [await source.next_nonce(), await source.next_nonce()]


async def test_many_tasks_get_no_nonce_twice(make: Any) -> None:
    """100 tasks that ask at once get 1,000 nonces in a row."""
    source = make("us")

    async def take() -> list[int]:
        return [await source.next_nonce() for _ in range(10)]

    taken = await asyncio.gather(*(take() for _ in range(100)))
    assert [int(NOW * 10**6) + i for i in range(1000)] == sorted(nonce for run in taken for nonce in run)
    assert all(sorted(run) == run for run in taken)


@pytest.mark.parametrize("kind", ["file", "redis"])
async def test_a_restart_goes_on(kind: str, tmp_path: Path, redis_plain: Any, fake_time: FakeTime) -> None:
    """A new source on the same store goes on above the last nonce, with a clock that was set back, too."""

    def make() -> NonceSource:
        if kind == "file":
            return FileNonceSource(tmp_path / "new" / "nonce", _runtime=fake_time.runtime)
        return RedisNonceSource(redis_plain, "grid-bot", _runtime=fake_time.runtime)

    last = await make().next_nonce()
    fake_time.now -= 86_400
    assert last + 1 == await make().next_nonce()


@pytest.mark.parametrize("kind", ["file", "redis"])
async def test_another_unit_is_refused(kind: str, tmp_path: Path, redis: Any) -> None:
    """A store that counts one unit gives none of another, says both, and is as it was."""

    def make(unit: NonceUnit) -> NonceSource:
        return FileNonceSource(tmp_path / "nonce", unit) if kind == "file" else RedisNonceSource(redis, "bot", unit)

    last = await make("ms").next_nonce()
    with pytest.raises(StoreError) as caught:
        await make("ns").next_nonce()
    assert "counts milliseconds ('ms')" in str(caught.value)
    assert "unit='ns' was asked for" in str(caught.value)
    again = await make("ms").next_nonce()
    assert last < again < last + 60_000


@pytest.mark.parametrize("unit", ["", "MS", "m", None, 1000])
async def test_a_unit_is_one_of_four(unit: Any, tmp_path: Path, redis: Any) -> None:
    """What is no unit is refused, and no file is made."""
    for make in (
        lambda: MemoryNonceSource(unit),
        lambda: FileNonceSource(tmp_path / "nonce", unit),
        lambda: RedisNonceSource(redis, "bot", unit),
        lambda: nonce_window_for(timedelta(seconds=1), unit),
    ):
        with pytest.raises(InvalidRequestError, match="unit: must be 's', 'ms', 'us' or 'ns'"):
            cast("Any", make)()
    assert [] == os.listdir(tmp_path)  # noqa: PTH208  # pathlib blocks, too


@pytest.mark.parametrize(("path", "timeout"), [(b"nonce", 1), ("", 1), ("a\0b", 1), (3, 1), ("nonce", -1)])
def test_a_files_arguments_are_checked(path: Any, timeout: Any) -> None:
    """A path is one, and a timeout is seconds."""
    with pytest.raises(InvalidRequestError):
        FileNonceSource(path, lock_timeout=timeout)


async def test_the_file_is_private(tmp_path: Path) -> None:
    """File and folder are made for the owner alone."""
    source = FileNonceSource(tmp_path / "new" / "deep" / "nonce")
    await source.next_nonce()
    assert [0o700, 0o700, 0o600] == [
        path.stat().st_mode & 0o777
        for path in (tmp_path / "new", tmp_path / "new" / "deep", tmp_path / "new" / "deep" / "nonce")
    ]
    assert f"FileNonceSource('{tmp_path}/new/deep/nonce', unit='ms')" == repr(source)


def test_a_file_that_others_may_write_is_refused(tmp_path: Path) -> None:
    """So is a folder of that kind, and what to do is said."""
    path = tmp_path / "nonce"
    source = FileNonceSource(path)
    asyncio.run(source.next_nonce())
    source.close()
    path.chmod(0o660)
    with pytest.raises(StoreError, match="chmod 600"):
        asyncio.run(source.next_nonce())
    path.chmod(0o600)
    tmp_path.chmod(0o755)
    with pytest.raises(StoreError, match="chmod 700"):
        asyncio.run(source.next_nonce())
    tmp_path.chmod(0o700)
    assert asyncio.run(source.next_nonce())


async def test_a_symbolic_link_is_refused(tmp_path: Path) -> None:
    """A link in the file's place is not followed, whether it leads anywhere or not."""
    target = tmp_path / "elsewhere"
    (tmp_path / "nonce").symlink_to(target)
    with pytest.raises(StoreError, match="symbolic link"):
        await FileNonceSource(tmp_path / "nonce").next_nonce()
    assert not target.exists()


async def test_a_pipe_or_a_folder_is_refused(tmp_path: Path) -> None:
    """What is no plain file is refused at once, and nothing waits for a writer."""
    os.mkfifo(tmp_path / "pipe", 0o600)
    (tmp_path / "folder").mkdir(0o700)
    for name in ("pipe", "folder"):
        with pytest.raises(StoreError):
            await FileNonceSource(tmp_path / name).next_nonce()


@pytest.mark.parametrize(
    "content", [b"\0" * 24, b"KFNONCE1ms", b"KFNONCE1ms\0\0\0\0\0\0" + b"\0" * 9, b"{}", b"x" * 10_000]
)
async def test_a_damaged_file_is_told(tmp_path: Path, content: bytes) -> None:
    """What is no such file is not overwritten, and its content is not shown."""
    path = tmp_path / "nonce"
    path.touch(0o600)
    path.write_bytes(content)
    with pytest.raises(StoreError, match="holds no nonces, or is damaged") as caught:
        await FileNonceSource(path).next_nonce()
    assert content == path.read_bytes()
    assert "xxxx" not in str(caught.value)


async def test_an_unknown_unit_of_a_later_version_is_told(tmp_path: Path) -> None:
    """A unit that this version does not know is named as it is."""
    path = tmp_path / "nonce"
    path.touch(0o600)
    path.write_bytes(b"KFNONCE1ps".ljust(24, b"\0"))
    with pytest.raises(StoreError, match="'ps'"):
        await FileNonceSource(path).next_nonce()


async def test_an_empty_file_is_a_new_one(tmp_path: Path, fake_time: FakeTime) -> None:
    """A process that died between making the file and writing it did no harm."""
    path = tmp_path / "nonce"
    path.touch(0o600)
    assert int(NOW * 1000) == await FileNonceSource(path, _runtime=fake_time.runtime).next_nonce()


async def test_a_file_that_was_moved_away_is_noticed(tmp_path: Path, fake_time: FakeTime) -> None:
    """Two sources that have the file open go on together in the new one, and no nonce falls."""
    path = tmp_path / "nonce"
    first, second = (FileNonceSource(path, _runtime=fake_time.runtime) for _ in range(2))
    nonces = [await first.next_nonce(), await second.next_nonce()]
    path.rename(tmp_path / "old")
    nonces += [await second.next_nonce(), await first.next_nonce(), await second.next_nonce()]
    path.unlink()
    nonces += [await second.next_nonce(), await first.next_nonce()]
    assert sorted(set(nonces)) == nonces


async def test_the_folder_may_be_changed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A relative path means the folder that the program was in when it made the source."""
    monkeypatch.chdir(tmp_path)
    source = FileNonceSource("nonce")
    (tmp_path / "other").mkdir(0o700)
    monkeypatch.chdir(tmp_path / "other")
    await source.next_nonce()
    assert (tmp_path / "nonce").exists()


async def test_a_holder_that_stands_still_stops_nobody_for_ever(tmp_path: Path, fake_time: FakeTime) -> None:
    """Who cannot get the lock waits without holding up its event loop, and in the end takes no nonce."""
    fcntl = pytest.importorskip("fcntl")
    path = tmp_path / "nonce"
    source = FileNonceSource(path, lock_timeout=2.0, _runtime=fake_time.runtime)
    before = await source.next_nonce()
    held = os.open(path, os.O_RDWR)
    fcntl.flock(held, fcntl.LOCK_EX)
    with pytest.raises(StoreLockTimeoutError, match="locked by another process, and was so for 2 s"):
        await source.next_nonce()
    assert 2.0 == pytest.approx(sum(fake_time.sleeps), abs=0.001)
    assert max(fake_time.sleeps) <= 0.005

    async def let_go() -> None:
        fcntl.flock(held, fcntl.LOCK_UN)

    fake_time.on_sleep = let_go
    assert before < await source.next_nonce()
    os.close(held)


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="where open files can be listed")
async def test_the_file_goes_with_the_source(tmp_path: Path) -> None:
    """Dropped or closed, a source leaves no file open; closed, it may be used again."""

    def links() -> int:
        files = [f"/proc/self/fd/{fd}" for fd in os.listdir("/proc/self/fd")]  # noqa: PTH208  # pathlib blocks, too
        return sum(os.path.realpath(file) == str(tmp_path / "nonce") for file in files)

    source = FileNonceSource(tmp_path / "nonce")
    first = await source.next_nonce()
    assert 1 == links()
    source.close()
    source.close()
    assert 0 == links()
    assert first < await source.next_nonce()
    assert 1 == links()
    del source
    gc.collect()
    assert 0 == links()


async def test_a_full_disk_gives_no_nonce(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A nonce that could not be written, or only in part, is not given to anybody."""
    source = FileNonceSource(tmp_path / "nonce")
    first = await source.next_nonce()
    monkeypatch.setattr("kraken_fastkey._nonces._write_at", lambda *_: 3)
    with pytest.raises(StoreError, match="cannot be used"):
        await source.next_nonce()
    monkeypatch.undo()
    assert first < await source.next_nonce()


def test_threads_get_no_nonce_twice(tmp_path: Path) -> None:
    """Threads with loops of their own share one source."""
    for source in (MemoryNonceSource(), FileNonceSource(tmp_path / "nonce")):
        taken: list[int] = []

        async def take(source: NonceSource = source, taken: list[int] = taken) -> None:
            for _ in range(500):
                taken.append(await source.next_nonce())  # noqa: PERF401  # another thread's come in between

        threads = [threading.Thread(target=lambda take=take: asyncio.run(take())) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert 2000 == len(set(taken))


async def test_what_a_fork_does_to_sources(tmp_path: Path) -> None:
    """A source in memory gives no more nonces in the child, and one of a file opens it anew."""
    memory, file = MemoryNonceSource("us"), FileNonceSource(tmp_path / "nonce")
    before = await file.next_nonce()
    _nonces._after_fork()
    with pytest.raises(FastKeyError, match="use FileNonceSource"):
        await memory.next_nonce()
    assert "MemoryNonceSource(unit='us')" == repr(memory)
    assert before < await file.next_nonce()


async def test_a_folder_that_goes_away_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the system says of the file comes as a StoreError."""
    source = FileNonceSource(tmp_path / "new" / "nonce")
    monkeypatch.setattr("kraken_fastkey._nonces.make_folder", lambda _: None)
    with pytest.raises(StoreError, match="cannot be used") as caught:
        await source.next_nonce()
    assert caught.value.__cause__ is None

    def fail(_: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.undo()
    monkeypatch.setattr("kraken_fastkey._nonces.sync_folder", fail)
    with pytest.raises(StoreError, match="Operation not permitted"):
        await source.next_nonce()
    monkeypatch.undo()
    assert await source.next_nonce()


async def test_64_bits_are_the_end(tmp_path: Path, fake_time: FakeTime) -> None:
    """After 2**64 - 1 there is no nonce, and no number starts again from below."""
    path = tmp_path / "nonce"
    source = FileNonceSource(path, "ns", _runtime=fake_time.runtime)
    await source.next_nonce()
    record = path.read_bytes()
    path.write_bytes(record[:16] + (MAX_NONCE - 1).to_bytes(8, "big"))
    assert MAX_NONCE == await source.next_nonce()
    for _ in range(2):
        with pytest.raises(NonceAheadError, match="make a new key"):
            await source.next_nonce()
    assert MAX_NONCE.to_bytes(8, "big") == path.read_bytes()[16:]


async def test_redis_keeps_each_digit(redis: Any, fake_time: FakeTime) -> None:
    """Nanoseconds have more digits than a float, and none is lost, up to the last number that Redis has."""
    fake_time.now = NOW + 0.123456789
    source = RedisNonceSource(redis, "bot", "ns", _runtime=fake_time.runtime)
    first = await source.next_nonce()
    assert int(fake_time.now * 10**9) == first
    assert first + 1 == await source.next_nonce()
    (key,) = await redis.keys("*")
    await redis.hset(key, "nonce", 2**63 - 2)
    assert 2**63 - 1 == await source.next_nonce()
    with pytest.raises(StoreError, match="cannot be had: Redis failed"):
        await source.next_nonce()


async def test_redis_keeps_names_apart(redis: Any, fake_time: FakeTime) -> None:
    """Each key has nonces of its own, and its name is not in Redis."""
    sources = [RedisNonceSource(redis, name, _runtime=fake_time.runtime) for name in ("bot", "bot ", "\ud800")]
    assert [int(NOW * 1000)] * 3 == [await source.next_nonce() for source in sources]
    assert not [key for key in await redis.keys("*") if "bot" in str(key)]
    assert "RedisNonceSource(key_name='bot', unit='ms')" == repr(sources[0])


async def test_redis_with_something_else_there(redis: Any) -> None:
    """A key of another kind, or no number in it, is told, and left alone."""
    source = RedisNonceSource(redis, "bot")
    await source.next_nonce()
    (key,) = await redis.keys("*")
    await redis.hset(key, "nonce", -5)
    with pytest.raises(StoreError, match="is no number"):
        # It is above -5 that the next one lies, so the clock's is taken: told only where the clock is no way out.
        await RedisNonceSource(redis, "bot", _runtime=FakeTime(-1.0).runtime).next_nonce()
    await redis.hset(key, "nonce", "x")
    with pytest.raises(StoreError, match="Redis failed"):
        await source.next_nonce()
    await redis.delete(key)
    await redis.set(key, "x")
    with pytest.raises(StoreError, match="something else is there"):
        await source.next_nonce()


async def test_redis_that_fails(server: RedisServer) -> None:
    """The client's exception hangs on nothing, and the next nonce is none the worse."""
    async with client(server.port, Failing) as redis:
        await redis.flushall()
        source = RedisNonceSource(redis, "bot")
        first = await source.next_nonce()
        redis.failing = True
        with pytest.raises(StoreError, match="Redis failed") as caught:
            await source.next_nonce()
        assert caught.value.__cause__ is None
        assert caught.value.__context__ is None
        assert "MISCONF" not in everything_shown(caught.value)
        redis.failing = False
        assert first < await source.next_nonce()


@pytest.mark.parametrize(("redis", "name"), [("redis://", "bot"), (None, "")], indirect=False)
def test_redis_arguments_are_checked(redis: Any, name: str) -> None:
    """A client is one, and a name has characters."""
    with pytest.raises(InvalidRequestError):
        RedisNonceSource(redis, name)


@pytest.mark.parametrize(
    ("window", "unit", "ticks"),
    [
        (timedelta(seconds=10), "ms", 10_000),
        (timedelta(seconds=10), "us", 10**7),
        (timedelta(seconds=10), "ns", 10**10),
        (timedelta(seconds=10), "s", 10),
        (timedelta(0), "ns", 0),
        (timedelta(milliseconds=1), "s", 1),
        (timedelta(microseconds=1500), "ms", 2),
    ],
)
def test_a_window_in_ticks(window: timedelta, unit: NonceUnit, ticks: int) -> None:
    """A window is told in whole ticks of the unit, rounded up."""
    assert ticks == nonce_window_for(window, unit)


@pytest.mark.parametrize("window", [10, None, timedelta(microseconds=-1), timedelta.max])
def test_what_is_no_window(window: Any) -> None:
    """A window is a timedelta, not negative, of no more ticks than 64 bits tell."""
    with pytest.raises(InvalidRequestError, match="window"):
        nonce_window_for(window, "ns")


@pytest.mark.parametrize(
    ("unit", "stored", "guess", "advice"),
    [
        ("ms", int(NOW * 10**9), "ns", "It seems to count nanoseconds: use a source with unit='ns'"),
        ("ms", int(NOW * 10**6) + 77, "us", "It seems to count microseconds: use a source with unit='us'"),
        ("s", int(NOW * 10**3), "ms", "It seems to count milliseconds: use a source with unit='ms'"),
        ("ms", int(NOW * 10**8), None, "It seems to count 10**8 ticks a second, as another program does"),
        ("ms", MAX_NONCE // 2, None, "It is no time in any unit: make a new key"),
        ("ms", int((NOW + 90) * 10**3), "ms", "It seems to count milliseconds, too, and is 90.000 s ahead"),
    ],
)
async def test_a_key_that_is_ahead_is_told(
    fake_time: FakeTime, unit: NonceUnit, stored: int, guess: str | None, advice: str
) -> None:
    """Both numbers, the unit that the higher one seems to count, and what to do."""
    source = MemoryNonceSource(unit, _runtime=fake_time.runtime)
    info = KeyInfo(api_key_name="grid-bot", nonce=stored)
    with pytest.raises(NonceAheadError) as caught:
        await check_nonces(info, source, _runtime=fake_time.runtime)
    error = caught.value
    assert (stored, int(NOW * TICKS[unit]), unit, guess) == (error.stored, error.offered, error.unit, error.guess)
    assert f"has seen the nonce {stored}, and refuses {error.offered}" in str(error)
    assert advice in str(error)
    assert "make a new key" in str(error)
    assert "not_sent" == error.outcome
    assert isinstance(error, FastKeyError)
    copy = pickle.loads(pickle.dumps(error))  # noqa: S301  # our own
    assert (str(error), error.stored, error.guess) == (str(copy), copy.stored, copy.guess)


async def test_a_source_of_ones_own_needs_no_unit(fake_time: FakeTime) -> None:
    """What the source counts is left out where it does not say."""
    info = KeyInfo(api_key_name="grid-bot", nonce=int(NOW * 1000))
    with pytest.raises(NonceAheadError, match="refuses 6 of this source. It seems to count milliseconds") as caught:
        await check_nonces(info, Counting(5), _runtime=fake_time.runtime)
    assert caught.value.unit is None


@pytest.mark.parametrize(
    ("behind", "window", "passes"),
    [(-1, None, True), (0, None, False), (1, 0, False), (1, 1, False), (1, 2, True), (999, 1000, True), (0, 9, False)],
)
async def test_a_window_lets_a_nonce_pass(
    fake_time: FakeTime, behind: int, window: int | None, *, passes: bool
) -> None:
    """Within the key's nonce_window a nonce may lie behind the highest; it is not the highest itself."""
    offered = int(NOW * 1000)
    info = KeyInfo(api_key_name="grid-bot", nonce=offered + behind, nonce_window=window)
    source = MemoryNonceSource(_runtime=fake_time.runtime)
    if passes:
        await check_nonces(info, source, _runtime=fake_time.runtime)
    else:
        with pytest.raises(NonceAheadError):
            await check_nonces(info, source, _runtime=fake_time.runtime)


async def test_a_key_that_tells_no_nonce_is_no_matter() -> None:
    """Kraken need not tell it."""
    await check_nonces(KeyInfo(api_key_name="grid-bot"), MemoryNonceSource())


@given(st.lists(st.floats(0, 4e9), min_size=1, max_size=50), st.sampled_from(UNITS))
def test_no_clock_lowers_a_nonce(times: list[float], unit: NonceUnit) -> None:
    """Whatever the clock says, each nonce is above the last, and not below the clock."""
    clock = FakeTime()
    source = MemoryNonceSource(unit, _runtime=clock.runtime)
    last = 0
    for now in times:
        clock.now = now
        nonce = asyncio.run(source.next_nonce())
        assert max(last + 1, int(now * TICKS[unit])) == max(nonce, 1)
        last = nonce
