"""A sandbox in a thread of its own: it answers whatever the test does, and can be spoken to from any thread."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import inspect
import threading
from collections.abc import Callable, Coroutine, Iterator, Mapping
from concurrent.futures import Future
from typing import Any, Final, TypeVar

from kraken_fastkey.sandbox import KrakenSandbox
from kraken_fastkey.testing._clock import KrakenClock

_T = TypeVar("_T")
_SECONDS: Final = 30.0  # longer than anything in there takes, on any machine


class LoopThread:
    """A thread with an event loop, which ends with the process if nobody ends it before."""

    def __init__(self) -> None:
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stopping: asyncio.Event | None = None
        self._thread = threading.Thread(target=self._main, name="kraken-sandbox", daemon=True)
        self._ready: Future[None] = Future()

    def start(self) -> None:
        """Begin."""
        self._thread.start()
        self._ready.result(_SECONDS)

    def stop(self) -> None:
        """Cancel what still runs in there, and end."""
        loop, stopping = self._loop, self._stopping
        if loop is not None and stopping is not None:
            loop.call_soon_threadsafe(stopping.set)
            self._thread.join(_SECONDS)

    def call(self, function: Callable[[], _T]) -> _T:
        """Call a function in the thread, and return its result; before and after the thread's life, just call it."""
        loop = self._loop
        if loop is None or threading.current_thread() is self._thread:
            return function()
        future: Future[_T] = Future()
        loop.call_soon_threadsafe(_complete, future, function)
        return future.result(_SECONDS)

    def run(self, coroutine: Coroutine[Any, Any, _T]) -> _T:
        """Run a coroutine in the thread, and return its result. Meanwhile this thread does nothing else."""
        return self._submit(coroutine).result(_SECONDS)

    async def perform(self, coroutine: Coroutine[Any, Any, _T]) -> _T:
        """The same for who is in an event loop, which goes on meanwhile."""
        if threading.current_thread() is self._thread:
            return await coroutine
        return await asyncio.wrap_future(self._submit(coroutine))

    def _submit(self, coroutine: Coroutine[Any, Any, _T]) -> Future[_T]:
        if self._loop is None:
            coroutine.close()
            raise RuntimeError("the test has ended, and its sandbox with it")
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop)

    def _main(self) -> None:
        asyncio.run(self._serve())

    async def _serve(self) -> None:
        self._stopping = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        self._ready.set_result(None)
        try:
            await self._stopping.wait()
        finally:
            self._loop = None


class ThreadedSandbox(KrakenSandbox):
    """A `KrakenSandbox` whose methods may be called from any thread: they run in the sandbox's own.

    Args:
        thread: Where it is to run; it must have been started.
        options: For `KrakenSandbox`.
    """

    def __init__(self, thread: LoopThread, **options: Any) -> None:
        self.thread = thread
        super().__init__(**options)


def _complete(future: Future[_T], function: Callable[[], _T]) -> None:
    try:
        future.set_result(function())
    except BaseException as error:  # noqa: BLE001  # raised in the thread that waits
        future.set_exception(error)


def _called_in_thread(method: Callable[..., _T]) -> Callable[..., _T]:
    @functools.wraps(method)
    def call(self: ThreadedSandbox, *args: Any, **kwargs: Any) -> _T:
        return self.thread.call(functools.partial(method, self, *args, **kwargs))

    return call


def _performed_in_thread(method: Callable[..., Coroutine[Any, Any, _T]]) -> Callable[..., Coroutine[Any, Any, _T]]:
    @functools.wraps(method)
    async def perform(self: ThreadedSandbox, *args: Any, **kwargs: Any) -> _T:
        return await self.thread.perform(method(self, *args, **kwargs))

    return perform


def _in_thread(member: Any) -> Any:
    """Return a public member of the sandbox as one that does its work in the sandbox's thread."""
    if isinstance(member, property):
        getter, setter = (accessor and _called_in_thread(accessor) for accessor in (member.fget, member.fset))
        return property(getter, setter, doc=member.__doc__)
    return _performed_in_thread(member) if inspect.iscoroutinefunction(member) else _called_in_thread(member)


# All of them, so that none is forgotten that comes later.
for _name, _member in vars(KrakenSandbox).items():
    if not _name.startswith("_"):
        setattr(ThreadedSandbox, _name, _in_thread(_member))


@contextlib.contextmanager
def running_sandbox(clock: KrakenClock, options: Mapping[str, Any]) -> Iterator[ThreadedSandbox]:
    """Let a sandbox listen until the block ends, in the time of a clock.

    Args:
        clock: What tells the time, and waits for the sandbox's answers before it moves on.
        options: For `KrakenSandbox`; a `clock` among them takes the place of the other.
    """
    thread = LoopThread()
    thread.start()
    try:
        sandbox = ThreadedSandbox(thread, **{"clock": clock.time, **options})
        thread.run(sandbox.start())
        clock.watch(open_requests=lambda: sandbox.open_requests, all_requests=lambda: len(sandbox.requests))
        yield sandbox
        thread.run(sandbox.aclose())
    finally:
        thread.stop()
