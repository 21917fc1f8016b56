"""`rotate`."""

from __future__ import annotations

import asyncio
import contextlib
import shlex
from datetime import timedelta
from typing import Final

import attrs
import click

from kraken_fastkey import (
    CreateKeyRequest,
    FastApiKey,
    FastKeyClient,
    FastKeyError,
    KeyInfo,
    KeyNotFoundError,
    Time,
    UpdateKeyRequest,
)
from kraken_fastkey._models import GeneratedName
from kraken_fastkey.cli._command import ProfileCommand
from kraken_fastkey.cli._dry_run import plan_request, show_requests
from kraken_fastkey.cli._exits import CommandError, Exit, exit_of, tell_error
from kraken_fastkey.cli._handing import Handing, secret_options
from kraken_fastkey.cli._invocation import Invocation
from kraken_fastkey.cli._options import ask_options, lifetime_of, lifetime_options
from kraken_fastkey.cli._output import shown
from kraken_fastkey.cli._session import find_key, open_client

_ROOM: Final = 19  # of a generated name's 32 characters, for what it begins with


@click.command("rotate", cls=ProfileCommand)
@click.argument("name")
@click.option("--new-name", metavar="NAME", help="The new key's name; left out, it gets the old one's.")
@lifetime_options
@secret_options
@ask_options
@click.pass_obj
def rotate_command(
    invocation: Invocation,
    *,
    name: str,
    new_name: str | None,
    valid_for: timedelta | None,
    valid_until: Time | None,
    yes: bool,
    dry_run: bool,
    handing: Handing,
) -> int:
    """Put a new key in the place of an old one.

    The new key may do what NAME may, from the same addresses, and lives as long as the old one was made for,
    from now. Its secret is handed out as by create; only then the old key is deleted, and the new one takes its name.
    """
    if new_name == name:
        raise click.UsageError("--new-name is the name that the key has: leave it out")
    until = lifetime_of(valid_for, valid_until)
    if not dry_run:
        handing.check(invocation)
        invocation.output.check_can_ask(yes=yes)
    old = invocation.run(find_key(invocation, name))
    request = _to_request(old, new_name, until, invocation.now)
    if dry_run:
        steps = [plan_request(invocation, request), plan_request(invocation, name)]
        if new_name is None:
            steps.append(plan_request(invocation, UpdateKeyRequest(request.api_key_name, new_api_key_name=name)))
        show_requests(invocation, *steps)
        return Exit.OK
    if not yes and not invocation.output.confirm(f"Make a new key like {name!r}, and delete {name!r} for good?"):
        invocation.output.say("nothing was changed")
        return Exit.INTERRUPTED
    key = invocation.run(_rotate(invocation, request, old, handing, rename=new_name is None))
    handing.finish(invocation, key, rotated=name)
    return Exit.OK


def _to_request(old: KeyInfo, new_name: str | None, until: Time | None, now: float) -> CreateKeyRequest:
    if old.permissions is None or old.ip_allowlist is None:
        raise CommandError(
            f"Kraken does not tell what {old.api_key_name!r} may do, or from where, in a way that is known here: "
            "create a new key, then delete the old one",
            exit=Exit.CHECK,
        )
    return CreateKeyRequest(
        GeneratedName(old.api_key_name[:_ROOM]) if new_name is None else new_name,
        permissions=old.permissions,
        ip_allowlist=old.ip_allowlist,
        nonce_window=old.nonce_window,
        query_from=old.query_from,
        query_to=old.query_to,
        valid_until=_lifetime(old, now) if until is None else until,
    )


def _lifetime(old: KeyInfo, now: float) -> Time | None:
    """Return how long the old key was made for; or until when, if that is all that is known."""
    if old.valid_until is None:
        return None
    if old.created_time is not None and old.valid_until > old.created_time:
        return old.valid_until - old.created_time
    if old.valid_until.timestamp() > now:
        return old.valid_until
    raise CommandError(
        f"{old.api_key_name!r} has expired, and how long it was made for is not known: pass --valid-for or "
        "--valid-until",
        exit=Exit.USAGE,
    )


async def _rotate(
    invocation: Invocation, request: CreateKeyRequest, old: KeyInfo, handing: Handing, *, rename: bool
) -> FastApiKey:
    async with open_client(invocation) as client:
        with invocation.output.spinner(f"Rotating {shown(old.api_key_name)}"):
            key = await client.create_key(
                request,
                save=lambda key: handing.save(invocation, _named(key, old, rename=rename), rotated=old.api_key_name),
            )
            await _replace(invocation, client, key, old, rename=rename)
            return _named(key, old, rename=rename)


def _named(key: FastApiKey, old: KeyInfo, *, rename: bool) -> FastApiKey:
    """Return a key as it is called in the end."""
    # Its id is its name, written otherwise.
    return attrs.evolve(key, api_key_name=old.api_key_name, id=old.id) if rename else key


async def _replace(
    invocation: Invocation, client: FastKeyClient, key: FastApiKey, old: KeyInfo, *, rename: bool
) -> None:
    """Delete the old key, and give the new one its name."""
    steps = [f"kraken-fastkey delete {shlex.quote(old.api_key_name)}"]
    if rename:
        steps.append(
            f"kraken-fastkey update {shlex.quote(key.api_key_name)} --new-name {shlex.quote(old.api_key_name)}"
        )
    try:
        with contextlib.suppress(KeyNotFoundError):  # somebody was faster
            await client.delete_key(old.api_key_name)
        del steps[0]
        if rename:
            await client.update_key(UpdateKeyRequest(key.api_key_name, new_api_key_name=old.api_key_name))
    except FastKeyError as error:
        text = tell_error(error).rstrip(".")
        raise CommandError(f"{text}. {_left(key, steps)}", exit=exit_of(error)) from error
    except asyncio.CancelledError:
        invocation.output.warn(f"{_left(key, steps)}")
        raise


def _left(key: FastApiKey, steps: list[str]) -> str:
    return f"The new key is handed out, and named {key.api_key_name!r}; what is left to do: {' && '.join(steps)}"
