"""The sandbox's own description of its OAuth side, as parts of an OpenAPI 3.1 document."""

from typing import Final

from kraken_fastkey.sandbox._forms import FORM
from kraken_fastkey.sandbox._grants import CONFIDENTIAL_ACCESS_TOKEN_LIFE
from kraken_fastkey.sandbox._openapi_parts import Schema, closed_object, json_content, ref
from kraken_fastkey.sandbox._routes import LANGUAGES

_TEXT: Final[Schema] = {"type": "string", "minLength": 1}


def _answer(description: str, content: Schema, *headers: str) -> Schema:
    """Describe an answer; these headers are always there."""
    described = {name: {"required": True, "schema": {"type": "string"}} for name in headers}
    return {"description": description, "headers": described, "content": content}


def _form(properties: Schema, *required: str) -> Schema:
    """Return the schema of a form; further parameters do no harm."""
    return {"type": "object", "properties": properties, "required": list(required)}


def _parameter(name: str, description: str, schema: Schema, **further: bool) -> Schema:
    return {"in": "query", "name": name, "description": description, "schema": schema, **further}


_PARAMETERS: Final = [
    _parameter("client_id", "The app", _TEXT, required=True),
    _parameter("redirect_uri", "Where it awaits the user: one that is registered", _TEXT, required=True),
    _parameter("response_type", "What it asks for", {"type": "string", "const": "code"}),
    _parameter("scope", "Scopes between spaces; none: all that are registered", {"type": "string"}),
    _parameter("state", "Whatever the app wants to hear again", {"type": "string"}),
    _parameter("preferTheme", "How the page looks", {"type": "string", "enum": ["dark", "light"]}),
    _parameter("code_challenge", "The SHA-256 of the code verifier, in base64url", {"type": "string"}),
    _parameter("code_challenge_method", "Required beside a challenge", {"type": "string", "const": "S256"}),
]

_HTML: Final[Schema] = {"text/html": {"schema": {"type": "string"}}}
_SENT_ON: Final[Schema] = {
    "description": "The user goes to the redirect URI, with a code or an error",
    "headers": {"Location": {"required": True, "schema": {"type": "string"}}},
}
_ERROR_PAGE: Final = _answer("A page that says what is wrong", _HTML, "Content-Security-Policy")


_NO_LANGUAGE: Final[Schema] = {"404": _answer("There is no such language", json_content(ref("Errors")))}


def _authorize(suffix: str, further: Schema) -> Schema:
    """Describe the consent page and what its buttons send.

    Args:
        suffix: What stands behind the operations' names.
        further: Further answers, by status.
    """
    return {
        "get": {
            "operationId": f"authorize{suffix}",
            "summary": "Ask the user",
            "security": [],
            "parameters": _PARAMETERS,
            "responses": {
                "200": _answer("The page that asks", _HTML, "Content-Security-Policy"),
                "302": _SENT_ON,
                "400": _ERROR_PAGE,
                **further,
            },
        },
        "post": {
            "operationId": f"decide{suffix}",
            "summary": "Take the user's decision",
            "security": [],
            "requestBody": {"required": True, "content": {FORM: {"schema": ref("Decision")}}},
            "responses": {"302": _SENT_ON, "400": _ERROR_PAGE, **further},
        },
    }


OAUTH_PATHS: Final[Schema] = {
    "/token": {
        "post": {
            "operationId": "token",
            "summary": "Give tokens for a code or for a refresh token",
            "security": [{"clientCredentials": []}],
            "requestBody": {"required": True, "content": {FORM: {"schema": ref("TokenRequest")}}},
            "responses": {
                "200": _answer(
                    "The tokens; in which form is a setting of the sandbox",
                    {**json_content(ref("TokenPair")), FORM: {"schema": ref("TokenPair")}},
                    "Cache-Control",
                    "Pragma",
                ),
                "400": _answer("What is wrong", json_content(ref("TokenRefusal")), "Cache-Control", "Pragma"),
                "401": _answer(
                    "No client has these credentials",
                    json_content(ref("TokenRefusal")),
                    "Cache-Control",
                    "Pragma",
                    "WWW-Authenticate",
                ),
            },
        }
    },
    "/authorize": _authorize("", {}),
    "/{language}/oauth/authorize": {
        "servers": [{"url": "/"}],
        "parameters": [
            {"in": "path", "name": "language", "required": True, "schema": {"type": "string", "enum": [*LANGUAGES]}}
        ],
        **_authorize("_in_language", _NO_LANGUAGE),
    },
}

OAUTH_SCHEMAS: Final[Schema] = {
    "TokenRequest": {
        "oneOf": [
            _form(
                {
                    "grant_type": {"type": "string", "const": "authorization_code"},
                    "code": _TEXT,
                    "redirect_uri": {**_TEXT, "description": "The one that the code was asked for with"},
                    "code_verifier": {"type": "string", "pattern": r"^[A-Za-z0-9\-._~]{43,128}$"},
                },
                "grant_type",
                "code",
                "redirect_uri",
            ),
            _form(
                {"grant_type": {"type": "string", "const": "refresh_token"}, "refresh_token": _TEXT},
                "grant_type",
                "refresh_token",
            ),
        ]
    },
    "TokenPair": closed_object(
        {
            "access_token": _TEXT,
            "token_type": {"type": "string", "const": "bearer"},
            "expires_in": {"type": "integer", "minimum": 0, "maximum": CONFIDENTIAL_ACCESS_TOKEN_LIFE},
            "refresh_token": _TEXT,
            "scope": {"type": "string", "description": "What the access token allows"},
        }
    ),
    "TokenRefusal": closed_object(
        {
            "error": {
                "type": "string",
                "enum": ["invalid_client", "invalid_grant", "invalid_request", "unsupported_grant_type"],
            },
            # RFC 6749 section 5.2.
            "error_description": {"type": "string", "pattern": r"^[\x20-\x21\x23-\x5b\x5d-\x7e]+$"},
        }
    ),
    "Decision": _form(
        {
            "csrf_token": {**_TEXT, "description": "The page's own, good for one decision"},
            "decision": {"type": "string", "enum": ["allow", "deny"]},
        },
        "csrf_token",
        "decision",
    ),
}
