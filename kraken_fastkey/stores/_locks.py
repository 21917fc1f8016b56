"""A lock that is waited for: tasks of one loop queue up, and the first of them tries for what all processes see."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Final, TypeVar
from weakref import WeakKeyDictionary

from kraken_fastkey._errors import InvalidRequestError, StoreLockTimeoutError
from kraken_fastkey._runtime import Runtime

LOCK_TIMEOUT: Final = 30.0

_MAX_SECONDS: Final = 1e9
_MAX_NAME: Final = 256
_FIRST_DELAY: Final = 0.001
_LONGEST_DELAY: Final = 0.05

_T = TypeVar("_T")

Release = Callable[[], Awaitable[None]]


def check_lock_timeout(value: object) -> str | None:
    """Return what is wrong with a lock's timeout in seconds, or `None`."""
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value <= _MAX_SECONDS:
        return "must be seconds, 0 or more"
    return None


def check_name(value: object) -> str | None:
    """Return what is wrong with the name of an account or a service, or `None`."""
    good = isinstance(value, str) and 0 < len(value) <= _MAX_NAME
    return None if good else f"must be a str of 1 to {_MAX_NAME} characters"


def check_store_arguments(**faults: str | None) -> None:
    """Raise if there are faults.

    Raises:
        InvalidRequestError: There are.
    """
    if any(faults.values()):
        raise InvalidRequestError({field: fault for field, fault in faults.items() if fault})


async def finish(awaitable: Awaitable[_T]) -> _T:
    """Wait for work that must not be cut in two: a cancellation of the caller goes on when it is done."""
    work = asyncio.ensure_future(awaitable)
    cancelled: asyncio.CancelledError | None = None
    while not work.done():
        try:
            await asyncio.wait([work])
        except asyncio.CancelledError as error:
            cancelled = error
    if cancelled is None:
        return work.result()
    if not work.cancelled():
        work.exception()  # looked at, or asyncio complains that nobody did
    raise cancelled


async def in_thread(function: Callable[[], _T]) -> _T:
    """Run a function in a thread, to its end even if the caller is cancelled meanwhile."""
    # Not to_thread: the end of the loop would cancel its task, and that would look like the function's end.
    return await finish(asyncio.get_running_loop().run_in_executor(None, function))


class PolledLock:
    """A lock that can only be tried for, made into one that can be waited for.

    Args:
        place: What it locks, for the error.
        attempt: Tries for the lock once; returns what frees it, or `None` if somebody else has it. If it is
            cancelled, it must not keep the lock.
        timeout: How long to wait, in seconds; 0 or more.
        runtime: Time, sleep and chance.
    """

    def __init__(
        self, place: str, attempt: Callable[[], Awaitable[Release | None]], timeout: float, runtime: Runtime
    ) -> None:
        self._place = place
        self._attempt = attempt
        self._timeout = timeout
        self._runtime = runtime
        # One for each loop: asyncio's locks belong to one.
        self._queues: WeakKeyDictionary[asyncio.AbstractEventLoop, asyncio.Lock] = WeakKeyDictionary()

    @contextlib.asynccontextmanager
    async def hold(self) -> AsyncIterator[None]:
        """Have the lock while the context lasts.

        Raises:
            StoreLockTimeoutError: On entry: it could not be had in time.
        """
        deadline = self._runtime.monotonic() + self._timeout
        queue = self._queues.setdefault(asyncio.get_running_loop(), asyncio.Lock())
        try:
            async with asyncio.timeout(self._timeout):
                await queue.acquire()
        except TimeoutError:
            raise self._timed_out() from None
        try:
            release = await self._wait(deadline)
            try:
                yield
            finally:
                await release()
        finally:
            queue.release()

    async def _wait(self, deadline: float) -> Release:
        delay = _FIRST_DELAY
        while (release := await self._attempt()) is None:
            left = deadline - self._runtime.monotonic()
            if left <= 0:
                raise self._timed_out()
            # By chance, so that those who wait do not try in step.
            await self._runtime.sleep(min(left, delay * (1 + self._runtime.random()) / 2))
            delay = min(delay * 2, _LONGEST_DELAY)
        return release

    def _timed_out(self) -> StoreLockTimeoutError:
        return StoreLockTimeoutError(
            f"{self._place} is locked by another task or process, and was so for {self._timeout:g} s: "
            "nothing was done, try again"
        )
