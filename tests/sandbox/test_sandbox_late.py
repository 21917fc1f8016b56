"""Work that is done after its caller has been told that something went wrong."""

import math
from collections.abc import AsyncIterator
from typing import Any

import pytest
from oauth_kit import App, asking, basic
from sandbox_kit import START, Kit, running

from kraken_fastkey.sandbox import Answer, Disconnect, LateCommit
from kraken_fastkey.sandbox._clock import SandboxClock
from kraken_fastkey.sandbox._late import LateWork


@pytest.fixture(name="kit")
async def _kit() -> AsyncIterator[Kit]:
    """Run a sandbox with a client."""
    async with running() as kit:
        yield kit


async def create_late(kit: Kit, delay: float, name: str = "bot", **fields: Any) -> int | None:
    """Create a key that comes into being late, and return the answer's status."""
    kit.sandbox.faults.add(LateCommit(delay), operation="create_key")
    return await kit.try_create(name, **fields)


async def test_key_appears_late(kit: Kit) -> None:
    """The answer is a gateway's page; the key is not there before its time, and is there from then on."""
    assert await create_late(kit, 30) == 504
    assert [] == kit.names()
    kit.clock.now = START + 29.9
    assert [] == await kit.shown()
    kit.clock.now = START + 30
    assert ["bot"] == kit.names() == await kit.shown()


async def test_page_of_the_gateway(kit: Kit) -> None:
    """Unless something else is asked for, a LateCommit answers a page of HTML."""
    kit.sandbox.faults.add(LateCommit(30))
    answered = await kit.exchange("POST", "/fast-api-key", body=b"{}")
    assert "text/html" == answered.headers["Content-Type"]
    assert b"504 Gateway Time-out" in answered.body


async def test_answer_of_its_own(kit: Kit) -> None:
    """Any answer can be given in the meantime."""
    kit.sandbox.faults.add(LateCommit(1, Answer(520, {"error": []})))
    answered = await kit.exchange("POST", "/fast-api-key", body=b'{"api_key_name": "bot"}')
    assert (520, {"error": []}) == (answered.status, answered.json)
    kit.clock.now += 1
    assert ["bot"] == kit.names()


async def test_connection_that_is_dropped(kit: Kit) -> None:
    """The caller may hear nothing at all."""
    kit.sandbox.faults.add(LateCommit(1, Disconnect()))
    assert await kit.try_create() is None
    assert [] == kit.names()
    kit.clock.now += 1
    assert ["bot"] == kit.names()


async def test_log_tells_of_it(kit: Kit) -> None:
    """The log has the request once, with what was answered and why."""
    await create_late(kit, 5)
    kit.clock.now += 5
    assert ["bot"] == kit.names()
    assert [(504, LateCommit(5))] == [(request.status, request.fault) for request in kit.sandbox.requests]


async def test_work_is_dated_by_the_moment_it_is_due(kit: Kit) -> None:
    """However late anybody looks, the key was created when its work was due."""
    await create_late(kit, 30)
    kit.clock.now = START + 3600
    (key,) = kit.sandbox.keys()
    assert str(int(START + 30)) == key.created_time == key.modified_time


async def test_due_at_once(kit: Kit) -> None:
    """A delay of zero is over before anybody can look."""
    await create_late(kit, 0)
    assert ["bot"] == kit.names()


async def test_work_is_done_in_the_order_it_is_due(kit: Kit) -> None:
    """Of two calls for one name the one that is due first gets it, whichever was sent first."""
    await create_late(kit, 20, nonce_window=20)
    await create_late(kit, 10, nonce_window=10)
    kit.clock.now += 100
    assert [10] == [key.nonce_window for key in kit.sandbox.keys()]


async def test_work_that_is_due_at_once_is_done_in_the_order_it_came(kit: Kit) -> None:
    """At a tie, first come is first served."""
    for name in ("c", "a", "b"):
        await create_late(kit, 10, name)
    kit.clock.now += 10
    assert ["c", "a", "b"] == kit.names()


async def test_name_that_has_been_taken_meanwhile(kit: Kit) -> None:
    """A call that is refused when it is due does nothing, and tells nobody."""
    await create_late(kit, 10, nonce_window=7)
    await kit.create("bot")
    kit.clock.now += 10
    assert [("bot", 0)] == [(key.api_key_name, key.nonce_window) for key in kit.sandbox.keys()]


async def test_request_comes_after_the_work_that_was_due_before_it(kit: Kit) -> None:
    """A request of the very moment meets what late work has done."""
    await create_late(kit, 10)
    kit.clock.now += 10
    assert ["EGeneral:Invalid arguments:api_key_name already in use"] == (await kit.create("bot")).errors


async def test_validation_goes_by_the_later_moment(kit: Kit) -> None:
    """An expiry that was in the future when it was sent may be in the past when it is looked at."""
    await create_late(kit, 10, valid_until=int(START) + 5)
    kit.clock.now += 10
    assert [] == kit.names()


@pytest.mark.parametrize(("life", "names"), [(9, []), (11, ["bot"])])
async def test_token_that_expires_meanwhile(kit: Kit, life: float, names: list[str]) -> None:
    """The token is looked at when the work is due: not when the request came, and not when anybody looks."""
    kit.token = kit.sandbox.issue_token(expires_in=life)
    await create_late(kit, 10)
    kit.clock.now += 3600
    assert names == kit.names()


async def test_token_that_is_revoked_before(kit: Kit) -> None:
    """A token that is revoked before the work is due keeps it from being done."""
    await create_late(kit, 10)
    kit.clock.now += 9
    kit.sandbox.revoke_token(kit.token)
    kit.clock.now += 9
    assert [] == kit.names()


@pytest.mark.parametrize("way", ["revoke_token", "expire_access_tokens"])
async def test_token_that_is_revoked_after(kit: Kit, way: str) -> None:
    """A token that is revoked after the work was due comes too late, though nobody has looked in between."""
    await create_late(kit, 10)
    kit.clock.now += 11
    if way == "revoke_token":
        kit.sandbox.revoke_token(kit.token)
    else:
        kit.sandbox.expire_access_tokens()
    assert ["bot"] == kit.names()


async def test_late_update_and_late_delete(kit: Kit) -> None:
    """Every operation's work can be late."""
    await kit.create("bot")
    for operation, method, delay in (("update_key", "PUT", 10), ("delete_key", "DELETE", 20)):
        kit.sandbox.faults.add(LateCommit(delay), operation=operation)
        body = b'{"api_key_name": "bot", "nonce_window": 3}' if method == "PUT" else b'{"api_key_name": "bot"}'
        assert (await kit.exchange(method, "/fast-api-key", body=body)).status == 504
    kit.clock.now = START + 10
    assert [(3, str(int(START + 10)))] == [(key.nonce_window, key.modified_time) for key in kit.sandbox.keys()]
    kit.clock.now = START + 20
    assert [] == kit.names()


async def test_clearing_the_faults_does_not_undo_it(kit: Kit) -> None:
    """What has been set off comes, whatever becomes of the queue and the connections."""
    await create_late(kit, 10)
    kit.sandbox.faults.clear()
    await kit.sandbox.aclose()
    kit.clock.now += 10
    assert ["bot"] == kit.names()


async def refresh_late(app: App, refresh_token: str) -> None:
    """Refresh, where the work comes 10 seconds later."""
    app.kit.sandbox.faults.add(LateCommit(10), operation="token")
    form = {"grant_type": "refresh_token", "refresh_token": refresh_token}
    headers = {"Authorization": basic(app.client_id)}
    async with app.kit.session.post(app.kit.sandbox.token_url, data=form, headers=headers) as response:
        assert response.status == 504


async def test_late_refresh() -> None:
    """A refresh that comes late rotates the tokens then; `grants` tells of it at once."""
    async with asking() as app:
        pair = await app.granted()
        await refresh_late(app, pair["refresh_token"])
        (grant,) = app.kit.sandbox.grants()
        assert (0, pair["refresh_token"]) == (grant.generation, grant.refresh_token)
        app.kit.clock.now += 10
        (grant,) = app.kit.sandbox.grants()
        assert 1 == grant.generation
        assert not await app.works(pair["access_token"])


async def test_grant_that_ends_after_a_late_refresh() -> None:
    """A user who ends a grant after a refresh was due ends the refreshed one."""
    async with asking() as app:
        pair = await app.granted()
        await refresh_late(app, pair["refresh_token"])
        (before,) = app.kit.sandbox.grants()
        app.kit.clock.now += 10
        app.kit.sandbox.revoke_grant(before)
        (grant,) = app.kit.sandbox.grants()
        assert (1, True, "user") == (grant.generation, grant.revoked, grant.reason)


@pytest.mark.parametrize("delay", [-1, math.nan, math.inf])
def test_delays_that_are_none(delay: float) -> None:
    """A delay is a length of time."""
    with pytest.raises(ValueError, match="delay"):
        LateCommit(delay)


@pytest.mark.parametrize("answer", [Answer(504, commit=True), Disconnect(commit=True)])
def test_answers_that_commit(answer: Answer | Disconnect) -> None:
    """The work is done once."""
    with pytest.raises(ValueError, match="must not commit"):
        LateCommit(1, answer)


def test_clock_runs_on_after_late_work_that_fails() -> None:
    """An error in late work leaves neither the clock standing nor the work undone twice."""
    now = 100.0
    clock = SandboxClock(lambda: now, 0)
    late = LateWork(clock)
    seen: list[float] = []
    late.add(1, lambda: 1 / 0)
    late.add(2, lambda: seen.append(clock()))
    now = 200.0
    with pytest.raises(ZeroDivisionError):
        late.catch_up()
    assert 200 == clock()
    late.catch_up()
    late.catch_up()
    assert [102] == seen
