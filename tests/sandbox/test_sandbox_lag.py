"""A list that is behind the truth, and a clock that goes wrong."""

import email.utils
import math
from collections.abc import AsyncIterator

import pytest
from oauth_kit import asking
from sandbox_kit import START, Kit, running

from kraken_fastkey.sandbox import KrakenSandbox, LateCommit
from kraken_fastkey.sandbox._history import ListHistory


@pytest.fixture(name="kit")
async def _kit() -> AsyncIterator[Kit]:
    """Run a sandbox whose list is 45 seconds behind, with a client."""
    async with running(list_lag=45) as kit:
        yield kit


async def test_no_lag_by_default() -> None:
    """The list tells the truth unless it is asked not to, and nothing is remembered."""
    async with running() as kit:
        assert 0 == kit.sandbox.list_lag
        await kit.create()
        assert ["bot"] == await kit.shown()
        await kit.delete()
        assert [] == await kit.shown()
        assert not kit.sandbox._history._past


async def test_new_key_is_not_shown_yet(kit: Kit) -> None:
    """A key is listed when the lag has passed, and not before; `keys` has it at once."""
    await kit.create()
    kit.clock.now += 44.9
    assert ([], ["bot"]) == (await kit.shown(), kit.names())
    kit.clock.now = START + 45
    assert ["bot"] == await kit.shown() == kit.names()


async def test_deleted_key_is_still_shown(kit: Kit) -> None:
    """A key is listed for as long as the lag after its deletion."""
    await kit.create()
    kit.clock.now += 100
    await kit.delete()
    kit.clock.now += 44
    assert (["bot"], []) == (await kit.shown(), kit.names())
    kit.clock.now += 1
    assert [] == await kit.shown()


async def test_update_is_not_seen_yet(kit: Kit) -> None:
    """A key is listed as it was; its name, too."""
    await kit.create()
    kit.clock.now += 100
    await kit.update(nonce_window=5, new_api_key_name="tob")
    assert [("bot", 0)] == [(key["api_key_name"], key["nonce_window"]) for key in await kit.listed()]
    kit.clock.now += 45
    assert [("tob", 5)] == [(key["api_key_name"], key["nonce_window"]) for key in await kit.listed()]


async def test_changes_show_one_after_the_other(kit: Kit) -> None:
    """The list goes through every state that the account went through."""
    for name in ("a", "b"):
        await kit.create(name)
        kit.clock.now += 10
    await kit.delete("a")
    shown = []
    for moment in (44, 45, 54, 55, 64, 65, 1000):
        kit.clock.now = START + moment
        shown.append(await kit.shown())
    assert [[], ["a"], ["a"], ["a", "b"], ["a", "b"], ["b"], ["b"]] == shown


async def test_names_go_by_the_truth(kit: Kit) -> None:
    """What the list does not show yet is there nevertheless, and the other way round."""
    await kit.create()
    assert ["EGeneral:Invalid arguments:api_key_name already in use"] == (await kit.create()).errors
    await kit.delete()
    assert ["EGeneral:Invalid arguments:api_key_name not found"] == (await kit.delete()).errors


async def test_lag_that_is_set(kit: Kit) -> None:
    """A shorter lag counts at once; with none, nothing is remembered."""
    await kit.create("a")
    kit.clock.now += 20
    await kit.create("b")
    assert [] == await kit.shown()
    kit.sandbox.list_lag = 20
    assert ["a"] == await kit.shown()
    kit.sandbox.list_lag = 0
    assert ["a", "b"] == await kit.shown()
    kit.sandbox.list_lag = 45
    assert ["a", "b"] == await kit.shown()
    await kit.create("c")
    assert ["a", "b"] == await kit.shown()


async def test_late_work_shows_later_still(kit: Kit) -> None:
    """The lag counts from the moment of the work."""
    kit.sandbox.faults.add(LateCommit(30))
    await kit.try_create()
    kit.clock.now = START + 74.5
    assert ([], ["bot"]) == (await kit.shown(), kit.names())
    kit.clock.now = START + 75
    assert ["bot"] == await kit.shown()


async def test_late_work_goes_by_the_lag_of_its_moment(kit: Kit) -> None:
    """Work that was due before the lag was taken away is no exception to it."""
    kit.sandbox.list_lag = 0
    kit.sandbox.faults.add(LateCommit(30))
    await kit.try_create()
    kit.clock.now = START + 40
    kit.sandbox.list_lag = 45
    assert ["bot"] == await kit.shown()


async def test_refused_calls_are_no_history(kit: Kit) -> None:
    """A call that changes nothing is not remembered."""
    await kit.create()
    for _ in range(10):
        await kit.create()
    assert 1 == len(kit.sandbox._history._past)


def test_memory_is_bounded() -> None:
    """What the list can show no more is forgotten, whether anybody looks at the list or not."""
    history = ListHistory(10)
    for second in range(1000):
        history.note((), second)
        assert len(history._past) <= 10
    history.shown((), 5000)
    assert not history._past


@pytest.mark.parametrize("lag", [-1, math.nan, math.inf])
def test_lags_that_are_none(lag: float) -> None:
    """A lag is a length of time; what is refused changes nothing."""
    with pytest.raises(ValueError, match="list_lag"):
        KrakenSandbox(list_lag=lag)
    sandbox = KrakenSandbox(list_lag=3)
    with pytest.raises(ValueError, match="list_lag"):
        sandbox.list_lag = lag
    assert 3 == sandbox.list_lag


@pytest.mark.parametrize("skew", [-7200.0, 0.0, 3600.0])
async def test_skewed_clock(skew: float) -> None:
    """The skew counts in the date of each answer and in a key's times."""
    async with running(clock_skew=skew) as kit:
        assert skew == kit.sandbox.clock_skew
        answered = await kit.create()
        assert str(int(START + skew)) == answered.result["created_time"]
        assert int(START + skew) == email.utils.parsedate_to_datetime(answered.headers["Date"]).timestamp()


async def test_skewed_clock_and_expiry() -> None:
    """A time that is the future for the caller may be the past for the sandbox."""
    async with running(clock_skew=3600) as kit:
        assert ["EGeneral:Invalid arguments:valid_until"] == (await kit.create(valid_until=START + 3599)).errors
        assert 200 == (await kit.create(valid_until=START + 3601)).status


async def test_skew_that_is_set() -> None:
    """A clock that jumps ahead ends tokens; one that jumps back revives them."""
    async with running() as kit:
        kit.token = kit.sandbox.issue_token(expires_in=60)
        statuses = []
        for skew in (0, 61, -1000, 60, 59):
            kit.sandbox.clock_skew = skew
            statuses.append((await kit.call("GET", "/userinfo")).status)
        assert [200, 401, 200, 401, 200] == statuses


async def test_skew_and_codes() -> None:
    """Codes expire by the skewed clock, too."""
    async with asking() as app:
        code = app.code()
        app.kit.sandbox.clock_skew = 601
        assert "invalid_grant" == (await app.exchange(code)).json["error"]


async def test_skew_and_late_work() -> None:
    """What was due before the clock was set has been done; what was not, waits by the clock as it is set."""
    async with running() as kit:
        kit.sandbox.faults.add(LateCommit(30), times=2)
        await kit.try_create("a")
        kit.clock.now += 10
        await kit.try_create("b")
        kit.clock.now += 20
        kit.sandbox.clock_skew = -1000
        assert ["a"] == kit.names()
        kit.sandbox.clock_skew = 10
        assert ["a", "b"] == kit.names()


@pytest.mark.parametrize("skew", [math.nan, math.inf, -math.inf])
def test_skews_that_are_none(skew: float) -> None:
    """A skew is a number of seconds; what is refused changes nothing."""
    with pytest.raises(ValueError, match="clock_skew"):
        KrakenSandbox(clock_skew=skew)
    sandbox = KrakenSandbox(clock_skew=-3)
    with pytest.raises(ValueError, match="clock_skew"):
        sandbox.clock_skew = skew
    assert -3 == sandbox.clock_skew
