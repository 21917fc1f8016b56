"""A request's parts and an answer's parts, as the operations know them. No I/O."""

import json
from collections.abc import Mapping, Sequence

import attrs


@attrs.frozen(kw_only=True)
class Call:
    """The parts of a request that an operation depends on.

    Attributes:
        operation: The operation's name.
        method: The HTTP method.
        path: The path, percent-decoded, without the query.
        query: The query, as it came, without the question mark.
        authorization: The values of all ``Authorization`` headers.
        origin: What the ``Origin`` header says, if there is one.
        host: What the ``Host`` header says.
        media_type: The body's media type, lower case, without parameters.
        body: The body.
        api_key: The values of all ``API-Key`` headers.
        api_sign: The values of all ``API-Sign`` headers.
        remote: The peer's IP address; ``None`` if it had gone before anybody asked.
    """

    operation: str
    method: str
    path: str
    query: str = attrs.field(repr=False)
    authorization: Sequence[str] = attrs.field(repr=False)
    origin: str | None
    host: str
    media_type: str
    body: bytes = attrs.field(repr=False)
    api_key: Sequence[str] = attrs.field(repr=False)
    api_sign: Sequence[str] = attrs.field(repr=False)
    remote: str | None


@attrs.frozen
class Reply:
    """An answer before it is sent.

    Attributes:
        status: The HTTP status.
        body: The body's bytes.
        media_type: What ``Content-Type`` says; ``None`` where there is no body.
        headers: Headers besides those that every answer has.
    """

    status: int
    body: bytes = attrs.field(repr=False)
    media_type: str | None
    headers: Mapping[str, str] = attrs.field(factory=dict[str, str], repr=False)


def json_reply(status: int, content: Mapping[str, object], headers: Mapping[str, str] | None = None) -> Reply:
    return Reply(status, json.dumps(content).encode(), "application/json", headers or {})
