"""The canary: a marker in the place of each secret, every path driven, and every byte that came out searched."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import gc
import json
import logging
import pickle
import re
import socket
import sqlite3
import sys
import time
import urllib.request
import warnings
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final
from urllib.parse import parse_qs, quote, urlencode, urlsplit

import aiohttp
import attrs
import pytest
from canary_kit import Canary, Hidden, Vault, Watch
from support import FakeTime, RawServer, http

import kraken_fastkey
from kraken_fastkey import (
    AccessToken,
    AuthorizationRequest,
    CallbackTokenProvider,
    CallEnded,
    CallStarted,
    CommandTokenProvider,
    CreateKeyRequest,
    EnvironmentTokenProvider,
    Event,
    FastApiKey,
    FastKeyClient,
    FastKeyError,
    FileTokenProvider,
    Grant,
    KeyLease,
    KeySigner,
    KrakenWarned,
    LeaseRecord,
    MemoryNonceSource,
    OAuthClient,
    Permissions,
    RefreshingTokenProvider,
    RetryPolicy,
    SecretStr,
    StaticTokenProvider,
    Timeouts,
    TokenRejected,
    TransportError,
    UpdateKeyRequest,
    check_nonces,
    decrypt_client_secret,
    login,
    verify_key,
    write_env_file,
)
from kraken_fastkey._adapters import following
from kraken_fastkey._log_records import log
from kraken_fastkey.sandbox import Answer, Disconnect, Fault, Hang, KrakenSandbox, Truncate
from kraken_fastkey.stores import (
    FileGrantStore,
    FileKeyStore,
    GrantStore,
    KeyringGrantStore,
    MemoryGrantStore,
    MemoryKeyStore,
    RedisGrantStore,
    SQLGrantStore,
    encryption_key_from_environment,
    encryption_key_from_keyring,
)

EVENTS_PAGE: Final = Path(__file__).parent.parent / "docs/reference/events.md"
REDIRECT: Final = "http://127.0.0.1:8765/callback"
APP: Final = "FAKE-app"
HOURS_4: Final = 14_400
Call = Callable[[FastKeyClient], Awaitable[Any]]
Echo = Callable[[str, str], bytes]

METHODS: dict[str, Call] = {
    "create_key": lambda client: client.create_key(CreateKeyRequest("grid-bot", permissions=Permissions.read_only())),
    "update_key": lambda client: client.update_key(UpdateKeyRequest("grid-bot", nonce_window=5)),
    "list_keys": lambda client: client.list_keys(),
    "delete_key": lambda client: client.delete_key("grid-bot"),
    "get_user_info": lambda client: client.get_user_info(),
}
# One for each class of error, and for each way that an answer may fail to come.
CODES: Final = (
    "EAPI:Rate limit exceeded",
    "EAccount:Invalid permissions",
    "EAccount:Too many API keys",
    "EGeneral:Internal error",
    "EGeneral:Invalid arguments:api_key_name already in use",
    "EGeneral:Invalid arguments:api_key_name not found",
    "EGeneral:Permission denied",
    "EGeneral:Temporary lockout",
    "EGeneral:Unknown method",
    "ENew:Never seen",
    "EService:Unavailable",
    "ESession:Invalid session",
)
FAULTS: dict[str, Fault] = {
    **{code: Answer(200, {"error": [code]}) for code in CODES},
    **{str(status): Answer(status) for status in (200, 204, 302, 400, 401, 403, 404, 408, 409, 429, 500, 503, 520)},
    "HTML": Answer(502, "<html><head><title>Bad gateway</title></head></html>"),
    "null": Answer(200, {"result": None}),
    "wrong types": Answer(200, {"result": {"api_key": 5, "secret": None, "email": 5}}),
    "warning": Answer(200, {"error": ["WGeneral:Deprecated"], "result": []}),
    "dropped": Disconnect(),
    "dropped after the work": Disconnect(commit=True),
    "cut off": Truncate(0),
    "cut off later": Truncate(40),
    "cut off within the secret": Truncate(180),
    "hangs": Hang(commit=True),
}


def _json(status: int, value: Any) -> bytes:
    return http(status, json.dumps(value).encode(), "Content-Type: application/json")


def _echo_text(status: int) -> Echo:
    return lambda secret, body: http(status, f"{secret} {body}".encode())


def _echo_list(status: int) -> Echo:
    return lambda secret, body: _json(
        status, {"error": [f"EGeneral:Invalid arguments:{secret}", body, {secret: secret}]}
    )


def _echo_oauth(code: str) -> Echo:
    return lambda secret, body: _json(
        400, {"error": code, "error_description": f"{secret}: {body}", "error_uri": secret}
    )


# What a hostile or careless server makes of a request: its credentials and its body come back.
ECHOES: dict[str, Echo] = {
    **{f"text with {status}": _echo_text(status) for status in (200, 302, 400, 401, 403, 404, 429, 500)},
    **{f"error list with {status}": _echo_list(status) for status in (200, 400, 401, 500)},
    **{
        f"{code} of OAuth": _echo_oauth(code)
        for code in ("invalid_grant", "invalid_client", "invalid_request", "invalid_scope", "server_error", "new")
    },
    "error that is a secret": lambda secret, body: _json(400, {"error": secret, "error_description": body}),
    "description alone": lambda secret, body: _json(400, {"error_description": f"{secret} {body}"}),
    "warning": lambda secret, body: _json(200, {"error": [f"WGeneral:{secret}", f"W{body}"], "result": []}),
    "result": lambda secret, body: _json(200, {"result": f"{secret} {body}"}),
    "wrong types": lambda secret, body: _json(
        200, {"result": {"secret": [secret], "api_key": {body: secret}, "email": [secret], "created_time": [secret]}}
    ),
    "list of wrong types": lambda secret, body: _json(200, {"result": [{"api_key_name": [secret]}, secret, body]}),
    "tokens of wrong types": lambda secret, body: _json(
        200, {"access_token": [secret], "refresh_token": {secret: body}, "token_type": secret}
    ),
    "names of fields": lambda secret, body: _json(200, {secret: {body: secret}}),
    "JSON cut off": lambda secret, body: http(200, json.dumps({"result": {"secret": secret + body}})[:-9].encode()),
    "connection cut off": lambda secret, body: http(200, json.dumps({"secret": secret + body}).encode() + b" " * 9)[
        :-9
    ],
    "form": lambda secret, body: http(
        400, urlencode({"error": secret, "access_token": secret}).encode() + body.encode()
    ),
    "title": lambda secret, body: http(
        502, f"<html><title>{secret}</title>{body}</html>".encode(), "Content-Type: text/html"
    ),
    "title of two words": lambda secret, body: http(
        503, f"<title>Bad Bearer {secret} in {body}</title>".encode(), "Content-Type: text/html"
    ),
    "UTF-16": lambda secret, body: http(200, f"{secret} {body}".encode("utf-16")),
    "base64": lambda secret, body: http(400, base64.b64encode(f"{secret} {body}".encode())),
    "hex": lambda secret, body: http(400, f"{secret} {body}".encode().hex().encode()),
    "media type": lambda secret, body: http(400, body.encode(), f"Content-Type: {secret}/{secret}; charset={secret}"),
    "media type of a success": lambda secret, body: http(200, body.encode(), f"Content-Type: {secret}"),
    "headers": lambda secret, body: http(
        503,
        body.encode(),
        *(
            f"{name}: {secret}"
            for name in ("CF-Ray", "Retry-After", "Date", "Set-Cookie", "Location", "Server", secret)
        ),
    ),
    "headers of a success": lambda secret, body: http(
        200,
        json.dumps({"result": []}).encode(),
        *(f"{name}: {secret}" for name in ("CF-Ray", "Date", "Set-Cookie", secret)),
        f"X-Echo: {body}",
    ),
    "encoding": lambda secret, _: http(200, b"x", f"Content-Encoding: {secret}"),
    "reason": lambda secret, _: f"HTTP/1.1 400 {secret}\r\nContent-Length: 0\r\n\r\n".encode(),
    "status": lambda secret, _: f"HTTP/1.1 {secret} OK\r\n\r\n".encode(),
    "no HTTP": lambda secret, body: f"{secret}\r\n{body}\r\n\r\n".encode(),
    "broken header": lambda secret, body: f"HTTP/1.1 200 OK\r\n{secret}\r\nX {body}: {secret}\r\n\r\n".encode(),
    "broken length": lambda secret, _: f"HTTP/1.1 200 OK\r\nContent-Length: {secret}\r\n\r\n".encode(),
    "broken chunk": lambda secret, _: (
        f"HTTP/1.1 200 OK\r\nX-Echo: {secret}\r\nTransfer-Encoding: chunked\r\n\r\n{secret}\r\n{secret}\r\n".encode()
    ),
    "broken gzip": lambda secret, _: http(200, secret.encode(), "Content-Encoding: gzip", f"X-Echo: {secret}"),
    "too long a header": lambda secret, _: f"HTTP/1.1 200 OK\r\nX: {secret * 3000}\r\n\r\n".encode(),
    "too large": lambda secret, _: http(200, secret.encode() * 40_000),
}


def _echoing(echo: Echo) -> RawServer:
    """Return a server whose answers hold what it was sent."""

    async def handle(server: RawServer, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head, _, body = (await server.read_request(reader)).decode().partition("\r\n\r\n")
        (credentials,) = [line.split()[-1] for line in head.split("\r\n") if line.startswith("Authorization:")]
        writer.write(echo(credentials, body))
        with contextlib.suppress(ConnectionError):
            await writer.drain()

    return RawServer(handle)


@attrs.frozen
class World:
    """A sandbox, the markers, and the time that passes when somebody sleeps."""

    canary: Canary
    sandbox: KrakenSandbox
    time: FakeTime
    folder: Path
    watch: Watch

    @property
    def vault(self) -> Vault:
        """The markers."""
        return self.canary.vault

    def token(self, **options: Any) -> Hidden:
        """Return a token that the sandbox takes."""
        return self.vault.keep("access token", self.sandbox.issue_token(**options))

    def client(self, provider: Any = None, **options: Any) -> FastKeyClient:
        """Return a client of the sandbox."""
        settings: dict[str, Any] = {
            "base_url": self.sandbox.base_url,
            "on_event": self.watch,
            "_runtime": self.time.runtime,
        } | options
        return FastKeyClient(provider or StaticTokenProvider(self.token(expires_in=1e9).open()), **settings)

    def oauth(self, **options: Any) -> OAuthClient:
        """Return a confidential app of the sandbox, whose secret is a marker."""
        settings: dict[str, Any] = {
            "redirect_uri": REDIRECT,
            "authorize_url": self.sandbox.authorize_url,
            "token_url": self.sandbox.token_url,
            "on_event": self.watch,
            "_runtime": self.time.runtime,
        } | options
        secret = self.vault.make("client secret")
        app = f"{APP}-{self.vault.count}"
        self.sandbox.register_client(app, secret.open(), redirect_uris=(REDIRECT, "http://127.0.0.1/callback"))
        return OAuthClient(app, secret.open(), **settings)

    def begin(self, oauth: OAuthClient) -> AuthorizationRequest:
        """Begin a login whose secrets are markers from now on."""
        request = oauth.authorization_request()
        self.vault.keep("code verifier", request.code_verifier)
        self.vault.keep("state", request.state, shy=True)
        return request

    def approve(self, request: AuthorizationRequest) -> Hidden:
        """Return the callback of a login that was allowed, its code a marker."""
        url = self.sandbox.approve(request.url)
        self.vault.keep("authorization code", parse_qs(urlsplit(url).query)["code"][0])
        return Hidden("callback", url)

    def keep_what_was_made(self) -> None:
        """Take what the sandbox has made up for markers."""
        for key in self.sandbox.keys():
            self.vault.keep("key's secret", key.secret)
        for grant in self.sandbox.grants():
            self.vault.keep("access token", grant.access_token)
            self.vault.keep("refresh token", grant.refresh_token)

    def grant(self, **options: Any) -> Grant:
        """Return a grant of nobody's."""
        access, refresh = self.vault.make("access token"), self.vault.make("refresh token")
        return Grant(access.open(), refresh.open(), datetime.fromtimestamp(self.time.now, UTC), "a b", **options)


@pytest.fixture(name="world")
async def _world(tmp_path: Path) -> AsyncIterator[World]:
    canary, clock = Canary(), FakeTime(datetime.now(UTC).timestamp())
    email = canary.vault.make("user's e-mail address", 24, shy=True)
    iban = canary.vault.make("user's IIBAN", 24, shy=True)
    loop = asyncio.get_running_loop()
    async with KrakenSandbox(
        clock=clock.time, email=f"{email.open()}@example.com", iban=iban.open(), max_keys=3, refresh_reuse_grace=9
    ) as sandbox:
        loop.set_debug(True)
        loop.slow_callback_duration = 0  # each callback is told as a slow one
        yield World(canary, sandbox, clock, tmp_path, Watch(canary))
    loop.set_debug(False)


async def _drive_methods(world: World) -> None:
    """Drive each method with success, with each fault once, and with each fault for good."""
    canary, sandbox = world.canary, world.sandbox
    async with world.client(timeout=Timeouts(read=0.02)) as client:
        await canary.drive("client", lambda: client)
        await canary.drive("for_account", lambda: client.for_account(StaticTokenProvider(world.token().open())))
        for operation, method in METHODS.items():
            await canary.drive(operation, method, client)
            world.keep_what_was_made()
            await canary.drive(f"{operation}, again", method, client)
        for operation, method in METHODS.items():
            for name, fault in FAULTS.items():
                for times in (1, 4 if isinstance(fault, Hang) else 50):
                    # It costs as much time as all else.
                    asyncio.get_running_loop().set_debug(times == 1 and operation == "create_key")
                    await canary.drive("prepare", lambda: client.create_key(CreateKeyRequest("grid-bot")))
                    sandbox.faults.add(fault, operation=operation if times == 1 else None, times=times)
                    await canary.drive(f"{operation}, {name}", method, client)
                    sandbox.faults.clear()
                    world.keep_what_was_made()
                    world.time.now += 1000  # a lockout is over then
                    for key in await client.list_keys():
                        await client.delete_key(key.api_key_name)
        asyncio.get_running_loop().set_debug(True)
        for number in range(4):
            await canary.drive(
                "too many keys", lambda number: client.create_key(CreateKeyRequest(f"x{number}")), number
            )
        world.keep_what_was_made()
        await canary.drive("wrong request", lambda: client.create_key("grid-bot"))  # type: ignore[arg-type]
        await canary.drive("wrong name", lambda: client.delete_key("x" * 33))
    await canary.drive("closed", client.list_keys)
    scopeless = world.token(scopes=())
    async with world.client(StaticTokenProvider(scopeless.open())) as client:
        for operation, method in METHODS.items():
            await canary.drive(f"{operation} without its scope", method, client)


async def _drive_cancellations(world: World) -> None:
    """Cancel each method after 0, 1, 2 ... steps of the loop, and while an answer is missing."""
    canary = world.canary
    for operation, method in METHODS.items():
        for steps in (*range(8), 1000):
            async with world.client(timeout=Timeouts(read=0.02)) as client:
                world.sandbox.faults.add(Hang(commit=True), times=9)
                task = asyncio.ensure_future(method(client))
                for _ in range(steps):
                    if world.sandbox.requests and world.sandbox.requests[-1].status is None and steps > 100:
                        break
                    await asyncio.sleep(0)
                canary.add("tasks", "\n".join(map(repr, asyncio.all_tasks())))
                canary.dump_threads(operation)
                task.cancel()
                await canary.drive(f"{operation}, cancelled after {steps} steps", lambda task: task, task)
                world.sandbox.faults.clear()
        world.sandbox.requests.clear()
    world.keep_what_was_made()


async def _drive_abandoned(world: World) -> None:
    """Let nobody wait for tasks, of success and of failure, and leave a client and coroutines lying about."""
    for operation, method in METHODS.items():
        for fault in (None, Answer(400), Disconnect()):
            async with world.client(retry=RetryPolicy(max_attempts=1)) as client:
                if fault is not None:
                    world.sandbox.faults.add(fault, times=9)
                await world.canary.abandon(operation, method, client)
                world.sandbox.faults.clear()
    dropped = world.client()
    await dropped.list_keys()
    session = dropped._shared.engine._transport._session  # type: ignore[attr-defined]
    del dropped
    gc.collect()
    await session.close()
    world.keep_what_was_made()


async def _drive_echoes(world: World) -> None:
    """Have each kind of answer bring back what was sent, to the methods and to the token endpoint."""
    canary, vault = world.canary, world.vault
    patience: dict[str, Any] = {
        "retry": RetryPolicy(max_attempts=2),
        "on_event": world.watch,
        "_runtime": world.time.runtime,
    }
    for name, echo in ECHOES.items():
        async with _echoing(echo).listening() as server:
            token = StaticTokenProvider(vault.make("access token").open())
            async with FastKeyClient(token, base_url=server.base_url, **patience) as client:
                for operation, method in METHODS.items():
                    asyncio.get_running_loop().set_debug(operation == "create_key")
                    await canary.drive(f"{operation}, echo: {name}", method, client)
            asyncio.get_running_loop().set_debug(True)
            secret = vault.make("client secret")
            async with OAuthClient(
                APP, secret.open(), redirect_uri=REDIRECT, token_url=server.base_url, **patience
            ) as oauth:
                await canary.drive(f"refresh, echo: {name}", oauth.refresh, world.grant())
                request, code = world.begin(oauth), vault.make("authorization code")
                await canary.drive(
                    f"exchange, echo: {name}", lambda o, c, r: o.exchange_code(c.open(), r), oauth, code, request
                )
            canary.requests += server.requests
    made = vault.make("key's secret")
    created = {"api_key": "FAKEKEY", "secret": made.open(), "new": "x", "last_used": 1e30}
    answer = Hidden("answer", json.dumps({"result": created}))

    def cut(length: int) -> RawServer:
        return _echoing(lambda *_: _cut(answer, length))

    for length in (0, 60, len(answer.open())):
        async with cut(length).listening() as server:
            token = StaticTokenProvider(vault.make("access token").open())
            async with FastKeyClient(token, base_url=server.base_url, **patience) as client:
                await canary.drive(f"{length} bytes of a key", METHODS["create_key"], client)


def _cut(answer: Hidden, length: int) -> bytes:
    whole = http(200, answer.open().encode())
    return whole[: len(whole) - len(answer.open()) + length]


async def _drive_logins(world: World) -> None:
    """Drive a login from its address to its grant, and each way that it may fail."""
    canary, vault = world.canary, world.vault
    async with world.oauth(timeout=Timeouts(read=0.3)) as oauth:
        await canary.drive("app", lambda: oauth)
        request = world.begin(oauth)
        await canary.drive("authorization_request", lambda: request)
        callback = world.approve(request)
        await canary.drive("read_callback", lambda: oauth.read_callback(callback.open(), request))
        grants = [
            await canary.drive(
                "exchange", lambda: oauth.exchange_code(oauth.read_callback(callback.open(), request), request)
            )
            for _ in range(2)
        ]
        world.keep_what_was_made()
        await canary.drive(
            "another code", lambda: oauth.exchange_code(vault.make("authorization code").open(), request)
        )
        await canary.drive("no code", lambda: oauth.exchange_code(vault.make_bytes(40), request))  # type: ignore[arg-type]
        await canary.drive("refresh", lambda: oauth.refresh(grants[0]))
        world.keep_what_was_made()
        await canary.drive("grant", lambda: grants[1])
        await canary.drive("no refresh token", lambda: oauth.refresh(attrs.evolve(grants[0], refresh_token=None)))
        for name, fault in FAULTS.items():
            world.sandbox.faults.add(fault, operation="token", times=9)
            late = world.begin(oauth)
            code = Hidden("code", oauth.read_callback(world.approve(late).open(), late).get_secret_value())
            await canary.drive(f"exchange, {name}", lambda c, r: oauth.exchange_code(c.open(), r), code, late)
            await canary.drive(f"refresh, {name}", lambda: oauth.refresh(grants[0]))
            world.sandbox.faults.clear()
        world.keep_what_was_made()
        marker = vault.make("authorization code")
        for name, query in {
            "another state": "code={m}&state={m}",
            "twice": "code={m}&code={m}&state={s}",
            "an error": "error={m}&error_description={m}&state={s}",
            "a described error": "error=access_denied&error_description=code+{m}+was&code={m}&state={s}",
            "another issuer": "code={m}&state={s}&iss=https://{m}",
            "no code": "state={s}&kode={m}",
            "no address": "http://[{m}",
        }.items():
            await canary.drive(
                f"callback with {name}",
                lambda query: oauth.read_callback(
                    f"{REDIRECT}?{query.format(m=marker.open(), s=request.state)}", request
                ),
                query,
            )
        stray = world.begin(oauth)
        pending = asyncio.ensure_future(oauth.exchange_code(vault.make("authorization code").open(), stray))
        await asyncio.sleep(0)
        pending.cancel()
        await canary.drive("exchange, cancelled", lambda: pending)
        world.time.now += 601
        await canary.drive("late callback", lambda: oauth.read_callback(callback.open(), request))


class _FailingStore(MemoryGrantStore):
    """A store of a user's that cannot save."""

    async def save(self, grant: Grant) -> Grant:
        """Fail."""
        raise OSError(f"disk full, generation {grant.generation}")


class _FullStore(MemoryGrantStore):
    """A store of a user's that takes no new pair of tokens."""

    async def save(self, grant: Grant) -> Grant:
        """Save the note of a refresh alone."""
        if grant.rotation is None:
            raise OSError(f"disk full, {grant.access_token.get_secret_value()}")
        return await super().save(grant)


async def _drive_desktop_logins(world: World) -> None:
    """Drive the login with a browser: allowed, denied, with stores that fail, and requests that are no HTTP."""
    canary = world.canary

    def visit(url: str) -> None:
        with contextlib.suppress(OSError), urllib.request.urlopen(url, timeout=5) as answer:  # noqa: S310  # loopback
            answer.read()

    def tamper(url: str) -> None:
        parts = urlsplit(url)
        for line in (f"GET {parts.path}?{parts.query} HTTP/x.y", f"G\0T /?{parts.query} HTTP/1.1"):
            with socket.create_connection((str(parts.hostname), parts.port or 80), 5) as connection:
                connection.sendall(f"{line}\r\nHost: x\r\n\r\n".encode())
                connection.recv(9999)
        visit(url)

    for name, store, come_back in (
        ("allowed", MemoryGrantStore(), visit),
        ("a store that fails", _FailingStore(), visit),
        ("a request that is no HTTP", MemoryGrantStore(), tamper),
    ):
        threads: list[asyncio.Future[None]] = []
        loop = asyncio.get_running_loop()

        def open_browser(url: str, come_back: Any = come_back, threads: Any = threads, loop: Any = loop) -> bool:
            callback = world.sandbox.approve(url)
            fields = parse_qs(urlsplit(callback).query)
            world.vault.keep("authorization code", fields["code"][0])
            world.vault.keep("state", fields["state"][0], shy=True)
            loop.call_soon_threadsafe(lambda: threads.append(loop.run_in_executor(None, come_back, callback)))
            return True

        async with world.oauth(
            redirect_uri="http://127.0.0.1/callback", _runtime=FakeTime(time.time()).runtime
        ) as oauth:
            await canary.drive(
                f"login, {name}",
                lambda oauth, store, browser: login(
                    oauth, store=store, open_browser=browser, timeout=timedelta(seconds=1)
                ),
                oauth,
                store,
                open_browser,
            )
            await asyncio.gather(*threads)
        world.keep_what_was_made()


async def _drive_refreshes(world: World) -> None:
    """Drive the refreshing provider: good, expired, refused, dead tokens, faults, many callers, cancellations."""
    canary = world.canary
    for name, fault in {"no fault": None, **FAULTS}.items():
        async with world.oauth(timeout=Timeouts(read=0.3)) as oauth:
            request = world.begin(oauth)
            store = MemoryGrantStore()
            code = oauth.read_callback(world.approve(request).open(), request)
            await store.save(await oauth.exchange_code(code, request))
            world.keep_what_was_made()
            async with RefreshingTokenProvider(oauth, store, _runtime=world.time.runtime) as provider:
                token = await canary.drive(f"get_token, {name}", provider.get_token)
                await canary.drive("provider", lambda provider: provider, provider)
                if fault is not None:
                    world.sandbox.faults.add(fault, operation="token", times=9)
                world.time.now += HOURS_4
                calls = [asyncio.ensure_future(provider.get_token()) for _ in range(3)]
                await asyncio.sleep(0)
                calls[0].cancel()
                for call in calls:
                    await canary.drive(f"get_token, expired, {name}", lambda call: call, call)
                world.keep_what_was_made()
                world.sandbox.faults.clear()
                world.time.now += 60
                await canary.drive(f"get_token, refused, {name}", lambda p, t: p.get_token(rejected=t), provider, token)
                world.keep_what_was_made()
                async with world.client(provider) as client:
                    await canary.drive(f"list_keys, {name}", client.list_keys)
                world.sandbox.revoke_grant()
                world.time.now += HOURS_4
                await canary.drive(f"get_token, revoked, {name}", provider.get_token)
                empty = RefreshingTokenProvider(oauth, MemoryGrantStore(), _runtime=world.time.runtime)
                await canary.drive("get_token, no grant", empty.get_token)
                failing = _FailingStore()
                await MemoryGrantStore.save(failing, world.grant())
                broken = RefreshingTokenProvider(oauth, failing, _runtime=world.time.runtime)
                await canary.drive("get_token, a store that fails", broken.get_token)


async def _drive_rare_events(world: World) -> None:
    """Drive what is told of keys that nobody holds, of a client that is cut off, of a grant, and of a bad hook."""
    canary, sandbox, vault = world.canary, world.sandbox, world.vault
    busy = Answer(503, {"error": ["EService:Busy"]})
    lost = Disconnect(commit=True)
    for name in ("swing-bot", None):
        for trouble in ("none", "delete_key"):
            async with world.client(close_timeout=0.01) as client:
                request = CreateKeyRequest() if name is None else CreateKeyRequest(name)
                sandbox.faults.add(lost, operation="create_key")
                if trouble == "delete_key":
                    sandbox.faults.add(busy, operation="delete_key", times=None)
                await canary.drive(f"a lost create, trouble: {trouble}", client.create_key, request)
                world.keep_what_was_made()
            sandbox.faults.clear()
            async with world.client() as client:
                for key in await client.list_keys():
                    await client.delete_key(key.api_key_name)
    async with world.client() as client:
        sandbox.faults.add(lost, operation="create_key")
        sandbox.faults.add(busy, operation="delete_key", times=4)
        await canary.drive("an orphan that is deleted late", client.create_key, CreateKeyRequest())
        world.keep_what_was_made()
        while client.unsettled_keys:
            await asyncio.sleep(0)
    marker = vault.make("hook's secret")

    def hook(_: Event) -> None:
        raise ValueError(marker.open())

    async with world.client(on_event=hook) as client:
        await canary.drive("a hook that fails", client.list_keys)
        danger = CreateKeyRequest(permissions=Permissions(funds_withdraw=True))
        await canary.drive("a dangerous key", client.create_key, danger)
        world.keep_what_was_made()
    # An old grant, an answer without a life, and a store that is full.
    made = vault.make("access token")
    old = datetime.fromtimestamp(world.time.now, UTC) - timedelta(days=25)
    server = _echoing(lambda *_: _json(200, {"access_token": made.open(), "token_type": "bearer"}))
    async with server.listening(), world.oauth(token_url=server.base_url) as oauth:
        store = _FullStore()
        await MemoryGrantStore.save(store, world.grant(issued_at=old))
        async with RefreshingTokenProvider(oauth, store, _runtime=world.time.runtime) as provider:
            await canary.drive("a grant that is not saved", provider.get_token)
    canary.requests += server.requests


async def _drive_providers(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Drive each simple provider with a good token, the refused one, and what could not be one."""
    canary, vault = world.canary, world.vault
    refused = AccessToken(vault.make("access token").open())
    program = "import os,sys; sys.stdout.write(os.environ['CANARY']); sys.stderr.write(os.environ['CANARY'])"
    file = world.folder / "token"
    kinds: dict[str, Callable[[str], str]] = {
        "good": lambda text: text,
        "with a space": lambda text: f"{text} {text}",
        "with a line break": lambda text: f"{text}\nx",
        "too large": lambda text: text * 2000,
        "not ASCII": lambda text: f"{text}\N{SNOWMAN}",
    }
    for name, build in kinds.items():
        text = Hidden("access token", build(vault.make("access token").open()))
        file.write_text(text.open())
        monkeypatch.setenv("CANARY", text.open()[:100_000])
        providers: dict[str, Callable[[Hidden], Any]] = {
            "static": lambda text: StaticTokenProvider(text.open()),
            "callback": lambda text: CallbackTokenProvider(text.open),
            "callback of bytes": lambda text: CallbackTokenProvider(lambda: text.open().encode()),
            "environment": lambda _: EnvironmentTokenProvider("CANARY"),
            "file": lambda _: FileTokenProvider(file),
            "command": lambda _: CommandTokenProvider([sys.executable, "-I", "-S", "-c", program]),
        }
        await canary.drive(f"token {name}", lambda text: AccessToken(text.open()), text)
        await canary.drive(f"grant {name}", lambda text: Grant(text.open(), text.open(), generation=-1), text)
        for kind, make in providers.items():
            provider = await canary.drive(f"{kind} {name}", make, text)
            if provider is not None:
                token = await canary.drive(f"{kind} {name}: get_token", provider.get_token)
                await canary.drive(
                    f"{kind} {name}: get_token, refused", lambda p, t: p.get_token(rejected=t), provider, token
                )
                await canary.drive(f"{kind} {name}, used", lambda p: p, provider)
                if name != "too large":  # the sandbox's own server would tell of headers of that size
                    async with world.client(provider) as client:
                        await canary.drive(f"{kind} {name}: list_keys", client.list_keys)
    await canary.drive("callback that is a token", lambda: CallbackTokenProvider(vault.make("access token").open()))  # type: ignore[arg-type]
    await canary.drive("variable that is not set", EnvironmentTokenProvider("CANARY_MISSING").get_token)
    await canary.drive("file that is not there", FileTokenProvider(world.folder / "none").get_token)
    failing = CommandTokenProvider([sys.executable, "-I", "-S", "-c", f"{program}; sys.exit(3)"])
    await canary.drive("command that fails", failing.get_token)
    await canary.drive("no command", lambda: CommandTokenProvider("cat token"))
    await canary.drive("command that is not there", CommandTokenProvider(["/none"]).get_token)

    class Sloppy:
        async def get_token(self, *, rejected: object = None) -> str:
            del rejected
            return vault.make("access token").open()

    class Vaultless:
        async def get_token(self, *, rejected: object = None) -> AccessToken:
            raise LookupError(f"the vault is sealed: {rejected}")

    class Failing:
        async def get_token(self, *, rejected: object = None) -> AccessToken:
            del rejected
            async with aiohttp.ClientSession(raise_for_status=True) as session:
                await session.get(world.sandbox.base_url, headers={"Authorization": vault.make("access token").open()})
            return refused

    for careless in (Sloppy, Vaultless, Failing):
        async with world.client(careless()) as client:
            await canary.drive(f"{careless.__name__}: list_keys", client.list_keys)


async def _drive_wrong_arguments(world: World) -> None:
    """Give constructors secrets together with something wrong, or of the wrong type."""
    canary, vault = world.canary, world.vault
    for changes in (
        {"client_id": ""},
        {"redirect_uri": "/"},
        {"token_url": "http://api.kraken.com"},
        {"authorize_url": "x"},
        {"session": 5},
    ):
        secret = vault.make("client secret")
        await canary.drive(
            f"app with wrong {', '.join(changes)}",
            lambda changes, secret: OAuthClient(
                **{"client_id": APP, "client_secret": secret.open(), "redirect_uri": REDIRECT, **changes}
            ),
            changes,
            secret,
        )
    make: Any = OAuthClient
    for field in ("authorize_url", "token_url"):
        secret = vault.make("password in an address")
        await canary.drive(
            f"app with credentials in its {field}",
            lambda field, secret: make(APP, redirect_uri=REDIRECT, **{field: f"https://x:{secret.open()}@x.example"}),
            field,
            secret,
        )
    for wrong in ("{}\n", "{}\0", ""):
        secret = vault.make("client secret")
        await canary.drive(
            "app with a wrong secret",
            lambda wrong, secret: OAuthClient(APP, wrong.format(secret.open()), redirect_uri=REDIRECT),
            wrong,
            secret,
        )
    for expires_at in (datetime(2027, 1, 1), 5):  # noqa: DTZ001  # what is wrong
        await canary.drive(
            "token with a wrong time",
            lambda e: AccessToken(vault.make("access token").open(), e),
            expires_at,
        )
    await canary.drive("secret of bytes", lambda: SecretStr(vault.make("access token").open().encode()))  # type: ignore[arg-type]
    await canary.drive("token of bytes", lambda: AccessToken(vault.make("access token").open().encode()))  # type: ignore[arg-type]
    key = FastApiKey(api_key_name="x", api_key="x", secret=SecretStr(vault.make("key's secret").open()))
    await canary.drive("key", lambda: key)
    for attempt in (
        lambda: setattr(key, "secret", SecretStr(vault.make("key's secret").open())),
        lambda: setattr(key.secret, "_value", vault.make("key's secret").open()),
        lambda: json.dumps(key.secret),  # it raises
        key.secret.__getstate__,
    ):
        await canary.drive("misused key", attempt)


async def _drive_leases(world: World) -> None:
    """Keep a leased key, sign with it, verify it, write it to a file, and fail at each of these."""
    canary, vault, folder = world.canary, world.vault, world.folder
    secret = vault.keep("key's secret", base64.b64encode(vault.make("key's secret", 48).open().encode()).decode())
    key = FastApiKey(api_key_name="lease", api_key="FAKE", secret=SecretStr(secret.open()), nonce=10**18)
    record = LeaseRecord(owner="00c0de", current=key)
    stores = (MemoryKeyStore(), FileKeyStore(folder / "k" / "key", encryption_key=None))
    for store in stores:
        await canary.drive("save a leased key", store.save, record)
        await canary.drive("save a stale one", store.save, record)
        await canary.drive("load a leased key", store.load)
    client = FastKeyClient(StaticTokenProvider(vault.make("access token").open()), base_url="http://127.0.0.1:9/oauth")
    lease = KeyLease(client, CreateKeyRequest(), store=stores[0])
    await canary.drive("lease", lambda: lease)
    await canary.drive("lease that is not entered", lambda: lease.key)
    await canary.drive("lease's health", lambda: lease.health)
    await canary.drive("nonce ahead", lambda: check_nonces(key, MemoryNonceSource()))
    signer = KeySigner(key, MemoryNonceSource())
    await canary.drive("signer", lambda: signer)
    await canary.drive("sign", lambda: signer.sign("/0/private/Balance"))
    await canary.drive("sign what is none", lambda: signer.sign("/0/private/Balance", {"a": object()}))
    await canary.drive(
        "verify",
        lambda: verify_key(key, base_url="http://127.0.0.1:9"),
    )
    await canary.drive("env file", lambda: write_env_file(key, folder / "env"))
    await canary.drive("env file in no folder", lambda: write_env_file(key, folder / "no" / "env"))
    await client.aclose()


async def _drive_entered_leases(world: World) -> None:
    """Drive a lease through its life: it makes, takes, sweeps and deletes keys, loses them, and fails at each of it."""
    canary, sandbox = world.canary, world.sandbox
    marker = world.vault.make("listener's secret")
    store = MemoryKeyStore()

    async def until(name: str) -> None:
        """Wait until a lease has told of something once more."""
        seen = canary.events[f"kraken_fastkey.lease.{name}"]
        async with asyncio.timeout(20):
            while canary.events[f"kraken_fastkey.lease.{name}"] == seen:
                world.keep_what_was_made()
                await asyncio.sleep(0.001)

    def listener(_: object) -> None:
        raise RuntimeError(marker.open())

    async def put(key: FastApiKey) -> None:
        if key.api_key_name != first:
            raise OSError(marker.open())

    async def lose(lease: KeyLease, client: FastKeyClient) -> None:
        await client.delete_key(lease.key.api_key_name)
        await until("gone")
        await until("hand_over")

    async with world.client() as client:
        for key in await client.list_keys():  # room for two, and a crash's
            await client.delete_key(key.api_key_name)
        options: dict[str, Any] = {"store": store, "on_change": listener, "api_url": sandbox.api_url}
        template = CreateKeyRequest(permissions=Permissions.read_only())
        async with KeyLease(client, template, on_exit="keep", **options):
            world.keep_what_was_made()
        record = await store.load()
        await canary.drive("a crash's key", client.create_key, CreateKeyRequest(f"lease-{record and record.owner}-x1"))
        sandbox.faults.add(Answer(503), operation="list_keys", times=4)
        async with contextlib.AsyncExitStack() as down, KeyLease(client, template, **options) as lease:
            first = lease.key.api_key_name
            await canary.drive("lease's key", lambda: lease.key)
            async with following(lease, put):
                await canary.drive("renewal", lease.renew)
                await until("place_fail")
            await canary.drive("lost", lose, lease, client)
            await canary.drive("refused", lambda: lease.renew(lease.key))
            async with sandbox.unreachable():
                await until("expire")
                await canary.drive("expired", lambda: lease.key)
            await until("recover")
            for codes in (["EGeneral:Temporary lockout"], ["EAPI:Rate limit exceeded"], ["EAPI:Invalid key"]):
                sandbox.faults.add(Answer(200, {"error": codes}), operation="get_api_key_info", times=3)
                await canary.drive("new key, probed", lease.renew)
                sandbox.faults.clear()
                world.time.now += 1000
            sandbox.faults.add(Answer(500), operation="delete_key", times=9)
            await until("delete_fail")
            sandbox.faults.clear()
            await down.enter_async_context(sandbox.unreachable())
    world.keep_what_was_made()


async def _drive_client_secret(world: World) -> None:
    """Decrypt a client's secret: with its key, with another, and with what is none."""
    serialization = pytest.importorskip("cryptography.hazmat.primitives.serialization")
    rsa = pytest.importorskip("cryptography.hazmat.primitives.asymmetric.rsa")
    padding = pytest.importorskip("cryptography.hazmat.primitives.asymmetric.padding")
    canary, vault = world.canary, world.vault
    private, other = (rsa.generate_private_key(65537, 2048) for _ in range(2))
    phrase, secret = vault.make("passphrase"), vault.make("client secret")
    sealed = base64.b64encode(private.public_key().encrypt(secret.open().encode(), padding.PKCS1v15())).decode()

    def pem(key: Any) -> Hidden:
        text = key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.BestAvailableEncryption(phrase.open().encode()),
        ).decode()
        for line in text.splitlines()[1:-2]:
            vault.keep("private key", line)
        return Hidden("private key", text)

    good, wrong = pem(private), pem(other)
    for name, text, key, word in (
        ("good", sealed, good, phrase),
        ("another key", sealed, wrong, phrase),
        ("no key", sealed, vault.make("private key", 300), phrase),
        ("another passphrase", sealed, good, vault.make("passphrase")),
        ("no base64", f"!{sealed}", good, phrase),
    ):
        await canary.drive(
            f"client secret, {name}",
            lambda text, key, word: decrypt_client_secret(text, key.open(), word.open()),
            text,
            key,
            word,
        )
        await canary.drive(
            f"client secret, {name}, bytes",
            lambda text, key, word: decrypt_client_secret(text, key.open().encode(), SecretStr(word.open())),
            text,
            key,
            word,
        )


class _FakeRedis:
    """What a store asks of Redis, in memory."""

    def __init__(self) -> None:
        self.fields: dict[Any, Any] = {}
        self.failing = False

    async def execute(self, *command: Any) -> Any:
        """Do what the store's commands and scripts do, or fail as redis-py does: with the command in the text."""
        if self.failing:
            from redis.exceptions import ResponseError  # noqa: PLC0415  # an extra

            raise ResponseError(f"Command # 1 ({command!r}) of pipeline caused error: MISCONF")
        if command[0] == b"HMGET":
            return self.fields.get(command[1], [None, None])
        script, key, *arguments = command[1], *command[3:]
        if b"HSET" in script:
            if (self.fields.get(key, [b"0"])[0]) != arguments[0]:
                return 0
            self.fields[key] = [arguments[1], arguments[3]]
        return 1


async def _drive_stores(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Drive each store: save, load, lock, stale and foreign grants, damage, and a wrong key."""
    fernet = pytest.importorskip("cryptography.fernet").Fernet
    canary, vault, folder = world.canary, world.vault, world.folder
    key = vault.keep("encryption key", fernet.generate_key().decode())
    runtime: dict[str, Any] = {"lock_timeout": 0.01, "_runtime": world.time.runtime}
    clear, sealed = folder / "a" / "grant", folder / "b" / "grant"
    memory = MemoryGrantStore(**runtime)
    makers: dict[str, Callable[[], GrantStore]] = {
        "memory": lambda: memory,
        "file": lambda: FileGrantStore(clear, **runtime),
        "encrypted file": lambda: FileGrantStore(sealed, encryption_key=key.open(), **runtime),
    }
    backend = _keyring(world, monkeypatch)
    makers["keyring"] = lambda: KeyringGrantStore("canary", **runtime)
    redis = _redis()
    makers["redis"] = lambda: RedisGrantStore(redis, "canary", **runtime)
    sqlalchemy = pytest.importorskip("sqlalchemy.ext.asyncio")
    engine = sqlalchemy.create_async_engine(f"sqlite+aiosqlite:///{folder / 'db'}")
    table = SQLGrantStore(engine, "canary", **runtime)
    await canary.drive("create_table", table.create_table)
    makers["sql"] = lambda: SQLGrantStore(engine, "canary", **runtime)
    for name, make in makers.items():
        store = make()
        first = await canary.drive(f"{name}: save", lambda store: store.save(world.grant(unknown={"x": 1})), store)
        await canary.drive(f"{name}: save, next", lambda s: s.save(world.grant(generation=2)), store)
        await canary.drive(f"{name}: load", store.load)
        await canary.drive(f"{name}: save, stale", store.save, first)
        await canary.drive(f"{name}: save, another", lambda s: s.save(world.grant(generation=2)), store)
        await canary.drive(f"{name}: save, too far", lambda s: s.save(world.grant(generation=9)), store)
        async with store.lock():
            await canary.drive(f"{name}: locked", _take, make())
        for steps in range(6):
            task = asyncio.ensure_future(store.save(world.grant()))
            for _ in range(steps):
                await asyncio.sleep(0)
            task.cancel()
            await canary.drive(f"{name}: save, cancelled", lambda task: task, task)
        await canary.drive(f"{name}", lambda store: store, store)
    await _drive_damage(world, makers, (clear, sealed), (backend, redis, engine))
    await canary.drive(
        "another key", lambda: FileGrantStore(sealed, encryption_key=fernet.generate_key().decode(), **runtime).load()
    )
    for wrong in (vault.make("encryption key"), vault.make("encryption key", 44)):
        await canary.drive("no key", lambda w: FileGrantStore(sealed, encryption_key=f"{w.open()}!"), wrong)
        await canary.drive("no path", lambda w: FileGrantStore("", encryption_key=w.open()), wrong)
        monkeypatch.setenv("KRAKEN_FASTKEY_ENCRYPTION_KEY", wrong.open()[:-3])
        await canary.drive("wrong key of the environment", encryption_key_from_environment)
        backend.passwords["kraken-fastkey", "encryption-key"] = wrong.open()[:-3]
        await canary.drive("wrong key of the keyring", encryption_key_from_keyring)
    monkeypatch.setenv("KRAKEN_FASTKEY_ENCRYPTION_KEY", key.open())
    await canary.drive("key of the environment", encryption_key_from_environment)
    backend.passwords["kraken-fastkey", "encryption-key"] = key.open()
    await canary.drive("key of the keyring", encryption_key_from_keyring)
    backend.failing = True
    await canary.drive("key of a keyring that fails", encryption_key_from_keyring)
    await engine.dispose()


async def _drive_damage(world: World, makers: dict[str, Any], files: tuple[Path, ...], places: tuple[Any, ...]) -> None:
    """Put markers in clear where a record should be, and have backends fail with what they were given."""
    canary = world.canary
    backend, redis, engine = places
    from sqlalchemy import text  # noqa: PLC0415  # an extra

    record = Hidden("record", json.dumps({"format": 1, "access_token": world.vault.make("access token").open()}))
    for file in files:
        file.write_text(record.open())
    for place in backend.passwords:
        backend.passwords[place] = f"kraken-fastkey record 1, version 3 {record.open()}"
    for place in redis.memory.fields:
        redis.memory.fields[place] = [b"3", record.open().encode()]
    # Past the engine, whose log would tell what the test itself writes.
    with contextlib.closing(sqlite3.connect(world.folder / "db")) as database, database:
        database.execute("UPDATE kraken_fastkey_records SET data = ?", (record.open().encode(),))
    for name, make in makers.items():
        if name != "memory":
            await canary.drive(f"{name}: load, damaged", lambda m: m().load(), make)
            await canary.drive(f"{name}: save, damaged", lambda m: m().save(world.grant()), make)
    for place in redis.memory.fields:
        redis.memory.fields[place] = [record.open().encode(), record.open().encode()]
    backend.failing = redis.memory.failing = True
    async with engine.begin() as connection:
        await connection.execute(text("DROP TABLE kraken_fastkey_records"))
    for name in ("keyring", "redis", "sql"):
        await canary.drive(f"{name}: load, failing", lambda m: m().load(), makers[name])
        await canary.drive(f"{name}: save, failing", lambda m: m().save(world.grant()), makers[name])
    redis.memory.failing = backend.failing = False
    await canary.drive("redis: load, damaged version", lambda: makers["redis"]().load())


async def _take(store: GrantStore) -> None:
    async with store.lock():
        pass


def _keyring(world: World, monkeypatch: pytest.MonkeyPatch) -> Any:
    keyring = pytest.importorskip("keyring")
    errors = pytest.importorskip("keyring.errors")

    class Backend(keyring.backend.KeyringBackend):  # type: ignore[misc,name-defined]
        """A keyring in memory, which can be told to fail as backends do: with what they were given."""

        priority = 0.1
        failing = False

        def __init__(self) -> None:
            super().__init__()
            self.passwords: dict[tuple[str, str], str] = {}

        def get_password(self, service: str, username: str) -> str | None:
            """Return a password, or fail."""
            if self.failing:
                raise errors.KeyringError(f"cannot get {self.passwords}")
            return self.passwords.get((service, username))

        def set_password(self, service: str, username: str, password: str) -> None:
            """Keep a password."""
            self.passwords[service, username] = password

    backend = Backend()
    monkeypatch.setattr(keyring, "get_keyring", lambda: backend)
    monkeypatch.setattr(keyring.core, "_keyring_backend", backend)
    monkeypatch.setenv("XDG_STATE_HOME", str(world.folder / "state"))
    return backend


def _redis() -> Any:
    redis = pytest.importorskip("redis.asyncio")

    class Client(redis.Redis):  # type: ignore[misc,name-defined]
        """A client without a server."""

        def __init__(self) -> None:
            super().__init__()
            self.memory = _FakeRedis()

        async def execute_command(self, *command: Any, **_: Any) -> Any:
            """Execute a command in memory."""
            return await self.memory.execute(*command)

    return Client()


async def _drive_proxies(world: World) -> None:
    """Drive a session of the user's own with a proxy that wants credentials, is broken, or is not there."""
    canary, vault = world.canary, world.vault
    user, password = vault.make("proxy credentials"), vault.make("proxy credentials")

    async def refuse(server: RawServer, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        request = await server.read_request(reader)
        writer.write(http(407, request, "Proxy-Authenticate: Basic"))
        await writer.drain()

    async with RawServer(refuse).listening() as proxy:
        port = urlsplit(proxy.base_url).port
        for target in (world.sandbox.base_url, "https://127.0.0.1:9/oauth"):
            for address in (port, 9):
                async with aiohttp.ClientSession(
                    proxy=f"http://{user.open()}:{password.open()}@127.0.0.1:{address}"
                ) as session:
                    client = world.client(base_url=target, session=session)
                    await canary.drive("proxy", client.list_keys)
                    await canary.drive("proxy", METHODS["create_key"], client)


EVERY_ERROR: Final = {
    name
    for name in kraken_fastkey.__all__
    if isinstance(kind := getattr(kraken_fastkey, name), type) and issubclass(kind, FastKeyError)
} - {"FastKeyError"}
EVENT_NAMES: Final = set(re.findall(r"^\| `(kraken_fastkey\.[\w.]+)` \| `[A-Z]", EVENTS_PAGE.read_text(), re.MULTILINE))
# What takes a Redis, or a key that is not as asked for: tests of their own drive them.
SELDOM: Final = {
    f"kraken_fastkey.{name}"
    for name in ("close.requests", "lease.probe_differ", "store.lock_not_freed", "store.lock_expire")
}
# Where a marker may be in a request: by its name, in a header or in the body of a request for tokens.
ALLOWED: Final = {
    ("access token", "authorization"),
    ("client secret", "authorization"),
    ("refresh token", "token body"),
    ("authorization code", "token body"),
    ("code verifier", "token body"),
}


def _keep_requests(world: World) -> None:
    """Keep what the sandbox has received, as bytes."""
    for entry in world.sandbox.requests:
        lines = [f"{entry.method} {entry.path}?{entry.query}", *(f"{k}: {v}" for k, v in entry.headers.items())]
        world.canary.requests.append("\r\n".join(lines).encode() + b"\r\n\r\n" + entry.body)
    world.sandbox.requests.clear()


async def test_no_secret_comes_out(
    world: World, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """Every secret is a marker, every path is driven, everything shown, and no marker is found in any byte of it."""
    canary = world.canary
    canary.expected = (FastKeyError, asyncio.CancelledError, TypeError, AttributeError)
    with canary.listening("aiohttp", "asyncio", "sqlalchemy", "aiosqlite", "kraken_fastkey"):
        for drive in (
            _drive_methods(world),
            _drive_cancellations(world),
            _drive_abandoned(world),
            _drive_echoes(world),
            _drive_logins(world),
            _drive_desktop_logins(world),
            _drive_refreshes(world),
            _drive_rare_events(world),
            _drive_providers(world, monkeypatch),
            _drive_wrong_arguments(world),
            _drive_client_secret(world),
            _drive_stores(world, monkeypatch),
            _drive_leases(world),
            _drive_entered_leases(world),
            _drive_proxies(world),
        ):
            await drive
            _keep_requests(world)
        gc.collect()
    world.watch.finish()
    out, err = capfd.readouterr()
    canary.add("stdout", out)
    canary.add("stderr", err)
    leaks, misplaced = canary.leaks(), canary.misplaced(ALLOWED)
    print(
        f"{canary.paths} paths, {canary.vault.count} markers, {canary.records} log records, "
        f"{canary.events.total()} events, "
        f"{canary.searched} bytes searched: {len(leaks)} leaks; "
        f"{len(canary.requests)} requests: {len(misplaced)} markers out of place"
    )
    print(", ".join(f"{name}: {count}" for name, count in sorted(canary.outcomes.items())))
    for leak in leaks:
        print(f"LEAK of the {leak.marker} in {leak.where}: {leak.around!r}")
    assert ([], set()) == (leaks, misplaced)
    assert [] == canary.strange
    assert set() == EVERY_ERROR - {kind.__name__ for kind in canary.kinds}
    # Each record of the library's is an event's that the documentation has, and so is each event.
    assert set() == {*canary.logged, *canary.events} - EVENT_NAMES
    assert SELDOM >= EVENT_NAMES - {*canary.logged, *canary.events}
    # What guards the guard: so much is driven and searched at least.
    assert 1500 < canary.paths
    assert 10_000_000 < canary.searched
    assert 1000 < len(canary.requests)


class _CarelessError(FastKeyError):
    """An exception of a library that takes no care."""


def _raise_with(marker: Hidden, build: Callable[[str], BaseException]) -> None:
    raise build(marker.open())


def _raise_in_a_frame(marker: Hidden) -> None:
    token = marker.open()
    raise TransportError(f"{len(token)} characters")


def _raise_from(marker: Hidden, *, suppressed: bool) -> None:
    try:
        _raise_with(marker, ValueError)
    except ValueError as error:
        if suppressed:
            raise TransportError("clean") from None
        raise TransportError("clean") from error


def _raise_with_a_note(marker: Hidden) -> None:
    error = TransportError("clean")
    error.add_note(marker.open())
    raise error


def _raise_with_an_attribute(marker: Hidden) -> None:
    raise TransportError("clean", codes=(marker.open(),))


@attrs.frozen
class _Open:
    """An object that takes no care."""

    token: str = attrs.field(repr=False)


LOGGER: Final = logging.getLogger("aiohttp.client")
PLANTS: dict[str, Callable[[Hidden], Any]] = {
    "log": lambda marker: LOGGER.debug("sending %s", marker.open()),
    "log's argument": lambda marker: LOGGER.debug("sending", extra={"header": marker.open()}),
    "stdout": lambda marker: print(marker.open()),
    "stderr": lambda marker: print(marker.open(), file=sys.stderr),
    "warning": lambda marker: warnings.warn(marker.open(), stacklevel=1),
    "argument": lambda marker: _raise_with(marker, TransportError),
    "message": lambda marker: _raise_with(marker, lambda text: _CarelessError(f"Bearer {text} is no good")),
    "attribute": _raise_with_an_attribute,
    "frame": _raise_in_a_frame,
    "cause": lambda marker: _raise_from(marker, suppressed=False),
    "suppressed context": lambda marker: _raise_from(marker, suppressed=True),
    "group": lambda marker: _raise_with(marker, lambda text: ExceptionGroup("clean", [ValueError(text)])),
    "note": _raise_with_a_note,
    "repr": lambda marker: [marker.open()],
    "asdict and pickle": lambda marker: _Open(marker.open()),
    "base64": lambda marker: _raise_with(
        marker, lambda text: TransportError("Basic " + base64.b64encode(f"{APP}:{text}".encode()).decode())
    ),
    "base64, one further": lambda marker: base64.b64encode(f"x{APP}:{marker.open()}".encode()),
    "base64, two further": lambda marker: base64.urlsafe_b64encode(f"xx{APP}:{marker.open()}".encode()).decode(),
    "hex": lambda marker: marker.open().encode().hex(),
    "hex, upper case": lambda marker: marker.open().encode().hex().upper(),
    "URL": lambda marker: f"https://x.example/?token={quote(marker.open(), safe='')}",
    "UTF-16": lambda marker: marker.open().encode("utf-16-le"),
    "upper case": lambda marker: marker.open().upper(),
    "bytes": lambda marker: marker.open().encode(),
    "sixteen characters": lambda marker: f"x{marker.open()[9:25]}x",
    "aiohttp's exception": lambda marker: _raise_with(
        marker, lambda text: aiohttp.InvalidURL("http://x.example", text)
    ),
    "coroutine's frame": lambda marker: _fail_later(marker),  # noqa: PLW0108  # defined below
}


async def _fail_later(marker: Hidden) -> None:
    token = marker.open()
    await asyncio.sleep(0)
    raise TransportError(f"{len(token)} characters")


@pytest.mark.parametrize("plant", PLANTS.values(), ids=PLANTS.keys())
@pytest.mark.parametrize("kind", ["plain", "with characters that are encoded"])
async def test_a_planted_leak_is_found(
    plant: Callable[[Hidden], Any], kind: str, capfd: pytest.CaptureFixture[str]
) -> None:
    """The canary can fail: a marker in any of these places, in any of these forms, is found."""
    canary = Canary(renders=1 if kind == "plain" and plant is PLANTS["frame"] else 0)
    marker = canary.vault.make("token")
    if kind != "plain":
        marker = canary.vault.keep("token", "+/".join(marker.open()[at : at + 7] for at in range(0, 48, 7)))
    with canary.listening("aiohttp"):
        await canary.drive("planted", lambda: plant(marker))
    for name, text in zip(("stdout", "stderr"), capfd.readouterr(), strict=True):
        canary.add(name, text)
    assert {"token"} == {leak.marker for leak in canary.leaks()}


async def test_what_is_no_leak_is_not_found() -> None:
    """The canary is silent where nothing is: fifteen characters, the holder's repr, and a masked secret."""
    canary = Canary(renders=0)
    marker = canary.vault.make("token")
    with canary.listening():
        await canary.drive("piece", lambda: marker.open()[9:24])
        await canary.drive("holder", lambda: [marker])
        await canary.drive("secret", lambda: SecretStr(marker.open()))
        await canary.drive("failure", lambda: _raise_with(marker, lambda _: TransportError("clean")))
    assert [] == canary.leaks()
    assert 1000 < canary.searched


EVENTS: Final[dict[str, Callable[[str], Event]]] = {
    "span": lambda text: CallEnded(0.0, 1, operation="x", seconds=0.0, attempts=1, outcome=None, codes=(text,)),
    "event of a span": lambda text: TokenRejected(0.0, 1, operation=text, generation=1),
    "metric": lambda text: CallEnded(0.0, 2, operation=text, seconds=0.0, attempts=1, outcome=None),
    "log": lambda text: KrakenWarned(0.0, 1, operation="x", codes=(text,)),
}


@pytest.mark.parametrize("make", EVENTS.values(), ids=EVENTS.keys())
async def test_a_secret_in_an_event_is_found(make: Callable[[str], Event]) -> None:
    """What hooks, spans, metrics and the attributes of records have is searched, too."""
    canary = Canary(renders=0)
    watch = Watch(canary)
    marker = canary.vault.make("token")
    with canary.listening("kraken_fastkey"):
        watch(CallStarted(0.0, 1, operation="x"))
        watch(make(marker.open()))
        log(make(marker.open()))
        watch(CallEnded(0.0, 1, operation="x", seconds=0.0, attempts=1, outcome=None))
    watch.finish()
    places = {leak.where for leak in canary.leaks()}
    assert ("log of kraken_fastkey" in places) is (make is not EVENTS["span"] and make is not EVENTS["metric"])
    assert {"event", "spans and metrics"} <= places


async def test_a_task_that_nobody_waits_for_is_heard() -> None:
    """What asyncio tells of lost exceptions, failed callbacks and coroutines that never ran is searched, too."""
    canary = Canary(renders=0)
    marker = canary.vault.make("token")
    loop = asyncio.get_running_loop()
    loop.set_debug(True)
    with canary.listening("asyncio"):
        await canary.abandon("lost", lambda: _fail_later(marker))
    told = [where for where, _, _ in canary._evidence]
    texts = "\n".join(text for _, text, _ in canary._evidence)
    assert {"warning", "log of asyncio", "log of asyncio, with locals"} <= set(told)
    for words in ("Task exception was never retrieved", "Exception in callback", "was never awaited"):
        assert words in texts
    assert {"token"} == {leak.marker for leak in canary.leaks()}


@pytest.mark.parametrize(
    ("request_line", "place"),
    [
        ("GET /x?token={} HTTP/1.1\r\nHost: x\r\n\r\n", "URL"),
        ("GET / HTTP/1.1\r\nCookie: {}\r\n\r\n", "cookie"),
        ("POST / HTTP/1.1\r\nHost: x\r\n\r\n{{{}}}", "body"),
        ("GET / HTTP/1.1\r\n{}: x\r\n\r\n", "name of a header"),
    ],
)
def test_a_marker_out_of_place_is_found(request_line: str, place: str) -> None:
    """A token in a URL, another header or a body is told by its place; in its own header it is allowed."""
    canary = Canary(renders=0)
    marker = canary.vault.make("access token")
    canary.requests = [
        f"GET / HTTP/1.1\r\nAuthorization: Bearer {marker.open()}\r\n\r\n".encode(),
        request_line.format(marker.open()).encode(),
    ]
    assert {("access token", place)} == canary.misplaced(ALLOWED)


HOLDERS: dict[str, Callable[[], object]] = {
    "SecretStr": lambda: SecretStr("FAKE"),
    "AccessToken": lambda: AccessToken("FAKE"),
    "Grant": lambda: Grant("FAKE"),
    "FastApiKey": lambda: FastApiKey(api_key_name="x", api_key="x", secret=SecretStr("FAKE")),
    "AuthorizationRequest": lambda: OAuthClient(APP, redirect_uri=REDIRECT).authorization_request(),
    "OAuthClient": lambda: OAuthClient(APP, redirect_uri=REDIRECT),
    "StaticTokenProvider": lambda: StaticTokenProvider("FAKE"),
    "CallbackTokenProvider": lambda: CallbackTokenProvider(str),
    "EnvironmentTokenProvider": EnvironmentTokenProvider,
    "FileTokenProvider": lambda: FileTokenProvider("token"),
    "CommandTokenProvider": lambda: CommandTokenProvider(["cat"]),
    "RefreshingTokenProvider": lambda: RefreshingTokenProvider(
        OAuthClient(APP, redirect_uri=REDIRECT), MemoryGrantStore()
    ),
    "MemoryGrantStore": MemoryGrantStore,
    "FileGrantStore": lambda: FileGrantStore("grant"),
    "FastKeyClient": lambda: FastKeyClient(StaticTokenProvider("FAKE")),
}


@pytest.mark.parametrize("make", HOLDERS.values(), ids=HOLDERS.keys())
@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_what_holds_secrets_is_not_pickled(make: Callable[[], object], protocol: int) -> None:
    """A TypeError says so: a pickle goes to another process, and perhaps to a disk."""
    with pytest.raises(TypeError, match="cannot be pickled"):
        pickle.dumps(make(), protocol)


MISTAKES: dict[str, Callable[[Hidden, FastKeyClient], object]] = {
    "a token for a provider": lambda marker, _: FastKeyClient(marker.open()),  # type: ignore[arg-type]
    "a token for an account": lambda marker, client: client.for_account(marker.open()),  # type: ignore[arg-type]
    "a password in base_url": lambda marker, _: FastKeyClient(
        StaticTokenProvider("FAKE"), base_url=f"https://x:{marker.open()}@api.kraken.com/oauth"
    ),
    "a token for a session": lambda marker, _: FastKeyClient(
        StaticTokenProvider("FAKE"),
        session=marker.open(),  # type: ignore[arg-type]
    ),
}


@pytest.mark.parametrize("mistake", MISTAKES.values(), ids=MISTAKES.keys())
async def test_a_secret_in_the_wrong_argument_is_not_shown(
    mistake: Callable[[Hidden, FastKeyClient], object],
) -> None:
    """Who passes a token where none belongs is told so, without the token in the traceback's locals."""
    canary = Canary(renders=0)
    marker = canary.vault.make("token")
    client = FastKeyClient(StaticTokenProvider("FAKE"))
    with canary.listening():
        await canary.drive("mistake", lambda: mistake(marker, client))
    assert ["InvalidRequestError"] == list(canary.outcomes)
    assert [] == canary.leaks()
