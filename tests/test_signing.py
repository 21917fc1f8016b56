"""KeySigner: Kraken's own example, what goes into a form, and that nothing secret comes out."""

from __future__ import annotations

import base64
import enum
import hashlib
import hmac
import pickle
from decimal import Decimal
from typing import Any
from urllib.parse import parse_qsl

import pytest
from hypothesis import given, strategies as st
from support import assert_clean, everything_shown

from kraken_fastkey import FastApiKey, FastKeyError, InvalidRequestError, SecretStr
from kraken_fastkey._nonces import MemoryNonceSource, NonceSource
from kraken_fastkey._signing import KeySigner, SignedRequest

# https://docs.kraken.com/exchange/guides/rest/authentication
SECRET = "kQH5HW/8p1uGOVjbgWA7FunAmGO8lsSUXNsu3eow76sz84Q18fWxnyRzBHCd3pd5nE9qa99HAZtuZuj6F1huXg=="
NONCE = 1616492376594
PATH = "/0/private/AddOrder"
BODY = b"nonce=1616492376594&ordertype=limit&pair=XBTUSD&price=37500&type=buy&volume=1.25"
SIGNATURE = "4/dpxb3iT4tp/ZCVEwSnEsLxx0bqyhLpdfOpc6fn7OR8+UClSV5n9E6aSS8MPtnRfp32bAb0nmbRn6H8ndwLUQ=="
FORM = "application/x-www-form-urlencoded"


class Fixed:
    """A source that gives one nonce, or what is none."""

    def __init__(self, nonce: Any = NONCE) -> None:
        self.nonce = nonce
        self.asked = 0

    async def next_nonce(self) -> int:
        """Return it."""
        self.asked += 1
        return self.nonce  # type: ignore[no-any-return]


class Kind(str, enum.Enum):  # noqa: UP042  # what older programs have
    """A string that is more."""

    BUY = "buy"


class Number(enum.IntEnum):
    """A number that is more."""

    ONE = 1


def make_key(secret: str = SECRET, api_key: str = "the/api+key=") -> FastApiKey:
    """Return a key."""
    return FastApiKey(api_key_name="grid-bot", api_key=api_key, secret=SecretStr(secret))


def make_signer(nonces: NonceSource | None = None) -> KeySigner:
    """Return a signer of Kraken's example."""
    return KeySigner(make_key(), Fixed() if nonces is None else nonces)


async def test_the_published_example() -> None:
    """Kraken's example comes out to the byte."""
    fields = {"ordertype": "limit", "pair": "XBTUSD", "price": 37500, "type": "buy", "volume": Decimal("1.25")}
    request = await make_signer().sign(PATH, fields)
    assert (PATH, BODY, NONCE) == (request.path, request.body, request.nonce)
    assert {"API-Key": "the/api+key=", "API-Sign": SIGNATURE, "Content-Type": FORM} == request.headers


@pytest.mark.parametrize(
    ("value", "sent"),
    [
        ("a b&c=d+ü/€", "a+b%26c%3Dd%2B%C3%BC%2F%E2%82%AC"),
        ("", ""),
        (True, "true"),
        (False, "false"),
        (0, "0"),
        (-5, "-5"),
        (2**80, str(2**80)),
        (Decimal("1E-8"), "0.00000001"),
        (Decimal("1.2500"), "1.2500"),
        (Decimal("1E+3"), "1000"),
        (0.1, "0.1"),
        (1e-08, "0.00000001"),
        (1e22, "10000000000000000000000"),
        (SecretStr("123 456"), "123+456"),
        (Kind.BUY, "buy"),
        (Number.ONE, "1"),
    ],
)
async def test_what_fields_become(value: Any, sent: str) -> None:
    """Numbers have no exponent, flags are in JSON's words, and text is percent-encoded."""
    request = await make_signer().sign(PATH, {"field": value})
    assert f"nonce={NONCE}&field={sent}".encode() == request.body


async def test_no_fields_are_a_form_with_a_nonce() -> None:
    """A method without arguments needs no mapping."""
    assert f"nonce={NONCE}".encode() == (await make_signer().sign("/0/private/Balance")).body


@given(st.dictionaries(st.sampled_from(["pair", "otp", "orders[0][type]", "a b"]), st.text()))
async def test_any_text_is_signed_as_it_is_sent(fields: dict[str, str]) -> None:
    """Whatever is sent, the signature is of those bytes, by a reckoning of the test's own."""
    fields = {name: value.encode("utf-8", "replace").decode() for name, value in fields.items()}
    request = await make_signer().sign(PATH, fields)
    assert [("nonce", str(NONCE)), *fields.items()] == parse_qsl(
        request.body.decode("ascii"), keep_blank_values=True, errors="strict"
    )
    digest = hashlib.sha256(str(NONCE).encode() + request.body).digest()
    mac = hmac.new(base64.b64decode(SECRET), PATH.encode() + digest, hashlib.sha512)
    assert base64.b64encode(mac.digest()).decode() == request.headers["API-Sign"]


@pytest.mark.parametrize(
    "path",
    [
        *(
            "",
            "Balance",
            "/0/public/Time",
            "/0/private/",
            "0/private/Balance",
            "/0/private/Balance?x=1",
            b"/0/private/B",
        ),
        *(
            "/0/private/../public",
            "/0/private/Balance\n",
            "/0/private/Bälance",
            "https://api.kraken.com/0/private/B",
            None,
        ),
    ],
)
async def test_what_is_no_path(path: Any) -> None:
    """Only a private method's path is signed, and no nonce is lost over another."""
    nonces = Fixed()
    with pytest.raises(InvalidRequestError, match="sign: path: must be the path of a private method"):
        await make_signer(nonces).sign(path)
    assert 0 == nonces.asked


async def test_a_path_may_have_parts() -> None:
    """Earn's methods do."""
    assert "/0/private/Earn/Allocate" == (await make_signer().sign("/0/private/Earn/Allocate")).path


async def test_all_faults_of_fields_are_told_at_once() -> None:
    """Each with its name, and no nonce is taken."""
    nonces = Fixed()
    fields: dict[str, object] = {
        "nonce": 5,
        "none": None,
        "list": ["a"],
        "dict": {},
        "nan": float("nan"),
        "infinite": Decimal("Infinity"),
        "half": "\ud800",
        "secret": SecretStr("\ud800"),
        "bytes": b"x",
    }
    with pytest.raises(InvalidRequestError) as caught:
        await make_signer(nonces).sign(PATH, fields)
    assert {
        "fields.nonce": "is the nonce source's to give: leave it out",
        "fields.none": "is None: leave it out",
        "fields.list": "must be one value: join a list as the method wants it, mostly with ','",
        "fields.dict": "must be a str, a number or a bool, not dict",
        "fields.nan": "must be finite",
        "fields.infinite": "must be finite",
        "fields.half": "holds half of a surrogate pair, which is not valid Unicode",
        "fields.secret": "holds half of a surrogate pair, which is not valid Unicode",
        "fields.bytes": "must be a str, a number or a bool, not bytes",
    } == caught.value.faults
    assert "sign" == caught.value.operation
    assert 0 == nonces.asked


@pytest.mark.parametrize("fields", [None, "a=b", [("a", "b")], {"": 1}, {"ä": 1}, {1: 2}, {"a\n": 1}])
async def test_what_are_no_fields(fields: Any) -> None:
    """Fields are a mapping of names."""
    with pytest.raises(InvalidRequestError, match="fields"):
        await make_signer().sign(PATH, fields)


@pytest.mark.parametrize("nonce", [None, "5", 5.0, True, 0, -1, 2**64])
async def test_what_is_no_nonce(nonce: Any) -> None:
    """A source of somebody else's is not trusted."""
    with pytest.raises(FastKeyError, match="Fixed gave no nonce"):
        await make_signer(Fixed(nonce)).sign(PATH)


@pytest.mark.parametrize(
    "secret", ["", "no-base64-at-all", "kQH5HW/8p1u", f" {SECRET}", f"{SECRET}\n", "ünïcödé", "===="]
)
def test_a_secret_that_is_no_base64(secret: str) -> None:
    """It is told clearly, and the secret is not."""
    key = make_key(secret)
    del secret
    with pytest.raises(InvalidRequestError, match="key.secret: is no base64") as caught:
        KeySigner(key, Fixed())
    plain = key.secret.get_secret_value().strip()
    if len(plain) > 4:
        assert_clean(caught.value, plain)
    assert caught.value.__context__ is None


@pytest.mark.parametrize("api_key", ["", "a b", "a\r\nX-Evil: 1", "ä", "x" * 513])
def test_a_public_half_that_is_no_headers_value(api_key: str) -> None:
    """Nothing gets into the headers that is not a value of one."""
    with pytest.raises(InvalidRequestError, match="key.api_key"):
        KeySigner(make_key(api_key=api_key), Fixed())


def test_arguments_of_other_types() -> None:
    """A bare secret in the key's place is not shown, and both faults are told."""
    with pytest.raises(InvalidRequestError) as caught:
        KeySigner(SECRET, SECRET)  # type: ignore[arg-type]
    assert {"key", "nonces"} == set(caught.value.faults)
    assert_clean(caught.value, SECRET)


async def test_nothing_secret_is_shown() -> None:
    """Not by repr, nor in a traceback, nor in a pickle."""
    signer = make_signer()
    request = await signer.sign(PATH, {"otp": SecretStr("the-one-time-password")})
    assert (
        "SignedRequest(path='/0/private/AddOrder', headers=['API-Key', 'API-Sign', 'Content-Type'], "
        "nonce=1616492376594)" == repr(request)
    )
    assert b"the-one-time-password" in request.body
    assert SECRET not in repr(signer)
    assert "KeySigner(api_key_name='grid-bot')" == repr(signer)
    with pytest.raises(TypeError):
        pickle.dumps(signer)
    with pytest.raises(InvalidRequestError) as caught:
        await signer.sign(PATH, {"otp": SecretStr("the-one-time-password"), "bad": None})
    assert_clean(caught.value, SECRET, "the-one-time-password")


async def test_a_source_that_fails_shows_nothing_of_the_key() -> None:
    """Its exception goes on as it is, and the frames it came through show no secret."""

    class Failing:
        async def next_nonce(self) -> int:
            raise OSError("no")

    with pytest.raises(OSError, match="no") as caught:
        await make_signer(Failing()).sign(PATH, {"otp": SecretStr("the-one-time-password")})
    shown = everything_shown(caught.value)
    assert SECRET not in shown
    assert "the-one-time-password" not in shown


async def test_each_request_has_a_nonce_of_its_own() -> None:
    """Two requests alike are not the same, and can be told apart, and kept in a set."""
    signer = make_signer(MemoryNonceSource("us"))
    first, second = await signer.sign(PATH), await signer.sign(PATH)
    assert first.nonce < second.nonce
    assert first != second
    assert 2 == len({first, second})
    assert isinstance(first, SignedRequest)
    assert "us" == signer.nonces.unit  # type: ignore[attr-defined]
