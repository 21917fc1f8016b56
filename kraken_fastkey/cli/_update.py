"""`update`."""

from __future__ import annotations

from datetime import timedelta

import click
from rich.console import RenderableType
from rich.text import Text

from kraken_fastkey import KeyInfo, Time, UpdateKeyRequest
from kraken_fastkey.cli._command import ProfileCommand
from kraken_fastkey.cli._dry_run import plan_request, show_requests
from kraken_fastkey.cli._invocation import Invocation
from kraken_fastkey.cli._keys import describe_key, render_key
from kraken_fastkey.cli._options import key_options, lifetime_of, permissions_of
from kraken_fastkey.cli._output import shown
from kraken_fastkey.cli._session import open_client


@click.command("update", cls=ProfileCommand)
@click.argument("name")
@click.option("--new-name", metavar="NAME", help="Its new name.")
@key_options
@click.option("--any-ip", is_flag=True, help="Let it be used from anywhere.")
@click.option("--dry-run", is_flag=True, help="Show the request, and send nothing.")
@click.pass_obj
def update_command(
    invocation: Invocation,
    *,
    name: str,
    new_name: str | None,
    permission: tuple[str, ...],
    read_only: bool,
    ip: tuple[str, ...],
    any_ip: bool,
    valid_for: timedelta | None,
    valid_until: Time | None,
    query_from: Time | None,
    query_to: Time | None,
    nonce_window: int | None,
    dry_run: bool,
) -> None:
    """Change a key.

    Only what is said of NAME is changed. --permission and --ip say all of it: what they do not name is withdrawn. The
    time `never` lifts a restriction. In the end the key is shown, as the list has it.
    """
    if ip and any_ip:
        raise click.UsageError("--ip and --any-ip contradict each other: pass one of them")
    request = UpdateKeyRequest(
        name,
        new_api_key_name=new_name,
        permissions=permissions_of(permission, read_only=read_only),
        ip_allowlist=ip if ip or any_ip else None,
        valid_until=lifetime_of(valid_for, valid_until),
        query_from=query_from,
        query_to=query_to,
        nonce_window=nonce_window,
    )
    if request == UpdateKeyRequest(name):
        raise click.UsageError("there is nothing to change: pass an option that says what")
    if dry_run:
        show_requests(invocation, plan_request(invocation, request))
        return
    key = invocation.run(_update(invocation, request))
    now = invocation.now
    document = {"key": None if key is None else describe_key(key, now)}
    invocation.output.say(f"changed {name!r}")
    if key is not None or invocation.as_json:
        invocation.output.emit(document, lambda: _render(key, now))


def _render(key: KeyInfo | None, now: float) -> RenderableType:
    return Text() if key is None else render_key(key, now)


async def _update(invocation: Invocation, request: UpdateKeyRequest) -> KeyInfo | None:
    """Change a key, and return how it is now; `None` if it is not listed."""
    name = request.new_api_key_name or request.api_key_name
    async with open_client(invocation) as client:
        with invocation.output.spinner(f"Changing {shown(request.api_key_name)}"):
            await client.update_key(request)
            return next((key for key in await client.list_keys() if key.api_key_name == name), None)
