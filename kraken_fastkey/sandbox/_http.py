"""Real HTTP in front of the operations: requests are recorded, then answered, or spoilt by a fault."""

from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from functools import partial

import attrs
from aiohttp import web

from kraken_fastkey.sandbox._api import unknown_method
from kraken_fastkey.sandbox._clock import SandboxClock
from kraken_fastkey.sandbox._fault_queue import Faults
from kraken_fastkey.sandbox._faults import (
    Answer,
    Disconnect,
    Drip,
    Hang,
    LateCommit,
    MediaType,
    PlainFault,
    Reset,
    Truncate,
)
from kraken_fastkey.sandbox._late import LateWork
from kraken_fastkey.sandbox._messages import Call, Reply, json_reply
from kraken_fastkey.sandbox._openapi import describe_api
from kraken_fastkey.sandbox._recording import RecordedRequest
from kraken_fastkey.sandbox._refusal import UNKNOWN_METHOD
from kraken_fastkey.sandbox._routes import OPENAPI_PATH, TRADING_PATHS, operation_of
from kraken_fastkey.sandbox._trading import refused
from kraken_fastkey.sandbox._wire import Wire


@attrs.define(eq=False, repr=False)
class HttpFace:
    """Answers aiohttp's requests.

    Args:
        operations: What answers each operation's calls, by its name.
        faults: What shall go wrong.
        requests: The log that each request is appended to.
        clock: Gives the time in Unix seconds, for the ``Date`` header.
        late: The work that is done later than its request came.
        sleep: Waits some seconds, where an answer is slow.

    Attributes:
        open_requests: How many requests are being answered.
    """

    _operations: Mapping[str, Callable[[Call], Reply]]
    _faults: Faults
    _requests: list[RecordedRequest]
    _clock: SandboxClock
    _late: LateWork
    _sleep: Callable[[float], Awaitable[object]]
    open_requests: int = attrs.field(default=0, init=False)

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        """Record a request, read its body, and answer it or let its fault happen."""
        self.open_requests += 1
        try:
            return await self._handle(request)
        finally:
            self.open_requests -= 1

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        operation = operation_of(request.method, request.path)
        record = RecordedRequest(
            method=request.method,
            path=request.path,
            operation=operation,
            query=request.rel_url.raw_query_string,
            headers=request.headers,
            # Taken on arrival, so that faults are dealt out in the log's order.
            fault=None if operation is None else self._faults.take(operation),
        )
        self._requests.append(record)
        wire = Wire(request, record, self._clock)
        if isinstance(record.fault, Reset):
            await wire.reset()
        # A body that is broken, or larger than aiohttp takes (1 MiB), is refused as an empty one is.
        with suppress(web.HTTPRequestEntityTooLarge, web.RequestPayloadError):
            record.body = await request.read()
        self._late.catch_up()
        return await self._answer(wire, partial(self._carry_out, request, record), record.fault)

    async def _answer(self, wire: Wire, work: Callable[[], Reply], fault: PlainFault | None) -> web.StreamResponse:
        """Answer a request as its fault has it; the work is done at once, never, or late."""
        if isinstance(fault, Answer | Disconnect | Hang) and fault.commit:
            work()
        match fault:
            case Answer():
                return wire.send(Reply(fault.status, fault.rendered(), fault.media_type, fault.headers))
            case Disconnect():
                await wire.drop()
            case Hang():
                await wire.hang()
            case MediaType(media_type):
                return wire.send(attrs.evolve(work(), media_type=media_type))
            case Drip():
                return await wire.drip(work(), fault, self._sleep)
            case Truncate():
                await wire.truncate(work(), fault)
            case LateCommit():
                self._late.add(fault.delay, work)
                return await self._answer(wire, work, fault.answer)
        return wire.send(work())

    def _carry_out(self, request: web.BaseRequest, record: RecordedRequest) -> Reply:
        """Return the answer that the sandbox itself has for a request."""
        if record.operation is None:
            if record.path.startswith(TRADING_PATHS):
                return refused(UNKNOWN_METHOD)
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
            api_key=request.headers.getall("API-Key", []),
            api_sign=request.headers.getall("API-Sign", []),
            remote=request.remote,
        )
        return self._operations[record.operation](call)
