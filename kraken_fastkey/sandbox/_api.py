"""What each operation on keys answers: a request's parts in, an answer's parts out. No I/O."""

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Final

import attrs

from kraken_fastkey.sandbox._account import Account, SandboxKey
from kraken_fastkey.sandbox._history import ListHistory
from kraken_fastkey.sandbox._messages import Call, Reply, json_reply
from kraken_fastkey.sandbox._refusal import PERMISSION_DENIED, UNKNOWN_METHOD, RefusalError
from kraken_fastkey.sandbox._scopes import READ, USER_INFO, WRITE, scope_of
from kraken_fastkey.sandbox._tokens import Issued, TokenBook
from kraken_fastkey.sandbox._validation import (
    KeyFields,
    check_create,
    check_delete,
    check_update,
    read_object,
)

REQUIRED_SCOPES: Final[Mapping[str, str]] = {
    "create_key": WRITE,
    "update_key": WRITE,
    "delete_key": WRITE,
    "list_keys": READ,
    "get_user_info": USER_INFO,
}

# RFC 6750 section 2.1; the scheme's name matches in any case (RFC 9110 section 11.1).
_BEARER = re.compile(r"bearer +([A-Za-z0-9\-._~+/]+=*)", re.IGNORECASE)


def kraken_error(status: int, *codes: str) -> Reply:
    """Return an error in Kraken's own shape; Kraken itself sends most of them with status 200."""
    return json_reply(status, {"error": list(codes)})


def unknown_method() -> Reply:
    """Return the answer to a request that is no operation."""
    return kraken_error(404, UNKNOWN_METHOD)


@attrs.frozen(eq=False, repr=False)
class KrakenApi:
    """The five operations on one account, whose ``email`` and ``iban`` are its user info."""

    _account: Account
    _tokens: TokenBook
    _clock: Callable[[], float]
    _user_info: Mapping[str, str]
    _history: ListHistory

    def answer(self, call: Call) -> Reply:
        """Carry out a call, and return its answer; the token is looked at before the body is."""
        token = self._token_of(call.authorization)
        if token is None:
            return _unauthorized()
        required = REQUIRED_SCOPES[call.operation]
        if required not in token.scopes:
            return _insufficient_scope(required)
        try:
            return json_reply(200, {"result": self._result(call, token)})
        except RefusalError as refusal:
            return kraken_error(200, *refusal.codes)

    def revoke(self, name: str) -> None:
        """Delete a key as the user does, who needs no token.

        Raises:
            RefusalError: if there is no such key.
        """
        before = self._account.listed()
        self._account.delete(KeyFields(api_key_name=name))
        self._history.note(before, self._clock())

    def _token_of(self, authorization: Sequence[str]) -> Issued | None:
        """Return what is known of the token; ``None`` if there is none that counts."""
        match = _BEARER.fullmatch(authorization[0]) if len(authorization) == 1 else None
        return self._tokens.find(match[1]) if match else None

    def _result(self, call: Call, token: Issued) -> object:
        """Carry out a call whose token is good, and return its answer's ``result``."""
        if call.operation == "list_keys":
            return [_describe(key) for key in self._history.shown(self._account.listed(), self._clock())]
        if call.operation == "get_user_info":
            return self._user_info
        before = self._account.listed()
        writes = {"create_key": self._create, "update_key": self._update, "delete_key": self._delete}
        result = writes[call.operation](read_object(call.media_type, call.body), token)
        self._history.note(before, self._clock())
        return result

    def _create(self, body: Mapping[str, object], token: Issued) -> object:
        now = self._clock()
        fields = check_create(body, now)
        _check_permissions(fields, token.scopes)
        key = self._account.create(fields, now, token.client_id)
        return {"secret": key.secret, "api_key": key.api_key, **_describe(key)}

    def _update(self, body: Mapping[str, object], token: Issued) -> object:
        now = self._clock()
        fields = check_update(body, now)
        _check_permissions(fields, token.scopes)
        self._account.update(fields, now)
        return True

    def _delete(self, body: Mapping[str, object], _token: Issued) -> object:
        self._account.delete(check_delete(body, self._clock()))
        return True


def _check_permissions(fields: KeyFields, scopes: frozenset[str]) -> None:
    """Refuse permissions that the user did not grant to the app: each that is set true needs its scope."""
    wanted = {scope_of(name) for name, flag in (fields.permissions or {}).items() if flag}
    if not wanted <= scopes:
        raise RefusalError(PERMISSION_DENIED)


def _describe(key: SandboxKey) -> dict[str, object]:
    """Return what an answer says of a key that has been told its secret before."""
    return {
        "api_key_name": key.api_key_name,
        "created_time": key.created_time,
        "id": key.id,
        "ip_allowlist": list(key.ip_allowlist),
        "last_used": key.last_used,
        "modified_time": key.modified_time,
        "nonce": key.nonce,
        "nonce_window": key.nonce_window,
        "oauth_client": key.oauth_client,
        "permissions": dict(key.permissions),
        "purpose": key.purpose,
        "query_from": key.query_from,
        "query_to": key.query_to,
        "valid_until": key.valid_until,
    }


def _unauthorized() -> Reply:
    """Return the answer to a token that does not count, for whatever reason (RFC 6750 section 3)."""
    return json_reply(
        401,
        {
            "error": "invalid_token",
            "error_description": "The access token is missing, malformed, unknown, expired or revoked",
        },
        {"WWW-Authenticate": 'Bearer error="invalid_token"'},
    )


def _insufficient_scope(scope: str) -> Reply:
    """Return the answer to a token that lacks the operation's own scope (RFC 6750 section 3.1)."""
    return json_reply(
        403,
        {
            "error": "insufficient_scope",
            "error_description": f"The access token lacks the scope {scope}",
            "scope": scope,
        },
        {"WWW-Authenticate": f'Bearer error="insufficient_scope", scope="{scope}"'},
    )
