"""What all commands have: the options for the configuration, for JSON and for debugging."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import click
from click.core import ParameterSource
from click.shell_completion import CompletionItem

from kraken_fastkey.cli._invocation import CONFIG_VARIABLE, PROFILE_VARIABLE, Invocation

_GIVEN: Final = (ParameterSource.COMMANDLINE, ParameterSource.ENVIRONMENT)


def _note(ctx: click.Context, param: click.Parameter, value: Any) -> None:
    """Keep an option in the invocation: what is said after the command counts, then what is said before it."""
    invocation = ctx.find_object(Invocation)
    if invocation is not None and param.name is not None and ctx.get_parameter_source(param.name) in _GIVEN:
        setattr(invocation, param.name, value)


def _complete_profile(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    from kraken_fastkey.cli._config import profile_names  # noqa: PLC0415  # help takes none

    del param
    invocation = ctx.find_object(Invocation)
    names = profile_names(None if invocation is None else invocation.config)
    return [CompletionItem(name) for name in names if name.startswith(incomplete)]


def _debug() -> click.Option:
    return click.Option(
        ["--debug"], is_flag=True, expose_value=False, callback=_note, help="Show logs, and a traceback of an error."
    )


def _json() -> click.Option:
    return click.Option(
        ["--json", "as_json"], is_flag=True, expose_value=False, callback=_note, help="Print JSON, errors as well."
    )


def _profile(*, before: bool) -> list[click.Parameter]:
    # The environment is read once, before the command: what is said there goes before it.
    return [
        click.Option(
            ["--config"],
            type=click.Path(dir_okay=False, path_type=Path),
            metavar="PATH",
            envvar=CONFIG_VARIABLE if before else None,
            expose_value=False,
            callback=_note,
            help=f"The configuration file, or else {CONFIG_VARIABLE}.",
        ),
        click.Option(
            ["--profile", "profile_name"],
            metavar="NAME",
            envvar=PROFILE_VARIABLE if before else None,
            expose_value=False,
            callback=_note,
            shell_complete=_complete_profile,
            help=f"The profile in it, or else {PROFILE_VARIABLE}.",
        ),
    ]


def options_before() -> list[click.Parameter]:
    """Return the options of all commands, as they may stand before the command, too."""
    return [*_profile(before=True), _json(), _debug()]


class Command(click.Command):
    """A command, which can be debugged."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.params += self.common()

    def common(self) -> list[click.Parameter]:
        """Return the options that all commands of this kind have."""
        return [_debug()]


class DataCommand(Command):
    """A command that prints data, as JSON if asked to."""

    def common(self) -> list[click.Parameter]:
        return [_json(), *super().common()]


class ProfileCommand(DataCommand):
    """A command that needs a profile, and prints data."""

    def common(self) -> list[click.Parameter]:
        return [*_profile(before=False), *super().common()]
