"""OAuthClient: the login's address, the callback, the code's exchange, and one refresh.

The rules are those of RFC 6749 (OAuth 2.0), RFC 7636 (PKCE), RFC 9207 (`iss`) and RFC 9700 (best practice).
"""

from __future__ import annotations

import asyncio
import base64
import copy
import hashlib
import hmac
import re
import secrets
from collections import OrderedDict
from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta
from types import TracebackType
from typing import TYPE_CHECKING, Final, Literal, Self
from urllib.parse import parse_qs, quote, urlencode, urlsplit, urlunsplit

import attrs

from kraken_fastkey._emitter import Emitter, hook_fault
from kraken_fastkey._errors import FastKeyError, InvalidRequestError, OAuthError, ReauthorizationRequiredError
from kraken_fastkey._events.event import EventHook
from kraken_fastkey._events.grants import TokenLifeAssumed
from kraken_fastkey._grant import Grant
from kraken_fastkey._models import Permissions
from kraken_fastkey._observed import observe_attempt
from kraken_fastkey._retry import RetryPolicy
from kraken_fastkey._runtime import SYSTEM, Runtime
from kraken_fastkey._secret import SecretStr, Unpicklable
from kraken_fastkey._shield import shield
from kraken_fastkey._transport import AiohttpTransport, Timeouts, Transport, check_base_url, check_session
from kraken_fastkey._wire import WireRequest
from kraken_fastkey._wire.excerpt import mask_runs, masked_line
from kraken_fastkey._wire.token import TokenAnswer, TokenOperation, code_request, read_token_answer, refresh_request

if TYPE_CHECKING:
    import aiohttp

_WRITE_SCOPES: Final = frozenset({"account.fast-api-key:read", "account.fast-api-key:write"})
_DEFAULT_LIFE: Final = timedelta(hours=4)  # a public client's, the shorter of the two that Kraken documents
_SHORTEST_LIFE: Final = timedelta(minutes=1)
_LONGEST_LIFE: Final = timedelta(days=1)
_LOGIN_MINUTES: Final = 10
_REMEMBERED_LOGINS: Final = 1000
_DRAIN_SECONDS: Final = 10.0


@attrs.frozen(kw_only=True)
class AuthorizationRequest:
    """One login that has begun. Keep it where only this user's session finds it, until the callback comes.

    Attributes:
        url: Where to send the user's browser.
        state: Ties the callback to this login; 256 random bits (RFC 6749, section 10.12).
        code_verifier: Proves at the exchange that it is the same app (RFC 7636, section 4.1).
        redirect_uri: Where the user comes back to.
        scopes: What was asked for; empty for all that the app is registered with.
        created_at: When it began, aware; it is good for 10 minutes.
    """

    # The state stands in the URL, so neither is shown.
    url: str = attrs.field(repr=False)
    state: str = attrs.field(repr=False)
    code_verifier: SecretStr = attrs.field(converter=SecretStr)
    redirect_uri: str
    scopes: frozenset[str]
    created_at: datetime


class OAuthClient(Unpicklable):
    """The app, as Kraken's OAuth server knows it.

    Args:
        client_id: The app's id.
        client_secret: The app's secret, decrypted; `None` for a public client.
        redirect_uri: Where users come back to; one that the app is registered with.
        authorize_url: Where users log in.
        token_url: Where codes and refresh tokens are turned into tokens. https, or plain http to loopback.
        session: An `aiohttp.ClientSession` to use; it is never closed. Without one, the client opens its own.
        retry: How requests that were not sent, or refused for the moment, are tried again.
        timeout: How long one attempt may take: by phase, or in seconds for the whole of it.
        issuer: What the callback's `iss` must be, if it has one (RFC 9207); `None` takes any.
        percent_encode_credentials: Whether id and secret are percent-encoded before they go into the
            `Authorization` header, as RFC 6749, section 2.3.1, has it. Kraken's documentation does not.
        on_event: Called with each event of this client's own, see `EventHook`: its requests to *token_url*.

    Raises:
        InvalidRequestError: An argument is wrong.
    """

    def __init__(
        self,
        client_id: str,
        client_secret: str | SecretStr | None = None,
        *,
        redirect_uri: str,
        authorize_url: str = "https://id.kraken.com/oauth/authorize",
        token_url: str = "https://api.kraken.com/oauth/token",  # noqa: S107  # an address
        session: aiohttp.ClientSession | None = None,
        retry: RetryPolicy = RetryPolicy(),  # noqa: B008  # frozen
        timeout: Timeouts | float = Timeouts(),  # noqa: B008  # frozen
        issuer: str | None = None,
        percent_encode_credentials: bool = False,
        on_event: EventHook | None = None,
        _transport: Transport | None = None,
        _runtime: Runtime = SYSTEM,
    ) -> None:
        secret = SecretStr(client_secret) if isinstance(client_secret, (str, SecretStr)) else client_secret
        del client_secret  # a traceback with locals would show it
        faults = {
            "client_id": _client_id_fault(client_id, escaped=percent_encode_credentials),
            "client_secret": _client_secret_fault(secret),
            "redirect_uri": _redirect_uri_fault(redirect_uri),
            "authorize_url": _url_fault(authorize_url),
            "token_url": _url_fault(token_url),
            "session": _fault(check_session, session),
            "on_event": hook_fault(on_event),
        }
        if any(faults.values()):
            del redirect_uri, authorize_url, token_url  # they may hold credentials, which are refused
            raise InvalidRequestError({field: fault for field, fault in faults.items() if fault})
        self._client_id = client_id
        self._authorization = _basic(client_id, secret or SecretStr(""), escape=percent_encode_credentials)
        self.redirect_uri = redirect_uri
        self._authorize_url = authorize_url
        self._issuer = issuer
        self._retry = retry
        self._runtime = _runtime
        self._emitter = Emitter(on_event, _runtime)
        self._token_url = token_url.rstrip("/")
        timeouts = timeout if isinstance(timeout, Timeouts) else Timeouts(total=timeout)
        self._transport = AiohttpTransport(token_url, session, timeouts) if _transport is None else _transport
        self._exchanges: OrderedDict[str, tuple[SecretStr, asyncio.Task[Grant | FastKeyError]]] = OrderedDict()

    def authorization_request(
        self,
        scopes: Permissions | str | Iterable[str] | None = None,
        *,
        language: str | None = None,
        prefer_theme: Literal["dark", "light"] | None = None,
        redirect_uri: str | None = None,
    ) -> AuthorizationRequest:
        """Begin a login: return where to send the user, and what to keep until they come back.

        Args:
            scopes: What to ask for: scopes, one string of them, or `Permissions`, which stand for their scopes and
                those to create and list keys; `None` for all that the app is registered with.
            language: The page's language, such as `"de"` or `"pt-br"`; `None` leaves it to Kraken.
            prefer_theme: The page's colours; `None` leaves them to Kraken.
            redirect_uri: Where this user comes back to, if not where the client says: a native app's free port.

        Raises:
            InvalidRequestError: An argument is wrong.
        """
        wanted = _to_scopes(scopes)
        faults = {
            "scopes": None if all(_is_scope(scope) for scope in wanted) else "must be scopes (RFC 6749, section 3.3)",
            "language": None if language is None or _is_language(language) else "must be such as 'de' or 'pt-br'",
            "prefer_theme": None if prefer_theme in {None, "dark", "light"} else "must be 'dark' or 'light'",
            "redirect_uri": None if redirect_uri is None else _redirect_uri_fault(redirect_uri),
        }
        if any(faults.values()):
            raise InvalidRequestError({field: fault for field, fault in faults.items() if fault})
        redirect_uri = redirect_uri or self.redirect_uri
        state, verifier = secrets.token_urlsafe(32), SecretStr(secrets.token_urlsafe(64))
        parameters = {
            "client_id": self._client_id,
            "redirect_uri": redirect_uri,
            "response_type": "code",
            "state": state,
            "code_challenge": _challenge(verifier),
            "code_challenge_method": "S256",
        }
        if wanted:
            parameters["scope"] = " ".join(sorted(wanted))
        if prefer_theme is not None:
            parameters["preferTheme"] = prefer_theme
        parts = urlsplit(self._authorize_url)
        path = parts.path if language is None else f"/{language}{parts.path}"
        query = "&".join(filter(None, (parts.query, urlencode(parameters, quote_via=quote))))
        return AuthorizationRequest(
            url=urlunsplit((parts.scheme, parts.netloc, path, query, "")),
            state=state,
            code_verifier=verifier,
            redirect_uri=redirect_uri,
            scopes=wanted,
            created_at=self._now(),
        )

    def read_callback(self, callback_url: str, request: AuthorizationRequest) -> SecretStr:
        """Check where the user came back to, and return the code.

        Args:
            callback_url: The whole address, or just its path and query.
            request: The login that this user's session began.

        Raises:
            OAuthError: The callback is of another login, the user denied, or something is missing or there twice.
        """
        code, error = self._read_callback(callback_url, request)
        del callback_url  # it holds the code
        if error is not None:
            raise error
        return code

    def _read_callback(self, url: str, request: AuthorizationRequest) -> tuple[SecretStr, OAuthError | None]:
        nothing = SecretStr("")
        try:
            fields = parse_qs(urlsplit(url).query, keep_blank_values=True, max_num_fields=50)
        except (ValueError, AttributeError, TypeError):
            return nothing, _refusal("the callback's address cannot be read")
        twice = sorted(name for name in ("code", "state", "error", "iss") if len(fields.get(name, ())) > 1)
        if twice:
            return nothing, _refusal(f"the callback has {' and '.join(twice)} twice, which no honest server sends")
        one = {name: values[0] for name, values in fields.items()}
        state = one.get("state", "").encode("utf-8", "surrogatepass")
        if not hmac.compare_digest(state, request.state.encode("utf-8", "surrogatepass")):
            return nothing, _refusal("the callback's state is not this login's: it may be another tab's, or an attack")
        if "iss" in one and self._issuer is not None and one["iss"] != self._issuer:
            return nothing, _refusal("the callback comes from another issuer")
        if self._now() - request.created_at > timedelta(minutes=_LOGIN_MINUTES):
            return nothing, _refusal(f"the login took more than {_LOGIN_MINUTES} minutes")
        if one.get("error"):
            described = one.get("error_description", "")
            told = masked_line(one["error"], 60) + (f" ({masked_line(described)})" if described else "")
            return nothing, _refusal(f"the login was refused: {told}", codes=(mask_runs(one["error"]),))
        if not one.get("code"):
            return nothing, _refusal("the callback has no code")
        if not _is_code(one["code"]):
            return nothing, _refusal("the callback's code holds a character that no code has")
        return SecretStr(one["code"]), None

    async def exchange_code(self, code: str | SecretStr, request: AuthorizationRequest) -> Grant:
        """Turn the code of a callback into a grant. Store it before anything else.

        It is exchanged once, however often this is called for a login: each call gets the same grant, or the same
        error. It is never sent again once it may have arrived. A caller that is cancelled does not stop it.

        Args:
            code: What `read_callback` returned.
            request: The login that it belongs to.

        Raises:
            OAuthError: The code is used up, expired, of another login or app.
            FastKeyError: The network, Kraken or its answer failed; the user must log in again.
        """
        if not isinstance(code, (str, SecretStr)):
            raise InvalidRequestError({"code": f"must be a str, not {type(code).__name__}"})
        masked = SecretStr(code)
        del code
        if not _is_code(masked.get_secret_value()):
            raise InvalidRequestError({"code": "is empty, or holds a character that no code has: pass it as it came"})
        known = self._exchanges.get(request.state)
        if known is None:
            wire = code_request(code=masked, redirect_uri=request.redirect_uri, code_verifier=request.code_verifier)
            # A task of its own: a code is good once, so no caller's cancellation may lose what it brings.
            task = asyncio.create_task(self._get_grant("exchange_code", wire, None, request.scopes or None))
            known = self._exchanges[request.state] = (masked, task)
            while len(self._exchanges) > _REMEMBERED_LOGINS:
                self._exchanges.popitem(last=False)
        if known[0] != masked:
            raise _refusal("this login has brought another code already")
        return _raise_or_return(await asyncio.shield(known[1]))

    async def refresh(self, grant: Grant) -> Grant:
        """Turn a grant's refresh token into the next pair; the old pair is dead from then on.

        One request, tried again only if it was not sent or refused for the moment. Whoever calls this must let no
        two calls run at once, and must store the result: `RefreshingTokenProvider` does both.

        Args:
            grant: The present pair.

        Raises:
            ReauthorizationRequiredError: The refresh token is used up, expired or revoked, or there is none.
            OAuthError: The server refused for another reason.
            FastKeyError: The network, Kraken or its answer failed; `outcome` tells whether the pair may be spent.
        """
        if grant.refresh_token is None:
            raise _dead_for_want_of_a_token()
        return _raise_or_return(await self._get_grant("refresh", refresh_request(grant.refresh_token), grant, None))

    async def aclose(self) -> None:
        """Wait up to 10 s for exchanges under way, and close the session if it is the client's own."""
        pending = [task for _, task in self._exchanges.values() if not task.done()]
        with shield():
            if pending:
                await asyncio.wait(pending, timeout=_DRAIN_SECONDS)
            await self._transport.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.aclose()

    async def _get_grant(
        self, operation: TokenOperation, request: WireRequest, old: Grant | None, scopes: frozenset[str] | None
    ) -> Grant | FastKeyError:
        answer = await self._post(operation, request)
        if isinstance(answer, FastKeyError):
            return answer
        now = self._now()
        if answer.expires_in is None:
            self._emitter.emit(TokenLifeAssumed, operation=operation)
        life = _DEFAULT_LIFE if answer.expires_in is None else _clamp(answer.expires_in)
        return Grant(
            answer.access_token,
            answer.refresh_token or (None if old is None else old.refresh_token),
            now + life,
            answer.scope if answer.scope is not None else scopes if old is None else old.scopes,
            issued_at=now,
            generation=0 if old is None else old.generation + 1,
            unknown={} if old is None else old.unknown,
        )

    async def _post(self, operation: TokenOperation, request: WireRequest) -> TokenAnswer | FastKeyError:
        started = self._runtime.monotonic()
        attempts = 0
        while True:
            attempts += 1
            left = None
            if self._retry.deadline is not None:
                left = self._retry.deadline - (self._runtime.monotonic() - started)
            with observe_attempt(
                self._emitter, self._runtime, operation, attempts, request.method, self._token_url + request.path
            ) as report:
                try:
                    with self._runtime.working():
                        response = await self._transport.send(request, self._authorization, left)
                except FastKeyError as error:
                    answer: TokenAnswer | FastKeyError = error.with_traceback(None)
                except BaseException as error:
                    report.fail(error, "unknown")
                    raise
                else:
                    report.status, report.version = response.status, response.version
                    answer = read_token_answer(operation, response, self._runtime.time())
                if isinstance(answer, FastKeyError):
                    report.fail(answer, answer.outcome)
            if isinstance(answer, TokenAnswer):
                return answer
            answer.operation, answer.attempts = operation, attempts
            wait = self._retry.wait_before_retry(
                answer,
                repeatable=False,
                attempts=attempts,
                elapsed=self._runtime.monotonic() - started,
                random=self._runtime.random(),
            )
            if wait is None:
                return answer
            await self._runtime.sleep(wait)

    def _now(self) -> datetime:
        return datetime.fromtimestamp(self._runtime.time(), UTC)


def _raise_or_return(outcome: Grant | FastKeyError) -> Grant:
    if isinstance(outcome, Grant):
        return outcome
    # A copy for each who waited: an exception that is raised twice mixes up their tracebacks.
    raise copy.copy(outcome)


def _refusal(message: str, *, codes: Iterable[str] = ()) -> OAuthError:
    return OAuthError(f"{message}: nothing was asked for, begin a new login", operation="exchange_code", codes=codes)


def _dead_for_want_of_a_token() -> ReauthorizationRequiredError:
    return ReauthorizationRequiredError(
        "the grant has no refresh token: have the user log in again",
        cause="expired",
        operation="refresh",
        outcome="not_sent",
    )


def _clamp(seconds: float) -> timedelta:
    # Bounded as a number first: a timedelta holds 10**9 days, either way.
    return timedelta(seconds=min(max(seconds, _SHORTEST_LIFE.total_seconds()), _LONGEST_LIFE.total_seconds()))


def _challenge(verifier: SecretStr) -> str:
    digest = hashlib.sha256(verifier.get_secret_value().encode("ascii")).digest()
    return base64.urlsafe_b64encode(digest).rstrip(b"=").decode("ascii")


def _basic(client_id: str, client_secret: SecretStr, *, escape: bool) -> SecretStr:
    pair = [client_id, client_secret.get_secret_value()]
    text = SecretStr(":".join(quote(part, safe="") for part in pair) if escape else ":".join(pair))
    return SecretStr("Basic " + base64.b64encode(text.get_secret_value().encode()).decode("ascii"))


def _to_scopes(scopes: Permissions | str | Iterable[str] | None) -> frozenset[str]:
    if scopes is None:
        return frozenset()
    if isinstance(scopes, Permissions):
        return scopes.scopes() | _WRITE_SCOPES
    if not isinstance(scopes, Iterable):
        raise InvalidRequestError({"scopes": f"must be scopes or Permissions, not {type(scopes).__name__}"})
    return frozenset(scopes.split() if isinstance(scopes, str) else scopes)


def _is_code(code: str) -> bool:
    return re.fullmatch(r"[\x20-\x7e]+", code) is not None  # RFC 6749, appendix A.11


def _is_scope(scope: object) -> bool:
    return isinstance(scope, str) and re.fullmatch(r"[\x21\x23-\x5b\x5d-\x7e]+", scope) is not None


def _is_language(language: object) -> bool:
    return isinstance(language, str) and re.fullmatch(r"[a-z]{2,3}(-[a-z]{2})?", language) is not None


def _client_id_fault(client_id: object, *, escaped: bool) -> str | None:
    if not isinstance(client_id, str) or not client_id or not client_id.isprintable() or not client_id.isascii():
        return "must be the app's id, in ASCII"
    if ":" in client_id and not escaped:
        return "holds a colon, which would end it in the Authorization header: set percent_encode_credentials"
    return None


def _client_secret_fault(secret: object) -> str | None:
    if secret is None:
        return None
    if not isinstance(secret, SecretStr):
        return f"must be a str, not {type(secret).__name__}"
    text = secret.get_secret_value()
    if not text or not text.isprintable():
        return "is empty, or holds a line break: a public client has None"
    return None


def _redirect_uri_fault(redirect_uri: object) -> str | None:
    if not isinstance(redirect_uri, str) or not redirect_uri.isascii() or not redirect_uri.isprintable():
        return "must be an absolute URI, in ASCII"
    try:
        parts = urlsplit(redirect_uri)
    except ValueError:
        return "is no URI"
    if not parts.scheme or "#" in redirect_uri:
        return "must be an absolute URI without a fragment (RFC 6749, section 3.1.2)"
    return None


def _url_fault(url: object) -> str | None:
    return _fault(check_base_url, url)


def _fault(check: Callable[[object], None], value: object) -> str | None:
    try:
        check(value)
    except InvalidRequestError as error:
        return next(iter(error.faults.values()))
    return None
