"""Grant: what the user gave the app, and the record that it is kept as."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any, Final

import attrs

from kraken_fastkey._errors import InvalidRequestError, StoreError
from kraken_fastkey._frozendict import FrozenDict
from kraken_fastkey._secret import SecretStr
from kraken_fastkey._tokens import AccessToken, expiry_fault, mask, scopes_fault, shared_scopes, token_fault

_FORMAT: Final = 1
_encode: Final = json.JSONEncoder(separators=(",", ":")).encode  # json.dumps would make such an encoder each time
_NOTHING: Final[FrozenDict[Any]] = FrozenDict()  # one for all grants
_UNREADABLE: Final = "holds what could not be a grant: delete it, and have the user log in again"


@attrs.frozen(kw_only=True)
class Rotation:
    """The journal's entry of a refresh that is under way: written before its request goes out.

    Attributes:
        started_at: When it was written, aware.
        owner: Who wrote it: host, process and a random part.
    """

    started_at: datetime
    owner: str


@attrs.frozen(init=False)
class Grant:
    """What the user gave the app: an access token, and the refresh token that gets the next pair.

    Attributes:
        access_token: The access token.
        refresh_token: The refresh token, good for 30 days; `None` if the server gave none.
        expires_at: When the access token expires, aware; `None` if that is not known.
        scopes: What was granted; `None` if that is not known.
        issued_at: When the pair was issued, aware; `None` if that is not known.
        generation: Which pair of this grant it is, counted by the store that it is saved in; 0 before that.
        rotation: A refresh of this pair that is under way, or was when its process ended.
        unknown: Fields of a stored record that this version of the library does not know; they are kept.
    """

    access_token: SecretStr
    refresh_token: SecretStr | None
    expires_at: datetime | None
    scopes: frozenset[str] | None
    issued_at: datetime | None
    generation: int
    rotation: Rotation | None
    unknown: Mapping[str, Any] = attrs.field(hash=False, repr=lambda value: repr(sorted(value)))

    def __init__(
        self,
        access_token: str | SecretStr,
        refresh_token: str | SecretStr | None = None,
        expires_at: datetime | None = None,
        scopes: str | Iterable[str] | None = None,
        *,
        issued_at: datetime | None = None,
        generation: int = 0,
        rotation: Rotation | None = None,
        unknown: Mapping[str, Any] = _NOTHING,
    ) -> None:
        """Check what is given.

        Raises:
            InvalidRequestError: A token could not be one, or a time has no time zone.
        """
        # Masked at once: what fails below leaves a traceback, perhaps one with locals.
        masked = mask(access_token)
        masked_refresh = None if refresh_token is None else mask(refresh_token)
        del access_token, refresh_token
        granted = scopes.split() if isinstance(scopes, str) else scopes
        granted = tuple(granted) if isinstance(granted, Iterable) else granted
        faults = {
            "access_token": token_fault(masked),
            "refresh_token": None if masked_refresh is None else token_fault(masked_refresh),
            "expires_at": expiry_fault(expires_at) or _utc_fault(expires_at),
            "issued_at": expiry_fault(issued_at) or _utc_fault(issued_at),
            "scopes": scopes_fault(granted),
            "generation": None if type(generation) is int and generation >= 0 else "must be an int, 0 or more",
        }
        if any(faults.values()):
            del self, unknown
            raise InvalidRequestError({field: fault for field, fault in faults.items() if fault})
        assert isinstance(masked, SecretStr)  # noqa: S101  # for type checkers: else there was a fault
        assert masked_refresh is None or isinstance(masked_refresh, SecretStr)  # noqa: S101
        self.__attrs_init__(  # pyright: ignore[reportAttributeAccessIssue]  # attrs makes it, for init=False
            masked,
            masked_refresh,
            expires_at,
            None if granted is None else shared_scopes(granted),
            issued_at,
            generation,
            rotation,
            unknown if isinstance(unknown, FrozenDict) else FrozenDict(unknown),
        )

    def to_access_token(self) -> AccessToken:
        """Return the access token, with what is known of it."""
        return AccessToken(self.access_token, self.expires_at, self.scopes, generation=self.generation)


def grant_to_bytes(grant: Grant) -> bytes:
    """Return a grant as a record to keep. It holds the tokens in clear."""
    record: dict[str, Any] = dict(grant.unknown) | {
        "format": _FORMAT,
        "access_token": grant.access_token.get_secret_value(),
        "refresh_token": None if grant.refresh_token is None else grant.refresh_token.get_secret_value(),
        "expires_at": _to_text(grant.expires_at),
        "scopes": None if grant.scopes is None else sorted(grant.scopes),
        "issued_at": _to_text(grant.issued_at),
        "generation": grant.generation,
        "rotation": None,
    }
    if grant.rotation is not None:
        record["rotation"] = {"started_at": _to_text(grant.rotation.started_at), "owner": grant.rotation.owner}
    return _encode(record).encode("ascii")


def grant_from_bytes(record: bytes, place: str) -> Grant:
    """Return the grant that a record holds.

    Args:
        record: What `grant_to_bytes` made, by this version of the library or another.
        place: Where it was found, for the error.

    Raises:
        StoreError: It could not be a grant's record.
    """
    grant = _parse(record)
    del record  # it must not be in the traceback's locals
    if grant is None:
        raise StoreError(f"{place} {_UNREADABLE}")
    if isinstance(grant, int):
        raise StoreError(f"{place} was written by a newer version of this library (format {grant}): update it here")
    return grant


def _parse(record: bytes) -> Grant | int | None:
    try:
        fields = json.loads(record)
        version = fields.pop("format")
        if type(version) is not int or version != _FORMAT:
            return version if type(version) is int and _FORMAT < version < 10**6 else None
        rotation = fields.pop("rotation")
        return Grant(
            fields.pop("access_token"),
            fields.pop("refresh_token"),
            _from_text(fields.pop("expires_at")),
            fields.pop("scopes"),
            issued_at=_from_text(fields.pop("issued_at")),
            generation=fields.pop("generation"),
            rotation=None if rotation is None else _parse_rotation(rotation),
            unknown=FrozenDict(fields) if fields else _NOTHING,
        )
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError, OverflowError):
        return None


def _parse_rotation(fields: Mapping[str, Any]) -> Rotation:
    return Rotation(started_at=_aware(datetime.fromisoformat(fields["started_at"])), owner=str(fields["owner"]))


def _utc_fault(moment: datetime | None) -> str | None:
    if moment is None or moment.tzinfo is UTC:
        return None
    try:
        moment.astimezone(UTC)
    except OverflowError:
        return "is out of the years 1 to 9999, in UTC"
    return None


def _to_text(moment: datetime | None) -> str | None:
    return None if moment is None else moment.astimezone(UTC).isoformat()


def _from_text(text: str | None) -> datetime | None:
    return None if text is None else _aware(datetime.fromisoformat(text))


def _aware(moment: datetime) -> datetime:
    if moment.tzinfo is None:
        raise ValueError
    return moment.astimezone(UTC)
