"""What the sandbox's tests share: a clock that is set by hand, a plain HTTP client, and a check of every answer."""

import importlib
import io
import json
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import attrs

from kraken_fastkey.sandbox import KrakenSandbox
from kraken_fastkey.sandbox._openapi import describe_api

# Has no type hints of its own.
jsonschema: Any = importlib.import_module("jsonschema")

START = 1_800_000_000.75

FIELDS = "EGeneral:Invalid arguments:"


@attrs.define
class Clock:
    """A clock that stands still until it is set."""

    now: float = START

    def __call__(self) -> float:
        """Return the time in Unix seconds."""
        return self.now


@attrs.frozen
class Answered:
    """An answer, read to its end."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        """The body as JSON."""
        return json.loads(self.body)

    @property
    def result(self) -> Any:
        """What a successful call returned."""
        assert self.json.keys() == {"result"}, self.json
        return self.json["result"]

    @property
    def errors(self) -> list[str]:
        """Kraken's error strings."""
        assert self.json.keys() == {"error"}, self.json
        errors: list[str] = self.json["error"]
        return errors


@attrs.define
class Kit:
    """A running sandbox and a client that holds a token for everything."""

    sandbox: KrakenSandbox
    clock: Clock
    session: aiohttp.ClientSession
    token: str

    async def call(
        self,
        method: str,
        path: str,
        *,
        token: str | None = None,
        authorization: Sequence[str] | None = None,
        body: bytes | None = None,
        media_type: str | None = "application/json",
    ) -> Answered:
        """Send a request, and hold its answer against the sandbox's own description."""
        answered = await self.exchange(
            method, path, token=token, authorization=authorization, body=body, media_type=media_type
        )
        check_own_description(method, path.partition("?")[0], answered)
        return answered

    async def exchange(
        self,
        method: str,
        path: str,
        *,
        token: str | None = None,
        authorization: Sequence[str] | None = None,
        body: bytes | None = None,
        media_type: str | None = "application/json",
    ) -> Answered:
        """Send a request, and take whatever is answered, without following it anywhere."""
        values = [f"Bearer {token or self.token}"] if authorization is None else authorization
        headers = [("Authorization", value) for value in values]
        if media_type is not None:
            headers.append(("Content-Type", media_type))
        skipped = ["Content-Type"] if media_type is None else []
        async with self.session.request(
            method,
            self.sandbox.base_url + path,
            headers=headers,
            data=None if body is None else io.BytesIO(body),
            skip_auto_headers=skipped,
            allow_redirects=False,
        ) as response:
            return Answered(response.status, response.headers, await response.read())

    async def try_create(self, name: str = "bot", **fields: Any) -> int | None:
        """Create a key where something may go wrong; return the answer's status, or `None` if there is none."""
        body = json.dumps({"api_key_name": name, **fields}).encode()
        try:
            return (await self.exchange("POST", "/fast-api-key", body=body)).status
        except (aiohttp.ClientConnectionError, aiohttp.ClientPayloadError):
            return None

    async def try_list(self) -> int | None:
        """List the keys likewise."""
        try:
            return (await self.exchange("GET", "/fast-api-keys")).status
        except (aiohttp.ClientConnectionError, aiohttp.ClientPayloadError):
            return None

    def names(self) -> list[str]:
        """Return the names of the keys that there are."""
        return [key.api_key_name for key in self.sandbox.keys()]

    async def shown(self) -> list[str]:
        """Return the names of the keys that the list shows."""
        return [key["api_key_name"] for key in await self.listed()]

    async def send(self, method: str, path: str, fields: object, *, token: str | None = None) -> Answered:
        """Send fields as JSON."""
        return await self.call(method, path, body=json.dumps(fields).encode(), token=token)

    async def create(self, name: str = "bot", *, token: str | None = None, **fields: Any) -> Answered:
        """Create a key."""
        return await self.send("POST", "/fast-api-key", {"api_key_name": name, **fields}, token=token)

    async def update(self, name: str = "bot", *, token: str | None = None, **fields: Any) -> Answered:
        """Update a key."""
        return await self.send("PUT", "/fast-api-key", {"api_key_name": name, **fields}, token=token)

    async def delete(self, name: str = "bot", **fields: Any) -> Answered:
        """Delete a key."""
        return await self.send("DELETE", "/fast-api-key", {"api_key_name": name, **fields})

    async def listed(self) -> Any:
        """List the keys by both paths, which must agree."""
        plural = await self.call("GET", "/fast-api-keys")
        singular = await self.call("GET", "/fast-api-key")
        assert plural.result == singular.result
        return plural.result


@asynccontextmanager
async def running(**settings: Any) -> AsyncIterator[Kit]:
    """Start a sandbox with a fixed seed and clock, and a client for it."""
    clock = Clock()
    async with (
        KrakenSandbox(**{"seed": 7, "clock": clock, **settings}) as sandbox,
        aiohttp.ClientSession() as session,
    ):
        yield Kit(sandbox, clock, session, sandbox.issue_token(expires_in=1e9))


def check_own_description(method: str, path: str, answered: Answered) -> None:
    """Assert that the sandbox describes the answer that it gave, where it describes the call."""
    document = describe_api()
    operation = document["paths"].get(path, {}).get(method.lower())
    if operation is None:
        assert (answered.status, answered.errors) == (404, ["EGeneral:Unknown method"])
        return
    described = operation["responses"][str(answered.status)]
    if "$ref" in described:
        described = document["components"]["responses"][described["$ref"].rpartition("/")[2]]
    for name in described.get("headers", {}):
        assert name in answered.headers
    if "content" not in described:
        assert answered.body == b""
        return
    media_type = answered.headers["Content-Type"].partition(";")[0]
    schema = described["content"][media_type]["schema"]
    if media_type == "application/json":
        jsonschema.Draft202012Validator({**schema, "components": document["components"]}).validate(answered.json)
