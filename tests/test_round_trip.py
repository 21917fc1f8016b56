"""Any valid request survives its way: request, bytes, sandbox, list_keys."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import attrs
import hypothesis
import pytest
from hypothesis import strategies as st
from strategies import NOW, create_requests, permissions, update_requests

from kraken_fastkey import CreateKeyRequest, FastKeyClient, KeyInfo, Permissions, StaticTokenProvider, UpdateKeyRequest
from kraken_fastkey._runtime import Runtime
from kraken_fastkey._validation import to_unix
from kraken_fastkey.sandbox import KrakenSandbox

# The sandbox knows these two beside the documented ten, and refuses names that nobody knows.
KNOWN_EXTRA = ("withdrawal_address_add", "withdrawal_address_update")
known_permissions = st.builds(
    lambda given, extra: attrs.evolve(given, extra=extra),
    permissions,
    st.dictionaries(st.sampled_from(KNOWN_EXTRA), st.booleans()),
)


@attrs.frozen
class _World:
    runner: asyncio.Runner
    client: FastKeyClient

    async def _create(self, request: CreateKeyRequest) -> KeyInfo:
        await self.client.create_key(request)
        (listed,) = await self.client.list_keys()
        await self.client.delete_key(request.api_key_name)
        return listed

    async def _create_and_update(self, create: CreateKeyRequest, update: UpdateKeyRequest) -> tuple[KeyInfo, KeyInfo]:
        await self.client.create_key(create)
        (before,) = await self.client.list_keys()
        await self.client.update_key(update)
        (after,) = await self.client.list_keys()
        await self.client.delete_key(after.api_key_name)
        return before, after

    def create(self, request: CreateKeyRequest) -> KeyInfo:
        """Create a key, and return how it is listed; the account is empty again afterwards."""
        return self.runner.run(self._create(request))

    def create_and_update(self, create: CreateKeyRequest, update: UpdateKeyRequest) -> tuple[KeyInfo, KeyInfo]:
        """The same, before and after an update."""
        return self.runner.run(self._create_and_update(create, update))


@pytest.fixture(name="world", scope="module")
def _world() -> Iterator[_World]:
    with asyncio.Runner() as runner:
        sandbox = KrakenSandbox(clock=lambda: NOW)
        runner.run(sandbox.start())
        client = FastKeyClient(
            StaticTokenProvider(sandbox.issue_token()),
            base_url=sandbox.base_url,
            _runtime=Runtime(time=lambda: NOW),
        )
        yield _World(runner, client)
        runner.run(client.aclose())
        runner.run(sandbox.aclose())


def _moment(value: Any) -> datetime | None:
    """Return a request's time as an answer tells it: whole seconds, and none for 0."""
    if value is None or (not isinstance(value, (datetime, timedelta)) and value == 0):
        return None
    return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(seconds=to_unix(value, NOW))


@hypothesis.given(request=create_requests, flags=st.none() | known_permissions)
def test_a_key_is_listed_as_it_was_asked_for(
    world: _World, request: CreateKeyRequest, flags: Permissions | None
) -> None:
    """Name, permissions, allowlist, window and times come back unchanged, to the last digit."""
    request = attrs.evolve(request, permissions=flags)
    listed = world.create(request)
    assert request.api_key_name == listed.api_key_name
    assert (Permissions() if flags is None else flags) == listed.permissions
    assert request.ip_allowlist == listed.ip_allowlist
    assert (request.nonce_window or 0) == listed.nonce_window
    assert _moment(request.query_from) == listed.query_from
    assert _moment(request.query_to) == listed.query_to
    assert _moment(request.valid_until) == listed.valid_until
    assert {} == listed.unknown


@hypothesis.given(
    create=create_requests, update=update_requests, old=st.none() | known_permissions, new=st.none() | known_permissions
)
def test_an_update_changes_what_it_says_and_nothing_else(
    world: _World,
    create: CreateKeyRequest,
    update: UpdateKeyRequest,
    old: Permissions | None,
    new: Permissions | None,
) -> None:
    """Each field afterwards is the update's, if that set it, else the key's own."""
    create = attrs.evolve(create, permissions=old)
    # Without restrictions of its own, so that no combination of old and new is a contradiction.
    create = attrs.evolve(create, query_from=None, query_to=None)
    update = attrs.evolve(update, api_key_name=create.api_key_name, permissions=new)
    before, after = world.create_and_update(create, update)
    assert (update.new_api_key_name or create.api_key_name) == after.api_key_name
    assert (before.ip_allowlist if update.ip_allowlist is None else update.ip_allowlist) == after.ip_allowlist
    assert (before.nonce_window if update.nonce_window is None else update.nonce_window) == after.nonce_window
    for field in ("query_from", "query_to", "valid_until"):
        wanted = getattr(update, field)
        assert (getattr(before, field) if wanted is None else _moment(wanted)) == getattr(after, field)
    assert before.permissions is not None
    assert after.permissions is not None
    flags = before.permissions.flags() | ({} if new is None else new.flags())
    assert flags == after.permissions.flags()
