"""Nonces, new keys and lockouts: what a bot that does not wait its turn meets at the trading API."""

import math
from collections.abc import AsyncIterator

import pytest
from hypothesis import given, strategies as st
from sandbox_kit import Kit, running
from trading_kit import INVALID_KEY, INVALID_NONCE, INVALID_SIGNATURE, LOCKOUT, PERMISSION_DENIED, Trader, new_trader

from kraken_fastkey.sandbox import KrakenSandbox
from kraken_fastkey.sandbox._refusal import RefusalError
from kraken_fastkey.sandbox._usage import Usage

LARGEST_NONCE = 2**64 - 1


@pytest.fixture(name="kit")
async def _kit() -> AsyncIterator[Kit]:
    """Run a sandbox with a client."""
    async with running() as kit:
        yield kit


async def test_nonces_rise(kit: Kit) -> None:
    """Without a window each nonce is higher than all before; nonces are each key's own."""
    trader, other = await new_trader(kit), await new_trader(kit, "other")
    outcomes = [await trader.errors("Balance", nonce) for nonce in (100, 100, 99, 0, 101, "0102", 102)]
    assert [[], INVALID_NONCE, INVALID_NONCE, INVALID_NONCE, [], [], INVALID_NONCE] == outcomes
    assert [] == await other.errors("Balance", 1)
    assert [102, 1] == [key.nonce for key in kit.sandbox.keys()]


async def test_nonces_that_come_late(kit: Kit) -> None:
    """Within the window, a nonce that was not seen is taken once; the highest stays the highest."""
    trader = await new_trader(kit, nonce_window=10)
    outcomes = [await trader.errors("Balance", nonce) for nonce in (100, 95, 95, 100, 91, 90, 105, 95, 96, 99)]
    refused = INVALID_NONCE
    assert [[], [], refused, refused, [], refused, [], refused, [], []] == outcomes
    assert 105 == kit.sandbox.keys()[0].nonce


async def test_window_that_changes(kit: Kit) -> None:
    """The window is what it is now; what was spent without one stays spent, under any name of the key."""
    trader = await new_trader(kit)
    assert [] == await trader.errors("Balance", 100)
    await kit.update(nonce_window=LARGEST_NONCE, new_api_key_name="renamed")
    assert [INVALID_NONCE, [], INVALID_NONCE] == [await trader.errors("Balance", nonce) for nonce in (100, 1, 1)]
    await kit.update("renamed", nonce_window=0)
    assert INVALID_NONCE == await trader.errors("Balance", 2)


async def test_key_that_another_unit_has_poisoned(kit: Kit) -> None:
    """After nonces of nanoseconds, those of milliseconds come never again, whatever the window is meant to be."""
    trader = await new_trader(kit, nonce_window=10_000)
    assert [] == await trader.errors("Balance", 1_800_000_000_000_000_000)
    assert INVALID_NONCE == await trader.errors("Balance", 1_800_000_001_000)


@given(
    st.lists(st.integers(0, 60) | st.integers(LARGEST_NONCE - 20, LARGEST_NONCE), max_size=40),
    st.integers(0, 30) | st.floats(0, 30) | st.just(LARGEST_NONCE),
)
def test_nonces_against_a_model(nonces: list[int], window: float) -> None:
    """A nonce is taken if it is higher than all, or unseen and less than the window below the highest."""
    usage, highest, seen = Usage(0), 0, set[int]()
    for nonce in nonces:
        expected = nonce not in seen and (nonce > highest or highest - nonce < window)
        try:
            usage.use_up(nonce, highest, window)
        except RefusalError:
            assert not expected
        else:
            assert expected
            seen.add(nonce)
            highest = max(highest, nonce)


async def test_new_key_is_not_known_at_once(kit: Kit) -> None:
    """Younger than the delay, to the fraction of a second, a key is unknown, though the list shows it."""
    kit.sandbox.propagation_delay = 5
    trader = await new_trader(kit)
    assert ["bot"] == await kit.shown()
    for seconds, errors in ((0, INVALID_KEY), (4.9, INVALID_KEY), (0.1, [])):
        kit.clock.now += seconds
        assert errors == await trader.errors("GetApiKeyInfo", 1)
    await kit.update(valid_until=0)
    assert [] == await trader.errors("GetApiKeyInfo", 2)


async def test_propagation_delay_as_an_argument() -> None:
    """It can be given from the start, and lifted."""
    async with running(propagation_delay=60) as kit:
        trader = await new_trader(kit)
        assert INVALID_KEY == await trader.errors("GetApiKeyInfo")
        assert 60 == kit.sandbox.propagation_delay
        kit.sandbox.propagation_delay = 0
        assert [] == await trader.errors("GetApiKeyInfo")


@pytest.mark.parametrize("seconds", [-1, math.nan, math.inf])
def test_delays_that_are_none(seconds: float) -> None:
    """A delay is a length of time."""
    with pytest.raises(ValueError, match="propagation_delay"):
        KrakenSandbox(propagation_delay=seconds)


@pytest.mark.parametrize("failures", [0, -1])
def test_lockouts_that_are_none(failures: int) -> None:
    """A lockout comes after something."""
    with pytest.raises(ValueError, match="lockout_after"):
        KrakenSandbox(lockout_after=failures)
    with pytest.raises(ValueError, match="lockout_after"):
        KrakenSandbox().lockout_after = failures


async def fail(trader: Trader, times: int, seconds_between: float = 0) -> None:
    """Fail some times in each way by turns."""
    ways = [
        (trader.signed("Balance").without("API-Key"), INVALID_KEY),
        (trader.signed("Balance").without("API-Sign"), INVALID_SIGNATURE),
        (trader.signed_body("Balance", "", b""), INVALID_NONCE),
    ]
    for number in range(times):
        request, errors = ways[number % len(ways)]
        assert errors == await trader.errors(request)
        trader.kit.clock.now += seconds_between


async def test_no_lockout_by_default(kit: Kit) -> None:
    """Unless it is asked for, nobody is locked out."""
    trader = await new_trader(kit)
    assert kit.sandbox.lockout_after is None
    await fail(trader, 50)
    assert [] == await trader.errors("Balance")


async def test_lockout() -> None:
    """After so many failures every key is locked out for 15 minutes; what is public, and the list, are not."""
    async with running(lockout_after=4) as kit:
        trader, other = await new_trader(kit), await new_trader(kit, "other")
        await fail(trader, 4)
        assert LOCKOUT == await trader.errors("Balance")
        assert LOCKOUT == await other.errors("Balance")
        assert ["bot", "other"] == await kit.shown()
        async with kit.session.get(kit.sandbox.api_url + "/0/public/Time") as response:
            assert [] == (await response.json())["error"]
        kit.clock.now += 900
        assert [] == await trader.errors("Balance")


async def test_lockout_is_prolonged() -> None:
    """Each call, be it right, begins the 15 minutes anew; none spends its nonce."""
    async with running(lockout_after=2) as kit:
        trader = await new_trader(kit)
        await fail(trader, 2)
        for _ in range(3):
            kit.clock.now += 899
            assert LOCKOUT == await trader.errors("Balance", 7)
        kit.clock.now += 900
        assert [] == await trader.errors("Balance", 7)


async def test_failures_are_forgotten(kit: Kit) -> None:
    """A call that is right ends the row, one that is merely denied does not; a minute's pause does."""
    kit.sandbox.lockout_after = 3
    trader = await new_trader(kit)
    elsewhere = await new_trader(kit, "elsewhere", ip_allowlist=["203.0.113.7"])
    await fail(trader, 2)
    assert [] == await trader.errors("Balance")
    await fail(trader, 2)
    assert PERMISSION_DENIED == await elsewhere.errors("Balance")
    kit.clock.now += 60
    await fail(trader, 6, seconds_between=31)
    await fail(trader, 2)
    assert LOCKOUT == await trader.errors("Balance")


async def test_lockout_is_lifted(kit: Kit) -> None:
    """To set the number ends a lockout."""
    kit.sandbox.lockout_after = 1
    trader = await new_trader(kit)
    await fail(trader, 1)
    assert LOCKOUT == await trader.errors("Balance")
    kit.sandbox.lockout_after = 1
    assert [] == await trader.errors("Balance")


async def test_hammering_a_new_key() -> None:
    """Who does not wait for a new key to be known is locked out, and stays so."""
    async with running(propagation_delay=5, lockout_after=3) as kit:
        trader = await new_trader(kit)
        outcomes = []
        for _ in range(8):
            outcomes += await trader.errors("GetApiKeyInfo")
            kit.clock.now += 1
        assert [*INVALID_KEY * 3, *LOCKOUT * 5] == outcomes
