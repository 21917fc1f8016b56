"""What reaches the network, what comes back from it, and how failures are sorted: against servers that say anything."""

from __future__ import annotations

import asyncio
import gzip
import socket
import ssl
import struct
from asyncio import sslproto
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import aiohttp
import pytest
from support import TOKEN, RawServer, answering, assert_clean, everything_shown, http

from kraken_fastkey import (
    ApiError,
    CreateKeyRequest,
    FastKeyClient,
    FastKeyError,
    ResponseFormatError,
    RetryPolicy,
    StaticTokenProvider,
    Timeouts,
    TransportError,
    UnknownOutcomeError,
    UpdateKeyRequest,
)
from kraken_fastkey._deadlines import Deadlines
from kraken_fastkey._transport import _OneShotPayload, _read_in_pieces
from kraken_fastkey.sandbox import Hang, KrakenSandbox

MakeClient = Callable[..., FastKeyClient]
ONCE = RetryPolicy(max_attempts=1)
SECRET = "FAKE+SECRET/0123456789abcdefghijklmnopqrstuvwxyz0123456789abcdefghijklmnopqrstuvwxyzAB=="
CREATED = b'{"result": {"api_key": "FAKEKEY", "api_key_name": "grid-bot", "secret": "%s"}}' % SECRET.encode()


def _client(base_url: str, **options: Any) -> FastKeyClient:
    settings: dict[str, Any] = {"retry": ONCE, "on_unknown_outcome": "raise"} | options
    return FastKeyClient(StaticTokenProvider(TOKEN), base_url=base_url, **settings)


async def test_what_is_sent() -> None:
    """One request, with the headers that it needs and no others that could matter."""
    async with answering(http(200, CREATED)).listening() as server, _client(server.base_url) as client:
        key = await client.create_key(CreateKeyRequest("grid-bot"))
    assert SECRET == key.secret.get_secret_value()
    (request,) = server.requests
    head, _, body = request.partition(b"\r\n\r\n")
    lines = head.decode().split("\r\n")
    headers = dict(line.split(": ", 1) for line in lines[1:])
    assert "POST /oauth/fast-api-key HTTP/1.1" == lines[0]
    assert b'{"api_key_name":"grid-bot"}' == body
    assert {
        "Host",
        "Accept",
        "Accept-Encoding",
        "Content-Type",
        "User-Agent",
        "Authorization",
        "Content-Length",
    } == set(headers)
    assert ("application/json", "identity", f"Bearer {TOKEN}") == (
        headers["Content-Type"],
        headers["Accept-Encoding"],
        headers["Authorization"],
    )


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
@pytest.mark.parametrize("own_session", [True, False])
async def test_redirects_are_not_followed(status: int, own_session: bool) -> None:  # noqa: FBT001  # a parameter
    """Not a byte goes to another origin, neither header nor body."""
    async with answering(http(200, b"{}")).listening() as elsewhere:
        redirect = answering(http(status, b"", f"Location: {elsewhere.base_url}/fast-api-key?next=FAKE-CODE"))
        async with redirect.listening() as server, aiohttp.ClientSession() as session:
            async with _client(server.base_url, session=session if own_session else None) as client:
                with pytest.raises(UnknownOutcomeError, match="Redirects are not followed") as caught:
                    await client.create_key(CreateKeyRequest("grid-bot"))
                with pytest.raises(ApiError) as refused:
                    await client.list_keys()
    assert 0 == elsewhere.connections
    assert status == refused.value.status
    assert_clean(caught.value, "FAKE-CODE")


def _dropping_second_request(server_answers: bytes) -> RawServer:
    """Return a server that keeps the connection alive, and drops it upon the second request."""

    async def handle(server: RawServer, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await server.read_request(reader)
        if len(server.requests) != 2:
            writer.write(server_answers)
            await writer.drain()
            await server.read_request(reader)

    return RawServer(handle)


@pytest.mark.parametrize(
    ("call", "attempts"),
    [
        (lambda client: client.update_key(UpdateKeyRequest("grid-bot", new_api_key_name="trend-bot")), 1),
        (lambda client: client.delete_key("grid-bot"), 1),
        (lambda client: client.create_key(CreateKeyRequest("grid-bot")), 1),
    ],
    ids=["update_key", "delete_key", "create_key"],
)
async def test_aiohttp_does_not_send_again_by_itself(call: Callable[[FastKeyClient], Any], attempts: int) -> None:
    """aiohttp repeats PUT and DELETE on a kept-alive connection that was dropped; not ours."""
    keep_alive = b"HTTP/1.1 200 OK\r\nContent-Length: 14\r\n\r\n" + b'{"result": []}'
    async with _dropping_second_request(keep_alive).listening() as server, _client(server.base_url) as client:
        await client.list_keys()
        with pytest.raises(FastKeyError) as caught:
            await call(client)
    assert 1 + attempts == len(server.requests)
    assert ("unknown", attempts) == (caught.value.outcome, caught.value.attempts)


async def test_a_body_goes_out_once() -> None:
    """However aiohttp comes to write a body again, in whatever version: the second time nothing goes out."""
    written: list[bytes] = []

    class Writer:
        async def write(self, chunk: bytes) -> None:
            """Take what goes out."""
            written.append(chunk)

    writer: Any = Writer()
    limit = Deadlines().within(None)
    payload = _OneShotPayload(
        b"{}", "application/json", departing=lambda: None, limit=limit, pause=30.0, in_pieces=True
    )
    assert payload.consumed is False
    await payload.write_with_length(writer, None)
    assert payload.consumed is True
    with pytest.raises(ConnectionAbortedError):
        await payload.write_with_length(writer, None)
    assert [b"{}"] == written


async def test_a_connection_that_is_reset_after_sending_is_an_unknown_outcome() -> None:
    """The operating system's word for it is told; the request may have been carried out."""

    async def reset(server: RawServer, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await server.read_request(reader)
        raw = writer.get_extra_info("socket")
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    async with RawServer(reset).listening() as server, _client(server.base_url) as client:
        with pytest.raises(
            TransportError, match="the connection was lost: (Connection reset by peer|ClientOSError)"
        ) as caught:
            await client.delete_key("grid-bot")
    assert 1 == len(server.requests)
    assert "unknown" == caught.value.outcome
    assert_clean(caught.value)


@pytest.mark.parametrize("length", [1, 1024 * 1024, 1024 * 1024 + 1, 5_000_000])
async def test_an_answer_is_read_up_to_a_bound(length: int) -> None:
    """1 MiB is read; what is larger is not, and told as too large."""
    padding = b" " * max(0, length - 14)
    body = (b'{"result": []}' + padding)[:length]
    async with answering(http(200, body)).listening() as server, _client(server.base_url) as client:
        if length == 1024 * 1024:
            assert () == await client.list_keys()
            return
        with pytest.raises(ResponseFormatError, match="too large|larger than 1048576 bytes|not JSON") as caught:
            await client.list_keys()
    assert ("unknown", 200) == (caught.value.outcome, caught.value.status)


async def test_a_compressed_bomb_does_not_fill_the_memory() -> None:
    """A server that compresses though it was told not to is read to the same bound."""
    bomb = gzip.compress(b"\0" * 200_000_000, 9)
    server = answering(http(200, bomb, "Content-Encoding: gzip"))
    async with server.listening(), _client(server.base_url) as client:
        with pytest.raises(ResponseFormatError):
            await client.list_keys()


async def test_an_error_s_status_counts_even_if_its_body_is_cut_off() -> None:
    """A 429 says that nothing was done, whether its text arrives or not."""
    cut = http(429, b"x" * 10)[:-5]
    async with answering(cut).listening() as server, _client(server.base_url) as client:
        with pytest.raises(ApiError) as caught:
            await client.create_key(CreateKeyRequest("grid-bot"))
    assert ("refused", 429) == (caught.value.outcome, caught.value.status)


@pytest.mark.parametrize("length", range(len(http(200, CREATED))))
async def test_an_answer_cut_off_at_any_byte_is_an_unknown_outcome(length: int) -> None:
    """Wherever the answer to a create ends early: one request, a typed error, and no part of the secret in it."""
    async with answering(http(200, CREATED)[:length]).listening() as server, _client(server.base_url) as client:
        with pytest.raises(UnknownOutcomeError) as caught:
            await client.create_key(CreateKeyRequest("grid-bot"))
    assert 1 == len(server.requests)
    assert_clean(caught.value, SECRET[:12])


@pytest.mark.parametrize(
    "answer",
    [
        b"SSH-2.0-OpenSSH_9.2\r\n\r\n",
        b"HTTP/1.1 two hundred OK\r\n\r\n",
        b"HTTP/9.9 200 OK\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: -5\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: many\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"HTTP/1.1 200 OK\r\n" + b"X-Long: " + b"x" * 100_000 + b"\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n" + b"X-Many: x\r\n" * 100_000 + b"\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 4\r\n\r\nnope",
        b"\r\n\r\n",
        b"",
    ],
)
async def test_what_is_no_http_is_an_unknown_outcome(answer: bytes) -> None:
    """A broken answer to a create may follow a key that was made."""
    async with answering(answer).listening() as server, _client(server.base_url) as client:
        with pytest.raises(UnknownOutcomeError) as caught:
            await client.create_key(CreateKeyRequest("grid-bot"))
    assert_clean(caught.value)


async def test_a_connection_that_is_refused_was_not_sent() -> None:
    """Nobody listens: nothing was done."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        async with _client(f"http://127.0.0.1:{bound.getsockname()[1]}") as client:
            with pytest.raises(
                TransportError, match="no connection to 127.0.0.1: Connection refused. Nothing was sent"
            ) as caught:
                await client.create_key(CreateKeyRequest("grid-bot"))
    assert "not_sent" == caught.value.outcome
    assert_clean(caught.value)


async def test_a_name_that_is_not_known_was_not_sent() -> None:
    """.invalid is never resolved (RFC 6761): nothing was done."""
    async with _client("https://kraken.invalid/oauth") as client:
        with pytest.raises(TransportError, match="the name of kraken.invalid could not be looked up") as caught:
            await client.create_key(CreateKeyRequest("grid-bot"))
    assert "not_sent" == caught.value.outcome
    assert_clean(caught.value)


async def test_a_server_without_tls_was_not_sent() -> None:
    """https to a server that speaks plain http fails in the handshake: the token did not go out."""

    async def speak_first(_: RawServer, __: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")

    async with RawServer(speak_first).listening() as server:
        async with _client(server.base_url.replace("http:", "https:")) as client:
            with pytest.raises(TransportError, match="no connection to 127.0.0.1: TLS failed, ") as caught:
                await client.create_key(CreateKeyRequest("grid-bot"))
    assert "not_sent" == caught.value.outcome
    assert_clean(caught.value)


async def test_a_certificate_that_is_not_trusted_was_not_sent(self_signed: ssl.SSLContext) -> None:
    """A stranger's certificate ends the handshake: the token did not go out."""
    async with answering(b"").listening(self_signed) as server, _client(server.base_url) as client:
        with pytest.raises(TransportError, match="the TLS certificate of 127.0.0.1 was not accepted") as caught:
            await client.create_key(CreateKeyRequest("grid-bot"))
    assert "not_sent" == caught.value.outcome
    assert_clean(caught.value)


async def test_a_wait_for_a_connection_that_is_too_long_was_not_sent(sandbox: KrakenSandbox) -> None:
    """A call that found no free connection in its time has done nothing."""
    sandbox.faults.add(Hang())
    token = StaticTokenProvider(sandbox.issue_token())
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=1)) as session:
        slow = FastKeyClient(token, base_url=sandbox.base_url, session=session, retry=ONCE, timeout=Timeouts(read=0.2))
        quick = FastKeyClient(
            token, base_url=sandbox.base_url, session=session, retry=ONCE, timeout=Timeouts(pool=0.02)
        )
        bounded = FastKeyClient(token, base_url=sandbox.base_url, session=session, retry=ONCE, timeout=0.02)
        hanging = asyncio.create_task(slow.list_keys())
        while not sandbox.requests:
            await asyncio.sleep(0)
        for client in (quick, bounded):
            with pytest.raises(TransportError, match="in the time allowed. Nothing was sent") as caught:
                await client.create_key(CreateKeyRequest("grid-bot"))
            assert "not_sent" == caught.value.outcome
        with pytest.raises(TransportError, match="no answer in the time allowed"):
            await hanging
    assert () == sandbox.keys()


async def test_a_session_that_fails_in_its_own_way_is_sorted_too(sandbox: KrakenSandbox) -> None:
    """Whatever a borrowed session raises becomes a TransportError, without what it quotes."""

    async def broken(_request: aiohttp.ClientRequest, _handler: aiohttp.ClientHandlerType) -> aiohttp.ClientResponse:
        raise ZeroDivisionError(TOKEN)

    async with aiohttp.ClientSession(middlewares=(broken,)) as session:
        client = _client(sandbox.base_url, session=session)
        with pytest.raises(TransportError, match="the request failed with ZeroDivisionError") as caught:
            await client.create_key(CreateKeyRequest("grid-bot"))
    assert "not_sent" == caught.value.outcome
    assert_clean(caught.value)


async def test_a_cancelled_call_shows_no_secret(sandbox: KrakenSandbox) -> None:
    """A cancellation goes through as it is; no frame of it shows a header."""
    sandbox.faults.add(Hang())
    token = sandbox.issue_token()
    async with FastKeyClient(StaticTokenProvider(token), base_url=sandbox.base_url, close_timeout=0) as client:
        call = asyncio.create_task(client.create_key(CreateKeyRequest("grid-bot")))
        while not sandbox.requests:
            await asyncio.sleep(0)
        call.cancel("enough")
        with pytest.raises(asyncio.CancelledError, match="enough") as caught:
            await call
    assert token not in everything_shown(caught.value)


async def test_the_leak_detector_detects() -> None:
    """The check above can fail: a token in a frame's variable, an attribute or a context is found."""

    def leak_in_a_frame() -> None:
        header = f"Bearer {TOKEN}"
        raise TransportError(f"length {len(header)}")

    with pytest.raises(TransportError) as in_frame:
        leak_in_a_frame()
    assert TOKEN in everything_shown(in_frame.value)
    attribute = TransportError("x")
    attribute.codes = (TOKEN,)
    assert TOKEN in everything_shown(attribute)
    chained = TransportError("x")
    chained.__context__ = ValueError(TOKEN)
    assert TOKEN in everything_shown(chained)


async def test_own_connections_are_read_in_pieces_of_64_kib(sandbox: KrakenSandbox) -> None:
    """asyncio would make a buffer of 256 KiB for each read; a session that was passed in is left as it is."""
    sizes = []
    async with aiohttp.ClientSession() as borrowed:
        for session in (None, borrowed):
            provider = StaticTokenProvider(sandbox.issue_token())
            async with FastKeyClient(provider, base_url=sandbox.base_url, session=session) as client:
                await client.create_key(CreateKeyRequest())
                transport: Any = client._shared.engine._transport
                (waiting,) = transport._session.connector._conns.values()
                sizes.append(waiting[0][0].transport.max_size)
    assert [64 * 1024, 256 * 1024] == sizes


def test_behind_tls_it_is_tls_that_reads() -> None:
    """The buffers are made by asyncio's TLS protocol there; where nothing has such a size, nothing is set."""
    layer = SimpleNamespace(max_size=256 * 1024)
    tls, plain, other = SimpleNamespace(_ssl_protocol=layer), SimpleNamespace(max_size=1024), SimpleNamespace()
    for transport in (tls, plain, other):
        writer: Any = SimpleNamespace(transport=transport)
        _read_in_pieces(writer)
    assert (64 * 1024, 1024) == (layer.max_size, plain.max_size)
    assert {} == vars(other)


def test_asyncio_s_tls_has_the_size_that_is_set() -> None:
    """The attribute is asyncio's own, in each version that is tested; without it, reads would just cost more."""
    assert 64 * 1024 < sslproto.SSLProtocol.max_size
