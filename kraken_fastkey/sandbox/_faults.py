"""Faults on demand: what may go wrong with an answer, and the queue of what shall."""

import json
from collections.abc import Mapping, Sequence
from typing import ClassVar, Final, TypeAlias

import attrs

from kraken_fastkey.sandbox._routes import OPERATIONS

Body: TypeAlias = bytes | str | Mapping[str, object] | Sequence[object] | float | bool | None

_FINAL_STATUSES: Final = range(200, 600)


@attrs.frozen
class Answer:
    """Answer these bytes in place of the sandbox's own answer.

    Attributes:
        status: The HTTP status, 200 to 599.
        body: Bytes and strings are sent as they are, strings as UTF-8; anything else is sent as JSON.
        headers: Further headers. ``Content-Type`` is ``application/json`` for a JSON body and ``text/plain``
            for a string, unless it is given here.
        commit: Whether the call's work is done first, so that only its answer is lost.

    Raises:
        ValueError: if the status is no final one, or a header holds a line break.
        TypeError: if the body is no JSON.
    """

    status: int = attrs.field()
    body: Body = b""
    headers: Mapping[str, str] = attrs.field(factory=dict[str, str], kw_only=True)
    commit: bool = attrs.field(default=False, kw_only=True)

    def __attrs_post_init__(self) -> None:
        if self.status not in _FINAL_STATUSES:
            raise ValueError(f"status must be 200 to 599, not {self.status}")
        for text in (*self.headers.keys(), *self.headers.values()):
            if not {"\r", "\n", "\0"}.isdisjoint(text):
                raise ValueError("a header holds a line break or a null character")
        self.rendered()

    def rendered(self) -> bytes:
        """Return the body's bytes."""
        match self.body:
            case bytes(raw):
                return raw
            case str(text):
                return text.encode()
            case value:
                return json.dumps(value).encode()

    @property
    def media_type(self) -> str | None:
        """The ``Content-Type`` that suits the body's type, or ``None`` for bytes."""
        match self.body:
            case bytes():
                return None
            case str():
                return "text/plain; charset=utf-8"
            case _:
                return "application/json"


@attrs.frozen
class Disconnect:
    """Drop the TCP connection without an answer.

    Attributes:
        commit: Whether the call's work is done first.
    """

    commit: bool = attrs.field(default=False, kw_only=True)


@attrs.frozen
class Truncate:
    """Do the call's work, announce the whole answer, send only its beginning, and close the connection.

    Attributes:
        length: How many bytes of the body are sent, 0 or more; a body no longer than that is sent whole.

    Raises:
        ValueError: if ``length`` is negative.
    """

    length: int = attrs.field()
    commit: ClassVar[bool] = True

    def __attrs_post_init__(self) -> None:
        if self.length < 0:
            raise ValueError("length must be 0 or more")


@attrs.frozen
class Hang:
    """Never answer; the connection stays open until the client closes it or the sandbox closes.

    Attributes:
        commit: Whether the call's work is done first.
    """

    commit: bool = attrs.field(default=False, kw_only=True)


Fault: TypeAlias = Answer | Disconnect | Truncate | Hang
"""Anything that may go wrong with an answer."""


@attrs.frozen
class PendingFault:
    """A fault that waits for its requests.

    Attributes:
        fault: What will happen.
        operation: Whose requests it waits for; ``None``: any operation's.
        times: How many requests it still waits for, 1 or more.
    """

    fault: Fault
    operation: str | None
    times: int


class Faults:
    """The faults that are still to happen, first in, first out."""

    def __init__(self) -> None:
        self._pending: list[PendingFault] = []

    @property
    def pending(self) -> tuple[PendingFault, ...]:
        """What has been added and has not happened yet, in order; empty when all has happened."""
        return tuple(self._pending)

    def add(self, fault: Fault, *, operation: str | None = None, times: int = 1) -> None:
        """Let a fault happen to the next requests that match.

        Each request takes the first pending fault that matches it, when it arrives and before its token is
        looked at. Requests that are no operation (an unknown path, ``/openapi.json``) take none.

        Args:
            fault: An `Answer`, `Disconnect`, `Truncate` or `Hang`.
            operation: ``"create_key"``, ``"update_key"``, ``"delete_key"``, ``"list_keys"``,
                ``"get_user_info"``, ``"token"``, ``"authorize"``, or ``None`` for any of them.
            times: To how many requests it happens, 1 or more.

        Raises:
            ValueError: if there is no such operation, or ``times`` is less than 1.
        """
        if operation is not None and operation not in OPERATIONS:
            raise ValueError(f"no operation {operation!r}; there are {', '.join(sorted(OPERATIONS))}")
        if times < 1:
            raise ValueError("times must be 1 or more")
        self._pending.append(PendingFault(fault, operation, times))

    def clear(self) -> None:
        """Forget what is pending. A request that already hangs goes on hanging."""
        self._pending.clear()

    def take(self, operation: str) -> Fault | None:
        """Return what happens to a request that arrives now; the sandbox asks once for each."""
        for index, pending in enumerate(self._pending):
            if pending.operation in (None, operation):
                if pending.times > 1:
                    self._pending[index] = attrs.evolve(pending, times=pending.times - 1)
                else:
                    del self._pending[index]
                return pending.fault
        return None
