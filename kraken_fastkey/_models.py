"""What a user fills in, and what comes back: attrs classes, frozen and slotted.

Names and meanings are those of Kraken's OpenAPI description (`APIKeyParameters`, `APIKeyInfo`).
"""

from __future__ import annotations

import functools
import operator
import os
import secrets
import time
from collections.abc import Callable, Container, Iterable, Mapping
from datetime import datetime
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from typing import Any, ClassVar, Final, Self

import attrs

from kraken_fastkey._errors import InvalidRequestError
from kraken_fastkey._frozendict import FrozenDict
from kraken_fastkey._secret import SecretStr
from kraken_fastkey._validation import (
    MAX_NAME_LENGTH,
    FieldError,
    Time,
    check_allowlist,
    check_name,
    check_nonce_window,
    check_time,
    to_unix,
)
from kraken_fastkey._values import Value

AllowlistEntry = str | IPv4Address | IPv6Address | IPv4Network | IPv6Network
"""One IP address or network of an allowlist."""

_SCOPE_PREFIX: Final = "account.fast-api-key:"
_CALL_SCOPES: Final = frozenset({"read", "write", "multiple"})  # they allow calls, not what a key may do
_CHECK: Final = "kraken_fastkey.check"  # a field's faults are collected, not raised one by one


@functools.cache
def _checks(cls: type) -> tuple[tuple[str, Callable[[object], object], bool], ...]:
    """Return the fields that have a check, the checks, and whether `None` there means "left out"."""
    fields = (field for field in attrs.fields(cls) if _CHECK in field.metadata)
    return tuple((field.name, field.metadata[_CHECK], field.default is None) for field in fields)


def _collect_faults(instance: Any) -> dict[str, str]:
    """Make each declared field regular in place, and return what is wrong, by field."""
    faults: dict[str, str] = {}
    for name, check, is_optional in _checks(type(instance)):  # type: ignore[arg-type]  # classes have hashes
        value = getattr(instance, name)
        if value is None and is_optional:
            continue
        try:
            checked = check(value)
        except FieldError as error:
            faults[name] = str(error)
        else:
            if checked is not value:
                object.__setattr__(instance, name, checked)
    return faults


def _check_flag(value: object) -> bool:
    if not isinstance(value, bool):
        raise FieldError(f"must be True, False or None, not {type(value).__name__}")
    return value


def _is_flag_name(name: object) -> bool:
    return isinstance(name, str) and name.isascii() and name.isidentifier()


def _check_extra(value: object) -> FrozenDict[bool]:
    if not isinstance(value, Mapping):
        raise FieldError(f"must be a mapping of names to flags, not {type(value).__name__}")
    for name, flag in value.items():
        if not _is_flag_name(name):
            raise FieldError(f"{name!r:.64} is no permission's name, which is written like_this")
        if name in Permissions.NAMES:
            raise FieldError(f"{name!r} is documented: give it as an argument of its own")
        if not isinstance(flag, bool):
            raise FieldError(f"{name!r} must be True or False, not {type(flag).__name__}")
    return FrozenDict(value)


_FLAG: Final = {_CHECK: _check_flag}


@attrs.frozen(kw_only=True, eq=False, repr=False)
class Permissions(Value):
    """What a key may do. `True` grants, `False` withholds, `None` is not sent.

    A create request grants what is `True` and nothing else. An update leaves alone what is `None`.

    Args:
        export_data: Export the ledger's history.
        funds_add: Deposit funds.
        funds_earn: Allocate funds to earn rewards, and take them back.
        funds_query: See balances.
        funds_withdraw: Withdraw funds. A key that may do this can empty the account.
        ledger_query: See the ledger.
        trades_close: Cancel orders and close positions.
        trades_modify: Place and change orders.
        trades_query_closed: See closed orders and trades.
        trades_query_open: See open orders and trades.
        extra: Flags that Kraken's description does not have, such as `withdrawal_address_add`, by name.

    Raises:
        InvalidRequestError: A flag is not a bool or `None`.
    """

    NAMES: ClassVar[tuple[str, ...]] = (
        "export_data",
        "funds_add",
        "funds_earn",
        "funds_query",
        "funds_withdraw",
        "ledger_query",
        "trades_close",
        "trades_modify",
        "trades_query_closed",
        "trades_query_open",
    )
    """The ten documented flags."""

    export_data: bool | None = attrs.field(default=None, metadata=_FLAG)
    funds_add: bool | None = attrs.field(default=None, metadata=_FLAG)
    funds_earn: bool | None = attrs.field(default=None, metadata=_FLAG)
    funds_query: bool | None = attrs.field(default=None, metadata=_FLAG)
    funds_withdraw: bool | None = attrs.field(default=None, metadata=_FLAG)
    ledger_query: bool | None = attrs.field(default=None, metadata=_FLAG)
    trades_close: bool | None = attrs.field(default=None, metadata=_FLAG)
    trades_modify: bool | None = attrs.field(default=None, metadata=_FLAG)
    trades_query_closed: bool | None = attrs.field(default=None, metadata=_FLAG)
    trades_query_open: bool | None = attrs.field(default=None, metadata=_FLAG)
    # A dict has no hash; equal objects still hash alike without it.
    extra: Mapping[str, bool] = attrs.field(factory=FrozenDict, hash=False, metadata={_CHECK: _check_extra})

    def __repr__(self) -> str:
        return f"Permissions({', '.join(f'{name}={flag}' for name, flag in self.flags().items())})"

    def __attrs_post_init__(self) -> None:
        faults = _collect_faults(self)
        if faults:
            raise InvalidRequestError({f"permissions.{field}": fault for field, fault in faults.items()})

    @classmethod
    def none(cls) -> Self:
        """Return permissions with each documented flag withheld."""
        return cls.only()

    @classmethod
    def read_only(cls) -> Self:
        """Return permissions to see balances, orders, trades and the ledger, and to change nothing.

        Exports are left out: they create and delete reports.
        """
        return cls.only("funds_query", "ledger_query", "trades_query_closed", "trades_query_open")

    @classmethod
    def only(cls, *names: str) -> Self:
        """Return permissions with the named flags granted and every other documented one withheld.

        Args:
            names: Permissions, such as `"funds_query"`; ones that are not documented go to `extra`.
        """
        flags = {name: name in names for name in cls.NAMES}
        return cls(**flags, extra={name: True for name in names if name not in flags})

    @classmethod
    def from_scopes(cls, scopes: str | Iterable[str]) -> Self:
        """Return the most that a key may do under OAuth scopes, every other documented flag withheld.

        Args:
            scopes: Scopes, such as `"account.fast-api-key:funds-query"`, or one string of them with
                spaces between (RFC 6749, section 3.3). Scopes that are no permission of a key are passed over.
        """
        given = scopes.split() if isinstance(scopes, str) else scopes
        names = {s.removeprefix(_SCOPE_PREFIX) for s in given if s.startswith(_SCOPE_PREFIX)} - _CALL_SCOPES
        flags = sorted(name.replace("-", "_") for name in names)
        return cls.only(*(flag for flag in flags if _is_flag_name(flag)))

    @property
    def granted(self) -> frozenset[str]:
        """The names of the flags that are `True`."""
        return frozenset(name for name, flag in self.flags().items() if flag)

    def scopes(self) -> frozenset[str]:
        """Return the OAuth scopes that granting these flags takes, one for each that is `True`."""
        return frozenset(_SCOPE_PREFIX + name.replace("_", "-") for name in self.granted)

    def flags(self) -> dict[str, bool]:
        """Return the flags that are set, `True` or `False`, by name; `extra` among them."""
        flags = {name: flag for name, flag in zip(self.NAMES, _flags_of(self), strict=True) if flag is not None}
        flags.update(self.extra)
        return flags


_flags_of: Final = operator.attrgetter(*Permissions.NAMES)


def _check_permissions(value: object) -> Permissions:
    if not isinstance(value, Permissions):
        raise FieldError(f"must be a Permissions object, not {type(value).__name__}")
    return value


def _to_entries(value: Iterable[AllowlistEntry]) -> tuple[str, ...]:
    """Take an iterator's items once; the check then makes them regular, or tells what is wrong."""
    # Of the usual classes first, since to ask an abstract one takes long.
    if isinstance(value, (tuple, list, Iterable)) and not isinstance(value, (str, bytes)):
        return tuple(value)  # type: ignore[arg-type]  # the check makes strings of them
    return value  # type: ignore[return-value]  # and tells what is wrong with this


def _to_entries_or_none(value: Iterable[AllowlistEntry] | None) -> tuple[str, ...] | None:
    return None if value is None else _to_entries(value)


class GeneratedName(str):
    """A name that no caller chose, so that whatever key bears it was made for the call that has claimed it.

    Copies and pickles of it are plain strings: what they name may be somebody else's key.
    """

    __slots__ = ("_is_adopted", "_is_claimed", "_process")

    _is_adopted: bool
    _is_claimed: bool
    _process: int

    def __new__(cls, beginning: str = "fastkey") -> Self:
        """Make a name that there has never been.

        Args:
            beginning: What it begins with, 1 to 19 characters; the rest, up to 32 characters, is chance.
        """
        room = MAX_NAME_LENGTH - len(beginning) - 1
        name = super().__new__(cls, f"{beginning}-{secrets.token_hex(12)[:room]}")
        name._is_adopted = name._is_claimed = False
        name._process = os.getpid()
        return name

    def adopt(self) -> str:
        """Return the name for a request: itself for the first, a plain string for those that are given it later."""
        if self._is_adopted:
            return str(self)
        self._is_adopted = True
        return self

    def again(self) -> GeneratedName:
        """Return another name of the same kind."""
        return GeneratedName(self.rpartition("-")[0])

    def claim(self) -> bool:
        """Return whether nobody has claimed it before, in the process that made it; it is claimed now."""
        is_first = not self._is_claimed and self._process == os.getpid()
        self._is_claimed = True
        return is_first

    def __reduce_ex__(self, protocol: object) -> tuple[type[str], tuple[str]]:
        return str, (str.__str__(self),)


_NAME: Final = {_CHECK: check_name}
_PERMISSIONS: Final = {_CHECK: _check_permissions}
_ALLOWLIST: Final = {_CHECK: check_allowlist}
_NONCE_WINDOW: Final = {_CHECK: check_nonce_window}
_TIME: Final = {_CHECK: check_time}


def _check_request(request: CreateKeyRequest | UpdateKeyRequest) -> None:
    now = time.time()
    if isinstance(request.api_key_name, GeneratedName):
        object.__setattr__(request, "api_key_name", request.api_key_name.adopt())
    faults = _collect_faults(request)
    _, time_faults = _resolve(request, now, passing_over=faults)
    faults |= time_faults
    if faults:
        raise InvalidRequestError(faults)


@attrs.frozen(eq=False, repr=False)
class CreateKeyRequest(Value):
    """A key to create. What is left out is not sent.

    Times take an aware `datetime`, a `timedelta` from the moment of sending, or Unix seconds; 0 means
    "no restriction". They are sent as whole seconds, rounded down.

    Args:
        api_key_name: 1 to 32 characters, unique in the account. Left out, a random one is generated
            when the request is made.
        permissions: What the key may do. Left out, nothing.
        ip_allowlist: The addresses and networks (IPv4 or IPv6, CIDR) that may use the key; any if empty.
        nonce_window: How far, in ticks of whoever counts the nonces, a nonce may lie behind the highest;
            0 to 2**64 - 1.
        query_from: Since when data may be queried.
        query_to: Until when data may be queried.
        valid_until: When the key expires; in the future. Left out, or 0, never.

    Raises:
        InvalidRequestError: Anything is wrong; `faults` tells all of it at once, by field.
    """

    api_key_name: str = attrs.field(factory=GeneratedName, metadata=_NAME)
    permissions: Permissions | None = attrs.field(default=None, kw_only=True, metadata=_PERMISSIONS)
    ip_allowlist: tuple[str, ...] = attrs.field(default=(), kw_only=True, converter=_to_entries, metadata=_ALLOWLIST)
    nonce_window: int | None = attrs.field(default=None, kw_only=True, metadata=_NONCE_WINDOW)
    query_from: Time | None = attrs.field(default=None, kw_only=True, metadata=_TIME)
    query_to: Time | None = attrs.field(default=None, kw_only=True, metadata=_TIME)
    valid_until: Time | None = attrs.field(default=None, kw_only=True, metadata=_TIME)

    __attrs_post_init__ = _check_request


@attrs.frozen(eq=False, repr=False)
class UpdateKeyRequest(Value):
    """A change to a key. Only what is set is sent, so what is left out stays as it is.

    An empty `ip_allowlist` lifts the restriction, and so does 0 for a time.

    Args:
        api_key_name: The key's present name.
        new_api_key_name: Its new name, 1 to 32 characters, unique in the account.
        permissions: As in `CreateKeyRequest`; flags that are `None` stay as they are.
        ip_allowlist: As in `CreateKeyRequest`.
        nonce_window: As in `CreateKeyRequest`.
        query_from: As in `CreateKeyRequest`.
        query_to: As in `CreateKeyRequest`.
        valid_until: As in `CreateKeyRequest`.

    Raises:
        InvalidRequestError: Anything is wrong; `faults` tells all of it at once, by field.
    """

    api_key_name: str = attrs.field(metadata=_NAME)
    new_api_key_name: str | None = attrs.field(default=None, kw_only=True, metadata=_NAME)
    permissions: Permissions | None = attrs.field(default=None, kw_only=True, metadata=_PERMISSIONS)
    ip_allowlist: tuple[str, ...] | None = attrs.field(
        default=None, kw_only=True, converter=_to_entries_or_none, metadata=_ALLOWLIST
    )
    nonce_window: int | None = attrs.field(default=None, kw_only=True, metadata=_NONCE_WINDOW)
    query_from: Time | None = attrs.field(default=None, kw_only=True, metadata=_TIME)
    query_to: Time | None = attrs.field(default=None, kw_only=True, metadata=_TIME)
    valid_until: Time | None = attrs.field(default=None, kw_only=True, metadata=_TIME)

    __attrs_post_init__ = _check_request


def resolve_times(request: CreateKeyRequest | UpdateKeyRequest, now: float) -> dict[str, int]:
    """Return the times that are set, as whole Unix seconds, by field.

    Args:
        request: The request, which may have been made long ago.
        now: The present, in Unix seconds.

    Raises:
        InvalidRequestError: A time has passed meanwhile, or leads out of the calendar.
    """
    moments, faults = _resolve(request, now)
    if faults:
        raise InvalidRequestError(faults)
    return moments


def _resolve(
    request: CreateKeyRequest | UpdateKeyRequest, now: float, *, passing_over: Container[str] = ()
) -> tuple[dict[str, int], dict[str, str]]:
    """Return the times that are set, as whole Unix seconds, and what is wrong with them, each by field."""
    moments: dict[str, int] = {}
    faults: dict[str, str] = {}
    for field in ("query_from", "query_to", "valid_until"):
        value: Time | None = getattr(request, field)
        if value is not None and field not in passing_over:
            try:
                moments[field] = to_unix(value, now)
            except FieldError as error:
                faults[field] = str(error)
    start, end, expiry = moments.get("query_from", 0), moments.get("query_to", 0), moments.get("valid_until", 0)
    if 0 < end < start:
        faults["query_from"] = f"is after query_to, by {start - end} s: swap them"
    if 0 < expiry <= now:
        faults["valid_until"] = f"is not in the future ({request.valid_until}): the key would be dead at birth"
    return moments, faults


@attrs.frozen(kw_only=True, eq=False, repr=False)
class KeyInfo(Value):
    """A key as Kraken describes it. A missing optional field is `None`.

    Attributes:
        api_key_name: The name, unique in the account.
        api_key: The public half; only the answer to a create request has it.
        id: The name in Kraken's own base64, with `_`, `,` and `-` for `+`, `/` and `=`.
        created_time: When it was made, as far as the text could be read.
        created_time_raw: The same as Kraken wrote it: the format is not documented.
        modified_time: When it was last changed, as far as the text could be read.
        modified_time_raw: The same as Kraken wrote it.
        ip_allowlist: The addresses and networks that may use it; any if empty.
        last_used: When it was last used; `None` if never.
        nonce: The highest nonce seen, 0 or more, to the last digit.
        nonce_window: How far a nonce may lie behind the highest, in ticks.
        oauth_client: The app that made it.
        permissions: What it may do. `None` if Kraken described it in a way that we do not know;
            `unknown` then has it.
        purpose: What Kraken says it is for; `"standard"` as a rule.
        query_from: Since when data may be queried; `None` if there is no restriction.
        query_to: Until when data may be queried; `None` if there is no restriction.
        valid_until: When it expires; `None` if never.
        unknown: Fields that Kraken has added since, and values that could not be read, as they came.
    """

    api_key_name: str
    api_key: str | None = None
    id: str | None = None
    created_time: datetime | None = None
    created_time_raw: str | None = attrs.field(default=None, repr=False)
    modified_time: datetime | None = None
    modified_time_raw: str | None = attrs.field(default=None, repr=False)
    ip_allowlist: tuple[str, ...] | None = None
    last_used: datetime | None = None
    nonce: int | None = None
    nonce_window: int | None = None
    oauth_client: str | None = None
    permissions: Permissions | None = None
    purpose: str = "standard"
    query_from: datetime | None = None
    query_to: datetime | None = None
    valid_until: datetime | None = None
    # Names only: what a field that we do not know holds may be a secret.
    unknown: Mapping[str, Any] = attrs.field(factory=FrozenDict, hash=False, repr=lambda value: repr(sorted(value)))


@attrs.frozen(kw_only=True, eq=False, repr=False)
class FastApiKey(KeyInfo):
    """A key just made: `KeyInfo`, and the two halves that Kraken shows this once.

    Attributes:
        api_key: The public half.
        secret: The secret half: `key.secret.get_secret_value()`. Store it now; Kraken never shows it again.
    """

    api_key: str  # pyright: ignore[reportGeneralTypeIssues]  # by keyword, so that a field without default may follow
    secret: SecretStr


@attrs.frozen(kw_only=True, eq=False, repr=False)
class UserInfo(Value):
    """Who authorized the app. The `repr` shows neither.

    Attributes:
        email: The e-mail address.
        iban: The account's IIBAN, Kraken's account number.
        unknown: Fields that Kraken has added since, as they came.
    """

    email: str | None = attrs.field(default=None, repr=False)
    iban: str | None = attrs.field(default=None, repr=False)
    unknown: Mapping[str, Any] = attrs.field(factory=FrozenDict, hash=False, repr=lambda value: repr(sorted(value)))
