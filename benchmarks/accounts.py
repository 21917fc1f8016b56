"""What an account costs: `python -m benchmarks.accounts NUMBER [used]`.

Counted is all that belongs to it alone: the client's view, its `RefreshingTokenProvider`, its `MemoryGrantStore`, and
the grant in there with two tokens of 64 characters and three scopes. With `used`, each provider has handed out its
token once, so that it holds the grant itself, too.
"""

import asyncio
import gc
import json
import resource
import secrets
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

from kraken_fastkey import FastKeyClient, Grant, OAuthClient, RefreshingTokenProvider, StaticTokenProvider
from kraken_fastkey.stores import MemoryGrantStore

SCOPES: Final = ("account.fast-api-key:write", "account.fast-api-key:read", "account.fast-api-key:funds-query")


async def _measure(number: int, *, used: bool) -> dict[str, float]:
    app = OAuthClient("client", redirect_uri="http://127.0.0.1/callback")
    expires_at = datetime.now(UTC) + timedelta(hours=4)
    views: list[FastKeyClient] = []

    async def build(client: FastKeyClient) -> None:
        store = MemoryGrantStore()
        await store.save(Grant(secrets.token_hex(32), secrets.token_hex(32), expires_at, SCOPES))
        provider = RefreshingTokenProvider(app, store)
        if used:
            await provider.get_token()
        views.append(client.for_account(provider))

    async with FastKeyClient(StaticTokenProvider("token")) as client:
        await build(client)
        gc.collect()
        before, started = _resident(), time.process_time()
        for _ in range(number):
            await build(client)
        seconds = time.process_time() - started
        gc.collect()
        return {"bytes": (_resident() - before) / number, "seconds": seconds}


def _resident() -> int:
    return int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1]) * resource.getpagesize()


if __name__ == "__main__":
    print(json.dumps(asyncio.run(_measure(int(sys.argv[1]), used="used" in sys.argv))))
