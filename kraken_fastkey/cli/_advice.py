"""What to do about an error, in the words of the command line."""

from __future__ import annotations

from typing import Final

from kraken_fastkey import FastKeyError
from kraken_fastkey.cli._exits import CommandError, Exit, exit_of, tell_error
from kraken_fastkey.cli._session import TOKEN_VARIABLE, token_from_environment

__all__ = ["advise"]

_LOGIN: Final = "run kraken-fastkey login"


def advise(error: FastKeyError) -> str:
    """Return an error's text, in one line, and what to do where another access token is needed."""
    text = tell_error(error)
    if exit_of(error) is not Exit.LOGIN or isinstance(error, CommandError):
        return text
    remedy = f"set {TOKEN_VARIABLE} to a good token, or unset it and log in" if token_from_environment() else _LOGIN
    return f"{text.rstrip('.')} ({remedy})"
