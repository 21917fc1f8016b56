"""The secret that Kraken gives a confidential client: encrypted for the app's RSA key, and base64-coded."""

from __future__ import annotations

import base64
import binascii
from typing import TYPE_CHECKING, Final

from kraken_fastkey._errors import InvalidRequestError
from kraken_fastkey._secret import SecretStr

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey

_MIN_LENGTH: Final = 8  # no client secret is shorter


def decrypt_client_secret(
    encrypted_secret: str, private_key: str | bytes | SecretStr, passphrase: str | SecretStr | None = None
) -> SecretStr:
    """Return the client secret that Kraken sent encrypted, without its ever being printed.

    It takes the package `cryptography`: `pip install kraken-fastkey[crypto]`.

    Args:
        encrypted_secret: What Kraken sent: base64 of the secret, encrypted by PKCS#1 v1.5 for the app's key.
        private_key: The app's RSA key, in PEM.
        passphrase: What the PEM is encrypted with, if it is.

    Raises:
        InvalidRequestError: The base64, the PEM or its passphrase is wrong, or the secret is for another key.
        ModuleNotFoundError: `cryptography` is not installed.
    """
    pem = SecretStr(private_key.decode("latin-1") if isinstance(private_key, bytes) else private_key)
    phrase = None if passphrase is None else SecretStr(passphrase)
    del private_key, passphrase  # a traceback with locals would show them
    key = _load(pem, phrase)
    if key is None:
        raise InvalidRequestError({"private_key": "is no RSA key in PEM, or its passphrase is missing or wrong"})
    try:
        sealed = base64.b64decode("".join(encrypted_secret.split()), validate=True)
    except (binascii.Error, ValueError):
        raise InvalidRequestError({"encrypted_secret": "is not base64: take it as Kraken sent it"}) from None
    secret = _open(sealed, key)
    if secret is None:
        raise InvalidRequestError(
            {"encrypted_secret": "is for another key, or damaged: see which key Kraken was given"}
        )
    return secret


def _load(pem: SecretStr, passphrase: SecretStr | None) -> RSAPrivateKey | None:
    try:
        from cryptography.exceptions import UnsupportedAlgorithm  # noqa: PLC0415  # an extra
    except ModuleNotFoundError:
        raise ModuleNotFoundError("the package cryptography is missing: pip install kraken-fastkey[crypto]") from None
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey  # noqa: PLC0415
    from cryptography.hazmat.primitives.serialization import load_pem_private_key  # noqa: PLC0415

    try:
        key = load_pem_private_key(
            pem.get_secret_value().encode(), None if passphrase is None else passphrase.get_secret_value().encode()
        )
    except (ValueError, TypeError, UnsupportedAlgorithm):
        return None
    return key if isinstance(key, RSAPrivateKey) else None


def _open(sealed: bytes, key: RSAPrivateKey) -> SecretStr | None:
    from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15  # noqa: PLC0415

    try:
        text = key.decrypt(sealed, PKCS1v15()).decode("ascii").strip()
    except ValueError:
        return None
    # Of what was meant for another key, OpenSSL makes random bytes and no error; a few of them may look like text.
    return SecretStr(text) if text.isprintable() and len(text) >= _MIN_LENGTH else None
