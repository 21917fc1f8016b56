"""The sandbox's life: start, stop, and the handles that a test holds."""

import asyncio
import ipaddress
import random
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from contextlib import asynccontextmanager
from types import TracebackType
from typing import Self

from kraken_fastkey.sandbox._account import OAUTH_CLIENT, Account, SandboxKey
from kraken_fastkey.sandbox._api import REQUIRED_SCOPES, KrakenApi
from kraken_fastkey.sandbox._authorization import PageError
from kraken_fastkey.sandbox._clients import LOOPBACK_URIS, Client, ClientBook
from kraken_fastkey.sandbox._clock import SandboxClock
from kraken_fastkey.sandbox._consent import Consent
from kraken_fastkey.sandbox._fault_queue import Faults
from kraken_fastkey.sandbox._funds import DEFAULT_BALANCES, Funds
from kraken_fastkey.sandbox._grants import GrantBook, SandboxGrant
from kraken_fastkey.sandbox._history import ListHistory
from kraken_fastkey.sandbox._http import HttpFace
from kraken_fastkey.sandbox._late import LateWork
from kraken_fastkey.sandbox._listener import Listener
from kraken_fastkey.sandbox._lockout import Lockout
from kraken_fastkey.sandbox._mint import Mint
from kraken_fastkey.sandbox._recording import RecordedRequest
from kraken_fastkey.sandbox._refusal import RefusalError
from kraken_fastkey.sandbox._routes import BASE_PATH, TRADING_ROUTES, operation_of
from kraken_fastkey.sandbox._scopes import EVERY_SCOPE, parse_scopes
from kraken_fastkey.sandbox._token_endpoint import TokenEndpoint, TokenMediaType
from kraken_fastkey.sandbox._tokens import TokenBook
from kraken_fastkey.sandbox._trading import TradingApi


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

    It is an OAuth server, too: users (or a test in their place: `approve`, `deny`) allow apps to act for them at
    `authorize_url`, and apps change codes and refresh tokens for new tokens at `token_url`.

    A key that was made can be used, too: at `api_url` there is a trading API, as far as a key needs it to be tried.

    Args:
        host: A loopback address, or ``"localhost"``, which means 127.0.0.1.
        port: The TCP port; 0: any free one.
        clock: Gives the time in Unix seconds. Tokens and keys expire by it, and answers are dated by it.
        seed: Makes tokens, keys, secrets and the faults' chance the same in each run; ``None``: the system's
            entropy makes them.
        max_keys: How many keys the account may hold, 0 or more; Kraken's own limit is not published.
        email: The account's e-mail address, as ``GET /userinfo`` tells it.
        iban: The account's IIBAN, likewise.
        refresh_reuse_grace: For how many seconds after a refresh the refresh token that it spent gives the
            same new tokens once more; used later, or used after the next refresh, it ends the grant.
        token_media_type: How `token_url` hands over tokens: ``"application/json"``, as Kraken does, or
            ``"application/x-www-form-urlencoded"``, as its description says.
        list_lag: How many seconds the list of keys is behind, 0 or more; see the attribute.
        clock_skew: By how many seconds the sandbox's clock is ahead of ``clock``; see the attribute.
        sleep: Waits some seconds, where a fault makes an answer slow.
        balances: What the account holds, by Kraken's names of assets; see the attribute.
        propagation_delay: For how many seconds a new key is not known to the trading API; see the attribute.
        lockout_after: After how many failures in a row the trading API locks out; see the attribute.

    Raises:
        ValueError: if ``host`` is not loopback, ``max_keys``, ``refresh_reuse_grace``, ``list_lag`` or
            ``propagation_delay`` is negative, ``clock_skew`` is not finite, ``token_media_type`` is neither of the
            two, a balance is no string of digits, or ``lockout_after`` is less than 1.
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
        refresh_reuse_grace: float = 0,
        token_media_type: TokenMediaType = "application/json",  # noqa: S107 (no password)
        list_lag: float = 0,
        clock_skew: float = 0,
        sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
        balances: Mapping[str, str] = DEFAULT_BALANCES,
        propagation_delay: float = 0,
        lockout_after: int | None = None,
    ) -> None:
        if max_keys < 0:
            raise ValueError("max_keys must be 0 or more")
        rng = random.SystemRandom() if seed is None else random.Random(seed)  # noqa: S311 (asked for)
        self._mint = mint = Mint(rng)
        self._clock = SandboxClock(clock, clock_skew)
        self._late = LateWork(self._clock)
        self._history = ListHistory(list_lag)
        self._account = Account(mint, max_keys)
        self._tokens = TokenBook(self._clock, mint)
        self._faults = Faults(seed)
        self._requests: list[RecordedRequest] = []
        self._clients = ClientBook()
        self._grants = GrantBook(self._clock, mint, self._tokens, refresh_reuse_grace)
        self._consent = Consent(self._clients, self._grants, self._clock, rng, lambda: self._listener.origin, email)
        user_info = {"email": email, "iban": iban}
        self._api = KrakenApi(self._account, self._tokens, self._clock, user_info, self._history)
        self._funds = Funds(balances)
        self._lockout = Lockout(lockout_after)
        self._trading = TradingApi(
            self._account, self._clock, rng, self._history, iban, self._funds, self._lockout, propagation_delay
        )
        operations = {
            **dict.fromkeys(REQUIRED_SCOPES, self._api.answer),
            **dict.fromkeys(TRADING_ROUTES.values(), self._trading.answer),
            "token": TokenEndpoint(self._clients, self._grants, token_media_type).answer,
            "authorize": self._consent.answer,
        }
        self._face = face = HttpFace(operations, self._faults, self._requests, self._clock, self._late, sleep)
        self._listener = Listener(face.handle, _loopback(host), port)
        self.register_client(self.client_id)

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

    @asynccontextmanager
    async def unreachable(self) -> AsyncIterator[None]:
        """Drop every connection and refuse new ones until the block ends; then listen again on the same port.

        Raises:
            RuntimeError: if the sandbox does not listen.
            OSError: at the end of the block, if somebody else has taken the port.
        """
        if not self._listener.is_open:
            raise RuntimeError("the sandbox does not listen: it is unreachable already")
        await self.aclose()
        try:
            yield
        finally:
            await self.start()

    @property
    def base_url(self) -> str:
        """Where the operations are: ``http://127.0.0.1:<port>/oauth``. It stays the same after `aclose`.

        Raises:
            RuntimeError: if the sandbox has never been started, so that it has no port yet.
        """
        return self._listener.origin + BASE_PATH

    @property
    def api_url(self) -> str:
        """Where the trading API is: ``http://127.0.0.1:<port>``, in the place of ``https://api.kraken.com``.

        Raises:
            RuntimeError: if the sandbox has never been started.
        """
        return self._listener.origin

    @property
    def authorize_url(self) -> str:
        """Where users are asked: ``http://127.0.0.1:<port>/oauth/authorize``; a language may stand before the path.

        Raises:
            RuntimeError: if the sandbox has never been started.
        """
        return f"{self.base_url}/authorize"

    @property
    def token_url(self) -> str:
        """Where apps get tokens: ``http://127.0.0.1:<port>/oauth/token``.

        Raises:
            RuntimeError: if the sandbox has never been started.
        """
        return f"{self.base_url}/token"

    @property
    def client_id(self) -> str:
        """The public client that is registered from the start; it may await users at any loopback URL."""
        return OAUTH_CLIENT

    @property
    def requests(self) -> list[RecordedRequest]:
        """Every request that was received, in order of arrival; it may be cleared."""
        return self._requests

    @property
    def secrets(self) -> frozenset[str]:
        """Every secret that the sandbox has made so far: access and refresh tokens, codes, and the keys' secrets."""
        return frozenset(self._mint.secrets)

    @property
    def faults(self) -> Faults:
        """What shall go wrong."""
        return self._faults

    @property
    def list_lag(self) -> float:
        """How many seconds the list of keys is behind, 0 or more; it may be set.

        With 45, the list is the one of 45 seconds ago by the sandbox's clock: a key that was created since then is
        not shown, a key that was deleted since then still is. `keys` tells the truth. What happened before the
        lag was set shows at once.

        Raises:
            ValueError: if it is set to a negative number, or one that is not finite.
        """
        return self._history.lag

    @list_lag.setter
    def list_lag(self, seconds: float) -> None:
        self._late.catch_up()
        self._history.lag = seconds

    @property
    def clock_skew(self) -> float:
        """By how many seconds the sandbox's clock is ahead of ``clock``, or behind, if negative; it may be set.

        It counts wherever the sandbox tells or uses the time: the ``Date`` header, ``created_time``, every expiry.

        Raises:
            ValueError: if it is set to a number that is not finite.
        """
        return self._clock.skew

    @clock_skew.setter
    def clock_skew(self, seconds: float) -> None:
        self._late.catch_up()
        self._clock.skew = seconds

    @property
    def balances(self) -> Mapping[str, str]:
        """What the account holds: amounts by Kraken's names of assets, ``{"ZEUR": "1000.0000", ...}``; may be set.

        Each amount is a string with as many decimals as its asset has.

        Raises:
            ValueError: if it is set to anything else.
        """
        return self._funds.balances

    @balances.setter
    def balances(self, balances: Mapping[str, str]) -> None:
        self._late.catch_up()
        self._funds.balances = balances

    @property
    def propagation_delay(self) -> float:
        """For how many seconds after its creation a key is refused by the trading API, 0 or more; it may be set.

        It is refused as an unknown one is, with ``EAPI:Invalid key``. The list shows it all the while.

        Raises:
            ValueError: if it is set to a negative number, or one that is not finite.
        """
        return self._trading.propagation_delay

    @propagation_delay.setter
    def propagation_delay(self, seconds: float) -> None:
        self._late.catch_up()
        self._trading.propagation_delay = seconds

    @property
    def lockout_after(self) -> int | None:
        """After how many failures in a row, within a minute, the trading API locks out; ``None``: never. May be set.

        A failure is a wrong key, signature or nonce. A lockout is for all keys. It lasts for 15 minutes by the
        sandbox's clock after the last private call. To set this ends it.

        Raises:
            ValueError: if it is set to less than 1.
        """
        return self._lockout.after

    @lockout_after.setter
    def lockout_after(self, failures: int | None) -> None:
        self._late.catch_up()
        self._lockout.after = failures

    @property
    def open_requests(self) -> int:
        """How many requests have come and have not been answered yet; one that hangs is among them."""
        return self._face.open_requests

    @property
    def total_connections(self) -> int:
        """How many TCP connections have been accepted so far."""
        return self._listener.tally.total

    @property
    def open_connections(self) -> int:
        """How many TCP connections are open now."""
        return len(self._listener.tally.open)

    @property
    def peak_connections(self) -> int:
        """How many TCP connections have been open at once, at most."""
        return self._listener.tally.peak

    def issue_token(self, *, scopes: Iterable[str] | None = None, expires_in: float = 14400) -> str:
        """Return a new access token of `client_id` for the account. Tokens issued before stay as they are.

        Args:
            scopes: What it allows, such as ``"account.fast-api-key:write"``; a string is read as OAuth's
                space-separated list; ``None``: every scope. Scopes that Kraken does not know do no harm.
                ``account.fast-api-key:multiple``, whose meaning Kraken does not publish, does nothing.
            expires_in: Its life in seconds; 14,400 is what Kraken gives public clients. Zero or less: it has
                expired already.

        Raises:
            ValueError: if a scope cannot be one (RFC 6749 section 3.3), or ``expires_in`` is NaN.
        """
        self._late.catch_up()
        return self._tokens.issue(self.client_id, EVERY_SCOPE if scopes is None else parse_scopes(scopes), expires_in)

    def revoke_token(self, token: str) -> None:
        """Refuse this token from now on; one that the sandbox does not know is refused anyway."""
        self._late.catch_up()
        self._tokens.revoke(token)

    def expire_access_tokens(self) -> None:
        """Refuse every access token that there is, however long it had to live. Grants can be refreshed."""
        self._late.catch_up()
        self._tokens.revoke_all()

    def register_client(
        self,
        client_id: str,
        client_secret: str | None = None,
        *,
        redirect_uris: Iterable[str] = LOOPBACK_URIS,
        name: str = "Grid Bot Inc.",
        scopes: Iterable[str] | None = None,
    ) -> None:
        """Register an app.

        Args:
            client_id: Its identifier.
            client_secret: Its secret, for a confidential client; ``None``: it is a public one.
            redirect_uris: Where users may be sent back to: absolute URLs of the web, or of a scheme of the
                app's own that holds a dot. At a loopback address the port does not matter, and where no path
                is given, neither does the path.
            name: What users are told that it is called.
            scopes: What it may ask for, as for `issue_token`; ``None``: every scope.

        Raises:
            ValueError: if the identifier is in use, or an argument cannot be what it should be.
        """
        self._late.catch_up()
        client = Client(
            client_id=client_id,
            client_secret=client_secret,
            name=name,
            redirect_uris=tuple(redirect_uris),
            scopes=EVERY_SCOPE if scopes is None else parse_scopes(scopes),
        )
        self._clients.add(client)

    def approve(self, url: str) -> str:
        """Return where a user's browser ends who opens this authorize URL and clicks Allow.

        That is the app's redirect URI, with a code, or with the error that the app's mistake deserves. Nothing
        goes over HTTP, nothing is logged, and no fault happens.

        Args:
            url: An authorize URL, such as the client makes from `authorize_url`.

        Raises:
            ValueError: if it is none of this sandbox's, or the user would see an error and be sent nowhere.
        """
        return self._decide(url, allow=True)

    def deny(self, url: str) -> str:
        """Return where a user's browser ends who opens this authorize URL and clicks Deny; see `approve`."""
        return self._decide(url, allow=False)

    def _decide(self, url: str, *, allow: bool) -> str:
        self._late.catch_up()
        address, _, query = url.partition("?")
        origin, path = self._listener.origin, address.removeprefix(self._listener.origin)
        if not address.startswith(f"{origin}/") or operation_of("GET", path) != "authorize":
            raise ValueError(f"this is no authorize URL of this sandbox; it begins with {self.authorize_url}")
        try:
            return self._consent.decide(query.partition("#")[0], allow=allow)
        except PageError as error:
            raise ValueError(f"the user would see an error page: {error.reason}") from None

    def grants(self) -> tuple[SandboxGrant, ...]:
        """Return what users have granted, oldest first, revoked grants among them."""
        self._late.catch_up()
        return self._grants.listed()

    def revoke_grant(self, grant: SandboxGrant | None = None) -> None:
        """Let the user end a grant: its tokens are refused from now on.

        Args:
            grant: Which one, as `grants` has told it at any time; ``None``: every one.

        Raises:
            ValueError: if there is no such grant.
        """
        self._late.catch_up()
        for ended in self.grants() if grant is None else (grant,):
            self._grants.revoke(ended.number)

    def revoke_key(self, name: str) -> None:
        """Let the user delete a key at Kraken, which needs no token; as after `delete_key`, it is refused at once.

        Args:
            name: The key's name.

        Raises:
            ValueError: if there is no such key.
        """
        self._late.catch_up()
        try:
            self._api.revoke(name)
        except RefusalError:
            raise ValueError(f"there is no key named {name!r}") from None

    def keys(self) -> tuple[SandboxKey, ...]:
        """Return the keys that exist now, oldest first, expired ones among them."""
        self._late.catch_up()
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
