"""One account's Fast API keys: their names, their number, their lives. Pure rules: no HTTP, no clock."""

import base64
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final

import attrs

from kraken_fastkey.sandbox._mint import Mint
from kraken_fastkey.sandbox._refusal import INVALID_KEY, TOO_MANY_KEYS, RefusalError, invalid
from kraken_fastkey.sandbox._usage import Usage
from kraken_fastkey.sandbox._validation import KeyFields, Number, span_is_empty

OAUTH_CLIENT: Final = "kraken-sandbox-client"


def _frozen(flags: Mapping[str, bool]) -> Mapping[str, bool]:
    return MappingProxyType(dict(flags))


@attrs.frozen(kw_only=True)
class SandboxKey:
    """A key that exists in the sandbox's account, as it was when it was asked for.

    Attributes:
        api_key_name: The key's name, 1 to 32 characters, unique in the account.
        api_key: The public half, 56 characters.
        secret: The private half: base64 of 64 bytes. No repr shows it.
        created_time: When it was created: digits of Unix seconds, as Kraken's answers say it.
        modified_time: When it was last updated, likewise.
        ip_allowlist: The addresses and networks that may use it; empty: every address.
        nonce_window: The amount of nonces, counted down from the highest, of which each may still come once,
            0 to 2**64 - 1.
        permissions: The flags that were set, true or false, as they were sent.
        query_from: Unix seconds before which nothing can be queried; 0: no restriction.
        query_to: Unix seconds after which nothing can be queried; 0: no restriction.
        valid_until: Unix seconds of its expiry; 0: none.
        last_used: Unix seconds of the last request that it signed rightly; 0: none.
        nonce: The highest nonce of these requests; 0: none.
        oauth_client: The OAuth app that made it.
        purpose: Always ``"standard"``.
    """

    api_key_name: str
    api_key: str
    secret: str = attrs.field(repr=False)
    created_time: str
    modified_time: str
    ip_allowlist: tuple[str, ...] = ()
    nonce_window: Number = 0
    permissions: Mapping[str, bool] = attrs.field(factory=dict[str, bool], converter=_frozen)
    query_from: Number = 0
    query_to: Number = 0
    valid_until: Number = 0
    last_used: int = 0
    nonce: int = 0
    oauth_client: str = OAUTH_CLIENT
    purpose: str = "standard"

    @property
    def id(self) -> str:
        """The name in Kraken's modified base64: ``_`` and ``,`` stand for ``+`` and ``/``, ``-`` pads."""
        return base64.b64encode(self.api_key_name.encode(), altchars=b"_,").decode().replace("=", "-")


class Account:
    """The keys of one account."""

    def __init__(self, mint: Mint, max_keys: int) -> None:
        self._mint = mint
        self._max_keys = max_keys
        self._keys: dict[str, SandboxKey] = {}
        self._usages: dict[str, Usage] = {}

    def listed(self) -> tuple[SandboxKey, ...]:
        """Return the keys that exist, oldest first; an expired key exists until it is deleted.

        Kraken does not say what becomes of an expired key. The sandbox keeps it: it is listed, it holds its
        name, and it counts towards the limit.
        """
        return tuple(self._keys.values())

    def create(self, fields: KeyFields, now: float, oauth_client: str = OAUTH_CLIENT) -> SandboxKey:
        """Create a key for an app and return it.

        Raises:
            RefusalError: if the name is in use (Kraken documents no code for that: the words are the
                sandbox's own), or if the account holds as many keys as it may.
        """
        if fields.api_key_name in self._keys:
            raise RefusalError(invalid("api_key_name already in use"))
        if len(self._keys) >= self._max_keys:
            raise RefusalError(TOO_MANY_KEYS)
        key = SandboxKey(
            api_key_name=fields.api_key_name,
            api_key=self._mint.public_text(42),
            secret=self._mint.secret(64),
            created_time=digits(now),
            modified_time=digits(now),
            oauth_client=oauth_client,
            **_sent(fields),
        )
        self._keys[key.api_key_name] = key
        self._usages[key.api_key] = Usage(now)
        return key

    def update(self, fields: KeyFields, now: float) -> None:
        """Change what is sent and nothing else; a permission that is not sent keeps its flag.

        Raises:
            RefusalError: if there is no such key, if the new name is another key's, or if the key would end
                with ``query_from`` later than ``query_to``.
        """
        old = self._find(fields.api_key_name)
        name = fields.new_api_key_name or old.api_key_name
        if name != old.api_key_name and name in self._keys:
            raise RefusalError(invalid("new_api_key_name already in use"))
        changes = _sent(fields)
        if fields.permissions is not None:
            changes["permissions"] = {**old.permissions, **fields.permissions}
        new = attrs.evolve(old, api_key_name=name, modified_time=digits(now), **changes)
        if span_is_empty(new.query_from, new.query_to):
            raise RefusalError(invalid("query_from"))
        # Rebuilt, so that a renamed key keeps its place.
        self._keys = {key.api_key_name: key for key in (new if key is old else key for key in self.listed())}

    def delete(self, fields: KeyFields) -> None:
        """Delete a key.

        Raises:
            RefusalError: if there is no such key.
        """
        key = self._find(fields.api_key_name)
        del self._keys[key.api_key_name], self._usages[key.api_key]

    def holder_of(self, api_key: str) -> tuple[SandboxKey, Usage]:
        """Return the key whose public half this is, and how it has been used.

        Raises:
            RefusalError: if there is no such key.
        """
        for key in self._keys.values():
            if key.api_key == api_key:
                return key, self._usages[api_key]
        raise RefusalError(INVALID_KEY)

    def use(self, key: SandboxKey, nonce: int, now: float) -> SandboxKey:
        """Use up a nonce of a key that exists, and return the key as it is then.

        Raises:
            RefusalError: if the nonce may not be used; then nothing has changed.
        """
        self._usages[key.api_key].use_up(nonce, key.nonce, key.nonce_window)
        used = attrs.evolve(key, nonce=max(key.nonce, nonce), last_used=int(now))
        self._keys[key.api_key_name] = used
        return used

    def _find(self, name: str) -> SandboxKey:
        try:
            return self._keys[name]
        except KeyError:
            raise RefusalError(invalid("api_key_name not found")) from None


def digits(seconds: float) -> str:
    """Return a time as Kraken's answers write it."""
    return str(int(seconds))


_CHANGEABLE = ("ip_allowlist", "nonce_window", "permissions", "query_from", "query_to", "valid_until")


def _sent(fields: KeyFields) -> dict[str, Any]:
    sent = ((name, getattr(fields, name)) for name in _CHANGEABLE)
    return {name: value for name, value in sent if value is not None}
