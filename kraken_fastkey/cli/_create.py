"""`create`."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import click

from kraken_fastkey import CreateKeyRequest, FastApiKey, Time
from kraken_fastkey.cli._command import ProfileCommand
from kraken_fastkey.cli._dry_run import plan_request, show_requests
from kraken_fastkey.cli._handing import Handing, secret_options
from kraken_fastkey.cli._invocation import Invocation
from kraken_fastkey.cli._options import key_options, lifetime_of, permissions_of
from kraken_fastkey.cli._output import shown
from kraken_fastkey.cli._session import open_client


@click.command("create", cls=ProfileCommand)
@click.argument("name", required=False)
@key_options
@secret_options
@click.option("--dry-run", is_flag=True, help="Show the request, and send nothing.")
@click.pass_obj
def create_command(
    invocation: Invocation,
    /,
    *,
    name: str | None,
    dry_run: bool,
    handing: Handing,
    **wishes: Any,
) -> None:
    """Create a key, and hand its secret out.

    NAME has 1 to 32 characters, and is unique in the account; left out, one is made up. What is not said is taken
    from the profile. Kraken shows the secret this once, so say where it goes: --env-file, --secret-file, --ccxt or
    --show-secret. If it cannot be written there, the key is deleted again.
    """
    request = _to_request(invocation, name, **wishes)
    if dry_run:
        show_requests(invocation, plan_request(invocation, request))
        return
    handing.check(invocation)
    if request.permissions is None or not request.permissions.granted:
        invocation.output.warn("the key may do nothing: pass --permission or --read-only")
    handing.finish(invocation, invocation.run(_create(invocation, request, handing)))


async def _create(invocation: Invocation, request: CreateKeyRequest, handing: Handing) -> FastApiKey:
    async with open_client(invocation) as client:
        with invocation.output.spinner(f"Creating {shown(request.api_key_name)}"):
            return await client.create_key(request, save=lambda key: handing.save(invocation, key))


def _to_request(
    invocation: Invocation,
    name: str | None,
    *,
    permission: tuple[str, ...],
    read_only: bool,
    ip: tuple[str, ...],
    valid_for: timedelta | None,
    valid_until: Time | None,
    query_from: Time | None,
    query_to: Time | None,
    nonce_window: int | None,
) -> CreateKeyRequest:
    profile = invocation.profile
    said = lifetime_of(valid_for, valid_until)
    named = {} if name is None else {"api_key_name": name}
    return CreateKeyRequest(
        **named,
        permissions=permissions_of(permission, read_only=read_only) or profile.permissions,
        ip_allowlist=ip or profile.ip_allowlist,
        valid_until=profile.valid_for if said is None else said,
        query_from=query_from,
        query_to=query_to,
        nonce_window=nonce_window,
    )
