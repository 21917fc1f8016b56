"""How the processes of a test come to their store on a server."""

from __future__ import annotations

from redis.asyncio import Redis
from sqlalchemy.ext.asyncio import create_async_engine

from kraken_fastkey.stores import RedisGrantStore, SQLGrantStore


async def sql(place: str) -> SQLGrantStore:
    """Return the store at a database's URL."""
    return SQLGrantStore(create_async_engine(place, pool_size=5), account="shared")


async def redis(place: str) -> RedisGrantStore:
    """Return the store at a Redis server's URL."""
    return RedisGrantStore(Redis.from_url(place), account="shared")
