"""An answer's bytes to a result or an error."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import Any, Final, Generic, TypeVar

import attrs

from kraken_fastkey._errors import (
    ApiError,
    AuthenticationError,
    DuplicateKeyNameError,
    FastKeyError,
    InvalidArgumentsError,
    KeyNotFoundError,
    PermissionDeniedError,
    RateLimitedError,
    ResponseFormatError,
    ServiceUnavailableError,
    TemporaryLockoutError,
    TooManyKeysError,
)
from kraken_fastkey._wire.calls import Call
from kraken_fastkey._wire.codes import Verdict, is_warning, judge
from kraken_fastkey._wire.decoding import decode
from kraken_fastkey._wire.excerpt import excerpt, mask_runs, masked_line, one_line, told_media_type
from kraken_fastkey._wire.fields import Faults
from kraken_fastkey._wire.http import MAX_ANSWER_BYTES, WireResponse, parse_date, parse_retry_after, server_time

_T = TypeVar("_T")

_ADVICE: Final[dict[type[ApiError], str]] = {
    ApiError: "This library does not know the error: see `codes` and `status`",
    AuthenticationError: "Get a new access token, or have the user authorize the app again",
    PermissionDeniedError: "The access token needs the scope of the call, and that of each permission of the key",
    RateLimitedError: "Wait before the next request",
    ServiceUnavailableError: "Kraken is down or overloaded: try again later",
    InvalidArgumentsError: "Mend the request: sending it again unchanged is of no use",
    DuplicateKeyNameError: "Choose another api_key_name, or delete the key that has it",
    TooManyKeysError: "Delete a key that is no longer used: list_keys() tells when each was last used",
    KeyNotFoundError: "list_keys() tells the names there are",
    TemporaryLockoutError: "Send nothing for 15 minutes: each request prolongs the lockout",
}
_RAY: Final = "[0-9a-f]{1,20}(-[A-Z]{3})?"  # anything else may be anything
_USUAL_DATE: Final = re.compile(r"[A-Z][a-z]{2}, \d\d [A-Z][a-z]{2} \d{4} \d\d:\d\d:\d\d GMT", re.ASCII)
_LONGEST_DATE: Final = 40  # RFC 850's has 33 characters at most
_UNREADABLE: Final = {
    "cut_off": "the connection closed before its end",
    "too_large": f"it is larger than {MAX_ANSWER_BYTES} bytes",
}


@attrs.define(eq=False, repr=False)
class Success(Generic[_T]):
    """What a call was for, and the warnings that came along.

    Attributes:
        value: The result.
        warnings: Kraken's `W...` strings, fit to be logged.
        date: The answer's `Date` header, as it came; empty if it had none, or none that looks like a date.
    """

    value: _T
    warnings: tuple[str, ...] = ()
    date: str = ""


Answer = Success[_T] | FastKeyError


def read_answer(call: Call[_T], response: WireResponse, now: float) -> Answer[_T]:
    """Return the result that an answer's bytes hold, or the error that they mean.

    Args:
        call: What was asked.
        response: What came back; any bytes, with any status.
        now: The present, in Unix seconds.
    """
    payload = _parse(response)
    fields = payload if isinstance(payload, dict) else {}
    codes = _error_strings(fields.get("error"))
    errors = [code for code in codes if not is_warning(code)]
    verdict = judge(response.status, errors, call.operation)
    if verdict is not None:
        if fields.get("result"):
            # Error or status say no, and yet there is a result: then something may have been done.
            verdict = attrs.evolve(verdict, outcome="unknown")
        return _to_error(call, response, verdict, codes, _description(fields), now)
    if response.status == 204 and not response.body and not call.needs_result:
        return Success(call.read_result(None, call.api_key_name))  # type: ignore[arg-type]  # faults are for what is there
    if isinstance(payload, _Unreadable):
        return unreadable(call, response, payload.reason)
    if not isinstance(payload, dict):
        return unreadable(call, response, "it is no JSON object", ("$: must be an object",))
    if "result" not in payload and (call.needs_result or "error" not in payload):
        return unreadable(call, response, "it has no result", ("$.result: is missing",))
    value = call.read_result(payload.get("result"), call.api_key_name)
    if isinstance(value, Faults):
        return unreadable(call, response, "; ".join(value.paths[:5]), value.paths)
    warnings = tuple(masked_line(code) for code in codes if is_warning(code)) if codes else ()
    return Success(value, warnings, _date(response))


def _date(response: WireResponse) -> str:
    # What is no date may be anything, and the frames of who keeps it show it.
    date = response.headers.get("date", "")
    # The usual form is known by its look: to parse it would take a third of the time of all that is read.
    if _USUAL_DATE.fullmatch(date) or (len(date) <= _LONGEST_DATE and parse_date(date) is not None):
        return date
    return ""


class _Unreadable:
    def __init__(self, reason: str) -> None:
        self.reason = reason


def _parse(response: WireResponse) -> Any:
    if response.completeness != "complete":
        return _Unreadable(_UNREADABLE[response.completeness])
    if not response.body.strip():
        return _Unreadable("it is empty")
    try:
        # Bytes, whatever the media type: a wrong one must not cost a secret.
        return decode(response.body)
    except (ValueError, RecursionError):
        return _Unreadable("it is not JSON")


def _error_strings(error: Any) -> tuple[str, ...]:
    """Return the `error` field as strings: a list of Kraken's, one of OAuth's, or something else."""
    if not error:
        return ()
    entries = error if isinstance(error, list) else [error]
    return tuple(entry if isinstance(entry, str) else _as_text(entry) for entry in entries)


def _as_text(entry: Any) -> str:
    try:
        return json.dumps(entry)
    except RecursionError:
        return f"(a deeply nested {type(entry).__name__})"


def _description(fields: dict[str, Any]) -> str:
    description = fields.get("error_description")
    return masked_line(description) if isinstance(description, str) else ""


def _to_error(
    call: Call[Any],
    response: WireResponse,
    verdict: Verdict,
    codes: Sequence[str],
    description: str,
    now: float,
) -> ApiError:
    wait = parse_retry_after(response.headers, now)
    if wait is None and verdict.wait_until is not None:
        wait = max(0.0, verdict.wait_until - server_time(response.headers, now))
    details: dict[str, Any] = {
        "operation": call.operation,
        "outcome": verdict.outcome,
        "status": response.status,
        # A server that quotes what it was sent must not put a token into an attribute, and from there into a pickle.
        "codes": [mask_runs(code) for code in codes],
        "retry_after": verdict.wait if wait is None else wait,
    }
    if verdict.error is AuthenticationError:
        details["token_rejected"] = verdict.token_rejected
    told = masked_line(", ".join(code[:200] for code in codes[:10]))
    said = told or excerpt(response.body, response.media_type) or "no text"
    message = f"Kraken answered {response.status}: {said}"
    if description:
        message += f" ({description})"
    return verdict.error(f"{message}{_edge(response)}. {_advice(verdict, response)}.", **details)


def _advice(verdict: Verdict, response: WireResponse) -> str:
    if 300 <= response.status < 400:
        return "Redirects are not followed, since they would carry the token away: check base_url"
    if response.status in {404, 405} and verdict.error is ApiError:
        return "There is no such address: check base_url"
    if response.status == 403 and "html" in response.media_type:
        return "The network edge in front of Kraken blocked the request: its CF-Ray, if there is one, helps support"
    return _ADVICE[verdict.error]


def _edge(response: WireResponse) -> str:
    ray = response.headers.get("cf-ray", "")
    return f" [CF-Ray {ray}]" if re.fullmatch(_RAY, ray) else ""


def unreadable(call: Call[Any], response: WireResponse, reason: str, faults: Sequence[str] = ()) -> ResponseFormatError:
    """Return the error that an answer which cannot be read is."""
    advice = "Ask again" if call.repeatable else "It may have been carried out all the same"
    shown = excerpt(response.body, response.media_type)
    media_type = told_media_type(response.media_type)
    message = f"Kraken's answer ({response.status}, {media_type or 'no media type'}) is unreadable: {reason}"
    if shown:
        message += f", in: {shown}"
    return ResponseFormatError(
        f"{one_line(message, 400)}{_edge(response)}. {advice}.",
        media_type=media_type,
        excerpt=shown,
        faults=faults,
        operation=call.operation,
        outcome="unknown",
        status=response.status,
    )
