"""Token providers for where a bot's secrets live: an environment variable, a mounted file, a command."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from kraken_fastkey._errors import InvalidRequestError, TokenUnavailableError
from kraken_fastkey._secret import SecretStr
from kraken_fastkey._tokens import AccessToken, refuse_same_token, to_access_token

__all__ = ["CommandTokenProvider", "EnvironmentTokenProvider", "FileTokenProvider"]

_MAX_BYTES: Final = 64 * 1024


class EnvironmentTokenProvider:
    """An access token in an environment variable, which is looked up anew at each call.

    Args:
        variable: The variable's name.
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


class FileTokenProvider:
    """An access token in a file that something else keeps fresh, such as a mounted Kubernetes or Docker secret.

    The file is read again whenever it has changed, by its own bytes or by a new file in its place.

    Args:
        path: The file. It holds the token, in ASCII; space around it is stripped.
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
            TokenUnavailableError: The file cannot be read.
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
        except OSError as error:
            reason = error.strerror or type(error).__name__
            raise TokenUnavailableError(f"the token file {self._path} cannot be read: {reason}") from None
        if len(content.get_secret_value()) > _MAX_BYTES:
            raise TokenUnavailableError(f"the token file {self._path} is larger than {_MAX_BYTES} bytes: no token is")
        token = to_access_token(SecretStr(content.get_secret_value().strip()))
        self._state, self._token = state, token
        return token


class CommandTokenProvider:
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
        elif not command or not all(isinstance(part, (str, os.PathLike)) for part in command):
            faults["command"] = "must be a list of the program and its arguments"
        if isinstance(timeout, bool) or not isinstance(timeout, (int, float)) or not timeout > 0:
            faults["timeout"] = "must be seconds, more than 0"
        if faults:
            raise InvalidRequestError(faults)
        self._command = tuple(command)
        self._timeout = timeout
        self._lock = asyncio.Lock()
        self._token: AccessToken | None = None

    async def get_token(self, *, rejected: AccessToken | None = None) -> AccessToken:
        """Return what the command printed last, or run it.

        Raises:
            AuthenticationError: It printed the token that Kraken has just refused once more.
            InvalidRequestError: What it printed could not be a token.
            TokenUnavailableError: It could not be run, failed, or took too long.
        """
        async with self._lock:
            stale = rejected is not None and self._token is not None and self._token.value == rejected.value
            if self._token is None or stale:
                self._token = None
                self._token = to_access_token(await self._run())
            token = self._token
        return refuse_same_token(token, rejected, f"the command {self._command[0]} printed it again")

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
        except OSError as error:
            reason = error.strerror or type(error).__name__
            raise TokenUnavailableError(f"the token command {program} cannot be run: {reason}") from None
        try:
            async with asyncio.timeout(self._timeout):
                printed = SecretStr((await process.communicate())[0].decode("latin-1").strip())
        except TimeoutError:
            raise TokenUnavailableError(f"the token command {program} took longer than {self._timeout} s") from None
        finally:
            if process.returncode is None:
                _kill(process)
                await process.wait()
        if process.returncode:
            raise TokenUnavailableError(
                f"the token command {program} ended with status {process.returncode}: run it by hand to see why"
            )
        if not printed:
            raise TokenUnavailableError(f"the token command {program} printed nothing")
        return printed


def _kill(process: asyncio.subprocess.Process) -> None:
    with contextlib.suppress(ProcessLookupError):
        if sys.platform == "win32":
            process.kill()
        else:
            os.killpg(process.pid, signal.SIGKILL)
