"""Processes that share a grant on a server: one refresh for all of them, each time."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from redis.asyncio import Redis
from sqlalchemy.ext.asyncio import create_async_engine
from support import missing
from test_refreshing_processes import share

from kraken_fastkey.sandbox import KrakenSandbox
from kraken_fastkey.stores import RedisGrantStore, SQLGrantStore

sys.path.append(str(Path(__file__).parent / "stores"))

from redis_kit import redis_server
from sql_kit import postgres_server

ROUNDS = 50


async def test_eight_processes_on_one_redis_store(sandbox: KrakenSandbox, tmp_path: Path) -> None:
    """An expired token, 50 rounds: the server sees exactly 50 refreshes, and no reuse."""
    with redis_server(tmp_path) as server:
        if server is None:
            missing("redis-server")
        place = f"redis://127.0.0.1:{server.port}"
        client = Redis.from_url(place)
        try:
            store = RedisGrantStore(client, account="shared")
            await share(sandbox, store, place, processes=8, rounds=ROUNDS, factory="store_factories:redis")
        finally:
            await client.aclose()


@pytest.mark.filterwarnings("ignore::ResourceWarning")  # asyncpg's connections of killed children
async def test_eight_processes_on_one_row_of_postgresql(sandbox: KrakenSandbox) -> None:
    """The same with a lock of PostgreSQL's."""
    with postgres_server() as server:
        place = server.url
        engine = create_async_engine(place)
        try:
            store = SQLGrantStore(engine, account="shared")
            await store.create_table()
            await share(sandbox, store, place, processes=8, rounds=ROUNDS, factory="store_factories:sql")
        finally:
            await engine.dispose()
