"""KeySigner: a key's signature under requests to Kraken's private REST API.

https://docs.kraken.com/exchange/guides/rest/authentication
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import math
import re
from collections.abc import Mapping
from decimal import Decimal
from typing import Final, final
from urllib.parse import urlencode

import attrs

from kraken_fastkey._errors import FastKeyError, InvalidRequestError
from kraken_fastkey._frozendict import FrozenDict
from kraken_fastkey._models import FastApiKey
from kraken_fastkey._nonces import MAX_NONCE, NonceSource
from kraken_fastkey._secret import SecretStr, Unpicklable

_PATH: Final = re.compile(r"/[0-9]+/private(/[A-Za-z0-9]+)+", re.ASCII)
_API_KEY: Final = re.compile(r"[!-~]{1,512}", re.ASCII)  # it is a header's value
_FORM: Final = "application/x-www-form-urlencoded"
_NONE: Final[Mapping[str, object]] = FrozenDict()


@attrs.frozen
class SignedRequest:
    """A request to send once, with POST, as it is: `session.post(base + path, data=body, headers=headers)`.

    Its `repr` shows neither the signature nor the body.

    Attributes:
        path: What follows `https://api.kraken.com`.
        body: The form, the nonce first.
        headers: `API-Key`, `API-Sign` and `Content-Type`.
        nonce: The nonce.
    """

    path: str
    body: bytes = attrs.field(repr=False)
    headers: Mapping[str, str] = attrs.field(hash=False, repr=lambda value: repr(sorted(value)))
    nonce: int


@final
class KeySigner(Unpicklable):
    """Signs requests to Kraken's private REST API with a key.

    Args:
        key: The key, with its secret.
        nonces: Where its nonces come from; one source for all that use the key.

    Raises:
        InvalidRequestError: An argument is wrong, or the key's secret is no base64.
    """

    _name: str = ""  # for the repr, which a traceback may ask for before there is more

    def __init__(self, key: FastApiKey, nonces: NonceSource) -> None:
        faults: dict[str, str] = {}
        if not isinstance(key, FastApiKey):
            faults["key"] = f"must be a FastApiKey, not {type(key).__name__}"
        elif not _API_KEY.fullmatch(key.api_key):
            faults["key.api_key"] = "must be printable ASCII without spaces: take it as Kraken gave it"
        elif not _is_base64(key.secret):
            faults["key.secret"] = "is no base64: take it as Kraken gave it, with nothing before or after it"
        if not isinstance(nonces, NonceSource):
            faults["nonces"] = f"must have a method next_nonce(), and a {type(nonces).__name__} has none"
        if faults:
            del key, nonces  # the one may be a secret in the other's place
            raise InvalidRequestError(faults)
        self._name = key.api_key_name
        self._key = key
        self._nonces = nonces

    @property
    def nonces(self) -> NonceSource:
        """Where the nonces come from."""
        return self._nonces

    async def sign(self, path: str, fields: Mapping[str, object] = _NONE) -> SignedRequest:
        """Return a request, signed.

        Send it once: its nonce is used up, whatever the answer. Sign again to try again.

        Args:
            path: The method's path, such as `"/0/private/Balance"`.
            fields: Its arguments, all but the nonce: each a `str`, an `int`, a finite `Decimal` or `float`, a `bool`
                (sent as `true` or `false`), or a `SecretStr`, which is for `otp`. Numbers are sent without an
                exponent.

        Raises:
            InvalidRequestError: *path* or *fields* are wrong; no nonce was taken.
            StoreError: The nonce source failed.
            FastKeyError: It gave what is no nonce.
        """
        faults = _path_fault(path) | _field_faults(fields)
        if faults:
            del fields  # a one-time password may be among them
            raise InvalidRequestError(faults, operation="sign")
        nonce = await self._nonces.next_nonce()
        if isinstance(nonce, bool) or not isinstance(nonce, int) or not 0 < nonce <= MAX_NONCE:
            raise FastKeyError(f"{type(self._nonces).__name__} gave no nonce: it must be an int from 1 to 2**64 - 1")
        body = SecretStr(urlencode([("nonce", nonce), *((name, _as_text(value)) for name, value in fields.items())]))
        return SignedRequest(
            path,
            body.get_secret_value().encode("ascii"),
            FrozenDict(
                {
                    "API-Key": self._key.api_key,
                    "API-Sign": _sign(self._key.secret, path, nonce, body),
                    "Content-Type": _FORM,
                }
            ),
            nonce,
        )

    def __repr__(self) -> str:
        return f"KeySigner(api_key_name={self._name!r})"


def _is_base64(secret: SecretStr) -> bool:
    try:
        # Not base64.b64decode, whose frames would show the secret; the exception goes no further than here.
        return bool(binascii.a2b_base64(secret.get_secret_value(), strict_mode=True))
    except ValueError:
        return False


def _sign(secret: SecretStr, path: str, nonce: int, body: SecretStr) -> str:
    digest = hmac.digest(
        # Unmasked here and in no variable, so that no frame of ours shows it.
        binascii.a2b_base64(secret.get_secret_value()),
        path.encode("ascii") + hashlib.sha256(f"{nonce}{body.get_secret_value()}".encode("ascii")).digest(),
        "sha512",
    )
    return base64.b64encode(digest).decode("ascii")


def _path_fault(path: object) -> dict[str, str]:
    if isinstance(path, str) and _PATH.fullmatch(path):
        return {}
    return {"path": "must be the path of a private method, such as '/0/private/Balance', with no query"}


def _field_faults(fields: object) -> dict[str, str]:
    if not isinstance(fields, Mapping):
        return {"fields": f"must be a mapping of names to values, not {type(fields).__name__}"}
    faults = {}
    for name, value in fields.items():
        if not isinstance(name, str) or not name or not name.isascii() or not name.isprintable():
            faults["fields"] = "must have names that are printable ASCII"
        elif name == "nonce":
            faults["fields.nonce"] = "is the nonce source's to give: leave it out"
        else:
            fault = _value_fault(value)
            if fault is not None:
                faults[f"fields.{name}"] = fault
    return faults


def _value_fault(value: object) -> str | None:
    match value:
        case SecretStr():
            return _text_fault(value)
        case str():
            return _text_fault(SecretStr(value))
        case bool() | int():
            return None
        case float() | Decimal():
            return None if math.isfinite(value) else "must be finite"
        case None:
            return "is None: leave it out"
        case list() | tuple():
            return "must be one value: join a list as the method wants it, mostly with ','"
        case _:
            return f"must be a str, a number or a bool, not {type(value).__name__}"


def _text_fault(value: SecretStr) -> str | None:
    # Without an exception, which would quote the text.
    is_unicode = value.get_secret_value().encode("utf-8", "replace") == value.get_secret_value().encode(
        "utf-8", "surrogatepass"
    )
    return None if is_unicode else "holds half of a surrogate pair, which is not valid Unicode"


def _as_text(value: object) -> str:
    match value:
        case SecretStr():
            return value.get_secret_value()
        case str():
            return str.__str__(value)  # of an enumeration that is a string, its value
        case bool():
            return "true" if value else "false"
        case float():
            return f"{Decimal(repr(float(value))):f}"
        case Decimal():
            return f"{value:f}"
        case _:
            return f"{value:d}"
