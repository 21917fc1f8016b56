"""`verify`."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any, Final

import attrs
import click

import kraken_fastkey
from kraken_fastkey import FastApiKey, KeyInfo, KeyVerification, SecretStr
from kraken_fastkey.cli._command import ProfileCommand
from kraken_fastkey.cli._exits import CommandError, Exit
from kraken_fastkey.cli._invocation import Invocation
from kraken_fastkey.cli._keys import describe_key, render_key
from kraken_fastkey.cli._options import env_prefix_option, file_option
from kraken_fastkey.cli._session import api_url_of, find_key

_MAX_BYTES: Final = 1024 * 1024
_NAMES: Final = ("API_KEY", "API_SECRET")


@click.command("verify", cls=ProfileCommand)
@click.argument("name", required=False)
@file_option("--env-file", "Take KRAKEN_API_KEY and KRAKEN_API_SECRET from this file, not from the environment.")
@env_prefix_option
@click.pass_obj
def verify_command(invocation: Invocation, *, name: str | None, env_file: Path | None, env_prefix: str) -> int:
    """Ask Kraken about a key, with the key itself.

    The key and its secret come from environment variables or from --env-file. With NAME, the key is compared with
    what the account's list says of the key of that name, which takes a login; without, it is only shown that Kraken
    takes it.

    It uses up one nonce, in milliseconds: while a program uses the key with larger ones, Kraken refuses this call.
    """
    pair = _read_pair(env_file, env_prefix)
    came = invocation.run(_verify(invocation, name, *pair))
    # Without a name there is nothing to compare the name with.
    differences = [text for text in came.differences if name is not None or not text.startswith("api_key_name:")]
    verified = None if came.verified is None else not differences
    document = {
        "verified": verified,
        "differences": differences,
        "key": None if came.info is None else describe_key(came.info, invocation.now),
        "tries": came.tries,
    }
    if verified is None:
        invocation.output.fail(
            "Kraken does not know the key. If it was made within the last minute, try again; if not, it was "
            "deleted, or is another server's"
        )
    for difference in differences:
        invocation.output.fail(f"{difference}")
    if invocation.as_json:
        invocation.output.emit_json(document)
    elif came.info is not None:
        info = came.info
        invocation.output.emit(document, lambda: render_key(info, invocation.now))
    if verified:
        invocation.output.say("Kraken takes the key" + ("" if name is None else ", and it is as the list says"))
    return Exit.OK if verified else Exit.CHECK


async def _verify(invocation: Invocation, name: str | None, api_key: str, secret: SecretStr) -> KeyVerification:
    listed = None if name is None else await find_key(invocation, name)
    known: dict[str, Any] = {} if listed is None else _fields(listed)
    key = FastApiKey(**{"api_key_name": "?", **known, "api_key": api_key, "secret": secret})
    with invocation.output.spinner("Asking Kraken"):
        return await kraken_fastkey.verify_key(
            key, listed=listed, base_url=api_url_of(invocation.profile), _runtime=invocation.runtime
        )


def _fields(key: KeyInfo) -> dict[str, Any]:
    return {field.name: getattr(key, field.name) for field in attrs.fields(KeyInfo)}


def _read_pair(env_file: Path | None, prefix: str) -> tuple[str, SecretStr]:
    names = [prefix + name for name in _NAMES]
    if env_file is None:
        values = {name: SecretStr(os.environ.get(name, "").strip()) for name in names}
        place = "the environment"
    else:
        values = _read_file(env_file, names)
        place = str(env_file)
    missing = [name for name in names if not values.get(name)]
    if missing:
        raise CommandError(
            f"{place} has no {' and no '.join(missing)}: set them, or pass --env-file or --env-prefix", exit=Exit.USAGE
        )
    return values[names[0]].get_secret_value(), values[names[1]]


def _read_file(path: Path, names: list[str]) -> dict[str, SecretStr]:
    """Return these variables of an env file: with or without `export` and quotes, the last of a name."""
    try:
        with path.open("rb") as file:
            content = SecretStr(file.read(_MAX_BYTES).decode("utf-8", "replace"))
    except OSError as error:
        raise CommandError(f"{path} cannot be read: {error.strerror}", exit=Exit.STORAGE) from None
    assignment = re.compile(
        rf"[ \t]*(?:export[ \t]+)?({'|'.join(map(re.escape, names))})[ \t]*=[ \t]*(['\"]?)(.*?)\2[ \t]*"
    )
    found: dict[str, SecretStr] = {}
    for line in map(SecretStr, content.get_secret_value().splitlines()):
        match = assignment.fullmatch(line.get_secret_value())
        if match is not None:
            found[match[1]] = SecretStr(match[3])
    return found
