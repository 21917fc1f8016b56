"""The engine of a client that somebody listens to: only who passes a hook loads it."""

from __future__ import annotations

from collections.abc import Coroutine
from typing import Any, TypeVar

from kraken_fastkey._account import Account
from kraken_fastkey._background import Work
from kraken_fastkey._engine import Engine
from kraken_fastkey._errors import FastKeyError
from kraken_fastkey._observed import ObservedWork, observe_attempt, observe_read
from kraken_fastkey._progress import Progress
from kraken_fastkey._tokens import AccessToken
from kraken_fastkey._wire import Answer, Call

_T = TypeVar("_T")


class ObservedEngine(Engine):
    """Tells of the start and the end of each call and attempt."""

    def observe(self, work: Work[_T], /) -> Work[_T]:
        """Return some work such that its start and end are told."""
        return ObservedWork(work, self.emitter, self.runtime)

    def observe_read(self, operation: str, work: Coroutine[Any, Any, _T], /) -> Coroutine[Any, Any, _T]:
        """Return a call that concerns no single key in the same way."""
        return observe_read(self.emitter, self.runtime, operation, work)

    async def _attempt(
        self, call: Call[_T], account: Account, token: AccessToken, within: float | None, progress: Progress
    ) -> Answer[_T]:
        request = call.request
        url = self._base_url + request.path
        with observe_attempt(
            self.emitter, self.runtime, call.operation, progress.attempts + 1, request.method, url
        ) as report:
            try:
                answer = await super()._attempt(call, account, token, within, progress)
            except BaseException as error:
                never_left = bool(request.body) and not progress.departed
                report.fail(error, "not_sent" if never_left else "unknown")
                raise
            finally:
                report.status, report.version = progress.status, progress.version
            if isinstance(answer, FastKeyError):
                report.fail(answer, answer.outcome)
            return answer
