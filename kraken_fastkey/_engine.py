"""The life of one call: token, attempt, sorting, waiting, trying again. Shared by all accounts of a client."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Final, NoReturn, TypeVar

import attrs

from kraken_fastkey._errors import (
    AuthenticationError,
    ClientClosedError,
    FastKeyError,
    KeyNotFoundError,
    TokenUnavailableError,
    TransportError,
    UnknownOutcomeError,
)
from kraken_fastkey._retry import RetryBudget, RetryPolicy
from kraken_fastkey._runtime import Runtime
from kraken_fastkey._secret import SecretStr
from kraken_fastkey._tokens import AccessToken, TokenProvider, TokenUseObserver
from kraken_fastkey._transport import Transport
from kraken_fastkey._wire import Answer, Call, Success, read_answer

__all__ = ["Engine"]

_T = TypeVar("_T")
_LOGGER: Final = logging.getLogger("kraken_fastkey")
_MAX_REJECTED_TOKENS: Final = 3  # a provider may hand out one bad token after another for ever
_DRAIN_SECONDS: Final = 10.0


@attrs.define
class _Progress:
    """What one call has been through so far.

    Attributes:
        started: When it began, in seconds of the monotonic clock.
        attempts: How many times it tried to send its request.
        counted: How many of them the retry policy counts: those that a token was refused for are not.
        in_doubt: Whether one of them may have been carried out.
        rejected: The values of the tokens that were refused.
        error: Why the last one failed.
    """

    started: float
    attempts: int = 0
    counted: int = 0
    in_doubt: bool = False
    rejected: set[SecretStr] = attrs.field(factory=set)
    error: FastKeyError | None = None


class Engine:
    """Runs calls over one transport.

    Args:
        transport: What carries the requests.
        policy: What is tried again, and when.
        runtime: Time, sleep and chance.
    """

    def __init__(self, transport: Transport, policy: RetryPolicy, runtime: Runtime) -> None:
        self.runtime = runtime
        self._transport = transport
        self._policy = policy
        self._budget = RetryBudget(policy.budget)
        self._closing = False
        self._in_flight = 0
        self._idle = asyncio.Event()

    async def run(self, call: Call[_T], provider: TokenProvider) -> _T:
        """Return the result of a call, after as many attempts as it takes and the policy allows.

        Raises:
            FastKeyError: It failed.
        """
        progress = _Progress(self.runtime.monotonic())
        refused: AccessToken | None = None
        while True:
            if self._closing:
                closed = ClientClosedError("the client is closed: open a new one")
                self._give_up(call, progress, progress.error or closed)
            token = await self._get_token(call, progress, provider, refused)
            left = self._seconds_left(progress)
            if left is not None and left <= 0:
                late = TransportError("the call's deadline passed before the request was sent")
                self._give_up(call, progress, progress.error or late)
            answer = await self._attempt(call, provider, token, left, progress)
            if isinstance(answer, Success):
                self._budget.succeed()
                if answer.warnings:
                    _LOGGER.warning("%s: Kraken warns: %s", call.operation, ", ".join(answer.warnings))
                return answer.value
            if progress.in_doubt and call.when_gone is not None and _is_gone(answer):
                # An earlier attempt had done it, though its answer was lost.
                return call.when_gone()
            progress.error = answer
            progress.in_doubt |= answer.outcome == "unknown"
            refused = self._refused_token(call, answer, token, progress)
            if refused is None:
                await self._wait(call, progress, answer)

    async def aclose(self) -> None:
        """Refuse new attempts, wait up to 10 s for those under way, and close the transport."""
        self._closing = True
        try:
            if self._in_flight:
                async with asyncio.timeout(_DRAIN_SECONDS):
                    await self._idle.wait()
        except TimeoutError:
            _LOGGER.warning("closing with %d requests still under way", self._in_flight)
        finally:
            await self._transport.aclose()

    async def _get_token(
        self, call: Call[_T], progress: _Progress, provider: TokenProvider, refused: AccessToken | None
    ) -> AccessToken:
        name = type(provider).__name__
        error: FastKeyError
        cause: Exception | None = None
        limit = asyncio.timeout(self._seconds_left(progress))
        try:
            async with limit:
                token = await provider.get_token(rejected=refused)
            if not isinstance(token, AccessToken):
                kind = type(token).__name__
                del token  # if it is a bare string, it must not be in the traceback's locals
                error = TokenUnavailableError(f"{name}.get_token() must return an AccessToken, and returned a {kind}")
            elif token.value not in progress.rejected:
                return token
            else:
                error = AuthenticationError(
                    f"Kraken refused the access token, and {name} returned it again: see to what makes the tokens"
                )
        except FastKeyError as raised:
            error = raised
        except Exception as raised:  # noqa: BLE001  # whatever a user's provider may raise
            if limit.expired():
                error = TokenUnavailableError(f"{name} had no access token within the call's deadline")
            else:
                error = TokenUnavailableError(f"{name} raised {type(raised).__name__}: see to what it calls")
                cause = None if _has_part_of_aiohttp(raised) else raised
        return self._give_up(call, progress, error, cause)

    async def _attempt(
        self, call: Call[_T], provider: TokenProvider, token: AccessToken, within: float | None, progress: _Progress
    ) -> Answer[_T]:
        progress.attempts += 1
        progress.counted += 1
        authorization = SecretStr(f"Bearer {token.value.get_secret_value()}")
        self._in_flight += 1
        self._idle.clear()
        try:
            with _use_of(provider, token) as accept:
                response = await self._transport.send(call.request, authorization, within)
                answer = read_answer(call, response, self.runtime.time())
                if not _is_rejected(answer):
                    accept()
                return answer
        except FastKeyError as error:
            return error
        finally:
            self._in_flight -= 1
            if not self._in_flight:
                self._idle.set()

    def _refused_token(
        self, call: Call[_T], error: FastKeyError, token: AccessToken, progress: _Progress
    ) -> AccessToken | None:
        """Return the token that was refused, if the provider is to be asked for another."""
        if not _is_rejected(error) or error.outcome != "refused":
            return None
        if len(progress.rejected) >= _MAX_REJECTED_TOKENS:
            return None
        progress.rejected.add(token.value)
        _LOGGER.info("%s: the access token of generation %s was refused", call.operation, token.generation)
        progress.counted -= 1
        return token

    async def _wait(self, call: Call[_T], progress: _Progress, error: FastKeyError) -> None:
        wait = self._policy.wait_before_retry(
            error,
            repeatable=call.repeatable,
            attempts=progress.counted,
            elapsed=self.runtime.monotonic() - progress.started,
            random=self.runtime.random(),
        )
        if wait is None or self._closing or not self._budget.take(self.runtime.monotonic()):
            self._give_up(call, progress, error)
        _LOGGER.info(
            "%s: attempt %d failed with %s; the next in %.2f s",
            call.operation,
            progress.attempts,
            type(error).__name__,
            wait,
        )
        await self.runtime.sleep(wait)

    def _seconds_left(self, progress: _Progress) -> float | None:
        if self._policy.deadline is None:
            return None
        return self._policy.deadline - (self.runtime.monotonic() - progress.started)

    def _give_up(
        self, call: Call[_T], progress: _Progress, error: FastKeyError, cause: BaseException | None = None
    ) -> NoReturn:
        last = progress.error
        error.operation = call.operation
        error.attempts = progress.attempts
        if last is not None:
            error.status = last.status if error.status is None else error.status
            error.codes = error.codes or last.codes
        if progress.in_doubt:
            error.outcome = "unknown"
        if progress.in_doubt and not call.repeatable and call.api_key_name is not None:
            raise _unknown(call.operation, call.api_key_name, error) from error
        raise error from cause


def _use_of(provider: TokenProvider, token: AccessToken) -> AbstractContextManager[Callable[[], object]]:
    """Tell a provider that wants to know it for how long a token is under way."""
    return provider.use(token) if isinstance(provider, TokenUseObserver) else contextlib.nullcontext(_nothing)


def _nothing() -> None:
    """Do nothing."""


def _is_rejected(answer: object) -> bool:
    """Whether an answer says that the access token is no good."""
    return isinstance(answer, AuthenticationError) and answer.token_rejected


def _unknown(operation: str, name: str, error: FastKeyError) -> UnknownOutcomeError:
    what, remedy = (
        ("created", "if list_keys() shows it, delete it, since its secret is lost, and create another")
        if operation == "create_key"
        else ("changed", "see in list_keys() how it is now, and update it again if need be")
    )
    return UnknownOutcomeError(
        f"the key {name!r} may have been {what}: {remedy}; it may take a minute to show. "
        f"What happened: {error.args[0]}",
        api_key_name=name,
        operation=operation,
        attempts=error.attempts,
        outcome="unknown",
        status=error.status,
        codes=error.codes,
        retry_after=error.retry_after,
    )


def _is_gone(error: FastKeyError) -> bool:
    return isinstance(error, KeyNotFoundError) or error.status in {404, 410}


def _has_part_of_aiohttp(error: BaseException | None) -> bool:
    """Whether an exception is aiohttp's, or stands upon one: those carry the request's headers."""
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        if any(base.__module__.partition(".")[0] == "aiohttp" for base in type(error).__mro__):
            return True
        error = error.__cause__ or error.__context__
    return False
