"""One run of the command line: what was said for all commands, and how an event loop runs for one."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import signal
import threading
from collections.abc import Coroutine
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar

import attrs

from kraken_fastkey._runtime import SYSTEM, Runtime

if TYPE_CHECKING:
    from kraken_fastkey.cli._config import Profile
    from kraken_fastkey.cli._output import Output

CONFIG_VARIABLE: Final = "KRAKEN_FASTKEY_CONFIG"
PROFILE_VARIABLE: Final = "KRAKEN_FASTKEY_PROFILE"

_T = TypeVar("_T")
_PATIENCE: Final = 0.5  # of who waits for the end, in seconds, before they are told why
_STOPPING: Final = [signal.Signals[name] for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]


class TerminatedError(BaseException):
    """The process was told to end, with SIGTERM or since its terminal is gone."""


@attrs.define(slots=False)
class Invocation:
    """What was said for all commands.

    Attributes:
        config: The configuration file; `None` for the platform's place.
        profile_name: The profile; `None` for the default.
        as_json: Whether data, and errors, are printed as JSON.
        debug: Whether errors come with a traceback.
        runtime: Time, sleep and chance.
    """

    config: Path | None = None
    profile_name: str | None = None
    as_json: bool = False
    debug: bool = False
    runtime: Runtime = SYSTEM

    @functools.cached_property
    def profile(self) -> Profile:
        """The profile, read when it is needed first."""
        from kraken_fastkey.cli._config import load_profile  # noqa: PLC0415  # help takes none

        return load_profile(self.config, self.profile_name)

    @functools.cached_property
    def output(self) -> Output:
        """Where to print."""
        from kraken_fastkey.cli._output import Output  # noqa: PLC0415  # help takes none

        return Output(as_json=self.as_json)

    @property
    def now(self) -> float:
        """The present, in Unix seconds."""
        return self.runtime.time()

    def run(self, work: Coroutine[Any, Any, _T]) -> _T:
        """Run something in an event loop. What would end the process cancels it, so that it leaves no key behind.

        Raises:
            KeyboardInterrupt: It was interrupted.
            TerminatedError: It was told to end.
        """
        stopped_by: signal.Signals | None = None

        async def watched() -> _T:
            loop = asyncio.get_running_loop()
            task = asyncio.current_task()
            assert task is not None  # noqa: S101  # for type checkers

            def stop(signum: signal.Signals) -> None:
                nonlocal stopped_by
                stopped_by = signum
                task.cancel()
                loop.call_later(_PATIENCE, self.output.say, "ending: what has been sent is brought to its end first")
                loop.remove_signal_handler(signal.SIGINT)  # once more ends it at once

            if threading.current_thread() is threading.main_thread():
                # Some loops have no signal handlers; Ctrl-C then works as asyncio has it.
                with contextlib.suppress(NotImplementedError):
                    for signum in _STOPPING:
                        if signal.getsignal(signum) != signal.SIG_IGN:  # nohup, and jobs in the background
                            loop.add_signal_handler(signum, stop, signum)
            return await work

        try:
            return asyncio.run(watched())
        except asyncio.CancelledError:
            if stopped_by is None:
                raise
            raise (KeyboardInterrupt if stopped_by == signal.SIGINT else TerminatedError) from None
