"""How a request to the trading API is signed, and what of its body the signature needs. Pure rules."""

import base64
import hashlib
import hmac
import re

from kraken_fastkey.sandbox._forms import read_form
from kraken_fastkey.sandbox._messages import Call
from kraken_fastkey.sandbox._refusal import RefusalError
from kraken_fastkey.sandbox._validation import LARGEST_NONCE, read_object

# As many digits as 2**64 - 1 has.
_NONCE = re.compile(r"[0-9]{1,20}")


def sign(secret: str, path: str, nonce: str, body: bytes) -> str:
    """Return the ``API-Sign`` of a request.

    https://docs.kraken.com/exchange/guides/rest/authentication

    Args:
        secret: The key's private half, in base64.
        path: The URL's path, from ``/0/`` on.
        nonce: The nonce as the body spells it.
        body: The body as it is sent.
    """
    message = path.encode() + hashlib.sha256(nonce.encode() + body).digest()
    return base64.b64encode(hmac.digest(base64.b64decode(secret), message, "sha512")).decode()


def is_signed(call: Call, secret: str, nonce: str) -> bool:
    """Tell whether a request bears the signature that it should, once."""
    if len(call.api_sign) != 1:
        return False
    expected = sign(secret, call.path, nonce, call.body)
    return hmac.compare_digest(expected.encode(), call.api_sign[0].encode(errors="surrogateescape"))


def nonce_of(call: Call) -> str | None:
    """Return the nonce as the body spells it; ``None`` if it has none, or none that is an unsigned 64-bit number.

    A body of ``application/json`` is JSON, with a number or a string for a nonce; any other is a form.
    """
    nonce = _in_json(call) if call.media_type == "application/json" else _in_form(call)
    return nonce if nonce is not None and _NONCE.fullmatch(nonce) and int(nonce) <= LARGEST_NONCE else None


def _in_json(call: Call) -> str | None:
    try:
        nonce = read_object(call.media_type, call.body).get("nonce")
    except RefusalError:
        return None
    if isinstance(nonce, int) and not isinstance(nonce, bool):
        return str(nonce)
    return nonce if isinstance(nonce, str) else None


def _in_form(call: Call) -> str | None:
    form = read_form(call.body)
    return None if "nonce" in form.repeated else form.values.get("nonce")
