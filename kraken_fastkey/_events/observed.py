"""What a hook alone is told: each call, and each HTTP request, from its start to its end."""

from __future__ import annotations

from typing import ClassVar, Literal

import attrs

from kraken_fastkey._errors import Outcome
from kraken_fastkey._events.event import Event

AttemptOutcome = Literal["succeeded"] | Outcome
"""What an attempt did at Kraken: `"succeeded"`, or how it failed, see `Outcome`."""


@attrs.frozen(kw_only=True, eq=False, repr=False)
class CallStarted(Event):
    """A method of the client was called.

    Attributes:
        operation: The client's method.
        api_key_name: The key that it concerns; `None` where it concerns none.
    """

    name: ClassVar[str] = "kraken_fastkey.call.start"

    operation: str
    api_key_name: str | None = None


@attrs.frozen(kw_only=True, eq=False, repr=False)
class CallEnded(Event):
    """A call has ended. If its caller was cancelled, it ends when what was under way has been cleared up.

    Attributes:
        operation: The client's method.
        api_key_name: The key that it concerned in the end; `None` where it concerned none.
        seconds: How long it took.
        attempts: How many HTTP requests were sent in it, those of its reconciliation, and of a refresh that it began,
            among them.
        outcome: What the call did at Kraken, all attempts together; `None` if it was cancelled, or if it failed with
            an exception that is no `FastKeyError`.
        error_type: The class of the exception that it failed with, such as `"RateLimitedError"`; `None` if it
            succeeded.
        status: The HTTP status that it failed with; `None` if it succeeded, or there was no answer.
        codes: Kraken's own error strings.
    """

    name: ClassVar[str] = "kraken_fastkey.call.end"

    operation: str
    api_key_name: str | None = None
    seconds: float
    attempts: int
    outcome: AttemptOutcome | None
    error_type: str | None = None
    status: int | None = None
    codes: tuple[str, ...] = ()


@attrs.frozen(kw_only=True, eq=False, repr=False)
class AttemptStarted(Event):
    """An HTTP request is about to be sent.

    Attributes:
        operation: What it does: the client's method, `"refresh"` or `"exchange_code"`. Within a call's
            reconciliation it is another method than the call's.
        attempt_id: A number that is unique in the process, the same for the attempt's start and end.
        attempt: The how manieth request of this operation it is, 1 or more.
        method: The HTTP method.
        url: Where it is sent to: neither query nor credentials are in it.
    """

    name: ClassVar[str] = "kraken_fastkey.attempt.start"

    operation: str
    attempt_id: int
    attempt: int
    method: str
    url: str


@attrs.frozen(kw_only=True, eq=False, repr=False)
class AttemptEnded(Event):
    """An HTTP request was answered, or has failed.

    Attributes:
        operation: As for `AttemptStarted`.
        attempt_id: As for `AttemptStarted`.
        attempt: As for `AttemptStarted`.
        method: As for `AttemptStarted`.
        url: As for `AttemptStarted`.
        seconds: How long it took.
        outcome: What it did at Kraken.
        status: The answer's HTTP status; `None` if there was no answer.
        http_version: HTTP's version of the answer, such as `"1.1"`; `None` if there was no answer.
        error_type: The class of the exception that it failed with; `None` if it succeeded.
        codes: Kraken's own error strings.
    """

    name: ClassVar[str] = "kraken_fastkey.attempt.end"

    operation: str
    attempt_id: int
    attempt: int
    method: str
    url: str
    seconds: float
    outcome: AttemptOutcome
    status: int | None = None
    http_version: str | None = None
    error_type: str | None = None
    codes: tuple[str, ...] = ()
