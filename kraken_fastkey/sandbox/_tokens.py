"""The access tokens that the sandbox has issued, and what each still allows."""

import base64
import math
import random
from collections.abc import Callable

import attrs


@attrs.frozen
class _Issued:
    """What the sandbox knows of one token."""

    scopes: frozenset[str]
    expires_at: float


class TokenBook:
    """Issues access tokens, revokes them, and tells what one allows.

    Args:
        clock: Gives the time in Unix seconds.
        rng: Where tokens come from.
    """

    def __init__(self, clock: Callable[[], float], rng: random.Random) -> None:
        self._clock = clock
        self._rng = rng
        self._issued: dict[str, _Issued] = {}

    def issue(self, scopes: frozenset[str], expires_in: float) -> str:
        """Return a new token that carries ``scopes`` for ``expires_in`` seconds; at zero it has expired.

        Raises:
            ValueError: if ``expires_in`` is not a number.
        """
        if math.isnan(expires_in):
            raise ValueError("expires_in must be a number of seconds")
        token = base64.urlsafe_b64encode(self._rng.randbytes(33)).decode()
        self._issued[token] = _Issued(scopes, self._clock() + expires_in)
        return token

    def revoke(self, token: str) -> None:
        """Refuse this token from now on; one that was never issued is refused anyway (as in RFC 7009)."""
        self._issued.pop(token, None)

    def scopes_of(self, token: str) -> frozenset[str] | None:
        """Return what a token allows, or ``None`` if it is unknown, revoked or expired."""
        issued = self._issued.get(token)
        return issued.scopes if issued is not None and self._clock() < issued.expires_at else None
