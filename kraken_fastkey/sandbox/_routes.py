"""Which request is which operation."""

from types import MappingProxyType
from typing import Final

BASE_PATH: Final = "/oauth"
OPENAPI_PATH: Final = "/openapi.json"

ROUTES: Final = MappingProxyType(
    {
        ("POST", "/fast-api-key"): "create_key",
        ("PUT", "/fast-api-key"): "update_key",
        ("DELETE", "/fast-api-key"): "delete_key",
        # Kraken's reference says the plural, its official description the singular: both are served.
        ("GET", "/fast-api-keys"): "list_keys",
        ("GET", "/fast-api-key"): "list_keys",
        ("GET", "/userinfo"): "get_user_info",
        ("POST", "/token"): "token",
        # The page, and the decision that its buttons send.
        ("GET", "/authorize"): "authorize",
        ("POST", "/authorize"): "authorize",
    }
)

# The trading API, where a key is used: at the same origin, with paths of its own.
TRADING_PATHS: Final = ("/0/public/", "/0/private/")

PUBLIC_TRADING_ROUTES: Final = MappingProxyType(
    {
        ("GET", "/0/public/Time"): "time",
        ("GET", "/0/public/Assets"): "assets",
        ("GET", "/0/public/AssetPairs"): "asset_pairs",
    }
)
PRIVATE_TRADING_ROUTES: Final = MappingProxyType(
    {
        ("POST", "/0/private/GetApiKeyInfo"): "get_api_key_info",
        ("POST", "/0/private/Balance"): "balance",
        ("POST", "/0/private/BalanceEx"): "balance_ex",
        ("POST", "/0/private/Ledgers"): "ledgers",
        ("POST", "/0/private/GetWebSocketsToken"): "get_websockets_token",
    }
)
TRADING_ROUTES: Final = MappingProxyType({**PUBLIC_TRADING_ROUTES, **PRIVATE_TRADING_ROUTES})

OPERATIONS: Final = frozenset([*ROUTES.values(), *TRADING_ROUTES.values()])


# What may stand in front of the path of "authorize", and of no other.
LANGUAGES: Final = (
    *("en-us", "de", "es-es", "fil-ph", "fr", "it-it", "nl", "pl", "pt-br"),
    *("ru-ru", "tr-tr", "uk-ua", "vi-vn", "zh-cn"),
)


def operation_of(method: str, path: str) -> str | None:
    """Return the operation's name, or ``None`` if the sandbox has no such operation."""
    if path.startswith(TRADING_PATHS):
        return TRADING_ROUTES.get((method, path))
    language = language_of(path)
    inner = path if language is None else path.removeprefix(f"/{language}")
    operation = ROUTES.get((method, inner.removeprefix(BASE_PATH))) if inner.startswith(BASE_PATH) else None
    return operation if language is None or operation == "authorize" else None


def language_of(path: str) -> str | None:
    """Return the language that a path begins with, or ``None`` if it begins with none."""
    first = path.split("/")[1] if path.startswith("/") else ""
    return first if first in LANGUAGES else None
