"""The API reference's own call, run by a real `curl`, beside the client given the same input."""

from __future__ import annotations

import asyncio
import json
import shutil
from typing import Any

import pytest
from support import missing

from kraken_fastkey import FastKeyClient, StaticTokenProvider
from kraken_fastkey.cli._curl import EXAMPLE_REQUEST, curl_arguments, example_body
from kraken_fastkey.sandbox import KrakenSandbox

# The fields of the reference's example answer, and the JSON types that they have there.
DOCUMENTED: dict[str, type | tuple[type, ...]] = {
    "secret": str,
    "api_key": str,
    "api_key_name": str,
    "created_time": str,
    "id": str,
    "ip_allowlist": list,
    "last_used": (int, float),
    "modified_time": str,
    "nonce": (int, float),
    "nonce_window": (int, float),
    "oauth_client": str,
    "permissions": dict,
    "purpose": str,
    "query_from": (int, float),
    "query_to": (int, float),
    "valid_until": (int, float),
}


async def _curl(sandbox: KrakenSandbox, token: str) -> dict[str, Any]:
    if shutil.which("curl") is None:
        missing("curl")
    process = await asyncio.create_subprocess_exec(
        *curl_arguments(sandbox.base_url, token), "--silent", stdout=asyncio.subprocess.PIPE
    )
    answer, _ = await process.communicate()
    parsed: dict[str, Any] = json.loads(answer)
    return parsed


async def test_the_reference_s_curl_gets_the_documented_answer(sandbox: KrakenSandbox) -> None:
    """Field for field, and type for type."""
    answer = await _curl(sandbox, sandbox.issue_token())
    assert {"result"} == set(answer)
    assert set(DOCUMENTED) == set(answer["result"])
    for field, kind in DOCUMENTED.items():
        assert isinstance(answer["result"][field], kind), field
        assert not isinstance(answer["result"][field], bool), field
    for field, sent in example_body().items():
        assert sent == answer["result"][field]


async def test_the_client_sends_what_curl_sends(sandbox: KrakenSandbox) -> None:
    """The same input gives the same method, path, JSON and media type, and a key that says the same."""
    by_curl = await _curl(sandbox, sandbox.issue_token())
    async with FastKeyClient(StaticTokenProvider(sandbox.issue_token()), base_url=sandbox.base_url) as client:
        await client.delete_key("grid-bot")
        key = await client.create_key(EXAMPLE_REQUEST)
    first, _, second = sandbox.requests
    assert example_body() == first.json == second.json
    assert (first.method, first.path) == (second.method, second.path)
    assert first.headers["Content-Type"] == second.headers["Content-Type"]
    assert by_curl["result"]["api_key_name"] == key.api_key_name
    assert by_curl["result"]["permissions"] == (key.permissions and key.permissions.flags())
    assert by_curl["result"]["valid_until"] == (key.valid_until and key.valid_until.timestamp())


async def test_a_refused_curl_shows_kraken_s_error(sandbox: KrakenSandbox) -> None:
    """The same call twice is refused the second time: names are unique."""
    token = sandbox.issue_token()
    await _curl(sandbox, token)
    assert {"error"} == set(await _curl(sandbox, token))


@pytest.mark.parametrize("field", sorted(example_body()))
def test_the_example_fills_in_every_placeholder(field: str) -> None:
    """No placeholder of the reference, such as <string> or 123, is left in what is run."""
    assert example_body()[field] not in ("<string>", ["<string>"], 123, None)
