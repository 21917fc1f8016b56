"""What the calls do to the account: create, list, update, delete, and the user's own data."""

import asyncio
import base64
from collections.abc import AsyncIterator
from typing import Any

import pytest
from sandbox_kit import FIELDS, START, Kit, running

LISTED = {
    "api_key_name",
    "created_time",
    "id",
    "ip_allowlist",
    "last_used",
    "modified_time",
    "nonce",
    "nonce_window",
    "oauth_client",
    "permissions",
    "purpose",
    "query_from",
    "query_to",
    "valid_until",
}


@pytest.fixture(name="kit")
async def _kit() -> AsyncIterator[Kit]:
    """Run a sandbox with a client."""
    async with running(max_keys=3) as kit:
        yield kit


async def test_create_with_a_name_alone(kit: Kit) -> None:
    """The answer has every documented field, and defaults that restrict nothing and permit nothing."""
    result = (await kit.create("grid-bot")).result
    secret, api_key = result.pop("secret"), result.pop("api_key")
    assert len(base64.b64decode(secret, validate=True)) == 64
    assert len(api_key) == 56
    assert len(base64.b64decode(api_key, validate=True)) == 42
    assert result.pop("oauth_client")
    assert result == {
        "api_key_name": "grid-bot",
        "created_time": str(int(START)),
        "id": "Z3JpZC1ib3Q-",
        "ip_allowlist": [],
        "last_used": 0,
        "modified_time": str(int(START)),
        "nonce": 0,
        "nonce_window": 0,
        "permissions": {},
        "purpose": "standard",
        "query_from": 0,
        "query_to": 0,
        "valid_until": 0,
    }


FULL: dict[str, Any] = {
    "ip_allowlist": ["203.0.113.0/24", "2001:db8::/32", "198.51.100.7", "::1"],
    "nonce_window": 2**64 - 1,
    "permissions": {"funds_query": True, "funds_withdraw": False},
    "query_from": 1_700_000_000,
    "query_to": 1_700_000_000.5,
    "valid_until": 2**62 + 1,
}


async def test_create_with_everything(kit: Kit) -> None:
    """Every field comes back as it was sent; no digit of a 64-bit integer is lost."""
    result = (await kit.create(**FULL)).result
    assert {name: result[name] for name in FULL} == FULL
    (key,) = kit.sandbox.keys()
    assert (key.nonce_window, key.valid_until) == (2**64 - 1, 2**62 + 1)
    assert key.ip_allowlist == tuple(result["ip_allowlist"])


async def test_nulls_are_unset(kit: Kit) -> None:
    """Kraken's own wallet sends null for what it does not set: that is the same as not sending it."""
    unset = dict.fromkeys(FULL)
    plain, nulls = (await kit.create("plain")).result, (await kit.create("nulls", **unset)).result
    assert {name: nulls[name] for name in FULL} == {name: plain[name] for name in FULL}
    flags = (await kit.create("flags", permissions={"funds_query": None, "funds_add": False})).result
    assert flags["permissions"] == {"funds_add": False}


@pytest.mark.parametrize(
    ("name", "encoded"),
    [("a", "YQ--"), ("ab", "YWI-"), ("abc", "YWJj"), ("~~~", "fn5_"), ("~~\x7f", "fn5,"), ("ключ", "0LrQu9GO0Yc-")],
)
async def test_id_is_the_name_in_modified_base64(kit: Kit, name: str, encoded: str) -> None:
    """``_`` is the 62nd character, ``,`` the 63rd, ``-`` the padding."""
    assert (await kit.create(name)).result["id"] == encoded
    assert kit.sandbox.keys()[0].id == encoded


async def test_list(kit: Kit) -> None:
    """The list tells of every key, oldest first, and never of a secret or a public key."""
    assert await kit.listed() == []
    created = [(await kit.create(name)).result for name in ("b", "a", "c")]
    listed = await kit.listed()
    assert [key["api_key_name"] for key in listed] == ["b", "a", "c"]
    for key, whole in zip(listed, created, strict=True):
        assert key.keys() == LISTED
        assert key == {name: whole[name] for name in LISTED}


async def test_keys_are_what_was_created(kit: Kit) -> None:
    """`keys()` holds what the answers said, the secret too, which no repr shows."""
    result = (await kit.create("bot", permissions={"funds_query": True})).result
    (key,) = kit.sandbox.keys()
    assert (key.secret, key.api_key) == (result["secret"], result["api_key"])
    assert key.permissions == {"funds_query": True}
    assert result["secret"] not in repr(key)
    with pytest.raises(TypeError):
        key.permissions["funds_query"] = False  # type: ignore[index]


async def test_name_is_unique(kit: Kit) -> None:
    """A second key of the same name is refused, and the first is untouched."""
    await kit.create("bot")
    before = kit.sandbox.keys()
    assert (await kit.create("bot", nonce_window=5)).errors == [f"{FIELDS}api_key_name already in use"]
    assert kit.sandbox.keys() == before
    assert (await kit.create("BOT")).status == 200


async def test_limit(kit: Kit) -> None:
    """A full account takes no further key until one is deleted; a name in use is said first."""
    for name in ("a", "b", "c"):
        await kit.create(name)
    assert (await kit.create("d")).errors == ["EAccount:Too many API keys"]
    assert (await kit.create("a")).errors == [f"{FIELDS}api_key_name already in use"]
    await kit.delete("b")
    assert (await kit.create("d")).result["api_key_name"] == "d"


async def test_expired_key_stays(kit: Kit) -> None:
    """An expired key is still listed, holds its name, counts towards the limit, and can be renewed or deleted."""
    await kit.create("old", valid_until=int(START) + 10)
    kit.clock.now += 1000
    assert [key["api_key_name"] for key in await kit.listed()] == ["old"]
    assert (await kit.create("old")).errors == [f"{FIELDS}api_key_name already in use"]
    await kit.create("b")
    await kit.create("c")
    assert (await kit.create("d")).errors == ["EAccount:Too many API keys"]
    assert (await kit.update("old", valid_until=kit.clock.now + 10)).result is True
    assert (await kit.delete("old")).result is True


@pytest.mark.parametrize("field", list(FULL))
async def test_update_changes_only_what_is_sent(kit: Kit, field: str) -> None:
    """One field sent is one field changed, besides the time of the change."""
    await kit.create()
    (before,) = await kit.listed()
    kit.clock.now += 100
    assert (await kit.update(**{field: FULL[field]})).result is True
    (after,) = await kit.listed()
    changed = {field: FULL[field], "modified_time": str(int(START) + 100)}
    assert after == {**before, **changed}


async def test_update_keeps_what_is_null(kit: Kit) -> None:
    """Null changes nothing, 0 and the empty list do; the secret outlives every change."""
    created = (await kit.create(**FULL)).result
    unset: dict[str, Any] = dict.fromkeys([*FULL, "new_api_key_name"])
    await kit.update(**unset)
    (key,) = await kit.listed()
    assert {name: key[name] for name in FULL} == FULL
    cleared: dict[str, Any] = {"ip_allowlist": [], "nonce_window": 0, "query_from": 0, "query_to": 0, "valid_until": 0}
    await kit.update(**cleared)
    (key,) = await kit.listed()
    assert {name: key[name] for name in cleared} == cleared
    assert kit.sandbox.keys()[0].secret == created["secret"]


async def test_update_of_single_permissions(kit: Kit) -> None:
    """A permission that is not sent, or is null, keeps its flag."""
    await kit.create(permissions={"funds_query": True, "funds_add": True, "trades_close": False})
    await kit.update(permissions={"funds_query": False, "funds_add": None, "export_data": True})
    assert kit.sandbox.keys()[0].permissions == {
        "funds_query": False,
        "funds_add": True,
        "trades_close": False,
        "export_data": True,
    }


async def test_rename(kit: Kit) -> None:
    """A renamed key keeps its place and its secret, gets the id of its new name, and frees its old one."""
    for name in ("a", "b", "c"):
        await kit.create(name)
    before = kit.sandbox.keys()
    assert (await kit.update("b", new_api_key_name="B")).result is True
    after = kit.sandbox.keys()
    assert [key.api_key_name for key in after] == ["a", "B", "c"]
    assert after[1].secret == before[1].secret
    assert [key["id"] for key in await kit.listed()] == ["YQ--", "Qg--", "Yw--"]
    assert (await kit.update("b")).errors == [f"{FIELDS}api_key_name not found"]


async def test_rename_to_a_name_in_use(kit: Kit) -> None:
    """Another key's name is refused and nothing changes; a key's own name is no clash."""
    await kit.create("a")
    await kit.create("b")
    before = kit.sandbox.keys()
    refused = await kit.update("a", new_api_key_name="b", nonce_window=9)
    assert refused.errors == [f"{FIELDS}new_api_key_name already in use"]
    assert kit.sandbox.keys() == before
    assert (await kit.update("a", new_api_key_name="a")).result is True


async def test_update_may_not_leave_an_empty_span(kit: Kit) -> None:
    """What is sent is held against what the key has: a start after the end is refused."""
    await kit.create(query_to=100)
    before = kit.sandbox.keys()
    assert (await kit.update(query_from=101)).errors == [f"{FIELDS}query_from"]
    assert kit.sandbox.keys() == before
    assert (await kit.update(query_from=100)).result is True
    assert (await kit.update(query_from=101, query_to=0)).result is True


async def test_delete(kit: Kit) -> None:
    """A deleted key is gone; a second deletion, and an update, say that it is not found."""
    await kit.create("a")
    await kit.create("b")
    assert (await kit.delete("a")).result is True
    assert [key["api_key_name"] for key in await kit.listed()] == ["b"]
    not_found = [f"{FIELDS}api_key_name not found"]
    assert (await kit.delete("a")).errors == not_found
    assert (await kit.update("a", nonce_window=1)).errors == not_found
    assert (await kit.delete("B")).errors == not_found


async def test_user_info() -> None:
    """The account's e-mail address and IIBAN are what the sandbox was told, or something by default."""
    async with running(email="jo@example.org", iban="AA00") as kit:
        answered = await kit.call("GET", "/userinfo")
        assert answered.result == {"email": "jo@example.org", "iban": "AA00"}
    async with running() as kit:
        assert all((await kit.call("GET", "/userinfo")).result.values())


async def test_limit_of_nothing() -> None:
    """An account may be closed to keys; a negative limit is a mistake."""
    async with running(max_keys=0) as kit:
        assert (await kit.create()).errors == ["EAccount:Too many API keys"]
    with pytest.raises(ValueError, match="max_keys"):
        async with running(max_keys=-1):
            pass


async def test_thousand_creates_at_once() -> None:
    """A thousand parallel calls make a thousand different keys, each told to its own caller."""
    async with running(max_keys=1000) as kit:
        names = [f"bot-{number}" for number in range(1000)]
        answers = await asyncio.gather(*(kit.create(name) for name in names))
        results = [answered.result for answered in answers]
        assert [result["api_key_name"] for result in results] == names
        assert len({result["secret"] for result in results}) == 1000
        held = {key.api_key_name: key.secret for key in kit.sandbox.keys()}
        assert held == {result["api_key_name"]: result["secret"] for result in results}
        assert len(kit.sandbox.requests) == 1000


async def test_thousand_creates_of_one_name() -> None:
    """Whoever is first gets the name; all others are refused."""
    async with running() as kit:
        answers = await asyncio.gather(*(kit.create("bot") for _ in range(1000)))
        assert sum("result" in answered.json for answered in answers) == 1
        assert len(kit.sandbox.keys()) == 1
