"""Work that goes on when its caller has gone: tasks that are strongly held, counted, and ended within a bound."""

from __future__ import annotations

import asyncio
import contextlib
import sys
from collections.abc import Coroutine
from typing import Any, Final, Protocol, TypeVar

from kraken_fastkey._errors import ClientClosedError
from kraken_fastkey._progress import Progress

_LAST_SECONDS: Final = 1.0

_T = TypeVar("_T")


class Work(Protocol[_T]):
    """What a caller waits for, and what is to become of it if the caller goes away.

    Attributes:
        operation: The client's method.
        progress: What the call has been through.
    """

    operation: str
    progress: Progress

    @property
    def api_key_name(self) -> str:
        """The key that it concerns."""
        ...

    async def run(self) -> _T:
        """Do it."""
        ...

    def abandon(self) -> bool:
        """Note that nobody waits any more, and return whether it may be cut off: nothing of it is at Kraken yet."""
        ...

    def unreceived(self, result: _T, /) -> Coroutine[Any, Any, None] | None:
        """Return what is to be done with a result that came in the moment in which its caller went away."""
        ...

    def unheard(self, error: BaseException, /) -> Coroutine[Any, Any, None] | None:
        """Return what is to be done about an error that came in that moment."""
        ...


async def join(task: asyncio.Task[_T]) -> _T:
    """Return a task's result; cancelling the caller leaves the task alone.

    `asyncio.shield` would do, if it did not log the errors of a task whose caller has gone.
    """
    end = asyncio.get_running_loop().create_future()
    task.add_done_callback(lambda _: None if end.done() else end.set_result(None))
    await end
    return task.result()


def _start_at_once(work: Coroutine[Any, Any, _T], loop: asyncio.AbstractEventLoop) -> asyncio.Task[_T]:
    """Start a task where Python can do so without another round of the loop, which costs 4 % of a call."""
    if sys.version_info >= (3, 12) and loop.get_task_factory() is None:
        return asyncio.Task(work, loop=loop, eager_start=True)
    return loop.create_task(work)


async def _run_and_tell(work: Work[_T], end: asyncio.Future[None]) -> _T:
    """Do some work, and tell who waits for it; callbacks of the task would do so one round of the loop later."""
    try:
        return await work.run()
    finally:
        # The loop may be closed already, where a forgotten coroutine is collected.
        if not end.done() and not end.get_loop().is_closed():
            end.set_result(None)


class Background:
    """The tasks of a client, by the account that each works for."""

    def __init__(self) -> None:
        # asyncio itself holds a task weakly, and a lost task is a lost key.
        self._tasks: dict[asyncio.Task[Any], object] = {}

    def start(self, work: Coroutine[Any, Any, _T], account: object) -> asyncio.Task[_T]:
        """Let something run in a task of its own."""
        task = asyncio.get_running_loop().create_task(work)
        self._tasks[task] = account
        task.add_done_callback(self._end)
        return task

    async def perform(self, work: Work[_T], account: object) -> _T:
        """Run some work to its end, unless its caller goes away: then as far as the work itself wants it.

        The caller may be cancelled, or its coroutine be closed; either is raised on.

        Raises:
            ClientClosedError: The work was cut off, since the client closed.
        """
        loop = asyncio.get_running_loop()
        end = loop.create_future()
        task = _start_at_once(_run_and_tell(work, end), loop)
        self._tasks[task] = account
        try:
            await end
        except BaseException:
            # The loop may be closed already, where a forgotten coroutine is collected.
            with contextlib.suppress(RuntimeError):
                self._leave(work, task, account)
            raise
        del self._tasks[task]
        if task.cancelled():
            raise _cut_off(work)
        return task.result()

    async def drain(self, seconds: float, account: object | None = None) -> bool:
        """Wait until the tasks of an account, or all, have ended; cut them off when the time is over.

        Returns:
            Whether all ended by themselves.
        """
        loop = asyncio.get_running_loop()
        until = loop.time() + seconds
        while tasks := self._of(account):
            left = until - loop.time()
            if left <= 0:
                break
            await asyncio.wait(tasks, timeout=left)
        ended = not tasks
        # The first time, they may clear up what they can at once; the second time, they end. What they began in doing
        # so is ended by the third.
        for _ in range(3):
            if not tasks:
                break
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks, timeout=_LAST_SECONDS)
            tasks = self._of(account)
        return ended

    def _leave(self, work: Work[_T], task: asyncio.Task[_T], account: object) -> None:
        if not task.done():
            task.add_done_callback(self._end)  # nobody else sees how it ends
            if work.abandon():
                task.cancel()
            return
        self._end(task)
        if task.cancelled():
            return
        error = task.exception()
        rest = work.unreceived(task.result()) if error is None else work.unheard(error)
        if rest is not None:
            self.start(rest, account)

    def _of(self, account: object | None) -> set[asyncio.Task[Any]]:
        present = asyncio.current_task()
        return {
            task
            for task, owner in self._tasks.items()
            if account in {None, owner} and task is not present and not task.done()
        }

    def _end(self, task: asyncio.Task[Any]) -> None:
        self._tasks.pop(task, None)
        if not task.cancelled():
            task.exception()  # marks it as seen: whoever waits for the task has it


def _cut_off(work: Work[Any]) -> ClientClosedError:
    progress = work.progress
    known = "whether it was carried out is not known" if progress.exposed else "nothing of it was done"
    return ClientClosedError(
        f"the client was closed before the call had ended: {known}",
        operation=work.operation,
        attempts=progress.attempts,
        outcome="unknown" if progress.exposed else "not_sent",
    )
