"""`sandbox`: the sandbox, standing alone."""

from __future__ import annotations

import asyncio
import contextlib
import json
import shlex
import signal
import sys
from pathlib import Path
from typing import Final

from kraken_fastkey.cli._curl import curl_line
from kraken_fastkey.cli._stdout import give_up_stdout
from kraken_fastkey.sandbox import KrakenSandbox

_CONFIG: Final = """\
# Written by `kraken-fastkey sandbox`, for a sandbox that lives as long as that runs.
default_profile = "sandbox"

[profiles.sandbox]
client_id = "{client_id}"
redirect_uri = "http://127.0.0.1/callback"
base_url = "{base_url}"
authorize_url = "{authorize_url}"
token_url = "{token_url}"
api_url = "{api_url}"
grant_file = {grant_file}
"""


def serve(
    *, host: str, port: int, token_life: float, write_config: str | Path | None = None, as_json: bool = False
) -> int:
    """Run the sandbox until it is told to stop; say first how to talk to it. Return the exit code.

    Args:
        host: The loopback address to listen on.
        port: The port to listen on; 0 for any.
        token_life: How long the printed access token lasts, in seconds.
        write_config: A configuration file to make for it; one that is there is not touched.
        as_json: Whether to say it as JSON.
    """
    config = None if write_config is None else Path(write_config).absolute()
    with contextlib.suppress(KeyboardInterrupt):
        return asyncio.run(_serve(host, port, token_life, config, as_json=as_json))
    return 0


async def _serve(host: str, port: int, token_life: float, config: Path | None, *, as_json: bool) -> int:
    try:
        sandbox = KrakenSandbox(host=host, port=port)
        await sandbox.start()
    except (ValueError, OSError, OverflowError) as error:
        print(f"error: the sandbox cannot start: {error}", file=sys.stderr)
        return 2
    try:
        # The token opens nothing but this sandbox.
        token = sandbox.issue_token(expires_in=token_life)
        if config is not None and not _write_config(config, sandbox):
            return 2
        try:
            (_tell_in_json if as_json else _tell)(sandbox, token, config)
        except OSError as error:
            give_up_stdout()
            print(f"error: the standard output cannot be written: {error.strerror}", file=sys.stderr)
            return 9
        await _until_told_to_stop()
    finally:
        await sandbox.aclose()
    return 0


def _tell(sandbox: KrakenSandbox, token: str, config: Path | None) -> None:
    print(f"base URL:     {sandbox.base_url}")
    print(f"access token: {token}")
    print(f"log in at:    {sandbox.authorize_url} (client id {sandbox.client_id})")
    print(f"description:  {sandbox.base_url.removesuffix('/oauth')}/openapi.json")
    if config is not None:
        print(f"use it:       kraken-fastkey login --config {shlex.quote(str(config))}")
    print("Create a key:")
    print(curl_line(sandbox.base_url, token))
    print("Stop it with Ctrl-C.", flush=True)


def _tell_in_json(sandbox: KrakenSandbox, token: str, config: Path | None) -> None:
    document = {
        "base_url": sandbox.base_url,
        "authorize_url": sandbox.authorize_url,
        "token_url": sandbox.token_url,
        "api_url": sandbox.api_url,
        "client_id": sandbox.client_id,
        "access_token": token,
        "config": None if config is None else str(config),
    }
    print(json.dumps(document, indent=2), flush=True)


def _write_config(path: Path, sandbox: KrakenSandbox) -> bool:
    """Write a configuration, or say why that cannot be; return whether it is written."""
    text = _CONFIG.format(
        client_id=sandbox.client_id,
        base_url=sandbox.base_url,
        authorize_url=sandbox.authorize_url,
        token_url=sandbox.token_url,
        api_url=sandbox.api_url,
        # Not in the folder itself: what holds a login must be its owner's alone.
        grant_file=json.dumps(f"{path.name}.grant/grant", ensure_ascii=False),  # TOML knows no halves of a character
    )
    try:
        with path.open("x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError:
        print(f"error: {path} is there already: name another file, or remove it", file=sys.stderr)
        return False
    except OSError as error:
        print(f"error: {path} cannot be written: {error.strerror}", file=sys.stderr)
        return False
    return True


async def _until_told_to_stop() -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    # Where the loop has no signal handlers, Ctrl-C raises KeyboardInterrupt, which main() takes.
    with contextlib.suppress(NotImplementedError):
        loop.add_signal_handler(signal.SIGTERM, stop.set)
        loop.add_signal_handler(signal.SIGINT, stop.set)
    await stop.wait()
