"""The client's requests, and what the sandbox answers to them, against Kraken's own OpenAPI description.

That file is no part of this project. Where it lies beside it, it is used; elsewhere these tests are skipped.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import hypothesis
import jsonschema
import pytest
import yaml
from strategies import NOW, create_requests, update_requests

from kraken_fastkey import (
    CreateKeyRequest,
    FastKeyClient,
    InvalidRequestError,
    Permissions,
    StaticTokenProvider,
    UpdateKeyRequest,
)
from kraken_fastkey._wire import WireRequest, create_key, delete_key, get_user_info, update_key
from kraken_fastkey.cli._curl import EXAMPLE_REQUEST
from kraken_fastkey.sandbox import KrakenSandbox

FILE = Path(__file__).parents[2] / "shared" / "spec" / "kraken-connect-openapi.yaml"

pytestmark = pytest.mark.skipif(
    not FILE.exists(), reason="Kraken's OpenAPI description does not lie beside the project"
)


def _resolve(node: Any, root: Any) -> Any:
    """Return a part of the description as plain JSON Schema: references followed, `nullable` spelled out."""
    if isinstance(node, list):
        return [_resolve(item, root) for item in node]
    if not isinstance(node, dict):
        return node
    if "$ref" in node:
        target = root
        for step in node["$ref"].removeprefix("#/").split("/"):
            target = target[step]
        return _resolve(target, root)
    resolved = {key: _resolve(value, root) for key, value in node.items() if key != "nullable"}
    if node.get("nullable"):
        resolved["type"] = [resolved["type"], "null"]
    return resolved


@pytest.fixture(name="description", scope="module")
def _description() -> Any:
    description = yaml.safe_load(FILE.read_text())
    return _resolve(description["paths"], description)


def _body_schema(description: Any, request: WireRequest) -> Any:
    operation = description[request.path][request.method.lower()]
    return _closed(operation["requestBody"]["content"]["application/json"]["schema"])


def _closed(schema: Any) -> Any:
    """Return a schema that allows only the fields that are described; for allOf, in all parts together."""
    parts = schema.get("allOf", [schema])
    properties = {name: value for part in parts for name, value in part.get("properties", {}).items()}
    return {"type": "object", "properties": properties, "additionalProperties": False}


def _check_body(description: Any, request: WireRequest) -> None:
    jsonschema.validate(json.loads(request.body), _body_schema(description, request))


@hypothesis.given(request=create_requests)
def test_create_bodies(description: Any, request: CreateKeyRequest) -> None:
    """Any valid create request gives a body that the description allows, and no field that it does not have."""
    _check_body(description, create_key(request, NOW).request)


@hypothesis.given(request=update_requests)
def test_update_bodies(description: Any, request: UpdateKeyRequest) -> None:
    """The same for updates."""
    _check_body(description, update_key(request, NOW).request)


def test_delete_body_and_the_call_without_one(description: Any) -> None:
    """A delete names the key in its body; the user info has none."""
    _check_body(description, delete_key("grid-bot").request)
    info = get_user_info().request
    assert "requestBody" not in description[info.path][info.method.lower()]
    assert b"" == info.body


@pytest.mark.parametrize("body", [{"api_key_name": ""}, {"api_key_name": "x", "nonce_window": -1}, {"valid_til": 5}])
def test_the_check_can_fail(description: Any, body: Any) -> None:
    """A body that the description does not allow is found."""
    with pytest.raises(jsonschema.ValidationError):
        _check_body(description, WireRequest("POST", "/fast-api-key", "application/json", json.dumps(body).encode()))


def test_each_documented_field_can_be_sent(description: Any) -> None:
    """No field of the description is missing from the requests, nor any permission."""
    schema = _body_schema(description, create_key(EXAMPLE_REQUEST, NOW).request)
    assert set(schema["properties"]) == set(json.loads(create_key(EXAMPLE_REQUEST, NOW).request.body))
    assert set(schema["properties"]["permissions"]["properties"]) == set(Permissions.NAMES)
    update = UpdateKeyRequest("grid-bot", new_api_key_name="x")
    assert "new_api_key_name" in _body_schema(description, update_key(update, NOW).request)["properties"]


async def test_answers(description: Any, sandbox: KrakenSandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the sandbox answers to the client's calls is what the description says."""
    answers: dict[str, Any] = {}
    async with FastKeyClient(StaticTokenProvider(sandbox.issue_token()), base_url=sandbox.base_url) as client:
        transport = client._shared.engine._transport
        send = transport.send

        async def noting(request: WireRequest, *args: Any) -> Any:
            answer = await send(request, *args)
            answers[f"{request.method} {request.path}"] = json.loads(answer.body)
            return answer

        monkeypatch.setattr(transport, "send", noting)
        await client.create_key(EXAMPLE_REQUEST)
        await client.list_keys()
        await client.update_key(UpdateKeyRequest("grid-bot", nonce_window=5))
        await client.delete_key("grid-bot")
        await client.get_user_info()
    # The description has the list at the older address.
    answers["GET /fast-api-key"] = answers.pop("GET /fast-api-keys")
    assert 5 == len(answers)
    for call, answer in answers.items():
        method, path = call.split()
        content = description[path][method.lower()]["responses"]["200"]["content"]
        jsonschema.validate(answer, content["application/json"]["schema"])


@pytest.mark.parametrize("length", [1, 32])
def test_names_of_every_length_that_the_description_allows(description: Any, length: int) -> None:
    """1 and 32 characters are the bounds on both sides."""
    schema = _body_schema(description, delete_key("x" * length).request)["properties"]["api_key_name"]
    assert schema["minLength"] <= length <= schema["maxLength"]
    beyond = 0 if length == 1 else 33
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate("x" * beyond, schema)
    with pytest.raises(InvalidRequestError):
        delete_key("x" * beyond)
