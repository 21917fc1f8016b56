"""The life of one call: token, attempt, sorting, waiting, trying again. Shared by all accounts of a client."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Coroutine
from typing import Any, Final, NoReturn, TypeVar

from kraken_fastkey._account import LOCKOUT_SECONDS, Account
from kraken_fastkey._background import Work
from kraken_fastkey._deadlines import Deadlines
from kraken_fastkey._emitter import Emitter
from kraken_fastkey._errors import (
    AuthenticationError,
    ClientClosedError,
    FastKeyError,
    KeyNotFoundError,
    PermissionDeniedError,
    TemporaryLockoutError,
    TokenUnavailableError,
    TransportError,
)
from kraken_fastkey._events.client import (
    KrakenWarned,
    LockoutEnded,
    LockoutStarted,
    RequestsLeftOpen,
    RetryScheduled,
    TokenRejected,
)
from kraken_fastkey._progress import Progress
from kraken_fastkey._retry import RetryBudget, RetryPolicy
from kraken_fastkey._runtime import Runtime
from kraken_fastkey._secret import SecretStr
from kraken_fastkey._tokens import AccessToken, TokenProvider
from kraken_fastkey._transport import Transport
from kraken_fastkey._wire import Answer, Call, Success, read_answer

_T = TypeVar("_T")
_UNOBSERVED: Final = contextlib.nullcontext(lambda: None)
_MAX_REJECTED_TOKENS: Final = 3  # a provider may hand out one bad token after another for ever


class Engine:
    """Runs calls over one transport.

    Args:
        transport: What carries the requests.
        policy: What is tried again, and when.
        runtime: Time, sleep and chance.
        emitter: What tells of it.
        base_url: Where the transport sends requests to.
    """

    def __init__(
        self, transport: Transport, policy: RetryPolicy, runtime: Runtime, emitter: Emitter, base_url: str
    ) -> None:
        self.runtime = runtime
        self.emitter = emitter
        self._base_url = base_url.rstrip("/")
        self._transport = transport
        self._policy = policy
        self._budget = RetryBudget(policy.budget)
        self._deadlines = Deadlines()
        self._closing = False
        self._in_flight = 0
        self._idle: asyncio.Future[None] | None = None
        self._pauses: dict[asyncio.Future[None], Account] = {}

    def begin(self, *, cleaning: bool = False) -> Progress:
        """Return the progress of a call that begins now."""
        return Progress(self.runtime.monotonic(), cleaning=cleaning)

    def observe(self, work: Work[_T], /) -> Work[_T]:
        """Return some work such that its start and end are told, if anybody listens."""
        return work

    def observe_read(self, _operation: str, work: Coroutine[Any, Any, _T], /) -> Coroutine[Any, Any, _T]:
        """Return a call that concerns no single key in the same way."""
        return work

    async def run(self, call: Call[_T], account: Account, progress: Progress | None = None) -> Success[_T]:
        """Return the answer to a call, after as many attempts as it takes and the policy allows.

        Args:
            call: What to ask.
            account: Whom it is for.
            progress: What went before, if this is not the beginning.

        Raises:
            FastKeyError: It failed.
        """
        progress = self.begin() if progress is None else progress
        refused: AccessToken | None = None
        while True:
            self._check_open(call, account, progress)
            token = await self._get_token(call, progress, account.provider, refused)
            left = self.seconds_left(progress)
            if left is not None and left <= 0:
                late = TransportError("the call's deadline passed before the request was sent")
                self._give_up(call, progress, progress.error or late)
            answer = await self._attempt(call, account, token, left, progress)
            if isinstance(answer, Success):
                self._budget.succeed()
                if answer.warnings:
                    self.emitter.emit(KrakenWarned, operation=call.operation, codes=answer.warnings)
                return answer
            if progress.in_doubt and call.when_gone is not None and _is_gone(answer):
                # An earlier attempt had done it, though its answer was lost.
                return Success(call.when_gone())
            progress.error = answer
            progress.outcome = answer.outcome
            progress.in_doubt |= answer.outcome == "unknown"
            if progress.abandoned and not progress.in_doubt:
                raise asyncio.CancelledError  # nothing is left of it, and nobody waits for another attempt
            refused = self._refused_token(call, answer, token, progress)
            if refused is not None:
                continue
            if not await self.wait(call.operation, account, progress, answer, repeatable=call.repeatable):
                self._give_up(call, progress, answer)

    async def wait(
        self, operation: str, account: Account, progress: Progress, error: FastKeyError, *, repeatable: bool
    ) -> bool:
        """Wait until a failed call may be tried again, or return at once that it may not.

        Args:
            operation: The client's method.
            account: Whom it is for.
            progress: What the call has been through.
            error: Why it failed.
            repeatable: Whether it does no harm to send it again, whatever the outcome was.
        """
        seconds = self._policy.wait_before_retry(
            error,
            repeatable=repeatable,
            attempts=progress.counted,
            elapsed=self.runtime.monotonic() - progress.started,
            random=self.runtime.random(),
        )
        closing = self._is_closing(account) and not progress.cleaning
        if seconds is None or closing or progress.once or not self.take_retry():
            return False
        self.emitter.emit(
            RetryScheduled,
            operation=operation,
            attempt=progress.attempts,
            wait_seconds=seconds,
            error_type=type(error).__name__,
        )
        await self.pause(seconds, account)
        return True

    def take_retry(self) -> bool:
        """Take one retry out of the budget, if there is one."""
        return self._budget.take(self.runtime.monotonic())

    async def pause(self, seconds: float, account: Account) -> None:
        """Let time pass; if the account's client begins to close meanwhile, return at once."""
        if self._is_closing(account):
            await self.runtime.sleep(seconds)
            return
        sleep = asyncio.ensure_future(self.runtime.sleep(seconds))
        self._pauses[sleep] = account
        try:
            await asyncio.wait({sleep})
        finally:
            del self._pauses[sleep]
            sleep.cancel()

    def stop(self, account: Account | None = None) -> None:
        """Begin nothing more for an account, or for any: attempts under way end, pauses are cut short."""
        if account is None:
            self._closing = True
        else:
            account.closing = True
        for sleep, sleeper in self._pauses.items():
            if account in {None, sleeper}:
                sleep.cancel()

    def seconds_left(self, progress: Progress) -> float | None:
        """Return how many seconds a call has until its deadline; `None` if it has none."""
        if self._policy.deadline is None:
            return None
        return self._policy.deadline - (self.runtime.monotonic() - progress.started)

    def has_time_for(self, seconds: float, progress: Progress) -> bool:
        """Whether a call may wait so long, and still has time to send a request."""
        return self._policy.leaves_time(self.runtime.monotonic() - progress.started + seconds)

    def finish(self, error: FastKeyError, operation: str, progress: Progress) -> FastKeyError:
        """Write into an error what a call has been through."""
        last = progress.error
        error.operation = operation
        error.attempts = progress.attempts
        if last is not None:
            error.status = last.status if error.status is None else error.status
            error.codes = error.codes or last.codes
        if progress.in_doubt:
            error.outcome = "unknown"
        return error

    async def drain(self, seconds: float) -> None:
        """Wait for the attempts under way, at most for so many seconds."""
        try:
            async with asyncio.timeout(seconds):
                while self._in_flight:
                    self._idle = asyncio.get_running_loop().create_future()
                    await self._idle
        except TimeoutError:
            self.emitter.emit(RequestsLeftOpen, requests=self._in_flight)

    async def aclose(self) -> None:
        """Close the transport."""
        self._deadlines.close()
        await self._transport.aclose()

    def _is_closing(self, account: Account) -> bool:
        return self._closing or account.closing

    def _check_open(self, call: Call[_T], account: Account, progress: Progress) -> None:
        error: FastKeyError | None = None
        if self._is_closing(account) and not progress.cleaning:
            error = progress.error or ClientClosedError("the client is closed: open a new one")
        else:
            error = account.check_lockout(self.runtime.monotonic())
        if error is not None:
            self._give_up(call, progress, error)

    async def _get_token(
        self, call: Call[_T], progress: Progress, provider: TokenProvider, refused: AccessToken | None
    ) -> AccessToken:
        name = type(provider).__name__
        error: FastKeyError
        cause: Exception | None = None
        limit = self._deadlines.within(self.seconds_left(progress))
        try:
            with limit:
                token = await provider.get_token(rejected=refused)
            if not isinstance(token, AccessToken):
                kind = type(token).__name__
                del token  # if it is a bare string, it must not be in the traceback's locals
                error = TokenUnavailableError(f"{name}.get_token() must return an AccessToken, and returned a {kind}")
            elif progress.rejected and token.value in progress.rejected:
                error = AuthenticationError(
                    f"Kraken refused the access token, and {name} returned it again: see to what makes the tokens"
                )
            elif token.scopes is None or call.scopes <= token.scopes:
                return token
            else:
                lacking = ", ".join(sorted(call.scopes - token.scopes))
                error = PermissionDeniedError(
                    f"the user has not granted the app what the key is to have: {lacking}. Nothing was sent: "
                    "ask the user for these scopes, or leave the permissions out",
                    outcome="not_sent",
                )
        except FastKeyError as raised:
            error = raised
        except Exception as raised:  # noqa: BLE001  # whatever a user's provider may raise
            if limit.expired:
                error = TokenUnavailableError(f"{name} had no access token within the call's deadline")
            else:
                error = TokenUnavailableError(f"{name} raised {type(raised).__name__}: see to what it calls")
                cause = None if _has_part_of_aiohttp(raised) else raised
        return self._give_up(call, progress, error, cause)

    async def _attempt(
        self, call: Call[_T], account: Account, token: AccessToken, within: float | None, progress: Progress
    ) -> Answer[_T]:
        progress.attempts += 1
        progress.counted += 1
        progress.status = progress.version = None
        began = self.runtime.monotonic()
        authorization = SecretStr(f"Bearer {token.value.get_secret_value()}")
        self._in_flight += 1
        answer: Answer[_T]
        try:
            use = _UNOBSERVED if account.observer is None else account.observer.use(token)
            with self.runtime.working(), use as accept:
                response = await self._transport.send(call.request, authorization, within, progress.depart)
                progress.status, progress.version = response.status, response.version
                answer = read_answer(call, response, self.runtime.time())
                if not _is_rejected(answer):
                    accept()
        except FastKeyError as error:
            answer = error
        finally:
            self._in_flight -= 1
            if self._idle is not None and not self._in_flight and not self._idle.done():
                self._idle.set_result(None)
        progress.departed = False
        if isinstance(answer, TemporaryLockoutError):
            account.lock_out(self.runtime.monotonic())
            self.emitter.emit(LockoutStarted, operation=call.operation, wait_seconds=LOCKOUT_SECONDS)
        elif account.is_locked:
            account.end_probe(began, answered=isinstance(answer, Success) or answer.status is not None)
            if not account.is_locked:
                self.emitter.emit(LockoutEnded, operation=call.operation)
        return answer

    def _refused_token(
        self, call: Call[_T], error: FastKeyError, token: AccessToken, progress: Progress
    ) -> AccessToken | None:
        """Return the token that was refused, if the provider is to be asked for another."""
        if not _is_rejected(error) or error.outcome != "refused":
            return None
        if len(progress.rejected) >= _MAX_REJECTED_TOKENS:
            return None
        progress.rejected |= {token.value}
        self.emitter.emit(TokenRejected, operation=call.operation, generation=token.generation)
        progress.counted -= 1
        return token

    def _give_up(
        self, call: Call[_T], progress: Progress, error: FastKeyError, cause: BaseException | None = None
    ) -> NoReturn:
        raise self.finish(error, call.operation, progress) from cause


def _is_rejected(answer: object) -> bool:
    """Whether an answer says that the access token is no good."""
    return isinstance(answer, AuthenticationError) and answer.token_rejected


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
