"""The log of what came in."""

import json
from collections.abc import Mapping
from typing import Any

import attrs

from kraken_fastkey.sandbox._faults import PlainFault


@attrs.define(eq=False)
class RecordedRequest:
    """A request that the sandbox received; its repr shows neither headers nor query nor body.

    Attributes:
        method: The HTTP method.
        path: The path, percent-decoded, without the query.
        query: The query as it came, without the question mark.
        headers: The headers; names match in any case.
        operation: ``"create_key"``, ``"update_key"``, ``"delete_key"``, ``"list_keys"``,
            ``"get_user_info"``, ``"token"``, ``"authorize"`` (the page and its buttons); at the trading API
            ``"get_api_key_info"``, ``"balance"``, ``"balance_ex"``, ``"ledgers"``, ``"get_websockets_token"``,
            ``"time"``, ``"assets"``, ``"asset_pairs"``; or ``None`` if the request is none of them.
        body: The body's bytes; empty until they have arrived.
        status: The HTTP status of the answer; ``None`` as long as, or because, there is none.
        fault: What happened to it by order of the test; ``None``: nothing. A `OneOf` shows what was drawn.
    """

    method: str
    path: str
    operation: str | None
    query: str = attrs.field(repr=False)
    headers: Mapping[str, str] = attrs.field(repr=False)
    body: bytes = attrs.field(default=b"", repr=False)
    status: int | None = None
    fault: PlainFault | None = None

    @property
    def json(self) -> Any:
        """The body as JSON; ``None`` if it is none."""
        try:
            return json.loads(self.body)
        except (ValueError, RecursionError):
            return None
