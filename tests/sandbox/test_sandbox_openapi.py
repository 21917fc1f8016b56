"""The sandbox's own description: sound, complete, and held to by what is answered to anything at all."""

import asyncio
import base64
import json
import threading
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

import attrs
import pytest
import schemathesis
from hypothesis import HealthCheck, settings
from sandbox_kit import START, Clock, Kit, jsonschema, running
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from kraken_fastkey.sandbox import KrakenSandbox
from kraken_fastkey.sandbox._openapi import describe_api
from kraken_fastkey.sandbox._routes import ROUTES
from kraken_fastkey.sandbox._validation import KeyFields

REDIRECT_URI = "http://127.0.0.1:1/callback"


@pytest.fixture(name="kit")
async def _kit() -> AsyncIterator[Kit]:
    """Run a sandbox with a client."""
    async with running() as kit:
        yield kit


async def test_description_is_served(kit: Kit) -> None:
    """The description is at ``/openapi.json`` to anyone, and logged as no operation."""
    async with kit.session.get(kit.sandbox.base_url.removesuffix("/oauth") + "/openapi.json") as response:
        assert response.content_type == "application/json"
        assert await response.json() == describe_api()
    assert kit.sandbox.requests[0].operation is None
    async with kit.session.post(kit.sandbox.base_url.removesuffix("/oauth") + "/openapi.json") as response:
        assert response.status == 404


def test_description_is_complete() -> None:
    """It has every route, and its schemas are schemas."""
    document = describe_api()
    elsewhere = document["paths"].pop("/{language}/oauth/authorize")
    described = {(method.upper(), path) for path, methods in document["paths"].items() for method in methods}
    assert described == set(ROUTES)
    assert set(elsewhere) == {"servers", "parameters", *document["paths"]["/authorize"]}
    for schema in document["components"]["schemas"].values():
        jsonschema.Draft202012Validator.check_schema(schema)


@attrs.frozen
class Running:
    """A sandbox in a thread of its own, and how its calls turned out."""

    sandbox: KrakenSandbox
    headers: dict[str, str]
    outcomes: Counter[tuple[str, str]] = attrs.field(factory=Counter)

    def prepare(self, method: str, body: object) -> None:
        """Empty the account, but for the key that an update or a deletion is about."""
        account = self.sandbox._account
        for key in account.listed():
            account.delete(KeyFields(api_key_name=key.api_key_name))
        name = body.get("api_key_name") if isinstance(body, dict) else None
        if method in {"put", "delete"} and isinstance(name, str):
            account.create(KeyFields(api_key_name=name), START)


@pytest.fixture(name="server", scope="module")
def _server() -> Iterator[Running]:
    """Run a sandbox for a client that blocks, and see to it that its calls have gone both ways."""
    sandbox = KrakenSandbox(seed=3, clock=Clock())
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    asyncio.run_coroutine_threadsafe(sandbox.start(), loop).result()
    token = sandbox.issue_token(expires_in=1e9)
    server = Running(sandbox, {"Authorization": f"Bearer {token}"})
    yield server
    asyncio.run_coroutine_threadsafe(sandbox.aclose(), loop).result()
    loop.call_soon_threadsafe(loop.stop)
    thread.join()
    loop.close()
    for operation, statuses in (("token", (200, 400)), ("authorize", (200, 302, 400))):
        for status in statuses:
            assert server.outcomes[operation, str(status)] > 0
    for method in ("get", "post", "put", "delete"):
        assert server.outcomes[method, "result"] > 0
        assert server.outcomes[method, "error"] > 0


schema = schemathesis.openapi.from_dict(describe_api()).exclude(path_regex="/token|/authorize")

CHECKS: list[Any] = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
]


def fields_of(method: str, path: str, body: bytes) -> dict[str, Any] | None:
    """Return the fields of a body that fits its schema in the sandbox's own description, else ``None``."""
    document = describe_api()
    try:
        fields: dict[str, Any] = json.loads(body)
    except ValueError:
        return None
    described = document["paths"][path][method]["requestBody"]["content"]["application/json"]["schema"]
    validator = jsonschema.Draft202012Validator
    whole = {**described, "components": document["components"]}
    good = validator(whole, format_checker=validator.FORMAT_CHECKER).is_valid(fields)
    return fields if good else None


def goes_beyond_the_schema(fields: dict[str, Any]) -> bool:
    """Tell whether rules apply that no schema can say: networks without host bits, times that are in order."""
    start, end, until = (fields.get(name) or 0 for name in ("query_from", "query_to", "valid_until"))
    networks = any("/" in entry for entry in fields.get("ip_allowlist") or [])
    return networks or (start > end > 0) or 0 < until <= START


@schema.parametrize()
@settings(derandomize=True, max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
def test_schemathesis(case: Any, server: Running) -> None:
    """Whatever is sent, the answer is described; a bad body gets a list of errors, a good one what it asks for."""
    path, method = case.operation.path, case.operation.method
    server.prepare(method, case.body)
    response = case.call(base_url=server.sandbox.base_url, headers=server.headers)
    case.validate_response(response, checks=CHECKS)
    outcome = next(iter(response.json()))
    server.outcomes[method, outcome] += 1
    request: Any = response.request
    if method == "get" or request.method != method.upper() or response.status_code != 200:
        assert outcome == ("result" if response.status_code == 200 else "error")
        return
    sent = request.body or b""
    fields = fields_of(method, path, sent.encode() if isinstance(sent, str) else sent)
    if fields is None or request.headers.get("Content-Type") != "application/json":
        assert outcome == "error"
    elif not goes_beyond_the_schema(fields):
        assert outcome == "result"


def credentials(server: Running) -> dict[str, str]:
    """Return the default client's credentials."""
    return {"Authorization": "Basic " + base64.b64encode(f"{server.sandbox.client_id}:".encode()).decode()}


def new_code(server: Running) -> str:
    """Return a code for `REDIRECT_URI`."""
    query = urlencode({"client_id": server.sandbox.client_id, "redirect_uri": REDIRECT_URI})
    callback = server.sandbox.approve(f"{server.sandbox.authorize_url}?{query}")
    return parse_qs(urlsplit(callback).query)["code"][0]


oauth_schema = schemathesis.openapi.from_dict(describe_api())


@oauth_schema.include(path="/token").parametrize()
@settings(derandomize=True, max_examples=100, deadline=None, suppress_health_check=list(HealthCheck))
def test_schemathesis_token(case: Any, server: Running) -> None:
    """Whatever form is sent, the answer is described; a good code among it gets tokens, an unknown one does not."""
    for given in (False, True):
        if given and isinstance(case.body, dict):
            case.body = {
                "grant_type": "authorization_code",
                "code": new_code(server),
                "redirect_uri": REDIRECT_URI,
            }
        response = case.call(base_url=server.sandbox.base_url, headers=credentials(server))
        case.validate_response(response, checks=CHECKS)
        assert ("access_token" in response.json()) == (response.status_code == 200)
        server.outcomes["token", str(response.status_code)] += 1


@oauth_schema.include(path_regex="/authorize").parametrize()
@settings(derandomize=True, max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
def test_schemathesis_authorize(case: Any, server: Running) -> None:
    """Whatever is asked, the answer is described, and leads nowhere but to a URI that is registered."""
    base_url = server.sandbox.base_url
    if "{language}" in case.operation.path:
        base_url = base_url.removesuffix("/oauth")
    for given in (False, True):
        if given and case.operation.method == "get" and isinstance(case.query, dict):
            case.query = {**case.query, "client_id": server.sandbox.client_id, "redirect_uri": REDIRECT_URI}
        response = case.call(base_url=base_url, allow_redirects=False)
        case.validate_response(response, checks=CHECKS)
        assert response.headers.get("Location", REDIRECT_URI).startswith(REDIRECT_URI)
        server.outcomes["authorize", str(response.status_code)] += 1
