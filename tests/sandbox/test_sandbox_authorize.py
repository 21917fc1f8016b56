"""The authorize URL: what it may ask, where a mistake is told, and what comes back to the app."""

import string
from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import quote

import aiohttp
import pytest
from hypothesis import given as hypothesis_given, settings, strategies as st
from oauth_kit import CHALLENGE, REDIRECT_URI, SOME_SCOPES, App, asking, given, parameters_of
from yarl import URL

from kraken_fastkey.sandbox import Answer, Disconnect, KrakenSandbox
from kraken_fastkey.sandbox._routes import LANGUAGES, OPERATIONS, language_of, operation_of
from kraken_fastkey.sandbox._scopes import EVERY_SCOPE


@pytest.fixture(name="app")
async def _app() -> AsyncIterator[App]:
    """Run a sandbox with an app."""
    async with asking() as app:
        yield app


def issuer_of(app: App) -> str:
    """Return what callbacks name as their issuer."""
    return app.kit.sandbox.base_url.removesuffix("/oauth")


async def test_urls(app: App) -> None:
    """Both endpoints are on the sandbox's own origin."""
    sandbox = app.kit.sandbox
    assert sandbox.authorize_url == f"{issuer_of(app)}/oauth/authorize"
    assert sandbox.token_url == f"{sandbox.base_url}/token"
    assert sandbox.client_id == "kraken-sandbox-client"


def test_urls_before_the_start() -> None:
    """Without a port there is no URL, and nothing to decide."""
    sandbox = KrakenSandbox()
    with pytest.raises(RuntimeError, match="not been started"):
        _ = sandbox.authorize_url
    with pytest.raises(RuntimeError, match="not been started"):
        _ = sandbox.token_url
    with pytest.raises(RuntimeError, match="not been started"):
        sandbox.approve("http://127.0.0.1/oauth/authorize")


async def test_allow_and_deny_in_a_browser(app: App) -> None:
    """The page's buttons send the user back, with a code or a refusal, the state and the issuer."""
    for decision in ("allow", "deny"):
        answered = await app.press(await app.get(app.url()), decision)
        assert answered.status == 302
        told = parameters_of(answered.headers["Location"])
        expected = {"code": told.get("code"), "state": "a state", "iss": issuer_of(app)}
        if decision == "deny":
            expected = {"error": "access_denied", "state": "a state", "iss": issuer_of(app)}
        assert told == expected
        assert answered.headers["Cache-Control"] == "no-store"
    allowed = await app.press(await app.get(app.url()))
    assert given(await app.exchange(parameters_of(allowed.headers["Location"])["code"]))["scope"] == SOME_SCOPES


async def test_approve_and_deny(app: App) -> None:
    """A test decides without a browser, and nothing of it is in the log."""
    told = parameters_of(app.kit.sandbox.approve(app.url()))
    assert told == {"code": told["code"], "state": "a state", "iss": issuer_of(app)}
    denied = {"error": "access_denied", "state": "a state", "iss": issuer_of(app)}
    assert parameters_of(app.kit.sandbox.deny(app.url("de"))) == denied
    assert app.kit.sandbox.requests == []
    assert (await app.exchange(told["code"])).status == 200


async def test_state_is_optional(app: App) -> None:
    """A state that is not sent, or sent empty, does not come back."""
    for state in (None, ""):
        assert parameters_of(app.kit.sandbox.approve(app.url(state=state))).keys() == {"code", "iss"}


async def test_minimal_request(app: App) -> None:
    """Client and redirect URI are enough: then everything that is registered is asked for."""
    url = app.url(response_type=None, scope=None, state=None, code_challenge=None, code_challenge_method=None)
    code = parameters_of(app.kit.sandbox.approve(url))["code"]
    pair = given(await app.exchange(code, code_verifier=None))
    assert frozenset(pair["scope"].split()) == EVERY_SCOPE


async def test_no_scope_means_all_that_are_registered(app: App) -> None:
    """Without a scope an app asks for its own, and never for more than those."""
    app.kit.sandbox.register_client("small", scopes=SOME_SCOPES)
    small = App(app.kit, "small")
    for scope in (None, "", " "):
        assert (await small.granted(scope=scope))["scope"] == SOME_SCOPES
    assert (await small.granted(scope=" account.info:basic  account.info:basic "))["scope"] == "account.info:basic"
    told = parameters_of(app.kit.sandbox.approve(small.url(scope="account.fast-api-key:write")))
    assert told["error"] == "invalid_scope"


MISTAKES: list[tuple[dict[str, str | None], str]] = [
    ({"response_type": "token"}, "unsupported_response_type"),
    ({"response_type": "code token"}, "unsupported_response_type"),
    ({"scope": "account.info:basic nothing.known"}, "invalid_scope"),
    ({"scope": "account.info:basic\taccount.fast-api-key:read"}, "invalid_scope"),
    ({"scope": "ACCOUNT.INFO:BASIC"}, "invalid_scope"),
    ({"code_challenge_method": "plain"}, "invalid_request"),
    ({"code_challenge_method": None}, "invalid_request"),
    ({"code_challenge_method": "s256"}, "invalid_request"),
    ({"code_challenge": None}, "invalid_request"),
    ({"code_challenge": CHALLENGE[:-1]}, "invalid_request"),
    ({"code_challenge": CHALLENGE + "="}, "invalid_request"),
    ({"code_challenge": CHALLENGE[:-1] + "+"}, "invalid_request"),
    ({"preferTheme": "blue"}, "invalid_request"),
    ({"preferTheme": "Dark"}, "invalid_request"),
]


@pytest.mark.parametrize(("changes", "error"), MISTAKES)
async def test_mistakes_that_the_app_is_told(app: App, changes: dict[str, str | None], error: str) -> None:
    """What is wrong besides client and redirect URI goes back to the app, whatever the user would say."""
    url = app.url(**changes)
    answered = await app.get(url)
    assert answered.status == 302
    for callback in (answered.headers["Location"], app.kit.sandbox.approve(url), app.kit.sandbox.deny(url)):
        told = parameters_of(callback)
        assert told.pop("error_description").isascii()
        assert told == {"error": error, "state": "a state", "iss": issuer_of(app)}


@pytest.mark.parametrize(
    "again", ["response_type=code", "scope=", "state=b", "preferTheme=dark", "code_challenge=x", "unknown=1&unknown=2"]
)
async def test_repeated_parameters(app: App, again: str) -> None:
    """No parameter may be there more than once (RFC 6749 section 3.1)."""
    told = parameters_of(app.kit.sandbox.approve(f"{app.url(preferTheme='dark')}&{again}"))
    assert told["error"] == "invalid_request"


async def test_unknown_parameters_do_no_harm(app: App) -> None:
    """What the endpoint does not know it ignores, a fragment too."""
    assert "code" in parameters_of(app.kit.sandbox.approve(app.url(nonce="1", prompt="consent") + "#fragment"))


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"client_id": None}, "client_id is missing"),
        ({"client_id": ""}, "client_id is missing"),
        ({"client_id": "unknown"}, "No app is registered"),
        ({"redirect_uri": None}, "redirect_uri is missing"),
        ({"redirect_uri": "https://evil.example/"}, "not registered"),
        ({"redirect_uri": "javascript:alert(1)"}, "not registered"),
        ({"redirect_uri": "//127.0.0.1/cb"}, "not registered"),
    ],
)
async def test_mistakes_that_redirect_nowhere(app: App, changes: dict[str, str | None], reason: str) -> None:
    """An unknown client or redirect URI is told to the user, and the browser is sent nowhere."""
    for language in (None, "de"):
        answered = await app.get(app.url(language, **changes))
        assert (answered.status, answered.headers["Content-Type"]) == (400, "text/html; charset=utf-8")
        assert "Location" not in answered.headers
        assert reason in answered.body.decode()
    with pytest.raises(ValueError, match=reason):
        app.kit.sandbox.approve(app.url(**changes))


@pytest.mark.parametrize("name", ["client_id", "redirect_uri"])
async def test_repeated_client_or_redirect_uri(app: App, name: str) -> None:
    """Where it is not clear who asks, or where to go, nobody is sent anywhere."""
    with pytest.raises(ValueError, match=f"{name} is there more than once"):
        app.kit.sandbox.approve(f"{app.url()}&{name}={quote(app.parameters()[name])}")


@pytest.mark.parametrize(
    "url",
    [
        "",
        "https://id.kraken.com/oauth/authorize?client_id=kraken-sandbox-client",
        "/oauth/authorize",
        "{origin}",
        "{origin}/oauth/token",
        "{origin}/oauth/userinfo",
        "{origin}/xx/oauth/authorize",
        "{origin}.example/oauth/authorize",
        "{origin}@example.com/oauth/authorize",
    ],
)
async def test_url_that_is_not_the_sandboxs(app: App, url: str) -> None:
    """What is no authorize URL of this sandbox is an error of the test."""
    with pytest.raises(ValueError, match="no authorize URL of this sandbox"):
        app.kit.sandbox.approve(url.format(origin=issuer_of(app)))


@pytest.mark.parametrize("language", LANGUAGES)
async def test_every_language_of_the_description(app: App, language: str) -> None:
    """Each language has its path, for the page and for its form."""
    page = await app.get(app.url(language))
    assert page.status == 200
    assert "code" in parameters_of((await app.press(page)).headers["Location"])
    paths = [(request.operation, request.path) for request in app.kit.sandbox.requests]
    assert paths == [("authorize", f"/{language}/oauth/authorize")] * 2


@pytest.mark.parametrize(
    "path",
    ["/xx/oauth/authorize", "/DE/oauth/authorize", "/de/de/oauth/authorize", "/de/authorize", "//oauth/authorize"],
)
async def test_other_languages_are_404(app: App, path: str) -> None:
    """A language that the description does not have is no operation."""
    async with app.kit.session.get(issuer_of(app) + path) as response:
        assert response.status == 404


@pytest.mark.parametrize("path", ["/de/oauth/token", "/de/oauth/fast-api-keys", "/de/openapi.json"])
async def test_languages_are_for_the_page_alone(app: App, path: str) -> None:
    """No other operation has a language."""
    for method in ("GET", "POST"):
        async with app.kit.session.request(method, issuer_of(app) + path) as response:
            assert response.status == 404


@hypothesis_given(st.text(), st.sampled_from(["GET", "POST", "PUT"]))
def test_any_path(path: str, method: str) -> None:
    """Any path is an operation or none, and no error."""
    for whole in (path, "/oauth" + path, "/de" + path, "/de/oauth" + path):
        assert operation_of(method, whole) in {None, *OPERATIONS}
        assert language_of(whole) in {None, *LANGUAGES}


async def test_callback_with_a_query(app: App) -> None:
    """A redirect URI's own query stays, and what is told comes after it."""
    uri = "https://app.example/cb?tenant=7&x=%20"
    app.kit.sandbox.register_client("web", "secret", redirect_uris=[uri])
    web = App(app.kit, "web", "secret")
    callback = app.kit.sandbox.approve(web.url(redirect_uri=uri))
    assert callback.startswith(uri + "&code=")
    assert (await web.exchange(dict(URL(callback).query)["code"], redirect_uri=uri)).status == 200


async def test_callback_with_a_scheme_of_its_own(app: App) -> None:
    """An app on a phone is called by its own scheme."""
    app.kit.sandbox.register_client("phone", redirect_uris=["com.example.app:/callback"])
    callback = app.kit.sandbox.deny(App(app.kit, "phone").url(redirect_uri="com.example.app:/callback"))
    assert parameters_of(callback, "com.example.app:/callback")["error"] == "access_denied"


@settings(max_examples=60, deadline=None)
@hypothesis_given(st.text(st.characters(exclude_categories=["Cs"]), min_size=1))
async def test_any_state(state: str) -> None:
    """Whatever the state is, it comes back as it was, by either way."""
    async with asking() as app:
        assert parameters_of(app.kit.sandbox.approve(app.url(state=state)))["state"] == state
        answered = await app.press(await app.get(app.url(state=state)), "deny")
        assert parameters_of(answered.headers["Location"])["state"] == state


async def test_state_that_is_no_text(app: App) -> None:
    """Bytes that are no UTF-8 come back as they were, over HTTP too."""
    url = app.url(state=None) + "&state=%FF%00%C3"
    page = await app.get(str(URL(url, encoded=True)))
    async with aiohttp.ClientSession() as session, session.get(URL(url, encoded=True)) as response:
        assert response.status == page.status == 200
    assert "&state=%FF%00%C3&" in app.kit.sandbox.approve(url)


@settings(max_examples=150, deadline=None)
@hypothesis_given(
    st.lists(
        st.tuples(
            st.sampled_from(["client_id", "redirect_uri", "scope", "state", "code_challenge", "preferTheme", "x"]),
            st.sampled_from(["kraken-sandbox-client", REDIRECT_URI, "dark"]) | st.text(string.printable),
        )
    )
)
async def test_any_query(pairs: list[tuple[str, str]]) -> None:
    """Any query gets a page, an error page, or a redirect to what is registered; nothing else."""
    async with asking() as app:
        query = "&".join(f"{quote(name)}={quote(value)}" for name, value in pairs)
        answered = await app.get(URL(f"{app.kit.sandbox.authorize_url}?{query}", encoded=True))  # type: ignore[arg-type]
        assert answered.status in {200, 302, 400}
        assert answered.headers.get("Location", REDIRECT_URI).startswith("http://127.0.0.1")


async def test_faults_and_log(app: App) -> None:
    """The page and its form are one operation: faults happen to it, and its form's work can be lost."""
    faults = app.kit.sandbox.faults
    faults.add(Answer(503), operation="authorize")
    async with app.kit.session.get(app.url()) as response:
        assert response.status == 503
    page = await app.get(app.url())
    faults.add(Disconnect(commit=True), operation="authorize")
    with pytest.raises(aiohttp.ClientConnectionError):
        await app.press(page)
    assert (await app.press(page)).status == 400
    log: list[Any] = [(request.method, request.operation, request.status) for request in app.kit.sandbox.requests]
    assert log == [
        ("GET", "authorize", 503),
        ("GET", "authorize", 200),
        ("POST", "authorize", None),
        ("POST", "authorize", 400),
    ]
