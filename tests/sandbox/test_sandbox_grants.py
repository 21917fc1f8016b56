"""Grants: their codes, their rotation, their expiry, their end, and what a test may see of them."""

import asyncio
import random
from collections import Counter
from collections.abc import AsyncIterator

import aiohttp
import pytest
from hypothesis import settings, strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from oauth_kit import CHALLENGE, REDIRECT_URI, SOME_SCOPES, VERIFIER, App, asking, given, refused
from sandbox_kit import START, Clock

from kraken_fastkey.sandbox import Answer, Disconnect, Truncate
from kraken_fastkey.sandbox._clients import LOOPBACK_URIS, Client
from kraken_fastkey.sandbox._grants import Authorization, GrantBook
from kraken_fastkey.sandbox._mint import Mint
from kraken_fastkey.sandbox._refusal import TokenRefusalError
from kraken_fastkey.sandbox._tokens import TokenBook

DAY = 24 * 3600


@pytest.fixture(name="app")
async def _app() -> AsyncIterator[App]:
    """Run a sandbox with an app."""
    async with asking() as app:
        yield app


async def test_code_lives_ten_minutes(app: App) -> None:
    """A code counts until ten minutes have passed, and not from then on."""
    early, late = app.code(), app.code()
    app.kit.clock.now += 599.5
    assert (await app.exchange(early)).status == 200
    app.kit.clock.now += 0.5
    assert refused(await app.exchange(late)) == "invalid_grant"
    assert len(app.kit.sandbox.grants()) == 1


@pytest.mark.parametrize("later", [0, 700])
async def test_code_is_for_once(app: App, later: float) -> None:
    """A code that comes twice ends what it gave, refreshed or not, however late (RFC 6749 section 4.1.2)."""
    code = app.code()
    pair = given(await app.exchange(code))
    new = given(await app.refresh(pair["refresh_token"]))
    other = await app.granted()
    app.kit.clock.now += later
    assert refused(await app.exchange(code)) == "invalid_grant"
    assert not await app.works(new["access_token"])
    assert refused(await app.refresh(new["refresh_token"])) == "invalid_grant"
    assert await app.works(other["access_token"])
    assert [(grant.revoked, grant.reason) for grant in app.kit.sandbox.grants()] == [
        (True, "code_reuse"),
        (False, None),
    ]


async def test_access_token_lives_four_hours(app: App) -> None:
    """A public client's access token counts until four hours have passed; a refresh gives four more."""
    pair = await app.granted()
    app.kit.clock.now += 14399.5
    assert await app.works(pair["access_token"])
    app.kit.clock.now += 0.5
    assert not await app.works(pair["access_token"])
    new = given(await app.refresh(pair["refresh_token"]))
    app.kit.clock.now += 14399
    assert await app.works(new["access_token"])
    app.kit.clock.now += 1
    assert not await app.works(new["access_token"])


async def test_refresh_token_lives_thirty_days(app: App) -> None:
    """A refresh token counts until thirty days have passed; each rotation starts them anew."""
    pair = await app.granted()
    app.kit.clock.now += 30 * DAY - 1
    pair = given(await app.refresh(pair["refresh_token"]))
    app.kit.clock.now += 30 * DAY - 0.5
    pair = given(await app.refresh(pair["refresh_token"]))
    app.kit.clock.now += 30 * DAY
    assert refused(await app.refresh(pair["refresh_token"])) == "invalid_grant"
    (grant,) = app.kit.sandbox.grants()
    assert (grant.generation, grant.revoked) == (2, False)


async def test_spent_refresh_token_ends_the_grant(app: App) -> None:
    """A refresh token that comes again ends the whole grant, and no other."""
    first, other = await app.granted(), await app.granted()
    second = given(await app.refresh(first["refresh_token"]))
    third = given(await app.refresh(second["refresh_token"]))
    assert refused(await app.refresh(first["refresh_token"])) == "invalid_grant"
    assert not await app.works(third["access_token"])
    assert refused(await app.refresh(third["refresh_token"])) == "invalid_grant"
    assert await app.works(other["access_token"])
    assert [grant.reason for grant in app.kit.sandbox.grants()] == ["refresh_token_reuse", None]


async def test_reuse_in_grace() -> None:
    """Within the grace the token that was spent last gives the same pair, without a rotation."""
    async with asking(refresh_reuse_grace=15) as app:
        first = await app.granted()
        second = given(await app.refresh(first["refresh_token"]))
        app.kit.clock.now += 14.5
        assert given(await app.refresh(first["refresh_token"])) == {**second, "expires_in": 14400 - 15}
        assert app.kit.sandbox.grants()[0].generation == 1
        assert await app.works(second["access_token"])
        app.kit.clock.now += 0.5
        assert refused(await app.refresh(first["refresh_token"])) == "invalid_grant"
        assert app.kit.sandbox.grants()[0].reason == "refresh_token_reuse"


async def test_grace_is_for_the_latest_alone() -> None:
    """A token that was spent before the latest one has no grace."""
    async with asking(refresh_reuse_grace=15) as app:
        first = await app.granted()
        second = given(await app.refresh(first["refresh_token"]))
        given(await app.refresh(second["refresh_token"]))
        assert refused(await app.refresh(first["refresh_token"])) == "invalid_grant"
        assert app.kit.sandbox.grants()[0].revoked


async def test_grace_does_not_outlive_the_pair() -> None:
    """However long the grace: an access token has no life below zero, and an expired pair is given no more."""
    async with asking(refresh_reuse_grace=float("inf")) as app:
        first = await app.granted()
        second = given(await app.refresh(first["refresh_token"]))
        app.kit.clock.now += DAY
        assert given(await app.refresh(first["refresh_token"])) == {**second, "expires_in": 0}
        app.kit.clock.now += 29 * DAY
        assert refused(await app.refresh(first["refresh_token"])) == "invalid_grant"
        assert not app.kit.sandbox.grants()[0].revoked


async def test_clock_that_goes_back() -> None:
    """A clock that is set back lengthens no life that is told."""
    async with asking(refresh_reuse_grace=15) as app:
        first = await app.granted()
        second = given(await app.refresh(first["refresh_token"]))
        app.kit.clock.now -= 12 * 3600
        assert given(await app.refresh(first["refresh_token"])) == second


async def test_fifty_refreshes_at_once(app: App) -> None:
    """Of many refreshes with one token exactly one wins, and the next one ends the grant."""
    pair = await app.granted()
    answers = await asyncio.gather(*(app.refresh(pair["refresh_token"]) for _ in range(50)))
    assert Counter({200: 1, 400: 49}) == Counter(answered.status for answered in answers)
    (grant,) = app.kit.sandbox.grants()
    assert (grant.generation, grant.reason) == (1, "refresh_token_reuse")
    assert 51 == sum(request.operation == "token" for request in app.kit.sandbox.requests)


async def test_fifty_refreshes_at_once_in_grace() -> None:
    """Within the grace all of them get the same pair, by one rotation."""
    async with asking(refresh_reuse_grace=1) as app:
        pair = await app.granted()
        answers = await asyncio.gather(*(app.refresh(pair["refresh_token"]) for _ in range(50)))
        assert 1 == len({answered.body for answered in answers})
        new = given(answers[0])
        assert await app.works(new["access_token"])
        (grant,) = app.kit.sandbox.grants()
        assert (grant.generation, grant.refresh_token) == (1, new["refresh_token"])


async def test_fifty_exchanges_at_once(app: App) -> None:
    """Of many exchanges of one code exactly one wins, and the next one ends what it gave."""
    code = app.code()
    answers = await asyncio.gather(*(app.exchange(code) for _ in range(50)))
    assert Counter({200: 1, 400: 49}) == Counter(answered.status for answered in answers)
    (grant,) = app.kit.sandbox.grants()
    assert grant.reason == "code_reuse"


async def test_rotated_but_the_answer_is_lost(app: App) -> None:
    """A fault with ``commit`` rotates and tells nobody; one without leaves the grant as it is."""
    pair = await app.granted()
    faults = app.kit.sandbox.faults
    faults.add(Disconnect(), operation="token")
    with pytest.raises(aiohttp.ClientConnectionError):
        await app.refresh(pair["refresh_token"])
    assert app.kit.sandbox.grants()[0].generation == 0
    faults.add(Disconnect(commit=True), operation="token")
    with pytest.raises(aiohttp.ClientConnectionError):
        await app.refresh(pair["refresh_token"])
    assert app.kit.sandbox.grants()[0].generation == 1
    assert not await app.works(pair["access_token"])
    faults.add(Answer(503), operation="token")
    async with app.kit.session.post(app.kit.sandbox.token_url) as response:
        assert response.status == 503
    assert refused(await app.refresh(pair["refresh_token"])) == "invalid_grant"
    assert not faults.pending


async def test_lost_answer_is_told_again_in_grace() -> None:
    """With a grace a client that missed an answer, or half of it, gets it by asking again."""
    async with asking(refresh_reuse_grace=15) as app:
        pair = await app.granted()
        app.kit.sandbox.faults.add(Truncate(10), operation="token")
        with pytest.raises(aiohttp.ClientPayloadError):
            await app.refresh(pair["refresh_token"])
        new = given(await app.refresh(pair["refresh_token"]))
        assert new["refresh_token"] == app.kit.sandbox.grants()[0].refresh_token
        assert app.kit.sandbox.grants()[0].generation == 1


async def test_book_keeping(app: App) -> None:
    """Grants are told as they are now; what was told before stays as it was, and no repr shows a token."""
    assert app.kit.sandbox.grants() == ()
    pair = await app.granted()
    (before,) = app.kit.sandbox.grants()
    app.kit.clock.now += 60
    new = given(await app.refresh(pair["refresh_token"]))
    (after,) = app.kit.sandbox.grants()
    for grant, tokens, generation in ((before, pair, 0), (after, new, 1)):
        assert (grant.access_token, grant.refresh_token) == (tokens["access_token"], tokens["refresh_token"])
        assert (grant.number, grant.generation, grant.created) == (1, generation, START)
        assert (grant.client_id, grant.scopes) == (app.client_id, frozenset(SOME_SCOPES.split()))
        assert (grant.revoked, grant.reason) == (False, None)
        assert tokens["access_token"] not in repr(grant)
        assert tokens["refresh_token"] not in repr(grant)
        with pytest.raises(AttributeError):
            grant.revoked = True  # type: ignore[misc]


async def test_user_ends_a_grant(app: App) -> None:
    """An ended grant's tokens are refused; the snapshot may be an old one, and the first reason stays."""
    pair, other = await app.granted(), await app.granted()
    snapshot = app.kit.sandbox.grants()[0]
    new = given(await app.refresh(pair["refresh_token"]))
    app.kit.sandbox.revoke_grant(snapshot)
    assert not await app.works(new["access_token"])
    assert refused(await app.refresh(new["refresh_token"])) == "invalid_grant"
    assert refused(await app.refresh(pair["refresh_token"])) == "invalid_grant"
    assert await app.works(other["access_token"])
    assert [grant.reason for grant in app.kit.sandbox.grants()] == ["user", None]
    app.kit.sandbox.revoke_grant()
    assert not await app.works(other["access_token"])
    assert [grant.reason for grant in app.kit.sandbox.grants()] == ["user", "user"]


async def test_first_reason_stays(app: App) -> None:
    """A grant that has ended keeps its reason, whatever comes then."""
    code = app.code()
    pair = given(await app.exchange(code))
    given(await app.refresh(pair["refresh_token"]))
    assert refused(await app.refresh(pair["refresh_token"])) == "invalid_grant"
    assert refused(await app.exchange(code)) == "invalid_grant"
    app.kit.sandbox.revoke_grant()
    assert app.kit.sandbox.grants()[0].reason == "refresh_token_reuse"


async def test_grant_of_another_sandbox(app: App) -> None:
    """A grant that the sandbox does not know is an error of the test."""
    await app.granted()
    (grant,) = app.kit.sandbox.grants()
    async with asking() as other:
        with pytest.raises(ValueError, match="no grant number 1"):
            other.kit.sandbox.revoke_grant(grant)


async def test_server_expires_access_tokens_early(app: App) -> None:
    """Every access token can be ended before its time; refresh tokens stay good."""
    pair, issued = await app.granted(), app.kit.sandbox.issue_token()
    app.kit.sandbox.expire_access_tokens()
    assert not await app.works(pair["access_token"])
    assert not await app.works(issued)
    new = given(await app.refresh(pair["refresh_token"]))
    assert await app.works(new["access_token"])


async def test_single_access_token_can_be_revoked(app: App) -> None:
    """``revoke_token`` ends a grant's access token too, and its refresh token stays good."""
    pair = await app.granted()
    app.kit.sandbox.revoke_token(pair["access_token"])
    assert not await app.works(pair["access_token"])
    assert (await app.refresh(pair["refresh_token"])).status == 200


async def test_token_requests_are_logged(app: App) -> None:
    """Token requests are counted by the log, with the status of each, and their repr shows no secret."""
    app.kit.sandbox.register_client("vault", "canary-secret")
    vault = App(app.kit, "vault", "canary-secret")
    code = vault.code(state="canary-state")
    pair = given(await vault.exchange(code))
    assert refused(await vault.refresh("canary-refresh")) == "invalid_grant"
    log = app.kit.sandbox.requests
    assert [("token", 200), ("token", 400)] == [(request.operation, request.status) for request in log]
    assert log[0].headers["authorization"].startswith("Basic ")
    shown = repr(log)
    for secret in ("canary", "Basic", code, VERIFIER, pair["refresh_token"], log[0].headers["authorization"][6:]):
        assert secret not in shown


async def test_seed_fixes_the_tokens() -> None:
    """The same seed and clock give the same codes and tokens."""
    seen = []
    for _ in range(2):
        async with asking(seed=5) as app:
            seen.append((app.code(), await app.granted()))
    assert seen[0] == seen[1]


CLIENT = Client(client_id="app", client_secret=None, name="App", redirect_uris=LOOPBACK_URIS, scopes=frozenset("x"))


class Rotations(RuleBasedStateMachine):
    """Any history of refreshes, replays and waits against the plainest model of a grant."""

    def __init__(self) -> None:
        super().__init__()
        self.clock = Clock()
        self.tokens = TokenBook(self.clock, Mint(random.Random(1)))  # noqa: S311
        self.book = GrantBook(self.clock, Mint(random.Random(2)), self.tokens, 10)  # noqa: S311
        code = self.book.new_code(
            Authorization(client_id="app", redirect_uri=REDIRECT_URI, scopes=CLIENT.scopes, code_challenge=CHALLENGE)
        )
        pair = self.book.redeem(CLIENT, code, REDIRECT_URI, VERIFIER)
        self.pairs = [pair]
        self.made = self.clock.now
        self.ended = False

    @rule(seconds=st.sampled_from([0.5, 3.0, 9.5, 14400.0, 30 * DAY - 5.0]))
    def wait(self, seconds: float) -> None:
        """Let time pass."""
        self.clock.now += seconds

    @rule()
    def refresh(self) -> None:
        """Use the current refresh token."""
        current = self.pairs[-1].refresh_token
        if self.ended or self.clock.now - self.made >= 30 * DAY:
            with pytest.raises(TokenRefusalError, match="invalid_grant"):
                self.book.refresh(CLIENT, current)
            return
        self.pairs.append(self.book.refresh(CLIENT, current))
        self.made = self.clock.now

    @precondition(lambda self: len(self.pairs) > 1)
    @rule(back=st.integers(2, 4))
    def replay(self, back: int) -> None:
        """Use a refresh token that is spent."""
        old = self.pairs[-min(back, len(self.pairs))].refresh_token
        age = self.clock.now - self.made
        if old == self.pairs[-2].refresh_token and age < 10 and not self.ended:
            again = self.book.refresh(CLIENT, old)
            assert (again.access_token, again.refresh_token) == (
                self.pairs[-1].access_token,
                self.pairs[-1].refresh_token,
            )
            return
        with pytest.raises(TokenRefusalError, match="invalid_grant"):
            self.book.refresh(CLIENT, old)
        self.ended = True

    @invariant()
    def one_access_token_at_most(self) -> None:
        """The current access token counts while it lives and the grant holds; no other ever does."""
        good = [pair for pair in self.pairs if self.tokens.find(pair.access_token)]
        alive = not self.ended and self.clock.now - self.made < 14400
        assert good == (self.pairs[-1:] if alive else [])

    @invariant()
    def book_is_right(self) -> None:
        """The snapshot tells what the model knows."""
        (grant,) = self.book.listed()
        assert (grant.generation, grant.revoked) == (len(self.pairs) - 1, self.ended)
        assert grant.refresh_token == self.pairs[-1].refresh_token


TestRotations = Rotations.TestCase
TestRotations.settings = settings(max_examples=100, stateful_step_count=30, deadline=None)
