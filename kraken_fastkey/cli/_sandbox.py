"""`sandbox`: the sandbox, standing alone."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import sys

from kraken_fastkey.cli._curl import curl_line
from kraken_fastkey.sandbox import KrakenSandbox

__all__ = ["run_sandbox"]


async def run_sandbox(*, host: str, port: int, token_life: float) -> int:
    """Run the sandbox until SIGINT or SIGTERM; say first how to talk to it."""
    try:
        sandbox = KrakenSandbox(host=host, port=port)
        await sandbox.start()
    except (ValueError, OSError, OverflowError) as error:
        print(f"the sandbox cannot start: {error}", file=sys.stderr)
        return 2
    try:
        token = sandbox.issue_token(expires_in=token_life)
        # The token opens nothing but this sandbox.
        print(f"base URL:     {sandbox.base_url}")
        print(f"access token: {token}")
        print(f"log in at:    {sandbox.authorize_url} (client id {sandbox.client_id})")
        print(f"description:  {sandbox.base_url.removesuffix('/oauth')}/openapi.json")
        print("Create a key:")
        print(curl_line(sandbox.base_url, token))
        print("Stop it with Ctrl-C.", flush=True)
        await _until_told_to_stop()
    finally:
        await sandbox.aclose()
    return 0


async def _until_told_to_stop() -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    # Where the loop has no signal handlers, Ctrl-C raises KeyboardInterrupt, which main() takes.
    with contextlib.suppress(NotImplementedError):
        loop.add_signal_handler(signal.SIGTERM, stop.set)
        loop.add_signal_handler(signal.SIGINT, stop.set)
    await stop.wait()
