"""The token endpoint on the wire (RFC 6749, sections 4.1.3, 4.1.4, 5 and 6).

Its answer is declared form-encoded and is JSON in practice, so it is read from its bytes, whatever its media type
says: a refresh token is spent when the answer comes, and must not be lost over a header.
"""

from __future__ import annotations

import json
import math
import re
from typing import Any, Final, Literal
from urllib.parse import parse_qs, urlencode

import attrs

from kraken_fastkey._errors import FastKeyError, OAuthError, ReauthorizationRequiredError
from kraken_fastkey._secret import SecretStr
from kraken_fastkey._wire.answers import read_answer, unreadable
from kraken_fastkey._wire.calls import Call
from kraken_fastkey._wire.excerpt import masked_line
from kraken_fastkey._wire.fields import Faults
from kraken_fastkey._wire.http import FORM, WireRequest, WireResponse

TokenOperation = Literal["exchange_code", "refresh"]

_NO_TOKEN: Final = ("$.access_token: is missing",)
_ADVICE: Final = {
    "invalid_client": "Kraken does not know the app: check client_id and client_secret",
    "invalid_grant": "The code or token is used up, expired or revoked: have the user log in again",
    "invalid_request": "Kraken found the request malformed: check redirect_uri",
    "invalid_scope": "Ask for scopes that the app was registered with",
    "unauthorized_client": "The app may not use this kind of login: ask Kraken to allow it",
    "unsupported_grant_type": "The app may not use this kind of login: ask Kraken to allow it",
}


@attrs.frozen(kw_only=True)
class TokenAnswer:
    """What the token endpoint gave.

    Attributes:
        access_token: The access token.
        refresh_token: The new refresh token; `None` if the answer had none, so that the old one holds on.
        expires_in: The access token's life in seconds, as it was told; `None` if it made no sense.
        scope: What was granted, with spaces between; `None` if the answer did not say.
    """

    access_token: SecretStr
    refresh_token: SecretStr | None
    expires_in: float | None
    scope: str | None


def code_request(*, code: SecretStr, redirect_uri: str, code_verifier: SecretStr) -> WireRequest:
    """Return the request that exchanges a code, all but its client authentication (RFC 6749, 4.1.3; RFC 7636, 4.5)."""
    return _request(
        grant_type="authorization_code",
        code=code.get_secret_value(),
        redirect_uri=redirect_uri,
        code_verifier=code_verifier.get_secret_value(),
    )


def refresh_request(refresh_token: SecretStr) -> WireRequest:
    """Return the request that refreshes a grant, all but its client authentication (RFC 6749, section 6)."""
    return _request(grant_type="refresh_token", refresh_token=refresh_token.get_secret_value())


def _request(**fields: str) -> WireRequest:
    return WireRequest("POST", "", FORM, urlencode(fields).encode("ascii"))


def read_token_answer(operation: TokenOperation, response: WireResponse, now: float) -> TokenAnswer | FastKeyError:
    """Return the tokens that an answer's bytes hold, or the error that they mean. Nothing is raised.

    Args:
        operation: What was asked.
        response: What came back; any bytes, with any status.
        now: The present, in Unix seconds.
    """
    fields = _parse(response) if response.completeness == "complete" else {}
    code = fields.get("error")
    given = bool(fields.get("access_token"))
    if isinstance(code, str) and code in _ADVICE and response.status < 500 and not given:
        return _oauth_error(operation, code, fields.get("error_description"), response.status)
    # Of other errors it is told what of any other call's would be.
    call: Call[None] = Call(
        operation=operation, request=_request(), read_result=lambda *_: Faults(_NO_TOKEN), repeatable=False
    )
    if not fields or code or not 200 <= response.status < 300:
        error = read_answer(call, response, now)
        if not isinstance(error, FastKeyError):
            return unreadable(call, response, _NO_TOKEN[0], _NO_TOKEN)
        if given:
            # Error or status say no, and yet there is a token: then the old pair may be spent.
            error.outcome = "unknown"
        return error
    faults = _faults(fields)
    if faults:
        return unreadable(call, response, "; ".join(faults), faults)
    return TokenAnswer(
        access_token=SecretStr(fields["access_token"]),
        refresh_token=SecretStr(fields["refresh_token"]) if fields.get("refresh_token") else None,
        expires_in=_seconds(fields.get("expires_in")),
        scope=fields["scope"] if isinstance(fields.get("scope"), str) else None,
    )


def _parse(response: WireResponse) -> dict[str, Any]:
    try:
        fields = json.loads(response.body)
    except (ValueError, RecursionError):
        pass
    else:
        return fields if isinstance(fields, dict) else {}
    try:
        form = parse_qs(response.body.decode("ascii"), keep_blank_values=True, max_num_fields=50, strict_parsing=True)
    except ValueError:
        return {}
    # A field twice could mean either.
    return {name: values[0] if len(values) == 1 else None for name, values in form.items()}


def _faults(fields: dict[str, Any]) -> tuple[str, ...]:
    faults = []
    for name in ("access_token", "refresh_token"):
        value = fields.get(name)
        if name == "refresh_token" and (value is None or value == ""):
            continue  # no token: the old one holds on (RFC 6749, section 6)
        if not isinstance(value, str) or not re.fullmatch(r"[\x21-\x7e]+", value):
            faults.append(f"$.{name}: must be a string that could be a token")
    kind = fields.get("token_type")
    if kind is not None and (not isinstance(kind, str) or kind.casefold() != "bearer"):
        faults.append("$.token_type: must be bearer")
    return tuple(faults)


def _seconds(value: Any) -> float | None:
    if isinstance(value, str) and re.fullmatch(r"-?[0-9]{1,15}(\.[0-9]{1,9})?", value, re.ASCII):
        value = float(value)
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not -math.inf < value < math.inf:
        return None
    return float(min(max(value, -1e15), 1e15))


def _oauth_error(operation: TokenOperation, code: str, description: object, status: int) -> OAuthError:
    told = f" ({masked_line(description)})" if isinstance(description, str) and description else ""
    message = f"Kraken answered {status}: {code}{told}. {_ADVICE[code]}."
    if code == "invalid_grant" and operation == "refresh":
        return ReauthorizationRequiredError(message, cause="revoked", operation=operation, status=status, codes=(code,))
    return OAuthError(message, operation=operation, status=status, codes=(code,))
