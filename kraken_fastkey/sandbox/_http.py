"""Real HTTP in front of the operations: requests are recorded, then answered, or spoilt by a fault."""

import asyncio
from collections.abc import Callable, Mapping
from contextlib import suppress
from email.utils import formatdate
from typing import NoReturn

from aiohttp import web

from kraken_fastkey.sandbox._api import unknown_method
from kraken_fastkey.sandbox._faults import Answer, Disconnect, Faults, Hang, Truncate
from kraken_fastkey.sandbox._messages import Call, Reply, json_reply
from kraken_fastkey.sandbox._openapi import describe_api
from kraken_fastkey.sandbox._recording import RecordedRequest
from kraken_fastkey.sandbox._routes import OPENAPI_PATH, operation_of


class HttpFace:
    """Answers aiohttp's requests.

    Args:
        operations: What answers each operation's calls, by its name.
        faults: What shall go wrong.
        requests: The log that each request is appended to.
        clock: Gives the time in Unix seconds, for the ``Date`` header.
    """

    def __init__(
        self,
        operations: Mapping[str, Callable[[Call], Reply]],
        faults: Faults,
        requests: list[RecordedRequest],
        clock: Callable[[], float],
    ) -> None:
        self._operations = operations
        self._faults = faults
        self._requests = requests
        self._clock = clock

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        """Record a request, read its body, and answer it or let its fault happen."""
        record = RecordedRequest(
            method=request.method,
            path=request.path,
            operation=operation_of(request.method, request.path),
            query=request.rel_url.raw_query_string,
            headers=request.headers,
        )
        self._requests.append(record)
        # Taken on arrival, so that faults are dealt out in the log's order.
        fault = None if record.operation is None else self._faults.take(record.operation)
        # A body that is broken, or larger than aiohttp takes (1 MiB), is refused as an empty one is.
        with suppress(web.HTTPRequestEntityTooLarge, web.RequestPayloadError):
            record.body = await request.read()
        if fault is None:
            return self._send(record, self._carry_out(request, record))
        if isinstance(fault, Answer):
            if fault.commit:
                self._carry_out(request, record)
            return self._send_instead(record, fault)
        return await self._break_off(request, record, fault)

    def _carry_out(self, request: web.BaseRequest, record: RecordedRequest) -> Reply:
        """Return the answer that the sandbox itself has for a request."""
        if record.operation is None:
            is_description = (record.method, record.path) == ("GET", OPENAPI_PATH)
            return json_reply(200, describe_api()) if is_description else unknown_method()
        call = Call(
            operation=record.operation,
            method=record.method,
            path=record.path,
            # As it came: a state that is no UTF-8 goes back as it is.
            query=request.raw_path.partition("?")[2],
            authorization=request.headers.getall("Authorization", []),
            origin=request.headers.get("Origin"),
            host=request.host,
            media_type=request.content_type,
            body=record.body,
        )
        return self._operations[record.operation](call)

    def _send(self, record: RecordedRequest, reply: Reply) -> web.Response:
        """Send the sandbox's own answer."""
        record.status = reply.status
        return web.Response(
            status=reply.status, body=reply.body, headers=self._headers(reply.media_type, reply.headers)
        )

    def _send_instead(self, record: RecordedRequest, answer: Answer) -> web.Response:
        """Send the answer that a fault asks for."""
        record.status = answer.status
        return web.Response(
            status=answer.status,
            body=answer.rendered(),
            headers=self._headers(answer.media_type, answer.headers),
        )

    async def _break_off(
        self, request: web.BaseRequest, record: RecordedRequest, fault: Disconnect | Truncate | Hang
    ) -> NoReturn:
        """Let a request go without a whole answer, its connection dropped or hung."""
        reply = self._carry_out(request, record) if fault.commit else None
        if isinstance(fault, Truncate) and reply is not None:
            await self._send_beginning(request, record, reply, fault.length)
        if not isinstance(fault, Hang) and request.transport is not None:
            # What was written is flushed first, unless the answer is to be missed altogether.
            request.transport.close() if record.status else request.transport.abort()
        # aiohttp cancels the handler when its connection is gone: dropped here, by the client, or at the end.
        await asyncio.Event().wait()
        raise AssertionError("nothing sets that event")

    async def _send_beginning(
        self, request: web.BaseRequest, record: RecordedRequest, reply: Reply, length: int
    ) -> None:
        """Send an answer's head and the first bytes of its body."""
        response = web.StreamResponse(status=reply.status, headers=self._headers(reply.media_type, reply.headers))
        response.content_length = len(reply.body)
        await response.prepare(request)
        record.status = reply.status
        await response.write(reply.body[:length])

    def _headers(self, media_type: str | None, headers: Mapping[str, str]) -> dict[str, str]:
        """Return the headers of an answer: those given, and the two that every answer has."""
        found = {"Date": formatdate(self._clock(), usegmt=True)}
        if media_type is not None and "content-type" not in map(str.lower, headers):
            found["Content-Type"] = media_type
        return {**found, **headers}
