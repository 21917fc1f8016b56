"""The sandbox as a server: its start and end, its log, its clock, its chance."""

import asyncio
import email.utils
import re
import socket
import time
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Any

import aiohttp
import pytest
from sandbox_kit import START, Clock, Kit, running

from kraken_fastkey.sandbox import Hang, KrakenSandbox


@pytest.fixture(name="kit")
async def _kit() -> AsyncIterator[Kit]:
    """Run a sandbox with a client."""
    async with running() as kit:
        yield kit


async def until(condition: Any) -> None:
    """Let the loop run until something holds."""
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0)


def port_of(sandbox: KrakenSandbox) -> int:
    """Return the port that a sandbox listens on."""
    match = re.fullmatch(r"http://(?:[0-9.]+|\[::1\]):([0-9]+)/oauth", sandbox.base_url)
    assert match
    return int(match[1])


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", "8.8.8.8"])  # noqa: S104 (refused)
def test_host_must_be_loopback(host: str) -> None:
    """Nobody else's network can reach the sandbox."""
    with pytest.raises(ValueError, match="loopback"):
        KrakenSandbox(host=host)


@pytest.mark.parametrize("host", ["example.com", "", "LOCALHOST.example"])
def test_host_must_be_an_address(host: str) -> None:
    """No name is looked up."""
    with pytest.raises(ValueError, match="address"):
        KrakenSandbox(host=host)


@pytest.mark.parametrize(
    ("host", "origin"),
    [("127.0.0.1", "http://127.0.0.1:"), ("localhost", "http://127.0.0.1:"), ("127.1.2.3", "http://127.1.2.3:")],
)
async def test_loopback_hosts(host: str, origin: str) -> None:
    """Every loopback address will do, and ``base_url`` leads there."""
    async with running(host=host) as kit:
        assert kit.sandbox.base_url.startswith(origin)
        assert (await kit.call("GET", "/userinfo")).status == 200


async def test_ipv6() -> None:
    """IPv6's loopback address stands in brackets."""
    try:
        with socket.socket(socket.AF_INET6) as probe:
            probe.bind(("::1", 0))
    except OSError:
        pytest.skip("this machine has no IPv6 loopback")
    async with running(host="::1") as kit:
        assert kit.sandbox.base_url == f"http://[::1]:{port_of(kit.sandbox)}/oauth"
        assert (await kit.call("GET", "/userinfo")).status == 200


async def test_base_url_before_the_start() -> None:
    """Without a port there is no URL; a port that is given is known at once."""
    with pytest.raises(RuntimeError, match="not been started"):
        _ = KrakenSandbox().base_url
    assert KrakenSandbox(port=8080).base_url == "http://127.0.0.1:8080/oauth"


async def test_start_and_close() -> None:
    """Start is for once, close for any number of times; in between it can start again, on the same port."""
    sandbox = KrakenSandbox(seed=1)
    await sandbox.aclose()
    await sandbox.start()
    with pytest.raises(RuntimeError, match="already"):
        await sandbox.start()
    url, token = sandbox.base_url, sandbox.issue_token()
    await sandbox.aclose()
    await sandbox.aclose()
    assert sandbox.base_url == url
    headers = {"Authorization": f"Bearer {token}"}
    async with aiohttp.ClientSession(headers=headers) as session:
        with pytest.raises(aiohttp.ClientConnectorError):
            await session.get(url + "/userinfo")
        async with sandbox, session.get(url + "/userinfo") as response:
            assert response.status == 200
    assert len(sandbox.requests) == 1


async def test_port_that_is_taken(kit: Kit) -> None:
    """A taken port is said, and leaves nothing behind: the sandbox can start when the port is free."""
    other = KrakenSandbox(port=port_of(kit.sandbox))
    with pytest.raises(OSError, match="address already in use"):
        await other.start()
    await other.aclose()
    await kit.sandbox.aclose()
    async with other:
        assert other.base_url == kit.sandbox.base_url


async def test_close_cancels_what_hangs() -> None:
    """Closing waits for no hung call, for no half-sent request and for no idle connection; no task remains."""
    tasks = asyncio.all_tasks()
    async with running() as kit:
        kit.sandbox.faults.add(Hang(commit=True), times=2)
        callers = [asyncio.create_task(kit.create(name)) for name in ("a", "b")]
        await until(lambda: len(kit.sandbox.keys()) == 2)
        _, half = await asyncio.open_connection("127.0.0.1", port_of(kit.sandbox))
        half.write(b"POST /oauth/fast-api-key HTTP/1.1\r\nHost: sandbox\r\nContent-Length: 9\r\n\r\n{")
        _, idle = await asyncio.open_connection("127.0.0.1", port_of(kit.sandbox))
        await until(lambda: len(kit.sandbox.requests) == 3)
        await until(lambda: kit.sandbox.open_connections == 4)
        began = time.monotonic()
        await kit.sandbox.aclose()
        assert time.monotonic() - began < 2
        assert not [task for task in asyncio.all_tasks() if "RequestHandler" in repr(task.get_coro())]
        assert kit.sandbox.open_connections == 0
        for caller in callers:
            with pytest.raises(aiohttp.ClientConnectionError):
                await caller
        for writer in (half, idle):
            writer.close()
            await writer.wait_closed()
        assert [request.status for request in kit.sandbox.requests] == [None] * 3
    assert asyncio.all_tasks() == tasks


async def test_close_with_an_answer_that_nobody_reads() -> None:
    """A client that does not read what it asked for does not keep the sandbox from closing."""
    async with running(email="x" * 10_000_000) as kit:
        reader, writer = await asyncio.open_connection("127.0.0.1", port_of(kit.sandbox), limit=10)
        writer.write(
            b"GET /oauth/userinfo HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer %s\r\n\r\n" % kit.token.encode()
        )
        await reader.readexactly(5)
        await kit.sandbox.aclose()
        assert kit.sandbox.open_connections == 0
        writer.close()
        with suppress(ConnectionError):
            await writer.wait_closed()


@pytest.mark.parametrize("steps", range(6))
async def test_close_while_a_client_connects(steps: int) -> None:
    """A connection that is just being accepted when the sandbox closes is dropped, too."""
    async with running() as kit:
        with socket.create_connection(("127.0.0.1", port_of(kit.sandbox))) as client:
            client.settimeout(10)
            for _ in range(steps):
                await asyncio.sleep(0)
            await kit.sandbox.aclose()
            await until(lambda: not kit.sandbox.open_connections)
            for _ in range(10):
                await asyncio.sleep(0)
            with suppress(ConnectionError):
                assert client.recv(1) == b""
        assert kit.sandbox.open_connections == 0


async def test_connections_are_counted() -> None:
    """Total, open and peak tell how a client uses its connections."""
    async with running() as kit:
        sandbox = kit.sandbox
        assert (sandbox.total_connections, sandbox.open_connections, sandbox.peak_connections) == (0, 0, 0)
        for _ in range(3):
            await kit.call("GET", "/userinfo")
        assert (sandbox.total_connections, sandbox.open_connections, sandbox.peak_connections) == (1, 1, 1)
        writers = [(await asyncio.open_connection("127.0.0.1", port_of(sandbox)))[1] for _ in range(4)]
        await until(lambda: sandbox.open_connections == 5)
        for writer in writers:
            writer.close()
            await writer.wait_closed()
        await until(lambda: sandbox.open_connections == 1)
        assert (sandbox.total_connections, sandbox.peak_connections) == (5, 5)
    assert (sandbox.total_connections, sandbox.open_connections, sandbox.peak_connections) == (5, 0, 5)


async def test_log(kit: Kit) -> None:
    """Every request is logged in order, with its parts, its operation and the status of its answer."""
    await kit.create("bot")
    await kit.update("bot")
    await kit.delete("bot")
    await kit.listed()
    await kit.call("GET", "/userinfo?a=b%20c", token="wrong")
    await kit.call("PATCH", "/fast-api-key", body=b"\xff")
    log = kit.sandbox.requests
    assert [(request.method, request.path, request.operation, request.status) for request in log] == [
        ("POST", "/oauth/fast-api-key", "create_key", 200),
        ("PUT", "/oauth/fast-api-key", "update_key", 200),
        ("DELETE", "/oauth/fast-api-key", "delete_key", 200),
        ("GET", "/oauth/fast-api-keys", "list_keys", 200),
        ("GET", "/oauth/fast-api-key", "list_keys", 200),
        ("GET", "/oauth/userinfo", "get_user_info", 401),
        ("PATCH", "/oauth/fast-api-key", None, 404),
    ]
    assert log[0].json == {"api_key_name": "bot"}
    assert log[0].body == b'{"api_key_name": "bot"}'
    assert log[0].headers["authorization"] == f"Bearer {kit.token}"
    assert log[3].json is None
    assert log[5].query == "a=b%20c"
    assert log[6].json is None
    log.clear()
    assert kit.sandbox.requests == []


async def test_log_shows_no_secret(kit: Kit) -> None:
    """A request's repr has neither headers nor query nor body."""
    await kit.create("canary-name")
    await kit.call("GET", "/nowhere?canary=1", token="canary-token")
    shown = repr(kit.sandbox.requests)
    assert "canary" not in shown
    assert kit.token not in shown
    assert "POST" in shown


async def test_json_of_a_body_that_is_too_deep(kit: Kit) -> None:
    """What the interpreter cannot read as JSON is none."""
    await kit.call("POST", "/nowhere", body=b"[" * 100_000)
    assert kit.sandbox.requests[0].json is None


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", ""),
        ("GET", "/"),
        ("GET", "/fast-api-key/"),
        ("GET", "/fast-api-keys/x"),
        ("POST", "/fast-api-keys"),
        ("PATCH", "/fast-api-key"),
        ("DELETE", "/userinfo"),
        ("OPTIONS", "/userinfo"),
        ("GET", "/token"),
        ("PUT", "/authorize"),
        ("GET", "/authorize/"),
        ("GET", "/../fast-api-keys"),
    ],
)
async def test_everything_else_is_404(kit: Kit, method: str, path: str) -> None:
    """A path or method that Kraken does not have is answered in Kraken's shape, token or not."""
    for authorization in ([], [f"Bearer {kit.token}"]):
        answered = await kit.call(method, path, authorization=authorization)
        assert (answered.status, answered.json) == (404, {"error": ["EGeneral:Unknown method"]})


async def test_paths_outside_the_base(kit: Kit) -> None:
    """The operations are below ``/oauth`` and nowhere else."""
    origin = kit.sandbox.base_url.removesuffix("/oauth")
    for path in (
        "/",
        "/fast-api-keys",
        "/oauthfast-api-keys",
        "/OAUTH/fast-api-keys",
        "/0/oauth/userinfo",
        "/0/",
        "/0/privateBalance",
    ):
        async with kit.session.get(origin + path) as response:
            assert response.status == 404


async def test_head_is_no_get(kit: Kit) -> None:
    """No method stands in for another."""
    async with kit.session.head(kit.sandbox.base_url + "/userinfo") as response:
        assert (response.status, await response.read()) == (404, b"")


async def test_date_follows_the_clock(kit: Kit) -> None:
    """Answers are dated by the sandbox's clock, in the form that HTTP asks for."""
    kit.clock.now = 1_000_000_000.9
    for path in ("/nowhere", "/userinfo"):
        answered = await kit.call("GET", path, authorization=[])
        assert answered.headers["Date"] == "Sun, 09 Sep 2001 01:46:40 GMT"
        assert email.utils.parsedate_to_datetime(answered.headers["Date"]).timestamp() == 1_000_000_000


async def test_client_that_goes_while_it_sends(kit: Kit) -> None:
    """A call whose body never ends is logged without a body and an answer, and makes no key."""
    _, writer = await asyncio.open_connection("127.0.0.1", port_of(kit.sandbox))
    writer.write(
        b"POST /oauth/fast-api-key HTTP/1.1\r\nHost: sandbox\r\nContent-Type: application/json\r\n"
        b"Content-Length: 100\r\nAuthorization: Bearer %s\r\n\r\n" % kit.token.encode()
    )
    writer.write(b'{"api_key_name": "bot"}')
    await until(lambda: kit.sandbox.requests)
    writer.close()
    await writer.wait_closed()
    await until(lambda: not kit.sandbox.open_connections)
    (request,) = kit.sandbox.requests
    assert (request.body, request.status) == (b"", None)
    assert kit.sandbox.keys() == ()


async def test_compressed_body_is_no_json(kit: Kit) -> None:
    """A content coding that was not agreed on is not undone."""
    headers = {"Authorization": f"Bearer {kit.token}", "Content-Encoding": "gzip", "Content-Type": "application/json"}
    async with kit.session.post(kit.sandbox.base_url + "/fast-api-key", data=b"no gzip", headers=headers) as response:
        assert await response.json() == {"error": ["EGeneral:Invalid arguments"]}


async def transcript(seed: int | None) -> list[object]:
    """Return all that a sandbox tells in a fixed course of calls, but for its port."""
    async with running(seed=seed) as kit:
        answers = [await kit.create("a"), await kit.create("b"), await kit.update("a", nonce_window=1)]
        answers.append(await kit.call("GET", "/fast-api-keys"))
        told: list[object] = [(a.status, dict(a.headers), a.body) for a in answers]
        return [kit.token, kit.sandbox.issue_token(), kit.sandbox.keys(), *told]


async def test_seed_and_clock_fix_everything() -> None:
    """The same seed and clock give the same bytes; another seed other ones; none, different ones each time."""
    assert await transcript(1) == await transcript(1)
    assert (await transcript(1))[:3] != (await transcript(2))[:3]
    assert (await transcript(None))[:3] != (await transcript(None))[:3]


async def test_clock_by_default() -> None:
    """Without a clock of its own the sandbox goes by the real one."""
    before = time.time()
    async with running(clock=time.time) as kit:
        created = int((await kit.create()).result["created_time"])
    assert int(before) <= created <= time.time()
    assert Clock().now == START
