"""One request's way back: its answer sent whole, in part, slowly, or not at all."""

import asyncio
import os
import socket
import struct
from collections.abc import Awaitable, Callable, Mapping
from email.utils import formatdate
from http import HTTPStatus
from typing import Final, NoReturn

import attrs
from aiohttp import web

from kraken_fastkey.sandbox._faults import Drip, Truncate
from kraken_fastkey.sandbox._messages import Reply
from kraken_fastkey.sandbox._recording import RecordedRequest

# On, and no time to send what is left: the connection is reset.
_LINGER: Final = struct.pack("hh" if os.name == "nt" else "ii", 1, 0)


@attrs.frozen(eq=False, repr=False)
class Wire:
    """Sends the answer to one request, and records its status."""

    _request: web.BaseRequest
    _record: RecordedRequest
    _clock: Callable[[], float]

    def send(self, reply: Reply) -> web.Response:
        self._record.status = reply.status
        return web.Response(status=reply.status, body=reply.body, headers=self._headers(reply))

    async def drip(self, reply: Reply, drip: Drip, sleep: Callable[[float], Awaitable[object]]) -> web.StreamResponse:
        """Send an answer's head, then its body drop by drop."""
        response = await self._send_head(reply)
        for start in range(0, len(reply.body), drip.chunk):
            if start:
                await sleep(drip.interval)
            await response.write(reply.body[start : start + drip.chunk])
        return response

    async def truncate(self, reply: Reply, cut: Truncate) -> NoReturn:
        """Send an answer's beginning, and close the connection when that has been sent."""
        if cut.head:
            await self._send_beginning_of_head(reply, cut.length)
        else:
            response = await self._send_head(reply)
            await response.write(reply.body[: cut.length])
        (await self._connection()).close()
        await self.hang()

    async def drop(self) -> NoReturn:
        (await self._connection()).abort()
        await self.hang()

    async def reset(self) -> NoReturn:
        connection = await self._connection()
        connection.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER)
        await self.drop()

    async def hang(self) -> NoReturn:
        """Wait until aiohttp cancels this: the connection has gone, by our hand, the client's, or at the end."""
        await asyncio.Event().wait()
        raise AssertionError("nothing sets that event")

    async def _connection(self) -> asyncio.Transport:
        """Return the connection; where it has gone already, nothing is left but to be cancelled."""
        return self._request.transport or await self.hang()

    async def _send_head(self, reply: Reply) -> web.StreamResponse:
        """Send an answer's head, which announces the whole body."""
        response = web.StreamResponse(status=reply.status, headers=self._headers(reply))
        response.content_length = len(reply.body)
        await response.prepare(self._request)
        self._record.status = reply.status
        await response.write(b"")  # aiohttp keeps the head back until then
        return response

    async def _send_beginning_of_head(self, reply: Reply, length: int) -> None:
        """Send the first bytes of an answer's head; a head that is not whole is no answer."""
        lines = [f"HTTP/1.1 {reply.status} {HTTPStatus(reply.status).phrase}", f"Content-Length: {len(reply.body)}"]
        lines += [f"{name}: {value}" for name, value in self._headers(reply).items()]
        head = "".join(f"{line}\r\n" for line in [*lines, ""]).encode()
        if length >= len(head):
            self._record.status = reply.status
        (await self._connection()).write(head[:length])

    def _headers(self, reply: Reply) -> Mapping[str, str]:
        """Return the headers of an answer: its own, and the two that every answer has."""
        found = {"Date": formatdate(self._clock(), usegmt=True)}
        if reply.media_type is not None and "content-type" not in map(str.lower, reply.headers):
            found["Content-Type"] = reply.media_type
        return {**found, **reply.headers}
