"""Each method of the API as a call: the request's bytes, and how its answer is read.

Paths, bodies and answers are those of Kraken's OpenAPI description, `paths`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any, Final, Generic, TypeVar

import attrs

from kraken_fastkey._errors import InvalidRequestError
from kraken_fastkey._frozendict import FrozenDict
from kraken_fastkey._models import (
    CreateKeyRequest,
    FastApiKey,
    KeyInfo,
    Permissions,
    UpdateKeyRequest,
    UserInfo,
    resolve_times,
)
from kraken_fastkey._validation import FieldError, check_name
from kraken_fastkey._wire.converter import structure
from kraken_fastkey._wire.fields import Faults
from kraken_fastkey._wire.http import WireRequest

_T = TypeVar("_T")
_PATH: Final = "/fast-api-key"
LIST_PATHS: Final = ("/fast-api-keys", "/fast-api-key")
"""Where the keys may be listed: today's address first, then that of the OpenAPI description."""
_ENOUGH_FAULTS: Final = 100  # to tell those of 1 MiB of entries would hold the event loop up for seconds


@attrs.define(kw_only=True, eq=False, repr=False)
class Call(Generic[_T]):
    """One call of the API, before any attempt at it.

    Attributes:
        operation: The client's method.
        request: What to send.
        read_result: Makes the answer's `result` an object; `None` stands for one that is null or left out. It is
            passed `api_key_name`, too.
        needs_result: Whether a successful answer must have a `result` field.
        repeatable: Whether it may be sent again when its outcome is unknown.
        api_key_name: The key that it concerns, where it is one.
        when_gone: What to return if an attempt finds nothing to do, where an earlier one may have done it.
        permissions: What the key is to be allowed.
        parameters: What the key is to be like, as sent: all of its body but the names.
    """

    operation: str
    request: WireRequest
    read_result: Callable[[Any, str | None], _T | Faults]
    needs_result: bool = True
    repeatable: bool = True
    api_key_name: str | None = None
    when_gone: Callable[[], _T] | None = None
    permissions: Permissions | None = None
    parameters: Mapping[str, Any] = FrozenDict()

    @property
    def scopes(self) -> frozenset[str]:
        """The OAuth scopes that the key's permissions take."""
        return frozenset() if self.permissions is None else self.permissions.scopes()


def create_key(request: CreateKeyRequest, now: float) -> Call[FastApiKey]:
    """Return the call that creates a key.

    Raises:
        InvalidRequestError: A time in the request has passed since it was made.
    """
    name = request.api_key_name
    parameters = _parameters(request, now)
    if not request.ip_allowlist:
        parameters.pop("ip_allowlist", None)
    return Call(
        operation="create_key",
        request=_with_body("POST", {"api_key_name": name, **parameters}),
        read_result=_read_created,
        repeatable=False,
        api_key_name=name,
        permissions=request.permissions,
        parameters=parameters,
    )


def update_key(request: UpdateKeyRequest, now: float) -> Call[None]:
    """Return the call that changes a key.

    Raises:
        InvalidRequestError: A time in the request has passed since it was made.
    """
    parameters = _parameters(request, now)
    body: dict[str, Any] = {"api_key_name": request.api_key_name}
    if request.new_api_key_name is not None:
        body["new_api_key_name"] = request.new_api_key_name
    return Call(
        operation="update_key",
        request=_with_body("PUT", body | parameters),
        read_result=_read_done,
        needs_result=False,
        repeatable=False,
        api_key_name=request.api_key_name,
        permissions=request.permissions,
        parameters=parameters,
    )


def delete_key(api_key_name: str) -> Call[None]:
    """Return the call that deletes a key.

    Raises:
        InvalidRequestError: The name could be no key's.
    """
    try:
        check_name(api_key_name)
    except FieldError as error:
        fault = str(error)
    else:
        return Call(
            operation="delete_key",
            request=_with_body("DELETE", {"api_key_name": api_key_name}),
            read_result=_read_done,
            needs_result=False,
            api_key_name=api_key_name,
            when_gone=lambda: None,
        )
    raise InvalidRequestError({"api_key_name": fault})


def list_keys(path: str) -> Call[tuple[KeyInfo, ...]]:
    """Return the call that lists the keys, at one of `LIST_PATHS`."""
    return Call(operation="list_keys", request=_without_body(path), read_result=_read_keys)


def get_user_info() -> Call[UserInfo]:
    """Return the call that tells whose account it is."""
    return Call(operation="get_user_info", request=_without_body("/userinfo"), read_result=_read_user)


def _parameters(request: CreateKeyRequest | UpdateKeyRequest, now: float) -> dict[str, Any]:
    body: dict[str, Any] = {}
    if request.ip_allowlist is not None:
        body["ip_allowlist"] = list(request.ip_allowlist)
    if request.nonce_window is not None:
        body["nonce_window"] = request.nonce_window
    if request.permissions is not None:
        body["permissions"] = request.permissions.flags()
    return body | resolve_times(request, now)


_encode: Final = json.JSONEncoder(separators=(",", ":")).encode  # json.dumps would make such an encoder for each call


def _with_body(method: str, body: dict[str, Any]) -> WireRequest:
    return WireRequest(method, _PATH, "application/json", _encode(body).encode("ascii"))


def _without_body(path: str) -> WireRequest:
    return WireRequest("GET", path)


def _read_created(result: Any, name: str | None) -> FastApiKey | Faults:
    if isinstance(result, dict) and not result.get("api_key_name"):
        # The name is known without the answer.
        result = {**result, "api_key_name": name}
    key = structure(result, FastApiKey, "$.result")
    if isinstance(key, FastApiKey) or not isinstance(result, dict):
        return key
    # The secret is shown this once: a field of the wrong type beside it is kept as it came, not a reason to lose it.
    odd = {field: result[field] for field in key.fields if field in result}
    fields = {"api_key_name": name, **{field: value for field, value in result.items() if field not in odd}}
    rest = structure(fields, FastApiKey, "$.result")
    return key if isinstance(rest, Faults) else attrs.evolve(rest, unknown=FrozenDict({**rest.unknown, **odd}))


def _read_done(result: Any, _: str | None) -> Faults | None:
    # Kraken describes `true` as the default, so a null or a missing result is one, too.
    return None if result is None or result is True else Faults(("$.result: must be true",))


def _read_keys(result: Any, _: str | None) -> tuple[KeyInfo, ...] | Faults:
    if result is None:
        return ()
    if not isinstance(result, list):
        return Faults(("$.result: must be a list",))
    keys: list[KeyInfo] = []
    faults: list[str] = []
    for position, entry in enumerate(entry for entry in result if entry is not None):
        key = structure(entry, KeyInfo, f"$.result[{position}]")
        if isinstance(key, KeyInfo):
            keys.append(key)
        else:
            faults += key.paths
        if len(faults) >= _ENOUGH_FAULTS:
            break
    return Faults(tuple(faults)) if faults else tuple(keys)


def _read_user(result: Any, _: str | None) -> UserInfo | Faults:
    return structure({} if result is None else result, UserInfo, "$.result")
