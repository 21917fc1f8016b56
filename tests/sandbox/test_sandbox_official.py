"""The sandbox against Kraken's official description, where that file is at hand."""

import importlib
import pathlib
from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import parse_qsl

import pytest
from oauth_kit import FORM, asking, parameters_of
from sandbox_kit import START, Kit, jsonschema, running

from kraken_fastkey.sandbox._openapi import describe_api
from kraken_fastkey.sandbox._routes import LANGUAGES
from kraken_fastkey.sandbox._scopes import EVERY_SCOPE, PERMISSIONS, scope_of

OFFICIAL = pathlib.Path(__file__).parents[2].parent / "shared" / "spec" / "kraken-connect-openapi.yaml"

# Each of these is used by Kraken's own wallet or asked for by the description itself, and is not declared in it.
UNDECLARED_SCOPES = {
    "account.fast-api-key:read",
    "account.fast-api-key:multiple",
    "account.fast-api-key:withdrawal-address-add",
    "account.fast-api-key:withdrawal-address-update",
}


@pytest.fixture(name="official", scope="module")
def _official() -> Any:
    """Return the official description."""
    if not OFFICIAL.exists():
        pytest.skip("Kraken's official description is not at hand: it is no part of the project")
    return importlib.import_module("yaml").safe_load(OFFICIAL.read_text())


@pytest.fixture(name="kit")
async def _kit() -> AsyncIterator[Kit]:
    """Run a sandbox with a client."""
    async with running() as kit:
        yield kit


def fields_of(official: Any, schema: Any) -> set[str]:
    """Return the names of all fields that a schema knows."""
    if "$ref" in schema:
        schema = official["components"]["schemas"][schema["$ref"].rpartition("/")[2]]
    inherited = [fields_of(official, part) for part in schema.get("allOf", [])]
    return set(schema.get("properties", {})).union(*inherited)


def check(official: Any, method: str, path: str, document: Any) -> None:
    """Assert that an answer fits its official schema, and that nothing in it is unknown there."""
    described = official["paths"][path][method.lower()]["responses"]["200"]
    schema = described["content"]["application/json"]["schema"]
    # Nothing in the answers is nullable, so that OpenAPI 3.0's schemas are JSON Schema's.
    jsonschema.Draft202012Validator({**schema, "components": official["components"]}).validate(document)
    result = document["result"]
    known = schema["properties"]["result"]
    for item, item_schema in [(i, known["items"]) for i in result] if isinstance(result, list) else [(result, known)]:
        if isinstance(item, dict):
            assert set(item) <= fields_of(official, item_schema)


FULL: dict[str, Any] = {
    "ip_allowlist": ["203.0.113.0/24", "2001:db8::/32"],
    "nonce_window": 10,
    "permissions": dict.fromkeys(PERMISSIONS, True),
    "query_from": 5,
    "query_to": 6.5,
    "valid_until": START + 1,
}


async def test_answers_fit(official: Any, kit: Kit) -> None:
    """Every successful answer fits the official schema, has no other fields, and lacks none."""
    created = (await kit.create("bot", **FULL)).json
    check(official, "POST", "/fast-api-key", created)
    info = fields_of(official, {"$ref": "#/components/schemas/APIKeyInfo"})
    assert set(created["result"]) == {"secret", *info}
    for path in ("/fast-api-key", "/fast-api-keys"):
        listed = (await kit.call("GET", path)).json
        check(official, "GET", "/fast-api-key", listed)
        assert set(listed["result"][0]) == info - {"api_key"}
    check(official, "PUT", "/fast-api-key", (await kit.update("bot", new_api_key_name="b", **FULL)).json)
    check(official, "DELETE", "/fast-api-key", (await kit.delete("b")).json)
    check(official, "GET", "/userinfo", (await kit.call("GET", "/userinfo")).json)


@pytest.mark.parametrize("method", ["post", "put", "delete"])
def test_bodies_have_the_same_fields(official: Any, method: str) -> None:
    """What may be sent is what the official description says, no field more or less."""
    theirs = official["paths"]["/fast-api-key"][method]["requestBody"]["content"]["application/json"]["schema"]
    ours = describe_api()["paths"]["/fast-api-key"][method]["requestBody"]["content"]["application/json"]["schema"]
    assert fields_of(describe_api(), ours) == fields_of(official, theirs)


def test_permissions_are_the_same(official: Any) -> None:
    """The official permissions are the sandbox's, but for the two that stand commented out."""
    theirs = official["components"]["schemas"]["APIKeyParameters"]["properties"]["permissions"]["properties"]
    assert set(PERMISSIONS) - set(theirs) == {"withdrawal_address_add", "withdrawal_address_update"}
    assert set(theirs) <= set(PERMISSIONS)


async def test_token_answers_fit(official: Any) -> None:
    """A pair of tokens fits the official schema, in its own media type and as JSON, and lacks nothing of it."""
    content = official["paths"]["/token"]["post"]["responses"]["200"]["content"]
    schema = content[FORM]["schema"]
    validator = jsonschema.Draft202012Validator({**schema, "additionalProperties": {"type": "string"}})
    async with asking() as app:
        pair = await app.granted()
    async with asking(token_media_type=FORM) as app:
        answered = await app.exchange(app.code())
    assert answered.headers["Content-Type"] in content
    form: dict[str, Any] = dict(parse_qsl(answered.body.decode()))
    # A form knows no numbers.
    for found in (pair, {**form, "expires_in": int(form["expires_in"])}):
        validator.validate(found)
        assert {"scope", *schema["properties"]} == set(found)


def test_token_requests_have_the_same_fields(official: Any) -> None:
    """What a token request holds is what the official description says, and PKCE's verifier besides."""
    theirs = official["paths"]["/token"]["post"]["requestBody"]["content"][FORM]["schema"]["properties"]
    ours = describe_api()["components"]["schemas"]["TokenRequest"]["oneOf"]
    assert {name for form in ours for name in form["properties"]} == {"code_verifier", *theirs}
    assert {form["properties"]["grant_type"]["const"] for form in ours} == set(theirs["grant_type"]["enum"])


def test_authorize_requests_are_the_same(official: Any) -> None:
    """The authorize URLs, their languages and parameters are the official ones, and PKCE's besides."""
    shared = official["components"]["parameters"]
    for path, ours in (("/oauth/authorize", "/authorize"), ("/{language}/oauth/authorize",) * 2):
        theirs = [
            shared[parameter["$ref"].rpartition("/")[2]] if "$ref" in parameter else parameter
            for parameter in official["paths"][path]["get"]["parameters"]
        ]
        described = describe_api()["paths"][ours]
        parameters = described["get"]["parameters"]
        assert {p["name"] for p in theirs if p["in"] == "query"} | {"code_challenge", "code_challenge_method"} == {
            p["name"] for p in parameters
        }
        assert {p["name"] for p in theirs if p["required"] and p["in"] == "query"} == {
            p["name"] for p in parameters if p.get("required")
        }
        for parameter in theirs:
            if parameter["in"] == "path":
                (language,) = described["parameters"]
                assert set(parameter["schema"]["enum"]) == set(language["schema"]["enum"]) == set(LANGUAGES)


async def test_callbacks_fit(official: Any) -> None:
    """What a callback tells fits the official schemas; its errors are official ones."""
    content = official["components"]["responses"]["OAuthAuthorizeRedirect"]["content"][FORM]["schema"]
    success, error = content["oneOf"]
    async with asking() as app:
        approved = parameters_of(app.kit.sandbox.approve(app.url()))
        mistakes: list[dict[str, str]] = [{"scope": "x"}, {"response_type": "token"}, {"preferTheme": "x"}]
        failed = [parameters_of(app.kit.sandbox.approve(app.url(**mistake))) for mistake in mistakes]
        failed.append(parameters_of(app.kit.sandbox.deny(app.url())))
    jsonschema.Draft202012Validator(success).validate(approved)
    assert {"iss", *success["properties"]} == approved.keys()
    for told in failed:
        jsonschema.Draft202012Validator(error).validate(told)
        assert {"iss", *error["properties"]} == told.keys() - {"error_description"}


def test_scopes_are_the_same(official: Any) -> None:
    """Every official scope is known, and each permission's scope is one."""
    theirs = set(official["components"]["securitySchemes"]["OAuth2"]["flows"]["authorizationCode"]["scopes"])
    assert theirs | UNDECLARED_SCOPES == EVERY_SCOPE
    assert {scope_of(permission) for permission in PERMISSIONS} <= EVERY_SCOPE


@pytest.mark.parametrize(
    ("path", "method"),
    [("/fast-api-key", method) for method in ("post", "put", "delete", "get")] + [("/userinfo", "get")],
)
async def test_required_scopes_are_the_same(official: Any, kit: Kit, path: str, method: str) -> None:
    """A token with the official scopes, and no others, may make the call; one with the rest may not."""
    (security,) = official["paths"][path][method]["security"]
    scopes = set(security["OAuth2"])
    enough, rest = kit.sandbox.issue_token(scopes=scopes), kit.sandbox.issue_token(scopes=EVERY_SCOPE - scopes)
    assert (await kit.call(method.upper(), path, token=enough)).status == 200
    assert (await kit.call(method.upper(), path, token=rest)).status == 403
