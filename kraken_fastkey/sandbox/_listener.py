"""A listening socket and its connections: opened, counted, closed without a remainder."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Final, TypeAlias

from aiohttp import web
from aiohttp.web_protocol import RequestHandler

Handle: TypeAlias = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]

# As many as connect at once in a stress test, so that none of them waits for TCP to try again.
_BACKLOG: Final = 4096


class Listener:
    """Listens for HTTP, and can be closed and started again.

    Args:
        handle: Answers a request. It is cancelled when its client goes, or the listener closes.
        host: The IP address to listen on.
        port: The TCP port; 0: any free one, which is then kept.

    Attributes:
        tally: Its connections.
    """

    def __init__(self, handle: Handle, host: str, port: int) -> None:
        self._handle = handle
        self._host = host
        self._port = port
        self._listening: asyncio.Server | None = None
        self._connections: _Connections | None = None
        self.tally = Tally()

    @property
    def origin(self) -> str:
        """The URL without a path.

        Raises:
            RuntimeError: if no port has been chosen yet.
        """
        if not self._port:
            raise RuntimeError("the sandbox has not been started: it has no port yet")
        return f"http://[{self._host}]:{self._port}" if ":" in self._host else f"http://{self._host}:{self._port}"

    @property
    def is_open(self) -> bool:
        return self._listening is not None

    async def start(self) -> None:
        """Listen.

        Raises:
            RuntimeError: if it listens already.
            OSError: if the port is taken.
        """
        if self._listening is not None:
            raise RuntimeError("the sandbox has been started already")
        connections = _Connections(self._handle, self.tally)
        loop = asyncio.get_running_loop()
        self._listening = await loop.create_server(connections, self._host, self._port, backlog=_BACKLOG)
        self._connections = connections
        self._port = self._listening.sockets[0].getsockname()[1]

    async def aclose(self) -> None:
        """Stop listening and drop every connection; does nothing if it is closed already."""
        listening, connections = self._listening, self._connections
        if listening is None or connections is None:
            return
        self._listening = self._connections = None
        await _settle(listening)
        listening.close()
        await connections.drop()
        await listening.wait_closed()


async def _settle(listening: asyncio.Server) -> None:
    """Accept no more, and let what has just been accepted become a connection.

    asyncio itself loses, and leaves open, a socket that it has accepted but not yet set up when it stops listening.
    """
    loop = asyncio.get_running_loop()
    for sock in listening.sockets:
        with suppress(NotImplementedError):  # Windows' own loop has no readers
            loop.remove_reader(sock.fileno())
    for _ in range(3):  # the task that sets it up, its call of connection_made, and one to spare
        await asyncio.sleep(0)


class Tally:
    """The connections of a listener, over all its lives.

    Attributes:
        open: Those that are open now.
        total: How many have been accepted so far.
        peak: How many have been open at once, at most.
    """

    def __init__(self) -> None:
        self.open: set[asyncio.Transport] = set()
        self.total = 0
        self.peak = 0

    def add(self, transport: asyncio.Transport) -> None:
        self.open.add(transport)
        self.total += 1
        self.peak = max(self.peak, len(self.open))


# aiohttp quotes a request that it cannot read, down to its token, in a log that belongs to the user.
_SILENT: Final = logging.Logger("kraken_fastkey.sandbox")  # noqa: LOG001 (nobody shall find and configure it)
_SILENT.disabled = True


class _Connections(web.Server):
    """aiohttp's low-level server, which counts its connections and knows when the last one has gone."""

    def __init__(self, handle: Handle, tally: Tally) -> None:
        super().__init__(handle, handler_cancellation=True, access_log=None, auto_decompress=False, logger=_SILENT)
        self._tally = tally
        self._transports: dict[RequestHandler, asyncio.Transport] = {}
        self._empty = asyncio.Event()
        self._empty.set()

    def connection_made(self, handler: RequestHandler, transport: asyncio.Transport) -> None:
        super().connection_made(handler, transport)
        self._transports[handler] = transport
        self._tally.add(transport)
        self._empty.clear()

    def connection_lost(self, handler: RequestHandler, exc: BaseException | None = None) -> None:
        super().connection_lost(handler, exc)
        self._tally.open.discard(self._transports.pop(handler))
        if not self._transports:
            self._empty.set()

    async def drop(self) -> None:
        """Abort the connections, which cancels their handlers, and wait until both are gone."""
        for transport in self._transports.values():
            transport.abort()
        await self._empty.wait()
        # aiohttp forgets a connection when its task has ended, a few steps later, and sets no event then.
        while self.connections:  # noqa: ASYNC110
            await asyncio.sleep(0)
