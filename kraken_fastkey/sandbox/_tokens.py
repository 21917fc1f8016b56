"""The access tokens that the sandbox has issued, and what each still allows."""

import math
from collections.abc import Callable

import attrs

from kraken_fastkey.sandbox._mint import Mint


@attrs.frozen
class Issued:
    """What the sandbox knows of one token.

    Attributes:
        client_id: The app that holds it.
        scopes: What it allows.
        expires_at: When it expires, in Unix seconds.
    """

    client_id: str
    scopes: frozenset[str]
    expires_at: float


class TokenBook:
    """Issues access tokens, revokes them, and tells what one allows."""

    def __init__(self, clock: Callable[[], float], mint: Mint) -> None:
        self._clock = clock
        self._mint = mint
        self._issued: dict[str, Issued] = {}

    def issue(self, client_id: str, scopes: frozenset[str], expires_in: float) -> str:
        """Return a new token of an app that carries ``scopes`` for ``expires_in`` seconds; at zero it has expired.

        Raises:
            ValueError: if ``expires_in`` is not a number.
        """
        if math.isnan(expires_in):
            raise ValueError("expires_in must be a number of seconds")
        token = self._mint.url_secret()
        self._issued[token] = Issued(client_id, scopes, self._clock() + expires_in)
        return token

    def revoke(self, token: str) -> None:
        """Refuse this token from now on; one that was never issued is refused anyway (as in RFC 7009)."""
        self._issued.pop(token, None)

    def revoke_all(self) -> None:
        self._issued.clear()

    def find(self, token: str) -> Issued | None:
        """Return what is known of a token that counts, or ``None`` if it is unknown, revoked or expired."""
        issued = self._issued.get(token)
        return issued if issued is not None and self._clock() < issued.expires_at else None
