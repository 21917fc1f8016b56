"""The sandbox keeps to itself what it is sent: no log of anybody's quotes a request."""

import asyncio
from collections.abc import AsyncIterator

import pytest
from sandbox_kit import Kit, running

from kraken_fastkey.sandbox import Hang

CANARY = b"canary-0123456789"


@pytest.fixture(name="kit")
async def _kit() -> AsyncIterator[Kit]:
    """Run a sandbox with a client."""
    async with running() as kit:
        yield kit


async def received(kit: Kit, sent: bytes) -> bytes:
    """Send bytes, and return all that comes back until the connection is closed."""
    host, port = kit.sandbox.api_url.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(sent)
    try:
        return await reader.read()
    finally:
        writer.close()
        await writer.wait_closed()


HEAD = b"GET /oauth/userinfo HTTP/1.1\r\nHost: sandbox\r\nConnection: close\r\n"


@pytest.mark.parametrize(
    "sent",
    [
        HEAD + b"Authorization: Bearer " + CANARY * 2000 + b"\r\n\r\n",
        HEAD + b"API-Sign" + CANARY + b"\0\r\n\r\n",
        HEAD + b"Authorization: Bearer " + CANARY + b"\0\r\n\r\n",
        HEAD + b"Authorization Bearer " + CANARY + b"\r\n\r\n",
        b"GET /oauth/authorize?state=" + CANARY + b" HTTP/9.9.9\r\n\r\n",
        b"\x16\x03\x01" + CANARY + b"\r\n\r\n",
    ],
)
async def test_malformed_requests_are_not_logged(
    kit: Kit, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str], sent: bytes
) -> None:
    """A request that aiohttp cannot read is refused, and quoted in no log, however talkative that is."""
    with caplog.at_level("DEBUG"):
        assert b" 400 " in (await received(kit, sent)).partition(b"\r\n")[0]
    assert [] == [record.name for record in caplog.records if record.name.startswith("aiohttp")]
    assert CANARY.decode() not in caplog.text + "".join(capfd.readouterr())


async def test_requests_that_break_off_are_not_logged(kit: Kit, caplog: pytest.LogCaptureFixture) -> None:
    """Neither is one whose client goes."""
    with caplog.at_level("DEBUG"):
        kit.sandbox.faults.add(Hang())
        host, port = kit.sandbox.api_url.removeprefix("http://").split(":")
        _, writer = await asyncio.open_connection(host, int(port))
        writer.write(HEAD + b"Authorization: Bearer " + CANARY + b"\r\n\r\n")
        async with asyncio.timeout(10):
            while not kit.sandbox.requests:
                await asyncio.sleep(0)
            writer.close()
            await writer.wait_closed()
            while kit.sandbox.open_connections:
                await asyncio.sleep(0)
    assert CANARY.decode() not in caplog.text
