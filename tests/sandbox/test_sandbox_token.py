"""The token endpoint: who may ask, for what, and what is said to everything else."""

import base64
from collections.abc import AsyncIterator, Sequence
from typing import Any
from urllib.parse import parse_qsl

import pytest
from hypothesis import HealthCheck, given as hypothesis_given, settings, strategies as st
from oauth_kit import (
    CHALLENGE,
    FORM,
    REDIRECT_URI,
    SOME_SCOPES,
    VERIFIER,
    App,
    asking,
    basic,
    challenge_of,
    given,
    refused,
)

from kraken_fastkey.sandbox import KrakenSandbox
from kraken_fastkey.sandbox._clients import Client, ClientBook
from kraken_fastkey.sandbox._forms import read_form, write_form
from kraken_fastkey.sandbox._refusal import TokenRefusalError


@pytest.fixture(name="app")
async def _app() -> AsyncIterator[App]:
    """Run a sandbox with an app."""
    async with asking() as app:
        yield app


def refresh_form(refresh_token: str) -> list[tuple[str, str]]:
    """Return the form that refreshes."""
    return [("grant_type", "refresh_token"), ("refresh_token", refresh_token)]


async def test_code_for_tokens(app: App) -> None:
    """A code gives a pair that works, with what RFC 6749 section 5.1 has it say."""
    pair = await app.granted()
    assert pair == {
        "access_token": pair["access_token"],
        "token_type": "bearer",
        "expires_in": 14400,
        "refresh_token": pair["refresh_token"],
        "scope": SOME_SCOPES,
    }
    assert await app.works(pair["access_token"])
    info = await app.kit.call("GET", "/userinfo", token=pair["access_token"])
    assert info.result["email"] == "sandbox@example.com"
    assert (await app.kit.create(token=pair["access_token"])).status == 403


async def test_refresh_for_tokens(app: App) -> None:
    """A refresh token gives another pair with the same scopes; the old access token dies at that instant."""
    old = await app.granted()
    new = given(await app.refresh(old["refresh_token"]))
    assert {**old, "access_token": new["access_token"], "refresh_token": new["refresh_token"]} == new
    assert not {old["access_token"], old["refresh_token"]} & {new["access_token"], new["refresh_token"]}
    assert await app.works(new["access_token"])
    assert not await app.works(old["access_token"])


async def test_refresh_token_is_no_access_token(app: App) -> None:
    """Neither a code, nor a refresh token, nor an access token does another's work."""
    code, pair = app.code(), await app.granted()
    assert not await app.works(pair["refresh_token"])
    assert not await app.works(code)
    assert refused(await app.refresh(pair["access_token"])) == "invalid_grant"
    assert refused(await app.refresh(code)) == "invalid_grant"
    assert refused(await app.exchange(pair["refresh_token"])) == "invalid_grant"
    assert await app.works(pair["access_token"])


async def test_confidential_client(app: App) -> None:
    """A client with a secret has access tokens for 24 hours, whatever its secret is made of."""
    secret = "s:e%c+r/e t"
    app.kit.sandbox.register_client("vault", secret)
    vault = App(app.kit, "vault", secret)
    pair = await vault.granted()
    assert pair["expires_in"] == 86400
    app.kit.clock.now += 86399
    assert await app.works(pair["access_token"])
    app.kit.clock.now += 1
    assert not await app.works(pair["access_token"])
    assert given(await vault.refresh(pair["refresh_token"]))["expires_in"] == 86400
    for wrong in ("", "s", "s%3Ae%25c%2Br%2Fe+t", secret + " "):
        assert refused(await App(app.kit, "vault", wrong).refresh(pair["refresh_token"])) == "invalid_client"


async def test_key_names_its_app(app: App) -> None:
    """A key says which app has made it."""
    app.kit.sandbox.register_client("vault", "secret")
    pair = await App(app.kit, "vault", "secret").granted(scope="account.fast-api-key:write")
    assert (await app.kit.create("a", token=pair["access_token"])).result["oauth_client"] == "vault"
    assert (await app.kit.create("b")).result["oauth_client"] == app.client_id


@pytest.mark.parametrize(
    "authorization",
    [
        [],
        [""],
        ["Basic"],
        ["Basic "],
        ["Bearer abc"],
        ["Basic !!!"],
        ["Basic YQ"],  # not padded
        ["Basic " + base64.b64encode(b"no colon").decode()],
        ["Basic " + base64.b64encode(b"\xff\xfe:").decode()],
        [basic("")],
        [basic("unknown")],
        [basic("kraken-sandbox-client", "a secret that it does not have")],
        [basic("KRAKEN-SANDBOX-CLIENT")],
        [basic("kraken-sandbox-client"), basic("kraken-sandbox-client")],
        [basic("kraken-sandbox-client") + " x"],
    ],
)
async def test_client_that_is_not_known(app: App, authorization: Sequence[str]) -> None:
    """Credentials that are nobody's are answered 401 before the form is looked at, and leave the code good."""
    for fields in (b"", b"grant_type=x&grant_type=y"):
        answered = await app.token(fields, authorization=authorization)
        assert refused(answered) == "invalid_client"
        assert answered.headers["WWW-Authenticate"].startswith("Basic realm=")


@pytest.mark.parametrize("scheme", ["Basic", "basic", "BASIC", "Basic "])
async def test_scheme_matches_in_any_case(app: App, scheme: str) -> None:
    """The scheme's name is case-insensitive, and more than one space may follow it (RFC 9110 section 11)."""
    pair = await app.granted()
    credentials = basic(app.client_id).removeprefix("Basic")
    answered = await app.token(refresh_form(pair["refresh_token"]), authorization=[scheme + credentials])
    assert answered.status == 200


@pytest.mark.parametrize(
    ("fields", "error"),
    [
        ([], "invalid_request"),
        ([("grant_type", "")], "invalid_request"),
        ([("grant_type", "password")], "unsupported_grant_type"),
        ([("grant_type", "client_credentials")], "unsupported_grant_type"),
        ([("grant_type", "Refresh_Token"), ("refresh_token", "x")], "unsupported_grant_type"),
        ([("grant_type", "refresh_token")], "invalid_request"),
        ([("grant_type", "refresh_token"), ("refresh_token", "")], "invalid_request"),
        (refresh_form("unknown"), "invalid_grant"),
        ([*refresh_form("x"), ("refresh_token", "x")], "invalid_request"),
        ([*refresh_form("x"), ("grant_type", "refresh_token")], "invalid_request"),
        ([*refresh_form("x"), ("unknown", ""), ("unknown", "1")], "invalid_request"),
        ([*refresh_form("x"), ("client_secret", "x")], "invalid_request"),
        ([*refresh_form("x"), ("client_id", "somebody-else")], "invalid_request"),
        ([*refresh_form("x"), ("client_id", "kraken-sandbox-client")], "invalid_grant"),
        ([("grant_type", "authorization_code")], "invalid_request"),
        ([("grant_type", "authorization_code"), ("code", "x")], "invalid_request"),
        ([("grant_type", "authorization_code"), ("redirect_uri", REDIRECT_URI)], "invalid_request"),
        ([("grant_type", "authorization_code"), ("code", "x"), ("redirect_uri", REDIRECT_URI)], "invalid_grant"),
    ],
)
async def test_malformed_requests(app: App, fields: list[tuple[str, str]], error: str) -> None:
    """What is missing, doubled, unknown or in the wrong place has its own error, with status 400."""
    answered = await app.token(fields)
    assert (answered.status, refused(answered)) == (400, error)
    assert app.kit.sandbox.grants() == ()


@pytest.mark.parametrize("media_type", ["application/json", "text/plain", "multipart/form-data", "x"])
async def test_body_that_is_no_form(app: App, media_type: str) -> None:
    """Another media type is refused, and nothing is done."""
    pair = await app.granted()
    answered = await app.token(refresh_form(pair["refresh_token"]), media_type=media_type)
    assert refused(answered) == "invalid_request"
    assert (await app.token(refresh_form(pair["refresh_token"]), media_type=f"{FORM}; charset=utf-8")).status == 200


async def test_nothing_goes_into_the_url(app: App) -> None:
    """Parameters in the query are refused, since servers log it."""
    pair = await app.granted()
    answered = await app.token(refresh_form(pair["refresh_token"]), query="?refresh_token=" + pair["refresh_token"])
    assert refused(answered) == "invalid_request"
    assert app.kit.sandbox.grants()[0].generation == 0


async def test_unknown_parameters_do_no_harm(app: App) -> None:
    """What the endpoint does not know it ignores (RFC 6749 section 3.2)."""
    pair = await app.granted()
    fields = [*refresh_form(pair["refresh_token"]), ("audience", "x"), ("scope", "account.info:basic")]
    assert given(await app.token(fields))["scope"] == SOME_SCOPES


@pytest.mark.parametrize(
    "redirect_uri",
    [
        "http://127.0.0.1:54322/callback",
        "http://127.0.0.1:54321/callback/",
        "http://127.0.0.1:54321/Callback",
        "http://localhost:54321/callback",
    ],
)
async def test_redirect_uri_must_be_the_same(app: App, redirect_uri: str) -> None:
    """The exchange names the same redirect URI, character by character; the code stays good for that."""
    code = app.code()
    assert refused(await app.exchange(code, redirect_uri=redirect_uri)) == "invalid_grant"
    assert (await app.exchange(code)).status == 200


@pytest.mark.parametrize(
    ("verifier", "error"),
    [
        (None, "invalid_grant"),
        (VERIFIER[::-1], "invalid_grant"),
        (CHALLENGE, "invalid_grant"),
        (VERIFIER[:42], "invalid_request"),
        (VERIFIER * 3, "invalid_request"),
        (VERIFIER + "=", "invalid_request"),
        ("ü" * 50, "invalid_request"),
    ],
)
async def test_verifier_must_fit(app: App, verifier: str | None, error: str) -> None:
    """After a challenge the exchange needs its verifier; without it the code stays good."""
    code = app.code()
    assert refused(await app.exchange(code, code_verifier=verifier)) == error
    assert (await app.exchange(code)).status == 200


async def test_without_pkce(app: App) -> None:
    """Without a challenge there is no verifier, and one that is sent is refused (RFC 9700 section 4.8.2)."""
    code = app.code(code_challenge=None, code_challenge_method=None)
    assert refused(await app.exchange(code)) == "invalid_grant"
    assert (await app.exchange(code, code_verifier=None)).status == 200


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@hypothesis_given(verifier=st.text("abcXYZ019-._~", min_size=43, max_size=128))
async def test_every_verifier(verifier: str) -> None:
    """Any verifier that RFC 7636 allows gets its tokens through its own challenge, and no other's."""
    async with asking() as app:
        code = app.code(code_challenge=challenge_of(verifier))
        assert refused(await app.exchange(code, code_verifier=verifier[1:] + "!")) == "invalid_request"
        other = verifier[:-1] + ("0" if verifier[-1] == "a" else "a")
        assert refused(await app.exchange(code, code_verifier=other)) == "invalid_grant"
        assert (await app.exchange(code, code_verifier=verifier)).status == 200


async def test_another_clients_code_and_refresh_token(app: App) -> None:
    """What is another client's is refused, and its owner loses nothing by it."""
    app.kit.sandbox.register_client("thief")
    thief = App(app.kit, "thief")
    code = app.code()
    assert refused(await thief.exchange(code)) == "invalid_grant"
    pair = given(await app.exchange(code))
    assert refused(await thief.exchange(code)) == "invalid_grant"
    assert refused(await thief.refresh(pair["refresh_token"])) == "invalid_grant"
    assert await app.works(pair["access_token"])
    new = given(await app.refresh(pair["refresh_token"]))
    assert refused(await thief.refresh(pair["refresh_token"])) == "invalid_grant"
    assert await app.works(new["access_token"])


async def test_form_encoded_answer() -> None:
    """The description's own media type can be had: the same fields as a form; refusals stay JSON."""
    async with asking(token_media_type=FORM) as app:
        answered = await app.exchange(app.code())
        assert answered.headers["Content-Type"] == FORM
        fields = dict(parse_qsl(answered.body.decode(), strict_parsing=True))
        assert fields.keys() == {"access_token", "token_type", "expires_in", "refresh_token", "scope"}
        assert (fields["token_type"], fields["expires_in"], fields["scope"]) == ("bearer", "14400", SOME_SCOPES)
        assert await app.works(fields["access_token"])
        assert (await app.refresh(fields["refresh_token"])).status == 200
        assert refused(await app.refresh("x")) == "invalid_grant"


def test_settings_that_make_no_sense() -> None:
    """A media type that there is not, and a grace that is no time, are errors at once."""
    with pytest.raises(ValueError, match="token_media_type"):
        KrakenSandbox(token_media_type="text/html")  # type: ignore[arg-type]
    for grace in (-1, float("nan")):
        with pytest.raises(ValueError, match="refresh_reuse_grace"):
            KrakenSandbox(refresh_reuse_grace=grace)


@settings(max_examples=150, deadline=None)
@hypothesis_given(
    st.lists(
        st.tuples(
            st.sampled_from(["grant_type", "code", "redirect_uri", "refresh_token", "code_verifier", "x"]),
            st.sampled_from(["authorization_code", "refresh_token", REDIRECT_URI, VERIFIER]) | st.text(),
        )
    )
)
async def test_any_form(pairs: list[tuple[str, str]]) -> None:
    """No form without a code or a refresh token gives anything; each gets a described refusal."""
    async with asking() as app:
        encoded = write_form([(name, value.encode(errors="replace").decode()) for name, value in pairs])
        assert refused(await app.token(encoded.encode())) in {
            "invalid_request",
            "invalid_grant",
            "unsupported_grant_type",
        }
        assert app.kit.sandbox.grants() == ()


@settings(max_examples=100, deadline=None)
@hypothesis_given(st.binary(max_size=200))
async def test_any_bytes(body: bytes) -> None:
    """No bytes at all are more than a bad request, a broken encoding of text included."""
    async with asking() as app:
        assert (await app.token(body)).status == 400


@hypothesis_given(st.text() | st.binary().map(lambda raw: b"Basic " + base64.b64encode(raw)).map(bytes.decode))
def test_any_credentials(value: str) -> None:
    """Whatever stands in the header, it is nobody's credentials or somebody's, and no other error."""
    book = ClientBook()
    with pytest.raises(TokenRefusalError, match="invalid_client"):
        book.authenticate([value])


@hypothesis_given(
    st.text(st.characters(min_codepoint=0x20, max_codepoint=0x7E, exclude_characters=":"), min_size=1),
    st.text(st.characters(min_codepoint=0x20, max_codepoint=0x7E), min_size=1),
)
def test_every_client_and_secret(client_id: str, secret: str) -> None:
    """Whatever a client is called and its secret is made of, it is known again, by this secret alone."""
    book = ClientBook()
    client = Client(client_id=client_id, client_secret=secret, name="x", redirect_uris=(), scopes=frozenset())
    book.add(client)
    assert book.authenticate([basic(client_id, secret)]) is client
    for wrong in ("", secret + "x"):
        with pytest.raises(TokenRefusalError):
            book.authenticate([basic(client_id, wrong)])


@hypothesis_given(st.dictionaries(st.text(min_size=1), st.text(min_size=1)))
def test_forms_round_trip(fields: dict[str, str]) -> None:
    """What is written is read again."""
    clean: dict[str, Any] = {
        name.encode(errors="replace").decode(): value.encode(errors="replace").decode()
        for name, value in fields.items()
    }
    form = read_form(write_form(clean.items()))
    assert (form.values, form.repeated) == (clean, frozenset())


@hypothesis_given(st.binary())
def test_bytes_that_are_no_text_round_trip(raw: bytes) -> None:
    """A value that is no UTF-8 comes back byte by byte."""
    quoted = "".join(f"%{byte:02X}" for byte in raw)
    value = read_form(f"a={quoted}").values.get("a", "")
    assert value.encode(errors="surrogateescape") == raw
    assert read_form(write_form([("a", value)])).values.get("a", "") == value
