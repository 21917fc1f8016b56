"""What goes wrong when it is asked to."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest
from sandbox_kit import Kit, running

from kraken_fastkey.sandbox import Answer, Disconnect, Fault, Faults, Hang, PendingFault, Truncate

BODY = json.dumps({"api_key_name": "bot"}).encode()


@pytest.fixture(name="kit")
async def _kit() -> AsyncIterator[Kit]:
    """Run a sandbox with a client."""
    async with running() as kit:
        yield kit


async def post(kit: Kit) -> tuple[int, dict[str, str], bytes]:
    """Create a key called "bot", and return the answer as it is."""
    headers = {"Authorization": f"Bearer {kit.token}", "Content-Type": "application/json"}
    url = kit.sandbox.base_url + "/fast-api-key"
    async with kit.session.post(url, data=BODY, headers=headers) as response:
        return response.status, dict(response.headers), await response.read()


def names(kit: Kit) -> list[str]:
    """Return the names of the keys that exist."""
    return [key.api_key_name for key in kit.sandbox.keys()]


BODIES: list[tuple[Any, bytes, str | None]] = [
    (b"", b"", None),
    (b"\xff\x00", b"\xff\x00", "application/octet-stream"),
    ("<h1>ü</h1>", "<h1>ü</h1>".encode(), "text/plain; charset=utf-8"),
    ({"error": ["EService:Busy"]}, b'{"error": ["EService:Busy"]}', "application/json"),
    ([1], b"[1]", "application/json"),
    (None, b"null", "application/json"),
    (True, b"true", "application/json"),
    (1.5, b"1.5", "application/json"),
]


@pytest.mark.parametrize(("body", "sent", "media_type"), BODIES)
@pytest.mark.parametrize("commit", [False, True])
async def test_answer(kit: Kit, body: Any, sent: bytes, media_type: str | None, commit: bool) -> None:  # noqa: FBT001
    """The bytes asked for are answered; the work is done if, and only if, that is asked for too."""
    kit.sandbox.faults.add(Answer(503, body, headers={"Retry-After": "7"}, commit=commit))
    status, headers, received = await post(kit)
    assert (status, received) == (503, sent)
    assert (headers["Retry-After"], headers.get("Content-Type")) == ("7", media_type)
    assert names(kit) == (["bot"] if commit else [])
    assert kit.sandbox.requests[0].status == 503


async def test_answer_with_its_own_media_type(kit: Kit) -> None:
    """Headers that are given win, in whatever case."""
    kit.sandbox.faults.add(Answer(502, "<html>", headers={"content-type": "text/html", "Date": "never"}))
    status, headers, body = await post(kit)
    assert (status, body) == (502, b"<html>")
    lower = {name.lower(): value for name, value in headers.items()}
    assert (lower["content-type"], lower["date"]) == ("text/html", "never")


async def test_answer_replaces_a_refusal(kit: Kit) -> None:
    """A fault stands in front of everything, the token's check too."""
    kit.sandbox.faults.add(Answer(204))
    answered = await kit.session.get(kit.sandbox.base_url + "/userinfo")
    assert answered.status == 204
    answered.release()


@pytest.mark.parametrize("commit", [False, True])
async def test_disconnect(kit: Kit, commit: bool) -> None:  # noqa: FBT001
    """The connection ends without an answer, before the work or after it."""
    kit.sandbox.faults.add(Disconnect(commit=commit))
    with pytest.raises(aiohttp.ClientConnectionError):
        await post(kit)
    assert names(kit) == (["bot"] if commit else [])
    assert kit.sandbox.requests[0].status is None
    assert (await post(kit))[0] == 200


@pytest.mark.parametrize("length", [0, 1, 100])
async def test_truncate(kit: Kit, length: int) -> None:
    """The work is done and the whole length announced; no more than the first bytes arrive."""
    kit.sandbox.faults.add(Truncate(length))
    host, port = kit.sandbox.base_url.removeprefix("http://").removesuffix("/oauth").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(
        b"POST /oauth/fast-api-key HTTP/1.1\r\nHost: sandbox\r\nContent-Type: application/json\r\n"
        b"Authorization: Bearer %s\r\nContent-Length: %d\r\n\r\n%s" % (kit.token.encode(), len(BODY), BODY)
    )
    head, _, beginning = (await reader.read()).partition(b"\r\n\r\n")
    writer.close()
    await writer.wait_closed()
    assert head.startswith(b"HTTP/1.1 200 OK\r\n")
    assert names(kit) == ["bot"]
    assert len(beginning) == length
    assert b'{"result": {"secret": "'.startswith(beginning[:23])
    announced = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
    assert announced > 400
    assert kit.sandbox.requests[0].status == 200


async def test_truncate_as_a_client_sees_it(kit: Kit) -> None:
    """A truncated answer fails while its body is read; a length beyond its end loses nothing."""
    kit.sandbox.faults.add(Truncate(20), operation="create_key")
    with pytest.raises(aiohttp.ClientPayloadError):
        await post(kit)
    kit.sandbox.faults.add(Truncate(10**6), operation="get_user_info")
    assert (await kit.call("GET", "/userinfo")).result["email"]


@pytest.mark.parametrize("commit", [False, True])
async def test_hang(kit: Kit, commit: bool) -> None:  # noqa: FBT001
    """No answer comes; when the client goes, the sandbox lets go, and others are served all the while."""
    kit.sandbox.faults.add(Hang(commit=commit))
    caller = asyncio.create_task(post(kit))
    while not (kit.sandbox.requests and kit.sandbox.requests[0].body):
        await asyncio.sleep(0)
    assert (await kit.call("GET", "/userinfo")).status == 200
    assert kit.sandbox.open_connections == 2
    assert not caller.done()
    caller.cancel()
    with pytest.raises(asyncio.CancelledError):
        await caller
    while kit.sandbox.open_connections > 1:
        await asyncio.sleep(0)
    assert names(kit) == (["bot"] if commit else [])
    assert kit.sandbox.requests[0].status is None


async def test_operation_and_order(kit: Kit) -> None:
    """Each request takes the first fault that is meant for it; those meant for others stay in their order."""
    faults = kit.sandbox.faults
    first, second, third = Answer(501), Answer(502), Answer(503)
    faults.add(first, operation="list_keys", times=2)
    faults.add(second)
    faults.add(third, operation="get_user_info")
    assert faults.pending == (
        PendingFault(first, "list_keys", 2),
        PendingFault(second, None, 1),
        PendingFault(third, "get_user_info", 1),
    )

    async def status(path: str) -> int:
        """Ask for a path, and return the status."""
        headers = {"Authorization": f"Bearer {kit.token}"}
        async with kit.session.get(kit.sandbox.base_url + path, headers=headers) as response:
            return response.status

    assert await status("/fast-api-keys") == 501
    assert faults.pending[0] == PendingFault(first, "list_keys", 1)
    assert await status("/userinfo") == 502
    assert await status("/userinfo") == 503
    assert await status("/userinfo") == 200
    assert await status("/nowhere") == 404
    assert await status("/fast-api-key") == 501
    assert await status("/fast-api-keys") == 200
    assert not faults.pending


async def test_requests_that_are_no_operation_take_no_fault(kit: Kit) -> None:
    """An unknown path and the sandbox's own description are never spoilt."""
    kit.sandbox.faults.add(Disconnect())
    assert (await kit.call("GET", "/nowhere")).status == 404
    async with kit.session.get(kit.sandbox.base_url.removesuffix("/oauth") + "/openapi.json") as response:
        assert response.status == 200
    assert len(kit.sandbox.faults.pending) == 1


async def test_clear(kit: Kit) -> None:
    """Cleared faults do not happen."""
    kit.sandbox.faults.add(Disconnect(), times=5)
    kit.sandbox.faults.clear()
    assert kit.sandbox.faults.pending == ()
    assert (await post(kit))[0] == 200


def test_wrong_use() -> None:
    """A misspelt operation, a fault for no request, and answers that cannot be sent are errors at once."""
    faults = Faults()
    every = (
        "asset_pairs, assets, authorize, balance, balance_ex, create_key, delete_key, get_api_key_info, "
        "get_user_info, get_websockets_token, ledgers, list_keys, time, token, update_key"
    )
    with pytest.raises(ValueError, match=every):
        faults.add(Disconnect(), operation="create")
    with pytest.raises(ValueError, match="times"):
        faults.add(Disconnect(), times=0)
    for status in (0, 100, 199, 600):
        with pytest.raises(ValueError, match="status"):
            Answer(status)
    for headers in ({"a\r\nb": "c"}, {"a": "b\nc"}, {"a": "\0"}):
        with pytest.raises(ValueError, match="header"):
            Answer(200, headers=headers)
    with pytest.raises(TypeError):
        Answer(200, {"a": object()})
    with pytest.raises(ValueError, match="length"):
        Truncate(-1)
    assert faults.pending == ()


@pytest.mark.parametrize("fault", [Answer(500), Disconnect(commit=True), Truncate(3), Hang()])
def test_faults_are_values(fault: Fault) -> None:
    """Faults are equal by what they say, and cannot be changed."""
    assert fault == type(fault)(**{field: getattr(fault, field) for field in fault.__match_args__}) or isinstance(
        fault, Disconnect
    )
    with pytest.raises(AttributeError):
        fault.commit = True  # type: ignore[misc,union-attr]
