"""A server that costs next to nothing: the same answer to each request, whatever it asks, in a process of its own.

    python benchmarks/server.py [CERTIFICATE]

Speaks TLS where there is a file with a certificate and its key. Prints its port, and ends when its standard input does.
"""

import asyncio
import json
import ssl
import sys
from typing import Final, cast

KEY: Final = {
    "api_key": "J7dWPyVbHBGGLDVhbpCvTIDZHqXyzsKtRSNlGZmgMPVpdqlBxAXnkRIE",
    "api_key_name": "bot",
    "created_time": "1764167237",
    "id": "Ym90",
    "ip_allowlist": ["203.0.113.0/24"],
    "last_used": 0,
    "modified_time": "1764167237",
    "nonce": 0,
    "nonce_window": 0,
    "oauth_client": "benchmark-client",
    "permissions": {"funds_query": True, "trades_query_open": True},
    "purpose": "standard",
    "query_from": 0,
    "query_to": 0,
    "secret": "bm90IGEgc2VjcmV0LCBqdXN0IDY0IGJ5dGVzIHRoYXQgbG9vayBsaWtlIG9uZSBmb3IgdGhlIGJlbmNobWFyaw==",
    "valid_until": 4102444800,
}
"""The key in the answer: all that Kraken describes, in values of their usual size."""

_BODY: Final = json.dumps({"error": [], "result": KEY}).encode()
_ANSWER: Final = (
    b"HTTP/1.1 200 OK\r\n"
    b"Date: Wed, 26 Nov 2025 14:27:17 GMT\r\n"
    b"Content-Type: application/json; charset=utf-8\r\n"
    b"Connection: keep-alive\r\n"
    b"Cache-Control: private, no-store\r\n"
    b"Strict-Transport-Security: max-age=31536000\r\n"
    b"X-Content-Type-Options: nosniff\r\n"
    b"Server: cloudflare\r\n"
    b"CF-RAY: 8f0123456789abcd-AMS\r\n"
    b"Content-Length: %d\r\n\r\n%b" % (len(_BODY), _BODY)
)
_LENGTH: Final = b"\r\ncontent-length: "


class _Answering(asyncio.Protocol):
    """Finds where each request ends, and reads nothing else of it."""

    def __init__(self) -> None:
        self._received = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        self._received += data
        while (end := self._received.find(b"\r\n\r\n")) >= 0:
            head = self._received[: end + 2].lower()
            start = head.find(_LENGTH)
            length = int(head[start + len(_LENGTH) : head.index(b"\r\n", start + 2)]) if start >= 0 else 0
            if len(self._received) < end + 4 + length:
                return
            self._received = self._received[end + 4 + length :]
            self._transport.write(_ANSWER)


async def _serve(certificate: str | None = None) -> None:
    tls = None
    if certificate:
        tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        tls.load_cert_chain(certificate)
    loop = asyncio.get_running_loop()
    server = await loop.create_server(_Answering, "127.0.0.1", 0, backlog=1000, ssl=tls)
    print(server.sockets[0].getsockname()[1], flush=True)
    await loop.run_in_executor(None, sys.stdin.read)
    server.close()


if __name__ == "__main__":
    asyncio.run(_serve(*sys.argv[1:]))
