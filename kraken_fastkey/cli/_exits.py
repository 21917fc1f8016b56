"""How a command ends: its exit code, and the error that becomes one."""

from __future__ import annotations

from collections.abc import Mapping
from enum import IntEnum
from types import MappingProxyType
from typing import Any, Final

from kraken_fastkey import (
    AuthenticationError,
    DuplicateKeyNameError,
    FastKeyError,
    InvalidArgumentsError,
    InvalidRequestError,
    KeyNotFoundError,
    NonceAheadError,
    OAuthError,
    PermissionDeniedError,
    RateLimitedError,
    ResponseFormatError,
    ServiceUnavailableError,
    StoreError,
    TemporaryLockoutError,
    TokenUnavailableError,
    TooManyKeysError,
    TransportError,
    UnknownOutcomeError,
)


class Exit(IntEnum):
    """The exit codes. They hold: scripts go by them."""

    OK = 0
    UNEXPECTED = 1
    USAGE = 2
    LOGIN = 3
    PERMISSION = 4
    NOT_FOUND = 5
    TAKEN = 6
    UNAVAILABLE = 7
    UNKNOWN_OUTCOME = 8
    STORAGE = 9
    CHECK = 10
    INTERRUPTED = 130
    TERMINATED = 143


EXIT_MEANINGS: Final[Mapping[Exit, str]] = MappingProxyType(
    {
        Exit.OK: "It is done.",
        Exit.UNEXPECTED: "An error that has no code of its own.",
        Exit.USAGE: "The command line, the configuration or a value is wrong. Nothing was changed.",
        Exit.LOGIN: "There is no access token, or Kraken refused it: log in.",
        Exit.PERMISSION: "A scope was not granted, or the account may not do this.",
        Exit.NOT_FOUND: "There is no key of that name.",
        Exit.TAKEN: "The name is taken, or the account holds as many keys as it may.",
        Exit.UNAVAILABLE: "The network failed, or Kraken is down, limits the rate, or gave an unreadable answer.",
        Exit.UNKNOWN_OUTCOME: "It may have been carried out or not: look before you do it again.",
        Exit.STORAGE: "A file, the keyring or the standard output could not be read or written.",
        Exit.CHECK: "`verify` or `doctor` found something wrong.",
        Exit.INTERRUPTED: "It was interrupted with Ctrl-C, or its question was not answered with yes.",
        Exit.TERMINATED: "It was told to end, with SIGTERM or SIGHUP.",
    }
)

_CHANGES: Final = frozenset({"create_key", "update_key", "delete_key"})
LOG_IN: Final = "run kraken-fastkey login"
_COMMANDS: Final = {
    "list_keys()": "kraken-fastkey list",
    "ask the user for these scopes": "log in with these permissions",
    "there is no grant in the store": "nobody has logged in",
    "have the user log in again": LOG_IN,
    "have the user authorize the app again": LOG_IN,
}
_CODES: Final[tuple[tuple[type[FastKeyError] | tuple[type[FastKeyError], ...], Exit], ...]] = (
    ((InvalidRequestError, InvalidArgumentsError), Exit.USAGE),
    ((AuthenticationError, TokenUnavailableError, OAuthError), Exit.LOGIN),
    (PermissionDeniedError, Exit.PERMISSION),
    (KeyNotFoundError, Exit.NOT_FOUND),
    ((DuplicateKeyNameError, TooManyKeysError), Exit.TAKEN),
    (
        (TransportError, ServiceUnavailableError, RateLimitedError, TemporaryLockoutError, ResponseFormatError),
        Exit.UNAVAILABLE,
    ),
    (StoreError, Exit.STORAGE),
    (NonceAheadError, Exit.CHECK),
)


class CommandError(FastKeyError):
    """A command cannot do what it is for.

    Attributes:
        exit: The exit code.
    """

    def __init__(self, message: str, *, exit: Exit) -> None:  # noqa: A002  # the word for it
        super().__init__(message)
        self.exit = exit


class NotHandedOutError(CommandError):
    """A new key's secret could not be handed out, so the client deletes the key again."""


def exit_of(error: FastKeyError) -> Exit:
    """Return the exit code that an error ends a command with."""
    if isinstance(error, CommandError):
        return error.exit
    if isinstance(error, UnknownOutcomeError) or (error.operation in _CHANGES and error.outcome == "unknown"):
        return Exit.UNKNOWN_OUTCOME
    if error.operation == "verify_key" and isinstance(error, AuthenticationError):
        return Exit.CHECK  # it is the key that was refused
    return next((code for classes, code in _CODES if isinstance(error, classes)), Exit.UNEXPECTED)


def tell_error(error: FastKeyError) -> str:
    """Return an error's text, in one line, and in the words of the command line."""
    return in_own_words(error.summary.removeprefix(f"{error.operation}: "))


def in_own_words(text: str) -> str:
    """Return what the library says to programmers, in one line, and in the words of the command line."""
    for words, own in _COMMANDS.items():
        text = text.replace(words, own)
    return " ".join(text.split())


def describe_error(error: FastKeyError, message: str | None = None) -> dict[str, Any]:
    """Return an error as JSON tells it.

    Args:
        error: The error.
        message: Its text, for people, if there is more to say than `tell_error` does.
    """
    return {
        "type": type(error).__name__,
        "message": tell_error(error) if message is None else message,
        "exit_code": int(exit_of(error)),
        "operation": error.operation,
        "outcome": error.outcome,
        "status": error.status,
        "codes": list(error.codes),
        "retry_after": error.retry_after,
        "api_key_name": getattr(error, "api_key_name", None),
        "faults": dict(error.faults) if isinstance(error, InvalidRequestError) else {},
        "help_url": None if isinstance(error, CommandError) else error.help_url,
    }
