"""What the tests of the client share: a clock that stands still, a server that says anything, a leak detector."""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import logging
import os
import pkgutil
import re
import ssl
import traceback
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from typing import NoReturn

import pytest

from kraken_fastkey import AccessToken, Event, FastKeyError, _events
from kraken_fastkey._runtime import Runtime

TOKEN = "FAKE-TOKEN-0123456789-abcdefghijklmnopqrstuvwxyz"


def missing(program: str) -> NoReturn:
    """Skip a test for want of a program on a user's machine; fail it in CI, where nothing may be missing."""
    reason = f"{program} is not installed"
    if os.environ.get("CI"):
        pytest.fail(reason)
    pytest.skip(reason)


def complaints_of_asyncio(records: Iterable[logging.LogRecord], *, patience: float = 2) -> list[str]:
    """Return what asyncio has logged, but for a callback that took less seconds than that: the machine may be slow."""
    told = [record.getMessage() for record in records if record.name == "asyncio"]
    times = [re.fullmatch(r"Executing .* took ([\d.]+) seconds", text, re.DOTALL) for text in told]
    return [text for text, took in zip(told, times, strict=True) if took is None or float(took[1]) >= patience]


def event_classes() -> list[type[Event]]:
    """Return every class of events; one that others share has no name, and is none."""
    modules = [
        importlib.import_module(f"{_events.__name__}.{found.name}") for found in pkgutil.iter_modules(_events.__path__)
    ]
    kinds = [value for module in modules for value in vars(module).values() if isinstance(value, type)]
    named = [kind for kind in kinds if issubclass(kind, Event) and "name" in vars(kind) and kind is not Event]
    return list(dict.fromkeys(named))  # one module may import another's


class FakeTime:
    """A clock that moves only when somebody sleeps, and a chance that is known."""

    def __init__(self, now: float = 1_800_000_000.0, *, chance: float = 0.5) -> None:
        self.now = now
        self.chance = chance
        self.sleeps: list[float] = []
        self.on_sleep: Callable[[], Awaitable[None]] | None = None

    def time(self) -> float:
        """Tell the time."""
        return self.now

    async def sleep(self, seconds: float) -> None:
        """Let the time pass."""
        self.sleeps.append(seconds)
        self.now += seconds
        if self.on_sleep is not None:
            await self.on_sleep()
        await asyncio.sleep(0)

    @property
    def runtime(self) -> Runtime:
        """The seam that lets a client live in this time."""
        return Runtime(time=self.time, monotonic=self.time, sleep=self.sleep, random=lambda: self.chance)


class RecordingProvider:
    """Hands out tokens in turn, the last one for ever, and notes what it was asked."""

    def __init__(self, *tokens: str) -> None:
        self._tokens = [AccessToken(token) for token in tokens]
        self.asked: list[str | None] = []

    async def get_token(self, *, rejected: AccessToken | None = None) -> AccessToken:
        """Return the present token, or the next if the present one was refused."""
        self.asked.append(None if rejected is None else rejected.value.get_secret_value())
        if rejected is not None and rejected == self._tokens[0] and len(self._tokens) > 1:
            del self._tokens[0]
        return self._tokens[0]


class RawServer:
    """A TCP server whose handler writes whatever bytes a test wants."""

    def __init__(
        self, handler: Callable[[RawServer, asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
    ) -> None:
        self._handler = handler
        self.requests: list[bytes] = []
        self.connections = 0
        self.base_url = ""
        self._tasks: set[asyncio.Task[None] | None] = set()

    async def read_request(self, reader: asyncio.StreamReader) -> bytes:
        """Read one request, head and body, and note it."""
        head = await reader.readuntil(b"\r\n\r\n")
        length = 0
        for line in head.lower().split(b"\r\n"):
            if line.startswith(b"content-length:"):
                length = int(line.partition(b":")[2])
        request = head + await reader.readexactly(length)
        self.requests.append(request)
        return request

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self._tasks.add(asyncio.current_task())
        with contextlib.suppress(asyncio.IncompleteReadError, OSError):
            await self._handler(self, reader, writer)
        with contextlib.suppress(OSError):
            writer.close()
            await writer.wait_closed()

    @contextlib.asynccontextmanager
    async def listening(self, tls: ssl.SSLContext | None = None) -> AsyncIterator[RawServer]:
        """Listen on a free port of loopback."""
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0, ssl=tls)
        self.base_url = f"{'https' if tls else 'http'}://127.0.0.1:{server.sockets[0].getsockname()[1]}/oauth"
        async with server:
            yield self
        await asyncio.gather(*filter(None, self._tasks), return_exceptions=True)


def answering(*answers: bytes) -> RawServer:
    """Return a server that answers requests with these bytes in turn, closing each connection after one."""
    left = list(answers)

    async def handle(server: RawServer, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await server.read_request(reader)
        writer.write(left.pop(0) if len(left) > 1 else left[0])
        with contextlib.suppress(ConnectionError):
            await writer.drain()

    return RawServer(handle)


def http(status: int, body: bytes = b"", *headers: str) -> bytes:
    """Return an answer's bytes."""
    lines = [f"HTTP/1.1 {status} Whatever", f"Content-Length: {len(body)}", "Connection: close", *headers]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def everything_shown(error: BaseException) -> str:
    """Return all that could come to light of an exception: texts, arguments, attributes, frames with locals."""
    shown: list[str] = []
    seen: set[int] = set()
    queue: list[BaseException | None] = [error]
    while queue:
        current = queue.pop()
        if current is None or id(current) in seen:
            continue
        seen.add(id(current))
        # The test's own frame holds the fake secrets, so only frames below it are looked at.
        tail = current.__traceback__.tb_next if current is error and current.__traceback__ else current.__traceback__
        chain = traceback.TracebackException(type(current), current, tail, capture_locals=True)
        chain.__cause__ = chain.__context__ = None
        shown += ["".join(chain.format()), repr(current), str(current), repr(current.args), repr(vars(current))]
        queue += [current.__cause__, current.__context__]
    return "\n".join(shown)


def assert_clean(error: FastKeyError, *secrets: str) -> None:
    """Check that an error shows none of these secrets, and that nothing of aiohttp hangs on it."""
    shown = everything_shown(error)
    for secret in (TOKEN, *secrets):
        assert secret not in shown
    current: BaseException | None = error
    while current is not None:
        assert not type(current).__module__.startswith("aiohttp")
        current = current.__cause__ or current.__context__
