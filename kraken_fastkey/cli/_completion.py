"""`completion`."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class

from kraken_fastkey.cli._command import Command

_VARIABLE = "_KRAKEN_FASTKEY_COMPLETE"


@click.command("completion", cls=Command)
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_context
def completion_command(ctx: click.Context, *, shell: str) -> None:
    """Print a script that completes commands in a shell.

    \b
    bash: add to ~/.bashrc:  eval "$(kraken-fastkey completion bash)"
    zsh:  add to ~/.zshrc:   eval "$(kraken-fastkey completion zsh)"
    fish: kraken-fastkey completion fish > ~/.config/fish/completions/kraken-fastkey.fish
    """  # noqa: D301  # the escape is for click: leave these lines as they are
    root = ctx.find_root()
    completion = get_completion_class(shell)
    assert completion is not None  # noqa: S101  # for type checkers: click has all three
    # Its source() would ask bash for its version first; which one runs here says nothing.
    made = completion(root.command, {}, root.info_name or "", _VARIABLE)
    click.echo(made.source_template % made.source_vars())
