"""The sandbox's life: start, stop, and the handles that a test holds."""

import ipaddress
import random
import time
from collections.abc import Callable, Iterable
from types import TracebackType
from typing import Self

from kraken_fastkey.sandbox._account import Account, SandboxKey
from kraken_fastkey.sandbox._api import KrakenApi
from kraken_fastkey.sandbox._faults import Faults
from kraken_fastkey.sandbox._http import HttpFace
from kraken_fastkey.sandbox._listener import Listener
from kraken_fastkey.sandbox._recording import RecordedRequest
from kraken_fastkey.sandbox._routes import BASE_PATH
from kraken_fastkey.sandbox._scopes import EVERY_SCOPE, parse_scopes
from kraken_fastkey.sandbox._tokens import TokenBook


class KrakenSandbox:
    """An embedded Kraken: real HTTP on loopback, one account, Kraken's rules, faults on demand.

    It follows Kraken Connect's official OpenAPI description, and is strict where that is silent: unknown
    fields, a key without a name, CIDR notation with host bits and an expiry in the past are refused. That is
    said with HTTP 200 and ``{"error": ["EGeneral:Invalid arguments:<field>", ...]}``, every fault at
    once.

    ::

        async with KrakenSandbox() as sandbox:
            token = sandbox.issue_token(scopes=["account.fast-api-key:read"])
            ...  # talk to sandbox.base_url

    Args:
        host: A loopback address, or ``"localhost"``, which means 127.0.0.1.
        port: The TCP port; 0: any free one.
        clock: Gives the time in Unix seconds. Tokens and keys expire by it, and answers are dated by it.
        seed: Makes tokens, keys and secrets the same in each run; ``None``: the system's entropy makes them.
        max_keys: How many keys the account may hold, 0 or more; Kraken's own limit is not published.
        email: The account's e-mail address, as ``GET /userinfo`` tells it.
        iban: The account's IIBAN, likewise.

    Raises:
        ValueError: if ``host`` is not loopback, or ``max_keys`` is negative.
    """

    def __init__(
        self,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        clock: Callable[[], float] = time.time,
        seed: int | None = None,
        max_keys: int = 100,
        email: str = "sandbox@example.com",
        iban: str = "AA12N84GSANDBOX0",
    ) -> None:
        if max_keys < 0:
            raise ValueError("max_keys must be 0 or more")
        rng = random.SystemRandom() if seed is None else random.Random(seed)  # noqa: S311 (asked for)
        self._account = Account(rng, max_keys)
        self._tokens = TokenBook(clock, rng)
        self._faults = Faults()
        self._requests: list[RecordedRequest] = []
        api = KrakenApi(self._account, self._tokens, clock, {"email": email, "iban": iban})
        face = HttpFace(api, self._faults, self._requests, clock)
        self._listener = Listener(face.handle, _loopback(host), port)

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.aclose()

    async def start(self) -> None:
        """Listen. After `aclose`, listen again on the same port, with the same keys, tokens and log.

        Raises:
            RuntimeError: if it listens already.
            OSError: if the port is taken.
        """
        await self._listener.start()

    async def aclose(self) -> None:
        """Stop listening, drop every connection and cancel what hangs; harmless if it is closed already."""
        await self._listener.aclose()

    @property
    def base_url(self) -> str:
        """Where the operations are: ``http://127.0.0.1:<port>/oauth``. It stays the same after `aclose`.

        Raises:
            RuntimeError: if the sandbox has never been started, so that it has no port yet.
        """
        return self._listener.origin + BASE_PATH

    @property
    def requests(self) -> list[RecordedRequest]:
        """Every request that was received, in order of arrival; it may be cleared."""
        return self._requests

    @property
    def faults(self) -> Faults:
        """What shall go wrong."""
        return self._faults

    @property
    def total_connections(self) -> int:
        """How many TCP connections have been accepted so far."""
        return self._listener.total_connections

    @property
    def open_connections(self) -> int:
        """How many TCP connections are open now."""
        return self._listener.open_connections

    @property
    def peak_connections(self) -> int:
        """How many TCP connections have been open at once, at most."""
        return self._listener.peak_connections

    def issue_token(self, *, scopes: Iterable[str] | None = None, expires_in: float = 14400) -> str:
        """Return a new access token for the account. Tokens issued before stay as they are.

        Args:
            scopes: What it allows, such as ``"account.fast-api-key:write"``; a string is read as OAuth's
                space-separated list; ``None``: every scope. Scopes that Kraken does not know do no harm.
                ``account.fast-api-key:multiple``, whose meaning Kraken does not publish, does nothing.
            expires_in: Its life in seconds; 14,400 is what Kraken gives public clients. Zero or less: it has
                expired already.

        Raises:
            ValueError: if a scope cannot be one (RFC 6749 section 3.3), or ``expires_in`` is NaN.
        """
        return self._tokens.issue(EVERY_SCOPE if scopes is None else parse_scopes(scopes), expires_in)

    def revoke_token(self, token: str) -> None:
        """Refuse this token from now on; one that the sandbox does not know is refused anyway."""
        self._tokens.revoke(token)

    def keys(self) -> tuple[SandboxKey, ...]:
        """Return the keys that exist now, oldest first, expired ones among them."""
        return self._account.listed()


def _loopback(host: str) -> str:
    """Return the loopback address that ``host`` means.

    Raises:
        ValueError: if it means anything else: the sandbox hands out secrets without asking who is there.
    """
    if host == "localhost":
        return "127.0.0.1"
    if not ipaddress.ip_address(host).is_loopback:
        raise ValueError(f"host must be a loopback address, not {host}")
    return host
