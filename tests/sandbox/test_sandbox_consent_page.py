"""The consent page: what it says, in which language and light, and that nothing can be smuggled into it."""

import base64
import hashlib
import re
from collections.abc import AsyncIterator
from html.parser import HTMLParser

import attrs
import pytest
from hypothesis import example, given as hypothesis_given, settings, strategies as st
from oauth_kit import SOME_SCOPES, App, asking, hidden_fields, parameters_of
from sandbox_kit import Answered

from kraken_fastkey.sandbox._consent_page import security_policy
from kraken_fastkey.sandbox._consent_words import words_for
from kraken_fastkey.sandbox._html import element, text
from kraken_fastkey.sandbox._routes import LANGUAGES
from kraken_fastkey.sandbox._scopes import EVERY_SCOPE, SENSITIVE_SCOPES

VOID = {"meta", "input"}
SENSITIVE = "account.fast-api-key:funds-withdraw"


@pytest.fixture(name="app")
async def _app() -> AsyncIterator[App]:
    """Run a sandbox with an app."""
    async with asking() as app:
        yield app


@attrs.define(eq=False)
class Page(HTMLParser):
    """A page as a browser would read it; it must be balanced."""

    source: str
    elements: list[tuple[str, dict[str, str | None]]] = attrs.field(factory=list)
    texts: list[str] = attrs.field(factory=list)
    open: list[str] = attrs.field(factory=list)

    def __attrs_post_init__(self) -> None:
        HTMLParser.__init__(self)
        self.feed(self.source)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note an element."""
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        """Note its end."""
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        """Note its text."""
        if self.open and self.open[-1] != "style":
            self.texts.append(data)

    @property
    def text(self) -> str:
        """All that a user reads."""
        return "".join(self.texts)

    @property
    def shape(self) -> list[str]:
        """The elements' names, in order."""
        return [tag for tag, _ in self.elements]

    def of(self, name: str) -> list[dict[str, str | None]]:
        """Return the attributes of all elements of a name."""
        return [attributes for tag, attributes in self.elements if tag == name]


def read(answered: Answered) -> Page:
    """Return the page that was answered."""
    assert answered.headers["Content-Type"] == "text/html; charset=utf-8"
    return Page(answered.body.decode())


async def test_what_the_page_says(app: App) -> None:
    """A user reads who asks, for whose account, for what, in a sentence for each scope, and where it leads."""
    page = read(await app.get(app.url()))
    for words in (
        "Grid Bot Inc. wants access to your Kraken account",
        "Signed in as sandbox@example.com",
        "See which API keys your account has.",
        "See your email address and your account number.",
        "http://127.0.0.1:54321.",
        "Sandbox",
        "No real account is behind it.",
    ):
        assert words in page.text
    assert 2 == page.shape.count("li")
    assert "Sensitive" not in page.text
    assert "money" not in page.text
    assert page.of("html") == [{"lang": "en"}]
    (style,) = re.findall(r"<style>(.*?)</style>", page.source, re.DOTALL)
    assert "<" not in style


async def test_accessible(app: App) -> None:
    """There is one main part, one heading of the page, a labelled list, and buttons with words on them."""
    page = read(await app.get(app.url(scope=None)))
    assert (page.shape.count("main"), page.shape.count("h1"), page.shape.count("title")) == (1, 1, 1)
    (label,) = [attributes["aria-labelledby"] for attributes in page.of("ul")]
    assert label in [attributes.get("id") for attributes in page.of("h2")]
    assert [("deny", "submit"), ("allow", "submit")] == [(b["value"], b["type"]) for b in page.of("button")]
    assert {"width=device-width, initial-scale=1"} == {m["content"] for m in page.of("meta") if "name" in m}
    assert page.of("meta")[0] == {"charset": "utf-8"}
    assert "Allow access: Grid Bot Inc." in page.text


async def test_sensitive_scopes_are_marked(app: App) -> None:
    """Each scope that lets money out is marked in words, not by its colour alone, and comes first."""
    page = read(await app.get(app.url(scope=f"{SOME_SCOPES} {SENSITIVE}")))
    items = re.findall(r"<li.*?</li>", page.source)
    assert [True, False, False] == ["<strong>Sensitive</strong>" in item for item in items]
    assert "Withdraw funds from your account." in items[0]
    assert "money can leave your account" in page.text
    everything = read(await app.get(app.url(scope=None)))
    assert len(SENSITIVE_SCOPES) == everything.shape.count("strong") == 3
    assert len(EVERY_SCOPE) == everything.shape.count("li")


async def test_german(app: App) -> None:
    """Under ``/de`` the page is German, and says so."""
    page = read(await app.get(app.url("de", scope=f"{SOME_SCOPES} {SENSITIVE}")))
    assert page.of("html") == [{"lang": "de"}]
    for words in ("Grid Bot Inc. möchte auf Ihr Kraken-Konto zugreifen", "Erlauben", "Ablehnen", "Riskant"):
        assert words in page.text
    wrong = read(await app.get(app.url("de", client_id="unknown")))
    assert wrong.of("html") == [{"lang": "de"}]
    assert {"lang": "en"} in wrong.of("p")
    assert "Es wurde nichts erlaubt." in wrong.text


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_language_has_every_word(language: str) -> None:
    """No language lacks a sentence; each sentence is one, and no two scopes share one."""
    words = words_for(language)
    assert words.language == ("de" if language == "de" else "en")
    assert words.scopes.keys() == EVERY_SCOPE
    assert len(set(words.scopes.values())) == len(EVERY_SCOPE)
    assert all(sentence.endswith(".") and sentence.count(".") == 1 for sentence in words.scopes.values())
    assert all(getattr(words, field.name) for field in attrs.fields(type(words)))


@pytest.mark.parametrize("theme", ["dark", "light"])
async def test_theme(app: App, theme: str) -> None:
    """The page looks as the app prefers, or as the user's system does."""
    assert read(await app.get(app.url(preferTheme=theme))).of("html") == [{"lang": "en", "data-theme": theme}]
    assert f':root[data-theme="{theme}"]' in (await app.get(app.url())).body.decode()


def luminance(colour: str) -> float:
    """Return how light a colour is, as WCAG 2.2 has it."""
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    red, green, blue = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


@pytest.mark.parametrize(
    ("ink", "paper"),
    [
        *(("ink", "card"), ("soft", "card"), ("accent", "card"), ("alarm", "card")),
        *(("on-accent", "accent"), ("alarm", "alarm-page")),
    ],
)
async def test_contrast(app: App, ink: str, paper: str) -> None:
    """In either theme every text stands out from what is behind it, at WCAG's 4.5 to 1 or better."""
    style = (await app.get(app.url())).body.decode()
    pairs = dict(re.findall(r"--([a-z-]+): light-dark\((#[0-9a-f]{6}, #[0-9a-f]{6})\);", style))
    for one, other in zip(pairs[ink].split(", "), pairs[paper].split(", "), strict=True):
        dark, light = sorted((luminance(one), luminance(other)))
        assert (light + 0.05) / (dark + 0.05) >= 4.5


async def test_headers(app: App) -> None:
    """The page runs no script, loads nothing, is framed by nobody, and is stored nowhere."""
    for answered in (await app.get(app.url()), await app.get(app.url(client_id="unknown"))):
        (style,) = re.findall(r"<style>(.*?)</style>", answered.body.decode(), re.DOTALL)
        digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
        policy = answered.headers["Content-Security-Policy"]
        directives = dict(part.split(" ", 1) for part in policy.split("; "))
        assert directives == {
            "default-src": "'none'",
            "style-src": f"'sha256-{digest}'",
            "form-action": "'self' http://127.0.0.1:54321" if answered.status == 200 else "'none'",
            "base-uri": "'none'",
            "frame-ancestors": "'none'",
        }
        assert answered.headers["Cache-Control"] == "no-store"
        assert answered.headers["X-Frame-Options"] == "DENY"
        assert answered.headers["X-Content-Type-Options"] == "nosniff"
        assert answered.headers["Referrer-Policy"] == "same-origin"
        assert not re.search(
            r"https?:|\bsrc=|\bhref=|url\(|@import|\son\w+=",
            style + answered.body.decode().replace("http://127.0.0.1:54321", ""),
        )


@pytest.mark.parametrize(
    ("redirect_uri", "source"),
    [
        ("https://app.example:8443/cb?x=y", "https://app.example:8443"),
        ("https://app.example?x", "https://app.example"),
        ("http://[::1]:80/cb", "http:"),
        ("https://a;script-src/cb", "https:"),
        ("https://user@app.example/cb", "https:"),
        ("com.example.app:/cb", "com.example.app:"),
    ],
)
def test_policy_lets_the_form_lead_to_the_app(redirect_uri: str, source: str) -> None:
    """Where the answer leads is in the policy, by its scheme if its host cannot be said there."""
    assert f"; form-action 'self' {source}; " in security_policy(redirect_uri)


ATTACKS = [
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "' onmouseover='alert(1)",
    "</title><script>alert(1)</script>",
    "</style><script>alert(1)</script>",
    "<!--",
    "&lt;script&gt;",
    "{}{0}%s",
    "javascript:alert(1)",
]


@pytest.mark.parametrize("attack", ATTACKS)
@pytest.mark.parametrize(
    "parameter",
    ["client_id", "redirect_uri", "response_type", "scope", "state", "preferTheme", "code_challenge", "unknown"],
)
async def test_no_parameter_becomes_markup(app: App, parameter: str, attack: str) -> None:
    """Whatever is in the URL, no page has another shape for it, nor says a word of it."""
    answered = await app.get(app.url(**{parameter: attack}))
    if answered.status == 302:
        assert attack not in answered.headers["Location"]
        return
    plain = await app.get(app.url() if answered.status == 200 else app.url(**{parameter: "unknown"}))
    assert read(answered).shape == read(plain).shape
    assert attack not in answered.body.decode()


@pytest.mark.parametrize("attack", ATTACKS)
async def test_no_registered_text_becomes_markup(attack: str) -> None:
    """An app's name, its scopes and the account's address are text, whatever they are made of."""
    scope = attack.replace(" ", "").replace('"', "").replace("\\", "")
    async with asking(email=attack) as plain_app:
        plain_app.kit.sandbox.register_client("evil", name=attack, scopes=[scope])
        plain_app.kit.sandbox.register_client("good", name="x", scopes=["x"])
        for language in (None, "de"):
            page = read(await plain_app.get(plain_app.url(language, client_id="evil", scope=None)))
            plain = read(await plain_app.get(plain_app.url(language, client_id="good", scope=None)))
            assert page.shape == plain.shape
            assert page.text.count(attack) >= 3
            assert scope in page.text


@settings(max_examples=60, deadline=None)
@hypothesis_given(st.text(st.characters(exclude_categories=["C", "Z"]), min_size=1))
async def test_any_name(name: str) -> None:
    """Whatever an app is called, the user reads it, and the page keeps its shape."""
    async with asking() as app:
        app.kit.sandbox.register_client("app", name=name)
        page = read(await app.get(app.url(client_id="app")))
        assert name in page.texts
        assert page.shape == read(await app.get(app.url())).shape


@hypothesis_given(st.text())
@example('"><script>')
@example("'&amp;")
def test_any_text(value: str) -> None:
    """Any text goes through an element's inside and its attribute, and comes out as it went in."""
    clean = value.replace("\r", "").replace("\0", "")
    page = Page(element("p", text(clean), None, title=clean, hidden=True, open=False))
    assert page.elements == [("p", {"title": clean.encode(errors="replace").decode(), "hidden": None})]
    assert page.text == clean.encode(errors="replace").decode()


async def test_form_is_for_once(app: App) -> None:
    """A page's token is good for one decision; the second gives no second code."""
    page = await app.get(app.url())
    assert (await app.press(page)).status == 302
    for decision in ("allow", "deny"):
        answered = await app.press(page, decision)
        assert answered.status == 400
        assert "has been used" in read(answered).text


async def test_form_is_for_its_page(app: App) -> None:
    """Each page has a token of its own, which decides that page's question and no other's."""
    first, second = await app.get(app.url(state="first")), await app.get(app.url(state="second"))
    assert hidden_fields(first) != hidden_fields(second)
    mixed = await app.press(first, csrf_token=hidden_fields(second)["csrf_token"])
    assert parameters_of(mixed.headers["Location"])["state"] == "second"
    assert (await app.press(second)).status == 400
    assert parameters_of((await app.press(first)).headers["Location"])["state"] == "first"


async def test_form_lives_ten_minutes(app: App) -> None:
    """A page that is too old decides nothing."""
    early, late = await app.get(app.url()), await app.get(app.url())
    app.kit.clock.now += 599.5
    assert (await app.press(early)).status == 302
    app.kit.clock.now += 0.5
    assert (await app.press(late)).status == 400


@pytest.mark.parametrize("csrf_token", ["", "guessed"])
async def test_form_needs_its_token(app: App, csrf_token: str) -> None:
    """Without the page's token nothing is decided."""
    answered = await app.press(await app.get(app.url()), csrf_token=csrf_token)
    assert (answered.status, app.kit.sandbox.grants()) == (400, ())


async def test_form_comes_from_the_page(app: App) -> None:
    """A form that another site sends is refused, and the user can still decide."""
    page = await app.get(app.url())
    own = app.kit.sandbox.base_url.removesuffix("/oauth")
    for origin in ("https://evil.example", "null", own + ".evil.example", own.replace("http:", "https:")):
        answered = await app.press(page, origin=origin)
        assert (answered.status, "another site" in read(answered).text) == (400, True)
    assert (await app.press(page, origin=own)).status == 302


@pytest.mark.parametrize("decision", ["", "Allow", "maybe"])
async def test_decision_must_be_one(app: App, decision: str) -> None:
    """What is neither allowed nor denied decides nothing, and the page stays good."""
    page = await app.get(app.url())
    assert (await app.press(page, decision)).status == 400
    assert (await app.press(page)).status == 302


@pytest.mark.parametrize(
    ("body", "media_type"),
    [
        ("csrf_token={token}&decision=allow&decision=deny", "application/x-www-form-urlencoded"),
        ("csrf_token={token}&csrf_token={token}&decision=allow", "application/x-www-form-urlencoded"),
        ("csrf_token={token}&decision=allow", "text/plain"),
        ("", "application/x-www-form-urlencoded"),
    ],
)
async def test_form_must_be_the_pages(app: App, body: str, media_type: str) -> None:
    """Anything but the page's own form decides nothing, and the page stays good."""
    page = await app.get(app.url())
    async with app.kit.session.post(
        app.kit.sandbox.authorize_url,
        data=body.format(token=hidden_fields(page)["csrf_token"]).encode(),
        headers={"Content-Type": media_type},
        allow_redirects=False,
    ) as response:
        assert response.status == 400
    assert (await app.press(page)).status == 302
