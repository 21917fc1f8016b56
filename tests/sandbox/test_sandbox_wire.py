"""Faults of the wire: reset, cut, slow, mislabelled, unreachable. What a client's socket sees of each."""

import asyncio
import json
import math
from collections.abc import AsyncIterator, Callable
from http import HTTPStatus

import aiohttp
import attrs
import pytest
from sandbox_kit import Kit, running

from kraken_fastkey.sandbox import Drip, Hang, KrakenSandbox, MediaType, Reset, Truncate

BODY = json.dumps({"api_key_name": "bot"}).encode()


@attrs.define
class Sleeper:
    """A sleep that is over at once, and remembers what it was asked for."""

    slept: list[float] = attrs.field(factory=list[float])
    wakes: asyncio.Event | None = None

    async def __call__(self, seconds: float) -> None:
        """Sleep, or wait until somebody says that it is time."""
        self.slept.append(seconds)
        if self.wakes is not None:
            await self.wakes.wait()


@pytest.fixture(name="sleeper")
def _sleeper() -> Sleeper:
    """Return a sleep that is over at once."""
    return Sleeper()


@pytest.fixture(name="kit")
async def _kit(sleeper: Sleeper) -> AsyncIterator[Kit]:
    """Run a sandbox with a client."""
    async with running(sleep=sleeper) as kit:
        yield kit


async def connect(kit: Kit) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """Open a connection, with nothing of HTTP on it."""
    host, port = kit.sandbox.base_url.removeprefix("http://").removesuffix("/oauth").split(":")
    return await asyncio.open_connection(host, int(port))


def creation(kit: Kit, announced: int = len(BODY)) -> bytes:
    """Return the head of a request that creates a key."""
    return (
        b"POST /oauth/fast-api-key HTTP/1.1\r\nHost: sandbox\r\nContent-Type: application/json\r\n"
        b"Authorization: Bearer %s\r\nContent-Length: %d\r\n\r\n" % (kit.token.encode(), announced)
    )


async def received(kit: Kit, sent: bytes) -> bytes:
    """Send bytes, and return all that comes back until the connection is closed."""
    reader, writer = await connect(kit)
    writer.write(sent)
    try:
        return await reader.read()
    finally:
        writer.close()
        await writer.wait_closed()


async def until(condition: Callable[[], object]) -> None:
    """Let the loop run until something holds."""
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0)


async def test_reset_before_the_body(kit: Kit) -> None:
    """The connection is reset when the head is there, though not a byte of the body has been sent."""
    kit.sandbox.faults.add(Reset())
    reader, writer = await connect(kit)
    writer.write(creation(kit))
    with pytest.raises(ConnectionResetError):
        await reader.read()
    writer.close()
    with pytest.raises(ConnectionResetError):
        await writer.wait_closed()
    (request,) = kit.sandbox.requests
    assert (b"", None, Reset()) == (request.body, request.status, request.fault)
    assert [] == kit.names()
    await until(lambda: not kit.sandbox.open_connections)


async def test_reset_as_a_client_sees_it(kit: Kit) -> None:
    """A whole request fails without an answer and without effect; the next one is served."""
    kit.sandbox.faults.add(Reset(), operation="create_key")
    with pytest.raises(aiohttp.ClientOSError):
        await kit.exchange("POST", "/fast-api-key", body=BODY)
    assert [] == kit.names()
    assert 200 == await kit.try_create()


@pytest.mark.parametrize("length", [0, 1, 7, 17, 18, 30])
async def test_cut_in_the_head(kit: Kit, length: int) -> None:
    """No more than the first bytes of the head arrive, down to none; the work is done."""
    kit.sandbox.faults.add(Truncate(length, head=True))
    beginning = await received(kit, creation(kit) + BODY)
    assert b"HTTP/1.1 200 OK\r\nContent-Length: "[:length] == beginning
    assert ["bot"] == kit.names()
    assert kit.sandbox.requests[0].status is None


async def test_cut_behind_the_head(kit: Kit) -> None:
    """A length beyond the head's end sends all of the head, and nothing of the body that it announces."""
    kit.sandbox.faults.add(Truncate(10**6, head=True))
    head = await received(kit, creation(kit) + BODY)
    lines = head.decode().split("\r\n")
    assert ["", ""] == lines[-2:]
    assert "HTTP/1.1 200 OK" == lines[0]
    fields = dict(line.split(": ", 1) for line in lines[1:-2])
    assert {"Content-Length", "Date", "Content-Type"} == set(fields)
    assert int(fields["Content-Length"]) > 400
    assert 200 == kit.sandbox.requests[0].status


async def test_cut_in_the_head_of_a_refusal(kit: Kit) -> None:
    """Any answer of the sandbox's own can be cut."""
    kit.sandbox.faults.add(Truncate(25, head=True), operation="create_key")
    kit.token = "wrong"
    assert b"HTTP/1.1 401 Unauthorized"[:25] == await received(kit, creation(kit) + BODY)


async def test_cut_in_the_head_as_a_client_sees_it(kit: Kit) -> None:
    """A client hears that the server has gone."""
    kit.sandbox.faults.add(Truncate(40, head=True))
    with pytest.raises(aiohttp.ClientError):
        await kit.exchange("POST", "/fast-api-key", body=BODY)
    assert 200 == await kit.try_list()


@pytest.mark.parametrize("chunk", [1, 100, 10**6])
async def test_drip(kit: Kit, sleeper: Sleeper, chunk: int) -> None:
    """The right answer comes whole, drop by drop, with a pause between two drops; the connection lives on."""
    kit.sandbox.faults.add(Drip(chunk, 2.5))
    answered = await kit.create()
    assert ["bot"] == kit.names() == [answered.result["api_key_name"]]
    drops = math.ceil(len(answered.body) / chunk)
    assert [2.5] * (drops - 1) == sleeper.slept
    assert 200 == (await kit.call("GET", "/userinfo")).status
    assert 1 == kit.sandbox.total_connections


async def test_drop_comes_when_its_time_has_come(kit: Kit, sleeper: Sleeper) -> None:
    """The head and the first drop come at once, and nothing more until the interval has passed."""
    sleeper.wakes = asyncio.Event()
    kit.sandbox.faults.add(Drip(5, 60))
    reader, writer = await connect(kit)
    writer.write(creation(kit) + BODY)
    head = await reader.readuntil(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200 OK\r\n")
    assert b'{"res' == await reader.readexactly(5)
    more = asyncio.create_task(reader.readexactly(5))
    await until(lambda: sleeper.slept)
    for _ in range(10):
        await asyncio.sleep(0)
    assert not more.done()
    assert ["bot"] == kit.names()
    sleeper.wakes.set()
    assert b'ult":' == await more
    writer.close()
    await writer.wait_closed()


async def test_client_that_goes_while_it_drips(kit: Kit, sleeper: Sleeper) -> None:
    """A client that has enough is let go, and the sandbox can be closed all the while."""
    sleeper.wakes = asyncio.Event()
    kit.sandbox.faults.add(Drip(5, 60), times=2)
    _, writer = await connect(kit)
    writer.write(creation(kit) + BODY)
    await until(lambda: sleeper.slept)
    writer.close()
    await writer.wait_closed()
    await until(lambda: not kit.sandbox.open_connections)
    caller = asyncio.create_task(kit.exchange("GET", "/fast-api-keys"))
    await until(lambda: len(sleeper.slept) == 2)
    await kit.sandbox.aclose()
    with pytest.raises(aiohttp.ClientPayloadError):
        await caller


async def test_drip_of_an_answer_without_a_body(kit: Kit, sleeper: Sleeper) -> None:
    """Where there is nothing to drip, the head is all."""
    kit.sandbox.faults.add(Drip(1, 60), operation="authorize")
    url = (
        f"{kit.sandbox.authorize_url}?client_id={kit.sandbox.client_id}&redirect_uri=http://127.0.0.1/&theme=x&scope=x"
    )
    async with kit.session.get(url, allow_redirects=False) as response:
        assert (HTTPStatus.FOUND, b"") == (response.status, await response.read())
    assert [] == sleeper.slept


async def test_real_sleep_by_default() -> None:
    """Without a sleep of its own, the sandbox really sleeps."""
    async with running() as kit:
        kit.sandbox.faults.add(Drip(300, 0.002))
        loop = asyncio.get_running_loop()
        began = loop.time()
        assert len((await kit.create()).body) > 300
        assert loop.time() - began > 0.0015


@pytest.mark.parametrize("media_type", ["text/html", "text/html; charset=utf-8", "application/problem+json", ""])
async def test_wrong_media_type(kit: Kit, media_type: str) -> None:
    """The right answer comes under another name."""
    kit.sandbox.faults.add(MediaType(media_type))
    answered = await kit.exchange("POST", "/fast-api-key", body=BODY)
    assert (200, media_type) == (answered.status, answered.headers["Content-Type"])
    assert ["bot"] == kit.names() == [answered.result["api_key_name"]]
    assert 200 == kit.sandbox.requests[0].status


async def test_wrong_media_type_of_a_refusal(kit: Kit) -> None:
    """A refusal keeps its status and its other headers."""
    kit.sandbox.faults.add(MediaType("text/plain"))
    answered = await kit.exchange("GET", "/userinfo", token="wrong")
    assert 401 == answered.status
    assert {"WWW-Authenticate", "Date"} <= set(answered.headers)


@pytest.mark.parametrize("use", [lambda: MediaType("a\r\nb"), lambda: MediaType("a\0")])
def test_media_types_that_cannot_be_sent(use: Callable[[], object]) -> None:
    """A line break would end the header."""
    with pytest.raises(ValueError, match="line break"):
        use()


@pytest.mark.parametrize(
    ("use", "message"),
    [
        (lambda: Drip(0, 1), "chunk"),
        (lambda: Drip(1, -1), "interval"),
        (lambda: Drip(1, math.nan), "interval"),
        (lambda: Drip(1, math.inf), "interval"),
        (lambda: Truncate(-1, head=True), "length"),
    ],
)
def test_lengths_that_are_none(use: Callable[[], object], message: str) -> None:
    """A drop is of a byte or more, and time goes forward."""
    with pytest.raises(ValueError, match=message):
        use()


async def test_unreachable(kit: Kit) -> None:
    """Connections are dropped and refused inside the block, and served on the same port after it."""
    await kit.create()
    url = kit.sandbox.base_url
    async with kit.sandbox.unreachable():
        assert 0 == kit.sandbox.open_connections
        for _ in range(3):
            with pytest.raises(aiohttp.ClientConnectorError):
                await kit.exchange("GET", "/fast-api-keys")
        assert url == kit.sandbox.base_url
        assert ["bot"] == kit.names()
    assert ["bot"] == await kit.shown()
    assert ["create_key", "list_keys", "list_keys"] == [request.operation for request in kit.sandbox.requests]


async def test_unreachable_ends_what_hangs(kit: Kit) -> None:
    """A call that hangs loses its connection."""
    kit.sandbox.faults.add(Hang())
    caller = asyncio.create_task(kit.try_create())
    await until(lambda: kit.sandbox.requests and kit.sandbox.requests[0].body)
    async with kit.sandbox.unreachable():
        assert await caller is None


async def test_reachable_after_an_error(kit: Kit) -> None:
    """The sandbox listens again however the block ends; the error goes on."""
    with pytest.raises(ZeroDivisionError):
        async with kit.sandbox.unreachable():
            raise ZeroDivisionError
    assert 200 == await kit.try_list()


async def test_unreachable_already() -> None:
    """A sandbox that does not listen cannot cease to, and is not started by that."""
    sandbox = KrakenSandbox()
    with pytest.raises(RuntimeError, match="does not listen"):
        async with sandbox.unreachable():
            raise AssertionError
    async with running() as kit, kit.sandbox.unreachable():
        with pytest.raises(RuntimeError, match="does not listen"):
            async with kit.sandbox.unreachable():
                raise AssertionError
