"""A process that shares a grant's store with others: run by tests, one JSON argument.

`rounds`: for each line on stdin makes one call with a token that the server has ended, and answers "ok".
`signals`: for each round begins a refresh, in an event loop of its own that SIGTERM ends, and answers "ended".
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import json
import signal
import sys
from typing import Any

from kraken_fastkey import FastKeyClient
from kraken_fastkey._oauth import OAuthClient
from kraken_fastkey._refreshing import RefreshingTokenProvider
from kraken_fastkey.stores import FileGrantStore, GrantStore


async def _store(settings: dict[str, Any]) -> GrantStore:
    if "factory" in settings:
        module, _, name = settings["factory"].partition(":")
        made: GrantStore = await getattr(importlib.import_module(module), name)(settings["place"])
        return made
    return FileGrantStore(settings["place"])


def _oauth(settings: dict[str, Any]) -> OAuthClient:
    return OAuthClient(settings["client_id"], redirect_uri="http://127.0.0.1/cb", token_url=settings["token_url"])


async def _rounds(settings: dict[str, Any]) -> None:
    store = await _store(settings)
    async with _oauth(settings) as oauth, RefreshingTokenProvider(oauth, store) as provider:
        async with FastKeyClient(provider, base_url=settings["base_url"]) as client:
            await provider.get_token()
            print("ready", flush=True)
            while await asyncio.to_thread(sys.stdin.readline):
                await client.list_keys()
                print("ok", flush=True)


async def _one_signal(settings: dict[str, Any]) -> None:
    me = asyncio.current_task()
    assert me is not None
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, me.cancel)
    store = await _store(settings)
    async with _oauth(settings) as oauth, RefreshingTokenProvider(oauth, store) as provider:
        token = await provider.get_token()
        print("refreshing", flush=True)
        await provider.get_token(rejected=token)
        await asyncio.Event().wait()


def main() -> None:
    """Do what the argument says."""
    settings = json.loads(sys.argv[1])
    if settings["mode"] == "rounds":
        asyncio.run(_rounds(settings))
        return
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # between two loops
    for _ in range(settings["rounds"]):
        with contextlib.suppress(asyncio.CancelledError):
            asyncio.run(_one_signal(settings))
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        print("ended", flush=True)
        sys.stdin.readline()


if __name__ == "__main__":
    main()
