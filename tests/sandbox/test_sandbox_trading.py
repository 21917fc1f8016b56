"""The trading API: who signs is let in, who does not is not, and what a key may do it can."""

from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest
from sandbox_kit import START, Kit, running
from trading_kit import (
    INVALID_KEY,
    INVALID_NONCE,
    INVALID_SIGNATURE,
    PERMISSION_DENIED,
    PRIVATE,
    Signed,
    Trader,
    new_trader,
    signature,
)

from kraken_fastkey.sandbox import Answer, Disconnect, KrakenSandbox, LateCommit, MediaType, Truncate
from kraken_fastkey.sandbox._scopes import PERMISSIONS
from kraken_fastkey.sandbox._signing import sign

DEPOSITED_AT = 1_704_067_200
LARGEST_NONCE = 2**64 - 1


@pytest.fixture(name="kit")
async def _kit() -> AsyncIterator[Kit]:
    """Run a sandbox with a client."""
    async with running() as kit:
        yield kit


@pytest.fixture(name="trader")
async def _trader(kit: Kit) -> Trader:
    """Create a key that may ask for balances."""
    return await new_trader(kit)


def test_signature_of_the_documentation() -> None:
    """The signature is the one that Kraken's guide shows for its example."""
    published = "4/dpxb3iT4tp/ZCVEwSnEsLxx0bqyhLpdfOpc6fn7OR8+UClSV5n9E6aSS8MPtnRfp32bAb0nmbRn6H8ndwLUQ=="
    example = (
        "kQH5HW/8p1uGOVjbgWA7FunAmGO8lsSUXNsu3eow76sz84Q18fWxnyRzBHCd3pd5nE9qa99HAZtuZuj6F1huXg==",
        "/0/private/AddOrder",
        "1616492376594",
        b"nonce=1616492376594&ordertype=limit&pair=XBTUSD&price=37500&type=buy&volume=1.25",
    )
    assert published == sign(*example)
    assert published == signature(*example)


async def test_api_url(kit: Kit) -> None:
    """The trading API is at the origin of everything else; before the start there is none."""
    assert kit.sandbox.base_url == kit.sandbox.api_url + "/oauth"
    with pytest.raises(RuntimeError, match="not been started"):
        _ = KrakenSandbox().api_url


async def test_time(kit: Kit) -> None:
    """The time is the sandbox's, in the two forms that Kraken documents; nobody has to sign for it."""
    kit.clock.now = 1_688_669_448.9
    async with kit.session.get(kit.sandbox.api_url + "/0/public/Time") as response:
        assert 200 == response.status
        assert {
            "error": [],
            "result": {"unixtime": 1688669448, "rfc1123": "Thu, 06 Jul 23 18:50:48 +0000"},
        } == await response.json()


async def test_balance(trader: Trader) -> None:
    """Balances are strings by Kraken's names; the extended ones tell that no order holds anything."""
    assert {"ZEUR": "1000.0000", "XXBT": "0.5000000000"} == await trader.call("Balance")
    assert {
        "ZEUR": {"balance": "1000.0000", "hold_trade": "0.0000"},
        "XXBT": {"balance": "0.5000000000", "hold_trade": "0.0000000000"},
    } == await trader.call("BalanceEx")


async def test_balances_of_ones_own() -> None:
    """They can be given, and changed at any time; what was passed stays the caller's own."""
    mine = {"USDT": "12.50", "ZUSD": "0.0000"}
    async with running(balances=mine) as kit:
        trader = await new_trader(kit)
        mine.clear()
        assert {"USDT": "12.50", "ZUSD": "0.0000"} == kit.sandbox.balances == await trader.call("Balance")
        kit.sandbox.balances = {"DOT.S": "7", "ZJPY": "-1"}
        assert {"DOT.S": "7", "ZJPY": "-1"} == await trader.call("Balance")
        async with kit.session.get(kit.sandbox.api_url + "/0/public/AssetPairs") as response:
            assert ["DOT.SZJPY"] == list((await response.json())["result"])
        kit.sandbox.balances = {}
        assert {} == await trader.call("BalanceEx")


@pytest.mark.parametrize("balances", [{"ZEUR": 1.5}, {"ZEUR": ""}, {"ZEUR": "1,5"}, {"ZEUR": "1."}, {"": "1"}])
def test_balances_that_are_none(balances: Any) -> None:
    """A number would reach the client as a number, which Kraken never sends."""
    with pytest.raises(ValueError, match="must be a string"):
        KrakenSandbox(balances=balances)
    sandbox = KrakenSandbox()
    with pytest.raises(ValueError, match="must be a string"):
        sandbox.balances = balances


async def test_get_api_key_info(kit: Kit) -> None:
    """A key learns about itself in the shape that Kraken documents, this very call included."""
    fields: dict[str, Any] = {
        "permissions": {"trades_query_open": True, "funds_query": False, "funds_withdraw": True},
        "ip_allowlist": ["127.0.0.0/8"],
        "nonce_window": 17,
        "query_from": 1_700_000_000,
        "query_to": 1_700_000_000.5,
        "valid_until": START + 10,
    }
    trader = await new_trader(kit, **fields)
    kit.clock.now += 5
    await kit.update("bot", new_api_key_name="renamed")
    assert {
        "apiKeyName": "renamed",
        "apiKey": trader.api_key,
        "nonce": "1772627060997",
        "nonceWindow": 17,
        "permissions": ["withdraw-funds", "query-open-trades"],
        "iban": "AA12N84GSANDBOX0",
        "validUntil": str(int(START + 10)),
        "queryFrom": "1700000000",
        "queryTo": "1700000000",
        "createdTime": str(int(START)),
        "modifiedTime": str(int(START + 5)),
        "ipAllowlist": ["127.0.0.0/8"],
        "lastUsed": str(int(START + 5)),
    } == await trader.call("GetApiKeyInfo", 1772627060997)


async def test_spelling_of_permissions(kit: Kit) -> None:
    """Each permission of a key has the name that Kraken's table of GetApiKeyInfo gives it."""
    trader = await new_trader(kit, permissions=dict.fromkeys(PERMISSIONS, True))
    assert {
        *("query-funds", "add-funds", "withdraw-funds", "earn-funds", "query-open-trades", "query-closed-trades"),
        *("modify-trades", "close-trades", "query-ledger", "export-data"),
        *("add-withdraw-address", "update-withdraw-address"),
    } == set((await trader.call("GetApiKeyInfo"))["permissions"])


async def test_websockets_token(kit: Kit) -> None:
    """Any key gets a token, another each time: Fast API keys have no permission that could be asked for."""
    trader = await new_trader(kit, permissions={})
    first, second = [await trader.call("GetWebSocketsToken") for _ in range(2)]
    assert {"token", "expires"} == set(first)
    assert 900 == first["expires"]
    assert first["token"] != second["token"]


@pytest.mark.parametrize(
    ("method", "permission"),
    [
        ("Balance", "funds_query"),
        ("BalanceEx", "funds_query"),
        ("Ledgers", "ledger_query"),
        ("GetApiKeyInfo", None),
        ("GetWebSocketsToken", None),
    ],
)
async def test_permissions(kit: Kit, method: str, permission: str | None) -> None:
    """Without its permission a call is denied, whatever else the key may do; with it alone, it is not."""
    others = {name: name != permission for name in PERMISSIONS}
    lacking = await new_trader(kit, "lacking", permissions=others)
    assert (PERMISSION_DENIED if permission else []) == await lacking.errors(method)
    bare = await new_trader(kit, "bare", permissions={permission: True} if permission else {})
    assert [] == await bare.errors(method)


async def test_denied_call_uses_the_key(kit: Kit) -> None:
    """A call that lacks a permission was signed rightly: its nonce is spent."""
    trader = await new_trader(kit, permissions={})
    assert PERMISSION_DENIED == await trader.errors("Balance", 1000)
    (key,) = kit.sandbox.keys()
    assert (1000, int(START)) == (key.nonce, key.last_used)
    assert INVALID_NONCE == await trader.errors("GetApiKeyInfo", 1000)


@pytest.mark.parametrize(
    ("span", "count"),
    [
        ({}, 2),
        ({"query_from": DEPOSITED_AT, "query_to": DEPOSITED_AT}, 2),
        ({"query_from": DEPOSITED_AT + 1}, 0),
        ({"query_to": DEPOSITED_AT - 1}, 0),
        ({"query_from": DEPOSITED_AT - 1}, 2),
        ({"query_to": DEPOSITED_AT + 1}, 2),
    ],
)
async def test_ledger_within_a_keys_span(kit: Kit, span: dict[str, Any], count: int) -> None:
    """A key sees the deposits that lie within its `query_from` and `query_to`."""
    trader = await new_trader(kit, permissions={"ledger_query": True}, **span)
    result = await trader.call("Ledgers")
    assert count == result["count"] == len(result["ledger"])
    assert count == sum(entry["time"] == DEPOSITED_AT for entry in result["ledger"].values())
    assert {"ZEUR", "XXBT"} == {entry["asset"] for entry in result["ledger"].values()} or not count


@pytest.mark.parametrize("method", PRIVATE)
async def test_key_that_is_none(kit: Kit, trader: Trader, method: str) -> None:
    """An unknown key, none, two, or the name in its place is invalid; so is one that has been deleted."""
    request = trader.signed(method)
    assert INVALID_KEY == await trader.errors(request.without("API-Key"))
    for wrong in ("", "bot", trader.secret, trader.api_key[:-1], trader.api_key.swapcase(), "ü"):
        assert INVALID_KEY == await trader.errors(request.having(API_Key=wrong))
    await kit.delete()
    assert INVALID_KEY == await trader.errors(method)


async def test_headers_that_are_there_twice(kit: Kit, trader: Trader) -> None:
    """Nobody guesses which of two keys or signatures counts."""
    request = trader.signed("GetApiKeyInfo")
    for name, errors in (("API-Key", INVALID_KEY), ("API-Sign", INVALID_SIGNATURE)):
        headers = [*request.headers.items(), (name, request.headers[name])]
        async with kit.session.post(kit.sandbox.api_url + request.path, data=request.body, headers=headers) as response:
            assert errors == (await response.json())["error"]


async def test_revoked_key(kit: Kit, trader: Trader) -> None:
    """A key that the user deletes is gone from the list, and refused at once; its name is free again."""
    kit.sandbox.revoke_key("bot")
    assert [] == await kit.listed()
    assert INVALID_KEY == await trader.errors("GetApiKeyInfo")
    again = await new_trader(kit)
    assert [] == await again.errors("GetApiKeyInfo", 1)
    with pytest.raises(ValueError, match="no key named 'other'"):
        kit.sandbox.revoke_key("other")


async def test_revoked_key_in_a_late_list(kit: Kit, trader: Trader) -> None:
    """A list that is behind still shows a key that the user has deleted."""
    kit.sandbox.list_lag = 45
    kit.sandbox.revoke_key("bot")
    assert ["bot"] == await kit.shown()
    assert INVALID_KEY == await trader.errors("GetApiKeyInfo")
    kit.clock.now += 45
    assert [] == await kit.shown()


async def test_expired_key(kit: Kit) -> None:
    """From `valid_until` on, a key is invalid; with a later one it counts again."""
    trader = await new_trader(kit, valid_until=START + 60)
    kit.clock.now = START + 59.9
    assert [] == await trader.errors("Balance")
    kit.clock.now = START + 60
    assert INVALID_KEY == await trader.errors("Balance")
    await kit.update(valid_until=0)
    assert [] == await trader.errors("Balance")


@pytest.mark.parametrize(
    ("allowlist", "errors"),
    [
        ([], []),
        (["127.0.0.1"], []),
        (["203.0.113.7", "127.0.0.0/8"], []),
        (["::1", "0.0.0.0/0"], []),
        (["203.0.113.7"], PERMISSION_DENIED),
        (["::1", "::/0"], PERMISSION_DENIED),
        (["127.0.0.2/31"], PERMISSION_DENIED),
    ],
)
async def test_ip_allowlist(kit: Kit, allowlist: list[str], errors: list[str]) -> None:
    """A key is used from its addresses alone; from elsewhere nothing of it is used up."""
    trader = await new_trader(kit, ip_allowlist=allowlist)
    assert errors == await trader.errors("GetApiKeyInfo", 5)
    assert (0 if errors else 5) == kit.sandbox.keys()[0].nonce
    if errors:
        await kit.update(ip_allowlist=["127.0.0.1"])
        assert [] == await trader.errors("GetApiKeyInfo", 5)


def spoilt(request: Signed) -> list[Signed]:
    """Return requests whose signature does not fit."""
    sign = request.headers["API-Sign"]
    return [
        request.without("API-Sign"),
        request.having(API_Sign=""),
        request.having(API_Sign="no base64!"),
        request.having(API_Sign="ü"),
        request.having(API_Sign=sign[:-4]),
        request.having(API_Sign=sign.swapcase()),
        Signed("/0/private/Balance", request.body, request.headers),
        Signed(request.path, request.body + b"&a=b", request.headers),
        Signed(request.path, request.body.replace(b"otp=1", b"otp=2"), request.headers),
    ]


async def test_signatures_that_do_not_fit(kit: Kit, trader: Trader) -> None:
    """The signature is over the path, the nonce and every byte of the body; a wrong one uses nothing up."""
    request = trader.signed("GetApiKeyInfo", otp="1")
    for wrong in spoilt(request):
        assert INVALID_SIGNATURE == await trader.errors(wrong)
    stranger = await new_trader(kit, "stranger")
    assert INVALID_SIGNATURE == await trader.errors(stranger.signed("Balance").having(API_Key=trader.api_key))
    assert [0, 0] == [key.nonce for key in kit.sandbox.keys()]
    assert [0, 0] == [key.last_used for key in kit.sandbox.keys()]
    assert [] == await trader.errors(request)


@pytest.mark.parametrize("nonce", [7, "7", LARGEST_NONCE, str(LARGEST_NONCE)])
async def test_json_bodies(kit: Kit, trader: Trader, nonce: object) -> None:
    """A body may be JSON, with a number or a string for a nonce; no digit is lost; an OTP is ignored."""
    assert [] == await trader.errors(trader.signed_json("Balance", nonce, otp="123456"))
    assert int(str(nonce)) == kit.sandbox.keys()[0].nonce
    assert INVALID_NONCE == await trader.errors("Balance", nonce)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"otp=1",
        b"nonce=",
        b"nonce=1&nonce=2",
        b"nonce=-1",
        b"nonce=1.5",
        b"nonce=+1",
        b"nonce=0x10",
        b"nonce=18446744073709551616",
        "nonce=٣".encode(),
        b"nonce=%FF",
        b'{"nonce": 1}',
        b"\xff\xfe",
    ],
)
async def test_forms_without_a_nonce(kit: Kit, trader: Trader, body: bytes) -> None:
    """What is no unsigned 64-bit number, or not there once, is no nonce."""
    for nonce in ("", "1", "2", "-1", "1.5"):
        assert INVALID_NONCE == await trader.errors(trader.signed_body("GetApiKeyInfo", nonce, body))
    assert 0 == kit.sandbox.keys()[0].nonce


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"nonce=1",
        b"[1]",
        b'{"nonce": 1.0}',
        b'{"nonce": true}',
        b'{"nonce": null}',
        b'{"nonce": -1}',
        b'{"nonce": 1, "nonce": 1}',
        b'{"nonce": [1]}',
        b'{"nonce": "x"}',
        b'{"nonce": 18446744073709551616}',
        b'{"nonce": ' + b"9" * 5000 + b"}",
    ],
)
async def test_json_without_a_nonce(trader: Trader, body: bytes) -> None:
    """Likewise in JSON."""
    for nonce in ("", "1", "1.0", "True"):
        assert INVALID_NONCE == await trader.errors(
            trader.signed_body("GetApiKeyInfo", nonce, body, "application/json")
        )


async def test_body_that_is_too_large(trader: Trader) -> None:
    """A body of more than a megabyte is refused as an empty one is."""
    assert INVALID_NONCE == await trader.errors(trader.signed("GetApiKeyInfo", 1, otp="x" * 2**20))


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/0/private/Balance"),
        ("POST", "/0/private/AddOrder"),
        ("POST", "/0/public/Time"),
        ("POST", "/0/private/balance"),
        ("GET", "/0/public/"),
    ],
)
async def test_everything_else(kit: Kit, method: str, path: str) -> None:
    """A method that the sandbox does not have is answered in the trading API's shape; the log has it."""
    async with kit.session.request(method, kit.sandbox.api_url + path) as response:
        assert 200 == response.status
        assert {"error": ["EGeneral:Unknown method"], "result": {}} == await response.json()
    assert [None] == [request.operation for request in kit.sandbox.requests]


async def test_use_is_shown(kit: Kit, trader: Trader) -> None:
    """Whoever lists the keys sees when each was last used, and its highest nonce; it is not modified by that."""
    await kit.create("idle")
    kit.clock.now += 100
    await trader.call("Balance", LARGEST_NONCE)
    used, idle = await kit.listed()
    assert (LARGEST_NONCE, int(START + 100), str(int(START))) == (
        used["nonce"],
        used["last_used"],
        used["modified_time"],
    )
    assert (0, 0) == (idle["nonce"], idle["last_used"])
    key = kit.sandbox.keys()[0]
    assert (LARGEST_NONCE, int(START + 100)) == (key.nonce, key.last_used)


async def test_use_in_a_late_list(kit: Kit, trader: Trader) -> None:
    """A list that is behind does not show the use yet."""
    kit.sandbox.list_lag = 45
    await trader.call("Balance", 5)
    assert [0] == [key["nonce"] for key in await kit.listed()]
    kit.clock.now += 45
    assert [5] == [key["nonce"] for key in await kit.listed()]


async def test_requests_are_recorded(kit: Kit, trader: Trader) -> None:
    """Each call has its operation in the log, and no repr shows its key or signature."""
    kit.sandbox.requests.clear()
    for method in PRIVATE:
        await trader.errors(method)
    for method in ("Time", "Assets", "AssetPairs"):
        await kit.session.get(f"{kit.sandbox.api_url}/0/public/{method}")
    operations = ["get_api_key_info", "balance", "balance_ex", "ledgers", "get_websockets_token"]
    assert [*operations, "time", "assets", "asset_pairs"] == [request.operation for request in kit.sandbox.requests]
    first = kit.sandbox.requests[0]
    assert trader.api_key == first.headers["api-key"]
    assert first.body.startswith(b"nonce=")
    for value in (*first.headers.values(), first.body.decode()):
        assert value not in repr(first) or len(value) < 10


async def test_faults(kit: Kit, trader: Trader) -> None:
    """Whatever can go wrong elsewhere can go wrong here; a fault of one operation leaves the others alone."""
    kit.sandbox.faults.add(Answer(200, {"error": ["EService:Unavailable"]}), operation="get_api_key_info")
    assert [] == await trader.errors("Balance")
    answered = await trader.send(trader.signed("GetApiKeyInfo"))
    assert {"error": ["EService:Unavailable"]} == answered.json
    for operation in ("balance", "get_websockets_token", "time", "ledgers", "balance_ex", "assets", "asset_pairs"):
        kit.sandbox.faults.add(MediaType("text/html"), operation=operation)
    async with kit.session.get(kit.sandbox.api_url + "/0/public/Time") as response:
        assert "text/html" == response.content_type
    assert 6 == len(kit.sandbox.faults.pending)


@pytest.mark.parametrize("fault", [Disconnect(commit=True), Disconnect(), Truncate(3)])
async def test_nonce_of_an_answer_that_is_lost(kit: Kit, trader: Trader, fault: Disconnect | Truncate) -> None:
    """If the work was done, the nonce is spent, and the same request is refused; if not, it is taken."""
    kit.sandbox.faults.add(fault, operation="balance")
    request = trader.signed("Balance", 5)
    with pytest.raises(aiohttp.ClientError):
        await trader.send(request)
    assert (INVALID_NONCE if fault.commit else []) == await trader.errors(request)
    assert [] == await trader.errors("Balance", 6)


async def test_late_use(kit: Kit, trader: Trader) -> None:
    """Work that comes late spends its nonce at that moment, unless a higher one has come before."""
    kit.sandbox.faults.add(LateCommit(30, Answer(200, {"error": ["EService:Timeout"], "result": {}})), times=2)
    for nonce in (10, 30):
        assert ["EService:Timeout"] == await trader.errors("Balance", nonce)
    assert 0 == kit.sandbox.keys()[0].nonce
    assert [] == await trader.errors("Balance", 20)
    kit.clock.now += 40
    (key,) = kit.sandbox.keys()
    assert (30, int(START + 30)) == (key.nonce, key.last_used)


async def test_script(kit: Kit, trader: Trader) -> None:
    """A script of faults holds here, too."""
    kit.sandbox.faults.script("balance", [None, Answer(503), None])
    for status in (200, 503, 200):
        request = trader.signed("Balance")
        url = kit.sandbox.api_url + request.path
        async with kit.session.post(url, data=request.body, headers=request.headers) as response:
            assert status == response.status


async def test_seed(kit: Kit, trader: Trader) -> None:
    """The same seed makes the same tokens."""
    token = (await trader.call("GetWebSocketsToken"))["token"]
    async with running() as other:
        assert token == (await (await new_trader(other)).call("GetWebSocketsToken"))["token"]
    assert kit.sandbox.api_url != other.sandbox.api_url
