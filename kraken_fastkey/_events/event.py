"""What each event has, and who is told of it."""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar

import attrs

from kraken_fastkey._values import Value


@attrs.frozen(eq=False, repr=False)
class Event(Value):
    """Something that happened. Each kind is a class of its own, with a stable `name`.

    Attributes:
        name: The event's name, such as `"kraken_fastkey.retry"`; the same for all events of a class.
        time: When it happened, in Unix seconds.
        call_id: The call of the client that it belongs to: a number that is unique in the process, the same for the
            call's start and end, its attempts, retries, refreshes and reconciliation. `None` outside a call, and in
            the log of a client without a hook.
    """

    name: ClassVar[str] = "kraken_fastkey"

    time: float
    call_id: int | None


EventHook = Callable[[Event], object]
"""Takes each event, in the event loop, right when it happens: it must not block. What it returns is not used.

What it raises is logged once for each type of exception, and does no harm to the call.
"""


@attrs.frozen(kw_only=True, eq=False, repr=False)
class HookFailed(Event):
    """An `on_event` hook raised an exception. Told once for each type of it.

    Attributes:
        event_name: The event that it was called with.
        error_type: The class of the exception.
        where: The place in the code that raised it.
    """

    name: ClassVar[str] = "kraken_fastkey.hook.fail"

    event_name: str
    error_type: str
    where: str
