"""Kraken's error strings, and what each means for a call.

A string has a severity letter (E or W), a category, a colon and a text, and sometimes more after another
colon. The longest known beginning decides. The words for a name that is taken, or unknown, are documented
nowhere, so those two are known by their text.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

import attrs

from kraken_fastkey._errors import (
    ApiError,
    AuthenticationError,
    DuplicateKeyNameError,
    InvalidArgumentsError,
    KeyNotFoundError,
    Outcome,
    PermissionDeniedError,
    RateLimitedError,
    ServiceUnavailableError,
    TemporaryLockoutError,
    TooManyKeysError,
)
from kraken_fastkey._values import Value


@attrs.frozen(eq=False, repr=False)
class Verdict(Value):
    """What an error string, or a status, says of an attempt.

    Attributes:
        error: The class to raise.
        outcome: Whether Kraken did anything.
        token_rejected: Whether another access token may do.
        known: Whether the string or status is one that we know.
        wait: The least seconds to wait before trying again, if the meaning implies some.
        wait_until: The Unix second until which to wait, if the string names one.
    """

    error: type[ApiError]
    outcome: Outcome = "refused"
    token_rejected: bool = False
    known: bool = True
    wait: float | None = None
    wait_until: float | None = None


_BAD_TOKEN: Final = Verdict(AuthenticationError, token_rejected=True)
_BAD_AUTH: Final = Verdict(AuthenticationError)
_DENIED: Final = Verdict(PermissionDeniedError)
_ARGUMENTS: Final = Verdict(InvalidArgumentsError)
_THROTTLED: Final = Verdict(RateLimitedError)
_DOWN: Final = Verdict(ServiceUnavailableError, "unknown")
_LOCKOUT: Final = Verdict(TemporaryLockoutError)
_TOO_MANY: Final = Verdict(TooManyKeysError)
_DUPLICATE: Final = Verdict(DuplicateKeyNameError)
_NOT_FOUND: Final = Verdict(KeyNotFoundError)
_REFUSED: Final = Verdict(ApiError)
_NEW_TO_US: Final = Verdict(ApiError, "unknown", known=False)

# In lower case; the longest that a string begins with decides.
_CODES: Final[dict[str, Verdict]] = {
    "eaccount:invalid permissions": _DENIED,
    "eaccount:too many api keys": _TOO_MANY,
    "eapi:bad request": _ARGUMENTS,
    "eapi:feature disabled": _DENIED,
    "eapi:invalid key": _BAD_AUTH,
    "eapi:invalid nonce": _REFUSED,
    "eapi:invalid signature": _BAD_AUTH,
    "eapi:rate limit exceeded": _THROTTLED,
    "eauth": _BAD_AUTH,
    "eauth:rate limit exceeded": Verdict(RateLimitedError, wait=60),
    "eauth:too many requests": Verdict(RateLimitedError, wait=60),
    "edatabase:internal error": _DOWN,
    "egeneral:internal error": _DOWN,
    "egeneral:invalid arguments": _ARGUMENTS,
    "egeneral:permission denied": _DENIED,
    "egeneral:temporary lockout": _LOCKOUT,
    "egeneral:too many requests": _THROTTLED,
    "egeneral:unknown error": _DOWN,
    "egeneral:unknown method": _REFUSED,
    "feature disabled": _DENIED,
    "eservice": _DOWN,
    "eservice:throttled": _THROTTLED,
    "esession:invalid session": _BAD_TOKEN,
    # RFC 6749, section 5.2, and RFC 6750, section 3.1
    "access_denied": _DENIED,
    "insufficient_scope": _DENIED,
    "invalid_request": _ARGUMENTS,
    "invalid_token": _BAD_TOKEN,
    "server_error": _DOWN,
    "temporarily_unavailable": _DOWN,
}
# In lower case, too. Compiled, and kept, by `re` when an error first needs them: an import would take 1 ms longer.
_TAKEN: Final = (
    "duplicate|already (exists?|used|taken|in use)|(name|description).*(exists|taken|in use)|(not|be) unique"
)
_MISSING: Final = "not found|no such|unknown (api[ _])?key|(doesn't|does not|not) exist|key.*(missing|unknown)"
_OF_A_KEY: Final = "key|name|description"  # an error that is new may be of anything
_THROTTLED_UNTIL: Final = r"(?a)throttled:\s*(\d{9,11}(\.\d{1,9})?)\b"
_TELLING: Final = 300  # what a string has to say, it says in so many characters
_JUDGED: Final = 100  # no honest answer has more strings, and 1 MiB of them would hold the event loop up
_WARNING: Final = re.compile(r"W[A-Za-z]+:")
_MAY_BE_TAKEN: Final = frozenset({"create_key", "update_key"})
_MAY_BE_MISSING: Final = frozenset({"update_key", "delete_key"})


def is_warning(code: str) -> bool:
    """Whether an error string is a warning, which is no failure."""
    return _WARNING.match(code) is not None


def judge(status: int, codes: Sequence[str], operation: str) -> Verdict | None:
    """Return what an HTTP status and error strings say together, or `None` if nothing is wrong.

    A string that we know decides over the status; where there are several, the gravest. If any of it leaves
    the outcome unknown, it is unknown.

    Args:
        status: The HTTP status code.
        codes: Kraken's error strings, warnings left out.
        operation: The client's method.
    """
    if not codes and 200 <= status < 300:
        return None
    verdicts = [_judge_code(code, operation) for code in codes[:_JUDGED]]
    if len(codes) > _JUDGED:
        verdicts.append(_NEW_TO_US)
    gravest = max(verdicts, key=_gravity, default=None)
    if 200 <= status < 300:
        if gravest is None:
            return None
        unknown = any(verdict.outcome == "unknown" for verdict in verdicts)
    else:
        by_status = _judge_status(status, operation)
        # Beside a 4xx, a string that is new to us is no reason to doubt that nothing was done.
        unknown = any(verdict.outcome == "unknown" for verdict in (by_status, *verdicts) if verdict.known)
        unknown = unknown or by_status is _NEW_TO_US
        gravest = gravest if gravest is not None and gravest.known else by_status
    bad_token = gravest.token_rejected or (status == 401 and gravest.error is AuthenticationError)
    return attrs.evolve(gravest, outcome="unknown" if unknown else "refused", token_rejected=bad_token)


def _judge_code(code: str, operation: str) -> Verdict:
    # Cut: patterns with a gap take time with the square of a text's length.
    text = code[:_TELLING].casefold()
    beginnings = [known for known in _CODES if text.startswith(known) and not text[len(known) :][:1].isalnum()]
    verdict = _CODES[max(beginnings, key=len)] if beginnings else _NEW_TO_US
    if verdict is _ARGUMENTS or (verdict is _NEW_TO_US and re.search(_OF_A_KEY, text)):
        if operation in _MAY_BE_TAKEN and re.search(_TAKEN, text):
            return _DUPLICATE
        if operation in _MAY_BE_MISSING and re.search(_MISSING, text):
            return _NOT_FOUND
    until = re.search(_THROTTLED_UNTIL, text) if verdict is _THROTTLED else None
    return attrs.evolve(verdict, wait_until=float(until[1])) if until else verdict


def _gravity(verdict: Verdict) -> int:
    if verdict.error is TemporaryLockoutError:
        return 4
    if verdict.error is RateLimitedError:
        return 0
    if not verdict.known:
        return 1
    return 3 if verdict.outcome == "unknown" else 2


def _judge_status(status: int, operation: str) -> Verdict:
    match status:
        case 400 | 422:
            return _ARGUMENTS
        case 401:
            return _BAD_TOKEN
        case 403:
            return _DENIED
        case 409 if operation in _MAY_BE_TAKEN:
            return _DUPLICATE
        case 429:
            return _THROTTLED
        case 408:
            return _DOWN
        case _ if 400 <= status < 500:
            return _REFUSED
        case _ if 500 <= status < 600:
            return _DOWN
        case _:
            return _NEW_TO_US
