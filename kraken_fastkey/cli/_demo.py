"""`demo`: the main job against the sandbox, step by step, with what may go wrong on the way."""

from __future__ import annotations

import asyncio
import contextlib
import json
import shutil
import time
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Final

from kraken_fastkey import (
    CallbackTokenProvider,
    CreateKeyRequest,
    FastKeyClient,
    FastKeyError,
    Permissions,
    RetryPolicy,
    StaticTokenProvider,
    UpdateKeyRequest,
)
from kraken_fastkey.cli._curl import EXAMPLE_REQUEST, curl_arguments
from kraken_fastkey.sandbox import Answer, Disconnect, KrakenSandbox

_NAME: Final = EXAMPLE_REQUEST.api_key_name
_RETRY: Final = RetryPolicy(backoff=0.05)  # quicker than the default, for a demo is watched


class _DemoError(Exception):
    """A step did not do what it shows."""


def demo(*, as_json: bool = False) -> int:
    """Run the demo, and return 0 if each step did what it shows, or it was interrupted."""
    with contextlib.suppress(KeyboardInterrupt):
        return asyncio.run(_run_demo(_say_in_json if as_json else _say))
    return 0


async def _run_demo(say: Callable[[str, str], None]) -> int:
    started = time.monotonic()
    async with KrakenSandbox() as sandbox:
        say("sandbox", f"an embedded Kraken listens on {sandbox.base_url}")
        provider = StaticTokenProvider(sandbox.issue_token())
        async with FastKeyClient(provider, base_url=sandbox.base_url, retry=_RETRY) as client:
            for title, step in _STEPS.items():
                try:
                    say(title, await step(sandbox, client))
                except (_DemoError, FastKeyError) as error:
                    say(title, f"FAILED: {error}")
                    return 1
        say("done", f"{len(sandbox.keys())} keys left, {time.monotonic() - started:.2f} s")
        return 1 if sandbox.keys() else 0


def _say(title: str, text: str) -> None:
    print(f"{title:<14} {text}", flush=True)


def _say_in_json(title: str, text: str) -> None:
    print(json.dumps({"step": title, "text": text}), flush=True)


def _expect(condition: object, text: str) -> None:
    if not condition:
        raise _DemoError(text)


async def _curl(sandbox: KrakenSandbox, client: FastKeyClient) -> str:
    if shutil.which("curl") is None:
        return "skipped: curl is not installed"
    process = await asyncio.create_subprocess_exec(
        *curl_arguments(sandbox.base_url, sandbox.issue_token()),
        "--silent",
        "--max-time",
        "10",
        stdout=asyncio.subprocess.PIPE,
    )
    answer, _ = await process.communicate()
    result = json.loads(answer)["result"]
    _expect(result["api_key_name"] == _NAME and result["secret"], "curl got no key")
    await client.delete_key(_NAME)
    return f"the API reference's own call made the key {_NAME!r}, {len(result)} fields; deleted again"


async def _create(sandbox: KrakenSandbox, client: FastKeyClient) -> str:
    key = await client.create_key(EXAMPLE_REQUEST)
    _expect(key.secret.get_secret_value() == sandbox.keys()[0].secret, "the secret is not the sandbox's")
    bodies = [request.json for request in sandbox.requests if request.operation == "create_key"]
    same = f", the same JSON as curl sent: {'yes' if bodies[0] == bodies[-1] else 'NO'}" if len(bodies) > 1 else ""
    _expect(bodies[0] == bodies[-1], "the client sent other JSON than curl")
    return f"key {key.api_key_name!r}, api_key {key.api_key[:6]}…, secret {key.secret}{same}"


async def _list(_: KrakenSandbox, client: FastKeyClient) -> str:
    keys = await client.list_keys()
    _expect([key.api_key_name for key in keys] == [_NAME], "the list does not show the key")
    (key,) = keys
    permissions = len(key.permissions.granted) if key.permissions else 0
    return f"{_NAME!r} valid until {key.valid_until:%Y-%m-%d}, {permissions} permissions, from {key.ip_allowlist}"


async def _update(_: KrakenSandbox, client: FastKeyClient) -> str:
    await client.update_key(
        UpdateKeyRequest(_NAME, permissions=Permissions.read_only(), valid_until=timedelta(hours=6))
    )
    (key,) = await client.list_keys()
    granted = sorted(key.permissions.granted) if key.permissions else []
    _expect(granted == ["funds_query", "ledger_query", "trades_query_closed", "trades_query_open"], "not updated")
    return f"{_NAME!r} may now only read, and expires at {key.valid_until:%H:%M} UTC"


async def _rate_limit(sandbox: KrakenSandbox, client: FastKeyClient) -> str:
    limited = Answer(429, {"error": ["EAPI:Rate limit exceeded"]}, headers={"Retry-After": "0"})
    sandbox.faults.add(limited, operation="create_key", times=2)
    before = len(sandbox.requests)
    await client.create_key(CreateKeyRequest("patient-bot", permissions=Permissions(funds_query=True)))
    statuses = [request.status for request in sandbox.requests[before:]]
    _expect(statuses == [429, 429, 200], f"statuses {statuses}")
    return "create_key was answered 429 twice, waited, tried again: key 'patient-bot' in hand"


async def _expired_token(sandbox: KrakenSandbox, client: FastKeyClient) -> str:
    tokens = [sandbox.issue_token(expires_in=0), sandbox.issue_token()]
    account = client.for_account(CallbackTokenProvider(lambda: tokens.pop(0) if len(tokens) > 1 else tokens[0]))
    before = len(sandbox.requests)
    keys = await account.list_keys()
    statuses = [request.status for request in sandbox.requests[before:]]
    _expect(statuses == [401, 200], f"statuses {statuses}")
    return f"the token was refused (401), its provider asked for another, {len(keys)} keys listed"


async def _lost_answer(sandbox: KrakenSandbox, client: FastKeyClient) -> str:
    sandbox.faults.add(Disconnect(commit=True), operation="create_key")
    before = {key.api_key_name for key in sandbox.keys()}
    already = len(sandbox.requests)
    key = await client.create_key(CreateKeyRequest(permissions=Permissions(funds_query=True)))
    operations = [request.operation for request in sandbox.requests[already:]]
    _expect(operations == ["create_key", "delete_key", "create_key"], f"requests {operations}")
    live = {key.api_key_name: key.secret for key in sandbox.keys() if key.api_key_name not in before}
    _expect(live == {key.api_key_name: key.secret.get_secret_value()}, "not exactly the key in hand is live")
    return f"connection lost after a key was made: that one found and deleted, {key.api_key_name!r} in hand"


async def _delete(sandbox: KrakenSandbox, client: FastKeyClient) -> str:
    names = [key.api_key_name for key in await client.list_keys()]
    # The answer to the first deletion is lost; the second attempt finds nothing, which is success.
    sandbox.faults.add(Disconnect(commit=True), operation="delete_key")
    for name in names:
        await client.delete_key(name)
    _expect(not sandbox.keys(), "keys are left")
    return f"{', '.join(map(repr, names))} deleted, one of them through a lost answer"


_STEPS: Final[dict[str, Callable[[KrakenSandbox, FastKeyClient], Awaitable[str]]]] = {
    "curl": _curl,
    "create": _create,
    "list": _list,
    "update": _update,
    "rate limit": _rate_limit,
    "expired token": _expired_token,
    "lost answer": _lost_answer,
    "delete": _delete,
}
