"""`delete`."""

from __future__ import annotations

import click

from kraken_fastkey.cli._command import ProfileCommand
from kraken_fastkey.cli._deleting import Deletions, delete_each, report_deletions
from kraken_fastkey.cli._dry_run import plan_request, show_requests
from kraken_fastkey.cli._exits import Exit
from kraken_fastkey.cli._invocation import Invocation
from kraken_fastkey.cli._options import ask_options
from kraken_fastkey.cli._session import open_client


@click.command("delete", cls=ProfileCommand)
@click.argument("names", nargs=-1, required=True, metavar="NAME...")
@ask_options
@click.pass_obj
def delete_command(invocation: Invocation, *, names: tuple[str, ...], yes: bool, dry_run: bool) -> int:
    """Delete keys for good.

    It asks first. A program that uses one of them is refused from then on.
    """
    names = tuple(dict.fromkeys(names))
    planned = [plan_request(invocation, name) for name in names]  # finds a name that could be none
    if dry_run:
        show_requests(invocation, *planned)
        return Exit.OK
    what = f"the key {names[0]!r}" if len(names) == 1 else f"{len(names)} keys ({', '.join(map(repr, names))})"
    if not yes and not invocation.output.confirm(f"Delete {what} for good?"):
        invocation.output.say("nothing was deleted")
        return Exit.INTERRUPTED
    return report_deletions(invocation, invocation.run(_delete(invocation, names)))


async def _delete(invocation: Invocation, names: tuple[str, ...]) -> Deletions:
    async with open_client(invocation) as client:
        return await delete_each(invocation, client, names)
