"""The OAuth apps that are registered, and which redirect URIs are theirs. Pure rules."""

import base64
import hmac
import re
from collections.abc import Sequence
from typing import Final

import attrs

from kraken_fastkey.sandbox._refusal import TokenRefusalError

# Without a path: any port and any path of the loopback address.
LOOPBACK_URIS: Final = ("http://127.0.0.1", "http://[::1]")

# RFC 3986: what a URI may consist of; a redirect URI has no fragment (RFC 6749 section 3.1.2).
_URI_CHARACTERS = r"[A-Za-z0-9\-._~:/?\[\]@!$&'()*+,;=%]"
# The web, and private-use schemes, which hold a dot (RFC 8252 section 7.1); javascript: is neither.
_REDIRECT_URI = re.compile(rf"(?:https?://[^/?]{_URI_CHARACTERS}*|[a-z][a-z0-9+\-]*\.[a-z0-9+\-.]*:{_URI_CHARACTERS}+)")
_LOOPBACK_URI = re.compile(rf"(http://(?:127\.0\.0\.1|\[::1\]))(?::([0-9]{{1,5}}))?((?:[/?]{_URI_CHARACTERS}*)?)")

# RFC 6749 appendix A.1 and A.2: printable ASCII; a colon would end the name in Basic credentials (RFC 7617).
_CLIENT_ID = re.compile(r"[\x20-\x39\x3b-\x7e]+")
_CLIENT_SECRET = re.compile(r"[\x20-\x7e]+")

_BASIC = re.compile(r"basic +([A-Za-z0-9+/]+=*)", re.IGNORECASE)


@attrs.frozen(kw_only=True)
class Client:
    """A registered app.

    Attributes:
        client_id: Its identifier.
        client_secret: Its secret; ``None``: it is a public client.
        name: What users are told that it is called.
        redirect_uris: Where users may be sent back to.
        scopes: What it may ask for.
    """

    client_id: str = attrs.field()
    client_secret: str | None = attrs.field(repr=False)
    name: str = attrs.field()
    redirect_uris: tuple[str, ...] = attrs.field()
    scopes: frozenset[str]

    def __attrs_post_init__(self) -> None:
        if not _CLIENT_ID.fullmatch(self.client_id):
            raise ValueError("client_id must be printable ASCII without a colon")
        if self.client_secret is not None and not _CLIENT_SECRET.fullmatch(self.client_secret):
            raise ValueError("client_secret must be printable ASCII, or None for a public client")
        if not (self.name.strip() and self.name.isprintable()):
            raise ValueError("name must be printable text")
        for uri in self.redirect_uris:
            if not (_REDIRECT_URI.fullmatch(uri) and uri.isascii()):
                raise ValueError(f"{uri!r} cannot be a redirect URI")

    def may_redirect_to(self, uri: str) -> bool:
        """Tell whether a redirect URI is one of those registered.

        It must be the same string; at a loopback address the port may differ (RFC 8252 section 7.3), and
        where no path is registered, so may the path.
        """
        return any(uri == registered or _is_same_loopback(uri, registered) for registered in self.redirect_uris)

    def has_secret(self, secret: str) -> bool:
        """Tell whether this is the app's secret; that of a public client is empty."""
        return hmac.compare_digest(secret.encode(), (self.client_secret or "").encode())


def _is_same_loopback(uri: str, registered: str) -> bool:
    """Tell whether two loopback URIs are the same but for what may differ."""
    theirs, ours = _LOOPBACK_URI.fullmatch(uri), _LOOPBACK_URI.fullmatch(registered)
    if theirs is None or ours is None or int(theirs[2] or 0) > 0xFFFF:
        return False
    return theirs[1] == ours[1] and ours[3] in ("", theirs[3])


class ClientBook:
    """The apps that are registered."""

    def __init__(self) -> None:
        self._clients: dict[str, Client] = {}

    def add(self, client: Client) -> None:
        """Register an app.

        Raises:
            ValueError: if its identifier is in use.
        """
        if client.client_id in self._clients:
            raise ValueError(f"client_id {client.client_id!r} is registered already")
        self._clients[client.client_id] = client

    def find(self, client_id: str) -> Client | None:
        return self._clients.get(client_id)

    def authenticate(self, authorization: Sequence[str]) -> Client:
        """Return the app whose Basic credentials these are.

        They go unescaped, as Kraken's own pages and public clients send them, not form-encoded as
        RFC 6749 section 2.3.1 has them.

        Args:
            authorization: The values of all ``Authorization`` headers.

        Raises:
            TokenRefusalError: ``invalid_client`` if they are nobody's.
        """
        client_id, secret = _credentials(authorization)
        client = self._clients.get(client_id)
        if client is None or not client.has_secret(secret):
            raise TokenRefusalError("invalid_client", "No client has these credentials")
        return client


def _credentials(authorization: Sequence[str]) -> tuple[str, str]:
    """Return the identifier and the secret of Basic credentials (RFC 7617)."""
    match = _BASIC.fullmatch(authorization[0]) if len(authorization) == 1 else None
    if match is None:
        raise TokenRefusalError("invalid_client", "One Authorization header with Basic credentials is required")
    try:
        client_id, secret = base64.b64decode(match[1], validate=True).decode().split(":", 1)
    except ValueError:
        raise TokenRefusalError("invalid_client", "The credentials are no base64 of client_id:client_secret") from None
    return client_id, secret
