"""The two errors that a call ends in after a doubt: it stays open what was done, or it is sure that nothing was."""

from __future__ import annotations

from typing import Any, Final

from kraken_fastkey._errors import FastKeyError, UnknownOutcomeError
from kraken_fastkey._wire import Call

_DONE: Final = {"create_key": "created", "update_key": "changed"}


def unknown(call: Call[Any], error: FastKeyError, advice: str) -> UnknownOutcomeError:
    """Return the error that a call of unknown outcome ends in."""
    name = str(call.api_key_name)
    done = _DONE[call.operation]
    return UnknownOutcomeError(
        f"the key {name!r} may have been {done}: {advice}; it may take a minute to show. "
        f"What happened: {error.args[0]}",
        api_key_name=name,
        operation=call.operation,
        attempts=error.attempts,
        outcome="unknown",
        status=error.status,
        codes=error.codes,
        retry_after=error.retry_after,
    )


def undone(call: Call[Any], error: FastKeyError) -> FastKeyError:
    """Return the error itself, which left it open what was done, now that nothing is known to be left of it."""
    error.args = (f"{error.args[0]} The client has looked since: nothing is left of it at {call.api_key_name!r}.",)
    error.outcome = "refused"
    return error
