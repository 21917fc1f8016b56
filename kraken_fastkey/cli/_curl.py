"""The create call as Kraken's API reference writes it for `curl`, its placeholders filled in."""

from __future__ import annotations

import json
import shlex
from typing import Any, Final

from kraken_fastkey import CreateKeyRequest, Permissions

_NEVER: Final = 4_102_444_800  # 2100-01-01, as a fixed moment that stays in the future

EXAMPLE_REQUEST: Final = CreateKeyRequest(
    api_key_name="grid-bot",
    permissions=Permissions(
        export_data=True,
        funds_add=True,
        funds_earn=True,
        funds_query=True,
        funds_withdraw=True,
        ledger_query=True,
        trades_close=True,
        trades_modify=True,
        trades_query_closed=True,
        trades_query_open=True,
    ),
    ip_allowlist=["203.0.113.0/24"],
    nonce_window=1,
    query_from=1_700_000_000,
    query_to=_NEVER,
    valid_until=_NEVER,
)
"""The same input for the client."""


def example_body() -> dict[str, Any]:
    """Return the body that the API reference shows, filled in; written by hand, not by the client."""
    return {
        "api_key_name": "grid-bot",
        "ip_allowlist": ["203.0.113.0/24"],
        "nonce_window": 1,
        "permissions": {
            "export_data": True,
            "funds_add": True,
            "funds_earn": True,
            "funds_query": True,
            "funds_withdraw": True,
            "ledger_query": True,
            "trades_close": True,
            "trades_modify": True,
            "trades_query_closed": True,
            "trades_query_open": True,
        },
        "query_from": 1_700_000_000,
        "query_to": _NEVER,
        "valid_until": _NEVER,
    }


def curl_arguments(base_url: str, token: str) -> list[str]:
    """Return the `curl` command, word for word."""
    return [
        "curl",
        "--request",
        "POST",
        "--url",
        f"{base_url}/fast-api-key",
        "--header",
        f"Authorization: Bearer {token}",
        "--header",
        "Content-Type: application/json",
        "--data",
        json.dumps(example_body()),
    ]


def curl_line(base_url: str, token: str) -> str:
    """Return the `curl` command as one line for a shell."""
    return shlex.join(curl_arguments(base_url, token))
