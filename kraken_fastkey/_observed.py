"""Calls that somebody listens to: each has a number, a start and an end."""

from __future__ import annotations

import contextlib
from collections.abc import Awaitable, Coroutine, Iterator
from typing import Any, Generic, TypeVar

import attrs

from kraken_fastkey._background import Work
from kraken_fastkey._emitter import CALL, CallScope, Emitter, next_id
from kraken_fastkey._errors import FastKeyError
from kraken_fastkey._events.observed import AttemptEnded, AttemptOutcome, AttemptStarted, CallEnded, CallStarted
from kraken_fastkey._runtime import Runtime

_T = TypeVar("_T")


@attrs.define(eq=False, repr=False)
class AttemptReport:
    """What there is to tell of an attempt when it has ended.

    Attributes:
        outcome: What it did at Kraken.
        status: The answer's HTTP status; `None` if there was none.
        version: HTTP's version of the answer.
        error_type: The class of the exception that it failed with.
        codes: Kraken's own error strings.
    """

    outcome: AttemptOutcome = "succeeded"
    status: int | None = None
    version: tuple[int, int] | None = None
    error_type: str | None = None
    codes: tuple[str, ...] = ()

    def fail(self, error: BaseException, outcome: AttemptOutcome) -> None:
        """Note that the attempt failed, and what it did at Kraken."""
        self.outcome = outcome
        self.error_type = type(error).__name__
        if isinstance(error, FastKeyError):
            self.codes = error.codes
            self.status = error.status if self.status is None else self.status


@contextlib.contextmanager
def observe_attempt(
    emitter: Emitter, runtime: Runtime, operation: str, attempt: int, method: str, url: str
) -> Iterator[AttemptReport]:
    """Tell of the start of an HTTP request, and of its end: what is in the report by then.

    Args:
        emitter: What tells.
        runtime: The clock.
        operation: What the request does.
        attempt: The how manieth of this operation it is.
        method: The HTTP method.
        url: Where it goes.
    """
    scope = CALL.get()
    if scope is not None:
        scope.attempts += 1
    attempt_id = next_id()
    emitter.emit(AttemptStarted, operation=operation, attempt_id=attempt_id, attempt=attempt, method=method, url=url)
    began = runtime.monotonic()
    report = AttemptReport()
    try:
        yield report
    finally:
        emitter.emit(
            AttemptEnded,
            operation=operation,
            attempt_id=attempt_id,
            attempt=attempt,
            method=method,
            url=url,
            seconds=runtime.monotonic() - began,
            outcome=report.outcome,
            status=report.status,
            http_version=None if report.version is None else f"{report.version[0]}.{report.version[1]}",
            error_type=report.error_type,
            codes=report.codes,
        )


@contextlib.contextmanager
def _within(scope: CallScope) -> Iterator[None]:
    token = CALL.set(scope)
    try:
        yield
    finally:
        # A forgotten coroutine is closed wherever it is collected.
        with contextlib.suppress(ValueError):
            CALL.reset(token)


async def observe_read(emitter: Emitter, runtime: Runtime, operation: str, work: Awaitable[_T]) -> _T:
    """Await a call that concerns no single key, and tell of its start and end.

    Args:
        emitter: What tells.
        runtime: The clock.
        operation: The client's method.
        work: The call.
    """
    scope = CallScope(next_id())
    with _within(scope):
        emitter.emit(CallStarted, operation=operation)
        began = runtime.monotonic()
        try:
            result = await work
        except BaseException as error:
            _end(emitter, operation, None, scope, runtime.monotonic() - began, error)
            raise
        _end(emitter, operation, None, scope, runtime.monotonic() - began)
        return result


class ObservedWork(Generic[_T]):
    """Some work, whose start and end are told.

    Args:
        work: The work.
        emitter: What tells.
        runtime: The clock.
    """

    def __init__(self, work: Work[_T], emitter: Emitter, runtime: Runtime) -> None:
        self.operation = work.operation
        self.progress = work.progress
        self._work = work
        self._emitter = emitter
        self._runtime = runtime
        self._scope = CallScope(next_id())

    @property
    def api_key_name(self) -> str:
        """The key that it concerns."""
        return self._work.api_key_name

    async def run(self) -> _T:
        """Do it, and tell of its start and end."""
        work, scope = self._work, self._scope
        with _within(scope):
            self._emitter.emit(CallStarted, operation=work.operation, api_key_name=work.api_key_name)
            began = self.progress.started
            try:
                result = await work.run()
            except BaseException as error:
                seconds = self._runtime.monotonic() - began
                _end(self._emitter, work.operation, work.api_key_name, scope, seconds, error)
                raise
            _end(self._emitter, work.operation, work.api_key_name, scope, self._runtime.monotonic() - began)
            return result

    def abandon(self) -> bool:
        """Note that nobody waits any more."""
        return self._work.abandon()

    def unreceived(self, result: _T, /) -> Coroutine[Any, Any, None] | None:
        """Return what is to be done with a result that came too late, as a part of the same call."""
        rest = self._work.unreceived(result)
        return None if rest is None else self._finish(rest)

    def unheard(self, error: BaseException, /) -> Coroutine[Any, Any, None] | None:
        """Return what is to be done about an error that came too late, as a part of the same call."""
        rest = self._work.unheard(error)
        return None if rest is None else self._finish(rest)

    async def _finish(self, rest: Coroutine[Any, Any, None]) -> None:
        with _within(self._scope):
            await rest


def _end(
    emitter: Emitter,
    operation: str,
    api_key_name: str | None,
    scope: CallScope,
    seconds: float,
    error: BaseException | None = None,
) -> None:
    outcome: AttemptOutcome | None = None
    if error is None:
        outcome = "succeeded"
    elif isinstance(error, FastKeyError):
        outcome = error.outcome
    emitter.emit(
        CallEnded,
        operation=operation,
        api_key_name=api_key_name,
        seconds=seconds,
        attempts=scope.attempts,
        outcome=outcome,
        error_type=None if error is None else type(error).__name__,
        status=error.status if isinstance(error, FastKeyError) else None,
        codes=error.codes if isinstance(error, FastKeyError) else (),
    )
