"""Bytes out, bytes in, or a failure that is sorted. The one module of the client that touches aiohttp."""

from __future__ import annotations

import asyncio
import functools
import ipaddress
import math
import os
import ssl
import warnings
from collections.abc import Callable, Mapping
from typing import Any, Final, Protocol
from urllib.parse import urlsplit

import aiohttp
import attrs
from aiohttp.abc import AbstractStreamWriter

from kraken_fastkey._deadlines import Deadlines, Limit
from kraken_fastkey._errors import ClientClosedError, InvalidRequestError, Outcome, TransportError
from kraken_fastkey._secret import SecretStr
from kraken_fastkey._turns import Turns
from kraken_fastkey._values import Value
from kraken_fastkey._wire.http import ACCEPT, MAX_ANSWER_BYTES, Completeness, WireRequest, WireResponse

_MAX_CONNECTIONS: Final = 100  # as aiohttp's own default: with fewer, callers would wait for no reason
_MAX_SECONDS: Final = 1e9  # longer than anybody waits, and small enough for an event loop
_PIECE: Final = 64 * 1024  # bytes to read at once; as many as aiohttp holds before it stops reading
_NEVER_SENT: Final = (
    aiohttp.ClientConnectorError,
    aiohttp.ClientHttpProxyError,
    aiohttp.ConnectionTimeoutError,
    aiohttp.InvalidURL,
    aiohttp.ServerFingerprintMismatch,
)


@attrs.frozen(kw_only=True, eq=False, repr=False)
class Timeouts(Value):
    """How long one attempt may take, by phase, in seconds; each is more than 0, or `None` for no bound.

    Args:
        pool: Until a connection of the pool is free, and open.
        connect: Until a new connection is open, TLS included.
        read: Until the next bytes of the answer.
        total: The whole attempt.

    Raises:
        InvalidRequestError: A number is out of its range.
    """

    pool: float | None = None
    connect: float | None = 10.0
    read: float | None = 30.0
    total: float | None = 60.0

    def __attrs_post_init__(self) -> None:
        faults = {
            f"timeout.{field.name}": "must be seconds, more than 0, or None for no bound"
            for field in attrs.fields(Timeouts)
            if not _is_bound(getattr(self, field.name))
        }
        if faults:
            raise InvalidRequestError(faults)


def _is_bound(value: object) -> bool:
    if value is None:
        return True
    return isinstance(value, (int, float)) and not isinstance(value, bool) and 0 < value <= _MAX_SECONDS


@functools.cache
def user_agent() -> str:
    """Return what requests say that they come from."""
    # Looked up for the first request: to read the metadata takes milliseconds, which an import is not to cost.
    from kraken_fastkey._version import __version__  # noqa: PLC0415

    return f"kraken-fastkey/{__version__} aiohttp/{aiohttp.__version__}"


@functools.cache
def _common_headers() -> Mapping[str, str]:
    return {**ACCEPT, "User-Agent": user_agent()}


def _ignore() -> None:
    """Do nothing."""


class Transport(Protocol):
    """What carries requests. A simulated network may take aiohttp's place."""

    async def send(
        self,
        request: WireRequest,
        authorization: SecretStr,
        within: float | None,
        departing: Callable[[], object] = _ignore,
    ) -> WireResponse:
        """Send one request, once, and return the answer, whatever it is.

        Args:
            request: The request.
            authorization: The `Authorization` header's value.
            within: How many seconds there are for all of it; `None` for no bound but the transport's own.
            departing: Called right before anything of a request with a body leaves: until then, nothing is done. If
                it raises an `OSError`, nothing leaves.

        Raises:
            TransportError: There was no answer; `outcome` says whether the request may have been carried out.
            ClientClosedError: The transport is closed, or belongs to another event loop.
        """
        ...

    async def aclose(self) -> None:
        """Close what the transport has opened."""
        ...


def check_session(session: object) -> None:
    """Check what was passed for a session.

    Raises:
        InvalidRequestError: It is neither `None` nor an `aiohttp.ClientSession`.
    """
    if session is not None and not isinstance(session, aiohttp.ClientSession):
        raise InvalidRequestError({"session": f"must be an aiohttp.ClientSession, not {type(session).__name__}"})


def check_base_url(base_url: object) -> None:
    """Check what was passed for a base URL.

    Raises:
        InvalidRequestError: It is not https, nor http to a loopback address; or has more than host, port and path.
    """
    fault = _base_url_fault(base_url)
    if fault:
        raise InvalidRequestError({"base_url": fault})


def _base_url_fault(base_url: object) -> str | None:
    if not isinstance(base_url, str):
        return f"must be a str, not {type(base_url).__name__}"
    if not base_url.isascii() or not base_url.isprintable() or " " in base_url or "\\" in base_url:
        return "must be plain ASCII without spaces: write a host's name in its xn-- form"
    try:
        parts = urlsplit(base_url)
        host, _ = parts.hostname, parts.port
    except ValueError:
        return "is no URL"
    if "@" in parts.netloc:
        return "must not hold credentials"
    if "?" in base_url or "#" in base_url:
        return "must end with its path: no query and no fragment"
    if not host or parts.scheme not in {"https", "http"}:
        return "must be an https URL, such as 'https://api.kraken.com/oauth'"
    if parts.scheme == "http" and not _is_loopback(host):
        return f"would send the access token in clear to {host}: use https (plain http is for loopback alone)"
    return None


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


class _OneShotPayload(aiohttp.BytesPayload):
    """A body that goes out once, and knows whether it did.

    aiohttp sends PUT and DELETE a second time, unasked, when a kept-alive connection turns out to be closed.

    Args:
        body: The bytes.
        media_type: What they are.
        departing: Called before they go out; if it raises, they stay.
        limit: The attempt's, which from then on bounds the wait for the answer.
        pause: That wait, in seconds; `None` for no bound but the limit's own.
        in_pieces: Whether the answer is to be read in small pieces.
    """

    def __init__(
        self,
        body: bytes,
        media_type: str,
        *,
        departing: Callable[[], object],
        limit: Limit,
        pause: float | None,
        in_pieces: bool,
    ) -> None:
        super().__init__(body, content_type=media_type)
        self.sent = False
        self._departing = departing
        self._limit = limit
        self._pause = pause
        self._in_pieces = in_pieces

    @property
    def consumed(self) -> bool:
        """Whether it has gone out; aiohttp does not repeat a request then."""
        return self.sent

    async def write_with_length(self, writer: AbstractStreamWriter, content_length: int | None) -> None:
        """Write the body; called by aiohttp right before anything of the request leaves."""
        if self.sent:
            raise ConnectionAbortedError("not sent a second time")
        self._departing()
        self.sent = True
        self._limit.pause_at_most(self._pause)
        if self._in_pieces:
            _read_in_pieces(writer)
        await super().write_with_length(writer, content_length)


class _LostConnectionError(aiohttp.ClientError):
    """A connection was lost: in a class for which aiohttp does not send a request a second time, unasked."""

    def __init__(self, error: Exception) -> None:
        super().__init__()
        self.error = error


async def _send_once(request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType) -> aiohttp.ClientResponse:
    """Keep aiohttp from repeating a read, too: repeats are counted, and spaced out, by the retry policy alone."""
    try:
        return await handler(request)
    except aiohttp.ClientConnectorError:
        raise
    except (aiohttp.ClientOSError, aiohttp.ServerDisconnectedError) as error:
        lost = _LostConnectionError(error)
    raise lost


_SEND_ONCE: Final = (_send_once,)


class AiohttpTransport:
    """Requests by aiohttp.

    Args:
        base_url: What each path is appended to, checked; slashes at its end are dropped.
        session: A session to use and never to close; without one, one is opened at the first request.
        timeouts: How long one attempt may take.
    """

    def __init__(self, base_url: str, session: aiohttp.ClientSession | None, timeouts: Timeouts) -> None:
        self._base_url = base_url.rstrip("/")
        self._session = session
        self._owns_session = session is None
        self._timeouts = timeouts
        self._deadlines = Deadlines()
        self._turns = Turns(math.inf)  # until the session is known
        # The other bounds are for `Deadlines`. Only a request without a body does not tell when it leaves, and when
        # the wait for its answer begins.
        self._reading = aiohttp.ClientTimeout(
            total=None,
            connect=timeouts.pool,
            sock_connect=timeouts.connect,
            sock_read=timeouts.read,
            # aiohttp rounds longer bounds up to whole seconds, past the deadline.
            ceil_threshold=math.inf,
        )
        self._writing = attrs.evolve(self._reading, sock_read=None)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._closed = False

    async def send(
        self,
        request: WireRequest,
        authorization: SecretStr | Mapping[str, SecretStr],
        within: float | None,
        departing: Callable[[], object] = _ignore,
    ) -> WireResponse:
        """Send one request, once, and return the answer; see `Transport`.

        The trading API knows no `Authorization` header: a mapping has the secret headers that take its place.
        """
        session = self._get_session()
        total = self._timeouts.total
        limit = self._deadlines.within(within if total is None or (within is not None and within < total) else total)
        payload: _OneShotPayload | None = None
        if request.body:
            payload = _OneShotPayload(
                request.body,
                request.media_type,
                departing=departing,
                limit=limit,
                pause=self._timeouts.read,
                in_pieces=self._owns_session,
            )
        try:
            if not self._turns.take_at_once():
                await self._wait_for_turn(authorization, limit)
            try:
                self._check_open()  # it may have waited for its turn
                with limit:
                    response = await session.request(
                        request.method,
                        self._base_url + request.path,
                        data=payload,
                        headers=self._headers(authorization),
                        allow_redirects=False,
                        raise_for_status=False,
                        timeout=self._reading if payload is None else self._writing,
                        middlewares=_SEND_ONCE if self._owns_session and payload is None else None,
                    )
                try:
                    answer = await _read(response.content, limit, self._timeouts.read)
                    return WireResponse(response.status, response.headers, *answer, response.version)
                finally:
                    if not response.closed:  # as a rule it is by now, and releasing it again would cost 1 % of a call
                        response.release()
            finally:
                self._turns.give_back()
        except ClientClosedError:
            raise
        except Exception as error:  # noqa: BLE001  # whatever aiohttp may raise, nothing of it gets out
            failure = _sort(error, sent=payload is None or payload.sent)
        except BaseException as error:  # noqa: BLE001  # raised again
            # A cancellation goes on as it is, but without aiohttp's frames: their locals hold the headers.
            error.__context__ = None
            raise error.with_traceback(None)  # noqa: B904  # its context would be itself
        # Out of the except block, so that aiohttp's exception is not its context.
        raise failure

    async def _wait_for_turn(self, authorization: SecretStr | Mapping[str, SecretStr], limit: Limit) -> None:
        # The token tells the accounts apart, so that each has its turn; by its hash, which is compared at once.
        party = hash(authorization) if isinstance(authorization, SecretStr) else None
        try:
            with limit:
                limit.pause_at_most(self._timeouts.pool)
                await self._turns.take(party)
        except TimeoutError:
            raise aiohttp.ConnectionTimeoutError from None
        limit.pause_at_most(None)

    def _headers(self, authorization: SecretStr | Mapping[str, SecretStr]) -> dict[str, str]:
        """Return the headers as sent: unmasked here, and in no variable, so that no frame of ours shows them."""
        common = {} if self._owns_session else _common_headers()  # our own session has them
        if isinstance(authorization, SecretStr):
            return {**common, "Authorization": authorization.get_secret_value()}
        return {**common, **{name: value.get_secret_value() for name, value in authorization.items()}}

    async def aclose(self) -> None:
        """Close the session, if it is ours."""
        self._closed = True
        self._deadlines.close()
        if self._owns_session and self._session is not None:
            await self._session.close()

    def _check_open(self) -> None:
        if self._closed:
            raise ClientClosedError("the client is closed: open a new one")

    def _get_session(self) -> aiohttp.ClientSession:
        loop = asyncio.get_running_loop()
        self._check_open()
        if self._loop is not loop and self._loop is not None:
            raise ClientClosedError("the client belongs to another event loop: open one client in each loop")
        if self._session is None:
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=_MAX_CONNECTIONS),
                # No cookie of one account may travel with another's request.
                cookie_jar=aiohttp.DummyCookieJar(),
                # Sent along without being sorted anew for each request: a header costs 1 % of a call.
                headers=_common_headers(),
                trust_env=False,
            )
        if not self._owns_session and self._session.closed:
            raise ClientClosedError("the aiohttp session that was passed in is closed: keep it open while it is used")
        if self._loop is None:
            self._loop = loop
            connector = self._session.connector
            self._turns = Turns((connector.limit if connector is not None else 0) or math.inf)
        return self._session

    def __del__(self) -> None:
        if getattr(self, "_owns_session", False) and self._session is not None and not self._session.closed:
            warnings.warn(
                "a FastKeyClient was dropped without being closed: use it in an `async with`, or await its aclose()",
                ResourceWarning,
                source=self,
                stacklevel=1,
            )


def _read_in_pieces(writer: AbstractStreamWriter) -> None:
    """Have asyncio read up to 64 KiB at once: it makes a buffer of that size for each read, 256 KiB by default."""
    transport = getattr(writer, "transport", None)
    # Where there is TLS, its protocol makes the buffers. A loop that has no such attribute does it in its own way.
    reader: Any = getattr(transport, "_ssl_protocol", transport)
    if getattr(reader, "max_size", 0) > _PIECE:
        reader.max_size = _PIECE


async def _read(content: aiohttp.StreamReader, limit: Limit, pause: float | None) -> tuple[bytes, Completeness]:
    body = bytearray()
    try:
        while not content.is_eof() and len(body) <= MAX_ANSWER_BYTES:
            with limit:
                limit.pause_at_most(pause)
                body += await content.readany()
        # Small answers come along with their headers, and need no wait.
        body += content.read_nowait()
    except (aiohttp.ClientError, OSError):
        # The status has arrived, and may say enough. TimeoutError is an OSError, too.
        return bytes(body), "cut_off"
    if len(body) > MAX_ANSWER_BYTES:
        return bytes(body[:MAX_ANSWER_BYTES]), "too_large"
    return bytes(body), "complete"


def _sort(error: Exception, *, sent: bool) -> TransportError:
    if isinstance(error, _LostConnectionError):
        error = error.error
    outcome: Outcome = "not_sent" if isinstance(error, _NEVER_SENT) or not sent else "unknown"
    advice = (
        "Nothing was sent: check the network, and base_url"
        if outcome == "not_sent"
        else "Whether Kraken has carried it out is not known"
    )
    return TransportError(f"{_describe(error)}. {advice}.", outcome=outcome)


def _describe(error: Exception) -> str:
    """Say what happened without quoting aiohttp, whose texts and arguments may hold anything."""
    match error:
        case aiohttp.ClientConnectorDNSError():
            return f"the name of {error.host} could not be looked up"
        case aiohttp.ClientConnectorCertificateError():
            return f"the TLS certificate of {error.host} was not accepted"
        case aiohttp.ClientConnectorError():
            return f"no connection to {error.host}: {_os_text(error.os_error)}"
        case aiohttp.ConnectionTimeoutError():
            return "no connection in the time allowed"
        case TimeoutError():
            return "no answer in the time allowed"
        case aiohttp.ServerDisconnectedError():
            return "the connection was closed before an answer came"
        case aiohttp.ClientOSError():
            return f"the connection was lost: {_os_text(error)}"
        case _:
            return f"the request failed with {type(error).__name__}"


def _os_text(error: OSError) -> str:
    """Return the operating system's, or OpenSSL's, own words for an error."""
    if isinstance(error, ssl.SSLError):
        return f"TLS failed, {error.reason or 'for no known reason'}"
    return os.strerror(error.errno) if error.errno else type(error).__name__
