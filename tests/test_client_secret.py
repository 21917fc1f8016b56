"""A confidential client's secret, as Kraken sends it."""

from __future__ import annotations

import base64
import functools
import traceback
from typing import Any

import pytest

from kraken_fastkey import InvalidRequestError, SecretStr
from kraken_fastkey._client_secret import decrypt_client_secret

pytest.importorskip("cryptography", reason="the extra 'crypto' is not installed")

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa

SECRET = "FAKE-client-secret-0123456789"
PHRASE = "FAKE-passphrase"


@functools.cache
def _key(number: int = 0) -> rsa.RSAPrivateKey:
    del number
    return rsa.generate_private_key(65537, 2048)


def _pem(key: Any, phrase: str | None = None) -> bytes:
    how: Any = serialization.NoEncryption()
    if phrase is not None:
        how = serialization.BestAvailableEncryption(phrase.encode())
    pem: bytes = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, how)
    return pem


def _sealed(text: str = SECRET, key: rsa.RSAPrivateKey | None = None) -> str:
    return base64.b64encode((key or _key()).public_key().encrypt(text.encode(), padding.PKCS1v15())).decode()


@pytest.mark.parametrize("phrase", [None, PHRASE])
@pytest.mark.parametrize("text", [SECRET, f"{SECRET}\n"])
def test_the_secret_comes_out(phrase: str | None, text: str) -> None:
    """What was encrypted for the app's key is what comes out, masked; a line break at its end is dropped."""
    assert SecretStr(SECRET) == decrypt_client_secret(_sealed(text), _pem(_key(), phrase), phrase)


def test_the_base64_may_have_line_breaks() -> None:
    """A mail's line breaks do no harm."""
    sealed = _sealed()
    wrapped = "\n".join(sealed[i : i + 64] for i in range(0, len(sealed), 64))
    assert SecretStr(SECRET) == decrypt_client_secret(wrapped, SecretStr(_pem(_key()).decode()))


@pytest.mark.parametrize(
    ("sealed", "pem", "phrase", "field"),
    [
        ("not base64!", lambda: _pem(_key()), None, "encrypted_secret"),
        ("AAAA", lambda: _pem(_key()), None, "encrypted_secret"),
        (_sealed("short"), lambda: _pem(_key()), None, "encrypted_secret"),
        (None, lambda: _pem(_key(1)), None, "encrypted_secret"),
        (None, lambda: b"FAKE", None, "private_key"),
        (None, lambda: _pem(_key(), PHRASE), None, "private_key"),
        (None, lambda: _pem(_key(), PHRASE), "FAKE-wrong", "private_key"),
        (None, lambda: _pem(_key()), PHRASE, "private_key"),
        (None, lambda: _pem(ec.generate_private_key(ec.SECP256R1())), None, "private_key"),
    ],
)
def test_what_does_not_fit_is_told(sealed: str | None, pem: Any, phrase: str | None, field: str) -> None:
    """A wrong key, passphrase or text is told by its field, and neither key nor passphrase is in the traceback."""
    key = pem()
    with pytest.raises(InvalidRequestError) as caught:
        decrypt_client_secret(_sealed() if sealed is None else sealed, key, phrase)
    assert {field} == set(caught.value.faults)
    tail = caught.value.__traceback__ and caught.value.__traceback__.tb_next
    shown = "".join(traceback.TracebackException(type(caught.value), caught.value, tail, capture_locals=True).format())
    assert "PRIVATE KEY" not in shown
    assert "FAKE-" not in shown
