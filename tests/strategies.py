"""What the tests of the pure modules share: hypothesis strategies, good answers, and a search for leaks."""

import base64
import copy
import ipaddress
import json
import pickle
import traceback
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final, TypeVar

import pytest
from hypothesis import strategies as st

import kraken_fastkey
from kraken_fastkey import (
    AllowlistEntry,
    CreateKeyRequest,
    FastKeyError,
    Permissions,
    Time,
    UpdateKeyRequest,
)
from kraken_fastkey._wire import (
    LIST_PATHS,
    Call,
    WireResponse,
    create_key,
    delete_key,
    get_user_info,
    list_keys,
    update_key,
)
from kraken_fastkey._wire.http import Completeness

_T = TypeVar("_T")

NOW: Final = 1_800_000_000.0  # Fri, 15 Jan 2027 08:00:00 GMT
FAR: Final = 4_102_444_800  # 2100-01-01T00:00:00Z: in the future, for as long as these tests run
LAST: Final = 253_402_300_799  # 9999-12-31T23:59:59Z

SECRET: Final = base64.b64encode(b"FAKE-secret-of-sixty-four-bytes-that-opens-nothing-whatsoever-..").decode()
"""Looks like the secret half of a key: 88 characters of base64."""

GOOD_RESULT: Final[Mapping[str, Any]] = {
    "secret": SECRET,
    "api_key": "FAKE-public-half",
    "api_key_name": "grid-bot",
    "created_time": "1799999999",
    "id": "Z3JpZC1ib3Q-",
    "ip_allowlist": ["203.0.113.0/24", "2001:db8::/32"],
    "last_used": 1_799_999_000,
    "modified_time": "2027-01-15T07:59:59Z",
    "nonce": 2**53 + 1,
    "nonce_window": 10_000,
    "oauth_client": "FAKE-app",
    "permissions": {"funds_query": True, "funds_withdraw": False},
    "purpose": "standard",
    "query_from": 1_700_000_000,
    "query_to": 0,
    "valid_until": 1_800_604_800,
}
"""Each field that the OpenAPI description has, in the answer to a create request."""


def answer(
    body: object = None,
    status: int = 200,
    headers: Mapping[str, str] | None = None,
    completeness: Completeness = "complete",
) -> WireResponse:
    """Return an answer; what is not bytes goes out as JSON, with its media type."""
    if isinstance(body, bytes):
        return WireResponse(status, headers or {}, body, completeness)
    return WireResponse(
        status, {"content-type": "application/json", **(headers or {})}, json.dumps(body).encode(), completeness
    )


def created(**changes: object) -> dict[str, Any]:
    """Return a good create answer's `result` with some fields changed."""
    return copy.deepcopy(dict(GOOD_RESULT)) | changes


def create_call(name: str = "grid-bot") -> Call[Any]:
    """Return a create call, whose secret must not be lost."""
    return create_key(CreateKeyRequest(name), NOW)


CALLS: Final[dict[str, Call[Any]]] = {
    "create_key": create_call(),
    "update_key": update_key(UpdateKeyRequest("grid-bot"), NOW),
    "delete_key": delete_key("grid-bot"),
    "list_keys": list_keys(LIST_PATHS[0]),
    "get_user_info": get_user_info(),
}
"""One call of each kind."""


def repickle(value: _T, protocol: int | None = None) -> _T:
    """Return what comes out of a pickle of a value."""
    again: _T = pickle.loads(pickle.dumps(value, protocol))  # noqa: S301  # our own
    return again


def shown_by(error: FastKeyError) -> str:
    """Return all that an error shows of itself once it has been raised, in a traceback with locals as well."""
    with pytest.raises(type(error)) as caught:
        raise error
    raised = traceback.TracebackException.from_exception(caught.value, capture_locals=True)
    told = [str(error), repr(error), repr(error.args), "".join(raised.format())]
    told += [str(getattr(error, name, "")) for name in ("excerpt", "faults", "media_type")]
    return "\n".join(told)


def package_locals(error: BaseException) -> str:
    """Return the locals of the package's own frames in an error's traceback, and the message."""
    raised = traceback.TracebackException.from_exception(error, capture_locals=True)
    home = str(Path(kraken_fastkey.__file__).parent)
    frames = [frame for frame in raised.stack if frame.filename.startswith(home)]
    assert frames, "the error was not raised by the package"
    return "\n".join([str(frame.locals) for frame in frames] + list(raised.format_exception_only()))


def leaks(text: str, secret: str = SECRET, least: int = 8) -> list[str]:
    """Return the pieces of a secret, of at least so many characters, that a text shows."""
    return [piece for i in range(len(secret) - least + 1) if (piece := secret[i : i + least]) in text]


names: Final[st.SearchStrategy[str]] = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=32)
"""Valid names of keys."""

flag_names: Final[st.SearchStrategy[str]] = st.from_regex(r"[a-z][a-z_]{0,30}", fullmatch=True).filter(
    lambda name: name not in Permissions.NAMES
)
"""Names of flags that Kraken's description does not have."""

permissions: Final[st.SearchStrategy[Permissions]] = st.builds(
    lambda flags, extra: Permissions(**flags, extra=extra),
    st.dictionaries(st.sampled_from(Permissions.NAMES), st.none() | st.booleans()),
    st.dictionaries(flag_names, st.booleans(), max_size=3),
)
"""Any permissions."""


@st.composite
def networks(draw: st.DrawFn) -> ipaddress.IPv4Network | ipaddress.IPv6Network:
    """Draw a network without host bits."""
    address = draw(st.ip_addresses())
    prefix = draw(st.integers(0, address.max_prefixlen))
    return ipaddress.ip_network(f"{address}/{prefix}", strict=False)


allowlist_entries: Final[st.SearchStrategy[AllowlistEntry]] = st.one_of(
    st.ip_addresses(), st.ip_addresses().map(str), networks(), networks().map(str)
)
"""Addresses and networks, as objects and as text."""

zones: Final = st.timezones() | st.just(UTC)

past_times: Final[st.SearchStrategy[Time]] = st.one_of(
    st.integers(1, 1_500_000_000),
    st.floats(1, 1_500_000_000),
    st.datetimes(datetime(1970, 1, 3), datetime(2017, 1, 1), timezones=zones),  # noqa: DTZ001  # gets a zone
    st.timedeltas(timedelta(days=-3000), timedelta(days=-1)),
)
"""Moments before the present."""

future_times: Final[st.SearchStrategy[Time]] = st.one_of(
    st.integers(FAR, LAST),
    st.floats(FAR, LAST),
    st.datetimes(datetime(2100, 1, 3), datetime(9999, 12, 28), timezones=zones),  # noqa: DTZ001  # gets a zone
    st.timedeltas(timedelta(hours=1), timedelta(days=10_000)),
)
"""Moments after the present."""

no_restriction: Final[st.SearchStrategy[Time]] = st.sampled_from([0, 0.0])

_PARAMETERS: Final[dict[str, st.SearchStrategy[Any]]] = {
    "permissions": st.none() | permissions,
    "ip_allowlist": st.lists(allowlist_entries, max_size=4),
    "nonce_window": st.none() | st.integers(0, 2**64 - 1),
    "query_from": st.none() | no_restriction | past_times,
    "query_to": st.none() | no_restriction | future_times,
    "valid_until": st.none() | no_restriction | future_times,
}

create_requests: Final[st.SearchStrategy[CreateKeyRequest]] = st.builds(
    CreateKeyRequest, api_key_name=names, **_PARAMETERS
)
"""Any valid request to create a key."""

update_requests: Final[st.SearchStrategy[UpdateKeyRequest]] = st.builds(
    UpdateKeyRequest,
    api_key_name=names,
    new_api_key_name=st.none() | names,
    **(_PARAMETERS | {"ip_allowlist": st.none() | _PARAMETERS["ip_allowlist"]}),
)
"""Any valid request to change a key."""

json_values: Final[st.SearchStrategy[Any]] = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.integers(-(10**320), 10**320)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text()
    | st.sampled_from(["EAPI:Invalid key", "WDatabase:No change", "EService:Throttled: 1800000003", SECRET]),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)
"""Whatever JSON can say."""

calls: Final[st.SearchStrategy[Call[Any]]] = st.sampled_from(list(CALLS.values()))
statuses: Final[st.SearchStrategy[int]] = st.sampled_from([200, 201, 204, 400, 401, 403, 404, 429, 500, 503]) | (
    st.integers(100, 999)
)
completenesses: Final[st.SearchStrategy[Completeness]] = st.sampled_from(["complete", "cut_off", "too_large"])

_header_texts: Final = st.text(max_size=60) | st.sampled_from(
    ["application/json", "text/html; charset=utf-8", "text/plain", "-1", "1e400", "Fri, 15 Jan 2027 08:00:10 GMT"]
)
headers: Final[st.SearchStrategy[dict[str, str]]] = st.dictionaries(
    st.sampled_from(["content-type", "retry-after", "date", "cf-ray", "www-authenticate"]), _header_texts
)
"""Headers, above all those that are read."""


@st.composite
def mutated_answers(draw: st.DrawFn) -> dict[str, Any]:
    """Draw a good create answer with a few fields replaced, left out or added, at any depth."""
    payload: dict[str, Any] = {"result": created(), "error": []}
    for _ in range(draw(st.integers(1, 3))):
        place = draw(st.sampled_from([payload, *(v for v in payload.values() if isinstance(v, dict))]))
        key = draw(st.sampled_from(sorted(place)) | st.text(max_size=8) if place else st.text(max_size=8))
        if draw(st.booleans()):
            place.pop(key, None)
        else:
            place[key] = draw(json_values)
    return payload
