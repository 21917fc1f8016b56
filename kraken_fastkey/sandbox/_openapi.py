"""The sandbox's own description: OpenAPI 3.1, stricter than Kraken's official one where the sandbox is."""

from typing import Final

from kraken_fastkey.sandbox._openapi_oauth import OAUTH_PATHS, OAUTH_SCHEMAS
from kraken_fastkey.sandbox._openapi_parts import Schema, closed_object, json_content, ref
from kraken_fastkey.sandbox._routes import BASE_PATH
from kraken_fastkey.sandbox._scopes import PERMISSIONS, READ, USER_INFO, WRITE
from kraken_fastkey.sandbox._validation import LARGEST_NONCE, LARGEST_TIME, NAME_LENGTH


def describe_api() -> Schema:
    """Return the description of the sandbox's operations, as an OpenAPI 3.1 document."""
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Kraken Fast API key sandbox",
            "version": "1",
            "description": "An imitation of Kraken Connect's Fast API key calls, for tests. The trading API, which "
            "the sandbox serves at /0/ of the same origin, is not described here.",
        },
        "servers": [{"url": BASE_PATH}],
        "paths": {
            "/fast-api-key": {
                "post": _call("create_key", WRITE, "Make a key", "CreatedKey", "CreateKey"),
                "put": _call("update_key", WRITE, "Change or rename a key", "Done", "UpdateKey"),
                "delete": _call("delete_key", WRITE, "Remove a key", "Done", "DeleteKey"),
                "get": _call("list_keys_singular", READ, "Tell of every key, by the older path", "KeyList"),
            },
            "/fast-api-keys": {"get": _call("list_keys", READ, "Tell of every key", "KeyList")},
            "/userinfo": {"get": _call("get_user_info", USER_INFO, "Tell whose account it is", "UserInfo")},
            **OAUTH_PATHS,
        },
        "components": {
            "securitySchemes": {
                "accessToken": {"type": "http", "scheme": "bearer"},
                "clientCredentials": {"type": "http", "scheme": "basic"},
            },
            "schemas": {**_SCHEMAS, **OAUTH_SCHEMAS},
            "responses": _RESPONSES,
        },
    }


def _call(operation: str, scope: str, summary: str, answer: str, body: str | None = None) -> Schema:
    found: Schema = {
        "operationId": operation,
        "summary": summary,
        "security": [{"accessToken": [scope]}],
        "responses": {
            "200": {
                "description": "The result; or, with the same status, what is wrong with the call",
                "content": json_content({"oneOf": [ref(answer), ref("Errors")]}),
            },
            "401": ref("Unauthorized", "responses"),
            "403": ref("InsufficientScope", "responses"),
        },
    }
    if body is not None:
        found["requestBody"] = {"required": True, "content": json_content(ref(body))}
    return found


def _nullable(schema: Schema) -> Schema:
    return {**schema, "type": [schema["type"], "null"]}


_NAME: Final[Schema] = {"type": "string", "minLength": 1, "maxLength": NAME_LENGTH}
_TIME: Final[Schema] = {"type": "number", "minimum": 0, "maximum": LARGEST_TIME}
_NONCES: Final[Schema] = {"type": "number", "minimum": 0, "maximum": LARGEST_NONCE}
_TEXTS: Final[Schema] = {"type": "array", "items": {"type": "string"}}
_DIGITS: Final[Schema] = {"type": "string", "pattern": "^[0-9]+$"}

_SENT_FIELDS: Final[Schema] = {
    "ip_allowlist": _nullable(
        {
            "type": "array",
            "items": {
                "type": "string",
                "anyOf": [{"format": "ipv4"}, {"format": "ipv6"}, {"pattern": "^[0-9A-Fa-f:.]+/[0-9]{1,3}$"}],
            },
            "description": "IP addresses and CIDR networks; the bits after the prefix must be zero",
        }
    ),
    "nonce_window": _nullable({**_NONCES, "description": "How far below the highest nonce one may come"}),
    "permissions": _nullable(
        {
            "type": "object",
            "properties": {name: {"type": ["boolean", "null"]} for name in PERMISSIONS},
            "additionalProperties": False,
            "description": "Each flag that is true needs its scope, or permission is denied",
        }
    ),
    "query_from": _nullable({**_TIME, "description": "Unix seconds of the earliest data; 0: no limit"}),
    "query_to": _nullable(
        {**_TIME, "description": "Unix seconds of the latest data, not before query_from; 0: no limit"}
    ),
    "valid_until": _nullable({**_TIME, "description": "Unix seconds of the key's expiry, in the future; 0: never"}),
}

_LISTED_FIELDS: Final[Schema] = {
    "api_key_name": _NAME,
    "created_time": _DIGITS,
    "id": {"type": "string", "pattern": "^[A-Za-z0-9_,]+-{0,2}$"},
    "ip_allowlist": _TEXTS,
    "last_used": _TIME,
    "modified_time": _DIGITS,
    "nonce": _NONCES,
    "nonce_window": _NONCES,
    "oauth_client": {"type": "string"},
    "permissions": closed_object({name: {"type": "boolean"} for name in PERMISSIONS}, frozenset(PERMISSIONS)),
    "purpose": {"type": "string", "const": "standard"},
    "query_from": _TIME,
    "query_to": _TIME,
    "valid_until": _TIME,
}

_SCHEMAS: Final[Schema] = {
    "CreateKey": closed_object({"api_key_name": _NAME, **_SENT_FIELDS}, frozenset(_SENT_FIELDS)),
    "UpdateKey": closed_object(
        {"api_key_name": _NAME, "new_api_key_name": _nullable(_NAME), **_SENT_FIELDS},
        frozenset({"new_api_key_name", *_SENT_FIELDS}),
    ),
    "DeleteKey": closed_object({"api_key_name": _NAME}),
    "CreatedKey": closed_object(
        {
            "result": closed_object(
                {
                    "secret": {"type": "string", "pattern": "^[A-Za-z0-9+/]{86}==$"},
                    "api_key": {"type": "string", "pattern": "^[A-Za-z0-9+/]{56}$"},
                    **_LISTED_FIELDS,
                }
            )
        }
    ),
    "KeyList": closed_object({"result": {"type": "array", "items": closed_object(_LISTED_FIELDS)}}),
    "Done": closed_object({"result": {"type": "boolean", "const": True}}),
    "UserInfo": closed_object({"result": closed_object({"email": {"type": "string"}, "iban": {"type": "string"}})}),
    "Errors": closed_object(
        {
            "error": {
                "description": "EGeneral:Invalid arguments, alone if the body is no JSON object of the right "
                "media type, else once for each faulty field, with the field after a colon; "
                "EGeneral:Permission denied if a permission lacks its scope; EAccount:Too many API keys",
                "type": "array",
                "minItems": 1,
                # Whatever follows the last colon may be a field's name as the caller spelt it.
                "items": {"type": "string", "pattern": "^E[A-Z][A-Za-z]*:[A-Z][A-Za-z ]*(:|$)"},
            }
        }
    ),
    "TokenError": closed_object(
        {
            "error": {"type": "string", "enum": ["invalid_token", "insufficient_scope"]},
            "error_description": {"type": "string"},
            "scope": {"type": "string", "description": "The scope that is missing"},
        },
        frozenset({"scope"}),
    ),
}


def _challenge(description: str) -> Schema:
    """Describe the answer to a token that does not suffice."""
    header = {"WWW-Authenticate": {"required": True, "schema": {"type": "string", "pattern": "^Bearer error="}}}
    return {"description": description, "headers": header, "content": json_content(ref("TokenError"))}


_RESPONSES: Final[Schema] = {
    "Unauthorized": _challenge("The access token is missing, malformed, unknown, expired or revoked"),
    "InsufficientScope": _challenge("The access token lacks the operation's scope"),
}
