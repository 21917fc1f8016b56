"""Who may call what: access tokens and scopes."""

import math
from collections.abc import AsyncIterator, Iterable

import pytest
from sandbox_kit import Kit, running

CALLS = [
    ("POST", "/fast-api-key", "account.fast-api-key:write"),
    ("PUT", "/fast-api-key", "account.fast-api-key:write"),
    ("DELETE", "/fast-api-key", "account.fast-api-key:write"),
    ("GET", "/fast-api-keys", "account.fast-api-key:read"),
    ("GET", "/fast-api-key", "account.fast-api-key:read"),
    ("GET", "/userinfo", "account.info:basic"),
]

PERMISSIONS = [
    "export_data",
    "funds_add",
    "funds_earn",
    "funds_query",
    "funds_withdraw",
    "ledger_query",
    "trades_close",
    "trades_modify",
    "trades_query_closed",
    "trades_query_open",
    "withdrawal_address_add",
    "withdrawal_address_update",
]


@pytest.fixture(name="kit")
async def _kit() -> AsyncIterator[Kit]:
    """Run a sandbox with a client."""
    async with running() as kit:
        yield kit


async def refused(kit: Kit, method: str, path: str, authorization: list[str]) -> None:
    """Assert that a call is refused as RFC 6750 section 3 has it."""
    answered = await kit.call(method, path, authorization=authorization, body=b"no JSON")
    assert answered.status == 401
    assert answered.headers["WWW-Authenticate"] == 'Bearer error="invalid_token"'
    assert answered.json["error"] == "invalid_token"
    assert isinstance(answered.json["error_description"], str)


@pytest.mark.parametrize(("method", "path", "_scope"), CALLS)
@pytest.mark.parametrize(
    "template",
    [
        [],
        [""],
        ["{token}"],
        ["Bearer"],
        ["Bearer "],
        ["Bearer unknown"],
        ["Basic {token}"],
        ["Bearer {token} {token}"],
        ["Bearer {token}, Bearer {token}"],
        ['Bearer "{token}"'],
        ["Bearer {token}", "Bearer {token}"],
    ],
)
async def test_token_that_does_not_count(kit: Kit, method: str, path: str, _scope: str, template: list[str]) -> None:
    """A missing, malformed, doubled or unknown token is answered 401, before the body is looked at."""
    await refused(kit, method, path, [value.format(token=kit.token) for value in template])


@pytest.mark.parametrize("scheme", ["Bearer", "bearer", "BEARER", "Bearer  "])
async def test_scheme_matches_in_any_case(kit: Kit, scheme: str) -> None:
    """The scheme's name is case-insensitive, and more than one space may follow it (RFC 9110 section 11)."""
    answered = await kit.call("GET", "/userinfo", authorization=[f"{scheme} {kit.token}"])
    assert answered.status == 200


async def test_token_expires_by_the_clock(kit: Kit) -> None:
    """A token counts until ``expires_in`` seconds have passed, and not from then on."""
    token = kit.sandbox.issue_token(expires_in=14400)
    kit.clock.now += 14399.5
    assert (await kit.call("GET", "/userinfo", token=token)).status == 200
    kit.clock.now += 0.5
    await refused(kit, "GET", "/userinfo", [f"Bearer {token}"])


@pytest.mark.parametrize("expires_in", [0, -1.5, -math.inf])
async def test_token_that_has_expired_already(kit: Kit, expires_in: float) -> None:
    """A token with no life left is refused at once."""
    await refused(kit, "GET", "/userinfo", [f"Bearer {kit.sandbox.issue_token(expires_in=expires_in)}"])


async def test_default_life_of_a_token(kit: Kit) -> None:
    """A token lives four hours unless it is said otherwise."""
    token = kit.sandbox.issue_token()
    kit.clock.now += 14399
    assert (await kit.call("GET", "/userinfo", token=token)).status == 200
    kit.clock.now += 1
    assert (await kit.call("GET", "/userinfo", token=token)).status == 401


async def test_revoked_token(kit: Kit) -> None:
    """A revoked token is refused, others are not, and revoking twice or in vain is no error."""
    token, other = kit.sandbox.issue_token(), kit.sandbox.issue_token()
    for name in (token, token, "never issued"):
        kit.sandbox.revoke_token(name)
    await refused(kit, "GET", "/userinfo", [f"Bearer {token}"])
    assert (await kit.call("GET", "/userinfo", token=other)).status == 200


@pytest.mark.parametrize(("method", "path", "scope"), CALLS)
async def test_each_call_needs_its_scope(kit: Kit, method: str, path: str, scope: str) -> None:
    """Without the call's own scope the answer is 403 and names it, before the body is looked at."""
    every = {scope for *_, scope in CALLS}
    token = kit.sandbox.issue_token(scopes=every - {scope})
    answered = await kit.call(method, path, token=token, body=b"no JSON")
    assert answered.status == 403
    assert answered.json["error"] == "insufficient_scope"
    assert answered.json["scope"] == scope
    assert scope in answered.json["error_description"]
    assert answered.headers["WWW-Authenticate"] == f'Bearer error="insufficient_scope", scope="{scope}"'
    allowed = await kit.call(method, path, token=kit.sandbox.issue_token(scopes=[scope]), body=b"no JSON")
    assert allowed.status == 200


@pytest.mark.parametrize("permission", PERMISSIONS)
async def test_each_permission_needs_its_scope(kit: Kit, permission: str) -> None:
    """A permission set true on create or update needs the scope of its name; set false or null it needs none."""
    scope = "account.fast-api-key:" + permission.replace("_", "-")
    poor = kit.sandbox.issue_token(scopes=["account.fast-api-key:write"])
    rich = kit.sandbox.issue_token(scopes=["account.fast-api-key:write", scope])
    denied = ["EGeneral:Permission denied"]
    assert (await kit.create(token=poor, permissions={permission: True})).errors == denied
    assert kit.sandbox.keys() == ()
    assert (await kit.create(token=poor, permissions={permission: False})).result["permissions"] == {permission: False}
    assert (await kit.update(token=poor, permissions={permission: None})).result is True
    assert (await kit.update(token=poor, permissions={permission: True})).errors == denied
    assert kit.sandbox.keys()[0].permissions == {permission: False}
    assert (await kit.update(token=rich, permissions={permission: True})).result is True
    assert (await kit.create("other", token=rich, permissions={permission: True})).status == 200
    assert [key.permissions for key in kit.sandbox.keys()] == [{permission: True}] * 2


async def test_token_without_scopes_given_allows_everything(kit: Kit) -> None:
    """``scopes=None`` is every scope: a key with all permissions can be made."""
    token = kit.sandbox.issue_token()
    everything = dict.fromkeys(PERMISSIONS, True)
    assert (await kit.create(token=token, permissions=everything)).result["permissions"] == everything


@pytest.mark.parametrize(
    "scopes",
    [
        "account.info:basic account.fast-api-key:read",
        ["account.info:basic", "account.fast-api-key:read", "not.known.to:kraken"],
        (scope for scope in ("account.info:basic", "account.fast-api-key:read")),
    ],
)
async def test_scopes_as_text_or_iterable(kit: Kit, scopes: Iterable[str]) -> None:
    """Scopes come as any iterable, or as OAuth's space-separated list; unknown ones do no harm."""
    token = kit.sandbox.issue_token(scopes=scopes)
    assert (await kit.call("GET", "/userinfo", token=token)).status == 200
    assert (await kit.call("GET", "/fast-api-keys", token=token)).status == 200
    assert (await kit.call("DELETE", "/fast-api-key", token=token)).status == 403


@pytest.mark.parametrize("scope", ["", "two words", 'quo"te', "back\\slash", "ümlaut", "line\n"])
async def test_text_that_cannot_be_a_scope(kit: Kit, scope: str) -> None:
    """What RFC 6749 section 3.3 does not allow as a scope is an error of the test that asks for it."""
    with pytest.raises(ValueError, match="RFC 6749"):
        kit.sandbox.issue_token(scopes=[scope])


async def test_life_must_be_a_number(kit: Kit) -> None:
    """NaN is no life."""
    with pytest.raises(ValueError, match="number"):
        kit.sandbox.issue_token(expires_in=math.nan)
