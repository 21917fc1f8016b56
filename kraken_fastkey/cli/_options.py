"""Options that several commands have: what a key may do, and where its secret goes."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any, Final, TypeVar

import click
from click.shell_completion import CompletionItem

from kraken_fastkey import Permissions, Time
from kraken_fastkey.cli._values import PERMISSIONS, parse_moment, parse_permission, parse_span

_F = TypeVar("_F", bound=Callable[..., Any])


class _Parsed(click.ParamType):  # type: ignore[type-arg]  # generic since click 8.4, and not before
    """A value that a function reads."""

    def __init__(self, name: str, parse: Callable[[str], Any], choices: tuple[str, ...] = ()) -> None:
        self.name = name
        self._parse = parse
        self._choices = choices

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if not isinstance(value, str):
            return value
        try:
            return self._parse(value)
        except ValueError as error:
            self.fail(str(error), param, ctx)

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        del ctx, param
        return [CompletionItem(choice) for choice in self._choices if choice.startswith(incomplete)]


_PERMISSION: Final = _Parsed("permission", parse_permission, PERMISSIONS)
SPAN: Final = _Parsed("span", parse_span)
_MOMENT: Final = _Parsed("moment", parse_moment, ("never",))


def stack(*options: Callable[[_F], _F]) -> Callable[[_F], _F]:
    """Return a decorator that adds several options, in this order."""

    def decorate(function: _F) -> _F:
        for option in reversed(options):
            function = option(function)
        return function

    return decorate


def file_option(name: str, text: str) -> Callable[[_F], _F]:
    """Return an option that names a file."""
    return click.option(name, type=click.Path(dir_okay=False, path_type=Path), metavar="PATH", help=text)


env_prefix_option: Final = click.option(
    "--env-prefix", default="KRAKEN_", show_default=True, metavar="PREFIX", help="What the two names begin with."
)
permission_options: Final = stack(
    click.option(
        "--permission",
        "permission",
        type=_PERMISSION,
        multiple=True,
        metavar="NAME",
        help=f"What the key may do; may be repeated. {', '.join(PERMISSIONS)}.",
    ),
    click.option("--read-only", is_flag=True, help="Permissions to see balances, orders, trades and the ledger."),
)
lifetime_options: Final = stack(
    click.option("--valid-for", type=SPAN, metavar="SPAN", help="How long the key lives: 7d, 12h, 30m, 1d12h."),
    click.option(
        "--valid-until",
        type=_MOMENT,
        metavar="TIME",
        help="When it expires: 2027-01-31, 2027-01-31T12:00Z (UTC if it does not say), Unix seconds, or never.",
    ),
)
key_options: Final = stack(
    permission_options,
    click.option(
        "--ip", multiple=True, metavar="ADDRESS", help="An address or network that may use it; may be repeated."
    ),
    lifetime_options,
    click.option("--query-from", type=_MOMENT, metavar="TIME", help="Since when data may be queried."),
    click.option("--query-to", type=_MOMENT, metavar="TIME", help="Until when data may be queried."),
    click.option(
        "--nonce-window",
        type=int,
        metavar="TICKS",
        help="How far a nonce may lie behind the highest, in ticks of whoever counts them.",
    ),
)
ask_options: Final = stack(
    click.option("--yes", "-y", is_flag=True, help="Do not ask first."),
    click.option("--dry-run", is_flag=True, help="Show what would be done, and change nothing."),
)


def permissions_of(permission: tuple[str, ...], *, read_only: bool) -> Permissions | None:
    """Return the permissions that the options name, all others withheld; `None` if they name none."""
    if not permission and not read_only:
        return None
    names = set(permission) | (Permissions.read_only().granted if read_only else set())
    return Permissions.only(*names)


def lifetime_of(valid_for: timedelta | None, valid_until: Time | None) -> Time | None:
    """Return what the two options say of a key's end; `None` if they say nothing.

    Raises:
        click.UsageError: Both are there.
    """
    if valid_for is not None and valid_until is not None:
        raise click.UsageError("--valid-for and --valid-until are two ways to say one thing: pass one of them")
    return valid_for if valid_until is None else valid_until
