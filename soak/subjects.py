"""The clients that go through the soak: this package's, and two that a careful user might build instead."""

from __future__ import annotations

import abc
import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final, Literal, Protocol

import aiohttp
import attrs
from aiohttp_retry import ExponentialRetry, RetryClient
from tenacity import AsyncRetrying, retry_if_exception, stop_after_attempt, wait_random_exponential
from virtual_time import VirtualTimeLoop

from kraken_fastkey import (
    AccessToken,
    CreateKeyRequest,
    DuplicateKeyNameError,
    FastApiKey,
    FastKeyClient,
    FastKeyError,
    KeyNotFoundError,
    Permissions,
    RetryPolicy,
    UnknownOutcomeError,
    UpdateKeyRequest,
)
from kraken_fastkey.sandbox import KrakenSandbox

__all__ = [
    "SUBJECTS",
    "AiohttpRetrySubject",
    "BrokenStoreError",
    "Failure",
    "FastKeySubject",
    "Given",
    "Subject",
    "TenacitySubject",
    "Tokens",
    "permissions_of",
]

_ATTEMPTS: Final = 4
_TOTAL: Final = 60.0
_CONNECT: Final = 10.0
_READ: Final = 30.0


def permissions_of(flags: Mapping[str, bool]) -> Permissions:
    """Return flags as permissions."""
    options: dict[str, Any] = dict(flags)
    return Permissions(**options)


class BrokenStoreError(Exception):
    """What a caller's own store raises."""


@attrs.frozen
class Given:
    """A key as a client gives it to its caller."""

    name: str
    api_key: str
    secret: str = attrs.field(repr=False)


@attrs.frozen
class Failure:
    """What a client's error tells its caller.

    Attributes:
        outcome: What was done.
        meaning: Whether the name was taken, or there was no such key.
        told: The name of a key that may exist, if the error has one.
        wait: How many seconds the caller had better wait.
        is_explained: Whether it is of a class that the client promises.
    """

    outcome: Literal["refused", "not_sent", "unknown"]
    meaning: Literal["taken", "missing", ""] = ""
    told: str | None = None
    wait: float = 0.0
    is_explained: bool = True


Save = Callable[[Given], Awaitable[None]]


class Tokens:
    """The access token that all share; whoever has it refused gets another."""

    def __init__(self, sandbox: KrakenSandbox) -> None:
        self._sandbox = sandbox
        self.issued: list[str] = []
        self._present = self._issue()

    @property
    def present(self) -> str:
        """The present token."""
        return self._present.value.get_secret_value()

    def renew(self, rejected: str) -> None:
        """Get another token in the place of one that was refused, unless that has been done."""
        if rejected == self.present:
            self._present = self._issue()

    async def get_token(self, *, rejected: AccessToken | None = None) -> AccessToken:
        """Return the present token, or another."""
        if rejected is not None:
            self.renew(rejected.value.get_secret_value())
        return self._present

    def _issue(self) -> AccessToken:
        self.issued.append(self._sandbox.issue_token())
        return AccessToken(self.issued[-1])


class Subject(Protocol):
    """A client.

    Attributes:
        name: What the table calls it.
        is_strict: Whether each of its errors must be explained.
    """

    name: str
    is_strict: bool

    async def create(self, name: str | None, flags: Mapping[str, bool], mark: int | None, save: Save | None) -> Given:
        """Create a key."""
        ...

    async def update(self, name: str, new_name: str | None, flags: Mapping[str, bool]) -> None:
        """Change a key."""
        ...

    async def delete(self, name: str) -> None:
        """Delete a key."""
        ...

    async def list(self) -> None:
        """List the keys."""
        ...

    def explain(self, error: Exception) -> Failure:
        """Return what an error tells."""
        ...

    @property
    def unsettled(self) -> tuple[str, ...]:
        """The names of keys that the client itself says may be left."""
        ...

    async def aclose(self) -> None:
        """Close."""
        ...


class FastKeySubject:
    """This package's client."""

    name = "kraken-fastkey"
    is_strict = True

    def __init__(self, sandbox: KrakenSandbox, loop: VirtualTimeLoop, seed: int, *, budget: int = 100_000) -> None:
        self.tokens = Tokens(sandbox)
        self._client = FastKeyClient(
            self.tokens, base_url=sandbox.base_url, retry=RetryPolicy(budget=budget), _runtime=loop.runtime(seed)
        )

    @classmethod
    def with_default_budget(cls, sandbox: KrakenSandbox, loop: VirtualTimeLoop, seed: int) -> FastKeySubject:
        """Make one whose budget of retries runs dry in such a storm."""
        return cls(sandbox, loop, seed, budget=RetryPolicy().budget)

    async def create(self, name: str | None, flags: Mapping[str, bool], mark: int | None, save: Save | None) -> Given:
        """Create a key."""
        permissions = permissions_of(flags)
        if name is None:
            request = CreateKeyRequest(permissions=permissions, nonce_window=mark)
        else:
            request = CreateKeyRequest(name, permissions=permissions, nonce_window=mark)
        if save is None:
            return _given(await self._client.create_key(request))
        return _given(await self._client.create_key(request, save=lambda key: save(_given(key))))

    async def update(self, name: str, new_name: str | None, flags: Mapping[str, bool]) -> None:
        """Change a key."""
        permissions = permissions_of(flags) if flags else None
        await self._client.update_key(UpdateKeyRequest(name, new_api_key_name=new_name, permissions=permissions))

    async def delete(self, name: str) -> None:
        """Delete a key."""
        await self._client.delete_key(name)

    async def list(self) -> None:
        """List the keys."""
        await self._client.list_keys()

    def explain(self, error: Exception) -> Failure:
        """Return what an error tells."""
        if isinstance(error, BrokenStoreError):
            return Failure("unknown")  # what could not be stored is deleted, or left in `unsettled_keys`
        if not isinstance(error, FastKeyError):
            return Failure("unknown", is_explained=False)
        meaning: Literal["taken", "missing", ""] = ""
        if isinstance(error, DuplicateKeyNameError):
            meaning = "taken"
        elif isinstance(error, KeyNotFoundError):
            meaning = "missing"
        told = error.api_key_name if isinstance(error, UnknownOutcomeError) else None
        locked_out = type(error).__name__ == "TemporaryLockoutError"
        return Failure(
            error.outcome,
            meaning,
            told,
            wait=error.retry_after or 900.0 if locked_out else 0.0,
            is_explained=type(error).__name__ in _EXPLAINED,
        )

    @property
    def unsettled(self) -> tuple[str, ...]:
        """The names of keys that the client itself says may be left."""
        return self._client.unsettled_keys

    async def aclose(self) -> None:
        """Close."""
        await self._client.aclose()


_EXPLAINED: Final = {
    "ApiError": "a new error string, or a redirect",
    "ClientClosedError": "the soak closes the client while it is at work",
    "DuplicateKeyNameError": "callers choose the same name; that the key is there is looked up",
    "InvalidArgumentsError": "the fault of that name",
    "KeyNotFoundError": "a key whose deletion or renaming was left open",
    "PermissionDeniedError": "the fault of that name, and Cloudflare's 403",
    "RateLimitedError": "429, and the error strings that mean it",
    "ResponseFormatError": "garbage, truncation",
    "ServiceUnavailableError": "5xx, and the error strings that mean it",
    "TemporaryLockoutError": "the fault of that name",
    "TransportError": "dropped connections, hangs, the sandbox out of reach",
    "UnknownOutcomeError": "an answer that was lost, and a list that did not settle it",
}


def _given(key: FastApiKey) -> Given:
    return Given(key.api_key_name, key.api_key, key.secret.get_secret_value())


class KrakenError(Exception):
    """An answer with errors in its list."""

    def __init__(self, codes: object) -> None:
        super().__init__(f"Kraken answered with {codes}")
        self.text = str(codes)

    @property
    def is_temporary(self) -> bool:
        """Whether trying again is what Kraken's documentation advises."""
        return any(word in self.text for word in ("Rate limit", "Too many requests", "EService:", "Internal error"))


class _AiohttpSubject(abc.ABC):
    """What the other two share: aiohttp as its documentation has it, timeouts, a new token after a 401."""

    name = "aiohttp"
    is_strict = False

    def __init__(self, sandbox: KrakenSandbox, loop: VirtualTimeLoop, seed: int) -> None:
        del loop
        self.tokens = Tokens(sandbox)
        self._base_url = sandbox.base_url
        self._count = 0
        self._seed = seed
        timeout = aiohttp.ClientTimeout(total=_TOTAL, sock_connect=_CONNECT, sock_read=_READ)
        self._session = aiohttp.ClientSession(timeout=timeout)

    async def create(self, name: str | None, flags: Mapping[str, bool], mark: int | None, save: Save | None) -> Given:
        """Create a key, under a name that serves this call alone, unless the caller has one."""
        if name is None:
            self._count += 1
            name = f"bot-{self._seed}-{self._count}"
        body = {"api_key_name": name, "permissions": dict(flags)}
        result = await self._call("POST", "/fast-api-key", body if mark is None else {**body, "nonce_window": mark})
        try:
            given = Given(name, result["api_key"], result["secret"])
        except (KeyError, TypeError):
            raise ValueError("no key in the answer") from None
        if save is not None:
            await save(given)
        return given

    async def update(self, name: str, new_name: str | None, flags: Mapping[str, bool]) -> None:
        """Change a key."""
        body: dict[str, Any] = {"api_key_name": name}
        if new_name is not None:
            body["new_api_key_name"] = new_name
        if flags:
            body["permissions"] = dict(flags)
        await self._call("PUT", "/fast-api-key", body)

    async def delete(self, name: str) -> None:
        """Delete a key."""
        await self._call("DELETE", "/fast-api-key", {"api_key_name": name})

    async def list(self) -> None:
        """List the keys."""
        await self._call("GET", "/fast-api-keys", None)

    def explain(self, error: Exception) -> Failure:
        """Return what an error tells, given the benefit of every doubt: that it may have been done."""
        text = error.text if isinstance(error, KrakenError) else ""
        meaning: Literal["taken", "missing", ""] = "missing" if "not found" in text else ""
        return Failure("unknown", "taken" if "already in use" in text else meaning)

    @property
    def unsettled(self) -> tuple[str, ...]:
        """Such a client keeps no account of what may be left."""
        return ()

    async def aclose(self) -> None:
        """Close."""
        await self._session.close()

    async def _call(self, method: str, path: str, body: Mapping[str, Any] | None) -> Any:
        token = self.tokens.present
        try:
            return await self._send(method, path, body, token)
        except aiohttp.ClientResponseError as error:
            if error.status != 401:
                raise
        self.tokens.renew(token)
        return await self._send(method, path, body, self.tokens.present)

    @abc.abstractmethod
    async def _send(self, method: str, path: str, body: Mapping[str, Any] | None, token: str) -> Any:
        """Return a call's result."""

    def _options(self, body: Mapping[str, Any] | None, token: str) -> dict[str, Any]:
        headers = {"Authorization": f"Bearer {token}"}
        return {"headers": headers, "allow_redirects": False} | ({} if body is None else {"json": body})


async def _read(response: aiohttp.ClientResponse) -> Any:
    response.raise_for_status()
    if response.status != 200:
        raise ValueError(f"status {response.status} is none that Kraken documents")
    answer = await response.json()
    if not isinstance(answer, dict):
        raise TypeError("the answer is no object")
    if answer.get("error"):
        raise KrakenError(answer["error"])
    return answer.get("result")


class AiohttpRetrySubject(_AiohttpSubject):
    """aiohttp-retry: exponential waits; failed connections, 429, 5xx and Kraken's temporary errors are retried."""

    name = "aiohttp-retry"

    def __init__(self, sandbox: KrakenSandbox, loop: VirtualTimeLoop, seed: int) -> None:
        super().__init__(sandbox, loop, seed)
        options = ExponentialRetry(
            attempts=_ATTEMPTS,
            start_timeout=0.5,
            max_timeout=20.0,
            statuses={429, 500, 502, 503, 504},
            exceptions={aiohttp.ClientError, asyncio.TimeoutError},
            evaluate_response_callback=_is_final,
        )
        self._client = RetryClient(self._session, retry_options=options)

    async def _send(self, method: str, path: str, body: Mapping[str, Any] | None, token: str) -> Any:
        async with self._client.request(method, self._base_url + path, **self._options(body, token)) as response:
            return await _read(response)


async def _is_final(response: aiohttp.ClientResponse) -> bool:
    """Tell aiohttp-retry which answers with status 200 are worth another attempt."""
    try:
        await _read(response)
    except KrakenError as error:
        return not error.is_temporary
    except (ValueError, TypeError, aiohttp.ClientResponseError):
        pass
    return True


class TenacitySubject(_AiohttpSubject):
    """aiohttp wrapped in tenacity: the whole of an attempt, reading included, is retried after what may pass."""

    name = "aiohttp + tenacity"
    _creates_once = False

    async def _send(self, method: str, path: str, body: Mapping[str, Any] | None, token: str) -> Any:
        once = self._creates_once and method == "POST"
        async for attempt in AsyncRetrying(
            retry=retry_if_exception(_was_not_sent if once else _is_temporary),
            wait=wait_random_exponential(multiplier=0.5, max=20),
            stop=stop_after_attempt(_ATTEMPTS),
            reraise=True,
        ):
            with attempt:
                url = self._base_url + path
                async with self._session.request(method, url, **self._options(body, token)) as response:
                    return await _read(response)
        raise AssertionError


class OnceSubject(TenacitySubject):
    """The same, for a user who knows that a create must not be sent twice: only what was refused or not sent is."""

    name = "the same, creates sent once"
    _creates_once = True


def _is_temporary(error: BaseException) -> bool:
    if isinstance(error, aiohttp.ClientResponseError):
        return error.status == 429 or error.status >= 500
    if isinstance(error, KrakenError):
        return error.is_temporary
    return isinstance(error, (aiohttp.ClientError, asyncio.TimeoutError))


def _was_not_sent(error: BaseException) -> bool:
    if isinstance(error, aiohttp.ClientResponseError):
        return error.status == 429
    if isinstance(error, KrakenError):
        return "Rate limit" in error.text or "Too many requests" in error.text
    return isinstance(error, aiohttp.ClientConnectorError)


Make = Callable[[KrakenSandbox, VirtualTimeLoop, int], FastKeySubject | _AiohttpSubject]

SUBJECTS: Final[Mapping[str, Make]] = {
    subject.name: subject for subject in (FastKeySubject, AiohttpRetrySubject, TenacitySubject, OnceSubject)
}
