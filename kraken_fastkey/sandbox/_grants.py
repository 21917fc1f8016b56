"""What users have granted to apps: codes, pairs of tokens, their rotation and their end."""

import base64
import hashlib
import math
import re
from collections.abc import Callable
from typing import Final, Literal, TypeAlias

import attrs

from kraken_fastkey.sandbox._clients import Client
from kraken_fastkey.sandbox._mint import Mint
from kraken_fastkey.sandbox._refusal import TokenRefusalError
from kraken_fastkey.sandbox._tokens import TokenBook

CODE_LIFE: Final = 600
REFRESH_TOKEN_LIFE: Final = 30 * 24 * 3600
PUBLIC_ACCESS_TOKEN_LIFE: Final = 4 * 3600
CONFIDENTIAL_ACCESS_TOKEN_LIFE: Final = 24 * 3600

# RFC 7636 section 4.1.
_CODE_VERIFIER = re.compile(r"[A-Za-z0-9\-._~]{43,128}")

RevocationReason: TypeAlias = Literal["code_reuse", "refresh_token_reuse", "user"]
"""Why a grant has ended: its code was used twice, a spent refresh token was used again, or the user ended it."""


@attrs.frozen(kw_only=True)
class SandboxGrant:
    """What a user has granted to an app, as it was when it was asked for.

    Attributes:
        number: Tells grants apart: 1 for the first.
        client_id: The app.
        scopes: What its tokens allow.
        generation: How many times its tokens have been rotated; 0: never.
        access_token: The current access token. No repr shows it.
        refresh_token: The current refresh token, likewise.
        created: When the code was exchanged, in Unix seconds.
        revoked: Whether its tokens are refused.
        reason: Why: ``"user"``, ``"refresh_token_reuse"`` or ``"code_reuse"``; ``None`` unless it is revoked.
    """

    number: int
    client_id: str
    scopes: frozenset[str]
    generation: int
    access_token: str = attrs.field(repr=False)
    refresh_token: str = attrs.field(repr=False)
    created: float
    revoked: bool
    reason: RevocationReason | None


@attrs.frozen
class TokenPair:
    """What a token request gives.

    Attributes:
        access_token: The access token.
        refresh_token: The refresh token.
        expires_in: The seconds that the access token has left.
        scopes: What it allows.
    """

    access_token: str = attrs.field(repr=False)
    refresh_token: str = attrs.field(repr=False)
    expires_in: int
    scopes: frozenset[str]


@attrs.frozen(kw_only=True)
class Authorization:
    """What a user has allowed, and how its code may be redeemed.

    Attributes:
        client_id: The app.
        redirect_uri: Where the user was sent back to.
        scopes: What was allowed.
        code_challenge: The SHA-256 of the verifier, in base64url (RFC 7636); ``None``: PKCE is not used.
    """

    client_id: str
    redirect_uri: str
    scopes: frozenset[str]
    code_challenge: str | None


@attrs.define(eq=False)
class _Family:
    """A grant, and the pair of tokens that it has now."""

    snapshot: SandboxGrant
    issued_at: float
    previous_refresh_token: str | None = None


@attrs.define(eq=False)
class _Code:
    """An authorization code, and what came of it."""

    authorization: Authorization = attrs.field(on_setattr=attrs.setters.frozen)
    expires_at: float = attrs.field(on_setattr=attrs.setters.frozen)
    family: _Family | None = None


class GrantBook:
    """Gives codes for what users allow, tokens for codes, and new tokens for old ones.

    Args:
        clock: Gives the time in Unix seconds.
        mint: Where codes and refresh tokens come from.
        tokens: Where access tokens come from.
        reuse_grace: For how many seconds after a rotation the refresh token that it spent gives the new pair
            once more.

    Raises:
        ValueError: if ``reuse_grace`` is negative or no number.
    """

    def __init__(self, clock: Callable[[], float], mint: Mint, tokens: TokenBook, reuse_grace: float) -> None:
        if not reuse_grace >= 0:
            raise ValueError("refresh_reuse_grace must be 0 seconds or more")
        self._clock = clock
        self._mint = mint
        self._tokens = tokens
        self._reuse_grace = reuse_grace
        self._codes: dict[str, _Code] = {}
        self._families: list[_Family] = []
        # Every refresh token that there has ever been, so that a spent one is known again.
        self._by_refresh_token: dict[str, _Family] = {}

    def listed(self) -> tuple[SandboxGrant, ...]:
        """Return every grant, oldest first, revoked ones among them."""
        return tuple(family.snapshot for family in self._families)

    def new_code(self, authorization: Authorization) -> str:
        """Return a code for what a user has just allowed."""
        code = self._mint.url_secret()
        self._codes[code] = _Code(authorization, self._clock() + CODE_LIFE)
        return code

    def redeem(self, client: Client, code: str, redirect_uri: str, code_verifier: str | None) -> TokenPair:
        """Return the tokens for a code.

        A refusal leaves the code as it is, unless the code had been redeemed before: then all that it gave is
        revoked (RFC 6749 section 4.1.2).

        Raises:
            TokenRefusalError: ``invalid_grant`` if the code does not give this app anything;
                ``invalid_request`` if the verifier cannot be one.
        """
        found = self._codes.get(code)
        if found is None or found.authorization.client_id != client.client_id:
            raise _invalid_grant("The code is unknown, or another client's")
        if found.family is not None:
            self._end(found.family, "code_reuse")
            raise _invalid_grant("The code has been used before; what it gave is revoked")
        if self._clock() >= found.expires_at:
            raise _invalid_grant("The code has expired")
        if redirect_uri != found.authorization.redirect_uri:
            raise _invalid_grant("redirect_uri is not the one that the code was asked for with")
        _check_verifier(found.authorization.code_challenge, code_verifier)
        found.family = self._begin(client, found.authorization.scopes)
        return _pair(found.family, client, 0)

    def refresh(self, client: Client, refresh_token: str) -> TokenPair:
        """Return new tokens, and refuse the old ones from now on.

        A refresh token that is spent ends the grant, but for one case: the latest to be spent gives the same
        pair once more while its grace lasts.

        Raises:
            TokenRefusalError: ``invalid_grant`` if the refresh token does not give this app anything.
        """
        family = self._by_refresh_token.get(refresh_token)
        if family is None or family.snapshot.client_id != client.client_id:
            raise _invalid_grant("The refresh token is unknown, or another client's")
        if family.snapshot.revoked:
            raise _invalid_grant("The grant is revoked")
        age = max(0, self._clock() - family.issued_at)
        is_current = refresh_token == family.snapshot.refresh_token
        if not is_current and not (refresh_token == family.previous_refresh_token and age < self._reuse_grace):
            self._end(family, "refresh_token_reuse")
            raise _invalid_grant("The refresh token has been used before; the grant is revoked")
        if age >= REFRESH_TOKEN_LIFE:
            raise _invalid_grant("The refresh token has expired")
        if is_current:
            self._rotate(family, client)
            age = 0
        return _pair(family, client, age)

    def revoke(self, number: int) -> None:
        """End a grant as its user may; one that has ended keeps its reason.

        Raises:
            ValueError: if there is no such grant.
        """
        if not 1 <= number <= len(self._families):
            raise ValueError(f"there is no grant number {number}")
        self._end(self._families[number - 1], "user")

    def _begin(self, client: Client, scopes: frozenset[str]) -> _Family:
        now = self._clock()
        snapshot = SandboxGrant(
            number=len(self._families) + 1,
            client_id=client.client_id,
            scopes=scopes,
            generation=0,
            access_token=self._tokens.issue(client.client_id, scopes, _access_token_life(client)),
            refresh_token=self._mint.url_secret(),
            created=now,
            revoked=False,
            reason=None,
        )
        family = _Family(snapshot, now)
        self._families.append(family)
        self._by_refresh_token[snapshot.refresh_token] = family
        return family

    def _rotate(self, family: _Family, client: Client) -> None:
        old = family.snapshot
        self._tokens.revoke(old.access_token)
        family.snapshot = attrs.evolve(
            old,
            generation=old.generation + 1,
            access_token=self._tokens.issue(client.client_id, old.scopes, _access_token_life(client)),
            refresh_token=self._mint.url_secret(),
        )
        family.issued_at = self._clock()
        family.previous_refresh_token = old.refresh_token
        self._by_refresh_token[family.snapshot.refresh_token] = family

    def _end(self, family: _Family, reason: RevocationReason) -> None:
        if not family.snapshot.revoked:
            self._tokens.revoke(family.snapshot.access_token)
            family.snapshot = attrs.evolve(family.snapshot, revoked=True, reason=reason)


def _pair(family: _Family, client: Client, age: float) -> TokenPair:
    """Return a grant's current pair, ``age`` seconds after it was made."""
    left = max(0, _access_token_life(client) - math.ceil(age))
    return TokenPair(family.snapshot.access_token, family.snapshot.refresh_token, left, family.snapshot.scopes)


def _access_token_life(client: Client) -> int:
    return PUBLIC_ACCESS_TOKEN_LIFE if client.client_secret is None else CONFIDENTIAL_ACCESS_TOKEN_LIFE


def _check_verifier(challenge: str | None, verifier: str | None) -> None:
    """Refuse a verifier that is missing, wrong, or there without a challenge (RFC 9700 section 4.8.2)."""
    if verifier is not None and not _CODE_VERIFIER.fullmatch(verifier):
        raise TokenRefusalError("invalid_request", "code_verifier is not 43 to 128 unreserved characters")
    if challenge is None and verifier is not None:
        raise _invalid_grant("There is a code_verifier, and there was no code_challenge")
    if challenge is not None and verifier is None:
        raise _invalid_grant("There was a code_challenge, and there is no code_verifier")
    if verifier is not None and challenge != challenge_of(verifier):
        raise _invalid_grant("code_verifier does not fit the code_challenge")


def challenge_of(verifier: str) -> str:
    """Return a verifier's S256 challenge (RFC 7636 section 4.2)."""
    return base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).decode().rstrip("=")


def _invalid_grant(description: str) -> TokenRefusalError:
    return TokenRefusalError("invalid_grant", description)
