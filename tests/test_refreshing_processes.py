"""Several processes on one store, and processes that are told to end: the grant is refreshed once, and never lost."""

from __future__ import annotations

import asyncio
import json
import os
import random
import signal
import sys
from pathlib import Path
from typing import Any

import pytest

from kraken_fastkey._oauth import OAuthClient
from kraken_fastkey.sandbox import KrakenSandbox
from kraken_fastkey.stores import FileGrantStore, GrantStore

REDIRECT = "http://127.0.0.1/cb"
CHILD = Path(__file__).parent / "refresh_child.py"


async def log_in(sandbox: KrakenSandbox, store: GrantStore) -> None:
    """Put a grant into a store."""
    async with OAuthClient(
        sandbox.client_id, redirect_uri=REDIRECT, authorize_url=sandbox.authorize_url, token_url=sandbox.token_url
    ) as oauth:
        request = oauth.authorization_request()
        code = oauth.read_callback(sandbox.approve(request.url), request)
        await store.save(await oauth.exchange_code(code, request))


async def start_child(sandbox: KrakenSandbox, mode: str, place: str, **settings: Any) -> asyncio.subprocess.Process:
    """Start a process that shares the store."""
    settings |= {
        "mode": mode,
        "place": place,
        "client_id": sandbox.client_id,
        "token_url": sandbox.token_url,
        "base_url": sandbox.base_url,
    }
    return await asyncio.create_subprocess_exec(
        sys.executable,
        str(CHILD),
        json.dumps(settings),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        env=os.environ | {"PYTHONPATH": str(CHILD.parent)},
    )


async def said(child: asyncio.subprocess.Process) -> str:
    """Return the next line of a child."""
    assert child.stdout is not None
    return (await asyncio.wait_for(child.stdout.readline(), 60)).decode().strip()


def refreshes(sandbox: KrakenSandbox) -> int:
    """Return how many refreshes have reached the server."""
    return sum(b"refresh_token=" in entry.body for entry in sandbox.requests if entry.operation == "token")


async def agrees(sandbox: KrakenSandbox, store: GrantStore) -> bool:
    """Whether a store holds the pair that the server holds for current."""
    stored = await store.load()
    held = sandbox.grants()[-1]
    assert stored is not None
    assert stored.refresh_token is not None
    return not held.revoked and (held.access_token, held.refresh_token) == (
        stored.access_token.get_secret_value(),
        stored.refresh_token.get_secret_value(),
    )


async def share(
    sandbox: KrakenSandbox, store: GrantStore, place: str, *, processes: int, rounds: int, **how: Any
) -> None:
    """Let processes share a store, end the token at the server before each round, and check the books."""
    await log_in(sandbox, store)
    children = [await start_child(sandbox, "rounds", place, **how) for _ in range(processes)]
    try:
        assert ["ready"] * processes == [await said(child) for child in children]
        for _ in range(rounds):
            sandbox.expire_access_tokens()
            for child in children:
                assert child.stdin is not None
                child.stdin.write(b"go\n")
            assert ["ok"] * processes == [await said(child) for child in children]
        for child in children:
            assert child.stdin is not None
            child.stdin.close()
        assert [0] * processes == [await child.wait() for child in children]
    finally:
        for child in children:
            if child.returncode is None:
                child.kill()
                await child.wait()
    print(f"{processes} processes on {type(store).__name__}, {rounds} rounds: {refreshes(sandbox)} refreshes")
    assert rounds == refreshes(sandbox)
    assert not any(grant.revoked for grant in sandbox.grants())
    assert await agrees(sandbox, store)


async def test_eight_processes_on_one_file(sandbox: KrakenSandbox, tmp_path: Path) -> None:
    """An expired token, 50 rounds: the server sees exactly 50 refreshes, and no reuse."""
    place = str(tmp_path / "private" / "grant.json")
    await share(sandbox, FileGrantStore(place), place, processes=8, rounds=50)


@pytest.mark.skipif(os.name != "posix", reason="sends POSIX signals")
async def test_sigterm_in_the_middle_of_a_refresh_loses_nothing(sandbox: KrakenSandbox, tmp_path: Path) -> None:
    """A thousand event loops, each ended by SIGTERM at a random moment of a refresh: 0 grants lost."""
    rounds = 1000
    place = str(tmp_path / "private" / "grant.json")
    store = FileGrantStore(place)
    await log_in(sandbox, store)
    child = await start_child(sandbox, "signals", place, rounds=rounds)
    moment = random.Random(7)  # noqa: S311  # repeatable
    lost = 0
    try:
        for _ in range(rounds):
            assert "refreshing" == await said(child)
            await asyncio.sleep(moment.uniform(0, 0.006))
            child.send_signal(signal.SIGTERM)
            assert "ended" == await said(child)
            lost += not await agrees(sandbox, store)
            assert child.stdin is not None
            child.stdin.write(b"go\n")
        assert 0 == await child.wait()
    finally:
        if child.returncode is None:
            child.kill()
            await child.wait()
    print(f"SIGTERM at {rounds} random moments, {refreshes(sandbox)} refreshes: {lost} grants lost")
    assert 0 == lost
    assert rounds / 10 < refreshes(sandbox)
