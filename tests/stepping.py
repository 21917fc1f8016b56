"""Stopping at a chosen await point of a task: each of them in turn, counted."""

from __future__ import annotations

import asyncio
import inspect
import types
from collections.abc import Callable, Coroutine, Generator
from typing import Any, TypeVar

_T = TypeVar("_T")


class Stepper:
    """Calls a hook when a task of a certain name stands at its n-th await point.

    Args:
        name: The qualified name of the task's coroutine, or of the work that it runs, such as `"Creation.run"`.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._hook: Callable[[], object] | None = None
        self._stop_at = 0
        self.points = 0

    def install(self, loop: asyncio.AbstractEventLoop) -> None:
        """Watch the tasks of a loop from now on."""
        loop.set_task_factory(self._make_task)

    def arm(self, stop_at: int, hook: Callable[[], object] | None) -> None:
        """Start counting anew, and call the hook at the await point of this number, from 1; `None` only counts."""
        self.points, self._stop_at, self._hook = 0, stop_at, hook

    def _make_task(
        self, loop: asyncio.AbstractEventLoop, coro: Coroutine[Any, Any, _T] | Generator[Any, None, _T], **options: Any
    ) -> asyncio.Task[_T]:
        if isinstance(coro, Coroutine) and self._name in _names(coro):
            return asyncio.Task(self._watched(coro), loop=loop, **options)
        return asyncio.Task(coro, loop=loop, **options)

    async def _watched(self, coro: Coroutine[Any, Any, _T]) -> _T:
        return await _relay(coro, self._pass_point)

    def _pass_point(self) -> None:
        self.points += 1
        if self.points == self._stop_at and self._hook is not None:
            self._hook()


def _names(coro: Coroutine[Any, Any, object]) -> tuple[str, str]:
    work = inspect.getcoroutinelocals(coro).get("work") if inspect.iscoroutine(coro) else None
    return getattr(coro, "__qualname__", ""), f"{type(work).__name__}.run"


@types.coroutine
def _relay(coro: Coroutine[Any, Any, _T], at_each_point: Callable[[], object]) -> Generator[Any, None, _T]:
    raised: BaseException | None = None
    while True:
        try:
            awaited = coro.send(None) if raised is None else coro.throw(raised)
        except StopIteration as stop:
            result: _T = stop.value
            return result
        at_each_point()
        try:
            yield awaited
            raised = None
        except BaseException as error:  # noqa: BLE001  # handed on to the coroutine
            raised = error
