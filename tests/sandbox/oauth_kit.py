"""What the tests of the sandbox's OAuth side share: an app that asks, and its ways to the endpoints."""

import base64
import hashlib
import html
import io
import re
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import parse_qsl, urlencode

import attrs
from sandbox_kit import Answered, Kit, check_own_description, running

REDIRECT_URI = "http://127.0.0.1:54321/callback"
VERIFIER = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk"
CHALLENGE = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM"  # RFC 7636 appendix B
SOME_SCOPES = "account.fast-api-key:read account.info:basic"
FORM = "application/x-www-form-urlencoded"


def basic(client_id: str, secret: str = "") -> str:
    """Return Basic credentials."""
    return "Basic " + base64.b64encode(f"{client_id}:{secret}".encode()).decode()


def challenge_of(verifier: str) -> str:
    """Return a verifier's S256 challenge."""
    return base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).decode().rstrip("=")


def parameters_of(url: str, redirect_uri: str = REDIRECT_URI) -> dict[str, str]:
    """Return what a callback tells, each parameter once."""
    address, _, query = url.partition("?")
    assert address == redirect_uri
    pairs = parse_qsl(query, keep_blank_values=True, strict_parsing=True)
    assert len(dict(pairs)) == len(pairs)
    return dict(pairs)


@attrs.define
class App:
    """An app that a running sandbox knows."""

    kit: Kit
    client_id: str
    secret: str = ""

    def parameters(self, **changes: str | None) -> dict[str, str]:
        """Return an authorize URL's parameters; ``None`` leaves one out."""
        usual = {
            "client_id": self.client_id,
            "redirect_uri": REDIRECT_URI,
            "response_type": "code",
            "scope": SOME_SCOPES,
            "state": "a state",
            "code_challenge": CHALLENGE,
            "code_challenge_method": "S256",
        }
        return {name: value for name, value in {**usual, **changes}.items() if value is not None}

    def url(self, language: str | None = None, **changes: str | None) -> str:
        """Return an authorize URL."""
        base = self.kit.sandbox.authorize_url
        if language:
            base = base.replace("/oauth/", f"/{language}/oauth/")
        return f"{base}?{urlencode(self.parameters(**changes))}"

    def code(self, **changes: str | None) -> str:
        """Return a code that the user has allowed."""
        return parameters_of(self.kit.sandbox.approve(self.url(**changes)))["code"]

    async def token(
        self,
        fields: Mapping[str, str] | Sequence[tuple[str, str]] | bytes,
        *,
        authorization: Sequence[str] | None = None,
        media_type: str = FORM,
        query: str = "",
    ) -> Answered:
        """Send a form to the token endpoint, and hold the answer against the description."""
        values = [basic(self.client_id, self.secret)] if authorization is None else authorization
        headers = [("Content-Type", media_type), *(("Authorization", value) for value in values)]
        body = fields if isinstance(fields, bytes) else urlencode(fields).encode()
        url = self.kit.sandbox.token_url + query
        async with self.kit.session.post(url, data=io.BytesIO(body), headers=headers) as response:
            answered = Answered(response.status, response.headers, await response.read())
        check_own_description("POST", "/token", answered)
        assert (answered.headers["Cache-Control"], answered.headers["Pragma"]) == ("no-store", "no-cache")
        return answered

    async def exchange(self, code: str, **changes: str | None) -> Answered:
        """Change a code for tokens; ``None`` leaves a parameter out."""
        usual = {
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": REDIRECT_URI,
            "code_verifier": VERIFIER,
        }
        return await self.token({name: value for name, value in {**usual, **changes}.items() if value is not None})

    async def refresh(self, refresh_token: str) -> Answered:
        """Change a refresh token for new tokens."""
        return await self.token({"grant_type": "refresh_token", "refresh_token": refresh_token})

    async def granted(self, **changes: str | None) -> Any:
        """Return the first tokens of a new grant."""
        return given(await self.exchange(self.code(**changes)))

    async def works(self, access_token: str) -> bool:
        """Tell whether an access token is taken."""
        answered = await self.kit.call("GET", "/fast-api-keys", token=access_token)
        assert answered.status in {200, 401}
        return answered.status == 200

    async def get(self, url: str) -> Answered:
        """Open an authorize URL as a browser does, and follow nothing."""
        async with self.kit.session.get(url, allow_redirects=False) as response:
            answered = Answered(response.status, response.headers, await response.read())
        check_own_description("GET", "/authorize", answered)
        return answered

    async def press(
        self, page: Answered, decision: str = "allow", *, origin: str | None = None, **changes: str
    ) -> Answered:
        """Press a button of a page."""
        form = {**hidden_fields(page), "decision": decision, **changes}
        headers = {} if origin is None else {"Origin": origin}
        url = self.kit.sandbox.authorize_url.removesuffix("/oauth/authorize") + action_of(page)
        async with self.kit.session.post(url, data=form, headers=headers, allow_redirects=False) as response:
            answered = Answered(response.status, response.headers, await response.read())
        check_own_description("POST", "/authorize", answered)
        return answered


def given(answered: Answered) -> Any:
    """Return the tokens of an answer that gives some."""
    assert answered.status == 200, answered.body
    return answered.json


def refused(answered: Answered) -> str:
    """Return the error of an answer that refuses."""
    assert answered.status in {400, 401}
    assert ("WWW-Authenticate" in answered.headers) == (answered.status == 401)
    error: str = answered.json["error"]
    return error


def action_of(page: Answered) -> str:
    """Return where a page's form goes."""
    match = re.search(r'<form method="post" action="([^"]+)">', page.body.decode())
    assert match
    return html.unescape(match[1])


def hidden_fields(page: Answered) -> dict[str, str]:
    """Return what a page's form sends besides the button."""
    found = re.findall(r'<input type="hidden" name="([^"]+)" value="([^"]+)">', page.body.decode())
    return {html.unescape(name): html.unescape(value) for name, value in found}


@asynccontextmanager
async def asking(**settings: Any) -> AsyncIterator[App]:
    """Start a sandbox, and return its default app."""
    async with running(**settings) as kit:
        yield App(kit, kit.sandbox.client_id)
