"""What an authorize URL asks for: pure rules, told apart by who may be told of a mistake."""

import re
from collections.abc import Mapping
from typing import Final, Literal, TypeAlias, cast

import attrs

from kraken_fastkey.sandbox._clients import Client, ClientBook
from kraken_fastkey.sandbox._forms import Form, read_form, write_form
from kraken_fastkey.sandbox._grants import Authorization

Theme: TypeAlias = Literal["dark", "light"]

# Base64url of 32 bytes (RFC 7636 section 4.2).
_CODE_CHALLENGE = re.compile(r"[A-Za-z0-9\-_]{43}")

_THEMES: Final = ("dark", "light")


class PageError(Exception):
    """A request that must not redirect, since nobody vouches for where it would lead (RFC 6749 section 4.1.2.1).

    Args:
        reason: What is wrong, for whoever writes the client. It repeats nothing of the request.
    """

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class RedirectError(Exception):
    """A request whose mistake is told to the app.

    Args:
        callback: Where to.
        error: The error's name, such as ``"invalid_scope"``.
        description: What is wrong, for whoever writes the client: ASCII, without quotation marks.
    """

    def __init__(self, callback: "Callback", error: str, description: str) -> None:
        super().__init__(error, description)
        self.callback = callback
        self.error = error
        self.description = description


@attrs.frozen
class Callback:
    """Where an app awaits the user, and what it wants to hear again.

    Attributes:
        redirect_uri: The app's redirect URI.
        state: The app's state; ``None`` if it sent none.
    """

    redirect_uri: str
    state: str | None = attrs.field(repr=False)

    def url(self, issuer: str, **parameters: str) -> str:
        """Return the URL that tells the app these parameters, the state, and who says so (RFC 9207)."""
        pairs = [*parameters.items(), *([] if self.state is None else [("state", self.state)]), ("iss", issuer)]
        separator = "&" if "?" in self.redirect_uri else "?"
        return f"{self.redirect_uri}{separator}{write_form(pairs)}"


@attrs.frozen(kw_only=True)
class Question:
    """What a user is to be asked.

    Attributes:
        client: The app that asks.
        callback: Where it awaits the answer.
        authorization: What the user would allow.
        theme: How the page shall look; ``None``: as the user's system does.
    """

    client: Client
    callback: Callback
    authorization: Authorization
    theme: Theme | None


def read_question(query: str, clients: ClientBook) -> Question:
    """Return what the query of an authorize URL asks for. Parameters that are not known do no harm.

    Raises:
        PageError: if the app or the redirect URI is not known.
        RedirectError: if anything else is wrong.
    """
    form = read_form(query)
    client = _client(form, clients)
    callback = Callback(_redirect_uri(form, client), form.values.get("state"))
    if form.repeated:
        raise RedirectError(callback, "invalid_request", "A parameter is there more than once")
    # Kraken's description lets response_type be left out.
    if form.values.get("response_type", "code") != "code":
        raise RedirectError(callback, "unsupported_response_type", "response_type must be code")
    authorization = Authorization(
        client_id=client.client_id,
        redirect_uri=callback.redirect_uri,
        scopes=_scopes(form.values, client, callback),
        code_challenge=_code_challenge(form.values, callback),
    )
    return Question(client=client, callback=callback, authorization=authorization, theme=_theme(form.values, callback))


def _client(form: Form, clients: ClientBook) -> Client:
    client = clients.find(_single(form, "client_id"))
    if client is None:
        raise PageError("No app is registered with this client_id.")
    return client


def _redirect_uri(form: Form, client: Client) -> str:
    uri = _single(form, "redirect_uri")
    if not client.may_redirect_to(uri):
        raise PageError("This redirect_uri is not registered for the app.")
    return uri


def _single(form: Form, name: str) -> str:
    if name in form.repeated:
        raise PageError(f"{name} is there more than once.")
    if name not in form.values:
        raise PageError(f"{name} is missing.")
    return form.values[name]


def _scopes(values: Mapping[str, str], client: Client, callback: Callback) -> frozenset[str]:
    """Return the scopes that are asked for; none means all that the app is registered for."""
    scopes = frozenset(values.get("scope", "").split(" ")) - {""}
    if not scopes <= client.scopes:
        raise RedirectError(callback, "invalid_scope", "A scope is unknown, or not registered for the client")
    return scopes or client.scopes


def _code_challenge(values: Mapping[str, str], callback: Callback) -> str | None:
    """Return the challenge, if PKCE is used; the method "plain", which is the default, is refused."""
    challenge, method = values.get("code_challenge"), values.get("code_challenge_method")
    if challenge is None and method is None:
        return None
    if method != "S256":
        raise RedirectError(callback, "invalid_request", "code_challenge_method must be S256")
    if challenge is None or not _CODE_CHALLENGE.fullmatch(challenge):
        raise RedirectError(callback, "invalid_request", "code_challenge must be 43 characters of base64url")
    return challenge


def _theme(values: Mapping[str, str], callback: Callback) -> Theme | None:
    theme = values.get("preferTheme")
    if theme is not None and theme not in _THEMES:
        raise RedirectError(callback, "invalid_request", "preferTheme must be dark or light")
    return cast("Theme | None", theme)
