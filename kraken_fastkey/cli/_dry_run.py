"""A request as it would be sent, the access token masked."""

from __future__ import annotations

from typing import Any

import attrs
from rich.text import Text

from kraken_fastkey import CreateKeyRequest, UpdateKeyRequest, _wire
from kraken_fastkey.cli._invocation import Invocation
from kraken_fastkey.cli._session import base_url_of


@attrs.frozen
class PlannedRequest:
    """A request that is not sent.

    Attributes:
        method: The HTTP method.
        url: The address.
        headers: The header fields, but for those of HTTP itself (`Host`, `Content-Length`); no secret is in them.
        body: The body, to the byte; empty if there is none.
    """

    method: str
    url: str
    headers: dict[str, str]
    body: str


def plan_request(invocation: Invocation, change: CreateKeyRequest | UpdateKeyRequest | str) -> PlannedRequest:
    """Return the request that would create, change or delete a key.

    Args:
        invocation: What was said for all commands.
        change: The key to create, the change, or the name of the key to delete.

    Raises:
        InvalidRequestError: The name could be no key's, or a time has passed.
    """
    from kraken_fastkey._transport import user_agent  # noqa: PLC0415  # with the network, which help needs not

    call: _wire.Call[Any]
    match change:
        case CreateKeyRequest():
            call = _wire.create_key(change, invocation.now)
        case UpdateKeyRequest():
            call = _wire.update_key(change, invocation.now)
        case _:
            call = _wire.delete_key(change)
    request = call.request
    return PlannedRequest(
        request.method,
        base_url_of(invocation.profile).rstrip("/") + request.path,
        {**request.headers, "User-Agent": user_agent(), "Authorization": "Bearer **********"},
        request.body.decode("ascii"),
    )


def show_requests(invocation: Invocation, *requests: PlannedRequest, **more: Any) -> None:
    """Print requests that are not sent."""
    document = {"dry_run": True, **more, "requests": [attrs.asdict(request) for request in requests]}
    invocation.output.emit(document, lambda: Text("\n\n".join(map(_render, requests))))


def _render(request: PlannedRequest) -> str:
    lines = [f"{request.method} {request.url}", *(f"{name}: {value}" for name, value in request.headers.items())]
    return "\n".join([*lines, *(["", request.body] if request.body else [])])
