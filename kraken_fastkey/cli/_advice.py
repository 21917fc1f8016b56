"""What to do about an error, in the words of the command line."""

from __future__ import annotations

from kraken_fastkey import FastKeyError
from kraken_fastkey.cli._exits import LOG_IN, CommandError, Exit, exit_of, tell_error
from kraken_fastkey.cli._session import TOKEN_VARIABLE, token_from_environment


def advise(error: FastKeyError) -> str:
    """Return an error's text, in one line, and what to do where another access token is needed."""
    text = tell_error(error)
    if exit_of(error) is not Exit.LOGIN or isinstance(error, CommandError):
        return text
    if token_from_environment():
        return f"{text.rstrip('.')} (set {TOKEN_VARIABLE} to a good token, or unset it and log in)"
    return text if LOG_IN in text else f"{text.rstrip('.')} ({LOG_IN})"
