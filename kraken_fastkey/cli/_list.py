"""`list`."""

from __future__ import annotations

import click

from kraken_fastkey import KeyInfo
from kraken_fastkey.cli._command import ProfileCommand
from kraken_fastkey.cli._invocation import Invocation
from kraken_fastkey.cli._keys import describe_key, render_keys
from kraken_fastkey.cli._session import open_client


@click.command("list", cls=ProfileCommand)
@click.pass_obj
def list_command(invocation: Invocation) -> None:
    """List the account's Fast API keys."""
    keys = invocation.run(_list(invocation))
    if not keys:
        invocation.output.say("there are no keys: kraken-fastkey create makes one")
    now = invocation.now
    document = {"keys": [describe_key(key, now) for key in keys]}
    if keys or invocation.as_json:
        invocation.output.emit(document, lambda: render_keys(keys, now))


async def _list(invocation: Invocation) -> tuple[KeyInfo, ...]:
    async with open_client(invocation) as client:
        with invocation.output.spinner("Listing"):
            return await client.list_keys()
