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
    }
)

OPERATIONS: Final = frozenset(ROUTES.values())


def operation_of(method: str, path: str) -> str | None:
    """Return the operation's name, or ``None`` if the sandbox has no such operation."""
    return ROUTES.get((method, path.removeprefix(BASE_PATH))) if path.startswith(BASE_PATH) else None
