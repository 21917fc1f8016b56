"""The one way from what happens to whoever is told of it: the hook, and the log."""

from __future__ import annotations

import asyncio
import inspect
import itertools
from collections.abc import Callable
from contextvars import ContextVar
from types import TracebackType
from typing import Concatenate, Final, ParamSpec

from kraken_fastkey._events.event import Event, EventHook, HookFailed
from kraken_fastkey._log_records import is_logged, log
from kraken_fastkey._runtime import SYSTEM, Runtime

_P = ParamSpec("_P")
_IDS: Final = itertools.count(1)
_NONE: Final[frozenset[type[BaseException]]] = frozenset()  # shared by all emitters, of which there may be many


class CallScope:
    """The call that a task works for. Only calls of a client with a hook have one.

    Args:
        call_id: The call's number.

    Attributes:
        call_id: The same.
        attempts: How many HTTP requests were sent for it.
    """

    __slots__ = ("attempts", "call_id")

    def __init__(self, call_id: int) -> None:
        self.call_id = call_id
        self.attempts = 0


CALL: Final[ContextVar[CallScope | None]] = ContextVar("kraken_fastkey_call", default=None)
"""The call that the present task works for: tasks that it starts inherit it."""


def next_id() -> int:
    """Return a number that no other event of this process has for its id."""
    return next(_IDS)


def hook_fault(hook: object) -> str | None:
    """Return what is wrong with what was passed for a hook."""
    if hook is None:
        return None
    if not callable(hook):
        return f"must be a function that takes an event, not {type(hook).__name__}"
    if inspect.iscoroutinefunction(hook) or inspect.iscoroutinefunction(type(hook).__call__):
        return "must be a plain function: it is called in the event loop, and not awaited"
    return None


class Emitter:
    """Tells of events.

    Args:
        hook: Whom, beside the log; `None` for nobody.
        runtime: The clock.

    Attributes:
        hook: The same. Where a call is to cost nothing unless somebody listens, look at it before `emit`.
    """

    __slots__ = ("_failed", "_runtime", "hook")

    def __init__(self, hook: EventHook | None = None, runtime: Runtime = SYSTEM) -> None:
        self.hook: EventHook | None = hook
        self._runtime = runtime
        self._failed = _NONE

    def emit(
        self, kind: Callable[Concatenate[float, int | None, _P], Event], *args: _P.args, **fields: _P.kwargs
    ) -> None:
        """Tell of an event, if there is anybody to be told.

        Args:
            kind: The event's class.
            args: None: fields have names.
            fields: The event's fields, all but the time and the call, which are added.
        """
        hook = self.hook
        if hook is None and not is_logged(kind):
            return
        scope = CALL.get()
        event = kind(self._runtime.time(), None if scope is None else scope.call_id, *args, **fields)
        log(event)
        if hook is not None:
            try:
                hook(event)
            # A listener's fault is no reason for a call to fail. It awaits nothing, so that a cancellation out of it,
            # as by the result of a cancelled future, is nobody's wish to cancel the call.
            except (Exception, asyncio.CancelledError) as error:  # noqa: BLE001
                self._tell_once(error, event)

    def _tell_once(self, error: BaseException, event: Event) -> None:
        kind = type(error)
        if kind in self._failed:
            return
        self._failed |= {kind}
        # By its type and place alone: what a hook raises may quote anything.
        where = _place_of(error.__traceback__)
        log(HookFailed(event.time, event.call_id, event_name=event.name, error_type=kind.__name__, where=where))


def _place_of(traceback: TracebackType | None) -> str:
    """Return the innermost place of a traceback, as `file:line`."""
    place = "an unknown place"
    while traceback is not None:
        place = f"{traceback.tb_frame.f_code.co_filename}:{traceback.tb_lineno}"
        traceback = traceback.tb_next
    return place
