"""When to try again, and after how long: pure decisions. No clock, no sleep and no I/O in here."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Final

import attrs

from kraken_fastkey._errors import (
    FastKeyError,
    InvalidRequestError,
    RateLimitedError,
    TemporaryLockoutError,
    TransportError,
)
from kraken_fastkey._values import Value

_PER_RETRY: Final = 10  # the budget is counted in tenths of a retry: ten times 0.1 is not 1
_SHARE_FOR_THE_ATTEMPT: Final = 0.1  # a request that is cut off by the deadline may have been carried out


def _always(_: FastKeyError) -> bool:
    return True


@attrs.frozen(kw_only=True, eq=False, repr=False)
class RetryPolicy(Value):
    """How failed attempts are tried again.

    Only what is safe is tried again, whatever the policy says: a request that was not sent, one that was
    refused for the moment (too many requests), and one of unknown outcome if doing it twice does no harm:
    a read, a delete, and a create or an update of which the client has found out that nothing is left.

    Before the *n*-th retry the client waits a random time between 0 and `min(max_backoff, backoff * 2**(n - 1))`
    seconds ("full jitter"), and not less than Kraken asked for in a `Retry-After`.

    Args:
        max_attempts: How many requests a call may send, 1 or more; 1 is "never again". Repeats with another
            token after a 401, three at most, are not counted.
        backoff: The bound of the first wait, in seconds; more than 0.
        max_backoff: The bound of each wait, in seconds; not less than `backoff`.
        max_retry_after: The longest `Retry-After` that is waited out, in seconds. If Kraken asks for more, the
            error is raised at once, with `retry_after` set.
        deadline: How long a call may take in all, waits and token requests included, in seconds; `None` for
            no bound. A wait that would leave less than a tenth of it for the attempt is not begun.
        budget: How many retries all calls of a client together have in store, so that an outage is not
            multiplied by them. Each retry takes one; each success, and each second, brings back a tenth.
        retry_if: A last word on an error that would be tried again: `False` raises it instead. It is called in
            the event loop, and must not raise: what it raises goes to the caller of the client.

    Raises:
        InvalidRequestError: A number is out of its range.
    """

    max_attempts: int = 4
    backoff: float = 0.5
    max_backoff: float = 20.0
    max_retry_after: float = 60.0
    deadline: float | None = 120.0
    budget: int = 50
    retry_if: Callable[[FastKeyError], bool] = _always

    def __attrs_post_init__(self) -> None:
        faults = {}
        if type(self.max_attempts) is not int or self.max_attempts < 1:
            faults["max_attempts"] = "must be an int, 1 or more"
        if not is_seconds(self.backoff) or self.backoff <= 0:
            faults["backoff"] = "must be seconds, more than 0"
        if not is_seconds(self.max_backoff) or ("backoff" not in faults and self.max_backoff < self.backoff):
            faults["max_backoff"] = "must be seconds, not less than backoff"
        if not is_seconds(self.max_retry_after):
            faults["max_retry_after"] = "must be seconds, 0 or more"
        if self.deadline is not None and (not is_seconds(self.deadline) or self.deadline <= 0):
            faults["deadline"] = "must be seconds, more than 0, or None for no bound"
        if type(self.budget) is not int or self.budget < 0:
            faults["budget"] = "must be an int, 0 or more"
        if not callable(self.retry_if):
            faults["retry_if"] = "must be a function from an error to a bool"
        if faults:
            raise InvalidRequestError({f"retry.{field}": fault for field, fault in faults.items()})

    def wait_before_retry(
        self,
        error: FastKeyError,
        *,
        repeatable: bool,
        attempts: int,
        elapsed: float,
        random: float,
    ) -> float | None:
        """Return how many seconds to wait before trying again, or `None` to give up.

        Args:
            error: Why the last attempt failed.
            repeatable: Whether the call may be sent again when its outcome is unknown.
            attempts: How many attempts have been made, 1 or more.
            elapsed: Seconds since the call began.
            random: A random number, 0 or more and less than 1.
        """
        if attempts >= self.max_attempts or not _is_safe(error, repeatable=repeatable) or not self.retry_if(error):
            return None
        asked = error.retry_after or 0.0
        if asked > self.max_retry_after:
            return None
        wait = max(asked, self._bound(attempts) * random)
        return wait if self.leaves_time(elapsed + wait) else None

    def leaves_time(self, elapsed: float) -> bool:
        """Whether there is time for a request so many seconds after a call began."""
        return self.deadline is None or elapsed <= self.deadline * (1 - _SHARE_FOR_THE_ATTEMPT)

    def _bound(self, attempts: int) -> float:
        # Divided, since the product of a large number could overflow.
        growth = 2.0 ** min(attempts - 1, 1000)
        return self.max_backoff if self.backoff >= self.max_backoff / growth else self.backoff * growth


class RetryBudget:
    """The store of retries that the calls of a client share, a token bucket. It begins full."""

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity * _PER_RETRY
        self._level = self._capacity
        self._filled_at: int | None = None

    def take(self, now: float) -> bool:
        """Take one retry, if there is one.

        Args:
            now: Seconds on a clock that never goes back.
        """
        second = int(now)
        if self._filled_at is None:
            self._filled_at = second
        # Never back, so that a clock that swings brings nothing.
        self._add(max(0, second - self._filled_at))
        self._filled_at = max(self._filled_at, second)
        if self._level < _PER_RETRY:
            return False
        self._level -= _PER_RETRY
        return True

    def succeed(self) -> None:
        """Bring back a tenth of a retry, since a call has succeeded."""
        self._add(1)

    def _add(self, tenths: int) -> None:
        self._level = min(self._capacity, self._level + tenths)


def is_seconds(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and 0 <= value <= sys.float_info.max


def _is_safe(error: FastKeyError, *, repeatable: bool) -> bool:
    if isinstance(error, TemporaryLockoutError):
        return False  # whatever else it says: each request prolongs the lockout
    match error.outcome:
        case "not_sent":
            # What the token provider or an argument is to blame for, waiting does not mend.
            return isinstance(error, TransportError)
        case "refused":
            # Too many attempts to authenticate are on the way to a lockout, so only what does no harm is tried again.
            throttled_login = any(code.startswith("EAuth:") for code in error.codes)
            return isinstance(error, RateLimitedError) and (repeatable or not throttled_login)
        case "unknown":
            return repeatable
