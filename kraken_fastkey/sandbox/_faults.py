"""What may go wrong with a request: values, which say what happens and do nothing."""

import json
import math
import random
import reprlib
from collections.abc import Iterable, Mapping, Sequence
from typing import ClassVar, Final, TypeAlias

import attrs

Body: TypeAlias = bytes | str | Mapping[str, object] | Sequence[object] | float | bool | None

_FINAL_STATUSES: Final = range(200, 600)


def _check_header(text: str) -> None:
    if not {"\r", "\n", "\0"}.isdisjoint(text):
        raise ValueError("a header holds a line break or a null character")


def _check_seconds(name: str, value: float) -> None:
    if not 0 <= value < math.inf:
        raise ValueError(f"{name} must be 0 seconds or more")


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
    body: Body = attrs.field(default=b"", repr=reprlib.repr)
    headers: Mapping[str, str] = attrs.field(factory=dict[str, str], kw_only=True)
    commit: bool = attrs.field(default=False, kw_only=True)

    def __attrs_post_init__(self) -> None:
        if self.status not in _FINAL_STATUSES:
            raise ValueError(f"status must be 200 to 599, not {self.status}")
        for text in (*self.headers.keys(), *self.headers.values()):
            _check_header(text)
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
    """Read the request, and drop the TCP connection without an answer.

    Attributes:
        commit: Whether the call's work is done first.
    """

    commit: bool = attrs.field(default=False, kw_only=True)


@attrs.frozen
class Reset:
    """Reset the TCP connection as soon as the request's head is there; its body is not read, nothing is done."""

    commit: ClassVar[bool] = False


@attrs.frozen
class Truncate:
    """Do the call's work, announce the whole answer, send only its beginning, and close the connection.

    Attributes:
        length: How many bytes of the body are sent, 0 or more; a body no longer than that is sent whole.
        head: Whether the cut is in the answer's head: then ``length`` counts the bytes of the status line and
            the headers, and nothing of the body is sent.

    Raises:
        ValueError: if ``length`` is negative.
    """

    length: int = attrs.field()
    head: bool = attrs.field(default=False, kw_only=True)
    commit: ClassVar[bool] = True

    def __attrs_post_init__(self) -> None:
        if self.length < 0:
            raise ValueError("length must be 0 or more")


@attrs.frozen
class Drip:
    """Do the call's work, and send the answer's body drop by drop; its head comes at once.

    Attributes:
        chunk: How many bytes there are in a drop, 1 or more.
        interval: The seconds between two drops, 0 or more. The sandbox's own ``sleep`` waits them.

    Raises:
        ValueError: if ``chunk`` is less than 1, or ``interval`` is negative or not finite.
    """

    chunk: int = attrs.field()
    interval: float = attrs.field()
    commit: ClassVar[bool] = True

    def __attrs_post_init__(self) -> None:
        if self.chunk < 1:
            raise ValueError("chunk must be 1 byte or more")
        _check_seconds("interval", self.interval)


@attrs.frozen
class MediaType:
    """Do the call's work, and send the right answer under another media type.

    Attributes:
        media_type: What ``Content-Type`` says, such as ``"text/html"``.

    Raises:
        ValueError: if it holds a line break.
    """

    media_type: str = attrs.field()
    commit: ClassVar[bool] = True

    def __attrs_post_init__(self) -> None:
        _check_header(self.media_type)


@attrs.frozen
class Hang:
    """Never answer; the connection stays open until the client closes it or the sandbox closes.

    Attributes:
        commit: Whether the call's work is done first.
    """

    commit: bool = attrs.field(default=False, kw_only=True)


GATEWAY_TIMEOUT: Final = Answer(
    504,
    "<html><head><title>504 Gateway Time-out</title></head><body><h1>504 Gateway Time-out</h1></body></html>\n",
    headers={"Content-Type": "text/html"},
)


@attrs.frozen
class LateCommit:
    """Answer without doing the call's work, which is done a while later by the sandbox's clock.

    The token and the body are looked at then, too: a call that is refused at that moment does nothing. A key that it
    makes is created at that moment. The work comes though `Faults.clear` is called, or the sandbox closes.

    Attributes:
        delay: How many seconds later the work is done, 0 or more.
        answer: What the client meets at once: an `Answer`, or a `Disconnect`; a 504 page unless it is given.

    Raises:
        ValueError: if ``delay`` is negative or not finite, or ``answer`` commits, so that the work would be
            done twice.
    """

    delay: float = attrs.field()
    answer: Answer | Disconnect = GATEWAY_TIMEOUT
    commit: ClassVar[bool] = False

    def __attrs_post_init__(self) -> None:
        _check_seconds("delay", self.delay)
        if self.answer.commit:
            raise ValueError("the answer of a LateCommit must not commit")


PlainFault: TypeAlias = Answer | Disconnect | Reset | Truncate | Drip | MediaType | Hang | LateCommit


def _as_tuple(values: "Iterable[Fault | None]") -> "tuple[Fault | None, ...]":
    return tuple(values)


def _as_weights(values: Iterable[float] | None) -> tuple[float, ...] | None:
    return None if values is None else tuple(values)


@attrs.frozen
class OneOf:
    """Draw one of several faults anew for each request.

    Attributes:
        faults: What is drawn from, 1 or more; ``None`` among them: nothing goes wrong.
        weights: How likely each is, compared with the others, 0 or more; ``None``: all are equally likely.

    Raises:
        ValueError: if there is nothing to draw from, or the weights are not as many as the faults, negative, not
            finite, or all 0.
        TypeError: if one of the faults is none.
    """

    faults: "tuple[Fault | None, ...]" = attrs.field(converter=_as_tuple)
    weights: tuple[float, ...] | None = attrs.field(default=None, converter=_as_weights)

    def __attrs_post_init__(self) -> None:
        if not self.faults:
            raise ValueError("OneOf needs a fault to draw")
        for fault in self.faults:
            check_step(fault)
        if self.weights is None:
            return
        if len(self.weights) != len(self.faults):
            raise ValueError("OneOf needs as many weights as faults")
        if not all(0 <= weight < math.inf for weight in self.weights) or not any(self.weights):
            raise ValueError("weights must be 0 or more, and not all of them 0")

    def draw(self, rng: random.Random) -> PlainFault | None:
        """Return one of them; where that draws itself, what it has drawn."""
        (drawn,) = rng.choices(self.faults, self.weights)
        return drawn.draw(rng) if isinstance(drawn, OneOf) else drawn


Fault: TypeAlias = PlainFault | OneOf
"""Anything that may go wrong with a request."""


def check_step(step: object) -> None:
    """Refuse what is neither a fault nor ``None``, at once and not in the middle of a request.

    Raises:
        TypeError: if it is so.
    """
    if step is not None and not isinstance(step, Fault):
        raise TypeError(f"{type(step).__name__} is no fault")
