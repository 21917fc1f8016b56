"""The same work, done by each: attributes in, JSON over a kept-alive connection, attributes out.

Each function yields a coroutine function that creates one key. What all of them do for a call: make a request object,
encode it, POST it with an `Authorization` header, decode the answer, see whether it is an error, and make an object
of all its fields, with times as `datetime`.
"""

import contextlib
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import attrs

__all__ = ["SUBJECTS", "Call"]

Call = Callable[[int], Awaitable[object]]
TOKEN: Final = "not-a-token-" * 5
ALLOWLIST: Final = ("203.0.113.0/24",)
LIFE: Final = timedelta(days=7)
FLAGS: Final = {"funds_query": True, "trades_query_open": True}


@attrs.frozen(kw_only=True)
class Request:
    """A request, as somebody writes it who writes it by hand."""

    api_key_name: str
    permissions: Mapping[str, bool]
    ip_allowlist: tuple[str, ...]
    valid_until: timedelta

    def to_body(self) -> dict[str, Any]:
        """Return what is sent."""
        return {
            "api_key_name": self.api_key_name,
            "permissions": self.permissions,
            "ip_allowlist": self.ip_allowlist,
            "valid_until": int(time.time() + self.valid_until.total_seconds()),
        }


@attrs.frozen(kw_only=True)
class Key:
    """An answer, likewise: every field that Kraken describes."""

    api_key: str
    api_key_name: str
    created_time: datetime | None
    id: str | None
    ip_allowlist: tuple[str, ...]
    last_used: datetime | None
    modified_time: datetime | None
    nonce: int
    nonce_window: int
    oauth_client: str | None
    permissions: Mapping[str, bool]
    purpose: str
    query_from: datetime | None
    query_to: datetime | None
    secret: str = attrs.field(repr=False)
    valid_until: datetime | None


def _moment(seconds: float) -> datetime | None:
    return datetime.fromtimestamp(seconds, UTC) if seconds else None


def make_request(number: int) -> Request:
    """Return the request of a call."""
    return Request(api_key_name=f"bot-{number}", permissions=FLAGS, ip_allowlist=ALLOWLIST, valid_until=LIFE)


def read_key(status: int, answer: dict[str, Any]) -> Key:
    """Return the key of an answer.

    Raises:
        RuntimeError: It has none.
    """
    if status != 200 or answer["error"]:
        raise RuntimeError(status)
    return make_key(answer["result"])


def make_key(key: Mapping[str, Any]) -> Key:
    """Return the key of a result."""
    return Key(
        api_key=key["api_key"],
        api_key_name=key["api_key_name"],
        created_time=_moment(float(key["created_time"])),
        id=key["id"],
        ip_allowlist=tuple(key["ip_allowlist"]),
        last_used=_moment(key["last_used"]),
        modified_time=_moment(float(key["modified_time"])),
        nonce=key["nonce"],
        nonce_window=key["nonce_window"],
        oauth_client=key["oauth_client"],
        permissions=key["permissions"],
        purpose=key["purpose"],
        query_from=_moment(key["query_from"]),
        query_to=_moment(key["query_to"]),
        secret=key["secret"],
        valid_until=_moment(key["valid_until"]),
    )


def _headers() -> dict[str, str]:
    return {"Authorization": f"Bearer {TOKEN}"}


@contextlib.asynccontextmanager
async def bare(base_url: str) -> AsyncIterator[Call]:
    """aiohttp with its defaults, and `json`: what a careful program without a library does."""
    import aiohttp  # noqa: PLC0415  # each process imports what it measures, and no more

    async with aiohttp.ClientSession() as session:

        async def create(number: int) -> Key:
            body = make_request(number).to_body()
            async with session.post(f"{base_url}/fast-api-key", json=body, headers=_headers()) as response:
                return read_key(response.status, await response.json())

        yield create


@contextlib.asynccontextmanager
async def retrying(base_url: str) -> AsyncIterator[Call]:
    """aiohttp-retry, with its exponential waits."""
    import aiohttp_retry  # noqa: PLC0415

    async with aiohttp_retry.RetryClient(retry_options=aiohttp_retry.ExponentialRetry(attempts=4)) as session:

        async def create(number: int) -> Key:
            body = make_request(number).to_body()
            async with session.post(f"{base_url}/fast-api-key", json=body, headers=_headers()) as response:
                return read_key(response.status, await response.json())

        yield create


@contextlib.asynccontextmanager
async def with_tenacity(base_url: str) -> AsyncIterator[Call]:
    """The bare call with tenacity around it."""
    import tenacity  # noqa: PLC0415

    async with bare(base_url) as create:
        yield tenacity.retry(stop=tenacity.stop_after_attempt(4), wait=tenacity.wait_random_exponential())(create)


@contextlib.asynccontextmanager
async def with_stamina(base_url: str) -> AsyncIterator[Call]:
    """The bare call with stamina around it."""
    import aiohttp  # noqa: PLC0415
    import stamina  # noqa: PLC0415

    async with bare(base_url) as create:
        yield stamina.retry(on=aiohttp.ClientError, attempts=4)(create)


@contextlib.asynccontextmanager
async def with_ccxt(base_url: str) -> AsyncIterator[Call]:
    """ccxt's request path, without its throttle and its signatures."""
    import ccxt.async_support  # type: ignore[import-untyped]  # noqa: PLC0415

    exchange = ccxt.async_support.Exchange({"enableRateLimit": False})
    try:

        async def create(number: int) -> Key:
            body = json.dumps(make_request(number).to_body())
            headers = _headers() | {"Content-Type": "application/json"}
            return read_key(200, await exchange.fetch(f"{base_url}/fast-api-key", "POST", headers, body))

        yield create
    finally:
        await exchange.close()


@contextlib.asynccontextmanager
async def with_kraken_sdk(base_url: str) -> AsyncIterator[Call]:
    """python-kraken-sdk's request path, with the token where it has its signature.

    Its `request` takes no headers: those of a signed request come from `_prepare_request`. What it returns is the
    result alone, its own check for errors done.
    """
    from kraken.base_api import SpotAsyncClient  # noqa: PLC0415

    class Client(SpotAsyncClient):
        def _prepare_request(self, **arguments: Any) -> tuple[str, str, dict[str, Any], dict[str, Any], str]:
            method, url, headers, parameters, query = super()._prepare_request(**arguments)
            return method, url, headers | _headers(), parameters, query

    async with Client(url=base_url) as client:

        async def create(number: int) -> Key:
            body = make_request(number).to_body()
            result: Any = await client.request("POST", "/fast-api-key", body, auth=False, do_json=True)
            return make_key(result)

        yield create


@contextlib.asynccontextmanager
async def with_httpx(base_url: str) -> AsyncIterator[Call]:
    """httpx, with authlib for the token."""
    from authlib.integrations.httpx_client import AsyncOAuth2Client  # type: ignore[import-untyped]  # noqa: PLC0415

    token = {"access_token": TOKEN, "token_type": "Bearer", "expires_at": time.time() + 86400}
    async with AsyncOAuth2Client("client", token=token, trust_env=False) as client:

        async def create(number: int) -> Key:
            response = await client.post(f"{base_url}/fast-api-key", json=make_request(number).to_body())
            return read_key(response.status_code, response.json())

        yield create


@contextlib.asynccontextmanager
async def with_azure(base_url: str) -> AsyncIterator[Call]:
    """azure-core's pipeline on aiohttp: headers, token, retries, decoding."""
    from azure.core import AsyncPipelineClient  # noqa: PLC0415
    from azure.core.credentials import AccessToken  # noqa: PLC0415
    from azure.core.pipeline.policies import (  # noqa: PLC0415
        AsyncBearerTokenCredentialPolicy,
        AsyncRetryPolicy,
        ContentDecodePolicy,
        HeadersPolicy,
        UserAgentPolicy,
    )
    from azure.core.rest import HttpRequest  # noqa: PLC0415

    class Credential:
        async def get_token(self, *_: str, **__: Any) -> AccessToken:
            return AccessToken(TOKEN, int(time.time()) + 86400)

        async def close(self) -> None:
            """Do nothing."""

    credential: Any = Credential()
    policies: list[Any] = [
        HeadersPolicy(),
        UserAgentPolicy("benchmark"),
        AsyncRetryPolicy(),
        AsyncBearerTokenCredentialPolicy(credential, "scope"),
        ContentDecodePolicy(),
    ]
    async with AsyncPipelineClient[Any, Any](base_url, policies=policies) as client:

        async def create(number: int) -> Key:
            request = HttpRequest("POST", f"{base_url}/fast-api-key", json=make_request(number).to_body())
            response = await client.send_request(request, enforce_https=False)
            return read_key(response.status_code, response.json())

        yield create


@contextlib.asynccontextmanager
async def kraken_fastkey(base_url: str) -> AsyncIterator[Call]:
    """This library, with its defaults."""
    from kraken_fastkey import (  # noqa: PLC0415
        CreateKeyRequest,
        FastKeyClient,
        Permissions,
        StaticTokenProvider,
    )

    permissions = Permissions(funds_query=True, trades_query_open=True)
    async with FastKeyClient(StaticTokenProvider(TOKEN), base_url=base_url) as client:

        async def create(number: int) -> object:
            request = CreateKeyRequest(
                f"bot-{number}", permissions=permissions, ip_allowlist=ALLOWLIST, valid_until=LIFE
            )
            return await client.create_key(request)

        yield create


@contextlib.asynccontextmanager
async def kraken_fastkey_large_reads(base_url: str) -> AsyncIterator[Call]:
    """This library, with the buffers that asyncio makes for a read by default."""
    from unittest.mock import patch  # noqa: PLC0415

    from kraken_fastkey import _transport  # noqa: PLC0415

    # No user has it to set. The patch fails where there is no such number.
    with patch.object(_transport, "_PIECE", 256 * 1024):
        async with kraken_fastkey(base_url) as create:
            yield create


@contextlib.asynccontextmanager
async def kraken_fastkey_refreshing(base_url: str) -> AsyncIterator[Call]:
    """This library, with a grant that it keeps fresh."""
    from kraken_fastkey import (  # noqa: PLC0415
        CreateKeyRequest,
        FastKeyClient,
        Grant,
        OAuthClient,
        Permissions,
        RefreshingTokenProvider,
    )
    from kraken_fastkey.stores import MemoryGrantStore  # noqa: PLC0415

    permissions = Permissions(funds_query=True, trades_query_open=True)
    store = MemoryGrantStore()
    app = OAuthClient("client", redirect_uri="http://127.0.0.1/callback", token_url=f"{base_url}/token")
    scopes = permissions.scopes() | {"account.fast-api-key:write"}
    await store.save(Grant(TOKEN, TOKEN, datetime.now(UTC) + timedelta(hours=4), scopes))
    async with RefreshingTokenProvider(app, store) as provider, FastKeyClient(provider, base_url=base_url) as client:

        async def create(number: int) -> object:
            request = CreateKeyRequest(
                f"bot-{number}", permissions=permissions, ip_allowlist=ALLOWLIST, valid_until=LIFE
            )
            return await client.create_key(request)

        yield create


SUBJECTS: Final[dict[str, Callable[[str], contextlib.AbstractAsyncContextManager[Call]]]] = {
    "bare aiohttp + json": bare,
    "kraken-fastkey": kraken_fastkey,
    "kraken-fastkey + orjson": kraken_fastkey,
    "kraken-fastkey, refreshing provider": kraken_fastkey_refreshing,
    "kraken-fastkey, reads of 256 KiB": kraken_fastkey_large_reads,
    "aiohttp-retry": retrying,
    "ccxt": with_ccxt,
    "python-kraken-sdk": with_kraken_sdk,
    "tenacity": with_tenacity,
    "stamina": with_stamina,
    "azure-core": with_azure,
    "httpx + authlib": with_httpx,
}
"""What is measured. The first is what all are compared to; orjson is there for the one that names it alone."""
