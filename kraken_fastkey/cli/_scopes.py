"""The scopes that commands need, and scopes as people read them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from kraken_fastkey.cli._output import shown

_PREFIX: Final = "account.fast-api-key:"
READ: Final = f"{_PREFIX}read"
WRITE: Final = f"{_PREFIX}write"
USER_INFO: Final = "account.info:basic"


def short_scopes(scopes: Iterable[str]) -> str:
    """Return scopes in one line, without what nearly all of them begin with."""
    return ", ".join(shown(scope.removeprefix(_PREFIX)) for scope in sorted(scopes)) or "none"
