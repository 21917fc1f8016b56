"""A service that trades on one account: it logs in at Kraken once, and always has a good key.

    pip install 'kraken-fastkey[crypto,otel]' opentelemetry-sdk
    export KRAKEN_CLIENT_ID=... KRAKEN_CLIENT_SECRET=... KRAKEN_FASTKEY_ENCRYPTION_KEY=...
    python service.py

Its parts, from the outside in:

- `OAuthClient` is the app. `/login` sends the account's owner to Kraken, who comes back to `/callback` with a grant.
- `RefreshingTokenProvider` keeps that grant alive, in a file.
- `FastKeyClient` makes and deletes keys.
- `KeyLease` holds one key, renews it ahead of its end, and deletes it when the service stops.
- `KeySigner` signs what is sent to the trading API with that key: `/balance`.
- `OpenTelemetryObserver` is told of all of it, and so is the log, as JSON.

This is a program for one account. Whoever reaches `/login` can connect another one, and whoever reaches `/balance` can
read it: so it listens on loopback. Put your own authentication before it; let only `/health` out.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from datetime import timedelta
from pathlib import Path
from typing import Any, Final, NoReturn, Self

import aiohttp
import attrs
from aiohttp import web
from opentelemetry import metrics, trace
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import ConsoleMetricExporter, PeriodicExportingMetricReader
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, ConsoleSpanExporter

from kraken_fastkey import (
    DEFAULT_API_URL,
    DEFAULT_BASE_URL,
    AuthorizationRequest,
    CreateKeyRequest,
    FastApiKey,
    FastKeyClient,
    FastKeyError,
    FileNonceSource,
    KeyLease,
    KeySigner,
    OAuthClient,
    OAuthError,
    Permissions,
    ReauthorizationRequiredError,
    RefreshingTokenProvider,
    SecretStr,
)
from kraken_fastkey.otel import OpenTelemetryObserver
from kraken_fastkey.stores import FileGrantStore, FileKeyStore, encryption_key_from_environment

PERMISSIONS: Final = Permissions(funds_query=True)
LOGGER: Final = logging.getLogger("service")


@attrs.frozen(kw_only=True)
class Settings:
    """What the environment says. The defaults are Kraken's; the sandbox has addresses of its own."""

    client_id: str
    client_secret: SecretStr | None
    encryption_key: SecretStr
    redirect_uri: str
    state: Path
    host: str
    port: int
    base_url: str
    api_url: str
    authorize_url: str
    token_url: str

    @classmethod
    def from_environment(cls) -> Settings:
        """Read the settings; an error names what is missing."""
        get = os.environ.get
        secret = get("KRAKEN_CLIENT_SECRET")
        host, port = get("HOST", "127.0.0.1"), int(get("PORT", "8080"))
        return cls(
            client_id=os.environ["KRAKEN_CLIENT_ID"],
            client_secret=None if secret is None else SecretStr(secret),
            # `python -c "from cryptography.fernet import Fernet; print(Fernet.generate_key().decode())"` makes one.
            encryption_key=encryption_key_from_environment("KRAKEN_FASTKEY_ENCRYPTION_KEY"),
            redirect_uri=get("KRAKEN_REDIRECT_URI", f"http://{host}:{port}/callback"),
            state=Path(get("STATE_DIRECTORY", "state")),
            host=host,
            port=port,
            base_url=get("KRAKEN_BASE_URL", DEFAULT_BASE_URL),
            api_url=get("KRAKEN_API_URL", DEFAULT_API_URL),
            authorize_url=get("KRAKEN_AUTHORIZE_URL", "https://id.kraken.com/oauth/authorize"),
            token_url=get("KRAKEN_TOKEN_URL", "https://api.kraken.com/oauth/token"),
        )


class Kraken:
    """All that the service has of Kraken, from its start to its end."""

    def __init__(self, settings: Settings, observer: OpenTelemetryObserver) -> None:
        state = settings.state
        # The grant is worth a login, and the key's secret is worth money: both files are private, and encrypted.
        self.grants = FileGrantStore(state / "grant", encryption_key=settings.encryption_key)
        self.oauth = OAuthClient(
            settings.client_id,
            settings.client_secret,
            redirect_uri=settings.redirect_uri,
            authorize_url=settings.authorize_url,
            token_url=settings.token_url,
            on_event=observer,  # the token provider takes it from here, and the lease from the client
        )
        self.tokens = RefreshingTokenProvider(self.oauth, self.grants)
        self.client = FastKeyClient(self.tokens, base_url=settings.base_url, on_event=observer)
        self.lease = KeyLease(
            self.client,
            CreateKeyRequest(permissions=PERMISSIONS),
            lifetime=timedelta(hours=6),  # should the machine burn down, the key is dead after that
            # After a crash, the next start finds the key here.
            store=FileKeyStore(state / "key", encryption_key=settings.encryption_key),
            api_url=settings.api_url,
        )
        # A nonce must never fall back, whatever the clock does and whenever the service starts.
        self.nonces = FileNonceSource(state / "nonce", unit="ms")
        self.http = aiohttp.ClientSession()
        self.api_url = settings.api_url
        self._has_key = False
        self._turn = asyncio.Lock()
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> Self:
        try:
            # The last one in is the first one out: the lease deletes its key while there is a client to do it with.
            for part in (self.http, self.oauth, self.tokens, self.client):
                await self._stack.enter_async_context(part)
            await self.take_key()
        except ReauthorizationRequiredError as error:
            LOGGER.warning("open /login: %s", error.summary)  # the first start, or the user has taken the grant back
        except BaseException:
            await self._stack.aclose()  # Kraken is down, say: whoever restarts services tries again
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._stack.aclose()

    async def take_key(self) -> None:
        """Have a key from now on; does nothing if there is one already."""
        async with self._turn:
            if not self._has_key:
                await self._stack.enter_async_context(self.lease)
                self._has_key = True

    async def log_in(self, url: str, request: AuthorizationRequest) -> None:
        """Turn a callback into a grant, and the grant into a key."""
        code = self.oauth.read_callback(url, request)
        await self.grants.save(await self.oauth.exchange_code(code, request))
        await self.take_key()

    async def ask(self, path: str) -> Any:
        """Ask the trading API, with the present key; with another one if Kraken does not take it any more."""
        key = self.lease.key
        answer = await self._send(path, key)
        if "EAPI:Invalid key" in answer["error"]:  # its user has deleted it
            answer = await self._send(path, await self.lease.renew(key))
        if answer["error"]:
            raise web.HTTPBadGateway(text=json.dumps(answer["error"]), content_type="application/json")
        return answer["result"]

    async def _send(self, path: str, key: FastApiKey) -> Any:
        signed = await KeySigner(key, self.nonces).sign(path)
        url = self.api_url + signed.path
        async with self.http.post(url, data=signed.body, headers=signed.headers) as answer:
            return await answer.json()


KRAKEN: Final = web.AppKey("kraken", Kraken)
LOGINS: Final = web.AppKey("logins", dict[str, AuthorizationRequest])
COOKIE: Final = "login"


async def login(request: web.Request) -> NoReturn:
    """Send the browser to Kraken."""
    begun = request.app[KRAKEN].oauth.authorization_request(PERMISSIONS)
    logins = request.app[LOGINS]
    logins[begun.state] = begun
    while len(logins) > 100:  # of logins that nobody finished
        del logins[next(iter(logins))]
    redirection = web.HTTPFound(begun.url)
    # The browser that comes back must be the one that was sent: nobody can slip it the callback of another account.
    redirection.set_cookie(COOKIE, begun.state, max_age=600, httponly=True, samesite="Lax", secure=request.secure)
    raise redirection


async def callback(request: web.Request) -> web.Response:
    """Take the browser back from Kraken."""
    begun = request.app[LOGINS].pop(request.cookies.get(COOKIE, ""), None)
    if begun is None:
        raise web.HTTPBadRequest(text="no login is under way in this browser: open /login")
    try:
        await request.app[KRAKEN].log_in(str(request.url), begun)
    except OAuthError as error:
        raise web.HTTPForbidden(text=error.summary) from error
    response = web.json_response({"connected": True})
    response.del_cookie(COOKIE)
    return response


async def health(request: web.Request) -> web.Response:
    """Tell whether there is a good key; for whoever restarts services, and for load balancers."""
    lease = request.app[KRAKEN].lease.health
    error = lease.last_error
    told = {
        "lease": lease.state,
        "api_key_name": lease.api_key_name,
        "expires_at": None if lease.expires_at is None else lease.expires_at.isoformat(),
        "last_error": None if error is None else type(error).__name__,
        "log_in": lease.state == "closed" or isinstance(error, ReauthorizationRequiredError),
    }
    return web.json_response(told, status=200 if lease.state in {"valid", "failing"} else 503)


async def balance(request: web.Request) -> web.Response:
    """Ask Kraken for the balance, with the leased key."""
    return web.json_response(await request.app[KRAKEN].ask("/0/private/Balance"))


async def rotate(request: web.Request) -> web.Response:
    """Have another key now: after an incident, say. The old one works on for a minute, and is deleted then."""
    key = await request.app[KRAKEN].lease.renew()
    return web.json_response({"api_key_name": key.api_key_name})


@web.middleware
async def tell_errors(request: web.Request, handler: Any) -> web.StreamResponse:
    """Turn the library's errors into answers: each says what to do, and none holds a secret."""
    try:
        return await handler(request)  # type: ignore[no-any-return]
    except FastKeyError as error:
        return web.json_response({"error": type(error).__name__, "what": error.summary}, status=503)


def make_app(settings: Settings, observer: OpenTelemetryObserver) -> web.Application:
    """Return the service."""

    async def kraken(app: web.Application) -> AsyncIterator[None]:
        async with Kraken(settings, observer) as app[KRAKEN]:
            yield

    app = web.Application(middlewares=[tell_errors])
    app[LOGINS] = {}
    app.cleanup_ctx.append(kraken)
    app.add_routes(
        [
            web.get("/health", health),
            web.get("/login", login),
            web.get("/callback", callback),
            web.get("/balance", balance),
            web.post("/rotate", rotate),
        ]
    )
    return app


class JsonFormatter(logging.Formatter):
    """One JSON object a line: the message, and the fields that the library's records carry."""

    def format(self, record: logging.LogRecord) -> str:
        """Return a record's line."""
        fields = {name: value for name, value in vars(record).items() if name.startswith("kraken_fastkey_")}
        line = {
            "time": record.created,
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
        }
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line | fields, default=str)


def set_up_telemetry() -> tuple[TracerProvider, MeterProvider]:
    """Send spans and metrics to stdout. For a collector, exchange the exporters for those of OTLP."""
    resource = Resource.create({"service.name": "kraken-fastkey-service"})
    tracer_provider = TracerProvider(resource=resource)
    tracer_provider.add_span_processor(BatchSpanProcessor(ConsoleSpanExporter()))
    reader = PeriodicExportingMetricReader(ConsoleMetricExporter(), export_interval_millis=60_000)
    meter_provider = MeterProvider([reader], resource=resource)
    trace.set_tracer_provider(tracer_provider)
    metrics.set_meter_provider(meter_provider)
    return tracer_provider, meter_provider


def main() -> None:
    """Serve until SIGTERM or SIGINT; then delete the key, and send what has not been sent of spans and metrics."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter())
    logging.basicConfig(level=logging.INFO, handlers=[handler])
    settings = Settings.from_environment()
    tracer_provider, meter_provider = set_up_telemetry()
    app = make_app(settings, OpenTelemetryObserver())
    try:
        # No access log: a callback's address holds a code.
        web.run_app(app, host=settings.host, port=settings.port, access_log=None, print=None)
    finally:
        tracer_provider.shutdown()
        meter_provider.shutdown()


if __name__ == "__main__":
    main()
