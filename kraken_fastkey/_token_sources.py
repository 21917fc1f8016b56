"""Token providers for where a bot's secrets live: an environment variable, a mounted file, a command."""

from __future__ import annotations

import asyncio
import contextlib
import copy
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final, cast

from kraken_fastkey._errors import FastKeyError, InvalidRequestError, TokenUnavailableError
from kraken_fastkey._secret import SecretStr, Unpicklable
from kraken_fastkey._tokens import AccessToken, refuse_same_token, to_access_token

_MAX_BYTES: Final = 64 * 1024
_MAX_SECONDS: Final = 1e9


class EnvironmentTokenProvider(Unpicklable):
    """An access token in an environment variable, which is looked up anew at each call.

    Args:
        variable: The variable's name.

    Raises:
        InvalidRequestError: *variable* could be no variable's name.
    """

    def __init__(self, variable: str = "KRAKEN_ACCESS_TOKEN") -> None:
        if not isinstance(variable, str) or not variable or "=" in variable or "\0" in variable:
            raise InvalidRequestError({"variable": "must be the name of an environment variable"})
        self._variable = variable

    async def get_token(self, *, rejected: AccessToken | None = None) -> AccessToken:
        """Return the token that the variable holds now.

        Raises:
            AuthenticationError: It is the one that Kraken has just refused.
            InvalidRequestError: What the variable holds could not be a token.
            TokenUnavailableError: The variable is not set, or empty.
        """
        token = SecretStr(os.environ.get(self._variable, "").strip())
        if not token:
            raise TokenUnavailableError(f"the environment variable {self._variable} is not set, or empty: set it")
        return refuse_same_token(
            to_access_token(token),
            rejected,
            f"the environment variable {self._variable} still holds it: set a new one",
        )


class FileTokenProvider(Unpicklable):
    """An access token in a file that something else keeps fresh, such as a mounted Kubernetes or Docker secret.

    The file is read again whenever it has changed, by its own bytes or by a new file in its place.

    Args:
        path: The file. It holds the token, in ASCII; space around it is stripped.

    Raises:
        InvalidRequestError: *path* is no path.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        try:
            self._path = Path(path)
        except TypeError:
            raise InvalidRequestError({"path": f"must be a path, not {type(path).__name__}"}) from None
        self._state: tuple[int, ...] | None = None
        self._token: AccessToken | None = None

    async def get_token(self, *, rejected: AccessToken | None = None) -> AccessToken:
        """Return the token that the file holds now.

        Raises:
            AuthenticationError: It is the one that Kraken has just refused.
            InvalidRequestError: What the file holds could not be a token.
            TokenUnavailableError: The file cannot be read, or is empty.
        """
        # In a thread: the file may lie on a network.
        token = await asyncio.to_thread(self._read, reread=rejected is not None)
        return refuse_same_token(token, rejected, f"{self._path} still holds it: see to what writes the file")

    def _read(self, *, reread: bool) -> AccessToken:
        try:
            stat = self._path.stat()
            state = (stat.st_dev, stat.st_ino, stat.st_size, stat.st_mtime_ns)
            if self._token is not None and state == self._state and not reread:
                return self._token
            with self._path.open("rb") as file:
                # One byte more than allowed tells a file that is too large.
                content = SecretStr(file.read(_MAX_BYTES + 1).decode("latin-1"))
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or type(error).__name__
            raise TokenUnavailableError(f"the token file {self._path} cannot be read: {reason}") from None
        if len(content.get_secret_value()) > _MAX_BYTES:
            raise TokenUnavailableError(f"the token file {self._path} is larger than {_MAX_BYTES} bytes: no token is")
        content = SecretStr(content.get_secret_value().strip())
        if not content:
            # Not remembered: what writes the file may be about to.
            raise TokenUnavailableError(f"the token file {self._path} is empty")
        token = to_access_token(content)
        self._state, self._token = state, token
        return token


class CommandTokenProvider(Unpicklable):
    """An access token that a command prints, such as a password manager's or a vault's.

    It runs once, however many tasks wait, and again when Kraken has refused what it printed.

    Args:
        command: The program and its arguments; no shell is involved. It prints the token and nothing else.
        timeout: How long it may take, in seconds, before it is killed; more than 0.

    Raises:
        InvalidRequestError: The command is one string, or empty, or the timeout is not more than 0.
    """

    def __init__(self, command: Sequence[str], *, timeout: float = 30.0) -> None:
        faults = {}
        if isinstance(command, str):
            faults["command"] = "must be a list, as no shell is involved: write shlex.split(...) around it"
        elif not isinstance(command, (list, tuple)) or not command or not all(map(_is_argument, command)):
            faults["command"] = "must be a list of the program and its arguments, each a str"
        if isinstance(timeout, bool) or not isinstance(timeout, (int, float)) or not 0 < timeout <= _MAX_SECONDS:
            faults["timeout"] = "must be seconds, more than 0"
        if faults:
            raise InvalidRequestError(faults)
        self._command = tuple(command)
        self._timeout = timeout
        self._lock = asyncio.Lock()
        self._runs = 0
        self._result: AccessToken | FastKeyError | None = None

    async def get_token(self, *, rejected: AccessToken | None = None) -> AccessToken:
        """Return what the command printed last, or run it.

        Raises:
            AuthenticationError: It printed the token that Kraken has just refused once more.
            InvalidRequestError: What it printed could not be a token.
            TokenUnavailableError: It could not be run, failed, or took too long.
        """
        runs = self._runs
        async with self._lock:
            # Who has waited for a run shares what came of it, a failure as well.
            if self._runs == runs and not self._is_good(rejected):
                self._result = await self._run_and_check()
                self._runs += 1
            result = self._result
        if isinstance(result, AccessToken):
            return refuse_same_token(result, rejected, f"the command {self._command[0]} printed it again")
        # A copy for each: the client notes on an error which call it ended.
        raise copy.copy(cast("FastKeyError", result))

    def _is_good(self, rejected: AccessToken | None) -> bool:
        return isinstance(self._result, AccessToken) and (rejected is None or self._result.value != rejected.value)

    async def _run_and_check(self) -> AccessToken | FastKeyError:
        try:
            return to_access_token(await self._run())
        except FastKeyError as error:
            return error.with_traceback(None)

    async def _run(self) -> SecretStr:
        program = self._command[0]
        try:
            process = await asyncio.create_subprocess_exec(
                *self._command,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.PIPE,
                # What it says of its troubles may quote a secret.
                stderr=asyncio.subprocess.DEVNULL,
                # A group of its own, so that what it has started is ended with it.
                start_new_session=True,
            )
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or type(error).__name__
            raise TokenUnavailableError(f"the token command {program} cannot be run: {reason}") from None
        try:
            async with asyncio.timeout(self._timeout):
                printed = await _read_bounded(process)
                await process.wait()
        except TimeoutError:
            raise TokenUnavailableError(f"the token command {program} took longer than {self._timeout} s") from None
        finally:
            _kill(process)
            await process.wait()
        if printed is None:
            raise TokenUnavailableError(f"the token command {program} printed more than {_MAX_BYTES} bytes")
        if process.returncode:
            raise TokenUnavailableError(
                f"the token command {program} ended with status {process.returncode}: run it by hand to see why"
            )
        if not printed:
            raise TokenUnavailableError(f"the token command {program} printed nothing")
        return printed


def _is_argument(value: object) -> bool:
    return isinstance(value, (str, os.PathLike))


async def _read_bounded(process: asyncio.subprocess.Process) -> SecretStr | None:
    """Return what a process prints, stripped, or `None` if that is more than a token can be; then it is ended."""
    printed = bytearray()
    while process.stdout is not None and (chunk := await process.stdout.read(_MAX_BYTES)):
        printed += chunk
        if len(printed) > _MAX_BYTES:
            _kill(process)
            return None
    return SecretStr(printed.decode("latin-1").strip())


def _kill(process: asyncio.subprocess.Process) -> None:
    """End a process and what it has started, as far as any of it is left."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        if sys.platform == "win32":
            process.kill()
        else:
            os.killpg(process.pid, signal.SIGKILL)
