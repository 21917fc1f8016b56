"""One soak of one client, in virtual time: hours of hangs, lags and waits take seconds."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import time
import traceback
import warnings
from collections.abc import Awaitable, Callable, Iterator
from typing import Final, Literal, TypeVar

import attrs
from virtual_time import VirtualTimeLoop, hurrying, run_virtually

from kraken_fastkey import CreateKeyRequest, FastKeyClient, StaticTokenProvider
from kraken_fastkey.sandbox import KrakenSandbox, SandboxKey
from soak.books import Balance, Books, Record, Shown, is_as_told
from soak.schedule import FOREIGN_NAMES, SHARED_FLAGS, Cancellation, Change, Life, Schedule
from soak.subjects import BrokenStoreError, Failure, Given, Make, Subject, Tokens, permissions_of
from soak.weather import LAG, LATE, Weather

__all__ = ["Ending", "Report", "soak"]

_T = TypeVar("_T")

Ending = Literal["settled", "at once", "amid"]
"""When the client is closed: after its background work, when the last call has ended, or while calls are under way."""

_SETTLING: Final = 300.0
_LONGEST_SETTLING: Final = 2400.0  # the client watches for half an hour
_DELETIONS: Final = 3
_TOLD_PROBLEMS: Final = 20


@attrs.frozen(kw_only=True)
class Report:
    """What came of one soak."""

    name: str
    seed: int
    ending: Ending
    books: Books
    balance: Balance
    requests: int
    faulted: int
    faults: dict[str, int]
    histories: dict[str, list[str]]
    virtual_seconds: float
    real_seconds: float
    problems: tuple[str, ...]

    @property
    def is_clean(self) -> bool:
        """Whether the books balance, and nothing is left unexplained."""
        return self.balance.is_clean and not self.problems


class WalkedAwayError(Exception):
    """The caller went away, of its own will."""


def soak(
    make: Make,
    schedule: Schedule,
    *,
    seed: int,
    share: float = 0.3,
    ending: Ending = "settled",
    tamper: Callable[[KrakenSandbox, Books], Awaitable[object]] | None = None,
) -> Report:
    """Put a client through a schedule, and balance the books.

    Args:
        make: Makes the client.
        schedule: What is asked of it.
        seed: Deals out the faults.
        share: How many of the requests meet one, 0 to 1.
        ending: When the client is closed.
        tamper: Called before the books are balanced, to see whether they would notice.
    """
    shown = Shown()
    started = time.perf_counter()
    with hurrying(), _watching(shown) as problems:
        soaking = run_virtually(lambda loop: _Soak(loop, make, schedule, seed, share, ending, shown, tamper).run())
        gc.collect()
    return attrs.evolve(
        soaking, real_seconds=time.perf_counter() - started, problems=(*soaking.problems, *problems)[:_TOLD_PROBLEMS]
    )


@contextlib.contextmanager
def _watching(shown: Shown) -> Iterator[list[str]]:
    """Collect what is logged, at every level, and what Python warns of."""
    problems: list[str] = []
    handler = _Collector(shown)
    logger = logging.getLogger()
    level = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.DEBUG)
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            yield problems
        problems += [f"{warning.category.__name__}: {warning.message}" for warning in caught]
    finally:
        logger.removeHandler(handler)
        logger.setLevel(level)


class _Collector(logging.Handler):
    def __init__(self, shown: Shown) -> None:
        super().__init__()
        self._shown = shown

    def emit(self, record: logging.LogRecord) -> None:
        self._shown.add(record.getMessage())
        if record.exc_info:
            self._shown.add("".join(traceback.format_exception(*record.exc_info)))


class _Soak:
    def __init__(
        self,
        loop: VirtualTimeLoop,
        make: Make,
        schedule: Schedule,
        seed: int,
        share: float,
        ending: Ending,
        shown: Shown,
        tamper: Callable[[KrakenSandbox, Books], Awaitable[object]] | None,
    ) -> None:
        self._loop = loop
        self._make = make
        self._schedule = schedule
        self._seed = seed
        self._ending = ending
        self._shown = shown
        self._tamper = tamper
        self._books = Books()
        # One server's clock is ahead, another's is behind.
        skew = (0.0, 300.0, -7200.0)[seed % 3]
        self._sandbox = KrakenSandbox(clock=loop.wall_clock, seed=seed, max_keys=1_000_000, clock_skew=skew)
        self._weather = Weather(self._sandbox, seed, share)
        self._is_over = False

    async def run(self) -> Report:
        """Soak it."""
        self._loop.set_exception_handler(lambda _, context: self._note(f"the event loop: {context['message']}"))
        async with self._sandbox:
            await self._make_foreign_keys()
            self._sandbox.requests.clear()
            subject = self._make(self._sandbox, self._loop, self._seed)
            self._weather.start()
            workers = [asyncio.create_task(self._caller(subject).live(lives)) for lives in self._schedule.tasks]
            await self._end(subject, workers)
            await self._check_nothing_left()
            unsettled = subject.unsettled
            if self._tamper is not None:
                await self._tamper(self._sandbox, self._books)
            balance = self._books.balance(self._sandbox.keys(), unsettled)
            self._check_secrets(subject.tokens)
        tally = self._weather.tally
        return Report(
            name=subject.name,
            seed=self._seed,
            ending=self._ending,
            books=self._books,
            balance=balance,
            requests=tally.requests.total(),
            faulted=tally.faults.total(),
            faults=dict(tally.faults.most_common()),
            histories={name: tally.histories[name] for name in (*balance.orphans, *balance.lost)},
            virtual_seconds=self._loop.time(),
            real_seconds=0.0,
            problems=tuple(self._books.problems if subject.is_strict else ()),
        )

    def _caller(self, subject: Subject) -> _Caller:
        frees_names = self._schedule.frees_names
        return _Caller(subject, self._sandbox, self._books, self._note, self._shown, frees_names=frees_names)

    def _note(self, problem: str) -> None:
        self._books.problems.append(problem)

    async def _make_foreign_keys(self) -> None:
        """Let somebody else have keys in the account, whose names our callers choose, too."""
        provider = StaticTokenProvider(self._sandbox.issue_token())
        async with FastKeyClient(provider, base_url=self._sandbox.base_url) as client:
            for name in FOREIGN_NAMES:
                key = await client.create_key(CreateKeyRequest(name, permissions=permissions_of(SHARED_FLAGS)))
                self._books.hold(-1, name, key.api_key, key.secret.get_secret_value(), SHARED_FLAGS)
        await asyncio.sleep(LAG)

    async def _end(self, subject: Subject, workers: list[asyncio.Task[None]]) -> None:
        everything = asyncio.gather(*workers)
        if self._ending == "amid":
            lives = sum(map(len, self._schedule.tasks))
            while self._books.asked < lives // 2 and not everything.done():  # noqa: ASYNC110  # an hour takes no time
                await asyncio.sleep(1)
            await subject.aclose()
            for worker in workers:
                worker.cancel()
            await asyncio.wait(workers)
            with contextlib.suppress(asyncio.CancelledError):
                await everything
        else:
            await everything
        if self._ending == "settled":
            until = self._loop.time() + _LONGEST_SETTLING
            await asyncio.sleep(_SETTLING)
            while subject.unsettled and self._loop.time() < until:  # noqa: ASYNC110  # likewise
                await asyncio.sleep(10)
        await subject.aclose()
        await self._weather.stop()

    async def _check_nothing_left(self) -> None:
        # What the sandbox itself is at with a connection that has gone ends a few steps later.
        await asyncio.sleep(1)
        left = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
        if left:
            self._note(f"{len(left)} tasks are left: {left[0]}")
        if self._sandbox.open_connections:
            self._note(f"{self._sandbox.open_connections} connections are left open")
        # What was sent before may be carried out yet.
        await asyncio.sleep(max(LATE) + LAG)

    def _check_secrets(self, tokens: Tokens) -> None:
        records = self._books.records.values()
        if leaks := self._shown.leaks([*tokens.issued, *(record.secret for record in records)]):
            self._note(f"{leaks} secrets came to light")


class _Caller:
    """One task of the soak: it does what its lives say, and believes what it is told."""

    def __init__(
        self,
        subject: Subject,
        sandbox: KrakenSandbox,
        books: Books,
        note: Callable[[str], None],
        shown: Shown,
        *,
        frees_names: bool,
    ) -> None:
        self._frees_names = frees_names
        self._subject = subject
        self._sandbox = sandbox
        self._books = books
        self._note = note
        self._shown = shown
        self._wait = 0.0

    async def live(self, lives: tuple[Life, ...]) -> None:
        """See to one life after another."""
        for life in lives:
            await asyncio.sleep(life.pause)
            if life.lists:
                await self._call("list_keys", self._subject.list, None)
            record = await self._create(life)
            if record is None:
                continue
            for change in life.changes:
                await asyncio.sleep(change.pause)
                await self._change(life, record, change)
            if not life.is_kept:
                await asyncio.sleep(life.last_pause)
                await self._delete(life, record)

    async def _create(self, life: Life) -> Record | None:
        held: list[Record] = []

        def hold(given: Given) -> Record:
            held.append(self._books.hold(life.number, given.name, given.api_key, given.secret, life.flags))
            return held[0]

        async def save(given: Given) -> None:
            await asyncio.sleep(0.01)
            if life.save_fails:
                raise BrokenStoreError
            hold(given)

        async def create() -> Given:
            given = await self._subject.create(life.name, life.flags, life.mark, save if life.saves else None)
            hold(given)
            return given

        self._books.asked += 1
        failure = await self._call("create_key", create, life.cancellation)
        if failure is None:
            self._books.returned += 1
            self._check(held[0])
        elif isinstance(failure, Failure):
            self._note_failure(life, failure)
        return held[0] if held else None

    def _note_failure(self, life: Life, failure: Failure) -> None:
        if failure.outcome != "unknown":
            self._books.undone.add(life.number)
        if failure.told is not None:
            self._books.told.add(failure.told)
        if not self._subject.is_strict:
            return
        if failure.meaning == "missing":
            self._note(f"the create of life {life.number} was told that there is no such key")
        # A list that lags behind shows what was there before.
        if self._sandbox.list_lag:
            return
        if failure.meaning == "taken" and not any(key.api_key_name == life.name for key in self._sandbox.keys()):
            self._note(f"the name {life.name!r} of life {life.number} was reported to be taken, and is free")

    async def _change(self, life: Life, record: Record, change: Change) -> None:
        if len(record.names) > 1 or record.fate != "held":
            return
        (name,) = record.names
        if change.new_name is not None and not self._may_free(record):
            return
        flags = [{**known, **change.flags} for known in record.flags]
        names = {change.new_name or name}
        failure = await self._call(
            "update_key", lambda: self._subject.update(name, change.new_name, change.flags), change.cancellation
        )
        if failure is None:
            record.names, record.flags = names, flags
            self._check(record)
        elif failure == "walked away" or failure.outcome == "unknown":
            record.names |= names
            record.flags += flags
        elif failure.meaning == "missing" and self._subject.is_strict:
            self._note(f"{name!r} of life {life.number} was held, and not found for an update")

    async def _delete(self, life: Life, record: Record) -> None:
        # Who is not sure of a name that others choose, too, would delete their key.
        sole = not _is_contested(record)
        if not self._may_free(record) or (not sole and len(record.names) > 1):
            return
        cancellation = life.last_cancellation
        for _ in range(_DELETIONS if sole else 1):
            names = sorted(record.names)
            ends = [await self._delete_name(name, cancellation) for name in names]
            cancellation = None
            missing = {name for name, end in zip(names, ends, strict=True) if end == "missing"}
            if missing == record.names and record.fate == "held" and self._subject.is_strict:
                self._note(f"{names} of life {life.number} was held, and not found")
            if "doubt" in ends:
                record.fate = "doubtful"
            elif "refused" not in ends:
                record.fate = "gone"
                return
            elif "done" in ends:
                # It had one of two names, and which one is not known: the other may be what is left.
                record.fate = "doubtful"
            else:
                record.names -= missing

    def _may_free(self, record: Record) -> bool:
        return self._frees_names or not _is_contested(record)

    async def _delete_name(
        self, name: str, cancellation: Cancellation | None
    ) -> Literal["done", "missing", "doubt", "refused"]:
        failure = await self._call("delete_key", lambda: self._subject.delete(name), cancellation)
        if failure is None:
            return "done"
        if failure == "walked away":
            return "doubt"
        if failure.meaning == "missing":
            return "missing"
        return "doubt" if failure.outcome == "unknown" else "refused"

    async def _call(
        self, operation: str, call: Callable[[], Awaitable[object]], cancellation: Cancellation | None
    ) -> Failure | Literal["walked away"] | None:
        """Call, and return how it failed; `None` if it did not."""
        # Here, and not when the last call has failed: what it has done is to be noted before the caller may end.
        await asyncio.sleep(self._wait)
        self._wait = 0.0
        self._books.calls[operation] += 1
        try:
            await _until_cancelled(call, cancellation)
        except WalkedAwayError:
            self._books.walked_away[operation] += 1
            return "walked away"
        except Exception as error:  # noqa: BLE001  # whatever comes out is to be explained
            failure = self._subject.explain(error)
            self._books.errors[operation, type(error).__name__, failure.outcome] += 1
            self._shown.add(f"{error!s} {error!r}")
            if self._subject.is_strict and not failure.is_explained:
                self._note(f"{operation} raised {error!r}, which nothing explains")
            self._wait = failure.wait
            return failure
        return None

    def _live(self) -> dict[str, SandboxKey]:
        return {key.api_key: key for key in self._sandbox.keys()}

    def _check(self, record: Record) -> None:
        """Look, with the sandbox's own eyes, whether a key is what its caller was told a moment ago."""
        if not self._subject.is_strict:
            return
        key = self._live().get(record.api_key)
        if key is None:
            self._note(f"{record.names} of life {record.life} was reported, and is not there")
        elif not is_as_told(record, key):
            self._note(f"{record.names} of life {record.life} is not as it was reported")


def _is_contested(record: Record) -> bool:
    return any(name.startswith("shared-") for name in record.names)


async def _until_cancelled(call: Callable[[], Awaitable[_T]], cancellation: Cancellation | None) -> _T:
    """Call, and go away when it is time.

    Raises:
        WalkedAwayError: It was time.
    """
    if cancellation is None:
        return await call()
    match cancellation.how:
        case "timeout":
            return await _within_timeout(call, cancellation.seconds)
        case "wait_for":
            return await _within_wait_for(call, cancellation.seconds)
        case "cancel":
            return await _until_task_is_cancelled(call, cancellation)


async def _within_timeout(call: Callable[[], Awaitable[_T]], seconds: float) -> _T:
    limit = asyncio.timeout(seconds)
    try:
        async with limit:
            return await call()
    except TimeoutError:
        if not limit.expired():
            raise
    raise WalkedAwayError


async def _within_wait_for(call: Callable[[], Awaitable[_T]], seconds: float) -> _T:
    # Which of the two TimeoutErrors it is, the client's or the caller's, is not to be seen from outside.
    escaped: list[TimeoutError] = []

    async def watched() -> _T:
        try:
            return await call()
        except TimeoutError as error:
            escaped.append(error)
            raise

    try:
        return await asyncio.wait_for(watched(), seconds)
    except TimeoutError:
        if escaped:
            raise
    raise WalkedAwayError


async def _until_task_is_cancelled(call: Callable[[], Awaitable[_T]], cancellation: Cancellation) -> _T:
    async def called() -> _T:
        return await call()

    task = asyncio.ensure_future(called())
    try:
        if cancellation.steps:
            for _ in range(cancellation.steps):
                await asyncio.sleep(0)
        else:
            await asyncio.wait({task}, timeout=cancellation.seconds)
    finally:
        task.cancel()
        await asyncio.wait({task})
    if task.cancelled():
        raise WalkedAwayError
    return task.result()
