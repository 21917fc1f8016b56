"""The permissions that a key may have, and the OAuth scopes that an access token may carry."""

import re
from collections.abc import Iterable
from typing import Final

_PREFIX: Final = "account.fast-api-key:"

WRITE: Final = _PREFIX + "write"
READ: Final = _PREFIX + "read"
USER_INFO: Final = "account.info:basic"

PERMISSIONS: Final = (
    "export_data",
    "funds_add",
    "funds_earn",
    "funds_query",
    "funds_withdraw",
    "ledger_query",
    "trades_close",
    "trades_modify",
    "trades_query_closed",
    "trades_query_open",
    # These two are sent by Kraken's own wallet, and stand commented out in its description.
    "withdrawal_address_add",
    "withdrawal_address_update",
)


def scope_of(permission: str) -> str:
    """Return the scope that a token needs to give a key this permission."""
    return _PREFIX + permission.replace("_", "-")


def spelt_by_key_info(permission: str) -> str:
    """Return what GetApiKeyInfo calls this permission: ``query-funds`` for ``funds_query``."""
    return _KEY_INFO_NAMES[permission]


# Kraken documents them all; create-ws-token, which is among them, is no permission of a Fast API key.
_KEY_INFO_NAMES: Final = {
    "export_data": "export-data",
    "funds_add": "add-funds",
    "funds_earn": "earn-funds",
    "funds_query": "query-funds",
    "funds_withdraw": "withdraw-funds",
    "ledger_query": "query-ledger",
    "trades_close": "close-trades",
    "trades_modify": "modify-trades",
    "trades_query_closed": "query-closed-trades",
    "trades_query_open": "query-open-trades",
    "withdrawal_address_add": "add-withdraw-address",
    "withdrawal_address_update": "update-withdraw-address",
}


EVERY_SCOPE: Final = frozenset(
    {WRITE, READ, USER_INFO, _PREFIX + "multiple", *(scope_of(permission) for permission in PERMISSIONS)}
)

# With one of these, money can leave the account.
SENSITIVE_SCOPES: Final = frozenset(
    scope_of(permission) for permission in ("funds_withdraw", "withdrawal_address_add", "withdrawal_address_update")
)

# RFC 6749 section 3.3: printable ASCII without the space, the quotation mark and the backslash.
_SCOPE_TOKEN = re.compile(r"[\x21\x23-\x5b\x5d-\x7e]+")


def parse_scopes(scopes: Iterable[str]) -> frozenset[str]:
    """Return the scopes as a set; a string is read as OAuth's space-separated list.

    Raises:
        ValueError: if one of them cannot be a scope by RFC 6749 section 3.3.
    """
    found = frozenset(scopes.split() if isinstance(scopes, str) else scopes)
    for scope in found:
        if not _SCOPE_TOKEN.fullmatch(scope):
            raise ValueError(f"{scope!r} cannot be a scope: see RFC 6749 section 3.3")
    return found
