"""The tree of commands, each imported when it is needed, and what becomes of their errors."""

from __future__ import annotations

import difflib
import importlib
import logging
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Final

import click

import kraken_fastkey
from kraken_fastkey import FastKeyError, RefreshFailed
from kraken_fastkey._log_records import PREFIX
from kraken_fastkey._runtime import SYSTEM, Runtime
from kraken_fastkey.cli._command import options_before
from kraken_fastkey.cli._exits import CommandError, Exit, describe_error, exit_of, in_own_words
from kraken_fastkey.cli._invocation import Invocation, TerminatedError

PROGRAM: Final = "kraken-fastkey"

_LOG: Final = logging.getLogger("kraken_fastkey")
# What says a field that a key is warned of to lack.
_OPTIONS: Final = {"ip_allowlist": "--ip", "valid_until": "--valid-for"}
# Where each command is, and its line in the help: a test holds them against the commands themselves.
_SECTIONS: Final[dict[str, dict[str, tuple[str, str]]]] = {
    "Access": {
        "login": ("_access", "Log in at Kraken, and keep the login."),
        "logout": ("_access", "Forget the login on this machine."),
        "whoami": ("_access", "Show whose account it is."),
    },
    "Keys": {
        "create": ("_create", "Create a key, and hand its secret out."),
        "list": ("_list", "List the account's Fast API keys."),
        "update": ("_update", "Change a key."),
        "delete": ("_delete", "Delete keys for good."),
        "rotate": ("_rotate", "Put a new key in the place of an old one."),
        "sweep": ("_sweep", "Delete keys that have expired, or are old."),
        "verify": ("_verify", "Ask Kraken about a key, with the key itself."),
    },
    "Tools": {
        "doctor": ("_doctor", "Find out what is wrong, and say what to do."),
        "sandbox": ("_trying", "Run an embedded Kraken to try things out with."),
        "demo": ("_trying", "Show what the library does, against a sandbox."),
        "completion": ("_completion", "Print a script that completes commands in a shell."),
    },
}
_PLACES: Final = {name: place for section in _SECTIONS.values() for name, (place, _) in section.items()}


class _Commands(click.Group):
    """Commands that are imported when they are run, so that help and version come at once."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        del ctx
        return list(_PLACES)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        del ctx
        if cmd_name not in _PLACES:
            return None
        command = getattr(importlib.import_module(f"kraken_fastkey.cli.{_PLACES[cmd_name]}"), f"{cmd_name}_command")
        assert isinstance(command, click.Command)  # noqa: S101  # for type checkers
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        name = args[0]
        if name not in _PLACES and not name.startswith("-") and not ctx.resilient_parsing:
            close = difflib.get_close_matches(name, _PLACES, 1)
            meant = f": {close[0]} is meant" if close else ""
            raise click.UsageError(f"there is no command {name!r:.40}{meant}", ctx)
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        del ctx
        for title, section in _SECTIONS.items():
            with formatter.section(title):
                formatter.write_dl([(name, text) for name, (_, text) in section.items()])


commands: Final = _Commands(
    PROGRAM,
    help="Fast API keys of Kraken Connect, from the command line.",
    epilog="Each command has a --help of its own.",
    params=[
        *options_before(),
        click.Option(
            ["--version"],
            is_flag=True,
            is_eager=True,
            expose_value=False,
            callback=lambda ctx, _, value: _show_version(ctx, asked=value),
            help="Show the version.",
        ),
    ],
)


def _show_version(ctx: click.Context, *, asked: bool) -> None:
    if asked and not ctx.resilient_parsing:
        click.echo(f"{PROGRAM} {kraken_fastkey.__version__}")
        ctx.exit()


def run(arguments: Sequence[str], runtime: Runtime = SYSTEM) -> int:
    """Run a command, and return its exit code."""
    invocation = Invocation(runtime=runtime)
    # An error may come before the options are read.
    as_json = "--json" in arguments
    try:
        with _logging(invocation):
            done = commands.main(list(arguments), prog_name=PROGRAM, standalone_mode=False, obj=invocation)
    except click.UsageError as error:
        return _show_usage_error(error, as_json=as_json)
    except FastKeyError as error:
        failure = error
    except (click.Abort, KeyboardInterrupt):
        return _say_ended(invocation, "interrupted", Exit.INTERRUPTED)
    except TerminatedError:
        return _say_ended(invocation, "told to end", Exit.TERMINATED)
    except Exception as error:  # noqa: BLE001  # no traceback unless it is asked for, whatever it is
        # By its type alone: its text may quote a secret.
        message = f"unexpected {type(error).__name__}: this is a defect, please report it; --debug shows where"
        failure = CommandError(message, exit=Exit.UNEXPECTED)
        failure.__cause__ = error
    else:
        return done if isinstance(done, int) else Exit.OK
    return _show_error(failure, invocation, as_json=as_json)


def _say_ended(invocation: Invocation, text: str, code: Exit) -> Exit:
    invocation.output.say(text)
    return code


def _show_error(error: FastKeyError, invocation: Invocation, *, as_json: bool) -> int:
    from kraken_fastkey.cli._advice import advise  # noqa: PLC0415  # only where something is wrong

    message = advise(error)
    # It may have come before the options were read.
    output = invocation.output
    output.as_json = as_json
    if invocation.debug:
        output.log(_traceback(error).rstrip())
    output.fail(message, describe_error(error, message))
    return exit_of(error)


def _show_usage_error(error: click.UsageError, *, as_json: bool) -> int:
    path = error.ctx.command_path if error.ctx is not None else PROGRAM
    if isinstance(error, click.exceptions.NoArgsIsHelpError):
        error.show()
        return Exit.USAGE
    fault = CommandError(f"{error.format_message().rstrip('.')} (see {path} --help)", exit=Exit.USAGE)
    return _show_error(fault, Invocation(), as_json=as_json)


def _traceback(error: BaseException) -> str:
    """Return where an error comes from. Texts of errors that are not our own are left out: they may quote a secret."""
    lines: list[str] = []
    current: BaseException | None = error
    while current is not None:
        text = f": {current.summary}" if isinstance(current, FastKeyError) else ""
        lines.append(f"{type(current).__name__}{text}\n{''.join(traceback.format_tb(current.__traceback__))}")
        current = current.__cause__
    return "\n".join(reversed(lines))


class _Handler(logging.Handler):
    """Shows what the library logs: warnings, and all of it where that is asked for."""

    def __init__(self, invocation: Invocation) -> None:
        super().__init__()
        self._invocation = invocation

    def emit(self, record: logging.LogRecord) -> None:
        if record.levelno >= logging.WARNING and not _is_told_by_error(record):
            self._invocation.output.warn(_retold(record))
        elif self._invocation.debug:
            self._invocation.output.log(f"{record.levelname.lower()}: {record.getMessage()}")


def _is_told_by_error(record: logging.LogRecord) -> bool:
    """Whether the command fails for what is logged, and so tells it in its own words."""
    return getattr(record, f"{PREFIX}event", None) == RefreshFailed.name and not getattr(record, f"{PREFIX}holds")


def _retold(record: logging.LogRecord) -> str:
    operation, field = (getattr(record, f"{PREFIX}{name}", None) for name in ("operation", "field"))
    text = in_own_words(record.getMessage().removeprefix(f"{operation}: "))
    return text.replace(f"set {field}", f"pass {_OPTIONS[field]}") if field in _OPTIONS else text


@contextmanager
def _logging(invocation: Invocation) -> Iterator[None]:
    handler = _Handler(invocation)
    level, propagates = _LOG.level, _LOG.propagate
    _LOG.addHandler(handler)
    _LOG.setLevel(logging.DEBUG)
    _LOG.propagate = False
    try:
        yield
    finally:
        _LOG.removeHandler(handler)
        _LOG.setLevel(level)
        _LOG.propagate = propagates
