"""The spot REST API as far as a key is verified by it: `{"error": [...], "result": {...}}`, with status 200 always."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final, TypeVar

import attrs

from kraken_fastkey._errors import (
    ApiError,
    AuthenticationError,
    InvalidArgumentsError,
    PermissionDeniedError,
    RateLimitedError,
)
from kraken_fastkey._frozendict import FrozenDict
from kraken_fastkey._models import KeyInfo, Permissions
from kraken_fastkey._wire.answers import Answer, read_answer
from kraken_fastkey._wire.calls import Call
from kraken_fastkey._wire.converter import structure
from kraken_fastkey._wire.excerpt import masked_line
from kraken_fastkey._wire.fields import Faults
from kraken_fastkey._wire.http import FORM, WireRequest, WireResponse

_T = TypeVar("_T")

KEY_INFO_PATH: Final = "/0/private/GetApiKeyInfo"

# https://docs.kraken.com/api-reference/account-data/get-api-key-info; the last three can be given to no Fast API key,
# by Kraken's description.
_PERMISSIONS: Final = {
    "query-funds": "funds_query",
    "add-funds": "funds_add",
    "withdraw-funds": "funds_withdraw",
    "earn-funds": "funds_earn",
    "query-open-trades": "trades_query_open",
    "query-closed-trades": "trades_query_closed",
    "modify-trades": "trades_modify",
    "close-trades": "trades_close",
    "query-ledger": "ledger_query",
    "export-data": "export_data",
    "add-withdraw-address": "withdrawal_address_add",
    "update-withdraw-address": "withdrawal_address_update",
    "create-ws-token": "create_ws_token",
}
_NUMBERS: Final = ("nonce", "nonce_window")
_TIMES: Final = ("last_used", "query_from", "query_to", "valid_until")
_ADVICE: Final[dict[type[ApiError], str]] = {
    AuthenticationError: "The key, or its secret, is not the one that Kraken knows, or is gone or expired: compare it "
    "with list_keys(), and make a new one. Do not go on trying: that leads to a lockout",
    PermissionDeniedError: "The key lacks the permission, or this address is not in its ip_allowlist",
    RateLimitedError: "Each key has a counter of its own: wait some seconds",
    InvalidArgumentsError: "Mend the request: sending it again unchanged is of no use",
}
_NONCE_ADVICE: Final = (
    "The key has seen this nonce, or a higher one: let all that use the key share one nonce source, of one unit; "
    "list_keys() tells its highest nonce"
)


@attrs.frozen
class DescribedKey:
    """A key as GetApiKeyInfo describes it.

    Attributes:
        info: All of it. The name is the one that was expected if Kraken told none.
        told: The fields of it that Kraken told, and that could be read.
    """

    info: KeyInfo
    told: frozenset[str]


def get_api_key_info(body: bytes, name: str) -> Call[DescribedKey]:
    """Return the call that has a key described; its signature is the caller's to add.

    Args:
        body: The form, with the nonce.
        name: What the key is thought to be named.
    """
    return Call(
        operation="verify_key",
        request=WireRequest("POST", KEY_INFO_PATH, FORM, body),
        read_result=_read_key,
        api_key_name=name,
    )


def read_private(call: Call[_T], response: WireResponse, now: float) -> Answer[_T]:
    """Return the result that an answer's bytes hold, or the error that they mean for who signs with a key.

    Args:
        call: What was asked.
        response: What came back; any bytes, with any status.
        now: The present, in Unix seconds.
    """
    answer = read_answer(call, response, now)
    if not isinstance(answer, ApiError) or not answer.codes:
        return answer
    advice = _NONCE_ADVICE if has_code(answer, "eapi:invalid nonce") else _ADVICE.get(type(answer))
    if advice is not None:
        # The other API's advice is about access tokens.
        answer.args = (f"Kraken answered {response.status}: {masked_line(', '.join(answer.codes[:10]))}. {advice}.",)
    if isinstance(answer, AuthenticationError):
        answer.token_rejected = False
    return answer


def has_code(error: ApiError, beginning: str) -> bool:
    """Whether one of Kraken's strings begins so, in lower case."""
    return any(code.casefold().startswith(beginning) for code in error.codes)


def _read_key(result: Any, name: str | None) -> DescribedKey | Faults:
    if not isinstance(result, dict):
        return Faults(("$.result: must be an object",))
    fields = {_snake(field): value for field, value in result.items()}
    fields |= {field: _to_number(fields[field]) for field in _NUMBERS if field in fields}
    fields |= {field: _to_seconds(fields[field]) for field in _TIMES if field in fields}
    if "permissions" in fields:
        fields["permissions"] = _to_flags(fields["permissions"])
    named = {"api_key_name": name} | {field: value for field, value in fields.items() if value is not None}
    info = structure(named, KeyInfo, "$.result")
    odd: dict[str, Any] = {}
    if isinstance(info, Faults):
        # What is of a wrong type is kept as it came: one odd field is no reason to tell nothing of the others.
        odd = {field: named[field] for field in info.fields if field in named}
        rest = {field: value for field, value in named.items() if field not in odd}
        info = structure({"api_key_name": name} | rest, KeyInfo, "$.result")
    if isinstance(info, Faults):
        return info
    info = attrs.evolve(info, unknown=FrozenDict({**info.unknown, **odd}))
    return DescribedKey(
        info, frozenset(field for field, value in fields.items() if value is not None) - set(info.unknown)
    )


def _snake(field: str) -> str:
    return re.sub(r"[A-Z]", lambda letter: f"_{letter[0].lower()}", field)


def _to_number(value: Any) -> Any:
    # int() would take underscores, spaces and other scripts' digits, too, and time for thousands of digits.
    return int(value) if isinstance(value, str) and re.fullmatch(r"[0-9]{1,20}", value, re.ASCII) else value


def _to_seconds(value: Any) -> Any:
    """Return digits as a number, and a date as Unix seconds; anything else as it came."""
    if not isinstance(value, str):
        return value
    if re.fullmatch(r"[0-9]{1,20}(\.[0-9]{0,20})?", value, re.ASCII):
        return float(value) if "." in value else int(value)
    try:
        moment = datetime.fromisoformat(value[:64])
        return (moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment).timestamp()
    except (ValueError, OverflowError):
        return value


def _to_flags(value: Any) -> Any:
    """Return names of granted permissions as flags, in the words of the other API; anything else as it came."""
    if isinstance(value, Mapping):
        return {_name(name): flag for name, flag in value.items()}
    if not isinstance(value, list) or not all(isinstance(name, str) for name in value):
        return value
    # The list is whole, so what is not in it is withheld.
    return dict.fromkeys(Permissions.NAMES, False) | {_name(name): True for name in value}


def _name(name: str) -> str:
    return _PERMISSIONS.get(name, name.replace("-", "_"))
